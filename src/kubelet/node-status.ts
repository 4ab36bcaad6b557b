/**
 * The node's presence in the API: registration, the heartbeat Lease, and the status, written when it changed or every five
 * minutes. One timer a node.
 */
import type { Timer } from '../base/clock.ts';
import { nextTurn, turnSpent } from '../base/yield.ts';
import { semanticEqual } from '../api/helpers/deep-equal.ts';
import { parseQuantity, quantityMilli, quantityValue } from '../api/quantity.ts';
import { formatMicroTime, formatTime, parseDuration } from '../api/time.ts';
import type { ContainerImage, Lease, Node, NodeCondition, NodeStatus, Taint } from '../api/types/index.gen.ts';
import { isAlreadyExists, isConflict, isNotFound } from '../client/errors.ts';
import type { KubeletConfiguration } from './configuration.ts';
import { reserved } from './configuration.ts';
import type { KubeletContext } from './context.ts';
import { hardReservation } from './eviction/thresholds.ts';
import type { HostAddress, MachineInfo } from './host/node-host.ts';
import type { RuntimeHandler, RuntimeStatus, VersionInfo } from './runtime/container-runtime.ts';

export interface NodeStatusOptions {
  readonly nodeName: string;
  readonly labels?: Readonly<Record<string, string>>;
  readonly annotations?: Readonly<Record<string, string>>;
  readonly taints?: readonly Taint[];
  readonly providerId?: string;
  /** `external`: the node waits for a cloud-controller-manager. */
  readonly cloudProvider?: 'external';
  readonly unschedulable?: boolean;
  /** Overrides what the machine has, by resource name. */
  readonly capacity?: Readonly<Record<string, string>>;
  /** Overrides capacity less what is reserved. */
  readonly allocatable?: Readonly<Record<string, string>>;
  readonly maxPods: number;
  readonly podCidrs?: readonly string[];
  readonly kubeletVersion: string;
  readonly port: number;
  readonly leaseDurationSeconds: number;
  readonly statusReportMs: number;
  /** False: the node object is made by somebody else. */
  readonly register: boolean;
  /** What the node keeps for itself and for bad times; all of it is for pods when left out. */
  readonly configuration?: KubeletConfiguration;
}

type Facts = readonly [MachineInfo, VersionInfo, readonly HostAddress[]];

/** Features of the release that a scheduler and an API server want to know of (KEP-5328), in the order of their names. */
const declaredFeatures: readonly string[] = [
  'ExtendWebSocketsToKubelet',
  'InPlacePodLevelResourcesVerticalScaling',
  'InPlacePodVerticalScalingInitContainers',
  'RestartAllContainersOnContainerExits',
];

const leaseNamespace = 'kube-node-lease';
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
  #lease: Lease | undefined;
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
    void this.#ctx.clock.activity.track(this.#renew());
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
    const [renewed] = await Promise.all([this.#renew(Math.ceil((leftOut * interval) / 1000)), this.report()]);
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

  async #resources(): Promise<{ capacity: Record<string, string>; allocatable: Record<string, string> }> {
    const machine = await this.#ctx.host.machineInfo();
    const capacity: Record<string, string> = {
      cpu: String(machine.cpuCores),
      'ephemeral-storage': `${Math.floor(machine.rootFsBytes / 1024)}Ki`,
      memory: `${Math.floor(machine.memoryBytes / 1024)}Ki`,
      pods: String(podsOf(this.#o, machine.cpuCores)),
    };
    for (const h of machine.hugepages)
      capacity[`hugepages-${pageSize(h.pageSizeBytes)}`] = String(h.pageSizeBytes * h.count);
    Object.assign(capacity, this.#o.capacity);
    const c = this.#o.configuration;
    const allocatable = c === undefined ? capacity : allocatableOf(capacity, c);
    return { capacity, allocatable: { ...allocatable, ...this.#o.allocatable } };
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
    const resources = await this.#resources();
    if (this.#imagesChanged) {
      this.#imagesChanged = false;
      const images = await runtime.listImages().catch(() => []);
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
      ...withExtended(resources, old),
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
      if (isNotFound(error) && this.#o.register) await this.#register().catch(() => undefined);
      this.#ctx.logger.warn('Error updating node status, will retry', { node: this.#o.nodeName, error });
    } finally {
      this.#busy = false;
      if (this.#again) {
        this.#again = false;
        this.reportSoon();
      }
    }
  }

  /** True when the lease is renewed, for its usual duration and `longer` seconds. */
  async #renew(longer = 0): Promise<boolean> {
    const leases = this.#ctx.client.coordination.leases;
    const { clock } = this.#ctx;
    const name = this.#o.nodeName;
    for (let attempt = 0; attempt < 5 && !this.#stopped; attempt++) {
      try {
        if (this.#lease === undefined) {
          try {
            this.#lease = await leases.create(this.#newLease(), { signal: this.#abort.signal });
            return true;
          } catch (error) {
            if (!isAlreadyExists(error)) throw error;
            this.#lease = await leases.get(name, leaseNamespace, { signal: this.#abort.signal });
          }
        }
        const lease: Lease = this.#lease;
        this.#lease = await leases.update(
          {
            ...lease,
            spec: {
              ...lease.spec,
              holderIdentity: name,
              leaseDurationSeconds: this.#o.leaseDurationSeconds + longer,
              renewTime: formatMicroTime(clock.now()),
            },
          },
          { signal: this.#abort.signal },
        );
        return true;
      } catch (error) {
        if (this.#stopped) return false;
        if (isConflict(error) || isNotFound(error)) {
          this.#lease = undefined;
          continue;
        }
        this.#ctx.logger.warn('Failed to update lease', { node: name, error });
        return false;
      }
    }
    return false;
  }

  /** A lease that was to last over heartbeats left out ends as if they had come until now. */
  async #shorten(): Promise<void> {
    const lease = this.#lease;
    const { leaseDurationSeconds } = this.#o;
    if (lease?.spec?.leaseDurationSeconds === undefined || lease.spec.leaseDurationSeconds <= leaseDurationSeconds)
      return;
    const { client, clock, logger } = this.#ctx;
    const spec = { ...lease.spec, leaseDurationSeconds, renewTime: formatMicroTime(clock.now()) };
    try {
      await client.coordination.leases.update({ ...lease, spec });
    } catch (error) {
      logger.warn('Failed to update lease', { node: this.#o.nodeName, error });
    }
  }

  #newLease(): Lease {
    const node = this.#node;
    return {
      apiVersion: 'coordination.k8s.io/v1',
      kind: 'Lease',
      metadata: {
        name: this.#o.nodeName,
        namespace: leaseNamespace,
        ...(node === undefined
          ? {}
          : { ownerReferences: [{ apiVersion: 'v1', kind: 'Node', name: this.#o.nodeName, uid: node.metadata.uid! }] }),
      },
      spec: {
        holderIdentity: this.#o.nodeName,
        leaseDurationSeconds: this.#o.leaseDurationSeconds,
        renewTime: formatMicroTime(this.#ctx.clock.now()),
      },
    };
  }

  stop(): void {
    this.#stopped = true;
    this.#abort.abort(new Error('kubelet stopped'));
    this.#timer?.cancel();
    this.#timer = undefined;
    void this.#ctx.clock.activity.track(this.#shorten());
  }
}

type Amounts = Readonly<Record<string, string>>;

const isExtended = (name: string): boolean => name.includes('/') && !/(^|\.)kubernetes\.io\//.test(name);

/** Resources that others have given the node stay, and pods may have all of them. */
function withExtended(
  own: { readonly capacity: Amounts; readonly allocatable: Amounts },
  old: NodeStatus | undefined,
): { capacity: Record<string, string>; allocatable: Record<string, string> } {
  const extended: Record<string, string> = {};
  for (const [name, amount] of Object.entries((old?.capacity ?? {}) as Amounts))
    if (isExtended(name) && own.capacity[name] === undefined) extended[name] = amount;
  return {
    capacity: { ...extended, ...own.capacity },
    allocatable: { ...extended, ...own.allocatable },
  };
}

/** How many pods the node takes: no more for each core than the configuration says. */
function podsOf(o: NodeStatusOptions, cores: number): number {
  const perCore = o.configuration?.podsPerCore ?? 0;
  return perCore > 0 ? Math.min(o.maxPods, cores * perCore) : o.maxPods;
}

/** Capacity less what is reserved and what eviction keeps free, and less huge pages, which are no other memory. */
function allocatableOf(capacity: Readonly<Record<string, string>>, c: KubeletConfiguration): Record<string, string> {
  const out: Record<string, string> = { ...capacity };
  const value = (name: string): number => quantityValue(parseQuantity(capacity[name] ?? '0'));
  const cpu = quantityMilli(parseQuantity(capacity['cpu'] ?? '0')) - reserved(c, 'cpu');
  out['cpu'] = cpu % 1000 === 0 ? String(Math.max(cpu, 0) / 1000) : `${Math.max(cpu, 0)}m`;
  let memory = value('memory');
  memory -= reserved(c, 'memory') + hardReservation(c, 'memory.available', memory);
  for (const name in capacity) if (name.startsWith('hugepages-')) memory -= value(name);
  memory = Math.max(memory, 0);
  out['memory'] = memory % 1024 === 0 ? `${memory / 1024}Ki` : String(memory);
  const disk = value('ephemeral-storage');
  const kept = reserved(c, 'ephemeral-storage') + hardReservation(c, 'nodefs.available', disk);
  if (kept > 0) out['ephemeral-storage'] = String(Math.max(Math.floor(disk - kept), 0));
  return out;
}

function pageSize(bytes: number): string {
  return bytes % 2 ** 30 === 0 ? `${bytes / 2 ** 30}Gi` : `${bytes / 2 ** 20}Mi`;
}

function sameQuantities(a: Record<string, string> | undefined, b: Record<string, string> | undefined): boolean {
  const names = Object.keys(b ?? {});
  if (names.length !== Object.keys(a ?? {}).length) return false;
  return names.every((k) => {
    const x = a?.[k];
    const y = b![k]!;
    if (x === y) return true;
    return (
      x !== undefined &&
      (k === 'cpu'
        ? quantityMilli(parseQuantity(x)) === quantityMilli(parseQuantity(y))
        : quantityValue(parseQuantity(x)) === quantityValue(parseQuantity(y)))
    );
  });
}

function sameBesidesHeartbeat(a: NodeStatus, b: NodeStatus): boolean {
  const strip = (s: NodeStatus) => (s.conditions ?? []).map((c) => ({ ...c, lastHeartbeatTime: undefined }));
  if (!semanticEqual(strip(a), strip(b))) return false;
  const patch = nodeStatusPatch(a, b);
  return patch === undefined || Object.keys(patch).every((k) => k === 'conditions' || k.startsWith('$'));
}

/** What to send to turn one status into the other. */
export function nodeStatusPatch(from: NodeStatus, to: NodeStatus): Record<string, unknown> | undefined {
  const out: Record<string, unknown> = {};
  const a = from as Record<string, unknown>;
  for (const [k, value] of Object.entries(to)) {
    if (value === undefined || value === a[k]) continue;
    if (k === 'conditions') {
      const old = new Map((from.conditions ?? []).map((c) => [c.type, c]));
      const changed = (value as NodeCondition[])
        .map((c) => {
          const before = old.get(c.type) as Record<string, unknown> | undefined;
          const diff: Record<string, unknown> = {};
          for (const [f, v] of Object.entries(c)) if (v !== before?.[f]) diff[f] = v;
          return Object.keys(diff).length === 0 ? undefined : { type: c.type, ...diff };
        })
        .filter((c) => c !== undefined);
      if (changed.length === 0) continue;
      out['$setElementOrder/conditions'] = (value as NodeCondition[]).map((c) => ({ type: c.type }));
      out['conditions'] = changed;
    } else if (k === 'capacity' || k === 'allocatable') {
      if (!sameQuantities(a[k] as Record<string, string>, value as Record<string, string>)) out[k] = value;
    } else if (!semanticEqual(a[k], value)) {
      // Two addresses may have one type, the list's merge key: it is replaced as a whole.
      out[k] = k === 'addresses' ? [...(value as unknown[]), { $patch: 'replace' }] : value;
    }
  }
  return Object.keys(out).length === 0 ? undefined : out;
}
