/** What the server measures of its requests, with upstream's names and labels, and of its process. */
import type { Clock } from '../../base/clock.ts';
import { ioNow } from '../../base/io-time.ts';
import { chosenMetrics, type MetricChoice } from '../../base/metric-choice.ts';
import type { ResourceInfo } from '../../api/catalog/resource.ts';
import type { Scope } from '../filters/scope.ts';
import type { InFlight } from '../filters/max-in-flight.ts';
import type { RequestObserver } from '../generic-server.ts';
import type { Handler } from '../filters/scope.ts';
import type { Distribution, Family, Value } from './exposition.ts';
import { HistogramVector, Vector, alsoNamed, computed, expose } from './exposition.ts';
import { processFamilies } from './process-metrics.ts';
import { helpOf, metaFamilies } from './stability.ts';

/** Upstream's buckets of apiserver_request_duration_seconds. */
const durationBuckets = [
  0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1, 1.25, 1.5, 2, 3, 4, 5, 6, 8, 10, 15, 20, 30, 45, 60,
];
/** Without the time that webhooks and queues took. */
const sliBuckets = durationBuckets.slice(2);
const watchListBuckets = [0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1, 2, 4, 6, 8, 10, 15, 20, 30, 45, 60];
const sizeBuckets = [1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9];

const methodVerbs: Readonly<Record<string, string>> = {
  get: 'GET',
  list: 'LIST',
  watch: 'WATCH',
  create: 'POST',
  update: 'PUT',
  patch: 'PATCH',
  delete: 'DELETE',
  // As the method says.
  deletecollection: 'DELETE',
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
  if (info.name !== '' || info.verb === 'create') return 'resource';
  return info.namespace !== '' ? 'namespace' : 'cluster';
}

/** Clients whose requests are told apart. */
const systemClients = new Set([
  'kube-apiserver',
  'kube-controller-manager',
  'kube-scheduler',
  'cluster-policy-controller',
]);

function systemClient(scope: Scope): string {
  const agent = scope.request.headers['user-agent'];
  if (agent === undefined || (!agent.startsWith('kube-') && !agent.startsWith('cluster-'))) return '';
  const slash = agent.indexOf('/');
  const name = slash < 0 ? '' : agent.slice(0, slash);
  return systemClients.has(name) ? name : '';
}

/** What `dryRun` says, sorted and each value once. */
function dryRun(scope: Scope): string {
  const { request } = scope;
  if (request.rawQuery === '' || request.rawQuery?.includes('dryRun') === false) return '';
  const values = request.query.getAll('dryRun');
  if (values.some((v) => v !== 'All')) return 'invalid';
  return values.length === 0 ? '' : 'All';
}

/** Paths that are no resource and stand as subresource. */
const plainPaths = new Set(['/healthz', '/livez', '/readyz', '/metrics', '/version', '/openapi/v2', '/openapi/v3']);

function pathOf(path: string): string {
  if (plainPaths.has(path)) return path;
  return /^\/(?:healthz|livez|readyz)\//.test(path) ? path.slice(0, path.indexOf('/', 1)) : '';
}

/** The series that one sort of request is counted in, found again without joining their labels. */
interface Counted {
  readonly verb: string;
  readonly where: string;
  readonly subresource: string;
  readonly status: number;
  readonly client: string;
  readonly requests: Value;
  readonly durations: Distribution;
  readonly withoutWaiting: Distribution;
  readonly sizes: Distribution | undefined;
}

/** Sorts of requests of a resource that are remembered. */
const maxCounted = 64;

/** The text format; names without what PromQL's grammar does not have. */
export const metricsType = 'text/plain; version=0.0.4; charset=utf-8; escaping=underscores';

/** Verbs whose requests may ask for validation of their fields. */
const written = new Set(['POST', 'PUT', 'PATCH', 'APPLY']);
const fieldValidations = new Set(['', 'Ignore', 'Warn', 'Strict']);

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
  readonly #withoutWaiting = new HistogramVector(
    'apiserver_request_sli_duration_seconds',
    'Response latency distribution (not counting webhook duration and priority & fairness queue wait times) in seconds for each verb, group, version, resource, subresource, scope and component.',
    sliBuckets,
  );
  readonly #watchLists = new HistogramVector(
    'apiserver_watch_list_duration_seconds',
    'Response latency distribution in seconds for watch list requests broken by group, version, resource and scope.',
    watchListBuckets,
  );
  readonly #bodies = new HistogramVector(
    'apiserver_request_body_size_bytes',
    'Apiserver request body size in bytes broken out by resource and verb.',
    Array.from({ length: 31 }, (_, i) => 50_000 + i * 100_000),
  );
  readonly #watchSizes = new HistogramVector(
    'apiserver_watch_events_sizes',
    'Watch event size distribution in bytes',
    Array.from({ length: 8 }, (_, i) => 1024 * 2 ** i),
  );
  readonly #watchEvents = new Vector(
    'counter',
    'apiserver_watch_events_total',
    'Number of events sent in watch clients',
  );
  readonly #deprecated = new Vector(
    'gauge',
    'apiserver_requested_deprecated_apis',
    'Gauge of deprecated APIs that have been requested, broken out by API group, version, resource, subresource, and removed_release.',
  );
  readonly #selfRequests = new Vector(
    'counter',
    'apiserver_selfrequest_total',
    'Counter of apiserver self-requests broken out for each verb, API resource and subresource.',
  );
  readonly #tlsErrors = new Vector(
    'counter',
    'apiserver_tls_handshake_errors_total',
    "Number of requests dropped with 'TLS handshake error from' error",
  );
  readonly #tlsError = this.#tlsErrors.series('', () => ({}));
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
  readonly #fieldValidation = new HistogramVector(
    'field_validation_request_duration_seconds',
    'Response latency distribution in seconds for each field validation value',
    [0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1, 1.25, 1.5, 2, 3, 4, 5, 6, 8, 10, 15, 20, 30, 45, 60],
  );
  readonly #unasked = this.#fieldValidation.series('', () => ({ field_validation: '' }));
  readonly #watchers = new Vector(
    'gauge',
    'apiserver_registered_watchers',
    'Number of currently registered watchers for a given resource.',
  );
  readonly #counted = new WeakMap<ResourceInfo, Counted[]>();
  readonly #families: Family[];

  /** Told of watches that begin and end, besides their counters. */
  onWatch: ((scope: Scope, by: 1 | -1) => void) | undefined = undefined;

  readonly #choice: MetricChoice | undefined;

  constructor(clock: Clock, inFlight: () => InFlight, choice?: MetricChoice) {
    this.#choice = choice;
    this.#families = [
      this.#requests,
      this.#durations,
      this.#sizes,
      this.#withoutWaiting,
      alsoNamed(
        'apiserver_request_slo_duration_seconds',
        'Response latency distribution (not counting webhook duration and priority & fairness queue wait times) in seconds for each verb, group, version, resource, subresource, scope and component.',
        this.#withoutWaiting,
      ),
      this.#watchLists,
      this.#watchEvents,
      this.#watchSizes,
      this.#bodies,
      this.#fieldValidation,
      this.#deprecated,
      this.#selfRequests,
      this.#tlsErrors,
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
      ...processFamilies(clock),
      ...metaFamilies(() => this.#families),
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
    const client = systemClient(scope);
    const dry = dryRun(scope);
    const known = scope.resource === undefined ? undefined : this.#counted.get(scope.resource);
    const seconds = (ioNow() - scope.receivedAt) / 1000;
    // As upstream: refused before it came to a resource, passed on, or of what there is not. Nobody can make series of any name.
    if (info.isResourceRequest && scope.resource === undefined) return;
    const length = scope.request.headers['content-length'];
    if (length !== undefined && info.isResourceRequest) {
      const { group, resource } = info;
      const asked = info.verb === 'deletecollection' ? 'delete_collection' : info.verb;
      const sizes = this.#bodies.series(`${group} ${resource} ${asked}`, () => ({ group, resource, verb: asked }));
      sizes.observe(Number(length));
    }
    if (written.has(verb) && info.isResourceRequest) this.#validated(scope.request).observe(seconds);
    if (known !== undefined && bytes > 0 && !scope.longRunning && dry === '') {
      for (const c of known) {
        if (c.status !== status || c.verb !== verb || c.where !== where || c.subresource !== info.subresource) continue;
        if (c.client !== client) continue;
        c.requests.inc();
        c.durations.observe(seconds);
        c.withoutWaiting.observe(seconds - scope.waitedMs / 1000);
        c.sizes?.observe(bytes);
        return;
      }
    }
    const resource = scope.resource === undefined ? '' : info.resource;
    const subresource = info.isResourceRequest ? info.subresource : pathOf(info.path);
    const key = `${verb} ${info.group} ${info.version} ${resource} ${subresource} ${where}`;
    const plain = () => ({
      component: 'apiserver',
      group: info.group,
      resource,
      scope: where,
      subresource,
      verb,
      version: info.version,
    });
    const labels = () => ({ ...plain(), dry_run: dry });
    const requests = this.#requests.series(`${key} ${status} ${dry} ${client}`, () => ({
      ...labels(),
      code: String(status),
      system_client: client,
    }));
    requests.inc();
    if (client === 'kube-apiserver')
      this.#selfRequests.series(key, () => ({ group: info.group, resource, subresource, verb })).inc();
    const removed = scope.resource?.warning;
    if (removed !== undefined)
      this.#deprecated.series(key, () => ({
        group: info.group,
        removed_release: /unavailable in v(\d+\.\d+)\+/.exec(removed)?.[1] ?? '',
        resource,
        subresource,
        version: info.version,
      })).value = 1;
    if (scope.longRunning) return;
    const durations = this.#durations.series(`${key} ${dry}`, labels);
    durations.observe(seconds);
    const withoutWaiting = this.#withoutWaiting.series(key, plain);
    if (dry === '') withoutWaiting.observe(seconds - scope.waitedMs / 1000);
    if (bytes === 0) return;
    const sizes = verb === 'GET' || verb === 'LIST' ? this.#sizes.series(key, plain) : undefined;
    sizes?.observe(bytes);
    if (scope.resource === undefined || removed !== undefined || dry !== '' || client === 'kube-apiserver') return;
    if ((known?.length ?? 0) >= maxCounted) return;
    const counted = {
      ...{ verb, where, subresource: info.subresource, status, client },
      ...{ requests, durations, withoutWaiting, sizes },
    };
    if (known === undefined) this.#counted.set(scope.resource, [counted]);
    else known.push(counted);
  }

  /** What was asked of the validation of fields; anything unknown is invalid. */
  #validated(request: Scope['request']): Distribution {
    const raw = request.rawQuery;
    if (raw !== undefined && !raw.includes('fieldValidation')) return this.#unasked;
    const asked = request.query.get('fieldValidation') ?? '';
    const value = fieldValidations.has(asked) ? asked : 'invalid';
    return this.#fieldValidation.series(value, () => ({ field_validation: value }));
  }

  dropped(scope: Scope): void {
    this.terminated(scope, 429, 'apiserver');
    const { group, version, resource, subresource, isResourceRequest } = scope.info;
    if (!isResourceRequest) return;
    const dry = dryRun(scope);
    const verb = verbOf(scope);
    const where = scopeOf(scope);
    this.#requests
      .series(`${verb} ${group} ${version} ${resource} ${subresource} ${where} 429 ${dry} `, () => ({
        ...{ component: 'apiserver', dry_run: dry, group, resource, scope: where, subresource, verb, version },
        code: '429',
        system_client: '',
      }))
      .inc();
  }

  terminated(scope: Scope, code: number, component: 'apiserver' | 'aggregator'): void {
    const { group, version, resource, isResourceRequest, path } = scope.info;
    const subresource = isResourceRequest ? scope.info.subresource : pathOf(path);
    const verb = verbOf(scope);
    const where = scopeOf(scope);
    this.#dropped
      .series(`${component} ${code} ${verb} ${group} ${version} ${resource} ${subresource} ${where}`, () => ({
        ...{ code: String(code), component, group, resource, scope: where, subresource, verb, version },
      }))
      .inc();
  }

  #watching(scope: Scope, by: 1 | -1): void {
    this.onWatch?.(scope, by);
    const { group, version, resource } = scope.info;
    const kind = scope.resource?.kind ?? '';
    this.#watchers.series(`${group} ${version} ${resource}`, () => ({ group, kind, version })).inc(by);
    this.lasting(scope, by);
  }

  /** A request that lasts begins or ends. */
  lasting(scope: Scope, by: 1 | -1): void {
    const { group, version, resource, subresource } = scope.info;
    const verb = verbOf(scope);
    const where = scopeOf(scope);
    this.#longRunning
      .series(`${verb} ${group} ${version} ${resource} ${subresource} ${where}`, () => ({
        component: 'apiserver',
        group,
        resource,
        scope: where,
        subresource,
        verb,
        version,
      }))
      .inc(by);
  }

  /** Where the events that go out over a watch are counted. */
  watchEvents(scope: Scope): Value {
    const { group, version, resource } = scope.info;
    return this.#watchEvents.series(`${group} ${version} ${resource}`, () => ({ group, resource, version }));
  }

  /** Where the sizes of those events are seen. */
  watchSizes(scope: Scope): Distribution {
    const { group, version, resource } = scope.info;
    return this.#watchSizes.series(`${group} ${version} ${resource}`, () => ({ group, resource, version }));
  }

  /** The initial events of a watch have been sent. */
  watchListed(scope: Scope): void {
    const { group, version, resource } = scope.info;
    const where = scopeOf(scope);
    this.#watchLists
      .series(`${group} ${version} ${resource} ${where}`, () => ({ group, resource, scope: where, version }))
      .observe((ioNow() - scope.receivedAt) / 1000);
  }

  tlsHandshakeFailed(): void {
    this.#tlsError.inc();
  }

  watchStarted(scope: Scope): void {
    this.#watching(scope, 1);
  }

  watchEnded(scope: Scope): void {
    this.#watching(scope, -1);
  }

  /** Serves the text format, as upstream's does. `prepare` runs first, for what cannot be read at once. */
  handler(prepare: () => Promise<void> = () => Promise.resolve()): Handler {
    return async () => {
      await prepare();
      return {
        status: 200,
        body: {
          kind: 'bytes',
          contentType: metricsType,
          bytes: Buffer.from(expose(chosenMetrics(this.#families, this.#choice), helpOf)),
        },
      };
    };
  }
}
