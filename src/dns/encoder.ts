/** Messages written for the wire: names compressed, cut and marked where they are longer than the receiver takes, EDNS last. */
import type { Rr } from './message.ts';
import { types } from './message.ts';
import { nameToWire, readName } from './names.ts';
import { headerLength } from './wire.ts';

export interface Outgoing {
  readonly id: number;
  readonly response: boolean;
  readonly opcode: number;
  readonly authoritative: boolean;
  readonly truncated: boolean;
  readonly rd: boolean;
  readonly recursion: boolean;
  readonly authentic: boolean;
  readonly cd: boolean;
  readonly rcode: number;
  /** `wire`: the name's bytes, where they are at hand. */
  readonly question: {
    readonly name: string;
    readonly wire?: Buffer | undefined;
    readonly type: number;
    readonly cls: number;
  };
  readonly answers: readonly Rr[];
  readonly authority: readonly Rr[];
  readonly additional: readonly Rr[];
  readonly edns?:
    | { readonly size: number; readonly dnssec: boolean; readonly options?: Buffer | undefined }
    | undefined;
}

/** A message and what is known of its inside, so that it can be given again with other values in it. */
export interface Encoded {
  readonly bytes: Buffer;
  readonly truncated: boolean;
  /** Where the question (type and class) begins. */
  readonly questionEnd: number;
  /** Where the TTL of each record is. */
  readonly ttls: readonly number[];
  /** Where the serial number of an SOA record is; 0: there is none. */
  readonly serial: number;
  /** Where the EDNS record begins; the length of the message when there is none. */
  readonly edns: number;
}

const maxMessage = 65_535;
const maxPointer = 0x3fff;
const ednsFixed = 11;
const root = Buffer.from([0]);
/** RFC 1035's types, in whose data every client can follow pointers. */
const shortened: ReadonlySet<number> = new Set([types.CNAME, types.NS, types.PTR, types.SOA, types.MX]);

export class Encoder {
  readonly #out = Buffer.alloc(maxMessage + 1024);
  #at = 0;
  #names = new Map<string, number>();
  #question = '';
  #ttls: number[] = [];
  #serial = 0;
  #shorten = false;

  /** At most `limit` bytes; records that do not fit are left out, which the message then says. */
  encode(message: Outgoing, limit: number): Encoded {
    // Names within the data of records are shortened only where it takes that.
    this.#shorten = false;
    const encoded = this.#encode(message, limit);
    if (!encoded.truncated || message.truncated) return encoded;
    this.#shorten = true;
    return this.#encode(message, limit);
  }

  #encode(message: Outgoing, limit: number): Encoded {
    const out = this.#out;
    const { question, edns } = message;
    if (this.#names.size > 0) this.#names = new Map();
    this.#ttls = [];
    this.#serial = 0;
    this.#question = question.name.includes('\\') ? '' : question.name;
    const wire = question.wire ?? nameToWire(question.name) ?? root;
    wire.copy(out, headerLength);
    const questionEnd = headerLength + wire.length;
    out.writeUInt16BE(question.type, questionEnd);
    out.writeUInt16BE(question.cls, questionEnd + 2);
    this.#at = questionEnd + 4;
    const reserved = edns === undefined ? 0 : ednsFixed + (edns.options?.length ?? 0);
    const room = Math.min(limit, maxMessage) - reserved;
    let fits = true;
    const counts = [0, 0, 0];
    const sections = [message.answers, message.authority, message.additional];
    for (let s = 0; s < 3 && fits; s++)
      for (const rr of sections[s]!) {
        const before = this.#at;
        this.#record(rr);
        if (this.#at > room) {
          this.#at = before;
          fits = false;
          while (this.#ttls.length > 0 && this.#ttls.at(-1)! >= before) this.#ttls.pop();
          break;
        }
        counts[s]!++;
      }
    const truncated = message.truncated || !fits;
    const ednsAt = this.#at;
    if (edns !== undefined) this.#edns(edns.size, edns.dnssec, message.rcode >> 4, edns.options);
    out.writeUInt16BE(message.id, 0);
    out[2] =
      (message.response ? 0x80 : 0) |
      (message.opcode << 3) |
      (message.authoritative ? 4 : 0) |
      (truncated ? 2 : 0) |
      (message.rd ? 1 : 0);
    out[3] =
      (message.recursion ? 0x80 : 0) | (message.authentic ? 0x20 : 0) | (message.cd ? 0x10 : 0) | (message.rcode & 15);
    out.writeUInt16BE(1, 4);
    out.writeUInt16BE(counts[0]!, 6);
    out.writeUInt16BE(counts[1]!, 8);
    out.writeUInt16BE(counts[2]! + (edns === undefined ? 0 : 1), 10);
    return {
      bytes: this.#copy(),
      truncated,
      questionEnd,
      ttls: this.#ttls,
      serial: this.#serial,
      edns: ednsAt,
    };
  }

  #copy(): Buffer {
    const bytes = Buffer.allocUnsafe(this.#at);
    this.#out.copy(bytes, 0, 0, this.#at);
    return bytes;
  }

  #edns(size: number, dnssec: boolean, extendedRcode: number, options: Buffer | undefined): void {
    const out = this.#out;
    const at = this.#at;
    out[at] = 0;
    out.writeUInt16BE(types.OPT, at + 1);
    out.writeUInt16BE(size, at + 3);
    out[at + 5] = extendedRcode;
    out[at + 6] = 0;
    out[at + 7] = dnssec ? 0x80 : 0;
    out[at + 8] = 0;
    out.writeUInt16BE(options?.length ?? 0, at + 9);
    options?.copy(out, at + ednsFixed);
    this.#at = at + ednsFixed + (options?.length ?? 0);
  }

  /** May write behind the longest message by one record; the caller takes it back. */
  #record(rr: Rr): void {
    const out = this.#out;
    this.#name(rr.name);
    let at = this.#at;
    if (at + 10 + rr.data.length > out.length) {
      this.#at = out.length;
      return;
    }
    out.writeUInt16BE(rr.type, at);
    out.writeUInt16BE(rr.cls, at + 2);
    out.writeUInt32BE(rr.ttl >>> 0, at + 4);
    this.#ttls.push(at + 4);
    at += 10;
    this.#at = at;
    if (this.#shorten && shortened.has(rr.type)) this.#compressed(rr);
    else {
      rr.data.copy(out, at);
      this.#at = at + rr.data.length;
    }
    if (rr.type === types.SOA) this.#serial = this.#at - 20;
    out.writeUInt16BE(this.#at - at, at - 2);
  }

  #compressed(rr: Rr): void {
    const { data } = rr;
    let at = 0;
    if (rr.type === types.MX) {
      data.copy(this.#out, this.#at, 0, 2);
      this.#at += 2;
      at = 2;
    }
    for (let names = rr.type === types.SOA ? 2 : 1; names > 0; names--) {
      const name = readName(data, at);
      if (name === undefined) break;
      this.#name(name.name);
      at = name.end;
    }
    data.copy(this.#out, this.#at, at);
    this.#at += data.length - at;
  }

  #name(name: string): void {
    const out = this.#out;
    const question = this.#question;
    // Others spell the name in their own way; the client gets it as it wrote it.
    const same =
      name === question || (name.length === question.length && name.toLowerCase() === question.toLowerCase());
    if (same && name !== '.') {
      out.writeUInt16BE(0xc000 | headerLength, this.#at);
      this.#at += 2;
      return;
    }
    if (name.includes('\\') || name === '.') {
      const wire = nameToWire(name) ?? root;
      wire.copy(out, this.#at);
      this.#at += wire.length;
      return;
    }
    for (let from = 0; from < name.length;) {
      const rest = from === 0 ? name : name.slice(from);
      const known = this.#known(rest);
      if (known !== undefined) {
        out.writeUInt16BE(0xc000 | known, this.#at);
        this.#at += 2;
        return;
      }
      if (this.#at <= maxPointer) this.#names.set(rest, this.#at);
      const dot = name.indexOf('.', from);
      const length = Math.min(dot - from, 63);
      out[this.#at++] = length;
      for (let i = 0; i < length; i++) out[this.#at++] = name.charCodeAt(from + i);
      from = dot + 1;
    }
    out[this.#at++] = 0;
  }

  /** Where a name stands already: an end of the question, or written since. */
  #known(name: string): number | undefined {
    const question = this.#question;
    const index = question.length - name.length;
    if (index >= 0 && question.endsWith(name) && (index === 0 || question.charCodeAt(index - 1) === 46))
      return headerLength + index;
    return this.#names.get(name);
  }
}
