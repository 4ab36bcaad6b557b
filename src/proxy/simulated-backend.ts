/**
 * The simulated backend: nothing of the machine is changed; connections of simulated pods ask it where they lead. It answers for all
 * nodes of a cluster at once: whose traffic it is, is told with each question.
 */
import type { Clock } from '../base/clock.ts';
import type { Random } from '../base/random.ts';
import { cidrContains, parseCidr, parseIp } from '../base/ip.ts';
import type { Frontend, FrontendChanges, ProxyBackend, ProxyEndpoint, ProxyProtocol } from './backend.ts';
import type { Location } from './service-port.ts';
import { clusterEndpoints, isPlaceless, localEndpoints } from './service-port.ts';

/** More clients than this are not remembered: the ones seen longest ago are forgotten. */
const maxAffinities = 10_000;

/** Where a connection comes from: its node, or, from outside of the cluster, the node that it comes to. */
export interface Caller extends Location {
  /** Its address; empty when that is not known. */
  readonly address: string;
  /** A pod's or node's. */
  readonly inside: boolean;
}

export interface SimulatedBackendOptions {
  readonly clock: Clock;
  readonly random: Random;
}

export class SimulatedBackend implements ProxyBackend {
  readonly #clock: Clock;
  readonly #random: Random;
  #frontends = new Map<string, Frontend>();
  readonly #affinities = new Map<string, { readonly endpoint: string; readonly until: number }>();

  constructor(options: SimulatedBackendOptions) {
    this.#clock = options.clock;
    this.#random = options.random;
  }

  apply(changes: FrontendChanges): Promise<void> {
    for (const key of changes.removed) this.#frontends.delete(key);
    for (const [key, frontend] of changes.set) this.#frontends.set(key, frontend);
    return Promise.resolve();
  }

  replace(all: ReadonlyMap<string, Frontend>): Promise<void> {
    this.#frontends = new Map(all);
    return Promise.resolve();
  }

  close(): Promise<void> {
    this.#frontends.clear();
    this.#affinities.clear();
    return Promise.resolve();
  }

  get(address: string, port: number, protocol: ProxyProtocol): Frontend | undefined {
    return this.#frontends.get(`${protocol}/${address}:${port}`);
  }

  /** Those that may answer a caller. */
  candidates(frontend: Frontend, caller: Caller): readonly ProxyEndpoint[] {
    const { source } = frontend;
    if (!this.#admits(frontend, caller.address)) return [];
    if (isPlaceless(source)) return frontend.internalEndpoints;
    if (frontend.kind === 'clusterIP')
      return source.internalPolicyLocal ? localEndpoints(source, caller.node) : clusterEndpoints(source, caller);
    // To an external address, who is inside of the cluster gets any endpoint; a balancer of the cloud picks a node that has one.
    if (caller.inside || !source.externalPolicyLocal || caller.node === undefined)
      return clusterEndpoints(source, caller);
    return localEndpoints(source, caller.node);
  }

  #admits(frontend: Frontend, address: string): boolean {
    if (frontend.sourceRanges.length === 0 || address === '') return true;
    const ip = parseIp(address);
    return (
      ip !== undefined &&
      frontend.sourceRanges.some((r) => {
        const cidr = parseCidr(r);
        return cidr !== undefined && cidrContains(cidr, ip);
      })
    );
  }

  /** One of the candidates: by affinity, else at random. */
  pick(frontend: Frontend, candidates: readonly ProxyEndpoint[], caller: Caller): ProxyEndpoint | undefined {
    if (candidates.length === 0) return undefined;
    const any = (): ProxyEndpoint => candidates[this.#random.int(candidates.length)]!;
    if (frontend.affinitySeconds === 0 || caller.address === '') return any();
    const now = this.#clock.monotonic();
    const key = `${frontend.servicePort} ${caller.address}`;
    const known = this.#affinities.get(key);
    const kept =
      known === undefined || known.until < now
        ? undefined
        : candidates.find((e) => `${e.address}:${e.port}` === known.endpoint);
    const chosen = kept ?? any();
    this.#affinities.delete(key);
    this.#affinities.set(key, {
      endpoint: `${chosen.address}:${chosen.port}`,
      until: now + frontend.affinitySeconds * 1000,
    });
    if (this.#affinities.size > maxAffinities) this.#affinities.delete(this.#affinities.keys().next().value!);
    return chosen;
  }
}
