/** TaintToleration: no node whose NoSchedule or NoExecute taints the pod does not tolerate; fewer PreferNoSchedule is better. */
import { findUntoleratedTaint, isTolerated } from '../../api/helpers/taints.ts';
import type { Taint } from '../../api/types/index.gen.ts';
import type { Rejection, Plugin } from '../framework.ts';
import { normalizeByMax, rejection } from '../framework.ts';

export const taintToleration: Plugin = {
  name: 'TaintToleration',
  weight: 3,
  filter({ info, table }) {
    // Nodes share few different sets of taints: each is judged once.
    const verdicts: (Rejection | undefined | null)[] = [];
    const tolerations = info.pod.spec!.tolerations;
    return {
      test(row) {
        const id = table.taintSet[row]!;
        if (id === 0) return undefined;
        let verdict = verdicts[id];
        if (verdict === undefined) {
          const taint = findUntoleratedTaint(
            table.taintSets[id],
            tolerations,
            (t) => t.effect === 'NoSchedule' || t.effect === 'NoExecute',
          );
          verdict =
            taint === undefined ? null : rejection('TaintToleration', false, `node(s) had untolerated taint(s)`);
          verdicts[id] = verdict;
        }
        return verdict ?? undefined;
      },
    };
  },
  score({ info, table }, rows, n) {
    // Nodes share few different sets of taints: each is looked at once.
    const preferring: (readonly Taint[] | undefined)[] = table.taintSets.map((set) => {
      const taints = set.filter((t) => t.effect === 'PreferNoSchedule');
      return taints.length === 0 ? undefined : taints;
    });
    if (preferring.every((taints) => taints === undefined)) return undefined;
    let any = false;
    for (let i = 0; i < n && !any; i++) any = preferring[table.taintSet[rows[i]!]!] !== undefined;
    if (!any) return undefined;
    const tolerations = (info.pod.spec!.tolerations ?? []).filter(
      (t) => t.effect === undefined || t.effect === '' || t.effect === 'PreferNoSchedule',
    );
    return {
      fill(scores, candidates, count) {
        const untolerated = preferring.map((taints) => taints?.filter((t) => !isTolerated(t, tolerations)).length ?? 0);
        for (let i = 0; i < count; i++) scores[i] = untolerated[table.taintSet[candidates[i]!]!]!;
      },
      normalize: (scores, _rows, count) => normalizeByMax(scores, count, true),
    };
  },
  events: ['NodeAdd', 'NodeTaint', 'PodUpdate'],
};
