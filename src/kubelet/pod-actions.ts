/** What is to be done next for a pod, by comparing its spec with what the runtime has (upstream's computePodActions). */
import type { Container, Pod } from '../api/types/index.gen.ts';
import { hashAnnotation } from './containers/container-config.ts';
import { asContainer, containerHash, isRestartable, restartsWhenKilled } from './pod-util.ts';
import type { RuntimeView } from './runtime-view.ts';
import { newestOf, sandboxNeeded, wantsStart } from './runtime-view.ts';
import type { ContainerStatus as RuntimeContainer } from './runtime/container-runtime.ts';

export type KillReason = 'liveness' | 'startup' | 'unknown' | 'changed';

export interface Kill {
  readonly container: Container;
  readonly id: string;
  readonly message: string;
  readonly reason: KillReason;
}

export interface PodActions {
  /** The pod has come to its end, or its sandbox must be replaced: stop everything. */
  killPod: boolean;
  createSandbox: boolean;
  attempt: number;
  sandboxId: string | undefined;
  initToStart: Container[];
  toStart: Container[];
  ephemeralToStart: Container[];
  kills: Kill[];
}

export interface ProbeView {
  /** A failed probe of a container instance. */
  failed(name: string, id: string, type: 'liveness' | 'startup'): boolean;
  started(name: string, id: string): boolean;
}

function changed(container: Container, c: RuntimeContainer): boolean {
  const hash = c.annotations[hashAnnotation];
  return hash !== undefined && hash !== containerHash(container);
}

export function computeActions(pod: Pod, view: RuntimeView, probes: ProbeView): PodActions {
  const spec = pod.spec!;
  const { needed, attempt, id } = sandboxNeeded(pod, view);
  const out: PodActions = {
    killPod: needed,
    createSandbox: needed,
    attempt,
    sandboxId: id,
    initToStart: [],
    toStart: [],
    ephemeralToStart: [],
    kills: [],
  };
  if (needed) {
    if (
      spec.restartPolicy === 'Never' &&
      ![...(spec.initContainers ?? []), ...spec.containers].some((c) => isRestartable(c, spec)) &&
      attempt !== 0 &&
      view.containers.length > 0
    ) {
      out.createSandbox = false;
      return out;
    }
    const starts = spec.containers.filter((c) => {
      const once = (c.restartPolicy ?? spec.restartPolicy) === 'OnFailure';
      const last = newestOf(view, c.name);
      return !(once && last?.state === 'CONTAINER_EXITED' && last.exitCode === 0);
    });
    if (starts.length === 0 && spec.containers.some((c) => newestOf(view, c.name) !== undefined)) {
      out.createSandbox = false;
      return out;
    }
    const first = spec.initContainers?.[0];
    if (first !== undefined) out.initToStart = [first];
    else out.toStart = starts;
    return out;
  }
  for (const e of spec.ephemeralContainers ?? [])
    if (newestOf(view, e.name) === undefined) out.ephemeralToStart.push(asContainer(e));
  const initialized = initActions(pod, view, probes, out);
  if (out.killPod || !initialized) return out;
  let keep = 0;
  for (const container of spec.containers) {
    const c = newestOf(view, container.name);
    if (c?.state !== 'CONTAINER_RUNNING') {
      if (!wantsStart(container, pod, view)) continue;
      out.toStart.push(container);
      if (c?.state === 'CONTAINER_UNKNOWN')
        out.kills.push({
          container,
          id: c.id,
          message: 'Container is in "unknown" state, try killing it before restart',
          reason: 'unknown',
        });
      continue;
    }
    let restart = restartsWhenKilled(container, spec);
    let message: string;
    let reason: KillReason;
    if (changed(container, c)) {
      message = `Container ${container.name} definition changed`;
      reason = 'changed';
      restart = true;
    } else if (probes.failed(container.name, c.id, 'liveness')) {
      message = `Container ${container.name} failed liveness probe`;
      reason = 'liveness';
    } else if (probes.failed(container.name, c.id, 'startup')) {
      message = `Container ${container.name} failed startup probe`;
      reason = 'startup';
    } else {
      keep++;
      continue;
    }
    if (restart) {
      message += ', will be restarted';
      out.toStart.push(container);
    }
    out.kills.push({ container, id: c.id, message, reason });
  }
  if (keep === 0 && out.toStart.length === 0) {
    out.killPod = true;
    out.initToStart = [];
  }
  return out;
}

/** True when the regular containers may run. */
function initActions(pod: Pod, view: RuntimeView, probes: ProbeView, out: PodActions): boolean {
  const init = pod.spec!.initContainers ?? [];
  if (init.length === 0) return true;
  let done = pod.spec!.containers.some((c) => {
    const s = newestOf(view, c.name)?.state;
    return s === 'CONTAINER_CREATED' || s === 'CONTAINER_RUNNING';
  });
  let later = done;
  // From the last to the first: a later one that was started proves that the earlier ones were done.
  for (let i = init.length - 1; i >= 0; i--) {
    const container = init[i]!;
    const sidecar = container.restartPolicy === 'Always';
    const c = newestOf(view, container.name);
    if (c === undefined) {
      if (later && sidecar) out.initToStart.unshift(container);
      continue;
    }
    if (later && !sidecar) continue;
    const next = () => {
      if (i === init.length - 1) done = true;
      else if (!later) out.initToStart.unshift(init[i + 1]!);
    };
    if (c.state === 'CONTAINER_CREATED') out.initToStart.unshift(container);
    else if (c.state === 'CONTAINER_RUNNING') {
      if (sidecar) runningSidecar(container, c, probes, out, next);
    } else if (c.state === 'CONTAINER_EXITED') {
      if (sidecar) out.initToStart.unshift(container);
      else if (c.exitCode === 0 && c.reason !== 'OOMKilled') next();
      else if (!wantsStart(container, pod, view)) {
        out.killPod = true;
        out.initToStart = [];
        return false;
      } else out.initToStart.unshift(container);
    } else {
      if (!sidecar && !restartsWhenKilled(container, pod.spec!)) {
        out.killPod = true;
        out.initToStart = [];
        return false;
      }
      out.kills.push({
        container,
        id: c.id,
        message: 'Init container is in "unknown" state, try killing it before restart',
        reason: 'unknown',
      });
      out.initToStart.unshift(container);
    }
    later = true;
  }
  if (!later) out.initToStart.unshift(init[0]!);
  return done;
}

function runningSidecar(
  container: Container,
  c: RuntimeContainer,
  probes: ProbeView,
  out: PodActions,
  next: () => void,
): void {
  const kill = (message: string, reason: KillReason) => {
    out.kills.push({ container, id: c.id, message, reason });
    out.initToStart.unshift(container);
  };
  if (!probes.started(container.name, c.id)) {
    if (probes.failed(container.name, c.id, 'startup'))
      kill(`Init container ${container.name} failed startup probe`, 'startup');
    return;
  }
  next();
  if (changed(container, c)) kill(`Init container ${container.name} definition changed`, 'changed');
  else if (probes.failed(container.name, c.id, 'liveness'))
    kill(`Init container ${container.name} failed liveness probe`, 'liveness');
}
