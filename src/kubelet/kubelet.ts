/**
 * `createKubelet`: one node's agent. Registers the node, follows the pods bound to it, runs a worker for each over the two
 * seams, and serves the kubelet's HTTP API on any stream it is handed.
 */
import type { Duplex } from 'node:stream';
import type { KubeObject } from '../api/object.ts';
import { parseQuantity, quantityMilli, quantityValue } from '../api/quantity.ts';
import { parseDuration } from '../api/time.ts';
import { gitVersion } from '../api/version.ts';
import type { Node, Pod } from '../api/types/index.gen.ts';
import type { EventRecorder } from '../client/event-recorder.ts';
import { dropManagedFields, Informer } from '../client/informer.ts';
import type { ResourceClient } from '../client/client.ts';
import type { Refusal } from './admission.ts';
import { appArmorFault, infeasible, NodeAdmission } from './admission.ts';
import { podCgroup } from './cgroup-manager.ts';
import type { KubeletConfiguration } from './configuration/configuration.ts';
import { kubeletConfiguration, reserved } from './configuration/configuration.ts';
import { podUidLabel } from './containers/container-config.ts';
import type { KubeletContext, ServiceSource } from './context.ts';
import { createContext } from './create-context.ts';
import type { NodeHost } from './host/node-host.ts';
import type { KubeletOptions } from './kubelet-options.ts';
import { KubeletManagers } from './managers.ts';
import { KubeletMetrics } from './metrics/kubelet-metrics.ts';
import { meteredRuntime } from './metrics/metered-runtime.ts';
import { gaugePods } from './metrics/pod-gauges.ts';
import { deleteMirrorPod } from './mirror-pods.ts';
import { NodeStatusManager } from './node-status.ts';
import { errorText } from './object-cache.ts';
import type { RuntimeView } from './runtime-view.ts';
import { isCriticalPod, isMirrorPod } from './pod-util.ts';
import type { Holder, Shortage } from './preemption.ts';
import { podsToPreempt, preemption } from './preemption.ts';
import type { PodMirror, WorkerHome } from './pod-worker.ts';
import { PodWorker } from './pod-worker.ts';
import type { ContainerRuntime, PodSandboxStatus } from './runtime/container-runtime.ts';
import type { KubeletListenOptions, KubeletServer, Place } from './server/server.ts';
import type { ClaimUsage } from './server/metrics.ts';
import { managerMetrics } from './server/metrics.ts';
import { createKubeletServer } from './server/server.ts';
import type { PodDisk } from './server/stats.ts';
import { podSource } from './server/worker-pods.ts';
import { claimName } from './volumes/layout.ts';
import type { VolumeManager } from './volumes/volume-manager.ts';

export interface Kubelet {
  readonly nodeName: string;
  /** Registers the node and begins; resolves when the node exists and its pods are followed. */
  start(): Promise<void>;
  /** Stops at once and leaves containers as they are. */
  stop(): Promise<void>;
  /** Serves the kubelet's API (HTTP/1.1) on a connection that comes from the API server itself. */
  serve(stream: Duplex): void;
  /** Opens the kubelet's HTTPS endpoint, for API servers in other processes. */
  listen(options: KubeletListenOptions): Promise<Place>;
  /** Opens the endpoint of `readOnlyPort`. */
  listenReadOnly(options: Place): Promise<Place>;
  readonly node: Node | undefined;
  readonly pods: readonly Pod[];
  readonly runtime: ContainerRuntime;
  readonly host: NodeHost;
  readonly nodeStatus: NodeStatusManager;
  readonly volumes: VolumeManager;
}

export function createKubelet(options: KubeletOptions): Kubelet {
  return new KubeletImpl(options);
}

/** How often a real host is searched for what is left of pods. */
const housekeepingMs = 60_000;

class KubeletImpl implements Kubelet, WorkerHome {
  readonly nodeName: string;
  readonly ctx: KubeletContext;
  readonly runtime: ContainerRuntime;
  readonly host: NodeHost;
  readonly nodeStatus: NodeStatusManager;
  readonly #o: KubeletOptions;
  readonly #workers = new Map<string, PodWorker>();
  readonly #byName = new Map<string, PodWorker>();
  readonly #admission: NodeAdmission;
  readonly #pods: Informer<Pod & KubeObject>;
  readonly #nodes: Informer<Node & KubeObject> | undefined;
  readonly #ownServices: (ServiceSource & { start(): void; stop(): Promise<void> }) | undefined;
  readonly #recorder: EventRecorder | undefined;
  readonly #server: KubeletServer;
  readonly #configuration: KubeletConfiguration | undefined;
  readonly #managers: KubeletManagers | undefined;
  #found: Map<string, PodSandboxStatus[]> | undefined;
  #node: Node | undefined;
  #ips: readonly string[] = [];
  #unlisten: (() => void)[] = [];
  #cidr = '';
  #stopped = false;
  #synced = false;
  /** The step of the start under way that opens what `stop` closes. */
  #opening: Promise<unknown> | undefined;

  constructor(o: KubeletOptions) {
    this.#o = o;
    this.nodeName = o.nodeName;
    this.runtime = o.runtime;
    this.host = o.host;
    const { client, clock, random } = o;
    const logger = o.logger.with({ node: o.nodeName });
    const configuration = o.configuration === undefined ? undefined : kubeletConfiguration(o.configuration);
    this.#configuration = configuration;
    const metrics = configuration === undefined ? undefined : new KubeletMetrics();
    const runtime = metrics === undefined ? o.runtime : meteredRuntime(o.runtime, metrics, clock);
    if (metrics !== undefined) gaugePods(metrics, () => this.#workers.values());
    const maxPods = o.maxPods ?? configuration?.maxPods ?? 110;
    this.#admission = new NodeAdmission(configuration?.allowedUnsafeSysctls);
    const shared = createContext(o, {
      configuration,
      metrics,
      runtime,
      logger,
      maxPods,
      node: () => this.#node,
      nodeIps: () => this.#ips,
      nodeStatus: () => this.nodeStatus,
    });
    this.#ownServices = shared.ownServices;
    this.#recorder = shared.recorder;
    this.ctx = shared.ctx;
    this.nodeStatus = new NodeStatusManager(
      this.ctx,
      {
        nodeName: o.nodeName,
        labels: o.nodeLabels,
        annotations: o.nodeAnnotations,
        taints: o.registerWithTaints,
        providerId: o.providerId,
        cloudProvider: o.cloudProvider,
        unschedulable: o.registerSchedulable === false,
        capacity: o.capacity,
        allocatable: o.allocatable,
        maxPods,
        podCidrs: o.podCidrs,
        kubeletVersion: o.kubeletVersion ?? gitVersion,
        port: o.port ?? 10250,
        leaseDurationSeconds: o.leaseDurationSeconds ?? configuration?.nodeLeaseDurationSeconds ?? 40,
        statusReportMs:
          o.statusReportMs ??
          (configuration === undefined ? 300_000 : parseDuration(configuration.nodeStatusReportFrequency)),
        register: o.registerNode ?? true,
        ...(configuration === undefined ? {} : { configuration }),
      },
      (node) => this.#setNode(node),
    );
    this.ctx.volumes.onInUse = () => this.nodeStatus.reportSoon();
    if (configuration !== undefined)
      this.#managers = new KubeletManagers({
        ctx: this.ctx,
        configuration,
        nodeStatus: this.nodeStatus,
        workers: () => this.#workers.values(),
        worker: (uid) => this.#workers.get(uid),
        ready: () => this.#synced,
        addStatic: (pod, mirror) => this.#addStatic(pod, mirror),
      });
    this.#pods = new Informer({
      client: client.core.pods as unknown as ResourceClient<Pod & KubeObject>,
      clock,
      random,
      logger,
      fieldSelector: `spec.nodeName=${o.nodeName}`,
      transform: dropManagedFields,
    });
    this.#pods.addHandler({
      onAdd: (pod) => (isMirrorPod(pod) ? this.#observeMirror(pod) : this.#addPod(pod)),
      onUpdate: (_, pod) => (isMirrorPod(pod) ? this.#observeMirror(pod) : this.#updatePod(pod)),
      onDelete: (pod) =>
        isMirrorPod(pod) ? this.#managers?.staticPods?.lost(pod) : this.#workers.get(pod.metadata.uid!)?.removed(),
    });
    if ((o.watchNode ?? true) || o.podCidrs === undefined || o.podCidrs.length === 0) {
      this.#nodes = new Informer({
        client: client.core.nodes as unknown as ResourceClient<Node & KubeObject>,
        clock,
        random,
        logger,
        fieldSelector: `metadata.name=${o.nodeName}`,
        transform: dropManagedFields,
      });
      this.#nodes.addHandler({ onAdd: (n) => this.#observeNode(n), onUpdate: (_, n) => this.#observeNode(n) });
    }
    this.#server = createKubeletServer({
      nodeName: o.nodeName,
      runtime,
      host: o.host,
      clock,
      logger,
      pods: podSource(
        (namespace, name) => this.#byName.get(`${namespace}/${name}`),
        () => this.pods,
      ),
      cgroupOf: (pod) => (pod === undefined ? undefined : o.host.cgroups?.parentName(podCgroup(pod))),
      metrics: () => this.#moreMetrics(),
      probeMetrics: () => this.ctx.probeMetrics.text(),
      ...(configuration === undefined
        ? {}
        : {
            debugging: configuration.enableDebuggingHandlers,
            nodeLogs: configuration.enableSystemLogHandler,
            streamingIdleTimeoutMs: parseDuration(configuration.streamingConnectionIdleTimeout),
            configuration: () => ({ ...o.configz, ...configuration }),
            diskOf: (pod: Pod) => this.#diskOf(pod),
          }),
    });
  }

  get volumes(): VolumeManager {
    return this.ctx.volumes;
  }

  get node(): Node | undefined {
    return this.#node;
  }

  get pods(): readonly Pod[] {
    return [...this.#workers.values()].map((w) => w.apiPod);
  }

  async start(): Promise<void> {
    const { runtime, host, clock } = this.ctx;
    this.ctx.runtimeName = (await runtime.version()).runtimeName;
    this.#ips = (await host.addresses()).filter((a) => a.type === 'InternalIP').map((a) => a.address);
    if (this.#o.podCidrs !== undefined && this.#o.podCidrs.length > 0) await this.#setCidr(this.#o.podCidrs.join(','));
    this.#admission.appArmorFault = await appArmorFault(host);
    await this.#findSandboxes();
    if (this.#stopped) return;
    this.#unlisten.push(
      runtime.events((e) => this.#workers.get(e.podUid)?.onRuntimeEvent(e)),
      this.ctx.images.onChange(() => this.nodeStatus.imagesChanged()),
    );
    const pods = `${this.ctx.rootDir}/pods`;
    const lazy = host.lazy?.provide(pods, (path) => {
      const end = path.indexOf('/', pods.length + 1);
      return end === -1 ? undefined : this.#workers.get(path.slice(pods.length + 1, end))?.lazyContent(path);
    });
    if (lazy !== undefined) this.#unlisten.push(lazy);
    this.#ownServices?.start();
    this.ctx.events.node('Normal', 'Starting', 'Starting kubelet.');
    await this.nodeStatus.start();
    await this.#open(() => this.ctx.cgroups.start(this.#forPods()));
    await this.#open(() => this.ctx.volumes.start());
    await this.#open(() => this.#managers?.startResources());
    await this.#open(() => this.#managers?.startStaticPods());
    if (this.#stopped) return;
    this.#nodes?.start();
    await this.ctx.services.ready();
    if (this.#stopped) return;
    this.#pods.start();
    await clock.activity.track(this.#pods.synced);
    this.#synced = true;
    await this.#removeOrphans();
    if (this.#stopped) return;
    await this.#managers?.start();
    if (this.#stopped) return;
    // A host whose files are real may keep what could not be cleared away at once.
    if (host.lazy === undefined) {
      const ticker = clock.setTicker(housekeepingMs, () => void clock.activity.track(this.#removeRemains()));
      this.#unlisten.push(() => ticker.cancel());
    }
  }

  /** What a step of the start opens can be closed only once it is open: `stop` waits for it. */
  async #open(step: () => Promise<void> | undefined): Promise<void> {
    if (this.#stopped) return;
    this.#opening = step();
    try {
      await this.#opening;
    } finally {
      this.#opening = undefined;
    }
  }

  /** What an earlier kubelet left running. */
  async #findSandboxes(): Promise<void> {
    const sandboxes = await this.runtime.listPodSandbox();
    if (sandboxes.length === 0) return;
    this.#found = new Map();
    for (const s of sandboxes) {
      const uid = s.labels[podUidLabel] ?? s.metadata.uid;
      let list = this.#found.get(uid);
      if (list === undefined) this.#found.set(uid, (list = []));
      list.push(s);
    }
    for (const list of this.#found.values())
      list.sort((a, b) => b.createdAt - a.createdAt || b.metadata.attempt - a.metadata.attempt);
  }

  /** Sandboxes of pods that the API no longer knows. */
  async #removeOrphans(): Promise<void> {
    const found = this.#found;
    this.#found = undefined;
    for (const [uid, sandboxes] of found ?? []) {
      if (this.#workers.has(uid)) continue;
      this.ctx.logger.info('Cleaning up orphaned pod', { uid });
      this.ctx.metrics?.count('orphaned_runtime_pods_total');
      for (const s of sandboxes) {
        if (this.#stopped) return;
        await this.runtime.stopPodSandbox(s.id);
        await this.runtime.removePodSandbox(s.id);
      }
    }
    await this.#removeRemains();
  }

  /** Directories and cgroups of pods that are not on this node any more. */
  async #removeRemains(): Promise<void> {
    const known = (uid: string): boolean => this.#workers.has(uid);
    try {
      await this.ctx.volumes.removeOrphans(known);
      await this.ctx.cgroups.removeOrphans(known);
    } catch (error) {
      if (!this.#stopped) this.ctx.logger.warn('Failed to clean up orphaned pods', { error });
    }
  }

  /** What the node's pods may have together: its capacity less what it keeps for itself. */
  #forPods(): Record<string, string> {
    const capacity = (this.#node?.status?.capacity ?? {}) as Record<string, string>;
    const c = this.#configuration;
    if (c === undefined) return capacity;
    const out: Record<string, string> = { ...capacity };
    for (const name of ['cpu', 'memory']) {
      const kept = reserved(c, name);
      if (kept === 0 || capacity[name] === undefined) continue;
      const all = parseQuantity(capacity[name]);
      out[name] = name === 'cpu' ? `${quantityMilli(all) - kept}m` : String(quantityValue(all) - kept);
    }
    return out;
  }

  /** What `/metrics` tells beside the server's own: evictions, and what claims' volumes hold. */
  async #moreMetrics(): Promise<string> {
    const managers = this.#managers;
    const process = this.#o.processMetrics?.() ?? '';
    if (managers === undefined) return process;
    const claims: ClaimUsage[] = [];
    for (const w of this.#workers.values()) {
      const usage = await this.ctx.volumes.claimUsage(w.uid);
      for (const v of w.apiPod.spec?.volumes ?? []) {
        const claim = claimName(v, w.apiPod.metadata.name ?? '');
        const own = usage.get(v.name);
        if (claim !== undefined && own !== undefined)
          claims.push({ namespace: w.apiPod.metadata.namespace ?? '', claim, usage: own });
      }
    }
    return managerMetrics(managers.eviction.counts, claims) + this.ctx.metrics!.text() + process;
  }

  async #diskOf(pod: Pod): Promise<PodDisk> {
    const worker = this.#workers.get(pod.metadata.uid!);
    const containers = (worker?.view.containers ?? []).map((c) => ({
      name: c.metadata.name,
      logPath: c.logPath,
      running: c.state === 'CONTAINER_RUNNING',
    }));
    const claims = await this.ctx.volumes.claimUsage(pod.metadata.uid!);
    return this.#managers!.usage.summary({ pod, containers }, claims);
  }

  #addStatic(pod: Pod, mirror: PodMirror): PodWorker | undefined {
    if (this.#byName.has(`${pod.metadata.namespace}/${pod.metadata.name}`)) return undefined;
    return this.#work(pod, mirror);
  }

  #work(pod: Pod, mirror?: PodMirror): PodWorker {
    const uid = pod.metadata.uid!;
    const sandboxes = this.#found?.get(uid);
    const view: RuntimeView | undefined = sandboxes === undefined ? undefined : { sandboxes, containers: [] };
    const worker = new PodWorker(this, pod, view, mirror);
    this.#workers.set(uid, worker);
    this.#byName.set(`${pod.metadata.namespace}/${pod.metadata.name}`, worker);
    return worker;
  }

  #addPod(pod: Pod): void {
    const uid = pod.metadata.uid!;
    if (this.#workers.has(uid)) {
      this.#updatePod(pod);
      return;
    }
    this.#work(pod).notify();
  }

  #observeMirror(pod: Pod): void {
    const all = this.#managers?.staticPods;
    // Where there are no static pods, there is nothing that it could picture.
    if (all === undefined) void this.ctx.clock.activity.track(deleteMirrorPod(this.ctx, pod));
    else all.observe(pod);
  }

  #updatePod(pod: Pod): void {
    const worker = this.#workers.get(pod.metadata.uid!);
    if (worker === undefined) this.#addPod(pod);
    else worker.update(pod);
  }

  admit(worker: PodWorker, adopted: boolean): Refusal | undefined | Promise<Refusal | undefined> {
    const pod = worker.allocatedPod;
    const managers = adopted ? undefined : this.#managers?.admit(pod);
    if (managers !== undefined) return managers;
    if (this.ctx.resources === undefined) return this.#fit(worker, adopted);
    return this.ctx.resources.admit(pod).then(async (refused) => {
      const answer = refused ?? (await this.#fit(worker, adopted));
      if (answer !== undefined) this.ctx.resources?.released(worker.uid);
      return answer;
    });
  }

  #fit(worker: PodWorker, adopted: boolean): Refusal | undefined | Promise<Refusal | undefined> {
    const pod = worker.allocatedPod;
    const node = adopted ? undefined : this.#node;
    const refused = this.#admission.admit(pod, node, this.#o.watchNode ?? true);
    return refused?.missing !== undefined && isCriticalPod(pod) ? this.#preempt(worker, refused.missing) : refused;
  }

  /** Ends pods that a critical one must have the room of, and takes it in. */
  async #preempt(worker: PodWorker, missing: Shortage): Promise<Refusal | undefined> {
    const pod = worker.allocatedPod;
    const holders = [...this.#workers.values()]
      .filter((w) => w !== worker && !w.terminated)
      .map((w) => ({ pod: w.allocatedPod, worker: w, request: (name: string) => this.#admission.held(w.uid, name) }));
    let chosen: readonly Holder[];
    try {
      chosen = podsToPreempt(pod, holders, missing);
    } catch (error) {
      return {
        reason: 'UnexpectedAdmissionError',
        message: `Unexpected error while attempting to recover from admission failure: preemption: error finding a set of pods to preempt: ${errorText(error)}`,
      };
    }
    await Promise.all(
      chosen.map((h) => {
        const eviction = preemption(h.pod);
        this.ctx.events.pod(h.pod, 'Warning', eviction.reason, eviction.message);
        this.ctx.metrics?.count('preemptions', [missing.keys().next().value ?? '']);
        return (h as (typeof holders)[number]).worker.evict(eviction);
      }),
    );
    return this.#admission.admit(pod, this.#node, this.#o.watchNode ?? true);
  }

  admitResize(pod: Pod): Refusal | undefined {
    const allocated = this.#workers.get(pod.metadata.uid!)?.allocatedPod;
    const exclusive = allocated === undefined ? undefined : this.ctx.resources?.refuseResize(pod, allocated);
    return exclusive ?? infeasible(pod, this.#node) ?? this.#admission.resize(pod, this.#node);
  }

  released(worker: PodWorker): void {
    this.#admission.release(worker.uid);
    this.ctx.resources?.released(worker.uid);
    // What it held may be what another one waits for.
    for (const w of this.#workers.values()) if (w.resizePending) w.notify();
  }

  finished(worker: PodWorker): void {
    this.#admission.release(worker.uid);
    this.#workers.delete(worker.uid);
    const key = `${worker.apiPod.metadata.namespace}/${worker.apiPod.metadata.name}`;
    if (this.#byName.get(key) === worker) this.#byName.delete(key);
    this.#managers?.usage.forget(worker.uid);
    this.#managers?.staticPods?.finished(worker);
  }

  #setNode(node: Node): void {
    this.#node = node;
    for (const uid of this.ctx.volumes.readyToMount(node)) this.#workers.get(uid)?.notify();
    const cidrs = node.spec?.podCIDRs ?? (node.spec?.podCIDR === undefined ? [] : [node.spec.podCIDR]);
    if (cidrs.length > 0) void this.#setCidr(cidrs.join(','));
  }

  #observeNode(node: Node): void {
    this.nodeStatus.observe(node);
    this.#setNode(node);
    // Where the node is not to be followed for good, the pod range is all that is waited for.
    if (this.#o.watchNode === false && this.#cidr !== '') void this.#nodes?.stop();
  }

  async #setCidr(cidr: string): Promise<void> {
    if (cidr === this.#cidr || this.#stopped) return;
    this.#cidr = cidr;
    await this.#o.onPodCidrs?.(cidr.split(','));
    await this.runtime.updateRuntimeConfig({ podCidr: cidr });
    await this.nodeStatus.checkRuntime();
    this.nodeStatus.reportSoon();
    if (this.#synced) for (const w of this.#workers.values()) w.notify();
  }

  serve(stream: Duplex): void {
    this.#server.serve(stream);
  }

  listen(options: KubeletListenOptions): Promise<Place> {
    return this.#server.listen(options);
  }

  listenReadOnly(options: Place): Promise<Place> {
    return this.#server.listenReadOnly(options);
  }

  async stop(): Promise<void> {
    if (this.#stopped) return;
    this.#stopped = true;
    for (const u of this.#unlisten) u();
    this.#unlisten = [];
    this.nodeStatus.stop();
    // A start that fails tells its own caller so.
    if (this.#opening !== undefined) await Promise.allSettled([this.#opening]);
    // They stay known: what tidies up at this moment must not take their containers and volumes for nobody's.
    for (const w of this.#workers.values()) w.stop();
    this.ctx.statuses.stop();
    await Promise.all([
      this.#managers?.stop(),
      this.ctx.volumes.stop(),
      this.#server.close(),
      this.#pods.stop(),
      this.#nodes?.stop(),
      this.#ownServices?.stop(),
      this.ctx.objects.stop(),
      this.#recorder?.stop(),
    ]);
  }
}
