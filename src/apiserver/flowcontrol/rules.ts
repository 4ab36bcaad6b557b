/** Which FlowSchema a request belongs to: the rules of one, taken apart so that a caller's part is decided once. */
import type {
  FlowSchemaSpec,
  NonResourcePolicyRule,
  PolicyRulesWithSubjects,
  ResourcePolicyRule,
  Subject,
} from '../../api/types/flowcontrol-v1.gen.ts';
import type { RequestInfo } from '../context.ts';
import type { UserInfo } from '../request.ts';

const serviceAccountPrefix = 'system:serviceaccount:';

function matchesSubject(user: UserInfo, subject: Subject): boolean {
  switch (subject.kind) {
    case 'User':
      return subject.user !== undefined && (subject.user.name === '*' || subject.user.name === user.name);
    case 'Group':
      return subject.group !== undefined && (subject.group.name === '*' || user.groups.includes(subject.group.name));
    case 'ServiceAccount': {
      const account = subject.serviceAccount;
      if (account === undefined) return false;
      const prefix = `${serviceAccountPrefix}${account.namespace}:`;
      return account.name === '*' ? user.name.startsWith(prefix) : user.name === prefix + account.name;
    }
    default:
      return false;
  }
}

/** A list of names; a lone `*` is everything. */
class Names {
  readonly #all: boolean;
  readonly #names: readonly string[];

  constructor(names: readonly string[] | undefined) {
    this.#names = names ?? [];
    this.#all = this.#names.length === 1 && this.#names[0] === '*';
  }

  has(name: string): boolean {
    return this.#all || this.#names.includes(name);
  }
}

function matchesUrl(urls: readonly string[], path: string): boolean {
  for (const url of urls) {
    if (url === '*' || url === path) return true;
    let prefix = url.endsWith('*') ? url.slice(0, -1) : url;
    if (!prefix.endsWith('/')) prefix += '/';
    if (path.startsWith(prefix)) return true;
  }
  return false;
}

class ResourceRule {
  readonly #verbs: Names;
  readonly #groups: Names;
  readonly #resources: Names;
  readonly #namespaces: Names;
  readonly #clusterScope: boolean;

  constructor(rule: ResourcePolicyRule) {
    this.#verbs = new Names(rule.verbs);
    this.#groups = new Names(rule.apiGroups);
    this.#resources = new Names(rule.resources);
    this.#namespaces = new Names(rule.namespaces);
    this.#clusterScope = rule.clusterScope ?? false;
  }

  matches(info: RequestInfo): boolean {
    return (
      this.#verbs.has(info.verb) &&
      this.#resources.has(info.subresource === '' ? info.resource : `${info.resource}/${info.subresource}`) &&
      this.#groups.has(info.group) &&
      (info.namespace === '' ? this.#clusterScope : this.#namespaces.has(info.namespace))
    );
  }
}

class NonResourceRule {
  readonly #verbs: Names;
  readonly #urls: readonly string[];

  constructor(rule: NonResourcePolicyRule) {
    this.#verbs = new Names(rule.verbs);
    this.#urls = rule.nonResourceURLs;
  }

  matches(info: RequestInfo): boolean {
    return this.#verbs.has(info.verb) && matchesUrl(this.#urls, info.path);
  }
}

/** One rule with the subjects it is for. */
class PolicyRules {
  readonly #subjects: readonly Subject[];
  readonly #resources: readonly ResourceRule[];
  readonly #others: readonly NonResourceRule[];

  constructor(rule: PolicyRulesWithSubjects) {
    this.#subjects = rule.subjects;
    this.#resources = (rule.resourceRules ?? []).map((r) => new ResourceRule(r));
    this.#others = (rule.nonResourceRules ?? []).map((r) => new NonResourceRule(r));
  }

  isFor(user: UserInfo): boolean {
    return this.#subjects.some((s) => matchesSubject(user, s));
  }

  matches(info: RequestInfo): boolean {
    const rules = info.isResourceRequest ? this.#resources : this.#others;
    for (const rule of rules) if (rule.matches(info)) return true;
    return false;
  }
}

/** The rules of a FlowSchema. */
export class FlowRules {
  readonly #rules: readonly PolicyRules[];

  constructor(spec: FlowSchemaSpec) {
    this.#rules = (spec.rules ?? []).map((r) => new PolicyRules(r));
  }

  /** What is left to decide for a caller, request by request; undefined where none of his requests belongs here. */
  for(user: UserInfo): ((info: RequestInfo) => boolean) | undefined {
    const rules = this.#rules.filter((r) => r.isFor(user));
    if (rules.length === 0) return undefined;
    if (rules.length === 1) return (info) => rules[0]!.matches(info);
    return (info) => rules.some((r) => r.matches(info));
  }
}
