/**
 * Stored JSON as protobuf messages without making the objects in between: one pass over the bytes notes where the values of a
 * message's fields lie, a second one writes the fields from the last to the first, copying texts from bytes to bytes. What is out of
 * the ordinary is left to the visitor of parsed objects.
 */
import { endOfString, endOfValue } from './codec/json-pick.ts';
import { parseTrustedJson, stringifyJson } from './codec/json.ts';
import type { Plan } from './protobuf-plan.ts';
import { writeScalar } from './protobuf-scalars.ts';
import { delimited, varint } from './protobuf-wire.ts';
import type { Writer } from './protobuf-wire.ts';
import type { Field, ObjectSchema, ScalarType, Schema } from './schema/schema.ts';

/** An object as it is stored: JSON without spaces, and without its resource version. */
export interface StoredJson {
  readonly bytes: Buffer;
  /** Where the resource version belongs: behind another member of the metadata; -1: there is none. */
  readonly versionAt: number;
  readonly version: string;
}

/** What is asked of whoever knows the messages. */
export interface MessagePlans {
  plan(schema: ObjectSchema): Plan;
  /** What is written where a member is not there. */
  absent(field: Field): Buffer;
}

const op = {
  /** Not handled here. */
  none: 0,
  text: 1,
  integer: 2,
  boolean: 3,
  scalar: 4,
  object: 5,
  list: 6,
  map: 7,
  any: 8,
  time: 9,
} as const;

interface Type {
  readonly op: (typeof op)[keyof typeof op];
  readonly scalar: ScalarType;
  /** Of objects. */
  readonly schema: ObjectSchema | undefined;
  message: Message | undefined;
  /** Of lists and maps. */
  readonly items: Type | undefined;
}

interface Member {
  readonly slot: number;
  readonly name: Buffer;
  readonly type: Type;
}

/** A field, or a message that holds members which JSON has inline. */
interface Step {
  readonly number: number;
  readonly inline: readonly Step[] | undefined;
  readonly slot: number;
  readonly type: Type | undefined;
  readonly absent: Buffer;
}

interface Message {
  readonly steps: readonly Step[];
  readonly slots: number;
  /** By the hash of their names. */
  readonly table: readonly (Member | undefined)[];
  readonly mask: number;
  /** Where the resource version goes; -1: nowhere. */
  readonly version: number;
}

const quote = 0x22;
const comma = 0x2c;
const colon = 0x3a;
const openBracket = 0x5b;
const backslash = 0x5c;
const closeBracket = 0x5d;
const openBrace = 0x7b;
const closeBrace = 0x7d;
const letterN = 0x6e;
const letterT = 0x74;

/** A value's place: beginning, end, something of its kind, and the value before it in a list. */
const nodeSize = 4;
/** The beginning of a value that is not in the bytes: the resource version. */
const elsewhere = -1;
const noBytes = Buffer.alloc(0);
const noMessage = Symbol('not handled');

const escape = Buffer.from('\\u', 'latin1');
const knownTexts = 1024;
const shortText = 40;
const maxDepth = 200;

function hashOf(name: Buffer): number {
  let hash = 0;
  for (const c of name) hash = (Math.imul(hash, 31) + c) | 0;
  return hash;
}

/** Seconds since the epoch of a quoted `2026-01-02T03:04:05Z`; negative for all other texts. */
function secondsOf(bytes: Buffer, start: number, end: number): number {
  if (end - start !== 22 || bytes[start + 20] !== 0x5a) return -1;
  let fields = 0;
  const two = (at: number): number => {
    const tens = bytes[start + at]! - 0x30;
    const ones = bytes[start + at + 1]! - 0x30;
    if (tens < 0 || tens > 9 || ones < 0 || ones > 9) fields = -1;
    return tens * 10 + ones;
  };
  const year = two(1) * 100 + two(3);
  const month = two(6);
  const day = two(9);
  const seconds = two(12) * 3600 + two(15) * 60 + two(18);
  if (fields < 0 || year < 1970 || month < 1 || month > 12 || day < 1 || day > 31 || seconds >= 86_400) return -1;
  // Days since the epoch, of years that begin in March.
  const y = month > 2 ? year : year - 1;
  const m = month > 2 ? month - 3 : month + 9;
  const days = 365 * y + (y >> 2) - Math.floor(y / 100) + Math.floor(y / 400) + Math.floor((153 * m + 2) / 5) + day - 1;
  return (days - 719_468) * 86_400 + seconds;
}

/** Writes messages; holds the notes of one at a time. */
export class StoredMessages {
  readonly #plans: MessagePlans;
  readonly #types = new WeakMap<Schema, Type>();
  readonly #texts: string[] = Array.from({ length: knownTexts }, () => '');
  #tape = new Int32Array(4096);
  #used = 0;
  #bytes: Buffer = noBytes;
  #at = 0;
  #versionAt = -1;
  #version = '';
  #depth = 0;

  constructor(plans: MessagePlans) {
    this.#plans = plans;
  }

  /** Writes the message of an object; false where that needs the parsed object, with something written or not. */
  message(w: Writer, schema: ObjectSchema, json: StoredJson): boolean {
    this.#bytes = json.bytes;
    this.#at = 0;
    this.#versionAt = json.versionAt;
    this.#version = json.version;
    // Zero is no value.
    this.#used = 1;
    this.#depth = 0;
    try {
      const message = this.#messageOf(this.#typeOf(schema));
      const slots = this.#object(message);
      this.#write(w, message.steps, slots);
      return true;
    } catch (error) {
      if (error === noMessage) return false;
      throw error;
    } finally {
      this.#bytes = noBytes;
    }
  }

  // Types ----------------------------------------------------------------------------------------------------------------

  #typeOf(schema: Schema): Type {
    let type = this.#types.get(schema);
    if (type === undefined) {
      type = this.#makeType(schema);
      this.#types.set(schema, type);
    }
    return type;
  }

  #makeType(schema: Schema): Type {
    const type = (of: Type['op'], items?: Schema): Type => ({
      op: of,
      scalar: schema.kind === 'scalar' ? schema.type : 'string',
      schema: schema.kind === 'object' ? schema : undefined,
      message: undefined,
      items: items === undefined ? undefined : this.#typeOf(items),
    });
    switch (schema.kind) {
      case 'object':
        return type(op.object);
      case 'list':
        return schema.wrapped === true ? type(op.none) : type(op.list, schema.items);
      case 'map':
        return type(op.map, schema.values);
      case 'any':
        return type(op.any);
      case 'either':
        return type(op.none);
      case 'scalar':
        switch (schema.type) {
          case 'string':
            return type(op.text);
          case 'int32':
          case 'int64':
            return type(op.integer);
          case 'boolean':
            return type(op.boolean);
          case 'time':
            return type(op.time);
          default:
            return type(op.scalar);
        }
    }
  }

  #messageOf(type: Type): Message {
    return (type.message ??= this.#makeMessage(type.schema!));
  }

  #makeMessage(schema: ObjectSchema): Message {
    const members: Member[] = [];
    const steps = (plan: Plan): Step[] =>
      plan.entries.map(({ number, field, inline }) => {
        if (field === undefined) {
          return { number, inline: steps(inline!), slot: -1, type: undefined, absent: noBytes };
        }
        const type = this.#typeOf(field.schema);
        const slot = members.length;
        members.push({ slot, name: Buffer.from(field.name), type });
        return { number, inline: undefined, slot, type, absent: this.#plans.absent(field) };
      });
    const made = steps(this.#plans.plan(schema));
    let size = 4;
    while (size < members.length * 4) size *= 2;
    const table: (Member | undefined)[] = Array.from({ length: size }, () => undefined);
    for (const member of members) {
      let at = hashOf(member.name) & (size - 1);
      while (table[at] !== undefined) at = (at + 1) & (size - 1);
      table[at] = member;
    }
    const version = members.find((m) => m.name.equals(resourceVersion))?.slot ?? -1;
    return { steps: made, slots: members.length, table, mask: size - 1, version };
  }

  // Noting ---------------------------------------------------------------------------------------------------------------

  #grow(end: number): void {
    const bigger = new Int32Array(Math.max(this.#tape.length * 2, end));
    bigger.set(this.#tape);
    this.#tape = bigger;
  }

  /** Room for so many numbers, which are zero. */
  #take(count: number): number {
    const at = this.#used;
    const end = at + count;
    if (end > this.#tape.length) this.#grow(end);
    const tape = this.#tape;
    for (let i = at; i < end; i++) tape[i] = 0;
    this.#used = end;
    return at;
  }

  #node(start: number, end: number, of: number): number {
    const node = this.#used;
    if (node + nodeSize > this.#tape.length) this.#grow(node + nodeSize);
    const tape = this.#tape;
    tape[node] = start;
    tape[node + 1] = end;
    tape[node + 2] = of;
    tape[node + 3] = 0;
    this.#used = node + nodeSize;
    return node;
  }

  /** Notes the members of the object at hand; returns where their places are. */
  #object(message: Message): number {
    const slots = this.#take(message.slots);
    const bytes = this.#bytes;
    const { table, mask } = message;
    let i = this.#at;
    if (bytes[i] !== openBrace || ++this.#depth > maxDepth) throw noMessage;
    i++;
    while (bytes[i] === quote) {
      const start = i + 1;
      let end = start;
      let hash = 0;
      let c = bytes[end];
      while (c !== quote) {
        // No name of ours.
        if (c === backslash || c === undefined) {
          end = endOfString(bytes, end) - 1;
          hash = 0;
          break;
        }
        hash = (Math.imul(hash, 31) + c) | 0;
        c = bytes[++end];
      }
      if (bytes[end + 1] !== colon) throw noMessage;
      const length = end - start;
      let member: Member | undefined;
      for (let slot = hash & mask; ; slot = (slot + 1) & mask) {
        member = table[slot];
        if (member === undefined) break;
        const { name } = member;
        if (name.length !== length) continue;
        let k = 0;
        while (k < length && name[k] === bytes[start + k]) k++;
        if (k === length) break;
      }
      if (member === undefined) i = endOfValue(bytes, end + 2);
      else {
        this.#at = end + 2;
        const node = this.#value(member.type);
        this.#tape[slots + member.slot] = node;
        i = this.#at;
      }
      if (i === this.#versionAt) {
        const at = message.version;
        if (at < 0) throw noMessage;
        const node = this.#node(elsewhere, 0, 0);
        this.#tape[slots + at] = node;
      }
      if (bytes[i] !== comma) break;
      i++;
    }
    if (bytes[i] !== closeBrace) throw noMessage;
    this.#depth--;
    this.#at = i + 1;
    return slots;
  }

  /** Notes the value at hand; zero for null. */
  #value(type: Type): number {
    const bytes = this.#bytes;
    const start = this.#at;
    const first = bytes[start]!;
    if (first === letterN) {
      this.#at = start + 4;
      return 0;
    }
    switch (type.op) {
      case op.text: {
        if (first !== quote) throw noMessage;
        let i = start + 1;
        const near = i + shortText;
        for (;;) {
          const c = bytes[i]!;
          if (c === quote) {
            this.#at = i + 1;
            return this.#node(start + 1, i, 0);
          }
          if (c === backslash || i === near) break;
          i++;
        }
        const end = endOfString(bytes, i);
        this.#at = end;
        const at = bytes.indexOf(backslash, i);
        return this.#node(start + 1, end - 1, at >= 0 && at < end ? 1 : 0);
      }
      case op.boolean:
        this.#at = start + (first === letterT ? 4 : 5);
        return this.#node(start, this.#at, first === letterT ? 1 : 0);
      case op.object: {
        const slots = this.#object(this.#messageOf(type));
        return this.#node(start, this.#at, slots);
      }
      case op.list:
        return this.#list(type.items!);
      case op.map:
        return this.#map(type.items!);
      case op.none:
        throw noMessage;
      default: {
        const end = endOfValue(bytes, start);
        this.#at = end;
        return this.#node(start, end, 0);
      }
    }
  }

  #list(items: Type): number {
    const bytes = this.#bytes;
    const start = this.#at;
    if (bytes[start] !== openBracket) throw noMessage;
    let last = 0;
    this.#at++;
    if (bytes[this.#at] === closeBracket) this.#at++;
    else
      for (;;) {
        const node = this.#value(items);
        if (node === 0) throw noMessage;
        this.#tape[node + 3] = last;
        last = node;
        const next = bytes[this.#at++];
        if (next === closeBracket) break;
        if (next !== comma) throw noMessage;
      }
    return this.#node(start, this.#at, last);
  }

  /** Notes each member as the place of its name and its value. They have to come sorted, as the message has them. */
  #map(values: Type): number {
    const bytes = this.#bytes;
    const start = this.#at;
    if (bytes[start] !== openBrace) throw noMessage;
    let last = 0;
    let i = start + 1;
    while (bytes[i] === quote) {
      const name = ++i;
      for (;;) {
        const c = bytes[i];
        if (c === quote) break;
        if (c === undefined || c === backslash || c >= 128) throw noMessage;
        i++;
      }
      if (last !== 0 && !this.#sorted(last, name, i)) throw noMessage;
      const entry = this.#node(name, i, 0);
      if (bytes[i + 1] !== colon) throw noMessage;
      this.#at = i + 2;
      const value = this.#value(values);
      if (value === 0) throw noMessage;
      this.#tape[entry + 2] = value;
      this.#tape[entry + 3] = last;
      last = entry;
      i = this.#at;
      if (bytes[i] !== comma) break;
      i++;
    }
    if (bytes[i] !== closeBrace) throw noMessage;
    this.#at = i + 1;
    return this.#node(start, i + 1, last);
  }

  #sorted(before: number, start: number, end: number): boolean {
    const bytes = this.#bytes;
    let a = this.#tape[before]!;
    const aEnd = this.#tape[before + 1]!;
    let b = start;
    while (a < aEnd && b < end) {
      if (bytes[a] !== bytes[b]) return bytes[a]! < bytes[b]!;
      a++;
      b++;
    }
    return a === aEnd && b < end;
  }

  // Writing --------------------------------------------------------------------------------------------------------------

  #write(w: Writer, steps: readonly Step[], slots: number): void {
    const tape = this.#tape;
    for (let i = steps.length - 1; i >= 0; i--) {
      const step = steps[i]!;
      if (step.inline !== undefined) {
        const end = w.written;
        this.#write(w, step.inline, slots);
        w.close(step.number, end);
        continue;
      }
      const node = tape[slots + step.slot]!;
      if (node === 0) w.few(step.absent);
      else this.#field(w, step.type!, step.number, node);
    }
  }

  #field(w: Writer, type: Type, number: number, node: number): void {
    const tape = this.#tape;
    const start = tape[node]!;
    const end = tape[node + 1]!;
    switch (type.op) {
      case op.text:
        if (start === elsewhere) w.textField(number, this.#version);
        else if (tape[node + 2] === 0) {
          w.slice(this.#bytes, start, end);
          w.number(end - start);
          w.tag(number, delimited);
        } else w.textField(number, JSON.parse(this.#bytes.toString('utf8', start - 1, end + 1)) as string);
        return;
      case op.boolean:
        w.number(tape[node + 2]!);
        w.tag(number, varint);
        return;
      case op.integer:
        this.#integer(w, start, end);
        w.tag(number, varint);
        return;
      case op.object: {
        const from = w.written;
        this.#write(w, type.message!.steps, tape[node + 2]!);
        w.close(number, from);
        return;
      }
      case op.list:
        for (let item = tape[node + 2]!; item !== 0; item = tape[item + 3]!) this.#field(w, type.items!, number, item);
        return;
      case op.map:
        for (let entry = tape[node + 2]!; entry !== 0; entry = tape[entry + 3]!) {
          const from = w.written;
          this.#field(w, type.items!, 2, tape[entry + 2]!);
          const name = w.written;
          w.slice(this.#bytes, tape[entry]!, tape[entry + 1]!);
          w.close(1, name);
          w.close(number, from);
        }
        return;
      case op.any: {
        const from = w.written;
        // What is escaped in one way only is as it would be written again.
        const at = this.#bytes.indexOf(escape, start);
        if (at < 0 || at >= end) w.slice(this.#bytes, start, end);
        else w.text(stringifyJson(parseTrustedJson(`[${this.#bytes.toString('utf8', start, end)}]`)).slice(1, -1));
        w.close(1, from);
        w.close(number, from);
        return;
      }
      case op.time: {
        const seconds = secondsOf(this.#bytes, start, end);
        if (seconds < 0) {
          writeScalar(w, type.scalar, number, this.#scalar(start, end));
          return;
        }
        const from = w.written;
        w.number(0);
        w.tag(2, varint);
        w.number(seconds);
        w.tag(1, varint);
        w.close(number, from);
        return;
      }
      default:
        writeScalar(w, type.scalar, number, this.#scalar(start, end));
    }
  }

  #integer(w: Writer, start: number, end: number): void {
    const bytes = this.#bytes;
    if (end - start <= 9) {
      let value = 0;
      let i = start;
      for (; i < end; i++) {
        const digit = bytes[i]! - 0x30;
        if (digit < 0 || digit > 9) break;
        value = value * 10 + digit;
      }
      if (i === end) {
        w.number(value);
        return;
      }
    }
    const value = this.#scalar(start, end);
    if (typeof value !== 'number' && typeof value !== 'bigint') throw noMessage;
    w.integer(value);
  }

  /** A scalar as parsed JSON has it. */
  #scalar(start: number, end: number): unknown {
    const bytes = this.#bytes;
    if (bytes[start] !== quote || end - start > shortText)
      return (parseTrustedJson(`[${bytes.toString('utf8', start, end)}]`) as unknown[])[0];
    let hash = 0;
    for (let i = start + 1; i < end - 1; i++) {
      const c = bytes[i]!;
      if (c >= 128 || c === backslash) return JSON.parse(bytes.toString('utf8', start, end));
      hash = (Math.imul(hash, 31) + c) | 0;
    }
    const slot = hash & (knownTexts - 1);
    const known = this.#texts[slot]!;
    const length = end - start - 2;
    if (known.length === length) {
      let k = 0;
      while (k < length && known.charCodeAt(k) === bytes[start + 1 + k]) k++;
      if (k === length) return known;
    }
    return (this.#texts[slot] = bytes.toString('latin1', start + 1, end - 1));
  }
}

const resourceVersion = Buffer.from('resourceVersion', 'latin1');
