/**
 * CBOR (RFC 8949) as Kubernetes writes and reads it: the data model of JSON, strings as byte strings, map keys sorted by their
 * encoded bytes, numbers in their shortest form, binary members tagged for base64, and the self-described tag in front of
 * every item.
 */
import type { ObjectSchema, Schema } from '../schema/schema.ts';

/** The bytes are no CBOR, or say what JSON cannot. */
export class CborError extends Error {}

/** The head of tag 55799, which every item of ours begins with. */
const selfDescribed = Buffer.from([0xd9, 0xd9, 0xf7]);
const maxDepth = 10_000;
/** Nothing built in nests so deep; beyond it the stack would end first. */
const maxStackDepth = 2_000;

// Writing --------------------------------------------------------------------------------------------------------------

class CborWriter {
  #target = Buffer.allocUnsafe(4096);
  #at = 0;

  room(n: number): void {
    if (this.#at + n <= this.#target.length) return;
    const grown = Buffer.allocUnsafeSlow(Math.max(this.#target.length * 2, this.#at + n));
    this.#target.copy(grown, 0, 0, this.#at);
    this.#target = grown;
  }

  byte(value: number): void {
    this.room(1);
    this.#target[this.#at++] = value;
  }

  /** A head: the major type and its argument in the shortest form. */
  head(major: number, value: number | bigint): void {
    this.room(9);
    const t = this.#target;
    const top = major << 5;
    if (value < 24) t[this.#at++] = top | Number(value);
    else if (value < 0x100) {
      t[this.#at++] = top | 24;
      t[this.#at++] = Number(value);
    } else if (value < 0x10000) {
      t[this.#at++] = top | 25;
      this.#at = t.writeUInt16BE(Number(value), this.#at);
    } else if (value < 0x100000000) {
      t[this.#at++] = top | 26;
      this.#at = t.writeUInt32BE(Number(value), this.#at);
    } else {
      t[this.#at++] = top | 27;
      this.#at = t.writeBigUInt64BE(BigInt(value), this.#at);
    }
  }

  text(value: string): void {
    const length = Buffer.byteLength(value);
    this.head(2, length);
    this.room(length);
    this.#at += this.#target.write(value, this.#at, 'utf8');
  }

  bytes(value: Uint8Array): void {
    this.head(2, value.length);
    this.raw(value);
  }

  raw(value: Uint8Array): void {
    this.room(value.length);
    this.#target.set(value, this.#at);
    this.#at += value.length;
  }

  float(value: number): void {
    this.room(9);
    const t = this.#target;
    const half = toHalf(value);
    if (half !== undefined) {
      t[this.#at++] = 0xf9;
      this.#at = t.writeUInt16BE(half, this.#at);
    } else if (Math.fround(value) === value) {
      t[this.#at++] = 0xfa;
      this.#at = t.writeFloatBE(value, this.#at);
    } else {
      t[this.#at++] = 0xfb;
      this.#at = t.writeDoubleBE(value, this.#at);
    }
  }

  finish(): Buffer {
    return this.#target.subarray(0, this.#at);
  }
}

/** The bits of an IEEE 754 half, where it holds the value exactly. */
function toHalf(value: number): number | undefined {
  const sign = Object.is(value, -0) || value < 0 ? 0x8000 : 0;
  const size = Math.abs(value);
  if (size === 0) return sign;
  if (size > 65504) return undefined;
  const exponent = Math.floor(Math.log2(size));
  for (const e of [exponent, exponent + 1, exponent - 1]) {
    if (e < -14) {
      const fraction = size * 2 ** 24;
      if (Number.isInteger(fraction) && fraction < 1024) return sign | fraction;
    } else if (e <= 15) {
      const fraction = (size / 2 ** e - 1) * 1024;
      if (Number.isInteger(fraction) && fraction >= 0 && fraction < 1024) return sign | ((e + 15) << 10) | fraction;
    }
  }
  return undefined;
}

/** Encoded keys compare by their heads first, which is by their lengths, and by their bytes then. */
function compareKeys(a: Buffer, b: Buffer): number {
  return a.length === b.length ? a.compare(b) : a.length - b.length;
}

function writeNumber(w: CborWriter, value: number): void {
  if (!Number.isFinite(value)) throw new CborError('NaN and infinite values have no JSON form');
  // An integer past 2^53 is a bigint in every codec: a number of that size was a float where it came from.
  if (!Number.isSafeInteger(value)) w.float(value);
  else if (value >= 0) w.head(0, value);
  else w.head(1, -1 - value);
}

function write(w: CborWriter, value: unknown, schema: Schema | undefined, depth: number): void {
  if (depth > maxStackDepth) throw new CborError('the value nests too deep');
  switch (typeof value) {
    case 'string':
      if (schema?.kind === 'scalar' && schema.type === 'bytes') {
        // Base64 in JSON: the bytes themselves here, marked so that they become base64 again.
        w.head(6, 22);
        w.bytes(Buffer.from(value, 'base64'));
      } else w.text(value);
      return;
    case 'number':
      if (schema?.kind === 'scalar' && schema.type === 'double') w.float(value);
      else writeNumber(w, value);
      return;
    case 'bigint':
      if (value >= 0n) w.head(0, value);
      else w.head(1, -1n - value);
      return;
    case 'boolean':
      w.byte(value ? 0xf5 : 0xf4);
      return;
    case 'object':
      break;
    default:
      w.byte(0xf6);
      return;
  }
  if (value === null) {
    w.byte(0xf6);
    return;
  }
  if (Array.isArray(value)) {
    const items = schema?.kind === 'list' ? schema.items : schema?.kind === 'either' ? schema.other : undefined;
    const own = items?.kind === 'list' ? items.items : items;
    w.head(4, value.length);
    for (const item of value) write(w, item, own, depth + 1);
    return;
  }
  const members = Object.entries(value).filter(([, v]) => v !== undefined);
  const keyed = members.map(([key, v]) => ({ key, bytes: Buffer.from(key, 'utf8'), v }));
  keyed.sort((a, b) => compareKeys(a.bytes, b.bytes));
  w.head(5, keyed.length);
  const fields = fieldsOf(schema);
  const values = schema?.kind === 'map' ? schema.values : undefined;
  for (const { key, bytes, v } of keyed) {
    w.bytes(bytes);
    write(w, v, fields === undefined ? values : fields.get(key)?.schema, depth + 1);
  }
}

function fieldsOf(schema: Schema | undefined): ObjectSchema['fields'] | undefined {
  if (schema?.kind === 'object') return schema.fields;
  return schema?.kind === 'either' ? schema.object.fields : undefined;
}

/** It begins with the self-described tag, as everything does that `encodeCbor` makes. */
export function isCbor(bytes: Uint8Array): boolean {
  return bytes[0] === selfDescribed[0] && bytes[1] === selfDescribed[1] && bytes[2] === selfDescribed[2];
}

/** One item with its self-described tag. `schema`: of built-in types, whose binary members it tells. */
export function encodeCbor(value: unknown, schema?: Schema): Buffer {
  const w = new CborWriter();
  w.raw(selfDescribed);
  write(w, value, schema, 0);
  return w.finish();
}

/** An item inside of another: without the tag. */
export function encodeBareCbor(value: unknown, schema?: Schema): Buffer {
  const w = new CborWriter();
  write(w, value, schema, 0);
  return w.finish();
}

/** What stands before the items of a list: its keys are in the order of their encoding. */
export function encodeCborListHead(kind: string, count: number): Buffer {
  const w = new CborWriter();
  w.raw(selfDescribed);
  w.head(5, 4);
  w.text('kind');
  w.text(kind);
  w.text('items');
  w.head(4, count);
  return w.finish();
}

/** And what stands behind them. */
export function encodeCborListTail(metadata: object, apiVersion: string): Buffer {
  const w = new CborWriter();
  w.text('metadata');
  write(w, metadata, undefined, 0);
  w.text('apiVersion');
  w.text(apiVersion);
  return w.finish();
}

/** A WatchEvent: the object, an encoded item with its tag, stands in it as it is. */
export function encodeCborEvent(type: string, object: Uint8Array): Buffer {
  const w = new CborWriter();
  w.raw(selfDescribed);
  w.head(5, 2);
  w.text('type');
  w.text(type);
  w.text('object');
  w.raw(object);
  return w.finish();
}

// Reading --------------------------------------------------------------------------------------------------------------

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
const lossy = new TextDecoder('utf-8', { ignoreBOM: true });
const maxInt64 = 9223372036854775807n;
const indefinite = Symbol('indefinite');
const stop = Symbol('break');

class CborReader {
  readonly #bytes: Buffer;
  #at = 0;

  constructor(bytes: Buffer) {
    this.#bytes = bytes;
  }

  get more(): boolean {
    return this.#at < this.#bytes.length;
  }

  #take(n: number): Buffer {
    const end = this.#at + n;
    if (end > this.#bytes.length) throw new CborError('unexpected EOF');
    const taken = this.#bytes.subarray(this.#at, end);
    this.#at = end;
    return taken;
  }

  #argument(info: number): number | bigint | typeof indefinite {
    if (info < 24) return info;
    switch (info) {
      case 24:
        return this.#take(1)[0]!;
      case 25:
        return this.#take(2).readUInt16BE(0);
      case 26:
        return this.#take(4).readUInt32BE(0);
      case 27: {
        const value = this.#take(8).readBigUInt64BE(0);
        return value <= BigInt(Number.MAX_SAFE_INTEGER) ? Number(value) : value;
      }
      case 31:
        return indefinite;
      default:
        throw new CborError(`cbor: invalid additional information ${info}`);
    }
  }

  #count(value: number | bigint): number {
    const count = Number(value);
    // Each item takes a byte at least.
    if (count > this.#bytes.length - this.#at) throw new CborError('unexpected EOF');
    return count;
  }

  /** Byte strings and text strings; `tag`: which text a byte string is to become. */
  #string(major: number, value: number | bigint | typeof indefinite, tag: number | undefined): string {
    let bytes: Buffer;
    if (value === indefinite) {
      const parts: Buffer[] = [];
      for (;;) {
        const head = this.#take(1)[0]!;
        if (head === 0xff) break;
        const length = this.#argument(head & 31);
        if (head >> 5 !== major || length === indefinite)
          throw new CborError('cbor: wrong element type in an indefinite-length string');
        const part = this.#take(this.#count(length));
        if (major === 3) utf8Text(part);
        parts.push(part);
      }
      bytes = Buffer.concat(parts);
    } else bytes = this.#take(this.#count(value));
    if (major === 3) return utf8Text(bytes);
    switch (tag) {
      case 21:
        return bytes.toString('base64url');
      case 22:
        return bytes.toString('base64');
      case 23:
        return bytes.toString('hex');
      default:
        return lossy.decode(bytes);
    }
  }

  item(depth: number, tag?: number): unknown {
    const found = this.#item(depth, tag);
    if (found === stop) throw new CborError('cbor: unexpected "break" code');
    return found;
  }

  #item(depth: number, tag?: number): unknown {
    if (depth > maxDepth || depth > maxStackDepth) throw new CborError(`cbor: exceeded max nested level ${maxDepth}`);
    const head = this.#take(1)[0]!;
    const major = head >> 5;
    const info = head & 31;
    if (major === 7) return this.#simple(info);
    const value = this.#argument(info);
    switch (major) {
      case 0:
      case 1: {
        if (value === indefinite) throw new CborError('cbor: invalid additional information 31 for an integer');
        if (typeof value === 'bigint' && value > maxInt64)
          throw new CborError('cbor: cannot unmarshal an integer that overflows int64');
        if (typeof value === 'number') return major === 0 ? value : -1 - value;
        return major === 0 ? value : -1n - value;
      }
      case 2:
      case 3:
        return this.#string(major, value, tag);
      case 4: {
        const list: unknown[] = [];
        if (value === indefinite)
          for (;;) {
            const item = this.#item(depth + 1, tag);
            if (item === stop) return list;
            list.push(item);
          }
        for (let n = this.#count(value); n > 0; n--) list.push(this.item(depth + 1, tag));
        return list;
      }
      case 5:
        return this.#map(value, depth, tag);
      default:
        return this.#tagged(value, depth);
    }
  }

  #map(count: number | bigint | typeof indefinite, depth: number, tag: number | undefined): Record<string, unknown> {
    const map: Record<string, unknown> = {};
    let left = count === indefinite ? Number.POSITIVE_INFINITY : this.#count(count);
    while (left-- > 0) {
      const key = this.#item(depth + 1);
      if (key === stop) {
        if (count === indefinite) return map;
        throw new CborError('cbor: unexpected "break" code');
      }
      if (typeof key !== 'string') throw new CborError('cbor: map keys must be strings');
      if (Object.hasOwn(map, key)) throw new CborError(`cbor: found duplicate map key ${JSON.stringify(key)}`);
      const value = this.item(depth + 1, tag);
      if (key === '__proto__')
        Object.defineProperty(map, key, { value, enumerable: true, writable: true, configurable: true });
      else map[key] = value;
    }
    return map;
  }

  #tagged(tag: number | bigint | typeof indefinite, depth: number): unknown {
    if (tag === indefinite) throw new CborError('cbor: invalid additional information 31 for a tag');
    switch (Number(tag)) {
      case 0: {
        const text = this.item(depth + 1);
        if (typeof text !== 'string' || Number.isNaN(Date.parse(text)))
          throw new CborError('cbor: cannot unmarshal tag 0 into a time');
        return text;
      }
      case 1: {
        const seconds = this.item(depth + 1);
        if (typeof seconds !== 'number' || Math.abs(seconds) > 8.64e12)
          throw new CborError('cbor: cannot unmarshal tag 1 into a time');
        return timeText(seconds);
      }
      case 2:
      case 3:
        throw new CborError('cbor: bignums are forbidden');
      case 21:
      case 22:
      case 23:
        return this.item(depth + 1, Number(tag));
      default:
        return this.item(depth + 1);
    }
  }

  #simple(info: number): unknown {
    switch (info) {
      case 20:
        return false;
      case 21:
        return true;
      case 22:
        return null;
      case 25:
        return finite(fromHalf(this.#take(2).readUInt16BE(0)));
      case 26:
        return finite(this.#take(4).readFloatBE(0));
      case 27:
        return finite(this.#take(8).readDoubleBE(0));
      case 31:
        return stop;
      default: {
        const value = info === 24 ? this.#take(1)[0]! : info;
        throw new CborError(`cbor: simple value ${value} is not recognized`);
      }
    }
  }
}

function utf8Text(bytes: Buffer): string {
  try {
    return utf8.decode(bytes);
  } catch (error) {
    throw new CborError('cbor: invalid UTF-8 string', { cause: error });
  }
}

function finite(value: number): number {
  if (!Number.isFinite(value)) throw new CborError('cbor: floating-point NaN and infinity are forbidden');
  return value;
}

function fromHalf(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 31;
  const fraction = bits & 1023;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  if (exponent === 31) return fraction === 0 ? sign * Number.POSITIVE_INFINITY : Number.NaN;
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}

/** RFC 3339 with as many digits as it takes. */
function timeText(seconds: number): string {
  const text = new Date(Math.round(seconds * 1000)).toISOString();
  return text.replace(/\.?0*Z$/, 'Z');
}

/**
 * One item as JSON.
 * @throws {CborError} for what is no CBOR, and for what JSON has no form for
 */
export function decodeCbor(bytes: Uint8Array): unknown {
  const reader = new CborReader(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength));
  if (!reader.more) throw new CborError('EOF');
  const value = reader.item(0);
  if (reader.more) throw new CborError('cbor: there are bytes of extraneous data behind the item');
  return value;
}
