/** IP addresses and ranges as numbers: parsing, canonical text, membership, walking. */
import { isIPv4, isIPv6 } from 'node:net';

export type Family = 'IPv4' | 'IPv6';

export interface Address {
  readonly family: Family;
  readonly value: bigint;
}

export interface Range {
  readonly family: Family;
  /** First address, all host bits zero. */
  readonly base: bigint;
  readonly bits: number;
  /** Canonical text, `10.96.0.0/12`. */
  readonly text: string;
}

function parseV4(text: string): bigint {
  return text.split('.').reduce((n, part) => (n << 8n) | BigInt(Number(part)), 0n);
}

function parseV6(text: string): bigint {
  let rest = text;
  let tail: bigint | undefined;
  const dot = rest.lastIndexOf('.');
  if (dot >= 0) {
    const at = rest.lastIndexOf(':');
    tail = parseV4(rest.slice(at + 1));
    rest = `${rest.slice(0, at + 1)}0:0`;
  }
  const [head = '', end] = rest.split('::') as [string, string | undefined];
  const left = head === '' ? [] : head.split(':');
  const right = end === undefined || end === '' ? [] : end.split(':');
  const middle = end === undefined ? [] : Array.from({ length: 8 - left.length - right.length }, () => '0');
  let value = 0n;
  for (const group of [...left, ...middle, ...right]) value = (value << 16n) | BigInt(parseInt(group, 16));
  return tail === undefined ? value : value | tail;
}

const mapped = 0xffffn << 32n;

/** undefined for text that is no IP address. IPv4 in IPv6 form counts as IPv4, as in Go. */
export function parseAddress(text: string): Address | undefined {
  if (isIPv4(text)) return { family: 'IPv4', value: parseV4(text) };
  if (!isIPv6(text) || text.includes('%')) return undefined;
  const value = parseV6(text);
  if (value >> 32n === 0xffffn) return { family: 'IPv4', value: value - mapped };
  return { family: 'IPv6', value };
}

/** Go's text of an address: dotted, or RFC 5952 with the longest run of zeros left out. */
export function formatAddress(address: Address): string {
  if (address.family === 'IPv4') {
    const n = Number(address.value);
    return `${n >>> 24}.${(n >>> 16) & 255}.${(n >>> 8) & 255}.${n & 255}`;
  }
  const groups: number[] = [];
  for (let i = 7n; i >= 0n; i--) groups.push(Number((address.value >> (i * 16n)) & 0xffffn));
  let best = -1;
  let length = 0;
  for (let i = 0; i < 8;) {
    let j = i;
    while (j < 8 && groups[j] === 0) j++;
    if (j - i > length && j - i >= 2) {
      best = i;
      length = j - i;
    }
    i = j === i ? i + 1 : j;
  }
  const hex = (list: readonly number[]): string => list.map((g) => g.toString(16)).join(':');
  if (best < 0) return hex(groups);
  return `${hex(groups.slice(0, best))}::${hex(groups.slice(best + length))}`;
}

/** undefined for text that is no CIDR. Host bits are cleared. */
export function parseRange(text: string): Range | undefined {
  const slash = text.indexOf('/');
  if (slash < 0) return undefined;
  const address = parseAddress(text.slice(0, slash));
  const bitsText = text.slice(slash + 1);
  if (address === undefined || !/^(0|[1-9][0-9]{0,2})$/.test(bitsText)) return undefined;
  const bits = Number(bitsText);
  const width = address.family === 'IPv4' ? 32 : 128;
  if (bits > width) return undefined;
  const host = BigInt(width - bits);
  const base = (address.value >> host) << host;
  const { family } = address;
  return { family, base, bits, text: `${formatAddress({ family, value: base })}/${bits}` };
}

/** How many addresses the range spans. */
export function rangeSize(range: Range): bigint {
  return 1n << BigInt((range.family === 'IPv4' ? 32 : 128) - range.bits);
}

export function rangeContains(range: Range, address: Address): boolean {
  return (
    range.family === address.family && address.value >= range.base && address.value < range.base + rangeSize(range)
  );
}
