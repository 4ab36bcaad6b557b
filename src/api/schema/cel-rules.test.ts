/** `x-kubernetes-validations`: rules over objects, and what a CRD is told when its rules do not do. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { formatFieldError } from '../field-error.ts';
import { objectSchema } from './build.ts';
import { CelRules } from './cel-rules.ts';
import { validateCRDSchema } from './crd-schema.ts';
import { fromOpenAPI } from './from-openapi.ts';
import type { JSONSchemaProps } from './json-schema.ts';

const objectMeta = objectSchema({ name: 'ObjectMeta', atomic: false, preserveUnknown: false, embedded: false }, []);

type Rule = NonNullable<JSONSchemaProps['x-kubernetes-validations']>[number];

const rules = (...list: (string | Rule)[]): Pick<JSONSchemaProps, 'x-kubernetes-validations'> => ({
  'x-kubernetes-validations': list.map((r) => (typeof r === 'string' ? { rule: r } : r)),
});

const under = (spec: JSONSchemaProps): JSONSchemaProps => ({ type: 'object', properties: { spec } });

interface Outcome {
  readonly errors: readonly string[];
  readonly warnings: readonly string[];
}

/** Validates `spec` (an update of `old`), as the API server does. */
function validate(schema: JSONSchemaProps, spec: unknown, old?: unknown, budget?: number): Outcome {
  const found = CelRules.of(fromOpenAPI(under(schema), { objectMeta }));
  assert.ok(found !== undefined);
  const warnings: string[] = [];
  const before = old === undefined ? undefined : { spec: old };
  const errors = found.validate({ spec }, before, { warn: (text) => warnings.push(text), budget });
  return { errors: errors.map(formatFieldError), warnings };
}

const string: JSONSchemaProps = { type: 'string' };
const integer: JSONSchemaProps = { type: 'integer' };

test('a rule that does not hold becomes an error with its message, reason and path', () => {
  const schema: JSONSchemaProps = {
    type: 'object',
    properties: { min: integer, max: integer, 'a-b': string, list: { type: 'array', items: string } },
    ...rules(
      'self.min <= self.max',
      {
        rule: "!has(self.a__dash__b) || self.a__dash__b != 'no'",
        message: 'not this',
        reason: 'FieldValueForbidden',
        fieldPath: "['a-b']",
      },
      {
        rule: 'self.min != 13',
        messageExpression: '"an unlucky " + string(self.min)',
        message: 'unlucky',
        reason: 'FieldValueDuplicate',
        fieldPath: '.min',
      },
      { rule: 'self.min != 14', messageExpression: '[""][self.min]', message: 'the message instead' },
      'self.list.size() < 5 || self.list[9] == ""',
    ),
  };
  assert.deepEqual(validate(schema, { min: 1, max: 2, list: [] }).errors, []);
  assert.deepEqual(validate(schema, { min: 3, max: 2, 'a-b': 'no', list: [] }).errors, [
    'spec: Invalid value: failed rule: self.min <= self.max',
    'spec.a-b: Forbidden: not this',
  ]);
  assert.deepEqual(validate(schema, { min: 13, max: 20, list: [] }).errors, ['spec.min: Duplicate value']);
  assert.deepEqual(validate(schema, { min: 14, max: 20, list: [] }).errors, [
    'spec: Invalid value: the message instead',
  ]);
  assert.deepEqual(validate(schema, { min: 1, max: 2, list: ['', '', '', '', ''] }).errors, [
    'spec: Invalid value: "object": index out of bounds: 9 evaluating rule: self.list.size() < 5 || self.list[9] == ""',
  ]);
  assert.deepEqual(validate(schema, { min: 1, max: 2 }).errors, [
    'spec: Invalid value: "object": no such key: list evaluating rule: self.list.size() < 5 || self.list[9] == ""',
  ]);
});

test('transition rules see the value before; lists of type map and set correlate', () => {
  const schema: JSONSchemaProps = {
    type: 'object',
    properties: {
      size: { ...integer, ...rules({ rule: 'self >= oldSelf', message: 'never shrinks' }) },
      first: {
        ...string,
        ...rules({ rule: 'oldSelf.orValue(self) == self', optionalOldSelf: true, message: 'stays' }),
      },
      ports: {
        type: 'array',
        items: {
          type: 'object',
          properties: { name: string, port: integer },
          required: ['name'],
          ...rules({ rule: 'self.port == oldSelf.port', message: 'port stays' }),
        },
        'x-kubernetes-list-type': 'map',
        'x-kubernetes-list-map-keys': ['name'],
      },
      tags: { type: 'array', items: string, 'x-kubernetes-list-type': 'set', ...rules('self == oldSelf') },
    },
  };
  const old = {
    size: 2,
    first: 'x',
    ports: [
      { name: 'a', port: 1 },
      { name: 'b', port: 2 },
    ],
    tags: ['x', 'y'],
  };
  assert.deepEqual(validate(schema, { ...old, size: 1 }).errors, []);
  const swapped = {
    ...old,
    ports: [
      { name: 'b', port: 2 },
      { name: 'a', port: 1 },
      { name: 'c', port: 3 },
    ],
    tags: ['y', 'x'],
  };
  assert.deepEqual(validate(schema, swapped, old).errors, []);
  const changed = { size: 1, first: 'y', ports: [{ name: 'b', port: 1 }], tags: ['x'] };
  assert.deepEqual(validate(schema, changed, old).errors.toSorted(), [
    'spec.first: Invalid value: "y": stays',
    'spec.ports[0]: Invalid value: port stays',
    'spec.size: Invalid value: 1: never shrinks',
    'spec.tags: Invalid value: failed rule: self == oldSelf',
  ]);
});

test('what an update does not change is a warning only', () => {
  const name = { ...string, ...rules({ rule: 'self.startsWith("a")', message: 'must start with a' }) };
  const schema: JSONSchemaProps = { type: 'object', properties: { name, other: { ...name }, at: integer } };
  const old = { name: 'b', other: 'c', at: 1 };
  assert.deepEqual(validate(schema, { ...old, at: 2 }, old), {
    errors: [],
    warnings: ['spec.name: Invalid value: "b": must start with a', 'spec.other: Invalid value: "c": must start with a'],
  });
  assert.deepEqual(validate(schema, { ...old, other: 'd' }, old), {
    errors: ['spec.other: Invalid value: "d": must start with a'],
    warnings: ['spec.name: Invalid value: "b": must start with a'],
  });
});

test('types come from the schema: numbers, times, int-or-string, unknown members, nested quantifiers', () => {
  const schema: JSONSchemaProps = {
    type: 'object',
    properties: {
      ratio: { type: 'number' },
      at: { type: 'string', format: 'date-time' },
      wait: { type: 'string', format: 'duration' },
      data: { type: 'string', format: 'byte' },
      port: { 'x-kubernetes-int-or-string': true },
      open: { type: 'object', properties: { known: integer }, 'x-kubernetes-preserve-unknown-fields': true },
      labels: { type: 'object', additionalProperties: string },
      nothing: { type: 'string', nullable: true },
    },
    ...rules(
      'type(self.ratio) == double && self.ratio / 2.0 == 1.5',
      'self.at.getFullYear() == 2024 && self.at > timestamp("2023-01-01T00:00:00Z")',
      'self.wait == duration("1m30s")',
      'self.data == b"hello"',
      'type(self.port) == int ? self.port == 80 : self.port == "http"',
      'has(self.open.known) && self.open.known == 1',
      'self.labels.all(k, v, k != v) && "a" in self.labels',
      'has(self.labels) && !has(self.nothing)',
    ),
  };
  const spec = {
    ratio: 3,
    at: '2024-05-01T00:00:00Z',
    wait: '1m30s',
    data: 'aGVsbG8=',
    port: 'http',
    open: { known: 1, any: { thing: 1 } },
    labels: { a: 'b' },
    nothing: null,
  };
  assert.deepEqual(validate(schema, spec).errors, []);
  assert.deepEqual(validate(schema, { ...spec, port: 80 }).errors, []);
});

test('the budget of a request ends its validation', () => {
  const list = { type: 'array', items: integer } as const;
  const rule = 'self.all(x, self.all(y, self.all(z, x + y + z >= 0)))';
  const numbers = Array.from({ length: 150 }, (_, i) => i);
  assert.deepEqual(validate({ ...list, ...rules(rule, 'false') }, numbers).errors, [
    `spec: Invalid value: "array": 'operation cancelled: actual cost limit exceeded': no further validation rules will be run due to call cost exceeds limit for rule: ${rule}`,
  ]);
  assert.deepEqual(validate({ ...list, ...rules('self.all(x, x >= 0)', 'false') }, numbers, undefined, 100).errors, [
    'spec: Invalid value: "array": validation failed due to running out of cost budget, no further validation rules will be run',
  ]);
});

test("a CRD's rules are compiled and their worst case estimated", () => {
  const check = (schema: JSONSchemaProps): string[] =>
    validateCRDSchema(under(schema), 'schema', { objectMeta, embeddedMeta: () => [], statusSubresource: false }).map(
      formatFieldError,
    );
  assert.deepEqual(check({ type: 'object', properties: { a: integer }, ...rules('self.a > "x"') }), [
    'schema.properties[spec].x-kubernetes-validations[0].rule: Invalid value: {"Rule":"self.a \\u003e \\"x\\"","Message":"","MessageExpression":"","Reason":null,"FieldPath":"","OptionalOldSelf":null}: compilation failed: ' +
      "ERROR: <input>:1:8: found no matching overload for '_>_' applied to '(int, string)'\n | self.a > \"x\"\n | .......^",
  ]);
  assert.deepEqual(
    check({ ...integer, ...rules({ rule: 'self + 1' }) }).map((e) => e.split(': ').at(-1)),
    ['cel expression must evaluate to a bool'],
  );
  const unbounded: JSONSchemaProps = { type: 'array', items: string };
  const [rule, total] = check({ ...unbounded, ...rules('self.all(x, self.all(y, x == y))') });
  assert.match(
    rule!,
    /x-kubernetes-validations\[0\]\.rule: Forbidden: estimated rule cost exceeds budget by factor of more than 100x \(try simplifying the rule, or adding maxItems, maxProperties, and maxLength where arrays, maps, and strings are declared\)$/,
  );
  assert.match(
    total!,
    /x-kubernetes-validations\[0\]\.rule: Forbidden: contributed to estimated rule cost total exceeding cost limit for entire OpenAPIv3 schema$/,
  );
  const bounded: JSONSchemaProps = { type: 'array', items: { ...string, maxLength: 5 }, maxItems: 10 };
  assert.deepEqual(check({ ...bounded, ...rules('self.all(x, self.all(y, x == y))') }), []);
  // What lies below a list without type has no value before.
  const uncorrelated = { type: 'array', items: { ...integer, ...rules('self == oldSelf') }, maxItems: 5 };
  assert.match(check(uncorrelated)[0]!, /oldSelf cannot be used on the uncorrelatable portion of the schema within/);
  assert.match(
    check({ type: 'object', properties: { a: integer }, ...rules({ rule: 'true', fieldPath: '.b' }) })[0]!,
    /fieldPath: Invalid value: ".b": must be a valid path$/,
  );
  // Defaults have to keep the rules.
  assert.match(
    check({ type: 'object', properties: { a: { ...integer, default: 1, ...rules('self > 1') } } })[0]!,
    /properties\[a\]\.default: Invalid value: 1: failed rule: self > 1$/,
  );
});
