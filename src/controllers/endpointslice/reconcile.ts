/**
 * From a Service's pods to its EndpointSlices: which endpoints there are, and how few slices have to change for that (upstream's
 * endpointslice reconciler). Pure functions; nothing is written here.
 */
import { isIP, isIPv6 } from 'node:net';
import { deepEqual } from '../../api/helpers/deep-equal.ts';
import { newControllerRef } from '../../api/helpers/owner-references.ts';
import { isPodReady } from '../../api/helpers/pod-status.ts';
import type {
  DiscoveryV1EndpointPort as EndpointPort,
  Endpoint,
  EndpointSlice,
  Node,
  Pod,
  Service,
} from '../../api/types/index.gen.ts';
import { resources } from '../../client/resources.ts';
import { findPort, hasClusterIP, hasEndpoint, hasHostname, podAddresses } from './services.ts';

export const serviceNameLabel = 'kubernetes.io/service-name';
export const managedByLabel = 'endpointslice.kubernetes.io/managed-by';
export const headlessLabel = 'service.kubernetes.io/headless';
const zoneLabel = 'topology.kubernetes.io/zone';
const reserved = new Set([serviceNameLabel, managedByLabel, headlessLabel]);

export type AddressType = 'IPv4' | 'IPv6';

/** What has to be written. Slices to create have no name yet. */
export interface SliceChanges {
  readonly create: EndpointSlice[];
  readonly update: EndpointSlice[];
  readonly remove: EndpointSlice[];
}

export interface SliceInput {
  readonly service: Service;
  readonly pods: readonly Pod[];
  readonly existing: readonly EndpointSlice[];
  readonly node: (name: string) => Node | undefined;
  readonly maxEndpoints: number;
  readonly controllerName: string;
  readonly cache?: EndpointCache;
}

interface CachedEndpoint {
  readonly zone: string | undefined;
  readonly ports: EndpointPort[];
  readonly portsKey: string;
  readonly endpoint: Endpoint | undefined;
  readonly key: string;
}

/** What was made of a pod for a Service in a family, as long as pod and Service are the very same objects. */
export class EndpointCache {
  readonly #families = {
    IPv4: new WeakMap<Service, WeakMap<Pod, CachedEndpoint>>(),
    IPv6: new WeakMap<Service, WeakMap<Pod, CachedEndpoint>>(),
  };

  get(service: Service, pod: Pod, node: Node | undefined, type: AddressType): CachedEndpoint {
    const family = this.#families[type];
    let pods = family.get(service);
    if (pods === undefined) {
      pods = new WeakMap();
      family.set(service, pods);
    }
    const zone = node?.metadata.labels?.[zoneLabel];
    const cached = pods.get(pod);
    if (cached !== undefined && cached.zone === zone) return cached;
    const ports = endpointPorts(service, pod);
    const endpoint = podToEndpoint(pod, node, service, type);
    const made = {
      zone,
      ports,
      portsKey: portKey(ports),
      endpoint,
      key: endpoint === undefined ? '' : endpointKey(endpoint),
    };
    pods.set(pod, made);
    return made;
  }
}

/** Families for which the Service gets slices. */
function addressTypes(service: Service): AddressType[] {
  const families = (service.spec?.ipFamilies ?? []).filter((f): f is AddressType => f === 'IPv4' || f === 'IPv6');
  if (families.length > 0) return families;
  const ip = service.spec?.clusterIP ?? '';
  if (hasClusterIP(service)) return [isIPv6(ip) ? 'IPv6' : 'IPv4'];
  return ['IPv4', 'IPv6'];
}

const portKey = (ports: readonly EndpointPort[]): string =>
  ports
    .map((p) => JSON.stringify([p.name ?? '', p.protocol ?? 'TCP', p.port ?? null, p.appProtocol ?? null]))
    .toSorted()
    .join(';');

/** Endpoints with equal addresses, target, host name are one and the same. */
function endpointKey(e: Endpoint): string {
  return JSON.stringify([
    e.addresses,
    e.hostname ?? '',
    e.targetRef?.kind,
    e.targetRef?.namespace,
    e.targetRef?.name,
    e.targetRef?.uid,
  ]);
}

function sameBeyondKey(a: Endpoint, b: Endpoint): boolean {
  return (
    a.nodeName === b.nodeName &&
    a.zone === b.zone &&
    a.conditions?.ready === b.conditions?.ready &&
    a.conditions?.serving === b.conditions?.serving &&
    a.conditions?.terminating === b.conditions?.terminating
  );
}

/** The endpoint of a pod in one family; undefined when it has no address there. */
function podToEndpoint(pod: Pod, node: Node | undefined, service: Service, type: AddressType): Endpoint | undefined {
  const addresses = podAddresses(pod).filter((ip) => isIP(ip) === (type === 'IPv6' ? 6 : 4));
  if (addresses.length === 0) return undefined;
  const serving = isPodReady(pod);
  const terminating = pod.metadata.deletionTimestamp !== undefined;
  const nodeName = pod.spec?.nodeName;
  const zone = node?.metadata.labels?.[zoneLabel];
  return {
    addresses,
    conditions: {
      ready: service.spec?.publishNotReadyAddresses === true || (serving && !terminating),
      serving,
      terminating,
    },
    ...(hasHostname(pod, service) ? { hostname: pod.spec!.hostname! } : {}),
    targetRef: {
      kind: 'Pod',
      namespace: pod.metadata.namespace!,
      name: pod.metadata.name!,
      uid: pod.metadata.uid!,
    },
    ...(nodeName === undefined || nodeName === '' ? {} : { nodeName }),
    ...(zone === undefined || zone === '' ? {} : { zone }),
  };
}

function endpointPorts(service: Service, pod: Pod): EndpointPort[] {
  const out: EndpointPort[] = [];
  for (const p of service.spec?.ports ?? []) {
    const port = findPort(pod, p);
    if (port === undefined) continue;
    out.push({
      name: p.name ?? '',
      protocol: p.protocol ?? 'TCP',
      port,
      ...(p.appProtocol === undefined ? {} : { appProtocol: p.appProtocol }),
    });
  }
  return out;
}

/** A slice's labels: the Service's, with the reserved ones set by us. */
function sliceLabels(service: Service, controllerName: string): Record<string, string> {
  const labels: Record<string, string> = {};
  for (const [k, v] of Object.entries(service.metadata.labels ?? {})) if (!reserved.has(k)) labels[k] = v;
  if (!hasClusterIP(service)) labels[headlessLabel] = '';
  labels[serviceNameLabel] = service.metadata.name!;
  labels[managedByLabel] = controllerName;
  return labels;
}

const withoutReserved = (labels: Readonly<Record<string, string>> | undefined): Record<string, string> =>
  Object.fromEntries(Object.entries(labels ?? {}).filter(([k]) => !reserved.has(k)));

function newSlice(input: SliceInput, ports: EndpointPort[], type: AddressType): EndpointSlice {
  const { service, controllerName } = input;
  const name = service.metadata.name!;
  return {
    metadata: {
      generateName: name.length > 252 ? name : `${name}-`,
      namespace: service.metadata.namespace,
      labels: sliceLabels(service, controllerName),
      ownerReferences: [newControllerRef(service, resources.core.services)],
    },
    addressType: type,
    endpoints: [],
    ports,
  };
}

const ownedBy = (slice: EndpointSlice, service: Service): boolean =>
  (slice.metadata.ownerReferences ?? []).some(
    (o) => o.uid === service.metadata.uid && o.kind === 'Service' && o.apiVersion === 'v1',
  );

/** All changes for all families. `missingNodes`: pods left out because their node is unknown. */
export function reconcileSlices(input: SliceInput): SliceChanges & { readonly missingNodes: string[] } {
  const types = addressTypes(input.service);
  const out: SliceChanges & { missingNodes: string[] } = { create: [], update: [], remove: [], missingNodes: [] };
  for (const s of input.existing) if (!types.includes(s.addressType as AddressType)) out.remove.push(s);
  for (const type of types) {
    const existing = input.existing.filter((s) => s.addressType === type);
    reconcileType({ ...input, existing }, type, out);
  }
  return out;
}

function reconcileType(input: SliceInput, type: AddressType, out: SliceChanges & { missingNodes: string[] }): void {
  const { service, existing } = input;
  const changes: SliceChanges = { create: [], update: [], remove: [] };
  const byPorts = new Map<string, EndpointSlice[]>();
  for (const s of existing) {
    if (!ownedBy(s, service)) {
      changes.remove.push(s);
      continue;
    }
    const key = portKey(s.ports ?? []);
    byPorts.set(key, [...(byPorts.get(key) ?? []), s]);
  }
  const desired = new Map<string, { ports: EndpointPort[]; endpoints: Map<string, Endpoint> }>();
  const cache = input.cache ?? new EndpointCache();
  for (const pod of input.pods) {
    if (!hasEndpoint(pod, true)) continue;
    const nodeName = pod.spec?.nodeName ?? '';
    const node = input.node(nodeName);
    const { ports, portsKey, endpoint, key } = cache.get(service, pod, node, type);
    let group = desired.get(portsKey);
    if (group === undefined) {
      group = { ports, endpoints: new Map() };
      desired.set(portsKey, group);
    }
    if (node === undefined && service.spec?.publishNotReadyAddresses !== true) {
      out.missingNodes.push(
        `skipping Pod ${pod.metadata.name} for Service ${service.metadata.namespace}/${service.metadata.name}: Node ${nodeName} Not Found`,
      );
      continue;
    }
    if (endpoint !== undefined) group.endpoints.set(key, endpoint);
  }
  for (const [key, group] of desired) fitPorts(input, type, byPorts.get(key) ?? [], group, changes);
  for (const [key, slices] of byPorts) if (!desired.has(key)) changes.remove.push(...slices);

  // A Service without endpoints has one empty slice all the same.
  if (existing.length === changes.remove.length && changes.create.length === 0) {
    const placeholder = newSlice(input, [], type);
    const only = changes.remove.length === 1 ? changes.remove[0]! : undefined;
    const same =
      only !== undefined &&
      ownedBy(only, service) &&
      (only.endpoints ?? []).length === 0 &&
      (only.ports ?? []).length === 0 &&
      deepEqual(only.metadata.labels, placeholder.metadata.labels);
    if (same) changes.remove.length = 0;
    else changes.create.push(placeholder);
  }
  addHints(service, existing, changes);
  reuse(service, type, changes);
  out.create.push(...changes.create);
  out.update.push(...changes.update);
  out.remove.push(...changes.remove);
}

/** First existing slices lose and renew endpoints, then changed ones are filled, then an unchanged one, then new ones. */
function fitPorts(
  input: SliceInput,
  type: AddressType,
  existing: readonly EndpointSlice[],
  group: { ports: EndpointPort[]; endpoints: Map<string, Endpoint> },
  changes: SliceChanges,
): void {
  const left = new Map(group.endpoints);
  const labels = sliceLabels(input.service, input.controllerName);
  const unchanged: EndpointSlice[] = [];
  const updated: EndpointSlice[] = [];
  for (const slice of existing) {
    const endpoints: Endpoint[] = [];
    let changed = false;
    for (const e of slice.endpoints ?? []) {
      const key = endpointKey(e);
      const wanted = left.get(key);
      if (wanted === undefined) continue;
      left.delete(key);
      if (sameBeyondKey(wanted, e)) endpoints.push(e);
      else {
        endpoints.push(wanted);
        changed = true;
      }
    }
    const relabel = !deepEqual(withoutReserved(slice.metadata.labels), withoutReserved(labels));
    if (changed || endpoints.length !== (slice.endpoints ?? []).length) {
      if (endpoints.length === 0) changes.remove.push(slice);
      else updated.push({ ...slice, metadata: { ...slice.metadata, labels }, endpoints });
    } else if (relabel) updated.push({ ...slice, metadata: { ...slice.metadata, labels }, endpoints });
    else unchanged.push(slice);
  }
  const take = (slice: EndpointSlice): void => {
    const endpoints = slice.endpoints!;
    for (const [key, e] of left) {
      if (endpoints.length >= input.maxEndpoints) return;
      endpoints.push(e);
      left.delete(key);
    }
  };
  updated.sort((a, b) => (b.endpoints ?? []).length - (a.endpoints ?? []).length);
  for (const slice of updated) take(slice);
  while (left.size > 0) {
    const fit = left.size < input.maxEndpoints ? sliceToFill(unchanged, left.size, input.maxEndpoints) : undefined;
    if (fit === undefined) {
      const slice = newSlice(input, group.ports, type);
      take(slice);
      changes.create.push(slice);
    } else {
      unchanged.splice(unchanged.indexOf(fit), 1);
      const slice = { ...fit, metadata: { ...fit.metadata, labels }, endpoints: [...(fit.endpoints ?? [])] };
      take(slice);
      updated.push(slice);
    }
  }
  changes.update.push(...updated);
}

/** The slice that will be nearest to full with `count` more. */
function sliceToFill(slices: readonly EndpointSlice[], count: number, max: number): EndpointSlice | undefined {
  let best: EndpointSlice | undefined;
  let least = max;
  for (const s of slices) {
    const diff = max - (count + (s.endpoints ?? []).length);
    if (diff >= 0 && diff < least) {
      least = diff;
      best = s;
    }
  }
  return best;
}

/** Instead of deleting one slice and creating another, the one is rewritten. */
function reuse(service: Service, type: AddressType, changes: SliceChanges): void {
  for (let i = 0; i < changes.remove.length && changes.create.length > 0;) {
    const old = changes.remove[i]!;
    if (old.addressType !== type || !ownedBy(old, service)) {
      i++;
      continue;
    }
    const fresh = changes.create.pop()!;
    changes.update.push({
      ...fresh,
      metadata: {
        ...old.metadata,
        labels: fresh.metadata.labels,
        ownerReferences: fresh.metadata.ownerReferences,
      },
    });
    changes.remove.splice(i, 1);
  }
}

const preferClose = new Set(['PreferClose', 'PreferSameZone', 'PreferSameNode']);

/** spec.trafficDistribution: each ready endpoint is hinted to its own zone (and node), or no hints at all. */
function addHints(service: Service, existing: readonly EndpointSlice[], changes: SliceChanges): void {
  const wish = service.spec?.trafficDistribution;
  const close = wish !== undefined && preferClose.has(wish);
  const sameNode = wish === 'PreferSameNode';
  const hinted = (e: Endpoint): Endpoint => {
    const { hints, ...plain } = e;
    if (!close) return hints === undefined ? e : plain;
    if (e.conditions?.ready !== true) return e;
    const forZones = e.zone === undefined ? undefined : [{ name: e.zone }];
    const forNodes = sameNode && e.nodeName !== undefined ? [{ name: e.nodeName }] : undefined;
    const wanted =
      forZones === undefined && forNodes === undefined
        ? undefined
        : { ...(forZones === undefined ? {} : { forZones }), ...(forNodes === undefined ? {} : { forNodes }) };
    if (deepEqual(hints, wanted)) return e;
    return wanted === undefined ? plain : { ...plain, hints: wanted };
  };
  const apply = (slice: EndpointSlice): EndpointSlice => {
    const endpoints = (slice.endpoints ?? []).map(hinted);
    return endpoints.every((e, i) => e === slice.endpoints![i]) ? slice : { ...slice, endpoints };
  };
  const touched = new Set([...changes.update, ...changes.remove].map((s) => s.metadata.name));
  for (const list of [changes.create, changes.update]) for (const [i, s] of list.entries()) list[i] = apply(s);
  for (const s of existing) {
    if (touched.has(s.metadata.name)) continue;
    const changed = apply(s);
    if (changed !== s) changes.update.push(changed);
  }
}
