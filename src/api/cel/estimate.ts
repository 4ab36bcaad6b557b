/**
 * How much an expression can cost at worst, from the sizes that schemas bound: what decides whether a CRD's rule is accepted. The
 * model is upstream's to the unit, quirks included, because it is part of the API.
 */
import type { CallNode, ComprehensionNode, Node } from './ast.ts';
import { accumulator } from './ast.ts';
import type { Range } from './estimate-range.ts';
import { add, costFactor, fixed, multiply, union, unknown, zero, maxUint64 } from './estimate-range.ts';
import { functionEstimate } from './estimate-functions.ts';
import { listCost, mapCost, structCost, traversalFactor, regexFactor } from './costs.ts';
import type { CelType } from './types.ts';
import { stringSize } from './values.ts';

/** The size of the entries of a list or map that an expression makes. */
interface EntrySize {
  readonly kind: 'list' | 'map';
  readonly key: Range;
  readonly value: Range;
}

interface Local {
  readonly path: readonly string[];
  readonly size: Range | undefined;
  readonly entry: EntrySize | undefined;
}

/** A part of the expression, as cost functions look at it. */
export interface Estimated {
  readonly node: Node | undefined;
  readonly type: CelType;
  /** Where its value comes from: a variable, then members, `@items`, `@values`; empty when that cannot be told. */
  readonly path: readonly string[];
  readonly size: Range | undefined;
}

export interface CallEstimate {
  readonly cost: Range;
  readonly size?: Range;
}

/** Estimates the cost of a checked expression. `root` is the type of its variables. */
export function estimateCost(tree: Node, root: CelType | undefined): Range {
  return new Estimator(root).cost(tree);
}

export class Estimator {
  readonly #root: CelType | undefined;
  readonly #paths = new Map<Node, readonly string[]>();
  readonly #sizes = new Map<Node, Range>();
  readonly #entries = new Map<Node, EntrySize>();
  readonly #locals = new Map<string, Local[]>();

  constructor(root: CelType | undefined) {
    this.#root = root;
  }

  cost(node: Node): Range {
    switch (node.kind) {
      case 'const':
      case 'error':
        return zero;
      case 'ident':
        return this.#ident(node, node.name);
      case 'select':
        return this.#select(node);
      case 'call':
        return this.#call(node);
      case 'list': {
        let size: Range = { min: node.elements.length === 0 ? 0 : maxUint64, max: 0 };
        let sum = zero;
        for (const e of node.elements) {
          sum = add(sum, this.cost(e));
          size = union(size, this.#sizeOrUnknown(e));
        }
        this.#entries.set(node, { kind: 'list', key: fixed(1), value: size });
        return add(sum, fixed(listCost));
      }
      case 'map': {
        const start: Range = { min: node.entries.length === 0 ? 0 : maxUint64, max: 0 };
        let [key, value, sum] = [start, start, zero];
        for (const e of node.entries) {
          sum = add(add(sum, this.cost(e.key)), this.cost(e.value));
          key = union(key, this.#sizeOrUnknown(e.key));
          value = union(value, this.#sizeOrUnknown(e.value));
        }
        this.#entries.set(node, { kind: 'map', key, value });
        return add(sum, fixed(mapCost));
      }
      case 'struct': {
        const sum = node.entries.reduce((s, e) => add(s, this.cost(e.value)), zero);
        return add(sum, fixed(structCost));
      }
      case 'comprehension':
        return node.macro.name === 'bind' ? this.#bind(node) : this.#comprehension(node);
    }
  }

  /** The size of what a schema describes at `path`; undefined when it describes nothing there. */
  schemaSize(path: readonly string[]): Range | undefined {
    let type = this.#root;
    if (type === undefined || path.length === 0) return undefined;
    for (const step of path.slice(1)) {
      const next: CelType | undefined =
        step === '@items' || step === '@values'
          ? type.kind === 'list' || type.kind === 'map'
            ? type.params.at(-1)
            : undefined
          : step === '@keys'
            ? type.kind === 'map'
              ? type.params[0]
              : undefined
            : memberType(type, step);
      if (next === undefined) return undefined;
      type = next;
    }
    return { min: 0, max: type.facts?.maxElements ?? 0 };
  }

  #local(name: string): Local | undefined {
    return this.#locals.get(name)?.at(-1);
  }

  #push(name: string, local: Local): void {
    const stack = this.#locals.get(name);
    if (stack === undefined) this.#locals.set(name, [local]);
    else stack.push(local);
  }

  #pop(name: string): void {
    this.#locals.get(name)?.pop();
  }

  #path(node: Node): readonly string[] {
    if (node.kind === 'ident') {
      const local = this.#local(node.name);
      if (local !== undefined) return local.path;
    }
    return this.#paths.get(node) ?? [];
  }

  #ident(node: Node, name: string): Range {
    this.#paths.set(node, this.#local(name)?.path ?? [name]);
    return fixed(1);
  }

  #select(node: Node & { kind: 'select' }): Range {
    if (node.qualified !== undefined) return this.#ident(node, node.qualified.name);
    const operand = this.cost(node.operand);
    // Asking for presence is free.
    if (node.test) return operand;
    const { kind } = node.operand.type!;
    this.#paths.set(node, [...this.#path(node.operand), node.field]);
    return kind === 'map' || kind === 'struct' || kind === 'typeParam' ? add(operand, fixed(1)) : operand;
  }

  #estimated(node: Node): Estimated {
    const path = this.#path(node);
    const hidden = path[0] === accumulator || path[0] === '__result__';
    return { node, type: node.type!, path: hidden ? [] : path, size: this.#size(node) };
  }

  #sizeOrUnknown(node: Node): Range {
    return this.#size(node) ?? unknown;
  }

  #size(node: Node): Range | undefined {
    const computed = this.#sizes.get(node);
    if (computed !== undefined) return computed;
    const literal = literalSize(node);
    if (literal !== undefined) return literal;
    const fromSchema = this.schemaSize(this.#path(node));
    if (fromSchema !== undefined) {
      this.#sizes.set(node, fromSchema);
      return fromSchema;
    }
    if (isScalar(node.type!)) return fixed(1);
    return node.kind === 'ident' ? this.#local(node.name)?.size : undefined;
  }

  #entrySize(node: Node): EntrySize | undefined {
    return this.#entries.get(node) ?? (node.kind === 'ident' ? this.#local(node.name)?.entry : undefined);
  }

  #setSize(node: Node, size: Range | undefined): void {
    if (size !== undefined) this.#sizes.set(node, size);
  }

  #setEntry(node: Node, entry: EntrySize | undefined): void {
    if (entry !== undefined) this.#entries.set(node, entry);
  }

  #bind(node: ComprehensionNode): Range {
    let sum = add(this.cost(node.range), this.cost(node.init));
    const path = this.#path(node.init);
    this.#push(node.accuVar, { path, size: this.#size(node.init), entry: this.#entrySize(node.init) });
    sum = add(sum, this.cost(node.result));
    this.#pop(node.accuVar);
    this.#setSize(node, this.#size(node.result));
    this.#setEntry(node, this.#entrySize(node.result));
    return sum;
  }

  #comprehension(node: ComprehensionNode): Range {
    let sum = add(this.cost(node.range), this.cost(node.init));
    const accu = { path: this.#path(node.init), size: this.#size(node.init), entry: this.#entrySize(node.init) };
    this.#push(node.accuVar, accu);
    const entry = this.#entrySize(node.range);
    const isList = (entry?.kind ?? node.range.type!.kind) === 'list';
    const path = this.#path(node.range);
    const iterate = (name: string, step: string, size: Range | undefined): void =>
      this.#push(name, { path: [...path, step], size, entry: undefined });
    if (node.iterVar2 === '') {
      iterate(node.iterVar, isList ? '@items' : '@keys', isList ? entry?.value : entry?.key);
    } else {
      iterate(node.iterVar, isList ? '@indices' : '@keys', entry?.key);
      iterate(node.iterVar2, isList ? '@items' : '@values', entry?.value);
    }
    const condition = this.cost(node.condition);
    const step = this.cost(node.step);
    this.#pop(node.iterVar);
    if (node.iterVar2 !== '') this.#pop(node.iterVar2);
    sum = add(sum, this.cost(node.result));
    this.#pop(node.accuVar);
    const count = this.#sizeOrUnknown(node.range);
    sum = add(sum, multiply(count, add(step, condition)));
    if (node.init.kind === 'const') this.#setSize(node, this.#size(node.init));
    else {
      this.#setSize(node, count);
      this.#setEntry(node, this.#entrySize(node.step));
    }
    return sum;
  }

  #call(node: CallNode): Range {
    if (node.fn === 'dyn') {
      const arg = node.args[0]!;
      const cost = this.cost(arg);
      this.#setSize(node, this.#size(arg));
      this.#setEntry(node, this.#entrySize(arg));
      return add(fixed(1), cost);
    }
    const costs = node.args.map((a) => this.cost(a));
    const args = node.args.map((a) => this.#estimated(a));
    const overloads = node.overloads ?? [];
    if (overloads.length === 0) return zero;
    let sum = zero;
    let target: Estimated | undefined;
    if (node.target !== undefined) {
      sum = this.cost(node.target);
      target = this.#estimated(node.target);
    }
    let cost: Range = { min: maxUint64, max: 0 };
    let size: Range | undefined;
    for (const overload of overloads) {
      const one = this.#function(node, overload, target, args, costs);
      cost = union(cost, one.cost);
      if (one.size !== undefined) size = size === undefined ? one.size : union(size, one.size);
      const [container] = node.args;
      if (container !== undefined && (overload === 'index_list' || overload === 'index_map')) {
        size = this.#entrySize(container)?.value;
        this.#paths.set(node, [...this.#path(container), overload === 'index_list' ? '@items' : '@values']);
      }
      size ??= this.#size(node);
    }
    this.#setSize(node, size);
    return add(sum, cost);
  }

  #function(
    node: CallNode,
    overload: string,
    target: Estimated | undefined,
    args: readonly Estimated[],
    costs: readonly Range[],
  ): CallEstimate {
    const argCost = costs.reduce(add, zero);
    const library = functionEstimate(this, node.fn, overload, target, args);
    if (library !== undefined) return { cost: add(library.cost, argCost), size: library.size };
    const sizeOf = (e: Estimated | undefined): Range => e?.size ?? unknown;
    const plus = (cost: Range, size?: Range): CallEstimate => ({ cost: add(cost, argCost), size });
    const [first, second] = args;
    switch (overload) {
      case 'string_format':
        if (target !== undefined) return plus(costFactor(sizeOf(target), traversalFactor));
        break;
      case 'string_to_bytes': {
        const size = sizeOf(first);
        return plus(costFactor(size, traversalFactor), { min: size.min, max: Math.min(size.max * 4, maxUint64) });
      }
      case 'bytes_to_string': {
        const size = sizeOf(first);
        return plus(costFactor(size, traversalFactor), { min: Math.trunc(size.min / 4), max: size.max });
      }
      case 'strings_quote': {
        const size = sizeOf(first);
        return plus(costFactor(size, traversalFactor), {
          min: size.min + 2,
          // Of a size that is not known upstream's sum begins again at nothing.
          max: size.max >= maxUint64 ? 0 : Math.min(size.max * 2 + 2, maxUint64),
        });
      }
      case 'starts_with_string':
      case 'ends_with_string':
        return plus(costFactor(sizeOf(first), traversalFactor));
      case 'in_list':
        return plus(costFactor(sizeOf(second), 1));
      case 'matches_string':
        if (target !== undefined) {
          const text = costFactor(add(sizeOf(target), fixed(1)), traversalFactor);
          return plus(multiply(text, costFactor(sizeOf(first), regexFactor)));
        }
        break;
      case 'contains_string':
        if (target !== undefined) {
          const text = costFactor(sizeOf(target), traversalFactor);
          return plus(multiply(text, costFactor(sizeOf(first), traversalFactor)));
        }
        break;
      case 'logical_or':
      case 'logical_and':
        return { cost: { min: costs[0]!.min, max: argCost.max } };
      case 'conditional':
        return this.#conditional(node, args, costs);
      case 'add_string':
      case 'add_bytes':
      case 'add_list': {
        const size = add(sizeOf(first), sizeOf(second));
        this.#setEntry(node, unionEntries(this.#entrySize(node.args[0]!), this.#entrySize(node.args[1]!)));
        return plus(overload === 'add_list' ? fixed(1) : costFactor(size, traversalFactor), size);
      }
    }
    if (/^(?:(?:less|greater)(?:_equals)?_(?:string|bytes)|equals|not_equals)$/.test(overload)) {
      const max = Math.min(sizeOf(first).max, sizeOf(second).max);
      return plus(costFactor({ min: max > 0 ? 1 : 0, max }, traversalFactor));
    }
    return plus(fixed(1));
  }

  #conditional(node: CallNode, args: readonly Estimated[], costs: readonly Range[]): CallEstimate {
    const size = union(args[1]?.size ?? unknown, args[2]?.size ?? unknown);
    this.#setEntry(node, unionEntries(this.#entrySize(node.args[1]!), this.#entrySize(node.args[2]!)));
    return { cost: add(costs[0]!, union(costs[1]!, costs[2]!)), size };
  }
}

/** By its escaped name alone: upstream does not find plainly written reserved words here. */
function memberType(type: CelType, name: string): CelType | undefined {
  const field = type.fields?.(name);
  return field?.name === name ? field.type : undefined;
}

function unionEntries(a: EntrySize | undefined, b: EntrySize | undefined): EntrySize | undefined {
  if (a === undefined || b === undefined) return undefined;
  return { kind: a.kind, key: union(a.key, b.key), value: union(a.value, b.value) };
}

function literalSize(node: Node): Range | undefined {
  switch (node.kind) {
    case 'const':
      if (typeof node.value === 'string') return fixed(stringSize(node.value));
      return fixed(node.value instanceof Uint8Array ? node.value.length : 1);
    case 'list':
      return fixed(node.elements.length);
    case 'map':
      return fixed(node.entries.length);
  }
  return undefined;
}

const scalars = new Set(['bool', 'double', 'duration', 'int', 'timestamp', 'uint']);

function isScalar(type: CelType): boolean {
  if (type.kind === 'opaque' && type.name === 'optional_type') return isScalar(type.params[0]!);
  return scalars.has(type.kind);
}
