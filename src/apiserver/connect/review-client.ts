/**
 * Reviews (TokenReview, SubjectAccessReview) asked of a webhook that a kubeconfig names: a POST to its exact URL, asked again
 * with growing pauses where the failure may pass.
 */
import { parseJson } from '../../api/codec/json.ts';
import { isObject } from '../../api/patch/values.ts';
import { StatusError } from '../../api/status.ts';
import { ioSleep } from '../../base/io-time.ts';
import type { Random } from '../../base/random.ts';
import type { WebhookClientConfig, WebhookClients } from './webhook-client.ts';

export interface ReviewRetry {
  /** Before the second attempt; half as much more before each further one. */
  readonly initialMs: number;
  readonly attempts: number;
}

/** Upstream's for authentication and authorization webhooks. */
export const defaultReviewRetry: ReviewRetry = Object.freeze({ initialMs: 500, attempts: 5 });

const factor = 1.5;
const jitter = 0.2;

export interface ReviewClientOptions {
  readonly clients: WebhookClients;
  readonly random: Random;
  readonly config: WebhookClientConfig;
  readonly timeoutMs: number;
  readonly retry: ReviewRetry;
}

/** Is the failure one that may pass? */
function mayPass(error: unknown): boolean {
  if (error instanceof StatusError)
    return (
      error.reason === 'InternalError' ||
      error.reason === 'Timeout' ||
      error.reason === 'TooManyRequests' ||
      (error.details?.retryAfterSeconds ?? 0) > 0
    );
  const cause = error instanceof Error ? (error.cause as { code?: unknown } | undefined) : undefined;
  return cause?.code === 'ECONNRESET' || cause?.code === 'EPIPE';
}

/** Whether a failed review ran into its deadline. */
export function isReviewTimeout(error: unknown): boolean {
  if (error instanceof StatusError) return error.reason === 'Timeout' || error.code === 504;
  return error instanceof Error && error.message.endsWith('context deadline exceeded');
}

export class ReviewClient {
  readonly #options: ReviewClientOptions;

  constructor(options: ReviewClientOptions) {
    this.#options = options;
  }

  /** The `status` of the answered review. `attempted`: told of each attempt's outcome. */
  async ask(
    review: Readonly<Record<string, unknown>>,
    attempted: (error: unknown) => void = () => {},
  ): Promise<Readonly<Record<string, unknown>>> {
    const { clients, random, config, timeoutMs, retry } = this.#options;
    const body = JSON.stringify(review);
    let delay = retry.initialMs;
    for (let attempt = 1; ; attempt++) {
      try {
        const answer = await clients.post(config, { body, timeoutMs, plain: true });
        const { value } = parseJson(answer.body);
        if (!isObject(value)) throw new Error('the webhook did not answer with an object');
        if (value['kind'] !== undefined && value['kind'] !== review['kind'])
          throw new Error(
            `the webhook answered with a ${String(value['kind'])} instead of a ${String(review['kind'])}`,
          );
        const status = value['status'];
        attempted(undefined);
        return isObject(status) ? status : {};
      } catch (error) {
        attempted(error);
        if (attempt >= retry.attempts || !mayPass(error)) throw error;
      }
      await ioSleep(delay * (1 + random.float() * jitter));
      delay *= factor;
    }
  }
}
