/**
 * Encoded forms of committed objects that are made of their parsed form (protobuf), kept up to a number of bytes: those who
 * list the same again are given the same bytes. Those that came first go first.
 */
import type { Committed } from '../request.ts';

/** What one server keeps. */
export const keptFormBytes = 32 * 1024 * 1024;
/** What an entry takes beside its bytes. */
const overhead = 256;
/** Small forms lie side by side in pieces of memory of this size; they are evicted nearly in the order they came in. */
const slabBytes = 64 * 1024;

interface Kept {
  readonly form: string;
  readonly bytes: Buffer;
}

export class FormCache {
  readonly #budget: number;
  readonly #forms = new Map<Committed, Kept>();
  #bytes = 0;
  #slab = Buffer.alloc(0);
  #at = 0;

  /** `budget`: bytes that are kept. */
  constructor(budget = keptFormBytes) {
    this.#budget = budget;
  }

  get(committed: Committed, form: string): Buffer | undefined {
    const kept = this.#forms.get(committed);
    return kept === undefined || kept.form !== form ? undefined : kept.bytes;
  }

  /** Keeps a copy, and returns it. */
  add(committed: Committed, form: string, bytes: Buffer): Buffer {
    const copy = this.#copy(bytes);
    this.#forget(committed);
    this.#forms.set(committed, { form, bytes: copy });
    this.#bytes += bytes.length + overhead;
    for (const oldest of this.#forms.keys()) {
      if (this.#bytes <= this.#budget) break;
      this.#forget(oldest);
    }
    return copy;
  }

  #forget(committed: Committed): void {
    const old = this.#forms.get(committed);
    if (old === undefined) return;
    this.#bytes -= old.bytes.length + overhead;
    this.#forms.delete(committed);
  }

  #copy(bytes: Buffer): Buffer {
    if (bytes.length > slabBytes / 8) {
      const own = Buffer.allocUnsafeSlow(bytes.length);
      bytes.copy(own);
      return own;
    }
    if (this.#at + bytes.length > this.#slab.length) {
      this.#slab = Buffer.allocUnsafeSlow(slabBytes);
      this.#at = 0;
    }
    const start = this.#at;
    this.#at += bytes.copy(this.#slab, start);
    return this.#slab.subarray(start, this.#at);
  }
}
