/**
 * `PodWorker`: one pod on this node from its arrival to its removal. Works in passes: look at what the runtime has, do what is
 * missing, report the status. An idle pod holds no timer and no promise.
 */
import type { Refusal } from './admission.ts';
import { deepEqual } from '../api/helpers/deep-equal.ts';
import { timeMs } from '../api/time.ts';
import type { Container, Pod, PodStatus } from '../api/types/index.gen.ts';
import { compareResourceVersions } from '../client/resource-version.ts';
import { lazyPodFile } from './containers/container-config.ts';
import type { KillOptions } from './containers/container-kill.ts';
import { killContainer } from './containers/container-kill.ts';
import type { KubeletContext } from './context.ts';
import { podDir } from './context.ts';
import type { PodRuntimeFields } from './downward.ts';
import type { Eviction } from './eviction/eviction-manager.ts';
import type { LazyItem } from './host/node-host.ts';
import { countedReason } from './metrics/pod-gauges.ts';
import { PodStartup } from './metrics/pod-startup.ts';
import { countTerminations } from './metrics/terminations.ts';
import { PassLoop } from './pass-loop.ts';
import type { KillReason } from './pod-actions.ts';
import { computeActions } from './pod-actions.ts';
import { hasProbes, PodProbes } from './probes/pod-probes.ts';
import { PodResize } from './pod-resize.ts';
import { restartsAll } from './restart-all.ts';
import { errorText } from './object-cache.ts';
import type { RuntimeView } from './runtime-view.ts';
import { generatePodStatus } from './pod-status.ts';
import { newestOf } from './runtime-view.ts';
import type { SyncedPod } from './pod-sync.ts';
import { PodSync } from './pod-sync.ts';
import { podTermination } from './pod-termination.ts';
import { findContainer, formatPod, isHostNetwork } from './pod-util.ts';
import { PodView } from './pod-view.ts';
import type { ContainerEvent } from './runtime/container-runtime.ts';
import type { StatusOwner } from './status-manager.ts';
import { podStatusPatch } from './status-patch.ts';
import { PodVolumes } from './volumes/pod-volumes.ts';

/** What a worker asks of the kubelet it belongs to. */
export interface WorkerHome {
  readonly ctx: KubeletContext;
  /** Whether the pod fits on the node; says why not. Called once. `adopted`: it is there already. */
  admit(worker: PodWorker, adopted: boolean): Refusal | undefined | Promise<Refusal | undefined>;
  /** Takes the room that a running pod asks for now instead of what it had; says why not. */
  admitResize(pod: Pod): { reason: string; message: string } | undefined;
  /** The pod no longer takes room on the node: its containers are dead. */
  released(worker: PodWorker): void;
  /** Nothing of the pod is left; forget the worker. */
  finished(worker: PodWorker): void;
}

/** The API's picture of a pod that comes from elsewhere: where its status is told. */
export interface PodMirror {
  /** Undefined while there is none in the API. */
  readonly owner: StatusOwner | undefined;
  readonly status: PodStatus | undefined;
}

const retryMs = 10_000;
/** A resize that the node had no room for is looked at again after so long at the latest. */
const resizeRetryMs = 180_000;
const pendingStatusMs = 20;

export class PodWorker implements StatusOwner, SyncedPod {
  readonly uid: string;
  readonly home: WorkerHome;
  readonly ctx: KubeletContext;
  readonly runtimeView: PodView;
  readonly loop: PassLoop;
  probes: PodProbes | undefined;
  readonly volumes: PodVolumes;
  readonly #sync: PodSync;
  #pod: Pod;
  #startTime: number;
  #admitted = false;
  #failed: { reason: string; message: string } | undefined;
  #terminating: ReturnType<typeof podTermination> | undefined;
  #terminated = false;
  #deletedFromApi = false;
  /** What the pod was given first; the containers have it as long as there is no resize. */
  #base: Pod['spec'] | undefined;
  #resize: PodResize | undefined;
  /** Containers were there before this kubelet. */
  readonly #adopted: boolean;
  readonly #startup: PodStartup | undefined;
  readonly mirror: PodMirror | undefined;
  /** The pod is to end although nobody deleted it from the API: its file is gone. */
  #retired = false;
  #disruption: { readonly reason: string; readonly message: string } | undefined;
  /** Seconds, where the kubelet itself ends the pod. */
  #grace: number | undefined;
  #ended: PromiseWithResolvers<void> | undefined;

  /** `view`: what the runtime has of the pod from before this kubelet's start. `mirror`: of a pod that is not the API's own. */
  constructor(home: WorkerHome, pod: Pod, view: RuntimeView | undefined, mirror?: PodMirror) {
    this.home = home;
    this.ctx = home.ctx;
    this.uid = pod.metadata.uid!;
    this.#pod = pod;
    this.runtimeView = new PodView(this.ctx, this.uid, view);
    this.loop = new PassLoop(
      this.ctx.clock,
      () => this.#startup?.timed(this.ending(), () => this.#pass()) ?? this.#pass(),
      (error) => {
        this.ctx.logger.warn('Error syncing pod, skipping', { pod: formatPod(this.#pod), error });
        this.loop.wakeAt(this.ctx.clock.now() + retryMs);
      },
    );
    this.#sync = new PodSync(this);
    this.#adopted = view !== undefined;
    this.mirror = mirror;
    const { clock, metrics } = this.ctx;
    if (metrics !== undefined && view === undefined) this.#startup = new PodStartup(metrics, clock, pod);
    this.volumes = new PodVolumes(this.ctx, this.uid, () => this.notify());
    const started = timeMs(pod.status?.startTime);
    this.#startTime = Number.isNaN(started) || started <= 0 ? this.ctx.clock.now() : started;
  }

  get apiPod(): Pod {
    return this.#pod;
  }

  get view(): RuntimeView {
    return this.runtimeView.now;
  }

  get resize(): PodResize | undefined {
    return this.#resize;
  }

  /** Whether the pod's containers are dead for good. */
  get terminated(): boolean {
    return this.#terminated;
  }

  /** The pod with the resources that it has been given. */
  get allocatedPod(): Pod {
    return this.#resize === undefined ? this.#pod : this.#resize.allocatedPod(this.#pod);
  }

  /** Waits for room to grow. */
  get resizePending(): boolean {
    return this.#resize?.pending !== undefined;
  }

  get #statusOwner(): StatusOwner | undefined {
    return this.mirror === undefined ? this : this.mirror.owner;
  }

  /** The status that others were last told. */
  get #toldStatus(): PodStatus {
    const owner = this.#statusOwner;
    const pending = owner === undefined ? undefined : this.ctx.statuses.pending(owner.uid);
    return pending ?? (this.mirror === undefined ? this.#pod.status : this.mirror.status) ?? {};
  }

  #tell(status: PodStatus): void {
    const owner = this.#statusOwner;
    if (owner !== undefined && !this.#deletedFromApi && !this.#retired) this.ctx.statuses.set(owner, status);
  }

  get rejected(): boolean {
    return this.#failed !== undefined && !this.#admitted;
  }

  get podIps(): readonly string[] {
    if (isHostNetwork(this.#pod)) return this.ctx.nodeIps();
    const network = this.view.sandboxes[0]?.network;
    return network === undefined || network.ip === '' ? [] : [network.ip, ...network.additionalIps];
  }

  /** A newer state of the pod from the API: from the watch, or as the answer to a write of ours. */
  update(pod: Pod): void {
    const before = this.#pod;
    const a = pod.metadata;
    const b = before.metadata;
    if (compareResourceVersions(a.resourceVersion, b.resourceVersion) <= 0) return;
    // What is equal keeps its identity, so that a status write that comes back is no change.
    const same = a.generation === b.generation && deepEqual(pod.spec, before.spec);
    this.#pod = same && pod.spec !== before.spec ? { ...pod, spec: before.spec } : pod;
    this.#startup?.observed(pod, this.view.containers, this.ctx.images.pulling(this.uid));
    const deletion =
      a.deletionTimestamp !== b.deletionTimestamp || a.deletionGracePeriodSeconds !== b.deletionGracePeriodSeconds;
    if (deletion) {
      this.#terminating?.shorten(a.deletionGracePeriodSeconds);
      if (this.#terminated) {
        this.#finalize();
        return;
      }
    }
    if (
      deletion ||
      !same ||
      !deepEqual(a.labels, b.labels) ||
      !deepEqual(a.annotations, b.annotations) ||
      // Others have written what is the kubelet's to say, a readiness gate, or the pod's end.
      (!this.ctx.statuses.writing(this.uid) && !deepEqual(pod.status, before.status))
    )
      this.notify();
  }

  written(pod: Pod, wanted: PodStatus): void {
    const newer = pod.metadata.resourceVersion !== this.#pod.metadata.resourceVersion;
    this.update(pod);
    // Others wrote at the same time. (A server that rewrites what it is told is not asked again.)
    if (newer && podStatusPatch(this.uid, pod.status ?? {}, wanted) !== undefined) this.notify();
  }

  gone(): void {
    this.removed();
  }

  /** Content of the pod's directory that is made on first sight. */
  lazyContent(path: string): Promise<LazyItem> | undefined {
    return (
      lazyPodFile(this.ctx, this.#pod, path, this.podIps) ?? this.volumes.lazyContent(this.#pod, path, this.fields())
    );
  }

  /** The pod is gone from the API: end what is left without reporting. */
  removed(): void {
    this.#deletedFromApi = true;
    if (this.#terminated) this.#forget();
    else {
      this.#terminating?.shorten(0);
      this.notify();
    }
  }

  /** Ends the pod on the kubelet's own account; resolves when its containers are dead. */
  evict(e: Eviction): Promise<void> {
    if (this.#terminated) return Promise.resolve();
    this.#failed ??= { reason: e.reason, message: e.message };
    this.#disruption ??= e.condition;
    this.#grace = Math.min(this.#grace ?? Infinity, e.graceSeconds);
    this.#terminating?.shorten(e.graceSeconds);
    this.#ended ??= Promise.withResolvers<void>();
    this.notify();
    return this.#ended.promise;
  }

  /** Ends the pod gracefully and forgets it: it has gone from where it came from. */
  retire(): void {
    this.#retired = true;
    if (this.#terminated) this.#forget();
    else this.notify();
  }

  /** Something happened that may need work. */
  notify(): void {
    this.loop.notify();
  }

  onRuntimeEvent(event: ContainerEvent): void {
    // Creation and start are this worker's own doing.
    if (event.containerEventType !== 'CONTAINER_STOPPED_EVENT') return;
    this.runtimeView.stale = true;
    this.notify();
  }

  /** Makes the next pass look at the runtime again. */
  relist(): void {
    this.runtimeView.stale = true;
    this.notify();
  }

  async #pass(): Promise<void> {
    if (this.#terminated) {
      this.#finalize();
      return;
    }
    if (this.runtimeView.stale) await this.refresh();
    const pod = this.#pod;
    const ended = pod.status?.phase === 'Succeeded' || pod.status?.phase === 'Failed';
    if (this.#adopted && this.#base === undefined) {
      this.#base = pod.spec;
      this.#resize = await PodResize.adopt(this.ctx, this.home, pod);
    }
    if (!this.#admitted && !ended && pod.metadata.deletionTimestamp === undefined && !this.leaving) {
      // What ran before this kubelet was started has its place already.
      const answer = this.home.admit(this, this.view.containers.length > 0);
      // A critical pod waits until others have made room.
      const refused = answer instanceof Promise ? await answer : answer;
      if (refused !== undefined) {
        this.#reject(refused);
        return;
      }
      this.#admitted = true;
      this.#startup?.working(pod);
    }
    if (ended && this.view.sandboxes.length === 0) {
      // It ended before this kubelet's time; the API has its status.
      this.#terminated = true;
      this.#finalize();
      return;
    }
    if (ended || pod.metadata.deletionTimestamp !== undefined || this.leaving) {
      await this.#terminate();
      return;
    }
    if (this.#failed !== undefined || this.#pastDeadline()) {
      await this.#terminate();
      return;
    }
    await this.#run();
  }

  /** Gone from where it came from. */
  get leaving(): boolean {
    return this.#deletedFromApi || this.#retired;
  }

  #reject(why: { reason: string; message: string }): void {
    this.ctx.metrics?.count('admission_rejections_total', [countedReason(why.reason)]);
    this.ctx.events.pod(this.#pod, 'Warning', why.reason, why.message);
    this.#failed = why;
    this.#terminated = true;
    this.#tell({
      ...this.#toldStatus,
      ...(this.#pod.metadata.generation === undefined ? {} : { observedGeneration: this.#pod.metadata.generation }),
      phase: 'Failed',
      reason: why.reason,
      message: `Pod was rejected: ${why.message}`,
      startTime: new Date(this.#startTime).toISOString().replace(/\.\d+Z$/, 'Z'),
    });
    this.home.released(this);
  }

  /** As `#reject`, of a pod whose work has begun: what was made for it goes again. */
  reject(why: { readonly reason: string; readonly message: string }): void {
    if (this.#failed !== undefined) return;
    this.ctx.metrics?.count('admission_rejections_total', [countedReason(why.reason)]);
    this.ctx.events.pod(this.#pod, 'Warning', why.reason, why.message);
    this.#failed = { reason: why.reason, message: `Pod was rejected: ${why.message}` };
    this.notify();
  }

  #pastDeadline(): boolean {
    const seconds = this.#pod.spec?.activeDeadlineSeconds;
    if (seconds === undefined) return false;
    const at = this.#startTime + seconds * 1000;
    if (this.ctx.clock.now() < at) {
      this.loop.wakeAt(at);
      return false;
    }
    if (this.#failed === undefined) {
      this.#failed = {
        reason: 'DeadlineExceeded',
        message: 'Pod was active on the node longer than the specified deadline',
      };
      this.ctx.events.pod(this.#pod, 'Normal', 'DeadlineExceeded', this.#failed.message);
    }
    return true;
  }

  /** Reads everything the runtime has of this pod. */
  async refresh(): Promise<void> {
    await this.runtimeView.refresh();
    this.updateProbes();
  }

  updateProbes(): void {
    if (this.probes === undefined) {
      if (this.#terminating !== undefined || !hasProbes(this.#pod)) return;
      this.probes = new PodProbes(
        this.ctx,
        () => this.#pod,
        () => this.podIps[0] ?? '',
        () => {
          // A pod that is ending tells of its readiness meanwhile.
          if (this.#terminating !== undefined && !this.#terminated) this.report();
          this.notify();
        },
        (name, id) => this.#foundBefore(name, id),
      );
    }
    const running = new Map<string, { id: string; startedAt: number }>();
    for (const c of this.view.containers)
      if (c.state === 'CONTAINER_RUNNING' && !running.has(c.metadata.name))
        running.set(c.metadata.name, { id: c.id, startedAt: c.startedAt });
    this.probes.update(running);
  }

  /** What the API says of a container instance that was there before this kubelet. */
  #foundBefore(name: string, id: string): { readonly started: boolean; readonly ready: boolean } | undefined {
    if (!this.#adopted) return undefined;
    const status = this.#toldStatus;
    const all = [...(status.containerStatuses ?? []), ...(status.initContainerStatuses ?? [])];
    const found = all.find((s) => s.name === name && s.containerID?.endsWith(`//${id}`) === true);
    return found === undefined ? undefined : { started: found.started === true, ready: found.ready };
  }

  started(name: string, id: string): boolean {
    const container = findContainer(this.#pod.spec!, name)?.container;
    return container?.startupProbe === undefined || this.probes?.result(name, id, 'startup') === true;
  }

  #ready(name: string, id: string): boolean {
    const container = findContainer(this.#pod.spec!, name)?.container;
    return container?.readinessProbe === undefined || this.probes?.result(name, id, 'readiness') === true;
  }

  /** The status as it is now; handed to the API when `write`. */
  report(terminal = false): PodStatus {
    const allocated = this.allocatedPod;
    const status = generatePodStatus({
      pod: this.mirror === undefined ? allocated : { ...allocated, status: this.mirror.status },
      old: this.#toldStatus,
      view: this.view,
      runtimeName: this.ctx.runtimeName,
      waiting: this.#sync.waiting,
      messages: this.runtimeView.messages,
      started: (n, id) => this.started(n, id),
      ready: (n, id) => this.#ready(n, id),
      hostIps: this.ctx.nodeIps(),
      now: this.ctx.clock.now(),
      startTime: this.#startTime,
      terminal,
      failed: this.#failed,
      disruption: this.#disruption,
      recursiveReadOnly: this.#recursiveReadOnly,
      resize: this.#resize,
    });
    if (this.ctx.metrics !== undefined) {
      countTerminations(this.ctx.metrics, this.#toldStatus, status);
      if (status.phase === 'Running') this.#startup?.running();
    }
    this.#tell(status);
    return status;
  }

  get #recursiveReadOnly(): boolean {
    const handler = this.view.sandboxes[0]?.runtimeHandler ?? '';
    const known = this.ctx.runtimeHandlers().find((h) => h.name === handler);
    return known?.features?.recursiveReadOnlyMounts === true;
  }

  restartCount(name: string): number {
    const { containerStatuses, initContainerStatuses } = this.#toldStatus;
    for (const list of [containerStatuses, initContainerStatuses])
      for (const s of list ?? []) if (s.name === name) return s.restartCount;
    return 0;
  }

  fields(): PodRuntimeFields {
    return {
      nodeName: this.ctx.nodeName,
      hostIps: this.ctx.nodeIps(),
      podIps: this.podIps,
      allocatable: (this.ctx.node()?.status?.allocatable ?? {}) as Record<string, string>,
    };
  }

  /** What the spec asks for now is allocated where there is room. */
  async #allocate(): Promise<void> {
    const pod = this.#pod;
    if (this.#resize === undefined) {
      const base = this.#base;
      this.#base = pod.spec;
      if (base === undefined || base === pod.spec || PodResize.sameResources(base, pod.spec)) return;
      this.#resize = PodResize.from(this.ctx, this.home, { ...pod, spec: base });
    }
    await this.#resize.allocate(pod);
    if (this.#resize.pending !== undefined) this.loop.wakeAt(this.ctx.clock.now() + resizeRetryMs);
  }

  async #run(): Promise<void> {
    const { ctx } = this;
    await this.#allocate();
    const pod = this.allocatedPod;
    if (restartsAll(pod, this.view, this.#toldStatus)) {
      this.report();
      await this.#sync.reset(pod);
      await this.refresh();
      if (!this.ending()) this.report();
      this.loop.again();
      return;
    }
    const actions = computeActions(pod, this.view, {
      failed: (n, id, type) => this.probes?.result(n, id, type) === false,
      started: (n, id) => this.started(n, id),
    });
    if (actions.killPod && !actions.createSandbox) {
      // Every container has come to its end.
      await this.#terminate();
      return;
    }
    const network = ctx.networkError();
    if (network !== undefined && !isHostNetwork(pod) && actions.createSandbox) {
      this.report();
      ctx.events.pod(pod, 'Warning', 'NetworkNotReady', `network is not ready: ${network}`);
      this.loop.wakeAt(ctx.clock.now() + retryMs);
      return;
    }
    // What starts at once is reported once; what takes time is reported as pending meanwhile.
    const busy =
      actions.createSandbox || actions.toStart.length > 0 || actions.initToStart.length > 0 || actions.kills.length > 0;
    const early = busy ? ctx.clock.setTimer(pendingStatusMs, () => void this.report()) : undefined;
    try {
      await this.#sync.perform(pod, actions);
    } finally {
      early?.cancel();
      if (this.runtimeView.stale) await this.refresh();
      // A pod that has come to its end is reported once it has been ended.
      if (this.#isOver()) this.loop.again();
      else if (!this.loop.stopped && !this.#terminated) this.report();
    }
  }

  /** After a pass: nothing runs and nothing is to be started. */
  #isOver(): boolean {
    const spec = this.#pod.spec!;
    if (this.view.containers.length === 0) return false;
    const actions = computeActions(this.#pod, this.view, {
      failed: () => false,
      started: (n, id) => this.started(n, id),
    });
    return (
      actions.killPod &&
      !actions.createSandbox &&
      spec.containers.every((c) => newestOf(this.view, c.name)?.state !== 'CONTAINER_RUNNING')
    );
  }

  /** Nothing more is to be started. */
  ending(): boolean {
    return (
      this.#pod.metadata.deletionTimestamp !== undefined ||
      this.leaving ||
      this.#failed !== undefined ||
      this.loop.stopped
    );
  }

  /** Seconds that a container has to end when it is killed for `reason`. */
  graceFor(container: Container, reason: KillReason | undefined): number {
    const { metadata, spec } = this.#pod;
    if (metadata.deletionGracePeriodSeconds !== undefined && metadata.deletionTimestamp !== undefined)
      return metadata.deletionGracePeriodSeconds;
    const own =
      reason === 'liveness'
        ? container.livenessProbe?.terminationGracePeriodSeconds
        : reason === 'startup'
          ? container.startupProbe?.terminationGracePeriodSeconds
          : undefined;
    return own ?? spec?.terminationGracePeriodSeconds ?? 30;
  }

  /** Runs the preStop hook and stops the container. */
  killContainer(container: Container, id: string, options: KillOptions): Promise<void> {
    return killContainer(this.ctx, this.#pod, container, id, this.podIps[0] ?? '', options);
  }

  async #terminate(): Promise<void> {
    this.#terminating ??= podTermination(this);
    const early = this.ctx.clock.setTimer(pendingStatusMs, () => {
      if (this.view.containers.length > 0) this.report();
    });
    try {
      await this.#terminating.run(this.#deletedFromApi ? 0 : this.#grace);
    } catch (error) {
      if (!this.loop.stopped)
        this.ctx.events.pod(this.#pod, 'Warning', 'FailedKillPod', `error killing pod: ${errorText(error)}`);
      throw error;
    } finally {
      early.cancel();
    }
    if (this.loop.stopped) return;
    await this.refresh();
    this.probes?.stop();
    this.probes = undefined;
    await this.volumes.remove();
    await this.ctx.cgroups.removePod(this.#pod);
    this.#terminated = true;
    this.#sync.clear();
    this.report(true);
    this.#ended?.resolve();
    this.home.released(this);
    this.#finalize();
  }

  /** After the end: the API object is removed when its deletion was asked for, and then what the runtime keeps. */
  #finalize(): void {
    if (this.leaving) this.#forget();
    else if (this.#pod.metadata.deletionTimestamp !== undefined) this.ctx.statuses.remove(this);
  }

  #forget(): void {
    if (this.loop.stopped) return;
    this.stop();
    const owner = this.#statusOwner;
    if (owner !== undefined) this.ctx.statuses.forget(owner.uid);
    this.ctx.images.forget(this.uid);
    this.ctx.probeMetrics.forget(this.uid);
    this.ctx.userNamespaces.release(this.uid);
    this.ctx.crashLoop.forget(`${this.uid}_`);
    this.home.finished(this);
    void this.#cleanUp();
  }

  async #cleanUp(): Promise<void> {
    try {
      for (const s of this.view.sandboxes) await this.ctx.runtime.removePodSandbox(s.id);
      await this.ctx.host.remove(podDir(this.ctx, this.uid));
    } catch (error) {
      this.ctx.logger.warn('Failed to clean up after pod', { pod: formatPod(this.#pod), error });
    }
  }

  /** Leaves everything as it is: the kubelet stops. */
  stop(): void {
    this.loop.stop();
    this.probes?.stop();
    this.probes = undefined;
    this.volumes.stop();
    this.#terminating?.shorten(undefined);
  }
}
