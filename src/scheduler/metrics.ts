/** What the scheduler measures, with upstream's names (`scheduler_…`). */
import { computed, HistogramVector, Vector } from '../base/metric-families.ts';
import type { Family } from '../base/metric-families.ts';
import type { ClusterEvent } from './framework.ts';

const doubled = (from: number, n: number): number[] => Array.from({ length: n }, (_, i) => from * 2 ** i);

export type ExtensionPoint = 'PreFilter' | 'Filter' | 'PostFilter' | 'Score' | 'PreBind' | 'Bind';
export type ExtensionStatus = 'Success' | 'Unschedulable' | 'Error';
export type AttemptResult = 'scheduled' | 'unschedulable' | 'error';

/** Why a pod came into a queue, besides what happens in the cluster. */
export type QueueEvent =
  | ClusterEvent
  | 'UnschedulablePodAdd'
  | 'UnschedulablePodUpdate'
  | 'ScheduleAttemptFailure'
  | 'BackoffComplete'
  | 'UnschedulableTimeout';

/** What upstream calls those that it calls otherwise. */
const eventNames: Partial<Record<QueueEvent, string>> = {
  NodeAllocatable: 'NodeUpdateNodeAllocatable',
  NodeLabel: 'NodeUpdateNodeLabel',
  NodeTaint: 'NodeUpdateNodeTaint',
  NodeCondition: 'NodeUpdateNodeCondition',
  PvChange: 'PersistentVolumeUpdate',
  PvcAdd: 'PersistentVolumeClaimAdd',
  PvcChange: 'PersistentVolumeClaimUpdate',
  CsiNodeAdd: 'storage.k8s.io/CSINodeAdd',
  CsiNodeGrown: 'storage.k8s.io/CSINodeUpdate',
  VolumeAttachmentDelete: 'storage.k8s.io/VolumeAttachmentDelete',
  StorageClassAdd: 'storage.k8s.io/StorageClassAdd',
  VolumePodDelete: 'AssignedPodDelete',
};

/** Read when somebody asks. */
export interface SchedulerState {
  readonly pending: {
    readonly active: number;
    readonly backoff: number;
    readonly unschedulable: number;
    readonly gated: number;
  };
  readonly nodes: number;
  readonly pods: number;
  /** Placed and not bound yet. */
  readonly assumed: number;
  /** How many pods wait because of a plugin. */
  refusals(): Iterable<readonly [labels: { readonly plugin: string; readonly profile: string }, pods: number]>;
}

export class SchedulerMetrics {
  readonly #attempts = new Vector(
    'counter',
    'scheduler_schedule_attempts_total',
    "[STABLE] Tries to place pods by what came of it: 'unschedulable' found no node, 'error' went wrong in the scheduler.",
  );
  readonly #attemptSeconds = new HistogramVector(
    'scheduler_scheduling_attempt_duration_seconds',
    '[STABLE] How long a try took, the binding with it, in seconds.',
    doubled(0.001, 15),
  );
  readonly #algorithmSeconds = new HistogramVector(
    'scheduler_scheduling_algorithm_duration_seconds',
    '[ALPHA] How long it took to find a node, in seconds.',
    doubled(0.001, 15),
  );
  readonly #podSeconds = new HistogramVector(
    'scheduler_pod_scheduling_sli_duration_seconds',
    '[BETA] From when a pod came into the queue until it was bound, over all its tries, in seconds.',
    doubled(0.01, 20),
  );
  readonly #podAttempts = new HistogramVector(
    'scheduler_pod_scheduling_attempts',
    '[STABLE] Tries that it took to place a pod.',
    doubled(1, 5),
  );
  readonly #points = new HistogramVector(
    'scheduler_framework_extension_point_duration_seconds',
    '[STABLE] How long all plugins of an extension point took together, in seconds.',
    doubled(0.0001, 12),
  );
  readonly #preemptions = new Vector(
    'counter',
    'scheduler_preemption_attempts_total',
    '[STABLE] How often it was looked for pods that could make room.',
  );
  readonly #victims = new HistogramVector(
    'scheduler_preemption_victims',
    '[STABLE] Pods that had to go to make room for one.',
    doubled(1, 7),
  );
  readonly #incoming = new Vector(
    'counter',
    'scheduler_queue_incoming_pods_total',
    '[STABLE] Pods that came into a queue, by queue and reason.',
  );
  state: SchedulerState | undefined = undefined;
  readonly families: readonly Family[];

  constructor() {
    this.#preemptions.series('', () => ({}));
    this.families = [
      computed('gauge', 'scheduler_pending_pods', '[STABLE] Pods that wait, by the queue they are in.', () =>
        Object.entries(this.state?.pending ?? { active: 0, backoff: 0, unschedulable: 0, gated: 0 }).map(
          ([queue, n]) => [{ queue }, n] as const,
        ),
      ),
      computed(
        'gauge',
        'scheduler_cache_size',
        '[ALPHA] Nodes, pods and assumed pods that the scheduler knows.',
        () => {
          const { nodes = 0, pods = 0, assumed = 0 } = this.state ?? {};
          return [
            [{ type: 'nodes' }, nodes],
            [{ type: 'pods' }, pods],
            [{ type: 'assumed_pods' }, assumed],
          ];
        },
      ),
      computed(
        'gauge',
        'scheduler_unschedulable_pods',
        '[ALPHA] Pods that no node would have, by the plugins that refused them; a pod counts for each of those.',
        () => this.state?.refusals() ?? [],
      ),
      this.#attempts,
      this.#attemptSeconds,
      this.#algorithmSeconds,
      this.#podSeconds,
      this.#podAttempts,
      this.#points,
      this.#preemptions,
      this.#victims,
      this.#incoming,
    ];
  }

  attempted(profile: string, result: AttemptResult, seconds: number): void {
    const labels = (): Record<string, string> => ({ profile, result });
    this.#attempts.series(`${profile} ${result}`, labels).inc();
    this.#attemptSeconds.series(`${profile} ${result}`, labels).observe(seconds);
  }

  algorithm(seconds: number): void {
    this.#algorithmSeconds.series('', () => ({})).observe(seconds);
  }

  /** `seconds` of the cluster's clock. */
  placed(attempts: number, seconds: number): void {
    const label = attempts >= 15 ? '15+' : String(attempts);
    this.#podSeconds.series(label, () => ({ attempts: label })).observe(seconds);
    this.#podAttempts.series('', () => ({})).observe(attempts);
  }

  ran(profile: string, point: ExtensionPoint, status: ExtensionStatus, seconds: number): void {
    this.#points
      .series(`${profile} ${point} ${status}`, () => ({ extension_point: point, profile, status }))
      .observe(seconds);
  }

  preempted(victims: number): void {
    this.#preemptions.series('', () => ({})).inc();
    if (victims > 0) this.#victims.series('', () => ({})).observe(victims);
  }

  incoming(queue: 'active' | 'backoff' | 'unschedulable', event: QueueEvent): void {
    this.#incoming.series(`${queue} ${event}`, () => ({ event: eventNames[event] ?? event, queue })).inc();
  }
}
