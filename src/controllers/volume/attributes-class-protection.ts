/** Keeps a VolumeAttributesClass, by a finalizer, as long as a claim or a volume names it: wants it, has it, or is being changed to it. */
import type { PersistentVolume, PersistentVolumeClaim, VolumeAttributesClass } from '../../api/types/index.gen.ts';
import { Controller } from '../../client/controller.ts';
import { isNotFound } from '../../client/errors.ts';
import { resources } from '../../client/resources.ts';
import type { ControllerContext, ControllerDescriptor, RunningController } from '../context.ts';

const finalizer = 'kubernetes.io/vac-protection';
const classIndex = 'volumeattributesclass';

function claimClasses(claim: PersistentVolumeClaim): string[] {
  const names = [
    claim.spec?.volumeAttributesClassName,
    claim.status?.currentVolumeAttributesClassName,
    claim.status?.modifyVolumeStatus?.targetVolumeAttributesClassName,
  ];
  return [...new Set(names.filter((n): n is string => n !== undefined && n !== ''))];
}

function volumeClasses(volume: PersistentVolume): string[] {
  const name = volume.spec?.volumeAttributesClassName ?? '';
  return name === '' ? [] : [name];
}

function start(context: ControllerContext): RunningController {
  const client = context.clientFor('volumeattributesclass-protection-controller');
  const classes = context.informers.informer(resources.storage.volumeattributesclasses);
  const claims = context.informers.informer(resources.core.persistentvolumeclaims);
  const volumes = context.informers.informer(resources.core.persistentvolumes);
  claims.addIndex(classIndex, claimClasses);
  volumes.addIndex(classIndex, volumeClasses);
  const isUsed = (name: string): boolean => {
    for (const _ of volumes.lister.byIndex(classIndex, name)) return true;
    for (const _ of claims.lister.byIndex(classIndex, name)) return true;
    return false;
  };
  const needsWork = (c: VolumeAttributesClass): boolean =>
    (c.metadata.deletionTimestamp !== undefined) === (c.metadata.finalizers ?? []).includes(finalizer);

  const controller = new Controller({
    queueMetrics: context.queueMetrics,
    name: 'vac-protection',
    clock: context.clock,
    logger: context.logger,
    workers: 1,
    reconcile: async (name) => {
      const found = classes.lister.get(name);
      if (found === undefined || !needsWork(found)) return;
      const going = found.metadata.deletionTimestamp !== undefined;
      if (going && isUsed(name)) return;
      const others = (found.metadata.finalizers ?? []).filter((f) => f !== finalizer);
      try {
        await client.storage.volumeattributesclasses.update({
          ...found,
          metadata: { ...found.metadata, finalizers: going ? others : [...others, finalizer] },
        });
      } catch (error) {
        if (!isNotFound(error)) throw error;
      }
    },
  });
  const wake = (c: VolumeAttributesClass): void => {
    if (needsWork(c)) controller.queue.add(c.metadata.name!);
  };
  classes.addHandler({ onAdd: wake, onUpdate: (_, c) => wake(c) });
  const released = (before: readonly string[], now: readonly string[]): void => {
    for (const name of before) if (!now.includes(name)) controller.queue.add(name);
  };
  claims.addHandler({
    onUpdate: (old, claim) => released(claimClasses(old), claimClasses(claim)),
    onDelete: (claim) => released(claimClasses(claim), []),
  });
  volumes.addHandler({
    onUpdate: (old, volume) => released(volumeClasses(old), volumeClasses(volume)),
    onDelete: (volume) => released(volumeClasses(volume), []),
  });
  controller.start(classes.synced, claims.synced, volumes.synced);
  return controller;
}

export const volumeAttributesClassProtectionController: ControllerDescriptor = {
  name: 'volumeattributesclass-protection-controller',
  start,
};
