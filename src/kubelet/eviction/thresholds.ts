/** Eviction signals and thresholds: what is watched, when it counts as low, and how the flags that say so are read. */
import type { Quantity, QuantityFormat } from '../../api/quantity.ts';
import { formatQuantity, newQuantity, parseQuantity, quantitySign, quantityValue } from '../../api/quantity.ts';
import { parseDuration } from '../../api/time.ts';
import type { KubeletConfiguration } from '../configuration/configuration.ts';

export type Condition = 'MemoryPressure' | 'DiskPressure' | 'PIDPressure';
export type StarvedResource = 'memory' | 'ephemeral-storage' | 'inodes' | 'pids';

interface SignalFacts {
  readonly condition: Condition;
  readonly resource: StarvedResource;
}

/** In upstream's names. */
export const signals: Readonly<Record<string, SignalFacts>> = {
  'memory.available': { condition: 'MemoryPressure', resource: 'memory' },
  'allocatableMemory.available': { condition: 'MemoryPressure', resource: 'memory' },
  'nodefs.available': { condition: 'DiskPressure', resource: 'ephemeral-storage' },
  'nodefs.inodesFree': { condition: 'DiskPressure', resource: 'inodes' },
  'imagefs.available': { condition: 'DiskPressure', resource: 'ephemeral-storage' },
  'imagefs.inodesFree': { condition: 'DiskPressure', resource: 'inodes' },
  'containerfs.available': { condition: 'DiskPressure', resource: 'ephemeral-storage' },
  'containerfs.inodesFree': { condition: 'DiskPressure', resource: 'inodes' },
  'pid.available': { condition: 'PIDPressure', resource: 'pids' },
};

/** An amount, or a part of the capacity. */
export type Amount = { readonly quantity: Quantity } | { readonly share: number };

export interface Threshold {
  readonly signal: string;
  readonly amount: Amount;
  /** Zero for a hard threshold. */
  readonly graceMs: number;
  readonly minReclaim: Amount | undefined;
}

export interface Observation {
  readonly available: number;
  readonly capacity: number;
}

export type Observations = ReadonlyMap<string, Observation>;

/** Bytes are shown as `100Mi`, counts as plain numbers. */
export function quantityOf(signal: string, value: number): Quantity {
  return newQuantity(Math.floor(value), formatOf(signal));
}

function formatOf(signal: string): QuantityFormat {
  const resource = signals[signal]?.resource;
  return resource === 'inodes' || resource === 'pids' ? 'DecimalSI' : 'BinarySI';
}

/** What the threshold is of this capacity. */
export function amountOf(signal: string, amount: Amount, capacity: number): Quantity {
  return 'quantity' in amount ? amount.quantity : quantityOf(signal, capacity * amount.share);
}

function parseShare(text: string): number {
  const n = Number(text.slice(0, -1));
  if (!Number.isFinite(n)) throw new Error(`strconv.ParseFloat: parsing "${text.slice(0, -1)}": invalid syntax`);
  return n / 100;
}

/** Undefined for 0 % and 100 %, which mean never. */
function parseThreshold(signal: string, text: string): Amount | undefined {
  if (signals[signal] === undefined || signal === 'allocatableMemory.available')
    throw new Error(`unsupported eviction signal ${signal}`);
  if (text.endsWith('%')) {
    if (text === '0%' || text === '100%') return undefined;
    const share = parseShare(text);
    if (share < 0) throw new Error(`eviction percentage threshold ${signal} must be >= 0%: ${text}`);
    if (share > 1) throw new Error(`eviction percentage threshold ${signal} must be <= 100%: ${text}`);
    return { share };
  }
  const quantity = parseQuantity(text);
  if (quantitySign(quantity) <= 0)
    throw new Error(`eviction threshold ${signal} must be positive: ${formatQuantity(quantity)}`);
  return { quantity };
}

/** The thresholds of a configuration. Throws with upstream's text. */
export function parseThresholds(c: KubeletConfiguration): readonly Threshold[] {
  const out: Threshold[] = [];
  const reclaim = new Map<string, Amount>();
  for (const [signal, text] of Object.entries(c.evictionMinimumReclaim)) {
    if (signals[signal] === undefined) throw new Error(`unsupported eviction signal ${signal}`);
    if (text.endsWith('%')) {
      const share = parseShare(text);
      if (share <= 0) throw new Error(`eviction percentage minimum reclaim ${signal} must be positive: ${text}`);
      reclaim.set(signal, { share });
      continue;
    }
    const quantity = parseQuantity(text);
    if (quantitySign(quantity) < 0) throw new Error(`negative eviction minimum reclaim specified for ${signal}`);
    reclaim.set(signal, { quantity });
  }
  const add = (signal: string, text: string, graceMs: number): void => {
    const amount = parseThreshold(signal, text);
    if (amount !== undefined) out.push({ signal, amount, graceMs, minReclaim: reclaim.get(signal) });
  };
  for (const [signal, text] of Object.entries(c.evictionHard)) add(signal, text, 0);
  for (const [signal, text] of Object.entries(c.evictionSoft)) {
    const grace = c.evictionSoftGracePeriod[signal];
    if (grace === undefined)
      throw new Error(`grace period must be specified for the soft eviction threshold ${signal}`);
    const ms = parseDuration(grace);
    if (ms < 0) throw new Error(`invalid eviction grace period specified: ${signal}, must be a positive value`);
    add(signal, text, ms);
  }
  if (c.enforceNodeAllocatable.includes('pods'))
    // What pods may have together runs out as the node does.
    for (const t of out.slice())
      if (t.signal === 'memory.available' && t.graceMs === 0) out.push({ ...t, signal: 'allocatableMemory.available' });
  return out;
}

/** Those whose signal is below them; with `reclaim` until the minimum to be reclaimed is there as well. */
export function thresholdsMet(
  thresholds: readonly Threshold[],
  observations: Observations,
  reclaim: boolean,
): readonly Threshold[] {
  return thresholds.filter((t) => {
    const seen = observations.get(t.signal);
    if (seen === undefined) return false;
    let limit = quantityValue(amountOf(t.signal, t.amount, seen.capacity));
    if (reclaim && t.minReclaim !== undefined) limit += quantityValue(amountOf(t.signal, t.minReclaim, seen.capacity));
    return limit > seen.available;
  });
}

/** Memory before all else, because it runs out fastest. */
export function byUrgency(thresholds: readonly Threshold[]): readonly Threshold[] {
  const isMemory = (t: Threshold): boolean => signals[t.signal]!.resource === 'memory';
  return [...thresholds.filter(isMemory), ...thresholds.filter((t) => !isMemory(t))];
}

/** What a hard threshold takes off the node's allocatable amount. */
export function hardReservation(c: KubeletConfiguration, signal: string, capacity: number): number {
  for (const t of parseThresholds(c))
    if (t.signal === signal && t.graceMs === 0) return quantityValue(amountOf(signal, t.amount, capacity));
  return 0;
}
