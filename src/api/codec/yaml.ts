/**
 * YAML as the API reads and writes it: js-yaml's event parser (loaded on first use) under a composer of our own that follows
 * go-yaml v2, which upstream uses: YAML 1.1 scalars, its alias limits, merge keys, strict errors. `yaml-emit.ts` writes it.
 */
import type * as jsYaml from 'js-yaml';
import type { Event } from 'js-yaml';
import { goQuote, JsonSyntaxError, maxJsonDepth, parseJson } from './json.ts';
import {
  expandTag,
  fail,
  formatGoFloat,
  resolvePlain,
  resolveTagged,
  shortestFloat32,
  YamlError,
} from './yaml-scalars.ts';

export { stringifyYaml } from './yaml-emit.ts';
export { YamlError };

type JsYaml = typeof jsYaml;

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
      if (/[[{,]\s*$/.test(text.slice(0, position))) problem = 'did not find expected node content';
      else problem = `did not find expected ',' or '${open === '[' ? ']' : '}'}'`;
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
      if (/^\s*\t/.test(text)) problem = 'found character that cannot start any token';
      else if (rest[0] === ':') problem = 'mapping values are not allowed in this context';
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
  // Upstream's parser is on the next line when a text ends within its last.
  const last = !scanner && rest.trim() === '' && !text.endsWith('\n') ? line + 1 : line;
  const n = scanner ? last + 1 : last;
  return new YamlError(`yaml: ${n > 0 && last > 0 ? `line ${n}: ` : ''}${problem}`, { cause });
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
