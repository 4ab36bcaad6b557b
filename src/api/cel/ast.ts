/**
 * The syntax tree. The parser makes it, with macros already expanded; the checker writes types and resolved overloads into its
 * nodes; the cost estimate and the closure compiler read it.
 */
import type { CelType } from './types.ts';

interface NodeBase {
  /** UTF-16 offset in the source, where errors about this node point to. */
  readonly at: number;
  /** Set by the checker. */
  type?: CelType;
}

export interface ConstNode extends NodeBase {
  readonly kind: 'const';
  readonly value: unknown;
  readonly literal: 'bool' | 'bytes' | 'double' | 'int' | 'null' | 'string' | 'uint';
}

export interface IdentNode extends NodeBase {
  readonly kind: 'ident';
  name: string;
  /** A constant or type name it stands for, set by the checker. */
  constant?: { readonly value: unknown };
}

export interface SelectNode extends NodeBase {
  readonly kind: 'select';
  readonly operand: Node;
  readonly field: string;
  /** `has(operand.field)` */
  readonly test: boolean;
  /** Set by the checker when the whole chain is one qualified name. */
  qualified?: IdentNode;
}

export interface CallNode extends NodeBase {
  readonly kind: 'call';
  fn: string;
  target: Node | undefined;
  readonly args: readonly Node[];
  /** Set by the checker. */
  overloads?: readonly string[];
}

export interface ListNode extends NodeBase {
  readonly kind: 'list';
  readonly elements: readonly Node[];
  /** Indices of `[?element]`. */
  readonly optional: ReadonlySet<number>;
}

export interface MapEntry {
  readonly at: number;
  readonly key: Node;
  readonly value: Node;
  readonly optional: boolean;
}

export interface MapNode extends NodeBase {
  readonly kind: 'map';
  readonly entries: readonly MapEntry[];
}

export interface StructEntry {
  readonly at: number;
  readonly field: string;
  readonly value: Node;
  readonly optional: boolean;
}

export interface StructNode extends NodeBase {
  readonly kind: 'struct';
  name: string;
  readonly entries: readonly StructEntry[];
}

/** Which macro made a comprehension, with its parts, so that it compiles to a plain loop. */
export interface MacroShape {
  readonly name: 'all' | 'exists' | 'existsOne' | 'list' | 'map' | 'mapEntry' | 'bind';
  readonly filter?: Node;
  /** The predicate, or what is put into the result. */
  readonly body: Node;
}

export interface ComprehensionNode extends NodeBase {
  readonly kind: 'comprehension';
  readonly range: Node;
  readonly iterVar: string;
  /** Empty in one-variable macros. */
  readonly iterVar2: string;
  readonly accuVar: string;
  readonly init: Node;
  readonly condition: Node;
  readonly step: Node;
  readonly result: Node;
  readonly macro: MacroShape;
}

/** Where a syntax error was: the tree is not used further. */
export interface ErrorNode extends NodeBase {
  readonly kind: 'error';
}

export type Node =
  | ConstNode
  | IdentNode
  | SelectNode
  | CallNode
  | ListNode
  | MapNode
  | StructNode
  | ComprehensionNode
  | ErrorNode;

/** The operators as functions, by the names upstream gives them (error messages print these). */
export const op = {
  conditional: '_?_:_',
  and: '_&&_',
  or: '_||_',
  not: '!_',
  equals: '_==_',
  notEquals: '_!=_',
  less: '_<_',
  lessEquals: '_<=_',
  greater: '_>_',
  greaterEquals: '_>=_',
  add: '_+_',
  subtract: '_-_',
  multiply: '_*_',
  divide: '_/_',
  modulo: '_%_',
  negate: '-_',
  index: '_[_]',
  optIndex: '_[?_]',
  optSelect: '_?._',
  in: '@in',
  notStrictlyFalse: '@not_strictly_false',
} as const;

/** The accumulator of macros; cannot be written in source. */
export const accumulator = '@result';
/** Its former name, which iteration variables still must not take. */
export const oldAccumulator = '__result__';
export const unusedVariable = '#unused';

/** `a.b.c` as one name, if the node is a chain of names. */
export function qualifiedName(node: Node): string | undefined {
  if (node.kind === 'ident') return node.name;
  if (node.kind === 'select' && !node.test) {
    const prefix = qualifiedName(node.operand);
    return prefix === undefined ? undefined : `${prefix}.${node.field}`;
  }
  return undefined;
}

/** Calls `visit` for a node and all below it, parents first. */
export function walk(
  node: Node,
  visit: (node: Node, ancestors: readonly Node[]) => void,
  ancestors: Node[] = [],
): void {
  visit(node, ancestors);
  ancestors.push(node);
  switch (node.kind) {
    case 'select':
      walk(node.operand, visit, ancestors);
      break;
    case 'call':
      if (node.target !== undefined) walk(node.target, visit, ancestors);
      for (const a of node.args) walk(a, visit, ancestors);
      break;
    case 'list':
      for (const e of node.elements) walk(e, visit, ancestors);
      break;
    case 'map':
      for (const e of node.entries) {
        walk(e.key, visit, ancestors);
        walk(e.value, visit, ancestors);
      }
      break;
    case 'struct':
      for (const e of node.entries) walk(e.value, visit, ancestors);
      break;
    case 'comprehension':
      for (const n of [node.range, node.init, node.condition, node.step, node.result]) walk(n, visit, ancestors);
      break;
  }
  ancestors.pop();
}
