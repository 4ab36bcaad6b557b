/** The service account controller: every active namespace has a ServiceAccount `default`. */
import type { Namespace } from '../api/types/index.gen.ts';
import { Controller } from '../client/controller.ts';
import { isAlreadyExists, isNamespaceTerminating, isNotFound } from '../client/errors.ts';
import { resources } from '../client/resources.ts';
import type { ControllerContext, ControllerDescriptor, RunningController } from './context.ts';

const ensured = ['default'];

function start(context: ControllerContext): RunningController {
  const client = context.clientFor('service-account-controller');
  const accounts = context.informers.informer(resources.core.serviceaccounts);
  const namespaces = context.informers.informer(resources.core.namespaces);
  const controller = new Controller({
    queueMetrics: context.queueMetrics,
    name: 'serviceaccount',
    clock: context.clock,
    logger: context.logger,
    workers: 1,
    reconcile: async (name) => {
      const ns = namespaces.lister.get(name);
      if (ns?.status?.phase !== 'Active') return;
      for (const account of ensured) {
        if (accounts.lister.get(account, name) !== undefined) continue;
        try {
          await client.core.serviceaccounts.create({ metadata: { name: account, namespace: name } });
        } catch (error) {
          if (!isAlreadyExists(error) && !isNamespaceTerminating(error) && !isNotFound(error)) throw error;
        }
      }
    },
  });
  accounts.addHandler({ onDelete: (a) => controller.queue.add(a.metadata.namespace!) });
  const changed = (ns: Namespace): void => controller.queue.add(ns.metadata.name!);
  namespaces.addHandler({ onAdd: changed, onUpdate: (_, ns) => changed(ns) });
  controller.start(accounts.synced, namespaces.synced);
  return controller;
}

export const serviceAccountController: ControllerDescriptor = {
  name: 'serviceaccount-controller',
  aliases: ['serviceaccount'],
  start,
};
