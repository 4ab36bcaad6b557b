/**
 * Where requests wait for a place when as many run as may: a queue for each caller, served in turn, so that one who floods the
 * server waits behind himself. Bounded in all; not yet upstream's priority levels (KEP-1040).
 */

interface Waiting {
  readonly go: (entered: boolean) => void;
}

export class WaitingRoom {
  readonly #limit: number;
  readonly #flows = new Map<string, Waiting[]>();
  #size = 0;

  /** `limit`: requests that may wait at once. */
  constructor(limit: number) {
    this.#limit = limit;
  }

  get size(): number {
    return this.#size;
  }

  /** Resolves true when the caller's turn has come, false when there is no room or the signal aborted first. */
  wait(flow: string, signal: AbortSignal): Promise<boolean> {
    if (this.#size >= this.#limit || signal.aborted) return Promise.resolve(false);
    return new Promise((resolve) => {
      let queue = this.#flows.get(flow);
      if (queue === undefined) this.#flows.set(flow, (queue = []));
      const entry: Waiting = {
        go: (entered) => {
          signal.removeEventListener('abort', leave);
          resolve(entered);
        },
      };
      const leave = (): void => {
        const at = queue.indexOf(entry);
        if (at < 0) return;
        queue.splice(at, 1);
        this.#size--;
        if (queue.length === 0) this.#flows.delete(flow);
        entry.go(false);
      };
      signal.addEventListener('abort', leave, { once: true });
      queue.push(entry);
      this.#size++;
    });
  }

  /** Lets the next in turn enter; false when nobody waits. */
  admit(): boolean {
    const first = this.#flows.entries().next();
    if (first.done === true) return false;
    const [flow, queue] = first.value;
    const entry = queue.shift()!;
    this.#size--;
    // To the end of the line of flows, or out of it.
    this.#flows.delete(flow);
    if (queue.length > 0) this.#flows.set(flow, queue);
    entry.go(true);
    return true;
  }
}
