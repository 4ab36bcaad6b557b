/** Events of the core group ↔ events.k8s.io/v1 (upstream pkg/apis/events/v1/conversion.go). */
import type { KubeObject } from '../object.ts';

/** core member → events.k8s.io member, in the order in which events.k8s.io writes them. */
const renamed: readonly (readonly [core: string, events: string])[] = [
  ['eventTime', 'eventTime'],
  ['series', 'series'],
  ['reportingComponent', 'reportingController'],
  ['reportingInstance', 'reportingInstance'],
  ['action', 'action'],
  ['reason', 'reason'],
  ['involvedObject', 'regarding'],
  ['related', 'related'],
  ['message', 'note'],
  ['type', 'type'],
  ['source', 'deprecatedSource'],
  ['firstTimestamp', 'deprecatedFirstTimestamp'],
  ['lastTimestamp', 'deprecatedLastTimestamp'],
  ['count', 'deprecatedCount'],
];

/** Core members in the order of the core type. */
const coreOrder = [
  'involvedObject',
  'reason',
  'message',
  'source',
  'firstTimestamp',
  'lastTimestamp',
  'count',
  'type',
  'eventTime',
  'series',
  'action',
  'related',
  'reportingComponent',
  'reportingInstance',
] as const;

const toEvents: ReadonlyMap<string, string> = new Map(renamed);

/** Field labels of events.k8s.io as the core type calls them. */
export const eventFieldLabels: ReadonlyMap<string, string> = new Map([
  ['reason', 'reason'],
  ['regarding.kind', 'involvedObject.kind'],
  ['regarding.namespace', 'involvedObject.namespace'],
  ['regarding.name', 'involvedObject.name'],
  ['regarding.uid', 'involvedObject.uid'],
  ['regarding.apiVersion', 'involvedObject.apiVersion'],
  ['regarding.resourceVersion', 'involvedObject.resourceVersion'],
  ['regarding.fieldPath', 'involvedObject.fieldPath'],
  ['reportingController', 'reportingComponent'],
  ['type', 'type'],
  ['metadata.namespace', 'metadata.namespace'],
  ['metadata.name', 'metadata.name'],
]);

function isEmpty(value: unknown): boolean {
  if (value === undefined || value === null || value === '' || value === 0) return true;
  return typeof value === 'object' && Object.keys(value).length === 0;
}

export function coreEventToEvents(event: KubeObject): KubeObject {
  const out: KubeObject = { kind: 'Event', apiVersion: 'events.k8s.io/v1', metadata: event.metadata };
  for (const [core, events] of renamed) {
    const value = event[core];
    // eventTime is always written, and so are the two structs and times that have no pointer.
    if (events === 'eventTime') out[events] = value ?? null;
    else if (events === 'regarding' || events === 'deprecatedSource') out[events] = value ?? {};
    else if (events === 'deprecatedFirstTimestamp' || events === 'deprecatedLastTimestamp') out[events] = value ?? null;
    else if (core === 'related' || core === 'series' ? value !== undefined && value !== null : !isEmpty(value))
      out[events] = value;
  }
  return out;
}

export function eventsToCoreEvent(event: KubeObject): KubeObject {
  const out: KubeObject = { kind: 'Event', apiVersion: 'v1', metadata: event.metadata };
  for (const core of coreOrder) {
    const value = event[toEvents.get(core)!];
    if (core === 'involvedObject' || core === 'source') out[core] = value ?? {};
    else if (core === 'firstTimestamp' || core === 'lastTimestamp' || core === 'eventTime') out[core] = value ?? null;
    else if (core === 'reportingComponent' || core === 'reportingInstance') out[core] = value ?? '';
    else if (core === 'related' || core === 'series' ? value !== undefined && value !== null : !isEmpty(value))
      out[core] = value;
  }
  return out;
}
