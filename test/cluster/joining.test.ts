/** Bootstrap tokens from their making to their end, and a machine that joins with one. */
import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { SystemClock, VirtualClock } from '../../src/base/clock.ts';
import { silentLogger } from '../../src/base/logger.ts';
import { SystemRandom } from '../../src/base/random.ts';
import { verifiedClusterInfo } from '../../src/api/helpers/bootstrap-token.ts';
import { HttpTransport } from '../../src/client/http-transport.ts';
import type { TypedClient } from '../../src/client/typed-client.ts';
import { createClient } from '../../src/client/typed-client.ts';
import type { Cluster } from '../../src/cluster/cluster.ts';
import { createCluster } from '../../src/cluster/create-cluster.ts';
import { runJoin } from '../../src/cluster/joining/join.ts';
import { drainAndDelete } from '../../src/cluster/joining/leave.ts';
import { createToken, deleteToken, listTokens, publicKeyHash } from '../../src/cluster/joining/tokens.ts';

const random = new SystemRandom();

function over(cluster: Cluster, token: string | undefined): TypedClient {
  const { server, certificateAuthority: ca } = cluster.adminCredentials!;
  return createClient(new HttpTransport({ server, ca, ...(token === undefined ? {} : { token }) }, { random }));
}

test('a token logs in, signs cluster-info, and is gone with all that when its time is up', async () => {
  const clock = new VirtualClock();
  await using cluster = await createCluster({ clock, nodes: 0, https: { port: 0 } });
  const token = await createToken(cluster.client, clock, random, { ttlMs: 3_600_000 });
  const [id = '', secret = ''] = token.split('.');
  await clock.advance(1000);

  const anonymous = over(cluster, undefined);
  const info = await anonymous.core.configmaps.get('cluster-info', 'kube-public');
  const kubeconfig = verifiedClusterInfo(info, id, secret);
  assert.match(kubeconfig ?? '', new RegExp(cluster.url!));
  assert.equal(verifiedClusterInfo(info, id, 'x'.repeat(16)), undefined);
  assert.equal(
    verifiedClusterInfo({ ...info, data: { ...info.data, kubeconfig: kubeconfig!.replace('127', '128') } }, id, secret),
    undefined,
  );

  const holder = over(cluster, token);
  const who = await holder.authentication.selfsubjectreviews.create({ metadata: {} });
  assert.equal(who.status?.userInfo?.username, `system:bootstrap:${id}`);
  assert.deepEqual(who.status?.userInfo?.groups, [
    'system:bootstrappers',
    'system:bootstrappers:kubeadm:default-node-token',
    'system:authenticated',
  ]);
  await assert.rejects(holder.core.secrets.list(), { code: 403 });
  await assert.rejects(over(cluster, `${id}.${'x'.repeat(16)}`).core.nodes.get('n'), { code: 401 });

  const other = await createToken(cluster.client, clock, random, { ttlMs: 0, token: 'abcdef.0123456789abcdef' });
  assert.equal(await deleteToken(cluster.client, other), true);
  assert.equal(await deleteToken(cluster.client, other), false);
  await assert.rejects(
    createToken(cluster.client, clock, random, { ttlMs: 0, token: 'abc.def' }),
    /is not of the form/,
  );

  await clock.advance(3_598_000);
  assert.equal((await listTokens(cluster.client, clock)).length, 1);
  await clock.advance(2000);
  assert.deepEqual(await listTokens(cluster.client, clock), []);
  await assert.rejects(holder.core.nodes.get('n'), { code: 401 });
  const after = await anonymous.core.configmaps.get('cluster-info', 'kube-public');
  assert.deepEqual(Object.keys(after.data ?? {}), ['kubeconfig']);
  for (const c of [anonymous, holder]) await c.transport.close();
});

test('a machine joins with a token, runs pods, starts again without one, and leaves', async () => {
  const clock = new SystemClock();
  const dir = mkdtempSync(join(tmpdir(), 'knarr-join-'));
  await using cluster = await createCluster({ nodes: 1, https: { port: 0 } });
  const { client } = cluster;
  const token = await createToken(client, clock, random, { ttlMs: 600_000 });
  const flags = {
    server: cluster.url,
    token,
    caCertHashes: [publicKeyHash(cluster.adminCredentials!.certificateAuthority)],
    dataDir: join(dir, 'node'),
    nodeName: 'second',
    nodeIp: ['127.0.0.1'],
    containerRuntimeEndpoint: 'simulated://',
    rootDir: join(dir, 'kubelet'),
    cniConfDir: join(dir, 'cni'),
    cgroupRoot: '/',
    kubeletPort: 0,
    kubeProxy: true,
  };
  const started = (
    given: typeof flags | (Omit<typeof flags, 'server' | 'token'> & { server: undefined; token: undefined }),
  ) => {
    const stop = new AbortController();
    const said = Promise.withResolvers<string>();
    const ended = runJoin(given, { clock, random, logger: silentLogger, signal: stop.signal, say: said.resolve });
    ended.catch((e: unknown) => said.reject(e));
    return { stop: () => (stop.abort(new Error('enough')), ended.catch(() => {})), running: said.promise };
  };
  const ready = async (): Promise<void> => {
    const { items } = await client.core.nodes.list();
    const node = items.find((n) => n.metadata.name === 'second');
    const ok = node?.status?.conditions?.some((c) => c.type === 'Ready' && c.status === 'True') === true;
    if (!ok || (node.spec?.taints ?? []).length > 0) {
      await clock.sleep(50);
      await ready();
    }
  };
  try {
    await assert.rejects(
      started({ ...flags, caCertHashes: [`sha256:${'0'.repeat(64)}`] }).running,
      /is another one: its authority is sha256:/,
    );
    assert.equal(existsSync(flags.dataDir), false);
    const first = started(flags);
    assert.match(await first.running, /node second with https/);
    await ready();
    await client.core.pods.create({
      metadata: { name: 'p', namespace: 'default' },
      spec: {
        nodeName: 'second',
        containers: [{ name: 'c', image: 'busybox', command: ['sh', '-c', 'echo hello; sleep 1000'] }],
      },
    });
    for (;;) {
      const pod = await client.core.pods.get('p', 'default');
      if (pod.status?.phase === 'Running') break;
      await clock.sleep(50);
    }
    // The API server finds the joined kubelet over the network.
    const { body } = await client.raw('GET', '/api/v1/namespaces/default/pods/p/log');
    assert.equal(String(body), 'hello\n');
    const csrs = (await client.certificates.certificatesigningrequests.list()).items;
    assert.deepEqual(
      csrs.map((c) => c.status?.conditions?.map((x) => x.type)),
      [['Approved']],
    );
    await first.stop();

    await deleteToken(client, token);
    const second = started({ ...flags, server: undefined, token: undefined });
    assert.match(await second.running, /node second with https/);
    assert.equal((await client.certificates.certificatesigningrequests.list()).items.length, 1);
    await ready();
    const left = await drainAndDelete(client, 'second', {
      clock,
      signal: new AbortController().signal,
      timeoutMs: 30_000,
      say: () => {},
    });
    assert.deepEqual(left, []);
    assert.deepEqual(
      (await client.core.nodes.list()).items.map((n) => n.metadata.name),
      ['node-1'],
    );
    await second.stop();
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
});
