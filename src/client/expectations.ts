/**
 * What a controller has done but not yet seen come back: it does not act on a key again before its own creations and deletions
 * have been observed, or five minutes have passed (upstream's UIDTrackingControllerExpectations).
 */
import type { Clock } from '../base/clock.ts';

interface Expectation {
  adds: number;
  deletes: Set<string>;
  at: number;
}

const timeoutMs = 5 * 60_000;

export class Expectations {
  readonly #clock: Clock;
  readonly #byKey = new Map<string, Expectation>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** True when everything expected of this key has been seen (or nothing was, or it took too long). */
  satisfied(key: string): boolean {
    const e = this.#byKey.get(key);
    if (e === undefined) return true;
    if (e.adds <= 0 && e.deletes.size === 0) {
      this.#byKey.delete(key);
      return true;
    }
    if (this.#clock.monotonic() - e.at > timeoutMs) {
      this.#byKey.delete(key);
      return true;
    }
    return false;
  }

  #entry(key: string): Expectation {
    let e = this.#byKey.get(key);
    if (e === undefined) {
      e = { adds: 0, deletes: new Set(), at: 0 };
      this.#byKey.set(key, e);
    }
    e.at = this.#clock.monotonic();
    return e;
  }

  /** `count` creations are about to be sent. Call before the first request. */
  expectCreations(key: string, count: number): void {
    this.#entry(key).adds += count;
  }

  /** Deletions of these (`namespace/name` or uid) are about to be sent. */
  expectDeletions(key: string, objects: Iterable<string>): void {
    const e = this.#entry(key);
    for (const o of objects) e.deletes.add(o);
  }

  /** A creation was seen, or failed and will never be. */
  creationObserved(key: string, count = 1): void {
    const e = this.#byKey.get(key);
    if (e !== undefined) e.adds -= count;
  }

  deletionObserved(key: string, object: string): void {
    this.#byKey.get(key)?.deletes.delete(object);
  }

  /** Forgets a key whose object is gone. */
  delete(key: string): void {
    this.#byKey.delete(key);
  }
}
