/** Giving the event loop a turn: loops over unbounded data must not hold it for more than 10 ms. */

/** Resolves in a later turn of the event loop, after pending I/O callbacks. */
export function macrotask(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

/** A budget for one synchronous slice; `await slice.turn()` inside a loop yields only when the slice is used up. */
export class Slice {
  readonly #ms: number;
  #until: number;

  constructor(ms = 5) {
    this.#ms = ms;
    this.#until = performance.now() + ms;
  }

  /** True when the slice is used up and `turn` would yield. */
  get spent(): boolean {
    return performance.now() >= this.#until;
  }

  async turn(): Promise<void> {
    if (!this.spent) return;
    await macrotask();
    this.#until = performance.now() + this.#ms;
  }
}
