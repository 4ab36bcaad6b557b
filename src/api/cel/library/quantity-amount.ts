/**
 * The number within a quantity as apimachinery holds it: 64 bits with a decimal scale, or a decimal of any length. Expressions can
 * tell: `asInteger` takes the first alone, and only where its scale is not negative; floats are made of what is held.
 */
import { suffixMeanings } from '../../quantity.ts';

export interface Amount {
  readonly value: bigint;
  /** The power of ten that it counts in. */
  readonly scale: number;
  /** A decimal of any length. */
  readonly decimal: boolean;
}

/** Digits that certainly fit into 64 bits. */
const maxDigits = 18;
const nano = -9;

const fits = (value: bigint): boolean => value === BigInt.asIntN(64, value);

/** `text` is a quantity. */
export function amountOf(text: string): Amount {
  const [, sign = '', integer = '', fraction = '', suffix = ''] = /^([+-]?)(\d*)(?:\.(\d*))?(.*)$/.exec(text) ?? [];
  const digits = integer.replace(/^0+(?=.)/, '');
  const meaning = suffixMeanings.get(suffix);
  const exponent = meaning?.exponent ?? Number(suffix.slice(1));
  const bits = meaning?.base === 2 ? exponent : undefined;
  const unscaled = BigInt(`${digits}${fraction}` || '0');
  const signed = (value: bigint): bigint => (sign === '-' ? -value : value);
  const room =
    bits === undefined
      ? maxDigits - digits.length - fraction.length
      : fraction === ''
        ? 15 - digits.length - Math.trunc((exponent * 3) / 10) - 1
        : -1;
  const scale = (bits === undefined ? exponent : 0) - fraction.length;
  const value = bits === undefined ? unscaled : unscaled << BigInt(bits);
  const decimal = room < 0 || scale < nano || !fits(value);
  return { value: signed(value), scale, decimal };
}

export const integerAmount = (value: bigint): Amount => ({ value, scale: 0, decimal: false });

/** The sum of `a` and `by` times (1 or -1) `b`. */
export function addAmounts(a: Amount, b: Amount, by: 1n | -1n): Amount {
  if (!a.decimal && !b.decimal) {
    if (b.value === 0n) return a;
    if (a.value === 0n) return { ...b, value: by * b.value };
  }
  const scale = Math.min(a.scale, b.scale);
  const value = a.value * 10n ** BigInt(a.scale - scale) + by * b.value * 10n ** BigInt(b.scale - scale);
  return { value, scale, decimal: a.decimal || b.decimal || !fits(value) };
}

/** As a 64-bit integer; undefined when it is not held as one. */
export function amountInteger({ value, scale, decimal }: Amount): bigint | undefined {
  if (decimal || scale < 0) return undefined;
  const whole = value * 10n ** BigInt(scale);
  return fits(whole) ? whole : undefined;
}

export function amountNumber({ value, scale }: Amount): number {
  return scale === 0 ? Number(value) : Number(value) * Number(`1e${scale}`);
}
