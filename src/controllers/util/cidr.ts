/** CIDR arithmetic and a set of equal ranges cut out of a larger one. */
import { isIPv4, isIPv6 } from 'node:net';

export interface Cidr {
  readonly base: bigint;
  readonly bits: number;
  /** 32 or 128. */
  readonly width: number;
}

function parseV4(text: string): bigint {
  return text.split('.').reduce((n, part) => (n << 8n) | BigInt(part), 0n);
}

function parseV6(text: string): bigint {
  let address = text;
  const dot = address.lastIndexOf(':');
  if (address.includes('.')) {
    const v4 = parseV4(address.slice(dot + 1));
    address = `${address.slice(0, dot + 1)}${(v4 >> 16n).toString(16)}:${(v4 & 0xffffn).toString(16)}`;
  }
  const [head, tail] = address.split('::') as [string, string | undefined];
  const left = head === '' ? [] : head.split(':');
  const right = tail === undefined || tail === '' ? [] : tail.split(':');
  const middle = tail === undefined ? [] : Array<string>(8 - left.length - right.length).fill('0');
  return [...left, ...middle, ...right].reduce((n, part) => (n << 16n) | BigInt(`0x${part}`), 0n);
}

/** Undefined for what is no CIDR. Host bits are cut off. */
export function parseCidr(text: string): Cidr | undefined {
  const [address, bitsText] = text.split('/') as [string, string | undefined];
  if (bitsText === undefined || !/^[0-9]{1,3}$/.test(bitsText)) return undefined;
  const width = isIPv4(address) ? 32 : isIPv6(address) ? 128 : 0;
  const bits = Number(bitsText);
  if (width === 0 || bits > width) return undefined;
  const value = width === 32 ? parseV4(address) : parseV6(address);
  const host = BigInt(width - bits);
  return { base: (value >> host) << host, bits, width };
}

function formatV6(value: bigint): string {
  const parts: number[] = [];
  for (let i = 7; i >= 0; i--) parts.push(Number((value >> BigInt(i * 16)) & 0xffffn));
  // The longest run of zeros is cut out (RFC 5952).
  let best = -1;
  let length = 1;
  for (let i = 0; i < 8; i++) {
    let n = 0;
    while (i + n < 8 && parts[i + n] === 0) n++;
    if (n > length) {
      best = i;
      length = n;
    }
    i += n;
  }
  const hex = parts.map((p) => p.toString(16));
  if (best === -1) return hex.join(':');
  return `${hex.slice(0, best).join(':')}::${hex.slice(best + length).join(':')}`;
}

function formatIP(value: bigint, width: number): string {
  if (width === 128) return formatV6(value);
  return [24n, 16n, 8n, 0n].map((s) => String((value >> s) & 0xffn)).join('.');
}

export function formatCidr(c: Cidr): string {
  return `${formatIP(c.base, c.width)}/${c.bits}`;
}

/** True when the ranges share addresses. */
export function cidrsOverlap(a: Cidr, b: Cidr): boolean {
  if (a.width !== b.width) return false;
  const shift = BigInt(a.width - Math.min(a.bits, b.bits));
  return a.base >> shift === b.base >> shift;
}

/** Ranges of `bits` cut out of a cluster's range, given out one after the other and taken back. */
export class CidrSet {
  readonly #cluster: Cidr;
  readonly #bits: number;
  readonly #used = new Set<number>();
  readonly #size: number;
  #next = 0;

  constructor(cluster: Cidr, bits: number) {
    this.#cluster = cluster;
    this.#bits = bits;
    this.#size = 2 ** Math.min(bits - cluster.bits, 30);
  }

  get width(): number {
    return this.#cluster.width;
  }

  #at(index: number): Cidr {
    const shift = BigInt(this.#cluster.width - this.#bits);
    return { base: this.#cluster.base + (BigInt(index) << shift), bits: this.#bits, width: this.#cluster.width };
  }

  /** A free range; undefined when all are taken. */
  allocate(): Cidr | undefined {
    if (this.#used.size >= this.#size) return undefined;
    while (this.#used.has(this.#next)) this.#next = (this.#next + 1) % this.#size;
    const index = this.#next;
    this.#used.add(index);
    this.#next = (index + 1) % this.#size;
    return this.#at(index);
  }

  *#indices(c: Cidr): Iterable<number> {
    if (!cidrsOverlap(c, this.#cluster)) return;
    const shift = BigInt(this.#cluster.width - this.#bits);
    const first = c.bits <= this.#cluster.bits ? 0n : (c.base - this.#cluster.base) >> shift;
    const end = c.base + (1n << BigInt(c.width - c.bits)) - 1n;
    const last = c.bits <= this.#cluster.bits ? BigInt(this.#size - 1) : (end - this.#cluster.base) >> shift;
    for (let i = first; i <= last; i++) yield Number(i);
  }

  /** Marks everything that the range touches as taken. False when it lies outside. */
  occupy(c: Cidr): boolean {
    if (!cidrsOverlap(c, this.#cluster)) return false;
    for (const i of this.#indices(c)) this.#used.add(i);
    return true;
  }

  release(c: Cidr): void {
    for (const i of this.#indices(c)) this.#used.delete(i);
  }
}
