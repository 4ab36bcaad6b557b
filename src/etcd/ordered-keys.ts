/**
 * An ordered set of byte-string keys: sorted leaves of bounded size under one sorted root. Point look-ups belong to a Map
 * beside it; this answers only "in which order" and "from where".
 */

/** To make room in a larger leaf costs more than to find the leaf among many. */
const leafMax = 128;

/** First index in `list` whose element is >= key. */
function lowerBound(list: readonly string[], key: string): number {
  let lo = 0;
  let hi = list.length;
  while (lo < hi) {
    const mid = (lo + hi) >>> 1;
    if (list[mid]! < key) lo = mid + 1;
    else hi = mid;
  }
  return lo;
}

export class OrderedKeys {
  /** Never empty; each leaf is sorted and smaller than the next. */
  #leaves: string[][] = [[]];
  #size = 0;

  get size(): number {
    return this.#size;
  }

  /** The leaf in which `key` is or would be. */
  #leafOf(key: string): number {
    const leaves = this.#leaves;
    let lo = 1;
    let hi = leaves.length;
    while (lo < hi) {
      const mid = (lo + hi) >>> 1;
      if (leaves[mid]![0]! <= key) lo = mid + 1;
      else hi = mid;
    }
    return lo - 1;
  }

  /** Adds a key that is not in the set. */
  insert(key: string): void {
    const at = this.#leafOf(key);
    const leaf = this.#leaves[at]!;
    const last = leaf.length - 1;
    this.#size++;
    if (last < 0 || leaf[last]! < key) {
      // Ascending insertion leaves full leaves behind it.
      if (leaf.length >= leafMax && at === this.#leaves.length - 1) this.#leaves.push([key]);
      else leaf.push(key);
    } else {
      leaf.splice(lowerBound(leaf, key), 0, key);
    }
    if (leaf.length > leafMax) this.#leaves.splice(at + 1, 0, leaf.splice(leafMax >>> 1));
  }

  delete(key: string): boolean {
    const at = this.#leafOf(key);
    const leaf = this.#leaves[at]!;
    const i = lowerBound(leaf, key);
    if (leaf[i] !== key) return false;
    leaf.splice(i, 1);
    this.#size--;
    if (leaf.length === 0 && this.#leaves.length > 1) this.#leaves.splice(at, 1);
    return true;
  }

  /** Replaces the content; `keys` need not be sorted and is not kept. */
  load(keys: readonly string[]): void {
    const sorted = keys.slice().sort((a, b) => (a < b ? -1 : a > b ? 1 : 0));
    this.#leaves = [];
    for (let i = 0; i < sorted.length; i += leafMax) this.#leaves.push(sorted.slice(i, i + leafMax));
    if (this.#leaves.length === 0) this.#leaves.push([]);
    this.#size = sorted.length;
  }

  /**
   * Calls `visit` in order for `from <= key < to` until it returns false. The set must not change meanwhile.
   * Returns the key at which `visit` said stop, undefined when the range came to its end.
   */
  walk(from: string, to: string, visit: (key: string) => boolean | void): string | undefined {
    const leaves = this.#leaves;
    let at = this.#leafOf(from);
    let i = lowerBound(leaves[at]!, from);
    for (; at < leaves.length; at++, i = 0) {
      const leaf = leaves[at]!;
      for (; i < leaf.length; i++) {
        const key = leaf[i]!;
        if (key >= to) return undefined;
        if (visit(key) === false) return key;
      }
    }
    return undefined;
  }
}
