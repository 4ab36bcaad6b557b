/** The YAML codec against go-yaml's rules for scalars, aliases, duplicates and errors, and its output style. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { scale, seed } from '../../base/fuzzing.ts';
import { stringifyYaml } from './yaml-emit.ts';
import { formatGoFloat } from './yaml-scalars.ts';
import { parseYaml, parseYamlDocuments, YamlError } from './yaml.ts';

const read = async (text: string): Promise<unknown> => (await parseYaml(text)).value;

test('scalars are go-yaml v2’s', async () => {
  const table: [string, unknown][] = [
    ['yes', true],
    ['Off', false],
    ['y', true],
    ['~', null],
    ['', null],
    ['0755', 493],
    ['0o755', 493],
    ['0x1F', 31],
    ['0b11', 3],
    ['1_000', 1000],
    ['08', 8],
    ['1e3', 1000],
    ['+1', 1],
    ['-.5', -0.5],
    ['.5', 0.5],
    ['1:30', '1:30'],
    ['2020-01-02', '2020-01-02'],
    ['2020-01-02T03:04:05Z', '2020-01-02T03:04:05Z'],
    ['"yes"', 'yes'],
    ["'1'", '1'],
    ['!!str 1', '1'],
    ['!!float 1', 1],
    ['1.2.3', '1.2.3'],
    ['9223372036854775807', 9223372036854775807n],
    ['nope', 'nope'],
  ];
  for (const [text, expected] of table) assert.deepEqual(await read(text), expected, text);
  assert.deepEqual(await read('1: a\ntrue: b\n1.5: c'), { 1: 'a', true: 'b', '1.5': 'c' });
});

test('merge keys and aliases', async () => {
  assert.deepEqual(await read('a: &x {b: 1, c: 2}\nd:\n  <<: *x\n  c: 3\ne: *x'), {
    a: { b: 1, c: 2 },
    d: { b: 1, c: 3 },
    e: { b: 1, c: 2 },
  });
  await assert.rejects(read('a: *x'), { message: "yaml: unknown anchor 'x' referenced" });
  await assert.rejects(read('a: &x [*x]'), { message: "yaml: anchor 'x' value contains itself" });
  let bomb = 'a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n';
  for (let i = 1; i < 12; i++)
    bomb += `a${i}: &a${i} [${Array(10)
      .fill(`*a${i - 1}`)
      .join(',')}]\n`;
  await assert.rejects(read(bomb), { message: 'yaml: document contains excessive aliasing' });
});

test('duplicates are reported when strict, the last wins otherwise', async () => {
  const text = 'a: 1\nb:\n  c: 1\n  c: 2\na: 3\n';
  assert.deepEqual(await parseYaml(text), { value: { a: 3, b: { c: 2 } }, strictErrors: [] });
  assert.deepEqual((await parseYaml(text, { strict: true })).strictErrors, [
    'line 4: key "c" already set in map',
    'line 5: key "a" already set in map',
  ]);
  assert.deepEqual((await parseYaml('{"a":1,"a":2}', { strict: true })).strictErrors, [
    'line 1: key "a" already set in map',
  ]);
});

test('errors', async () => {
  const table: [string, string][] = [
    ['a: b: c', 'yaml: mapping values are not allowed in this context'],
    ['a:\n  b: c\n   d: e', 'yaml: line 3: mapping values are not allowed in this context'],
    ['a:\n\tb: c', 'yaml: line 2: found character that cannot start any token'],
    ['a: "b', 'yaml: found unexpected end of stream'],
    ['x:\n- [1, 2\n', "yaml: line 2: did not find expected ',' or ']'"],
    ['? {a: 1}\n: 2', 'yaml: invalid map key: {"a":1}'],
  ];
  for (const [text, message] of table) {
    await assert.rejects(read(text), (e: Error) => {
      assert.ok(e instanceof YamlError);
      assert.equal(e.message, message, text);
      return true;
    });
  }
});

test('documents', async () => {
  assert.deepEqual(await parseYamlDocuments('---\na: 1\n---\n# nothing\n---\nb: 2\n'), [{ a: 1 }, { b: 2 }]);
  assert.deepEqual(await read('a: 1\n---\nb: 2\n'), { a: 1 });
});

test('output style', () => {
  const value = {
    b: 'x',
    a: [{ k: 'v', list: [] }, [1, 2], 'yes', ''],
    multi: 'one\ntwo\n',
    strip: 'one\ntwo',
    trailing: 'space ',
    '1': 1.5,
    z10: null,
    z9: {},
    date: '2020-01-01',
    long: `${'word '.repeat(30)}end`,
    emoji: '😀',
    tab: 'a\tb',
    colon: 'a: b',
    dash: '- a',
    octal: '0755',
  };
  assert.equal(
    stringifyYaml(value),
    `"1": 1.5
a:
- k: v
  list: []
- - 1
  - 2
- "yes"
- ""
b: x
colon: 'a: b'
dash: '- a'
date: "2020-01-01"
emoji: "\\U0001F600"
long: word word word word word word word word word word word word word word word word
  word word word word word word word word word word word word word word end
multi: |
  one
  two
octal: "0755"
strip: |-
  one
  two
tab: "a\\tb"
trailing: 'space '
z9: {}
z10: null
`,
  );
  assert.equal(formatGoFloat(1234567.5), '1.2345675e+06');
  assert.equal(stringifyYaml([]), '[]\n');
  assert.equal(stringifyYaml('a'), 'a\n');
});

test('what is written reads back', async () => {
  const { jsonValue } = fc;
  await fc.assert(
    fc.asyncProperty(jsonValue({ maxDepth: 4, noUnicodeString: false }), async (value) => {
      // Integers that a double does not hold exactly come back as BigInt, by design.
      const plain = JSON.parse(JSON.stringify(value), (_k, v: unknown) =>
        typeof v === 'number' && Number.isInteger(v) && !Number.isSafeInteger(v) ? 0 : v,
      ) as unknown;
      assert.deepEqual((await parseYaml(stringifyYaml(plain))).value, plain);
    }),
    { seed, numRuns: 300 * scale },
  );
});
