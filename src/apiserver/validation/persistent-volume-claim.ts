/** Validation of PersistentVolumeClaim. */
import { forbiddenField, invalid, notSupported, required, type FieldError } from '../../api/field-error.ts';
import { canonicalEqual } from '../../api/helpers/deep-equal.ts';
import { isQualifiedName } from '../../api/names.ts';
import type { KubeObject } from '../../api/object.ts';
import { compareQuantityText, parseQuantity, quantitySign, quantityValue } from '../../api/quantity.ts';
import type { PersistentVolumeClaimSpec, PersistentVolumeClaimStatus } from '../../api/types/core-v1.gen.ts';
import { invalidEach, specOf, statusOf, validateImmutable } from './field.ts';
import { internalDifference } from './difference.ts';
import { validateClaimSpecTemplate } from './persistent-volume-claim-spec.ts';
import { isNativeResource, validateResourceQuantity } from './resource-names.ts';

type Spec = Partial<PersistentVolumeClaimSpec>;
const classAnnotation = 'volume.beta.kubernetes.io/storage-class';

export function validatePersistentVolumeClaim(object: KubeObject): FieldError[] {
  return validateClaimSpecTemplate(object['spec'] as PersistentVolumeClaimSpec | undefined, 'spec');
}

/** The spec without what may change: filled in from the old one. */
function comparable(object: KubeObject, old: KubeObject, bound: boolean): Spec {
  const spec: Spec = { ...specOf<PersistentVolumeClaimSpec>(object) };
  const before = specOf<PersistentVolumeClaimSpec>(old);
  if ((before.volumeName ?? '') === '') {
    if (before.volumeName === undefined) delete spec.volumeName;
    else spec.volumeName = before.volumeName;
  }
  const given = spec.storageClassName;
  const annotated = old.metadata.annotations?.[classAnnotation];
  if (given !== undefined && before.storageClassName === undefined && (annotated === undefined || annotated === given))
    delete spec.storageClassName;
  if (bound) {
    if (spec.resources?.requests !== undefined && before.resources?.requests?.['storage'] !== undefined)
      spec.resources = {
        ...spec.resources,
        requests: { ...spec.resources.requests, storage: before.resources.requests['storage'] },
      };
    if (before.volumeAttributesClassName === undefined) delete spec.volumeAttributesClassName;
    else spec.volumeAttributesClassName = before.volumeAttributesClassName;
  }
  return spec;
}

export function validatePersistentVolumeClaimUpdate(object: KubeObject, old: KubeObject): FieldError[] {
  const errors = validatePersistentVolumeClaim(object);
  const spec = specOf<PersistentVolumeClaimSpec>(object);
  const before = specOf<PersistentVolumeClaimSpec>(old);
  const status = statusOf<PersistentVolumeClaimStatus>(old);
  const bound = statusOf<PersistentVolumeClaimStatus>(object).phase === 'Bound';
  const annotation = object.metadata.annotations?.[classAnnotation];
  const oldAnnotation = old.metadata.annotations?.[classAnnotation];
  const upgraded =
    oldAnnotation !== undefined &&
    before.storageClassName === undefined &&
    spec.storageClassName === oldAnnotation &&
    (annotation === undefined || annotation === oldAnnotation);
  if (!upgraded && (annotation ?? '') !== (oldAnnotation ?? ''))
    errors.push(invalid(`metadata.annotations.${classAnnotation}`, annotation ?? '', 'field is immutable'));
  const next = comparable(object, old, bound);
  if (!canonicalEqual(next, before))
    errors.push(
      forbiddenField(
        'spec',
        `spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims\n${internalDifference('core.PersistentVolumeClaimSpec', before, next)}`,
      ),
    );
  const size = (spec.resources?.requests?.['storage'] ?? '0') as string;
  const oldSize = (before.resources?.requests?.['storage'] ?? '0') as string;
  if (size !== oldSize && compareQuantityText(size, oldSize) < 0)
    if (compareQuantityText(size, (status.capacity?.['storage'] ?? '0') as string) <= 0)
      errors.push(forbiddenField('spec.resources.requests.storage', 'field can not be less than status.capacity'));
  errors.push(...validateImmutable(spec.volumeMode, before.volumeMode, 'volumeMode'));
  if (spec.volumeAttributesClassName !== before.volumeAttributesClassName) {
    const path = 'spec.volumeAttributesClassName';
    if (status.currentVolumeAttributesClassName !== undefined) {
      if (spec.volumeAttributesClassName === undefined)
        errors.push(
          forbiddenField(path, 'update to nil is forbidden when status.currentVolumeAttributesClassName is not nil'),
        );
      else if (spec.volumeAttributesClassName === '')
        errors.push(
          forbiddenField(
            path,
            'update to empty string is forbidden when status.currentVolumeAttributesClassName is not nil',
          ),
        );
    }
  }
  return errors;
}

const resizeStatuses = [
  'ControllerResizeInProgress',
  'ControllerResizeInfeasible',
  'NodeResizeInProgress',
  'NodeResizeInfeasible',
  'NodeResizePending',
];

function validateResourceKey(name: string, path: string): FieldError[] {
  const errors = invalidEach(path, name, isQualifiedName(name));
  if (errors.length > 0) return errors;
  return isNativeResource(name) && name !== 'storage' ? [notSupported(path, name, ['storage'])] : [];
}

function validateBasic(text: string, path: string): FieldError[] {
  const q = parseQuantity(text);
  return quantitySign(q) < 0 ? [invalid(path, quantityValue(q), 'must be a valid resource quantity')] : [];
}

export function validatePersistentVolumeClaimStatusUpdate(object: KubeObject): FieldError[] {
  const status = statusOf<PersistentVolumeClaimStatus>(object);
  const errors: FieldError[] = [];
  if ((specOf<PersistentVolumeClaimSpec>(object).accessModes ?? []).length === 0)
    errors.push(required('Spec.accessModes'));
  for (const [name, q] of Object.entries((status.capacity ?? {}) as Record<string, string>))
    errors.push(...validateBasic(q, `status.capacity[${name}]`));
  for (const [name, value] of Object.entries(status.allocatedResourceStatuses ?? {})) {
    const path = 'status.allocatedResourceStatuses';
    errors.push(...validateResourceKey(name, path));
    if (!resizeStatuses.includes(value)) errors.push(notSupported(path, name, resizeStatuses));
  }
  for (const [name, q] of Object.entries((status.allocatedResources ?? {}) as Record<string, string>)) {
    const path = 'status.allocatedResources';
    const bad = validateResourceKey(name, path);
    errors.push(...bad);
    if (bad.length > 0) continue;
    const basic = validateBasic(q, `${path}[${name}]`);
    errors.push(...(basic.length > 0 ? basic : validateResourceQuantity('storage', q, `${path}[${name}]`)));
  }
  return errors;
}
