/** Rows of the workload kinds: apps, batch, autoscaling, policy, scheduling. */
import { compileLabelSelector } from '../../api/selector.ts';
import type { LabelSelector } from '../../api/selector.ts';
import { humanDuration, timeMs } from '../../api/time.ts';
import { parseApiVersion } from '../../api/object.ts';
import type { KubeObjectLike } from '../request.ts';
import { age, containerCells, labels, selectorText, since } from './cells.ts';
import type { Cell, PrintContext, Printer } from './table.ts';
import type { Json } from './value.ts';
import { bool, has, list, nameOf, num, obj, str } from './value.ts';

const templateContainers = (o: KubeObjectLike): [string, string] =>
  containerCells(list(o, 'spec', 'template', 'spec', 'containers'));

function printControllerRevision(o: KubeObjectLike, context: PrintContext): readonly Cell[] {
  const owner = list(o.metadata, 'ownerReferences').find((r) => r['controller'] === true);
  let controller = '<none>';
  if (owner !== undefined) {
    const group = parseApiVersion(str(owner, 'apiVersion'))?.group ?? '';
    const kind = str(owner, 'kind').toLowerCase();
    controller = `${group === '' ? kind : `${kind}.${group}`}/${str(owner, 'name')}`;
  }
  return [nameOf(o), controller, num(o, 'revision'), age(o, context)];
}

function printDeployment(o: KubeObjectLike, context: PrintContext): readonly Cell[] {
  let selector: string;
  try {
    selector = compileLabelSelector(
      o['spec'] === undefined ? undefined : (obj(o, 'spec')['selector'] as LabelSelector),
    ).toString();
  } catch {
    selector = '<invalid>';
  }
  return [
    nameOf(o),
    `${num(o, 'status', 'readyReplicas')}/${num(o, 'spec', 'replicas')}`,
    num(o, 'status', 'updatedReplicas'),
    num(o, 'status', 'availableReplicas'),
    age(o, context),
    ...templateContainers(o),
    selector,
  ];
}

function jobStatus(o: KubeObjectLike): string {
  const conditions = list(o, 'status', 'conditions');
  const isTrue = (type: string): boolean => conditions.find((c) => c['type'] === type)?.['status'] === 'True';
  if (isTrue('Complete')) return 'Complete';
  if (isTrue('Failed')) return 'Failed';
  if (has(o.metadata, 'deletionTimestamp')) return 'Terminating';
  for (const type of ['Suspended', 'FailureTarget', 'SuccessCriteriaMet']) if (isTrue(type)) return type;
  return 'Running';
}

function printJob(o: KubeObjectLike, context: PrintContext): readonly Cell[] {
  const done = num(o, 'status', 'succeeded');
  const parallelism = num(o, 'spec', 'parallelism');
  let completions = `${done}/1`;
  if (has(o, 'spec', 'completions')) completions = `${done}/${num(o, 'spec', 'completions')}`;
  else if (parallelism > 1) completions = `${done}/1 of ${parallelism}`;
  let took = '';
  if (has(o, 'status', 'startTime')) {
    const end = has(o, 'status', 'completionTime') ? timeMs(str(o, 'status', 'completionTime')) : context.now;
    took = humanDuration(end - timeMs(str(o, 'status', 'startTime')));
  }
  return [
    nameOf(o),
    jobStatus(o),
    completions,
    took,
    age(o, context),
    ...templateContainers(o),
    selectorText(obj(o, 'spec')['selector']),
  ];
}

function printCronJob(o: KubeObjectLike, context: PrintContext): readonly Cell[] {
  const template = obj(o, 'spec', 'jobTemplate', 'spec');
  return [
    nameOf(o),
    str(o, 'spec', 'schedule'),
    has(o, 'spec', 'timeZone') ? str(o, 'spec', 'timeZone') : '<none>',
    has(o, 'spec', 'suspend') ? (bool(o, false, 'spec', 'suspend') ? 'True' : 'False') : '<unset>',
    list(o, 'status', 'active').length,
    has(o, 'status', 'lastScheduleTime') ? since(obj(o, 'status')['lastScheduleTime'], context) : '<none>',
    age(o, context),
    ...containerCells(list(template, 'template', 'spec', 'containers')),
    selectorText(template['selector']),
  ];
}

/** `current/target` of one metric, as upstream's HPA printer. */
function metricText(spec: Json, status: Json | undefined): string {
  const type = str(spec, 'type');
  const members: Readonly<Record<string, string>> = {
    External: 'external',
    Pods: 'pods',
    Object: 'object',
    Resource: 'resource',
    ContainerResource: 'containerResource',
  };
  const member = members[type];
  if (member === undefined) return '<unknown type>';
  const target = obj(spec, member, 'target');
  const known = status !== undefined && has(status, member);
  const current = obj(status, member, 'current');
  const value = (name: string): string => (known && has(current, name) ? str(current, name) : '<unknown>');
  if (type === 'Pods') return `${value('averageValue')}/${str(target, 'averageValue')}`;
  if (type === 'External' || type === 'Object') {
    if (has(target, 'averageValue')) return `${value('averageValue')}/${str(target, 'averageValue')} (avg)`;
    return `${value('value')}/${str(target, 'value')}`;
  }
  const name = str(spec, member, 'name');
  if (has(target, 'averageValue')) return `${name}: ${value('averageValue')}/${str(target, 'averageValue')}`;
  const percent = (from: Json, missing: string): string =>
    has(from, 'averageUtilization') ? `${num(from, 'averageUtilization')}%` : missing;
  return `${name}: ${known ? percent(current, '<unknown>') : '<unknown>'}/${percent(target, '<auto>')}`;
}

function metricsText(o: KubeObjectLike): string {
  const specs = list(o, 'spec', 'metrics');
  if (specs.length === 0) return '<none>';
  const statuses = list(o, 'status', 'currentMetrics');
  const max = 2;
  const text = specs
    .slice(0, max)
    .map((s, i) => metricText(s, statuses[i]))
    .join(', ');
  return specs.length > max ? `${text} + ${specs.length - max} more...` : text;
}

function intOrString(v: unknown): string {
  return v === undefined || v === null ? 'N/A' : String(v);
}

function printPodGroup(o: KubeObjectLike, context: PrintContext): readonly Cell[] {
  const conditions = list(o, 'status', 'conditions');
  const last = (type: string): Json | undefined => conditions.filter((c) => c['type'] === type).at(-1);
  const scheduled = last('PodGroupScheduled');
  let status = 'Pending';
  if (scheduled !== undefined) status = scheduled['status'] === 'True' ? 'Scheduled' : 'Unschedulable';
  const disrupted = last('DisruptionTarget');
  if (disrupted !== undefined) status = str(disrupted, 'reason');
  return [
    nameOf(o),
    has(o, 'spec', 'schedulingPolicy', 'gang') ? 'Gang' : 'Basic',
    str(o, 'spec', 'podGroupTemplateRef', 'workload', 'workloadName') || '<none>',
    status,
    age(o, context),
  ];
}

export const workloadPrinters: Readonly<Record<string, Printer>> = {
  'apps/ControllerRevision': printControllerRevision,
  'apps/DaemonSet': (o, c) => [
    nameOf(o),
    num(o, 'status', 'desiredNumberScheduled'),
    num(o, 'status', 'currentNumberScheduled'),
    num(o, 'status', 'numberReady'),
    num(o, 'status', 'updatedNumberScheduled'),
    num(o, 'status', 'numberAvailable'),
    labels(obj(o, 'spec', 'template', 'spec', 'nodeSelector')),
    age(o, c),
    ...templateContainers(o),
    selectorText(obj(o, 'spec')['selector']),
  ],
  'apps/Deployment': printDeployment,
  'apps/ReplicaSet': (o, c) => [
    nameOf(o),
    num(o, 'spec', 'replicas'),
    num(o, 'status', 'replicas'),
    num(o, 'status', 'readyReplicas'),
    age(o, c),
    ...templateContainers(o),
    selectorText(obj(o, 'spec')['selector']),
  ],
  'apps/StatefulSet': (o, c) => [
    nameOf(o),
    `${num(o, 'status', 'readyReplicas')}/${num(o, 'spec', 'replicas')}`,
    age(o, c),
    ...templateContainers(o),
  ],
  'autoscaling/HorizontalPodAutoscaler': (o, c) => [
    nameOf(o),
    `${str(o, 'spec', 'scaleTargetRef', 'kind')}/${str(o, 'spec', 'scaleTargetRef', 'name')}`,
    metricsText(o),
    has(o, 'spec', 'minReplicas') ? String(num(o, 'spec', 'minReplicas')) : '<unset>',
    num(o, 'spec', 'maxReplicas'),
    num(o, 'status', 'currentReplicas'),
    age(o, c),
  ],
  'autoscaling/Scale': (o, c) => [nameOf(o), num(o, 'spec', 'replicas'), num(o, 'status', 'replicas'), age(o, c)],
  'batch/CronJob': printCronJob,
  'batch/Job': printJob,
  'policy/PodDisruptionBudget': (o, c) => [
    nameOf(o),
    intOrString(obj(o, 'spec')['minAvailable']),
    intOrString(obj(o, 'spec')['maxUnavailable']),
    num(o, 'status', 'disruptionsAllowed'),
    age(o, c),
  ],
  'scheduling.k8s.io/PodGroup': printPodGroup,
  'scheduling.k8s.io/PriorityClass': (o, c) => [
    nameOf(o),
    num(o, 'value'),
    bool(o, false, 'globalDefault'),
    age(o, c),
    str(o, 'preemptionPolicy'),
  ],
  'scheduling.k8s.io/Workload': (o, c) => [nameOf(o), age(o, c)],
};
