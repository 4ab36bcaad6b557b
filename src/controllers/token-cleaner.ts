/** The token cleaner: deletes bootstrap tokens when they have expired. Off by default, as upstream; installers turn it on. */
import { bootstrapTokenSecretType, tokenTimeLeft } from '../api/helpers/bootstrap-token.ts';
import type { Secret } from '../api/types/index.gen.ts';
import { Controller } from '../client/controller.ts';
import { isConflict, isNotFound } from '../client/errors.ts';
import { keyOf, splitKey } from '../client/lister.ts';
import { resources } from '../client/resources.ts';
import type { ControllerContext, ControllerDescriptor, RunningController } from './context.ts';

function start(context: ControllerContext): RunningController {
  const client = context.clientFor('token-cleaner').core.secrets;
  const tokens = context.informers.informer<Secret>(resources.core.secrets, {
    namespace: 'kube-system',
    fieldSelector: `type=${bootstrapTokenSecretType}`,
  });
  const controller = new Controller({
    queueMetrics: context.queueMetrics,
    name: 'token_cleaner',
    clock: context.clock,
    logger: context.logger,
    reconcile: async (key) => {
      const { name, namespace } = splitKey(key);
      const token = tokens.lister.get(name, namespace);
      if (token === undefined) return;
      const left = tokenTimeLeft(token, context.clock.now());
      if (left > 0) {
        if (left !== Infinity) controller.queue.addAfter(key, left);
        return;
      }
      try {
        await client.delete(name, namespace, { preconditions: { uid: token.metadata.uid! } });
      } catch (error) {
        if (!isNotFound(error) && !isConflict(error)) throw error;
      }
    },
  });
  tokens.addHandler({
    onAdd: (token) => controller.queue.add(keyOf(token)),
    onUpdate: (_, token) => controller.queue.add(keyOf(token)),
  });
  controller.start(tokens.synced);
  return controller;
}

export const tokenCleanerController: ControllerDescriptor = {
  name: 'token-cleaner-controller',
  aliases: ['tokencleaner'],
  enabledByDefault: false,
  start,
};
