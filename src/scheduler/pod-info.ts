/**
 * `PodInfo`: what the scheduler needs of a pod, computed once: requests as numbers, ports, compiled affinity terms. It keeps
 * the shared API object and no copy of it.
 */
import type { NodeMatcher } from '../api/helpers/node-affinity.ts';
import { compileNodeSelectorTerm, pinnedNodeNames, requiredNodeAffinity } from '../api/helpers/node-affinity.ts';
import { parseQuantity, quantityMilli, quantityValue } from '../api/quantity.ts';
import type { Selector } from '../api/selector.ts';
import { compileLabelSelector, newRequirement } from '../api/selector.ts';
import { timeMs } from '../api/time.ts';
import type { Container, Pod, PodAffinityTerm, PodSpec } from '../api/types/index.gen.ts';

/** cpu in thousandths, everything else in whole units. */
export interface Requests {
  cpu: number;
  memory: number;
  ephemeral: number;
  /** Extended resources and huge pages; undefined when there are none. */
  scalars: Map<string, number> | undefined;
}

export interface HostPort {
  readonly protocol: string;
  readonly ip: string;
  readonly port: number;
}

/** A compiled pod (anti-)affinity term. */
export interface AffinityTerm {
  readonly topologyKey: string;
  readonly selector: Selector;
  readonly namespaces: ReadonlySet<string>;
  /** Selects further namespaces by their labels; undefined: none. */
  readonly namespaceSelector: Selector | undefined;
  readonly weight: number;
}

export interface PodInfo {
  readonly uid: string;
  /** namespace/name */
  readonly key: string;
  /** Replaced by newer states that differ in nothing scheduling looks at. */
  pod: Pod;
  readonly namespace: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly priority: number;
  readonly created: number;
  readonly requests: Requests;
  /** Requests with upstream's defaults for containers that state none (100m, 200Mi); what scoring uses. */
  readonly nonZeroCpu: number;
  readonly nonZeroMemory: number;
  readonly hostPorts: readonly HostPort[];
  readonly images: readonly string[];
  readonly required: NodeMatcher | undefined;
  readonly pinned: readonly string[] | undefined;
  readonly preferred: readonly { readonly weight: number; readonly matches: NodeMatcher }[];
  readonly affinity: readonly AffinityTerm[];
  readonly antiAffinity: readonly AffinityTerm[];
  readonly preferredAffinity: readonly AffinityTerm[];
  readonly preferredAntiAffinity: readonly AffinityTerm[];
}

const defaultMilliCpu = 100;
const defaultMemory = 200 * 1024 * 1024;
const none: readonly never[] = Object.freeze([]);

/** A resource quantity as this scheduler counts it. */
export function amount(name: string, text: string | number): number {
  const q = parseQuantity(text);
  return name === 'cpu' ? quantityMilli(q) : quantityValue(q);
}

class Sum {
  cpu = 0;
  memory = 0;
  ephemeral = 0;
  scalars: Map<string, number> | undefined;

  static of(list: Readonly<Record<string, string>> | undefined, cpu: number, memory: number): Sum {
    const sum = new Sum();
    for (const name in list) sum.set(name, amount(name, list[name]!));
    if (list?.['cpu'] === undefined) sum.cpu = cpu;
    if (list?.['memory'] === undefined) sum.memory = memory;
    return sum;
  }

  set(name: string, value: number): void {
    if (name === 'cpu') this.cpu = value;
    else if (name === 'memory') this.memory = value;
    else if (name === 'ephemeral-storage') this.ephemeral = value;
    else (this.scalars ??= new Map()).set(name, value);
  }

  add(o: Sum): void {
    this.cpu += o.cpu;
    this.memory += o.memory;
    this.ephemeral += o.ephemeral;
    for (const [k, v] of o.scalars ?? none) (this.scalars ??= new Map()).set(k, (this.scalars.get(k) ?? 0) + v);
  }

  max(o: Sum): void {
    this.cpu = Math.max(this.cpu, o.cpu);
    this.memory = Math.max(this.memory, o.memory);
    this.ephemeral = Math.max(this.ephemeral, o.ephemeral);
    for (const [k, v] of o.scalars ?? none) (this.scalars ??= new Map()).set(k, Math.max(this.scalars.get(k) ?? 0, v));
  }
}

function podLevel(name: string): boolean {
  return name === 'cpu' || name === 'memory' || name.startsWith('hugepages-');
}

/** For a running pod the larger of what is asked, allocated and actuated counts (in-place resize, KEP-1287). */
function containerRequests(pod: Pod, container: Container, cpu: number, memory: number): Sum {
  const sum = Sum.of(container.resources?.requests, cpu, memory);
  const statuses = pod.status?.containerStatuses;
  if (statuses === undefined) return sum;
  const status =
    statuses.find((s) => s.name === container.name) ??
    pod.status?.initContainerStatuses?.find((s) => s.name === container.name);
  if (status?.allocatedResources !== undefined) sum.max(Sum.of(status.allocatedResources, 0, 0));
  if (status?.resources?.requests !== undefined) sum.max(Sum.of(status.resources.requests, 0, 0));
  return sum;
}

/** A pod's effective requests: containers, sidecars, the largest init step, pod-level resources, overhead (KEP-753, KEP-2837). */
function effectiveRequests(pod: Pod, cpu: number, memory: number): Sum {
  const spec = pod.spec!;
  const total = new Sum();
  for (const c of spec.containers) total.add(containerRequests(pod, c, cpu, memory));
  if (spec.initContainers !== undefined && spec.initContainers.length > 0) {
    const sidecars = new Sum();
    const peak = new Sum();
    for (const c of spec.initContainers) {
      const own = containerRequests(pod, c, cpu, memory);
      if (c.restartPolicy === 'Always') {
        total.add(own);
        sidecars.add(own);
        peak.max(sidecars);
      } else {
        own.add(sidecars);
        peak.max(own);
      }
    }
    total.max(peak);
  }
  const wanted = spec.resources?.requests;
  for (const name in wanted) if (podLevel(name)) total.set(name, amount(name, wanted[name]!));
  if (spec.overhead !== undefined) total.add(Sum.of(spec.overhead, 0, 0));
  return total;
}

function hostPortsOf(spec: PodSpec): readonly HostPort[] {
  let out: HostPort[] | undefined;
  const from = (containers: readonly Container[]): void => {
    for (const c of containers)
      for (const p of c.ports ?? none)
        if (p.hostPort !== undefined && p.hostPort > 0)
          (out ??= []).push({
            protocol: p.protocol ?? 'TCP',
            ip: p.hostIP === undefined || p.hostIP === '' ? '0.0.0.0' : p.hostIP,
            port: p.hostPort,
          });
  };
  from(spec.containers);
  if (spec.initContainers !== undefined) from(spec.initContainers.filter((c) => c.restartPolicy === 'Always'));
  return out ?? none;
}

/** `name` as the node reports it: with a tag. */
export function normalizedImage(name: string): string {
  return name.lastIndexOf(':') <= name.lastIndexOf('/') ? `${name}:latest` : name;
}

function compileAffinity(term: PodAffinityTerm, pod: Pod, weight: number): AffinityTerm {
  const own = pod.metadata.namespace ?? '';
  const named = term.namespaces ?? [];
  const namespaces = new Set(named.length === 0 && term.namespaceSelector === undefined ? [own] : named);
  return {
    topologyKey: term.topologyKey,
    selector: compileLabelSelector(term.labelSelector),
    namespaces,
    namespaceSelector: term.namespaceSelector === undefined ? undefined : compileLabelSelector(term.namespaceSelector),
    weight,
  };
}

/** matchLabelKeys are merged into the selector by the API server; a pod made before that is handled here. */
export function withMatchLabelKeys(
  selector: Selector,
  keys: readonly string[] | undefined,
  labels: Readonly<Record<string, string>>,
): Selector {
  let out = selector;
  for (const key of keys ?? none) {
    const value = Object.hasOwn(labels, key) ? labels[key] : undefined;
    if (value !== undefined && out.requiresExactMatch(key) === undefined)
      out = out.add(newRequirement(key, 'in', [value]));
  }
  return out;
}

export function podInfo(pod: Pod): PodInfo {
  const spec = pod.spec!;
  const affinity = spec.affinity;
  const requests = effectiveRequests(pod, 0, 0);
  const wantsDefaults =
    spec.containers.some(
      (c) => c.resources?.requests?.['cpu'] === undefined || c.resources.requests['memory'] === undefined,
    ) || spec.initContainers !== undefined;
  const nonZero = wantsDefaults ? effectiveRequests(pod, defaultMilliCpu, defaultMemory) : requests;
  const terms = (list: readonly PodAffinityTerm[] | undefined): readonly AffinityTerm[] =>
    list === undefined || list.length === 0 ? none : list.map((t) => compileAffinity(t, pod, 0));
  const weighted = (
    list: readonly { weight: number; podAffinityTerm: PodAffinityTerm }[] | undefined,
  ): readonly AffinityTerm[] =>
    list === undefined || list.length === 0 ? none : list.map((t) => compileAffinity(t.podAffinityTerm, pod, t.weight));
  const preferred = affinity?.nodeAffinity?.preferredDuringSchedulingIgnoredDuringExecution;
  return {
    uid: pod.metadata.uid ?? '',
    key: `${pod.metadata.namespace ?? ''}/${pod.metadata.name ?? ''}`,
    pod,
    namespace: pod.metadata.namespace ?? '',
    labels: pod.metadata.labels ?? {},
    priority: spec.priority ?? 0,
    created: timeMs(pod.metadata.creationTimestamp),
    requests,
    nonZeroCpu: nonZero.cpu,
    nonZeroMemory: nonZero.memory,
    hostPorts: hostPortsOf(spec),
    images: spec.containers.map((c) => normalizedImage(c.image ?? '')),
    required: requiredNodeAffinity(spec),
    pinned: pinnedNodeNames(spec),
    preferred:
      preferred === undefined
        ? none
        : preferred
            .filter((p) => p.weight !== 0)
            .map((p) => ({ weight: p.weight, matches: compileNodeSelectorTerm(p.preference) })),
    affinity: terms(affinity?.podAffinity?.requiredDuringSchedulingIgnoredDuringExecution),
    antiAffinity: terms(affinity?.podAntiAffinity?.requiredDuringSchedulingIgnoredDuringExecution),
    preferredAffinity: weighted(affinity?.podAffinity?.preferredDuringSchedulingIgnoredDuringExecution),
    preferredAntiAffinity: weighted(affinity?.podAntiAffinity?.preferredDuringSchedulingIgnoredDuringExecution),
  };
}
