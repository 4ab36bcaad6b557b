/**
 * Times and durations as the API writes them: metav1.Time and MicroTime (RFC 3339), Go's duration text, and the short ages of
 * tables. Instants are milliseconds since 1970, durations milliseconds, unless a name says otherwise.
 */

const rfc3339Layout = '2006-01-02T15:04:05Z07:00';
const rfc3339MicroLayout = '2006-01-02T15:04:05.000000Z07:00';

/** metav1.Time: `2026-01-02T03:04:05Z`. */
export function formatTime(ms: number): string {
  return `${new Date(ms).toISOString().slice(0, 19)}Z`;
}

/** metav1.MicroTime: `2026-01-02T03:04:05.678000Z`; `micros` are the microseconds below the millisecond. */
export function formatMicroTime(ms: number, micros = 0): string {
  return `${new Date(ms).toISOString().slice(0, 23)}${String(micros).padStart(3, '0')}Z`;
}

/** A parsed instant: whole seconds since 1970 and nanoseconds. */
export interface Instant {
  readonly seconds: number;
  readonly nanos: number;
}

/** Year 1, which Go takes for "not set" and writes as null. */
const zeroTimeSeconds = -62135596800;

function isZeroInstant(t: Instant): boolean {
  return t.seconds === zeroTimeSeconds && t.nanos === 0;
}

export class TimeError extends Error {
  constructor(message: string) {
    super(message);
    this.name = 'TimeError';
  }
}

function quote(text: string): string {
  let out = '"';
  for (const ch of text) {
    const c = ch.codePointAt(0)!;
    if (ch === '"' || ch === '\\') out += `\\${ch}`;
    else if (c < 0x20 || c > 0x7e) {
      for (const b of Buffer.from(ch)) out += `\\x${b.toString(16).padStart(2, '0')}`;
    } else out += ch;
  }
  return `${out}"`;
}

function fail(layout: string, value: string, layoutElement: string, rest: string): never {
  throw new TimeError(
    `parsing time ${quote(value)} as ${quote(layout)}: cannot parse ${quote(rest)} as ${quote(layoutElement)}`,
  );
}

function failRange(value: string, what: string): never {
  throw new TimeError(`parsing time ${quote(value)}: ${what} out of range`);
}

const daysIn = [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];

function digit(text: string, i: number): boolean {
  const c = text.charCodeAt(i);
  return c >= 48 && c <= 57;
}

function parseLayout(text: string, micro: boolean): Instant {
  const layout = micro ? rfc3339MicroLayout : rfc3339Layout;
  let rest = text;
  const literal = (ch: string): void => {
    if (rest[0] !== ch) fail(layout, text, ch, rest);
    rest = rest.slice(1);
  };
  const number = (element: string, digits: number, fixed: boolean): number => {
    for (let i = 0; i < digits; i++) {
      if (!digit(rest, i)) {
        if (!fixed && i === 1) {
          const one = Number(rest[0]);
          rest = rest.slice(1);
          return one;
        }
        fail(layout, text, element, rest);
      }
    }
    const n = Number(rest.slice(0, digits));
    rest = rest.slice(digits);
    return n;
  };
  const year = number('2006', 4, true);
  literal('-');
  const month = number('01', 2, true);
  if (month < 1 || month > 12) failRange(text, 'month');
  literal('-');
  const day = number('02', 2, true);
  literal('T');
  const hour = number('15', 2, false);
  if (hour > 23) failRange(text, 'hour');
  literal(':');
  const minute = number('04', 2, true);
  if (minute > 59) failRange(text, 'minute');
  literal(':');
  const second = number('05', 2, true);
  if (second > 59) failRange(text, 'second');
  let nanos = 0;
  if (micro) {
    if (rest[0] !== '.' || !/^\.[0-9]{6}/.test(rest)) fail(layout, text, '.000000', rest);
    nanos = Number(rest.slice(1, 7)) * 1000;
    rest = rest.slice(7);
  } else {
    const m = /^[.,]([0-9]+)/.exec(rest);
    if (m !== null) {
      nanos = Number(m[1]!.slice(0, 9).padEnd(9, '0'));
      rest = rest.slice(m[0].length);
    }
  }
  let offset = 0;
  if (rest[0] === 'Z') rest = rest.slice(1);
  else {
    const m = /^([+-])([0-9]{2}):([0-9]{2})/.exec(rest);
    if (m === null) fail(layout, text, 'Z07:00', rest);
    const hours = Number(m[2]);
    const minutes = Number(m[3]);
    if (hours > 24) failRange(text, 'time zone offset hour');
    if (minutes > 60) failRange(text, 'time zone offset minute');
    offset = (hours * 60 + minutes) * 60 * (m[1] === '-' ? -1 : 1);
    rest = rest.slice(6);
  }
  if (rest !== '') throw new TimeError(`parsing time ${quote(text)}: extra text: ${quote(rest)}`);
  const leap = year % 4 === 0 && (year % 100 !== 0 || year % 400 === 0);
  if (day < 1 || day > (month === 2 && leap ? 29 : daysIn[month - 1]!)) failRange(text, 'day');
  const date = new Date(0);
  date.setUTCFullYear(year, month - 1, day);
  date.setUTCHours(hour, minute, second, 0);
  return { seconds: date.getTime() / 1000 - offset, nanos };
}

/**
 * Reads metav1.Time text.
 * @throws {TimeError} with Go's text
 */
export function parseInstant(text: string): Instant {
  return parseLayout(text, false);
}

const canonicalTimePattern = /^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{6})?Z$/;

/** Milliseconds since 1970 of a Time or MicroTime; NaN for undefined, null and what is no time. */
export function timeMs(text: string | null | undefined): number {
  if (typeof text !== 'string') return NaN;
  // Engines read this shape at once and exactly.
  if (canonicalTimePattern.test(text)) return Date.parse(text);
  try {
    const t = parseLayout(text, false);
    return t.seconds * 1000 + Math.trunc(t.nanos / 1e6);
  } catch (e) {
    if (e instanceof TimeError) return NaN;
    throw e;
  }
}

function formatInstant(t: Instant, micro: boolean): string | null {
  if (isZeroInstant(t)) return null;
  const base = new Date(t.seconds * 1000).toISOString();
  // Years beyond 9999 or before 0 come with a sign and six digits; Go prints them plainly.
  const cut = base.replace(/^\+0*/, '').replace(/\.[0-9]{3}Z$/, '');
  return micro ? `${cut}.${String(Math.trunc(t.nanos / 1000)).padStart(6, '0')}Z` : `${cut}Z`;
}

/**
 * What upstream writes after reading this metav1.Time: UTC, whole seconds, null for the zero time.
 * @throws {TimeError}
 */
export function canonicalTime(text: string): string | null {
  if (text.length === 20 && canonicalTimePattern.test(text) && !text.startsWith('0')) {
    const ms = Date.parse(text);
    // Date.parse accepts 24:00 and rolls 31 April over; the round trip tells.
    if (ms === ms && new Date(ms).toISOString().startsWith(text.slice(0, 19))) return text;
  }
  return formatInstant(parseLayout(text, false), false);
}

/** As `canonicalTime`, for metav1.MicroTime. */
export function canonicalMicroTime(text: string): string | null {
  return formatInstant(parseLayout(text, true), true);
}

export const formatInstantSeconds = (t: Instant): string | null => formatInstant(t, false);
export const formatInstantMicros = (t: Instant): string | null => formatInstant(t, true);

// Durations ------------------------------------------------------------------------------------------------------------

const unitNanos: Readonly<Record<string, bigint>> = {
  ns: 1n,
  us: 1000n,
  µs: 1000n,
  μs: 1000n,
  ms: 1_000_000n,
  s: 1_000_000_000n,
  m: 60_000_000_000n,
  h: 3_600_000_000_000n,
};
const maxDuration = 1n << 63n;

export class DurationError extends Error {
  constructor(message: string) {
    super(message);
    this.name = 'DurationError';
  }
}

/**
 * Go's time.ParseDuration, in nanoseconds.
 * @throws {DurationError} with Go's text
 */
export function parseDurationNanos(text: string): bigint {
  const bad = (): never => {
    throw new DurationError(`time: invalid duration ${quote(text)}`);
  };
  let s = text;
  let negative = false;
  if (s[0] === '-' || s[0] === '+') {
    negative = s[0] === '-';
    s = s.slice(1);
  }
  if (s === '0') return 0n;
  if (s === '') bad();
  let total = 0n;
  while (s !== '') {
    const m = /^([0-9]*)(\.([0-9]*))?/.exec(s)!;
    const whole = m[1]!;
    const fraction = m[3] ?? '';
    if (whole === '' && fraction === '') bad();
    if (whole.length > 19) bad();
    s = s.slice(m[0].length);
    const u = /^[^0-9.]+/.exec(s);
    if (u === null) throw new DurationError(`time: missing unit in duration ${quote(text)}`);
    const unit = unitNanos[u[0]];
    if (unit === undefined || !Object.hasOwn(unitNanos, u[0])) {
      throw new DurationError(`time: unknown unit ${quote(u[0])} in duration ${quote(text)}`);
    }
    s = s.slice(u[0].length);
    total += BigInt(whole === '' ? '0' : whole) * unit;
    if (fraction !== '') {
      const digits = fraction.slice(0, 18);
      total += (BigInt(digits) * unit) / 10n ** BigInt(digits.length);
    }
    if (total > maxDuration) bad();
  }
  if (negative) return -total;
  if (total > maxDuration - 1n) bad();
  return total;
}

/** Go's Duration.String of nanoseconds: `1h2m3.5s`, `1.5ms`, `0s`. */
export function formatDurationNanos(nanos: bigint): string {
  if (nanos === 0n) return '0s';
  const sign = nanos < 0n ? '-' : '';
  const n = nanos < 0n ? -nanos : nanos;
  const decimal = (value: bigint, unit: bigint, places: number): string => {
    const whole = value / unit;
    const rest = value % unit;
    return rest === 0n ? String(whole) : `${whole}.${String(rest).padStart(places, '0').replace(/0+$/, '')}`;
  };
  if (n < 1000n) return `${sign}${n}ns`;
  if (n < 1_000_000n) return `${sign}${decimal(n, 1000n, 3)}µs`;
  if (n < 1_000_000_000n) return `${sign}${decimal(n, 1_000_000n, 6)}ms`;
  const minutes = n / 60_000_000_000n;
  const seconds = decimal(n % 60_000_000_000n, 1_000_000_000n, 9);
  if (minutes === 0n) return `${sign}${seconds}s`;
  const hours = minutes / 60n;
  return hours === 0n ? `${sign}${minutes}m${seconds}s` : `${sign}${hours}h${minutes % 60n}m${seconds}s`;
}

/** Go's time.ParseDuration, in milliseconds (with a fraction where there is one). */
export function parseDuration(text: string): number {
  return Number(parseDurationNanos(text)) / 1e6;
}

/** Go's Duration.String of milliseconds. */
export function formatDuration(ms: number): string {
  return formatDurationNanos(BigInt(Math.round(ms * 1e6)));
}

/** What upstream writes after reading this duration text. @throws {DurationError} */
export function canonicalDuration(text: string): string {
  return formatDurationNanos(parseDurationNanos(text));
}

/** kubectl's AGE and the durations of tables: two or three significant figures (`5m3s`, `3d4h`, `2y10d`). */
export function humanDuration(ms: number): string {
  const seconds = Math.trunc(ms / 1000);
  if (seconds < -1) return '<invalid>';
  if (seconds < 0) return '0s';
  if (seconds < 120) return `${seconds}s`;
  const minutes = Math.trunc(seconds / 60);
  if (minutes < 10) return seconds % 60 === 0 ? `${minutes}m` : `${minutes}m${seconds % 60}s`;
  if (minutes < 180) return `${minutes}m`;
  const hours = Math.trunc(minutes / 60);
  if (hours < 8) return minutes % 60 === 0 ? `${hours}h` : `${hours}h${minutes % 60}m`;
  if (hours < 48) return `${hours}h`;
  const days = Math.trunc(hours / 24);
  if (hours < 192) return hours % 24 === 0 ? `${days}d` : `${days}d${hours % 24}h`;
  if (hours < 24 * 365 * 2) return `${days}d`;
  const years = Math.trunc(days / 365);
  if (hours < 24 * 365 * 8) return days % 365 === 0 ? `${years}y` : `${years}y${days % 365}d`;
  return `${years}y`;
}
