/** A pod's API status computed from its spec, what the runtime reports and what the probes say. Pure: writes nothing. */
import { podQOSClass } from '../api/helpers/pod-qos.ts';
import { formatTime } from '../api/time.ts';
import type {
  Container,
  ContainerState,
  ContainerStatus,
  Pod,
  PodCondition,
  PodSpec,
  PodStatus,
} from '../api/types/index.gen.ts';
import type { ResizeCondition } from './pod-resize.ts';
import { asContainer, isHostNetwork, shouldRestart } from './pod-util.ts';
import type { ContainerStatus as RuntimeContainer, PodSandboxStatus } from './runtime/container-runtime.ts';

/** What the runtime has of one pod. */
export interface RuntimeView {
  /** Newest first. */
  readonly sandboxes: readonly PodSandboxStatus[];
  /** Newest first. */
  readonly containers: readonly RuntimeContainer[];
}

export const emptyView: RuntimeView = Object.freeze({ sandboxes: [], containers: [] });

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

export function newestOf(view: RuntimeView, name: string): RuntimeContainer | undefined {
  return view.containers.find((c) => c.metadata.name === name);
}

/** Whether the sandbox must be made (again), as upstream's PodSandboxChanged. */
export function sandboxNeeded(
  pod: Pod,
  view: RuntimeView,
): { needed: boolean; attempt: number; id: string | undefined } {
  const latest = view.sandboxes[0];
  if (latest === undefined) return { needed: true, attempt: 0, id: undefined };
  const next = latest.metadata.attempt + 1;
  const ready = view.sandboxes.filter((s) => s.state === 'SANDBOX_READY').length;
  if (latest.state !== 'SANDBOX_READY' || ready > 1) return { needed: true, attempt: next, id: latest.id };
  const network = latest.linux?.namespaces?.options?.network;
  if (network !== undefined && network !== (isHostNetwork(pod) ? 'NODE' : 'POD'))
    return { needed: true, attempt: next, id: undefined };
  if (!isHostNetwork(pod) && (latest.network?.ip ?? '') === '') return { needed: true, attempt: next, id: latest.id };
  return { needed: false, attempt: latest.metadata.attempt, id: latest.id };
}

function terminated(c: RuntimeContainer, id: string, message: string | undefined): ContainerState {
  // What the container left behind comes after what the runtime says.
  const text = [c.message, message ?? ''].filter((t) => t !== '').join(': ');
  return {
    terminated: {
      exitCode: c.exitCode,
      ...(c.reason === '' ? {} : { reason: c.reason }),
      ...(text === '' ? {} : { message: text }),
      startedAt: formatTime(c.startedAt),
      finishedAt: formatTime(c.finishedAt),
      containerID: id,
    },
  };
}

function stateOf(c: RuntimeContainer, id: string, message: string | undefined): ContainerState {
  if (c.state === 'CONTAINER_RUNNING') return { running: { startedAt: formatTime(c.startedAt) } };
  if (c.state === 'CONTAINER_EXITED') return terminated(c, id, message);
  return { waiting: {} };
}

/** Upstream's ShouldContainerBeRestarted. */
export function wantsStart(container: Container, pod: Pod, view: RuntimeView): boolean {
  if (pod.metadata.deletionTimestamp !== undefined) return false;
  const c = newestOf(view, container.name);
  if (c === undefined) return true;
  if (c.state === 'CONTAINER_RUNNING') return false;
  if (c.state === 'CONTAINER_UNKNOWN' || c.state === 'CONTAINER_CREATED') return true;
  return shouldRestart(container, pod.spec!, c.exitCode);
}

const noResources = Object.freeze({});

function containerStatuses(
  input: StatusInput,
  containers: readonly Container[],
  kind: 'init' | 'regular' | 'ephemeral',
): ContainerStatus[] {
  const { pod, old, view } = input;
  const before =
    (kind === 'init'
      ? old.initContainerStatuses
      : kind === 'regular'
        ? old.containerStatuses
        : old.ephemeralContainerStatuses) ?? [];
  const initializing = (pod.spec!.initContainers?.length ?? 0) > 0 && kind === 'regular';
  const anyRegular = view.containers.some((c) => pod.spec!.containers.some((s) => s.name === c.metadata.name));
  return containers.map((container) => {
    const prior = before.find((s) => s.name === container.name);
    const found = view.containers.filter((c) => c.metadata.name === container.name);
    const latest = found[0];
    let status: ContainerStatus;
    if (latest === undefined) {
      const reason =
        initializing || (kind === 'init' && (pod.spec!.initContainers?.length ?? 0) > 0)
          ? 'PodInitializing'
          : 'ContainerCreating';
      status = {
        name: container.name,
        state: { waiting: { reason } },
        ready: false,
        restartCount: prior?.restartCount ?? 0,
        image: container.image ?? '',
        imageID: '',
        ...(prior?.lastState === undefined ? {} : { lastState: prior.lastState }),
      };
      if (prior?.state?.terminated !== undefined) status = prior;
      else if (prior?.state?.running !== undefined && prior.lastState?.terminated === undefined) {
        status.lastState = {
          terminated: {
            exitCode: 137,
            reason: 'ContainerStatusUnknown',
            message: 'The container could not be located when the pod was deleted.  The container used to be Running',
            startedAt: undefined,
            finishedAt: undefined,
          },
        };
        if (pod.metadata.deletionTimestamp === undefined) status.restartCount++;
      }
      if (kind === 'init' && anyRegular && container.restartPolicy !== 'Always' && status.state?.waiting !== undefined)
        status.state = {
          terminated: {
            exitCode: 0,
            reason: 'Completed',
            message:
              'Unable to get init container status from container runtime and pod has been initialized, treat it as exited normally',
          },
        };
    } else {
      const id = `${input.runtimeName}://${latest.id}`;
      const user = latest.user;
      status = {
        name: container.name,
        state: stateOf(latest, id, input.messages?.get(latest.id)),
        ready: false,
        restartCount: latest.metadata.attempt,
        image: latest.image.image,
        imageID: latest.imageRef,
        containerID: id,
        ...(container.resources?.requests === undefined
          ? {}
          : { allocatedResources: container.resources.requests as Record<string, string> }),
        resources:
          (latest.state === 'CONTAINER_RUNNING' ? input.resize?.actual(container.name) : undefined) ??
          container.resources ??
          noResources,
        ...(user === undefined
          ? {}
          : { user: { linux: { uid: user.uid, gid: user.gid, supplementalGroups: [...user.supplementalGroups] } } }),
      };
      const previous = found[1];
      if (previous !== undefined)
        status.lastState = stateOf(previous, `${input.runtimeName}://${previous.id}`, input.messages?.get(previous.id));
      else if (prior?.lastState?.terminated !== undefined && prior.containerID === id)
        status.lastState = prior.lastState;
      else if (prior?.state?.terminated !== undefined && prior.containerID !== id) status.lastState = prior.state;
    }
    if (container.volumeMounts !== undefined && container.volumeMounts.length > 0)
      status.volumeMounts = container.volumeMounts.map((m) => ({
        name: m.name,
        mountPath: m.mountPath,
        ...(m.readOnly === true
          ? {
              readOnly: true,
              recursiveReadOnly:
                m.recursiveReadOnly === 'Enabled' || m.recursiveReadOnly === 'IfPossible' ? 'Enabled' : 'Disabled',
            }
          : {}),
      }));
    const reason = input.waiting?.get(container.name);
    const done =
      kind === 'init' &&
      latest?.state === 'CONTAINER_EXITED' &&
      latest.exitCode === 0 &&
      container.restartPolicy !== 'Always';
    const starts =
      kind === 'ephemeral'
        ? latest === undefined
        : container.restartPolicy === 'Always' && kind === 'init'
          ? latest?.state !== 'CONTAINER_RUNNING'
          : wantsStart(container, pod, view);
    if (reason !== undefined && !done && starts && !input.terminal) {
      if (status.state?.terminated !== undefined) status.lastState = status.state;
      status.state = {
        waiting: { reason: reason.reason, ...(reason.message === '' ? {} : { message: reason.message }) },
      };
    }
    if (kind !== 'ephemeral') {
      const running = status.state?.running !== undefined && latest !== undefined;
      const started = running && input.started(container.name, latest.id);
      status.started = started;
      if (kind === 'init' && container.restartPolicy !== 'Always')
        status.ready = status.state?.terminated?.exitCode === 0;
      else status.ready = started && input.ready(container.name, latest!.id);
    }
    return status;
  });
}

/** The phase by upstream's counting. */
export function podPhase(
  spec: PodSpec,
  init: readonly ContainerStatus[],
  regular: readonly ContainerStatus[],
  terminal: boolean,
): string {
  let pendingInit = 0;
  let pendingSidecar = 0;
  let failedInit = 0;
  let finalInit = 0;
  let unknown = 0;
  let running = 0;
  let waiting = 0;
  let stopped = 0;
  let succeeded = 0;
  let finalStopped = 0;
  let anyStarted = false;
  for (const c of spec.initContainers ?? []) {
    const s = init.find((x) => x.name === c.name);
    if (c.restartPolicy === 'Always') {
      if (s === undefined) unknown++;
      else if (s.state?.running !== undefined) {
        if (s.started !== true) pendingSidecar++;
        running++;
      } else if (s.state?.waiting !== undefined && s.lastState?.terminated === undefined) {
        pendingSidecar++;
        waiting++;
      }
      continue;
    }
    const exit = s?.state?.terminated ?? (s?.state?.waiting !== undefined ? s.lastState?.terminated : undefined);
    if (exit === undefined) pendingInit++;
    else if (exit.exitCode !== 0) {
      failedInit++;
      if (!shouldRestart(c, spec, exit.exitCode)) finalInit++;
    }
  }
  for (const c of spec.containers) {
    const s = regular.find((x) => x.name === c.name);
    if (s === undefined) {
      unknown++;
      continue;
    }
    if (s.state?.running !== undefined) {
      running++;
      anyStarted = true;
    } else if (s.state?.terminated !== undefined) {
      anyStarted = true;
      stopped++;
      if (s.state.terminated.exitCode === 0) succeeded++;
      if (!shouldRestart(c, spec, s.state.terminated.exitCode)) finalStopped++;
    } else if (s.lastState?.terminated !== undefined) {
      anyStarted = true;
      stopped++;
      if (!shouldRestart(c, spec, s.lastState.terminated.exitCode)) finalStopped++;
    } else waiting++;
  }
  if (failedInit > 0 && finalInit > 0) return 'Failed';
  const initialized = anyStarted || pendingInit === 0;
  if (!anyStarted && (pendingInit > 0 || pendingSidecar > 0 || failedInit > 0)) return terminal ? 'Failed' : 'Pending';
  if (!initialized) return 'Pending';
  if (waiting > 0)
    return terminal
      ? 'Failed'
      : anyStarted && running + stopped > 0 && waitingOnlySidecars(spec, regular)
        ? 'Running'
        : 'Pending';
  const mainRunning = regular.some((s) => s.state?.running !== undefined);
  if (mainRunning && unknown === 0) return terminal ? 'Failed' : 'Running';
  if (!mainRunning && stopped > 0 && unknown === 0) {
    if (terminal) return stopped === succeeded ? 'Succeeded' : 'Failed';
    if (finalStopped === stopped) return stopped === succeeded ? 'Succeeded' : 'Failed';
    return 'Running';
  }
  return 'Pending';
}

function waitingOnlySidecars(spec: PodSpec, regular: readonly ContainerStatus[]): boolean {
  return spec.containers.every((c) => {
    const s = regular.find((x) => x.name === c.name);
    return s?.state?.waiting === undefined || s.lastState?.terminated !== undefined;
  });
}

/** Go's `%s` of a list of strings. */
function goList(names: readonly string[]): string {
  return `[${names.join(' ')}]`;
}

type Draft = Omit<PodCondition, 'type' | 'lastTransitionTime' | 'lastProbeTime' | 'observedGeneration'>;

function containersReady(
  spec: PodSpec,
  init: readonly ContainerStatus[],
  regular: readonly ContainerStatus[],
  phase: string,
): Draft {
  const unknown: string[] = [];
  const unready: string[] = [];
  const look = (name: string, statuses: readonly ContainerStatus[]) => {
    const s = statuses.find((x) => x.name === name);
    if (s === undefined) unknown.push(name);
    else if (!s.ready) unready.push(name);
  };
  for (const c of spec.initContainers ?? []) if (c.restartPolicy === 'Always') look(c.name, init);
  for (const c of spec.containers) look(c.name, regular);
  if (phase === 'Succeeded' && unknown.length === 0) return { status: 'False', reason: 'PodCompleted' };
  if (phase === 'Failed') return { status: 'False', reason: 'PodFailed' };
  const messages: string[] = [];
  if (unknown.length > 0) messages.push(`containers with unknown status: ${goList(unknown)}`);
  if (unready.length > 0) messages.push(`containers with unready status: ${goList(unready)}`);
  if (messages.length > 0) return { status: 'False', reason: 'ContainersNotReady', message: messages.join(', ') };
  return { status: 'True' };
}

function initialized(
  spec: PodSpec,
  init: readonly ContainerStatus[],
  regular: readonly ContainerStatus[],
  phase: string,
): Draft {
  const unknown: string[] = [];
  const incomplete: string[] = [];
  for (const c of spec.initContainers ?? []) {
    const s = init.find((x) => x.name === c.name);
    if (s === undefined) unknown.push(c.name);
    else if (c.restartPolicy === 'Always' ? s.started !== true : !s.ready) incomplete.push(c.name);
  }
  if (phase === 'Succeeded' && unknown.length === 0) return { status: 'True', reason: 'PodCompleted' };
  if (
    regular.some(
      (s) =>
        s.started === true ||
        s.lastState?.terminated !== undefined ||
        s.state?.running !== undefined ||
        s.state?.terminated !== undefined,
    )
  )
    return { status: 'True' };
  const messages: string[] = [];
  if (unknown.length > 0) messages.push(`containers with unknown status: ${goList(unknown)}`);
  if (incomplete.length > 0) messages.push(`containers with incomplete status: ${goList(incomplete)}`);
  if (messages.length > 0) return { status: 'False', reason: 'ContainersNotInitialized', message: messages.join(', ') };
  return { status: 'True' };
}

function podReady(pod: Pod, containers: Draft, conditions: readonly PodCondition[]): Draft {
  if (containers.status !== 'True') return containers;
  const messages: string[] = [];
  for (const gate of pod.spec!.readinessGates ?? []) {
    const c = conditions.find((x) => x.type === gate.conditionType);
    if (c === undefined)
      messages.push(`corresponding condition of pod readiness gate "${gate.conditionType}" does not exist.`);
    else if (c.status !== 'True')
      messages.push(`the status of pod readiness gate "${gate.conditionType}" is not "True", but ${c.status}`);
  }
  if (messages.length > 0) return { status: 'False', reason: 'ReadinessGatesNotReady', message: messages.join(', ') };
  return { status: 'True' };
}

/** The whole status. */
export function generatePodStatus(input: StatusInput): PodStatus {
  const { pod, old, view } = input;
  const spec = pod.spec!;
  const init = containerStatuses(input, spec.initContainers ?? [], 'init');
  const regular = containerStatuses(input, spec.containers, 'regular');
  const ephemeral = containerStatuses(input, (spec.ephemeralContainers ?? []).map(asContainer), 'ephemeral');
  let phase = podPhase(spec, init, regular, input.terminal);
  let { reason, message } = old;
  if (input.failed !== undefined) {
    phase = input.terminal ? 'Failed' : phase;
    ({ reason, message } = input.failed);
  }
  const final = (p: string | undefined): p is string => p === 'Succeeded' || p === 'Failed';
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
  const add = (type: string, draft: Draft) => {
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
  if (input.disruption !== undefined) {
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
    ips = [sandbox.network!.ip, ...sandbox.network!.additionalIps];
  if (isHostNetwork(pod) && sandbox === undefined && (old.podIPs?.length ?? 0) === 0) ips = [];

  const status: PodStatus = {
    ...old,
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
  if (spec.resources !== undefined) status.resources = spec.resources;
  return status;
}

/** Keeps the order that the API has, so that a patch moves nothing. */
function order(conditions: PodCondition[], like: readonly PodCondition[]): void {
  if (like.length === 0) return;
  const rank = new Map(like.map((c, i) => [c.type, i]));
  const at = (c: PodCondition) => rank.get(c.type) ?? like.length;
  conditions.sort((a, b) => at(a) - at(b));
}
