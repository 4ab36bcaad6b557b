/**
 * Who calls and what they may do, put together from options: authenticators, authorizers, the reviews and tokens that are
 * answered from them, and the documents by which others verify tokens.
 */
import type { Clock } from '../base/clock.ts';
import type { Logger } from '../base/logger.ts';
import type { Random } from '../base/random.ts';
import { createClientCertAuthenticator } from './authentication/client-cert.ts';
import type { TokenAuthenticator } from './authentication/authenticator.ts';
import { oidcDocuments, type OidcDocument } from './authentication/oidc-discovery.ts';
import { createRequestHeaderAuthenticator, type RequestHeaderOptions } from './authentication/request-header.ts';
import { createSelfSubjectReviewHandler, createTokenReviewHandler } from './authentication/reviews.ts';
import { ServiceAccountKeys } from './authentication/service-account-keys.ts';
import { defaultIssuer, ServiceAccountTokens } from './authentication/service-account-token.ts';
import { createBootstrapTokenAuthenticator } from './authentication/bootstrap-token.ts';
import { createTokenFileAuthenticator } from './authentication/token-file.ts';
import { createTokenRequestHandler } from './authentication/token-request.ts';
import { createAuthenticator, unionTokens } from './authentication/union.ts';
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
import type { ConfigFile } from './config-file.ts';
import type { WebhookClientConfig, WebhookClients } from './connect/webhook-client.ts';
import type { Authenticator, Authorizer } from './context.ts';
import type { Family } from './metrics/exposition.ts';
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

/** How servers outside are reached that authenticate and authorize. */
export interface SecurityWebhooks {
  readonly clients: WebhookClients;
  /** Reads a kubeconfig. */
  readonly config: (kubeConfigFile: string) => Promise<WebhookClientConfig>;
}

export interface SecurityOptions {
  readonly registries: Registries;
  readonly clock: Clock;
  readonly random: Random;
  /** A client CA is configured. */
  readonly clientCertificates: boolean;
  /** `--requestheader-*`; undefined where there is no authority for authenticating proxies. */
  readonly requestHeader?: RequestHeaderOptions;
  /** `--anonymous-auth` */
  readonly anonymous: boolean;
  readonly logger: Logger;
  /** Of this API server, for metrics. */
  readonly serverId?: string;
  readonly authorization: AuthorizationSettings;
  readonly webhooks?: SecurityWebhooks;
  /** PEM texts. */
  readonly serviceAccountKeys: { readonly signingKey?: string; readonly verifyKeys?: readonly string[] };
  /** `--service-account-issuer`; default `https://kubernetes.default.svc.cluster.local`. */
  readonly issuers?: readonly string[];
  /** `--api-audiences`; default the issuers. */
  readonly audiences?: readonly string[];
  /** Full URL of the key set; default `https://<advertised>/openid/v1/jwks`. */
  readonly jwksUri: string;
  /** `--token-auth-file`, parsed. */
  readonly staticTokens?: ReadonlyMap<string, UserInfo>;
  /** `--enable-bootstrap-token-auth`; default false. */
  readonly bootstrapTokens?: boolean;
  readonly extendTokenExpiration?: boolean;
  readonly maxTokenExpirationSeconds?: number;
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

export function createSecurity(options: SecurityOptions): Security {
  const { registries, clock, random } = options;
  const issuers = options.issuers ?? [defaultIssuer];
  const audiences = options.audiences ?? issuers;
  const keys = new ServiceAccountKeys(options.serviceAccountKeys);
  const tokens = new ServiceAccountTokens({ issuers, audiences, keys, registries, clock, random });
  const tokenAuthenticators: TokenAuthenticator[] = [];
  if (options.staticTokens !== undefined) tokenAuthenticators.push(createTokenFileAuthenticator(options.staticTokens));
  tokenAuthenticators.push(tokens);
  if (options.bootstrapTokens === true)
    tokenAuthenticators.push(
      createBootstrapTokenAuthenticator({ clock, secret: (name) => tokens.secret('kube-system', name) }),
    );
  const tokenAuthenticator = unionTokens(tokenAuthenticators);
  const { requestHeader } = options;
  const authenticator = createAuthenticator({
    requestHeader:
      requestHeader === undefined ? undefined : createRequestHeaderAuthenticator({ ...requestHeader, clock }),
    clientCertificates: options.clientCertificates ? createClientCertAuthenticator({ clock }) : undefined,
    tokens: tokenAuthenticator,
    anonymous: options.anonymous,
  });

  const { authorization, logger } = options;
  const configuration = authorization.configuration ?? configurationOfModes(authorization.modes ?? ['Node', 'RBAC']);
  const authorizationMetrics = new AuthorizationMetrics();
  const authorizationReloads = new ReloadMetrics('authorization', options.serverId ?? '');
  const rbac = new RbacAuthorizer();
  const graph = new NodeGraph();
  const authorizer = new ConfiguredAuthorizer({
    configuration,
    file: authorization.file,
    rbac,
    node: new NodeAuthorizer(graph, nodeRules()),
    abac: abacOf(authorization, logger),
    clients: options.webhooks?.clients,
    webhookClient: options.webhooks?.config,
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
        extendExpiration: options.extendTokenExpiration ?? true,
        maxExpirationSeconds: options.maxTokenExpirationSeconds ?? 0,
      }),
    ],
    ['authentication.k8s.io/tokenreviews', createTokenReviewHandler({ tokens: tokenAuthenticator, audiences })],
    ['authentication.k8s.io/selfsubjectreviews', createSelfSubjectReviewHandler({ clock })],
    ...createAuthorizationReviews({ authorizer, rules: authorizer }),
  ]);

  return {
    authenticator,
    authorizer,
    escalation: createEscalationChecks({ authorizer, rbac }),
    tokens,
    virtualResources,
    oidcDocuments: oidcDocuments({ keys, issuer: issuers[0]!, jwksUri: options.jwksUri }),
    families: [
      ...authorizationMetrics.families,
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
    },
    close() {
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
