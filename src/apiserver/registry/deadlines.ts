/** When watches end: one timer of the cluster's clock for all of them, to the second. */
import type { Clock, Timer } from '../../base/clock.ts';
import type { Random } from '../../base/random.ts';
import type { WatchDeadlines } from './generic.ts';

/** Upstream's --min-request-timeout; watches last that long and up to twice as long. */
const minWatchSeconds = 1800;
/** The same in virtual time, where load need not be spread and a day is to pass quickly. */
const virtualMinWatchSeconds = 12 * 3600;

export class Deadlines implements WatchDeadlines {
  readonly #clock: Clock;
  readonly #random: Random;
  readonly #least: number;
  readonly #bySecond = new Map<number, Set<() => void>>();
  #timer: { readonly second: number; readonly timer: Timer } | undefined;

  /** `minSeconds`: upstream's 1800 when left out, in virtual time more. */
  constructor(clock: Clock, random: Random, minSeconds: number | undefined) {
    this.#least = minSeconds ?? (clock.virtual ? virtualMinWatchSeconds : minWatchSeconds);
    this.#clock = clock;
    this.#random = random;
  }

  defaultSeconds(): number {
    return this.#least + (this.#least === 0 ? 0 : this.#random.int(this.#least));
  }

  after(seconds: number, end: () => void): () => void {
    const second = Math.ceil(this.#clock.monotonic() / 1000 + seconds);
    const same = this.#bySecond.get(second);
    if (same === undefined) this.#bySecond.set(second, new Set([end]));
    else same.add(end);
    if (this.#timer === undefined || second < this.#timer.second) this.#arm(second);
    return () => {
      const set = this.#bySecond.get(second);
      if (set === undefined || !set.delete(end) || set.size > 0) return;
      this.#bySecond.delete(second);
      if (this.#timer?.second === second) this.#next();
    };
  }

  #arm(second: number): void {
    this.#timer?.timer.cancel();
    const delay = Math.max(0, second * 1000 - this.#clock.monotonic());
    this.#timer = { second, timer: this.#clock.setTimer(delay, () => this.#fire()) };
  }

  #next(): void {
    this.#timer?.timer.cancel();
    this.#timer = undefined;
    let first = Infinity;
    for (const second of this.#bySecond.keys()) if (second < first) first = second;
    if (first !== Infinity) this.#arm(first);
  }

  #fire(): void {
    this.#timer = undefined;
    const now = this.#clock.monotonic() / 1000 + 0.001;
    const due: (() => void)[] = [];
    for (const [second, ends] of this.#bySecond) {
      if (second > now) continue;
      this.#bySecond.delete(second);
      due.push(...ends);
    }
    for (const end of due) end();
    this.#next();
  }

  close(): void {
    this.#timer?.timer.cancel();
    this.#timer = undefined;
    this.#bySecond.clear();
  }
}
