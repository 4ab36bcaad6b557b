/**
 * Discovery: which resources a server has, custom and aggregated ones included, read from the aggregated discovery documents
 * with a fall back to the classic ones; and the mapping from kinds to resources.
 */
import { apiVersionOf, parseApiVersion } from '../api/object.ts';
import type { TypedRef } from './resources.ts';
import type { ApiResponse } from './transport.ts';
import type { TypedClient } from './typed-client.ts';

export interface DiscoveredResource extends TypedRef {
  readonly verbs: readonly string[];
  readonly singular: string;
  readonly shortNames: readonly string[];
  readonly categories: readonly string[];
  readonly subresources: readonly string[];
  /** The server prefers this version of the resource. */
  readonly preferred: boolean;
}

export interface DiscoveryResult {
  readonly resources: readonly DiscoveredResource[];
  /** Group versions that could not be read, with the reason. The rest is complete. */
  readonly failures: ReadonlyMap<string, string>;
}

interface AggregatedDiscovery {
  items?: {
    metadata?: { name?: string };
    versions?: {
      version: string;
      freshness?: string;
      resources?: {
        resource: string;
        responseKind?: { group?: string; version?: string; kind?: string };
        scope?: string;
        singularResource?: string;
        verbs?: string[];
        shortNames?: string[];
        categories?: string[];
        subresources?: { subresource: string }[];
      }[];
    }[];
  }[];
}

interface ApiResourceList {
  resources?: {
    name: string;
    singularName?: string;
    namespaced: boolean;
    kind: string;
    group?: string;
    version?: string;
    verbs?: string[];
    shortNames?: string[];
    categories?: string[];
  }[];
}

interface ApiGroupList {
  groups?: { name: string; versions: { version: string }[]; preferredVersion?: { version: string } }[];
}

/** HTTP's answer to who has the newest already. */
const notModified = 304;

const aggregatedAccept =
  'application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList,application/json';

/** Reads what the server serves. Throws when not even the list of groups can be read. */
export async function discover(client: TypedClient, signal?: AbortSignal): Promise<DiscoveryResult> {
  return collect(
    client,
    await Promise.all([ask(client, '/api', '', signal), ask(client, '/apis', '', signal)]),
    signal,
  );
}

/** Reads again and again what the server serves; the result is the same object as long as that has not changed. */
export class RepeatedDiscovery {
  readonly #client: TypedClient;
  #known: { readonly etags: readonly [string, string]; readonly result: DiscoveryResult } | undefined;

  constructor(client: TypedClient) {
    this.#client = client;
  }

  /** Throws when not even the list of groups can be read. */
  async read(): Promise<DiscoveryResult> {
    const client = this.#client;
    const known = this.#known;
    if (known !== undefined) {
      const news = await Promise.all([ask(client, '/api', known.etags[0]), ask(client, '/apis', known.etags[1])]);
      if (news.every((answer) => answer.status === notModified)) return known.result;
    }
    const answers = await Promise.all([ask(client, '/api', ''), ask(client, '/apis', '')]);
    const result = await collect(client, answers);
    const [core, groups] = answers.map((answer) => answer.headers['etag']);
    this.#known = core === undefined || groups === undefined ? undefined : { etags: [core, groups], result };
    return result;
  }
}

function ask(client: TypedClient, path: string, etag: string, signal?: AbortSignal): Promise<ApiResponse> {
  return client.raw('GET', path, {
    headers: { accept: aggregatedAccept, ...(etag === '' ? {} : { 'if-none-match': etag }) },
    ...(signal === undefined ? {} : { signal }),
  });
}

async function collect(
  client: TypedClient,
  [core, groups]: readonly [ApiResponse, ApiResponse],
  signal?: AbortSignal,
): Promise<DiscoveryResult> {
  const failures = new Map<string, string>();
  const found: DiscoveredResource[] = [];
  for (const [answer, legacy] of [
    [core, true],
    [groups, false],
  ] as const) {
    const body = answer.body as AggregatedDiscovery & ApiGroupList & { versions?: string[] };
    if (body.items !== undefined) addAggregated(body, found, failures);
    else if (legacy) await addClassic(client, '', body.versions ?? ['v1'], found, failures, signal);
    else {
      for (const group of body.groups ?? []) {
        const preferred = group.preferredVersion?.version;
        const versions = group.versions.map((v) => v.version);
        const ordered = preferred === undefined ? versions : [preferred, ...versions.filter((v) => v !== preferred)];
        await addClassic(client, group.name, ordered, found, failures, signal);
      }
    }
  }
  return { resources: found, failures };
}

function addAggregated(body: AggregatedDiscovery, found: DiscoveredResource[], failures: Map<string, string>): void {
  for (const item of body.items ?? []) {
    const group = item.metadata?.name ?? '';
    const seen = new Set<string>();
    for (const v of item.versions ?? []) {
      if (v.freshness === 'Stale')
        failures.set(apiVersionOf({ group, version: v.version }), 'stale GroupVersion discovery');
      for (const r of v.resources ?? []) {
        found.push({
          group,
          version: v.version,
          resource: r.resource,
          namespaced: r.scope === 'Namespaced',
          kind: r.responseKind?.kind ?? '',
          verbs: r.verbs ?? [],
          singular: r.singularResource ?? '',
          shortNames: r.shortNames ?? [],
          categories: r.categories ?? [],
          subresources: (r.subresources ?? []).map((s) => s.subresource),
          preferred: !seen.has(r.resource),
        });
        seen.add(r.resource);
      }
    }
  }
}

async function addClassic(
  client: TypedClient,
  group: string,
  versions: readonly string[],
  found: DiscoveredResource[],
  failures: Map<string, string>,
  signal: AbortSignal | undefined,
): Promise<void> {
  const seen = new Set<string>();
  for (const version of versions) {
    const path = group === '' ? `/api/${version}` : `/apis/${group}/${version}`;
    let list: ApiResourceList;
    try {
      list = (await client.raw('GET', path, signal === undefined ? {} : { signal })).body as ApiResourceList;
    } catch (error) {
      failures.set(apiVersionOf({ group, version }), (error as Error).message);
      continue;
    }
    const all = list.resources ?? [];
    for (const r of all) {
      if (r.name.includes('/')) continue;
      found.push({
        group,
        version,
        resource: r.name,
        namespaced: r.namespaced,
        kind: r.kind,
        verbs: r.verbs ?? [],
        singular: r.singularName ?? '',
        shortNames: r.shortNames ?? [],
        categories: r.categories ?? [],
        subresources: all.filter((s) => s.name.startsWith(`${r.name}/`)).map((s) => s.name.slice(r.name.length + 1)),
        preferred: !seen.has(r.name),
      });
      seen.add(r.name);
    }
  }
}

/** Finds the resource of an `apiVersion` and `kind`, in that version or, when it is not served, in the preferred one. */
export class ResourceMapper {
  readonly #byKind = new Map<string, DiscoveredResource>();
  readonly #preferred = new Map<string, DiscoveredResource>();

  constructor(resources: readonly DiscoveredResource[]) {
    for (const r of resources) {
      const exact = `${apiVersionOf(r)}/${r.kind}`;
      if (!this.#byKind.has(exact)) this.#byKind.set(exact, r);
      const loose = `${r.group}/${r.kind}`;
      if (!this.#preferred.has(loose)) this.#preferred.set(loose, r);
    }
  }

  forKind(apiVersion: string, kind: string): DiscoveredResource | undefined {
    const exact = this.#byKind.get(`${apiVersion}/${kind}`);
    if (exact !== undefined) return exact;
    const gv = parseApiVersion(apiVersion);
    return gv === undefined ? undefined : this.#preferred.get(`${gv.group}/${kind}`);
  }
}
