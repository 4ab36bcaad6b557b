/** Validation of `metav1.Condition` lists, as metav1/validation has it. */
import { duplicate, invalid, notSupported, required, tooLong, type FieldError } from '../../api/field-error.ts';
import { regexError } from '../../api/names.ts';
import { validateLabelName } from '../../api/selector.ts';
import type { Condition } from '../../api/types/meta-v1.gen.ts';

const reasonFormat = '[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?';
const reasonMessage =
  "a condition reason must start with alphabetic character, optionally followed by a string of alphanumeric characters or '_,:', and must end with an alphanumeric character or '_'";
const maxReasonBytes = 1024;
const maxMessageBytes = 32 * 1024;
const statuses = ['False', 'True', 'Unknown'];

/** A condition as it is in a request: required members may be missing. */
export type GivenCondition = { readonly [K in keyof Condition]?: Condition[K] | undefined };

function validateCondition(condition: GivenCondition, path: string): FieldError[] {
  const { type = '', status = '', observedGeneration = 0, lastTransitionTime, reason = '', message = '' } = condition;
  const errors = validateLabelName(type, `${path}.type`);
  if (!statuses.includes(status)) errors.push(notSupported(`${path}.status`, status, statuses));
  if (observedGeneration < 0)
    errors.push(invalid(`${path}.observedGeneration`, observedGeneration, 'must be greater than or equal to zero'));
  if (lastTransitionTime === undefined || lastTransitionTime === null)
    errors.push(required(`${path}.lastTransitionTime`));
  if (reason === '') errors.push(required(`${path}.reason`));
  else {
    if (!new RegExp(`^${reasonFormat}$`).test(reason)) {
      const examples = ['my_name', 'MY_NAME', 'MyName', 'ReasonA,ReasonB', 'ReasonA:ReasonB'];
      errors.push(invalid(`${path}.reason`, reason, regexError(reasonMessage, reasonFormat, ...examples)));
    }
    if (Buffer.byteLength(reason) > maxReasonBytes) errors.push(tooLong(`${path}.reason`, maxReasonBytes));
  }
  if (Buffer.byteLength(message) > maxMessageBytes) errors.push(tooLong(`${path}.message`, maxMessageBytes));
  return errors;
}

export function validateConditions(conditions: readonly GivenCondition[] | undefined, path: string): FieldError[] {
  const seen = new Set<string>();
  return (conditions ?? []).flatMap((condition, i) => {
    const at = `${path}[${i}]`;
    const type = condition.type ?? '';
    const errors: FieldError[] = seen.has(type) ? [duplicate(`${at}.type`, type)] : [];
    seen.add(type);
    return [...errors, ...validateCondition(condition, at)];
  });
}
