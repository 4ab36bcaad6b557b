/** What a pod's status says of its containers (upstream's convertToAPIContainerStatuses and TerminatePod). Pure. */
import { isSidecar } from '../../api/helpers/pod-resources.ts';
import { formatTime } from '../../api/time.ts';
import type { Container, ContainerState, ContainerStatus, Pod, PodSpec } from '../../api/types/index.gen.ts';
import type { StatusInput } from '../pod-status.ts';
import { restartingAll } from '../restart-all.ts';
import { newestOf, wantsStart } from '../runtime-view.ts';
import type { ContainerStatus as RuntimeContainer } from '../runtime/container-runtime.ts';

type Kind = 'init' | 'regular' | 'ephemeral';

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

const noResources = Object.freeze({});
const unknownCode = 137;

/** A container that ran, and of which nobody can say how it ended. */
function lost(message: string): ContainerState {
  return {
    terminated: {
      exitCode: unknownCode,
      reason: 'ContainerStatusUnknown',
      message,
      startedAt: undefined,
      finishedAt: undefined,
    },
  };
}

/** Of a container that the runtime does not know. `restarting`: all containers of the pod are. */
function missing(
  input: StatusInput,
  container: Container,
  kind: Kind,
  prior: ContainerStatus | undefined,
  restarting: boolean,
): ContainerStatus {
  const { pod, view } = input;
  const reason = (pod.spec!.initContainers?.length ?? 0) > 0 ? 'PodInitializing' : 'ContainerCreating';
  const status: ContainerStatus = {
    name: container.name,
    state: { waiting: { reason } },
    ready: false,
    restartCount: prior?.restartCount ?? 0,
    image: container.image ?? '',
    imageID: '',
    ...(prior?.lastState === undefined ? {} : { lastState: prior.lastState }),
  };
  if (prior === undefined) return status;
  if (restarting && kind !== 'ephemeral' && prior.state?.waiting === undefined) {
    const { name: why, message } = restartingAll;
    status.state = { waiting: { reason: why, message } };
    status.lastState = {
      terminated: { exitCode: unknownCode, reason: why, message, startedAt: undefined, finishedAt: undefined },
    };
    status.restartCount = prior.restartCount + 1;
    return status;
  }
  if (prior.state?.terminated !== undefined) return prior;
  if (prior.state?.running !== undefined && prior.lastState?.terminated === undefined) {
    status.lastState = lost(
      'The container could not be located when the pod was deleted.  The container used to be Running',
    );
    if (pod.metadata.deletionTimestamp === undefined) status.restartCount++;
  }
  // Its successors have been created: it must have done its work.
  const created = pod.spec!.containers.some((c) => {
    const s = newestOf(view, c.name)?.state;
    return s !== undefined && s !== 'CONTAINER_UNKNOWN';
  });
  if (kind === 'init' && created && !isSidecar(container))
    status.state = {
      terminated: {
        exitCode: 0,
        reason: 'Completed',
        message:
          'Unable to get init container status from container runtime and pod has been initialized, treat it as exited normally',
        startedAt: undefined,
        finishedAt: undefined,
      },
    };
  return status;
}

/** Of a container that the runtime has; `found`: its instances, newest first. */
function present(
  input: StatusInput,
  container: Container,
  found: readonly RuntimeContainer[],
  prior: ContainerStatus | undefined,
  restarting: boolean,
): ContainerStatus {
  const [latest, previous] = found as readonly [RuntimeContainer, RuntimeContainer?];
  const id = `${input.runtimeName}://${latest.id}`;
  const { user } = latest;
  const status: ContainerStatus = {
    name: container.name,
    state: stateOf(latest, id, input.messages?.get(latest.id)),
    ready: false,
    restartCount: Math.max(latest.metadata.attempt, prior?.restartCount ?? 0),
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
  if (latest.state === 'CONTAINER_UNKNOWN' && prior?.state?.running !== undefined) {
    status.state = lost('The container could not be located when the pod was terminated');
    if (restarting) status.state.terminated!.reason = restartingAll.name;
    status.restartCount = prior.restartCount + 1;
  } else if (
    latest.state === 'CONTAINER_RUNNING' &&
    prior?.state?.terminated !== undefined &&
    prior.containerID !== id &&
    prior.restartCount >= latest.metadata.attempt
  )
    status.restartCount = prior.restartCount + 1;
  if (previous !== undefined)
    status.lastState = stateOf(previous, `${input.runtimeName}://${previous.id}`, input.messages?.get(previous.id));
  else if (prior?.state?.terminated !== undefined && prior.containerID !== id) status.lastState = prior.state;
  else if (prior?.lastState?.terminated !== undefined) status.lastState = prior.lastState;
  return status;
}

function volumeMounts(input: StatusInput, container: Container): ContainerStatus['volumeMounts'] {
  const mode = (m: string | undefined): string =>
    m === 'Enabled' || (m === 'IfPossible' && input.recursiveReadOnly) ? 'Enabled' : 'Disabled';
  return container.volumeMounts?.map((m) => ({
    name: m.name,
    mountPath: m.mountPath,
    ...(m.readOnly === true ? { readOnly: true, recursiveReadOnly: mode(m.recursiveReadOnly) } : {}),
  }));
}

/** `before`: what was told of them last. */
export function containerStatuses(
  input: StatusInput,
  containers: readonly Container[],
  kind: Kind,
  before: readonly ContainerStatus[],
  restarting: boolean,
): ContainerStatus[] {
  const { pod, view } = input;
  return containers.map((container) => {
    const prior = before.find((s) => s.name === container.name);
    const found = view.containers.filter((c) => c.metadata.name === container.name);
    const latest = found[0];
    const status =
      latest === undefined
        ? { ...missing(input, container, kind, prior, restarting) }
        : present(input, container, found, prior, restarting);
    const mounts = volumeMounts(input, container);
    if (mounts !== undefined && mounts.length > 0) status.volumeMounts = mounts;
    const reason = input.waiting?.get(container.name);
    const done =
      kind === 'init' && latest?.state === 'CONTAINER_EXITED' && latest.exitCode === 0 && !isSidecar(container);
    const starts =
      kind === 'ephemeral'
        ? latest === undefined
        : isSidecar(container) && kind === 'init'
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
      if (kind === 'init' && !isSidecar(container)) status.ready = status.state?.terminated?.exitCode === 0;
      else status.ready = started && input.ready(container.name, latest!.id);
    }
    return status;
  });
}

const hasRun = (s: ContainerStatus): boolean => s.lastState?.terminated !== undefined || s.state?.waiting === undefined;

/** Whether anything shows that regular containers were to be started. */
function initializedOnce(
  spec: PodSpec,
  init: readonly ContainerStatus[],
  regular: readonly ContainerStatus[],
): boolean {
  const last = spec.initContainers?.at(-1);
  if (last === undefined || regular.some(hasRun)) return true;
  const s = init.find((x) => x.name === last.name);
  return isSidecar(last) ? s?.state?.running !== undefined && s.started === true : s?.state?.terminated?.exitCode === 0;
}

/** Once a pod has ended, each of its containers has: what is not known of them counts as a failure. */
export function endContainers(
  pod: Pod,
  told: { readonly init: readonly ContainerStatus[]; readonly regular: readonly ContainerStatus[] },
  init: ContainerStatus[],
  regular: ContainerStatus[],
): void {
  const end = (s: ContainerStatus): void => {
    if (s.state?.terminated !== undefined) return;
    s.state = lost('The container could not be located when the pod was terminated');
    s.started = s.ready = false;
  };
  if (initializedOnce(pod.spec!, told.init, told.regular)) regular.forEach(end);
  const lastRun = Math.max(init.findLastIndex(hasRun), 0);
  init.slice(0, lastRun + 1).forEach(end);
}
