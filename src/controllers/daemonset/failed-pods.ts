/** `FailedPodBackoff`: how soon a failed daemon pod may be deleted again: at once, then after 1 s, 2 s, … up to 15 minutes a node. */

const firstMs = 1000;
const maxMs = 15 * 60_000;

interface Entry {
  delay: number;
  at: number;
}

export class FailedPodBackoff {
  /** By set's uid and the caller's key. */
  readonly #entries = new Map<string, Map<string, Entry>>();

  /** 0: now, and the next one later; else milliseconds to wait. */
  next(uid: string, key: string, now: number): number {
    let entries = this.#entries.get(uid);
    if (entries === undefined) {
      entries = new Map();
      this.#entries.set(uid, entries);
    }
    const entry = entries.get(key);
    if (entry === undefined || now - entry.at > 2 * maxMs) {
      for (const [k, e] of entries) if (now - e.at > 2 * maxMs) entries.delete(k);
      entries.set(key, { delay: firstMs, at: now });
      return 0;
    }
    const left = entry.delay - (now - entry.at);
    if (left > 0) return left;
    entry.delay = Math.min(entry.delay * 2, maxMs);
    entry.at = now;
    return 0;
  }

  forget(uid: string | undefined): void {
    if (uid !== undefined) this.#entries.delete(uid);
  }
}
