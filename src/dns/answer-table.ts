/**
 * Answers that are given from their bytes: found by the bytes of the question, copied, and made the client's own (its id and flags,
 * the name as it wrote it, the rest of the TTL, addresses in another order). Nothing is decoded on this way.
 */
import type { Clock } from '../base/clock.ts';
import type { Random } from '../base/random.ts';
import type { Encoded } from './encoder.ts';
import type { Reusable } from './message.ts';
import type { Stamps } from './stamps.ts';
import type { Meter } from './metrics.ts';

const headerLength = 12;
const minMessage = 17;
const ednsLength = 11;
const minPayload = 512;
const maxSlots = 8;
/** So many answers, and so many bytes of them, in each of the two generations. */
const generation = 16_384;
const generationBytes = 8 << 20;
/** Places for questions that came once: names that nobody asks for again push nothing out. */
const onceSize = 1 << 14;

const lower = new Uint8Array(256);
for (let i = 0; i < 256; i++) lower[i] = i >= 65 && i <= 90 ? i + 32 : i;

/** Address records of one length in a row at the end of a message, each with the same owner and TTL. */
interface Addresses {
  /** Where the first record begins. */
  readonly at: number;
  readonly length: number;
  readonly count: number;
  /** Where the address is in a record, and its length. */
  readonly data: number;
  readonly width: number;
}

interface Entry {
  readonly hash: number;
  /** Flags of the question that make it another one, and its type. */
  readonly variant: number;
  readonly type: number;
  /** Name in lower case, as on the wire. */
  readonly name: Uint8Array;
  /** Without EDNS. */
  readonly bytes: Buffer;
  readonly reusable: Reusable;
  readonly ttls: readonly number[];
  readonly serial: number;
  readonly addresses: Addresses | undefined;
  readonly shuffle: boolean;
  readonly maxPayload: number;
  readonly meter: Meter | undefined;
}

export interface TableOptions {
  readonly clock: Clock;
  readonly random: Random;
  readonly stamps: Stamps;
}

/** What the table needs to know of an answer besides its bytes. */
export interface Template {
  readonly encoded: Encoded;
  readonly reusable: Reusable;
  readonly answerTypes: readonly number[];
  readonly shuffle: boolean;
  /** What is sent at most over UDP, whatever the client takes. */
  readonly maxPayload: number;
  readonly meter: Meter | undefined;
}

export class AnswerTable {
  readonly #o: TableOptions;
  readonly #seed: number;
  #young = new Map<number, Entry>();
  #old = new Map<number, Entry>();
  #bytes = 0;
  readonly #once = new Int32Array(onceSize);
  // Of the question that was read last.
  #hash = 0;
  #nameEnd = 0;
  #type = 0;
  #variant = 0;
  #edns = false;
  #payload = 0;
  #dnssec = 0;

  constructor(options: TableOptions) {
    this.#o = options;
    this.#seed = options.random.int(2 ** 31);
  }

  /** Forgets everything. */
  clear(): void {
    this.#young = new Map();
    this.#old = new Map();
    this.#bytes = 0;
  }

  /** Reads a plain question; false for anything out of the ordinary, which the slower way decides. */
  #read(message: Uint8Array): boolean {
    const n = message.length;
    if (n < minMessage || (message[2]! & 0xf8) !== 0 || message[4] !== 0 || message[5] !== 1) return false;
    if ((message[6]! | message[7]! | message[8]! | message[9]! | message[10]!) !== 0 || message[11]! > 1) return false;
    let at = headerLength;
    let h = this.#seed;
    for (;;) {
      const length = message[at]!;
      if (length === 0) break;
      const end = at + length + 1;
      if (length > 63 || end + 5 > n) return false;
      for (; at < end; at++) h = Math.imul(h ^ lower[message[at]!]!, 0x01000193);
    }
    const nameEnd = at + 1;
    if (nameEnd - headerLength > 255 || nameEnd + 4 > n) return false;
    const type = (message[nameEnd]! << 8) | message[nameEnd + 1]!;
    if (message[nameEnd + 2] !== 0 || message[nameEnd + 3] !== 1) return false;
    let dnssec = 0;
    const rest = nameEnd + 4;
    if (message[11] === 1) {
      if (rest + ednsLength > n || message[rest] !== 0 || message[rest + 1] !== 0 || message[rest + 2] !== 41)
        return false;
      // Version 0, and nothing behind the options.
      if (message[rest + 6] !== 0) return false;
      if (rest + ednsLength + ((message[rest + 9]! << 8) | message[rest + 10]!) !== n) return false;
      this.#edns = true;
      this.#payload = (message[rest + 3]! << 8) | message[rest + 4]!;
      dnssec = message[rest + 7]! & 0x80;
    } else {
      if (rest !== n) return false;
      this.#edns = false;
      this.#payload = 0;
    }
    this.#dnssec = dnssec;
    // CD and AD.
    this.#variant = (message[3]! & 0x30) | dnssec;
    this.#type = type;
    this.#nameEnd = nameEnd;
    this.#hash = Math.imul(h ^ type, 0x01000193) ^ this.#variant;
    return true;
  }

  #find(message: Uint8Array): Entry | undefined {
    let entry = this.#young.get(this.#hash);
    if (entry === undefined) {
      entry = this.#old.get(this.#hash);
      if (entry === undefined) return undefined;
      this.#keep(entry);
    }
    const { name } = entry;
    if (entry.type !== this.#type || entry.variant !== this.#variant) return undefined;
    if (name.length !== this.#nameEnd - headerLength) return undefined;
    for (let i = 0; i < name.length; i++) if (name[i] !== lower[message[headerLength + i]!]) return undefined;
    const { slots, stamps } = entry.reusable;
    for (let i = 0; i < slots.length; i++) if (this.#o.stamps.value(slots[i]!) !== stamps[i]) return undefined;
    return entry;
  }

  #keep(entry: Entry): void {
    if (this.#young.size >= generation || this.#bytes >= generationBytes) {
      this.#old = this.#young;
      this.#young = new Map();
      this.#bytes = 0;
    }
    this.#bytes += entry.bytes.length;
    this.#young.set(entry.hash, entry);
  }

  /** The answer to a message, if it is here. `reserve`: bytes to leave free in front of it. */
  answer(message: Uint8Array, tcp: boolean, family: 4 | 6, reserve: number): Buffer | undefined {
    if (!this.#read(message)) return undefined;
    const entry = this.#find(message);
    if (entry === undefined) return undefined;
    const { bytes, reusable, addresses } = entry;
    let age = 0;
    if (reusable.until !== undefined) {
      const now = this.#o.clock.monotonic();
      if (now >= reusable.until) return undefined;
      age = Math.floor((now - (reusable.since ?? now)) / 1000);
    }
    const tail = this.#edns ? ednsLength : 0;
    let length = bytes.length;
    let left = addresses?.count ?? 0;
    const limit = tcp
      ? 65_535
      : this.#edns
        ? Math.max(Math.min(this.#payload, entry.maxPayload), minPayload)
        : minPayload;
    if (length + tail > limit) {
      // What does not fit is left out, the last of the addresses first.
      if (addresses === undefined) return undefined;
      const over = Math.ceil((length + tail - limit) / addresses.length);
      if (over > left) return undefined;
      left -= over;
      length -= over * addresses.length;
    }
    if (reusable.used?.() === false) return undefined;
    const out = Buffer.allocUnsafe(reserve + length + tail);
    const last = addresses?.count ?? 0;
    if (left === last || addresses === undefined) bytes.copy(out, reserve, 0, length);
    else this.#someOf(entry, addresses, left, out, reserve);
    // The question as it was asked, case and all.
    for (let i = headerLength; i < this.#nameEnd; i++) out[reserve + i] = message[i]!;
    out[reserve] = message[0]!;
    out[reserve + 1] = message[1]!;
    out[reserve + 2] = bytes[2]! | (message[2]! & 1) | (left < last ? 2 : 0);
    out[reserve + 3] = bytes[3]! | (message[3]! & 0x10);
    if (left < last) {
      const count = ((bytes[6]! << 8) | bytes[7]!) - (last - left);
      out[reserve + 6] = count >> 8;
      out[reserve + 7] = count & 255;
    }
    if (age > 0) this.#age(entry, out, reserve, length, age);
    if (entry.serial > 0 && reusable.serial !== undefined)
      out.writeUInt32BE(reusable.serial() >>> 0, reserve + entry.serial);
    if (left > 1 && left === last && entry.shuffle) this.#shuffle(out, reserve, addresses!, left);
    if (tail > 0) {
      const at = reserve + length;
      out[reserve + 11] = bytes[11]! + 1;
      out[at] = 0;
      out[at + 1] = 0;
      out[at + 2] = 41;
      const payload = Math.min(this.#payload, entry.maxPayload);
      out[at + 3] = payload >> 8;
      out[at + 4] = payload & 255;
      out[at + 5] = 0;
      out[at + 6] = 0;
      out[at + 7] = this.#dnssec;
      out[at + 8] = 0;
      out[at + 9] = 0;
      out[at + 10] = 0;
    }
    entry.meter?.count(tcp, family, message.length, length + tail, 0, this.#dnssec !== 0);
    return out;
  }

  #age(entry: Entry, out: Buffer, reserve: number, length: number, age: number): void {
    for (const at of entry.ttls) {
      if (at + 4 > length) break;
      out.writeUInt32BE(Math.max(entry.bytes.readUInt32BE(at) - age, 0), reserve + at);
    }
  }

  /** `count` addresses of more, any of them. */
  #someOf(entry: Entry, a: Addresses, count: number, out: Buffer, reserve: number): void {
    const { bytes } = entry;
    bytes.copy(out, reserve, 0, a.at);
    const start = entry.shuffle ? this.#o.random.int(a.count) : 0;
    for (let i = 0; i < count; i++) {
      const from = a.at + ((start + i) % a.count) * a.length;
      bytes.copy(out, reserve + a.at + i * a.length, from, from + a.length);
    }
  }

  #shuffle(out: Buffer, reserve: number, a: Addresses, count: number): void {
    const { random } = this.#o;
    const first = reserve + a.at + a.data;
    for (let i = count - 1; i > 0; i--) {
      const j = random.int(i + 1);
      if (i === j) continue;
      const x = first + i * a.length;
      const y = first + j * a.length;
      for (let k = 0; k < a.width; k++) {
        const b = out[x + k]!;
        out[x + k] = out[y + k]!;
        out[y + k] = b;
      }
    }
  }

  /** Keeps the answer to a message that comes again, when both are of the plain kind. */
  put(message: Uint8Array, template: Template): void {
    const { encoded, reusable } = template;
    if (reusable.slots.length > maxSlots || encoded.truncated) return;
    if (!this.#read(message) || this.#nameEnd !== encoded.questionEnd) return;
    const place = this.#hash & (onceSize - 1);
    if (this.#once[place] !== this.#hash) {
      this.#once[place] = this.#hash;
      return;
    }
    const name = new Uint8Array(this.#nameEnd - headerLength);
    for (let i = 0; i < name.length; i++) name[i] = lower[message[headerLength + i]!]!;
    const bytes = Buffer.from(encoded.bytes.subarray(0, encoded.edns));
    // What belongs to one client goes.
    bytes[2]! &= 0xfe;
    bytes[3]! &= 0xef;
    if (encoded.edns < encoded.bytes.length) bytes.writeUInt16BE(bytes.readUInt16BE(10) - 1, 10);
    this.#keep({
      hash: this.#hash,
      variant: this.#variant,
      type: this.#type,
      name,
      bytes,
      reusable,
      ttls: reusable.until === undefined ? [] : encoded.ttls,
      serial: reusable.serial === undefined ? 0 : encoded.serial,
      addresses: addressesOf(bytes, encoded, template.answerTypes),
      shuffle: template.shuffle,
      maxPayload: template.maxPayload,
      meter: template.meter,
    });
  }
}

/** The address records that an answer ends with, when it has no other sections. */
function addressesOf(bytes: Buffer, encoded: Encoded, answerTypes: readonly number[]): Addresses | undefined {
  const { ttls } = encoded;
  const total = answerTypes.length;
  if (total < 2 || ttls.length !== total) return undefined;
  const type = answerTypes[total - 1]!;
  if (type !== 1 && type !== 28) return undefined;
  const width = type === 1 ? 4 : 16;
  // Owner (a pointer), type, class, TTL, length, address.
  const length = 2 + 10 + width;
  let count = 0;
  for (let i = total - 1; i >= 0 && answerTypes[i] === type; i--) {
    const at = ttls[i]! - 6;
    if (at < headerLength || at + length !== (i === total - 1 ? bytes.length : ttls[i + 1]! - 6)) break;
    if (bytes.readUInt16BE(at) !== bytes.readUInt16BE(ttls[total - 1]! - 6)) break;
    if (bytes.readUInt32BE(ttls[i]!) !== bytes.readUInt32BE(ttls[total - 1]!)) break;
    count++;
  }
  if (count < 2) return undefined;
  return { at: bytes.length - count * length, length, count, data: 12, width };
}
