/** For tests and benchmarks of this room: registries and verbs over the memory store, spoken to by method, path and body. */
import type { Clock } from '../../base/clock.ts';
import { SystemClock } from '../../base/clock.ts';
import { silentLogger } from '../../base/logger.ts';
import { SeededRandom } from '../../base/random.ts';
import { loadCatalog } from '../../api/catalog/catalog.ts';
import { StatusError } from '../../api/status.ts';
import { openEmbeddedStore } from '../../etcd/embedded-store.ts';
import type { KeyValueStore } from '../../etcd/store.ts';
import type { Admission } from '../context.ts';
import { parseRequestInfo } from '../filters/request-info.ts';
import { Scope } from '../filters/scope.ts';
import { defaultStrategiesFor } from '../registry/default-strategy.ts';
import { RegistriesImpl } from '../registry/registries.ts';
import type { CommittedEvent, IncomingRequest, OutgoingResponse, WatchSource } from '../request.ts';
import { writeCommitted } from '../storage/codec.ts';
import type { StrategyCatalog } from '../strategy.ts';
import { createVerbs } from './verbs.ts';

// eslint-disable-next-line @typescript-eslint/no-explicit-any
export type Json = any;

interface Answer {
  readonly status: number;
  readonly body: Json;
  readonly warnings: readonly string[];
  readonly response: OutgoingResponse | undefined;
}

export interface HarnessOptions {
  readonly clock?: Clock;
  readonly strategies?: StrategyCatalog;
  readonly admission?: Admission;
  readonly windowBytes?: number;
  readonly historyAgeMs?: number;
  /** A store in front of the memory store, as if it were a remote one. */
  readonly remote?: (store: KeyValueStore) => KeyValueStore;
  /** Freezes what is committed; default true. */
  readonly freeze?: boolean;
}

export interface Harness {
  readonly registries: RegistriesImpl;
  readonly store: KeyValueStore;
  readonly clock: Clock;
  /** `body` is sent as JSON unless it is text. Errors become their Status. */
  request(method: string, url: string, body?: Json, contentType?: string): Promise<Answer>;
  /** A watch that must succeed. */
  watch(url: string): Promise<WatchSource>;
  close(): Promise<void>;
}

const never = new AbortController().signal;

/** Strategies of kinds without particulars. */
export function plainStrategies(): StrategyCatalog {
  const catalog = loadCatalog();
  return {
    strategies: (group, resource) =>
      defaultStrategiesFor(catalog.resources.find((r) => r.group === group && r.resource === resource)!),
  };
}

export async function startHarness(options: HarnessOptions = {}): Promise<Harness> {
  const clock = options.clock ?? new SystemClock();
  const catalog = loadCatalog();
  const embedded = await openEmbeddedStore({
    engine: 'memory',
    clock,
    logger: silentLogger,
    historyAgeMs: options.historyAgeMs,
  });
  const store = options.remote?.(embedded) ?? embedded;
  const registries = new RegistriesImpl({
    store,
    embedded: options.remote === undefined,
    clock,
    random: new SeededRandom(1),
    logger: silentLogger,
    catalog,
    strategies: options.strategies ?? plainStrategies(),
    freeze: options.freeze ?? true,
    windowBytes: options.windowBytes,
    detectCacheInconsistency: true,
  });
  if (options.admission !== undefined) registries.setAdmission(options.admission);
  const verbs = createVerbs({ registries, catalog, clock, admission: () => options.admission });

  const scopeOf = (method: string, url: string, body: Json, contentType: string | undefined): Scope => {
    const at = url.indexOf('?');
    const path = at < 0 ? url : url.slice(0, at);
    const bytes = Buffer.from(typeof body === 'string' ? body : (JSON.stringify(body) ?? ''), 'utf8');
    const request: IncomingRequest = {
      method,
      path,
      query: new URLSearchParams(at < 0 ? '' : url.slice(at + 1)),
      headers: { 'user-agent': 'test/1', ...(contentType === undefined ? {} : { 'content-type': contentType }) },
      body:
        body === undefined
          ? { kind: 'none' }
          : {
              kind: 'bytes',
              async read(limit) {
                if (bytes.length > limit) throw new StatusError(413, 'RequestEntityTooLarge', `limit is ${limit}`);
                return bytes;
              },
            },
      remoteAddress: '127.0.0.1',
      signal: never,
      wantsObjects: false,
    };
    const scope = new Scope(request, 'test', 0);
    scope.info = parseRequestInfo(request);
    scope.user = { name: 'tester', groups: [] };
    scope.resource =
      registries.custom(scope.info.group, scope.info.version, scope.info.resource) ??
      catalog.resource(scope.info.group, scope.info.version, scope.info.resource);
    if (scope.resource === undefined) throw new Error(`no resource at ${url}`);
    return scope;
  };

  const bodyOf = (scope: Scope, response: OutgoingResponse): Json => {
    const apiVersion = scope.info.group === '' ? scope.info.version : `${scope.info.group}/${scope.info.version}`;
    const { body } = response;
    switch (body.kind) {
      case 'object':
        return JSON.parse(JSON.stringify(body.object)) as Json;
      case 'committed':
        return JSON.parse(writeCommitted(body.committed, { typeHeader: true, apiVersion }).toString('utf8')) as Json;
      case 'list':
        return {
          metadata: {
            resourceVersion: body.resourceVersion,
            ...(body.continue === undefined ? {} : { continue: body.continue }),
            ...(body.remainingItemCount === undefined ? {} : { remainingItemCount: body.remainingItemCount }),
          },
          items: [...body.items].map(
            (i) => JSON.parse(writeCommitted(i, { typeHeader: false, apiVersion }).toString('utf8')) as Json,
          ),
        };
      default:
        return undefined;
    }
  };

  return {
    registries,
    store,
    clock,
    async request(method, url, body, contentType) {
      const scope = scopeOf(method, url, body, contentType);
      try {
        const response = await verbs.handle(scope);
        return {
          status: response.status,
          body: bodyOf(scope, response),
          warnings: scope.warnings?.values ?? [],
          response,
        };
      } catch (error) {
        if (!(error instanceof StatusError)) throw error;
        return {
          status: error.code,
          body: error.toStatus(),
          warnings: scope.warnings?.values ?? [],
          response: undefined,
        };
      }
    },
    async watch(url) {
      const scope = scopeOf('GET', url, undefined, undefined);
      const { body } = await verbs.handle(scope);
      if (body.kind !== 'watch') throw new Error('not a watch');
      return body.source;
    },
    async close() {
      registries.close();
      await store.close();
    },
  };
}

/** The next `count` events of a watch as `TYPE name@resourceVersion`-like parts. */
export async function take(source: WatchSource, count: number): Promise<CommittedEvent[]> {
  const events: CommittedEvent[] = [];
  while (events.length < count) {
    const next = await source.next();
    if (next === undefined) break;
    events.push(...next);
  }
  return events;
}

/** `ADDED a`, … */
export function told(events: readonly CommittedEvent[]): string[] {
  return events.map((e) => (e.type === 'BOOKMARK' ? 'BOOKMARK' : `${e.type} ${e.committed.name}`));
}
