/**
 * The node's presence in the API: registration, the heartbeat Lease, and the status, written when it changed or every five
 * minutes. One timer a node.
 */
import type { Timer } from '../base/clock.ts';
import { nextTurn, turnSpent } from '../base/yield.ts';
import { formatTime, parseDuration } from '../api/time.ts';
import type { ContainerImage, Node, NodeCondition, NodeStatus, Taint } from '../api/types/index.gen.ts';
import { isAlreadyExists, isNotFound } from '../client/errors.ts';
import type { KubeletContext } from './context.ts';
import type { HostAddress, MachineInfo } from './host/node-host.ts';
import { NodeLease } from './node-lease.ts';
import { nodeResources } from './node-resources.ts';
import type { NodeResourceOptions } from './node-resources.ts';
import { nodeStatusPatch, sameBesidesHeartbeat } from './node-status-patch.ts';
import type { RuntimeHandler, RuntimeStatus, VersionInfo } from './runtime/container-runtime.ts';

export interface NodeStatusOptions extends NodeResourceOptions {
  readonly nodeName: string;
  readonly labels?: Readonly<Record<string, string>>;
  readonly annotations?: Readonly<Record<string, string>>;
  readonly taints?: readonly Taint[];
  readonly providerId?: string;
  /** `external`: the node waits for a cloud-controller-manager. */
  readonly cloudProvider?: 'external';
  readonly unschedulable?: boolean;
  readonly podCidrs?: readonly string[];
  readonly kubeletVersion: string;
  readonly port: number;
  readonly leaseDurationSeconds: number;
  readonly statusReportMs: number;
  /** False: the node object is made by somebody else. */
  readonly register: boolean;
}

type Facts = readonly [MachineInfo, VersionInfo, readonly HostAddress[]];

/** Features of the release that a scheduler and an API server want to know of (KEP-5328), in the order of their names. */
const declaredFeatures: readonly string[] = [
  'ExtendWebSocketsToKubelet',
  'InPlacePodLevelResourcesVerticalScaling',
  'InPlacePodVerticalScalingInitContainers',
  'RestartAllContainersOnContainerExits',
];

/** Tells a cloud-controller-manager which addresses the node is to have: one, or one of each family. */
const providedNodeIp = 'alpha.kubernetes.io/provided-node-ip';
const maxImages = 50;
/** For so long at most heartbeats are left out. */
const maxUnseenMs = 900_000;
/** Part of the lease's interval by which heartbeats vary. */
const jitter = 0.04;
const registerRetryMs = 1000;
const maxRegisterRetryMs = 7000;

/** Conditions that another part of the kubelet can raise. */
export interface Pressure {
  readonly memory: boolean;
  readonly disk: boolean;
  readonly pid: boolean;
}

export class NodeStatusManager {
  readonly #ctx: KubeletContext;
  readonly #o: NodeStatusOptions;
  readonly #setNode: (node: Node) => void;
  #node: Node | undefined;
  readonly #lease: NodeLease;
  #timer: Timer | undefined;
  /** The timer waits over heartbeats that are left out. */
  #longPause = false;
  #reportedAt = -Infinity;
  #imagesChanged = true;
  #images: ContainerImage[] = [];
  #busy = false;
  #soon = false;
  /** Something has changed that the report under way may not have seen. */
  #again = false;
  #stopped = false;
  /** The boot that was told of. */
  #booted = '';
  #runtimeStatus: RuntimeStatus | undefined;
  #runtimeError: string | undefined;
  #version: VersionInfo | undefined;
  #shutdown: string | undefined;
  /** What a status was computed of that the API has already: as long as it is the same, nothing is to be compared. */
  #settled: readonly unknown[] | undefined;
  pressure: Pressure = { memory: false, disk: false, pid: false };
  readonly #abort = new AbortController();

  /** `setNode` is told each state of the Node that comes back from a write. */
  constructor(ctx: KubeletContext, options: NodeStatusOptions, setNode: (node: Node) => void) {
    this.#ctx = ctx;
    this.#o = options;
    this.#setNode = setNode;
    const { client, clock, logger } = ctx;
    this.#lease = new NodeLease({
      client,
      clock,
      logger,
      nodeName: options.nodeName,
      durationSeconds: options.leaseDurationSeconds,
      owner: () => this.#node,
      signal: this.#abort.signal,
    });
  }

  /** Why pods cannot have a network now. */
  get networkError(): string | undefined {
    const c = this.#runtimeStatus?.conditions.find((x) => x.type === 'NetworkReady');
    if (c === undefined || c.status) return undefined;
    return `container runtime network not ready: NetworkReady=false reason:${c.reason ?? ''} message:${c.message ?? ''}`;
  }

  /** What the runtime's handlers can do. */
  get runtimeHandlers(): readonly RuntimeHandler[] {
    return this.#runtimeStatus?.runtimeHandlers ?? [];
  }

  /** Images on the node have changed; the next report lists them anew. */
  imagesChanged(): void {
    this.#imagesChanged = true;
    // At the pace of all heartbeats, also where some were to be left out.
    if (this.#longPause && this.#timer !== undefined) this.#arm();
  }

  /** Makes the node report itself not ready until called without a reason (graceful shutdown, tests). */
  setShutdown(reason: string | undefined): void {
    this.#shutdown = reason;
    this.reportSoon();
  }

  /** Another state of the Node came from the API. */
  observe(node: Node): void {
    const before = this.#node?.spec?.unschedulable === true;
    const now = node.spec?.unschedulable === true;
    if (this.#node !== undefined && before !== now) {
      const reason = now ? 'NodeNotSchedulable' : 'NodeSchedulable';
      this.#ctx.events.node('Normal', reason, `Node ${this.#o.nodeName} status is now: ${reason}`);
    }
    this.#node = node;
  }

  /** Registers the node and starts the heartbeats; resolves when the Node exists. */
  async start(): Promise<void> {
    await this.checkRuntime();
    let wait = registerRetryMs;
    for (;;) {
      try {
        await this.#register();
        break;
      } catch (error) {
        if (this.#stopped) return;
        this.#ctx.logger.warn('Unable to register node with API server', { node: this.#o.nodeName, error });
        await this.#ctx.clock.sleep(wait, this.#abort.signal);
        wait = Math.min(wait * 2, maxRegisterRetryMs);
      }
    }
    if (this.#stopped) return;
    // The lease needs nobody to wait for it.
    void this.#ctx.clock.activity.track(this.#lease.renew());
    this.#arm();
  }

  #arm(ms = this.#interval()): void {
    this.#timer?.cancel();
    this.#timer = undefined;
    this.#longPause = false;
    if (this.#stopped) return;
    this.#timer = this.#ctx.clock.setTimer(ms, () => {
      this.#timer = undefined;
      void this.#beat();
    });
  }

  /** Milliseconds from a heartbeat to the next: a quarter of the lease's duration and a little more. */
  #interval(): number {
    const c = this.#o.configuration;
    const update = c === undefined ? Infinity : parseDuration(c.nodeStatusUpdateFrequency);
    return Math.min(this.#o.leaseDurationSeconds * 250, update) * (1 + jitter * this.#ctx.random.float());
  }

  async #beat(): Promise<void> {
    const { clock } = this.#ctx;
    // The timers of many nodes may fire together.
    if (turnSpent()) await clock.activity.track(nextTurn('first'));
    // Heartbeats that another follows before anybody can look are left out; the lease then says that it lasts longer.
    const interval = this.#interval();
    const rest = Math.min(clock.horizon() - clock.now(), maxUnseenMs);
    const leftOut = Math.max(0, Math.floor(rest / interval) - 1);
    // The node's health is looked at, and reported where it changed, at the pace of the lease.
    const [renewed] = await Promise.all([this.#lease.renew(Math.ceil((leftOut * interval) / 1000)), this.report()]);
    if (this.#timer !== undefined) return;
    this.#arm(renewed ? interval * (1 + leftOut) : interval);
    this.#longPause = renewed && leftOut > 0;
  }

  /** Asks the runtime how it is. */
  async checkRuntime(): Promise<void> {
    try {
      this.#runtimeStatus = await this.#ctx.runtime.status();
      const ready = this.#runtimeStatus.conditions.find((c) => c.type === 'RuntimeReady');
      this.#runtimeError =
        ready?.status === false
          ? `container runtime not ready: RuntimeReady=false reason:${ready.reason ?? ''} message:${ready.message ?? ''}`
          : undefined;
    } catch (error) {
      this.#runtimeError = `container runtime is down: ${error instanceof Error ? error.message : String(error)}`;
    }
  }

  async #register(): Promise<void> {
    const { client } = this.#ctx;
    const status = await this.#compute(undefined);
    if (this.#o.register) {
      try {
        const node = await client.core.nodes.create(await this.#initialNode(status), { signal: this.#abort.signal });
        this.#accept(node, status);
        return;
      } catch (error) {
        if (!isAlreadyExists(error)) throw error;
      }
    }
    const existing = await client.core.nodes.get(this.#o.nodeName, undefined, { signal: this.#abort.signal });
    this.#node = existing;
    const metadata = await this.#metadataPatch(existing);
    const node =
      metadata === undefined
        ? existing
        : await client.core.nodes.patch(this.#o.nodeName, undefined, 'strategic', { metadata });
    this.#accept(node, undefined);
    await this.report(true);
  }

  #accept(node: Node, status: NodeStatus | undefined): void {
    this.#node = node;
    if (status !== undefined) this.#reportedAt = this.#ctx.clock.now();
    this.#setNode(node);
  }

  async #labels(): Promise<Record<string, string>> {
    const machine = await this.#ctx.host.machineInfo();
    return {
      'beta.kubernetes.io/arch': machine.architecture,
      'beta.kubernetes.io/os': machine.os,
      'kubernetes.io/arch': machine.architecture,
      'kubernetes.io/hostname': this.#ctx.host.hostname,
      'kubernetes.io/os': machine.os,
      ...this.#o.labels,
    };
  }

  async #initialNode(status: NodeStatus): Promise<Node> {
    const taints = [...(this.#o.taints ?? [])];
    const annotations: Record<string, string> = { ...this.#o.annotations };
    if (this.#o.cloudProvider === 'external') {
      taints.push({ key: 'node.cloudprovider.kubernetes.io/uninitialized', value: 'true', effect: 'NoSchedule' });
      const ips = this.#ctx.nodeIps().join(',');
      if (ips !== '') annotations[providedNodeIp] = ips;
    }
    return {
      apiVersion: 'v1',
      kind: 'Node',
      metadata: {
        name: this.#o.nodeName,
        labels: await this.#labels(),
        annotations: { ...annotations, 'volumes.kubernetes.io/controller-managed-attach-detach': 'true' },
      },
      spec: {
        ...(this.#o.podCidrs === undefined || this.#o.podCidrs.length === 0
          ? {}
          : { podCIDR: this.#o.podCidrs[0], podCIDRs: [...this.#o.podCidrs] }),
        ...(this.#o.providerId === undefined ? {} : { providerID: this.#o.providerId }),
        ...(taints.length === 0 ? {} : { taints }),
        ...(this.#o.unschedulable ? { unschedulable: true } : {}),
      },
      status,
    };
  }

  /** Default labels that an existing Node lacks or has wrong. */
  async #metadataPatch(node: Node): Promise<Record<string, unknown> | undefined> {
    const wanted = await this.#labels();
    const labels: Record<string, string> = {};
    for (const k in wanted) if (node.metadata.labels?.[k] !== wanted[k]) labels[k] = wanted[k]!;
    const ips = this.#o.cloudProvider === 'external' ? this.#ctx.nodeIps().join(',') : '';
    const annotations =
      ips === '' || node.metadata.annotations?.[providedNodeIp] === ips ? undefined : { [providedNodeIp]: ips };
    if (Object.keys(labels).length === 0 && annotations === undefined) return undefined;
    return {
      ...(Object.keys(labels).length === 0 ? {} : { labels }),
      ...(annotations === undefined ? {} : { annotations }),
    };
  }

  #conditions(old: readonly NodeCondition[] | undefined): NodeCondition[] {
    const now = formatTime(this.#ctx.clock.now());
    const make = (type: string, status: boolean, reason: string, message: string): NodeCondition => {
      const text = status ? 'True' : 'False';
      const before = old?.find((c) => c.type === type);
      return {
        type,
        status: text,
        lastHeartbeatTime: now,
        lastTransitionTime: before !== undefined && before.status === text ? before.lastTransitionTime : now,
        reason,
        message,
      };
    };
    const p = this.pressure;
    const errors = [this.#runtimeError, this.networkError, this.#shutdown].filter((e) => e !== undefined);
    const why = errors.length > 1 ? `[${errors.join(', ')}]` : errors[0];
    const out = [
      p.memory
        ? make('MemoryPressure', true, 'KubeletHasInsufficientMemory', 'kubelet has insufficient memory available')
        : make('MemoryPressure', false, 'KubeletHasSufficientMemory', 'kubelet has sufficient memory available'),
      p.disk
        ? make('DiskPressure', true, 'KubeletHasDiskPressure', 'kubelet has disk pressure')
        : make('DiskPressure', false, 'KubeletHasNoDiskPressure', 'kubelet has no disk pressure'),
      p.pid
        ? make('PIDPressure', true, 'KubeletHasInsufficientPID', 'kubelet has insufficient PID available')
        : make('PIDPressure', false, 'KubeletHasSufficientPID', 'kubelet has sufficient PID available'),
      why === undefined
        ? make('Ready', true, 'KubeletReady', 'kubelet is posting ready status')
        : make('Ready', false, 'KubeletNotReady', why),
    ];
    const own = new Set(out.map((c) => c.type));
    return [...(old ?? []).filter((c) => !own.has(c.type)), ...out];
  }

  /** What the machine and the runtime say of themselves. */
  #facts(): Promise<Facts> {
    const { host, runtime } = this.#ctx;
    const version = runtime.version().catch((error: unknown): VersionInfo => {
      // A runtime that is down is told by the conditions; the rest of the status goes on.
      if (this.#version !== undefined) return this.#version;
      throw error;
    });
    return Promise.all([host.machineInfo(), version.then((v) => (this.#version = v)), host.addresses()]);
  }

  async #compute(old: NodeStatus | undefined, facts?: Facts): Promise<NodeStatus> {
    const { runtime } = this.#ctx;
    const [machine, version, addresses] = facts ?? (await this.#facts());
    const resources = nodeResources(this.#o, machine, old, this.#ctx.resources?.devices?.resources());
    if (this.#imagesChanged) {
      this.#imagesChanged = false;
      const images = await runtime.listImages().catch((error: unknown) => {
        // The next report asks again.
        this.#imagesChanged = true;
        this.#ctx.logger.warn('Error getting image list', { node: this.#o.nodeName, error });
        return [];
      });
      const limit = this.#o.configuration?.nodeStatusMaxImages ?? maxImages;
      this.#images = [...images]
        .sort((a, b) => b.size - a.size)
        .slice(0, limit < 0 ? images.length : limit)
        .map((i) => ({ names: [...i.repoDigests, ...i.repoTags].slice(0, 5), sizeBytes: i.size }));
    }
    const booted = old?.nodeInfo?.bootID ?? '';
    if (booted !== '' && booted !== machine.bootId && this.#booted !== machine.bootId) {
      this.#booted = machine.bootId;
      this.#ctx.events.node(
        'Warning',
        'Rebooted',
        `Node ${this.#o.nodeName} has been rebooted, boot id: ${machine.bootId}`,
      );
    }
    // Until what an earlier kubelet mounted has been looked through, what it said holds.
    const volumesInUse = this.#ctx.volumes.inUse ?? old?.volumesInUse ?? [];
    return {
      ...old,
      ...resources,
      conditions: this.#conditions(old?.conditions),
      // A cloud provider names the addresses of its nodes.
      addresses:
        this.#o.cloudProvider === 'external' && old?.addresses !== undefined && old.addresses.length > 0
          ? old.addresses
          : addresses.map((a) => ({ ...a })),
      ...(volumesInUse.length === 0 && (old?.volumesInUse?.length ?? 0) === 0
        ? {}
        : { volumesInUse: [...volumesInUse] }),
      daemonEndpoints: { kubeletEndpoint: { Port: this.#o.port } },
      nodeInfo: {
        machineID: machine.machineId,
        systemUUID: machine.systemUuid,
        bootID: machine.bootId,
        kernelVersion: machine.kernelVersion,
        osImage: machine.osImage,
        containerRuntimeVersion: `${version.runtimeName}://${version.runtimeVersion}`,
        kubeletVersion: this.#o.kubeletVersion,
        kubeProxyVersion: '',
        operatingSystem: machine.os,
        architecture: machine.architecture,
        ...(machine.swapBytes > 0 ? { swap: { capacity: machine.swapBytes } } : {}),
      },
      ...(this.#images.length === 0 ? {} : { images: this.#images }),
      declaredFeatures: [...declaredFeatures],
      runtimeHandlers: (this.#runtimeStatus?.runtimeHandlers ?? []).map((h) => ({
        name: h.name,
        ...(h.features === undefined ? {} : { features: { ...h.features } }),
      })),
      ...(this.#runtimeStatus?.features?.supplementalGroupsPolicy === undefined
        ? {}
        : { features: { supplementalGroupsPolicy: this.#runtimeStatus.features.supplementalGroupsPolicy } }),
    };
  }

  /** Reports in this turn of the event loop rather than at the next beat. */
  reportSoon(): void {
    if (this.#soon || this.#stopped || this.#node === undefined) return;
    this.#soon = true;
    queueMicrotask(() => {
      this.#soon = false;
      if (this.#busy) this.#again = true;
      else void this.report();
    });
  }

  /** A status that has not changed is told again from time to time; not where that will be done before anybody can look. */
  #reportDue(): boolean {
    const { clock } = this.#ctx;
    const { statusReportMs } = this.#o;
    const now = clock.now();
    return now - this.#reportedAt >= statusReportMs && clock.horizon() < now + statusReportMs;
  }

  /** Writes the status if it changed or is due. */
  async report(force = false): Promise<void> {
    if (this.#busy || this.#stopped || this.#node === undefined) return;
    this.#busy = true;
    try {
      await this.checkRuntime();
      const base = this.#node.status;
      const facts = await this.#facts();
      const due = force || this.#reportDue();
      const inputs = [
        base,
        ...facts,
        this.#runtimeStatus,
        this.#runtimeError,
        this.pressure,
        this.#shutdown,
        this.#ctx.volumes.inUse?.join(),
      ];
      const settled = this.#settled;
      if (!due && !this.#imagesChanged && settled !== undefined && inputs.every((x, i) => x === settled[i])) return;
      const status = await this.#compute(base, facts);
      if (!due && base !== undefined && sameBesidesHeartbeat(base, status)) {
        this.#settled = inputs;
        return;
      }
      const patch = nodeStatusPatch(base ?? {}, status);
      if (patch === undefined) return;
      const before = base?.conditions?.find((c) => c.type === 'Ready')?.status;
      const node = await this.#ctx.client.core.nodes.patch(
        this.#o.nodeName,
        undefined,
        'strategic',
        { status: patch },
        { subresource: 'status', fieldManager: 'kubelet', signal: this.#abort.signal },
      );
      this.#accept(node, status);
      const after = status.conditions?.find((c) => c.type === 'Ready')?.status;
      if (before !== undefined && before !== after) {
        const reason = after === 'True' ? 'NodeReady' : 'NodeNotReady';
        this.#ctx.events.node('Normal', reason, `Node ${this.#o.nodeName} status is now: ${reason}`);
      }
    } catch (error) {
      if (this.#stopped) return;
      this.#ctx.logger.warn('Error updating node status, will retry', { node: this.#o.nodeName, error });
      if (isNotFound(error) && this.#o.register)
        await this.#register().catch((failure: unknown) => {
          this.#ctx.logger.warn('Unable to register node with API server', { node: this.#o.nodeName, error: failure });
        });
    } finally {
      this.#busy = false;
      if (this.#again) {
        this.#again = false;
        this.reportSoon();
      }
    }
  }

  stop(): void {
    this.#stopped = true;
    this.#abort.abort(new Error('kubelet stopped'));
    this.#timer?.cancel();
    this.#timer = undefined;
    void this.#ctx.clock.activity.track(this.#lease.shorten());
  }
}
