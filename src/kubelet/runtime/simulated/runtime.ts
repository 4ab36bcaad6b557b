/**
 * `SimulatedRuntime`: a container runtime in memory. A running container without a command of its own costs a few hundred
 * bytes and no timer. Everything that takes time takes it on the cluster's clock.
 */
import type { Duplex } from 'node:stream';
import type { Clock } from '../../../base/clock.ts';
import type { Random } from '../../../base/random.ts';
import type {
  AuthConfig,
  Container,
  ContainerConfig,
  ContainerEvent,
  ContainerEventType,
  ContainerFilter,
  ContainerRuntime,
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
  RuntimeStatus,
  StringMap,
  VersionInfo,
} from '../container-runtime.ts';
import { RuntimeError } from '../container-runtime.ts';
import type { SimulatedHost } from '../../host/simulated/host.ts';
import { annotatedBehaviour, mergeBehaviours } from './behaviour.ts';
import { SimulatedContainer } from './container.ts';
import type { Behaviour } from './images.ts';
import type { SimulatedImages, ResolvedImage } from './images.ts';
import { normalizeImage } from './images.ts';
import { AddressPool } from './network.ts';
import type { SimulatedNode } from './sandbox.ts';
import { SimulatedSandbox } from './sandbox.ts';
import { BuiltinServer } from './server.ts';

export interface SimulatedRuntimeOptions {
  readonly clock: Clock;
  readonly random: Random;
  readonly host: SimulatedHost;
  readonly images: SimulatedImages;
  /** The node's addresses, for pods in its network. */
  readonly addresses: readonly string[];
  /** Pod CIDRs known from the start; otherwise `updateRuntimeConfig` brings them. */
  readonly podCidrs?: readonly string[];
  /** How all containers of this node behave unless told otherwise. */
  readonly behaviour?: Behaviour;
  /** Images that are there from the start. */
  readonly preloaded?: readonly string[];
  /** Shared by the nodes of one process. */
  readonly server?: BuiltinServer;
}

const defaultCpuCores = 0.001;
const defaultMemoryBytes = 8 * 2 ** 20;

function matches(labels: StringMap, selector: StringMap | undefined): boolean {
  if (selector === undefined) return true;
  for (const k in selector) if (labels[k] !== selector[k]) return false;
  return true;
}

const root = Object.freeze({ uid: 0, gid: 0, supplementalGroups: Object.freeze([0]) });
const noAddresses: readonly string[] = Object.freeze([]);

function userOf(c: SimulatedContainer): NonNullable<ContainerStatus['user']> {
  const context = c.config.linux?.securityContext;
  const uid = context?.runAsUser ?? c.image.image.user ?? 0;
  const gid = context?.runAsGroup ?? 0;
  if (uid === 0 && gid === 0 && context?.supplementalGroups === undefined) return root;
  return { uid, gid, supplementalGroups: context?.supplementalGroups ?? [gid] };
}

const simulatedVersion: VersionInfo = { runtimeName: 'simulated', runtimeVersion: '1.0.0', runtimeApiVersion: 'v1' };

export class SimulatedRuntime implements ContainerRuntime {
  readonly images: SimulatedImages;
  readonly #clock: Clock;
  readonly #random: Random;
  readonly #host: SimulatedHost;
  readonly #addresses: readonly string[];
  readonly #behaviour: Behaviour | undefined;
  readonly #node: SimulatedNode;
  readonly #sandboxes = new Map<string, SimulatedSandbox>();
  readonly #containers = new Map<string, SimulatedContainer>();
  /** References of the images that are on the node, and the reference behind each of their ids. */
  readonly #present = new Set<string>();
  readonly #ids = new Map<string, string>();
  readonly #off = new AbortController();
  #pools: AddressPool[] = [];
  #cidrs = '';
  #listeners: readonly ((event: ContainerEvent) => void)[] = [];
  #resources: Map<string, LinuxContainerResources> | undefined;
  #down: string | undefined;
  #status: { network: boolean; down: string | undefined; status: RuntimeStatus } | undefined;

  constructor(options: SimulatedRuntimeOptions) {
    this.#clock = options.clock;
    this.#random = options.random;
    this.#host = options.host;
    this.#addresses = options.addresses;
    this.#behaviour = options.behaviour;
    this.images = options.images;
    for (const p of options.preloaded ?? []) this.#add(options.images.resolve(p));
    this.#setCidrs(options.podCidrs ?? []);
    this.#node = {
      clock: options.clock,
      random: options.random,
      files: options.host.files,
      logs: options.host.logs,
      images: options.images,
      network: options.host.network,
      server: options.server ?? new BuiltinServer(),
      addresses: options.addresses,
      off: this.#off.signal,
      newId: () => this.#newId(),
      emit: (container, type) => this.#emit(container.id, container.sandbox, type),
    };
    options.host.usageSource ??= () => this.#usage();
  }

  #add(image: ResolvedImage): void {
    this.#present.add(image.ref);
    this.#ids.set(image.id, image.ref);
  }

  #newId(): string {
    // Through a buffer, so that the result is one flat string.
    const bytes = Buffer.allocUnsafe(32);
    for (let i = 0; i < 32; i += 4) bytes.writeUInt32LE(this.#random.int(2 ** 32), i);
    return bytes.toString('hex');
  }

  #setCidrs(cidrs: readonly string[]): void {
    const text = cidrs.join(',');
    if (text === this.#cidrs || cidrs.length === 0) return;
    this.#cidrs = text;
    this.#pools = cidrs.map((c) => new AddressPool(c));
  }

  #emit(id: string, sandbox: SimulatedSandbox, type: ContainerEventType): void {
    if (this.#listeners.length === 0) return;
    const event: ContainerEvent = {
      containerId: id,
      containerEventType: type,
      createdAt: this.#clock.now(),
      podSandboxId: sandbox.id,
      podUid: sandbox.config.metadata.uid,
    };
    for (const l of this.#listeners) l(event);
  }

  /** Makes every call fail and the runtime report itself not ready, until called without a reason. */
  fail(reason: string | undefined): void {
    this.#down = reason;
  }

  #up(): void {
    if (this.#down !== undefined) throw new RuntimeError('Unavailable', this.#down);
  }

  #sandbox(id: string): SimulatedSandbox {
    this.#up();
    const s = this.#sandboxes.get(id);
    if (s === undefined)
      throw new RuntimeError('NotFound', `an error occurred when try to find sandbox "${id}": not found`);
    return s;
  }

  #container(id: string): SimulatedContainer {
    this.#up();
    const c = this.#containers.get(id);
    if (c === undefined)
      throw new RuntimeError('NotFound', `an error occurred when try to find container "${id}": not found`);
    return c;
  }

  async version(): Promise<VersionInfo> {
    return simulatedVersion;
  }

  /** The same object as long as it says the same, so that a kubelet sees at once that nothing is new. */
  async status(): Promise<RuntimeStatus> {
    const network = this.#pools.length > 0;
    const known = this.#status;
    if (known !== undefined && known.network === network && known.down === this.#down) return known.status;
    const status = this.#condition(network);
    this.#status = { network, down: this.#down, status };
    return status;
  }

  #condition(network: boolean): RuntimeStatus {
    return {
      conditions: [
        {
          type: 'RuntimeReady',
          status: this.#down === undefined,
          ...(this.#down === undefined ? {} : { reason: 'RuntimeNotReady', message: this.#down }),
        },
        {
          type: 'NetworkReady',
          status: network,
          ...(network
            ? {}
            : {
                reason: 'NetworkPluginNotReady',
                message: 'Network plugin returns error: the node has no pod CIDR yet',
              }),
        },
      ],
      runtimeHandlers: [{ name: '', features: { recursiveReadOnlyMounts: true, userNamespaces: true } }],
      features: { supplementalGroupsPolicy: true },
    };
  }

  async updateRuntimeConfig(config: { podCidr: string }): Promise<void> {
    this.#setCidrs(config.podCidr.split(',').filter((c) => c !== ''));
  }

  async cgroupDriver(): Promise<'SYSTEMD' | 'CGROUPFS'> {
    return 'CGROUPFS';
  }

  async runPodSandbox(config: PodSandboxConfig, runtimeHandler = ''): Promise<string> {
    this.#up();
    const hostNetwork = config.linux?.securityContext?.namespaceOptions?.network === 'NODE';
    const ips: string[] = [];
    if (hostNetwork) ips.push(...this.#addresses);
    else {
      for (const pool of this.#pools) {
        const ip = pool.allocate();
        if (ip === undefined) {
          this.#release(ips);
          throw new RuntimeError(
            'Unknown',
            `failed to setup network for sandbox: plugin type="simulated" failed (add): failed to allocate for range 0: no IP addresses available in range set: ${this.#cidrs}`,
          );
        }
        ips.push(ip);
      }
      if (ips.length === 0)
        throw new RuntimeError('Unknown', 'failed to setup network for sandbox: the node has no pod CIDR yet');
    }
    const sandbox = new SimulatedSandbox(this.#newId(), this.#node, config, runtimeHandler, ips);
    this.#sandboxes.set(sandbox.id, sandbox);
    if (!hostNetwork) for (const ip of ips) this.#host.network.register(ip, sandbox);
    this.#emit(sandbox.id, sandbox, 'CONTAINER_STARTED_EVENT');
    return sandbox.id;
  }

  #release(ips: readonly string[]): void {
    for (const [i, ip] of ips.entries()) this.#pools[i]?.release(ip);
  }

  async stopPodSandbox(podSandboxId: string): Promise<void> {
    const s = this.#sandboxes.get(podSandboxId);
    if (s === undefined || s.state === 'SANDBOX_NOTREADY') return;
    await Promise.all(s.containers.map((c) => c.stop(0)));
    s.state = 'SANDBOX_NOTREADY';
    if (!s.hostNetwork) {
      for (const ip of s.ips) this.#host.network.unregister(ip, s);
      this.#release(s.ips);
    }
    this.#emit(s.id, s, 'CONTAINER_STOPPED_EVENT');
  }

  async removePodSandbox(podSandboxId: string): Promise<void> {
    const s = this.#sandboxes.get(podSandboxId);
    if (s === undefined) return;
    await this.stopPodSandbox(podSandboxId);
    for (const c of s.containers) this.#containers.delete(c.id);
    this.#sandboxes.delete(podSandboxId);
    this.#emit(s.id, s, 'CONTAINER_DELETED_EVENT');
  }

  async podSandboxStatus(podSandboxId: string): Promise<PodSandboxStatus> {
    const s = this.#sandbox(podSandboxId);
    return {
      ...this.#describeSandbox(s),
      network: s.hostNetwork
        ? { ip: '', additionalIps: [] }
        : { ip: s.ips[0] ?? '', additionalIps: s.ips.length > 1 ? s.ips.slice(1) : noAddresses },
      ...(s.hostNetwork
        ? { linux: { namespaces: { options: s.config.linux?.securityContext?.namespaceOptions } } }
        : {}),
    };
  }

  #describeSandbox(s: SimulatedSandbox): PodSandbox {
    return {
      id: s.id,
      metadata: s.config.metadata,
      state: s.state,
      createdAt: s.createdAt,
      labels: s.config.labels,
      annotations: s.config.annotations,
      runtimeHandler: s.runtimeHandler,
    };
  }

  async listPodSandbox(filter: PodSandboxFilter = {}): Promise<readonly PodSandbox[]> {
    this.#up();
    const out: PodSandbox[] = [];
    for (const s of this.#sandboxes.values()) {
      if (filter.id !== undefined && s.id !== filter.id) continue;
      if (filter.state !== undefined && s.state !== filter.state) continue;
      if (matches(s.config.labels, filter.labelSelector)) out.push(this.#describeSandbox(s));
    }
    return out;
  }

  async updatePodSandboxResources(podSandboxId: string): Promise<void> {
    this.#sandbox(podSandboxId);
  }

  async createContainer(podSandboxId: string, config: ContainerConfig): Promise<string> {
    const s = this.#sandbox(podSandboxId);
    if (s.state !== 'SANDBOX_READY') throw new RuntimeError('Unknown', `sandbox container "${s.id}" is not running`);
    const image = this.images.resolve(this.#ids.get(config.image.image) ?? config.image.image);
    if (!this.#present.has(image.ref))
      throw new RuntimeError('NotFound', `failed to resolve image "${config.image.image}": not found`);
    const name = config.metadata.name;
    const behaviour = mergeBehaviours(
      this.#behaviour,
      image.image.behaviour,
      annotatedBehaviour(s.config.annotations, name),
    );
    const c = new SimulatedContainer(this.#newId(), s, config, image, behaviour);
    s.containers.push(c);
    this.#containers.set(c.id, c);
    this.#emit(c.id, s, 'CONTAINER_CREATED_EVENT');
    return c.id;
  }

  async startContainer(containerId: string): Promise<void> {
    await this.#container(containerId).start();
  }

  async stopContainer(containerId: string, timeoutSeconds: number): Promise<void> {
    this.#up();
    await this.#containers.get(containerId)?.stop(timeoutSeconds * 1000);
  }

  async removeContainer(containerId: string): Promise<void> {
    this.#up();
    const c = this.#containers.get(containerId);
    if (c === undefined) return;
    await c.stop(0);
    c.dispose();
    this.#containers.delete(containerId);
    const at = c.sandbox.containers.indexOf(c);
    if (at !== -1) c.sandbox.containers.splice(at, 1);
    this.#host.logs.remove(c.logPath);
    this.#resources?.delete(containerId);
    this.#emit(c.id, c.sandbox, 'CONTAINER_DELETED_EVENT');
  }

  #describe(c: SimulatedContainer): Container {
    return {
      id: c.id,
      podSandboxId: c.sandbox.id,
      metadata: c.config.metadata,
      image: { image: c.image.ref, userSpecifiedImage: c.config.image.userSpecifiedImage },
      imageRef: c.image.digest,
      imageId: c.image.id,
      state: c.state,
      createdAt: c.createdAt,
      labels: c.config.labels,
      annotations: c.config.annotations,
    };
  }

  async containerStatus(containerId: string): Promise<ContainerStatus> {
    const c = this.#container(containerId);
    return {
      ...this.#describe(c),
      startedAt: c.startedAt,
      finishedAt: c.finishedAt,
      exitCode: c.exitCode,
      reason: c.reason,
      message: c.message,
      mounts: c.config.mounts,
      logPath: c.logPath,
      resources: this.#resources?.get(c.id) ?? c.config.linux?.resources,
      user: userOf(c),
    };
  }

  async listContainers(filter: ContainerFilter = {}): Promise<readonly Container[]> {
    this.#up();
    return [...this.#select(filter)].map((c) => this.#describe(c));
  }

  *#select(filter: ContainerFilter): Generator<SimulatedContainer> {
    const source =
      filter.podSandboxId === undefined
        ? this.#containers.values()
        : (this.#sandboxes.get(filter.podSandboxId)?.containers ?? []);
    for (const c of source) {
      if (filter.id !== undefined && c.id !== filter.id) continue;
      if (filter.state !== undefined && c.state !== filter.state) continue;
      if (matches(c.config.labels, filter.labelSelector)) yield c;
    }
  }

  async updateContainerResources(containerId: string, resources: LinuxContainerResources): Promise<void> {
    const c = this.#container(containerId);
    this.#resources ??= new Map();
    this.#resources.set(c.id, { ...(this.#resources.get(c.id) ?? c.config.linux?.resources), ...resources });
  }

  async reopenContainerLog(containerId: string): Promise<void> {
    this.#container(containerId);
  }

  async execSync(containerId: string, command: readonly string[], timeoutSeconds: number): Promise<ExecSyncResult> {
    return this.#container(containerId).execSync(command, timeoutSeconds * 1000);
  }

  async exec(containerId: string, command: readonly string[], options: ExecOptions): Promise<ExecStreams> {
    return this.#container(containerId).exec(command, options);
  }

  async attach(containerId: string, options: ExecOptions): Promise<ExecStreams> {
    return this.#container(containerId).attach(options);
  }

  async portForward(podSandboxId: string, port: number): Promise<Duplex> {
    const s = this.#sandbox(podSandboxId);
    if (s.state !== 'SANDBOX_READY')
      throw new RuntimeError('Unknown', `sandbox container "${podSandboxId}" is not running`);
    return s.connect(port);
  }

  #statsOf(c: SimulatedContainer): ContainerStats {
    const now = this.#clock.now();
    const cores = c.running ? (c.behaviour.cpuCores ?? defaultCpuCores) : 0;
    const memory = c.running ? (c.behaviour.memoryBytes ?? defaultMemoryBytes) : 0;
    const until = c.running ? now : c.finishedAt;
    return {
      id: c.id,
      metadata: c.config.metadata,
      labels: c.config.labels,
      cpu: {
        timestamp: now,
        usageNanoCores: Math.round(cores * 1e9),
        usageCoreNanoSeconds: Math.round(
          (c.behaviour.cpuCores ?? defaultCpuCores) * Math.max(until - c.startedAt, 0) * 1e6,
        ),
      },
      memory: { timestamp: now, workingSetBytes: memory, usageBytes: memory, rssBytes: memory },
      writableLayer: { timestamp: now, mountpoint: '/', usedBytes: 4096, inodesUsed: 1 },
    };
  }

  async containerStats(containerId: string): Promise<ContainerStats> {
    return this.#statsOf(this.#container(containerId));
  }

  async listContainerStats(filter: ContainerFilter = {}): Promise<readonly ContainerStats[]> {
    this.#up();
    return [...this.#select(filter)].map((c) => this.#statsOf(c));
  }

  async podSandboxStats(podSandboxId: string): Promise<PodSandboxStats> {
    return this.#podStats(this.#sandbox(podSandboxId));
  }

  #podStats(s: SimulatedSandbox): PodSandboxStats {
    const containers = s.containers.filter((c) => c.running).map((c) => this.#statsOf(c));
    const now = this.#clock.now();
    const sum = (f: (c: ContainerStats) => number) => containers.reduce((n, c) => n + f(c), 0);
    const memory = sum((c) => c.memory.workingSetBytes);
    return {
      id: s.id,
      metadata: s.config.metadata,
      labels: s.config.labels,
      cpu: {
        timestamp: now,
        usageNanoCores: sum((c) => c.cpu.usageNanoCores),
        usageCoreNanoSeconds: sum((c) => c.cpu.usageCoreNanoSeconds),
      },
      memory: { timestamp: now, workingSetBytes: memory, usageBytes: memory, rssBytes: memory },
      network: { timestamp: now, interfaces: [{ name: 'eth0', rxBytes: 0, rxErrors: 0, txBytes: 0, txErrors: 0 }] },
      processCount: containers.length,
      containers,
    };
  }

  async listPodSandboxStats(filter: PodSandboxFilter = {}): Promise<readonly PodSandboxStats[]> {
    this.#up();
    const out: PodSandboxStats[] = [];
    for (const s of this.#sandboxes.values())
      if (s.state === 'SANDBOX_READY' && (filter.id ?? s.id) === s.id && matches(s.config.labels, filter.labelSelector))
        out.push(this.#podStats(s));
    return out;
  }

  #usage(): { cpuCores: number; memoryBytes: number; processes: number } {
    let cpuCores = 0;
    let memoryBytes = 0;
    let processes = 0;
    for (const c of this.#containers.values()) {
      if (!c.running) continue;
      cpuCores += c.behaviour.cpuCores ?? defaultCpuCores;
      memoryBytes += c.behaviour.memoryBytes ?? defaultMemoryBytes;
      processes++;
    }
    return { cpuCores, memoryBytes, processes };
  }

  #image(r: ResolvedImage): Image {
    return {
      id: r.id,
      repoTags: r.ref.includes('@') ? [] : [r.ref],
      repoDigests: [r.digest],
      size: r.image.size ?? 10_000_000,
      uid: r.image.user ?? (r.image.closed ? 0 : undefined),
      pinned: r.ref.includes('/pause:'),
    };
  }

  async listImages(image?: string): Promise<readonly Image[]> {
    this.#up();
    const out: Image[] = [];
    for (const ref of this.#present)
      if (image === undefined || ref === normalizeImage(image)) out.push(this.#image(this.images.resolve(ref)));
    return out;
  }

  async imageStatus(image: ImageSpec): Promise<Image | undefined> {
    this.#up();
    const r = this.images.resolve(image.image);
    return this.#present.has(r.ref) ? this.#image(r) : undefined;
  }

  async pullImage(image: ImageSpec, _auth?: AuthConfig, sandbox?: PodSandboxConfig): Promise<string> {
    this.#up();
    const r = this.images.resolve(image.image);
    const b = mergeBehaviours(
      this.#behaviour,
      r.image.behaviour,
      sandbox === undefined ? undefined : annotatedBehaviour(sandbox.annotations),
    );
    if (b.pullDelayMs !== undefined && b.pullDelayMs > 0) await this.#clock.sleep(b.pullDelayMs, this.#off.signal);
    if (b.pullError !== undefined) throw new RuntimeError('Unknown', b.pullError);
    this.#add(r);
    return r.id;
  }

  /** The machine is switched off: every process ends at once, and nothing of it waits for anything. */
  async powerOff(): Promise<void> {
    this.#off.abort(new RuntimeError('Unavailable', 'the machine has been switched off'));
    await Promise.all(
      [...this.#containers.values()].map(async (c) => {
        await c.stop(0);
        c.dispose();
      }),
    );
  }

  async removeImage(image: ImageSpec): Promise<void> {
    this.#up();
    this.#present.delete(normalizeImage(this.#ids.get(image.image) ?? image.image));
  }

  async imageFsInfo(): Promise<{
    imageFilesystems: readonly FilesystemUsage[];
    containerFilesystems: readonly FilesystemUsage[];
  }> {
    let used = 0;
    for (const ref of this.#present) used += this.images.resolve(ref).image.size ?? 10_000_000;
    const fs: FilesystemUsage = {
      timestamp: this.#clock.now(),
      mountpoint: '/var/lib/simulated',
      usedBytes: used,
      inodesUsed: this.#present.size,
    };
    return { imageFilesystems: [fs], containerFilesystems: [fs] };
  }

  events(listener: (event: ContainerEvent) => void): () => void {
    this.#listeners = [...this.#listeners, listener];
    return () => {
      this.#listeners = this.#listeners.filter((l) => l !== listener);
    };
  }

  /** Ends a container behind the kubelet's back, as a crash or an OOM kill does. */
  async crash(containerId: string): Promise<void> {
    await this.#container(containerId).stop(0);
  }
}
