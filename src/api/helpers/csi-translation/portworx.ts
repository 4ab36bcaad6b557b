/** `portworxVolume` → `pxd.portworx.com`, with the Secret that its volumes name in annotations. */
import type { InTreePlugin } from './plugin.ts';
import { csiSource, withCsi } from './plugin.ts';

const driver = 'pxd.portworx.com';

export const portworx: InTreePlugin = {
  name: 'kubernetes.io/portworx-volume',
  driver,
  field: 'portworxVolume',
  persistent(volume) {
    const source = volume.spec!.portworxVolume!;
    const annotations = volume.metadata.annotations ?? {};
    const name = annotations['openstorage.io/auth-secret-name'];
    const namespace = annotations['openstorage.io/auth-secret-namespace'];
    const secret = name === undefined || namespace === undefined ? undefined : { name, namespace };
    return withCsi(volume, 'portworxVolume', {
      ...csiSource(driver, source.volumeID, {}, { fsType: source.fsType }),
      ...(secret === undefined
        ? {}
        : {
            controllerPublishSecretRef: secret,
            nodeStageSecretRef: secret,
            nodePublishSecretRef: secret,
            controllerExpandSecretRef: secret,
            nodeExpandSecretRef: secret,
          }),
    });
  },
  inline(volume) {
    const source = volume.portworxVolume!;
    return {
      name: `${driver}-${source.volumeID}`,
      csi: csiSource(driver, source.volumeID, {}, { fsType: source.fsType }),
      accessMode: source.readOnly === true ? 'ReadOnlyMany' : 'ReadWriteOnce',
    };
  },
};
