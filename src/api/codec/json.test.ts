/** The JSON codec: Go's error texts, duplicate fields, big integers, depth. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { scale, seed } from '../../base/fuzzing.ts';
import { goSyntaxError, JsonSyntaxError, parseJson, strictErrorsInOrder, stringifyJson, typeMetaOf } from './json.ts';

test('syntax errors are Go’s', () => {
  const table: [string, string][] = [
    ['', 'unexpected end of JSON input'],
    ['{', 'unexpected end of JSON input'],
    ['x', "invalid character 'x' looking for beginning of value"],
    ['{"a":1,}', "invalid character '}' looking for beginning of object key string"],
    ['{a:1}', "invalid character 'a' looking for beginning of object key string"],
    ['{"a" 1}', "invalid character '1' after object key"],
    ['{"a":1 "b":2}', `invalid character '"' after object key:value pair`],
    ['[1 2]', "invalid character '2' after array element"],
    ['[1,]', "invalid character ']' looking for beginning of value"],
    ['{} x', "invalid character 'x' after top-level value"],
    ['tru', 'unexpected end of JSON input'],
    ['trux', "invalid character 'x' in literal true (expecting 'e')"],
    ['-', 'unexpected end of JSON input'],
    ['-a', "invalid character 'a' in numeric literal"],
    ['01', "invalid character '1' after top-level value"],
    ['1.a', "invalid character 'a' after decimal point in numeric literal"],
    ['1ex', "invalid character 'x' in exponent of numeric literal"],
    ['"\n"', "invalid character '\\n' in string literal"],
    ['"\\x"', "invalid character 'x' in string escape code"],
    ['"\\u12g"', "invalid character 'g' in \\u hexadecimal character escape"],
    ["'a'", "invalid character '\\'' looking for beginning of value"],
    ['\ufeff{}', "invalid character 'ï' looking for beginning of value"],
  ];
  for (const [text, message] of table) {
    assert.throws(
      () => parseJson(Buffer.from(text)),
      (e) => e instanceof JsonSyntaxError && e.message === message,
      `${text}: ${goSyntaxError(Buffer.from(text))?.message}`,
    );
  }
});

test('agrees with JSON.parse on what is valid', () => {
  const soup = fc.string({
    unit: fc.constantFrom('{', '}', '[', ']', ':', ',', '"a"', '1', '-', '.5', 'true', 'null', ' ', 'e1', '\\'),
  });
  fc.assert(
    fc.property(soup, (text) => {
      let ok = true;
      try {
        JSON.parse(text);
      } catch {
        ok = false;
      }
      assert.equal(goSyntaxError(Buffer.from(text)) === undefined, ok, text);
    }),
    { seed, numRuns: 2000 * scale },
  );
});

test('duplicate fields', () => {
  const text = '{"a":1,"spec":{"x":[{"n":1,"n":2},{"m":1}],"x":3},"a":2,"a":3,"q\\u0061":1,"qa":2}';
  assert.deepEqual(parseJson(text, { strict: true }).strictErrors, [
    'duplicate field "spec.x[0].n"',
    'duplicate field "spec.x"',
    'duplicate field "a"',
    'duplicate field "qa"',
  ]);
  assert.deepEqual(parseJson(text).strictErrors, []);
  assert.deepEqual(parseJson('{"a:b":":","c":[1,{"d":{}}]}', { strict: true }).strictErrors, []);
});

test('unknown and duplicate fields in the order of the text', () => {
  const text = '{"spec":{"no":{"a":1,"a":2},"n":1,"n":2,"z":[{"no":1}]},"spec":{}}';
  const unknown = new Set(['unknown field "spec.no"', 'unknown field "spec.z[0].no"']);
  assert.deepEqual(strictErrorsInOrder(text, unknown), [
    'unknown field "spec.no"',
    'duplicate field "spec.n"',
    'unknown field "spec.z[0].no"',
    'duplicate field "spec"',
  ]);
});

test('big integers survive', () => {
  const text =
    '{"a":9223372036854775807,"b":[-9007199254740993],"c":1e20,"d":9007199254740991,"e":"1234567890123456789"}';
  const { value } = parseJson(text);
  assert.deepEqual(value, {
    a: 9223372036854775807n,
    b: [-9007199254740993n],
    c: 1e20,
    d: 9007199254740991,
    e: '1234567890123456789',
  });
  assert.equal(stringifyJson(value), text.replace('1e20', '100000000000000000000'));
  assert.equal((parseJson('{"a":92233720368547758070}').value as { a: number }).a, Number('92233720368547758070'));
});

test('depth is bounded', () => {
  const deep = '['.repeat(2000) + ']'.repeat(2000);
  assert.throws(() => parseJson(deep), { message: "invalid character '[' exceeded max depth" });
  assert.throws(() => parseJson('['.repeat(100000)), { message: "invalid character '[' exceeded max depth" });
  assert.doesNotThrow(() => parseJson('['.repeat(900) + ']'.repeat(900), { strict: true }));
});

test('type header', () => {
  assert.deepEqual(typeMetaOf({ apiVersion: 'v1', kind: 'Pod' }), { apiVersion: 'v1', kind: 'Pod' });
  assert.throws(() => typeMetaOf({ kind: 1 }), {
    message: 'json: cannot unmarshal number into Go struct field .kind of type string',
  });
  assert.throws(() => typeMetaOf([]), {
    message:
      'json: cannot unmarshal array into Go value of type struct { APIVersion string "json:\\"apiVersion,omitempty\\""; Kind string "json:\\"kind,omitempty\\"" }',
  });
});
