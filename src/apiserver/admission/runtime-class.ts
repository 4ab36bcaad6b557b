/** RuntimeClass: a pod's RuntimeClass exists, and its overhead, node selector and tolerations go into the pod. */
import { compareQuantityText } from '../../api/quantity.ts';
import { StatusError } from '../../api/status.ts';
import type { Pod, PodSpec } from '../../api/types/core-v1.gen.ts';
import type { RuntimeClass } from '../../api/types/node-v1.gen.ts';
import type { AdmissionAttributes, AdmissionPlugin } from '../context.ts';
import type { Registries } from '../registry.ts';
import { cachedObject, refuse, withSpec } from './attributes.ts';
import { mergeTolerations } from './tolerations.ts';

type Quantities = Readonly<Record<string, string>>;

function sameQuantities(a: Quantities | undefined, b: Quantities | undefined): boolean {
  const [x, y] = [a ?? {}, b ?? {}];
  const names = Object.keys(x);
  return (
    names.length === Object.keys(y).length &&
    names.every((n) => y[n] !== undefined && compareQuantityText(x[n]!, y[n]) === 0)
  );
}

export function runtimeClass(deps: { readonly registries: Registries }): AdmissionPlugin {
  const find = (a: AdmissionAttributes, spec: PodSpec): RuntimeClass | undefined => {
    const name = spec.runtimeClassName;
    if (name === undefined || name === null) return undefined;
    const found = cachedObject<RuntimeClass>(deps.registries, 'node.k8s.io', 'runtimeclasses', '', name);
    // Upstream asks the API for what its cache does not have, and a client asks for no name that is empty.
    if (found === undefined && name === '') throw new StatusError(500, '', 'resource name may not be empty');
    if (found === undefined) throw refuse(a, `pod rejected: RuntimeClass ${JSON.stringify(name)} not found`);
    return found;
  };
  const mismatch = "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead";
  return {
    name: 'RuntimeClass',
    handles: (operation, group, resource, subresource) =>
      operation === 'CREATE' && group === '' && resource === 'pods' && subresource === '',
    mutate(a) {
      const spec = a.object?.['spec'] as PodSpec | undefined;
      if (a.object === undefined || spec === undefined) return a.object;
      const rc = find(a, spec);
      if (rc === undefined) return a.object;
      const change: Record<string, unknown> = {};
      if (rc.overhead !== undefined) {
        const fixed = rc.overhead.podFixed;
        if (Object.keys(spec.overhead ?? {}).length > 0 && !sameQuantities(fixed, spec.overhead))
          throw refuse(a, mismatch);
        if (fixed !== undefined) change['overhead'] = fixed;
      }
      if (rc.scheduling !== undefined) {
        const selector: Record<string, string> = { ...spec.nodeSelector };
        for (const [key, value] of Object.entries(rc.scheduling.nodeSelector ?? {})) {
          if (selector[key] !== undefined && selector[key] !== value)
            throw refuse(
              a,
              `conflict: runtimeClass.scheduling.nodeSelector[${key}] = ${value}; pod.spec.nodeSelector[${key}] = ${selector[key]}`,
            );
          selector[key] = value;
        }
        if (Object.keys(selector).length > 0) change['nodeSelector'] = selector;
        const tolerations = mergeTolerations(spec.tolerations ?? [], rc.scheduling.tolerations ?? []);
        if (tolerations.length > 0) change['tolerations'] = tolerations;
      }
      return Object.keys(change).length === 0 ? a.object : withSpec(a.object, change);
    },
    validate(a) {
      const spec = (a.object as unknown as Pod | undefined)?.spec;
      if (spec === undefined) return;
      const rc = find(a, spec);
      if (rc?.overhead !== undefined) {
        if (!sameQuantities(rc.overhead.podFixed, spec.overhead)) throw refuse(a, mismatch);
      } else if (spec.overhead !== undefined)
        throw refuse(a, 'pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead');
    },
  };
}
