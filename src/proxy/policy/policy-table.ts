/**
 * The table of network policies of one node: what it holds follows pods, namespaces and policies one by one.
 *
 * Only this node's own pods are looked at, and of those only the ones that a policy isolates: their addresses stand in two maps, by
 * which a packet finds the chain of exactly those policies that select the pod. Egress is asked first, then ingress; both after Services
 * have been resolved and before anything is masqueraded, so addresses are those of pods. Connections that exist go on, and the node
 * reaches its pods whatever they say.
 */
import { deepEqual } from '../../api/helpers/deep-equal.ts';
import type { Labels } from '../../api/selector.ts';
import { NftTable } from '../nft/table.ts';
import { hashed } from '../nftables/names.ts';
import type { Block, CompiledPolicy, Direction, PodGroup, Ports, Rule } from './compiled-policy.ts';
import type { PodFacts } from './facts.ts';
import { PodIndex, PodSets } from './pod-sets.ts';

export const policyTableName = 'knarr-network-policy';

const directions = ['ingress', 'egress'] as const;
/** Before the usual filters: who accepts there must not have the last word. */
const priority = -10;

interface PolicyChain {
  users: number;
  readonly groups: PodGroup[];
  readonly ports: Ports[];
}

/** Pods that the same policies select share a chain. */
interface PodChain {
  users: number;
  readonly policies: readonly string[];
}

interface Isolated {
  readonly addresses: readonly string[];
  readonly ingress: string | undefined;
  readonly egress: string | undefined;
}

const familyOf = (address: string): 4 | 6 => (address.includes(':') ? 6 : 4);
const ipOf = (family: 4 | 6): string => (family === 4 ? 'ip' : 'ip6');

export class PolicyTable {
  readonly table = new NftTable('inet', policyTableName);
  readonly #node: string;
  readonly #index = new PodIndex();
  readonly #sets: PodSets;
  readonly #policies = new Map<string, CompiledPolicy>();
  readonly #byNamespace = new Map<string, Map<string, CompiledPolicy>>();
  readonly #policyChains = new Map<string, PolicyChain>();
  readonly #podChains = new Map<string, PodChain>();
  readonly #isolated = new Map<string, Isolated>();

  constructor(node: string) {
    this.#node = node;
    this.#sets = new PodSets(this.table, this.#index);
    this.#skeleton();
  }

  /** How many pods of this node are isolated. */
  get size(): number {
    return this.#isolated.size;
  }

  #skeleton(): void {
    const t = this.table;
    for (const family of [4, 6] as const) {
      const type = family === 4 ? 'ipv4_addr' : 'ipv6_addr';
      for (const d of directions) t.container('map', `${d}-pods-${family}`, `type ${type} : verdict ;`);
      t.container('set', `self-${family}`, `type ${type} . ${type} ;`);
    }
    t.chain('ingress', ['ip daddr vmap @ingress-pods-4', 'ip6 daddr vmap @ingress-pods-6', 'accept']);
    const begin = [
      'ct state established,related accept',
      // Without these no IPv6 neighbour is found, which is no traffic of the pod's.
      'icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert, nd-router-solicit, nd-router-advert } accept',
      // A pod may always reach itself, by a Service for example.
      'ip saddr . ip daddr @self-4 accept',
      'ip6 saddr . ip6 daddr @self-6 accept',
      'ip saddr vmap @egress-pods-4',
      'ip6 saddr vmap @egress-pods-6',
    ];
    // Pods on one bridge have link-local addresses, too, of which nobody is told: no policy could speak of them.
    const linkLocal = ['ip6 saddr fe80::/10 ip6 daddr != ff00::/8 drop', 'ip6 daddr fe80::/10 drop'];
    const [established, neighbours, ...rest] = begin;
    t.chain(
      'forward',
      [established!, neighbours!, ...linkLocal, ...rest, 'goto ingress'],
      `type filter hook forward priority ${priority}`,
    );
    t.chain('input', begin, `type filter hook input priority ${priority}`);
  }

  setNamespace(name: string, labels: Labels | undefined): void {
    if (labels === undefined) this.#index.namespaces.delete(name);
    else this.#index.namespaces.set(name, labels);
    this.#sets.namespaceChanged(name);
  }

  setPod(key: string, pod: PodFacts | undefined): void {
    const before = this.#index.pods.get(key);
    // Most news of a pod is none here.
    if (before !== undefined && pod !== undefined && deepEqual(before, pod)) return;
    if (pod !== undefined) this.#index.set(pod);
    else if (before !== undefined) this.#index.delete(before);
    this.#sets.podChanged(key, pod);
    if (before?.node === this.#node || pod?.node === this.#node) this.#isolate(key);
  }

  setPolicy(key: string, policy: CompiledPolicy | undefined): void {
    const before = this.#policies.get(key);
    const namespace = policy?.namespace ?? before?.namespace ?? '';
    if (policy === undefined) {
      this.#policies.delete(key);
      this.#byNamespace.get(namespace)?.delete(key);
    } else {
      this.#policies.set(key, policy);
      let own = this.#byNamespace.get(namespace);
      if (own === undefined) this.#byNamespace.set(namespace, (own = new Map()));
      own.set(key, policy);
      // Its rules may be different for the pods that stay with it.
      for (const d of directions) this.#rewrite(d, policy);
    }
    for (const pod of this.#index.byNamespace.get(namespace)?.values() ?? [])
      if (pod.node === this.#node) this.#isolate(pod.key);
  }

  /** Leads the pod to the chains of the policies that select it now. */
  #isolate(key: string): void {
    const pod = this.#index.pods.get(key);
    const before = this.#isolated.get(key);
    const isOurs = pod !== undefined && pod.node === this.#node && pod.addresses.length > 0;
    const chainOf = (d: Direction): string | undefined => {
      if (!isOurs) return undefined;
      const own: string[] = [];
      for (const p of this.#byNamespace.get(pod.namespace)?.values() ?? [])
        if (p[d] !== undefined && p.selector.matches(pod.labels)) own.push(p.key);
      return own.length === 0 ? undefined : this.#acquirePodChain(d, own.sort());
    };
    const now: Isolated = {
      addresses: isOurs ? pod.addresses : [],
      ingress: chainOf('ingress'),
      egress: chainOf('egress'),
    };
    if (before !== undefined) this.#unmap(before);
    const isIsolated = now.ingress !== undefined || now.egress !== undefined;
    if (isIsolated) {
      this.#isolated.set(key, now);
      for (const address of now.addresses) {
        const family = familyOf(address);
        for (const d of directions)
          if (now[d] !== undefined) this.table.put(`${d}-pods-${family}`, address, `goto ${now[d]}`);
        this.table.put(`self-${family}`, `${address} . ${address}`);
      }
    } else this.#isolated.delete(key);
    // Only now, so that what both want has not gone in between.
    if (before !== undefined)
      for (const d of directions) if (before[d] !== undefined) this.#releasePodChain(d, before[d]);
  }

  #unmap(was: Isolated): void {
    for (const address of was.addresses) {
      const family = familyOf(address);
      for (const d of directions) if (was[d] !== undefined) this.table.drop(`${d}-pods-${family}`, address);
      this.table.drop(`self-${family}`, `${address} . ${address}`);
    }
  }

  #acquirePodChain(d: Direction, policies: readonly string[]): string {
    const name = `pod-${d}-${hashed(policies.join(' ')).slice(0, 120)}`;
    const known = this.#podChains.get(name);
    if (known !== undefined) {
      known.users++;
      return name;
    }
    this.#podChains.set(name, { users: 1, policies });
    this.table.chain(name, [...policies.map((key) => `jump ${this.#acquirePolicy(d, key)}`), 'drop']);
    return name;
  }

  #releasePodChain(d: Direction, name: string): void {
    const known = this.#podChains.get(name);
    if (known === undefined || --known.users > 0) return;
    this.#podChains.delete(name);
    this.table.removeChain(name);
    for (const key of known.policies) this.#releasePolicy(d, key);
  }

  #chainName(d: Direction, key: string): string {
    return `${d}-${hashed(key)}`;
  }

  #acquirePolicy(d: Direction, key: string): string {
    const name = this.#chainName(d, key);
    const known = this.#policyChains.get(name);
    if (known !== undefined) known.users++;
    else this.#policyChains.set(name, { users: 1, ...this.#write(d, name, this.#policies.get(key)?.[d] ?? []) });
    return name;
  }

  #rewrite(d: Direction, policy: CompiledPolicy): void {
    const name = this.#chainName(d, policy.key);
    const known = this.#policyChains.get(name);
    if (known === undefined) return;
    const now = this.#write(d, name, policy[d] ?? []);
    this.#releaseSets(known);
    this.#policyChains.set(name, { users: known.users, ...now });
  }

  #releasePolicy(d: Direction, key: string): void {
    const name = this.#chainName(d, key);
    const known = this.#policyChains.get(name);
    if (known === undefined || --known.users > 0) return;
    this.#policyChains.delete(name);
    this.table.removeChain(name);
    this.#releaseSets(known);
  }

  #releaseSets(chain: Pick<PolicyChain, 'groups' | 'ports'>): void {
    for (const g of chain.groups) this.#sets.releaseGroup(g);
    for (const p of chain.ports) for (const port of p.names) this.#sets.releasePort(port, p.protocol);
  }

  /** Writes the chain of a policy: a packet that a rule allows leaves it for good, all others come back. */
  #write(d: Direction, chain: string, rules: readonly Rule[]): { groups: PodGroup[]; ports: Ports[] } {
    const groups: PodGroup[] = [];
    const ports: Ports[] = [];
    const out: string[] = [];
    const allow = d === 'ingress' ? 'accept' : 'goto ingress';
    for (const rule of rules) {
      const matches: { family: 4 | 6 | undefined; text: string }[] = [];
      if (rule.peers === undefined) matches.push({ family: undefined, text: '' });
      for (const group of rule.peers?.groups ?? []) {
        const set = this.#sets.acquireGroup(group);
        groups.push(group);
        for (const family of [4, 6] as const)
          matches.push({ family, text: `${ipOf(family)} ${d === 'ingress' ? 'saddr' : 'daddr'} @${set}-${family} ` });
      }
      for (const block of rule.peers?.blocks ?? []) matches.push({ family: block.family, text: blockMatch(d, block) });
      const portMatches: { family: 4 | 6 | undefined; text: string }[] = [];
      if (rule.ports === undefined) portMatches.push({ family: undefined, text: '' });
      for (const p of rule.ports ?? []) {
        const numbers = rangesMatch(p);
        if (numbers !== undefined) portMatches.push({ family: undefined, text: numbers });
        ports.push(p);
        for (const name of p.names) {
          const set = this.#sets.acquirePort(name, p.protocol);
          for (const family of [4, 6] as const)
            portMatches.push({ family, text: `${ipOf(family)} daddr . ${p.protocol} dport @${set}-${family} ` });
        }
      }
      for (const peer of matches)
        for (const port of portMatches)
          if (peer.family === undefined || port.family === undefined || peer.family === port.family)
            out.push(`${peer.text}${port.text}${allow}`);
    }
    this.table.chain(chain, out);
    return { groups, ports };
  }
}

function blockMatch(d: Direction, block: Block): string {
  const field = `${ipOf(block.family)} ${d === 'ingress' ? 'saddr' : 'daddr'}`;
  // One by one: ranges in a set of nft may not overlap.
  const except = block.except.map((e) => `${field} != ${e} `).join('');
  const whole = block.cidr.endsWith('/0') ? `meta nfproto ipv${block.family} ` : `${field} ${block.cidr} `;
  return `${whole}${except}`;
}

function rangesMatch(p: Ports): string | undefined {
  if (p.ranges === undefined) return `meta l4proto ${p.protocol} `;
  if (p.ranges.length === 0) return undefined;
  const list = p.ranges.map(([from, to]) => (from === to ? String(from) : `${from}-${to}`)).join(', ');
  return `${p.protocol} dport { ${list} } `;
}
