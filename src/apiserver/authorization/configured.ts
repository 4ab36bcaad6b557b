/**
 * The authorizers that an AuthorizationConfiguration names, in its order, behind the one of `system:masters`; put together anew
 * when its file changes. RBAC's, the nodes' and ABAC's are set up once and used in every configuration.
 */
import type { Clock } from '../../base/clock.ts';
import type { Logger } from '../../base/logger.ts';
import type { Random } from '../../base/random.ts';
import { followConfigFile } from '../config-file.ts';
import type { ConfigFile } from '../config-file.ts';
import { defaultReviewRetry, ReviewClient } from '../connect/review-client.ts';
import type { WebhookClientConfig, WebhookClients } from '../connect/webhook-client.ts';
import type { AuthorizationAttributes, AuthorizationOutcome, Authorizer, Decision } from '../context.ts';
import type { UserInfo } from '../request.ts';
import type { AbacAuthorizer } from './abac.ts';
import { loadAuthorizationConfiguration } from './config.ts';
import type { AuthorizationConfiguration, AuthorizerConfiguration } from './config.ts';
import type { AuthorizationMetrics, ReloadMetrics } from './metrics.ts';
import { nodeIdentity } from './node.ts';
import type { NodeAuthorizer } from './node.ts';
import type { RbacAuthorizer } from './rbac.ts';
import { alwaysAllow, alwaysDeny, mastersAuthorizer, unionAuthorizer } from './union.ts';
import { everything, unionRules, unresolvable } from './user-rules.ts';
import type { RuleResolver, UserRules } from './user-rules.ts';
import { compileMatchConditions } from './webhook/match-conditions.ts';
import { WebhookAuthorizer } from './webhook/webhook-authorizer.ts';

export interface ConfiguredAuthorizerOptions {
  readonly configuration: AuthorizationConfiguration;
  /** Where the configuration comes from, to follow its changes. */
  readonly file?: ConfigFile | undefined;
  readonly rbac: RbacAuthorizer;
  readonly node: NodeAuthorizer;
  /** undefined where no policy file was given. */
  readonly abac: AbacAuthorizer | undefined;
  readonly clients: WebhookClients | undefined;
  /** Reads the kubeconfig that leads to a webhook. */
  readonly webhookClient: ((kubeConfigFile: string) => Promise<WebhookClientConfig>) | undefined;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  readonly metrics: AuthorizationMetrics;
  readonly reloads: ReloadMetrics;
}

interface Chain {
  readonly authorizer: Authorizer;
  readonly rules: RuleResolver;
}

/** Counts what an authorizer decides. */
function counted(inner: Authorizer, count: (decision: Decision) => void): Authorizer {
  const note = (outcome: AuthorizationOutcome): AuthorizationOutcome => {
    if (outcome.decision !== 'noOpinion') count(outcome.decision);
    return outcome;
  };
  return {
    authorize(attributes) {
      const outcome = inner.authorize(attributes);
      return outcome instanceof Promise ? outcome.then(note) : note(outcome);
    },
  };
}

const none: UserRules = Object.freeze({ rules: [], incomplete: false, error: '' });
const nothing: RuleResolver = { rulesFor: () => none };
const nodeRules: RuleResolver = {
  rulesFor: (user) =>
    nodeIdentity(user) === undefined
      ? none
      : { rules: [], incomplete: true, error: 'node authorizer does not support user rule resolution' },
};

export class ConfiguredAuthorizer implements Authorizer, RuleResolver {
  readonly #options: ConfiguredAuthorizerOptions;
  readonly #masters = counted(mastersAuthorizer, () => {});
  #chain: Chain;
  #stop: (() => void) | undefined;

  constructor(options: ConfiguredAuthorizerOptions) {
    this.#options = options;
    // Until it has started, and where nothing has to be read for it, it is what can be had at once.
    this.#chain = this.#assemble(
      options.configuration.authorizers.filter((a) => a.type !== 'Webhook').map((a) => this.#builtIn(a)),
    );
  }

  /** The types that are in use from the start, and must stay. */
  get types(): ReadonlySet<string> {
    return new Set(this.#options.configuration.authorizers.map((a) => a.type));
  }

  /** Connects the webhooks and follows the file. */
  async start(): Promise<void> {
    const { configuration, file, clock, logger, reloads } = this.#options;
    if (this.types.has('Webhook')) this.#chain = await this.#build(configuration);
    if (file === undefined) return;
    const required = new Set([...this.types].filter((t) => t !== 'Webhook'));
    this.#stop = followConfigFile({
      file,
      what: 'authorization config',
      clock,
      logger,
      metrics: reloads,
      apply: async (given) => {
        this.#chain = await this.#build(loadAuthorizationConfiguration(given, required));
      },
    });
  }

  close(): void {
    this.#stop?.();
  }

  authorize(attributes: AuthorizationAttributes): AuthorizationOutcome | Promise<AuthorizationOutcome> {
    return this.#chain.authorizer.authorize(attributes);
  }

  rulesFor(user: UserInfo, namespace: string): UserRules {
    return this.#chain.rules.rulesFor(user, namespace);
  }

  #assemble(chains: readonly Chain[]): Chain {
    return {
      authorizer: unionAuthorizer([this.#masters, ...chains.map((c) => c.authorizer)]),
      rules: unionRules(chains.map((c) => c.rules)),
    };
  }

  async #build(configuration: AuthorizationConfiguration): Promise<Chain> {
    const chains: Chain[] = [];
    for (const a of configuration.authorizers)
      chains.push(a.type === 'Webhook' ? await this.#webhook(a) : this.#builtIn(a));
    return this.#assemble(chains);
  }

  #counted(a: AuthorizerConfiguration, authorizer: Authorizer, rules: RuleResolver): Chain {
    return { authorizer: counted(authorizer, this.#options.metrics.decisions(a.type, a.name)), rules };
  }

  #builtIn(a: AuthorizerConfiguration): Chain {
    const { rbac, node, abac } = this.#options;
    const started = this.types;
    if (!started.has(a.type) && ['Node', 'RBAC', 'ABAC'].includes(a.type))
      throw new Error(`authorizer type ${a.type} is not allowed if it was not enabled at initial server startup`);
    switch (a.type) {
      case 'AlwaysAllow':
        return this.#counted(a, alwaysAllow, everything);
      case 'AlwaysDeny':
        return this.#counted(a, alwaysDeny, nothing);
      case 'RBAC':
        return this.#counted(a, rbac, {
          rulesFor: (user, namespace) => ({ ...rbac.rulesFor(user, namespace), incomplete: false }),
        });
      case 'Node':
        return this.#counted(a, node, nodeRules);
      case 'ABAC':
        if (abac === undefined) throw new Error("authorization-mode ABAC's authorization policy file not passed");
        return this.#counted(a, abac, abac);
      default:
        throw new Error(`unknown authorization mode ${a.type} specified`);
    }
  }

  async #webhook(a: AuthorizerConfiguration): Promise<Chain> {
    const { clients, webhookClient, clock, random, logger, metrics } = this.#options;
    const webhook = a.webhook!;
    const file = webhook.connectionInfo.kubeConfigFile;
    if (clients === undefined || webhookClient === undefined || file === undefined)
      throw new Error(`authorizer ${a.name}: no kubeConfigFile leads to its webhook`);
    const config = await webhookClient(file);
    const { conditions } = compileMatchConditions(
      webhook.matchConditions.map((m) => m.expression),
      '',
    );
    const authorizer = new WebhookAuthorizer({
      name: a.name,
      client: new ReviewClient({
        clients,
        random,
        config,
        timeoutMs: webhook.timeout,
        retry: defaultReviewRetry,
      }),
      clock,
      logger,
      metrics,
      version: webhook.subjectAccessReviewVersion === 'v1' ? 'v1' : 'v1beta1',
      authorizedTtlMs: webhook.cacheAuthorizedRequests ? webhook.authorizedTTL : 0,
      unauthorizedTtlMs: webhook.cacheUnauthorizedRequests ? webhook.unauthorizedTTL : 0,
      onError: webhook.failurePolicy === 'Deny' ? 'deny' : 'noOpinion',
      conditions,
    });
    return this.#counted(a, authorizer, unresolvable('webhook authorizer does not support user rule resolution'));
  }
}
