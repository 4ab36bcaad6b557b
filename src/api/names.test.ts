/** Name rules: which names pass, and the exact messages of those that do not. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as names from './names.ts';

test('good and bad names', () => {
  const table: [(v: string) => readonly string[], string[], string[]][] = [
    [
      names.isDNS1123Label,
      ['a', '0', 'a-b', 'x'.repeat(63)],
      ['', 'A', '-a', 'a-', 'a.b', 'a_b', 'x'.repeat(64), 'a\n'],
    ],
    [names.isDNS1123Subdomain, ['a', 'a.b', '0.0', 'a-b.c'], ['', '.a', 'a.', 'a..b', 'A.b', 'a_b.c', 'x'.repeat(254)]],
    [names.isDNS1035Label, ['a', 'a1', 'a-1'], ['1a', '', 'a.', 'a-']],
    [names.isQualifiedName, ['a', 'a.b_c-D', 'x.y/A', '1/1'], ['', '/a', 'a/', 'a/b/c', 'A/b', '-a', 'x'.repeat(64)]],
    [names.isLabelValue, ['', 'a', 'A_b.c-1'], ['-', 'a b', 'a/', 'x'.repeat(64)]],
    [names.isValidPortName, ['http', 'a-1', '1a'], ['', '1', 'a--b', '-a', 'A', 'x'.repeat(16)]],
    [names.isConfigMapKey, ['a', '.a', 'A_b-c.d'], ['', '.', '..', '..a', 'a/b']],
    [names.isEnvVarName, ['A', '_a', 'a.b-c'], ['', '1a', 'a=b', '..']],
    [names.isRelaxedEnvVarName, ['A', '1a', 'a b', ':'], ['', 'a=b', 'é']],
    [names.isPathSegmentName, ['a:b', 'A'], ['.', '..', 'a/b', 'a%b']],
    [names.isWildcardDNS1123Subdomain, ['*.a.b'], ['*', '*a.b', 'a.b', '*.*.a']],
  ];
  for (const [rule, good, bad] of table) {
    for (const v of good) assert.deepEqual([...rule(v)], [], `${rule.name} ${v}`);
    for (const v of bad) assert.notEqual(rule(v).length, 0, `${rule.name} ${v}`);
  }
});

test('messages are upstream’s', () => {
  assert.deepEqual(names.isDNS1123Subdomain('A'), [
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')",
  ]);
  assert.deepEqual(names.isDNS1123Label('a.b'), ['must not contain dots']);
  assert.deepEqual(names.isDNS1123Label(`${'x'.repeat(64)}`), ['must be no more than 63 characters']);
  assert.deepEqual(names.isLabelValue('x'.repeat(64)), ['must be no more than 63 bytes']);
  assert.deepEqual(names.isDNS1035Label('1'), [
    "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')",
  ]);
  assert.deepEqual(names.isQualifiedName('/a'), ['prefix part must be non-empty']);
  assert.equal(names.byteLength('aé€😀'), 1 + 2 + 3 + 4);
});
