/** `knarr up`, `load`, `reset` with real containers, as a person types them: nothing is left on the machine afterwards. */
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { ociArchive } from '../../src/kubelet/runtime/cri/oci-archive.ts';
import { unmountTree } from '../../src/kubelet/host/linux/mounts.ts';
import { bundle, startKnarr } from '../support/knarr.ts';
import { busyboxImage } from './images/busybox.ts';
import { Containerd } from './support/containerd.ts';
import { until } from './support/until.ts';
import { ownNamespaces } from './support/namespaces.ts';

const skip = ownNamespaces();
const image = 'local.test/busybox:1';
const address = '192.168.77.1';

const sh = (script: string): string => execFileSync('sh', ['-c', script], { encoding: 'utf8' });

test('a cluster with a real node comes up, runs a loaded image, and leaves nothing behind', { skip }, async () => {
  sh(
    `ip link add host0 type veth peer name host1 && ip addr add ${address}/24 dev host0 && ip link set host0 up && ip link set host1 up && ip route add default via 192.168.77.254`,
  );
  const containerd = await Containerd.start({ noNetwork: true });
  const dir = mkdtempSync(join(tmpdir(), 'knarr-command-'));
  const knarr = (...args: string[]): ReturnType<typeof spawnSync> & { stdout: string; stderr: string } =>
    spawnSync(process.execPath, [bundle, ...args], { encoding: 'utf8', env: { ...process.env, HOME: dir } }) as never;
  try {
    const archive = join(dir, 'busybox.tar');
    writeFileSync(archive, ociArchive(busyboxImage(), [image]));
    const endpoint = ['--container-runtime-endpoint', containerd.socket];
    const loaded = knarr('load', archive, ...endpoint);
    assert.equal(`${loaded.stdout}${loaded.stderr}`, `${image}\n`);
    const broken = knarr('load', bundle, ...endpoint);
    assert.equal(broken.status, 1);
    assert.match(broken.stderr, /^knarr: cannot load .*: .+\n$/);

    const tables = sh('nft list tables');
    const rootDir = join(dir, 'kubelet');
    const node = ['--node-name', 'here', '--node-ip', address, '--root-dir', rootDir];
    const folders = ['--cni-conf-dir', containerd.cniConfDir, '--cgroup-root', containerd.cgroupRoot];
    const args = ['--runtime', 'containerd', ...endpoint, ...node, ...folders];
    const running = await startKnarr({ dir, args, env: { HOME: dir } });
    await until('the closing lines', async () => /node here runs real containers by/.test(running.output()));
    const config = ['--kubeconfig', running.kubeconfig];
    const kubectl = (...a: string[]): string => execFileSync('kubectl', [...config, ...a], { encoding: 'utf8' });
    kubectl(
      'run',
      'p',
      `--image=${image}`,
      '--image-pull-policy=Never',
      '--',
      'sh',
      '-c',
      'echo started; exec sleep 1000',
    );
    kubectl('wait', '--for=condition=Ready', 'pod/p', '--timeout=60s');
    assert.equal(kubectl('logs', 'p'), 'started\n');
    assert.equal(kubectl('exec', 'p', '--', 'hostname'), 'p\n');
    assert.match(kubectl('get', 'node', 'here', '-o', 'wide'), /Ready.*192\.168\.77\.1.*(containerd|cri-o):/);

    assert.equal(await running.stop(), 0);
    // Containers run on without it, as under any kubelet.
    assert.equal((await containerd.runtime.listPodSandbox()).length, 1);
    const reset = knarr('reset', '--data-dir', running.dataDir);
    assert.equal(reset.stderr, '');
    assert.equal((await containerd.runtime.listPodSandbox()).length, 0);
    assert.equal(sh('nft list tables'), tables);
    assert.equal(existsSync(rootDir), false);
    assert.deepEqual(readdirSync(containerd.cniConfDir), []);
    assert.equal(sh('ip route show proto 118'), '');
  } finally {
    await containerd.stop();
    await unmountTree(dir);
    rmSync(dir, { recursive: true, force: true });
  }
});
