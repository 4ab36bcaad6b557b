/** Which container or sandbox a streaming request means, with upstream's refusals. */
import type { Pod } from '../../api/types/index.gen.ts';
import type { ContainerRuntime } from '../runtime/container-runtime.ts';
import { RuntimeError } from '../runtime/container-runtime.ts';
import type { PodSource, SourcedPod } from './pod-source.ts';

/** An answer other than success, as plain text. */
export class HttpError extends Error {
  readonly status: number;

  constructor(status: number, message: string, options?: { cause?: unknown }) {
    super(message, options);
    this.name = 'HttpError';
    this.status = status;
  }
}

/** What a handler failed with, as the answer it becomes. */
export function httpErrorOf(error: unknown): HttpError {
  if (error instanceof HttpError) return error;
  const message = error instanceof Error ? error.message : String(error);
  const code = error instanceof RuntimeError ? error.code : undefined;
  const status = code === 'NotFound' ? 404 : code === 'ResourceExhausted' ? 429 : 500;
  return new HttpError(status, message, { cause: error });
}

/** The full name by which kubelets speak of pods. */
export function podFullName(pod: Pod): string {
  return `${pod.metadata.name ?? ''}_${pod.metadata.namespace ?? ''}`;
}

interface ContainerSpec {
  readonly name: string;
  readonly tty?: boolean;
}

/** The container's part of the pod's spec, init and ephemeral ones included. */
export function containerSpec(pod: Pod, name: string): ContainerSpec | undefined {
  const spec = pod.spec;
  const all = [...(spec?.containers ?? []), ...(spec?.initContainers ?? []), ...(spec?.ephemeralContainers ?? [])];
  return all.find((c) => c.name === name);
}

/** True while the container runs. */
export async function isRunning(runtime: ContainerRuntime, containerId: string): Promise<boolean> {
  try {
    return (await runtime.containerStatus(containerId)).state === 'CONTAINER_RUNNING';
  } catch (error) {
    if (error instanceof RuntimeError && error.code === 'NotFound') return false;
    throw error;
  }
}

export interface ContainerTarget {
  readonly sourced: SourcedPod;
  readonly containerId: string;
  readonly tty: boolean;
}

/** Looks at what routes of pods have in common. */
export function findPod(pods: PodSource, namespace: string, name: string, uid: string): SourcedPod {
  const sourced = pods.get(namespace, name);
  if (sourced === undefined) throw new HttpError(404, 'pod does not exist');
  if (uid !== '' && sourced.pod.metadata.uid !== uid) throw new HttpError(404, 'pod not found');
  return sourced;
}

/** The running container that exec, attach and run are about. */
export async function findContainer(
  pods: PodSource,
  runtime: ContainerRuntime,
  request: { namespace: string; name: string; uid: string; container: string },
  kind: 'exec' | 'attach',
): Promise<ContainerTarget> {
  const sourced = pods.get(request.namespace, request.name);
  if (sourced === undefined) throw new HttpError(404, 'pod does not exist');
  const { pod } = sourced;
  const otherUid = request.uid !== '' && pod.metadata.uid !== request.uid;
  const id = otherUid ? undefined : sourced.containerId(request.container);
  if (id === undefined || !(await isRunning(runtime, id))) {
    const message =
      kind === 'exec'
        ? `container not found (${JSON.stringify(request.container)})`
        : `container ${request.container} not found in pod ${podFullName(pod)}`;
    throw new HttpError(500, message);
  }
  return { sourced, containerId: id, tty: containerSpec(pod, request.container)?.tty ?? false };
}
