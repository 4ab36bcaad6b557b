/** Controllers against the real API server, each under its own identity. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { formatTime } from '../../src/api/time.ts';
import { virtualWorld } from './world.ts';

test('a Deployment with everything around it', async () => {
  await using w = await virtualWorld(['*'], { rootCA: 'PEM' });
  await w.clock.advance(1000);
  await w.admin.core.namespaces.create({ metadata: { name: 'shop' } });
  await w.clock.advance(0);
  await w.admin.core.serviceaccounts.get('default', 'shop');
  await w.admin.core.configmaps.get('kube-root-ca.crt', 'shop');
  await w.admin.core.nodes.create({ metadata: { name: 'n1' } });
  await w.admin.core.services.create({
    metadata: { name: 'web', namespace: 'shop' },
    spec: { selector: { app: 'web' }, ports: [{ port: 80 }] },
  });
  await w.admin.apps.deployments.create({
    metadata: { name: 'web', namespace: 'shop' },
    spec: {
      replicas: 3,
      selector: { matchLabels: { app: 'web' } },
      template: { metadata: { labels: { app: 'web' } }, spec: { containers: [{ name: 'c', image: 'app:1' }] } },
    },
  });
  await w.clock.advance(0);
  const start = async () => {
    let n = 0;
    for (const pod of (await w.admin.core.pods.list({ namespace: 'shop' })).items) {
      if (pod.metadata.deletionTimestamp !== undefined) {
        await w.admin.core.pods.delete(pod.metadata.name!, 'shop', { gracePeriodSeconds: 0 });
        continue;
      }
      if (pod.status?.phase === 'Running') continue;
      if (pod.spec?.nodeName === undefined) {
        await w.admin.core.pods.createSubresource(pod.metadata.name!, 'shop', 'binding', {
          apiVersion: 'v1',
          kind: 'Binding',
          metadata: { name: pod.metadata.name },
          target: { kind: 'Node', name: 'n1' },
        });
      }
      await w.admin.core.pods.patch(
        pod.metadata.name!,
        'shop',
        'strategic',
        {
          status: {
            phase: 'Running',
            podIP: `10.0.0.${n + 1}`,
            podIPs: [{ ip: `10.0.0.${n + 1}` }],
            conditions: [{ type: 'Ready', status: 'True', lastTransitionTime: formatTime(w.clock.now()) }],
          },
        },
        { subresource: 'status' },
      );
      n++;
    }
    await w.clock.advance(2000);
    return n;
  };
  assert.equal(await start(), 3);
  let d = await w.admin.apps.deployments.get('web', 'shop');
  assert.equal(d.status?.availableReplicas, 3);
  const slices = await w.admin.discovery.endpointslices.list({ namespace: 'shop' });
  assert.equal(slices.items[0]?.endpoints?.length, 3);
  const endpoints = await w.admin.core.endpoints.get('web', 'shop');
  assert.equal(endpoints.subsets?.[0]?.addresses?.length, 3);

  await w.admin.apps.deployments.patch('web', 'shop', 'strategic', {
    spec: { template: { spec: { containers: [{ name: 'c', image: 'app:2' }] } } },
  });
  await w.clock.advance(0);
  for (let i = 0; i < 10; i++) await start();
  d = await w.admin.apps.deployments.get('web', 'shop');
  assert.equal(d.metadata.annotations?.['deployment.kubernetes.io/revision'], '2');
  assert.equal(d.status?.updatedReplicas, 3);
  assert.equal(d.status?.availableReplicas, 3);
  assert.equal(d.status?.unavailableReplicas ?? 0, 0);

  // Foreground: the owner waits for what it owns.
  await w.admin.apps.deployments.delete('web', 'shop', { propagationPolicy: 'Foreground' });
  await w.clock.advance(1000);
  for (let i = 0; i < 3; i++) await start();
  assert.equal((await w.admin.apps.deployments.list({ namespace: 'shop' })).items.length, 0);
  assert.equal((await w.admin.apps.replicasets.list({ namespace: 'shop' })).items.length, 0);
  assert.equal((await w.admin.core.pods.list({ namespace: 'shop' })).items.length, 0);

  await w.admin.core.namespaces.delete('shop');
  await w.clock.advance(60_000);
  assert.ok(!(await w.admin.core.namespaces.list()).items.some((ns) => ns.metadata.name === 'shop'));
  assert.deepEqual([...new Set(w.denied)], [], 'nothing was asked for that upstream does not allow');
  assert.deepEqual(
    w.log.map(
      (r) => `${r.message} ${JSON.stringify(r.fields)} ${(r.fields['error'] as Error | undefined)?.message ?? ''}`,
    ),
    [],
  );
});
