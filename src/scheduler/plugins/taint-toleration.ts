/** TaintToleration: no node whose NoSchedule or NoExecute taints the pod does not tolerate; fewer PreferNoSchedule is better. */
import { findUntoleratedTaint, isTolerated } from '../../api/helpers/taints.ts';
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
    let any = false;
    for (let i = 0; i < n && !any; i++)
      any = table.taintSets[table.taintSet[rows[i]!]!]!.some((t) => t.effect === 'PreferNoSchedule');
    if (!any) return undefined;
    const tolerations = (info.pod.spec!.tolerations ?? []).filter(
      (t) => t.effect === undefined || t.effect === '' || t.effect === 'PreferNoSchedule',
    );
    return {
      score: (row) =>
        table.taintSets[table.taintSet[row]!]!.filter(
          (t) => t.effect === 'PreferNoSchedule' && !isTolerated(t, tolerations),
        ).length,
      normalize: (scores, _rows, count) => normalizeByMax(scores, count, true),
    };
  },
  events: ['NodeAdd', 'NodeTaint', 'PodUpdate'],
};
