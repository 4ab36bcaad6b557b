/**
 * VolumeBinding: claims must exist; bound ones pull the pod to where their volume can be used; unbound ones of classes that wait
 * for a consumer are told the chosen node and waited for. Matching unbound claims to volumes is the binder controller's work.
 */
import { inTreePluginOf, isCountedFor, translatedVolume } from '../../api/helpers/csi-translation/csi-translation.ts';
import { compileNodeSelector } from '../../api/helpers/node-affinity.ts';
import type { NodeMatcher } from '../../api/helpers/node-affinity.ts';
import type { CSINode, PersistentVolume, PersistentVolumeClaim, Pod } from '../../api/types/index.gen.ts';
import type { Cycle, Plugin, Rejection, VolumeView } from '../framework.ts';
import { rejection } from '../framework.ts';

const name = 'VolumeBinding';
const wrongNode = rejection(name, false, "node(s) didn't match PersistentVolume's node affinity");
const noVolume = rejection(name, false, "node(s) didn't find available persistent volumes to bind");
export const selectedNodeAnnotation = 'volume.kubernetes.io/selected-node';
const noProvisioner = 'kubernetes.io/no-provisioner';

/** The claims a pod uses, by name; generic ephemeral volumes have one of their own. */
export function claimNames(pod: Pod): string[] {
  const out: string[] = [];
  for (const v of pod.spec?.volumes ?? []) {
    if (v.persistentVolumeClaim !== undefined) out.push(v.persistentVolumeClaim.claimName);
    else if (v.ephemeral !== undefined) out.push(`${pod.metadata.name}-${v.name}`);
  }
  return out;
}

export function isBound(claim: PersistentVolumeClaim): boolean {
  return (
    claim.spec?.volumeName !== undefined &&
    claim.spec.volumeName !== '' &&
    claim.metadata.annotations?.['pv.kubernetes.io/bind-completed'] !== undefined
  );
}

function waits(claim: PersistentVolumeClaim, volumes: VolumeView): boolean {
  const className = claim.spec?.storageClassName ?? '';
  return className !== '' && volumes.storageClass(className)?.volumeBindingMode === 'WaitForFirstConsumer';
}

/** Where a volume can be used; undefined: everywhere. */
type Reach = (node: Parameters<NodeMatcher>[0], csiNode: CSINode | undefined) => boolean;

const compiled = (volume: PersistentVolume): NodeMatcher | undefined => {
  const required = volume.spec?.nodeAffinity?.required;
  return required === undefined ? undefined : compileNodeSelector(required);
};

/** In-tree volumes are where their driver says on nodes that leave them to it. Throws where such a volume makes no sense. */
function reachOf(volume: PersistentVolume): Reach | undefined {
  const own = compiled(volume);
  const plugin = inTreePluginOf(volume);
  if (plugin === undefined) return own;
  const driven = compiled(translatedVolume(volume));
  return (node, csiNode) => (isCountedFor(csiNode, plugin) ? driven : own)?.(node) ?? true;
}

function judge({
  info,
  handle,
}: Cycle):
  | { bound: Reach[]; waiting: { claim: PersistentVolumeClaim; candidates: Reach[] | undefined }[] }
  | Rejection
  | undefined {
  const names = claimNames(info.pod);
  if (names.length === 0) return undefined;
  const bound: Reach[] = [];
  const waiting: { claim: PersistentVolumeClaim; candidates: Reach[] | undefined }[] = [];
  let immediate = false;
  for (const claimName of names) {
    const claim = handle.volumes.claim(info.namespace, claimName);
    if (claim === undefined) return rejection(name, false, `persistentvolumeclaim "${claimName}" not found`);
    if (claim.metadata.deletionTimestamp !== undefined)
      return rejection(name, false, `persistentvolumeclaim "${claimName}" is being deleted`);
    if (claim.status?.phase === 'Lost')
      return rejection(
        name,
        false,
        `persistentvolumeclaim "${claimName}" bound to non-existent persistentvolume "${claim.spec?.volumeName ?? ''}"`,
      );
    if (isBound(claim)) {
      const volume = handle.volumes.volume(claim.spec!.volumeName!);
      if (volume === undefined)
        return rejection(name, false, 'node(s) unavailable due to one or more pvc(s) bound to non-existent pv(s)');
      const reach = reachOf(volume);
      if (reach !== undefined) bound.push(reach);
    } else if (waits(claim, handle.volumes)) {
      const storageClass = handle.volumes.storageClass(claim.spec!.storageClassName!)!;
      let candidates: Reach[] | undefined;
      if (storageClass.provisioner === noProvisioner) {
        candidates = [];
        for (const v of handle.volumes.volumes())
          if (v.spec?.storageClassName === storageClass.metadata.name && v.status?.phase === 'Available')
            candidates.push(compiled(v) ?? (() => true));
      }
      waiting.push({ claim, candidates });
    } else immediate = true;
  }
  if (immediate) return rejection(name, false, 'pod has unbound immediate PersistentVolumeClaims');
  return { bound, waiting };
}

/** `bind`: tells the claim its node and resolves when the claim is bound. */
export function volumeBinding(
  bind: (claim: PersistentVolumeClaim, node: string) => Promise<void>,
  volumes: VolumeView,
): Plugin {
  return {
    name,
    filter(cycle) {
      const verdict = judge(cycle);
      if (verdict === undefined || 'reasons' in verdict) return verdict;
      const { bound, waiting } = verdict;
      const { table, handle } = cycle;
      return {
        test(row) {
          const node = { name: table.names[row]!, labels: table.nodes[row]!.metadata.labels ?? {} };
          const csiNode = handle.volumes.csiNode(node.name);
          for (const reaches of bound) if (!reaches(node, csiNode)) return wrongNode;
          for (const { candidates } of waiting)
            if (candidates !== undefined && !candidates.some((c) => c(node, csiNode))) return noVolume;
          return undefined;
        },
      };
    },
    async preBind(info, node) {
      for (const claimName of claimNames(info.pod)) {
        const claim = volumes.claim(info.namespace, claimName);
        if (claim !== undefined && !isBound(claim)) await bind(claim, node.metadata.name!);
      }
    },
    events: ['PvcChange', 'PvChange', 'StorageClassAdd', 'NodeAdd', 'NodeLabel'],
  };
}
