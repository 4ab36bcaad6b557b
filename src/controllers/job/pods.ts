/** Pods of a Job: the tracking finalizer, completion indexes, templates with them, when a pod ended, and which to remove first. */
import { isSidecar } from '../../api/helpers/pod-resources.ts';
import { podCondition } from '../../api/helpers/pod-status.ts';
import { timeMs } from '../../api/time.ts';
import type { Container, ContainerStatus, Job, Pod } from '../../api/types/index.gen.ts';
import { newControllerRef } from '../../api/helpers/owner-references.ts';
import type { TypedRef } from '../../client/resources.ts';
import { podFromTemplate, rankForDeletion } from '../util/pods.ts';
import { failureVerdict } from './policies.ts';

export const trackingFinalizer = 'batch.kubernetes.io/job-tracking';
const indexAnnotation = 'batch.kubernetes.io/job-completion-index';
const failureCountAnnotation = 'batch.kubernetes.io/job-index-failure-count';
const ignoredCountAnnotation = 'batch.kubernetes.io/job-index-ignored-failure-count';
const indexVariable = 'JOB_COMPLETION_INDEX';
/** 63 characters less the five that the server appends. */
const maxGeneratedPrefix = 58;

const backoffFirstMs = 10_000;
const backoffMaxMs = 600_000;

export const isIndexed = (job: Job): boolean => job.spec?.completionMode === 'Indexed';

export const hasTrackingFinalizer = (pod: Pod): boolean =>
  pod.metadata.finalizers?.includes(trackingFinalizer) === true;

function naturalNumber(text: string | undefined): number | undefined {
  return text !== undefined && /^\+?\d+$/.test(text) ? Number(text) : undefined;
}

/** The pod's completion index; undefined when it has no valid one. */
export function completionIndex(pod: Pod): number | undefined {
  return naturalNumber(pod.metadata.annotations?.[indexAnnotation]);
}

function annotatedCount(pod: Pod, annotation: string): number {
  const n = naturalNumber(pod.metadata.annotations?.[annotation]) ?? 0;
  return n > 0x7fffffff ? 0 : n;
}

/** Failures of the pod's index before it that counted. */
export const indexFailures = (pod: Pod): number => annotatedCount(pod, failureCountAnnotation);

/** Failures of the pod's index before it, ignored ones too. */
export const allIndexFailures = (pod: Pod): number => indexFailures(pod) + annotatedCount(pod, ignoredCountAnnotation);

/** When the pod ended, ms: by its containers, by its Ready condition, by its deletion, else its creation. */
export function finishTime(pod: Pod): number {
  const sidecars = new Set((pod.spec?.initContainers ?? []).filter(isSidecar).map((c) => c.name));
  const relevant = [
    ...(pod.status?.containerStatuses ?? []),
    ...(pod.status?.initContainerStatuses ?? []).filter((s) => sidecars.has(s.name)),
  ];
  const ended = lastFinished(relevant);
  if (ended !== undefined) return ended;
  const ready = podCondition(pod, 'Ready');
  if (ready?.status === 'False') {
    const at = timeMs(ready.lastTransitionTime);
    if (!Number.isNaN(at)) return at;
  }
  if (pod.metadata.deletionTimestamp !== undefined) {
    return timeMs(pod.metadata.deletionTimestamp) - (pod.metadata.deletionGracePeriodSeconds ?? 0) * 1000;
  }
  return timeMs(pod.metadata.creationTimestamp);
}

function lastFinished(statuses: readonly ContainerStatus[]): number | undefined {
  let last: number | undefined;
  for (const s of statuses) {
    const at = timeMs(s.state?.terminated?.finishedAt);
    if (Number.isNaN(at)) return undefined;
    if (last === undefined || at > last) last = at;
  }
  return last;
}

/** Milliseconds until a pod may be made again after so many failures, the last at `lastFailure`: 10 s, doubled, up to 10 min. */
export function backoffLeft(failures: number, lastFailure: number | undefined, now: number): number {
  if (failures === 0 || lastFailure === undefined) return 0;
  const wait = Math.min(backoffFirstMs * 2 ** Math.min(failures - 1, 30), backoffMaxMs);
  return Math.max(0, wait - (now - lastFailure));
}

function withIndexVariable(containers: readonly Container[] | undefined): Container[] | undefined {
  return containers?.map((c) =>
    c.env?.some((e) => e.name === indexVariable) === true
      ? c
      : {
          ...c,
          env: [
            ...(c.env ?? []),
            {
              name: indexVariable,
              valueFrom: { fieldRef: { fieldPath: `metadata.labels['${indexAnnotation}']` } },
            },
          ],
        },
  );
}

/** Makes the pods of one Job. */
export class JobPods {
  readonly #job: Job;
  readonly #base: Pod;

  constructor(job: Job, ref: TypedRef) {
    this.#job = job;
    const pod = podFromTemplate(job.spec?.template ?? {}, job, newControllerRef(job, ref));
    const finalizers = pod.metadata.finalizers ?? [];
    const spec = pod.spec;
    this.#base = {
      metadata: {
        ...pod.metadata,
        finalizers: finalizers.includes(trackingFinalizer) ? finalizers : [...finalizers, trackingFinalizer],
      },
      ...(spec === undefined
        ? {}
        : {
            spec: isIndexed(job)
              ? {
                  ...spec,
                  containers: withIndexVariable(spec.containers) ?? [],
                  ...(spec.initContainers === undefined
                    ? {}
                    : { initContainers: withIndexVariable(spec.initContainers) }),
                }
              : spec,
          }),
    };
  }

  /** A pod of a job without indexes. */
  plain(): Pod {
    return this.#base;
  }

  /** The pod of an index; `replaced`: the failed one before it, where failures are counted by index. */
  indexed(index: number, replaced: Pod | undefined): Pod {
    const job = this.#job;
    const tail = `-${index}-`;
    const name = job.metadata.name ?? '';
    const prefix =
      name.length + tail.length > maxGeneratedPrefix ? name.slice(0, maxGeneratedPrefix - tail.length) : name;
    const m = this.#base.metadata;
    return {
      metadata: {
        ...m,
        generateName: prefix + tail,
        labels: { ...m.labels, [indexAnnotation]: String(index) },
        annotations: {
          ...m.annotations,
          [indexAnnotation]: String(index),
          ...(job.spec?.backoffLimitPerIndex === undefined ? {} : failureAnnotations(job, replaced)),
        },
      },
      ...(this.#base.spec === undefined ? {} : { spec: { ...this.#base.spec, hostname: `${name}-${index}` } }),
    };
  }
}

function failureAnnotations(job: Job, replaced: Pod | undefined): Record<string, string> {
  if (replaced === undefined) return { [failureCountAnnotation]: '0' };
  const counts = failureVerdict(job.spec?.podFailurePolicy, replaced).counts;
  const failures = indexFailures(replaced) + (counts ? 1 : 0);
  const ignored = annotatedCount(replaced, ignoredCountAnnotation) + (counts ? 0 : 1);
  return {
    [failureCountAnnotation]: String(failures),
    ...(ignored > 0 ? { [ignoredCountAnnotation]: String(ignored) } : {}),
  };
}

/**
 * Active pods to remove: at least `atLeast`, and for jobs with indexes all without a valid index and all but one of each
 * index. The least advanced go first.
 */
export function podsToRemove(job: Job, active: readonly Pod[], atLeast: number, now: number): Pod[] {
  const remove: Pod[] = [];
  let left: readonly Pod[] = active;
  if (isIndexed(job)) {
    const byIndex = new Map<number, Pod[]>();
    for (const pod of active) {
      const index = completionIndex(pod);
      if (index === undefined || index >= (job.spec?.completions ?? 0)) remove.push(pod);
      else {
        const same = byIndex.get(index);
        if (same === undefined) byIndex.set(index, [pod]);
        else same.push(pod);
      }
    }
    const kept: Pod[] = [];
    for (const same of byIndex.values()) {
      const ranked = same.length === 1 ? same : rankForDeletion(same, [], now);
      kept.push(ranked.at(-1)!);
      remove.push(...ranked.slice(0, -1));
    }
    left = kept;
  }
  if (remove.length < atLeast) remove.push(...rankForDeletion(left, [], now).slice(0, atLeast - remove.length));
  return remove;
}
