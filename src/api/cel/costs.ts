/**
 * What a call costs when it runs: Kubernetes' table by function name, then CEL's by overload. The cost model is part of the API
 * (it decides which rules run out of budget), so the figures are upstream's, quirks included.
 */
import { LibraryValue, costSize, isMap, mapGet, mapKeys, stringSize } from './values.ts';

export const listCost = 10;
export const mapCost = 30;
export const structCost = 40;
export const traversalFactor = 0.1;
export const regexFactor = 0.25;
/** Longest regular expression behind a `format.*` check. */
export const maxFormatRegex = 128;

/** The most one evaluation may cost (apiserver's PerCallLimit). */
export const perCallLimit = 1_000_000;
/** The most all rules of one request may cost together (RuntimeCELCostBudget). */
export const perRequestBudget = 10_000_000;

export type CallCost = number | ((args: readonly unknown[], result: unknown) => number);

const traverse = (v: unknown, factor = traversalFactor): number => Math.ceil(costSize(v) * factor);

/** A value as a tree, walked once. */
function treeCost(v: unknown): number {
  if (typeof v === 'string') return Math.trunc(new TextEncoder().encode(v).length * traversalFactor);
  if (v instanceof Uint8Array) return Math.trunc(v.length * traversalFactor);
  if (Array.isArray(v)) return v.reduce<number>((sum, e) => sum + treeCost(e), 0);
  if (isMap(v)) return mapKeys(v).reduce<number>((sum, k) => sum + treeCost(k) + treeCost(mapGet(v, k)), 0);
  return 1;
}

const regexCost = (text: unknown, pattern: number): number =>
  Math.ceil((1 + costSize(text)) * traversalFactor) * Math.ceil(pattern * regexFactor);

function selectorCost(length: number): number {
  const requirements = Math.ceil(length * 0.5);
  return listCost + Math.ceil(length * traversalFactor) + Math.ceil(requirements * (listCost + structCost));
}

const cidrCost = (args: readonly unknown[], parse: boolean, contained: boolean): number => {
  const size = costSize(args[0]);
  let cost = Math.ceil((size + size) * traversalFactor);
  if (contained) cost += Math.ceil(size * traversalFactor) + 1;
  return parse ? cost + traverse(args[1]) : cost;
};

const one = 1;
const overFirst = (args: readonly unknown[]): number => traverse(args[0]);
const overTree = (args: readonly unknown[]): number => treeCost(args[0]);
const rebuild = (args: readonly unknown[]): number => Math.ceil(costSize(args[0]) * 2 * traversalFactor);
const overPattern = (args: readonly unknown[]): number => regexCost(args[0], costSize(args[1]));

const byFunction: ReadonlyMap<string, CallCost> = new Map<string, CallCost>([
  ['check', 350_000],
  ...[
    ...['serviceAccount', 'path', 'group', 'resource', 'subresource', 'namespace', 'name', 'allowed', 'reason'],
    ...['error', 'errored', 'masked', 'prefixLength', 'family', 'isUnspecified', 'isLoopback', 'isLinkLocalMulticast'],
    ...['isLinkLocalUnicast', 'isGlobalUnicast', 'format.named', 'sign', 'asInteger', 'isInteger'],
    ...['asApproximateFloat', 'isGreaterThan', 'isLessThan', 'compareTo', 'add', 'sub', 'major', 'minor', 'patch'],
    ...['getScheme', 'getHostname', 'getHost', 'getPort', 'getEscapedPath', 'getQuery'],
  ].map((name) => [name, one] as const),
  ...['fieldSelector', 'labelSelector'].map(
    (name) => [name, (args: readonly unknown[]) => selectorCost(costSize(args[1]))] as const,
  ),
  ...['isSorted', 'sum', 'max', 'min', 'indexOf', 'lastIndexOf'].map((name) => [name, overTree] as const),
  ...['url', 'lowerAscii', 'upperAscii', 'substring', 'trim', 'jsonpatch.escapeKey'].map(
    (name) => [name, overFirst] as const,
  ),
  ...['replace', 'split'].map((name) => [name, rebuild] as const),
  ['join', (_args, result) => Math.ceil(costSize(result) * 2 * traversalFactor)],
  ...['find', 'findAll'].map((name) => [name, overPattern] as const),
  ...['cidr', 'isIP', 'isCIDR', 'ip'].map((name) => [name, overFirst] as const),
  ['ip.isCanonical', (args) => Math.ceil(costSize(args[0]) * 2 * traversalFactor)],
  ...['quantity', 'isQuantity', 'semver', 'isSemver'].map((name) => [name, overFirst] as const),
  ['validate', (args) => regexCost(args[1], (args[0] as { maxRegexSize?: number }).maxRegexSize ?? maxFormatRegex)],
]);

const byOverload: ReadonlyMap<string, CallCost> = new Map<string, CallCost>([
  ...[
    'starts_with_string',
    'ends_with_string',
    'string_to_bytes',
    'bytes_to_string',
    'strings_quote',
    'string_format',
  ].map((id) => [id, overFirst] as const),
  ['in_list', (args) => costSize(args[1])],
  ['matches_string', overPattern],
  ['contains_string', (args) => traverse(args[0]) * traverse(args[1])],
  ['add_string', (args) => Math.ceil((costSize(args[0]) + costSize(args[1])) * traversalFactor)],
  ['add_bytes', (args) => Math.ceil((costSize(args[0]) + costSize(args[1])) * traversalFactor)],
  ...['list_slice', 'lists_range', 'list_reverse'].map(
    (id) => [id, (_args: readonly unknown[], result: unknown) => newListCost(1, costSize(result))] as const,
  ),
  ['list_flatten', (args) => newListCost(1, costSize(args[0]))],
  ['list_flatten_int', (args) => newListCost(Number(args[1]), costSize(args[0]))],
  ['list_distinct', (args) => selfCompareCost(args[0])],
  ...['list_sets_contains_list', 'list_sets_intersects_list'].map((id) => [id, setsCost(1)] as const),
  ['list_sets_equivalent_list', setsCost(2)],
]);

/** Of a call that makes a list of this size. */
function newListCost(factor: number, size: number): number {
  return Math.trunc(size * factor) + 1 + listCost;
}

/** Of sorting, or comparing all with all. */
function selfCompareCost(list: unknown): number {
  const l = list as readonly unknown[];
  const texts = typeof l[0] === 'string' || l[0] instanceof Uint8Array;
  return newListCost(texts ? 2 + traversalFactor : 2, l.length * l.length);
}

function setsCost(factor: number): CallCost {
  return (args) => Math.trunc(costSize(args[0]) * costSize(args[1]) * factor) + 1;
}

/** The cost of a call beyond its arguments. `overload` is empty when the call is resolved at run time. */
export function callCost(fn: string, overload: string): CallCost {
  if (fn === 'ip' && overload === 'cidr_ip') return one;
  if (fn === 'containsIP') return (args) => cidrCost(args, overload === 'cidr_contains_ip_string', false);
  if (fn === 'containsCIDR') return (args) => cidrCost(args, overload === 'cidr_contains_cidr_string', true);
  // The trackers of the lists and sets extensions come before the rest.
  if (/^list_.+_sort$/.test(overload)) return (args) => selfCompareCost(args[0]);
  if (/^list_.+_sortByAssociatedKeys$/.test(overload)) return (args) => selfCompareCost(args[1]);
  return byFunction.get(fn) ?? byOverload.get(overload) ?? one;
}

/** Of `==`, and of comparisons of strings and bytes. */
export function comparisonCost(a: unknown, b: unknown): number {
  if (typeof a === 'string' && typeof b === 'string') {
    const length = Math.min(a.length, b.length);
    if (length === 0) return 0;
    // Up to 10 characters cost 1; a string of N units has at least N/2 characters, so not fewer than one here.
    if (length <= 10) return 1;
    return Math.ceil(Math.min(stringSize(a), stringSize(b)) * traversalFactor);
  }
  return Math.ceil(Math.min(costSize(a), costSize(b)) * traversalFactor);
}

/** Of `==`: values of Kubernetes' types cost 1 whatever their size. */
export const equalityCost = (a: unknown, b: unknown): number => (a instanceof LibraryValue ? 1 : comparisonCost(a, b));
