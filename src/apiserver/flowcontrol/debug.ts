/** `/debug/api_priority_and_fairness/…`: the levels, queues and requests of the moment as tables of text, as upstream's. */
import type { Clock } from '../../base/clock.ts';
import { ioNow } from '../../base/io-time.ts';
import { formatDuration } from '../../api/time.ts';
import type { Handler, Scope } from '../filters/scope.ts';
import type { OutgoingResponse } from '../request.ts';
import type { Routes } from '../routes.ts';
import type { FlowControl } from './flow-control.ts';
import type { Ticket } from './queue-set.ts';

const minWidth = 8;

/** Go's tabwriter with these rows: cells end with a comma, columns are as wide as their widest cell. */
function table(rows: readonly (readonly string[])[]): string {
  const widths: number[] = [];
  for (const row of rows)
    for (let i = 0; i < row.length - 1; i++) widths[i] = Math.max(widths[i] ?? minWidth, row[i]!.length + 2);
  return rows
    .map((row) => `${row.map((cell, i) => (i < row.length - 1 ? `${cell},`.padEnd(widths[i]!) : cell)).join('')}\n`)
    .join('');
}

function text(rows: readonly (readonly string[])[]): OutgoingResponse {
  return {
    status: 200,
    body: { kind: 'bytes', contentType: 'text/plain; charset=utf-8', bytes: Buffer.from(table(rows)) },
  };
}

const seatSeconds = (value: number): string => `${value.toFixed(8)}ss`;

function priorityLevels(control: FlowControl): string[][] {
  return control.levels.map((level) => {
    const set = level.queues;
    return [
      level.name,
      set.queues.filter((q) => q.waiting.size > 0).length,
      set.idle,
      level.quiescing,
      set.waiting,
      set.executing,
      set.dispatched,
      set.rejected,
      0,
      set.cancelled,
    ].map(String);
  });
}

function queues(control: FlowControl): string[][] {
  return control.levels.flatMap((level) =>
    level.queues.queues.map((q, i) => [
      level.name,
      String(i),
      String(q.waiting.size),
      String(q.executing.size),
      String(q.seatsInUse),
      seatSeconds(q.nextR),
      String(q.waitingInitialSeats),
      String(q.waitingSeats),
      seatSeconds(q.waitingWork),
    ]),
  );
}

function requests(control: FlowControl, clock: Clock, details: boolean): string[][] {
  const now = clock.now();
  const ioAt = ioNow();
  const time = (at: number): string => new Date(now - (ioAt - at)).toISOString().replace(/\.?0*Z$/, 'Z');
  const row = (level: string, queue: number, place: number, t: Ticket): string[] => {
    const cells = [
      level,
      t.flow.flowSchema,
      String(queue),
      String(place),
      t.flow.distinguisher,
      time(t.arrivedAt),
      String(t.initialSeats),
      String(t.finalSeats),
      formatDuration(t.additionalLatency),
      t.state === 'waiting' ? '0001-01-01T00:00:00Z' : time(t.startedAt),
    ];
    if (!details) return cells;
    const { user, info } = t.request as Scope;
    const version = info.group === '' ? info.version : `${info.group}/${info.version}`;
    return [
      ...cells,
      user.name,
      info.verb,
      info.path,
      info.namespace,
      info.name,
      version,
      info.resource,
      info.subresource,
    ];
  };
  return control.levels.flatMap((level) => [
    ...level.queues.queues.flatMap((q, i) => [
      ...[...q.waiting].map((t, place) => row(level.name, i, place, t)),
      ...[...q.executing].map((t) => row(level.name, i, -1, t)),
    ]),
    ...[...level.queues.unqueued].map((t) => row(level.name, -1, -1, t)),
  ]);
}

const levelHeaders = [
  'PriorityLevelName',
  'ActiveQueues',
  'IsIdle',
  'IsQuiescing',
  'WaitingRequests',
  'ExecutingRequests',
  'DispatchedRequests',
  'RejectedRequests',
  'TimedoutRequests',
  'CancelledRequests',
];
const queueHeaders = [
  'PriorityLevelName',
  'Index',
  'PendingRequests',
  'ExecutingRequests',
  'SeatsInUse',
  'NextDispatchR',
  'InitialSeatsSum',
  'MaxSeatsSum',
  'TotalWorkSum',
];
const requestHeaders = [
  'PriorityLevelName',
  'FlowSchemaName',
  'QueueIndex',
  'RequestIndexInQueue',
  'FlowDistingsher',
  'ArriveTime',
  'InitialSeats',
  'FinalSeats',
  'AdditionalLatency',
  'StartTime',
];
const detailHeaders = ['UserName', 'Verb', 'APIPath', 'Namespace', 'Name', 'APIVersion', 'Resource', 'SubResource'];

export function installFlowControlDebug(routes: Routes, control: FlowControl, clock: Clock): void {
  const root = '/debug/api_priority_and_fairness';
  const add = (name: string, handler: Handler): void => routes.add(`${root}/${name}`, handler, false);
  add('dump_priority_levels', () => text([levelHeaders, ...priorityLevels(control)]));
  add('dump_queues', () => text([queueHeaders, ...queues(control)]));
  add('dump_requests', (scope) => {
    const details = (scope.request.query.get('includeRequestDetails') ?? '') !== '';
    const headers = details ? [...requestHeaders, ...detailHeaders] : requestHeaders;
    return text([headers, ...requests(control, clock, details)]);
  });
}
