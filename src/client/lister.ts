/** `Store`: what an informer knows, by key and by index, and the read-only `Lister` over it. Objects are shared: never mutate. */
import type { KubeObject } from '../api/object.ts';

/** Index values of an object. */
export type IndexFunction<T> = (object: T) => readonly string[];

/** `namespace/name`, or `name` for cluster-scoped objects. */
export function keyOf(object: { readonly metadata: { readonly namespace?: string; readonly name?: string } }): string {
  const { namespace, name } = object.metadata;
  return namespace === undefined || namespace === '' ? (name ?? '') : `${namespace}/${name}`;
}

/** Namespace (empty for cluster-scoped) and name of a key. */
export function splitKey(key: string): { namespace: string; name: string } {
  const slash = key.indexOf('/');
  return slash === -1 ? { namespace: '', name: key } : { namespace: key.slice(0, slash), name: key.slice(slash + 1) };
}

/** Reads from an informer's cache. */
export interface Lister<T extends KubeObject = KubeObject> {
  /** By key (`namespace/name`) or by name and namespace. */
  getByKey(key: string): T | undefined;
  get(name: string, namespace?: string): T | undefined;
  /** Everything, or everything of one namespace. No order; a view that must not outlive the current turn. */
  list(namespace?: string): Iterable<T>;
  /** The objects for which the index function gave `value`. */
  byIndex(index: string, value: string): Iterable<T>;
  /** How many there are. */
  readonly size: number;
}

interface Index<T> {
  readonly values: IndexFunction<T>;
  readonly entries: Map<string, Map<string, T>>;
}

const none: Iterable<never> = [];
const namespaceIndex = 'namespace';

export class Store<T extends KubeObject = KubeObject> implements Lister<T> {
  #objects = new Map<string, T>();
  readonly #indices = new Map<string, Index<T>>();

  get size(): number {
    return this.#objects.size;
  }

  getByKey(key: string): T | undefined {
    return this.#objects.get(key);
  }

  get(name: string, namespace?: string): T | undefined {
    return this.#objects.get(namespace === undefined || namespace === '' ? name : `${namespace}/${name}`);
  }

  keys(): Iterable<string> {
    return this.#objects.keys();
  }

  list(namespace?: string): Iterable<T> {
    if (namespace === undefined || namespace === '') return this.#objects.values();
    if (!this.#indices.has(namespaceIndex)) this.addIndex(namespaceIndex, (o) => [o.metadata.namespace ?? '']);
    return this.byIndex(namespaceIndex, namespace);
  }

  byIndex(index: string, value: string): Iterable<T> {
    const found = this.#indices.get(index);
    if (found === undefined) throw new Error(`index ${index} does not exist`);
    return found.entries.get(value)?.values() ?? none;
  }

  /** Adds an index over what is there and what will come; an index of that name stays as it is. */
  addIndex(name: string, values: IndexFunction<T>): void {
    if (this.#indices.has(name)) return;
    const index: Index<T> = { values, entries: new Map() };
    this.#indices.set(name, index);
    for (const [key, object] of this.#objects) enter(index, key, object);
  }

  /** Stores the object and returns the one it replaces. */
  set(key: string, object: T): T | undefined {
    const old = this.#objects.get(key);
    this.#objects.set(key, object);
    for (const index of this.#indices.values()) {
      if (old !== undefined) move(index, key, old, object);
      else enter(index, key, object);
    }
    return old;
  }

  delete(key: string): T | undefined {
    const old = this.#objects.get(key);
    if (old === undefined) return undefined;
    this.#objects.delete(key);
    for (const index of this.#indices.values()) leave(index, key, index.values(old));
    return old;
  }

  clear(): void {
    this.#objects = new Map();
    for (const index of this.#indices.values()) index.entries.clear();
  }
}

function enter<T>(index: Index<T>, key: string, object: T): void {
  for (const value of index.values(object)) put(index, value, key, object);
}

function put<T>(index: Index<T>, value: string, key: string, object: T): void {
  const entry = index.entries.get(value);
  if (entry === undefined) index.entries.set(value, new Map([[key, object]]));
  else entry.set(key, object);
}

function leave<T>(index: Index<T>, key: string, values: readonly string[]): void {
  for (const value of values) {
    const entry = index.entries.get(value);
    if (entry === undefined) continue;
    entry.delete(key);
    if (entry.size === 0) index.entries.delete(value);
  }
}

function move<T>(index: Index<T>, key: string, old: T, object: T): void {
  const before = index.values(old);
  const after = index.values(object);
  if (before.length !== 1 || after.length !== 1 || before[0] !== after[0]) {
    leave(
      index,
      key,
      before.filter((v) => !after.includes(v)),
    );
  }
  for (const value of after) put(index, value, key, object);
}
