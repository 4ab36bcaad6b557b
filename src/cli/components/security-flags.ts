/** Flags of authentication and authorization, which the whole cluster and the API server alone share. */
import type { SecurityFlags } from '../../cluster/processes/security.ts';
import type { Flag } from '../flags.ts';
import type { Values } from './component.ts';

const file = (name: string, help: string): Flag => ({ name, kind: 'string', value: 'FILE', help });
const text = (name: string, value: string, help: string): Flag => ({ name, kind: 'string', value, help });
const modes = ['AlwaysAllow', 'AlwaysDeny', 'ABAC', 'Webhook', 'RBAC', 'Node'];

/** `issuer`: which issuer signs where nothing is said; `authorizers`: who decides then. */
export function securityFlags(defaults: { readonly issuer?: string; readonly modes: readonly string[] }): Flag[] {
  return [
    { name: 'anonymous-auth', kind: 'bool', help: 'requests without credentials are system:anonymous (default true)' },
    file('token-auth-file', 'static tokens: token,user,uid,"group1,group2" a line'),
    file(
      'authentication-config',
      'AuthenticationConfiguration: issuers whose tokens are logins, and who may be anonymous; followed when it changes',
    ),
    text('oidc-issuer-url', 'URL', 'OpenID Connect issuer whose ID tokens are logins'),
    text('oidc-client-id', 'ID', 'whom its tokens must be for'),
    file('oidc-ca-file', "authority of the issuer's certificate (default: the system's)"),
    text('oidc-username-claim', 'CLAIM', 'who it is (default sub)'),
    text('oidc-username-prefix', 'PREFIX', 'put before names; - for none (default: the issuer and #; none for email)'),
    text('oidc-groups-claim', 'CLAIM', 'their groups'),
    text('oidc-groups-prefix', 'PREFIX', 'put before groups'),
    { name: 'oidc-signing-algs', kind: 'list', value: 'ALG,…', help: 'how tokens may be signed (default RS256)' },
    { name: 'oidc-required-claim', kind: 'pairs', value: 'CLAIM=VALUE', help: 'what tokens must say; may be repeated' },
    file('authentication-token-webhook-config-file', 'kubeconfig of a server that is asked whose a token is'),
    {
      ...text('authentication-token-webhook-version', 'v1|v1beta1', 'version of the TokenReview it is asked with'),
      default: 'v1beta1',
    },
    {
      name: 'authentication-token-webhook-cache-ttl',
      kind: 'duration',
      default: 120_000,
      help: 'how long its answers are kept',
    },
    file(
      'egress-selector-config-file',
      'EgressSelectorConfiguration: proxies by which issuers, webhooks and the cluster are reached',
    ),
    {
      name: 'service-account-issuer',
      kind: 'array',
      value: 'URL',
      help: `issuer of service account tokens; the first one signs, all are accepted${defaults.issuer === undefined ? '' : ` (default ${defaults.issuer})`}`,
    },
    {
      name: 'service-account-key-file',
      kind: 'array',
      value: 'FILE',
      help: 'keys that verify tokens, besides the signing key',
    },
    text('service-account-jwks-uri', 'URL', 'where others find the keys (default: this server)'),
    {
      name: 'service-account-lookup',
      kind: 'bool',
      default: true,
      help: 'look whether the Secret of a legacy token still is there',
    },
    {
      name: 'service-account-extend-token-expiration',
      kind: 'bool',
      default: true,
      help: 'tokens that admission puts into pods live for a year, for clients that do not read them again',
    },
    {
      name: 'service-account-max-token-expiration',
      kind: 'duration',
      help: 'the longest life of a requested token (default: no limit)',
    },
    {
      name: 'api-audiences',
      kind: 'list',
      value: 'AUDIENCE,…',
      help: 'whom tokens for this API are for (default: the issuers)',
    },
    {
      name: 'authorization-mode',
      kind: 'list',
      choices: modes,
      help: `who decides what is allowed, in order (default ${defaults.modes.join(',')})`,
    },
    file(
      'authorization-config',
      'AuthorizationConfiguration: the authorizers, webhooks too, in place of the other flags; followed when it changes',
    ),
    file('authorization-policy-file', 'policies of mode ABAC, one JSON object a line'),
    file('authorization-webhook-config-file', 'kubeconfig of the server that decides in mode Webhook'),
    text('authorization-webhook-version', 'v1|v1beta1', 'version of the SubjectAccessReview (default v1beta1)'),
    {
      name: 'authorization-webhook-cache-authorized-ttl',
      kind: 'duration',
      help: 'how long its consent is kept (default 5m)',
    },
    {
      name: 'authorization-webhook-cache-unauthorized-ttl',
      kind: 'duration',
      help: 'how long its refusal is kept (default 30s)',
    },
  ];
}

export function securityValues(v: Values): SecurityFlags {
  return {
    authenticationConfig: v.string('authentication-config'),
    anonymousAuth: v.maybe('anonymous-auth'),
    tokenAuthFile: v.string('token-auth-file'),
    apiAudiences: v.list('api-audiences'),
    serviceAccountIssuer: v.list('service-account-issuer'),
    serviceAccountKeyFile: v.list('service-account-key-file'),
    serviceAccountJwksUri: v.string('service-account-jwks-uri'),
    serviceAccountLookup: v.bool('service-account-lookup'),
    serviceAccountExtendTokenExpiration: v.bool('service-account-extend-token-expiration'),
    serviceAccountMaxTokenExpirationMs: v.maybe('service-account-max-token-expiration'),
    oidcIssuerUrl: v.string('oidc-issuer-url'),
    oidcClientId: v.string('oidc-client-id'),
    oidcCaFile: v.string('oidc-ca-file'),
    oidcUsernameClaim: v.string('oidc-username-claim'),
    oidcUsernamePrefix: v.string('oidc-username-prefix'),
    oidcGroupsClaim: v.string('oidc-groups-claim'),
    oidcGroupsPrefix: v.string('oidc-groups-prefix'),
    oidcSigningAlgs: v.maybe('oidc-signing-algs'),
    oidcRequiredClaim: v.maybe('oidc-required-claim'),
    authenticationTokenWebhookConfigFile: v.string('authentication-token-webhook-config-file'),
    authenticationTokenWebhookVersion: v.text('authentication-token-webhook-version'),
    authenticationTokenWebhookCacheTtlMs: v.ms('authentication-token-webhook-cache-ttl'),
    egressSelectorConfigFile: v.string('egress-selector-config-file'),
    authorizationConfig: v.string('authorization-config'),
    authorizationMode: v.maybe('authorization-mode'),
    authorizationPolicyFile: v.string('authorization-policy-file'),
    authorizationWebhookConfigFile: v.string('authorization-webhook-config-file'),
    authorizationWebhookVersion: v.string('authorization-webhook-version'),
    authorizationWebhookCacheAuthorizedTtlMs: v.maybe('authorization-webhook-cache-authorized-ttl'),
    authorizationWebhookCacheUnauthorizedTtlMs: v.maybe('authorization-webhook-cache-unauthorized-ttl'),
  };
}
