/** The root CA publisher: a ConfigMap `kube-root-ca.crt` with the cluster's CA in every namespace, for pods to trust the API. */
import type { ConfigMap, Namespace } from '../api/types/index.gen.ts';
import { Controller } from '../client/controller.ts';
import { isAlreadyExists, isNamespaceTerminating, isNotFound } from '../client/errors.ts';
import { resources } from '../client/resources.ts';
import type { ControllerContext, ControllerDescriptor, RunningController } from './context.ts';

const name = 'kube-root-ca.crt';
const descriptionAnnotation = 'kubernetes.io/description';
const description =
  'Contains a CA bundle that can be used to verify the kube-apiserver when using internal endpoints such as the internal service IP or kubernetes.default.svc. No other usage is guaranteed across distributions of Kubernetes clusters.';

function start(context: ControllerContext): RunningController | undefined {
  const { rootCA } = context.options;
  if (rootCA === undefined) return undefined;
  const client = context.clientFor('root-ca-cert-publisher');
  const maps = context.informers.informer<ConfigMap>(resources.core.configmaps, {
    fieldSelector: `metadata.name=${name}`,
  });
  const namespaces = context.informers.informer(resources.core.namespaces);
  const controller = new Controller({
    queueMetrics: context.queueMetrics,
    name: 'root-ca-certificate-publisher',
    clock: context.clock,
    logger: context.logger,
    workers: 1,
    reconcile: async (namespace) => {
      const data = { 'ca.crt': rootCA };
      const current = maps.lister.get(name, namespace);
      if (current === undefined) {
        try {
          await client.core.configmaps.create({
            metadata: { name, namespace, annotations: { [descriptionAnnotation]: description } },
            data,
          });
        } catch (error) {
          if (!isNotFound(error) && !isNamespaceTerminating(error) && !isAlreadyExists(error)) throw error;
        }
        return;
      }
      const right = Object.keys(current.data ?? {}).length === 1 && current.data?.['ca.crt'] === rootCA;
      if (right && (current.metadata.annotations?.[descriptionAnnotation] ?? '') !== '') return;
      await client.core.configmaps.update({
        ...current,
        metadata: {
          ...current.metadata,
          annotations: { ...current.metadata.annotations, [descriptionAnnotation]: description },
        },
        data,
      });
    },
  });
  maps.addHandler({
    onUpdate: (_, m) => controller.queue.add(m.metadata.namespace!),
    onDelete: (m) => controller.queue.add(m.metadata.namespace!),
  });
  namespaces.addHandler({
    onAdd: (ns: Namespace) => controller.queue.add(ns.metadata.name!),
    onUpdate: (_, ns) => {
      if (ns.status?.phase === 'Active') controller.queue.add(ns.metadata.name!);
    },
  });
  controller.start(maps.synced, namespaces.synced);
  return controller;
}

export const rootCACertificatePublisher: ControllerDescriptor = {
  name: 'root-ca-certificate-publisher-controller',
  aliases: ['root-ca-cert-publisher'],
  start,
};
