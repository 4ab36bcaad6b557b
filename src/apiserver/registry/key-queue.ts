/**
 * Turns at contended keys. Writers race freely; one that lost a race waits here for those who lost before it, so that a
 * crowd at one object costs a try each and not a try for each other.
 */
export class KeyQueue {
  readonly #tails = new Map<string, Promise<void>>();

  /** Waits for the turn at `key`; the result ends it. */
  async turn(key: string): Promise<() => void> {
    const before = this.#tails.get(key);
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#tails.set(key, promise);
    if (before !== undefined) await before;
    return () => {
      if (this.#tails.get(key) === promise) this.#tails.delete(key);
      resolve();
    };
  }
}
