/**
 * `Samples`: the last two readings of each node and container, of which the rate of CPU time is made. A container that has started
 * between two readings counts from its start; one whose counters went back, from its new ones on (metrics-server's rules).
 */
import type { NodeUsage, PodUsage, Usage } from './usage.ts';

/** One reading. Times in milliseconds of the cluster's clock. */
export interface Reading {
  readonly at: number;
  /** CPU time since the start. */
  readonly cpuSeconds: number;
  readonly memoryBytes: number;
  readonly startedAt?: number;
}

export interface NodeReading {
  readonly node: Reading | undefined;
  /** By `namespace/name`, then by container. */
  readonly pods: ReadonlyMap<string, ReadonlyMap<string, Reading>>;
}

interface Pair {
  readonly last: Reading;
  readonly before: Reading | undefined;
}

/** A container's first reading counts when it has run that long. */
const freshMs = 10_000;

function next(pair: Pair | undefined, reading: Reading, resolutionMs: number): Pair {
  const last = pair?.last;
  const usable = last !== undefined && reading.cpuSeconds >= last.cpuSeconds && last.startedAt === reading.startedAt;
  if (usable) return reading.at > last.at ? { last: reading, before: last } : pair!;
  const { startedAt } = reading;
  const age = startedAt === undefined ? Infinity : reading.at - startedAt;
  const fresh = age >= freshMs && age < resolutionMs * 2;
  return {
    last: reading,
    before: fresh ? { at: startedAt!, cpuSeconds: 0, memoryBytes: 0, startedAt: startedAt! } : undefined,
  };
}

function rate({ last, before }: Pair): (Usage & { windowMs: number }) | undefined {
  if (before === undefined) return undefined;
  const windowMs = last.at - before.at;
  return {
    cpuNanoCores: Math.round(((last.cpuSeconds - before.cpuSeconds) * 1e12) / windowMs),
    memoryBytes: last.memoryBytes,
    windowMs,
  };
}

export class Samples {
  readonly #resolutionMs: number;
  readonly #nodes = new Map<string, { node: Pair | undefined; pods: Map<string, Map<string, Pair>> }>();

  constructor(resolutionMs: number) {
    this.#resolutionMs = resolutionMs;
  }

  /** What is not in the reading is forgotten. */
  add(name: string, reading: NodeReading): void {
    const known = this.#nodes.get(name);
    const pods = new Map<string, Map<string, Pair>>();
    for (const [key, containers] of reading.pods) {
      const old = known?.pods.get(key);
      const pairs = new Map<string, Pair>();
      for (const [container, r] of containers) pairs.set(container, next(old?.get(container), r, this.#resolutionMs));
      pods.set(key, pairs);
    }
    const node = reading.node === undefined ? undefined : next(known?.node, reading.node, this.#resolutionMs);
    this.#nodes.set(name, { node, pods });
  }

  forget(name: string): void {
    this.#nodes.delete(name);
  }

  names(): Iterable<string> {
    return this.#nodes.keys();
  }

  node(name: string): NodeUsage | undefined {
    const pair = this.#nodes.get(name)?.node;
    const usage = pair === undefined ? undefined : rate(pair);
    return usage === undefined ? undefined : { ...usage, timestamp: pair!.last.at };
  }

  /** Pods of which every container has a rate. */
  pods(name: string): ReadonlyMap<string, PodUsage> {
    const out = new Map<string, PodUsage>();
    for (const [key, pairs] of this.#nodes.get(name)?.pods ?? []) {
      const containers: (Usage & { name: string })[] = [];
      let timestamp = Infinity;
      let windowMs = 0;
      for (const [container, pair] of pairs) {
        const usage = rate(pair);
        if (usage === undefined) break;
        containers.push({ name: container, cpuNanoCores: usage.cpuNanoCores, memoryBytes: usage.memoryBytes });
        // The oldest of them tells for how long the whole is true.
        if (pair.last.at < timestamp) {
          timestamp = pair.last.at;
          windowMs = usage.windowMs;
        }
      }
      if (containers.length === pairs.size && pairs.size > 0) out.set(key, { timestamp, windowMs, containers });
    }
    return out;
  }
}
