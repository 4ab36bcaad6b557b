/** Which of several classes (StorageClass, IngressClass) is the default one. */
import type { ObjectMeta } from '../object.ts';
import type { StorageClass } from '../types/storage-v1.gen.ts';

export function isDefaultStorageClass({ metadata }: StorageClass): boolean {
  const annotations = metadata?.annotations;
  return (
    annotations?.['storageclass.kubernetes.io/is-default-class'] === 'true' ||
    annotations?.['storageclass.beta.kubernetes.io/is-default-class'] === 'true'
  );
}

/** Of those that are marked: the newest, then by name. */
export function newestClass<T extends { metadata?: ObjectMeta }>(classes: Iterable<T>): T | undefined {
  return [...classes].sort((a, b) => {
    const [x, y] = [a.metadata?.creationTimestamp ?? '', b.metadata?.creationTimestamp ?? ''];
    if (x !== y) return x > y ? -1 : 1;
    return (a.metadata?.name ?? '') < (b.metadata?.name ?? '') ? -1 : 1;
  })[0];
}

export function defaultStorageClass(classes: Iterable<StorageClass>): StorageClass | undefined {
  return newestClass([...classes].filter(isDefaultStorageClass));
}
