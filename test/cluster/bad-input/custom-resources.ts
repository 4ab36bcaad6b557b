/** Custom resource definitions that are no good, and custom resources that break their schema. */
import { badRequest, get, invalid, patch, post, put, required, unsupported, wrongValue } from './case.ts';
import type { Case, Cause, Expected } from './case.ts';

type Json = Readonly<Record<string, unknown>>;
const definitions = '/apis/apiextensions.k8s.io/v1/customresourcedefinitions';
const widgets = '/apis/example.com/v1/namespaces/bad/widgets';

const definition = (plural: string, spec: Json, schema: Json, names: Json = {}): Json => ({
  apiVersion: 'apiextensions.k8s.io/v1',
  kind: 'CustomResourceDefinition',
  metadata: { name: `${plural}.example.com` },
  spec: {
    group: 'example.com',
    scope: 'Namespaced',
    names: { plural, singular: plural.slice(0, -1), kind: plural[0]!.toUpperCase() + plural.slice(1, -1), ...names },
    versions: [
      { name: 'v1', served: true, storage: true, schema: { openAPIV3Schema: schema }, subresources: { status: {} } },
    ],
    ...spec,
  },
});

/** The definition that the runner installs before this part. */
export const widgetDefinition = definition(
  'widgets',
  {},
  {
    type: 'object',
    required: ['spec'],
    properties: {
      spec: {
        type: 'object',
        required: ['size'],
        properties: {
          size: { type: 'integer', minimum: 1, maximum: 10 },
          color: { type: 'string', enum: ['red', 'green'] },
          code: { type: 'string', pattern: '^[a-z]+$', maxLength: 5, minLength: 2 },
          tags: { type: 'array', items: { type: 'string' }, maxItems: 2 },
          map: { type: 'object', additionalProperties: { type: 'integer' }, maxProperties: 1 },
          when: { type: 'string', format: 'date-time' },
          either: {
            type: 'object',
            oneOf: [{ required: ['a'] }, { required: ['b'] }],
            properties: { a: { type: 'string' }, b: { type: 'string' } },
          },
          ports: {
            type: 'array',
            'x-kubernetes-list-type': 'map',
            'x-kubernetes-list-map-keys': ['port'],
            items: { type: 'object', required: ['port'], properties: { port: { type: 'integer' } } },
          },
          port: { 'x-kubernetes-int-or-string': true },
          host: { type: 'string', format: 'hostname' },
          factor: { type: 'number', multipleOf: 0.5 },
        },
      },
      status: { type: 'object', properties: { ready: { type: 'boolean' } } },
    },
  },
);

const widget = (spec: Json, more: Json = {}): Json => ({
  apiVersion: 'example.com/v1',
  kind: 'Widget',
  metadata: { name: 'w' },
  spec: { size: 3, ...spec },
  ...more,
});
const broken = (name: string, spec: Json, ...causes: readonly Cause[]): Case => ({
  name: `custom: ${name}`,
  send: post(widgets, widget(spec)),
  expect: invalid('Widget.example.com', 'w', ...causes),
});
const typed = (field: string, value: string, wanted: string, got: string): Cause => [
  'FieldValueTypeInvalid',
  `Invalid value: ${value}: ${field} in body must be of type ${wanted}: ${got}`,
  field,
];
const bad = (name: string, body: Json, ...causes: readonly Cause[]): Case => ({
  name: `definition: ${name}`,
  send: post(definitions, body),
  expect: invalid(
    'CustomResourceDefinition.apiextensions.k8s.io',
    (body['metadata'] as { name: string }).name,
    ...causes,
  ),
});
const schemaPath = 'spec.validation.openAPIV3Schema';
const cannot = (why: string): Expected => badRequest(why);

const token = (value: unknown): string => Buffer.from(JSON.stringify(value)).toString('base64url');

export const customResources: readonly Case[] = [
  broken('a host whose last label is no word', { host: 'a.1' }, typed('spec.host', '"a.1"', 'hostname', '"a.1"')),
  broken(
    'an integer, of which only the integer part of a factor counts',
    { factor: 2 },
    wrongValue('spec.factor', '0', 'factor MultipleOf declared for spec.factor must be positive: 0'),
  ),
  broken('an integer past 64 bits', { code: 1e20 }, typed('spec.code', '"number"', 'string', '"number"')),
  {
    name: 'custom: what does not fit its type but is let pass is not tracked',
    send: post(widgets, widget({ when: ['now'] }, { metadata: { name: 'untracked' } })),
    expect: { code: 201, object: { 'spec.when': ['now'], 'metadata.managedFields': undefined } },
  },
  {
    name: 'a list at a revision that is compacted',
    send: get(`${widgets}?resourceVersion=2&resourceVersionMatch=Exact`),
    expect: { code: 410, reason: 'Expired', message: 'The resourceVersion for the provided list is too old.' },
  },
  {
    name: 'a continue token that has expired',
    send: get(`${widgets}?continue=${token({ v: 'meta.k8s.io/v1', rv: 2, start: 'a\u0000' })}`),
    expect: {
      code: 410,
      reason: 'Expired',
      message:
        'The provided continue parameter is too old to display a consistent list result. You can start a new list without the continue parameter, or use the continue token in this response to retrieve the remainder of the results. Continuing with the provided token results in an inconsistent list - objects that were created, modified, or deleted between the time the first chunk was returned and now may show up in the list.',
    },
  },
  bad(
    'a name that does not fit',
    { ...definition('gadgets', {}, { type: 'object' }), metadata: { name: 'gadget.example.com' } },
    wrongValue('metadata.name', '"gadget.example.com"', 'must be spec.names.plural+"."+spec.group'),
  ),
  bad(
    'no storage version',
    definition(
      'gadgets',
      { versions: [{ name: 'v1', served: true, storage: false, schema: { openAPIV3Schema: { type: 'object' } } }] },
      {},
    ),
    wrongValue(
      'spec.versions',
      '[{"Name":"v1","Served":true,"Storage":false,"Deprecated":false,"DeprecationWarning":null,"Schema":null,"Subresources":null,"AdditionalPrinterColumns":null,"SelectableFields":null}]',
      'must have exactly one version marked as storage version',
    ),
    wrongValue('status.storedVersions', 'null', 'must have at least one stored version'),
  ),
  bad(
    'a scope that there is not',
    definition('gadgets', { scope: 'World' }, { type: 'object' }),
    unsupported('spec.scope', '"World"', 'Cluster', 'Namespaced'),
  ),
  bad(
    'no schema',
    definition('gadgets', { versions: [{ name: 'v1', served: true, storage: true }] }, {}),
    required('spec.versions[0].schema.openAPIV3Schema'),
  ),
  bad(
    'a property without a type',
    definition('gadgets', {}, { type: 'object', properties: { spec: { properties: { a: { type: 'string' } } } } }),
    required(`${schemaPath}.properties[spec].type`, 'must not be empty for specified object fields'),
  ),
  bad(
    'no object at the root',
    definition('gadgets', {}, { type: 'string' }),
    wrongValue(
      `${schemaPath}.type`,
      '"string"',
      'only "object" is allowed as the type at the root of the schema if the status subresource is enabled',
    ),
    wrongValue(`${schemaPath}.type`, '"string"', 'must be object at the root'),
  ),
  bad(
    'items without a type',
    definition('gadgets', {}, { type: 'object', properties: { l: { type: 'array' } } }),
    required(`${schemaPath}.properties[l].items`, 'must be specified'),
  ),
  {
    name: 'definition: a group in which Kubernetes decides',
    send: post(definitions, {
      ...definition('gadgets', { group: 'gadgets.k8s.io' }, { type: 'object' }),
      metadata: { name: 'gadgets.gadgets.k8s.io' },
    }),
    expect: invalid(
      'CustomResourceDefinition.apiextensions.k8s.io',
      'gadgets.gadgets.k8s.io',
      required(
        'metadata.annotations[api-approved.kubernetes.io]',
        'protected groups must have approval annotation "api-approved.kubernetes.io", see https://github.com/kubernetes/enhancements/pull/1111',
      ),
    ),
  },
  {
    name: 'definition: another scope',
    send: patch('merge', `${definitions}/widgets.example.com`, { spec: { scope: 'Cluster' } }),
    expect: invalid(
      'CustomResourceDefinition.apiextensions.k8s.io',
      'widgets.example.com',
      wrongValue('spec.scope', '"Cluster"', 'field is immutable'),
    ),
  },
  broken('a size that is a string', { size: 'big' }, typed('spec.size', '"string"', 'integer', '"string"')),
  broken(
    'a size that is too big',
    { size: 11 },
    wrongValue('spec.size', '11', 'spec.size in body should be less than or equal to 10'),
  ),
  broken(
    'a size that is too small',
    { size: 0 },
    wrongValue('spec.size', '0', 'spec.size in body should be greater than or equal to 1'),
  ),
  broken('no size', { size: undefined }, required('spec.size')),
  broken('a colour that there is not', { color: 'blue' }, unsupported('spec.color', '"blue"', 'red', 'green')),
  broken(
    'a code that does not match',
    { code: 'ABC' },
    wrongValue('spec.code', '"ABC"', "spec.code in body should match '^[a-z]+$'"),
  ),
  broken('a code that is too long', { code: 'abcdef' }, [
    'FieldValueTooLong',
    'Too long: may not be more than 5 bytes',
    'spec.code',
  ]),
  broken(
    'a code that is too short',
    { code: 'a' },
    wrongValue('spec.code', '"a"', 'spec.code in body should be at least 2 chars long'),
  ),
  broken('too many tags', { tags: ['a', 'b', 'c'] }, [
    'FieldValueTooMany',
    'Too many: 3: must have at most 2 items',
    'spec.tags',
  ]),
  broken('a tag that is a number', { tags: [1] }, typed('spec.tags[0]', '"integer"', 'string', '"integer"')),
  broken('too many keys', { map: { a: 1, b: 2 } }, [
    'FieldValueTooMany',
    'Too many: 2: must have at most 1 item',
    'spec.map',
  ]),
  broken('a time that is none', { when: 'now' }, typed('spec.when', '"now"', 'date-time', '"now"')),
  broken(
    'a port that is a truth value',
    { port: true },
    typed('spec.port', '"boolean"', 'integer,string', '"boolean"'),
  ),
  broken(
    'neither of two',
    { either: {} },
    wrongValue('<nil>', '""', '"spec.either" must validate one and only one schema (oneOf). Found none valid'),
    required('spec.either.a'),
  ),
  broken('a list key twice', { ports: [{ port: 1 }, { port: 1 }] }, [
    'FieldValueDuplicate',
    'Duplicate value: {"port":1}',
    'spec.ports[1]',
  ]),
  {
    name: 'custom: no kind',
    send: post(widgets, { apiVersion: 'example.com/v1', metadata: { name: 'w' }, spec: { size: 1 } }),
    expect: cannot("Object 'Kind' is missing in 'object has no kind field '"),
  },
  {
    name: 'custom: no apiVersion',
    send: post(widgets, { kind: 'Widget', metadata: { name: 'w' }, spec: { size: 1 } }),
    expect: cannot('the API version in the data () does not match the expected API version (example.com/v1)'),
  },
  {
    name: 'custom: another kind',
    send: post(widgets, { ...widget({}), kind: 'Gadget' }),
    expect: invalid('Gadget.example.com', 'w', wrongValue('kind', '"Gadget"', 'must be Widget')),
  },
  {
    name: 'custom: another version',
    send: post(widgets, { ...widget({}), apiVersion: 'example.com/v2' }),
    expect: cannot(
      'the API version in the data (example.com/v2) does not match the expected API version (example.com/v1)',
    ),
  },
  {
    name: 'custom: an unknown field is pruned, with a warning',
    send: post(widgets, { ...widget({ weight: 1 }), metadata: { name: 'pruned' } }),
    expect: { code: 201, warnings: ['unknown field "spec.weight"'], object: { spec: { size: 3 } } },
  },
  {
    name: 'custom: an unknown field, Strict',
    send: post(`${widgets}?fieldValidation=Strict`, widget({ weight: 1 })),
    expect: cannot(
      'Widget in version "v1" cannot be handled as a Widget: strict decoding error: unknown field "spec.weight"',
    ),
  },
  {
    name: 'custom: protobuf',
    send: post(widgets, Buffer.from([0x6b, 0x38, 0x73, 0]), { type: 'application/vnd.kubernetes.protobuf' }),
    expect: {
      code: 415,
      reason: 'UnsupportedMediaType',
      message:
        'the body of the request was in an unknown format - accepted media types include: application/json, application/yaml',
    },
  },
  {
    name: 'custom: a type that nobody knows',
    send: post(widgets, 'x', { type: 'text/plain' }),
    expect: {
      code: 415,
      reason: 'UnsupportedMediaType',
      message:
        'the body of the request was in an unknown format - accepted media types include: application/json, application/yaml, application/vnd.kubernetes.protobuf',
    },
  },
  {
    name: 'custom: a strategic patch',
    given: [post(widgets, { ...widget({}), metadata: { name: 'strategic' } })],
    send: patch('strategic', `${widgets}/strategic`, {}),
    expect: {
      code: 415,
      reason: 'UnsupportedMediaType',
      message:
        'the body of the request was in an unknown format - accepted media types include: application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml',
    },
  },
  {
    name: 'custom: a PUT without a resource version',
    given: [post(widgets, { ...widget({}), metadata: { name: 'unversioned' } })],
    send: put(`${widgets}/unversioned`, { ...widget({}), metadata: { name: 'unversioned' } }),
    expect: invalid(
      'widgets.example.com',
      'unversioned',
      wrongValue('metadata.resourceVersion', '0', 'must be specified for an update'),
    ),
  },
  {
    name: 'custom: a status of another type',
    given: [post(widgets, { ...widget({}), metadata: { name: 'statused' } })],
    send: patch('merge', `${widgets}/statused/status`, { status: { ready: 'yes' } }),
    // The status is judged by its part of the schema, whose names begin there.
    expect: invalid('Widget.example.com', 'statused', [
      'FieldValueTypeInvalid',
      'Invalid value: "string": ready in body must be of type boolean: "string"',
      'status.ready',
    ]),
  },
  {
    name: 'custom: the status in a write of the object is not taken',
    given: [post(widgets, { ...widget({}), metadata: { name: 'separate' } })],
    send: patch('merge', `${widgets}/separate`, { status: { ready: true }, spec: { size: 4 } }),
    expect: { code: 200, object: { status: undefined, spec: { size: 4 } } },
  },
];
