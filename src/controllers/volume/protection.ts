/**
 * The two protection controllers: a finalizer keeps a PersistentVolumeClaim as long as a pod uses it, and a PersistentVolume as
 * long as it is bound.
 */
import { isPodTerminal } from '../../api/helpers/pod-status.ts';
import type { PersistentVolume, PersistentVolumeClaim, Pod } from '../../api/types/index.gen.ts';
import { Controller } from '../../client/controller.ts';
import { isNotFound } from '../../client/errors.ts';
import { keyOf, splitKey } from '../../client/lister.ts';
import { resources } from '../../client/resources.ts';
import type { ControllerContext, ControllerDescriptor, RunningController } from '../context.ts';
import { addPodClaimIndex, claimIsForPod, claimName, podClaimIndex } from './pod-claims.ts';

const claimFinalizer = 'kubernetes.io/pvc-protection';
const volumeFinalizer = 'kubernetes.io/pv-protection';

type Protected = PersistentVolume | PersistentVolumeClaim;

const isDeleted = (o: Protected): boolean => o.metadata.deletionTimestamp !== undefined;
const has = (o: Protected, finalizer: string): boolean => o.metadata.finalizers?.includes(finalizer) ?? false;
const needsWork = (o: Protected, finalizer: string): boolean => isDeleted(o) === has(o, finalizer);

/** The object with or without the finalizer. */
function changed<T extends Protected>(o: T, finalizer: string, present: boolean): T {
  const rest = (o.metadata.finalizers ?? []).filter((f) => f !== finalizer);
  return { ...o, metadata: { ...o.metadata, finalizers: present ? [...rest, finalizer] : rest } };
}

/** Kubelet is done with the pod, or it was deleted by force: it only waits for its finalizers. */
const isShutDown = (pod: Pod): boolean =>
  pod.metadata.deletionTimestamp !== undefined && pod.metadata.deletionGracePeriodSeconds === 0;

/** Scheduled pods alone count: the kubelet does not start one whose claim is being deleted. */
function usesClaim(pod: Pod, claim: PersistentVolumeClaim): boolean {
  if ((pod.spec?.nodeName ?? '') === '') return false;
  return (pod.spec?.volumes ?? []).some((v) => {
    if (claimName(pod, v) !== claim.metadata.name) return false;
    return v.ephemeral === undefined || (!isShutDown(pod) && claimIsForPod(pod, claim));
  });
}

function startClaims(context: ControllerContext): RunningController {
  const client = context.clientFor('pvc-protection-controller');
  const claims = context.informers.informer(resources.core.persistentvolumeclaims);
  const pods = context.informers.informer(resources.core.pods);
  addPodClaimIndex(pods);
  const controller = new Controller({
    queueMetrics: context.queueMetrics,
    name: 'pvc-protection',
    clock: context.clock,
    logger: context.logger,
    reconcile: async (key) => {
      const claim = claims.lister.getByKey(key);
      if (claim === undefined || !needsWork(claim, claimFinalizer)) return;
      if (isDeleted(claim)) {
        for (const pod of pods.lister.byIndex(podClaimIndex, key)) if (usesClaim(pod, claim)) return;
        // The cache may not have the newest pod yet; only the server knows that there is none.
        const live = await client.core.pods.list({ namespace: splitKey(key).namespace });
        if (live.items.some((pod) => usesClaim(pod, claim))) return;
      }
      try {
        await client.core.persistentvolumeclaims.update(changed(claim, claimFinalizer, !isDeleted(claim)));
      } catch (error) {
        if (!isNotFound(error)) throw error;
      }
    },
  });
  const wake = (claim: PersistentVolumeClaim): void => {
    if (needsWork(claim, claimFinalizer)) controller.queue.add(keyOf(claim));
  };
  claims.addHandler({ onAdd: wake, onUpdate: (_, claim) => wake(claim) });
  const podChanged = (pod: Pod, deleted: boolean): void => {
    if (!deleted && !isPodTerminal(pod) && !isShutDown(pod) && (pod.spec?.nodeName ?? '') !== '') return;
    for (const v of pod.spec?.volumes ?? []) {
      const name = claimName(pod, v);
      if (name !== undefined) controller.queue.add(`${pod.metadata.namespace}/${name}`);
    }
  };
  pods.addHandler({
    onAdd: (pod) => podChanged(pod, false),
    onUpdate: (_, pod) => podChanged(pod, false),
    onDelete: (pod) => podChanged(pod, true),
  });
  controller.start(claims.synced, pods.synced);
  return controller;
}

function startVolumes(context: ControllerContext): RunningController {
  const client = context.clientFor('pv-protection-controller');
  const volumes = context.informers.informer(resources.core.persistentvolumes);
  const controller = new Controller({
    queueMetrics: context.queueMetrics,
    name: 'pv-protection',
    clock: context.clock,
    logger: context.logger,
    reconcile: async (name) => {
      const volume = volumes.lister.get(name);
      if (volume === undefined || !needsWork(volume, volumeFinalizer)) return;
      if (isDeleted(volume) && volume.status?.phase === 'Bound') return;
      try {
        await client.core.persistentvolumes.update(changed(volume, volumeFinalizer, !isDeleted(volume)));
      } catch (error) {
        if (!isNotFound(error)) throw error;
      }
    },
  });
  const wake = (volume: PersistentVolume): void => {
    if (needsWork(volume, volumeFinalizer)) controller.queue.add(volume.metadata.name!);
  };
  volumes.addHandler({ onAdd: wake, onUpdate: (_, volume) => wake(volume) });
  controller.start(volumes.synced);
  return controller;
}

export const pvcProtectionController: ControllerDescriptor = {
  name: 'persistentvolumeclaim-protection-controller',
  aliases: ['pvc-protection'],
  start: startClaims,
};

export const pvProtectionController: ControllerDescriptor = {
  name: 'persistentvolume-protection-controller',
  aliases: ['pv-protection'],
  start: startVolumes,
};
