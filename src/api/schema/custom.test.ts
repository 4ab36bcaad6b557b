import assert from 'node:assert/strict';
import { test } from 'node:test';
import { loadCatalog } from '../catalog/catalog.ts';
import { formatFieldError } from '../field-error.ts';
import { validateCRDSchema } from './crd-schema.ts';
import { fromOpenAPI } from './from-openapi.ts';
import type { JSONSchemaProps } from './json-schema.ts';
import { decodeCustom } from './prune.ts';
import { structuralErrors } from './structural.ts';
import { validateListSetsAndMaps, validateStructural } from './validate-structural.ts';

const objectMeta = loadCatalog().schema('io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta');
const schemaOf = (raw: JSONSchemaProps) => fromOpenAPI(raw, { objectMeta });
const read = (raw: JSONSchemaProps, object: unknown) =>
  decodeCustom(schemaOf(raw), object, { strict: true, objectMeta });
const check = (raw: JSONSchemaProps, object: unknown, old?: unknown): string[] =>
  validateStructural(schemaOf(raw), object, old).map(formatFieldError);

const spec = (properties: Record<string, JSONSchemaProps>, more: JSONSchemaProps = {}): JSONSchemaProps => ({
  type: 'object',
  properties: { spec: { type: 'object', properties, ...more } },
});

test('unknown members are pruned and named, nulls unset, defaults applied, members sorted', () => {
  const raw = spec({
    size: { type: 'integer', default: 3 },
    mode: { type: 'string', nullable: true },
    inner: { type: 'object', default: {}, properties: { a: { type: 'string', default: 'x' } } },
    open: { type: 'object', 'x-kubernetes-preserve-unknown-fields': true, properties: { known: { type: 'object' } } },
    map: { type: 'object', additionalProperties: { type: 'object', properties: { b: { type: 'string' } } } },
    any: { type: 'object', additionalProperties: true },
    template: {
      type: 'object',
      'x-kubernetes-embedded-resource': true,
      'x-kubernetes-preserve-unknown-fields': true,
    },
    list: { type: 'array', items: { type: 'object', properties: { c: { type: 'string', default: 'd' } } } },
  });
  const { object, strictErrors } = read(raw, {
    spec: {
      unknown: { x: 1 },
      size: null,
      mode: null,
      open: { z: { y: 1 }, known: { gone: 1 } },
      map: { k: { b: 'b', c: 'c' } },
      any: { scalar: 1, object: { gone: 1 } },
      template: { apiVersion: 'v1', kind: 'Pod', metadata: { name: 'p', what: 1 }, spec: { x: 1 } },
      list: [{}, { c: null }, { e: 1 }],
    },
    metadata: { name: 'a', creationTimestamp: null, extra: 1 },
    kind: 'Thing',
    apiVersion: 'example.com/v1',
  });
  assert.deepEqual(strictErrors, [
    'unknown field "metadata.extra"',
    'unknown field "spec.any.object.gone"',
    'unknown field "spec.list[2].e"',
    'unknown field "spec.map.k.c"',
    'unknown field "spec.open.known.gone"',
    'unknown field "spec.unknown"',
    'unknown field "spec.template.metadata.what"',
  ]);
  assert.equal(
    JSON.stringify(object),
    JSON.stringify({
      apiVersion: 'example.com/v1',
      kind: 'Thing',
      metadata: { name: 'a' },
      spec: {
        any: { object: {}, scalar: 1 },
        inner: { a: 'x' },
        list: [{ c: 'd' }, { c: 'd' }, { c: 'd' }],
        map: { k: { b: 'b' } },
        mode: null,
        open: { known: {}, z: { y: 1 } },
        size: 3,
        template: { apiVersion: 'v1', kind: 'Pod', metadata: { name: 'p' }, spec: { x: 1 } },
      },
    }),
  );
  assert.throws(() => read(raw, { metadata: { labels: 5 } }), {
    message: 'json: cannot unmarshal number into Go struct field ObjectMeta.labels of type map[string]string',
  });
});

test('violations are told in the words of the OpenAPI validator', () => {
  const cases: [JSONSchemaProps, unknown, string[]][] = [
    [{ type: 'integer' }, 'x', ['spec.f: Invalid value: "string": spec.f in body must be of type integer: "string"']],
    [{ type: 'string' }, null, ['spec.f: Invalid value: "null": spec.f in body must be of type string: "null"']],
    [
      { type: 'integer', maximum: 10 },
      11,
      ['spec.f: Invalid value: 11: spec.f in body should be less than or equal to 10'],
    ],
    [
      { type: 'number', minimum: 0.5, exclusiveMinimum: true },
      0.5,
      ['spec.f: Invalid value: 0.5: spec.f in body should be greater than 0.5'],
    ],
    [{ type: 'string', enum: ['a', 'b'] }, 'c', ['spec.f: Unsupported value: "c": supported values: "a", "b"']],
    [{ type: 'string', maxLength: 2 }, 'abc', ['spec.f: Too long: may not be more than 2 bytes']],
    [
      { type: 'string', minLength: 2 },
      'a',
      ['spec.f: Invalid value: "a": spec.f in body should be at least 2 chars long'],
    ],
    [{ type: 'string', pattern: '^a+$' }, 'b', ['spec.f: Invalid value: "b": spec.f in body should match \'^a+$\'']],
    [
      { type: 'string', format: 'ipv4' },
      'nope',
      ['spec.f: Invalid value: "nope": spec.f in body must be of type ipv4: "nope"'],
    ],
    [{ type: 'string', format: 'madeup' }, 'x', []],
    [
      { type: 'array', items: { type: 'string' }, maxItems: 1 },
      ['a', 'b'],
      ['spec.f: Too many: 2: must have at most 1 item'],
    ],
    [
      { type: 'array', items: { type: 'string' }, minItems: 1 },
      [],
      ['spec.f: Invalid value: 0: spec.f in body should have at least 1 items'],
    ],
    [
      { type: 'array', items: { type: 'integer' } },
      [1, 'x'],
      ['spec.f[1]: Invalid value: "string": spec.f[1] in body must be of type integer: "string"'],
    ],
    [{ type: 'object', required: ['a'], properties: { a: { type: 'string' } } }, {}, ['spec.f.a: Required value']],
    [
      { type: 'object', additionalProperties: { type: 'boolean' } },
      { k: 1 },
      ['spec.f.k: Invalid value: "integer": spec.f.k in body must be of type boolean: "integer"'],
    ],
    [{ 'x-kubernetes-int-or-string': true }, '50%', []],
    [
      { 'x-kubernetes-int-or-string': true },
      true,
      ['spec.f: Invalid value: "boolean": spec.f in body must be of type integer,string: "boolean"'],
    ],
    [{ type: 'integer', multipleOf: 2 }, 3, ['spec.f: Invalid value: 3: spec.f in body should be a multiple of 2']],
    [
      { type: 'integer', format: 'int32' },
      2 ** 40,
      ['<nil>: Invalid value: "": Checked value must be of type integer with format int32 in spec.f'],
    ],
    [
      { type: 'string', oneOf: [{ enum: ['a'] }, { enum: ['b'] }] },
      'c',
      [
        '<nil>: Invalid value: "": "spec.f" must validate one and only one schema (oneOf). Found none valid',
        'spec.f: Unsupported value: "c": supported values: "a"',
      ],
    ],
    [
      { type: 'string', not: { enum: ['a'] } },
      'a',
      ['<nil>: Invalid value: "": "spec.f" must not validate the schema (not)'],
    ],
  ];
  for (const [f, value, want] of cases) assert.deepEqual(check(spec({ f }), { spec: { f: value } }), want);
});

test('what was wrong before and did not change is let pass', () => {
  const raw = spec({
    a: { type: 'string', maxLength: 1 },
    b: { type: 'string', maxLength: 1 },
    items: {
      type: 'array',
      'x-kubernetes-list-type': 'map',
      'x-kubernetes-list-map-keys': ['name'],
      items: { type: 'object', properties: { name: { type: 'string' }, v: { type: 'integer' } } },
    },
  });
  const old = { spec: { a: 'long', b: 'long', items: [{ name: 'x', v: 'bad' }] } };
  const next = { spec: { a: 'long', b: 'longer', items: [{ name: 'y' }, { name: 'x', v: 'bad' }] } };
  assert.deepEqual(check(raw, next, old), ['spec.b: Too long: may not be more than 1 bytes']);
  assert.equal(check(raw, next).length, 3);
});

test('lists of type set and map have no doubles', () => {
  const raw = spec({
    set: { type: 'array', 'x-kubernetes-list-type': 'set', items: { type: 'string' } },
    map: {
      type: 'array',
      'x-kubernetes-list-type': 'map',
      'x-kubernetes-list-map-keys': ['k'],
      items: { type: 'object', properties: { k: { type: 'string' } } },
    },
  });
  const errors = validateListSetsAndMaps(schemaOf(raw), {
    spec: { set: ['a', 'b', 'a'], map: [{ k: '1', v: 1 }, { k: '1' }] },
  });
  assert.deepEqual(errors.map(formatFieldError), [
    'spec.set[2]: Duplicate value: "a"',
    'spec.map[1]: Duplicate value: {"k":"1"}',
  ]);
});

test('a schema that is not structural is told why', () => {
  const raw: JSONSchemaProps = {
    type: 'object',
    properties: {
      spec: { properties: { a: { type: 'array' } } },
      metadata: { type: 'object', properties: { labels: { type: 'object' } } },
      port: { 'x-kubernetes-int-or-string': true, anyOf: [{ type: 'integer' }, { type: 'string' }] },
    },
    anyOf: [{ properties: { missing: { minimum: 1 } }, type: 'object' }],
  };
  assert.deepEqual(structuralErrors(raw, 'spec.validation.openAPIV3Schema').map(formatFieldError), [
    'spec.validation.openAPIV3Schema.anyOf[0].type: Forbidden: must be empty to be structural',
    'spec.validation.openAPIV3Schema.properties[metadata]: Forbidden: must not specify anything other than name and generateName, but metadata is implicitly specified',
    'spec.validation.openAPIV3Schema.properties[missing]: Required value: because it is defined in spec.validation.openAPIV3Schema.anyOf[0].properties[missing]',
    'spec.validation.openAPIV3Schema.properties[spec].properties[a].items: Required value: must be specified',
    'spec.validation.openAPIV3Schema.properties[spec].type: Required value: must not be empty for specified object fields',
  ]);
});

test('a CRD schema is told what is wrong with it', () => {
  const raw = spec({
    size: { type: 'integer', maximum: 5, default: 9 },
    inner: { type: 'object', properties: { a: { type: 'string' } }, default: { b: 1 } },
    both: { type: 'object', properties: { a: { type: 'string' } }, additionalProperties: { type: 'string' } },
    list: {
      type: 'array',
      'x-kubernetes-list-type': 'map',
      'x-kubernetes-list-map-keys': ['k', 'missing'],
      items: { type: 'object', properties: { k: { type: 'string' } } },
    },
    unique: { type: 'array', uniqueItems: true, items: { type: 'string' } },
    odd: { type: 'text', 'x-kubernetes-validations': [{ rule: ' ' }] },
  });
  const at = 'spec.validation.openAPIV3Schema';
  const errors = validateCRDSchema(raw, at, { objectMeta, embeddedMeta: () => [], statusSubresource: false }).map(
    formatFieldError,
  );
  const p = `${at}.properties[spec].properties`;
  assert.deepEqual(errors, [
    `${p}[size].default: Invalid value: 9:  in body should be less than or equal to 5`,
    `${p}[inner].default: Invalid value: {"b":1}: must not have unknown fields`,
    `${p}[both].additionalProperties: Forbidden: additionalProperties and properties are mutual exclusive`,
    `${p}[list].x-kubernetes-list-map-keys: Invalid value: ["k","missing"]: entries must all be names of item properties`,
    `${p}[list].items.properties[k].default: Required value: this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property`,
    `${p}[unique].uniqueItems: Forbidden: uniqueItems cannot be set to true since the runtime complexity becomes quadratic`,
    `${p}[odd].type: Unsupported value: "text": supported values: "array", "boolean", "integer", "number", "object", "string"`,
    `${p}[odd].x-kubernetes-validations[0].rule: Required value: rule is not specified`,
  ]);
});
