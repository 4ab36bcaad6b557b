/**
 * `/metrics/cadvisor`: the series of cAdvisor that dashboards and alerts are made of, for the node, its pods and their containers,
 * from what the runtime and the host say.
 */
import { labelText } from '../../base/prometheus-text.ts';
import type { Pod } from '../../api/types/index.gen.ts';
import { podCgroup } from '../cgroup-manager.ts';
import type { ContainerStats, NetworkUsage } from '../runtime/container-runtime.ts';
import type { StatsDeps } from './stats.ts';
import { podStats, startedAt } from './stats.ts';
import type { DetailedSubject } from './cadvisor-details.ts';
import { detailFamilies } from './cadvisor-details.ts';
import { families } from './metrics.ts';

type Labels = Readonly<Record<string, string>>;

interface Subject {
  readonly labels: Labels;
  readonly cpuNanos: number;
  readonly cpuAt: number;
  readonly memory: {
    readonly at: number;
    readonly usage: number;
    readonly workingSet: number;
    readonly rss: number;
    readonly faults: number;
    readonly majorFaults: number;
  };
  readonly disk?: { readonly at: number; readonly bytes: number; readonly inodes: number };
  readonly start?: string;
  readonly processes?: number;
  readonly limits?: {
    readonly memory?: number;
    readonly cpuQuota?: number;
    readonly cpuPeriod?: number;
    readonly cpuShares?: number;
  };
}

function memoryOf(m: ContainerStats['memory']): Subject['memory'] {
  return {
    at: m.timestamp,
    usage: m.usageBytes,
    workingSet: m.workingSetBytes,
    rss: m.rssBytes,
    faults: m.pageFaults ?? 0,
    majorFaults: m.majorPageFaults ?? 0,
  };
}

const empty: Labels = { container: '', id: '', image: '', name: '', namespace: '', pod: '' };

/** The page in Prometheus' text format. */
export async function cadvisorMetrics(deps: StatsDeps): Promise<string> {
  const { host, runtime } = deps;
  const [usage, machine, pods] = await Promise.all([host.usage(), host.machineInfo(), podStats(deps)]);
  const subjects: Subject[] = [
    {
      labels: { ...empty, id: '/' },
      cpuNanos: usage.cpu.usageCoreNanoSeconds,
      cpuAt: usage.cpu.timestamp,
      memory: memoryOf(usage.memory),
      processes: usage.processCount,
    },
  ];
  const networks: { readonly labels: Labels; readonly usage: NetworkUsage }[] = [
    { labels: { ...empty, id: '/' }, usage: usage.network },
  ];
  const detailed: DetailedSubject[] = [];
  const detail = async (s: Subject, pod: Pod | undefined, network: boolean, id?: string): Promise<void> => {
    if (pod === undefined) return;
    // It may go while it is read.
    const details = await host.cgroups?.details?.(podCgroup(pod), id).catch(() => undefined);
    if (details !== undefined) detailed.push({ labels: s.labels, at: s.cpuAt, details, network });
  };
  for (const { stats, pod } of pods) {
    const own: Labels = {
      ...empty,
      id: deps.cgroupOf?.(pod) ?? `/kubepods/pod${stats.metadata.uid}`,
      namespace: stats.metadata.namespace,
      pod: stats.metadata.name,
    };
    subjects.push({
      labels: own,
      cpuNanos: stats.cpu.usageCoreNanoSeconds,
      cpuAt: stats.cpu.timestamp,
      memory: memoryOf(stats.memory),
      processes: stats.processCount,
    });
    await detail(subjects.at(-1)!, pod, pod?.spec?.hostNetwork !== true);
    if (stats.network !== undefined) networks.push({ labels: own, usage: stats.network });
    for (const c of stats.containers) {
      const start = startedAt(pod, c.metadata.name);
      // It may have gone since it was counted.
      const status = await runtime.containerStatus(c.id).catch(() => undefined);
      const r = status?.resources;
      subjects.push({
        labels: {
          ...own,
          container: c.metadata.name,
          id: `${own['id']}/${c.id}`,
          image: status?.image.userSpecifiedImage ?? status?.image.image ?? '',
          name: c.id,
        },
        cpuNanos: c.cpu.usageCoreNanoSeconds,
        cpuAt: c.cpu.timestamp,
        memory: memoryOf(c.memory),
        disk: {
          at: c.writableLayer.timestamp,
          bytes: c.writableLayer.usedBytes,
          inodes: c.writableLayer.inodesUsed,
        },
        ...(start === undefined ? {} : { start }),
        ...(r === undefined
          ? {}
          : {
              limits: {
                ...(r.memoryLimitInBytes === undefined ? {} : { memory: r.memoryLimitInBytes }),
                ...(r.cpuQuota === undefined ? {} : { cpuQuota: r.cpuQuota }),
                ...(r.cpuPeriod === undefined ? {} : { cpuPeriod: r.cpuPeriod }),
                ...(r.cpuShares === undefined ? {} : { cpuShares: r.cpuShares }),
              },
            }),
      });
      await detail(subjects.at(-1)!, pod, false, c.id);
    }
  }
  const perSubject = (
    name: string,
    help: string,
    type: 'counter' | 'gauge',
    value: (s: Subject) => readonly [number, number] | undefined,
    more: Labels = {},
  ) => ({
    name,
    help,
    type,
    samples: subjects.flatMap((s) => {
      const v = value(s);
      return v === undefined ? [] : [`${name}${labelText({ ...s.labels, ...more })} ${v[0]} ${Math.round(v[1])}`];
    }),
  });
  const perInterface = (name: string, help: string, value: (i: NetworkUsage['interfaces'][number]) => number) => ({
    name,
    help,
    type: 'counter' as const,
    samples: networks.flatMap(({ labels: own, usage: n }) =>
      n.interfaces.map(
        (i) => `${name}${labelText({ ...own, interface: i.name })} ${value(i)} ${Math.round(n.timestamp)}`,
      ),
    ),
  });
  return families([
    {
      name: 'cadvisor_version_info',
      help: "A metric with a constant '1' value labeled by kernel version, OS version, docker version, cadvisor version & cadvisor revision.",
      type: 'gauge',
      samples: [
        `cadvisor_version_info${labelText({ cadvisorRevision: '', cadvisorVersion: '', dockerVersion: '', kernelVersion: machine.kernelVersion, osVersion: machine.osImage })} 1`,
      ],
    },
    perSubject(
      'container_cpu_usage_seconds_total',
      'Cumulative cpu time consumed in seconds.',
      'counter',
      (s) => [s.cpuNanos / 1e9, s.cpuAt],
      { cpu: 'total' },
    ),
    perSubject('container_fs_inodes_total', 'Number of Inodes', 'gauge', (s) =>
      s.disk === undefined ? undefined : [s.disk.inodes, s.disk.at],
    ),
    perSubject(
      'container_fs_usage_bytes',
      'Number of bytes that are consumed by the container on this filesystem.',
      'gauge',
      (s) => (s.disk === undefined ? undefined : [s.disk.bytes, s.disk.at]),
    ),
    {
      name: 'container_memory_failures_total',
      help: 'Cumulative count of memory allocation failures.',
      type: 'counter',
      samples: subjects.flatMap((s) => [
        `container_memory_failures_total${labelText({ ...s.labels, failure_type: 'pgfault', scope: 'hierarchy' })} ${s.memory.faults} ${Math.round(s.memory.at)}`,
        `container_memory_failures_total${labelText({ ...s.labels, failure_type: 'pgmajfault', scope: 'hierarchy' })} ${s.memory.majorFaults} ${Math.round(s.memory.at)}`,
      ]),
    },
    perSubject('container_memory_rss', 'Size of RSS in bytes.', 'gauge', (s) => [s.memory.rss, s.memory.at]),
    perSubject(
      'container_memory_usage_bytes',
      'Current memory usage in bytes, including all memory regardless of when it was accessed',
      'gauge',
      (s) => [s.memory.usage, s.memory.at],
    ),
    perSubject('container_memory_working_set_bytes', 'Current working set in bytes.', 'gauge', (s) => [
      s.memory.workingSet,
      s.memory.at,
    ]),
    perInterface('container_network_receive_bytes_total', 'Cumulative count of bytes received', (i) => i.rxBytes),
    perInterface(
      'container_network_receive_errors_total',
      'Cumulative count of errors encountered while receiving',
      (i) => i.rxErrors,
    ),
    perInterface('container_network_transmit_bytes_total', 'Cumulative count of bytes transmitted', (i) => i.txBytes),
    perInterface(
      'container_network_transmit_errors_total',
      'Cumulative count of errors encountered while transmitting',
      (i) => i.txErrors,
    ),
    perSubject('container_processes', 'Number of processes running inside the container.', 'gauge', (s) =>
      s.processes === undefined ? undefined : [s.processes, s.cpuAt],
    ),
    perSubject('container_spec_cpu_period', 'CPU period of the container.', 'gauge', (s) =>
      s.limits?.cpuPeriod === undefined ? undefined : [s.limits.cpuPeriod, s.cpuAt],
    ),
    perSubject('container_spec_cpu_quota', 'CPU quota of the container.', 'gauge', (s) =>
      s.limits?.cpuQuota === undefined || s.limits.cpuQuota <= 0 ? undefined : [s.limits.cpuQuota, s.cpuAt],
    ),
    perSubject('container_spec_cpu_shares', 'CPU share of the container.', 'gauge', (s) =>
      s.limits?.cpuShares === undefined ? undefined : [s.limits.cpuShares, s.cpuAt],
    ),
    perSubject('container_spec_memory_limit_bytes', 'Memory limit for the container.', 'gauge', (s) =>
      s.disk === undefined ? undefined : [s.limits?.memory ?? 0, s.cpuAt],
    ),
    perSubject(
      'container_start_time_seconds',
      'Start time of the container since unix epoch in seconds.',
      'gauge',
      (s) => (s.start === undefined ? undefined : [Date.parse(s.start) / 1000, s.cpuAt]),
    ),
    ...detailFamilies(detailed),
    {
      name: 'machine_cpu_cores',
      help: 'Number of logical CPU cores.',
      type: 'gauge',
      samples: [`machine_cpu_cores${labelText(machineLabels(machine))} ${machine.cpuCores}`],
    },
    {
      name: 'machine_memory_bytes',
      help: 'Amount of memory installed on the machine.',
      type: 'gauge',
      samples: [`machine_memory_bytes${labelText(machineLabels(machine))} ${machine.memoryBytes}`],
    },
    {
      name: 'machine_scrape_error',
      help: '1 if there was an error while getting machine metrics, 0 otherwise.',
      type: 'gauge',
      samples: ['machine_scrape_error 0'],
    },
  ]);
}

const machineLabels = (m: { bootId: string; machineId: string; systemUuid: string }): Labels => ({
  boot_id: m.bootId,
  machine_id: m.machineId,
  system_uuid: m.systemUuid,
});
