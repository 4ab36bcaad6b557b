/** One call of an admission webhook, and whether a request is to be shown to one at all. */
import { badRequest, forbidden, StatusError } from '../../../api/status.ts';
import type { Random } from '../../../base/random.ts';
import { WebhookIdentityError, type WebhookClients } from '../../connect/webhook-client.ts';
import type { AdmissionAttributes } from '../../context.ts';
import { matchRules, namespaceFits, objectFits } from '../matching.ts';
import type { EquivalentResources, MatchedResource } from '../matching.ts';
import type { AdmissionMetrics, StepType } from '../metrics.ts';
import type { Namespaces } from '../namespaces.ts';
import type { ObjectVersions } from '../object-versions.ts';
import { InvalidReview, readReview, reviewRequest, reviewVersionOf } from './review.ts';
import type { ReviewResponse } from './review.ts';
import type { MatchCondition, Webhook } from './webhooks.ts';

type Json = Record<string, unknown>;

/** `matchConditions` made ready. `match` gives an Error where they cannot be decided and the policy is to refuse then. */
export interface ConditionMatcher {
  match(
    a: AdmissionAttributes,
    matched: MatchedResource,
    object: Json | undefined,
    oldObject: Json | undefined,
  ): boolean | Error | Promise<boolean | Error>;
}

/** Makes matchers of conditions; `type` is that of the step, for the metrics. */
export type ConditionCompiler = (
  conditions: readonly MatchCondition[],
  facts: {
    readonly name: string;
    readonly kind: 'webhook' | 'policy';
    readonly type: StepType | 'validating';
    readonly ignoresFailure: boolean;
  },
) => ConditionMatcher;

export interface WebhookDeps {
  readonly clients: WebhookClients;
  readonly random: Random;
  readonly metrics: AdmissionMetrics;
  readonly equivalents: EquivalentResources;
  readonly namespaces: Namespaces;
  readonly versions: ObjectVersions;
  readonly conditions: ConditionCompiler;
}

/** The webhook could not be asked, or answered nonsense; what that means is up to its failure policy. */
export class WebhookCallError extends Error {
  /** HTTP code for the metrics. */
  readonly code: number;
  /** The client left before the webhook answered, which is not the webhook's failure. */
  readonly canceled: boolean;

  constructor(webhook: string, reason: string, code: number, cause?: unknown) {
    super(`failed calling webhook ${JSON.stringify(webhook)}: ${reason}`, { cause });
    this.name = 'WebhookCallError';
    this.code = code;
    this.canceled = reason.endsWith(': context canceled');
  }
}

/** Nobody waits for the answer any more: the webhooks that are left are not asked. */
export function requestTimedOut(): StatusError {
  return new StatusError(504, 'Timeout', 'Timeout: request did not complete within requested timeout', {});
}

/** The object and the old one as a webhook sees them. */
export interface Seen {
  readonly object: Json | undefined;
  readonly oldObject: Json | undefined;
}

export class WebhookCaller {
  readonly deps: WebhookDeps;
  readonly #type: StepType;
  readonly #matchers = new WeakMap<Webhook, ConditionMatcher>();

  constructor(deps: WebhookDeps, type: StepType) {
    this.deps = deps;
    this.#type = type;
  }

  see(a: AdmissionAttributes, matched: MatchedResource): Seen | Promise<Seen> {
    const { versions } = this.deps;
    const inVersion = (o: Json | undefined): Json | undefined | Promise<Json> =>
      o === undefined ? undefined : versions.convert(o, matched.resource, matched.kind);
    const object = inVersion(a.object);
    const oldObject = inVersion(a.oldObject);
    if (object instanceof Promise || oldObject instanceof Promise)
      return Promise.all([object, oldObject]).then(([o, old]) => ({ object: o, oldObject: old }));
    return { object, oldObject };
  }

  /**
   * As what the webhook is shown the request; undefined when it is none of its business.
   * @throws {StatusError} when that cannot be decided
   */
  async match(webhook: Webhook, a: AdmissionAttributes): Promise<MatchedResource | undefined> {
    const { equivalents, namespaces, metrics } = this.deps;
    const matched = matchRules(webhook.rules, a, webhook.equivalent ? equivalents : undefined);
    if (matched === undefined) return undefined;
    const inNamespace = namespaceFits(webhook.namespaceSelector, a, namespaces);
    if (!(inNamespace instanceof Promise ? await inNamespace : inNamespace)) return undefined;
    if (!objectFits(webhook.objectSelector, a)) return undefined;
    if (webhook.matchConditions.length === 0) return matched;
    let matcher = this.#matchers.get(webhook);
    if (matcher === undefined) {
      const { name, ignoresFailure } = webhook;
      matcher = this.deps.conditions(webhook.matchConditions, {
        name,
        kind: 'webhook',
        // As upstream names it here.
        type: this.#type === 'validate' ? 'validating' : 'admit',
        ignoresFailure,
      });
      this.#matchers.set(webhook, matcher);
    }
    const { object, oldObject } = await this.see(a, matched);
    const fits = await matcher.match(a, matched, object, oldObject);
    if (fits instanceof Error) throw forbidden({ group: a.group, resource: a.resource }, a.name, fits.message);
    if (fits) return matched;
    metrics.conditionExcluded(webhook.name, 'webhook', this.#type === 'validate' ? 'validating' : 'admit', a.operation);
    return undefined;
  }

  /**
   * Asks the webhook.
   * @throws {WebhookCallError} where it could not be asked
   * @throws {StatusError} 400 for one that does not support dry runs
   */
  async call(webhook: Webhook, a: AdmissionAttributes, matched: MatchedResource, seen: Seen): Promise<ReviewResponse> {
    const { name, sideEffects } = webhook;
    if (a.dryRun) {
      if (sideEffects === undefined) throw new WebhookCallError(name, 'Webhook SideEffects is nil', 400);
      if (sideEffects !== 'None' && sideEffects !== 'NoneOnDryRun')
        throw badRequest(`admission webhook ${JSON.stringify(name)} does not support dry run`);
    }
    const version = reviewVersionOf(webhook.reviewVersions);
    if (version === undefined)
      throw new WebhookCallError(
        name,
        'could not create admission objects: webhook does not accept known AdmissionReview versions (v1, v1beta1)',
        400,
      );
    const uid = this.deps.random.uuid();
    const body = reviewRequest(version, uid, { attributes: a, matched, ...seen });
    let response: ReviewResponse;
    try {
      const answer = await this.deps.clients.post(webhook.client, {
        body,
        timeoutMs: webhook.timeoutMs,
        deadline: a.context.deadline,
        signal: a.context.signal,
      });
      if (answer.body.length === 0)
        throw new Error(`0-length response with status code: ${answer.status} and content type: ${answer.contentType}`);
      response = readReview(answer.body, version, uid, this.#type === 'admit');
    } catch (error) {
      const why = error instanceof Error ? error.message : String(error);
      if (error instanceof InvalidReview)
        throw new WebhookCallError(name, `received invalid webhook response: ${why}`, 503, error);
      if (error instanceof WebhookIdentityError)
        throw new WebhookCallError(name, `could not get REST client: ${why}`, 500, error);
      throw new WebhookCallError(
        name,
        `failed to call webhook: ${why}`,
        error instanceof StatusError ? error.code : 503,
        error,
      );
    }
    for (const [key, value] of Object.entries(response.auditAnnotations)) a.context.annotate(`${name}/${key}`, value);
    for (const warning of response.warnings) a.context.warn(warning);
    return response;
  }
}
