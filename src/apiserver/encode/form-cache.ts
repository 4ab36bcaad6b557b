/**
 * Encoded forms of committed objects that are made of their parsed form (protobuf), kept up to a number of bytes: those who
 * list the same again are given the same bytes. Those that came first go first.
 */
import type { Committed } from '../request.ts';

/** What one server keeps. */
export const keptFormBytes = 48 * 1024 * 1024;
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

const maxForms = 255;

/**
 * How long the forms of objects are, remembered with the objects: of a long list the length has to be told before its items,
 * which need not be made for that a second time.
 */
export class FormSizes {
  readonly #numbers = new Map<string, number>();

  /** The number of a form; 0 when there are too many to tell them apart. */
  number(form: string): number {
    let number = this.#numbers.get(form);
    if (number === undefined) {
      number = this.#numbers.size < maxForms ? this.#numbers.size + 1 : 0;
      if (number > 0) this.#numbers.set(form, number);
    }
    return number;
  }

  /** Undefined: not known in this form. */
  get(committed: Committed, form: number): number | undefined {
    const packed = committed.formSize ?? 0;
    return form === 0 || packed % (maxForms + 1) !== form ? undefined : Math.floor(packed / (maxForms + 1));
  }

  set(committed: Committed, form: number, size: number): void {
    if (form > 0) committed.formSize = size * (maxForms + 1) + form;
  }
}
