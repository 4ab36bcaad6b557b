/**
 * Cluster time. Every lease, back-off, schedule and creation stamp reads a `Clock` that is handed in, so that a test can
 * hold and advance it. I/O deadlines (sockets, TLS, gRPC) are not cluster time: they use `io-time.ts`.
 */
import { Activity } from './activity.ts';

/** A pending timer of a `Clock`. */
export interface Timer {
  /** Stops the timer; harmless when it has fired already. */
  cancel(): void;
}

export interface Clock {
  /** Milliseconds since the Unix epoch. */
  now(): number;
  /** Milliseconds since an arbitrary start; never goes back. */
  monotonic(): number;
  /** Calls `fn` once after `ms` milliseconds of this clock. */
  setTimer(ms: number, fn: () => void): Timer;
  /** Calls `fn` every `ms` milliseconds of this clock until cancelled. */
  setTicker(ms: number, fn: () => void): Timer;
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

  setTicker(ms: number, fn: () => void): Timer {
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
  fn: () => void;
  every: number | undefined;
}

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
  readonly #timers = new Set<PendingTimer>();

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

  /** How many timers wait; zero after a clean shutdown. */
  get pending(): number {
    return this.#timers.size;
  }

  #add(ms: number, fn: () => void, every: number | undefined): Timer {
    const timer: PendingTimer = { at: this.#now + Math.max(ms, 0), seq: this.#seq++, fn, every };
    this.#timers.add(timer);
    return { cancel: () => void this.#timers.delete(timer) };
  }

  setTimer(ms: number, fn: () => void): Timer {
    return this.#add(ms, fn, undefined);
  }

  setTicker(ms: number, fn: () => void): Timer {
    return this.#add(ms, fn, Math.max(ms, 1));
  }

  sleep(ms: number, signal?: AbortSignal): Promise<void> {
    return sleepOn(this, ms, signal);
  }

  #next(until: number): PendingTimer | undefined {
    let best: PendingTimer | undefined;
    for (const t of this.#timers) {
      if (t.at > until) continue;
      if (best === undefined || t.at < best.at || (t.at === best.at && t.seq < best.seq)) best = t;
    }
    return best;
  }

  /** Moves time forward by `ms`, firing what falls due and waiting for quiescence after each distinct deadline. */
  async advance(ms: number): Promise<void> {
    const until = this.#now + ms;
    await this.activity.quiescent();
    for (;;) {
      let timer = this.#next(until);
      if (timer === undefined) break;
      this.#now = Math.max(this.#now, timer.at);
      const at = timer.at;
      while (timer !== undefined && timer.at <= at) {
        if (timer.every === undefined) this.#timers.delete(timer);
        else {
          timer.at += timer.every;
          timer.seq = this.#seq++;
        }
        timer.fn();
        timer = this.#next(at);
      }
      await this.activity.quiescent();
    }
    this.#now = until;
    await this.activity.quiescent();
  }
}
