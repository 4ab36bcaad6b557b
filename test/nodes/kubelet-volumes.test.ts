/** Volumes of pods on a real machine: what containers see of them, and what is left behind. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import * as fs from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { ownNamespaces } from './support/namespaces.ts';
import { RealNode, shell, sleeper } from './support/real-node.ts';

const skip = ownNamespaces();

describe('volumes on a real node', { skip }, () => {
  let node: RealNode;
  before(async () => {
    node = await RealNode.start();
    await node.client.core.configmaps.create({
      apiVersion: 'v1',
      kind: 'ConfigMap',
      metadata: { name: 'config', namespace: 'default' },
      data: { one: '1', two: '2' },
      binaryData: { raw: Buffer.from([0, 255]).toString('base64') },
    });
    await node.client.core.secrets.create({
      apiVersion: 'v1',
      kind: 'Secret',
      metadata: { name: 'secret', namespace: 'default' },
      data: { password: Buffer.from('hush').toString('base64') },
    });
  });
  after(() => node?.stop());

  test('configuration, memory and disk, with modes, owners and groups', async () => {
    const out = await node.script('plain', '', {
      securityContext: { runAsUser: 1000, runAsGroup: 1000, fsGroup: 3000 },
      containers: [
        shell(
          `ls -lnL /config; cat /config/two; echo; ls -lnL /secret; cat /secret/password; echo; ls -lnL /token
             cat /down/labels; echo; ls -lnd /disk /memory /part; df -m /memory | tail -1; grep -c ' /secret tmpfs' /proc/mounts
             touch /disk/x /memory/x && ls -ln /disk/x; touch /config/x 2>&1; cat /sub; id -G`,
          {
            volumeMounts: [
              { name: 'config', mountPath: '/config' },
              { name: 'config', mountPath: '/sub', subPath: 'one' },
              { name: 'secret', mountPath: '/secret' },
              { name: 'token', mountPath: '/token' },
              { name: 'down', mountPath: '/down' },
              { name: 'disk', mountPath: '/disk' },
              { name: 'memory', mountPath: '/memory' },
              { name: 'memory', mountPath: '/part', subPath: 'part' },
            ],
          },
        ),
      ],
      volumes: [
        { name: 'config', configMap: { name: 'config', defaultMode: 0o444 } },
        { name: 'secret', secret: { secretName: 'secret', defaultMode: 0o400 } },
        { name: 'token', projected: { sources: [{ serviceAccountToken: { path: 'token' } }] } },
        {
          name: 'down',
          downwardAPI: { items: [{ path: 'labels', fieldRef: { fieldPath: 'metadata.labels' } }] },
        },
        { name: 'disk', emptyDir: {} },
        { name: 'memory', emptyDir: { medium: 'Memory', sizeLimit: '8Mi' } },
      ],
    });
    assert.match(out, /-r--r--r-- +1 0 +3000 +1 .* one\n/);
    assert.match(out, /\n2\n/);
    assert.match(out, /-r--r----- +1 0 +3000 +4 .* password\n/, 'the group of fsGroup may read');
    assert.match(out, /\nhush\n/);
    assert.match(out, /-rw-r----- +1 1000 +3000 .* token\n/, 'a token is the one user’s that all containers run as');
    assert.match(out, /drwxrwsrwx .* 0 +3000 .* \/disk\n/);
    assert.match(out, /drwxrwsrwt .* 0 +3000 .* \/memory\n/);
    assert.match(out, /drwxrwsrwt .* 0 +3000 .* \/part\n/);
    assert.match(out, /tmpfs +8 /);
    assert.match(out, /\n1\n/, 'secrets are in memory');
    assert.match(out, /1000 +3000 .* \/disk\/x\n/);
    assert.match(out, /touch: \/config\/x: Read-only file system\n1/);
    assert.match(out, /1000 2000 3000\n$/);
    const uid = (await node.client.core.pods.get('plain', 'default')).metadata.uid!;
    const dir = join(node.rootDir, 'pods', uid);
    await node.until(async () => !fs.existsSync(join(dir, 'volumes')), 'the volumes of an ended pod to be removed');
    await node.delete('plain');
    await node.until(async () => !fs.existsSync(dir), 'the pod’s directory to be removed');
    assert.ok(!fs.readFileSync('/proc/self/mountinfo', 'utf8').includes(uid));
  });

  test('a running pod sees changes of its configuration, and a service account token', async () => {
    await node.create('watcher', {
      automountServiceAccountToken: true,
      containers: [
        shell(sleeper, {
          volumeMounts: [
            { name: 'all', mountPath: '/all' },
            { name: 'config', mountPath: '/config' },
          ],
        }),
      ],
      volumes: [
        { name: 'config', configMap: { name: 'config', items: [{ key: 'one', path: 'deep/er', mode: 0o600 }] } },
        {
          name: 'all',
          projected: {
            sources: [
              { serviceAccountToken: { path: 'token', audience: 'vault', expirationSeconds: 600 } },
              { secret: { name: 'secret' } },
              { configMap: { name: 'absent', optional: true } },
            ],
          },
        },
      ],
    });
    await node.phase('watcher', 'Running');
    assert.equal(await node.exec('watcher', 'cat', '/config/deep/er'), '1');
    const [, payload] = (await node.exec('watcher', 'cat', '/all/token')).split('.');
    const claims = JSON.parse(Buffer.from(payload!, 'base64url').toString()) as Record<string, unknown>;
    assert.deepEqual(claims['aud'], ['vault']);
    assert.equal(claims['sub'], 'system:serviceaccount:default:default');
    assert.match(
      await node.exec('watcher', 'ls', '/var/run/secrets/kubernetes.io/serviceaccount'),
      /^ca.crt\nnamespace\ntoken\n$/,
    );
    await node.client.core.configmaps.patch('config', 'default', 'merge', { data: { one: 'changed' } });
    await node.until(
      async () => (await node.exec('watcher', 'cat', '/config/deep/er')) === 'changed',
      'the change to arrive',
    );
    await node.delete('watcher');
  });

  test('what is missing or forbidden is told with upstream’s words', async () => {
    const failing = async (name: string, volume: object, mount: object, expected: RegExp, reason: string) => {
      await node.create(name, {
        containers: [shell('true', { volumeMounts: [{ name: 'v', mountPath: '/v', ...mount }] })],
        volumes: [{ name: 'v', ...volume }],
      });
      await node
        .until(
          async () => (await node.events(name)).some((e) => e.startsWith(reason) && expected.test(e)),
          `${name}: ${expected}`,
        )
        .catch(async (error: unknown) => {
          throw new Error(`${String(error)}\n${(await node.events(name)).join('\n')}`);
        });
      await node.delete(name);
    };
    await failing(
      'no-map',
      { configMap: { name: 'nope' } },
      {},
      /MountVolume.SetUp failed for volume "v" : configmap "nope" not found/,
      'FailedMount',
    );
    await failing(
      'no-key',
      { secret: { secretName: 'secret', items: [{ key: 'x', path: 'x' }] } },
      {},
      /references non-existent secret key: x/,
      'FailedMount',
    );
    const dir = join(node.containerd.dir, 'data');
    fs.mkdirSync(dir, { recursive: true });
    await failing(
      'no-dir',
      { hostPath: { path: `${dir}/absent`, type: 'Directory' } },
      {},
      /hostPath type check failed: .*\/absent is not a directory/,
      'FailedMount',
    );
    await failing('no-socket', { hostPath: { path: dir, type: 'Socket' } }, {}, /is not a socket file/, 'FailedMount');
    await failing(
      'no-parent',
      { hostPath: { path: `${dir}/a/b`, type: 'FileOrCreate' } },
      {},
      /open .*\/a\/b: no such file or directory/,
      'FailedMount',
    );
    fs.symlinkSync('/etc', join(dir, 'out'));
    await failing(
      'escape',
      { hostPath: { path: dir } },
      { subPath: 'out/passwd' },
      /Error: failed to prepare subPath for volumeMount "v" of container "main"/,
      'Failed',
    );
  });

  test('hostPath, subPathExpr, and mounts that come later', async () => {
    const dir = join(node.rootDir, 'shared');
    fs.mkdirSync(dir, { recursive: true });
    await node.create('paths', {
      containers: [
        shell(sleeper, {
          env: [{ name: 'WHO', value: 'me' }],
          volumeMounts: [
            { name: 'v', mountPath: '/v', mountPropagation: 'HostToContainer' },
            { name: 'v', mountPath: '/mine', subPathExpr: 'logs/$(WHO)' },
          ],
        }),
      ],
      volumes: [{ name: 'v', hostPath: { path: dir, type: 'DirectoryOrCreate' } }],
    });
    await node.phase('paths', 'Running');
    await node.exec('paths', 'sh', '-c', 'echo hello > /mine/f');
    assert.equal(fs.readFileSync(join(dir, 'logs/me/f'), 'utf8'), 'hello\n');
    await node.host.mkdir(join(dir, 'late'));
    await node.host.mount('tmpfs', join(dir, 'late'), { fsType: 'tmpfs' });
    fs.writeFileSync(join(dir, 'late/f'), 'later');
    assert.equal(await node.exec('paths', 'cat', '/v/late/f'), 'later');
    await node.host.unmount(join(dir, 'late'));
    await node.delete('paths');
  });

  test('a local PersistentVolume: its group, its data, read-only where asked', async () => {
    const dir = join(node.containerd.dir, 'local');
    fs.mkdirSync(dir);
    await node.client.core.persistentvolumes.create({
      apiVersion: 'v1',
      kind: 'PersistentVolume',
      metadata: { name: 'local' },
      spec: {
        capacity: { storage: '1Gi' },
        accessModes: ['ReadWriteOnce'],
        storageClassName: '',
        local: { path: dir },
        nodeAffinity: {
          required: {
            nodeSelectorTerms: [
              { matchExpressions: [{ key: 'kubernetes.io/hostname', operator: 'In', values: ['n1'] }] },
            ],
          },
        },
      },
    });
    await node.client.core.persistentvolumeclaims.create({
      apiVersion: 'v1',
      kind: 'PersistentVolumeClaim',
      metadata: { name: 'claim', namespace: 'default' },
      spec: {
        accessModes: ['ReadWriteOnce'],
        storageClassName: '',
        resources: { requests: { storage: '1Gi' } },
      },
    });
    const spec = (script: string, readOnly: boolean) => ({
      securityContext: { fsGroup: 4000 },
      containers: [shell(script, { volumeMounts: [{ name: 'v', mountPath: '/v' }] })],
      volumes: [{ name: 'v', persistentVolumeClaim: { claimName: 'claim', readOnly } }],
    });
    assert.equal(
      await node.script('writer', '', spec('echo kept > /v/f; ls -lnd /v | cut -c1-10', false)),
      'drwxrwsr-x\n',
    );
    assert.equal(fs.statSync(dir).gid, 4000);
    assert.match(
      await node.script('reader', '', spec('cat /v/f; touch /v/g 2>&1', true)),
      /^kept\ntouch: \/v\/g: Read-only file system\n$/,
    );
    await node.delete('writer');
    await node.delete('reader');
    assert.ok(!fs.readFileSync('/proc/self/mountinfo', 'utf8').includes('local-volume'));
    assert.equal(fs.readFileSync(join(dir, 'f'), 'utf8'), 'kept\n', 'removing the pod never crosses into the volume');
  });

  test('a local block device is formatted once, and let go after its last pod', async (t) => {
    if (!fs.existsSync('/dev/loop-control')) {
      t.skip('the kernel has no loop devices');
      return;
    }
    const image = join(node.containerd.dir, 'disk.img');
    fs.writeFileSync(image, Buffer.alloc(8 * 2 ** 20));
    const device = execFileSync('losetup', ['-f', '--show', image], { encoding: 'utf8' }).trim();
    t.after(() => execFileSync('losetup', ['-d', device]));
    const { uid } = (
      await node.client.core.persistentvolumeclaims.create({
        apiVersion: 'v1',
        kind: 'PersistentVolumeClaim',
        metadata: { name: 'disk', namespace: 'default' },
        spec: {
          accessModes: ['ReadWriteOnce'],
          storageClassName: '',
          volumeName: 'disk',
          resources: { requests: { storage: '1Mi' } },
        },
      })
    ).metadata;
    await node.client.core.persistentvolumes.create({
      apiVersion: 'v1',
      kind: 'PersistentVolume',
      metadata: { name: 'disk' },
      spec: {
        capacity: { storage: '1Mi' },
        accessModes: ['ReadWriteOnce'],
        storageClassName: '',
        claimRef: { kind: 'PersistentVolumeClaim', name: 'disk', namespace: 'default', uid: uid! },
        local: { path: device, fsType: 'ext4' },
        nodeAffinity: {
          required: { nodeSelectorTerms: [{ matchExpressions: [{ key: 'kubernetes.io/os', operator: 'Exists' }] }] },
        },
      },
    });
    const spec = (script: string) => ({
      containers: [shell(script, { volumeMounts: [{ name: 'v', mountPath: '/v' }] })],
      volumes: [{ name: 'v', persistentVolumeClaim: { claimName: 'disk' } }],
    });
    assert.match(await node.script('format', '', spec('echo here > /v/f; grep " /v " /proc/mounts')), / \/v ext4 /);
    assert.equal(await node.script('again', '', spec('cat /v/f')), 'here\n');
    await node.delete('format');
    await node.delete('again');
    await node.until(
      async () => !fs.readFileSync('/proc/self/mountinfo', 'utf8').includes('local-volume/mounts/disk'),
      'the device to be let go',
    );
  });

  test('a restarted kubelet keeps volumes as they are and clears away what nobody owns', async () => {
    await node.create('lasting', {
      containers: [
        shell(sleeper, {
          volumeMounts: [
            { name: 'disk', mountPath: '/disk' },
            { name: 'memory', mountPath: '/memory' },
            { name: 'config', mountPath: '/config' },
          ],
        }),
      ],
      volumes: [
        { name: 'disk', emptyDir: {} },
        { name: 'memory', emptyDir: { medium: 'Memory' } },
        { name: 'config', configMap: { name: 'config' } },
      ],
    });
    const before = await node.phase('lasting', 'Running');
    await node.exec('lasting', 'sh', '-c', 'echo a > /disk/f; echo b > /memory/f; chmod 700 /disk');
    await node.create('leaving', {
      containers: [shell(sleeper)],
      volumes: [{ name: 'memory', emptyDir: { medium: 'Memory' } }],
    });
    const leaving = (await node.phase('leaving', 'Running')).metadata.uid!;
    await node.stopKubelet();
    await node.client.core.pods.delete('leaving', 'default', { gracePeriodSeconds: 0 });
    const orphan = join(node.rootDir, 'pods/0000-orphan/volumes/kubernetes.io~empty-dir/memory');
    await node.host.mkdir(orphan);
    await node.host.mount('tmpfs', orphan, { fsType: 'tmpfs' });
    await node.client.core.configmaps.patch('config', 'default', 'merge', { data: { two: 'while away' } });
    await node.startKubelet();
    await node.until(async () => !fs.existsSync(join(node.rootDir, 'pods/0000-orphan')), 'the orphan to be removed');
    await node.until(async () => !fs.existsSync(join(node.rootDir, 'pods', leaving)), 'the deleted pod to be removed');
    assert.equal(await node.exec('lasting', 'cat', '/disk/f', '/memory/f'), 'a\nb\n');
    assert.match(await node.exec('lasting', 'ls', '-ld', '/disk'), /^drwx------/);
    await node.until(
      async () => (await node.exec('lasting', 'cat', '/config/two')) === 'while away',
      'the configuration to be brought up to date',
    );
    const now = await node.client.core.pods.get('lasting', 'default');
    assert.equal(now.status?.containerStatuses?.[0]?.containerID, before.status?.containerStatuses?.[0]?.containerID);
    await node.delete('lasting');
    await node.until(
      async () => fs.readdirSync(join(node.rootDir, 'pods')).length === 0,
      'all directories to be removed',
    );
    assert.deepEqual(
      (
        await Promise.all(['/kubepods/besteffort', '/kubepods/burstable'].map((p) => node.host.cgroups!.list(p)))
      ).flat(),
      [],
    );
  });
});
