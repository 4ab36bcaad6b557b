/**
 * When watches end: one timer of the cluster's clock for all of them. Those that end at about the same time end together, so that
 * thousands of watches do not become thousands of moments: to the second, and short ones to a tenth of it.
 */
import type { Clock, Timer } from '../../base/clock.ts';
import type { Random } from '../../base/random.ts';
import type { WatchDeadlines } from './generic.ts';

/** Upstream's --min-request-timeout; watches last that long and up to twice as long. */
const minWatchSeconds = 1800;
/** The same in virtual time, where load need not be spread and a day is to pass quickly. */
const virtualMinWatchSeconds = 12 * 3600;

/** Watches shorter than this are somebody's who waits for their end. */
const shortSeconds = 60;
const slotMs = 1000;
const shortSlotMs = 100;

export class Deadlines implements WatchDeadlines {
  readonly #clock: Clock;
  readonly #random: Random;
  readonly #least: number;
  /** By milliseconds of the monotonic clock. */
  readonly #byMoment = new Map<number, Set<() => void>>();
  #timer: { readonly moment: number; readonly timer: Timer } | undefined;

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
    const slot = seconds < shortSeconds ? shortSlotMs : slotMs;
    const moment = Math.ceil((this.#clock.monotonic() + seconds * 1000) / slot) * slot;
    const same = this.#byMoment.get(moment);
    if (same === undefined) this.#byMoment.set(moment, new Set([end]));
    else same.add(end);
    if (this.#timer === undefined || moment < this.#timer.moment) this.#arm(moment);
    return () => {
      const set = this.#byMoment.get(moment);
      if (set === undefined || !set.delete(end) || set.size > 0) return;
      this.#byMoment.delete(moment);
      if (this.#timer?.moment === moment) this.#next();
    };
  }

  #arm(moment: number): void {
    this.#timer?.timer.cancel();
    const delay = Math.max(0, moment - this.#clock.monotonic());
    this.#timer = { moment, timer: this.#clock.setTimer(delay, () => this.#fire()) };
  }

  #next(): void {
    this.#timer?.timer.cancel();
    this.#timer = undefined;
    let first = Infinity;
    for (const moment of this.#byMoment.keys()) if (moment < first) first = moment;
    if (first !== Infinity) this.#arm(first);
  }

  #fire(): void {
    this.#timer = undefined;
    const now = this.#clock.monotonic() + 1;
    const due: (() => void)[] = [];
    for (const [moment, ends] of this.#byMoment) {
      if (moment > now) continue;
      this.#byMoment.delete(moment);
      due.push(...ends);
    }
    for (const end of due) end();
    this.#next();
  }

  close(): void {
    this.#timer?.timer.cancel();
    this.#timer = undefined;
    this.#byMoment.clear();
  }
}
