/**
 * The paths that a server answers beside its resources: discovery, OpenAPI, version, metrics, health, the issuer's documents,
 * profiles and zpages, and the index of them all.
 */
import { noSuchMethod } from './director.ts';
import { checkProduced } from './produced-types.ts';
import type { OidcDocument } from './authentication/oidc-discovery.ts';
import { ioNow, ioTimer } from '../base/io-time.ts';
import type { Catalog } from '../api/catalog/catalog.ts';
import { ProtobufObjects } from '../api/protobuf.ts';
import type { FeatureGates } from '../api/features/feature-gates.ts';
import { loadDescriptions } from '../api/schema/descriptions.ts';
import type { Describe } from '../api/schema/openapi.ts';
import { AuditMetrics } from './audit/metrics.ts';
import type { Aggregation } from './aggregation/aggregation.ts';
import { Discovery } from './discovery/discovery.ts';
import { installLogFiles } from './debug/log-files.ts';
import { installProfiling } from './debug/profiling.ts';
import { postStartHooks } from './debug/post-start-hooks.ts';
import { installZPages } from './debug/zpages.ts';
import { indexHandler } from './discovery/index-paths.ts';
import { versionHandler } from './discovery/version.ts';
import { installFlowControlDebug } from './flowcontrol/debug.ts';
import type { FlowControl } from './flowcontrol/flow-control.ts';
import type { Health } from './health.ts';
import { computed, expose } from './metrics/exposition.ts';
import { helpOf } from './metrics/stability.ts';
import { cacheFamilies } from './metrics/cache-metrics.ts';
import { metricsType } from './metrics/request-metrics.ts';
import type { RequestMetrics } from './metrics/request-metrics.ts';
import type { ApiServerOptions } from './options.ts';
import { OpenAPIService } from './openapi/openapi.ts';
import type { RegistriesImpl } from './registry/registries.ts';
import type { ResourceDirectory } from './resource-directory.ts';
import type { Routes } from './routes.ts';

export interface ServedPaths {
  readonly options: ApiServerOptions;
  readonly catalog: Catalog;
  readonly gitVersion: string;
  readonly features: FeatureGates;
  readonly directory: ResourceDirectory;
  readonly registries: RegistriesImpl;
  readonly metrics: RequestMetrics;
  readonly health: Health;
  /** Documents of aggregated servers. */
  readonly remote: Aggregation['documents'];
  /** Of the issuer of service account tokens. */
  readonly documents: readonly OidcDocument[];
  readonly flowControl: FlowControl | undefined;
  serverAddress(): string;
  /** The bootstrap is finished. */
  started(): boolean;
  ending(): boolean;
}

/** The texts of the API, read when the first OpenAPI document is made. */
function lazyDescriptions(): Describe {
  let loaded: Describe | undefined;
  return (definition, field) => (loaded ??= loadDescriptions())(definition, field);
}

/** Fails when it takes longer than `ms` real milliseconds; undefined: it may take its time. */
function within(ms: number | undefined, work: Promise<unknown>): Promise<void> {
  if (ms === undefined) return work.then(() => {});
  return new Promise((resolve, reject) => {
    const cancel = ioTimer(ms, () => reject(new Error('context deadline exceeded')));
    work.then(() => resolve(), reject).finally(cancel);
  });
}

/** `routes`: where the paths are added. */
export function installServedPaths(routes: Routes, o: ServedPaths): void {
  const { options, catalog, gitVersion, directory, registries, metrics, health } = o;
  const discovery = new Discovery({
    directory,
    protobuf: new ProtobufObjects(catalog),
    remote: o.remote,
    serverAddress: () => o.serverAddress(),
  });
  discovery.install(routes);
  metrics.register(...discovery.families);
  // Without auditing there is nothing to count, but the names are there.
  if (options.audit === undefined) metrics.register(...new AuditMetrics().families);
  new OpenAPIService({
    directory,
    catalog,
    describe: lazyDescriptions(),
    gitVersion,
    customSchema: (resource) => directory.customSchema(resource),
    remote: o.remote,
  }).install(routes);
  const version = versionHandler({ gitVersion, effective: options.effectiveVersion });
  routes.add('/version', version);
  routes.add('/version/', version, false);
  const storage = options.storage ?? {};
  const counts = (): ReturnType<RegistriesImpl['counts']> =>
    storage.countMetrics === false ? [] : registries.counts();
  let storeBytes = 0;
  metrics.register(
    computed(
      'gauge',
      'apiserver_storage_size_bytes',
      'Size of the storage database file physically allocated in bytes.',
      () => (storage.sizeMetrics === false ? [] : [[{ storage_cluster_id: 'etcd-0' }, storeBytes]]),
    ),
    computed(
      'gauge',
      'apiserver_storage_objects',
      '[DEPRECATED, consider using apiserver_resource_objects instead] Number of stored objects at the time of last check split by kind. In case of a fetching error, the value will be -1.',
      () =>
        [...counts()].map(
          ({ resource: r, objects }) =>
            [{ resource: r.group === '' ? r.resource : `${r.resource}.${r.group}` }, objects] as const,
        ),
    ),
    computed(
      'gauge',
      'apiserver_storage_db_total_size_in_bytes',
      'Total size of the storage database file physically allocated in bytes.',
      () => (storage.sizeMetrics === false ? [] : [[{ endpoint: storage.endpoint ?? 'embedded' }, storeBytes]]),
    ),
    ...registries.families,
    ...cacheFamilies(() => registries.counts()),
    computed(
      'gauge',
      'apiserver_resource_objects',
      'Number of stored objects at the time of last check split by kind. In case of a fetching error, the value will be -1.',
      () =>
        [...counts()].map(({ resource: r, objects }) => [{ group: r.group, resource: r.resource }, objects] as const),
    ),
  );
  routes.add(
    '/metrics',
    metrics.handler(async () => {
      if (storage.sizeMetrics !== false) storeBytes = await options.store.size();
    }),
  );
  for (const document of o.documents) {
    routes.add(document.path, ({ request }) => {
      if (request.method !== 'GET') throw noSuchMethod();
      checkProduced(request.headers['accept'], [document.contentType]);
      return {
        status: 200,
        headers: { 'cache-control': document.cacheControl() },
        body: { kind: 'bytes', contentType: document.contentType, bytes: document.body() },
      };
    });
  }
  if (o.flowControl !== undefined) installFlowControlDebug(routes, o.flowControl, options.clock);
  // Upstream calls itself over TLS with a certificate of its own, which may expire; here nothing does.
  health.add('loopback-serving-certificate', () => {}, ['healthz', 'livez']);
  health.add('etcd', () => within(storage.healthTimeoutMs, options.store.currentRevision()));
  health.add('etcd-readiness', () => within(storage.readyTimeoutMs, options.store.currentRevision()), ['readyz']);
  health.add('informer-sync', () => {}, ['readyz']);
  const operations = options.operations ?? {};
  const began = ioNow();
  const started = (): void => {
    if (!o.started()) throw new Error('not finished');
  };
  const alive = (): void => {
    if (ioNow() - began > (operations.livezGraceMs ?? 0)) started();
  };
  for (const hook of postStartHooks) {
    health.add(hook, started, ['healthz', 'readyz']);
    health.add(hook, alive, ['livez']);
  }
  health.add(
    'shutdown',
    () => {
      if (o.ending()) throw new Error('process is shutting down');
    },
    ['readyz'],
  );
  health.install(routes);
  const paths = (): string[] => [...routes.listed, ...discovery.paths(), ...health.paths()];
  routes.add('/metrics/slis', () => ({
    status: 200,
    body: {
      kind: 'bytes',
      contentType: metricsType,
      bytes: Buffer.from(expose(health.metrics.families, helpOf)),
    },
  }));
  if (operations.profiling !== false) installProfiling(routes);
  if (operations.logFiles === true) installLogFiles(routes);
  installZPages(routes, {
    component: 'apiserver',
    clock: options.clock,
    random: options.random,
    gitVersion,
    emulationVersion: options.effectiveVersion?.emulation,
    paths,
    statusz: o.features.enabled('ComponentStatusz'),
    cbor: o.features.enabled('CBORServingAndStorage'),
    flags: o.features.enabled('ComponentFlagz') ? operations.flags : undefined,
  });
  const index = indexHandler(paths);
  routes.add('/', index, false);
  routes.add('/index.html', index, false);
}
