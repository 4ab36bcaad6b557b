/** Checks of a typed tree beyond its types: literals of times, durations and patterns, mixed lists, format strings. */
import type { CallNode, Node } from './ast.ts';
import { walk } from './ast.ts';
import type { Issues } from './errors.ts';
import { clauseErrors, parseFormat } from './library/format.ts';
import type { Clause } from './library/format.ts';
import { patternError } from './pattern.ts';
import { absorbable } from './errors.ts';
import { maxTimestamp, minTimestamp, parseGoDuration, parseTimestamp } from './text.ts';
import type { CelType, Kind } from './types.ts';
import { formatType, isExactType, isOptional } from './types.ts';
import { isInt } from './values.ts';

interface Validators {
  /** Constant arguments of `duration`, `timestamp` and `matches`. */
  readonly literals: boolean;
  /** Lists and maps of one type. */
  readonly homogeneous: boolean;
  /** Constant format strings against their arguments. */
  readonly formats: boolean;
}

export function validate(root: Node, validators: Validators, issues: Issues): void {
  if (validators.literals) {
    for (const fn of ['duration', 'timestamp', 'matches']) literals(root, fn, issues);
  }
  if (validators.homogeneous) homogeneous(root, issues);
  if (validators.formats) formats(root, issues);
}

function isValid(fn: string, text: unknown): boolean {
  if (fn === 'timestamp' && isInt(text)) return text >= minTimestamp && text <= maxTimestamp;
  if (typeof text !== 'string') return true;
  try {
    if (fn === 'duration') return parseGoDuration(text) !== undefined;
    if (fn === 'timestamp') return parseTimestamp(text) !== undefined;
    return patternError(text) === undefined;
  } catch (error) {
    absorbable(error);
    return false;
  }
}

function literals(root: Node, fn: string, issues: Issues): void {
  walk(root, (node) => {
    if (node.kind !== 'call' || node.fn !== fn) return;
    // `matches(text, pattern)` is looked at by its first argument, as upstream does.
    const arg = node.args[0];
    if (arg?.kind !== 'const') return;
    if (!isValid(fn, arg.value)) issues.report(arg.at, `invalid ${fn} argument`);
  });
}

const inFormat = (ancestors: readonly Node[]): boolean => ancestors.some((a) => a.kind === 'call' && a.fn === 'format');

function homogeneous(root: Node, issues: Issues): void {
  const mismatch = (node: Node, expected: CelType, actual: CelType): void =>
    issues.report(node.at, `expected type '${formatType(expected)}' but found '${formatType(actual)}'`);
  const inner = (t: CelType, optional: boolean): CelType => (optional && isOptional(t) ? t.params[0]! : t);
  walk(root, (node, ancestors) => {
    if (node.kind !== 'list' || inFormat(ancestors)) return;
    let first: CelType | undefined;
    for (const [i, e] of node.elements.entries()) {
      const type = inner(e.type!, node.optional.has(i));
      first ??= type;
      if (!isExactType(first, type, false)) {
        mismatch(e, first, type);
        break;
      }
    }
  });
  walk(root, (node, ancestors) => {
    if (node.kind !== 'map' || inFormat(ancestors)) return;
    let key: CelType | undefined;
    let value: CelType | undefined;
    for (const e of node.entries) {
      const valueType = inner(e.value.type!, e.optional);
      key ??= e.key.type!;
      value ??= valueType;
      if (!isExactType(key, e.key.type!, false)) mismatch(e.key, key, e.key.type!);
      if (!isExactType(value, valueType, false)) mismatch(e.value, value, valueType);
    }
  });
}

const formattable: Readonly<Record<Clause, readonly Kind[]>> = {
  s: [
    ...([
      'list',
      'map',
      'int',
      'uint',
      'double',
      'bool',
      'string',
      'timestamp',
      'bytes',
      'duration',
      'type',
      'null',
    ] as const),
  ],
  d: ['int', 'uint'],
  f: ['double', 'string'],
  e: ['double', 'string'],
  b: ['int', 'uint', 'bool'],
  x: ['int', 'uint', 'string', 'bytes'],
  X: ['int', 'uint', 'string', 'bytes'],
  o: ['int', 'uint'],
};

/** The node that a clause cannot format; undefined when it can. */
function unformattable(clause: Clause, node: Node): Node | undefined {
  const { kind } = node.type!;
  if (kind !== 'dyn' && !formattable[clause].includes(kind)) return node;
  if (clause !== 's') return undefined;
  const children =
    node.kind === 'list' ? node.elements : node.kind === 'map' ? node.entries.flatMap((e) => [e.key, e.value]) : [];
  for (const child of children) {
    const bad = unformattable(clause, child);
    if (bad !== undefined) return bad;
  }
  return undefined;
}

class FormatError extends Error {
  readonly node: Node;
  constructor(node: Node, message: string) {
    super(message);
    this.node = node;
  }
}

function formats(root: Node, issues: Issues): void {
  walk(root, (node) => {
    if (node.kind !== 'call' || node.fn !== 'format' || node.target?.kind !== 'const') return;
    const { value } = node.target;
    const list = node.args[0];
    if (typeof value !== 'string' || node.args.length !== 1 || list?.kind !== 'list') return;
    try {
      checkFormat(node, value, list.elements);
    } catch (error) {
      if (!(error instanceof FormatError)) throw error;
      issues.report(error.node.at, error.message);
    }
  });
}

function checkFormat(node: CallNode, format: string, args: readonly Node[]): void {
  const parts = parseFormat(format, args.length, (message) => {
    throw new FormatError(node, message);
  });
  let seen = 0;
  for (const part of parts) {
    if (typeof part === 'string') continue;
    const bad = unformattable(part.clause, args[seen]!);
    if (bad !== undefined) {
      throw new FormatError(bad, `error during formatting: ${clauseErrors[part.clause]}${bad.type!.name}`);
    }
    seen++;
  }
  if (args.length > seen) {
    throw new FormatError(node, `too many arguments supplied to string.format (expected ${seen}, got ${args.length})`);
  }
}
