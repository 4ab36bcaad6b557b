/** What is stored but remarked on in PersistentVolumes and claims, and in claims that pods bring with them. */
import type { KubeObject } from '../../api/object.ts';
import { parseQuantity, quantityMilli } from '../../api/quantity.ts';
import type { NodeSelectorTerm, PersistentVolume, PersistentVolumeClaimSpec } from '../../api/types/core-v1.gen.ts';
import { isLabelValue } from '../../api/names.ts';
import { deprecatedNodeLabels } from '../validation/node-labels.ts';

const classAnnotation = 'volume.beta.kubernetes.io/storage-class';
const classWarning = `metadata.annotations[${classAnnotation}]: deprecated since v1.8; use "storageClassName" attribute instead`;
const policyAnnotation = 'volume.beta.kubernetes.io/mount-options';
const policyWarning = `metadata.annotations[${policyAnnotation}]: deprecated since v1.31; use "mountOptions" attribute instead`;

/** Volume types that are going, or gone. */
const volumeTypes = [
  ['cephfs', 'cephfs', 'deprecated in v1.28, non-functional in v1.31+'],
  ['photonPersistentDisk', 'photonPersistentDisk', 'deprecated in v1.11, non-functional in v1.16+'],
  ['scaleIO', 'scaleIO', 'deprecated in v1.16, non-functional in v1.22+'],
  ['storageos', 'storageOS', 'deprecated in v1.22, non-functional in v1.25+'],
  ['glusterfs', 'glusterfs', 'deprecated in v1.25, non-functional in v1.26+'],
  ['rbd', 'rbd', 'deprecated in v1.28, non-functional in v1.31+'],
] as const;

/** Bytes come whole. */
export function fractionalWarnings(text: string | undefined, path: string): string[] {
  if (text === undefined || quantityMilli(parseQuantity(text)) % 1000 === 0) return [];
  return [`${path}: fractional byte value ${JSON.stringify(text)} is invalid, must be an integer`];
}

/** Node labels that have new names and, where `values` is true, values that no label has. */
export function nodeTermWarnings(term: NodeSelectorTerm | undefined, values: boolean, path: string): string[] {
  const out: string[] = [];
  (term?.matchExpressions ?? []).forEach((e, i) => {
    const at = `${path}.matchExpressions[${i}]`;
    if (deprecatedNodeLabels.has(e.key)) out.push(`${at}.key: ${e.key} is ${deprecatedNodeLabels.get(e.key)}`);
    if (values)
      (e.values ?? []).forEach((value, j) => {
        for (const why of isLabelValue(value)) out.push(`${at}.values[${j}]: ${value} is invalid, ${why}`);
      });
  });
  return out;
}

export function claimSpecWarnings(spec: Partial<PersistentVolumeClaimSpec> | undefined, path: string): string[] {
  const amount = (side: 'requests' | 'limits'): string[] =>
    fractionalWarnings(
      spec?.resources?.[side]?.['storage'] as string | undefined,
      `${path}.resources.${side}[storage]`,
    );
  return [...amount('requests'), ...amount('limits')];
}

export function claimWarnings(object: KubeObject): string[] {
  const out = object.metadata.annotations?.[classAnnotation] === undefined ? [] : [classWarning];
  return [...out, ...claimSpecWarnings(object['spec'] as PersistentVolumeClaimSpec | undefined, 'spec')];
}

export function volumeWarnings(object: KubeObject): string[] {
  const out: string[] = [];
  const { spec = {} } = object as unknown as PersistentVolume;
  const annotations = object.metadata.annotations ?? {};
  if (annotations[classAnnotation] !== undefined) out.push(classWarning);
  if (annotations[policyAnnotation] !== undefined) out.push(policyWarning);
  if (spec.persistentVolumeReclaimPolicy === 'Recycle')
    out.push(
      'spec.persistentVolumeReclaimPolicy: The Recycle reclaim policy is deprecated. Instead, the recommended approach is to use dynamic provisioning.',
    );
  spec.nodeAffinity?.required?.nodeSelectorTerms.forEach((term, i) =>
    out.push(...nodeTermWarnings(term, false, `spec.nodeAffinity.required.nodeSelectorTerms[${i}]`)),
  );
  for (const [member, name, why] of volumeTypes) if (spec[member] !== undefined) out.push(`spec.${name}: ${why}`);
  return out;
}
