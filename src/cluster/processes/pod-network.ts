/**
 * `knarr pod-network`: a machine's part in the pod network alone, beside a kubelet and a proxy of somebody else's: the runtime's CNI
 * configuration, routes and VXLAN to other nodes, masquerading, and the addresses of load balancers.
 */
import { hostname } from 'node:os';
import { parseCidr } from '../../base/ip.ts';
import { readNodeFacts } from '../joining/node-facts.ts';
import { LoadBalancerAddresses } from '../real/load-balancer-addresses.ts';
import { PodNetwork, removePodNetwork } from '../real/pod-network.ts';
import type { OverlayMode } from '../real/routes.ts';
import { checkMachine } from '../real/runtime.ts';
import { connect, connectionOf, userAgent, waitForServer } from './api-connection.ts';
import type { ComponentEnvironment } from './environment.ts';
import { aborted, StartError } from './environment.ts';

export interface PodNetworkFlags {
  readonly kubeconfig: string | undefined;
  readonly master: string | undefined;
  readonly hostnameOverride: string | undefined;
  /** Default: as the cluster says. */
  readonly clusterCidrs: readonly string[];
  readonly overlay: OverlayMode | undefined;
  readonly loadBalancerPool: readonly string[];
  readonly cniConfDir: string;
  /** Where host-local keeps the addresses it has given out. */
  readonly cniDataDir: string;
  /** Takes everything away and ends. */
  readonly cleanup: boolean;
}

export async function runPodNetwork(flags: PodNetworkFlags, env: ComponentEnvironment): Promise<void> {
  const { clock, random, logger, signal } = env;
  try {
    checkMachine();
  } catch (error) {
    throw new StartError((error as Error).message, { cause: error });
  }
  if (flags.cleanup) {
    const left = await removePodNetwork(flags.cniConfDir);
    if (left.length > 0) throw new StartError(`not removed: ${left.join('; ')}`);
    env.say('pod-network: nothing of it is left');
    return;
  }
  for (const c of [...flags.clusterCidrs, ...flags.loadBalancerPool])
    if (parseCidr(c) === undefined) throw new StartError(`${c} is no range such as 10.244.0.0/16`);
  const nodeName = (flags.hostnameOverride ?? hostname()).trim().toLowerCase();
  const config = await connectionOf(flags, env);
  const client = connect(config, env, userAgent('knarr-pod-network'));
  try {
    if (!(await waitForServer(client, config, env))) return;
    const facts = await readNodeFacts(client).catch((error: unknown) => {
      if (flags.clusterCidrs.length > 0) return undefined;
      throw new StartError(
        `the cluster does not say which addresses its pods have (${(error as Error).message}): give --cluster-cidr`,
        { cause: error },
      );
    });
    const overlay = flags.overlay ?? facts?.overlay;
    const pool = flags.loadBalancerPool.length > 0 ? flags.loadBalancerPool : (facts?.loadBalancerPool ?? []);
    const shared = { client, clock, random, logger, nodeName };
    const network = new PodNetwork({
      ...shared,
      clusterCidrs: flags.clusterCidrs.length > 0 ? flags.clusterCidrs : facts!.clusterCidrs,
      cniConfDir: flags.cniConfDir,
      cniDataDir: flags.cniDataDir,
      ...(overlay === undefined ? {} : { overlay }),
    });
    const announced = pool.length === 0 ? undefined : new LoadBalancerAddresses({ ...shared, pool });
    try {
      network.start();
      const started = announced?.start();
      started?.catch(() => {}); // fails alone when it is stopped before it has read all
      await Promise.race([network.ready, aborted(signal)]);
      if (!signal.aborted) env.say(`pod-network: working for node ${nodeName} with ${config.server}`);
      await aborted(signal);
    } finally {
      await Promise.all([network.stop(), announced?.stop()]);
    }
  } finally {
    await client.transport.close();
  }
}
