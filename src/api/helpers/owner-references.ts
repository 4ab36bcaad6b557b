/** Owner references: who controls an object, and the reference a controller writes into what it makes. */
import type { KubeObject, ObjectMeta, OwnerReference } from '../object.ts';
import { apiVersionOf } from '../object.ts';

interface HasMeta {
  readonly metadata: ObjectMeta;
}

/** The reference with `controller: true`, if there is one. */
export function controllerOf(object: HasMeta): OwnerReference | undefined {
  const refs = object.metadata.ownerReferences;
  if (refs === undefined) return undefined;
  for (const ref of refs) if (ref.controller === true) return ref;
  return undefined;
}

/** True when `owner` controls `object`. */
export function isControlledBy(object: HasMeta, owner: HasMeta): boolean {
  return controllerOf(object)?.uid === owner.metadata.uid;
}

/** A controller reference that also blocks the owner's foreground deletion, as controllers write it. */
export function newControllerRef(
  owner: KubeObject | HasMeta,
  kind: { readonly group: string; readonly version: string; readonly kind: string },
): OwnerReference {
  return {
    apiVersion: apiVersionOf(kind),
    kind: kind.kind,
    name: owner.metadata.name ?? '',
    uid: owner.metadata.uid ?? '',
    controller: true,
    blockOwnerDeletion: true,
  };
}

export function sameOwnerReference(a: OwnerReference | undefined, b: OwnerReference | undefined): boolean {
  if (a === b) return true;
  if (a === undefined || b === undefined) return false;
  return (
    a.uid === b.uid &&
    a.name === b.name &&
    a.kind === b.kind &&
    a.apiVersion === b.apiVersion &&
    (a.controller ?? false) === (b.controller ?? false) &&
    (a.blockOwnerDeletion ?? false) === (b.blockOwnerDeletion ?? false)
  );
}
