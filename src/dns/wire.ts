/** DNS messages read from the wire: queries, as strictly as CoreDNS takes them, and the answers of other name servers. */
import type { Rr } from './message.ts';
import { rcodes, types } from './message.ts';
import { readName, walkName, skipName } from './names.ts';

export const headerLength = 12;

export interface Edns {
  readonly size: number;
  readonly version: number;
  readonly dnssec: boolean;
  readonly extendedRcode: number;
  readonly options: Buffer | undefined;
}

export interface Query {
  readonly id: number;
  readonly opcode: number;
  readonly rd: boolean;
  readonly cd: boolean;
  readonly ad: boolean;
  /** As it was asked, and its bytes. */
  readonly name: string;
  readonly wire: Buffer;
  readonly type: number;
  readonly cls: number;
  readonly edns: Edns | undefined;
}

interface RawRecord {
  readonly type: number;
  readonly cls: number;
  readonly ttl: number;
  readonly at: number;
  readonly end: number;
}

/** The fixed part of the record whose name ends at `at`; undefined when the message is too short. */
function rawRecord(message: Buffer, at: number): RawRecord | undefined {
  if (at + 10 > message.length) return undefined;
  const end = at + 10 + message.readUInt16BE(at + 8);
  if (end > message.length) return undefined;
  return {
    type: message.readUInt16BE(at),
    cls: message.readUInt16BE(at + 2),
    ttl: message.readUInt32BE(at + 4),
    at: at + 10,
    end,
  };
}

function ednsOf(message: Buffer, raw: RawRecord): Edns {
  return {
    size: raw.cls,
    version: (raw.ttl >>> 16) & 0xff,
    dnssec: (raw.ttl & 0x8000) !== 0,
    extendedRcode: raw.ttl >>> 24,
    options: raw.end > raw.at ? message.subarray(raw.at, raw.end) : undefined,
  };
}

/**
 * A query; or the code with which it is turned down, header alone; undefined: not worth an answer. Opcodes but QUERY and NOTIFY,
 * counts that no query has and what cannot be read are turned down as CoreDNS' library does.
 */
export function parseQuery(message: Buffer): Query | number | undefined {
  if (message.length < headerLength || (message[2]! & 0x80) !== 0) return undefined;
  const opcode = (message[2]! >> 3) & 15;
  if (opcode !== 0 && opcode !== 4) return rcodes.NOTIMP;
  const answers = message.readUInt16BE(6);
  const authorities = message.readUInt16BE(8);
  const additionals = message.readUInt16BE(10);
  if (message.readUInt16BE(4) !== 1 || answers > 1 || authorities > 1 || additionals > 2) return rcodes.FORMERR;
  const question = readName(message, headerLength);
  if (question === undefined || question.end + 4 > message.length) return rcodes.FORMERR;
  // There is nothing before it that it could point to.
  if (message[question.end - 1] !== 0) return rcodes.FORMERR;
  let edns: Edns | undefined;
  let at = question.end + 4;
  for (let i = 0; i < answers + authorities + additionals; i++) {
    // Counts that promise more than there is are let pass.
    if (at === message.length) break;
    const name = skipName(message, at);
    const raw = name === undefined ? undefined : rawRecord(message, name);
    if (raw === undefined) return rcodes.FORMERR;
    if (raw.type === types.OPT && i >= answers + authorities) edns ??= ednsOf(message, raw);
    at = raw.end;
  }
  return {
    id: message.readUInt16BE(0),
    opcode,
    rd: (message[2]! & 1) !== 0,
    cd: (message[3]! & 0x10) !== 0,
    ad: (message[3]! & 0x20) !== 0,
    name: question.name,
    wire: message.subarray(headerLength, question.end),
    type: message.readUInt16BE(question.end),
    cls: message.readUInt16BE(question.end + 2),
    edns,
  };
}

/** What is left of a query that cannot be answered: its header with a code. */
export function headerReply(message: Buffer, rcode: number): Buffer {
  const out = Buffer.alloc(headerLength);
  message.copy(out, 0, 0, 4);
  // Answer, not authoritative; opcode and the rest as they came.
  out[2] = (out[2]! & 0x7b) | 0x80;
  out[3] = (out[3]! & 0xb0) | rcode;
  if (rcode === rcodes.FORMERR) out[2]! &= 0x87;
  return out;
}

export interface UpstreamAnswer {
  readonly id: number;
  readonly rcode: number;
  readonly truncated: boolean;
  readonly authoritative: boolean;
  readonly recursion: boolean;
  readonly authentic: boolean;
  readonly name: string;
  readonly type: number;
  readonly cls: number;
  readonly answers: readonly Rr[];
  readonly authority: readonly Rr[];
  readonly additional: readonly Rr[];
  readonly edns: Edns | undefined;
}

/** Cookies, keepalive and padding: between one client and one server, never passed on. */
const betweenTwo: readonly number[] = [10, 11, 12];

/** EDNS options that may be passed on; undefined when there are none. */
export function passedOn(options: Buffer | undefined): Buffer | undefined {
  if (options === undefined) return undefined;
  const parts: Buffer[] = [];
  for (let at = 0; at + 4 <= options.length;) {
    const end = at + 4 + options.readUInt16BE(at + 2);
    if (end > options.length) break;
    if (!betweenTwo.includes(options.readUInt16BE(at))) parts.push(options.subarray(at, end));
    at = end;
  }
  return parts.length === 0 ? undefined : Buffer.concat(parts);
}

/** The data of a record with the names in it whole; undefined when it is malformed. */
function expanded(message: Buffer, raw: RawRecord): Buffer | undefined {
  const plain = (): Buffer => Buffer.from(message.subarray(raw.at, raw.end));
  const names = (skip: number, count: number): Buffer | undefined => {
    if (raw.at + skip > raw.end) return undefined;
    const parts: Buffer[] = [message.subarray(raw.at, raw.at + skip)];
    let at = raw.at + skip;
    for (let i = 0; i < count; i++) {
      const end = copyName(message, at, parts);
      if (end === undefined || end > raw.end) return undefined;
      at = end;
    }
    parts.push(message.subarray(at, raw.end));
    return Buffer.concat(parts);
  };
  switch (raw.type) {
    case types.A:
      return raw.end - raw.at === 4 ? plain() : undefined;
    case types.AAAA:
      return raw.end - raw.at === 16 ? plain() : undefined;
    case types.NS:
    case types.CNAME:
    case types.PTR:
    case types.DNAME:
    case types.MD:
    case types.MF:
      return names(0, 1);
    case types.SOA:
    case types.MINFO:
    case types.RP:
      return names(0, 2);
    case types.MX:
    case types.AFSDB:
    case types.KX:
      return names(2, 1);
    case types.SRV:
      return names(6, 1);
    case types.NAPTR: {
      let at = raw.at + 4;
      for (let i = 0; i < 3 && at < raw.end; i++) at += 1 + message[at]!;
      return names(at - raw.at, 1);
    }
    default:
      return plain();
  }
}

const rootLabel = Buffer.alloc(1);

/** Adds the bytes of a name, its pointers followed, to `parts`; gives where it ends. */
function copyName(message: Buffer, offset: number, parts: Buffer[]): number | undefined {
  const end = walkName(message, offset, (at, length) => void parts.push(message.subarray(at, at + 1 + length)));
  if (end !== undefined) parts.push(rootLabel);
  return end;
}

/** An answer of another name server; undefined when it is malformed or none. */
export function parseAnswer(message: Buffer): UpstreamAnswer | undefined {
  if (message.length < headerLength || (message[2]! & 0x80) === 0 || message.readUInt16BE(4) !== 1) return undefined;
  const question = readName(message, headerLength);
  if (question === undefined || question.end + 4 > message.length) return undefined;
  const truncated = (message[2]! & 2) !== 0;
  let edns: Edns | undefined;
  let at = question.end + 4;
  const sections: Rr[][] = [[], [], []];
  for (let s = 0; s < 3; s++) {
    for (let left = message.readUInt16BE(6 + s * 2); left > 0; left--) {
      // A cut message may end anywhere.
      if (at >= message.length && truncated) break;
      const name = readName(message, at);
      const raw = name === undefined ? undefined : rawRecord(message, name.end);
      if (name === undefined || raw === undefined) {
        if (!truncated) return undefined;
        at = message.length;
        break;
      }
      at = raw.end;
      if (raw.type === types.OPT) {
        edns ??= ednsOf(message, raw);
        continue;
      }
      const data = expanded(message, raw);
      if (data === undefined) return undefined;
      sections[s]!.push({ name: name.name, type: raw.type, cls: raw.cls, ttl: raw.ttl >>> 0, data });
    }
  }
  return {
    id: message.readUInt16BE(0),
    rcode: (message[3]! & 15) | ((edns?.extendedRcode ?? 0) << 4),
    truncated,
    authoritative: (message[2]! & 4) !== 0,
    recursion: (message[3]! & 0x80) !== 0,
    authentic: (message[3]! & 0x20) !== 0,
    name: question.name,
    type: message.readUInt16BE(question.end),
    cls: message.readUInt16BE(question.end + 2),
    answers: sections[0]!,
    authority: sections[1]!,
    additional: sections[2]!,
    edns,
  };
}
