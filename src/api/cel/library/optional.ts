/** Optional values: `optional.of`, `.?`, `or`, `orValue`, `optMap`, ... */
import { op } from '../ast.ts';
import type { Library } from '../declarations.ts';
import { global, member } from '../declarations.ts';
import { fail } from '../errors.ts';
import { optionalMacros, twoVariableMacros, bindMacros, mapInsert } from '../macros.ts';
import { printValue } from '../print.ts';
import { boolType, dynType, intType, listType, mapType, optionalType, stringType, typeParam } from '../types.ts';
import { Optional, isZeroValue, none, optionalOf } from '../values.ts';

const k = typeParam('K');
const v = typeParam('V');
const optV = optionalType(v);
const list = listType(v);
const map = mapType(k, v);
const opt = (value: unknown): Optional => value as Optional;

function unwrap(values: unknown): unknown[] {
  const out: unknown[] = [];
  for (const value of values as readonly unknown[]) {
    if (!(value instanceof Optional)) return fail(`value ${printValue(value)} is not optional`);
    if (value.present) out.push(value.value);
  }
  return out;
}

export const optionalLibrary: Library = {
  name: 'optional',
  types: [optV],
  macros: optionalMacros,
  functions: {
    'optional.of': [global('optional_of', [v], optV, ([a]) => optionalOf(a))],
    'optional.ofNonZeroValue': [
      global('optional_ofNonZeroValue', [v], optV, ([a]) => (isZeroValue(a) ? none : optionalOf(a))),
    ],
    'optional.none': [global('optional_none', [], optV, () => none)],
    value: [
      member('optional_value', [optV], v, ([a]) =>
        opt(a).present ? opt(a).value : fail('optional.none() dereference'),
      ),
    ],
    hasValue: [member('optional_hasValue', [optV], boolType, ([a]) => opt(a).present)],
    // Compiled with their second operand unevaluated: see the planner.
    or: [member('optional_or_optional', [optV, optV], optV)],
    orValue: [member('optional_orValue_value', [optV, v], v)],
    [op.optSelect]: [global('select_optional_field', [dynType, stringType], optV)],
    [op.optIndex]: [
      global('list_optindex_optional_int', [list, intType], optV),
      global('optional_list_optindex_optional_int', [optionalType(list), intType], optV),
      global('map_optindex_optional_value', [map, k], optV),
      global('optional_map_optindex_optional_value', [optionalType(map), k], optV),
    ],
    [op.index]: [
      global('optional_list_index_int', [optionalType(list), intType], optV),
      global('optional_map_index_value', [optionalType(map), k], optV),
    ],
    last: [
      member('list_last', [list], optV, ([a]) => {
        const l = a as readonly unknown[];
        return l.length === 0 ? none : optionalOf(l[l.length - 1]);
      }),
    ],
    first: [
      member('list_first', [list], optV, ([a]) => {
        const l = a as readonly unknown[];
        return l.length === 0 ? none : optionalOf(l[0]);
      }),
    ],
    'optional.unwrap': [global('optional_unwrap', [listType(optV)], list, ([a]) => unwrap(a))],
    unwrapOpt: [member('optional_unwrapOpt', [listType(optV)], list, ([a]) => unwrap(a))],
  },
};

/** Macros over an index or key and its value. */
export const twoVariableLibrary: Library = {
  name: 'twoVarComprehensions',
  macros: twoVariableMacros,
  functions: {
    // Known to the checker only: these macros compile to loops.
    [mapInsert]: [global('@mapInsert_map_key_value', [map, k, v], map), global('@mapInsert_map_map', [map, map], map)],
  },
};

/** `cel.bind(name, value, expression)` */
export const bindingsLibrary: Library = { name: 'bindings', macros: bindMacros };
