/** `/stats/summary`: usage of the node and its pods in the shape of upstream's stats v1alpha1 API. */
import { formatTime } from '../../api/time.ts';
import type { Pod } from '../../api/types/index.gen.ts';
import type { NodeHost, VolumeUsage } from '../host/node-host.ts';
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
  /** The cgroup of a pod, where the kubelet keeps cgroups. */
  readonly cgroupOf?: (pod: Pod | undefined) => string | undefined;
  /** What pods' volumes and logs take of the disk. */
  readonly diskOf?: (pod: Pod) => Promise<PodDisk>;
}

/** One volume of a pod, in the shape of upstream's stats API. */
export interface VolumeStatsEntry {
  readonly name: string;
  readonly usage: VolumeUsage;
  /** It takes the node's own disk. */
  readonly local: boolean;
  readonly claim?: string;
}

export interface PodDisk {
  readonly volumes: readonly VolumeStatsEntry[];
  /** By container. */
  readonly logs: ReadonlyMap<string, { readonly bytes: number; readonly inodes: number }>;
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

function container(
  stats: ContainerStats,
  pod: Pod | undefined,
  only: boolean,
  logs: { readonly bytes: number; readonly inodes: number } | undefined,
): object {
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
          ...(logs === undefined
            ? {}
            : {
                logs: {
                  time: formatTime(stats.writableLayer.timestamp),
                  usedBytes: logs.bytes,
                  inodesUsed: logs.inodes,
                },
              }),
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
  const disks = new Map<string, PodDisk>();
  if (!onlyCpuAndMemory && deps.diskOf !== undefined)
    for (const { stats, pod } of pods) if (pod !== undefined) disks.set(stats.metadata.uid, await deps.diskOf(pod));
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
    pods: pods.map(({ stats, pod }) => {
      const disk = disks.get(stats.metadata.uid);
      const local = (disk?.volumes ?? []).filter((v) => v.local);
      const sum = (what: 'bytes' | 'inodes'): number => {
        let n = 0;
        for (const c of stats.containers)
          n += what === 'bytes' ? c.writableLayer.usedBytes : c.writableLayer.inodesUsed;
        for (const l of disk?.logs.values() ?? []) n += l[what];
        for (const v of local) n += what === 'bytes' ? v.usage.usedBytes : v.usage.inodesUsed;
        return n;
      };
      return {
        podRef: { name: stats.metadata.name, namespace: stats.metadata.namespace, uid: stats.metadata.uid },
        ...(pod?.status?.startTime === undefined ? {} : { startTime: pod.status.startTime }),
        containers: stats.containers.map((c) => container(c, pod, onlyCpuAndMemory, disk?.logs.get(c.metadata.name))),
        cpu: cpu(stats.cpu),
        memory: memory(stats.memory),
        ...(onlyCpuAndMemory
          ? {}
          : {
              ...(stats.network === undefined ? {} : { network: network(stats.network) }),
              ...(disk === undefined
                ? {}
                : {
                    volume: disk.volumes.map((v) => ({
                      time: fs.time,
                      availableBytes: v.usage.availableBytes,
                      capacityBytes: v.usage.capacityBytes,
                      usedBytes: v.usage.usedBytes,
                      inodesFree: v.usage.inodesFree,
                      inodes: v.usage.inodes,
                      inodesUsed: v.usage.inodesUsed,
                      name: v.name,
                      ...(v.claim === undefined
                        ? {}
                        : { pvcRef: { name: v.claim, namespace: stats.metadata.namespace } }),
                    })),
                  }),
              'ephemeral-storage': { ...fs, usedBytes: sum('bytes'), inodesUsed: sum('inodes') },
              process_stats: { process_count: stats.processCount },
            }),
      };
    }),
  };
}
