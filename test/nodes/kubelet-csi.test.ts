/** CSI on a real node, with a driver of the test's own: registration, staging, publishing, groups, growth, limits, block devices. */
import assert from 'node:assert/strict';
import * as fs from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { status } from '@grpc/grpc-js';
import { attachmentName, uniqueVolumeName } from '../../src/api/helpers/csi-volumes.ts';
import { TestCsiDriver } from './support/csi-driver.ts';
import { kubeletPage } from './support/kubelet-page.ts';
import { ownNamespaces } from './support/namespaces.ts';
import { RealNode, shell, sleeper } from './support/real-node.ts';

const skip = ownNamespaces();

describe('CSI on a real node', { skip }, () => {
  let node: RealNode;
  let driver: TestCsiDriver;
  const name = 'csi.test.example';

  before(async () => {
    node = await RealNode.start({ configuration: { evictionHard: { 'memory.available': '1Mi' } } });
    driver = new TestCsiDriver(name, node.rootDir, join(node.containerd.dir, 'csi'));
    await node.client.storage.csidrivers.create({
      apiVersion: 'storage.k8s.io/v1',
      kind: 'CSIDriver',
      metadata: { name },
      spec: {
        attachRequired: false,
        podInfoOnMount: true,
        fsGroupPolicy: 'File',
        volumeLifecycleModes: ['Persistent', 'Ephemeral'],
        tokenRequests: [{ audience: 'vault', expirationSeconds: 600 }],
      },
    });
    await driver.start();
    await node.until(async () => driver.registered !== undefined, 'the driver to be registered');
  });
  after(async () => {
    await node?.stop();
    await driver?.stop();
  });

  /** A volume that is bound to a claim of the same name. */
  async function volume(
    id: string,
    more: object = {},
    csi: object = {},
    source: object = { csi: { driver: name, volumeHandle: `handle-${id}`, volumeAttributes: { a: 'b' }, ...csi } },
    labels: Record<string, string> = {},
  ): Promise<void> {
    const { uid } = (
      await node.client.core.persistentvolumeclaims.create({
        apiVersion: 'v1',
        kind: 'PersistentVolumeClaim',
        metadata: { name: id, namespace: 'default' },
        spec: {
          accessModes: ['ReadWriteOnce'],
          storageClassName: '',
          volumeName: id,
          resources: { requests: { storage: '1Gi' } },
          ...more,
        },
      })
    ).metadata;
    await node.client.core.persistentvolumes.create({
      apiVersion: 'v1',
      kind: 'PersistentVolume',
      metadata: { name: id, labels },
      spec: {
        capacity: { storage: '1Gi' },
        accessModes: ['ReadWriteOnce'],
        storageClassName: '',
        claimRef: { kind: 'PersistentVolumeClaim', name: id, namespace: 'default', uid: uid! },
        ...source,
        ...more,
      },
    });
    await node.until(
      async () => (await node.client.core.persistentvolumeclaims.get(id, 'default')).status?.phase === 'Bound',
      `claim ${id} to be bound`,
    );
  }

  const using = (claim: string, script = sleeper) => ({
    containers: [shell(script, { volumeMounts: [{ name: 'v', mountPath: '/v' }] })],
    volumes: [{ name: 'v', persistentVolumeClaim: { claimName: claim } }],
  });

  test('registration: CSINode, limits, labels, annotation', async () => {
    assert.equal(driver.registered, '');
    const csiNode = await node.client.storage.csinodes.get('n1');
    assert.deepEqual(csiNode.spec?.drivers, [
      { name, nodeID: `${name}-node`, topologyKeys: [`topology.${name}/zone`], allocatable: { count: 7 } },
    ]);
    const { labels, annotations, uid } = (await node.client.core.nodes.get('n1')).metadata;
    assert.equal(csiNode.metadata.ownerReferences?.[0]?.uid, uid);
    assert.equal(labels?.[`topology.${name}/zone`], 'z1');
    assert.deepEqual(JSON.parse(annotations!['csi.volume.kubernetes.io/nodeid']!), { [name]: `${name}-node` });
  });

  test('staged once, published for each pod, and taken away in the other order', async () => {
    await volume('one');
    await node.create('a', { ...using('one'), securityContext: { fsGroup: 5000 } });
    await node.create('b', using('one'));
    await node.phase('a', 'Running');
    await node.phase('b', 'Running');
    await node.exec('a', 'sh', '-c', 'echo shared > /v/f');
    assert.equal(await node.exec('b', 'cat', '/v/f'), 'shared\n');
    assert.equal(fs.statSync(driver.data('handle-one')).gid, 5000);
    const staged = new Set(driver.called('NodeStageVolume').map((r) => r['stagingTargetPath']));
    assert.equal(staged.size, 1);
    const counted = await kubeletPage(node, '/metrics');
    for (const [series, least] of [
      [
        `csi_operations_seconds_count{driver_name="${name}",grpc_status_code="OK",method_name="/csi.v1.Node/NodePublishVolume",migrated="false"}`,
        2,
      ],
      [
        `storage_operation_duration_seconds_count{migrated="false",operation_name="volume_mount",status="success",volume_plugin="kubernetes.io/csi:${name}"}`,
        2,
      ],
    ] as const) {
      const line = counted.split('\n').find((l) => l.startsWith(`${series} `));
      assert.ok(Number(line?.slice(series.length + 1)) >= least, `${series} in\n${counted}`);
    }
    const published = driver.called('NodePublishVolume');
    assert.equal(published.length, 2);
    const context = published[0]!['volumeContext'] as Record<string, string>;
    assert.deepEqual(
      [context['a'], context['csi.storage.k8s.io/pod.namespace'], context['csi.storage.k8s.io/ephemeral']],
      ['b', 'default', 'false'],
    );
    const tokens = JSON.parse(context['csi.storage.k8s.io/serviceAccount.tokens']!) as Record<
      string,
      { token: string }
    >;
    assert.match(tokens['vault']!.token, /^ey/);
    await node.delete('a');
    assert.equal(driver.called('NodeUnstageVolume').length, 0, 'the other pod still uses it');
    // A kubelet that was restarted meanwhile knows what is left.
    await node.stopKubelet();
    await node.startKubelet();
    await node.delete('b');
    await node.until(async () => driver.called('NodeUnstageVolume').length > 0, 'the volume to be unstaged');
    assert.equal(driver.called('NodeUnpublishVolume').length, 2);
    await node.until(
      async () => fs.readdirSync(join(node.rootDir, 'plugins/kubernetes.io/csi', name)).length === 0,
      'the staging directory to be removed',
    );
    assert.equal(fs.readFileSync(join(driver.data('handle-one'), 'f'), 'utf8'), 'shared\n');
  });

  test('an inline volume, and errors in upstream’s words', async () => {
    await node.create('inline', {
      containers: [shell(sleeper, { volumeMounts: [{ name: 'v', mountPath: '/v' }] })],
      volumes: [{ name: 'v', csi: { driver: name, volumeAttributes: { x: 'y' } } }],
    });
    await node.phase('inline', 'Running');
    const request = driver.called('NodePublishVolume').at(-1)!;
    assert.match(String(request['volumeId']), /^csi-[0-9a-f]{64}$/);
    assert.equal((request['volumeContext'] as Record<string, string>)['csi.storage.k8s.io/ephemeral'], 'true');
    await node.delete('inline');
    driver.failures.set('NodePublishVolume', { code: status.INTERNAL, details: 'disk on fire' });
    await volume('bad');
    await node.create('failing', using('bad'));
    await node.until(
      async () =>
        (await node.events('failing')).includes(
          'FailedMount: MountVolume.SetUp failed for volume "bad" : rpc error: code = Internal desc = disk on fire',
        ),
      'the failure to be told',
    );
    driver.failures.delete('NodePublishVolume');
    await node.phase('failing', 'Running');
    await node.delete('failing');
    await volume('other', {}, { driver: 'absent.example' });
    await node.client.storage.csidrivers.create({
      apiVersion: 'storage.k8s.io/v1',
      kind: 'CSIDriver',
      metadata: { name: 'absent.example' },
      spec: { attachRequired: false },
    });
    await node.create('nodriver', using('other'));
    await node.until(
      async () =>
        (await node.events('nodriver')).includes(
          'FailedMount: MountVolume.MountDevice failed for volume "other" : kubernetes.io/csi: attacher.MountDevice failed to create newCsiDriverClient: driver name absent.example not found in the list of registered CSI drivers',
        ),
      'the missing driver to be told',
    );
    await node.delete('nodriver');
  });

  test('a volume that has grown is grown on the node, and its claim told', async () => {
    await volume('grown');
    await node.client.core.persistentvolumes.patch('grown', undefined, 'merge', {
      spec: { capacity: { storage: '2Gi' } },
    });
    await node.create('grower', using('grown'));
    await node.phase('grower', 'Running');
    const asked = driver.called('NodeExpandVolume').at(-1)!;
    assert.equal((asked['capacityRange'] as { requiredBytes: number }).requiredBytes, 2 * 2 ** 30);
    const claim = await node.client.core.persistentvolumeclaims.get('grown', 'default');
    assert.equal(claim.status?.capacity?.['storage'], '2Gi');
    assert.ok((await node.events('grower')).some((e) => e.startsWith('FileSystemResizeSuccessful')));
    const uid = (await node.client.core.pods.get('grower', 'default')).metadata.uid!;
    const usage = await node.kubelet.volumes.claimUsage(uid);
    assert.equal(usage.get('v')?.usedBytes, 100);
    await node.delete('grower');
  });

  test('a block device, where the kernel has loop devices', async (t) => {
    if (!fs.existsSync('/dev/loop-control')) {
      t.skip('the kernel has no loop devices');
      return;
    }
    await volume('block', { volumeMode: 'Block' });
    await node.create('device', {
      containers: [shell(sleeper, { volumeDevices: [{ name: 'v', devicePath: '/dev/mine' }] })],
      volumes: [{ name: 'v', persistentVolumeClaim: { claimName: 'block' } }],
    });
    await node.phase('device', 'Running');
    assert.match(await node.exec('device', 'ls', '-l', '/dev/mine'), /^b/);
    await node.exec('device', 'sh', '-c', 'printf knarr > /dev/mine; sync');
    await node.delete('device');
    await node.until(
      async () => !fs.existsSync(join(node.rootDir, 'plugins/kubernetes.io/csi/volumeDevices/block')),
      'the device to be let go',
    );
    assert.equal(
      fs
        .readFileSync(`${driver.data('handle-block')}.img`)
        .subarray(0, 5)
        .toString(),
      'knarr',
    );
  });

  test('a volume is mounted once its attacher has attached it, and detached after it is unmounted', async () => {
    const attaching = new TestCsiDriver('attach.test.example', node.rootDir, join(node.containerd.dir, 'attach'));
    await attaching.start();
    await node.until(async () => attaching.registered !== undefined, 'the driver to be registered');
    const { storage, core } = node.client;
    const id = attachmentName('handle-attached', attaching.name, 'n1');
    const finalizer = 'external-attacher/attach-test-example';
    const found = async () => (await storage.volumeattachments.list()).items.find((a) => a.metadata.name === id);
    const unique = uniqueVolumeName(attaching.name, 'handle-attached');
    const status = async () => (await core.nodes.get('n1')).status;
    await volume('attached', {}, { driver: attaching.name });
    await node.create('attached', using('attached'));
    await node.until(found, 'a VolumeAttachment');
    await node.until(async () => (await status())?.volumesInUse?.includes(unique), 'the volume to be in use');
    assert.equal(attaching.called('NodeStageVolume').length, 0, 'not before it is attached');
    await storage.volumeattachments.patch(id, undefined, 'merge', { metadata: { finalizers: [finalizer] } });
    const answer = { attached: true, attachmentMetadata: { devicePath: '/dev/xvdz' } };
    await storage.volumeattachments.patch(id, undefined, 'merge', { status: answer }, { subresource: 'status' });
    const at = Date.now();
    await node.phase('attached', 'Running');
    assert.ok(Date.now() - at < 8000, 'it is told and need not look again');
    assert.deepEqual(attaching.called('NodeStageVolume')[0]!['publishContext'], { devicePath: '/dev/xvdz' });
    assert.deepEqual((await status())?.volumesAttached, [{ name: unique, devicePath: '' }]);
    assert.ok(
      (await node.events('attached')).includes(
        'SuccessfulAttachVolume: AttachVolume.Attach succeeded for volume "attached" ',
      ),
    );
    // A kubelet that was restarted still uses what is mounted.
    await node.stopKubelet();
    await node.startKubelet();
    assert.deepEqual((await status())?.volumesInUse, [unique]);
    await node.delete('attached');
    await node.until(async () => (await found())?.metadata.deletionTimestamp !== undefined, 'it to be detached');
    assert.equal(attaching.called('NodeUnstageVolume').length, 1);
    assert.deepEqual((await status())?.volumesInUse ?? [], []);
    assert.deepEqual((await status())?.volumesAttached ?? [], []);
    await storage.volumeattachments.patch(id, undefined, 'merge', { metadata: { finalizers: null } });
    await node.until(async () => (await found()) === undefined, 'the VolumeAttachment to go');
    await attaching.stop();
  });

  test('in-tree volumes are mounted through the driver that took over', async () => {
    const ebs = new TestCsiDriver('ebs.csi.aws.com', node.rootDir, join(node.containerd.dir, 'ebs'));
    await ebs.start();
    await node.until(async () => ebs.registered !== undefined, 'the driver to be registered');
    const { storage } = node.client;
    const csiNode = await storage.csinodes.get('n1');
    assert.match(
      csiNode.metadata.annotations?.['storage.alpha.kubernetes.io/migrated-plugins'] ?? '',
      /kubernetes\.io\/aws-ebs/,
    );
    const source = { awsElasticBlockStore: { volumeID: 'aws://z1/vol-0a', fsType: 'ext4', partition: 1 } };
    await volume('tree', {}, undefined, source, { 'topology.kubernetes.io/zone': 'z1' });
    await node.create('migrated', {
      containers: [
        shell(sleeper, {
          volumeMounts: [
            { name: 'v', mountPath: '/v' },
            { name: 'w', mountPath: '/w' },
          ],
        }),
      ],
      volumes: [
        { name: 'v', persistentVolumeClaim: { claimName: 'tree' } },
        { name: 'w', awsElasticBlockStore: { volumeID: 'vol-0b' } },
      ],
    });
    const attachments = async () => (await storage.volumeattachments.list()).items;
    await node.until(async () => (await attachments()).length === 2, 'two VolumeAttachments');
    for (const a of await attachments()) {
      assert.equal(a.spec.attacher, ebs.name);
      const inline = a.spec.source.inlineVolumeSpec?.csi?.volumeHandle;
      assert.equal(inline ?? a.spec.source.persistentVolumeName, inline === undefined ? 'tree' : 'vol-0b');
      const handle = inline ?? 'vol-0a';
      assert.equal(a.metadata.name, attachmentName(handle, ebs.name, 'n1'));
      const answer = { attached: true };
      await storage.volumeattachments.patch(
        a.metadata.name!,
        undefined,
        'merge',
        { status: answer },
        { subresource: 'status' },
      );
    }
    await node.phase('migrated', 'Running');
    await node.exec('migrated', 'sh', '-c', 'echo tree > /v/f; echo inline > /w/f');
    assert.equal(fs.readFileSync(join(ebs.data('vol-0a'), 'f'), 'utf8'), 'tree\n');
    assert.equal(fs.readFileSync(join(ebs.data('vol-0b'), 'f'), 'utf8'), 'inline\n');
    const staged = ebs.called('NodeStageVolume').find((r) => r['volumeId'] === 'vol-0a')!;
    assert.deepEqual(staged['volumeContext'], { partition: '1' });
    await node.delete('migrated');
    await node.until(async () => (await attachments()).length === 0, 'both to be detached');
    assert.equal(ebs.called('NodeUnstageVolume').length, 2);
    await volume('nonsense', {}, undefined, { awsElasticBlockStore: { volumeID: 'aws://z1/none' } });
    await node.create('nonsense', using('nonsense'));
    await node.until(
      async () => (await node.events('nonsense')).some((e) => e.includes('failed to translate in-tree pv to CSI')),
      'what is wrong to be told',
    );
    await node.delete('nonsense');
    await ebs.stop();
  });

  test('a driver that goes away is taken out', async () => {
    await driver.stop();
    await node.until(
      async () => ((await node.client.storage.csinodes.get('n1')).spec?.drivers ?? []).length === 0,
      'the driver to be taken out',
    );
    assert.equal(
      (await node.client.core.nodes.get('n1')).metadata.annotations?.['csi.volume.kubernetes.io/nodeid'],
      undefined,
    );
  });
});
