/** The virtual clock: the order of its timers, and what it waits for between two of them. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Timer } from './clock.ts';
import { SystemClock, VirtualClock } from './clock.ts';
import { macrotask, nextTurn } from './yield.ts';

test('timers fire in order of their deadlines, tickers again and again, cancelled ones never', async () => {
  const clock = new VirtualClock();
  const seen: string[] = [];
  const say = (what: string) => () => void seen.push(`${what}@${clock.monotonic()}`);
  clock.setTimer(30, say('late'));
  clock.setTimer(10, say('early'));
  clock.setTimer(10, () => {
    say('second')();
    clock.setTimer(0, say('at once'));
    clock.setTimer(5, say('soon'));
  });
  const ticker = clock.setTicker(10, say('tick'));
  clock.setTimer(25, () => ticker.cancel());
  const never = clock.setTimer(15, say('never'));
  never.cancel();
  never.cancel();
  assert.equal(clock.pending, 5);
  await clock.advance(30);
  assert.deepEqual(seen, ['early@10', 'second@10', 'tick@10', 'at once@10', 'soon@15', 'tick@20', 'late@30']);
  assert.equal(clock.pending, 0);
  assert.equal(clock.monotonic(), 30);

  // Timers that are set and cancelled again and again do not gather.
  const kept: Timer[] = [];
  for (let i = 0; i < 5000; i++) {
    const timer = clock.setTimer(1000 + i, say(String(i)));
    if (i % 1000 === 0) kept.push(timer);
    else timer.cancel();
  }
  assert.equal(clock.pending, 5);
  seen.length = 0;
  await clock.advance(10_000);
  assert.deepEqual(seen, ['0@1030', '1000@2030', '2000@3030', '3000@4030', '4000@5030']);
  for (const timer of kept) timer.cancel();
  assert.equal(clock.pending, 0);
});

test('between two timers it waits for what the first set off', async () => {
  const clock = new VirtualClock();
  const seen: string[] = [];
  const chain = async (turns: number): Promise<void> => {
    for (let i = 0; i < turns; i++) await Promise.resolve();
  };
  const at = (ms: number, work: () => Promise<void>): void => {
    clock.setTimer(ms, () => {
      void work().then(() => seen.push(`${ms}@${clock.monotonic()}`));
    });
  };
  const { activity } = clock;
  // Promises alone; a turn of the loop; a turn of one's own; work that is counted later on; work that begins more work.
  at(1, () => chain(500));
  at(2, () => macrotask().then(() => chain(500)));
  at(3, async () => {
    for (let i = 0; i < 20; i++) await nextTurn('last');
  });
  at(4, async () => {
    await chain(100);
    await activity.track(new Promise((resolve) => setTimeout(resolve, 20)));
  });
  at(5, async () => {
    const first = activity.begin();
    await macrotask();
    first();
    await macrotask();
    const second = activity.begin();
    for (let i = 0; i < 10; i++) await macrotask();
    second();
    second();
  });
  clock.setTimer(6, () => seen.push('end'));
  await clock.advance(10);
  assert.deepEqual(seen, ['1@1', '2@2', '3@3', '4@4', '5@5', 'end']);
  assert.equal(activity.count, 0);
});

test('who sleeps is woken in time or by its signal; an error in a timer is the error of advance', async () => {
  const clock = new VirtualClock();
  const stop = new AbortController();
  const slept = clock.sleep(10).then(() => clock.monotonic());
  const cut = assert.rejects(clock.sleep(10_000, stop.signal), /enough/);
  clock.setTimer(20, () => stop.abort(new Error('enough')));
  await clock.advance(50);
  assert.equal(await slept, 10);
  await cut;
  assert.equal(clock.pending, 0);
  clock.setTimer(10, () => {
    throw new Error('broken');
  });
  await assert.rejects(clock.advance(50), /broken/);
  await clock.advance(0);
});

test('tickers that find nothing to do cost no turn of the loop, but do not keep it either', async () => {
  const clock = new VirtualClock();
  let ticks = 0;
  let turns = 0;
  const at: number[] = [];
  clock.setTicker(1000, () => {
    ticks++;
    return 'idle';
  });
  clock.setTicker(3_600_000, () => {
    void macrotask().then(() => at.push(clock.monotonic()));
  });
  let over = false;
  const day = clock.advance(86_400_000).then(() => {
    over = true;
  });
  while (!over) {
    await macrotask();
    turns++;
  }
  await day;
  assert.equal(ticks, 86_400);
  assert.ok(turns > 100 && turns < 1000, `${turns} turns`);
  assert.deepEqual(
    at,
    Array.from({ length: 24 }, (_, i) => (i + 1) * 3_600_000),
  );
});

test('the horizon is the end of the advance that runs, otherwise now', async () => {
  const clock = new VirtualClock(1000);
  assert.equal(clock.horizon(), 1000);
  const seen: number[] = [];
  clock.setTicker(40, () => void seen.push(clock.horizon()));
  await clock.advance(100);
  assert.deepEqual(seen, [1100, 1100]);
  assert.equal(clock.horizon(), 1100);
  await Promise.all([clock.advance(100), clock.advance(20)]);
  assert.equal(clock.now(), 1200, 'two at a time end where the further one does');
  assert.deepEqual(seen, [1100, 1100, 1200, 1200, 1200]);
  const system = new SystemClock();
  assert.ok(Math.abs(system.horizon() - system.now()) < 1000);
});
