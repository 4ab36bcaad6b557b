/** What is left of managedFields after admission: webhooks and policies do not keep them, but may not break them either. */
import { decodeEntries, isReset } from '../../api/apply/entries.ts';
import type { ManagedFieldsEntry } from '../../api/object.ts';
import { jsonEqual } from '../../api/patch/values.ts';
import type { AdmissionAttributes } from '../context.ts';
import { metadataOf } from './attributes.ts';

type Json = Record<string, unknown>;

/** managedFields that a webhook or policy broke are put back as they were. */
export function withSoundManagedFields(a: AdmissionAttributes, before: Json, after: Json): Json {
  const had = metadataOf(before).managedFields;
  const has = metadataOf(after).managedFields;
  if (has === had || has === undefined || isReset(has) || jsonEqual(has, had)) return after;
  const wrong = wrongManagedFields(has);
  if (wrong === undefined) return after;
  a.context.warn(
    `.metadata.managedFields was in an invalid state after admission; this could be caused by an outdated mutating admission controller; please fix your requests: ${wrong}`,
  );
  return { ...after, metadata: { ...metadataOf(after), managedFields: had } };
}

function wrongManagedFields(entries: readonly ManagedFieldsEntry[]): string | undefined {
  for (const entry of entries) {
    if (entry.operation !== 'Apply' && entry.operation !== 'Update')
      return `invalid managedFields entry operation: ${entry.operation ?? ''}`;
    if ((entry.apiVersion ?? '') === '') return 'apiVersion must not be empty';
    if (entry.fieldsType !== 'FieldsV1')
      return (entry.fieldsType ?? '') === ''
        ? 'missing fieldsType in managed fields entry'
        : `invalid fieldsType in managed fields entry: ${entry.fieldsType}`;
  }
  return decodeEntries(entries, true) === undefined ? 'invalid managed fields' : undefined;
}
