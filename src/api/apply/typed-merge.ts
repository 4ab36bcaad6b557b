/** A value with what a configuration says, and without what it no longer says. Parts that stay the same are the value's own. */
import type { JsonObject } from '../patch/values.ts';
import { isObject, jsonEqual, memberOf, setMember } from '../patch/values.ts';
import type { ListSchema, Schema } from '../schema/schema.ts';
import type { FieldSet } from './field-set.ts';
import { below, elementText, fieldElement, hasElement, isEmptySet } from './field-set.ts';
import { TypedError, associative, elementsOf, hasMembers, isAtomicMap, memberSchema, shapeOf } from './typed.ts';

/** `live` with everything that `config` says. Parts that come out the same are live's own. @throws {TypedError} */
export function mergeValues(schema: Schema, live: unknown, config: unknown): unknown {
  return merge(schema, live, config, []);
}

function merge(schema: Schema, live: unknown, config: unknown, path: readonly string[]): unknown {
  if (config === undefined || live === config) return live;
  const shape = shapeOf(schema, config) ?? shapeOf(schema, live);
  if (shape === 'map') {
    const left = isObject(live) ? live : undefined;
    const right = isObject(config) ? config : undefined;
    const bothEmpty = (left === undefined || !hasMembers(left)) && (right === undefined || !hasMembers(right));
    if (bothEmpty || isAtomicMap(schema)) return take(live, config);
    let out: JsonObject = left ?? {};
    if (right !== undefined) {
      for (const key in right) {
        const type = memberSchema(schema, key);
        const before = left === undefined ? undefined : memberOf(left, key);
        const merged = type === undefined ? right[key] : merge(type, before, right[key], [...path, fieldElement(key)]);
        if (merged === before || merged === undefined) continue;
        if (out === left) out = { ...left };
        setMember(out, key, merged);
      }
    }
    return out;
  }
  if (shape === 'list') {
    const list = associative(schema);
    const left = Array.isArray(live) ? live : [];
    const right = Array.isArray(config) ? config : [];
    if (list === undefined || (left.length === 0 && right.length === 0)) return take(live, config);
    const out = mergeItems(list, left, right, path);
    if (out.length === left.length && out.every((item, i) => item === left[i])) return live;
    return out.length === 0 ? undefined : out;
  }
  return take(live, config);
}

/** The configuration's leaf, or live's own where it is the same. */
function take(live: unknown, config: unknown): unknown {
  return live !== undefined && jsonEqual(live, config) ? live : config;
}

function mergeItems(
  list: ListSchema,
  live: readonly unknown[],
  config: readonly unknown[],
  path: readonly string[],
): unknown[] {
  const leftElements = elementsOf(list, live, path, path.length);
  const rightElements = elementsOf(list, config, path, path.length);
  const left = new Map<string, unknown>();
  leftElements.forEach((element, i) => {
    // Duplicates are not merged with anything.
    left.set(element, left.has(element) ? undefined : live[i]);
  });
  const right = new Map<string, unknown>();
  rightElements.forEach((element, i) => {
    if (right.has(element)) {
      const at = path.map(elementText).join('');
      throw new TypedError([`${at === '' ? '' : `${at}: `}duplicate entries for key ${elementText(element)}`]);
    }
    right.set(element, config[i]);
  });
  const shared = rightElements.filter((element) => left.has(element));
  let nextShared = 0;
  const merged = new Set<string>();
  const out: unknown[] = [];
  const put = (element: string, l: unknown, r: unknown): void => {
    const item = merge(list.items, l, r, [...path, element]);
    if (item !== undefined) out.push(item);
  };
  let i = 0;
  let j = 0;
  while (i < live.length || j < config.length) {
    if (i < live.length && j < config.length) {
      const element = leftElements[i]!;
      if (element === rightElements[j]) {
        merged.add(element);
        put(element, left.get(element), right.get(element));
        i++;
        j++;
        nextShared++;
        continue;
      }
      if (right.has(element) && nextShared < shared.length && shared[nextShared] !== element) {
        // Shared, but not the one that is due: it comes in the configuration's order.
        i++;
        continue;
      }
    }
    if (i < live.length) {
      const element = leftElements[i]!;
      if (!right.has(element)) {
        put(element, live[i], undefined);
        i++;
        continue;
      }
      if (merged.has(element)) i++;
    }
    if (j < config.length) {
      const element = rightElements[j]!;
      merged.add(element);
      put(element, left.get(element), right.get(element));
      j++;
      if (nextShared < shared.length && shared[nextShared] === element) nextShared++;
    }
  }
  return out;
}

/** The value without the fields and items of the set. Atomic values have nothing that could be taken out singly. */
export function removeItems(schema: Schema, value: unknown, toRemove: FieldSet): unknown {
  if (isEmptySet(toRemove)) return value;
  return remove(schema, value, toRemove);
}

function remove(schema: Schema, value: unknown, toRemove: FieldSet): unknown {
  if (Array.isArray(value)) {
    const list = associative(schema);
    if (list === undefined || value.length === 0) return [];
    const elements = elementsOf(list, value, [], 0);
    let changed = false;
    const out: unknown[] = [];
    value.forEach((item: unknown, i) => {
      const element = elements[i]!;
      if (hasElement(toRemove, element)) {
        changed = true;
        return;
      }
      const inner = below(toRemove, element);
      const next = inner === undefined ? item : remove(list.items, item, inner);
      if (next !== item) changed = true;
      out.push(next);
    });
    return changed ? out : value;
  }
  if (!isObject(value)) return value;
  if (isAtomicMap(schema) || !hasMembers(value)) return {};
  let out: JsonObject = value;
  for (const key in value) {
    const element = fieldElement(key);
    if (toRemove[element] === undefined) continue;
    if (hasElement(toRemove, element)) {
      if (out === value) out = { ...value };
      delete out[key];
      continue;
    }
    const type = memberSchema(schema, key);
    const inner = below(toRemove, element);
    if (type === undefined || inner === undefined) continue;
    const next = remove(type, value[key], inner);
    if (next === value[key]) continue;
    if (out === value) out = { ...value };
    setMember(out, key, next);
  }
  return out;
}
