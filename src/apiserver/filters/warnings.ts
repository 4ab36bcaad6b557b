/**
 * Warnings of one response, as upstream's warning recorder: each text once, no control characters, 4096 characters in all
 * before every text is cut to 256, and nothing more once that too is full.
 */

const totalLimit = 4 * 1024;
const itemLimit = 256;

/** One `Warning` header value by RFC 7234: code 299, agent `-`. Undefined for text that no header may carry. */
export function warningHeader(text: string): string | undefined {
  // eslint-disable-next-line no-control-regex
  if (/[\u0000-\u001f\u007f-\u009f]/.test(text) || !text.isWellFormed()) return undefined;
  return `299 - "${text.replace(/["\\]/g, '\\$&')}"`;
}

export class WarningRecorder {
  readonly #texts = new Set<string>();
  #values: string[] = [];
  #written = 0;
  #truncating = false;

  add(text: string): void {
    if (this.#written >= totalLimit && this.#truncating) return;
    if (this.#texts.has(text)) return;
    this.#texts.add(text);
    if (!this.#truncating && this.#written + length(text) > totalLimit) {
      this.#truncating = true;
      this.#written = 0;
      this.#values = [];
      for (const t of this.#texts) this.#write(t);
      return;
    }
    this.#write(text);
  }

  #write(text: string): void {
    const cut = this.#truncating && length(text) > itemLimit ? [...text].slice(0, itemLimit).join('') : text;
    const value = warningHeader(cut);
    if (value === undefined) return;
    this.#written += length(cut);
    this.#values.push(value);
  }

  /** Values of the `Warning` headers, in order. HTTP writes header bytes as latin1, so the UTF-8 bytes stand as such. */
  get values(): readonly string[] {
    return this.#values;
  }
}

function length(text: string): number {
  let n = 0;
  for (const _ of text) n++;
  return n;
}
