/** The discovery documents as upstream writes them: classic ones a group and version, and the aggregated list (v2). */
import type { ResourceInfo } from '../../api/catalog/resource.ts';
import { apiVersionOf } from '../../api/object.ts';
import type { ServedVersion } from '../resource-directory.ts';
import type { DiscoveredGroup } from './groups.ts';

type Json = Record<string, unknown>;

function groupVersionOf(group: string, version: string): Json {
  return { groupVersion: apiVersionOf({ group, version }), version };
}

/** metav1.APIGroup without its type header. */
export function apiGroup(g: DiscoveredGroup): Json {
  return {
    name: g.group,
    versions: g.versions.map((v) => groupVersionOf(g.group, v.version)),
    preferredVersion: groupVersionOf(g.group, g.preferredVersion),
  };
}

function optional(resource: ResourceInfo): Json {
  return {
    ...(resource.shortNames.length === 0 ? {} : { shortNames: resource.shortNames }),
    ...(resource.categories.length === 0 ? {} : { categories: resource.categories }),
  };
}

/** metav1.APIResource entries of a resource: itself and its subresources. */
function apiResources(r: ResourceInfo): Json[] {
  const list: Json[] = [];
  // A resource may exist for its subresources alone.
  if (r.verbs.length > 0) {
    list.push({
      name: r.resource,
      singularName: r.singular,
      namespaced: r.namespaced,
      kind: r.kind,
      verbs: r.shownVerbs ?? r.verbs,
      ...optional(r),
      ...(r.storageVersionHash === undefined ? {} : { storageVersionHash: r.storageVersionHash }),
    });
  }
  for (const s of r.subresources) {
    const foreign = s.group !== r.group || s.version !== r.version;
    list.push({
      name: `${r.resource}/${s.name}`,
      singularName: '',
      namespaced: r.namespaced,
      ...(foreign ? { ...(s.group === '' ? {} : { group: s.group }), version: s.version } : {}),
      kind: s.kind,
      verbs: s.verbs,
    });
  }
  return list;
}

/** metav1.APIResourceList. The one of the core group has no apiVersion, as upstream's. */
export function apiResourceList(v: ServedVersion): Json {
  return {
    kind: 'APIResourceList',
    ...(v.group === '' ? {} : { apiVersion: 'v1' }),
    groupVersion: apiVersionOf(v),
    resources: v.resources.flatMap(apiResources),
  };
}

/** Kinds of the own group version stand without one, as upstream's handlers write them. */
function responseKind(r: ResourceInfo, group: string, version: string, kind: string): Json {
  const foreign = r.custom || group !== r.group || version !== r.version;
  return { group: foreign ? group : '', version: foreign ? version : '', kind };
}

function discoveryResource(r: ResourceInfo): Json {
  const subresources = r.subresources.map((s) => ({
    subresource: s.name,
    responseKind: responseKind(r, s.group, s.version, s.kind),
    verbs: s.verbs,
  }));
  return {
    resource: r.resource,
    responseKind: responseKind(r, r.group, r.version, r.kind),
    scope: r.namespaced ? 'Namespaced' : 'Cluster',
    singularResource: r.singular,
    verbs: r.shownVerbs ?? r.verbs,
    ...optional(r),
    ...(subresources.length === 0 ? {} : { subresources }),
  };
}

/** apidiscovery.k8s.io APIGroupDiscoveryList. */
export function aggregatedList(groups: readonly DiscoveredGroup[], version: string): Json {
  return {
    kind: 'APIGroupDiscoveryList',
    apiVersion: `apidiscovery.k8s.io/${version}`,
    metadata: {},
    items: groups.map((g) => ({
      metadata: g.group === '' ? {} : { name: g.group },
      versions: g.versions.map((v) =>
        v.resources === undefined
          ? v.discovery
          : { version: v.version, resources: v.resources.map(discoveryResource), freshness: 'Current' },
      ),
    })),
  };
}
