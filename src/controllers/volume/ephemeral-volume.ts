/** The ephemeral volume controller: makes the PersistentVolumeClaim of each ephemeral volume, owned by its pod. */
import { newControllerRef } from '../../api/helpers/owner-references.ts';
import type { Pod, Volume } from '../../api/types/index.gen.ts';
import { Controller } from '../../client/controller.ts';
import { isNamespaceTerminating } from '../../client/errors.ts';
import { keyOf } from '../../client/lister.ts';
import { resources } from '../../client/resources.ts';
import type { ControllerContext, ControllerDescriptor, RunningController } from '../context.ts';
import { addPodClaimIndex, claimIsForPod, ephemeralClaimName, podClaimIndex } from './pod-claims.ts';

function start(context: ControllerContext): RunningController {
  const client = context.clientFor('ephemeral-volume-controller');
  const recorder = context.recorder('ephemeral_volume', client);
  const pods = context.informers.informer(resources.core.pods);
  const claims = context.informers.informer(resources.core.persistentvolumeclaims);
  addPodClaimIndex(pods);

  const ensure = async (pod: Pod, volume: Volume): Promise<void> => {
    const { namespace } = pod.metadata;
    const name = ephemeralClaimName(pod, volume);
    const claim = claims.lister.get(name, namespace);
    if (claim !== undefined) {
      if (claimIsForPod(pod, claim)) return;
      throw new Error(`PVC ${namespace}/${name} was not created for pod ${keyOf(pod)} (pod is not owner)`);
    }
    const template = volume.ephemeral!.volumeClaimTemplate;
    try {
      await client.core.persistentvolumeclaims.create({
        metadata: {
          name,
          namespace,
          ownerReferences: [newControllerRef(pod, resources.core.pods)],
          ...(template?.metadata?.annotations === undefined ? {} : { annotations: template.metadata.annotations }),
          ...(template?.metadata?.labels === undefined ? {} : { labels: template.metadata.labels }),
        },
        spec: template?.spec,
      });
    } catch (error) {
      if (isNamespaceTerminating(error)) return;
      throw new Error(`create PVC ${name}: ${(error as Error).message}`, { cause: error });
    }
  };

  const controller = new Controller({
    queueMetrics: context.queueMetrics,
    name: 'ephemeral-volume',
    workers: context.options.concurrency?.['ephemeralvolume'],
    clock: context.clock,
    logger: context.logger,
    reconcile: async (key) => {
      const pod = pods.lister.getByKey(key);
      if (pod === undefined || pod.metadata.deletionTimestamp !== undefined) return;
      for (const volume of pod.spec?.volumes ?? []) {
        if (volume.ephemeral === undefined) continue;
        try {
          await ensure(pod, volume);
        } catch (error) {
          const message = `ephemeral volume ${volume.name}: ${(error as Error).message}`;
          recorder.event(resources.core.pods, pod, 'Warning', 'FailedBinding', message);
          throw new Error(`pod ${key}, ${message}`, { cause: error });
        }
      }
    },
  });
  const wake = (pod: Pod): void => {
    if (pod.metadata.deletionTimestamp !== undefined) return;
    if ((pod.spec?.volumes ?? []).some((v) => v.ephemeral !== undefined)) controller.queue.add(keyOf(pod));
  };
  pods.addHandler({ onAdd: wake });
  claims.addHandler({
    onDelete: (claim) => {
      for (const pod of pods.lister.byIndex(podClaimIndex, keyOf(claim))) wake(pod);
    },
  });
  controller.start(pods.synced, claims.synced);
  return controller;
}

export const ephemeralVolumeController: ControllerDescriptor = {
  name: 'ephemeral-volume-controller',
  aliases: ['ephemeral-volume'],
  start,
};
