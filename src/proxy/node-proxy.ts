/**
 * The whole data plane of one node: Services and network policies by nftables, with health, metrics and health check ports. What a
 * process or a machine with real nodes starts; with a network namespace given, everything happens in there.
 */
import type { Clock } from '../base/clock.ts';
import type { Logger } from '../base/logger.ts';
import type { Random } from '../base/random.ts';
import type { TypedClient } from '../client/typed-client.ts';
import type { ConnectionLimits } from './connection-limits.ts';
import { nodeConnections, setConnectionLimits } from './connection-limits.ts';
import { HealthCheckPorts } from './health-check-ports.ts';
import { ProxyHealth } from './health.ts';
import { createLinuxHost } from './host/linux-host.ts';
import type { ProxyHost } from './host/proxy-host.ts';
import { ProxyMetrics } from './metrics.ts';
import { cleanUp, NftablesBackend } from './nftables/nftables-backend.ts';
import type { NftablesOptions } from './nftables/options.ts';
import type { NetworkPolicyEnforcer } from './policy/network-policy.ts';
import { cleanUpPolicies, createNetworkPolicyEnforcer } from './policy/network-policy.ts';
import type { Proxy } from './proxy.ts';
import { createProxy } from './proxy.ts';

export { nodeConnections };

/** So long the start waits for policies to be read; whoever may not read them has none enforced, but Services. */
const policyWaitMs = 5000;

export interface NodeProxyOptions {
  /** As `system:kube-proxy`, which must be allowed `networkPolicyRules` besides where policies are enforced. */
  readonly client: TypedClient;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  readonly nodeName: string;
  /** Taken for the node's own address of its family, whatever the Node says. */
  readonly nodeIp?: string;
  /** Path of the node's network namespace; the process's own when left out. */
  readonly netns?: string;
  readonly nftables?: NftablesOptions;
  /** Set when it starts; nothing when left out. */
  readonly connections?: ConnectionLimits;
  /** Enforces NetworkPolicies; default true. */
  readonly networkPolicy?: boolean;
  /** A health check port could not be had: for an event about the Service. */
  readonly onHealthCheckFailure?: (namespace: string, name: string, message: string) => void;
}

export interface NodeProxy {
  readonly proxy: Proxy;
  readonly policies: NetworkPolicyEnforcer | undefined;
  readonly host: ProxyHost;
  readonly health: ProxyHealth;
  readonly metrics: ProxyMetrics;
  /** Resolves when Services and policies are in place. Policies that cannot be read do not hold up Services. */
  start(): Promise<void>;
  /** Leaves the rules in place, so that traffic goes on. */
  stop(): Promise<void>;
}

export function createNodeProxy(options: NodeProxyOptions): NodeProxy {
  const { client, clock, random, logger, nodeName, nftables = {} } = options;
  const host = createLinuxHost(options.netns === undefined ? {} : { netns: options.netns });
  let stopped = false;
  const families = nftables.families ?? [4, 6];
  const health = new ProxyHealth(clock, families);
  const metrics = new ProxyMetrics(families);
  const { nodePortAddresses } = nftables;
  const proxy = createProxy({
    ...{ client, clock, random, logger, nodeName, health, metrics },
    ...(options.nodeIp === undefined ? {} : { nodeIp: options.nodeIp }),
    backend: new NftablesBackend({ ...nftables, host, clock, logger, metrics }),
    healthCheckPorts: new HealthCheckPorts({
      ...{ host, logger, health, nodeName },
      ...(nodePortAddresses === undefined ? {} : { nodePortAddresses }),
      ...(options.onHealthCheckFailure === undefined ? {} : { onFailure: options.onHealthCheckFailure }),
    }),
  });
  const policies =
    options.networkPolicy === false
      ? undefined
      : createNetworkPolicyEnforcer({ client, clock, random, logger, host, nodeName });
  return {
    ...{ proxy, policies, host, health, metrics },
    async start() {
      const policed = policies?.start().catch((error: unknown) => {
        if (!stopped) logger.error('network policies are not enforced', { error });
      });
      await proxy.start();
      if (options.connections !== undefined) await setConnectionLimits(host, options.connections, logger);
      if (policed === undefined) return;
      let ready = false;
      const waited = new AbortController();
      await Promise.race([
        policed.then(() => (ready = true)),
        clock.sleep(policyWaitMs, waited.signal).catch(() => {}), // rejects when nobody waits any more
      ]);
      waited.abort();
      if (!ready && !stopped) logger.warn('network policies could not be read yet');
    },
    async stop() {
      stopped = true;
      await Promise.all([proxy.stop(), policies?.stop()]);
      await host.close();
    },
  };
}

/** Removes every rule of ours from the machine (or namespace): `kube-proxy --cleanup`, `knarr reset`. Needs nft and root. */
export async function removeAllRules(netns?: string): Promise<void> {
  const host = createLinuxHost(netns === undefined ? {} : { netns });
  try {
    await cleanUp(host);
    await cleanUpPolicies(host);
  } finally {
    await host.close();
  }
}
