/** What the server measures of its requests, with upstream's names and labels, and of its process. */
import type { Clock } from '../../base/clock.ts';
import { ioNow } from '../../base/io-time.ts';
import type { ResourceInfo } from '../../api/catalog/resource.ts';
import type { Scope } from '../filters/scope.ts';
import type { InFlight } from '../filters/max-in-flight.ts';
import type { RequestObserver } from '../generic-server.ts';
import type { Handler } from '../filters/scope.ts';
import type { Distribution, Family, Value } from './exposition.ts';
import { HistogramVector, Vector, computed, expose } from './exposition.ts';

/** Upstream's buckets of apiserver_request_duration_seconds. */
const durationBuckets = [
  0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1, 1.25, 1.5, 2, 3, 4, 5, 6, 8, 10, 15, 20, 30, 45, 60,
];
const sizeBuckets = [1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9];

const methodVerbs: Readonly<Record<string, string>> = {
  get: 'GET',
  list: 'LIST',
  watch: 'WATCH',
  create: 'POST',
  update: 'PUT',
  patch: 'PATCH',
  delete: 'DELETE',
  deletecollection: 'DELETECOLLECTION',
  proxy: 'CONNECT',
};

const connecting = new Set(['log', 'exec', 'attach', 'portforward', 'proxy']);

function verbOf(scope: Scope): string {
  const info = scope.info;
  if (!info.isResourceRequest) return scope.request.method;
  if (connecting.has(info.subresource)) return 'CONNECT';
  if (info.verb === 'patch' && scope.request.headers['content-type']?.startsWith('application/apply-patch') === true)
    return 'APPLY';
  return methodVerbs[info.verb] ?? 'other';
}

function scopeOf(scope: Scope): string {
  const info = scope.info;
  if (!info.isResourceRequest) return '';
  if (info.name !== '') return 'resource';
  return info.namespace !== '' ? 'namespace' : 'cluster';
}

/** The series that one sort of request is counted in, found again without joining their labels. */
interface Counted {
  readonly verb: string;
  readonly where: string;
  readonly subresource: string;
  readonly status: number;
  readonly requests: Value;
  readonly durations: Distribution;
  readonly sizes: Distribution;
}

/** Sorts of requests of a resource that are remembered. */
const maxCounted = 64;

export class RequestMetrics implements RequestObserver {
  readonly #requests = new Vector(
    'counter',
    'apiserver_request_total',
    'Counter of apiserver requests broken out for each verb, dry run value, group, version, resource, scope, component, and HTTP response code.',
  );
  readonly #durations = new HistogramVector(
    'apiserver_request_duration_seconds',
    'Response latency distribution in seconds for each verb, dry run value, group, version, resource, subresource, scope and component.',
    durationBuckets,
  );
  readonly #sizes = new HistogramVector(
    'apiserver_response_sizes',
    'Response size distribution in bytes for each group, version, verb, resource, subresource, scope and component.',
    sizeBuckets,
  );
  readonly #longRunning = new Vector(
    'gauge',
    'apiserver_longrunning_requests',
    'Gauge of all active long-running apiserver requests broken out by verb, group, version, resource, scope and component. Not all requests are tracked this way.',
  );
  readonly #dropped = new Vector(
    'counter',
    'apiserver_request_terminations_total',
    'Number of requests which apiserver terminated in self-defense.',
  );
  readonly #watchers = new Vector(
    'gauge',
    'apiserver_registered_watchers',
    'Number of currently registered watchers for a given resource.',
  );
  readonly #counted = new WeakMap<ResourceInfo, Counted[]>();
  readonly #families: Family[];
  readonly #startSeconds: number;

  /** Told of watches that begin and end, besides their counters. */
  onWatch: ((scope: Scope, by: 1 | -1) => void) | undefined = undefined;

  constructor(clock: Clock, inFlight: () => InFlight) {
    this.#startSeconds = clock.now() / 1000;
    this.#families = [
      this.#requests,
      this.#durations,
      this.#sizes,
      this.#longRunning,
      this.#dropped,
      this.#watchers,
      computed(
        'gauge',
        'apiserver_current_inflight_requests',
        'Maximal number of currently used inflight request limit of this apiserver per request kind in last second.',
        () => [
          [{ request_kind: 'mutating' }, inFlight().writing],
          [{ request_kind: 'readOnly' }, inFlight().reading],
        ],
      ),
      ...this.#process(),
    ];
  }

  #process(): Family[] {
    return [
      computed('counter', 'process_cpu_seconds_total', 'Total user and system CPU time spent in seconds.', () => {
        const { user, system } = process.cpuUsage();
        return [[{}, (user + system) / 1e6]];
      }),
      computed('gauge', 'process_resident_memory_bytes', 'Resident memory size in bytes.', () => [
        [{}, process.memoryUsage.rss()],
      ]),
      computed('gauge', 'process_start_time_seconds', 'Start time of the process since unix epoch in seconds.', () => [
        [{}, this.#startSeconds],
      ]),
      computed('gauge', 'nodejs_heap_size_used_bytes', 'Heap of the JavaScript engine in use, in bytes.', () => [
        [{}, process.memoryUsage().heapUsed],
      ]),
    ];
  }

  /** More families: of the store, the watch caches, admission. */
  register(...families: Family[]): void {
    this.#families.push(...families);
  }

  started(): void {}

  finished(scope: Scope, status: number, bytes: number): void {
    const info = scope.info;
    const verb = verbOf(scope);
    const where = scopeOf(scope);
    const known = scope.resource === undefined ? undefined : this.#counted.get(scope.resource);
    if (known !== undefined && bytes > 0 && !scope.longRunning) {
      for (const c of known) {
        if (c.status !== status || c.verb !== verb || c.where !== where || c.subresource !== info.subresource) continue;
        c.requests.inc();
        c.durations.observe((ioNow() - scope.receivedAt) / 1000);
        c.sizes.observe(bytes);
        return;
      }
    }
    const resource = scope.resource === undefined ? '' : info.resource;
    const key = `${verb} ${info.group} ${info.version} ${resource} ${info.subresource} ${where}`;
    const labels = () => ({
      verb,
      dry_run: '',
      group: info.group,
      version: info.version,
      resource,
      subresource: info.subresource,
      scope: where,
      component: 'apiserver',
    });
    const requests = this.#requests.series(`${key} ${status}`, () => ({ ...labels(), code: String(status) }));
    requests.inc();
    if (scope.longRunning) return;
    const durations = this.#durations.series(key, labels);
    durations.observe((ioNow() - scope.receivedAt) / 1000);
    if (bytes === 0) return;
    const sizes = this.#sizes.series(key, () => {
      const { dry_run: _dryRun, ...rest } = labels();
      return rest;
    });
    sizes.observe(bytes);
    if (scope.resource === undefined || (known?.length ?? 0) >= maxCounted) return;
    const counted = { verb, where, subresource: info.subresource, status, requests, durations, sizes };
    if (known === undefined) this.#counted.set(scope.resource, [counted]);
    else known.push(counted);
  }

  dropped(scope: Scope): void {
    const info = scope.info;
    this.#dropped
      .series(`${info.group} ${info.version} ${info.resource} ${info.verb}`, () => ({
        verb: verbOf(scope),
        group: info.group,
        version: info.version,
        resource: info.resource,
        scope: scopeOf(scope),
        component: 'apiserver',
        code: '429',
      }))
      .inc();
  }

  #watching(scope: Scope, by: 1 | -1): void {
    this.onWatch?.(scope, by);
    const { group, version, resource } = scope.info;
    const key = `${group} ${version} ${resource}`;
    const kind = scope.resource?.kind ?? '';
    this.#watchers.series(key, () => ({ group, version, kind })).inc(by);
    this.#longRunning
      .series(key, () => ({
        verb: 'WATCH',
        group,
        version,
        resource,
        subresource: '',
        scope: scopeOf(scope),
        component: 'apiserver',
      }))
      .inc(by);
  }

  watchStarted(scope: Scope): void {
    this.#watching(scope, 1);
  }

  watchEnded(scope: Scope): void {
    this.#watching(scope, -1);
  }

  /** Serves the text format. `prepare` runs first, for what cannot be read at once. */
  handler(prepare: () => Promise<void> = () => Promise.resolve()): Handler {
    return async () => {
      await prepare();
      return {
        status: 200,
        body: {
          kind: 'bytes',
          contentType: 'text/plain; version=0.0.4; charset=utf-8',
          bytes: Buffer.from(expose(this.#families)),
        },
      };
    };
  }
}
