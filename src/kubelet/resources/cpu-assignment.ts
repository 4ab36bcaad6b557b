/** Which processors a container gets to itself: whole NUMA nodes, sockets, caches and cores before single threads, or evenly spread. */
import { combinations } from './numa-mask.ts';
import { cpusIn, cpusPer, partsOf } from './machine-topology.ts';
import type { CpuPlace, Level, MachineTopology } from './machine-topology.ts';
import type { CpuSet } from '../cpu-set.ts';
import { sortedCpus } from '../cpu-set.ts';

export interface TakeOptions {
  /** One thread of each core before the second of any. */
  readonly spread?: boolean;
  /** Rather within one last-level cache. */
  readonly byUncoreCache?: boolean;
}

class Choice {
  readonly taken = new Set<number>();
  readonly #topology: MachineTopology;
  readonly #options: TakeOptions;
  /** Those that are left. */
  #left: ReadonlyMap<number, CpuPlace>;
  /** The larger of the two comes first. */
  readonly #numaFirst: boolean;
  needed: number;

  constructor(topology: MachineTopology, available: CpuSet, needed: number, options: TakeOptions) {
    this.#topology = topology;
    this.#options = options;
    this.#left = new Map([...topology.cpus].filter(([cpu]) => available.has(cpu)));
    this.needed = needed;
    this.#numaFirst = partsOf(topology.cpus, 'socket').length >= partsOf(topology.cpus, 'numa').length;
  }

  get left(): ReadonlyMap<number, CpuPlace> {
    return this.#left;
  }

  /** Those with the fewest processors left first, so that whole ones stay whole. */
  #byRoom(parts: number[], level: Level): number[] {
    const room = new Map(parts.map((p) => [p, cpusIn(this.#left, level, p).size]));
    return parts.sort((a, b) => room.get(a)! - room.get(b)! || a - b);
  }

  #within(outer: Level, outers: readonly number[], level: Level): number[] {
    return outers.flatMap((o) => this.#byRoom(partsOf(this.#left, level, [outer, o]), level));
  }

  /** Parts of a level that have any left, in the order in which they are to be used up. */
  sorted(level: Level): number[] {
    const [outer, inner]: [Level, Level] = this.#numaFirst ? ['numa', 'socket'] : ['socket', 'numa'];
    if (level === outer) return this.#byRoom(partsOf(this.#left, outer), outer);
    if (level === inner) return this.#within(outer, this.sorted(outer), inner);
    if (level === 'core') return this.#within(inner, this.sorted(inner), 'core');
    return this.#within('numa', this.sorted('numa'), 'uncore');
  }

  #cpus(): number[] {
    const level: Level = this.#options.spread === true ? 'socket' : 'core';
    return this.sorted(level).flatMap((p) => sortedCpus(cpusIn(this.#left, level, p)));
  }

  take(cpus: CpuSet): void {
    for (const cpu of cpus) this.taken.add(cpu);
    this.#left = new Map([...this.#left].filter(([cpu]) => !cpus.has(cpu)));
    this.needed -= cpus.size;
  }

  /** Parts that nobody has anything of, as long as that many are needed. */
  takeWhole(level: Level): void {
    const free = this.sorted(level).filter(
      (p) =>
        cpusIn(this.#left, level, p).size ===
        (level === 'numa' || level === 'uncore'
          ? cpusIn(this.#topology.cpus, level, p).size
          : cpusPer(this.#topology, level)),
    );
    for (const p of free) {
      const all = cpusIn(this.#topology.cpus, level, p);
      if (this.needed >= all.size) this.take(all);
    }
  }

  /** All that are needed from one cache, where it has them. */
  #takeFromCache(cache: number): void {
    const threads = cpusPer(this.#topology, 'core');
    const cores = sortedCpus(partsOf(this.#left, 'core', ['uncore', cache])).slice(0, Math.ceil(this.needed / threads));
    let cpus = sortedCpus(cpusIn(this.#left, 'core', ...cores));
    if (this.needed % 2 !== 0 && threads > 1 && cpus.length > this.needed) cpus = cpus.slice(0, -1);
    if (cpus.length === this.needed) this.take(new Set(cpus));
  }

  takeByCache(): void {
    const size = cpusPer(this.#topology, 'uncore');
    for (const cache of this.sorted('uncore')) {
      if (this.needed >= size) this.takeWhole('uncore');
      if (this.needed < 1) return;
      this.#takeFromCache(cache);
      if (this.needed < 1) return;
    }
  }

  run(): boolean {
    const steps: (() => void)[] = [
      () => this.takeWhole(this.#numaFirst ? 'numa' : 'socket'),
      () => this.takeWhole(this.#numaFirst ? 'socket' : 'numa'),
      ...(this.#options.byUncoreCache === true ? [() => this.takeByCache()] : []),
      ...(this.#options.spread === true ? [] : [() => this.takeWhole('core')]),
      () => {
        for (const cpu of this.#cpus()) {
          if (this.needed < 1) return;
          this.take(new Set([cpu]));
        }
      },
    ];
    for (const step of steps) {
      if (this.needed < 1) break;
      step();
    }
    return this.needed < 1;
  }
}

function begin(topology: MachineTopology, available: CpuSet, count: number, options: TakeOptions): Choice {
  const choice = new Choice(topology, available, count, options);
  if (count > choice.left.size)
    throw new Error(`not enough cpus available to satisfy request: requested=${count}, available=${choice.left.size}`);
  return choice;
}

/** As close together as possible. @throws upstream's text when there are too few */
export function takePacked(
  topology: MachineTopology,
  available: CpuSet,
  count: number,
  options: TakeOptions = {},
): Set<number> {
  const choice = begin(topology, available, count, options);
  if (!choice.run()) throw new Error('failed to allocate cpus');
  return choice.taken;
}

/** To three digits, as upstream compares. */
function deviation(values: readonly number[]): number {
  const round = (n: number): number => Math.round(n * 1000) / 1000;
  const mean = round(values.reduce((a, b) => a + b, 0) / values.length);
  return round(Math.sqrt(values.reduce((a, v) => a + (v - mean) ** 2, 0) / values.length));
}

interface Spread {
  readonly nodes: readonly number[];
  /** Those that get one group more, in turns. */
  readonly extra: readonly number[];
  readonly each: number;
  readonly balance: number;
}

/** How evenly nodes are left when these give the processors; undefined when they cannot. */
function spreadOver(
  free: ReadonlyMap<number, number>,
  nodes: readonly number[],
  count: number,
  group: number,
): Spread | undefined {
  const groups = nodes.reduce((sum, n) => sum + Math.trunc(free.get(n)! / group), 0);
  const each = Math.trunc(count / nodes.length / group) * group;
  if (groups * group < count || nodes.some((n) => free.get(n)! < each)) return undefined;
  const after = new Map(free);
  for (const n of nodes) after.set(n, after.get(n)! - each);
  const rest = count - each * nodes.length;
  if (rest === 0) return { nodes, extra: [], each, balance: deviation([...after.values()]) };
  const able = nodes.filter((n) => after.get(n)! >= group);
  let best: Spread | undefined;
  for (let size = able.length; size >= 1; size--)
    for (const extra of combinations(able, size)) {
      if (extra.reduce((sum, n) => sum + after.get(n)!, 0) < rest) continue;
      const left = new Map(after);
      let missing = rest;
      while (missing > 0) {
        const before = missing;
        for (const n of extra)
          if (missing > 0 && left.get(n)! >= group) {
            left.set(n, left.get(n)! - group);
            missing -= group;
          }
        if (missing === before) break;
      }
      if (missing > 0) continue;
      const balance = deviation([...left.values()]);
      if (best === undefined || balance < best.balance) best = { nodes, extra, each, balance };
    }
  return best;
}

/** In equal parts from as few NUMA nodes as can hold them. `group`: threads that are given together. @throws as `takePacked` */
export function takeDistributed(
  topology: MachineTopology,
  available: CpuSet,
  count: number,
  group: number,
  options: TakeOptions = {},
): Set<number> {
  if (count % group !== 0 || count < 1) return takePacked(topology, available, count, options);
  const choice = begin(topology, available, count, options);
  const nodes = choice.sorted('numa');
  const free = new Map(nodes.map((n) => [n, cpusIn(choice.left, 'numa', n).size]));
  const groups = Math.ceil(count / group);
  const all = partsOf(topology.cpus, 'numa').length;
  const perNode = Math.ceil(Math.ceil(topology.cpus.size / group) / all);
  for (let k = Math.ceil(groups / perNode); k <= Math.min(groups, nodes.length); k++) {
    let best: Spread | undefined;
    for (const some of combinations(nodes, k)) {
      const spread = spreadOver(free, some, count, group);
      if (spread !== undefined && (best === undefined || spread.balance < best.balance)) best = spread;
      if (best?.balance === 0) break;
    }
    if (best === undefined) continue;
    const take = (node: number, n: number): void =>
      choice.take(takePacked(topology, cpusIn(choice.left, 'numa', node), n, { spread: options.spread === true }));
    for (const n of best.nodes) take(n, best.each);
    while (choice.needed > 0)
      for (const n of best.extra) if (choice.needed > 0 && cpusIn(choice.left, 'numa', n).size >= group) take(n, group);
    return choice.taken;
  }
  return takePacked(topology, available, count, { spread: options.spread === true });
}
