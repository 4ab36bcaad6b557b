/** Starting one container: crash-loop back-off, image, configuration, creation, start, with upstream's events and reasons. */
import type { Container, Pod } from '../../api/types/index.gen.ts';
import { containerConfig } from './container-config.ts';
import type { KubeletContext } from '../context.ts';
import type { PodRuntimeFields } from '../downward.ts';
import { StartError } from '../images/image-manager.ts';
import { errorText } from '../object-cache.ts';
import { containerFieldPath, formatPod } from '../pod-util.ts';
import type {
  ContainerStatus as RuntimeContainer,
  PodSandboxConfig,
  PodSandboxStatus,
} from '../runtime/container-runtime.ts';
import { RuntimeError } from '../runtime/container-runtime.ts';
import type { PodVolumes } from '../volumes/pod-volumes.ts';

export interface ContainerStart {
  readonly pod: Pod;
  readonly container: Container;
  /** Its newest instance. */
  readonly last: RuntimeContainer | undefined;
  /** Where there is none: how often it was started before. */
  readonly restartCount: number;
  readonly sandbox: PodSandboxStatus;
  readonly config: PodSandboxConfig;
  readonly volumes: PodVolumes;
  readonly fields: PodRuntimeFields;
  /** The container whose processes an ephemeral one sees. Throws `StartError`. */
  target(): string | undefined;
  /** The pod is going away: start nothing more. */
  gone(): boolean;
}

/** Reasons that are their own message in events. */
const named: ReadonlySet<string> = new Set([
  'ErrImagePull',
  'ImagePullBackOff',
  'ErrImageNeverPull',
  'InvalidImageName',
]);

/** A container's place in its pod as it is counted. */
export function containerType(pod: Pod, name: string): string {
  if (pod.spec?.initContainers?.some((c) => c.name === name) === true) return 'init_container';
  return pod.spec?.ephemeralContainers?.some((c) => c.name === name) === true ? 'ephemeral_container' : 'container';
}

/** The id of the container that runs now; undefined when the pod went away meanwhile. Rejects with `StartError`. */
export async function startContainer(ctx: KubeletContext, s: ContainerStart): Promise<string | undefined> {
  const { pod, container, last } = s;
  const path = containerFieldPath(pod.spec!, container.name);
  const event = (type: 'Normal' | 'Warning', reason: string, message: string) =>
    ctx.events.pod(pod, type, reason, message, path);
  if (last?.state === 'CONTAINER_EXITED') {
    // A container that has become another one begins anew.
    const key = `${pod.metadata.uid}_${container.name}_${container.image ?? ''}_${JSON.stringify(container.resources ?? {})}`;
    if (ctx.crashLoop.inBackoffSince(key, last.finishedAt)) {
      const wait = ctx.crashLoop.get(key);
      event('Warning', 'BackOff', `Back-off restarting failed container ${container.name} in pod ${formatPod(pod)}`);
      throw new StartError(
        'CrashLoopBackOff',
        `back-off ${goDuration(wait)} restarting failed container=${container.name} pod=${formatPod(pod)}`,
        {
          retryAt: last.finishedAt + wait,
        },
      );
    }
    ctx.crashLoop.next(key, last.finishedAt);
  }
  const type = containerType(pod, container.name);
  ctx.metrics?.count('started_containers_total', [type]);
  try {
    return await start(ctx, s, event, path);
  } catch (error) {
    if (error instanceof StartError) ctx.metrics?.count('started_containers_errors_total', [type, error.reason]);
    throw error;
  }
}

async function start(
  ctx: KubeletContext,
  s: ContainerStart,
  event: (type: 'Normal' | 'Warning', reason: string, message: string) => void,
  path: string | undefined,
): Promise<string | undefined> {
  const { pod, container, last } = s;
  let id: string;
  try {
    const image = await ctx.images.ensure(pod, container, s.config, s.sandbox.runtimeHandler ?? '', path);
    const imageVolumes = await ensureImageVolumes(ctx, s, path);
    if (s.gone()) return undefined;
    const config = await containerConfig(ctx, {
      pod,
      container,
      restartCount: last === undefined ? s.restartCount : last.metadata.attempt + 1,
      image,
      volumes: s.volumes,
      fields: s.fields,
      imageVolumes,
      targetId: s.target(),
      runtimeHandler: s.sandbox.runtimeHandler ?? '',
    });
    const mounted = imageVolumes.size;
    ctx.metrics?.count('image_volume_requested_total', [], mounted);
    try {
      id = await ctx.runtime.createContainer(s.sandbox.id, config, s.config);
      ctx.metrics?.count('image_volume_mounted_succeed_total', [], mounted);
    } catch (error) {
      const failed = errorDescription(error).startsWith('ImageVolumeMountFailed');
      const name = failed ? 'image_volume_mounted_errors_total' : 'image_volume_mounted_succeed_total';
      ctx.metrics?.count(name, [], mounted);
      throw new StartError('CreateContainerError', errorDescription(error), { cause: error });
    }
    event('Normal', 'Created', 'Container created');
  } catch (error) {
    if (error instanceof StartError)
      event('Warning', 'Failed', `Error: ${named.has(error.reason) ? error.reason : error.message}`);
    throw error;
  }
  try {
    await ctx.runtime.startContainer(id);
  } catch (error) {
    event('Warning', 'Failed', `Error: ${errorDescription(error)}`);
    throw new StartError('RunContainerError', errorDescription(error), { retryAt: ctx.clock.now(), cause: error });
  }
  event('Normal', 'Started', 'Container started');
  return id;
}

/** The images that the container mounts as volumes, by the volume's name. Rejects with `StartError`. */
async function ensureImageVolumes(
  ctx: KubeletContext,
  s: ContainerStart,
  path: string | undefined,
): Promise<ReadonlyMap<string, string>> {
  const out = new Map<string, string>();
  for (const m of s.container.volumeMounts ?? []) {
    const image = s.pod.spec?.volumes?.find((v) => v.name === m.name)?.image;
    if (image === undefined || out.has(m.name)) continue;
    const wanted: Container = {
      name: s.container.name,
      image: image.reference ?? '',
      ...(image.pullPolicy === undefined ? {} : { imagePullPolicy: image.pullPolicy }),
    };
    out.set(m.name, (await ctx.images.ensure(s.pod, wanted, s.config, s.sandbox.runtimeHandler ?? '', path)).ref);
  }
  return out;
}

function errorDescription(error: unknown): string {
  return error instanceof RuntimeError ? error.description : errorText(error);
}

/** Go's notation of whole seconds: `10s`, `1m20s`, `5m0s`. */
export function goDuration(ms: number): string {
  const s = Math.floor(ms / 1000);
  return s < 60 ? `${s}s` : `${Math.floor(s / 60)}m${s % 60}s`;
}
