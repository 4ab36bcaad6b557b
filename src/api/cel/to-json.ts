/** From values of an expression to JSON, as protobuf's JSON mapping has it: what policies write into objects. */
import { Buffer } from 'node:buffer';
import { fail } from './errors.ts';
import { formatDuration, formatTimestamp } from './text.ts';
import { CelType } from './types.ts';
import {
  CelMap,
  Double,
  Duration,
  LibraryValue,
  Optional,
  StructValue,
  Timestamp,
  Uint,
  intValue,
  mapGet,
  mapKeys,
  typeOf,
} from './values.ts';

/**
 * The JSON of a value. Plain JSON inside of it is shared, not copied.
 * @throws {Failure} for what has no JSON form
 */
export function toJSON(value: unknown): unknown {
  switch (typeof value) {
    case 'string':
    case 'boolean':
    case 'number':
    case 'bigint':
      return value;
  }
  if (value === null || value === undefined) return null;
  if (Array.isArray(value)) return shared(value, value.map(toJSON));
  if (value instanceof Double) return value.value;
  if (value instanceof Uint) return intValue(value.value);
  if (value instanceof Timestamp) return formatTimestamp(value, true);
  if (value instanceof Duration) return formatDuration(value);
  if (value instanceof Uint8Array) return Buffer.from(value).toString('base64');
  if (value instanceof LibraryValue) return value.toJSON();
  if (value instanceof StructValue) return Object.fromEntries([...value.fields].map(([k, v]) => [k, toJSON(v)]));
  if (value instanceof Optional) return value.present ? toJSON(value.value) : null;
  if (value instanceof CelType) return fail(`unsupported conversion of ${typeOf(value).name} to JSON`);
  const entries = mapKeys(value).map((key): [string, unknown] => [memberName(key), toJSON(mapGet(value, key))]);
  if (!(value instanceof CelMap)) {
    const object = value as Record<string, unknown>;
    if (entries.every(([k, v]) => object[k] === v)) return value;
  }
  return Object.fromEntries(entries);
}

function memberName(key: unknown): string {
  if (typeof key === 'string') return key;
  if (key instanceof Uint) return String(key.value);
  if (typeof key === 'number' || typeof key === 'bigint' || typeof key === 'boolean') return String(key);
  return fail(`unsupported map key type ${typeOf(key).name} in JSON`);
}

/** The list as it was when nothing in it had to change. */
const shared = (before: readonly unknown[], after: readonly unknown[]): readonly unknown[] =>
  after.every((v, i) => v === before[i]) ? before : after;
