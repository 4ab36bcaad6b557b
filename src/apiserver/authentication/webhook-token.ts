/** Tokens that a server outside knows (`--authentication-token-webhook-config-file`): it is asked with a TokenReview. */
import { isObject } from '../../api/patch/values.ts';
import type { ReviewClient } from '../connect/review-client.ts';
import type { UserInfo } from '../request.ts';
import type { TokenAuthenticator } from './authenticator.ts';

function texts(value: unknown): string[] {
  return Array.isArray(value) ? value.filter((v) => typeof v === 'string') : [];
}

function userOf(value: unknown): UserInfo {
  const user = isObject(value) ? value : {};
  const { username, uid, extra } = user;
  return {
    name: typeof username === 'string' ? username : '',
    ...(typeof uid === 'string' && uid !== '' ? { uid } : {}),
    groups: texts(user['groups']),
    ...(isObject(extra)
      ? { extra: Object.fromEntries(Object.entries(extra).map(([key, values]) => [key, texts(values)])) }
      : {}),
  };
}

export function createWebhookTokenAuthenticator(options: {
  readonly client: ReviewClient;
  /** Of the TokenReview. */
  readonly version: 'v1' | 'v1beta1';
  /** Whom a token is for where the webhook does not say: the API's own audiences. */
  readonly implicitAudiences: readonly string[];
}): TokenAuthenticator {
  return {
    async authenticateToken(token, asked) {
      const audiences = asked ?? options.implicitAudiences;
      const status = await options.client.ask({
        kind: 'TokenReview',
        apiVersion: `authentication.k8s.io/${options.version}`,
        metadata: {},
        spec: { token, ...(audiences.length === 0 ? {} : { audiences }) },
        status: { user: {} },
      });
      let granted: readonly string[] | undefined;
      if (audiences.length > 0) {
        const given = texts(status['audiences']);
        const of = given.length > 0 ? given : options.implicitAudiences;
        granted = audiences.filter((a) => of.includes(a));
        if (granted.length === 0) return undefined;
      }
      if (status['authenticated'] !== true) {
        const error = status['error'];
        if (typeof error === 'string' && error !== '') throw new Error(error);
        return undefined;
      }
      return { user: userOf(status['user']), audiences: granted };
    },
  };
}
