/** What webhooks and policies are about: rules, and match conditions with their expressions. */
import { plainExpressions } from '../../api/admission/expressions.ts';
import type { Expression } from '../../api/admission/expressions.ts';
import { duplicate, invalid, notSupported, required, tooMany, type FieldError } from '../../api/field-error.ts';
import type { MatchCondition, RuleWithOperations } from '../../api/types/admissionregistration-v1.gen.ts';
import { validateEnum, validateQualifiedName } from './field.ts';

const operations = ['*', 'CONNECT', 'CREATE', 'DELETE', 'UPDATE'];

function validateResources(resources: readonly string[], path: string): FieldError[] {
  const errors: FieldError[] = resources.length === 0 ? [required(path)] : [];
  const wholly = new Set<string>();
  const everywhere = new Set<string>();
  let plain = false;
  resources.forEach((text, i) => {
    const at = `${path}[${i}]`;
    if (text === '') {
      errors.push(required(at));
      return;
    }
    const slash = text.indexOf('/');
    if (slash < 0) {
      plain = text !== '*';
      return;
    }
    const resource = text.slice(0, slash);
    const subresource = text.slice(slash + 1);
    if (wholly.has(resource)) errors.push(invalid(at, text, `if '${resource}/*' is present, must not specify ${text}`));
    if (everywhere.has(subresource))
      errors.push(invalid(at, text, `if '*/${subresource}' is present, must not specify ${text}`));
    if (subresource === '*') wholly.add(resource);
    if (resource === '*') everywhere.add(subresource);
  });
  if (resources.length > 1 && resources.includes('*/*'))
    errors.push(invalid(path, resources, "if '*/*' is present, must not specify other resources"));
  if (resources.includes('*') && plain)
    errors.push(invalid(path, resources, "if '*' is present, must not specify other resources without subresources"));
  return errors;
}

/** A list that is not empty, and in which `*` stands alone. */
function validateWildcards(list: readonly string[], what: string, path: string): FieldError[] {
  return [
    ...(list.length === 0 ? [required(path)] : []),
    ...(list.length > 1 && list.includes('*')
      ? [invalid(path, list, `if '*' is present, must not specify other ${what}`)]
      : []),
  ];
}

export function validateRule(rule: Partial<RuleWithOperations>, path: string): FieldError[] {
  const { operations: ops = [], apiGroups = [], apiVersions = [], resources = [], scope } = rule;
  return [
    ...validateWildcards(ops, 'operations', `${path}.operations`),
    ...ops.flatMap((op, i) =>
      operations.includes(op) ? [] : [notSupported(`${path}.operations[${i}]`, op, operations)],
    ),
    ...validateWildcards(apiGroups, 'API groups', `${path}.apiGroups`),
    ...validateWildcards(apiVersions, 'API versions', `${path}.apiVersions`),
    ...apiVersions.flatMap((version, i) => (version === '' ? [required(`${path}.apiVersions[${i}]`)] : [])),
    ...validateResources(resources, `${path}.resources`),
    ...validateEnum(scope, ['*', 'Cluster', 'Namespaced'], `${path}.scope`),
  ];
}

/** What is wrong with an expression; `shown` stands in the error for its source. */
export function validateExpression({ source, error }: Expression, path: string, shown = source): FieldError[] {
  if (error === undefined) return [];
  return [
    error.kind === 'invalid'
      ? invalid(path, shown, error.detail)
      : { type: 'InternalError', field: path, detail: error.detail },
  ];
}

export function validateMatchConditions(
  conditions: readonly MatchCondition[],
  path: string,
  { params }: { readonly params: boolean },
): FieldError[] {
  const errors: FieldError[] = conditions.length > 64 ? [tooMany(path, conditions.length, 64)] : [];
  const names = new Set<string>();
  conditions.forEach(({ name = '', expression = '' }, i) => {
    const at = `${path}[${i}]`;
    const source = expression.trim();
    if (source === '') {
      errors.push(required(`${at}.expression`));
    } else {
      const compiled = plainExpressions.condition(source, { params, authorizer: true });
      errors.push(...validateExpression(compiled, `${at}.expression`));
    }
    if (name === '') {
      errors.push(required(`${at}.name`));
      return;
    }
    errors.push(...validateQualifiedName(name, `${at}.name`));
    if (names.has(name)) errors.push(duplicate(`${at}.name`, name));
    names.add(name);
  });
  return errors;
}
