/** CEL's standard functions: operators' signatures, conversions, sizes, text, times. */
import { parseBool } from '../../../base/parse-bool.ts';
import { op } from '../ast.ts';
import type { Impl, Library, Overload } from '../declarations.ts';
import { global, member, paramA, paramB } from '../declarations.ts';
import { fail, noSuchOverload } from '../errors.ts';
import {
  formatDuration,
  formatG,
  formatTimestamp,
  maxTimestamp,
  minTimestamp,
  parseDoubleText,
  parseGoDuration,
  parseIntText,
  parseTimestamp,
  parseUintText,
} from '../text.ts';
import type { CelType } from '../types.ts';
import {
  boolType,
  bytesType,
  doubleType,
  durationType,
  dynType,
  intType,
  listType,
  mapType,
  nullType,
  stringType,
  timestampType,
  typeOfType,
  typeType,
  uintType,
} from '../types.ts';
import {
  Duration,
  Timestamp,
  Uint,
  asDouble,
  checkedInt,
  checkedUint,
  doubleValue,
  intValue,
  mapSize,
  stringSize,
  typeOf,
} from '../values.ts';
import { compilePattern, constantPattern } from '../pattern.ts';

const listA = listType(paramA);
const mapAB = mapType(paramA, paramB);

const comparable: readonly (readonly [string, CelType])[] = [
  ['bool', boolType],
  ['int64', intType],
  ['uint64', uintType],
  ['double', doubleType],
  ['string', stringType],
  ['bytes', bytesType],
  ['timestamp', timestampType],
  ['duration', durationType],
];
const numeric = comparable.slice(1, 4);

function ordering(prefix: string): Overload[] {
  const out = comparable.map(([name, t]) => global(`${prefix}_${name}`, [t, t], boolType));
  for (const [a, t] of numeric) {
    for (const [b, u] of numeric) if (a !== b) out.push(global(`${prefix}_${a}_${b}`, [t, u], boolType));
  }
  return out;
}

/** Comparisons across number types, which older environments lack. */
export const crossTypeOverloads: ReadonlySet<string> = new Set(
  ['less', 'less_equals', 'greater', 'greater_equals'].flatMap((p) =>
    numeric.flatMap(([a]) => numeric.filter(([b]) => a !== b).map(([b]) => `${p}_${a}_${b}`)),
  ),
);

const same = (name: string, types: readonly (readonly [string, CelType])[]): Overload[] =>
  types.map(([suffix, t]) => global(`${name}_${suffix}`, [t, t], t));

const identity: Impl = (args) => args[0];

function conversionError(v: unknown, to: CelType): never {
  return fail(`type conversion error from '${typeOf(v).name}' to '${to.name}'`);
}

const parsed =
  (parse: (text: string) => unknown, to: CelType): Impl =>
  (args) =>
    parse(args[0] as string) ?? conversionError(args[0], to);

const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
const encoder = new TextEncoder();

function bytesToString(bytes: Uint8Array): string {
  try {
    return decoder.decode(bytes);
  } catch {
    return fail('invalid UTF-8 in bytes, cannot convert to string');
  }
}

const dbl = (v: unknown): number => asDouble(v)!;
const big = (v: unknown): bigint => (v instanceof Uint ? v.value : BigInt(v as number | bigint));

function doubleToInt(value: number): unknown {
  if (!Number.isFinite(value) || value <= -(2 ** 63) || value >= 2 ** 63) fail('integer overflow');
  return intValue(BigInt(Math.trunc(value)));
}

function doubleToUint(value: number): Uint {
  if (!Number.isFinite(value) || value < 0 || value >= 2 ** 64) fail('unsigned integer overflow');
  return new Uint(BigInt(Math.trunc(value)));
}

function intToTimestamp(v: unknown): Timestamp {
  const seconds = Number(v);
  if (seconds < minTimestamp || seconds > maxTimestamp) fail('timestamp overflow');
  return new Timestamp(seconds, 0);
}

const conversions: Readonly<Record<string, readonly Overload[]>> = {
  type: [global('type', [paramA], typeOfType(paramA), (args) => typeOf(args[0]))],
  dyn: [global('to_dyn', [paramA], dynType, identity)],
  bool: [
    global('bool_to_bool', [boolType], boolType, identity),
    global('string_to_bool', [stringType], boolType, parsed(parseBool, boolType)),
  ],
  bytes: [
    global('bytes_to_bytes', [bytesType], bytesType, identity),
    global('string_to_bytes', [stringType], bytesType, (args) => encoder.encode(args[0] as string)),
  ],
  double: [
    global('double_to_double', [doubleType], doubleType, identity),
    global('int64_to_double', [intType], doubleType, (args) => doubleValue(Number(args[0]))),
    global('string_to_double', [stringType], doubleType, parsed(parseDoubleText, doubleType)),
    global('uint64_to_double', [uintType], doubleType, (args) => doubleValue(Number((args[0] as Uint).value))),
  ],
  duration: [
    global('duration_to_duration', [durationType], durationType, identity),
    global('int64_to_duration', [intType], durationType, (args) => new Duration(big(args[0]))),
    global('string_to_duration', [stringType], durationType, parsed(parseGoDuration, durationType)),
  ],
  int: [
    global('int64_to_int64', [intType], intType, identity),
    global('double_to_int64', [doubleType], intType, (args) => doubleToInt(dbl(args[0]))),
    global('duration_to_int64', [durationType], intType, (args) => intValue((args[0] as Duration).nanos)),
    global('string_to_int64', [stringType], intType, parsed(parseIntText, intType)),
    global('timestamp_to_int64', [timestampType], intType, (args) => (args[0] as Timestamp).seconds),
    global('uint64_to_int64', [uintType], intType, (args) => checkedInt((args[0] as Uint).value)),
  ],
  string: [
    global('string_to_string', [stringType], stringType, identity),
    global('bool_to_string', [boolType], stringType, (args) => String(args[0])),
    global('bytes_to_string', [bytesType], stringType, (args) => bytesToString(args[0] as Uint8Array)),
    global('double_to_string', [doubleType], stringType, (args) => formatG(dbl(args[0]))),
    global('duration_to_string', [durationType], stringType, (args) => formatDuration(args[0] as Duration)),
    global('int64_to_string', [intType], stringType, (args) => String(args[0])),
    global('timestamp_to_string', [timestampType], stringType, (args) => formatTimestamp(args[0] as Timestamp)),
    global('uint64_to_string', [uintType], stringType, (args) => String((args[0] as Uint).value)),
  ],
  timestamp: [
    global('timestamp_to_timestamp', [timestampType], timestampType, identity),
    global('int64_to_timestamp', [intType], timestampType, (args) => intToTimestamp(args[0])),
    global('string_to_timestamp', [stringType], timestampType, parsed(parseTimestamp, timestampType)),
  ],
  uint: [
    global('uint64_to_uint64', [uintType], uintType, identity),
    global('double_to_uint64', [doubleType], uintType, (args) => doubleToUint(dbl(args[0]))),
    global('int64_to_uint64', [intType], uintType, (args) => checkedUint(big(args[0]))),
    global('string_to_uint64', [stringType], uintType, parsed(parseUintText, uintType)),
  ],
};

// Times ----------------------------------------------------------------------------------------------------------------

/** Seconds east of UTC of a zone at an instant. */
function zoneOffset(zone: string, at: Timestamp): number {
  if (zone === '' || zone === 'UTC') return 0;
  const colon = zone.indexOf(':');
  if (colon !== -1) {
    const number = (text: string): number => {
      if (!/^[+-]?[0-9]+$/.test(text)) fail(`strconv.Atoi: parsing "${text}": invalid syntax`);
      return Number(text);
    };
    const hours = number(zone.slice(0, colon));
    const minutes = number(zone.slice(colon + 1));
    return (zone.startsWith('-') ? hours * 60 - minutes : hours * 60 + minutes) * 60;
  }
  try {
    const parts = new Intl.DateTimeFormat('en-US', {
      timeZone: zone,
      hourCycle: 'h23',
      era: 'short',
      year: 'numeric',
      month: 'numeric',
      day: 'numeric',
      hour: 'numeric',
      minute: 'numeric',
      second: 'numeric',
    }).formatToParts(at.seconds * 1000);
    const part = (type: string): number => Number(parts.find((p) => p.type === type)?.value ?? '0');
    const year = parts.find((p) => p.type === 'era')?.value === 'BC' ? 1 - part('year') : part('year');
    const local = Date.UTC(2000, part('month') - 1, part('day'), part('hour'), part('minute'), part('second'));
    const date = new Date(local);
    date.setUTCFullYear(year, part('month') - 1, part('day'));
    return Math.round(date.getTime() / 1000 - at.seconds);
  } catch (error) {
    if (error instanceof RangeError)
      return fail(/^[/\\]|\.\./.test(zone) ? 'time: invalid location name' : `unknown time zone ${zone}`);
    throw error;
  }
}

const dateIn = (t: Timestamp, zone: string): Date => new Date((t.seconds + zoneOffset(zone, t)) * 1000);

const dayOfYear = (d: Date): number => {
  const first = new Date(d);
  first.setUTCMonth(0, 1);
  return Math.round((d.getTime() - first.getTime()) / 86_400_000);
};

const dateFields: Readonly<Record<string, readonly [id: string, (d: Date, t: Timestamp) => number]>> = {
  getFullYear: ['timestamp_to_year', (d) => d.getUTCFullYear()],
  getMonth: ['timestamp_to_month', (d) => d.getUTCMonth()],
  getDayOfYear: ['timestamp_to_day_of_year', dayOfYear],
  getDayOfMonth: ['timestamp_to_day_of_month', (d) => d.getUTCDate() - 1],
  getDate: ['timestamp_to_day_of_month_1_based', (d) => d.getUTCDate()],
  getDayOfWeek: ['timestamp_to_day_of_week', (d) => d.getUTCDay()],
  getHours: ['timestamp_to_hours', (d) => d.getUTCHours()],
  getMinutes: ['timestamp_to_minutes', (d) => d.getUTCMinutes()],
  getSeconds: ['timestamp_to_seconds', (d) => d.getUTCSeconds()],
  getMilliseconds: ['timestamp_to_milliseconds', (_d, t) => Math.trunc(t.nanos / 1e6)],
};

const durationFields: Readonly<Record<string, readonly [id: string, nanos: bigint]>> = {
  getHours: ['duration_to_hours', 3_600_000_000_000n],
  getMinutes: ['duration_to_minutes', 60_000_000_000n],
  getSeconds: ['duration_to_seconds', 1_000_000_000n],
  getMilliseconds: ['duration_to_milliseconds', 1_000_000n],
};

function times(): Record<string, Overload[]> {
  const out: Record<string, Overload[]> = {};
  for (const [name, [id, read]] of Object.entries(dateFields)) {
    const impl: Impl = (args) => {
      const t = args[0] as Timestamp;
      return read(dateIn(t, (args[1] as string | undefined) ?? 'UTC'), t);
    };
    out[name] = [
      member(id, [timestampType], intType, impl),
      member(`${id}_with_tz`, [timestampType, stringType], intType, impl),
    ];
    const duration = durationFields[name];
    if (duration === undefined) continue;
    const [durationId, unit] = duration;
    out[name].push(member(durationId, [durationType], intType, (args) => intValue((args[0] as Duration).nanos / unit)));
  }
  return out;
}

// Sizes and text -------------------------------------------------------------------------------------------------------

const sizeOf: Impl = ([v]) => {
  if (typeof v === 'string') return stringSize(v);
  return Array.isArray(v) || v instanceof Uint8Array ? v.length : mapSize(v);
};

const text =
  (fn: (text: string, other: string) => unknown): Impl =>
  (args) =>
    typeof args[0] === 'string' && typeof args[1] === 'string' ? fn(args[0], args[1]) : noSuchOverload();

const matches: Impl = (args, context) => compilePattern(args[1] as string, context).test(args[0] as string);

const matchesConstant = (pattern: unknown): Impl => {
  const compiled = constantPattern(pattern);
  return (args) => compiled.test(args[0] as string);
};

const two = [stringType, stringType];

export const standardLibrary: Library = {
  name: 'standard',
  types: [
    ...[boolType, bytesType, doubleType, durationType, intType, listA, mapAB, nullType, stringType, timestampType],
    ...[typeType, uintType],
  ],
  functions: {
    [op.conditional]: [global('conditional', [boolType, paramA, paramA], paramA)],
    [op.and]: [global('logical_and', [boolType, boolType], boolType)],
    [op.or]: [global('logical_or', [boolType, boolType], boolType)],
    [op.not]: [global('logical_not', [boolType], boolType)],
    [op.notStrictlyFalse]: [global('not_strictly_false', [boolType], boolType)],
    [op.equals]: [global('equals', [paramA, paramA], boolType)],
    [op.notEquals]: [global('not_equals', [paramA, paramA], boolType)],
    [op.add]: [
      global('add_bytes', [bytesType, bytesType], bytesType),
      global('add_double', [doubleType, doubleType], doubleType),
      global('add_duration_duration', [durationType, durationType], durationType),
      global('add_duration_timestamp', [durationType, timestampType], timestampType),
      global('add_timestamp_duration', [timestampType, durationType], timestampType),
      global('add_int64', [intType, intType], intType),
      global('add_list', [listA, listA], listA),
      global('add_string', [stringType, stringType], stringType),
      global('add_uint64', [uintType, uintType], uintType),
    ],
    [op.divide]: same('divide', numeric),
    [op.modulo]: same('modulo', numeric.slice(0, 2)),
    [op.multiply]: same('multiply', numeric),
    [op.negate]: [global('negate_double', [doubleType], doubleType), global('negate_int64', [intType], intType)],
    [op.subtract]: [
      global('subtract_double', [doubleType, doubleType], doubleType),
      global('subtract_duration_duration', [durationType, durationType], durationType),
      global('subtract_int64', [intType, intType], intType),
      global('subtract_timestamp_duration', [timestampType, durationType], timestampType),
      global('subtract_timestamp_timestamp', [timestampType, timestampType], durationType),
      global('subtract_uint64', [uintType, uintType], uintType),
    ],
    [op.less]: ordering('less'),
    [op.lessEquals]: ordering('less_equals'),
    [op.greater]: ordering('greater'),
    [op.greaterEquals]: ordering('greater_equals'),
    [op.index]: [global('index_list', [listA, intType], paramA), global('index_map', [mapAB, paramA], paramB)],
    [op.in]: [global('in_list', [paramA, listA], boolType), global('in_map', [paramA, mapAB], boolType)],
    size: [
      global('size_bytes', [bytesType], intType, sizeOf),
      member('bytes_size', [bytesType], intType, sizeOf),
      global('size_list', [listA], intType, sizeOf),
      member('list_size', [listA], intType, sizeOf),
      global('size_map', [mapAB], intType, sizeOf),
      member('map_size', [mapAB], intType, sizeOf),
      global('size_string', [stringType], intType, sizeOf),
      member('string_size', [stringType], intType, sizeOf),
    ],
    ...conversions,
    contains: [
      member(
        'contains_string',
        two,
        boolType,
        text((a, b) => a.includes(b)),
      ),
    ],
    endsWith: [
      member(
        'ends_with_string',
        two,
        boolType,
        text((a, b) => a.endsWith(b)),
      ),
    ],
    startsWith: [
      member(
        'starts_with_string',
        two,
        boolType,
        text((a, b) => a.startsWith(b)),
      ),
    ],
    matches: [
      { ...global('matches', two, boolType, matches), prepared: matchesConstant },
      { ...member('matches_string', two, boolType, matches), prepared: matchesConstant },
    ],
    ...times(),
  },
};
