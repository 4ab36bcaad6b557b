/** What several components read of PersistentVolumeClaims and volumes. */
import type { PersistentVolumeClaim } from '../types/index.gen.ts';

const betaClassAnnotation = 'volume.beta.kubernetes.io/storage-class';

/** The storage class of a claim: the old annotation first; empty for none. */
export function claimClass(claim: PersistentVolumeClaim): string {
  return claim.metadata?.annotations?.[betaClassAnnotation] ?? claim.spec?.storageClassName ?? '';
}
