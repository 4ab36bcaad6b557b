/**
 * The entries of `managedFields`: read into managers with their field sets, written back in upstream's order (unchanged entries
 * as they were), and kept few.
 */
import type { ManagedFieldsEntry } from '../object.ts';
import { timeMs } from '../time.ts';
import type { FieldSet } from './field-set.ts';
import { emptyFieldSet, readFieldSet, unionSets } from './field-set.ts';

/** More entries of updates than this are merged, the oldest first. */
const maxUpdateManagers = 10;
const ancientChanges = 'ancient-changes';

/** One manager's fields. */
export interface Managed {
  readonly manager: string;
  readonly operation: 'Apply' | 'Update';
  readonly subresource: string;
  readonly apiVersion: string;
  readonly time: string | undefined;
  readonly set: FieldSet;
  /** The entry that says just this. */
  readonly entry?: ManagedFieldsEntry;
}

export type Managers = Map<string, Managed>;

/** Entries of appliers are one for all versions, those of updaters one a version. */
export function identifier(manager: string, operation: string, apiVersion: string, subresource: string): string {
  return `${manager}\0${operation}\0${operation === 'Apply' ? '' : apiVersion}\0${subresource}`;
}

/** A client asks for a fresh start with an empty list, or a list of one empty entry. */
export function isReset(entries: readonly ManagedFieldsEntry[]): boolean {
  if (entries.length === 0) return true;
  if (entries.length > 1) return false;
  return Object.values(entries[0] ?? {}).every((v) => v === undefined || v === null || v === '');
}

/**
 * Reads entries; undefined where one is malformed.
 * @param foreign they come from a request: their sets are checked and put in canonical form
 */
export function decodeEntries(
  entries: readonly ManagedFieldsEntry[] | undefined,
  foreign = false,
): Managers | undefined {
  const managers: Managers = new Map();
  if (entries === undefined || entries === null) return managers;
  for (const entry of entries) {
    const { operation, apiVersion } = entry;
    if (operation !== 'Apply' && operation !== 'Update') return undefined;
    if (apiVersion === undefined || apiVersion === '' || entry.fieldsType !== 'FieldsV1') return undefined;
    const set = foreign ? readFieldSet(entry.fieldsV1) : ((entry.fieldsV1 ?? emptyFieldSet) as FieldSet);
    if (set === undefined || typeof set !== 'object') return undefined;
    const manager = entry.manager ?? '';
    const subresource = entry.subresource ?? '';
    const time = typeof entry.time === 'string' ? entry.time : undefined;
    managers.set(identifier(manager, operation, apiVersion, subresource), {
      manager,
      operation,
      subresource,
      apiVersion,
      time,
      set,
      ...(foreign ? {} : { entry }),
    });
  }
  return managers;
}

function seconds(time: string | undefined): number {
  if (time === undefined) return 0;
  const ms = timeMs(time);
  return Number.isNaN(ms) ? 0 : Math.floor(ms / 1000);
}

function compareText(a: string, b: string): number {
  return a === b ? 0 : a < b ? -1 : 1;
}

/** Writes entries in upstream's order; undefined for none, the live list itself where nothing changed. */
export function encodeEntries(
  managers: Managers,
  live: ManagedFieldsEntry[] | undefined,
): ManagedFieldsEntry[] | undefined {
  if (managers.size === 0) return undefined;
  const sorted = [...managers.values()];
  if (sorted.length > 1) {
    sorted.sort(
      (a, b) =>
        compareText(a.operation, b.operation) ||
        (a.time === b.time ? 0 : seconds(a.time) - seconds(b.time)) ||
        compareText(a.manager, b.manager) ||
        compareText(a.apiVersion, b.apiVersion) ||
        compareText(a.subresource, b.subresource),
    );
  }
  const entries = sorted.map((m) => m.entry ?? encodeEntry(m));
  if (live !== undefined && live.length === entries.length && live.every((e, i) => e === entries[i])) return live;
  return entries;
}

function encodeEntry(m: Managed): ManagedFieldsEntry {
  return {
    ...(m.manager === '' ? {} : { manager: m.manager }),
    operation: m.operation,
    apiVersion: m.apiVersion,
    ...(m.time === undefined ? {} : { time: m.time }),
    fieldsType: 'FieldsV1',
    fieldsV1: m.set,
    ...(m.subresource === '' ? {} : { subresource: m.subresource }),
  };
}

/** Merges the oldest updaters of a version into one `ancient-changes` until there are few enough. */
export function capUpdateManagers(managers: Managers): void {
  const updaters = [...managers].filter(([, m]) => m.operation === 'Update');
  if (updaters.length <= maxUpdateManagers) return;
  updaters.sort(([x, a], [y, b]) => seconds(a.time) - seconds(b.time) || compareText(x, y));
  let count = updaters.length;
  const firstOfVersion = new Map<string, string>();
  for (const [id] of updaters) {
    if (count <= maxUpdateManagers) return;
    const m = managers.get(id)!;
    const first = firstOfVersion.get(m.apiVersion);
    if (first === undefined) {
      firstOfVersion.set(m.apiVersion, id);
      continue;
    }
    const bucketId = identifier(ancientChanges, 'Update', m.apiVersion, '');
    let bucket = managers.get(bucketId);
    if (bucket === undefined) {
      bucket = managers.get(first)!;
      managers.delete(first);
    }
    managers.delete(id);
    managers.set(bucketId, {
      manager: ancientChanges,
      operation: 'Update',
      subresource: '',
      apiVersion: m.apiVersion,
      time: m.time,
      set: unionSets(m.set, bucket.set),
    });
    count--;
  }
}
