/** The client's tools over a small fake API and a virtual clock. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { VirtualClock } from '../base/clock.ts';
import { silentLogger } from '../base/logger.ts';
import { SeededRandom } from '../base/random.ts';
import { notFound } from '../api/status.ts';
import { formatTime } from '../api/time.ts';
import type { ConfigMap, Pod } from '../api/types/index.gen.ts';
import { Controller } from './controller.ts';
import { isConflict, isNotFound } from './errors.ts';
import { EventRecorder } from './event-recorder.ts';
import { Expectations } from './expectations.ts';
import { FakeApi } from './fake-api.ts';
import { InformerFactory } from './informer-factory.ts';
import { runLeaderElection } from './leader-election.ts';
import { resources } from './resources.ts';
import { serviceAccountCredentials } from './service-account-credentials.ts';
import { slowStartBatch } from './slow-start.ts';
import type { ApiRequest, ApiResponse, Transport } from './transport.ts';
import { createClient } from './typed-client.ts';
import { WorkQueue } from './work-queue.ts';

function setUp() {
  const clock = new VirtualClock();
  const random = new SeededRandom(1);
  const api = new FakeApi(clock, random);
  const client = createClient(api);
  return { clock, random, api, client, logger: silentLogger };
}

const configMap = (name: string, data: Record<string, string> = {}): ConfigMap => ({
  metadata: { name, namespace: 'default' },
  data,
});

test('typed accessors speak the API paths', async () => {
  const { api, client } = setUp();
  const made = await client.core.configmaps.create(configMap('a', { k: 'v' }));
  assert.equal(made.metadata.namespace, 'default');
  assert.equal((await client.core.configmaps.get('a', 'default')).data?.['k'], 'v');
  await client.core.configmaps.patch('a', 'default', 'merge', { data: { k: null, l: 'w' } });
  assert.deepEqual((await client.core.configmaps.get('a', 'default')).data, { l: 'w' });
  await assert.rejects(client.core.configmaps.update({ ...made, data: {} }), isConflict);
  await client.core.configmaps.delete('a', 'default');
  await assert.rejects(client.core.configmaps.get('a', 'default'), isNotFound);
  await client.apps.deployments.list();
  assert.equal(api.requests.at(-1)?.path, '/apis/apps/v1/deployments');
  await assert.rejects(client.core.pods.get('', 'default'), /resource name may not be empty/);
});

for (const streaming of [true, false]) {
  test(`an informer follows, resumes and lists again after 410 (streaming: ${streaming})`, async () => {
    const { clock, random, api, client, logger } = setUp();
    api.streaming = streaming;
    await client.core.configmaps.create(configMap('a'));
    const factory = new InformerFactory({ client, clock, random, logger });
    const informer = factory.informer(resources.core.configmaps);
    informer.addIndex('first-letter', (o) => [o.metadata.name![0]!]);
    const seen: string[] = [];
    informer.addHandler({
      onAdd: (o, initial) => seen.push(`add ${o.metadata.name}${initial ? ' initial' : ''}`),
      onUpdate: (old, o) => seen.push(`update ${o.metadata.name} ${old.data?.['k']}→${o.data?.['k']}`),
      onDelete: (o) => seen.push(`delete ${o.metadata.name}`),
    });
    factory.start();
    await informer.synced;
    await client.core.configmaps.create(configMap('b', { k: '1' }));
    await client.core.configmaps.patch('b', 'default', 'merge', { data: { k: '2' } });
    await clock.advance(0);
    assert.deepEqual(seen, ['add a initial', 'add b', 'update b 1→2']);
    assert.equal(informer.lister.get('b', 'default'), api.all(resources.core.configmaps)[1], 'no copy is kept');
    assert.deepEqual([...informer.lister.byIndex('first-letter', 'b')].length, 1);

    seen.length = 0;
    api.dropWatches();
    await client.core.configmaps.create(configMap('c'));
    await clock.advance(2000);
    assert.deepEqual(seen, ['add c'], 'the watch went on from where it was');

    seen.length = 0;
    api.dropWatches();
    await client.core.configmaps.delete('a', 'default');
    await client.core.configmaps.patch('b', 'default', 'merge', { data: { k: '3' } });
    await client.core.configmaps.delete('c', 'default');
    await client.core.configmaps.create(configMap('c'));
    api.compact();
    await clock.advance(5000);
    assert.deepEqual(seen.toSorted(), ['add c', 'delete a', 'delete c', 'update b 2→3'].toSorted());
    assert.equal(informer.lister.size, 2);

    seen.length = 0;
    api.fault = () => new Error('connection refused');
    api.dropWatches();
    await clock.advance(60_000);
    api.fault = undefined;
    await client.core.configmaps.create(configMap('d'));
    await clock.advance(60_000);
    assert.deepEqual(seen, ['add d']);
    await factory.stop();
    assert.equal(clock.pending, 0);
  });
}

test('a work queue holds a key once, backs off, and keeps the clock waiting', async () => {
  const clock = new VirtualClock();
  const queue = new WorkQueue({ clock });
  queue.add('a');
  queue.add('b');
  queue.add('a');
  assert.equal(queue.depth, 2);
  assert.equal(clock.activity.count, 1);
  assert.equal(queue.take(), 'a');
  queue.add('a');
  assert.equal(queue.take(), 'b');
  assert.equal(queue.take(), undefined, 'a is being processed');
  queue.done('b');
  queue.done('a');
  assert.equal(queue.take(), 'a');
  queue.addRateLimited('a');
  queue.addRateLimited('a');
  queue.done('a');
  assert.equal(clock.activity.count, 0);
  queue.addAfter('late', 10_000);
  queue.addAfter('late', 20_000);
  queue.onReady = () => {
    const key = queue.take()!;
    seen.push(`${key}@${clock.monotonic()}`);
    queue.done(key);
  };
  const seen: string[] = [];
  await clock.advance(30_000);
  assert.deepEqual(seen, ['a@5', 'late@10000']);
  queue.close();
  assert.equal(clock.pending, 0);
});

test('a controller retries a failing key alone and later', async () => {
  const clock = new VirtualClock();
  const runs: string[] = [];
  let inside = 0;
  const controller = new Controller({
    name: 'test',
    clock,
    logger: silentLogger,
    workers: 2,
    reconcile: async (key) => {
      assert.ok(++inside <= 2);
      await Promise.resolve();
      runs.push(`${key}@${clock.monotonic()}`);
      inside--;
      if (key === 'bad' && runs.filter((r) => r.startsWith('bad')).length < 4) throw new Error('no');
    },
  });
  controller.queue.add('bad');
  controller.queue.add('good');
  controller.start();
  await clock.advance(1000);
  assert.deepEqual(runs, ['bad@0', 'good@0', 'bad@5', 'bad@15', 'bad@35']);
  assert.equal(controller.queue.retries('bad'), 0);
  await controller.stop();
});

test('expectations hold until seen or five minutes have passed', () => {
  const clock = new VirtualClock();
  const e = new Expectations(clock);
  assert.ok(e.satisfied('k'));
  e.expectCreations('k', 2);
  e.expectDeletions('k', ['x']);
  e.creationObserved('k');
  e.creationObserved('k');
  assert.ok(!e.satisfied('k'));
  e.deletionObserved('k', 'x');
  assert.ok(e.satisfied('k'));
});

test('slow start stops after a failing batch', async () => {
  const calls: number[] = [];
  const result = await slowStartBatch(100, 1, async (i) => {
    calls.push(i);
    if (i === 4) throw new Error('quota');
  });
  assert.equal(calls.length, 7);
  assert.equal(result.successes, 6);
  assert.match(String(result.error), /quota/);
});

test('events are counted, combined and throttled', async () => {
  const { clock, random, api, client, logger } = setUp();
  const recorder = new EventRecorder({ client, clock, random, logger, component: 'kubelet', host: 'n1' });
  const pod: Pod = { metadata: { name: 'p', namespace: 'default', uid: 'u' } };
  for (let i = 0; i < 3; i++) {
    recorder.event(resources.core.pods, pod, 'Warning', 'BackOff', 'again');
    await clock.advance(1000);
  }
  let events = api.all(resources.core.events);
  assert.equal(events.length, 1);
  assert.equal(events[0]!['count'], 3);
  assert.match(events[0]!.metadata.name!, /^p\.[0-9a-f]{16}$/);
  assert.equal(events[0]!['lastTimestamp'], '2026-01-01T00:00:02Z');

  for (let i = 0; i < 40; i++) {
    recorder.event(resources.core.pods, pod, 'Normal', 'Pulled', `message ${i}`);
    await clock.advance(10);
  }
  events = api.all(resources.core.events).filter((e) => e['reason'] === 'Pulled');
  assert.equal(events.length, 10, 'nine of their own, then one for all');
  const combined = events.find((e) => String(e['message']).startsWith('(combined'))!;
  assert.equal(combined['count'], 16, 'twenty-five of a type may come in a burst');
  await recorder.stop();
  assert.equal(clock.pending, 0);
});

test('an event that cannot be written is tried again without holding the clock', async () => {
  const { clock, random, api, client, logger } = setUp();
  const recorder = new EventRecorder({ client, clock, random, logger, component: 'kubelet', concurrency: 2 });
  const pod = (name: string): Pod => ({ metadata: { name, namespace: 'default', uid: name } });
  api.fault = () => new Error('connection refused');
  // One that sleeps, one that counts it and waits behind it, and two that find no place.
  for (const name of ['a', 'a', 'b', 'c']) {
    recorder.event(resources.core.pods, pod(name), 'Normal', 'Started', 'it runs');
    assert.equal(clock.activity.count, 1);
  }
  await clock.advance(0);
  assert.equal(clock.activity.count, 0);
  await clock.advance(30_000);
  api.fault = undefined;
  await clock.advance(30_000);
  assert.deepEqual(
    api
      .all(resources.core.events)
      .map((e) => [(e['involvedObject'] as { name: string }).name, e['count']])
      .toSorted(),
    [
      ['a', 2],
      ['b', 1],
      ['c', 1],
    ],
  );
  await recorder.flush();
  api.fault = () => new Error('connection refused');
  recorder.event(resources.core.pods, pod('d'), 'Normal', 'Started', 'it runs');
  await clock.advance(0);
  await recorder.stop();
  assert.equal(clock.activity.count, 0);
  assert.equal(clock.pending, 0);
});

test('leadership is taken, kept, lost and handed over', async () => {
  const { clock, random, api, client, logger } = setUp();
  const log: string[] = [];
  const run = (identity: string, signal: AbortSignal) =>
    runLeaderElection({
      client,
      clock,
      random,
      logger,
      name: 'kube-scheduler',
      identity,
      signal,
      onStartedLeading: (lead) => {
        log.push(`${identity} leads`);
        lead.addEventListener('abort', () => log.push(`${identity} ends`));
      },
      onNewLeader: (leader) => log.push(`${identity} sees ${leader}`),
    });
  const a = new AbortController();
  const b = new AbortController();
  const runA = run('a', a.signal);
  await clock.advance(100);
  const runB = run('b', b.signal);
  await clock.advance(60_000);
  assert.deepEqual(log, ['a sees a', 'a leads', 'b sees a']);
  a.abort();
  await runA;
  await clock.advance(5000);
  assert.deepEqual(log.slice(3), ['a ends', 'b sees b', 'b leads']);
  const lease = api.all(resources.coordination.leases)[0] as { spec?: { leaseTransitions?: number } };
  assert.equal(lease.spec?.leaseTransitions, 1);

  const c = new AbortController();
  const runC = run('c', c.signal);
  api.fault = (r) => (r.method === 'PUT' ? new Error('no connection') : undefined);
  await clock.advance(14_000);
  assert.equal(log.at(-1), 'b ends', 'the deadline for renewing has passed');
  api.fault = undefined;
  await clock.advance(20_000);
  assert.ok(log.includes('c leads'));
  b.abort();
  c.abort();
  await Promise.all([runB, runC]);
  assert.equal(clock.pending, 0);
});

test('credentials of a service account are made on demand and renewed in time', async () => {
  const { clock, api, client } = setUp();
  let issued = 0;
  api.answer = (r) => {
    if (!r.path.endsWith('/token')) return undefined;
    if (api.all(resources.core.serviceaccounts).length === 0) throw notFound(resources.core.serviceaccounts, 'a');
    const expirationTimestamp = formatTime(clock.now() + 3_600_000);
    return { metadata: {}, status: { token: `t${++issued}`, expirationTimestamp } };
  };
  const credentials = serviceAccountCredentials({ client, namespace: 'kube-system', name: 'a', clock });
  const both = await Promise.all([credentials(false), credentials(false)]);
  assert.deepEqual(both, [{ token: 't1' }, { token: 't1' }]);
  await clock.advance(2_800_000);
  assert.deepEqual(await credentials(false), { token: 't1' });
  await clock.advance(200_000);
  assert.deepEqual(await credentials(false), { token: 't2' });
  assert.deepEqual(await credentials(true), { token: 't3' });
});

test('a server that is too busy is asked again when it says', async () => {
  const { api, client } = setUp();
  let asked = 0;
  const busy = {
    ...api,
    request: (r: ApiRequest): Promise<ApiResponse> =>
      ++asked < 3 ? Promise.resolve({ status: 429, headers: { 'retry-after': '0' }, body: 'busy' }) : api.request(r),
  } as unknown as Transport;
  await createClient(busy).core.configmaps.list();
  assert.equal(asked, 3);
  await client.core.configmaps.list();
});
