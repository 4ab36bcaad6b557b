/**
 * Which value was there before an update: members by name, items of `map` lists by their keys, everything else not at all. What
 * did not change may keep failing rules that came later (ratcheting, KEP-4008).
 */
import { deepEqual } from '../helpers/deep-equal.ts';
import type { Constraints } from './schema.ts';

type Members = Readonly<Record<string, unknown>>;

const isMembers = (v: unknown): v is Members => typeof v === 'object' && v !== null && !Array.isArray(v);

const isScalar = (v: unknown): boolean => ['string', 'number', 'bigint', 'boolean'].includes(typeof v);

/** The keys of an item as one text; undefined when it lacks one, or one is no scalar. */
function itemKey(item: unknown, keys: readonly string[]): string | undefined {
  if (!isMembers(item)) return undefined;
  const parts: string[] = [];
  for (const key of keys) {
    const v = item[key];
    if (!isScalar(v)) return undefined;
    parts.push(`${typeof v === 'string' ? 's' : typeof v === 'boolean' ? 'b' : 'n'}${String(v)}`);
  }
  return parts.join('\0');
}

/** The items of a list before an update, found by the items after it. */
export class MapList {
  readonly #keys: readonly string[];
  readonly #byKey = new Map<string, unknown>();

  constructor(constraints: Constraints, items: unknown) {
    this.#keys = constraints.listType === 'map' ? (constraints.mapKeys ?? []) : [];
    if (this.#keys.length === 0 || !Array.isArray(items)) return;
    for (const item of items) {
      const key = itemKey(item, this.#keys);
      if (key !== undefined && !this.#byKey.has(key)) this.#byKey.set(key, item);
    }
  }

  get(item: unknown): unknown {
    if (this.#byKey.size === 0) return undefined;
    const key = itemKey(item, this.#keys);
    return key === undefined ? undefined : this.#byKey.get(key);
  }
}

/** A value after an update beside the one before it. */
export class Correlated {
  readonly #value: unknown;
  readonly #old: unknown;
  readonly #constraints: Constraints;
  #equal: boolean | undefined;
  #oldItems: MapList | undefined;

  constructor(value: unknown, old: unknown, constraints: Constraints) {
    this.#value = value;
    this.#old = old;
    this.#constraints = constraints;
  }

  /** Nothing below changed. */
  get unchanged(): boolean {
    this.#equal ??= this.#compare();
    return this.#equal;
  }

  #compare(): boolean {
    const [value, old] = [this.#value, this.#old];
    if (value === old) return true;
    if (Array.isArray(value) && Array.isArray(old) && this.#constraints.listType === 'map') {
      return value.length === old.length && value.every((_, i) => this.index(i)?.unchanged === true);
    }
    if (isMembers(value) && isMembers(old)) {
      const keys = Object.keys(value);
      if (keys.length !== Object.keys(old).length) return false;
      return keys.every((k) => {
        const child = this.key(k);
        return child === undefined ? Object.hasOwn(old, k) && deepEqual(value[k], old[k]) : child.unchanged;
      });
    }
    return deepEqual(value, old);
  }

  key(name: string): Correlated | undefined {
    const [value, old] = [this.#value, this.#old];
    if (!isMembers(value) || !isMembers(old) || !Object.hasOwn(old, name) || !Object.hasOwn(value, name)) {
      return undefined;
    }
    const { properties, additionalProperties } = this.#constraints;
    const inner =
      properties?.get(name) ?? (typeof additionalProperties === 'object' ? additionalProperties : undefined);
    return inner === undefined ? undefined : new Correlated(value[name], old[name], inner);
  }

  index(i: number): Correlated | undefined {
    const { items } = this.#constraints;
    if (items === undefined || !Array.isArray(this.#value)) return undefined;
    this.#oldItems ??= new MapList(this.#constraints, this.#old);
    const old = this.#oldItems.get(this.#value[i]);
    return old === undefined ? undefined : new Correlated(this.#value[i], old, items);
  }
}
