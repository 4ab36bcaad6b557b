/** What the proxy knows of nodes: zones, addresses (for node ports), and which node an address of a pod belongs to. */
import type { Cidr } from '../base/ip.ts';
import { cidrContains, formatIp, parseCidr, parseIp } from '../base/ip.ts';
import type { Node } from '../api/types/index.gen.ts';

/** Set by the cluster autoscaler on a node that it is about to remove. */
const toBeDeleted = 'ToBeDeletedByClusterAutoscaler';
const byUse = ['InternalIP', 'ExternalIP'];

/** The members of a Node that count here; everything else is dropped as it arrives. */
export function nodeFacts<T>(object: T): T {
  const node = object as unknown as Node;
  const { name, resourceVersion, labels, deletionTimestamp } = node.metadata;
  const zone = labels?.['topology.kubernetes.io/zone'];
  const spec = node.spec;
  return {
    metadata: {
      name,
      resourceVersion,
      ...(deletionTimestamp === undefined ? {} : { deletionTimestamp }),
      ...(zone === undefined ? {} : { labels: { 'topology.kubernetes.io/zone': zone } }),
    },
    spec: {
      podCIDRs: spec?.podCIDRs ?? (spec?.podCIDR === undefined ? [] : [spec.podCIDR]),
      taints: (spec?.taints ?? []).filter((t) => t.key === toBeDeleted),
    },
    status: { addresses: node.status?.addresses ?? [] },
  } as unknown as T;
}

interface Entry {
  /** Takes traffic: it is not about to go. */
  readonly eligible: boolean;
  /** Internal ones first. */
  readonly own: readonly string[];
  readonly zone: string | undefined;
  readonly addresses: readonly string[];
  readonly cidrs: readonly Cidr[];
}

export class NodeTable {
  readonly #nodes = new Map<string, Entry>();
  readonly #byAddress = new Map<string, string>();
  /** Pod ranges by prefix length and first address: a look-up for each length in use. */
  readonly #byRange = new Map<number, Map<bigint, string>>();

  get size(): number {
    return this.#nodes.size;
  }

  set(node: Node): void {
    const name = node.metadata.name ?? '';
    this.delete(name);
    const addresses = (node.status?.addresses ?? []).map((a) => a.address).filter((a) => parseIp(a) !== undefined);
    const cidrs = (node.spec?.podCIDRs ?? []).map(parseCidr).filter((c) => c !== undefined);
    const own = byUse.flatMap((type) =>
      (node.status?.addresses ?? []).filter((a) => a.type === type && parseIp(a.address) !== undefined),
    );
    this.#nodes.set(name, {
      zone: node.metadata.labels?.['topology.kubernetes.io/zone'],
      eligible:
        node.metadata.deletionTimestamp === undefined && !(node.spec?.taints ?? []).some((t) => t.key === toBeDeleted),
      own: own.map((a) => a.address),
      addresses,
      cidrs,
    });
    for (const a of addresses) this.#byAddress.set(a, name);
    for (const c of cidrs) {
      let ranges = this.#byRange.get(c.prefix);
      if (ranges === undefined) this.#byRange.set(c.prefix, (ranges = new Map()));
      ranges.set(c.base, name);
    }
  }

  delete(name: string): void {
    const entry = this.#nodes.get(name);
    if (entry === undefined) return;
    this.#nodes.delete(name);
    for (const a of entry.addresses) if (this.#byAddress.get(a) === name) this.#byAddress.delete(a);
    for (const c of entry.cidrs) {
      const ranges = this.#byRange.get(c.prefix);
      if (ranges?.get(c.base) === name) ranges.delete(c.base);
    }
  }

  /** False for a node that is not there, too. */
  eligible(name: string): boolean {
    return this.#nodes.get(name)?.eligible ?? false;
  }

  /** A node's addresses, internal ones first. */
  addresses(name: string | undefined): readonly string[] {
    return (name === undefined ? undefined : this.#nodes.get(name)?.own) ?? [];
  }

  podCIDRs(name: string | undefined): readonly string[] {
    const cidrs = (name === undefined ? undefined : this.#nodes.get(name)?.cidrs) ?? [];
    return cidrs.map((c) => `${formatIp({ family: c.family, value: c.base })}/${c.prefix}`);
  }

  zone(name: string | undefined): string | undefined {
    return name === undefined ? undefined : this.#nodes.get(name)?.zone;
  }

  /** The node that has this address. */
  byAddress(address: string): string | undefined {
    return this.#byAddress.get(address);
  }

  /** The node that an address belongs to: its own, or one of its pods'. */
  owner(address: string): string | undefined {
    const own = this.#byAddress.get(address);
    if (own !== undefined) return own;
    const ip = parseIp(address);
    if (ip === undefined) return undefined;
    const width = ip.family === 4 ? 32 : 128;
    for (const [prefix, ranges] of this.#byRange) {
      if (prefix > width) continue;
      const host = BigInt(width - prefix);
      const base = (ip.value >> host) << host;
      const name = ranges.get(base);
      if (name !== undefined && this.#nodes.get(name)?.cidrs.some((c) => cidrContains(c, ip))) return name;
    }
    return undefined;
  }
}
