/** NodeUnschedulable: keeps pods off cordoned nodes unless they tolerate the taint that stands for it. */
import { isTolerated } from '../../api/helpers/taints.ts';
import type { Plugin } from '../framework.ts';
import { rejection } from '../framework.ts';

const refused = rejection('NodeUnschedulable', false, 'node(s) were unschedulable');
const taint = { key: 'node.kubernetes.io/unschedulable', effect: 'NoSchedule' } as const;

export const nodeUnschedulable: Plugin = {
  name: 'NodeUnschedulable',
  filter({ info, table }) {
    if (isTolerated(taint, info.pod.spec!.tolerations)) return undefined;
    return { test: (row) => (table.unschedulable[row] === 1 ? refused : undefined) };
  },
  events: ['NodeAdd', 'NodeTaint', 'PodUpdate'],
};
