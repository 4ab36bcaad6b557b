/**
 * managedFields between an object and its scale subresource (apimachinery managedfields.ScaleHandler): whoever owns the
 * replicas of the one owns those of the other.
 */
import type { ManagedFieldsEntry } from '../object.ts';
import type { Managed, Managers } from './entries.ts';
import { decodeEntries, encodeEntries, identifier } from './entries.ts';
import type { FieldSet } from './field-set.ts';
import { differenceSets, fieldElement, hasPath, isEmptySet, setOfFields } from './field-set.ts';

/** Per version of the object, where its replicas are (`['spec', 'replicas']`); null where it has no scale. */
export type ReplicasPaths = Readonly<Record<string, readonly string[] | null>>;

const scaleVersion = 'autoscaling/v1';
const replicasInScale = ['spec', 'replicas'];

function elements(path: readonly string[]): string[] {
  return path.map(fieldElement);
}

function put(managers: Managers, m: Managed, apiVersion: string, set: FieldSet): void {
  managers.set(identifier(m.manager, m.operation, apiVersion, m.subresource), {
    ...m,
    apiVersion,
    set,
    entry: undefined,
  });
}

/** The managedFields that a Scale shows: of the object's managers, those that own its replicas. */
export function scaleManagedFields(
  parent: ManagedFieldsEntry[] | undefined,
  paths: ReplicasPaths,
): ManagedFieldsEntry[] | undefined {
  const managers: Managers = new Map();
  for (const m of decodeEntries(parent)?.values() ?? []) {
    const path = paths[m.apiVersion];
    if (path === undefined || path === null || !hasPath(m.set, elements(path))) continue;
    put(managers, m, scaleVersion, setOfFields([replicasInScale]));
  }
  return encodeEntries(managers, undefined);
}

/** The object's managedFields after a write to its Scale left `scale` there. */
export function parentManagedFields(
  parent: ManagedFieldsEntry[] | undefined,
  scale: ManagedFieldsEntry[] | undefined,
  apiVersion: string,
  paths: ReplicasPaths,
): ManagedFieldsEntry[] | undefined {
  const owners: Managers = new Map();
  // A Scale's entries are matched to the object's without their version, which differs.
  for (const m of decodeEntries(scale, true)?.values() ?? []) {
    owners.set(identifier(m.manager, m.operation, '', m.subresource), m);
  }
  const managers: Managers = new Map();
  for (const [id, m] of decodeEntries(parent) ?? []) {
    const path = paths[m.apiVersion];
    if (path === undefined) continue;
    if (path === null || !hasPath(m.set, elements(path))) {
      managers.set(id, m);
      continue;
    }
    const key = identifier(m.manager, m.operation, '', m.subresource);
    if (owners.has(key)) {
      managers.set(id, m);
      owners.delete(key);
      continue;
    }
    const left = differenceSets(m.set, setOfFields([path]));
    if (!isEmptySet(left)) managers.set(id, { ...m, set: left, entry: undefined });
  }
  const path = paths[apiVersion];
  if (path !== undefined && path !== null) {
    for (const m of owners.values()) {
      if (hasPath(m.set, elements(replicasInScale))) put(managers, m, apiVersion, setOfFields([path]));
    }
  }
  return encodeEntries(managers, parent);
}
