/** Selectors: upstream's grammar, matching and error texts. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { compileLabelSelector, labelSelectorAsString, matchesSelector, validateLabelSelector } from './selector.ts';
import { parseLabelSelector, parseToLabelSelector } from './selector-parser.ts';
import { parseFieldSelector } from './field-selector.ts';

test('string form round trips', () => {
  const table: [string, string][] = [
    ['x=a,y=b,z=c', 'x=a,y=b,z=c'],
    ['', ''],
    ['x!=a,y', 'x!=a,y'],
    ['x>1,z<2', 'x>1,z<2'],
    ['x in (c,a,b),!y', 'x in (a,b,c),!y'],
    ['x notin ()', 'x notin ()'],
    ['x in (in,notin)', 'x in (in,notin)'],
    ['x==a , b = c', 'b=c,x==a'],
    ['a=', 'a='],
    ['x in (,a)', 'x in (,a)'],
  ];
  for (const [text, expected] of table) assert.equal(parseLabelSelector(text).toString(), expected, text);
});

test('string form errors', () => {
  const table: [string, string][] = [
    ['x=a||y=b', 'unable to parse requirement: values[0][x]: Invalid value: "a||y": '],
    ['x,,y', "found ',', expected: identifier after ','"],
    ['x=a,', "found '', expected: identifier after ','"],
    ['x==a==b', "found '==', expected: ',' or 'end of string'"],
    ['!x=a', "found '=', expected: ',' or 'end of string'"],
    [
      'x<a',
      "unable to parse requirement: values[0]: Invalid value: \"a\": for 'Gt', 'Lt' operators, the value must be an integer",
    ],
    ['x foo', "unable to parse requirement: found 'foo', expected: in, notin, =, ==, !=, gt, lt"],
    ['x in a', "unable to parse requirement: found 'a' expected: '('"],
    [
      'a/b/c',
      'unable to parse requirement: <nil>: Invalid value: "a/b/c": a valid label key must consist of alphanumeric',
    ],
    [')', "found ')', expected: !, identifier, or 'end of string'"],
  ];
  for (const [text, expected] of table) {
    assert.throws(
      () => parseLabelSelector(text),
      (e: Error) => {
        assert.equal(e.message.slice(0, expected.length), expected, text);
        return true;
      },
    );
  }
});

test('objects', () => {
  const selector = {
    matchLabels: { app: 'web' },
    matchExpressions: [
      { key: 'tier', operator: 'In', values: ['b', 'a'] },
      { key: 'canary', operator: 'DoesNotExist' },
    ],
  };
  assert.equal(labelSelectorAsString(selector), 'app=web,!canary,tier in (a,b)');
  assert.equal(labelSelectorAsString({}), '<none>');
  assert.equal(labelSelectorAsString({ matchExpressions: [{ key: 'a', operator: 'X' }] }), '<error>');
  for (const [labels, expected] of [
    [{ app: 'web', tier: 'a' }, true],
    [{ app: 'web', tier: 'c' }, false],
    [{ app: 'web', tier: 'a', canary: '' }, false],
    [undefined, false],
  ] as const) {
    assert.equal(matchesSelector(selector, labels), expected);
    assert.equal(compileLabelSelector(selector).matches(labels), expected);
  }
  assert.equal(matchesSelector(undefined, {}), false);
  assert.equal(matchesSelector({}, undefined), true);
  assert.deepEqual(parseToLabelSelector('a=b,c in (d)'), {
    matchLabels: { a: 'b' },
    matchExpressions: [{ key: 'c', operator: 'In', values: ['d'] }],
  });
  assert.deepEqual(
    validateLabelSelector(
      {
        matchExpressions: [
          { key: 'a', operator: 'In' },
          { key: '', operator: 'Foo' },
        ],
      },
      'spec.selector',
    ).map((e) => `${e.type} ${e.field}`),
    [
      'FieldValueRequired spec.selector.matchExpressions[0].values',
      'FieldValueInvalid spec.selector.matchExpressions[1].operator',
      'FieldValueInvalid spec.selector.matchExpressions[1].key',
      'FieldValueInvalid spec.selector.matchExpressions[1].key',
    ],
  );
});

test('field selectors', () => {
  const s = parseFieldSelector('status.phase!=Running,metadata.name=a\\,b');
  assert.equal(s.toString(), 'metadata.name=a\\,b,status.phase!=Running');
  assert.equal(s.requiresExactMatch('metadata.name'), 'a,b');
  assert.equal(
    s.matches((f) => (f === 'metadata.name' ? 'a,b' : 'Pending')),
    true,
  );
  assert.equal(
    s.matches((f) => (f === 'metadata.name' ? 'a,b' : 'Running')),
    false,
  );
  assert.equal(parseFieldSelector(',').empty, true);
  assert.throws(() => parseFieldSelector('foo'), { message: "invalid selector: 'foo'; can't understand 'foo'" });
  assert.throws(() => parseFieldSelector('a=b=c'), {
    message: 'invalid field selector: unescaped character in value: 61',
  });
  assert.throws(() => parseFieldSelector('a=\\x'), { message: 'invalid field selector: invalid escape sequence: \\x' });
});
