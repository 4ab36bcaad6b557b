/**
 * Starting a cluster on a clock that stands still: components that meet a conflict wait a moment before they try again, and
 * nobody else lets that moment pass.
 */
import { VirtualClock } from '../base/clock.ts';
import type { Clock } from '../base/clock.ts';

/** client-go's back-off after a conflict. */
const stepMs = 10;
/** What needs longer has failed, and is left to hang where it can be seen. */
const limitMs = 60_000;

/** Resolves as `work` does. A virtual clock moves on as long as all is quiet and the work still not done: mostly not at all. */
export async function passingTime<T>(clock: Clock, work: Promise<T>): Promise<T> {
  if (!(clock instanceof VirtualClock)) return work;
  let pending = true;
  const settled = (): void => {
    pending = false;
  };
  work.then(settled, settled);
  for (let passed = 0; passed < limitMs; passed += stepMs) {
    await clock.activity.quiescent();
    if (!pending) break;
    await clock.advance(stepMs);
  }
  return work;
}
