/** IP addresses and prefixes as Go's net/netip reads and writes them, with its error texts. */
import { goQuote } from '../../codec/json.ts';

export class AddressError extends Error {}

export interface Address {
  /** 4 or 16 bytes. */
  readonly bytes: Uint8Array;
  readonly zone: string;
}

const bad = (text: string, why: string, at?: string): never => {
  throw new AddressError(`ParseAddr(${goQuote(text)}): ${why}${at === undefined ? '' : ` (at ${goQuote(at)})`}`);
};

function parseV4(text: string, whole: string, tail = false): number[] {
  const out: number[] = [];
  let value = 0;
  let digits = 0;
  for (let i = 0; i < text.length; i++) {
    const c = text.charCodeAt(i);
    if (c >= 48 && c <= 57) {
      if (digits === 1 && value === 0) bad(whole, 'IPv4 field has octet with leading zero', tail ? text : undefined);
      value = value * 10 + c - 48;
      digits++;
      if (value > 255) bad(whole, 'IPv4 field has value >255', tail ? text : undefined);
    } else if (text[i] === '.') {
      if (i === 0 || i === text.length - 1 || text[i - 1] === '.') {
        bad(whole, 'IPv4 field must have at least one digit', text.slice(i));
      }
      if (out.length === 3) bad(whole, 'IPv4 address too long');
      out.push(value);
      value = 0;
      digits = 0;
    } else bad(whole, 'unexpected character', text.slice(i));
  }
  if (out.length < 3) bad(whole, 'IPv4 address too short');
  out.push(value);
  return out;
}

function parseV6(text: string): Address {
  let rest = text;
  let zone = '';
  const percent = rest.indexOf('%');
  if (percent !== -1) {
    zone = rest.slice(percent + 1);
    rest = rest.slice(0, percent);
    if (zone === '') bad(text, 'zone must be a non-empty string');
  }
  const bytes: number[] = [];
  let ellipsis = -1;
  if (rest.startsWith('::')) {
    ellipsis = 0;
    rest = rest.slice(2);
    if (rest === '') return { bytes: new Uint8Array(16), zone };
  }
  while (bytes.length < 16) {
    const field = /^[0-9a-fA-F]*/.exec(rest)![0];
    if (field.length > 4 && Number.parseInt(field.slice(0, 5), 16) > 0xffff) {
      bad(text, 'IPv6 field has value >=2^16', rest);
    }
    if (field.length > 4) bad(text, 'each group must have 4 or less digits', rest);
    if (field === '') bad(text, 'each colon-separated field must have at least one digit', rest);
    if (rest[field.length] === '.') {
      if (ellipsis < 0 && bytes.length !== 12)
        bad(text, 'embedded IPv4 address must replace the final 2 fields of the address', rest);
      if (bytes.length + 4 > 16)
        bad(text, 'too many hex fields to fit an embedded IPv4 at the end of the address', rest);
      bytes.push(...parseV4(rest, text, true));
      rest = '';
      break;
    }
    const value = Number.parseInt(field, 16);
    bytes.push(value >> 8, value & 255);
    rest = rest.slice(field.length);
    if (rest === '') break;
    if (rest[0] !== ':') bad(text, 'unexpected character, want colon', rest);
    if (rest.length === 1) bad(text, 'colon must be followed by more characters', rest);
    rest = rest.slice(1);
    if (rest[0] === ':') {
      if (ellipsis >= 0) bad(text, 'multiple :: in address', rest);
      ellipsis = bytes.length;
      rest = rest.slice(1);
      if (rest === '') break;
    }
  }
  if (rest !== '') bad(text, 'trailing garbage after address', rest);
  if (bytes.length < 16) {
    if (ellipsis < 0) bad(text, 'address string too short');
    bytes.splice(ellipsis, 0, ...new Array<number>(16 - bytes.length).fill(0));
  } else if (ellipsis >= 0) bad(text, 'the :: must expand to at least one field of zeros');
  return { bytes: Uint8Array.from(bytes), zone };
}

/** @throws {AddressError} */
export function parseAddress(text: string): Address {
  for (const c of text) {
    if (c === '.') return { bytes: Uint8Array.from(parseV4(text, text)), zone: '' };
    if (c === ':') return parseV6(text);
    if (c === '%') bad(text, 'missing IPv6 address');
  }
  return bad(text, 'unable to parse IP');
}

export const is4in6 = ({ bytes }: Address): boolean =>
  bytes.length === 16 && bytes.subarray(0, 10).every((b) => b === 0) && bytes[10] === 0xff && bytes[11] === 0xff;

/** The canonical text: RFC 5952. */
export function formatAddress({ bytes, zone }: Address): string {
  if (bytes.length === 4) return bytes.join('.');
  const fields = Array.from({ length: 8 }, (_, i) => (bytes[i * 2]! << 8) | bytes[i * 2 + 1]!);
  let best = { start: -1, length: 1 };
  for (let i = 0; i < 8; i++) {
    let end = i;
    while (end < 8 && fields[end] === 0) end++;
    if (end - i > best.length) best = { start: i, length: end - i };
    if (end > i) i = end;
  }
  const hex = (list: readonly number[]): string => list.map((f) => f.toString(16)).join(':');
  const text =
    best.start < 0
      ? hex(fields)
      : `${hex(fields.slice(0, best.start))}::${hex(fields.slice(best.start + best.length))}`;
  return zone === '' ? text : `${text}%${zone}`;
}

export interface Prefix {
  readonly address: Address;
  readonly bits: number;
}

/** @throws {AddressError} */
export function parsePrefix(text: string): Prefix {
  const wrong = (why: string): never => {
    throw new AddressError(`netip.ParsePrefix(${goQuote(text)}): ${why}`);
  };
  const slash = text.lastIndexOf('/');
  if (slash < 0) wrong("no '/'");
  let address: Address;
  try {
    address = parseAddress(text.slice(0, slash));
  } catch (error) {
    if (error instanceof AddressError) return wrong(error.message);
    throw error;
  }
  if (address.bytes.length === 16 && address.zone !== '') wrong('IPv6 zones cannot be present in a prefix');
  const bits = text.slice(slash + 1);
  if (bits.length > 1 && !/^[1-9]/.test(bits)) wrong(`bad bits after slash: ${goQuote(bits)}`);
  if (!/^[0-9]+$/.test(bits)) wrong(`bad bits after slash: ${goQuote(bits)}`);
  if (Number(bits) > address.bytes.length * 8) wrong('prefix length out of range');
  return { address, bits: Number(bits) };
}

export function masked({ address, bits }: Prefix): Prefix {
  const bytes = address.bytes.map((b, i) => {
    const kept = Math.min(8, Math.max(0, bits - i * 8));
    return b & (0xff << (8 - kept)) & 0xff;
  });
  return { address: { bytes, zone: '' }, bits };
}

const sameBytes = (a: Uint8Array, b: Uint8Array): boolean => a.length === b.length && a.every((x, i) => x === b[i]);

export const sameAddress = (a: Address, b: Address): boolean => sameBytes(a.bytes, b.bytes) && a.zone === b.zone;

export function prefixContains(prefix: Prefix, address: Address): boolean {
  if (prefix.address.bytes.length !== address.bytes.length || address.zone !== '') return false;
  return sameBytes(masked({ address, bits: prefix.bits }).address.bytes, masked(prefix).address.bytes);
}

export const prefixCovers = (outer: Prefix, inner: Prefix): boolean =>
  outer.bits <= inner.bits && prefixContains(outer, inner.address);
