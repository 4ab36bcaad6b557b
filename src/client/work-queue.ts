/**
 * `WorkQueue`: keys that wait to be reconciled. A key waits at most once, is never processed by two workers at a time, can be
 * added later by the cluster's clock, and after failures with exponential back-off (client-go util/workqueue).
 */
import type { Clock, Timer } from '../base/clock.ts';
import type { Done } from '../base/activity.ts';
import { Heap } from '../base/heap.ts';
import type { QueueObserver } from './work-queue-metrics.ts';

export interface WorkQueueOptions {
  readonly clock: Clock;
  /** Delay after the first failure in milliseconds; doubled with each further one. Default 5. */
  readonly baseDelayMs?: number;
  /** Default 1,000 s. */
  readonly maxDelayMs?: number;
  readonly observer?: QueueObserver | undefined;
}

interface Delayed {
  readonly key: string;
  readonly at: number;
  readonly seq: number;
}

export class WorkQueue {
  readonly #clock: Clock;
  readonly #baseDelay: number;
  readonly #maxDelay: number;
  readonly #observer: QueueObserver | undefined;
  /** Ready keys in order; `#head` is the first one not taken. */
  #ready: string[] = [];
  #head = 0;
  readonly #dirty = new Set<string>();
  readonly #processing = new Set<string>();
  readonly #failures = new Map<string, number>();
  readonly #delayed: Heap<Delayed> = new Heap((a, b) => a.at < b.at || (a.at === b.at && a.seq < b.seq));
  readonly #delayedKeys = new Map<string, Delayed>();
  #seq = 0;
  #timer: Timer | undefined;
  #timerAt = Infinity;
  #busy: Done | undefined;
  #closed = false;
  #adds = 0;
  #retriesTotal = 0;
  /** Called when a key has become ready; whoever works on the queue sets it. */
  onReady: (() => void) | undefined;

  constructor(options: WorkQueueOptions) {
    this.#clock = options.clock;
    this.#baseDelay = options.baseDelayMs ?? 5;
    this.#maxDelay = options.maxDelayMs ?? 1_000_000;
    this.#observer = options.observer;
  }

  /** Keys ready to be taken. */
  get depth(): number {
    return this.#ready.length - this.#head;
  }

  /** Keys being processed now. */
  get processing(): number {
    return this.#processing.size;
  }

  /** Keys that wait for their time. */
  get waiting(): number {
    return this.#delayedKeys.size;
  }

  /** Counters since the start, for metrics. */
  get stats(): { readonly adds: number; readonly retries: number } {
    return { adds: this.#adds, retries: this.#retriesTotal };
  }

  get closed(): boolean {
    return this.#closed;
  }

  /** Makes a key ready; one that is being processed is taken again afterwards. */
  add(key: string): void {
    if (this.#closed || this.#dirty.has(key)) return;
    this.#adds++;
    this.#observer?.added(key);
    this.#dirty.add(key);
    this.#busy ??= this.#clock.activity.begin();
    if (this.#processing.has(key)) return;
    this.#ready.push(key);
    this.onReady?.();
  }

  /** Adds the key after `ms` of the cluster's clock; of several times the earliest counts. */
  addAfter(key: string, ms: number): void {
    if (this.#closed) return;
    if (ms <= 0) {
      this.add(key);
      return;
    }
    const at = this.#clock.monotonic() + ms;
    const existing = this.#delayedKeys.get(key);
    if (existing !== undefined && existing.at <= at) return;
    const entry: Delayed = { key, at, seq: this.#seq++ };
    this.#delayedKeys.set(key, entry);
    this.#delayed.push(entry);
    this.#arm();
  }

  /** Adds the key after its back-off: base × 2^failures. */
  addRateLimited(key: string): void {
    const failures = this.#failures.get(key) ?? 0;
    this.#failures.set(key, failures + 1);
    this.#retriesTotal++;
    this.#observer?.retried();
    this.addAfter(key, Math.min(this.#baseDelay * 2 ** Math.min(failures, 60), this.#maxDelay));
  }

  /** How often the key has failed since it was last forgotten. */
  retries(key: string): number {
    return this.#failures.get(key) ?? 0;
  }

  /** Ends the back-off of a key. */
  forget(key: string): void {
    this.#failures.delete(key);
  }

  /** Takes the next ready key; the taker calls `done` for it. Undefined when none is ready. */
  take(): string | undefined {
    if (this.#head >= this.#ready.length) return undefined;
    const key = this.#ready[this.#head]!;
    this.#head++;
    if (this.#head === this.#ready.length) {
      this.#ready = [];
      this.#head = 0;
    } else if (this.#head > 1024 && this.#head * 2 > this.#ready.length) {
      this.#ready = this.#ready.slice(this.#head);
      this.#head = 0;
    }
    this.#dirty.delete(key);
    this.#processing.add(key);
    this.#observer?.taken(key);
    return key;
  }

  /** Ends the processing of a key; it is ready at once when it was added meanwhile. */
  done(key: string): void {
    this.#processing.delete(key);
    this.#observer?.done(key);
    if (this.#dirty.has(key)) {
      this.#ready.push(key);
      this.onReady?.();
    }
    this.#settle();
  }

  /** Drops what waits; keys in processing may finish. */
  close(): void {
    this.#closed = true;
    this.#observer?.closed();
    this.#timer?.cancel();
    this.#timer = undefined;
    this.#timerAt = Infinity;
    this.#delayed.clear();
    this.#delayedKeys.clear();
    this.#failures.clear();
    for (let i = this.#head; i < this.#ready.length; i++) this.#dirty.delete(this.#ready[i]!);
    this.#ready = [];
    this.#head = 0;
    for (const key of this.#processing) this.#dirty.delete(key);
    this.#settle();
  }

  #settle(): void {
    if (this.#busy === undefined || this.#dirty.size > 0 || this.#processing.size > 0) return;
    const done = this.#busy;
    this.#busy = undefined;
    done();
  }

  #arm(): void {
    let first = this.#delayed.peek();
    while (first !== undefined && this.#delayedKeys.get(first.key) !== first) {
      this.#delayed.pop();
      first = this.#delayed.peek();
    }
    if (first === undefined) {
      this.#timer?.cancel();
      this.#timer = undefined;
      this.#timerAt = Infinity;
      return;
    }
    if (first.at === this.#timerAt) return;
    this.#timer?.cancel();
    this.#timerAt = first.at;
    this.#timer = this.#clock.setTimer(first.at - this.#clock.monotonic(), () => this.#fire());
  }

  #fire(): void {
    this.#timer = undefined;
    this.#timerAt = Infinity;
    const now = this.#clock.monotonic();
    for (;;) {
      const first = this.#delayed.peek();
      // System timers may fire a fraction of a millisecond early.
      if (first === undefined || first.at > now + 0.5) break;
      this.#delayed.pop();
      if (this.#delayedKeys.get(first.key) !== first) continue;
      this.#delayedKeys.delete(first.key);
      this.add(first.key);
    }
    this.#arm();
  }
}
