/** Estimates for the functions that upstream's tables know: Kubernetes' libraries, and the lists and sets extensions. */
import { listCost, maxFormatRegex, regexFactor, structCost, traversalFactor } from './costs.ts';
import type { CallEstimate, Estimated, Estimator } from './estimate.ts';
import type { Range } from './estimate-range.ts';
import { add, costFactor, fixed, maxUint64, multiply, union, unknown } from './estimate-range.ts';
import type { CelType } from './types.ts';

const maxFormatSize = 64;

type Estimate = (
  estimator: Estimator,
  target: Estimated | undefined,
  args: readonly Estimated[],
  overload: string,
) => CallEstimate | undefined;

const sizeOf = (estimator: Estimator, e: Estimated): Range => e.size ?? estimator.schemaSize(e.path) ?? unknown;

/** The elements of a list, where the type tells that it is one. */
function elementOf(list: Estimated): Estimated | undefined {
  const [type] = list.type.params;
  if (type === undefined) return undefined;
  const path = list.path.length === 0 ? [] : [...list.path, '@items'];
  return { node: undefined, type, path, size: undefined };
}

const isText = (t: CelType): boolean => t.kind === 'string' || t.kind === 'bytes';

const nominal: Estimate = () => ({ cost: fixed(1) });

const overFirst: Estimate = (estimator, _target, args) =>
  args[0] === undefined ? undefined : { cost: costFactor(sizeOf(estimator, args[0]), traversalFactor) };

const selector: Estimate = (estimator, _target, args) => {
  if (args.length !== 1) return undefined;
  const length = sizeOf(estimator, args[0]!);
  const requirements = costFactor(costFactor(length, 0.5), listCost + structCost);
  return { cost: add(add(fixed(listCost), costFactor(length, traversalFactor)), requirements) };
};

const overList: Estimate = (estimator, target) => {
  if (target === undefined) return undefined;
  const element = elementOf(target);
  if (element === undefined) return { cost: costFactor(sizeOf(estimator, target), traversalFactor) };
  let each = fixed(1);
  if (isText(element.type)) each = add(each, costFactor(sizeOf(estimator, element), traversalFactor));
  return { cost: multiply(sizeOf(estimator, target), each) };
};

const sameSize =
  (of: 'target' | 'argument'): Estimate =>
  (estimator, target, args) => {
    const from = of === 'target' ? target : args.length === 1 ? args[0] : undefined;
    if (from === undefined) return undefined;
    const size = sizeOf(estimator, from);
    return { cost: costFactor(size, traversalFactor), size };
  };

const replace: Estimate = (estimator, target, args) => {
  if (target === undefined || args.length < 2) return undefined;
  const text = sizeOf(estimator, target);
  const from = sizeOf(estimator, args[0]!);
  const to = sizeOf(estimator, args[1]!);
  const count = { min: 0, max: 0 };
  const kept = { min: 0, max: 0 };
  if (from.min === 0) {
    count.max = Math.min(text.max + 1, maxUint64);
    kept.max = text.max;
  } else if (to.max <= from.min) kept.max = text.max;
  else count.max = Math.ceil(text.max / from.min);
  if (from.max === 0) {
    count.min = Math.min(text.min + 1, maxUint64);
    kept.min = text.min;
  } else if (from.max <= to.min) kept.min = text.min;
  else count.min = Math.ceil(text.min / from.max);
  return { cost: costFactor(text, 2 * traversalFactor), size: add(multiply(count, to), kept) };
};

const split: Estimate = (estimator, target, args) => {
  if (target === undefined) return undefined;
  const size = sizeOf(estimator, target);
  const limit = args[1]?.node;
  let max = size.max;
  if (limit?.kind === 'const' && limit.literal === 'int') max = limited(limit.value);
  return { cost: costFactor(size, 2 * traversalFactor), size: { min: 0, max } };
};

/** An int as an unsigned one: a negative limit is no limit. */
const limited = (v: unknown): number => (Number(v) < 0 ? maxUint64 : Number(v));

const join: Estimate = (estimator, target, args) => {
  if (target === undefined) return undefined;
  const count = sizeOf(estimator, target);
  const element = elementOf(target);
  let size: Range = element === undefined ? fixed(0) : multiply(count, sizeOf(estimator, element));
  if (args[0] !== undefined) {
    const separators = { min: Math.max(0, count.min - 1), max: Math.max(0, count.max - 1) };
    size = add(size, multiply(sizeOf(estimator, args[0]), separators));
  }
  return { cost: costFactor(size, traversalFactor), size };
};

const find: Estimate = (estimator, target, args) => {
  if (target === undefined || args[0] === undefined) return undefined;
  const size = sizeOf(estimator, target);
  const text = costFactor(add(size, fixed(1)), traversalFactor);
  const pattern = costFactor(sizeOf(estimator, args[0]), regexFactor);
  return { cost: multiply(text, pattern), size: { min: 0, max: size.max } };
};

const addressSize: Range = { min: 4, max: 16 };

const contains =
  (cidr: boolean): Estimate =>
  (estimator, _target, args, overload) => {
    if (args[0] === undefined) return undefined;
    let cost = costFactor(add(addressSize, addressSize), traversalFactor);
    if (cidr) cost = add(add(cost, costFactor(addressSize, traversalFactor)), fixed(1));
    if (overload.endsWith('_string')) cost = add(cost, costFactor(sizeOf(estimator, args[0]), traversalFactor));
    return { cost };
  };

const validate: Estimate = (estimator, _target, args) =>
  args[0] === undefined
    ? undefined
    : { cost: costFactor(costFactor(sizeOf(estimator, args[0]), traversalFactor), maxFormatRegex * regexFactor) };

const unitTypes = new Set([
  'kubernetes.Quantity',
  'kubernetes.Semver',
  'kubernetes.authorization.Authorizer',
  'kubernetes.authorization.PathCheck',
  'kubernetes.authorization.GroupCheck',
  'kubernetes.authorization.ResourceCheck',
  'kubernetes.authorization.Decision',
  'net.IP',
  'net.CIDR',
]);

const equality: Estimate = (_estimator, _target, [left, right]) => {
  if (left === undefined || right === undefined || left.type.name !== right.type.name) return undefined;
  if (left.type.kind !== 'struct' && left.type.kind !== 'opaque') return undefined;
  if (unitTypes.has(left.type.name)) return { cost: fixed(1) };
  if (left.type.name === 'kubernetes.NamedFormat') {
    return { cost: costFactor({ min: 1, max: maxFormatSize }, traversalFactor) };
  }
  if (left.type.name === 'kubernetes.URL') {
    // Both sizes are the right side's, as upstream has it.
    const size = right.size === undefined ? fixed(1) : union(right.size, right.size);
    return { cost: costFactor({ min: 1, max: size.max }, traversalFactor) };
  }
  return undefined;
};

const each = (names: string, estimate: Estimate): (readonly [string, Estimate])[] =>
  names.split(' ').map((n) => [n, estimate] as const);

const byFunction: ReadonlyMap<string, Estimate> = new Map<string, Estimate>([
  ['check', () => ({ cost: fixed(350_000) })],
  ...each('serviceAccount path group resource subresource namespace name allowed reason error errored', nominal),
  ...each('fieldSelector labelSelector', selector),
  ...each('isSorted sum max min indexOf lastIndexOf', overList),
  ...each('url jsonpatch.escapeKey', sameSize('argument')),
  ...each('lowerAscii upperAscii substring trim', sameSize('target')),
  ['replace', replace],
  ['split', split],
  ['join', join],
  ...each('find findAll', find),
  ...each('cidr isIP isCIDR', overFirst),
  [
    'ip',
    (estimator, target, args, id) => (id === 'cidr_ip' ? { cost: fixed(1) } : overFirst(estimator, target, args, id)),
  ],
  [
    'ip.isCanonical',
    (estimator, _target, args) => ({ cost: costFactor(sizeOf(estimator, args[0]!), 2 * traversalFactor) }),
  ],
  ...each(
    'masked prefixLength family isUnspecified isLoopback isLinkLocalMulticast isLinkLocalUnicast isGlobalUnicast',
    nominal,
  ),
  ['containsIP', contains(false)],
  ['containsCIDR', contains(true)],
  ...each('quantity isQuantity semver isSemver', overFirst),
  ['validate', validate],
  ...each('format.named sign asInteger isInteger asApproximateFloat isGreaterThan isLessThan compareTo', nominal),
  ...each('add sub major minor patch getScheme getHostname getHost getPort getEscapedPath getQuery', nominal),
  ['_==_', equality],
]);

const integer = (e: Estimated | undefined, otherwise: number): number =>
  e?.node?.kind === 'const' && e.node.literal === 'int' ? Math.max(0, Number(e.node.value)) : otherwise;

const newList = (factor: number, size: Range): CallEstimate => ({
  cost: add(add(costFactor(size, factor), fixed(1)), fixed(listCost)),
  size,
});

const selfCompare = (estimator: Estimator, list: Estimated, element: CelType | undefined): CallEstimate => {
  const size = sizeOf(estimator, list);
  const factor = element !== undefined && isText(element) ? 2 + traversalFactor : 2;
  return newList(factor, multiply(size, size));
};

const sets =
  (factor: number): Estimate =>
  (estimator, _target, args) => {
    const compared = multiply(sizeOf(estimator, args[0]!), sizeOf(estimator, args[1]!));
    return { cost: add(costFactor(compared, factor), fixed(1)) };
  };

/** The estimators of the lists and sets extensions, which come before the rest. */
const byOverload: ReadonlyMap<string, Estimate> = new Map<string, Estimate>([
  [
    'list_slice',
    (estimator, target, args) => {
      const size = sizeOf(estimator, target!);
      return newList(1, fixed(Math.max(0, integer(args[1], size.max) - integer(args[0], 0))));
    },
  ],
  ['lists_range', (_estimator, _target, args) => newList(1, fixed(integer(args[0], maxUint64)))],
  ['list_reverse', (estimator, target) => newList(1, sizeOf(estimator, target!))],
  ['list_flatten', (estimator, target) => newList(1, sizeOf(estimator, target!))],
  ['list_flatten_int', (estimator, target, args) => newList(integer(args[0], maxUint64), sizeOf(estimator, target!))],
  ['list_distinct', (estimator, target) => selfCompare(estimator, target!, undefined)],
  ['list_sets_contains_list', sets(1)],
  ['list_sets_intersects_list', sets(1)],
  ['list_sets_equivalent_list', sets(2)],
]);

/** The estimate of a function beyond its arguments; undefined for those of CEL itself. */
export function functionEstimate(
  estimator: Estimator,
  fn: string,
  overload: string,
  target: Estimated | undefined,
  args: readonly Estimated[],
): CallEstimate | undefined {
  if (/^list_.+_sort$/.test(overload)) return selfCompare(estimator, target!, target!.type.params[0]);
  if (/^list_.+_sortByAssociatedKeys$/.test(overload)) return selfCompare(estimator, args[0]!, args[0]!.type.params[0]);
  return (
    byOverload.get(overload)?.(estimator, target, args, overload) ??
    byFunction.get(fn)?.(estimator, target, args, overload)
  );
}
