/** What the CPU, memory and topology managers tell of themselves: who asked for what, who was given it, and what is left. */
import { podQOSClass } from '../../api/helpers/pod-qos.ts';
import type { Pod } from '../../api/types/index.gen.ts';
import { exclusiveCpus, hasPodResources } from '../resources/cpu-policy.ts';
import type { StaticCpuPolicy } from '../resources/cpu-policy.ts';
import type { MachineTopology } from '../resources/machine-topology.ts';
import { cpusIn, partsOf } from '../resources/machine-topology.ts';
import type { StaticMemoryPolicy } from '../resources/memory-policy.ts';
import type { HintProvider } from '../resources/topology-hints.ts';
import { AdmissionError, allContainers } from '../resources/topology-hints.ts';
import type { KubeletMetrics } from './kubelet-metrics.ts';

const aligned = 'container_aligned_compute_resources_count';
const unaligned = 'container_aligned_compute_resources_failure_count';

/** The static CPU policy as a provider whose allocations are counted; its gauges are read from its state. */
export function countedCpus(
  policy: StaticCpuPolicy,
  topology: MachineTopology,
  fullCores: boolean,
  metrics: KubeletMetrics,
): HintProvider {
  metrics.count(aligned, ['container', 'physical_cpu'], 0);
  metrics.count(aligned, ['container', 'uncore_cache'], 0);
  metrics.count(unaligned, ['container', 'physical_cpu'], 0);
  const exclusive = (): Set<number> => {
    const out = new Set<number>();
    for (const containers of policy.state.assigned.values())
      for (const cpus of containers.values()) for (const c of cpus) out.add(c);
    return out;
  };
  metrics.gauge('cpu_manager_exclusive_cpu_allocation_count', () => [[[], exclusive().size]]);
  metrics.gauge('cpu_manager_shared_pool_size_millicores', () => {
    let free = 0;
    for (const c of policy.state.shared) if (!policy.reserved.has(c)) free += 1000;
    return [[[], free]];
  });
  metrics.gauge('cpu_manager_allocation_per_numa', () => {
    const given = exclusive();
    return partsOf(topology.cpus, 'numa').map((node) => {
      let n = 0;
      for (const c of cpusIn(topology.cpus, 'numa', node)) if (given.has(c)) n++;
      return [[String(node)], n];
    });
  });
  const oneCache = (cpus: ReadonlySet<number>): boolean =>
    new Set([...cpus].map((c) => topology.cpus.get(c)?.uncore)).size === 1;
  return {
    hints: (pod, container) => policy.hints(pod, container),
    podHints: (pod) => policy.podHints(pod),
    allocate: (pod, container, hint) => {
      if (exclusiveCpus(pod, container) === 0) return;
      const uid = pod.metadata.uid!;
      const had = policy.exclusive(uid, container.name) !== undefined;
      metrics.count('cpu_manager_pinning_requests_total');
      try {
        policy.allocate(pod, container, hint);
      } catch (error) {
        metrics.count('cpu_manager_pinning_errors_total');
        metrics.count('resource_manager_allocation_errors_total', ['cpu', 'node']);
        if (fullCores) metrics.count(unaligned, ['container', 'physical_cpu']);
        throw error;
      }
      if (fullCores) metrics.count(aligned, ['container', 'physical_cpu']);
      if (had) return;
      if (oneCache(policy.exclusive(uid, container.name)!)) metrics.count(aligned, ['container', 'uncore_cache']);
      metrics.count('resource_manager_allocations_total', ['cpu', 'node']);
      metrics.count('resource_manager_container_assignments', ['cpu', 'node_exclusive']);
    },
  };
}

/** The static memory policy as a provider whose allocations are counted. */
export function countedMemory(policy: StaticMemoryPolicy, metrics: KubeletMetrics): HintProvider {
  return {
    hints: (pod, container) => policy.hints(pod, container),
    podHints: (pod) => policy.podHints(pod),
    allocate: (pod, container, hint) => {
      if (podQOSClass(pod as never) !== 'Guaranteed' || hasPodResources(pod)) return;
      const uid = pod.metadata.uid!;
      const had = policy.blocks(uid, container.name) !== undefined;
      metrics.count('memory_manager_pinning_requests_total');
      try {
        policy.allocate(pod, container, hint);
      } catch (error) {
        metrics.count('memory_manager_pinning_errors_total');
        metrics.count('resource_manager_allocation_errors_total', ['memory', 'node']);
        throw error;
      }
      if (had) return;
      const given = policy.blocks(uid, container.name)?.length ?? 0;
      metrics.count('resource_manager_allocations_total', ['memory', 'node'], given);
      metrics.count('resource_manager_container_assignments', ['memory', 'node_exclusive']);
    },
  };
}

/** Counts and times the admission of pods; alignment only where the policy guarantees it. */
export class AdmissionCounts {
  readonly #metrics: KubeletMetrics;
  readonly #scope: 'pod' | 'container';
  readonly #guaranteed: boolean;

  constructor(metrics: KubeletMetrics, policy: string, scope: string) {
    this.#metrics = metrics;
    this.#scope = scope === 'pod' ? 'pod' : 'container';
    this.#guaranteed = policy === 'single-numa-node';
    for (const s of ['container', 'pod'])
      for (const name of [aligned, unaligned] as const) metrics.count(name, [s, 'numa_node'], 0);
  }

  /** Rejects as `admit` does. */
  async run(pod: Pod, now: () => number, admit: () => Promise<void>): Promise<void> {
    const metrics = this.#metrics;
    const began = now();
    metrics.count('topology_manager_admission_requests_total');
    try {
      await admit();
      if (!this.#guaranteed) return;
      const n = this.#scope === 'pod' ? 1 : allContainers(pod).length;
      metrics.count(aligned, [this.#scope, 'numa_node'], n);
    } catch (error) {
      metrics.count('topology_manager_admission_errors_total');
      if (this.#guaranteed && error instanceof AdmissionError && error.reason === 'TopologyAffinityError')
        metrics.count(unaligned, [this.#scope, 'numa_node']);
      throw error;
    } finally {
      metrics.observe('topology_manager_admission_duration_ms', now() - began);
    }
  }
}
