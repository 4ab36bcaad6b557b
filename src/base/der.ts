/** DER, as much of it as certificates and certificate requests need: reading elements, and writing them. */

export interface Element {
  readonly tag: number;
  readonly content: Buffer;
  readonly next: number;
}

/** The element at `at`; its content is a view. */
export function read(der: Buffer, at: number): Element {
  const tag = der[at];
  let length = der[at + 1];
  if (tag === undefined || length === undefined) throw new Error('asn1: syntax error: data truncated');
  let start = at + 2;
  if (length & 0x80) {
    const n = length & 0x7f;
    if (n === 0 || n > 4 || start + n > der.length) throw new Error('asn1: structure error: invalid length');
    length = der.readUIntBE(start, n);
    start += n;
  }
  if (start + length > der.length) throw new Error('asn1: syntax error: data truncated');
  return { tag, content: der.subarray(start, start + length), next: start + length };
}

/** The elements that lie one behind the other in a content. */
export function children(content: Buffer): Element[] {
  const out: Element[] = [];
  for (let at = 0; at < content.length;) {
    const e = read(content, at);
    out.push(e);
    at = e.next;
  }
  return out;
}

/** An element around its contents. */
export function element(tag: number, ...contents: readonly Uint8Array[]): Buffer {
  const length = contents.reduce((n, c) => n + c.length, 0);
  const head =
    length < 0x80 ? [tag, length] : length < 0x100 ? [tag, 0x81, length] : [tag, 0x82, length >> 8, length & 0xff];
  if (length > 0xffff) throw new RangeError(`${length} bytes in one element`);
  return Buffer.concat([Buffer.from(head), ...contents]);
}

export const sequence = (...contents: readonly Uint8Array[]): Buffer => element(0x30, ...contents);

export const octets = (content: Uint8Array): Buffer => element(0x04, content);

/** An unsigned number, its bytes from the highest. */
export function unsigned(bytes: Uint8Array): Buffer {
  let from = 0;
  while (from < bytes.length - 1 && bytes[from] === 0) from++;
  const rest = bytes.subarray(from);
  return element(0x02, ...(rest[0]! >= 0x80 ? [Buffer.from([0])] : []), rest);
}

/** Bits numbered from the first, as flags are. */
export function flags(...set: readonly number[]): Buffer {
  const last = Math.max(...set);
  const bytes = Buffer.alloc((last >> 3) + 2);
  bytes[0] = 7 - (last & 7);
  for (const bit of set) bytes[1 + (bit >> 3)]! |= 0x80 >> (bit & 7);
  return element(0x03, bytes);
}

export function objectId(dotted: string): Buffer {
  const [first = 0, second = 0, ...rest] = dotted.split('.').map(Number);
  const bytes = [first * 40 + second];
  for (const part of rest) {
    const groups = [part & 0x7f];
    for (let left = part >>> 7; left > 0; left >>>= 7) groups.unshift((left & 0x7f) | 0x80);
    bytes.push(...groups);
  }
  return element(0x06, Buffer.from(bytes));
}

/** As Go writes names: PrintableString where that can hold them. */
export function text(value: string): Buffer {
  return element(/^[A-Za-z0-9 '()+,\-./:=?]*$/.test(value) ? 0x13 : 0x0c, Buffer.from(value));
}

/** X.509's times: two digits of the year until 2049. */
export function time(milliseconds: number): Buffer {
  const digits = `${new Date(milliseconds).toISOString().replace(/\.\d+|[-:T]/g, '')}`;
  return digits < '2050' && digits >= '1950'
    ? element(0x17, Buffer.from(digits.slice(2)))
    : element(0x18, Buffer.from(digits));
}
