/** Validation of Lease. */
import { forbiddenField, invalid, notSupported, type FieldError } from '../../api/field-error.ts';
import { isQualifiedName } from '../../api/names.ts';
import type { KubeObject } from '../../api/object.ts';
import type { LeaseSpec } from '../../api/types/coordination-v1.gen.ts';
import { invalidEach, specOf } from './field.ts';

export function validateLease(object: KubeObject): FieldError[] {
  const spec = specOf<LeaseSpec>(object);
  const errors: FieldError[] = [];
  const { leaseDurationSeconds, leaseTransitions, strategy, preferredHolder } = spec;
  if (leaseDurationSeconds !== undefined && leaseDurationSeconds <= 0)
    errors.push(invalid('spec.leaseDurationSeconds', leaseDurationSeconds, 'must be greater than 0'));
  if (leaseTransitions !== undefined && leaseTransitions < 0)
    errors.push(invalid('spec.leaseTransitions', leaseTransitions, 'must be greater than or equal to 0'));
  if (strategy !== undefined) {
    const path = 'spec.strategy.strategy';
    if (strategy.includes('/')) errors.push(...invalidEach(path, strategy, isQualifiedName(strategy)));
    else if (strategy !== 'OldestEmulationVersion')
      errors.push(notSupported(path, strategy, ['OldestEmulationVersion']));
  }
  if ((preferredHolder ?? '') !== '' && (strategy ?? '') === '')
    errors.push(forbiddenField('spec.preferredHolder', 'may only be specified if `strategy` is defined'));
  return errors;
}
