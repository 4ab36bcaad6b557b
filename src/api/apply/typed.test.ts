/** Values under a schema: comparison, merge and removal, by table and by property. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { scale, seed } from '../../base/fuzzing.ts';
import { loadCatalog } from '../catalog/catalog.ts';
import { jsonEqual } from '../patch/values.ts';
import { lazyField, listSchema, mapSchema, objectSchema, scalarSchema } from '../schema/build.ts';
import type { Field, ObjectSchema, Schema } from '../schema/schema.ts';
import {
  differenceSets,
  emptyFieldSet,
  hasPath,
  isEmptySet,
  pathsOf,
  pathText,
  readFieldSet,
  unionSets,
} from './field-set.ts';
import { compareValues } from './typed-compare.ts';
import { reconcileWithSchema, toFieldSet } from './typed-fields.ts';
import { mergeValues, removeItems } from './typed-merge.ts';

const podSchema = loadCatalog().schema('io.k8s.api.core.v1.Pod');
const texts = (set: Parameters<typeof pathsOf>[0]): string[] => pathsOf(set).map(pathText).sort();

test('comparison', () => {
  const c = compareValues(
    podSchema,
    {
      metadata: { finalizers: ['a', 'b'], labels: { x: '1', y: '2' } },
      spec: {
        containers: [{ name: 'a', ports: [{ containerPort: 80 }] }],
        nodeSelector: { q: '1' },
        tolerations: [{ key: 'a' }],
      },
    },
    {
      metadata: { finalizers: ['b', 'c'], labels: { x: '1', y: '3' } },
      spec: {
        containers: [{ name: 'a', ports: [{ containerPort: 80, protocol: 'UDP' }] }, { name: 'b' }],
        nodeSelector: { q: '2' },
        tolerations: [{ key: 'b' }],
      },
    },
  );
  assert.deepEqual(texts(c.added), [
    '.metadata.finalizers[="c"]',
    '.spec.containers[name="a"].ports[containerPort=80,protocol="UDP"]',
    '.spec.containers[name="a"].ports[containerPort=80,protocol="UDP"].containerPort',
    '.spec.containers[name="a"].ports[containerPort=80,protocol="UDP"].protocol',
    '.spec.containers[name="b"]',
    '.spec.containers[name="b"].name',
  ]);
  assert.deepEqual(texts(c.modified), ['.metadata.labels.y', '.spec.nodeSelector', '.spec.tolerations']);
  assert.deepEqual(texts(c.removed), [
    '.metadata.finalizers[="a"]',
    '.spec.containers[name="a"].ports[containerPort=80,protocol="TCP"]',
    '.spec.containers[name="a"].ports[containerPort=80,protocol="TCP"].containerPort',
  ]);
});

test('duplicates of a key are one leaf', () => {
  const env = (...values: string[]): object => ({
    spec: { containers: [{ name: 'a', env: values.map((value) => ({ name: 'E', value })) }] },
  });
  const at = '.spec.containers[name="a"].env[name="E"]';
  assert.deepEqual(texts(compareValues(podSchema, env('1', '2'), env('1', '3')).modified), [at]);
  assert.deepEqual(texts(compareValues(podSchema, env('1'), env('1', '3')).added), [at]);
  assert.deepEqual(texts(compareValues(podSchema, env('1', '3'), env('1')).removed), [at]);
});

test('values without a schema are deduced', () => {
  const free = objectSchema({ name: '', preserveUnknown: true }, []);
  const c = compareValues(free, { a: { b: 1, l: [1] }, s: { t: 1 } }, { a: { b: 2, l: [2] }, s: 'x', n: { m: {} } });
  assert.deepEqual(texts(c.added), ['.n', '.n.m']);
  assert.deepEqual(texts(c.modified), ['.a.b', '.a.l', '.s']);
  assert.deepEqual(texts(c.removed), ['.s.t']);
});

test('a schema that became atomic', () => {
  const part = (atomic: boolean): ObjectSchema => {
    const field = (name: string, schema: Schema): Field =>
      lazyField({ name, index: 0, presence: 'omitempty' }, () => schema);
    return objectSchema({ name: '' }, [field('m', mapSchema(scalarSchema('string'), { atomic }))]);
  };
  const set = toFieldSet(part(false), { m: { a: '1', b: '2' } });
  assert.equal(JSON.stringify(set), '{"f:m":{"f:a":{},"f:b":{}}}');
  assert.equal(reconcileWithSchema(set, part(false)), set);
  assert.equal(JSON.stringify(reconcileWithSchema(set, part(true))), '{"f:m":{}}');
});

// A small type with every kind of container.
const text = scalarSchema('string');
const field = (name: string, schema: () => Schema): Field =>
  lazyField({ name, index: 0, presence: 'omitempty' }, schema);
const item = objectSchema({ name: 'Item' }, [
  field('name', () => text),
  field('value', () => text),
  field('inner', () => item),
]);
const root = objectSchema({ name: 'Root' }, [
  field('s', () => text),
  field('o', () => item),
  field('m', () => mapSchema(text)),
  field('am', () => mapSchema(text, { atomic: true })),
  field('al', () => listSchema(text)),
  field('set', () => listSchema(text, { listType: 'set' })),
  field('map', () => listSchema(item, { listType: 'map', mapKeys: ['name'] })),
]);
const word = fc.constantFrom('a', 'b', 'c');
const small = { maxKeys: 3 };
const inner = fc.record({ name: word, value: word }, { requiredKeys: [] });
const items = fc.uniqueArray(fc.record({ name: word, value: word, inner }, { requiredKeys: ['name'] }), {
  selector: (i) => i.name,
  maxLength: 3,
});
const dictionary = fc.dictionary(word, word, small);
/** Whether a path of fields leads to an empty container. */
function isEmptyAt(value: unknown, path: readonly string[]): boolean {
  let at = value;
  for (const element of path) {
    if (!element.startsWith('f:')) return true;
    at = (at as Record<string, unknown>)[element.slice(2)];
  }
  return typeof at === 'object' && at !== null && Object.keys(at).length === 0;
}

const value = fc
  .record(
    {
      s: word,
      o: inner,
      m: dictionary,
      am: dictionary,
      al: fc.array(word, { maxLength: 2 }),
      set: fc.uniqueArray(word),
      map: items,
    },
    { requiredKeys: [] },
  )
  .map((v) => JSON.parse(JSON.stringify(v)) as Record<string, unknown>);

test('merge, removal and comparison agree', () => {
  fc.assert(
    fc.property(value, value, (live, config) => {
      const before = JSON.stringify([live, config]);
      const merged = mergeValues(root, live, config);
      const change = compareValues(root, live, merged);
      // Merging removes nothing (an empty container that is filled is no removal), and says what the configuration says.
      assert.ok(isEmptySet(change.removed), texts(change.removed).join());
      const configSet = toFieldSet(root, config);
      const mergedSet = toFieldSet(root, merged);
      // An empty container in the configuration leaves a filled one as it is.
      const mergedPaths = pathsOf(mergedSet).map(pathText);
      for (const p of pathsOf(configSet).map(pathText))
        assert.ok(
          mergedPaths.some((q) => q.startsWith(p)),
          p,
        );
      assert.equal(mergeValues(root, merged, config), merged, 'idempotent');
      assert.equal(merged === live, jsonEqual(merged, live));

      // Everything of an object that comes to be is added, in canonical order, what has parts as a whole too.
      const { added } = compareValues(root, {}, config);
      const expected = new Set(['.set', '.map'].filter((p) => config[p.slice(1)] !== undefined));
      for (const p of pathsOf(configSet)) for (let n = 1; n <= p.length; n++) expected.add(pathText(p.slice(0, n)));
      assert.deepEqual(texts(added), [...expected].sort());
      assert.equal(JSON.stringify(readFieldSet(added)), JSON.stringify(added));

      // What a comparison calls added is gone from the other direction's point of view.
      const there = compareValues(root, live, config);
      const back = compareValues(root, config, live);
      assert.deepEqual(texts(there.added), texts(back.removed));
      assert.deepEqual(texts(there.modified), texts(back.modified));
      assert.equal(
        isEmptySet(unionSets(unionSets(there.added, there.modified), there.removed)),
        jsonEqual(live, config),
      );

      // What is taken out is gone (a container that got empty stays as one).
      const gone = differenceSets(mergedSet, configSet);
      const left = removeItems(root, merged, gone);
      const leftSet = toFieldSet(root, left);
      for (const p of pathsOf(gone)) {
        const atomicParent = !hasPath(leftSet, p);
        assert.ok(atomicParent || isEmptyAt(left, p), pathText(p));
      }
      assert.equal(removeItems(root, merged, emptyFieldSet), merged);
      assert.equal(JSON.stringify([live, config]), before);
    }),
    { seed, numRuns: 1000 * scale },
  );
});
