/**
 * JSON merge patch (RFC 7386) as upstream's library does it. The document is not mutated, and every part that comes out equal
 * keeps its identity, down to the whole document.
 */
import { badRequest } from '../status.ts';
import type { JsonObject } from './values.ts';
import { isObject, jsonEqual, memberOf, setMember } from './values.ts';

/**
 * Applies a parsed merge patch.
 * @throws {StatusError} 400 for a patch that is no object
 */
export function applyMergePatch<T extends JsonObject>(document: T, patch: unknown): T {
  if (patch === null || patch === undefined) throw badRequest('Invalid JSON Patch');
  if (!isObject(patch)) {
    const kind = Array.isArray(patch) ? 'array' : typeof patch === 'boolean' ? 'bool' : typeof patch;
    throw badRequest(
      `error decoding patch: json: cannot unmarshal ${kind} into Go value of type map[string]interface {}`,
    );
  }
  return mergeObjects(document, patch) as T;
}

function mergeObjects(document: JsonObject, patch: JsonObject): JsonObject {
  let out = document;
  for (const key of Object.keys(patch)) {
    const change = patch[key];
    if (change === null || change === undefined) {
      if (Object.hasOwn(out, key)) {
        if (out === document) out = { ...document };
        delete out[key];
      }
      continue;
    }
    const current = memberOf(out, key);
    let next: unknown;
    if (current === undefined || current === null) next = pruneNulls(change);
    else if (isObject(current)) next = isObject(change) ? mergeObjects(current, change) : change;
    else next = pruneNulls(change);
    if (next === current) continue;
    if (typeof next === 'object' && jsonEqual(next, current)) continue;
    if (out === document) out = { ...document };
    setMember(out, key, next);
  }
  return out;
}

/** A value without the null members of its objects; null items of lists stay. */
function pruneNulls(value: unknown): unknown {
  if (Array.isArray(value)) {
    let out: unknown[] | undefined;
    value.forEach((item: unknown, i) => {
      const pruned = pruneNulls(item);
      if (pruned !== item) (out ??= [...(value as unknown[])])[i] = pruned;
    });
    return out ?? value;
  }
  if (!isObject(value)) return value;
  let out = value;
  for (const key of Object.keys(value)) {
    const member = value[key];
    const pruned = pruneNulls(member);
    if (member !== null && pruned === member) continue;
    if (out === value) out = { ...value };
    if (member === null) delete out[key];
    else setMember(out, key, pruned);
  }
  return out;
}
