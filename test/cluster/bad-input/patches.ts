/** Patches of all four types. */
import {
  apps,
  badRequest,
  configMap,
  conflict,
  core,
  deployment,
  notFound,
  options,
  patch,
  post,
  required,
} from './case.ts';
import type { Case, Expected } from './case.ts';

const configMaps = `${core}/configmaps`;
const target = `${configMaps}/patched`;
const given = [post(configMaps, configMap('patched', { data: { a: '1' } }))] as const;
let count = 0;
/** A patch of a config map of its own. */
const one = (
  name: string,
  kind: 'json' | 'merge' | 'strategic' | 'apply',
  body: unknown,
  expect: Expected,
  query = '',
): Case => {
  const own = `patched-${++count}`;
  return {
    name: `${kind}: ${name}`,
    given: [post(configMaps, configMap(own, { data: { a: '1' } }))],
    send: patch(kind, `${configMaps}/${own}${query}`, body),
    expect,
  };
};
/** Upstream keeps to itself what is wrong with a JSON patch. */
const unprocessable: Expected = {
  code: 422,
  reason: 'Invalid',
  message: 'the server rejected our request due to an error in our request',
  details: {},
};

const applied = (name: string, data: Record<string, string>): Record<string, unknown> => ({
  apiVersion: 'v1',
  kind: 'ConfigMap',
  metadata: { name },
  data,
});

export const patches: readonly Case[] = [
  {
    name: 'a patch that takes the version away',
    given: [post(configMaps, configMap('versionless'))],
    send: patch('merge', `${configMaps}/versionless`, { apiVersion: null }),
    expect: {
      ...badRequest('the name of the object (versionless based on URL) was undeterminable: name must be provided'),
      warnings: ['unknown field "metadata"'],
    },
  },
  {
    name: 'a patch of a type that there is not',
    given,
    send: { method: 'PATCH', path: target, body: {}, type: 'application/json' },
    expect: {
      code: 415,
      reason: 'UnsupportedMediaType',
      message: '415: Unsupported Media Type',
    },
  },
  {
    name: 'a patch of what is not there',
    send: patch('merge', `${configMaps}/absent`, {}),
    expect: notFound('configmaps', 'absent'),
  },
  one('no JSON', 'merge', '{', badRequest('error decoding patch: unexpected end of JSON input')),
  one(
    'an array',
    'merge',
    '[]',
    badRequest('error decoding patch: json: cannot unmarshal array into Go value of type map[string]interface {}'),
  ),
  one('no JSON', 'strategic', '{', badRequest('unexpected end of JSON input')),
  one(
    'an array',
    'strategic',
    '[]',
    badRequest('json: cannot unmarshal array into Go value of type map[string]interface {}'),
  ),
  one('no JSON', 'json', '[', badRequest('error decoding patch: unexpected end of JSON input')),
  one(
    'an object',
    'json',
    '{}',
    badRequest('error decoding patch: json: cannot unmarshal object into Go value of type []handlers.jsonPatchOp'),
  ),
  one('an operation that there is not', 'json', [{ op: 'increase', path: '/data/a' }], unprocessable),
  one('a removal of what is not there', 'json', [{ op: 'remove', path: '/data/b' }], unprocessable),
  one(
    'a replacement of what is not there',
    'json',
    [{ op: 'replace', path: '/data/b', value: '2' }],
    // A member that is not there can be replaced all the same.
    { code: 200, object: { 'data.b': '2' } },
  ),
  one('a path of what is not there', 'json', [{ op: 'add', path: '/binaryData/b', value: '2' }], unprocessable),
  one('a test that fails', 'json', [{ op: 'test', path: '/data/a', value: '2' }], unprocessable),
  one(
    'too many operations',
    'json',
    Array.from({ length: 10_001 }, () => ({ op: 'test', path: '/data/a', value: '1' })),
    {
      code: 413,
      reason: 'RequestEntityTooLarge',
      message: 'Request entity too large: The allowed maximum operations in a JSON patch is 10000, got 10001',
    },
  ),
  one(
    'an unknown field of an operation, Strict',
    'json',
    [{ op: 'test', path: '/data/a', value: '1', why: 'because' }],
    {
      code: 422,
      reason: 'Invalid',
      message: ' "" is invalid: patch: Invalid value: …',
    },
    '?fieldValidation=Strict',
  ),
  one(
    'a field of another type',
    'merge',
    { data: { a: 1 } },
    { code: 422, reason: 'Invalid', message: ' "" is invalid: patch: Invalid value: …' },
  ),
  one(
    'an unknown field, Strict',
    'merge',
    { datum: 1 },
    { code: 422, reason: 'Invalid', message: ' "" is invalid: patch: Invalid value: …' },
    '?fieldValidation=Strict',
  ),
  one('an unknown field, Warn', 'merge', { datum: 1 }, { code: 200, warnings: ['unknown field "datum"'] }),
  one(
    'the name of another',
    'merge',
    { metadata: { name: 'other' } },
    badRequest(`the name of the object (other) does not match the name on the URL (patched-${count + 1})`),
  ),
  one(
    'the namespace of another',
    'merge',
    { metadata: { namespace: 'other' } },
    badRequest('the namespace of the provided object does not match the namespace sent on the request'),
  ),
  one(
    'another kind',
    'merge',
    { kind: 'Secret' },
    { code: 422, reason: 'Invalid', message: ' "" is invalid: patch: Invalid value: …' },
  ),
  {
    name: 'strategic: a list item without its merge key',
    given: [post(`${apps}/deployments`, deployment('keyed'))],
    send: patch('strategic', `${apps}/deployments/keyed`, {
      spec: { template: { spec: { containers: [{ image: 'x' }] } } },
    }),
    expect: {
      code: 500,
      message: 'map: map[image:x] does not contain declared merge key: name',
    },
  },
  {
    name: 'strategic: a directive that there is not',
    given: [post(`${apps}/deployments`, deployment('directed'))],
    send: patch('strategic', `${apps}/deployments/directed`, { spec: { $patch: 'explode' } }),
    expect: {
      code: 500,
      message: 'unknown patch type: explode in map: map[$patch:explode]',
    },
  },
  one(
    'no manager',
    'apply',
    applied('x', {}),
    options('PatchOptions', required('fieldManager', 'is required for apply patch')),
  ),
  one(
    'broken YAML',
    'apply',
    'a: [',
    badRequest('error decoding YAML: error converting YAML to JSON: yaml: line 1: did not find expected node content'),
    '?fieldManager=m',
  ),
  {
    name: 'apply: no apiVersion',
    send: patch('apply', `${configMaps}/x?fieldManager=m`, { kind: 'ConfigMap', metadata: { name: 'x' } }),
    expect: badRequest('invalid object type: /, Kind=ConfigMap'),
  },
  {
    name: 'apply: the name of another',
    send: patch('apply', `${configMaps}/x?fieldManager=m`, applied('y', {})),
    expect: badRequest('the name of the object (y) does not match the name on the URL (x)'),
  },
  {
    name: 'apply: managed fields of its own',
    send: patch('apply', `${configMaps}/x?fieldManager=m`, {
      apiVersion: 'v1',
      kind: 'ConfigMap',
      metadata: { name: 'x', managedFields: [{ manager: 'm' }] },
    }),
    expect: badRequest('metadata.managedFields must be nil'),
  },
  {
    name: 'apply: a conflict',
    given: [patch('apply', `${configMaps}/fought?fieldManager=first`, applied('fought', { a: '1' }))],
    send: patch('apply', `${configMaps}/fought?fieldManager=second`, applied('fought', { a: '2' })),
    expect: {
      code: 409,
      reason: 'Conflict',
      message: 'Apply failed with 1 conflict: conflict with "first": .data.a',
      details: { causes: [{ reason: 'FieldManagerConflict', message: 'conflict with "first"', field: '.data.a' }] },
    },
  },
  {
    name: 'apply: two conflicts',
    given: [
      patch('apply', `${configMaps}/fought-twice?fieldManager=first`, applied('fought-twice', { a: '1', b: '1' })),
    ],
    send: patch('apply', `${configMaps}/fought-twice?fieldManager=second`, applied('fought-twice', { a: '2', b: '2' })),
    expect: {
      code: 409,
      reason: 'Conflict',
      message: 'Apply failed with 2 conflicts: conflicts with "first":\n- .data.a\n- .data.b',
      details: {
        causes: [
          { reason: 'FieldManagerConflict', message: 'conflict with "first"', field: '.data.a' },
          { reason: 'FieldManagerConflict', message: 'conflict with "first"', field: '.data.b' },
        ],
      },
    },
  },
  {
    name: 'apply: a UID of what is not there',
    send: patch('apply', `${configMaps}/unborn?fieldManager=m`, {
      apiVersion: 'v1',
      kind: 'ConfigMap',
      metadata: { name: 'unborn', uid: 'u-1' },
    }),
    expect: conflict(
      'configmaps',
      'unborn',
      'uid mismatch: the provided object specified uid u-1, and no existing object was found',
    ),
  },
  {
    name: 'apply: a stale resource version',
    given: [
      post(configMaps, configMap('applied-stale'), { keep: 'it' }),
      patch('merge', `${configMaps}/applied-stale`, { data: { a: '1' } }),
    ],
    send: patch(
      'apply',
      `${configMaps}/applied-stale?fieldManager=m`,
      '{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"applied-stale","resourceVersion":"{{it.metadata.resourceVersion}}"},"data":{"b":"1"}}',
    ),
    expect: conflict(
      'configmaps',
      'applied-stale',
      'the object has been modified; please apply your changes to the latest version and try again',
    ),
  },
  {
    name: 'apply: a YAML key twice, Strict',
    send: patch(
      'apply',
      `${configMaps}/twice?fieldManager=m&fieldValidation=Strict`,
      'apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: twice\ndata:\n  a: "1"\n  a: "2"\n',
    ),
    expect: badRequest(
      'error strict decoding YAML: error converting YAML to JSON: yaml: unmarshal errors:\n  line 7: key "a" already set in map',
    ),
  },
  {
    name: 'apply: a list item twice',
    send: patch('apply', `${apps}/deployments/doubled?fieldManager=m`, {
      ...deployment('doubled'),
      spec: {
        ...(deployment('doubled')['spec'] as object),
        template: {
          metadata: { labels: { app: 'doubled' } },
          spec: {
            containers: [
              { name: 'c', image: 'a' },
              { name: 'c', image: 'b' },
            ],
          },
        },
      },
    }),
    // Upstream lets the error through as it is, which makes a 500 of it.
    expect: {
      code: 500,
      message:
        'failed to create typed patch object (/doubled; apps/v1, Kind=Deployment): .spec.template.spec.containers: duplicate entries for key [name="c"]',
    },
  },
  {
    name: 'apply: an unknown field',
    send: patch('apply', `${configMaps}/unknown?fieldManager=m`, { ...applied('unknown', {}), datum: 1 }),
    // Upstream lets the error through as it is, which makes a 500 of it.
    expect: {
      code: 500,
      message:
        'failed to create typed patch object (/unknown; /v1, Kind=ConfigMap): .datum: field not declared in schema',
    },
  },
];
