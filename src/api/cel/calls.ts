/** Calls: operators compiled by the types of their operands, functions by overload, or dispatched by the values' types. */
import type { CallNode, Node } from './ast.ts';
import { op } from './ast.ts';
import { deepConversionOf } from './convert.ts';
import type { CallCost } from './costs.ts';
import { callCost, comparisonCost, equalityCost } from './costs.ts';
import type { Impl, Overload } from './declarations.ts';
import { CostExceeded, absorbable, fail, noSuchOverload } from './errors.ts';
import type { Eval, Frame } from './frame.ts';
import {
  addAny,
  arithmetic,
  comparisons,
  divideAny,
  moduloAny,
  multiplyAny,
  negateAny,
  negateInt,
  subtractAny,
} from './operators.ts';
import type { Plan, PlanScope } from './planned.ts';
import { constantPlan } from './planned.ts';
import { addListsOf, equalityOf } from './typed-equality.ts';
import type { CelType } from './types.ts';
import { CelMap, Double, Uint, asDouble, equals, isInt, isMap, keyIndex, mapGet, mapKeys, typeOf } from './values.ts';

/** Conversions whose constant arguments are converted when the expression is compiled. */
const conversions = new Set([
  ...['bool', 'bytes', 'double', 'dyn', 'duration', 'int', 'string', 'timestamp', 'type', 'uint'],
]);

const anyOperator: Readonly<Record<string, (a: unknown, b: unknown) => unknown>> = {
  [op.add]: addAny,
  [op.subtract]: subtractAny,
  [op.multiply]: multiplyAny,
  [op.divide]: divideAny,
  [op.modulo]: moduloAny,
};

/** Types of which every value has size 1. */
const fixedSize = new Set(['bool', 'int', 'uint', 'double', 'duration', 'timestamp', 'null']);
const isFixed = (t: CelType): boolean => fixedSize.has(t.kind) && !t.nullable;

/** A function that the compiler found to be wrong when it was compiled: a constant that does not convert, a bad pattern. */
export class ProgramError extends Error {}

export function compileCall(scope: PlanScope, node: CallNode, args: readonly Node[], plans: readonly Plan[]): Plan {
  const types = args.map((a) => a.type!);
  switch (node.fn) {
    case op.equals:
    case op.notEquals:
      return { eval: equality(node.fn === op.equals, types, plans) };
    case op.less:
    case op.lessEquals:
    case op.greater:
    case op.greaterEquals:
      return { eval: comparison(node, types, plans) };
    case op.add:
    case op.subtract:
    case op.multiply:
    case op.divide:
    case op.modulo:
      return { eval: arithmeticOf(node, types, plans) };
    case op.negate:
      return { eval: unary(plans[0]!.eval, types[0]!.kind === 'int' ? negateInt : negateAny) };
    case op.not:
      return { eval: unary(plans[0]!.eval, (v) => (typeof v === 'boolean' ? !v : noSuchOverload())) };
    case op.in:
      return membership(node, plans);
  }
  const compiled = functionCall(scope, node, types, plans);
  const [only] = plans;
  if (plans.length === 1 && only!.constant !== undefined && conversions.has(node.fn)) {
    try {
      return constantPlan(compiled({ cost: 0, limit: Infinity, memo: new Map() } as never));
    } catch (error) {
      throw new ProgramError(absorbable(error).message);
    }
  }
  return { eval: compiled };
}

/**
 * The left operand. Where it fails, upstream evaluates the right one all the same, and charges for the call: the failure may yet be
 * absorbed, and then that cost counts.
 */
function leftOf(f: Frame, left: Eval, right: Eval, cost: ((a: unknown, b: unknown) => number) | undefined): unknown {
  try {
    return left(f);
  } catch (error) {
    const failure = absorbable(error);
    let b: unknown;
    try {
      b = right(f);
    } catch (other) {
      absorbable(other);
    }
    if (cost !== undefined) f.cost += cost(null, b);
    throw failure as unknown as Error;
  }
}

/** The right operand; a failure costs as a value of size 1 does. */
function rightOf(f: Frame, right: Eval, a: unknown, cost: (a: unknown, b: unknown) => number): unknown {
  try {
    return right(f);
  } catch (error) {
    const failure = absorbable(error);
    f.cost += cost(a, null);
    throw failure as unknown as Error;
  }
}

function unary(arg: Eval, fn: (v: unknown) => unknown): Eval {
  return (f) => {
    f.cost++;
    return fn(arg(f));
  };
}

function equality(wanted: boolean, types: readonly CelType[], plans: readonly Plan[]): Eval {
  const [left, right] = [plans[0]!.eval, plans[1]!.eval];
  const constant = plans[1]!.constant;
  const typed = equalityOf(types[0]!);
  const same = typed ?? equals;
  if (isFixed(types[0]!) || isFixed(types[1]!) || constant?.value === null) {
    // Against a value of size 1 the cost is 1, unless the other is empty.
    if (isFixed(types[0]!) && isFixed(types[1]!)) {
      return (f) => {
        f.cost++;
        const a = leftOf(f, left, right, undefined);
        const b = right(f);
        return (a === b || same(a, b)) === wanted;
      };
    }
  }
  if (types[0]!.kind === 'string' && typeof constant?.value === 'string') {
    const text = constant.value;
    const { eval: constantly } = plans[1]!;
    return (f) => {
      const a = leftOf(f, left, constantly, comparisonCost);
      f.cost += comparisonCost(a, text);
      return (a === text) === wanted;
    };
  }
  const cost = wanted ? equalityCost : comparisonCost;
  return (f) => {
    const a = leftOf(f, left, right, cost);
    const b = rightOf(f, right, a, cost);
    f.cost += cost(a, b);
    return same(a, b) === wanted;
  };
}

function comparison(node: CallNode, types: readonly CelType[], plans: readonly Plan[]): Eval {
  const fn = comparisons[node.fn]!;
  const [left, right] = [plans[0]!.eval, plans[1]!.eval];
  const overload = node.overloads?.length === 1 ? node.overloads[0]! : '';
  if (overload.endsWith('_string') || overload.endsWith('_bytes')) {
    return (f) => {
      const a = leftOf(f, left, right, comparisonCost);
      const b = rightOf(f, right, a, comparisonCost);
      f.cost += comparisonCost(a, b);
      return fn(a, b);
    };
  }
  const limit = plans[1]!.constant?.value;
  if (types[0]!.kind === 'int' && typeof limit === 'number') {
    return (f) => {
      f.cost++;
      return fn(left(f), limit);
    };
  }
  return (f) => {
    f.cost++;
    return fn(leftOf(f, left, right, undefined), right(f));
  };
}

function arithmeticOf(node: CallNode, types: readonly CelType[], plans: readonly Plan[]): Eval {
  const [left, right] = [plans[0]!.eval, plans[1]!.eval];
  const overload = node.overloads?.length === 1 ? node.overloads[0]! : '';
  let fn = anyOperator[node.fn]!;
  const exact = types[0]!.kind === types[1]!.kind && types[0]!.kind !== 'dyn';
  if (exact) fn = arithmetic.get(overload) ?? fn;
  if (overload === 'add_list') fn = addListsOf(types[0]!);
  if (overload === 'add_string' || overload === 'add_bytes') {
    const cost = callCost(node.fn, overload) as (args: readonly unknown[], result: unknown) => number;
    return (f) => {
      const a = left(f);
      const b = right(f);
      f.cost += cost([a, b], undefined);
      if (f.cost > f.limit) throw new CostExceeded();
      return typeof a === 'string' && typeof b === 'string' ? a + b : addAny(a, b);
    };
  }
  return (f) => {
    f.cost++;
    return fn(leftOf(f, left, right, undefined), right(f));
  };
}

/** What membership in a constant list is looked up by; undefined where values must be compared. */
function setIndex(v: unknown): unknown {
  if (typeof v === 'string' || typeof v === 'boolean' || v instanceof Double || v instanceof Uint || isInt(v)) {
    return keyIndex(v);
  }
  return asDouble(v);
}

function membership(node: CallNode, plans: readonly Plan[]): Plan {
  const [value, list] = [plans[0]!, plans[1]!];
  const overload = node.overloads?.length === 1 ? node.overloads[0]! : '';
  const constant = list.constant?.value;
  if (overload === 'in_list' && Array.isArray(constant)) {
    if (constant.length === 0) return constantPlan(false);
    const indices = constant.map(setIndex);
    if (indices.every((i) => i !== undefined && i === i)) {
      // As upstream: a set lookup, which costs nothing.
      const set = new Set(indices);
      const { eval: load } = value;
      return {
        eval: (f) => {
          const index = setIndex(load(f));
          return index !== undefined && set.has(index);
        },
      };
    }
  }
  const cost = callCost(node.fn, overload);
  return {
    eval: (f) => {
      const v = value.eval(f);
      const l = list.eval(f);
      f.cost += typeof cost === 'number' ? cost : cost([v, l], undefined);
      if (f.cost > f.limit) throw new CostExceeded();
      if (Array.isArray(l)) return l.some((e) => equals(e, v));
      return isMap(l) ? mapGet(l, v) !== undefined : noSuchOverload();
    },
  };
}

// Functions ------------------------------------------------------------------------------------------------------------

/** Whether a value can be given to a parameter of this type: what the checker could not tell. */
function accepts(type: CelType, v: unknown): boolean {
  switch (type.kind) {
    case 'dyn':
    case 'any':
    case 'typeParam':
      return true;
    case 'int':
      return isInt(v);
    case 'double':
      return asDouble(v) !== undefined;
    case 'string':
      return typeof v === 'string';
    case 'bool':
      return typeof v === 'boolean';
    case 'list':
      return Array.isArray(v) && (v.length === 0 || accepts(type.params[0]!, v[0]));
    case 'map': {
      if (!isMap(v)) return false;
      const [first] = v instanceof CelMap || type.params[0]!.kind !== 'typeParam' ? mapKeys(v) : [];
      if (first === undefined) return true;
      return accepts(type.params[0]!, first) && accepts(type.params[1]!, mapGet(v, first));
    }
    default:
      return typeOf(v).name === type.name;
  }
}

/** Whether the checker already knows that arguments of `given` fit `wanted`. */
function certain(wanted: CelType, given: CelType): boolean {
  if (wanted.kind === 'dyn' || wanted.kind === 'any' || wanted.kind === 'typeParam') return true;
  if (given.kind === 'dyn' || given.kind === 'any' || given.kind === 'null' || given.nullable) return false;
  return wanted.kind === given.kind && wanted.params.every((p, i) => certain(p, given.params[i]!));
}

const noOverload = (fn: string, args: readonly unknown[]): never =>
  fail(`no such overload: ${fn}(${args.map((a) => typeOf(a).name).join(', ')})`);

function functionCall(scope: PlanScope, node: CallNode, types: readonly CelType[], plans: readonly Plan[]): Eval {
  const decl = scope.fn(node.fn);
  const member = node.target !== undefined;
  const ids = node.overloads ?? [];
  const overloads = (decl?.overloads ?? []).filter(
    (o) => (ids.length === 0 || ids.includes(o.id)) && o.member === member && o.args.length === plans.length,
  );
  const [only] = overloads;
  if (only === undefined) throw new Error(`function ${node.fn} is not declared`);
  const cost = callCost(node.fn, overloads.length === 1 ? only.id : '');
  const evals = plans.map((p, i) => {
    // Where the type of an object is forgotten, what only the schema tells is worked out now.
    const forgets = overloads.some((o) => o.args[i]!.kind === 'dyn') || node.fn === 'dyn';
    const convert = forgets ? deepConversionOf(types[i]!) : undefined;
    if (convert === undefined) return p.eval;
    return ((f) => convert(p.eval(f))) satisfies Eval;
  });
  if (overloads.length === 1) {
    let impl = only.impl ?? (() => noSuchOverload());
    const constant = plans[1]?.constant;
    if (only.prepared !== undefined && constant !== undefined) {
      try {
        impl = only.prepared(constant.value);
      } catch (error) {
        throw new ProgramError(absorbable(error).message);
      }
    }
    if (only.args.every((a, i) => certain(a, types[i]!))) return invoke(evals, impl, cost);
    return invoke(evals, guarded(node.fn, only, impl), cost);
  }
  return invoke(evals, dispatcher(node.fn, overloads), cost);
}

function guarded(fn: string, overload: Overload, impl: Impl): Impl {
  return (args, context) => {
    for (let i = 0; i < args.length; i++) {
      const wanted = overload.args[i]!;
      if (overload.unguarded === true && wanted.kind === 'list' && Array.isArray(args[i])) continue;
      if (!accepts(wanted, args[i])) noOverload(fn, args);
    }
    return impl(args, context);
  };
}

function dispatcher(fn: string, overloads: readonly Overload[]): Impl {
  return (args, context) => {
    for (const o of overloads) {
      if (o.impl !== undefined && o.args.every((t, i) => accepts(t, args[i]))) return o.impl(args, context);
    }
    return noOverload(fn, args);
  };
}

function invoke(evals: readonly Eval[], impl: Impl, cost: CallCost): Eval {
  const [first, second] = evals;
  if (typeof cost === 'number') {
    const fixed = cost;
    const charged = fixed > 1;
    if (evals.length === 1) {
      return (f) => {
        f.cost += fixed;
        if (charged && f.cost > f.limit) throw new CostExceeded();
        return impl([first!(f)], f);
      };
    }
    if (evals.length === 2) {
      return (f) => {
        f.cost += fixed;
        if (charged && f.cost > f.limit) throw new CostExceeded();
        return impl([first!(f), second!(f)], f);
      };
    }
    return (f) => {
      f.cost += fixed;
      if (charged && f.cost > f.limit) throw new CostExceeded();
      return impl(
        evals.map((e) => e(f)),
        f,
      );
    };
  }
  return (f) => {
    const args = evals.map((e) => e(f));
    const result = impl(args, f);
    if ((f.cost += cost(args, result)) > f.limit) throw new CostExceeded();
    return result;
  };
}
