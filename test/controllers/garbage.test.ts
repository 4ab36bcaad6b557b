/** Garbage collection over custom resources, replication controllers, node failure, token secrets: against the real API server. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { formatMicroTime, formatTime } from '../../src/api/time.ts';
import type { KubeObject } from '../../src/api/object.ts';
import { isNotFound } from '../../src/client/errors.ts';
import { virtualWorld } from './world.ts';

const widgets = { group: 'example.com', version: 'v1', resource: 'widgets', namespaced: true, kind: 'Widget' };

test('custom resources own and are owned', async () => {
  await using w = await virtualWorld(['garbagecollector', 'namespace']);
  await w.admin.apiextensions.customresourcedefinitions.create({
    metadata: { name: 'widgets.example.com' },
    spec: {
      group: 'example.com',
      names: { plural: 'widgets', kind: 'Widget' },
      scope: 'Namespaced',
      versions: [{ name: 'v1', served: true, storage: true, schema: { openAPIV3Schema: { type: 'object' } } }],
    },
  });
  await w.clock.advance(5000);
  const client = w.admin.resource<KubeObject>(widgets);
  const owner = await client.create({ metadata: { name: 'owner', namespace: 'default' } });
  const second = await client.create({ metadata: { name: 'second', namespace: 'default' } });
  const ref = (o: KubeObject) => ({
    apiVersion: 'example.com/v1',
    kind: 'Widget',
    name: o.metadata.name!,
    uid: o.metadata.uid!,
    blockOwnerDeletion: true,
  });
  await w.admin.core.configmaps.create({
    metadata: { name: 'child', namespace: 'default', ownerReferences: [ref(owner)] },
  });
  await client.create({
    metadata: { name: 'shared', namespace: 'default', ownerReferences: [ref(owner), ref(second)] },
  });
  await w.clock.advance(1000);
  await client.delete('owner', 'default', { propagationPolicy: 'Foreground' });
  await w.clock.advance(5000);
  await assert.rejects(client.get('owner', 'default'), isNotFound);
  await assert.rejects(w.admin.core.configmaps.get('child', 'default'), isNotFound);
  const shared = await client.get('shared', 'default');
  assert.deepEqual(
    shared.metadata.ownerReferences?.map((o) => o.name),
    ['second'],
    'a merge patch where no strategic one is known',
  );
  await client.delete('second', 'default', { propagationPolicy: 'Orphan' });
  await w.clock.advance(5000);
  assert.equal((await client.get('shared', 'default')).metadata.ownerReferences, undefined);
  assert.deepEqual([...new Set(w.denied)], []);
});

test('a ReplicationController replaces its pods; a dead node loses them', async () => {
  await using w = await virtualWorld(['*']);
  const time = formatTime(w.clock.now());
  for (const name of ['n1', 'n2']) {
    await w.admin.core.nodes.create({ metadata: { name } });
    await w.admin.core.nodes.patch(
      name,
      undefined,
      'strategic',
      {
        status: {
          conditions: [
            {
              type: 'Ready',
              status: 'True',
              lastHeartbeatTime: time,
              lastTransitionTime: time,
              reason: 'KubeletReady',
            },
          ],
        },
      },
      { subresource: 'status' },
    );
    await w.admin.coordination.leases.create({
      metadata: { name, namespace: 'kube-node-lease' },
      spec: { holderIdentity: name, leaseDurationSeconds: 40, renewTime: formatMicroTime(w.clock.now()) },
    });
  }
  const beat = w.clock.setTicker(10_000, () => {
    const renewTime = formatMicroTime(w.clock.now());
    void w.clock.activity.track(
      w.admin.coordination.leases.patch('n2', 'kube-node-lease', 'merge', { spec: { renewTime } }),
    );
  });
  await w.clock.advance(1000);
  await w.admin.core.replicationcontrollers.create({
    metadata: { name: 'old', namespace: 'default' },
    spec: {
      replicas: 2,
      selector: { app: 'old' },
      template: { metadata: { labels: { app: 'old' } }, spec: { containers: [{ name: 'c', image: 'i' }] } },
    },
  });
  await w.clock.advance(0);
  const pods = () => w.admin.core.pods.list({ namespace: 'default' });
  const [first] = (await pods()).items;
  assert.equal((await pods()).items.length, 2);
  assert.equal((await w.admin.core.replicationcontrollers.get('old', 'default')).status?.replicas, 2);
  await w.admin.core.pods.createSubresource(first!.metadata.name!, 'default', 'binding', {
    apiVersion: 'v1',
    kind: 'Binding',
    metadata: { name: first!.metadata.name },
    target: { kind: 'Node', name: 'n1' },
  });
  await w.clock.advance(80_000);
  const node = await w.admin.core.nodes.get('n1');
  assert.equal(node.status?.conditions?.find((c) => c.type === 'Ready')?.status, 'Unknown');
  assert.deepEqual(node.spec?.taints?.map((t) => `${t.key}:${t.effect}`).toSorted(), [
    'node.kubernetes.io/unreachable:NoExecute',
    'node.kubernetes.io/unreachable:NoSchedule',
  ]);
  await w.clock.advance(310_000);
  const doomed = await w.admin.core.pods.get(first!.metadata.name!, 'default');
  assert.notEqual(doomed.metadata.deletionTimestamp, undefined);
  assert.equal(doomed.status?.conditions?.find((c) => c.type === 'DisruptionTarget')?.reason, 'DeletionByTaintManager');
  assert.equal((await pods()).items.length, 3, 'a replacement is there');
  await w.admin.core.nodes.delete('n1');
  await w.clock.advance(120_000);
  await assert.rejects(w.admin.core.pods.get(first!.metadata.name!, 'default'), isNotFound);
  beat.cancel();
  assert.deepEqual([...new Set(w.denied)], []);
  assert.deepEqual(
    w.log.map(
      (r) => `${r.message} ${JSON.stringify(r.fields)} ${(r.fields['error'] as Error | undefined)?.message ?? ''}`,
    ),
    [],
  );
});

test('a dependent that blocks and cannot go holds its owner up, until it can', async () => {
  await using w = await virtualWorld(['garbagecollector', 'serviceaccount']);
  await w.clock.advance(1000);
  const rcs = w.admin.core.replicationcontrollers;
  const { pods } = w.admin.core;
  const rc = await rcs.create({
    metadata: { name: 'owner', namespace: 'default' },
    spec: {
      selector: { name: 'test' },
      template: { metadata: { labels: { name: 'test' } }, spec: { containers: [{ name: 'c', image: 'i' }] } },
    },
  });
  await pods.create({
    metadata: {
      name: 'pod',
      namespace: 'default',
      finalizers: ['x/y'],
      ownerReferences: [
        {
          apiVersion: 'v1',
          kind: 'ReplicationController',
          name: 'owner',
          uid: rc.metadata.uid!,
          blockOwnerDeletion: true,
        },
      ],
    },
    spec: { containers: [{ name: 'c', image: 'i' }] },
  });
  await w.clock.advance(5000);
  await rcs.delete('owner', 'default', { propagationPolicy: 'Foreground' });
  await w.clock.advance(15_000);
  assert.deepEqual((await rcs.get('owner', 'default')).metadata.finalizers, ['foregroundDeletion']);
  const held = await pods.get('pod', 'default');
  assert.ok(held.metadata.deletionTimestamp !== undefined);
  assert.deepEqual(held.metadata.finalizers, ['x/y']);
  await pods.patch('pod', 'default', 'merge', { metadata: { finalizers: null } });
  await w.clock.advance(15_000);
  await assert.rejects(pods.get('pod', 'default'), isNotFound);
  await assert.rejects(rcs.get('owner', 'default'), isNotFound);
});
