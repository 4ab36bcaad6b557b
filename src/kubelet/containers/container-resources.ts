/** A container's resources as the kernel's limits: CPU shares and quota, memory, huge pages, preference when memory runs out. */
import { podQOSClass } from '../../api/helpers/pod-qos.ts';
import { podLimits, podRequests } from '../../api/helpers/pod-resources.ts';
import type { Quantity } from '../../api/quantity.ts';
import { parseQuantity, quantityMilli, quantityValue } from '../../api/quantity.ts';
import type { Container, Pod } from '../../api/types/index.gen.ts';
import { hugepageSize } from '../cgroup-manager.ts';
import type { ContainerSettings } from './container-settings.ts';
import { containerSettings } from './container-settings.ts';
import type { KubeletContext } from '../context.ts';
import { cpuQuota, cpuShares } from '../cpu-quota.ts';
import type { MachineInfo } from '../host/node-host.ts';
import { isCriticalPod } from '../pod-util.ts';
import type { LinuxContainerResources } from '../runtime/container-runtime.ts';

type Texts = Record<string, string> | undefined;

const guaranteedScore = -997;
const bestEffortScore = 1000;
const systemCritical = 2_000_000_000;

function quantity(text: string | undefined): Quantity | undefined {
  return text === undefined ? undefined : parseQuantity(text);
}

/** Upstream's calculateLinuxResources. */
function limitsOf(
  cpuRequest: Quantity | undefined,
  cpuLimit: Quantity | undefined,
  memory: Quantity | undefined,
  settings: ContainerSettings,
): LinuxContainerResources {
  const bytes = memory === undefined ? 0 : quantityValue(memory);
  const shares = cpuRequest ?? cpuLimit;
  return {
    cpuShares: cpuShares(shares === undefined ? 0 : quantityMilli(shares)),
    ...(settings.cpuQuota
      ? {
          cpuPeriod: settings.cpuPeriod,
          cpuQuota: cpuLimit === undefined ? 0 : cpuQuota(quantityMilli(cpuLimit), settings.cpuPeriod),
        }
      : {}),
    ...(bytes === 0 ? {} : { memoryLimitInBytes: bytes }),
  };
}

/** What a RuntimeClass adds to a pod: as much requested as allowed. */
export function overheadResources(
  overhead: Record<string, string>,
  settings: ContainerSettings,
): LinuxContainerResources {
  const cpu = quantity(overhead['cpu']);
  return limitsOf(cpu, cpu, quantity(overhead['memory']), settings);
}

/** What all containers of a pod may have together, without its overhead. */
export function sandboxResources(
  pod: Pod,
  settings: ContainerSettings = containerSettings(undefined),
): LinuxContainerResources {
  const requests = podRequests(pod as never, { useStatus: false, excludeOverhead: true });
  const limits = podLimits(pod as never, { useStatus: false, excludeOverhead: true });
  return limitsOf(requests.get('cpu'), limits.get('cpu'), limits.get('memory'), settings);
}

/** A container's limit, or the pod's own where it has none (KEP-2837). */
function limitOf(pod: Pod, container: Container, name: string): Quantity | undefined {
  const own = quantity((container.resources?.limits as Texts)?.[name]);
  if (own !== undefined && quantityMilli(own) !== 0) return own;
  return quantity((pod.spec?.resources?.limits as Texts)?.[name]) ?? own;
}

/** Limits of every size of huge pages that the node has: none where none is asked for. */
function hugepageLimits(
  pod: Pod,
  container: Container,
  sizes: readonly { readonly pageSizeBytes: number }[],
): LinuxContainerResources['hugepageLimits'] {
  const limits = new Map<string, number>();
  for (const { pageSizeBytes } of sizes) limits.set(hugepageSize(`hugepages-${pageSizeBytes}`), 0);
  for (const list of [pod.spec?.resources?.limits, container.resources?.limits] as Texts[])
    for (const name in list)
      if (name.startsWith('hugepages-')) limits.set(hugepageSize(name), quantityValue(parseQuantity(list[name]!)));
  if (limits.size === 0) return undefined;
  return [...limits].map(([pageSize, limit]) => ({ pageSize, limit }));
}

/** What the runtime is told of a container's resources, when it is created and when they are changed. */
export async function containerResources(
  ctx: KubeletContext,
  pod: Pod,
  container: Container,
): Promise<LinuxContainerResources> {
  const machine = await ctx.host.machineInfo();
  const { settings } = ctx;
  const requests = container.resources?.requests as Texts;
  const exclusive = ctx.resources?.hasExclusiveCpus(pod, container) === true;
  const limits = limitsOf(
    quantity(requests?.['cpu']),
    limitOf(pod, container, 'cpu'),
    limitOf(pod, container, 'memory'),
    // CPUs that nobody else has need no quota.
    exclusive ? { ...settings, cpuQuota: false } : settings,
  );
  const unified: Record<string, string> = {};
  const version = ctx.host.cgroups?.version;
  // The kernel ends all processes of a container together, not the greediest alone.
  if (version === 2 && settings.singleProcessOomKill !== true) unified['memory.oom.group'] = '1';
  const swap = machine.swapBytes > 0 && version !== undefined;
  if (swap && version === 2)
    unified['memory.swap.max'] = String(settings.limitedSwap ? swapShare(pod, container, machine) : 0);
  return {
    ...limits,
    ...ctx.resources?.placement(pod, container),
    // On cgroup v1 the limit is of memory and swap together.
    ...(swap && version === 1 && limits.memoryLimitInBytes !== undefined
      ? { memorySwapLimitInBytes: limits.memoryLimitInBytes }
      : {}),
    hugepageLimits: hugepageLimits(pod, container, machine.hugepages),
    oomScoreAdj: oomScoreAdjust(pod, container, machine.memoryBytes),
    ...(Object.keys(unified).length === 0 ? {} : { unified }),
  };
}

/** Bytes of swap that a container may use (KEP-2400): of the node's as much as it asks for of the node's memory. */
export function swapShare(
  pod: Pod,
  container: Container,
  machine: Pick<MachineInfo, 'memoryBytes' | 'swapBytes'>,
): number {
  const request = memoryRequest(container);
  const limit = quantity((container.resources?.limits as Texts)?.['memory']);
  const bound = limit === undefined ? 0 : quantityValue(limit);
  if (isCriticalPod(pod) || podQOSClass(pod as never) !== 'Burstable' || request === bound) return 0;
  return request > machine.memoryBytes ? 0 : Math.trunc((request / machine.memoryBytes) * machine.swapBytes);
}

function memoryRequest(container: Container): number {
  const text = (container.resources?.requests as Texts)?.['memory'];
  return text === undefined ? 0 : quantityValue(parseQuantity(text));
}

/** What a pod asks for and none of its containers, for each of them alike. */
function unassigned(pod: Pod): number {
  const text = (pod.spec?.resources?.requests as Texts)?.['memory'];
  const own = text === undefined ? 0 : quantityValue(parseQuantity(text));
  if (own === 0) return 0;
  const sum = podRequests(pod as never, { useStatus: false, excludeOverhead: true, skipPodLevelResources: true }).get(
    'memory',
  );
  const count = pod.spec!.containers.length + (pod.spec!.initContainers?.length ?? 0);
  return Math.trunc((own - (sum === undefined ? 0 : quantityValue(sum))) / count);
}

/** The kernel's preference to kill this container when memory runs out (upstream's QoS policy). */
export function oomScoreAdjust(pod: Pod, container: Container, memoryCapacity: number): number {
  const spec = pod.spec!;
  if (spec.priorityClassName === 'system-node-critical' && (spec.priority ?? 0) >= systemCritical)
    return guaranteedScore;
  const qos = podQOSClass(pod as never);
  if (qos === 'Guaranteed') return guaranteedScore;
  if (qos === 'BestEffort') return bestEffortScore;
  const rest = unassigned(pod);
  const score = (bytes: number): number => 1000 - Math.trunc((1000 * bytes) / memoryCapacity);
  let adjust = score(memoryRequest(container) + rest);
  if (container.restartPolicy === 'Always' && spec.initContainers?.some((c) => c.name === container.name) === true) {
    // A sidecar outlives the containers that it serves.
    const least = Math.min(...spec.containers.map(memoryRequest));
    adjust = Math.min(adjust, score(least + rest));
  }
  return Math.min(Math.max(adjust, 1000 + guaranteedScore), bestEffortScore - 1);
}
