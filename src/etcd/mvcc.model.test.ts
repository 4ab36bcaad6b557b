/**
 * Random histories against a model so simple that it is plainly right: a list of revisions, each with its changes. Commits,
 * transactions, compactions, crashes with a held flush, reads at any revision, watches from any revision.
 */
import assert from 'node:assert/strict';
import { it } from 'node:test';
import { VirtualClock } from '../base/clock.ts';
import { silentLogger } from '../base/logger.ts';
import { SeededRandom } from '../base/random.ts';
import { macrotask } from '../base/yield.ts';
import { openEmbeddedStore } from './embedded-store.ts';
import type { EmbeddedStore } from './embedded-store.ts';
import { MemoryEngine } from './memory-engine.ts';
import { CompactedError } from './store.ts';
import type { CommitResult } from './store.ts';
import type { TxnOp } from './txn.ts';

interface Change {
  readonly revision: number;
  readonly key: string;
  readonly value: string | undefined;
}

interface Row {
  readonly create: number;
  readonly mod: number;
  readonly version: number;
  readonly value: string;
}

/** The keyspace after all changes up to `revision`. */
function stateAt(changes: readonly Change[], revision: number): Map<string, Row> {
  const state = new Map<string, Row>();
  for (const c of changes) {
    if (c.revision > revision) break;
    const before = state.get(c.key);
    if (c.value === undefined) state.delete(c.key);
    else {
      const create = before?.create ?? c.revision;
      state.set(c.key, { create, mod: c.revision, version: (before?.version ?? 0) + 1, value: c.value });
    }
  }
  return state;
}

async function checkRange(
  store: EmbeddedStore,
  changes: readonly Change[],
  revision: number,
  from: string,
  to: string,
): Promise<void> {
  const expected = [...stateAt(changes, revision)]
    .filter(([k]) => k >= from && k < to)
    .sort(([a], [b]) => (a < b ? -1 : 1));
  const { kvs, count, more } = await store.range({ key: from, end: to, revision, limit: 3 });
  assert.deepEqual(
    kvs.map((kv) => [kv.key, kv.createRevision, kv.modRevision, kv.version, kv.value.toString()]),
    expected.slice(0, 3).map(([k, r]) => [k, r.create, r.mod, r.version, r.value]),
  );
  assert.deepEqual([count, more], [expected.length, expected.length > 3]);
}

async function life(seed: number): Promise<void> {
  const random = new SeededRandom(seed);
  const open = (e: MemoryEngine): Promise<EmbeddedStore> =>
    openEmbeddedStore({
      engine: e,
      clock: new VirtualClock(),
      logger: silentLogger,
      random,
      historyBytes: 0,
      historyAgeMs: 0,
    });
  let engine = new MemoryEngine();
  let store = await open(engine);
  let changes: Change[] = [];
  const keyOf = (): string => `k${random.int(12)}`;

  for (let step = 0; step < 60; step++) {
    const newest = store.mvcc.revision;
    const compacted = store.mvcc.compactRevision;
    switch (random.int(7)) {
      case 0:
      case 1:
      case 2: {
        // Several commits at once: what they compare with is each other, unflushed.
        const expected = stateAt(changes, newest);
        let next = newest;
        const answers: Promise<void>[] = [];
        for (let i = random.int(6); i >= 0; i--) {
          const key = keyOf();
          const value = random.int(3) === 0 ? undefined : `${seed}.${step}.${i}`;
          const current = expected.get(key);
          const expectModRevision = random.int(2) === 0 ? undefined : random.int(4) === 0 ? 1 : (current?.mod ?? 0);
          const holds = expectModRevision === undefined || expectModRevision === (current?.mod ?? 0);
          const writes = holds && (value !== undefined || current !== undefined);
          if (writes) {
            changes.push({ revision: ++next, key, value });
            const row = stateAt(changes, next).get(key);
            if (row) expected.set(key, row);
            else expected.delete(key);
          }
          const wanted = next;
          const answer: Promise<CommitResult> = store.commit({
            key,
            value: value === undefined ? undefined : Buffer.from(value),
            expectModRevision,
          });
          answers.push(
            answer.then((r) => {
              assert.equal(r.ok, holds);
              if (writes) assert.equal(r.revision, wanted);
              const seen = r.ok ? r.previous : r.current;
              if (!r.ok || writes) assert.equal(seen?.value.toString(), current?.value);
            }),
          );
        }
        await Promise.all(answers);
        assert.equal(store.mvcc.revision, next);
        break;
      }
      case 3: {
        const keys = [...new Set(Array.from({ length: 1 + random.int(3) }, keyOf))];
        const deleted = stateAt(changes, newest);
        const ops: TxnOp[] = keys.map((key) => ({ type: 'put', key, value: Buffer.from(`${seed}.${step}`) }));
        // A range that the puts do not touch.
        ops.unshift({ type: 'delete', key: 'l', end: 'm' });
        if (random.int(2) === 0) ops.push({ type: 'put', key: `l${step}`.replace(/^l/, 'n'), value: Buffer.from('n') });
        const { revision } = await store.mvcc.txn({ compare: [], success: ops, failure: [] });
        for (const key of [...deleted.keys()].filter((k) => k >= 'l' && k < 'm'))
          changes.push({ revision, key, value: undefined });
        for (const op of ops)
          if (op.type === 'put') changes.push({ revision, key: op.key, value: op.value.toString() });
        break;
      }
      case 4:
        if (newest > compacted + 1)
          await store.mvcc.compact(compacted + 1 + random.int(newest - compacted), random.int(2) === 0);
        break;
      case 5: {
        engine.holdFlushes();
        const lost = [store.commit({ key: keyOf(), value: Buffer.from('lost'), expectModRevision: undefined })];
        await macrotask();
        lost.push(store.commit({ key: keyOf(), value: Buffer.from('lost too'), expectModRevision: undefined }));
        const settled = Promise.allSettled(lost);
        engine = engine.crash();
        assert.ok((await settled).every((r) => r.status === 'rejected'));
        store = await open(engine);
        assert.ok(store.mvcc.revision === newest && store.mvcc.compactRevision === compacted);
        break;
      }
      case 6: {
        const from = 1 + random.int(newest);
        const seen: (string | undefined)[][] = [];
        const end = await new Promise<Error | undefined>((resolve) => {
          const told = (revision: number): void => {
            if (revision >= newest) resolve(undefined);
          };
          store.watch(
            { key: 'k3', end: 'k9', fromRevision: from },
            {
              events: (events, revision) => {
                for (const e of events) {
                  const value = e.type === 'put' ? e.kv.value.toString() : undefined;
                  seen.push([String(e.kv.modRevision), e.kv.key, value]);
                  const before = stateAt(changes, e.kv.modRevision - 1).get(e.kv.key);
                  if (e.previous !== undefined || e.kv.modRevision > compacted + 1) {
                    assert.equal(e.previous?.value.toString(), before?.value);
                  }
                }
                told(revision);
              },
              progress: told,
              closed: resolve,
            },
          );
        });
        if (from < compacted) assert.ok(end instanceof CompactedError);
        else {
          assert.equal(end, undefined);
          assert.deepEqual(
            seen,
            changes
              .filter((c) => c.revision >= from && c.key >= 'k3' && c.key < 'k9')
              .map((c) => [String(c.revision), c.key, c.value]),
          );
        }
        break;
      }
    }
    const revision = Math.max(
      1,
      store.mvcc.compactRevision + random.int(store.mvcc.revision - store.mvcc.compactRevision + 1),
    );
    await checkRange(store, changes, revision, 'k', random.int(2) === 0 ? 'k5' : 'z');
    changes = changes.filter((c) => c.revision <= store.mvcc.revision);
  }
  await checkRange(store, changes, store.mvcc.revision, 'a', 'z');
  await store.close();
}

it('keeps to the model through random histories', { timeout: 60_000 }, async () => {
  const lives = Number(process.env['KNARR_MODEL_LIVES'] ?? 150);
  const first = Number(process.env['KNARR_MODEL_SEED'] ?? 1);
  for (let seed = first; seed < first + lives; seed++) {
    try {
      await life(seed);
    } catch (error) {
      throw new Error(`seed ${seed}: ${(error as Error).message}`, { cause: error });
    }
  }
});
