/**
 * PodTopologySpread: keeps the skew of matching pods over the values of a node label within bounds (filter) or small (score).
 * Pods without constraints of their own are spread softly over hosts and zones (KEP-895, KEP-1258).
 */
import { findUntoleratedTaint } from '../../api/helpers/taints.ts';
import type { Selector } from '../../api/selector.ts';
import { compileLabelSelector } from '../../api/selector.ts';
import type { TopologySpreadConstraint } from '../../api/types/index.gen.ts';
import type { Cycle, Plugin } from '../framework.ts';
import { maxNodeScore, rejection } from '../framework.ts';
import type { TrackedSelector } from '../node-table.ts';
import { withMatchLabelKeys } from '../pod-info.ts';

const name = 'PodTopologySpread';
const hostname = 'kubernetes.io/hostname';
const zone = 'topology.kubernetes.io/zone';
const skewed = rejection(name, true, "node(s) didn't match pod topology spread constraints");
const unlabelled = rejection(
  name,
  false,
  "node(s) didn't match pod topology spread constraints (missing required label)",
);

const systemDefaults: readonly { readonly topologyKey: string; readonly maxSkew: number }[] = [
  { topologyKey: hostname, maxSkew: 3 },
  { topologyKey: zone, maxSkew: 5 },
];

interface Constraint {
  readonly key: string;
  readonly maxSkew: number;
  readonly minDomains: number;
  readonly selector: Selector;
  readonly honorAffinity: boolean;
  readonly honorTaints: boolean;
  readonly ids: Int32Array;
  readonly domains: number;
  /** undefined: the selector is empty, which counts nothing. */
  readonly tracked: TrackedSelector | undefined;
}

function build(
  cycle: Cycle,
  selector: Selector,
  key: string,
  maxSkew: number,
  c: Partial<TopologySpreadConstraint>,
): Constraint {
  const t = cycle.table.topology(key);
  return {
    key,
    maxSkew,
    minDomains: c.minDomains ?? 1,
    selector,
    honorAffinity: (c.nodeAffinityPolicy ?? 'Honor') === 'Honor',
    honorTaints: (c.nodeTaintsPolicy ?? 'Ignore') === 'Honor',
    ids: t.ids,
    domains: t.count,
    tracked: selector.empty ? undefined : cycle.table.track(cycle.info.namespace, selector),
  };
}

function ownConstraints(cycle: Cycle, action: string): Constraint[] {
  const { info } = cycle;
  const out: Constraint[] = [];
  for (const c of info.pod.spec!.topologySpreadConstraints ?? []) {
    if (c.whenUnsatisfiable !== action) continue;
    const selector = withMatchLabelKeys(compileLabelSelector(c.labelSelector), c.matchLabelKeys, info.labels);
    out.push(build(cycle, selector, c.topologyKey, c.maxSkew, c));
  }
  return out;
}

/** Does the row take part in a constraint's counts (KEP-3094)? */
function includes(cycle: Cycle, c: Constraint, row: number): boolean {
  const { info, table } = cycle;
  if (
    c.honorAffinity &&
    info.required !== undefined &&
    !info.required({ name: table.names[row]!, labels: table.nodes[row]!.metadata.labels ?? {} })
  )
    return false;
  if (c.honorTaints && table.taintSet[row] !== 0) {
    const counts = (t: { effect: string }): boolean => t.effect === 'NoSchedule' || t.effect === 'NoExecute';
    if (findUntoleratedTaint(table.taintSets[table.taintSet[row]!], info.pod.spec!.tolerations, counts) !== undefined)
      return false;
  }
  return true;
}

/** Matching pods by domain; -1 for a domain no eligible node has. `keys`: rows lacking one of these labels are left out. */
function countDomains(cycle: Cycle, c: Constraint, all: readonly Constraint[], requireAll: boolean): Float64Array {
  const counts = new Float64Array(c.domains).fill(-1);
  const { table } = cycle;
  const order = table.order;
  const simple = (!c.honorAffinity || cycle.info.required === undefined) && !c.honorTaints;
  for (let i = 0; i < order.length; i++) {
    const row = order[i]!;
    const id = c.ids[row]!;
    if (id < 0) continue;
    if (requireAll && all.length > 1 && all.some((o) => o.ids[row]! < 0)) continue;
    if (!simple && !includes(cycle, c, row)) continue;
    if (counts[id] === -1) counts[id] = 0;
    if (c.tracked !== undefined) counts[id]! += c.tracked.counts[row]!;
  }
  return counts;
}

export const podTopologySpread: Plugin = {
  name,
  weight: 2,
  filter(cycle) {
    const constraints = ownConstraints(cycle, 'DoNotSchedule');
    if (constraints.length === 0) return undefined;
    const prepared = constraints.map((c) => {
      const counts = countDomains(cycle, c, constraints, true);
      let least = Infinity;
      let domains = 0;
      for (const n of counts) {
        if (n < 0) continue;
        domains++;
        if (n < least) least = n;
      }
      // Fewer domains than demanded: as if one stood empty.
      const min = domains < c.minDomains ? 0 : least === Infinity ? 0 : least;
      return { c, counts, min, self: c.selector.matches(cycle.info.labels) ? 1 : 0 };
    });
    return {
      stateful: true,
      test(row) {
        for (const { c, counts, min, self } of prepared) {
          const id = c.ids[row]!;
          if (id < 0) return unlabelled;
          if (Math.max(counts[id]!, 0) + self - min > c.maxSkew) return skewed;
        }
        return undefined;
      },
    };
  },
  score(cycle, rows, n) {
    const own = cycle.info.pod.spec!.topologySpreadConstraints ?? [];
    let constraints: Constraint[];
    const requireAll = own.length > 0;
    if (requireAll) constraints = ownConstraints(cycle, 'ScheduleAnyway');
    else {
      const selector = cycle.handle.defaultSelector(cycle.info);
      if (selector === undefined) return undefined;
      constraints = systemDefaults.map((d) => build(cycle, selector, d.topologyKey, d.maxSkew, {}));
    }
    if (constraints.length === 0) return undefined;
    let ignored: Uint8Array | undefined;
    let eligible = n;
    if (requireAll)
      for (let i = 0; i < n; i++)
        if (constraints.some((c) => c.ids[rows[i]!]! < 0)) {
          ignored ??= new Uint8Array(cycle.table.rows);
          ignored[rows[i]!] = 1;
          eligible--;
        }
    const prepared = constraints
      .filter((c) => c.domains > 0)
      .map((c) => {
        if (c.key === hostname) return { c, counts: undefined, weight: Math.log(eligible + 2) };
        const seen = new Uint8Array(c.domains);
        let size = 0;
        for (let i = 0; i < n; i++) {
          const id = c.ids[rows[i]!]!;
          if (id < 0 || seen[id] === 1 || ignored?.[rows[i]!] === 1) continue;
          seen[id] = 1;
          size++;
        }
        return { c, counts: countDomains(cycle, c, constraints, requireAll), weight: Math.log(size + 2) };
      });
    return {
      fill(scores, candidates, count) {
        scores.fill(0, 0, count);
        for (const { c, counts, weight } of prepared) {
          const { ids } = c;
          const perNode = c.tracked?.counts;
          for (let i = 0; i < count; i++) {
            const row = candidates[i]!;
            const id = ids[row]!;
            if (id < 0 || ignored?.[row] === 1) continue;
            const pods = counts === undefined ? (perNode === undefined ? 0 : perNode[row]!) : Math.max(counts[id]!, 0);
            scores[i]! += pods * weight + (c.maxSkew - 1);
          }
        }
        for (let i = 0; i < count; i++) scores[i] = Math.round(scores[i]!);
      },
      normalize(scores, candidates, count) {
        let min = Infinity;
        let max = 0;
        for (let i = 0; i < count; i++) {
          if (ignored?.[candidates[i]!] === 1) continue;
          const s = scores[i]!;
          if (s < min) min = s;
          if (s > max) max = s;
        }
        for (let i = 0; i < count; i++) {
          if (ignored?.[candidates[i]!] === 1) scores[i] = 0;
          else scores[i] = max === 0 ? maxNodeScore : Math.trunc((maxNodeScore * (max + min - scores[i]!)) / max);
        }
      },
    };
  },
  events: [
    'AssignedPodAdd',
    'AssignedPodUpdate',
    'AssignedPodDelete',
    'NodeAdd',
    'NodeLabel',
    'NodeTaint',
    'PodUpdate',
  ],
};
