/**
 * One scheduling cycle: filters and scores the nodes for one pod, synchronously, over the live table. It decides; assuming and
 * binding are the scheduler's.
 */
import { ioNow } from '../base/io-time.ts';
import type { Random } from '../base/random.ts';
import type { Cycle, Handle, Plugin, PreparedFilter, Rejection } from './framework.ts';
import { isRejection } from './framework.ts';
import type { ExtensionPoint, ExtensionStatus } from './metrics.ts';
import type { Nominations } from './nominations.ts';
import type { PodInfo } from './pod-info.ts';

export interface Placed {
  readonly kind: 'placed';
  readonly row: number;
  readonly evaluated: number;
  readonly feasible: number;
}

export interface Refused {
  readonly kind: 'refused';
  /** Set when the pod was refused before any node was looked at. */
  readonly whole: Rejection | undefined;
  /** Why, by row. */
  readonly byRow: ReadonlyMap<number, Rejection>;
  readonly refusedBy: ReadonlySet<string>;
}

export type Verdict = Placed | Refused;

const minFeasible = 100;
const minFeasiblePercent = 5;

/** How many feasible nodes are enough: upstream's adaptive percentage (50 % less a point per 125 nodes, at least 5 % and 100). */
export function enoughNodes(nodes: number): number {
  return enoughOf(nodes, 0);
}

/** `wanted`: the percentage that was asked for; 0: none was. */
function enoughOf(nodes: number, wanted: number): number {
  if (nodes < minFeasible) return nodes;
  const percent = wanted > 0 ? wanted : Math.max(50 - Math.floor(nodes / 125), minFeasiblePercent);
  return Math.max(Math.floor((nodes * percent) / 100), minFeasible);
}

export class Evaluator {
  readonly #plugins: readonly Plugin[];
  readonly #filters: readonly Plugin[];
  readonly #scorers: readonly Plugin[];
  readonly #handle: Handle;
  readonly #random: Random;
  readonly #nominations: Nominations;
  readonly #percentage: number;
  /** Told how long the plugins of an extension point took. */
  observer: ((point: ExtensionPoint, status: ExtensionStatus, seconds: number) => void) | undefined = undefined;
  #start = 0;
  #rows = new Int32Array(64);
  #scores = new Float64Array(64);
  #totals = new Float64Array(64);

  /** `percentage`: `percentageOfNodesToScore`; 0: by the size of the cluster. */
  constructor(plugins: readonly Plugin[], handle: Handle, random: Random, nominations: Nominations, percentage = 0) {
    this.#percentage = percentage;
    this.#plugins = plugins;
    this.#filters = plugins.filter((p) => p.filter !== undefined);
    this.#scorers = plugins.filter((p) => p.score !== undefined);
    this.#handle = handle;
    this.#random = random;
    this.#nominations = nominations;
  }

  get plugins(): readonly Plugin[] {
    return this.#plugins;
  }

  /** The prepared filters of a pod, or why it can go nowhere. */
  prepare(info: PodInfo): readonly PreparedFilter[] | Rejection {
    const cycle: Cycle = { info, table: this.#handle.table, handle: this.#handle };
    const out: PreparedFilter[] = [];
    for (const p of this.#filters) {
      const f = p.filter!(cycle);
      if (f === undefined) continue;
      if (isRejection(f)) return f;
      out.push(f);
    }
    return out;
  }

  /** First filter that refuses the row. */
  test(filters: readonly PreparedFilter[], row: number): Rejection | undefined {
    for (const f of filters) {
      const r = f.test(row);
      if (r !== undefined) return r;
    }
    return undefined;
  }

  /** As `test`, with pods of the same or higher priority that are nominated to the node counted as there. */
  #testNominated(info: PodInfo, filters: readonly PreparedFilter[], row: number): Rejection | undefined {
    const { table } = this.#handle;
    const others = this.#nominations.size === 0 ? undefined : this.#nominations.on(table.names[row]!);
    if (others === undefined) return this.test(filters, row);
    const added: PodInfo[] = [];
    for (const n of others)
      if (n.uid !== info.uid && n.priority >= info.priority && table.find(n.uid) === undefined) {
        table.addPod(n, table.names[row]!);
        added.push(n);
      }
    let verdict: Rejection | undefined;
    if (added.length > 0) {
      const again = filters.some((f) => f.stateful === true) ? this.prepare(info) : filters;
      verdict = isRejectionList(again) ? this.test(again, row) : again;
    }
    for (const n of added) table.removePod(n.uid);
    return verdict ?? this.test(filters, row);
  }

  schedule(info: PodInfo): Verdict {
    const { table } = this.#handle;
    const began = this.observer === undefined ? 0 : ioNow();
    const prepared = this.prepare(info);
    const filtering = this.observer === undefined ? 0 : ioNow();
    this.observer?.('PreFilter', isRejectionList(prepared) ? 'Success' : 'Unschedulable', (filtering - began) / 1000);
    if (!isRejectionList(prepared))
      return { kind: 'refused', whole: prepared, byRow: new Map(), refusedBy: new Set([prepared.plugin]) };
    const order = table.order;
    const n = order.length;
    const restricted = prepared.find((f) => f.rows !== undefined)?.rows;
    const enough = enoughOf(n, this.#percentage);
    if (this.#rows.length < n) {
      this.#rows = new Int32Array(n * 2);
      this.#scores = new Float64Array(n * 2);
      this.#totals = new Float64Array(n * 2);
    }
    const rows = this.#rows;
    const refusals = new Map<number, Rejection>();
    const refusedBy = new Set<string>();
    let feasible = 0;
    let evaluated = 0;
    const look = (row: number): void => {
      evaluated++;
      const r = this.#testNominated(info, prepared, row);
      if (r === undefined) rows[feasible++] = row;
      else {
        refusals.set(row, r);
        refusedBy.add(r.plugin);
      }
    };
    // The nominated node first: it was made free for this pod.
    const nominated = info.pod.status?.nominatedNodeName;
    if (nominated !== undefined && nominated !== '') {
      const row = table.row(nominated);
      if (row >= 0 && this.#testNominated(info, prepared, row) === undefined)
        return { kind: 'placed', row, evaluated: 1, feasible: 1 };
    }
    if (restricted !== undefined) {
      for (const row of restricted) look(row);
      if (feasible === 0) refusedBy.add('NodeAffinity');
    } else {
      const start = n === 0 ? 0 : this.#start % n;
      for (let i = 0; i < n && feasible < enough; i++) look(order[(start + i) % n]!);
      this.#start = n === 0 ? 0 : (start + evaluated) % n;
    }
    this.observer?.('Filter', feasible === 0 ? 'Unschedulable' : 'Success', (ioNow() - filtering) / 1000);
    if (feasible === 0) return { kind: 'refused', whole: undefined, byRow: refusals, refusedBy };
    if (feasible === 1) return { kind: 'placed', row: rows[0]!, evaluated, feasible };
    const scoring = this.observer === undefined ? 0 : ioNow();
    const row = this.#best(info, rows, feasible);
    this.observer?.('Score', 'Success', (ioNow() - scoring) / 1000);
    return { kind: 'placed', row, evaluated, feasible };
  }

  #best(info: PodInfo, rows: Int32Array, n: number): number {
    const cycle: Cycle = { info, table: this.#handle.table, handle: this.#handle };
    const totals = this.#totals;
    const scores = this.#scores;
    totals.fill(0, 0, n);
    for (const p of this.#scorers) {
      const s = p.score!(cycle, rows, n);
      if (s === undefined) continue;
      const weight = p.weight ?? 1;
      s.fill(scores, rows, n);
      s.normalize?.(scores, rows, n);
      for (let i = 0; i < n; i++) totals[i]! += weight * scores[i]!;
    }
    let most = -Infinity;
    let ties = 0;
    for (let i = 0; i < n; i++) {
      const total = totals[i]!;
      if (total > most) {
        most = total;
        ties = 1;
      } else if (total === most) ties++;
    }
    // Each of the best is as likely.
    let left = ties === 1 ? 0 : this.#random.int(ties);
    for (let i = 0; i < n; i++) if (totals[i] === most && left-- === 0) return rows[i]!;
    return rows[0]!;
  }
}

function isRejectionList(x: readonly PreparedFilter[] | Rejection): x is readonly PreparedFilter[] {
  return Array.isArray(x);
}

/** `0/3 nodes are available: 1 Insufficient cpu, 2 node(s) were unschedulable.`, as upstream words it. */
export function explain(nodes: number, refused: Refused, postFilter: string): string {
  if (nodes === 0 && refused.whole === undefined) return 'no nodes available to schedule pods';
  let text = `0/${nodes} nodes are available:`;
  if (refused.whole !== undefined) text += ` ${refused.whole.reasons.join(', ')}.`;
  else {
    const histogram = new Map<string, number>();
    for (const r of refused.byRow.values())
      for (const reason of r.reasons) histogram.set(reason, (histogram.get(reason) ?? 0) + 1);
    const left = nodes - refused.byRow.size;
    if (left > 0) {
      const reason = "node(s) didn't satisfy plugin(s) [NodeAffinity]";
      histogram.set(reason, (histogram.get(reason) ?? 0) + left);
    }
    const lines = [...histogram].map(([reason, n]) => `${n} ${reason}`).sort();
    if (lines.length > 0) text += ` ${lines.join(', ')}.`;
  }
  return postFilter === '' ? text : `${text} ${postFilter}`;
}
