/** StorageObjectInUseProtection: claims, volumes and volume attribute classes get the finalizer that keeps them while used. */
import type { AdmissionPlugin } from '../context.ts';
import { metadataOf, withMetadata } from './attributes.ts';

const finalizers: Readonly<Record<string, string>> = {
  '/persistentvolumes': 'kubernetes.io/pv-protection',
  '/persistentvolumeclaims': 'kubernetes.io/pvc-protection',
  'storage.k8s.io/volumeattributesclasses': 'kubernetes.io/vac-protection',
};

export const storageObjectInUseProtection: AdmissionPlugin = {
  name: 'StorageObjectInUseProtection',
  handles: (operation, group, resource, subresource) =>
    operation === 'CREATE' && subresource === '' && finalizers[`${group}/${resource}`] !== undefined,
  mutate(a) {
    if (a.object === undefined) return undefined;
    const finalizer = finalizers[`${a.group}/${a.resource}`]!;
    const present = metadataOf(a.object).finalizers ?? [];
    return present.includes(finalizer) ? a.object : withMetadata(a.object, { finalizers: [...present, finalizer] });
  },
};
