/** SchedulingGates: a pod with gates waits outside the active queue until they are removed (KEP-3521). */
import type { Plugin } from '../framework.ts';

export const schedulingGates: Plugin = {
  name: 'SchedulingGates',
  preEnqueue(pod) {
    const gates = pod.spec?.schedulingGates ?? [];
    return gates.length === 0 ? undefined : `waiting for scheduling gates: [${gates.map((g) => g.name).join(' ')}]`;
  },
  events: ['PodUpdate'],
};
