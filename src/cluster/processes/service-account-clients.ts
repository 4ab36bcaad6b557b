/**
 * Clients of service accounts of kube-system for a controller manager with `--use-service-account-credentials`: each asks for a
 * token of its own by TokenRequest, and for the next one when a fifth of its life is left.
 */
import { HttpTransport } from '../../client/http-transport.ts';
import { isAlreadyExists, isNotFound } from '../../client/errors.ts';
import type { ConnectionConfig, Credentials } from '../../client/kubeconfig.ts';
import type { TypedClient } from '../../client/typed-client.ts';
import { createClient } from '../../client/typed-client.ts';
import type { TokenRequest } from '../../api/types/index.gen.ts';
import { timeMs } from '../../api/time.ts';
import { userAgent } from './api-connection.ts';
import type { ComponentEnvironment } from './environment.ts';

const namespace = 'kube-system';
const lifeSeconds = 3600;
/** The part of a token's life that is left when the next one is asked for. */
const leeway = 0.2;

class AccountToken {
  readonly #client: TypedClient;
  readonly #name: string;
  readonly #env: ComponentEnvironment;
  #held: { token: string; renewAt: number; expires: number } | undefined;
  #asking: Promise<string> | undefined;

  constructor(client: TypedClient, name: string, env: ComponentEnvironment) {
    this.#client = client;
    this.#name = name;
    this.#env = env;
  }

  /** `force`: the server has refused the one we hold. */
  async credentials(force: boolean): Promise<Credentials> {
    const held = this.#held;
    const now = this.#env.clock.now();
    if (!force && held !== undefined && now < held.renewAt) return { token: held.token };
    this.#asking ??= this.#ask().finally(() => {
      this.#asking = undefined;
    });
    try {
      return { token: await this.#asking };
    } catch (error) {
      // The old one still serves until it expires.
      if (force || held === undefined || now >= held.expires) throw error;
      this.#env.logger.warn('cannot renew the token of a service account', { serviceAccount: this.#name, error });
      held.renewAt = now + 10_000;
      return { token: held.token };
    }
  }

  async #ask(): Promise<string> {
    const accounts = this.#client.core.serviceaccounts;
    const request = (): Promise<TokenRequest> =>
      accounts.createSubresource<TokenRequest>(this.#name, namespace, 'token', {
        apiVersion: 'authentication.k8s.io/v1',
        kind: 'TokenRequest',
        metadata: {},
        spec: { audiences: [], expirationSeconds: lifeSeconds },
      });
    let answer: TokenRequest;
    try {
      answer = await request();
    } catch (error) {
      if (!isNotFound(error)) throw error;
      try {
        await accounts.create({ metadata: { name: this.#name, namespace } });
      } catch (raced) {
        if (!isAlreadyExists(raced)) throw raced;
      }
      answer = await request();
    }
    const token = answer.status?.token;
    if (token === undefined) throw new Error(`the API server gave no token for service account ${this.#name}`);
    const now = this.#env.clock.now();
    const until = timeMs(answer.status?.expirationTimestamp);
    const expires = Number.isNaN(until) ? now + lifeSeconds * 1000 : until;
    this.#held = { token, expires, renewAt: expires - (expires - now) * leeway };
    return token;
  }
}

export interface ServiceAccountClients {
  /** A client as `system:serviceaccount:kube-system:<name>`. */
  clientFor(name: string): TypedClient;
  close(): Promise<void>;
}

/** `base`: the manager's own connection, whose server and authorities the others share. `client`: as the manager. */
export function serviceAccountClients(options: {
  readonly component: string;
  readonly base: ConnectionConfig;
  readonly client: TypedClient;
  readonly env: ComponentEnvironment;
}): ServiceAccountClients {
  const { base, client, component, env } = options;
  const transports: HttpTransport[] = [];
  return {
    clientFor(name) {
      const token = new AccountToken(client, name, env);
      const transport = new HttpTransport(
        {
          server: base.server,
          ...(base.ca === undefined ? {} : { ca: base.ca }),
          ...(base.insecureSkipTlsVerify === true ? { insecureSkipTlsVerify: true } : {}),
          ...(base.tlsServerName === undefined ? {} : { tlsServerName: base.tlsServerName }),
          credentials: (force) => token.credentials(force),
        },
        {
          random: env.random,
          meter: env.requests,
          userAgent: userAgent(component, `system:serviceaccount:${namespace}:${name}`),
        },
      );
      transports.push(transport);
      return createClient(transport);
    },
    async close() {
      await Promise.all(transports.map((t) => t.close()));
    },
  };
}
