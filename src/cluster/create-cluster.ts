/**
 * `createCluster`: a whole cluster in this process: store, API server, controllers, scheduler, nodes. `knarr up` is a call of it
 * with a data directory and a port; a test's is one with neither.
 */
import type { Clock } from '../base/clock.ts';
import { SystemClock } from '../base/clock.ts';
import { ioHold } from '../base/io-time.ts';
import { parseIp } from '../base/ip.ts';
import { generateSigningKey, privateKeyPem } from '../base/keys.ts';
import { silentLogger } from '../base/logger.ts';
import { SystemRandom } from '../base/random.ts';
import { loadCatalog } from '../api/catalog/catalog.ts';
import { portProbes } from '../apiserver/debug/component-statuses.ts';
import { createApiServer } from '../apiserver/server.ts';
import type { UserInfo } from '../apiserver/request.ts';
import type { ControllerManager } from '../client/controller-manager.ts';
import { PacedTransport } from '../client/paced-transport.ts';
import type { TypedClient } from '../client/typed-client.ts';
import { createClient } from '../client/typed-client.ts';
import { createCloudControllerManager } from '../cloud/manager.ts';
import { createControllerManager } from '../controllers/manager.ts';
import { dialMachine } from '../kubelet/runtime/simulated/network.ts';
import { startPeriodicCompaction } from '../etcd/periodic-compaction.ts';
import type { Scheduler } from '../scheduler/scheduler.ts';
import type { NetworkPolicyEnforcer } from '../proxy/policy/network-policy.ts';
import { createProxy } from '../proxy/proxy.ts';
import { createScheduler } from '../scheduler/scheduler.ts';
import { readApiChoice } from './api-choice.ts';
import { bindAdministrators, installAddons } from './addons.ts';
import { admissionOptions, securityOptions } from './api-server-options.ts';
import type { AdminCredentials, Cluster, ClusterOptions } from './cluster.ts';
import { allComponents, identities } from './components.ts';
import { certificates } from './cluster-certificates.ts';
import { startClusterDns, startNodeDns } from './cluster-dns.ts';
import { openStore } from './cluster-store.ts';
import { localCloud } from './local-cloud.ts';
import { advertisedAddress, nodeAddresses } from './own-addresses.ts';
import { isWildcard } from './processes/environment.ts';
import { metricsApi } from './metrics-server/metrics-api.ts';
import { withdrawMetrics } from './metrics-server/metrics-addons.ts';
import { simulatedUsage } from './metrics-server/simulated-usage.ts';
import type { UsageSource } from './metrics-server/usage.ts';
import { Teardown } from './teardown.ts';
import { certificateSigner } from './certificate-signer.ts';
import { legacyTokenSigner } from './legacy-token-signer.ts';
import { withdrawDns } from './dns-addons.ts';
import { renderKubeconfig } from './kubeconfig.ts';
import { networkDialer } from './network-dialer.ts';
import { SimulatedNodes, controlPlaneLabel, nodesReady, startTaints } from './nodes.ts';
import { clusterRanges, defaultClusterCIDR, defaultServiceRange } from './ranges.ts';
import { cniDataDir } from './real/cni.ts';
import type { MachineNode } from './real/machine-node.ts';
import { LocalPathProvisioner, localPathRoot } from './storage/local-path-provisioner.ts';
import { passingTime } from './virtual-start.ts';

const largeClusterCIDR = '10.128.0.0/10';

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

/** Waits for all, also when one has failed: what is stopped afterwards must have started or given up. */
async function settleAll(work: readonly Promise<void>[]): Promise<void> {
  const failed = (await Promise.allSettled(work)).find((r) => r.status === 'rejected');
  if (failed !== undefined) throw failed.reason;
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
      isServiceAddress: ranges.isServiceAddress,
    });
    // The rules of a machine's proxy outlive it.
    let proxied = machine !== undefined;
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
      // Without a proxy, and before it has seen the Services, nobody leads from cluster IPs to pods.
      aggregatorRouting: () => disabled.has('kube-proxy') || !proxied,
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
      const { createNodeProxy, nodeConnections } = await import('../proxy/node-proxy.ts');
      const proxy = createNodeProxy({
        connections: nodeConnections,
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
      starting.push(
        proxy.start().then(() => {
          proxied = true;
        }),
      );
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
    const named = { client, clientFor, clock, random, logger, teardown, addons, advertise };
    if (disabled.has('dns')) starting.push(addons.then(() => withdrawDns(client)));
    else if (machine !== undefined && pki !== undefined && url !== undefined)
      starting.push(startNodeDns({ ...named, server: url, certificates: pki }));
    else starting.push(startClusterDns({ ...named, network: nodes.network, listens: listening !== undefined }));
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
            features: apis.features,
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
        features: apis.features,
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
      const taints = [
        ...(manager === undefined ? [] : [startTaints['kube-controller-manager']]),
        ...(cloud === undefined ? [] : [startTaints['cloud-controller-manager']]),
      ];
      await nodesReady(client, names, { clock, random, logger }, taints, (message) => (why = message)).finally(
        patience,
      );
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
