/** PodTopologyLabels: a pod that is bound carries the zone and region of its node as labels. */
import type { FeatureGates } from '../../api/features/feature-gates.ts';
import type { Node, PodSpec } from '../../api/types/core-v1.gen.ts';
import type { AdmissionPlugin } from '../context.ts';
import type { Registries } from '../registry.ts';
import { cachedObject, metadataOf, withMetadata } from './attributes.ts';

const topologyLabels = ['topology.kubernetes.io/zone', 'topology.kubernetes.io/region'] as const;

export function podTopologyLabels(deps: {
  readonly registries: Registries;
  readonly features: FeatureGates;
}): AdmissionPlugin {
  const on = deps.features.enabled('PodTopologyLabelsAdmission');
  return {
    name: 'PodTopologyLabels',
    handles: (operation, group, resource, subresource) =>
      on &&
      operation === 'CREATE' &&
      group === '' &&
      resource === 'pods' &&
      (subresource === '' || subresource === 'binding'),
    mutate(a) {
      const { object } = a;
      if (object === undefined) return undefined;
      let nodeName: string;
      if (a.subresource === 'binding') {
        const target = object['target'] as { kind?: string; name?: string } | undefined;
        if (target?.kind !== 'Node') return object;
        nodeName = target.name ?? '';
      } else nodeName = (object['spec'] as PodSpec | undefined)?.nodeName ?? '';
      if (nodeName === '') return object;
      const of = cachedObject<Node>(deps.registries, '', 'nodes', '', nodeName)?.metadata?.labels;
      let labels: Record<string, string> | undefined;
      for (const key of topologyLabels) {
        const value = of?.[key];
        if (value !== undefined) (labels ??= {})[key] = value;
      }
      if (labels === undefined) return object;
      return withMetadata(object, { labels: { ...metadataOf(object).labels, ...labels } });
    },
  };
}
