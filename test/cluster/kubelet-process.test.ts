/** A kubelet as a process of its own: its serving certificate by the cluster's authority, and its configuration. */
import assert from 'node:assert/strict';
import { X509Certificate } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { PeerCertificate } from 'node:tls';
import { connect } from 'node:tls';
import { test } from 'node:test';
import type { Clock } from '../../src/base/clock.ts';
import { SystemClock } from '../../src/base/clock.ts';
import { silentLogger } from '../../src/base/logger.ts';
import { SystemRandom } from '../../src/base/random.ts';
import type { CertificateSigningRequest } from '../../src/api/types/index.gen.ts';
import type { Cluster } from '../../src/cluster/cluster.ts';
import { createCluster } from '../../src/cluster/create-cluster.ts';
import { createToken } from '../../src/cluster/joining/tokens.ts';
import { renderKubeconfig } from '../../src/cluster/kubeconfig.ts';
import { runKubelet } from '../../src/cluster/processes/kubelet.ts';
import { metricsIn, wrongFamilies, type ExpectedFamilies } from '../support/metrics.ts';
import { MovableClock } from '../support/movable-clock.ts';

const random = new SystemRandom();
const clock = new SystemClock();

interface Started {
  readonly port: number;
  stop(): Promise<void>;
}

async function start(cluster: Cluster, dir: string, config: string, time: Clock = clock): Promise<Started> {
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
    { clock: time, random, logger: silentLogger, signal: stop.signal, say: said.resolve },
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

/** A connection that stays open, on which one request after the other is made. */
async function keptConnection(cluster: Cluster, port: number): Promise<{ ask(): Promise<string>; close(): void }> {
  const { certificateAuthority: ca } = cluster.adminCredentials!;
  const socket = connect({ port, host: '127.0.0.1', ca, servername: 'n1' });
  await once(socket, 'secureConnect');
  return {
    async ask() {
      socket.write('GET /healthz HTTP/1.1\r\nHost: n1\r\n\r\n');
      const [answer] = (await once(socket, 'data')) as [Buffer];
      return answer.toString('latin1').split('\r\n')[0]!;
    },
    close: () => socket.destroy(),
  };
}

test('both certificates are renewed in time, and taken without a restart', async () => {
  const dir = mkdtempSync(join(tmpdir(), 'knarr-kubelet-'));
  await using cluster = await createCluster({ nodes: 0, https: { port: 0 } });
  const requests = cluster.client.certificates.certificatesigningrequests;
  const of = async (signer: string) =>
    (await requests.list()).items.filter((r) => r.spec?.signerName === `kubernetes.io/${signer}`);
  const approve = async (r: CertificateSigningRequest): Promise<void> => {
    const conditions = [{ type: 'Approved', status: 'True', reason: 'Test', message: 'an administrator says so' }];
    await requests.update({ ...r, status: { ...r.status, conditions } }, { subresource: 'approval' });
  };
  const pending = () =>
    until(async () => (await of('kubelet-serving')).find((r) => r.status?.conditions === undefined));
  const client = () => new X509Certificate(readFileSync(join(dir, 'pki/kubelet-client-current.pem')));
  const fingerprint = (c: X509Certificate): string =>
    `X509SHA256=${c.fingerprint256.replaceAll(':', '').toLowerCase()}`;
  const credential = (r: CertificateSigningRequest): string | undefined =>
    r.spec?.extra?.['authentication.kubernetes.io/credential-id']?.[0];
  const time = new MovableClock();
  const kubelet = await start(cluster, dir, 'serverTLSBootstrap: true\nrotateCertificates: true\n', time);
  try {
    const firstClient = client();
    const asked = await pending();
    assert.equal(credential(asked), fingerprint(firstClient), 'asked for as the node');
    await approve(asked);
    const first = await until(() => served(cluster, kubelet.port).catch(() => undefined));
    const kept = await keptConnection(cluster, kubelet.port);
    assert.match(await kept.ask(), /^HTTP\/1\.1 \d+/);

    // Of a year nine tenths at most pass before the next one is asked for.
    const most = 340 * 86_400_000;
    const clientRequests = (await of('kube-apiserver-client-kubelet')).length;
    time.move(most);
    const next = await pending();
    await until(async () => (await of('kube-apiserver-client-kubelet')).length > clientRequests);
    time.move(-most);
    assert.equal((await served(cluster, kubelet.port)).serialNumber, first.serialNumber, 'not yet approved');
    await approve(next);
    const second = await until(async () => {
      const now = await served(cluster, kubelet.port);
      return now.serialNumber !== first.serialNumber && now;
    });
    assert.equal(second.subject.CN, 'system:node:n1');
    assert.match(await kept.ask(), /^HTTP\/1\.1 \d+/, 'who was connected stays connected');
    kept.close();

    // The client's certificate nobody has to approve; the kubelet speaks with the new one from now on.
    const renewed = await until(async () => client().serialNumber !== firstClient.serialNumber && client());
    assert.match(renewed.subject, /CN=system:node:n1/);
    time.move(most);
    const third = await pending();
    time.move(-most);
    assert.notEqual(credential(third), fingerprint(firstClient));
    assert.equal(third.spec?.username, 'system:node:n1');
    const ready = (await cluster.client.core.nodes.get('n1')).status?.conditions?.find((c) => c.type === 'Ready');
    assert.equal(ready?.status, 'True');
  } finally {
    await kubelet.stop();
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
      'maxPods: 7\nregisterWithTaints: [{key: k, value: v, effect: NoSchedule}]\nnodeLeaseDurationSeconds: 20\n' +
        'authentication: {anonymous: {enabled: true}}\nauthorization: {mode: AlwaysAllow}\n',
    );
    const { status, spec } = await cluster.client.core.nodes.get('n1');
    assert.equal(status?.capacity?.['pods'], '7');
    assert.deepEqual(
      spec?.taints?.filter((t) => t.key === 'k').map((t) => [t.value, t.effect]),
      [['v', 'NoSchedule']],
    );
    const metrics = metricsIn(String((await cluster.client.raw('GET', '/api/v1/nodes/n1/proxy/metrics')).body));
    const expected: ExpectedFamilies = {
      kubelet_node_name: ['gauge', 'node'],
      kubelet_running_pods: ['gauge', ''],
      kubernetes_build_info: [
        'gauge',
        'build_date,compiler,git_commit,git_tree_state,git_version,go_version,major,minor,platform',
      ],
      process_resident_memory_bytes: ['gauge', ''],
      rest_client_request_duration_seconds: ['histogram', 'host,verb'],
      rest_client_requests_total: ['counter', 'code,host,method'],
    };
    assert.deepEqual(wrongFamilies(metrics, expected), []);
    await node.stop();
    await assert.rejects(
      start(cluster, dir, 'maxPods: -1\n'),
      /maxPods \(--max-pods\) -1 must not be a negative number/,
    );
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
});
