import assert from 'node:assert/strict';
import { test } from 'node:test';
import { OneAtATime } from './one-at-a-time.ts';

test('what is asked for during a run is done by one more, and none begins where none may', async () => {
  const runs: PromiseWithResolvers<void>[] = [];
  let may = true;
  const work = new OneAtATime(
    () => {
      const run = Promise.withResolvers<void>();
      runs.push(run);
      return run.promise;
    },
    () => may,
  );
  work.ask();
  work.ask();
  work.ask();
  assert.equal(runs.length, 1);
  const first = work.ended();
  runs[0]!.resolve();
  await first;
  assert.equal(runs.length, 2);
  work.ask();
  may = false;
  const second = work.ended();
  runs[1]!.resolve();
  await second;
  assert.equal(runs.length, 2);
  await work.ended();
});
