/** Which resource the value under a key of the store belongs to. */
import type { Catalog } from '../../api/catalog/catalog.ts';

export interface GroupResource {
  readonly group: string;
  readonly resource: string;
}

export type ResourceOfKey = (key: string) => GroupResource;

/** Keys that tell no resource of the API. */
const special: Readonly<Record<string, string>> = {
  'ranges/serviceips': 'serviceipallocations',
  'ranges/servicenodeports': 'servicenodeportallocations',
  masterleases: 'apiServerIPInfo',
};

export function resourceOfKey(catalog: Catalog, root = '/registry'): ResourceOfKey {
  const known = new Map<string, GroupResource>();
  for (const r of catalog.resources)
    if (!r.custom && (r.storageGroup === undefined || r.storageGroup === r.group))
      known.set(r.keyPrefix, { group: r.group, resource: r.resource });
  for (const [prefix, resource] of Object.entries(special)) known.set(prefix, { group: '', resource });
  /** Of custom resources, and of built-in ones by their first segment; a bounded number. */
  const found = new Map<string, GroupResource>();
  const start = root.length + 1;
  return (key) => {
    const first = key.indexOf('/', start);
    const one = key.slice(start, first < 0 ? undefined : first);
    const simple = known.get(one);
    if (simple !== undefined) return simple;
    const second = first < 0 ? -1 : key.indexOf('/', first + 1);
    const two = key.slice(start, second < 0 ? undefined : second);
    const double = known.get(two) ?? found.get(two);
    if (double !== undefined) return double;
    const custom = { group: one, resource: two.slice(one.length + 1) };
    if (found.size < 10_000) found.set(two, custom);
    return custom;
  };
}
