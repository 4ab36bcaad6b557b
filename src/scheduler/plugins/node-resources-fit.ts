/** NodeResourcesFit: requests must fit into what the node has left; emptier nodes are better (LeastAllocated over cpu and memory). */
import type { Plugin, Rejection } from '../framework.ts';
import { maxNodeScore, rejection } from '../framework.ts';

const name = 'NodeResourcesFit';
const tooManyPods = 'Too many pods';

function leastRequested(requested: number, capacity: number): number {
  if (capacity === 0 || requested > capacity) return 0;
  return Math.floor(((capacity - requested) * maxNodeScore) / capacity);
}

export const nodeResourcesFit: Plugin = {
  name,
  weight: 1,
  filter({ info, table }) {
    const { cpu, memory, ephemeral, scalars } = info.requests;
    const wantsNothing = cpu === 0 && memory === 0 && ephemeral === 0 && scalars === undefined;
    const columns =
      scalars === undefined
        ? undefined
        : [...scalars].filter(([, v]) => v > 0).map(([n, v]) => ({ name: n, wanted: v, column: table.scalars.get(n) }));
    const refuse = (row: number): Rejection => {
      const reasons: string[] = [];
      let impossible = false;
      const short = (resource: string, wanted: number, used: number, allocatable: number): void => {
        if (wanted > 0 && wanted > allocatable - used) {
          reasons.push(`Insufficient ${resource}`);
          if (wanted > allocatable) impossible = true;
        }
      };
      if (table.podCount[row]! + 1 > table.allocPods[row]!) reasons.push(tooManyPods);
      short('cpu', cpu, table.cpu[row]!, table.allocCpu[row]!);
      short('memory', memory, table.memory[row]!, table.allocMemory[row]!);
      short('ephemeral-storage', ephemeral, table.ephemeral[row]!, table.allocEphemeral[row]!);
      for (const c of columns ?? [])
        short(c.name, c.wanted, c.column?.requested[row] ?? 0, c.column?.allocatable[row] ?? 0);
      return rejection(name, !impossible, ...reasons);
    };
    return {
      test(row) {
        if (table.podCount[row]! + 1 > table.allocPods[row]!) return refuse(row);
        if (wantsNothing) return undefined;
        if (
          (cpu > 0 && cpu > table.allocCpu[row]! - table.cpu[row]!) ||
          (memory > 0 && memory > table.allocMemory[row]! - table.memory[row]!) ||
          (ephemeral > 0 && ephemeral > table.allocEphemeral[row]! - table.ephemeral[row]!)
        )
          return refuse(row);
        if (columns !== undefined)
          for (const c of columns)
            if (c.wanted > (c.column?.allocatable[row] ?? 0) - (c.column?.requested[row] ?? 0)) return refuse(row);
        return undefined;
      },
    };
  },
  score({ info, table }) {
    const cpu = info.nonZeroCpu;
    const memory = info.nonZeroMemory;
    return {
      fill(scores, rows, n) {
        const { allocCpu, allocMemory, nonZeroCpu, nonZeroMemory } = table;
        for (let i = 0; i < n; i++) {
          const row = rows[i]!;
          let weights = 0;
          let sum = 0;
          if (allocCpu[row]! > 0) {
            sum += leastRequested(nonZeroCpu[row]! + cpu, allocCpu[row]!);
            weights++;
          }
          if (allocMemory[row]! > 0) {
            sum += leastRequested(nonZeroMemory[row]! + memory, allocMemory[row]!);
            weights++;
          }
          scores[i] = weights === 0 ? 0 : Math.floor(sum / weights);
        }
      },
    };
  },
  events: ['AssignedPodDelete', 'AssignedPodUpdate', 'NodeAdd', 'NodeAllocatable', 'PodUpdate'],
};
