/** ExtendedResourceToleration: a pod that asks for an extended resource tolerates the taint of that name. */
import type { PodSpec, Toleration } from '../../api/types/core-v1.gen.ts';
import type { AdmissionPlugin } from '../context.ts';
import { isExtendedResource } from '../validation/resource-names.ts';
import { withSpec } from './attributes.ts';

export const extendedResourceToleration: AdmissionPlugin = {
  name: 'ExtendedResourceToleration',
  handles: (operation, group, resource, subresource) =>
    (operation === 'CREATE' || operation === 'UPDATE') && group === '' && resource === 'pods' && subresource === '',
  mutate(a) {
    if (a.object === undefined) return undefined;
    const spec = (a.object['spec'] ?? {}) as PodSpec;
    const wanted = new Set<string>();
    for (const c of [...(spec.containers ?? []), ...(spec.initContainers ?? [])])
      for (const name of Object.keys(c.resources?.requests ?? {})) if (isExtendedResource(name)) wanted.add(name);
    if (wanted.size === 0) return a.object;
    const tolerations: Toleration[] = [...(spec.tolerations ?? [])];
    for (const key of [...wanted].sort()) {
      const toleration: Toleration = { key, operator: 'Exists', effect: 'NoSchedule' };
      // One of the same key, effect, operator and value is renewed in its place.
      const at = tolerations.findIndex(
        (t) => t.key === key && t.effect === 'NoSchedule' && t.operator === 'Exists' && (t.value ?? '') === '',
      );
      if (at < 0) tolerations.push(toleration);
      else tolerations[at] = toleration;
    }
    return withSpec(a.object, { tolerations });
  },
};
