/**
 * How the seats of a server are dealt to its priority levels (KEP-1040, borrowing): each gets what is fair for what it asks,
 * no less than its lower bound and no more than its upper one, all of them together as many as there are.
 */

export interface AllocationItem {
  readonly target: number;
  readonly lower: number;
  readonly upper: number;
}

export interface Allocation {
  readonly seats: readonly number[];
  /** What every level whose bounds leave it free gets of its target. */
  readonly fairFrac: number;
}

const smallestTarget = 0.001;
const epsilon = 1e-7;

/**
 * The allocation that sums up to `sum`: each item's is its target times one common fraction, held within the item's bounds.
 * @throws when the bounds leave no such allocation
 */
export function allocate(sum: number, items: readonly AllocationItem[]): Allocation {
  const low = items.reduce((n, i) => n + i.lower, 0);
  const high = items.reduce((n, i) => n + i.upper, 0);
  if (low - sum > epsilon)
    throw new Error(`lower bounds sum to ${low}, which is higher than the required sum of ${sum}`);
  if (sum - high > epsilon)
    throw new Error(`upper bounds sum to ${high}, which is lower than the required sum of ${sum}`);
  const targets = items.map((i) => Math.max(i.target, smallestTarget));
  if (sum === 0) return { seats: items.map(() => 0), fairFrac: 0 };
  const at = (frac: number, i: number): number =>
    Math.max(items[i]!.lower, Math.min(items[i]!.upper, frac * targets[i]!));
  const total = (frac: number): number => items.reduce((n, _item, i) => n + at(frac, i), 0);
  // The total grows with the fraction, in straight lines between the fractions where an item meets a bound.
  const bends = [...new Set(items.flatMap((item, i) => [item.lower / targets[i]!, item.upper / targets[i]!]))];
  bends.sort((a, b) => a - b);
  let from = bends[0] ?? 0;
  let atFrom = total(from);
  let frac = from;
  for (const to of bends) {
    const atTo = total(to);
    if (atTo >= sum - epsilon) {
      frac = atTo - atFrom > epsilon ? from + ((to - from) * (sum - atFrom)) / (atTo - atFrom) : to;
      return { seats: items.map((_item, i) => at(frac, i)), fairFrac: frac };
    }
    from = to;
    atFrom = atTo;
  }
  return { seats: items.map((item) => item.upper), fairFrac: from };
}
