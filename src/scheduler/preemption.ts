/**
 * Preemption: when no node will have a pod, finds the node on which evicting pods of lower priority costs least (upstream's
 * DefaultPreemption). Dry runs remove pods from the live table and put them back before anybody else looks.
 */
import type { Random } from '../base/random.ts';
import { compileLabelSelector } from '../api/selector.ts';
import { timeMs } from '../api/time.ts';
import type { PodDisruptionBudget } from '../api/types/index.gen.ts';
import type { Evaluator, Refused } from './cycle.ts';
import type { PreparedFilter, Rejection } from './framework.ts';
import type { NodeTable } from './node-table.ts';
import type { PodInfo } from './pod-info.ts';

export interface Victims {
  readonly row: number;
  readonly node: string;
  readonly pods: readonly PodInfo[];
  readonly violations: number;
}

export type PreemptionOutcome = { readonly victims: Victims } | { readonly message: string };

const minCandidatePercent = 10;
const minCandidates = 100;
const noVictims = 'No preemption victims found for incoming pod';
const notHelpful = 'Preemption is not helpful for scheduling';

export interface PreemptionContext {
  readonly table: NodeTable;
  readonly evaluator: Evaluator;
  readonly random: Random;
  budgets(namespace: string): Iterable<PodDisruptionBudget>;
}

/** More important: higher priority, then the longer running. */
function moreImportant(a: PodInfo, b: PodInfo): number {
  if (a.priority !== b.priority) return b.priority - a.priority;
  return startOf(a) - startOf(b);
}

function startOf(p: PodInfo): number {
  return p.pod.status?.startTime === undefined ? p.created : timeMs(p.pod.status.startTime);
}

function passes(ctx: PreemptionContext, info: PodInfo, filters: readonly PreparedFilter[], row: number): boolean {
  if (!filters.some((f) => f.stateful === true)) return ctx.evaluator.test(filters, row) === undefined;
  const again = ctx.evaluator.prepare(info);
  return Array.isArray(again) && ctx.evaluator.test(again as readonly PreparedFilter[], row) === undefined;
}

/** Pods that evicting would take below their budget, and the others; budgets are used up in order. */
function splitByBudget(ctx: PreemptionContext, pods: readonly PodInfo[]): { violating: PodInfo[]; others: PodInfo[] } {
  const left = new Map<PodDisruptionBudget, number>();
  const violating: PodInfo[] = [];
  const others: PodInfo[] = [];
  for (const p of pods) {
    let violates = false;
    for (const pdb of ctx.budgets(p.namespace)) {
      const selector = compileLabelSelector(pdb.spec?.selector);
      if (selector.empty || !selector.matches(p.labels)) continue;
      if (pdb.status?.disruptedPods?.[p.pod.metadata.name ?? ''] !== undefined) continue;
      const allowed = (left.get(pdb) ?? pdb.status?.disruptionsAllowed ?? 0) - 1;
      left.set(pdb, allowed);
      if (allowed < 0) violates = true;
    }
    (violates ? violating : others).push(p);
  }
  return { violating, others };
}

function victimsOn(
  ctx: PreemptionContext,
  info: PodInfo,
  filters: readonly PreparedFilter[],
  row: number,
): Victims | string {
  const { table } = ctx;
  const node = table.names[row]!;
  const lower = [...table.pods[row]!.values()].filter((p) => p.priority < info.priority);
  if (lower.length === 0) return noVictims;
  for (const p of lower) table.removePod(p.uid);
  const victims: PodInfo[] = [];
  let violations = 0;
  let fits = false;
  try {
    fits = passes(ctx, info, filters, row);
    if (fits) {
      lower.sort(moreImportant);
      const { violating, others } = splitByBudget(ctx, lower);
      const reprieve = (p: PodInfo): boolean => {
        table.addPod(p, node);
        if (passes(ctx, info, filters, row)) return true;
        table.removePod(p.uid);
        victims.push(p);
        return false;
      };
      for (const p of violating) if (!reprieve(p)) violations++;
      for (const p of others) reprieve(p);
    }
  } finally {
    for (const p of lower) if (table.find(p.uid) === undefined) table.addPod(p, node);
  }
  if (!fits) return noVictims;
  victims.sort(moreImportant);
  return { row, node, pods: victims, violations };
}

/** Fewest broken budgets, lowest first victim, smallest sum of priorities, fewest victims, the latest started first victim. */
function better(a: Victims, b: Victims): boolean {
  if (a.violations !== b.violations) return a.violations < b.violations;
  const [pa, pb] = [a.pods[0]!.priority, b.pods[0]!.priority];
  if (pa !== pb) return pa < pb;
  const sum = (v: Victims): number => v.pods.reduce((s, p) => s + p.priority + 2 ** 31, 0);
  if (sum(a) !== sum(b)) return sum(a) < sum(b);
  if (a.pods.length !== b.pods.length) return a.pods.length < b.pods.length;
  const earliest = (v: Victims): number =>
    Math.min(...v.pods.filter((p) => p.priority === v.pods[0]!.priority).map(startOf));
  return earliest(a) > earliest(b);
}

/** Finds whom to evict for `info`, which `refused` says has no place. */
export function preempt(ctx: PreemptionContext, info: PodInfo, refused: Refused): PreemptionOutcome {
  const { table } = ctx;
  if (info.pod.spec?.preemptionPolicy === 'Never') return { message: 'not eligible due to preemptionPolicy=Never.' };
  const nominated = info.pod.status?.nominatedNodeName ?? '';
  if (nominated !== '') {
    const row = table.row(nominated);
    const before: Rejection | undefined = row < 0 ? undefined : refused.byRow.get(row);
    if (row >= 0 && before?.resolvable !== false)
      for (const p of table.pods[row]!.values())
        if (p.priority < info.priority && p.pod.metadata.deletionTimestamp !== undefined)
          return { message: 'not eligible due to a terminating pod on the nominated node.' };
  }
  const reasons = new Map<string, number>();
  const count = (text: string, n = 1): void => void reasons.set(text, (reasons.get(text) ?? 0) + n);
  const rows: number[] = [];
  if (refused.whole === undefined) for (const [row, r] of refused.byRow) if (r.resolvable) rows.push(row);
  count(notHelpful, table.size - rows.length);
  const filters = refused.whole === undefined ? ctx.evaluator.prepare(info) : undefined;
  let best: Victims | undefined;
  if (Array.isArray(filters) && rows.length > 0) {
    const wanted = Math.min(
      rows.length,
      Math.max(Math.floor((rows.length * minCandidatePercent) / 100), minCandidates),
    );
    const start = ctx.random.int(rows.length);
    let found = 0;
    for (let i = 0; i < rows.length && found < wanted; i++) {
      const v = victimsOn(ctx, info, filters as readonly PreparedFilter[], rows[(start + i) % rows.length]!);
      if (typeof v === 'string') {
        count(v);
        continue;
      }
      found++;
      if (v.pods.length > 0 && (best === undefined || better(v, best))) best = v;
    }
  }
  if (best !== undefined) return { victims: best };
  const lines = [...reasons]
    .filter(([, n]) => n > 0)
    .map(([text, n]) => `${n} ${text}`)
    .sort();
  return { message: `0/${table.size} nodes are available: ${lines.join(', ')}.` };
}
