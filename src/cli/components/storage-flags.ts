/** Flags of how the API server keeps things in etcd. */
import type { StorageFlags } from '../../cluster/processes/api-server-storage.ts';
import type { Flag } from '../flags.ts';
import type { Values } from './component.ts';

export const storageFlags: readonly Flag[] = [
  {
    name: 'etcd-prefix',
    kind: 'string',
    value: 'PREFIX',
    default: '/registry',
    help: 'what all keys begin with',
  },
  {
    name: 'etcd-servers-overrides',
    kind: 'list',
    value: 'GROUP/RESOURCE#URL;URL,…',
    help: 'other etcd clusters for single resources, such as /events#https://10.0.0.9:2379',
  },
  { name: 'storage-backend', kind: 'string', value: 'etcd3', default: '', help: 'the kind of store: etcd3' },
  {
    name: 'storage-initialization-timeout',
    kind: 'duration',
    default: 60_000,
    help: 'how long etcd is waited for at the start',
  },
  {
    name: 'etcd-healthcheck-timeout',
    kind: 'duration',
    default: 2_000,
    help: 'within how long etcd answers, or /healthz and /livez fail',
  },
  {
    name: 'etcd-readycheck-timeout',
    kind: 'duration',
    default: 2_000,
    help: 'the same for /readyz',
  },
  {
    name: 'etcd-count-metric-poll-period',
    kind: 'duration',
    default: 60_000,
    help: '0: metrics do not tell how many objects there are; otherwise they tell how many there are at that moment',
  },
  {
    name: 'etcd-db-metric-poll-interval',
    kind: 'duration',
    default: 30_000,
    help: '0: metrics do not tell the size of the store; otherwise they tell it as it is at that moment',
  },
  {
    name: 'lease-reuse-duration-seconds',
    kind: 'int',
    default: 60,
    help: 'how long Events share a lease of etcd',
  },
  {
    name: 'delete-collection-workers',
    kind: 'int',
    help: 'objects of a collection that are deleted at the same time (default 64)',
  },
  {
    name: 'enable-garbage-collector',
    kind: 'bool',
    default: true,
    help: "deletions leave finalizers to the garbage collector; as kube-controller-manager's flag",
  },
];

export function storageValues(v: Values): StorageFlags {
  return {
    etcdPrefix: v.text('etcd-prefix'),
    etcdServersOverrides: v.list('etcd-servers-overrides'),
    storageBackend: v.text('storage-backend'),
    storageInitializationTimeoutMs: v.ms('storage-initialization-timeout'),
    healthcheckTimeoutMs: v.ms('etcd-healthcheck-timeout'),
    readycheckTimeoutMs: v.ms('etcd-readycheck-timeout'),
    countMetricPollPeriodMs: v.ms('etcd-count-metric-poll-period'),
    dbMetricPollIntervalMs: v.ms('etcd-db-metric-poll-interval'),
    compactionIntervalMs: v.ms('etcd-compaction-interval'),
    leaseReuseDurationSeconds: v.int('lease-reuse-duration-seconds'),
    deleteCollectionWorkers: v.maybe('delete-collection-workers'),
    enableGarbageCollector: v.bool('enable-garbage-collector'),
    watchCacheSizes: v.list('watch-cache-sizes'),
  };
}
