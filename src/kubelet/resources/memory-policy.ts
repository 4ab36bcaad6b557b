/**
 * The memory manager's static policy: memory and huge pages of Guaranteed pods' containers come from as few NUMA nodes as hold them,
 * and nodes that were given together are given together again. Pure: the state is saved by whoever calls.
 */
import { podQOSClass } from '../../api/helpers/pod-qos.ts';
import { isSidecar } from '../../api/helpers/pod-resources.ts';
import { parseQuantity, quantityValue } from '../../api/quantity.ts';
import type { Container, Pod } from '../../api/types/index.gen.ts';
import { hasPodResources } from './cpu-policy.ts';
import type { MachineTopology } from './machine-topology.ts';
import type { NumaMask } from './numa-mask.ts';
import { countOf, isNarrower, maskOf, masks, nodesOf } from './numa-mask.ts';
import type { HintProvider, Hints, TopologyHint } from './topology-hints.ts';
import { allContainers } from './topology-hints.ts';

/** Bytes of one resource on one NUMA node, in the form of the state file. */
export interface MemoryTable {
  readonly total: number;
  readonly systemReserved: number;
  readonly allocatable: number;
  readonly reserved: number;
  readonly free: number;
}

export interface NumaNodeState {
  readonly numberOfAssignments: number;
  readonly memoryMap: Readonly<Record<string, MemoryTable>>;
  /** The nodes that it is given together with, itself among them. */
  readonly cells: readonly number[];
}

export type MachineState = ReadonlyMap<number, NumaNodeState>;

export interface MemoryBlock {
  readonly numaAffinity: readonly number[];
  readonly type: string;
  readonly size: number;
}

export interface MemoryState {
  machine: MachineState;
  /** By pod and container. */
  readonly assigned: Map<string, Map<string, readonly MemoryBlock[]>>;
}

/** Bytes by resource, of each NUMA node. */
export type ReservedMemory = ReadonlyMap<number, ReadonlyMap<string, number>>;

const isMemory = (name: string): boolean => name === 'memory' || name.startsWith('hugepages-');

/**
 * What the nodes keep, as `reservedMemory` divides it. `reserved`: how much the kubelet keeps of each resource altogether.
 * @throws in upstream's words when the two differ
 */
export function reservedByNode(
  topology: MachineTopology,
  given: readonly { readonly numaNode: number; readonly limits: Readonly<Record<string, string>> }[],
  reserved: ReadonlyMap<string, number>,
): ReservedMemory {
  const out = new Map<number, Map<string, number>>(topology.numaNodes.map((n) => [n.id, new Map()]));
  const sums = new Map<string, number>();
  for (const { numaNode, limits } of given) {
    const own = out.get(numaNode);
    if (own === undefined)
      throw new Error(
        `the reserved memory configuration references a NUMA node ${numaNode} that does not exist on this machine`,
      );
    for (const [name, text] of Object.entries(limits)) {
      const bytes = quantityValue(parseQuantity(text));
      own.set(name, bytes);
      sums.set(name, (sums.get(name) ?? 0) + bytes);
    }
  }
  for (const name of new Set([...sums.keys(), ...[...reserved.keys()].filter(isMemory)])) {
    const sum = sums.get(name) ?? 0;
    const kept = reserved.get(name) ?? 0;
    if (sum !== kept)
      throw new Error(
        `the total amount "${sum}" of type "${name}" is not equal to the value "${kept}" determined by Node Allocatable feature`,
      );
  }
  return out;
}

/** What a container asks for; nothing of a pod that is not to have memory of its own. */
function requestsOf(container: Container): Map<string, number> {
  const out = new Map<string, number>();
  const requests = (container.resources?.requests ?? {}) as Record<string, string>;
  for (const name of Object.keys(requests).sort())
    if (isMemory(name)) out.set(name, quantityValue(parseQuantity(requests[name]!)));
  return out;
}

function podRequestsOf(pod: Pod): Map<string, number> {
  const init = new Map<string, number>();
  const sidecars = new Map<string, number>();
  for (const c of pod.spec?.initContainers ?? [])
    for (const [name, n] of requestsOf(c)) {
      const before = sidecars.get(name) ?? 0;
      if (isSidecar(c)) sidecars.set(name, before + n);
      else init.set(name, Math.max(init.get(name) ?? 0, before + n));
    }
  const out = new Map<string, number>();
  for (const c of pod.spec?.containers ?? [])
    for (const [name, n] of requestsOf(c)) out.set(name, (out.get(name) ?? 0) + n);
  for (const [name, n] of out) out.set(name, Math.max(n + (sidecars.get(name) ?? 0), init.get(name) ?? 0));
  return out;
}

const aligns = (pod: Pod): boolean => podQOSClass(pod as never) === 'Guaranteed' && !hasPodResources(pod);
const sameNodes = (a: readonly number[], b: readonly number[]): boolean => maskOf(a) === maskOf(b);
const nothing: MemoryTable = { total: 0, systemReserved: 0, allocatable: 0, reserved: 0, free: 0 };

type Draft = Map<number, { -readonly [K in keyof NumaNodeState]: NumaNodeState[K] }>;

const draftOf = (machine: MachineState): Draft => new Map([...machine].map(([id, n]) => [id, { ...n }]));

function setTable(draft: Draft, id: number, name: string, table: MemoryTable): void {
  const node = draft.get(id)!;
  node.memoryMap = { ...node.memoryMap, [name]: table };
}

/** Gives memory of several nodes: of the first as much as it has, then of the next. */
function give(draft: Draft, nodes: readonly number[], name: string, bytes: number): void {
  let rest = bytes;
  for (const id of nodes) {
    const node = draft.get(id)!;
    node.numberOfAssignments++;
    node.cells = nodes;
    const table = node.memoryMap[name];
    if (rest === 0 || table === undefined || table.free <= 0) continue;
    const part = Math.min(table.free, rest);
    setTable(draft, id, name, { ...table, reserved: table.reserved + part, free: table.free - part });
    rest -= part;
  }
}

export class StaticMemoryPolicy implements HintProvider {
  readonly state: MemoryState = { machine: new Map(), assigned: new Map() };
  readonly #initial: MachineState;
  /** What a pod's init containers had, by nodes and resource, and its other ones may have. */
  #reuse: { readonly uid: string; readonly bytes: Map<string, number> } | undefined;

  /** @throws in upstream's words when nothing is kept for the system */
  constructor(topology: MachineTopology, reserved: ReservedMemory) {
    let sum = 0;
    for (const node of reserved.values()) sum += node.get('memory') ?? 0;
    if (sum <= 0) throw new Error('[memorymanager] you should specify the system reserved memory');
    const machine = new Map<number, NumaNodeState>();
    for (const node of topology.numaNodes) {
      const kept = (name: string): number => reserved.get(node.id)?.get(name) ?? 0;
      const table = (name: string, total: number, pages: number): MemoryTable => {
        const allocatable = total - kept(name) - pages;
        return { total, systemReserved: kept(name), allocatable, reserved: 0, free: allocatable };
      };
      const memoryMap: Record<string, MemoryTable> = {};
      let pages = 0;
      for (const h of node.hugepages) {
        const name = `hugepages-${hugepageName(h.pageSizeBytes)}`;
        memoryMap[name] = table(name, h.pageSizeBytes * h.count, 0);
        pages += h.pageSizeBytes * h.count;
      }
      memoryMap['memory'] = table('memory', node.memoryBytes, pages);
      machine.set(node.id, { numberOfAssignments: 0, memoryMap, cells: [node.id] });
    }
    this.#initial = machine;
  }

  /** Takes over what an earlier kubelet left. @throws in upstream's words when it does not fit the machine */
  restore(state: MemoryState): void {
    if (state.machine.size === 0) {
      if (state.assigned.size > 0)
        throw new Error('[memorymanager] machine state can not be empty when it has memory assignments');
      this.state.machine = this.#initial;
      return;
    }
    const expected = draftOf(this.#initial);
    for (const [pod, containers] of state.assigned)
      for (const [container, blocks] of containers)
        for (const b of blocks) {
          const who = `[memorymanager] (pod: ${pod}, container: ${container}) the memory assignment uses`;
          for (const id of b.numaAffinity) {
            if (!expected.has(id)) throw new Error(`${who} the NUMA that does not exist`);
            if (expected.get(id)!.memoryMap[b.type] === undefined)
              throw new Error(`${who} memory resource that does not exist`);
          }
          give(expected, b.numaAffinity, b.type, b.size);
        }
    if (!sameMachine(state.machine, expected))
      throw new Error('[memorymanager] the expected machine state is different from the real one');
    this.state.machine = state.machine;
    for (const [pod, containers] of state.assigned) this.state.assigned.set(pod, new Map(containers));
  }

  blocks(uid: string, container: string): readonly MemoryBlock[] | undefined {
    return this.state.assigned.get(uid)?.get(container);
  }

  /** The NUMA nodes whose memory a container uses; undefined: any. */
  nodes(uid: string, container: string): readonly number[] | undefined {
    const blocks = this.blocks(uid, container);
    return blocks === undefined || blocks.length === 0
      ? undefined
      : nodesOf(maskOf(blocks.flatMap((b) => b.numaAffinity)));
  }

  allocate(pod: Pod, container: Container, hint: TopologyHint): void {
    if (!aligns(pod)) return;
    const uid = pod.metadata.uid!;
    const had = this.blocks(uid, container.name);
    if (had !== undefined) {
      this.#reusable(pod, container, had);
      return;
    }
    const requested = requestsOf(container);
    const { machine } = this.state;
    let affinity = hint.affinity;
    let { preferred } = hint;
    if (affinity === undefined) {
      const hints = this.#hintsFor(uid, requested);
      if (hints.size === 0)
        throw new Error(
          '[memorymanager] failed to get the default NUMA affinity, no NUMA nodes with enough memory is available',
        );
      const best = bestOf(hints.get('memory') ?? [...hints.values()][0]!);
      if (!best.preferred && preferred) throw new Error('[memorymanager] failed to find the default preferred hint');
      ({ affinity, preferred } = best);
    }
    if (!this.#holds(affinity, requested)) {
      const inside = affinity;
      const wider = (this.#hintsFor(uid, requested).get('memory') ?? []).filter(
        (h) => (h.affinity! & inside) === inside,
      );
      if (wider.length === 0)
        throw new Error('[memorymanager] failed to find NUMA nodes to extend the current topology hint');
      const best = bestOf(wider);
      if (!best.preferred && preferred) throw new Error('[memorymanager] failed to find the extended preferred hint');
      ({ affinity } = best);
    }
    const nodes = nodesOf(affinity);
    if (nodes.length > 1)
      for (const id of nodes) {
        const node = machine.get(id)!;
        if (node.numberOfAssignments > 0 && (node.cells.length === 1 || !sameNodes(node.cells, nodes)))
          throw new Error('[memorymanager] preferred hint violates NUMA node allocation');
      }
    const draft = draftOf(machine);
    const blocks: MemoryBlock[] = [];
    for (const [type, size] of requested) {
      blocks.push({ numaAffinity: nodes, type, size });
      give(draft, nodes, type, Math.max(size - this.#reuseOf(uid, affinity, type), 0));
    }
    this.#reusable(pod, container, blocks);
    this.state.machine = draft;
    let containers = this.state.assigned.get(uid);
    if (containers === undefined) this.state.assigned.set(uid, (containers = new Map()));
    containers.set(container.name, blocks);
    this.#takeOver(pod, container, blocks);
  }

  #reuseOf(uid: string, affinity: NumaMask, type: string): number {
    return this.#reuse?.uid === uid ? (this.#reuse.bytes.get(`${affinity}/${type}`) ?? 0) : 0;
  }

  #reusable(pod: Pod, container: Container, blocks: readonly MemoryBlock[]): void {
    const uid = pod.metadata.uid!;
    if (this.#reuse?.uid !== uid) this.#reuse = { uid, bytes: new Map() };
    const init = pod.spec?.initContainers?.find((c) => c.name === container.name);
    const keeps = init !== undefined && !isSidecar(init);
    for (const b of blocks) {
      const key = `${maskOf(b.numaAffinity)}/${b.type}`;
      const before = this.#reuse.bytes.get(key) ?? 0;
      this.#reuse.bytes.set(key, keeps ? Math.max(before, b.size) : Math.max(before - b.size, 0));
    }
  }

  /** What a container has of those before it that have ended is no longer counted as theirs. */
  #takeOver(pod: Pod, container: Container, blocks: readonly MemoryBlock[]): void {
    const containers = this.state.assigned.get(pod.metadata.uid!)!;
    for (const b of blocks) {
      let rest = b.size;
      for (const init of pod.spec?.initContainers ?? []) {
        if (init.name === container.name || rest === 0) break;
        const own = containers.get(init.name);
        if (isSidecar(init) || own === undefined) continue;
        containers.set(
          init.name,
          own.map((o) => {
            if (o.type !== b.type || !sameNodes(o.numaAffinity, b.numaAffinity)) return o;
            const part = Math.min(o.size, rest);
            rest -= part;
            return { ...o, size: o.size - part };
          }),
        );
      }
    }
  }

  release(uid: string, container: string): void {
    const containers = this.state.assigned.get(uid);
    const blocks = containers?.get(container);
    if (containers === undefined || blocks === undefined) return;
    containers.delete(container);
    if (containers.size === 0) this.state.assigned.delete(uid);
    const draft = draftOf(this.state.machine);
    for (const b of blocks) {
      let rest = b.size;
      for (const id of b.numaAffinity) {
        const node = draft.get(id);
        if (node === undefined) continue;
        node.numberOfAssignments--;
        if (node.numberOfAssignments === 0) node.cells = [id];
        const table = node.memoryMap[b.type];
        if (rest === 0 || table === undefined || table.reserved === 0) continue;
        const part = Math.min(table.reserved, rest);
        setTable(draft, id, b.type, { ...table, reserved: table.reserved - part, free: table.free + part });
        rest -= part;
      }
    }
    this.state.machine = draft;
  }

  hints(pod: Pod, container: Container): Hints | undefined {
    if (!aligns(pod)) return undefined;
    const requested = requestsOf(container);
    const had = this.blocks(pod.metadata.uid!, container.name);
    return had === undefined ? this.#hintsFor(pod.metadata.uid!, requested) : hintsAgain(had, requested);
  }

  podHints(pod: Pod): Hints | undefined {
    if (!aligns(pod)) return undefined;
    const requested = podRequestsOf(pod);
    if (requested.size === 0) return undefined;
    for (const c of allContainers(pod)) {
      const had = this.blocks(pod.metadata.uid!, c.name);
      if (had !== undefined) return hintsAgain(had, requested);
    }
    return this.#hintsFor(pod.metadata.uid!, requested);
  }

  #table(id: number, name: string): MemoryTable {
    return this.state.machine.get(id)?.memoryMap[name] ?? nothing;
  }

  #sum(affinity: NumaMask, name: string, field: 'free' | 'allocatable'): number {
    return nodesOf(affinity).reduce((sum, id) => sum + this.#table(id, name)[field], 0);
  }

  #holds(affinity: NumaMask, requested: ReadonlyMap<string, number>): boolean {
    return [...requested].every(([name, n]) => this.#sum(affinity, name, 'free') >= n);
  }

  #hintsFor(uid: string, requested: ReadonlyMap<string, number>): Map<string, TopologyHint[]> {
    const { machine } = this.state;
    const all = [...machine.keys()].sort((a, b) => a - b);
    let least = all.length;
    const fitting: NumaMask[] = [];
    for (const mask of masks(all)) {
      if ([...requested].some(([name, n]) => this.#sum(mask, name, 'allocatable') < n)) continue;
      least = Math.min(least, countOf(mask));
      const nodes = nodesOf(mask);
      const groupsFit = nodes.every((id) => {
        const { cells, numberOfAssignments } = machine.get(id)!;
        if (nodes.length === 1) return cells.length === 1;
        return numberOfAssignments === 0 || (cells.length > 1 && sameNodes(cells, nodes));
      });
      if (!groupsFit) continue;
      if ([...requested].every(([name, n]) => this.#sum(mask, name, 'free') + this.#reuseOf(uid, mask, name) >= n))
        fitting.push(mask);
    }
    const out = new Map<string, TopologyHint[]>();
    if (fitting.length > 0)
      for (const name of requested.keys())
        out.set(
          name,
          fitting.map((affinity) => ({ affinity, preferred: countOf(affinity) === least })),
        );
    // Upstream leaves a resource out that fits nowhere: it then has no say.
    return out;
  }
}

function hintsAgain(had: readonly MemoryBlock[], requested: ReadonlyMap<string, number>): Hints | undefined {
  if (had.length !== requested.size) return undefined;
  const out = new Map<string, TopologyHint[]>();
  for (const b of had) {
    if (requested.get(b.type) !== b.size) return undefined;
    out.set(b.type, [{ affinity: maskOf(b.numaAffinity), preferred: true }]);
  }
  return out;
}

function bestOf(hints: readonly TopologyHint[]): { affinity: NumaMask; preferred: boolean } {
  let best = hints[0]!;
  for (const h of hints)
    if (h.preferred === best.preferred ? isNarrower(h.affinity!, best.affinity!) : h.preferred) best = h;
  return best as { affinity: NumaMask; preferred: boolean };
}

/** Nodes that are given together may have the same sums in other parts. */
function sameMachine(a: MachineState, b: MachineState): boolean {
  if (a.size !== b.size) return false;
  for (const [id, x] of a) {
    const y = b.get(id);
    if (y === undefined || x.numberOfAssignments !== y.numberOfAssignments || !sameNodes(x.cells, y.cells))
      return false;
    const names = Object.keys(x.memoryMap);
    if (names.length !== Object.keys(y.memoryMap).length) return false;
    for (const name of names) {
      const [t, u] = [x.memoryMap[name]!, y.memoryMap[name]];
      if (u === undefined || t.total !== u.total || t.systemReserved !== u.systemReserved) return false;
      if (t.allocatable !== u.allocatable) return false;
      for (const field of ['free', 'reserved'] as const) {
        const sum = (m: MachineState): number =>
          x.cells.reduce((s, c) => s + (m.get(c)?.memoryMap[name]?.[field] ?? 0), 0);
        if (sum(a) !== sum(b)) return false;
      }
    }
  }
  return true;
}

/** `2Mi` */
function hugepageName(bytes: number): string {
  for (const [unit, size] of [
    ['Gi', 2 ** 30],
    ['Mi', 2 ** 20],
    ['Ki', 2 ** 10],
  ] as const)
    if (bytes % size === 0) return `${bytes / size}${unit}`;
  return String(bytes);
}
