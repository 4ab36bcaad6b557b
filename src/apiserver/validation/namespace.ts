/** Validation of Namespace. */
import { invalid, type FieldError } from '../../api/field-error.ts';
import type { KubeObject } from '../../api/object.ts';
import type { NamespaceSpec, NamespaceStatus } from '../../api/types/core-v1.gen.ts';
import { specOf, statusOf, validateFinalizerName } from './field.ts';

export function validateNamespace(object: KubeObject): FieldError[] {
  return (specOf<NamespaceSpec>(object).finalizers ?? []).flatMap((f) => validateFinalizerName(f, 'spec.finalizers'));
}

export function validateNamespaceUpdate(object: KubeObject, _old: KubeObject): FieldError[] {
  return validateNamespace(object);
}

export function validateNamespaceStatusUpdate(object: KubeObject, _old: KubeObject): FieldError[] {
  const phase = statusOf<NamespaceStatus>(object).phase ?? '';
  if (object.metadata.deletionTimestamp === undefined) {
    if (phase !== 'Active')
      return [invalid('status.Phase', phase, "may only be 'Active' if `deletionTimestamp` is empty")];
  } else if (phase !== 'Terminating')
    return [invalid('status.Phase', phase, "may only be 'Terminating' if `deletionTimestamp` is not empty")];
  return [];
}

export function validateNamespaceFinalizeUpdate(object: KubeObject, _old: KubeObject): FieldError[] {
  return (specOf<NamespaceSpec>(object).finalizers ?? []).flatMap((f, i) =>
    validateFinalizerName(f, `spec.finalizers[${i}]`),
  );
}
