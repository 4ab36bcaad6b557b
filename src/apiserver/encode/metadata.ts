/** PartialObjectMetadata and its list (meta.k8s.io): an object with nothing but its type and metadata. */
import type { KubeObjectLike } from '../request.ts';

/** The metadata-only form of an object. `version` is that of meta.k8s.io. */
export function partialMetadata(object: KubeObjectLike, version: 'v1' | 'v1beta1'): KubeObjectLike {
  return { kind: 'PartialObjectMetadata', apiVersion: `meta.k8s.io/${version}`, metadata: object.metadata };
}
