/**
 * The process that the crash tests kill: writes to a store as fast as it can and journals, one line each, what it was
 * acknowledged and what its watch saw, in the order in which it learned it.
 *
 *     node writer.ts DIR JOURNAL SEED COMMITS [early]
 *
 * JOURNAL `-` is standard output. COMMITS 0 goes on until killed. `early` plants the mistake the tests must catch: an engine
 * that says a flush is done when it has only been asked for.
 */
import { openSync, writeSync } from 'node:fs';
import { SystemClock } from '../../src/base/clock.ts';
import { silentLogger } from '../../src/base/logger.ts';
import { SeededRandom } from '../../src/base/random.ts';
import { macrotask } from '../../src/base/yield.ts';
import { openEmbeddedStore } from '../../src/etcd/embedded-store.ts';
import type { Engine } from '../../src/etcd/engine.ts';
import { openLoggedEngine } from '../../src/etcd/logged-engine.ts';

const [dir = '', journal = '-', seed = '1', commits = '0', plant = ''] = process.argv.slice(2);

const fd = journal === '-' ? 1 : openSync(journal, 'a');
const random = new SeededRandom(Number(seed));
const real = await openLoggedEngine(dir, { random, logger: silentLogger, delayMs: 20 });
const early: Engine = {
  applyBatch: (ops) => real.applyBatch(ops),
  durable: () => {
    void real.durable();
    return Promise.resolve();
  },
  get: (key) => real.get(key),
  scan: (from, to, visit) => real.scan(from, to, visit),
  size: () => real.size(),
  close: () => real.close(),
};

const store = await openEmbeddedStore({
  engine: plant === 'early' ? early : real,
  clock: new SystemClock(),
  logger: silentLogger,
  // With an odd seed small enough that compaction and its clean-up run all the time, with an even one never.
  historyBytes: Number(seed) % 2 === 1 ? 200_000 : 0,
});

store.watch(
  { key: 'k', end: 'l' },
  {
    // One line a delivery: the revision up to which this process has seen everything.
    events: (_events, revision) => writeSync(fd, `saw ${revision}\n`),
    progress: () => {},
    closed: () => {},
  },
);

let left = Number(commits) || Infinity;
/** Commits of a round: in every other one a single writer is alone. */
const roundOf = 300;

let count = 0;

/** Writes one key after the other; each is this writer's own, so the last acknowledgement of a key is its truth. */
async function write(worker: number, round: { left: number }): Promise<void> {
  while (left > 0 && round.left > 0) {
    left--;
    round.left--;
    const n = count++;
    const key = `k${worker}-${random.int(8)}`;
    const value = random.int(10) === 0 ? undefined : Buffer.alloc(random.int(6000), `${key}@${n};`);
    const result = await store.commit({ key, value, expectModRevision: undefined });
    if (result.ok)
      writeSync(fd, `ack ${key} ${result.revision} ${value === undefined ? '-' : `${n}:${value.length}`}\n`);
    if (random.int(50) === 0) await macrotask();
  }
}

try {
  for (let writers = 16; left > 0; writers = 17 - writers) {
    const round = { left: roundOf };
    await Promise.all(Array.from({ length: writers }, (_, worker) => write(worker, round)));
  }
  await store.close();
} catch (error) {
  writeSync(fd, `failed ${(error as Error).name}\n`);
  process.exitCode = 3;
}
