/** Macros: calls that the parser turns into presence tests and comprehensions. */
import type { CallNode, ComprehensionNode, ConstNode, IdentNode, ListNode, MacroShape, MapNode, Node } from './ast.ts';
import { accumulator, oldAccumulator, op, qualifiedName, unusedVariable } from './ast.ts';

/** Makes the tree of a macro call; undefined when it is an ordinary call after all. Throws `MacroError`. */
export type Macro = (at: number, target: Node | undefined, args: readonly Node[]) => Node | undefined;

export class MacroError extends Error {
  readonly at: number;

  constructor(at: number, message: string) {
    super(message);
    this.at = at;
  }
}

const call = (at: number, fn: string, ...args: Node[]): CallNode => ({ kind: 'call', fn, target: undefined, args, at });
const member = (at: number, fn: string, target: Node, ...args: Node[]): CallNode => ({
  kind: 'call',
  fn,
  target,
  args,
  at,
});
const ident = (at: number, name: string): IdentNode => ({ kind: 'ident', name, at });
const list = (at: number, ...elements: Node[]): ListNode => ({ kind: 'list', elements, optional: new Set(), at });
const emptyMap = (at: number): MapNode => ({ kind: 'map', entries: [], at });
const bool = (at: number, value: boolean): ConstNode => ({ kind: 'const', literal: 'bool', value, at });
const int = (at: number, value: number): ConstNode => ({ kind: 'const', literal: 'int', value, at });

function variable(node: Node, otherwise: string): string {
  if (node.kind !== 'ident') throw new MacroError(node.at, otherwise);
  if (node.name === accumulator || node.name === oldAccumulator) {
    throw new MacroError(node.at, 'iteration variable overwrites accumulator variable');
  }
  return node.name;
}

const has: Macro = (at, _target, args) => {
  const arg = args[0]!;
  if (arg.kind !== 'select') throw new MacroError(arg.at, 'invalid argument to has() macro');
  return { kind: 'select', operand: arg.operand, field: arg.field, test: true, at };
};

type Quantifier = 'all' | 'exists' | 'existsOne';

function quantifier(
  kind: Quantifier,
  at: number,
  range: Node,
  variables: readonly [string, string],
  predicate: Node,
): ComprehensionNode {
  const accu = (): IdentNode => ident(at, accumulator);
  const base = {
    kind: 'comprehension' as const,
    at,
    range,
    iterVar: variables[0],
    iterVar2: variables[1],
    accuVar: accumulator,
    macro: { name: kind, body: predicate } satisfies MacroShape,
  };
  switch (kind) {
    case 'all':
      return {
        ...base,
        init: bool(at, true),
        condition: call(at, op.notStrictlyFalse, accu()),
        step: call(at, op.and, accu(), predicate),
        result: accu(),
      };
    case 'exists':
      return {
        ...base,
        init: bool(at, false),
        condition: call(at, op.notStrictlyFalse, call(at, op.not, accu())),
        step: call(at, op.or, accu(), predicate),
        result: accu(),
      };
    case 'existsOne':
      return {
        ...base,
        init: int(at, 0),
        condition: bool(at, true),
        step: call(at, op.conditional, predicate, call(at, op.add, accu(), int(at, 1)), accu()),
        result: call(at, op.equals, accu(), int(at, 1)),
      };
  }
}

/** A comprehension that collects into a list or map. */
function collect(
  at: number,
  range: Node,
  variables: readonly [string, string],
  macro: MacroShape,
  init: Node,
  step: Node,
): ComprehensionNode {
  const accu = (): IdentNode => ident(at, accumulator);
  return {
    kind: 'comprehension',
    at,
    range,
    iterVar: variables[0],
    iterVar2: variables[1],
    accuVar: accumulator,
    init,
    condition: bool(at, true),
    step: macro.filter === undefined ? step : call(at, op.conditional, macro.filter, step, accu()),
    result: accu(),
    macro,
  };
}

const intoList = (at: number, range: Node, variables: readonly [string, string], body: Node, filter?: Node): Node =>
  collect(
    at,
    range,
    variables,
    { name: 'list', body, filter },
    list(at),
    call(at, op.add, ident(at, accumulator), list(at, body)),
  );

const oneVariable =
  (kind: Quantifier): Macro =>
  (at, target, args) =>
    quantifier(kind, at, target!, [variable(args[0]!, 'argument must be a simple name'), ''], args[1]!);

const notIdentifier = 'argument is not an identifier';

const map: Macro = (at, target, args) =>
  args.length === 3
    ? intoList(at, target!, [variable(args[0]!, notIdentifier), ''], args[2]!, args[1]!)
    : intoList(at, target!, [variable(args[0]!, notIdentifier), ''], args[1]!);

const filter: Macro = (at, target, args) =>
  intoList(at, target!, [variable(args[0]!, notIdentifier), ''], args[0]!, args[1]!);

function twoVariables(args: readonly Node[]): readonly [string, string] {
  const name = (node: Node): string => {
    if (node.kind !== 'ident') throw new MacroError(node.at, 'argument must be a simple name');
    return node.name;
  };
  const first = name(args[0]!);
  const second = name(args[1]!);
  if (first === second) throw new MacroError(args[1]!.at, `duplicate variable name: ${first}`);
  variable(args[0]!, '');
  variable(args[1]!, '');
  return [first, second];
}

const twoVariableQuantifier =
  (kind: Quantifier): Macro =>
  (at, target, args) =>
    quantifier(kind, at, target!, twoVariables(args), args[2]!);

const transformList: Macro = (at, target, args) => {
  const variables = twoVariables(args);
  return args.length === 4
    ? intoList(at, target!, variables, args[3]!, args[2]!)
    : intoList(at, target!, variables, args[2]!);
};

export const mapInsert = 'cel.@mapInsert';

const transformMap =
  (entry: boolean): Macro =>
  (at, target, args) => {
    const variables = twoVariables(args);
    const body = args[args.length - 1]!;
    const filter = args.length === 4 ? args[2]! : undefined;
    const accu = ident(at, accumulator);
    const step = entry ? call(at, mapInsert, accu, body) : call(at, mapInsert, accu, ident(at, variables[0]), body);
    return collect(at, target!, variables, { name: entry ? 'mapEntry' : 'map', body, filter }, emptyMap(at), step);
  };

/** `name` stands for the value of `init` in `body`; evaluated when first used. */
export const bindNode = (at: number, name: string, init: Node, body: Node): ComprehensionNode => ({
  kind: 'comprehension',
  at,
  range: list(at),
  iterVar: unusedVariable,
  iterVar2: '',
  accuVar: name,
  init,
  condition: bool(at, false),
  step: ident(at, name),
  result: body,
  macro: { name: 'bind', body },
});

const bind: Macro = (at, target, args) => {
  if (target === undefined || qualifiedName(target) !== 'cel') return undefined;
  const name = args[0]!;
  if (name.kind !== 'ident') throw new MacroError(name.at, 'cel.bind() variable names must be simple identifiers');
  return bindNode(at, name.name, args[1]!, args[2]!);
};

const optMap =
  (fn: 'optMap' | 'optFlatMap'): Macro =>
  (at, target, args) => {
    const name = args[0]!;
    if (name.kind !== 'ident') throw new MacroError(name.at, `${fn}() variable name must be a simple identifier`);
    const bound = bindNode(at, name.name, member(at, 'value', copy(target!)), args[1]!);
    return call(
      at,
      op.conditional,
      member(at, 'hasValue', target!),
      fn === 'optMap' ? call(at, 'optional.of', bound) : bound,
      call(at, 'optional.none'),
    );
  };

/** A copy of a tree that is used twice: the checker writes into its nodes. */
function copy(node: Node): Node {
  switch (node.kind) {
    case 'const':
    case 'ident':
    case 'error':
      return { ...node };
    case 'select':
      return { ...node, operand: copy(node.operand) };
    case 'call':
      return { ...node, target: node.target === undefined ? undefined : copy(node.target), args: node.args.map(copy) };
    case 'list':
      return { ...node, elements: node.elements.map(copy) };
    case 'map':
      return { ...node, entries: node.entries.map((e) => ({ ...e, key: copy(e.key), value: copy(e.value) })) };
    case 'struct':
      return { ...node, entries: node.entries.map((e) => ({ ...e, value: copy(e.value) })) };
    case 'comprehension':
      return copyComprehension(node);
  }
}

/** The parts that a macro shape names are within the step and result: the copies must be the same nodes there. */
function copyComprehension(node: ComprehensionNode): Node {
  const { at, range, init, iterVar, iterVar2, accuVar } = node;
  const body = copy(node.macro.body);
  const filter = node.macro.filter === undefined ? undefined : copy(node.macro.filter);
  const variables = [iterVar, iterVar2] as const;
  switch (node.macro.name) {
    case 'all':
    case 'exists':
    case 'existsOne':
      return quantifier(node.macro.name, at, copy(range), variables, body);
    case 'list':
      return intoList(at, copy(range), variables, body, filter);
    case 'bind':
      return bindNode(at, accuVar, copy(init), body);
    case 'map':
    case 'mapEntry': {
      const accu = ident(at, accumulator);
      const step =
        node.macro.name === 'mapEntry'
          ? call(at, mapInsert, accu, body)
          : call(at, mapInsert, accu, ident(at, iterVar), body);
      return collect(at, copy(range), variables, { name: node.macro.name, body, filter }, copy(init), step);
    }
  }
}

type Named = readonly [key: string, macro: Macro];

export const standardMacros: readonly Named[] = [
  ['has:1:global', has],
  ['all:2:member', oneVariable('all')],
  ['exists:2:member', oneVariable('exists')],
  ['exists_one:2:member', oneVariable('existsOne')],
  ['existsOne:2:member', oneVariable('existsOne')],
  ['map:2:member', map],
  ['map:3:member', map],
  ['filter:2:member', filter],
];

export const optionalMacros: readonly Named[] = [
  ['optMap:2:member', optMap('optMap')],
  ['optFlatMap:2:member', optMap('optFlatMap')],
];

export const twoVariableMacros: readonly Named[] = [
  ['all:3:member', twoVariableQuantifier('all')],
  ['exists:3:member', twoVariableQuantifier('exists')],
  ['existsOne:3:member', twoVariableQuantifier('existsOne')],
  ['exists_one:3:member', twoVariableQuantifier('existsOne')],
  ['transformList:3:member', transformList],
  ['transformList:4:member', transformList],
  ['transformMap:3:member', transformMap(false)],
  ['transformMap:4:member', transformMap(false)],
  ['transformMapEntry:3:member', transformMap(true)],
  ['transformMapEntry:4:member', transformMap(true)],
];

export const bindMacros: readonly Named[] = [['bind:3:member', bind]];
