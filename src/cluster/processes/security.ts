/**
 * Authentication and authorization from flags: reads the files they name, and refuses with upstream's messages what does not fit
 * together.
 */
import { publicKeysOf } from '../../apiserver/authentication/service-account-keys.ts';
import { parseTokenFile } from '../../apiserver/authentication/token-file.ts';
import {
  aggregateFieldErrors,
  decodeAuthenticationConfiguration,
  validateAuthenticationConfiguration,
} from '../../apiserver/authentication/config.ts';
import type { AuthenticationConfiguration } from '../../apiserver/authentication/config.ts';
import { signingAlgorithms } from '../../apiserver/authentication/oidc/key-set.ts';
import { parseAbacPolicies } from '../../apiserver/authorization/abac.ts';
import {
  authorizationModes,
  configurationOfModes,
  loadAuthorizationConfiguration,
} from '../../apiserver/authorization/config.ts';
import type { ConfigFile } from '../../apiserver/config-file.ts';
import type { UserInfo } from '../../apiserver/request.ts';
import type { AuthenticationSettings, AuthorizationSettings, SecurityConfiguration } from '../../apiserver/security.ts';
import { formatDuration } from '../../api/time.ts';
import type { Clock } from '../../base/clock.ts';
import type { Logger } from '../../base/logger.ts';
import { webhookOfKubeconfig } from '../webhook-kubeconfig.ts';
import { loadYaml } from '../yaml.ts';
import { readEgressSelector } from './egress.ts';
import { readNamed, readOptional, StartError } from './environment.ts';

/** Named as upstream's flags; undefined where a flag was not given. */
export interface SecurityFlags {
  readonly authenticationConfig: string | undefined;
  readonly anonymousAuth: boolean | undefined;
  readonly tokenAuthFile: string | undefined;
  readonly apiAudiences: readonly string[];
  readonly serviceAccountIssuer: readonly string[];
  readonly serviceAccountKeyFile: readonly string[];
  readonly serviceAccountJwksUri: string | undefined;
  readonly serviceAccountLookup: boolean;
  readonly serviceAccountExtendTokenExpiration: boolean;
  readonly serviceAccountMaxTokenExpirationMs: number | undefined;
  readonly oidcIssuerUrl: string | undefined;
  readonly oidcClientId: string | undefined;
  readonly oidcCaFile: string | undefined;
  readonly oidcUsernameClaim: string | undefined;
  readonly oidcUsernamePrefix: string | undefined;
  readonly oidcGroupsClaim: string | undefined;
  readonly oidcGroupsPrefix: string | undefined;
  readonly oidcSigningAlgs: readonly string[] | undefined;
  readonly oidcRequiredClaim: Readonly<Record<string, string>> | undefined;
  readonly authenticationTokenWebhookConfigFile: string | undefined;
  readonly authenticationTokenWebhookVersion: string;
  readonly authenticationTokenWebhookCacheTtlMs: number;
  readonly egressSelectorConfigFile: string | undefined;
  readonly authorizationConfig: string | undefined;
  readonly authorizationMode: readonly string[] | undefined;
  readonly authorizationPolicyFile: string | undefined;
  readonly authorizationWebhookConfigFile: string | undefined;
  readonly authorizationWebhookVersion: string | undefined;
  readonly authorizationWebhookCacheAuthorizedTtlMs: number | undefined;
  readonly authorizationWebhookCacheUnauthorizedTtlMs: number | undefined;
}

/** What the flags come to. */
export interface SecurityFromFlags {
  readonly security: SecurityConfiguration;
  readonly anonymous: boolean;
  readonly staticTokens: ReadonlyMap<string, UserInfo> | undefined;
  /** PEM texts. */
  readonly verifyKeys: readonly string[];
  /** What a person should know, told when nothing else is wrong. */
  readonly note?: string;
}

interface Environment {
  readonly clock: Clock;
  readonly logger: Logger;
}

const file = (name: string | undefined): string | undefined => (name === '' ? undefined : name);

async function readConfigFile(flag: string, path: string): Promise<{ file: ConfigFile; given: unknown }> {
  const text = await readNamed(flag, path);
  if (text.trim() === '') throw new StartError(`${path} (--${flag}): empty config data`);
  const parse = (content: string): Promise<unknown> => loadYaml(content);
  return { file: { path, text, parse }, given: await parse(text) };
}

/** Runs what reads or checks a file; what goes wrong is one line that names the flag. */
async function checked<T>(what: string, run: () => T | Promise<T>): Promise<T> {
  try {
    return await run();
  } catch (error) {
    if (error instanceof StartError) throw error;
    throw new StartError(`${what}${(error as Error).message}`, { cause: error });
  }
}

/** The authenticator that `--oidc-*` amount to; undefined where there is none. */
async function oidcConfiguration(flags: SecurityFlags): Promise<AuthenticationConfiguration | undefined> {
  const { oidcIssuerUrl: url = '', oidcClientId: client = '' } = flags;
  const given = [
    flags.oidcIssuerUrl,
    flags.oidcClientId,
    flags.oidcCaFile,
    flags.oidcUsernameClaim,
    flags.oidcUsernamePrefix,
    flags.oidcGroupsClaim,
    flags.oidcGroupsPrefix,
    flags.oidcSigningAlgs,
    flags.oidcRequiredClaim,
  ].some((f) => f !== undefined);
  if (!given) return undefined;
  if (flags.authenticationConfig !== undefined)
    throw new StartError('authentication-config file and oidc-* flags are mutually exclusive');
  if (url === '' || client === '')
    throw new StartError('oidc-issuer-url and oidc-client-id must be specified together when any oidc-* flags are set');
  for (const algorithm of flags.oidcSigningAlgs ?? [])
    if (!(signingAlgorithms as readonly string[]).includes(algorithm))
      throw new StartError(`oidc: unsupported signing alg: "${algorithm}"`);
  const claim = flags.oidcUsernameClaim ?? 'sub';
  // Names of different issuers do not meet, unless somebody wants that.
  const wanted = flags.oidcUsernamePrefix ?? '';
  const prefix = wanted === '-' ? '' : wanted === '' && claim !== 'email' ? `${url}#` : wanted;
  const ca = await readOptional('oidc-ca-file', file(flags.oidcCaFile));
  return {
    jwt: [
      {
        issuer: { url, audiences: [client], ...(ca === undefined ? {} : { certificateAuthority: ca }) },
        claimMappings: {
          username: { claim, prefix },
          ...(flags.oidcGroupsClaim === undefined || flags.oidcGroupsClaim === ''
            ? {}
            : { groups: { claim: flags.oidcGroupsClaim, prefix: flags.oidcGroupsPrefix ?? '' } }),
        },
        claimValidationRules: Object.entries(flags.oidcRequiredClaim ?? {}).map(([name, value]) => ({
          claim: name,
          requiredValue: value,
        })),
      },
    ],
  };
}

async function authenticationOf(flags: SecurityFlags, env: Environment): Promise<AuthenticationSettings | undefined> {
  const byFlags = await oidcConfiguration(flags);
  const path = file(flags.authenticationConfig);
  let configuration = byFlags;
  let read: ConfigFile | undefined;
  if (path !== undefined) {
    const config = await checked(`failed to load authentication configuration from file "${path}": `, async () => {
      const content = await readConfigFile('authentication-config', path);
      return { file: content.file, decoded: decodeAuthenticationConfiguration(content.given) };
    });
    configuration = config.decoded;
    read = config.file;
    if (configuration.anonymous !== undefined && flags.anonymousAuth !== undefined)
      throw new StartError(
        'anonymous: Forbidden: --anonymous-auth flag cannot be set when anonymous field is configured in authentication configuration file',
      );
  }
  if (configuration !== undefined) {
    const errors = validateAuthenticationConfiguration(configuration, flags.serviceAccountIssuer);
    if (errors.length > 0)
      throw new StartError(`invalid authentication configuration: ${aggregateFieldErrors(errors)}`);
  }
  const webhookFile = file(flags.authenticationTokenWebhookConfigFile);
  const version = flags.authenticationTokenWebhookVersion;
  if (webhookFile !== undefined && version !== 'v1' && version !== 'v1beta1')
    throw new StartError(
      `unsupported authentication webhook version "${version}", supported versions are "v1", "v1beta1"`,
    );
  const webhook =
    webhookFile === undefined
      ? undefined
      : {
          config: await checked('--authentication-token-webhook-config-file: ', () =>
            webhookOfKubeconfig(webhookFile, env.clock),
          ),
          version: version as 'v1' | 'v1beta1',
          cacheTtlMs: flags.authenticationTokenWebhookCacheTtlMs,
        };
  if (configuration === undefined && webhook === undefined) return undefined;
  return {
    ...(configuration === undefined ? {} : { configuration }),
    ...(read === undefined ? {} : { file: read }),
    ...(byFlags === undefined ? {} : { signingAlgorithms: flags.oidcSigningAlgs ?? ['RS256'] }),
    ...(webhook === undefined ? {} : { webhook }),
  };
}

async function authorizationOf(flags: SecurityFlags, defaultModes: readonly string[]): Promise<AuthorizationSettings> {
  const policyFile = file(flags.authorizationPolicyFile);
  const policyText = await readOptional('authorization-policy-file', policyFile);
  if (policyText !== undefined) await checked('', () => parseAbacPolicies(policyText, policyFile!));
  const policies = policyText === undefined ? {} : { policies: { text: policyText, path: policyFile! } };
  const path = file(flags.authorizationConfig);
  const webhookFile = file(flags.authorizationWebhookConfigFile);
  if (path !== undefined) {
    const legacy = [
      flags.authorizationMode,
      flags.authorizationWebhookConfigFile,
      flags.authorizationWebhookVersion,
      flags.authorizationWebhookCacheAuthorizedTtlMs,
      flags.authorizationWebhookCacheUnauthorizedTtlMs,
    ];
    if (legacy.some((f) => f !== undefined))
      throw new StartError(
        '--authorization-config can not be specified when --authorization-mode or --authorization-webhook-* flags are defined',
      );
    const { file: read, given } = await readConfigFile('authorization-config', path);
    const configuration = await checked('', () => loadAuthorizationConfiguration(given));
    if (configuration.authorizers.some((a) => a.type === 'ABAC') && policyFile === undefined)
      throw new StartError("authorization-mode ABAC's authorization policy file not passed");
    return { configuration, file: read, ...policies };
  }
  const modes = flags.authorizationMode ?? defaultModes;
  for (const mode of modes) {
    if (!(authorizationModes as readonly string[]).includes(mode))
      throw new StartError(`authorization-mode "${mode}" is not a valid mode`);
    if (mode === 'ABAC' && policyFile === undefined)
      throw new StartError("authorization-mode ABAC's authorization policy file not passed");
    if (mode === 'Webhook' && webhookFile === undefined)
      throw new StartError("authorization-mode Webhook's authorization config file not passed");
  }
  if (modes.length === 0) throw new StartError('at least one authorization-mode must be passed');
  if (policyFile !== undefined && !modes.includes('ABAC'))
    throw new StartError('cannot specify --authorization-policy-file without mode ABAC');
  if (webhookFile !== undefined && !modes.includes('Webhook'))
    throw new StartError('cannot specify --authorization-webhook-config-file without mode Webhook');
  if (new Set(modes).size !== modes.length)
    throw new StartError(
      `authorization-mode [${modes.map((m) => `"${m}"`).join(' ')}] has mode specified more than once`,
    );
  const version = flags.authorizationWebhookVersion ?? 'v1beta1';
  if (webhookFile !== undefined && version !== 'v1' && version !== 'v1beta1')
    throw new StartError(`unsupported webhook authorizer version "${version}", supported versions are "v1", "v1beta1"`);
  const authorizedTTL = flags.authorizationWebhookCacheAuthorizedTtlMs ?? 300_000;
  const unauthorizedTTL = flags.authorizationWebhookCacheUnauthorizedTtlMs ?? 30_000;
  const configuration = configurationOfModes(modes, {
    authorizedTTL,
    cacheAuthorizedRequests: authorizedTTL !== 0,
    unauthorizedTTL,
    cacheUnauthorizedRequests: unauthorizedTTL !== 0,
    timeout: 30_000,
    failurePolicy: 'NoOpinion',
    subjectAccessReviewVersion: version,
    matchConditionSubjectAccessReviewVersion: '',
    connectionInfo: { type: 'KubeConfigFile', ...(webhookFile === undefined ? {} : { kubeConfigFile: webhookFile }) },
    matchConditions: [],
  });
  return { configuration, ...policies };
}

/** What of the service account flags does not fit is refused before anything is started. */
function checkServiceAccounts(flags: SecurityFlags, env: Environment): void {
  const seen = new Set<string>();
  for (const issuer of flags.serviceAccountIssuer) {
    if (issuer.includes(':') && !URL.canParse(issuer))
      throw new StartError(`service-account-issuer "${issuer}" contained a ':' but was not a valid URL`);
    if (seen.has(issuer)) throw new StartError(`service-account-issuer "${issuer}" is already specified`);
    seen.add(issuer);
  }
  const jwks = flags.serviceAccountJwksUri ?? '';
  if (jwks !== '') {
    if (!URL.canParse(jwks)) throw new StartError(`service-account-jwks-uri must be a valid URL: ${jwks}`);
    if (!jwks.startsWith('https:'))
      throw new StartError(`service-account-jwks-uri requires https scheme, parsed as: ${jwks}`);
  }
  const max = flags.serviceAccountMaxTokenExpirationMs ?? 0;
  if (max !== 0 && (max < 3_600_000 || max > 2 ** 32 * 1000))
    throw new StartError('the service-account-max-token-expiration must be between 1 hour and 2^32 seconds');
  if (!flags.serviceAccountExtendTokenExpiration || max === 0) return;
  const year = 365 * 24 * 3600;
  if (max < 3_607_000)
    env.logger.warn(
      `service-account-extend-token-expiration is true, in order to correctly trigger safe transition logic, service-account-max-token-expiration must be set longer than 3607 seconds (currently ${formatDuration(max)})`,
    );
  if (max < year * 1000)
    env.logger.warn(
      `service-account-extend-token-expiration is true, enabling tokens valid up to ${year} seconds, which is longer than service-account-max-token-expiration set to ${formatDuration(max)}`,
    );
}

async function readVerifyKey(path: string): Promise<string> {
  const pem = await readNamed('service-account-key-file', path);
  return checked(`error reading public key file ${path}: `, () => {
    publicKeysOf(pem);
    return pem;
  });
}

/** Reads what the flags name. `defaultModes`: who decides where nothing is said. @throws {StartError} */
export async function readSecurity(
  flags: SecurityFlags,
  defaultModes: readonly string[],
  env: Environment,
): Promise<SecurityFromFlags> {
  checkServiceAccounts(flags, env);
  const [authentication, authorization, egress, tokens, verifyKeys] = await Promise.all([
    authenticationOf(flags, env),
    authorizationOf(flags, defaultModes),
    readEgressSelector(flags.egressSelectorConfigFile),
    readOptional('token-auth-file', flags.tokenAuthFile),
    Promise.all(flags.serviceAccountKeyFile.map(readVerifyKey)),
  ]);
  let anonymous = flags.anonymousAuth ?? true;
  let note: string | undefined;
  const allowsAll = authorization.configuration?.authorizers.some((a) => a.type === 'AlwaysAllow') === true;
  if (anonymous && allowsAll && authorization.file === undefined) {
    anonymous = false;
    note = 'anonymous requests are refused: with --authorization-mode=AlwaysAllow they could do everything';
  }
  const max = flags.serviceAccountMaxTokenExpirationMs ?? 0;
  const jwksUri = flags.serviceAccountJwksUri ?? '';
  return {
    security: {
      ...(authentication === undefined ? {} : { authentication }),
      authorization,
      ...(egress === undefined ? {} : { egress }),
      webhookConfig: (kubeConfigFile) => webhookOfKubeconfig(kubeConfigFile, env.clock),
      ...(flags.apiAudiences.length === 0 ? {} : { audiences: flags.apiAudiences }),
      ...(jwksUri === '' ? {} : { jwksUri }),
      legacyTokenLookup: flags.serviceAccountLookup,
      extendTokenExpiration: flags.serviceAccountExtendTokenExpiration,
      ...(max === 0 ? {} : { maxTokenExpirationSeconds: Math.floor(max / 1000) }),
    },
    anonymous,
    ...(note === undefined ? {} : { note }),
    staticTokens:
      tokens === undefined ? undefined : await checked('', () => parseTokenFile(tokens, flags.tokenAuthFile!)),
    verifyKeys,
  };
}
