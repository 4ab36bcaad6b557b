/**
 * Encoded forms of committed objects that are made of their parsed form (protobuf), kept up to a number of bytes: those who
 * list the same again are given the same bytes. The least lately used go first.
 */
import type { Committed } from '../request.ts';

/** What one server keeps. */
export const keptFormBytes = 48 * 1024 * 1024;

export class FormCache {
  readonly #budget: number;
  readonly #forms = new Map<Committed, { readonly form: string; readonly bytes: Buffer }>();
  #bytes = 0;

  /** `budget`: bytes that are kept. */
  constructor(budget = keptFormBytes) {
    this.#budget = budget;
  }

  get(committed: Committed, form: string): Buffer | undefined {
    const kept = this.#forms.get(committed);
    if (kept === undefined || kept.form !== form) return undefined;
    this.#forms.delete(committed);
    this.#forms.set(committed, kept);
    return kept.bytes;
  }

  /** Keeps what is of moderate size; `bytes` must not share its memory with anything larger. */
  add(committed: Committed, form: string, bytes: Buffer): void {
    if (bytes.length > this.#budget / 64) return;
    const old = this.#forms.get(committed);
    if (old !== undefined) {
      this.#bytes -= old.bytes.length;
      this.#forms.delete(committed);
    }
    this.#forms.set(committed, { form, bytes });
    this.#bytes += bytes.length;
    for (const [key, { bytes: oldest }] of this.#forms) {
      if (this.#bytes <= this.#budget) return;
      this.#forms.delete(key);
      this.#bytes -= oldest.length;
    }
  }
}
