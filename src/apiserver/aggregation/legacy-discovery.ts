/** An APIResourceList in the form of aggregated discovery (upstream's ConvertGroupVersionIntoToDiscovery). */

type Json = Record<string, unknown>;

interface ApiResource {
  readonly name: string;
  readonly singularName?: string;
  readonly namespaced?: boolean;
  readonly group?: string;
  readonly version?: string;
  readonly kind?: string;
  readonly verbs?: readonly string[];
  readonly shortNames?: readonly string[];
  readonly categories?: readonly string[];
}

export function discoveryVersion(list: Json, group: string, version: string): Json {
  const resources = (list['resources'] ?? []) as readonly ApiResource[];
  const made = new Map<string, Json & { subresources?: Json[] }>();
  const kindOf = (r: ApiResource): Json => ({
    group: r.group ?? group,
    version: r.version ?? version,
    kind: r.kind ?? '',
  });
  for (const r of resources) {
    if (r.name.includes('/')) continue;
    made.set(r.name, {
      resource: r.name,
      responseKind: kindOf(r),
      scope: r.namespaced === true ? 'Namespaced' : 'Cluster',
      singularResource: r.singularName ?? '',
      verbs: r.verbs ?? [],
      ...(r.shortNames === undefined ? {} : { shortNames: r.shortNames }),
      ...(r.categories === undefined ? {} : { categories: r.categories }),
    });
  }
  for (const r of resources) {
    const slash = r.name.indexOf('/');
    if (slash < 0) continue;
    const parentName = r.name.slice(0, slash);
    let parent = made.get(parentName);
    if (parent === undefined) {
      // A resource may exist for its subresources alone.
      parent = {
        resource: parentName,
        responseKind: {},
        scope: r.namespaced === true ? 'Namespaced' : 'Cluster',
        singularResource: '',
        verbs: [],
      };
      made.set(parentName, parent);
    }
    (parent.subresources ??= []).push({
      subresource: r.name.slice(slash + 1),
      responseKind: kindOf(r),
      verbs: r.verbs ?? [],
    });
  }
  return { version, resources: [...made.values()] };
}
