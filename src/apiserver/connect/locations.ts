/** Where nodes, pods and services are: which address and port a connect request goes to, with upstream's refusals. */
import { isIP } from 'node:net';
import { StatusError, badRequest, serviceUnavailable } from '../../api/status.ts';
import type { Random } from '../../base/random.ts';
import type { RequestContext } from '../context.ts';
import type { KubeObjectLike } from '../request.ts';
import type { Registries } from '../registry.ts';
import { noSuchRoute } from '../director.ts';

/** A place that can be dialled. */
export interface Location {
  /** Set for a node's kubelet: the dialer's business is to reach it, TLS included. */
  readonly node: string | undefined;
  readonly address: string;
  readonly port: number;
  /** TLS is spoken by the server at that address (never for a kubelet: the dialer has done it). */
  readonly tls: boolean;
  /** A kubelet's certificate need not be verified. */
  readonly insecure?: boolean;
}

export interface SchemeNamePort {
  readonly scheme: string;
  readonly name: string;
  readonly port: string;
}

/** `name`, `name:port` or `scheme:name:port`; undefined when malformed. */
export function splitSchemeNamePort(id: string): SchemeNamePort | undefined {
  const parts = id.split(':');
  let split: SchemeNamePort;
  if (parts.length === 1) split = { scheme: '', name: parts[0]!, port: '' };
  else if (parts.length === 2) split = { scheme: '', name: parts[0]!, port: parts[1]! };
  else if (parts.length === 3) split = { scheme: parts[0]!, name: parts[1]!, port: parts[2]! };
  else return undefined;
  if (split.name === '' || !['', 'http', 'https'].includes(split.scheme)) return undefined;
  return split;
}

/** Reads objects through their registries, so that what is missing gets its ordinary 404. */
export class Locations {
  readonly #registries: Registries;
  readonly #random: Random;

  readonly #addressTypes: readonly string[];

  /** `addressTypes`: `--kubelet-preferred-address-types`, the best first. */
  constructor(
    registries: Registries,
    random: Random,
    addressTypes: readonly string[] = ['InternalIP', 'ExternalIP', 'Hostname'],
  ) {
    this.#registries = registries;
    this.#random = random;
    this.#addressTypes = addressTypes;
  }

  async get(ctx: RequestContext, resource: string, namespace: string, name: string): Promise<KubeObjectLike> {
    const registry = this.#registries.registry('', resource);
    if (registry === undefined) throw noSuchRoute();
    return (await registry.get(ctx, namespace, name, '')).object();
  }

  /** The kubelet of a node. */
  async node(ctx: RequestContext, name: string): Promise<Location> {
    const node = await this.get(ctx, 'nodes', '', name);
    const status = (node['status'] ?? {}) as {
      addresses?: { type: string; address: string }[];
      daemonEndpoints?: { kubeletEndpoint?: { Port?: number } };
    };
    const addresses = status.addresses ?? [];
    let address: string | undefined;
    for (const type of this.#addressTypes) address ??= addresses.find((a) => a.type === type)?.address;
    if (address === undefined) {
      const known = addresses.map((a) => `{${a.type} ${a.address}}`).join(' ');
      throw new StatusError(500, '', `no preferred addresses found; known addresses: [${known}]`);
    }
    const port = status.daemonEndpoints?.kubeletEndpoint?.Port;
    return { node: name, address, port: port === undefined || port === 0 ? 10250 : port, tls: false };
  }

  /** `[scheme:]name[:port]` of a node. */
  async nodeProxy(ctx: RequestContext, id: string): Promise<Location> {
    const split = splitSchemeNamePort(id);
    if (split === undefined) throw badRequest(`invalid node request ${JSON.stringify(id)}`);
    const kubelet = await this.node(ctx, split.name);
    if (split.port === '' || split.port === String(kubelet.port)) return kubelet;
    return { node: undefined, address: kubelet.address, port: portNumber(split.port), tls: split.scheme === 'https' };
  }

  async podProxy(ctx: RequestContext, namespace: string, id: string): Promise<Location> {
    const split = splitSchemeNamePort(id);
    if (split === undefined) throw badRequest(`invalid pod request ${JSON.stringify(id)}`);
    const pod = await this.get(ctx, 'pods', namespace, split.name);
    const spec = (pod['spec'] ?? {}) as { containers?: { ports?: { containerPort: number }[] }[] };
    const status = (pod['status'] ?? {}) as { podIP?: string; podIPs?: { ip: string }[] };
    const tls = split.scheme === 'https';
    let port = split.port === '' ? undefined : portNumber(split.port);
    port ??= spec.containers?.find((c) => (c.ports?.length ?? 0) > 0)?.ports?.[0]?.containerPort;
    const address = status.podIPs?.[0]?.ip ?? status.podIP ?? '';
    if (!isGlobalUnicast(address)) throw badRequest('address not allowed');
    return { node: undefined, address, port: port ?? (tls ? 443 : 80), tls };
  }

  /** A ready endpoint of a service, taken at random among those that are pods. */
  async serviceProxy(ctx: RequestContext, namespace: string, id: string): Promise<Location> {
    const split = splitSchemeNamePort(id);
    if (split === undefined) throw badRequest(`invalid service request ${JSON.stringify(id)}`);
    const name = split.name;
    let portName = split.port;
    if (/^[-+]?\d+$/.test(portName)) {
      const service = await this.get(ctx, 'services', namespace, name);
      const ports = (
        (service['spec'] as { ports?: { port: number; name?: string }[] } | undefined)?.ports ?? []
      ).filter((p) => p.port === Number(portName));
      if (ports.length === 0)
        throw serviceUnavailable(`no service port ${Number(portName)} found for service ${JSON.stringify(name)}`);
      portName = ports[0]!.name ?? '';
    }
    type Address = { ip: string; targetRef?: { name?: string; namespace?: string } };
    const endpoints = await this.get(ctx, 'endpoints', namespace, name);
    const subsets = (endpoints['subsets'] ?? []) as {
      addresses?: Address[];
      ports?: { name?: string; port: number }[];
    }[];
    if (subsets.length === 0) throw serviceUnavailable(`no endpoints available for service ${JSON.stringify(name)}`);
    const start = this.#random.int(subsets.length);
    for (let i = 0; i < subsets.length; i++) {
      const subset = subsets[(start + i) % subsets.length]!;
      const addresses = subset.addresses ?? [];
      const port = subset.ports?.find((p) => (p.name ?? '') === portName);
      if (addresses.length === 0 || port === undefined) continue;
      const first = this.#random.int(addresses.length);
      for (let j = 0; j < addresses.length; j++) {
        const address = addresses[(first + j) % addresses.length]!;
        if (await this.#isPod(ctx, namespace, address))
          return { node: undefined, address: address.ip, port: port.port, tls: split.scheme === 'https' };
      }
    }
    throw serviceUnavailable(`no endpoints available for service ${JSON.stringify(id)}`);
  }

  /** Only addresses that really are pods are proxied to. */
  async #isPod(
    ctx: RequestContext,
    namespace: string,
    address: { ip: string; targetRef?: { name?: string; namespace?: string } },
  ): Promise<boolean> {
    const ref = address.targetRef;
    if (ref?.name === undefined || ref.namespace !== namespace) return false;
    try {
      const pod = await this.get(ctx, 'pods', namespace, ref.name);
      const ips = (pod['status'] as { podIPs?: { ip: string }[] } | undefined)?.podIPs ?? [];
      return ips.some((p) => p.ip === address.ip);
    } catch (error) {
      if (error instanceof StatusError && error.code === 404) return false;
      throw error;
    }
  }
}

function portNumber(text: string): number {
  const n = Number(text);
  if (!/^\d+$/.test(text) || n < 1 || n > 65535)
    throw serviceUnavailable(`error trying to reach service: dial tcp: lookup tcp/${text}: unknown port`);
  return n;
}

/** Go's IP.IsGlobalUnicast: neither unspecified, loopback, link-local, multicast nor broadcast. */
export function isGlobalUnicast(address: string): boolean {
  switch (isIP(address)) {
    case 4: {
      const [a, b] = address.split('.').map(Number) as [number, number];
      if (a === 127 || a >= 224 || (a === 169 && b === 254)) return false;
      return address !== '0.0.0.0' && address !== '255.255.255.255';
    }
    case 6: {
      const text = address.toLowerCase();
      return text !== '::' && text !== '::1' && !text.startsWith('ff') && !/^fe[89ab]/.test(text);
    }
    default:
      return false;
  }
}
