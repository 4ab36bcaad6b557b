/** What watch caches measure, read when somebody asks, with upstream's names. */
import type { ResourceInfo } from '../../api/catalog/resource.ts';
import type { WatchCache } from '../storage/watch-cache.ts';
import { computed, type Family, type Labels } from './exposition.ts';

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
      'Current resource version of watch cache broken by resource type.',
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
  ];
}
