/**
 * NodeVolumeLimits: a driver can attach only so many volumes to a node, as its CSINode says. What counts is each volume once: those of
 * pods there, those attached there that no pod has any more, and those the pod brings, made or yet to be made.
 */
import { driverOfPlugin, inTreePluginOf, isCountedFor } from '../../api/helpers/csi-translation/csi-translation.ts';
import { translatedInlineVolume, translatedVolume } from '../../api/helpers/csi-translation/csi-translation.ts';
import { claimClass } from '../../api/helpers/persistent-volume-claims.ts';
import { controllerOf } from '../../api/helpers/owner-references.ts';
import type { CSINode, CSIPersistentVolumeSource, PersistentVolumeClaim, Pod } from '../../api/types/index.gen.ts';
import type { Plugin, Rejection, VolumeView } from '../framework.ts';
import { rejection } from '../framework.ts';

const name = 'NodeVolumeLimits';
const tooMany = rejection(name, true, 'node(s) exceed max volume count');

/** Drivers by their volumes' unique names. */
type Volumes = Map<string, string>;

/** Whether a pod that is gone may have made room for another's volumes. */
export function hasCountedVolumes(pod: Pod): boolean {
  for (const v of pod.spec?.volumes ?? [])
    if (v.persistentVolumeClaim !== undefined || v.ephemeral !== undefined || inTreePluginOf(v) !== undefined)
      return true;
  return false;
}

function limitsOf(csiNode: CSINode | undefined): Map<string, number> | undefined {
  let limits: Map<string, number> | undefined;
  for (const d of csiNode?.spec?.drivers ?? [])
    if (d.allocatable?.count !== undefined) (limits ??= new Map()).set(d.name, d.allocatable.count);
  return limits;
}

/** Whether a CSINode offers room now that it did not offer before. */
export function hasGrown(old: CSINode, now: CSINode): boolean {
  const before = limitsOf(old);
  for (const [driver, limit] of limitsOf(now) ?? []) if (limit > (before?.get(driver) ?? 0)) return true;
  return false;
}

function add(out: Volumes, source: Pick<CSIPersistentVolumeSource, 'driver' | 'volumeHandle'>): void {
  if (source.driver !== '' && source.volumeHandle !== '')
    out.set(`${source.driver}/${source.volumeHandle}`, source.driver);
}

/** A volume that is made when the pod has its node: one of its own, of its class's driver. */
function addUnmade(
  out: Volumes,
  claim: PersistentVolumeClaim,
  csiNode: CSINode | undefined,
  volumes: VolumeView,
): void {
  const className = claimClass(claim);
  // Without a class it is bound before anybody schedules its pod.
  const provisioner = className === '' ? undefined : volumes.storageClass(className)?.provisioner;
  if (provisioner === undefined) return;
  let driver = provisioner;
  const migrated = driverOfPlugin(provisioner);
  if (migrated !== undefined) {
    if (!isCountedFor(csiNode, provisioner)) return;
    driver = migrated;
  }
  // No handle has this form.
  add(out, { driver, volumeHandle: `\0${claim.metadata.namespace}/${claim.metadata.name}` });
}

function addClaimed(
  out: Volumes,
  claim: PersistentVolumeClaim,
  csiNode: CSINode | undefined,
  volumes: VolumeView,
): void {
  const volumeName = claim.spec?.volumeName ?? '';
  const volume = volumeName === '' ? undefined : volumes.volume(volumeName);
  if (volume === undefined) {
    addUnmade(out, claim, csiNode, volumes);
    return;
  }
  if (volume.spec?.csi !== undefined) {
    add(out, volume.spec.csi);
    return;
  }
  const plugin = inTreePluginOf(volume);
  if (plugin === undefined || !isCountedFor(csiNode, plugin)) return;
  try {
    add(out, translatedVolume(volume).spec!.csi!);
  } catch {
    // Its source makes no sense to its driver either, and is not counted.
  }
}

/** Adds a pod's volumes; what is wrong with those of a pod that is to be scheduled. */
function collect(
  pod: Pod,
  csiNode: CSINode | undefined,
  volumes: VolumeView,
  out: Volumes,
  isNew: boolean,
): string | undefined {
  const namespace = pod.metadata.namespace!;
  for (const v of pod.spec?.volumes ?? []) {
    const claimName =
      v.persistentVolumeClaim?.claimName ?? (v.ephemeral === undefined ? undefined : `${pod.metadata.name}-${v.name}`);
    if (claimName === undefined) {
      const plugin = inTreePluginOf(v);
      if (plugin === undefined || !isCountedFor(csiNode, plugin)) continue;
      try {
        add(out, translatedInlineVolume(v, namespace)!.spec!.csi!);
      } catch (error) {
        return `converting volume(${v.name}) from inline to csi: ${error instanceof Error ? error.message : String(error)}`;
      }
      continue;
    }
    const claim = volumes.claim(namespace, claimName);
    if (claim === undefined) {
      if (isNew) return `looking up PVC ${namespace}/${claimName}: persistentvolumeclaim "${claimName}" not found`;
      continue;
    }
    if (v.ephemeral !== undefined && controllerOf(claim)?.uid !== pod.metadata.uid) {
      if (isNew)
        return `PVC ${namespace}/${claimName} was not created for pod ${namespace}/${pod.metadata.name} (pod is not owner)`;
      continue;
    }
    addClaimed(out, claim, csiNode, volumes);
  }
  return undefined;
}

/** What is attached to a node, or about to be. */
function attached(node: string, volumes: VolumeView): Volumes {
  const out: Volumes = new Map();
  for (const a of volumes.attachments(node)) {
    const csi = volumes.volume(a.spec.source.persistentVolumeName ?? '')?.spec?.csi;
    if (csi !== undefined && a.spec.attacher !== '')
      add(out, { driver: a.spec.attacher, volumeHandle: csi.volumeHandle });
  }
  return out;
}

export const nodeVolumeLimits: Plugin = {
  name,
  filter({ info, table, handle }) {
    if (!hasCountedVolumes(info.pod)) return undefined;
    const { volumes } = handle;
    const test = (row: number): Rejection | undefined => {
      const node = table.names[row]!;
      const csiNode = volumes.csiNode(node);
      const fresh: Volumes = new Map();
      const wrong = collect(info.pod, csiNode, volumes, fresh, true);
      if (wrong !== undefined) return rejection(name, false, wrong);
      const limits = fresh.size === 0 ? undefined : limitsOf(csiNode);
      if (limits === undefined || ![...fresh.values()].some((driver) => limits.has(driver))) return undefined;
      const taken: Volumes = attached(node, volumes);
      const used: Volumes = new Map();
      for (const other of table.pods[row]!.values()) collect(other.pod, csiNode, volumes, used, false);
      // One that several pods use counts once; one that is attached to nobody's use counts as well, though it may become ours.
      for (const [volume, driver] of used) {
        fresh.delete(volume);
        taken.set(volume, driver);
      }
      const counts = new Map<string, number>();
      const count = (driver: string): void => void counts.set(driver, (counts.get(driver) ?? 0) + 1);
      for (const driver of taken.values()) count(driver);
      for (const driver of fresh.values()) count(driver);
      for (const driver of fresh.values()) if (counts.get(driver)! > (limits.get(driver) ?? Infinity)) return tooMany;
      return undefined;
    };
    return { test };
  },
  events: ['CsiNodeAdd', 'CsiNodeGrown', 'VolumePodDelete', 'PvcAdd', 'VolumeAttachmentDelete'],
};
