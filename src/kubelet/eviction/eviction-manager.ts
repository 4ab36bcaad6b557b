/**
 * The eviction manager: watches the node's memory, disk and process numbers, raises the node's pressure conditions, frees what
 * nobody needs, and then ends one pod after another, in upstream's order, until the node has enough again.
 */
import type { Timer } from '../../base/clock.ts';
import { podLimits, podRequests } from '../../api/helpers/pod-resources.ts';
import { podQOSClass } from '../../api/helpers/pod-qos.ts';
import { isTolerated } from '../../api/helpers/taints.ts';
import { formatQuantity, newQuantity, parseQuantity, quantityValue } from '../../api/quantity.ts';
import { parseDuration } from '../../api/time.ts';
import type { Pod } from '../../api/types/index.gen.ts';
import type { KubeletConfiguration } from '../configuration/configuration.ts';
import type { KubeletContext } from '../context.ts';
import type { FilesystemStats } from '../host/node-host.ts';
import { isCriticalPod } from '../pod-util.ts';
import type { PodUsage, PodUsageSource, UsedPod } from '../pod-usage.ts';
import { localVolumes, sizeLimit } from '../pod-usage.ts';
import type { Condition, Observation, Observations, StarvedResource, Threshold } from './thresholds.ts';
import { amountOf, byUrgency, parseThresholds, quantityOf, signals, thresholdsMet } from './thresholds.ts';

/** Why and how a pod is ended on the kubelet's own account. */
export interface Eviction {
  readonly reason: string;
  readonly message: string;
  readonly graceSeconds: number;
  /** Tells that the pod was disrupted by the node (DisruptionTarget). */
  readonly condition?: { readonly reason: string; readonly message: string };
}

/** A pod that can be evicted. */
export interface EvictablePod extends UsedPod {
  /** Resolves when its containers are dead. */
  evict(eviction: Eviction): Promise<void>;
}

export interface EvictionManagerOptions {
  readonly ctx: KubeletContext;
  readonly configuration: KubeletConfiguration;
  readonly usage: PodUsageSource;
  /** Pods that have not ended. */
  activePods(): readonly EvictablePod[];
  /** Removes containers and images that nobody uses. */
  deleteUnusedContainers(): Promise<void>;
  deleteUnusedImages(): Promise<void>;
  /** The set of conditions has changed. */
  onPressure(conditions: ReadonlySet<Condition>): void;
}

const intervalMs = 10_000;
/** A pod that was evicted is given so long to be gone before another one is. */
const cleanupMs = 30_000;
const memoryTaint = 'node.kubernetes.io/memory-pressure';

interface Parts {
  readonly rootfs: boolean;
  readonly logs: boolean;
  readonly volumes: boolean;
}

export class EvictionManager {
  readonly #o: EvictionManagerOptions;
  readonly #thresholds: readonly Threshold[];
  readonly #transitionMs: number;
  #met: readonly Threshold[] = [];
  #firstSeen = new Map<Threshold, number>();
  readonly #lastSeen = new Map<Condition, number>();
  #conditions: ReadonlySet<Condition> = new Set();
  #dedicatedImageFs: boolean | undefined;
  #timer: Timer | undefined;
  #stopped = false;
  /** Evictions made, by signal. */
  readonly counts = new Map<string, number>();

  /** Throws when a threshold cannot be read. */
  constructor(options: EvictionManagerOptions) {
    this.#o = options;
    this.#thresholds = parseThresholds(options.configuration);
    this.#transitionMs = parseDuration(options.configuration.evictionPressureTransitionPeriod);
  }

  start(): void {
    this.#arm(intervalMs);
  }

  stop(): void {
    this.#stopped = true;
    this.#timer?.cancel();
  }

  #arm(ms: number): void {
    if (this.#stopped) return;
    const { clock, logger } = this.#o.ctx;
    this.#timer = clock.setTimer(ms, () => {
      // Not counted as work: a pod that is evicted ends in the clock's own time.
      void this.synchronize()
        .catch((error: unknown) => logger.warn('Eviction manager: failed to synchronize', { error }))
        .finally(() => this.#arm(intervalMs));
    });
  }

  get conditions(): ReadonlySet<Condition> {
    return this.#conditions;
  }

  /** Why a pod cannot be taken in now. */
  admit(pod: Pod): { reason: string; message: string } | undefined {
    if (this.#conditions.size === 0 || isCriticalPod(pod)) return undefined;
    if (this.#conditions.size === 1 && this.#conditions.has('MemoryPressure')) {
      if (podQOSClass(pod as never) !== 'BestEffort') return undefined;
      if (isTolerated({ key: memoryTaint, effect: 'NoSchedule' }, pod.spec?.tolerations)) return undefined;
    }
    return { reason: 'Evicted', message: `The node had condition: [${[...this.#conditions].join(' ')}]. ` };
  }

  /** One look at the node and what follows of it; resolves with the pods that were evicted, once they are gone. */
  async synchronize(): Promise<readonly Pod[]> {
    const { ctx, configuration } = this.#o;
    const now = ctx.clock.now();
    const observations = await this.#observe();
    let thresholds = thresholdsMet(this.#thresholds, observations, false);
    if (this.#met.length > 0)
      thresholds = [...new Set([...thresholds, ...thresholdsMet(this.#met, observations, true)])];
    this.#firstSeen = new Map(thresholds.map((t) => [t, this.#firstSeen.get(t) ?? now]));
    for (const t of thresholds) this.#lastSeen.set(signals[t.signal]!.condition, now);
    this.#setConditions(now);
    thresholds = thresholds.filter((t) => now - this.#firstSeen.get(t)! >= t.graceMs);
    this.#met = thresholds;
    const active = this.#o.activePods();
    if (configuration.localStorageCapacityIsolation) {
      const evicted = await this.#overLimits(active);
      if (evicted.length > 0) return evicted;
    }
    const first = byUrgency(thresholds)[0];
    if (first === undefined) return [];
    const resource = signals[first.signal]!.resource;
    ctx.logger.info('Eviction manager: attempting to reclaim', { resource });
    ctx.events.node('Warning', 'EvictionThresholdMet', `Attempting to reclaim ${resource}`);
    if (await this.#reclaimFromNode(first)) return [];
    return this.#evictOne(active, first, resource, thresholds, observations);
  }

  #setConditions(now: number): void {
    const conditions = new Set<Condition>();
    for (const [condition, at] of this.#lastSeen)
      if (now - at < this.#transitionMs || at === now) conditions.add(condition);
      else this.#lastSeen.delete(condition);
    const same = conditions.size === this.#conditions.size && [...conditions].every((c) => this.#conditions.has(c));
    if (same) return;
    this.#conditions = conditions;
    this.#o.onPressure(conditions);
  }

  async #observe(): Promise<Observations> {
    const { host, runtime, rootDir } = this.#o.ctx;
    const [usage, machine] = await Promise.all([host.usage(), host.machineInfo()]);
    const out = new Map<string, Observation>();
    const available = usage.memory.availableBytes;
    if (available !== undefined)
      out.set('memory.available', { available, capacity: available + usage.memory.workingSetBytes });
    if (host.cgroups !== undefined) {
      const pods = await host.cgroups.stats('/kubepods');
      if (pods?.memory.availableBytes !== undefined)
        out.set('allocatableMemory.available', {
          available: pods.memory.availableBytes,
          capacity: pods.memory.availableBytes + pods.memory.workingSetBytes,
        });
    }
    const disk = (name: string, fs: Omit<FilesystemStats, 'device'>): void => {
      out.set(`${name}.available`, { available: fs.availableBytes, capacity: fs.capacityBytes });
      // Some file systems make inodes as they need them.
      if (fs.inodes > 0) out.set(`${name}.inodesFree`, { available: fs.inodesFree, capacity: fs.inodes });
    };
    disk('nodefs', usage.rootFs);
    let image: Omit<FilesystemStats, 'device'> = usage.rootFs;
    const wanted = this.#thresholds.some((t) => t.signal.startsWith('imagefs.') || t.signal.startsWith('containerfs.'));
    if (wanted) {
      const path = (await runtime.imageFsInfo()).imageFilesystems[0]?.mountpoint;
      if (path !== undefined && (await host.stat(path)) !== undefined) {
        const [own, node] = await Promise.all([host.filesystem(path), host.filesystem(rootDir)]);
        this.#dedicatedImageFs = own.device !== node.device;
        if (this.#dedicatedImageFs) image = own;
      }
    }
    disk('imagefs', image);
    disk('containerfs', image);
    out.set('pid.available', { available: machine.maxPids - usage.processCount, capacity: machine.maxPids });
    return out;
  }

  /** True when what nobody uses was enough. */
  async #reclaimFromNode(threshold: Threshold): Promise<boolean> {
    const { ctx } = this.#o;
    const signal = threshold.signal;
    const disk = signals[signal]!.condition === 'DiskPressure';
    // With a disk of their own, images are of no help to the node's.
    if (!disk || (this.#dedicatedImageFs === true && signal.startsWith('nodefs.'))) return false;
    for (const free of [() => this.#o.deleteUnusedContainers(), () => this.#o.deleteUnusedImages()]) {
      try {
        await free();
      } catch (error) {
        ctx.logger.warn('Eviction manager: unexpected error when attempting to reduce resource pressure', { error });
      }
    }
    return thresholdsMet(this.#thresholds, await this.#observe(), true).length === 0;
  }

  async #evictOne(
    active: readonly EvictablePod[],
    threshold: Threshold,
    resource: StarvedResource,
    thresholds: readonly Threshold[],
    observations: Observations,
  ): Promise<readonly Pod[]> {
    const { ctx, configuration, usage } = this.#o;
    const stats = await usage.runtimeStats();
    const disk = signals[threshold.signal]!.condition === 'DiskPressure';
    const usages = new Map<EvictablePod, PodUsage | undefined>();
    for (const p of active) usages.set(p, await usage.ofPod(p, stats.get(p.pod.metadata.uid!), disk));
    const parts = this.#parts(threshold.signal);
    for (const p of rank(active, usages, resource, parts)) {
      if (isCriticalPod(p.pod)) continue;
      const grace =
        threshold.graceMs === 0
          ? 1
          : Math.min(configuration.evictionMaxPodGracePeriod, p.pod.spec?.terminationGracePeriodSeconds ?? Infinity);
      const message = evictionMessage(resource, p.pod, usages.get(p), thresholds, observations);
      ctx.logger.info('Eviction manager: evicting pod', { pod: p.pod.metadata.name, resource });
      this.counts.set(threshold.signal, (this.counts.get(threshold.signal) ?? 0) + 1);
      await this.#evict(p, message, grace, { reason: 'TerminationByKubelet', message });
      return [p.pod];
    }
    return [];
  }

  async #evict(
    p: EvictablePod,
    message: string,
    graceSeconds: number,
    condition?: { reason: string; message: string },
  ): Promise<void> {
    const { ctx } = this.#o;
    ctx.events.pod(p.pod, 'Warning', 'Evicted', message);
    const gone = p.evict({
      reason: 'Evicted',
      message,
      graceSeconds,
      ...(condition === undefined ? {} : { condition }),
    });
    const late = Promise.withResolvers<void>();
    const timer = ctx.clock.setTimer(cleanupMs, () => late.resolve());
    await Promise.race([gone, late.promise]);
    timer.cancel();
  }

  /** Which parts of a pod's disk usage the signal is about. */
  #parts(signal: string): Parts {
    if (this.#dedicatedImageFs !== true) return { rootfs: true, logs: true, volumes: true };
    return signal.startsWith('nodefs.')
      ? { rootfs: false, logs: true, volumes: true }
      : { rootfs: true, logs: false, volumes: false };
  }

  /** Ends pods that use more of the node's disk than they said they would. */
  async #overLimits(active: readonly EvictablePod[]): Promise<readonly Pod[]> {
    const limited = active.filter((p) => hasDiskLimits(p.pod));
    if (limited.length === 0) return [];
    const { usage } = this.#o;
    let stats: Awaited<ReturnType<PodUsageSource['runtimeStats']>> | undefined;
    const evicted: Pod[] = [];
    for (const p of limited) {
      let message = await this.#emptyDirOver(p.pod);
      if (message === undefined && hasStorageLimits(p.pod)) {
        stats ??= await usage.runtimeStats();
        message = this.#storageOver(p.pod, await usage.ofPod(p, stats.get(p.pod.metadata.uid!), true));
      }
      if (message === undefined || isCriticalPod(p.pod)) continue;
      this.counts.set('localStorage', (this.counts.get('localStorage') ?? 0) + 1);
      await this.#evict(p, message, 1);
      evicted.push(p.pod);
    }
    return evicted;
  }

  async #emptyDirOver(pod: Pod): Promise<string | undefined> {
    for (const v of pod.spec?.volumes ?? []) {
      const limit = sizeLimit(v);
      if (limit === undefined || v.emptyDir?.medium === 'Memory') continue;
      const used = await this.#o.usage.volume(pod, v, intervalMs / 2);
      if (used !== undefined && used.usedBytes > limit)
        return `Usage of EmptyDir volume "${v.name}" exceeds the limit "${v.emptyDir!.sizeLimit as string}". `;
    }
    return undefined;
  }

  #storageOver(pod: Pod, used: PodUsage | undefined): string | undefined {
    if (used === undefined) return undefined;
    const limit = podLimits(pod as never, { useStatus: false }).get('ephemeral-storage');
    const total = diskOf(used, { rootfs: true, logs: true, volumes: true }, 'bytes');
    if (limit !== undefined && total > quantityValue(limit))
      return `Pod ephemeral local storage usage exceeds the total limit of containers ${formatQuantity(limit)}. `;
    for (const c of pod.spec!.containers) {
      const text = c.resources?.limits?.['ephemeral-storage'] as string | undefined;
      const own = used.containers.find((x) => x.name === c.name);
      if (text === undefined || own === undefined) continue;
      const bytes = own.logs.bytes + (this.#dedicatedImageFs === true ? 0 : own.rootfs.bytes);
      if (bytes > quantityValue(parseQuantity(text)))
        return `Container ${c.name} exceeded its local ephemeral storage limit "${text}". `;
    }
    return undefined;
  }
}

function hasStorageLimits(pod: Pod): boolean {
  return (pod.spec?.containers ?? []).some((c) => c.resources?.limits?.['ephemeral-storage'] !== undefined);
}

function hasDiskLimits(pod: Pod): boolean {
  return hasStorageLimits(pod) || localVolumes(pod).some((v) => sizeLimit(v) !== undefined);
}

function diskOf(u: PodUsage, parts: Parts, what: 'bytes' | 'inodes'): number {
  let sum = 0;
  for (const c of u.containers) sum += (parts.rootfs ? c.rootfs[what] : 0) + (parts.logs ? c.logs[what] : 0);
  if (parts.volumes) for (const v of u.volumes.values()) sum += v[what];
  return sum;
}

/** Those to be evicted first in front: by what they take beyond their requests, their priority, and how much it is. */
function rank(
  pods: readonly EvictablePod[],
  usages: ReadonlyMap<EvictablePod, PodUsage | undefined>,
  resource: StarvedResource,
  parts: Parts,
): readonly EvictablePod[] {
  const request = (p: EvictablePod, name: string): number => {
    const q = podRequests(p.pod as never, { useStatus: false }).get(name);
    return q === undefined ? 0 : quantityValue(q);
  };
  const facts = new Map(
    pods.map((p) => {
      const u = usages.get(p);
      let used = 0;
      let requested = 0;
      if (resource === 'memory') {
        used = u?.memoryBytes ?? 0;
        requested = request(p, 'memory');
      } else if (resource === 'pids') used = u?.processes ?? 0;
      else if (u !== undefined) {
        used = diskOf(u, parts, resource === 'inodes' ? 'inodes' : 'bytes');
        requested = resource === 'inodes' ? 0 : request(p, 'ephemeral-storage');
      }
      const exceeds = resource !== 'pids' && used > requested;
      return [p, { known: u !== undefined, exceeds, over: used - requested, priority: p.pod.spec?.priority ?? 0 }];
    }),
  );
  return pods.toSorted((a, b) => {
    const x = facts.get(a)!;
    const y = facts.get(b)!;
    // Of whom nothing is known is not worth keeping.
    if (x.known !== y.known) return x.known ? 1 : -1;
    if (x.exceeds !== y.exceeds) return x.exceeds ? -1 : 1;
    if (x.priority !== y.priority) return x.priority - y.priority;
    return y.over - x.over;
  });
}

function evictionMessage(
  resource: StarvedResource,
  pod: Pod,
  usage: PodUsage | undefined,
  thresholds: readonly Threshold[],
  observations: Observations,
): string {
  let message = `The node was low on resource: ${resource}. `;
  const t = thresholds.find((x) => signals[x.signal]!.resource === resource);
  const seen = t === undefined ? undefined : observations.get(t.signal);
  if (t !== undefined && seen !== undefined) {
    const limit = formatQuantity(amountOf(t.signal, t.amount, seen.capacity));
    message += `Threshold quantity: ${limit}, available: ${formatQuantity(quantityOf(t.signal, seen.available))}. `;
  }
  if (usage === undefined || (resource !== 'memory' && resource !== 'ephemeral-storage')) return message;
  const bytes = (n: number): string => formatQuantity(newQuantity(n, 'BinarySI'));
  const own = pod.spec?.resources?.requests?.[resource] as string | undefined;
  if (resource === 'memory' && own !== undefined)
    message += `Pod ${pod.metadata.name} was using ${bytes(usage.memoryBytes)}, request is ${own}, has larger consumption of memory. `;
  for (const used of usage.containers) {
    const c = [...(pod.spec?.containers ?? []), ...(pod.spec?.initContainers ?? [])].find((x) => x.name === used.name);
    if (c === undefined) continue;
    const text = (c.resources?.requests?.[resource] as string | undefined) ?? '0';
    const amount = resource === 'memory' ? used.memoryBytes : used.rootfs.bytes + used.logs.bytes;
    if (amount > quantityValue(parseQuantity(text)))
      message += `Container ${c.name} was using ${bytes(amount)}, request is ${text}, has larger consumption of ${resource}. `;
  }
  return message;
}
