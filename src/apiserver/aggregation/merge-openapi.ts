/** Swagger documents of aggregated servers put into ours, and turned into OpenAPI v3 for those that have no such thing. */
import { isObject, jsonEqual } from '../../api/patch/values.ts';

type Json = Record<string, unknown>;

const definitionPrefix = '#/definitions/';

/** Every definition that `value` leads to, by name. */
function reachable(value: unknown, definitions: Json, found: Map<string, unknown>): void {
  if (Array.isArray(value)) {
    for (const v of value) reachable(v, definitions, found);
    return;
  }
  if (!isObject(value)) return;
  const ref = value['$ref'];
  if (typeof ref === 'string' && ref.startsWith(definitionPrefix)) {
    const name = ref.slice(definitionPrefix.length);
    if (found.has(name) || definitions[name] === undefined) return;
    found.set(name, definitions[name]);
    reachable(definitions[name], definitions, found);
    return;
  }
  for (const v of Object.values(value)) reachable(v, definitions, found);
}

/** The value with its references named anew. */
function renamed(value: unknown, names: ReadonlyMap<string, string>, from: string, to: string): unknown {
  if (Array.isArray(value)) return value.map((v) => renamed(v, names, from, to));
  if (!isObject(value)) return value;
  const out: Json = {};
  for (const [key, v] of Object.entries(value)) {
    if (key === '$ref' && typeof v === 'string' && v.startsWith(from)) {
      const name = v.slice(from.length);
      out[key] = `${to}${names.get(name) ?? name}`;
    } else out[key] = renamed(v, names, from, to);
  }
  return out;
}

/** The paths below `prefix` with what they lead to. */
function part(document: Json, prefix: string): { paths: Json; definitions: Map<string, unknown> } {
  const paths: Json = {};
  for (const [path, item] of Object.entries((document['paths'] ?? {}) as Json))
    if (path.startsWith(prefix)) paths[path] = item;
  const definitions = new Map<string, unknown>();
  reachable(paths, (document['definitions'] ?? {}) as Json, definitions);
  return { paths, definitions };
}

/** Our document with the paths of a group version of another server; definitions of the same name that differ get a suffix. */
export function mergeV2(document: Json, other: Json, prefix: string): Json {
  const { paths, definitions } = part(other, prefix);
  const ours = (document['definitions'] ?? {}) as Json;
  const names = new Map<string, string>();
  for (const [name, definition] of definitions) {
    if (ours[name] === undefined || jsonEqual(ours[name], definition)) continue;
    let n = 2;
    while (ours[`${name}_v${n}`] !== undefined || definitions.has(`${name}_v${n}`)) n++;
    names.set(name, `${name}_v${n}`);
  }
  const merged: Json = { ...ours };
  for (const [name, definition] of definitions)
    merged[names.get(name) ?? name] = renamed(definition, names, definitionPrefix, definitionPrefix);
  const own = (document['paths'] ?? {}) as Json;
  const added = Object.entries(paths).filter(([path]) => own[path] === undefined);
  return {
    ...document,
    paths: {
      ...own,
      ...Object.fromEntries(
        added.map(([path, item]) => [path, renamed(item, names, definitionPrefix, definitionPrefix)]),
      ),
    },
    definitions: merged,
  };
}

const schemaPrefix = '#/components/schemas/';
const noNames: ReadonlyMap<string, string> = new Map();
const toV3 = (value: unknown): unknown => renamed(value, noNames, definitionPrefix, schemaPrefix);

const schemaMembers = ['type', 'format', 'items', 'enum', 'default', 'uniqueItems', 'maximum', 'minimum', 'pattern'];

function parameterV3(parameter: Json): Json {
  const schema: Json = {};
  const rest: Json = {};
  for (const [key, v] of Object.entries(parameter))
    if (schemaMembers.includes(key)) schema[key] = v;
    else if (key !== 'collectionFormat') rest[key] = v;
  return { ...rest, schema: toV3(schema) };
}

function contentOf(schema: unknown, types: readonly string[]): Json {
  return Object.fromEntries(types.map((type) => [type, { schema: toV3(schema) }]));
}

function operationV3(operation: Json): Json {
  const { parameters, consumes, produces, responses, schemes: _schemes, ...rest } = operation;
  const given = (parameters ?? []) as readonly Json[];
  const body = given.find((p) => p['in'] === 'body');
  const others = given.filter((p) => p['in'] !== 'body').map(parameterV3);
  const inTypes = (consumes ?? ['*/*']) as readonly string[];
  const outTypes = (produces ?? ['application/json']) as readonly string[];
  return {
    ...rest,
    ...(others.length === 0 ? {} : { parameters: others }),
    ...(body === undefined
      ? {}
      : {
          requestBody: {
            ...(body['required'] === undefined ? {} : { required: body['required'] }),
            content: contentOf(body['schema'], inTypes),
          },
        }),
    responses: Object.fromEntries(
      Object.entries((responses ?? {}) as Json).map(([code, r]) => {
        const { schema, ...answer } = r as Json;
        return [code, schema === undefined ? answer : { ...answer, content: contentOf(schema, outTypes) }];
      }),
    ),
  };
}

/** A group version of a Swagger document as OpenAPI v3 (what v2 cannot say is lost). */
export function convertToV3(document: Json, prefix: string): Json {
  const { paths, definitions } = part(document, prefix);
  return {
    openapi: '3.0.0',
    info: document['info'] ?? {},
    paths: Object.fromEntries(
      Object.entries(paths).map(([path, item]) => [
        path,
        Object.fromEntries(
          Object.entries(item as Json).map(([key, v]) => [
            key,
            key === 'parameters' ? (v as Json[]).map(parameterV3) : isObject(v) ? operationV3(v) : v,
          ]),
        ),
      ]),
    ),
    components: {
      schemas: Object.fromEntries([...definitions].map(([name, d]) => [name, toV3(d)])),
    },
  };
}
