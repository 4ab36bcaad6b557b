/** PodDisruptionBudgets of policy/v1beta1, whose empty selector selects no pods; that of v1 selects all of them. */
import type { KubeObject } from '../object.ts';
import type { LabelSelector } from '../selector.ts';

/** Stands for the one in the other version; no pod has it. */
const marker = 'pdb.kubernetes.io/deprecated-v1beta1-empty-selector-match';

export function oldBudgetToV1(object: KubeObject): KubeObject {
  const spec = (object['spec'] ?? {}) as { readonly selector?: LabelSelector };
  const { selector } = spec;
  const out = { ...object, apiVersion: 'policy/v1' };
  if (selector === undefined) return out;
  const labels = Object.keys(selector.matchLabels ?? {}).length;
  const expressions = selector.matchExpressions ?? [];
  const [first] = expressions;
  if (labels === 0 && first === undefined)
    return { ...out, spec: { ...spec, selector: { matchExpressions: [{ key: marker, operator: 'Exists' }] } } };
  if (labels === 0 && expressions.length === 1 && first!.key === marker && first!.operator === 'DoesNotExist')
    return { ...out, spec: { ...spec, selector: {} } };
  if (!expressions.some((e) => e.key === marker)) return out;
  return {
    ...out,
    spec: { ...spec, selector: { ...selector, matchExpressions: expressions.filter((e) => e.key !== marker) } },
  };
}
