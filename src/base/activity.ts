/**
 * Counts the work that is in flight in one cluster: requests, unflushed writes, undelivered events, ready work items.
 * A virtual clock asks it for quiescence before it moves on. With the system clock counting is switched off.
 */
import { macrotask } from './yield.ts';

/** Ends one piece of counted work; calling it twice is harmless. */
export type Done = () => void;

const nothing: Done = () => {};

export class Activity {
  readonly #enabled: boolean;
  #count = 0;
  #version = 0;
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
    this.#version++;
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

  /**
   * Resolves when nothing is in flight and several turns of the event loop have started nothing new: continuations of
   * promises and socket reads that were already due get their chance.
   */
  async quiescent(): Promise<void> {
    let quiet = 0;
    let seen = -1;
    while (quiet < 3) {
      if (this.#count > 0) {
        await new Promise<void>((resolve) => this.#waiters.push(resolve));
        quiet = 0;
      }
      await macrotask();
      if (this.#count === 0 && this.#version === seen) quiet++;
      else quiet = 0;
      seen = this.#version;
    }
  }
}
