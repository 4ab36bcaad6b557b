import assert from 'node:assert/strict';
import { test } from 'node:test';
import { VirtualClock } from '../../base/clock.ts';
import type { RangeRequest, RangeResult } from '../../etcd/store.ts';
import type { Harness, Json } from '../verbs/harness.ts';
import { startHarness, take, told } from '../verbs/harness.ts';
import { DelegatingStore } from './delegating-store.ts';

const cms = '/api/v1/namespaces/default/configmaps';
const pods = '/api/v1/namespaces/default/pods';

async function fill(h: Harness, count: number, namespace = 'default'): Promise<void> {
  await Promise.all(
    Array.from({ length: count }, (_, i) =>
      h.request('POST', `/api/v1/namespaces/${namespace}/configmaps`, {
        metadata: { name: `c${String(i).padStart(3, '0')}`, labels: { mod: String(i % 3) } },
      }),
    ),
  );
}

const names = (list: Json): string[] => list.items.map((i: Json) => i.metadata.name);

test('pages are one consistent list, whatever happens between them', async () => {
  const h = await startHarness();
  await fill(h, 25);
  await fill(h, 5, 'other');
  const first = await h.request('GET', `${cms}?limit=10`);
  assert.equal(first.body.metadata.remainingItemCount, 15);
  await h.request('DELETE', `${cms}/c015`);
  await h.request('POST', cms, { metadata: { name: 'c010a' } });
  const second = await h.request('GET', `${cms}?limit=10&continue=${first.body.metadata.continue}`);
  const third = await h.request('GET', `${cms}?limit=10&continue=${second.body.metadata.continue}`);
  const all = [...names(first.body), ...names(second.body), ...names(third.body)];
  assert.deepEqual(
    all,
    Array.from({ length: 25 }, (_, i) => `c${String(i).padStart(3, '0')}`),
  );
  assert.equal(third.body.metadata.continue, undefined);
  assert.equal(third.body.metadata.resourceVersion, first.body.metadata.resourceVersion);
  const token = JSON.parse(Buffer.from(first.body.metadata.continue, 'base64url').toString());
  assert.deepEqual(token, { v: 'meta.k8s.io/v1', rv: Number(first.body.metadata.resourceVersion), start: 'c009\0' });
  const exact = await h.request(
    'GET',
    `${cms}?resourceVersion=${first.body.metadata.resourceVersion}&resourceVersionMatch=Exact`,
  );
  assert.ok(names(exact.body).includes('c015') && !names(exact.body).includes('c010a'));
  const selected = await h.request('GET', `${cms}?limit=4&labelSelector=mod=1`);
  assert.equal(selected.body.items.length, 4);
  assert.equal(selected.body.metadata.remainingItemCount, undefined);
  const everywhere = await h.request('GET', '/api/v1/configmaps?fieldSelector=metadata.namespace=other');
  assert.equal(everywhere.body.items.length, 5);
  await h.close();
});

test('bad list options are refused as upstream does', async () => {
  const h = await startHarness();
  const cases: [string, number, string][] = [
    [
      'resourceVersionMatch=Exact',
      422,
      'ListOptions.meta.k8s.io "" is invalid: resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden unless resourceVersion is provided',
    ],
    [
      'resourceVersionMatch=Exact&resourceVersion=0',
      422,
      'ListOptions.meta.k8s.io "" is invalid: resourceVersionMatch: Forbidden: resourceVersionMatch "exact" is forbidden for resourceVersion "0"',
    ],
    [
      'sendInitialEvents=true',
      422,
      'ListOptions.meta.k8s.io "" is invalid: sendInitialEvents: Forbidden: sendInitialEvents is forbidden for list',
    ],
    ['limit=x', 400, 'strconv.ParseInt: parsing "x": invalid syntax'],
    ['continue=!!', 400, 'invalid continue token: continue key is not valid: illegal base64 data at input byte 0'],
    [
      'resourceVersion=abc',
      400,
      'invalid resource version: resourceVersion: Invalid value: "abc": strconv.ParseUint: parsing "abc": invalid syntax',
    ],
    ['labelSelector=a b', 400, "unable to parse requirement: found 'b', expected: in, notin, =, ==, !=, gt, lt"],
    [
      'fieldSelector=spec.x=1',
      400,
      '"spec.x" is not a known field selector: only "metadata.name", "metadata.namespace"',
    ],
    [
      'watch=1&resourceVersionMatch=NotOlderThan&resourceVersion=5',
      422,
      'ListOptions.meta.k8s.io "" is invalid: resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided',
    ],
  ];
  for (const [query, status, message] of cases) {
    const answer = await h.request('GET', `${cms}?${query}`);
    assert.deepEqual([answer.status, answer.body.message], [status, message]);
  }
  await h.close();
});

test('watches start where they are told to and see every event once, in order', async () => {
  const h = await startHarness();
  await fill(h, 3);
  const { body: list } = await h.request('GET', cms);
  const rv = list.metadata.resourceVersion;
  await h.request('POST', cms, { metadata: { name: 'new', labels: { mod: '1' } } });
  await h.request('DELETE', `${cms}/c000`);
  const since = await h.watch(`${cms}?watch=1&resourceVersion=${rv}`);
  assert.deepEqual(told(await take(since, 2)), ['ADDED new', 'DELETED c000']);
  const selected = await h.watch(`${cms}?watch=1&labelSelector=mod=1`);
  assert.deepEqual(told(await take(selected, 2)), ['ADDED c001', 'ADDED new']);
  const label = (name: string, mod: string): Promise<Json> =>
    h.request('PATCH', `${cms}/${name}`, { metadata: { labels: { mod } } }, 'application/merge-patch+json');
  await label('c002', '1');
  await label('new', '2');
  await label('c001', '1');
  await h.request('PATCH', `${cms}/c001`, { data: { a: 'b' } }, 'application/merge-patch+json');
  const events = await take(selected, 3);
  assert.deepEqual(told(events), ['ADDED c002', 'DELETED new', 'MODIFIED c001']);
  // What leaves a selection is told with its old content at the new revision.
  const left = events[1]!.committed.object();
  assert.equal((left.metadata['labels'] as Json).mod, '1');
  assert.equal(left.metadata['resourceVersion'], String(events[1]!.committed.revision));
  const live = await take(since, 3);
  assert.deepEqual(told(live), ['MODIFIED c002', 'MODIFIED new', 'MODIFIED c001']);
  // Both hold the very same events.
  assert.equal(live[2], events[2]);
  since.close();
  selected.close();
  assert.equal(await since.next(), undefined);
  await h.close();
});

test('streaming lists end their initial events with a bookmark', async () => {
  const h = await startHarness();
  await fill(h, 3);
  const watch = await h.watch(
    `${cms}?watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true`,
  );
  const events = await take(watch, 4);
  assert.deepEqual(told(events), ['ADDED c000', 'ADDED c001', 'ADDED c002', 'BOOKMARK']);
  assert.equal(events[3]!.bookmark?.initialEventsEnd, true);
  assert.deepEqual(events[3]!.committed.object().metadata['annotations'], { 'k8s.io/initial-events-end': 'true' });
  watch.close();
  const { body } = await h.request('GET', cms);
  const now = await h.watch(
    `${cms}?watch=1&sendInitialEvents=false&resourceVersionMatch=NotOlderThan&resourceVersion=${body.metadata.resourceVersion}`,
  );
  await h.request('DELETE', `${cms}/c001`);
  assert.deepEqual(told(await take(now, 1)), ['DELETED c001']);
  now.close();
  await h.close();
});

test('bookmarks come every minute, watches end in time, the window gets 410', async () => {
  const clock = new VirtualClock();
  const h = await startHarness({ clock, historyAgeMs: 60_000 });
  await fill(h, 2);
  const { body: early } = await h.request('GET', `${cms}?limit=1`);
  const watch = await h.watch(
    `${cms}?watch=1&allowWatchBookmarks=true&resourceVersion=${early.metadata.resourceVersion}&timeoutSeconds=90`,
  );
  await h.request('POST', '/api/v1/namespaces/default/secrets', { metadata: { name: 's' }, type: 'Opaque' });
  const bookmark = take(watch, 1);
  await clock.advance(61_000);
  const [event] = await bookmark;
  assert.equal(event!.type, 'BOOKMARK');
  assert.ok(Number(event!.bookmark!.resourceVersion) > Number(early.metadata.resourceVersion));
  const last = (async () => [await watch.next(), await watch.next()])();
  await clock.advance(31_000);
  const [bye, end] = await last;
  assert.deepEqual([bye?.[0]?.type, end], ['BOOKMARK', undefined]);
  assert.equal(watch.error, undefined);
  // Six minutes and some writes later the first state is gone from window and store.
  await fill(h, 1, 'more');
  await clock.advance(7 * 60_000);
  await fill(h, 1, 'again');
  await clock.advance(2 * 60_000);
  const old = await h.watch(`${cms}?watch=1&resourceVersion=2`);
  assert.equal(await old.next(), undefined);
  assert.match(String((old.error as Json).message), /^too old resource version: 2 \(\d+\)$/);
  assert.equal((old.error as Json).code, 410);
  await h.store.compact(await h.store.currentRevision());
  const page = await h.request('GET', `${cms}?limit=1&continue=${early.metadata.continue}`);
  assert.equal(page.status, 410);
  assert.match(page.body.message, /^The provided continue parameter is too old/);
  const rest = await h.request('GET', `${cms}?limit=1&continue=${page.body.metadata.continue}`);
  assert.deepEqual(names(rest.body), ['c001']);
  await h.close();
});

test('a watch from what came before anybody read the resource', async () => {
  const h = await startHarness();
  const events = '/api/v1/namespaces/default/events';
  const versions: string[] = [];
  for (const name of ['a', 'b', 'c']) {
    const made = await h.request('POST', events, {
      metadata: { name },
      involvedObject: { kind: 'Pod', namespace: 'default', name: 'p' },
    });
    versions.push(made.body.metadata.resourceVersion);
  }
  const watch = await h.watch(`${events}?watch=1&resourceVersion=${versions[0]}`);
  const seen = await take(watch, 2);
  assert.deepEqual(
    seen.map((e) => [e.type, e.committed.object().metadata.name]),
    [
      ['ADDED', 'b'],
      ['ADDED', 'c'],
    ],
  );
  watch.close();
  await h.close();
});

test('pods are listed and watched by node', async () => {
  const h = await startHarness();
  for (let i = 0; i < 6; i++) {
    await h.request('POST', pods, {
      metadata: { name: `p${i}` },
      spec: { nodeName: i === 5 ? undefined : `n${i % 2}`, containers: [{ name: 'c', image: 'i' }] },
    });
  }
  const on = '/api/v1/pods?fieldSelector=spec.nodeName=n1';
  assert.deepEqual(names((await h.request('GET', on)).body), ['p1', 'p3']);
  const page = await h.request('GET', `${on}&limit=1`);
  const rest = await h.request('GET', `${on}&limit=1&continue=${page.body.metadata.continue}`);
  assert.deepEqual(names(rest.body), ['p3']);
  const watch = await h.watch(`${on}&watch=1`);
  assert.deepEqual(told(await take(watch, 2)), ['ADDED p1', 'ADDED p3']);
  await h.request('POST', `${pods}/p5/binding`, { metadata: { name: 'p5' }, target: { kind: 'Node', name: 'n1' } });
  await h.request('DELETE', `${pods}/p0`);
  await h.request('DELETE', `${pods}/p1`);
  assert.deepEqual(told(await take(watch, 2)), ['ADDED p5', 'DELETED p1']);
  watch.close();
  await h.close();
});

test('a watcher that does not read is ended', async () => {
  const h = await startHarness();
  const watch = await h.watch(`${cms}?watch=1`);
  const reading = watch.next();
  await h.request('POST', cms, { metadata: { name: 'big' } });
  assert.deepEqual(told((await reading)!), ['ADDED big']);
  const data = { k: 'x'.repeat(1 << 20) };
  for (let i = 0; i < 12; i++) {
    await h.request('PATCH', `${cms}/big`, { data: { ...data, n: String(i) } }, 'application/merge-patch+json');
  }
  let seen = 0;
  for (let batch = await watch.next(); batch !== undefined; batch = await watch.next()) seen += batch.length;
  assert.ok(seen < 12);
  assert.equal(h.registries.registry('', 'configmaps')!.cache.watcherCount, 0);
  await h.close();
});

test('a cache of a store that others write, too, is held against it, and read anew where it is wrong', async () => {
  let lost = false;
  class Forgetful extends DelegatingStore {
    readonly stale = undefined;

    override async range(request: RangeRequest): Promise<RangeResult> {
      const found = await super.range(request);
      return lost && request.keysOnly === true ? { ...found, kvs: found.kvs.slice(0, -1) } : found;
    }
  }
  const clock = new VirtualClock();
  const h = await startHarness({ clock, remote: (store) => new Forgetful(store) });
  await fill(h, 3);
  const { counted } = h.registries.registry('', 'configmaps')!.cache;
  await h.request('GET', cms);
  const minutes = async (n: number): Promise<void> => {
    for (let i = 0; i < n; i++) await clock.advance(60_000);
  };
  await minutes(20);
  assert.ok(counted.checks.success >= 1);
  assert.equal(counted.checks.failure, 0);
  lost = true;
  await minutes(9);
  assert.ok(counted.checks.failure >= 1);
  lost = false;
  assert.deepEqual(names((await h.request('GET', cms)).body), ['c000', 'c001', 'c002']);
  assert.equal(counted.initializations, 1 + counted.checks.failure);
  assert.equal(counted.checks.error, 0);
  await h.close();
});
