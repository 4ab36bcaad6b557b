/**
 * AuthorizationConfiguration (`--authorization-config`, apiserver.config.k8s.io v1, v1beta1, v1alpha1): decoding with upstream's
 * defaults, and upstream's validation.
 */
import { statSync } from 'node:fs';
import { isAbsolute } from 'node:path';
import { duplicate, formatFieldError, invalid, notSupported, required } from '../../api/field-error.ts';
import type { FieldError } from '../../api/field-error.ts';
import { isDNS1123Subdomain } from '../../api/names.ts';
import { formatDuration } from '../../api/time.ts';
import { decodeConfig } from '../config-decode.ts';
import type { ConfigKind } from '../config-decode.ts';
import { compileMatchConditions } from './webhook/match-conditions.ts';

export const authorizationModes = ['AlwaysAllow', 'AlwaysDeny', 'ABAC', 'Webhook', 'RBAC', 'Node'] as const;

export type AuthorizationMode = (typeof authorizationModes)[number];

/** Times are milliseconds. */
export interface WebhookConfiguration {
  readonly authorizedTTL: number;
  readonly cacheAuthorizedRequests: boolean;
  readonly unauthorizedTTL: number;
  readonly cacheUnauthorizedRequests: boolean;
  readonly timeout: number;
  readonly subjectAccessReviewVersion: string;
  readonly matchConditionSubjectAccessReviewVersion: string;
  readonly failurePolicy: string;
  readonly connectionInfo: { readonly type: string; readonly kubeConfigFile?: string };
  readonly matchConditions: readonly { readonly expression: string }[];
}

export interface AuthorizerConfiguration {
  readonly type: string;
  readonly name: string;
  readonly webhook?: WebhookConfiguration;
}

export interface AuthorizationConfiguration {
  readonly authorizers: readonly AuthorizerConfiguration[];
}

const kind: ConfigKind = {
  kind: 'AuthorizationConfiguration',
  versions: ['v1', 'v1beta1', 'v1alpha1'],
  fields: {
    authorizers: {
      list: {
        fields: {
          type: 'string',
          name: 'string',
          webhook: {
            fields: {
              authorizedTTL: 'duration',
              cacheAuthorizedRequests: 'bool',
              unauthorizedTTL: 'duration',
              cacheUnauthorizedRequests: 'bool',
              timeout: 'duration',
              subjectAccessReviewVersion: 'string',
              matchConditionSubjectAccessReviewVersion: 'string',
              failurePolicy: 'string',
              connectionInfo: { fields: { type: 'string', kubeConfigFile: 'string' } },
              matchConditions: { list: { fields: { expression: 'string' } } },
            },
          },
        },
      },
    },
  },
};

function defaultWebhook(given: Partial<WebhookConfiguration>): WebhookConfiguration {
  return {
    authorizedTTL: (given.authorizedTTL ?? 0) === 0 ? 300_000 : given.authorizedTTL!,
    cacheAuthorizedRequests: given.cacheAuthorizedRequests ?? true,
    unauthorizedTTL: (given.unauthorizedTTL ?? 0) === 0 ? 30_000 : given.unauthorizedTTL!,
    cacheUnauthorizedRequests: given.cacheUnauthorizedRequests ?? true,
    timeout: given.timeout ?? 0,
    subjectAccessReviewVersion: given.subjectAccessReviewVersion ?? '',
    matchConditionSubjectAccessReviewVersion: given.matchConditionSubjectAccessReviewVersion ?? '',
    failurePolicy: given.failurePolicy ?? '',
    connectionInfo: { type: '', ...given.connectionInfo },
    matchConditions: (given.matchConditions ?? []).map((c) => ({ ...c, expression: c.expression ?? '' })),
  };
}

/** The configuration that one authorizer a mode amounts to. */
export function configurationOfModes(
  modes: readonly string[],
  webhook?: WebhookConfiguration,
): AuthorizationConfiguration {
  return {
    authorizers: modes.map((mode) =>
      mode === 'Webhook' && webhook !== undefined
        ? { type: mode, name: 'default', webhook }
        : { type: mode, name: mode.toLowerCase() },
    ),
  };
}

function fileErrors(file: string, path: string): FieldError[] {
  if (!isAbsolute(file)) return [invalid(path, file, 'must be an absolute path')];
  try {
    return statSync(file).isFile() ? [] : [invalid(path, file, 'must be a regular file')];
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    const why = code === 'ENOENT' ? 'no such file or directory' : code === 'EACCES' ? 'permission denied' : message;
    return [invalid(path, file, `error loading file: stat ${file}: ${why}`)];
  }
}

function validateWebhook(c: WebhookConfiguration, path: string): FieldError[] {
  const errors: FieldError[] = [];
  const text = (ms: number): string => formatDuration(ms);
  if (c.timeout === 0) errors.push(required(`${path}.timeout`));
  else if (c.timeout > 30_000 || c.timeout < 0)
    errors.push(invalid(`${path}.timeout`, text(c.timeout), 'must be > 0s and <= 30s'));
  if (c.authorizedTTL < 0) errors.push(invalid(`${path}.authorizedTTL`, text(c.authorizedTTL), 'must be > 0s'));
  if (c.unauthorizedTTL < 0) errors.push(invalid(`${path}.unauthorizedTTL`, text(c.unauthorizedTTL), 'must be > 0s'));
  const version = c.subjectAccessReviewVersion;
  if (version === '') errors.push(required(`${path}.subjectAccessReviewVersion`));
  else if (version !== 'v1' && version !== 'v1beta1')
    errors.push(notSupported(`${path}.subjectAccessReviewVersion`, version, ['v1', 'v1beta1']));
  const conditionVersion = c.matchConditionSubjectAccessReviewVersion;
  const conditionPath = `${path}.matchConditionSubjectAccessReviewVersion`;
  if (conditionVersion === '') {
    if (c.matchConditions.length > 0)
      errors.push(required(conditionPath, 'required if match conditions are specified'));
  } else if (conditionVersion !== 'v1') errors.push(notSupported(conditionPath, conditionVersion, ['v1']));
  if (c.failurePolicy === '') errors.push(required(`${path}.failurePolicy`));
  else if (c.failurePolicy !== 'NoOpinion' && c.failurePolicy !== 'Deny')
    errors.push(notSupported(`${path}.failurePolicy`, c.failurePolicy, ['NoOpinion', 'Deny']));
  const { type, kubeConfigFile } = c.connectionInfo;
  const file = `${path}.connectionInfo.kubeConfigFile`;
  switch (type) {
    case '':
      errors.push(required(`${path}.connectionInfo.type`));
      break;
    case 'InClusterConfig':
      if (kubeConfigFile !== undefined)
        errors.push(invalid(file, kubeConfigFile, 'can only be set when type=KubeConfigFile'));
      break;
    case 'KubeConfigFile':
      if (kubeConfigFile === undefined || kubeConfigFile === '') errors.push(required(file));
      else errors.push(...fileErrors(kubeConfigFile, file));
      break;
    default:
      errors.push(
        notSupported(`${path}.connectionInfo.type`, { Type: type, KubeConfigFile: kubeConfigFile ?? null }, [
          'InClusterConfig',
          'KubeConfigFile',
        ]),
      );
  }
  const { errors: conditions } = compileMatchConditions(
    c.matchConditions.map((m) => m.expression),
    path,
  );
  return [...errors, ...conditions];
}

export function validateAuthorizationConfiguration(c: AuthorizationConfiguration): FieldError[] {
  const errors: FieldError[] = [];
  if (c.authorizers.length === 0)
    errors.push(required('authorizers', 'at least one authorization mode must be defined'));
  const types = new Set<string>();
  const names = new Set<string>();
  c.authorizers.forEach((a, i) => {
    const path = `authorizers[${i}]`;
    if (a.type === '') {
      errors.push(required(`${path}.type`));
      return;
    }
    if (!(authorizationModes as readonly string[]).includes(a.type)) {
      errors.push(notSupported(`${path}.type`, a.type, authorizationModes.toSorted()));
      return;
    }
    if (types.has(a.type) && a.type !== 'Webhook') {
      errors.push(duplicate(`${path}.type`, a.type));
      return;
    }
    types.add(a.type);
    const nameErrors = isDNS1123Subdomain(a.name);
    if (a.name === '') errors.push(required(`${path}.name`));
    else if (names.has(a.name)) errors.push(duplicate(`${path}.name`, a.name));
    else if (nameErrors.length > 0)
      errors.push(invalid(`${path}.name`, a.name, `authorizer name is invalid: ${nameErrors.join(', ')}`));
    names.add(a.name);
    if (a.type !== 'Webhook') {
      if (a.webhook !== undefined)
        errors.push(invalid(`${path}.webhook`, 'non-null', 'may only be specified when type=Webhook'));
    } else if (a.webhook === undefined) errors.push(required(`${path}.webhook`, 'required when type=Webhook'));
    // Upstream leaves `webhook` out of the paths of what is wrong with it.
    else errors.push(...validateWebhook(a.webhook, path));
  });
  return errors;
}

/** Several messages as Go's aggregates print them. */
export function aggregateMessages(messages: readonly string[]): string {
  const different = [...new Set(messages)];
  return different.length === 1 ? different[0]! : `[${different.join(', ')}]`;
}

/**
 * Decodes and validates what a configuration file holds (parsed YAML). `requiredTypes`: authorizers that must stay in the file
 * when it is read again, since they have been set up at the start.
 * @throws {Error} with upstream's text
 */
export function loadAuthorizationConfiguration(
  given: unknown,
  requiredTypes: ReadonlySet<string> = new Set(),
): AuthorizationConfiguration {
  let fields: Readonly<Record<string, unknown>>;
  try {
    ({ fields } = decodeConfig(given, kind));
  } catch (error) {
    throw new Error(`failed to load AuthorizationConfiguration from file: ${(error as Error).message}`, {
      cause: error,
    });
  }
  const authorizers = (fields['authorizers'] ?? []) as readonly {
    type?: string;
    name?: string;
    webhook?: Partial<WebhookConfiguration>;
  }[];
  const configuration: AuthorizationConfiguration = {
    authorizers: authorizers.map(({ type = '', name = '', webhook }) => ({
      type,
      name,
      ...(webhook === undefined ? {} : { webhook: defaultWebhook(webhook) }),
    })),
  };
  const invalidFields = validateAuthorizationConfiguration(configuration);
  if (invalidFields.length > 0) throw new Error(aggregateMessages(invalidFields.map(formatFieldError)));
  const wrong: string[] = [];
  const seen = new Set<string>();
  for (const { type, name } of configuration.authorizers) {
    if (type === 'Webhook') continue;
    seen.add(type);
    if (name !== type.toLowerCase())
      wrong.push(`expected name ${type.toLowerCase()} for authorizer ${type} instead of ${name}`);
  }
  const missing = [...requiredTypes].filter((t) => !seen.has(t)).toSorted();
  if (missing.length > 0) wrong.push(`missing required types: [${missing.join(' ')}]`);
  if (wrong.length > 0) throw new Error(aggregateMessages(wrong));
  return configuration;
}
