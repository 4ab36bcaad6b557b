/** What a node has and what of it is for pods: `status.capacity` and `status.allocatable`. */
import { parseQuantity, quantityMilli, quantityValue } from '../api/quantity.ts';
import type { NodeStatus } from '../api/types/index.gen.ts';
import type { KubeletConfiguration } from './configuration/configuration.ts';
import { reserved } from './configuration/configuration.ts';
import { hardReservation } from './eviction/thresholds.ts';
import type { MachineInfo } from './host/node-host.ts';

export interface NodeResourceOptions {
  /** Overrides what the machine has, by resource name. */
  readonly capacity?: Readonly<Record<string, string>>;
  /** Overrides capacity less what is reserved. */
  readonly allocatable?: Readonly<Record<string, string>>;
  readonly maxPods: number;
  /** What the node keeps for itself and for bad times; all of it is for pods when left out. */
  readonly configuration?: KubeletConfiguration;
}

type Amounts = Readonly<Record<string, string>>;

export interface NodeResources {
  readonly capacity: Record<string, string>;
  readonly allocatable: Record<string, string>;
}

/** What device plugins have, by resource. */
type Devices = ReadonlyMap<string, { readonly capacity: number; readonly allocatable: number }>;

/** Of the machine; resources that others have given the node (`old`) stay, and pods may have all of them. */
export function nodeResources(
  o: NodeResourceOptions,
  machine: MachineInfo,
  old: NodeStatus | undefined,
  devices: Devices = new Map(),
): NodeResources {
  const capacity: Record<string, string> = {
    cpu: String(machine.cpuCores),
    'ephemeral-storage': `${Math.floor(machine.rootFsBytes / 1024)}Ki`,
    memory: `${Math.floor(machine.memoryBytes / 1024)}Ki`,
    pods: String(podsOf(o, machine.cpuCores)),
  };
  for (const h of machine.hugepages)
    capacity[`hugepages-${pageSize(h.pageSizeBytes)}`] = String(h.pageSizeBytes * h.count);
  Object.assign(capacity, o.capacity);
  const c = o.configuration;
  const allocatable = { ...(c === undefined ? capacity : allocatableOf(capacity, c)), ...o.allocatable };
  for (const [name, d] of devices) {
    capacity[name] = String(d.capacity);
    allocatable[name] = String(d.allocatable);
  }
  return withExtended({ capacity, allocatable }, old);
}

const isExtended = (name: string): boolean => name.includes('/') && !/(^|\.)kubernetes\.io\//.test(name);

function withExtended(own: NodeResources, old: NodeStatus | undefined): NodeResources {
  const extended: Record<string, string> = {};
  for (const [name, amount] of Object.entries((old?.capacity ?? {}) as Amounts))
    if (isExtended(name) && own.capacity[name] === undefined) extended[name] = amount;
  return {
    capacity: { ...extended, ...own.capacity },
    allocatable: { ...extended, ...own.allocatable },
  };
}

/** How many pods the node takes: no more for each core than the configuration says. */
function podsOf(o: NodeResourceOptions, cores: number): number {
  const perCore = o.configuration?.podsPerCore ?? 0;
  return perCore > 0 ? Math.min(o.maxPods, cores * perCore) : o.maxPods;
}

/** Capacity less what is reserved and what eviction keeps free, and less huge pages, which are no other memory. */
function allocatableOf(capacity: Readonly<Record<string, string>>, c: KubeletConfiguration): Record<string, string> {
  const out: Record<string, string> = { ...capacity };
  const value = (name: string): number => quantityValue(parseQuantity(capacity[name] ?? '0'));
  const cpu = quantityMilli(parseQuantity(capacity['cpu'] ?? '0')) - reserved(c, 'cpu');
  out['cpu'] = cpu % 1000 === 0 ? String(Math.max(cpu, 0) / 1000) : `${Math.max(cpu, 0)}m`;
  let memory = value('memory');
  memory -= reserved(c, 'memory') + hardReservation(c, 'memory.available', memory);
  for (const name in capacity) if (name.startsWith('hugepages-')) memory -= value(name);
  memory = Math.max(memory, 0);
  out['memory'] = memory % 1024 === 0 ? `${memory / 1024}Ki` : String(memory);
  const disk = value('ephemeral-storage');
  const kept = reserved(c, 'ephemeral-storage') + hardReservation(c, 'nodefs.available', disk);
  if (kept > 0) out['ephemeral-storage'] = String(Math.max(Math.floor(disk - kept), 0));
  return out;
}

function pageSize(bytes: number): string {
  return bytes % 2 ** 30 === 0 ? `${bytes / 2 ** 30}Gi` : `${bytes / 2 ** 20}Mi`;
}
