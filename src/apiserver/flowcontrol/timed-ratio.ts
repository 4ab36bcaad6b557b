/**
 * Values that last: a histogram of how long a ratio stood at which height, in nanoseconds, and an integrator of a level's
 * demand with its average, deviation and high-water mark. Both are told of changes alone.
 */
import type { Family, Labels } from '../metrics/exposition.ts';
import { labelText } from '../../base/prometheus-text.ts';

/** One series of a timing histogram: the numerator changes often, the denominator with the configuration. */
export class TimedRatio {
  readonly #bounds: readonly number[];
  readonly counts: Float64Array;
  sum = 0;
  count = 0;
  #numerator = 0;
  #denominator = 1;
  #since: number;
  #bucket = 0;

  /** Times are in milliseconds. */
  constructor(bounds: readonly number[], now: number) {
    this.#bounds = bounds;
    this.counts = new Float64Array(bounds.length);
    this.#since = now;
  }

  add(by: number, now: number): void {
    this.set(this.#numerator + by, now);
  }

  set(numerator: number, now: number): void {
    this.#flush(now);
    this.#numerator = numerator;
    this.#place();
  }

  setDenominator(denominator: number, now: number): void {
    this.#flush(now);
    this.#denominator = denominator;
    this.#place();
  }

  #place(): void {
    const value = this.#numerator / this.#denominator;
    const bounds = this.#bounds;
    let at = 0;
    while (at < bounds.length && value > bounds[at]!) at++;
    this.#bucket = at;
  }

  #flush(now: number): void {
    const elapsed = (now - this.#since) * 1e6;
    if (elapsed <= 0) return;
    this.#since = now;
    this.sum += (elapsed * this.#numerator) / this.#denominator;
    this.count += elapsed;
    if (this.#bucket < this.counts.length) this.counts[this.#bucket]! += elapsed;
  }

  /** What was counted up to now. */
  *lines(name: string, labels: Labels, now: number): Iterable<string> {
    this.#flush(now);
    let total = 0;
    for (let i = 0; i < this.#bounds.length; i++) {
      total += this.counts[i]!;
      yield `${name}_bucket${labelText({ ...labels, le: String(this.#bounds[i]) })} ${Math.round(total)}`;
    }
    yield `${name}_bucket${labelText({ ...labels, le: '+Inf' })} ${Math.round(this.count)}`;
    yield `${name}_sum${labelText(labels)} ${this.sum}`;
    yield `${name}_count${labelText(labels)} ${Math.round(this.count)}`;
  }
}

/** A family of such histograms. */
export class TimedRatioVector implements Family {
  readonly name: string;
  readonly help: string;
  readonly type = 'histogram';
  readonly #bounds: readonly number[];
  readonly #now: () => number;
  readonly #series = new Map<string, { labels: Labels; value: TimedRatio }>();

  constructor(name: string, help: string, bounds: readonly number[], now: () => number) {
    this.name = name;
    this.help = help;
    this.#bounds = bounds;
    this.#now = now;
  }

  series(labels: Labels): TimedRatio {
    const key = labelText(labels);
    let found = this.#series.get(key);
    if (found === undefined) {
      found = { labels, value: new TimedRatio(this.#bounds, this.#now()) };
      this.#series.set(key, found);
    }
    return found.value;
  }

  delete(labels: Labels): void {
    this.#series.delete(labelText(labels));
  }

  *lines(): Iterable<string> {
    const now = this.#now();
    for (const { labels, value } of this.#series.values()) yield* value.lines(this.name, labels, now);
  }
}

export interface Integrated {
  /** Milliseconds. */
  readonly duration: number;
  readonly average: number;
  readonly deviation: number;
  readonly max: number;
}

/** Average, standard deviation and maximum of a value over the time since it was last asked. */
export class Integrator {
  #value = 0;
  #max = 0;
  #start: number;
  #since: number;
  #integral = 0;
  #squares = 0;

  constructor(now: number) {
    this.#start = now;
    this.#since = now;
  }

  set(value: number, now: number): void {
    this.#flush(now);
    this.#value = value;
    if (value > this.#max) this.#max = value;
  }

  #flush(now: number): void {
    const elapsed = now - this.#since;
    if (elapsed <= 0) return;
    this.#since = now;
    this.#integral += this.#value * elapsed;
    this.#squares += this.#value * this.#value * elapsed;
  }

  /** The results of the period, which ends here. */
  reset(now: number): Integrated {
    this.#flush(now);
    const duration = now - this.#start;
    const average = duration > 0 ? this.#integral / duration : 0;
    const variance = duration > 0 ? this.#squares / duration - average * average : 0;
    const result = { duration, average, deviation: variance > 0 ? Math.sqrt(variance) : 0, max: this.#max };
    this.#start = now;
    this.#integral = 0;
    this.#squares = 0;
    this.#max = this.#value;
    return result;
  }
}
