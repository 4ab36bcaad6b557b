/**
 * What every `KeyValueStore` promises, as one suite of tests: run on the embedded store over each engine, on our own etcd
 * server seen through the client, and on a real etcd.
 */
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { deferred } from '../base/deferred.ts';
import type { Deferred } from '../base/deferred.ts';
import { CompactedError, FutureRevisionError } from './store.ts';
import type { CommitResult, KeyValueStore, StoreEvent, StoreWatch, StoreWatchRequest } from './store.ts';

/** A store under test; undefined from `open` skips the suite with `reason`. */
export interface Opened {
  readonly store: KeyValueStore;
  close(): Promise<void>;
}

/** Records what a watch is told and lets a test wait for it. */
class Recorder {
  readonly events: StoreEvent[] = [];
  revision = 0;
  calls = 0;
  error: Error | undefined;
  readonly #watch: StoreWatch;
  #waiting: { until: () => boolean; done: Deferred<void> }[] = [];

  constructor(store: KeyValueStore, request: StoreWatchRequest) {
    this.#watch = store.watch(request, {
      events: (events, revision) => {
        for (const e of events) {
          const last = this.events.at(-1)?.kv.modRevision ?? 0;
          assert.ok(e.kv.modRevision >= last && e.kv.modRevision > this.revision && e.kv.modRevision <= revision);
          this.events.push(e);
        }
        assert.ok(revision > this.revision, `revision ${revision} after ${this.revision}`);
        this.#advance(revision);
      },
      progress: (revision) => {
        assert.ok(revision >= this.revision, `progress ${revision} after ${this.revision}`);
        this.#advance(revision);
      },
      closed: (error) => {
        this.error = error;
        this.#advance(this.revision);
      },
    });
  }

  #advance(revision: number): void {
    this.revision = revision;
    this.calls++;
    this.#waiting = this.#waiting.filter((w) => {
      if (!w.until()) return true;
      w.done.resolve();
      return false;
    });
  }

  until(condition: () => boolean): Promise<void> {
    if (condition()) return Promise.resolve();
    const done = deferred();
    this.#waiting.push({ until: condition, done });
    return done.promise;
  }

  close(): void {
    this.#watch.close();
  }
}

function committed(result: CommitResult): number {
  assert.equal(result.ok, true);
  return result.revision;
}

/** Defines the suite for one kind of store. */
export function storeContract(name: string, open: () => Promise<Opened | { reason: string }>): void {
  describe(`KeyValueStore: ${name}`, () => {
    let opened: Opened | undefined;
    let reason = '';
    let store: KeyValueStore;
    let n = 0;
    /** A fresh part of the keyspace. */
    const space = (): { prefix: string; end: string } => {
      const base = `/t${n++}`;
      return { prefix: `${base}/`, end: `${base}0` };
    };
    const put = async (key: string, value: string, expectModRevision?: number, lease?: string): Promise<number> =>
      committed(await store.commit({ key, value: Buffer.from(value), expectModRevision, lease }));
    const remove = async (key: string): Promise<number> =>
      committed(await store.commit({ key, value: undefined, expectModRevision: undefined }));
    const values = async (prefix: string, end: string, revision?: number): Promise<string[]> =>
      (await store.range({ key: prefix, end, revision })).kvs.map((kv) => `${kv.key.slice(prefix.length)}=${kv.value}`);
    /** `it`, skipped when there is no such store here. */
    const check = (title: string, body: () => Promise<void>): void => {
      it(title, { timeout: 20_000 }, async (t) => {
        if (opened === undefined) t.skip(reason);
        else await body();
      });
    };

    before(async () => {
      const result = await open();
      if ('reason' in result) reason = result.reason;
      else {
        opened = result;
        store = result.store;
      }
    });
    after(async () => {
      await opened?.close();
    });

    check('creates, reads, updates and deletes with etcd’s bookkeeping', async () => {
      const { prefix } = space();
      const key = `${prefix}a`;
      assert.deepEqual((await store.range({ key })).kvs, []);
      const first = await put(key, 'one', 0);
      const second = await put(key, 'two', first);
      assert.equal(second, first + 1);
      const { kvs, revision } = await store.range({ key });
      assert.equal(revision, second);
      assert.equal(kvs[0]!.value.toString(), 'two');
      assert.deepEqual(
        [kvs[0]!.createRevision, kvs[0]!.modRevision, kvs[0]!.version, kvs[0]!.lease],
        [first, second, 2, undefined],
      );
      const gone = await store.commit({ key, value: undefined, expectModRevision: second });
      assert.ok(gone.ok);
      assert.equal(gone.revision, second + 1);
      assert.equal(gone.previous?.value.toString(), 'two');
      assert.equal(gone.previous.modRevision, second);
      assert.equal((await store.range({ key })).count, 0);
      const again = await put(key, 'three', 0);
      assert.equal((await store.range({ key })).kvs[0]!.createRevision, again);
    });

    check('refuses a commit whose compare fails and tells the current value', async () => {
      const { prefix } = space();
      const key = `${prefix}a`;
      const missing = await store.commit({ key, value: Buffer.from('x'), expectModRevision: 7 });
      assert.ok(!missing.ok);
      assert.equal(missing.current, undefined);
      const revision = await put(key, 'one');
      for (const expectModRevision of [0, revision - 1, revision + 1]) {
        const refused = await store.commit({ key, value: Buffer.from('x'), expectModRevision });
        assert.ok(!refused.ok);
        assert.equal(refused.current?.modRevision, revision);
        assert.equal(refused.current.value.toString(), 'one');
      }
      assert.equal((await store.range({ key })).revision, revision);
      const nothing = await store.commit({ key: `${prefix}b`, value: undefined, expectModRevision: undefined });
      assert.deepEqual(nothing, { ok: true, revision, previous: undefined });
    });

    check('lets exactly one of many concurrent writers win each revision', async () => {
      const { prefix } = space();
      const key = `${prefix}counter`;
      await put(key, '0');
      let conflicts = 0;
      const add = async (): Promise<void> => {
        for (;;) {
          const kv = (await store.range({ key })).kvs[0]!;
          const value = Buffer.from(String(Number(kv.value.toString()) + 1));
          const result = await store.commit({ key, value, expectModRevision: kv.modRevision });
          if (result.ok) return;
          conflicts++;
        }
      };
      await Promise.all(Array.from({ length: 20 }, add));
      const kv = (await store.range({ key })).kvs[0]!;
      assert.equal(kv.value.toString(), '20');
      assert.equal(kv.version, 21);
      assert.ok(conflicts > 0);
    });

    check('ranges in byte order with limit, count, keys only and at a revision', async () => {
      const { prefix, end } = space();
      for (const k of ['b', 'a\xff', 'a', 'c/1', 'a\0']) await put(`${prefix}${k}`, k);
      const then = await put(`${prefix}z`, 'z');
      await remove(`${prefix}b`);
      const now = await put(`${prefix}a`, 'changed');
      const names = ['a', 'a\0', 'a\xff', 'c/1', 'z'];
      const all = await store.range({ key: prefix, end });
      assert.deepEqual(
        all.kvs.map((kv) => kv.key.slice(prefix.length)),
        names,
      );
      assert.deepEqual([all.count, all.more, all.revision], [5, false, now]);
      const page = await store.range({ key: prefix, end, limit: 2 });
      assert.deepEqual([page.kvs.length, page.count, page.more], [2, 5, true]);
      const rest = await store.range({ key: `${page.kvs[1]!.key}\0`, end, limit: 3, revision: page.revision });
      assert.deepEqual([rest.kvs.length, rest.count, rest.more], [3, 3, false]);
      const short = await store.range({ key: prefix, end, limit: 2, uncounted: true });
      assert.deepEqual([short.kvs.map((kv) => kv.key), short.more], [page.kvs.map((kv) => kv.key), true]);
      const last = await store.range({ key: prefix, end, limit: 5, uncounted: true });
      assert.deepEqual([last.kvs.length, last.count, last.more], [5, 5, false]);
      const count = await store.range({ key: prefix, end, countOnly: true });
      assert.deepEqual([count.kvs.length, count.count], [0, 5]);
      const keys = await store.range({ key: prefix, end, keysOnly: true });
      assert.deepEqual([keys.kvs.length, keys.kvs[0]!.value.length, keys.kvs[0]!.modRevision], [5, 0, now]);
      const past = await store.range({ key: prefix, end, revision: then });
      assert.equal(past.revision, now);
      assert.equal(past.count, 6);
      assert.equal(past.kvs[0]!.value.toString(), 'a');
      assert.ok((await store.range({ key: prefix, end: '\0' })).count >= 5);
      await assert.rejects(store.range({ key: prefix, end, revision: now + 1000 }), FutureRevisionError);
    });

    check('keeps binary keys and values as they are', async () => {
      const { prefix } = space();
      const key = prefix + Array.from({ length: 256 }, (_, i) => String.fromCharCode(i)).join('');
      const value = Buffer.from(Array.from({ length: 70_000 }, (_, i) => (i * 7) & 0xff));
      committed(await store.commit({ key, value, expectModRevision: 0 }));
      committed(await store.commit({ key: `${prefix}empty`, value: Buffer.alloc(0), expectModRevision: 0 }));
      const kv = (await store.range({ key })).kvs[0]!;
      assert.equal(kv.key, key);
      assert.ok(value.equals(kv.value));
      assert.equal((await store.range({ key: `${prefix}empty` })).kvs[0]!.value.length, 0);
    });

    check('watches every change once, in order, and before its acknowledgement', async () => {
      const { prefix, end } = space();
      const start = (await store.currentRevision()) + 1;
      const seen = new Recorder(store, { key: prefix, end, fromRevision: start });
      const other = new Recorder(store, { key: `${prefix}no`, fromRevision: start });
      const warm = await put(`${prefix}warm`, 'up');
      await seen.until(() => seen.revision >= warm);
      await Promise.all(
        Array.from({ length: 50 }, async (_, i) => {
          const revision = await put(`${prefix}k${i % 5}`, `v${i}`);
          assert.ok(seen.revision >= revision, `acknowledged ${revision}, watch at ${seen.revision}`);
        }),
      );
      const gone = await remove(`${prefix}k0`);
      assert.ok(seen.revision >= gone);
      assert.equal(seen.events.length, 52);
      const revisions = seen.events.map((e) => e.kv.modRevision);
      assert.deepEqual(
        revisions,
        Array.from({ length: 52 }, (_, i) => warm + i),
      );
      const last = seen.events.at(-1)!;
      assert.equal(last.type, 'delete');
      assert.equal(last.kv.value.length, 0);
      assert.equal(last.kv.modRevision, gone);
      assert.equal(last.previous?.key, `${prefix}k0`);
      const before = seen.events.findLast((e) => e.kv.key === `${prefix}k0` && e.type === 'put')!;
      assert.deepEqual(last.previous.value, before.kv.value);
      assert.equal(seen.events[0]!.previous, undefined);
      const now = await store.currentRevision();
      await other.until(() => other.revision >= now);
      assert.equal(other.events.length, 0);
      seen.close();
      other.close();
      await put(`${prefix}late`, 'x');
      assert.equal(seen.events.length, 52);
      assert.equal(seen.error, undefined);
    });

    check('watches from any retained revision and goes on with what follows', async () => {
      const { prefix, end } = space();
      const first = await put(`${prefix}a`, '1');
      await put(`${prefix}b`, '2');
      await put(`${prefix}a`, '3', first);
      await remove(`${prefix}b`);
      const seen = new Recorder(store, { key: prefix, end, fromRevision: first });
      const single = new Recorder(store, { key: `${prefix}a`, fromRevision: first + 1 });
      await seen.until(() => seen.events.length === 4);
      const last = await put(`${prefix}c`, '5');
      await seen.until(() => seen.revision >= last);
      assert.deepEqual(
        seen.events.map((e) => `${e.type} ${e.kv.key.slice(prefix.length)} ${e.kv.value} ${e.previous?.value ?? '-'}`),
        ['put a 1 -', 'put b 2 -', 'put a 3 1', 'delete b  2', 'put c 5 -'],
      );
      assert.ok((await store.currentRevision()) >= last);
      await single.until(() => single.revision >= last);
      assert.deepEqual(
        single.events.map((e) => e.kv.value.toString()),
        ['3'],
      );
      seen.close();
      single.close();
    });

    check('deletes the keys of a revoked lease in one revision', async () => {
      const { prefix, end } = space();
      const lease = await store.grantLease(600);
      assert.match(lease, /^\d+$/);
      assert.equal(await store.keepAliveLease(lease), 600);
      await put(`${prefix}a`, '1', undefined, lease);
      await put(`${prefix}b`, '2', undefined, lease);
      await put(`${prefix}c`, '3', undefined, lease);
      await put(`${prefix}c`, '4');
      assert.equal((await store.range({ key: `${prefix}a` })).kvs[0]!.lease, lease);
      const before = await store.currentRevision();
      const seen = new Recorder(store, { key: prefix, end, fromRevision: before + 1 });
      await store.revokeLease(lease);
      await seen.until(() => seen.events.length === 2);
      assert.deepEqual(
        seen.events.map((e) => [e.type, e.kv.modRevision]),
        [
          ['delete', before + 1],
          ['delete', before + 1],
        ],
      );
      assert.deepEqual(await values(prefix, end), ['c=4']);
      const notFound = { message: 'etcdserver: requested lease not found' };
      await assert.rejects(store.revokeLease(lease), notFound);
      await assert.rejects(store.keepAliveLease(lease), notFound);
      await assert.rejects(put(`${prefix}d`, '5', undefined, lease), notFound);
      seen.close();
    });

    check('refuses what is larger than a request may be', async () => {
      const { prefix } = space();
      const value = Buffer.alloc(1_700_000);
      await assert.rejects(store.commit({ key: `${prefix}big`, value, expectModRevision: 0 }), {
        message: 'etcdserver: request is too large',
      });
    });

    check('forgets history before a compaction and nothing else', async () => {
      const { prefix, end } = space();
      const first = await put(`${prefix}a`, '1');
      await put(`${prefix}a`, '2');
      await put(`${prefix}b`, '1');
      const at = await remove(`${prefix}b`);
      await put(`${prefix}a`, '3');
      await store.compact(at);
      assert.deepEqual(await values(prefix, end, at), ['a=2']);
      assert.deepEqual(await values(prefix, end), ['a=3']);
      await assert.rejects(store.range({ key: prefix, end, revision: at - 1 }), CompactedError);
      await assert.rejects(store.compact(first), CompactedError);
      await assert.rejects(store.compact(at + 1000), FutureRevisionError);
      const late = new Recorder(store, { key: prefix, end, fromRevision: first });
      await late.until(() => late.error !== undefined);
      assert.ok(late.error instanceof CompactedError);
      assert.equal(late.error.compactRevision, at);
      const seen = new Recorder(store, { key: prefix, end, fromRevision: at + 1 });
      await seen.until(() => seen.events.length === 1);
      assert.equal(seen.events[0]!.kv.value.toString(), '3');
      seen.close();
      assert.ok((await store.size()) > 0);
    });

    check('reads many keys at one revision while they change', async () => {
      const { prefix, end } = space();
      const many = 1500;
      await Promise.all(Array.from({ length: many }, (_, i) => put(`${prefix}${String(i).padStart(5, '0')}`, 'old')));
      const reading = store.range({ key: prefix, end });
      const writing = Promise.all(
        Array.from({ length: many }, (_, i) => put(`${prefix}${String(i).padStart(5, '0')}`, 'new')),
      );
      const { kvs, revision, count } = await reading;
      await writing;
      assert.equal(kvs.length, many);
      assert.equal(count, many);
      assert.ok(kvs.every((kv) => kv.modRevision <= revision));
      const again = await store.range({ key: prefix, end, revision });
      assert.deepEqual(
        again.kvs.map((kv) => kv.modRevision),
        kvs.map((kv) => kv.modRevision),
      );
    });
  });
}
