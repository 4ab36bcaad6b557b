/**
 * The values that expressions compute with. JSON values stand for themselves, as they are in memory: nothing is adapted before
 * an evaluation. Beyond JSON there are a few classes.
 *
 * Numbers: a JavaScript number that is a safe integer is an int, any other number a double; an int beyond the safe range is a
 * bigint; a double whose value is a safe integer is a boxed `Double`, so that the two can always be told apart.
 */
import { fail } from './errors.ts';
import {
  Boxed,
  CelType,
  boolType,
  bytesType,
  doubleType,
  durationType,
  intType,
  listOfDyn,
  mapOfDyn,
  nullType,
  optionalType,
  stringType,
  timestampType,
  typeType,
  uintType,
  dynType,
} from './types.ts';

/** A double with an integral value. */
export class Double extends Boxed {
  readonly value: number;
  constructor(value: number) {
    super();
    this.value = value;
  }
}

export class Uint extends Boxed {
  readonly value: bigint;
  constructor(value: bigint) {
    super();
    this.value = value;
  }
}

export class Timestamp extends Boxed {
  /** Since 1970. */
  readonly seconds: number;
  readonly nanos: number;
  /** Of the zone it was written in, which its text keeps; seconds east of UTC. */
  readonly offset: number;
  constructor(seconds: number, nanos: number, offset = 0) {
    super();
    this.seconds = seconds;
    this.nanos = nanos;
    this.offset = offset;
  }
}

export class Duration extends Boxed {
  readonly nanos: bigint;
  constructor(nanos: bigint) {
    super();
    this.nanos = nanos;
  }
}

export class Optional extends Boxed {
  readonly present: boolean;
  readonly value: unknown;
  constructor(present: boolean, value: unknown) {
    super();
    this.present = present;
    this.value = value;
  }
}

export const none = new Optional(false, undefined);
export const optionalOf = (value: unknown): Optional => new Optional(true, value);

/** What a map key is looked up by: equal numbers of different types are the same key. */
export type KeyIndex = string | number | bigint | boolean;

/** A map made by an expression; maps of the API stay plain objects. */
export class CelMap extends Boxed {
  readonly values: Map<KeyIndex, unknown>;
  /** The keys that are not their own index (uints). */
  readonly keys: Map<KeyIndex, unknown> | undefined;
  constructor(values: Map<KeyIndex, unknown>, keys?: Map<KeyIndex, unknown>) {
    super();
    this.values = values;
    this.keys = keys;
  }
}

/** A value of a type that a library brings: quantities, addresses, URLs, authorizers, ... */
export abstract class LibraryValue extends Boxed {
  abstract readonly celType: CelType;
  /** Equality with a value of the same class. */
  abstract equals(other: LibraryValue): boolean;
  /** The length that costs are computed from; undefined counts as 1. */
  get size(): number | undefined {
    return undefined;
  }
  /** As JSON, where the value has a JSON form. */
  toJSON(): unknown {
    return fail(`unsupported conversion of ${this.celType.name} to JSON`);
  }
}

/** An object made by an expression: `Object{spec: Object.spec{replicas: 1}}`. */
export class StructValue extends Boxed {
  readonly type: CelType;
  readonly fields: ReadonlyMap<string, unknown>;
  constructor(type: CelType, fields: ReadonlyMap<string, unknown>) {
    super();
    this.type = type;
    this.fields = fields;
  }
}

/** An object with members of JSON: what the API's objects and maps are. */
export type PlainObject = Readonly<Record<string, unknown>>;

const minInt = -(2n ** 63n);
const maxInt = 2n ** 63n - 1n;
const maxUint = 2n ** 64n - 1n;

/** An int in its canonical form; the value must be in range. */
export function intValue(value: bigint): number | bigint {
  return value >= -9007199254740991n && value <= 9007199254740991n ? Number(value) : value;
}

/** An int result, which must be within 64 bits. */
export function checkedInt(value: bigint): number | bigint {
  if (value < minInt || value > maxInt) fail('integer overflow');
  return intValue(value);
}

export function checkedUint(value: bigint): Uint {
  if (value < 0n || value > maxUint) fail('unsigned integer overflow');
  return new Uint(value);
}

export function doubleValue(value: number): number | Double {
  return Number.isSafeInteger(value) ? new Double(value) : value;
}

export const isInt = (v: unknown): v is number | bigint => Number.isSafeInteger(v) || typeof v === 'bigint';

/** The number in a double; undefined for other values. */
export function asDouble(v: unknown): number | undefined {
  if (typeof v === 'number') return Number.isSafeInteger(v) ? undefined : v;
  return v instanceof Double ? v.value : undefined;
}

const optionalOfDyn = optionalType(dynType);

/** The type of a value, as `type(x)` and error messages give it. */
export function typeOf(v: unknown): CelType {
  switch (typeof v) {
    case 'string':
      return stringType;
    case 'boolean':
      return boolType;
    case 'number':
      return Number.isSafeInteger(v) ? intType : doubleType;
    case 'bigint':
      return intType;
    case 'undefined':
      return nullType;
  }
  if (v === null) return nullType;
  if (Array.isArray(v)) return listOfDyn;
  if (v instanceof CelMap) return mapOfDyn;
  if (v instanceof Double) return doubleType;
  if (v instanceof Uint) return uintType;
  if (v instanceof Uint8Array) return bytesType;
  if (v instanceof Timestamp) return timestampType;
  if (v instanceof Duration) return durationType;
  if (v instanceof Optional) return optionalOfDyn;
  if (v instanceof CelType) return typeType;
  if (v instanceof LibraryValue) return v.celType;
  if (v instanceof StructValue) return v.type;
  return mapOfDyn;
}

// Maps -----------------------------------------------------------------------------------------------------------------

/** By what a key is found; undefined for what cannot be a key. */
export function keyIndex(key: unknown): KeyIndex | undefined {
  switch (typeof key) {
    case 'string':
    case 'boolean':
    case 'bigint':
    case 'number':
      return key;
  }
  if (key instanceof Double) return key.value === 0 ? 0 : key.value;
  if (key instanceof Uint) return intValue(key.value);
  return undefined;
}

export const isMap = (v: unknown): boolean => v instanceof CelMap || isObjectMap(v);

/** A plain object: a map with string keys. */
export function isObjectMap(v: unknown): v is PlainObject {
  return (
    typeof v === 'object' && v !== null && !(v instanceof Boxed) && !Array.isArray(v) && !(v instanceof Uint8Array)
  );
}

/** The entry of a map; undefined when there is none. Stored values are never undefined. */
export function mapGet(map: unknown, key: unknown): unknown {
  if (map instanceof CelMap) {
    const index = keyIndex(key);
    return index === undefined ? undefined : map.values.get(index);
  }
  if (typeof key !== 'string') return undefined;
  const object = map as PlainObject;
  return Object.hasOwn(object, key) ? object[key] : undefined;
}

export function mapSize(map: unknown): number {
  if (map instanceof CelMap) return map.values.size;
  let size = 0;
  const object = map as PlainObject;
  for (const key in object) if (object[key] !== undefined) size++;
  return size;
}

/** The keys of a map, as values. */
export function mapKeys(map: unknown): unknown[] {
  if (!(map instanceof CelMap)) {
    const object = map as PlainObject;
    return Object.keys(object).filter((k) => object[k] !== undefined);
  }
  const { keys } = map;
  const indices = [...map.values.keys()];
  return keys === undefined ? indices : indices.map((i) => keys.get(i) ?? i);
}

// Equality and order ---------------------------------------------------------------------------------------------------

function numberEquals(a: unknown, b: unknown): boolean {
  const cmp = compareNumbers(a, b);
  return cmp === 0;
}

const isNumber = (v: unknown): boolean =>
  typeof v === 'number' || typeof v === 'bigint' || v instanceof Double || v instanceof Uint;

/** -1, 0, 1; NaN when either is NaN; undefined when either is no number. */
export function compareNumbers(a: unknown, b: unknown): number | undefined {
  const x = plainNumber(a);
  const y = plainNumber(b);
  if (x === undefined || y === undefined) return undefined;
  if (typeof x === 'number' && typeof y === 'number') return x < y ? -1 : x > y ? 1 : x === y ? 0 : NaN;
  // Against a double, 64-bit integers are compared as doubles, as upstream does.
  if (typeof x === 'number' && !Number.isSafeInteger(x)) return compareNumbers(x, doubleValue(Number(y)));
  if (typeof y === 'number' && !Number.isSafeInteger(y)) return compareNumbers(doubleValue(Number(x)), y);
  return x < y ? -1 : x > y ? 1 : 0;
}

function plainNumber(v: unknown): number | bigint | undefined {
  if (typeof v === 'number' || typeof v === 'bigint') return v;
  if (v instanceof Double) return v.value;
  if (v instanceof Uint) return intValue(v.value);
  return undefined;
}

function bytesCompare(a: Uint8Array, b: Uint8Array): number {
  const length = Math.min(a.length, b.length);
  for (let i = 0; i < length; i++) if (a[i] !== b[i]) return a[i]! < b[i]! ? -1 : 1;
  return Math.sign(a.length - b.length);
}

/** By code points, as Go compares UTF-8: UTF-16 order differs where surrogates meet the characters above them. */
export function compareStrings(a: string, b: string): number {
  if (a === b) return 0;
  const length = Math.min(a.length, b.length);
  for (let i = 0; i < length; i++) {
    let x = a.charCodeAt(i);
    let y = b.charCodeAt(i);
    if (x === y) continue;
    if (x >= 0xd800 && y >= 0xd800) {
      if (x < 0xe000) x += 0x2000;
      else x -= 0x800;
      if (y < 0xe000) y += 0x2000;
      else y -= 0x800;
    }
    return x < y ? -1 : 1;
  }
  return Math.sign(a.length - b.length);
}

/** CEL's `==`: numbers by value across types; values of different types are unequal, never an error. */
export function equals(a: unknown, b: unknown): boolean {
  switch (typeof a) {
    case 'string':
    case 'boolean':
      return a === b;
    case 'number':
      if (typeof b === 'number') return a === b;
      return isNumber(b) && numberEquals(a, b);
    case 'bigint':
      return isNumber(b) && numberEquals(a, b);
  }
  if (a === null || a === undefined) return b === null || b === undefined;
  if (typeof b !== 'object' || b === null) return isNumber(a) && isNumber(b) && numberEquals(a, b);
  if (Array.isArray(a)) {
    if (!Array.isArray(b) || a.length !== b.length) return false;
    for (let i = 0; i < a.length; i++) if (!equals(a[i], b[i])) return false;
    return true;
  }
  if (a instanceof Double || a instanceof Uint) return isNumber(b) && numberEquals(a, b);
  if (a instanceof Uint8Array) return b instanceof Uint8Array && bytesCompare(a, b) === 0;
  if (a instanceof Timestamp) return b instanceof Timestamp && a.seconds === b.seconds && a.nanos === b.nanos;
  if (a instanceof Duration) return b instanceof Duration && a.nanos === b.nanos;
  if (a instanceof Optional) {
    return b instanceof Optional && a.present === b.present && (!a.present || equals(a.value, b.value));
  }
  if (a instanceof CelType) return b instanceof CelType && a.name === b.name;
  if (a instanceof LibraryValue) return b instanceof LibraryValue && a.constructor === b.constructor && a.equals(b);
  if (a instanceof StructValue) return b instanceof StructValue && structEquals(a, b);
  return mapEquals(a, b);
}

function structEquals(a: StructValue, b: StructValue): boolean {
  if (a.type.name !== b.type.name || a.fields.size !== b.fields.size) return false;
  for (const [name, value] of a.fields) if (!b.fields.has(name) || !equals(value, b.fields.get(name))) return false;
  return true;
}

function mapEquals(a: unknown, b: unknown): boolean {
  if (!isMap(b) || mapSize(a) !== mapSize(b)) return false;
  for (const key of mapKeys(a)) {
    const other = mapGet(b, key);
    if (other === undefined || !equals(mapGet(a, key), other)) return false;
  }
  return true;
}

/** -1, 0 or 1 of two values that can be ordered; fails otherwise. */
export function compare(a: unknown, b: unknown): number {
  if (typeof a === 'string' && typeof b === 'string') return compareStrings(a, b);
  const numbers = compareNumbers(a, b);
  if (numbers !== undefined) return Number.isNaN(numbers) ? fail('NaN values cannot be ordered') : numbers;
  if (typeof a === 'boolean' && typeof b === 'boolean') return Number(a) - Number(b);
  if (a instanceof Uint8Array && b instanceof Uint8Array) return bytesCompare(a, b);
  if (a instanceof Timestamp && b instanceof Timestamp) {
    return Math.sign(a.seconds - b.seconds) || Math.sign(a.nanos - b.nanos);
  }
  if (a instanceof Duration && b instanceof Duration) return a.nanos < b.nanos ? -1 : a.nanos > b.nanos ? 1 : 0;
  return fail('no such overload');
}

// Sizes and JSON -------------------------------------------------------------------------------------------------------

const surrogates = /[\ud800-\udbff][\udc00-\udfff]/;

/** The number of characters (code points) of a string. */
export function stringSize(text: string): number {
  let size = text.length;
  for (let i = 0; i < text.length; i++) {
    const c = text.charCodeAt(i);
    if (c >= 0xd800 && c <= 0xdbff && i + 1 < text.length) {
      const low = text.charCodeAt(i + 1);
      if (low >= 0xdc00 && low <= 0xdfff) {
        size--;
        i++;
      }
    }
  }
  return size;
}

/** Whether characters and UTF-16 units are the same in this text. */
export const isFlat = (text: string): boolean => !surrogates.test(text);

/** The size that costs are computed from: of strings, bytes, lists, maps; 1 for everything else. */
export function costSize(v: unknown): number {
  if (typeof v === 'string') return stringSize(v);
  if (typeof v !== 'object' || v === null) return 1;
  if (Array.isArray(v) || v instanceof Uint8Array) return v.length;
  if (v instanceof CelMap) return v.values.size;
  if (v instanceof Optional) return v.present ? costSize(v.value) : 1;
  if (v instanceof LibraryValue) return v.size ?? 1;
  if (typeOf(v) === mapOfDyn) return mapSize(v);
  return 1;
}

/** Whether a value is its type's zero: what `optional.ofNonZeroValue` drops. */
export function isZeroValue(v: unknown): boolean {
  switch (typeof v) {
    case 'string':
      return v === '';
    case 'boolean':
      return !v;
    case 'number':
      return v === 0;
    case 'bigint':
      return false;
  }
  if (v === null || v === undefined) return true;
  if (Array.isArray(v) || v instanceof Uint8Array) return v.length === 0;
  if (v instanceof Double) return v.value === 0;
  if (v instanceof Uint) return v.value === 0n;
  if (v instanceof Duration) return v.nanos === 0n;
  if (v instanceof Timestamp) return v.seconds === -62135596800 && v.nanos === 0;
  if (v instanceof Optional) return !v.present;
  if (v instanceof StructValue) return v.fields.size === 0;
  if (v instanceof CelType || v instanceof LibraryValue) return false;
  return mapSize(v) === 0;
}
