/** Opening a real container runtime: which sockets are looked for, what is connected to, what `CriRuntime` adds to the seam. */
import { stat } from 'node:fs/promises';
import type { Clock } from '../../../base/clock.ts';
import type { Logger } from '../../../base/logger.ts';
import type { ContainerRuntime } from '../container-runtime.ts';

export interface CriRuntimeOptions {
  /** A path or `unix://` URL of the runtime's socket (`--container-runtime-endpoint`). */
  readonly endpoint: string;
  /** Where images are served, if elsewhere (`--image-service-endpoint`). */
  readonly imageEndpoint?: string;
  readonly clock: Clock;
  readonly logger: Logger;
  /** Default `/var/log/pods`: the same as the kubelet's. */
  readonly podLogsDir?: string;
  /** Where log collectors find links to containers' logs; default `/var/log/containers`. */
  readonly containerLogsDir?: string;
  /** The kernel's log, which tells of containers killed for want of memory; default `/dev/kmsg`. */
  readonly kernelLog?: string;
  /** Real milliseconds a call may take; default two minutes. */
  readonly timeoutMs?: number;
}

/** A container runtime behind a socket. */
export interface CriRuntime extends ContainerRuntime {
  readonly endpoint: string;
  /** The image of sandboxes, where the runtime tells it (containerd before 2.0). */
  sandboxImage(): Promise<string | undefined>;
  close(): void;
}

/** Where runtimes listen, in the order in which they are looked for. */
export const runtimeSockets: readonly string[] = [
  '/run/containerd/containerd.sock',
  '/run/crio/crio.sock',
  '/run/cri-dockerd.sock',
];

/** The first of the usual sockets that is there. */
export async function findRuntimeSocket(sockets: readonly string[] = runtimeSockets): Promise<string | undefined> {
  for (const path of sockets) {
    const found = await stat(path).catch(() => undefined);
    if (found?.isSocket() === true) return path;
  }
  return undefined;
}

/** Connects to a runtime. Rejects with `RuntimeError` when none answers there, or none that speaks CRI v1. */
export async function openCriRuntime(options: CriRuntimeOptions): Promise<CriRuntime> {
  const { SocketRuntime } = await import('./runtime.ts');
  return SocketRuntime.open(options);
}
