/**
 * The audit policy (audit.k8s.io/v1 Policy): read strictly, validated with upstream's messages, and asked for each request
 * at which level and in which stages it is told. The first rule that fits decides; what no rule fits is not told.
 */
import { formatFieldError, invalid, notSupported, required, type FieldError } from '../../api/field-error.ts';
import { isDNS1123Subdomain } from '../../api/names.ts';
import { decodeConfig, type ConfigKind } from '../config-decode.ts';
import type { AuthorizationAttributes } from '../context.ts';
import { auditLevels, auditStages, type AuditLevel, type AuditStage } from './event.ts';

export interface GroupResources {
  readonly group?: string;
  readonly resources?: readonly string[];
  readonly resourceNames?: readonly string[];
}

export interface AuditRule {
  readonly level: AuditLevel;
  readonly users?: readonly string[];
  readonly userGroups?: readonly string[];
  readonly verbs?: readonly string[];
  readonly resources?: readonly GroupResources[];
  readonly namespaces?: readonly string[];
  readonly nonResourceURLs?: readonly string[];
  readonly omitStages?: readonly AuditStage[];
  readonly omitManagedFields?: boolean;
}

export interface AuditPolicy {
  readonly rules: readonly AuditRule[];
  readonly omitStages?: readonly AuditStage[];
  readonly omitManagedFields?: boolean;
}

/** How one request is told. */
export interface AuditDecision {
  readonly level: AuditLevel;
  readonly omit: ReadonlySet<AuditStage>;
  readonly omitManagedFields: boolean;
}

const strings = { list: 'string' } as const;

const policyKind: ConfigKind = {
  kind: 'Policy',
  group: 'audit.k8s.io',
  versions: ['v1'],
  fields: {
    metadata: 'any',
    omitStages: strings,
    omitManagedFields: 'bool',
    rules: {
      list: {
        fields: {
          level: 'string',
          users: strings,
          userGroups: strings,
          verbs: strings,
          resources: { list: { fields: { group: 'string', resources: strings, resourceNames: strings } } },
          namespaces: strings,
          nonResourceURLs: strings,
          omitStages: strings,
          omitManagedFields: 'bool',
        },
      },
    },
  },
};

function stagesErrors(stages: readonly string[] | undefined, path: string): FieldError[] {
  const errors: FieldError[] = [];
  for (const [i, stage] of (stages ?? []).entries())
    if (!(auditStages as readonly string[]).includes(stage))
      errors.push(invalid(`${path}[${i}]`, stage, `allowed stages are ${auditStages.join(',')}`));
  return errors;
}

function ruleErrors(rule: AuditRule, path: string): FieldError[] {
  const errors: FieldError[] = [];
  const level = (rule.level as string | undefined) ?? '';
  if (level === '') errors.push(required(`${path}.level`, ''));
  else if (!(auditLevels as readonly string[]).includes(level))
    errors.push(notSupported(`${path}.level`, level, [...auditLevels]));
  const urls = rule.nonResourceURLs ?? [];
  for (const [i, url] of urls.entries()) {
    if (url === '*') continue;
    const at = `${path}.nonResourceURLs[${i}]`;
    if (!url.startsWith('/')) errors.push(invalid(at, url, "non-resource URL rules must begin with a '/' character"));
    if (url.slice(0, -1).includes('*'))
      errors.push(invalid(at, url, "non-resource URL wildcards '*' must be the final character of the rule"));
  }
  for (const r of rule.resources ?? []) {
    const group = r.group ?? '';
    if (group !== '' && group !== '*') {
      const messages = isDNS1123Subdomain(group);
      if (messages.length > 0) errors.push(invalid(`${path}.resources.group`, group, messages.join(',')));
    }
    if ((r.resourceNames ?? []).length > 0 && (r.resources ?? []).length === 0)
      errors.push(
        invalid(
          `${path}.resources.resourceNames`,
          r.resourceNames,
          'using resourceNames requires at least one resource',
        ),
      );
  }
  errors.push(...stagesErrors(rule.omitStages, `${path}.omitStages`));
  if (urls.length > 0 && ((rule.resources ?? []).length > 0 || (rule.namespaces ?? []).length > 0))
    errors.push(
      invalid(`${path}.nonResourceURLs`, urls, 'rules cannot apply to both regular resources and non-resource URLs'),
    );
  return errors;
}

/**
 * The policy of a parsed file. Members that nobody knows are told to `warn` and dropped, as upstream does.
 * @throws {Error} with upstream's message
 */
export function parseAuditPolicy(value: unknown, warn: (message: string) => void): AuditPolicy {
  let policy: AuditPolicy;
  try {
    const { fields } = decodeConfig(value, policyKind, (error) =>
      warn(`Audit policy contains errors, falling back to lenient decoding: ${error}`),
    );
    policy = fields as unknown as AuditPolicy;
  } catch (error) {
    throw new Error(`failed decoding: ${(error as Error).message}`, { cause: error });
  }
  const rules = policy.rules ?? [];
  const errors = [
    ...stagesErrors(policy.omitStages, 'omitStages'),
    ...rules.flatMap((rule, i) => ruleErrors(rule, `rules[${i}]`)),
  ];
  if (errors.length > 0) {
    const texts = [...new Set(errors.map(formatFieldError))];
    throw new Error(texts.length === 1 ? texts[0]! : `[${texts.join(', ')}]`);
  }
  if (rules.length === 0) throw new Error('loaded illegal policy with 0 rules');
  return { ...policy, rules };
}

function pathMatches(path: string, spec: string): boolean {
  return spec === '*' || spec === path || (spec.endsWith('*') && path.startsWith(spec.replace(/\*+$/, '')));
}

/** A rule with its lists made into sets. */
interface Compiled {
  readonly users: ReadonlySet<string> | undefined;
  readonly groups: ReadonlySet<string> | undefined;
  readonly verbs: ReadonlySet<string> | undefined;
  readonly namespaces: ReadonlySet<string> | undefined;
  readonly resources: readonly GroupResources[];
  readonly urls: readonly string[];
  readonly decision: AuditDecision;
}

function setOf(values: readonly string[] | undefined): ReadonlySet<string> | undefined {
  return values === undefined || values === null || values.length === 0 ? undefined : new Set(values);
}

function resourceMatches(r: GroupResources, a: AuthorizationAttributes): boolean {
  if (r.group !== '*' && (r.group ?? '') !== a.group) return false;
  const resources = r.resources ?? [];
  if (resources.length === 0) return true;
  if ((r.resourceNames ?? []).length > 0 && !r.resourceNames!.includes(a.name)) return false;
  const combined = a.subresource === '' ? a.resource : `${a.resource}/${a.subresource}`;
  return resources.some(
    (res) =>
      res === combined ||
      res === '*' ||
      (a.subresource !== '' && res === `*/${a.subresource}`) ||
      (res.endsWith('/*') && res.slice(0, -2) === a.resource),
  );
}

function ruleMatches(rule: Compiled, a: AuthorizationAttributes): boolean {
  if (rule.users !== undefined && !rule.users.has(a.user.name)) return false;
  if (rule.groups !== undefined && !a.user.groups.some((g) => rule.groups!.has(g))) return false;
  if (rule.verbs !== undefined && !rule.verbs.has(a.verb)) return false;
  if (rule.namespaces !== undefined || rule.resources.length > 0) {
    if (!a.isResourceRequest) return false;
    if (rule.namespaces !== undefined && !rule.namespaces.has(a.namespace)) return false;
    return rule.resources.length === 0 || rule.resources.some((r) => resourceMatches(r, a));
  }
  if (rule.urls.length > 0) return !a.isResourceRequest && rule.urls.some((spec) => pathMatches(a.path, spec));
  return true;
}

/** Finds how a request is told. */
export class AuditRules {
  readonly #rules: readonly Compiled[];
  readonly #otherwise: AuditDecision;

  constructor(policy: AuditPolicy) {
    const all = policy.omitStages ?? [];
    const managed = policy.omitManagedFields ?? false;
    this.#otherwise = { level: 'None', omit: new Set(all), omitManagedFields: managed };
    this.#rules = policy.rules.map((rule) => ({
      users: setOf(rule.users),
      groups: setOf(rule.userGroups),
      verbs: setOf(rule.verbs),
      namespaces: setOf(rule.namespaces),
      resources: rule.resources ?? [],
      urls: rule.nonResourceURLs ?? [],
      decision: {
        level: rule.level,
        omit: new Set([...all, ...(rule.omitStages ?? [])]),
        omitManagedFields: rule.omitManagedFields ?? managed,
      },
    }));
  }

  decide(attributes: AuthorizationAttributes): AuditDecision {
    for (const rule of this.#rules) if (ruleMatches(rule, attributes)) return rule.decision;
    return this.#otherwise;
  }
}
