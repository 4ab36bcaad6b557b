/** `azureFile` → `file.csi.azure.com`. */
import type { InTreePlugin } from './plugin.ts';
import { csiSource, withCsi } from './plugin.ts';

const driver = 'file.csi.azure.com';
const resourceGroupAnnotation = 'kubernetes.io/azure-file-resource-group';

/** The account's name stands in that of its Secret, where that was made by the cloud provider. */
const account = (secret: string): string => /azure-storage-account-(.+)-secret/.exec(secret)?.[1] ?? secret;

export const azureFile: InTreePlugin = {
  name: 'kubernetes.io/azure-file',
  driver,
  field: 'azureFile',
  persistent(volume) {
    const source = volume.spec!.azureFile!;
    const namespace = source.secretNamespace ?? volume.spec!.claimRef?.namespace ?? '';
    if (namespace === '') throw new Error('could not find a secret namespace in PersistentVolumeSource or ClaimRef');
    const group = volume.metadata.annotations?.[resourceGroupAnnotation] ?? '';
    const handle = [group, account(source.secretName), source.shareName, volume.metadata.name, namespace].join('#');
    return withCsi(volume, 'azureFile', {
      ...csiSource(driver, handle, { sharename: source.shareName }, { readOnly: source.readOnly }),
      nodeStageSecretRef: { name: source.secretName, namespace },
    });
  },
  inline(volume, podNamespace) {
    const source = volume.azureFile!;
    const namespace = podNamespace === '' ? 'default' : podNamespace;
    const handle = ['', account(source.secretName), source.shareName, volume.name, namespace].join('#');
    return {
      name: handle,
      csi: {
        ...csiSource(driver, handle, { sharename: source.shareName }, { readOnly: source.readOnly }),
        nodeStageSecretRef: { name: source.secretName, namespace },
      },
      accessMode: 'ReadWriteMany',
    };
  },
};
