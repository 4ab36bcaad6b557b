/** A whole cluster with this machine as its real node: containers, Services, DNS, volumes, restart of knarr. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { SystemClock } from '../../src/base/clock.ts';
import { parseQuantity, quantityToNumber } from '../../src/api/quantity.ts';
import type { Pod, PodSpec } from '../../src/api/types/index.gen.ts';
import { isNotFound } from '../../src/client/errors.ts';
import type { Cluster } from '../../src/cluster/cluster.ts';
import { createCluster } from '../../src/cluster/create-cluster.ts';
import { openMachine } from '../../src/cluster/real/machine.ts';
import { unmountTree } from '../../src/kubelet/host/linux/mounts.ts';
import { busyboxImage } from './images/busybox.ts';
import { Containerd } from './support/containerd.ts';
import { ownNamespaces } from './support/namespaces.ts';
import { until } from './support/until.ts';

const skip = ownNamespaces();
const image = 'local.test/busybox:1';
const address = '192.168.77.1';

/** NodeMetrics or PodMetrics. */
interface Measured {
  readonly usage?: Record<string, string>;
  readonly containers?: readonly { readonly usage: Record<string, string> }[];
}

class World {
  readonly containerd: Containerd;
  readonly dir: string;
  cluster!: Cluster;

  constructor(containerd: Containerd, dir: string) {
    this.containerd = containerd;
    this.dir = dir;
  }

  async up(): Promise<void> {
    const { logger, socket, cniConfDir, cgroupRoot, dir } = this.containerd;
    const dataDir = join(this.dir, 'data');
    const machine = await openMachine(
      {
        endpoint: socket,
        nodeName: 'here',
        address,
        rootDir: join(dir, 'kubelet'),
        cniConfDir,
        cgroupRoot,
      },
      { clock: new SystemClock(), logger, owner: dataDir },
    );
    this.cluster = await createCluster({ dataDir, https: { port: 0 }, machine, logger });
  }

  /** Runs a script in a pod of its own and gives what it wrote. */
  async run(
    name: string,
    script: string,
    more: Partial<PodSpec> = {},
    labels: Record<string, string> = {},
  ): Promise<string> {
    const { pods } = this.cluster.client.core;
    await pods.create({
      metadata: { name, namespace: 'default', labels },
      spec: {
        restartPolicy: 'Never',
        ...more,
        containers: [
          {
            name: 'c',
            image,
            imagePullPolicy: 'Never',
            command: ['sh', '-c', script],
            ...(more.volumes === undefined ? {} : { volumeMounts: [{ name: 'v', mountPath: '/data' }] }),
          },
        ],
      },
    });
    await until(`${name} to end`, async () => {
      const phase = (await pods.get(name, 'default')).status?.phase;
      return phase === 'Succeeded' || phase === 'Failed';
    });
    const { body } = await this.cluster.client.raw('GET', `/api/v1/namespaces/default/pods/${name}/log`);
    return String(body);
  }
}

let world: World;

before(async () => {
  if (skip !== false) return;
  execFileSync('sh', [
    '-c',
    `ip link add host0 type veth peer name host1 && ip addr add ${address}/24 dev host0 && ip link set host0 up && ip link set host1 up && ip route add default via 192.168.77.254`,
  ]);
  const containerd = await Containerd.start({ noNetwork: true });
  world = new World(containerd, mkdtempSync(join(tmpdir(), 'knarr-node-')));
  await containerd.load(busyboxImage(), image);
  await world.up();
});

after(async () => {
  if (skip !== false) return;
  await (world.cluster as Cluster | undefined)?.close();
  await unmountTree(join(world.containerd.dir, 'kubelet'));
  await world.containerd.stop();
  rmSync(world.dir, { recursive: true, force: true });
});

test('pods answer behind a Service, found by its name', { skip }, async () => {
  const { client } = world.cluster;
  await client.apps.deployments.create({
    metadata: { name: 'web', namespace: 'default' },
    spec: {
      replicas: 2,
      selector: { matchLabels: { app: 'web' } },
      template: {
        metadata: { labels: { app: 'web' } },
        spec: {
          containers: [
            {
              name: 'c',
              image,
              imagePullPolicy: 'Never',
              command: ['sh', '-c', 'mkdir /w; hostname > /w/index.html; exec httpd -f -p 8080 -h /w'],
              readinessProbe: { httpGet: { path: '/', port: 8080 }, periodSeconds: 1 },
            },
          ],
        },
      },
    },
  });
  await client.core.services.create({
    metadata: { name: 'web', namespace: 'default' },
    spec: { selector: { app: 'web' }, type: 'NodePort', ports: [{ port: 80, targetPort: 8080, nodePort: 30080 }] },
  });
  await until(
    'the Deployment',
    async () => (await client.apps.deployments.get('web', 'default')).status?.readyReplicas === 2,
  );
  const seen = await world.run(
    'client',
    'for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16; do timeout 5 wget -q -O - http://web || exit 1; done | sort -u; cat /etc/resolv.conf',
  );
  const names = (await client.core.pods.list({ namespace: 'default', labelSelector: 'app=web' })).items.map(
    (p: Pod) => p.metadata.name!,
  );
  for (const name of names) assert.ok(seen.includes(name), `${name} in ${seen}`);
  assert.match(seen, /nameserver 10\.96\.0\.10/);
  const answer = await fetch(`http://${address}:30080/`);
  assert.ok(names.includes((await answer.text()).trim()));
});

test('a connection of which one end is closed is known for an hour', { skip }, async () => {
  const file = '/proc/sys/net/netfilter/nf_conntrack_tcp_timeout_close_wait';
  await until('the setting', async () => readFileSync(file, 'utf8').trim() === '3600');
});

test('a pod reaches the API server by its Service, with its own token', { skip }, async () => {
  const out = await world.run(
    'api',
    'T=/var/run/secrets/kubernetes.io/serviceaccount; ls $T; echo $KUBERNETES_SERVICE_HOST; timeout 5 nslookup kubernetes.default.svc.cluster.local',
  );
  assert.match(out, /ca\.crt/);
  assert.match(out, /10\.96\.0\.1/);
});

test('a network policy holds for real pods, also for ones that start under it', { skip }, async () => {
  const { client } = world.cluster;
  const get = 'exec 2>/dev/null; timeout 3 wget -q -O - http://web > /dev/null && echo open || echo shut';
  assert.equal(await world.run('before', get), 'open\n');
  const policy = await client.networking.networkpolicies.create({
    metadata: { name: 'friends', namespace: 'default' },
    spec: {
      podSelector: { matchLabels: { app: 'web' } },
      policyTypes: ['Ingress'],
      ingress: [{ from: [{ podSelector: { matchLabels: { friend: 'yes' } } }] }],
    },
  });
  assert.equal(policy.metadata.name, 'friends');
  await until('the policy', async () => (await world.run(`probe-${Date.now()}`, get)) === 'shut\n');
  assert.equal(await world.run('stranger', get), 'shut\n');
  assert.equal(await world.run('friend', get, {}, { friend: 'yes' }), 'open\n');
  await client.networking.networkpolicies.delete('friends', 'default');
  await until('the policy to go', async () => (await world.run(`probe-${Date.now()}`, get)) === 'open\n');
});

test('a claim just works: its data outlives the pod, and goes with the claim', { skip }, async () => {
  const { client } = world.cluster;
  await client.core.persistentvolumeclaims.create({
    metadata: { name: 'data', namespace: 'default' },
    spec: { accessModes: ['ReadWriteOnce'], resources: { requests: { storage: '1Gi' } } },
  });
  const withClaim = { volumes: [{ name: 'v', persistentVolumeClaim: { claimName: 'data' } }] };
  assert.equal(await world.run('writer', 'echo kept > /data/x; sync', withClaim), '');
  await client.core.pods.delete('writer', 'default', { gracePeriodSeconds: 0 });
  assert.equal(await world.run('reader', 'cat /data/x', withClaim), 'kept\n');
  const claim = await client.core.persistentvolumeclaims.get('data', 'default');
  const volume = await client.core.persistentvolumes.get(claim.spec!.volumeName!);
  const path = volume.spec!.hostPath!.path;
  assert.ok(existsSync(join(path, 'x')));
  await client.core.pods.delete('reader', 'default', { gracePeriodSeconds: 0 });
  await client.core.persistentvolumeclaims.delete('data', 'default');
  await until('the directory to go', () => Promise.resolve(!existsSync(path)));
  assert.deepEqual((await client.core.persistentvolumes.list()).items, []);
});

test('what real containers use is measured', { skip }, async () => {
  const { client } = world.cluster;
  const { pods } = client.core;
  const busy = `while :; do :; done`;
  await pods.create({
    metadata: { name: 'busy', namespace: 'default' },
    spec: {
      terminationGracePeriodSeconds: 0,
      containers: [
        {
          name: 'c',
          image,
          imagePullPolicy: 'Never',
          command: ['sh', '-c', busy],
          resources: { limits: { cpu: '300m', memory: '64Mi' } },
        },
      ],
    },
  });
  const read = async (path: string): Promise<Measured | undefined> => {
    try {
      return (await client.raw('GET', `/apis/metrics.k8s.io/v1beta1/${path}`)).body as Measured;
    } catch (error) {
      if (isNotFound(error)) return undefined;
      throw error;
    }
  };
  const cores = (usage: Record<string, string>): number => quantityToNumber(parseQuantity(usage['cpu']!));
  let pod: Measured | undefined;
  await until(
    'the pod to be measured',
    async () => {
      pod = await read('namespaces/default/pods/busy');
      return pod !== undefined;
    },
    60_000,
  );
  const { usage } = pod!.containers![0]!;
  assert.ok(cores(usage) > 0.1 && cores(usage) < 0.45, `of 300m ${usage['cpu']} are used`);
  assert.match(usage['memory']!, /^\d+Ki$/);
  const node = (await read('nodes/here'))!;
  assert.ok(cores(node.usage!) > cores(usage), 'the node uses more than its pod');
  await pods.delete('busy', 'default');
});

test('containers outlive knarr, and the next one takes them over', { skip }, async () => {
  const ids = async (): Promise<Map<string, string>> => {
    const { items } = await world.cluster.client.core.pods.list({ namespace: 'default', labelSelector: 'app=web' });
    return new Map(items.map((p: Pod) => [p.metadata.name!, p.status?.containerStatuses?.[0]?.containerID ?? '']));
  };
  const earlier = await ids();
  assert.equal(earlier.size, 2);
  await world.cluster.close();
  assert.equal((await fetch(`http://${address}:30080/`)).status, 200);
  await world.up();
  await until(
    'the pods',
    async () => (await world.cluster.client.apps.deployments.get('web', 'default')).status?.readyReplicas === 2,
  );
  assert.deepEqual(await ids(), earlier);
});
