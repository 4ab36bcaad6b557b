/**
 * `EncryptedStore`: a store whose values are encrypted on their way in and decrypted on their way out. Order and visibility stay
 * the inner store's: an event is handed on before the write that made it is acknowledged, also where its key has to be asked for.
 */
import { internalError } from '../../../api/status.ts';
import { Slice } from '../../../base/yield.ts';
import type {
  CommitRequest,
  CommitResult,
  KeyValue,
  KeyValueStore,
  RangeRequest,
  RangeResult,
  StoreEvent,
  StoreWatch,
  StoreWatchRequest,
  StoreWatchSink,
} from '../../../etcd/store.ts';
import { DelegatingStore } from '../delegating-store.ts';
import type { Encryption } from './encryption.ts';

function unreadable(key: string, error: unknown): Error {
  const why = error instanceof Error ? error.message : String(error);
  return internalError(new Error(`unable to transform key ${JSON.stringify(key)}: ${why}`, { cause: error }));
}

export class EncryptedStore extends DelegatingStore {
  readonly #encryption: Encryption;
  /** Watches whose events wait for a key. */
  readonly #late = new Set<Promise<void>>();

  constructor(inner: KeyValueStore, encryption: Encryption) {
    super(inner);
    this.#encryption = encryption;
  }

  #open(kv: KeyValue): KeyValue | Promise<KeyValue> {
    const { key, value } = kv;
    try {
      const found = this.#encryption.transformer(key).decrypt(value, key);
      if (!(found instanceof Promise)) return found.value === value ? kv : { ...kv, value: found.value };
      return found.then(
        (f) => ({ ...kv, value: f.value }),
        (error: unknown) => {
          throw unreadable(key, error);
        },
      );
    } catch (error) {
      throw unreadable(key, error);
    }
  }

  override async range(request: RangeRequest): Promise<RangeResult> {
    const result = await this.inner.range(request);
    if (request.keysOnly === true || result.kvs.length === 0) return result;
    const slice = new Slice();
    const kvs: KeyValue[] = [];
    for (const kv of result.kvs) {
      const opened = this.#open(kv);
      kvs.push(opened instanceof Promise ? await opened : opened);
      if (slice.spent) await slice.turn();
    }
    return { ...result, kvs };
  }

  override async commit(request: CommitRequest): Promise<CommitResult> {
    const { key, value } = request;
    let sealed = value;
    if (value !== undefined)
      try {
        sealed = await this.#encryption.transformer(key).encrypt(value, key);
      } catch (error) {
        throw unreadable(key, error);
      }
    const result = await this.inner.commit({ ...request, value: sealed });
    while (this.#late.size > 0) await Promise.all(this.#late);
    // Nobody here asks what was there before, and it may be beyond reading.
    if (result.ok) return result.previous === undefined ? result : { ...result, previous: undefined };
    return result.current === undefined ? result : { ...result, current: await this.#open(result.current) };
  }

  /** Whether a write should happen although nothing changes: the value is encrypted with what is no longer written with. */
  async stale(key: string): Promise<boolean> {
    const { kvs } = await this.inner.range({ key });
    if (kvs.length === 0) return false;
    try {
      return (await this.#encryption.transformer(key).decrypt(kvs[0]!.value, key)).stale;
    } catch (error) {
      throw unreadable(key, error);
    }
  }

  override watch(request: StoreWatchRequest, sink: StoreWatchSink): StoreWatch {
    let ended = false;
    let last: Promise<void> | undefined;
    const inner = this.inner.watch(request, {
      events: (events, revision) => {
        later(() => {
          const opened = this.#events(events);
          if (!(opened instanceof Promise)) return void (ended || sink.events(opened, revision));
          return opened.then((all) => void (ended || sink.events(all, revision)));
        });
      },
      progress: (revision) => later(() => void (ended || sink.progress(revision))),
      closed: (error) => later(() => fail(error)),
    });
    const fail = (error: Error): void => {
      if (ended) return;
      ended = true;
      sink.closed(error);
    };
    /** At once, or behind what still waits. What cannot be read ends the watch. */
    const later = (deliver: () => void | Promise<void>): void => {
      const broken = (error: unknown): void => {
        inner.close();
        fail(error as Error);
      };
      let work: void | Promise<void>;
      if (last === undefined) {
        try {
          work = deliver();
        } catch (error) {
          broken(error);
          return;
        }
        if (work === undefined) return;
      } else work = last.then(deliver);
      const done: Promise<void> = work.catch(broken).finally(() => {
        this.#late.delete(done);
        if (last === done) last = undefined;
      });
      last = done;
      this.#late.add(done);
    };
    return {
      close: () => {
        ended = true;
        inner.close();
      },
    };
  }

  #events(events: readonly StoreEvent[]): readonly StoreEvent[] | Promise<readonly StoreEvent[]> {
    const out: (StoreEvent | Promise<StoreEvent>)[] = [];
    let waits = false;
    for (const event of events) {
      const kv = event.type === 'put' ? this.#open(event.kv) : event.kv;
      // What the value was before is known to whoever follows; here it would have to be decrypted in vain.
      if (kv instanceof Promise) {
        waits = true;
        out.push(kv.then((opened) => ({ type: event.type, kv: opened, previous: undefined })));
      } else out.push({ type: event.type, kv, previous: undefined });
    }
    return waits ? Promise.all(out) : (out as StoreEvent[]);
  }

  override async currentRevision(): Promise<number> {
    const revision = await this.inner.currentRevision();
    while (this.#late.size > 0) await Promise.all(this.#late);
    return revision;
  }
}
