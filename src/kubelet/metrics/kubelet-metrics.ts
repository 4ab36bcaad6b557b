/**
 * What the kubelet itself counts, under upstream's names: pods and containers started and ended, calls of the runtime, pulls, what the
 * managers gave and refused. Gauges are read when somebody asks. Not the usage of containers, which `/metrics/resource` tells.
 */
import type { Family } from '../../base/metric-families.ts';
import { computed, expose, HistogramVector, Vector } from '../../base/metric-families.ts';

const defaultBounds = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10];
const runtimeBounds = Array.from({ length: 14 }, (_, i) => 0.005 * 2.5 ** i);
const admissionBounds = Array.from({ length: 15 }, (_, i) => 0.05 * 2 ** i);
const startBounds = [
  0.5, 1, 2, 3, 4, 5, 6, 8, 10, 20, 30, 45, 60, 120, 180, 240, 300, 360, 480, 600, 900, 1200, 1800, 2700, 3600,
];
const pullBounds = [1, 5, 10, 20, 30, 60, 120, 180, 240, 300, 360, 480, 600, 900, 1200, 1800, 2700, 3600];
const syncBounds = [0.01, 0.05, 0.1, 0.5, 1, 5, 10, 20, 30, 45, 60];
const resizeBounds = [10, 50, 100, 500, 1000, 2000, 5000, 10000, 20000, 30000, 60000, 120000, 300000, 600000];

const storageBounds = [0.1, 0.25, 0.5, 1, 2.5, 5, 10, 15, 25, 50, 120, 300, 600];
const draBounds = Array.from({ length: 15 }, (_, i) => 0.1 * 400 ** (i / 14));

/** By name without `kubelet_`: what it says, and its labels. */
const counters = {
  admission_rejections_total: ['Pods that were not admitted, by reason', ['reason']],
  container_aligned_compute_resources_count: [
    'Containers and pods that were given aligned resources, by what they are aligned within',
    ['scope', 'boundary'],
  ],
  container_aligned_compute_resources_failure_count: [
    'Containers and pods that could not be given aligned resources, by what they were to be aligned within',
    ['scope', 'boundary'],
  ],
  cpu_manager_pinning_errors_total: ['Allocations of exclusive CPUs that failed', []],
  cpu_manager_pinning_requests_total: ['Allocations of exclusive CPUs that were asked for', []],
  device_plugin_registration_total: ['Registrations of device plugins, by resource', ['resource_name']],
  image_garbage_collected_total: ['Images that were removed because of their age or for their space', ['reason']],
  image_manager_ensure_image_requests_total: [
    'Containers whose image was looked for, by whether it was there and had to be pulled',
    ['pull_policy', 'present_locally', 'pull_required'],
  ],
  image_volume_mounted_errors_total: ['Image volumes that could not be mounted', []],
  image_volume_mounted_succeed_total: ['Image volumes that were mounted', []],
  image_volume_requested_total: ['Image volumes that were asked for', []],
  lifecycle_handler_http_fallbacks_total: ['Lifecycle handlers that fell back from HTTPS to HTTP with success', []],
  memory_manager_pinning_errors_total: ['Allocations of pinned memory that failed', []],
  memory_manager_pinning_requests_total: ['Allocations of pinned memory that were asked for', []],
  orphaned_runtime_pods_total: ['Pods that the runtime had and nobody knew of', []],
  pod_infeasible_resizes_total: ['Resizes that can never be done on this node', ['reason_detail']],
  pod_resources_endpoint_errors_get: ['Failed calls of Get of the PodResources endpoint', ['server_api_version']],
  pod_resources_endpoint_requests_get: ['Calls of Get of the PodResources endpoint', ['server_api_version']],
  pod_resources_endpoint_requests_get_allocatable: [
    'Calls of GetAllocatableResources of the PodResources endpoint',
    ['server_api_version'],
  ],
  pod_resources_endpoint_requests_list: ['Calls of List of the PodResources endpoint', ['server_api_version']],
  pod_resources_endpoint_requests_total: ['Calls of the PodResources endpoint', ['server_api_version']],
  preemptions: [
    'Pods that ended to make room for a critical one, by the resource that was short',
    ['preemption_signal'],
  ],
  resource_manager_allocation_errors_total: [
    'Exclusive allocations of a resource manager that failed',
    ['resource_name', 'source'],
  ],
  resource_manager_allocations_total: ['Exclusive allocations of a resource manager', ['resource_name', 'source']],
  resource_manager_container_assignments: [
    'Containers that were assigned resources, by kind of assignment',
    ['resource_name', 'assignment_type'],
  ],
  run_podsandbox_errors_total: ["Sandboxes that could not be made, by the runtime's handler", ['runtime_handler']],
  runtime_operations_errors_total: ['Calls of the runtime that failed, by operation', ['operation_type']],
  runtime_operations_total: ['Calls of the runtime, by operation', ['operation_type']],
  sleep_action_terminated_early_total: ['Sleeps of lifecycle handlers that were ended before their time', []],
  started_containers_errors_total: ['Containers that could not be started', ['container_type', 'code']],
  started_containers_total: ['Containers that were started', ['container_type']],
  started_pods_errors_total: ['Pods that could not be started', []],
  started_pods_total: ['Pods that were started', []],
  started_user_namespaced_pods_errors_total: ['Pods with a user namespace that could not be started', []],
  started_user_namespaced_pods_total: ['Pods with a user namespace that were started', []],
  terminated_containers_total: ['Containers that ended', ['container_type', 'exit_code', 'reason']],
  topology_manager_admission_errors_total: ['Pods whose resources could not be aligned', []],
  topology_manager_admission_requests_total: ['Pods whose resources were to be aligned', []],
} as const satisfies Readonly<Record<string, readonly [string, readonly string[]]>>;

/** The same, with the bounds of the buckets. Seconds unless the name says otherwise. */
const histograms = {
  cgroup_manager_duration_seconds: ["How long an operation on a pod's cgroup took", ['operation_type'], defaultBounds],
  containers_per_pod_count: ['Containers of a pod', [], [1, 2, 4, 8, 16]],
  csi_operations_seconds: [
    'How long a call of a CSI driver took',
    ['driver_name', 'method_name', 'grpc_status_code', 'migrated'],
    storageBounds,
  ],
  device_plugin_alloc_duration_seconds: ["How long a device plugin's Allocate took", ['resource_name'], defaultBounds],
  dra_grpc_operations_duration_seconds: [
    'How long a call of a DRA driver took',
    ['driver_name', 'method_name', 'grpc_status_code'],
    draBounds,
  ],
  dra_operations_duration_seconds: [
    "How long it took to prepare a pod's claims, or to give them back",
    ['operation_name', 'is_error'],
    draBounds,
  ],
  image_pull_duration_seconds: ["How long a pull took, by the image's size", ['image_size_in_bytes'], pullBounds],
  pleg_pod_relist_duration_seconds: ['How long it took to read what the runtime has of a pod', [], defaultBounds],
  pod_resize_duration_milliseconds: ['How long it took to carry a resize out', ['success'], resizeBounds],
  pod_start_duration_seconds: ['From the first sight of a pod until it runs', [], startBounds],
  pod_start_sli_duration_seconds: [
    "From a pod's creation until it is seen to run, without pulls and init containers",
    [],
    startBounds,
  ],
  pod_start_total_duration_seconds: ["From a pod's creation until it is seen to run", [], startBounds],
  pod_status_sync_duration_seconds: ["From a change of a pod's status until the API has it", [], syncBounds],
  pod_worker_duration_seconds: ['How long a pass over a pod took', ['operation_type'], defaultBounds],
  pod_worker_start_duration_seconds: ['From the first sight of a pod until work on it begins', [], defaultBounds],
  run_podsandbox_duration_seconds: ['How long it took to make a sandbox', ['runtime_handler'], defaultBounds],
  runtime_operations_duration_seconds: ['How long a call of the runtime took', ['operation_type'], runtimeBounds],
  storage_operation_duration_seconds: [
    'How long it took to mount a volume',
    ['volume_plugin', 'operation_name', 'status', 'migrated'],
    storageBounds,
  ],
  topology_manager_admission_duration_ms: ['Milliseconds that the admission of a pod took', [], admissionBounds],
} as const satisfies Readonly<Record<string, readonly [string, readonly string[], readonly number[]]>>;

/** Read when they are asked for. */
const gauges = {
  active_pods: ['Pods that have not ended; static: not from the API', ['static']],
  cgroup_version: ["Version of the host's cgroups", []],
  cpu_manager_allocation_per_numa: ['Exclusive CPUs, by NUMA node', ['numa_node']],
  cpu_manager_exclusive_cpu_allocation_count: ['CPUs that containers have to themselves', []],
  cpu_manager_shared_pool_size_millicores: ['What containers share that have no CPUs to themselves', []],
  dra_resource_claims_in_use: ['Claims that pods of this node use, by driver; each once as `<any>`', ['driver_name']],
  desired_pods: ['Pods that the kubelet was told to run; static: not from the API', ['static']],
  first_network_pod_start_sli_duration_seconds: ['The same of the first pod that has a network of its own', []],
  graceful_shutdown_end_time_seconds: ['When the last graceful shutdown ended', []],
  graceful_shutdown_start_time_seconds: ['When the last graceful shutdown began', []],
  managed_ephemeral_containers: ['Ephemeral containers of the pods on this node', []],
  mirror_pods: ['Static pods that the API shows', []],
  pleg_last_seen_seconds: ['When the kubelet last heard from the runtime', []],
  pod_in_progress_resizes: ['Resizes that are being carried out', []],
  pod_pending_resizes: ['Resizes that wait, by reason', ['reason']],
  working_pods: [
    'Pods that are worked on, by where they are in their life; static: not from the API',
    ['lifecycle', 'config', 'static'],
  ],
} as const satisfies Readonly<Record<string, readonly [string, readonly string[]]>>;

/** Those whose names upstream has without its prefix. */
const bare: ReadonlySet<string> = new Set([
  'resource_manager_allocations_total',
  'resource_manager_allocation_errors_total',
  'resource_manager_container_assignments',
  'csi_operations_seconds',
  'dra_grpc_operations_duration_seconds',
  'dra_operations_duration_seconds',
  'dra_resource_claims_in_use',
  'storage_operation_duration_seconds',
]);
const beta: ReadonlySet<string> = new Set([
  'image_volume_mounted_errors_total',
  'image_volume_mounted_succeed_total',
  'image_volume_requested_total',
]);

export type CounterName = keyof typeof counters;
export type HistogramName = keyof typeof histograms;
export type GaugeName = keyof typeof gauges;
/** Values of one gauge: the values of its labels, and its own. */
export type GaugeSamples = Iterable<readonly [labels: readonly string[], value: number]>;

const fullName = (name: string): string => (bare.has(name) ? name : `kubelet_${name}`);
const helpOf = (name: string, text: string): string => `[${beta.has(name) ? 'BETA' : 'ALPHA'}] ${text}`;
const labelsOf = (names: readonly string[], values: readonly string[]): Record<string, string> =>
  Object.fromEntries(names.map((n, i) => [n, values[i] ?? '']));

export class KubeletMetrics {
  readonly #counters = new Map<CounterName, Vector>();
  readonly #histograms = new Map<HistogramName, HistogramVector>();
  readonly #gauges = new Map<GaugeName, () => GaugeSamples>();

  constructor() {
    for (const [name, [help, labels]] of Object.entries(counters)) {
      const family = new Vector('counter', fullName(name), helpOf(name, help));
      this.#counters.set(name as CounterName, family);
      // What has no labels is there from the beginning.
      if (labels.length === 0) family.series('', () => ({}));
    }
    for (const [name, [help, labels, bounds]] of Object.entries(histograms)) {
      const family = new HistogramVector(fullName(name), helpOf(name, help), bounds);
      this.#histograms.set(name as HistogramName, family);
      if (labels.length === 0) family.series('', () => ({}));
    }
  }

  /** `values`: of the labels, in the table's order. `by` 0 makes the series be there. */
  count(name: CounterName, values: readonly string[] = [], by = 1): void {
    const family = this.#counters.get(name)!;
    family.series(values.join('\0'), () => labelsOf(counters[name][1], values)).inc(by);
  }

  observe(name: HistogramName, value: number, values: readonly string[] = []): void {
    const family = this.#histograms.get(name)!;
    family.series(values.join('\0'), () => labelsOf(histograms[name][1], values)).observe(value);
  }

  /** Where a gauge's values are read from now on. */
  gauge(name: GaugeName, read: () => GaugeSamples): void {
    this.#gauges.set(name, read);
  }

  /** A gauge of one value that changes now and then. */
  set(name: GaugeName, value: number): void {
    this.#gauges.set(name, () => [[[], value]]);
  }

  /** The same of a value that stays what it was first. */
  setOnce(name: GaugeName, value: number): void {
    if (!this.#gauges.has(name)) this.set(name, value);
  }

  /** In Prometheus' text format; families without a series are left out. */
  text(): string {
    const all: Family[] = [...this.#counters.values(), ...this.#histograms.values()];
    for (const [name, read] of this.#gauges) {
      const [help, labels] = gauges[name];
      all.push(
        computed('gauge', fullName(name), helpOf(name, help), function* () {
          for (const [values, value] of read()) yield [labelsOf(labels, values), value] as const;
        }),
      );
    }
    const told = all.filter((f) => !f.lines()[Symbol.iterator]().next().done);
    return expose(told.sort((a, b) => (a.name < b.name ? -1 : 1)));
  }
}
