/** How the API server keeps things in its store: settings of upstream's flags about etcd and generic storage. */
import type { KeyValueStore } from '../../etcd/store.ts';

export interface StorageOptions {
  /** `--etcd-servers-overrides`: the store of a resource, where that is another. */
  readonly storeOf?: (group: string, resource: string) => KeyValueStore | undefined;
  /** `--delete-collection-workers`: objects of a collection that are deleted at the same time; default 64. */
  readonly deleteCollectionWorkers?: number;
  /** `--enable-garbage-collector`, default true: deletions leave finalizers for it. */
  readonly garbageCollector?: boolean;
  /** `--lease-reuse-duration-seconds`: how long expiring objects share a lease; default 60. */
  readonly leaseReuseSeconds?: number;
  /** `--etcd-healthcheck-timeout` and `--etcd-readycheck-timeout`, real milliseconds; default: as long as it takes. */
  readonly healthTimeoutMs?: number;
  readonly readyTimeoutMs?: number;
  /** False: metrics tell no numbers of objects (`--etcd-count-metric-poll-period=0`). */
  readonly countMetrics?: boolean;
  /** False: metrics tell no size of the store (`--etcd-db-metric-poll-interval=0`). */
  readonly sizeMetrics?: boolean;
  /** Where the store is, as metrics name it; default `embedded`. */
  readonly endpoint?: string | undefined;
}
