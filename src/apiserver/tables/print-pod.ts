/** The row of a pod: readiness, the one-word status that sums up phase, containers and deletion, and restarts. */
import type { KubeObjectLike } from '../request.ts';
import { age, orNone, since } from './cells.ts';
import type { PrintContext, PrintedRow } from './table.ts';
import type { Json } from './value.ts';
import { has, list, nameOf, num, obj, str } from './value.ts';

const succeeded = [
  { type: 'Completed', status: 'True', reason: 'Succeeded', message: 'The pod has completed successfully.' },
];
const failed = [{ type: 'Completed', status: 'True', reason: 'Failed', message: 'The pod failed.' }];

interface Tally {
  reason: string;
  ready: number;
  total: number;
  restarts: number;
  /** RFC 3339 of the latest termination before a restart; empty when none. */
  lastRestart: string;
}

function later(a: string, b: string): string {
  return b !== '' && (a === '' || Date.parse(b) > Date.parse(a)) ? b : a;
}

function terminatedReason(state: Json, prefix: string): string {
  const reason = str(state, 'reason');
  if (reason !== '') return `${prefix}${reason}`;
  const signal = num(state, 'signal');
  return signal !== 0 ? `${prefix}Signal:${signal}` : `${prefix}ExitCode:${num(state, 'exitCode')}`;
}

/** Counts init containers into `tally`; true while they hold the pod up. Sidecars' restarts are counted apart. */
function tallyInit(pod: KubeObjectLike, tally: Tally, sidecars: Tally): boolean {
  const specs = new Map(list(pod, 'spec', 'initContainers').map((c) => [str(c, 'name'), c]));
  const isSidecar = (name: string): boolean => str(specs.get(name), 'restartPolicy') === 'Always';
  for (const name of specs.keys()) if (isSidecar(name)) tally.total++;
  const statuses = list(pod, 'status', 'initContainerStatuses');
  for (let i = 0; i < statuses.length; i++) {
    const status = statuses[i]!;
    const sidecar = isSidecar(str(status, 'name'));
    const restarts = num(status, 'restartCount');
    const finished = str(status, 'lastState', 'terminated', 'finishedAt');
    tally.restarts += restarts;
    tally.lastRestart = later(tally.lastRestart, finished);
    if (sidecar) {
      sidecars.restarts += restarts;
      sidecars.lastRestart = later(sidecars.lastRestart, finished);
    }
    const state = obj(status, 'state');
    const terminated = has(state, 'terminated');
    if (terminated && num(state, 'terminated', 'exitCode') === 0) continue;
    if (sidecar && status['started'] === true) {
      if (status['ready'] === true) tally.ready++;
      continue;
    }
    const waiting = str(state, 'waiting', 'reason');
    if (terminated) tally.reason = terminatedReason(obj(state, 'terminated'), 'Init:');
    else if (waiting !== '' && waiting !== 'PodInitializing') tally.reason = `Init:${waiting}`;
    else tally.reason = `Init:${i}/${specs.size}`;
    return true;
  }
  return false;
}

function tallyContainers(pod: KubeObjectLike, tally: Tally, isReady: boolean): void {
  const statuses = list(pod, 'status', 'containerStatuses');
  let running = false;
  let error = '';
  for (let i = statuses.length - 1; i >= 0; i--) {
    const status = statuses[i]!;
    tally.restarts += num(status, 'restartCount');
    tally.lastRestart = later(tally.lastRestart, str(status, 'lastState', 'terminated', 'finishedAt'));
    const state = obj(status, 'state');
    const waiting = str(state, 'waiting', 'reason');
    if (waiting !== '') tally.reason = waiting;
    else if (has(state, 'terminated')) {
      tally.reason = terminatedReason(obj(state, 'terminated'), '');
      if (num(state, 'terminated', 'exitCode') !== 0) error = tally.reason;
    } else if (status['ready'] === true && has(state, 'running')) {
      running = true;
      tally.ready++;
    }
  }
  if (tally.reason !== 'Completed') return;
  if (running && isReady) tally.reason = 'Running';
  else if (error !== '') tally.reason = error;
  else if (running) tally.reason = 'NotReady';
}

function readinessGates(pod: KubeObjectLike, conditions: readonly Json[]): string {
  const gates = list(pod, 'spec', 'readinessGates');
  if (gates.length === 0) return '<none>';
  const met = gates.filter((g) => {
    const condition = conditions.find((c) => c['type'] === g['conditionType']);
    return condition?.['status'] === 'True';
  });
  return `${met.length}/${gates.length}`;
}

export function printPod(pod: KubeObjectLike, context: PrintContext): PrintedRow {
  const status = obj(pod, 'status');
  const phase = str(status, 'phase');
  const conditions = list(status, 'conditions');
  const isTrue = (type: string): boolean => conditions.find((c) => c['type'] === type)?.['status'] === 'True';
  const tally: Tally = {
    reason: str(status, 'reason') || phase,
    ready: 0,
    total: list(pod, 'spec', 'containers').length,
    restarts: 0,
    lastRestart: '',
  };
  if (conditions.some((c) => c['type'] === 'PodScheduled' && c['reason'] === 'SchedulingGated'))
    tally.reason = 'SchedulingGated';
  const sidecars: Tally = { reason: '', ready: 0, total: 0, restarts: 0, lastRestart: '' };
  const initializing = tallyInit(pod, tally, sidecars);
  if (!initializing || isTrue('Initialized')) {
    tally.restarts = sidecars.restarts;
    tally.lastRestart = sidecars.lastRestart;
    tallyContainers(pod, tally, isTrue('Ready'));
  }
  if (has(pod.metadata, 'deletionTimestamp')) {
    if (str(status, 'reason') === 'NodeLost') tally.reason = 'Unknown';
    else if (phase !== 'Succeeded' && phase !== 'Failed') tally.reason = 'Terminating';
  }
  const restarts =
    tally.restarts !== 0 && tally.lastRestart !== ''
      ? `${tally.restarts} (${since(tally.lastRestart, context)} ago)`
      : String(tally.restarts);
  const cells = [
    nameOf(pod),
    `${tally.ready}/${tally.total}`,
    tally.reason,
    restarts,
    age(pod, context),
    orNone(str(list(status, 'podIPs')[0], 'ip')),
    orNone(str(pod, 'spec', 'nodeName')),
    orNone(str(status, 'nominatedNodeName')),
    readinessGates(pod, conditions),
  ];
  if (phase === 'Succeeded') return { cells, conditions: succeeded };
  if (phase === 'Failed') return { cells, conditions: failed };
  return { cells };
}
