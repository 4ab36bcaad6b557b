/** Arithmetic and comparison, by the types that are known when an expression is compiled, and for values of any type. */
import { fail, noSuchOverload } from './errors.ts';
import { maxTimestamp, minTimestamp } from './text.ts';
import {
  Double,
  Duration,
  Timestamp,
  Uint,
  asDouble,
  checkedInt,
  checkedUint,
  compare,
  doubleValue,
  isInt,
} from './values.ts';

type Binary = (a: unknown, b: unknown) => unknown;

const big = (v: unknown): bigint =>
  typeof v === 'bigint' ? v : typeof v === 'number' && Number.isSafeInteger(v) ? BigInt(v) : noSuchOverload();

export function addInt(a: unknown, b: unknown): unknown {
  if (typeof a === 'number' && typeof b === 'number') {
    const sum = a + b;
    if (Number.isSafeInteger(sum)) return sum;
  }
  return checkedInt(big(a) + big(b));
}

export function subtractInt(a: unknown, b: unknown): unknown {
  if (typeof a === 'number' && typeof b === 'number') {
    const difference = a - b;
    if (Number.isSafeInteger(difference)) return difference;
  }
  return checkedInt(big(a) - big(b));
}

export function multiplyInt(a: unknown, b: unknown): unknown {
  if (typeof a === 'number' && typeof b === 'number') {
    const product = a * b;
    // The sum with 0 takes the sign off a zero.
    if (Number.isSafeInteger(product)) return product + 0;
  }
  return checkedInt(big(a) * big(b));
}

export function divideInt(a: unknown, b: unknown): unknown {
  if (b === 0) fail('division by zero');
  if (typeof a === 'number' && typeof b === 'number') return Math.trunc(a / b) + 0;
  return checkedInt(big(a) / big(b));
}

export function moduloInt(a: unknown, b: unknown): unknown {
  if (b === 0) fail('modulus by zero');
  if (typeof a === 'number' && typeof b === 'number') return (a % b) + 0;
  const [x, y] = [big(a), big(b)];
  if (y === -1n && x === -(2n ** 63n)) fail('integer overflow');
  return checkedInt(x % y);
}

export function negateInt(a: unknown): unknown {
  return typeof a === 'number' ? 0 - a : checkedInt(-big(a));
}

const dbl = (v: unknown): number => asDouble(v) ?? noSuchOverload();
const uns = (v: unknown): bigint => (v instanceof Uint ? v.value : noSuchOverload());

function addTimes(a: unknown, b: unknown): unknown {
  if (a instanceof Duration && b instanceof Duration) return checkedDuration(a.nanos + b.nanos);
  if (a instanceof Timestamp && b instanceof Duration) return addToTimestamp(a, b.nanos);
  if (a instanceof Duration && b instanceof Timestamp) return addToTimestamp(b, a.nanos);
  return noSuchOverload();
}

function checkedDuration(nanos: bigint, what = 'duration overflow'): Duration {
  if (nanos !== BigInt.asIntN(64, nanos)) fail(what);
  return new Duration(nanos);
}

function addToTimestamp(t: Timestamp, nanos: bigint): Timestamp {
  const total = BigInt(t.seconds) * 1_000_000_000n + BigInt(t.nanos) + nanos;
  let seconds = total / 1_000_000_000n;
  let rest = total % 1_000_000_000n;
  if (rest < 0n) {
    rest += 1_000_000_000n;
    seconds--;
  }
  if (seconds < BigInt(minTimestamp) || seconds > BigInt(maxTimestamp)) fail('timestamp overflow');
  return new Timestamp(Number(seconds), Number(rest), t.offset);
}

function subtractTimes(a: unknown, b: unknown): unknown {
  if (a instanceof Duration && b instanceof Duration) return checkedDuration(a.nanos - b.nanos);
  if (a instanceof Timestamp && b instanceof Duration) return addToTimestamp(a, -b.nanos);
  if (a instanceof Timestamp && b instanceof Timestamp) {
    const seconds = BigInt(a.seconds) - BigInt(b.seconds);
    return checkedDuration(seconds * 1_000_000_000n + BigInt(a.nanos - b.nanos), 'integer overflow');
  }
  return noSuchOverload();
}

function concatBytes(a: Uint8Array, b: Uint8Array): Uint8Array {
  const out = new Uint8Array(a.length + b.length);
  out.set(a);
  out.set(b, a.length);
  return out;
}

export function addAny(a: unknown, b: unknown): unknown {
  if (typeof a === 'string' && typeof b === 'string') return a + b;
  if (isInt(a) && isInt(b)) return addInt(a, b);
  const x = asDouble(a);
  if (x !== undefined) return doubleValue(x + dbl(b));
  if (a instanceof Uint) return checkedUint(a.value + uns(b));
  if (Array.isArray(a) && Array.isArray(b)) return [...(a as unknown[]), ...(b as unknown[])];
  if (a instanceof Uint8Array && b instanceof Uint8Array) return concatBytes(a, b);
  return addTimes(a, b);
}

export function subtractAny(a: unknown, b: unknown): unknown {
  if (isInt(a) && isInt(b)) return subtractInt(a, b);
  const x = asDouble(a);
  if (x !== undefined) return doubleValue(x - dbl(b));
  if (a instanceof Uint) return checkedUint(a.value - uns(b));
  return subtractTimes(a, b);
}

export function multiplyAny(a: unknown, b: unknown): unknown {
  if (isInt(a) && isInt(b)) return multiplyInt(a, b);
  const x = asDouble(a);
  if (x !== undefined) return doubleValue(x * dbl(b));
  return a instanceof Uint ? checkedUint(a.value * uns(b)) : noSuchOverload();
}

export function divideAny(a: unknown, b: unknown): unknown {
  if (isInt(a) && isInt(b)) return divideInt(a, b);
  const x = asDouble(a);
  if (x !== undefined) return doubleValue(x / dbl(b));
  if (!(a instanceof Uint)) return noSuchOverload();
  const y = uns(b);
  return y === 0n ? fail('division by zero') : new Uint(a.value / y);
}

export function moduloAny(a: unknown, b: unknown): unknown {
  if (isInt(a) && isInt(b)) return moduloInt(a, b);
  if (!(a instanceof Uint)) return noSuchOverload();
  const y = uns(b);
  return y === 0n ? fail('modulus by zero') : new Uint(a.value % y);
}

export function negateAny(a: unknown): unknown {
  if (isInt(a)) return negateInt(a);
  const x = asDouble(a);
  if (x !== undefined) return doubleValue(-x);
  return a instanceof Duration ? checkedDuration(-a.nanos) : noSuchOverload();
}

const number = (v: unknown): number => (typeof v === 'number' ? v : v instanceof Double ? v.value : noSuchOverload());

/** By overload, where the checker knows which one it is. */
export const arithmetic: ReadonlyMap<string, Binary> = new Map<string, Binary>([
  ['add_int64', addInt],
  ['subtract_int64', subtractInt],
  ['multiply_int64', multiplyInt],
  ['divide_int64', divideInt],
  ['modulo_int64', moduloInt],
  ['add_double', (a, b) => doubleValue(number(a) + number(b))],
  ['subtract_double', (a, b) => doubleValue(number(a) - number(b))],
  ['multiply_double', (a, b) => doubleValue(number(a) * number(b))],
  ['divide_double', (a, b) => doubleValue(number(a) / number(b))],
]);

type Comparison = (a: unknown, b: unknown) => boolean;

export const comparisons: Readonly<Record<string, Comparison>> = {
  '_<_': (a, b) => (typeof a === 'number' && typeof b === 'number' && a === a && b === b ? a < b : compare(a, b) < 0),
  '_<=_': (a, b) =>
    typeof a === 'number' && typeof b === 'number' && a === a && b === b ? a <= b : compare(a, b) <= 0,
  '_>_': (a, b) => (typeof a === 'number' && typeof b === 'number' && a === a && b === b ? a > b : compare(a, b) > 0),
  '_>=_': (a, b) =>
    typeof a === 'number' && typeof b === 'number' && a === a && b === b ? a >= b : compare(a, b) >= 0,
};
