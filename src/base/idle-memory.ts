/**
 * Memory that a burst of work has left behind is given back when the process has become idle. V8 collects when something is
 * allocated, so that who does nothing keeps the garbage of before and the pages that it stood in, hundreds of megabytes; its own
 * reducer of memory is set off only by a collection. One is asked for after work, once there is none any more.
 */

export interface IdleMemoryOptions {
  /** How long a look is apart from the next, and so how long the process must have been idle. */
  readonly everyMs: number;
  /** So much work since the last collection is worth one. */
  readonly workMs: number;
  /** What the process has worked before it asked for this, its start, is worth one if it was so much. */
  readonly startMs: number;
}

const defaults: IdleMemoryOptions = { everyMs: 10_000, workMs: 2000, startMs: 200 };
/** The share of the time between two looks in which an idle event loop may have been busy. */
const idleShare = 0.05;

type Collect = (options: { readonly type: 'major'; readonly execution: 'async' }) => Promise<void>;

/** V8's own collection, which it shows only when asked to. */
async function collector(): Promise<Collect> {
  const [v8, vm] = await Promise.all([import('node:v8'), import('node:vm')]);
  v8.setFlagsFromString('--expose-gc');
  return vm.runInNewContext('gc') as Collect;
}

/** For a process as a whole: whoever embeds the library decides for himself. Returns what ends it; holds no process alive. */
export function giveBackMemoryWhenIdle(options: IdleMemoryOptions = defaults): () => void {
  let collect: Promise<Collect> | undefined;
  let last = performance.eventLoopUtilization();
  let workMs = last.active < options.startMs ? 0 : options.workMs;
  let collecting = false;
  const look = async (): Promise<void> => {
    const now = performance.eventLoopUtilization();
    const { active, utilization } = performance.eventLoopUtilization(now, last);
    last = now;
    workMs += active;
    if (collecting || workMs < options.workMs || utilization > idleShare) return;
    collecting = true;
    try {
      collect ??= collector();
      await (
        await collect
      )({ type: 'major', execution: 'async' });
    } finally {
      collecting = false;
      workMs = 0;
    }
  };
  const timer = setInterval(() => {
    // A V8 that cannot be asked is asked no more; its memory is as it would be without.
    look().catch(() => clearInterval(timer));
  }, options.everyMs);
  timer.unref();
  return () => clearInterval(timer);
}
