/**
 * Field management (apimachinery util/managedfields over structured-merge-diff merge): who owns which field. `updateObject`
 * keeps `managedFields` for every write that is not an apply, `applyObject` merges an applied configuration, finds conflicts
 * and takes away what its manager no longer applies and nobody else owns. Inputs are never mutated, unchanged entries keep
 * their identity.
 */
import { jsonEqual } from '../patch/values.ts';
import type { KubeObject, ManagedFieldsEntry, ObjectMeta } from '../object.ts';
import { zeroStruct } from '../schema/canonicalize.ts';
import type { ObjectSchema } from '../schema/schema.ts';
import { badRequest, StatusError } from '../status.ts';
import type { StatusCause } from '../status.ts';
import { goQuote } from '../codec/json.ts';
import type { Managed, Managers } from './entries.ts';
import { capUpdateManagers, decodeEntries, encodeEntries, identifier, isReset } from './entries.ts';
import type { FieldSet } from './field-set.ts';
import {
  differenceSets,
  emptyFieldSet,
  equalSets,
  hasPath,
  intersectSets,
  isEmptySet,
  pathsOf,
  pathText,
  recursiveDifferenceSets,
  setOfFields,
  unionSets,
} from './field-set.ts';
import type { Comparison } from './typed-compare.ts';
import { TypedError } from './typed.ts';
import { compareValues, noChange } from './typed-compare.ts';
import { reconcileWithSchema, toFieldSet, withNamedFields } from './typed-fields.ts';
import { mergeValues, removeItems } from './typed-merge.ts';
import { validateTyped } from './typed-validate.ts';

export interface FieldManagerOptions {
  /** Schema of the objects in `apiVersion`. */
  readonly schema: ObjectSchema;
  readonly apiVersion: string;
  /** When given, applied configurations must be of this kind. */
  readonly kind?: string;
  readonly subresource?: string;
  /** Per version, paths (field names) that this endpoint resets, and so never owns. */
  readonly resetFields?: Readonly<Record<string, readonly (readonly string[])[]>>;
  /** Converts for entries of other versions; undefined when the version is gone. Without it only `apiVersion` is known. */
  readonly convert?: (object: KubeObject, toApiVersion: string) => KubeObject | undefined;
  /** Schemas of other versions; `schema` is taken where it gives none. */
  readonly schemaFor?: (apiVersion: string) => ObjectSchema | undefined;
  readonly hubApiVersion?: string;
  /** A schema that may have changed since entries were written (custom resources): reconcile them with it. */
  readonly schemaMayChange?: boolean;
  /** A version that is no more and that nothing can be converted to: objects with entries of it cannot be tracked. */
  readonly gone?: (apiVersion: string) => boolean;
}

const beforeFirstApply = 'before-first-apply';
export const lastAppliedAnnotation = 'kubectl.kubernetes.io/last-applied-configuration';
const maxAnnotationsBytes = 256 * 1024;

/** What no manager owns. */
const strippedFields: FieldSet = setOfFields([
  ['apiVersion'],
  ['kind'],
  ['metadata'],
  ['metadata', 'name'],
  ['metadata', 'namespace'],
  ['metadata', 'creationTimestamp'],
  ['metadata', 'selfLink'],
  ['metadata', 'uid'],
  ['metadata', 'clusterName'],
  ['metadata', 'generation'],
  ['metadata', 'managedFields'],
  ['metadata', 'resourceVersion'],
]);

interface Conflict {
  readonly holder: Managed;
  readonly path: string[];
}

class ConflictsError extends Error {
  readonly conflicts: readonly Conflict[];

  constructor(conflicts: readonly Conflict[]) {
    super('apply conflicts');
    this.name = 'ConflictsError';
    this.conflicts = conflicts;
  }
}

class VersionGone extends Error {
  constructor(apiVersion: string) {
    super(`request to convert CR to an invalid group/version: ${apiVersion}`);
    this.name = 'VersionGone';
  }
}

/** `apps/v1, Kind=Deployment`, `/v1, Kind=Pod`: as Go prints a GroupVersionKind. */
export function printGroupVersionKind(apiVersion: unknown, kind: unknown): string {
  const version = typeof apiVersion === 'string' ? apiVersion : '';
  return `${version.includes('/') ? '' : '/'}${version}, Kind=${typeof kind === 'string' ? kind : ''}`;
}

/** Keeps the managedFields of the objects of one endpoint (resource, version, subresource). */
export class FieldManager {
  readonly #schema: ObjectSchema;
  readonly #apiVersion: string;
  readonly #kind: string | undefined;
  readonly #subresource: string;
  readonly #reset: ReadonlyMap<string, FieldSet>;
  readonly #convert: FieldManagerOptions['convert'];
  readonly #schemaFor: FieldManagerOptions['schemaFor'];
  readonly #schemaMayChange: boolean;
  readonly #gone: FieldManagerOptions['gone'];
  /** What an object of the type is before anything is written to it. */
  readonly #blank: KubeObject;

  constructor(options: FieldManagerOptions) {
    this.#schema = options.schema;
    this.#apiVersion = options.apiVersion;
    this.#kind = options.kind;
    this.#subresource = options.subresource ?? '';
    this.#reset = new Map(
      Object.entries(options.resetFields ?? {}).map(([version, paths]) => [version, setOfFields(paths)]),
    );
    this.#convert = options.convert;
    this.#schemaFor = options.schemaFor;
    this.#schemaMayChange = options.schemaMayChange ?? false;
    this.#gone = options.gone;
    this.#blank = { metadata: {}, ...zeroStruct(options.schema) };
  }

  /**
   * The object of a create, update or patch with its managedFields.
   * @param live the object before; undefined when it is created
   * @param next the object to be written, canonical; its own managedFields count where they are well formed
   * @param now metav1.Time text
   */
  updateObject(live: KubeObject | undefined, next: KubeObject, manager: string, now: string): KubeObject {
    const managers = this.#decodeLiveOrNew(live, next);
    // An object that never was tracked stays so until it is applied to.
    if (managers.size === 0 && live?.metadata.uid !== undefined && live.metadata.uid !== '') {
      return withManagedFields(next, undefined);
    }
    try {
      this.#checkFits(next);
      if (live !== undefined) this.#checkFits(live);
      this.#update(live ?? this.#blank, next, managers, manager, now);
    } catch (e) {
      // An object that does not fit its schema cannot be tracked; validation will say so.
      if (e instanceof TypedError || e instanceof VersionGone) return withManagedFields(next, undefined);
      throw e;
    }
    return withManagedFields(next, encodeEntries(managers, live?.metadata.managedFields));
  }

  /**
   * The object that results from an applied configuration, with its managedFields. It is merged, not yet defaulted. When the
   * configuration changes nothing, it is `live` but for its managedFields (and `live` itself when these do not change).
   * @param live the object before; undefined when it is created
   * @param config the configuration as it was sent
   * @throws {StatusError} 409 with a cause for each conflict, 400 for a configuration that cannot be applied
   */
  applyObject(
    live: KubeObject | undefined,
    config: KubeObject,
    manager: string,
    force: boolean,
    now: string,
  ): KubeObject {
    this.#checkConfiguration(config);
    this.#checkLive(live);
    const from = decodeEntries(live?.metadata.managedFields);
    if (from === undefined) {
      throw badRequest('failed to decode managed fields: the managedFields of the live object are malformed');
    }
    let result: KubeObject;
    let managers: Managers;
    try {
      ({ result, managers } = this.#applyAsKubectl(live, config, from, manager, force, now));
    } catch (e) {
      if (e instanceof ConflictsError) throw conflictStatus(e.conflicts);
      if (e instanceof TypedError) throw badRequest(e.message, e);
      if (e instanceof VersionGone) throw new StatusError(500, '', e.message, undefined, { cause: e });
      throw e;
    }
    if (manager === 'kubectl' && hasLastApplied(result)) result = withLastApplied(result, config);
    return withManagedFields(result, encodeEntries(managers, live?.metadata.managedFields));
  }

  /** Custom resources alone may have got in without fitting their schema of today. @throws {TypedError} */
  #checkFits(object: KubeObject): void {
    if (this.#schemaMayChange) validateTyped(this.#schema, object, true);
  }

  #checkLive(live: KubeObject | undefined): void {
    if (live === undefined) return;
    try {
      this.#checkFits(live);
    } catch (e) {
      if (!(e instanceof TypedError)) throw e;
      const { namespace = '', name = '' } = live.metadata;
      const what = `${namespace}/${name}; ${printGroupVersionKind(live.apiVersion, live.kind)}`;
      throw new StatusError(500, '', `failed to create typed live object (${what}): ${e.message}`, undefined, {
        cause: e,
      });
    }
  }

  #checkConfiguration(config: KubeObject): void {
    if (config.apiVersion !== this.#apiVersion || (this.#kind !== undefined && (config.kind ?? '') !== this.#kind)) {
      throw badRequest(`invalid object type: ${printGroupVersionKind(config.apiVersion, config.kind)}`);
    }
    if (config.metadata?.managedFields !== undefined && config.metadata.managedFields !== null) {
      throw badRequest('metadata.managedFields must be nil');
    }
    try {
      validateTyped(this.#schema, config);
    } catch (e) {
      if (!(e instanceof TypedError)) throw e;
      const { namespace, name } = config.metadata ?? {};
      throw new StatusError(
        500,
        '',
        `failed to create typed patch object (${namespace ?? ''}/${name ?? ''}; ${printGroupVersionKind(config.apiVersion, config.kind)}): ${e.message}`,
        undefined,
        { cause: e },
      );
    }
  }

  /** The managedFields that a write starts from: the request's where it sends proper ones, otherwise the live object's. */
  #decodeLiveOrNew(live: KubeObject | undefined, next: KubeObject): Managers {
    const liveFields = live?.metadata.managedFields;
    const fields = next.metadata?.managedFields;
    if (this.#subresource === '' && fields !== undefined && fields !== null && fields !== liveFields) {
      if (isReset(fields)) return new Map();
      if (liveFields === undefined || !jsonEqual(fields, liveFields)) {
        const own = decodeEntries(fields, true);
        if (own !== undefined && own.size > 0) return own;
      }
    }
    return decodeEntries(liveFields) ?? new Map();
  }

  #schemaOf(apiVersion: string): ObjectSchema {
    return apiVersion === this.#apiVersion ? this.#schema : (this.#schemaFor?.(apiVersion) ?? this.#schema);
  }

  /** The object in another version, undefined when there is no such version (any more). */
  #inVersion(object: KubeObject, from: string, to: string): KubeObject | undefined {
    return from === to ? object : this.#convert?.(object, to);
  }

  #withoutReset(set: FieldSet, apiVersion: string): FieldSet {
    const reset = this.#reset.get(apiVersion);
    return reset === undefined ? set : recursiveDifferenceSets(set, reset);
  }

  #compare(before: KubeObject, after: KubeObject, apiVersion: string): Comparison {
    const c = compareObjects(this.#schemaOf(apiVersion), before, after);
    const reset = this.#reset.get(apiVersion);
    if (reset === undefined || c === noChange) return c;
    return {
      added: recursiveDifferenceSets(c.added, reset),
      modified: recursiveDifferenceSets(c.modified, reset),
      removed: recursiveDifferenceSets(c.removed, reset),
    };
  }

  #reconcile(managers: Managers): void {
    if (!this.#schemaMayChange) return;
    for (const [id, m] of managers) {
      if (m.apiVersion !== this.#apiVersion && this.#gone?.(m.apiVersion) === true) throw new VersionGone(m.apiVersion);
      const set = reconcileWithSchema(m.set, this.#schemaOf(m.apiVersion));
      if (set !== m.set) managers.set(id, { ...m, set, entry: undefined });
    }
  }

  /** Takes from every manager but `except` what the change of the object takes; with conflicts refused unless `force`. */
  #change(
    before: KubeObject,
    after: KubeObject,
    managers: Managers,
    except: string | undefined,
    force: boolean,
  ): Comparison {
    const own = this.#compare(before, after, this.#apiVersion);
    const comparisons = new Map<string, Comparison>([[this.#apiVersion, own]]);
    const conflicts: Conflict[] = [];
    const left: [string, Managed | undefined][] = [];
    for (const [id, m] of managers) {
      if (id === except) continue;
      let c = comparisons.get(m.apiVersion);
      if (c === undefined) {
        const oldObject = this.#inVersion(before, this.#apiVersion, m.apiVersion);
        const newObject = this.#inVersion(after, this.#apiVersion, m.apiVersion);
        if (oldObject === undefined || newObject === undefined) {
          left.push([id, undefined]);
          continue;
        }
        c = this.#compare(oldObject, newObject, m.apiVersion);
        comparisons.set(m.apiVersion, c);
      }
      if (c === noChange) continue;
      const taken = intersectSets(m.set, unionSets(c.modified, c.added));
      if (!isEmptySet(taken) && !force) for (const path of pathsOf(taken)) conflicts.push({ holder: m, path });
      const set = differenceSets(differenceSets(m.set, taken), c.removed);
      if (set !== m.set) left.push([id, isEmptySet(set) ? undefined : { ...m, set, entry: undefined }]);
    }
    if (conflicts.length > 0) throw new ConflictsError(conflicts);
    for (const [id, m] of left) {
      if (m === undefined) managers.delete(id);
      else managers.set(id, m);
    }
    for (const [id, m] of managers) if (isEmptySet(m.set)) managers.delete(id);
    return own;
  }

  /** A write that is not an apply: what it changed belongs to the manager now. */
  #update(live: KubeObject, next: KubeObject, managers: Managers, manager: string, now: string): void {
    this.#reconcile(managers);
    const name = manager === '' ? 'unknown' : manager;
    const id = identifier(name, 'Update', this.#apiVersion, this.#subresource);
    const previous = managers.get(id);
    const change = this.#change(live, next, managers, id, true);
    if (change !== noChange) {
      const taken = unionSets(change.modified, change.added);
      const mine = differenceSets(taken, strippedFields);
      let set = mine;
      if (previous !== undefined) {
        let kept = differenceSets(previous.set, change.removed);
        if (mine !== taken) kept = differenceSets(kept, differenceSets(taken, mine));
        set = unionSets(kept, mine);
      }
      // The time says when the manager last took something; losing fields does not count.
      const time = isEmptySet(mine) ? previous?.time : now;
      if (isEmptySet(set)) managers.delete(id);
      else if (previous === undefined || set !== previous.set || time !== previous.time) {
        managers.set(id, {
          manager: name,
          operation: 'Update',
          subresource: this.#subresource,
          apiVersion: this.#apiVersion,
          time,
          set,
        });
      }
    }
    capUpdateManagers(managers);
  }

  /** Apply, with the rules for objects that `kubectl apply` of old kept an annotation on. */
  #applyAsKubectl(
    live: KubeObject | undefined,
    config: KubeObject,
    from: Managers,
    manager: string,
    force: boolean,
    now: string,
  ): { result: KubeObject; managers: Managers } {
    try {
      return this.#applyTracked(live, config, new Map(from), manager, force, now);
    } catch (e) {
      if (manager !== 'kubectl' || !(e instanceof ConflictsError) || live === undefined) throw e;
      const allowed = this.#ownedByLastApplied(live);
      if (allowed === undefined) throw e;
      const conflicts = e.conflicts.filter((c) => !hasPath(allowed, c.path));
      if (conflicts.length > 0) throw new ConflictsError(conflicts);
      return this.#applyTracked(live, config, new Map(from), manager, true, now);
    }
  }

  /** Fields that the last client-side apply set and that still are as it set them. */
  #ownedByLastApplied(live: KubeObject): FieldSet | undefined {
    const text = live.metadata.annotations?.[lastAppliedAnnotation];
    if (text === undefined || text === '') return undefined;
    try {
      const last = JSON.parse(text) as KubeObject;
      if (last.apiVersion !== this.#apiVersion) return undefined;
      validateTyped(this.#schema, last);
      const c = compareValues(this.#schema, last, withoutManagedFields(live));
      const owned = toFieldSet(this.#schema, last);
      return differenceSets(differenceSets(differenceSets(owned, c.modified), c.added), c.removed);
    } catch (e) {
      // An annotation that cannot be read gives no rights.
      if (e instanceof SyntaxError || e instanceof TypedError || e instanceof TypeError) return undefined;
      throw e;
    }
  }

  #applyTracked(
    live: KubeObject | undefined,
    config: KubeObject,
    managers: Managers,
    manager: string,
    force: boolean,
    now: string,
  ): { result: KubeObject; managers: Managers } {
    // The type header of a stored object may have been left out; the configuration has it.
    const base = withHeader(live ?? this.#blank, config);
    if (managers.size === 0 && live !== undefined) {
      // Nobody was tracked so far: what there is belongs to the time before.
      this.#update(this.#blank, base, managers, beforeFirstApply, now);
    }
    const name = manager === '' ? 'unknown' : manager;
    const id = identifier(name, 'Apply', '', this.#subresource);
    this.#reconcile(managers);
    let next = mergeValues(this.#schema, base, config) as KubeObject;
    const last = managers.get(id);
    const set = this.#withoutReset(toFieldSet(this.#schema, config), this.#apiVersion);
    const mine: Managed = {
      manager: name,
      operation: 'Apply',
      subresource: this.#subresource,
      apiVersion: this.#apiVersion,
      time: last?.time,
      set,
    };
    managers.set(id, mine);
    if (!this.#coversLast(set, last)) next = this.#prune(next, managers, last);
    this.#change(base, next, managers, id, force);
    const noop = live !== undefined && equalObjects(base, next);
    const time = noop ? last?.time : now;
    const kept = differenceSets(set, strippedFields);
    if (isEmptySet(kept)) managers.delete(id);
    else {
      const same = last !== undefined && equalSets(last.set, kept);
      if (same && last.apiVersion === this.#apiVersion && last.time === time) managers.set(id, last);
      else managers.set(id, { ...mine, set: same ? last.set : kept, time });
    }
    return { result: noop ? live : next, managers };
  }

  /**
   * Nothing goes where everything applied last time is applied again: of what pruning takes away it puts back what somebody owns,
   * and then all that the manager did not own before.
   */
  #coversLast(set: FieldSet, last: Managed | undefined): boolean {
    return last?.apiVersion === this.#apiVersion && isEmptySet(differenceSets(last.set, set));
  }

  /** Takes away what the manager applied last time, does not apply now, and nobody else owns. */
  #prune(merged: KubeObject, managers: Managers, last: Managed | undefined): KubeObject {
    if (last === undefined || isEmptySet(last.set)) return merged;
    const version = last.apiVersion;
    const mergedThere = this.#inVersion(merged, this.#apiVersion, version);
    if (mergedThere === undefined) return merged;
    const schema = this.#schemaOf(version);
    const lastNamed = withNamedFields(last.set, schema);
    const candidate = removeItems(schema, mergedThere, lastNamed) as KubeObject;
    if (candidate === mergedThere) return merged;
    const pruned = this.#addBackOwned(mergedThere, candidate, version, managers);

    // Only what the manager itself owned may go.
    const prunedSet = withNamedFields(toFieldSet(schema, pruned), schema);
    const mergedSet = withNamedFields(toFieldSet(schema, mergedThere), schema);
    const gone = intersectSets(differenceSets(mergedSet, prunedSet), lastNamed);
    const result = removeItems(schema, mergedThere, gone) as KubeObject;
    if (result === mergedThere) return merged;
    return this.#inVersion(result, version, this.#apiVersion) ?? merged;
  }

  #addBackOwned(merged: KubeObject, pruned: KubeObject, version: string, managers: Managers): KubeObject {
    const owned = new Map<string, FieldSet>();
    for (const m of managers.values()) {
      owned.set(m.apiVersion, unionSets(owned.get(m.apiVersion) ?? emptyFieldSet, m.set));
    }
    // The version that was pruned goes first: what is required for converting must be there again.
    const versions = [version, ...[...owned.keys()].filter((v) => v !== version)].filter((v) => owned.has(v));
    let at = version;
    let current = merged;
    let result = pruned;
    for (const v of versions) {
      const there = this.#inVersion(current, at, v);
      const prunedThere = this.#inVersion(result, at, v);
      if (there === undefined || prunedThere === undefined) continue;
      const schema = this.#schemaOf(v);
      const all = withNamedFields(toFieldSet(schema, there), schema);
      const kept = unionSets(
        withNamedFields(toFieldSet(schema, prunedThere), schema),
        withNamedFields(owned.get(v)!, schema),
      );
      current = there;
      result = removeItems(schema, there, differenceSets(all, kept)) as KubeObject;
      at = v;
    }
    return this.#inVersion(result, at, version) ?? pruned;
  }
}

// Objects --------------------------------------------------------------------------------------------------------------

/** Compares two objects but for their managedFields (which nobody owns). */
function compareObjects(schema: ObjectSchema, before: KubeObject, after: KubeObject): Comparison {
  if (before === after) return noChange;
  return compareValues(schema, withoutManagedFields(before), withoutManagedFields(after));
}

function withoutManagedFields(object: KubeObject): KubeObject {
  if (object.metadata?.managedFields === undefined) return object;
  const { managedFields: _, ...metadata } = object.metadata;
  return { ...object, metadata };
}

function withHeader(object: KubeObject, config: KubeObject): KubeObject {
  if (object.apiVersion === config.apiVersion && object.kind === config.kind) return object;
  return { ...object, apiVersion: config.apiVersion, kind: config.kind };
}

function equalObjects(a: KubeObject, b: KubeObject): boolean {
  if (a === b) return true;
  return jsonEqual(withoutManagedFields(a), withoutManagedFields(b));
}

function withManagedFields(object: KubeObject, managedFields: ManagedFieldsEntry[] | undefined): KubeObject {
  const metadata: ObjectMeta = object.metadata ?? {};
  if (managedFields === undefined) {
    if (!('managedFields' in metadata)) return object;
    const { managedFields: _, ...rest } = metadata;
    return { ...object, metadata: rest };
  }
  if (metadata.managedFields === managedFields) return object;
  return { ...object, metadata: { ...metadata, managedFields } };
}

// Conflicts ------------------------------------------------------------------------------------------------------------

function holderText(m: Managed): string {
  let text = goQuote(m.manager);
  if (m.subresource !== '') text += ` with subresource ${goQuote(m.subresource)}`;
  return m.operation === 'Update' ? `${text} using ${m.apiVersion}` : text;
}

function conflictStatus(conflicts: readonly Conflict[]): StatusError {
  const causes: StatusCause[] = conflicts.map((c) => ({
    reason: 'FieldManagerConflict',
    message: `conflict with ${holderText(c.holder)}`,
    field: pathText(c.path),
  }));
  let message: string;
  if (conflicts.length === 1) {
    const only = conflicts[0]!;
    message = `Apply failed with 1 conflict: conflict with ${holderText(only.holder)}: ${pathText(only.path)}`;
  } else {
    const lines: string[] = [];
    const byHolder = new Map<string, string[]>();
    for (const c of conflicts) {
      const holder = holderText(c.holder);
      const paths = byHolder.get(holder);
      if (paths === undefined) byHolder.set(holder, [pathText(c.path)]);
      else paths.push(pathText(c.path));
    }
    for (const holder of [...byHolder.keys()].sort()) {
      lines.push(`conflicts with ${holder}:`, ...byHolder.get(holder)!.map((p) => `- ${p}`));
    }
    message = `Apply failed with ${conflicts.length} conflicts: ${lines.join('\n')}`;
  }
  return new StatusError(409, 'Conflict', message, { causes });
}

// kubectl's annotation -------------------------------------------------------------------------------------------------

function hasLastApplied(object: KubeObject): boolean {
  const text = object.metadata.annotations?.[lastAppliedAnnotation];
  return text !== undefined && text !== '';
}

/** JSON with sorted members and a final newline, `<`, `>` and `&` escaped, as Go's encoder writes maps. */
function goMapJson(value: unknown): string {
  const write = (v: unknown): string => {
    if (Array.isArray(v)) return `[${v.map(write).join(',')}]`;
    if (typeof v === 'object' && v !== null) {
      const members = v as Record<string, unknown>;
      return `{${Object.keys(members)
        .sort()
        .filter((k) => members[k] !== undefined)
        .map((k) => `${JSON.stringify(k)}:${write(members[k])}`)
        .join(',')}}`;
    }
    return typeof v === 'bigint' ? v.toString() : (JSON.stringify(v) ?? 'null');
  };
  const text = write(value).replace(/[<>&\u2028\u2029]/g, (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, '0')}`);
  return `${text}\n`;
}

/** Brings the client-side annotation up to date with what was applied; leaves it out where it would be too long. */
function withLastApplied(object: KubeObject, config: KubeObject): KubeObject {
  const { [lastAppliedAnnotation]: _, ...configAnnotations } = config.metadata.annotations ?? {};
  const configMetadata: ObjectMeta = { ...config.metadata };
  if (config.metadata.annotations !== undefined) {
    if (Object.keys(configAnnotations).length > 0) configMetadata.annotations = configAnnotations;
    else delete configMetadata.annotations;
  }
  const text = goMapJson({ ...config, metadata: configMetadata });
  const { [lastAppliedAnnotation]: before, ...others } = object.metadata.annotations ?? {};
  if (before === text) return object;
  let bytes = Buffer.byteLength(lastAppliedAnnotation) + Buffer.byteLength(text);
  for (const [key, value] of Object.entries(others)) bytes += Buffer.byteLength(key) + Buffer.byteLength(value);
  const annotations =
    bytes > maxAnnotationsBytes ? others : { ...object.metadata.annotations, [lastAppliedAnnotation]: text };
  return { ...object, metadata: { ...object.metadata, annotations } };
}

// For the write path ---------------------------------------------------------------------------------------------------

/**
 * A write whose only change is in the times of managedFields is none: such an object gets the live one's managedFields back,
 * and then equals it.
 */
export function ignoreManagedFieldsTimestamps(live: KubeObject, next: KubeObject): KubeObject {
  const before = live.metadata.managedFields;
  const after = next.metadata.managedFields;
  if (before === after || before === undefined || after === undefined || before.length !== after.length) return next;
  for (let i = 0; i < before.length; i++) {
    const { time: _, ...x } = before[i]!;
    const { time: __, ...y } = after[i]!;
    if (!jsonEqual(x, y)) return next;
  }
  return equalObjects(live, next) ? withManagedFields(next, before) : next;
}
