/**
 * What aggregated servers say of themselves: which resources their group versions have, and their OpenAPI documents. Fetched when
 * an APIService appears, changes or becomes available, and again every minute.
 */
import type { Clock, Timer } from '../../base/clock.ts';
import type { Logger } from '../../base/logger.ts';
import { isObject } from '../../api/patch/values.ts';
import type { ApiServices, RemoteService } from './api-services.ts';
import { discoveryVersion } from './legacy-discovery.ts';
import { PendingNames } from './pending-names.ts';
import type { Document } from './remote-request.ts';
import { fetchDocument } from './remote-request.ts';

type Json = Record<string, unknown>;

const refreshMs = 60_000;
const firstRetryMs = 1000;
const maxRetryMs = 30_000;
const discoveryTimeoutMs = 5000;
const openApiTimeoutMs = 60_000;

const aggregated = ['v2', 'v2beta1']
  .map((v) => `application/json;g=apidiscovery.k8s.io;v=${v};as=APIGroupDiscoveryList`)
  .join(',');

/** A group version of an aggregated server as discovery shows it. */
export interface RemoteVersion {
  readonly group: string;
  readonly version: string;
  readonly groupPriority: number;
  readonly versionPriority: number;
  /** apidiscovery APIVersionDiscovery. */
  readonly discovery: Json;
}

/** OpenAPI of one group version. */
export interface RemoteOpenApi {
  readonly service: RemoteService;
  /** Entry of the v3 index: path with hash; undefined where the server has v2 alone. */
  readonly v3: string | undefined;
  /** Its Swagger document, where it has one. */
  readonly v2: Json | undefined;
}

interface Known {
  discovery: Json | undefined;
  stale: boolean;
  v3: string | undefined;
  v2: Json | undefined;
  v2Etag: string;
}

export interface RemoteDocumentsOptions {
  readonly services: ApiServices;
  readonly clock: Clock;
  readonly logger: Logger;
}

export class RemoteDocuments {
  readonly #o: RemoteDocumentsOptions;
  readonly #known = new Map<string, Known>();
  readonly #pending: PendingNames;
  /** Of servers whose discovery failed: how often, and when it is tried again. */
  readonly #failures = new Map<string, { count: number; timer: Timer }>();
  #generation = 0;
  #ticker: Timer | undefined;
  #closed = false;

  constructor(options: RemoteDocumentsOptions) {
    this.#o = options;
    this.#pending = new PendingNames(options.clock, (name) => this.#refresh(name));
    options.services.onChange((name, service) => {
      if (service?.spec?.service === undefined) {
        this.#settle(name);
        if (this.#known.delete(name)) this.#generation++;
        return;
      }
      this.#generation++;
      this.#enqueue(name);
    });
  }

  start(): void {
    this.#ticker = this.#o.clock.setTicker(refreshMs, () => {
      for (const remote of this.#o.services.remotes()) this.#enqueue(remote.name);
    });
  }

  close(): void {
    this.#closed = true;
    this.#pending.close();
    this.#ticker?.cancel();
    for (const { timer } of this.#failures.values()) timer.cancel();
    this.#failures.clear();
  }

  /** Grows with every change. */
  get generation(): number {
    return this.#generation;
  }

  /** What is not known (any more) is shown without resources, as stale. */
  versions(): RemoteVersion[] {
    return [...this.#o.services.remotes()].map((remote) => {
      const known = this.#known.get(remote.name);
      const { group, version, groupPriority, versionPriority } = remote;
      const discovery = {
        ...(known?.discovery ?? { version }),
        freshness: known === undefined || known.stale ? 'Stale' : 'Current',
      };
      return { group, version, groupPriority, versionPriority, discovery };
    });
  }

  openApi(): RemoteOpenApi[] {
    return [...this.#o.services.remotes()].flatMap((service) => {
      const known = this.#known.get(service.name);
      return known === undefined || (known.v3 === undefined && known.v2 === undefined)
        ? []
        : [{ service, v3: known.v3, v2: known.v2 }];
    });
  }

  #enqueue(name: string): void {
    if (this.#closed) return;
    this.#pending.add(name);
  }

  async #refresh(name: string): Promise<void> {
    const remote = [...this.#o.services.remotes()].find((r) => r.name === name);
    if (remote === undefined) return;
    const known: Known = this.#known.get(name) ?? {
      discovery: undefined,
      stale: true,
      v3: undefined,
      v2: undefined,
      v2Etag: '',
    };
    const before = JSON.stringify([known.discovery, known.stale, known.v3, known.v2Etag]);
    // Who does not answer the checks may tell of itself all the same.
    try {
      known.discovery = await this.#discover(remote);
      known.stale = false;
      this.#settle(name);
    } catch (error) {
      known.stale = true;
      const level = remote.available ? 'warn' : 'debug';
      this.#o.logger[level]('discovery of an aggregated API server failed', { name, error });
      this.#retry(name);
    }
    if (remote.available) {
      try {
        await this.#readOpenApi(remote, known);
      } catch (error) {
        this.#o.logger.warn('OpenAPI of an aggregated API server cannot be read', { name, error });
      }
    }
    if (this.#closed || this.#o.services.get(name) === undefined) return;
    this.#known.set(name, known);
    if (JSON.stringify([known.discovery, known.stale, known.v3, known.v2Etag]) !== before) this.#generation++;
  }

  #settle(name: string): void {
    this.#failures.get(name)?.timer.cancel();
    this.#failures.delete(name);
  }

  #retry(name: string): void {
    if (this.#closed || this.#o.services.get(name) === undefined) return;
    const count = this.#failures.get(name)?.count ?? 0;
    this.#failures.get(name)?.timer.cancel();
    const timer = this.#o.clock.setTimer(Math.min(firstRetryMs * 2 ** count, maxRetryMs), () => this.#enqueue(name));
    this.#failures.set(name, { count: count + 1, timer });
  }

  /** From the aggregated document where the server has one, else from that of the group version. */
  async #discover(remote: RemoteService): Promise<Json> {
    const { group, version } = remote;
    const all = await fetchDocument(remote, '/apis', { accept: aggregated, timeoutMs: discoveryTimeoutMs });
    if (all.status === 200 && /as=APIGroupDiscoveryList/.test(all.contentType)) {
      const found = entryOf(parse(all), group, version);
      if (found !== undefined) return found;
      throw new Error(`the server does not serve ${group}/${version}`);
    }
    const path = group === '' ? `/api/${version}` : `/apis/${group}/${version}`;
    const one = await fetchDocument(remote, path, { accept: 'application/json', timeoutMs: discoveryTimeoutMs });
    if (one.status !== 200) throw new Error(`failed to download legacy discovery for ${path}: ${one.status}`);
    return discoveryVersion(parse(one), group, version);
  }

  async #readOpenApi(remote: RemoteService, known: Known): Promise<void> {
    const root = await fetchDocument(remote, '/openapi/v3', {
      accept: 'application/json',
      timeoutMs: openApiTimeoutMs,
    });
    if (root.status === 200) {
      const paths = parse(root)['paths'];
      const key = remote.group === '' ? `api/${remote.version}` : `apis/${remote.group}/${remote.version}`;
      const entry = isObject(paths) ? paths[key] : undefined;
      const url = isObject(entry) ? entry['serverRelativeURL'] : undefined;
      known.v3 = typeof url === 'string' ? url : undefined;
    } else known.v3 = undefined;
    const v2 = await fetchDocument(remote, '/openapi/v2', { accept: 'application/json', timeoutMs: openApiTimeoutMs });
    if (v2.status !== 200) {
      known.v2 = undefined;
      known.v2Etag = '';
      return;
    }
    if (v2.etag !== '' && v2.etag === known.v2Etag) return;
    known.v2 = parse(v2);
    known.v2Etag = v2.etag === '' ? String(v2.body.length) : v2.etag;
  }
}

function parse(document: Document): Json {
  const value: unknown = JSON.parse(document.body.toString('utf8'));
  if (!isObject(value)) throw new Error('not an object');
  return value;
}

/** The APIVersionDiscovery of a group version in an APIGroupDiscoveryList. */
function entryOf(list: Json, group: string, version: string): Json | undefined {
  for (const item of (list['items'] ?? []) as readonly Json[]) {
    if (((item['metadata'] ?? {}) as { name?: string }).name !== group) continue;
    const found = ((item['versions'] ?? []) as readonly Json[]).find((v) => v['version'] === version);
    return found === undefined ? undefined : withKinds(found);
  }
  return undefined;
}

/** Clients of some releases cannot do without the kind that a resource answers with. */
function withKinds(version: Json): Json {
  const filled = (items: unknown): Json[] | undefined =>
    Array.isArray(items)
      ? (items as Json[]).map((item) => {
          const { responseKind, subresources, ...rest } = item;
          const inner = filled(subresources);
          return {
            ...rest,
            responseKind: responseKind ?? { group: '', version: '', kind: '' },
            ...(inner === undefined ? {} : { subresources: inner }),
          };
        })
      : undefined;
  const resources = filled(version['resources']);
  return resources === undefined ? version : { ...version, resources };
}
