/**
 * Keeps the history of a shared etcd bounded as kube-apiserver does (`--etcd-compaction-interval`): at every interval one of
 * the API servers compacts to the revision that was newest an interval ago. They agree through the key `compact_rev_key`,
 * upstream's name, so that servers of both kinds can share a store. An embedded store compacts itself.
 */
import type { Clock } from '../base/clock.ts';
import type { Logger } from '../base/logger.ts';
import type { KeyValueStore } from './store.ts';

const key = 'compact_rev_key';

export interface PeriodicCompactionOptions {
  readonly store: KeyValueStore;
  readonly clock: Clock;
  readonly logger: Logger;
  /** Default five minutes. */
  readonly intervalMs?: number;
}

/** Starts it; the returned function ends it. */
export function startPeriodicCompaction(options: PeriodicCompactionOptions): () => void {
  const { store, clock, logger } = options;
  let known: { modRevision: number; revision: number } = { modRevision: 0, revision: 0 };
  let busy = false;
  const round = async (): Promise<void> => {
    const revision = await store.currentRevision();
    const outcome = await store.commit({
      key,
      expectModRevision: known.modRevision,
      value: Buffer.from(String(revision)),
    });
    if (!outcome.ok) {
      // Another server has done this interval's round, or ours is the first since a start.
      const current = outcome.current;
      known =
        current === undefined
          ? { modRevision: 0, revision: 0 }
          : { modRevision: current.modRevision, revision: Number(current.value.toString('utf8')) || 0 };
      return;
    }
    const previous = known.revision;
    known = { modRevision: outcome.revision, revision };
    if (previous > 0) await store.compact(previous);
  };
  const ticker = clock.setTicker(options.intervalMs ?? 300_000, () => {
    if (busy) return;
    busy = true;
    round()
      .catch((error: unknown) => logger.warn('compacting the store failed', { error }))
      .finally(() => {
        busy = false;
      });
  });
  return () => ticker.cancel();
}
