/** Retrying a read-modify-write after a conflict, with client-go's back-off (10 ms, five steps, a little jitter). */
import type { Clock } from '../base/clock.ts';
import type { Random } from '../base/random.ts';
import { macrotask } from '../base/yield.ts';
import { isConflict } from './errors.ts';

export interface RetryOptions {
  readonly clock: Clock;
  readonly random: Random;
  /** Attempts in all. Default 5. */
  readonly steps?: number;
  /** Default: conflicts alone. */
  readonly retryable?: (error: unknown) => boolean;
  readonly signal?: AbortSignal;
}

/** Calls `fn` until it succeeds, fails for another reason than a conflict, or the attempts are used up. */
export async function retryOnConflict<T>(options: RetryOptions, fn: (attempt: number) => Promise<T>): Promise<T> {
  const steps = options.steps ?? 5;
  const retryable = options.retryable ?? isConflict;
  for (let attempt = 0; ; attempt++) {
    try {
      return await fn(attempt);
    } catch (error) {
      if (attempt + 1 >= steps || !retryable(error)) throw error;
    }
    // Who retries is mostly counted as working, and virtual time does not move while anybody works.
    if (options.clock.virtual) await macrotask();
    else await options.clock.sleep(10 * (1 + 0.1 * options.random.float()), options.signal);
  }
}
