/** The default StorageClass on simulated nodes. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { VirtualClock } from '../../src/base/clock.ts';
import { createCluster } from '../../src/cluster/create-cluster.ts';

test('a claim without a class is bound when its pod is scheduled; what a directory cannot be is told', async () => {
  const clock = new VirtualClock();
  await using cluster = await createCluster({ clock, nodes: 2 });
  const { client } = cluster;
  const claims = client.core.persistentvolumeclaims;
  const claim = (name: string, more: object = {}) =>
    claims.create({
      metadata: { name, namespace: 'default' },
      spec: { accessModes: ['ReadWriteOnce'], resources: { requests: { storage: '1Gi' } }, ...more },
    });
  const user = (name: string) =>
    client.core.pods.create({
      metadata: { name, namespace: 'default' },
      spec: {
        containers: [{ name: 'c', image: 'x', volumeMounts: [{ name: 'v', mountPath: '/data' }] }],
        volumes: [{ name: 'v', persistentVolumeClaim: { claimName: name } }],
      },
    });
  assert.equal((await claim('a')).spec?.storageClassName, 'local-path');
  await claim('shared', { accessModes: ['ReadWriteMany'] });
  await clock.advance(1000);
  assert.equal((await claims.get('a', 'default')).status?.phase, 'Pending');
  await user('a');
  await user('shared');
  await clock.advance(5000);
  const bound = await claims.get('a', 'default');
  assert.equal(bound.status?.phase, 'Bound');
  const pod = await client.core.pods.get('a', 'default');
  assert.equal(pod.status?.phase, 'Running');
  const volume = await client.core.persistentvolumes.get(bound.spec!.volumeName!);
  assert.equal(volume.metadata.name, `pvc-${bound.metadata.uid}`);
  assert.equal(volume.spec?.hostPath?.path, `/var/lib/knarr/local-path/${volume.metadata.name}_default_a`);
  const where = volume.spec?.nodeAffinity?.required?.nodeSelectorTerms[0]?.matchExpressions?.[0];
  assert.deepEqual(where, { key: 'kubernetes.io/hostname', operator: 'In', values: [pod.spec?.nodeName] });

  assert.equal((await claims.get('shared', 'default')).status?.phase, 'Pending');
  const events = (await client.core.events.list({ namespace: 'default' })).items;
  const told = events.find((e) => e.involvedObject?.name === 'shared' && e.reason === 'ProvisioningFailed');
  assert.match(told?.message ?? '', /cannot be ReadWriteMany/);

  await client.core.pods.delete('a', 'default', { gracePeriodSeconds: 0 });
  await claims.delete('a', 'default');
  await clock.advance(5000);
  assert.deepEqual((await client.core.persistentvolumes.list()).items, []);
});
