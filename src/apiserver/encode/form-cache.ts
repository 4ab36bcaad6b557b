/**
 * Encoded forms of committed objects that are made of their parsed form (protobuf), kept up to a number of bytes: those who
 * list the same again are given the same bytes. Those that came first go first.
 */
import type { Committed } from '../request.ts';

/** What one server keeps. */
export const keptFormBytes = 40 * 1024 * 1024;
/** What an entry takes beside its bytes. */
const overhead = 256;
/** Small forms lie side by side in pieces of memory of this size; they are evicted nearly in the order they came in. */
const slabBytes = 64 * 1024;

interface Kept {
  readonly committed: Committed;
  readonly form: string;
  readonly bytes: Buffer;
}

/** Gone entries at the head of the queue before it is cut. */
const cutAfter = 4096;

export class FormCache {
  readonly #budget: number;
  readonly #forms = new Map<Committed, Kept>();
  /** In the order they came in; a Map whose first entries go one by one is slow to find its first. */
  #queue: (Kept | undefined)[] = [];
  #head = 0;
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
    const before = this.#forms.get(committed);
    if (before !== undefined) this.#forget(before);
    const kept: Kept = { committed, form, bytes: this.#copy(bytes) };
    this.#forms.set(committed, kept);
    this.#queue.push(kept);
    this.#bytes += bytes.length + overhead;
    while (this.#bytes > this.#budget && this.#head < this.#queue.length) this.#drop();
    if (this.#queue.length - this.#head > 2 * this.#forms.size + cutAfter) this.#tidy();
    return kept.bytes;
  }

  /** Forms whose place others have taken stand in the queue still. */
  #tidy(): void {
    this.#queue = this.#queue.slice(this.#head).filter((kept) => this.#forms.get(kept!.committed) === kept);
    this.#head = 0;
  }

  /** The first of the queue goes. */
  #drop(): void {
    const first = this.#queue[this.#head]!;
    this.#queue[this.#head++] = undefined;
    // Another form may have taken its place.
    if (this.#forms.get(first.committed) === first) this.#forget(first);
    if (this.#head < cutAfter) return;
    this.#queue = this.#queue.slice(this.#head);
    this.#head = 0;
  }

  #forget(kept: Kept): void {
    this.#bytes -= kept.bytes.length + overhead;
    this.#forms.delete(kept.committed);
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
