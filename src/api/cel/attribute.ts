/**
 * Attributes: a variable or value with a chain of member selections and indices behind it (`self.spec.list[0].?name`), compiled
 * to one closure. The costs follow upstream's evaluator: one for the attribute, one for each step taken.
 */
import type { Frame, Eval } from './frame.ts';
import { fail, noSuchOverload } from './errors.ts';
import { printValue } from './print.ts';
import { Boxed } from './types.ts';
import type { PlainObject } from './values.ts';
import { CelMap, Double, Optional, StructValue, Uint, isMap, mapGet, none, optionalOf } from './values.ts';

export interface Step {
  /** The key, where it is constant; else computed by `compute`. */
  readonly key: unknown;
  readonly compute?: Eval;
  /** How messages print the key, where that is not the key itself (escaped names). */
  readonly shown?: string;
  readonly optional: boolean;
  /** `has(...)`: the last step only asks whether the member is there. */
  readonly test: boolean;
  /** The member of a declared object: null counts as absent. */
  readonly declared: boolean;
  /** Asking a value that can have no members for one fails, even behind `.?`. */
  readonly strict: boolean;
  readonly convert?: (raw: unknown) => unknown;
}

export type Attribute =
  | { readonly base: 'slot'; readonly slot: number; readonly load: Eval; readonly steps: readonly Step[] }
  | { readonly base: 'value'; readonly load: Eval; readonly steps: readonly Step[] }
  | {
      readonly base: 'conditional';
      readonly condition: Eval;
      readonly yes: Branch;
      readonly no: Branch;
      readonly steps: readonly Step[];
    };

export interface Branch {
  readonly eval: Eval;
  readonly attribute?: Attribute;
}

export const withStep = (a: Attribute, step: Step): Attribute => ({ ...a, steps: [...a.steps, step] });

/** The index that a number means in a list; undefined for what is out of range. */
function listItem(list: readonly unknown[], key: unknown): unknown {
  if (typeof key === 'number' && Number.isSafeInteger(key)) return key >= 0 ? list[key] : undefined;
  if (typeof key === 'bigint') return undefined;
  if (key instanceof Double) return list[key.value];
  if (key instanceof Uint) return list[Number(key.value)];
  if (typeof key === 'number') return fail(`unsupported index value ${printValue(key)} in list`);
  return fail(`unsupported index type '${printValue(key, true)}' in list`);
}

/** A member or item; undefined when there is none. */
function lookup(o: unknown, key: unknown, declared: boolean): unknown {
  if (typeof o !== 'object' || o === null) return undefined;
  if (Array.isArray(o)) return listItem(o, key);
  if (o instanceof Boxed) {
    if (o instanceof CelMap) return mapGet(o, key);
    if (o instanceof StructValue) return o.fields.get(key as string);
    return undefined;
  }
  if (typeof key !== 'string' || !Object.hasOwn(o, key)) return undefined;
  const v = (o as PlainObject)[key];
  return v === null && declared ? undefined : v;
}

function missing(o: unknown, step: Step, key: unknown): never {
  if (Array.isArray(o)) return fail(`index out of bounds: ${printValue(key)}`);
  return fail(`no such key: ${step.shown ?? printValue(key)}`);
}

/** Names that every plain object answers to, whether it has them or not. */
const inherited = new Set(Object.getOwnPropertyNames(Object.prototype));

/** A value at its place, without the cost of the attribute itself. */
function loadSteps(load: Eval, steps: readonly Step[], fixed: number): Eval {
  if (steps.some((s) => s.optional)) return optionalSteps(load, steps, fixed);
  const [first, second] = steps;
  const plain = (s: Step): boolean =>
    s.compute === undefined && typeof s.key === 'string' && !s.test && s.declared && !inherited.has(s.key);
  if (first !== undefined && steps.length === 1 && plain(first)) return oneMember(load, first, fixed);
  if (first !== undefined && second !== undefined && steps.length === 2 && plain(first) && plain(second)) {
    return twoMembers(load, first, second, fixed);
  }
  return anySteps(load, steps, fixed);
}

/** A declared member that is there and not null; undefined otherwise. */
function declaredMember(o: unknown, key: string): unknown {
  if (typeof o !== 'object' || o === null || o instanceof Boxed) return lookup(o, key, true);
  return (o as PlainObject)[key] ?? undefined;
}

function oneMember(load: Eval, step: Step, fixed: number): Eval {
  const key = step.key as string;
  const { convert } = step;
  const cost = fixed + 1;
  return (f) => {
    f.cost += cost;
    const o = load(f);
    const v = declaredMember(o, key);
    if (v === undefined) return o instanceof Optional ? optionalTail(f, o, [step], 0) : missing(o, step, key);
    return convert === undefined ? v : convert(v);
  };
}

function twoMembers(load: Eval, first: Step, second: Step, fixed: number): Eval {
  const [k1, k2] = [first.key as string, second.key as string];
  const { convert } = second;
  const cost = fixed + 2;
  return (f) => {
    f.cost += cost;
    const o = load(f);
    const m = declaredMember(o, k1);
    if (m === undefined) {
      f.cost--;
      return o instanceof Optional ? optionalTail(f, o, [first, second], 0) : missing(o, first, k1);
    }
    const v = declaredMember(m, k2);
    if (v === undefined) return missing(m, second, k2);
    return convert === undefined ? v : convert(v);
  };
}

function anySteps(load: Eval, steps: readonly Step[], fixed: number): Eval {
  return (f) => {
    f.cost += fixed;
    let o = load(f);
    if (o instanceof Optional) return optionalTail(f, o, steps, 1);
    for (const step of steps) {
      f.cost++;
      const key = step.compute === undefined ? step.key : step.compute(f);
      const v = lookup(o, key, step.declared);
      if (step.test) return v !== undefined;
      if (v === undefined) return missing(o, step, key);
      o = step.convert === undefined ? v : step.convert(v);
    }
    return o;
  };
}

/** Steps behind an optional value, or with `.?` or `[?]` among them. */
function optionalTail(f: Frame, base: unknown, steps: readonly Step[], perStep: number): unknown {
  let optional = base instanceof Optional;
  if (base instanceof Optional && !base.present) {
    // `has` of nothing is false; everything else stays nothing.
    return steps.at(-1)?.test === true ? false : base;
  }
  let o = base instanceof Optional ? base.value : base;
  for (const step of steps) {
    optional ||= step.optional;
    const key = step.compute === undefined ? step.key : step.compute(f);
    const v = lookup(o, key, step.declared);
    if (v === undefined) {
      if (step.test) {
        f.cost += perStep;
        return false;
      }
      if (optional && (!step.strict || isRange(o) || o instanceof StructValue)) {
        return steps.at(-1)?.test === true ? false : none;
      }
      f.cost += perStep;
      return missing(o, step, key);
    }
    f.cost += perStep;
    if (step.test) return true;
    o = step.convert === undefined ? v : step.convert(v);
  }
  return optional ? optionalOf(o) : o;
}

function optionalSteps(load: Eval, steps: readonly Step[], fixed: number): Eval {
  return (f) => {
    f.cost += fixed;
    return optionalTail(f, load(f), steps, 1);
  };
}

/**
 * The closure of an attribute. `counted` attributes cost one beside their steps; those in the branches of `?:` and in indices do
 * not.
 */
export function compileAttribute(a: Attribute, counted: boolean): Eval {
  const { steps } = a;
  if (a.base === 'conditional') {
    const yes = branch(a.yes, steps);
    const no = branch(a.no, steps);
    const { condition } = a;
    return (f) => {
      const c = condition(f);
      if (c === true) return yes(f);
      return c === false ? no(f) : noSuchOverload();
    };
  }
  // `has(...)` itself is free.
  const fixed = counted && steps.at(-1)?.test !== true ? 1 : 0;
  if (steps.length > 0) return loadSteps(a.load, steps, fixed);
  const { load } = a;
  if (fixed === 0) return load;
  if (a.base === 'slot') {
    const { slot } = a;
    return (f) => {
      f.cost++;
      const v = f.slots[slot];
      return v === undefined ? load(f) : v;
    };
  }
  return (f) => {
    f.cost++;
    return load(f);
  };
}

function branch(b: Branch, steps: readonly Step[]): Eval {
  if (b.attribute !== undefined) {
    return compileAttribute({ ...b.attribute, steps: [...b.attribute.steps, ...steps] }, false);
  }
  return steps.length === 0 ? b.eval : loadSteps(b.eval, steps, 0);
}

/** Whether a value is something that macros can go through. */
export const isRange = (v: unknown): boolean => Array.isArray(v) || isMap(v);
