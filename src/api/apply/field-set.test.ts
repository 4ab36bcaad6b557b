/** Field sets: canonical form, order, and the algebra against plain sets of paths. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { scale, seed } from '../../base/fuzzing.ts';
import type { FieldSet } from './field-set.ts';
import {
  compareElements,
  differenceSets,
  equalSets,
  FieldSetBuilder,
  hasPath,
  intersectSets,
  keyElement,
  pathsOf,
  pathText,
  readFieldSet,
  recursiveDifferenceSets,
  unionSets,
  valueElement,
} from './field-set.ts';

const setOf = (paths: readonly (readonly string[])[]): FieldSet => {
  const builder = new FieldSetBuilder();
  for (const path of paths) builder.insert(path, path.length);
  return builder.build();
};

test('order of elements', () => {
  const sorted = [
    'f:a',
    'f:b',
    'k:{"a":"x"}',
    'k:{"containerPort":80,"protocol":"TCP"}',
    'k:{"containerPort":443,"protocol":"TCP"}',
    'k:{"containerPort":443,"protocol":"UDP"}',
    'k:{"name":"a"}',
    'v:2',
    'v:10',
    'v:"a"',
    'v:true',
    'i:2',
    'i:10',
  ];
  assert.deepEqual(sorted.toReversed().sort(compareElements), sorted);
});

test('canonical form of what clients send', () => {
  const text = (value: unknown): string | undefined => JSON.stringify(readFieldSet(value));
  assert.equal(
    text({ 'f:b': {}, 'f:a': { 'f:y': {}, '.': {}, 'f:x': null }, 'z:future': {} }),
    '{"f:a":{".":{},"f:x":{},"f:y":{}},"f:b":{}}',
  );
  assert.equal(text({ 'k:{"b":1, "a":"<"}': {} }), JSON.stringify({ 'k:{"a":"\\u003c","b":1}': {} }));
  assert.equal(text({ '.': {}, 'f:a': {} }), '{"f:a":{}}');
  for (const bad of [[], 'x', { x: {} }, { 'f:a': 1 }, { 'v:[': {} }, { 'k:1': {} }, { 'i:x': {} }]) {
    assert.equal(readFieldSet(bad), undefined, JSON.stringify(bad));
  }
});

test('texts', () => {
  assert.equal(
    pathText(['f:spec', 'f:ports', keyElement(['containerPort', 'protocol'], [80, 'TCP']), 'f:name']),
    '.spec.ports[containerPort=80,protocol="TCP"].name',
  );
  assert.equal(pathText(['f:finalizers', valueElement('a&b'), 'i:3']), '.finalizers[="a&b"][3]');
});

const path = fc.array(fc.constantFrom('f:a', 'f:b', 'f:c', 'k:{"n":1}', 'k:{"n":10}', 'k:{"n":2}', 'v:"x"'), {
  minLength: 1,
  maxLength: 4,
});
const paths = fc.array(path, { maxLength: 12 });
const model = (list: readonly (readonly string[])[]): Set<string> => new Set(list.map((p) => p.join('|')));

/** Canonical: elements in order, `.` first and only where there are children, no dead ends. */
function assertCanonical(set: FieldSet, root = true): void {
  const keys = Object.keys(set);
  const elements = keys.filter((k) => k !== '.');
  if (keys.includes('.')) {
    assert.ok(!root && elements.length > 0);
    assert.equal(keys[0], '.');
  }
  assert.deepEqual(elements, elements.toSorted(compareElements));
  for (const e of elements) assertCanonical(set[e]!, false);
}

test('algebra', () => {
  fc.assert(
    fc.property(paths, paths, (x, y) => {
      const a = setOf(x);
      const b = setOf(y);
      const before = JSON.stringify([a, b]);
      const ma = model(x);
      const mb = model(y);
      const below = (p: string): boolean => [...mb].some((q) => p === q || p.startsWith(`${q}|`));
      const table: [FieldSet, Set<string>][] = [
        [a, ma],
        [unionSets(a, b), ma.union(mb)],
        [intersectSets(a, b), ma.intersection(mb)],
        [differenceSets(a, b), ma.difference(mb)],
        [recursiveDifferenceSets(a, b), new Set([...ma].filter((p) => !below(p)))],
      ];
      for (const [set, expected] of table) {
        assert.deepEqual([...model(pathsOf(set))].sort(), [...expected].sort());
        assertCanonical(set);
        for (const p of x) assert.equal(hasPath(set, p), expected.has(p.join('|')));
      }
      assert.equal(JSON.stringify(readFieldSet(JSON.parse(JSON.stringify(a)))), JSON.stringify(a));
      if (mb.isSubsetOf(ma)) assert.equal(unionSets(a, b), a);
      if (mb.isDisjointFrom(ma)) assert.equal(differenceSets(a, b), a);
      assert.equal(equalSets(a, b), JSON.stringify(a) === JSON.stringify(b));
      assert.equal(JSON.stringify([a, b]), before);
    }),
    { seed, numRuns: 1000 * scale },
  );
});
