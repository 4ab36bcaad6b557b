/** LimitPodHardAntiAffinityTopology: hard anti-affinity only between nodes, since wider topologies block many others. */
import { forbidden } from '../../api/status.ts';
import type { PodSpec } from '../../api/types/core-v1.gen.ts';
import type { AdmissionPlugin } from '../context.ts';
import { metadataOf } from './attributes.ts';

const hostname = 'kubernetes.io/hostname';

export const limitPodHardAntiAffinityTopology: AdmissionPlugin = {
  name: 'LimitPodHardAntiAffinityTopology',
  handles: (operation, group, resource, subresource) =>
    (operation === 'CREATE' || operation === 'UPDATE') && group === '' && resource === 'pods' && subresource === '',
  validate(a) {
    const spec = (a.object?.['spec'] ?? {}) as PodSpec;
    for (const term of spec.affinity?.podAntiAffinity?.requiredDuringSchedulingIgnoredDuringExecution ?? [])
      if (term.topologyKey !== hostname)
        throw forbidden(
          { group: '', resource: 'pods' },
          metadataOf(a.object).name ?? '',
          `affinity.PodAntiAffinity.RequiredDuringScheduling has TopologyKey ${term.topologyKey} but only key ${hostname} is allowed`,
        );
  },
};
