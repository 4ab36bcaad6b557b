/** `matchConstraints` of policies and `matchResources` of bindings, made ready. */
import type { Selector, SelectorError } from '../../../api/selector.ts';
import type { MatchResources } from '../../../api/types/admissionregistration-v1.gen.ts';
import type { AdmissionAttributes } from '../../context.ts';
import { kindOf, matchRules, namespaceFits, objectFits, readSelector } from '../matching.ts';
import type { EquivalentResources, MatchedResource, Rule } from '../matching.ts';
import type { Namespaces } from '../namespaces.ts';

export interface Constraints {
  readonly rules: readonly Rule[];
  readonly excluded: readonly Rule[];
  readonly equivalent: boolean;
  readonly namespaceSelector: Selector | SelectorError;
  readonly objectSelector: Selector | SelectorError;
}

export function readConstraints(given: MatchResources): Constraints {
  return {
    rules: given.resourceRules ?? [],
    excluded: given.excludeResourceRules ?? [],
    equivalent: (given.matchPolicy ?? 'Equivalent') === 'Equivalent',
    namespaceSelector: readSelector(given.namespaceSelector ?? {}),
    objectSelector: readSelector(given.objectSelector ?? {}),
  };
}

export interface ConstraintDeps {
  readonly equivalents: EquivalentResources;
  readonly namespaces: Namespaces;
}

/**
 * As what the request is meant; undefined: it is not.
 * @throws {StatusError} when that cannot be told (also as a rejection)
 */
export function meets(
  constraints: Constraints,
  a: AdmissionAttributes,
  deps: ConstraintDeps,
): MatchedResource | undefined | Promise<MatchedResource | undefined> {
  const { rules, excluded, equivalent } = constraints;
  const equivalents = equivalent ? deps.equivalents : undefined;
  const matched =
    rules.length === 0
      ? { resource: { group: a.group, version: a.version, resource: a.resource }, kind: kindOf(a) }
      : matchRules(rules, a, equivalents);
  if (matched === undefined) return undefined;
  if (excluded.length > 0 && matchRules(excluded, a, equivalents) !== undefined) return undefined;
  if (!objectFits(constraints.objectSelector, a)) return undefined;
  const fits = namespaceFits(constraints.namespaceSelector, a, deps.namespaces);
  if (fits instanceof Promise) return fits.then((yes) => (yes ? matched : undefined));
  return fits ? matched : undefined;
}
