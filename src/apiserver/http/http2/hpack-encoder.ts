/**
 * Writing header blocks (HPACK, RFC 7541) of responses. Fields whose values come again and again (content types, the uids of a
 * flow) go through the dynamic table and cost a byte; the others are written as they are.
 */
import { connectionFields, staticTable } from './header-fields.ts';
import { entryOverhead } from './hpack-decoder.ts';

/** More than this is not remembered, whatever the client allows. */
const maxTableSize = 4096;
const maxNames = 512;

const repeated: ReadonlySet<string> = new Set([
  'cache-control',
  'content-encoding',
  'content-type',
  'date',
  'vary',
  'x-content-type-options',
  'x-kubernetes-pf-flowschema-uid',
  'x-kubernetes-pf-prioritylevel-uid',
]);

interface KnownName {
  /** As it is written. */
  readonly name: string;
  /** 0: not in the static table. */
  readonly index: number;
  readonly repeated: boolean;
  /** May stand in no HTTP/2 message. */
  readonly dropped: boolean;
}

function describe(name: string): KnownName {
  const lower = name.toLowerCase();
  return {
    name: lower,
    index: staticTable.findIndex(([n]) => n === lower) + 1,
    repeated: repeated.has(lower),
    dropped: connectionFields.has(lower) || lower.startsWith(':'),
  };
}

/** What the encoders of a listener share: the block being written, and what is known of names. */
export class EncoderScratch {
  bytes: Buffer = Buffer.allocUnsafeSlow(16_384);
  readonly #names = new Map<string, KnownName>();

  known(name: string): KnownName {
    let known = this.#names.get(name);
    if (known === undefined) {
      known = describe(name);
      // A proxied backend may name its headers as it likes.
      if (this.#names.size < maxNames) this.#names.set(name, known);
    }
    return known;
  }

  /** Room for `more` bytes behind `length`. */
  grow(length: number, more: number): Buffer {
    const bytes = Buffer.allocUnsafeSlow(Math.max(2 * this.bytes.length, length + more));
    this.bytes.copy(bytes, 0, 0, length);
    this.bytes = bytes;
    return bytes;
  }

  shrink(): void {
    if (this.bytes.length > 65_536) this.bytes = Buffer.allocUnsafeSlow(16_384);
  }
}

export class HpackEncoder {
  readonly #scratch: EncoderScratch;
  /** Oldest first. */
  #entries: { readonly known: KnownName; readonly value: string; readonly size: number }[] = [];
  #size = 0;
  #limit = maxTableSize;
  /** The least limit since the last block; the decoder must be told. */
  #toldLimit: number | undefined = undefined;
  #bytes: Buffer;
  #at = 0;

  constructor(scratch: EncoderScratch) {
    this.#scratch = scratch;
    this.#bytes = scratch.bytes;
  }

  /** The client's SETTINGS_HEADER_TABLE_SIZE. */
  limit(size: number): void {
    const limit = Math.min(size, maxTableSize);
    if (limit === this.#limit) return;
    this.#toldLimit = Math.min(limit, this.#toldLimit ?? limit);
    this.#limit = limit;
    this.#evict(0);
  }

  /** The bytes of the block that was begun; valid until the next one. */
  get bytes(): Buffer {
    return this.#bytes;
  }

  begin(status: number): void {
    this.#scratch.shrink();
    this.#bytes = this.#scratch.bytes;
    this.#at = 0;
    if (this.#toldLimit !== undefined) {
      if (this.#toldLimit < this.#limit) this.#integer(0x20, 0x1f, this.#toldLimit);
      this.#integer(0x20, 0x1f, this.#limit);
      this.#toldLimit = undefined;
    }
    const text = String(status);
    for (let i = 8; i <= 14; i++) {
      if (staticTable[i - 1]![1] !== text) continue;
      this.#bytes[this.#at++] = 0x80 | i;
      return;
    }
    this.#integer(0x00, 0x0f, 8);
    this.#string(text);
  }

  field(name: string, value: string): void {
    const known = this.#scratch.known(name);
    if (known.dropped) return;
    if (!known.repeated) {
      this.#name(0x00, 0x0f, known);
      this.#string(value);
      return;
    }
    const entries = this.#entries;
    for (let i = entries.length - 1; i >= 0; i--) {
      const entry = entries[i]!;
      if (entry.known !== known || entry.value !== value) continue;
      this.#integer(0x80, 0x7f, staticTable.length + entries.length - i);
      return;
    }
    const size = known.name.length + value.length + entryOverhead;
    const remembered = size <= this.#limit >> 1;
    if (remembered) this.#name(0x40, 0x3f, known);
    else this.#name(0x00, 0x0f, known);
    this.#string(value);
    if (!remembered) return;
    this.#evict(size);
    entries.push({ known, value, size });
    this.#size += size;
  }

  /** How long it is. */
  get length(): number {
    return this.#at;
  }

  #evict(size: number): void {
    while (this.#entries.length > 0 && this.#size + size > this.#limit) this.#size -= this.#entries.shift()!.size;
  }

  #room(length: number): Buffer {
    if (this.#bytes.length - this.#at < length) this.#bytes = this.#scratch.grow(this.#at, length);
    return this.#bytes;
  }

  #name(first: number, prefix: number, known: KnownName): void {
    this.#integer(first, prefix, known.index);
    if (known.index === 0) this.#string(known.name);
  }

  #integer(first: number, prefix: number, value: number): void {
    const bytes = this.#room(8);
    if (value < prefix) {
      bytes[this.#at++] = first | value;
      return;
    }
    bytes[this.#at++] = first | prefix;
    let left = value - prefix;
    while (left >= 0x80) {
      bytes[this.#at++] = 0x80 | (left & 0x7f);
      left >>>= 7;
    }
    bytes[this.#at++] = left;
  }

  /** Characters that no header may carry become spaces; beyond latin1 there are none. */
  #string(text: string): void {
    const { length } = text;
    this.#integer(0x00, 0x7f, length);
    const bytes = this.#room(length);
    let at = this.#at;
    for (let i = 0; i < length; i++) {
      const c = text.charCodeAt(i);
      bytes[at++] = (c < 0x20 && c !== 0x09) || c === 0x7f ? 0x20 : c;
    }
    this.#at = at;
  }
}
