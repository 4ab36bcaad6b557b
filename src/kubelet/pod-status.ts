/** A pod's API status computed from its spec, what the runtime reports and what the probes say. Pure: writes nothing. */
import { mayRestartAll } from '../api/helpers/container-restart.ts';
import { podQOSClass } from '../api/helpers/pod-qos.ts';
import { formatTime } from '../api/time.ts';
import type { Container, Pod, PodCondition, PodStatus } from '../api/types/index.gen.ts';
import { containerStatuses, endContainers } from './containers/container-statuses.ts';
import type { ConditionDraft } from './pod-conditions.ts';
import { containersReady, initialized, order, podReady } from './pod-conditions.ts';
import { podLevelResources } from './pod-level-resources.ts';
import { podPhase } from './pod-phase.ts';
import type { ResizeCondition } from './pod-resize.ts';
import { asContainer, isHostNetwork, isStaticPod } from './pod-util.ts';
import { restartingCondition, restartsAll } from './restart-all.ts';
import type { RuntimeView } from './runtime-view.ts';
import { sandboxNeeded } from './runtime-view.ts';

/** Why a container waits: from its last failed start. */
export interface WaitingReason {
  readonly reason: string;
  readonly message: string;
}

export interface StatusInput {
  readonly pod: Pod;
  /** The status on which this one is built: the one outstanding, else the API's. */
  readonly old: PodStatus;
  readonly view: RuntimeView;
  readonly runtimeName: string;
  readonly waiting: ReadonlyMap<string, WaitingReason> | undefined;
  readonly messages: ReadonlyMap<string, string> | undefined;
  started(name: string, containerId: string): boolean;
  ready(name: string, containerId: string): boolean;
  readonly hostIps: readonly string[];
  /** Milliseconds since the epoch. */
  readonly now: number;
  readonly startTime: number;
  /** All containers are dead and none will be started again. */
  readonly terminal: boolean;
  /** Set when the kubelet ends the pod on its own account. */
  readonly failed?: { readonly reason: string; readonly message: string };
  /** Whether the runtime can mount read-only with all that is below. */
  readonly recursiveReadOnly: boolean;
  /** Why the node disrupts the pod. */
  readonly disruption?: { readonly reason: string; readonly message: string };
  /** A change of resources that is not done yet, and what running containers have meanwhile. */
  readonly resize?: {
    readonly pending: ResizeCondition | undefined;
    readonly inProgress: ResizeCondition | undefined;
    actual(name: string): Container['resources'] | undefined;
  };
}

/** Conditions that the kubelet owns. */
const owned: ReadonlySet<string> = new Set([
  'PodReadyToStartContainers',
  'Initialized',
  'Ready',
  'ContainersReady',
  'PodScheduled',
  'PodResizePending',
  'PodResizeInProgress',
  'AllContainersRestarting',
]);

/** The whole status. */
export function generatePodStatus(input: StatusInput): PodStatus {
  const { pod, old, view } = input;
  const spec = pod.spec!;
  const restarting = restartsAll(pod, view, old);
  const told = { init: old.initContainerStatuses ?? [], regular: old.containerStatuses ?? [] };
  const init = containerStatuses(input, spec.initContainers ?? [], 'init', told.init, restarting);
  const regular = containerStatuses(input, spec.containers, 'regular', told.regular, restarting);
  const ephemeral = containerStatuses(
    input,
    (spec.ephemeralContainers ?? []).map(asContainer),
    'ephemeral',
    old.ephemeralContainerStatuses ?? [],
    restarting,
  );
  const final = (p: string | undefined): p is string => p === 'Succeeded' || p === 'Failed';
  let phase = podPhase({ pod, init, regular, terminal: input.terminal, started: startedInSandbox(pod, view) });
  let { reason, message } = old;
  if (input.terminal) {
    endContainers(pod, told, init, regular);
    if (!final(phase) && !isStaticPod(pod)) phase = 'Failed';
  }
  if (input.failed !== undefined) {
    phase = input.terminal ? 'Failed' : phase;
    ({ reason, message } = input.failed);
  }
  // A pod whose containers may still run (sidecars) has not ended yet.
  if (final(phase) && !input.terminal) phase = final(old.phase) ? old.phase : (old.phase ?? 'Pending');
  if (!final(phase) && final(old.phase)) phase = old.phase;
  if (final(pod.status?.phase)) phase = pod.status.phase;
  if (phase !== old.phase && input.failed === undefined) reason = message = undefined;

  const conditions: PodCondition[] = [];
  const at = formatTime(input.now);
  const previous = new Map((old.conditions ?? []).map((c) => [c.type, c]));
  for (const c of pod.status?.conditions ?? []) if (!owned.has(c.type)) conditions.push(c);
  const generation = pod.metadata.generation;
  const add = (type: string, draft: ConditionDraft) => {
    const before = previous.get(type);
    conditions.push({
      type,
      ...(generation === undefined ? {} : { observedGeneration: generation }),
      status: draft.status,
      lastTransitionTime: before !== undefined && before.status === draft.status ? before.lastTransitionTime : at,
      ...(draft.reason === undefined ? {} : { reason: draft.reason }),
      ...(draft.message === undefined ? {} : { message: draft.message }),
    });
  };
  add('PodReadyToStartContainers', { status: sandboxNeeded(pod, view).needed ? 'False' : 'True' });
  add('Initialized', initialized(spec, init, regular, phase));
  const all = containersReady(spec, init, regular, phase);
  add('Ready', podReady(pod, all, conditions));
  add('ContainersReady', all);
  add('PodScheduled', { status: 'True' });
  if (mayRestartAll(pod.spec!)) add('AllContainersRestarting', restartingCondition(pod, view, phase, restarting));
  // Told with the pod's end, not before.
  if (input.disruption !== undefined && input.terminal) {
    const at_ = conditions.findIndex((c) => c.type === 'DisruptionTarget');
    if (at_ >= 0) conditions.splice(at_, 1);
    add('DisruptionTarget', { status: 'True', ...input.disruption });
  }
  const resizing = (type: string, c: ResizeCondition | undefined): void => {
    if (c === undefined) return;
    const before = previous.get(type);
    conditions.push({
      type,
      ...(c.generation === undefined ? {} : { observedGeneration: c.generation }),
      status: 'True',
      lastTransitionTime: before?.status === 'True' ? before.lastTransitionTime : at,
      ...(c.reason === '' ? {} : { reason: c.reason }),
      ...(c.message === '' ? {} : { message: c.message }),
    });
  };
  resizing('PodResizePending', input.resize?.pending);
  resizing('PodResizeInProgress', input.resize?.inProgress);
  order(conditions, old.conditions ?? []);

  let ips: readonly string[] = (old.podIPs ?? []).map((p) => p.ip ?? '');
  const sandbox = view.sandboxes[0];
  if (isHostNetwork(pod)) ips = input.hostIps;
  else if (sandbox !== undefined && sandbox.state === 'SANDBOX_READY' && (sandbox.network?.ip ?? '') !== '')
    ips = familyOrder([sandbox.network!.ip, ...sandbox.network!.additionalIps], input.hostIps[0]);
  if (isHostNetwork(pod) && sandbox === undefined && (old.podIPs?.length ?? 0) === 0) ips = [];

  const status: PodStatus = {
    ...old,
    ...podLevelResources(pod, pod.status?.phase ?? ''),
    ...(generation === undefined ? {} : { observedGeneration: generation }),
    phase,
    conditions,
    reason,
    message,
    hostIP: input.hostIps[0],
    hostIPs: input.hostIps.map((ip) => ({ ip })),
    startTime: formatTime(input.startTime),
    qosClass: old.qosClass ?? podQOSClass(pod as never),
    containerStatuses: regular,
  };
  if (ips.length > 0) {
    status.podIP = ips[0];
    status.podIPs = ips.map((ip) => ({ ip }));
  }
  if (init.length > 0) status.initContainerStatuses = init;
  if (ephemeral.length > 0) status.ephemeralContainerStatuses = ephemeral;
  return status;
}

/** Whether a regular container of the sandbox that is there now has been started. */
function startedInSandbox(pod: Pod, view: RuntimeView): boolean {
  const sandbox = view.sandboxes[0];
  if (sandbox === undefined || sandbox.state !== 'SANDBOX_READY') return false;
  return view.containers.some(
    (c) => c.podSandboxId === sandbox.id && pod.spec!.containers.some((s) => s.name === c.metadata.name),
  );
}

/** At most one address of a family, the node's own family first. */
function familyOrder(ips: readonly string[], nodeIp: string | undefined): string[] {
  const v6 = (ip: string): boolean => ip.includes(':');
  const first = nodeIp !== undefined && v6(nodeIp);
  return [ips.find((ip) => v6(ip) === first), ips.find((ip) => v6(ip) !== first)].filter((ip) => ip !== undefined);
}
