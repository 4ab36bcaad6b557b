/** A whole cluster in this process with one real node: our kubelet on this machine, over a containerd of the test's own. */
import { join } from 'node:path';
import { SystemClock } from '../../../src/base/clock.ts';
import type { Logger } from '../../../src/base/logger.ts';
import { createLogger, formatText } from '../../../src/base/logger.ts';
import { SystemRandom } from '../../../src/base/random.ts';
import type { Container, Event, Pod, PodSpec } from '../../../src/api/types/index.gen.ts';
import type { TypedClient } from '../../../src/client/typed-client.ts';
import { identities } from '../../../src/cluster/components.ts';
import type { Cluster, ClusterOptions } from '../../../src/cluster/cluster.ts';
import { createCluster } from '../../../src/cluster/create-cluster.ts';
import type { LinuxHost } from '../../../src/kubelet/host/linux/host.ts';
import { createLinuxHost } from '../../../src/kubelet/host/linux/host.ts';
import type { Kubelet } from '../../../src/kubelet/kubelet.ts';
import type { KubeletOptions } from '../../../src/kubelet/kubelet-options.ts';
import { createKubelet } from '../../../src/kubelet/kubelet.ts';
import { busyboxImage } from '../images/busybox.ts';
import type { ContainerdOptions } from './containerd.ts';
import { Containerd } from './containerd.ts';

export const busybox = 'local.test/busybox:1';
const waitMs = 30_000;

/** A container that runs a script of the shell. */
export function shell(script: string, more: Partial<Container> = {}): Container {
  return {
    name: 'main',
    image: busybox,
    imagePullPolicy: 'IfNotPresent',
    command: ['sh', '-c', script],
    ...more,
  } as Container;
}

/** Runs until it is told to end, at once. */
export const sleeper = "trap 'exit 0' TERM; while :; do sleep 0.2; done";

/** What goes wrong is told with KNARR_TEST_LOG=1. */
const logger: Logger = createLogger({
  level: process.env['KNARR_TEST_LOG'] === undefined ? 'error' : 'debug',
  now: () => Date.now(),
  sink: (r) => process.stderr.write(`${formatText(r)}\n`),
});

export class RealNode {
  readonly containerd: Containerd;
  readonly cluster: Cluster;
  readonly host: LinuxHost;
  readonly rootDir: string;
  readonly #options: Partial<KubeletOptions>;
  #kubelet: Kubelet | undefined;

  private constructor(containerd: Containerd, cluster: Cluster, host: LinuxHost, options: Partial<KubeletOptions>) {
    this.containerd = containerd;
    this.cluster = cluster;
    this.host = host;
    this.rootDir = join(containerd.dir, 'kubelet');
    this.#options = options;
  }

  static async start(
    options: Partial<KubeletOptions> = {},
    runtime: ContainerdOptions = {},
    clusterOptions: Partial<ClusterOptions> = {},
  ): Promise<RealNode> {
    const containerd = await Containerd.start(runtime);
    try {
      await containerd.load(busyboxImage(), busybox);
      const cluster = await createCluster({
        nodes: 0,
        // Its certificate's authority is what pods are told to trust.
        https: { port: 0 },
        disable: ['kube-proxy', 'dns'],
        logger,
        waitForNodes: false,
        ...clusterOptions,
      });
      const host = await createLinuxHost({
        clock: new SystemClock(),
        hostname: 'n1',
        addresses: ['127.0.0.1'],
        rootDir: join(containerd.dir, 'kubelet'),
        cgroups: { cgroupRoot: containerd.cgroupRoot },
      });
      const node = new RealNode(containerd, cluster, host, options);
      await node.startKubelet();
      return node;
    } catch (error) {
      await containerd.stop();
      throw error;
    }
  }

  get client(): TypedClient {
    return this.cluster.client;
  }

  get kubelet(): Kubelet {
    return this.#kubelet!;
  }

  /** A kubelet as after a restart of its process; with other settings where they are given. */
  async startKubelet(options: Partial<KubeletOptions> = {}): Promise<void> {
    this.#kubelet = createKubelet({
      nodeName: 'n1',
      client: this.cluster.clientFor(identities.node('n1'), 'kubelet'),
      clock: new SystemClock(),
      random: new SystemRandom(),
      logger,
      runtime: this.containerd.runtime,
      host: this.host,
      rootDir: this.rootDir,
      podLogsDir: this.containerd.podLogsDir,
      podCidrs: ['10.88.0.0/16'],
      clusterDns: ['10.96.0.10'],
      leaseDurationSeconds: 4,
      ...this.#options,
      ...options,
    });
    await this.#kubelet.start();
    await this.until(async () => {
      const node = await this.client.core.nodes.get('n1');
      return node.status?.conditions?.some((c) => c.type === 'Ready' && c.status === 'True');
    }, 'the node to be ready');
  }

  async stopKubelet(): Promise<void> {
    await this.#kubelet?.stop();
    this.#kubelet = undefined;
  }

  async stop(): Promise<void> {
    try {
      await this.stopKubelet();
      await this.cluster.close();
    } finally {
      // Ends what still runs, and with it what keeps mounts below the kubelet's folder busy.
      await this.containerd.stop();
    }
    await this.host.cgroups?.remove('/');
  }

  /** Asks until the answer is neither undefined nor false. */
  async until<T>(ask: () => Promise<T | undefined | false>, what: string, ms = waitMs): Promise<T> {
    const end = Date.now() + ms;
    for (;;) {
      const answer = await ask();
      if (answer !== undefined && answer !== false) return answer;
      if (Date.now() > end) throw new Error(`waited in vain for ${what}`);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }

  /** Creates a pod on the node. */
  async create(name: string, spec: Partial<PodSpec>, metadata: Partial<Pod['metadata']> = {}): Promise<Pod> {
    return this.client.core.pods.create({
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: { name, namespace: 'default', ...metadata },
      spec: {
        nodeName: 'n1',
        restartPolicy: 'Never',
        automountServiceAccountToken: false,
        terminationGracePeriodSeconds: 5,
        ...spec,
      } as PodSpec,
    });
  }

  /** Waits for a phase; what has gone wrong otherwise is in the error. */
  async phase(name: string, ...phases: readonly string[]): Promise<Pod> {
    try {
      return await this.until(
        async () => {
          const pod = await this.client.core.pods.get(name, 'default');
          return phases.includes(pod.status?.phase ?? '') ? pod : undefined;
        },
        `pod ${name} to be ${phases.join(' or ')}`,
      );
    } catch (error) {
      const pod = await this.client.core.pods.get(name, 'default');
      throw new Error(
        `${String(error)}\n${JSON.stringify(pod.status, undefined, 1)}\n${(await this.events(name)).join('\n')}`,
        { cause: error },
      );
    }
  }

  /** Runs a script in a pod to its end and answers with its log. */
  async script(
    name: string,
    script: string,
    spec: Partial<PodSpec> = {},
    more: Partial<Container> = {},
  ): Promise<string> {
    await this.create(name, { containers: [shell(script, more)], ...spec });
    await this.phase(name, 'Succeeded', 'Failed');
    return this.log(name);
  }

  /** What a container has written, as the kubelet reads it. */
  async log(name: string, container = 'main'): Promise<string> {
    const pod = await this.client.core.pods.get(name, 'default');
    const statuses = [...(pod.status?.containerStatuses ?? []), ...(pod.status?.initContainerStatuses ?? [])];
    const id = statuses.find((s) => s.name === container)?.containerID?.replace(/^.*:\/\//, '');
    if (id === undefined) return '';
    const { logPath } = await this.containerd.runtime.containerStatus(id);
    const parts: Buffer[] = [];
    for await (const batch of this.host.readLog(logPath, {})) parts.push(...batch.map((e) => e.data));
    return Buffer.concat(parts).toString();
  }

  /** Runs a command in a running container. */
  async exec(name: string, ...command: readonly string[]): Promise<string> {
    const pod = await this.client.core.pods.get(name, 'default');
    const id = pod.status!.containerStatuses![0]!.containerID!.replace(/^.*:\/\//, '');
    const r = await this.containerd.runtime.execSync(id, command, 10);
    return r.stdout.toString() + r.stderr.toString();
  }

  async delete(name: string): Promise<void> {
    await this.client.core.pods.delete(name, 'default');
    await this.until(async () => {
      const left = (await this.client.core.pods.list({ namespace: 'default' })).items;
      return left.every((p) => p.metadata.name !== name);
    }, `pod ${name} to be gone`);
  }

  async events(name: string): Promise<string[]> {
    const all = await this.client.core.events.list({ namespace: 'default' });
    return (all.items as Event[]).filter((e) => e.involvedObject.name === name).map((e) => `${e.reason}: ${e.message}`);
  }
}
