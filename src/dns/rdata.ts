/** The data of resource records: made from values, read back, and parsed from the text form of zone files (RFC 1035, section 5). */
import { parseIp } from '../base/ip.ts';
import type { Rr } from './message.ts';
import { classes, typeName, typeNumber, types } from './message.ts';
import { fqdn, nameToWire, readName } from './names.ts';

const maxText = 255;

/** The four bytes of `10.0.0.1` as one number; -1 for what is no IPv4 address. */
function v4Number(text: string): number {
  let value = 0;
  let parts = 0;
  let part = -1;
  let digits = 0;
  for (let i = 0; i <= text.length; i++) {
    const c = i === text.length ? 46 : text.charCodeAt(i);
    if (c === 46) {
      if (part < 0 || ++parts > 4) return -1;
      value = value * 256 + part;
      part = -1;
      digits = 0;
    } else {
      if (c < 48 || c > 57 || part === 0 || ++digits > 3) return -1;
      part = (part < 0 ? 0 : part) * 10 + c - 48;
      if (part > 255) return -1;
    }
  }
  return parts === 4 ? value : -1;
}

/** 4 or 16 bytes; undefined for what is no address. */
export function addressData(address: string): Buffer | undefined {
  const v4 = v4Number(address);
  if (v4 >= 0) {
    const out = Buffer.allocUnsafe(4);
    out.writeUInt32BE(v4);
    return out;
  }
  const ip = parseIp(address);
  if (ip === undefined) return undefined;
  if (ip.family === 4) {
    const out = Buffer.alloc(4);
    out.writeUInt32BE(Number(ip.value));
    return out;
  }
  return Buffer.from(ip.value.toString(16).padStart(32, '0'), 'hex');
}

export function addressRecord(name: string, data: Buffer, ttl: number): Rr {
  return { name, type: data.length === 4 ? types.A : types.AAAA, cls: 1, ttl, data };
}

/** Undefined when the target is no name. */
export function nameRecord(name: string, type: number, target: string, ttl: number): Rr | undefined {
  const data = nameToWire(target);
  return data === undefined ? undefined : { name, type, cls: 1, ttl, data };
}

export function srvRecord(name: string, ttl: number, weight: number, port: number, target: string): Rr | undefined {
  const wire = nameToWire(target);
  if (wire === undefined) return undefined;
  const data = Buffer.alloc(6 + wire.length);
  data.writeUInt16BE(weight, 2);
  data.writeUInt16BE(port, 4);
  wire.copy(data, 6);
  return { name, type: types.SRV, cls: 1, ttl, data };
}

export function textRecord(name: string, ttl: number, texts: readonly string[]): Rr {
  const parts: Buffer[] = [];
  for (const text of texts) {
    const bytes = Buffer.from(text);
    for (let at = 0; at === 0 || at < bytes.length; at += maxText) {
      const part = bytes.subarray(at, at + maxText);
      parts.push(Buffer.from([part.length]), part);
    }
  }
  return { name, type: types.TXT, cls: 1, ttl, data: Buffer.concat(parts) };
}

export interface Soa {
  readonly mname: string;
  readonly rname: string;
  readonly serial: number;
  readonly refresh: number;
  readonly retry: number;
  readonly expire: number;
  readonly minimum: number;
}

export function soaRecord(name: string, ttl: number, soa: Soa): Rr {
  const numbers = Buffer.alloc(20);
  [soa.serial, soa.refresh, soa.retry, soa.expire, soa.minimum].forEach((n, i) =>
    numbers.writeUInt32BE(n >>> 0, i * 4),
  );
  const root = Buffer.from([0]);
  const data = Buffer.concat([nameToWire(soa.mname) ?? root, nameToWire(soa.rname) ?? root, numbers]);
  return { name, type: types.SOA, cls: 1, ttl, data };
}

/** Where the names in a record's data begin, by type; -1: none that may be rewritten or compressed. */
function namesIn(type: number, data: Buffer): number {
  switch (type) {
    case types.CNAME:
    case types.NS:
    case types.PTR:
    case types.DNAME:
    case types.SOA:
      return 0;
    case types.MX:
      return 2;
    case types.SRV:
      return 6;
    case types.NAPTR: {
      let at = 4;
      for (let i = 0; i < 3; i++) at += 1 + (data[at] ?? data.length);
      return at < data.length ? at : -1;
    }
    default:
      return -1;
  }
}

/** The name that a record leads to; undefined for records without one. */
export function targetOf(rr: Rr): string | undefined {
  const at = namesIn(rr.type, rr.data);
  return at < 0 ? undefined : readName(rr.data, at)?.name;
}

/** The record with another target; undefined when that is no name. */
export function withTarget(rr: Rr, target: string): Rr | undefined {
  const at = namesIn(rr.type, rr.data);
  const old = at < 0 ? undefined : readName(rr.data, at);
  const wire = nameToWire(fqdn(target));
  if (old === undefined || wire === undefined) return undefined;
  return { ...rr, data: Buffer.concat([rr.data.subarray(0, at), wire, rr.data.subarray(old.end)]) };
}

/** The address of an A or AAAA record as text. */
export function addressOf(rr: Rr): string {
  if (rr.data.length === 4) return rr.data.join('.');
  const groups: number[] = [];
  for (let i = 0; i + 1 < rr.data.length; i += 2) groups.push(rr.data.readUInt16BE(i));
  let best = { at: -1, length: 1 };
  for (let i = 0; i < groups.length; i++) {
    let length = 0;
    while (groups[i + length] === 0) length++;
    if (length > best.length) best = { at: i, length };
    i += Math.max(length - 1, 0);
  }
  const hex = (list: number[]): string => list.map((g) => g.toString(16)).join(':');
  if (best.at < 0) return hex(groups);
  return `${hex(groups.slice(0, best.at))}::${hex(groups.slice(best.at + best.length))}`;
}

/** A record's data as people write it. */
export function dataText(rr: Rr): string {
  const { data } = rr;
  switch (rr.type) {
    case types.A:
    case types.AAAA:
      return addressOf(rr);
    case types.SRV:
      return `${data.readUInt16BE(0)} ${data.readUInt16BE(2)} ${data.readUInt16BE(4)} ${targetOf(rr) ?? ''}`;
    case types.MX:
      return `${data.readUInt16BE(0)} ${targetOf(rr) ?? ''}`;
    case types.CNAME:
    case types.NS:
    case types.PTR:
    case types.DNAME:
      return targetOf(rr) ?? '';
    case types.TXT:
    case types.HINFO: {
      const texts: string[] = [];
      for (let at = 0; at < data.length; at += 1 + data[at]!)
        texts.push(data.toString('utf8', at + 1, at + 1 + data[at]!));
      return texts.join(' ');
    }
    case types.SOA: {
      const mname = readName(data, 0);
      const rname = mname === undefined ? undefined : readName(data, mname.end);
      if (mname === undefined || rname === undefined || data.length < rname.end + 20) return '';
      const numbers = [0, 1, 2, 3, 4].map((i) => data.readUInt32BE(rname.end + i * 4));
      return `${mname.name} ${rname.name} ${numbers.join(' ')}`;
    }
    default:
      return `\\# ${data.length} ${data.toString('hex')}`;
  }
}

function words(text: string): string[] {
  const out: string[] = [];
  for (const m of text.matchAll(/"((?:[^"\\]|\\.)*)"|([^\s()]+)/g))
    out.push(m[1] === undefined ? m[2]! : m[1].replace(/\\(.)/g, '$1'));
  return out;
}

const number = (text: string | undefined, max: number): number => {
  const n = Number(text);
  if (text === undefined || !/^\d+$/.test(text) || n > max)
    throw new Error(`${text ?? 'nothing'} where a number is due`);
  return n;
};

function wire(name: string | undefined): Buffer {
  const out = name === undefined ? undefined : nameToWire(fqdn(name));
  if (out === undefined) throw new Error(`${name ?? 'nothing'} where a name is due`);
  return out;
}

function uint16(...values: number[]): Buffer {
  const out = Buffer.alloc(values.length * 2);
  values.forEach((v, i) => out.writeUInt16BE(v, i * 2));
  return out;
}

function dataOf(type: number, args: readonly string[]): Buffer {
  const [a, b, c, d] = args;
  if (a === '\\#') {
    const data = Buffer.from(args.slice(2).join(''), 'hex');
    if (data.length !== number(b, 65_535)) throw new Error('the length does not fit the data');
    return data;
  }
  switch (type) {
    case types.A:
    case types.AAAA: {
      const data = addressData(a ?? '');
      if (data?.length !== (type === types.A ? 4 : 16)) throw new Error(`${a ?? 'nothing'} where an address is due`);
      return data;
    }
    case types.CNAME:
    case types.NS:
    case types.PTR:
    case types.DNAME:
      return wire(a);
    case types.MX:
      return Buffer.concat([uint16(number(a, 65_535)), wire(b)]);
    case types.SRV:
      return Buffer.concat([uint16(number(a, 65_535), number(b, 65_535), number(c, 65_535)), wire(d)]);
    case types.TXT:
    case types.HINFO:
    case types.SPF:
      if (a === undefined) throw new Error('nothing where a text is due');
      return textRecord('.', 0, args).data;
    case types.SOA: {
      const [, , serial, refresh, retry, expire, minimum] = args;
      const [s, r, t, e, m] = [serial, refresh, retry, expire, minimum].map((n) => number(n, 2 ** 32 - 1));
      wire(a);
      wire(b);
      const soa = { mname: fqdn(a!), rname: fqdn(b!), serial: s!, refresh: r!, retry: t!, expire: e!, minimum: m! };
      return soaRecord('.', 0, soa).data;
    }
    case types.CAA:
      return Buffer.concat([
        Buffer.from([number(a, 255), Buffer.byteLength(b ?? '')]),
        Buffer.from(b ?? ''),
        Buffer.from(c ?? ''),
      ]);
    default:
      throw new Error(`the data of ${typeName(type)} records is given as \\# LENGTH HEX`);
  }
}

/** `web.example. 60 IN A 10.0.0.1`; TTL (default 3600) and class may be left out. Throws what is wrong with it. */
export function parseRecord(text: string): Rr {
  const [name, ...rest] = words(text);
  if (name === undefined) throw new Error('the record is empty');
  wire(name);
  let ttl = 3600;
  let cls = 1;
  for (;;) {
    const word = rest[0]?.toUpperCase() ?? '';
    if (/^\d+$/.test(word)) ttl = number(word, 2 ** 32 - 1);
    else if (Object.hasOwn(classes, word) && word !== 'ANY') cls = classes[word]!;
    else break;
    rest.shift();
  }
  const type = typeNumber(rest[0] ?? '');
  if (type === undefined) throw new Error(`${rest[0] ?? 'nothing'} where a record type is due`);
  return { name: fqdn(name), type, cls, ttl, data: dataOf(type, rest.slice(1)) };
}
