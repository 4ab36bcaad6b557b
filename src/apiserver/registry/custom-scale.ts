/** What a custom resource with a scale subresource has to keep at the paths that its definition names, in upstream's words. */
import type { FieldError } from '../../api/field-error.ts';
import { invalid } from '../../api/field-error.ts';
import { goDynamicType, isObject, memberOf, printGo } from '../../api/patch/values.ts';
import type { ScalePaths } from './type-support.ts';

const maxInt32 = 2 ** 31 - 1;

/** The replicas that are wanted (but for writes of the status alone), those there are, and the selector. */
export function validateScalePaths(scale: ScalePaths, object: object, subresource: string): FieldError[] {
  const errors: FieldError[] = [];
  if (subresource !== 'status') validateReplicas(scale.specReplicasPath, object, errors);
  validateReplicas(scale.statusReplicasPath, object, errors);
  if (scale.labelSelectorPath !== undefined) {
    const found = nested(object, scale.labelSelectorPath, 'string', (v) => typeof v === 'string');
    if (found.error !== undefined) errors.push(invalid(scale.labelSelectorPath, '', found.error));
  }
  return errors;
}

function validateReplicas(path: string, object: object, errors: FieldError[]): void {
  const isInteger = (v: unknown): boolean => Number.isInteger(v) || typeof v === 'bigint';
  const { value = 0, error } = nested(object, path, 'int64', isInteger);
  if (error !== undefined) errors.push(invalid(path, 0, error));
  else if ((value as number) < 0) errors.push(invalid(path, value, 'should be a non-negative integer'));
  else if ((value as number) > maxInt32) {
    errors.push(invalid(path, value, `should be less than or equal to ${maxInt32}`));
  }
}

/** The value at a path of member names, undefined where there is none; or why it cannot be read. */
function nested(
  object: object,
  path: string,
  expected: string,
  fits: (value: unknown) => boolean,
): { readonly value?: unknown; readonly error?: string } {
  const wrong = (at: string, value: unknown, type: string): { readonly error: string } => ({
    error: `${at} accessor error: ${printGo(value)} is of the type ${goDynamicType(value)}, expected ${type}`,
  });
  let value: unknown = object;
  let at = '';
  for (const name of path.replace(/^\./, '').split('.')) {
    at += `.${name}`;
    if (value === null) return {};
    if (!isObject(value)) return wrong(at, value, 'map[string]interface{}');
    const member = memberOf(value, name);
    if (member === undefined) return {};
    value = member;
  }
  return fits(value) ? { value } : wrong(at, value, expected);
}
