/** Which Services a pod belongs to, and what of a pod matters to endpoints. */
import { deepEqual } from '../../api/helpers/deep-equal.ts';
import { isPodReady, isPodTerminal } from '../../api/helpers/pod-status.ts';
import type { Labels } from '../../api/selector.ts';
import type { Pod, Service, ServicePort } from '../../api/types/index.gen.ts';
import { keyOf } from '../../client/lister.ts';
import type { Lister } from '../../client/lister.ts';

/** A plain label map selects what has all of it; an empty one selects everything. */
export function selects(selector: Labels, labels: Labels | undefined): boolean {
  for (const k in selector) if (labels?.[k] !== selector[k]) return false;
  return true;
}

function servicesOf(services: Lister<Service>, namespace: string | undefined, labels: Labels | undefined): Set<string> {
  const out = new Set<string>();
  for (const s of services.list(namespace)) {
    if (s.spec?.selector !== undefined && selects(s.spec.selector, labels)) out.add(keyOf(s));
  }
  return out;
}

/** Keys of the Services whose endpoints an event of a pod may change. */
export function servicesToUpdate(services: Lister<Service>, old: Pod | undefined, pod: Pod | undefined): Set<string> {
  const any = pod ?? old!;
  const { namespace } = any.metadata;
  if (old === undefined || pod === undefined) return servicesOf(services, namespace, any.metadata.labels);
  const changed = endpointChanged(old, pod);
  const relabeled =
    !deepEqual(old.metadata.labels, pod.metadata.labels) ||
    old.spec?.hostname !== pod.spec?.hostname ||
    old.spec?.subdomain !== pod.spec?.subdomain;
  if (!changed && !relabeled) return new Set();
  const now = servicesOf(services, namespace, pod.metadata.labels);
  if (!relabeled) return now;
  const before = servicesOf(services, namespace, old.metadata.labels);
  return changed ? now.union(before) : now.symmetricDifference(before);
}

function endpointChanged(old: Pod, pod: Pod): boolean {
  if (old.metadata.deletionTimestamp !== pod.metadata.deletionTimestamp) return true;
  if (isPodReady(old) !== isPodReady(pod) || isPodTerminal(old) !== isPodTerminal(pod)) return true;
  const a = old.status?.podIPs ?? [];
  const b = pod.status?.podIPs ?? [];
  return a.length !== b.length || a.some((ip, i) => ip.ip !== b[i]!.ip) || old.status?.podIP !== pod.status?.podIP;
}

/** The pod has an address and has not ended. */
export function hasEndpoint(pod: Pod, includeTerminating: boolean): boolean {
  if (isPodTerminal(pod)) return false;
  if ((pod.status?.podIP ?? '') === '' && (pod.status?.podIPs ?? []).length === 0) return false;
  return includeTerminating || pod.metadata.deletionTimestamp === undefined;
}

/** The pod's name in the Service's domain is its host name. */
export function hasHostname(pod: Pod, service: Service): boolean {
  return (
    (pod.spec?.hostname ?? '') !== '' &&
    pod.spec?.subdomain === service.metadata.name &&
    pod.metadata.namespace === service.metadata.namespace
  );
}

/** The number of a Service's target port in this pod; undefined when its named port does not exist there. */
export function findPort(pod: Pod, port: ServicePort): number | undefined {
  const target = port.targetPort;
  if (typeof target === 'number') return target;
  if (target === undefined) return port.port;
  const protocol = port.protocol ?? 'TCP';
  const sidecars = (pod.spec?.initContainers ?? []).filter((c) => c.restartPolicy === 'Always');
  for (const c of [...(pod.spec?.containers ?? []), ...sidecars]) {
    for (const p of c.ports ?? []) {
      if (p.name === target && (p.protocol ?? 'TCP') === protocol) return p.containerPort;
    }
  }
  return undefined;
}

/** The pod's addresses, all families. */
export function podAddresses(pod: Pod): string[] {
  const ips = (pod.status?.podIPs ?? []).map((p) => p.ip).filter((ip): ip is string => ip !== undefined && ip !== '');
  if (ips.length > 0) return ips;
  const { podIP } = pod.status ?? {};
  return podIP === undefined || podIP === '' ? [] : [podIP];
}

/** Has a cluster IP: neither headless nor external. */
export const hasClusterIP = (s: Service): boolean =>
  s.spec?.clusterIP !== undefined && s.spec.clusterIP !== '' && s.spec.clusterIP !== 'None';

/**
 * When the change happened that endpoints are written for: the Service's creation at first, later the earliest of the pods'
 * readiness changes since the last time (the annotation endpoints.kubernetes.io/last-change-trigger-time).
 */
export class TriggerTimes {
  readonly #services = new Map<string, { service: string; pods: Map<string, string> }>();

  compute(service: Service, pods: readonly Pod[]): string | undefined {
    const key = keyOf(service);
    const state = this.#services.get(key);
    const created = service.metadata.creationTimestamp ?? '';
    const times = new Map<string, string>();
    let earliest: string | undefined;
    const consider = (time: string): void => {
      if (earliest === undefined || time < earliest) earliest = time;
    };
    for (const pod of pods) {
      const time = pod.status?.conditions?.find((c) => c.type === 'Ready')?.lastTransitionTime;
      if (time === undefined) continue;
      times.set(pod.metadata.name!, time);
      if (time > (state?.pods.get(pod.metadata.name!) ?? '')) consider(time);
    }
    if (created > (state?.service ?? '')) consider(created);
    this.#services.set(key, { service: created, pods: times });
    return state === undefined ? created : earliest;
  }

  delete(key: string): void {
    this.#services.delete(key);
  }
}

/** Below this size a Service follows each change of a pod at once. */
const largeService = 100;
const maxDelayMs = 1000;

/** How long a Service waits for further changes of its pods: the more it has, the dearer each look at all of them. */
export function batchDelayMs(pods: number): number {
  return pods <= largeService ? 0 : Math.min(pods / 40, maxDelayMs);
}
