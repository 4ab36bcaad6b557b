/**
 * Who calls and what they may do, put together from options: authenticators, authorizers, the reviews and tokens that are
 * answered from them, and the documents by which others verify tokens.
 */
import { FeatureGates } from '../api/features/feature-gates.ts';
import type { Clock } from '../base/clock.ts';
import type { Logger } from '../base/logger.ts';
import type { Random } from '../base/random.ts';
import { createClientCertAuthenticator } from './authentication/client-cert.ts';
import { audienceAgnostic } from './authentication/authenticator.ts';
import type { TokenAuthenticator } from './authentication/authenticator.ts';
import {
  aggregateFieldErrors,
  anonymousChange,
  decodeAuthenticationConfiguration,
  validateAuthenticationConfiguration,
} from './authentication/config.ts';
import type { AuthenticationConfiguration } from './authentication/config.ts';
import { JwtAuthenticators } from './authentication/jwt-authenticators.ts';
import { ServiceAccountTokenMetrics, TokenMetrics } from './authentication/metrics.ts';
import { signingAlgorithms } from './authentication/oidc/key-set.ts';
import { oidcDocuments, type OidcDocument } from './authentication/oidc-discovery.ts';
import { createRequestHeaderAuthenticator, type RequestHeaderOptions } from './authentication/request-header.ts';
import { createSelfSubjectReviewHandler, createTokenReviewHandler } from './authentication/reviews.ts';
import { ServiceAccountKeys, type ServiceAccountKeyOptions } from './authentication/service-account-keys.ts';
import { defaultIssuer, ServiceAccountTokens } from './authentication/service-account-token.ts';
import { createBootstrapTokenAuthenticator } from './authentication/bootstrap-token.ts';
import { TokenCache } from './authentication/token-cache.ts';
import { createTokenFileAuthenticator } from './authentication/token-file.ts';
import { createTokenRequestHandler } from './authentication/token-request.ts';
import { createAuthenticator, unionTokens } from './authentication/union.ts';
import { createWebhookTokenAuthenticator } from './authentication/webhook-token.ts';
import { AbacAuthorizer, parseAbacPolicies } from './authorization/abac.ts';
import { configurationOfModes } from './authorization/config.ts';
import type { AuthorizationConfiguration, AuthorizationMode } from './authorization/config.ts';
import { ConfiguredAuthorizer } from './authorization/configured.ts';
import { createEscalationChecks, type EscalationChecks } from './authorization/escalation.ts';
import { AuthorizationMetrics, ReloadMetrics } from './authorization/metrics.ts';
import { NodeGraph } from './authorization/node-graph.ts';
import { NodeAuthorizer } from './authorization/node.ts';
import { RbacAuthorizer } from './authorization/rbac.ts';
import { createAuthorizationReviews } from './authorization/reviews.ts';
import { nodeRules } from './bootstrap/policy.ts';
import { followConfigFile } from './config-file.ts';
import type { ConfigFile } from './config-file.ts';
import { defaultReviewRetry, ReviewClient } from './connect/review-client.ts';
import type { WebhookClientConfig, WebhookClients } from './connect/webhook-client.ts';
import type { Authenticator, Authorizer } from './context.ts';
import type { Dialer } from './dialer.ts';
import type { EgressSelector } from './egress/selector.ts';
import { HistogramVector, type Family } from './metrics/exposition.ts';
import type { Registries } from './registry.ts';
import type { UserInfo } from './request.ts';
import type { VirtualCreate, VirtualResources } from './virtual.ts';

export type { AuthorizationMode } from './authorization/config.ts';

/** Who decides what is allowed. */
export interface AuthorizationSettings {
  /** In order; upstream's cluster default is Node, RBAC. */
  readonly modes?: readonly AuthorizationMode[];
  /** Instead of `modes`: webhooks too (`--authorization-config`, `--authorization-webhook-*`). */
  readonly configuration?: AuthorizationConfiguration;
  /** Where the configuration was read, to follow it. */
  readonly file?: ConfigFile;
  /** `--authorization-policy-file`, its text and name. */
  readonly policies?: { readonly text: string; readonly path: string };
}

/** Issuers outside whose tokens are logins, and who may be anonymous. */
export interface AuthenticationSettings {
  readonly configuration?: AuthenticationConfiguration;
  /** Where the configuration was read, to follow it. */
  readonly file?: ConfigFile;
  /** `--oidc-signing-algs`; default all. */
  readonly signingAlgorithms?: readonly string[];
  /** `--authentication-token-webhook-*` */
  readonly webhook?: {
    readonly config: WebhookClientConfig;
    readonly version: 'v1' | 'v1beta1';
    readonly cacheTtlMs: number;
  };
}

/** How servers outside are reached that authenticate and authorize. */
export interface SecurityWebhooks {
  readonly clients: WebhookClients;
  readonly dialer: Dialer;
  /** `--egress-selector-config-file` */
  readonly egress?: EgressSelector | undefined;
  /** Reads a kubeconfig. */
  readonly config?: ((kubeConfigFile: string) => Promise<WebhookClientConfig>) | undefined;
}

/** What an API server is told of its security beside the keys and certificates that it needs in any case. */
export interface SecurityConfiguration {
  readonly authentication?: AuthenticationSettings;
  readonly authorization?: AuthorizationSettings;
  /** Reads the kubeconfigs that lead to authorization webhooks. */
  readonly webhookConfig?: (kubeConfigFile: string) => Promise<WebhookClientConfig>;
  /** `--egress-selector-config-file`: proxies by which servers are reached. */
  readonly egress?: EgressSelector;
  /** `--api-audiences` */
  readonly audiences?: readonly string[];
  /** `--service-account-jwks-uri` */
  readonly jwksUri?: string;
  /** `--service-account-lookup` */
  readonly legacyTokenLookup?: boolean;
  /** `--service-account-extend-token-expiration` */
  readonly extendTokenExpiration?: boolean;
  /** `--service-account-max-token-expiration` */
  readonly maxTokenExpirationSeconds?: number;
  /** What tokens that are extended for the sake of old clients live for at most; default a year. */
  readonly maxExtendedExpirationSeconds?: number;
}

export interface SecurityOptions {
  readonly registries: Registries;
  readonly clock: Clock;
  readonly random: Random;
  /** A client CA is configured. */
  readonly clientCertificates: boolean;
  /** `--requestheader-*`; undefined where there is no authority for authenticating proxies. */
  readonly requestHeader?: RequestHeaderOptions;
  /** `--anonymous-auth`, where `authentication` says nothing of it. */
  readonly anonymous: boolean;
  readonly authentication?: AuthenticationSettings;
  readonly logger: Logger;
  /** `--feature-gates`; the release's defaults when left out. */
  readonly features?: FeatureGates;
  /** Of this API server, for metrics. */
  readonly serverId?: string;
  readonly authorization: AuthorizationSettings;
  readonly webhooks?: SecurityWebhooks;
  /** PEM texts, or who signs in our place. */
  readonly serviceAccountKeys: ServiceAccountKeyOptions;
  /** `--service-account-issuer`; default `https://kubernetes.default.svc.cluster.local`. */
  readonly issuers?: readonly string[];
  /** `--api-audiences`; default the issuers. */
  readonly audiences?: readonly string[];
  /** Full URL of the key set; default `https://<advertised>/openid/v1/jwks`. */
  readonly jwksUri: () => string;
  /** `--token-auth-file`, parsed. */
  readonly staticTokens?: ReadonlyMap<string, UserInfo>;
  /** `--enable-bootstrap-token-auth`; default false. */
  readonly bootstrapTokens?: boolean;
  readonly legacyTokenLookup?: boolean;
  readonly extendTokenExpiration?: boolean;
  readonly maxTokenExpirationSeconds?: number;
  readonly maxExtendedExpirationSeconds?: number;
}

export interface Security {
  readonly authenticator: Authenticator;
  readonly authorizer: Authorizer;
  /** Checks for the strategies of roles and bindings. */
  readonly escalation: EscalationChecks;
  readonly tokens: ServiceAccountTokens;
  /** Token requests and reviews, by `group/resource[/subresource]`. */
  readonly virtualResources: VirtualResources;
  readonly oidcDocuments: readonly OidcDocument[];
  readonly families: readonly Family[];
  /** Fills the authorizers' indexes; before the first request. */
  start(): Promise<void>;
  close(): void;
}

const hour = 3600;
const day = 24 * hour;
const certificateBuckets = [
  ...[0, hour / 2, hour, 2 * hour, 6 * hour, 12 * hour],
  ...[1, 2, 4, 7, 30, 90, 180, 360].map((days) => days * day),
];

/** How long a token of an issuer outside is taken for good without another look. */
const tokenTtlMs = 10_000;
const webhookTimeoutMs = 30_000;

export function createSecurity(options: SecurityOptions): Security {
  const { registries, clock, random } = options;
  const issuers = options.issuers ?? [defaultIssuer];
  const audiences = options.audiences ?? issuers;
  const keys = options.serviceAccountKeys.external ?? new ServiceAccountKeys(options.serviceAccountKeys);
  const accountMetrics = new ServiceAccountTokenMetrics();
  const { logger } = options;
  const tokens = new ServiceAccountTokens({
    ...{ issuers, audiences, keys, registries, clock, random, logger },
    metrics: accountMetrics,
    lookup: options.legacyTokenLookup ?? true,
  });
  const { authentication = {}, webhooks } = options;
  const tokenMetrics = new TokenMetrics(options.serverId ?? '');
  const authenticationReloads = new ReloadMetrics('authentication', options.serverId ?? '');
  const own = (inner: TokenAuthenticator): TokenAuthenticator => audienceAgnostic(inner, audiences);
  const cached = (inner: TokenAuthenticator, successTtlMs: number, failureTtlMs: number): TokenAuthenticator =>
    new TokenCache(inner, { clock, metrics: tokenMetrics, successTtlMs, failureTtlMs });
  const tokenAuthenticators: TokenAuthenticator[] = [];
  if (options.staticTokens !== undefined)
    tokenAuthenticators.push(own(createTokenFileAuthenticator(options.staticTokens)));
  tokenAuthenticators.push(tokens);
  if (options.bootstrapTokens === true)
    tokenAuthenticators.push(
      own(createBootstrapTokenAuthenticator({ clock, secret: (name) => tokens.secret('kube-system', name) })),
    );
  // Behind the service accounts: an issuer may be asked for its keys for each token that it does not know.
  let issuersOutside: JwtAuthenticators | undefined;
  let issuersCache: TokenCache | undefined;
  if (authentication.configuration !== undefined) {
    if (webhooks === undefined) throw new Error('issuers of tokens cannot be reached without a dialer');
    issuersOutside = new JwtAuthenticators({
      jwt: authentication.configuration.jwt,
      algorithms: authentication.signingAlgorithms ?? signingAlgorithms,
      disallowedIssuers: issuers,
      dialer: webhooks.dialer,
      egress: webhooks.egress,
      clock,
      logger,
      metrics: tokenMetrics,
    });
    issuersCache = new TokenCache(issuersOutside, {
      clock,
      metrics: tokenMetrics,
      successTtlMs: tokenTtlMs,
      failureTtlMs: 0,
    });
    tokenAuthenticators.push(own(issuersCache));
  }
  if (authentication.webhook !== undefined) {
    if (webhooks === undefined) throw new Error('the authentication webhook cannot be reached without a dialer');
    const { config, version, cacheTtlMs } = authentication.webhook;
    const client = new ReviewClient({
      clients: webhooks.clients,
      random,
      config,
      timeoutMs: webhookTimeoutMs,
      retry: defaultReviewRetry,
    });
    const webhook = createWebhookTokenAuthenticator({ client, version, implicitAudiences: audiences });
    tokenAuthenticators.push(cached(webhook, cacheTtlMs, cacheTtlMs));
  }
  const tokenAuthenticator = unionTokens(tokenAuthenticators);
  const certificateSeconds = new HistogramVector(
    'apiserver_client_certificate_expiration_seconds',
    'Distribution of the remaining lifetime on the certificate used to authenticate a request.',
    certificateBuckets,
  );
  const { requestHeader } = options;
  const authenticator = createAuthenticator({
    requestHeader:
      requestHeader === undefined ? undefined : createRequestHeaderAuthenticator({ ...requestHeader, clock }),
    clientCertificates: options.clientCertificates
      ? createClientCertAuthenticator({ clock, remaining: certificateSeconds.series('', () => ({})) })
      : undefined,
    tokens: tokenAuthenticator,
    anonymous: authentication.configuration?.anonymous ?? { enabled: options.anonymous },
  });

  const { authorization, features = new FeatureGates() } = options;
  const configuration = authorization.configuration ?? configurationOfModes(authorization.modes ?? ['Node', 'RBAC']);
  const authorizationMetrics = new AuthorizationMetrics();
  const authorizationReloads = new ReloadMetrics('authorization', options.serverId ?? '');
  const rbac = new RbacAuthorizer();
  const graph = new NodeGraph();
  const authorizer = new ConfiguredAuthorizer({
    configuration,
    file: authorization.file,
    rbac,
    node: new NodeAuthorizer(graph, nodeRules(features), features),
    abac: abacOf(authorization, logger),
    clients: webhooks?.clients,
    webhookClient: webhooks?.config,
    clock,
    random,
    logger,
    metrics: authorizationMetrics,
    reloads: authorizationReloads,
  });

  const virtualResources = new Map<string, VirtualCreate>([
    [
      '/serviceaccounts/token',
      createTokenRequestHandler({
        tokens,
        registries,
        clock,
        features,
        extendExpiration: options.extendTokenExpiration ?? true,
        maxExpirationSeconds: options.maxTokenExpirationSeconds ?? 0,
        maxExtendedSeconds: options.maxExtendedExpirationSeconds,
      }),
    ],
    ['authentication.k8s.io/tokenreviews', createTokenReviewHandler({ tokens: tokenAuthenticator, audiences })],
    ['authentication.k8s.io/selfsubjectreviews', createSelfSubjectReviewHandler({ clock })],
    ...createAuthorizationReviews({ authorizer, rules: authorizer }),
  ]);

  let stopFollowing = (): void => {};
  return {
    authenticator,
    authorizer,
    escalation: createEscalationChecks({ authorizer, rbac }),
    tokens,
    virtualResources,
    oidcDocuments: oidcDocuments({ keys, issuer: issuers[0]!, jwksUri: options.jwksUri }),
    families: [
      ...accountMetrics.families,
      certificateSeconds,
      ...tokenMetrics.families,
      ...(authentication.file === undefined ? [] : authenticationReloads.families),
      ...authorizationMetrics.families,
      ...graph.families,
      ...(authorization.file === undefined ? [] : authorizationReloads.families),
    ],
    async start() {
      const { types } = authorizer;
      await Promise.all([
        // Who writes roles is held against them also where others decide.
        types.size === 1 && types.has('AlwaysAllow') ? undefined : rbac.start(registries),
        types.has('Node') ? graph.start(registries) : undefined,
      ]);
      await authorizer.start();
      if (authentication.file === undefined || issuersOutside === undefined) return;
      const following = issuersOutside;
      stopFollowing = followConfigFile({
        file: authentication.file,
        what: 'authentication config',
        clock,
        logger,
        metrics: authenticationReloads,
        async apply(given) {
          const next = decodeAuthenticationConfiguration(given);
          const errors = [
            ...validateAuthenticationConfiguration(next, issuers),
            ...anonymousChange(authentication.configuration?.anonymous, next.anonymous),
          ];
          if (errors.length > 0) throw new Error(aggregateFieldErrors(errors));
          await following.update(next.jwt);
          issuersCache?.clear();
        },
      });
    },
    close() {
      stopFollowing();
      issuersOutside?.close();
      authorizer.close();
      rbac.close();
      graph.close();
    },
  };
}

function abacOf({ policies }: AuthorizationSettings, logger: Logger): AbacAuthorizer | undefined {
  if (policies === undefined) return undefined;
  const read = parseAbacPolicies(policies.text, policies.path);
  if (read.unversioned > 0) logger.warn('Policy file contained unversioned rules', { file: policies.path });
  return new AbacAuthorizer(read.policies);
}
