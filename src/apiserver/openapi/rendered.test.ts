import assert from 'node:assert/strict';
import { test } from 'node:test';
import { RenderedDocuments, type Rendered } from './rendered.ts';

test('documents are made once a state, and held up to a number of bytes', async () => {
  const documents = new RenderedDocuments(100);
  const made: string[] = [];
  const get = (key: string, state: string, size = 40): Promise<Rendered> =>
    documents.get(key, state, async () => {
      made.push(`${key} ${state}`);
      return { bytes: Buffer.alloc(size), etag: state, gzipped: undefined };
    });
  await get('a', '1');
  const b = await get('b', '1');
  await get('a', '1');
  assert.deepEqual(made, ['a 1', 'b 1']);
  // Another state of one leaves the other.
  assert.equal((await get('a', '2')).etag, '2');
  assert.equal(await get('b', '1'), b);
  assert.deepEqual(made, ['a 1', 'b 1', 'a 2']);
  // Larger than all that is held: it is given, and again as long as somebody has it.
  const large = await get('c', '1', 1000);
  assert.equal(await get('c', '1'), large);
  assert.equal(made.length, 4);
  documents.retain((key) => key === 'b');
  await get('a', '2');
  assert.equal(made.at(-1), 'a 2');
  await assert.rejects(
    documents.get('d', '1', () => Promise.reject(new Error('no'))),
    /no/,
  );
  assert.equal((await get('d', '1')).etag, '1');
});
