/** Clusters inside a program: fifty of them side by side, what a closed one leaves behind, and a data directory opened again. */
import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, readdirSync, readlinkSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import type { TestContext } from 'node:test';
import { VirtualClock, createCluster } from '../../src/index.ts';
import type { Cluster, ClusterOptions } from '../../src/index.ts';
import { waitForOne } from '../support/wait.ts';

/** What keeps a process alive, by kind. */
function resourcesInUse(): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const kind of process.getActiveResourcesInfo()) counts[kind] = (counts[kind] ?? 0) + 1;
  return counts;
}

/** Open files and sockets, where the system lists them. */
function openFiles(): string[] {
  if (!existsSync('/proc/self/fd')) return [];
  return readdirSync('/proc/self/fd')
    .map((fd) => {
      try {
        return readlinkSync(`/proc/self/fd/${fd}`);
      } catch {
        return '';
      }
    })
    .filter((f) => f !== '' && !f.startsWith('/proc/') && !f.startsWith('/dev/'))
    .map((f) => f.replace(/\[\d+\]$/, ''))
    .sort();
}

/** Sockets are let go a turn or two of the loop after they were closed. */
async function turns(): Promise<void> {
  for (let i = 0; i < 10; i++) await new Promise<void>((resolve) => setImmediate(resolve));
}

async function leavesNothing(options: ClusterOptions, use: (cluster: Cluster) => Promise<void>): Promise<void> {
  // What is made once in a process (thread pools, compiled schemas) is made before.
  await (await createCluster({ ...options, clock: new VirtualClock() })).close();
  await turns();
  const resources = resourcesInUse();
  const files = openFiles();
  const cluster = await createCluster(options);
  await use(cluster);
  await cluster.close();
  await turns();
  assert.deepEqual(resourcesInUse(), resources);
  assert.deepEqual(openFiles(), files);
}

const pod = (name: string, namespace = 'default') => ({
  metadata: { name, namespace },
  spec: {
    terminationGracePeriodSeconds: 0,
    containers: [{ name: 'c', image: 'busybox', command: ['sleep', '100000'] }],
  },
});

async function runPod(cluster: Cluster, name: string): Promise<void> {
  await waitForOne(cluster.client.core.serviceaccounts, 'default', 'default', () => true);
  await cluster.client.core.pods.create(pod(name));
  await waitForOne(cluster.client.core.pods, name, 'default', (p) => p.status?.phase === 'Running');
}

function directory(t: TestContext): string {
  const dir = mkdtempSync(join(tmpdir(), 'knarr-embedding-'));
  t.after(() => rmSync(dir, { recursive: true, force: true }));
  return dir;
}

test('fifty clusters in one process', async () => {
  const count = 50;
  const clusters: Cluster[] = [];
  try {
    for (let i = 0; i < count; i++) clusters.push(await createCluster({ nodes: 1 }));
    // The same names, other content; and a workload that takes all controllers, the scheduler and a node.
    await Promise.all(
      clusters.map(async ({ client }, i) => {
        await client.core.configmaps.create({
          metadata: { name: 'who', namespace: 'default' },
          data: { i: String(i) },
        });
        await client.apps.deployments.create({
          metadata: { name: 'web', namespace: 'default' },
          spec: {
            replicas: (i % 3) + 1,
            selector: { matchLabels: { app: 'web' } },
            template: {
              metadata: { labels: { app: 'web' } },
              spec: { containers: [{ name: 'c', image: 'busybox', command: ['sleep', '100000'] }] },
            },
          },
        });
      }),
    );
    await Promise.all(
      clusters.map(({ client }, i) =>
        waitForOne(client.apps.deployments, 'web', 'default', (d) => d.status?.readyReplicas === (i % 3) + 1),
      ),
    );
    const uids = new Set<string>();
    for (const [i, { client }] of clusters.entries()) {
      const who = await client.core.configmaps.get('who', 'default');
      assert.deepEqual(who.data, { i: String(i) });
      uids.add(who.metadata.uid!);
      const pods = await client.core.pods.list({ namespace: 'default' });
      assert.equal(pods.items.length, (i % 3) + 1);
      assert.deepEqual(
        (await client.core.nodes.list()).items.map((n) => n.metadata.name),
        ['node-1'],
      );
    }
    assert.equal(uids.size, count);
    // One ends, and the others neither see it nor mind.
    await clusters[7]!.client.core.configmaps.delete('who', 'default');
    await clusters[7]!.close();
    for (const [i, { client }] of clusters.entries())
      if (i !== 7) assert.equal((await client.core.configmaps.get('who', 'default')).data!['i'], String(i));
    await assert.rejects(clusters[7]!.client.core.configmaps.list());
    await runPod(clusters[8]!, 'later');
  } finally {
    await Promise.all(clusters.map((c) => c.close()));
  }
});

test('a closed cluster leaves no timer, socket or file', async (t) => {
  await t.test('in memory', () => leavesNothing({ nodes: 2 }, (cluster) => runPod(cluster, 'p')));
  await t.test('listening, with clients connected', () =>
    leavesNothing({ nodes: 1, https: { port: 0 } }, async (cluster) => {
      await runPod(cluster, 'p');
      const { certificateAuthority: ca } = cluster.adminCredentials!;
      // Connections that their clients do not close.
      const { connect } = await import('node:http2');
      const session = connect(cluster.url!, { ca });
      await new Promise<void>((resolve, reject) => {
        session.on('connect', () => resolve());
        session.on('error', reject);
      });
      t.after(() => session.destroy());
    }),
  );
  await t.test('on disk', async (t) => {
    const dir = directory(t);
    await leavesNothing({ nodes: 1, dataDir: join(dir, 'a') }, (cluster) => runPod(cluster, 'p'));
  });
  await t.test('in virtual time', async () => {
    const clock = new VirtualClock();
    const cluster = await createCluster({ nodes: 2, clock });
    await cluster.client.core.pods.create(pod('p'));
    await clock.advance(120_000);
    assert.ok(clock.pending > 0);
    await cluster.close();
    assert.equal(clock.pending, 0);
  });
  await t.test('closed twice, and while it works', async () => {
    const clock = new VirtualClock();
    const cluster = await createCluster({ nodes: 3, clock });
    const writes = Promise.allSettled(
      Array.from({ length: 50 }, (_, i) => cluster.client.core.pods.create(pod(`p-${i}`))),
    );
    await Promise.all([cluster.close(), cluster.close()]);
    await writes;
    assert.equal(clock.pending, 0);
  });
  await t.test('a start that fails', async (t) => {
    const dir = directory(t);
    await using first = await createCluster({ nodes: 0, dataDir: dir });
    // What the first one has under way ends before anything is counted.
    do await turns();
    while (resourcesInUse()['Immediate'] !== undefined);
    const resources = resourcesInUse();
    const files = openFiles();
    const clock = new VirtualClock();
    await assert.rejects(createCluster({ nodes: 1, dataDir: dir, clock }), /in use/);
    await turns();
    assert.equal(clock.pending, 0);
    assert.deepEqual(resourcesInUse(), resources);
    assert.deepEqual(openFiles(), files);
    assert.equal((await first.client.core.namespaces.get('default')).metadata.name, 'default');
  });
});

test('a data directory opened again is the same cluster', async (t) => {
  const dataDir = directory(t);
  const options: ClusterOptions = { nodes: 1, dataDir, https: { port: 0 } };
  const first = await createCluster(options);
  const { client } = first;
  await runPod(first, 'lasts');
  const made = await client.core.configmaps.create({ metadata: { name: 'a', namespace: 'default' }, data: { n: '1' } });
  const changed = await client.core.configmaps.patch('a', 'default', 'merge', { data: { n: '2' } });
  await client.core.configmaps.create({ metadata: { name: 'gone', namespace: 'default' } });
  await client.core.configmaps.delete('gone', 'default');
  const secret = await client.core.serviceaccounts.createSubresource<{ status: { token: string } }>(
    'default',
    'default',
    'token',
    { apiVersion: 'authentication.k8s.io/v1', kind: 'TokenRequest', spec: { expirationSeconds: 3600 } },
  );
  const before = await client.core.configmaps.list({ namespace: 'default' });
  const system = (await client.core.namespaces.get('kube-system')).metadata.uid;
  const { certificateAuthority } = first.adminCredentials!;
  await first.close();

  await using again = await createCluster(options);
  assert.equal(again.adminCredentials!.certificateAuthority, certificateAuthority);
  const got = await again.client.core.configmaps.get('a', 'default');
  assert.deepEqual(got, changed);
  assert.equal(got.metadata.uid, made.metadata.uid);
  const after = await again.client.core.configmaps.list({ namespace: 'default' });
  assert.deepEqual(
    after.items.map((o) => [o.metadata.name, o.metadata.resourceVersion]),
    before.items.map((o) => [o.metadata.name, o.metadata.resourceVersion]),
  );
  assert.ok(Number(after.metadata.resourceVersion) >= Number(before.metadata.resourceVersion));
  assert.equal((await again.client.core.namespaces.get('kube-system')).metadata.uid, system);
  // Revisions go on where they were; who watches from before the end is told to list again; tokens still count.
  const events = async (resourceVersion: string): Promise<string> => {
    const watch = await again.client.core.configmaps.watch({ namespace: 'default', resourceVersion });
    for await (const [event] of watch) {
      watch.close();
      const { reason } = event!.object as { reason?: string };
      return event!.type === 'ERROR' ? `ERROR ${reason}` : `${event!.type} ${event!.object.metadata.name}`;
    }
    return 'nothing';
  };
  const later = await again.client.core.configmaps.create({ metadata: { name: 'later', namespace: 'default' } });
  assert.ok(Number(later.metadata.resourceVersion) > Number(before.metadata.resourceVersion));
  assert.equal(await events(after.metadata.resourceVersion!), 'ADDED later');
  assert.equal(await events(changed.metadata.resourceVersion!), 'ERROR Expired');
  const review = await again.client.raw('POST', '/apis/authentication.k8s.io/v1/tokenreviews', {
    body: { apiVersion: 'authentication.k8s.io/v1', kind: 'TokenReview', spec: { token: secret.status.token } },
  });
  assert.equal((review.body as { status: { authenticated: boolean } }).status.authenticated, true);
  // Its containers died with the process; the kubelet starts them again.
  await waitForOne(again.client.core.pods, 'lasts', 'default', (p) => p.status?.containerStatuses?.[0]?.ready === true);
});

test('a cluster without a controller manager is there for the one that somebody brings', async () => {
  await using cluster = await createCluster({ disable: ['kube-controller-manager', 'kube-scheduler'] });
  const [node] = (await cluster.client.core.nodes.list()).items;
  assert.equal(node!.status!.conditions!.find((c) => c.type === 'Ready')!.status, 'True');
  // Whoever clears the way for pods has not come yet.
  assert.deepEqual(
    node!.spec!.taints!.map((t) => t.key),
    ['node.kubernetes.io/not-ready'],
  );
});
