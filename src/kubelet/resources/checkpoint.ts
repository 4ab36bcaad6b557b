/**
 * The state files of the CPU and memory managers (`cpu_manager_state`, `memory_manager_state`) in upstream's form, with its
 * checksum, so that either kubelet takes over what the other one has left.
 */
import type { NodeHost } from '../host/node-host.ts';
import { formatCpuSet, parseCpuSet } from '../cpu-set.ts';
import type { CpuState } from './cpu-policy.ts';
import type { MemoryBlock, MemoryState, NumaNodeState } from './memory-policy.ts';

const maxBytes = 16 * 1024 * 1024;

/** FNV-1a of 32 bits. */
function fnv(text: string): number {
  let hash = 0x811c9dc5;
  for (const byte of Buffer.from(text)) hash = Math.imul(hash ^ byte, 0x01000193) >>> 0;
  return hash;
}

const byName = <T>(o: Readonly<Record<string, T>>): [string, T][] =>
  Object.entries(o).sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0));

type Texts = Record<string, Record<string, string>>;

interface CpuFile {
  readonly policyName: string;
  readonly defaultCpuSet: string;
  readonly entries?: Texts;
}

/** The struct as Go's deep printer writes it: what the checksum is of. */
function cpuText(f: CpuFile): string {
  const entries = byName(f.entries ?? {})
    .map(
      ([pod, containers]) =>
        `${pod}:map[${byName(containers)
          .map(([c, set]) => `${c}:${set}`)
          .join(' ')}]`,
    )
    .join(' ');
  return `(*state.CPUManagerCheckpoint){PolicyName:(string)${f.policyName} DefaultCPUSet:(string)${f.defaultCpuSet} Entries:(map[string]map[string]string)map[${entries}] Checksum:(checksum.Checksum)0}`;
}

interface MemoryFile {
  readonly policyName: string;
  readonly machineState: Record<string, NumaNodeState>;
  readonly entries?: Record<string, Record<string, MemoryBlock[]>>;
}

function memoryText(f: MemoryFile): string {
  const list = (nodes: readonly number[]): string => `([]int)[${nodes.join(' ')}]`;
  const size = (n: number): string => `(uint64)${n}`;
  const machine = Object.entries(f.machineState)
    .sort(([a], [b]) => Number(a) - Number(b))
    .map(([id, n]) => {
      const tables = byName(n.memoryMap)
        .map(
          ([name, t]) =>
            `${name}:<*>{TotalMemSize:${size(t.total)} SystemReserved:${size(t.systemReserved)} Allocatable:${size(t.allocatable)} Reserved:${size(t.reserved)} Free:${size(t.free)}}`,
        )
        .join(' ');
      return `${id}:<*>{NumberOfAssignments:(int)${n.numberOfAssignments} MemoryMap:(map[v1.ResourceName]*state.MemoryTable)map[${tables}] Cells:${list(n.cells)}}`;
    })
    .join(' ');
  const block = (b: MemoryBlock): string =>
    `{NUMAAffinity:${list(b.numaAffinity)} Type:(v1.ResourceName)${b.type} Size:${size(b.size)}}`;
  const entries = byName(f.entries ?? {})
    .map(([pod, cs]) => {
      const containers = byName(cs).map(([c, blocks]) => `${c}:[${blocks.map(block).join(' ')}]`);
      return `${pod}:map[${containers.join(' ')}]`;
    })
    .join(' ');
  return `(*state.MemoryManagerCheckpoint){PolicyName:(string)${f.policyName} MachineState:(state.NUMANodeMap)map[${machine}] Entries:(state.ContainerMemoryAssignments)map[${entries}] Checksum:(checksum.Checksum)0}`;
}

function withChecksum<F extends { readonly entries?: object }>(file: F, text: string): string {
  const { entries, ...rest } = file;
  const some = entries !== undefined && Object.keys(entries).length > 0;
  return JSON.stringify({ ...rest, ...(some ? { entries } : {}), checksum: fnv(text) });
}

/** `policy`: `none` or `static`. */
export function formatCpuState(policy: string, state: CpuState): string {
  const entries: Texts = {};
  for (const [pod, containers] of state.assigned)
    entries[pod] = Object.fromEntries([...containers].map(([c, set]) => [c, formatCpuSet(set)]));
  const file: CpuFile = { policyName: policy, defaultCpuSet: formatCpuSet(state.shared), entries };
  return withChecksum(file, cpuText(file));
}

/** `policy`: `None` or `Static`. */
export function formatMemoryState(policy: string, state: MemoryState): string {
  const file: MemoryFile = {
    policyName: policy,
    machineState: Object.fromEntries(state.machine),
    entries: Object.fromEntries([...state.assigned].map(([pod, cs]) => [pod, Object.fromEntries(cs) as never])),
  };
  return withChecksum(file, memoryText(file));
}

function parsed<F extends object>(text: string, checksum: (file: F) => string): F {
  const file = JSON.parse(text) as F & { checksum?: number };
  // None is written by nobody any more, and taken as right.
  if (file.checksum !== undefined && file.checksum !== 0 && file.checksum !== fnv(checksum(file)))
    throw new Error('checkpoint is corrupted');
  return file;
}

/** @throws in upstream's words */
export function parseCpuState(policy: string, text: string): CpuState {
  const file = parsed<CpuFile>(text, cpuText);
  if (file.policyName !== policy)
    throw new Error(`configured policy "${policy}" differs from state checkpoint policy "${file.policyName}"`);
  const set = (what: string, cpus: string): ReadonlySet<number> => {
    try {
      return parseCpuSet(cpus);
    } catch (error) {
      throw new Error(`could not parse ${what}: ${(error as Error).message}`, { cause: error });
    }
  };
  return {
    shared: set(`default cpu set "${file.defaultCpuSet}"`, file.defaultCpuSet),
    assigned: new Map(
      Object.entries(file.entries ?? {}).map(([pod, containers]) => [
        pod,
        new Map(
          Object.entries(containers).map(([c, cpus]) => [
            c,
            set(`cpuset "${cpus}" for container "${c}" in pod "${pod}"`, cpus),
          ]),
        ),
      ]),
    ),
  };
}

/** @throws in upstream's words */
export function parseMemoryState(policy: string, text: string): MemoryState {
  const file = parsed<MemoryFile>(text, memoryText);
  if (file.policyName !== policy)
    throw new Error(
      `[memorymanager] configured policy "${policy}" differs from state checkpoint policy "${file.policyName}"`,
    );
  return {
    machine: new Map(Object.entries(file.machineState ?? {}).map(([id, n]) => [Number(id), n])),
    assigned: new Map(
      Object.entries(file.entries ?? {}).map(([pod, containers]) => [pod, new Map(Object.entries(containers))]),
    ),
  };
}

/** Of a state file; undefined when there is none. @throws upstream's advice when it cannot be used */
export async function readState<S>(
  host: NodeHost,
  path: string,
  manager: string,
  parse: (text: string) => S,
): Promise<S | undefined> {
  const content = await host.readFile(path, { maxBytes });
  if (content === undefined) return undefined;
  try {
    return parse(content.toString());
  } catch (error) {
    throw new Error(
      `could not restore state from checkpoint: ${(error as Error).message}, please drain this node and delete the ${manager} manager checkpoint file "${path}" before restarting Kubelet`,
      { cause: error },
    );
  }
}
