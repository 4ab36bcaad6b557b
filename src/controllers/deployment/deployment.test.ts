/** Deployments and ReplicaSets together: rollouts, rollback, scaling, pausing, deadlines, adoption. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { StatusError } from '../../api/status.ts';
import type { Deployment, Pod, ReplicaSet } from '../../api/types/index.gen.ts';
import { resources } from '../../client/resources.ts';
import type { World } from '../testing.ts';
import { createWorld } from '../testing.ts';

const controllers = ['deployment', 'replicaset'];

function deployment(replicas: number, image = 'app:1', spec: Record<string, unknown> = {}): Deployment {
  return {
    metadata: { name: 'web', namespace: 'default' },
    spec: {
      replicas,
      selector: { matchLabels: { app: 'web' } },
      template: { metadata: { labels: { app: 'web' } }, spec: { containers: [{ name: 'c', image }] } },
      strategy: { type: 'RollingUpdate', rollingUpdate: { maxSurge: '25%', maxUnavailable: '25%' } },
      revisionHistoryLimit: 10,
      progressDeadlineSeconds: 600,
      ...spec,
    },
  };
}

const get = (w: World): Promise<Deployment> => w.client.apps.deployments.get('web', 'default');
const sets = (w: World): ReplicaSet[] => w.api.all<ReplicaSet>(resources.apps.replicasets);
const condition = (d: Deployment, type: string) => d.status?.conditions?.find((c) => c.type === type);
const images = (w: World): string[] => w.pods().map((p) => p.spec!.containers[0]!.image!);

async function setImage(w: World, image: string): Promise<void> {
  await w.client.apps.deployments.patch('web', 'default', 'json', [
    { op: 'replace', path: '/spec/template/spec/containers/0/image', value: image },
  ]);
  await w.settle();
}

test('a Deployment becomes available, rolls over within its bounds, and goes back', async () => {
  await using w = await createWorld(controllers);
  await w.client.apps.deployments.create(deployment(4));
  await w.settle();
  assert.equal(w.pods().length, 4);
  let d = await get(w);
  assert.equal(d.metadata.annotations?.['deployment.kubernetes.io/revision'], '1');
  assert.equal(condition(d, 'Progressing')?.reason, 'ReplicaSetUpdated');
  assert.equal(condition(d, 'Available')?.status, 'False');
  const [first] = sets(w);
  assert.match(first!.metadata.name!, /^web-[bcdfghjklmnpqrstvwxz2456789]{8,10}$/);
  assert.equal(first!.metadata.annotations?.['deployment.kubernetes.io/desired-replicas'], '4');
  assert.equal(first!.metadata.annotations?.['deployment.kubernetes.io/max-replicas'], '5');
  const hash = first!.metadata.labels!['pod-template-hash'];
  assert.ok(w.pods().every((p) => p.metadata.labels!['pod-template-hash'] === hash));
  assert.ok(w.pods().every((p) => p.metadata.name!.startsWith(`${first!.metadata.name}-`)));

  await w.startPods();
  d = await get(w);
  assert.equal(d.status?.availableReplicas, 4);
  assert.equal(condition(d, 'Progressing')?.reason, 'NewReplicaSetAvailable');
  assert.match(condition(d, 'Progressing')!.message!, /^ReplicaSet "web-\w+" has successfully progressed\.$/);
  assert.equal(condition(d, 'Available')?.reason, 'MinimumReplicasAvailable');

  await setImage(w, 'app:2');
  let steps = 0;
  do {
    const pods = w.pods();
    assert.ok(pods.length <= 5, 'never more than replicas and surge');
    assert.ok(
      pods.filter((p) => p.status?.phase === 'Running').length >= 3,
      'never fewer than replicas less unavailable',
    );
    assert.ok(++steps < 10);
  } while ((await w.startPods()) > 0);
  assert.deepEqual(images(w), Array<string>(4).fill('app:2'));
  d = await get(w);
  assert.equal(d.metadata.annotations?.['deployment.kubernetes.io/revision'], '2');
  assert.equal(sets(w).length, 2);

  // kubectl rollout undo writes the old template back.
  await setImage(w, 'app:1');
  while ((await w.startPods()) > 0);
  assert.deepEqual(images(w), Array<string>(4).fill('app:1'));
  const back = await w.client.apps.replicasets.get(first!.metadata.name!, 'default');
  assert.equal(back.metadata.annotations?.['deployment.kubernetes.io/revision'], '3');
  assert.equal(back.metadata.annotations?.['deployment.kubernetes.io/revision-history'], '1');
  assert.equal(sets(w).length, 2);

  // Revisions are 64-bit integers.
  await w.client.apps.replicasets.update({
    ...back,
    metadata: {
      ...back.metadata,
      annotations: { ...back.metadata.annotations, 'deployment.kubernetes.io/revision': '3546343826724305832' },
    },
  });
  await setImage(w, 'app:3');
  while ((await w.startPods()) > 0);
  d = await get(w);
  assert.equal(d.metadata.annotations?.['deployment.kubernetes.io/revision'], '3546343826724305833');
  const reasons = w.api.all(resources.core.events).map((e) => `${e['reason']} ${e['message']}`);
  assert.ok(reasons.includes(`ScalingReplicaSet Scaled up replica set ${first!.metadata.name} from 0 to 4`));
});

test('old ReplicaSets beyond the history limit go away', async () => {
  await using w = await createWorld(controllers);
  await w.client.apps.deployments.create(deployment(1, 'app:1', { revisionHistoryLimit: 1 }));
  await w.settle();
  while ((await w.startPods()) > 0);
  for (const image of ['app:2', 'app:3', 'app:4']) {
    await setImage(w, image);
    while ((await w.startPods()) > 0);
    await w.clock.advance(1000);
  }
  assert.deepEqual(
    sets(w)
      .map((rs) => rs.spec!.template!.spec!.containers[0]!.image)
      .toSorted(),
    ['app:3', 'app:4'],
  );
});

test('Recreate waits for the last old pod', async () => {
  await using w = await createWorld(controllers);
  await w.client.apps.deployments.create(deployment(2, 'app:1', { strategy: { type: 'Recreate' } }));
  await w.settle();
  await w.startPods();
  // A finalizer keeps the pods while they terminate.
  for (const p of w.pods()) {
    await w.client.core.pods.patch(p.metadata.name!, 'default', 'merge', { metadata: { finalizers: ['test/slow'] } });
  }
  await setImage(w, 'app:2');
  assert.ok(w.pods().every((p) => p.metadata.deletionTimestamp !== undefined));
  assert.deepEqual(images(w), ['app:1', 'app:1']);
  for (const p of w.pods()) {
    await w.client.core.pods.patch(p.metadata.name!, 'default', 'merge', { metadata: { finalizers: null } });
    await w.settle();
  }
  assert.deepEqual(images(w), ['app:2', 'app:2']);
});

test('scaling during a rollout is shared out in proportion', async () => {
  await using w = await createWorld(controllers);
  await w.client.apps.deployments.create(
    deployment(10, 'app:1', { strategy: { type: 'RollingUpdate', rollingUpdate: { maxSurge: 3, maxUnavailable: 2 } } }),
  );
  await w.settle();
  await w.startPods();
  await setImage(w, 'app:bad');
  const sizes = () =>
    Object.fromEntries(sets(w).map((rs) => [rs.spec!.template!.spec!.containers[0]!.image, rs.spec!.replicas]));
  assert.deepEqual(sizes(), { 'app:1': 8, 'app:bad': 5 });
  await w.client.apps.deployments.patch('web', 'default', 'merge', { spec: { replicas: 15 } });
  await w.settle();
  assert.deepEqual(sizes(), { 'app:1': 11, 'app:bad': 7 }, 'the example of the documentation');
});

test('a rollout that makes no progress runs into its deadline; pausing stops the count', async () => {
  await using w = await createWorld(controllers);
  await w.client.apps.deployments.create(deployment(1, 'app:1', { progressDeadlineSeconds: 60 }));
  await w.clock.advance(50_000);
  assert.equal(condition(await get(w), 'Progressing')?.status, 'True');
  await w.client.apps.deployments.patch('web', 'default', 'merge', { spec: { paused: true } });
  await w.clock.advance(100_000);
  assert.equal(condition(await get(w), 'Progressing')?.reason, 'DeploymentPaused');
  await setImage(w, 'app:2');
  assert.equal(sets(w).length, 1, 'no rollout while paused');
  await w.client.apps.deployments.patch('web', 'default', 'merge', { spec: { paused: false } });
  await w.settle();
  assert.equal(sets(w).length, 2);
  await w.clock.advance(65_000);
  const c = condition(await get(w), 'Progressing');
  assert.equal(c?.reason, 'ProgressDeadlineExceeded');
  assert.equal(c?.status, 'False');
  while ((await w.startPods()) > 0);
  assert.equal(condition(await get(w), 'Progressing')?.reason, 'NewReplicaSetAvailable');
});

test('minReadySeconds delays availability', async () => {
  await using w = await createWorld(controllers);
  await w.client.apps.deployments.create(deployment(2, 'app:1', { minReadySeconds: 30 }));
  await w.settle();
  await w.startPods();
  assert.equal((await get(w)).status?.readyReplicas, 2);
  assert.ok(((await get(w)).status?.availableReplicas ?? 0) === 0);
  await w.clock.advance(30_000);
  assert.equal((await get(w)).status?.availableReplicas, 2);
});

test('what was adopted counts before the watch tells of it', async () => {
  await using w = await createWorld(controllers);
  const labels = { app: 'x' };
  const spec = { containers: [{ name: 'c', image: 'i' }] };
  await w.client.core.pods.create({ metadata: { name: 'orphan', namespace: 'default', labels }, spec });
  await w.settle();
  w.api.eventDelayMs = 10;
  await w.client.apps.replicasets.create({
    metadata: { name: 'rs', namespace: 'default' },
    spec: { replicas: 2, selector: { matchLabels: labels }, template: { metadata: { labels }, spec } },
  });
  await w.clock.advance(1000);
  const made = w.api.requests.filter((r) => r.method === 'POST' && r.path.endsWith('/pods'));
  assert.equal(made.length, 2, 'the orphan and one more');
  assert.deepEqual(
    w.pods().map((p) => p.metadata.ownerReferences?.[0]?.name),
    ['rs', 'rs'],
  );
  assert.equal((await w.client.apps.replicasets.get('rs', 'default')).status?.replicas, 2);
});

test('a ReplicaSet adopts, releases, replaces, and reports what it cannot create', async () => {
  await using w = await createWorld(controllers);
  const pod = (name: string): Pod => ({
    metadata: { name, namespace: 'default', labels: { app: 'x' } },
    spec: { containers: [{ name: 'c', image: 'i' }] },
  });
  await w.client.core.pods.create(pod('orphan'));
  // The controller has seen it before there is anything to do.
  await w.settle();
  await w.client.apps.replicasets.create({
    metadata: { name: 'rs', namespace: 'default' },
    spec: {
      replicas: 2,
      selector: { matchLabels: { app: 'x' } },
      template: { metadata: { labels: { app: 'x' } }, spec: { containers: [{ name: 'c', image: 'i' }] } },
    },
  });
  await w.settle();
  assert.equal(w.pods().length, 2, 'the orphan counts');
  const orphan = await w.client.core.pods.get('orphan', 'default');
  assert.equal(orphan.metadata.ownerReferences?.[0]?.name, 'rs');

  await w.client.core.pods.patch('orphan', 'default', 'merge', { metadata: { labels: { app: 'debug' } } });
  await w.settle();
  assert.equal(w.pods().length, 3, 'the relabelled pod is let go and replaced');
  assert.equal((await w.client.core.pods.get('orphan', 'default')).metadata.ownerReferences?.length ?? 0, 0);

  await w.client.core.pods.delete(w.pods().find((p) => p.metadata.name !== 'orphan')!.metadata.name!, 'default');
  await w.settle();
  assert.equal(w.pods().length, 3);

  w.api.fault = (r) =>
    r.method === 'POST' && r.path.endsWith('/pods') ? new StatusError(403, 'Forbidden', 'exceeded quota') : undefined;
  await w.client.apps.replicasets.patch('rs', 'default', 'merge', { spec: { replicas: 5 } });
  await w.settle();
  let rs = await w.client.apps.replicasets.get('rs', 'default');
  assert.equal(rs.status?.conditions?.[0]?.reason, 'FailedCreate');
  assert.equal(rs.status?.conditions?.[0]?.message, 'exceeded quota');
  w.api.fault = undefined;
  await w.clock.advance(60_000);
  rs = await w.client.apps.replicasets.get('rs', 'default');
  assert.equal(rs.status?.replicas, 5);
  assert.equal(rs.status?.conditions, undefined);

  await w.client.apps.replicasets.patch('rs', 'default', 'merge', { spec: { replicas: 1 } });
  await w.startPods((p) => p.metadata.name === w.pods().at(-1)!.metadata.name);
  await w.settle();
  assert.equal(w.pods().filter((p) => p.metadata.labels!['app'] === 'x').length, 1);
});
