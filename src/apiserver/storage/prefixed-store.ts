/** `PrefixedStore`: `--etcd-prefix`: what the server knows under `/registry` lies under another prefix in the store. */
import type {
  CommitRequest,
  CommitResult,
  KeyValue,
  KeyValueStore,
  RangeRequest,
  RangeResult,
  StoreWatch,
  StoreWatchRequest,
  StoreWatchSink,
} from '../../etcd/store.ts';
import { DelegatingStore } from './delegating-store.ts';

const own = '/registry';

/** A prefix as upstream reads it: with a slash before and none behind. */
export function storagePrefix(text: string): string {
  const steps = text.split('/').filter((s) => s !== '' && s !== '.');
  return `/${steps.join('/')}`;
}

export class PrefixedStore extends DelegatingStore {
  readonly #root: string;
  readonly stale: KeyValueStore['stale'];

  /** `prefix`: as `storagePrefix` makes it. */
  constructor(inner: KeyValueStore, prefix: string) {
    super(inner);
    this.#root = prefix === '/' ? '' : prefix;
    if (inner.stale !== undefined) this.stale = (key) => inner.stale!(this.#there(key));
  }

  #there(key: string): string {
    return key.startsWith(own) ? this.#root + key.slice(own.length) : key;
  }

  #here(kv: KeyValue): KeyValue {
    return { ...kv, key: own + kv.key.slice(this.#root.length) };
  }

  override async range(request: RangeRequest): Promise<RangeResult> {
    const { key, end } = request;
    const found = await this.inner.range({
      ...request,
      key: this.#there(key),
      ...(end === undefined ? {} : { end: this.#there(end) }),
    });
    return { ...found, kvs: found.kvs.map((kv) => this.#here(kv)) };
  }

  override async commit(request: CommitRequest): Promise<CommitResult> {
    const result = await this.inner.commit({ ...request, key: this.#there(request.key) });
    if (result.ok) return result.previous === undefined ? result : { ...result, previous: this.#here(result.previous) };
    return result.current === undefined ? result : { ...result, current: this.#here(result.current) };
  }

  override watch(request: StoreWatchRequest, sink: StoreWatchSink): StoreWatch {
    const { key, end } = request;
    return this.inner.watch(
      { ...request, key: this.#there(key), ...(end === undefined ? {} : { end: this.#there(end) }) },
      {
        events: (events, revision) =>
          sink.events(
            events.map((e) => ({
              type: e.type,
              kv: this.#here(e.kv),
              previous: e.previous === undefined ? undefined : this.#here(e.previous),
            })),
            revision,
          ),
        progress: (revision) => sink.progress(revision),
        closed: (error) => sink.closed(error),
      },
    );
  }
}
