/**
 * Cluster time. Every lease, back-off, schedule and creation stamp reads a `Clock` that is handed in, so that a test can
 * hold and advance it. I/O deadlines (sockets, TLS, gRPC) are not cluster time: they use `io-time.ts`.
 */
import { Activity } from './activity.ts';
import { Heap } from './heap.ts';

/** A pending timer of a `Clock`. */
export interface Timer {
  /** Stops the timer; harmless when it has fired already. */
  cancel(): void;
}

/** What a ticker does; `idle` says that it found nothing to do and set nothing off, so that nobody need wait for it. */
export type Tick = () => void | 'idle';

export interface Clock {
  /** Milliseconds since the Unix epoch. */
  now(): number;
  /** Milliseconds since an arbitrary start; never goes back. */
  monotonic(): number;
  /**
   * Up to when time is sure to pass before anybody outside can look, on the scale of `now`: the end of the running `advance` of a
   * virtual clock, otherwise now. What is repeated before then only to be fresh when somebody looks may be left out.
   */
  horizon(): number;
  /** Calls `fn` once after `ms` milliseconds of this clock. */
  setTimer(ms: number, fn: () => void): Timer;
  /** Calls `fn` every `ms` milliseconds of this clock until cancelled. */
  setTicker(ms: number, fn: Tick): Timer;
  /** Resolves after `ms`; rejects with the signal's reason when it aborts first. */
  sleep(ms: number, signal?: AbortSignal): Promise<void>;
  /** Counts work in flight; a virtual clock advances only when there is none. */
  readonly activity: Activity;
  /** True when time moves only by `advance`. */
  readonly virtual: boolean;
}

/** Node's own timers clamp longer delays to 1 ms. */
const maxNodeTimer = 2 ** 31 - 1;

function sleepOn(clock: Clock, ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal?.aborted) {
      reject(signal.reason);
      return;
    }
    const onAbort = () => {
      timer.cancel();
      reject(signal!.reason);
    };
    const timer = clock.setTimer(ms, () => {
      signal?.removeEventListener('abort', onAbort);
      resolve();
    });
    signal?.addEventListener('abort', onAbort, { once: true });
  });
}

/** The machine's clock. Its timers do not keep the process alive by themselves. */
export class SystemClock implements Clock {
  readonly activity: Activity = new Activity(false);
  readonly virtual = false;

  now(): number {
    return Date.now();
  }

  monotonic(): number {
    return performance.now();
  }

  horizon(): number {
    return Date.now();
  }

  setTimer(ms: number, fn: () => void): Timer {
    const deadline = performance.now() + ms;
    let handle: NodeJS.Timeout;
    const arm = (left: number): void => {
      handle = setTimeout(
        () => {
          const rest = deadline - performance.now();
          if (rest > 1) arm(rest);
          else fn();
        },
        Math.min(Math.max(left, 0), maxNodeTimer),
      );
      handle.unref();
    };
    arm(ms);
    return { cancel: () => clearTimeout(handle) };
  }

  setTicker(ms: number, fn: Tick): Timer {
    const handle = setInterval(fn, Math.min(ms, maxNodeTimer));
    handle.unref();
    return { cancel: () => clearInterval(handle) };
  }

  sleep(ms: number, signal?: AbortSignal): Promise<void> {
    return sleepOn(this, ms, signal);
  }
}

interface PendingTimer {
  at: number;
  seq: number;
  readonly fn: Tick;
  readonly every: number | undefined;
  cancelled: boolean;
}

const earlier = (a: PendingTimer, b: PendingTimer): boolean => (a.at === b.at ? a.seq < b.seq : a.at < b.at);

/** So many instants at which nothing was done may follow each other in one turn of the event loop. */
const maxIdle = 500;

/** So many cancelled timers may lie about before they are cleared away. */
const maxCancelled = 64;

/**
 * A clock that stands still until `advance`. Timers fire in order of their deadline (then of their creation), and between
 * two of them the clock waits until `activity` reports quiescence, so that what a timer sets off is done before the next.
 */
export class VirtualClock implements Clock {
  readonly activity: Activity = new Activity(true);
  readonly virtual = true;
  #now: number;
  readonly #start: number;
  #seq = 0;
  #timers = new Heap<PendingTimer>(earlier);
  /** Timers of the heap that are cancelled; they leave it when they come up, or when they are too many. */
  #cancelled = 0;
  /** Where the calls of `advance` that run now will end. */
  readonly #advancing: number[] = [];

  /** `start`: milliseconds since the epoch; 2026-01-01T00:00:00Z when left out. */
  constructor(start = 1_767_225_600_000) {
    this.#now = start;
    this.#start = start;
  }

  now(): number {
    return this.#now;
  }

  monotonic(): number {
    return this.#now - this.#start;
  }

  horizon(): number {
    return Math.max(this.#now, ...this.#advancing);
  }

  /** How many timers wait; zero after a clean shutdown. */
  get pending(): number {
    return this.#timers.size - this.#cancelled;
  }

  #add(ms: number, fn: Tick, every: number | undefined): Timer {
    let waiting = true;
    const timer: PendingTimer = {
      at: this.#now + Math.max(ms, 0),
      seq: this.#seq++,
      fn:
        every === undefined
          ? () => {
              waiting = false;
              fn();
            }
          : fn,
      every,
      cancelled: false,
    };
    this.#timers.push(timer);
    return {
      cancel: () => {
        if (!waiting) return;
        waiting = false;
        timer.cancelled = true;
        if (++this.#cancelled > maxCancelled && this.#cancelled > this.#timers.size / 2) this.#clear();
      },
    };
  }

  setTimer(ms: number, fn: () => void): Timer {
    return this.#add(ms, fn, undefined);
  }

  setTicker(ms: number, fn: Tick): Timer {
    return this.#add(ms, fn, Math.max(ms, 1));
  }

  sleep(ms: number, signal?: AbortSignal): Promise<void> {
    return sleepOn(this, ms, signal);
  }

  /** Puts the timers that still count into a heap of their own. */
  #clear(): void {
    const old = this.#timers;
    this.#timers = new Heap(earlier);
    this.#cancelled = 0;
    for (let t = old.pop(); t !== undefined; t = old.pop()) if (!t.cancelled) this.#timers.push(t);
  }

  /** Takes the next timer that is due by `until`; a ticker goes back in line at once. */
  #take(until: number): PendingTimer | undefined {
    for (;;) {
      const timer = this.#timers.peek();
      if (timer === undefined || (timer.at > until && !timer.cancelled)) return undefined;
      this.#timers.pop();
      if (timer.cancelled) {
        this.#cancelled--;
        continue;
      }
      return timer;
    }
  }

  /** Moves time forward by `ms`, firing what falls due and waiting for quiescence after each distinct deadline. */
  async advance(ms: number): Promise<void> {
    const until = this.#now + ms;
    await this.activity.quiescent();
    this.#advancing.push(until);
    try {
      await this.#pass(until);
    } finally {
      this.#advancing.splice(this.#advancing.indexOf(until), 1);
    }
    this.#now = Math.max(this.#now, until);
    await this.activity.quiescent();
  }

  #pass(until: number): Promise<void> {
    return new Promise((resolve, reject) => {
      const step = (): void => {
        const { activity } = this;
        const { begun } = activity;
        try {
          for (let i = 0; i < maxIdle; i++) {
            const timer = this.#take(until);
            if (timer === undefined) {
              resolve();
              return;
            }
            this.#now = Math.max(this.#now, timer.at);
            if (!this.#fire(timer) || activity.begun !== begun) break;
          }
        } catch (error) {
          reject(error as Error);
          return;
        }
        activity.whenSettled(begun, step);
      };
      step();
    });
  }

  /** Fires a timer and what else is due now; true when none of them did anything. */
  #fire(first: PendingTimer): boolean {
    let idle = true;
    for (let timer: PendingTimer | undefined = first; timer !== undefined; timer = this.#take(this.#now)) {
      if (timer.every !== undefined) {
        timer.at += timer.every;
        timer.seq = this.#seq++;
        this.#timers.push(timer);
      }
      if (timer.fn() !== 'idle') idle = false;
    }
    return idle;
  }
}
