/** What volumes allow the scheduler: limits of nodes, claims of one pod, zones, disks; and what makes it look again. */
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

test('a claim for one pod alone keeps a second one waiting; volumes are used in their zone', async () => {
  const clock = new VirtualClock();
  // Which would give the nodes its own zone.
  await using cluster = await createCluster({ clock, nodes: 2, disable: ['cloud-controller-manager'] });
  const { client } = cluster;
  const [zoned] = (await client.core.nodes.list()).items.map((n) => n.metadata.name!);
  const { nodes, pods, persistentvolumes, persistentvolumeclaims } = client.core;
  for (const { metadata } of (await nodes.list()).items)
    await nodes.patch(metadata.name!, undefined, 'merge', {
      metadata: { labels: { 'topology.kubernetes.io/zone': metadata.name === zoned ? 'here' : 'there' } },
    });
  const add = async (name: string, mode: string, labels: Record<string, string> = {}): Promise<void> => {
    const shared = { accessModes: [mode], storageClassName: '' };
    await persistentvolumes.create({
      metadata: { name, labels },
      spec: { ...shared, capacity: { storage: '1Gi' }, csi: { driver: 'test.csi', volumeHandle: name } },
    });
    await persistentvolumeclaims.create({
      metadata: { name, namespace: 'default' },
      spec: { ...shared, volumeName: name, resources: { requests: { storage: '1Gi' } } },
    });
  };
  await add('alone', 'ReadWriteOncePod');
  await add('near', 'ReadWriteOnce', { 'failure-domain.beta.kubernetes.io/zone': 'here__elsewhere' });
  await add('nowhere', 'ReadWriteOnce', { 'topology.kubernetes.io/zone': 'nowhere' });
  await clock.advance(2000);
  const use = async (name: string, ...volumes: object[]): Promise<void> => {
    const named = volumes.map((v, i) => ({ name: `v${i}`, ...v }));
    const metadata = { name, namespace: 'default' };
    await pods.create({ metadata, spec: { containers: [{ name: 'c', image: 'x' }], volumes: named } });
    await clock.advance(1000);
  };
  const claim = (claimName: string) => ({ persistentVolumeClaim: { claimName } });
  const nodeOf = async (name: string) => (await pods.get(name, 'default')).spec?.nodeName ?? '';
  const why = async (name: string) =>
    (await pods.get(name, 'default')).status?.conditions?.find((c) => c.type === 'PodScheduled')?.message ?? '';
  await use('first', claim('alone'));
  await use('second', claim('alone'));
  assert.notEqual(await nodeOf('first'), '');
  assert.match(
    await why('second'),
    /^0\/2 nodes are available: 2 node\(s\) unavailable due to PersistentVolumeClaim with ReadWriteOncePod access mode already in-use by another pod\./,
  );
  await pods.delete('first', 'default', { gracePeriodSeconds: 0 });
  await clock.advance(15_000);
  assert.notEqual(await nodeOf('second'), '');
  await use('near', claim('near'));
  assert.equal(await nodeOf('near'), zoned);
  await use('nowhere', claim('nowhere'));
  assert.match(await why('nowhere'), /^0\/2 nodes are available: 2 node\(s\) had no available volume zone\./);
  // One disk, two nodes: two pods of it, not three.
  for (const name of ['disk-a', 'disk-b', 'disk-c']) await use(name, { awsElasticBlockStore: { volumeID: 'vol-1' } });
  assert.equal(new Set(['', await nodeOf('disk-a'), await nodeOf('disk-b')]).size, 3);
  assert.match(await why('disk-c'), /2 node\(s\) had no available disk\./);
});
