/**
 * The unified difference that errors about immutable members end with: what was and what would be, as indented JSON of the
 * internal form, compared line by line as Python's difflib does it (the longest matching block, then what is before and after).
 */
import { goJson } from '../../api/field-error.ts';
import { internalForm } from './internal-form.ts';

const context = 3;

/** [start in a, start in b, length] */
type Block = readonly [number, number, number];

function indexOf(lines: readonly string[]): Map<string, number[]> {
  const index = new Map<string, number[]>();
  lines.forEach((line, i) => {
    const at = index.get(line);
    if (at === undefined) index.set(line, [i]);
    else at.push(i);
  });
  // In long texts lines that stand everywhere are no points to match at.
  if (lines.length >= 200) {
    const limit = Math.floor(lines.length / 100) + 1;
    for (const [line, at] of index) if (at.length > limit) index.delete(line);
  }
  return index;
}

class Matcher {
  readonly #a: readonly string[];
  readonly #b: readonly string[];
  readonly #index: Map<string, number[]>;

  constructor(a: readonly string[], b: readonly string[]) {
    this.#a = a;
    this.#b = b;
    this.#index = indexOf(b);
  }

  #longest(aLow: number, aHigh: number, bLow: number, bHigh: number): Block {
    let [i, j, size] = [aLow, bLow, 0];
    let lengths = new Map<number, number>();
    for (let x = aLow; x < aHigh; x++) {
      const next = new Map<number, number>();
      for (const y of this.#index.get(this.#a[x]!) ?? []) {
        if (y < bLow) continue;
        if (y >= bHigh) break;
        const k = (lengths.get(y - 1) ?? 0) + 1;
        next.set(y, k);
        if (k > size) [i, j, size] = [x - k + 1, y - k + 1, k];
      }
      lengths = next;
    }
    while (i > aLow && j > bLow && this.#a[i - 1] === this.#b[j - 1]) [i, j, size] = [i - 1, j - 1, size + 1];
    while (i + size < aHigh && j + size < bHigh && this.#a[i + size] === this.#b[j + size]) size++;
    return [i, j, size];
  }

  /** Matching blocks in order, neighbours joined, an empty one at the end. */
  blocks(): Block[] {
    const found: Block[] = [];
    const open: [number, number, number, number][] = [[0, this.#a.length, 0, this.#b.length]];
    for (let range = open.pop(); range !== undefined; range = open.pop()) {
      const [aLow, aHigh, bLow, bHigh] = range;
      const [i, j, size] = this.#longest(aLow, aHigh, bLow, bHigh);
      if (size === 0) continue;
      found.push([i, j, size]);
      if (aLow < i && bLow < j) open.push([aLow, i, bLow, j]);
      if (i + size < aHigh && j + size < bHigh) open.push([i + size, aHigh, j + size, bHigh]);
    }
    found.sort((x, y) => x[0] - y[0]);
    const joined: Block[] = [];
    for (const block of found) {
      const last = joined.at(-1);
      if (last !== undefined && last[0] + last[2] === block[0] && last[1] + last[2] === block[1])
        joined[joined.length - 1] = [last[0], last[1], last[2] + block[2]];
      else joined.push(block);
    }
    return [...joined, [this.#a.length, this.#b.length, 0]];
  }
}

/** The same lines, or lines of `a` that lines of `b` stand for. */
interface Step {
  readonly equal: boolean;
  readonly a: readonly [number, number];
  readonly b: readonly [number, number];
}

function stepsOf(blocks: readonly Block[]): Step[] {
  const steps: Step[] = [];
  let [i, j] = [0, 0];
  for (const [x, y, size] of blocks) {
    if (i < x || j < y) steps.push({ equal: false, a: [i, x], b: [j, y] });
    if (size > 0) steps.push({ equal: true, a: [x, x + size], b: [y, y + size] });
    [i, j] = [x + size, y + size];
  }
  return steps;
}

const clip = (step: Step, before: number, after: number): Step => {
  const from = Math.max(0, step.a[1] - step.a[0] - before);
  const to = Math.min(step.a[1] - step.a[0], after);
  return { equal: true, a: [step.a[0] + from, step.a[0] + to], b: [step.b[0] + from, step.b[0] + to] };
};

/** Changes with a little of what is around them. */
function groupsOf(steps: readonly Step[]): Step[][] {
  const groups: Step[][] = [];
  let group: Step[] = [];
  steps.forEach((step, n) => {
    if (!step.equal) {
      group.push(step);
      return;
    }
    const last = n === steps.length - 1;
    if (n === 0) {
      if (!last) group.push(clip(step, context, Infinity));
      return;
    }
    if (last) {
      group.push(clip(step, Infinity, context));
      return;
    }
    if (step.a[1] - step.a[0] > 2 * context) {
      groups.push([...group, clip(step, Infinity, context)]);
      group = [clip(step, context, Infinity)];
    } else group.push(step);
  });
  if (group.some((s) => !s.equal)) groups.push(group);
  return groups;
}

function range(start: number, stop: number): string {
  const length = stop - start;
  if (length === 1) return `${start + 1}`;
  return `${length === 0 ? start : start + 1},${length}`;
}

/** @param type as the table of Go types names it. Empty when both are the same. */
export function internalDifference(type: string, old: unknown, next: unknown): string {
  const a = goJson(internalForm(type, old), 1).split('\n');
  const b = goJson(internalForm(type, next), 1).split('\n');
  let out = '';
  for (const group of groupsOf(stepsOf(new Matcher(a, b).blocks()))) {
    const [first, last] = [group[0]!, group.at(-1)!];
    out += `@@ -${range(first.a[0], last.a[1])} +${range(first.b[0], last.b[1])} @@\n`;
    for (const step of group) {
      if (step.equal) for (const line of a.slice(...step.a)) out += ` ${line}\n`;
      else {
        for (const line of a.slice(...step.a)) out += `-${line}\n`;
        for (const line of b.slice(...step.b)) out += `+${line}\n`;
      }
    }
  }
  return out;
}
