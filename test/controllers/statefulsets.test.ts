/** StatefulSets in virtual time against the real API server: order, identity, storage, updates, history. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Pod, StatefulSet, StatefulSetSpec } from '../../src/api/types/index.gen.ts';
import { eventsOf, kubelet, listPods, ns, setPhase } from './pods.ts';
import type { PodWorld } from './pods.ts';
import { quiet, world } from './world.ts';

const template = (image: string): StatefulSetSpec['template'] => ({
  metadata: { labels: { app: 'db' } },
  spec: { containers: [{ name: 'c', image }] },
});

async function create(w: PodWorld, spec: Partial<StatefulSetSpec>): Promise<void> {
  await w.admin.apps.statefulsets.create({
    metadata: { name: 'db', namespace: ns },
    spec: { serviceName: 'db', selector: { matchLabels: { app: 'db' } }, template: template('i:1'), ...spec },
  });
  await w.clock.advance(0);
}

const get = (w: PodWorld): Promise<StatefulSet> => w.admin.apps.statefulsets.get('db', ns);
const names = async (w: PodWorld): Promise<string[]> => (await listPods(w)).map((p) => p.metadata.name!);
const image = (p: Pod | undefined): string | undefined => p?.spec?.containers[0]?.image;
const images = async (w: PodWorld): Promise<(string | undefined)[]> => (await listPods(w)).map(image);
const setImage = async (w: PodWorld, name: string): Promise<void> => {
  await w.admin.apps.statefulsets.patch('db', ns, 'strategic', { spec: { template: template(name) } });
  await w.clock.advance(0);
};
const scale = async (w: PodWorld, replicas: number): Promise<void> => {
  await w.admin.apps.statefulsets.patch('db', ns, 'merge', { spec: { replicas } });
  await w.clock.advance(0);
};

test('pods come one after the other with their own names, labels and claims, and go in reverse', async () => {
  await using w = await world();
  await create(w, {
    replicas: 3,
    volumeClaimTemplates: [
      {
        metadata: { name: 'data' },
        spec: { accessModes: ['ReadWriteOnce'], resources: { requests: { storage: '1Gi' } } },
      },
    ],
  });
  for (let i = 0; i < 3; i++) {
    assert.deepEqual(await names(w), ['db-0', 'db-1', 'db-2'].slice(0, i + 1), 'the next one waits for the one before');
    await kubelet(w);
  }
  const [first] = await listPods(w);
  let set = await get(w);
  assert.deepEqual(first!.metadata.labels, {
    app: 'db',
    'apps.kubernetes.io/pod-index': '0',
    'controller-revision-hash': set.status!.currentRevision,
    'statefulset.kubernetes.io/pod-name': 'db-0',
  });
  assert.equal(first!.spec?.hostname, 'db-0');
  assert.equal(first!.spec?.subdomain, 'db');
  assert.equal(first!.spec?.volumes?.[0]?.persistentVolumeClaim?.claimName, 'data-db-0');
  const claims = await w.admin.core.persistentvolumeclaims.list({ namespace: ns });
  assert.deepEqual(claims.items.map((c) => c.metadata.name).toSorted(), ['data-db-0', 'data-db-1', 'data-db-2']);
  assert.equal(claims.items[0]!.metadata.labels?.['app'], 'db');
  const { currentRevision, updateRevision, ...counts } = set.status!;
  assert.equal(currentRevision, updateRevision);
  assert.match(currentRevision!, /^db-[bcdfghjklmnpqrstvwxz2456789]+$/);
  assert.deepEqual(counts, {
    observedGeneration: 1,
    replicas: 3,
    readyReplicas: 3,
    currentReplicas: 3,
    updatedReplicas: 3,
    availableReplicas: 3,
    collisionCount: 0,
  });
  const events = await eventsOf(w, 'StatefulSet', 'db');
  assert.deepEqual(events.slice(0, 2), [
    'Normal SuccessfulCreate Create Claim data-db-0 Pod db-0 in StatefulSet db success',
    'Normal SuccessfulCreate Create Pod db-0 in StatefulSet db successful',
  ]);

  await scale(w, 1);
  assert.deepEqual(await names(w), ['db-0']);
  assert.deepEqual((await eventsOf(w, 'StatefulSet', 'db')).slice(-2), [
    'Normal SuccessfulDelete Delete Pod db-2 in StatefulSet db successful',
    'Normal SuccessfulDelete Delete Pod db-1 in StatefulSet db successful',
  ]);
  assert.equal((await w.admin.core.persistentvolumeclaims.list({ namespace: ns })).items.length, 3);
  await w.admin.core.pods.delete('db-0', ns);
  await w.clock.advance(0);
  const [again] = await listPods(w);
  assert.equal(again!.metadata.name, 'db-0');
  assert.notEqual(again!.metadata.uid, first!.metadata.uid);
  set = await get(w);
  assert.equal(set.status?.readyReplicas ?? 0, 0);
  quiet(w);
});

test('a rolling update goes from the highest ordinal down to the partition, waits for each, and goes back', async () => {
  await using w = await world();
  await create(w, { replicas: 3, updateStrategy: { type: 'RollingUpdate', rollingUpdate: { partition: 1 } } });
  while ((await kubelet(w)) > 0);
  const before = (await get(w)).status!.currentRevision;
  await setImage(w, 'i:2');
  assert.deepEqual(await images(w), ['i:1', 'i:1', 'i:2']);
  assert.equal((await get(w)).status!.updatedReplicas, 1);
  await w.clock.advance(60_000);
  assert.deepEqual(await images(w), ['i:1', 'i:1', 'i:2'], 'not before the last one is ready');
  while ((await kubelet(w)) > 0);
  assert.deepEqual(await images(w), ['i:1', 'i:2', 'i:2']);
  let set = await get(w);
  assert.equal(set.status!.currentRevision, before);
  assert.notEqual(set.status!.updateRevision, before);
  assert.equal(set.status!.currentReplicas, 1);
  assert.equal(set.status!.updatedReplicas, 2);
  await w.admin.core.pods.delete('db-0', ns);
  await w.clock.advance(0);
  assert.equal(image((await listPods(w))[0]), 'i:1', 'below the partition the old revision is kept');
  await w.admin.apps.statefulsets.patch('db', ns, 'merge', {
    spec: { updateStrategy: { rollingUpdate: { partition: 0 } } },
  });
  while ((await kubelet(w)) > 0);
  assert.deepEqual(await images(w), ['i:2', 'i:2', 'i:2']);
  set = await get(w);
  assert.equal(set.status!.currentRevision, set.status!.updateRevision);

  await setImage(w, 'i:1');
  while ((await kubelet(w)) > 0);
  assert.deepEqual(await images(w), ['i:1', 'i:1', 'i:1']);
  const revisions = (await w.admin.apps.controllerrevisions.list({ namespace: ns })).items;
  assert.deepEqual(
    revisions.map((r) => r.revision).toSorted((a, b) => a - b),
    [2, 3],
    'the old revision became the newest',
  );
  assert.equal((await get(w)).status!.currentRevision, before);
  quiet(w);
});

test('parallel sets, first ordinals, minReadySeconds, OnDelete, failed pods, limited history', async () => {
  await using w = await world();
  await create(w, {
    replicas: 3,
    podManagementPolicy: 'Parallel',
    ordinals: { start: 5 },
    minReadySeconds: 30,
    revisionHistoryLimit: 1,
    updateStrategy: { type: 'OnDelete' },
  });
  assert.deepEqual(await names(w), ['db-5', 'db-6', 'db-7']);
  await kubelet(w);
  assert.equal((await get(w)).status?.readyReplicas, 3);
  assert.equal((await get(w)).status?.availableReplicas, 0);
  await w.clock.advance(30_000);
  assert.equal((await get(w)).status?.availableReplicas, 3);
  for (let i = 2; i <= 5; i++) await setImage(w, `i:${i}`);
  assert.deepEqual(await images(w), ['i:1', 'i:1', 'i:1']);
  const [pod] = await listPods(w);
  await setPhase(w, pod!, 'Failed');
  await w.clock.advance(0);
  assert.deepEqual(await images(w), ['i:5', 'i:1', 'i:1']);
  const kept = (await w.admin.apps.controllerrevisions.list({ namespace: ns })).items;
  assert.deepEqual(
    kept.map((r) => r.revision).toSorted((a, b) => a - b),
    [1, 4, 5],
  );
  quiet(w);
});

test('claims are kept or deleted with scaling and with the set', async () => {
  await using w = await world();
  await create(w, {
    replicas: 2,
    podManagementPolicy: 'Parallel',
    persistentVolumeClaimRetentionPolicy: { whenScaled: 'Delete', whenDeleted: 'Delete' },
    volumeClaimTemplates: [
      {
        metadata: { name: 'data' },
        spec: { accessModes: ['ReadWriteOnce'], resources: { requests: { storage: '1Gi' } } },
      },
    ],
  });
  await kubelet(w);
  const claims = async (): Promise<string[]> =>
    (await w.admin.core.persistentvolumeclaims.list({ namespace: ns })).items.map(
      (c) => `${c.metadata.name} ${c.metadata.ownerReferences?.map((o) => o.kind).join()}`,
    );
  assert.deepEqual(await claims(), ['data-db-0 StatefulSet', 'data-db-1 StatefulSet']);
  await scale(w, 1);
  await kubelet(w);
  await w.clock.advance(1000);
  assert.deepEqual(await claims(), ['data-db-0 StatefulSet']);
  await w.admin.apps.statefulsets.delete('db', ns, { propagationPolicy: 'Foreground' });
  await w.clock.advance(1000);
  await kubelet(w);
  await w.clock.advance(1000);
  assert.deepEqual(await claims(), []);
  assert.deepEqual(await names(w), []);
  quiet(w);
});
