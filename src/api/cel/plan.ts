/**
 * The closure compiler: from a checked tree to one function. Names are resolved to slots, overloads and member names to closures,
 * constants folded; nothing of the tree is looked at when an expression runs. Closures count the cost as upstream's evaluator does.
 */
import type { CallNode, IdentNode, ListNode, MapNode, Node, SelectNode, StructNode } from './ast.ts';
import { op } from './ast.ts';
import type { Attribute, Step } from './attribute.ts';
import { compileAttribute, withStep } from './attribute.ts';
import { compileCall } from './calls.ts';
import { compileComprehension } from './comprehension.ts';
import { conversionOf } from './convert.ts';
import { listCost, mapCost, structCost } from './costs.ts';
import { Failure, absorbable, fail, noSuchOverload } from './errors.ts';
import type { Eval } from './frame.ts';
import { charge } from './frame.ts';
import { constantPlan, mapKeyIndex } from './planned.ts';
import type { Plan, PlanScope } from './planned.ts';
import { printValue } from './print.ts';
import type { CelType } from './types.ts';
import { isOptional } from './types.ts';
import type { KeyIndex } from './values.ts';
import { CelMap, Optional, Uint } from './values.ts';

/** The type of a node without an optional around it. */
const innerType = (type: CelType): CelType => (isOptional(type) ? type.params[0]! : type);

export class Planner {
  readonly scope: PlanScope;
  /** Slots of the variables of the environment that the expression uses. */
  readonly variables = new Map<string, number>();
  #slots = 0;
  readonly #locals: { readonly name: string; readonly slot: number; readonly load?: Eval }[] = [];

  constructor(scope: PlanScope) {
    this.scope = scope;
  }

  get slots(): number {
    return this.#slots;
  }

  newSlot(): number {
    return this.#slots++;
  }

  /** Compiles `what` with a variable of a macro in scope. */
  withLocal<T>(name: string, slot: number, load: Eval | undefined, what: () => T): T {
    this.#locals.push({ name, slot, load });
    try {
      return what();
    } finally {
      this.#locals.pop();
    }
  }

  plan(node: Node): Plan {
    switch (node.kind) {
      case 'const':
        return constantPlan(node.value);
      case 'ident':
        return this.#ident(node);
      case 'select':
        return node.qualified === undefined ? this.#select(node) : this.#ident(node.qualified);
      case 'call':
        return this.#call(node);
      case 'list':
        return this.#list(node);
      case 'map':
        return this.#map(node);
      case 'struct':
        return this.#struct(node);
      case 'comprehension':
        return { eval: compileComprehension(this, node) };
      case 'error':
        throw new Error('a tree with errors is not compiled');
    }
  }

  #ident(node: IdentNode): Plan {
    if (node.constant !== undefined) return constantPlan(node.constant.value);
    const local = this.#locals.findLast((l) => l.name === node.name);
    let slot = local?.slot ?? this.variables.get(node.name);
    if (slot === undefined) {
      slot = this.newSlot();
      this.variables.set(node.name, slot);
    }
    const { name } = node;
    const at = slot;
    const load: Eval =
      local?.load ??
      ((f) => {
        const v = f.slots[at];
        if (v === undefined) return fail(`no such attribute(s): ${name}`);
        if (v instanceof Failure) throw v as unknown as Error;
        return v;
      });
    return this.#attribute({ base: 'slot', slot, load, steps: [] });
  }

  #attribute(attribute: Attribute): Plan {
    // Compiled when it is known that no step comes behind it.
    let compiled: Eval | undefined;
    return {
      attribute,
      get eval(): Eval {
        compiled ??= compileAttribute(attribute, true);
        return compiled;
      },
    };
  }

  /** A step behind what `operand` gives. */
  #step(operand: Plan, step: Step): Plan {
    const base: Attribute = operand.attribute ?? { base: 'value', load: operand.eval, steps: [] };
    return this.#attribute(withStep(base, step));
  }

  #memberStep(operandType: CelType, field: string, resultType: CelType, flags: Pick<Step, 'optional' | 'test'>): Step {
    const target = innerType(operandType);
    const declared = target.kind === 'struct' ? target.fields?.(field) : undefined;
    return {
      key: declared?.jsonName ?? field,
      shown: field,
      declared: declared !== undefined,
      strict: this.scope.features.strictPresence,
      convert: conversionOf(innerType(resultType)),
      ...flags,
    };
  }

  #select(node: SelectNode): Plan {
    const operand = this.plan(node.operand);
    const flags = { optional: false, test: node.test };
    return this.#step(operand, this.#memberStep(node.operand.type!, node.field, node.type!, flags));
  }

  #call(node: CallNode): Plan {
    const args = node.target === undefined ? node.args : [node.target, ...node.args];
    switch (node.fn) {
      case op.and:
      case op.or:
        return { eval: this.#logical(node) };
      case op.conditional:
        return this.#conditional(node);
      case op.index:
      case op.optIndex:
        return this.#index(node);
      case op.optSelect: {
        const field = node.args[1]!;
        const name = field.kind === 'const' ? String(field.value) : '';
        const flags = { optional: true, test: false };
        return this.#step(this.plan(node.args[0]!), this.#memberStep(node.args[0]!.type!, name, node.type!, flags));
      }
      case 'or':
      case 'orValue':
        if (node.overloads?.every((id) => id.startsWith('optional_')) === true) {
          return { eval: this.#optionalOr(node) };
        }
    }
    return compileCall(
      this.scope,
      node,
      args,
      args.map((a) => this.plan(a)),
    );
  }

  #index(node: CallNode): Plan {
    const [operand, index] = [node.args[0]!, node.args[1]!];
    const base = this.plan(operand);
    const key = this.plan(index);
    const optional = node.fn === op.optIndex;
    const strict = this.scope.features.strictPresence;
    const step = { optional, test: false, declared: false, strict, convert: conversionOf(innerType(node.type!)) };
    if (key.constant !== undefined) return this.#step(base, { ...step, key: key.constant.value });
    const compute = key.attribute === undefined ? key.eval : compileAttribute(key.attribute, false);
    return this.#step(base, { ...step, key: undefined, compute });
  }

  #conditional(node: CallNode): Plan {
    const [condition, yes, no] = node.args.map((a) => this.plan(a)) as [Plan, Plan, Plan];
    return this.#attribute({ base: 'conditional', condition: condition.eval, yes, no, steps: [] });
  }

  #logical(node: CallNode): Eval {
    const terms = node.args.map((a) => this.plan(a).eval);
    const decisive = node.fn === op.or;
    const all = (terms: readonly Eval[]): Eval => {
      if (terms.length === 2) return decisive ? or(terms[0]!, terms[1]!) : and(terms[0]!, terms[1]!);
      const middle = terms.length >> 1;
      if (terms.length === 1) return terms[0]!;
      const [left, right] = [all(terms.slice(0, middle)), all(terms.slice(middle))];
      return decisive ? or(left, right) : and(left, right);
    };
    return all(terms);
  }

  /** `or` and `orValue` evaluate their argument only when there is nothing on the left. */
  #optionalOr(node: CallNode): Eval {
    const left = this.plan(node.target!).eval;
    const right = this.plan(node.args[0]!).eval;
    const unwrap = node.fn === 'orValue';
    return (f) => {
      const v = left(f);
      if (!(v instanceof Optional)) return noSuchOverload();
      if (v.present) return unwrap ? v.value : v;
      return right(f);
    };
  }

  #list(node: ListNode): Plan {
    const plans = node.elements.map((e) => this.plan(e));
    const elements = plans.map((p) => p.eval);
    const { optional } = node;
    const collect: Eval = (f) => {
      const out: unknown[] = [];
      for (let i = 0; i < elements.length; i++) {
        const v = elements[i]!(f);
        if (!optional.has(i)) out.push(v);
        else if (!(v instanceof Optional)) {
          fail(`cannot initialize optional list element from non-optional value ${printValue(v)}`);
        } else if (v.present) out.push(v.value);
      }
      return out;
    };
    if (plans.every((p) => p.constant !== undefined)) {
      const constants = plans.map((p) => p.constant!.value);
      if (optional.size === 0) return constantPlan(constants);
    }
    const build: Eval = optional.size > 0 ? collect : (f) => elements.map((e) => e(f));
    return {
      eval: (f) => {
        charge(f, listCost);
        return build(f);
      },
    };
  }

  #map(node: MapNode): Plan {
    const entries = node.entries.map((e) => ({
      key: this.plan(e.key),
      value: this.plan(e.value),
      optional: e.optional,
    }));
    const build: Eval = (f) => {
      const values = new Map<KeyIndex, unknown>();
      let keys: Map<KeyIndex, unknown> | undefined;
      for (const e of entries) {
        const key = e.key.eval(f);
        let value = e.value.eval(f);
        const index = mapKeyIndex(key);
        if (e.optional) {
          if (!(value instanceof Optional)) {
            return fail(
              `cannot initialize optional entry '${printValue(key)}' from non-optional value ${printValue(value)}`,
            );
          }
          if (!value.present) {
            values.delete(index);
            continue;
          }
          value = value.value;
        }
        // The last one of several stands, as in cel-go.
        values.set(index, value);
        if (key instanceof Uint) (keys ??= new Map()).set(index, key);
      }
      return new CelMap(values, keys);
    };
    if (entries.every((e) => e.key.constant !== undefined && e.value.constant !== undefined && !e.optional)) {
      try {
        return constantPlan(build(undefined as never));
      } catch (error) {
        const failure = absorbable(error);
        return {
          eval: () => {
            throw failure as unknown as Error;
          },
        };
      }
    }
    return {
      eval: (f) => {
        charge(f, mapCost);
        return build(f);
      },
    };
  }

  #struct(node: StructNode): Plan {
    const type = node.type!;
    const { scope } = this;
    const entries = node.entries.map((e) => ({ ...e, eval: this.plan(e.value).eval }));
    return {
      eval: (f) => {
        charge(f, structCost);
        const fields = new Map<string, unknown>();
        for (const e of entries) {
          let value = e.eval(f);
          if (e.optional) {
            if (!(value instanceof Optional)) {
              return fail(`cannot initialize optional entry '${e.field}' from non-optional value ${printValue(value)}`);
            }
            if (!value.present) continue;
            value = value.value;
          }
          fields.set(e.field, value);
        }
        return scope.construct(type, fields);
      },
    };
  }
}

/** False wins over failures; the first failure wins over true. */
function and(left: Eval, right: Eval): Eval {
  return (f) => {
    let a: unknown;
    try {
      a = left(f);
    } catch (error) {
      const failure = absorbable(error);
      return otherwise(failure, f, right, false);
    }
    if (a === false) return false;
    if (a !== true) return otherwise(new Failure('no such overload'), f, right, false);
    const b = right(f);
    return typeof b === 'boolean' ? b : noSuchOverload();
  };
}

function or(left: Eval, right: Eval): Eval {
  return (f) => {
    let a: unknown;
    try {
      a = left(f);
    } catch (error) {
      const failure = absorbable(error);
      return otherwise(failure, f, right, true);
    }
    if (a === true) return true;
    if (a !== false) return otherwise(new Failure('no such overload'), f, right, true);
    const b = right(f);
    return typeof b === 'boolean' ? b : noSuchOverload();
  };
}

/** The right side after a failure on the left: only its decisive value makes the failure undone. */
function otherwise(failure: Failure, f: Parameters<Eval>[0], right: Eval, decisive: boolean): boolean {
  let b: unknown;
  try {
    b = right(f);
  } catch (error) {
    absorbable(error);
  }
  if (b === decisive) return decisive;
  throw failure as unknown as Error;
}
