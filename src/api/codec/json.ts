/**
 * JSON as the API reads and writes it: `JSON.parse` on the fast path, one light scan of the text beside it for what
 * `JSON.parse` hides (duplicate keys, integers beyond 2^53, absurd depth), and Go's syntax errors where parsing fails.
 */

/** Nesting beyond this is refused. Upstream's limit is 10,000; recursion here is over real stack frames. */
export const maxJsonDepth = 1000;

/** A body that is not JSON; the message is encoding/json's (`invalid character 'x' looking for beginning of value`). */
export class JsonSyntaxError extends Error {
  /** Bytes read before the error. */
  readonly offset: number;

  constructor(message: string, offset: number) {
    super(message);
    this.name = 'JsonSyntaxError';
    this.offset = offset;
  }
}

/** A body whose shape is wrong; the message is encoding/json's (`json: cannot unmarshal …`). */
export class JsonTypeError extends Error {
  constructor(message: string) {
    super(message);
    this.name = 'JsonTypeError';
  }
}

export interface ParsedJson {
  readonly value: unknown;
  /** `duplicate field "spec.x"`, at most a hundred, each once; empty unless strictness was asked for. */
  readonly strictErrors: string[];
}

export interface ParseJsonOptions {
  /** Look for duplicate fields (fieldValidation Strict and Warn). */
  readonly strict?: boolean;
}

function textOf(data: string | Uint8Array): string {
  if (typeof data === 'string') return data;
  // Not TextDecoder: a byte order mark is a syntax error, as upstream has it.
  return Buffer.from(data.buffer, data.byteOffset, data.byteLength).toString('utf8');
}

/**
 * Reads one JSON value.
 * @throws {JsonSyntaxError}
 */
export function parseJson(data: string | Uint8Array, options: ParseJsonOptions = {}): ParsedJson {
  const text = textOf(data);
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (e) {
    throw syntaxErrorOf(data, e);
  }
  const strict = options.strict === true;
  if (!strict && text.length < 2 * maxJsonDepth) {
    return { value: bigIntegers.test(text) ? reparse(text) : value, strictErrors: [] };
  }
  const facts = survey(text);
  if (facts.depth > maxJsonDepth) throw depthError(text);
  if (facts.longNumbers) value = reparse(text);
  const strictErrors = strict && facts.keys !== countKeys(value) ? findDuplicates(text) : [];
  return { value, strictErrors };
}

/** Reads JSON that this program wrote: big integers kept, nothing else checked. */
export function parseTrustedJson(data: string | Uint8Array): unknown {
  const text = textOf(data);
  return bigIntegers.test(text) ? reparse(text) : JSON.parse(text);
}

/** Writes JSON; big integers as plain numbers. */
export function stringifyJson(value: unknown): string {
  try {
    return JSON.stringify(value);
  } catch (e) {
    if (!(e instanceof TypeError) || !hasBigInt(value, 0)) throw e;
    return JSON.stringify(value, (_key, v: unknown) => (typeof v === 'bigint' ? rawJson(v.toString()) : v));
  }
}

/** JSON.rawJSON is newer than the library types. */
function rawJson(text: string): unknown {
  return (JSON as unknown as { rawJSON: (text: string) => unknown }).rawJSON(text);
}

function hasBigInt(value: unknown, depth: number): boolean {
  if (typeof value === 'bigint') return true;
  if (typeof value !== 'object' || value === null || depth > maxJsonDepth) return false;
  return Object.values(value).some((v) => hasBigInt(v, depth + 1));
}

const bigIntegers = /[:[,]\s*-?\d{16}/;

interface ReviverContext {
  readonly source?: string;
}

/** Reads again, keeping integers that a double cannot hold (but an int64 can) as BigInt. */
function reparse(text: string): unknown {
  const revive = (_key: string, value: unknown, context?: ReviverContext): unknown => {
    if (typeof value !== 'number' || Number.isSafeInteger(value)) return value;
    const source = context?.source;
    if (source === undefined || !/^-?[0-9]+$/.test(source)) return value;
    const big = BigInt(source);
    return big >= -9223372036854775808n && big <= 9223372036854775807n ? big : value;
  };
  return JSON.parse(text, revive as (key: string, value: unknown) => unknown);
}

interface Survey {
  depth: number;
  keys: number;
  longNumbers: boolean;
}

/** Characters that are looked at one by one: most strings are shorter, and a search has to be called. */
const shortString = 24;

/** Where the string ends that begins at `start`, in valid JSON text. */
function closingQuote(text: string, start: number): number {
  let i = start + 1;
  for (const short = i + shortString; i < short; i++) {
    const c = text.charCodeAt(i);
    if (c === 34) return i;
    if (c === 92) i++;
  }
  // Only a quote after an even number of backslashes ends the string.
  for (let end = text.indexOf('"', i); ; end = text.indexOf('"', end + 1)) {
    let before = end - 1;
    while (before >= i && text.charCodeAt(before) === 92) before--;
    if ((end - before) % 2 === 1) return end;
  }
}

/** One pass over valid JSON text: depth, number of object members, and whether any number has 16 digits or more. */
function survey(text: string): Survey {
  let depth = 0;
  let deepest = 0;
  let keys = 0;
  let longNumbers = false;
  for (let i = 0; i < text.length; i++) {
    switch (text.charCodeAt(i)) {
      case 34:
        i = closingQuote(text, i);
        break;
      case 58:
        keys++;
        break;
      case 91:
      case 123:
        if (++depth > deepest) deepest = depth;
        break;
      case 93:
      case 125:
        depth--;
        break;
      case 48:
      case 49:
      case 50:
      case 51:
      case 52:
      case 53:
      case 54:
      case 55:
      case 56:
      case 57: {
        const start = i;
        let c = text.charCodeAt(i + 1);
        while (c >= 48 && c <= 57) c = text.charCodeAt(++i + 1);
        if (i - start >= 15) longNumbers = true;
        break;
      }
    }
  }
  return { depth: deepest, keys, longNumbers };
}

function countKeys(value: unknown): number {
  if (typeof value !== 'object' || value === null) return 0;
  let n = 0;
  if (Array.isArray(value)) {
    for (const item of value) if (typeof item === 'object' && item !== null) n += countKeys(item);
    return n;
  }
  for (const key in value) {
    n++;
    const member = (value as Record<string, unknown>)[key];
    if (typeof member === 'object' && member !== null) n += countKeys(member);
  }
  return n;
}

/** Go's strconv.Quote, near enough for what stands in error texts. */
export function goQuote(text: string): string {
  let out = '"';
  for (const ch of text) {
    switch (ch) {
      case '"':
        out += '\\"';
        break;
      case '\\':
        out += '\\\\';
        break;
      case '\n':
        out += '\\n';
        break;
      case '\r':
        out += '\\r';
        break;
      case '\t':
        out += '\\t';
        break;
      case '\b':
        out += '\\b';
        break;
      case '\f':
        out += '\\f';
        break;
      case '\v':
        out += '\\v';
        break;
      case '\x07':
        out += '\\a';
        break;
      default: {
        const c = ch.codePointAt(0)!;
        if (c < 0x20 || c === 0x7f) out += `\\x${c.toString(16).padStart(2, '0')}`;
        else if (c < 0x7f || /^[\p{L}\p{M}\p{N}\p{P}\p{S}]$/u.test(ch)) out += ch;
        else if (c < 0x10000) out += `\\u${c.toString(16).padStart(4, '0')}`;
        else out += `\\U${c.toString(16).padStart(8, '0')}`;
      }
    }
  }
  return `${out}"`;
}

const maxStrictErrors = 100;

/** The duplicate fields of valid JSON text, in upstream's words, in the order of the text. */
function findDuplicates(text: string): string[] {
  return strictErrorsInOrder(text, new Set());
}

/**
 * The duplicate fields of valid JSON text together with those fields that a type does not know (`unknown field "spec.x"`), in
 * the order of the text; duplicates inside an unknown field are nobody's concern.
 */
export function strictErrorsInOrder(data: string | Uint8Array, unknown: ReadonlySet<string>): string[] {
  const text = textOf(data);
  const errors = new Set<string>();
  let i = 0;
  const space = (): void => {
    for (;;) {
      const c = text.charCodeAt(i);
      if (c !== 32 && c !== 10 && c !== 13 && c !== 9) return;
      i++;
    }
  };
  const string = (): string => {
    const start = i;
    let escaped = false;
    let c = 0;
    while ((c = text.charCodeAt(++i)) !== 34) {
      if (c === 92) {
        escaped = true;
        i++;
      }
    }
    i++;
    return escaped ? (JSON.parse(text.slice(start, i)) as string) : text.slice(start + 1, i - 1);
  };
  const value = (path: string): void => {
    space();
    const c = text.charCodeAt(i);
    if (c === 123) {
      i++;
      const seen = new Set<string>();
      for (;;) {
        space();
        if (text.charCodeAt(i) === 125) break;
        const key = string();
        const at = path === '' ? key : `${path}.${key}`;
        const stranger = unknown.size > 0 ? `unknown field ${goQuote(at)}` : '';
        const skipped = unknown.has(stranger);
        if (skipped) {
          // Nobody's field is not looked at twice.
        } else if (seen.has(key)) {
          if (errors.size < maxStrictErrors) errors.add(`duplicate field ${goQuote(at)}`);
        } else seen.add(key);
        if (skipped && errors.size < maxStrictErrors) errors.add(stranger);
        space();
        i++; // the colon
        const before = skipped ? new Set(errors) : undefined;
        value(at);
        if (before !== undefined) for (const e of errors) if (!before.has(e)) errors.delete(e);
        space();
        if (text.charCodeAt(i) === 44) i++;
      }
      i++;
    } else if (c === 91) {
      i++;
      for (let n = 0; ; n++) {
        space();
        if (text.charCodeAt(i) === 93) break;
        value(`${path}[${n}]`);
        space();
        if (text.charCodeAt(i) === 44) i++;
      }
      i++;
    } else if (c === 34) string();
    else while (i < text.length && !',]} \n\r\t'.includes(text[i]!)) i++;
  };
  value('');
  return [...errors];
}

// Syntax errors --------------------------------------------------------------------------------------------------------

function depthError(text: string): JsonSyntaxError {
  let depth = 0;
  for (let i = 0; i < text.length; i++) {
    const c = text.charCodeAt(i);
    if (c === 34) {
      let d = 0;
      while ((d = text.charCodeAt(++i)) !== 34) if (d === 92) i++;
    } else if (c === 91 || c === 123) {
      if (++depth > maxJsonDepth) {
        return new JsonSyntaxError(`invalid character '${text[i]}' exceeded max depth`, i + 1);
      }
    } else if (c === 93 || c === 125) depth--;
  }
  return new JsonSyntaxError('exceeded max depth', text.length);
}

function syntaxErrorOf(data: string | Uint8Array, cause: unknown): JsonSyntaxError {
  const bytes = typeof data === 'string' ? Buffer.from(data) : data;
  const found = goSyntaxError(bytes);
  if (found !== undefined) return found;
  // A document that Go would take and JSON.parse does not: none is known.
  return new JsonSyntaxError(cause instanceof Error ? cause.message : String(cause), bytes.length);
}

/** A byte as Go's quoteChar shows it. */
function quoteChar(c: number): string {
  if (c === 39) return "'\\''";
  if (c === 34) return `'"'`;
  if (c >= 0x80) {
    // Go takes the byte for a rune of Latin-1.
    return c < 0xa0 || c === 0xa0 || c === 0xad
      ? `'\\u${c.toString(16).padStart(4, '0')}'`
      : `'${String.fromCharCode(c)}'`;
  }
  return `'${goQuote(String.fromCharCode(c)).slice(1, -1)}'`;
}

/** The error that encoding/json reports for these bytes, undefined where they are valid. */
export function goSyntaxError(bytes: Uint8Array): JsonSyntaxError | undefined {
  let i = 0;
  const n = bytes.length;
  const stack: ('key' | 'value' | 'array')[] = [];
  const bad = (context: string): JsonSyntaxError =>
    i >= n
      ? new JsonSyntaxError('unexpected end of JSON input', n)
      : new JsonSyntaxError(`invalid character ${quoteChar(bytes[i]!)} ${context}`, i + 1);
  const skip = (): void => {
    while (i < n && (bytes[i] === 32 || bytes[i] === 9 || bytes[i] === 10 || bytes[i] === 13)) i++;
  };
  const isDigit = (): boolean => i < n && bytes[i]! >= 48 && bytes[i]! <= 57;
  const digits = (context: string): JsonSyntaxError | undefined => {
    if (!isDigit()) return bad(context);
    while (isDigit()) i++;
    return undefined;
  };
  const string = (): JsonSyntaxError | undefined => {
    i++;
    for (;;) {
      if (i >= n) return bad('');
      const c = bytes[i]!;
      if (c === 34) {
        i++;
        return undefined;
      }
      if (c < 32) return bad('in string literal');
      i++;
      if (c !== 92) continue;
      if (i >= n) return bad('');
      const e = String.fromCharCode(bytes[i]!);
      if (e === 'u') {
        for (let k = 0; k < 4; k++) {
          i++;
          if (i >= n || !/[0-9a-fA-F]/.test(String.fromCharCode(bytes[i]!))) {
            return bad('in \\u hexadecimal character escape');
          }
        }
      } else if (!'bfnrt\\/"'.includes(e)) return bad('in string escape code');
      i++;
    }
  };
  const word = (text: string): JsonSyntaxError | undefined => {
    for (let k = 1; k < text.length; k++) {
      i++;
      if (i >= n || bytes[i] !== text.charCodeAt(k)) return bad(`in literal ${text} (expecting '${text[k]}')`);
    }
    i++;
    return undefined;
  };
  /** A scalar or an opening bracket. */
  const begin = (): JsonSyntaxError | 'open' | undefined => {
    skip();
    if (i >= n) return bad('');
    switch (bytes[i]) {
      case 123:
      case 91:
        if (stack.length >= 10000) return bad('exceeded max depth');
        stack.push(bytes[i] === 123 ? 'key' : 'array');
        i++;
        return 'open';
      case 34:
        return string();
      case 116:
        return word('true');
      case 102:
        return word('false');
      case 110:
        return word('null');
      default: {
        const negative = bytes[i] === 45;
        if (negative) i++;
        if (!isDigit()) return bad(negative ? 'in numeric literal' : 'looking for beginning of value');
        if (bytes[i] === 48) i++;
        else while (isDigit()) i++;
        if (bytes[i] === 46) {
          i++;
          const e = digits('after decimal point in numeric literal');
          if (e !== undefined) return e;
        }
        if (bytes[i] === 101 || bytes[i] === 69) {
          i++;
          if (bytes[i] === 43 || bytes[i] === 45) i++;
          const e = digits('in exponent of numeric literal');
          if (e !== undefined) return e;
        }
        return undefined;
      }
    }
  };
  const key = (): JsonSyntaxError | undefined => {
    skip();
    if (i >= n || bytes[i] !== 34) return bad('looking for beginning of object key string');
    const e = string();
    if (e !== undefined) return e;
    skip();
    if (i >= n || bytes[i] !== 58) return bad('after object key');
    i++;
    stack[stack.length - 1] = 'value';
    return undefined;
  };
  for (;;) {
    const opened = begin();
    if (opened instanceof JsonSyntaxError) return opened;
    let needValue = false;
    if (opened === 'open') {
      skip();
      const top = stack[stack.length - 1]!;
      const close = top === 'array' ? 93 : 125;
      if (i < n && bytes[i] === close) {
        i++;
        stack.pop();
      } else if (top === 'array') needValue = true;
      else {
        const e = key();
        if (e !== undefined) return e;
        needValue = true;
      }
    }
    while (!needValue) {
      skip();
      if (stack.length === 0) return i >= n ? undefined : bad('after top-level value');
      if (i >= n) return bad('');
      const c = bytes[i]!;
      if (stack[stack.length - 1] === 'array') {
        if (c === 44) {
          i++;
          needValue = true;
        } else if (c === 93) {
          i++;
          stack.pop();
        } else return bad('after array element');
      } else if (c === 44) {
        i++;
        const e = key();
        if (e !== undefined) return e;
        needValue = true;
      } else if (c === 125) {
        i++;
        stack.pop();
      } else return bad('after object key:value pair');
    }
  }
}

/** Go's word for a JSON value's type. */
export function jsonTypeName(value: unknown): string {
  if (value === null || value === undefined) return 'null';
  if (Array.isArray(value)) return 'array';
  switch (typeof value) {
    case 'object':
      return 'object';
    case 'boolean':
      return 'bool';
    case 'bigint':
      return 'number';
    default:
      return typeof value;
  }
}

const typeMetaStruct =
  'struct { APIVersion string "json:\\"apiVersion,omitempty\\""; Kind string "json:\\"kind,omitempty\\"" }';

/**
 * apiVersion and kind of a parsed body, empty where absent.
 * @throws {JsonTypeError} with upstream's text, to stand after `couldn't get version/kind; json parse error: `
 */
export function typeMetaOf(value: unknown): { apiVersion: string; kind: string } {
  if (value === null || value === undefined) return { apiVersion: '', kind: '' };
  if (typeof value !== 'object' || Array.isArray(value)) {
    throw new JsonTypeError(`json: cannot unmarshal ${jsonTypeName(value)} into Go value of type ${typeMetaStruct}`);
  }
  const read = (name: 'apiVersion' | 'kind'): string => {
    const member = Object.hasOwn(value, name) ? (value as Record<string, unknown>)[name] : undefined;
    if (member === undefined || member === null) return '';
    if (typeof member !== 'string') {
      throw new JsonTypeError(
        `json: cannot unmarshal ${jsonTypeName(member)} into Go struct field .${name} of type string`,
      );
    }
    return member;
  };
  return { apiVersion: read('apiVersion'), kind: read('kind') };
}

/** What stands before a syntax or type error of a body whose kind could not be read. */
export const versionKindErrorPrefix = "couldn't get version/kind; json parse error: ";
