/**
 * What an object uses of a ResourceQuota: pods (resources, scopes), services, claims of volumes and devices (by
 * class), and plain counts
 * (`count/deployments.apps`, `secrets`) of everything else. The quota controller counts by the same rules.
 */
import type { Quantity } from '../quantity.ts';
import { parseQuantity, newQuantity, quantityValue } from '../quantity.ts';
import type {
  PersistentVolumeClaim,
  Pod,
  PodAffinityTerm,
  ResourceQuota,
  ScopedResourceSelectorRequirement,
  Service,
} from '../types/core-v1.gen.ts';
import type { ResourceClaim } from '../types/resource-v1.gen.ts';
import { claimClass } from './persistent-volume-claims.ts';
import { podQOSClass } from './pod-qos.ts';
import { podLimits, podRequests } from './pod-resources.ts';
import { addInto, one, readResources, zero, type ResourceList } from './resource-list.ts';

type Json = Record<string, unknown>;
export type Scope = ScopedResourceSelectorRequirement;

export interface QuotaEvaluator {
  handles(operation: string, subresource: string, object: Json | undefined, old: Json | undefined): boolean;
  /** Of the quota's resources those that this kind uses. */
  matchingResources(names: readonly string[]): string[];
  matchesScope(scope: Scope, object: Json): boolean;
  /** What is missing of the resources that must be named; undefined when all is there. */
  constraint(required: readonly string[], object: Json): string | undefined;
  usage(object: Json, now: number): ResourceList;
}

export function quotaScopes(quota: ResourceQuota): Scope[] {
  return [
    ...(quota.spec?.scopes ?? []).map((scopeName): Scope => ({ scopeName, operator: 'Exists' }) as Scope),
    ...(quota.spec?.scopeSelector?.matchExpressions ?? []),
  ];
}

/** A scope requirement against the values an object has. */
function matchesValues(scope: Scope, values: readonly string[]): boolean {
  const wanted = scope.values ?? [];
  switch (scope.operator) {
    case 'In':
      return values.some((v) => wanted.includes(v));
    case 'NotIn':
      return values.length === 0 || values.some((v) => !wanted.includes(v));
    case 'Exists':
      return values.length > 0;
    case 'DoesNotExist':
      return values.length === 0;
  }
  return false;
}

const podNames = new Set([
  'count/pods',
  'cpu',
  'memory',
  'ephemeral-storage',
  'requests.cpu',
  'requests.memory',
  'requests.ephemeral-storage',
  'limits.cpu',
  'limits.memory',
  'limits.ephemeral-storage',
  'pods',
]);
const mustBeNamed = new Set(['cpu', 'memory', 'requests.cpu', 'requests.memory', 'limits.cpu', 'limits.memory']);

/** `requests.example.com/gpu`: an extended resource in a quota. */
function isExtendedQuotaName(name: string): boolean {
  if (!name.startsWith('requests.')) return false;
  if (name.startsWith('requests.deviceclass.resource.kubernetes.io/')) return true;
  return name.includes('/') && !name.includes('kubernetes.io/');
}

function isExtendedResource(name: string): boolean {
  return name.includes('/') && !name.includes('kubernetes.io/') && !name.startsWith('requests.');
}

function podUsage(requests: ResourceList, limits: ResourceList): ResourceList {
  const out: ResourceList = new Map([['pods', one]]);
  for (const name of ['cpu', 'memory', 'ephemeral-storage']) {
    const request = requests.get(name);
    if (request !== undefined) out.set(name, request).set(`requests.${name}`, request);
    const limit = limits.get(name);
    if (limit !== undefined) out.set(`limits.${name}`, limit);
  }
  for (const [name, q] of requests)
    if (name.startsWith('hugepages-')) out.set(name, q).set(`requests.${name}`, q);
    else if (isExtendedResource(name)) out.set(`requests.${name}`, q);
  return out;
}

function isTerminating(pod: Pod): boolean {
  const deadline = pod.spec?.activeDeadlineSeconds;
  return deadline !== undefined && deadline !== null && deadline >= 0;
}

function crossesNamespaces(pod: Pod): boolean {
  const crosses = (t: PodAffinityTerm | undefined): boolean =>
    (t?.namespaces ?? []).length > 0 || t?.namespaceSelector !== undefined;
  for (const affinity of [pod.spec?.affinity?.podAffinity, pod.spec?.affinity?.podAntiAffinity]) {
    if (affinity?.requiredDuringSchedulingIgnoredDuringExecution?.some(crosses)) return true;
    if (affinity?.preferredDuringSchedulingIgnoredDuringExecution?.some((w) => crosses(w.podAffinityTerm))) return true;
  }
  return false;
}

/** Finished pods, and those past their grace period, count as objects alone. */
function usesResources(pod: Pod, now: number): boolean {
  if (pod.status?.phase === 'Failed' || pod.status?.phase === 'Succeeded') return false;
  const { deletionTimestamp, deletionGracePeriodSeconds } = pod.metadata ?? {};
  if (deletionTimestamp !== undefined && deletionGracePeriodSeconds !== undefined)
    if (now > Date.parse(deletionTimestamp) + deletionGracePeriodSeconds * 1000) return false;
  return true;
}

function qosClass(pod: Pod): string {
  const known = pod.status?.qosClass ?? '';
  return known === '' ? podQOSClass(pod) : known;
}

/** Does the pod set cpu, memory or huge pages for itself as a whole? */
function hasPodLevelResources(pod: Pod): boolean {
  const r = pod.spec?.resources;
  return [...Object.keys(r?.requests ?? {}), ...Object.keys(r?.limits ?? {})].some(
    (name) => name === 'cpu' || name === 'memory' || name.startsWith('hugepages-'),
  );
}

const podEvaluator: QuotaEvaluator = {
  handles(operation, subresource, object, old) {
    if (subresource === 'resize') return operation === 'UPDATE';
    if (subresource !== '') return false;
    if (operation === 'CREATE') return true;
    return (
      operation === 'UPDATE' &&
      object !== undefined &&
      old !== undefined &&
      isTerminating(object as unknown as Pod) !== isTerminating(old as unknown as Pod)
    );
  },
  matchingResources: (names) =>
    names.filter(
      (n) =>
        podNames.has(n) || n.startsWith('hugepages-') || n.startsWith('requests.hugepages-') || isExtendedQuotaName(n),
    ),
  matchesScope(scope, object) {
    const pod = object as unknown as Pod;
    switch (scope.scopeName) {
      case 'Terminating':
        return isTerminating(pod);
      case 'NotTerminating':
        return !isTerminating(pod);
      case 'BestEffort':
        return qosClass(pod) === 'BestEffort';
      case 'NotBestEffort':
        return qosClass(pod) !== 'BestEffort';
      case 'PriorityClass': {
        const name = pod.spec?.priorityClassName ?? '';
        return matchesValues(scope, name === '' ? [] : [name]);
      }
      case 'CrossNamespacePodAffinity':
        return crossesNamespaces(pod);
    }
    return false;
  },
  constraint(required, object) {
    const pod = object as unknown as Pod;
    if (hasPodLevelResources(pod)) return undefined;
    const names = required.filter((n) => mustBeNamed.has(n));
    const missing = new Map<string, Set<string>>();
    for (const c of [...(pod.spec?.containers ?? []), ...(pod.spec?.initContainers ?? [])]) {
      const used = podUsage(
        readResources(c.resources?.requests as Record<string, string> | undefined),
        readResources(c.resources?.limits as Record<string, string> | undefined),
      );
      for (const name of names)
        if (!used.has(name)) {
          let containers = missing.get(name);
          if (containers === undefined) missing.set(name, (containers = new Set()));
          containers.add(c.name);
        }
    }
    if (missing.size === 0) return undefined;
    const parts = [...missing.keys()]
      .toSorted()
      .map((name) => `${name} for: ${[...missing.get(name)!].toSorted().join(',')}`);
    return `must specify ${parts.join('; ')}`;
  },
  usage(object, now) {
    const pod = object as unknown as Pod;
    const out: ResourceList = new Map([['count/pods', one]]);
    if (usesResources(pod, now)) addInto(out, podUsage(podRequests(pod), podLimits(pod)));
    return out;
  },
};

const serviceNames = ['count/services', 'services', 'services.nodeports', 'services.loadbalancers'];

const serviceEvaluator: QuotaEvaluator = {
  handles: (operation, subresource) => subresource === '' && (operation === 'CREATE' || operation === 'UPDATE'),
  matchingResources: (names) => names.filter((n) => serviceNames.includes(n)),
  matchesScope: () => false,
  constraint: () => undefined,
  usage(object) {
    const { spec } = object as unknown as Service;
    const ports = newQuantity((spec?.ports ?? []).length, 'DecimalSI');
    let nodePorts: Quantity = zero;
    if (spec?.type === 'NodePort') nodePorts = ports;
    else if (spec?.type === 'LoadBalancer')
      nodePorts =
        spec.allocateLoadBalancerNodePorts === false
          ? newQuantity((spec.ports ?? []).filter((p) => (p.nodePort ?? 0) !== 0).length, 'DecimalSI')
          : ports;
    return new Map([
      ['count/services', one],
      ['services', one],
      ['services.nodeports', nodePorts],
      ['services.loadbalancers', spec?.type === 'LoadBalancer' ? one : zero],
    ]);
  },
};

const claimNames = ['persistentvolumeclaims', 'requests.storage'];
const classSuffix = '.storageclass.storage.k8s.io/';

function attributeClasses(pvc: PersistentVolumeClaim): string[] {
  const modify = pvc.status?.modifyVolumeStatus?.targetVolumeAttributesClassName;
  const names = [pvc.spec?.volumeAttributesClassName, pvc.status?.currentVolumeAttributesClassName, modify];
  return [...new Set(names.filter((n) => n !== undefined && n !== ''))] as string[];
}

function claimStorage(pvc: PersistentVolumeClaim): Quantity | undefined {
  const text = pvc.spec?.resources?.requests?.['storage'];
  if (text === undefined) return undefined;
  let size = parseQuantity(text as string);
  const allocated = pvc.status?.allocatedResources?.['storage'];
  if (allocated !== undefined) {
    const q = parseQuantity(allocated as string);
    if (quantityValue(q) > quantityValue(size)) size = q;
  }
  return size;
}

const claimEvaluator: QuotaEvaluator = {
  handles(operation, subresource, object, old) {
    if (subresource === '') return operation === 'CREATE' || operation === 'UPDATE';
    if (subresource !== 'status' || object === undefined || old === undefined) return false;
    const [a, b] = [object, old] as unknown as PersistentVolumeClaim[];
    return (
      a!.status?.allocatedResources?.['storage'] !== b!.status?.allocatedResources?.['storage'] ||
      attributeClasses(a!).toSorted().join() !== attributeClasses(b!).toSorted().join()
    );
  },
  matchingResources: (names) =>
    names.filter(
      (n) =>
        n === 'count/persistentvolumeclaims' ||
        claimNames.includes(n) ||
        claimNames.some((r) => n.endsWith(`${classSuffix}${r}`)),
    ),
  matchesScope: (scope, object) =>
    scope.scopeName === 'VolumeAttributesClass' &&
    matchesValues(scope, attributeClasses(object as unknown as PersistentVolumeClaim)),
  constraint: () => undefined,
  usage(object) {
    const pvc = object as unknown as PersistentVolumeClaim;
    const out: ResourceList = new Map([
      ['persistentvolumeclaims', one],
      ['count/persistentvolumeclaims', one],
    ]);
    const sc = claimClass(pvc);
    if (sc !== '') out.set(`${sc}${classSuffix}persistentvolumeclaims`, one);
    const size = claimStorage(pvc);
    if (size !== undefined) {
      out.set('requests.storage', size);
      if (sc !== '') out.set(`${sc}${classSuffix}requests.storage`, size);
    }
    return out;
  },
};

const deviceClaims = 'count/resourceclaims.resource.k8s.io';
const devicesOfClass = '.deviceclass.resource.k8s.io/devices';
/** As many devices as a claim can have at most, for those that ask for all. */
const mostDevices = 32;

/** ResourceClaims are counted, and so are the devices that they ask for, by class (KEP-4381). */
const deviceClaimEvaluator: QuotaEvaluator = {
  handles: (operation, subresource) => subresource === '' && (operation === 'CREATE' || operation === 'UPDATE'),
  matchingResources: (names) => names.filter((n) => n === deviceClaims || n.endsWith(devicesOfClass)),
  matchesScope: () => false,
  constraint: () => undefined,
  usage(object) {
    const out: ResourceList = new Map([[deviceClaims, one]]);
    const { spec } = object as unknown as ResourceClaim;
    const count = (r: { allocationMode?: string; count?: number | bigint }): number =>
      r.allocationMode === 'ExactCount' ? Number(r.count ?? 0) : r.allocationMode === 'All' ? mostDevices : 0;
    for (const { exactly, firstAvailable } of spec.devices?.requests ?? []) {
      // Of alternatives the worst counts, for each class by itself.
      const most = new Map<string, number>();
      for (const r of (firstAvailable ?? []).length > 0 ? firstAvailable! : exactly === undefined ? [] : [exactly])
        most.set(r.deviceClassName, Math.max(most.get(r.deviceClassName) ?? 0, count(r)));
      addInto(out, new Map([...most].map(([name, n]) => [`${name}${devicesOfClass}`, newQuantity(n, 'DecimalSI')])));
    }
    return out;
  },
};

const aliases: Readonly<Record<string, string>> = {
  '/configmaps': 'configmaps',
  '/resourcequotas': 'resourcequotas',
  '/replicationcontrollers': 'replicationcontrollers',
  '/secrets': 'secrets',
};

function countEvaluator(group: string, resource: string): QuotaEvaluator {
  const names = [group === '' ? `count/${resource}` : `count/${resource}.${group}`];
  const alias = aliases[`${group}/${resource}`];
  if (alias !== undefined) names.push(alias);
  const usage: ResourceList = new Map(names.map((n) => [n, one]));
  return {
    handles: (operation, subresource) => subresource === '' && operation === 'CREATE',
    matchingResources: (wanted) => wanted.filter((n) => names.includes(n)),
    matchesScope: () => false,
    constraint: () => undefined,
    usage: () => usage,
  };
}

const ignored: ReadonlySet<string> = new Set([
  '/bindings',
  '/componentstatuses',
  '/events',
  'events.k8s.io/events',
  'authentication.k8s.io/tokenreviews',
  'authentication.k8s.io/selfsubjectreviews',
  'authorization.k8s.io/subjectaccessreviews',
  'authorization.k8s.io/selfsubjectaccessreviews',
  'authorization.k8s.io/localsubjectaccessreviews',
  'authorization.k8s.io/selfsubjectrulesreviews',
]);

/** The evaluator of a resource; undefined for those that quota does not know. */
export function quotaEvaluator(group: string, resource: string): QuotaEvaluator | undefined {
  if (ignored.has(`${group}/${resource}`)) return undefined;
  if (group === '') {
    if (resource === 'pods') return podEvaluator;
    if (resource === 'services') return serviceEvaluator;
    if (resource === 'persistentvolumeclaims') return claimEvaluator;
  }
  if (group === 'resource.k8s.io' && resource === 'resourceclaims') return deviceClaimEvaluator;
  return countEvaluator(group, resource);
}
