/**
 * The CPU manager's static policy: containers of Guaranteed pods that ask for whole CPUs have them to themselves, all others share
 * the rest. Pure: the state is saved by whoever calls.
 */
import { podQOSClass } from '../../api/helpers/pod-qos.ts';
import { isSidecar } from '../../api/helpers/pod-resources.ts';
import { parseQuantity, quantityMilli } from '../../api/quantity.ts';
import type { Container, Pod } from '../../api/types/index.gen.ts';
import type { CpuSet } from '../cpu-set.ts';
import { formatCpuSet } from '../cpu-set.ts';
import { takeDistributed, takePacked } from './cpu-assignment.ts';
import type { MachineTopology } from './machine-topology.ts';
import { cpusIn, cpusPer, partsOf } from './machine-topology.ts';
import type { NumaMask } from './numa-mask.ts';
import { countOf, masks, nodesOf } from './numa-mask.ts';
import type { HintProvider, Hints, TopologyHint } from './topology-hints.ts';
import { AdmissionError, allContainers, parseBool } from './topology-hints.ts';

export interface CpuOptions {
  readonly fullCores: boolean;
  readonly distributeNuma: boolean;
  readonly alignBySocket: boolean;
  readonly distributeCores: boolean;
  readonly strictReservation: boolean;
  readonly byUncoreCache: boolean;
}

const optionNames = {
  'full-pcpus-only': 'fullCores',
  'distribute-cpus-across-numa': 'distributeNuma',
  'align-by-socket': 'alignBySocket',
  'distribute-cpus-across-cores': 'distributeCores',
  'strict-cpu-reservation': 'strictReservation',
  'prefer-align-cpus-by-uncorecache': 'byUncoreCache',
} as const;

type OptionName = keyof typeof optionNames;

/** Options that a feature gate has to allow. */
const gated: Partial<Record<OptionName, readonly [level: string, gate: string]>> = {
  'align-by-socket': ['Alpha', 'CPUManagerPolicyAlphaOptions'],
  'distribute-cpus-across-cores': ['Alpha', 'CPUManagerPolicyAlphaOptions'],
  'distribute-cpus-across-numa': ['Beta', 'CPUManagerPolicyBetaOptions'],
};

const exclude: readonly (readonly [OptionName, OptionName])[] = [
  ['full-pcpus-only', 'distribute-cpus-across-cores'],
  ['distribute-cpus-across-numa', 'distribute-cpus-across-cores'],
  ['prefer-align-cpus-by-uncorecache', 'distribute-cpus-across-cores'],
  ['prefer-align-cpus-by-uncorecache', 'distribute-cpus-across-numa'],
];

/** @throws in upstream's words */
export function cpuOptions(
  given: Readonly<Record<string, string>>,
  gateEnabled: (gate: string) => boolean,
): CpuOptions {
  const on = new Set<OptionName>();
  for (const [name, value] of Object.entries(given)) {
    if (!Object.hasOwn(optionNames, name)) throw new Error(`unknown CPU Manager Policy option: "${name}"`);
    const [level, gate] = gated[name as OptionName] ?? [];
    if (gate !== undefined && !gateEnabled(gate))
      throw new Error(`CPU Manager Policy ${level}-level Options not enabled, but option "${name}" provided`);
    if (parseBool(name, value)) on.add(name as OptionName);
  }
  for (const [a, b] of exclude)
    if (on.has(a) && on.has(b)) throw new Error(`static policy options ${a} and ${b} can not be used at the same time`);
  return Object.fromEntries(
    Object.entries(optionNames).map(([name, field]) => [field, on.has(name as OptionName)]),
  ) as unknown as CpuOptions;
}

/** What outlives the kubelet. */
export interface CpuState {
  /** The pool that all share who have nothing of their own; empty before the first start. */
  shared: CpuSet;
  /** By pod and container. */
  readonly assigned: Map<string, Map<string, CpuSet>>;
}

const minus = (a: CpuSet, b: CpuSet): Set<number> => new Set([...a].filter((c) => !b.has(c)));
const plus = (a: CpuSet, b: CpuSet): Set<number> => new Set([...a, ...b]);
const both = (a: CpuSet, b: CpuSet): Set<number> => new Set([...a].filter((c) => b.has(c)));
const none: CpuSet = new Set();

/** Whether a pod has resources of its own: its containers are given nothing alone then. */
export function hasPodResources(pod: Pod): boolean {
  const r = pod.spec?.resources;
  return Object.keys(r?.requests ?? {}).length + Object.keys(r?.limits ?? {}).length > 0;
}

/** How many CPUs a container is to have alone. */
export function exclusiveCpus(pod: Pod, container: Container): number {
  if (podQOSClass(pod as never) !== 'Guaranteed' || hasPodResources(pod)) return 0;
  const text = (container.resources?.requests as Record<string, string> | undefined)?.['cpu'];
  const milli = text === undefined ? 0 : quantityMilli(parseQuantity(text));
  return milli % 1000 === 0 ? milli / 1000 : 0;
}

/** The same of a pod: init containers' are used again by those that come after them. */
function podExclusiveCpus(pod: Pod): number {
  let sidecars = 0;
  let init = 0;
  for (const c of pod.spec?.initContainers ?? []) {
    const n = exclusiveCpus(pod, c);
    if (isSidecar(c)) sidecars += n;
    else init = Math.max(init, sidecars + n);
  }
  const apps = (pod.spec?.containers ?? []).reduce((sum, c) => sum + exclusiveCpus(pod, c), 0);
  return Math.max(init, apps + sidecars);
}

export interface CpuPolicyOptions {
  readonly topology: MachineTopology;
  /** How many CPUs the node keeps for itself. */
  readonly reservedCount: number;
  /** Which; chosen when there are none. */
  readonly reserved: CpuSet;
  readonly options: CpuOptions;
  readonly topologyPolicy: string;
}

export class StaticCpuPolicy implements HintProvider {
  readonly reserved: CpuSet;
  readonly state: CpuState = { shared: none, assigned: new Map() };
  readonly #topology: MachineTopology;
  readonly #options: CpuOptions;
  readonly #all: CpuSet;
  /** The reserved ones with their cores' other threads. */
  readonly #reservedCores: CpuSet;
  readonly #threads: number;
  /** What a pod's init containers had, and its other ones may have. */
  #reuse: { readonly uid: string; cpus: CpuSet } | undefined;

  /** @throws in upstream's words */
  constructor(o: CpuPolicyOptions) {
    this.#topology = o.topology;
    this.#options = o.options;
    this.#all = new Set(o.topology.cpus.keys());
    this.#threads = cpusPer(o.topology, 'core');
    if (o.options.alignBySocket) {
      if (o.topologyPolicy === 'single-numa-node')
        throw new Error(
          'Topolgy manager single-numa-node policy is incompatible with CPUManager align-by-socket policy option',
        );
      if (partsOf(o.topology.cpus, 'socket').length > partsOf(o.topology.cpus, 'numa').length)
        throw new Error(
          'Align by socket is not compatible with hardware where number of sockets are more than number of NUMA',
        );
    }
    const reserved = o.reserved.size > 0 ? o.reserved : this.#tryTake(o.reservedCount);
    if (reserved.size !== o.reservedCount)
      throw new Error(
        `[cpumanager] unable to reserve the required amount of CPUs (size of ${formatCpuSet(reserved)} did not equal ${o.reservedCount})`,
      );
    const cores = new Set<number>();
    for (const cpu of reserved) {
      const place = o.topology.cpus.get(cpu);
      if (place === undefined)
        throw new Error(
          `[cpumanager] unable to build the reserved physical CPUs from the reserved set: unknown CPU ID: ${cpu}`,
        );
      cores.add(place.core);
    }
    this.reserved = reserved;
    this.#reservedCores = cpusIn(o.topology.cpus, 'core', ...cores);
  }

  #tryTake(count: number): CpuSet {
    try {
      return this.#take(this.#all, count);
    } catch {
      return none;
    }
  }

  /** Takes over what an earlier kubelet left. @throws in upstream's words when it does not fit the machine */
  restore(state: CpuState): void {
    const { strictReservation } = this.#options;
    const all = strictReservation ? minus(this.#all, this.reserved) : this.#all;
    if (state.shared.size === 0) {
      if (state.assigned.size > 0) throw new Error('default cpuset cannot be empty');
      this.state.shared = all;
      return;
    }
    const kept = both(this.reserved, state.shared);
    if (strictReservation) {
      if (kept.size > 0)
        throw new Error(
          `some of strictly reserved cpus: "${formatCpuSet(kept)}" are present in defaultCpuSet: "${formatCpuSet(state.shared)}"`,
        );
    } else if (kept.size !== this.reserved.size)
      throw new Error(
        `not all reserved cpus: "${formatCpuSet(this.reserved)}" are present in defaultCpuSet: "${formatCpuSet(state.shared)}"`,
      );
    let known: CpuSet = state.shared;
    for (const [pod, containers] of state.assigned)
      for (const [container, cpus] of containers) {
        if (both(state.shared, cpus).size > 0)
          throw new Error(
            `pod: ${pod}, container: ${container} cpuset: "${formatCpuSet(cpus)}" overlaps with default cpuset "${formatCpuSet(state.shared)}"`,
          );
        known = plus(known, cpus);
      }
    if (formatCpuSet(known) !== formatCpuSet(all))
      throw new Error(
        `current set of available CPUs "${formatCpuSet(all)}" doesn't match with CPUs in state "${formatCpuSet(known)}"`,
      );
    this.state.shared = state.shared;
    for (const [pod, containers] of state.assigned) this.state.assigned.set(pod, new Map(containers));
  }

  /** What a container has to itself. */
  exclusive(uid: string, container: string): CpuSet | undefined {
    return this.state.assigned.get(uid)?.get(container);
  }

  get #available(): Set<number> {
    return minus(this.state.shared, this.reserved);
  }

  #take(available: CpuSet, count: number): Set<number> {
    const { distributeNuma, distributeCores: spread, fullCores, byUncoreCache } = this.#options;
    return distributeNuma
      ? takeDistributed(this.#topology, available, count, fullCores ? this.#threads : 1, { spread })
      : takePacked(this.#topology, available, count, { spread, byUncoreCache });
  }

  #checkCores(count: number): void {
    if (!this.#options.fullCores) return;
    if (count % this.#threads !== 0)
      throw new AdmissionError(
        'SMTAlignmentError',
        `SMT Alignment Error: requested ${count} cpus not multiple cpus per core = ${this.#threads}`,
      );
    const free = minus(this.state.shared, this.#reservedCores).size;
    if (count > free)
      throw new AdmissionError(
        'SMTAlignmentError',
        `SMT Alignment Error: not enough free physical CPUs: available physical CPUs = ${free}, requested CPUs = ${count}, CPUs per core = ${this.#threads}`,
      );
  }

  allocate(pod: Pod, container: Container, hint: TopologyHint): void {
    const count = exclusiveCpus(pod, container);
    if (count === 0) return;
    const uid = pod.metadata.uid!;
    this.#checkCores(count);
    const had = this.exclusive(uid, container.name);
    if (had !== undefined) {
      this.#reusable(pod, container, had);
      return;
    }
    const allocatable = plus(this.#available, this.#reuseOf(uid));
    let cpus: CpuSet = none;
    if (hint.affinity !== undefined) {
      const aligned = this.#aligned(hint.affinity, allocatable);
      cpus = this.#take(aligned, Math.min(count, aligned.size));
    }
    cpus = plus(cpus, this.#take(minus(allocatable, cpus), count - cpus.size));
    this.state.shared = minus(this.state.shared, cpus);
    let containers = this.state.assigned.get(uid);
    if (containers === undefined) this.state.assigned.set(uid, (containers = new Map()));
    containers.set(container.name, cpus);
    this.#reusable(pod, container, cpus);
  }

  #reuseOf(uid: string): CpuSet {
    return this.#reuse?.uid === uid ? this.#reuse.cpus : none;
  }

  #reusable(pod: Pod, container: Container, cpus: CpuSet): void {
    const uid = pod.metadata.uid!;
    const before = this.#reuseOf(uid);
    const init = pod.spec?.initContainers?.find((c) => c.name === container.name);
    this.#reuse = { uid, cpus: init !== undefined && !isSidecar(init) ? plus(before, cpus) : minus(before, cpus) };
  }

  #aligned(affinity: NumaMask, cpus: CpuSet): Set<number> {
    const nodes = nodesOf(affinity);
    if (!this.#options.alignBySocket) return both(cpus, cpusIn(this.#topology.cpus, 'numa', ...nodes));
    return both(cpus, cpusIn(this.#topology.cpus, 'socket', ...this.#socketsOf(nodes)));
  }

  #socketsOf(nodes: readonly number[]): number[] {
    return [...new Set(nodes.flatMap((n) => partsOf(this.#topology.cpus, 'socket', ['numa', n])))];
  }

  /** A container is over: what it had alone is everybody's again, unless another one of its pod uses it. */
  release(uid: string, container: string): void {
    const containers = this.state.assigned.get(uid);
    const cpus = containers?.get(container);
    if (containers === undefined || cpus === undefined) return;
    containers.delete(container);
    if (containers.size === 0) this.state.assigned.delete(uid);
    let free: CpuSet = cpus;
    for (const other of containers.values()) free = minus(free, other);
    this.state.shared = plus(this.state.shared, free);
  }

  hints(pod: Pod, container: Container): Hints | undefined {
    const count = exclusiveCpus(pod, container);
    if (count === 0) return undefined;
    const uid = pod.metadata.uid!;
    const had = this.exclusive(uid, container.name);
    if (had !== undefined) return new Map([['cpu', had.size === count ? this.#hintsFor(had, none, count) : []]]);
    return new Map([['cpu', this.#hintsFor(this.#available, this.#reuseOf(uid), count)]]);
  }

  podHints(pod: Pod): Hints | undefined {
    const count = podExclusiveCpus(pod);
    if (count === 0) return undefined;
    const uid = pod.metadata.uid!;
    let had: CpuSet = none;
    for (const c of allContainers(pod)) {
      const own = this.exclusive(uid, c.name);
      if (own === undefined) continue;
      if (own.size !== exclusiveCpus(pod, c)) return new Map([['cpu', []]]);
      had = plus(had, own);
    }
    if (had.size === count) return new Map([['cpu', this.#hintsFor(had, none, count)]]);
    return new Map([['cpu', this.#hintsFor(this.#available, plus(this.#reuseOf(uid), had), count)]]);
  }

  /** Each set of NUMA nodes that has enough, preferred when no smaller one could ever have. */
  #hintsFor(available: CpuSet, reusable: CpuSet, count: number): TopologyHint[] {
    const { cpus } = this.#topology;
    const nodes = partsOf(cpus, 'numa').sort((a, b) => a - b);
    let least = nodes.length;
    const fitting: NumaMask[] = [];
    for (const mask of masks(nodes)) {
      const inside = cpusIn(cpus, 'numa', ...nodesOf(mask));
      if (inside.size >= count) least = Math.min(least, countOf(mask));
      if ([...reusable].some((c) => !inside.has(c))) continue;
      if (reusable.size + both(available, inside).size >= count) fitting.push(mask);
    }
    return fitting.map((affinity) => ({
      affinity,
      preferred: countOf(affinity) === least || (this.#options.alignBySocket && this.#socketAligned(affinity, least)),
    }));
  }

  #socketAligned(affinity: NumaMask, least: number): boolean {
    const { cpus } = this.#topology;
    const perSocket = Math.trunc(partsOf(cpus, 'numa').length / partsOf(cpus, 'socket').length);
    return perSocket > 0 && this.#socketsOf(nodesOf(affinity)).length === Math.ceil(least / perSocket);
  }
}
