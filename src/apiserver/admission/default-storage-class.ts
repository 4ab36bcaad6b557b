/** DefaultStorageClass: a claim without a class gets the default one. */
import { defaultStorageClass as defaultOf } from '../../api/helpers/default-class.ts';
import type { PersistentVolumeClaimSpec } from '../../api/types/core-v1.gen.ts';
import type { StorageClass } from '../../api/types/storage-v1.gen.ts';
import type { AdmissionPlugin } from '../context.ts';
import type { Registries } from '../registry.ts';
import { cachedObjects, metadataOf, withSpec } from './attributes.ts';

export function defaultStorageClass(deps: { readonly registries: Registries }): AdmissionPlugin {
  return {
    name: 'DefaultStorageClass',
    handles: (operation, group, resource, subresource) =>
      operation === 'CREATE' && group === '' && resource === 'persistentvolumeclaims' && subresource === '',
    mutate(a) {
      if (a.object === undefined) return undefined;
      const spec = a.object['spec'] as PersistentVolumeClaimSpec | undefined;
      const annotated = metadataOf(a.object).annotations?.['volume.beta.kubernetes.io/storage-class'];
      if (annotated !== undefined || (spec?.storageClassName !== undefined && spec.storageClassName !== null))
        return a.object;
      const found = defaultOf(cachedObjects<StorageClass>(deps.registries, 'storage.k8s.io', 'storageclasses'));
      return found === undefined ? a.object : withSpec(a.object, { storageClassName: found.metadata?.name });
    },
  };
}
