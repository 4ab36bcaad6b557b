/** PersistentVolumeClaimResize: only bound claims whose class allows expansion may grow. */
import { claimClass } from '../../api/helpers/persistent-volume-claims.ts';
import { compareQuantityText } from '../../api/quantity.ts';
import type { PersistentVolumeClaim } from '../../api/types/core-v1.gen.ts';
import type { StorageClass } from '../../api/types/storage-v1.gen.ts';
import type { AdmissionPlugin } from '../context.ts';
import type { Registries } from '../registry.ts';
import { cachedObject, refuse } from './attributes.ts';

export function persistentVolumeClaimResize(deps: { readonly registries: Registries }): AdmissionPlugin {
  return {
    name: 'PersistentVolumeClaimResize',
    handles: (operation, group, resource, subresource) =>
      operation === 'UPDATE' && group === '' && resource === 'persistentvolumeclaims' && subresource === '',
    validate(a) {
      const pvc = a.object as unknown as PersistentVolumeClaim | undefined;
      const old = a.oldObject as unknown as PersistentVolumeClaim | undefined;
      if (pvc === undefined || old === undefined) return;
      const size = pvc.spec?.resources?.requests?.['storage'] ?? '0';
      const before = old.spec?.resources?.requests?.['storage'] ?? '0';
      if (size === before || compareQuantityText(size, before) <= 0) return;
      if (old.status?.phase !== 'Bound') throw refuse(a, 'Only bound persistent volume claims can be expanded');
      const name = claimClass(pvc);
      const sc =
        name === '' || name !== claimClass(old)
          ? undefined
          : cachedObject<StorageClass>(deps.registries, 'storage.k8s.io', 'storageclasses', '', name);
      if (sc?.allowVolumeExpansion !== true)
        throw refuse(
          a,
          'only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must support resize',
        );
    },
  };
}
