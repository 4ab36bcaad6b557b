/** Which PersistentVolume suits a claim. Pure functions, after component-helpers' storage/volume. */
import type { NodeMatcher } from '../../api/helpers/node-affinity.ts';
import { compileNodeSelector } from '../../api/helpers/node-affinity.ts';
import { claimClass } from '../../api/helpers/persistent-volume-claims.ts';
import type { Quantity } from '../../api/quantity.ts';
import { compareQuantity, tryParseQuantity, zeroQuantity } from '../../api/quantity.ts';
import type { Selector } from '../../api/selector.ts';
import { compileLabelSelector } from '../../api/selector.ts';
import type { Node, PersistentVolume, PersistentVolumeClaim } from '../../api/types/index.gen.ts';

export const boundByController = 'pv.kubernetes.io/bound-by-controller';
export const bindCompleted = 'pv.kubernetes.io/bind-completed';
export const provisionedBy = 'pv.kubernetes.io/provisioned-by';
export const selectedNode = 'volume.kubernetes.io/selected-node';
const betaClass = 'volume.beta.kubernetes.io/storage-class';

export function volumeClass(volume: PersistentVolume): string {
  return volume.metadata.annotations?.[betaClass] ?? volume.spec?.storageClassName ?? '';
}

/** The claim names a class, if only the empty one. */
export function hasClass(claim: PersistentVolumeClaim): boolean {
  return claim.metadata.annotations?.[betaClass] !== undefined || claim.spec?.storageClassName !== undefined;
}

function storage(list: Record<string, string> | undefined): Quantity {
  return tryParseQuantity(list?.['storage']) ?? zeroQuantity;
}

/** The volume's claimRef means this claim: bound to it, or reserved for one of its name. */
export function isReservedFor(volume: PersistentVolume, claim: PersistentVolumeClaim): boolean {
  const ref = volume.spec?.claimRef;
  if (ref === undefined || ref.name !== claim.metadata.name || ref.namespace !== claim.metadata.namespace) return false;
  return ref.uid === undefined || ref.uid === '' || ref.uid === claim.metadata.uid;
}

export function sameVolumeMode(volume: PersistentVolume, claim: PersistentVolumeClaim): boolean {
  return (volume.spec?.volumeMode ?? 'Filesystem') === (claim.spec?.volumeMode ?? 'Filesystem');
}

function hasAccessModes(volume: PersistentVolume, claim: PersistentVolumeClaim): boolean {
  const modes = volume.spec?.accessModes ?? [];
  return (claim.spec?.accessModes ?? []).every((m) => modes.includes(m));
}

const attributesClass = (o: { spec?: { volumeAttributesClassName?: string } }): string =>
  o.spec?.volumeAttributesClassName ?? '';

/** Why a volume that a claim asks for by name cannot be its; undefined when it can. */
export function mismatch(volume: PersistentVolume, claim: PersistentVolumeClaim): string | undefined {
  if (volume.metadata.deletionTimestamp !== undefined)
    return `the volume is marked for deletion "${volume.metadata.name}"`;
  if (compareQuantity(storage(volume.spec?.capacity), storage(claim.spec?.resources?.requests)) < 0)
    return 'requested PV is too small';
  if (volumeClass(volume) !== claimClass(claim)) return 'storageClassName does not match';
  if (attributesClass(volume) !== attributesClass(claim)) return 'volumeAttributesClassName does not match';
  if (!sameVolumeMode(volume, claim)) return 'incompatible volumeMode';
  if (!hasAccessModes(volume, claim)) return 'incompatible accessMode';
  return undefined;
}

function reachable(volume: PersistentVolume, node: Node | undefined): boolean {
  const required = volume.spec?.nodeAffinity?.required;
  if (node === undefined || required === undefined) return true;
  const matches: NodeMatcher = compileNodeSelector(required);
  return matches({ name: node.metadata.name ?? '', labels: node.metadata.labels ?? {} });
}

export interface MatchOptions {
  /** The binding waits for a consumer: only a volume that is reserved for the claim will do. */
  readonly reservedOnly: boolean;
  /** The node on which the volume must be reachable. */
  readonly node?: Node;
}

/**
 * The volume for a claim: one that is reserved for it, else of those with the fewest access modes beyond what is asked for the
 * smallest that is large enough.
 */
export function bestVolume(
  claim: PersistentVolumeClaim,
  volumes: Iterable<PersistentVolume>,
  options: MatchOptions,
): PersistentVolume | undefined {
  const wanted = storage(claim.spec?.resources?.requests);
  const className = claimClass(claim);
  const labels: Selector | undefined =
    claim.spec?.selector === undefined ? undefined : compileLabelSelector(claim.spec.selector);
  let best: PersistentVolume | undefined;
  let bestModes = Infinity;
  let bestSize = zeroQuantity;
  for (const volume of volumes) {
    const reserved = isReservedFor(volume, claim);
    if (volume.spec?.claimRef !== undefined && !reserved) continue;
    if (!hasAccessModes(volume, claim) || !sameVolumeMode(volume, claim)) continue;
    const size = storage(volume.spec?.capacity);
    if (compareQuantity(size, wanted) < 0 || attributesClass(volume) !== attributesClass(claim)) continue;
    if (volume.metadata.deletionTimestamp !== undefined) continue;
    const near = reachable(volume, options.node);
    if (reserved) return near ? volume : undefined;
    if (options.reservedOnly || !near || volume.status?.phase !== 'Available') continue;
    if (labels !== undefined && !labels.matches(volume.metadata.labels)) continue;
    if (volumeClass(volume) !== className) continue;
    const modes = volume.spec?.accessModes?.length ?? 0;
    if (modes > bestModes || (modes === bestModes && compareQuantity(size, bestSize) >= 0)) continue;
    best = volume;
    bestModes = modes;
    bestSize = size;
  }
  return best;
}
