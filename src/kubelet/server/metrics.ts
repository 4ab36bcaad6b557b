/** The kubelet's metrics in Prometheus' text format: of its HTTP server, and of the usage of containers (`/metrics/resource`). */
import { labelText } from '../../base/prometheus-text.ts';
import type { VolumeUsage } from '../host/node-host.ts';
import type { StatsDeps } from './stats.ts';
import { podStats, startedAt } from './stats.ts';

const roots = new Set([
  'attach',
  'configz',
  'containerLogs',
  'exec',
  'healthz',
  'logs',
  'metrics',
  'pods',
  'portForward',
  'run',
  'runningpods',
  'stats',
]);
const longRunning = new Set(['exec', 'attach', 'portForward', 'containerLogs']);
const methods = new Set(['OPTIONS', 'GET', 'HEAD', 'POST', 'PUT', 'DELETE', 'TRACE', 'CONNECT']);
const buckets = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10];

interface Family {
  readonly name: string;
  readonly help: string;
  readonly type: 'counter' | 'gauge' | 'histogram';
  readonly samples: readonly string[];
}

export function families(all: readonly Family[]): string {
  let out = '';
  for (const f of all) {
    if (f.samples.length === 0) continue;
    out += `# HELP ${f.name} ${f.help}\n# TYPE ${f.name} ${f.type}\n${f.samples.join('\n')}\n`;
  }
  return out;
}

interface RequestCounts {
  readonly labels: Readonly<Record<string, string>>;
  total: number;
  inflight: number;
  sum: number;
  readonly counts: number[];
}

/** Counts requests by method and first part of the path: a bounded number of series. */
export class KubeletServerMetrics {
  readonly #requests = new Map<string, RequestCounts>();

  /** Counts a request that begins; the returned function takes the seconds it took. */
  begin(method: string, path: string): (seconds: number) => void {
    const root = path.split('/')[1] ?? '';
    const bucket = root === 'metrics' ? path.slice(1).split('/').slice(0, 2).join('/') : root;
    const known = roots.has(root) ? bucket : 'other';
    const m = methods.has(method) ? method : 'other';
    const key = `${m} ${known}`;
    let counts = this.#requests.get(key);
    if (counts === undefined) {
      counts = {
        labels: {
          long_running: String(longRunning.has(root)),
          method: m,
          path: known.slice(0, 32),
          server_type: 'readwrite',
        },
        total: 0,
        inflight: 0,
        sum: 0,
        counts: buckets.map(() => 0),
      };
      if (this.#requests.size < 200) this.#requests.set(key, counts);
    }
    const c = counts;
    c.total++;
    c.inflight++;
    return (seconds) => {
      c.inflight--;
      c.sum += seconds;
      for (const [i, le] of buckets.entries()) if (seconds <= le) c.counts[i]!++;
    };
  }

  async text(deps: StatsDeps): Promise<string> {
    const all = [...this.#requests.values()];
    const sandboxes = await deps.runtime.listPodSandbox({ state: 'SANDBOX_READY' });
    const containers = await deps.runtime.listContainers();
    const states = new Map<string, number>();
    for (const c of containers) {
      const state = c.state.replace('CONTAINER_', '').toLowerCase();
      states.set(state, (states.get(state) ?? 0) + 1);
    }
    return families([
      {
        name: 'kubelet_http_requests_total',
        help: 'Number of the http requests received since the server started',
        type: 'counter',
        samples: all.map((c) => `kubelet_http_requests_total${labelText(c.labels)} ${c.total}`),
      },
      {
        name: 'kubelet_http_inflight_requests',
        help: 'Number of the inflight http requests',
        type: 'gauge',
        samples: all.map((c) => `kubelet_http_inflight_requests${labelText(c.labels)} ${c.inflight}`),
      },
      {
        name: 'kubelet_http_requests_duration_seconds',
        help: 'Duration in seconds to serve http requests',
        type: 'histogram',
        samples: all.flatMap((c) => {
          const name = 'kubelet_http_requests_duration_seconds';
          const ended = c.total - c.inflight;
          return [
            ...buckets.map((le, i) => `${name}_bucket${labelText({ ...c.labels, le: String(le) })} ${c.counts[i]!}`),
            `${name}_bucket${labelText({ ...c.labels, le: '+Inf' })} ${ended}`,
            `${name}_sum${labelText(c.labels)} ${c.sum}`,
            `${name}_count${labelText(c.labels)} ${ended}`,
          ];
        }),
      },
      {
        name: 'kubelet_node_name',
        help: "The node's name. The count is always 1.",
        type: 'gauge',
        samples: [`kubelet_node_name${labelText({ node: deps.nodeName })} 1`],
      },
      {
        name: 'kubelet_running_pods',
        help: 'Number of pods that have a running pod sandbox',
        type: 'gauge',
        samples: [`kubelet_running_pods ${sandboxes.length}`],
      },
      {
        name: 'kubelet_running_containers',
        help: 'Number of containers currently running',
        type: 'gauge',
        samples: [...states].map(
          ([state, n]) => `kubelet_running_containers${labelText({ container_state: state })} ${n}`,
        ),
      },
    ]);
  }
}

export interface ClaimUsage {
  readonly namespace: string;
  readonly claim: string;
  readonly usage: VolumeUsage;
}

/** Evictions by signal, and what claims' volumes hold. */
export function managerMetrics(evictions: ReadonlyMap<string, number>, claims: readonly ClaimUsage[]): string {
  const volume = (name: string, help: string, value: (u: VolumeUsage) => number): Family => ({
    name: `kubelet_volume_stats_${name}`,
    help: `[ALPHA] ${help}`,
    type: 'gauge',
    samples: claims.map(
      (c) =>
        `kubelet_volume_stats_${name}${labelText({ namespace: c.namespace, persistentvolumeclaim: c.claim })} ${value(c.usage)}`,
    ),
  });
  return families([
    {
      name: 'kubelet_evictions',
      help: '[ALPHA] Cumulative number of pod evictions by eviction signal',
      type: 'counter',
      samples: [...evictions].map(([signal, n]) => `kubelet_evictions${labelText({ eviction_signal: signal })} ${n}`),
    },
    volume('available_bytes', 'Number of available bytes in the volume', (u) => u.availableBytes),
    volume('capacity_bytes', 'Capacity in bytes of the volume', (u) => u.capacityBytes),
    volume('inodes', 'Maximum number of inodes in the volume', (u) => u.inodes),
    volume('inodes_free', 'Number of free inodes in the volume', (u) => u.inodesFree),
    volume('inodes_used', 'Number of used inodes in the volume', (u) => u.inodesUsed),
    volume('used_bytes', 'Number of used bytes in the volume', (u) => u.usedBytes),
  ]);
}

/** Usage of the node, its pods and their containers: what metrics-server reads. */
export async function resourceMetrics(deps: StatsDeps): Promise<string> {
  const [usage, pods] = await Promise.all([deps.host.usage(), podStats(deps)]);
  const containers = pods.flatMap(({ stats, pod }) =>
    stats.containers.map((c) => ({
      stats: c,
      start: startedAt(pod, c.metadata.name),
      labels: labelText({ container: c.metadata.name, namespace: stats.metadata.namespace, pod: stats.metadata.name }),
    })),
  );
  const podLabels = (p: (typeof pods)[number]): string =>
    labelText({ namespace: p.stats.metadata.namespace, pod: p.stats.metadata.name });
  return families([
    {
      name: 'container_cpu_usage_seconds_total',
      help: '[STABLE] Cumulative cpu time consumed by the container in core-seconds',
      type: 'counter',
      samples: containers.map(
        (c) =>
          `container_cpu_usage_seconds_total${c.labels} ${c.stats.cpu.usageCoreNanoSeconds / 1e9} ${c.stats.cpu.timestamp}`,
      ),
    },
    {
      name: 'container_memory_working_set_bytes',
      help: '[STABLE] Current working set of the container in bytes',
      type: 'gauge',
      samples: containers.map(
        (c) =>
          `container_memory_working_set_bytes${c.labels} ${c.stats.memory.workingSetBytes} ${c.stats.memory.timestamp}`,
      ),
    },
    {
      name: 'container_start_time_seconds',
      help: '[STABLE] Start time of the container since unix epoch in seconds',
      type: 'gauge',
      samples: containers
        .filter((c) => c.start !== undefined)
        .map((c) => `container_start_time_seconds${c.labels} ${Date.parse(c.start!) / 1000}`),
    },
    {
      name: 'node_cpu_usage_seconds_total',
      help: '[STABLE] Cumulative cpu time consumed by the node in core-seconds',
      type: 'counter',
      samples: [`node_cpu_usage_seconds_total ${usage.cpu.usageCoreNanoSeconds / 1e9} ${usage.cpu.timestamp}`],
    },
    {
      name: 'node_memory_working_set_bytes',
      help: '[STABLE] Current working set of the node in bytes',
      type: 'gauge',
      samples: [`node_memory_working_set_bytes ${usage.memory.workingSetBytes} ${usage.memory.timestamp}`],
    },
    {
      name: 'node_swap_usage_bytes',
      help: 'Current swap usage of the node in bytes. Reported only on non-windows systems',
      type: 'gauge',
      samples: [`node_swap_usage_bytes ${usage.swapUsageBytes} ${usage.memory.timestamp}`],
    },
    {
      name: 'pod_cpu_usage_seconds_total',
      help: '[STABLE] Cumulative cpu time consumed by the pod in core-seconds',
      type: 'counter',
      samples: pods.map(
        (p) =>
          `pod_cpu_usage_seconds_total${podLabels(p)} ${p.stats.cpu.usageCoreNanoSeconds / 1e9} ${p.stats.cpu.timestamp}`,
      ),
    },
    {
      name: 'pod_memory_working_set_bytes',
      help: '[STABLE] Current working set of the pod in bytes',
      type: 'gauge',
      samples: pods.map(
        (p) =>
          `pod_memory_working_set_bytes${podLabels(p)} ${p.stats.memory.workingSetBytes} ${p.stats.memory.timestamp}`,
      ),
    },
    {
      name: 'resource_scrape_error',
      help: '[STABLE] 1 if there was an error while getting container metrics, 0 otherwise',
      type: 'gauge',
      samples: ['resource_scrape_error 0'],
    },
  ]);
}
