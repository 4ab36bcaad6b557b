/** The node IPAM controller: gives each node a range of pod addresses out of the cluster's (upstream's range allocator). */
import type { Cidr } from '../base/ip.ts';
import { formatCidr, parseCidr } from '../base/ip.ts';
import type { Node } from '../api/types/index.gen.ts';
import { Controller } from '../client/controller.ts';
import { isNotFound } from '../client/errors.ts';
import { resources } from '../client/resources.ts';
import type { ControllerContext, ControllerDescriptor, RunningController } from './context.ts';
import { CidrSet } from './util/cidr-set.ts';

function start(context: ControllerContext): RunningController | undefined {
  const { options, clock, logger } = context;
  if (options.allocateNodeCIDRs !== true) return undefined;
  const clusterCidrs = (options.clusterCIDR ?? '').split(',').filter((c) => c !== '');
  if (clusterCidrs.length === 0) throw new Error('cluster-cidr is required when allocate-node-cidrs is set');
  const sets = clusterCidrs.map((text) => {
    const cluster = parseCidr(text.trim());
    if (cluster === undefined) throw new Error(`invalid cluster-cidr ${text}`);
    const bits = cluster.family === 4 ? (options.nodeCIDRMaskSizeIPv4 ?? 24) : (options.nodeCIDRMaskSizeIPv6 ?? 64);
    if (bits < cluster.prefix) {
      throw new Error(`node-cidr-mask-size ${bits} is shorter than the mask of cluster-cidr ${text}`);
    }
    return new CidrSet(cluster, bits);
  });
  // Pods get none of the addresses of Services.
  for (const text of options.serviceClusterIPRanges ?? []) {
    const services = parseCidr(text.trim());
    if (services === undefined) throw new Error(`invalid service-cluster-ip-range ${text}`);
    for (const set of sets) set.occupy(services);
  }
  const client = context.clientFor('node-controller');
  const recorder = context.recorder('cidrAllocator', client);
  const nodes = context.informers.informer(resources.core.nodes);

  const rangesOf = (node: Node): Cidr[] =>
    (node.spec?.podCIDRs ?? (node.spec?.podCIDR === undefined ? [] : [node.spec.podCIDR]))
      .map(parseCidr)
      .filter((c): c is Cidr => c !== undefined);
  const occupy = (node: Node): void => {
    for (const [i, range] of rangesOf(node).entries()) sets[i]?.occupy(range);
  };

  const controller = new Controller({
    queueMetrics: context.queueMetrics,
    name: 'node-ipam',
    clock,
    logger,
    workers: 30,
    reconcile: async (name) => {
      const node = nodes.lister.get(name);
      if (node === undefined || rangesOf(node).length > 0) return;
      const ranges: Cidr[] = [];
      for (const set of sets) {
        const range = set.allocate();
        if (range === undefined) {
          for (const [i, r] of ranges.entries()) sets[i]!.release(r);
          const ref = { apiVersion: 'v1', kind: 'Node', name, uid: node.metadata.uid! };
          recorder.eventFor(ref, 'Normal', 'CIDRNotAvailable', `Node ${name} status is now: CIDRNotAvailable`);
          throw new Error(
            'failed to allocate cidr: CIDR allocation failed; there are no remaining CIDRs left to allocate in the accepted range',
          );
        }
        ranges.push(range);
      }
      const texts = ranges.map(formatCidr);
      try {
        await client.core.nodes.patch(name, undefined, 'strategic', { spec: { podCIDR: texts[0], podCIDRs: texts } });
      } catch (error) {
        // The answer may have been lost while the patch was not; where that cannot be told either, it is all tried again.
        const fresh = isNotFound(error) ? undefined : await client.core.nodes.get(name).catch(() => undefined);
        if (fresh !== undefined && rangesOf(fresh).map(formatCidr).join() === texts.join()) return;
        for (const [i, r] of ranges.entries()) sets[i]!.release(r);
        if (fresh !== undefined && rangesOf(fresh).length > 0) {
          occupy(fresh);
          return;
        }
        if (!isNotFound(error)) throw error;
      }
    },
  });
  nodes.addHandler({
    onAdd: (node) => {
      occupy(node);
      controller.queue.add(node.metadata.name!);
    },
    onUpdate: (old, node) => {
      if (rangesOf(node).length === 0) controller.queue.add(node.metadata.name!);
      else if (rangesOf(old).length === 0) occupy(node);
    },
    onDelete: (node) => {
      for (const [i, range] of rangesOf(node).entries()) sets[i]?.release(range);
    },
  });
  controller.start(nodes.synced);
  return controller;
}

export const nodeIpamController: ControllerDescriptor = { name: 'node-ipam-controller', aliases: ['nodeipam'], start };
