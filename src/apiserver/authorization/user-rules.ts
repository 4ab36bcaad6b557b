/** What authorizers tell of everything that somebody may do in a namespace (SelfSubjectRulesReview). */
import type { UserInfo } from '../request.ts';
import type { PolicyRule } from './rule.ts';

export interface UserRules {
  readonly rules: readonly PolicyRule[];
  /** There may be more than these. */
  readonly incomplete: boolean;
  /** Why; empty when nothing went wrong. */
  readonly error: string;
}

export interface RuleResolver {
  rulesFor(user: UserInfo, namespace: string): UserRules;
}

export const everything: RuleResolver = {
  rulesFor: () => ({
    rules: [
      { verbs: ['*'], apiGroups: ['*'], resources: ['*'] },
      { verbs: ['*'], nonResourceURLs: ['*'] },
    ],
    incomplete: false,
    error: '',
  }),
};

/** An authorizer that cannot tell. */
export function unresolvable(error: string): RuleResolver {
  return { rulesFor: () => ({ rules: [], incomplete: true, error }) };
}

/** The rules of all, with all their errors. */
export function unionRules(resolvers: readonly RuleResolver[]): RuleResolver {
  return {
    rulesFor(user, namespace) {
      const found = resolvers.map((r) => r.rulesFor(user, namespace));
      const errors = found.map((f) => f.error).filter((e) => e !== '');
      return {
        rules: found.flatMap((f) => f.rules),
        incomplete: found.some((f) => f.incomplete),
        error: errors.length > 1 ? `[${errors.join(', ')}]` : (errors[0] ?? ''),
      };
    },
  };
}
