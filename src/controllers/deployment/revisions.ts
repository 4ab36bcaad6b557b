/** A Deployment's ReplicaSets: which one is new, their revisions, annotations, order and size. Pure functions. */
import { semanticEqual } from '../../api/helpers/deep-equal.ts';
import { timeMs } from '../../api/time.ts';
import type { Deployment, PodTemplateSpec, ReplicaSet } from '../../api/types/index.gen.ts';
import { scaledValue } from '../util/int-or-percent.ts';

export const revisionAnnotation = 'deployment.kubernetes.io/revision';
const revisionHistoryAnnotation = 'deployment.kubernetes.io/revision-history';
const desiredReplicasAnnotation = 'deployment.kubernetes.io/desired-replicas';
const maxReplicasAnnotation = 'deployment.kubernetes.io/max-replicas';
export const rollbackToAnnotation = 'deprecated.deployment.rollback.to';
export const hashLabel = 'pod-template-hash';
const lastAppliedAnnotation = 'kubectl.kubernetes.io/last-applied-configuration';
const maxInt32 = 2 ** 31 - 1;
/** The history annotation is cut at about a hundred revisions. */
const maxHistoryLength = 2000;

const notCopied = new Set([
  lastAppliedAnnotation,
  revisionAnnotation,
  revisionHistoryAnnotation,
  desiredReplicasAnnotation,
  maxReplicasAnnotation,
  rollbackToAnnotation,
]);

export const replicasOf = (rs: ReplicaSet): number => rs.spec?.replicas ?? 1;
export const wantedOf = (d: Deployment): number => d.spec?.replicas ?? 1;

/** Oldest first, then by name. */
export function byCreation(a: ReplicaSet, b: ReplicaSet): number {
  const diff = (timeMs(a.metadata.creationTimestamp) || 0) - (timeMs(b.metadata.creationTimestamp) || 0);
  if (diff !== 0) return diff;
  return a.metadata.name! < b.metadata.name! ? -1 : a.metadata.name! > b.metadata.name! ? 1 : 0;
}

/** Largest first; sets of one size older or newer first. */
export function bySize(newerFirst: boolean): (a: ReplicaSet, b: ReplicaSet) => number {
  return (a, b) => replicasOf(b) - replicasOf(a) || (newerFirst ? byCreation(b, a) : byCreation(a, b));
}

export function byRevision(a: ReplicaSet, b: ReplicaSet): number {
  const ra = revisionOf(a);
  const rb = revisionOf(b);
  return ra === undefined || rb === undefined || ra === rb ? byCreation(a, b) : ra < rb ? -1 : 1;
}

/** A 64-bit integer, which a revision is; undefined for any other text. */
export function parseRevision(text: string): bigint | undefined {
  if (!/^[+-]?[0-9]{1,19}$/.test(text)) return undefined;
  const value = BigInt(text.replace(/^\+/, ''));
  return BigInt.asIntN(64, value) === value ? value : undefined;
}

/** The revision; 0 when there is none, undefined when it is no number. */
export function revisionOf(object: ReplicaSet | Deployment): bigint | undefined {
  const text = object.metadata.annotations?.[revisionAnnotation];
  return text === undefined ? 0n : parseRevision(text);
}

export function maxRevision(sets: readonly ReplicaSet[]): bigint {
  return sets.map((rs) => revisionOf(rs) ?? 0n).reduce((a, b) => (b > a ? b : a), 0n);
}

/** The second highest revision. */
export function lastRevision(sets: readonly ReplicaSet[]): bigint {
  let max = 0n;
  let second = 0n;
  for (const rs of sets) {
    const v = revisionOf(rs);
    if (v === undefined) continue;
    if (v >= max) {
      second = max;
      max = v;
    } else if (v > second) second = v;
  }
  return second;
}

export function withoutHash(template: PodTemplateSpec | undefined): PodTemplateSpec {
  const labels = template?.metadata?.labels;
  if (labels?.[hashLabel] === undefined) return template ?? {};
  const rest = { ...labels };
  delete rest[hashLabel];
  return { ...template, metadata: { ...template?.metadata, labels: rest } };
}

/** Equal but for the hash label. */
export function sameTemplate(a: PodTemplateSpec | undefined, b: PodTemplateSpec | undefined): boolean {
  if (a === b) return true;
  return semanticEqual(a?.spec, b?.spec) && semanticEqual(withoutHash(a).metadata, withoutHash(b).metadata);
}

/** The oldest set that has the Deployment's template. */
export function findNewReplicaSet(d: Deployment, sets: readonly ReplicaSet[]): ReplicaSet | undefined {
  let found: ReplicaSet | undefined;
  for (const rs of sets) {
    if (found !== undefined && byCreation(found, rs) <= 0) continue;
    if (sameTemplate(rs.spec?.template, d.spec?.template)) found = rs;
  }
  return found;
}

export function findOldReplicaSets(d: Deployment, sets: readonly ReplicaSet[]): ReplicaSet[] {
  const newest = findNewReplicaSet(d, sets);
  return sets.filter((rs) => rs.metadata.uid !== newest?.metadata.uid).toSorted(byCreation);
}

export const isRollingUpdate = (d: Deployment): boolean => d.spec?.strategy?.type === 'RollingUpdate';

/** Both bounds of a rolling update as counts; both zero would mean no progress, so one pod may be missing then. */
function resolveFenceposts(
  maxSurge: number | string | undefined,
  maxUnavailable: number | string | undefined,
  desired: number,
): [surge: number, unavailable: number] {
  const surge = scaledValue(maxSurge ?? 0, desired, true);
  const unavailable = scaledValue(maxUnavailable ?? 0, desired, false);
  return [surge, surge === 0 && unavailable === 0 ? 1 : unavailable];
}

export function maxSurge(d: Deployment): number {
  if (!isRollingUpdate(d)) return 0;
  const r = d.spec?.strategy?.rollingUpdate;
  return resolveFenceposts(r?.maxSurge, r?.maxUnavailable, wantedOf(d))[0];
}

export function maxUnavailable(d: Deployment): number {
  if (!isRollingUpdate(d) || wantedOf(d) === 0) return 0;
  const r = d.spec?.strategy?.rollingUpdate;
  return Math.min(resolveFenceposts(r?.maxSurge, r?.maxUnavailable, wantedOf(d))[1], wantedOf(d));
}

export function sumReplicas(sets: readonly (ReplicaSet | undefined)[]): number {
  return sets.reduce((n, rs) => n + (rs === undefined ? 0 : replicasOf(rs)), 0);
}

export function sumStatus(
  sets: readonly (ReplicaSet | undefined)[],
  member: 'replicas' | 'readyReplicas' | 'availableReplicas',
): number {
  return sets.reduce((n, rs) => n + (rs?.status?.[member] ?? 0), 0);
}

/** Undefined when a set that has been seen by its controller does not say. */
export function sumTerminating(sets: readonly (ReplicaSet | undefined)[]): number | undefined {
  let sum = 0;
  for (const rs of sets) {
    if (rs === undefined) continue;
    const terminating = rs.status?.terminatingReplicas;
    if (terminating !== undefined) sum += terminating;
    else if ((rs.status?.observedGeneration ?? 0) !== 0) return undefined;
  }
  return sum;
}

export function activeSets(sets: readonly (ReplicaSet | undefined)[]): ReplicaSet[] {
  return sets.filter((rs): rs is ReplicaSet => rs !== undefined && replicasOf(rs) > 0);
}

/** The only active set, or with none the newest; undefined when several are active. */
export function findActiveOrLatest(newest: ReplicaSet | undefined, old: readonly ReplicaSet[]): ReplicaSet | undefined {
  const active = activeSets([...old, newest]);
  if (active.length === 1) return active[0];
  if (active.length > 1) return undefined;
  return newest ?? old.toSorted(byCreation).at(-1);
}

function annotationNumber(rs: ReplicaSet, name: string): number | undefined {
  const text = rs.metadata.annotations?.[name];
  if (text === undefined || !/^[0-9]+$/.test(text)) return undefined;
  const n = Number(text);
  return n > maxInt32 ? undefined : n;
}

export const desiredOf = (rs: ReplicaSet): number | undefined => annotationNumber(rs, desiredReplicasAnnotation);

/** The whole Deployment runs in this set, and both know it. */
export function isSaturated(d: Deployment, rs: ReplicaSet | undefined): boolean {
  if (rs === undefined) return false;
  const wanted = wantedOf(d);
  return replicasOf(rs) === wanted && desiredOf(rs) === wanted && (rs.status?.availableReplicas ?? 0) === wanted;
}

/** How many replicas the new set gets now. */
export function newReplicaCount(d: Deployment, all: readonly (ReplicaSet | undefined)[], current: number): number {
  const wanted = wantedOf(d);
  if (!isRollingUpdate(d)) return wanted;
  const limit = wanted + scaledValue(d.spec?.strategy?.rollingUpdate?.maxSurge, wanted, true);
  const total = sumReplicas(all);
  return total >= limit ? current : current + Math.min(limit - total, wanted - current);
}

/** Annotations with the size of the Deployment; undefined when they are right already. */
export function withReplicasAnnotations(
  annotations: Readonly<Record<string, string>> | undefined,
  d: Deployment,
): Record<string, string> | undefined {
  const desired = String(wantedOf(d));
  const max = String(wantedOf(d) + maxSurge(d));
  if (annotations?.[desiredReplicasAnnotation] === desired && annotations[maxReplicasAnnotation] === max) {
    return undefined;
  }
  return { ...annotations, [desiredReplicasAnnotation]: desired, [maxReplicasAnnotation]: max };
}

/**
 * The new set's annotations: the Deployment's, the revision, and for one that comes back by rollback its earlier revisions.
 * Undefined when nothing changes.
 */
export function newSetAnnotations(
  d: Deployment,
  current: Readonly<Record<string, string>> | undefined,
  revision: bigint,
  exists: boolean,
): Record<string, string> | undefined {
  const out: Record<string, string> = { ...current };
  let changed = false;
  for (const [k, v] of Object.entries(d.metadata.annotations ?? {})) {
    if (notCopied.has(k) || out[k] === v) continue;
    out[k] = v;
    changed = true;
  }
  const old = out[revisionAnnotation];
  const oldNumber = old === undefined || old === '' ? 0n : parseRevision(old);
  // A revision that is no number was written by somebody else: leave it alone.
  if (oldNumber === undefined) return changed ? out : undefined;
  if (oldNumber < revision) {
    out[revisionAnnotation] = String(revision);
    changed = true;
    if (old !== undefined) {
      const history = out[revisionHistoryAnnotation] ?? '';
      if (history === '') out[revisionHistoryAnnotation] = old;
      else {
        const list = history.split(',');
        let length = history.length + old.length + 1;
        let start = 0;
        while (length > maxHistoryLength && start < list.length) length -= list[start++]!.length + 1;
        if (length <= maxHistoryLength) out[revisionHistoryAnnotation] = [...list.slice(start), old].join(',');
      }
    }
  }
  if (!exists) return withReplicasAnnotations(out, d) ?? out;
  return changed ? out : undefined;
}

/** The Deployment's annotations after a rollback to this set. */
export function annotationsAfterRollback(d: Deployment, rs: ReplicaSet): Record<string, string> {
  const out: Record<string, string> = {};
  for (const [k, v] of Object.entries(d.metadata.annotations ?? {})) if (notCopied.has(k)) out[k] = v;
  for (const [k, v] of Object.entries(rs.metadata.annotations ?? {})) if (!notCopied.has(k)) out[k] = v;
  return out;
}

/** A set's share of replicas to add (or, negative, to take away) while a rollout is being scaled. */
export function proportionOf(rs: ReplicaSet, d: Deployment, toAdd: number, added: number): number {
  if (replicasOf(rs) === 0 || toAdd === 0 || toAdd === added) return 0;
  const fraction = fractionOf(rs, d);
  const allowed = toAdd - added;
  return toAdd > 0 ? Math.min(fraction, allowed) : Math.max(fraction, allowed);
}

function fractionOf(rs: ReplicaSet, d: Deployment): number {
  const size = replicasOf(rs);
  if (wantedOf(d) === 0) return -size;
  const before = annotationNumber(rs, maxReplicasAnnotation) || (d.status?.replicas ?? 0);
  if (before === 0) return 0;
  const exact = (size * (wantedOf(d) + maxSurge(d))) / before;
  // Rounds halves away from zero.
  return (exact < 0 ? Math.ceil(exact - 0.5) : Math.floor(exact + 0.5)) - size;
}

export const hasProgressDeadline = (d: Deployment): boolean =>
  d.spec?.progressDeadlineSeconds !== undefined && d.spec.progressDeadlineSeconds !== maxInt32;

export const hasHistoryLimit = (d: Deployment): boolean =>
  d.spec?.revisionHistoryLimit !== undefined && d.spec.revisionHistoryLimit !== maxInt32;

/** `name-hash`, cut so that it stays a valid name. */
export function replicaSetName(deployment: string, hash: string): string {
  return `${deployment.slice(0, 253 - 1 - hash.length)}-${hash}`;
}
