/** What admission measures, with upstream's names: the two steps, each plugin, each webhook, match conditions. */
import type { Operation } from '../context.ts';
import type { Distribution, Family } from '../metrics/exposition.ts';
import { HistogramVector, SummaryVector, Vector } from '../metrics/exposition.ts';

export type StepType = 'admit' | 'validate';

const stepBuckets = [0.005, 0.025, 0.1, 0.5, 1, 2.5];
const webhookBuckets = [0.005, 0.025, 0.1, 0.5, 1, 2.5, 10, 25];
const conditionBuckets = [0.001, 0.005, 0.01, 0.025, 0.1, 0.2, 0.25];

type Observed = Pick<Distribution, 'observe'>;

/** Durations of one plugin or step, found again without joining labels. */
export class StepTimer {
  readonly #series: (operation: Operation, rejected: boolean) => Observed;
  readonly #known: Partial<Record<Operation, Observed>>[] = [{}, {}];

  constructor(series: (operation: Operation, rejected: boolean) => Observed) {
    this.#series = series;
  }

  observe(operation: Operation, rejected: boolean, seconds: number): void {
    const known = this.#known[rejected ? 1 : 0]!;
    (known[operation] ??= this.#series(operation, rejected)).observe(seconds);
  }
}

/** Codes above are counted as this one, which keeps the number of series bounded. */
const maxCode = 600;

export class AdmissionMetrics {
  readonly #steps = new HistogramVector(
    'apiserver_admission_step_admission_duration_seconds',
    'Admission sub-step latency histogram in seconds, broken out for each operation and API resource and step type (validate or admit).',
    stepBuckets,
  );
  readonly #controllers = new HistogramVector(
    'apiserver_admission_controller_admission_duration_seconds',
    'Admission controller latency histogram in seconds, identified by name and broken out for each operation and API resource and type (validate or admit).',
    stepBuckets,
  );
  readonly #webhooks = new HistogramVector(
    'apiserver_admission_webhook_admission_duration_seconds',
    'Admission webhook latency histogram in seconds, identified by name and broken out for each operation and API resource and type (validate or admit).',
    webhookBuckets,
  );
  readonly #rejections = new Vector(
    'counter',
    'apiserver_admission_webhook_rejection_count',
    'Admission webhook rejection count, identified by name and broken out for each admission type (validating or admit) and operation, with the kind of error and the code.',
  );
  readonly #failOpen = new Vector(
    'counter',
    'apiserver_admission_webhook_fail_open_count',
    'Admission webhook fail open count, identified by name and broken out for each admission type (validating or admit).',
  );
  readonly #requests = new Vector(
    'counter',
    'apiserver_admission_webhook_request_total',
    'Admission webhook request total, identified by name and broken out for each admission type (validating or admit) and operation, with the HTTP status code and whether the request was rejected.',
  );
  readonly #conditionErrors = new Vector(
    'counter',
    'apiserver_admission_match_condition_evaluation_errors_total',
    'Admission match condition evaluation errors count, identified by name of resource containing the match condition and broken out for each kind containing matchConditions (webhook or policy), operation and admission type (validate or admit).',
  );
  readonly #conditionExclusions = new Vector(
    'counter',
    'apiserver_admission_match_condition_exclusions_total',
    'Admission match condition evaluation exclusions count, identified by name of resource containing the match condition and broken out for each kind containing matchConditions (webhook or policy), operation and admission type (validate or admit).',
  );
  readonly #conditionSeconds = new HistogramVector(
    'apiserver_admission_match_condition_evaluation_seconds',
    'Admission match condition evaluation time in seconds, identified by name and broken out for each kind containing matchConditions (webhook or policy), operation and type (validate or admit).',
    conditionBuckets,
  );

  readonly #summary = new SummaryVector(
    'apiserver_admission_step_admission_duration_seconds_summary',
    'Admission sub-step latency summary in seconds, broken out for each operation and API resource and step type (validate or admit).',
    [0.5, 0.9, 0.99],
  );

  readonly families: readonly Family[] = [
    this.#steps,
    this.#summary,
    this.#controllers,
    this.#webhooks,
    this.#rejections,
    this.#failOpen,
    this.#requests,
    this.#conditionErrors,
    this.#conditionExclusions,
    this.#conditionSeconds,
  ];

  step(type: StepType): StepTimer {
    return new StepTimer((operation, rejected) => {
      const key = `${type} ${operation} ${rejected}`;
      const labels = () => ({ operation, rejected: String(rejected), type });
      const [buckets, quantiles] = [this.#steps.series(key, labels), this.#summary.series(key, labels)];
      return {
        observe(seconds) {
          buckets.observe(seconds);
          quantiles.observe(seconds);
        },
      };
    });
  }

  plugin(name: string, type: StepType): StepTimer {
    return new StepTimer((operation, rejected) =>
      this.#controllers.series(`${name} ${type} ${operation} ${rejected}`, () => ({
        name,
        operation,
        rejected: String(rejected),
        type,
      })),
    );
  }

  /** One call of a webhook. `type`: `admit` or, as upstream has it, `validating`. */
  webhook(
    name: string,
    type: string,
    operation: Operation,
    call: { readonly seconds: number; readonly rejected: boolean; readonly code: number },
  ): void {
    const code = String(Math.min(call.code, maxCode));
    const rejected = String(call.rejected);
    this.#requests
      .series(`${name} ${type} ${operation} ${code} ${rejected}`, () => ({ code, name, operation, rejected, type }))
      .inc();
    this.#webhooks
      .series(`${name} ${type} ${operation} ${rejected}`, () => ({ name, operation, rejected, type }))
      .observe(call.seconds);
  }

  webhookRejected(
    name: string,
    type: string,
    operation: Operation,
    errorType: 'calling_webhook_error' | 'apiserver_internal_error' | 'no_error',
    code: number,
  ): void {
    const rejectionCode = String(Math.min(code, maxCode));
    this.#rejections
      .series(`${name} ${type} ${operation} ${errorType} ${rejectionCode}`, () => ({
        error_type: errorType,
        name,
        operation,
        rejection_code: rejectionCode,
        type,
      }))
      .inc();
  }

  webhookFailedOpen(name: string, type: string): void {
    this.#failOpen.series(`${name} ${type}`, () => ({ name, type })).inc();
  }

  conditionError(name: string, kind: 'webhook' | 'policy', type: string, operation: Operation): void {
    this.#conditionErrors.series(`${name} ${kind} ${type} ${operation}`, () => ({ kind, name, operation, type })).inc();
  }

  conditionExcluded(name: string, kind: 'webhook' | 'policy', type: string, operation: Operation): void {
    this.#conditionExclusions
      .series(`${name} ${kind} ${type} ${operation}`, () => ({ kind, name, operation, type }))
      .inc();
  }

  conditionsEvaluated(
    name: string,
    kind: 'webhook' | 'policy',
    type: string,
    operation: Operation,
    seconds: number,
  ): void {
    this.#conditionSeconds
      .series(`${name} ${kind} ${type} ${operation}`, () => ({ kind, name, operation, type }))
      .observe(seconds);
  }
}
