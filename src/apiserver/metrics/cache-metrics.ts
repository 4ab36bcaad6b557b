/** What watch caches measure, read when somebody asks, with upstream's names. */
import type { ResourceInfo } from '../../api/catalog/resource.ts';
import { readWaitBounds } from '../storage/watch-cache.ts';
import type { WatchCache } from '../storage/watch-cache.ts';
import { computed, distributions, type Family, type Labels } from './exposition.ts';

interface Cached {
  readonly resource: ResourceInfo;
  readonly cache: WatchCache;
}

export function cacheFamilies(caches: () => Iterable<Cached>): Family[] {
  const of = (
    type: 'counter' | 'gauge',
    name: string,
    help: string,
    value: (cache: WatchCache) => number,
    more: Labels = {},
  ): Family =>
    computed(type, name, help, function* () {
      for (const { resource, cache } of caches())
        yield [{ group: resource.group, resource: resource.resource, ...more }, value(cache)] as const;
    });
  return [
    of(
      'gauge',
      'apiserver_watch_cache_resource_version',
      'Current resource version of watch cache broken by resource type. This is truncated to the 15 least significant digits.',

      (c) => c.revision,
    ),
    of(
      'counter',
      'apiserver_watch_cache_initializations_total',
      'Counter of watch cache initializations broken by resource type.',
      (c) => c.counted.initializations,
    ),
    of(
      'counter',
      'apiserver_watch_cache_events_received_total',
      'Counter of events received in watch cache broken by resource type.',
      (c) => c.counted.received,
    ),
    of(
      'counter',
      'apiserver_cache_list_total',
      'Number of LIST requests served from watch cache',
      (c) => c.counted.lists,
      { index: '' },
    ),
    of(
      'counter',
      'apiserver_cache_list_fetched_objects_total',
      'Number of objects read from watch cache in the course of serving a LIST request',
      (c) => c.counted.fetched,
      { index: '' },
    ),
    of(
      'counter',
      'apiserver_cache_list_returned_objects_total',
      'Number of objects returned for a LIST request from watch cache',
      (c) => c.counted.returned,
    ),
    of(
      'counter',
      'apiserver_init_events_total',
      'Counter of init events processed in watch cache broken by resource type.',
      (c) => c.counted.initial,
    ),
    of(
      'counter',
      'apiserver_watch_cache_events_dispatched_total',
      'Counter of events dispatched in watch cache broken by resource type.',
      (c) => c.counted.dispatched,
    ),
    of(
      'gauge',
      'apiserver_resource_size_estimate_bytes',
      'Estimated size of stored objects in database. Estimate is based on sum of last observed sizes of serialized objects. In case of a fetching error, the value will be -1.',
      (c) => c.bytes,
    ),
    of(
      'counter',
      'apiserver_terminated_watchers_total',
      'Watchers that were ended because they took too long over what they were sent.',
      (c) => c.counted.terminated,
    ),
    computed(
      'counter',
      'apiserver_storage_consistency_checks_total',
      'Comparisons of a watch cache with the store, by what came of them.',
      function* () {
        for (const { resource: r, cache } of caches())
          for (const [status, n] of Object.entries(cache.counted.checks))
            if (n > 0) yield [{ group: r.group, resource: r.resource, status }, n] as const;
      },
    ),
    distributions(
      'apiserver_watch_cache_read_wait_seconds',
      'Histogram of time spent waiting for a watch cache to become fresh.',
      readWaitBounds,
      function* () {
        for (const { resource: r, cache } of caches())
          if (cache.waits !== undefined) yield [{ group: r.group, resource: r.resource }, cache.waits] as const;
      },
    ),
    computed(
      'counter',
      'apiserver_watch_cache_consistent_read_total',
      'Counter for consistent reads from cache.',
      function* () {
        for (const { resource: r, cache } of caches()) {
          const labels = { fallback: 'false', group: r.group, resource: r.resource };
          yield [{ ...labels, success: 'true' }, cache.counted.consistent] as const;
          if (cache.counted.inconsistent > 0)
            yield [{ ...labels, success: 'false' }, cache.counted.inconsistent] as const;
        }
      },
    ),
  ];
}
