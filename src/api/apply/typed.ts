/**
 * Values under a `Schema`, as server-side apply sees them (structured-merge-diff typed): field sets of values, comparison,
 * merge and removal. Atomic lists and maps are leaves, sets go by value, associative lists by their keys. Values
 * without a schema are deduced: maps are granular, lists atomic. Identical (`===`) subtrees are never walked.
 */
import { goQuote } from '../codec/json.ts';
import type { JsonObject } from '../patch/values.ts';
import { isObject, jsonEqual, memberOf, setMember } from '../patch/values.ts';
import type { AnySchema, ListSchema, Schema } from '../schema/schema.ts';
import type { FieldSet } from './field-set.ts';
import {
  below,
  elementText,
  emptyFieldSet,
  fieldElement,
  FieldSetBuilder,
  hasElement,
  isEmptySet,
  keyElement,
  memberOfChildren,
  valueElement,
} from './field-set.ts';

/** A value that does not fit its schema; the message is upstream's list of validation errors. */
export class TypedError extends Error {
  constructor(errors: readonly string[]) {
    super(errors.length === 1 ? errors[0]! : `errors:\n${errors.map((e) => `  ${e}`).join('\n')}`);
    this.name = 'TypedError';
  }
}

export const deduced: AnySchema = { kind: 'any' };

/** The schema of a member, undefined where there is none. */
export function memberSchema(schema: Schema, name: string): Schema | undefined {
  switch (schema.kind) {
    case 'object': {
      const field = schema.fields.get(name);
      if (field !== undefined) return field.schema;
      return schema.preserveUnknown || schema.fields.size === 0 ? deduced : undefined;
    }
    case 'map':
      return schema.values;
    default:
      return deduced;
  }
}

/** `f:name`, made once for the fields of a type. */
function memberElement(schema: Schema, name: string): string {
  if (schema.kind !== 'object') return fieldElement(name);
  const elements = (schema.derived.elements ??= new Map());
  let element = elements.get(name);
  if (element === undefined) {
    element = fieldElement(name);
    if (schema.fields.has(name)) elements.set(name, element);
  }
  return element;
}

/** Whether a map of this schema is one leaf. */
function isAtomicMap(schema: Schema): boolean {
  switch (schema.kind) {
    case 'object':
    case 'map':
      return schema.atomic;
    case 'any':
      return schema.raw === 'rawExtension';
    default:
      return false;
  }
}

type Shape = 'map' | 'list' | 'scalar';

/** What a value is taken for: its schema's shape, or its own where the schema leaves it open. */
export function shapeOf(schema: Schema, value: unknown): Shape | undefined {
  switch (schema.kind) {
    case 'object':
    case 'map':
      return 'map';
    case 'list':
      return 'list';
    case 'scalar':
      return 'scalar';
    default:
      if (value === undefined || value === null) return undefined;
      return Array.isArray(value) ? 'list' : typeof value === 'object' ? 'map' : 'scalar';
  }
}

export function associative(schema: Schema): ListSchema | undefined {
  return schema.kind === 'list' && schema.listType !== 'atomic' ? schema : undefined;
}

function hasMembers(value: JsonObject): boolean {
  for (const key in value) if (value[key] !== undefined) return true;
  return false;
}

// Items of associative lists -------------------------------------------------------------------------------------------

/** The list's keys in alphabetical order, as path elements have them. */
function keysOf(list: ListSchema): readonly string[] {
  const keys = list.mapKeys;
  for (let i = 1; i < keys.length; i++) if (keys[i]! < keys[i - 1]!) return keys.toSorted();
  return keys;
}

/** The path element of an item; throws what upstream says of an item that has none. */
export function itemElement(list: ListSchema, item: unknown): string {
  if (list.listType === 'set') {
    if (Array.isArray(item)) throw new Error('not supported: associative list with lists as elements');
    if (item === null || item === undefined) {
      throw new Error("associative list without keys has an element that's an explicit null");
    }
    if (typeof item === 'object') throw new Error("associative list without keys has an element that's a map type");
    return valueElement(item);
  }
  if (item === null || item === undefined) throw new Error('associative list with keys may not have a null element');
  if (!isObject(item)) throw new Error('associative list with keys may not have non-map elements');
  const keys = keysOf(list);
  if (keys.length === 1) {
    const name = keys[0]!;
    const own = item[name];
    // A null is a key as well: validation has to refuse it, not the lack of a key.
    const value = own === undefined ? keyDefault(list, name) : own;
    if (value === undefined) throw new Error(noKeys(list));
    return keyElement(keys, [value]);
  }
  const names: string[] = [];
  const values: unknown[] = [];
  for (const name of keys) {
    const own = memberOf(item, name);
    const value = own === undefined ? keyDefault(list, name) : own;
    if (value === undefined) continue;
    names.push(name);
    values.push(value);
  }
  if (names.length === 0) throw new Error(noKeys(list));
  return keyElement(names, values);
}

function keyDefault(list: ListSchema, name: string): unknown {
  const field = list.items.kind === 'object' ? list.items.fields.get(name) : undefined;
  // A member that is always written has its zero value by default.
  return field?.default ?? (typeof field?.zero === 'object' ? undefined : field?.zero);
}

function noKeys(list: ListSchema): string {
  const keys = list.mapKeys.map(goQuote).join(' ');
  return `associative list with keys has an element that omits all key fields [${keys}] (and doesn't have default values for any key fields)`;
}

function elementsOf(list: ListSchema, items: readonly unknown[], path: readonly string[], length: number): string[] {
  return items.map((item, i) => {
    try {
      return itemElement(list, item);
    } catch (e) {
      const at = path.slice(0, length).map(elementText).join('');
      throw new TypedError([`${at === '' ? '' : `${at}: `}element ${i}: ${(e as Error).message}`]);
    }
  });
}

// Field set of a value -------------------------------------------------------------------------------------------------

/** Every leaf and item that a value mentions. */
export function toFieldSet(schema: Schema, value: unknown): FieldSet {
  const builder = new FieldSetBuilder();
  collect(builder, schema, value, [], 0);
  return builder.build();
}

function collect(builder: FieldSetBuilder, schema: Schema, value: unknown, path: string[], depth: number): void {
  const shape = shapeOf(schema, value);
  if (shape === 'map') {
    if (isAtomicMap(schema)) {
      builder.insert(path, depth);
      return;
    }
    if (!isObject(value)) return;
    for (const key in value) {
      const member = value[key];
      if (member === undefined) continue;
      const memberType = memberSchema(schema, key);
      path[depth] = fieldElement(key);
      if (memberType !== undefined) collect(builder, memberType, member, path, depth + 1);
      const declared = schema.kind === 'object' && schema.fields.has(key);
      if (member === null || !declared || (isObject(member) && !hasMembers(member))) builder.insert(path, depth + 1);
    }
    return;
  }
  if (shape === 'list') {
    const list = associative(schema);
    if (list === undefined) {
      builder.insert(path, depth);
      return;
    }
    if (!Array.isArray(value)) return;
    const elements = elementsOf(list, value, path, depth);
    const seen = new Set<string>();
    const duplicates = new Set<string>();
    for (const element of elements) {
      if (seen.has(element)) duplicates.add(element);
      else seen.add(element);
    }
    elements.forEach((element, i) => {
      path[depth] = element;
      if (!duplicates.has(element)) collect(builder, list.items, value[i], path, depth + 1);
      builder.insert(path, depth + 1);
    });
    return;
  }
  builder.insert(path, depth);
}

// Comparison -----------------------------------------------------------------------------------------------------------

export interface Comparison {
  readonly added: FieldSet;
  readonly modified: FieldSet;
  readonly removed: FieldSet;
}

export const noChange: Comparison = Object.freeze({
  added: emptyFieldSet,
  modified: emptyFieldSet,
  removed: emptyFieldSet,
});

/** What became of `before`: no path is in more than one of the sets. @throws {TypedError} */
export function compareValues(schema: Schema, before: unknown, after: unknown): Comparison {
  if (before === after) return noChange;
  const comparer = new Comparer();
  comparer.node(schema, before, after, 0);
  return {
    added: comparer.added.build(),
    modified: comparer.modified.build(),
    removed: comparer.removed.build(),
  };
}

class Comparer {
  readonly added = new FieldSetBuilder();
  readonly modified = new FieldSetBuilder();
  readonly removed = new FieldSetBuilder();
  readonly path: string[] = [];

  /** `undefined` is absent, null is a value. */
  node(schema: Schema, before: unknown, after: unknown, depth: number): void {
    if (before === after) return;
    if (depth > 0 && before === undefined) {
      this.added.graft(this.path, depth, this.whole(schema, after, depth));
      return;
    }
    if (depth > 0 && after === undefined) {
      this.removed.graft(this.path, depth, this.whole(schema, before, depth));
      return;
    }
    const shapeBefore = shapeOf(schema, before);
    const shapeAfter = shapeOf(schema, after);
    const shape = shapeAfter ?? shapeBefore;
    if (shapeBefore !== undefined && shapeAfter !== undefined && shapeBefore !== shapeAfter) {
      // A value without a schema that changed its shape: the map's members come or go, the value itself is modified.
      if (!isAtomicMap(schema)) {
        if (shapeBefore === 'map') this.members(schema, before as JsonObject, undefined, depth);
        if (shapeAfter === 'map') this.members(schema, undefined, after as JsonObject, depth);
      }
      this.modified.insert(this.path, depth);
      return;
    }
    if (shape === 'map') {
      const left = isObject(before) ? before : undefined;
      const right = isObject(after) ? after : undefined;
      const bothEmpty = (left === undefined || !hasMembers(left)) && (right === undefined || !hasMembers(right));
      if (bothEmpty || isAtomicMap(schema)) {
        this.leaf(before, after, depth);
        return;
      }
      this.members(schema, left, right, depth);
      this.self(before, after, depth);
      return;
    }
    if (shape === 'list') {
      const list = associative(schema);
      const left = Array.isArray(before) ? before : undefined;
      const right = Array.isArray(after) ? after : undefined;
      if (list === undefined || ((left?.length ?? 0) === 0 && (right?.length ?? 0) === 0)) {
        this.leaf(before, after, depth);
        return;
      }
      this.items(list, left ?? [], right ?? [], depth);
      this.self(before, after, depth);
      return;
    }
    this.leaf(before, after, depth);
  }

  /** What a value that came or went as a whole owns, below its own path. */
  whole(schema: Schema, value: unknown, depth: number): FieldSet {
    if (typeof value !== 'object' || value === null) return emptyFieldSet;
    const shape = shapeOf(schema, value);
    if (shape === 'map') {
      if (Array.isArray(value) || isAtomicMap(schema)) return emptyFieldSet;
      const elements: string[] = [];
      const children: Record<string, FieldSet> = {};
      for (const key in value) {
        const member = (value as JsonObject)[key];
        if (member === undefined) continue;
        const type = memberSchema(schema, key);
        if (type === undefined) continue;
        const element = memberElement(schema, key);
        this.path[depth] = element;
        children[element] = this.whole(type, member, depth + 1);
        elements.push(element);
      }
      return memberOfChildren(elements, children);
    }
    const list = shape === 'list' ? associative(schema) : undefined;
    if (list === undefined || !Array.isArray(value)) return emptyFieldSet;
    const found = elementsOf(list, value, this.path, depth);
    const elements: string[] = [];
    const children: Record<string, FieldSet> = {};
    for (let i = 0; i < found.length; i++) {
      const element = found[i]!;
      if (children[element] !== undefined) {
        // Items of one key are one leaf: they cannot be told apart.
        children[element] = emptyFieldSet;
        continue;
      }
      this.path[depth] = element;
      children[element] = this.whole(list.items, value[i], depth + 1);
      elements.push(element);
    }
    return memberOfChildren(elements, children);
  }

  leaf(before: unknown, after: unknown, depth: number): void {
    if (before === undefined) this.added.insert(this.path, depth);
    else if (after === undefined) this.removed.insert(this.path, depth);
    else if (!jsonEqual(before, after)) this.modified.insert(this.path, depth);
  }

  self(before: unknown, after: unknown, depth: number): void {
    if (before === undefined) this.added.insert(this.path, depth);
    else if (after === undefined) this.removed.insert(this.path, depth);
  }

  members(schema: Schema, before: JsonObject | undefined, after: JsonObject | undefined, depth: number): void {
    if (before !== undefined) {
      for (const key in before) {
        const left = before[key];
        if (left === undefined) continue;
        const right = after === undefined ? undefined : after[key];
        if (left === right) continue;
        const type = memberSchema(schema, key);
        if (type === undefined) continue;
        this.path[depth] = memberElement(schema, key);
        this.node(type, left, right, depth + 1);
      }
    }
    if (after !== undefined) {
      for (const key in after) {
        const right = after[key];
        if (right === undefined || (before !== undefined && before[key] !== undefined)) continue;
        const type = memberSchema(schema, key);
        if (type === undefined) continue;
        this.path[depth] = memberElement(schema, key);
        this.node(type, undefined, right, depth + 1);
      }
    }
  }

  items(list: ListSchema, before: readonly unknown[], after: readonly unknown[], depth: number): void {
    const left = group(elementsOf(list, before, this.path, depth), before);
    const right = group(elementsOf(list, after, this.path, depth), after);
    for (const [element, lefts] of left) {
      this.path[depth] = element;
      this.item(list, lefts, right.get(element) ?? [], depth + 1);
    }
    for (const [element, rights] of right) {
      if (left.has(element)) continue;
      this.path[depth] = element;
      this.item(list, [], rights, depth + 1);
    }
  }

  /** Items of one key. Several of them are one leaf: they cannot be told apart. */
  item(list: ListSchema, lefts: readonly unknown[], rights: readonly unknown[], depth: number): void {
    if (lefts.length <= 1 && rights.length <= 1) {
      this.node(list.items, lefts[0], rights[0], depth);
    } else if (lefts.length >= 2 && rights.length >= 2) {
      if (!jsonEqual(lefts, rights)) this.modified.insert(this.path, depth);
    } else if (lefts.length >= 2) {
      if (rights.length > 0) this.node(list.items, undefined, rights[0], depth);
      this.removed.insert(this.path, depth);
    } else {
      if (lefts.length > 0) this.node(list.items, lefts[0], undefined, depth);
      this.added.insert(this.path, depth);
    }
  }
}

function group(elements: readonly string[], items: readonly unknown[]): Map<string, unknown[]> {
  const groups = new Map<string, unknown[]>();
  elements.forEach((element, i) => {
    const known = groups.get(element);
    if (known === undefined) groups.set(element, [items[i]]);
    else known.push(items[i]);
  });
  return groups;
}

// Merge ----------------------------------------------------------------------------------------------------------------

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

// Removal --------------------------------------------------------------------------------------------------------------

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

/** The set with every declared field on the way to its members made a member as well. */
export function withNamedFields(set: FieldSet, schema: Schema | undefined): FieldSet {
  if (isEmptySet(set)) return set;
  const out: Record<string, FieldSet> = {};
  for (const element in set) {
    const node = set[element]!;
    if (element === '.' || isEmptySet(node)) {
      out[element] = node;
      continue;
    }
    let type: Schema | undefined;
    let declared = false;
    if (element.startsWith('f:')) {
      const name = element.slice(2);
      if (schema !== undefined && schema.kind !== 'list' && schema.kind !== 'scalar') {
        type = memberSchema(schema, name);
        declared = schema.kind === 'object' && schema.fields.has(name);
      }
    } else if (element.startsWith('k:') && schema?.kind === 'list') type = schema.items;
    const inner = withNamedFields(node, type);
    out[element] = declared && inner['.'] === undefined ? { '.': emptyFieldSet, ...inner } : inner;
  }
  return out;
}

/**
 * The set after a change of the schema: what has become atomic is owned as a whole. Upstream's other direction, from atomic
 * to granular, needs nothing. Returns the same set where nothing changed.
 */
export function reconcileWithSchema(set: FieldSet, schema: Schema): FieldSet {
  return reconcile(set, schema, true);
}

function reconcile(node: FieldSet, schema: Schema, root: boolean): FieldSet {
  if (isEmptySet(node)) return node;
  if (schema.kind === 'scalar' || schema.kind === 'any' || schema.kind === 'either') return node;
  const atomic = schema.kind === 'list' ? schema.listType === 'atomic' : schema.atomic;
  if (atomic && !root) return emptyFieldSet;
  let out: Record<string, FieldSet> | undefined;
  for (const element in node) {
    const child = node[element]!;
    if (element === '.' || isEmptySet(child)) continue;
    const type =
      schema.kind === 'list'
        ? schema.items
        : element.startsWith('f:')
          ? memberSchema(schema, element.slice(2))
          : undefined;
    if (type === undefined) continue;
    const next = reconcile(child, type, false);
    if (next !== child) (out ??= { ...node })[element] = next;
  }
  return out ?? node;
}
