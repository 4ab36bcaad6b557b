/**
 * OpenAPI documents as they are sent. Each is kept with the state that it was made of, so that others need not be made again
 * when one has changed. Those that were asked for last are held up to a number of bytes; of the others, as of a document that
 * is larger than that, the memory is given back with the next collection, and they are there until then.
 */

export interface Rendered {
  readonly bytes: Buffer;
  readonly etag: string;
  gzipped: Promise<Buffer> | undefined;
}

/** The built-in groups take about half of it. */
const heldBytes = 16 * 1024 * 1024;

interface Entry {
  readonly state: string;
  /** Being made, or held. */
  document: Promise<Rendered> | undefined;
  weak: WeakRef<Rendered> | undefined;
  bytes: number;
}

export class RenderedDocuments {
  readonly #budget: number;
  /** Those that were asked for last stand last. */
  readonly #entries = new Map<string, Entry>();
  #bytes = 0;

  constructor(budget = heldBytes) {
    this.#budget = budget;
  }

  /** The document of this state, made by `make` where it is not there. */
  get(key: string, state: string, make: () => Promise<Rendered>): Promise<Rendered> {
    const known = this.#entries.get(key);
    if (known !== undefined) {
      this.#entries.delete(key);
      if (known.state === state) {
        const rendered = known.weak?.deref();
        const document = known.document ?? (rendered === undefined ? undefined : Promise.resolve(rendered));
        if (document !== undefined) {
          this.#entries.set(key, known);
          return document;
        }
      }
      this.#bytes -= known.bytes;
    }
    const document = make();
    const entry: Entry = { state, document, weak: undefined, bytes: 0 };
    this.#entries.set(key, entry);
    document.then(
      (rendered) => this.#made(key, entry, rendered),
      () => {
        if (this.#entries.get(key) === entry) this.#entries.delete(key);
      },
    );
    return document;
  }

  /** Drops what is no more. */
  retain(has: (key: string) => boolean): void {
    for (const [key, entry] of this.#entries) {
      if (has(key)) continue;
      this.#bytes -= entry.bytes;
      this.#entries.delete(key);
    }
  }

  #made(key: string, entry: Entry, rendered: Rendered): void {
    if (this.#entries.get(key) !== entry) return;
    entry.weak = new WeakRef(rendered);
    entry.bytes = rendered.bytes.length;
    this.#bytes += entry.bytes;
    for (const other of this.#entries.values()) {
      if (this.#bytes <= this.#budget) return;
      if (other.bytes === 0) continue;
      this.#bytes -= other.bytes;
      other.bytes = 0;
      other.document = undefined;
    }
  }
}
