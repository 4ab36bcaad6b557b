/** The outcomes of health checks, told at `/metrics/slis` with upstream's names. */
import { Vector, type Family } from './exposition.ts';

export class HealthMetrics {
  readonly #last = new Vector(
    'gauge',
    'kubernetes_healthcheck',
    'This metric records the result of a single healthcheck.',
  );
  readonly #all = new Vector(
    'counter',
    'kubernetes_healthchecks_total',
    'This metric records the results of all healthcheck.',
  );

  get families(): readonly Family[] {
    return [this.#last, this.#all];
  }

  observe(name: string, type: string, ok: boolean): void {
    this.#last.series(`${type} ${name}`, () => ({ name, type })).value = ok ? 1 : 0;
    const status = ok ? 'success' : 'error';
    this.#all.series(`${type} ${name} ${status}`, () => ({ name, status, type })).inc();
  }
}
