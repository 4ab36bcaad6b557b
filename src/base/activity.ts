/**
 * Counts the work that is in flight in one cluster: requests, unflushed writes, undelivered events, ready work items.
 * A virtual clock asks it for quiescence before it moves on. With the system clock counting is switched off.
 */
import { afterTurn, turnsWaitedFor } from './yield.ts';

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
   * Calls `then` in a later turn, when what was set off since `begun` was read is done. Mostly that is nothing: a timer that found
   * nothing to do costs one turn of the event loop, in which everything that promises, streams and `macrotask` carry on has its
   * chance. There are no promises here, since a day has tens of thousands of timers.
   */
  whenSettled(begun: number, then: () => void): void {
    if (this.#count > 0 || this.#begun !== begun) this.#whenQuiet(then);
    else
      afterTurn(() => {
        if (this.#count > 0 || this.#begun !== begun || turnsWaitedFor()) this.#whenQuiet(then);
        else then();
      });
  }

  /**
   * Resolves when nothing is in flight and several turns of the event loop have started nothing new: continuations of
   * promises and socket reads that were already due get their chance.
   */
  quiescent(): Promise<void> {
    return new Promise((resolve) => this.#whenQuiet(resolve));
  }

  #whenQuiet(then: () => void): void {
    let quiet = 0;
    let begun = this.#begun;
    const wait = (): void => {
      begun = this.#begun;
      if (this.#count > 0) this.#waiters.push(() => afterTurn(look));
      else afterTurn(look);
    };
    const look = (): void => {
      quiet = this.#count > 0 || this.#begun !== begun || turnsWaitedFor() ? 0 : quiet + 1;
      if (quiet < quietTurns) wait();
      else then();
    };
    wait();
  }
}
