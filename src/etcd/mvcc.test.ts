/** What only the embedded store can show: the order of visibility around a held flush, crashes, failures, time. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { SystemClock, VirtualClock } from '../base/clock.ts';
import type { Clock } from '../base/clock.ts';
import { silentLogger } from '../base/logger.ts';
import { SeededRandom } from '../base/random.ts';
import { macrotask } from '../base/yield.ts';
import { DataDirInUseError } from './dir-lock.ts';
import { openEmbeddedStore } from './embedded-store.ts';
import type { EmbeddedStore } from './embedded-store.ts';
import type { Engine } from './engine.ts';
import { MemoryEngine } from './memory-engine.ts';
import { CorruptRecordError, recordKey } from './record.ts';
import { StoreFailedError } from './store.ts';
import type { StoreEvent } from './store.ts';
import { InvalidTxnError } from './txn.ts';

async function open(
  engine: Engine = new MemoryEngine(),
  clock: Clock = new VirtualClock(),
  more: { historyBytes?: number; cacheBytes?: number } = {},
): Promise<EmbeddedStore> {
  return openEmbeddedStore({ engine, clock, logger: silentLogger, random: new SeededRandom(1), ...more });
}

const bytes = (s: string): Buffer => Buffer.from(s);

/** Several turns of the event loop: enough for anything that is not held back. */
async function settle(): Promise<void> {
  for (let i = 0; i < 5; i++) await macrotask();
}

async function put(store: EmbeddedStore, key: string, value: string, lease?: string): Promise<number> {
  const result = await store.commit({ key, value: bytes(value), expectModRevision: undefined, lease });
  assert.ok(result.ok);
  return result.revision;
}

describe('the order of visibility', () => {
  it('shows nothing before it is durable, then events, then the acknowledgement', async () => {
    const engine = new MemoryEngine();
    const store = await open(engine);
    const base = await put(store, 'a', '0');
    const order: string[] = [];
    store.watch(
      { key: 'a', fromRevision: 0 },
      {
        events: (events, revision) => order.push(`events ${events.length} to ${revision}`),
        progress: () => {},
        closed: (error) => order.push(error.message),
      },
    );
    engine.holdFlushes();
    const first = store.commit({ key: 'a', value: bytes('1'), expectModRevision: base });
    const conflict = store.commit({ key: 'a', value: bytes('x'), expectModRevision: base });
    const second = store.commit({ key: 'a', value: bytes('2'), expectModRevision: base + 1 });
    void first.then((r) => order.push(`first ${r.ok}`));
    void conflict.then((r) => order.push(`conflict ${r.ok}`));
    void second.then((r) => order.push(`second ${r.ok}`));
    await settle();
    // A commit against the pending state while the flush is out belongs to the next one.
    const third = store.commit({ key: 'b', value: bytes('3'), expectModRevision: 0 });
    void third.then((r) => order.push(`third ${r.ok}`));
    await settle();
    assert.deepEqual(order, []);
    assert.equal((await store.range({ key: 'a' })).kvs[0]!.value.toString(), '0');
    assert.equal(await store.currentRevision(), base);
    assert.equal(engine.heldFlushes, 1);

    engine.releaseFlush();
    await settle();
    assert.deepEqual(order, [`events 2 to ${base + 2}`, 'first true', 'conflict false', 'second true']);
    const refused = await conflict;
    assert.ok(!refused.ok);
    assert.equal(refused.current?.value.toString(), '1');
    assert.equal((await store.range({ key: 'b' })).count, 0);
    engine.releaseFlushes();
    await third;
    assert.equal((await store.range({ key: 'b' })).count, 1);
    assert.equal(engine.flushes, 4);
    await store.close();
  });

  it('loses in a crash only what nobody has seen', async () => {
    const engine = new MemoryEngine();
    const store = await open(engine);
    const acknowledged = await put(store, 'a', 'kept');
    engine.holdFlushes();
    const lost = store.commit({ key: 'a', value: bytes('lost'), expectModRevision: undefined });
    const rejected = assert.rejects(lost, StoreFailedError);
    await settle();
    const reopened = await open(engine.crash());
    await rejected;
    const { kvs, revision } = await reopened.range({ key: 'a' });
    assert.equal(revision, acknowledged);
    assert.equal(kvs[0]!.value.toString(), 'kept');
    assert.equal(await put(reopened, 'a', 'next'), acknowledged + 1);
    await reopened.close();
  });

  it('ends for good when a flush fails', async () => {
    const engine = new MemoryEngine();
    const store = await open(engine);
    await put(store, 'a', '1');
    let ended: Error | undefined;
    store.watch({ key: 'a' }, { events: () => assert.fail(), progress: () => {}, closed: (e) => (ended = e) });
    engine.failNextFlush(new Error('EIO: i/o error, fdatasync'));
    const failed = { name: 'StoreFailedError', message: 'the store has failed: EIO: i/o error, fdatasync' };
    await assert.rejects(put(store, 'a', '2'), failed);
    assert.ok(ended instanceof StoreFailedError);
    assert.equal((ended.cause as Error).message, 'EIO: i/o error, fdatasync');
    await assert.rejects(put(store, 'a', '3'), failed);
    await assert.rejects(store.range({ key: 'a' }), failed);
    await store.close();
  });

  it('replays history that is half in memory to a late watch without gap or repetition', async () => {
    const store = await open();
    const first = await put(store, 'k0', 'x');
    const writers = Array.from({ length: 300 }, (_, i) => put(store, `k${i % 7}`, String(i)));
    const watches: number[][] = [];
    for (let round = 0; round < 4; round++) {
      const seen: number[] = [];
      watches.push(seen);
      store.watch(
        { key: 'k', end: 'l', fromRevision: first },
        {
          events: (events) => seen.push(...events.map((e: StoreEvent) => e.kv.modRevision)),
          progress: () => {},
          closed: assert.ifError,
        },
      );
      await Promise.resolve();
      if (round === 1) await macrotask();
    }
    await Promise.all(writers);
    for (let i = 0; i < 1000 && watches.some((seen) => seen.length < 301); i++) await settle();
    const expected = Array.from({ length: 301 }, (_, i) => first + i);
    for (const seen of watches) assert.deepEqual(seen, expected);
  });
});

describe('recovery', () => {
  it('rebuilds keys, history, leases and the compaction from the engine', async () => {
    const engine = new MemoryEngine();
    const store = await open(engine);
    const lease = await store.grantLease(60);
    await put(store, 'a', '1');
    const two = await put(store, 'a', '2');
    await put(store, 'leased', 'v', lease);
    await put(store, 'gone', 'x');
    await store.commit({ key: 'gone', value: undefined, expectModRevision: undefined });
    const last = await put(store, 'a', '3');
    await store.compact(two);
    const clock = new VirtualClock();
    const again = await open(engine.fork(), clock);
    assert.equal(await again.currentRevision(), last);
    assert.equal(again.mvcc.compactRevision, two);
    assert.equal(again.mvcc.clusterId, store.mvcc.clusterId);
    assert.equal((await again.range({ key: 'a', revision: two })).kvs[0]!.value.toString(), '2');
    assert.deepEqual(
      (await again.range({ key: '\0', end: '\0' })).kvs.map((kv) => [kv.key, kv.version, String(kv.value)]),
      [
        ['a', 3, '3'],
        ['leased', 1, 'v'],
      ],
    );
    await clock.advance(61_000);
    assert.equal((await again.range({ key: 'leased' })).count, 0);
    assert.equal(await again.currentRevision(), last + 1);
    await again.close();
    await store.close();
  });

  it('tells a record that has changed beneath it', async () => {
    const engine = new MemoryEngine();
    const store = await open(engine);
    const revision = await put(store, 'a', 'a value that is there');
    const record = Buffer.from(engine.get(recordKey(revision, 0))!);
    record[record.length - 1]! ^= 1;
    engine.applyBatch([{ key: recordKey(revision, 0), value: record }]);
    await engine.durable();
    await assert.rejects(store.range({ key: 'a' }), CorruptRecordError);
    const broken = Buffer.from(record);
    broken[20]! ^= 1;
    engine.applyBatch([{ key: recordKey(revision, 0), value: broken }]);
    await engine.durable();
    await assert.rejects(open(engine.fork()), CorruptRecordError);
  });

  it('on disk survives closing, and keeps a second store out', async () => {
    const dir = mkdtempSync(join(tmpdir(), 'knarr-etcd-'));
    try {
      const options = { engine: 'lmdb', dir, clock: new SystemClock(), logger: silentLogger } as const;
      const store = await openEmbeddedStore(options);
      const last = await put(store, 'a', '1');
      await assert.rejects(openEmbeddedStore(options), (error: Error) => {
        assert.ok(error instanceof DataDirInUseError);
        assert.match(error.message, new RegExp(`is in use by process ${process.pid}`));
        return true;
      });
      await store.close();
      const again = await openEmbeddedStore(options);
      assert.equal(await again.currentRevision(), last);
      assert.equal((await again.range({ key: 'a' })).kvs[0]!.value.toString(), '1');
      await again.close();
    } finally {
      rmSync(dir, { recursive: true, force: true });
    }
  });
});

describe('time and space', () => {
  it('ends leases by the clock and lets keep-alives push that off', async () => {
    const clock = new VirtualClock();
    const store = await open(new MemoryEngine(), clock);
    const [short, kept] = [await store.grantLease(10), await store.grantLease(10)];
    await put(store, 'short', 'v', short);
    await put(store, 'kept', 'v', kept);
    await clock.advance(9_000);
    await store.keepAliveLease(kept);
    await clock.advance(5_000);
    assert.deepEqual(
      (await store.range({ key: '\0', end: '\0' })).kvs.map((kv) => kv.key),
      ['kept'],
    );
    assert.deepEqual(store.mvcc.leases(), [kept]);
    await clock.advance(5_100);
    assert.equal((await store.range({ key: 'kept' })).count, 0);
    await store.close();
    assert.equal(clock.pending, 0);
  });

  it('forgets history by age, and holds no timer when there is none', async () => {
    const clock = new VirtualClock();
    const engine = new MemoryEngine();
    const store = await open(engine, clock);
    const first = await put(store, 'a', '1');
    await put(store, 'a', '2');
    await clock.advance(4 * 60_000);
    assert.equal((await store.range({ key: 'a', revision: first })).kvs[0]!.value.toString(), '1');
    await put(store, 'a', '3');
    await clock.advance(2 * 60_000);
    await assert.rejects(store.range({ key: 'a', revision: first }), { name: 'CompactedError' });
    assert.equal((await store.range({ key: 'a', revision: first + 1 })).kvs[0]!.value.toString(), '2');
    await clock.advance(20 * 60_000);
    await assert.rejects(store.range({ key: 'a', revision: first + 1 }), { name: 'CompactedError' });
    assert.equal(engine.get(recordKey(first, 0)), undefined);
    assert.equal(clock.pending, 0);
    await store.close();
  });

  it('forgets history by bytes, but nothing that a running read stands on', async () => {
    const store = await open(new MemoryEngine(), new VirtualClock(), { historyBytes: 64 * 1024 });
    const value = 'x'.repeat(1000);
    for (let i = 0; i < 2000; i++) await put(store, `k${String(i).padStart(5, '0')}`, value);
    const reading = store.range({ key: 'k', end: 'l' });
    for (let i = 0; i < 500; i++) await put(store, `k${String(i % 50).padStart(5, '0')}`, 'y');
    assert.ok((await reading).kvs.every((kv) => kv.value.length === 1000));
    assert.ok(store.mvcc.compactRevision > 2000);
    await settle();
    assert.ok((await store.size()) < 2_400_000);
    await store.close();
  });
});

describe('transactions', () => {
  it('see their own writes, compare ranges, nest, and refuse duplicates', async () => {
    const { mvcc } = await open();
    const result = await mvcc.txn({
      compare: [{ key: 'a', target: 'create', result: 'equal', operand: 0 }],
      success: [
        { type: 'put', key: 'a', value: bytes('1') },
        { type: 'put', key: 'b', value: bytes('2'), previous: true },
        { type: 'range', query: { key: 'a', end: 'z' } },
        {
          type: 'txn',
          txn: {
            compare: [{ key: 'a', target: 'value', result: 'equal', operand: bytes('1') }],
            success: [{ type: 'put', key: 'c', value: bytes('3') }],
            failure: [],
          },
        },
        { type: 'delete', key: 'x', end: 'z' },
      ],
      failure: [],
    });
    assert.equal(result.succeeded, true);
    assert.deepEqual(
      result.results.map((r) => (r.type === 'range' ? r.kvs.map((kv) => `${kv.key}=${kv.value}`) : r.type)),
      ['put', 'put', ['a=1', 'b=2'], 'txn', 'delete'],
    );
    const all = await mvcc.range({ key: 'a', end: 'z', order: 'descend', target: 'mod' });
    assert.ok(all.kvs.every((kv) => kv.modRevision === result.revision));
    const failed = await mvcc.txn({
      compare: [{ key: 'a', end: 'z', target: 'version', result: 'greater', operand: 1 }],
      success: [],
      failure: [{ type: 'delete', key: 'a', end: 'c', previous: true }],
    });
    assert.equal(failed.succeeded, false);
    const deleted = failed.results[0]!;
    assert.ok(deleted.type === 'delete');
    assert.deepEqual([deleted.deleted, deleted.previous.map((kv) => String(kv.value))], [2, ['1', '2']]);
    const duplicate = mvcc.txn({
      compare: [],
      success: [
        { type: 'put', key: 'a', value: bytes('1') },
        { type: 'delete', key: 'a', end: 'b' },
      ],
      failure: [],
    });
    await assert.rejects(duplicate, new InvalidTxnError('etcdserver: duplicate key given in txn request'));
    await mvcc.close();
  });
});
