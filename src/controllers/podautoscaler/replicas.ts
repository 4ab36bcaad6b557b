/** How many replicas the measured usage calls for. Pods that are not ready or not measured are reckoned cautiously. */
import { podRequests } from '../../api/helpers/pod-resources.ts';
import { isPodReady, podCondition } from '../../api/helpers/pod-status.ts';
import { parseQuantity, quantityMilli } from '../../api/quantity.ts';
import { timeMs } from '../../api/time.ts';
import type { Pod } from '../../api/types/index.gen.ts';
import type { PodMetric, PodMetrics } from './metrics.ts';

/** When it is asked, and how long pods are young. */
export interface Moment {
  readonly now: number;
  /** `--horizontal-pod-autoscaler-cpu-initialization-period` */
  readonly cpuInitializationMs: number;
  /** `--horizontal-pod-autoscaler-initial-readiness-delay` */
  readonly initialReadinessMs: number;
}

const maxInt32 = 2 ** 31 - 1;

export interface Tolerances {
  readonly down: number;
  readonly up: number;
}

export interface Proposal {
  readonly replicas: number;
  /** Average usage a pod, thousandths. */
  readonly usage: number;
  /** Percent of the requests. */
  readonly utilization?: number;
}

const isWithin = (t: Tolerances, ratio: number): boolean => 1 - t.down <= ratio && ratio <= 1 + t.up;

interface Groups {
  readonly ready: number;
  readonly unready: readonly string[];
  readonly missing: readonly string[];
  readonly ignored: readonly string[];
}

function groupPods(pods: readonly Pod[], metrics: PodMetrics, resource: string, moment: Moment): Groups {
  let ready = 0;
  const unready: string[] = [];
  const missing: string[] = [];
  const ignored: string[] = [];
  for (const pod of pods) {
    const name = pod.metadata.name!;
    const metric = metrics.get(name);
    if (pod.metadata.deletionTimestamp !== undefined || pod.status?.phase === 'Failed') ignored.push(name);
    else if (pod.status?.phase === 'Pending') unready.push(name);
    else if (metric === undefined) missing.push(name);
    else if (resource === 'cpu' && isStarting(pod, metric, moment)) unready.push(name);
    else ready++;
  }
  return { ready, unready, missing, ignored };
}

/** The cpu that a starting pod uses says nothing about its load. */
function isStarting(pod: Pod, metric: PodMetric, moment: Moment): boolean {
  const { now, cpuInitializationMs, initialReadinessMs } = moment;
  const condition = podCondition(pod, 'Ready');
  const start = timeMs(pod.status?.startTime);
  if (condition === undefined || Number.isNaN(start)) return true;
  const since = timeMs(condition.lastTransitionTime);
  if (start + cpuInitializationMs > now) return condition.status === 'False' || metric.at < since + metric.windowMs;
  return condition.status === 'False' && start + initialReadinessMs > since;
}

interface Ratio {
  readonly ratio: number;
  readonly usage: number;
  readonly utilization?: number;
}

/** The common course: without the unready, then again with assumptions for the missing and unready. */
function propose(
  pods: readonly Pod[],
  metrics: PodMetrics,
  current: number,
  tolerances: Tolerances,
  resource: string,
  moment: Moment,
  ratioOf: (metrics: PodMetrics) => Ratio,
  assumedWhenLow: (pod: string) => number,
): Proposal {
  const { ready, unready, missing, ignored } = groupPods(pods, metrics, resource, moment);
  for (const name of [...ignored, ...unready]) metrics.delete(name);
  if (metrics.size === 0) throw new Error('did not receive metrics for targeted pods (pods might be unready)');
  const { ratio, ...measured } = ratioOf(metrics);
  const keep: Proposal = { replicas: current, ...measured };
  const upWithUnready = unready.length > 0 && ratio > 1;
  if (!upWithUnready && missing.length === 0)
    return isWithin(tolerances, ratio) ? keep : { replicas: Math.ceil(ratio * ready), ...measured };
  const assume = (name: string, value: number): void => void metrics.set(name, { value, at: 0, windowMs: 0 });
  if (ratio < 1) for (const name of missing) assume(name, assumedWhenLow(name));
  else if (ratio > 1) for (const name of missing) assume(name, 0);
  if (upWithUnready) for (const name of unready) assume(name, 0);
  const { ratio: again } = ratioOf(metrics);
  if (isWithin(tolerances, again) || (ratio < 1 && again > 1) || (ratio > 1 && again < 1)) return keep;
  const replicas = Math.ceil(again * metrics.size);
  if ((again < 1 && replicas > current) || (again > 1 && replicas < current)) return keep;
  return { replicas, ...measured };
}

function noPods(pods: readonly Pod[]): void {
  if (pods.length === 0) throw new Error('no pods returned by selector while calculating replica count');
}

/** By the share of what the pods request. */
export function byUtilization(
  pods: readonly Pod[],
  metrics: PodMetrics,
  current: number,
  target: number,
  resource: string,
  container: string,
  tolerances: Tolerances,
  moment: Moment,
): Proposal {
  noPods(pods);
  let requests: Map<string, number> | undefined;
  const ratioOf = (m: PodMetrics): Ratio => {
    requests ??= requestsOf(pods, resource, container);
    let used = 0;
    let requested = 0;
    let n = 0;
    for (const [name, metric] of m) {
      const request = requests.get(name);
      if (request === undefined) continue;
      used += metric.value;
      requested += request;
      n++;
    }
    if (requested === 0) throw new Error('no metrics returned matched known pods');
    const utilization = Math.trunc((used * 100) / requested);
    return { ratio: utilization / target, utilization, usage: Math.trunc(used / n) };
  };
  const fallback = Math.max(100, target);
  return propose(pods, metrics, current, tolerances, resource, moment, ratioOf, (name) =>
    Math.trunc(((requests?.get(name) ?? 0) * fallback) / 100),
  );
}

/** By usage a pod, thousandths. `resource` is empty for metrics that are no resource. */
export function byUsage(
  pods: readonly Pod[],
  metrics: PodMetrics,
  current: number,
  target: number,
  resource: string,
  tolerances: Tolerances,
  moment: Moment,
): Proposal {
  noPods(pods);
  const ratioOf = (m: PodMetrics): Ratio => {
    let total = 0;
    for (const metric of m.values()) total += metric.value;
    const usage = Math.trunc(total / m.size);
    return { ratio: usage / target, usage };
  };
  return propose(pods, metrics, current, tolerances, resource, moment, ratioOf, () => target);
}

/** By one value for all pods together. */
export function byTotal(
  pods: readonly Pod[],
  usage: number,
  current: number,
  target: number,
  tolerances: Tolerances,
): Proposal {
  const ratio = usage / target;
  if (current === 0) return { replicas: Math.ceil(ratio), usage };
  if (isWithin(tolerances, ratio)) return { replicas: current, usage };
  noPods(pods);
  const ready = pods.filter((p) => p.status?.phase === 'Running' && isPodReady(p)).length;
  return { replicas: Math.min(Math.ceil(ratio * ready), maxInt32), usage };
}

/** By one value that is shared out among the pods. */
export function byShare(usage: number, statusReplicas: number, target: number, tolerances: Tolerances): Proposal {
  const replicas = isWithin(tolerances, usage / (target * statusReplicas))
    ? statusReplicas
    : Math.min(Math.ceil(usage / target), maxInt32);
  return { replicas, usage: statusReplicas === 0 ? usage : Math.ceil(usage / statusReplicas) };
}

function requestsOf(pods: readonly Pod[], resource: string, container: string): Map<string, number> {
  const out = new Map<string, number>();
  for (const pod of pods) {
    const name = pod.metadata.name!;
    if (container === '' && Object.keys(pod.spec?.resources?.requests ?? {}).length > 0) {
      const request = podRequests(pod).get(resource);
      if (request === undefined) throw new Error(`missing pod-level request for ${resource} in Pod ${name}`);
      out.set(name, quantityMilli(request));
      continue;
    }
    const all = [
      ...(pod.spec?.containers ?? []),
      ...(pod.spec?.initContainers ?? []).filter((c) => c.restartPolicy === 'Always'),
    ];
    const wanted = container === '' ? all : all.filter((c) => c.name === container);
    if (container !== '' && wanted.length === 0) throw new Error(`container ${container} not found in Pod ${name}`);
    let total = 0;
    for (const c of wanted) {
      const request = c.resources?.requests?.[resource];
      if (request === undefined)
        throw new Error(`missing request for ${resource} in container ${c.name} of Pod ${name}`);
      total += quantityMilli(parseQuantity(request));
    }
    out.set(name, total);
  }
  return out;
}
