/** TokenReview (whose token is this?) and SelfSubjectReview (who am I?). */
import type { Clock } from '../../base/clock.ts';
import { badRequest, internalError } from '../../api/status.ts';
import type { UserInfo } from '../request.ts';
import { timeText, type VirtualCreate } from '../virtual.ts';
import { withAuthenticatedGroup, type TokenAuthenticator } from './authenticator.ts';

/** authentication.k8s.io UserInfo as it is written. */
function userInfo(user: UserInfo): Record<string, unknown> {
  const out: Record<string, unknown> = { username: user.name };
  if (user.uid !== undefined && user.uid !== '') out['uid'] = user.uid;
  if (user.groups.length > 0) out['groups'] = [...user.groups];
  if (user.extra !== undefined && Object.keys(user.extra).length > 0) out['extra'] = user.extra;
  return out;
}

export function createTokenReviewHandler(options: {
  readonly tokens: TokenAuthenticator;
  /** `--api-audiences`, asked for when the review names none. */
  readonly audiences: readonly string[];
}): VirtualCreate {
  return async (_ctx, object, admit) => {
    const spec = (object['spec'] ?? {}) as { token?: string; audiences?: string[] };
    if (spec.token === undefined || spec.token === '')
      throw badRequest('token is required for TokenReview in authentication');
    await admit(object);
    const asked =
      spec.audiences === undefined || (spec.audiences ?? []).length === 0 ? options.audiences : spec.audiences;
    const status: Record<string, unknown> = {};
    try {
      const identity = await options.tokens.authenticateToken(spec.token, asked);
      if (identity === undefined) {
        status['user'] = {};
        status['error'] = 'invalid bearer token';
      } else {
        // Authenticators without audiences of their own speak for the API server alone.
        const audiences = identity.audiences ?? options.audiences.filter((a) => asked.includes(a));
        if (asked.length > 0 && audiences.length === 0) throw internalError(new Error('error validating audiences'));
        status['authenticated'] = true;
        status['user'] = userInfo(withAuthenticatedGroup(identity.user));
        if (audiences.length > 0) status['audiences'] = [...audiences];
      }
    } catch (error) {
      if (error instanceof Error && error.name === 'StatusError') throw error;
      status['user'] = {};
      status['error'] = error instanceof Error ? error.message : String(error);
    }
    return { ...object, status };
  };
}

export function createSelfSubjectReviewHandler(options: { readonly clock: Clock }): VirtualCreate {
  return async (ctx, object, admit) => {
    await admit(object);
    return {
      apiVersion: object.apiVersion,
      kind: object.kind,
      metadata: { creationTimestamp: timeText(options.clock.now()) },
      status: { userInfo: userInfo(ctx.user) },
    };
  };
}
