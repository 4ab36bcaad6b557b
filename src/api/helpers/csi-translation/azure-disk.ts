/** `azureDisk` → `disk.csi.azure.com`. */
import type { AzureDiskVolumeSource, CSIPersistentVolumeSource } from '../../types/index.gen.ts';
import type { InTreePlugin } from './plugin.ts';
import { csiSource, withCsi } from './plugin.ts';

const driver = 'disk.csi.azure.com';
const managed = 'Managed';

function translate(source: AzureDiskVolumeSource): CSIPersistentVolumeSource {
  if (source.kind !== undefined && source.kind.toLowerCase() !== managed.toLowerCase())
    throw new Error(`kind(${source.kind}) is not supported in csi migration`);
  const attributes = {
    kind: managed,
    ...(source.cachingMode === undefined || source.cachingMode === '' ? {} : { cachingmode: source.cachingMode }),
    ...(source.fsType === undefined ? {} : { fstype: source.fsType }),
  };
  return csiSource(driver, source.diskURI, attributes, source);
}

export const azureDisk: InTreePlugin = {
  name: 'kubernetes.io/azure-disk',
  driver,
  field: 'azureDisk',
  persistent: (volume) => withCsi(volume, 'azureDisk', translate(volume.spec!.azureDisk!)),
  inline: (volume) => ({
    name: volume.azureDisk!.diskURI,
    csi: translate(volume.azureDisk!),
    accessMode: 'ReadWriteOnce',
  }),
};
