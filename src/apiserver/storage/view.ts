/** A state of a resource that can be walked in key order: all of it, or what has one value of the indexed field. */
import type { StoredObject } from './codec.ts';
import type { Keyed, Snapshot } from './tree.ts';
import { Tree } from './tree.ts';

export interface View {
  range(from: string, end: string | undefined): Iterator<StoredObject, void> & Iterable<StoredObject>;
  count(from: string, end: string | undefined): number;
}

interface IndexEntry extends Keyed {
  readonly object: StoredObject;
}

/** Objects by the value of one field, in key order for each value. */
export class FieldIndex {
  readonly #field: string;
  #tree = new Tree<IndexEntry>();

  constructor(field: string) {
    this.#field = field;
  }

  #key(object: StoredObject): string {
    return `${object.field(this.#field) ?? ''}\0${object.key}`;
  }

  update(current: StoredObject | undefined, previous: StoredObject | undefined): void {
    const key = current === undefined ? undefined : this.#key(current);
    if (previous !== undefined) {
      const old = this.#key(previous);
      if (old !== key) this.#tree.delete(old);
    }
    if (key !== undefined) this.#tree.set({ key, object: current! });
  }

  clear(): void {
    this.#tree = new Tree<IndexEntry>();
  }

  /** What has this value now. */
  view(value: string): View {
    return new IndexedView(this.#tree.snapshot(), `${value}\0`);
  }
}

class IndexedView implements View {
  readonly #snapshot: Snapshot<IndexEntry>;
  readonly #prefix: string;

  constructor(snapshot: Snapshot<IndexEntry>, prefix: string) {
    this.#snapshot = snapshot;
    this.#prefix = prefix;
  }

  *range(from: string, end: string | undefined): Generator<StoredObject, void> {
    for (const entry of this.#snapshot.range(this.#prefix + from, this.#end(end))) yield entry.object;
  }

  count(from: string, end: string | undefined): number {
    return this.#snapshot.count(this.#prefix + from, this.#end(end));
  }

  #end(end: string | undefined): string {
    return end === undefined ? `${this.#prefix.slice(0, -1)}\x01` : this.#prefix + end;
  }
}
