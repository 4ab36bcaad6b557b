/** HTTP/2 by hand, as little of it as the loading processes of the benchmarks need. */

export const frame = { data: 0, headers: 1, reset: 3, settings: 4, ping: 6, away: 7, window: 8 } as const;
export const maxWindow = 2 ** 31 - 1;

export function frameOf(type: number, flags: number, stream: number, payload: Buffer): Buffer {
  const out = Buffer.allocUnsafe(9 + payload.length);
  out.writeUIntBE(payload.length, 0, 3);
  out[3] = type;
  out[4] = flags;
  out.writeUInt32BE(stream, 5);
  payload.copy(out, 9);
  return out;
}

/** Grants bytes to a stream; 0: to the connection. */
export function windowOf(stream: number, bytes: number): Buffer {
  const payload = Buffer.alloc(4);
  payload.writeUInt32BE(bytes);
  return frameOf(frame.window, 0, stream, payload);
}

/** What a client says first: no dynamic table, no push, this window for each stream and the connection. */
export function prefaceOf(window: number): Buffer {
  const settings = Buffer.alloc(18);
  settings.writeUInt16BE(1, 0);
  settings.writeUInt16BE(2, 6);
  settings.writeUInt16BE(4, 12);
  settings.writeUInt32BE(window, 14);
  return Buffer.concat([
    Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'),
    frameOf(frame.settings, 0, 0, settings),
    ...(window > 65_535 ? [windowOf(0, window - 65_535)] : []),
  ]);
}

/** An HPACK integer behind the bits of `first`, whose lowest `bits` are its own. */
function integer(first: number, bits: number, value: number): number[] {
  const most = (1 << bits) - 1;
  if (value < most) return [first | value];
  const out = [first | most];
  let rest = value - most;
  for (; rest >= 128; rest >>= 7) out.push((rest & 127) | 128);
  out.push(rest);
  return out;
}

/** A header as a literal that enters no table, its name by index of the static one. */
export function header(name: number, value: string): Buffer {
  const bytes = Buffer.from(value);
  return Buffer.concat([Buffer.from([...integer(0, 4, name), ...integer(0, 7, bytes.length)]), bytes]);
}

/** Whether a block of headers begins with a status of 2xx. There is no dynamic table: it is indexed, or a literal. */
export function statusIsGood(block: Buffer): boolean {
  let at = 0;
  // Updates of the table's size.
  while ((block[at]! & 0xe0) === 0x20) at++;
  const first = block[at]!;
  if ((first & 0x80) !== 0) return first >= 0x88 && first <= 0x8a;
  const value = block[at + 2]!;
  // Huffman's code of 2 is 00010.
  return (block[at + 1]! & 0x80) === 0 ? value === 0x32 : value >> 3 === 2;
}

/** Cuts what comes from a socket into frames. */
export class Frames {
  readonly #take: (type: number, flags: number, stream: number, payload: Buffer) => void;
  #rest: Buffer[] = [];
  #have = 0;
  #want = 9;

  constructor(take: (type: number, flags: number, stream: number, payload: Buffer) => void) {
    this.#take = take;
  }

  feed(chunk: Buffer): void {
    let bytes = chunk;
    if (this.#have > 0) {
      this.#rest.push(chunk);
      this.#have += chunk.length;
      if (this.#have < this.#want) return;
      bytes = Buffer.concat(this.#rest);
      this.#rest = [];
      this.#have = 0;
    }
    let at = 0;
    this.#want = 9;
    while (bytes.length - at >= 9) {
      const length = (bytes[at]! << 16) | (bytes[at + 1]! << 8) | bytes[at + 2]!;
      this.#want = 9 + length;
      if (bytes.length - at < this.#want) break;
      this.#take(
        bytes[at + 3]!,
        bytes[at + 4]!,
        bytes.readUInt32BE(at + 5) & maxWindow,
        bytes.subarray(at + 9, at + this.#want),
      );
      at += this.#want;
      this.#want = 9;
    }
    if (at === bytes.length) return;
    this.#rest = [bytes.subarray(at)];
    this.#have = bytes.length - at;
  }
}
