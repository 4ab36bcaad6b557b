/** Validation of MutatingWebhookConfiguration and ValidatingWebhookConfiguration. */
import { duplicate, invalid, required, type FieldError } from '../../api/field-error.ts';
import { semanticEqual } from '../../api/helpers/deep-equal.ts';
import { isDNS1035Label, isDNS1123Subdomain } from '../../api/names.ts';
import type { KubeObject } from '../../api/object.ts';
import { validateLabelSelector, type LabelSelector } from '../../api/selector.ts';
import type { MutatingWebhook, ValidatingWebhook } from '../../api/types/admissionregistration-v1.gen.ts';
import { validateMatchConditions, validateRule } from './admission-rules.ts';
import { validateEnum } from './field.ts';
import { validateWebhookService, validateWebhookUrl } from './webhook-client.ts';

type Webhook = Partial<MutatingWebhook & ValidatingWebhook>;

const reviewVersions = ['v1', 'v1beta1'];
const harmless = ['None', 'NoneOnDryRun'];

/** What an older server let pass, and may stay. */
interface Options {
  readonly needsNoSideEffects: boolean;
  readonly needsKnownReview: boolean;
  readonly needsUniqueNames: boolean;
  readonly anyLabelValue: boolean;
}

const strict: Options = {
  needsNoSideEffects: true,
  needsKnownReview: true,
  needsUniqueNames: true,
  anyLabelValue: false,
};

const webhooksOf = (object: KubeObject): readonly Webhook[] => (object['webhooks'] ?? []) as readonly Webhook[];

function validateName(name: string, path: string): FieldError[] {
  if (name === '') return [required(path)];
  const wrong = isDNS1123Subdomain(name);
  if (wrong.length > 0) return [invalid(path, name, wrong.join(','))];
  return name.split('.').length < 3
    ? [invalid(path, name, 'should be a domain with at least three segments separated by dots')]
    : [];
}

function validateReviews(versions: readonly string[], known: boolean, path: string): FieldError[] {
  if (versions.length === 0) return [required(path, `must specify one of ${reviewVersions.join(', ')}`)];
  const errors: FieldError[] = [];
  versions.forEach((version, i) => {
    if (versions.indexOf(version) < i) errors.push(invalid(`${path}[${i}]`, version, 'duplicate version'));
    else for (const message of isDNS1035Label(version)) errors.push(invalid(`${path}[${i}]`, version, message));
  });
  if (known && !versions.some((v) => reviewVersions.includes(v)))
    errors.push(invalid(path, versions, `must include at least one of ${reviewVersions.join(', ')}`));
  return errors;
}

function validateClient(webhook: Webhook, path: string): FieldError[] {
  const { url, service } = webhook.clientConfig ?? {};
  if ((url === undefined) === (service === undefined))
    return [required(path, 'exactly one of url or service is required')];
  return url === undefined
    ? validateWebhookService(service!, `${path}.service`)
    : validateWebhookUrl(url, `${path}.url`);
}

function validateWebhook(webhook: Webhook, options: Options, path: string): FieldError[] {
  const { sideEffects, timeoutSeconds: timeout } = webhook;
  const selectors = { allowInvalidLabelValueInSelector: options.anyLabelValue };
  const allowed = options.needsNoSideEffects ? harmless : ['None', 'NoneOnDryRun', 'Some', 'Unknown'];
  const effects = `${path}.sideEffects`;
  return [
    ...validateName(webhook.name ?? '', `${path}.name`),
    ...(webhook.rules ?? []).flatMap((rule, i) => validateRule(rule, `${path}.rules[${i}]`)),
    ...validateEnum(webhook.failurePolicy, ['Fail', 'Ignore'], `${path}.failurePolicy`),
    ...validateEnum(webhook.matchPolicy, ['Equivalent', 'Exact'], `${path}.matchPolicy`),
    ...(sideEffects === undefined || sideEffects === null
      ? [required(effects, `must specify one of ${allowed.join(', ')}`)]
      : validateEnum(sideEffects, allowed, effects)),
    ...(timeout !== undefined && (timeout > 30 || timeout < 1)
      ? [invalid(`${path}.timeoutSeconds`, timeout, 'the timeout value must be between 1 and 30 seconds')]
      : []),
    ...validateLabelSelector(
      webhook.namespaceSelector as LabelSelector | undefined,
      `${path}.namespaceSelector`,
      selectors,
    ),
    ...validateLabelSelector(webhook.objectSelector as LabelSelector | undefined, `${path}.objectSelector`, selectors),
    ...validateEnum(webhook.reinvocationPolicy, ['IfNeeded', 'Never'], `${path}.reinvocationPolicy`),
    ...validateClient(webhook, `${path}.clientConfig`),
    ...validateMatchConditions(webhook.matchConditions ?? [], `${path}.matchConditions`, { params: false }),
    ...validateReviews(
      webhook.admissionReviewVersions ?? [],
      options.needsKnownReview,
      `${path}.admissionReviewVersions`,
    ),
  ];
}

function validateAll(object: KubeObject, options: Options): FieldError[] {
  const names = new Set<string>();
  return webhooksOf(object).flatMap((webhook, i) => {
    const path = `webhooks[${i}]`;
    const { name = '' } = webhook;
    const errors = validateWebhook(webhook, options, path);
    if (options.needsUniqueNames && name !== '' && names.has(name)) errors.push(duplicate(`${path}.name`, name));
    names.add(name);
    return errors;
  });
}

export function validateWebhookConfiguration(object: KubeObject): FieldError[] {
  return validateAll(object, strict);
}

export function validateWebhookConfigurationUpdate(object: KubeObject, old: KubeObject): FieldError[] {
  const before = webhooksOf(old);
  const badSelector = (selector: unknown): boolean =>
    validateLabelSelector(selector as LabelSelector | undefined, '').length > 0;
  const errors = validateAll(object, {
    needsNoSideEffects: before.every((w) => harmless.includes(w.sideEffects ?? '')),
    needsKnownReview: before.every(
      ({ admissionReviewVersions: versions = [] }) =>
        versions.length === 0 || versions.some((v) => reviewVersions.includes(v)),
    ),
    needsUniqueNames: new Set(before.map((w) => w.name)).size === before.length,
    anyLabelValue: before.some((w) => badSelector(w.namespaceSelector) || badSelector(w.objectSelector)),
  });
  const conditions = (list: readonly Webhook[]): unknown => list.map((w) => w.matchConditions ?? []);
  return semanticEqual(conditions(webhooksOf(object)), conditions(before))
    ? errors.filter(({ field }) => !field.includes('.matchConditions'))
    : errors;
}

const staticSuffix = '.static.k8s.io';

/** Names that servers keep for configurations that come from files. */
export function staticNameWarnings(object: KubeObject): string[] {
  return (object.metadata.name ?? '').endsWith(staticSuffix)
    ? [
        `metadata.name: names ending with "${staticSuffix}" are reserved for static manifest-based configurations and cannot be managed via the API`,
      ]
    : [];
}
