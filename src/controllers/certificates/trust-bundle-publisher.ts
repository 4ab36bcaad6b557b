/**
 * The kube-apiserver-serving-clustertrustbundle-publisher: the authority of the API server as a ClusterTrustBundle of the signer
 * `kubernetes.io/kube-apiserver-serving`, and none of that signer beside it. Behind the gate ClusterTrustBundle.
 */
import { createHash } from 'node:crypto';
import type { KubeObject } from '../../api/object.ts';
import { Controller } from '../../client/controller.ts';
import { isAlreadyExists, isNotFound } from '../../client/errors.ts';
import type { TypedRef } from '../../client/resources.ts';
import type { ControllerContext, ControllerDescriptor, RunningController } from '../context.ts';

const signerName = 'kubernetes.io/kube-apiserver-serving';

interface ClusterTrustBundle extends KubeObject {
  readonly spec: { readonly signerName?: string; readonly trustBundle: string };
}

const clusterTrustBundles: TypedRef<ClusterTrustBundle> = {
  group: 'certificates.k8s.io',
  version: 'v1beta1',
  resource: 'clustertrustbundles',
  kind: 'ClusterTrustBundle',
  namespaced: false,
};

function bundleName(bundle: string): string {
  const hash = createHash('sha256').update(bundle).digest('hex').slice(0, 24);
  return `${signerName.replaceAll('/', ':')}:${hash}`;
}

function start(context: ControllerContext): RunningController | undefined {
  const { rootCA, features } = context.options;
  if (rootCA === undefined || features?.enabled('ClusterTrustBundle') !== true) return undefined;
  const client = context.clientFor('kube-apiserver-serving-clustertrustbundle-publisher').resource(clusterTrustBundles);
  const bundles = context.informers.informer(clusterTrustBundles, { fieldSelector: `spec.signerName=${signerName}` });
  const name = bundleName(rootCA);
  const controller = new Controller({
    queueMetrics: context.queueMetrics,
    name: 'kube-apiserver-serving-clustertrustbundle-publisher',
    clock: context.clock,
    logger: context.logger,
    workers: 1,
    reconcile: async () => {
      const current = bundles.lister.get(name);
      if (current === undefined)
        try {
          await client.create({
            apiVersion: 'certificates.k8s.io/v1beta1',
            kind: 'ClusterTrustBundle',
            metadata: { name },
            spec: { signerName, trustBundle: rootCA },
          });
        } catch (error) {
          if (!isAlreadyExists(error)) throw error;
        }
      else if (current.spec.trustBundle !== rootCA)
        await client.update({ ...current, spec: { ...current.spec, trustBundle: rootCA } });
      for (const other of [...bundles.lister.list()]) {
        if (other.metadata.name === name) continue;
        try {
          await client.delete(other.metadata.name!);
        } catch (error) {
          if (!isNotFound(error)) throw error;
        }
      }
    },
  });
  const look = (): void => controller.queue.add('');
  bundles.addHandler({ onAdd: look, onUpdate: look, onDelete: look });
  controller.start(bundles.synced);
  void bundles.synced.then(look, () => {});
  return controller;
}

export const trustBundlePublisher: ControllerDescriptor = {
  name: 'kube-apiserver-serving-clustertrustbundle-publisher-controller',
  start,
};
