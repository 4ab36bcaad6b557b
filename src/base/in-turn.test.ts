import assert from 'node:assert/strict';
import { test } from 'node:test';
import { InTurn, InTurnByKey } from './in-turn.ts';

test('work goes on behind what has failed, in the order in which it was asked for', async () => {
  const seen: string[] = [];
  const gate = Promise.withResolvers<void>();
  const queue = new InTurn();
  const first = queue.run(async () => {
    await gate.promise;
    seen.push('first');
    throw new Error('no');
  });
  const second = queue.run(async () => seen.push('second'));
  const byKey = new InTurnByKey();
  const slow = byKey.run('a', () => gate.promise);
  const behind = byKey.run('a', async () => seen.push('a'));
  await byKey.run('b', async () => seen.push('b'));
  assert.deepEqual(seen, ['b']);
  gate.resolve();
  await assert.rejects(first, /no/);
  await second;
  await Promise.all([slow, behind, queue.ended()]);
  assert.deepEqual(seen.toSorted(), ['a', 'b', 'first', 'second']);
});
