/** Nodes of one zone that wait to be tainted NoExecute, let through at a rate: one at once, then one every 1/rate seconds. */
import type { Clock, Timer } from '../../base/clock.ts';

export class TaintQueue {
  readonly #clock: Clock;
  readonly #taint: (node: string) => void;
  readonly #waiting = new Map<string, string>();
  #rate: number;
  #tokens = 1;
  #at: number;
  #timer: Timer | undefined;

  /** `rate`: nodes a second. `taint` is called for each node whose turn it is. */
  constructor(clock: Clock, rate: number, taint: (node: string) => void) {
    this.#clock = clock;
    this.#rate = rate;
    this.#taint = taint;
    this.#at = clock.monotonic();
  }

  /** Queues a node; false when this very node (by uid) waits already or has been let through and not been removed since. */
  add(node: string, uid: string): boolean {
    if (this.#waiting.get(node) === uid) return false;
    this.#waiting.set(node, uid);
    this.#pump();
    return true;
  }

  remove(node: string): boolean {
    return this.#waiting.delete(node);
  }

  /** 0 stops the queue. */
  setRate(rate: number): void {
    if (rate === this.#rate) return;
    this.#refill();
    this.#rate = rate;
    this.#tokens = rate === 0 ? 0 : Math.min(this.#tokens, 1);
    this.#timer?.cancel();
    this.#timer = undefined;
    this.#pump();
  }

  stop(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
    this.#waiting.clear();
    this.#rate = 0;
  }

  #refill(): void {
    const now = this.#clock.monotonic();
    this.#tokens = Math.min(1, this.#tokens + ((now - this.#at) / 1000) * this.#rate);
    this.#at = now;
  }

  #pump(): void {
    if (this.#timer !== undefined || this.#rate === 0) return;
    for (const node of this.#waiting.keys()) {
      this.#refill();
      if (this.#tokens < 1 - 1e-9) {
        const ms = Math.ceil(((1 - this.#tokens) / this.#rate) * 1000);
        this.#timer = this.#clock.setTimer(ms, () => {
          this.#timer = undefined;
          this.#pump();
        });
        return;
      }
      this.#tokens -= 1;
      this.#waiting.delete(node);
      this.#taint(node);
    }
  }
}
