/** Macros over lists and maps, compiled to loops. The costs are those of the expressions that the macros stand for. */
import type { ComprehensionNode, Node } from './ast.ts';
import { conversionOf } from './convert.ts';
import { listCost } from './costs.ts';
import { CostExceeded, Failure, absorbable, fail, noSuchOverload } from './errors.ts';
import type { Eval, Frame } from './frame.ts';
import type { Planner } from './plan.ts';
import { mapKeyIndex } from './planned.ts';
import { printValue } from './print.ts';
import type { KeyIndex } from './values.ts';
import { CelMap, Uint, isMap, mapGet, mapKeys, typeOf } from './values.ts';

/** Runs the loop; `body` returns true to end it. */
type Loop = (f: Frame, body: (more: boolean) => boolean) => void;

export function compileComprehension(planner: Planner, node: ComprehensionNode): Eval {
  if (node.macro.name === 'bind') return bind(planner, node);
  const range = planner.plan(node.range).eval;
  const first = planner.newSlot();
  const second = node.iterVar2 === '' ? -1 : planner.newSlot();
  const within = <T>(what: () => T): T =>
    planner.withLocal(node.iterVar, first, undefined, () =>
      second < 0 ? what() : planner.withLocal(node.iterVar2, second, undefined, what),
    );
  const { macro } = node;
  const filter = macro.filter === undefined ? undefined : within(() => planner.plan(macro.filter!).eval);
  const body = within(() => planner.plan(macro.body));
  const loop = loopOver(range, node, first, second);
  switch (macro.name) {
    case 'all':
      return quantifier(loop, body.eval, false, 3, 2);
    case 'exists':
      return quantifier(loop, body.eval, true, 4, 3);
    case 'existsOne':
      return existsOne(loop, body.eval);
    case 'list':
      // `@result + [element]`: the sum, the variable, and the list unless it is constant.
      return intoList(loop, body.eval, filter, body.constant === undefined ? 2 + listCost : 2);
    case 'map': {
      const key: Node = { kind: 'ident', name: node.iterVar, at: node.at };
      return intoMap(
        loop,
        within(() => planner.plan(key).eval),
        body.eval,
        filter,
      );
    }
    default:
      return intoMap(loop, undefined, body.eval, filter);
  }
}

/** The value is computed when it is first used. */
function bind(planner: Planner, node: ComprehensionNode): Eval {
  const init = planner.plan(node.init).eval;
  const slot = planner.newSlot();
  const load: Eval = (f) => {
    let v = f.slots[slot];
    if (v === undefined) {
      try {
        v = init(f);
      } catch (error) {
        v = absorbable(error);
      }
      f.slots[slot] = v;
    }
    if (v instanceof Failure) throw v as unknown as Error;
    return v;
  };
  const body = planner.withLocal(node.accuVar, slot, load, () => planner.plan(node.result).eval);
  return (f) => {
    f.slots[slot] = undefined;
    return body(f);
  };
}

function loopOver(range: Eval, node: ComprehensionNode, first: number, second: number): Loop {
  const type = node.range.type!;
  const element = type.kind === 'list' ? conversionOf(type.params[0]!) : undefined;
  const value = type.kind === 'map' ? conversionOf(type.params[1]!) : undefined;
  return (f, body) => {
    const r = range(f);
    const { slots } = f;
    if (Array.isArray(r)) {
      const size = r.length;
      for (let i = 0; i < size; i++) {
        const item: unknown = element === undefined ? r[i] : element(r[i]);
        if (second < 0) slots[first] = item;
        else {
          slots[first] = i;
          slots[second] = item;
        }
        if (body(i + 1 < size)) return;
        if (f.cost > f.limit) throw new CostExceeded();
      }
      return;
    }
    if (!isMap(r)) fail(`got '${typeOf(r).name}', expected iterable type`);
    const keys = mapKeys(r);
    for (let i = 0; i < keys.length; i++) {
      slots[first] = keys[i];
      if (second >= 0) {
        const item = mapGet(r, keys[i]);
        slots[second] = value === undefined ? item : value(item);
      }
      if (body(i + 1 < keys.length)) return;
      if (f.cost > f.limit) throw new CostExceeded();
    }
  };
}

/** `all` (decided by false) and `exists` (decided by true): failures of one element are forgotten when another decides. */
function quantifier(loop: Loop, predicate: Eval, decisive: boolean, perStep: number, perCheck: number): Eval {
  return (f) => {
    let failure: Failure | undefined;
    let decided = false;
    loop(f, (more) => {
      f.cost += perStep;
      try {
        const v = predicate(f);
        if (v === decisive) decided = true;
        else if (typeof v !== 'boolean') noSuchOverload();
      } catch (error) {
        failure ??= absorbable(error);
      }
      if (decided && more) f.cost += perCheck;
      return decided;
    });
    f.cost++;
    if (decided) return decisive;
    if (failure !== undefined) throw failure as unknown as Error;
    return !decisive;
  };
}

function existsOne(loop: Loop, predicate: Eval): Eval {
  return (f) => {
    let count = 0;
    loop(f, () => {
      const v = predicate(f);
      if (v === true) {
        f.cost += 2;
        count++;
      } else if (v !== false) noSuchOverload();
      return false;
    });
    f.cost += 2;
    return count === 1;
  };
}

function intoList(loop: Loop, element: Eval, filter: Eval | undefined, perElement: number): Eval {
  return (f) => {
    const out: unknown[] = [];
    loop(f, () => {
      if (filter !== undefined) {
        const keep = filter(f);
        if (keep === false) return false;
        if (keep !== true) noSuchOverload();
      }
      f.cost += perElement;
      out.push(element(f));
      return false;
    });
    f.cost++;
    return out;
  };
}

function intoMap(loop: Loop, key: Eval | undefined, value: Eval, filter: Eval | undefined): Eval {
  return (f) => {
    const values = new Map<KeyIndex, unknown>();
    let keys: Map<KeyIndex, unknown> | undefined;
    const insert = (k: unknown, v: unknown): void => {
      const index = mapKeyIndex(k);
      if (values.has(index)) fail(`insert failed: key ${printValue(k)} already exists`);
      values.set(index, v);
      if (k instanceof Uint) (keys ??= new Map()).set(index, k);
    };
    loop(f, () => {
      if (filter !== undefined) {
        const keep = filter(f);
        if (keep === false) return false;
        if (keep !== true) noSuchOverload();
      }
      f.cost += 2;
      if (key === undefined) {
        const entry = value(f);
        if (!isMap(entry)) noSuchOverload();
        for (const k of mapKeys(entry)) insert(k, mapGet(entry, k));
      } else {
        const k = key(f);
        insert(k, value(f));
      }
      return false;
    });
    f.cost++;
    return new CelMap(values, keys);
  };
}
