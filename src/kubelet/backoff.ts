/** Exponential back-off by key, as client-go's flowcontrol.Backoff: doubles, and is forgotten after twice its maximum. */

interface Entry {
  ms: number;
  lastUpdate: number;
}

export class Backoff {
  readonly #initial: number;
  readonly #max: number;
  readonly #now: () => number;
  readonly #entries = new Map<string, Entry>();

  constructor(initialMs: number, maxMs: number, now: () => number) {
    this.#initial = initialMs;
    this.#max = maxMs;
    this.#now = now;
  }

  get(key: string): number {
    return this.#entries.get(key)?.ms ?? 0;
  }

  /** Starts or doubles the back-off. */
  next(key: string, at: number): void {
    const entry = this.#entries.get(key);
    if (entry === undefined || at - entry.lastUpdate > 2 * this.#max) {
      if (this.#entries.size >= 10_000) this.#collect();
      this.#entries.set(key, { ms: this.#initial, lastUpdate: this.#now() });
      return;
    }
    entry.ms = Math.min(entry.ms * 2, this.#max);
    entry.lastUpdate = this.#now();
  }

  /** Whether less than the back-off has passed since `event`. */
  inBackoffSince(key: string, event: number): boolean {
    const entry = this.#entries.get(key);
    if (entry === undefined || event - entry.lastUpdate > 2 * this.#max) return false;
    return this.#now() - event < entry.ms;
  }

  /** Whether less than the back-off has passed since its last doubling. */
  inBackoffSinceUpdate(key: string): boolean {
    const entry = this.#entries.get(key);
    return entry !== undefined && this.#now() - entry.lastUpdate < entry.ms;
  }

  /** When the back-off since its last doubling ends. */
  until(key: string): number {
    const entry = this.#entries.get(key);
    return entry === undefined ? 0 : entry.lastUpdate + entry.ms;
  }

  forget(prefix: string): void {
    for (const key of this.#entries.keys()) if (key.startsWith(prefix)) this.#entries.delete(key);
  }

  #collect(): void {
    const now = this.#now();
    for (const [key, e] of this.#entries) if (now - e.lastUpdate > 2 * this.#max) this.#entries.delete(key);
  }

  get size(): number {
    return this.#entries.size;
  }
}
