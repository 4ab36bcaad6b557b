/**
 * From JSON to values, by the schema: what JSON alone does not tell (whole numbers that are doubles, texts that are times or bytes).
 * Objects are left alone: their members convert when they are selected.
 */
import { Buffer } from 'node:buffer';
import { fail } from './errors.ts';
import { maxTimestamp, minTimestamp, parseTimestamp } from './text.ts';
import { DurationError, parseDurationNanos } from '../time.ts';
import type { CelType } from './types.ts';
import type { PlainObject } from './values.ts';
import { Boxed } from './types.ts';
import type { Timestamp } from './values.ts';
import { Duration, doubleValue } from './values.ts';

type Conversion = (raw: unknown) => unknown;

/** How a JSON value of this type becomes a value; undefined when it is one already. */
export function conversionOf(type: CelType): Conversion | undefined {
  type.conversion ??= { fn: make(type) };
  return type.conversion.fn;
}

function make(type: CelType): Conversion | undefined {
  switch (type.kind) {
    case 'double':
      return (raw) =>
        typeof raw === 'number' ? doubleValue(raw) : typeof raw === 'bigint' ? doubleValue(Number(raw)) : raw;
    case 'bytes':
      return (raw) => (typeof raw === 'string' ? decodeBase64(raw) : raw);
    case 'duration':
      return (raw) => (typeof raw === 'string' ? parseOpenAPIDuration(raw) : raw);
    case 'timestamp':
      return (raw) => (typeof raw === 'string' ? parseDateOrTime(raw) : raw);
    case 'list': {
      const item = conversionOf(type.params[0]!);
      if (item === undefined) return undefined;
      return (raw) => (Array.isArray(raw) ? raw.map(item) : raw);
    }
    case 'map': {
      const value = conversionOf(type.params[1]!);
      if (value === undefined) return undefined;
      return (raw) => {
        if (typeof raw !== 'object' || raw === null || raw instanceof Boxed) return raw;
        const out: Record<string, unknown> = Object.create(null) as Record<string, unknown>;
        for (const [k, v] of Object.entries(raw as PlainObject)) out[k] = value(v);
        return out;
      };
    }
  }
  return undefined;
}

function decodeBase64(text: string): Uint8Array {
  if (!/^[A-Za-z0-9+/]*={0,2}$/.test(text) || text.length % 4 !== 0) {
    return fail(`Invalid byte formatted string ${text}: illegal base64 data`);
  }
  const bytes = Buffer.from(text, 'base64');
  return new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

const day = 86_400_000_000_000n;
const units: Readonly<Record<string, bigint>> = {
  ns: 1n,
  nano: 1n,
  us: 1000n,
  µs: 1000n,
  micro: 1000n,
  ms: 1_000_000n,
  milli: 1_000_000n,
  s: 1_000_000_000n,
  sec: 1_000_000_000n,
  m: 60_000_000_000n,
  min: 60_000_000_000n,
  h: 3_600_000_000_000n,
  hr: 3_600_000_000_000n,
  hour: 3_600_000_000_000n,
  d: day,
  day: day,
  w: 7n * day,
  wk: 7n * day,
  week: 7n * day,
};

/** OpenAPI's `duration` format: Go's durations, and `2 days`, `1 week`. */
function parseOpenAPIDuration(text: string): Duration {
  try {
    return new Duration(parseDurationNanos(text));
  } catch (error) {
    if (!(error instanceof DurationError)) throw error;
  }
  const pattern = /([0-9]+)\s*([A-Za-zµ]+)/g;
  let total = 0n;
  let found = false;
  for (const m of text.matchAll(pattern)) {
    const name = m[2]!.toLowerCase();
    const unit =
      units[name] ?? units[name.replace(/s$/, '')] ?? units[name.replace(/onds?$|sec(?:onds?)?$|ute?s?$/, '')];
    if (unit === undefined) continue;
    found = true;
    total += BigInt(m[1]!) * unit;
  }
  if (!found) return fail(`Invalid duration ${text}: unable to parse ${text} as duration`);
  return new Duration(total);
}

/** OpenAPI's `date` and `date-time` formats. */
function parseDateOrTime(text: string): Timestamp {
  const date = /^[0-9]{4}-[0-9]{2}-[0-9]{2}$/.test(text) ? `${text}T00:00:00Z` : text;
  const iso = date
    .replace(/^([0-9-]{10})[t ]/, '$1T')
    .replace(/z$/, 'Z')
    .replace(/([+-][0-9]{2})([0-9]{2})$/, '$1:$2');
  const parsed = parseTimestamp(/(?:Z|[+-][0-9]{2}:[0-9]{2})$/.test(iso) ? iso : `${iso}Z`);
  if (parsed === undefined || parsed.seconds < minTimestamp || parsed.seconds > maxTimestamp) {
    return fail(`Invalid date-time formatted string ${text}`);
  }
  return parsed;
}

/**
 * Everything below an object converted at once, for places where its type is forgotten (`dyn(x)`); undefined where nothing needs
 * it.
 */
export function deepConversionOf(type: CelType, seen: readonly CelType[] = []): Conversion | undefined {
  const scalar = conversionOf(type);
  if (type.kind === 'list') {
    const item = deepConversionOf(type.params[0]!, seen);
    return item === undefined ? undefined : (raw) => (Array.isArray(raw) ? raw.map(item) : raw);
  }
  if (type.kind === 'struct' && type.fieldNames !== undefined && !seen.includes(type)) {
    const fields: (readonly [string, Conversion])[] = [];
    for (const name of type.fieldNames()) {
      const field = type.fields?.(name);
      const fn = field === undefined ? undefined : deepConversionOf(field.type, [...seen, type]);
      if (fn !== undefined) fields.push([field!.jsonName, fn]);
    }
    if (fields.length === 0) return undefined;
    return (raw) => {
      if (typeof raw !== 'object' || raw === null || raw instanceof Boxed) return raw;
      const out: Record<string, unknown> = { ...(raw as PlainObject) };
      for (const [name, fn] of fields) if (out[name] !== undefined && out[name] !== null) out[name] = fn(out[name]);
      return out;
    };
  }
  return scalar;
}
