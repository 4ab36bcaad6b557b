/**
 * The authorizers in order: members of `system:masters` may do everything, then the modes that are on. The first that
 * allows or denies decides; the reasons of those without opinion are joined for the refusal.
 */
import type { AuthorizationAttributes, Authorizer, Decision } from '../context.ts';

interface Outcome {
  decision: Decision;
  reason: string;
}

const allowed: Outcome = Object.freeze({ decision: 'allow', reason: '' });

/** Upstream's superuser group. */
export const systemMasters = 'system:masters';

/** Everything is allowed: `--authorization-mode=AlwaysAllow`. */
export const alwaysAllow: Authorizer = { authorize: () => allowed };

/** Members of `system:masters` alone. */
export const mastersAuthorizer: Authorizer = {
  authorize: ({ user }) => (user.groups.includes(systemMasters) ? allowed : { decision: 'noOpinion', reason: '' }),
};

/** Synchronous as long as every authorizer asked is. */
export function unionAuthorizer(authorizers: readonly Authorizer[]): Authorizer {
  const ask = (attributes: AuthorizationAttributes, from: number, reasons: string[]): Outcome | Promise<Outcome> => {
    for (let i = from; i < authorizers.length; i++) {
      const outcome = authorizers[i]!.authorize(attributes);
      if (outcome instanceof Promise)
        return outcome.then((settled) => {
          if (settled.decision !== 'noOpinion') return settled;
          if (settled.reason !== '') reasons.push(settled.reason);
          return ask(attributes, i + 1, reasons);
        });
      if (outcome.decision !== 'noOpinion') return outcome;
      if (outcome.reason !== '') reasons.push(outcome.reason);
    }
    return { decision: 'noOpinion', reason: reasons.join('\n') };
  };
  return { authorize: (attributes) => ask(attributes, 0, []) };
}
