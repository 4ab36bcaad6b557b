/**
 * The bootstrap signer: signs the kubeconfig in `kube-public/cluster-info` with every bootstrap token meant for that, so that
 * whoever holds a token can tell a true one. Off by default, as upstream; installers turn it on.
 */
import {
  bootstrapTokenSecretPrefix,
  bootstrapTokenSecretType,
  clusterInfoName,
  signaturePrefix,
  signClusterInfo,
  tokenData,
  tokenTimeLeft,
} from '../api/helpers/bootstrap-token.ts';
import type { ConfigMap, Secret } from '../api/types/index.gen.ts';
import { Controller } from '../client/controller.ts';
import { isConflict, isNotFound } from '../client/errors.ts';
import { resources } from '../client/resources.ts';
import type { ControllerContext, ControllerDescriptor, RunningController } from './context.ts';

const theOnly = clusterInfoName;

function start(context: ControllerContext): RunningController {
  const client = context.clientFor('bootstrap-signer').core.configmaps;
  const tokens = context.informers.informer<Secret>(resources.core.secrets, {
    namespace: 'kube-system',
    fieldSelector: `type=${bootstrapTokenSecretType}`,
  });
  const maps = context.informers.informer<ConfigMap>(resources.core.configmaps, {
    namespace: 'kube-public',
    fieldSelector: `metadata.name=${clusterInfoName}`,
  });

  /** The secrets of the tokens that may sign, by id. */
  const signing = (): Map<string, string> => {
    const found = new Map<string, string>();
    for (const token of tokens.lister.list()) {
      const id = tokenData(token, 'token-id');
      const secret = tokenData(token, 'token-secret');
      if (token.metadata.name !== bootstrapTokenSecretPrefix + id || secret === '') continue;
      if (token.metadata.deletionTimestamp !== undefined) continue;
      if (tokenTimeLeft(token, context.clock.now()) === 0) continue;
      if (tokenData(token, 'usage-bootstrap-signing') === 'true') found.set(id, secret);
    }
    return found;
  };

  const controller = new Controller({
    queueMetrics: context.queueMetrics,
    name: 'bootstrap_signer_queue',
    clock: context.clock,
    logger: context.logger,
    reconcile: async () => {
      const map = maps.lister.get(clusterInfoName, 'kube-public');
      const kubeconfig = map?.data?.['kubeconfig'];
      if (map === undefined || kubeconfig === undefined) return;
      const data: Record<string, string> = {};
      for (const [key, value] of Object.entries(map.data ?? {}))
        if (!key.startsWith(signaturePrefix)) data[key] = value;
      for (const [id, secret] of signing()) data[signaturePrefix + id] = signClusterInfo(kubeconfig, id, secret);
      const before = map.data ?? {};
      const keys = Object.keys(data);
      if (keys.length === Object.keys(before).length && keys.every((k) => before[k] === data[k])) return;
      try {
        await client.update({ ...map, data });
      } catch (error) {
        // Somebody else was faster; the echo of that brings us here again.
        if (!isConflict(error) && !isNotFound(error)) throw error;
      }
    },
  });
  const wake = (): void => controller.queue.add(theOnly);
  maps.addHandler({ onAdd: wake, onUpdate: wake });
  tokens.addHandler({ onAdd: wake, onUpdate: wake, onDelete: wake });
  controller.start(maps.synced, tokens.synced);
  return controller;
}

export const bootstrapSignerController: ControllerDescriptor = {
  name: 'bootstrap-signer-controller',
  aliases: ['bootstrapsigner'],
  enabledByDefault: false,
  start,
};
