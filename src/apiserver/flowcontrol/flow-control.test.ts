import assert from 'node:assert/strict';
import { test } from 'node:test';
import { allocate } from './concurrency.ts';
import { DroppedRequests } from './dropped-requests.ts';
import { FlowControlMetrics } from './metrics.ts';
import { QueueSet, type FlowOf, type Ticket } from './queue-set.ts';
import { deal, hashFlow, requiredEntropyBits } from './shuffle-sharding.ts';
import type { WorkEstimate } from './work-estimate.ts';

test('hands are dealt of different cards, the same ones to the same flow', () => {
  const hash = hashFlow('workload-low', 'alice');
  const hand = deal(hash, 128, 6);
  assert.equal(new Set(hand).size, 6);
  assert.ok(hand.every((c) => c >= 0 && c < 128));
  assert.deepEqual(deal(hashFlow('workload-low', 'alice'), 128, 6), hand);
  assert.notDeepEqual(deal(hashFlow('workload-low', 'bob'), 128, 6), hand);
  assert.deepEqual(deal(0n, 4, 4), [0, 1, 2, 3]);
  assert.equal(requiredEntropyBits(64, 8), 48);
});

test('seats are dealt in proportion to what is asked, within the bounds', () => {
  const seats = (sum: number, ...items: [target: number, lower: number, upper: number][]): number[] =>
    allocate(
      sum,
      items.map(([target, lower, upper]) => ({ target, lower, upper })),
    ).seats.map((s) => Math.round(s * 1000) / 1000);
  assert.deepEqual(seats(100, [10, 0, 100], [30, 0, 100]), [25, 75]);
  assert.deepEqual(seats(100, [10, 0, 100], [30, 0, 60]), [40, 60]);
  assert.deepEqual(seats(100, [10, 10, 100], [1000, 0, 100]), [10, 90]);
  assert.deepEqual(seats(20, [0, 5, 30], [0, 5, 30]), [10, 10]);
  assert.deepEqual(seats(10, [5, 5, 8], [9, 5, 8]), [5, 5]);
  assert.throws(() => seats(5, [5, 5, 8], [9, 5, 8]), /lower bounds sum to 10/);
  assert.throws(() => seats(50, [5, 5, 8], [9, 5, 8]), /upper bounds sum to 16/);
});

/** A level whose time is the test's. */
function level(queues: number, queueLengthLimit: number, limit: number) {
  let now = 1000;
  const later: { readonly at: number; readonly fn: () => void }[] = [];
  const metrics = new FlowControlMetrics(() => now);
  const set: QueueSet = new QueueSet(
    metrics.level('level', () => set.r),
    () => now,
    (ms, fn) => later.push({ at: now + ms, fn }),
  );
  set.configure({ queues, handSize: 1, queueLengthLimit }, limit);
  const flow = (name: string, queue: number): FlowOf => ({
    flowSchema: 'schema',
    distinguisher: name,
    hand: [queue],
    metrics: metrics.flow('level', 'schema'),
  });
  const work = (initialSeats: number, finalSeats = 0, additionalLatency = 0): WorkEstimate => ({
    initialSeats,
    finalSeats,
    additionalLatency,
  });
  return {
    set,
    flow,
    work,
    start: (f: FlowOf, estimate = work(1)) => set.start(estimate, f, f.distinguisher, now),
    finish: (t: Ticket) => set.finish(t, now),
    pass(ms: number) {
      now += ms;
      for (const l of later.splice(0)) {
        if (l.at <= now) l.fn();
        else later.push(l);
      }
    },
  };
}

test('a flow that came first with much does not keep another waiting for all of it', () => {
  const l = level(2, 50, 1);
  const [elephant, mouse] = [l.flow('elephant', 0), l.flow('mouse', 1)];
  const order: string[] = [];
  const running: Ticket[] = [];
  const start = (f: FlowOf): void => {
    const t = l.start(f) as Ticket;
    const runs = (): void => {
      order.push(f.distinguisher);
      running.push(t);
    };
    if (t.state === 'executing') runs();
    else t.decide = runs;
  };
  for (let i = 0; i < 6; i++) start(elephant);
  l.pass(10);
  for (let i = 0; i < 3; i++) start(mouse);
  while (running.length > 0) {
    l.pass(10);
    l.finish(running.shift()!);
  }
  assert.equal(order.length, 9);
  assert.ok(order.lastIndexOf('mouse') < 7, order.join(' '));
  assert.ok(l.set.idle);
});

test('queues are bounded, wide requests get all there is, and seats stay taken behind a write', () => {
  const l = level(1, 2, 4);
  const flow = l.flow('one', 0);
  const wide = l.start(flow, l.work(10)) as Ticket;
  assert.equal(wide.state, 'executing');
  const waiting = [l.start(flow), l.start(flow)] as Ticket[];
  assert.deepEqual(
    waiting.map((t) => t.state),
    ['waiting', 'waiting'],
  );
  assert.equal(l.start(flow), 'queue-full');
  assert.equal(l.set.cancel(waiting[1]!), true);
  assert.equal(l.set.cancel(waiting[1]!), false);
  l.finish(wide);
  assert.equal(waiting[0]!.state, 'executing');
  assert.equal(l.set.seatsInUse, 1);
  const write = l.start(flow, l.work(1, 3, 50)) as Ticket;
  assert.equal(l.set.seatsInUse, 4);
  l.finish(write);
  assert.equal(l.set.seatsInUse, 4);
  const next = l.start(flow) as Ticket;
  assert.equal(next.state, 'waiting');
  l.pass(50);
  assert.equal(next.state, 'executing');
  assert.equal(l.set.seatsInUse, 2);
});

test('a level without queues refuses at once; an exempt one never', () => {
  const l = level(1, 1, 1);
  const flow = { ...l.flow('one', 0), hand: [] };
  l.set.configure('reject', 1);
  assert.equal((l.start(flow) as Ticket).state, 'executing');
  assert.equal(l.start(flow), 'concurrency-limit');
  l.set.configure('exempt', 0);
  assert.equal((l.start(flow) as Ticket).state, 'executing');
});

test('who is refused often is told to stay away longer', () => {
  const dropped = new DroppedRequests();
  let told = 0;
  for (let second = 0; second < 40; second++) for (let i = 0; i < 20; i++) told = dropped.add('level', second * 1000);
  assert.ok(told > 4, String(told));
  assert.equal(dropped.add('other', 0), 1);
});
