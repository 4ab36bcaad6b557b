/** TaintNodesByCondition: a new node is tainted not-ready until its conditions are known. */
import type { NodeSpec, Taint } from '../../api/types/core-v1.gen.ts';
import type { AdmissionPlugin } from '../context.ts';
import { withSpec } from './attributes.ts';

const notReady: Taint = Object.freeze({ key: 'node.kubernetes.io/not-ready', effect: 'NoSchedule' });

export const taintNodesByCondition: AdmissionPlugin = {
  name: 'TaintNodesByCondition',
  handles: (operation, group, resource, subresource) =>
    operation === 'CREATE' && group === '' && resource === 'nodes' && subresource === '',
  mutate(a) {
    if (a.object === undefined) return undefined;
    const taints = (a.object['spec'] as NodeSpec | undefined)?.taints ?? [];
    if (taints.some((t) => t.key === notReady.key && t.effect === notReady.effect)) return a.object;
    return withSpec(a.object, { taints: [...taints, notReady] });
  },
};
