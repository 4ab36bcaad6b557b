/** `vsphereVolume` → `csi.vsphere.vmware.com`, whose zones and regions are two keys. */
import type { CSIPersistentVolumeSource, VsphereVirtualDiskVolumeSource } from '../../types/index.gen.ts';
import type { InTreePlugin } from './plugin.ts';
import { csiSource, withCsi } from './plugin.ts';
import { moved, topologyLabels } from './topology.ts';

const driver = 'csi.vsphere.vmware.com';

function translate(source: VsphereVirtualDiskVolumeSource): CSIPersistentVolumeSource {
  const policy = source.storagePolicyName ?? '';
  return csiSource(driver, source.volumePath, policy === '' ? {} : { storagepolicyname: policy }, {
    fsType: source.fsType,
  });
}

export const vsphere: InTreePlugin = {
  name: 'kubernetes.io/vsphere-volume',
  driver,
  field: 'vsphereVolume',
  persistent(volume) {
    const labels = topologyLabels(volume);
    const zoned = moved(volume, labels.zone, 'topology.csi.vmware.com/zone', false);
    const placed = moved(zoned, labels.region, 'topology.csi.vmware.com/region', false);
    return withCsi(placed, 'vsphereVolume', translate(volume.spec!.vsphereVolume!));
  },
  inline(volume) {
    const source = volume.vsphereVolume!;
    return { name: `${driver}-${source.volumePath}`, csi: translate(source), accessMode: 'ReadWriteOnce' };
  },
};
