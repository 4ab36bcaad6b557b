/**
 * ABAC (`--authorization-mode=ABAC`): policies of a file, one JSON object a line, of which one must fit. Lines of
 * abac.authorization.kubernetes.io/v1beta1, and unversioned ones from before there were versions.
 */
import type { AuthorizationAttributes, AuthorizationOutcome, Authorizer } from '../context.ts';
import type { UserInfo } from '../request.ts';
import type { PolicyRule } from './rule.ts';
import type { RuleResolver, UserRules } from './user-rules.ts';

interface AbacPolicy {
  readonly user: string;
  readonly group: string;
  readonly readonly: boolean;
  readonly apiGroup: string;
  readonly resource: string;
  readonly namespace: string;
  readonly nonResourcePath: string;
}

const versions = [
  'abac.authorization.kubernetes.io/v1beta1',
  // Upstream's internal name of the oldest form.
  'abac.authorization.kubernetes.io/v0',
];
const allAuthenticated = 'system:authenticated';

type Fields = Readonly<Record<string, unknown>>;

function policyOf(fields: Fields): AbacPolicy {
  const text = (name: string): string => {
    const value = fields[name] ?? '';
    if (typeof value !== 'string')
      throw new Error(
        `json: cannot unmarshal ${Array.isArray(value) ? 'array' : typeof value} into Go struct field PolicySpec.spec.${name} of type string`,
      );
    return value;
  };
  const readonly = fields['readonly'] ?? false;
  if (typeof readonly !== 'boolean')
    throw new Error(
      `json: cannot unmarshal ${typeof readonly} into Go struct field PolicySpec.spec.readonly of type bool`,
    );
  return {
    user: text('user'),
    group: text('group'),
    readonly,
    apiGroup: text('apiGroup'),
    resource: text('resource'),
    namespace: text('namespace'),
    nonResourcePath: text('nonResourcePath'),
  };
}

/** What an unversioned line leaves open is wide. */
function widened(policy: AbacPolicy): AbacPolicy {
  const anybody = (policy.user === '' && policy.group === '') || policy.user === '*' || policy.group === '*';
  return {
    ...policy,
    user: policy.user === '*' || policy.group === '*' ? '' : policy.user,
    group: anybody ? allAuthenticated : policy.group,
    namespace: policy.namespace === '' ? '*' : policy.namespace,
    resource: policy.resource === '' ? '*' : policy.resource,
    apiGroup: '*',
    nonResourcePath: policy.namespace === '' && policy.resource === '' ? '*' : '',
  };
}

function readLine(line: string): { readonly policy: AbacPolicy; readonly unversioned: boolean } {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch (error) {
    throw new Error(`couldn't get version/kind; json parse error: ${(error as Error).message}`, { cause: error });
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw new Error("couldn't get version/kind; json parse error: not an object");
  const object = value as Fields;
  if (
    typeof object['apiVersion'] === 'string' &&
    versions.includes(object['apiVersion']) &&
    object['kind'] === 'Policy'
  ) {
    const spec = object['spec'] ?? {};
    return { policy: policyOf(object['apiVersion'] === versions[1] ? object : (spec as Fields)), unversioned: false };
  }
  return { policy: widened(policyOf(object)), unversioned: true };
}

/**
 * The policies of a file; `unversioned`: how many lines are of the oldest form.
 * @throws {Error} `error reading policy file …`
 */
export function parseAbacPolicies(
  text: string,
  path: string,
): { readonly policies: readonly AbacPolicy[]; readonly unversioned: number } {
  const policies: AbacPolicy[] = [];
  let unversioned = 0;
  text.split('\n').forEach((line, i) => {
    const trimmed = line.trim();
    if (trimmed === '' || trimmed.startsWith('#')) return;
    try {
      const read = readLine(line);
      policies.push(read.policy);
      if (read.unversioned) unversioned++;
    } catch (error) {
      throw new Error(`error reading policy file ${path}, line ${i + 1}: ${line}: ${(error as Error).message}`, {
        cause: error,
      });
    }
  });
  return { policies, unversioned };
}

function trimStars(path: string): string {
  return path.replace(/\*+$/, '');
}

function subjectMatches(policy: AbacPolicy, user: UserInfo): boolean {
  if (policy.user !== '' && policy.user !== '*' && policy.user !== user.name) return false;
  if (policy.group !== '' && policy.group !== '*' && !user.groups.includes(policy.group)) return false;
  return policy.user !== '' || policy.group !== '';
}

function matches(policy: AbacPolicy, a: AuthorizationAttributes): boolean {
  if (!subjectMatches(policy, a.user)) return false;
  if (policy.readonly && a.verb !== 'get' && a.verb !== 'list' && a.verb !== 'watch') return false;
  if (a.isResourceRequest)
    return (
      (policy.namespace === '*' || policy.namespace === a.namespace) &&
      (policy.resource === '*' || policy.resource === a.resource) &&
      (policy.apiGroup === '*' || policy.apiGroup === a.group)
    );
  const path = policy.nonResourcePath;
  return path === '*' || path === a.path || (path.endsWith('*') && a.path.startsWith(trimStars(path)));
}

const allowed: AuthorizationOutcome = Object.freeze({ decision: 'allow', reason: '' });
const unmatched: AuthorizationOutcome = Object.freeze({ decision: 'noOpinion', reason: 'No policy matched.' });

export class AbacAuthorizer implements Authorizer, RuleResolver {
  readonly #policies: readonly AbacPolicy[];

  constructor(policies: readonly AbacPolicy[]) {
    this.#policies = policies;
  }

  authorize(attributes: AuthorizationAttributes): AuthorizationOutcome {
    return this.#policies.some((p) => matches(p, attributes)) ? allowed : unmatched;
  }

  rulesFor(user: UserInfo, namespace: string): UserRules {
    const rules: PolicyRule[] = [];
    for (const p of this.#policies) {
      if (!subjectMatches(p, user) || (p.namespace !== '*' && p.namespace !== namespace)) continue;
      const verbs = p.readonly ? ['get', 'list', 'watch'] : ['*'];
      if (p.resource !== '') rules.push({ verbs, apiGroups: [p.apiGroup], resources: [p.resource] });
      if (p.nonResourcePath !== '') rules.push({ verbs, nonResourceURLs: [p.nonResourcePath] });
    }
    return { rules, incomplete: false, error: '' };
  }
}
