/**
 * VolumeRestrictions: a claim that one pod alone may use (ReadWriteOncePod) is not given to a second one anywhere, and disks of some
 * kinds that stand in pods are not mounted twice on a node unless all only read.
 */
import type { Pod, Volume } from '../../api/types/index.gen.ts';
import type { Plugin, Rejection } from '../framework.ts';
import { rejection } from '../framework.ts';

const name = 'VolumeRestrictions';
const inUse = rejection(
  name,
  true,
  'node(s) unavailable due to PersistentVolumeClaim with ReadWriteOncePod access mode already in-use by another pod',
);
const noDisk = rejection(name, true, 'node(s) had no available disk');

const isDisk = (v: Volume): boolean =>
  v.gcePersistentDisk !== undefined ||
  v.awsElasticBlockStore !== undefined ||
  v.iscsi !== undefined ||
  v.rbd !== undefined;

/** Whether two volumes are one disk that is not only read. */
function conflict(a: Volume, b: Volume): boolean {
  const [gce, otherGce] = [a.gcePersistentDisk, b.gcePersistentDisk];
  if (gce !== undefined && gce.pdName === otherGce?.pdName && !(gce.readOnly === true && otherGce.readOnly === true))
    return true;
  const [ebs, otherEbs] = [a.awsElasticBlockStore, b.awsElasticBlockStore];
  if (ebs !== undefined && ebs.volumeID === otherEbs?.volumeID) return true;
  const [iscsi, otherIscsi] = [a.iscsi, b.iscsi];
  if (
    iscsi !== undefined &&
    iscsi.iqn === otherIscsi?.iqn &&
    !(iscsi.readOnly === true && otherIscsi.readOnly === true)
  )
    return true;
  const [rbd, otherRbd] = [a.rbd, b.rbd];
  return (
    rbd !== undefined &&
    otherRbd !== undefined &&
    rbd.monitors.some((m) => otherRbd.monitors.includes(m)) &&
    (rbd.pool ?? 'rbd') === (otherRbd.pool ?? 'rbd') &&
    rbd.image === otherRbd.image &&
    !(rbd.readOnly === true && otherRbd.readOnly === true)
  );
}

const claimsOf = (pod: Pod): string[] =>
  (pod.spec?.volumes ?? []).flatMap((v) =>
    v.persistentVolumeClaim === undefined ? [] : [v.persistentVolumeClaim.claimName],
  );

export const volumeRestrictions: Plugin = {
  name,
  filter({ info, table, handle }) {
    const disks = (info.pod.spec?.volumes ?? []).filter(isDisk);
    const exclusive = claimsOf(info.pod).filter(
      (claim) => handle.volumes.claim(info.namespace, claim)?.spec?.accessModes?.includes('ReadWriteOncePod') === true,
    );
    if (disks.length === 0 && exclusive.length === 0) return undefined;
    let taken = false;
    if (exclusive.length > 0)
      for (const pods of table.pods)
        for (const other of pods?.values() ?? [])
          if (other.namespace === info.namespace && claimsOf(other.pod).some((c) => exclusive.includes(c)))
            taken = true;
    const test = (row: number): Rejection | undefined => {
      if (disks.length > 0)
        for (const other of table.pods[row]!.values())
          for (const v of other.pod.spec?.volumes ?? []) if (disks.some((d) => conflict(d, v))) return noDisk;
      return taken ? inUse : undefined;
    };
    return { test, stateful: exclusive.length > 0 };
  },
  events: ['AssignedPodDelete', 'NodeAdd', 'PvcAdd'],
};
