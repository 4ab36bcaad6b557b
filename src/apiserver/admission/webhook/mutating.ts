/**
 * MutatingAdmissionWebhook: asks the mutating webhooks one after the other, each of which sees what those before it made of the
 * object, and those that want it once more when something was changed after them.
 */
import { JsonSyntaxError, parseJson, stringifyJson } from '../../../api/codec/json.ts';
import { applyJsonPatch } from '../../../api/patch/json-patch.ts';
import { isObject, jsonEqual } from '../../../api/patch/values.ts';
import { DecodeError } from '../../../api/schema/decode.ts';
import { internalError, StatusError } from '../../../api/status.ts';
import { ioNow } from '../../../base/io-time.ts';
import type { Logger } from '../../../base/logger.ts';
import type { AdmissionAttributes, AdmissionPlugin } from '../../context.ts';
import { withSoundManagedFields } from '../managed-fields.ts';
import { isExempt, kindOf } from '../matching.ts';
import type { MatchedResource } from '../matching.ts';
import { Reinvocation } from '../reinvocation.ts';
import { requestTimedOut, WebhookCaller, WebhookCallError } from './call.ts';
import type { Seen, WebhookDeps } from './call.ts';
import { rejection } from './review.ts';
import type { ReviewResponse } from './review.ts';
import type { Webhook, Webhooks } from './webhooks.ts';

type Json = Record<string, unknown>;

const pluginName = 'MutatingAdmissionWebhook';
const stepType = 'admit';
const annotationPrefix = 'mutation.webhook.admission.k8s.io/';
const patchPrefix = 'patch.webhook.admission.k8s.io/';
const failedOpenPrefix = 'failed-open.mutation.webhook.admission.k8s.io/';

export interface MutatingWebhookDeps extends WebhookDeps {
  readonly webhooks: Webhooks;
  readonly logger: Logger;
}

function textOf(error: unknown): string {
  const e = error instanceof StatusError && error.cause instanceof Error ? error.cause : error;
  return e instanceof Error ? e.message : String(e);
}

/** The operations of an answer; undefined when there are none. @throws {WebhookCallError} */
function operationsOf(webhook: Webhook, response: ReviewResponse): readonly unknown[] | undefined {
  if (response.patch === '') return undefined;
  let value: unknown;
  try {
    ({ value } = parseJson(response.patch));
  } catch (error) {
    if (!(error instanceof JsonSyntaxError)) throw error;
    throw new WebhookCallError(
      webhook.name,
      `received undecodable patch in webhook response: ${error.message}`,
      503,
      error,
    );
  }
  if (value === null) return undefined;
  if (!Array.isArray(value))
    throw new WebhookCallError(
      webhook.name,
      `received undecodable patch in webhook response: json: cannot unmarshal ${isObject(value) ? 'object' : typeof value} into Go value of type jsonpatch.Patch`,
      503,
    );
  return value.length === 0 ? undefined : (value as unknown[]);
}

/** What the audit log is told of a patch, in Go's order of members. */
function patchAnnotation(webhook: Webhook, operations: readonly unknown[]): string {
  const patch = operations.map((operation) => {
    const members = operation as Json;
    return Object.fromEntries(
      Object.keys(members)
        .toSorted()
        .map((key) => [key, members[key]]),
    );
  });
  const { configuration, name } = webhook;
  return stringifyJson({ configuration, webhook: name, patch, patchType: 'JSONPatch' });
}

export function mutatingAdmissionWebhook(deps: MutatingWebhookDeps): AdmissionPlugin {
  const { webhooks, metrics, versions, logger } = deps;
  const caller = new WebhookCaller(deps, stepType);

  /** The object after the webhook's patch; the same one when it changes nothing. */
  const patched = async (
    webhook: Webhook,
    a: AdmissionAttributes,
    matched: MatchedResource,
    seen: Seen,
    response: ReviewResponse,
    at: string,
  ): Promise<Json | undefined> => {
    const operations = operationsOf(webhook, response);
    if (operations === undefined) return a.object;
    if (a.object === undefined || seen.object === undefined)
      throw internalError(
        new Error(
          `admission webhook ${JSON.stringify(webhook.name)} attempted to modify the object, which is not supported for this operation`,
        ),
      );
    if (response.patchType !== 'JSONPatch')
      throw new WebhookCallError(webhook.name, `unsupported patch type ${JSON.stringify(response.patchType)}`, 400);
    let next: unknown;
    try {
      next = applyJsonPatch(seen.object, operations);
      if (!isObject(next)) throw new Error("Object 'Kind' is missing");
      next = versions.complete(next, matched.resource, matched.kind);
    } catch (error) {
      if (error instanceof StatusError || error instanceof DecodeError || error instanceof Error)
        throw internalError(new Error(textOf(error), { cause: error }));
      throw error;
    }
    if (a.context.audit?.wantsRequest === true)
      a.context.annotate(`${patchPrefix}${at}`, patchAnnotation(webhook, operations));
    if (jsonEqual(seen.object, next)) return a.object;
    return withSoundManagedFields(a, a.object, await versions.convert(next as Json, a, kindOf(a)));
  };

  /** Counts how a call ended. */
  const observe = (webhook: Webhook, a: AdmissionAttributes, began: number, error: unknown): void => {
    const seconds = (ioNow() - began) / 1000;
    const { name } = webhook;
    if (error === undefined) {
      metrics.webhook(name, stepType, a.operation, { seconds, rejected: false, code: 200 });
      return;
    }
    if (error instanceof WebhookCallError) {
      const rejected = !webhook.ignoresFailure;
      if (rejected && !error.canceled)
        metrics.webhookRejected(name, stepType, a.operation, 'calling_webhook_error', error.code);
      metrics.webhook(name, stepType, a.operation, { seconds, rejected, code: error.code });
    } else if (error instanceof Rejection) {
      metrics.webhookRejected(name, stepType, a.operation, 'no_error', error.status.code);
      metrics.webhook(name, stepType, a.operation, { seconds, rejected: true, code: error.status.code });
    } else {
      metrics.webhookRejected(name, stepType, a.operation, 'apiserver_internal_error', 0);
      metrics.webhook(name, stepType, a.operation, { seconds, rejected: true, code: 0 });
    }
  };

  return {
    name: pluginName,
    reinvokes: true,
    handles: (_operation, group) => webhooks.all.length > 0 && !isExempt(group),
    async mutate(given) {
      const reinvocation = given.reinvocation ?? new Reinvocation();
      const memory = reinvocation.of(pluginName);
      const again = reinvocation.again;
      if (again && memory.changedSince(given.object)) memory.requireAgain();
      const round = again ? 1 : 0;
      let a = given;
      let index = -1;
      try {
        for (const webhook of webhooks.all) {
          index++;
          const matched = await caller.match(webhook, a);
          if (matched === undefined || (again && !memory.shouldCall(webhook.id))) continue;
          const at = `round_${round}_index_${index}`;
          const began = ioNow();
          let failure: unknown;
          let object = a.object;
          try {
            const seen = await caller.see(a, matched);
            const response = await caller.call(webhook, a, matched, seen);
            if (!response.allowed) throw new Rejection(rejection(webhook.name, response.status));
            object = await patched(webhook, a, matched, seen, response, at);
          } catch (error) {
            failure = error;
          }
          const changed = object !== a.object;
          a.context.annotate(
            `${annotationPrefix}${at}`,
            JSON.stringify({ configuration: webhook.configuration, webhook: webhook.name, mutated: changed }),
          );
          a.context.waitedMs = (a.context.waitedMs ?? 0) + (ioNow() - began);
          observe(webhook, a, began, failure);
          if (changed) {
            a = { ...a, object };
            memory.requireAgain();
            reinvocation.wanted = true;
          }
          if (webhook.reinvocable) memory.called(webhook.id);
          if (failure === undefined) continue;
          if (failure instanceof Rejection) throw failure.status;
          if (!(failure instanceof WebhookCallError)) throw failure;
          if (!webhook.ignoresFailure) throw internalError(failure);
          if (!failure.canceled) {
            logger.warn('Failed calling webhook, failing open', { webhook: webhook.name, error: failure });
            metrics.webhookFailedOpen(webhook.name, stepType);
            a.context.annotate(`${failedOpenPrefix}${at}`, webhook.name);
          }
          if (a.context.signal.aborted) throw requestTimedOut();
        }
      } finally {
        memory.leave(a.object);
      }
      return a.object;
    },
  };
}

/** The webhook said no. */
class Rejection extends Error {
  readonly status: StatusError;

  constructor(status: StatusError) {
    super(status.message, { cause: status });
    this.status = status;
  }
}
