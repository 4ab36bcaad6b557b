import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Committed } from '../request.ts';
import { FormCache } from './form-cache.ts';

const committed = (key: string): Committed => ({
  key,
  revision: 1,
  name: key,
  namespace: '',
  bytes: Buffer.alloc(0),
  object: () => ({ metadata: {} }),
});

test('forms are kept up to a number of bytes, the first go first, and one form takes the place of another', () => {
  const bytes = Buffer.alloc(744);
  const cache = new FormCache(100_000);
  const all = Array.from({ length: 300 }, (_, i) => committed(`c${i}`));
  for (const c of all) cache.add(c, 'a', bytes);
  const kept = (form: string): string[] => all.filter((c) => cache.get(c, form) !== undefined).map((c) => c.key);
  // Each takes a thousand bytes with what stands beside it.
  assert.deepEqual(
    kept('a'),
    all.slice(200).map((c) => c.key),
  );
  // Taking turns in one place for ever leaves the others where they are.
  for (let i = 0; i < 10_000; i++) cache.add(all[299]!, i % 2 === 0 ? 'b' : 'a', bytes);
  assert.deepEqual(
    kept('a'),
    all.slice(200).map((c) => c.key),
  );
  for (const c of all.slice(0, 99)) cache.add(c, 'a', bytes);
  assert.deepEqual(
    kept('a'),
    [...all.slice(0, 99), all[299]!].map((c) => c.key),
  );
});
