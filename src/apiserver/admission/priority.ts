/** Priority: resolves a pod's priorityClassName (or the default class) to its number, and keeps the default class unique. */
import type { PodSpec } from '../../api/types/core-v1.gen.ts';
import type { PriorityClass } from '../../api/types/scheduling-v1.gen.ts';
import type { AdmissionAttributes, AdmissionPlugin } from '../context.ts';
import type { Registries } from '../registry.ts';
import { cachedObject, cachedObjects, refuse, withSpec } from './attributes.ts';

const group = 'scheduling.k8s.io';

export function priority(deps: { readonly registries: Registries }): AdmissionPlugin {
  const { registries } = deps;

  const defaultClass = (): PriorityClass | undefined => {
    let found: PriorityClass | undefined;
    for (const pc of cachedObjects<PriorityClass>(registries, group, 'priorityclasses'))
      if (pc.globalDefault === true && (found === undefined || (found.value ?? 0) > (pc.value ?? 0))) found = pc;
    return found;
  };

  const resolve = (
    a: AdmissionAttributes,
    name: string,
  ): { name: string; value: number; policy: string | undefined } => {
    if (name === '') {
      const pc = defaultClass();
      return pc === undefined
        ? { name: '', value: 0, policy: 'PreemptLowerPriority' }
        : { name: pc.metadata?.name ?? '', value: pc.value ?? 0, policy: pc.preemptionPolicy };
    }
    const pc = cachedObject<PriorityClass>(registries, group, 'priorityclasses', '', name);
    if (pc === undefined) throw refuse(a, `no PriorityClass with name ${name} was found`);
    return { name, value: pc.value ?? 0, policy: pc.preemptionPolicy };
  };

  return {
    name: 'Priority',
    handles: (operation, g, resource, subresource) =>
      subresource === '' &&
      (operation === 'CREATE' || operation === 'UPDATE') &&
      ((g === '' && resource === 'pods') || (g === group && resource === 'priorityclasses')),
    mutate(a) {
      if (a.resource !== 'pods' || a.object === undefined) return a.object;
      const spec = (a.object['spec'] ?? {}) as PodSpec;
      if (a.operation === 'UPDATE') {
        const old = (a.oldObject?.['spec'] ?? {}) as PodSpec;
        const change: Record<string, unknown> = {};
        if (spec.priority === undefined && old.priority !== undefined) change['priority'] = old.priority;
        if (spec.preemptionPolicy === undefined && old.preemptionPolicy !== undefined)
          change['preemptionPolicy'] = old.preemptionPolicy;
        return Object.keys(change).length === 0 ? a.object : withSpec(a.object, change);
      }
      const found = resolve(a, spec.priorityClassName ?? '');
      if (spec.priority !== undefined && spec.priority !== null && spec.priority !== found.value)
        throw refuse(
          a,
          `the integer value of priority (${spec.priority}) must not be provided in pod spec; priority admission controller computed ${found.value} from the given PriorityClass name`,
        );
      const change: Record<string, unknown> = { priority: found.value };
      if (found.name !== '') change['priorityClassName'] = found.name;
      if (found.policy !== undefined) {
        if (spec.preemptionPolicy !== undefined && spec.preemptionPolicy !== found.policy)
          throw refuse(
            a,
            `the string value of PreemptionPolicy (${spec.preemptionPolicy}) must not be provided in pod spec; priority admission controller computed ${found.policy} from the given PriorityClass name`,
          );
        change['preemptionPolicy'] = found.policy;
      }
      return withSpec(a.object, change);
    },
    validate(a) {
      if (a.resource !== 'priorityclasses' || a.object?.['globalDefault'] !== true) return;
      const existing = defaultClass();
      if (existing === undefined) return;
      const name = existing.metadata?.name ?? '';
      if (a.operation === 'CREATE' || name !== a.name)
        throw refuse(a, `PriorityClass ${name} is already marked as default. Only one default can exist`);
    },
  };
}
