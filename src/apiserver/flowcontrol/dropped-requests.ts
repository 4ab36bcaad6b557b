/**
 * How long refused clients are told to stay away: the more requests of a priority level are refused, the longer, between one
 * second and 32. Kept a level, as upstream does.
 */

const maxRetryAfter = 32;

class Dropped {
  readonly #history: { readonly second: number; readonly requests: number }[] = [];
  #second = 0;
  #count = 0;
  #updated = 0;
  retryAfter = 1;

  add(second: number): void {
    if (this.#second === second) {
      this.#count++;
      return;
    }
    this.#history.push({ second: this.#second, requests: this.#count });
    const keep = Math.min(2 * this.retryAfter, maxRetryAfter);
    while (this.#history.length > 0 && this.#second - this.#history[0]!.second > keep) this.#history.shift();
    this.#second = second;
    this.#count = 1;
    this.#update(second);
  }

  #update(second: number): void {
    const { retryAfter } = this;
    let dropped = 0;
    for (const h of this.#history) if (second - h.second <= retryAfter && h.second < second) dropped += h.requests;
    if (second - this.#updated >= retryAfter && dropped >= 3 * retryAfter) {
      this.retryAfter = Math.min(retryAfter * 2, maxRetryAfter);
      this.#updated = second;
    } else if (dropped < retryAfter && retryAfter > 1) this.retryAfter--;
  }
}

export class DroppedRequests {
  readonly #levels = new Map<string, Dropped>();

  /** Counts a refused request and answers how many seconds the client should wait. */
  add(priorityLevel: string, nowMs: number): number {
    let level = this.#levels.get(priorityLevel);
    if (level === undefined) this.#levels.set(priorityLevel, (level = new Dropped()));
    level.add(Math.floor(nowMs / 1000) + 1);
    return level.retryAfter;
  }

  forget(priorityLevel: string): void {
    this.#levels.delete(priorityLevel);
  }
}
