/** Which PersistentVolumeClaims a pod uses, by name or as ephemeral volumes. */
import { controllerOf } from '../../api/helpers/owner-references.ts';
import type { PersistentVolumeClaim, Pod, Volume } from '../../api/types/index.gen.ts';
import type { Informer } from '../../client/informer.ts';

export const podClaimIndex = 'claim';

/** Name of the claim that is made for an ephemeral volume. */
export const ephemeralClaimName = (pod: Pod, volume: Volume): string => `${pod.metadata.name}-${volume.name}`;

/** The name of the claim behind a volume, if it has one. */
export function claimName(pod: Pod, volume: Volume): string | undefined {
  if (volume.persistentVolumeClaim !== undefined) return volume.persistentVolumeClaim.claimName;
  return volume.ephemeral === undefined ? undefined : ephemeralClaimName(pod, volume);
}

/** True when the claim was made for this very pod. */
export function claimIsForPod(pod: Pod, claim: PersistentVolumeClaim): boolean {
  return pod.metadata.namespace === claim.metadata.namespace && controllerOf(claim)?.uid === pod.metadata.uid;
}

/** Indexes pods by `namespace/claim`. */
export function addPodClaimIndex(pods: Informer<Pod>): void {
  pods.addIndex(podClaimIndex, (pod) => {
    const volumes = pod.spec?.volumes;
    if (volumes === undefined) return [];
    const keys: string[] = [];
    for (const v of volumes) {
      const name = claimName(pod, v);
      if (name !== undefined) keys.push(`${pod.metadata.namespace}/${name}`);
    }
    return keys;
  });
}
