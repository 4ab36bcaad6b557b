/** ImagePolicyWebhook: a backend of the operator's says which images may run (imagepolicy.k8s.io/v1alpha1 ImageReview). */
import { parseJson } from '../../api/codec/json.ts';
import { isObject } from '../../api/patch/values.ts';
import { StatusError } from '../../api/status.ts';
import type { PodSpec } from '../../api/types/core-v1.gen.ts';
import { ioSleep } from '../../base/io-time.ts';
import type { Clock } from '../../base/clock.ts';
import type { Logger } from '../../base/logger.ts';
import type { WebhookClientConfig, WebhookClients } from '../connect/webhook-client.ts';
import type { AdmissionAttributes, AdmissionPlugin } from '../context.ts';
import { metadataOf, refuse } from './attributes.ts';

/** `imagePolicy` of the admission configuration file, with its kubeconfig read. */
export interface ImagePolicyConfiguration {
  readonly backend: WebhookClientConfig;
  /** Seconds that an approval, and a refusal, are remembered; 0: the default, -1: not at all. */
  readonly allowTTL?: number;
  readonly denyTTL?: number;
  /** Milliseconds before the first retry. */
  readonly retryBackoff?: number;
  /** What holds when the backend does not answer. */
  readonly defaultAllow?: boolean;
}

const maxRemembered = 1024;
const attempts = 5;
const timeoutMs = 30_000;

interface Verdict {
  readonly allowed: boolean;
  readonly reason: string;
  readonly annotations: Readonly<Record<string, string>>;
}

function duration(name: string, value: number | undefined, unit: number, min: number, max: number, otherwise: number) {
  if (value === -1) return 0;
  if (value === undefined || value === 0) return otherwise;
  const ms = value * unit;
  if (ms < min || ms > max)
    throw new Error(`ImagePolicyWebhook: ${name}: valid value is between ${min}ms and ${max}ms, got ${ms}ms`);
  return ms;
}

function readVerdict(body: Buffer): Verdict {
  const { value } = parseJson(body);
  const status = isObject(value) && isObject(value['status']) ? value['status'] : {};
  const annotations = isObject(status['auditAnnotations']) ? status['auditAnnotations'] : {};
  return {
    allowed: status['allowed'] === true,
    reason: typeof status['reason'] === 'string' ? status['reason'] : '',
    annotations: annotations as Record<string, string>,
  };
}

const prefix = 'imagepolicywebhook.image-policy.k8s.io/';

export function imagePolicyWebhook(deps: {
  readonly clients: WebhookClients;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly configuration: ImagePolicyConfiguration | undefined;
}): AdmissionPlugin {
  const { clients, clock, logger, configuration } = deps;
  if (configuration === undefined) throw new Error('ImagePolicyWebhook: no config specified');
  const allowTtl = duration('allow cache', configuration.allowTTL, 1000, 1000, 1_800_000, 300_000);
  const denyTtl = duration('deny cache', configuration.denyTTL, 1000, 1000, 1_800_000, 30_000);
  const backoff = duration('backoff', configuration.retryBackoff, 1, 1, 300_000, 500);
  const remembered = new Map<string, { readonly until: number; readonly verdict: Verdict }>();

  /** Asks again what failed for a passing reason. */
  const ask = async (body: string, signal: AbortSignal): Promise<Verdict> => {
    let delay = backoff;
    for (let attempt = 1; ; attempt++) {
      try {
        return readVerdict((await clients.post(configuration.backend, { body, timeoutMs, signal, plain: true })).body);
      } catch (error) {
        const passing = !(error instanceof StatusError) || error.code >= 500 || error.code === 429;
        if (!passing || attempt >= attempts || signal.aborted) throw error;
      }
      await ioSleep(delay);
      delay *= 1.5;
    }
  };

  const verdictOf = async (a: AdmissionAttributes, spec: unknown): Promise<Verdict | undefined> => {
    const key = JSON.stringify(spec);
    const known = remembered.get(key);
    if (known !== undefined && known.until > clock.monotonic()) return known.verdict;
    const review = { kind: 'ImageReview', apiVersion: 'imagepolicy.k8s.io/v1alpha1', metadata: {}, spec, status: {} };
    let verdict: Verdict;
    try {
      verdict = await ask(JSON.stringify(review), a.context.signal);
    } catch (error) {
      if (configuration.defaultAllow !== true)
        throw refuse(a, refuse(a, error instanceof Error ? error.message : String(error)).message);
      logger.warn('the image policy backend failed; images are allowed by default', { error });
      a.context.annotate(`${prefix}failed-open`, 'true');
      return undefined;
    }
    remembered.delete(key);
    remembered.set(key, { until: clock.monotonic() + (verdict.allowed ? allowTtl : denyTtl), verdict });
    if (remembered.size > maxRemembered) remembered.delete(remembered.keys().next().value!);
    return verdict;
  };

  return {
    name: 'ImagePolicyWebhook',
    handles: (operation, group, resource, subresource) =>
      (operation === 'CREATE' || operation === 'UPDATE') &&
      group === '' &&
      resource === 'pods' &&
      (subresource === '' || subresource === 'ephemeralcontainers'),
    async validate(a) {
      const pod = (a.object?.['spec'] ?? {}) as PodSpec;
      const containers =
        a.subresource === ''
          ? [...(pod.containers ?? []), ...(pod.initContainers ?? [])]
          : (pod.ephemeralContainers ?? []);
      const annotations = Object.fromEntries(
        Object.entries(metadataOf(a.object).annotations ?? {}).filter(([key]) => key.includes('.image-policy.k8s.io/')),
      );
      const verdict = await verdictOf(a, {
        containers: containers.map((c) => ({ image: c.image ?? '' })),
        ...(Object.keys(annotations).length === 0 ? {} : { annotations }),
        namespace: a.namespace,
      });
      if (verdict === undefined) return;
      for (const [key, value] of Object.entries(verdict.annotations)) a.context.annotate(`${prefix}${key}`, value);
      if (verdict.allowed) return;
      throw refuse(
        a,
        verdict.reason === ''
          ? 'one or more images rejected by webhook backend'
          : `image policy webhook backend denied one or more images: ${verdict.reason}`,
      );
    },
  };
}
