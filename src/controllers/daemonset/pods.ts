/** Pods of a DaemonSet: on which nodes they belong, their template for a node, which ones are new. Pure functions. */
import { newControllerRef } from '../../api/helpers/owner-references.ts';
import type { NodeMatcher } from '../../api/helpers/node-affinity.ts';
import { requiredNodeAffinity } from '../../api/helpers/node-affinity.ts';
import { findUntoleratedTaint } from '../../api/helpers/taints.ts';
import { timeMs } from '../../api/time.ts';
import type { DaemonSet, Node, Pod, PodSpec, Taint, Toleration } from '../../api/types/index.gen.ts';
import { resources } from '../../client/resources.ts';
import { scaledValue } from '../util/int-or-percent.ts';
import { podFromTemplate } from '../util/pods.ts';
import { podRevisionLabel } from '../util/revisions.ts';

const templateGenerationAnnotation = 'deprecated.daemonset.template.generation';
const templateGenerationLabel = 'pod-template-generation';

/** What daemons put up with, so that they run on nodes that are in trouble. */
const daemonTolerations: readonly Toleration[] = [
  { key: 'node.kubernetes.io/not-ready', operator: 'Exists', effect: 'NoExecute' },
  { key: 'node.kubernetes.io/unreachable', operator: 'Exists', effect: 'NoExecute' },
  { key: 'node.kubernetes.io/disk-pressure', operator: 'Exists', effect: 'NoSchedule' },
  { key: 'node.kubernetes.io/memory-pressure', operator: 'Exists', effect: 'NoSchedule' },
  { key: 'node.kubernetes.io/pid-pressure', operator: 'Exists', effect: 'NoSchedule' },
  { key: 'node.kubernetes.io/unschedulable', operator: 'Exists', effect: 'NoSchedule' },
];
const hostNetworkToleration: Toleration = {
  key: 'node.kubernetes.io/network-unavailable',
  operator: 'Exists',
  effect: 'NoSchedule',
};

function sameToleration(a: Toleration, b: Toleration): boolean {
  return (
    a.key === b.key &&
    a.effect === b.effect &&
    (a.operator ?? '') === (b.operator ?? '') &&
    (a.value ?? '') === (b.value ?? '')
  );
}

function tolerationsOf(spec: PodSpec | undefined): Toleration[] {
  const out = [...(spec?.tolerations ?? [])];
  for (const t of spec?.hostNetwork === true ? [...daemonTolerations, hostNetworkToleration] : daemonTolerations) {
    const at = out.findIndex((o) => sameToleration(o, t));
    // An equal one is replaced, so that a limit in seconds falls away.
    if (at === -1) out.push(t);
    else out[at] = t;
  }
  return out;
}

export interface Placement {
  /** A pod should be there. */
  readonly run: boolean;
  /** A pod that is there may stay. */
  readonly stay: boolean;
}

const nowhere: Placement = { run: false, stay: false };
const evicts = (t: Taint): boolean => t.effect === 'NoExecute';
const repels = (t: Taint): boolean => t.effect === 'NoExecute' || t.effect === 'NoSchedule';

/** Decides for one template on which nodes its pods belong; made once a template. */
export class DaemonPlacement {
  readonly #nodeName: string | undefined;
  readonly #affinity: NodeMatcher | undefined;
  readonly #tolerations: readonly Toleration[];

  constructor(set: DaemonSet) {
    const spec = set.spec?.template?.spec;
    this.#nodeName = spec?.nodeName;
    this.#affinity = spec === undefined ? undefined : requiredNodeAffinity(spec);
    this.#tolerations = tolerationsOf(spec);
  }

  on(node: Node): Placement {
    const name = node.metadata.name ?? '';
    if (this.#nodeName !== undefined && this.#nodeName !== '' && this.#nodeName !== name) return nowhere;
    if (this.#affinity !== undefined && !this.#affinity({ name, labels: node.metadata.labels ?? {} })) return nowhere;
    const taints = node.spec?.taints;
    if (findUntoleratedTaint(taints, this.#tolerations, repels) === undefined) return { run: true, stay: true };
    return { run: false, stay: findUntoleratedTaint(taints, this.#tolerations, evicts) === undefined };
  }
}

/** The node a pod runs on or is meant for; undefined when it says neither. */
export function targetNode(pod: Pod): string | undefined {
  const bound = pod.spec?.nodeName;
  if (bound !== undefined && bound !== '') return bound;
  const required = pod.spec?.affinity?.nodeAffinity?.requiredDuringSchedulingIgnoredDuringExecution;
  for (const term of required?.nodeSelectorTerms ?? []) {
    for (const f of term.matchFields ?? [])
      if (f.key === 'metadata.name' && f.operator === 'In') return f.values?.length === 1 ? f.values[0] : undefined;
  }
  return undefined;
}

function templateGeneration(set: DaemonSet): string | undefined {
  const text = set.metadata.annotations?.[templateGenerationAnnotation];
  return text !== undefined && /^[+-]?\d+$/.test(text) ? String(BigInt(text)) : undefined;
}

/** Pods of one set and revision, for any node. */
export function daemonPods(set: DaemonSet, hash: string): (nodeName: string) => Pod {
  const pod = podFromTemplate(set.spec?.template ?? {}, set, newControllerRef(set, resources.apps.daemonsets));
  const generation = templateGeneration(set);
  const metadata = {
    ...pod.metadata,
    labels: {
      ...pod.metadata.labels,
      ...(generation === undefined ? {} : { [templateGenerationLabel]: generation }),
      [podRevisionLabel]: hash,
    },
  };
  const spec = pod.spec;
  const tolerations = tolerationsOf(spec);
  return (nodeName) => ({
    metadata,
    spec: {
      ...spec,
      containers: spec?.containers ?? [],
      tolerations,
      affinity: {
        ...spec?.affinity,
        nodeAffinity: {
          ...spec?.affinity?.nodeAffinity,
          requiredDuringSchedulingIgnoredDuringExecution: {
            nodeSelectorTerms: [{ matchFields: [{ key: 'metadata.name', operator: 'In', values: [nodeName] }] }],
          },
        },
      },
    },
  });
}

/** Says of a pod whether it is of the set's present template. */
export function isUpdated(set: DaemonSet, hash: string): (pod: Pod) => boolean {
  const generation = templateGeneration(set);
  return (pod) => {
    const labels = pod.metadata.labels;
    return (
      labels?.[podRevisionLabel] === hash ||
      (generation !== undefined && labels?.[templateGenerationLabel] === generation)
    );
  };
}

/** Bound pods first, then the oldest. */
export function byAge(a: Pod, b: Pod): number {
  const boundA = (a.spec?.nodeName ?? '') !== '';
  const boundB = (b.spec?.nodeName ?? '') !== '';
  if (boundA !== boundB) return boundA ? -1 : 1;
  const x = timeMs(a.metadata.creationTimestamp);
  const y = timeMs(b.metadata.creationTimestamp);
  return x === y ? ((a.metadata.name ?? '') < (b.metadata.name ?? '') ? -1 : 1) : x - y;
}

/** How many pods a rolling update may take away and add, of so many. At least one of the two is more than 0. */
export function rollingLimits(set: DaemonSet, desired: number): { maxSurge: number; maxUnavailable: number } {
  const strategy = set.spec?.updateStrategy;
  const rolling = strategy?.type === 'RollingUpdate' ? strategy.rollingUpdate : undefined;
  const maxSurge = scaledValue(rolling?.maxSurge, desired, true);
  const maxUnavailable = scaledValue(rolling?.maxUnavailable, desired, true);
  return desired > 0 && maxSurge === 0 && maxUnavailable === 0
    ? { maxSurge, maxUnavailable: 1 }
    : { maxSurge, maxUnavailable };
}

export const allowsSurge = (set: DaemonSet): boolean =>
  set.spec?.updateStrategy?.type === 'RollingUpdate' &&
  scaledValue(set.spec.updateStrategy.rollingUpdate?.maxSurge, 1, true) > 0;
