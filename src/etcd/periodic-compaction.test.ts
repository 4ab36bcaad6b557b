import assert from 'node:assert/strict';
import { test } from 'node:test';
import { VirtualClock } from '../base/clock.ts';
import { silentLogger } from '../base/logger.ts';
import { SeededRandom } from '../base/random.ts';
import { openEmbeddedStore } from './embedded-store.ts';
import { startPeriodicCompaction } from './periodic-compaction.ts';
import { CompactedError } from './store.ts';

test('two API servers compact a shared store to what was newest an interval ago', async () => {
  const clock = new VirtualClock();
  const store = await openEmbeddedStore({
    engine: 'memory',
    clock,
    logger: silentLogger,
    random: new SeededRandom(1),
    historyAgeMs: 0,
    historyBytes: 0,
  });
  const put = async (value: string): Promise<number> => {
    const r = await store.commit({ key: '/registry/x', expectModRevision: undefined, value: Buffer.from(value) });
    return r.revision;
  };
  const stops = [1, 2].map(() => startPeriodicCompaction({ store, clock, logger: silentLogger, intervalMs: 60_000 }));
  const first = await put('a');
  await put('b');
  await clock.advance(60_000);
  // The first round only says where it is.
  assert.equal((await store.range({ key: '/registry/x', revision: first })).kvs[0]!.value.toString(), 'a');
  const later = await put('c');
  await clock.advance(60_000);
  await assert.rejects(store.range({ key: '/registry/x', revision: first }), CompactedError);
  assert.equal((await store.range({ key: '/registry/x', revision: later })).kvs[0]!.value.toString(), 'c');
  for (const stop of stops) stop();
  assert.equal(clock.pending, 0);
  await store.close();
});
