import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SeededRandom } from '../../base/random.ts';
import type { Snapshot } from './tree.ts';
import { Tree } from './tree.ts';

interface Entry {
  readonly key: string;
  readonly value: number;
}

const keyOf = (n: number): string => `/registry/pods/ns-${n % 7}/pod-${String(n).padStart(5, '0')}`;

test('edits agree with a sorted map, and snapshots never change', () => {
  const random = new SeededRandom(7);
  const tree = new Tree<Entry>();
  const model = new Map<string, number>();
  const kept: { snapshot: Snapshot<Entry>; want: [string, number][] }[] = [];
  for (let step = 0; step < 12_000; step++) {
    const key = keyOf(random.int(3000));
    if (random.int(step < 6000 ? 4 : 2) === 0) {
      const old = tree.delete(key);
      assert.equal(old?.value, model.get(key));
      model.delete(key);
    } else {
      const old = tree.set({ key, value: step });
      assert.equal(old?.value, model.get(key));
      model.set(key, step);
    }
    assert.equal(tree.size, model.size);
    if (step % 1500 === 0) kept.push({ snapshot: tree.snapshot(), want: sorted(model) });
  }
  kept.push({ snapshot: tree.snapshot(), want: sorted(model) });
  for (const { snapshot, want } of kept) {
    assert.deepEqual(
      [...snapshot.range('', undefined)].map((e) => [e.key, e.value]),
      want,
    );
    for (let i = 0; i < want.length; i += 97) {
      assert.equal(snapshot.rank(want[i]![0]), i);
      assert.equal(snapshot.get(want[i]![0])?.value, want[i]![1]);
    }
    const from = '/registry/pods/ns-3/';
    const end = '/registry/pods/ns-30';
    const part = want.filter(([k]) => k >= from && k < end).map(([k]) => k);
    assert.deepEqual(
      [...snapshot.range(from, end)].map((e) => e.key),
      part,
    );
    assert.equal(snapshot.count(from, end), part.length);
  }
});

test('a tree built from sorted entries can be edited', () => {
  const entries = Array.from({ length: 5000 }, (_, i) => ({ key: `k${String(i * 2).padStart(6, '0')}`, value: i }));
  const tree = Tree.fromSorted(entries);
  const before = tree.snapshot();
  for (let i = 0; i < 5000; i += 3) tree.set({ key: `k${String(i * 2 + 1).padStart(6, '0')}`, value: -i });
  for (let i = 0; i < 5000; i += 2) tree.delete(`k${String(i * 2).padStart(6, '0')}`);
  assert.equal(before.size, 5000);
  assert.deepEqual(
    [...before.range('k000100', 'k000110')].map((e) => e.value),
    [50, 51, 52, 53, 54],
  );
  const keys = [...tree.snapshot().range('', undefined)].map((e) => e.key);
  assert.deepEqual(keys, keys.toSorted());
  assert.equal(keys.length, 2500 + 1667);
});

function sorted(model: ReadonlyMap<string, number>): [string, number][] {
  return [...model].sort(([a], [b]) => (a < b ? -1 : 1));
}
