/** Sandboxes and containers straight through the runtime's seam, without a kubelet: for tests of the seam itself. */
import { randomUUID } from 'node:crypto';
import type {
  ContainerConfig,
  ContainerStatus,
  PodSandboxConfig,
} from '../../../src/kubelet/runtime/container-runtime.ts';
import type { Containerd } from './containerd.ts';

export interface RunningPod {
  readonly sandboxId: string;
  readonly sandbox: PodSandboxConfig;
  readonly uid: string;
}

/** A pod's sandbox. */
export async function runPod(
  c: Containerd,
  name: string,
  overrides: Partial<PodSandboxConfig> = {},
): Promise<RunningPod> {
  const uid = overrides.metadata?.uid ?? randomUUID();
  const sandbox: PodSandboxConfig = {
    metadata: { name, namespace: 'default', uid, attempt: 0 },
    hostname: name,
    logDirectory: `${c.podLogsDir}/default_${name}_${uid}`,
    labels: {
      'io.kubernetes.pod.name': name,
      'io.kubernetes.pod.namespace': 'default',
      'io.kubernetes.pod.uid': uid,
    },
    annotations: {},
    dnsConfig: { servers: ['10.96.0.10'], searches: ['default.svc.cluster.local'], options: ['ndots:5'] },
    ...overrides,
    linux: {
      cgroupParent: `${c.cgroupRoot}/pod${uid}`,
      ...overrides.linux,
      securityContext: {
        namespaceOptions: { network: 'POD', pid: 'CONTAINER', ipc: 'POD' },
        seccomp: { profileType: 'RuntimeDefault' },
        ...overrides.linux?.securityContext,
      },
    },
  };
  const sandboxId = await c.runtime.runPodSandbox(sandbox);
  return { sandboxId, sandbox, uid };
}

export interface ContainerChoice extends Partial<Omit<ContainerConfig, 'image'>> {
  readonly name?: string;
  readonly image?: string;
}

/** A container that is created and not started. */
export async function createContainer(c: Containerd, pod: RunningPod, choice: ContainerChoice): Promise<string> {
  const { name = 'main', image = 'local.test/busybox:1', ...overrides } = choice;
  const attempt = overrides.metadata?.attempt ?? 0;
  const config: ContainerConfig = {
    metadata: { name, attempt },
    image: { image },
    envs: [],
    mounts: [],
    labels: { ...pod.sandbox.labels, 'io.kubernetes.container.name': name },
    annotations: {},
    logPath: `${name}/${attempt}.log`,
    ...overrides,
    linux: {
      ...overrides.linux,
      securityContext: {
        namespaceOptions: pod.sandbox.linux!.securityContext!.namespaceOptions!,
        ...overrides.linux?.securityContext,
      },
    },
  };
  return c.runtime.createContainer(pod.sandboxId, config, pod.sandbox);
}

/** A running container. */
export async function runContainer(c: Containerd, pod: RunningPod, choice: ContainerChoice): Promise<string> {
  const id = await createContainer(c, pod, choice);
  await c.runtime.startContainer(id);
  return id;
}

/** Resolves with its status when a container has ended, by the runtime's events. */
export function exited(c: Containerd, id: string, timeoutMs = 20_000): Promise<ContainerStatus> {
  return new Promise((resolve, reject) => {
    let done = false;
    const timer = setTimeout(() => finish(new Error(`container ${id} has not ended in ${timeoutMs} ms`)), timeoutMs);
    const finish = (error?: unknown): void => {
      if (done) return;
      done = true;
      clearTimeout(timer);
      stop();
      if (error !== undefined) reject(error);
      else c.runtime.containerStatus(id).then(resolve, reject);
    };
    const stop = c.runtime.events((e) => {
      if (e.containerId === id && e.containerEventType === 'CONTAINER_STOPPED_EVENT') finish();
    });
    // It may have ended before anybody listened.
    c.runtime.containerStatus(id).then((s) => {
      if (s.state === 'CONTAINER_EXITED') finish();
    }, finish);
  });
}

/** Calls until it answers something, for what containerd does in its own time. */
export async function eventually<T>(ask: () => Promise<T | undefined> | T | undefined, what: string): Promise<T> {
  const until = Date.now() + 10_000;
  for (;;) {
    const answer = await ask();
    if (answer !== undefined) return answer;
    if (Date.now() > until) throw new Error(`waited in vain for ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}
