/** What single controllers measure, with upstream's names; what all of them do, their queues, is measured with the queues. */
import { computed, HistogramVector, Vector } from '../base/metric-families.ts';
import type { Family } from '../base/metric-families.ts';

export type JobSyncAction = 'reconciling' | 'tracking' | 'pods_created' | 'pods_deleted';

export interface ZoneHealth {
  readonly nodes: number;
  readonly unhealthy: number;
}

export class ControllerMetrics {
  readonly #jobSyncs = new Vector(
    'counter',
    'job_controller_job_syncs_total',
    '[STABLE] Passes over jobs, by what was done and how it went.',
  );
  readonly #jobSyncSeconds = new HistogramVector(
    'job_controller_job_sync_duration_seconds',
    '[STABLE] How long a pass over a job took, in seconds.',
    Array.from({ length: 15 }, (_, i) => 0.004 * 2 ** i),
  );
  readonly #jobsFinished = new Vector(
    'counter',
    'job_controller_jobs_finished_total',
    '[STABLE] Jobs that ended, by outcome and reason.',
  );
  readonly #jobPodsFinished = new Vector(
    'counter',
    'job_controller_job_pods_finished_total',
    '[STABLE] Ended pods that were counted in the status of their job.',
  );
  readonly #cronJobSkew = new HistogramVector(
    'cronjob_controller_job_creation_skew_duration_seconds',
    '[STABLE] From when a run was due until its job was created, in seconds.',
    Array.from({ length: 10 }, (_, i) => 2 ** i),
  );
  readonly #evictions = new Vector(
    'counter',
    'node_collector_evictions_total',
    '[STABLE] Nodes whose pods were to go because the node was not well, by zone.',
  );
  readonly #zones = new Map<string, ZoneHealth>();
  readonly families: readonly Family[];

  constructor() {
    this.#cronJobSkew.series('', () => ({}));
    const ofZone = (name: string, help: string, value: (zone: ZoneHealth) => number): Family =>
      computed('gauge', `node_collector_${name}`, help, () =>
        [...this.#zones].map(([zone, health]) => [{ zone }, value(health)] as const),
      );
    this.families = [
      this.#jobSyncs,
      this.#jobSyncSeconds,
      this.#jobsFinished,
      this.#jobPodsFinished,
      this.#cronJobSkew,
      this.#evictions,
      ofZone('zone_size', '[ALPHA] Nodes of a zone.', (z) => z.nodes),
      ofZone('zone_health', '[ALPHA] How many of a hundred nodes of a zone are well.', (z) =>
        z.nodes === 0 ? 100 : (100 * (z.nodes - z.unhealthy)) / z.nodes,
      ),
      ofZone('unhealthy_nodes_in_zone', '[ALPHA] Nodes of a zone that are not ready.', (z) => z.unhealthy),
    ];
  }

  jobSynced(completionMode: string, ok: boolean, action: JobSyncAction, seconds: number): void {
    const result = ok ? 'success' : 'error';
    const key = `${completionMode} ${result} ${action}`;
    const labels = (): Record<string, string> => ({ action, completion_mode: completionMode, result });
    this.#jobSyncs.series(key, labels).inc();
    this.#jobSyncSeconds.series(key, labels).observe(seconds);
  }

  jobFinished(completionMode: string, succeeded: boolean, reason: string): void {
    const result = succeeded ? 'succeeded' : 'failed';
    this.#jobsFinished
      .series(`${completionMode} ${result} ${reason}`, () => ({ completion_mode: completionMode, reason, result }))
      .inc();
  }

  jobPodsFinished(completionMode: string, result: 'succeeded' | 'failed', pods: number): void {
    this.#jobPodsFinished
      .series(`${completionMode} ${result}`, () => ({ completion_mode: completionMode, result }))
      .inc(Math.max(0, pods));
  }

  cronJobStarted(lateSeconds: number): void {
    this.#cronJobSkew.series('', () => ({})).observe(lateSeconds);
  }

  /** `by` 0 makes the series be there. */
  evicted(zone: string, by = 1): void {
    this.#evictions.series(zone, () => ({ zone })).inc(by);
  }

  zones(all: ReadonlyMap<string, ZoneHealth>): void {
    for (const zone of this.#zones.keys()) if (!all.has(zone)) this.#zones.set(zone, { nodes: 0, unhealthy: 0 });
    for (const [zone, health] of all) this.#zones.set(zone, health);
  }
}
