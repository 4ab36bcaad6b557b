/** Functions over lists: Kubernetes' own (sums, extremes, positions), CEL's lists extension, and sets. */
import type { Node } from '../ast.ts';
import type { Impl, Library, Overload } from '../declarations.ts';
import { global, member, paramA } from '../declarations.ts';
import { fail } from '../errors.ts';
import type { Macro } from '../macros.ts';
import { MacroError, bindNode, standardMacros } from '../macros.ts';
import { addAny } from '../operators.ts';
import type { CelType } from '../types.ts';
import {
  boolType,
  bytesType,
  doubleType,
  durationType,
  dynType,
  intType,
  listType,
  stringType,
  timestampType,
  typeParam,
  uintType,
} from '../types.ts';
import { Double, Duration, Uint, compare, equals, typeOf } from '../values.ts';

type Named = readonly [name: string, type: CelType];

const comparable: readonly Named[] = [
  ['int', intType],
  ['uint', uintType],
  ['double', doubleType],
  ['bool', boolType],
  ['duration', durationType],
  ['timestamp', timestampType],
  ['string', stringType],
  ['bytes', bytesType],
];
const zero: Readonly<Record<string, unknown>> = {
  int: 0,
  uint: new Uint(0n),
  double: new Double(0),
  duration: new Duration(0n),
};
const summable = comparable.filter(([name]) => name in zero);

const items = (v: unknown): readonly unknown[] => v as readonly unknown[];

const isSorted: Impl = ([list]) => {
  const l = items(list);
  for (let i = 1; i < l.length; i++) if (compare(l[i - 1], l[i]) > 0) return false;
  return true;
};

const extreme =
  (name: string, sign: number): Impl =>
  ([list]) => {
    const l = items(list);
    if (l.length === 0) return fail(`${name} called on empty list`);
    return l.reduce((best, v) => (Math.sign(compare(best, v)) === sign ? v : best));
  };

const each = (types: readonly Named[], make: (name: string, type: CelType) => Overload): Overload[] =>
  types.map(([name, type]) => make(name, type));

const listA = listType(paramA);

/** Kubernetes' lists library. */
export const kubernetesListsLibrary: Library = {
  name: 'kubernetes.lists',
  functions: {
    isSorted: each(comparable, (name, t) => member(`list_${name}_is_sorted_bool`, [listType(t)], boolType, isSorted)),
    sum: each(summable, (name, t) =>
      member(`list_${name}_sum_${name}`, [listType(t)], t, ([l]) => items(l).reduce(addAny, zero[name])),
    ),
    max: each(comparable, (name, t) => member(`list_${name}_max_${name}`, [listType(t)], t, extreme('max', -1))),
    min: each(comparable, (name, t) => member(`list_${name}_min_${name}`, [listType(t)], t, extreme('min', 1))),
    indexOf: [
      member('list_a_index_of_int', [listA, paramA], intType, ([l, v]) => items(l).findIndex((e) => equals(e, v))),
    ],
    lastIndexOf: [
      member('list_a_last_index_of_int', [listA, paramA], intType, ([l, v]) =>
        items(l).findLastIndex((e) => equals(e, v)),
      ),
    ],
  },
};

// CEL's lists extension ------------------------------------------------------------------------------------------------

function flatten(list: readonly unknown[], depth: number): unknown[] {
  if (depth < 0) return fail('level must be non-negative');
  return list.flatMap((v) => (Array.isArray(v) && depth > 0 ? flatten(v, depth - 1) : [v]));
}

function slice(list: readonly unknown[], start: number | bigint, end: number | bigint): unknown[] {
  if (start < 0 || end < 0) return fail(`cannot slice(${start}, ${end}), negative indexes not supported`);
  if (start > end) {
    return fail(`cannot slice(${start}, ${end}), start index must be less than or equal to end index`);
  }
  if (list.length < end) return fail(`cannot slice(${start}, ${end}), list is length ${list.length}`);
  return list.slice(Number(start), Number(end));
}

function sortByKeys(list: readonly unknown[], keys: readonly unknown[]): unknown[] {
  if (list.length !== keys.length) {
    return fail(
      `@sortByAssociatedKeys() expected a list of the same size as the associated keys list, but got ${list.length} and ${keys.length} elements respectively`,
    );
  }
  const type = typeOf(keys[0]).name;
  if (keys.some((k) => typeOf(k).name !== type)) fail('list elements must have the same type');
  return list
    .map((v, i) => [v, keys[i]] as const)
    .sort((a, b) => compare(a[1], b[1]))
    .map(([v]) => v);
}

function distinct(list: readonly unknown[]): unknown[] {
  const out: unknown[] = [];
  const seen = new Set<unknown>();
  for (const v of list) {
    if (typeof v === 'string' || typeof v === 'boolean') {
      if (seen.has(v)) continue;
      seen.add(v);
    } else if (out.some((o) => equals(v, o))) continue;
    out.push(v);
  }
  return out;
}

/** A range that would not fit in memory: its cost is over every limit long before. */
const maxRange = 10_000_000;

function range(end: number): number[] {
  if (end > maxRange) return fail(`range of ${end} elements is too long`);
  return Array.from({ length: Math.max(0, end) }, (_, i) => i);
}

const mapMacro = standardMacros.find(([key]) => key === 'map:2:member')![1];

/** Sorts by keys that an expression gives for each element. */
const sortBy: Macro = (at, target, args) => {
  const list = target!;
  if (list.kind === 'const' || list.kind === 'map' || list.kind === 'struct') {
    const why = 'sortBy can only be applied to a list, identifier, comprehension, call or select expression';
    throw new MacroError(list.at, why);
  }
  const input = '@__sortBy_input__';
  const ident = (): Node => ({ kind: 'ident', name: input, at });
  const keys = mapMacro(at, ident(), args)!;
  const call: Node = { kind: 'call', fn: '@sortByAssociatedKeys', target: ident(), args: [keys], at };
  return bindNode(at, input, list, call);
};

const listT = listType(typeParam('T'));
const listDyn = listType(dynType);
const list1 =
  (fn: (l: readonly unknown[]) => unknown): Impl =>
  (a) =>
    fn(items(a[0]));

export const listsLibrary: Library = {
  name: 'lists',
  functions: {
    slice: [
      member('list_slice', [listT, intType, intType], listT, (a) =>
        slice(items(a[0]), a[1] as number | bigint, a[2] as number | bigint),
      ),
    ],
    flatten: [
      {
        ...member(
          'list_flatten',
          [listType(listT)],
          listT,
          list1((l) => flatten(l, 1)),
        ),
        unguarded: true,
      },
      member('list_flatten_int', [listDyn, intType], listDyn, (a) => flatten(items(a[0]), Number(a[1]))),
    ],
    sort: comparable.map(([, t]) =>
      member(
        `list_${t.name}_sort`,
        [listType(t)],
        listType(t),
        list1((l) => sortByKeys(l, l)),
      ),
    ),
    '@sortByAssociatedKeys': comparable.map(([, t]) =>
      member(`list_${t.name}_sortByAssociatedKeys`, [listT, listType(t)], listT, (a) =>
        sortByKeys(items(a[0]), items(a[1])),
      ),
    ),
    'lists.range': [global('lists_range', [intType], listType(intType), (a) => range(Number(a[0])))],
    reverse: [
      member(
        'list_reverse',
        [listT],
        listT,
        list1((l) => l.toReversed()),
      ),
    ],
    distinct: [member('list_distinct', [listT], listT, list1(distinct))],
  },
  macros: [['sortBy:2:member', sortBy]],
};

// Sets -----------------------------------------------------------------------------------------------------------------

const containsAll = (list: readonly unknown[], sub: readonly unknown[]): boolean =>
  sub.every((v) => list.some((e) => equals(e, v)));

const setFunction = (name: string, fn: (a: readonly unknown[], b: readonly unknown[]) => boolean): Overload[] => [
  global(`list_sets_${name}_list`, [listT, listT], boolType, (a) => fn(items(a[0]), items(a[1]))),
];

export const setsLibrary: Library = {
  name: 'sets',
  functions: {
    'sets.contains': setFunction('contains', containsAll),
    'sets.equivalent': setFunction('equivalent', (a, b) => containsAll(a, b) && containsAll(b, a)),
    'sets.intersects': setFunction('intersects', (a, b) => a.some((v) => b.some((e) => equals(e, v)))),
  },
};
