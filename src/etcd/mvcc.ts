/**
 * etcd's data model over an `Engine`: one global revision, versions of keys, leases, compaction, watches. Commits run one
 * after the other against the pending state; a flush makes all of them durable at once, and only then do reads, watches and
 * acknowledgements see them, in that order. So nothing that anybody saw can be taken back by a crash.
 */
import type { Clock } from '../base/clock.ts';
import { ioNow } from '../base/io-time.ts';
import type { Logger } from '../base/logger.ts';
import type { Random } from '../base/random.ts';
import { Slice } from '../base/yield.ts';
import { Compactor } from './compactor.ts';
import type { Engine, EngineOp } from './engine.ts';
import { KeyIndex, Version } from './key-index.ts';
import { Lessor, LeaseNotFoundError, LeaseTtlTooLargeError, maxLeaseTtl, minLeaseTtl } from './lessor.ts';
import type { Lease } from './lessor.ts';
import { pickVersions } from './range.ts';
import type { Picked } from './range.ts';
import { RecordWriter, leaseOp, metaOp, readHead, readValue, recordKey } from './record.ts';
import { newId, recover } from './recover.ts';
import {
  CompactedError,
  FutureRevisionError,
  RequestTooLargeError,
  StoreClosedError,
  StoreFailedError,
} from './store.ts';
import type {
  CommitRequest,
  CommitResult,
  KeyValue,
  RangeResult,
  StoreEvent,
  StoreWatchRequest,
  StoreWatchSink,
} from './store.ts';
import { TxnRun } from './txn-apply.ts';
import type { TxnStore } from './txn-apply.ts';
import { checkTxn } from './txn.ts';
import type { RangeQuery, TxnRequest, TxnResult } from './txn.ts';
import { Values } from './values.ts';
import { WatchHub } from './watch-hub.ts';
import type { PlacedWatch } from './watch-hub.ts';

/** etcd's `--max-request-bytes`. */
export const maxRequestBytes = 1.5 * 1024 * 1024;

export interface MvccOptions {
  readonly engine: Engine;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  /** How long superseded versions stay readable; 0: until somebody compacts. Default five minutes. */
  readonly historyAgeMs?: number;
  /** Bytes of superseded records that are kept at most; 0: no bound. Default 64 MiB. */
  readonly historyBytes?: number;
  /** Bytes of recently written values kept beside the engine. Default 4 MiB; none when the engine keeps its arrays. */
  readonly cacheBytes?: number;
  /** Waits for more commits to share the next flush. Default: none beyond what arrives during a flush. */
  readonly gather?: () => Promise<void>;
}

interface Waiter {
  done(): void;
  fail(error: Error): void;
}

/** What one flush makes durable. */
interface Batch {
  ops: EngineOp[];
  events: StoreEvent[];
  versions: Version[];
  waiters: Waiter[];
  /** The last revision in it, or in what came before. */
  revision: number;
}

/** Records handled between two looks at the time while a store is opened or cleaned. */
const stride = 256;
const slabBytes = 256 * 1024;
/** Bytes of records read between two looks at the time. */
const sliceBytes = 16 * 1024;
const noValue: Buffer = Buffer.alloc(0);

export class Mvcc {
  readonly #engine: Engine;
  readonly #clock: Clock;
  readonly #random: Random;
  readonly #log: Logger;
  readonly #gather: (() => Promise<void>) | undefined;
  readonly #index = new KeyIndex();
  readonly #values: Values;
  readonly #txnStore: TxnStore;
  readonly #lessor: Lessor;
  readonly #hub: WatchHub;
  readonly #compactor: Compactor;
  readonly #writer: RecordWriter;
  /** Told how long each flush took. */
  onFlush: ((seconds: number) => void) | undefined = undefined;
  /** The newest revision, flushed or not. */
  #pending = 1;
  #durable = 1;
  #compacted = 0;
  #open: Batch = { ops: [], events: [], versions: [], waiters: [], revision: 1 };
  #flight: Batch | undefined;
  #pumping: Promise<void> | undefined;
  /** The last flush was for more than one. */
  #company = false;
  /** Revisions that running reads stand on; compaction removes nothing they need. */
  readonly #pins = new Map<number, number>();
  #cleaning: Promise<void> | undefined;
  #failure: Error | undefined;
  #closing: Promise<void> | undefined;
  #clusterId = '0';
  #memberId = '0';

  private constructor(options: MvccOptions) {
    this.#engine = options.engine;
    this.#clock = options.clock;
    this.#random = options.random;
    this.#log = options.logger;
    this.#gather = options.gather;
    this.#values = new Values(options.engine, options.engine.keepsArrays ? 0 : (options.cacheBytes ?? 4 * 1024 * 1024));
    this.#writer = new RecordWriter(options.engine.keepsArrays ? 0 : slabBytes);
    this.#lessor = new Lessor(options.clock, (lease) => this.#expire(lease));
    this.#hub = new WatchHub(
      {
        durableRevision: () => this.#durable,
        compactRevision: () => this.#compacted,
        replay: (from, to, key, end, visit) => this.#replay(from, to, key, end, visit),
        begin: () => this.#clock.activity.begin(),
      },
      options.logger,
    );
    this.#txnStore = {
      index: this.#index,
      values: this.#values,
      lessor: this.#lessor,
      pending: () => this.#pending,
      checkRevision: (revision) => this.#checkRevision(revision, this.#pending),
      write: (key, value, lease, revision, sub) => this.#write(key, value, lease, revision, sub),
      pin: (revision) => this.#pin(revision),
      finishRange: (picked, query) => this.#finishRange(picked, query),
    };
    this.#compactor = new Compactor({
      clock: options.clock,
      ageMs: options.historyAgeMs ?? 300_000,
      bytes: options.historyBytes ?? 64 * 1024 * 1024,
      index: this.#index,
      compact: async (revision) => {
        if (this.#failure || revision <= this.#compacted) return;
        try {
          await this.compact(revision, true);
        } catch (error) {
          if (!this.#failure) this.#log.error('automatic compaction failed', { revision, error });
        }
      },
    });
  }

  /** Opens the store that `engine` holds, making a new one in an empty engine. */
  static async open(options: MvccOptions): Promise<Mvcc> {
    const mvcc = new Mvcc(options);
    await mvcc.#recover();
    return mvcc;
  }

  async #recover(): Promise<void> {
    const found = await recover(this.#engine, this.#index, this.#lessor, this.#random);
    this.#clusterId = found.clusterId;
    this.#memberId = found.memberId;
    this.#compacted = found.compactRevision;
    this.#pending = this.#durable = this.#open.revision = found.revision;
    // A crash between a compaction and its clean-up leaves work behind.
    if (this.#index.droppable(this.#compacted)) this.#clean();
    this.#compactor.advanced(found.revision);
    this.#lessor.start();
  }

  get clusterId(): string {
    return this.#clusterId;
  }

  get memberId(): string {
    return this.#memberId;
  }

  /** The newest revision that a crash cannot take back. */
  get revision(): number {
    return this.#durable;
  }

  /** Revisions that are not flushed yet. */
  get unflushed(): number {
    return this.#pending - this.#durable;
  }

  get compactRevision(): number {
    return this.#compacted;
  }

  /** Retained keys, counting tombstones. */
  get keys(): number {
    return this.#index.size;
  }

  get watchers(): number {
    return this.#hub.size;
  }

  size(): number {
    return this.#engine.size();
  }

  /** Rejects once the store has failed. */
  #check(): void {
    if (this.#failure) throw this.#failure;
  }

  // ---- flushing

  #wait(batch: Batch, waiter: Waiter): void {
    batch.waiters.push(waiter);
    if (batch === this.#open) this.#flush();
  }

  #flush(): void {
    this.#pumping ??= this.#pump();
  }

  async #pump(): Promise<void> {
    const done = this.#clock.activity.begin();
    try {
      // Whoever started this gets its own turn first, so that what it commits next is part of the same flush.
      await Promise.resolve();
      while (this.#open.ops.length > 0 || this.#open.waiters.length > 0) {
        // One writer alone has nobody to wait for.
        if (this.#gather && this.#company) await this.#gather();
        const batch = this.#open;
        const many = batch.waiters.length > 1;
        const alone = !many && !this.#company;
        this.#company = many;
        this.#open = { ops: [], events: [], versions: [], waiters: [], revision: this.#pending };
        this.#flight = batch;
        if (batch.ops.length > 0) {
          this.#engine.applyBatch(batch.ops);
          const began = this.onFlush === undefined ? 0 : ioNow();
          await this.#engine.durable(alone);
          this.onFlush?.((ioNow() - began) / 1000);
        }
        this.#flight = undefined;
        this.#settle(batch);
      }
    } catch (error) {
      this.#fail(error as Error);
    } finally {
      this.#pumping = undefined;
      done();
    }
  }

  #settle(batch: Batch): void {
    this.#durable = batch.revision;
    this.#values.remember(batch.versions);
    if (batch.events.length > 0) {
      this.#hub.dispatch(batch.events, batch.revision);
      this.#compactor.advanced(batch.revision);
    }
    for (const waiter of batch.waiters) waiter.done();
  }

  /** A failed flush ends the store: what the disk holds is unknown, and trying again could hide a loss. */
  #fail(cause: Error): void {
    if (this.#failure) return;
    const failure = new StoreFailedError(cause);
    this.#failure = failure;
    this.#log.error('the store has failed and serves no more', { error: cause });
    const batches = [this.#flight, this.#open];
    this.#flight = undefined;
    this.#open = { ops: [], events: [], versions: [], waiters: [], revision: this.#durable };
    this.#stop(failure);
    for (const batch of batches) for (const waiter of batch?.waiters ?? []) waiter.fail(failure);
  }

  #stop(reason: Error): void {
    this.#lessor.stop();
    this.#compactor.stop();
    this.#hub.close(reason);
  }

  /** The batch whose flush makes what is pending about `revision` durable; undefined when it is already. */
  #batchOf(revision: number): Batch | undefined {
    if (revision <= this.#durable) return undefined;
    const flight = this.#flight;
    return flight !== undefined && revision <= flight.revision ? flight : this.#open;
  }

  // ---- writing; these run against the pending state

  #write(key: string, value: Buffer | undefined, lease: string | undefined, revision: number, sub: number): Version {
    const older = this.#index.head(key);
    let create = 0;
    let version = 0;
    if (value !== undefined) {
      const lives = older !== undefined && older.version !== 0;
      create = lives ? older.createRevision : revision;
      version = lives ? older.version + 1 : 1;
    }
    const op = this.#writer.write(revision, sub, key, create, version, lease, value);
    // An engine that keeps its arrays and a reader that keeps the value then share one copy of it.
    const kept =
      value !== undefined && this.#engine.keepsArrays
        ? (op.value as Buffer).subarray((op.value as Buffer).length - value.length)
        : value;
    const v = new Version(older?.key ?? key, revision, sub, create, version, lease, op.value!.length, older, kept);
    this.#index.push(v);
    if (older?.lease !== undefined && older.lease !== lease) this.#lessor.detach(older.lease, key);
    if (lease !== undefined && lease !== older?.lease) this.#lessor.attach(lease, v.key);
    const batch = this.#open;
    batch.ops.push(op);
    batch.versions.push(v);
    batch.events.push(this.#values.event(v, kept));
    batch.revision = revision;
    this.#pending = revision;
    return v;
  }

  /** See `KeyValueStore.commit`. */
  commit(request: CommitRequest): Promise<CommitResult> {
    if (this.#failure) return Promise.reject(this.#failure);
    const { key, value, lease } = request;
    if (key === '') return Promise.reject(new RangeError('etcdserver: key is not provided'));
    if (key.length + (value?.length ?? 0) > maxRequestBytes) return Promise.reject(new RequestTooLargeError());
    const head = this.#index.head(key);
    const current = head !== undefined && head.version !== 0 ? head : undefined;
    const expected = request.expectModRevision;
    if (expected !== undefined && (current?.modRevision ?? 0) !== expected) {
      return this.#answer(head?.modRevision ?? 0, () => ({
        ok: false,
        revision: this.#durable,
        current: current && this.#values.keyValue(current),
      }));
    }
    if (value === undefined && current === undefined) {
      return this.#answer(head?.modRevision ?? 0, () => ({ ok: true, revision: this.#durable, previous: undefined }));
    }
    if (value !== undefined && lease !== undefined && this.#lessor.get(lease) === undefined) {
      return Promise.reject(new LeaseNotFoundError());
    }
    const revision = this.#pending + 1;
    const previous = current && this.#values.lazyKeyValue(current);
    this.#write(key, value, value === undefined ? undefined : lease, revision, 0);
    return new Promise((resolve, reject) => {
      this.#wait(this.#open, { done: () => resolve({ ok: true, revision, previous }), fail: reject });
    });
  }

  /** Answers at once when everything up to `revision` is durable, otherwise when it is. */
  #answer<T>(revision: number, answer: () => T): Promise<T> {
    const batch = this.#batchOf(revision);
    return new Promise((resolve, reject) => {
      const done = (): void => {
        try {
          resolve(answer());
        } catch (error) {
          reject(error as Error);
        }
      };
      if (batch === undefined) done();
      else this.#wait(batch, { done, fail: reject });
    });
  }

  /** Runs a transaction. Its answer comes once the state it was computed on is durable. */
  async txn(request: TxnRequest): Promise<TxnResult> {
    this.#check();
    checkTxn(request);
    const run = new TxnRun(this.#txnStore);
    try {
      const answer = run.apply(request);
      const at = this.#pending;
      await this.#answer(at, () => undefined);
      return await answer(at);
    } finally {
      run.end();
    }
  }

  // ---- reading

  #checkRevision(revision: number | undefined, newest: number): void {
    if (revision === undefined || revision <= 0) return;
    if (revision > newest) throw new FutureRevisionError();
    if (revision < this.#compacted) throw new CompactedError(this.#compacted);
  }

  /** Keeps what a read at `revision` needs until the returned function is called. */
  #pin(revision: number): () => void {
    this.#pins.set(revision, (this.#pins.get(revision) ?? 0) + 1);
    let held = true;
    return () => {
      if (!held) return;
      held = false;
      const left = this.#pins.get(revision)! - 1;
      if (left > 0) this.#pins.set(revision, left);
      else this.#pins.delete(revision);
      if (this.#pins.size === 0 && this.#index.droppable(this.#compacted)) this.#clean();
    };
  }

  /** See `KeyValueStore.range`; takes all of etcd's options. */
  async range(query: RangeQuery): Promise<RangeResult> {
    this.#check();
    this.#checkRevision(query.revision, this.#durable);
    const now = this.#durable;
    const revision = query.revision || now;
    if (query.end === undefined) {
      const v = this.#index.at(query.key, revision);
      if (v === undefined) return { revision: now, kvs: [], count: 0, more: false };
      const picked = pickVersions(this.#index, query, revision);
      const kvs = query.countOnly ? [] : picked.versions.map((p) => this.#values.keyValue(p, query.keysOnly));
      return { revision: now, kvs, count: picked.count, more: picked.more };
    }
    const unpin = this.#pin(revision);
    try {
      const slice = new Slice(3);
      let picked: Picked | undefined;
      do {
        picked = pickVersions(this.#index, query, revision, slice, picked);
        if (picked.next !== undefined) await slice.turn();
      } while (picked.next !== undefined);
      return { revision: now, ...(await this.#finishRange(picked, query, slice)) };
    } finally {
      unpin();
    }
  }

  async #finishRange(picked: Picked, query: RangeQuery, slice = new Slice(3)): Promise<Omit<RangeResult, 'revision'>> {
    const { versions, count } = picked;
    if (query.countOnly) return { kvs: [], count, more: false };
    const byValue = query.target === 'value' && (query.order ?? 'none') !== 'none';
    const kvs: KeyValue[] = [];
    let bytes = 0;
    for (const v of versions) {
      kvs.push(this.#values.keyValue(v, query.keysOnly && !byValue));
      bytes += v.size;
      if (bytes < sliceBytes) continue;
      bytes = 0;
      if (slice.spent) {
        await slice.turn();
        this.#check();
      }
    }
    if (!byValue) return { kvs, count, more: picked.more };
    const sign = query.order === 'descend' ? -1 : 1;
    kvs.sort((a, b) => sign * Buffer.compare(a.value, b.value));
    const limited = query.limit ? kvs.slice(0, query.limit) : kvs;
    return {
      kvs: query.keysOnly ? limited.map((kv) => ({ ...kv, value: noValue })) : limited,
      count,
      more: limited.length < kvs.length,
    };
  }

  /** See `KeyValueStore.watch`; `end` may be `keysEnd`. */
  watch(request: StoreWatchRequest, sink: StoreWatchSink): PlacedWatch {
    const watch = this.#hub.watch(request.key, request.end, request.fromRevision ?? 0, sink);
    const failure = this.#failure;
    if (failure) {
      watch.close();
      queueMicrotask(() => sink.closed(failure));
    }
    return watch;
  }

  /** Tells lagging watches that nothing has happened; returns the durable revision. */
  progress(): number {
    this.#hub.progress(this.#durable);
    return this.#durable;
  }

  #replay(from: number, to: number, key: string, end: string, visit: (event: StoreEvent) => boolean): number {
    let next = to + 1;
    let enough = false;
    let seen = 0;
    let last = from;
    const slice = new Slice(2);
    this.#engine.scan(recordKey(from, 0), recordKey(to + 1, 0), (engineKey, record) => {
      const head = readHead(engineKey, record);
      if (enough && head.revision !== last) {
        next = head.revision;
        return false;
      }
      last = head.revision;
      if (head.key >= key && head.key < end) {
        const before = this.#index.before(head.key, head.revision);
        const value = head.deleted ? undefined : Buffer.from(readValue(record, head.revision, head.sub));
        const v = new Version(
          head.key,
          head.revision,
          head.sub,
          head.createRevision,
          head.version,
          head.lease,
          head.size,
          before,
          undefined,
        );
        if (!visit(this.#values.event(v, value))) enough = true;
      }
      if ((++seen & 63) === 0 && slice.spent) enough = true;
      return true;
    });
    return next;
  }

  // ---- leases

  /** Makes a lease; `id` undefined or `0` picks one. */
  async grantLease(ttlSeconds: number, id?: string): Promise<Lease> {
    this.#check();
    if (ttlSeconds > maxLeaseTtl) throw new LeaseTtlTooLargeError();
    let chosen = id;
    while (chosen === undefined || chosen === '0' || (id !== chosen && this.#lessor.get(chosen)))
      chosen = newId(this.#random);
    const lease = this.#lessor.grant(chosen, Math.max(Math.ceil(ttlSeconds), minLeaseTtl));
    this.#open.ops.push(leaseOp(lease.id, lease.ttl));
    await this.#flushed();
    return lease;
  }

  /** Ends a lease and deletes its keys in one revision. */
  async revokeLease(id: string): Promise<void> {
    this.#check();
    const lease = this.#lessor.get(id);
    if (lease === undefined) throw new LeaseNotFoundError();
    this.#revoke(lease);
    await this.#flushed();
  }

  #revoke(lease: Lease): void {
    const revision = this.#pending + 1;
    let sub = 0;
    for (const key of [...lease.keys].sort()) {
      const head = this.#index.head(key);
      if (head !== undefined && head.version !== 0) this.#write(key, undefined, undefined, revision, sub++);
    }
    this.#open.ops.push(leaseOp(lease.id, undefined));
    this.#lessor.remove(lease.id);
  }

  #expire(lease: Lease): void {
    if (this.#failure) return;
    this.#revoke(lease);
    this.#flush();
  }

  /** Renews a lease; returns its TTL in seconds. */
  keepAliveLease(id: string): number {
    this.#check();
    return this.#lessor.keepAlive(id);
  }

  /** The lease with its whole seconds left; undefined when there is none. */
  lease(id: string): { readonly lease: Lease; readonly remaining: number } | undefined {
    const lease = this.#lessor.get(id);
    return lease && { lease, remaining: this.#lessor.remaining(lease) };
  }

  leases(): string[] {
    return Array.from(this.#lessor.all(), (l) => l.id);
  }

  /** Resolves when everything pending now is durable. */
  #flushed(): Promise<void> {
    return new Promise((resolve, reject) => this.#wait(this.#open, { done: resolve, fail: reject }));
  }

  // ---- compaction

  /**
   * Makes revisions before `revision` unreadable and, in the background, gives their space back. Resolves when the
   * compaction is durable; with `physical` when the space has been given back.
   */
  async compact(revision: number, physical = false): Promise<void> {
    this.#check();
    if (revision <= this.#compacted) throw new CompactedError(this.#compacted);
    if (revision > this.#durable) throw new FutureRevisionError();
    this.#compacted = revision;
    this.#open.ops.push(metaOp('compact', { revision }));
    await this.#flushed();
    this.#clean();
    if (physical) await this.#cleaning;
  }

  #clean(): void {
    this.#cleaning ??= this.#cleanUp();
  }

  async #cleanUp(): Promise<void> {
    const done = this.#clock.activity.begin();
    const slice = new Slice();
    try {
      for (;;) {
        if (this.#failure) return;
        let to = this.#compacted;
        for (const pinned of this.#pins.keys()) to = Math.min(to, pinned);
        const ops: EngineOp[] = [];
        const n = this.#index.drop(to, stride, (v) =>
          ops.push({ key: recordKey(v.modRevision, v.sub), value: undefined }),
        );
        if (n === 0) return;
        for (const op of ops) this.#open.ops.push(op);
        // One flush a chunk, shared with whatever commits meanwhile.
        await this.#flushed();
        await slice.turn();
      }
    } catch (error) {
      if (!this.#failure) this.#fail(error as Error);
    } finally {
      this.#cleaning = undefined;
      done();
    }
  }

  /** Flushes what is pending and closes the engine; watches end. Closing twice is harmless. */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    this.#lessor.stop();
    this.#compactor.stop();
    while (this.#pumping && this.#failure === undefined) await this.#pumping;
    if (this.#failure === undefined) {
      this.#failure = new StoreClosedError();
      this.#stop(this.#failure);
    }
    await this.#cleaning;
    await this.#engine.close();
  }
}
