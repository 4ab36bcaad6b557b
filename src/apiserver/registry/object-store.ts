/** One resource's objects in the store: read the newest, compare and commit, delete; the watch cache is told what to expect. */
import type { KubeObject } from '../../api/object.ts';
import { StatusError } from '../../api/status.ts';
import type { KeyValue, KeyValueStore } from '../../etcd/store.ts';
import { StoredObject } from '../storage/codec.ts';
import type { StorageLayout } from '../storage/codec.ts';
import { KeyQueue } from './key-queue.ts';
import type { WatchCache } from '../storage/watch-cache.ts';

/** etcd's limit on a request. */
const maxObjectBytes = 1.5 * 1024 * 1024;
/** What upstream's client of etcd sends at most: more does not even get there. */
const maxSentBytes = 2 * 1024 * 1024;

export interface Current {
  readonly object: StoredObject | undefined;
  /** False: it comes from a cache that may lag behind the store. */
  readonly fresh: boolean;
}

export type Written =
  | { readonly ok: true; readonly object: StoredObject }
  /** Somebody was faster; what is there now. */
  | { readonly ok: false; readonly current: StoredObject | undefined };

export class ObjectStore {
  readonly layout: StorageLayout;
  readonly cache: WatchCache;
  /** Writers that lost a race. */
  readonly queue = new KeyQueue();
  readonly #store: KeyValueStore;
  /** Objects go through a conversion webhook on their way. */
  readonly converts: boolean;

  constructor(store: KeyValueStore, layout: StorageLayout, cache: WatchCache, converts = false) {
    this.#store = store;
    this.converts = converts;
    this.layout = layout;
    this.cache = cache;
  }

  /** The newest state that is at hand. */
  read(key: string): Current | Promise<Current> {
    if (this.cache.current) return { object: this.cache.get(key), fresh: true };
    if (this.cache.ready) {
      const object = this.cache.get(key);
      if (object !== undefined) return { object, fresh: false };
    }
    return this.readFresh(key);
  }

  /** The newest state of all. */
  async readFresh(key: string): Promise<Current> {
    const { kvs } = await this.#store.range({ key });
    return { object: this.#stored(kvs[0]), fresh: true };
  }

  #stored(kv: KeyValue | undefined): StoredObject | undefined {
    if (kv === undefined) return undefined;
    const cached = this.cache.get(kv.key);
    if (cached?.revision === kv.modRevision) return cached;
    return this.layout.read(kv.key, kv.modRevision, kv.value);
  }

  /** Writes if the key is still at `expected` (0: does not exist). `object` is of the storage version and canonical. */
  async put(key: string, expected: number, object: KubeObject, bytes: Buffer, lease?: string): Promise<Written> {
    const stored = this.layout.stored(object, bytes);
    if (stored.length > maxObjectBytes) {
      const sent = stored.length + 2 * key.length;
      const message =
        sent > maxSentBytes
          ? `rpc error: code = ResourceExhausted desc = trying to send message larger than max (${sent} vs. ${maxSentBytes})`
          : 'etcdserver: request is too large';
      throw new StatusError(413, 'RequestEntityTooLarge', message);
    }
    // What is read otherwise than it is written comes as if somebody else had written it.
    const shown = this.layout.shown(object);
    const asWritten = shown === object;
    if (asWritten) this.cache.expect(key, stored, bytes, object);
    try {
      const result = await this.#store.commit({ key, expectModRevision: expected, value: stored, lease });
      if (!result.ok) return { ok: false, current: this.#stored(result.current) };
      let cached = this.cache.get(key);
      if (cached?.revision !== result.revision && this.converts) {
        // What comes out may differ from what went in.
        if (this.cache.ready) await this.cache.waitFor(result.revision);
        cached = this.cache.ready ? this.cache.get(key) : (await this.readFresh(key)).object;
      }
      if (cached?.revision === result.revision) return { ok: true, object: cached };
      const written = new StoredObject(
        this.layout,
        key,
        result.revision,
        asWritten ? bytes : this.layout.encode(shown),
      );
      written.foreign = !asWritten;
      written.adopt(shown);
      return { ok: true, object: written };
    } finally {
      this.cache.forget(key, bytes);
    }
  }

  /** Whether an object should be written although nothing changes (see `KeyValueStore.stale`). */
  stale(current: StoredObject): Promise<boolean> | boolean {
    return current.foreign || (this.#store.stale?.(current.key) ?? false);
  }

  /** Deletes if the key is still at `current`; answers with the last state at the revision of its deletion. */
  async remove(current: StoredObject): Promise<Written> {
    const result = await this.#store.commit({
      key: current.key,
      expectModRevision: current.revision,
      value: undefined,
    });
    if (!result.ok) return { ok: false, current: this.#stored(result.current) };
    return { ok: true, object: current.withRevision(result.revision) };
  }

  /** What a dry run would have stored. */
  unstored(key: string, revision: number, object: KubeObject): StoredObject {
    const shown = this.layout.shown(object);
    const stored = new StoredObject(this.layout, key, revision, this.layout.encode(shown));
    stored.adopt(shown);
    return stored;
  }
}
