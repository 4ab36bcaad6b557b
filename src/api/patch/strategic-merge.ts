/**
 * Strategic merge patch (apimachinery util/strategicpatch): merges lists by key or as sets where the type says so, with all
 * directives ($patch, $retainKeys, $setElementOrder/…, $deleteFromPrimitiveList/…). Nothing that was given is mutated, and
 * every part that comes out the same keeps its identity.
 */
import type { Field, ObjectSchema, Schema } from '../schema/schema.ts';
import { badRequest, StatusError } from '../status.ts';
import type { JsonObject } from './values.ts';
import { goTypeName, isObject, jsonEqual, memberOf, printGo, setMember, unprocessablePatch } from './values.ts';

const directiveMarker = '$patch';
const retainKeys = '$retainKeys';
const deleteFromPrimitiveList = '$deleteFromPrimitiveList';
const setElementOrder = '$setElementOrder';

const badPrimitiveList = 'invalid patch format of primitive list';
const badRetainKeys = 'invalid patch format of retainKeys';
const badSetElementOrder = 'invalid patch format of setElementOrder list';

/**
 * Applies a parsed strategic merge patch to a built-in object.
 * @throws {StatusError} 400 for a malformed patch, 422 for one that cannot be merged
 */
export function applyStrategicMergePatch<T extends JsonObject>(document: T, patch: unknown, schema: ObjectSchema): T {
  if (!isObject(patch)) {
    const kind = Array.isArray(patch)
      ? 'array'
      : patch === null
        ? 'null'
        : typeof patch === 'boolean'
          ? 'bool'
          : typeof patch;
    throw badRequest(`json: cannot unmarshal ${kind} into Go value of type map[string]interface {}`);
  }
  return mergeMap(document, patch, schema) as T;
}

/** What upstream has no code for is the server's own fault. */
function unexplained(message: string): StatusError {
  return new StatusError(500, '', message);
}

interface Meta {
  /** Schema of the member, or of its items. */
  readonly schema: Schema | undefined;
  readonly strategy: 'merge' | 'replace' | '';
  readonly mergeKey: string;
}

function structName(schema: Schema | undefined): string {
  return schema?.kind === 'object' ? schema.name.slice(schema.name.lastIndexOf('.') + 1) : '';
}

function lookup(schema: Schema | undefined, key: string, place: 'struct' | 'slice'): Meta {
  if (schema === undefined || schema.kind === 'map') {
    throw unexplained(
      place === 'struct'
        ? 'merging an object in json but data type is not struct, instead is: map'
        : 'merging an array in json but data type is not struct, instead is: map',
    );
  }
  if (schema.kind === 'any') return { schema, strategy: '', mergeKey: '' };
  const field: Field | undefined = schema.kind === 'object' ? schema.fields.get(key) : undefined;
  if (field === undefined) {
    if (schema.kind === 'object' && schema.preserveUnknown) return { schema: undefined, strategy: '', mergeKey: '' };
    throw unexplained(
      `unable to find api field in struct ${structName(schema)} for the json field ${JSON.stringify(key)}`,
    );
  }
  const strategies = field.patchStrategy?.split(',') ?? [];
  const strategy = strategies.find((s) => s !== 'retainKeys') ?? '';
  const own = field.schema;
  return {
    schema: place === 'slice' && own.kind === 'list' ? own.items : own,
    strategy: strategy === 'merge' || strategy === 'replace' ? strategy : '',
    mergeKey: field.patchMergeKey ?? '',
  };
}

/** Go compares the dynamic types of two values. */
function sameType(a: unknown, b: unknown): boolean {
  if (Array.isArray(a)) return Array.isArray(b);
  if (a === null || b === null) return a === b;
  return !Array.isArray(b) && typeof a === typeof b;
}

function mergeMap(original: JsonObject | undefined, patchIn: JsonObject, schema: Schema | undefined): JsonObject {
  const directive = memberOf(patchIn, directiveMarker);
  if (directive !== undefined) {
    if (directive === 'replace') {
      const { [directiveMarker]: _, ...rest } = patchIn;
      return rest;
    }
    if (directive === 'delete') return {};
    throw unexplained(`unknown patch type: ${printGo(directive)} in map: ${printGo(patchIn)}`);
  }
  const before: JsonObject = original ?? {};
  let out = before;
  const write = (key: string, value: unknown): void => {
    if (Object.hasOwn(out, key) && out[key] === value) return;
    if (out === before) out = { ...before };
    setMember(out, key, value);
  };
  const drop = (key: string): void => {
    if (!Object.hasOwn(out, key)) return;
    if (out === before) out = { ...before };
    delete out[key];
  };
  /** Members of the patch that are done. */
  const handled = new Set<string>();

  const retain = memberOf(patchIn, retainKeys);
  if (Object.hasOwn(patchIn, retainKeys)) {
    handled.add(retainKeys);
    if (!Array.isArray(retain)) throw badRequest(badRetainKeys);
    const keep = new Set<unknown>(retain);
    for (const key of Object.keys(patchIn)) {
      if (key === retainKeys || patchIn[key] === null) continue;
      if (key.startsWith(deleteFromPrimitiveList) || key.startsWith(setElementOrder)) continue;
      if (!keep.has(key)) throw badRequest(badRetainKeys);
    }
    for (const key of Object.keys(before)) if (!keep.has(key)) drop(key);
  }

  for (const key of Object.keys(patchIn)) {
    if (!key.startsWith(setElementOrder)) continue;
    handled.add(key);
    const order = patchIn[key];
    if (!Array.isArray(order)) throw badArgument('[]interface {}', order);
    const listKey = directiveKey(key, setElementOrder);
    const hasOriginal = Object.hasOwn(out, listKey);
    const hasPatch = Object.hasOwn(patchIn, listKey);
    const originalList = hasOriginal ? out[listKey] : undefined;
    const patchList = hasPatch ? patchIn[listKey] : undefined;
    if (hasOriginal && !Array.isArray(originalList)) throw badArgument('[]interface {}', originalList);
    if (hasPatch && !Array.isArray(patchList)) throw badArgument('[]interface {}', patchList);
    const meta = lookup(schema, listKey, 'slice');
    checkOrder((patchList ?? []) as unknown[], order, meta.mergeKey);
    let merged: unknown[];
    if (hasOriginal && !hasPatch) merged = originalList as unknown[];
    else if (!hasOriginal && hasPatch) merged = removeDirectives(patchList).value as unknown[];
    else if (hasOriginal && hasPatch) {
      merged =
        meta.strategy === 'merge'
          ? mergeSlice(originalList as unknown[], patchList as unknown[], meta.schema, meta.mergeKey)
          : (patchList as unknown[]);
    } else continue;
    const originals = (originalList ?? []) as unknown[];
    const ofMaps = elementsAreMaps(originals, (patchList ?? []) as unknown[]);
    const result = enforceOrder(merged, order, originals, meta.mergeKey, ofMaps);
    write(listKey, sameItems(result, originals) && hasOriginal ? originals : result);
    handled.add(listKey);
  }

  for (const patchKey of Object.keys(patchIn)) {
    if (handled.has(patchKey)) continue;
    let key = patchKey;
    const value = patchIn[patchKey];
    const deleting = patchKey.startsWith(deleteFromPrimitiveList);
    if (deleting) key = directiveKey(patchKey, deleteFromPrimitiveList);
    if (value === null || value === undefined) {
      drop(key);
      continue;
    }
    const current = memberOf(out, key);
    if (!Object.hasOwn(out, key) || !sameType(current, value)) {
      if (!deleting) {
        const { value: clean, keep } = removeDirectives(discardNulls(value));
        if (keep) write(key, clean);
        else drop(key);
      }
      continue;
    }
    if (isObject(current)) {
      const meta = lookup(schema, key, 'struct');
      // A schema or something else is one value.
      const whole = meta.strategy === 'replace' || meta.schema?.kind === 'either';
      if (whole) write(key, jsonEqual(current, value) ? current : value);
      else write(key, mergeMap(current, value as JsonObject, meta.schema));
    } else if (Array.isArray(current)) {
      const meta = lookup(schema, key, 'slice');
      const patchList = value as unknown[];
      if (deleting) write(key, deleteItems(current, patchList, meta));
      else if (meta.strategy === 'merge') write(key, mergeSlice(current, patchList, meta.schema, meta.mergeKey));
      else write(key, jsonEqual(current, patchList) ? current : patchList);
    } else write(key, value);
  }
  return out;
}

function directiveKey(key: string, prefix: string): string {
  if (!key.startsWith(`${prefix}/`)) {
    throw badRequest(prefix === setElementOrder ? badSetElementOrder : badPrimitiveList);
  }
  return key.slice(prefix.length + 1);
}

function badArgument(expected: string, actual: unknown): Error {
  return unexplained(`expected a ${expected}, but received a ${goTypeName(actual)}`);
}

function noMergeKey(item: unknown, mergeKey: string): Error {
  return unexplained(`map: ${printGo(item)} does not contain declared merge key: ${mergeKey}`);
}

/** A value without the null members of its objects, at any depth. */
function discardNulls(value: unknown): unknown {
  if (Array.isArray(value)) {
    const items = value.map(discardNulls);
    return sameItems(items, value) ? value : items;
  }
  if (!isObject(value)) return value;
  let out = value;
  for (const key of Object.keys(value)) {
    const member = value[key];
    const next = member === null ? undefined : discardNulls(member);
    if (next === member) continue;
    if (out === value) out = { ...value };
    if (next === undefined) delete out[key];
    else setMember(out, key, next);
  }
  return out;
}

/** A value without the maps that are directives, and whether the value itself is to be kept. */
function removeDirectives(value: unknown): { value: unknown; keep: boolean } {
  if (Array.isArray(value)) {
    const items: unknown[] = [];
    for (const item of value) {
      const r = removeDirectives(item);
      if (r.keep) items.push(r.value);
    }
    return { value: sameItems(items, value) ? value : items, keep: true };
  }
  if (!isObject(value)) return { value, keep: true };
  if (Object.hasOwn(value, directiveMarker)) return { value: null, keep: false };
  let out = value;
  for (const key of Object.keys(value)) {
    const r = removeDirectives(value[key]);
    if (r.keep && r.value === value[key]) continue;
    if (out === value) out = { ...value };
    if (r.keep) setMember(out, key, r.value);
    else delete out[key];
  }
  return { value: out, keep: true };
}

function sameItems(a: readonly unknown[], b: readonly unknown[]): boolean {
  return a.length === b.length && a.every((item, i) => item === b[i]);
}

/** Whether the elements are maps; they must all be of one type. */
function elementsAreMaps(...lists: (readonly unknown[])[]): boolean {
  let first: unknown;
  let seen = false;
  for (const list of lists) {
    for (const item of list) {
      if (!seen) {
        if (Array.isArray(item)) throw unprocessablePatch('lists of lists are not supported');
        first = item;
        seen = true;
      } else if (!sameType(first, item)) {
        throw unexplained(`list element types are not identical: ${printGo(lists)}`);
      }
    }
  }
  if (!seen) throw unexplained('no elements in any of the given slices');
  return isObject(first);
}

function keyOf(item: unknown, mergeKey: string): unknown {
  return isObject(item) ? memberOf(item, mergeKey) : undefined;
}

/** Positions by merge key (or by value), the first one winning. */
function positions(list: readonly unknown[], mergeKey: string, ofMaps: boolean): Map<unknown, number> {
  const map = new Map<unknown, number>();
  list.forEach((item, i) => {
    const key = ofMaps ? keyOf(item, mergeKey) : item;
    if (!map.has(key)) map.set(key, i);
  });
  return map;
}

/** The patch list must name its items in the order of the $setElementOrder list. */
function checkOrder(patchList: readonly unknown[], order: readonly unknown[], mergeKey: string): void {
  if (order.length === 0 || patchList.length === 0) return;
  let items = patchList;
  if (mergeKey !== '') {
    for (const item of patchList) if (!isObject(item)) throw badArgument('map[string]interface {}', item);
    items = patchList.filter((item) => memberOf(item as JsonObject, directiveMarker) !== 'delete');
  }
  let p = 0;
  let o = 0;
  while (p < items.length && o < order.length) {
    const item = items[p];
    if (isObject(item) && Object.hasOwn(item, directiveMarker)) {
      p++;
      continue;
    }
    let equal: boolean;
    if (mergeKey === '') equal = item === order[o];
    else {
      for (const side of [item, order[o]]) {
        if (!isObject(side)) throw badArgument('map[string]interface {}', side);
        if (!Object.hasOwn(side, mergeKey)) throw noMergeKey(side, mergeKey);
      }
      equal = keyOf(item, mergeKey) === keyOf(order[o], mergeKey);
    }
    if (equal) p++;
    o++;
  }
  if (p < items.length && o >= order.length) {
    throw unexplained(
      `The order in patch list:\n${printGo(patchList)}\n doesn't match ${setElementOrder} list:\n${printGo(order)}\n`,
    );
  }
}

/** Items that the order names go by it, the others by their old places; both are merged by the old places. */
function enforceOrder(
  merged: readonly unknown[],
  order: readonly unknown[],
  serverOrder: readonly unknown[],
  mergeKey: string,
  ofMaps: boolean,
): unknown[] {
  if (ofMaps) {
    for (const item of merged) {
      if (!isObject(item)) throw badArgument('map[string]interface {}', item);
      if (!Object.hasOwn(item, mergeKey)) throw noMergeKey(item, mergeKey);
    }
    for (const [i, item] of order.entries()) if (!isObject(item)) throw unexplained(`value for key ${i} is not a map`);
  }
  const identity = (item: unknown): unknown => (ofMaps ? keyOf(item, mergeKey) : item);
  const wanted = positions(order, mergeKey, ofMaps);
  const old = positions(serverOrder, mergeKey, ofMaps);
  const patched: unknown[] = [];
  const serverOnly: unknown[] = [];
  for (const item of merged) (wanted.has(identity(item)) ? patched : serverOnly).push(item);
  patched.sort((a, b) => wanted.get(identity(a))! - wanted.get(identity(b))!);
  serverOnly.sort((a, b) => (old.get(identity(a)) ?? 0) - (old.get(identity(b)) ?? 0));
  const out: unknown[] = [];
  let i = 0;
  let j = 0;
  while (i < serverOnly.length || j < patched.length) {
    if (i >= serverOnly.length) out.push(patched[j++]);
    else if (j >= patched.length) out.push(serverOnly[i++]);
    else {
      const left = old.get(identity(serverOnly[i]));
      const right = old.get(identity(patched[j]));
      if (left !== undefined && right !== undefined && left < right) out.push(serverOnly[i++]);
      else out.push(patched[j++]);
    }
  }
  return out;
}

function deleteItems(current: readonly unknown[], toDelete: readonly unknown[], meta: Meta): unknown[] {
  if (current.length === 0 && toDelete.length === 0) return current as unknown[];
  if (elementsAreMaps(current, toDelete)) return mergeSlice(current, toDelete, meta.schema, meta.mergeKey);
  const gone = new Set(toDelete);
  const left = current.filter((item) => !gone.has(item));
  return left.length === current.length ? (current as unknown[]) : left;
}

function mergeSlice(
  original: readonly unknown[],
  patch: readonly unknown[],
  schema: Schema | undefined,
  mergeKey: string,
): unknown[] {
  if (original.length === 0 && patch.length === 0) return original as unknown[];
  const ofMaps = elementsAreMaps(original, patch);
  let result: unknown[];
  if (!ofMaps) result = enforceOrder([...new Set([...original, ...patch])], patch, original, '', false);
  else {
    if (mergeKey === '') throw unexplained(`cannot merge lists without merge key for ${schemaKind(schema)}`);
    const special = takeSpecialItems(original as readonly JsonObject[], patch as readonly JsonObject[], mergeKey);
    const base = special.original;
    const merged: unknown[] = [...base];
    const at = positions(base, mergeKey, true);
    for (const item of special.patch) {
      if (!Object.hasOwn(item, mergeKey)) throw noMergeKey(item, mergeKey);
      const key = item[mergeKey];
      const found = at.get(key);
      if (found === undefined) {
        at.set(key, merged.length);
        merged.push(item);
      } else merged[found] = mergeMap(merged[found] as JsonObject, item, schema);
    }
    result = enforceOrder(merged, special.patch, base, mergeKey, true);
  }
  return sameItems(result, original) ? (original as unknown[]) : result;
}

function schemaKind(schema: Schema | undefined): string {
  switch (schema?.kind) {
    case 'object':
    case 'any':
      return 'struct';
    case 'scalar':
      return schema.type === 'string' ? 'string' : schema.type;
    case 'list':
      return 'slice';
    default:
      return 'map';
  }
}

/** Carries out `$patch: delete` and `$patch: replace` among the items of a patch list. */
function takeSpecialItems(
  original: readonly JsonObject[],
  patch: readonly JsonObject[],
  mergeKey: string,
): { original: readonly JsonObject[]; patch: readonly JsonObject[] } {
  if (!patch.some((item) => Object.hasOwn(item, directiveMarker))) return { original, patch };
  const plain: JsonObject[] = [];
  let left = original;
  let replace = false;
  for (const item of patch) {
    if (!Object.hasOwn(item, directiveMarker)) {
      plain.push(item);
      continue;
    }
    const directive = item[directiveMarker];
    switch (directive) {
      case 'delete': {
        if (!Object.hasOwn(item, mergeKey)) throw noMergeKey(item, mergeKey);
        const key = item[mergeKey];
        left = left.filter((candidate) => memberOf(candidate, mergeKey) !== key);
        break;
      }
      case 'replace':
        replace = true;
        break;
      case 'merge':
        throw unexplained('merging lists cannot yet be specified in the patch');
      default:
        throw unexplained(`unknown patch type: ${printGo(directive)} in map: ${printGo(item)}`);
    }
  }
  return replace ? { original: plain, patch: [] } : { original: left, patch: plain };
}
