/** Owner references: who controls an object, and the reference a controller writes (apimachinery metav1.GetControllerOf, NewControllerRef). */
import type { KubeObject, OwnerReference } from '../object.ts';

/** The reference with `controller: true`, if there is one. */
export function controllerOf(object: Pick<KubeObject, 'metadata'>): OwnerReference | undefined {
  return object.metadata.ownerReferences?.find((r) => r.controller === true);
}

/** Is `object` controlled by the owner with this uid? */
export function isControlledBy(object: Pick<KubeObject, 'metadata'>, owner: Pick<KubeObject, 'metadata'>): boolean {
  return controllerOf(object)?.uid === owner.metadata.uid;
}

/** A controlling reference to `owner`, which blocks the owner's foreground deletion. */
export function newControllerRef(
  owner: Pick<KubeObject, 'metadata'>,
  apiVersion: string,
  kind: string,
): OwnerReference {
  return {
    apiVersion,
    kind,
    name: owner.metadata.name ?? '',
    uid: owner.metadata.uid ?? '',
    controller: true,
    blockOwnerDeletion: true,
  };
}
