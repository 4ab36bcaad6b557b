/** `DelegatingStore`: a store before another one, that hands on whatever its heirs do not do themselves. */
import type { Family } from '../../base/metric-families.ts';
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

/** `stale` is left to the heirs: whether a store has it is itself an answer. */
export class DelegatingStore implements KeyValueStore {
  protected readonly inner: KeyValueStore;

  constructor(inner: KeyValueStore) {
    this.inner = inner;
  }

  get families(): readonly Family[] {
    return this.inner.families ?? [];
  }

  range(request: RangeRequest): Promise<RangeResult> {
    return this.inner.range(request);
  }

  commit(request: CommitRequest): Promise<CommitResult> {
    return this.inner.commit(request);
  }

  watch(request: StoreWatchRequest, sink: StoreWatchSink): StoreWatch {
    return this.inner.watch(request, sink);
  }

  currentRevision(): Promise<number> {
    return this.inner.currentRevision();
  }

  grantLease(ttlSeconds: number): Promise<string> {
    return this.inner.grantLease(ttlSeconds);
  }

  revokeLease(id: string): Promise<void> {
    return this.inner.revokeLease(id);
  }

  keepAliveLease(id: string): Promise<number> {
    return this.inner.keepAliveLease(id);
  }

  compact(revision: number): Promise<void> {
    return this.inner.compact(revision);
  }

  size(): Promise<number> {
    return this.inner.size();
  }

  close(): Promise<void> {
    return this.inner.close();
  }
}
