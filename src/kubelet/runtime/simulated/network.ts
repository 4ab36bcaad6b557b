/**
 * The network of simulated nodes: which sandbox owns an address, how a connection reaches it, and the seam where Services
 * are resolved to endpoints. One instance a cluster, shared by its nodes.
 */
import type { Cidr } from '../../../base/ip.ts';
import { cidrSize, formatIp, parseCidr, parseIp } from '../../../base/ip.ts';
import { connect } from 'node:net';
import type { Duplex } from 'node:stream';
import type { PodSandboxConfig } from '../container-runtime.ts';

/** Answers connections to one address. */
export interface NetworkEndpoint {
  /** Rejects with an error that carries `code` (`ECONNREFUSED`) when nothing listens. */
  connect(port: number, from: string): Promise<Duplex> | Duplex;
}

/** Turns a Service's address and port into an endpoint's; undefined when it is no Service's; `refused` when it has none. */
export type ServiceResolver = (
  address: string,
  port: number,
  from: string,
) => { readonly address: string; readonly port: number } | 'refused' | undefined;

/** Addresses of a name; empty when there are none. */
export type NameResolver = (name: string, namespace: string) => Promise<readonly string[]>;

/** Names pods that a process of this machine answers for. */
export interface BackendRule {
  readonly namespace: string;
  readonly name?: string;
  /** All of these labels. */
  readonly labels?: Readonly<Record<string, string>>;
  /** The pod's port; every one when left out. */
  readonly port?: number;
  readonly to: { readonly host: string; readonly port: number };
}

export function networkError(
  code: 'ECONNREFUSED' | 'EHOSTUNREACH' | 'ETIMEDOUT',
  address: string,
  port: number,
): Error {
  return Object.assign(new Error(`connect ${code} ${address}:${port}`), { code, address, port });
}

export class SimulatedNetwork {
  readonly #endpoints = new Map<string, NetworkEndpoint>();
  #backends: readonly BackendRule[] = [];
  #resolveService: ServiceResolver | undefined;
  #resolveName: NameResolver | undefined;

  /** Sets how Service addresses and node ports are resolved (the proxy). */
  setServiceResolver(resolver: ServiceResolver | undefined): void {
    this.#resolveService = resolver;
  }

  /** Sets how names are resolved inside pods (the cluster's DNS). */
  setNameResolver(resolver: NameResolver | undefined): void {
    this.#resolveName = resolver;
  }

  /** Lets a process of this machine answer for pods; returns what takes it back. */
  addBackend(rule: BackendRule): () => void {
    this.#backends = [...this.#backends, rule];
    return () => {
      this.#backends = this.#backends.filter((r) => r !== rule);
    };
  }

  backendOf(pod: PodSandboxConfig, port: number): { readonly host: string; readonly port: number } | undefined {
    for (const r of this.#backends) {
      if (r.namespace !== pod.metadata.namespace || (r.name !== undefined && r.name !== pod.metadata.name)) continue;
      if (r.port !== undefined && r.port !== port) continue;
      if (Object.entries(r.labels ?? {}).every(([k, v]) => pod.labels[k] === v)) return r.to;
    }
    return undefined;
  }

  register(address: string, endpoint: NetworkEndpoint): void {
    this.#endpoints.set(address, endpoint);
  }

  unregister(address: string, endpoint: NetworkEndpoint): void {
    if (this.#endpoints.get(address) === endpoint) this.#endpoints.delete(address);
  }

  has(address: string): boolean {
    return this.#endpoints.has(address);
  }

  resolveName(name: string, namespace: string): Promise<readonly string[]> {
    return this.#resolveName?.(name, namespace) ?? Promise.resolve([]);
  }

  /** Opens a TCP connection to a Service, a pod, or an address of this machine. `from` is the caller's address. */
  async dial(address: string, port: number, from = ''): Promise<Duplex> {
    const service = this.#resolveService?.(address, port, from);
    if (service === 'refused') throw networkError('ECONNREFUSED', address, port);
    const to = service ?? { address, port };
    const endpoint = this.#endpoints.get(to.address);
    if (endpoint !== undefined) return endpoint.connect(to.port, from);
    if (isLoopback(to.address)) return dialMachine(to.address, to.port);
    throw networkError('EHOSTUNREACH', to.address, to.port);
  }
}

export function isLoopback(address: string): boolean {
  return address.startsWith('127.') || address === '::1' || address === 'localhost';
}

/** A real TCP connection to a process on this machine. */
export function dialMachine(host: string, port: number): Promise<Duplex> {
  return new Promise((resolve, reject) => {
    const socket = connect({ host, port, noDelay: true, allowHalfOpen: true });
    socket.once('connect', () => {
      socket.off('error', reject);
      resolve(socket);
    });
    socket.once('error', reject);
  });
}

/** Hands out addresses of a CIDR, lowest free first, reusing what was given back only after a round. */
export class AddressPool {
  readonly #range: Cidr;
  readonly #size: number;
  readonly #used = new Set<number>();
  #next = 2;

  /** `cidr`: `10.244.1.0/24`. The network's and the gateway's (.1) address are kept back. */
  constructor(cidr: string) {
    const range = parseCidr(cidr);
    if (range === undefined) throw new Error(`invalid CIDR address: ${cidr}`);
    this.#range = range;
    this.#size = Math.min(Number(cidrSize(range)), 2 ** 24);
  }

  allocate(): string | undefined {
    const { family, base } = this.#range;
    const last = family === 6 ? this.#size : this.#size - 1;
    for (let tried = 0; tried < last; tried++) {
      if (this.#next >= last) this.#next = 2;
      const n = this.#next++;
      if (this.#used.has(n)) continue;
      this.#used.add(n);
      return formatIp({ family, value: base + BigInt(n) });
    }
    return undefined;
  }

  release(address: string): void {
    const ip = parseIp(address);
    if (ip !== undefined) this.#used.delete(Number(ip.value - this.#range.base));
  }
}
