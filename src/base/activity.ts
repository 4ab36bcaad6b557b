/**
 * Counts the work that is in flight in one cluster: requests, unflushed writes, undelivered events, ready work items.
 * A virtual clock asks it for quiescence before it moves on. With the system clock counting is switched off.
 */
import { macrotask, turnsWaitedFor } from './yield.ts';

/** Ends one piece of counted work; calling it twice is harmless. */
export type Done = () => void;

const nothing: Done = () => {};

/** Turns of the event loop that must pass without anything new: what goes over a socket takes one each way. */
const quietTurns = 3;

export class Activity {
  readonly #enabled: boolean;
  #count = 0;
  #begun = 0;
  #waiters: (() => void)[] = [];

  constructor(enabled: boolean) {
    this.#enabled = enabled;
  }

  /** Work in flight now. Always 0 when counting is off. */
  get count(): number {
    return this.#count;
  }

  /** Marks the start of some work. */
  begin(): Done {
    if (!this.#enabled) return nothing;
    this.#count++;
    this.#begun++;
    let open = true;
    return () => {
      if (!open) return;
      open = false;
      if (--this.#count === 0) {
        const waiters = this.#waiters;
        this.#waiters = [];
        for (const w of waiters) w();
      }
    };
  }

  /** Counts a promise as work until it settles. */
  track<T>(work: Promise<T>): Promise<T> {
    if (!this.#enabled) return work;
    const done = this.begin();
    return work.finally(done);
  }

  /** How many pieces of work have begun so far: as long as it stays the same, nothing new was set off. */
  get begun(): number {
    return this.#begun;
  }

  /**
   * Resolves when what was set off since `begun` was read is done. Mostly that is nothing: a timer that found nothing to do
   * costs one turn of the event loop, in which everything that promises, streams and `macrotask` carry on has its chance.
   */
  async settled(begun: number): Promise<void> {
    if (this.#count === 0 && this.#begun === begun) {
      await macrotask();
      if (this.#count === 0 && this.#begun === begun && !turnsWaitedFor()) return;
    }
    await this.quiescent();
  }

  /**
   * Resolves when nothing is in flight and several turns of the event loop have started nothing new: continuations of
   * promises and socket reads that were already due get their chance.
   */
  async quiescent(): Promise<void> {
    for (let quiet = 0; quiet < quietTurns; quiet++) {
      const begun = this.#begun;
      if (this.#count > 0) {
        await new Promise<void>((resolve) => this.#waiters.push(resolve));
        quiet = -1;
      }
      await macrotask();
      if (this.#count > 0 || this.#begun !== begun || turnsWaitedFor()) quiet = -1;
    }
  }
}
