/**
 * Decode: from parsed JSON to a clean typed object of a built-in type, as Go's decoder fills the struct. Values of the wrong
 * type are refused in encoding/json's words, unknown members are left out (and named, for strict field validation), null is
 * unset, and scalars with a canonical form (quantities, times, durations, base64) come out in it. The result is fresh: it
 * shares nothing with the input that a caller could change later.
 *
 * Members stay in the order of the input; `canonicalize.ts` puts them in upstream's. Custom resources are not decoded but
 * pruned (`prune.ts`): upstream reads them untyped.
 */
import { goQuote, jsonTypeName } from '../codec/json.ts';
import type { GroupVersionKind } from '../object.ts';
import { canonicalQuantity, quantityError, quantityFormatWrong } from '../quantity.ts';
import { badRequest } from '../status.ts';
import type { StatusError } from '../status.ts';
import { canonicalDuration, canonicalMicroTime, canonicalTime, formatTime } from '../time.ts';
import { maxEmptyLists, type ListPath } from './empty-lists.ts';
import type { AnySchema, EitherSchema, ObjectSchema, ScalarSchema, Schema } from './schema.ts';

/** The body does not fit the type; the message is what upstream's decoder says. */
export class DecodeError extends Error {
  constructor(message: string, options?: { cause?: unknown }) {
    super(message, options);
    this.name = 'DecodeError';
  }
}

export interface DecodeOptions {
  /** Collect unknown members, for fieldValidation Strict and Warn. */
  readonly strict?: boolean;
  /** What stands before the names of unknown members, where the input is a part of an object: `metadata`. */
  readonly path?: string;
  /** The input was parsed for this call alone, so opaque parts of it may be used as they are. */
  readonly owned?: boolean;
}

export interface Decoded {
  readonly object: Record<string, unknown>;
  /** `unknown field "spec.x"`, at most a hundred, each once; empty unless `strict`. */
  readonly strictErrors: string[];
  /** Where the input has empty lists; undefined: nowhere. */
  readonly emptyLists: readonly ListPath[] | undefined;
}

type Members = Record<string, unknown>;

/**
 * Decodes a whole object (or a part of one) of a built-in type.
 * @throws {DecodeError}
 */
export function decode(schema: ObjectSchema, input: unknown, options: DecodeOptions = {}): Decoded {
  const decoder = new Decoder(schema, options);
  if (typeof input !== 'object' || input === null || Array.isArray(input)) {
    throw new DecodeError(`json: cannot unmarshal ${jsonTypeName(input)} into Go value of type ${goTypeOf(schema)}`);
  }
  const object = decoder.object(schema, input as Members);
  if (decoder.error !== undefined) throw decoder.error;
  return { object, strictErrors: decoder.strictErrors, emptyLists: decoder.emptyLists };
}

/** The 400 that a request with an undecodable body gets; `actual` is what the body says it is, `kind` what was wanted. */
export function cannotBeHandled(actual: GroupVersionKind, kind: string, error: unknown): StatusError {
  const text = error instanceof Error ? error.message : String(error);
  return badRequest(`${actual.kind} in version "${actual.version}" cannot be handled as a ${kind}: ${text}`, error);
}

/** What strict field validation says of these errors, after `cannot be handled as a X: `. */
export function strictDecodingMessage(errors: readonly string[]): string {
  return `strict decoding error: ${errors.join(', ')}`;
}

/** The Go type behind a schema, as reflection prints it. */
function goTypeOf(schema: Schema): string {
  if (schema.goType !== undefined) return schema.goType;
  switch (schema.kind) {
    case 'object': {
      const dot = schema.name.lastIndexOf('.');
      return schema.name.slice(schema.name.lastIndexOf('.', dot - 1) + 1);
    }
    case 'list':
      return `[]${goTypeOf(schema.items)}`;
    case 'map':
      return `map[string]${goTypeOf(schema.values)}`;
    case 'scalar':
      return scalarGoTypes[schema.type];
    case 'any':
      return schema.raw === undefined ? 'interface {}' : anyGoTypes[schema.raw];
    case 'either':
      return 'v1.JSONSchemaProps';
  }
}

const scalarGoTypes: Record<ScalarSchema['type'], string> = {
  string: 'string',
  boolean: 'bool',
  int32: 'int32',
  int64: 'int64',
  double: 'float64',
  bytes: '[]uint8',
  quantity: 'resource.Quantity',
  time: 'v1.Time',
  microTime: 'v1.MicroTime',
  duration: 'v1.Duration',
  intOrString: 'intstr.IntOrString',
};
const anyGoTypes: Record<NonNullable<AnySchema['raw']>, string> = {
  rawExtension: 'runtime.RawExtension',
  fieldsV1: 'v1.FieldsV1',
  json: 'v1.JSON',
};

/** What a null list item or map value becomes: Go's zero value of the element. */
function zeroElement(schema: Schema): unknown {
  switch (schema.kind) {
    case 'object':
      return {};
    case 'scalar':
      switch (schema.type) {
        case 'string':
          return '';
        case 'boolean':
          return false;
        case 'quantity':
          return '0';
        case 'duration':
          return '0s';
        case 'int32':
        case 'int64':
        case 'double':
        case 'intOrString':
          return 0;
        default:
          return null;
      }
    default:
      return null;
  }
}

const maxInt64 = 9223372036854775807n;
const minInt64 = -9223372036854775808n;
const daysOfMonth = [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];

function twoDigits(text: string, at: number): number {
  const a = text.charCodeAt(at) - 48;
  const b = text.charCodeAt(at + 1) - 48;
  return a >= 0 && a <= 9 && b >= 0 && b <= 9 ? a * 10 + b : 99;
}

/** True for `YYYY-MM-DDTHH:MM:SS.ffffffZ` from year 1000 on, which is written back as it is. */
function isCanonicalMicroTime(t: string): boolean {
  if (t.length !== 27 || t.charCodeAt(26) !== 90 || t.charCodeAt(19) !== 46) return false;
  for (let i = 20; i < 26; i++) {
    const c = t.charCodeAt(i);
    if (c < 48 || c > 57) return false;
  }
  return isCanonicalSeconds(t);
}

/** True for `YYYY-MM-DDTHH:MM:SSZ` from year 1000 on, which is written back as it is. */
function isCanonicalTime(t: string): boolean {
  return t.length === 20 && t.charCodeAt(19) === 90 && isCanonicalSeconds(t);
}

/** What both begin with. */
function isCanonicalSeconds(t: string): boolean {
  if (t.charCodeAt(10) !== 84) return false;
  if (t.charCodeAt(4) !== 45 || t.charCodeAt(7) !== 45 || t.charCodeAt(13) !== 58 || t.charCodeAt(16) !== 58)
    return false;
  const century = twoDigits(t, 0);
  const year = twoDigits(t, 2);
  if (century < 10 || century === 99 || year === 99) return false;
  const month = twoDigits(t, 5);
  const day = twoDigits(t, 8);
  if (
    month < 1 ||
    month > 12 ||
    day < 1 ||
    day > (month === 2 && year % 4 === 0 && year !== 0 ? 29 : daysOfMonth[month - 1]!)
  ) {
    return false;
  }
  return twoDigits(t, 11) < 24 && twoDigits(t, 14) < 60 && twoDigits(t, 17) < 60;
}

const base64Pattern = /^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/][AQgw]==|[A-Za-z0-9+/]{2}[AEIMQUYcgkosw048]=)?$/;

/** Where Go's base64 decoder would stop. */
function base64ErrorOffset(text: string): number {
  let digits = 0;
  for (let i = 0; i < text.length; i++) {
    const c = text[i]!;
    if (c === '\n' || c === '\r') continue;
    if (/[A-Za-z0-9+/]/.test(c)) {
      digits++;
      continue;
    }
    if (c !== '=' || digits % 4 < 2) return i;
    let j = i + 1;
    if (digits % 4 === 2) {
      while (text[j] === '\n' || text[j] === '\r') j++;
      if (j === text.length) return text.length;
      if (text[j] !== '=') return j;
      j++;
    }
    while (text[j] === '\n' || text[j] === '\r') j++;
    return j < text.length ? j : -1;
  }
  // One digit too many is told of by where it stands.
  return digits % 4 === 0 ? -1 : digits % 4 === 1 ? text.length - 1 : text.length;
}

function canonicalBase64(text: string): string {
  if (base64Pattern.test(text)) return text;
  const offset = base64ErrorOffset(text);
  if (offset >= 0) throw new DecodeError(`illegal base64 data at input byte ${offset}`);
  return Buffer.from(text, 'base64').toString('base64');
}

/** A copy of any JSON value that keeps nothing of the caller's: `undefined` members go, Dates become times. */
export function copyJson(value: unknown): unknown {
  if (typeof value !== 'object' || value === null) return value === undefined ? null : value;
  if (Array.isArray(value)) return value.map(copyJson);
  if (value instanceof Date) return formatTime(value.getTime());
  const out: Members = {};
  for (const key of Object.keys(value)) {
    const member = (value as Members)[key];
    if (member !== undefined) setMember(out, key, copyJson(member));
  }
  return out;
}

/** Assignment that treats `__proto__` as any other key. */
export function setMember(out: Members, key: string, value: unknown): void {
  if (key === '__proto__')
    Object.defineProperty(out, key, { value, enumerable: true, configurable: true, writable: true });
  else out[key] = value;
}

class Decoder {
  readonly strictErrors: string[] = [];
  /** The first wrong type; reported when the rest has been read, as Go does. */
  error: DecodeError | undefined;
  emptyLists: ListPath[] | undefined;
  readonly #root: ObjectSchema;
  readonly #owned: boolean;
  readonly #prefix: string;
  #strict: boolean;
  /** Keys and indexes from the root to where the decoder is; `#depth` of them count. */
  readonly #path: (string | number)[] = [];
  #depth = 0;

  constructor(root: ObjectSchema, options: DecodeOptions) {
    this.#root = root;
    this.#strict = options.strict === true;
    this.#owned = options.owned === true;
    this.#prefix = options.path ?? '';
  }

  object(schema: ObjectSchema, input: Members): Members {
    const out: Members = {};
    const fields = schema.fields;
    const depth = this.#depth++;
    for (const key in input) {
      const value = input[key];
      const field = fields.get(key);
      if (field === undefined) {
        if (value === undefined) continue;
        if (schema.preserveUnknown) setMember(out, key, this.#any(value));
        else if (this.#strict) this.#unknown(depth, key);
        continue;
      }
      if (value === null || value === undefined) continue;
      this.#path[depth] = key;
      const v = this.#value(field.schema, value);
      if (v !== undefined) out[key] = v;
    }
    this.#depth = depth;
    return out;
  }

  /** Undefined after a type error. */
  #value(schema: Schema, value: unknown): unknown {
    switch (schema.kind) {
      case 'scalar':
        if (schema.type === 'string') return typeof value === 'string' ? value : this.#wrong(value, schema);
        return this.#scalar(schema, value);
      case 'object':
        if (typeof value !== 'object' || Array.isArray(value)) return this.#wrong(value, schema);
        return this.object(schema, value as Members);
      case 'list': {
        if (!Array.isArray(value)) return this.#wrong(value, schema);
        if (value.length === 0) {
          this.#emptyList();
          return [];
        }
        const items = schema.items;
        const depth = this.#depth++;
        const out: unknown[] = [];
        for (let i = 0; i < value.length; i++) {
          const item: unknown = value[i];
          this.#path[depth] = i;
          if (item === null || item === undefined) out.push(zeroElement(items));
          else {
            const v = this.#value(items, item);
            if (v !== undefined) out.push(v);
          }
        }
        this.#depth = depth;
        return out;
      }
      case 'map': {
        if (typeof value !== 'object' || Array.isArray(value)) return this.#wrong(value, schema);
        const values = schema.values;
        const plain = values.kind === 'scalar' && values.type === 'string';
        const depth = this.#depth++;
        const out: Members = {};
        for (const key in value) {
          const member = (value as Members)[key];
          if (member === undefined) continue;
          if (plain && typeof member === 'string' && key !== '__proto__') {
            out[key] = member;
            continue;
          }
          this.#path[depth] = key;
          const v = member === null ? zeroElement(values) : this.#value(values, member);
          if (v !== undefined) setMember(out, key, v);
        }
        this.#depth = depth;
        return out;
      }
      case 'any':
        return this.#any(value);
      case 'either':
        return this.#either(schema, value);
    }
  }

  #emptyList(): void {
    const lists = (this.emptyLists ??= []);
    if (lists.length < maxEmptyLists) lists.push(this.#path.slice(0, this.#depth));
  }

  #any(value: unknown): unknown {
    return this.#owned ? value : copyJson(value);
  }

  #either(schema: EitherSchema, value: unknown): unknown {
    // Upstream reads these with an inner decoder that is not strict.
    const strict = this.#strict;
    this.#strict = false;
    let out: unknown;
    if (typeof value === 'object' && value !== null && !Array.isArray(value)) {
      out = this.object(schema.object, value as Members);
    } else if (schema.other.kind === 'list') {
      // Neither of the two is a value all the same: it is there, with nothing in it.
      out = Array.isArray(value) ? this.#value(schema.other, value) : null;
    } else {
      if (typeof value !== 'boolean') throw new DecodeError('boolean or JSON schema expected');
      out = value;
    }
    this.#strict = strict;
    return out;
  }

  #scalar(schema: ScalarSchema, value: unknown): unknown {
    switch (schema.type) {
      case 'string':
        return typeof value === 'string' ? value : this.#wrong(value, schema);
      case 'boolean':
        return typeof value === 'boolean' ? value : this.#wrong(value, schema);
      case 'int32':
        if (typeof value === 'number' && (value | 0) === value) return value | 0;
        return this.#wrong(value, schema);
      case 'int64':
        if (typeof value === 'number' && Number.isSafeInteger(value)) return value === 0 ? 0 : value;
        if (typeof value === 'bigint' && value >= minInt64 && value <= maxInt64) {
          return value >= Number.MIN_SAFE_INTEGER && value <= Number.MAX_SAFE_INTEGER ? Number(value) : value;
        }
        return this.#wrong(value, schema);
      case 'double':
        if (typeof value === 'bigint') return Number(value);
        return typeof value === 'number' && Number.isFinite(value) ? value : this.#wrong(value, schema);
      case 'bytes':
        if (typeof value === 'string') {
          try {
            return canonicalBase64(value);
          } catch (e) {
            this.error ??= e as DecodeError;
            return undefined;
          }
        }
        return this.#byteList(schema, value);
      case 'quantity': {
        const text = typeof value === 'string' ? value : typeof value === 'object' ? '' : String(value);
        const canonical = canonicalQuantity(text);
        if (canonical === undefined) throw new DecodeError(quantityError(text.trim()) ?? quantityFormatWrong);
        return canonical;
      }
      case 'time':
        if (value instanceof Date) return formatTime(value.getTime());
        if (typeof value !== 'string') throw this.#typeError(value, 'string');
        return isCanonicalTime(value) ? value : this.#parsed(canonicalTime, value);
      case 'microTime':
        if (value instanceof Date) return `${value.toISOString().slice(0, 23)}000Z`;
        if (typeof value !== 'string') throw this.#typeError(value, 'string');
        return isCanonicalMicroTime(value) ? value : this.#parsed(canonicalMicroTime, value);
      case 'duration':
        if (typeof value !== 'string') throw this.#typeError(value, 'string');
        return this.#parsed(canonicalDuration, value);
      case 'intOrString':
        if (typeof value === 'string') return value;
        if (typeof value === 'number' && (value | 0) === value) return value | 0;
        throw this.#typeError(value, 'int32');
    }
  }

  #byteList(schema: ScalarSchema, value: unknown): unknown {
    if (value instanceof Uint8Array)
      return Buffer.from(value.buffer, value.byteOffset, value.byteLength).toString('base64');
    if (!Array.isArray(value)) return this.#wrong(value, schema);
    for (const item of value) {
      if (typeof item !== 'number' || !Number.isInteger(item) || item < 0 || item > 255) {
        this.error ??= this.#typeError(item, 'uint8');
        return undefined;
      }
    }
    return Buffer.from(value as number[]).toString('base64');
  }

  #parsed(parse: (text: string) => string | null, text: string): string | undefined {
    try {
      // the zero time is unset
      return parse(text) ?? undefined;
    } catch (e) {
      throw new DecodeError((e as Error).message, { cause: e });
    }
  }

  #wrong(value: unknown, schema: Schema): undefined {
    this.error ??= this.#typeError(value, goTypeOf(schema));
    return undefined;
  }

  #typeError(value: unknown, goType: string): DecodeError {
    let what = jsonTypeName(value);
    if (what === 'number' && /^(u?int|float)/.test(goType)) what = `number ${String(value)}`;
    // Go names the innermost struct and the members on the way, without indexes and map keys.
    let struct = '';
    const names: string[] = [];
    let schema: Schema = this.#root;
    for (let i = 0; i < this.#depth; i++) {
      const key = this.#path[i]!;
      if (schema.kind === 'either') schema = typeof key === 'number' ? schema.other : schema.object;
      if (schema.kind === 'object') {
        const field = schema.fields.get(String(key));
        if (field === undefined) break;
        struct = schema.name.slice(schema.name.lastIndexOf('.') + 1);
        if (field.withinNames !== undefined) names.push(...field.withinNames);
        else if (field.number === 0 && schema.embedded && (key === 'kind' || key === 'apiVersion'))
          names.push('TypeMeta');
        names.push(field.name);
        schema = field.schema;
      } else if (schema.kind === 'list') schema = schema.items;
      else if (schema.kind === 'map') schema = schema.values;
      else break;
    }
    if (struct === '') return new DecodeError(`json: cannot unmarshal ${what} into Go value of type ${goType}`);
    return new DecodeError(
      `json: cannot unmarshal ${what} into Go struct field ${struct}.${names.join('.')} of type ${goType}`,
    );
  }

  #unknown(depth: number, key: string): void {
    if (this.strictErrors.length >= 100) return;
    let path = this.#prefix;
    for (let i = 0; i < depth; i++) {
      const step = this.#path[i]!;
      path += typeof step === 'number' ? `[${step}]` : path === '' ? step : `.${step}`;
    }
    const message = `unknown field ${goQuote(path === '' ? key : `${path}.${key}`)}`;
    if (!this.strictErrors.includes(message)) this.strictErrors.push(message);
  }
}
