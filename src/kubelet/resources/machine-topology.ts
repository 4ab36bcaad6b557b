/** How a machine's processors and memory hang together: threads, cores, caches, sockets, NUMA nodes; read from /sys. */
import type { NodeHost } from '../host/node-host.ts';
import { parseCpuSet } from '../cpu-set.ts';
import type { CpuSet } from '../cpu-set.ts';

/** Where a processor sits. A core is named by the lowest of its threads, for hardware numbers them anew in each socket. */
export interface CpuPlace {
  readonly core: number;
  readonly socket: number;
  readonly numa: number;
  /** The last-level cache that it shares. */
  readonly uncore: number;
}

export interface NumaNode {
  readonly id: number;
  readonly memoryBytes: number;
  /** Relative, to each node in the order of their numbers. */
  readonly distances: readonly number[];
  readonly hugepages: readonly { readonly pageSizeBytes: number; readonly count: number }[];
}

export interface MachineTopology {
  readonly cpus: ReadonlyMap<number, CpuPlace>;
  /** In the order of their numbers. */
  readonly numaNodes: readonly NumaNode[];
}

export type Level = keyof CpuPlace;

/** What has processors of a level among those of a map, or of them those that lie in a certain part of another level. */
export function partsOf(
  cpus: ReadonlyMap<number, CpuPlace>,
  level: Level,
  within?: readonly [Level, number],
): number[] {
  const out = new Set<number>();
  for (const p of cpus.values()) if (within === undefined || p[within[0]] === within[1]) out.add(p[level]);
  return [...out];
}

/** The processors of a map in parts of a level. */
export function cpusIn(cpus: ReadonlyMap<number, CpuPlace>, level: Level, ...parts: readonly number[]): Set<number> {
  const out = new Set<number>();
  for (const [cpu, p] of cpus) if (parts.includes(p[level])) out.add(cpu);
  return out;
}

/** Threads of a core, where all cores are alike. */
export function cpusPer(topology: MachineTopology, level: Level): number {
  const parts = partsOf(topology.cpus, level).length;
  return parts === 0 ? 0 : Math.trunc(topology.cpus.size / parts);
}

const cpuRoot = '/sys/devices/system/cpu';
const nodeRoot = '/sys/devices/system/node';

async function read(host: NodeHost, path: string): Promise<string | undefined> {
  const content = await host.readFile(path, { maxBytes: 64 * 1024 }).catch(() => undefined);
  return content?.toString().trim();
}

async function lastLevelCache(host: NodeHost, cpu: number): Promise<number | undefined> {
  const root = `${cpuRoot}/cpu${cpu}/cache`;
  for (const name of await host.list(root).catch(() => []))
    if (name.startsWith('index') && (await read(host, `${root}/${name}/level`)) === '3') {
      const shared = await read(host, `${root}/${name}/shared_cpu_list`);
      if (shared !== undefined && shared !== '') return Math.min(...parseCpuSet(shared));
    }
  return undefined;
}

async function hugepagesOf(host: NodeHost, root: string): Promise<NumaNode['hugepages']> {
  const out: { pageSizeBytes: number; count: number }[] = [];
  for (const name of await host.list(root).catch(() => [])) {
    const kib = /^hugepages-(\d+)kB$/.exec(name)?.[1];
    if (kib !== undefined)
      out.push({
        pageSizeBytes: Number(kib) * 1024,
        count: Number((await read(host, `${root}/${name}/nr_hugepages`)) ?? 0),
      });
  }
  return out.sort((a, b) => a.pageSizeBytes - b.pageSizeBytes);
}

async function numaNodes(host: NodeHost): Promise<{ nodes: NumaNode[]; of: Map<number, number> }> {
  const nodes: NumaNode[] = [];
  const of = new Map<number, number>();
  for (const name of await host.list(nodeRoot).catch(() => [])) {
    const text = /^node(\d+)$/.exec(name)?.[1];
    if (text === undefined) continue;
    const id = Number(text);
    const root = `${nodeRoot}/${name}`;
    for (const cpu of parseCpuSet((await read(host, `${root}/cpulist`)) ?? '')) of.set(cpu, id);
    const kib = /MemTotal:\s+(\d+) kB/.exec((await read(host, `${root}/meminfo`)) ?? '')?.[1];
    nodes.push({
      id,
      memoryBytes: Number(kib ?? 0) * 1024,
      distances: ((await read(host, `${root}/distance`)) ?? '').split(/\s+/).filter(Boolean).map(Number),
      hugepages: await hugepagesOf(host, `${root}/hugepages`),
    });
  }
  return { nodes: nodes.sort((a, b) => a.id - b.id), of };
}

/** Of a machine that says nothing in /sys: as many cores of one socket as it has processors. */
async function flat(host: NodeHost): Promise<MachineTopology> {
  const machine = await host.machineInfo();
  const cpus = new Map<number, CpuPlace>();
  for (let i = 0; i < Math.max(machine.cpuCores, 1); i++) cpus.set(i, { core: i, socket: 0, numa: 0, uncore: 0 });
  return {
    cpus,
    numaNodes: [{ id: 0, memoryBytes: machine.memoryBytes, distances: [10], hugepages: machine.hugepages }],
  };
}

/** Only processors that are online count. */
export async function readTopology(host: NodeHost): Promise<MachineTopology> {
  const online: CpuSet = parseCpuSet((await read(host, `${cpuRoot}/online`)) ?? '');
  if (online.size === 0) return flat(host);
  const { nodes, of } = await numaNodes(host);
  const cpus = new Map<number, CpuPlace>();
  for (const cpu of online) {
    const root = `${cpuRoot}/cpu${cpu}/topology`;
    const siblings = await read(host, `${root}/thread_siblings_list`);
    const socket = Math.max(Number((await read(host, `${root}/physical_package_id`)) ?? 0), 0);
    cpus.set(cpu, {
      core: siblings === undefined || siblings === '' ? cpu : Math.min(...parseCpuSet(siblings)),
      socket,
      numa: of.get(cpu) ?? 0,
      uncore: (await lastLevelCache(host, cpu)) ?? socket,
    });
  }
  return { cpus, numaNodes: nodes.length > 0 ? nodes : (await flat(host)).numaNodes };
}
