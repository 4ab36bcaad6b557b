/**
 * Built-in objects as upstream's protobuf (`application/vnd.kubernetes.protobuf`): one visitor over the `Schema` each way, and
 * the `runtime.Unknown` envelope. Bytes are what upstream's generated code writes: fields by number, members that are no
 * pointers even when zero, map keys sorted. Messages are written from their end, so that lengths are known when they are due.
 */
import type { Catalog } from './catalog/catalog.ts';
import { goQuote } from './codec/json.ts';
import { parseTrustedJson, stringifyJson } from './codec/json.ts';
import type { GroupVersionKind, KubeObject } from './object.ts';
import { apiVersionOf, parseApiVersion } from './object.ts';
import { setMember } from './patch/values.ts';
import { makePlan } from './protobuf-plan.ts';
import type { Plan } from './protobuf-plan.ts';
import { StoredMessages } from './protobuf-stored.ts';
import type { StoredJson } from './protobuf-stored.ts';
import { isTime, readScalar, writeScalar, zeroOf } from './protobuf-scalars.ts';
import { delimited, emptyText, expect, ProtobufError, Reader, varint, Writer } from './protobuf-wire.ts';
import type { Field, ListSchema, ObjectSchema, Schema } from './schema/schema.ts';

type Members = Record<string, unknown>;

const maxDepth = 1000;

/** The four bytes that begin every enveloped object. */
const protobufMagic: Uint8Array = Buffer.from([0x6b, 0x38, 0x73, 0x00]);

/** The pieces of an enveloped list. */
export interface ListParts {
  /** One item as it stands in the list, in memory that the next one takes. */
  item(object: object): Buffer;
  /** The same of stored JSON; undefined where it has to be parsed. */
  stored(json: StoredJson): Buffer | undefined;
  /** What stands before the items, which will take so many bytes. */
  head(metadata: object, itemBytes: number): Buffer;
  readonly tail: Buffer;
}

/** The envelope's contentEncoding and contentType, both empty. */
const listTail = Buffer.from([0x1a, 0, 0x22, 0]);

/** Writes what stands behind the message. */
function beginEnvelope(w: Writer): number {
  w.textField(4, '');
  w.textField(3, '');
  return w.written;
}

/** Writes what stands before the message, which ended at `raw` bytes written. */
function endEnvelope(w: Writer, raw: number, apiVersion: string, kind: string): void {
  w.close(2, raw);
  const typeMeta = w.written;
  w.textField(2, kind);
  w.textField(1, apiVersion);
  w.close(1, typeMeta);
  w.bytes(protobufMagic);
}

/** Writes a WatchEvent and its length around an object that ended at `raw` bytes written. */
function endFrame(w: Writer, raw: number, type: string): void {
  w.close(1, raw);
  w.close(2, raw);
  w.textField(1, type);
  const length = w.written;
  w.bytes(Buffer.from([length >>> 24, (length >>> 16) & 255, (length >>> 8) & 255, length & 255]));
}

// The codec ------------------------------------------------------------------------------------------------------------

/** Reads and writes the kinds of a catalogue; holds what it worked out about their types. */
export class ProtobufObjects {
  readonly #catalog: Catalog;
  readonly #framed = new Writer(16 * 1024);
  readonly #plans = new WeakMap<ObjectSchema, Plan>();
  readonly #stored = new StoredMessages({
    plan: (schema) => this.#planOf(schema),
    absent: (field) => this.#absent(field),
  });

  constructor(catalog: Catalog) {
    this.#catalog = catalog;
  }

  /** Whether this kind has a protobuf form (custom kinds and Tables have none). */
  supports(apiVersion: string, kind: string): boolean {
    return this.#schemaOf(apiVersion, kind) !== undefined;
  }

  #schemaOf(apiVersion: string, kind: string): ObjectSchema | undefined {
    const gv = parseApiVersion(apiVersion);
    if (gv === undefined || kind === '' || kind === 'Table') return undefined;
    // The metadata of objects has the same form in both versions; only one of them is in the catalogue.
    const version = gv.group === 'meta.k8s.io' ? 'v1' : gv.version;
    const gvk: GroupVersionKind = { group: gv.group, version, kind };
    return this.#catalog.schemaForKind(gvk);
  }

  /**
   * The whole body of an object that carries apiVersion and kind: magic, envelope, message. `unversioned`: whose type that is
   * where it carries none.
   */
  encode(object: { readonly apiVersion?: string; readonly kind?: string }, unversioned = ''): Buffer {
    const shown = object.apiVersion ?? '';
    const apiVersion = shown === '' ? unversioned : shown;
    const kind = object.kind ?? '';
    const schema = this.#schemaOf(apiVersion, kind);
    if (schema === undefined) {
      throw new ProtobufError(`no kind ${goQuote(kind)} is registered for version ${goQuote(apiVersion)}`);
    }
    const w = new Writer(4096);
    const raw = beginEnvelope(w);
    this.#message(w, this.#planOf(schema), object as Members);
    endEnvelope(w, raw, shown, kind);
    return w.result();
  }

  /** The same of stored JSON as a frame of a watch, in memory that the next takes; undefined where it has to be parsed. */
  storedFrame(apiVersion: string, kind: string, type: string, json: StoredJson): Buffer | undefined {
    const schema = this.#schemaOf(apiVersion, kind);
    if (schema === undefined) return undefined;
    const w = this.#framed;
    w.reset();
    const raw = beginEnvelope(w);
    if (!this.#stored.message(w, schema, json)) return undefined;
    endEnvelope(w, raw, apiVersion, kind);
    endFrame(w, 0, type);
    return w.result();
  }

  /** A list in pieces, so that a long one need not be held whole; undefined for kinds without a protobuf form. */
  listParts(apiVersion: string, listKind: string): ListParts | undefined {
    const schema = this.#schemaOf(apiVersion, listKind);
    const items = schema?.fields.get('items');
    if (schema === undefined || items?.schema.kind !== 'list' || items.schema.items.kind !== 'object') return undefined;
    const itemSchema = items.schema.items;
    const plan = this.#planOf(itemSchema);
    const { number } = items;
    const w = new Writer(16 * 1024);
    return {
      item: (object) => {
        w.reset();
        this.#message(w, plan, object as Members);
        w.close(number, 0);
        return w.result();
      },
      stored: (json) => {
        w.reset();
        if (!this.#stored.message(w, itemSchema, json)) return undefined;
        w.close(number, 0);
        return w.result();
      },
      head: (metadata, itemBytes) => {
        const meta = this.encodeMessage(schema, { metadata });
        const w = new Writer(meta.length + 256);
        w.bytes(meta);
        w.number(meta.length + itemBytes);
        w.tag(2, delimited);
        const typeMeta = w.written;
        w.textField(2, listKind);
        w.textField(1, apiVersion);
        w.close(1, typeMeta);
        w.bytes(protobufMagic);
        return w.result();
      },
      tail: listTail,
    };
  }

  /** A watch frame: the length in four bytes, then a bare WatchEvent around an encoded object. */
  frame(type: string, object: Uint8Array): Buffer {
    const w = new Writer(object.length + type.length + 32);
    w.bytes(object);
    endFrame(w, 0, type);
    return w.result();
  }

  /**
   * An enveloped object as JSON, with apiVersion and kind; not yet decoded by its schema, and with no more than its type where
   * that is unknown. `defaults` is the type of an envelope that names none; `hub` how other versions of its
   * kind are read that are not known (members keep their numbers from version to version).
   * @throws {ProtobufError} with upstream's text, and with the type where the envelope could be read
   */
  decode(
    bytes: Uint8Array,
    defaults?: { readonly apiVersion: string; readonly kind: string },
    hub?: { readonly group: string; readonly version: string; readonly kind: string },
  ): KubeObject {
    if (bytes.length === 0) throw new ProtobufError('empty data');
    const envelope = readEnvelope(bytes);
    if (envelope === undefined)
      throw new ProtobufError(
        `provided data does not appear to be a protobuf message, expected prefix [${protobufMagic.join(' ')}]`,
      );
    if (bytes.length === protobufMagic.length) throw new ProtobufError('empty body');
    const apiVersion = envelope.apiVersion || (defaults?.apiVersion ?? '');
    const kind = envelope.kind || (defaults?.kind ?? '');
    let schema = this.#schemaOf(apiVersion, kind);
    if (schema === undefined && hub !== undefined && kind === hub.kind) {
      if (parseApiVersion(apiVersion)?.group === hub.group) schema = this.#schemaOf(apiVersionOf(hub), kind);
    }
    if (schema === undefined) return { apiVersion, kind, metadata: {} };
    try {
      return { apiVersion, kind, metadata: {}, ...this.decodeMessage(schema, envelope.raw) };
    } catch (e) {
      if (e instanceof ProtobufError) throw new ProtobufError(e.message, { apiVersion, kind }, e);
      throw e;
    }
  }

  /** A bare message, without envelope. */
  encodeMessage(schema: ObjectSchema, object: object): Buffer {
    const w = new Writer(1024);
    this.#message(w, this.#planOf(schema), object as Members);
    return w.result();
  }

  /** A bare message as JSON. @throws {ProtobufError} */
  decodeMessage(schema: ObjectSchema, bytes: Uint8Array): Members {
    const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    const out: Members = {};
    this.#readMessage(this.#planOf(schema), new Reader(buffer, 0, buffer.length), out, 0);
    return out;
  }

  #planOf(schema: ObjectSchema): Plan {
    let plan = this.#plans.get(schema);
    if (plan === undefined) {
      plan = makePlan(schema);
      this.#plans.set(schema, plan);
    }
    return plan;
  }

  #message(w: Writer, plan: Plan, members: Members): void {
    for (let i = plan.entries.length - 1; i >= 0; i--) {
      const entry = plan.entries[i]!;
      if (entry.inline !== undefined) {
        const end = w.written;
        this.#message(w, entry.inline, members);
        w.close(entry.number, end);
        continue;
      }
      const { schema, name } = entry.field!;
      const value = members[name];
      if (value !== undefined && value !== null) this.#value(w, schema, entry.number, value);
      else w.few((entry.absent ??= this.#absent(entry.field!)));
    }
  }

  #absent(field: Field): Buffer {
    const w = new Writer(64);
    this.#unset(w, field);
    return w.result();
  }

  #unset(w: Writer, field: Field): void {
    const { schema, number } = field;
    // Pointers, lists and maps are left out when unset; other members are written with their zero value.
    if (field.presence === 'pointer') return;
    if (schema.kind === 'object') {
      if (field.embeddedStruct || field.presence === 'omitzero') this.#value(w, schema, number, {});
    } else if (schema.kind === 'scalar') {
      if (schema.type === 'bytes' || (field.presence === 'always' && field.zero === null && !isTime(schema.type)))
        return;
      writeScalar(w, schema.type, number, zeroOf(schema.type));
    } else if (schema.kind === 'any' && schema.raw === 'rawExtension') w.close(number, w.written);
  }

  #value(w: Writer, schema: Schema, number: number, value: unknown): void {
    switch (schema.kind) {
      case 'object': {
        const end = w.written;
        this.#message(w, this.#planOf(schema), value as Members);
        w.close(number, end);
        return;
      }
      case 'list':
        this.#list(w, schema, number, value as readonly unknown[]);
        return;
      case 'map': {
        const members = value as Members;
        const keys = Object.keys(members).sort();
        for (let i = keys.length - 1; i >= 0; i--) {
          const end = w.written;
          const member = members[keys[i]!];
          if (member !== null && member !== undefined) this.#value(w, schema.values, 2, member);
          else if (schema.values.kind === 'scalar') writeScalar(w, schema.values.type, 2, zeroOf(schema.values.type));
          w.textField(1, keys[i]!);
          w.close(number, end);
        }
        return;
      }
      case 'scalar':
        writeScalar(w, schema.type, number, value);
        return;
      case 'any': {
        const end = w.written;
        w.textField(1, stringifyJson(value));
        w.close(number, end);
        return;
      }
      case 'either': {
        const end = w.written;
        const { object, other } = schema;
        if (other.kind === 'scalar') {
          // JSONSchemaPropsOrBool: a schema allows, too.
          const isSchema = typeof value === 'object';
          if (isSchema) this.#value(w, object, 2, value);
          w.integer(isSchema || value === true ? 1 : 0);
          w.tag(1, varint);
        } else if (Array.isArray(value)) this.#list(w, other, 2, value);
        else this.#value(w, object, 1, value);
        w.close(number, end);
      }
    }
  }

  #list(w: Writer, schema: ListSchema, number: number, items: readonly unknown[]): void {
    if (schema.wrapped === true) {
      const end = w.written;
      for (let i = items.length - 1; i >= 0; i--) this.#value(w, schema.items, 1, items[i]);
      w.close(number, end);
      return;
    }
    for (let i = items.length - 1; i >= 0; i--) {
      const item = items[i];
      if (item !== null && item !== undefined) this.#value(w, schema.items, number, item);
      else if (schema.items.kind === 'object') this.#value(w, schema.items, number, {});
      else if (schema.items.kind === 'scalar') writeScalar(w, schema.items.type, number, zeroOf(schema.items.type));
    }
  }

  #readMessage(plan: Plan, r: Reader, out: Members, depth: number): void {
    if (depth > maxDepth) throw new ProtobufError('exceeded max depth');
    while (r.more) {
      const tag = r.number();
      const number = Math.floor(tag / 8);
      const type = tag % 8;
      if (number <= 0) throw new ProtobufError(`proto: illegal tag ${number} (wire type ${tag})`);
      const entry = plan.byNumber.get(number);
      if (entry === undefined) {
        r.skip(type);
        continue;
      }
      if (entry.inline !== undefined) {
        expect(type, delimited, String(number));
        this.#readMessage(entry.inline, r.block(), out, depth + 1);
        continue;
      }
      const field = entry.field!;
      const value = this.#readValue(field.schema, type, r, field.name, out[field.name], depth + 1);
      if (value === undefined || isUnset(field, value)) continue;
      setMember(out, field.name, value);
    }
  }

  /** One occurrence of a field; lists and maps grow in place of what was read before. */
  #readValue(schema: Schema, type: number, r: Reader, name: string, before: unknown, depth: number): unknown {
    switch (schema.kind) {
      case 'object': {
        expect(type, delimited, name);
        const out = (before ?? {}) as Members;
        this.#readMessage(this.#planOf(schema), r.block(), out, depth);
        return out;
      }
      case 'list': {
        if (schema.wrapped !== true) {
          const items = (before ?? []) as unknown[];
          if (type === delimited && isPackable(schema.items)) {
            const packed = r.block();
            while (packed.more) items.push(this.#readValue(schema.items, varint, packed, name, undefined, depth));
          } else items.push(this.#readValue(schema.items, type, r, name, undefined, depth));
          return items;
        }
        expect(type, delimited, name);
        const items: unknown[] = [];
        const inner = r.block();
        while (inner.more) {
          const tag = inner.number();
          if (Math.floor(tag / 8) === 1)
            items.push(this.#readValue(schema.items, tag % 8, inner, name, undefined, depth));
          else inner.skip(tag % 8);
        }
        return items;
      }
      case 'map': {
        expect(type, delimited, name);
        const out = (before ?? {}) as Members;
        const entry = r.block();
        let key = '';
        let value: unknown;
        while (entry.more) {
          const tag = entry.number();
          const number = Math.floor(tag / 8);
          if (number === 1) key = entry.block().text();
          else if (number === 2) value = this.#readValue(schema.values, tag % 8, entry, name, undefined, depth);
          else entry.skip(tag % 8);
        }
        if (value === undefined) {
          value =
            schema.values.kind === 'scalar' ? zeroOf(schema.values.type) : schema.values.kind === 'list' ? [] : {};
        }
        setMember(out, key, value);
        return out;
      }
      case 'scalar':
        return readScalar(schema.type, type, r, name);
      case 'any': {
        expect(type, delimited, name);
        const inner = r.block();
        let value: unknown = null;
        while (inner.more) {
          const tag = inner.number();
          if (Math.floor(tag / 8) !== 1) inner.skip(tag % 8);
          else {
            const raw = inner.block().bytes();
            value = raw.length === 0 ? null : readJson(raw, name);
          }
        }
        return value;
      }
      case 'either':
        return this.#readEither(schema, r, type, name, depth);
    }
  }

  #readEither(schema: Schema & { kind: 'either' }, r: Reader, type: number, name: string, depth: number): unknown {
    expect(type, delimited, name);
    const inner = r.block();
    const { object, other } = schema;
    const objectNumber = other.kind === 'scalar' ? 2 : 1;
    let value: unknown;
    let allowed: unknown;
    while (inner.more) {
      const tag = inner.number();
      const number = Math.floor(tag / 8);
      if (number === objectNumber) value = this.#readValue(object, tag % 8, inner, name, undefined, depth);
      else if (number > 2) inner.skip(tag % 8);
      else if (other.kind === 'scalar') allowed = readScalar(other.type, tag % 8, inner, name);
      else value = this.#readValue(other, tag % 8, inner, name, value, depth);
    }
    return value ?? allowed ?? (other.kind === 'scalar' ? false : []);
  }
}

function isPackable(schema: Schema): boolean {
  return schema.kind === 'scalar' && (schema.type === 'int32' || schema.type === 'int64' || schema.type === 'boolean');
}

/** Zero values of members that are no pointers come over the wire, and are not there in JSON where they are omitted. */
function isUnset(field: Field, value: unknown): boolean {
  if (value === null) return field.zero === undefined;
  if (field.presence === 'pointer' || field.presence === 'always') return false;
  return value === '' || value === 0 || value === false;
}

function readJson(raw: Buffer, name: string): unknown {
  try {
    return parseTrustedJson(raw);
  } catch (e) {
    if (e instanceof SyntaxError) throw new ProtobufError(`field ${name} holds no JSON`);
    throw e;
  }
}

interface Envelope {
  readonly apiVersion: string;
  readonly kind: string;
  readonly raw: Buffer;
}

/** The envelope's content, undefined when the bytes do not begin with the magic. @throws {ProtobufError} */
export function readEnvelope(bytes: Uint8Array): Envelope | undefined {
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (buffer.length < 4 || !buffer.subarray(0, 4).equals(protobufMagic)) return undefined;
  const r = new Reader(buffer, 4, buffer.length);
  let apiVersion = '';
  let kind = '';
  let raw: Buffer = emptyText;
  while (r.more) {
    const tag = r.number();
    switch (Math.floor(tag / 8)) {
      case 1: {
        expect(tag % 8, delimited, 'TypeMeta');
        const inner = r.block();
        while (inner.more) {
          const t = inner.number();
          const n = Math.floor(t / 8);
          if (n === 1) apiVersion = inner.block().text();
          else if (n === 2) kind = inner.block().text();
          else inner.skip(t % 8);
        }
        break;
      }
      case 2:
        expect(tag % 8, delimited, 'Raw');
        raw = r.block().bytes();
        break;
      default:
        r.skip(tag % 8);
    }
  }
  return { apiVersion, kind, raw };
}
