/** ValidatingAdmissionWebhook: asks all validating webhooks that the request is about at the same time; each may refuse. */
import { internalError } from '../../../api/status.ts';
import type { StatusError } from '../../../api/status.ts';
import { ioNow } from '../../../base/io-time.ts';
import type { Logger } from '../../../base/logger.ts';
import type { AdmissionAttributes, AdmissionPlugin } from '../../context.ts';
import { isExempt } from '../matching.ts';
import type { MatchedResource } from '../matching.ts';
import { requestTimedOut, WebhookCaller, WebhookCallError } from './call.ts';
import type { WebhookDeps } from './call.ts';
import { rejection } from './review.ts';
import type { Webhook, Webhooks } from './webhooks.ts';

/** Upstream's metrics call it so, unlike everything else of this step. */
const metricType = 'validating';
const failedOpenPrefix = 'failed-open.validating.webhook.admission.k8s.io/';

export interface ValidatingWebhookDeps extends WebhookDeps {
  readonly webhooks: Webhooks;
  readonly logger: Logger;
}

export function validatingAdmissionWebhook(deps: ValidatingWebhookDeps): AdmissionPlugin {
  const { webhooks, metrics, logger } = deps;
  const caller = new WebhookCaller(deps, 'validate');

  /** What there is against the request; undefined: nothing. */
  const ask = async (
    webhook: Webhook,
    a: AdmissionAttributes,
    matched: MatchedResource,
    index: number,
  ): Promise<StatusError | Error | undefined> => {
    const { name } = webhook;
    const began = ioNow();
    const observe = (rejected: boolean, code: number): void =>
      metrics.webhook(name, metricType, a.operation, { seconds: (ioNow() - began) / 1000, rejected, code });
    try {
      const response = await caller.call(webhook, a, matched, await caller.see(a, matched));
      if (response.allowed) {
        observe(false, 200);
        return undefined;
      }
      const refused = rejection(name, response.status);
      metrics.webhookRejected(name, metricType, a.operation, 'no_error', refused.code);
      observe(true, refused.code);
      return refused;
    } catch (error) {
      if (!(error instanceof WebhookCallError)) {
        metrics.webhookRejected(name, metricType, a.operation, 'apiserver_internal_error', 0);
        observe(true, 0);
        return error instanceof Error ? error : new Error(String(error));
      }
      if (!webhook.ignoresFailure) {
        if (!error.canceled)
          metrics.webhookRejected(name, metricType, a.operation, 'calling_webhook_error', error.code);
        observe(true, error.code);
        return internalError(error);
      }
      observe(false, error.code);
      if (error.canceled) return undefined;
      logger.warn('Failed calling webhook, failing open', { webhook: name, error });
      metrics.webhookFailedOpen(name, metricType);
      a.context.annotate(`${failedOpenPrefix}round_0_index_${index}`, name);
      return undefined;
    }
  };

  return {
    name: 'ValidatingAdmissionWebhook',
    handles: (_operation, group) => webhooks.all.length > 0 && !isExempt(group),
    async validate(a) {
      const relevant: { readonly webhook: Webhook; readonly matched: MatchedResource }[] = [];
      for (const webhook of webhooks.all) {
        const matched = await caller.match(webhook, a);
        if (matched !== undefined) relevant.push({ webhook, matched });
      }
      if (relevant.length === 0) return;
      if (a.context.signal.aborted) throw requestTimedOut();
      const errors: Error[] = [];
      const began = ioNow();
      // In the order in which they come back, of which the first counts.
      await Promise.all(
        relevant.map(async ({ webhook, matched }, index) => {
          const error = await ask(webhook, a, matched, index);
          if (error !== undefined) errors.push(error);
        }),
      );
      a.context.waitedMs = (a.context.waitedMs ?? 0) + (ioNow() - began);
      if (errors.length > 0) throw errors[0]!;
    },
  };
}
