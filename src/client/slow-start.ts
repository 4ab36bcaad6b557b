/**
 * Sends many like requests in batches of 1, 2, 4, …: a quota or a broken template fails after one request, not after thousands
 * (upstream's slowStartBatch).
 */
import { nextTurn, turnSpent } from '../base/yield.ts';

export interface SlowStartResult {
  readonly successes: number;
  /** The first error, when there was one; the requests after its batch were not sent. */
  readonly error: unknown;
}

/** Requests of one batch that are under way at a time: more would only stand in the server's queue, or be turned away. */
const maxInFlight = 40;

/** Runs `fn(index)` for 0…count-1. A failing batch ends it. `initial`: size of the first batch. */
export async function slowStartBatch(
  count: number,
  initial: number,
  fn: (index: number) => Promise<unknown>,
): Promise<SlowStartResult> {
  let next = 0;
  let successes = 0;
  for (let size = Math.min(count, initial); size > 0; size = Math.min(2 * size, count - next)) {
    let error: unknown;
    let failed = false;
    const end = next + size;
    const worker = async (): Promise<void> => {
      while (next < end) {
        try {
          await fn(next++);
          successes++;
        } catch (e) {
          if (!failed) error = e;
          failed = true;
        }
      }
    };
    await Promise.all(Array.from({ length: Math.min(size, maxInFlight) }, worker));
    if (failed) return { successes, error };
  }
  return { successes, error: undefined };
}

/** Runs `fn` over all items, at most `limit` at a time; throws the first error after all have ended. */
export async function forEachLimit<T>(
  items: readonly T[],
  limit: number,
  fn: (item: T, index: number) => Promise<unknown>,
): Promise<void> {
  let next = 0;
  let error: unknown;
  let failed = false;
  const worker = async (): Promise<void> => {
    while (next < items.length) {
      if (turnSpent()) await nextTurn();
      const index = next++;
      if (index >= items.length) return;
      try {
        await fn(items[index]!, index);
      } catch (e) {
        if (!failed) error = e;
        failed = true;
      }
    }
  };
  await Promise.all(Array.from({ length: Math.min(limit, items.length) }, worker));
  if (failed) throw error;
}
