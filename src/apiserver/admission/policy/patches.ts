/** What the mutations of a policy do to an object: apply configurations are merged into it, JSON patches applied to it. */
import { mergeValues } from '../../../api/apply/typed-merge.ts';
import { associative, deduced, shapeOf, TypedError } from '../../../api/apply/typed.ts';
import { validateTyped } from '../../../api/apply/typed-validate.ts';
import { Failure } from '../../../api/cel/errors.ts';
import { typeNameMismatches } from '../../../api/cel/mutation.ts';
import { toJSON } from '../../../api/cel/to-json.ts';
import { StructValue } from '../../../api/cel/values.ts';
import { applyJsonPatch } from '../../../api/patch/json-patch.ts';
import { isObject } from '../../../api/patch/values.ts';
import { DecodeError } from '../../../api/schema/decode.ts';
import type { ObjectSchema, Schema } from '../../../api/schema/schema.ts';
import { internalError, StatusError } from '../../../api/status.ts';
import type { MatchedResource } from '../matching.ts';
import type { ObjectVersions } from '../object-versions.ts';

type Json = Record<string, unknown>;

/** Where a patch goes. */
export interface Patched {
  readonly object: Json;
  readonly matched: MatchedResource;
  readonly versions: ObjectVersions;
}

/** The paths of all lists, maps and structs in a value that can only be set as a whole. */
function atomicPaths(schema: Schema, value: unknown, path: string): string[] {
  if (value === null || value === undefined) return [];
  const shape = shapeOf(schema, value);
  if (shape === 'map' && isObject(value)) {
    const atomic = schema.kind === 'any' ? schema.raw === 'rawExtension' : 'atomic' in schema && schema.atomic;
    const found = atomic ? [path] : [];
    if (schema.kind !== 'object') return found;
    for (const [name, member] of Object.entries(value)) {
      const field = schema.fields.get(name);
      if (field !== undefined) found.push(...atomicPaths(field.schema, member, `${path}.${name}`));
    }
    return found;
  }
  if (shape === 'list' && Array.isArray(value)) {
    const found = associative(schema) === undefined ? [path] : [];
    const items = schema.kind === 'list' ? schema.items : deduced;
    value.forEach((item, i) => found.push(...atomicPaths(items, item, `${path}[${i}]`)));
    return found;
  }
  return [];
}

function within<T>(context: string, run: () => T): T {
  try {
    return run();
  } catch (error) {
    if (error instanceof TypedError) throw new TypedError([`${context}: ${error.message}`]);
    throw error;
  }
}

function checkTypeNames(value: StructValue): void {
  const wrong = typeNameMismatches(value);
  if (wrong.length > 0) throw new Error(`type mismatch: ${wrong.join('\n')}`);
}

function jsonOf(value: unknown, what: string): unknown {
  try {
    return toJSON(value);
  } catch (error) {
    if (error instanceof Failure) throw new Error(`${what}: ${error.message}`, { cause: error });
    throw error;
  }
}

/** The object with everything that the configuration says. @throws {Error} */
export function applyConfiguration(value: unknown, schema: ObjectSchema, { object, matched, versions }: Patched): Json {
  if (!(value instanceof StructValue)) throw new Error('unsupported return type from ApplyConfiguration expression');
  checkTypeNames(value);
  const configuration: Json = {
    ...(jsonOf(value, 'invalid return type') as Json),
    apiVersion: object['apiVersion'],
    kind: object['kind'],
  };
  const merged = within('error applying patch', () => {
    within('failed to convert patch object to typed object', () => validateTyped(schema, configuration));
    const atomic = atomicPaths(schema, configuration, '');
    if (atomic.length > 0)
      throw new TypedError([
        `invalid ApplyConfiguration: may not mutate atomic arrays, maps or structs: ${atomic.join(', ')}`,
      ]);
    return within('failed to merge patch', () => mergeValues(schema, object, configuration)) as Json;
  });
  return merged === object ? object : versions.complete(merged, matched.resource, matched.kind);
}

/** One `JSONPatch{}` as an operation. */
function operationOf(value: unknown): Json {
  if (!(value instanceof StructValue))
    throw new Error('type mismatch: JSONPatchType.expression should evaluate to array of JSONPatch');
  const { fields } = value;
  const text = (name: string): string => (fields.get(name) as string | undefined) ?? '';
  const operation: Json = { op: text('op'), path: text('path') };
  if (text('from') !== '') operation['from'] = text('from');
  if (fields.has('value')) {
    const given = fields.get('value');
    if (given instanceof StructValue) checkTypeNames(given);
    operation['value'] = jsonOf(given, 'JSONPath valueExpression evaluated to a type that could not marshal to JSON');
  }
  return operation;
}

const testFailed = /: test failed$/;

/** The object after the operations; the same one where a test among them failed. @throws {Error} */
export function applyPatch(value: unknown, { object, matched, versions }: Patched): Json {
  if (!Array.isArray(value)) throw new Error('type mismatch: JSONPatchType.expression should evaluate to array');
  const operations = value.map(operationOf);
  let next: unknown;
  try {
    next = applyJsonPatch(object, operations);
  } catch (error) {
    const why = error instanceof StatusError && error.cause instanceof Error ? error.cause : (error as Error);
    if (testFailed.test(why.message)) return object;
    throw new Error(`JSON Patch: ${why.message}`, { cause: error });
  }
  if (!isObject(next)) throw internalError(new Error("Object 'Kind' is missing"));
  try {
    return versions.completeStrictly(next, matched.resource, matched.kind);
  } catch (error) {
    if (error instanceof DecodeError) throw internalError(error);
    throw error;
  }
}
