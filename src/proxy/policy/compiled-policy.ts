/** A NetworkPolicy as its rules are made from: selectors compiled, defaults applied, ports and ranges merged. Knows nothing of nft. */
import type { Cidr } from '../../base/ip.ts';
import { formatIp, parseCidr } from '../../base/ip.ts';
import type { Selector } from '../../api/selector.ts';
import { compileLabelSelector, everythingSelector, labelSelectorAsString } from '../../api/selector.ts';
import type { NetworkPolicy, NetworkPolicyPeer, NetworkPolicyPort } from '../../api/types/index.gen.ts';

export type Direction = 'ingress' | 'egress';

/** Pods that are told by selectors. Equal ids stand for equal groups. */
export interface PodGroup {
  readonly id: string;
  /** Of this namespace alone. */
  readonly namespace: string | undefined;
  /** Of the namespaces with such labels. */
  readonly namespaceSelector: Selector | undefined;
  readonly podSelector: Selector;
}

export interface Block {
  readonly family: 4 | 6;
  readonly cidr: string;
  readonly except: readonly string[];
}

export interface Ports {
  readonly protocol: 'tcp' | 'udp' | 'sctp';
  /** From and to, sorted and apart; undefined: all ports. */
  readonly ranges: readonly (readonly [number, number])[] | undefined;
  readonly names: readonly string[];
}

export interface Rule {
  /** Undefined: everybody. */
  readonly peers: { readonly groups: readonly PodGroup[]; readonly blocks: readonly Block[] } | undefined;
  /** Undefined: everything. */
  readonly ports: readonly Ports[] | undefined;
}

export interface CompiledPolicy {
  /** `namespace/name` */
  readonly key: string;
  readonly namespace: string;
  readonly selector: Selector;
  /** Undefined for a direction that the policy does not speak of. */
  readonly ingress: readonly Rule[] | undefined;
  readonly egress: readonly Rule[] | undefined;
}

const text = (c: Cidr): string => `${formatIp({ family: c.family, value: c.base })}/${c.prefix}`;

function groupOf(peer: NetworkPolicyPeer, namespace: string): PodGroup {
  const podSelector = peer.podSelector === undefined ? everythingSelector : compileLabelSelector(peer.podSelector);
  const pods = peer.podSelector === undefined ? '' : labelSelectorAsString(peer.podSelector);
  if (peer.namespaceSelector === undefined)
    return { id: `in ${namespace} ${pods}`, namespace, namespaceSelector: undefined, podSelector };
  return {
    id: `of ${labelSelectorAsString(peer.namespaceSelector)} ${pods}`,
    namespace: undefined,
    namespaceSelector: compileLabelSelector(peer.namespaceSelector),
    podSelector,
  };
}

function blockOf(cidr: string, except: readonly string[]): Block | undefined {
  const whole = parseCidr(cidr);
  if (whole === undefined) return undefined;
  const holes = except.map(parseCidr).filter((c): c is Cidr => c?.family === whole.family);
  return { family: whole.family, cidr: text(whole), except: holes.map(text) };
}

function peersOf(peers: readonly NetworkPolicyPeer[] | undefined, namespace: string): Rule['peers'] {
  if (peers === undefined || peers.length === 0) return undefined;
  const groups = new Map<string, PodGroup>();
  const blocks: Block[] = [];
  for (const peer of peers) {
    if (peer.ipBlock !== undefined) {
      const block = blockOf(peer.ipBlock.cidr, peer.ipBlock.except ?? []);
      if (block !== undefined) blocks.push(block);
    } else {
      const group = groupOf(peer, namespace);
      groups.set(group.id, group);
    }
  }
  return { groups: [...groups.values()], blocks };
}

/** Sorted, and joined where they touch. */
function merged(ranges: readonly (readonly [number, number])[]): [number, number][] {
  const out: [number, number][] = [];
  for (const [from, to] of ranges.toSorted((a, b) => a[0] - b[0])) {
    const last = out.at(-1);
    if (last !== undefined && from <= last[1] + 1) last[1] = Math.max(last[1], to);
    else out.push([from, to]);
  }
  return out;
}

function portsOf(ports: readonly NetworkPolicyPort[] | undefined): readonly Ports[] | undefined {
  if (ports === undefined || ports.length === 0) return undefined;
  const out: Ports[] = [];
  for (const protocol of ['TCP', 'UDP', 'SCTP'] as const) {
    const own = ports.filter((p) => (p.protocol ?? 'TCP') === protocol);
    if (own.length === 0) continue;
    const ranges: [number, number][] = [];
    const names = new Set<string>();
    let all = false;
    for (const p of own) {
      if (p.port === undefined) all = true;
      else if (typeof p.port === 'string') names.add(p.port);
      else ranges.push([p.port, p.endPort ?? p.port]);
    }
    out.push({
      protocol: protocol.toLowerCase() as Ports['protocol'],
      ranges: all ? undefined : merged(ranges),
      names: all ? [] : [...names],
    });
  }
  return out;
}

export function compilePolicy(policy: NetworkPolicy): CompiledPolicy {
  const namespace = policy.metadata.namespace ?? '';
  const { spec } = policy;
  const types = spec?.policyTypes ?? (spec?.egress === undefined ? ['Ingress'] : ['Ingress', 'Egress']);
  return {
    key: `${namespace}/${policy.metadata.name ?? ''}`,
    namespace,
    selector: spec?.podSelector === undefined ? everythingSelector : compileLabelSelector(spec.podSelector),
    ingress: types.includes('Ingress')
      ? (spec?.ingress ?? []).map((r) => ({ peers: peersOf(r.from, namespace), ports: portsOf(r.ports) }))
      : undefined,
    egress: types.includes('Egress')
      ? (spec?.egress ?? []).map((r) => ({ peers: peersOf(r.to, namespace), ports: portsOf(r.ports) }))
      : undefined,
  };
}
