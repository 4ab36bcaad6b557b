/**
 * Values under a `Schema`, as server-side apply sees them (structured-merge-diff typed): what a value is taken for, what is a leaf,
 * and the path elements of members and items. Atomic lists and maps are leaves, sets go by value, associative lists by their keys.
 * Values without a schema are deduced: maps are granular, lists atomic.
 */
import { goQuote } from '../codec/json.ts';
import type { JsonObject } from '../patch/values.ts';
import { isObject, memberOf } from '../patch/values.ts';
import type { AnySchema, ListSchema, Schema } from '../schema/schema.ts';
import { elementText, fieldElement, keyElement, valueElement } from './field-set.ts';

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
export function memberElement(schema: Schema, name: string): string {
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
export function isAtomicMap(schema: Schema): boolean {
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

/** One that is there. */
export function hasMembers(value: JsonObject): boolean {
  for (const key in value) if (value[key] !== undefined) return true;
  return false;
}

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

/** The path elements of a list's items; `path` of that `length` leads to it. @throws {TypedError} */
export function elementsOf(
  list: ListSchema,
  items: readonly unknown[],
  path: readonly string[],
  length: number,
): string[] {
  return items.map((item, i) => {
    try {
      return itemElement(list, item);
    } catch (e) {
      const at = path.slice(0, length).map(elementText).join('');
      throw new TypedError([`${at === '' ? '' : `${at}: `}element ${i}: ${(e as Error).message}`]);
    }
  });
}
