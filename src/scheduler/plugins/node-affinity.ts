/** NodeAffinity: nodeSelector and required node affinity filter, preferred terms score. */
import type { Plugin } from '../framework.ts';
import { normalizeByMax, rejection } from '../framework.ts';
import type { NodeTable } from '../node-table.ts';

const refused = rejection('NodeAffinity', false, "node(s) didn't match Pod's node affinity/selector");

function nodeLike(table: NodeTable, row: number): { name: string; labels: Record<string, string> } {
  return { name: table.names[row]!, labels: table.nodes[row]!.metadata.labels ?? {} };
}

export const nodeAffinity: Plugin = {
  name: 'NodeAffinity',
  weight: 2,
  filter({ info, table }) {
    const { required, pinned } = info;
    if (required === undefined) return undefined;
    if (pinned?.length === 0) return rejection('NodeAffinity', false, 'pod affinity terms conflict');
    return {
      test: (row) => (required(nodeLike(table, row)) ? undefined : refused),
      ...(pinned === undefined ? {} : { rows: pinned.map((name) => table.row(name)).filter((row) => row >= 0) }),
    };
  },
  score({ info, table }) {
    if (info.preferred.length === 0) return undefined;
    return {
      fill(scores, rows, n) {
        for (let i = 0; i < n; i++) {
          const node = nodeLike(table, rows[i]!);
          let sum = 0;
          for (const p of info.preferred) if (p.matches(node)) sum += p.weight;
          scores[i] = sum;
        }
      },
      normalize: (scores, _rows, n) => normalizeByMax(scores, n, false),
    };
  },
  events: ['NodeAdd', 'NodeLabel', 'PodUpdate'],
};
