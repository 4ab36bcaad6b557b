/** What `/metrics/probes` tells: how often each probe succeeded and failed, and how long the good ones took. */
import { labelText } from '../../base/prometheus-text.ts';
import type { Pod } from '../../api/types/index.gen.ts';

export type ProbeOutcome = 'successful' | 'failed' | 'unknown';

interface Counts {
  readonly labels: Readonly<Record<string, string>>;
  readonly results: Partial<Record<ProbeOutcome, number>>;
  readonly buckets: number[];
  sum: number;
}

const bounds = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10];

export class ProbeMetrics {
  readonly #pods = new Map<string, Map<string, Counts>>();

  /** `seconds` of real or cluster time, as the kubelet's clock has it. */
  count(pod: Pod, container: string, type: string, outcome: ProbeOutcome, seconds: number): void {
    const uid = pod.metadata.uid!;
    let probes = this.#pods.get(uid);
    if (probes === undefined) this.#pods.set(uid, (probes = new Map()));
    const key = `${type}/${container}`;
    let c = probes.get(key);
    if (c === undefined) {
      const labels = {
        container,
        namespace: pod.metadata.namespace ?? '',
        pod: pod.metadata.name ?? '',
        probe_type: `${type[0]!.toUpperCase()}${type.slice(1)}`,
      };
      c = { labels, results: {}, buckets: bounds.map(() => 0), sum: 0 };
      probes.set(key, c);
    }
    c.results[outcome] = (c.results[outcome] ?? 0) + 1;
    if (outcome !== 'successful') return;
    c.sum += seconds;
    for (let i = 0; i < bounds.length; i++) if (seconds <= bounds[i]!) c.buckets[i]!++;
  }

  /** A pod has gone. */
  forget(uid: string): void {
    this.#pods.delete(uid);
  }

  /** In Prometheus' text format. */
  text(): string {
    const totals: string[] = [];
    const durations: string[] = [];
    for (const [uid, probes] of this.#pods)
      for (const c of probes.values()) {
        for (const [result, n] of Object.entries(c.results)) {
          const { probe_type: type, ...rest } = c.labels;
          totals.push(`prober_probe_total${labelText({ ...rest, pod_uid: uid, probe_type: type!, result })} ${n}`);
        }
        const good = c.results.successful ?? 0;
        if (good === 0) continue;
        for (const [i, le] of bounds.entries())
          durations.push(
            `prober_probe_duration_seconds_bucket${labelText({ ...c.labels, le: String(le) })} ${c.buckets[i]}`,
          );
        durations.push(
          `prober_probe_duration_seconds_bucket${labelText({ ...c.labels, le: '+Inf' })} ${good}`,
          `prober_probe_duration_seconds_sum${labelText(c.labels)} ${c.sum}`,
          `prober_probe_duration_seconds_count${labelText(c.labels)} ${good}`,
        );
      }
    let out = '';
    if (durations.length > 0)
      out += `# HELP prober_probe_duration_seconds [ALPHA] Duration in seconds for a probe response.\n# TYPE prober_probe_duration_seconds histogram\n${durations.join('\n')}\n`;
    if (totals.length > 0)
      out += `# HELP prober_probe_total [BETA] Cumulative number of a liveness, readiness or startup probe for a container by result.\n# TYPE prober_probe_total counter\n${totals.join('\n')}\n`;
    return out;
  }
}
