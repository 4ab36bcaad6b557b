/**
 * Credentials of a service account for a process that runs several (`--use-service-account-credentials`): the account is made
 * where it is missing, tokens come from the TokenRequest API and are renewed before they expire.
 */
import type { Clock } from '../base/clock.ts';
import { timeMs } from '../api/time.ts';
import type { TokenRequest } from '../api/types/index.gen.ts';
import { isAlreadyExists, isNotFound } from './errors.ts';
import type { Credentials } from './kubeconfig.ts';
import type { TypedClient } from './typed-client.ts';

/** As upstream asks for; the server may give less. */
const expirationSeconds = 3600;
/** Tokens are renewed when this part of their life is over. */
const renewAfter = 0.8;

export interface ServiceAccountCredentialsOptions {
  /** May create service accounts and their tokens. */
  readonly client: TypedClient;
  readonly namespace: string;
  readonly name: string;
  readonly clock: Clock;
}

/** For `ConnectionConfig.credentials`. `force` asks for a new token whatever the old one's age. */
export function serviceAccountCredentials(
  options: ServiceAccountCredentialsOptions,
): (force: boolean) => Promise<Credentials> {
  const { client, namespace, name, clock } = options;
  let cached: { credentials: Credentials; renewAt: number } | undefined;
  let running: Promise<Credentials> | undefined;

  const request = (): Promise<TokenRequest> =>
    client.core.serviceaccounts.createSubresource<TokenRequest>(name, namespace, 'token', {
      apiVersion: 'authentication.k8s.io/v1',
      kind: 'TokenRequest',
      spec: { audiences: [], expirationSeconds },
    });

  const renew = async (): Promise<Credentials> => {
    let answer: TokenRequest;
    try {
      answer = await request();
    } catch (error) {
      if (!isNotFound(error)) throw error;
      try {
        await client.core.serviceaccounts.create({ metadata: { name, namespace } });
      } catch (conflict) {
        if (!isAlreadyExists(conflict)) throw conflict;
      }
      answer = await request();
    }
    const token = answer.status?.token;
    if (token === undefined || token === '') throw new Error(`no token for service account ${namespace}/${name}`);
    const now = clock.now();
    const expires = timeMs(answer.status?.expirationTimestamp);
    const life = Number.isNaN(expires) ? expirationSeconds * 1000 : expires - now;
    cached = { credentials: { token }, renewAt: now + life * renewAfter };
    return cached.credentials;
  };

  return (force) => {
    if (!force && cached !== undefined && clock.now() < cached.renewAt) return Promise.resolve(cached.credentials);
    running ??= renew().finally(() => {
      running = undefined;
    });
    return running;
  };
}
