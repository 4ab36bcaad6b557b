/** `/stats/summary`: usage of the node and its pods in the shape of upstream's stats v1alpha1 API. */
import { formatTime } from '../../api/time.ts';
import type { Pod } from '../../api/types/index.gen.ts';
import type { NodeHost } from '../host/node-host.ts';
import type {
  ContainerRuntime,
  ContainerStats,
  CpuUsage,
  MemoryUsage,
  NetworkUsage,
  PodSandboxStats,
} from '../runtime/container-runtime.ts';
import type { PodSource } from './pod-source.ts';

export interface StatsDeps {
  readonly nodeName: string;
  readonly runtime: ContainerRuntime;
  readonly host: NodeHost;
  readonly pods: PodSource;
}

const cpu = (u: CpuUsage): object => ({
  time: formatTime(u.timestamp),
  usageNanoCores: u.usageNanoCores,
  usageCoreNanoSeconds: u.usageCoreNanoSeconds,
});

const memory = (u: MemoryUsage): object => ({
  time: formatTime(u.timestamp),
  ...(u.availableBytes === undefined ? {} : { availableBytes: u.availableBytes }),
  usageBytes: u.usageBytes,
  workingSetBytes: u.workingSetBytes,
  rssBytes: u.rssBytes,
  pageFaults: u.pageFaults ?? 0,
  majorPageFaults: u.majorPageFaults ?? 0,
});

function network(u: NetworkUsage): object {
  return { time: formatTime(u.timestamp), ...u.interfaces[0], interfaces: u.interfaces };
}

/** When a container of the pod was started, as its status says. */
export function startedAt(pod: Pod | undefined, container: string): string | undefined {
  const s = pod?.status;
  for (const list of [s?.containerStatuses, s?.initContainerStatuses, s?.ephemeralContainerStatuses]) {
    const found = list?.find((c) => c.name === container);
    if (found !== undefined) return found.state?.running?.startedAt;
  }
  return undefined;
}

function container(stats: ContainerStats, pod: Pod | undefined, only: boolean): object {
  const start = startedAt(pod, stats.metadata.name);
  return {
    name: stats.metadata.name,
    ...(start === undefined ? {} : { startTime: start }),
    cpu: cpu(stats.cpu),
    memory: memory(stats.memory),
    ...(only
      ? {}
      : {
          rootfs: {
            time: formatTime(stats.writableLayer.timestamp),
            usedBytes: stats.writableLayer.usedBytes,
            inodesUsed: stats.writableLayer.inodesUsed,
          },
        }),
  };
}

/** The pods that the runtime has, with the API's object where the kubelet knows one of that uid. */
export async function podStats(
  deps: StatsDeps,
): Promise<readonly { readonly stats: PodSandboxStats; readonly pod: Pod | undefined }[]> {
  const all = await deps.runtime.listPodSandboxStats();
  const byUid = new Map(deps.pods.list().map((p) => [p.metadata.uid, p]));
  return all.map((stats) => ({ stats, pod: byUid.get(stats.metadata.uid) }));
}

/** The summary; `onlyCpuAndMemory` leaves file systems and networks out. */
export async function summary(deps: StatsDeps, onlyCpuAndMemory: boolean): Promise<object> {
  const [usage, machine, pods] = await Promise.all([deps.host.usage(), deps.host.machineInfo(), podStats(deps)]);
  const fs = {
    time: formatTime(usage.rootFs.timestamp),
    availableBytes: usage.rootFs.availableBytes,
    capacityBytes: usage.rootFs.capacityBytes,
    usedBytes: usage.rootFs.usedBytes,
    inodesFree: usage.rootFs.inodesFree,
    inodes: usage.rootFs.inodes,
    inodesUsed: usage.rootFs.inodesUsed,
  };
  let imageFs: object | undefined;
  if (!onlyCpuAndMemory) {
    const info = (await deps.runtime.imageFsInfo()).imageFilesystems[0];
    if (info !== undefined)
      imageFs = { ...fs, time: formatTime(info.timestamp), usedBytes: info.usedBytes, inodesUsed: info.inodesUsed };
  }
  return {
    node: {
      nodeName: deps.nodeName,
      startTime: formatTime(machine.bootTime),
      cpu: cpu(usage.cpu),
      memory: memory(usage.memory),
      ...(onlyCpuAndMemory
        ? {}
        : {
            network: network(usage.network),
            fs,
            ...(imageFs === undefined ? {} : { runtime: { imageFs, containerFs: imageFs } }),
            rlimit: { time: fs.time, maxpid: machine.maxPids, curproc: usage.processCount },
            swap: { time: fs.time, swapUsageBytes: usage.swapUsageBytes },
          }),
    },
    pods: pods.map(({ stats, pod }) => ({
      podRef: { name: stats.metadata.name, namespace: stats.metadata.namespace, uid: stats.metadata.uid },
      ...(pod?.status?.startTime === undefined ? {} : { startTime: pod.status.startTime }),
      containers: stats.containers.map((c) => container(c, pod, onlyCpuAndMemory)),
      cpu: cpu(stats.cpu),
      memory: memory(stats.memory),
      ...(onlyCpuAndMemory
        ? {}
        : {
            ...(stats.network === undefined ? {} : { network: network(stats.network) }),
            'ephemeral-storage': {
              ...fs,
              usedBytes: stats.containers.reduce((n, c) => n + c.writableLayer.usedBytes, 0),
              inodesUsed: stats.containers.reduce((n, c) => n + c.writableLayer.inodesUsed, 0),
            },
            process_stats: { process_count: stats.processCount },
          }),
    })),
  };
}
