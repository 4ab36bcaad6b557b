/**
 * One port of a Service with its endpoints, and which of them take traffic: traffic policies, terminating endpoints and topology
 * hints by upstream's rules (pkg/proxy/topology.go). Immutable: a change makes a new one.
 */
import { formatIp, parseCidr, parseIp } from '../base/ip.ts';
import { deepEqual } from '../api/helpers/deep-equal.ts';
import type { EndpointSlice, Service } from '../api/types/index.gen.ts';
import type { Frontend, FrontendKind, ProxyEndpoint, ProxyProtocol } from './backend.ts';

/** An endpoint with what decides whether it is used. */
export interface TrackedEndpoint extends ProxyEndpoint {
  readonly node: string;
  readonly ready: boolean;
  readonly serving: boolean;
  readonly terminating: boolean;
  readonly zoneHints: readonly string[];
  readonly nodeHints: readonly string[];
}

export interface ServicePort {
  /** `namespace/name:port name`. */
  readonly name: string;
  readonly family: 4 | 6;
  readonly clusterIP: string;
  readonly port: number;
  readonly protocol: ProxyProtocol;
  readonly nodePort: number;
  readonly externalIPs: readonly string[];
  readonly loadBalancerIPs: readonly string[];
  readonly sourceRanges: readonly string[];
  readonly affinitySeconds: number;
  readonly internalPolicyLocal: boolean;
  readonly externalPolicyLocal: boolean;
  /** Where balancers ask whether this node has an endpoint; 0 for nowhere. */
  readonly healthCheckNodePort: number;
  /** In the order of their addresses. */
  readonly endpoints: readonly TrackedEndpoint[];
}

/** Where a decision is made: the node of the proxy, or of the caller. */
export interface Location {
  readonly node: string | undefined;
  readonly zone: string | undefined;
}

const canonical = (address: string): string | undefined => {
  const ip = parseIp(address);
  return ip === undefined ? undefined : formatIp(ip);
};

const familyOf = (address: string): 4 | 6 => (address.includes(':') ? 6 : 4);

function ofFamily(addresses: readonly (string | undefined)[], family: 4 | 6): string[] {
  const out: string[] = [];
  for (const a of addresses) {
    const ip = a === undefined ? undefined : canonical(a);
    if (ip !== undefined && familyOf(ip) === family && !out.includes(ip)) out.push(ip);
  }
  return out;
}

/** The endpoints of a Service by address family and port name, from all of its slices. */
function endpointsOf(slices: Iterable<EndpointSlice>): Map<string, Map<string, TrackedEndpoint>> {
  const out = new Map<string, Map<string, TrackedEndpoint>>();
  for (const slice of slices) {
    if (slice.addressType !== 'IPv4' && slice.addressType !== 'IPv6') continue;
    const family = slice.addressType === 'IPv4' ? 4 : 6;
    for (const port of slice.ports ?? []) {
      if (port.name === undefined || port.port === undefined || port.port === 0) continue;
      const key = `${family}/${port.protocol ?? 'TCP'}/${port.name}`;
      let known = out.get(key);
      if (known === undefined) out.set(key, (known = new Map()));
      for (const e of slice.endpoints ?? []) {
        const address = e.addresses[0] === undefined ? undefined : canonical(e.addresses[0]);
        if (address === undefined) continue;
        const c = e.conditions;
        const endpoint: TrackedEndpoint = {
          address,
          port: port.port,
          node: e.nodeName ?? '',
          ready: c?.ready ?? true,
          serving: c?.serving ?? true,
          terminating: c?.terminating ?? false,
          zoneHints: (e.hints?.forZones ?? []).map((z) => z.name),
          nodeHints: (e.hints?.forNodes ?? []).map((n) => n.name),
        };
        // The same address twice: a pod that took over the address of one that is ending.
        const at = `${address}:${port.port}`;
        if (!known.has(at) || !endpoint.terminating) known.set(at, endpoint);
      }
    }
  }
  return out;
}

/** True for a Service that is not the proxy's: headless, ExternalName, or not given an address yet. */
function isSkipped(service: Service): boolean {
  const ip = service.spec?.clusterIP ?? '';
  return ip === '' || ip === 'None' || service.spec?.type === 'ExternalName';
}

/** The ports of a Service, once per address family that it has. */
export function servicePorts(service: Service, slices: Iterable<EndpointSlice>): ServicePort[] {
  if (isSkipped(service)) return [];
  const spec = service.spec!;
  const endpoints = endpointsOf(slices);
  const ingress = (service.status?.loadBalancer?.ingress ?? []).filter((i) => (i.ipMode ?? 'VIP') === 'VIP');
  const external = spec.type === 'LoadBalancer' || spec.type === 'NodePort' || (spec.externalIPs ?? []).length > 0;
  // As upstream's NeedsHealthCheck.
  const healthChecked = spec.type === 'LoadBalancer' && spec.externalTrafficPolicy === 'Local';
  const out: ServicePort[] = [];
  for (const clusterIP of spec.clusterIPs ?? [spec.clusterIP!]) {
    const address = canonical(clusterIP);
    if (address === undefined) continue;
    const family = familyOf(address);
    const ranges = (spec.loadBalancerSourceRanges ?? [])
      .map((r) => parseCidr(r.trim()))
      .filter((c) => c !== undefined && c.family === family)
      .map((c) => `${formatIp({ family, value: c!.base })}/${c!.prefix}`);
    for (const port of spec.ports ?? []) {
      const protocol = (port.protocol ?? 'TCP') as ProxyProtocol;
      const name = port.name ?? '';
      const tracked = [...(endpoints.get(`${family}/${protocol}/${name}`)?.values() ?? [])];
      tracked.sort((a, b) => (a.address < b.address ? -1 : a.address > b.address ? 1 : a.port - b.port));
      out.push({
        name: `${service.metadata.namespace ?? ''}/${service.metadata.name ?? ''}${name === '' ? '' : `:${name}`}`,
        family,
        clusterIP: address,
        port: port.port,
        protocol,
        nodePort: port.nodePort ?? 0,
        externalIPs: ofFamily(spec.externalIPs ?? [], family),
        loadBalancerIPs: ofFamily(
          ingress.map((i) => i.ip),
          family,
        ),
        sourceRanges: ranges.some((r) => r.endsWith('/0')) ? [] : ranges,
        affinitySeconds:
          spec.sessionAffinity === 'ClientIP' ? (spec.sessionAffinityConfig?.clientIP?.timeoutSeconds ?? 10_800) : 0,
        internalPolicyLocal: spec.internalTrafficPolicy === 'Local',
        externalPolicyLocal: external && spec.externalTrafficPolicy === 'Local',
        healthCheckNodePort: healthChecked ? (spec.healthCheckNodePort ?? 0) : 0,
        endpoints: tracked,
      });
    }
  }
  return out;
}

type TopologyMode = 'any' | 'node' | 'zone';

/** Hints count only when every ready endpoint has them and one is for here. */
function topologyMode(endpoints: readonly TrackedEndpoint[], at: Location): TopologyMode {
  let ready = false;
  let forNode = false;
  let allNode = true;
  let forZone = false;
  let allZone = true;
  for (const e of endpoints) {
    if (!e.ready) continue;
    ready = true;
    if (e.nodeHints.length === 0) allNode = false;
    else if (at.node !== undefined && e.nodeHints.includes(at.node)) forNode = true;
    if (e.zoneHints.length === 0) allZone = false;
    else if (at.zone !== undefined && e.zoneHints.includes(at.zone)) forZone = true;
  }
  if (ready && allNode && forNode) return 'node';
  if (ready && allZone && forZone) return 'zone';
  return 'any';
}

const isDraining = (e: TrackedEndpoint): boolean => e.serving && e.terminating;

/** Endpoints by the policy Cluster: the ready ones near by hints, or those that still serve while they end when none is ready. */
export function clusterEndpoints(port: ServicePort, at: Location): readonly TrackedEndpoint[] {
  const mode = topologyMode(port.endpoints, at);
  const ready = port.endpoints.filter(
    (e) =>
      e.ready &&
      (mode === 'any' || (mode === 'node' ? e.nodeHints.includes(at.node ?? '') : e.zoneHints.includes(at.zone ?? ''))),
  );
  return ready.length > 0 ? ready : port.endpoints.filter(isDraining);
}

/** Endpoints by the policy Local: those of the node itself. */
export function localEndpoints(port: ServicePort, node: string | undefined): readonly TrackedEndpoint[] {
  const local = port.endpoints.filter((e) => node !== undefined && e.node === node);
  const ready = local.filter((e) => e.ready);
  return ready.length > 0 ? ready : local.filter(isDraining);
}

/** Whether the Service has an endpoint anywhere that takes traffic. */
export function hasAnyEndpoint(port: ServicePort): boolean {
  return port.endpoints.some((e) => e.ready || isDraining(e));
}

/** The same whoever asks: no policy and no hint depends on the place. */
export function isPlaceless(port: ServicePort): boolean {
  return (
    !port.internalPolicyLocal &&
    !port.externalPolicyLocal &&
    port.endpoints.every((e) => e.zoneHints.length === 0 && e.nodeHints.length === 0)
  );
}

/** How the frontend of a node port names the node's addresses of a family. */
export function nodePortAddress(family: 4 | 6): string {
  return family === 4 ? '' : '::';
}

/** Addresses of its ready endpoints on a node: what a health check port reports. */
export function localReadyAddresses(ports: readonly ServicePort[], node: string | undefined): number {
  const found = new Set<string>();
  for (const port of ports)
    for (const e of port.endpoints) if (e.ready && node !== undefined && e.node === node) found.add(e.address);
  return found.size;
}

/** Everything that the port is reached at, as seen from a node. */
export function frontends(port: ServicePort, at: Location): Frontend[] {
  const cluster = clusterEndpoints(port, at);
  const local = port.internalPolicyLocal || port.externalPolicyLocal ? localEndpoints(port, at.node) : [];
  const whenEmpty = hasAnyEndpoint(port) ? 'drop' : 'reject';
  const make = (kind: FrontendKind, address: string, number: number): Frontend => {
    const external = kind !== 'clusterIP';
    const isLocal = external ? port.externalPolicyLocal : port.internalPolicyLocal;
    return {
      kind,
      address,
      port: number,
      protocol: port.protocol,
      servicePort: port.name,
      endpoints: isLocal ? local : cluster,
      internalEndpoints: external ? cluster : isLocal ? local : cluster,
      affinitySeconds: port.affinitySeconds,
      sourceRanges: kind === 'loadBalancer' ? port.sourceRanges : [],
      whenEmpty,
      keepsSource: external && port.externalPolicyLocal,
      source: port,
    };
  };
  const out = [make('clusterIP', port.clusterIP, port.port)];
  for (const ip of port.externalIPs) out.push(make('externalIP', ip, port.port));
  for (const ip of port.loadBalancerIPs) out.push(make('loadBalancer', ip, port.port));
  if (port.nodePort !== 0) out.push(make('nodePort', nodePortAddress(port.family), port.nodePort));
  return out;
}

export function sameFrontend(a: Frontend, b: Frontend): boolean {
  return deepEqual(a, b);
}
