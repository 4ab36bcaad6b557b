/**
 * The authenticators in order: the in-process identity, authenticating proxy, client certificate, bearer token, anonymous. A request with
 * credentials that nobody accepts is refused with 401, one without any is anonymous.
 */
import { unauthorized } from '../../api/status.ts';
import type { Authenticator, Remarks } from '../context.ts';
import type { IncomingRequest, UserInfo } from '../request.ts';
import { anonymousUser } from './anonymous.ts';
import type { AnonymousConfiguration } from './config.ts';
import { withAuthenticatedGroup, type TokenAuthenticator, type TokenIdentity } from './authenticator.ts';
import { BearerTokens, bearerToken } from './bearer.ts';

/** Asks each token authenticator in turn; the errors of all are kept when none accepts. */
export function unionTokens(authenticators: readonly TokenAuthenticator[]): TokenAuthenticator {
  return {
    async authenticateToken(token, audiences, remarks): Promise<TokenIdentity | undefined> {
      const errors: Error[] = [];
      for (const authenticator of authenticators) {
        try {
          const identity = await authenticator.authenticateToken(token, audiences, remarks);
          if (identity !== undefined) return identity;
        } catch (error) {
          errors.push(error instanceof Error ? error : new Error(String(error)));
        }
      }
      if (errors.length === 0) return undefined;
      if (errors.length === 1) throw errors[0]!;
      throw new Error(`[${errors.map((e) => e.message).join(', ')}]`, { cause: errors });
    },
    known(token) {
      for (const authenticator of authenticators) {
        const user = authenticator.known?.(token);
        if (user !== undefined) return user;
      }
      return undefined;
    },
  };
}

export interface AuthenticationOptions {
  /** Authenticating proxies; undefined when there is no authority for them. */
  readonly requestHeader?: Authenticator | undefined;
  /** Client certificates; undefined when there is no client CA. */
  readonly clientCertificates: Authenticator | undefined;
  readonly tokens: TokenAuthenticator;
  /** Who may be anonymous; conditions: which path must be asked for. */
  readonly anonymous: AnonymousConfiguration;
}

export function createAuthenticator(options: AuthenticationOptions): Authenticator {
  const { enabled, conditions = [] } = options.anonymous;
  const paths = new Set(conditions.map((c) => c.path));
  const bearers = new BearerTokens();
  const mayBeAnonymous = ({ path }: IncomingRequest): boolean => enabled && (paths.size === 0 || paths.has(path));
  return {
    async authenticate(request: IncomingRequest, remarks?: Remarks): Promise<UserInfo | undefined> {
      if (request.identity !== undefined) return withAuthenticatedGroup(request.identity);
      let failure: unknown;
      if (request.peerCertificate !== undefined) {
        const { peerAuthority: authority } = request;
        try {
          const user = authority === 'client' ? undefined : await options.requestHeader?.authenticate(request);
          if (user !== undefined) return withAuthenticatedGroup(user);
        } catch (error) {
          failure = error;
        }
        // A certificate of the proxies' authority alone names a proxy, and nobody who could log in.
        try {
          const user =
            authority === 'front-proxy' ? undefined : await options.clientCertificates?.authenticate(request);
          if (user !== undefined) return withAuthenticatedGroup(user);
          if (authority === 'front-proxy' && options.clientCertificates !== undefined)
            failure ??= new Error('verifying certificate failed: x509: certificate signed by unknown authority');
        } catch (error) {
          failure = error;
        }
      }
      const token = bearerToken(request);
      if (token !== undefined) {
        try {
          const identity = await options.tokens.authenticateToken(token, undefined, remarks);
          if (identity !== undefined) return withAuthenticatedGroup(identity.user);
          failure = new Error('invalid bearer token');
        } catch (error) {
          failure = error;
        }
      }
      if (failure !== undefined || !mayBeAnonymous(request)) {
        const refusal = unauthorized();
        if (failure !== undefined) refusal.cause = failure;
        throw refusal;
      }
      return anonymousUser;
    },
    known(request) {
      // What a proxy's headers say is another's word each time.
      if (request.peerAuthority === 'front-proxy' || request.peerAuthority === 'both') return undefined;
      if (options.clientCertificates !== undefined && request.peerCertificate !== undefined)
        return options.clientCertificates.known?.(request);
      const token = bearers.of(request);
      return token === undefined ? undefined : options.tokens.known?.(token);
    },
  };
}
