/**
 * The managers that watch over the node beside its pods: eviction, garbage collection, log rotation, static pods, graceful shutdown.
 * They are there when the kubelet was given a configuration; simulated nodes go without them.
 */
import type { Timer } from '../base/clock.ts';
import { parseDuration } from '../api/time.ts';
import type { Pod } from '../api/types/index.gen.ts';
import type { KubeletConfiguration } from './configuration/configuration.ts';
import { ContainerGc } from './containers/container-gc.ts';
import type { KubeletContext } from './context.ts';
import type { EvictablePod } from './eviction/eviction-manager.ts';
import { EvictionManager } from './eviction/eviction-manager.ts';
import type { Condition } from './eviction/thresholds.ts';
import { ImageGc } from './images/image-gc.ts';
import type { LoggingContainer } from './log-rotation.ts';
import { LogRotation } from './log-rotation.ts';
import type { NodeStatusManager } from './node-status.ts';
import { PodUsageSource } from './pod-usage.ts';
import type { PodMirror, PodWorker } from './pod-worker.ts';
import { ResourceManagers } from './resources/resource-managers.ts';
import { ShutdownManager } from './shutdown-manager.ts';
import type { StaticPods } from './static-pods/static-pods.ts';

export interface ManagersHome {
  readonly ctx: KubeletContext;
  readonly configuration: KubeletConfiguration;
  readonly nodeStatus: NodeStatusManager;
  workers(): Iterable<PodWorker>;
  worker(uid: string): PodWorker | undefined;
  /** All pods of the node are known. */
  ready(): boolean;
  /** Begins to work on a static pod; undefined while another of its name runs. */
  addStatic(pod: Pod, mirror: PodMirror): PodWorker | undefined;
}

const containerGcMs = 60_000;
const imageGcMs = 300_000;

const pressureEvents: Readonly<Record<Condition, readonly [string, string]>> = {
  MemoryPressure: ['NodeHasInsufficientMemory', 'NodeHasSufficientMemory'],
  DiskPressure: ['NodeHasDiskPressure', 'NodeHasNoDiskPressure'],
  PIDPressure: ['NodeHasInsufficientPID', 'NodeHasSufficientPID'],
};

export class KubeletManagers {
  readonly usage: PodUsageSource;
  readonly eviction: EvictionManager;
  readonly imageGc: ImageGc;
  readonly containerGc: ContainerGc;
  readonly logRotation: LogRotation;
  readonly shutdown: ShutdownManager;
  readonly resources: ResourceManagers;
  readonly #home: ManagersHome;
  readonly #timers: Timer[] = [];
  #static: StaticPods | undefined;
  #stopped = false;
  #pressure: ReadonlySet<Condition> = new Set();

  /** Throws one line when the configuration cannot be used. */
  constructor(home: ManagersHome) {
    const { ctx, configuration } = home;
    this.#home = home;
    this.usage = new PodUsageSource(ctx);
    this.imageGc = new ImageGc(ctx, configuration, () => this.#mountedImages());
    this.containerGc = new ContainerGc(ctx, {
      known: (uid) => home.worker(uid) !== undefined,
      ended: (uid) => home.worker(uid)?.terminated === true,
    });
    this.logRotation = new LogRotation(ctx, configuration, () => this.#logging());
    const activePods = (): readonly EvictablePod[] => this.#activePods();
    this.eviction = new EvictionManager({
      ctx,
      configuration,
      usage: this.usage,
      activePods,
      deleteUnusedContainers: () => this.containerGc.collect(true),
      deleteUnusedImages: () => this.imageGc.deleteUnused(),
      onPressure: (conditions) => this.#setPressure(conditions),
    });
    this.resources = new ResourceManagers({
      ctx,
      configuration,
      ready: () => home.ready(),
      onDevices: () => home.nodeStatus.reportSoon(),
      activePods: () => {
        const workers = [...home.workers()].filter((w) => !w.terminated && !w.rejected);
        return workers.map((w) => ({
          pod: w.allocatedPod,
          containers: w.view.containers.map((c) => ({
            id: c.id,
            name: c.metadata.name,
            running: c.state === 'CONTAINER_RUNNING',
          })),
        }));
      },
    });
    ctx.resources = this.resources;
    this.shutdown = new ShutdownManager({
      ctx,
      configuration,
      activePods,
      report: (reason) => home.nodeStatus.setShutdown(reason),
    });
  }

  /** What must be there before pods are: the static ones. */
  async startStaticPods(): Promise<void> {
    const { ctx, configuration } = this.#home;
    if (configuration.staticPodPath === '' && configuration.staticPodURL === '') return;
    // They bring the schema of pods along.
    const { StaticPods: Static } = await import('./static-pods/static-pods.ts');
    this.#static = new Static(ctx, configuration, { add: (pod, mirror) => this.#home.addStatic(pod, mirror) });
    await this.#static.start();
  }

  async start(): Promise<void> {
    const { ctx, configuration } = this.#home;
    const { clock, logger } = ctx;
    const every = (ms: number, work: () => Promise<void>): void => {
      let busy = false;
      this.#timers.push(
        clock.setTicker(ms, () => {
          if (busy) return;
          busy = true;
          void work().finally(() => (busy = false));
        }),
      );
    };
    await this.imageGc.start();
    if (this.#stopped) return;
    this.eviction.start();
    every(containerGcMs, () => this.containerGc.run());
    if (!this.imageGc.disabled) every(imageGcMs, () => this.imageGc.run());
    every(parseDuration(configuration.containerLogMonitorInterval), () => this.logRotation.run());
    await this.shutdown.start().catch((error: unknown) => {
      logger.warn('Graceful node shutdown is not possible on this machine', { error });
    });
  }

  /** What must be there before any pod is taken in. Rejects with one line for a machine that cannot do what is asked. */
  async startResources(): Promise<void> {
    try {
      await this.resources.start();
    } catch (error) {
      throw new Error(`failed to start container manager: ${(error as Error).message}`, { cause: error });
    }
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    await this.resources.stop();
    for (const t of this.#timers.splice(0)) t.cancel();
    this.eviction.stop();
    this.#static?.stop();
    await this.shutdown.stop();
  }

  /** Why a pod cannot be taken in now. */
  admit(pod: Pod): { reason: string; message: string } | undefined {
    return this.shutdown.admit() ?? this.eviction.admit(pod);
  }

  get staticPods(): StaticPods | undefined {
    return this.#static;
  }

  #activePods(): readonly EvictablePod[] {
    const out: EvictablePod[] = [];
    for (const w of this.#home.workers()) {
      if (w.terminated) continue;
      out.push({
        pod: w.allocatedPod,
        containers: w.view.containers.map((c) => ({
          name: c.metadata.name,
          logPath: c.logPath,
          running: c.state === 'CONTAINER_RUNNING',
        })),
        evict: (e) => w.evict(e),
      });
    }
    return out;
  }

  *#logging(): Generator<LoggingContainer> {
    for (const w of this.#home.workers())
      for (const c of w.view.containers)
        if (c.state === 'CONTAINER_RUNNING' && c.logPath !== '') yield { id: c.id, logPath: c.logPath };
  }

  *#mountedImages(): Generator<string> {
    for (const w of this.#home.workers())
      if (!w.terminated)
        for (const v of w.apiPod.spec?.volumes ?? []) if (v.image?.reference !== undefined) yield v.image.reference;
  }

  #setPressure(conditions: ReadonlySet<Condition>): void {
    const { ctx, nodeStatus } = this.#home;
    for (const [condition, [on, off]] of Object.entries(pressureEvents) as [Condition, readonly [string, string]][]) {
      if (conditions.has(condition) === this.#pressure.has(condition)) continue;
      const reason = conditions.has(condition) ? on : off;
      ctx.events.node('Normal', reason, `Node ${ctx.nodeName} status is now: ${reason}`);
    }
    this.#pressure = conditions;
    nodeStatus.pressure = {
      memory: conditions.has('MemoryPressure'),
      disk: conditions.has('DiskPressure'),
      pid: conditions.has('PIDPressure'),
    };
    nodeStatus.reportSoon();
  }
}
