/** In-tree volumes as their drivers see them: handles, attributes, zones. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { PersistentVolume } from '../../types/index.gen.ts';
import {
  driverOfPlugin,
  hasMigrated,
  inTreePluginOf,
  migratedPlugins,
  translatedInlineVolume,
  translatedVolume,
} from './csi-translation.ts';

const pv = (spec: PersistentVolume['spec'], metadata: PersistentVolume['metadata'] = {}): PersistentVolume => ({
  metadata: { name: 'pv', ...metadata },
  spec,
});
const csiOf = (volume: PersistentVolume) => translatedVolume(volume).spec!.csi!;
const zone = (name: string) => ({ labels: { 'topology.kubernetes.io/zone': name } });
const affinity = (key: string, ...values: string[]) => ({
  required: { nodeSelectorTerms: [{ matchExpressions: [{ key, operator: 'In', values }] }] },
});

test('every kind: its driver, its handle', () => {
  const handles = [
    pv({ awsElasticBlockStore: { volumeID: 'aws:///vol-1', fsType: 'xfs', partition: 2, readOnly: true } }),
    pv({ azureDisk: { diskName: 'd', diskURI: '/subscriptions/s/d', cachingMode: 'ReadOnly' } }),
    pv({ azureFile: { secretName: 'azure-storage-account-acc-secret', shareName: 's', secretNamespace: 'ns' } }),
    pv({ cinder: { volumeID: 'c' } }),
    pv({ gcePersistentDisk: { pdName: 'g' } }, zone('us-a1-b')),
    pv({ portworxVolume: { volumeID: 'p' } }),
    pv({ vsphereVolume: { volumePath: '[ds] v', storagePolicyName: 'gold' } }),
  ].map((v) => ({ plugin: inTreePluginOf(v)!, csi: csiOf(v) }));
  for (const { plugin, csi } of handles) assert.equal(driverOfPlugin(plugin), csi.driver);
  assert.equal(migratedPlugins, handles.map((h) => h.plugin).join(','));
  assert.deepEqual(
    handles.map((h) => h.csi.volumeHandle),
    ['vol-1', '/subscriptions/s/d', '#acc#s#pv#ns', 'c', 'projects/UNSPECIFIED/zones/us-a1-b/disks/g', 'p', '[ds] v'],
  );
  assert.deepEqual(handles[0]!.csi, {
    driver: 'ebs.csi.aws.com',
    volumeHandle: 'vol-1',
    readOnly: true,
    fsType: 'xfs',
    volumeAttributes: { partition: '2' },
  });
  assert.deepEqual(handles[1]!.csi.volumeAttributes, { kind: 'Managed', cachingmode: 'ReadOnly' });
  assert.deepEqual(handles[2]!.csi.nodeStageSecretRef, { name: 'azure-storage-account-acc-secret', namespace: 'ns' });
  assert.deepEqual(handles[6]!.csi.volumeAttributes, { storagepolicyname: 'gold' });
});

test('zones: from the affinity first, then from labels, old names made new', () => {
  const ebs = { awsElasticBlockStore: { volumeID: 'vol-1' } };
  const terms = (v: PersistentVolume) => translatedVolume(v).spec!.nodeAffinity;
  const key = 'topology.ebs.csi.aws.com/zone';
  assert.equal(terms(pv(ebs)), undefined);
  assert.deepEqual(terms(pv(ebs, zone('b__a'))), affinity(key, 'a', 'b'));
  const old = affinity('failure-domain.beta.kubernetes.io/zone', 'z');
  assert.deepEqual(terms(pv({ ...ebs, nodeAffinity: old }, zone('other'))), affinity(key, 'z'));
  const regional = pv({ gcePersistentDisk: { pdName: 'g' }, accessModes: ['ReadWriteMany'] }, zone('us-a1-a__us-a1-b'));
  assert.equal(csiOf(regional).volumeHandle, 'projects/UNSPECIFIED/regions/us-a1/disks/g');
  assert.deepEqual(translatedVolume(regional).spec!.accessModes, ['ReadWriteOnce']);
  const labels = { 'topology.kubernetes.io/zone': 'z', 'topology.kubernetes.io/region': 'r' };
  const [term] = terms(pv({ vsphereVolume: { volumePath: 'v' } }, { labels }))!.required!.nodeSelectorTerms;
  assert.deepEqual(
    term!.matchExpressions!.map((e) => [e.key, e.values]),
    [
      ['topology.csi.vmware.com/zone', ['z']],
      ['topology.csi.vmware.com/region', ['r']],
    ],
  );
});

test('volumes written in pods, other kinds, and sources that make no sense', () => {
  const inline = translatedInlineVolume({ name: 'v', gcePersistentDisk: { pdName: 'g', readOnly: true } }, 'ns')!;
  assert.equal(inline.metadata.name, 'pd.csi.storage.gke.io-g');
  assert.deepEqual(inline.spec!.accessModes, ['ReadOnlyMany']);
  assert.equal(inline.spec!.csi!.volumeHandle, 'projects/UNSPECIFIED/zones/UNSPECIFIED/disks/g');
  const share = translatedInlineVolume({ name: 'v', azureFile: { secretName: 'x', shareName: 's' } }, 'ns')!;
  assert.equal(share.metadata.name, '#x#s#v#ns');
  assert.equal(translatedInlineVolume({ name: 'v', emptyDir: {} }, 'ns'), undefined);
  const nfs = pv({ nfs: { server: 's', path: '/' } });
  assert.equal(translatedVolume(nfs), nfs);
  assert.throws(() => translatedVolume(pv({ awsElasticBlockStore: { volumeID: 'aws://z/x' } })), /Invalid format/);
  assert.throws(
    () => translatedVolume(pv({ azureDisk: { diskName: '', diskURI: '', kind: 'Shared' } })),
    /kind\(Shared\)/,
  );
  const csiNode = { metadata: { annotations: { 'storage.alpha.kubernetes.io/migrated-plugins': migratedPlugins } } };
  assert.equal(hasMigrated({ ...csiNode, spec: { drivers: [] } }, 'kubernetes.io/cinder'), true);
  assert.equal(hasMigrated(undefined, 'kubernetes.io/cinder'), false);
});
