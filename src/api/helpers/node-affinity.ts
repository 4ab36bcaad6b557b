/** Node selectors and required node affinity: compiled once a pod, then matched against nodes (component-helpers nodeaffinity). */
import type { Labels, Requirement } from '../selector.ts';
import { matchesRequirement } from '../selector.ts';
import type { NodeSelector, NodeSelectorTerm, PodSpec } from '../types/index.gen.ts';

/** What is looked at of a node. */
export interface NodeLike {
  readonly name: string;
  readonly labels: Labels;
}

export type NodeMatcher = (node: NodeLike) => boolean;

const operators: Readonly<Record<string, Requirement['operator']>> = {
  In: 'in',
  NotIn: 'notin',
  Exists: 'exists',
  DoesNotExist: '!',
  Gt: 'gt',
  Lt: 'lt',
};

interface CompiledTerm {
  readonly expressions: readonly Requirement[];
  readonly fields: readonly { readonly key: string; readonly operator: string; readonly value: string }[];
}

/** undefined: the term selects nothing (it is empty or has an operator that does not exist). */
function compileTerm(term: NodeSelectorTerm): CompiledTerm | undefined {
  if ((term.matchExpressions?.length ?? 0) === 0 && (term.matchFields?.length ?? 0) === 0) return undefined;
  const expressions: Requirement[] = [];
  for (const e of term.matchExpressions ?? []) {
    const operator = operators[e.operator];
    if (operator === undefined) return undefined;
    expressions.push({ key: e.key, operator, values: e.values ?? [] });
  }
  const fields = (term.matchFields ?? []).map((f) => ({
    key: f.key,
    operator: f.operator,
    value: f.values?.[0] ?? '',
  }));
  return { expressions, fields };
}

function matchesTerm(term: CompiledTerm, node: NodeLike): boolean {
  for (const r of term.expressions) if (!matchesRequirement(r, node.labels)) return false;
  for (const f of term.fields) {
    const value = f.key === 'metadata.name' ? node.name : '';
    if (f.operator === 'In' ? value !== f.value : f.operator === 'NotIn' ? value === f.value : true) return false;
  }
  return true;
}

/** One term, for preferred affinity. An empty term matches nothing. */
export function compileNodeSelectorTerm(term: NodeSelectorTerm): NodeMatcher {
  const compiled = compileTerm(term);
  return compiled === undefined ? () => false : (node) => matchesTerm(compiled, node);
}

/** The terms of a selector are ORed; a selector without terms matches nothing. */
export function compileNodeSelector(selector: NodeSelector): NodeMatcher {
  const terms = (selector.nodeSelectorTerms ?? []).map(compileTerm).filter((t) => t !== undefined);
  return (node) => terms.some((t) => matchesTerm(t, node));
}

/** nodeSelector and required node affinity of a pod, ANDed; undefined when the pod asks for nothing. */
export function requiredNodeAffinity(spec: PodSpec): NodeMatcher | undefined {
  const wanted = Object.entries(spec.nodeSelector ?? {});
  const required = spec.affinity?.nodeAffinity?.requiredDuringSchedulingIgnoredDuringExecution;
  if (wanted.length === 0 && required === undefined) return undefined;
  const affinity = required === undefined ? undefined : compileNodeSelector(required);
  return (node) => wanted.every(([k, v]) => node.labels[k] === v) && (affinity === undefined || affinity(node));
}

/** Names that the required affinity pins by metadata.name (DaemonSet pods); undefined when any node may do. */
export function pinnedNodeNames(spec: PodSpec): readonly string[] | undefined {
  const terms = spec.affinity?.nodeAffinity?.requiredDuringSchedulingIgnoredDuringExecution?.nodeSelectorTerms;
  if (terms === undefined || terms.length === 0) return undefined;
  const names: string[] = [];
  for (const term of terms) {
    const field = term.matchFields?.find((f) => f.key === 'metadata.name' && f.operator === 'In');
    if (field === undefined) return undefined;
    names.push(...(field.values ?? []));
  }
  return names;
}
