/** What the runtime has of one pod, and what follows from it: whether its sandbox must be made anew, which containers are to start. */
import { shouldRestart } from '../api/helpers/container-restart.ts';
import type { Container, Pod } from '../api/types/index.gen.ts';
import { isHostNetwork } from './pod-util.ts';
import type { ContainerStatus as RuntimeContainer, PodSandboxStatus } from './runtime/container-runtime.ts';

/** What the runtime has of one pod. */
export interface RuntimeView {
  /** Newest first. */
  readonly sandboxes: readonly PodSandboxStatus[];
  /** Newest first. */
  readonly containers: readonly RuntimeContainer[];
}

export const emptyView: RuntimeView = Object.freeze({ sandboxes: [], containers: [] });

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

/** Upstream's ShouldContainerBeRestarted. */
export function wantsStart(container: Container, pod: Pod, view: RuntimeView): boolean {
  if (pod.metadata.deletionTimestamp !== undefined) return false;
  const c = newestOf(view, container.name);
  if (c === undefined) return true;
  if (c.state === 'CONTAINER_RUNNING') return false;
  if (c.state === 'CONTAINER_UNKNOWN' || c.state === 'CONTAINER_CREATED') return true;
  return shouldRestart(container, pod.spec!, c.exitCode);
}
