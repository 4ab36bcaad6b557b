/**
 * An ordered map from key to entry as a copy-on-write B+-tree. A snapshot is a root that never changes again; edits after
 * it copy the nodes on their path once and then work in place until the next snapshot. Subtrees know their size, so that
 * ranks and counts need no walk. This is the shape of the watch cache; it knows nothing of objects.
 */

export interface Keyed {
  readonly key: string;
}

const maxItems = 64;
const minItems = 16;

/** Whoever holds the current token may change a node in place. */
type Token = object;

interface Leaf<E extends Keyed> {
  owner: Token;
  items: E[];
  children: undefined;
  size: number;
}

interface Inner<E extends Keyed> {
  owner: Token;
  items: undefined;
  children: Node<E>[];
  /** Smallest key of each child. */
  keys: string[];
  size: number;
}

type Node<E extends Keyed> = Leaf<E> | Inner<E>;

function leaf<E extends Keyed>(owner: Token, items: E[]): Leaf<E> {
  return { owner, items, children: undefined, size: items.length };
}

function inner<E extends Keyed>(owner: Token, children: Node<E>[], keys: string[]): Inner<E> {
  let size = 0;
  for (const c of children) size += c.size;
  return { owner, items: undefined, children, keys, size };
}

/** Index of the first item at or after `key`. */
function lowerBound<E extends Keyed>(items: readonly E[], key: string): number {
  let lo = 0;
  let hi = items.length;
  while (lo < hi) {
    const mid = (lo + hi) >>> 1;
    if (items[mid]!.key < key) lo = mid + 1;
    else hi = mid;
  }
  return lo;
}

/** Index of the child whose range holds `key`. */
function childIndex(keys: readonly string[], key: string): number {
  let lo = 1;
  let hi = keys.length;
  while (lo < hi) {
    const mid = (lo + hi) >>> 1;
    if (keys[mid]! <= key) lo = mid + 1;
    else hi = mid;
  }
  return lo - 1;
}

/** A walk over a range. Written out, since a generator costs as much as what is done with an entry of a long list. */
class Walk<E extends Keyed> implements IterableIterator<E, undefined> {
  /** The inner nodes above the present leaf, and which child comes next in each. */
  readonly #above: Inner<E>[] = [];
  readonly #next: number[] = [];
  readonly #end: string | undefined;
  #items: readonly E[];
  #at: number;
  /** Where the range ends in the present leaf. */
  #stop = 0;

  constructor(root: Node<E>, from: string, end: string | undefined) {
    this.#end = end;
    let node = root;
    while (node.children !== undefined) {
      const i = childIndex(node.keys, from);
      this.#above.push(node);
      this.#next.push(i + 1);
      node = node.children[i]!;
    }
    this.#items = node.items;
    this.#at = lowerBound(node.items, from);
    this.#stop = this.#stopIn(node.items);
  }

  [Symbol.iterator](): this {
    return this;
  }

  next(): IteratorResult<E, undefined> {
    while (this.#at >= this.#stop) if (!this.#leaf()) return { value: undefined, done: true };
    return { value: this.#items[this.#at++]!, done: false };
  }

  #stopIn(items: readonly E[]): number {
    const end = this.#end;
    if (end === undefined || items.length === 0 || items[items.length - 1]!.key < end) return items.length;
    return lowerBound(items, end);
  }

  /** Goes on to the next leaf; false when the range has none. */
  #leaf(): boolean {
    if (this.#stop < this.#items.length) return false;
    const above = this.#above;
    let depth = above.length - 1;
    while (depth >= 0 && this.#next[depth]! >= above[depth]!.children.length) depth--;
    if (depth < 0) return false;
    above.length = this.#next.length = depth + 1;
    let node = above[depth]!.children[this.#next[depth]!++]!;
    while (node.children !== undefined) {
      above.push(node);
      this.#next.push(1);
      node = node.children[0]!;
    }
    this.#items = node.items;
    this.#at = 0;
    this.#stop = this.#stopIn(node.items);
    return true;
  }
}

/** An immutable state of a `Tree`. */
export class Snapshot<E extends Keyed> {
  readonly #root: Node<E>;

  constructor(root: Node<E>) {
    this.#root = root;
  }

  get size(): number {
    return this.#root.size;
  }

  get(key: string): E | undefined {
    return find(this.#root, key);
  }

  /** How many entries have a key before `key`. */
  rank(key: string): number {
    let node = this.#root;
    let before = 0;
    while (node.children !== undefined) {
      const i = childIndex(node.keys, key);
      for (let c = 0; c < i; c++) before += node.children[c]!.size;
      node = node.children[i]!;
    }
    return before + lowerBound(node.items, key);
  }

  /** Entries from `from` (inclusive) to `end` (exclusive; undefined: to the last). */
  count(from: string, end: string | undefined): number {
    return (end === undefined ? this.size : this.rank(end)) - this.rank(from);
  }

  /** Walks the entries from `from` (inclusive) to `end` (exclusive; undefined: to the last) in key order. */
  range(from: string, end: string | undefined): IterableIterator<E, undefined> {
    return new Walk(this.#root, from, end);
  }

  /** A tree to edit, starting from this state. */
  edit(): Tree<E> {
    return new Tree<E>(this.#root);
  }
}

function find<E extends Keyed>(root: Node<E>, key: string): E | undefined {
  let node = root;
  while (node.children !== undefined) node = node.children[childIndex(node.keys, key)]!;
  const i = lowerBound(node.items, key);
  const e = node.items[i];
  return e !== undefined && e.key === key ? e : undefined;
}

/** The editable tree. */
export class Tree<E extends Keyed> {
  #token: Token = {};
  #root: Node<E>;
  #previous: E | undefined;

  /** `root` comes from a snapshot and is not changed. */
  constructor(root?: Node<E>) {
    this.#root = root ?? leaf<E>(this.#token, []);
  }

  /** Builds a tree from entries in ascending key order. */
  static fromSorted<E extends Keyed>(entries: readonly E[]): Tree<E> {
    const tree = new Tree<E>();
    if (entries.length === 0) return tree;
    const fill = maxItems - minItems;
    let level: Node<E>[] = [];
    let keys: string[] = [];
    for (let i = 0; i < entries.length; i += fill) {
      const items = entries.slice(i, i + fill);
      level.push(leaf(tree.#token, items));
      keys.push(items[0]!.key);
    }
    while (level.length > 1) {
      const up: Node<E>[] = [];
      const upKeys: string[] = [];
      for (let i = 0; i < level.length; i += fill) {
        up.push(inner(tree.#token, level.slice(i, i + fill), keys.slice(i, i + fill)));
        upKeys.push(keys[i]!);
      }
      level = up;
      keys = upKeys;
    }
    tree.#root = level[0]!;
    return tree;
  }

  get size(): number {
    return this.#root.size;
  }

  get(key: string): E | undefined {
    return find(this.#root, key);
  }

  /** The state as it is now; costs nothing by itself, later edits copy what they touch. */
  snapshot(): Snapshot<E> {
    this.#token = {};
    return new Snapshot(this.#root);
  }

  /** Puts an entry and returns the one it replaced. */
  set(entry: E): E | undefined {
    this.#previous = undefined;
    this.#root = this.#own(this.#root);
    const right = this.#insert(this.#root, entry);
    if (right !== undefined) {
      this.#root = inner(this.#token, [this.#root, right], [firstKey(this.#root), firstKey(right)]);
    }
    const previous = this.#previous;
    this.#previous = undefined;
    return previous;
  }

  /** Removes a key and returns its entry. */
  delete(key: string): E | undefined {
    if (find(this.#root, key) === undefined) return undefined;
    this.#previous = undefined;
    this.#root = this.#own(this.#root);
    this.#remove(this.#root, key);
    while (this.#root.children !== undefined && this.#root.children.length === 1) this.#root = this.#root.children[0]!;
    const previous = this.#previous;
    this.#previous = undefined;
    return previous;
  }

  #own(node: Node<E>): Node<E> {
    if (node.owner === this.#token) return node;
    if (node.children === undefined) {
      return { owner: this.#token, items: node.items.slice(), children: undefined, size: node.size };
    }
    return {
      owner: this.#token,
      items: undefined,
      children: node.children.slice(),
      keys: node.keys.slice(),
      size: node.size,
    };
  }

  /** `node` is owned. Returns the new right sibling when it had to be split. */
  #insert(node: Node<E>, entry: E): Node<E> | undefined {
    if (node.children === undefined) {
      const i = lowerBound(node.items, entry.key);
      const old = node.items[i];
      if (old !== undefined && old.key === entry.key) {
        this.#previous = old;
        node.items[i] = entry;
        return undefined;
      }
      if (i === node.items.length) node.items.push(entry);
      else node.items.splice(i, 0, entry);
      node.size++;
      if (node.items.length <= maxItems) return undefined;
      // Keys that arrive in order leave full leaves behind them.
      const at = i === node.items.length - 1 ? node.items.length - minItems : node.items.length >>> 1;
      const right = leaf(this.#token, node.items.splice(at));
      node.size = node.items.length;
      return right;
    }
    const i = childIndex(node.keys, entry.key);
    const child = this.#own(node.children[i]!);
    node.children[i] = child;
    const right = this.#insert(child, entry);
    if (entry.key < node.keys[i]!) node.keys[i] = entry.key;
    if (this.#previous === undefined) node.size++;
    if (right === undefined) return undefined;
    node.children.splice(i + 1, 0, right);
    node.keys.splice(i + 1, 0, firstKey(right));
    if (node.children.length <= maxItems) return undefined;
    const at = node.children.length >>> 1;
    const sibling = inner(this.#token, node.children.splice(at), node.keys.splice(at));
    node.size -= sibling.size;
    return sibling;
  }

  /** `node` is owned and holds the key. */
  #remove(node: Node<E>, key: string): void {
    node.size--;
    if (node.children === undefined) {
      const i = lowerBound(node.items, key);
      this.#previous = node.items[i];
      node.items.splice(i, 1);
      return;
    }
    const i = childIndex(node.keys, key);
    const child = this.#own(node.children[i]!);
    node.children[i] = child;
    this.#remove(child, key);
    if (child.size === 0) {
      if (node.children.length > 1) {
        node.children.splice(i, 1);
        node.keys.splice(i, 1);
      }
      return;
    }
    if (fanOut(child) >= minItems) return;
    const left = i > 0 ? i - 1 : i;
    const a = node.children[left];
    const b = node.children[left + 1];
    if (a === undefined || b === undefined || fanOut(a) + fanOut(b) > maxItems - minItems) return;
    node.children[left] = this.#merge(a, b, node.keys[left + 1]!);
    node.children.splice(left + 1, 1);
    node.keys.splice(left + 1, 1);
  }

  #merge(a: Node<E>, b: Node<E>, keyOfB: string): Node<E> {
    if (a.children === undefined || b.children === undefined) {
      return leaf(this.#token, [...(a.items ?? []), ...(b.items ?? [])]);
    }
    return inner(this.#token, [...a.children, ...b.children], [...a.keys, keyOfB, ...b.keys.slice(1)]);
  }
}

function fanOut<E extends Keyed>(node: Node<E>): number {
  return node.children === undefined ? node.items.length : node.children.length;
}

function firstKey<E extends Keyed>(node: Node<E>): string {
  return node.children === undefined ? (node.items[0]?.key ?? '') : node.keys[0]!;
}
