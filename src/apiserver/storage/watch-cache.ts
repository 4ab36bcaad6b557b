/**
 * The watch cache of one resource: one watch of the store feeds an ordered tree and a window of events. Reads walk a root of
 * the tree; watchers follow the window. It starts on first use and starts again by itself when its watch breaks.
 */
import { ioNow, ioTimer } from '../../base/io-time.ts';
import type { Clock } from '../../base/clock.ts';
import type { Logger } from '../../base/logger.ts';
import { macrotask, Slice } from '../../base/yield.ts';
import type { KubeObject } from '../../api/object.ts';
import { badRequest, resourceExpired, serviceUnavailable } from '../../api/status.ts';
import type { StatusError } from '../../api/status.ts';
import { CompactedError } from '../../etcd/store.ts';
import type { KeyValueStore, StoreEvent, StoreWatch } from '../../etcd/store.ts';
import { Distribution } from '../metrics/exposition.ts';
import type { Committed } from '../request.ts';
import { Arena } from './arena.ts';
import { Bookmark } from './bookmark.ts';
import { StoredObject } from './codec.ts';
import type { StorageLayout } from './codec.ts';
import {
  decodeContinue,
  encodeContinue,
  expiredContinue,
  expiredList,
  parseResourceVersion,
  tooLargeResourceVersion,
} from './continue.ts';
import { Dispatcher } from './dispatch.ts';
import { firstDifference } from './consistency.ts';
import { EventLog, LogEvent } from './event-log.ts';
import { prefixEnd } from './keys.ts';
import type { Selection } from './selection.ts';
import { Tree } from './tree.ts';
import { FieldIndex } from './view.ts';
import type { View } from './view.ts';
import { Watcher } from './watcher.ts';
import type { WatcherHost } from './watcher.ts';

export interface WatchCacheOptions {
  readonly layout: StorageLayout;
  readonly store: KeyValueStore;
  readonly clock: Clock;
  readonly logger: Logger;
  /** Field label that lists and watches are indexed by (`spec.nodeName`). */
  readonly indexField?: string;
  /**
   * The store delivers events before it acknowledges a write, and nobody else writes: what is cached is always current.
   */
  readonly embedded: boolean;
  readonly windowBytes: number;
  readonly windowMs: number;
  /** How often it is held against the store, cluster time; undefined: never. */
  readonly checkEveryMs?: number | undefined;
}

export interface ListQuery {
  readonly limit: number;
  readonly continue: string;
  readonly resourceVersion: string;
  readonly resourceVersionMatch: string;
}

export interface ListResult {
  readonly resourceVersion: string;
  readonly continue?: string;
  readonly remainingItemCount?: number;
  readonly items: Iterable<StoredObject> & { readonly count?: number };
}

export interface WatchQuery {
  readonly resourceVersion: string;
  readonly sendInitialEvents: boolean | undefined;
  readonly allowWatchBookmarks: boolean;
}

export type Follower = (type: 'put' | 'delete', object: StoredObject) => void;

/** How long a reader waits for a revision that has not been seen yet. */
const freshnessMs = 3000;
/** How long the cache itself does when it begins: a store that starts at the same time may take its time. */
const loadMs = 30_000;
/** So long it is believed that the store has not dropped what it had. */
const uncompactedMs = 10_000;
const loadPage = 1000;

interface Waiter {
  readonly revision: number;
  readonly resolve: () => void;
}

/** Buckets of the time that reads wait for a cache, seconds. */
export const readWaitBounds = [0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1, 1.25, 1.5, 2, 3];

/** Revisions that are gone through at most for a watch that begins in the past. */
const maxReplayed = 10_000;

export class WatchCache implements WatcherHost {
  readonly layout: StorageLayout;
  readonly clock: Clock;
  readonly #options: WatchCacheOptions;
  readonly #store: KeyValueStore;
  readonly #logger: Logger;
  readonly #embedded: boolean;
  readonly #windowBytes: number;
  readonly #windowMs: number;
  readonly #indexField: string | undefined;
  readonly #index: FieldIndex | undefined;
  readonly #dispatcher: Dispatcher;
  readonly #followers = new Set<Follower>();
  readonly #watchers = new Set<Watcher>();
  readonly #expected = new Map<string, { stored: Buffer; bytes: Buffer; object: KubeObject }>();
  #tree = new Tree<StoredObject>();
  #arena = new Arena();
  #log: EventLog;
  #revision = 0;
  /** A revision that the store had when it was asked. */
  #uncompacted = { revision: Number.POSITIVE_INFINITY, at: 0 };
  #ready = false;
  #closed = false;
  #starting: Promise<void> | undefined;
  #watch: StoreWatch | undefined;
  #nextCheck = 0;
  #waiters: Waiter[] = [];
  /**
   * For metrics: how often it was filled, events that came and went on, lists that it answered with what they looked at and gave,
   * objects that watches began with, consistent reads that did and did not succeed.
   */
  readonly counted = {
    initializations: 0,
    received: 0,
    dispatched: 0,
    lists: 0,
    fetched: 0,
    returned: 0,
    initial: 0,
    consistent: 0,
    inconsistent: 0,
    /** Comparisons with the store by what came of them. */
    checks: { success: 0, failure: 0, error: 0 },
    /** Watchers that could not keep up. */
    terminated: 0,
  };

  /** How long consistent reads waited; undefined before the first. */
  waits: Distribution | undefined;

  constructor(options: WatchCacheOptions) {
    this.#options = options;
    this.layout = options.layout;
    this.clock = options.clock;
    this.#store = options.store;
    this.#logger = options.logger;
    this.#embedded = options.embedded;
    this.#windowBytes = options.windowBytes;
    this.#windowMs = options.windowMs;
    this.#indexField = options.indexField;
    this.#index = options.indexField === undefined ? undefined : new FieldIndex(options.indexField);
    this.#dispatcher = new Dispatcher(options.indexField);
    this.#log = this.#newLog();
  }

  get log(): EventLog {
    return this.#log;
  }

  get revision(): number {
    return this.#revision;
  }

  /** True when `get` can be trusted to be as new as the last finished write (embedded stores only). */
  get current(): boolean {
    return this.#ready && this.#embedded;
  }

  get ready(): boolean {
    return this.#ready;
  }

  get size(): number {
    return this.#tree.size;
  }

  /** Bytes of the newest state. */
  get bytes(): number {
    return this.#arena.size;
  }

  get closed(): boolean {
    return this.#closed;
  }

  get watcherCount(): number {
    return this.#watchers.size;
  }

  #newLog(): EventLog {
    return new EventLog({
      maxBytes: this.#windowBytes,
      maxAgeMs: this.#windowMs,
      revision: this.#revision,
      snapshot: this.#tree.snapshot(),
    });
  }

  // Feeding --------------------------------------------------------------------------------------------------------------

  /**
   * Reads the resource and begins to follow it; the same promise for everybody who asks meanwhile. `since`: a watch from that
   * revision waits, so that what came after it has to be known, where it is not too much.
   */
  start(since = 0): Promise<void> {
    if (this.#ready) return Promise.resolve();
    if (this.#closed) return Promise.reject(serviceUnavailable('the server is shutting down'));
    this.#starting ??= this.clock.activity.track(
      this.#load(since).finally(() => {
        this.#starting = undefined;
      }),
    );
    return this.#starting;
  }

  async #load(since: number): Promise<void> {
    if (since > 0) {
      const now = await this.#store.currentRevision();
      if (since < now && now - since <= maxReplayed)
        try {
          await this.#loadAt(since);
          return;
        } catch (error) {
          if (!(error instanceof CompactedError)) throw error;
        }
    }
    await this.#loadAt(0);
  }

  /** `at`: the revision to begin with; 0: the newest. */
  async #loadAt(at: number): Promise<void> {
    const { prefix } = this.layout;
    const end = prefixEnd(prefix);
    const slice = new Slice();
    const entries: StoredObject[] = [];
    const arena = new Arena();
    let revision = at;
    for (let from = prefix; ;) {
      const page = await this.#store.range({ key: from, end, limit: loadPage, revision, uncounted: true });
      revision ||= page.revision;
      for (const kv of page.kvs) {
        const object = this.#stored(kv.key, kv.modRevision, kv.value);
        // The index needs the field of every object: looked up here, where there is time between.
        if (this.#indexField !== undefined) object.field(this.#indexField);
        arena.add(object);
        entries.push(object);
        if (slice.spent) await slice.turn();
      }
      if (!page.more || page.kvs.length === 0) break;
      from = `${page.kvs[page.kvs.length - 1]!.key}\0`;
    }
    this.#replace(entries, arena, revision);
    this.#watch = this.#store.watch(
      { key: prefix, end, fromRevision: revision + 1 },
      {
        events: (events, upTo) => this.#events(events, upTo),
        progress: (upTo) => this.#advance(upTo),
        closed: (error) => this.#broken(error),
      },
    );
    // What was written since the read has to arrive before this state can be called current.
    await this.waitFor(await this.#store.currentRevision(), loadMs);
    if (this.#closed) throw serviceUnavailable('the server is shutting down');
    this.#ready = true;
    this.counted.initializations++;
  }

  #stored(key: string, revision: number, value: Buffer): StoredObject {
    const expected = this.#expected.get(key);
    if (expected !== undefined && (expected.stored === value || expected.stored.equals(value))) {
      const object = new StoredObject(
        this.layout,
        key,
        revision,
        expected.stored === expected.bytes ? value : expected.bytes,
      );
      object.adopt(expected.object);
      return object;
    }
    try {
      return this.layout.read(key, revision, value);
    } catch (error) {
      this.#logger.error('an object in the store cannot be read', { key, error });
      return new StoredObject(this.layout, key, revision, value);
    }
  }

  /** Takes over a whole new state; followers hear of the differences. */
  #replace(entries: readonly StoredObject[], arena: Arena, revision: number): void {
    const before = this.#tree.snapshot();
    this.#arena = arena;
    this.#tree = Tree.fromSorted(entries);
    this.#revision = revision;
    this.#log = this.#newLog();
    if (this.#index !== undefined) {
      this.#index.clear();
      for (const e of entries) this.#index.update(e, undefined);
    }
    if (this.#followers.size > 0) {
      for (const old of before.range('', undefined)) {
        if (this.#tree.get(old.key) === undefined) this.#tell('delete', old.withRevision(revision));
      }
      for (const e of entries) if (before.get(e.key)?.revision !== e.revision) this.#tell('put', e);
    }
    this.#wakeWaiters();
  }

  #events(events: readonly StoreEvent[], upTo: number): void {
    const now = this.clock.now();
    this.counted.received += events.length;
    for (const { type, kv } of events) {
      let event: LogEvent;
      if (type === 'put') {
        const current = this.#stored(kv.key, kv.modRevision, kv.value);
        this.#arena.add(current);
        const previous = this.#tree.set(current);
        event = new LogEvent(kv.modRevision, now, current, previous);
      } else {
        const previous = this.#tree.delete(kv.key);
        if (previous === undefined) continue;
        event = new LogEvent(kv.modRevision, now, undefined, previous);
      }
      if (event.previous !== undefined) this.#arena.remove(event.previous);
      this.#revision = kv.modRevision;
      this.#index?.update(event.current, event.previous);
      this.#log.append(event, this.#tree);
      if (this.#followers.size > 0) {
        if (event.current === undefined) this.#tell('delete', event.deleted().committed as StoredObject);
        else this.#tell('put', event.current);
      }
      this.counted.dispatched++;
      this.#dispatcher.dispatch(event);
    }
    this.#advance(upTo);
    this.#dispatcher.flush();
  }

  #tell(type: 'put' | 'delete', object: StoredObject): void {
    for (const follower of this.#followers) {
      try {
        follower(type, object);
      } catch (error) {
        this.#logger.error('a follower of a resource failed', { key: object.key, error });
      }
    }
  }

  #advance(revision: number): void {
    if (revision <= this.#revision && this.#waiters.length === 0) return;
    this.#revision = Math.max(this.#revision, revision);
    this.#wakeWaiters();
  }

  #wakeWaiters(): void {
    if (this.#waiters.length === 0) return;
    const woken = this.#waiters.filter((w) => w.revision <= this.#revision);
    if (woken.length === 0) return;
    this.#waiters = this.#waiters.filter((w) => w.revision > this.#revision);
    for (const w of woken) w.resolve();
  }

  /** The store's watch ended: everybody starts again from a fresh read. */
  #broken(error: Error): void {
    if (this.#closed) return;
    this.#ready = false;
    this.#watch = undefined;
    const level = error instanceof CompactedError ? 'info' : 'warn';
    this.#logger[level]('watch of the store ended, reading again', { prefix: this.layout.prefix, error });
    for (const watcher of [...this.#watchers]) watcher.close();
    void this.#restart();
  }

  async #restart(): Promise<void> {
    for (let wait = 100; !this.#closed; wait = Math.min(wait * 2, 10_000)) {
      try {
        await this.start();
        return;
      } catch (error) {
        if (this.#closed) return;
        this.#logger.warn('cannot read a resource from the store', { prefix: this.layout.prefix, error });
        await new Promise<void>((resolve) => ioTimer(wait, resolve));
      }
    }
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#ready = false;
    this.#watch?.close();
    for (const watcher of [...this.#watchers]) watcher.close();
    this.#followers.clear();
    for (const w of this.#waiters.splice(0)) w.resolve();
  }

  /** A write of `bytes`, made of `object`, is on its way as `stored`: its event need not be read. Ends with `forget`. */
  expect(key: string, stored: Buffer, bytes: Buffer, object: KubeObject): void {
    this.#expected.set(key, { stored, bytes, object });
  }

  forget(key: string, bytes: Buffer): void {
    if (this.#expected.get(key)?.bytes === bytes) this.#expected.delete(key);
  }

  /** Bookmarks and the end of what is too old; called about once a minute. */
  async tick(): Promise<void> {
    this.#log.trim(this.clock.now());
    const slice = new Slice();
    for (const watcher of [...this.#watchers]) {
      watcher.offerBookmark(this.#revision);
      if (slice.spent) await slice.turn();
    }
    await this.#checkConsistency();
  }

  // Consistency ----------------------------------------------------------------------------------------------------------

  /**
   * Every few minutes what is cached of a store that others write, too, is held against the store at the same revision, key by key.
   * A cache that is wrong is told of and reads everything again.
   */
  async #checkConsistency(): Promise<void> {
    const { checkEveryMs } = this.#options;
    if (this.#embedded || checkEveryMs === undefined || this.clock.monotonic() < this.#nextCheck) return;
    const first = this.#nextCheck === 0;
    this.#nextCheck = this.clock.monotonic() + checkEveryMs;
    if (first) return;
    const watch = this.#watch;
    let difference: string | undefined;
    try {
      const cached = this.#tree.snapshot().range('', undefined);
      difference = await firstDifference(this.#store, this.layout.prefix, this.#revision, cached);
    } catch (error) {
      this.counted.checks.error++;
      this.#logger.warn('a watch cache could not be compared with the store', { prefix: this.layout.prefix, error });
      return;
    }
    if (difference === undefined) {
      this.counted.checks.success++;
      return;
    }
    this.counted.checks.failure++;
    this.#logger.error('a watch cache is not what the store has', { prefix: this.layout.prefix, key: difference });
    if (watch === undefined || watch !== this.#watch) return;
    watch.close();
    this.#broken(new Error('the watch cache is not what the store has'));
  }

  // Freshness ------------------------------------------------------------------------------------------------------------

  /**
   * Waits until everything up to `revision` is known.
   * @throws {StatusError} 504 "Too large resource version"
   */
  async waitFor(revision: number, timeoutMs = freshnessMs): Promise<void> {
    if (revision <= this.#revision) return;
    if (this.#closed) throw serviceUnavailable('the server is shutting down');
    await new Promise<void>((resolve, reject) => {
      const waiter: Waiter = {
        revision,
        resolve: () => {
          cancel();
          resolve();
        },
      };
      const cancel = ioTimer(timeoutMs, () => {
        this.#waiters = this.#waiters.filter((w) => w !== waiter);
        reject(tooLargeResourceVersion(revision, this.#revision));
      });
      this.#waiters.push(waiter);
      // Asking makes a store that has nothing new for this resource say so; where it cannot, the waiter's time runs out.
      void this.#store.currentRevision().catch(() => {});
    });
  }

  /** Waits until everything that was durable when this was called is known. */
  async consistent(): Promise<void> {
    if (!this.#ready) await this.start();
    const began = ioNow();
    try {
      await this.waitFor(await this.#store.currentRevision());
      this.waits ??= new Distribution(readWaitBounds);
      this.waits.observe((ioNow() - began) / 1000);
      this.counted.consistent++;
    } catch (error) {
      this.counted.inconsistent++;
      throw error;
    }
  }

  // Reading --------------------------------------------------------------------------------------------------------------

  /** From what is cached now. */
  get(key: string): StoredObject | undefined {
    return this.#tree.get(key);
  }

  /** Everything now, in key order. */
  all(from: string, end: string | undefined): Iterable<StoredObject> {
    const snapshot = this.#tree.snapshot();
    return { [Symbol.iterator]: () => snapshot.range(from, end) };
  }

  #currentView(selection: Selection): View {
    if (this.#index !== undefined) {
      const value = selection.exactField(this.#indexField!);
      if (value !== undefined) return this.#index.view(value);
    }
    return this.#tree.snapshot();
  }

  /** A list with upstream's meaning of resourceVersion, resourceVersionMatch, limit and continue. */
  async list(selection: Selection, query: ListQuery): Promise<ListResult> {
    this.counted.lists++;
    if (!this.#ready) await this.start();
    const match = query.resourceVersionMatch;
    const prefix = this.layout.namespacePrefix(selection.namespace);
    const goesOn = query.continue !== '' && selection.single === undefined;
    const revision = goesOn ? 0 : parseResourceVersion(query.resourceVersion);
    if (goesOn) {
      const token = decodeContinue(query.continue, prefix);
      if (query.resourceVersion !== '' && query.resourceVersion !== '0')
        throw badRequest('specifying resource version is not allowed when using continue');
      if (token.revision > 0) return this.#exact(selection, token.revision, token.startKey, query.limit, true);
      await this.consistent();
      return this.#page(this.#currentView(selection), selection, this.#revision, token.startKey, query.limit);
    }
    const legacyExact = match === '' && query.limit > 0 && revision > 0;
    if (match === 'Exact' || legacyExact) {
      return this.#exact(selection, revision, selection.from, query.limit, false);
    }
    if (query.resourceVersion === '') await this.consistent();
    else await this.waitFor(revision);
    const limit = query.resourceVersion === '0' ? 0 : query.limit;
    return this.#page(this.#currentView(selection), selection, this.#revision, selection.from, limit);
  }

  async #exact(
    selection: Selection,
    revision: number,
    from: string,
    limit: number,
    paging: boolean,
  ): Promise<ListResult> {
    await this.waitFor(revision);
    const gone = (): StatusError =>
      paging ? expiredContinue(from, this.layout.namespacePrefix(selection.namespace)) : expiredList();
    // What the store has dropped is gone, whatever is still known of it here: all servers of a store answer alike.
    if (revision < this.#revision && (await this.#isCompacted(revision))) throw gone();
    if (revision >= this.#log.last) return this.#page(this.#currentView(selection), selection, revision, from, limit);
    const snapshot = this.#log.snapshotAt(revision);
    if (snapshot !== undefined) return this.#page(snapshot, selection, revision, from, limit);
    try {
      return await this.#listFromStore(selection, revision, from, limit);
    } catch (error) {
      if (!(error instanceof CompactedError)) throw error;
      throw gone();
    }
  }

  /** Whether the store has no history of this revision any more; asked every few seconds alone. */
  async #isCompacted(revision: number): Promise<boolean> {
    const known = this.#uncompacted;
    const now = this.clock.now();
    if (revision >= known.revision && now - known.at < uncompactedMs) return false;
    const { prefix } = this.layout;
    try {
      await this.#store.range({ key: prefix, end: prefixEnd(prefix), revision, limit: 1 });
    } catch (error) {
      if (error instanceof CompactedError) return true;
      throw error;
    }
    this.#uncompacted = { revision, at: now };
    return false;
  }

  async #page(view: View, selection: Selection, revision: number, from: string, limit: number): Promise<ListResult> {
    const resourceVersion = String(revision);
    const start = from > selection.from ? from : selection.from;
    if (limit === 0 && selection.unrestricted) {
      const count = view.count(start, selection.end);
      this.counted.fetched += count;
      this.counted.returned += count;
      return { resourceVersion, items: { count, [Symbol.iterator]: () => view.range(start, selection.end) } };
    }
    const slice = new Slice();
    const items: StoredObject[] = [];
    let more = false;
    for (const object of view.range(start, selection.end)) {
      if (limit > 0 && items.length >= limit) {
        more = true;
        break;
      }
      this.counted.fetched++;
      if (selection.matches(object)) items.push(object);
      if (slice.spent) await slice.turn();
    }
    this.counted.returned += items.length;
    if (!more) return { resourceVersion, items };
    const last = items[items.length - 1]!;
    return {
      resourceVersion,
      continue: encodeContinue(`${last.key}\0`, this.layout.namespacePrefix(selection.namespace), revision),
      ...(selection.unrestricted ? { remainingItemCount: view.count(start, selection.end) - items.length } : {}),
      items,
    };
  }

  /** A state from before the window, as long as the store still has it. */
  async #listFromStore(selection: Selection, revision: number, start: string, limit: number): Promise<ListResult> {
    const items: StoredObject[] = [];
    let more = false;
    let remaining = 0;
    let from = start > selection.from ? start : selection.from;
    while (!more) {
      const page = await this.#store.range({ key: from, end: selection.end, revision, limit: loadPage });
      let seen = 0;
      for (const kv of page.kvs) {
        if (limit > 0 && items.length >= limit) {
          more = true;
          remaining = page.count - seen;
          break;
        }
        seen++;
        const object = this.#stored(kv.key, kv.modRevision, kv.value);
        if (selection.matches(object)) items.push(object);
        from = `${kv.key}\0`;
      }
      if (!page.more || more) break;
      await macrotask();
    }
    const resourceVersion = String(revision);
    if (!more) return { resourceVersion, items };
    const prefix = this.layout.namespacePrefix(selection.namespace);
    return {
      resourceVersion,
      continue: encodeContinue(`${items[items.length - 1]!.key}\0`, prefix, revision),
      ...(selection.unrestricted ? { remainingItemCount: remaining } : {}),
      items,
    };
  }

  // Watching -------------------------------------------------------------------------------------------------------------

  /** A watch with upstream's meaning of resourceVersion and sendInitialEvents. What fails after this is an ERROR event. */
  async watch(selection: Selection, query: WatchQuery): Promise<Watcher> {
    const asked = parseResourceVersion(query.resourceVersion, '');
    if (!this.#ready) await this.start(asked);
    const { sendInitialEvents: initial } = query;
    let failure: StatusError | undefined;
    if (query.resourceVersion === '') await this.consistent();
    else if (initial === true) {
      await this.waitFor(asked).catch((error: unknown) => {
        failure = error as StatusError;
      });
    }
    const withState = initial === true || (initial === undefined && asked === 0);
    const watcher = new Watcher(this, {
      selection,
      initial: withState ? this.#currentView(selection) : undefined,
      after: withState || asked === 0 ? this.#revision : asked,
      bookmarks: query.allowWatchBookmarks,
      initialEventsEnd: initial === true && query.allowWatchBookmarks,
    });
    this.#watchers.add(watcher);
    watcher.onClose(() => this.#watchers.delete(watcher));
    if (this.#closed) watcher.close();
    else if (failure !== undefined) watcher.fail(failure);
    return watcher;
  }

  join(watcher: Watcher): void {
    this.#dispatcher.add(watcher);
  }

  leave(watcher: Watcher): void {
    this.#dispatcher.remove(watcher);
  }

  bookmark(revision: number, initialEventsEnd: boolean): Committed {
    return new Bookmark(this.layout, revision, initialEventsEnd);
  }

  /** Hears of everything that exists, then of each change, synchronously and in revision order. */
  async follow(follower: Follower): Promise<() => void> {
    if (!this.#ready) await this.start();
    if (this.#closed) throw resourceExpired('the server is shutting down');
    for (const object of this.#tree.snapshot().range('', undefined)) follower('put', object);
    this.#followers.add(follower);
    return () => this.#followers.delete(follower);
  }
}
