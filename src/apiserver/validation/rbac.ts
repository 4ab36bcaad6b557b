/** Validation of Role, ClusterRole, RoleBinding and ClusterRoleBinding. */
import { internalForm } from './internal-form.ts';
import { invalid, notSupported, required, type FieldError } from '../../api/field-error.ts';
import { isDNS1123Subdomain, isPathSegmentName } from '../../api/names.ts';
import type { KubeObject } from '../../api/object.ts';
import { validateLabelSelector, type LabelSelector } from '../../api/selector.ts';
import type { RoleRef, Subject } from '../authorization/rbac.ts';
import type { PolicyRule } from '../authorization/rule.ts';
import { invalidEach } from './field.ts';

const group = 'rbac.authorization.k8s.io';

function validateRules(object: KubeObject, namespaced: boolean): FieldError[] {
  return ((object['rules'] ?? []) as readonly PolicyRule[]).flatMap((rule, i) => {
    const path = `rules[${i}]`;
    const count = (list: readonly string[] | undefined): number => list?.length ?? 0;
    const errors: FieldError[] = [];
    if (count(rule.verbs) === 0) errors.push(required(`${path}.verbs`, 'verbs must contain at least one value'));
    if (count(rule.nonResourceURLs) > 0) {
      const at = `${path}.nonResourceURLs`;
      if (namespaced)
        errors.push(invalid(at, rule.nonResourceURLs, 'namespaced rules cannot apply to non-resource URLs'));
      if (count(rule.apiGroups) + count(rule.resources) + count(rule.resourceNames) > 0)
        errors.push(
          invalid(at, rule.nonResourceURLs, 'rules cannot apply to both regular resources and non-resource URLs'),
        );
      return errors;
    }
    if (count(rule.apiGroups) === 0)
      errors.push(required(`${path}.apiGroups`, 'resource rules must supply at least one api group'));
    if (count(rule.resources) === 0)
      errors.push(required(`${path}.resources`, 'resource rules must supply at least one resource'));
    return errors;
  });
}

export function validateRole(object: KubeObject): FieldError[] {
  return validateRules(object, true);
}

export function validateClusterRole(object: KubeObject): FieldError[] {
  const errors = validateRules(object, false);
  const aggregation = object['aggregationRule'] as { clusterRoleSelectors?: LabelSelector[] } | undefined;
  if (aggregation !== undefined) {
    const path = 'aggregationRule.clusterRoleSelectors';
    const selectors = aggregation.clusterRoleSelectors ?? [];
    if (selectors.length === 0)
      errors.push(required(path, 'at least one clusterRoleSelector required if aggregationRule is non-nil'));
    selectors.forEach((selector, i) => errors.push(...validateLabelSelector(selector, `${path}[${i}]`)));
  }
  return errors;
}

function validateSubject(subject: Subject, namespaced: boolean, path: string): FieldError[] {
  const errors: FieldError[] = [];
  const { name = '', apiGroup = '' } = subject;
  if (name === '') errors.push(required(`${path}.name`));
  switch (subject.kind) {
    case 'ServiceAccount':
      if (name !== '') errors.push(...invalidEach(`${path}.name`, name, isDNS1123Subdomain(name)));
      if (apiGroup !== '') errors.push(notSupported(`${path}.apiGroup`, apiGroup, ['']));
      if (!namespaced && (subject.namespace ?? '') === '') errors.push(required(`${path}.namespace`));
      break;
    case 'User':
    case 'Group':
      if (apiGroup !== group) errors.push(notSupported(`${path}.apiGroup`, apiGroup, [group]));
      break;
    default:
      errors.push(notSupported(`${path}.kind`, subject.kind ?? '', ['ServiceAccount', 'User', 'Group']));
  }
  return errors;
}

function validateBinding(object: KubeObject, namespaced: boolean): FieldError[] {
  const errors: FieldError[] = [];
  const { apiGroup = '', kind = '', name = '' } = (object['roleRef'] ?? {}) as Partial<RoleRef>;
  if (apiGroup !== group) errors.push(notSupported('roleRef.apiGroup', apiGroup, [group]));
  const kinds = namespaced ? ['Role', 'ClusterRole'] : ['ClusterRole'];
  if (!kinds.includes(kind)) errors.push(notSupported('roleRef.kind', kind, kinds));
  if (name === '') errors.push(required('roleRef.name'));
  else errors.push(...invalidEach('roleRef.name', name, isPathSegmentName(name)));
  ((object['subjects'] ?? []) as readonly Subject[]).forEach((s, i) =>
    errors.push(...validateSubject(s, namespaced, `subjects[${i}]`)),
  );
  return errors;
}

function roleRefUnchanged(object: KubeObject, old: KubeObject): FieldError[] {
  const [a, b] = [object['roleRef'], old['roleRef']] as Partial<RoleRef>[];
  return a?.apiGroup === b?.apiGroup && a?.kind === b?.kind && a?.name === b?.name
    ? []
    : [invalid('roleRef', internalForm('rbac.RoleRef', a), 'cannot change roleRef')];
}

export const validateRoleBinding = (object: KubeObject): FieldError[] => validateBinding(object, true);
export const validateClusterRoleBinding = (object: KubeObject): FieldError[] => validateBinding(object, false);
export const validateRoleBindingUpdate = (object: KubeObject, old: KubeObject): FieldError[] => [
  ...validateBinding(object, true),
  ...roleRefUnchanged(object, old),
];
export const validateClusterRoleBindingUpdate = (object: KubeObject, old: KubeObject): FieldError[] => [
  ...validateBinding(object, false),
  ...roleRefUnchanged(object, old),
];
