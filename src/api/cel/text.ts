/** How values read as text: conversions to string, and the texts that conversions parse. */
import { DurationError, TimeError, parseDurationNanos, parseInstant } from '../time.ts';
import { fail } from './errors.ts';
import { Duration, Timestamp, Uint, doubleValue, intValue } from './values.ts';

/** The shortest digits and decimal exponent of a finite number: 0.DIGITS × 10^exponent. */
function digitsOf(value: number): { readonly digits: string; readonly exponent: number } {
  const [mantissa = '0', exponent = '0'] = Math.abs(value).toExponential().split('e');
  const digits = mantissa.replace('.', '').replace(/0+$/, '');
  return { digits: digits === '' ? '0' : digits, exponent: Number(exponent) + 1 };
}

function special(value: number): string | undefined {
  if (Number.isNaN(value)) return 'NaN';
  if (value === Infinity) return '+Inf';
  return value === -Infinity ? '-Inf' : undefined;
}

/** Go's `%g`: the shortest text that reads back the same. */
export function formatG(value: number): string {
  const name = special(value);
  if (name !== undefined) return name;
  const sign = value < 0 || Object.is(value, -0) ? '-' : '';
  const { digits, exponent } = digitsOf(value);
  const power = value === 0 ? 0 : exponent - 1;
  if (power < -4 || power >= 6) {
    const rest = digits.length > 1 ? `.${digits.slice(1)}` : '';
    const p = Math.abs(power);
    return `${sign}${digits[0]}${rest}e${power < 0 ? '-' : '+'}${p < 10 ? '0' : ''}${p}`;
  }
  return formatF(value);
}

/** Go's `FormatFloat(x, 'f', -1, 64)`: the shortest digits, without an exponent. */
export function formatF(value: number): string {
  const name = special(value);
  if (name !== undefined) return name;
  const sign = value < 0 || Object.is(value, -0) ? '-' : '';
  if (value === 0) return `${sign}0`;
  const { digits, exponent } = digitsOf(value);
  if (exponent <= 0) return `${sign}0.${'0'.repeat(-exponent)}${digits}`;
  if (exponent >= digits.length) return `${sign}${digits}${'0'.repeat(exponent - digits.length)}`;
  return `${sign}${digits.slice(0, exponent)}.${digits.slice(exponent)}`;
}

const pad = (n: number, width: number): string => String(n).padStart(width, '0');

/** RFC 3339 in the zone the timestamp was written in, with as many digits of the second as there are. */
export function formatTimestamp(t: Timestamp, utc = false): string {
  const offset = utc ? 0 : t.offset;
  const d = new Date((t.seconds + offset) * 1000);
  const year = d.getUTCFullYear();
  const date = `${pad(year, 4)}-${pad(d.getUTCMonth() + 1, 2)}-${pad(d.getUTCDate(), 2)}`;
  const time = `${pad(d.getUTCHours(), 2)}:${pad(d.getUTCMinutes(), 2)}:${pad(d.getUTCSeconds(), 2)}`;
  const fraction = t.nanos === 0 ? '' : `.${pad(t.nanos, 9).replace(/0+$/, '')}`;
  if (offset === 0) return `${date}T${time}${fraction}Z`;
  const minutes = Math.trunc(Math.abs(offset) / 60);
  const zone = `${offset < 0 ? '-' : '+'}${pad(Math.trunc(minutes / 60), 2)}:${pad(minutes % 60, 2)}`;
  return `${date}T${time}${fraction}${zone}`;
}

/** Seconds with a fraction: `3600s`, `0.5s`. */
export function formatDuration(d: Duration): string {
  const seconds = Number(d.nanos / 1_000_000_000n) + Number(d.nanos % 1_000_000_000n) / 1e9;
  return `${formatF(seconds)}s`;
}

export const minTimestamp = -62135596800;
export const maxTimestamp = 253402300799;

/** RFC 3339; undefined for what is none. Fails when it is out of CEL's range. */
export function parseTimestamp(text: string): Timestamp | undefined {
  try {
    const { seconds, nanos } = parseInstant(text);
    if (seconds < minTimestamp || seconds > maxTimestamp) fail('timestamp overflow');
    const zone = /([+-])([0-9]{2}):([0-9]{2})$/.exec(text);
    const offset = zone === null ? 0 : (Number(zone[2]) * 60 + Number(zone[3])) * 60 * (zone[1] === '-' ? -1 : 1);
    return new Timestamp(seconds, nanos, offset);
  } catch (error) {
    if (error instanceof TimeError) return undefined;
    throw error;
  }
}

/** Go's duration text; undefined for what is none. */
export function parseGoDuration(text: string): Duration | undefined {
  try {
    return new Duration(parseDurationNanos(text));
  } catch (error) {
    if (error instanceof DurationError) return undefined;
    throw error;
  }
}

/** Go's ParseInt(s, 10, 64). */
export function parseIntText(text: string): number | bigint | undefined {
  if (!/^[+-]?[0-9]+$/.test(text)) return undefined;
  const value = BigInt(text.startsWith('+') ? text.slice(1) : text);
  return value === BigInt.asIntN(64, value) ? intValue(value) : undefined;
}

/** Go's ParseUint(s, 10, 64). */
export function parseUintText(text: string): Uint | undefined {
  if (!/^[0-9]+$/.test(text)) return undefined;
  const value = BigInt(text);
  return value === BigInt.asUintN(64, value) ? new Uint(value) : undefined;
}

/** Go's ParseFloat(s, 64). */
export function parseDoubleText(text: string): unknown {
  const lower = text.toLowerCase();
  const name = /^([+-]?)(inf|infinity|nan)$/.exec(lower);
  if (name !== null) {
    if (name[2] === 'nan') return name[1] === '' ? NaN : undefined;
    return name[1] === '-' ? -Infinity : Infinity;
  }
  const hex = /^([+-]?)0x([0-9a-f]*)\.?([0-9a-f]*)p([+-]?[0-9]+)$/.exec(lower);
  if (hex !== null && (hex[2] !== '' || hex[3] !== '')) {
    const mantissa = Number.parseInt(`${hex[2]!}${hex[3]!}` || '0', 16);
    const value = mantissa * 2 ** (Number(hex[4]) - 4 * hex[3]!.length);
    return Number.isFinite(value) ? doubleValue(hex[1] === '-' ? -value : value) : undefined;
  }
  if (!/^[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:e[+-]?[0-9]+)?$/.test(lower)) return undefined;
  const value = Number(lower);
  return Number.isFinite(value) ? doubleValue(value) : undefined;
}
