/**
 * The authorizers in order: members of `system:masters` may do everything, then those that are on. The first that allows or
 * denies decides; the reasons and errors of those without opinion are joined for the refusal.
 */
import type { AuthorizationAttributes, AuthorizationOutcome, Authorizer } from '../context.ts';

const allowed: AuthorizationOutcome = Object.freeze({ decision: 'allow', reason: '' });
const noOpinion: AuthorizationOutcome = Object.freeze({ decision: 'noOpinion', reason: '' });
const everythingForbidden: AuthorizationOutcome = Object.freeze({
  decision: 'noOpinion',
  reason: 'Everything is forbidden.',
});

/** Upstream's superuser group. */
export const systemMasters = 'system:masters';

/** Everything is allowed: `--authorization-mode=AlwaysAllow`. */
export const alwaysAllow: Authorizer = { authorize: () => allowed };

/** Nothing is: `--authorization-mode=AlwaysDeny`. */
export const alwaysDeny: Authorizer = { authorize: () => everythingForbidden };

/** Members of `system:masters` alone. */
export const mastersAuthorizer: Authorizer = {
  authorize: ({ user }) => (user.groups.includes(systemMasters) ? allowed : noOpinion),
};

function joinErrors(errors: readonly Error[]): Error {
  if (errors.length === 1) return errors[0]!;
  const texts = [...new Set(errors.map((e) => e.message))];
  return new Error(texts.length === 1 ? texts[0]! : `[${texts.join(', ')}]`, { cause: errors });
}

/** Synchronous as long as every authorizer asked is. */
export function unionAuthorizer(authorizers: readonly Authorizer[]): Authorizer {
  const ask = (
    attributes: AuthorizationAttributes,
    from: number,
    reasons: string[],
    errors: Error[],
  ): AuthorizationOutcome | Promise<AuthorizationOutcome> => {
    for (let i = from; i < authorizers.length; i++) {
      const outcome = authorizers[i]!.authorize(attributes);
      if (outcome instanceof Promise)
        return outcome.then((settled) => {
          if (settled.decision !== 'noOpinion') return settled;
          if (settled.reason !== '') reasons.push(settled.reason);
          if (settled.error !== undefined) errors.push(settled.error);
          return ask(attributes, i + 1, reasons, errors);
        });
      if (outcome.decision !== 'noOpinion') return outcome;
      if (outcome.reason !== '') reasons.push(outcome.reason);
      if (outcome.error !== undefined) errors.push(outcome.error);
    }
    if (reasons.length === 0 && errors.length === 0) return noOpinion;
    return {
      decision: 'noOpinion',
      reason: reasons.join('\n'),
      ...(errors.length === 0 ? {} : { error: joinErrors(errors) }),
    };
  };
  return { authorize: (attributes) => ask(attributes, 0, [], []) };
}
