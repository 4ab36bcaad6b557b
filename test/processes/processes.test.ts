/**
 * Every component as a process of its own, over TLS, the store too: kubectl's suite, health ports, elections, restarts, an orderly
 * end. And our API server on a real etcd.
 */
import assert from 'node:assert/strict';
import { Resolver } from 'node:dns/promises';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { cases } from '../kubectl/suite.ts';
import { httpsText } from '../support/https.ts';
import { Kubectl } from '../support/kubectl.ts';
import { findPeer, output, requirePeer } from '../support/peers.ts';
import { freePort, ProcessCluster } from '../support/processes.ts';

/** One HTTPS request, whoever signed the server's certificate. */
function ask(
  url: string,
  options: { readonly cert?: string; readonly key?: string; readonly token?: string } = {},
): Promise<{ status: number; body: string }> {
  const { cert, key, token } = options;
  return httpsText(url, {
    rejectUnauthorized: false,
    ...(cert === undefined ? {} : { cert, key }),
    ...(token === undefined ? {} : { headers: { authorization: `Bearer ${token}` } }),
  });
}

describe('a cluster of separate processes', () => {
  const cluster = new ProcessCluster({ nodes: ['node-1'] });
  let k: Kubectl | undefined;
  before(async () => {
    const file = findPeer('kubectl');
    if (file === undefined) return;
    await cluster.start();
    k = new Kubectl(file, cluster.kubeconfig, cluster.dir);
  });
  after(() => cluster.dispose());

  for (const [name, run] of cases)
    test(name, async (t) => {
      if (requirePeer(t, 'kubectl') !== undefined) await run({ k: k! }, t);
    });

  test('each controller acts under a service account of its own', async (t) => {
    if (requirePeer(t, 'kubectl') === undefined) return;
    const accounts = await k!.ok('get serviceaccounts -n kube-system -o name');
    for (const name of ['deployment-controller', 'replicaset-controller', 'generic-garbage-collector'])
      assert.match(accounts, new RegExp(`^serviceaccount/${name}$`, 'm'));
  });

  test('a Service of type LoadBalancer gets an address from the cloud', async (t) => {
    if (requirePeer(t, 'kubectl') === undefined) return;
    await k!.ok('create service loadbalancer outside --tcp=80:80');
    await k!.ok(['wait', '--for=jsonpath={.status.loadBalancer.ingress[0].ip}', 'service/outside', '--timeout=20s']);
    await k!.ok('delete service outside');
  });

  test('certificate requests are signed by the cluster', async (t) => {
    if (requirePeer(t, 'kubectl') === undefined) return;
    const openssl = requirePeer(t, 'openssl');
    if (openssl === undefined) return;
    const key = join(cluster.dir, 'jane.key');
    output(openssl, ['ecparam', '-name', 'prime256v1', '-genkey', '-noout', '-out', key]);
    const csr = output(openssl, ['req', '-new', '-key', key, '-subj', '/O=staff/CN=jane']);
    await k!.apply({
      apiVersion: 'certificates.k8s.io/v1',
      kind: 'CertificateSigningRequest',
      metadata: { name: 'jane' },
      spec: {
        request: Buffer.from(csr).toString('base64'),
        signerName: 'kubernetes.io/kube-apiserver-client',
        usages: ['client auth', 'digital signature'],
        expirationSeconds: 3600,
      },
    });
    await k!.ok('certificate approve jane');
    await k!.ok(['wait', '--for=jsonpath={.status.certificate}', 'csr/jane', '--timeout=20s']);
    const cert = Buffer.from(await k!.ok(['get', 'csr', 'jane', '-o', 'jsonpath={.status.certificate}']), 'base64');
    const answer = await ask(`${cluster.server}/api/v1/pods`, {
      cert: cert.toString('utf8'),
      key: readFileSync(key, 'utf8'),
    });
    assert.equal(answer.status, 403);
    assert.match(answer.body, /User \\"jane\\" cannot list resource \\"pods\\"/);
  });

  test('a second scheduler stands by and takes over', async (t) => {
    if (requirePeer(t, 'kubectl') === undefined) return;
    const port = await freePort();
    await cluster.startScheduler('second scheduler', port, /working with/);
    const url = `https://127.0.0.1:${port}`;
    assert.deepEqual(await ask(`${url}/healthz`), { status: 200, body: 'ok' });
    assert.equal((await ask(`${url}/readyz?verbose`)).status, 200);
    const refused = await ask(`${url}/metrics`);
    assert.equal(refused.status, 403);
    assert.match(refused.body, /User \\"system:anonymous\\" cannot get path \\"\/metrics\\"/);
    assert.equal((await ask(`${url}/metrics`, { token: 'wrong' })).status, 401);
    const admin = {
      cert: readFileSync(join(cluster.dir, 'pki/admin.crt'), 'utf8'),
      key: readFileSync(join(cluster.dir, 'pki/admin.key'), 'utf8'),
    };
    assert.match((await ask(`${url}/metrics`, admin)).body, /leader_election_master_status\{name="kube-scheduler"\} 0/);
    assert.equal(await cluster.process('kube-scheduler').stop('SIGINT'), 0);
    await cluster.process('second scheduler').printed(/became leader/);
    assert.match((await ask(`${url}/metrics`, admin)).body, /leader_election_master_status\{name="kube-scheduler"\} 1/);
    await k!.ok('create deployment after --image=nginx');
    await k!.ok('rollout status deployment/after --timeout=60s');
  });

  test('dns answers the names of Services', async (t) => {
    if (requirePeer(t, 'kubectl') === undefined) return;
    const metricsPort = await freePort();
    const { address, port } = await cluster.startDns(metricsPort);
    const resolver = new Resolver({ timeout: 2000, tries: 2 });
    resolver.setServers([`${address}:${port}`]);
    assert.deepEqual(await resolver.resolve4('kubernetes.default.svc.cluster.local'), ['10.96.0.1']);
    assert.deepEqual(await resolver.resolve4('kube-dns.kube-system.svc.cluster.local'), ['10.96.0.10']);
    assert.deepEqual(await resolver.reverse('10.96.0.1'), ['kubernetes.default.svc.cluster.local']);
    await assert.rejects(resolver.resolve4('nobody.default.svc.cluster.local'), { code: 'ENOTFOUND' });
    // The Service leads to it as long as it runs.
    const ports = () =>
      k!.ok(
        'get endpointslices -n kube-system -l endpointslice.kubernetes.io/managed-by=knarr-dns -o jsonpath={.items[*].endpoints[*].addresses[*]}:{.items[*].ports[?(@.name=="dns")].port}',
      );
    assert.equal(await ports(), `192.0.2.53:${port}`);
    const metrics = await fetch(`http://127.0.0.1:${metricsPort}/metrics`);
    assert.match(await metrics.text(), /coredns_dns_responses_total\{[^}]*rcode="NXDOMAIN"[^}]*\} 1/);
    assert.equal((await fetch(`http://127.0.0.1:${metricsPort}/readyz`)).status, 200);
    assert.equal(await cluster.process('dns').stop(), 0);
    assert.equal(await ports(), ':');
  });

  test('kube-proxy tells its health', async (t) => {
    if (requirePeer(t, 'kubectl') === undefined) return;
    const port = await freePort();
    await cluster.startProxy('node-1', 'second kube-proxy', port);
    const answer = await fetch(`http://127.0.0.1:${port}/healthz`);
    assert.equal(answer.status, 200);
    assert.equal(((await answer.json()) as { nodeEligible: boolean }).nodeEligible, true);
    assert.equal(await cluster.process('second kube-proxy').stop(), 0);
  });

  test('store and API server restart; everybody else goes on', async (t) => {
    if (requirePeer(t, 'kubectl') === undefined) return;
    const before = await k!.json<{ metadata: { uid: string; resourceVersion: string } }>('get namespace default');
    const hasty = ['lease-duration=2s', 'renew-deadline=1s', 'retry-period=200ms', 'resource-name=hasty'];
    const args = ['kube-scheduler', '--kubeconfig=scheduler.conf', '--secure-port=0'];
    await cluster.run('hasty', [...args, ...hasty.map((f) => `--leader-elect-${f}`)], /became leader/);
    assert.equal(await cluster.process('kube-apiserver').stop(), 0);
    assert.equal(await cluster.process('hasty').exited, 1);
    assert.match(
      cluster.process('hasty').output,
      /knarr: kube-scheduler lost the lead \(lease hasty\); start it again\n$/,
    );
    cluster.running.delete('hasty');
    assert.equal(await cluster.process('etcd').stop(), 0);
    await cluster.startEtcd();
    await cluster.startApiServer();
    const again = await k!.json<{ metadata: { uid: string; resourceVersion: string } }>('get namespace default');
    assert.deepEqual(again.metadata, before.metadata);
    await k!.ok('scale deployment/after --replicas=3');
    await k!.ok('rollout status deployment/after --timeout=90s');
  });

  test('a kubelet that comes back starts its pods again', async (t) => {
    if (requirePeer(t, 'kubectl') === undefined) return;
    assert.equal(await cluster.process('kubelet node-1').stop(), 0);
    await cluster.startKubelet('node-1');
    await k!.ok('rollout status deployment/after --timeout=60s');
    assert.equal(await k!.ok(['exec', 'deployment/after', '--', 'echo', 'back']), 'back\n');
  });

  test('two API servers on one store see the same', async (t) => {
    if (requirePeer(t, 'kubectl') === undefined) return;
    const port = await freePort();
    await cluster.startApiServer('second kube-apiserver', port);
    const second = ['--server', `https://127.0.0.1:${port}`];
    await k!.ok(['create', 'configmap', 'seen-by-both', '--from-literal=a=1', ...second]);
    assert.equal(await k!.ok(['get', 'configmap', 'seen-by-both', '-o', 'jsonpath={.data.a}']), '1');
    await k!.ok('delete configmap seen-by-both');
    assert.match(await k!.fails(['get', 'configmap', 'seen-by-both', ...second]), /NotFound/);
    assert.equal(await cluster.process('second kube-apiserver').stop(), 0);
  });

  test('etcdctl reads our store over TLS', async (t) => {
    const etcdctl = requirePeer(t, 'etcdctl');
    if (etcdctl === undefined || k === undefined) return;
    const tls = ['ca.crt', 'server.crt', 'server.key'].map((f) => join(cluster.dir, 'pki/etcd', f)) as [
      string,
      string,
      string,
    ];
    const text = output(
      etcdctl,
      ['--endpoints', cluster.etcdUrl, '--cacert', tls[0], '--cert', tls[1], '--key', tls[2]].concat([
        'get',
        '/registry/namespaces/',
        '--prefix',
        '--keys-only',
      ]),
      { ETCDCTL_API: '3' },
    );
    assert.match(text, /^\/registry\/namespaces\/default$/m);
  });

  test('every process ends with 0 when it is asked to', async () => {
    const order = [...cluster.running.values()].reverse();
    for (const process of order) assert.equal(await process.stop(), 0, `${process.name}:\n${process.output}`);
    for (const process of order) assert.doesNotMatch(process.output, /stopping did not go smoothly/, process.output);
  });
});

describe('our API server on a real etcd', () => {
  const etcd = findPeer('etcd');
  const cluster = new ProcessCluster({
    ...(etcd === undefined ? {} : { etcd }),
    nodes: ['node-1'],
    without: ['cloud-controller-manager'],
  });
  let k: Kubectl | undefined;
  before(async () => {
    const kubectl = findPeer('kubectl');
    if (etcd === undefined || kubectl === undefined) return;
    await cluster.start();
    k = new Kubectl(kubectl, cluster.kubeconfig, cluster.dir);
  });
  after(() => cluster.dispose());
  const wanted =
    /^(nodes are Ready|create deployment becomes|apply, diff|server-side apply|namespaces take|custom res)/;
  for (const [name, run] of cases.filter(([n]) => wanted.test(n)))
    test(name, async (t) => {
      if (requirePeer(t, 'etcd') !== undefined && requirePeer(t, 'kubectl') !== undefined) await run({ k: k! }, t);
    });
});
