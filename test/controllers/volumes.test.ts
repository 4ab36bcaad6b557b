/** Claims and volumes in virtual time against the real API server. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { PersistentVolumeSpec } from '../../src/api/types/index.gen.ts';
import { eventsOf, ns } from './pods.ts';
import type { PodWorld } from './pods.ts';
import { quiet, world } from './world.ts';

const volume = (
  w: PodWorld,
  name: string,
  spec: Partial<PersistentVolumeSpec> = {},
  labels: Record<string, string> = {},
) =>
  w.admin.core.persistentvolumes.create({
    metadata: { name, labels },
    spec: {
      capacity: { storage: '10Gi' },
      accessModes: ['ReadWriteOnce'],
      hostPath: { path: `/data/${name}` },
      persistentVolumeReclaimPolicy: 'Retain',
      ...spec,
    },
  });

const claim = (w: PodWorld, name: string, spec: Record<string, unknown> = {}) =>
  w.admin.core.persistentvolumeclaims.create({
    metadata: { name, namespace: ns },
    spec: {
      accessModes: ['ReadWriteOnce'],
      resources: { requests: { storage: '5Gi' } },
      storageClassName: '',
      ...spec,
    },
  });

const claimState = async (w: PodWorld, name: string): Promise<string> => {
  const c = await w.admin.core.persistentvolumeclaims.get(name, ns);
  return `${c.status?.phase} ${c.spec?.volumeName ?? ''} ${c.status?.capacity?.['storage'] ?? ''}`.trim();
};
const volumeState = async (w: PodWorld, name: string): Promise<string> => {
  const v = await w.admin.core.persistentvolumes.get(name);
  return `${v.status?.phase} ${v.spec?.claimRef?.name ?? ''}`.trim();
};

test('the smallest volume that suits is bound, for good; what nothing suits waits', async () => {
  await using w = await world();
  await volume(w, 'big');
  await volume(w, 'small', { capacity: { storage: '6Gi' } });
  await volume(w, 'other', { capacity: { storage: '5Gi' }, storageClassName: 'slow' });
  await w.clock.advance(0);
  assert.equal(await volumeState(w, 'small'), 'Available');
  await Promise.all([claim(w, 'a'), claim(w, 'b'), claim(w, 'c')]);
  await w.clock.advance(0);
  const states = [await claimState(w, 'a'), await claimState(w, 'b'), await claimState(w, 'c')];
  assert.deepEqual(states.toSorted(), ['Bound big 10Gi', 'Bound small 6Gi', 'Pending']);
  const bound = await w.admin.core.persistentvolumeclaims.get('abc'[states.indexOf('Bound small 6Gi')]!, ns);
  assert.equal(bound.metadata.annotations?.['pv.kubernetes.io/bind-completed'], 'yes');
  assert.equal(bound.metadata.annotations?.['pv.kubernetes.io/bound-by-controller'], 'yes');
  assert.equal(await volumeState(w, 'small'), `Bound ${bound.metadata.name}`);
  const waiting = 'abc'[states.indexOf('Pending')]!;
  assert.deepEqual(await eventsOf(w, 'PersistentVolumeClaim', waiting), [
    'Normal FailedBinding no persistent volumes available for this claim and no storage class is set',
  ]);
  await volume(w, 'late');
  await w.clock.advance(0);
  assert.equal(await claimState(w, waiting), 'Bound late 10Gi', 'a new volume is taken at once');

  await w.admin.core.persistentvolumeclaims.delete(bound.metadata.name!, ns);
  await w.clock.advance(0);
  assert.equal(await volumeState(w, 'small'), `Released ${bound.metadata.name}`);
  await w.admin.core.persistentvolumes.patch('small', undefined, 'merge', { spec: { claimRef: null } });
  await w.clock.advance(0);
  assert.equal(await volumeState(w, 'small'), 'Available');
  quiet(w);
});

test('volumes asked for by name, reserved for a claim, lost, and deleted after use', async () => {
  await using w = await world();
  await volume(w, 'tiny', { capacity: { storage: '1Gi' } });
  await claim(w, 'named', { volumeName: 'tiny' });
  await w.clock.advance(0);
  assert.deepEqual(await eventsOf(w, 'PersistentVolumeClaim', 'named'), [
    'Warning VolumeMismatch Cannot bind to requested volume "tiny": requested PV is too small',
  ]);
  await volume(w, 'reserved', { claimRef: { namespace: ns, name: 'mine' }, capacity: { storage: '50Gi' } });
  await volume(w, 'closer');
  await claim(w, 'mine');
  await w.clock.advance(0);
  assert.equal(await claimState(w, 'mine'), 'Bound reserved 50Gi');
  await volume(w, 'scratch', {
    hostPath: { path: '/tmp/x' },
    persistentVolumeReclaimPolicy: 'Delete',
    storageClassName: 's',
  });
  await volume(w, 'fixed', { persistentVolumeReclaimPolicy: 'Delete', storageClassName: 't' });
  await claim(w, 's', { storageClassName: 's' });
  await claim(w, 't', { storageClassName: 't' });
  await w.clock.advance(0);
  assert.equal(await claimState(w, 's'), 'Bound scratch 10Gi');
  for (const name of ['s', 't']) await w.admin.core.persistentvolumeclaims.delete(name, ns);
  await w.clock.advance(0);
  const names = (await w.admin.core.persistentvolumes.list()).items.map((v) => v.metadata.name);
  assert.ok(!names.includes('scratch'));
  assert.equal(await volumeState(w, 'fixed'), 'Failed t');
  await w.admin.core.persistentvolumes.delete('reserved');
  await w.clock.advance(0);
  assert.equal(await volumeState(w, 'reserved'), 'Bound mine', 'protected while it is bound');
  await w.admin.core.persistentvolumes.patch('reserved', undefined, 'merge', { metadata: { finalizers: null } });
  await w.clock.advance(0);
  assert.equal(await claimState(w, 'mine'), 'Lost reserved');
  assert.ok(
    (await eventsOf(w, 'PersistentVolumeClaim', 'mine')).includes(
      'Warning ClaimLost Bound claim has lost its PersistentVolume. Data on the volume is lost!',
    ),
  );
  quiet(w);
});

test('classes: waiting for a consumer, a provisioner outside, one that is missing, the default later on', async () => {
  await using w = await world();
  const storageClass = (name: string, provisioner: string, mode: string, annotations: Record<string, string> = {}) =>
    w.admin.storage.storageclasses.create({ metadata: { name, annotations }, provisioner, volumeBindingMode: mode });
  await storageClass('local', 'kubernetes.io/no-provisioner', 'WaitForFirstConsumer');
  await storageClass('cloud', 'csi.example.com', 'Immediate');
  // A class that the controller has not heard of is none, and then a volume is bound at once.
  await w.clock.advance(0);
  await w.admin.core.nodes.create({ metadata: { name: 'n1', labels: { disk: 'yes' } } });
  for (const name of ['n1', 'n2']) {
    await volume(w, `on-${name}`, {
      storageClassName: 'local',
      nodeAffinity: {
        required: {
          nodeSelectorTerms: [
            { matchExpressions: [{ key: 'disk', operator: 'In', values: [name === 'n1' ? 'yes' : 'no'] }] },
          ],
        },
      },
    });
  }
  await claim(w, 'late', { storageClassName: 'local' });
  await claim(w, 'outside', { storageClassName: 'cloud' });
  await claim(w, 'nowhere', { storageClassName: 'missing' });
  await w.admin.core.persistentvolumeclaims.create({
    metadata: { name: 'any', namespace: ns },
    spec: { accessModes: ['ReadWriteOnce'], resources: { requests: { storage: '5Gi' } } },
  });
  await w.clock.advance(0);
  assert.equal(await claimState(w, 'late'), 'Pending');
  assert.deepEqual(await eventsOf(w, 'PersistentVolumeClaim', 'late'), [
    'Normal WaitForFirstConsumer waiting for first consumer to be created before binding',
  ]);
  const outside = await w.admin.core.persistentvolumeclaims.get('outside', ns);
  assert.equal(outside.metadata.annotations?.['volume.kubernetes.io/storage-provisioner'], 'csi.example.com');
  assert.match(
    (await eventsOf(w, 'PersistentVolumeClaim', 'outside'))[0]!,
    /^Normal ExternalProvisioning Waiting for a volume/,
  );
  assert.deepEqual(await eventsOf(w, 'PersistentVolumeClaim', 'nowhere'), [
    'Warning ProvisioningFailed storageclass.storage.k8s.io "missing" not found',
  ]);
  // The scheduler has chosen a node for the claim's pod.
  await w.admin.core.persistentvolumeclaims.patch('late', ns, 'merge', {
    metadata: { annotations: { 'volume.kubernetes.io/selected-node': 'n1' } },
  });
  await w.clock.advance(0);
  assert.equal(await claimState(w, 'late'), 'Bound on-n1 10Gi');
  await storageClass('standard', 'csi.example.com', 'Immediate', {
    'storageclass.kubernetes.io/is-default-class': 'true',
  });
  await w.clock.advance(0);
  assert.equal((await w.admin.core.persistentvolumeclaims.get('any', ns)).spec?.storageClassName, 'standard');
  quiet(w);
});

test('a volume attributes class stays while a claim or a volume names it; a claim that is to grow is told who has to', async () => {
  await using w = await world();
  const { storage, core } = w.admin;
  for (const name of ['gold', 'silver'])
    await storage.volumeattributesclasses.create({
      metadata: { name },
      driverName: 'csi.example.com',
      parameters: { iops: name === 'gold' ? '4000' : '1000' },
    });
  await storage.storageclasses.create({
    metadata: { name: 'grows' },
    provisioner: 'csi.example.com',
    allowVolumeExpansion: true,
  });
  await claim(w, 'c', { storageClassName: 'grows', volumeAttributesClassName: 'silver', volumeName: 'v' });
  const { hostPath: _, ...spec } = (await volume(w, 'template')).spec!;
  await core.persistentvolumes.create({
    metadata: { name: 'v' },
    spec: {
      ...spec,
      capacity: { storage: '5Gi' },
      storageClassName: 'grows',
      volumeAttributesClassName: 'silver',
      csi: { driver: 'csi.example.com', volumeHandle: 'h' },
    },
  });
  await w.clock.advance(0);
  assert.equal(await claimState(w, 'c'), 'Bound v 5Gi');
  assert.equal((await core.persistentvolumeclaims.get('c', ns)).status?.currentVolumeAttributesClassName, 'silver');
  const change = { volumeAttributesClassName: 'gold', resources: { requests: { storage: '8Gi' } } };
  await core.persistentvolumeclaims.patch('c', ns, 'merge', { spec: change });
  await w.clock.advance(0);
  assert.ok(
    (await eventsOf(w, 'PersistentVolumeClaim', 'c')).includes(
      'Normal ExternalExpanding waiting for an external controller to expand this PVC',
    ),
  );
  for (const name of ['gold', 'silver']) await storage.volumeattributesclasses.delete(name);
  await w.clock.advance(0);
  const names = async (): Promise<(string | undefined)[]> =>
    (await storage.volumeattributesclasses.list()).items.map((c) => c.metadata.name);
  assert.deepEqual(await names(), ['gold', 'silver'], 'one is wanted, the other there');
  // What an external resizer writes when it has changed the volume.
  const status = { currentVolumeAttributesClassName: 'gold' };
  await core.persistentvolumeclaims.patch('c', ns, 'merge', { status }, { subresource: 'status' });
  await core.persistentvolumes.patch('v', undefined, 'merge', { spec: { volumeAttributesClassName: 'gold' } });
  await w.clock.advance(0);
  assert.deepEqual(await names(), ['gold']);
  quiet(w);
});

test('in-tree plugins: their drivers are asked to make, to grow and to delete what they have taken over', async () => {
  await using w = await world();
  const ebs = 'ebs.csi.aws.com';
  const plugin = 'kubernetes.io/aws-ebs';
  const name = 'in-tree';
  await w.admin.storage.storageclasses.create({
    metadata: { name },
    provisioner: plugin,
    allowVolumeExpansion: true,
  });
  await w.clock.advance(0);
  await claim(w, 'asked', { storageClassName: name });
  await w.clock.advance(0);
  const asked = await w.admin.core.persistentvolumeclaims.get('asked', ns);
  assert.equal(asked.metadata.annotations?.['volume.kubernetes.io/storage-provisioner'], ebs);
  assert.match(
    (await eventsOf(w, 'PersistentVolumeClaim', 'asked'))[0] ?? '',
    /external provisioner 'ebs\.csi\.aws\.com'/,
  );
  // One of the time when the plugin made volumes itself.
  await w.admin.core.persistentvolumes.create({
    metadata: {
      name: 'old',
      annotations: { 'pv.kubernetes.io/provisioned-by': plugin },
      finalizers: ['kubernetes.io/pv-controller'],
    },
    spec: {
      capacity: { storage: '5Gi' },
      accessModes: ['ReadWriteOnce'],
      persistentVolumeReclaimPolicy: 'Delete',
      storageClassName: name,
      awsElasticBlockStore: { volumeID: 'vol-1' },
      claimRef: { namespace: ns, name: 'has' },
    },
  });
  await claim(w, 'has', { storageClassName: name, volumeName: 'old' });
  await w.clock.advance(0);
  assert.equal(await claimState(w, 'has'), 'Bound old 5Gi');
  const old = await w.admin.core.persistentvolumes.get('old');
  assert.equal(old.metadata.annotations?.['pv.kubernetes.io/migrated-to'], ebs);
  assert.equal(old.metadata.finalizers?.includes('kubernetes.io/pv-controller'), false);
  await w.admin.core.persistentvolumeclaims.patch('has', ns, 'merge', {
    spec: { resources: { requests: { storage: '6Gi' } } },
  });
  await w.clock.advance(0);
  const grown = await w.admin.core.persistentvolumeclaims.get('has', ns);
  assert.equal(grown.metadata.annotations?.['volume.kubernetes.io/storage-resizer'], ebs);
  assert.ok(
    (await eventsOf(w, 'PersistentVolumeClaim', 'has')).includes(
      `Normal ExternalExpanding CSI migration enabled for ${plugin}; waiting for external resizer to expand the pvc`,
    ),
  );
  await w.admin.core.persistentvolumeclaims.delete('has', ns);
  await w.clock.advance(0);
  assert.equal(await volumeState(w, 'old'), 'Released has', 'the driver’s provisioner deletes it');
});
