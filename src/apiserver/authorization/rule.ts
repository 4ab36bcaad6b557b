/** RBAC policy rules: what a rule allows, what a set of rules covers, and how rules are written in error texts. */
import type { AuthorizationAttributes } from '../context.ts';

/** rbac.authorization.k8s.io/v1 PolicyRule. */
export interface PolicyRule {
  readonly verbs?: readonly string[];
  readonly apiGroups?: readonly string[];
  readonly resources?: readonly string[];
  readonly resourceNames?: readonly string[];
  readonly nonResourceURLs?: readonly string[];
}

function has(set: readonly string[] | undefined, element: string): boolean {
  return set !== undefined && set.includes(element);
}

function trimStars(path: string): string {
  let end = path.length;
  while (end > 0 && path[end - 1] === '*') end--;
  return path.slice(0, end);
}

/** Does the rule allow the request? `combined` is resource/subresource, made once by the caller. */
export function ruleAllows(rule: PolicyRule, attributes: AuthorizationAttributes, combined: string): boolean {
  const { verb } = attributes;
  if (!has(rule.verbs, verb) && !has(rule.verbs, '*')) return false;
  if (!attributes.isResourceRequest) {
    const path = attributes.path;
    for (const url of rule.nonResourceURLs ?? [])
      if (url === '*' || url === path || (url.endsWith('*') && path.startsWith(trimStars(url)))) return true;
    return false;
  }
  const groups = rule.apiGroups;
  if (groups === undefined || (!groups.includes(attributes.group) && !groups.includes('*'))) return false;
  const names = rule.resourceNames;
  if (names !== undefined && names.length > 0 && !names.includes(attributes.name)) return false;
  const sub = attributes.subresource;
  for (const resource of rule.resources ?? []) {
    if (resource === '*' || resource === combined) return true;
    if (sub !== '' && resource.length === sub.length + 2 && resource.startsWith('*/') && resource.endsWith(sub))
      return true;
  }
  return false;
}

/** `pods/status`, `pods`. */
export function combinedResource(attributes: AuthorizationAttributes): string {
  return attributes.subresource === '' ? attributes.resource : `${attributes.resource}/${attributes.subresource}`;
}

export function rulesAllow(rules: readonly PolicyRule[], attributes: AuthorizationAttributes): boolean {
  const combined = combinedResource(attributes);
  return rules.some((rule) => ruleAllows(rule, attributes, combined));
}

/** One rule for each combination of group, resource, verb and name. */
function breakDown(rule: PolicyRule): PolicyRule[] {
  const out: PolicyRule[] = [];
  for (const group of rule.apiGroups ?? [])
    for (const resource of rule.resources ?? [])
      for (const verb of rule.verbs ?? []) {
        const one = { apiGroups: [group], resources: [resource], verbs: [verb] };
        if (rule.resourceNames === undefined || rule.resourceNames.length === 0) out.push(one);
        else for (const name of rule.resourceNames) out.push({ ...one, resourceNames: [name] });
      }
  for (const url of rule.nonResourceURLs ?? [])
    for (const verb of rule.verbs ?? []) out.push({ nonResourceURLs: [url], verbs: [verb] });
  return out;
}

function allIn(set: readonly string[] | undefined, wanted: readonly string[] | undefined): boolean {
  return (wanted ?? []).every((w) => has(set, w));
}

function resourcesCover(owner: readonly string[] | undefined, wanted: readonly string[] | undefined): boolean {
  if (has(owner, '*')) return true;
  return (wanted ?? []).every((path) => {
    if (has(owner, path)) return true;
    const slash = path.indexOf('/');
    return slash >= 0 && has(owner, `*/${path.slice(slash + 1)}`);
  });
}

function urlsCover(owner: readonly string[] | undefined, wanted: readonly string[] | undefined): boolean {
  return (wanted ?? []).every((path) =>
    (owner ?? []).some((o) => o === path || (o.endsWith('*') && path.startsWith(trimStars(o)))),
  );
}

function ruleCovers(owner: PolicyRule, one: PolicyRule): boolean {
  const unnamed = owner.resourceNames === undefined || owner.resourceNames.length === 0;
  const namesMatch =
    one.resourceNames === undefined || one.resourceNames.length === 0
      ? unnamed
      : unnamed || allIn(owner.resourceNames, one.resourceNames);
  return (
    (has(owner.verbs, '*') || allIn(owner.verbs, one.verbs)) &&
    (has(owner.apiGroups, '*') || allIn(owner.apiGroups, one.apiGroups)) &&
    resourcesCover(owner.resources, one.resources) &&
    namesMatch &&
    urlsCover(owner.nonResourceURLs, one.nonResourceURLs)
  );
}

/** The parts of `wanted` that no rule of `owner` covers, broken down to single verbs and resources. */
export function uncoveredRules(owner: readonly PolicyRule[], wanted: readonly PolicyRule[]): PolicyRule[] {
  const missing: PolicyRule[] = [];
  for (const rule of wanted)
    for (const one of breakDown(rule)) if (!owner.some((o) => ruleCovers(o, one))) missing.push(one);
  return missing;
}

/** Joins rules of one group and resource that differ by verb alone. */
export function compactRules(rules: readonly PolicyRule[]): PolicyRule[] {
  const out: PolicyRule[] = [];
  const simple = new Map<string, PolicyRule & { verbs: string[] }>();
  for (const rule of rules) {
    if (
      (rule.resourceNames?.length ?? 0) > 1 ||
      (rule.nonResourceURLs?.length ?? 0) > 0 ||
      rule.apiGroups?.length !== 1 ||
      rule.resources?.length !== 1
    ) {
      out.push(rule);
      continue;
    }
    const name = rule.resourceNames?.[0];
    const key = `${rule.apiGroups[0]}\n${rule.resources[0]}\n${name === undefined ? '' : `=${name}`}`;
    const known = simple.get(key);
    if (known !== undefined) known.verbs.push(...(rule.verbs ?? []));
    else simple.set(key, { ...rule, verbs: [...(rule.verbs ?? [])] });
  }
  return [...out, ...simple.values()];
}

/** A list of strings as Go's %q writes it. */
export function quoteList(values: readonly string[]): string {
  return `[${values.map((v) => JSON.stringify(v)).join(' ')}]`;
}

/** `{APIGroups:[""], Resources:["pods"], Verbs:["get"]}`. */
export function ruleText(rule: PolicyRule): string {
  const parts: string[] = [];
  const add = (name: string, values: readonly string[] | undefined): void => {
    if (values !== undefined && values.length > 0) parts.push(`${name}:${quoteList(values)}`);
  };
  add('APIGroups', rule.apiGroups);
  add('Resources', rule.resources);
  add('NonResourceURLs', rule.nonResourceURLs);
  add('ResourceNames', rule.resourceNames);
  add('Verbs', rule.verbs);
  return `{${parts.join(', ')}}`;
}
