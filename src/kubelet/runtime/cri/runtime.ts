/**
 * `CriRuntime`: a real container runtime (containerd, CRI-O) over its socket, in CRI `runtime.v1`. Loads gRPC: imported by
 * `openCriRuntime` alone.
 */
import { access } from 'node:fs/promises';
import { join } from 'node:path';
import type { Duplex } from 'node:stream';
import type { Clock } from '../../../base/clock.ts';
import { ioSleep } from '../../../base/io-time.ts';
import type {
  AuthConfig,
  Container,
  ContainerConfig,
  ContainerEvent,
  ContainerFilter,
  ContainerStats,
  ContainerStatus,
  ExecOptions,
  ExecStreams,
  ExecSyncResult,
  FilesystemUsage,
  Image,
  ImageSpec,
  LinuxContainerResources,
  PodSandbox,
  PodSandboxConfig,
  PodSandboxFilter,
  PodSandboxStats,
  PodSandboxStatus,
  RuntimeHandler,
  RuntimeStatus,
  StreamServer,
  StreamTarget,
  StringMap,
  VersionInfo,
} from '../container-runtime.ts';
import { RuntimeError } from '../container-runtime.ts';
import { CriEvents } from './events.ts';
import type { OutOfMemory } from './kernel-log.ts';
import { KernelLog, oomKills } from './kernel-log.ts';
import { linkLog, logLink, makeLogDirectory, removeDeadLinks, removeLog, removeLogDirectory } from './logs.ts';
import type {
  ContainerMessage,
  ContainerStatsMessage,
  ContainerStatusMessage,
  FilesystemMessage,
  ImageMessage,
  SandboxMessage,
  SandboxStatsMessage,
  SandboxStatusMessage,
} from './messages.ts';
import {
  containerConfigMessage,
  containerFilter,
  CpuRates,
  sandboxConfigMessage,
  toContainer,
  toContainerStats,
  toContainerStatus,
  toFilesystem,
  toImage,
  toSandbox,
  toSandboxStats,
  toSandboxStatus,
} from './messages.ts';
import type { CriRuntime, CriRuntimeOptions } from './open.ts';
import { openCommand, openPort, spdyProtocols, upgrade, webSocketProtocols } from './streaming.ts';
import { CriChannel } from './wire.ts';

/** How long a call may take (`--runtime-request-timeout`); a sandbox may take twice as long. */
const defaultTimeoutMs = 120_000;
/** For so long after a container was killed its reason may still change, where the kernel itself tells nothing. */
const lateReasonMs = 2500;

interface StatusMessage {
  status?: { conditions?: { type?: string; status?: boolean; reason?: string; message?: string }[] };
  info?: StringMap;
  runtimeHandlers?: RuntimeHandler[];
  features?: { supplementalGroupsPolicy?: boolean; userNamespacesHostNetwork?: boolean };
}

/** What is looked at of containerd's configuration, as its status shows it. */
interface ContainerdConfig {
  sandboxImage?: string;
  containerd?: {
    defaultRuntimeName?: string;
    runtimes?: Record<string, { options?: { SystemdCgroup?: boolean } | null }>;
  };
}

export class SocketRuntime implements CriRuntime {
  readonly endpoint: string;
  readonly #channel: CriChannel;
  readonly #images: CriChannel;
  readonly #timeoutMs: number;
  readonly #podLogsDir: string;
  readonly #links: string;
  readonly #rates = new CpuRates();
  readonly #events: CriEvents;
  readonly #selinux: boolean;
  /** Containers that were told to stop. */
  readonly #stopped = new Set<string>();
  readonly #kernelLog: KernelLog;
  /** Of the kernel, when a container started: its place in the log, and how often it had killed for want of memory. */
  readonly #atStart = new Map<string, { mark: number | undefined; kills: number | undefined }>();
  readonly #clock: Clock;
  /** The sandbox of each container, which a container's status does not tell. */
  readonly #sandboxOf = new Map<string, string>();
  #version: VersionInfo;
  #status: { text: string; status: RuntimeStatus } | undefined;

  private constructor(options: CriRuntimeOptions, channel: CriChannel, version: VersionInfo, selinux: boolean) {
    this.endpoint = options.endpoint;
    this.#channel = channel;
    this.#timeoutMs = options.timeoutMs ?? defaultTimeoutMs;
    this.#images =
      options.imageEndpoint === undefined || options.imageEndpoint === options.endpoint
        ? channel
        : new CriChannel(options.imageEndpoint, this.#timeoutMs);
    this.#podLogsDir = options.podLogsDir ?? '/var/log/pods';
    this.#links = options.containerLogsDir ?? '/var/log/containers';
    this.#version = version;
    this.#selinux = selinux;
    const { clock, logger } = options;
    this.#clock = clock;
    this.#kernelLog = new KernelLog(options.kernelLog);
    this.#events = new CriEvents({
      channel,
      logger,
      runtimeName: version.runtimeName,
      now: () => clock.now(),
      listContainers: () => this.listContainers(),
      listPodSandbox: () => this.listPodSandbox(),
      containerState: async (id) => (await this.listContainers({ id }))[0]?.state,
    });
  }

  /** Connects and asks for the version. Rejects with `RuntimeError`. */
  static async open(options: CriRuntimeOptions): Promise<SocketRuntime> {
    if (options.clock.virtual)
      throw new TypeError('a container runtime keeps real time: it cannot be used with a virtual clock');
    const channel = new CriChannel(options.endpoint, options.timeoutMs ?? defaultTimeoutMs);
    try {
      const version = await readVersion(channel);
      const selinux = await access('/sys/fs/selinux/enforce').then(
        () => true,
        () => false,
      );
      const runtime = new SocketRuntime(options, channel, version, selinux);
      await removeDeadLinks(runtime.#links);
      return runtime;
    } catch (error) {
      channel.close();
      throw error;
    }
  }

  async version(): Promise<VersionInfo> {
    this.#version = await readVersion(this.#channel);
    return this.#version;
  }

  /** The same object as long as it says the same. */
  async status(): Promise<RuntimeStatus> {
    const m = await this.#channel.call<StatusMessage>('Status', {});
    const text = JSON.stringify(m);
    if (this.#status?.text === text) return this.#status.status;
    const status: RuntimeStatus = {
      conditions: (m.status?.conditions ?? []).map((c) => ({
        type: c.type ?? '',
        status: c.status ?? false,
        ...(c.reason === undefined ? {} : { reason: c.reason }),
        ...(c.message === undefined ? {} : { message: c.message }),
      })),
      runtimeHandlers: (m.runtimeHandlers ?? []).map((h) => ({
        name: h.name ?? '',
        ...(h.features === undefined ? {} : { features: h.features }),
      })),
      ...(m.features === undefined ? {} : { features: m.features }),
    };
    this.#status = { text, status };
    return status;
  }

  async #containerdConfig(): Promise<ContainerdConfig> {
    const { info } = await this.#channel.call<StatusMessage>('Status', { verbose: true });
    const text = info?.['config'];
    if (text === undefined) return {};
    try {
      return JSON.parse(text) as ContainerdConfig;
    } catch {
      // Other runtimes put other things there.
      return {};
    }
  }

  async updateRuntimeConfig(config: { podCidr: string }): Promise<void> {
    await this.#channel.call('UpdateRuntimeConfig', {
      runtimeConfig: { networkConfig: { podCidr: config.podCidr } },
    });
  }

  async cgroupDriver(): Promise<'SYSTEMD' | 'CGROUPFS'> {
    try {
      const m = await this.#channel.call<{ linux?: { cgroupDriver?: 'SYSTEMD' | 'CGROUPFS' } }>('RuntimeConfig', {});
      return m.linux?.cgroupDriver ?? (m.linux === undefined ? 'CGROUPFS' : 'SYSTEMD');
    } catch (error) {
      if (!(error instanceof RuntimeError) || error.code !== 'Unimplemented') throw error;
    }
    const { containerd } = await this.#containerdConfig();
    const runtime = containerd?.runtimes?.[containerd.defaultRuntimeName ?? 'runc'];
    return runtime?.options?.SystemdCgroup === true ? 'SYSTEMD' : 'CGROUPFS';
  }

  async sandboxImage(): Promise<string | undefined> {
    const { sandboxImage } = await this.#containerdConfig();
    return sandboxImage === '' ? undefined : sandboxImage;
  }

  // Sandboxes.

  async runPodSandbox(config: PodSandboxConfig, runtimeHandler = ''): Promise<string> {
    await makeLogDirectory(config.logDirectory);
    const { podSandboxId = '' } = await this.#channel.call<{ podSandboxId?: string }>(
      'RunPodSandbox',
      { config: sandboxConfigMessage(config), runtimeHandler },
      { timeoutMs: 2 * this.#timeoutMs },
    );
    if (podSandboxId === '')
      throw new RuntimeError('Unknown', `PodSandboxId is not set for sandbox "${config.metadata.name}"`);
    return podSandboxId;
  }

  async stopPodSandbox(podSandboxId: string): Promise<void> {
    await this.#gone(this.#channel.call('StopPodSandbox', { podSandboxId }));
  }

  async removePodSandbox(podSandboxId: string): Promise<void> {
    const [sandbox] = await this.listPodSandbox({ id: podSandboxId });
    const containers = await this.listContainers({ podSandboxId });
    await this.#gone(this.#channel.call('RemovePodSandbox', { podSandboxId }));
    for (const c of containers) {
      await removeLog('', logLink(this.#links, c.labels, c.id));
      this.#forget(c.id);
    }
    if (sandbox === undefined) return;
    const { namespace, name, uid } = sandbox.metadata;
    if (uid === '' || uid.includes('/')) return;
    const others = await this.listPodSandbox({ labelSelector: { 'io.kubernetes.pod.uid': uid } });
    if (others.length === 0) await removeLogDirectory(join(this.#podLogsDir, `${namespace}_${name}_${uid}`));
  }

  async podSandboxStatus(podSandboxId: string): Promise<PodSandboxStatus> {
    const m = await this.#channel.call<{ status?: SandboxStatusMessage }>('PodSandboxStatus', { podSandboxId });
    return toSandboxStatus(m.status ?? {});
  }

  async listPodSandbox(filter?: PodSandboxFilter): Promise<readonly PodSandbox[]> {
    const m = await this.#channel.call<{ items?: SandboxMessage[] }>('ListPodSandbox', {
      filter:
        filter === undefined
          ? undefined
          : { ...filter, state: filter.state === undefined ? undefined : { state: filter.state } },
    });
    return (m.items ?? []).map(toSandbox);
  }

  /** Best effort, as upstream: runtimes that cannot leave the pod's cgroup to the kubelet. */
  async updatePodSandboxResources(podSandboxId: string, resources: LinuxContainerResources): Promise<void> {
    try {
      await this.#channel.call('UpdatePodSandboxResources', { podSandboxId, resources });
    } catch (error) {
      if (
        error instanceof RuntimeError &&
        (error.code === 'Unimplemented' || /not implemented/.test(error.description))
      )
        return;
      throw error;
    }
  }

  // Containers.

  async createContainer(podSandboxId: string, config: ContainerConfig, sandbox: PodSandboxConfig): Promise<string> {
    const log = join(sandbox.logDirectory, config.logPath);
    await makeLogDirectory(join(log, '..'));
    const { containerId = '' } = await this.#channel.call<{ containerId?: string }>('CreateContainer', {
      podSandboxId,
      config: containerConfigMessage(config, this.#selinux),
      sandboxConfig: sandboxConfigMessage(sandbox),
    });
    if (containerId === '')
      throw new RuntimeError('Unknown', `ContainerId is not set for container "${config.metadata.name}"`);
    this.#sandboxOf.set(containerId, podSandboxId);
    this.#toLink.set(containerId, { link: logLink(this.#links, config.labels, containerId), log });
    return containerId;
  }

  /** Logs of containers that are created and not started yet. */
  readonly #toLink = new Map<string, { link: string; log: string }>();

  async startContainer(containerId: string): Promise<void> {
    this.#atStart.set(containerId, { mark: await this.#kernelLog.mark(), kills: await oomKills() });
    await this.#channel.call('StartContainer', { containerId });
    const link = this.#toLink.get(containerId);
    this.#toLink.delete(containerId);
    if (link !== undefined) await linkLog(link.link, link.log);
  }

  async stopContainer(containerId: string, timeoutSeconds: number): Promise<void> {
    this.#stopped.add(containerId);
    const timeout = Math.max(Math.ceil(timeoutSeconds), 0);
    await this.#gone(
      this.#channel.call('StopContainer', { containerId, timeout }, { timeoutMs: this.#timeoutMs + timeout * 1000 }),
    );
  }

  /** Removes its log as well. */
  async removeContainer(containerId: string): Promise<void> {
    let log: { path: string; link: string } | undefined;
    try {
      const status = await this.containerStatus(containerId);
      log = { path: status.logPath, link: logLink(this.#links, status.labels, containerId) };
    } catch (error) {
      if (!(error instanceof RuntimeError) || error.code !== 'NotFound') throw error;
    }
    if (log !== undefined) await removeLog(log.path, log.link);
    await this.#gone(this.#channel.call('RemoveContainer', { containerId }));
    this.#forget(containerId);
  }

  #forget(containerId: string): void {
    this.#sandboxOf.delete(containerId);
    this.#toLink.delete(containerId);
    this.#stopped.delete(containerId);
    this.#atStart.delete(containerId);
    this.#kernelLog.forget(containerId);
  }

  async containerStatus(containerId: string): Promise<ContainerStatus> {
    for (let wait = 10; ; wait *= 2) {
      const m = await this.#channel.call<{ status?: ContainerStatusMessage }>('ContainerStatus', { containerId });
      const status = toContainerStatus(m.status ?? {}, this.#sandboxOf.get(containerId));
      const killed = status.exitCode === 137 && status.reason === 'Error' && !this.#stopped.has(containerId);
      if (!killed) return status;
      // That memory had run out becomes known to the runtime a moment later than that the container was killed, or never.
      const memory = await this.#outOfMemory(containerId);
      if (memory === 'yes') return { ...status, reason: 'OOMKilled' };
      if (memory === 'no' || wait > lateReasonMs || this.#clock.now() - status.finishedAt > lateReasonMs) return status;
      await ioSleep(wait);
    }
  }

  async #outOfMemory(containerId: string): Promise<OutOfMemory> {
    const before = this.#atStart.get(containerId);
    const told = await this.#kernelLog.outOfMemory(containerId, before?.mark);
    if (told !== 'unknown' || before?.kills === undefined) return told;
    return (await oomKills()) === before.kills ? 'no' : 'unknown';
  }

  async listContainers(filter?: ContainerFilter): Promise<readonly Container[]> {
    const m = await this.#channel.call<{ containers?: ContainerMessage[] }>('ListContainers', {
      filter: containerFilter(filter),
    });
    const containers = (m.containers ?? []).map(toContainer);
    for (const c of containers) this.#sandboxOf.set(c.id, c.podSandboxId);
    if (filter === undefined && this.#sandboxOf.size > 2 * containers.length + 100) {
      const there = new Set(containers.map((c) => c.id));
      for (const id of this.#sandboxOf.keys()) if (!there.has(id)) this.#forget(id);
    }
    return containers;
  }

  async updateContainerResources(containerId: string, resources: LinuxContainerResources): Promise<void> {
    await this.#channel.call('UpdateContainerResources', { containerId, linux: resources });
  }

  async reopenContainerLog(containerId: string): Promise<void> {
    await this.#channel.call('ReopenContainerLog', { containerId });
  }

  /** What is to be ended or removed and is not there has ended and is removed. */
  async #gone(call: Promise<object>): Promise<void> {
    try {
      await call;
    } catch (error) {
      if (!(error instanceof RuntimeError) || error.code !== 'NotFound') throw error;
    }
  }

  // Streaming.

  async execSync(containerId: string, command: readonly string[], timeoutSeconds: number): Promise<ExecSyncResult> {
    const timeout = Math.ceil(timeoutSeconds);
    const m = await this.#channel.call<{ stdout?: Buffer; stderr?: Buffer; exitCode?: number }>(
      'ExecSync',
      { containerId, cmd: command, timeout },
      { timeoutMs: timeout > 0 ? this.#timeoutMs + timeout * 1000 : 0 },
    );
    const empty = Buffer.alloc(0);
    return { stdout: m.stdout ?? empty, stderr: m.stderr ?? empty, exitCode: m.exitCode ?? 0 };
  }

  async #url(method: 'Exec' | 'Attach' | 'PortForward', request: object): Promise<string> {
    const { url = '' } = await this.#channel.call<{ url?: string }>(method, request);
    if (url === '') throw new RuntimeError('Unknown', 'URL is not set');
    return url;
  }

  #streamUrl(target: StreamTarget): Promise<string> {
    switch (target.kind) {
      case 'exec':
        return this.#url('Exec', { containerId: target.containerId, cmd: target.command, ...target.options });
      case 'attach':
        return this.#url('Attach', { containerId: target.containerId, ...target.options });
      case 'portForward':
        return this.#url('PortForward', { podSandboxId: target.podSandboxId });
    }
  }

  readonly streamServer: StreamServer = {
    spdyProtocols,
    webSocketProtocols,
    upgrade: async (target, method, headers) => upgrade(await this.#streamUrl(target), method, headers),
  };

  async exec(containerId: string, command: readonly string[], options: ExecOptions): Promise<ExecStreams> {
    return openCommand(await this.#streamUrl({ kind: 'exec', containerId, command, options }), options);
  }

  async attach(containerId: string, options: ExecOptions): Promise<ExecStreams> {
    return openCommand(await this.#streamUrl({ kind: 'attach', containerId, options }), options);
  }

  async portForward(podSandboxId: string, port: number): Promise<Duplex> {
    return openPort(await this.#streamUrl({ kind: 'portForward', podSandboxId }), port);
  }

  // Usage.

  async containerStats(containerId: string): Promise<ContainerStats> {
    const m = await this.#channel.call<{ stats?: ContainerStatsMessage }>('ContainerStats', { containerId });
    return toContainerStats(m.stats ?? {}, this.#rates);
  }

  async listContainerStats(filter?: ContainerFilter): Promise<readonly ContainerStats[]> {
    const m = await this.#channel.call<{ stats?: ContainerStatsMessage[] }>('ListContainerStats', {
      filter: filter === undefined ? undefined : { ...filter, state: undefined },
    });
    return (m.stats ?? []).map((s) => toContainerStats(s, this.#rates));
  }

  async podSandboxStats(podSandboxId: string): Promise<PodSandboxStats> {
    const m = await this.#channel.call<{ stats?: SandboxStatsMessage }>('PodSandboxStats', { podSandboxId });
    return toSandboxStats(m.stats ?? {}, this.#rates);
  }

  async listPodSandboxStats(filter?: PodSandboxFilter): Promise<readonly PodSandboxStats[]> {
    const found = await this.#channel
      .call<{ stats?: SandboxStatsMessage[] }>('ListPodSandboxStats', {
        filter: filter === undefined ? undefined : { id: filter.id, labelSelector: filter.labelSelector },
      })
      .then(
        (m) => m.stats ?? [],
        (error: unknown) => {
          // containerd 1.6 gives nobody's when it has none of one that has ended.
          if (!(error instanceof RuntimeError) || error.code !== 'Unknown') throw error;
          return this.#readySandboxStats(filter);
        },
      );
    const all = found.map((s) => toSandboxStats(s, this.#rates));
    if (filter === undefined) this.#rates.keep(new Set(all.flatMap((s) => [s.id, ...s.containers.map((c) => c.id)])));
    return all;
  }

  /** One by one; one that ends meanwhile is left out. */
  async #readySandboxStats(filter: PodSandboxFilter | undefined): Promise<SandboxStatsMessage[]> {
    const ready = await this.listPodSandbox({ ...filter, state: 'SANDBOX_READY' });
    const all = await Promise.allSettled(
      ready.map((s) => this.#channel.call<{ stats?: SandboxStatsMessage }>('PodSandboxStats', { podSandboxId: s.id })),
    );
    return all.flatMap((r) => (r.status === 'fulfilled' && r.value.stats ? [r.value.stats] : []));
  }

  // Images.

  async listImages(image?: string): Promise<readonly Image[]> {
    const m = await this.#images.call<{ images?: ImageMessage[] }>('ListImages', {
      filter: image === undefined ? undefined : { image: { image } },
    });
    return (m.images ?? []).map(toImage);
  }

  async imageStatus(image: ImageSpec): Promise<Image | undefined> {
    const m = await this.#images.call<{ image?: ImageMessage }>('ImageStatus', { image });
    return m.image === undefined || m.image === null ? undefined : toImage(m.image);
  }

  async pullImage(image: ImageSpec, auth?: AuthConfig, sandbox?: PodSandboxConfig): Promise<string> {
    const { imageRef = '' } = await this.#images.call<{ imageRef?: string }>(
      'PullImage',
      { image, auth, sandboxConfig: sandbox === undefined ? undefined : sandboxConfigMessage(sandbox) },
      { timeoutMs: 0 },
    );
    if (imageRef === '') throw new RuntimeError('Unknown', `imageRef of image "${image.image}" is not set`);
    return imageRef;
  }

  async removeImage(image: ImageSpec): Promise<void> {
    await this.#images.call('RemoveImage', { image });
  }

  async imageFsInfo(): Promise<{
    imageFilesystems: readonly FilesystemUsage[];
    containerFilesystems: readonly FilesystemUsage[];
  }> {
    const m = await this.#images.call<{
      imageFilesystems?: FilesystemMessage[];
      containerFilesystems?: FilesystemMessage[];
    }>('ImageFsInfo', {});
    return {
      imageFilesystems: (m.imageFilesystems ?? []).map(toFilesystem),
      containerFilesystems: (m.containerFilesystems ?? []).map(toFilesystem),
    };
  }

  events(listener: (event: ContainerEvent) => void): () => void {
    return this.#events.listen(listener);
  }

  close(): void {
    this.#events.stop();
    this.#kernelLog.close();
    if (this.#images !== this.#channel) this.#images.close();
    this.#channel.close();
  }
}

async function readVersion(channel: CriChannel): Promise<VersionInfo> {
  const v = await channel.call<Partial<VersionInfo>>('Version', { version: '0.1.0' });
  return {
    runtimeName: v.runtimeName ?? '',
    runtimeVersion: v.runtimeVersion ?? '',
    runtimeApiVersion: v.runtimeApiVersion ?? '',
  };
}
