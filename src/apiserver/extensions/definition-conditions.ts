/**
 * What the controllers of apiextensions-apiserver say of a CustomResourceDefinition: whether its names are accepted, whether it is
 * established, whether its schema is structural, and whether its group is one that the community has approved.
 */
import { formatFieldError } from '../../api/field-error.ts';
import { invalid } from '../../api/field-error.ts';
import { structuralErrors } from '../../api/schema/structural.ts';
import { formatTime } from '../../api/time.ts';
import type {
  CustomResourceDefinition,
  CustomResourceDefinitionCondition,
  CustomResourceDefinitionNames,
} from '../../api/types/index.gen.ts';
import { approvalOf, hasInvalidBundle, isProtectedGroup } from '../validation/custom-resource-definition.ts';

type Conditions = readonly CustomResourceDefinitionCondition[];
/** A condition that is to hold from now on. */
export type Wanted = Pick<CustomResourceDefinitionCondition, 'type' | 'status'> & {
  readonly reason: string;
  readonly message: string;
};

export function conditionOf(
  crd: CustomResourceDefinition,
  type: string,
): CustomResourceDefinitionCondition | undefined {
  return crd.status?.conditions?.find((c) => c.type === type);
}

export const isTrue = (crd: CustomResourceDefinition, type: string): boolean =>
  conditionOf(crd, type)?.status === 'True';

/** The conditions with one set; the same array when it holds already. */
export function withCondition(conditions: Conditions, wanted: Wanted, now: number): Conditions {
  const at = conditions.findIndex((c) => c.type === wanted.type);
  const old = conditions[at];
  const next = { ...wanted, lastTransitionTime: formatTime(now) };
  if (old === undefined) return [...conditions, next];
  if (old.status === wanted.status && old.reason === wanted.reason && old.message === wanted.message) return conditions;
  const since =
    old.status === wanted.status && old.lastTransitionTime !== undefined && old.lastTransitionTime !== null
      ? old.lastTransitionTime
      : undefined;
  return conditions.with(at, { ...old, ...next, ...(since === undefined ? {} : { lastTransitionTime: since }) });
}

/** Names without empty members, for comparison. */
export function plainNames(names: CustomResourceDefinitionNames | undefined): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(names ?? {}).filter(([, v]) => v !== '' && !(Array.isArray(v) && v.length === 0)),
  );
}

export interface AcceptedNames {
  readonly accepted: CustomResourceDefinitionNames;
  readonly condition: Wanted;
}

/** Names are first come, first served within a group. */
export function acceptNames(
  crd: CustomResourceDefinition,
  others: Iterable<
    Pick<CustomResourceDefinition, 'status'> & {
      readonly metadata: { readonly uid?: string | undefined };
      readonly spec: { readonly group: string };
    }
  >,
): AcceptedNames {
  const resources = new Set<string>();
  const kinds = new Set<string>();
  for (const other of others) {
    if (other.metadata.uid === crd.metadata.uid || other.spec.group !== crd.spec.group) continue;
    const names = other.status?.acceptedNames;
    if (names === undefined) continue;
    for (const n of [names.plural, names.singular, ...(names.shortNames ?? [])]) if (n) resources.add(n);
    for (const k of [names.kind, names.listKind]) if (k) kinds.add(k);
  }
  const wanted = crd.spec.names;
  const had = crd.status?.acceptedNames;
  const accepted: Record<string, unknown> = { ...plainNames(had) };
  let reason = 'NoConflicts';
  let message = 'no conflicts found';
  const take = (member: 'plural' | 'singular' | 'kind' | 'listKind', used: ReadonlySet<string>, why: string): void => {
    const value = wanted[member] ?? '';
    if (value !== had?.[member] && used.has(value)) {
      reason = why;
      message = `${JSON.stringify(value)} is already in use`;
    } else accepted[member] = value;
  };
  take('plural', resources, 'PluralConflict');
  take('singular', resources, 'SingularConflict');
  const taken = (wanted.shortNames ?? []).filter((s) => !(had?.shortNames ?? []).includes(s) && resources.has(s));
  if (taken.length > 0) {
    reason = 'ShortNamesConflict';
    const lines = taken.map((s) => `${JSON.stringify(s)} is already in use`);
    message = lines.length === 1 ? lines[0]! : `[${lines.join(', ')}]`;
  } else if (wanted.shortNames === undefined) delete accepted['shortNames'];
  else accepted['shortNames'] = wanted.shortNames;
  take('kind', kinds, 'KindConflict');
  take('listKind', kinds, 'ListKindConflict');
  if (wanted.categories === undefined) delete accepted['categories'];
  else accepted['categories'] = wanted.categories;
  const status = reason === 'NoConflicts' ? 'True' : 'False';
  return {
    accepted: accepted as unknown as CustomResourceDefinitionNames,
    condition: { type: 'NamesAccepted', status, reason, message },
  };
}

/** Established stays once it is true. */
export function establishedCondition(crd: CustomResourceDefinition, namesAccepted: boolean): Wanted | undefined {
  if (isTrue(crd, 'Established')) return undefined;
  const type = 'Established';
  if (!namesAccepted) return { type, status: 'False', reason: 'NotAccepted', message: 'not all names are accepted' };
  if (hasInvalidBundle(crd))
    return { type, status: 'False', reason: 'InvalidCABundle', message: 'The conversion webhook CABundle is invalid' };
  return { type, status: 'True', reason: 'InitialNamesAccepted', message: 'the initial names have been accepted' };
}

/** Of definitions of older API versions alone: what is written today has a structural schema. */
export function nonStructuralCondition(crd: CustomResourceDefinition): Wanted | undefined {
  const errors = [];
  if (crd.spec.preserveUnknownFields === true)
    errors.push(invalid('spec.preserveUnknownFields', true, 'must be false'));
  crd.spec.versions.forEach((v, i) => {
    const schema = v.schema?.openAPIV3Schema;
    if (schema !== undefined) errors.push(...structuralErrors(schema, `spec.versions[${i}].schema.openAPIV3Schema`));
  });
  if (errors.length === 0) return undefined;
  const texts = [...new Set(errors.map(formatFieldError))];
  return {
    type: 'NonStructuralSchema',
    status: 'True',
    reason: 'Violations',
    message: texts.length === 1 ? texts[0]! : `[${texts.join(', ')}]`,
  };
}

const approvedAnnotation = 'api-approved.kubernetes.io';
const document = 'see https://github.com/kubernetes/enhancements/pull/1111';

/** Of groups of the Kubernetes community alone. */
export function approvalCondition(crd: CustomResourceDefinition): Wanted | undefined {
  if (!isProtectedGroup(crd.spec.group)) return undefined;
  const type = 'KubernetesAPIApprovalPolicyConformant';
  const text = crd.metadata.annotations?.[approvedAnnotation] ?? '';
  const must = `protected groups must have approval annotation "${approvedAnnotation}"`;
  switch (approvalOf(crd)) {
    case 'missing':
      return { type, status: 'False', reason: 'MissingAnnotation', message: `${must}, ${document}` };
    case 'unapproved':
      return {
        type,
        status: 'False',
        reason: 'UnapprovedAnnotation',
        message: `not approved: ${JSON.stringify(text)}`,
      };
    case 'approved':
      return { type, status: 'True', reason: 'ApprovedAnnotation', message: `approved in ${text}` };
    default:
      return {
        type,
        status: 'False',
        reason: 'InvalidAnnotation',
        message: `${must} with either a URL or a reason starting with "unapproved", ${document}`,
      };
  }
}
