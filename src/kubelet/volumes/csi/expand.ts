/** Growth of a volume that is mounted: its driver grows the file system on it, and the claim is told (NodeExpandVolume). */
import { parseQuantity, quantityValue } from '../../../api/quantity.ts';
import type { Pod } from '../../../api/types/index.gen.ts';
import type { KubeletContext } from '../../context.ts';
import type { BoundClaim } from '../claims.ts';
import { blockDir, stagingPath } from './csi-paths.ts';
import type { CsiDriverClient } from './driver.ts';
import { secretOf } from './secrets.ts';

/** Conditions of a claim that end with its growth. */
const ended: ReadonlySet<string> = new Set(['FileSystemResizePending', 'Resizing', 'NodeResizeError']);

/** Nothing when the volume is not larger than its claim knows. */
export async function growVolume(
  ctx: KubeletContext,
  driver: CsiDriverClient,
  bound: BoundClaim,
  pod: Pod,
  target: string,
): Promise<void> {
  const { client, events, rootDir } = ctx;
  const { claim, volume, mode } = bound;
  const source = volume.spec!.csi!;
  const name = volume.metadata.name!;
  if (claim === undefined || bound.readOnly || !(await driver.can('EXPAND_VOLUME'))) return;
  const pv = await client.core.persistentvolumes.get(name);
  const pvc = await client.core.persistentvolumeclaims.get(claim.metadata.name!, claim.metadata.namespace);
  const size = pv.spec?.capacity?.['storage'] as string | undefined;
  const known = pvc.status?.capacity?.['storage'] as string | undefined;
  if (size === undefined || known === undefined) return;
  const wanted = quantityValue(parseQuantity(size));
  if (wanted <= quantityValue(parseQuantity(known))) return;
  const block = mode === 'Block';
  const staged = await driver.can('STAGE_UNSTAGE_VOLUME');
  const staging = block
    ? `${blockDir(rootDir)}/staging/${name}`
    : stagingPath(rootDir, source.driver, source.volumeHandle);
  await driver.expand({
    volumeId: source.volumeHandle,
    volumePath: target,
    ...(staged ? { stagingTargetPath: staging } : {}),
    capacityRange: { requiredBytes: wanted },
    volumeCapability: await driver.capability({
      block,
      accessMode: pv.spec?.accessModes?.[0] ?? 'ReadWriteOnce',
      fsType: source.fsType,
      ...(pv.spec?.mountOptions === undefined ? {} : { mountOptions: pv.spec.mountOptions }),
    }),
    secrets: await secretOf(ctx, source.nodeExpandSecretRef, 'NodeExpandSecretRef'),
  });
  const conditions = (pvc.status?.conditions ?? []).filter((c) => !ended.has(c.type));
  await client.core.persistentvolumeclaims.patch(
    pvc.metadata.name!,
    pvc.metadata.namespace,
    'merge',
    { status: { capacity: { storage: size }, conditions, allocatedResourceStatuses: null } },
    { subresource: 'status', fieldManager: 'kubelet' },
  );
  const text = `MountVolume.NodeExpandVolume succeeded for volume "${name}" ${ctx.nodeName}`;
  events.pod(pod, 'Normal', 'FileSystemResizeSuccessful', text);
}
