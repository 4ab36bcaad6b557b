/** Two nodes with real containers, each in a network of its own: joining, pods across nodes, a node that is cut off and returns. */
import assert from 'node:assert/strict';
import type { ChildProcess } from 'node:child_process';
import { execFileSync, spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { SystemClock } from '../../src/base/clock.ts';
import { SystemRandom } from '../../src/base/random.ts';
import { createCluster } from '../../src/cluster/create-cluster.ts';
import { createToken, publicKeyHash } from '../../src/cluster/joining/tokens.ts';
import { openMachine } from '../../src/cluster/real/machine.ts';
import { unmountTree } from '../../src/kubelet/host/linux/mounts.ts';
import { bundle } from '../support/knarr.ts';
import { busyboxImage } from './images/busybox.ts';
import { Containerd } from './support/containerd.ts';
import { ownNamespaces } from './support/namespaces.ts';
import { until } from './support/until.ts';

const skip = ownNamespaces();
const image = 'local.test/busybox:1';
const sh = (script: string): string => execFileSync('sh', ['-c', script], { encoding: 'utf8' });
test('a second machine joins; its pods and Services are one network with the first', { skip }, async () => {
  // Two machines on one wire: this namespace, and `other`.
  sh(`mkdir -p /run/netns && ip netns add other
ip link add wire0 type veth peer name wire1 && ip link set wire1 netns other
ip addr add 192.168.77.1/24 dev wire0 && ip link set wire0 up && ip route add default via 192.168.77.254
nsenter --net=/run/netns/other sh -c 'ip link set lo up && ip addr add 192.168.77.2/24 dev wire1 && ip link set wire1 up && ip route add default via 192.168.77.254'`);
  const dir = mkdtempSync(join(tmpdir(), 'knarr-join-'));
  const clock = new SystemClock();
  const first = await Containerd.start({ noNetwork: true, name: 'a' });
  const second = await Containerd.start({ noNetwork: true, name: 'b', netns: '/run/netns/other' });
  let joined: ChildProcess | undefined;
  try {
    for (const c of [first, second]) await c.load(busyboxImage(), image);
    const dataDir = join(dir, 'data');
    const machine = await openMachine(
      {
        endpoint: first.socket,
        nodeName: 'one',
        address: '192.168.77.1',
        rootDir: join(first.dir, 'kubelet'),
        cniConfDir: first.cniConfDir,
        cgroupRoot: first.cgroupRoot,
      },
      { clock, logger: first.logger, owner: dataDir },
    );
    await using cluster = await createCluster({ dataDir, https: { port: 0 }, machine, logger: first.logger });
    const { client } = cluster;
    const token = await createToken(client, clock, new SystemRandom(), { ttlMs: 600_000 });
    const port = new URL(cluster.url!).port;
    const start = (...more: string[]): ChildProcess => {
      const child = spawn(
        'nsenter',
        [
          '--net=/run/netns/other',
          process.execPath,
          bundle,
          'join',
          ...['--data-dir', join(dir, 'other'), '--node-name', 'two', '--node-ip', '192.168.77.2'],
          ...['--container-runtime-endpoint', second.socket, '--root-dir', join(second.dir, 'kubelet')],
          ...['--cni-conf-dir', second.cniConfDir, '--cgroup-root', second.cgroupRoot],
          ...more,
        ],
        { stdio: ['ignore', 'inherit', 'inherit'] },
      );
      return child;
    };
    joined = start(
      ...['--server', `https://192.168.77.1:${port}`, '--token', token],
      ...['--ca-cert-hash', publicKeyHash(cluster.adminCredentials!.certificateAuthority)],
    );
    const ready = (name: string): Promise<boolean> =>
      client.core.nodes
        .list()
        .then(({ items }) =>
          items.some(
            (n) =>
              n.metadata.name === name &&
              n.status?.conditions?.some((c) => c.type === 'Ready' && c.status === 'True') === true &&
              n.spec?.taints === undefined,
          ),
        );
    await until('the second node', () => ready('two'));

    await client.apps.daemonsets.create({
      metadata: { name: 'web', namespace: 'default' },
      spec: {
        selector: { matchLabels: { app: 'web' } },
        template: {
          metadata: { labels: { app: 'web' } },
          spec: {
            containers: [
              {
                name: 'c',
                image,
                imagePullPolicy: 'Never',
                command: ['sh', '-c', 'mkdir /w; echo $NODE > /w/index.html; exec httpd -f -p 8080 -h /w'],
                env: [{ name: 'NODE', valueFrom: { fieldRef: { fieldPath: 'spec.nodeName' } } }],
                readinessProbe: { httpGet: { path: '/', port: 8080 }, periodSeconds: 1 },
              },
            ],
          },
        },
      },
    });
    await client.core.services.create({
      metadata: { name: 'web', namespace: 'default' },
      spec: { selector: { app: 'web' }, ports: [{ port: 80, targetPort: 8080 }] },
    });
    await until('the pods', async () => (await client.apps.daemonsets.get('web', 'default')).status?.numberReady === 2);
    for (const node of ['one', 'two']) {
      const name = `client-${node}`;
      await client.core.pods.create({
        metadata: { name, namespace: 'default' },
        spec: {
          nodeName: node,
          restartPolicy: 'Never',
          containers: [
            {
              name: 'c',
              image,
              imagePullPolicy: 'Never',
              command: [
                'sh',
                '-c',
                'for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16; do timeout 5 wget -q -O - http://web || exit 1; done',
              ],
            },
          ],
        },
      });
      const ended = await until(`${name} to end`, async () => {
        const pod = await client.core.pods.get(name, 'default');
        return (pod.status?.phase === 'Succeeded' || pod.status?.phase === 'Failed') && pod;
      });
      const { body } = await client.raw('GET', `/api/v1/namespaces/default/pods/${name}/log`);
      assert.equal(ended.status?.phase, 'Succeeded', String(body));
      assert.deepEqual([...new Set(String(body).trim().split('\n'))].sort(), ['one', 'two'], `seen from ${node}`);
    }

    // Its process ends; containers run on, and the next process takes them over.
    const before = (await client.core.pods.list({ namespace: 'default', labelSelector: 'app=web' })).items;
    const exit = new Promise<number | null>((resolve) => joined!.once('exit', resolve));
    joined.kill('SIGINT');
    assert.equal(await exit, 0);
    const restarted = Date.now();
    joined = start();
    await until('a heartbeat of the new process', async () => {
      const lease = await client.coordination.leases.get('two', 'kube-node-lease');
      return Date.parse(lease.spec?.renewTime ?? '') > restarted;
    });
    const after = (await client.core.pods.list({ namespace: 'default', labelSelector: 'app=web' })).items;
    const ids = (pods: typeof before): string[] =>
      pods.map((p) => p.status!.containerStatuses![0]!.containerID!).sort();
    assert.deepEqual(ids(after), ids(before));
  } finally {
    if (joined !== undefined && joined.exitCode === null) {
      const exit = new Promise((resolve) => joined!.once('exit', resolve));
      joined.kill('SIGTERM');
      await exit;
    }
    for (const c of [first, second]) {
      await unmountTree(join(c.dir, 'kubelet'));
      await c.stop();
    }
    rmSync(dir, { recursive: true, force: true });
  }
});
