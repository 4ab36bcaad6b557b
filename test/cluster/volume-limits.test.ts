/** The scheduler keeps to the volume limits of nodes, and comes back when there is room. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { VirtualClock } from '../../src/base/clock.ts';
import { createCluster } from '../../src/cluster/create-cluster.ts';

test('a pod with one volume too many waits for room: another pod that goes, or a limit that grows', async () => {
  const clock = new VirtualClock();
  await using cluster = await createCluster({ clock, nodes: 1 });
  const { client } = cluster;
  const [node] = (await client.core.nodes.list()).items;
  const driver = (count: number) => ({ name: 'test.csi', nodeID: 'x', topologyKeys: [], allocatable: { count } });
  const csiNode = await client.storage.csinodes.create({
    metadata: { name: node!.metadata.name! },
    spec: { drivers: [driver(1)] },
  });
  const modes = { accessModes: ['ReadWriteOnce'], storageClassName: '' };
  for (const name of ['a', 'b', 'c']) {
    await client.core.persistentvolumes.create({
      metadata: { name },
      spec: { ...modes, capacity: { storage: '1Gi' }, csi: { driver: 'test.csi', volumeHandle: name } },
    });
    await client.core.persistentvolumeclaims.create({
      metadata: { name, namespace: 'default' },
      spec: { ...modes, volumeName: name, resources: { requests: { storage: '1Gi' } } },
    });
  }
  await clock.advance(2000);
  const pods = client.core.pods;
  for (const name of ['a', 'b', 'c']) {
    await pods.create({
      metadata: { name, namespace: 'default' },
      spec: {
        containers: [{ name: 'c', image: 'x' }],
        volumes: [{ name: 'v', persistentVolumeClaim: { claimName: name } }],
      },
    });
    await clock.advance(1000);
  }
  const placed = async (name: string): Promise<boolean> =>
    ((await pods.get(name, 'default')).spec?.nodeName ?? '') !== '';
  assert.deepEqual([await placed('a'), await placed('b'), await placed('c')], [true, false, false]);
  const why = (await pods.get('b', 'default')).status?.conditions?.find((c) => c.type === 'PodScheduled');
  assert.equal(
    why?.message,
    '0/1 nodes are available: 1 node(s) exceed max volume count. preemption: 0/1 nodes are available: 1 No preemption victims found for incoming pod.',
  );
  await pods.delete('a', 'default', { gracePeriodSeconds: 0 });
  // What was attached for it must go first.
  await clock.advance(30_000);
  assert.equal(Number(await placed('b')) + Number(await placed('c')), 1);
  const now = await client.storage.csinodes.get(csiNode.metadata.name!);
  await client.storage.csinodes.update({ ...now, spec: { drivers: [driver(2)] } });
  await clock.advance(15_000);
  assert.deepEqual([await placed('b'), await placed('c')], [true, true]);
});
