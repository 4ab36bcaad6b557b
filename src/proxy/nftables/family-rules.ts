/**
 * The rules of one address family: turns frontends into elements of the table's maps, and back out again when they go. What a frontend
 * needs is written down with it, so that a change costs as much as that frontend is large.
 */
import { cidrContains, formatIp, parseCidr, parseIp } from '../../base/ip.ts';
import type { Cidr } from '../../base/ip.ts';
import type { Frontend, Place, ProxyEndpoint } from '../backend.ts';
import { NftTable } from '../nft/table.ts';
import { AffinityChains } from './affinity.ts';
import * as names from './names.ts';
import type { Dialect, NftablesOptions } from './options.ts';
import type { EndpointsMap } from './skeleton.ts';
import { masqueradeChain, matchesAll, pickChain, writeSkeleton } from './skeleton.ts';
import { assignSlots } from './slots.ts';

/** What a frontend has put into the table. */
interface Written {
  /** Container, key and value, one after the other: there are many, and an object each would cost more than they do. */
  readonly elements: readonly string[];
  /** Chains of affinity that it leads to. */
  readonly affine: readonly string[];
  readonly slots: readonly string[];
  readonly internalSlots: readonly string[];
}

const none: readonly string[] = [];
const nothing: Written = { elements: none, affine: none, slots: none, internalSlots: none };

const text = (e: ProxyEndpoint): string => `${e.address} . ${e.port}`;

/** Ranges without those that lie in another one: elements of a set of intervals may not overlap. */
function disjoint(ranges: readonly string[], family: 4 | 6): string[] {
  const sorted = ranges
    .map(parseCidr)
    .filter((c): c is Cidr => c?.family === family)
    .sort((a, b) => a.prefix - b.prefix);
  const kept: Cidr[] = [];
  for (const c of sorted) if (!kept.some((k) => cidrContains(k, { family, value: c.base }))) kept.push(c);
  return kept.map((c) => `${formatIp({ family, value: c.base })}/${c.prefix}`);
}

export class FamilyRules {
  readonly table: NftTable;
  readonly affinity: AffinityChains;
  readonly #d: Dialect;
  readonly #o: NftablesOptions;
  #place: Place;
  readonly #written = new Map<string, Written>();
  #nodePortIps: readonly string[] = [];

  /** `ownAddresses`: what node ports answer at, when not everywhere. */
  constructor(dialect: Dialect, options: NftablesOptions, place: Place, ownAddresses: readonly string[]) {
    this.#d = dialect;
    this.#o = options;
    this.#place = place;
    this.table = new NftTable(dialect.table, names.tableName);
    this.affinity = new AffinityChains(this.table, dialect, options);
    this.placeChanged(place, ownAddresses);
  }

  placeChanged(place: Place, ownAddresses: readonly string[]): void {
    this.#place = place;
    writeSkeleton(this.table, this.#d, this.#o, place);
    const ips = matchesAll(this.#d, this.#o)
      ? []
      : ownAddresses.filter((a) => parseIp(a)?.family === this.#d.family && a !== '::1' && !a.startsWith('127.'));
    for (const ip of this.#nodePortIps) this.table.drop(names.nodePortIps, ip);
    for (const ip of ips) this.table.put(names.nodePortIps, ip);
    this.#nodePortIps = ips;
  }

  /** How many frontends there are rules for. */
  get size(): number {
    return this.#written.size;
  }

  /** Writes a frontend, instead of what it was before. */
  set(key: string, frontend: Frontend): void {
    const before = this.#written.get(key) ?? nothing;
    const after = this.#render(frontend, before);
    this.#drop(before.elements);
    const { elements } = after;
    for (let i = 0; i < elements.length; i += 3) this.table.put(elements[i]!, elements[i + 1]!, elements[i + 2]!);
    for (const chain of before.affine) this.affinity.release(chain);
    this.#written.set(key, after);
  }

  remove(key: string): void {
    const before = this.#written.get(key);
    if (before === undefined) return;
    this.#drop(before.elements);
    for (const chain of before.affine) this.affinity.release(chain);
    this.#written.delete(key);
  }

  #drop(elements: readonly string[]): void {
    for (let i = 0; i < elements.length; i += 3) this.table.drop(elements[i]!, elements[i + 1]!);
  }

  #render(f: Frontend, before: Written): Written {
    const elements: string[] = [];
    const affine: string[] = [];
    const isNodePort = f.kind === 'nodePort';
    const protocol = f.protocol.toLowerCase();
    const key = isNodePort ? `${protocol} . ${f.port}` : `${f.address} . ${protocol} . ${f.port}`;
    const slots = assignSlots(before.slots, f.endpoints.map(text));
    // Only where the policy keeps outsiders to this node do the others need a list of their own.
    const internalSlots = f.keepsSource ? assignSlots(before.internalSlots, f.internalEndpoints.map(text)) : none;
    const map = isNodePort ? names.nodePortEndpoints : names.serviceEndpoints;
    const dispatch = isNodePort ? names.serviceNodePorts : names.serviceIps;

    if (f.kind === 'clusterIP') {
      elements.push(names.clusterIps, f.address, '');
      if (slots.length > 0) {
        const policy = f.source.internalPolicyLocal ? 'local' : 'cluster';
        elements.push(dispatch, key, `goto ${this.#choose(f, slots, map, policy, elements, affine)}`);
      }
    } else if (!f.keepsSource) {
      if (slots.length > 0) {
        const chain = this.#choose(f, slots, map, 'cluster', elements, affine);
        const marked =
          f.affinitySeconds > 0 ? this.affinity.masqueraded(chain) : masqueradeChain(this.table, this.#o, chain);
        elements.push(dispatch, key, `goto ${marked}`);
      }
    } else if (internalSlots.length > 0 || slots.length > 0) {
      if (internalSlots.length > 0) {
        const shortMap = isNodePort ? names.shortCircuitNodePortEndpoints : names.shortCircuitEndpoints;
        const short = isNodePort ? names.shortCircuitNodePorts : names.shortCircuitIps;
        elements.push(short, key, `goto ${this.#choose(f, internalSlots, shortMap, 'cluster', elements, affine)}`);
      }
      if (slots.length > 0) {
        const local = isNodePort ? names.localPolicyNodePorts : names.localPolicyIps;
        elements.push(local, key, `goto ${this.#choose(f, slots, map, 'local', elements, affine)}`);
      }
      elements.push(dispatch, key, `goto ${isNodePort ? names.nodePortLocalChain : names.externalLocalChain}`);
    }
    if (slots.length === 0)
      elements.push(
        isNodePort ? names.noEndpointNodePorts : names.noEndpointServices,
        key,
        f.whenEmpty === 'reject' ? `goto ${names.rejectChain}` : 'drop',
      );
    this.#firewall(f, key, elements);
    this.#hairpin(f, protocol, elements);
    return { elements, affine: affine.length === 0 ? none : affine, slots, internalSlots };
  }

  /** The chain that chooses from a list of endpoints. */
  #choose(
    f: Frontend,
    list: readonly string[],
    map: EndpointsMap,
    policy: 'cluster' | 'local',
    elements: string[],
    affine: string[],
  ): string {
    if (f.affinitySeconds > 0) {
      const chain = this.affinity.acquire({
        policy,
        servicePort: f.servicePort,
        protocol: f.protocol,
        seconds: f.affinitySeconds,
        endpoints: list,
      });
      affine.push(chain);
      return chain;
    }
    const at = f.kind === 'nodePort' ? String(f.port) : `${f.address} . ${f.port}`;
    const container = `${map}-${f.protocol.toLowerCase()}`;
    for (let i = 0; i < list.length; i++) elements.push(container, `${at} . ${i}`, list[i]!);
    return pickChain(this.table, this.#d, map, f.protocol, list.length);
  }

  #firewall(f: Frontend, key: string, elements: string[]): void {
    if (f.sourceRanges.length === 0) return;
    elements.push(names.firewallIps, key, `goto ${names.firewallChain}`);
    const node = this.#place.addresses.map(parseIp).find((ip) => ip?.family === this.#d.family);
    const fromNode =
      node !== undefined &&
      f.sourceRanges.some((r) => {
        const cidr = parseCidr(r);
        return cidr !== undefined && cidrContains(cidr, node);
      });
    // The node may have the balancer's address on an interface of its own, and then uses it for its source.
    const extra = fromNode ? [`${f.address}/${this.#d.family === 4 ? 32 : 128}`] : [];
    for (const range of disjoint([...f.sourceRanges, ...extra], this.#d.family))
      elements.push(names.firewallSources, `${key} . ${range}`, '');
  }

  /** A pod that reaches itself by a Service must get an answer from somebody else's address. */
  #hairpin(f: Frontend, protocol: string, elements: string[]): void {
    const { node } = this.#place;
    if (node === undefined || !f.source.endpoints.some((e) => e.node === node)) return;
    const seen = new Set<string>();
    const local = new Set<string>();
    for (const e of f.source.endpoints) if (e.node === node) local.add(text(e));
    for (const list of [f.endpoints, f.keepsSource ? f.internalEndpoints : []])
      for (const e of list) {
        const endpoint = text(e);
        if (!local.has(endpoint) || seen.has(endpoint)) continue;
        seen.add(endpoint);
        elements.push(names.hairpinConnections, `${e.address} . ${e.address} . ${protocol} . ${e.port}`, '');
      }
  }
}
