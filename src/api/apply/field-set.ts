/**
 * Field sets of server-side apply (structured-merge-diff fieldpath.Set), kept in the very form in which they stand in
 * `managedFields[].fieldsV1`: a trie of plain objects. A node that is `{}` or has the member `.` belongs to the set; other
 * members are path elements (`f:name`, `k:{"name":"x"}`, `v:"x"`, `i:0`) in upstream's order. So nothing is decoded or encoded:
 * what is stored is the set. Sets are immutable, and operations return their argument where nothing changes.
 */

export interface FieldSet {
  readonly [element: string]: FieldSet;
}

type Draft = Record<string, FieldSet>;

export const emptyFieldSet: FieldSet = Object.freeze({});
const leaf: FieldSet = emptyFieldSet;

export function isEmptySet(set: FieldSet): boolean {
  for (const _ in set) return false;
  return true;
}

function isMember(node: FieldSet): boolean {
  return node['.'] !== undefined || isEmptySet(node);
}

// Path elements --------------------------------------------------------------------------------------------------------

/** Needs no escapes: names and most values. */
const plainText = /^[\w ./:-]*$/;

/** JSON as Go writes it into path elements: `<`, `>`, `&` and the line separators escaped. */
function goJson(value: unknown): string {
  if (typeof value === 'string' && plainText.test(value)) return `"${value}"`;
  const text = typeof value === 'bigint' ? value.toString() : JSON.stringify(value);
  return /[<>&\u2028\u2029]/.test(text)
    ? text.replace(/[<>&\u2028\u2029]/g, (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, '0')}`)
    : text;
}

export function fieldElement(name: string): string {
  return `f:${name}`;
}

/** The element of a set's item. */
export function valueElement(value: unknown): string {
  return `v:${goJson(value)}`;
}

/** The element of an associative list's item; `names` in alphabetical order. */
export function keyElement(names: readonly string[], values: readonly unknown[]): string {
  let text = 'k:{';
  for (let i = 0; i < names.length; i++) text += `${i > 0 ? ',' : ''}${goJson(names[i])}:${goJson(values[i])}`;
  return `${text}}`;
}

const rank: Readonly<Record<string, number>> = { f: 0, k: 1, v: 2, i: 3 };

/** Upstream's order of scalar values: numbers, strings, booleans. */
function compareScalars(a: unknown, b: unknown): number {
  const kind = (x: unknown): number =>
    typeof x === 'number' || typeof x === 'bigint' ? 0 : typeof x === 'string' ? 1 : typeof x === 'boolean' ? 2 : 3;
  const ka = kind(a);
  const kb = kind(b);
  if (ka !== kb) return ka - kb;
  if (a === b) return 0;
  return (a as number | string | boolean) < (b as number | string | boolean) ? -1 : 1;
}

/** Upstream's order of path elements: fields, keys, values, indices, each by content. */
export function compareElements(a: string, b: string): number {
  if (a === b) return 0;
  const ra = rank[a[0]!] ?? 4;
  const rb = rank[b[0]!] ?? 4;
  if (ra !== rb) return ra - rb;
  if (ra === 0) return a < b ? -1 : 1;
  if (ra === 3) return Number(a.slice(2)) - Number(b.slice(2));
  const x = JSON.parse(a.slice(2)) as unknown;
  const y = JSON.parse(b.slice(2)) as unknown;
  if (ra === 2) return compareScalars(x, y);
  const fieldsX = x as Record<string, unknown>;
  const fieldsY = y as Record<string, unknown>;
  const namesX = Object.keys(fieldsX);
  const namesY = Object.keys(fieldsY);
  for (let i = 0; i < namesX.length && i < namesY.length; i++) {
    const n = namesX[i]!;
    const m = namesY[i]!;
    if (n !== m) return n < m ? -1 : 1;
    const c = compareScalars(fieldsX[n], fieldsY[m]);
    if (c !== 0) return c;
  }
  return namesX.length - namesY.length;
}

/** In place. Objects have few members, which `sort` would copy first. */
function sortElements(elements: string[]): void {
  if (elements.length > 24) {
    elements.sort(compareElements);
    return;
  }
  for (let i = 1; i < elements.length; i++) {
    const element = elements[i]!;
    let at = i;
    for (; at > 0 && compareElements(elements[at - 1]!, element) > 0; at--) elements[at] = elements[at - 1]!;
    elements[at] = element;
  }
}

/** A path element as messages show it: `.name`, `[name="x"]`, `[="x"]`, `[0]`. */
export function elementText(element: string): string {
  const body = element.slice(2);
  switch (element[0]) {
    case 'f':
      return `.${body}`;
    case 'v':
      return `[=${scalarText(JSON.parse(body))}]`;
    case 'i':
      return `[${body}]`;
    default: {
      const key = JSON.parse(body) as Record<string, unknown>;
      const parts = Object.keys(key).map((name) => `${name}=${scalarText(key[name])}`);
      return `[${parts.join(',')}]`;
    }
  }
}

/** A key's value; those of wrong types are told of as well. */
function scalarText(value: unknown): string {
  if (typeof value === 'string') return JSON.stringify(value);
  if (Array.isArray(value)) return `[${value.map(scalarText).join(',')}]`;
  if (typeof value !== 'object' || value === null) return String(value);
  return Object.entries(value)
    .map(([name, v]) => `${name}=${scalarText(v)}`)
    .join('');
}

export function pathText(path: readonly string[]): string {
  return path.map(elementText).join('');
}

// Reading --------------------------------------------------------------------------------------------------------------

/** Any `fieldsV1` as a set in canonical form; undefined where upstream would refuse to read it. */
export function readFieldSet(value: unknown): FieldSet | undefined {
  if (value === undefined || value === null) return emptyFieldSet;
  if (typeof value !== 'object' || Array.isArray(value)) return undefined;
  return readChildren(value as Record<string, unknown>, false);
}

function readChildren(value: Record<string, unknown>, withSelf: boolean): FieldSet | undefined {
  const elements: string[] = [];
  const nodes = new Map<string, FieldSet>();
  let self = false;
  for (const key of Object.keys(value)) {
    if (key === '.') {
      self = true;
      continue;
    }
    const element = readElement(key);
    if (element === undefined) return undefined;
    if (element === '') continue;
    const child = value[key];
    if (child !== null && (typeof child !== 'object' || Array.isArray(child))) return undefined;
    const node = child === null ? leaf : readChildren(child as Record<string, unknown>, true);
    if (node === undefined) return undefined;
    const before = nodes.get(element);
    if (before === undefined) elements.push(element);
    nodes.set(element, before === undefined ? node : unionNodes(before, node));
  }
  if (elements.length === 0) return leaf;
  sortElements(elements);
  const out: Draft = {};
  if (self && withSelf) out['.'] = leaf;
  for (const element of elements) out[element] = nodes.get(element)!;
  return out;
}

/** A path element in canonical form; '' for a kind of the future, which is dropped; undefined for a bad one. */
function readElement(text: string): string | undefined {
  if (text.length < 2 || text[1] !== ':') return undefined;
  const body = text.slice(2);
  switch (text[0]) {
    case 'f':
      return text;
    case 'i':
      return /^[+-]?[0-9]+$/.test(body) ? `i:${Number(body)}` : undefined;
    case 'v':
    case 'k': {
      let value: unknown;
      try {
        value = JSON.parse(body);
      } catch {
        // Not JSON: upstream refuses the whole set.
        return undefined;
      }
      if (text[0] === 'v') return valueElement(value);
      if (typeof value !== 'object' || value === null || Array.isArray(value)) return undefined;
      const names = Object.keys(value).sort();
      return keyElement(
        names,
        names.map((n) => (value as Record<string, unknown>)[n]),
      );
    }
    default:
      return '';
  }
}

// Building -------------------------------------------------------------------------------------------------------------

/** Collects paths, then gives the set in canonical form. */
export class FieldSetBuilder {
  readonly #root: Draft = {};
  #empty = true;
  /** Nodes that came in canonical form, and stay as they are. */
  readonly #ready = new Set<FieldSet>();

  get empty(): boolean {
    return this.#empty;
  }

  /** Makes the path at `elements[0..length)` a member. The empty path, which is the whole object, is not tracked. */
  insert(elements: readonly string[], length: number): void {
    if (length === 0) return;
    this.#empty = false;
    let node = this.#root;
    for (let i = 0; i < length - 1; i++) {
      const element = elements[i]!;
      const child = node[element] as Draft | undefined;
      if (child === undefined) node = (node[element] = {}) as Draft;
      else {
        // A member that gets children has to say that it is one.
        if (isEmptySet(child)) child['.'] = leaf;
        node = child;
      }
    }
    const last = elements[length - 1]!;
    const existing = node[last] as Draft | undefined;
    if (existing === undefined) node[last] = {};
    else if (!isEmptySet(existing) && existing['.'] === undefined) existing['.'] = leaf;
  }

  /** Puts a node in canonical form at the path `elements[0..length)`, where nothing was before. */
  graft(elements: readonly string[], length: number, node: FieldSet): void {
    this.#empty = false;
    let parent = this.#root;
    for (let i = 0; i < length - 1; i++) {
      const element = elements[i]!;
      const child = parent[element] as Draft | undefined;
      if (child === undefined) parent = (parent[element] = {}) as Draft;
      else {
        if (isEmptySet(child)) child['.'] = leaf;
        parent = child;
      }
    }
    parent[elements[length - 1]!] = node;
    if (node !== leaf) this.#ready.add(node);
  }

  build(): FieldSet {
    return this.#empty ? emptyFieldSet : sortNode(this.#root, this.#ready);
  }
}

/** A member of a set with these members below it, given in any order; `elements` is sorted in place. */
export function memberOfChildren(elements: string[], children: Readonly<Record<string, FieldSet>>): FieldSet {
  if (elements.length === 0) return leaf;
  if (elements.length > 1) sortElements(elements);
  const out: Draft = { '.': leaf };
  for (let i = 0; i < elements.length; i++) out[elements[i]!] = children[elements[i]!]!;
  return out;
}

/** The same node with its elements in order, all the way down. */
function sortNode(node: Draft, ready: ReadonlySet<FieldSet>): FieldSet {
  if (ready.has(node)) return node;
  const elements: string[] = [];
  let self = false;
  for (const element in node) {
    if (element === '.') self = true;
    else elements.push(element);
  }
  if (elements.length === 0) return leaf;
  if (elements.length > 1) sortElements(elements);
  const out: Draft = {};
  if (self) out['.'] = leaf;
  for (const element of elements) out[element] = sortNode(node[element] as Draft, ready);
  return out;
}

/** The set of these paths, each given by field names. */
export function setOfFields(paths: readonly (readonly string[])[]): FieldSet {
  const builder = new FieldSetBuilder();
  for (const path of paths) builder.insert(path.map(fieldElement), path.length);
  return builder.build();
}

// Algebra --------------------------------------------------------------------------------------------------------------

function withSelf(node: FieldSet): FieldSet {
  return { '.': leaf, ...node };
}

function withoutSelf(node: FieldSet): FieldSet {
  const { '.': _, ...rest } = node;
  return rest;
}

/** Paths that are in either. */
export function unionSets(a: FieldSet, b: FieldSet): FieldSet {
  if (a === b || isEmptySet(b)) return a;
  return isEmptySet(a) ? b : unionChildren(a, b);
}

function unionNodes(a: FieldSet, b: FieldSet): FieldSet {
  if (a === b) return a;
  if (isEmptySet(a)) return isEmptySet(b) ? a : b['.'] !== undefined ? b : withSelf(b);
  if (isEmptySet(b)) return a['.'] !== undefined ? a : withSelf(a);
  return unionChildren(a, b);
}

function unionChildren(a: FieldSet, b: FieldSet): FieldSet {
  let out: Draft | undefined;
  let fresh: string[] | undefined;
  let self = false;
  for (const element in b) {
    const before = a[element];
    if (before === undefined) {
      if (element === '.') self = true;
      else (fresh ??= []).push(element);
      continue;
    }
    if (element === '.') continue;
    const merged = unionNodes(before, b[element]!);
    if (merged !== before) (out ??= { ...a })[element] = merged;
  }
  const base = out ?? a;
  if (fresh === undefined) return self ? withSelf(base) : base;
  const elements = fresh;
  for (const element in base) if (element !== '.') elements.push(element);
  sortElements(elements);
  const sorted: Draft = {};
  if (self || base['.'] !== undefined) sorted['.'] = leaf;
  for (const element of elements) sorted[element] = base[element] ?? b[element]!;
  return sorted;
}

/** Rebuilds a node with some elements replaced or (undefined) dropped; undefined when nothing is left. */
function rebuild(
  node: FieldSet,
  changes: ReadonlyMap<string, FieldSet | undefined> | undefined,
  self: boolean,
): FieldSet | undefined {
  const out: Draft = {};
  let any = false;
  if (self) out['.'] = leaf;
  for (const element in node) {
    if (element === '.') continue;
    const next = changes?.has(element) === true ? changes.get(element) : node[element];
    if (next === undefined) continue;
    out[element] = next;
    any = true;
  }
  return any ? out : self ? leaf : undefined;
}

/** Paths of a that are not in b; a path's children stay when it goes. */
export function differenceSets(a: FieldSet, b: FieldSet): FieldSet {
  if (isEmptySet(a) || isEmptySet(b)) return a;
  return differenceNodes(a, b, true) ?? emptyFieldSet;
}

function differenceNodes(a: FieldSet, b: FieldSet, root: boolean): FieldSet | undefined {
  if (!root) {
    if (isEmptySet(a)) return isMember(b) ? undefined : a;
    if (isEmptySet(b)) return a['.'] !== undefined ? withoutSelf(a) : a;
  }
  const self = a['.'] !== undefined && b['.'] === undefined;
  let changes: Map<string, FieldSet | undefined> | undefined;
  for (const element in b) {
    if (element === '.') continue;
    const before = a[element];
    if (before === undefined) continue;
    const left = differenceNodes(before, b[element]!, false);
    if (left !== before) (changes ??= new Map()).set(element, left);
  }
  if (changes === undefined && self === (a['.'] !== undefined)) return a;
  return rebuild(a, changes, self);
}

/** Paths of a that are neither in b nor below a path of b. */
export function recursiveDifferenceSets(a: FieldSet, b: FieldSet): FieldSet {
  if (isEmptySet(a) || isEmptySet(b)) return a;
  return recursiveDifferenceNodes(a, b) ?? emptyFieldSet;
}

function recursiveDifferenceNodes(a: FieldSet, b: FieldSet): FieldSet | undefined {
  let changes: Map<string, FieldSet | undefined> | undefined;
  for (const element in b) {
    if (element === '.') continue;
    const before = a[element];
    if (before === undefined) continue;
    const other = b[element]!;
    if (isMember(other)) (changes ??= new Map()).set(element, undefined);
    else if (!isEmptySet(before)) {
      const left = recursiveDifferenceNodes(before, other);
      if (left !== before) (changes ??= new Map()).set(element, left);
    }
  }
  return changes === undefined ? a : rebuild(a, changes, a['.'] !== undefined);
}

/** Paths that are in both. */
export function intersectSets(a: FieldSet, b: FieldSet): FieldSet {
  if (a === b) return a;
  return intersectNodes(a, b, true) ?? emptyFieldSet;
}

function intersectNodes(a: FieldSet, b: FieldSet, root: boolean): FieldSet | undefined {
  const out: Draft = {};
  let any = false;
  const self = !root && isMember(a) && isMember(b);
  if (self) out['.'] = leaf;
  // The order is a's, whichever has more elements.
  for (const element in a) {
    if (element === '.') continue;
    const other = b[element];
    if (other === undefined) continue;
    const both = intersectNodes(a[element]!, other, false);
    if (both === undefined) continue;
    out[element] = both;
    any = true;
  }
  return any ? out : self ? leaf : undefined;
}

export function hasPath(set: FieldSet, path: readonly string[]): boolean {
  if (path.length === 0) return false;
  let node: FieldSet | undefined = set;
  for (const element of path) {
    node = node[element];
    if (node === undefined) return false;
  }
  return isMember(node);
}

/** Whether the element itself, without what is below it, is in the set. */
export function hasElement(set: FieldSet, element: string): boolean {
  const node = set[element];
  return node !== undefined && isMember(node);
}

/** What the set holds below an element, undefined when nothing. */
export function below(set: FieldSet, element: string): FieldSet | undefined {
  const node = set[element];
  if (node === undefined || isEmptySet(node)) return undefined;
  return node;
}

export function equalSets(a: FieldSet, b: FieldSet): boolean {
  if (a === b) return true;
  let n = 0;
  for (const element in a) {
    const other = b[element];
    if (other === undefined || !equalSets(a[element]!, other)) return false;
    n++;
  }
  for (const _ in b) n--;
  return n === 0;
}

/** All paths, a level's own members before what is below them, as upstream iterates. */
export function pathsOf(set: FieldSet): string[][] {
  const paths: string[][] = [];
  const walk = (node: FieldSet, prefix: readonly string[]): void => {
    for (const element in node) {
      if (element !== '.' && isMember(node[element]!)) paths.push([...prefix, element]);
    }
    for (const element in node) {
      const child = node[element]!;
      if (element !== '.' && !isEmptySet(child)) walk(child, [...prefix, element]);
    }
  };
  walk(set, []);
  return paths;
}
