/** NodeResourcesBalancedAllocation: better are nodes whose use of cpu and memory the pod brings closer together. */
import type { Plugin } from '../framework.ts';
import { maxNodeScore } from '../framework.ts';

/** 100 when both fractions are the same, 50 when they could not differ more. */
function balance(cpu: number, memory: number, allocCpu: number, allocMemory: number): number {
  if (allocCpu === 0 || allocMemory === 0) return maxNodeScore;
  const deviation = Math.abs(Math.min(cpu / allocCpu, 1) - Math.min(memory / allocMemory, 1)) / 2;
  return Math.trunc((1 - deviation) * maxNodeScore);
}

export const balancedAllocation: Plugin = {
  name: 'NodeResourcesBalancedAllocation',
  weight: 1,
  score({ info, table }) {
    const { cpu, memory } = info.requests;
    // A best-effort pod moves no balance.
    if (cpu === 0 && memory === 0) return undefined;
    return {
      fill(scores, rows, n) {
        const { allocCpu, allocMemory, cpu: usedCpu, memory: usedMemory } = table;
        for (let i = 0; i < n; i++) {
          const row = rows[i]!;
          const change =
            balance(usedCpu[row]! + cpu, usedMemory[row]! + memory, allocCpu[row]!, allocMemory[row]!) -
            balance(usedCpu[row]!, usedMemory[row]!, allocCpu[row]!, allocMemory[row]!);
          scores[i] = maxNodeScore / 2 + Math.trunc((maxNodeScore / 2 + change) / 2);
        }
      },
    };
  },
  events: [],
};
