/** `MeteredStore`: a store whose requests and events are counted and timed, with upstream's names. */
import { ioNow } from '../../base/io-time.ts';
import type {
  CommitRequest,
  CommitResult,
  KeyValueStore,
  RangeRequest,
  RangeResult,
  StoreWatch,
  StoreWatchRequest,
  StoreWatchSink,
} from '../../etcd/store.ts';
import { HistogramVector, Vector } from '../metrics/exposition.ts';
import type { Distribution, Family, Labels, Value } from '../metrics/exposition.ts';
import { DelegatingStore } from './delegating-store.ts';
import type { GroupResource, ResourceOfKey } from './resource-of-key.ts';

const buckets = [0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1, 1.25, 1.5, 2, 3, 4, 5, 6, 8, 10, 15, 20, 30, 45, 60];

interface Counted {
  readonly requests: Value;
  readonly seconds: Distribution;
  readonly errors: () => Value;
}

export class MeteredStore extends DelegatingStore {
  readonly #resource: ResourceOfKey;
  readonly #seconds = new HistogramVector(
    'etcd_request_duration_seconds',
    'Etcd request latency in seconds for each operation and object type.',
    buckets,
  );
  readonly #requests = new Vector(
    'counter',
    'etcd_requests_total',
    'Etcd request counts for each operation and object type.',
  );
  readonly #errors = new Vector(
    'counter',
    'etcd_request_errors_total',
    'Etcd failed request counts for each operation and object type.',
  );
  readonly #events = new Vector(
    'counter',
    'apiserver_storage_events_received_total',
    'Number of etcd events received split by kind.',
  );
  readonly #lists = new Vector(
    'counter',
    'apiserver_storage_list_total',
    'Number of LIST requests served from storage',
  );
  readonly #fetched = new Vector(
    'counter',
    'apiserver_storage_list_fetched_objects_total',
    'Number of objects read from storage in the course of serving a LIST request',
  );
  readonly #evaluated = new Vector(
    'counter',
    'apiserver_storage_list_evaluated_objects_total',
    'Number of objects tested in the course of serving a LIST request from storage',
  );
  readonly #returned = new Vector(
    'counter',
    'apiserver_storage_list_returned_objects_total',
    'Number of objects returned for a LIST request from storage',
  );
  readonly #bookmarks = new Vector(
    'gauge',
    'etcd_bookmark_counts',
    'Number of etcd bookmarks (progress notify events) split by kind.',
  );
  readonly #bookmarksTotal = new Vector(
    'counter',
    'etcd_bookmark_total',
    'Number of etcd bookmarks (progress notify events) split by kind.',
  );
  /** By resource and operation. */
  readonly #counted = new WeakMap<GroupResource, Map<string, Counted>>();
  readonly stale: KeyValueStore['stale'];
  /** Told of each request; `began` by `ioNow`. */
  onRequest: ((operation: string, key: string, began: number, failed: boolean) => void) | undefined = undefined;

  constructor(inner: KeyValueStore, resource: ResourceOfKey) {
    super(inner);
    this.#resource = resource;
    this.stale = inner.stale === undefined ? undefined : (key) => inner.stale!(key);
  }

  override get families(): readonly Family[] {
    return [
      ...super.families,
      this.#seconds,
      this.#requests,
      this.#errors,
      this.#events,
      this.#lists,
      this.#fetched,
      this.#evaluated,
      this.#returned,
      this.#bookmarks,
      this.#bookmarksTotal,
    ];
  }

  #of(operation: string, key: string): Counted {
    const gr = this.#resource(key);
    let byOperation = this.#counted.get(gr);
    if (byOperation === undefined) this.#counted.set(gr, (byOperation = new Map()));
    let found = byOperation.get(operation);
    if (found === undefined) {
      const labels = () => ({ group: gr.group, operation, resource: gr.resource });
      const series = `${operation} ${gr.group === '' ? gr.resource : `${gr.resource}.${gr.group}`}`;
      found = {
        requests: this.#requests.series(series, labels),
        seconds: this.#seconds.series(series, labels),
        errors: () => this.#errors.series(series, labels),
      };
      byOperation.set(operation, found);
    }
    return found;
  }

  /** Counts a request; what is returned is told of its end. */
  #begin(operation: string, key: string): (failed: boolean) => void {
    const counted = this.#of(operation, key);
    const began = ioNow();
    counted.requests.inc();
    return (failed) => {
      if (failed) counted.errors().inc();
      counted.seconds.observe((ioNow() - began) / 1000);
      this.onRequest?.(operation, key, began, failed);
    };
  }

  /** Follows a request from beside: who asked gets the store's own promise. */
  #timed<T>(operation: string, key: string, work: (inner: KeyValueStore) => Promise<T>): Promise<T> {
    const end = this.#begin(operation, key);
    let result: Promise<T>;
    try {
      result = work(this.inner);
    } catch (error) {
      end(true);
      throw error;
    }
    void result.then(
      () => end(false),
      () => end(true),
    );
    return result;
  }

  override async range(request: RangeRequest): Promise<RangeResult> {
    const { key, end } = request;
    if (end === undefined) return this.#timed('get', key, (s) => s.range(request));
    const result = await this.#timed(request.keysOnly === true ? 'listOnlyKeys' : 'list', key, (s) => s.range(request));
    const { group, resource } = this.#resource(key);
    const labels = () => ({ group, resource });
    const id = `${resource}.${group}`;
    this.#lists.series(id, labels).inc();
    for (const family of [this.#fetched, this.#evaluated, this.#returned])
      family.series(id, labels).inc(result.kvs.length);
    return result;
  }

  override commit(request: CommitRequest): Promise<CommitResult> {
    const { key, value, expectModRevision } = request;
    const operation = value === undefined ? 'delete' : expectModRevision === 0 ? 'create' : 'update';
    return this.#timed(operation, key, (s) => s.commit(request));
  }

  override watch(request: StoreWatchRequest, sink: StoreWatchSink): StoreWatch {
    const { group, resource } = this.#resource(request.key);
    const id = `${resource}.${group}`;
    const labels = (): Labels => ({ group, resource });
    const received = this.#events.series(id, labels);
    return this.inner.watch(request, {
      events(events, revision) {
        received.inc(events.length);
        sink.events(events, revision);
      },
      progress: (revision) => {
        this.#bookmarks.series(id, labels).inc();
        this.#bookmarksTotal.series(id, labels).inc();
        sink.progress(revision);
      },
      closed: (error) => sink.closed(error),
    });
  }
}
