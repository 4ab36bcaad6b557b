/**
 * `knarr kube-proxy`: follows Services and endpoints for one node, and network policies with them. With nftables it is the node's data
 * plane; with `simulated` it keeps the map and tells of it, and no packet is touched.
 */
import { hostname } from 'node:os';
import { parseCidr } from '../../base/ip.ts';
import type { Family } from '../../apiserver/metrics/exposition.ts';
import { computed } from '../../apiserver/metrics/exposition.ts';
import { resources } from '../../client/resources.ts';
import { EventRecorder } from '../../client/event-recorder.ts';
import type { ConnectionLimits } from '../../proxy/connection-limits.ts';
import { setConnectionLimits } from '../../proxy/connection-limits.ts';
import { ProxyHealth } from '../../proxy/health.ts';
import { createLinuxHost } from '../../proxy/host/linux-host.ts';
import { ProxyMetrics } from '../../proxy/metrics.ts';
import { createNodeProxy, removeAllRules } from '../../proxy/node-proxy.ts';
import type { LocalDetection } from '../../proxy/nftables/options.ts';
import type { Proxy } from '../../proxy/proxy.ts';
import { createProxy } from '../../proxy/proxy.ts';
import type { TypedClient } from '../../client/typed-client.ts';
import { connect, connectionOf, userAgent, waitForServer } from './api-connection.ts';
import type { ComponentServer } from './component-server.ts';
import { serveComponent } from './component-server.ts';
import type { ComponentEnvironment } from './environment.ts';
import { aborted, splitHostPort, StartError } from './environment.ts';

export interface ProxyFlags {
  readonly kubeconfig: string | undefined;
  readonly master: string | undefined;
  readonly hostnameOverride: string | undefined;
  /** Undefined: nftables where it works. */
  readonly proxyMode: string | undefined;
  /** `host:port`; empty or port 0: not served. */
  readonly healthzBindAddress: string;
  readonly metricsBindAddress: string;
  /** Comma-separated. */
  readonly clusterCidr: string;
  readonly detectLocalMode: string;
  readonly podBridgeInterface: string;
  readonly podInterfaceNamePrefix: string;
  readonly masqueradeAll: boolean;
  readonly nodePortAddresses: readonly string[];
  readonly localhostNodePorts: boolean;
  readonly minSyncPeriodMs: number;
  readonly networkPolicy: boolean;
  readonly conntrack: ConnectionLimits;
  /** Removes all rules and ends. */
  readonly cleanup: boolean;
}

/** What both modes have for the process to serve. */
interface DataPlane {
  readonly proxy: Proxy;
  readonly health: ProxyHealth;
  readonly metrics: ProxyMetrics;
  start(): Promise<void>;
  stop(): Promise<void>;
}

type Mode = 'nftables' | 'simulated';

async function modeOf(flags: ProxyFlags): Promise<Mode> {
  const { proxyMode } = flags;
  if (proxyMode === 'simulated') return proxyMode;
  if (proxyMode !== undefined && proxyMode !== 'nftables')
    throw new StartError(
      `--proxy-mode ${proxyMode} is none of ours: say nftables, or simulated, which changes nothing on this machine`,
    );
  const host = createLinuxHost();
  const missing = await host.missing().finally(() => host.close());
  if (missing !== undefined)
    throw new StartError(`${missing}; or say --proxy-mode simulated, which changes nothing on this machine`);
  return 'nftables';
}

function detectionOf(flags: ProxyFlags): LocalDetection {
  const cidrs = flags.clusterCidr === '' ? [] : flags.clusterCidr.split(',').map((c) => c.trim());
  for (const c of cidrs)
    if (parseCidr(c) === undefined)
      throw new StartError(`--cluster-cidr ${flags.clusterCidr}: ${c} is no range such as 10.244.0.0/16`);
  switch (flags.detectLocalMode) {
    case 'NodeCIDR':
      return { mode: 'NodeCIDR' };
    case 'BridgeInterface':
    case 'InterfaceNamePrefix': {
      const isBridge = flags.detectLocalMode === 'BridgeInterface';
      const name = isBridge ? flags.podBridgeInterface : flags.podInterfaceNamePrefix;
      const flag = isBridge ? '--pod-bridge-interface' : '--pod-interface-name-prefix';
      // As the kernel has it: up to 15 characters, and nothing that would mean something else in a rule.
      if (!/^[\w.-]{1,15}$/.test(name))
        throw new StartError(`--detect-local-mode ${flags.detectLocalMode} needs ${flag} with a name of an interface`);
      return isBridge ? { mode: 'BridgeInterface', name } : { mode: 'InterfaceNamePrefix', prefix: name };
    }
    default:
      return cidrs.length === 0 ? { mode: 'none' } : { mode: 'ClusterCIDR', cidrs };
  }
}

function nodePortAddressesOf(flags: ProxyFlags): readonly string[] {
  const list = flags.nodePortAddresses;
  if (list.length === 0) return ['primary'];
  if (list.length === 1 && list[0] === 'primary') return list;
  for (const c of list)
    if (parseCidr(c.trim()) === undefined)
      throw new StartError(`--nodeport-addresses ${list.join(',')}: it is ranges such as 192.0.2.0/24, or primary`);
  return list;
}

function simulated(client: TypedClient, nodeName: string, env: ComponentEnvironment): DataPlane {
  const { clock, random, logger } = env;
  const health = new ProxyHealth(clock);
  const metrics = new ProxyMetrics();
  const proxy = createProxy({ ...{ client, clock, random, logger, nodeName, health, metrics } });
  return { proxy, health, metrics, start: () => proxy.start(), stop: () => proxy.stop() };
}

async function real(
  client: TypedClient,
  nodeName: string,
  flags: ProxyFlags,
  env: ComponentEnvironment,
): Promise<DataPlane> {
  const { clock, random, logger } = env;
  const nftables = {
    detectLocal: detectionOf(flags),
    masqueradeAll: flags.masqueradeAll,
    nodePortAddresses: nodePortAddressesOf(flags),
    localhostNodePorts: flags.localhostNodePorts,
    minSyncPeriodMs: flags.minSyncPeriodMs,
  };
  const recorder = new EventRecorder({ client, clock, random, logger, component: 'kube-proxy', host: nodeName });
  const plane = createNodeProxy({
    ...{ client, clock, random, logger, nodeName, nftables, networkPolicy: flags.networkPolicy },
    onHealthCheckFailure: (namespace, name, message) =>
      recorder.event(
        resources.core.services,
        { apiVersion: 'v1', kind: 'Service', metadata: { namespace, name } },
        'Warning',
        'FailedToStartServiceHealthcheck',
        message,
      ),
  });
  await setConnectionLimits(plane.host, flags.conntrack, logger);
  return {
    ...plane,
    stop: async () => {
      await plane.stop();
      await recorder.stop();
    },
  };
}

async function serve(
  plane: DataPlane,
  mode: Mode,
  flags: ProxyFlags,
  env: ComponentEnvironment,
  servers: ComponentServer[],
): Promise<string> {
  const { clock, logger } = env;
  const health = splitHostPort('healthz-bind-address', flags.healthzBindAddress, 10_256);
  const metrics = splitHostPort('metrics-bind-address', flags.metricsBindAddress, 10_249);
  const shared = { component: 'kube-proxy', clock, logger, tls: undefined, auth: undefined, checks: new Map() };
  const answer = (path: 'healthz' | 'livez') => () => {
    const { status, body } = plane.health[path]();
    plane.metrics.asked(path, status);
    return Promise.resolve({ status, body });
  };
  const routes = new Map([
    ['/healthz', answer('healthz')],
    ['/livez', answer('livez')],
  ]);
  const frontends = computed(
    'gauge',
    'knarr_proxy_frontends',
    'Addresses and ports that Services are reached at.',
    () => [[{}, plane.proxy.frontends.size]],
  );
  const families: readonly Family[] = [frontends, ...plane.metrics.families];
  let at = '';
  if (health !== undefined) {
    const server = await serveComponent({
      ...{ ...shared, ...health, routes, flag: '--healthz-bind-address', healthOnly: true },
    });
    servers.push(server);
    at = `, health on ${server.url}`;
  }
  if (metrics !== undefined)
    servers.push(
      await serveComponent({
        ...{ ...shared, ...metrics, flag: '--metrics-bind-address', metrics: families },
        routes: new Map([['/proxyMode', () => Promise.resolve({ status: 200, body: mode })]]),
      }),
    );
  return at;
}

export async function runProxy(flags: ProxyFlags, env: ComponentEnvironment): Promise<void> {
  const { signal } = env;
  if (flags.cleanup) {
    try {
      await removeAllRules();
    } catch (error) {
      throw new StartError(error instanceof Error ? error.message : String(error), { cause: error });
    }
    env.say('kube-proxy: no rules of Services and network policies are left');
    return;
  }
  const mode = await modeOf(flags);
  const nodeName = (flags.hostnameOverride ?? hostname()).trim().toLowerCase();
  const config = await connectionOf(flags, env);
  const client = connect(config, env, userAgent('kube-proxy'));
  const servers: ComponentServer[] = [];
  let plane: DataPlane | undefined;
  try {
    plane = mode === 'simulated' ? simulated(client, nodeName, env) : await real(client, nodeName, flags, env);
    const at = await serve(plane, mode, flags, env, servers);
    if (!(await waitForServer(client, config, env))) return;
    const started = plane.start();
    started.catch(() => {});
    await Promise.race([started, aborted(signal)]);
    if (!signal.aborted) env.say(`kube-proxy: working for node ${nodeName} with ${config.server}, ${mode}${at}`);
    await aborted(signal);
  } finally {
    await Promise.all([plane?.stop(), ...servers.map((s) => s.close())]);
    await client.transport.close();
  }
}
