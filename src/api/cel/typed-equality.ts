/**
 * Equality and addition of values with a schema: lists of type `set` and `map` ignore order and add as unions, times compare as
 * times. Generic equality (`values.ts`) serves everything else.
 */
import { conversionOf } from './convert.ts';
import { fail } from './errors.ts';
import type { CelType } from './types.ts';
import { Boxed } from './types.ts';
import type { PlainObject } from './values.ts';
import { equals, isObjectMap } from './values.ts';

type Equality = (a: unknown, b: unknown) => boolean;

/** The equality that a type's schema asks for; undefined when the generic one does. */
export function equalityOf(type: CelType): Equality | undefined {
  if (type.equality === undefined) {
    // Recursive types meet themselves: they compare by members then, whatever these turn out to need.
    const holder: { fn: Equality | undefined } = { fn: (a, b) => structEquality(type)(a, b) };
    type.equality = holder;
    holder.fn = make(type);
  }
  return type.equality.fn;
}

function make(type: CelType): Equality | undefined {
  switch (type.kind) {
    case 'list':
      return listEquality(type);
    case 'map': {
      const value = equalityOf(type.params[1]!);
      return value === undefined ? undefined : mapEquality(value);
    }
    case 'struct': {
      if (type.fieldNames === undefined) return undefined;
      for (const name of type.fieldNames()) {
        const field = type.fields?.(name);
        if (field !== undefined && equalityOf(field.type) !== undefined) return structEquality(type);
      }
      return undefined;
    }
    case 'timestamp':
    case 'duration': {
      const convert = conversionOf(type)!;
      return (a, b) => equals(convert(a), convert(b));
    }
  }
  return undefined;
}

/** What the keys of a list-map element are, as one string. */
function elementKey(element: unknown, keys: readonly string[]): string {
  if (!isObjectMap(element)) return fail('unexpected data format for element of array with x-kubernetes-list-type=map');
  return JSON.stringify(keys.map((k) => scalarKey(element[k])));
}

const scalarKey = (v: unknown): unknown => (typeof v === 'bigint' ? String(v) : (v ?? null));

function listEquality(type: CelType): Equality | undefined {
  const item = equalityOf(type.params[0]!);
  const facts = type.facts;
  if (facts?.listType === 'set') {
    return (a, b) => {
      if (!Array.isArray(a) || !Array.isArray(b)) return fail('no such overload');
      if (a.length !== b.length) return false;
      const set = new Set(a.map(scalarKey));
      return b.every((v) => set.has(scalarKey(v)));
    };
  }
  if (facts?.listType === 'map') {
    const keys = facts.mapKeys ?? [];
    const same = item ?? equals;
    return (a, b) => {
      if (!Array.isArray(a) || !Array.isArray(b)) return fail('no such overload');
      if (a.length !== b.length) return false;
      const byKey = new Map(a.map((v) => [elementKey(v, keys), v as unknown]));
      return b.every((v) => {
        const other = byKey.get(elementKey(v, keys));
        return other !== undefined && same(other, v);
      });
    };
  }
  if (item === undefined) return undefined;
  return (a, b) => {
    if (!Array.isArray(a) || !Array.isArray(b)) return fail('no such overload');
    return a.length === b.length && a.every((v, i) => item(v, b[i]));
  };
}

const members = (v: unknown): PlainObject | undefined =>
  typeof v === 'object' && v !== null && !(v instanceof Boxed) ? (v as PlainObject) : undefined;

function mapEquality(value: Equality): Equality {
  return (a, b) => {
    const x = members(a);
    const y = members(b);
    if (x === undefined || y === undefined) return equals(a, b);
    const keys = Object.keys(x);
    if (keys.length !== Object.keys(y).length) return false;
    return keys.every((k) => Object.hasOwn(y, k) && value(x[k], y[k]));
  };
}

function structEquality(type: CelType): Equality {
  let fields: Map<string, Equality> | undefined;
  const load = (): Map<string, Equality> => {
    const out = new Map<string, Equality>();
    for (const name of type.fieldNames?.() ?? []) {
      const field = type.fields?.(name);
      if (field !== undefined) out.set(field.jsonName, equalityOf(field.type) ?? equals);
    }
    return out;
  };
  return (a, b) => {
    const x = members(a);
    const y = members(b);
    if (x === undefined || y === undefined) return equals(a, b);
    fields ??= load();
    const keys = Object.keys(x);
    if (keys.length !== Object.keys(y).length) return false;
    for (const key of keys) {
      const same = fields.get(key);
      const [v, w] = [x[key] ?? undefined, Object.hasOwn(y, key) ? (y[key] ?? undefined) : undefined];
      if (same === undefined) {
        // Not in the schema: only what both have can differ.
        if (w !== undefined && !equals(v, w)) return false;
      } else if ((v === undefined) !== (w === undefined)) return false;
      else if (v !== undefined && !same(v, w)) return false;
    }
    return true;
  };
}

/** `a + b` of a list type: appends, or for `set` and `map` lists joins. */
export function addListsOf(type: CelType): (a: unknown, b: unknown) => unknown {
  const facts = type.facts;
  const both = (a: unknown, b: unknown): readonly [readonly unknown[], readonly unknown[]] =>
    Array.isArray(a) && Array.isArray(b) ? [a, b] : fail('no such overload');
  if (facts?.listType === 'set') {
    return (a, b) => {
      const [x, y] = both(a, b);
      const seen = new Set(x.map(scalarKey));
      const out = [...x];
      for (const v of y) {
        const key = scalarKey(v);
        if (!seen.has(key)) out.push(v);
        seen.add(key);
      }
      return out;
    };
  }
  if (facts?.listType === 'map') {
    const keys = facts.mapKeys ?? [];
    return (a, b) => {
      const [x, y] = both(a, b);
      const out = [...x];
      const places = new Map(x.map((v, i) => [elementKey(v, keys), i]));
      for (const v of y) {
        const place = places.get(elementKey(v, keys));
        if (place === undefined) out.push(v);
        else out[place] = v;
      }
      return out;
    };
  }
  return (a, b) => {
    const [x, y] = both(a, b);
    return x.length === 0 ? y : y.length === 0 ? x : [...x, ...y];
  };
}
