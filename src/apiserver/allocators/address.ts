/** IP addresses and ranges by the API's names of the families. */
import { formatIp, parseIp } from '../../base/ip.ts';

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

/** undefined for text that is no IP address. IPv4 in IPv6 form counts as IPv4, as in Go. */
export function parseAddress(text: string): Address | undefined {
  const ip = text.includes('%') ? undefined : parseIp(text);
  return ip === undefined ? undefined : { family: ip.family === 4 ? 'IPv4' : 'IPv6', value: ip.value };
}

/** Go's text of an address: dotted, or RFC 5952 with the longest run of zeros left out. */
export function formatAddress({ family, value }: Address): string {
  return formatIp({ family: family === 'IPv4' ? 4 : 6, value });
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
