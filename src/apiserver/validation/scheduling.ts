/** Validation of PriorityClass. */
import { forbiddenField, type FieldError } from '../../api/field-error.ts';
import type { KubeObject } from '../../api/object.ts';
import { validateImmutable, validateRequiredEnum } from './field.ts';

const highestUserPriority = 1_000_000_000;
const system: Readonly<Record<string, number>> = {
  'system-node-critical': 2_000_001_000,
  'system-cluster-critical': 2_000_000_000,
};

/** Why a class with the reserved prefix is not one of the system's; undefined when it is. */
function systemClassError(name: string, value: number, globalDefault: boolean): string | undefined {
  const known = system[name];
  if (known === undefined) return `${name} is not a known system priority class`;
  if (known !== value) return `value of ${name} PriorityClass must be ${known}`;
  if (globalDefault) return `globalDefault of ${name} PriorityClass must be false`;
  return undefined;
}

export function validatePriorityClass(object: KubeObject): FieldError[] {
  const errors: FieldError[] = [];
  const name = object.metadata.name ?? '';
  const value = (object['value'] ?? 0) as number;
  if (name.startsWith('system-')) {
    const why = systemClassError(name, value, object['globalDefault'] === true);
    if (why !== undefined)
      errors.push(
        forbiddenField(
          'metadata.name',
          `priority class names with 'system-' prefix are reserved for system use only. error: ${why}`,
        ),
      );
  } else if (value > highestUserPriority)
    errors.push(forbiddenField('value', `maximum allowed value of a user defined priority is ${highestUserPriority}`));
  const policy = object['preemptionPolicy'] as string | undefined;
  if (policy !== undefined)
    errors.push(...validateRequiredEnum(policy, ['PreemptLowerPriority', 'Never'], 'preemptionPolicy'));
  return errors;
}

export function validatePriorityClassUpdate(object: KubeObject, old: KubeObject): FieldError[] {
  const errors: FieldError[] = [];
  if ((object['value'] ?? 0) !== (old['value'] ?? 0))
    errors.push(forbiddenField('value', 'may not be changed in an update.'));
  errors.push(...validateImmutable(object['preemptionPolicy'], old['preemptionPolicy'], 'preemptionPolicy'));
  return errors;
}
