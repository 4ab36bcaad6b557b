/** How requests were authenticated and authorized, with upstream's names. */
import { ioNow } from '../../base/io-time.ts';
import type { Decision } from '../context.ts';
import type { Filter } from '../filters/scope.ts';
import { HistogramVector, Vector } from './exposition.ts';
import type { Distribution, Family, Value } from './exposition.ts';

/** 1 ms, doubled fourteen times. */
const buckets = Array.from({ length: 15 }, (_, i) => 0.001 * 2 ** i);

const filterBuckets = [0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 5, 10, 15, 30];

const known = new Set(['admin', 'client', 'kube_proxy', 'kubelet', 'system:serviceaccount:kube-system:default']);

/** Few names, whoever comes. */
function compressed(username: string): string {
  if (known.has(username)) return username;
  return username.includes('@') ? 'email_id' : 'other';
}

interface Outcome {
  readonly attempts: Value;
  readonly seconds: Distribution;
}

export class AccessMetrics {
  readonly #users = new Vector(
    'counter',
    'authenticated_user_requests',
    'Counter of authenticated requests broken out by username.',
  );
  readonly #attempts = new Vector('counter', 'authentication_attempts', 'Counter of authenticated attempts.');
  readonly #authentication = new HistogramVector(
    'authentication_duration_seconds',
    'Authentication duration in seconds broken out by result.',
    buckets,
  );
  readonly #decisions = new Vector(
    'counter',
    'authorization_attempts_total',
    "Counter of authorization attempts broken down by result. It can be either 'allowed', 'denied', 'no-opinion' or 'error'.",
  );
  readonly #authorization = new HistogramVector(
    'authorization_duration_seconds',
    'Authorization duration in seconds broken out by result.',
    buckets,
  );
  readonly #filters = new HistogramVector(
    'apiserver_request_filter_duration_seconds',
    'Request filter latency distribution in seconds, for each filter type',
    filterBuckets,
  );
  readonly #authenticating = this.#filters.series('authentication', () => ({ filter: 'authentication' }));
  readonly #authorizing = this.#filters.series('authorization', () => ({ filter: 'authorization' }));
  /** The common outcomes, found without a look. */
  readonly #success = this.#authenticated('success');
  readonly #allowed = this.#authorized('allowed');
  readonly #other = this.#user('other');

  get families(): readonly Family[] {
    return [this.#users, this.#attempts, this.#authentication, this.#decisions, this.#authorization, this.#filters];
  }

  #user(username: string): Value {
    return this.#users.series(username, () => ({ username }));
  }

  #authenticated(result: string): Outcome {
    return {
      attempts: this.#attempts.series(result, () => ({ result })),
      seconds: this.#authentication.series(result, () => ({ result })),
    };
  }

  #authorized(result: string): Outcome {
    return {
      attempts: this.#decisions.series(result, () => ({ result })),
      seconds: this.#authorization.series(result, () => ({ result })),
    };
  }

  /** `since`: when it was begun (`ioNow`); undefined when the answer was at hand. */
  authenticated(username: string, since: number | undefined): void {
    const name = compressed(username);
    (name === 'other' ? this.#other : this.#user(name)).inc();
    this.#success.attempts.inc();
    const seconds = since === undefined ? 0 : (ioNow() - since) / 1000;
    this.#success.seconds.observe(seconds);
    this.#authenticating.observe(seconds);
  }

  /** `failure`: no credentials that anybody knows; `error`: bad ones. */
  notAuthenticated(result: 'failure' | 'error', since: number | undefined): void {
    const { attempts, seconds } = this.#authenticated(result);
    attempts.inc();
    const took = since === undefined ? 0 : (ioNow() - since) / 1000;
    seconds.observe(took);
    this.#authenticating.observe(took);
  }

  /** The filter with its time measured, from when a request comes to it until it hands the request on. */
  timed(name: string, filter: Filter): Filter {
    const seconds = this.#filters.series(name, () => ({ filter: name }));
    return (next) => {
      const handle = filter((scope) => {
        seconds.observe((ioNow() - scope.filterBegan) / 1000);
        return next(scope);
      });
      return (scope) => {
        scope.filterBegan = ioNow();
        return handle(scope);
      };
    };
  }

  authorized(decision: Decision, error: Error | undefined, since: number): void {
    const outcome =
      decision === 'allow'
        ? this.#allowed
        : this.#authorized(error !== undefined ? 'error' : decision === 'deny' ? 'denied' : 'no-opinion');
    outcome.attempts.inc();
    const seconds = (ioNow() - since) / 1000;
    outcome.seconds.observe(seconds);
    this.#authorizing.observe(seconds);
  }
}
