/**
 * The Webhook authorizer: asks a server outside with a SubjectAccessReview, and keeps its answers for a while. Match conditions
 * decide first whether it is asked; the failure policy decides where it does not answer.
 */
import type { Clock } from '../../../base/clock.ts';
import { ioNow } from '../../../base/io-time.ts';
import type { Logger } from '../../../base/logger.ts';
import { isReviewTimeout } from '../../connect/review-client.ts';
import type { ReviewClient } from '../../connect/review-client.ts';
import type { AuthorizationAttributes, AuthorizationOutcome, Authorizer, Decision } from '../../context.ts';
import type { AuthorizationMetrics, WebhookResult } from '../metrics.ts';
import type { MatchConditions } from './match-conditions.ts';
import { reviewSpecOf } from './review-spec.ts';
import type { ReviewSpec } from './review-spec.ts';

export interface WebhookAuthorizerOptions {
  readonly name: string;
  readonly client: ReviewClient;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly metrics: AuthorizationMetrics;
  /** Of the SubjectAccessReview. */
  readonly version: 'v1' | 'v1beta1';
  /** Milliseconds that answers are kept; 0: not at all. */
  readonly authorizedTtlMs: number;
  readonly unauthorizedTtlMs: number;
  /** What holds when the webhook does not answer. */
  readonly onError: Decision;
  readonly conditions: MatchConditions;
}

const cacheSize = 8192;
/** What a caller wrote that is longer than this is not kept: it would fill the cache. */
const maxControlled = 10_000;

interface Status {
  readonly allowed: boolean;
  readonly denied: boolean;
  readonly reason: string;
}

function cacheable(a: AuthorizationAttributes): boolean {
  const { namespace, verb, group, version, resource, subresource, name, path } = a;
  const length = [namespace, verb, group, version, resource, subresource, name, path].reduce((n, s) => n + s.length, 0);
  return length < maxControlled;
}

function bodyOf(spec: ReviewSpec, version: 'v1' | 'v1beta1'): Record<string, unknown> {
  const { groups, ...rest } = spec;
  const written = version === 'v1' || groups === undefined ? spec : { ...rest, group: groups };
  return {
    kind: 'SubjectAccessReview',
    apiVersion: `authorization.k8s.io/${version}`,
    metadata: {},
    spec: written,
    status: { allowed: false },
  };
}

const unmatched: AuthorizationOutcome = Object.freeze({ decision: 'noOpinion', reason: '' });

export class WebhookAuthorizer implements Authorizer {
  readonly #options: WebhookAuthorizerOptions;
  readonly #answers = new Map<string, { readonly until: number; readonly status: Status }>();

  constructor(options: WebhookAuthorizerOptions) {
    this.#options = options;
  }

  authorize(attributes: AuthorizationAttributes): AuthorizationOutcome | Promise<AuthorizationOutcome> {
    const spec = reviewSpecOf(attributes);
    const { conditions, onError, name, metrics, clock } = this.#options;
    if (!conditions.empty) {
      const began = ioNow();
      const matched = conditions.match(spec);
      const failed = matched instanceof Error;
      metrics.conditions(name, (ioNow() - began) / 1000, failed ? 'failed' : matched ? 'matched' : 'excluded');
      if (failed) return { decision: onError, reason: '', error: matched };
      if (!matched) return unmatched;
    }
    const key = JSON.stringify(spec);
    const kept = this.#answers.get(key);
    if (kept !== undefined && kept.until > clock.monotonic()) {
      this.#answers.delete(key);
      this.#answers.set(key, kept);
      return this.#outcome(kept.status);
    }
    return this.#ask(attributes, spec, key);
  }

  #outcome({ allowed, denied, reason }: Status): AuthorizationOutcome {
    if (denied && allowed)
      return {
        decision: 'deny',
        reason,
        error: new Error('webhook subject access review returned both allow and deny response'),
      };
    return { decision: denied ? 'deny' : allowed ? 'allow' : 'noOpinion', reason };
  }

  async #ask(attributes: AuthorizationAttributes, spec: ReviewSpec, key: string): Promise<AuthorizationOutcome> {
    const { client, clock, logger, metrics, name, version, onError } = this.#options;
    let began = ioNow();
    let result: WebhookResult = 'success';
    let answer: Readonly<Record<string, unknown>>;
    try {
      answer = await client.ask(bodyOf(spec, version), (error) => {
        result = error === undefined ? 'success' : isReviewTimeout(error) ? 'timeout' : 'error';
        metrics.webhook(name, result, (ioNow() - began) / 1000);
        began = ioNow();
      });
    } catch (error) {
      logger.error('Failed to make webhook authorizer request', { name, error });
      if (onError === 'noOpinion') metrics.failedOpen(name, result);
      return { decision: onError, reason: '', error: error instanceof Error ? error : new Error(String(error)) };
    }
    const status: Status = {
      allowed: answer['allowed'] === true,
      denied: answer['denied'] === true,
      reason: typeof answer['reason'] === 'string' ? answer['reason'] : '',
    };
    const ttl = status.allowed ? this.#options.authorizedTtlMs : this.#options.unauthorizedTtlMs;
    if (ttl > 0 && cacheable(attributes)) {
      if (this.#answers.size >= cacheSize) this.#answers.delete(this.#answers.keys().next().value!);
      this.#answers.set(key, { until: clock.monotonic() + ttl, status });
    }
    return this.#outcome(status);
  }
}
