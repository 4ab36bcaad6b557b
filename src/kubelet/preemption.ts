/**
 * Room for a critical pod (upstream's `preemption`): which pods of this node have to end so that its requests fit. Guaranteed pods are
 * taken only for what the others cannot give, Burstable ones for what the BestEffort ones cannot, and as few of each as possible.
 */
import type { Pod } from '../api/types/index.gen.ts';
import { podQOSClass } from '../api/helpers/pod-qos.ts';
import type { Eviction } from './eviction/eviction-manager.ts';
import { isCriticalPod } from './pod-util.ts';

/** What is missing, by resource: milli-units of cpu, whole units of the rest. */
export type Shortage = ReadonlyMap<string, number>;

/** A pod that holds room on the node. */
export interface Holder {
  readonly pod: Pod;
  /** What it asks for; 1 of `pods`. */
  request(resource: string): number;
}

/** Why a pod ends that has to make room. */
export function preemption(pod: Pod): Eviction {
  return {
    reason: 'Preempting',
    message: 'Preempted in order to admit critical pod',
    graceSeconds: pod.spec?.terminationGracePeriodSeconds ?? 30,
    condition: {
      reason: 'TerminationByKubelet',
      message: 'Pod was preempted by Kubelet to accommodate a critical pod.',
    },
  };
}

function mayPreempt(critical: Pod, other: Pod): boolean {
  if (isCriticalPod(critical) && !isCriticalPod(other)) return true;
  const a = critical.spec?.priority;
  const b = other.spec?.priority;
  return a !== undefined && b !== undefined && a > b;
}

/** What is still missing once these have gone. */
function without(missing: Shortage, gone: readonly Holder[]): Shortage {
  const out = new Map<string, number>();
  for (const [name, n] of missing) {
    const left = gone.reduce((sum, h) => sum - h.request(name), n);
    if (left > 0) out.set(name, left);
  }
  return out;
}

/** How far a pod's end leaves us from what is missing; each resource counts alike. */
function distance(missing: Shortage, h: Holder): number {
  let sum = 0;
  for (const [name, n] of missing) {
    const left = n - h.request(name);
    if (left > 0) sum += (left / n) ** 2;
  }
  return sum;
}

function smaller(a: Holder, b: Holder): boolean {
  for (const name of ['memory', 'cpu']) {
    const d = a.request(name) - b.request(name);
    if (d !== 0) return d < 0;
  }
  return true;
}

const text = (missing: Shortage): string =>
  `[${[...missing].map(([name, q]) => `(res: ${name}, q: ${q}), `).join('')}]`;

function nearest(pods: readonly Holder[], wanted: Shortage): Holder[] {
  const left = [...pods];
  const out: Holder[] = [];
  let missing = wanted;
  while (missing.size > 0) {
    const first = left[0];
    if (first === undefined) throw new Error(`no set of running pods found to reclaim resources: ${text(missing)}`);
    let best = first;
    for (const h of left) {
      const d = distance(missing, h) - distance(missing, best);
      if (d < 0 || (d === 0 && smaller(h, best))) best = h;
    }
    missing = without(missing, [best]);
    out.push(best);
    left.splice(left.indexOf(best), 1);
  }
  return out;
}

/** The pods that have to end. Throws with upstream's text when no set of them would do. */
export function podsToPreempt(critical: Pod, holders: readonly Holder[], missing: Shortage): readonly Holder[] {
  const of = (qos: string): Holder[] =>
    holders.filter((h) => mayPreempt(critical, h.pod) && podQOSClass(h.pod as never) === qos);
  const bestEffort = of('BestEffort');
  const burstable = of('Burstable');
  const guaranteed = of('Guaranteed');
  const never = without(missing, [...bestEffort, ...burstable, ...guaranteed]);
  if (never.size > 0) throw new Error(`no set of running pods found to reclaim resources: ${text(never)}`);
  const last = nearest(guaranteed, without(missing, [...bestEffort, ...burstable]));
  const middle = nearest(burstable, without(missing, [...bestEffort, ...last]));
  const first = nearest(bestEffort, without(missing, [...middle, ...last]));
  return [...first, ...middle, ...last];
}
