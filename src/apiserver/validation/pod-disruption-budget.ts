/** Validation of PodDisruptionBudget. */
import { invalid, type FieldError } from '../../api/field-error.ts';
import type { KubeObject } from '../../api/object.ts';
import { validateLabelSelector } from '../../api/selector.ts';
import type { LabelSelector } from '../../api/selector.ts';
import type { PodDisruptionBudgetSpec, PodDisruptionBudgetStatus } from '../../api/types/policy-v1.gen.ts';
import { internalForm } from './internal-form.ts';
import { validateConditions } from './conditions.ts';
import {
  specOf,
  statusOf,
  validateAtMost100Percent,
  validateEnum,
  validateNonnegative,
  validatePositiveIntOrPercent,
} from './field.ts';

export function validatePodDisruptionBudget(object: KubeObject, old?: KubeObject): FieldError[] {
  const spec = specOf<PodDisruptionBudgetSpec>(object);
  const errors: FieldError[] = [];
  if (spec.minAvailable !== undefined && spec.maxUnavailable !== undefined)
    errors.push(
      invalid(
        'spec',
        internalForm('policy.PodDisruptionBudgetSpec', spec),
        'minAvailable and maxUnavailable cannot be both set',
      ),
    );
  for (const member of ['minAvailable', 'maxUnavailable'] as const) {
    const value = spec[member];
    if (value === undefined) continue;
    const path = `spec.${member}`;
    errors.push(...validatePositiveIntOrPercent(value, path), ...validateAtMost100Percent(value, path));
  }
  const before = old === undefined ? undefined : specOf<PodDisruptionBudgetSpec>(old).selector;
  const allowInvalid =
    before !== undefined && validateLabelSelector(before as LabelSelector, 'spec.selector').length > 0;
  errors.push(
    ...validateLabelSelector(spec.selector as LabelSelector | undefined, 'spec.selector', {
      allowInvalidLabelValueInSelector: allowInvalid,
    }),
    ...validateEnum(
      spec.unhealthyPodEvictionPolicy,
      ['AlwaysAllow', 'IfHealthyBudget'],
      'spec.unhealthyPodEvictionPolicy',
    ),
  );
  return errors;
}

export function validatePodDisruptionBudgetStatusUpdate(object: KubeObject): FieldError[] {
  const status = statusOf<PodDisruptionBudgetStatus>(object);
  return [
    ...validateConditions(status.conditions, 'status.conditions'),
    ...(['disruptionsAllowed', 'currentHealthy', 'desiredHealthy', 'expectedPods'] as const).flatMap((member) =>
      validateNonnegative(status[member], `status.${member}`),
    ),
  ];
}
