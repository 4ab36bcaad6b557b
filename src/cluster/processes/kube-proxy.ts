/**
 * `knarr kube-proxy`: follows Services and endpoints for one node, and network policies with them. With nftables it is the node's data
 * plane; with `simulated` it keeps the map and tells of it, and no packet is touched.
 */
import { writeFile } from 'node:fs/promises';
import { hostname } from 'node:os';
import { parseCidr, parseIp } from '../../base/ip.ts';
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
import { FeatureGates } from '../../api/features/feature-gates.ts';
import type { Logger } from '../../base/logger.ts';
import { dumpYaml } from '../yaml.ts';
import { connect, connectionOf, userAgent, waitForServer } from './api-connection.ts';
import type { ComponentServer } from './component-server.ts';
import { serveComponent } from './component-server.ts';
import type { ComponentEnvironment } from './environment.ts';
import { aborted, measured, isWildcard, splitHostPort, StartError } from './environment.ts';
import { defaultProxyConfiguration, flagsOfFile } from './kube-proxy-config.ts';

export interface ProxyFlags {
  /** A KubeProxyConfiguration, in the place of all flags but `hostnameOverride` and `master`. */
  readonly config?: string | undefined;
  /** Writes a configuration of defaults there and ends. */
  readonly writeConfigTo?: string | undefined;
  /** What the node's own address is taken for; undefined or unspecified: what its Node says. */
  readonly bindAddress?: string | undefined;
  /** A port for health or metrics that cannot be had ends the process; otherwise it is tried again. */
  readonly bindAddressHardFail?: boolean;
  /** Of the packet mark that stands for masquerading. */
  readonly masqueradeBit?: number;
  readonly oomScoreAdj?: number | undefined;
  readonly featureGates?: Readonly<Record<string, string>>;
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
  /** Sets the limits of connection tracking and ends. */
  readonly initOnly?: boolean;
  /** What could not be written is tried again after so long at most. */
  readonly syncPeriodMs?: number;
  /** One line for each flag that was given and has no effect. */
  readonly idle?: readonly string[];
}

/** A port that another process has is asked for again so often. */
const rebindMs = 5000;

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

/** The node's own address, where one is named that means a single one. */
function nodeAddressOf(flags: ProxyFlags): { readonly nodeIp?: string } {
  const { bindAddress = '' } = flags;
  if (bindAddress === '') return {};
  if (parseIp(bindAddress) === undefined) throw new StartError(`--bind-address ${bindAddress} is no IP address`);
  return isWildcard(bindAddress) ? {} : { nodeIp: bindAddress };
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
    ...(flags.masqueradeBit === undefined ? {} : { masqueradeBit: flags.masqueradeBit }),
    nodePortAddresses: nodePortAddressesOf(flags),
    localhostNodePorts: flags.localhostNodePorts,
    minSyncPeriodMs: flags.minSyncPeriodMs,
    ...(flags.syncPeriodMs === undefined ? {} : { syncPeriodMs: flags.syncPeriodMs }),
  };
  const recorder = new EventRecorder({ client, clock, random, logger, component: 'kube-proxy', host: nodeName });
  const plane = createNodeProxy({
    ...{ client, clock, random, logger, nodeName, nftables, networkPolicy: flags.networkPolicy },
    ...nodeAddressOf(flags),
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
  const families: readonly Family[] = [frontends, ...plane.metrics.families, ...(env.requests?.families ?? [])];
  let at = '';
  const open = async (what: string, serve: () => Promise<ComponentServer>): Promise<ComponentServer | undefined> => {
    try {
      const server = await serve();
      servers.push(server);
      return server;
    } catch (error) {
      if (flags.bindAddressHardFail === true) throw error;
      logger.error(`${what} cannot be served; trying again`, { why: (error as Error).message });
      const retry = async (): Promise<void> => {
        await clock.sleep(rebindMs, env.signal);
        await open(what, serve);
      };
      retry().catch(() => {}); // fails alone when the process ends: `open` tells the rest
      return undefined;
    }
  };
  if (health !== undefined) {
    const server = await open('health', () =>
      serveComponent({ ...shared, ...health, routes, flag: '--healthz-bind-address', healthOnly: true }),
    );
    if (server !== undefined) at = `, health on ${server.url}`;
  }
  if (metrics !== undefined)
    await open('metrics', () =>
      serveComponent({
        ...{ ...shared, ...metrics, flag: '--metrics-bind-address', metrics: families },
        routes: new Map([['/proxyMode', () => Promise.resolve({ status: 200, body: mode })]]),
      }),
    );
  return at;
}

/** Makes the process less, or more, likely to be killed when memory is short. */
async function setOomScore(score: number, logger: Logger): Promise<void> {
  if (Math.abs(score) > 1000) throw new StartError(`--oom-score-adj ${score} must be within the range [-1000, 1000]`);
  await writeFile('/proc/self/oom_score_adj', String(score)).catch((error: unknown) =>
    logger.warn('the OOM score cannot be set', { score, why: (error as Error).message }),
  );
}

export async function runProxy(given: ProxyFlags, environment: ComponentEnvironment): Promise<void> {
  const env = measured(environment);
  const { signal, logger } = env;
  if (given.writeConfigTo !== undefined) {
    const text = await dumpYaml(defaultProxyConfiguration());
    await writeFile(given.writeConfigTo, text).catch((error: unknown) => {
      throw new StartError(`cannot write ${given.writeConfigTo}: ${(error as Error).message}`, { cause: error });
    });
    env.say(`kube-proxy: wrote the configuration of defaults to ${given.writeConfigTo}`);
    return;
  }
  let flags = given;
  if (given.config !== undefined) {
    const file = await flagsOfFile(given.config, given);
    flags = file.flags;
    for (const gap of file.gaps) logger.warn(`KubeProxyConfiguration: ${gap}`);
  }
  if (flags.featureGates !== undefined)
    try {
      void new FeatureGates(flags.featureGates);
    } catch (error) {
      throw new StartError(`--feature-gates: ${(error as Error).message}`, { cause: error });
    }
  if (flags.cleanup) {
    try {
      await removeAllRules();
    } catch (error) {
      throw new StartError(error instanceof Error ? error.message : String(error), { cause: error });
    }
    env.say('kube-proxy: no rules of Services and network policies are left');
    return;
  }
  for (const line of given.config === undefined ? (flags.idle ?? []) : []) logger.warn(line);
  const mode = await modeOf(flags);
  if (flags.initOnly === true) {
    const host = createLinuxHost();
    try {
      if (mode === 'nftables') await setConnectionLimits(host, flags.conntrack, logger);
    } finally {
      host.close();
    }
    env.say('kube-proxy: what needs all rights is set');
    return;
  }
  if (flags.oomScoreAdj !== undefined) await setOomScore(flags.oomScoreAdj, logger);
  const nodeName = (flags.hostnameOverride ?? hostname()).trim().toLowerCase();
  const config = await connectionOf(flags, env);
  const client = connect(config, env, userAgent('kube-proxy'));
  const servers: ComponentServer[] = [];
  let plane: DataPlane | undefined;
  try {
    plane = mode === 'simulated' ? simulated(client, nodeName, env) : await real(client, nodeName, flags, env);
    const at = await serve(plane, mode, flags, env, servers);
    if (!(await waitForServer(client, config, env))) return;
    await Promise.race([plane.start(), aborted(signal)]);
    if (!signal.aborted) env.say(`kube-proxy: working for node ${nodeName} with ${config.server}, ${mode}${at}`);
    await aborted(signal);
  } finally {
    await Promise.all([plane?.stop(), ...servers.map((s) => s.close())]);
    await client.transport.close();
  }
}
