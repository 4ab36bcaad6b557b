/** Values as error messages print them: as Go's `%v` shows upstream's values. */
import { CelType } from './types.ts';
import { formatDuration, formatG, formatTimestamp } from './text.ts';
import {
  Double,
  Duration,
  LibraryValue,
  Optional,
  StructValue,
  Timestamp,
  Uint,
  isMap,
  mapGet,
  mapKeys,
  typeOf,
} from './values.ts';

/** The value as text; with `typeName` the name of its type instead. */
export function printValue(v: unknown, typeName = false): string {
  if (typeName) return typeOf(v).name;
  switch (typeof v) {
    case 'string':
      return v;
    case 'boolean':
    case 'bigint':
      return String(v);
    case 'number':
      return Number.isSafeInteger(v) ? String(v) : formatG(v);
  }
  if (v === null || v === undefined) return 'null';
  if (v instanceof Double) return formatG(v.value);
  if (v instanceof Uint) return String(v.value);
  if (v instanceof Uint8Array) return `[${[...v].join(' ')}]`;
  if (v instanceof Timestamp) return formatTimestamp(v);
  if (v instanceof Duration) return formatDuration(v);
  if (v instanceof Optional) return v.present ? `optional(${printValue(v.value)})` : 'optional.none()';
  if (v instanceof CelType) return v.name;
  if (v instanceof LibraryValue || v instanceof StructValue) return typeOf(v).name;
  if (Array.isArray(v)) return `[${v.map((e) => printValue(e)).join(', ')}]`;
  if (isMap(v))
    return `{${mapKeys(v)
      .map((k) => `${printValue(k)}: ${printValue(mapGet(v, k))}`)
      .join(', ')}}`;
  return '';
}
