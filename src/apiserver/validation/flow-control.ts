/** Validation of FlowSchema and PriorityLevelConfiguration. */
import { forbiddenField, duplicate, invalid, notSupported, required, type FieldError } from '../../api/field-error.ts';
import { semanticEqual } from '../../api/helpers/deep-equal.ts';
import { isDNS1123Label, isDNS1123Subdomain } from '../../api/names.ts';
import type { KubeObject } from '../../api/object.ts';
import type {
  ExemptPriorityLevelConfiguration,
  FlowSchemaSpec,
  LimitResponse,
  LimitedPriorityLevelConfiguration,
  NonResourcePolicyRule,
  PriorityLevelConfigurationSpec,
  QueuingConfiguration,
  ResourcePolicyRule,
  Subject,
} from '../../api/types/flowcontrol-v1.gen.ts';
import { mandatoryFlowControl } from '../bootstrap/objects.ts';
import { maxHashBits, requiredEntropyBits } from '../flowcontrol/shuffle-sharding.ts';
import { internalForm } from './internal-form.ts';
import { invalidEach, specOf, statusOf } from './field.ts';

const maxMatchingPrecedence = 10_000;
const maxQueues = 10_000_000;
const exempt = 'exempt';
const verbs = ['create', 'delete', 'deletecollection', 'get', 'list', 'patch', 'proxy', 'update', 'watch'];

/** `*` stands alone. */
function wildcardAlone(list: readonly string[], path: string, what: string): FieldError[] {
  return list.length > 1 && list.includes('*')
    ? [invalid(path, list, `if '*' is present, must not specify other ${what}`)]
    : [];
}

/** A list that is required but was not given is written as null. */
/** Lists that are required are written as null when they are empty. */
function validateVerbs(given: readonly string[] | null | undefined, path: string): FieldError[] {
  const list = given ?? [];
  if (list.length === 0) return [required(path, 'verbs must contain at least one value')];
  if (list.includes('*')) return wildcardAlone(list, path, 'verbs');
  return list.every((v) => verbs.includes(v)) ? [] : [notSupported(path, list, verbs)];
}

function validateUrlPath(url: string, path: string): FieldError[] {
  if (url === '') return [invalid(path, url, 'must not be empty')];
  if (url === '/') return [];
  if (!url.startsWith('/')) return [invalid(path, url, 'must start with slash')];
  if (url.includes(' ')) return [invalid(path, url, 'must not contain white-space')];
  if (url.includes('//')) return [invalid(path, url, 'must not contain double slash')];
  const stars = url.split('*').length - 1;
  return stars > 1 || (stars === 1 && !url.endsWith('/*'))
    ? [invalid(path, url, 'wildcard can only do suffix matching')]
    : [];
}

function validateNonResourceRule(rule: NonResourcePolicyRule, path: string): FieldError[] {
  const errors = validateVerbs(rule.verbs, `${path}.verbs`);
  const at = `${path}.nonResourceURLs`;
  const urls = rule.nonResourceURLs ?? [];
  if (urls.length === 0) errors.push(required(at, 'nonResourceURLs must contain at least one value'));
  else if (urls.includes('*')) errors.push(...wildcardAlone(urls, at, 'non-resource URLs'));
  else errors.push(...urls.flatMap((url, i) => validateUrlPath(url, `${at}[${i}]`)));
  return errors;
}

function validateResourceRule(rule: ResourcePolicyRule, path: string): FieldError[] {
  const errors = validateVerbs(rule.verbs, `${path}.verbs`);
  const groups = rule.apiGroups ?? [];
  if (groups.length === 0)
    errors.push(required(`${path}.apiGroups`, 'resource rules must supply at least one api group'));
  else errors.push(...wildcardAlone(groups, `${path}.apiGroups`, 'api groups'));
  const resources = rule.resources ?? [];
  if (resources.length === 0)
    errors.push(required(`${path}.resources`, 'resource rules must supply at least one resource'));
  else errors.push(...wildcardAlone(resources, `${path}.resources`, 'resources'));
  const namespaces = rule.namespaces ?? [];
  const at = `${path}.namespaces`;
  if (namespaces.length === 0 && rule.clusterScope !== true)
    errors.push(required(at, 'resource rules that are not cluster scoped must supply at least one namespace'));
  else if (namespaces.includes('*')) errors.push(...wildcardAlone(namespaces, at, 'namespaces'));
  else
    namespaces.forEach((ns, i) => {
      for (const m of isDNS1123Label(ns))
        errors.push(invalid(`${at}[${i}]`, ns, `each member of this list must be '*' or a DNS-1123 label; ${m}`));
    });
  return errors;
}

const members = { User: 'user', Group: 'group', ServiceAccount: 'serviceAccount' } as const;

function validateSubject(subject: Subject, path: string): FieldError[] {
  const kind = subject.kind ?? '';
  if (!Object.hasOwn(members, kind)) return [notSupported(`${path}.kind`, kind, ['Group', 'ServiceAccount', 'User'])];
  const own = members[kind as keyof typeof members];
  const at = `${path}.${own}`;
  const errors: FieldError[] = [];
  const value = subject[own] as { readonly name?: string; readonly namespace?: string } | undefined;
  if (value === undefined) errors.push(required(at, `${own} is required when subject kind is '${kind}'`));
  else {
    const name = value.name ?? '';
    if (name === '') errors.push(required(`${at}.name`));
    else if (kind === 'ServiceAccount' && name !== '*')
      errors.push(...invalidEach(`${at}.name`, name, isDNS1123Subdomain(name)));
    if (kind === 'ServiceAccount') {
      const namespace = value.namespace ?? '';
      if (namespace === '') errors.push(required(`${at}.namespace`, 'must specify namespace for service account'));
      else errors.push(...invalidEach(`${at}.namespace`, namespace, isDNS1123Label(namespace)));
    }
  }
  const others: readonly (keyof typeof members)[] =
    kind === 'User' ? ['ServiceAccount', 'Group'] : kind === 'Group' ? ['ServiceAccount', 'User'] : ['User', 'Group'];
  for (const other of others) {
    const member = members[other];
    if (subject[member] !== undefined)
      errors.push(forbiddenField(`${path}.${member}`, `${member} is forbidden when subject kind is not '${other}'`));
  }
  return errors;
}

function validateConditions(object: KubeObject): FieldError[] {
  const { conditions = [] } = statusOf<{ conditions: readonly { type?: string }[] }>(object);
  return conditions.flatMap(({ type = '' }, i) => {
    const at = `status.conditions[${i}].type`;
    const first = conditions.findIndex((c) => (c.type ?? '') === type);
    return [...(first < i ? [duplicate(at, type)] : []), ...(type === '' ? [required(at)] : [])];
  });
}

export function validateFlowSchema(object: KubeObject): FieldError[] {
  const name = object.metadata.name ?? '';
  const spec = specOf<FlowSchemaSpec>(object);
  const errors: FieldError[] = [];
  const precedence = spec.matchingPrecedence ?? 0;
  const at = 'spec.matchingPrecedence';
  if (precedence <= 0) errors.push(invalid(at, precedence, 'must be a positive value'));
  if (precedence > maxMatchingPrecedence)
    errors.push(invalid(at, precedence, `must not be greater than ${maxMatchingPrecedence}`));
  if (precedence === 1 && name !== exempt)
    errors.push(invalid(at, precedence, "only the schema named 'exempt' may have matchingPrecedence 1"));
  const method = spec.distinguisherMethod;
  if (method !== undefined && !['ByNamespace', 'ByUser'].includes(method.type ?? ''))
    errors.push(
      notSupported('spec.distinguisherMethod.type', internalForm('*flowcontrol.FlowDistinguisherMethod', method), [
        'ByNamespace',
        'ByUser',
      ]),
    );
  const level = spec.priorityLevelConfiguration?.name ?? '';
  const levelAt = 'spec.priorityLevelConfiguration.name';
  if (level === '') errors.push(required(levelAt, 'must reference a priority level'));
  else errors.push(...invalidEach(levelAt, level, isDNS1123Subdomain(level)));
  (spec.rules ?? []).forEach((rule, i) => {
    const path = `spec.rules[${i}]`;
    const { resourceRules = [], nonResourceRules = [] } = rule;
    const subjects = rule.subjects ?? [];
    if (subjects.length === 0) errors.push(required(`${path}.subjects`, 'subjects must contain at least one value'));
    errors.push(...subjects.flatMap((s, j) => validateSubject(s, `${path}.subjects[${j}]`)));
    if (resourceRules.length === 0 && nonResourceRules.length === 0)
      errors.push(required(path, 'at least one of resourceRules and nonResourceRules has to be non-empty'));
    errors.push(...resourceRules.flatMap((r, j) => validateResourceRule(r, `${path}.resourceRules[${j}]`)));
    errors.push(...nonResourceRules.flatMap((r, j) => validateNonResourceRule(r, `${path}.nonResourceRules[${j}]`)));
  });
  const fixed = mandatoryFlowControl('flowSchemas', name);
  if (fixed !== undefined && !semanticEqual(withoutEmpty(spec), withoutEmpty(fixed)))
    errors.push(invalid('spec', spec, `spec of '${name}' must equal the fixed value`));
  return [...errors, ...validateConditions(object)];
}

/** As upstream compares: what is false or empty is not there. */
function withoutEmpty(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(withoutEmpty);
  if (typeof value !== 'object' || value === null) return value;
  const kept = Object.entries(value)
    .map(([k, v]) => [k, withoutEmpty(v)] as const)
    .filter(([, v]) => v !== undefined && v !== null && v !== false && !(Array.isArray(v) && v.length === 0));
  return Object.fromEntries(kept);
}

export const validateFlowControlStatus = validateConditions;

function validatePercent(value: number | undefined, path: string): FieldError[] {
  return value !== undefined && (value < 0 || value > 100)
    ? [invalid(path, value, 'must be between 0 and 100, inclusive')]
    : [];
}

function validateShares(value: number | undefined, path: string): FieldError[] {
  return (value ?? 0) < 0 ? [invalid(path, value, 'must be a non-negative integer')] : [];
}

function validateQueuing(queuing: QueuingConfiguration, path: string): FieldError[] {
  const { queues = 0, handSize = 0, queueLengthLimit = 0 } = queuing;
  const errors: FieldError[] = [];
  if (queueLengthLimit <= 0) errors.push(invalid(`${path}.queueLengthLimit`, queueLengthLimit, 'must be positive'));
  if (queues <= 0) errors.push(invalid(`${path}.queues`, queues, 'must be positive'));
  else if (queues > maxQueues) errors.push(invalid(`${path}.queues`, queues, `must not be greater than ${maxQueues}`));
  const at = `${path}.handSize`;
  if (handSize <= 0) errors.push(invalid(at, handSize, 'must be positive'));
  else if (handSize > queues) errors.push(invalid(at, handSize, `should not be greater than queues (${queues})`));
  else if (requiredEntropyBits(queues, handSize) > maxHashBits)
    errors.push(
      invalid(
        at,
        handSize,
        `required entropy bits of deckSize ${queues} and handSize ${handSize} should not be greater than ${maxHashBits}`,
      ),
    );
  return errors;
}

function validateLimitResponse(response: Partial<LimitResponse>, path: string): FieldError[] {
  const type = response.type ?? '';
  const at = `${path}.queuing`;
  switch (type) {
    case 'Reject':
      return response.queuing === undefined
        ? []
        : [forbiddenField(at, 'must be nil if limited.limitResponse.type is not Limited')];
    case 'Queue':
      return response.queuing === undefined
        ? [required(at, 'must not be empty if limited.limitResponse.type is Limited')]
        : validateQueuing(response.queuing, at);
    default:
      return [notSupported(`${path}.type`, type, ['Queue', 'Reject'])];
  }
}

function validateLimited(limited: LimitedPriorityLevelConfiguration, path: string): FieldError[] {
  const errors = [
    ...validateShares(limited.nominalConcurrencyShares, `${path}.nominalConcurrencyShares`),
    ...validateLimitResponse(limited.limitResponse ?? {}, `${path}.limitResponse`),
    ...validatePercent(limited.lendablePercent, `${path}.lendablePercent`),
  ];
  const borrowing = limited.borrowingLimitPercent;
  if (borrowing !== undefined && borrowing < 0)
    errors.push(invalid(`${path}.borrowingLimitPercent`, borrowing, 'if specified, must be a non-negative integer'));
  return errors;
}

function validateExempt(level: ExemptPriorityLevelConfiguration, path: string): FieldError[] {
  return [
    ...validateShares(level.nominalConcurrencyShares, `${path}.nominalConcurrencyShares`),
    ...validatePercent(level.lendablePercent, `${path}.lendablePercent`),
  ];
}

const roundTripAnnotation = 'flowcontrol.k8s.io/v1beta3-preserve-zero-concurrency-shares';

export function validatePriorityLevelConfiguration(object: KubeObject): FieldError[] {
  const errors: FieldError[] = [];
  const { name = '', annotations } = object.metadata;
  if (annotations !== undefined && Object.hasOwn(annotations, roundTripAnnotation))
    errors.push(forbiddenField('metadata.annotations', `annotation '${roundTripAnnotation}' is forbidden`));
  const spec = specOf<PriorityLevelConfigurationSpec>(object);
  const type = spec.type ?? '';
  if ((name === exempt) !== (type === 'Exempt'))
    errors.push(invalid('spec.type', type, "must be 'Exempt' if and only if `name` is 'exempt'"));
  switch (type) {
    case 'Exempt':
      if (spec.limited !== undefined)
        errors.push(forbiddenField('spec.limited', 'must be nil if the type is not Limited'));
      if (spec.exempt !== undefined) errors.push(...validateExempt(spec.exempt, 'spec.exempt'));
      break;
    case 'Limited':
      if (spec.exempt !== undefined) errors.push(forbiddenField('spec.exempt', 'must be nil if the type is Limited'));
      if (spec.limited === undefined) errors.push(required('spec.limited', 'must not be empty when type is Limited'));
      else errors.push(...validateLimited(spec.limited, 'spec.limited'));
      break;
    default:
      errors.push(notSupported('spec.type', type, ['Exempt', 'Limited']));
  }
  const fixed = mandatoryFlowControl('priorityLevelConfigurations', name);
  if (fixed !== undefined) {
    const { exempt: ofExempt, ...rest } = spec;
    const { exempt: _fixedExempt, ...wanted } = fixed;
    const same = name === exempt ? semanticEqual(rest, wanted) : semanticEqual(spec, fixed);
    if (!same)
      errors.push(
        invalid(
          'spec',
          name === exempt ? { ...rest, ...(ofExempt === undefined ? {} : { exempt: ofExempt }) } : spec,
          name === exempt
            ? `spec of '${name}' except the 'spec.exempt' field must equal the fixed value`
            : `spec of '${name}' must equal the fixed value`,
        ),
      );
  }
  return [...errors, ...validateConditions(object)];
}
