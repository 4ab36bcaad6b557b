/** CEL's tokens. What is no token is reported as upstream's lexer does, and skipped. */
import type { Issues } from './errors.ts';

export type TokenKind =
  | 'end'
  | 'ident'
  | 'escapedIdent'
  | 'int'
  | 'uint'
  | 'float'
  | 'string'
  | 'bytes'
  /** an operator, a bracket, `true`, `false`, `null` or `in`: its text tells which */
  | 'symbol';

export interface Token {
  readonly kind: TokenKind;
  readonly text: string;
  readonly at: number;
}

const space = /[\t \r\n\f]+|\/\/[^\n]*/y;
const word = /[A-Za-z_][A-Za-z0-9_]*/y;
const escaped = /`[A-Za-z0-9_.\-/ ]+`/y;
const float = /(?:[0-9]+\.[0-9]+(?:[eE][+-]?[0-9]+)?|[0-9]+[eE][+-]?[0-9]+|\.[0-9]+(?:[eE][+-]?[0-9]+)?)/y;
const integer = /(?:0x[0-9a-fA-F]+|[0-9]+)[uU]?/y;
const symbol = /==|!=|<=|>=|&&|\|\||[[\]{}().,\-!?:+*/%<>]/y;
const escape = String.raw`\\(?:[abfnrtv"'\\?\x60]|[0-3][0-7][0-7]|[xX][0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8})`;
const quoted = new RegExp(
  [
    `"""(?:${escape}|[^\\\\])*?"""`,
    `'''(?:${escape}|[^\\\\])*?'''`,
    `"(?:${escape}|[^\\\\"\\n\\r])*"`,
    `'(?:${escape}|[^\\\\'\\n\\r])*'`,
  ].join('|'),
  'y',
);
const raw = /"""[\s\S]*?"""|'''[\s\S]*?'''|"[^"\n\r]*"|'[^'\n\r]*'/y;
const keywords = new Set(['in', 'true', 'false', 'null']);

function match(pattern: RegExp, source: string, at: number): string | undefined {
  pattern.lastIndex = at;
  return pattern.exec(source)?.[0];
}

/** A string or bytes literal at `at`, with its prefixes. */
function literal(source: string, at: number): Token | undefined {
  let i = at;
  let bytes = false;
  let isRaw = false;
  if (/[bB]/.test(source.charAt(i))) {
    bytes = true;
    i++;
  }
  if (/[rR]/.test(source.charAt(i))) {
    isRaw = true;
    i++;
  }
  const quote = source.charAt(i);
  if (quote !== '"' && quote !== "'") return undefined;
  const text = match(isRaw ? raw : quoted, source, i);
  return text === undefined
    ? undefined
    : { kind: bytes ? 'bytes' : 'string', text: source.slice(at, i + text.length), at };
}

function tokenAt(source: string, at: number): Token | undefined {
  const text = literal(source, at);
  if (text !== undefined) return text;
  const name = match(word, source, at);
  if (name !== undefined) return { kind: keywords.has(name) ? 'symbol' : 'ident', text: name, at };
  const number = match(float, source, at);
  const whole = match(integer, source, at);
  if (number !== undefined && number.length > (whole?.length ?? 0)) return { kind: 'float', text: number, at };
  if (whole !== undefined) return { kind: /[uU]$/.test(whole) ? 'uint' : 'int', text: whole, at };
  const sign = match(symbol, source, at);
  if (sign !== undefined) return { kind: 'symbol', text: sign, at };
  const name2 = match(escaped, source, at);
  return name2 === undefined ? undefined : { kind: 'escapedIdent', text: name2, at };
}

/** How far upstream's lexer reads before it gives up on what starts at `at`. */
function unrecognized(source: string, at: number): string {
  const first = source.charAt(at);
  if (first === '"' || first === "'") {
    let i = at + 1;
    while (i < source.length && source[i] !== '\n' && source[i] !== '\r') {
      if (source[i] === '\\' && match(new RegExp(escape, 'y'), source, i) === undefined) break;
      i++;
    }
    return source.slice(at, Math.min(i + 1, source.length));
  }
  if (first === '&' || first === '|' || first === '=' || first === '`') return source.slice(at, at + 2);
  return String.fromCodePoint(source.codePointAt(at)!);
}

export function tokenize(source: string, issues: Issues): Token[] {
  const tokens: Token[] = [];
  let at = 0;
  while (at < source.length) {
    const skipped = match(space, source, at);
    if (skipped !== undefined) {
      at += skipped.length;
      continue;
    }
    const token = tokenAt(source, at);
    if (token !== undefined) {
      tokens.push(token);
      at += token.text.length;
      continue;
    }
    const text = unrecognized(source, at);
    issues.report(at, `Syntax error: token recognition error at: '${text.replaceAll('\n', '\\n')}'`);
    at += text.length;
  }
  tokens.push({ kind: 'end', text: '<EOF>', at: source.length });
  return tokens;
}
