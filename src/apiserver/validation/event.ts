/** Validation of events, in their core form. The events.k8s.io API asks for more. */
import { invalid, required, type FieldError } from '../../api/field-error.ts';
import { isDNS1123Subdomain } from '../../api/names.ts';
import type { KubeObject } from '../../api/object.ts';
import type { Event } from '../../api/types/core-v1.gen.ts';
import { invalidEach, validateImmutable, validateQualifiedName } from './field.ts';

type Fields = Partial<Omit<Event, 'metadata'>>;

/** Names that have an upper bound, and where they stand. */
const bounded = [
  ['action', 128],
  ['reason', 128],
] as const;

function tooLongText(path: string, limit: number): FieldError {
  return invalid(path, '', `can have at most ${limit} characters`);
}

const isSet = (time: string | null | undefined): boolean => time !== undefined && time !== null && time !== '';

/** What both APIs ask for. `core`: the request came by the core API. */
function validateCommon(object: KubeObject, core: boolean): FieldError[] {
  const event = object as unknown as Fields;
  const { namespace = '' } = object.metadata;
  const involved = event.involvedObject?.namespace ?? '';
  const errors: FieldError[] = [];
  const mismatch = invalid('involvedObject.namespace', involved, 'does not match event.namespace');
  if (!isSet(event.eventTime)) {
    if (involved === '' ? namespace !== '' && namespace !== 'default' : namespace !== involved) errors.push(mismatch);
  } else {
    if (involved === '' && namespace !== 'default' && namespace !== 'kube-system') errors.push(mismatch);
    const controller = event.reportingComponent ?? '';
    const path = core ? 'reportingComponent' : 'reportingController';
    if (controller === '') errors.push(required(path));
    errors.push(...validateQualifiedName(controller, path));
    const instance = event.reportingInstance ?? '';
    if (instance === '') errors.push(required('reportingInstance'));
    if (Buffer.byteLength(instance) > 128) errors.push(tooLongText('reportingInstance', 128));
    for (const [member, limit] of bounded) {
      const text = event[member] ?? '';
      if (text === '') errors.push(required(member));
      if (Buffer.byteLength(text) > limit) errors.push(tooLongText(member, limit));
    }
    if (Buffer.byteLength(event.message ?? '') > 1024) errors.push(tooLongText('message', 1024));
  }
  errors.push(...invalidEach('namespace', namespace, isDNS1123Subdomain(namespace)));
  return errors;
}

function validateSeries(event: Fields): FieldError[] {
  const { series } = event;
  if (series === undefined || series === null) return [];
  return [
    ...((series.count ?? 0) < 2 ? [invalid('series.count', '', 'should be at least 2')] : []),
    ...(isSet(series.lastObservedTime) ? [] : [required('series.lastObservedTime')]),
  ];
}

export function validateEvent(object: KubeObject, core: boolean): FieldError[] {
  const errors = validateCommon(object, core);
  if (core) return errors;
  const event = object as unknown as Fields;
  errors.push(...validateSeries(event));
  if (!isSet(event.eventTime)) errors.push(required('eventTime'));
  if (event.type !== 'Normal' && event.type !== 'Warning')
    errors.push(invalid('type', '', `has invalid value: ${event.type ?? ''}`));
  const unset = (path: string): FieldError => invalid(path, '', 'needs to be unset');
  if (isSet(event.firstTimestamp)) errors.push(unset('firstTimestamp'));
  if (isSet(event.lastTimestamp)) errors.push(unset('lastTimestamp'));
  if ((event.count ?? 0) !== 0) errors.push(unset('count'));
  if ((event.source?.component ?? '') !== '' || (event.source?.host ?? '') !== '') errors.push(unset('source'));
  return errors;
}

/** The reason is looked at twice. */
const fixed: readonly (readonly [member: string, path: string, type: string])[] = [
  ['involvedObject', 'involvedObject', 'core.ObjectReference'],
  ['reason', 'reason', 's'],
  ['message', 'message', 's'],
  ['source', 'source', 'core.EventSource'],
  ['firstTimestamp', 'firstTimestamp', 'Time'],
  ['lastTimestamp', 'lastTimestamp', 'Time'],
  ['count', 'count', 'n'],
  ['reason', 'reason', 's'],
  ['type', 'type', 's'],
  ['eventTime', 'eventTime', 'MicroTime'],
  ['action', 'action', 's'],
  ['related', 'related', '*core.ObjectReference'],
  ['reportingComponent', 'reportingController', 's'],
  ['reportingInstance', 'reportingInstance', 's'],
];

export function validateEventUpdate(object: KubeObject, old: KubeObject, core: boolean): FieldError[] {
  const errors = validateCommon(object, core);
  if (core) return errors;
  if (validateImmutable(object['series'], old['series'], 'series').length > 0)
    errors.push(...validateSeries(object as unknown as Fields));
  const empty = (value: unknown): unknown => (value === null || value === '' ? undefined : value);
  for (const [member, path, type] of fixed)
    errors.push(...validateImmutable(empty(object[member]), empty(old[member]), path, type));
  return errors;
}
