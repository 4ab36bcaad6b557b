/** How long one pod takes to run, from its creation and from its first sight, without pulls and init containers where that is asked. */
import type { Clock } from '../../base/clock.ts';
import { isSidecar } from '../../api/helpers/pod-resources.ts';
import { timeMs } from '../../api/time.ts';
import type { Pod } from '../../api/types/index.gen.ts';
import type { KubeletMetrics } from './kubelet-metrics.ts';

/** A container as the runtime tells of it; milliseconds since the epoch. */
interface Ran {
  readonly metadata: { readonly name: string };
  readonly state: string;
  readonly startedAt: number;
  readonly finishedAt: number;
}

export class PodStartup {
  readonly #metrics: KubeletMetrics;
  readonly #clock: Clock;
  readonly #seen: number;
  /** It could not be scheduled at once: what it waited for is not the node's doing. */
  #excluded: boolean;
  #passed = false;
  #running = false;
  #told = false;

  /** `pod`: at its first sight. */
  constructor(metrics: KubeletMetrics, clock: Clock, pod: Pod) {
    this.#metrics = metrics;
    this.#clock = clock;
    this.#seen = clock.now();
    this.#excluded = wasUnschedulable(pod) || pod.status?.startTime !== undefined;
  }

  /** Work on it begins. */
  working(pod: Pod): void {
    this.#metrics.observe('pod_worker_start_duration_seconds', this.#since(this.#seen));
    this.#metrics.observe('containers_per_pod_count', pod.spec?.containers.length ?? 0);
  }

  /** A pass over the pod. */
  async timed(ending: boolean, pass: () => Promise<void>): Promise<void> {
    const began = this.#clock.monotonic();
    const type = this.#passed ? (ending ? 'kill' : 'sync') : 'create';
    this.#passed = true;
    try {
      await pass();
    } finally {
      this.#metrics.observe('pod_worker_duration_seconds', (this.#clock.monotonic() - began) / 1000, [type]);
    }
  }

  /** This kubelet says that it runs. */
  running(): void {
    if (this.#running) return;
    this.#running = true;
    this.#metrics.observe('pod_start_duration_seconds', this.#since(this.#seen));
  }

  /** The API says what it has. `containers`: what the runtime has; `pulling`: milliseconds that pulls took. */
  observed(pod: Pod, containers: readonly Ran[], pulling: number): void {
    if (this.#told || this.#excluded || !this.#running) return;
    if (wasUnschedulable(pod)) this.#excluded = true;
    const statuses = pod.status?.containerStatuses ?? [];
    if (this.#excluded || statuses.length === 0 || statuses.some((s) => s.state?.running === undefined)) return;
    this.#told = true;
    const all = this.#since(timeMs(pod.metadata.creationTimestamp));
    this.#metrics.observe('pod_start_total_duration_seconds', all);
    if (isStateful(pod)) return;
    let own = all - pulling / 1000;
    const init = new Set(pod.spec?.initContainers?.filter((c) => !isSidecar(c)).map((c) => c.name));
    for (const c of containers)
      if (c.state === 'CONTAINER_EXITED' && init.has(c.metadata.name)) own -= (c.finishedAt - c.startedAt) / 1000;
    own = Math.max(0, own);
    this.#metrics.observe('pod_start_sli_duration_seconds', own);
    if (pod.spec?.hostNetwork !== true) this.#metrics.setOnce('first_network_pod_start_sli_duration_seconds', own);
  }

  #since(ms: number): number {
    return Math.max(0, (this.#clock.now() - ms) / 1000);
  }
}

function wasUnschedulable(pod: Pod): boolean {
  return pod.status?.conditions?.some((c) => c.type === 'PodScheduled' && c.status === 'False') === true;
}

/** As the objective for pod startup has it: mounts something that lives longer than the pod, or elsewhere. */
function isStateful(pod: Pod): boolean {
  return (pod.spec?.volumes ?? []).some(
    (v) =>
      v.secret === undefined &&
      v.configMap === undefined &&
      v.downwardAPI === undefined &&
      v.emptyDir === undefined &&
      v.projected === undefined,
  );
}
