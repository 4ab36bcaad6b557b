/**
 * From source to syntax tree: CEL's grammar by recursive descent, with upstream's limits on size and depth and the wording of
 * its syntax errors. Macros are expanded on the way (`macros.ts`).
 */
import type { ConstNode, ErrorNode, MapEntry, Node, StructEntry } from './ast.ts';
import { op } from './ast.ts';
import type { Issues } from './errors.ts';
import type { Token, TokenKind } from './lexer.ts';
import { tokenize } from './lexer.ts';
import { LiteralError, unquoteBytes, unquoteString } from './literal.ts';
import type { Macro } from './macros.ts';
import { MacroError } from './macros.ts';
import { Uint, doubleValue, intValue } from './values.ts';

export interface ParseOptions {
  /** By name, number of arguments and call style: see `macroKey`. */
  readonly macros: ReadonlyMap<string, Macro>;
  /** `a.?b`, `a[?b]`, `{?k: v}`. */
  readonly optionalSyntax: boolean;
  /** Member names in backticks. */
  readonly identEscape: boolean;
}

const maxDepth = 250;
const maxCharacters = 100_000;

const reserved = new Set(
  (
    'as break const continue else false for function if import in let loop package namespace null return true var void ' +
    'while'
  ).split(' '),
);

const primaryStart =
  "{'[', '{', '(', '.', '-', '!', 'true', 'false', 'null', NUM_FLOAT, NUM_INT, NUM_UINT, STRING, BYTES, IDENTIFIER}";
const startSymbols = new Set(['[', '{', '(', '.', '-', '!', 'true', 'false', 'null']);
const relations: ReadonlyMap<string, string> = new Map([
  ['<', op.less],
  ['<=', op.lessEquals],
  ['>', op.greater],
  ['>=', op.greaterEquals],
  ['==', op.equals],
  ['!=', op.notEquals],
  ['in', op.in],
]);
const factors: ReadonlyMap<string, string> = new Map([
  ['*', op.multiply],
  ['/', op.divide],
  ['%', op.modulo],
]);
const terms: ReadonlyMap<string, string> = new Map([
  ['+', op.add],
  ['-', op.subtract],
]);

/** Ends the parse; the errors are noted already. */
class Abort extends Error {}

/** The tree of `source`, or undefined when `issues` tell why there is none. */
export function parse(source: string, options: ParseOptions, issues: Issues): Node | undefined {
  // A string of N UTF-16 units has at least N/2 characters: count only where it can matter.
  const size = source.length > maxCharacters ? [...source].length : 0;
  if (size > maxCharacters) {
    issues.report(-1, `expression code point size exceeds limit: size: ${size}, limit ${maxCharacters}`);
    return undefined;
  }
  const parser = new Parser(tokenize(source, issues), options, issues);
  try {
    const node = parser.start();
    return issues.count > 0 ? undefined : node;
  } catch (error) {
    if (error instanceof Abort) return undefined;
    throw error;
  }
}

class Parser {
  readonly #tokens: readonly Token[];
  readonly #options: ParseOptions;
  readonly #issues: Issues;
  #i = 0;
  #nesting = 0;
  /** How deep upstream's visitor would be below a node; absent is 0. */
  readonly #depths = new Map<Node, number>();

  constructor(tokens: readonly Token[], options: ParseOptions, issues: Issues) {
    this.#tokens = tokens;
    this.#options = options;
    this.#issues = issues;
  }

  get #token(): Token {
    return this.#tokens[this.#i]!;
  }

  #peek(offset: number): Token {
    return this.#tokens[Math.min(this.#i + offset, this.#tokens.length - 1)]!;
  }

  #is(text: string): boolean {
    const token = this.#token;
    return token.kind === 'symbol' && token.text === text;
  }

  #take(text: string): Token | undefined {
    if (!this.#is(text)) return undefined;
    return this.#tokens[this.#i++];
  }

  #syntax(message: string, token = this.#token): void {
    this.#issues.report(token.at, `Syntax error: ${message}`);
  }

  #abort(message: string): never {
    this.#syntax(message);
    throw new Abort();
  }

  /** The bracket or colon that must come now. */
  #expect(text: string, expecting = `'${text}'`): Token {
    const found = this.#take(text);
    if (found !== undefined) return found;
    const after = this.#peek(1);
    if (after.kind === 'symbol' && after.text === text && this.#token.kind !== 'end') {
      this.#syntax(`extraneous input '${this.#token.text}' expecting ${expecting}`);
      this.#i++;
      return this.#tokens[this.#i++]!;
    }
    if (this.#token.kind === 'end' && expecting === `'${text}'`) this.#abort(`missing '${text}' at '<EOF>'`);
    return this.#abort(`mismatched input '${this.#token.text}' expecting ${expecting}`);
  }

  #error(at: number, message: string): ErrorNode {
    this.#issues.report(at, message);
    return { kind: 'error', at };
  }

  /** Notes the depth of a new node: `counted` ones make their parents one deeper. */
  #deep<T extends Node>(node: T, children: readonly Node[], counted: boolean): T {
    let depth = 0;
    for (const child of children) depth = Math.max(depth, this.#depths.get(child) ?? 0);
    if (counted) depth++;
    if (depth > maxDepth) {
      this.#issues.report(-1, 'max recursion depth exceeded');
      throw new Abort();
    }
    if (depth > 0) this.#depths.set(node, depth);
    return node;
  }

  start(): Node {
    const node = this.#expression();
    if (this.#token.kind !== 'end') {
      const last = this.#peek(1).kind === 'end';
      this.#abort(`${last ? 'extraneous' : 'mismatched'} input '${this.#token.text}' expecting <EOF>`);
    }
    return node;
  }

  #expression(): Node {
    if (++this.#nesting > maxDepth) {
      this.#issues.report(-1, `expression recursion limit exceeded: ${maxDepth}`);
      throw new Abort();
    }
    let node = this.#logical('||', op.or, () => this.#logical('&&', op.and, () => this.#relation()));
    const question = this.#take('?');
    if (question !== undefined) {
      const yes = this.#logical('||', op.or, () => this.#logical('&&', op.and, () => this.#relation()));
      this.#expect(':');
      const no = this.#expression();
      node = this.#call(question.at, op.conditional, [node, yes, no], true);
    }
    this.#nesting--;
    return node;
  }

  #logical(symbol: string, fn: string, next: () => Node): Node {
    const first = next();
    if (!this.#is(symbol)) return first;
    const terms = [first];
    let at = -1;
    for (;;) {
      const token = this.#take(symbol);
      if (token === undefined) break;
      if (at < 0) at = token.at;
      terms.push(next());
    }
    return this.#call(at, fn, terms, false);
  }

  #binary(operators: ReadonlyMap<string, string>, next: () => Node): Node {
    let left = next();
    for (;;) {
      const token = this.#token;
      const fn = token.kind === 'symbol' ? operators.get(token.text) : undefined;
      if (fn === undefined) return left;
      this.#i++;
      left = this.#call(token.at, fn, [left, next()], true);
    }
  }

  #relation(): Node {
    return this.#binary(relations, () => this.#binary(terms, () => this.#binary(factors, () => this.#unary())));
  }

  #call(at: number, fn: string, args: Node[], counted: boolean): Node {
    return this.#deep(this.#macroOr(at, fn, undefined, args), args, counted);
  }

  #unary(): Node {
    const token = this.#token;
    if (token.kind !== 'symbol' || (token.text !== '!' && token.text !== '-')) return this.#member();
    const next = this.#peek(1).kind;
    if (token.text === '-' && (next === 'int' || next === 'float')) return this.#member();
    let count = 0;
    while (this.#take(token.text) !== undefined) count++;
    const node = this.#member();
    return count % 2 === 0 ? node : this.#call(token.at, token.text === '!' ? op.not : op.negate, [node], false);
  }

  #member(): Node {
    let node = this.#primary();
    for (;;) {
      const dot = this.#take('.');
      if (dot !== undefined) {
        node = this.#select(dot, node);
        continue;
      }
      const bracket = this.#take('[');
      if (bracket === undefined) return node;
      const question = this.#take('?');
      const index = this.#expression();
      this.#expect(']');
      if (question !== undefined && !this.#options.optionalSyntax) {
        node = this.#error(bracket.at, "unsupported syntax '[?'");
      } else node = this.#call(bracket.at, question === undefined ? op.index : op.optIndex, [node, index], true);
    }
  }

  #select(dot: Token, operand: Node): Node {
    const question = this.#take('?');
    const name = this.#token;
    if (name.kind !== 'ident' && name.kind !== 'escapedIdent') {
      if (name.kind === 'symbol' && /^[a-z]/.test(name.text)) {
        this.#abort(`mismatched input '${name.text}' expecting IDENTIFIER`);
      }
      if (question !== undefined) {
        this.#abort(`mismatched input '${name.text}' expecting {IDENTIFIER, ESC_IDENTIFIER}`);
      }
      this.#abort(`no viable alternative at input '.${name.kind === 'end' ? '' : name.text}'`);
    }
    this.#i++;
    if (question === undefined && name.kind === 'ident' && this.#is('(')) {
      const open = this.#tokens[this.#i++]!;
      const args = this.#arguments();
      return this.#deep(this.#macroOr(open.at, name.text, operand, args), [operand, ...args], true);
    }
    const field = this.#memberName(name);
    if (question !== undefined) {
      if (!this.#options.optionalSyntax) return this.#error(dot.at, "unsupported syntax '.?'");
      const literal: ConstNode = { kind: 'const', literal: 'string', value: field, at: name.at };
      return this.#call(dot.at, op.optSelect, [operand, literal], true);
    }
    return this.#deep({ kind: 'select', operand, field, test: false, at: dot.at }, [operand], true);
  }

  #memberName(token: Token): string {
    if (token.kind !== 'escapedIdent') return token.text;
    if (!this.#options.identEscape) this.#issues.report(token.at, "unsupported syntax: '`'");
    return token.text.slice(1, -1);
  }

  #arguments(): Node[] {
    const args: Node[] = [];
    if (this.#take(')') !== undefined) return args;
    for (;;) {
      args.push(this.#expression());
      if (this.#take(',') === undefined) break;
    }
    this.#expect(')', args.length > 0 ? "{')', ','}" : "')'");
    return args;
  }

  /** Whether a message literal starts here: names with dots, then a brace. */
  #startsMessage(): boolean {
    let i = this.#is('.') ? 1 : 0;
    if (this.#peek(i).kind !== 'ident') return false;
    for (i++; ; i += 2) {
      const token = this.#peek(i);
      if (token.kind !== 'symbol') return false;
      if (token.text === '{') return true;
      if (token.text !== '.' || this.#peek(i + 1).kind !== 'ident') return false;
    }
  }

  #primary(): Node {
    const token = this.#token;
    if (token.kind === 'symbol' && token.text === '(') {
      this.#i++;
      const inner = this.#expression();
      this.#expect(')');
      return inner;
    }
    if (token.kind === 'symbol' && token.text === '[') return this.#list();
    if (token.kind === 'symbol' && token.text === '{') return this.#map();
    if (this.#startsMessage()) return this.#message();
    if (token.kind === 'ident' || (token.kind === 'symbol' && token.text === '.' && this.#peek(1).kind === 'ident')) {
      return this.#identifier();
    }
    return this.#literal() ?? this.#unexpected();
  }

  #unexpected(): Node {
    const token = this.#token;
    const after = this.#peek(1);
    const starts: TokenKind[] = ['ident', 'int', 'uint', 'float', 'string', 'bytes'];
    const goesOn = starts.includes(after.kind) || (after.kind === 'symbol' && startSymbols.has(after.text));
    if (token.kind !== 'end' && goesOn) {
      this.#syntax(`extraneous input '${token.text}' expecting ${primaryStart}`);
      this.#i++;
      return this.#unary();
    }
    return this.#abort(`mismatched input '${token.text}' expecting ${primaryStart}`);
  }

  #identifier(): Node {
    const first = this.#token;
    const dot = this.#take('.');
    const name = this.#tokens[this.#i++]!;
    const open = this.#take('(');
    const args = open === undefined ? undefined : this.#arguments();
    if (reserved.has(name.text)) return this.#error(first.at, `reserved identifier: ${name.text}`);
    const text = dot === undefined ? name.text : `.${name.text}`;
    if (args === undefined) return { kind: 'ident', name: text, at: name.at };
    return this.#deep(this.#macroOr(open!.at, text, undefined, args), args, false);
  }

  /** The `?` before an element or an entry, where there is one. */
  #optional(): Token | undefined {
    const question = this.#take('?');
    if (question !== undefined && !this.#options.optionalSyntax)
      this.#issues.report(question.at, "unsupported syntax '?'");
    return question;
  }

  /** Takes a comma that is all there is between the brackets. */
  #loneComma(close: string): boolean {
    const alone = this.#is(',') && this.#peek(1).text === close;
    if (alone) this.#i++;
    return alone;
  }

  #list(): Node {
    const open = this.#tokens[this.#i++]!;
    const elements: Node[] = [];
    const optional = new Set<number>();
    while (!this.#is(']')) {
      if (elements.length === 0 && this.#loneComma(']')) break;
      if (this.#optional() !== undefined) optional.add(elements.length);
      elements.push(this.#expression());
      if (this.#take(',') === undefined) break;
    }
    this.#expect(']', elements.length > 0 ? "{']', ','}" : "']'");
    return this.#deep({ kind: 'list', elements, optional, at: open.at }, elements, false);
  }

  #map(): Node {
    const open = this.#tokens[this.#i++]!;
    const entries: MapEntry[] = [];
    while (!this.#is('}')) {
      if (entries.length === 0 && this.#loneComma('}')) break;
      const question = this.#optional();
      const key = this.#expression();
      const colon = this.#expect(':');
      const value = this.#expression();
      entries.push({ at: colon.at, key, value, optional: question !== undefined });
      if (this.#take(',') === undefined) break;
    }
    this.#expect('}', entries.length > 0 ? "{'}', ','}" : "'}'");
    return this.#deep(
      { kind: 'map', entries, at: open.at },
      entries.flatMap((e) => [e.key, e.value]),
      false,
    );
  }

  #message(): Node {
    let name = this.#take('.') === undefined ? '' : '.';
    name += this.#tokens[this.#i++]!.text;
    while (this.#take('.') !== undefined) name += `.${this.#tokens[this.#i++]!.text}`;
    const open = this.#tokens[this.#i++]!;
    const entries: StructEntry[] = [];
    while (!this.#is('}')) {
      if (entries.length === 0 && this.#loneComma('}')) break;
      const question = this.#optional();
      const field = this.#token;
      if (field.kind !== 'ident' && field.kind !== 'escapedIdent') {
        const expecting =
          question === undefined ? "{'}', ',', '?', IDENTIFIER, ESC_IDENTIFIER}" : '{IDENTIFIER, ESC_IDENTIFIER}';
        this.#abort(`mismatched input '${field.text}' expecting ${expecting}`);
      }
      this.#i++;
      const fieldName = this.#memberName(field);
      const colon = this.#expect(':');
      entries.push({ at: colon.at, field: fieldName, value: this.#expression(), optional: question !== undefined });
      if (this.#take(',') === undefined) break;
    }
    this.#expect('}', entries.length > 0 ? "{'}', ','}" : "'}'");
    return this.#deep(
      { kind: 'struct', name, entries, at: open.at },
      entries.map((e) => e.value),
      false,
    );
  }

  #literal(): Node | undefined {
    const first = this.#token;
    const minus = first.kind === 'symbol' && first.text === '-';
    const token = minus ? this.#peek(1) : first;
    if (minus && token.kind !== 'int' && token.kind !== 'float') return undefined;
    const at = first.at;
    const sign = minus ? '-' : '';
    const take = (node: Node): Node => {
      this.#i += minus ? 2 : 1;
      return node;
    };
    switch (token.kind) {
      case 'int': {
        const value = minus ? -BigInt(token.text) : BigInt(token.text);
        if (value !== BigInt.asIntN(64, value)) return take(this.#error(at, 'invalid int literal'));
        return take({ kind: 'const', literal: 'int', value: intValue(value), at });
      }
      case 'uint': {
        const value = BigInt(token.text.slice(0, -1));
        if (value !== BigInt.asUintN(64, value)) return take(this.#error(at, 'invalid uint literal'));
        return take({ kind: 'const', literal: 'uint', value: new Uint(value), at });
      }
      case 'float': {
        const value = Number(sign + token.text);
        if (!Number.isFinite(value)) return take(this.#error(at, 'invalid double literal'));
        return take({ kind: 'const', literal: 'double', value: doubleValue(value), at });
      }
      case 'string':
      case 'bytes':
        try {
          const value = token.kind === 'string' ? unquoteString(token.text) : unquoteBytes(token.text.slice(1));
          return take({ kind: 'const', literal: token.kind, value, at });
        } catch (error) {
          if (!(error instanceof LiteralError)) throw error;
          return take(this.#error(at, error.message));
        }
      case 'symbol':
        if (token.text === 'true' || token.text === 'false') {
          return take({ kind: 'const', literal: 'bool', value: token.text === 'true', at });
        }
        if (token.text === 'null') return take({ kind: 'const', literal: 'null', value: null, at });
    }
    return undefined;
  }

  /** A call, or what a macro of that name makes of it. */
  #macroOr(at: number, fn: string, target: Node | undefined, args: readonly Node[]): Node {
    const style = target === undefined ? 'global' : 'member';
    const macro = this.#options.macros.get(`${fn}:${args.length}:${style}`);
    if (macro !== undefined) {
      try {
        const expanded = macro(at, target, args);
        if (expanded !== undefined) return expanded;
      } catch (error) {
        if (!(error instanceof MacroError)) throw error;
        return this.#error(error.at, error.message);
      }
    }
    return { kind: 'call', fn, target, args, at };
  }
}
