/** What auditing counts, with upstream's names. */
import { Vector, type Family, type Value } from '../metrics/exposition.ts';
import type { AuditLevel } from './event.ts';

export class AuditMetrics {
  readonly #events = new Vector(
    'counter',
    'apiserver_audit_event_total',
    '[ALPHA] Counter of audit events generated and sent to the audit backend.',
  );
  readonly #errors = new Vector(
    'counter',
    'apiserver_audit_error_total',
    '[ALPHA] Counter of audit events that failed to be audited properly. Plugin identifies the plugin affected by the error.',
  );
  readonly #levels = new Vector(
    'counter',
    'apiserver_audit_level_total',
    '[ALPHA] Counter of policy levels for audit events (1 per request).',
  );
  readonly #rejected = new Vector(
    'counter',
    'apiserver_audit_requests_rejected_total',
    '[ALPHA] Counter of apiserver requests rejected due to an error in audit logging backend.',
  );
  readonly #event: Value = this.#events.series('', () => ({}));
  readonly #reject: Value = this.#rejected.series('', () => ({}));

  get families(): readonly Family[] {
    return [this.#events, this.#errors, this.#levels, this.#rejected];
  }

  event(): void {
    this.#event.inc();
  }

  level(level: AuditLevel): void {
    this.#levels.series(level, () => ({ level })).inc();
  }

  rejected(): void {
    this.#reject.inc();
  }

  failed(plugin: string, events: number): void {
    this.#errors.series(plugin, () => ({ plugin })).inc(events);
  }
}
