/**
 * The topology manager: what several resources of a container say about the NUMA nodes that would suit them is merged into one
 * affinity, and a pod for which there is none is turned away as the policy says.
 */
import type { Container, Pod } from '../../api/types/index.gen.ts';
import type { MachineTopology } from './machine-topology.ts';
import type { NumaMask } from './numa-mask.ts';
import { countOf, isNarrower, maskOf, nodesOf } from './numa-mask.ts';

export interface TopologyHint {
  /** Undefined: any node will do. */
  readonly affinity: NumaMask | undefined;
  readonly preferred: boolean;
}

/** By resource. No list: any node will do; an empty one: none will. */
export type Hints = ReadonlyMap<string, readonly TopologyHint[] | undefined>;

/** Gives resources of NUMA nodes to containers. */
export interface HintProvider {
  hints(pod: Pod, container: Container): Hints | undefined;
  podHints(pod: Pod): Hints | undefined;
  /** @throws AdmissionError, or any error for what is not expected */
  allocate(pod: Pod, container: Container, affinity: TopologyHint): void | Promise<void>;
}

/** A pod that cannot be taken in, with the reason that its status is to have. */
export class AdmissionError extends Error {
  override readonly name = 'AdmissionError';
  readonly reason: string;
  constructor(reason: string, message: string) {
    super(message);
    this.reason = reason;
  }
}

export type TopologyPolicy = 'none' | 'best-effort' | 'restricted' | 'single-numa-node';

export interface TopologyOptions {
  readonly preferClosest: boolean;
  readonly maxNodes: number;
}

const defaultMaxNodes = 8;

/** Go's strconv.ParseBool. @throws in its words */
export function parseBool(name: string, text: string): boolean {
  if (['1', 't', 'T', 'TRUE', 'true', 'True'].includes(text)) return true;
  if (['0', 'f', 'F', 'FALSE', 'false', 'False'].includes(text)) return false;
  throw new Error(`bad value for option "${name}": strconv.ParseBool: parsing ${JSON.stringify(text)}: invalid syntax`);
}

/** @throws in upstream's words */
export function topologyOptions(given: Readonly<Record<string, string>>): TopologyOptions {
  let preferClosest = false;
  let maxNodes = defaultMaxNodes;
  for (const [name, value] of Object.entries(given))
    if (name === 'prefer-closest-numa-nodes') preferClosest = parseBool(name, value);
    else if (name === 'max-allowable-numa-nodes') {
      if (!/^[+-]?\d+$/.test(value))
        throw new Error(
          `unable to convert policy option to integer "${name}": strconv.Atoi: parsing ${JSON.stringify(value)}: invalid syntax`,
        );
      maxNodes = Number(value);
      if (maxNodes < defaultMaxNodes)
        throw new Error(`the minimum value of "${name}" should not be less than ${defaultMaxNodes}`);
    } else throw new Error(`unknown Topology Manager Policy option: "${name}"`);
  return { preferClosest, maxNodes };
}

const anyNode: TopologyHint = { affinity: undefined, preferred: true };
const noNode: TopologyHint = { affinity: undefined, preferred: false };

function flatten(all: readonly (Hints | undefined)[]): (readonly TopologyHint[])[] {
  const out: (readonly TopologyHint[])[] = [];
  for (const hints of all) {
    if (hints === undefined || hints.size === 0) out.push([anyNode]);
    else
      for (const list of hints.values()) out.push(list === undefined ? [anyNode] : list.length === 0 ? [noNode] : list);
  }
  return out;
}

function* permutations(lists: readonly (readonly TopologyHint[])[], at = 0): Generator<readonly TopologyHint[]> {
  if (at === lists.length) {
    yield [];
    return;
  }
  for (const hint of lists[at]!) for (const rest of permutations(lists, at + 1)) yield [hint, ...rest];
}

/** The narrowest mask of the resource that needs the most nodes: less than that cannot be had. */
function leastCount(lists: readonly (readonly TopologyHint[])[]): number {
  let most = 0;
  for (const list of lists) {
    let least: NumaMask | undefined;
    for (const { affinity } of list)
      if (affinity !== undefined && (least === undefined || isNarrower(affinity, least))) least = affinity;
    if (least !== undefined) most = Math.max(most, countOf(least));
  }
  return most;
}

export interface Merged {
  readonly hint: TopologyHint;
  readonly admit: boolean;
}

/** One affinity for all resources of a container (or pod). */
export class HintMerger {
  readonly #policy: TopologyPolicy;
  readonly #all: NumaMask;
  readonly #closest: boolean;
  readonly #distances: ReadonlyMap<number, readonly number[]>;
  readonly #index: ReadonlyMap<number, number>;

  /** @throws in upstream's words for a machine with too many NUMA nodes */
  constructor(topology: MachineTopology, policy: TopologyPolicy, options: TopologyOptions) {
    this.#policy = policy;
    const nodes = topology.numaNodes.map((n) => n.id);
    if (nodes.length > options.maxNodes)
      throw new Error(`unsupported on machines with more than ${options.maxNodes} NUMA Nodes`);
    this.#all = maskOf(nodes);
    this.#closest = options.preferClosest && policy !== 'single-numa-node';
    this.#distances = new Map(topology.numaNodes.map((n) => [n.id, n.distances]));
    this.#index = new Map(nodes.map((n, i) => [n, i]));
  }

  merge(hints: readonly (Hints | undefined)[]): Merged {
    let lists = flatten(hints);
    if (this.#policy === 'single-numa-node')
      lists = lists.map((list) =>
        list.filter((h) => h.preferred && (h.affinity === undefined || countOf(h.affinity) === 1)),
      );
    const least = leastCount(lists);
    let best: { affinity: NumaMask; preferred: boolean } | undefined;
    for (const permutation of permutations(lists)) {
      const given = permutation.flatMap((h) => (h.affinity === undefined ? [] : [h.affinity]));
      const affinity = given.reduce((a, b) => a & b, this.#all);
      const preferred = permutation.every((h) => h.preferred) && given.every((m) => m === given[0]);
      best = this.#better(best, { affinity, preferred }, least);
    }
    let hint: TopologyHint = best ?? { affinity: this.#all, preferred: false };
    if (this.#policy === 'single-numa-node' && hint.affinity === this.#all)
      hint = { affinity: undefined, preferred: hint.preferred };
    return { hint, admit: this.#policy === 'none' || this.#policy === 'best-effort' || hint.preferred };
  }

  #better<H extends { affinity: NumaMask; preferred: boolean }>(
    current: H | undefined,
    other: H,
    least: number,
  ): H | undefined {
    if (other.affinity === 0n) return current;
    if (current === undefined) return other;
    if (current.preferred !== other.preferred) return current.preferred ? current : other;
    if (current.preferred) return this.#suits(current, other);
    const [a, b] = [countOf(current.affinity), countOf(other.affinity)];
    // Of those that nobody prefers, what has as many nodes as are needed at least, then rather fewer than more.
    if (a > least) return this.#suits(current, other);
    if (a === least) return b === least ? this.#suits(current, other) : current;
    if (b > least) return current;
    if (b === least) return other;
    return a === b ? this.#suits(current, other) : b > a ? other : current;
  }

  #suits<H extends { affinity: NumaMask }>(current: H, other: H): H {
    if (current.affinity === other.affinity) return current;
    if (this.#closest && countOf(current.affinity) === countOf(other.affinity)) {
      const [a, b] = [this.#distance(current.affinity), this.#distance(other.affinity)];
      if (a !== b) return a < b ? current : other;
      return current.affinity < other.affinity ? current : other;
    }
    return isNarrower(current.affinity, other.affinity) ? current : other;
  }

  #distance(mask: NumaMask): number {
    const nodes = nodesOf(mask);
    let sum = 0;
    for (const a of nodes) for (const b of nodes) sum += this.#distances.get(a)?.[this.#index.get(b)!] ?? 0;
    return sum / nodes.length ** 2;
  }
}

/** The containers that are given resources, in the order in which they start. */
export function allContainers(pod: Pod): readonly Container[] {
  return [...(pod.spec?.initContainers ?? []), ...(pod.spec?.containers ?? [])];
}

/** Takes pods in: gives each of their containers what it is to have alone. */
export class TopologyManager {
  readonly #merger: HintMerger | undefined;
  readonly #scope: string;
  readonly #providers: readonly HintProvider[];

  constructor(
    topology: MachineTopology,
    policy: TopologyPolicy,
    scope: string,
    options: Readonly<Record<string, string>>,
    providers: readonly HintProvider[],
  ) {
    this.#merger = policy === 'none' ? undefined : new HintMerger(topology, policy, topologyOptions(options));
    this.#scope = scope;
    this.#providers = providers;
  }

  /** One pod after another. Rejects with AdmissionError, or any error for what is not expected. */
  async admit(pod: Pod): Promise<void> {
    const merger = this.#merger;
    let whole: TopologyHint | undefined;
    if (merger !== undefined && this.#scope === 'pod') whole = this.#checked(merger, (p) => p.podHints(pod));
    for (const container of allContainers(pod)) {
      const hint = merger === undefined ? noNode : (whole ?? this.#checked(merger, (p) => p.hints(pod, container)));
      for (const p of this.#providers) await p.allocate(pod, container, hint);
    }
  }

  #checked(merger: HintMerger, ask: (p: HintProvider) => Hints | undefined): TopologyHint {
    const { hint, admit } = merger.merge(this.#providers.map(ask));
    if (!admit)
      throw new AdmissionError('TopologyAffinityError', 'Resources cannot be allocated with Topology locality');
    return hint;
  }
}
