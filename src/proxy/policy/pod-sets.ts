/**
 * Sets of addresses that rules refer to: the pods of a group told by selectors, and the ports of pods that have a certain name. A set is
 * shared by all rules that want the same, exists as long as one does, and follows pods and namespaces one by one.
 */
import type { Labels } from '../../api/selector.ts';
import type { NftTable } from '../nft/table.ts';
import { hashed } from '../nftables/names.ts';
import type { PodGroup } from './compiled-policy.ts';
import type { PodFacts } from './facts.ts';

const is6 = (address: string): boolean => address.includes(':');

export class PodIndex {
  readonly pods = new Map<string, PodFacts>();
  readonly byNamespace = new Map<string, Map<string, PodFacts>>();
  readonly namespaces = new Map<string, Labels>();

  set(pod: PodFacts): void {
    this.pods.set(pod.key, pod);
    let own = this.byNamespace.get(pod.namespace);
    if (own === undefined) this.byNamespace.set(pod.namespace, (own = new Map()));
    own.set(pod.key, pod);
  }

  delete(pod: PodFacts): void {
    this.pods.delete(pod.key);
    const own = this.byNamespace.get(pod.namespace);
    own?.delete(pod.key);
    if (own?.size === 0) this.byNamespace.delete(pod.namespace);
  }
}

interface GroupSet {
  readonly group: PodGroup;
  readonly name: string;
  /** Addresses of the members, as they were put into the set. */
  readonly members: Map<string, readonly string[]>;
  users: number;
}

interface PortSet {
  readonly port: string;
  readonly protocol: string;
  readonly name: string;
  readonly members: Map<string, readonly string[]>;
  users: number;
}

export class PodSets {
  readonly #t: NftTable;
  readonly #index: PodIndex;
  readonly #groups = new Map<string, GroupSet>();
  readonly #ports = new Map<string, PortSet>();

  constructor(table: NftTable, index: PodIndex) {
    this.#t = table;
    this.#index = index;
  }

  /** One more rule speaks of this group; returns the name of its sets, to which `-4` and `-6` are added. */
  acquireGroup(group: PodGroup): string {
    const known = this.#groups.get(group.id);
    if (known !== undefined) {
      known.users++;
      return known.name;
    }
    const name = `pods-${hashed(group.id)}`.slice(0, 200);
    const set: GroupSet = { group, name, members: new Map(), users: 1 };
    this.#groups.set(group.id, set);
    this.#t.container('set', `${name}-4`, 'type ipv4_addr ;');
    this.#t.container('set', `${name}-6`, 'type ipv6_addr ;');
    const namespaces = group.namespace === undefined ? this.#index.byNamespace.keys() : [group.namespace];
    for (const namespace of namespaces)
      for (const pod of this.#index.byNamespace.get(namespace)?.values() ?? []) this.#member(set, pod.key, pod);
    return name;
  }

  releaseGroup(group: PodGroup): void {
    const set = this.#groups.get(group.id);
    if (set === undefined || --set.users > 0) return;
    this.#groups.delete(group.id);
    for (const family of [4, 6]) this.#t.removeContainer(`${set.name}-${family}`);
  }

  /** The same for the ports of a name that pods have, whichever pods. */
  acquirePort(port: string, protocol: string): string {
    const id = `${protocol} ${port}`;
    const known = this.#ports.get(id);
    if (known !== undefined) {
      known.users++;
      return known.name;
    }
    const name = `ports-${hashed(id)}`;
    const set: PortSet = { port, protocol, name, members: new Map(), users: 1 };
    this.#ports.set(id, set);
    this.#t.container('set', `${name}-4`, 'type ipv4_addr . inet_service ;');
    this.#t.container('set', `${name}-6`, 'type ipv6_addr . inet_service ;');
    for (const pod of this.#index.pods.values()) this.#portMember(set, pod.key, pod);
    return name;
  }

  releasePort(port: string, protocol: string): void {
    const id = `${protocol} ${port}`;
    const set = this.#ports.get(id);
    if (set === undefined || --set.users > 0) return;
    this.#ports.delete(id);
    for (const family of [4, 6]) this.#t.removeContainer(`${set.name}-${family}`);
  }

  /** A pod is new, different, or gone; the index knows it already. */
  podChanged(key: string, pod: PodFacts | undefined): void {
    for (const set of this.#groups.values()) this.#member(set, key, pod);
    for (const set of this.#ports.values()) this.#portMember(set, key, pod);
  }

  /** A namespace's labels are different. */
  namespaceChanged(namespace: string): void {
    const pods = this.#index.byNamespace.get(namespace);
    if (pods === undefined) return;
    for (const set of this.#groups.values())
      if (set.group.namespaceSelector !== undefined) for (const pod of pods.values()) this.#member(set, pod.key, pod);
  }

  #belongs(group: PodGroup, pod: PodFacts): boolean {
    if (group.namespace !== undefined) {
      if (pod.namespace !== group.namespace) return false;
    } else {
      const labels = this.#index.namespaces.get(pod.namespace);
      if (labels === undefined || group.namespaceSelector?.matches(labels) !== true) return false;
    }
    return group.podSelector.matches(pod.labels);
  }

  #member(set: GroupSet, key: string, pod: PodFacts | undefined): void {
    const now = pod !== undefined && this.#belongs(set.group, pod) ? pod.addresses : [];
    this.#replace(set, key, now, (address) => address);
  }

  #portMember(set: PortSet, key: string, pod: PodFacts | undefined): void {
    const port = pod?.ports.find((p) => p.name === set.port && p.protocol.toLowerCase() === set.protocol);
    const now = port === undefined ? [] : pod!.addresses.map((a) => `${a} . ${port.port}`);
    this.#replace(set, key, now, (element) => element.split(' ', 1)[0]!);
  }

  #replace(
    set: { readonly name: string; readonly members: Map<string, readonly string[]> },
    key: string,
    now: readonly string[],
    addressOf: (element: string) => string,
  ): void {
    const before = set.members.get(key) ?? [];
    if (before.length === now.length && before.every((e, i) => e === now[i])) return;
    const container = (element: string): string => `${set.name}-${is6(addressOf(element)) ? 6 : 4}`;
    for (const element of before) this.#t.drop(container(element), element);
    for (const element of now) this.#t.put(container(element), element);
    if (now.length === 0) set.members.delete(key);
    else set.members.set(key, now);
  }
}
