/**
 * JSON patch (RFC 6902) with the habits of upstream's library (evanphx/json-patch v4): negative indices, `replace` of a member
 * that is not there yet, null as absence in a path, its texts and its limits. Nothing that was given is mutated; what the patch
 * does not touch keeps its identity.
 */
import { goQuote } from '../codec/json.ts';
import { badRequest, StatusError } from '../status.ts';
import type { JsonObject } from './values.ts';
import { isObject, jsonEqual, memberOf, setMember, unprocessablePatch } from './values.ts';

/** More operations than this are answered with 413. */
const maxJsonPatchOperations = 10000;
/** Bytes that `copy` operations may add in sum. */
const maxJsonPatchCopyBytes = 3 * 1024 * 1024;

/** Why an operation does not apply; the text is upstream's. */
class PatchError extends Error {
  constructor(message: string) {
    super(message);
    this.name = 'PatchError';
  }
}

const missing = 'missing value';
const knownMembers: ReadonlySet<string> = new Set(['op', 'path', 'from', 'value']);

/** Members of a JSON patch that no operation has: `unknown field "[0].foo"`. */
export function jsonPatchStrictErrors(patch: unknown): string[] {
  if (!Array.isArray(patch)) return [];
  const errors: string[] = [];
  patch.forEach((operation: unknown, i) => {
    if (!isObject(operation)) return;
    for (const key of Object.keys(operation)) {
      if (!knownMembers.has(key)) errors.push(`unknown field ${goQuote(`[${i}].${key}`)}`);
    }
  });
  return errors;
}

/**
 * Applies a parsed JSON patch to a document.
 * @throws {StatusError} 400 for what is no JSON patch, 413 for too many operations, 422 for one that does not apply
 */
export function applyJsonPatch(document: unknown, patch: unknown): unknown {
  if (patch !== null && !Array.isArray(patch)) {
    throw badRequest(
      `error decoding patch: json: cannot unmarshal ${isObject(patch) ? 'object' : typeof patch} into Go value of type []handlers.jsonPatchOp`,
    );
  }
  const operations = (patch ?? []) as unknown[];
  for (const operation of operations) {
    if (operation !== null && !isObject(operation)) {
      const kind = Array.isArray(operation) ? 'array' : typeof operation === 'boolean' ? 'bool' : typeof operation;
      throw badRequest(
        `error decoding patch: json: cannot unmarshal ${kind} into Go value of type handlers.jsonPatchOp`,
      );
    }
  }
  if (operations.length > maxJsonPatchOperations) {
    throw new StatusError(
      413,
      'RequestEntityTooLarge',
      `Request entity too large: The allowed maximum operations in a JSON patch is ${maxJsonPatchOperations}, got ${operations.length}`,
    );
  }
  const patcher = new Patcher(document);
  try {
    for (const operation of operations) patcher.apply((operation ?? {}) as JsonObject);
  } catch (e) {
    if (e instanceof PatchError) throw unprocessablePatch(e.message);
    throw e;
  }
  return patcher.root;
}

type Container = JsonObject | unknown[];

class Patcher {
  root: unknown;
  /** Containers made by this patch, which may be changed in place. */
  owned = new Set<Container>();
  copied = 0;

  constructor(document: unknown) {
    this.root = document;
  }

  apply(operation: JsonObject): void {
    const op = memberOf(operation, 'op');
    switch (op) {
      case 'add':
        return this.add(operation);
      case 'remove':
        return this.remove(operation);
      case 'replace':
        return this.replace(operation);
      case 'move':
        return this.move(operation);
      case 'test':
        return this.test(operation);
      case 'copy':
        return this.copy(operation);
      default:
        throw new PatchError(`Unexpected kind: ${typeof op === 'string' ? op : 'unknown'}`);
    }
  }

  /** A container that may be written, at the same place. */
  own(container: Container): Container {
    if (this.owned.has(container)) return container;
    const copy: Container = Array.isArray(container) ? [...(container as unknown[])] : { ...container };
    this.owned.add(copy);
    return copy;
  }

  /** The container that a pointer's last token is in; writable when asked for. Undefined where the path breaks off. */
  find(path: string, writable: boolean): { container: Container; key: string } | undefined {
    const tokens = path.split('/');
    if (tokens.length < 2) return undefined;
    const steps = tokens.slice(1, -1).map(decodeToken);
    const key = decodeToken(tokens[tokens.length - 1]!);
    // Look before writing: a path that breaks off changes nothing.
    let current: unknown = this.root;
    for (const step of steps) {
      current = childOf(current, step);
      if (typeof current !== 'object' || current === null) return undefined;
    }
    if (typeof current !== 'object' || current === null) return undefined;
    if (!writable) return { container: current as Container, key };
    let container = this.own(this.root as Container);
    this.root = container;
    for (const step of steps) {
      const child = this.own(childOf(container, step) as Container);
      if (Array.isArray(container)) container[arrayIndex(container, step)] = child;
      else setMember(container, step, child);
      container = child;
    }
    return { container, key };
  }

  pathOf(operation: JsonObject, verb: string, wrapped: boolean): string {
    const path = memberOf(operation, 'path');
    if (typeof path === 'string') return path;
    // `add`, `remove` and `copy` report the missing member only.
    throw new PatchError(
      `${verb} operation failed to decode path: ${wrapped ? missing : `operation missing path field: ${missing}`}`,
    );
  }

  fromOf(operation: JsonObject, verb: string): string {
    const from = memberOf(operation, 'from');
    if (typeof from === 'string') return from;
    throw new PatchError(`${verb} operation failed to decode from: operation, missing from field: ${missing}`);
  }

  add(operation: JsonObject): void {
    const path = this.pathOf(operation, 'add', true);
    const found = this.find(path, true);
    if (found === undefined) {
      throw new PatchError(`add operation does not apply: doc is missing path: "${path}": ${missing}`);
    }
    within(`error in add for path: '${path}'`, () => insert(found.container, found.key, valueOf(operation)));
  }

  remove(operation: JsonObject): void {
    const path = this.pathOf(operation, 'remove', true);
    const found = this.find(path, true);
    if (found === undefined) {
      throw new PatchError(`remove operation does not apply: doc is missing path: "${path}": ${missing}`);
    }
    within(`error in remove for path: '${path}'`, () => removeFrom(found.container, found.key));
  }

  replace(operation: JsonObject): void {
    const path = this.pathOf(operation, 'replace', false);
    const value = valueOf(operation);
    if (path === '') {
      if (typeof value !== 'object' || value === null) {
        throw new PatchError('replace operation value must be object or array: %!w(<nil>)');
      }
      this.root = value;
      return;
    }
    const found = this.find(path, true);
    if (found === undefined) {
      throw new PatchError(`replace operation does not apply: doc is missing path: ${path}: ${missing}`);
    }
    const { container, key } = found;
    if (Array.isArray(container)) {
      let index: number;
      try {
        index = arrayIndex(container, key);
      } catch (e) {
        if (!(e instanceof PatchError)) throw e;
        throw new PatchError(`replace operation does not apply: doc is missing key: ${path}: ${missing}`);
      }
      container[index] = value;
    } else setMember(container, key, value);
  }

  move(operation: JsonObject): void {
    const from = this.fromOf(operation, 'move');
    const source = this.find(from, true);
    if (source === undefined) {
      throw new PatchError(`move operation does not apply: doc is missing from path: ${from}: ${missing}`);
    }
    const value = within(`error in move for path: '${source.key}'`, () => {
      const v = read(source.container, source.key);
      removeFrom(source.container, source.key);
      return v;
    });
    const path = this.pathOf(operation, 'move', false);
    const target = this.find(path, true);
    if (target === undefined) {
      throw new PatchError(`move operation does not apply: doc is missing destination path: ${path}: ${missing}`);
    }
    within(`error in move for path: '${path}'`, () => insert(target.container, target.key, value ?? null));
  }

  test(operation: JsonObject): void {
    const path = this.pathOf(operation, 'test', false);
    const expected = valueOf(operation);
    if (path === '') {
      if (!jsonEqual(this.root, expected)) throw new PatchError(`testing value ${path} failed: test failed`);
      return;
    }
    const found = this.find(path, false);
    if (found === undefined) {
      throw new PatchError(`test operation does not apply: is missing path: ${path}: ${missing}`);
    }
    const value = within(`error in test for path: '${path}'`, () => read(found.container, found.key));
    if (!jsonEqual(value ?? null, expected)) throw new PatchError(`testing value ${path} failed: test failed`);
  }

  copy(operation: JsonObject): void {
    const from = this.fromOf(operation, 'copy');
    const source = this.find(from, false);
    if (source === undefined) {
      throw new PatchError(`copy operation does not apply: doc is missing from path: ${from}: ${missing}`);
    }
    const value = within(`error in copy for from: '${from}'`, () => read(source.container, source.key)) ?? null;
    const path = this.pathOf(operation, 'copy', true);
    const target = this.find(path, true);
    if (target === undefined) {
      throw new PatchError(`copy operation does not apply: doc is missing destination path: ${path}: ${missing}`);
    }
    this.copied += Buffer.byteLength(JSON.stringify(value));
    if (this.copied > maxJsonPatchCopyBytes) {
      throw new PatchError(
        `Unable to complete the copy, the accumulated size increase of copy is ${this.copied}, exceeding the limit ${maxJsonPatchCopyBytes}`,
      );
    }
    within('error while adding value during copy', () => insert(target.container, target.key, value));
    // The copied value now stands in two places, so nothing below may be written in place any more.
    this.owned = new Set();
  }
}

function within<T>(context: string, run: () => T): T {
  try {
    return run();
  } catch (e) {
    if (e instanceof PatchError) throw new PatchError(`${context}: ${e.message}`);
    throw e;
  }
}

function valueOf(operation: JsonObject): unknown {
  return memberOf(operation, 'value') ?? null;
}

/** RFC 6901: `~1` first, then `~0`, in one pass. */
function decodeToken(token: string): string {
  return token.includes('~') ? token.replace(/~[01]/g, (m) => (m === '~1' ? '/' : '~')) : token;
}

function atoi(text: string): number {
  if (!/^[+-]?[0-9]+$/.test(text)) throw new PatchError(`strconv.Atoi: parsing ${goQuote(text)}: invalid syntax`);
  const n = Number(text);
  if (!Number.isSafeInteger(n)) throw new PatchError(`strconv.Atoi: parsing ${goQuote(text)}: value out of range`);
  return n;
}

/** The position of an existing element; negative ones count from the end. */
function arrayIndex(array: readonly unknown[], key: string): number {
  const index = atoi(key);
  const at = index < 0 ? index + array.length : index;
  if (at < 0 || at >= array.length) {
    throw new PatchError(`Unable to access invalid index: ${index}: invalid index referenced`);
  }
  return at;
}

function childOf(container: unknown, key: string): unknown {
  if (Array.isArray(container)) {
    try {
      return container[arrayIndex(container, key)];
    } catch (e) {
      if (e instanceof PatchError) return undefined;
      throw e;
    }
  }
  return isObject(container) ? memberOf(container, key) : undefined;
}

/** Null and absent are the same to upstream here. */
function read(container: Container, key: string): unknown {
  return Array.isArray(container) ? container[arrayIndex(container, key)] : memberOf(container, key);
}

function insert(container: Container, key: string, value: unknown): void {
  if (!Array.isArray(container)) {
    setMember(container, key, value);
    return;
  }
  if (key === '-') {
    container.push(value);
    return;
  }
  let index: number;
  try {
    index = atoi(key);
  } catch (e) {
    if (!(e instanceof PatchError)) throw e;
    throw new PatchError(`value was not a proper array index: '${key}': ${e.message}`);
  }
  const at = index < 0 ? index + container.length + 1 : index;
  if (at < 0 || at > container.length) {
    throw new PatchError(`Unable to access invalid index: ${index}: invalid index referenced`);
  }
  container.splice(at, 0, value);
}

function removeFrom(container: Container, key: string): void {
  if (Array.isArray(container)) {
    container.splice(arrayIndex(container, key), 1);
    return;
  }
  if (!Object.hasOwn(container, key)) throw new PatchError(`Unable to remove nonexistent key: ${key}: ${missing}`);
  delete container[key];
}
