/**
 * YAML as the API reads and writes it: js-yaml's event parser (loaded on first use) under a composer of our own that follows
 * go-yaml v2, which upstream uses (YAML 1.1 scalars, its alias limits, merge keys, strict errors), and an emitter that writes
 * what sigs.k8s.io/yaml writes (sorted keys, compact sequences, folding at 80 columns).
 */
import type { Event } from 'js-yaml';
import { goQuote, JsonSyntaxError, maxJsonDepth, parseJson } from './json.ts';

type JsYaml = typeof import('js-yaml');

/** A document that is not YAML (or not JSON-able YAML); the message is go-yaml's (`yaml: line 3: did not find expected key`). */
export class YamlError extends Error {
  constructor(message: string, options?: { cause?: unknown }) {
    super(message, options);
    this.name = 'YamlError';
  }
}

export interface ParsedYaml {
  readonly value: unknown;
  /** `line 3: key "x" already set in map`; empty unless strictness was asked for. */
  readonly strictErrors: string[];
}

export interface ParseYamlOptions {
  /** Look for duplicate keys (fieldValidation Strict and Warn). */
  readonly strict?: boolean;
}

/** The one error text that upstream's strict YAML decoding gives for these errors. */
export function yamlStrictErrorText(strictErrors: readonly string[]): string {
  return `yaml: unmarshal errors:\n  ${strictErrors.join('\n  ')}`;
}

/**
 * Reads the first document; further ones are not looked at. An empty text is null.
 * @throws {YamlError}
 */
export async function parseYaml(data: string | Uint8Array, options: ParseYamlOptions = {}): Promise<ParsedYaml> {
  const text = typeof data === 'string' ? data : Buffer.from(data.buffer, data.byteOffset, data.byteLength).toString();
  // Nearly all YAML bodies of clients are JSON, which is YAML.
  if (/^\s*[{[]/.test(text)) {
    try {
      const json = parseJson(text, options);
      if (json.strictErrors.length === 0) return json;
    } catch (e) {
      if (!(e instanceof JsonSyntaxError)) throw e;
    }
  }
  const yaml = await import('js-yaml');
  const composer = new Composer(text, eventsOf(yaml, text), yaml, options.strict === true);
  const value = composer.document();
  return { value, strictErrors: composer.strictErrors };
}

/**
 * Reads every document of a stream; empty documents are left out.
 * @throws {YamlError}
 */
export async function parseYamlDocuments(data: string | Uint8Array): Promise<unknown[]> {
  const text = typeof data === 'string' ? data : Buffer.from(data.buffer, data.byteOffset, data.byteLength).toString();
  const yaml = await import('js-yaml');
  const composer = new Composer(text, eventsOf(yaml, text), yaml, false);
  const values: unknown[] = [];
  while (!composer.atEnd()) {
    const value = composer.document();
    if (value !== null) values.push(value);
  }
  return values;
}

function eventsOf(yaml: JsYaml, text: string): Event[] {
  try {
    return yaml.parseEvents(text, { maxDepth: maxJsonDepth });
  } catch (e) {
    if (e instanceof yaml.YAMLException) throw syntaxError(text, e.reason, e.mark?.position ?? 0, e.mark?.line ?? 0, e);
    throw e;
  }
}

/**
 * go-yaml's words for js-yaml's. libyaml counts lines from zero and go-yaml adds one for errors of the scanner only, so errors
 * of the parser name the line before.
 */
function syntaxError(text: string, reason: string, position: number, line: number, cause: unknown): YamlError {
  let problem: string;
  let scanner = true;
  const rest = text.slice(position);
  switch (reason) {
    case 'tab characters must not be used in indentation':
      problem = 'found character that cannot start any token';
      break;
    case 'bad indentation of a mapping entry':
    case 'deficient indentation':
      if (rest.trim() === '' && openBracket(text) !== undefined) {
        problem = `did not find expected ',' or '${openBracket(text) === '[' ? ']' : '}'}'`;
        scanner = false;
      } else if (rest[0] === '\t' || rest[0] === '@' || rest[0] === '`' || rest[0] === '%') {
        problem = 'found character that cannot start any token';
      } else if (rest[0] === ':' || /^\S*\s*:/.test(rest)) problem = 'mapping values are not allowed in this context';
      else {
        problem = 'did not find expected key';
        scanner = false;
      }
      break;
    case 'can not read a block mapping entry; a multiline key may not be an implicit key':
    case 'can not read an implicit mapping pair; a colon is missed':
      problem = "could not find expected ':'";
      break;
    case 'bad indentation of a sequence entry':
      problem = "did not find expected '-' indicator";
      scanner = false;
      break;
    case 'missed comma between flow collection entries':
    case 'unexpected end of the stream within a flow collection': {
      const open = openBracket(text.slice(0, position));
      problem = `did not find expected ',' or '${open === '[' ? ']' : '}'}'`;
      scanner = false;
      break;
    }
    case "expected the node content, but found ','":
      problem = 'did not find expected node content';
      scanner = false;
      break;
    case 'unexpected end of the stream within a single quoted scalar':
    case 'unexpected end of the stream within a double quoted scalar':
      problem = 'found unexpected end of stream';
      break;
    case 'unexpected end of the document within a single quoted scalar':
    case 'unexpected end of the document within a double quoted scalar':
      problem = 'found unexpected document indicator';
      break;
    case 'unknown escape sequence':
      problem = 'found unknown escape character';
      break;
    case 'expected hexadecimal character':
      problem = 'did not find expected hexdecimal number';
      break;
    case 'end of the stream or a document separator is expected':
      if (rest[0] === ':') problem = 'mapping values are not allowed in this context';
      else {
        problem = 'did not find expected <document start>';
        scanner = false;
      }
      break;
    case 'name of an anchor node must contain at least one character':
    case 'name of an alias node must contain at least one character':
      problem = 'did not find expected alphabetic or numeric character';
      break;
    case 'the stream contains non-printable characters':
    case 'null byte is not allowed in input':
      return new YamlError('yaml: control characters are not allowed', { cause });
    default:
      if (reason.startsWith('nesting exceeded'))
        return new YamlError(`yaml: exceeded max depth of ${maxJsonDepth}`, { cause });
      if (reason.startsWith('undeclared tag handle')) {
        problem = 'found undefined tag handle';
        scanner = false;
      } else problem = reason;
  }
  const n = scanner ? line + 1 : line;
  return new YamlError(`yaml: ${n > 0 && line > 0 ? `line ${n}: ` : ''}${problem}`, { cause });
}

function openBracket(before: string): string | undefined {
  let depth = 0;
  for (let i = before.length - 1; i >= 0; i--) {
    const c = before[i];
    if (c === ']' || c === '}') depth++;
    else if (c === '[' || c === '{') {
      if (depth === 0) return c;
      depth--;
    }
  }
  return undefined;
}

// Scalars --------------------------------------------------------------------------------------------------------------

type ScalarTag = '!!str' | '!!bool' | '!!int' | '!!float' | '!!null' | '!!timestamp' | '!!merge';

interface Resolved {
  readonly tag: ScalarTag;
  readonly value: unknown;
}

const words: ReadonlyMap<string, Resolved> = new Map<string, Resolved>([
  ...['y', 'Y', 'yes', 'Yes', 'YES', 'true', 'True', 'TRUE', 'on', 'On', 'ON'].map((w): [string, Resolved] => [
    w,
    { tag: '!!bool', value: true },
  ]),
  ...['n', 'N', 'no', 'No', 'NO', 'false', 'False', 'FALSE', 'off', 'Off', 'OFF'].map((w): [string, Resolved] => [
    w,
    { tag: '!!bool', value: false },
  ]),
  ...['', '~', 'null', 'Null', 'NULL'].map((w): [string, Resolved] => [w, { tag: '!!null', value: null }]),
  ...['.nan', '.NaN', '.NAN'].map((w): [string, Resolved] => [w, { tag: '!!float', value: NaN }]),
  ...['.inf', '.Inf', '.INF', '+.inf', '+.Inf', '+.INF'].map((w): [string, Resolved] => [
    w,
    { tag: '!!float', value: Infinity },
  ]),
  ...['-.inf', '-.Inf', '-.INF'].map((w): [string, Resolved] => [w, { tag: '!!float', value: -Infinity }]),
  ['<<', { tag: '!!merge', value: '<<' }],
]);

const floatPattern = /^[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?$/;
const timestampPattern =
  /^[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}([Tt][0-9]{1,2}:[0-9]{1,2}:[0-9]{1,2}(\.[0-9]+)?(Z|[-+][0-9]{2}:[0-9]{2})|( [0-9]{1,2}:[0-9]{1,2}:[0-9]{1,2}(\.[0-9]+)?))?$/;

function narrow(n: bigint): number | bigint {
  return n >= -9007199254740991n && n <= 9007199254740991n ? Number(n) : n;
}

/** Go's ParseInt with base 0 (underscores already gone), as int64 or uint64. */
function parseGoInteger(text: string): number | bigint | undefined {
  const m = /^([-+]?)(0[xX][0-9a-fA-F]+|0[bB][01]+|0[oO][0-7]+|0[0-7]*|[1-9][0-9]*)$/.exec(text);
  if (m === null) return undefined;
  let digits = m[2]!;
  if (digits.length > 70) return undefined;
  if (/^0[0-7]+$/.test(digits)) digits = `0o${digits.slice(1)}`;
  const magnitude = BigInt(digits.toLowerCase());
  if (m[1] === '-') return magnitude > 9223372036854775808n ? undefined : narrow(-magnitude);
  // Only unsigned text may exceed an int64.
  const limit = m[1] === '+' ? 9223372036854775807n : 18446744073709551615n;
  return magnitude > limit ? undefined : narrow(magnitude);
}

/** What a plain scalar means to go-yaml v2. */
function resolvePlain(text: string): Resolved {
  const c = text.charCodeAt(0);
  const digit = c >= 48 && c <= 57;
  const sign = c === 43 || c === 45;
  if (text === '' || !(digit || sign || c === 46)) {
    if (text === '' || (text.length <= 5 && 'yYnNtTfFoO~<'.includes(text[0]!))) {
      const word = words.get(text);
      if (word !== undefined) return word;
    }
    return { tag: '!!str', value: text };
  }
  const word = words.get(text);
  if (word !== undefined) return word;
  if (c === 46) {
    if (/^\.[0-9][0-9_]*([eE][-+]?[0-9]+)?$/.test(text) && !text.includes('_'))
      return { tag: '!!float', value: Number(text) };
    return { tag: '!!str', value: text };
  }
  if (digit && timestampPattern.test(text)) return { tag: '!!timestamp', value: text };
  const plain = text.includes('_') ? text.replaceAll('_', '') : text;
  const integer = parseGoInteger(plain);
  if (integer !== undefined) return { tag: '!!int', value: integer };
  if (floatPattern.test(plain)) {
    const value = Number(plain.replace(/^\+/, ''));
    if (Number.isFinite(value)) return { tag: '!!float', value };
  }
  return { tag: '!!str', value: text };
}

function expandTag(raw: string): string {
  if (raw.startsWith('!<tag:yaml.org,2002:')) return `!!${raw.slice(20, -1)}`;
  return raw;
}

function resolveTagged(tag: string, text: string): unknown {
  switch (tag) {
    case '!!str':
    case '!':
      return text;
    case '!!binary': {
      if (!/^[A-Za-z0-9+/\s]*={0,2}\s*$/.test(text)) fail('!!binary value contains invalid base64 data');
      return Buffer.from(text, 'base64').toString();
    }
    case '!!bool':
    case '!!int':
    case '!!float':
    case '!!null':
    case '!!timestamp': {
      const resolved = resolvePlain(text);
      if (resolved.tag === tag || (tag === '!!float' && resolved.tag === '!!int')) return resolved.value;
      return fail(`cannot decode ${resolved.tag} \`${text}\` as a ${tag}`);
    }
    default:
      return text;
  }
}

function fail(message: string, cause?: unknown): never {
  throw new YamlError(`yaml: ${message}`, { cause });
}

// Composer -------------------------------------------------------------------------------------------------------------

interface Anchor {
  value: unknown;
  /** Nodes that an alias to it stands for. */
  size: number;
  kind: 'scalar' | 'sequence' | 'mapping';
  complete: boolean;
}

const mergeKey = Symbol('merge');

class Composer {
  readonly text: string;
  readonly events: readonly Event[];
  readonly yaml: JsYaml;
  readonly strict: boolean;
  readonly strictErrors: string[] = [];
  position = 0;
  anchors = new Map<string, Anchor>();
  decoded = 0;
  aliased = 0;
  lineStarts: number[] | undefined;
  /** Where the node last composed began, for the line of a strict error. */
  lastStart = 0;

  constructor(text: string, events: readonly Event[], yaml: JsYaml, strict: boolean) {
    this.text = text;
    this.events = events;
    this.yaml = yaml;
    this.strict = strict;
  }

  atEnd(): boolean {
    return this.position >= this.events.length;
  }

  document(): unknown {
    if (this.atEnd()) return null;
    this.anchors = new Map();
    this.position++; // the document
    let value: unknown = null;
    while (this.events[this.position]!.type !== this.yaml.EVENT_ID.POP) value = this.node();
    this.position++;
    return value === mergeKey ? '<<' : value;
  }

  line(offset: number): number {
    if (this.lineStarts === undefined) {
      this.lineStarts = [0];
      for (let i = this.text.indexOf('\n'); i >= 0; i = this.text.indexOf('\n', i + 1)) this.lineStarts.push(i + 1);
    }
    let low = 0;
    let high = this.lineStarts.length - 1;
    while (low < high) {
      const mid = (low + high + 1) >> 1;
      if (this.lineStarts[mid]! <= offset) low = mid;
      else high = mid - 1;
    }
    return low + 1;
  }

  /** go-yaml's defence against documents that grow by their aliases. */
  count(nodes: number, viaAlias: boolean): void {
    this.decoded += nodes;
    if (viaAlias) this.aliased += nodes;
    if (this.aliased <= 100 || this.decoded <= 1000) return;
    const low = 400_000;
    const high = 4_000_000;
    const allowed =
      this.decoded <= low ? 0.99 : this.decoded >= high ? 0.1 : 0.99 - 0.89 * ((this.decoded - low) / (high - low));
    if (this.aliased / this.decoded > allowed) fail('document contains excessive aliasing');
  }

  anchor(start: number, end: number, kind: Anchor['kind'], value: unknown): Anchor | undefined {
    if (start < 0) return undefined;
    const anchor: Anchor = { value, size: 1, kind, complete: kind === 'scalar' };
    this.anchors.set(this.text.slice(start, end), anchor);
    return anchor;
  }

  node(keyPlace = false): unknown {
    const ids = this.yaml.EVENT_ID;
    const event = this.events[this.position++]!;
    const before = this.decoded;
    this.count(1, false);
    switch (event.type) {
      case ids.SCALAR: {
        this.lastStart = event.valueStart >= 0 ? event.valueStart : this.lastStart;
        const text = event.valueStart < 0 ? '' : this.yaml.getScalarValue(this.text, event);
        let value: unknown;
        if (event.tagStart >= 0) {
          const tag = expandTag(this.text.slice(event.tagStart, event.tagEnd));
          value = tag === '!!merge' && text === '<<' && keyPlace ? mergeKey : resolveTagged(tag, text);
        } else if (event.style === this.yaml.SCALAR_STYLE.PLAIN) {
          const resolved = resolvePlain(text);
          value = resolved.tag === '!!merge' && keyPlace ? mergeKey : resolved.value;
        } else value = text;
        this.anchor(event.anchorStart, event.anchorEnd, 'scalar', value);
        return value;
      }
      case ids.SEQUENCE: {
        const start = event.start;
        const items: unknown[] = [];
        const anchor = this.anchor(event.anchorStart, event.anchorEnd, 'sequence', items);
        while (this.events[this.position]!.type !== ids.POP) items.push(this.node());
        this.position++;
        if (anchor !== undefined) {
          anchor.size = this.decoded - before;
          anchor.complete = true;
        }
        this.lastStart = start;
        return items;
      }
      case ids.MAPPING: {
        const start = event.start;
        const members: Record<string, unknown> = {};
        const anchor = this.anchor(event.anchorStart, event.anchorEnd, 'mapping', members);
        while (this.events[this.position]!.type !== ids.POP) {
          const key = this.node(true);
          if (key === mergeKey) {
            this.merge(members);
            continue;
          }
          const value = this.node();
          this.set(members, key, value, this.lastStart);
        }
        this.position++;
        if (anchor !== undefined) {
          anchor.size = this.decoded - before;
          anchor.complete = true;
        }
        this.lastStart = start;
        return members;
      }
      case ids.ALIAS: {
        const anchor = this.alias(event.anchorStart, event.anchorEnd);
        this.lastStart = event.anchorStart;
        this.count(anchor.size, true);
        return anchor.value;
      }
      default:
        return fail('unexpected event');
    }
  }

  alias(start: number, end: number): Anchor {
    const name = this.text.slice(start, end);
    const anchor = this.anchors.get(name);
    if (anchor === undefined) return fail(`unknown anchor '${name}' referenced`);
    if (!anchor.complete) return fail(`anchor '${name}' value contains itself`);
    return anchor;
  }

  set(members: Record<string, unknown>, key: unknown, value: unknown, at: number): void {
    const name = keyText(key, value);
    if (Object.hasOwn(members, name)) {
      if (this.strict) {
        const shown = typeof key === 'string' ? goQuote(key) : String(key);
        this.strictErrors.push(`line ${this.line(at)}: key ${shown} already set in map`);
        return;
      }
      members[name] = value;
    } else if (name === '__proto__') {
      Object.defineProperty(members, name, { value, enumerable: true, configurable: true, writable: true });
    } else members[name] = value;
  }

  /** `<<`: what the node (or each of its items, the first winning) has. */
  merge(members: Record<string, unknown>): void {
    const ids = this.yaml.EVENT_ID;
    const event = this.events[this.position]!;
    const sources: Record<string, unknown>[] = [];
    const one = (): void => {
      const e = this.events[this.position]!;
      const mapping =
        e.type === ids.MAPPING || (e.type === ids.ALIAS && this.alias(e.anchorStart, e.anchorEnd).kind === 'mapping');
      if (!mapping) fail('map merge requires map or sequence of maps as the value');
      sources.push(this.node() as Record<string, unknown>);
    };
    if (event.type === ids.SEQUENCE) {
      this.position++;
      while (this.events[this.position]!.type !== ids.POP) one();
      this.position++;
      sources.reverse();
    } else one();
    for (const source of sources) {
      for (const key of Object.keys(source)) this.set(members, key, source[key], this.lastStart);
    }
  }
}

/** A key as JSON has it: scalars become their text. */
function keyText(key: unknown, value: unknown): string {
  switch (typeof key) {
    case 'string':
      return key;
    case 'number':
      if (Number.isInteger(key)) return String(key);
      if (Number.isNaN(key)) return '.nan';
      if (!Number.isFinite(key)) return key > 0 ? '.inf' : '-.inf';
      return formatGoFloat(shortestFloat32(key));
    case 'bigint':
    case 'boolean':
      return String(key);
    default:
      if (key === null) {
        throw new YamlError(`unsupported map key of type: %!s(<nil>), key: <nil>, value: ${JSON.stringify(value)}`);
      }
      return fail(`invalid map key: ${JSON.stringify(key)}`);
  }
}

/** Go's FormatFloat(f, 'g', -1, 64): the shortest digits, an exponent below -4 and from 6 on. */
export function formatGoFloat(f: number): string {
  if (Number.isNaN(f)) return '.nan';
  if (!Number.isFinite(f)) return f > 0 ? '.inf' : '-.inf';
  if (f === 0) return Object.is(f, -0) ? '-0' : '0';
  const [mantissa, exponentText] = f.toExponential().split('e') as [string, string];
  const exponent = Number(exponentText);
  // With the shortest representation Go decides by a precision of 6.
  return exponent < -4 || exponent >= 6 ? scientific(mantissa, exponent) : String(f);
}

/** The shortest text that reads back as the same float32. */
function shortestFloat32(f: number): number {
  for (let digits = 1; digits < 10; digits++) {
    const candidate = Number(f.toPrecision(digits));
    if (Math.fround(candidate) === Math.fround(f)) return candidate;
  }
  return f;
}

function scientific(mantissa: string, exponent: number): string {
  const sign = exponent < 0 ? '-' : '+';
  return `${mantissa}e${sign}${String(Math.abs(exponent)).padStart(2, '0')}`;
}

// Emitter --------------------------------------------------------------------------------------------------------------

const bestWidth = 80;
const base60Pattern = /^[-+]?[0-9][0-9_]*(?::[0-5]?[0-9])+(?:\.[0-9_]*)?$/;

/** Writes a JSON value as sigs.k8s.io/yaml does. */
export function stringifyYaml(value: unknown): string {
  const emitter = new Emitter();
  emitter.value(value, -2, 'root');
  emitter.out += '\n';
  return emitter.out.startsWith('\n') ? emitter.out.slice(1) : emitter.out;
}

/** go-yaml's order of keys: letters after other characters, runs of digits by their value. */
export function compareYamlKeys(a: string, b: string): number {
  const x = [...a];
  const y = [...b];
  for (let i = 0; i < x.length && i < y.length; i++) {
    const p = x[i]!;
    const q = y[i]!;
    if (p === q) continue;
    const letterP = isLetter(p);
    const letterQ = isLetter(q);
    if (letterP && letterQ) return p.codePointAt(0)! - q.codePointAt(0)!;
    if (letterP || letterQ) return letterQ ? -1 : 1;
    let n = 0;
    let m = 0;
    if (p === '0' || q === '0') {
      for (let j = i - 1; j >= 0 && isDigit(x[j]!); j--) {
        if (x[j] !== '0') {
          n = 1;
          m = 1;
          break;
        }
      }
    }
    let ai = i;
    let bi = i;
    for (; ai < x.length && isDigit(x[ai]!); ai++) n = n * 10 + Number(x[ai]);
    for (; bi < y.length && isDigit(y[bi]!); bi++) m = m * 10 + Number(y[bi]);
    if (n !== m) return n - m;
    if (ai !== bi) return ai - bi;
    return p.codePointAt(0)! - q.codePointAt(0)!;
  }
  return x.length - y.length;
}

function isLetter(ch: string): boolean {
  return (ch >= 'a' && ch <= 'z') || (ch >= 'A' && ch <= 'Z') || (ch > '\x7f' && /^\p{L}$/u.test(ch));
}

function isDigit(ch: string): boolean {
  return ch >= '0' && ch <= '9';
}

type ScalarStyle = 'plain' | 'single' | 'double' | 'literal';

interface Analysis {
  multiline: boolean;
  plain: boolean;
  single: boolean;
  block: boolean;
}

function isBreak(ch: string | undefined): boolean {
  return ch === '\n' || ch === '\r' || ch === '\u0085' || ch === '\u2028' || ch === '\u2029';
}

function isPrintable(ch: string): boolean {
  const c = ch.codePointAt(0)!;
  if (c === 0x0a) return true;
  if (c < 0x20 || c === 0x7f) return false;
  if (c < 0x7f) return true;
  if (c < 0xa0) return false;
  return c < 0xd800 || (c >= 0xe000 && c < 0xfeff) || (c > 0xfeff && c < 0xfffe);
}

/** libyaml's analysis of what styles a scalar can have in block context. */
function analyze(chars: readonly string[]): Analysis {
  if (chars.length === 0) return { multiline: false, plain: true, single: true, block: false };
  let indicators = false;
  let special = false;
  let lineBreaks = false;
  let leading = false;
  let trailingSpace = false;
  let trailingBreak = false;
  let breakSpace = false;
  let spaceBreak = false;
  let previousSpace = false;
  let previousBreak = false;
  let afterSpace = true;
  const head = chars.slice(0, 3).join('');
  if (head === '---' || head === '...') indicators = true;
  chars.forEach((ch, i) => {
    const next = chars[i + 1];
    const beforeSpace = next === undefined || next === ' ' || next === '\t';
    const last = i === chars.length - 1;
    if (i === 0) {
      if ('#,[]{}&*!|>\'"%@`'.includes(ch)) indicators = true;
      else if ((ch === '?' || ch === ':' || ch === '-') && beforeSpace) indicators = true;
    } else if ((ch === ':' && beforeSpace) || (ch === '#' && afterSpace)) indicators = true;
    if (!isPrintable(ch)) special = true;
    if (ch === ' ') {
      if (i === 0) leading = true;
      if (last) trailingSpace = true;
      if (previousBreak) breakSpace = true;
      previousSpace = true;
      previousBreak = false;
    } else if (isBreak(ch)) {
      lineBreaks = true;
      if (i === 0) leading = true;
      if (last) trailingBreak = true;
      if (previousSpace) spaceBreak = true;
      previousSpace = false;
      previousBreak = true;
    } else {
      previousSpace = false;
      previousBreak = false;
    }
    afterSpace = ch === ' ' || ch === '\t' || isBreak(ch);
  });
  const hard = spaceBreak || special;
  return {
    multiline: lineBreaks,
    plain: !(leading || trailingSpace || trailingBreak || breakSpace || hard || lineBreaks || indicators),
    single: !(breakSpace || hard),
    block: !(trailingSpace || hard),
  };
}

const escapes: ReadonlyMap<string, string> = new Map([
  ['\0', '0'],
  ['\x07', 'a'],
  ['\b', 'b'],
  ['\t', 't'],
  ['\n', 'n'],
  ['\v', 'v'],
  ['\f', 'f'],
  ['\r', 'r'],
  ['\x1b', 'e'],
  ['"', '"'],
  ['\\', '\\'],
  ['\u0085', 'N'],
  ['\u00a0', '_'],
  ['\u2028', 'L'],
  ['\u2029', 'P'],
]);

function escapeOf(ch: string): string {
  const known = escapes.get(ch);
  if (known !== undefined) return `\\${known}`;
  const c = ch.codePointAt(0)!;
  const hex = c.toString(16).toUpperCase();
  if (c <= 0xff) return `\\x${hex.padStart(2, '0')}`;
  return c <= 0xffff ? `\\u${hex.padStart(4, '0')}` : `\\U${hex.padStart(8, '0')}`;
}

class Emitter {
  out = '';
  column = 0;

  write(text: string): void {
    this.out += text;
    this.column += text.length;
  }

  newline(indent: number): void {
    this.out += `\n${' '.repeat(indent)}`;
    this.column = indent;
  }

  /** `indent` is that of the enclosing collection; `inline` says that the position is right behind a `-`. */
  value(value: unknown, indent: number, place: 'root' | 'mapping' | 'sequence'): void {
    if (Array.isArray(value)) {
      if (value.length === 0) {
        this.write(place === 'root' ? '[]' : ' []');
        return;
      }
      // A sequence in a mapping stands at the mapping's own indentation.
      const at = place === 'mapping' ? indent : indent + 2;
      value.forEach((item, i) => {
        if (i === 0 && place === 'sequence') this.write(' ');
        else this.newline(at);
        this.write('-');
        this.value(item, at, 'sequence');
      });
    } else if (typeof value === 'object' && value !== null) {
      const members = value as Record<string, unknown>;
      const keys = Object.keys(members).filter((k) => members[k] !== undefined);
      if (keys.length === 0) {
        this.write(place === 'root' ? '{}' : ' {}');
        return;
      }
      const at = indent + 2;
      keys.sort(compareYamlKeys).forEach((key, i) => {
        if (i === 0 && place === 'sequence') this.write(' ');
        else this.newline(at);
        const chars = [...key];
        if (Buffer.byteLength(key) > 128 || chars.some(isBreak)) {
          this.write('? ');
          this.scalar(key, at + 2, false);
          this.newline(at);
          this.write(':');
        } else {
          this.scalar(key, at + 2, true);
          this.write(':');
        }
        this.value(members[key], at, 'mapping');
      });
    } else {
      if (place !== 'root') this.write(' ');
      this.scalar(value, place === 'root' ? 2 : indent + 2, false);
    }
  }

  scalar(value: unknown, indent: number, simpleKey: boolean): void {
    if (typeof value !== 'string') {
      this.write(scalarText(value));
      return;
    }
    const chars = [...value];
    const analysis = analyze(chars);
    const resolved = resolvePlain(value);
    let style: ScalarStyle;
    if (value.includes('\n')) style = 'literal';
    else style = resolved.tag === '!!str' && !base60Pattern.test(value) ? 'plain' : 'double';
    if (simpleKey && analysis.multiline) style = 'double';
    if (style === 'plain' && (!analysis.plain || (chars.length === 0 && simpleKey))) style = 'single';
    if (style === 'single' && !analysis.single) style = 'double';
    if (style === 'literal' && (!analysis.block || simpleKey)) style = 'double';
    switch (style) {
      case 'plain':
        this.folded(chars, indent, !simpleKey, false);
        break;
      case 'single':
        this.write("'");
        this.folded(chars, indent, !simpleKey, true);
        this.write("'");
        break;
      case 'double':
        this.double(chars, indent, !simpleKey);
        break;
      case 'literal':
        this.literal(value, chars, indent);
    }
  }

  folded(chars: readonly string[], indent: number, allowBreaks: boolean, quoted: boolean): void {
    let spaces = false;
    let breaks = false;
    chars.forEach((ch, i) => {
      if (ch === ' ') {
        const inner = !quoted || (i > 0 && i < chars.length - 1);
        if (allowBreaks && !spaces && this.column > bestWidth && inner && chars[i + 1] !== ' ') this.newline(indent);
        else this.write(ch);
        spaces = true;
      } else if (isBreak(ch)) {
        if (!breaks && ch === '\n') this.newline(0);
        this.out += ch;
        this.column = 0;
        breaks = true;
      } else {
        if (breaks) this.write(' '.repeat(indent));
        this.write(quoted && ch === "'" ? "''" : ch);
        spaces = false;
        breaks = false;
      }
    });
  }

  double(chars: readonly string[], indent: number, allowBreaks: boolean): void {
    this.write('"');
    let spaces = false;
    chars.forEach((ch, i) => {
      if (!isPrintable(ch) || isBreak(ch) || ch === '"' || ch === '\\') {
        this.write(escapeOf(ch));
        spaces = false;
      } else if (ch === ' ') {
        if (allowBreaks && !spaces && this.column > bestWidth && i > 0 && i < chars.length - 1) {
          this.newline(indent);
          if (chars[i + 1] === ' ') this.write('\\');
        } else this.write(ch);
        spaces = true;
      } else {
        this.out += ch;
        this.column++;
        spaces = false;
      }
    });
    this.write('"');
  }

  literal(value: string, chars: readonly string[], indent: number): void {
    let header = '|';
    if (chars[0] === ' ' || isBreak(chars[0])) header += '2';
    if (!isBreak(chars[chars.length - 1])) header += '-';
    else if (chars.length === 1 || isBreak(chars[chars.length - 2])) header += '+';
    this.write(header);
    const body = value.endsWith('\n') ? value.slice(0, -1) : value;
    for (const line of body.split('\n')) {
      if (line === '') {
        this.out += '\n';
        this.column = 0;
      } else {
        this.newline(indent);
        this.write(line);
      }
    }
  }
}

function scalarText(value: unknown): string {
  switch (typeof value) {
    case 'number':
      if (Number.isInteger(value) && Math.abs(value) < 18446744073709552000) return BigInt(value).toString();
      return formatGoFloat(value);
    case 'boolean':
    case 'bigint':
      return String(value);
    default:
      return 'null';
  }
}
