/**
 * `kill -9` at random moments under write load: whatever was acknowledged is there afterwards, and no revision that was
 * shown is taken back or given again. The page cache outlives the process, so that this tests the order of what the store
 * does, not its syncs; those are the power-cut test's.
 */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { test } from 'node:test';
import { SystemClock } from '../../src/base/clock.ts';
import { silentLogger } from '../../src/base/logger.ts';
import { SeededRandom } from '../../src/base/random.ts';
import { openEmbeddedStore } from '../../src/etcd/embedded-store.ts';
import { emptyJournal, note, violations } from './journal.ts';
import type { Journal } from './journal.ts';

const rounds = Number(process.env['KNARR_CRASH_ROUNDS'] ?? 6);
const seed = Number(process.env['KNARR_CRASH_SEED'] ?? 1);
const writer = join(import.meta.dirname, 'writer.ts');

/** Runs a writer until it has journalled `lines` lines, kills it, and takes what it still got out. */
async function runAndKill(dir: string, journal: Journal, round: number, lines: number): Promise<void> {
  const child = spawn(process.execPath, [writer, dir, '-', String(round)], { stdio: ['ignore', 'pipe', 'inherit'] });
  const exited = new Promise<NodeJS.Signals | null>((resolve) => child.on('exit', (_code, signal) => resolve(signal)));
  let n = 0;
  for await (const line of createInterface({ input: child.stdout })) {
    // Each line is one write of a few bytes to a pipe, which a kill cannot cut.
    note(journal, line);
    if (++n === lines) child.kill('SIGKILL');
  }
  assert.equal(await exited, 'SIGKILL', `the writer ended by itself after ${n} lines`);
}

test(`kill -9 under load, ${rounds} times (seed ${seed})`, { timeout: 60_000 + rounds * 10_000 }, async () => {
  const random = new SeededRandom(seed);
  const dir = mkdtempSync(join(tmpdir(), 'knarr-crash-'));
  const journal = emptyJournal();
  try {
    for (let round = 0; round < rounds; round++) {
      const before = journal.acks;
      await runAndKill(dir, journal, seed + round, 1 + random.int(4000));
      assert.ok(journal.acks >= before);
      const store = await openEmbeddedStore({ engine: 'lmdb', dir, clock: new SystemClock(), logger: silentLogger });
      assert.deepEqual(await violations(journal, store), [], `round ${round}`);
      const next = await store.commit({ key: 'k-next', value: Buffer.from('x'), expectModRevision: undefined });
      assert.ok(next.ok && next.revision > journal.revision, `revision ${next.revision} was given before`);
      journal.revision = next.revision;
      await store.close();
    }
    assert.ok(journal.acks > 0);
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
});
