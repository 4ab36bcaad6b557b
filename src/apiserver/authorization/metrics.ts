/** What authorization measures, with upstream's names: terminal decisions, webhooks, match conditions, reloads. */
import { createHash } from 'node:crypto';
import type { Decision } from '../context.ts';
import type { Family } from '../metrics/exposition.ts';
import { computed, HistogramVector, Vector } from '../metrics/exposition.ts';

export type WebhookResult = 'success' | 'canceled' | 'timeout' | 'error';

const durationBuckets = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10];
const conditionBuckets = [0.001, 0.005, 0.01, 0.025, 0.1, 0.2, 0.25];

/** Reloads of one configuration file (`apiserver_…_config_controller_…`). `subsystem`: authorization, authentication. */
export class ReloadMetrics {
  readonly #server: string;
  readonly #reloads: Vector;
  #last: { readonly status: 'success' | 'failure'; readonly seconds: number }[] = [];
  #hash: string | undefined;
  readonly families: readonly Family[];

  /** `serverId` becomes the hash that upstream labels the server with. */
  constructor(subsystem: 'authorization' | 'authentication', serverId: string) {
    this.#server = `sha256:${createHash('sha256').update(serverId).digest('hex')}`;
    const prefix = `apiserver_${subsystem}_config_controller`;
    const what = `${subsystem} configuration`;
    this.#reloads = new Vector(
      'counter',
      `${prefix}_automatic_reloads_total`,
      `Total number of automatic reloads of ${what} split by status and apiserver identity.`,
    );
    this.families = [
      this.#reloads,
      computed(
        'gauge',
        `${prefix}_automatic_reload_last_timestamp_seconds`,
        `Timestamp of the last automatic reload of ${what} split by status and apiserver identity.`,
        () => this.#last.map((l) => [{ apiserver_id_hash: this.#server, status: l.status }, l.seconds] as const),
      ),
      computed(
        'gauge',
        `${prefix}_last_config_info`,
        `Information about the last applied ${what} with hash as label, split by apiserver identity.`,
        () => (this.#hash === undefined ? [] : [[{ apiserver_id_hash: this.#server, hash: this.#hash }, 1] as const]),
      ),
    ];
  }

  /** The content that is in force. */
  applied(content: string): void {
    this.#hash = `sha256:${createHash('sha256').update(content).digest('hex')}`;
  }

  reloaded(status: 'success' | 'failure', nowMs: number): void {
    this.#reloads.series(status, () => ({ apiserver_id_hash: this.#server, status })).inc();
    this.#last = [...this.#last.filter((l) => l.status !== status), { status, seconds: nowMs / 1000 }];
  }
}

export class AuthorizationMetrics {
  readonly #decisions = new Vector(
    'counter',
    'apiserver_authorization_decisions_total',
    'Total number of terminal decisions made by an authorizer split by authorizer type, name, and decision.',
  );
  readonly #evaluations = new Vector(
    'counter',
    'apiserver_authorization_webhook_evaluations_total',
    'Round-trips to authorization webhooks.',
  );
  readonly #durations = new HistogramVector(
    'apiserver_authorization_webhook_duration_seconds',
    'Request latency in seconds.',
    durationBuckets,
  );
  readonly #failOpen = new Vector(
    'counter',
    'apiserver_authorization_webhook_evaluations_fail_open_total',
    'NoOpinion results due to webhook timeout or error.',
  );
  readonly #conditionErrors = new Vector(
    'counter',
    'apiserver_authorization_match_condition_evaluation_errors_total',
    'Total number of errors when an authorization webhook encounters a match condition error split by authorizer type and name.',
  );
  readonly #exclusions = new Vector(
    'counter',
    'apiserver_authorization_match_condition_exclusions_total',
    'Total number of exclusions when an authorization webhook is skipped because match conditions exclude it.',
  );
  readonly #conditionSeconds = new HistogramVector(
    'apiserver_authorization_match_condition_evaluation_seconds',
    'Authorization match condition evaluation time in seconds, split by authorizer type and name.',
    conditionBuckets,
  );
  readonly families: readonly Family[] = [
    this.#decisions,
    this.#evaluations,
    this.#durations,
    this.#failOpen,
    this.#conditionErrors,
    this.#exclusions,
    this.#conditionSeconds,
  ];

  /** Counts one authorizer's terminal decisions; those without opinion are not counted. */
  decisions(type: string, name: string): (decision: Decision) => void {
    const counter = (decision: string) =>
      this.#decisions.series(`${type} ${name} ${decision}`, () => ({ decision, name, type }));
    let allowed: ReturnType<typeof counter> | undefined;
    let denied: ReturnType<typeof counter> | undefined;
    return (decision) => {
      if (decision === 'allow') (allowed ??= counter('allowed')).inc();
      else if (decision === 'deny') (denied ??= counter('denied')).inc();
    };
  }

  webhook(name: string, result: WebhookResult, seconds: number): void {
    this.#evaluations.series(`${name} ${result}`, () => ({ name, result })).inc();
    this.#durations.series(`${name} ${result}`, () => ({ name, result })).observe(seconds);
  }

  failedOpen(name: string, result: WebhookResult): void {
    this.#failOpen.series(`${name} ${result}`, () => ({ name, result })).inc();
  }

  conditions(name: string, seconds: number, outcome: 'matched' | 'excluded' | 'failed'): void {
    const labels = (): { name: string; type: string } => ({ name, type: 'Webhook' });
    this.#conditionSeconds.series(name, labels).observe(seconds);
    if (outcome === 'excluded') this.#exclusions.series(name, labels).inc();
    if (outcome === 'failed') this.#conditionErrors.series(name, labels).inc();
  }
}
