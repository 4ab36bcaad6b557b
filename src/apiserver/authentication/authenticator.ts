/** The seams between authenticators: of bearer tokens, and what is common to service account names. */
import type { Remarks } from '../context.ts';
import type { UserInfo } from '../request.ts';

export interface TokenIdentity {
  readonly user: UserInfo;
  /** The audiences of the token that were asked for; undefined when the authenticator knows no audiences. */
  readonly audiences: readonly string[] | undefined;
}

export interface TokenAuthenticator {
  /**
   * undefined: not a token of this kind. Throws (any Error; its text goes to TokenReview's status.error alone) for a token
   * of this kind that is not good. `audiences`: whom the token must be for; undefined means the API server.
   */
  authenticateToken(
    token: string,
    audiences: readonly string[] | undefined,
    remarks?: Remarks,
  ): Promise<TokenIdentity | undefined>;
  /** The user of a token for the API server, where it is certain without waiting (see `Authenticator.known`). */
  known?(token: string): UserInfo | undefined;
}

/** For an authenticator that knows no audiences: its tokens are for the API server's own ones. */
export function audienceAgnostic(inner: TokenAuthenticator, own: readonly string[]): TokenAuthenticator {
  return {
    async authenticateToken(token, audiences, remarks) {
      if (audiences === undefined) return inner.authenticateToken(token, undefined, remarks);
      const granted = audiences.filter((a) => own.includes(a));
      if (granted.length === 0) return undefined;
      const identity = await inner.authenticateToken(token, undefined, remarks);
      return identity === undefined ? undefined : { user: identity.user, audiences: granted };
    },
    known: (token) => inner.known?.(token),
  };
}

export const serviceAccountUserPrefix = 'system:serviceaccount:';

export function serviceAccountUser(namespace: string, name: string): string {
  return `${serviceAccountUserPrefix}${namespace}:${name}`;
}

/** Namespace and name out of `system:serviceaccount:ns:name`; undefined for other users. */
export function splitServiceAccountUser(user: string): { namespace: string; name: string } | undefined {
  if (!user.startsWith(serviceAccountUserPrefix)) return undefined;
  const parts = user.slice(serviceAccountUserPrefix.length).split(':');
  if (parts.length !== 2 || parts[0] === '' || parts[1] === '') return undefined;
  return { namespace: parts[0]!, name: parts[1]! };
}

/** Groups of every service account of a namespace. */
export function serviceAccountGroups(namespace: string): string[] {
  return ['system:serviceaccounts', `system:serviceaccounts:${namespace}`];
}

/** Adds `system:authenticated` where neither it nor `system:unauthenticated` is there. */
export function withAuthenticatedGroup(user: UserInfo): UserInfo {
  if (user.groups.includes('system:authenticated') || user.groups.includes('system:unauthenticated')) return user;
  return { ...user, groups: [...user.groups, 'system:authenticated'] };
}
