/** Pods of a StatefulSet: their ordinals, names, identity labels and volumes. Pure functions. */
import { newControllerRef } from '../../api/helpers/owner-references.ts';
import type { PersistentVolumeClaim, Pod, PodTemplateSpec, StatefulSet, Volume } from '../../api/types/index.gen.ts';
import { resources } from '../../client/resources.ts';
import { podFromTemplate } from '../util/pods.ts';
import { podRevisionLabel } from '../util/revisions.ts';

const podNameLabel = 'statefulset.kubernetes.io/pod-name';
const podIndexLabel = 'apps.kubernetes.io/pod-index';

/** Name of the set and ordinal, as the name of a pod says; undefined when it says nothing of the kind. */
export function parentAndOrdinal(pod: Pod): { parent: string; ordinal: number } | undefined {
  const m = /^(.*)-(\d+)$/.exec(pod.metadata.name ?? '');
  if (m === null) return undefined;
  const ordinal = Number(m[2]);
  return ordinal > 0x7fffffff ? undefined : { parent: m[1]!, ordinal };
}

/** -1 for a name without one. */
export const ordinalOf = (pod: Pod): number => parentAndOrdinal(pod)?.ordinal ?? -1;

export const isMember = (set: StatefulSet, pod: Pod): boolean => parentAndOrdinal(pod)?.parent === set.metadata.name;

export const startOrdinal = (set: StatefulSet): number => set.spec?.ordinals?.start ?? 0;
export const replicasOf = (set: StatefulSet): number => set.spec?.replicas ?? 1;

export function isInRange(set: StatefulSet, pod: Pod): boolean {
  const ordinal = ordinalOf(pod);
  const start = startOrdinal(set);
  return ordinal >= start && ordinal < start + replicasOf(set);
}

export const podRevision = (pod: Pod): string => pod.metadata.labels?.[podRevisionLabel] ?? '';

export const claimName = (set: StatefulSet, template: PersistentVolumeClaim, ordinal: number): string =>
  `${template.metadata.name}-${set.metadata.name}-${ordinal}`;

/** The claims of an ordinal, by the name of their volume. */
export function claimsOf(set: StatefulSet, ordinal: number): Map<string, PersistentVolumeClaim> {
  const claims = new Map<string, PersistentVolumeClaim>();
  for (const template of set.spec?.volumeClaimTemplates ?? []) {
    claims.set(template.metadata.name ?? '', {
      metadata: {
        ...template.metadata,
        name: claimName(set, template, ordinal),
        ...(set.metadata.namespace === undefined ? {} : { namespace: set.metadata.namespace }),
        labels: { ...template.metadata.labels, ...set.spec?.selector?.matchLabels },
      },
      ...(template.spec === undefined ? {} : { spec: template.spec }),
    });
  }
  return claims;
}

/** Volumes of the claims come first and take the place of those of the same name. */
function withClaims(set: StatefulSet, volumes: readonly Volume[] | undefined, ordinal: number): Volume[] {
  const claims = claimsOf(set, ordinal);
  return [
    ...[...claims].map(([name, claim]) => ({ name, persistentVolumeClaim: { claimName: claim.metadata.name! } })),
    ...(volumes ?? []).filter((v) => !claims.has(v.name)),
  ];
}

/** A pod of this template and ordinal. */
export function newStatefulPod(set: StatefulSet, template: PodTemplateSpec, revision: string, ordinal: number): Pod {
  const pod = podFromTemplate(template, set, newControllerRef(set, resources.apps.statefulsets));
  const name = `${set.metadata.name}-${ordinal}`;
  const volumes = withClaims(set, pod.spec?.volumes, ordinal);
  return {
    metadata: {
      ...pod.metadata,
      name,
      labels: {
        ...pod.metadata.labels,
        [podNameLabel]: name,
        [podIndexLabel]: String(ordinal),
        [podRevisionLabel]: revision,
      },
    },
    spec: {
      ...pod.spec,
      containers: pod.spec?.containers ?? [],
      hostname: name,
      ...(set.spec?.serviceName === undefined || set.spec.serviceName === ''
        ? {}
        : { subdomain: set.spec.serviceName }),
      ...(volumes.length === 0 ? {} : { volumes }),
    },
  };
}

function identityMatches(set: StatefulSet, pod: Pod): boolean {
  return isMember(set, pod) && pod.metadata.labels?.[podNameLabel] === pod.metadata.name;
}

function storageMatches(set: StatefulSet, pod: Pod): boolean {
  const ordinal = ordinalOf(pod);
  if (ordinal < 0) return false;
  for (const [name, claim] of claimsOf(set, ordinal)) {
    const volume = pod.spec?.volumes?.find((v) => v.name === name);
    if (volume?.persistentVolumeClaim?.claimName !== claim.metadata.name) return false;
  }
  return true;
}

/** The pod with the identity and storage of its ordinal; undefined when it has them. `storage`: its volumes were wrong. */
export function repairedPod(set: StatefulSet, pod: Pod): { pod: Pod; storage: boolean } | undefined {
  const identity = identityMatches(set, pod);
  const storage = storageMatches(set, pod);
  if (identity && storage) return undefined;
  const ordinal = ordinalOf(pod);
  const labels = { [podNameLabel]: pod.metadata.name!, [podIndexLabel]: String(ordinal) };
  return {
    storage: !storage,
    pod: {
      ...pod,
      ...(identity ? {} : { metadata: { ...pod.metadata, labels: { ...pod.metadata.labels, ...labels } } }),
      ...(storage || pod.spec === undefined
        ? {}
        : { spec: { ...pod.spec, volumes: withClaims(set, pod.spec.volumes, ordinal) } }),
    },
  };
}
