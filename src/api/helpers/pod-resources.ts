/**
 * Effective requests and limits of a Pod: containers, init containers and sidecars (KEP-753), pod-level resources (KEP-2837),
 * resizes in flight (KEP-1287) and overhead (component-helpers resource).
 */
import type { Quantity } from '../quantity.ts';
import { addQuantity, compareQuantity, isZeroQuantity, tryParseQuantity } from '../quantity.ts';

type QuantityTexts = Record<string, string>;

interface Resources {
  readonly requests?: QuantityTexts;
  readonly limits?: QuantityTexts;
}

interface ContainerLike {
  readonly name: string;
  readonly resources?: Resources;
  readonly restartPolicy?: string;
}

interface ContainerStatusLike {
  readonly name: string;
  readonly resources?: Resources;
  readonly allocatedResources?: QuantityTexts;
}

/** What is looked at of a Pod. */
export interface PodResourcesLike {
  readonly spec?: {
    readonly containers: readonly ContainerLike[];
    readonly initContainers?: readonly ContainerLike[];
    readonly overhead?: QuantityTexts;
    readonly resources?: Resources;
  };
  readonly status?: {
    readonly containerStatuses?: readonly ContainerStatusLike[];
    readonly initContainerStatuses?: readonly ContainerStatusLike[];
    readonly conditions?: readonly { readonly type: string; readonly reason?: string }[];
    readonly resources?: Resources;
    readonly allocatedResources?: QuantityTexts;
  };
}

/** Amounts by resource name. */
export type ResourceQuantities = Map<string, Quantity>;

export interface PodResourcesOptions {
  /** Consider what the status says of resizes (default true). */
  readonly useStatus?: boolean;
  readonly excludeOverhead?: boolean;
  readonly skipPodLevelResources?: boolean;
  /** Requests assumed for containers that have none for a resource (scoring). */
  readonly nonMissingContainerRequests?: ReadonlyMap<string, Quantity>;
}

/** Reads a resource list; what is no quantity is left out. */
export function parseResourceList(list: QuantityTexts | undefined): ResourceQuantities {
  const out: ResourceQuantities = new Map();
  if (list === undefined) return out;
  for (const name of Object.keys(list)) {
    const q = tryParseQuantity(list[name]);
    if (q !== undefined) out.set(name, q);
  }
  return out;
}

export function addResources(into: ResourceQuantities, more: ReadonlyMap<string, Quantity>): void {
  for (const [name, q] of more) {
    const have = into.get(name);
    into.set(name, have === undefined ? q : addQuantity(have, q));
  }
}

/** Per resource the greater of the two. */
export function maxResources(into: ResourceQuantities, other: ReadonlyMap<string, Quantity>): void {
  for (const [name, q] of other) {
    const have = into.get(name);
    if (have === undefined || compareQuantity(q, have) > 0) into.set(name, q);
  }
}

function supportedAtPodLevel(name: string): boolean {
  return name === 'cpu' || name === 'memory' || name.startsWith('hugepages-');
}

/** A restartable init container (sidecar). */
export function isSidecar(container: Pick<ContainerLike, 'restartPolicy'>): boolean {
  return container.restartPolicy === 'Always';
}

function isResizeInfeasible(pod: PodResourcesLike): boolean {
  return pod.status?.conditions?.find((c) => c.type === 'PodResizePending')?.reason === 'Infeasible';
}

function statusesOf(pod: PodResourcesLike): Map<string, ContainerStatusLike> {
  const map = new Map<string, ContainerStatusLike>();
  for (const s of pod.status?.containerStatuses ?? []) map.set(s.name, s);
  for (const s of pod.status?.initContainerStatuses ?? []) map.set(s.name, s);
  return map;
}

function greatest(...lists: (QuantityTexts | undefined)[]): ResourceQuantities {
  const out: ResourceQuantities = new Map();
  for (const list of lists) if (list !== undefined) maxResources(out, parseResourceList(list));
  return out;
}

type OfContainer = (container: ContainerLike, status: ContainerStatusLike | undefined) => ResourceQuantities;

function aggregate(pod: PodResourcesLike, useStatus: boolean, of: OfContainer): ResourceQuantities {
  const total: ResourceQuantities = new Map();
  const spec = pod.spec;
  if (spec === undefined) return total;
  const statuses = useStatus && pod.status !== undefined ? statusesOf(pod) : undefined;
  for (const c of spec.containers) addResources(total, of(c, statuses?.get(c.name)));
  if (spec.initContainers === undefined || spec.initContainers.length === 0) return total;
  const sidecars: ResourceQuantities = new Map();
  const initPeak: ResourceQuantities = new Map();
  for (const c of spec.initContainers) {
    if (isSidecar(c)) {
      const use = of(c, statuses?.get(c.name));
      addResources(total, use);
      addResources(sidecars, use);
      maxResources(initPeak, sidecars);
    } else {
      // A status never changes what an ordinary init container needs.
      const use = new Map(of(c, undefined));
      addResources(use, sidecars);
      maxResources(initPeak, use);
    }
  }
  maxResources(total, initPeak);
  return total;
}

/** What the scheduler, quota and the kubelet reckon a Pod with. */
export function podRequests(pod: PodResourcesLike, options: PodResourcesOptions = {}): ResourceQuantities {
  const useStatus = options.useStatus ?? true;
  const infeasible = useStatus && isResizeInfeasible(pod);
  const missing = options.nonMissingContainerRequests;
  const total = aggregate(pod, useStatus, (container, status) => {
    const requests = container.resources?.requests;
    let effective: ResourceQuantities;
    if (status?.resources !== undefined) {
      effective = infeasible
        ? greatest(status.resources.requests, status.allocatedResources)
        : greatest(requests, status.resources.requests, status.allocatedResources);
    } else effective = parseResourceList(requests);
    if (missing !== undefined) for (const [name, q] of missing) if (!effective.has(name)) effective.set(name, q);
    return effective;
  });
  const podLevel = pod.spec?.resources?.requests;
  if (options.skipPodLevelResources !== true && podLevel !== undefined) {
    const inFlight =
      useStatus && pod.status?.resources !== undefined
        ? infeasible
          ? greatest(pod.status.resources.requests, pod.status.allocatedResources)
          : greatest(podLevel, pod.status.resources.requests, pod.status.allocatedResources)
        : undefined;
    for (const [name, q] of parseResourceList(podLevel)) {
      if (supportedAtPodLevel(name)) total.set(name, inFlight?.get(name) ?? q);
    }
  }
  if (options.excludeOverhead !== true) addResources(total, parseResourceList(pod.spec?.overhead));
  return total;
}

/** Limits in sum; overhead is added where there is a limit. */
export function podLimits(pod: PodResourcesLike, options: PodResourcesOptions = {}): ResourceQuantities {
  const useStatus = options.useStatus ?? true;
  const infeasible = useStatus && isResizeInfeasible(pod);
  const total = aggregate(pod, useStatus, (container, status) => {
    const limits = container.resources?.limits;
    if (status?.resources === undefined) return parseResourceList(limits);
    return infeasible ? parseResourceList(status.resources.limits) : greatest(limits, status.resources.limits);
  });
  const podLevel = pod.spec?.resources?.limits;
  if (options.skipPodLevelResources !== true && podLevel !== undefined) {
    const inFlight =
      useStatus && pod.status?.resources !== undefined
        ? infeasible
          ? parseResourceList(pod.status.resources.limits)
          : greatest(podLevel, pod.status.resources.limits)
        : undefined;
    for (const [name, q] of parseResourceList(podLevel)) {
      if (supportedAtPodLevel(name)) total.set(name, inFlight?.get(name) ?? q);
    }
  }
  if (options.excludeOverhead !== true) {
    for (const [name, q] of parseResourceList(pod.spec?.overhead)) {
      const have = total.get(name);
      if (have !== undefined && !isZeroQuantity(have)) total.set(name, addQuantity(have, q));
    }
  }
  return total;
}
