/** Bootstrap tokens as logins (`--enable-bootstrap-token-auth`): user `system:bootstrap:ID` in group `system:bootstrappers`. */
import { timingSafeEqual } from 'node:crypto';
import type { Clock } from '../../base/clock.ts';
import {
  bootstrapTokenSecretPrefix,
  bootstrapTokenSecretType,
  parseBootstrapToken,
  tokenData,
  tokenGroups,
  tokenTimeLeft,
} from '../../api/helpers/bootstrap-token.ts';
import type { Secret } from '../../api/types/index.gen.ts';
import { withAuthenticatedGroup } from './authenticator.ts';
import type { TokenAuthenticator } from './authenticator.ts';

export function createBootstrapTokenAuthenticator(options: {
  readonly clock: Clock;
  /** A Secret of kube-system by its name; undefined when there is none. */
  readonly secret: (name: string) => Promise<Secret | undefined>;
}): TokenAuthenticator {
  return {
    async authenticateToken(token) {
      const parsed = parseBootstrapToken(token);
      if (parsed === undefined) return undefined;
      const secret = await options.secret(bootstrapTokenSecretPrefix + parsed.id);
      if (secret === undefined || secret.metadata.deletionTimestamp !== undefined) return undefined;
      if (secret.type !== bootstrapTokenSecretType) return undefined;
      const held = Buffer.from(tokenData(secret, 'token-secret'));
      const given = Buffer.from(parsed.secret);
      if (held.length !== given.length || !timingSafeEqual(held, given)) return undefined;
      if (tokenData(secret, 'token-id') !== parsed.id) return undefined;
      if (tokenTimeLeft(secret, options.clock.now()) === 0) return undefined;
      if (tokenData(secret, 'usage-bootstrap-authentication') !== 'true') return undefined;
      const groups = tokenGroups(secret);
      if (groups === undefined) return undefined;
      return { user: withAuthenticatedGroup({ name: `system:bootstrap:${parsed.id}`, groups }), audiences: undefined };
    },
  };
}
