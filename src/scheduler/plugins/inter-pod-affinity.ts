/** InterPodAffinity: pods that want to be near, or far from, other pods, by a topology label; both ways (existing pods' terms too). */
import type { Labels } from '../../api/selector.ts';
import type { Cycle, Plugin } from '../framework.ts';
import { maxNodeScore, rejection } from '../framework.ts';
import type { AffinityTerm, PodInfo } from '../pod-info.ts';

const name = 'InterPodAffinity';
const existingRefuse = rejection(name, true, "node(s) didn't satisfy existing pods anti-affinity rules");
const affinityRefuses = rejection(name, false, "node(s) didn't match pod affinity rules");
const antiAffinityRefuses = rejection(name, true, "node(s) didn't match pod anti-affinity rules");
/** How much a required affinity term of an existing pod weighs when scoring (upstream's hardPodAffinityWeight). */
const hardAffinityWeight = 1;

/** Does `term` select `pod`? `namespaceLabels`: labels of the pod's namespace. */
function selects(term: AffinityTerm, pod: PodInfo, namespaceLabels: (ns: string) => Labels | undefined): boolean {
  if (!term.namespaces.has(pod.namespace)) {
    if (term.namespaceSelector === undefined || !term.namespaceSelector.matches(namespaceLabels(pod.namespace)))
      return false;
  }
  return term.selector.matches(pod.labels);
}

/** Pods selected by all terms together (`joint`) or by each, counted per topology value of each term. */
function countTerms(
  cycle: Cycle,
  terms: readonly AffinityTerm[],
  joint: boolean,
): { ids: Int32Array; counts: Int32Array }[] {
  const { table, handle } = cycle;
  const labelsOf = (ns: string): Labels | undefined => handle.namespaceLabels(ns);
  const out = terms.map((t) => {
    const topology = table.topology(t.topologyKey);
    return { ids: topology.ids, counts: new Int32Array(topology.count) };
  });
  // One namespace and no namespace selector: the table's own counts serve.
  const simple =
    (!joint || terms.length === 1) && terms.every((t) => t.namespaceSelector === undefined && t.namespaces.size === 1);
  if (simple) {
    terms.forEach((t, k) => {
      const tracked = table.track([...t.namespaces][0]!, t.selector);
      const { ids, counts } = out[k]!;
      const order = table.order;
      for (let i = 0; i < order.length; i++) {
        const row = order[i]!;
        if (tracked.counts[row]! > 0 && ids[row]! >= 0) counts[ids[row]!]! += tracked.counts[row]!;
      }
    });
    return out;
  }
  for (const { row, info } of table.allPods()) {
    if (joint) {
      if (!terms.every((t) => selects(t, info, labelsOf))) continue;
      for (const { ids, counts } of out) if (ids[row]! >= 0) counts[ids[row]!]!++;
    } else {
      terms.forEach((t, k) => {
        const { ids, counts } = out[k]!;
        if (ids[row]! >= 0 && selects(t, info, labelsOf)) counts[ids[row]!]!++;
      });
    }
  }
  return out;
}

export const interPodAffinity: Plugin = {
  name,
  weight: 2,
  filter(cycle) {
    const { info, table, handle } = cycle;
    const labelsOf = (ns: string): Labels | undefined => handle.namespaceLabels(ns);
    // Topology values that existing pods' anti-affinity closes to this pod.
    const closed = new Map<string, { ids: Int32Array; values: Set<number> }>();
    for (const [uid, row] of table.withAntiAffinity) {
      const existing = table.podAt(uid, row);
      if (existing === undefined) continue;
      for (const term of existing.antiAffinity) {
        if (!selects(term, info, labelsOf)) continue;
        const { ids } = table.topology(term.topologyKey);
        if (ids[row]! < 0) continue;
        let entry = closed.get(term.topologyKey);
        if (entry === undefined) closed.set(term.topologyKey, (entry = { ids, values: new Set() }));
        entry.values.add(ids[row]!);
      }
    }
    if (closed.size === 0 && info.affinity.length === 0 && info.antiAffinity.length === 0) return undefined;
    const affinity = info.affinity.length === 0 ? [] : countTerms(cycle, info.affinity, true);
    const anti = info.antiAffinity.length === 0 ? [] : countTerms(cycle, info.antiAffinity, false);
    // The first pod of a group that wants to be together may go anywhere that has the labels.
    const first =
      affinity.length > 0 &&
      affinity.every(({ counts }) => counts.every((n) => n === 0)) &&
      info.affinity.every((t) => selects(t, info, labelsOf));
    return {
      stateful: true,
      test(row) {
        let missing = false;
        for (const { ids, counts } of affinity) {
          if (ids[row]! < 0) return affinityRefuses;
          if (counts[ids[row]!]! <= 0) missing = true;
        }
        if (missing && !first) return affinityRefuses;
        for (const { ids, counts } of anti) if (ids[row]! >= 0 && counts[ids[row]!]! > 0) return antiAffinityRefuses;
        for (const { ids, values } of closed.values())
          if (ids[row]! >= 0 && values.has(ids[row]!)) return existingRefuse;
        return undefined;
      },
    };
  },
  score(cycle) {
    const { info, table, handle } = cycle;
    const own = info.preferredAffinity.length + info.preferredAntiAffinity.length > 0;
    if (!own && table.withAffinity.size === 0) return undefined;
    const labelsOf = (ns: string): Labels | undefined => handle.namespaceLabels(ns);
    const topologies = new Map<string, { ids: Int32Array; sums: Float64Array }>();
    const add = (key: string, row: number, weight: number): void => {
      let t = topologies.get(key);
      if (t === undefined) {
        const topology = table.topology(key);
        topologies.set(key, (t = { ids: topology.ids, sums: new Float64Array(topology.count) }));
      }
      if (t.ids[row]! >= 0) t.sums[t.ids[row]!]! += weight;
    };
    if (own)
      for (const { row, info: existing } of table.allPods()) {
        for (const t of info.preferredAffinity) if (selects(t, existing, labelsOf)) add(t.topologyKey, row, t.weight);
        for (const t of info.preferredAntiAffinity)
          if (selects(t, existing, labelsOf)) add(t.topologyKey, row, -t.weight);
      }
    for (const [uid, row] of table.withAffinity) {
      const existing = table.podAt(uid, row);
      if (existing === undefined) continue;
      for (const t of existing.affinity) if (selects(t, info, labelsOf)) add(t.topologyKey, row, hardAffinityWeight);
      for (const t of existing.preferredAffinity) if (selects(t, info, labelsOf)) add(t.topologyKey, row, t.weight);
      for (const t of existing.preferredAntiAffinity)
        if (selects(t, info, labelsOf)) add(t.topologyKey, row, -t.weight);
    }
    if (topologies.size === 0) return undefined;
    return {
      fill(scores, rows, n) {
        scores.fill(0, 0, n);
        for (const { ids, sums } of topologies.values())
          for (let i = 0; i < n; i++) {
            const id = ids[rows[i]!]!;
            if (id >= 0) scores[i]! += sums[id]!;
          }
      },
      normalize(scores, _rows, n) {
        let min = Infinity;
        let max = -Infinity;
        for (let i = 0; i < n; i++) {
          min = Math.min(min, scores[i]!);
          max = Math.max(max, scores[i]!);
        }
        for (let i = 0; i < n; i++)
          scores[i] = max > min ? Math.trunc((maxNodeScore * (scores[i]! - min)) / (max - min)) : 0;
      },
    };
  },
  events: [
    'AssignedPodAdd',
    'AssignedPodUpdate',
    'AssignedPodDelete',
    'NodeAdd',
    'NodeLabel',
    'NamespaceLabel',
    'PodUpdate',
  ],
};
