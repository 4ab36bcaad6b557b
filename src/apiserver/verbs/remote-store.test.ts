import assert from 'node:assert/strict';
import { test } from 'node:test';
import { macrotask } from '../../base/yield.ts';
import type { KeyValueStore, StoreWatch, StoreWatchRequest, StoreWatchSink } from '../../etcd/store.ts';
import type { Json } from './harness.ts';
import { startHarness, take, told } from './harness.ts';

const cms = '/api/v1/namespaces/default/configmaps';

/** A store whose watches lag behind its answers, as those of a remote one do. */
function lagging(store: KeyValueStore): KeyValueStore & { breakWatches(): void } {
  const breaks = new Set<() => void>();
  return {
    range: (r) => store.range(r),
    commit: (r) => store.commit(r),
    currentRevision: () => store.currentRevision(),
    grantLease: (t) => store.grantLease(t),
    revokeLease: (id) => store.revokeLease(id),
    keepAliveLease: (id) => store.keepAliveLease(id),
    compact: (r) => store.compact(r),
    size: () => store.size(),
    close: () => store.close(),
    watch(request: StoreWatchRequest, sink: StoreWatchSink): StoreWatch {
      let tail = Promise.resolve();
      let open = true;
      const later = (call: () => void): void => {
        tail = tail.then(async () => {
          for (let i = 0; i < 5; i++) await macrotask();
          if (open) call();
        });
      };
      const watch = store.watch(request, {
        events: (events, revision) => later(() => sink.events(events, revision)),
        progress: (revision) => later(() => sink.progress(revision)),
        closed: (error) => later(() => sink.closed(error)),
      });
      const end = (): void => {
        open = false;
        breaks.delete(broken);
        watch.close();
      };
      const broken = (): void => {
        end();
        sink.closed(new Error('connection lost'));
      };
      breaks.add(broken);
      return { close: end };
    },
    breakWatches() {
      for (const broken of [...breaks]) broken();
    },
  };
}

test('reads are consistent and writes right although the cache lags', async () => {
  const h = await startHarness({ remote: lagging });
  await h.request('GET', cms);
  for (let i = 0; i < 5; i++) {
    const made = await h.request('POST', cms, { metadata: { name: `c${i}` } });
    assert.equal(made.status, 201);
    const { body } = await h.request('GET', cms);
    assert.equal(body.items.length, i + 1);
    assert.equal((await h.request('GET', `${cms}/c${i}`)).status, 200);
    const twice = await h.request('POST', cms, { metadata: { name: `c${i}` } });
    assert.equal(twice.body.reason, 'AlreadyExists');
    const put = await h.request('PUT', `${cms}/c${i}`, { ...made.body, data: { a: '1' } });
    assert.equal(put.status, 200);
    // The cache still has the first version; the conflict is with the one that is stored.
    const next = await h.request('PUT', `${cms}/c${i}`, { ...put.body, data: { a: '2' } });
    assert.equal(next.status, 200);
    const stale = await h.request('PUT', `${cms}/c${i}`, { ...put.body, data: { a: '3' } });
    assert.equal(stale.status, 409);
  }
  const patches = Array.from({ length: 30 }, (_, i) =>
    h.request('PATCH', `${cms}/c0`, { data: { [`k${i}`]: 'v' } }, 'application/merge-patch+json'),
  );
  assert.ok((await Promise.all(patches)).every((p) => p.status === 200));
  assert.equal(Object.keys((await h.request('GET', `${cms}/c0`)).body.data).length, 31);
  assert.equal((await h.request('DELETE', `${cms}/c1`)).status, 200);
  assert.equal((await h.request('GET', `${cms}/c1`)).status, 404);
  assert.equal((await h.request('DELETE', `${cms}/c1`)).status, 404);
  await h.close();
});

test('a broken watch of the store is made again; followers hear what they missed', async () => {
  let store: ReturnType<typeof lagging> | undefined;
  const h = await startHarness({ remote: (s) => (store = lagging(s)) });
  await h.request('POST', cms, { metadata: { name: 'a' } });
  const heard: string[] = [];
  await h.registries.follow('', 'configmaps', (type, object) => heard.push(`${type} ${object.name}`));
  const watch = await h.watch(`${cms}?watch=1&resourceVersion=0`);
  assert.deepEqual(told(await take(watch, 1)), ['ADDED a']);
  const end = watch.next();
  store!.breakWatches();
  assert.equal(await end, undefined);
  await h.request('POST', cms, { metadata: { name: 'b' } });
  await h.request('DELETE', `${cms}/a`);
  const { body } = await h.request('GET', cms);
  assert.deepEqual(
    body.items.map((i: Json) => i.metadata.name),
    ['b'],
  );
  assert.deepEqual(heard.toSorted(), ['delete a', 'put a', 'put b']);
  await h.close();
});
