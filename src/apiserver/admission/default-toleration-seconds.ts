/** DefaultTolerationSeconds: pods stay five minutes on a node that is not ready or unreachable, unless they say otherwise. */
import type { PodSpec, Toleration } from '../../api/types/core-v1.gen.ts';
import type { AdmissionPlugin } from '../context.ts';
import { withSpec } from './attributes.ts';

const notReady = 'node.kubernetes.io/not-ready';
const unreachable = 'node.kubernetes.io/unreachable';

export function defaultTolerationSeconds(
  options: { readonly notReady?: number; readonly unreachable?: number } = {},
): AdmissionPlugin {
  const make = (key: string, tolerationSeconds: number): Toleration =>
    Object.freeze({ key, operator: 'Exists', effect: 'NoExecute', tolerationSeconds });
  const forNotReady = make(notReady, options.notReady ?? 300);
  const forUnreachable = make(unreachable, options.unreachable ?? 300);
  return {
    name: 'DefaultTolerationSeconds',
    handles: (operation, group, resource, subresource) =>
      (operation === 'CREATE' || operation === 'UPDATE') && group === '' && resource === 'pods' && subresource === '',
    mutate(a) {
      const spec = a.object?.['spec'] as PodSpec | undefined;
      if (a.object === undefined || spec === undefined) return a.object;
      const tolerations = spec.tolerations ?? [];
      const has = (key: string): boolean =>
        tolerations.some(
          (t) =>
            (t.key === key || t.key === undefined || t.key === '') &&
            (t.effect === 'NoExecute' || t.effect === undefined || t.effect === ''),
        );
      const added = [...(has(notReady) ? [] : [forNotReady]), ...(has(unreachable) ? [] : [forUnreachable])];
      return added.length === 0 ? a.object : withSpec(a.object, { tolerations: [...tolerations, ...added] });
    },
  };
}
