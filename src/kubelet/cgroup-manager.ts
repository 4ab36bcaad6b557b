/**
 * The cgroups above the containers': `/kubepods` for all pods, a level for each quality-of-service class but Guaranteed, and one for
 * each pod. Runtimes make the containers' own below them. Does nothing on hosts without cgroups.
 */
import { podQOSClass } from '../api/helpers/pod-qos.ts';
import { podLimits, podRequests } from '../api/helpers/pod-resources.ts';
import type { Quantity } from '../api/quantity.ts';
import { parseQuantity, quantityMilli, quantityValue } from '../api/quantity.ts';
import type { Container, Pod } from '../api/types/index.gen.ts';
import type { ContainerSettings } from './containers/container-settings.ts';
import { containerSettings } from './containers/container-settings.ts';
import type { KubeletEvents } from './context.ts';
import { cpuQuota, cpuShares } from './cpu-quota.ts';
import type { CgroupLimits, Cgroups, CgroupResources, CgroupStats } from './host/node-host.ts';
import type { Logger } from '../base/logger.ts';
import type { LinuxContainerResources } from './runtime/container-runtime.ts';

const root = '/kubepods';
const podPrefix = 'pod';

const units = ['B', 'KB', 'MB', 'GB', 'TB', 'PB'];

/** `hugepages-2Mi` → `2MB`, as the kernel names a size. */
export function hugepageSize(resource: string): string {
  let size = quantityValue(parseQuantity(resource.slice('hugepages-'.length)));
  let unit = 0;
  for (; size >= 1024 && size % 1024 === 0 && unit < units.length - 1; unit++) size /= 1024;
  return `${size}${units[unit]}`;
}

/** `/kubepods/burstable/pod<uid>` */
export function podCgroup(pod: Pod): string {
  const qos = podQOSClass(pod as never);
  const parent = qos === 'Guaranteed' ? root : `${root}/${qos.toLowerCase()}`;
  return `${parent}/${podPrefix}${pod.metadata.uid}`;
}

const isZero = (q: Quantity | undefined): boolean => q === undefined || quantityMilli(q) === 0;

/** The limits of a pod's own cgroup (upstream's ResourceConfigForPod). */
export function podResources(
  pod: Pod,
  settings: ContainerSettings = containerSettings(undefined),
): LinuxContainerResources {
  const requests = podRequests(pod as never, { useStatus: false });
  const limits = podLimits(pod as never, { useStatus: false });
  const own = pod.spec?.resources?.limits as Record<string, string> | undefined;
  const all: readonly Container[] = [...(pod.spec?.initContainers ?? []), ...pod.spec!.containers];
  const declared = (name: string): boolean =>
    !isZero(own?.[name] === undefined ? undefined : parseQuantity(own[name])) ||
    all.every((c) => {
      const text = c.resources?.limits?.[name] as string | undefined;
      return text !== undefined && !isZero(parseQuantity(text));
    });
  const milli = (q: Quantity | undefined): number => (q === undefined ? 0 : quantityMilli(q));
  const qos = podQOSClass(pod as never);
  const hugepageLimits = [...requests]
    .filter(([name]) => name.startsWith('hugepages-'))
    .map(([name, q]) => ({ pageSize: hugepageSize(name), limit: quantityValue(q) }));
  const shared = hugepageLimits.length === 0 ? {} : { hugepageLimits };
  if (qos === 'BestEffort') return { cpuShares: cpuShares(0), ...shared };
  const cpuLimit = limits.get('cpu');
  const memory = limits.get('memory');
  return {
    cpuShares: cpuShares(milli(requests.get('cpu'))),
    ...(settings.cpuQuota && (qos === 'Guaranteed' || declared('cpu'))
      ? { cpuPeriod: settings.cpuPeriod, cpuQuota: cpuQuota(milli(cpuLimit), settings.cpuPeriod) }
      : {}),
    ...((qos === 'Guaranteed' || declared('memory')) && memory !== undefined
      ? { memoryLimitInBytes: quantityValue(memory) }
      : {}),
    ...shared,
  };
}

export interface CgroupManagerOptions {
  /** Undefined where the host has none. */
  readonly cgroups: Cgroups | undefined;
  readonly logger: Logger;
  readonly events: KubeletEvents;
  readonly settings: ContainerSettings;
  /** Processes of one pod; 0 for no limit. */
  readonly podPidsLimit: number;
  /** False: pods may use what the node reserves for itself. */
  readonly enforceAllocatable: boolean;
  /** Whether a container of the pod has CPUs to itself: such a pod has no quota. */
  readonly hasExclusiveCpus?: (pod: Pod) => boolean;
  /** Told how many milliseconds an operation on a pod's cgroup took, by `now`. */
  readonly timed?: (operation: 'create' | 'update' | 'destroy', ms: number) => void;
  readonly now?: () => number;
}

export class CgroupManager {
  readonly #o: CgroupManagerOptions;
  /** Milli-CPUs that the Burstable pods ask for, by uid. */
  readonly #burstable = new Map<string, number>();
  #shares = -1;
  #updating: Promise<void> | undefined;

  constructor(options: CgroupManagerOptions) {
    this.#o = options;
  }

  get enabled(): boolean {
    return this.#o.cgroups !== undefined;
  }

  /** What the runtime is told for a pod's sandbox. */
  parentName(pod: Pod): string | undefined {
    return this.#o.cgroups?.parentName(podCgroup(pod));
  }

  /** Makes the levels above the pods. `allocatable`: of the node, before eviction thresholds are taken off. */
  async start(allocatable: Readonly<Record<string, string>>): Promise<void> {
    const { cgroups, events } = this.#o;
    if (cgroups === undefined) return;
    const q = (name: string): Quantity | undefined =>
      allocatable[name] === undefined ? undefined : parseQuantity(allocatable[name]);
    const cpu = q('cpu');
    const memory = q('memory');
    const limits: CgroupResources = {
      ...(cpu === undefined ? {} : { cpuShares: cpuShares(quantityMilli(cpu)) }),
      ...(memory === undefined || !this.#o.enforceAllocatable ? {} : { memoryLimitInBytes: quantityValue(memory) }),
    };
    await cgroups.ensure(root, {});
    await cgroups.ensure(`${root}/burstable`, {});
    await cgroups.ensure(`${root}/besteffort`, { cpuShares: cpuShares(0) });
    try {
      await cgroups.ensure(root, limits);
      events.node('Normal', 'NodeAllocatableEnforced', 'Updated Node Allocatable limit across pods');
    } catch (error) {
      // Pods of an earlier kubelet may hold more than the limit allows now.
      const text = error instanceof Error ? error.message : String(error);
      events.node(
        'Warning',
        'FailedNodeAllocatableEnforcement',
        `Failed to update Node Allocatable Limits ["kubepods"]: ${text}`,
      );
    }
  }

  /** Makes a pod's cgroup, or sets its limits anew. */
  async ensurePod(pod: Pod): Promise<void> {
    const { cgroups, podPidsLimit, settings } = this.#o;
    if (cgroups === undefined) return;
    await this.#weigh(pod);
    const exclusive = this.#o.hasExclusiveCpus?.(pod) === true;
    await this.#timed('create', () =>
      cgroups.ensure(podCgroup(pod), {
        ...podResources(pod, exclusive ? { ...settings, cpuQuota: false } : settings),
        ...(podPidsLimit > 0 ? { pidsLimit: podPidsLimit } : {}),
      }),
    );
  }

  /** Of a resize: sets those limits of a pod that become larger, or those that become smaller. */
  async resizePod(pod: Pod, wanted: LinuxContainerResources, step: 'grow' | 'shrink'): Promise<void> {
    const { cgroups } = this.#o;
    if (cgroups === undefined) return;
    const name = podCgroup(pod);
    const now = await cgroups.limits(name);
    if (now === undefined) return;
    if (step === 'grow') await this.#weigh(pod);
    const moves = (then: number, before: number): boolean => (step === 'grow' ? then > before : then < before);
    const limit = (n: number | undefined): number => (n === undefined || n === 0 ? Infinity : n);
    const set: { -readonly [K in keyof LinuxContainerResources]: LinuxContainerResources[K] } = {};
    if (wanted.cpuShares !== undefined && moves(wanted.cpuShares, now.cpuShares ?? 0)) set.cpuShares = wanted.cpuShares;
    if (wanted.cpuQuota !== undefined && moves(limit(wanted.cpuQuota), limit(now.cpuQuota))) {
      set.cpuQuota = wanted.cpuQuota;
      set.cpuPeriod = wanted.cpuPeriod;
    }
    if (wanted.memoryLimitInBytes !== undefined && moves(wanted.memoryLimitInBytes, limit(now.memoryLimitInBytes)))
      set.memoryLimitInBytes = wanted.memoryLimitInBytes;
    if (Object.keys(set).length > 0) await this.#timed('update', () => cgroups.ensure(name, set));
  }

  /** What the kernel has for a pod. */
  limits(pod: Pod): Promise<CgroupLimits | undefined> {
    return this.#o.cgroups === undefined ? Promise.resolve(undefined) : this.#o.cgroups.limits(podCgroup(pod));
  }

  /** Kills what is left of a pod and removes its cgroup. */
  async removePod(pod: Pod): Promise<void> {
    const { cgroups } = this.#o;
    if (cgroups === undefined) return;
    await this.#timed('destroy', () => cgroups.remove(podCgroup(pod)));
    if (this.#burstable.delete(pod.metadata.uid!)) await this.#updateShares();
  }

  async #timed(operation: 'create' | 'update' | 'destroy', work: () => Promise<unknown>): Promise<void> {
    const { now, timed } = this.#o;
    const began = now?.() ?? 0;
    await work();
    if (now !== undefined) timed?.(operation, now() - began);
  }

  async #weigh(pod: Pod): Promise<void> {
    if (podQOSClass(pod as never) !== 'Burstable') return;
    const cpu = podRequests(pod as never, { useStatus: false }).get('cpu');
    this.#burstable.set(pod.metadata.uid!, cpu === undefined ? 0 : quantityMilli(cpu));
    await this.#updateShares();
  }

  /** Burstable pods together weigh what they ask for together. */
  async #updateShares(): Promise<void> {
    // One at a time: the last one has seen every pod.
    while (this.#updating !== undefined) await this.#updating;
    let milli = 0;
    for (const m of this.#burstable.values()) milli += m;
    const shares = cpuShares(milli);
    if (shares === this.#shares) return;
    this.#shares = shares;
    this.#updating = this.#o.cgroups!.ensure(`${root}/burstable`, { cpuShares: shares });
    try {
      await this.#updating;
    } catch (error) {
      this.#shares = -1;
      this.#o.logger.warn('Failed to update QoS cgroup configuration', { error });
    } finally {
      this.#updating = undefined;
    }
  }

  /** Removes the cgroups of pods that are not known. */
  async removeOrphans(known: (uid: string) => boolean): Promise<void> {
    const { cgroups, logger } = this.#o;
    if (cgroups === undefined) return;
    for (const parent of [root, `${root}/burstable`, `${root}/besteffort`])
      for (const name of await cgroups.list(parent)) {
        if (!name.startsWith(podPrefix)) continue;
        const uid = name.slice(podPrefix.length);
        if (known(uid)) continue;
        logger.info('Orphaned pod found, removing pod cgroups', { uid });
        await cgroups.remove(`${parent}/${name}`);
      }
  }

  stats(pod: Pod): Promise<CgroupStats | undefined> {
    return this.#o.cgroups === undefined ? Promise.resolve(undefined) : this.#o.cgroups.stats(podCgroup(pod));
  }
}
