/**
 * Lists that a client sent empty. The canonical form has none of them, as upstream's store has none; but upstream's validation
 * runs before it is stored and still tells an empty list from one that is not there. So decoding notes where they were, and
 * what is to be judged gets them back.
 */

/** Keys and indexes from the root of the object to the list. */
export type ListPath = readonly (string | number)[];

/** No more of them are noted in one object. */
export const maxEmptyLists = 256;

/**
 * The object with an empty list at each path that leads to nothing; the same object where there is none.
 * @param written only where the object says null
 */
export function withEmptyLists<T extends object>(object: T, paths: readonly ListPath[], written = false): T {
  let out: unknown = object;
  for (const path of paths) out = withEmptyList(out, path, 0, written);
  return out as T;
}

function withEmptyList(value: unknown, path: ListPath, at: number, written: boolean): unknown {
  if (at === path.length) return value === null || (value === undefined && !written) ? [] : value;
  if (typeof value !== 'object' || value === null) return value;
  const key = path[at]!;
  if (Array.isArray(value) !== (typeof key === 'number') || key === '__proto__') return value;
  const before = (value as Record<string | number, unknown>)[key];
  const after = withEmptyList(before, path, at + 1, written);
  if (after === before) return value;
  const copy = Array.isArray(value) ? [...(value as unknown[])] : { ...value };
  (copy as Record<string | number, unknown>)[key] = after;
  return copy;
}
