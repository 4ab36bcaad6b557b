/**
 * The CPU, memory, topology and device managers of one node, as the kubelet's configuration wants them: what containers get of the
 * machine to themselves, kept over restarts, held against what changes meanwhile, and told to monitors.
 */
import { InTurn } from '../../base/in-turn.ts';
import { parseDuration } from '../../api/time.ts';
import { podQOSClass } from '../../api/helpers/pod-qos.ts';
import { isSidecar } from '../../api/helpers/pod-resources.ts';
import type { Container, Pod } from '../../api/types/index.gen.ts';
import type { Timer } from '../../base/clock.ts';
import type { Refusal } from '../admission.ts';
import type { KubeletConfiguration } from '../configuration/configuration.ts';
import { reserved } from '../configuration/configuration.ts';
import type { KubeletContext } from '../context.ts';
import { formatCpuSet, parseCpuSet, sortedCpus } from '../cpu-set.ts';
import { hardReservation } from '../eviction/thresholds.ts';
import { errorText } from '../object-cache.ts';
import { AdmissionCounts, countedCpus, countedMemory } from '../metrics/resource-metrics.ts';
import type { LinuxContainerResources } from '../runtime/container-runtime.ts';
import { DeviceManager } from '../devices/device-manager.ts';
import { DynamicResources } from '../devices/dynamic-resources.ts';
import type { ContainerResourcesMessage, PodResourcesMessage, PodResourcesSource } from '../devices/messages.ts';
import { formatCpuState, formatMemoryState, parseCpuState, parseMemoryState, readState } from './checkpoint.ts';
import { cpuOptions, StaticCpuPolicy } from './cpu-policy.ts';
import type { MachineTopology } from './machine-topology.ts';
import { readTopology } from './machine-topology.ts';
import type { MemoryBlock } from './memory-policy.ts';
import { reservedByNode, StaticMemoryPolicy } from './memory-policy.ts';
import type { HintProvider, TopologyPolicy } from './topology-hints.ts';
import { AdmissionError, allContainers, TopologyManager } from './topology-hints.ts';

/** A pod that is on the node and has not ended. */
export interface ActivePod {
  readonly pod: Pod;
  readonly containers: readonly { readonly id: string; readonly name: string; readonly running: boolean }[];
}

export interface ResourceManagersOptions {
  readonly ctx: KubeletContext;
  readonly configuration: KubeletConfiguration;
  readonly activePods: () => readonly ActivePod[];
  /** All pods of the node are known. */
  readonly ready: () => boolean;
  /** Devices came or went. */
  readonly onDevices: () => void;
}

const gateDefaults: Readonly<Record<string, boolean>> = {
  CPUManagerPolicyAlphaOptions: false,
  CPUManagerPolicyBetaOptions: true,
};

/** What one file of the kubelet's directory holds, written one version after another. */
class StateFile {
  readonly #ctx: KubeletContext;
  readonly path: string;
  #written = '';
  #writing: Promise<void> = Promise.resolve();

  constructor(ctx: KubeletContext, name: string) {
    this.#ctx = ctx;
    this.path = `${ctx.rootDir}/${name}`;
  }

  /** Resolves when it is on the disk; what cannot be written is told, and tried again with the next change. */
  save(text: string): Promise<void> {
    if (text === this.#written || this.#ctx.host.lazy !== undefined) return this.#writing;
    this.#written = text;
    this.#writing = this.#writing
      .then(() => this.#ctx.host.replaceFile(this.path, text, 0o600))
      .catch((error: unknown) => {
        this.#written = '';
        this.#ctx.logger.error('Failed to save checkpoint', { path: this.path, error });
      });
    return this.#writing;
  }
}

const memoryMessage = (b: MemoryBlock) => ({
  memoryType: b.type,
  size: b.size,
  topology: { nodes: b.numaAffinity.map((ID) => ({ ID })) },
});

export class ResourceManagers {
  /** Undefined where the host has no sockets. */
  readonly devices: DeviceManager | undefined;
  /** The same. */
  readonly dynamic: DynamicResources | undefined;
  readonly #o: ResourceManagersOptions;
  readonly #cpuFile: StateFile;
  readonly #memoryFile: StateFile;
  #topology: MachineTopology | undefined;
  #cpu: StaticCpuPolicy | undefined;
  #memory: StaticMemoryPolicy | undefined;
  #manager: TopologyManager | undefined;
  #counts: AdmissionCounts | undefined;
  #timer: Timer | undefined;
  #reconciling: Promise<void> | undefined;
  readonly #admitting = new InTurn();
  #endPodResources: (() => Promise<void>) | undefined;
  /** The CPUs that containers were last given by an update, by their ids. */
  readonly #given = new Map<string, string>();

  constructor(o: ResourceManagersOptions) {
    this.#o = o;
    this.devices =
      o.ctx.host.socketAddress === undefined
        ? undefined
        : new DeviceManager({
            ctx: o.ctx,
            numaNodes: () => this.#topology?.numaNodes.map((n) => n.id) ?? [],
            onChange: o.onDevices,
          });
    this.dynamic = o.ctx.host.socketAddress === undefined ? undefined : new DynamicResources(o.ctx);
    this.#cpuFile = new StateFile(o.ctx, 'cpu_manager_state');
    this.#memoryFile = new StateFile(o.ctx, 'memory_manager_state');
  }

  /** @throws one line, in upstream's words, for what the machine cannot do or an earlier kubelet left otherwise */
  async start(): Promise<void> {
    const { ctx, configuration: c } = this.#o;
    const topology = await readTopology(ctx.host);
    this.#topology = topology;
    if (c.cpuManagerPolicy === 'static') this.#cpu = this.#staticCpu(topology);
    else if (c.cpuManagerPolicy !== 'none') throw new Error(`unknown policy: "${c.cpuManagerPolicy}"`);
    else if (Object.keys(c.cpuManagerPolicyOptions).length > 0)
      throw new Error('new none policy error: None policy: received unsupported options');
    if (c.memoryManagerPolicy === 'Static') this.#memory = await this.#staticMemory(topology);
    else if (c.memoryManagerPolicy === 'BestEffort')
      throw new Error('policy "BestEffort" is not available for platform "linux"');
    else if (c.memoryManagerPolicy !== 'None') throw new Error(`unknown policy: "${c.memoryManagerPolicy}"`);
    const providers: HintProvider[] = [];
    const { metrics } = ctx;
    if (this.#cpu !== undefined) {
      const full = c.cpuManagerPolicyOptions['full-pcpus-only'] === 'true';
      providers.push(metrics === undefined ? this.#cpu : countedCpus(this.#cpu, topology, full, metrics));
    }
    if (this.#memory !== undefined)
      providers.push(metrics === undefined ? this.#memory : countedMemory(this.#memory, metrics));
    if (metrics !== undefined)
      this.#counts = new AdmissionCounts(metrics, c.topologyManagerPolicy, c.topologyManagerScope);
    if (this.devices !== undefined) providers.push(this.devices);
    this.#manager = new TopologyManager(
      topology,
      c.topologyManagerPolicy as TopologyPolicy,
      c.topologyManagerScope,
      c.topologyManagerPolicyOptions,
      providers,
    );
    await this.#restore();
    await this.devices?.start();
    await this.dynamic?.start((uid) =>
      this.#o.ready() ? this.#o.activePods().some((p) => p.pod.metadata.uid === uid) : undefined,
    );
    this.#endPodResources = await this.#servePodResources();
    if (this.#cpu !== undefined)
      this.#timer = ctx.clock.setTicker(parseDuration(c.cpuManagerReconcilePeriod), () => this.#reconcileSoon());
  }

  #staticCpu(topology: MachineTopology): StaticCpuPolicy {
    const c = this.#o.configuration;
    const kept = reserved(c, 'cpu');
    if (kept === 0)
      throw new Error(
        '[cpumanager] the static policy requires systemreserved.cpu + kubereserved.cpu to be greater than zero',
      );
    try {
      return new StaticCpuPolicy({
        topology,
        reservedCount: Math.ceil(kept / 1000),
        reserved: parseCpuSet(c.reservedSystemCPUs),
        options: cpuOptions(c.cpuManagerPolicyOptions, (gate) => c.featureGates[gate] ?? gateDefaults[gate] ?? false),
        topologyPolicy: c.topologyManagerPolicy,
      });
    } catch (error) {
      throw new Error(`new static policy error: ${(error as Error).message}`, { cause: error });
    }
  }

  async #staticMemory(topology: MachineTopology): Promise<StaticMemoryPolicy> {
    const { ctx, configuration: c } = this.#o;
    const { memoryBytes } = await ctx.host.machineInfo();
    const kept = reserved(c, 'memory') + hardReservation(c, 'memory.available', memoryBytes);
    return new StaticMemoryPolicy(
      topology,
      reservedByNode(topology, c.reservedMemory, new Map(kept > 0 ? [['memory', kept]] : [])),
    );
  }

  async #restore(): Promise<void> {
    const { ctx, configuration: c } = this.#o;
    const cpu = await readState(ctx.host, this.#cpuFile.path, 'CPU', (t) => parseCpuState(c.cpuManagerPolicy, t));
    const memory = await readState(ctx.host, this.#memoryFile.path, 'memory', (t) =>
      parseMemoryState(c.memoryManagerPolicy, t),
    );
    this.#cpu?.restore(cpu ?? { shared: new Set(), assigned: new Map() });
    this.#memory?.restore(memory ?? { machine: new Map(), assigned: new Map() });
    await this.#save();
  }

  async #save(): Promise<void> {
    const { configuration: c } = this.#o;
    const cpu = this.#cpu?.state ?? { shared: new Set<number>(), assigned: new Map() };
    const memory = this.#memory?.state ?? { machine: new Map(), assigned: new Map() };
    await Promise.all([
      this.#cpuFile.save(formatCpuState(c.cpuManagerPolicy, cpu)),
      this.#memoryFile.save(formatMemoryState(c.memoryManagerPolicy, memory)),
    ]);
  }

  /** Gives a pod's containers what they are to have alone, or says why that cannot be. Before the kubelet's other checks. */
  admit(pod: Pod): Promise<Refusal | undefined> {
    // Plugins are asked meanwhile: nobody else may be given the same.
    return this.#admitting.run(() => this.#admit(pod));
  }

  async #admit(pod: Pod): Promise<Refusal | undefined> {
    this.#removeStale();
    try {
      const admit = async (): Promise<void> => this.#manager?.admit(pod);
      await (this.#counts?.run(pod, () => this.#o.ctx.clock.monotonic(), admit) ?? admit());
    } catch (error) {
      this.#o.ctx.logger.warn('Failed to allocate resources for pod', { pod: pod.metadata.name, error });
      this.release(pod.metadata.uid!);
      await this.#save();
      if (error instanceof AdmissionError) return { reason: error.reason, message: error.message };
      return {
        reason: 'UnexpectedAdmissionError',
        message: `Allocate failed due to ${errorText(error)}, which is unexpected`,
      };
    }
    await this.#save();
    this.#reconcileSoon();
    return undefined;
  }

  /** Why what a running pod asks for now can never be given to it. */
  refuseResize(pod: Pod, allocated: Pod): Refusal | undefined {
    if (podQOSClass(pod as never) !== 'Guaranteed') return undefined;
    const c = this.#o.configuration;
    const changed = (resource: string): boolean =>
      allContainers(pod).some((a) => {
        const b = allContainers(allocated).find((x) => x.name === a.name);
        return a.resources?.requests?.[resource] !== b?.resources?.requests?.[resource];
      });
    for (const [manager, policy, on, resource] of [
      ['CPU', 'static', c.cpuManagerPolicy === 'static', 'cpu'],
      ['Memory', 'Static', c.memoryManagerPolicy === 'Static', 'memory'],
    ] as const)
      if (on && changed(resource))
        return {
          reason: 'Infeasible',
          message: `Resize is infeasible for Guaranteed Pods alongside ${manager} Manager policy "${policy}"`,
        };
    return undefined;
  }

  /** What a pod had alone is free again. */
  release(uid: string): void {
    for (const container of [...(this.#cpu?.state.assigned.get(uid)?.keys() ?? [])]) this.#cpu!.release(uid, container);
    for (const container of [...(this.#memory?.state.assigned.get(uid)?.keys() ?? [])])
      this.#memory!.release(uid, container);
    this.devices?.release(uid);
  }

  /** The same, once its containers are dead. */
  released(uid: string): void {
    this.release(uid);
    this.dynamic?.release(uid);
    const { activity } = this.#o.ctx.clock;
    void activity.track(this.#save());
    this.#reconcileSoon();
  }

  /** Where a container is to run. */
  placement(pod: Pod, container: Container): LinuxContainerResources {
    const uid = pod.metadata.uid!;
    const cpus =
      this.#cpu === undefined ? '' : formatCpuSet(this.#cpu.exclusive(uid, container.name) ?? this.#cpu.state.shared);
    const nodes = this.#memory?.nodes(uid, container.name);
    return {
      ...(cpus === '' ? {} : { cpusetCpus: cpus }),
      ...(nodes === undefined ? {} : { cpusetMems: formatCpuSet(nodes) }),
    };
  }

  /** Whether a container has CPUs to itself: those need no quota. */
  hasExclusiveCpus(pod: Pod, container: Container): boolean {
    return (this.#cpu?.exclusive(pod.metadata.uid!, container.name)?.size ?? 0) > 0;
  }

  podHasExclusiveCpus(pod: Pod): boolean {
    return allContainers(pod).some((c) => this.hasExclusiveCpus(pod, c));
  }

  /** Serves who has what to monitors on the node (podresources v1). */
  async #servePodResources(): Promise<(() => Promise<void>) | undefined> {
    const { host, rootDir } = this.#o.ctx;
    if (host.socketAddress === undefined) return undefined;
    const folder = `${rootDir}/pod-resources`;
    await host.mkdir(folder, 0o750);
    await host.remove(`${folder}/kubelet.sock`);
    const { servePodResources } = await import('../devices/grpc.ts');
    return servePodResources(host.socketAddress(`${folder}/kubelet.sock`), this.#podResources());
  }

  #podResources(): PodResourcesSource {
    const container = (uid: string, c: Container): ContainerResourcesMessage => ({
      name: c.name,
      devices: this.devices?.devicesOf(uid, c.name) ?? [],
      cpuIds: sortedCpus(this.#cpu?.exclusive(uid, c.name) ?? []),
      memory: (this.#memory?.blocks(uid, c.name) ?? []).map(memoryMessage),
    });
    const pod = (p: Pod): PodResourcesMessage => ({
      name: p.metadata.name ?? '',
      namespace: p.metadata.namespace ?? '',
      containers: [...(p.spec?.initContainers ?? []).filter(isSidecar), ...(p.spec?.containers ?? [])].map((c) =>
        container(p.metadata.uid!, c),
      ),
    });
    const pods = (): readonly Pod[] => this.#o.activePods().map((a) => a.pod);
    const { metrics } = this.#o.ctx;
    const called = (name: 'list' | 'get' | 'get_allocatable'): void => {
      metrics?.count('pod_resources_endpoint_requests_total', ['v1']);
      metrics?.count(`pod_resources_endpoint_requests_${name}`, ['v1']);
    };
    return {
      list: () => {
        called('list');
        return pods().map(pod);
      },
      get: (namespace, name) => {
        called('get');
        const found = pods().find((p) => p.metadata.namespace === namespace && p.metadata.name === name);
        if (found === undefined) metrics?.count('pod_resources_endpoint_errors_get', ['v1']);
        return found === undefined ? undefined : pod(found);
      },
      allocatable: () => {
        called('get_allocatable');
        const memory: MemoryBlock[] = [];
        for (const [id, node] of this.#memory?.state.machine ?? [])
          for (const [type, t] of Object.entries(node.memoryMap))
            if (t.allocatable > 0) memory.push({ numaAffinity: [id], type, size: t.allocatable });
        const { reserved: kept = new Set<number>() } = this.#cpu ?? {};
        const cpus = this.#cpu === undefined ? [] : [...(this.#topology?.cpus.keys() ?? [])];
        return {
          devices: this.devices?.allDevices() ?? [],
          cpuIds: sortedCpus(cpus.filter((c) => !kept.has(c))),
          memory: memory.map(memoryMessage),
        };
      },
    };
  }

  #removeStale(): void {
    if (!this.#o.ready()) return;
    const active = new Map(
      this.#o.activePods().map((p) => [p.pod.metadata.uid!, new Set(allContainers(p.pod).map((c) => c.name))]),
    );
    for (const policy of [this.#cpu, this.#memory])
      for (const [uid, containers] of policy?.state.assigned ?? [])
        for (const name of [...containers.keys()]) if (active.get(uid)?.has(name) !== true) policy!.release(uid, name);
    this.devices?.keep((uid) => active.has(uid));
  }

  #reconcileSoon(): void {
    if (this.#cpu === undefined || this.#reconciling !== undefined) return;
    this.#reconciling = this.#o.ctx.clock.activity
      .track(this.#reconcile())
      .finally(() => (this.#reconciling = undefined));
  }

  /** Gives running containers the CPUs that are theirs now: the shared ones become fewer and more. */
  async #reconcile(): Promise<void> {
    const { ctx } = this.#o;
    this.#removeStale();
    await this.#save();
    const seen = new Set<string>();
    for (const { pod, containers } of this.#o.activePods())
      for (const c of containers) {
        seen.add(c.id);
        if (!c.running) continue;
        const cpus = formatCpuSet(this.#cpu!.exclusive(pod.metadata.uid!, c.name) ?? this.#cpu!.state.shared);
        if (cpus === '' || this.#given.get(c.id) === cpus) continue;
        try {
          await ctx.runtime.updateContainerResources(c.id, { cpusetCpus: cpus });
          this.#given.set(c.id, cpus);
        } catch (error) {
          // It may have ended meanwhile; otherwise the next round tries again.
          ctx.logger.debug('Failed to update container', { container: c.id, cpuSet: cpus, error });
        }
      }
    for (const id of this.#given.keys()) if (!seen.has(id)) this.#given.delete(id);
  }

  async stop(): Promise<void> {
    this.#timer?.cancel();
    await this.#endPodResources?.();
    await this.devices?.stop();
    await this.dynamic?.stop();
    await this.#reconciling;
    await this.#save();
  }
}
