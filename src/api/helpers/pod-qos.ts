/** A Pod's quality-of-service class by its requests and limits of cpu and memory (upstream's ComputePodQOS). */
import type { Quantity } from '../quantity.ts';
import { compareQuantity, quantitySign } from '../quantity.ts';
import type { PodResourcesLike, ResourceQuantities } from './pod-resources.ts';
import { addResources, parseResourceList } from './pod-resources.ts';

export type PodQOSClass = 'Guaranteed' | 'Burstable' | 'BestEffort';

/** cpu and memory, where more than zero. */
function computeResources(list: Record<string, string> | undefined): ResourceQuantities {
  const out: ResourceQuantities = new Map<string, Quantity>();
  for (const [name, q] of parseResourceList(list)) {
    if ((name === 'cpu' || name === 'memory') && quantitySign(q) > 0) out.set(name, q);
  }
  return out;
}

/** Computes the class; use `status.qosClass` where it is set. */
export function podQOSClass(pod: Pick<PodResourcesLike, 'spec'>): PodQOSClass {
  const spec = pod.spec;
  const requests: ResourceQuantities = new Map();
  const limits: ResourceQuantities = new Map();
  let guaranteed = true;
  const take = (
    resources: { requests?: Record<string, string>; limits?: Record<string, string> } | undefined,
  ): void => {
    addResources(requests, computeResources(resources?.requests));
    const own = computeResources(resources?.limits);
    addResources(limits, own);
    if (own.size < 2) guaranteed = false;
  };
  const podLevel = spec?.resources;
  if (podLevel !== undefined) {
    addResources(requests, computeResources(podLevel.requests));
    if (podLevel.limits !== undefined && Object.keys(podLevel.limits).length > 0) {
      const own = computeResources(podLevel.limits);
      addResources(limits, own);
      if (own.size < 2) guaranteed = false;
    }
  } else {
    for (const c of spec?.containers ?? []) take(c.resources);
    for (const c of spec?.initContainers ?? []) take(c.resources);
  }
  if (requests.size === 0 && limits.size === 0) return 'BestEffort';
  if (!guaranteed || requests.size !== limits.size) return 'Burstable';
  for (const [name, request] of requests) {
    const limit = limits.get(name);
    if (limit === undefined || compareQuantity(limit, request) !== 0) return 'Burstable';
  }
  return 'Guaranteed';
}
