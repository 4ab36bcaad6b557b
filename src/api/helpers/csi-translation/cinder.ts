/** `cinder` → `cinder.csi.openstack.org`. */
import type { InTreePlugin } from './plugin.ts';
import { csiSource, withCsi } from './plugin.ts';
import { zonesForDriver } from './topology.ts';

const driver = 'cinder.csi.openstack.org';
const topologyKey = 'topology.cinder.csi.openstack.org/zone';

export const cinder: InTreePlugin = {
  name: 'kubernetes.io/cinder',
  driver,
  field: 'cinder',
  persistent(volume) {
    const source = volume.spec!.cinder!;
    return withCsi(zonesForDriver(volume, topologyKey), 'cinder', csiSource(driver, source.volumeID, {}, source));
  },
  inline(volume) {
    const source = volume.cinder!;
    return {
      name: `${driver}-${source.volumeID}`,
      csi: csiSource(driver, source.volumeID, {}, source),
      accessMode: 'ReadWriteOnce',
    };
  },
};
