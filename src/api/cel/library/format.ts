/**
 * `string.format`: the clauses and how each formats values. Kubernetes enables version 2 of the strings library, which prints
 * numbers the way an English reader expects (`1,234.50`, `1.2 × 10³`); from version 4 on they are plain.
 */
import { fail } from '../errors.ts';
import { formatDuration, formatF, formatG, formatTimestamp } from '../text.ts';
import { CelType } from '../types.ts';
import {
  Duration,
  Timestamp,
  Uint,
  asDouble,
  compareStrings,
  isInt,
  isMap,
  mapGet,
  mapKeys,
  typeOf,
} from '../values.ts';

const defaultPrecision = 6;
const decoder = new TextDecoder();

export type Clause = 's' | 'd' | 'f' | 'e' | 'b' | 'x' | 'X' | 'o';

export const clauseErrors: Readonly<Record<Clause, string>> = {
  s: 'string clause can only be used on strings, bools, bytes, ints, doubles, maps, lists, types, durations, and timestamps, was given ',
  d: 'decimal clause can only be used on integers, was given ',
  f: 'fixed-point clause can only be used on doubles, was given ',
  e: 'scientific clause can only be used on doubles, was given ',
  b: 'only integers and bools can be formatted as binary, was given ',
  x: 'only integers, byte buffers, and strings can be formatted as hex, was given ',
  X: 'only integers, byte buffers, and strings can be formatted as hex, was given ',
  o: 'octal clause can only be used on integers, was given ',
};

/** A part of a format string: text, or a clause for the next argument. */
export type Part = string | { readonly clause: Clause; readonly precision: number | undefined };

/** Parses a format string; `count` arguments are there. Throws through `error` in the order upstream finds the errors. */
export function parseFormat(format: string, count: number, error: (message: string) => never): Part[] {
  const parts: Part[] = [];
  let text = '';
  let index = 0;
  for (let i = 0; i < format.length;) {
    if (format[i] !== '%') {
      text += format[i++]!;
      continue;
    }
    if (format[i + 1] === '%') {
      text += '%';
      i += 2;
      continue;
    }
    if (index >= count) error(`index ${index} out of range`);
    if (i + 1 >= format.length) error('unexpected end of string');
    const m = /^(?:\.([0-9]*))?([^])?/.exec(format.slice(i + 1))!;
    const clauseError = (message: string): never => error(`could not parse formatting clause: ${message}`);
    if (m[1] !== undefined && m[2] === undefined) {
      clauseError('error while parsing precision: could not find end of precision specifier');
    }
    if (m[1] === '') {
      clauseError(
        'error while parsing precision: error while converting precision to integer: strconv.Atoi: parsing "": invalid syntax',
      );
    }
    const clause = m[2] ?? '';
    if (!Object.hasOwn(clauseErrors, clause)) clauseError(`unrecognized formatting clause "${clause}"`);
    if (text !== '') parts.push(text);
    text = '';
    parts.push({ clause: clause as Clause, precision: m[1] === undefined ? undefined : Number(m[1]) });
    i += 1 + m[0].length;
    index++;
  }
  if (text !== '') parts.push(text);
  return parts;
}

/** Go's `%q`. */
function quote(text: string): string {
  let out = '"';
  for (const c of text) {
    const code = c.codePointAt(0)!;
    if (c === '"' || c === '\\') out += `\\${c}`;
    else if (code === 0x0a) out += '\\n';
    else if (code === 0x0d) out += '\\r';
    else if (code === 0x09) out += '\\t';
    else if (code < 0x20 || code === 0x7f) out += `\\x${code.toString(16).padStart(2, '0')}`;
    else out += c;
  }
  return `${out}"`;
}

/** The digits of a finite double with `precision` places, rounding half to even on its exact value. */
function fixed(value: number, precision: number): string {
  const view = new DataView(new ArrayBuffer(8));
  view.setFloat64(0, Math.abs(value));
  const bits = view.getBigUint64(0);
  const raw = Number((bits >> 52n) & 0x7ffn);
  const mantissa = (bits & 0xfffffffffffffn) | (raw === 0 ? 0n : 1n << 52n);
  const exponent = (raw === 0 ? 1 : raw) - 1075;
  let numerator = mantissa * 10n ** BigInt(precision);
  let rounded: bigint;
  if (exponent >= 0) rounded = numerator << BigInt(exponent);
  else {
    const divisor = 1n << BigInt(-exponent);
    rounded = numerator / divisor;
    numerator -= rounded * divisor;
    const twice = numerator * 2n;
    if (twice > divisor || (twice === divisor && rounded % 2n === 1n)) rounded++;
  }
  const digits = String(rounded).padStart(precision + 1, '0');
  const sign = value < 0 || Object.is(value, -0) ? '-' : '';
  const whole = digits.slice(0, digits.length - precision);
  return precision === 0 ? sign + whole : `${sign}${whole}.${digits.slice(-precision)}`;
}

const grouped = (text: string): string => {
  const [whole = '', fraction] = text.split('.');
  const out = whole.replace(/\B(?=(?:[0-9]{3})+$)/g, ',');
  return fraction === undefined ? out : `${out}.${fraction}`;
};

const superscripts = '⁰¹²³⁴⁵⁶⁷⁸⁹';

function localizedExponential(value: number, precision: number): string {
  const [mantissa = '', exponent = '0'] = value.toExponential(Math.min(precision, 100)).split('e');
  const power = Number(exponent);
  const digits = String(Math.abs(power)).padStart(2, '0');
  const raised = (power < 0 ? '⁻' : '') + [...digits].map((d) => superscripts[Number(d)]).join('');
  return `${mantissa}×10${raised}`;
}

function goExponential(value: number, precision: number): string {
  const [mantissa = '', exponent = '0'] = value.toExponential(Math.min(precision, 100)).split('e');
  const power = Number(exponent);
  return `${mantissa}e${power < 0 ? '-' : '+'}${String(Math.abs(power)).padStart(2, '0')}`;
}

const formatFailure = (clause: Clause, v: unknown): never =>
  fail(`error during formatting: ${clauseErrors[clause]}${typeOf(v).name}`);

function hex(v: unknown, upper: boolean): string {
  let text: string;
  if (isInt(v)) text = v < 0 ? `-${(-BigInt(v)).toString(16)}` : v.toString(16);
  else if (v instanceof Uint) text = v.value.toString(16);
  else {
    const bytes = typeof v === 'string' ? new TextEncoder().encode(v) : v;
    if (!(bytes instanceof Uint8Array)) return formatFailure('x', v);
    text = [...bytes].map((b) => b.toString(16).padStart(2, '0')).join('');
  }
  return upper ? text.toUpperCase() : text;
}

function radix(v: unknown, base: number, clause: Clause): string {
  if (isInt(v)) return v < 0 ? `-${(-BigInt(v)).toString(base)}` : v.toString(base);
  return v instanceof Uint ? v.value.toString(base) : formatFailure(clause, v);
}

const special = (v: number, infinity: string): string | undefined =>
  Number.isNaN(v) ? 'NaN' : v === Infinity ? infinity : v === -Infinity ? `-${infinity}` : undefined;

/** How the numbers and texts of one version look. */
export interface Style {
  format(part: { readonly clause: Clause; readonly precision: number | undefined }, v: unknown): string;
}

function common(clause: Clause, v: unknown): string {
  switch (clause) {
    case 'b':
      return typeof v === 'boolean' ? (v ? '1' : '0') : radix(v, 2, 'b');
    case 'o':
      return radix(v, 8, 'o');
    case 'x':
      return hex(v, false);
    case 'X':
      return hex(v, true);
    default:
      return formatFailure(clause, v);
  }
}

// Up to version 3 ------------------------------------------------------------------------------------------------------

function decimal1(v: unknown): string {
  if (isInt(v)) return String(v);
  return v instanceof Uint ? String(v.value) : formatFailure('d', v);
}

function string1(v: unknown): string {
  if (typeof v === 'string') return v;
  if (typeof v === 'boolean') return String(v);
  if (v === null) return 'null';
  if (isInt(v) || v instanceof Uint) return decimal1(v);
  const d = asDouble(v);
  if (d !== undefined) return formatG(d);
  if (v instanceof Uint8Array) return decoder.decode(v);
  if (v instanceof Timestamp) return formatTimestamp(v);
  if (v instanceof Duration) return formatDuration(v);
  if (v instanceof CelType) return v.name;
  if (Array.isArray(v)) return `[${v.map(inner1).join(', ')}]`;
  if (isMap(v)) {
    const pairs = mapKeys(v).map((k) => {
      if (typeof k !== 'string' && typeof k !== 'boolean' && !isInt(k) && !(k instanceof Uint)) {
        fail(`error during formatting: no formatting function for map key of type ${typeOf(k).name}`);
      }
      return [inner1(k), inner1(mapGet(v, k))] as const;
    });
    pairs.sort((a, b) => compareStrings(a[0], b[0]));
    return `{${pairs.map(([k, w]) => `${k}:${w}`).join(', ')}}`;
  }
  return formatFailure('s', v);
}

/** A value within a list or map: as it is written in source. */
function inner1(v: unknown): string {
  if (typeof v === 'string') return quote(v);
  if (v instanceof Uint8Array) return `b${quote(decoder.decode(v))}`;
  const d = asDouble(v);
  if (d !== undefined) {
    const name = special(d, 'Inf');
    return name === undefined ? fixed(d, defaultPrecision) : quote(name === 'Inf' ? '+Inf' : name);
  }
  if (v instanceof Timestamp) return `timestamp(${quote(formatTimestamp(v))})`;
  if (v instanceof Duration) return `duration(${quote(formatDuration(v))})`;
  const known =
    typeof v === 'boolean' || v === null || isInt(v) || v instanceof Uint || v instanceof CelType || Array.isArray(v);
  if (!known && !isMap(v)) fail(`error during formatting: no formatting function for ${typeOf(v).name}`);
  return string1(v);
}

function double1(clause: 'f' | 'e', v: unknown): number {
  if (v === 'NaN') return NaN;
  if (v === 'Infinity') return Infinity;
  if (v === '-Infinity') return -Infinity;
  return asDouble(v) ?? (formatFailure(clause, v) as never);
}

export const localizedStyle: Style = {
  format: ({ clause, precision = defaultPrecision }, v) => {
    switch (clause) {
      case 's':
        return string1(v);
      case 'd':
        return decimal1(v);
      case 'f': {
        const d = double1('f', v);
        // Zero has no sign here.
        return special(d, '∞') ?? grouped(fixed(d === 0 ? 0 : d, precision));
      }
      case 'e': {
        const d = double1('e', v);
        // What stands as precision is taken for the width.
        return (special(d, '∞') ?? localizedExponential(d, defaultPrecision)).padStart(precision);
      }
      default:
        return common(clause, v);
    }
  },
};

// From version 4 on ----------------------------------------------------------------------------------------------------

function number4(clause: 'd' | 'f' | 'e', v: unknown, finite: (value: number) => string): string {
  const d = asDouble(v);
  if (d !== undefined) return special(d, 'Infinity') ?? finite(d);
  if (clause === 'd') return decimal1(v);
  if (isInt(v)) return finite(Number(v));
  return v instanceof Uint ? finite(Number(v.value)) : formatFailure(clause, v);
}

function string4(v: unknown): string {
  const d = asDouble(v);
  if (d !== undefined) return special(d, 'Infinity') ?? formatF(d);
  if (v instanceof Timestamp) return formatTimestamp(v, true);
  if (Array.isArray(v)) return `[${v.map(string4).join(', ')}]`;
  if (isMap(v)) {
    const pairs = mapKeys(v).map((k) => [string4(k), string4(mapGet(v, k))] as const);
    pairs.sort((a, b) => compareStrings(a[0], b[0]));
    return `{${pairs.map(([k, w]) => `${k}: ${w}`).join(', ')}}`;
  }
  return string1(v);
}

export const plainStyle: Style = {
  format: ({ clause, precision = defaultPrecision }, v) => {
    switch (clause) {
      case 's':
        return string4(v);
      case 'd':
        return number4('d', v, formatF);
      case 'f':
        return number4('f', v, (d) => fixed(d, precision));
      case 'e':
        return number4('e', v, (d) => goExponential(d, precision));
      default:
        return common(clause, v);
    }
  },
};

/** `format.format(args)` */
export function formatString(format: string, args: readonly unknown[], style: Style): string {
  return parseFormat(format, args.length, fail).reduce<readonly [string, number]>(
    ([text, index], part) =>
      typeof part === 'string' ? [text + part, index] : [text + style.format(part, args[index]), index + 1],
    ['', 0],
  )[0];
}
