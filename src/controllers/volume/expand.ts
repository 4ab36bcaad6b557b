/**
 * The volume expander: tells of claims that have been asked to grow that somebody outside (a CSI driver's external-resizer) has to
 * grow their volumes. No volume of ours is grown by the control plane itself.
 */
import { driverOfPlugin, inTreePluginOf } from '../../api/helpers/csi-translation/csi-translation.ts';
import { compareQuantityText } from '../../api/quantity.ts';
import type { PersistentVolumeClaim } from '../../api/types/index.gen.ts';
import { Controller } from '../../client/controller.ts';
import { keyOf } from '../../client/lister.ts';
import { resources } from '../../client/resources.ts';
import type { ControllerContext, ControllerDescriptor, RunningController } from '../context.ts';

const resizerAnnotation = 'volume.kubernetes.io/storage-resizer';

const requested = (claim: PersistentVolumeClaim): string =>
  (claim.spec?.resources?.requests?.['storage'] ?? '0') as string;
const actual = (claim: PersistentVolumeClaim): string => (claim.status?.capacity?.['storage'] ?? '0') as string;

function start(context: ControllerContext): RunningController {
  const client = context.clientFor('expand-controller');
  const recorder = context.recorder('volume_expand', client);
  const claims = context.informers.informer(resources.core.persistentvolumeclaims);
  const controller = new Controller({
    queueMetrics: context.queueMetrics,
    name: 'expand',
    clock: context.clock,
    logger: context.logger,
    reconcile: async (key) => {
      const claim = claims.lister.getByKey(key);
      if (claim === undefined || compareQuantityText(requested(claim), actual(claim)) <= 0) return;
      const volume = await client.core.persistentvolumes.get(claim.spec?.volumeName ?? '');
      const owner = volume.spec?.claimRef;
      if (owner?.namespace !== claim.metadata.namespace || owner?.uid !== claim.metadata.uid)
        throw new Error(`persistent Volume is not bound to PVC being updated : ${key}`);
      const plugin = inTreePluginOf(volume);
      const tell = (message: string): void =>
        recorder.event(resources.core.persistentvolumeclaims, claim, 'Normal', 'ExternalExpanding', message);
      if (plugin === undefined) {
        tell('waiting for an external controller to expand this PVC');
        return;
      }
      tell(`CSI migration enabled for ${plugin}; waiting for external resizer to expand the pvc`);
      const resizer = driverOfPlugin(plugin)!;
      if (claim.metadata.annotations?.[resizerAnnotation] !== resizer)
        await client.core.persistentvolumeclaims.patch(
          claim.metadata.name!,
          claim.metadata.namespace,
          'merge',
          { metadata: { annotations: { [resizerAnnotation]: resizer } } },
          { subresource: 'status' },
        );
    },
  });
  const wake = (claim: PersistentVolumeClaim): void => {
    if (claim.status?.phase === 'Bound' && compareQuantityText(requested(claim), actual(claim)) > 0)
      controller.queue.add(keyOf(claim));
  };
  claims.addHandler({
    onAdd: wake,
    onUpdate: (old, claim) => {
      if (requested(old) !== requested(claim) || actual(old) !== actual(claim)) wake(claim);
    },
  });
  controller.start(claims.synced);
  return controller;
}

export const volumeExpanderController: ControllerDescriptor = {
  name: 'persistentvolume-expander-controller',
  aliases: ['persistentvolume-expander'],
  start,
};
