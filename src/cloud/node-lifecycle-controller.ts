/**
 * The cloud node lifecycle controller: a Node that is not ready is deleted when its instance is gone, and tainted when the instance
 * is switched off; the taint goes when the Node is ready again.
 */
import type { Node, Taint } from '../api/types/index.gen.ts';
import { isNotFound } from '../client/errors.ts';
import { resources } from '../client/resources.ts';
import { retryOnConflict } from '../client/retry.ts';
import { Slice } from '../base/yield.ts';
import type { CloudContext, CloudControllerDescriptor, RunningController } from './context.ts';
import { Periodic } from './periodic.ts';
import type { InstancesV2 } from './provider.ts';

export const shutdownTaint = 'node.cloudprovider.kubernetes.io/shutdown';

function isReady(node: Node): boolean {
  return node.status?.conditions?.some((c) => c.type === 'Ready' && c.status === 'True') === true;
}

function start(context: CloudContext, instances: InstancesV2): RunningController {
  const { clock, random, logger, options } = context;
  const client = context.clientFor('node-controller');
  const recorder = context.recorder('cloud-node-lifecycle-controller', client);
  const nodes = context.informers.informer(resources.core.nodes);

  /** Replaces the taints by what `change` makes of them; undefined: leaves them. */
  const setTaints = (name: string, change: (taints: readonly Taint[]) => Taint[] | undefined): Promise<void> =>
    retryOnConflict({ clock, random }, async () => {
      const node = await client.core.nodes.get(name);
      const taints = change(node.spec?.taints ?? []);
      if (taints === undefined) return;
      await client.core.nodes.patch(name, undefined, 'merge', {
        metadata: { resourceVersion: node.metadata.resourceVersion },
        spec: { taints: taints.length === 0 ? null : taints },
      });
    });

  const remove = async (node: Node): Promise<void> => {
    const name = node.metadata.name!;
    const reference = { kind: 'Node', apiVersion: 'v1', name, uid: node.metadata.uid };
    recorder.eventFor(
      reference,
      'Normal',
      'DeletingNode',
      `Deleting node ${name} because it does not exist in the cloud provider`,
    );
    try {
      await client.core.nodes.delete(name);
    } catch (error) {
      logger.error('unable to delete node', { node: name, error });
      recorder.eventFor(
        reference,
        'Warning',
        'DeletingNodeFailed',
        `Failed deleting node ${name}: ${(error as Error).message}`,
      );
    }
  };

  /** A node that is ready and has not been switched off needs no look at its instance. */
  const inOrder = (node: Node): boolean =>
    isReady(node) && !(node.spec?.taints ?? []).some((t) => t.key === shutdownTaint);

  const monitor = async (node: Node, signal: AbortSignal): Promise<void> => {
    const name = node.metadata.name!;
    if (isReady(node)) {
      await setTaints(name, (taints) => {
        const rest = taints.filter((t) => t.key !== shutdownTaint || t.effect !== 'NoSchedule');
        return rest.length === taints.length ? undefined : rest;
      });
      return;
    }
    if (!(await instances.instanceExists(node, signal))) {
      await remove(node);
      return;
    }
    if (!(await instances.instanceShutdown(node, signal))) return;
    await setTaints(name, (taints) =>
      taints.some((t) => t.key === shutdownTaint && t.effect === 'NoSchedule')
        ? undefined
        : [...taints, { key: shutdownTaint, effect: 'NoSchedule' }],
    );
  };

  const compare = async (suspects: readonly Node[], signal: AbortSignal): Promise<void> => {
    const slice = new Slice();
    for (const node of suspects) {
      if (signal.aborted) return;
      await slice.turn();
      try {
        await monitor(node, signal);
      } catch (error) {
        if (!signal.aborted && !isNotFound(error))
          logger.warn('could not compare node with its instance', { node: node.metadata.name, error });
      }
    }
  };

  const loop = new Periodic({
    name: 'cloud-node-lifecycle',
    clock,
    logger,
    periodMs: options.nodeMonitorPeriodMs ?? 5000,
    run: (signal) => {
      const suspects = [...nodes.lister.list()].filter((node) => !inOrder(node));
      return suspects.length === 0 ? undefined : compare(suspects, signal);
    },
  });
  loop.start(nodes.synced);
  return loop;
}

export const cloudNodeLifecycleController: CloudControllerDescriptor = {
  name: 'cloud-node-lifecycle-controller',
  aliases: ['cloud-node-lifecycle'],
  start: (context) => {
    const instances = context.provider.instancesV2;
    return instances === undefined ? undefined : start(context, instances);
  },
};
