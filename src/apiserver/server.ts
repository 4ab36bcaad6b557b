/**
 * `createApiServer`: kube-apiserver put together: registries and verbs over a store, authentication, authorization and
 * admission, discovery, OpenAPI, health and metrics, the filter chain around them, and the transports that lead in.
 */
import { hostname } from 'node:os';
import { ioSleep } from '../base/io-time.ts';
import type { Logger } from '../base/logger.ts';
import { loadCatalog } from '../api/catalog/catalog.ts';
import type { Catalog } from '../api/catalog/catalog.ts';
import { CborObjects } from '../api/codec/cbor-objects.ts';
import { FeatureGates } from '../api/features/feature-gates.ts';
import { ProtobufObjects } from '../api/protobuf.ts';
import type { ObjectSchema } from '../api/schema/schema.ts';
import type { Transport } from '../client/transport.ts';
import { Aggregation } from './aggregation/aggregation.ts';
import { servedResources } from './api-enablement.ts';
import { createAdmissionChain } from './admission/chain.ts';
import { AdmissionMetrics } from './admission/metrics.ts';
import { builtInPlugins } from './admission/plugins.ts';
import { PodSecurityMetrics } from './admission/pod-security/metrics.ts';
import { webhookConditions } from './admission/policy/conditions.ts';
import { resourceOfKind } from './admission/policy/params.ts';
import { createPolicyAdmission, type PolicyAdmission } from './admission/policy/policy-admission.ts';
import { createWebhookAdmission, type WebhookAdmission } from './admission/webhook/webhook-admission.ts';
import { externalAddress, kubernetesService, serviceRanges } from './advertised.ts';
import { Allocation } from './allocators/allocation.ts';
import { createParamAccess } from './authorization/param-access.ts';
import { defaultRequestHeaders } from './authentication/request-header.ts';
import { bootstrap, ensureStanding, publishAuthentication } from './bootstrap/bootstrap.ts';
import { bootstrapped, warmed } from './bootstrap/first-reads.ts';
import type { AuthenticationFiles } from './bootstrap/objects.ts';
import type { AdvertisedAddress } from './bootstrap/objects.ts';
import { StartWrites } from './bootstrap/start-writes.ts';
import { ServerEndpoints } from './bootstrap/server-endpoints.ts';
import { StandingObjects } from './bootstrap/standing-objects.ts';
import { LegacyTokenTracking } from './bootstrap/legacy-token-tracking.ts';
import { apiServerId, IdentityLease } from './bootstrap/identity-lease.ts';
import { createConnectHandler, type Session } from './connect/connect.ts';
import { LogMetrics } from './connect/log-metrics.ts';
import { Locations } from './connect/locations.ts';
import { pacedDialer } from './connect/paced-dialer.ts';
import { createServiceResolver } from './connect/service-resolver.ts';
import { createWebhookClients } from './connect/webhook-client.ts';
import type { WebhookClients } from './connect/webhook-client.ts';
import { ComputedApis } from './computed.ts';
import { createDirector } from './director.ts';
import { componentStatuses, portProbes } from './debug/component-statuses.ts';
import { gitVersion as release } from '../api/version.ts';
import { Encoder } from './encode/encoder.ts';
import { CustomResources } from './extensions/custom-resources.ts';
import type { Scope } from './filters/scope.ts';
import { FlowControlMaintenance } from './bootstrap/flow-control.ts';
import { FlowControl } from './flowcontrol/flow-control.ts';
import { registrySource } from './flowcontrol/source.ts';
import { ImpersonationMetrics } from './filters/impersonation.ts';
import { retryUntil } from './filters/not-ready.ts';
import { WriteDeadlines } from './filters/write-deadline.ts';
import { GenericServer } from './generic-server.ts';
import { Health } from './health.ts';
import type { ListenerCertificates, Listening } from './http/listener.ts';
import { HttpsListener } from './http/listener.ts';
import { LocalTransport } from './local-transport.ts';
import { loopbackUser } from './loopback.ts';
import { AccessMetrics } from './metrics/access-metrics.ts';
import { buildFamilies } from './metrics/process-metrics.ts';
import { requestLog } from './metrics/request-log.ts';
import { RequestMetrics } from './metrics/request-metrics.ts';
import { RestClientMetrics } from './metrics/rest-client-metrics.ts';
import type { ApiServerOptions } from './options.ts';
import { installServedPaths } from './served-paths.ts';
import { RegistriesImpl } from './registry/registries.ts';
import type { IncomingRequest, OutgoingResponse, UserInfo } from './request.ts';
import { ResourceDirectory } from './resource-directory.ts';
import { Routes } from './routes.ts';
import { createSecurity } from './security.ts';
import { MeteredStore } from './storage/metered-store.ts';
import { resourceOfKey } from './storage/resource-of-key.ts';
import { createStrategies } from './strategies/catalog.ts';
import { customResourceDefinitionStrategies } from './strategies/custom-resource-definition.ts';
import type { StrategyCatalog } from './strategy.ts';
import { TableMaker } from './tables/table.ts';
import { createVerbs } from './verbs/verbs.ts';

export interface ApiServer {
  /** In-process access under an identity; passes the whole filter chain. */
  localTransport(identity: UserInfo, userAgent?: string): Transport;
  /** Opens the HTTPS port. Port 0 takes a free one. `shared`: others may listen on it, too. */
  listen(address: { host: string; port: number; shared?: boolean }): Promise<Listening>;
  handle(request: IncomingRequest): Promise<OutgoingResponse>;
  /**
   * Serves with other certificates and authorities from now on.
   * @throws {Error} for what is none; what was there goes on
   */
  updateCertificates(certificates: ListenerCertificates): Promise<void>;
  /** Resolves when the bootstrap objects are in place; the first call sees to them. */
  ready(): Promise<void>;
  /** Takes no new requests, lets those in flight finish, ends watches and connections. The store stays open. */
  close(): Promise<void>;
  /** The Warning that writes to a kind answer with because it is not complete yet; undefined when it is. */
  incomplete(group: string, resource: string): string | undefined;
  readonly registries: RegistriesImpl;
  readonly directory: ResourceDirectory;
  readonly health: Health;
  readonly metrics: RequestMetrics;
}

/** What connections get to close in good order once nothing runs on them, in milliseconds. */
const lastWordsMs = 2000;

class ApiServerImpl implements ApiServer {
  readonly registries: RegistriesImpl;
  readonly directory: ResourceDirectory;
  readonly health: Health;
  readonly metrics: RequestMetrics;
  readonly incomplete: (group: string, resource: string) => string | undefined;
  readonly #options: ApiServerOptions;
  readonly #features: FeatureGates;
  readonly #logger: Logger;
  readonly #server: GenericServer;
  readonly #security: ReturnType<typeof createSecurity>;
  readonly #reviewClients: WebhookClients;
  readonly #writeDeadlines = new WriteDeadlines();
  /** To itself, for webhooks that are served through its own Service. */
  #self: Transport | undefined;
  readonly #startWrites: StartWrites;
  readonly #lease: IdentityLease;
  readonly #legacyTokens: LegacyTokenTracking;
  /** Where other servers may be on the same store. */
  readonly #endpoints: ServerEndpoints | undefined;
  readonly #standing: StandingObjects | undefined;
  readonly #webhooks: WebhookAdmission;
  readonly #policies: PolicyAdmission;
  readonly #aggregation: Aggregation;
  readonly #allocation: Allocation;
  readonly #flowControl: FlowControl | undefined;
  readonly #flowControlMaintenance: FlowControlMaintenance;
  readonly #customResources: CustomResources;
  readonly #transports = new Set<LocalTransport>();
  readonly #listeners: HttpsListener[] = [];
  #listening: Listening | undefined;
  /** Those that took the place of the first ones. */
  #certificates: ListenerCertificates | undefined;
  #ready: Promise<void> | undefined;
  #bootstrapped = false;
  #closing: Promise<void> | undefined;
  /** Readiness has ended; requests are still served. */
  #ending = false;

  constructor(options: ApiServerOptions) {
    const { clock, random } = options;
    const logger = options.logger.with({ component: 'kube-apiserver' });
    const catalog = options.catalog ?? loadCatalog();
    const gitVersion = options.gitVersion ?? release;
    const store = new MeteredStore(options.store, resourceOfKey(catalog));
    const { tracer } = options;
    if (tracer !== undefined)
      store.onRequest = (operation, key, began, failed) => tracer.stored(operation, key, began, failed);
    this.#options = { ...options, store };
    this.#features = options.features ?? new FeatureGates();
    this.#logger = logger;
    this.directory = new ResourceDirectory(
      catalog,
      servedResources(catalog, options.runtimeConfig, this.#features, options.effectiveVersion),
    );
    // Made on first use: strategies allocate through the registries that ask for them.
    let made: StrategyCatalog | undefined;
    const strategies = (): StrategyCatalog => (made ??= this.#strategies(catalog));
    this.incomplete = (group, resource) => strategies().strategies(group, resource).incomplete;
    this.registries = new RegistriesImpl({
      store,
      embedded: options.embedded,
      clock,
      random,
      logger,
      catalog,
      strategies: {
        strategies: (group, resource) => strategies().strategies(group, resource),
      },
      ...(options.eventTtlSeconds === undefined ? {} : { eventTtlSeconds: options.eventTtlSeconds }),
      ...(options.freeze === undefined ? {} : { freeze: options.freeze }),
      minWatchSeconds: options.operations?.minRequestTimeoutSeconds,
      storageMediaType: options.storageMediaType,
      storesCbor: this.#features.enabled('CBORServingAndStorage'),
      storage: options.storage,
      detectCacheInconsistency: this.#features.enabled('DetectCacheInconsistency'),
    });
    const registries = this.registries;
    this.#allocation = new Allocation(registries, this.#options, logger);
    this.#customResources = new CustomResources({
      registries,
      directory: this.directory,
      catalog,
      clock,
      random,
      logger,
      clients: () => this.#webhooks.clients,
    });
    const services = createServiceResolver({ registries, random, endpoints: options.aggregatorRouting ?? false });
    const outside = options.security ?? {};
    const dialUrl = outside.egress?.dial('controlplane');
    const clientMetrics = new RestClientMetrics();
    const self = (): Transport => (this.#self ??= this.localTransport(loopbackUser, `kube-apiserver/${gitVersion}`));
    this.#reviewClients = createWebhookClients({
      dialer: options.dialer,
      dialUrl,
      services,
      userAgent: `kube-apiserver/${gitVersion}`,
      trace: tracer,
      metrics: clientMetrics,
    });
    const security = createSecurity({
      registries,
      features: this.#features,
      clock,
      random,
      clientCertificates: options.certificates?.clientCA !== undefined,
      ...(options.certificates?.frontProxyCA === undefined
        ? {}
        : { requestHeader: options.requestHeader ?? defaultRequestHeaders }),
      anonymous: options.anonymous ?? true,
      logger,
      serverId: apiServerId(hostname()),
      authorization: outside.authorization ?? { modes: options.authorizationModes ?? ['Node', 'RBAC'] },
      ...(outside.authentication === undefined ? {} : { authentication: outside.authentication }),
      webhooks: {
        clients: this.#reviewClients,
        dialer: options.dialer,
        egress: outside.egress,
        config: outside.webhookConfig,
      },
      serviceAccountKeys: options.serviceAccountKeys,
      ...(options.serviceAccountIssuers === undefined ? {} : { issuers: options.serviceAccountIssuers }),
      ...(outside.audiences === undefined ? {} : { audiences: outside.audiences }),
      legacyTokenLookup: outside.legacyTokenLookup ?? true,
      ...(outside.extendTokenExpiration === undefined ? {} : { extendTokenExpiration: outside.extendTokenExpiration }),
      ...(outside.maxTokenExpirationSeconds === undefined
        ? {}
        : { maxTokenExpirationSeconds: outside.maxTokenExpirationSeconds }),
      ...(outside.maxExtendedExpirationSeconds === undefined
        ? {}
        : { maxExtendedExpirationSeconds: outside.maxExtendedExpirationSeconds }),
      jwksUri: () => outside.jwksUri ?? `https://${externalAddress(options, this.#listening)}/openid/v1/jwks`,
      ...(options.staticTokens === undefined ? {} : { staticTokens: options.staticTokens }),
      ...(options.bootstrapTokens === undefined ? {} : { bootstrapTokens: options.bootstrapTokens }),
    });
    this.#security = security;
    const { authenticator, authorizer } = security;
    const admissionMetrics = new AdmissionMetrics();
    const impersonationMetrics = new ImpersonationMetrics();
    this.#webhooks = createWebhookAdmission({
      registries,
      directory: this.directory,
      catalog,
      clock,
      random,
      logger,
      dialer: options.dialer,
      dialUrl,
      services,
      self,
      metrics: admissionMetrics,
      conditions: webhookConditions({ authorizer, metrics: admissionMetrics }),
      trace: tracer,
      clientMetrics,
      mutating: options.admissionConfiguration?.MutatingAdmissionWebhook,
      validating: options.admissionConfiguration?.ValidatingAdmissionWebhook,
    });
    this.#policies = createPolicyAdmission({
      registries,
      directory: this.directory,
      catalog,
      clock,
      authorizer,
      metrics: admissionMetrics,
    });
    const podSecurityMetrics = new PodSecurityMetrics();
    const disable = options.disableAdmissionPlugins ?? new Set<string>();
    const admission = createAdmissionChain(
      [
        ...builtInPlugins(
          {
            registries,
            directory: this.directory,
            authorizer,
            clock,
            random,
            logger,
            clients: this.#webhooks.clients,
            podSecurityMetrics,
            features: this.#features,
            configuration: options.admissionConfiguration ?? {},
            tolerationSeconds: options.tolerationSeconds,
          },
          { enable: options.enableAdmissionPlugins ?? new Set(['NodeRestriction']), disable },
        ),
        ...[...this.#policies.plugins, ...this.#webhooks.plugins].filter(
          (p) =>
            !disable.has(p.name) &&
            (p.name !== 'MutatingAdmissionPolicy' || this.#features.enabled('MutatingAdmissionPolicy')),
        ),
        ...(options.extraAdmissionPlugins ?? []),
      ],
      admissionMetrics,
    );
    registries.setAdmission(admission);
    registries.setAuthorizer(authorizer);
    this.#startWrites = new StartWrites({ clock, logger });
    this.#lease = new IdentityLease({ registries, clock, random, logger, hostname: hostname() });
    this.#legacyTokens = new LegacyTokenTracking({ registries, clock, logger });
    const advertised = (): AdvertisedAddress => kubernetesService(options, this.#listening);
    const reconciler = options.endpointReconciler ?? 'lease';
    this.#endpoints =
      options.embedded || reconciler === 'none'
        ? undefined
        : new ServerEndpoints({
            store,
            registries,
            clock,
            logger,
            advertised,
            count: reconciler === 'master-count' ? (options.apiServerCount ?? 1) : undefined,
          });

    const standing = (): Promise<void> =>
      ensureStanding({
        registries,
        serviceCidrs: serviceRanges(options),
        advertised: advertised(),
        authentication: this.#authenticationFiles(this.#certificates ?? options.certificates),
        now: clock.now(),
      });
    this.#standing = options.embedded ? undefined : new StandingObjects({ clock, logger, ensure: standing });

    const protobuf = new ProtobufObjects(catalog);
    const cbor = this.#features.enabled('CBORServingAndStorage') ? new CborObjects(catalog) : undefined;
    const encoder = new Encoder({
      tables: new TableMaker(clock),
      protobuf,
      cbor,
      compression: this.#features.enabled('APIResponseCompression'),
    });
    const computed = new ComputedApis({ apis: options.computedApis ?? [], registries, directory: this.directory });
    const verbs = createVerbs({
      protobuf,
      cbor: cbor !== undefined,
      watchList: this.#features.enabled('WatchList'),
      clearsNomination: this.#features.enabled('ClearingNominatedNodeNameAfterBinding'),
      registries,
      catalog,
      clock,
      admission: () => admission,
      virtual: security.virtualResources,
      extra: new Map([
        ...computed.handlers,
        [
          '/componentstatuses',
          componentStatuses(
            new Map([
              ...(options.components ?? portProbes()),
              ['etcd-0', async () => void (await store.currentRevision())],
            ]),
          ),
        ],
      ]),
    });
    const sessionStarted = (session: Session, scope: Scope): void => {
      const forget = this.#server.last(session);
      this.metrics.lasting(scope, 1);
      void session.closed.finally(() => {
        forget();
        this.metrics.lasting(scope, -1);
        this.#server.sessionEnded(scope);
      });
    };
    this.#aggregation = new Aggregation({
      registries,
      directory: this.directory,
      clock,
      logger,
      dialer: options.dialer,
      services,
      proxyClient: options.proxyClientCertificate,
      rejectRedirects: options.rejectRedirects ?? true,
      onUnavailable: (scope) => this.metrics.terminated(scope, 503, 'aggregator'),
      computed,
      sessionStarted,
      trace: tracer,
    });
    const routes = new Routes();
    const logMetrics = new LogMetrics();
    const connect = createConnectHandler({
      logMetrics,
      dialer: pacedDialer(options.dialer, options.connectionBytesPerSecond ?? 0),
      locations: new Locations(registries, random, options.kubeletAddressTypes),
      authorizer,
      admission,
      sessionStarted,
      trace: tracer,
    });
    this.health = new Health(logger);
    this.metrics = new RequestMetrics(clock, () => this.#server.inFlight, options.operations?.metrics);
    encoder.watchEncoder().observer = this.metrics;
    const access = new AccessMetrics();
    this.metrics.register(
      ...store.families,
      ...access.families,
      ...buildFamilies(gitVersion, this.#features, options.effectiveVersion),
      ...this.#allocation.metrics.families,
      ...clientMetrics.families,
      ...security.families,
      ...(outside.egress?.families ?? []),
      ...impersonationMetrics.families,
      ...admissionMetrics.families,
      ...this.#policies.families,
      ...this.#customResources.metrics.families,
      ...podSecurityMetrics.families,
      ...logMetrics.families,
      ...this.#aggregation.families,
      ...(options.audit?.metrics.families ?? []),
    );
    this.#flowControl = this.#createFlowControl();
    this.#flowControlMaintenance = new FlowControlMaintenance({ registries, clock, logger });
    this.#server = new GenericServer({
      clock,
      random,
      logger,
      authenticator,
      authorizer,
      encoder,
      handler: createDirector({
        resources: this.directory,
        verbs,
        routes,
        encoder,
        connect,
        remote: (scope) => this.#aggregation.proxy.find(scope),
        writeDeadlines: this.#writeDeadlines,
      }),
      observer: options.operations?.logRequests === true ? requestLog(this.metrics, logger) : this.metrics,
      ...(options.operations?.browsers === undefined ? {} : { browsers: options.operations.browsers }),
      access,
      ...(options.tracer === undefined ? {} : { tracing: options.tracer.filter() }),
      shutdownSendRetryAfter: options.operations?.shutdownSendRetryAfter ?? false,
      ...(options.operations?.retryUntilReady === true ? { untilReady: retryUntil(() => this.#bootstrapped) } : {}),
      impersonation: {
        metrics: impersonationMetrics,
        constrained: this.#features.enabled('ConstrainedImpersonation'),
      },
      ...(options.onAuthorization === undefined ? {} : { onAuthorization: options.onAuthorization }),
      ...(this.#flowControl === undefined ? {} : { flowControl: this.#flowControl }),
      ...(options.audit === undefined ? {} : { audit: options.audit }),
      ...(options.requestTimeoutMs === undefined ? {} : { requestTimeoutMs: options.requestTimeoutMs }),
      ...(options.maxRequestsInFlight === undefined ? {} : { maxRequestsInFlight: options.maxRequestsInFlight }),
      ...(options.maxMutatingRequestsInFlight === undefined
        ? {}
        : { maxMutatingRequestsInFlight: options.maxMutatingRequestsInFlight }),
    });
    installServedPaths(routes, {
      options,
      catalog,
      gitVersion,
      features: this.#features,
      directory: this.directory,
      registries: this.registries,
      metrics: this.metrics,
      health: this.health,
      remote: this.#aggregation.documents,
      documents: security.oidcDocuments,
      flowControl: this.#flowControl,
      serverAddress: () => externalAddress(options, this.#listening),
      started: () => this.#bootstrapped,
      ending: () => this.#ending || this.#closing !== undefined,
    });
  }

  #createFlowControl(): FlowControl | undefined {
    const { clock, priorityAndFairness, maxRequestsInFlight = 400, maxMutatingRequestsInFlight = 200 } = this.#options;
    if (priorityAndFairness === false) return undefined;
    const seats = maxRequestsInFlight + maxMutatingRequestsInFlight;
    if (seats <= 0)
      throw new Error(
        `invalid configuration: MaxRequestsInFlight=${maxRequestsInFlight} and MaxMutatingRequestsInFlight=${maxMutatingRequestsInFlight}; they must add up to something positive`,
      );
    const control = new FlowControl({
      clock,
      logger: this.#logger,
      seats,
      stats: (group, resource) => this.registries.stats(group, resource),
    });
    this.metrics.register(...control.metrics.families);
    this.metrics.onWatch = (scope, by) => control.watches.add(scope.info, by);
    return control;
  }

  #strategies(catalog: Catalog): StrategyCatalog {
    const registries = this.registries;
    const { authorizer, escalation } = this.#security;
    const objectMeta = (): ObjectSchema => catalog.schema('io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta');
    return createStrategies({
      registries,
      clusterIps: this.#allocation.clusterIps,
      nodePorts: this.#allocation.nodePorts,
      escalation,
      paramAccess: createParamAccess({
        registries,
        authorizer,
        resourceOf: (kind) => resourceOfKind(this.directory, kind)?.resource,
      }),
      features: this.#features,
      authorizer,
      withoutEffect: this.#options.withoutEffect,
      allowPrivileged: this.#options.allowPrivileged ?? true,
      extra: new Map([
        ['apiextensions.k8s.io/customresourcedefinitions', customResourceDefinitionStrategies(objectMeta)],
      ]),
    });
  }

  /** Fills what the first request needs. */
  async start(): Promise<void> {
    await Promise.all([
      this.registries.warm(warmed),
      this.#security.start(),
      this.#customResources.start(),
      this.#webhooks.start(),
      this.#policies.start(),
      this.#aggregation.start(),
      this.#flowControl?.start(registrySource(this.registries, this.#options.clock)),
    ]);
    await this.#allocation.repair.start(this.#options.embedded);
  }

  localTransport(identity: UserInfo, userAgent?: string): Transport {
    const transport = new LocalTransport(this.#server, identity, this.#logger, userAgent);
    this.#transports.add(transport);
    return transport;
  }

  async listen(address: { host: string; port: number; shared?: boolean }): Promise<Listening> {
    const certificates = this.#options.certificates;
    if (certificates === undefined) throw new Error('the API server has no serving certificate to listen with');
    const { goawayChance = 0, random, tls } = this.#options;
    const leaves = goawayChance === 0 ? undefined : (): boolean => random.float() < goawayChance;
    const listener = new HttpsListener(this.#server, this.#certificates ?? certificates, this.#logger, tls, leaves);
    listener.onHandshakeError = () => this.metrics.tlsHandshakeFailed();
    const listening = await listener.listen(address.host, address.port, address.shared);
    this.#listeners.push(listener);
    this.#listening ??= listening;
    this.#logger.info('serving securely', { address: listening.address, port: listening.port });
    return listening;
  }

  async updateCertificates(certificates: ListenerCertificates): Promise<void> {
    for (const listener of this.#listeners) listener.update(certificates);
    this.#certificates = certificates;
    if (this.#bootstrapped)
      await publishAuthentication(this.registries, this.#authenticationFiles(certificates), this.#options.clock.now());
  }

  #authenticationFiles(certificates: ListenerCertificates | undefined): AuthenticationFiles {
    const { clientCA, frontProxyCA } = certificates ?? {};
    return {
      ...(clientCA === undefined ? {} : { clientCa: clientCA }),
      ...(frontProxyCA === undefined
        ? {}
        : { requestHeaderCa: frontProxyCA, requestHeader: this.#options.requestHeader ?? defaultRequestHeaders }),
    };
  }

  handle(request: IncomingRequest): Promise<OutgoingResponse> {
    return this.#server.run(this.#server.scope(request));
  }

  ready(): Promise<void> {
    this.#ready ??= this.#options.clock.activity.track(this.#bootstrap());
    return this.#ready;
  }

  async #bootstrap(): Promise<void> {
    const options = this.#options;
    await this.registries.warm(bootstrapped);
    const addresses = await this.#endpoints?.join();
    const writes = this.#startWrites;
    const own = writes.attempt(() => this.#aggregation.register());
    // Told below, with what else goes wrong.
    own.catch(() => {});
    await bootstrap({
      registries: this.registries,
      features: this.#features,
      logger: this.#logger,
      authentication: this.#authenticationFiles(this.#certificates ?? options.certificates),
      serviceCidrs: serviceRanges(options),
      advertised: { ...kubernetesService(options, this.#listening), ...(addresses === undefined ? {} : { addresses }) },
      endpoints: options.endpointReconciler !== 'none',
      writes,
      now: options.clock.now(),
    });
    await own;
    if (this.#closing !== undefined) return;
    await this.#flowControlMaintenance.start();
    if (this.#features.enabled('APIServerIdentity')) await writes.attempt(() => this.#lease.start());
    await writes.attempt(() => this.#legacyTokens.start());
    this.#endpoints?.start();
    this.#standing?.start();
    this.#bootstrapped = true;
  }

  close(): Promise<void> {
    this.#ending = true;
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    const grace = this.#options.shutdownGraceMs ?? 5000;
    const { shutdownDelayMs: delay = 0, shutdownWatchGraceMs: watchGrace = 0 } = this.#options.operations ?? {};
    const retryAfter = this.#options.operations?.shutdownSendRetryAfter === true;
    const tell = (name: string): void => this.#logger.info('[graceful-termination] shutdown event', { name });
    tell('ShutdownInitiated');
    const left = this.#endpoints?.leave();
    this.#standing?.close();
    if (delay > 0) await ioSleep(delay);
    tell('AfterShutdownDelayDuration');
    await left;
    this.#startWrites.close();
    this.#lease.close();
    this.#legacyTokens.close();
    this.#allocation.repair.close();
    this.#flowControlMaintenance.close();
    // A bootstrap under way is let finish: it would otherwise write into a closed store. `ready()` has told its failure.
    await this.#ready?.catch(() => {});
    tell('NotAcceptingNewRequest');
    const stopListening = async (ms: number): Promise<void> => {
      await Promise.all(this.#listeners.map((l) => l.close(ms)));
      if (this.#listeners.length > 0) tell('HTTPServerStoppedListening');
    };
    // Who is to be told to come again has to be listened to until all is done.
    const stopped = retryAfter ? undefined : stopListening(Math.max(grace, watchGrace + lastWordsMs));
    await this.#server.close(grace, watchGrace);
    tell('InFlightRequestsDrained');
    await (stopped ?? stopListening(lastWordsMs));
    this.#writeDeadlines.close();
    this.#flowControl?.close();
    await Promise.all([...this.#transports].map((t) => t.close()));
    this.#aggregation.close();
    this.#webhooks.close();
    this.#policies.close();
    this.#customResources.close();
    this.#security.close();
    this.#reviewClients.close();
    this.registries.close();
    await this.#options.audit?.backend.close();
    await this.#options.tracer?.close();
  }
}

/** Resolves when requests can be served; `ready` tells when the bootstrap objects are there, too. */
export async function createApiServer(options: ApiServerOptions): Promise<ApiServer> {
  const server = new ApiServerImpl(options);
  await server.start();
  return server;
}
