/**
 * Reading header blocks (HPACK, RFC 7541). The dynamic table keeps each field with what is known of it, so that a field that
 * comes again costs an index and no second look.
 */
import { type FieldKind, fieldKind, kindOfName, staticTable, validValue } from './header-fields.ts';
import { decodeHuffman } from './huffman.ts';

/** What this end lets clients remember (SETTINGS_HEADER_TABLE_SIZE): the default. */
const tableSize = 4096;
/** What an entry counts beside its name and value. */
export const entryOverhead = 32;
/** So many entries are never in a table of that size. */
const maxEntries = tableSize / entryOverhead;
const mask = maxEntries - 1;

const staticNames = ['', ...staticTable.map(([name]) => name)];
const staticValues = ['', ...staticTable.map(([, value]) => value)];
const staticKinds: readonly FieldKind[] = staticNames.map((name) => kindOfName(name));
const staticLength = staticTable.length;

const authorizationIndex = staticNames.indexOf('authorization');
/** Longer ones are not kept. */
const maxCredential = 8192;

/** Told of each field of a block, in order. */
export interface FieldSink {
  field(kind: FieldKind, name: string, value: string): void;
}

/** Where strings are decoded to; shared by the connections of a listener. */
export class DecoderScratch {
  bytes: Buffer = Buffer.allocUnsafeSlow(4096);

  room(length: number): Buffer {
    if (this.bytes.length < length) this.bytes = Buffer.allocUnsafeSlow(length);
    return this.bytes;
  }

  /** Called between blocks: what a long string needed is not kept. */
  shrink(): void {
    if (this.bytes.length > 65_536) this.bytes = Buffer.allocUnsafeSlow(4096);
  }
}

export class HpackDecoder {
  readonly #scratch: DecoderScratch;
  /** A ring: entry `inserted - 1` is the newest. */
  readonly #names: string[] = [];
  readonly #values: string[] = [];
  readonly #kinds: FieldKind[] = [];
  #inserted = 0;
  #count = 0;
  #size = 0;
  #limit = tableSize;
  /** The `authorization` that came last, as it was written: clients never let it be remembered, and it is long. */
  #credentialBytes: Buffer = empty;
  #credential = '';
  // Of the block being read.
  #block: Buffer = empty;
  #at = 0;
  #end = 0;
  #failed = false;

  constructor(scratch: DecoderScratch) {
    this.#scratch = scratch;
  }

  /** Reads one whole block. False when it cannot be read: the connection is lost then, since both ends' tables differ. */
  decode(block: Buffer, start: number, end: number, sink: FieldSink): boolean {
    this.#block = block;
    this.#at = start;
    this.#end = end;
    this.#failed = false;
    let fields = 0;
    while (this.#at < end) {
      const byte = block[this.#at]!;
      if (byte >= 0x80) {
        fields++;
        const index = this.#integer(0x7f);
        if (index > 0 && index <= staticLength) {
          sink.field(staticKinds[index]!, staticNames[index]!, staticValues[index]!);
          continue;
        }
        const at = this.#slot(index);
        if (at < 0) return this.#done(false);
        sink.field(this.#kinds[at]!, this.#names[at]!, this.#values[at]!);
      } else if (byte >= 0x40) {
        fields++;
        if (!this.#literal(0x3f, true, sink)) return this.#done(false);
      } else if (byte >= 0x20) {
        // Sizes are told at a block's beginning only.
        const size = this.#integer(0x1f);
        if (fields > 0 || this.#failed || size > tableSize) return this.#done(false);
        this.#limit = size;
        this.#evict(0);
      } else {
        fields++;
        if (!this.#literal(0x0f, false, sink)) return this.#done(false);
      }
    }
    return this.#done(!this.#failed);
  }

  #done(ok: boolean): boolean {
    this.#block = empty;
    this.#scratch.shrink();
    return ok;
  }

  /** Where in the ring a dynamic index stands; -1 for none. */
  #slot(index: number): number {
    const back = index - staticLength;
    if (this.#failed || back < 1 || back > this.#count) return -1;
    return (this.#inserted - back) & mask;
  }

  #literal(prefix: number, remember: boolean, sink: FieldSink): boolean {
    const index = this.#integer(prefix);
    let name: string;
    let kind: FieldKind;
    if (index === 0) {
      name = this.#string();
      if (this.#failed) return false;
      kind = kindOfName(name);
    } else if (index <= staticLength) {
      name = staticNames[index]!;
      kind = staticKinds[index]!;
    } else {
      const at = this.#slot(index);
      if (at < 0) return false;
      name = this.#names[at]!;
      // What was wrong with that entry may have been its value.
      kind = this.#kinds[at] === fieldKind.invalid ? kindOfName(name) : this.#kinds[at]!;
    }
    const value = index === authorizationIndex ? this.#authorization() : this.#string();
    if (this.#failed) return false;
    const looked = index === authorizationIndex && value === this.#credential;
    if (kind !== fieldKind.invalid && !looked && !validValue(value)) kind = fieldKind.invalid;
    if (remember) this.#remember(kind, name, value);
    sink.field(kind, name, value);
    return true;
  }

  #remember(kind: FieldKind, name: string, value: string): void {
    const size = name.length + value.length + entryOverhead;
    this.#evict(size);
    if (size > this.#limit) return;
    const at = this.#inserted & mask;
    this.#names[at] = name;
    this.#values[at] = value;
    this.#kinds[at] = kind;
    this.#inserted++;
    this.#count++;
    this.#size += size;
  }

  /** Makes room for `size` bytes. */
  #evict(size: number): void {
    while (this.#count > 0 && this.#size + size > this.#limit) {
      const at = (this.#inserted - this.#count) & mask;
      this.#size -= this.#names[at]!.length + this.#values[at]!.length + entryOverhead;
      this.#names[at] = '';
      this.#values[at] = '';
      this.#count--;
    }
  }

  /** An integer whose first bits stand in `prefix`. */
  #integer(prefix: number): number {
    const block = this.#block;
    let value = block[this.#at++]! & prefix;
    if (value < prefix) return value;
    for (let shift = 0; shift <= 21; shift += 7) {
      if (this.#at >= this.#end) break;
      const byte = block[this.#at++]!;
      value += (byte & 0x7f) << shift;
      if (byte < 0x80) return value;
    }
    this.#failed = true;
    return 0;
  }

  /** The same text is the same string again: nothing is decoded, and what is found by it need not be hashed. */
  #authorization(): string {
    const before = this.#credentialBytes;
    const start = this.#at;
    const same = start + before.length <= this.#end && before.length > 0;
    if (same && this.#block.compare(before, 0, before.length, start, start + before.length) === 0) {
      this.#at += before.length;
      return this.#credential;
    }
    const value = this.#string();
    const length = this.#at - start;
    if (this.#failed || length > maxCredential || !validValue(value)) return value;
    this.#credentialBytes = Buffer.from(this.#block.subarray(start, this.#at));
    this.#credential = value;
    return value;
  }

  #string(): string {
    if (this.#failed || this.#at >= this.#end) {
      this.#failed = true;
      return '';
    }
    const huffman = this.#block[this.#at]! >= 0x80;
    const length = this.#integer(0x7f);
    const start = this.#at;
    const end = start + length;
    if (this.#failed || end > this.#end) {
      this.#failed = true;
      return '';
    }
    this.#at = end;
    if (!huffman) return this.#block.toString('latin1', start, end);
    const out = this.#scratch.room(Math.ceil(length * 1.6));
    const decoded = decodeHuffman(this.#block, start, end, out);
    if (decoded < 0) {
      this.#failed = true;
      return '';
    }
    return out.toString('latin1', 0, decoded);
  }
}

const empty = Buffer.alloc(0);
