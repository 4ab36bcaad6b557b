/** Serves `/api`, `/apis` and below: classic discovery, and the aggregated form where `Accept` asks for it, with ETags. */
import { createHash } from 'node:crypto';
import { stringifyYaml } from '../../api/codec/yaml.ts';
import { noSuchMethod, pageNotFound, noSuchRoute } from '../director.ts';
import type { ProtobufObjects } from '../../api/protobuf.ts';
import { mediaTypes, notAcceptable, parseAccept } from '../encode/negotiate.ts';
import { Vector } from '../metrics/exposition.ts';
import type { Family } from '../metrics/exposition.ts';
import { checkProduced, objectTypes } from '../produced-types.ts';
import type { Handler, Scope } from '../filters/scope.ts';
import type { OutgoingResponse } from '../request.ts';
import type { ResourceDirectory } from '../resource-directory.ts';
import type { Routes } from '../routes.ts';
import { aggregatedList, apiGroup, apiResourceList } from './documents.ts';
import { discoveredGroups } from './groups.ts';
import type { DiscoveredGroup, RemoteVersions } from './groups.ts';

export interface DiscoveryOptions {
  readonly directory: ResourceDirectory;
  readonly protobuf: ProtobufObjects;
  /** Group versions of aggregated servers. */
  readonly remote?: RemoteVersions;
  /** `host:port` under which clients reach this server, for `/api`. */
  readonly serverAddress: () => string;
}

interface Document {
  readonly value: Record<string, unknown>;
  readonly json: Buffer;
  readonly etag: string;
}

/** Aggregated or a document of its own (upstream's beta of the former is gone), and how it is written. */
type Wanted = { readonly aggregated: boolean; readonly format: 'json' | 'yaml' | 'protobuf' };

const formats: readonly Wanted['format'][] = ['json', 'yaml', 'protobuf'];

/** What the client accepts first of what discovery offers. */
function wantedBy(accept: string, aggregates: boolean): Wanted | undefined {
  if (accept === '') return { aggregated: false, format: 'json' };
  for (const clause of parseAccept(accept)) {
    if (clause.type !== 'application' && clause.type !== '*') continue;
    const { subtype } = clause;
    const format = formats.find((f) => subtype === '*' || mediaTypes[f] === `application/${subtype}`);
    if (format === undefined) continue;
    const as = clause.params.get('as');
    if (as === undefined) return { aggregated: false, format };
    if (
      aggregates &&
      as === 'APIGroupDiscoveryList' &&
      clause.params.get('g') === 'apidiscovery.k8s.io' &&
      clause.params.get('v') === 'v2'
    )
      return { aggregated: true, format };
  }
  return undefined;
}

export class Discovery {
  readonly #directory: ResourceDirectory;
  readonly #protobuf: ProtobufObjects;
  readonly #remote: RemoteVersions | undefined;
  readonly #serverAddress: () => string;
  /** Documents of one generation of the directory. */
  readonly #documents = new Map<string, Document>();
  readonly #aggregations = new Vector(
    'counter',
    'aggregator_discovery_aggregation_count_total',
    'Counter of number of times discovery was aggregated',
  );
  readonly #aggregated = this.#aggregations.series('', () => ({}));
  readonly #withoutPeers = new Vector(
    'counter',
    'aggregator_discovery_nopeer_requests_total',
    'Counter of number of times no-peer (non peer-aggregated) discovery was requested',
  );
  readonly #unpeered = this.#withoutPeers.series('', () => ({}));
  readonly families: readonly Family[] = [this.#aggregations, this.#withoutPeers];
  #generation = -1;
  #remoteGeneration = -1;
  #groups: readonly DiscoveredGroup[] = [];

  constructor(options: DiscoveryOptions) {
    this.#directory = options.directory;
    this.#protobuf = options.protobuf;
    this.#remote = options.remote;
    this.#serverAddress = options.serverAddress;
  }

  install(routes: Routes): void {
    const api: Handler = (scope) => this.#legacyRoot(scope);
    const apis: Handler = (scope) => this.#groupList(scope);
    routes.add('/api', api);
    routes.add('/api/', api, false);
    routes.add('/apis', apis);
    routes.add('/apis/', apis);
    routes.addPrefix('/api/', (scope) => this.#below(scope, '/api/'));
    routes.addPrefix('/apis/', (scope) => this.#below(scope, '/apis/'));
  }

  /** `/api/v1`, `/apis/apps`, `/apis/apps/v1`: paths of the index at `/`. */
  paths(): string[] {
    const paths: string[] = [];
    for (const g of this.#all()) {
      if (g.group !== '') paths.push(`/apis/${g.group}`);
      for (const v of g.versions) paths.push(g.group === '' ? `/api/${v.version}` : `/apis/${g.group}/${v.version}`);
    }
    return paths;
  }

  #document(key: string, make: () => Record<string, unknown>): Document {
    this.#all();
    let document = this.#documents.get(key);
    if (document === undefined) {
      if (key.endsWith(' v2')) this.#aggregated.inc();
      const value = make();
      const text = JSON.stringify(value);
      const etag = `"${createHash('sha512').update(text).digest('hex').toUpperCase()}"`;
      document = { value, json: Buffer.from(`${text}\n`), etag };
      this.#documents.set(key, document);
    }
    return document;
  }

  /** Every group, with those of aggregated servers, in the order in which they are shown. */
  #all(): readonly DiscoveredGroup[] {
    const remote = this.#remote?.generation ?? 0;
    if (this.#generation !== this.#directory.generation || this.#remoteGeneration !== remote) {
      this.#documents.clear();
      this.#generation = this.#directory.generation;
      this.#remoteGeneration = remote;
      this.#groups = discoveredGroups(this.#directory.groups(), this.#remote?.versions() ?? []);
    }
    return this.#groups;
  }

  #named(): readonly DiscoveredGroup[] {
    return this.#all().filter((g) => g.group !== '');
  }

  #answer(scope: Scope, document: Document, wanted: Wanted): OutgoingResponse {
    const media = mediaTypes[wanted.format];
    if (!wanted.aggregated) {
      const bytes = this.#bytes(document, wanted);
      return { status: 200, body: { kind: 'bytes', contentType: media, bytes } };
    }
    if (/;\s*profile=nopeer\b/.test(scope.request.headers['accept'] ?? '')) this.#unpeered.inc();
    const headers = { etag: document.etag, vary: 'Accept', 'cache-control': 'public' };
    if (scope.request.headers['if-none-match'] === document.etag)
      return { status: 304, headers, body: { kind: 'none' } };
    const contentType = `${media};g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList`;
    return { status: 200, headers, body: { kind: 'bytes', contentType, bytes: this.#bytes(document, wanted) } };
  }

  #bytes(document: Document, { format }: Wanted): Buffer {
    if (format === 'json') return document.json;
    if (format === 'yaml') return Buffer.from(stringifyYaml(document.value));
    // The oldest of them tell no version of themselves.
    return this.#protobuf.encode(document.value, 'v1');
  }

  /** `routed`: its path is in the table of upstream's router. */
  #wanted(scope: Scope, aggregates: boolean, routed: boolean): Wanted {
    const { accept } = scope.request.headers;
    if (routed) {
      if (scope.request.method !== 'GET') throw noSuchMethod();
      checkProduced(accept, objectTypes);
    }
    const wanted = wantedBy(accept ?? '', aggregates);
    if (wanted === undefined) throw notAcceptable(false);
    return wanted;
  }

  #legacyRoot(scope: Scope): OutgoingResponse {
    const wanted = this.#wanted(scope, true, true);
    const core = this.#all().filter((g) => g.group === '');
    if (wanted.aggregated) {
      const document = this.#document('api v2', () => aggregatedList(core, 'v2'));
      return this.#answer(scope, document, wanted);
    }
    const address = this.#serverAddress();
    const document = this.#document(`api ${address}`, () => ({
      kind: 'APIVersions',
      versions: core.flatMap((g) => g.versions.map((v) => v.version)),
      serverAddressByClientCIDRs: [{ clientCIDR: '0.0.0.0/0', serverAddress: address }],
    }));
    return this.#answer(scope, document, wanted);
  }

  #groupList(scope: Scope): OutgoingResponse {
    const wanted = this.#wanted(scope, true, false);
    const document = wanted.aggregated
      ? this.#document('apis v2', () => aggregatedList(this.#named(), 'v2'))
      : this.#document('apis', () => ({
          kind: 'APIGroupList',
          apiVersion: 'v1',
          groups: this.#named().map(apiGroup),
        }));
    return this.#answer(scope, document, wanted);
  }

  #below(scope: Scope, prefix: '/api/' | '/apis/'): OutgoingResponse {
    const parts = scope.info.path.slice(prefix.length).replace(/\/+$/, '').split('/');
    const name = prefix === '/api/' ? '' : parts.shift()!;
    const group = this.#all().find((g) => g.group === name);
    if (group === undefined) return pageNotFound();
    const unknown = (): OutgoingResponse => {
      if (this.#directory.group(name)?.versions.some((v) => v.resources.some((r) => r.custom)) !== false)
        return pageNotFound();
      throw noSuchRoute();
    };
    if (parts.length > 1) return unknown();
    const version = parts[0];
    if (version === undefined) {
      const wanted = this.#wanted(scope, false, false);
      const document = this.#document(`group ${name}`, () => ({
        kind: 'APIGroup',
        apiVersion: 'v1',
        ...apiGroup(group),
      }));
      return this.#answer(scope, document, wanted);
    }
    const served = this.#directory.group(name)?.versions.find((v) => v.version === version);
    if (served === undefined) return unknown();
    const wanted = this.#wanted(scope, false, true);
    return this.#answer(
      scope,
      this.#document(`version ${name}/${version}`, () => apiResourceList(served)),
      wanted,
    );
  }
}
