/** The cloud of a cluster in this process: this machine, whose addresses are its load balancers'. */
import type { Duplex } from 'node:stream';
import type { Logger } from '../base/logger.ts';
import type { LocalProvider } from '../cloud/providers/local/local.ts';
import { createLocalProvider } from '../cloud/providers/local/local.ts';
import type { ClusterOptions } from './cluster.ts';
import { LoadBalancerListeners } from './load-balancer-listeners.ts';
import type { Teardown } from './teardown.ts';

/** IPv6 has but one address of this machine alone; these are reached from inside the cluster. */
const simulatedPool = { 4: '127.0.1.0/24', 6: 'fd00:127:1::/112' } as const;

/**
 * The provider of this machine. Of simulated nodes, load balancer addresses answer where the cluster listens for others at all; of real
 * ones the nodes' rules do it.
 */
export function localCloud(
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
