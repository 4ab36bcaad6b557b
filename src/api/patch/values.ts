/** Small helpers on JSON values that the patch kinds share: equality, safe member writes, and Go's way to print a value. */
import { goQuote } from '../codec/json.ts';
import { StatusError } from '../status.ts';

export type JsonObject = Record<string, unknown>;

export function isObject(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** The own member of that name, undefined where there is none (never one of the prototype). */
export function memberOf(object: JsonObject, key: string): unknown {
  return Object.hasOwn(object, key) ? object[key] : undefined;
}

/** Writes a member, also one named `__proto__`. */
export function setMember(object: JsonObject, key: string, value: unknown): void {
  if (key === '__proto__') {
    Object.defineProperty(object, key, { value, enumerable: true, configurable: true, writable: true });
  } else object[key] = value;
}

/** Equality of JSON values, whatever the order of members. */
export function jsonEqual(a: unknown, b: unknown): boolean {
  if (a === b) return true;
  if (typeof a !== 'object' || typeof b !== 'object' || a === null || b === null) return false;
  if (Array.isArray(a)) {
    if (!Array.isArray(b) || a.length !== b.length) return false;
    for (let i = 0; i < a.length; i++) if (!jsonEqual(a[i], b[i])) return false;
    return true;
  }
  if (Array.isArray(b)) return false;
  const keys = Object.keys(a);
  if (keys.length !== Object.keys(b).length) return false;
  for (const key of keys) {
    if (!Object.hasOwn(b, key) || !jsonEqual((a as JsonObject)[key], (b as JsonObject)[key])) return false;
  }
  return true;
}

/** Go's `%v` of a JSON value: `map[a:1 b:[x y]]`. */
export function printGo(value: unknown): string {
  if (value === null || value === undefined) return '<nil>';
  if (Array.isArray(value)) return `[${value.map(printGo).join(' ')}]`;
  if (typeof value === 'object') {
    const members = value as JsonObject;
    const body = Object.keys(members)
      .sort()
      .map((key) => `${key}:${printGo(members[key])}`);
    return `map[${body.join(' ')}]`;
  }
  return String(value as string | number | boolean | bigint);
}

/** Go's `%#v` of a JSON value: `map[string]interface {}{"a":1, "b":[]interface {}{"x"}}`. */
export function goSyntax(value: unknown): string {
  if (value === null || value === undefined) return 'interface {}(nil)';
  if (Array.isArray(value)) return `[]interface {}{${value.map(goSyntax).join(', ')}}`;
  if (typeof value === 'object') {
    const members = value as JsonObject;
    const body = Object.keys(members)
      .sort()
      .map((key) => `${goQuote(key)}:${goSyntax(members[key])}`);
    return `map[string]interface {}{${body.join(', ')}}`;
  }
  return typeof value === 'string' ? goQuote(value) : String(value as number | boolean | bigint);
}

/** Go's name for the dynamic type of a decoded JSON value, as `%s` of it prints. */
export function goTypeName(value: unknown): string {
  if (value === null || value === undefined) return '%!s(<nil>)';
  if (Array.isArray(value)) return '[]interface {}';
  switch (typeof value) {
    case 'object':
      return 'map[string]interface {}';
    case 'boolean':
      return 'bool';
    case 'number':
      return Number.isInteger(value) ? 'int64' : 'float64';
    case 'bigint':
      return 'int64';
    default:
      return typeof value;
  }
}

/** Go's `%T` of a decoded JSON value. */
export function goDynamicType(value: unknown): string {
  return value === null || value === undefined ? '<nil>' : goTypeName(value);
}

/** 422 for a patch that is well formed and does not apply; upstream keeps the reason to itself, we keep it as a cause. */
export function unprocessablePatch(why: string): StatusError {
  return new StatusError(
    422,
    'Invalid',
    'the server rejected our request due to an error in our request',
    {},
    { cause: new Error(why) },
  );
}
