/** A kubelet as a process of its own: its serving certificate by the cluster's authority, and its configuration. */
import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { PeerCertificate } from 'node:tls';
import { connect } from 'node:tls';
import { test } from 'node:test';
import { SystemClock } from '../../src/base/clock.ts';
import { silentLogger } from '../../src/base/logger.ts';
import { SystemRandom } from '../../src/base/random.ts';
import type { Cluster } from '../../src/cluster/cluster.ts';
import { createCluster } from '../../src/cluster/create-cluster.ts';
import { createToken } from '../../src/cluster/joining/tokens.ts';
import { renderKubeconfig } from '../../src/cluster/kubeconfig.ts';
import { runKubelet } from '../../src/cluster/processes/kubelet.ts';

const random = new SystemRandom();
const clock = new SystemClock();

interface Started {
  readonly port: number;
  stop(): Promise<void>;
}

async function start(cluster: Cluster, dir: string, config: string): Promise<Started> {
  const { server, certificateAuthority } = cluster.adminCredentials!;
  const token = await createToken(cluster.client, clock, random, { ttlMs: 600_000 });
  const bootstrap = join(dir, 'bootstrap.conf');
  writeFileSync(bootstrap, renderKubeconfig({ name: 'knarr', server, certificateAuthority, token }));
  const file = join(dir, 'config.yaml');
  writeFileSync(file, `apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\n${config}`);
  const stop = new AbortController();
  const said = Promise.withResolvers<string>();
  const ended = runKubelet(
    {
      kubeconfig: join(dir, 'kubelet.conf'),
      bootstrapKubeconfig: bootstrap,
      certDir: join(dir, 'pki'),
      cniConfDir: join(dir, 'cni'),
      clusterCidrs: [],
      config: file,
      configuration: { port: 0, healthzPort: 0, containerRuntimeEndpoint: 'simulated://' },
      hostnameOverride: 'n1',
      nodeIp: ['127.0.0.1'],
      nodeLabels: {},
      cloudProvider: undefined,
      rootDir: join(dir, 'kubelet'),
    },
    { clock, random, logger: silentLogger, signal: stop.signal, say: said.resolve },
  );
  ended.catch((e: unknown) => said.reject(e));
  const port = Number(/:(\d+)$/.exec(await said.promise)![1]);
  return { port, stop: () => (stop.abort(new Error('enough')), ended.catch(() => {})) };
}

/** The certificate that the kubelet shows, once a client that trusts the cluster's authority takes it. */
function served(cluster: Cluster, port: number): Promise<PeerCertificate> {
  const { certificateAuthority: ca } = cluster.adminCredentials!;
  return new Promise((resolve, reject) => {
    const socket = connect({ port, host: '127.0.0.1', ca, servername: 'n1' }, () => {
      resolve(socket.getPeerCertificate());
      socket.destroy();
    });
    socket.once('error', reject);
  });
}

async function until<T>(ask: () => Promise<T | undefined | false>): Promise<T> {
  for (;;) {
    const answer = await ask();
    if (answer !== undefined && answer !== false) return answer;
    await clock.sleep(20);
  }
}

test('a serving certificate is asked for, waits for approval, and is kept', async () => {
  const dir = mkdtempSync(join(tmpdir(), 'knarr-kubelet-'));
  await using cluster = await createCluster({ nodes: 0, https: { port: 0 } });
  const requests = cluster.client.certificates.certificatesigningrequests;
  try {
    const first = await start(cluster, dir, 'serverTLSBootstrap: true\nrotateCertificates: true\n');
    const wanted = await until(async () =>
      (await requests.list()).items.find((c) => c.spec?.signerName === 'kubernetes.io/kubelet-serving'),
    );
    assert.equal(wanted.spec?.username, 'system:node:n1');
    assert.deepEqual(wanted.spec?.usages, ['digital signature', 'server auth']);
    assert.equal(wanted.status?.conditions, undefined);
    await assert.rejects(served(cluster, first.port));
    await requests.update(
      {
        ...wanted,
        status: {
          ...wanted.status,
          conditions: [{ type: 'Approved', status: 'True', reason: 'Test', message: 'an administrator says so' }],
        },
      },
      { subresource: 'approval' },
    );
    const shown = await until(() => served(cluster, first.port).catch(() => undefined));
    assert.equal(shown.subject.CN, 'system:node:n1');
    assert.match(shown.subjectaltname ?? '', /IP Address:127\.0\.0\.1/);
    const files = readdirSync(join(dir, 'pki'));
    assert.ok(files.includes('kubelet-server-current.pem') && files.includes('kubelet-client-current.pem'));
    await first.stop();

    const second = await start(cluster, dir, 'serverTLSBootstrap: true\n');
    const again = await until(() => served(cluster, second.port).catch(() => undefined));
    assert.equal(again.serialNumber, shown.serialNumber);
    assert.equal((await requests.list()).items.length, 2);
    await second.stop();
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
});

test('what a configuration says is what the node does', async () => {
  const dir = mkdtempSync(join(tmpdir(), 'knarr-kubelet-'));
  await using cluster = await createCluster({ nodes: 0, https: { port: 0 } });
  try {
    const node = await start(
      cluster,
      dir,
      'maxPods: 7\nregisterWithTaints: [{key: k, value: v, effect: NoSchedule}]\nnodeLeaseDurationSeconds: 20\n',
    );
    const { status, spec } = await cluster.client.core.nodes.get('n1');
    assert.equal(status?.capacity?.['pods'], '7');
    assert.deepEqual(
      spec?.taints?.filter((t) => t.key === 'k').map((t) => [t.value, t.effect]),
      [['v', 'NoSchedule']],
    );
    await node.stop();
    await assert.rejects(
      start(cluster, dir, 'maxPods: -1\n'),
      /maxPods \(--max-pods\) -1 must not be a negative number/,
    );
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
});
