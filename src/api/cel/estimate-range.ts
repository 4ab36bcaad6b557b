/** Ranges of sizes and costs: unsigned 64-bit, stopping at the largest number instead of overflowing. */

export interface Range {
  readonly min: number;
  readonly max: number;
}

/** The nearest number to 2^64-1. */
export const maxUint64 = 2 ** 64;

export const zero: Range = Object.freeze({ min: 0, max: 0 });
export const unknown: Range = Object.freeze({ min: 0, max: maxUint64 });
export const fixed = (n: number): Range => ({ min: n, max: n });

const saturated = (n: number): number => Math.min(n, maxUint64);

export const add = (a: Range, b: Range): Range => ({ min: saturated(a.min + b.min), max: saturated(a.max + b.max) });

export const multiply = (a: Range, b: Range): Range => ({
  min: saturated(a.min * b.min),
  max: saturated(a.max * b.max),
});

/** Times a cost per unit, rounded up. */
export const costFactor = (a: Range, factor: number): Range => ({
  min: saturated(Math.ceil(a.min * factor)),
  max: saturated(Math.ceil(a.max * factor)),
});

export const union = (a: Range, b: Range): Range => ({ min: Math.min(a.min, b.min), max: Math.max(a.max, b.max) });
