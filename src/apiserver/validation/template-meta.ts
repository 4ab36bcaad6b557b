/** Metadata of templates that may carry labels and annotations alone (claims that pods and templates bring along). */
import { forbiddenField, invalid, tooLong, type FieldError } from '../../api/field-error.ts';
import { byteLength, isQualifiedName } from '../../api/names.ts';
import type { ObjectMeta } from '../../api/object.ts';
import { validateLabels } from '../../api/selector.ts';

const annotationLimit = 256 * 1024;

export function validateAnnotations(
  annotations: Readonly<Record<string, string>> | undefined,
  path: string,
): FieldError[] {
  const errors: FieldError[] = [];
  let size = 0;
  for (const [key, value] of Object.entries(annotations ?? {})) {
    for (const message of isQualifiedName(key.toLowerCase())) errors.push(invalid(path, key, message));
    size += byteLength(key) + byteLength(value);
  }
  if (size > annotationLimit) errors.push(tooLong(path, annotationLimit));
  return errors;
}

export function validateTemplateMeta(meta: ObjectMeta | undefined, path: string): FieldError[] {
  const given = (meta ?? {}) as Readonly<Record<string, unknown>>;
  return [
    ...validateAnnotations(meta?.annotations, `${path}.annotations`),
    ...validateLabels(meta?.labels, `${path}.labels`),
    ...Object.entries(given)
      .filter(([k, v]) => k !== 'labels' && k !== 'annotations' && v !== undefined && v !== null && v !== '')
      .map(([k]) => forbiddenField(`${path}.${k === 'uid' ? 'uID' : k}`, 'cannot be set')),
  ];
}
