/**
 * Canonicalize: a decoded object of a built-in type exactly as upstream's Go encoder would write it: members in the order of
 * the Go struct, empty ones left out where the type says omitempty, zero ones written where it does not, map keys sorted. It
 * also shares what did not change with the object before: a subtree that equals the previous one *is* the previous one, so
 * that later diffs can skip it by identity and memory holds it once.
 *
 * Nothing is mutated; what is canonical already is returned as it is. Scalars are taken to be canonical (decode sees to it).
 */
import type { Field, ListSchema, MapSchema, ObjectSchema, Schema } from './schema.ts';

type Members = Record<string, unknown>;

/**
 * @param previous the committed object that this one replaces, to share unchanged parts with
 */
export function canonicalize<T extends object>(schema: ObjectSchema, object: T, previous?: object): T {
  return canonicalObject(schema, object as Members, previous as Members | undefined) as T;
}

/** The zero struct as it is written, nested zero structs and all. Frozen: it is shared. */
export function zeroStruct(schema: ObjectSchema): Readonly<Members> {
  let zero = schema.derived.zero;
  if (zero === undefined) {
    const out: Members = {};
    for (const field of schema.written) {
      out[field.name] = field.embeddedStruct ? zeroStruct(field.schema as ObjectSchema) : field.zero;
    }
    zero = Object.freeze(out);
    schema.derived.zero = zero;
  }
  return zero;
}

function canonicalObject(schema: ObjectSchema, value: Members, previous: Members | undefined): Members {
  if (value === previous) return value;
  const fields = schema.fields;
  let last = -1;
  let written = 0;
  for (const key in value) {
    const field = fields.get(key);
    if (field === undefined || field.index < last || value[key] === undefined) return inOrder(schema, value, previous);
    last = field.index;
    if (field.zero !== undefined) {
      if (value[key] === null && field.zero !== null) return inOrder(schema, value, previous);
      written++;
    }
  }
  if (written !== schema.written.length) return inOrder(schema, value, previous);

  // The members stand as they should; copy only from the first one that changes.
  let out: Members | undefined;
  let count = 0;
  let same = previous !== undefined;
  for (const key in value) {
    const field = fields.get(key)!;
    const v = value[key];
    const before = previous?.[key];
    const c = canonicalValue(field.schema, v, before);
    const omitted = field.omitEmpty && isOmitted(field.presence === 'pointer', c);
    if (out === undefined && (omitted || c !== v)) out = membersBefore(value, key);
    if (omitted) continue;
    if (out !== undefined) out[key] = c;
    if (c !== before) same = false;
    count++;
  }
  if (same && count === countOf(previous!)) return previous!;
  return out ?? value;
}

function membersBefore(value: Members, end: string): Members {
  const out: Members = {};
  for (const key in value) {
    if (key === end) break;
    out[key] = value[key];
  }
  return out;
}

/** Builds the object anew: members sorted, the ones that are always written added. */
function inOrder(schema: ObjectSchema, value: Members, previous: Members | undefined): Members {
  const present: Field[] = [];
  let unknown: string[] | undefined;
  for (const key in value) {
    const field = schema.fields.get(key);
    if (field === undefined) {
      if (schema.preserveUnknown && value[key] !== undefined) (unknown ??= []).push(key);
    } else if (value[key] !== undefined && (value[key] !== null || field.zero !== undefined)) insert(present, field);
  }
  for (const field of schema.written) {
    if (value[field.name] === undefined) insert(present, field);
  }
  const out: Members = {};
  let count = 0;
  let same = previous !== undefined;
  for (let i = 0; i < present.length; i++) {
    const field = present[i]!;
    const name = field.name;
    const before = previous?.[name];
    let c = value[name];
    if (c === undefined || c === null) {
      c = field.zero;
      if (field.embeddedStruct) c = canonicalValue(field.schema, zeroStruct(field.schema as ObjectSchema), before);
    } else c = canonicalValue(field.schema, c, before);
    if (field.omitEmpty && isOmitted(field.presence === 'pointer', c)) continue;
    out[name] = c;
    count++;
    if (c !== before) same = false;
  }
  for (const key of unknown ?? []) {
    setOwn(out, key, value[key]);
    count++;
    if (value[key] !== previous?.[key]) same = false;
  }
  return same && count === countOf(previous!) ? previous! : out;
}

/** Insertion by index: most members arrive in order, and there are few. */
function insert(list: Field[], field: Field): void {
  let i = list.length;
  list.push(field);
  while (i > 0 && list[i - 1]!.index > field.index) {
    list[i] = list[i - 1]!;
    i--;
  }
  list[i] = field;
}

function countOf(o: Members): number {
  let n = 0;
  for (const _ in o) n++;
  return n;
}

function isOmitted(pointer: boolean, v: unknown): boolean {
  if (v === null || v === undefined) return true;
  if (pointer) return false;
  if (typeof v !== 'object') return v === '' || v === 0 || v === false;
  if (Array.isArray(v)) return v.length === 0;
  for (const _ in v) return false;
  return true;
}

function canonicalValue(schema: Schema, value: unknown, previous: unknown): unknown {
  if (typeof value !== 'object' || value === null || value === previous) return value;
  const before = typeof previous === 'object' && previous !== null ? previous : undefined;
  switch (schema.kind) {
    case 'scalar':
      return value;
    case 'object':
      return canonicalObject(
        schema,
        value as Members,
        Array.isArray(before) ? undefined : (before as Members | undefined),
      );
    case 'list':
      return canonicalList(schema, value as unknown[], Array.isArray(before) ? before : undefined);
    case 'map':
      return canonicalMap(
        schema,
        value as Members,
        Array.isArray(before) ? undefined : (before as Members | undefined),
      );
    case 'any':
      return share(value, before);
    case 'either':
      return canonicalValue(Array.isArray(value) ? schema.other : schema.object, value, before);
  }
}

/** An empty list is null where it is written at all: upstream's store does not tell the two apart. */
function canonicalList(schema: ListSchema, value: unknown[], previous: unknown[] | undefined): unknown[] | null {
  const n = value.length;
  if (n === 0) return null;
  let out: unknown[] | undefined;
  let same = previous !== undefined && previous.length === n;
  const items = schema.items;
  for (let i = 0; i < n; i++) {
    const v = value[i];
    const before = previous?.[i];
    const c = canonicalValue(items, v, before);
    if (c !== before) same = false;
    if (c !== v && out === undefined) out = value.slice(0, i);
    if (out !== undefined) out.push(c);
  }
  return same ? previous! : (out ?? value);
}

function canonicalMap(schema: MapSchema, value: Members, previous: Members | undefined): Members | null {
  const keys = Object.keys(value);
  if (keys.length === 0) return null;
  let sorted = true;
  for (let i = 1; i < keys.length; i++) {
    if (keys[i - 1]! > keys[i]!) {
      sorted = false;
      break;
    }
  }
  if (!sorted) keys.sort();
  const values = schema.values;
  const scalar = values.kind === 'scalar';
  let same = previous !== undefined;
  let changed = !sorted;
  const results: unknown[] = [];
  for (const key of keys) {
    const v = value[key];
    const before = previous?.[key];
    const c = scalar ? v : canonicalValue(values, v, before);
    if (c !== v) changed = true;
    if (c !== before) same = false;
    results.push(c);
  }
  if (same && countOf(previous!) === keys.length) return previous!;
  if (!changed) return value;
  const out: Members = {};
  for (let i = 0; i < keys.length; i++) setOwn(out, keys[i]!, results[i]);
  return out;
}

function setOwn(out: Members, key: string, value: unknown): void {
  if (key === '__proto__')
    Object.defineProperty(out, key, { value, enumerable: true, configurable: true, writable: true });
  else out[key] = value;
}

/**
 * `next` with every subtree that equals the one of `previous` replaced by it, so that unchanged parts are identical. For
 * values without a schema: custom resources, opaque members.
 */
export function share<T>(next: T, previous: unknown): T {
  if (next === previous || typeof next !== 'object' || next === null) return next;
  if (typeof previous !== 'object' || previous === null) return next;
  if (Array.isArray(next)) {
    if (!Array.isArray(previous)) return next;
    let same = previous.length === next.length;
    let out: unknown[] | undefined;
    for (let i = 0; i < next.length; i++) {
      const v: unknown = next[i];
      const c = share(v, previous[i]);
      if (c !== previous[i]) same = false;
      if (c !== v && out === undefined) out = next.slice(0, i);
      if (out !== undefined) out.push(c);
    }
    return (same ? previous : (out ?? next)) as T;
  }
  if (Array.isArray(previous)) return next;
  let same = true;
  let count = 0;
  let changed = false;
  for (const key in next) {
    const v: unknown = next[key];
    const before = (previous as Members)[key];
    const c = share(v, before);
    if (c !== before || (c === undefined && !(key in previous))) same = false;
    if (c !== v) changed = true;
    count++;
  }
  if (same && count === countOf(previous as Members)) return previous as T;
  if (!changed) return next;
  const out: Members = {};
  for (const key in next) setOwn(out, key, share(next[key], (previous as Members)[key]));
  return out as T;
}
