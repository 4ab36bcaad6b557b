/** The spec of a PersistentVolumeClaim, as it stands in claims and in claim templates. */
import { forbiddenField, invalid, notSupported, required } from '../../api/field-error.ts';
import { validateLabelSelector } from '../../api/selector.ts';
import type { PersistentVolumeClaimSpec } from '../../api/types/index.gen.ts';
import { formatQuantity, parseQuantity, quantitySign } from '../../api/quantity.ts';
import { type Errors, validateDnsSubdomain } from './field.ts';

export const accessModes = ['ReadOnlyMany', 'ReadWriteMany', 'ReadWriteOnce', 'ReadWriteOncePod'];

export function validateClaimSpecTemplate(spec: PersistentVolumeClaimSpec | undefined, field: string): Errors {
  const errors: Errors = [];
  const modes = spec?.accessModes ?? [];
  if (modes.length === 0) errors.push(required(`${field}.accessModes`, 'at least 1 access mode is required'));
  if (spec?.selector !== undefined) errors.push(...validateLabelSelector(spec.selector, `${field}.selector`));
  let single = false;
  let other = false;
  for (const m of modes) {
    if (!accessModes.includes(m)) errors.push(notSupported(`${field}.accessModes`, m, accessModes));
    else if (m === 'ReadWriteOncePod') single = true;
    else other = true;
  }
  if (single && other)
    errors.push(forbiddenField(`${field}.accessModes`, 'may not use ReadWriteOncePod with other access modes'));
  const storage = spec?.resources?.requests?.['storage'];
  if (storage === undefined) errors.push(required(`${field}.resources[storage]`));
  else if (quantitySign(parseQuantity(storage)) <= 0)
    errors.push(
      invalid(`${field}.resources[storage]`, formatQuantity(parseQuantity(storage)), 'must be greater than zero'),
    );
  if (spec?.storageClassName !== undefined && spec.storageClassName !== '')
    errors.push(...validateDnsSubdomain(spec.storageClassName, `${field}.storageClassName`));
  if (spec?.volumeMode !== undefined && !['Block', 'Filesystem'].includes(spec.volumeMode))
    errors.push(notSupported(`${field}.volumeMode`, spec.volumeMode, ['Block', 'Filesystem']));
  if (spec?.dataSource !== undefined) errors.push(...sourceReference(spec.dataSource, `${field}.dataSource`));
  if (spec?.dataSourceRef !== undefined) errors.push(...sourceReference(spec.dataSourceRef, `${field}.dataSourceRef`));
  if (
    spec?.dataSource !== undefined &&
    spec.dataSourceRef !== undefined &&
    !sameSource(spec.dataSource, spec.dataSourceRef)
  )
    errors.push(invalid(field, `${field}.dataSource`, 'must match dataSourceRef'));
  if (spec?.volumeAttributesClassName !== undefined && spec.volumeAttributesClassName !== '')
    errors.push(...validateDnsSubdomain(spec.volumeAttributesClassName, `${field}.volumeAttributesClassName`));
  return errors;
}

interface SourceReference {
  readonly apiGroup?: string | null;
  readonly kind?: string;
  readonly name?: string;
}

function sourceReference(source: SourceReference, field: string): Errors {
  const { kind = '', name = '' } = source;
  const apiGroup = source.apiGroup ?? '';
  const errors: Errors = [];
  if (name === '') errors.push(required(`${field}.name`));
  if (kind === '') errors.push(required(`${field}.kind`));
  if (apiGroup === '' && kind !== 'PersistentVolumeClaim')
    errors.push(invalid(field, kind, "must be 'PersistentVolumeClaim' when referencing the default apiGroup"));
  if (apiGroup !== '') errors.push(...validateDnsSubdomain(apiGroup, `${field}.apiGroup`));
  return errors;
}

function sameSource(a: SourceReference, b: SourceReference): boolean {
  return (a.apiGroup ?? '') === (b.apiGroup ?? '') && a.kind === b.kind && a.name === b.name;
}
