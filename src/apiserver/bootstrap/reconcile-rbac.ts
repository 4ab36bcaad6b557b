/**
 * Brings an existing default role or binding up to date as upstream does at each start: what is missing is added, what
 * the administrator added stays, and objects annotated `autoupdate: "false"` are left alone.
 */
import type { KubeObject } from '../../api/object.ts';
import { uncoveredRules, type PolicyRule } from '../authorization/rule.ts';

const autoUpdate = 'rbac.authorization.kubernetes.io/autoupdate';

type Reconciled =
  | { readonly kind: 'same' }
  | { readonly kind: 'update'; readonly object: KubeObject }
  /** The role reference of a binding cannot be changed: it is deleted and made again. */
  | { readonly kind: 'recreate'; readonly object: KubeObject };

const same: Reconciled = { kind: 'same' };

/** The members of `expected` that `have` lacks; undefined when there are none. */
function missingEntries(
  have: Readonly<Record<string, string>> | undefined,
  expected: Readonly<Record<string, string>> | undefined,
): Record<string, string> | undefined {
  let missing: Record<string, string> | undefined;
  for (const [key, value] of Object.entries(expected ?? {}))
    if (have?.[key] === undefined) (missing ??= {})[key] = value;
  return missing;
}

function withMetadata(existing: KubeObject, expected: KubeObject): KubeObject | undefined {
  const labels = missingEntries(existing.metadata.labels, expected.metadata.labels);
  const annotations = missingEntries(existing.metadata.annotations, expected.metadata.annotations);
  if (labels === undefined && annotations === undefined) return undefined;
  return {
    ...existing,
    metadata: {
      ...existing.metadata,
      labels: { ...existing.metadata.labels, ...labels },
      annotations: { ...existing.metadata.annotations, ...annotations },
    },
  };
}

interface AggregationRule {
  clusterRoleSelectors?: unknown[];
}

/** A rule as text: what is there word for word, nearly all at nearly every start, needs no calculation of what covers what. */
function textOf(rule: PolicyRule): string {
  return [rule.verbs, rule.apiGroups, rule.resources, rule.resourceNames, rule.nonResourceURLs]
    .map((list) => (list ?? []).join('\n'))
    .join('\n\n');
}

export function reconcileRole(existing: KubeObject, expected: KubeObject): Reconciled {
  if (existing.metadata.annotations?.[autoUpdate] === 'false') return same;
  let next = withMetadata(existing, expected);
  const rules = (existing['rules'] ?? []) as readonly PolicyRule[];
  const texts = new Set(rules.map(textOf));
  const others = ((expected['rules'] ?? []) as readonly PolicyRule[]).filter((rule) => !texts.has(textOf(rule)));
  const missing = others.length === 0 ? others : uncoveredRules(rules, others);
  if (missing.length > 0) next = { ...(next ?? existing), rules: [...rules, ...missing] };
  const wanted = expected['aggregationRule'] as AggregationRule | undefined;
  const has = existing['aggregationRule'] as AggregationRule | undefined;
  if (wanted === undefined && has !== undefined) {
    next = { ...(next ?? existing) };
    delete next['aggregationRule'];
  } else if (wanted !== undefined) {
    const selectors = has?.clusterRoleSelectors ?? [];
    const known = new Set(selectors.map((s) => JSON.stringify(s)));
    const lacking = (wanted.clusterRoleSelectors ?? []).filter((s) => !known.has(JSON.stringify(s)));
    if (lacking.length > 0)
      next = { ...(next ?? existing), aggregationRule: { clusterRoleSelectors: [...selectors, ...lacking] } };
  }
  return next === undefined ? same : { kind: 'update', object: next };
}

interface SubjectLike {
  kind?: string;
  apiGroup?: string;
  name?: string;
  namespace?: string;
}

function subjectId(s: SubjectLike): string {
  return `${s.kind}|${s.apiGroup ?? ''}|${s.namespace ?? ''}|${s.name}`;
}

export function reconcileBinding(existing: KubeObject, expected: KubeObject): Reconciled {
  if (existing.metadata.annotations?.[autoUpdate] === 'false') return same;
  const [a, b] = [existing['roleRef'], expected['roleRef']] as SubjectLike[];
  if (a?.kind !== b?.kind || a?.name !== b?.name || a?.apiGroup !== b?.apiGroup)
    return { kind: 'recreate', object: expected };
  let next = withMetadata(existing, expected);
  const subjects = (existing['subjects'] ?? []) as readonly SubjectLike[];
  const known = new Set(subjects.map(subjectId));
  const missing = ((expected['subjects'] ?? []) as readonly SubjectLike[]).filter((s) => !known.has(subjectId(s)));
  if (missing.length > 0) next = { ...(next ?? existing), subjects: [...subjects, ...missing] };
  return next === undefined ? same : { kind: 'update', object: next };
}

/** The binding that was once part of another: a cluster that has the other alone gets it with the subjects granted there. */
export const splitBinding = Object.freeze({ from: 'system:discovery', to: 'system:public-info-viewer' });

/** What is made of a default binding that is missing, where the one it was split from is there. */
export function splitOff(source: KubeObject, expected: KubeObject): KubeObject {
  const { labels, annotations } = source.metadata;
  const { labels: _labels, annotations: _annotations, ...metadata } = expected.metadata;
  const split: KubeObject = {
    ...expected,
    metadata: {
      ...metadata,
      ...(labels === undefined ? {} : { labels }),
      ...(annotations === undefined ? {} : { annotations }),
    },
    subjects: source['subjects'] ?? [],
  };
  const reconciled = reconcileBinding(split, expected);
  return reconciled.kind === 'same' ? split : reconciled.object;
}
