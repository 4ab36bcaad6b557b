/** The protobuf wire format: a writer from the end of a buffer, a reader of ranges. Nothing here knows of objects. */

/** Bytes that are no message of the type they should be. */
export class ProtobufError extends Error {
  /** Of the envelope, when it could be read. */
  readonly type: { readonly apiVersion: string; readonly kind: string } | undefined;

  constructor(message: string, type?: { readonly apiVersion: string; readonly kind: string }, cause?: unknown) {
    super(message, { cause });
    this.name = 'ProtobufError';
    this.type = type;
  }
}

export const varint = 0;
export const fixed64 = 1;
export const delimited = 2;
const fixed32 = 5;

// Writing --------------------------------------------------------------------------------------------------------------

const shortText = 48;

/** Writes from the end of a growing buffer towards its beginning. */
export class Writer {
  buffer: Buffer;
  position: number;
  /** The time that was read last: those of one object, and of the next, are often the same. */
  readonly instant = { text: '', seconds: 0, nanos: 0 };

  constructor(size: number) {
    this.buffer = Buffer.allocUnsafe(size);
    this.position = size;
  }

  reserve(bytes: number): void {
    if (this.position >= bytes) return;
    const used = this.buffer.length - this.position;
    const bigger = Buffer.allocUnsafe(Math.max(this.buffer.length * 2, used + bytes));
    this.buffer.copy(bigger, bigger.length - used, this.position);
    this.position = bigger.length - used;
    this.buffer = bigger;
  }

  get written(): number {
    return this.buffer.length - this.position;
  }

  /** A non-negative safe integer. */
  number(n: number): void {
    if (n < 128) {
      if (this.position < 1) this.reserve(1);
      this.buffer[--this.position] = n;
      return;
    }
    if (n < 16_384) {
      if (this.position < 2) this.reserve(2);
      this.buffer[--this.position] = n >>> 7;
      this.buffer[--this.position] = (n & 127) | 128;
      return;
    }
    let size = 1;
    for (let rest = n; rest >= 128; rest = Math.floor(rest / 128)) size++;
    this.reserve(size);
    this.position -= size;
    let rest = n;
    for (let i = 0; i < size; i++) {
      this.buffer[this.position + i] = (rest % 128) + (i < size - 1 ? 128 : 0);
      rest = Math.floor(rest / 128);
    }
  }

  integer(value: number | bigint): void {
    if (typeof value === 'number' && value >= 0 && Number.isSafeInteger(value)) {
      this.number(value);
      return;
    }
    let rest = BigInt.asUintN(64, BigInt(typeof value === 'number' ? Math.trunc(value) : value));
    const bytes: number[] = [];
    do {
      bytes.push(Number(rest & 127n));
      rest >>= 7n;
    } while (rest > 0n);
    this.reserve(bytes.length);
    this.position -= bytes.length;
    bytes.forEach((byte, i) => {
      this.buffer[this.position + i] = byte + (i < bytes.length - 1 ? 128 : 0);
    });
  }

  tag(number: number, type: number): void {
    this.number(number * 8 + type);
  }

  double(value: number): void {
    this.reserve(8);
    this.position -= 8;
    this.buffer.writeDoubleLE(value, this.position);
  }

  bytes(bytes: Uint8Array): void {
    this.reserve(bytes.length);
    this.position -= bytes.length;
    this.buffer.set(bytes, this.position);
  }

  /** A part of other bytes. */
  slice(from: Buffer, start: number, end: number): void {
    const length = end - start;
    if (this.position < length) this.reserve(length);
    const { buffer } = this;
    let at = this.position;
    if (length > shortText) from.copy(buffer, at - length, start, end);
    else for (let i = end - 1; i >= start; i--) buffer[--at] = from[i]!;
    this.position -= length;
  }

  /** Some bytes, mostly none. */
  few(bytes: Uint8Array): void {
    const { length } = bytes;
    if (length === 0) return;
    if (this.position < length) this.reserve(length);
    const { buffer } = this;
    let at = this.position;
    for (let i = length - 1; i >= 0; i--) buffer[--at] = bytes[i]!;
    this.position = at;
  }

  text(text: string): void {
    // Most texts are short and ASCII: the way into native code and back takes longer than writing them here.
    if (text.length <= shortText && this.#short(text)) return;
    const length = Buffer.byteLength(text);
    this.reserve(length);
    this.position -= length;
    this.buffer.write(text, this.position, length, 'utf8');
  }

  /** False, with nothing written, for what is not ASCII. */
  #short(text: string): boolean {
    if (this.position < text.length) this.reserve(text.length);
    const { buffer } = this;
    let at = this.position;
    for (let i = text.length - 1; i >= 0; i--) {
      const code = text.charCodeAt(i);
      if (code >= 128) return false;
      buffer[--at] = code;
    }
    this.position = at;
    return true;
  }

  /** Closes a length-delimited field whose content begins here and ended at `end` bytes written. */
  close(number: number, end: number): void {
    this.number(this.written - end);
    this.tag(number, delimited);
  }

  textField(number: number, text: string): void {
    const end = this.written;
    this.text(text);
    this.close(number, end);
  }

  bytesField(number: number, bytes: Uint8Array): void {
    const end = this.written;
    this.bytes(bytes);
    this.close(number, end);
  }

  /** Begins anew in the same memory: what `result` gave before is overwritten. */
  reset(): void {
    this.position = this.buffer.length;
  }

  result(): Buffer {
    return this.buffer.subarray(this.position);
  }
}

export const emptyText = Buffer.alloc(0);

// Reading --------------------------------------------------------------------------------------------------------------

export class Reader {
  readonly buffer: Buffer;
  position: number;
  readonly end: number;

  constructor(buffer: Buffer, position: number, end: number) {
    this.buffer = buffer;
    this.position = position;
    this.end = end;
  }

  get more(): boolean {
    return this.position < this.end;
  }

  number(): number {
    let value = 0;
    let factor = 1;
    for (let i = 0; i < 10; i++) {
      if (this.position >= this.end) throw new ProtobufError('unexpected EOF');
      const byte = this.buffer[this.position++]!;
      value += (byte & 127) * factor;
      if (byte < 128) return value;
      factor *= 128;
    }
    throw new ProtobufError('proto: integer overflow');
  }

  int64(): number | bigint {
    const start = this.position;
    const quick = this.number();
    if (quick <= Number.MAX_SAFE_INTEGER) return quick;
    let value = 0n;
    let shift = 0n;
    for (let i = start; i < this.position; i++) {
      value |= BigInt(this.buffer[i]! & 127) << shift;
      shift += 7n;
    }
    const signed = BigInt.asIntN(64, value);
    return signed >= -9007199254740991n && signed <= 9007199254740991n ? Number(signed) : signed;
  }

  double(): number {
    if (this.position + 8 > this.end) throw new ProtobufError('unexpected EOF');
    this.position += 8;
    return this.buffer.readDoubleLE(this.position - 8);
  }

  block(): Reader {
    const length = this.number();
    if (length > this.end - this.position) throw new ProtobufError('unexpected EOF');
    this.position += length;
    return new Reader(this.buffer, this.position - length, this.position);
  }

  text(): string {
    return this.buffer.toString('utf8', this.position, this.end);
  }

  bytes(): Buffer {
    return this.buffer.subarray(this.position, this.end);
  }

  skip(type: number): void {
    switch (type) {
      case varint:
        this.number();
        return;
      case fixed64:
        this.position += 8;
        break;
      case delimited:
        this.block();
        return;
      case fixed32:
        this.position += 4;
        break;
      default:
        throw new ProtobufError(`proto: illegal wireType ${type}`);
    }
    if (this.position > this.end) throw new ProtobufError('unexpected EOF');
  }
}

export function expect(type: number, wanted: number, field: string): void {
  if (type !== wanted) throw new ProtobufError(`proto: wrong wireType = ${type} for field ${field}`);
}
