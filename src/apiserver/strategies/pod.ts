/**
 * Pod: born Pending with its QoS class; deleted with grace; spec, status, ephemeral containers and resources each written
 * through their own endpoint.
 */
import { canonicalEqual } from '../../api/helpers/deep-equal.ts';
import { podQOSClass } from '../../api/helpers/pod-qos.ts';
import type { KubeObject } from '../../api/object.ts';
import type { Container, LabelSelector, Pod, PodAffinityTerm, PodCondition, PodSpec, PodStatus } from './pod-types.ts';
import type { Draft, ResourceStrategies, Strategy } from '../strategy.ts';
import {
  podWarnings,
  validatePodCreate,
  validatePodEphemeralContainersUpdate,
  validatePodResize,
  validatePodStatusUpdate,
  validatePodUpdate,
} from './pod-validation.ts';
import { bump, keepMetadataForStatus, keepSpec, keepStatus } from './common.ts';

function spec(object: KubeObject): PodSpec {
  return (object['spec'] ?? {}) as PodSpec;
}

function bumpForSpec(object: Draft, old: KubeObject): void {
  if (!canonicalEqual(object['spec'], old['spec'])) bump(object, old);
}

/** Adds `key In (value)` (or NotIn) for each of the keys that the pod has a label for. */
function withLabelKeys(
  selector: LabelSelector,
  keys: readonly string[] | undefined,
  operator: 'In' | 'NotIn',
  labels: Readonly<Record<string, string>>,
): LabelSelector {
  const added = (keys ?? [])
    .filter((key) => Object.hasOwn(labels, key))
    .map((key) => ({ key, operator, values: [labels[key]!] }));
  return added.length === 0
    ? selector
    : { ...selector, matchExpressions: [...(selector.matchExpressions ?? []), ...added] };
}

function term(t: PodAffinityTerm, labels: Readonly<Record<string, string>>): PodAffinityTerm {
  if (t.labelSelector === undefined) return t;
  let selector = withLabelKeys(t.labelSelector, t.matchLabelKeys, 'In', labels);
  selector = withLabelKeys(selector, t.mismatchLabelKeys, 'NotIn', labels);
  return selector === t.labelSelector ? t : { ...t, labelSelector: selector };
}

/** matchLabelKeys of affinity terms and spread constraints become part of their selectors (KEP-3633, KEP-3243). */
function mergeLabelKeys(object: Draft): void {
  const s = spec(object);
  const labels = object.metadata.labels ?? {};
  const change: Partial<PodSpec> = {};
  if (s.affinity?.podAffinity !== undefined || s.affinity?.podAntiAffinity !== undefined) {
    const affinity = { ...s.affinity };
    for (const member of ['podAffinity', 'podAntiAffinity'] as const) {
      const a = affinity[member];
      if (a === undefined) continue;
      affinity[member] = {
        ...a,
        ...(a.requiredDuringSchedulingIgnoredDuringExecution === undefined
          ? {}
          : {
              requiredDuringSchedulingIgnoredDuringExecution: a.requiredDuringSchedulingIgnoredDuringExecution.map(
                (t) => term(t, labels),
              ),
            }),
        ...(a.preferredDuringSchedulingIgnoredDuringExecution === undefined
          ? {}
          : {
              preferredDuringSchedulingIgnoredDuringExecution: a.preferredDuringSchedulingIgnoredDuringExecution.map(
                (w) => ({ ...w, podAffinityTerm: term(w.podAffinityTerm, labels) }),
              ),
            }),
      };
    }
    change.affinity = affinity;
  }
  if (s.topologySpreadConstraints?.some((c) => (c.matchLabelKeys ?? []).length > 0))
    change.topologySpreadConstraints = s.topologySpreadConstraints.map((c) =>
      c.labelSelector === undefined
        ? c
        : { ...c, labelSelector: withLabelKeys(c.labelSelector, c.matchLabelKeys, 'In', labels) },
    );
  if (Object.keys(change).length > 0) object['spec'] = { ...s, ...change };
}

/** Conditions and status keep the observed generation that an older client does not know of. */
function keepObservedGeneration(status: PodStatus, old: PodStatus): PodStatus {
  const left = new Map<string, number[]>();
  for (const c of old.conditions ?? []) {
    const list = left.get(c.type);
    if (list === undefined) left.set(c.type, [c.observedGeneration ?? 0]);
    else list.push(c.observedGeneration ?? 0);
  }
  const conditions = status.conditions?.map((c): PodCondition => {
    const before = left.get(c.type)?.shift() ?? 0;
    return (c.observedGeneration ?? 0) === 0 && before !== 0 ? { ...c, observedGeneration: before } : c;
  });
  return {
    ...status,
    ...(conditions === undefined ? {} : { conditions }),
    ...((status.observedGeneration ?? 0) === 0 && old.observedGeneration !== undefined
      ? { observedGeneration: old.observedGeneration }
      : {}),
  };
}

/** The old containers with the resources of the new ones; undefined when they are not the same containers. */
function resized(
  next: readonly Container[] | undefined,
  old: readonly Container[] | undefined,
): readonly Container[] | undefined {
  const a = next ?? [];
  const b = old ?? [];
  if (a.length !== b.length || a.some((c, i) => c.name !== b[i]!.name)) return undefined;
  return b.map((c, i) => {
    const { resources, resizePolicy } = a[i]!;
    const out: Container = { ...c };
    if (resources === undefined) delete out.resources;
    else out.resources = resources;
    if (resizePolicy === undefined) delete out.resizePolicy;
    else out.resizePolicy = resizePolicy;
    return out;
  });
}

const main: Strategy = {
  prepareForCreate(_ctx, object) {
    object.metadata.generation = 1;
    const status: Record<string, unknown> = { phase: 'Pending', qosClass: podQOSClass(object as unknown as Pod) };
    if ((spec(object).schedulingGates ?? []).length > 0)
      status['conditions'] = [
        {
          type: 'PodScheduled',
          status: 'False',
          reason: 'SchedulingGated',
          message: 'Scheduling is blocked due to non-empty scheduling gates',
          lastProbeTime: null,
          lastTransitionTime: object.metadata.creationTimestamp ?? null,
        },
      ];
    object['status'] = status;
    mergeLabelKeys(object);
  },
  prepareForUpdate(_ctx, object, old) {
    keepStatus(object, old);
    bumpForSpec(object, old);
  },
  validate: (_ctx, object) => validatePodCreate(object),
  validateUpdate: (_ctx, object, old) => validatePodUpdate(object, old),
  warningsOnCreate: (_ctx, object) => podWarnings(object),
  resetFields: [['status']],
  gracePeriod(_ctx, object, requested) {
    const s = spec(object);
    let period = requested ?? s.terminationGracePeriodSeconds ?? 0;
    const phase = (object['status'] as PodStatus | undefined)?.phase;
    // A pod that was never bound, or that is over, has nobody to wait for.
    if ((s.nodeName ?? '') === '' || phase === 'Failed' || phase === 'Succeeded') period = 0;
    return period < 0 ? 1 : period;
  },
};

const status: Strategy = {
  prepareForUpdate(_ctx, object, old) {
    keepSpec(object, old);
    delete object.metadata.deletionTimestamp;
    if (old.metadata.ownerReferences === undefined) delete object.metadata.ownerReferences;
    else object.metadata.ownerReferences = old.metadata.ownerReferences;
    const before = (old['status'] ?? {}) as PodStatus;
    const next = keepObservedGeneration((object['status'] ?? {}) as PodStatus, before);
    if (next.qosClass === undefined && before.qosClass !== undefined) next.qosClass = before.qosClass;
    object['status'] = next;
  },
  validateUpdate: (_ctx, object, old) => validatePodStatusUpdate(object, old),
  resetFields: [['spec'], ['metadata', 'deletionTimestamp'], ['metadata', 'ownerReferences']],
};

const ephemeralContainers: Strategy = {
  prepareForUpdate(_ctx, object, old) {
    const { ephemeralContainers: next } = spec(object);
    const kept: PodSpec = { ...spec(old) };
    if (next === undefined) delete kept.ephemeralContainers;
    else kept.ephemeralContainers = next;
    object['spec'] = kept;
    keepStatus(object, old);
    keepMetadataForStatus(object, old);
    bumpForSpec(object, old);
  },
  validateUpdate: (_ctx, object, old) => validatePodEphemeralContainersUpdate(object, old),
};

const resize: Strategy = {
  prepareForUpdate(_ctx, object, old) {
    const next = spec(object);
    const before = spec(old);
    const containers = resized(next.containers, before.containers);
    const initContainers = resized(next.initContainers, before.initContainers);
    if (containers !== undefined && initContainers !== undefined) {
      object['spec'] = {
        ...before,
        containers,
        ...(before.initContainers === undefined ? {} : { initContainers }),
        ...(next.resources === undefined ? {} : { resources: next.resources }),
      };
      keepStatus(object, old);
      keepMetadataForStatus(object, old);
    }
    bumpForSpec(object, old);
  },
  validateUpdate: (_ctx, object, old) => validatePodResize(object, old),
};

export function podStrategies(): ResourceStrategies {
  return { main, subresources: { status, ephemeralcontainers: ephemeralContainers, resize } };
}
