/** From a pod's volume to what it is bound to: the claim and its PersistentVolume, with upstream's words for what is wrong. */
import { translatedInlineVolume, translatedVolume } from '../../api/helpers/csi-translation/csi-translation.ts';
import { compileNodeSelector } from '../../api/helpers/node-affinity.ts';
import { controllerOf } from '../../api/helpers/owner-references.ts';
import type { PersistentVolume, PersistentVolumeClaim, Pod, Volume } from '../../api/types/index.gen.ts';
import type { KubeletContext } from '../context.ts';
import { allContainers } from '../pod-util.ts';
import { errorText } from '../object-cache.ts';
import { MountError } from './mount-error.ts';

export interface BoundClaim {
  /** Undefined for an in-tree volume that stands in the pod. */
  readonly claim: PersistentVolumeClaim | undefined;
  /** As its driver sees it, where it is of an in-tree kind. */
  readonly volume: PersistentVolume;
  /** As the pod asks for it. */
  readonly readOnly: boolean;
  readonly mode: 'Filesystem' | 'Block';
}

/** Rejects with `MountError`. */
export async function resolveClaim(ctx: KubeletContext, pod: Pod, v: Volume, name: string): Promise<BoundClaim> {
  try {
    return await resolve(ctx, pod, v, name);
  } catch (error) {
    throw unprocessed(v, error);
  }
}

/** An in-tree volume that stands in the pod, as its driver sees it; undefined for volumes of other kinds. Rejects as above. */
export function resolveInline(pod: Pod, v: Volume): BoundClaim | undefined {
  try {
    const volume = translate(() => translatedInlineVolume(v, pod.metadata.namespace!));
    if (volume === undefined) return undefined;
    return { claim: undefined, volume, mode: 'Filesystem', readOnly: volume.spec?.csi?.readOnly === true };
  } catch (error) {
    throw unprocessed(v, error);
  }
}

function translate<T>(translation: () => T): T {
  try {
    return translation();
  } catch (error) {
    throw new Error(`failed to translate in-tree pv to CSI: ${errorText(error)}`, { cause: error });
  }
}

const unprocessed = (v: Volume, error: unknown): MountError =>
  new MountError(
    v.name,
    `Unable to attach or mount volumes: unmounted volumes=[${v.name}], unattached volumes=[], failed to process volumes=[${v.name}]: ${errorText(error)}`,
    { cause: error },
  );

async function resolve(ctx: KubeletContext, pod: Pod, v: Volume, name: string): Promise<BoundClaim> {
  const { core } = ctx.client;
  const namespace = pod.metadata.namespace!;
  const wrong = (text: string): Error => new Error(`error processing PVC ${namespace}/${name}: ${text}`);
  let claim: PersistentVolumeClaim;
  try {
    claim = await core.persistentvolumeclaims.get(name, namespace);
  } catch (error) {
    throw wrong(`failed to fetch PVC from API server: ${errorText(error)}`);
  }
  if (claim.metadata.deletionTimestamp !== undefined) throw wrong('PVC is being deleted');
  if (claim.status?.phase !== 'Bound') throw wrong('PVC is not bound');
  const bound = claim.spec?.volumeName ?? '';
  if (bound === '') throw wrong('PVC has empty pvc.Spec.VolumeName');
  if (v.ephemeral !== undefined && controllerOf(claim)?.uid !== pod.metadata.uid)
    throw new Error(
      `PVC ${namespace}/${name} was not created for pod ${namespace}/${pod.metadata.name} (pod is not owner)`,
    );
  let volume: PersistentVolume;
  try {
    volume = await core.persistentvolumes.get(bound);
  } catch (error) {
    throw wrong(`failed to fetch PV ${bound} from API server: ${errorText(error)}`);
  }
  const owner = volume.spec?.claimRef;
  if (owner === undefined)
    throw wrong(
      `found PV object ${bound} but it has a nil pv.Spec.ClaimRef indicating it is not yet bound to the claim`,
    );
  if (owner.uid !== claim.metadata.uid)
    throw wrong(
      `found PV object ${bound} but its pv.Spec.ClaimRef.UID ${owner.uid ?? ''} does not point to claim.UID ${claim.metadata.uid}`,
    );
  const mode = volume.spec?.volumeMode === 'Block' ? 'Block' : 'Filesystem';
  for (const { container } of allContainers(pod.spec!)) {
    if (mode === 'Block' && container.volumeMounts?.some((m) => m.name === v.name))
      throw new Error(`volume ${v.name} has volumeMode Block, but is specified in volumeMounts`);
    if (mode === 'Filesystem' && container.volumeDevices?.some((d) => d.name === v.name))
      throw new Error(`volume ${v.name} has volumeMode Filesystem, but is specified in volumeDevices`);
  }
  volume = translate(() => translatedVolume(volume));
  return { claim, volume, mode, readOnly: v.persistentVolumeClaim?.readOnly === true };
}

/** Rejects with `MountError` when the volume cannot be used on this node. */
export function checkNodeAffinity(ctx: KubeletContext, v: Volume, volume: PersistentVolume): void {
  const required = volume.spec?.nodeAffinity?.required;
  const node = ctx.node();
  if (required === undefined || node === undefined) return;
  if (compileNodeSelector(required)({ name: node.metadata.name ?? '', labels: node.metadata.labels ?? {} })) return;
  throw new MountError(
    v.name,
    `MountVolume.NodeAffinity check failed for volume "${volume.metadata.name}" : no matching NodeSelectorTerms`,
  );
}
