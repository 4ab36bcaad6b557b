/**
 * Quantities: fixed-point numbers with a suffix (`500m`, `128Mi`, `1e3`), with upstream's grammar, rounding, canonical form and
 * arithmetic (apimachinery api/resource). A mantissa is a plain number as long as it is a safe integer, a BigInt beyond.
 */

export type QuantityFormat = 'DecimalSI' | 'BinarySI' | 'DecimalExponent';

/** mantissa × 10^scale, and the notation it is to be written in. */
export interface Quantity {
  readonly mantissa: number | bigint;
  readonly scale: number;
  readonly format: QuantityFormat;
}

export const quantityFormatWrong =
  "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'";
const quantityNumericWrong = 'unable to parse numeric part of quantity';
const quantitySuffixWrong = "unable to parse quantity's suffix";

/** What `parseQuantity` throws; the message is one of upstream's three texts. */
export class QuantityError extends Error {
  constructor(message: string) {
    super(message);
    this.name = 'QuantityError';
  }
}

export const zeroQuantity: Quantity = Object.freeze({ mantissa: 0, scale: 0, format: 'DecimalSI' });

const maxInt64 = 9223372036854775807n;
const suffixCharacters = 'eEinumkKMGTP';

interface SuffixMeaning {
  readonly base: 2 | 10;
  readonly exponent: number;
  readonly format: QuantityFormat;
}

/** The suffixes of quantities; exponents (`e3`) are no suffix. */
export const suffixMeanings: ReadonlyMap<string, SuffixMeaning> = new Map<string, SuffixMeaning>([
  ['', { base: 10, exponent: 0, format: 'DecimalSI' }],
  ['n', { base: 10, exponent: -9, format: 'DecimalSI' }],
  ['u', { base: 10, exponent: -6, format: 'DecimalSI' }],
  ['m', { base: 10, exponent: -3, format: 'DecimalSI' }],
  ['k', { base: 10, exponent: 3, format: 'DecimalSI' }],
  ['M', { base: 10, exponent: 6, format: 'DecimalSI' }],
  ['G', { base: 10, exponent: 9, format: 'DecimalSI' }],
  ['T', { base: 10, exponent: 12, format: 'DecimalSI' }],
  ['P', { base: 10, exponent: 15, format: 'DecimalSI' }],
  ['E', { base: 10, exponent: 18, format: 'DecimalSI' }],
  ['Ki', { base: 2, exponent: 10, format: 'BinarySI' }],
  ['Mi', { base: 2, exponent: 20, format: 'BinarySI' }],
  ['Gi', { base: 2, exponent: 30, format: 'BinarySI' }],
  ['Ti', { base: 2, exponent: 40, format: 'BinarySI' }],
  ['Pi', { base: 2, exponent: 50, format: 'BinarySI' }],
  ['Ei', { base: 2, exponent: 60, format: 'BinarySI' }],
]);

const decimalSuffix: ReadonlyMap<number, string> = new Map([
  [-9, 'n'],
  [-6, 'u'],
  [-3, 'm'],
  [0, ''],
  [3, 'k'],
  [6, 'M'],
  [9, 'G'],
  [12, 'T'],
  [15, 'P'],
  [18, 'E'],
]);
const binarySuffix = ['', 'Ki', 'Mi', 'Gi', 'Ti', 'Pi', 'Ei'];

interface Parts {
  positive: boolean;
  num: string;
  denom: string;
  suffix: string;
}

function isDigit(code: number): boolean {
  return code >= 48 && code <= 57;
}

/** Splits sign, digits, fraction and suffix; undefined where the grammar is broken. Leading zeros are dropped from `num`. */
function split(text: string): Parts | undefined {
  const end = text.length;
  let pos = 0;
  let positive = true;
  if (text.charCodeAt(0) === 45) {
    positive = false;
    pos++;
  } else if (text.charCodeAt(0) === 43) pos++;
  while (pos < end && text.charCodeAt(pos) === 48) pos++;
  if (pos >= end) return { positive, num: '0', denom: '', suffix: '' };
  const numStart = pos;
  while (pos < end && isDigit(text.charCodeAt(pos))) pos++;
  const num = pos === numStart ? '0' : text.slice(numStart, pos);
  let denom = '';
  if (text.charCodeAt(pos) === 46) {
    const start = ++pos;
    while (pos < end && isDigit(text.charCodeAt(pos))) pos++;
    denom = text.slice(start, pos);
  }
  const suffixStart = pos;
  while (pos < end && suffixCharacters.includes(text[pos]!)) pos++;
  if (pos < end && (text.charCodeAt(pos) === 45 || text.charCodeAt(pos) === 43)) pos++;
  while (pos < end && isDigit(text.charCodeAt(pos))) pos++;
  if (pos < end) return undefined;
  return { positive, num, denom, suffix: text.slice(suffixStart) };
}

const exponentPattern = /^[eE]([+-]?[0-9]+)$/;

function interpretSuffix(suffix: string): SuffixMeaning | undefined {
  const known = suffixMeanings.get(suffix);
  if (known !== undefined) return known;
  const m = exponentPattern.exec(suffix);
  if (m === null) return undefined;
  const text = m[1]!;
  if (text.length > 20) return undefined;
  const wide = BigInt(text.startsWith('+') ? text.slice(1) : text);
  if (wide > maxInt64 || wide < -maxInt64 - 1n) return undefined;
  return { base: 10, exponent: Number(BigInt.asIntN(32, wide)), format: 'DecimalExponent' };
}

function narrow(value: bigint): number | bigint {
  return value >= -9007199254740991n && value <= 9007199254740991n ? Number(value) : value;
}

function make(mantissa: number | bigint, scale: number, format: QuantityFormat): Quantity {
  return { mantissa, scale, format };
}

/** Digits of 10^n as BigInt; `n` is bounded by the callers. */
function pow10(n: number): bigint {
  return 10n ** BigInt(n);
}

/** value / 10^n, rounded away from zero. */
function divideRoundUp(value: bigint, n: number): { value: bigint; exact: boolean } {
  if (value === 0n) return { value: 0n, exact: true };
  const magnitude = value < 0n ? -value : value;
  let quotient: bigint;
  let exact: boolean;
  if (n > 40 && magnitude.toString().length <= n - 1) {
    quotient = 1n;
    exact = false;
  } else {
    const divisor = pow10(n);
    quotient = magnitude / divisor;
    exact = quotient * divisor === magnitude;
    if (!exact) quotient += 1n;
  }
  return { value: value < 0n ? -quotient : quotient, exact };
}

interface Parsed {
  readonly quantity: Quantity;
  /** The text is what upstream would write back, even where it is not the shortest form (`1.500`, `+5`). */
  readonly verbatim: boolean;
}

function parseSlow(text: string): Parsed {
  if (text === '') throw new QuantityError(quantityFormatWrong);
  if (text === '0') return { quantity: zeroQuantity, verbatim: true };
  const parts = split(text);
  if (parts === undefined) throw new QuantityError(quantityFormatWrong);
  const { positive, num, denom } = parts;
  const meaning = interpretSuffix(parts.suffix);
  if (meaning === undefined) throw new QuantityError(quantitySuffixWrong);
  let format = meaning.format;

  let precision: number;
  if (format === 'BinarySI') {
    precision = denom === '' ? 15 - num.length - Math.trunc((meaning.exponent * 3) / 10) - 1 : -1;
  } else precision = 18 - (num.length + denom.length);
  const scale = (format === 'BinarySI' ? 0 : meaning.exponent) - denom.length;
  if (precision >= 0 && scale >= -9) {
    const shifted = num + denom;
    const digits = BigInt(shifted);
    let value = digits;
    if (format === 'BinarySI') value <<= BigInt(meaning.exponent);
    const verbatim =
      format === 'BinarySI'
        ? (digits & 7n) !== 0n
        : scale % 3 === 0 && !shifted.endsWith('000') && !shifted.startsWith('0');
    return { quantity: make(narrow(positive ? value : -value), scale, format), verbatim };
  }

  // Upstream reads the sign, all leading zeros and the point; a lone point or sign is not a number.
  if (!/[0-9]/.test(text.slice(0, text.length - parts.suffix.length))) throw new QuantityError(quantityNumericWrong);
  let amount = BigInt(num + denom);
  let amountScale = -denom.length;
  if (meaning.base === 10) amountScale += meaning.exponent;
  else amount <<= BigInt(meaning.exponent);
  if (amountScale < -9) {
    amount = divideRoundUp(amount, -9 - amountScale).value;
    amountScale = -9;
  }
  if (format === 'BinarySI') {
    const ten = pow10(-amountScale);
    if (amount > maxInt64 * ten) {
      amount = maxInt64;
      amountScale = 0;
    } else if (amount > 0n && amount < ten) format = 'DecimalSI';
  }
  return { quantity: make(narrow(positive ? amount : -amount), amountScale, format), verbatim: false };
}

/** The common forms, without a BigInt or a regular expression: up to 12 digits, then nothing, `m`, `k`, `M`, `G`, `Ki`, `Mi` or `Gi`. */
function parseFast(text: string): Quantity | undefined {
  const length = text.length;
  if (length === 0 || length > 14) return undefined;
  let value = 0;
  let i = 0;
  for (; i < length; i++) {
    const c = text.charCodeAt(i) - 48;
    if (c < 0 || c > 9) break;
    value = value * 10 + c;
  }
  if (i === 0 || i > 12) return undefined;
  if (i === length) return make(value, 0, 'DecimalSI');
  if (i === length - 1) {
    switch (text.charCodeAt(i)) {
      case 109:
        return make(value, -3, 'DecimalSI');
      case 107:
        return make(value, 3, 'DecimalSI');
      case 77:
        return make(value, 6, 'DecimalSI');
      case 71:
        return make(value, 9, 'DecimalSI');
      default:
        return undefined;
    }
  }
  if (i === length - 2 && text.charCodeAt(i + 1) === 105) {
    let factor: number;
    switch (text.charCodeAt(i)) {
      case 75:
        factor = 1024;
        break;
      case 77:
        factor = 1048576;
        break;
      case 71:
        factor = 1073741824;
        break;
      default:
        return undefined;
    }
    const product = value * factor;
    return product <= Number.MAX_SAFE_INTEGER ? make(product, 0, 'BinarySI') : undefined;
  }
  return undefined;
}

function textOf(text: string | number): string {
  return typeof text === 'string' ? text : String(text);
}

/**
 * Reads a quantity. A number is taken as the text that JSON would have for it.
 * @throws {QuantityError} with upstream's text
 */
export function parseQuantity(text: string | number): Quantity {
  const t = textOf(text);
  return parseFast(t) ?? parseSlow(t).quantity;
}

/** As `parseQuantity`, but undefined for what is no quantity (or no text at all). */
export function tryParseQuantity(text: string | number | undefined | null): Quantity | undefined {
  if (text === undefined || text === null) return undefined;
  const t = textOf(text);
  const fast = parseFast(t);
  if (fast !== undefined) return fast;
  try {
    return parseSlow(t).quantity;
  } catch (e) {
    if (e instanceof QuantityError) return undefined;
    throw e;
  }
}

/** Upstream's error text for a bad quantity, undefined for a good one. */
export function quantityError(text: string): string | undefined {
  try {
    parseSlow(text);
    return undefined;
  } catch (e) {
    if (e instanceof QuantityError) return e.message;
    throw e;
  }
}

/** What upstream writes back after reading this text (surrounding white space is dropped); undefined for what is no quantity. */
export function canonicalQuantity(text: string): string | undefined {
  const length = text.length;
  const first = text.charCodeAt(0);
  if (first >= 49 && first <= 57 && length <= 12) {
    // A short canonical text needs no arithmetic: digits that do not end in 000 (decimal), odd enough (binary).
    let value = 0;
    let i = 0;
    for (; i < length; i++) {
      const c = text.charCodeAt(i) - 48;
      if (c < 0 || c > 9) break;
      value = value * 10 + c;
    }
    if (i === length || (i === length - 1 && text.charCodeAt(i) === 109)) {
      if (value % 1000 !== 0) return text;
    } else if (i <= 5 && i === length - 2 && text.charCodeAt(i + 1) === 105 && value % 8 !== 0) {
      const c = text.charCodeAt(i);
      if (c === 75 || c === 77 || c === 71) return text;
    }
  } else if (text === '0') return text;
  try {
    const trimmed = text.trim();
    const parsed = parseSlow(trimmed);
    return parsed.verbatim ? trimmed : formatQuantity(parsed.quantity);
  } catch (e) {
    if (e instanceof QuantityError) return undefined;
    throw e;
  }
}

function formatDecimal(mantissa: number | bigint, scale: number, format: QuantityFormat): string {
  let exponent = scale;
  let text: string;
  if (typeof mantissa === 'number') {
    let m = mantissa;
    while (m % 10 === 0) {
      m /= 10;
      exponent++;
    }
    text = String(m);
  } else {
    text = mantissa.toString();
    const stripped = text.replace(/0+$/, '');
    exponent += text.length - stripped.length;
    text = stripped;
  }
  const rest = ((exponent % 3) + 3) % 3;
  if (rest !== 0) {
    text += rest === 1 ? '0' : '00';
    exponent -= rest;
  }
  if (format !== 'DecimalExponent') {
    const suffix = decimalSuffix.get(exponent);
    // Beyond exa there is no suffix; the exponent form keeps the value.
    if (suffix !== undefined) return text + suffix;
  }
  return exponent === 0 ? text : `${text}e${exponent}`;
}

/** The canonical form: no fraction, the biggest suffix that loses nothing. */
export function formatQuantity(q: Quantity): string {
  if (isZeroQuantity(q)) return '0';
  if (q.format === 'BinarySI') {
    const small = compareMagnitude(q, 1024n) < 0;
    if (!small) {
      const whole = atScaleZero(q);
      if (whole !== undefined) {
        if (typeof whole === 'number') {
          let n = whole;
          let times = 0;
          while (times < 6 && n % 1024 === 0) {
            n /= 1024;
            times++;
          }
          return `${n}${binarySuffix[times]!}`;
        }
        let n = whole;
        let times = 0;
        while (times < 6 && n % 1024n === 0n) {
          n /= 1024n;
          times++;
        }
        return `${n}${binarySuffix[times]!}`;
      }
    }
    return formatDecimal(q.mantissa, q.scale, 'DecimalSI');
  }
  return formatDecimal(q.mantissa, q.scale, q.format);
}

/** The exact integer value, undefined where there is a fraction. */
function atScaleZero(q: Quantity): number | bigint | undefined {
  if (q.scale === 0) return q.mantissa;
  if (q.scale > 0) {
    if (q.scale > 400) return undefined;
    return narrow(BigInt(q.mantissa) * pow10(q.scale));
  }
  const r = divideRoundUp(BigInt(q.mantissa), -q.scale);
  return r.exact ? narrow(r.value) : undefined;
}

function compareMagnitude(q: Quantity, with_: bigint): number {
  const m = BigInt(q.mantissa);
  return compareScaled(m < 0n ? -m : m, q.scale, with_, 0);
}

/** Compares a×10^as with b×10^bs without ever making a number bigger than the digits need. */
function compareScaled(a: bigint, as: number, b: bigint, bs: number): number {
  const signA = a === 0n ? 0 : a < 0n ? -1 : 1;
  const signB = b === 0n ? 0 : b < 0n ? -1 : 1;
  if (signA !== signB) return signA < signB ? -1 : 1;
  if (signA === 0) return 0;
  if (as === bs) return a < b ? -1 : a > b ? 1 : 0;
  const magnitudeA = (signA < 0 ? -a : a).toString();
  const magnitudeB = (signB < 0 ? -b : b).toString();
  const orderA = magnitudeA.length + as;
  const orderB = magnitudeB.length + bs;
  if (orderA !== orderB) return orderA < orderB ? -signA : signA;
  const width = Math.max(magnitudeA.length, magnitudeB.length);
  const x = magnitudeA.padEnd(width, '0');
  const y = magnitudeB.padEnd(width, '0');
  return x === y ? 0 : x < y ? -signA : signA;
}

/** -1, 0 or 1. */
export function compareQuantity(a: Quantity, b: Quantity): number {
  if (a.scale === b.scale && typeof a.mantissa === 'number' && typeof b.mantissa === 'number') {
    return a.mantissa < b.mantissa ? -1 : a.mantissa > b.mantissa ? 1 : 0;
  }
  return compareScaled(BigInt(a.mantissa), a.scale, BigInt(b.mantissa), b.scale);
}

export function isZeroQuantity(q: Quantity): boolean {
  return q.mantissa === 0 || q.mantissa === 0n;
}

/** -1, 0 or 1. */
export function quantitySign(q: Quantity): number {
  return q.mantissa === 0 || q.mantissa === 0n ? 0 : q.mantissa < 0 ? -1 : 1;
}

const smallPowers = [1, 10, 100, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9];
/** Beyond this distance the smaller of two summands is lost below the larger one's last digit. */
const maxScaleDistance = 4096;

function addScaled(a: Quantity, b: Quantity, sign: 1 | -1, format: QuantityFormat): Quantity {
  if (typeof a.mantissa === 'number' && typeof b.mantissa === 'number') {
    const scale = Math.min(a.scale, b.scale);
    const da = a.scale - scale;
    const db = b.scale - scale;
    if (da < smallPowers.length && db < smallPowers.length) {
      const x = a.mantissa * smallPowers[da]!;
      const y = sign * b.mantissa * smallPowers[db]!;
      const sum = x + y;
      if (Number.isSafeInteger(x) && Number.isSafeInteger(y) && Number.isSafeInteger(sum))
        return make(sum, scale, format);
    }
  }
  const bm = sign === 1 ? BigInt(b.mantissa) : -BigInt(b.mantissa);
  if (bm === 0n) return make(a.mantissa, a.scale, format);
  const am = BigInt(a.mantissa);
  if (am === 0n) return make(narrow(bm), b.scale, format);
  if (Math.abs(a.scale - b.scale) > maxScaleDistance) {
    return a.scale > b.scale ? make(a.mantissa, a.scale, format) : make(narrow(bm), b.scale, format);
  }
  const scale = Math.min(a.scale, b.scale);
  return make(narrow(am * pow10(a.scale - scale) + bm * pow10(b.scale - scale)), scale, format);
}

/** a + b, in a's format (in b's where a is zero). */
export function addQuantity(a: Quantity, b: Quantity): Quantity {
  return addScaled(a, b, 1, isZeroQuantity(a) ? b.format : a.format);
}

/** a − b, in a's format (in b's where a is zero). */
export function subQuantity(a: Quantity, b: Quantity): Quantity {
  return addScaled(a, b, -1, isZeroQuantity(a) ? b.format : a.format);
}

export function maxQuantity(a: Quantity, b: Quantity): Quantity {
  return compareQuantity(a, b) >= 0 ? a : b;
}

/** q / 10^scale, rounded away from zero to an integer. Beyond 2^53 the nearest number. */
export function quantityScaled(q: Quantity, scale: number): number {
  const distance = q.scale - scale;
  if (distance === 0) return Number(q.mantissa);
  if (distance > 0) {
    if (typeof q.mantissa === 'number' && distance < smallPowers.length) return q.mantissa * smallPowers[distance]!;
    if (isZeroQuantity(q)) return 0;
    return distance > 400 ? quantitySign(q) * Infinity : Number(BigInt(q.mantissa) * pow10(distance));
  }
  if (typeof q.mantissa === 'number' && -distance < smallPowers.length) {
    const x = q.mantissa / smallPowers[-distance]!;
    // A quotient of safe integers may round to a whole number; the remainder is exact.
    if (q.mantissa % smallPowers[-distance]! === 0) return x;
    const t = (q.mantissa - (q.mantissa % smallPowers[-distance]!)) / smallPowers[-distance]!;
    return q.mantissa > 0 ? t + 1 : t - 1;
  }
  return Number(divideRoundUp(BigInt(q.mantissa), -distance).value);
}

/** The value as an integer, rounded up (away from zero). */
export function quantityValue(q: Quantity): number {
  return quantityScaled(q, 0);
}

/** The value in thousandths, rounded up (away from zero). */
export function quantityMilli(q: Quantity): number {
  return quantityScaled(q, -3);
}

/** The value as a floating-point number, possibly with loss. */
export function quantityToNumber(q: Quantity): number {
  if (q.scale === 0) return Number(q.mantissa);
  return q.scale > 0 ? Number(q.mantissa) * 10 ** q.scale : Number(q.mantissa) / 10 ** -q.scale;
}

export function newQuantity(value: number | bigint, format: QuantityFormat): Quantity {
  return make(typeof value === 'bigint' ? narrow(value) : value, 0, format);
}

/** A quantity of `value` thousandths. */
export function newMilliQuantity(value: number, format: QuantityFormat): Quantity {
  return make(value, -3, format);
}

/** Compares two quantity texts; what is no quantity counts as zero. */
export function compareQuantityText(a: string | number, b: string | number): number {
  return compareQuantity(tryParseQuantity(a) ?? zeroQuantity, tryParseQuantity(b) ?? zeroQuantity);
}
