/** What policies measure, with upstream's names. */
import { ioNow } from '../../../base/io-time.ts';
import type { Family } from '../../metrics/exposition.ts';
import { HistogramVector, Vector } from '../../metrics/exposition.ts';

/** Prometheus' own. */
const celBuckets = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10];
const buckets = [0.0000005, 0.001, 0.01, 0.1, 1];

export type ErrorType = 'compile_error' | 'invalid_error' | 'out_of_budget' | 'no_error';

export function errorTypeOf(message: string | undefined): ErrorType {
  if (message === undefined) return 'no_error';
  if (message.startsWith('compilation')) return 'compile_error';
  return message.startsWith('validation failed due to running out of cost budget') ? 'out_of_budget' : 'invalid_error';
}

export interface Check {
  readonly policy: string;
  readonly binding: string;
  readonly errorType: ErrorType;
  readonly seconds: number;
}

export class PolicyMetrics {
  readonly #validations = new Vector(
    'counter',
    'apiserver_validating_admission_policy_check_total',
    'Validation admission policy check total, labeled by policy and further identified by binding and enforcement action taken.',
  );
  readonly #validationSeconds = new HistogramVector(
    'apiserver_validating_admission_policy_check_duration_seconds',
    'Validation admission latency for individual validation expressions in seconds, labeled by policy and further including binding and enforcement action taken.',
    buckets,
  );
  readonly #mutations = new Vector(
    'counter',
    'apiserver_mutating_admission_policy_check_total',
    'Mutation admission policy check total, labeled by policy and further identified by binding.',
  );
  readonly #mutationSeconds = new HistogramVector(
    'apiserver_mutating_admission_policy_check_duration_seconds',
    'Mutation admission latency for individual mutation expressions in seconds, labeled by policy and binding.',
    buckets,
  );

  readonly #compilations = new HistogramVector(
    'apiserver_cel_compilation_duration_seconds',
    'CEL compilation time in seconds.',
    celBuckets,
  );
  readonly #evaluations = new HistogramVector(
    'apiserver_cel_evaluation_duration_seconds',
    'CEL evaluation time in seconds.',
    celBuckets,
  );
  readonly #compilation = this.#compilations.series('', () => ({}));
  readonly #evaluation = this.#evaluations.series('', () => ({}));

  readonly families: readonly Family[] = [
    this.#compilations,
    this.#evaluations,
    this.#validations,
    this.#validationSeconds,
    this.#mutations,
    this.#mutationSeconds,
  ];

  /** Compiles a policy's expressions. */
  compiling<T>(compile: () => T): T {
    const began = ioNow();
    const made = compile();
    this.#compilation.observe((ioNow() - began) / 1000);
    return made;
  }

  validated({ policy, binding, errorType, seconds }: Check, action: 'allow' | 'deny' | 'audit' | 'warn'): void {
    const labels = (): Record<string, string> => ({
      enforcement_action: action,
      error_type: errorType,
      policy,
      policy_binding: binding,
    });
    const key = `${policy} ${binding} ${errorType} ${action}`;
    this.#evaluation.observe(seconds);
    this.#validations.series(key, labels).inc();
    this.#validationSeconds.series(key, labels).observe(seconds);
  }

  mutated({ policy, binding, errorType, seconds }: Check): void {
    const labels = (): Record<string, string> => ({ error_type: errorType, policy, policy_binding: binding });
    const key = `${policy} ${binding} ${errorType}`;
    this.#evaluation.observe(seconds);
    this.#mutations.series(key, labels).inc();
    this.#mutationSeconds.series(key, labels).observe(seconds);
  }
}
