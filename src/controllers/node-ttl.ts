/**
 * The TTL controller: tells kubelets, in an annotation, for how long they may keep Secrets and ConfigMaps; the more nodes there
 * are, the longer.
 */
import type { Node } from '../api/types/index.gen.ts';
import { Controller } from '../client/controller.ts';
import { isNotFound } from '../client/errors.ts';
import { resources } from '../client/resources.ts';
import type { ControllerContext, ControllerDescriptor, RunningController } from './context.ts';

const annotation = 'node.alpha.kubernetes.io/ttl';
/** Seconds by number of nodes; the bounds overlap so that the value does not swing. */
const steps = [
  { min: 0, max: 100, seconds: 0 },
  { min: 90, max: 500, seconds: 15 },
  { min: 450, max: 1000, seconds: 30 },
  { min: 900, max: 2000, seconds: 60 },
  { min: 1800, max: 10_000, seconds: 300 },
  { min: 9000, max: Infinity, seconds: 600 },
] as const;

function start(context: ControllerContext): RunningController {
  const client = context.clientFor('ttl-controller');
  const nodes = context.informers.informer(resources.core.nodes);
  let step = 0;
  const controller = new Controller({
    queueMetrics: context.queueMetrics,
    name: 'ttl',
    clock: context.clock,
    logger: context.logger,
    reconcile: async (name) => {
      const node = nodes.lister.get(name);
      const wanted = String(steps[step]!.seconds);
      if (node === undefined || node.metadata.annotations?.[annotation] === wanted) return;
      try {
        await client.core.nodes.patch(name, undefined, 'strategic', {
          metadata: { annotations: { [annotation]: wanted } },
        });
      } catch (error) {
        if (!isNotFound(error)) throw error;
      }
    },
  });
  const adjust = (): void => {
    const count = nodes.lister.size;
    while (count > steps[step]!.max) step++;
    while (count < steps[step]!.min) step--;
  };
  const wake = (node: Node): void => {
    adjust();
    controller.queue.add(node.metadata.name!);
  };
  nodes.addHandler({
    onAdd: wake,
    onUpdate: (old, node) => {
      // Any other change of a node is of no interest here.
      if (
        node.metadata.annotations?.[annotation] !== String(steps[step]!.seconds) ||
        old.metadata.annotations?.[annotation] !== node.metadata.annotations?.[annotation]
      )
        wake(node);
    },
    onDelete: adjust,
  });
  controller.start(nodes.synced);
  return controller;
}

export const ttlController: ControllerDescriptor = { name: 'ttl-controller', aliases: ['ttl'], start };
