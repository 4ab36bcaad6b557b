/** Sets of completion indexes as sorted intervals, and their text form in a Job's status: `0,2-4,7`. */

export interface Interval {
  readonly first: number;
  readonly last: number;
}

/** Sorted, without overlaps. */
export type Intervals = readonly Interval[];

/** The union. */
export function mergeIntervals(a: Intervals, b: Intervals): Intervals {
  if (b.length === 0) return a;
  const out: { first: number; last: number }[] = [];
  let i = 0;
  let j = 0;
  while (i < a.length || j < b.length) {
    const next = j >= b.length || (i < a.length && a[i]!.first < b[j]!.first) ? a[i++]! : b[j++]!;
    const previous = out.at(-1);
    if (previous === undefined || next.first > previous.last + 1) out.push({ ...next });
    else if (previous.last < next.last) previous.last = next.last;
  }
  return out;
}

/** The union with single indexes, in any order. */
export function withIndexes(intervals: Intervals, indexes: Iterable<number>): Intervals {
  const sorted = [...indexes].sort((x, y) => x - y);
  return mergeIntervals(
    intervals,
    sorted.map((n) => ({ first: n, last: n })),
  );
}

/** How many indexes the intervals hold. */
export function countIndexes(intervals: Intervals): number {
  let n = 0;
  for (const i of intervals) n += i.last - i.first + 1;
  return n;
}

export function hasIndex(intervals: Intervals, index: number): boolean {
  let low = 0;
  let high = intervals.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (intervals[middle]!.last >= index) high = middle;
    else low = middle + 1;
  }
  return low < intervals.length && intervals[low]!.first <= index;
}

/** `0,2-4,7`; two neighbours are written with a comma. */
export function formatIntervals(intervals: Intervals): string {
  return intervals
    .map(({ first, last }) =>
      first === last ? String(first) : last === first + 1 ? `${first},${last}` : `${first}-${last}`,
    )
    .join(',');
}

/** Reads the text form; what cannot be read and what is not below `completions` is left out. */
export function parseIntervals(text: string | undefined, completions: number): Intervals {
  if (text === undefined || text === '') return [];
  const out: { first: number; last: number }[] = [];
  for (const part of text.split(',')) {
    const m = /^(\d+)(?:-(\d+))?$/.exec(part);
    if (m === null) continue;
    const first = Number(m[1]);
    if (first >= completions) break;
    const last = m[2] === undefined ? first : Math.min(Number(m[2]), completions - 1);
    const previous = out.at(-1);
    if (previous !== undefined && previous.last === first - 1) previous.last = last;
    else out.push({ first, last });
  }
  return out;
}

/** How many indexes both hold. */
export function overlap(a: Intervals, b: Intervals): number {
  let n = 0;
  let i = 0;
  let j = 0;
  while (i < a.length && j < b.length) {
    const x = a[i]!;
    const y = b[j]!;
    n += Math.max(0, Math.min(x.last, y.last) - Math.max(x.first, y.first) + 1);
    if (x.last <= y.last) i++;
    if (y.last <= x.last) j++;
  }
  return n;
}
