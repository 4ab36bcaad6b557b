/** Operations written as OpenAPI paths, v2 and v3. Parameters that all methods of a path share stand at the path. */
import { objectTypes } from '../produced-types.ts';
import { refPrefix } from '../../api/schema/openapi.ts';
import type { Answer, Operation, Parameter, PathOperations } from './operations.ts';

type Json = Record<string, unknown>;

const streamTypes = [
  ...objectTypes,
  'application/json;stream=watch',
  'application/vnd.kubernetes.protobuf;stream=watch',
];

/** Media types of an answer. Custom resources know no protobuf. */
export function producedTypes(produces: Operation['produces'], custom: boolean): string[] {
  const types =
    produces === 'any'
      ? ['*/*']
      : produces === 'stream'
        ? streamTypes
        : produces === 'log'
          ? ['text/plain', ...objectTypes]
          : objectTypes;
  return custom ? types.filter((t) => !t.includes('protobuf') && !t.includes('stream')) : [...types];
}

export function patchTypes(custom: boolean): string[] {
  return [
    'application/json-patch+json',
    'application/merge-patch+json',
    ...(custom ? [] : ['application/strategic-merge-patch+json']),
    'application/apply-patch+yaml',
  ];
}

const byName = (a: Parameter, b: Parameter): number =>
  a.name < b.name ? -1 : a.name > b.name ? 1 : a.in < b.in ? -1 : 1;

/** Splits the parameters of a path into shared ones and those of each operation. */
function hoist(operations: readonly Operation[]): { shared: Parameter[]; own: Map<Operation, Parameter[]> } {
  const same = (a: Parameter, b: Parameter): boolean => a.name === b.name && a.in === b.in;
  const shared = operations[0]!.parameters.filter((x) => operations.every((o) => o.parameters.some((y) => same(x, y))));
  const own = new Map<Operation, Parameter[]>();
  for (const o of operations) own.set(o, o.parameters.filter((x) => !shared.some((y) => same(x, y))).sort(byName));
  return { shared: shared.sort(byName), own };
}

function schemaOf(answer: Answer, version: 'v2' | 'v3'): Json {
  return answer === 'string' ? { type: 'string' } : { $ref: `${refPrefix[version]}${answer.definition}` };
}

function parameterV3(x: Parameter): Json {
  return {
    description: x.description,
    in: x.in,
    name: x.name,
    ...(x.in === 'path' ? { required: true } : {}),
    schema: { type: x.type, uniqueItems: true },
  };
}

function parameterV2(x: Parameter): Json {
  return {
    description: x.description,
    in: x.in,
    name: x.name,
    ...(x.in === 'path' ? { required: true } : {}),
    type: x.type,
    uniqueItems: true,
  };
}

function operationV3(o: Operation, own: readonly Parameter[], tag: string, custom: boolean): Json {
  const content = (types: readonly string[], schema: Json): Json =>
    Object.fromEntries(types.map((t) => [t, { schema }]));
  const responses: Json = {};
  const words: Readonly<Record<string, string>> = { 200: 'OK', 201: 'Created', 202: 'Accepted' };
  for (const [code, answer] of Object.entries(o.answers))
    responses[code] = {
      content: content(producedTypes(o.produces, custom), schemaOf(answer, 'v3')),
      description: words[code],
    };
  responses['401'] = { description: 'Unauthorized' };
  return {
    description: o.description,
    operationId: o.id,
    ...(own.length === 0 ? {} : { parameters: own.map(parameterV3) }),
    ...(o.body === undefined
      ? {}
      : {
          requestBody: {
            content: content(
              o.method === 'patch'
                ? patchTypes(custom)
                : custom && o.method !== 'delete'
                  ? ['application/json', 'application/yaml']
                  : ['*/*'],
              { $ref: `${refPrefix.v3}${o.body.definition}` },
            ),
            ...(o.body.required ? { required: true } : {}),
          },
        }),
    responses,
    tags: [tag],
    'x-kubernetes-action': o.action,
    'x-kubernetes-group-version-kind': o.gvk,
  };
}

function operationV2(o: Operation, own: readonly Parameter[], tag: string, custom: boolean): Json {
  const responses: Json = {};
  const words: Readonly<Record<string, string>> = { 200: 'OK', 201: 'Created', 202: 'Accepted' };
  for (const [code, answer] of Object.entries(o.answers))
    responses[code] = { description: words[code], schema: schemaOf(answer, 'v2') };
  responses['401'] = { description: 'Unauthorized' };
  const body =
    o.body === undefined
      ? []
      : [
          {
            in: 'body',
            name: 'body',
            ...(o.body.required ? { required: true } : {}),
            schema: { $ref: `${refPrefix.v2}${o.body.definition}` },
          },
        ];
  const parameters = [...body, ...own.map(parameterV2)];
  return {
    consumes: o.method === 'patch' ? patchTypes(custom) : custom ? ['application/json', 'application/yaml'] : ['*/*'],
    description: o.description,
    operationId: o.id,
    ...(parameters.length === 0 ? {} : { parameters }),
    produces: producedTypes(o.produces, custom),
    responses,
    schemes: ['https'],
    tags: [tag],
    'x-kubernetes-action': o.action,
    'x-kubernetes-group-version-kind': o.gvk,
  };
}

/** The path item of these operations. */
export function pathItem(path: PathOperations, version: 'v2' | 'v3', tag: string, custom: boolean): Json {
  const { shared, own } = hoist(path.operations);
  const item: Json = {};
  const write = version === 'v3' ? operationV3 : operationV2;
  for (const o of path.operations) item[o.method] = write(o, own.get(o)!, tag, custom);
  if (shared.length > 0) item['parameters'] = shared.map(version === 'v3' ? parameterV3 : parameterV2);
  return Object.fromEntries(Object.entries(item).sort(([a], [b]) => (a < b ? -1 : 1)));
}

/** A GET of a document that is no resource. */
export function simpleGet(
  version: 'v2' | 'v3',
  get: { id: string; description: string; tag: string; types: readonly string[]; answer: Answer },
): Json {
  const schema = schemaOf(get.answer, version);
  const unauthorized = { description: 'Unauthorized' };
  if (version === 'v3')
    return {
      get: {
        description: get.description,
        operationId: get.id,
        responses: {
          200: { content: Object.fromEntries(get.types.map((t) => [t, { schema }])), description: 'OK' },
          401: unauthorized,
        },
        tags: [get.tag],
      },
    };
  return {
    get: {
      // The issuer's documents say nothing of what they take.
      ...(get.answer === 'string' ? {} : { consumes: get.types }),
      description: get.description,
      operationId: get.id,
      produces: get.types,
      responses: { 200: { description: 'OK', schema }, 401: unauthorized },
      schemes: ['https'],
      tags: [get.tag],
    },
  };
}
