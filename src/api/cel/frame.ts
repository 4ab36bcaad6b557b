/** The state of one evaluation: variables in slots, and what it has cost so far. */
import type { CallContext } from './declarations.ts';
import { CostExceeded } from './errors.ts';

export class Frame implements CallContext {
  readonly slots: unknown[];
  cost = 0;
  limit = 0;
  busy = false;
  #memo: Map<unknown, unknown> | undefined;

  constructor(slots: number) {
    this.slots = new Array<unknown>(slots).fill(undefined);
  }

  get memo(): Map<unknown, unknown> {
    this.#memo ??= new Map();
    return this.#memo;
  }

  /** Forgets the values, so that nothing outlives the evaluation. */
  clear(): void {
    const { slots } = this;
    for (let i = 0; i < slots.length; i++) slots[i] = undefined;
    this.#memo = undefined;
    this.busy = false;
  }
}

/** A compiled expression. */
export type Eval = (f: Frame) => unknown;

export function charge(f: Frame, cost: number): void {
  if ((f.cost += cost) > f.limit) throw new CostExceeded();
}
