/**
 * `createCluster`: a whole cluster in this process: store, API server, controllers, scheduler, nodes. `knarr up` is a call of it
 * with a data directory and a port; a test's is one with neither.
 */
import type { Duplex } from 'node:stream';
import type { Clock } from '../base/clock.ts';
import { SystemClock } from '../base/clock.ts';
import { ioHold } from '../base/io-time.ts';
import { parseIp } from '../base/ip.ts';
import { generateSigningKey, privateKeyPem } from '../base/keys.ts';
import type { Logger } from '../base/logger.ts';
import { silentLogger } from '../base/logger.ts';
import type { Random } from '../base/random.ts';
import { SystemRandom } from '../base/random.ts';
import { defaultPluginNames, optionalPluginNames } from '../apiserver/admission/plugins.ts';
import type { AdmissionConfiguration } from '../apiserver/admission/plugins.ts';
import type { AuthorizationObserver } from '../apiserver/filters/authorization.ts';
import type { ApiServer, ApiServerOptions } from '../apiserver/server.ts';
import type { SecurityConfiguration } from '../apiserver/security.ts';
import { loadCatalog } from '../api/catalog/catalog.ts';
import { portProbes } from '../apiserver/debug/component-statuses.ts';
import type { AuditOptions } from '../apiserver/filters/audit.ts';
import type { Tracer } from '../apiserver/tracing/tracer.ts';
import type { EncryptionAtRest } from './processes/encryption.ts';
import { createApiServer, type OperationsOptions } from '../apiserver/server.ts';
import type { UserInfo } from '../apiserver/request.ts';
import { PacedTransport } from '../client/paced-transport.ts';
import type { TypedClient } from '../client/typed-client.ts';
import { createClient } from '../client/typed-client.ts';
import { createCloudControllerManager } from '../cloud/manager.ts';
import type { LocalProvider } from '../cloud/providers/local/local.ts';
import { createLocalProvider } from '../cloud/providers/local/local.ts';
import type { ControllerManager } from '../controllers/manager.ts';
import { createControllerManager } from '../controllers/manager.ts';
import type { SimulatedImages } from '../kubelet/runtime/simulated/images.ts';
import type { SimulatedNetwork } from '../kubelet/runtime/simulated/network.ts';
import { dialMachine } from '../kubelet/runtime/simulated/network.ts';
import { configMapSource } from '../dns/corefile-source.ts';
import { createDns } from '../dns/dns.ts';
import { startPeriodicCompaction } from '../etcd/periodic-compaction.ts';
import type { KeyValueStore } from '../etcd/store.ts';
import type { Scheduler } from '../scheduler/scheduler.ts';
import type { NetworkPolicyEnforcer } from '../proxy/policy/network-policy.ts';
import { createProxy } from '../proxy/proxy.ts';
import { createScheduler } from '../scheduler/scheduler.ts';
import { readApiChoice, type ApiChoice } from './api-choice.ts';
import { bindAdministrators, installAddons } from './addons.ts';
import { allComponents, identities } from './components.ts';
import type { OptionalComponent } from './components.ts';
import { certificates } from './cluster-certificates.ts';
import { openStore } from './cluster-store.ts';
import { metricsApi } from './metrics-server/metrics-api.ts';
import { withdrawMetrics } from './metrics-server/metrics-addons.ts';
import { simulatedUsage } from './metrics-server/simulated-usage.ts';
import type { UsageSource } from './metrics-server/usage.ts';
import { Teardown } from './teardown.ts';
import { certificateSigner } from './certificate-signer.ts';
import { legacyTokenSigner } from './legacy-token-signer.ts';
import { announceDns, withdrawDns } from './dns-addons.ts';
import type { DnsThread } from './dns-thread.ts';
import { LoadBalancerListeners } from './load-balancer-listeners.ts';
import { renderKubeconfig } from './kubeconfig.ts';
import { networkDialer } from './network-dialer.ts';
import type { NodeHandle } from './nodes.ts';
import { controlPlaneLabel, nodesReady, SimulatedNodes } from './nodes.ts';
import { ownAddress } from './processes/environment.ts';
import { clusterRanges, defaultClusterCIDR, defaultServiceRange } from './ranges.ts';
import { cniDataDir } from './real/cni.ts';
import type { Machine } from './real/machine.ts';
import type { MachineNode } from './real/machine-node.ts';
import { LocalPathProvisioner, localPathRoot } from './storage/local-path-provisioner.ts';
import { passingTime } from './virtual-start.ts';

export interface ClusterSecurity extends SecurityConfiguration {
  /** Requests without credentials are system:anonymous; default true. */
  readonly anonymous?: boolean;
  readonly staticTokens?: ReadonlyMap<string, UserInfo> | undefined;
  /** Issuers of service account tokens: the first one signs. */
  readonly issuers?: readonly string[];
  /** Keys that verify service account tokens besides the cluster's own, PEM. */
  readonly verifyKeys?: readonly string[];
}

/** What is made of the API server's files; the cluster closes it. */
export interface ApiServerExtras {
  readonly audit?: AuditOptions | undefined;
  readonly encryption?: EncryptionAtRest | undefined;
  readonly tracer?: Tracer | undefined;
  readonly operations?: OperationsOptions | undefined;
}

export interface ClusterOptions extends ApiChoice {
  /** Simulated nodes; default 1. */
  readonly nodes?: number;
  /** This machine as the one node of this process, with real containers, instead of simulated ones (`openMachine`). */
  readonly machine?: Machine;
  /** Where the cluster lives; in memory when left out. */
  readonly dataDir?: string;
  /** Opens an HTTPS port (0: a free one); without it the cluster is reached in-process alone. */
  readonly https?: { readonly host?: string; readonly port?: number };
  /** A `VirtualClock` makes time stand still until it is advanced. Default: the machine's. */
  readonly clock?: Clock;
  readonly random?: Random;
  readonly logger?: Logger;
  readonly disable?: readonly OptionalComponent[];
  /** An etcd cluster instead of the embedded store. */
  readonly etcdServers?: readonly string[];
  /** PEM for `etcdServers`. */
  readonly etcdTls?: { readonly ca?: string; readonly cert?: string; readonly key?: string };
  /** The cluster's ranges of Services and pods; for dual stack two of each, one a family, comma-separated, the primary one first. */
  readonly serviceClusterIPRange?: string;
  readonly clusterCIDR?: string;
  /**
   * Ranges that Services of type LoadBalancer get addresses of; with real nodes they are made known on the network. Default: for
   * simulated nodes addresses of this machine alone (127.0.1.0/24), for real ones the nodes' own.
   */
  readonly loadBalancerPool?: readonly string[];
  /** Sizes of a node's ranges; 24 and 64 when left out. */
  readonly nodeCIDRMaskSizeIPv4?: number;
  readonly nodeCIDRMaskSizeIPv6?: number;
  /** How long a node may be silent before it counts as unhealthy; default 50 s. */
  readonly nodeMonitorGracePeriodMs?: number;
  /**
   * Admission plugins beside upstream's default ones (NodeRestriction where nothing is said), those to leave out, and what
   * they are told: the `plugins` of an AdmissionConfiguration by name.
   */
  readonly admission?: {
    readonly enable?: readonly string[];
    readonly disable?: readonly string[];
    readonly configuration?: AdmissionConfiguration;
  };
  /** Auditing, encryption at rest, traces, profiles. */
  readonly apiServer?: ApiServerExtras;
  /** Who is let in beside the cluster's own, and who decides what is allowed. */
  readonly security?: ClusterSecurity;
  /** Objects that clients get are frozen, so that a mutation throws where it happens. */
  readonly freeze?: boolean;
  /** Told of every authorization decision. */
  readonly onAuthorization?: AuthorizationObserver;
  /** Told what is being done now, for a person who waits. */
  readonly onStep?: (text: string) => void;
  /** Wait until the nodes are Ready; default true. */
  readonly waitForNodes?: boolean;
}

export interface AdminCredentials {
  readonly server: string;
  readonly certificateAuthority: string;
  readonly clientCertificate: string;
  readonly clientKey: string;
}

export interface Cluster extends AsyncDisposable {
  /** As an administrator, in-process. */
  readonly client: TypedClient;
  /** As anybody else, in-process. */
  clientFor(user: UserInfo, userAgent?: string): TypedClient;
  readonly clock: Clock;
  /** `https://host:port`, when it listens. */
  readonly url: string | undefined;
  /** For HTTPS clients, when it listens. */
  readonly adminCredentials: AdminCredentials | undefined;
  /** A kubeconfig text with one context, when it listens. */
  readonly kubeconfig: string | undefined;
  readonly nodes: readonly NodeHandle[];
  /** The cloud provider, whose machines and load balancers a test can take away. */
  readonly cloud: LocalProvider | undefined;
  /** What the simulated nodes know of images. */
  readonly images: SimulatedImages;
  /** Their network, where processes of yours can answer for pods. */
  readonly network: SimulatedNetwork;
  readonly components: readonly string[];
  readonly apiServer: ApiServer;
  readonly store: KeyValueStore;
  /** Stops everything; nothing acknowledged is lost, no timer, socket or file is left. */
  close(): Promise<void>;
}

const largeClusterCIDR = '10.128.0.0/10';

/**
 * What the `kubernetes` Service leads to. Endpoints may not be loopback addresses, so a server on one advertises the machine's
 * own address, as upstream does, or one of the documentation ranges (RFC 5737, RFC 3849) where the machine has none.
 */
function advertisedAddress(host: string, family: 4 | 6): string {
  const internal =
    host === 'localhost' || host.startsWith('127.') || host === '::1' || host === '0.0.0.0' || host === '::';
  if (!internal && parseIp(host)?.family === family) return host;
  return ownAddress(family) ?? (family === 4 ? '192.0.2.1' : '2001:db8::1');
}

/** The addresses of a real node, one of each family that its pods have; those that were named go before those that it has. */
function nodeAddresses(given: string | undefined, families: readonly (4 | 6)[]): string[] {
  const named = (given ?? '').split(',').map((a) => a.trim());
  for (const a of given === undefined ? [] : named)
    if (parseIp(a) === undefined) throw new Error(`--node-ip ${given}: ${a} is no IP address`);
  return families
    .map((family) => named.find((a) => parseIp(a)?.family === family) ?? ownAddress(family))
    .filter((a) => a !== undefined);
}

/** After so long a person wants to know what is waited for. */
const patienceMs = 15_000;

/** Calls `tell` again and again until the answer is called. */
function setPatience(clock: Clock | undefined, tell: () => void): () => void {
  const timer = clock?.setTicker(patienceMs, tell);
  return () => timer?.cancel();
}

/** On somebody's own machine a full disk is no reason to evict pods and delete images. */
const developerMachine = {
  evictionHard: {
    'memory.available': '100Mi',
    'nodefs.available': '0%',
    'nodefs.inodesFree': '0%',
    'imagefs.available': '0%',
  },
  imageGCHighThresholdPercent: 100,
};

/** What simulated nodes leave undone. */
const simulatedWithout = {
  'networking.k8s.io/networkpolicies': 'simulated nodes enforce no network policies',
  'storage.k8s.io/csidrivers': 'simulated nodes drive no CSI drivers',
};

function serverUrl(address: string, port: number): string {
  return `https://${address.includes(':') ? `[${address}]` : address}:${port}`;
}

function isWildcard(address: string): boolean {
  return address === '0.0.0.0' || address === '::';
}

/** Waits for all, also when one has failed: what is stopped afterwards must have started or given up. */
async function settleAll(work: readonly Promise<void>[]): Promise<void> {
  const failed = (await Promise.allSettled(work)).find((r) => r.status === 'rejected');
  if (failed !== undefined) throw failed.reason;
}

/** The API server's options for what is asked of admission. */
function admissionOptions(
  given: ClusterOptions['admission'],
): Pick<ApiServerOptions, 'enableAdmissionPlugins' | 'disableAdmissionPlugins' | 'admissionConfiguration'> {
  if (given === undefined) return {};
  const { enable, disable, configuration } = given;
  const known = new Set([...defaultPluginNames, ...optionalPluginNames]);
  for (const name of [...(enable ?? []), ...(disable ?? [])])
    if (!known.has(name)) throw new Error(`unknown admission plugin: ${name}`);
  return {
    ...(enable === undefined ? {} : { enableAdmissionPlugins: new Set(enable) }),
    ...(disable === undefined ? {} : { disableAdmissionPlugins: new Set(disable) }),
    ...(configuration === undefined ? {} : { admissionConfiguration: configuration }),
  };
}

function securityOptions(
  security: ClusterSecurity | undefined,
): Pick<ApiServerOptions, 'security' | 'anonymous' | 'staticTokens' | 'serviceAccountIssuers'> {
  if (security === undefined) return {};
  const { anonymous, staticTokens, issuers = [] } = security;
  return {
    security,
    ...(anonymous === undefined ? {} : { anonymous }),
    ...(staticTokens === undefined ? {} : { staticTokens }),
    ...(issuers.length === 0 ? {} : { serviceAccountIssuers: issuers }),
  };
}

/** IPv6 has but one address of this machine alone; these are reached from inside the cluster. */
const simulatedPool = { 4: '127.0.1.0/24', 6: 'fd00:127:1::/112' } as const;

/**
 * The provider of this machine. Of simulated nodes, load balancer addresses answer where the cluster listens for others at all; of real
 * ones the nodes' rules do it.
 */
function localCloud(
  options: ClusterOptions,
  families: readonly (4 | 6)[],
  port: number,
  dial: (address: string, port: number) => Promise<Duplex>,
  logger: Logger,
  teardown: Teardown,
): LocalProvider {
  const pool = options.loadBalancerPool;
  if (options.machine !== undefined)
    return createLocalProvider(
      pool === undefined
        ? { nodeAddresses: { reserved: [port, options.machine.options.kubeletPort ?? 10_250] } }
        : { loadBalancerPool: pool },
    );
  const loadBalancerPool = pool ?? families.map((f) => simulatedPool[f]);
  if (options.https === undefined) return createLocalProvider({ loadBalancerPool });
  const dataPlane = new LoadBalancerListeners({ logger, dial });
  teardown.add(() => dataPlane.close());
  return createLocalProvider({ loadBalancerPool, dataPlane });
}

export async function createCluster(options: ClusterOptions = {}): Promise<Cluster> {
  const clock = options.clock ?? new SystemClock();
  const random = options.random ?? new SystemRandom();
  const logger = options.logger ?? silentLogger;
  const step = options.onStep ?? (() => {});
  const disabled = new Set<string>(options.disable ?? []);
  // A /24 for each node: the usual /16 is enough for 256 of them.
  const ranges = clusterRanges({
    services: options.serviceClusterIPRange ?? defaultServiceRange,
    pods: options.clusterCIDR ?? ((options.nodes ?? 1) > 250 ? largeClusterCIDR : defaultClusterCIDR),
    ...(options.nodeCIDRMaskSizeIPv4 === undefined ? {} : { nodeCIDRMaskSizeIPv4: options.nodeCIDRMaskSizeIPv4 }),
    ...(options.nodeCIDRMaskSizeIPv6 === undefined ? {} : { nodeCIDRMaskSizeIPv6: options.nodeCIDRMaskSizeIPv6 }),
  });
  const clusterCIDR = ranges.pods.join(',');
  const teardown = new Teardown();
  const starting: Promise<void>[] = [];
  // An open cluster is work in progress, as an open server is; timers of cluster time hold no process.
  teardown.add(ioHold());
  try {
    if (options.https !== undefined) step('certificates');
    const host = options.https?.host ?? '127.0.0.1';
    const { machine } = options;
    if (machine !== undefined && clock.virtual) throw new Error('real containers do not run in virtual time');
    if (machine !== undefined && options.https === undefined)
      throw new Error('a real node needs an API server that its pods can reach: give `https`');
    if (machine !== undefined) teardown.add(() => machine.runtime?.close());
    const machineAddresses = machine === undefined ? [] : nodeAddresses(machine.options.address, ranges.podFamilies);
    const advertise =
      machine === undefined ? advertisedAddress(host, ranges.primaryFamily) : (machineAddresses[0] ?? '');
    if (machine !== undefined && parseIp(advertise)?.family !== ranges.primaryFamily)
      throw new Error(`this machine has no IPv${ranges.primaryFamily} address: name one with --node-ip`);
    for (const address of machineAddresses) {
      const range = ranges.containing(address);
      if (range !== undefined)
        throw new Error(
          `this machine's address ${address} lies in ${range}, a range of the cluster's own: name another with --node-ip`,
        );
    }
    const pki = await certificates(options, clock, random, [...ranges.firstServiceAddresses, ...machineAddresses]);
    step('store');
    const { store, embedded } = await openStore(options, clock, random, logger);
    teardown.add(() => store.close());
    // A store of its own keeps its history bounded by itself; a shared one is the API servers' business.
    if (!embedded) teardown.add(startPeriodicCompaction({ store, clock, logger }));

    step('API server');
    const nodes = new SimulatedNodes({
      clock,
      random,
      logger,
      clusterDomain: 'cluster.local',
      dnsServiceIP: ranges.serviceAddress(10),
      families: ranges.podFamilies,
    });
    let machineNode: MachineNode | undefined;
    const real = machine === undefined ? undefined : await import('./real/machine.ts');
    // Nodes of other processes and machines can join where there is an address to join at.
    const network =
      pki === undefined
        ? undefined
        : networkDialer({
            clientCertificate: pki.get('apiserver-kubelet-client.crt')!,
            clientKey: pki.get('apiserver-kubelet-client.key')!,
          });
    const dialer = real === undefined ? nodes.dialer(network) : real.machineDialer(() => machineNode, network!);
    // Nodes of other processes and machines may join where there is an address to join at.
    const scrapes = network !== undefined && !clock.virtual;
    let scraper: UsageSource | undefined;
    const simulated = simulatedUsage((name) => nodes.kubelet(name));
    const measured = metricsApi(
      (name) => (nodes.has(name) || scraper === undefined ? simulated : scraper),
      () => clock.now(),
    );
    const signingKey = pki?.get('sa.key') ?? (await privateKeyPem((await generateSigningKey()).privateKey));
    const catalog = loadCatalog();
    const apis = readApiChoice(options, catalog);
    const { audit, encryption, tracer, operations } = options.apiServer ?? {};
    if (encryption !== undefined) teardown.add(() => encryption.close());
    const apiServer = await createApiServer({
      catalog,
      store: encryption?.wrap(store) ?? store,
      ...(audit === undefined ? {} : { audit }),
      ...(tracer === undefined ? {} : { tracer }),
      ...(operations === undefined ? {} : { operations }),
      embedded,
      clock,
      random,
      logger,
      ...(pki === undefined
        ? {}
        : {
            certificates: {
              certificate: pki.get('apiserver.crt')!,
              key: pki.get('apiserver.key')!,
              clientCA: pki.get('ca.crt')!,
              frontProxyCA: pki.get('front-proxy-ca.crt')!,
            },
          }),
      serviceAccountKeys: { signingKey, verifyKeys: options.security?.verifyKeys ?? [] },
      ...securityOptions(options.security),
      bootstrapTokens: true,
      ...(machine === undefined ? { withoutEffect: simulatedWithout } : {}),
      dialer,
      ...(disabled.has('metrics-server') ? {} : { computedApis: [measured] }),
      serviceClusterIPRanges: ranges.services,
      advertiseAddress: advertise,
      ...(pki === undefined
        ? {}
        : {
            proxyClientCertificate: {
              certificate: pki.get('front-proxy-client.crt')!,
              key: pki.get('front-proxy-client.key')!,
            },
          }),
      // Without a proxy nobody leads from cluster IPs to pods.
      aggregatorRouting: disabled.has('kube-proxy'),
      components: new Map([
        ...portProbes(),
        ...(['scheduler', 'controller-manager'] as const)
          .filter((name) => !disabled.has(`kube-${name}`))
          .map((name) => [name, () => Promise.resolve()] as const),
      ]),
      ...apis,
      ...admissionOptions(options.admission),
      ...(options.freeze === undefined ? {} : { freeze: options.freeze }),
      ...(options.onAuthorization === undefined ? {} : { onAuthorization: options.onAuthorization }),
    });
    teardown.add(() => apiServer.close());
    encryption?.install(apiServer);
    const clientFor = (user: UserInfo, userAgent = 'knarr'): TypedClient =>
      createClient(
        new PacedTransport(
          apiServer.localTransport(
            {
              ...user,
              groups: user.groups.includes('system:authenticated')
                ? user.groups
                : [...user.groups, 'system:authenticated'],
            },
            userAgent,
          ),
          clock.activity,
        ),
      );
    const listening =
      options.https === undefined
        ? undefined
        : await apiServer.listen({ host: options.https.host ?? '127.0.0.1', port: options.https.port ?? 0 });
    const reachable = listening !== undefined && isWildcard(listening.address) ? '127.0.0.1' : listening?.address;
    const url = listening === undefined ? undefined : serverUrl(reachable!, listening.port);
    // Pods reach the API server at the machine's address, whatever a person does.
    if (machine !== undefined && listening!.address !== advertise && !isWildcard(listening!.address))
      await apiServer.listen({ host: advertise, port: listening!.port });
    // Pods of the simulated network reach it by its Service.
    if (listening !== undefined)
      nodes.network.register(advertise, { connect: (port) => dialMachine(reachable!, port) });
    await apiServer.ready();
    // The very first binding cannot be made by somebody whom it would bind; from then on nobody is a master.
    await bindAdministrators(clientFor({ name: 'system:apiserver', groups: ['system:masters'] }));
    const client = clientFor(identities.admin);
    const addons = installAddons(client, {
      dnsServiceIP: ranges.serviceAddress(10),
      dns: !disabled.has('dns'),
      localPath: !disabled.has('local-path-provisioner'),
      metrics: disabled.has('metrics-server') ? undefined : scrapes ? 'scraped' : 'simulated',
      certificateAuthority: pki?.get('ca.crt'),
      nodes: {
        clusterCIDR,
        externalCloud: !disabled.has('cloud-controller-manager'),
        ...(machine?.options.overlay === undefined ? {} : { overlay: machine.options.overlay }),
        ...(options.loadBalancerPool === undefined ? {} : { loadBalancerPool: options.loadBalancerPool.join(',') }),
      },
      server: machine === undefined || listening === undefined ? url : serverUrl(advertise, listening.port),
    });
    // Awaited below; what fails meanwhile is told there.
    addons.catch(() => {});

    // Components need each other no more than they need the API server: all start at once.
    let manager: ControllerManager | undefined;
    if (!disabled.has('kube-controller-manager')) {
      step('controllers');
      manager = createControllerManager({
        client: clientFor(identities.controllerManager, 'kube-controller-manager'),
        clientFor: (account) => clientFor(identities.controller(account), 'kube-controller-manager'),
        clock,
        random,
        logger,
        // Those two are an installer's to turn on.
        controllers: ['*', 'bootstrapsigner', 'tokencleaner'],
        options: {
          features: apis.features,
          ...(pki === undefined
            ? {}
            : {
                rootCA: pki.get('ca.crt')!,
                certificateSigner: certificateSigner({
                  certificate: pki.get('ca.crt')!,
                  key: pki.get('ca.key')!,
                  clock,
                  random,
                }),
              }),
          signServiceAccountToken: legacyTokenSigner(signingKey),
          clusterCIDR,
          allocateNodeCIDRs: true,
          ...(options.nodeCIDRMaskSizeIPv4 === undefined ? {} : { nodeCIDRMaskSizeIPv4: options.nodeCIDRMaskSizeIPv4 }),
          ...(options.nodeCIDRMaskSizeIPv6 === undefined ? {} : { nodeCIDRMaskSizeIPv6: options.nodeCIDRMaskSizeIPv6 }),
          ...(options.nodeMonitorGracePeriodMs === undefined
            ? {}
            : { nodeMonitorGracePeriodMs: options.nodeMonitorGracePeriodMs }),
          // One API server: nobody else can still be admitting objects into a namespace that is going.
          namespaceDeletionGracePeriodMs: 0,
        },
      });
      const started = manager;
      teardown.add(() => started.stop());
      starting.push(manager.start());
    }
    let scheduler: Scheduler | undefined;
    if (!disabled.has('kube-scheduler')) {
      scheduler = createScheduler({ client: clientFor(identities.scheduler, 'kube-scheduler'), clock, random, logger });
      const started = scheduler;
      teardown.add(() => started.stop());
      starting.push(scheduler.start());
    }
    let policies: NetworkPolicyEnforcer | undefined;
    if (!disabled.has('kube-proxy') && machine !== undefined) {
      const { createNodeProxy } = await import('../proxy/node-proxy.ts');
      const proxy = createNodeProxy({
        client: clientFor(identities.proxy, 'kube-proxy'),
        clock,
        random,
        logger,
        nodeName: machine.nodeName,
        nftables: { detectLocal: { mode: 'ClusterCIDR', cidrs: ranges.pods } },
      });
      policies = proxy.policies;
      teardown.add(() => proxy.stop());
      // It may read policies by a role of the addons.
      starting.push(addons.then(() => proxy.start()));
    } else if (!disabled.has('kube-proxy')) {
      const proxy = createProxy({ client: clientFor(identities.proxy, 'kube-proxy'), clock, random, logger });
      teardown.add(() => proxy.stop());
      nodes.network.setServiceResolver((address, port, from) => proxy.pick(address, port, from));
      starting.push(proxy.start());
    }
    if (machine !== undefined && options.loadBalancerPool !== undefined) {
      const { LoadBalancerAddresses } = await import('./real/load-balancer-addresses.ts');
      const announced = new LoadBalancerAddresses({
        ...{ clock, random, logger, nodeName: machine.nodeName, pool: options.loadBalancerPool },
        client: clientFor(identities.proxy, 'kube-proxy'),
      });
      teardown.add(() => announced.stop());
      starting.push(announced.start());
    }
    starting.push(addons);
    if (!disabled.has('dns') && machine !== undefined && pki !== undefined && url !== undefined) {
      const { startDnsThread } = await import('./dns-thread.ts');
      let dns: DnsThread | undefined;
      let closed = false;
      teardown.add(async () => {
        closed = true;
        await dns?.stop();
      });
      const open = async (): Promise<void> => {
        // Its role is one of the addons.
        await addons;
        if (closed) return;
        dns = startDnsThread({
          server: url,
          ca: pki.get('ca.crt')!,
          certificate: pki.get('dns.crt')!,
          key: pki.get('dns.key')!,
          bind: { address: advertise, port: 0 },
          logger,
        });
        const { address, metricsPort } = await dns.started;
        await announceDns(client, { address: advertise, port: address.port, metricsPort });
      };
      starting.push(open());
    } else if (!disabled.has('dns')) {
      const dnsClient = clientFor(identities.dns, 'coredns');
      const dns = createDns({
        client: dnsClient,
        clock,
        random,
        logger,
        corefile: configMapSource({ client: dnsClient, clock, random, logger }),
        ...(listening === undefined ? {} : { bind: { address: '127.0.0.1', port: 0 } }),
      });
      teardown.add(() => dns.stop());
      nodes.network.setNameResolver((name, namespace) => dns.lookup(name, namespace));
      const open = async (): Promise<void> => {
        // Its role is one of the addons.
        await addons;
        await dns.start();
        if (dns.address !== undefined) await announceDns(client, { address: advertise, port: dns.address.port });
      };
      starting.push(open());
    } else starting.push(addons.then(() => withdrawDns(client)));
    if (disabled.has('metrics-server')) starting.push(addons.then(() => withdrawMetrics(client)));
    else if (scrapes) {
      const { KubeletScraper } = await import('./metrics-server/scraper.ts');
      const started = new KubeletScraper({
        client: clientFor(identities.metricsServer, 'metrics-server'),
        clock,
        random,
        logger,
        dial: (name, address, port) => dialer.dialNode(name, address, port),
        skips: (name) => nodes.has(name),
      });
      scraper = started;
      teardown.add(() => started.stop());
      starting.push(addons.then(() => started.start()));
    }
    if (!disabled.has('local-path-provisioner')) {
      const storage = clientFor(identities.controller('local-path-provisioner'), 'local-path-provisioner');
      const provisioner = new LocalPathProvisioner({ client: storage, clock, random, logger });
      teardown.add(() => provisioner.stop());
      starting.push(addons.then(() => provisioner.start()));
      if (machine !== undefined) {
        const { LocalPathCleaner } = await import('./real/local-path-cleaner.ts');
        const cleaner = new LocalPathCleaner({ client: storage, clock, random, logger, root: localPathRoot });
        teardown.add(() => cleaner.stop());
        starting.push(addons.then(() => cleaner.start()));
      }
    }
    const cloud = disabled.has('cloud-controller-manager')
      ? undefined
      : localCloud(options, ranges.podFamilies, listening?.port ?? 0, (a, p) => dialer.dialTcp(a, p), logger, teardown);
    if (cloud !== undefined) {
      const cloudManager = createCloudControllerManager({
        client: clientFor(identities.cloudControllerManager, 'cloud-controller-manager'),
        clientFor: (account) => clientFor(identities.controller(account), 'cloud-controller-manager'),
        clock,
        random,
        logger,
        provider: cloud,
      });
      teardown.add(() => cloudManager.stop());
      starting.push(addons.then(() => cloudManager.start()));
    }
    const count = disabled.has('kubelet') || machine !== undefined ? 0 : (options.nodes ?? 1);
    if (machine?.runtime === undefined && machine !== undefined) {
      // Another kubelet runs the pods; their network is ours.
      const { PodNetwork } = await import('./real/pod-network.ts');
      const podNetwork = new PodNetwork({
        ...{ clock, random, logger, nodeName: machine.nodeName, clusterCidrs: ranges.pods },
        client: clientFor(identities.proxy, 'knarr-pod-network'),
        cniConfDir: machine.cniConfDir,
        cniDataDir: cniDataDir(machine.rootDir),
        ...(machine.options.overlay === undefined ? {} : { overlay: machine.options.overlay }),
      });
      teardown.add(() => podNetwork.stop());
      podNetwork.start();
    }
    if (machine?.runtime !== undefined && !disabled.has('kubelet')) {
      step('node');
      const { MachineNode: RealNode } = await import('./real/machine-node.ts');
      const nodeClient = clientFor(identities.node(machine.nodeName), 'kubelet');
      const port = machine.options.kubeletPort ?? 10_250;
      const started = new RealNode(
        {
          nodeName: machine.nodeName,
          client: nodeClient,
          networkClient: clientFor(identities.proxy, 'knarr-pod-network'),
          ...(machine.options.overlay === undefined ? {} : { overlay: machine.options.overlay }),
          clock,
          random,
          logger,
          runtime: machine.runtime,
          addresses: machineAddresses,
          rootDir: machine.rootDir,
          cniConfDir: machine.cniConfDir,
          ...(machine.options.cgroupRoot === undefined ? {} : { cgroupRoot: machine.options.cgroupRoot }),
          clusterDns: [ranges.serviceAddress(10)],
          clusterDomain: 'cluster.local',
          clusterCidrs: ranges.pods,
          kubelet: {
            configuration: developerMachine,
            onPodAddresses: async (pod, ips) => policies?.announce(pod.metadata.namespace!, pod.metadata.name!, ips),
            port,
            ...(cloud === undefined ? {} : { cloudProvider: 'external' as const }),
            ...(manager === undefined ? { podCidrs: ranges.podRangesOf(0) } : {}),
            ...(machine.options.controlPlaneTaint === true
              ? { registerWithTaints: [{ key: controlPlaneLabel, effect: 'NoSchedule' as const }] }
              : {}),
          },
        },
        () =>
          real!.kubeletEndpoint({
            nodeName: machine.nodeName,
            address: advertise,
            port,
            clientCA: pki!.get('ca.crt')!,
            client: nodeClient,
            clock,
            random,
          }),
      );
      machineNode = started;
      teardown.add(() => started.stop());
      const labelled = async (): Promise<void> => {
        await started.start();
        await client.core.nodes.patch(machine.nodeName, undefined, 'merge', {
          metadata: { labels: { [controlPlaneLabel]: '' } },
        });
      };
      starting.push(labelled());
    }
    if (count > 0) step(count === 1 ? 'node' : `${count} nodes`);
    teardown.add(() => nodes.stop());
    starting.push(
      nodes.start({
        count,
        clientFor,
        externalCloud: cloud !== undefined,
        podCidrs: manager === undefined ? (index) => ranges.podRangesOf(index) : undefined,
      }),
    );
    const ready = async (): Promise<void> => {
      await settleAll(starting);
      const names = machineNode === undefined ? nodes.handles.map((h) => h.name) : [machineNode.name];
      if (names.length === 0 || options.waitForNodes === false) return;
      let why = 'its kubelet has said nothing yet';
      const patience = setPatience(machine === undefined ? undefined : clock, () =>
        logger.warn('the node is not ready yet', { why }),
      );
      await nodesReady(client, names, { clock, random, logger }, (message) => (why = message)).finally(patience);
    };
    await passingTime(clock, ready());
    const credentials: AdminCredentials | undefined =
      pki === undefined || url === undefined
        ? undefined
        : {
            server: url,
            certificateAuthority: pki.get('ca.crt')!,
            clientCertificate: pki.get('admin.crt')!,
            clientKey: pki.get('admin.key')!,
          };
    let closing: Promise<void> | undefined;
    const close = (): Promise<void> => (closing ??= teardown.run());
    return {
      client,
      clientFor,
      clock,
      url,
      adminCredentials: credentials,
      kubeconfig: credentials === undefined ? undefined : renderKubeconfig({ name: 'knarr', ...credentials }),
      nodes: machineNode === undefined ? nodes.handles : [machineNode],
      cloud,
      images: nodes.images,
      network: nodes.network,
      components: allComponents.filter((c) => !disabled.has(c)),
      apiServer,
      store,
      close,
      [Symbol.asyncDispose]: close,
    };
  } catch (e) {
    // Starts that are cut short by this are no news beside it.
    for (const s of starting) s.catch(() => {});
    try {
      await teardown.run();
    } catch (cleanup) {
      logger.error('cleaning up after a failed start failed as well', { err: cleanup });
    }
    throw e;
  }
}
