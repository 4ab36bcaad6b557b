/** Sets of NUMA nodes: bit n stands for node n. */

export type NumaMask = bigint;

export function maskOf(nodes: Iterable<number>): NumaMask {
  let mask = 0n;
  for (const n of nodes) mask |= 1n << BigInt(n);
  return mask;
}

/** Ascending. */
export function nodesOf(mask: NumaMask): number[] {
  const out: number[] = [];
  for (let n = 0; mask >> BigInt(n) > 0n; n++) if (((mask >> BigInt(n)) & 1n) === 1n) out.push(n);
  return out;
}

export function countOf(mask: NumaMask): number {
  return nodesOf(mask).length;
}

/** Fewer nodes are narrower, and of as many those with lower numbers. */
export function isNarrower(a: NumaMask, b: NumaMask): boolean {
  const difference = countOf(a) - countOf(b);
  return difference === 0 ? a < b : difference < 0;
}

/** Every choice of `size` out of a list, in the list's order. */
export function* combinations<T>(list: readonly T[], size: number, start = 0): Generator<T[]> {
  if (size === 0) {
    yield [];
    return;
  }
  for (let i = start; i <= list.length - size; i++)
    for (const rest of combinations(list, size - 1, i + 1)) yield [list[i]!, ...rest];
}

/** Every mask of some of the nodes, those of fewer nodes first. */
export function* masks(nodes: readonly number[]): Generator<NumaMask> {
  for (let size = 1; size <= nodes.length; size++) for (const c of combinations(nodes, size)) yield maskOf(c);
}
