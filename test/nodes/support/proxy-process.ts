/** Run inside of a node's namespace by proxy-process.test.ts: an API server, and `knarr kube-proxy` as a process beside it. */
import assert from 'node:assert/strict';
import type { ChildProcess } from 'node:child_process';
import { execFile, spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import type { EndpointSlice, NetworkPolicy, Node, Pod, Service } from '../../../src/index.ts';
import { createCluster } from '../../../src/index.ts';

const exec = promisify(execFile);
const main = join(import.meta.dirname, '../../../src/cli/main.ts');
const address = process.argv[2]!;
const directory = mkdtempSync(join(tmpdir(), 'knarr-proxy-'));

const children: ChildProcess[] = [];

/** Starts the command; resolves when it says that it works. */
function start(...args: readonly string[]): Promise<ChildProcess> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, ['--no-warnings', main, 'kube-proxy', ...args], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    children.push(child);
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      if (/working for node n1 with .*, nftables/.test(text)) resolve(child);
    });
    child.on('exit', (code) => reject(new Error(`kube-proxy ended with ${code}`)));
  });
}

async function eventually(what: string, check: () => Promise<boolean>): Promise<void> {
  for (let i = 0; i < 100; i++) {
    if (await check()) return;
    await sleep(100);
  }
  throw new Error(`never: ${what}`);
}

const tables = async (): Promise<string> => (await exec('nft', ['list', 'tables'])).stdout;

function reaches(host: string, port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ host, port, timeout: 500 });
    const end = (answer: boolean) => () => {
      socket.destroy();
      resolve(answer);
    };
    socket.on('connect', end(true));
    socket.on('error', end(false));
    socket.on('timeout', end(false));
  });
}

const cluster = await createCluster({
  nodes: 0,
  https: { host: '127.0.0.1' },
  disable: ['kube-scheduler', 'kube-controller-manager', 'cloud-controller-manager', 'kube-proxy', 'dns', 'kubelet'],
});
try {
  const { client } = cluster;
  // The identity of kube-proxy as installers set it up, with nothing but upstream's role and ours.
  await client.core.serviceaccounts.create({ metadata: { name: 'kube-proxy', namespace: 'kube-system' } });
  for (const role of ['system:node-proxier', 'system:knarr:network-policy'])
    await client.rbac.clusterrolebindings.create({
      metadata: { name: `test:${role}` },
      roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'ClusterRole', name: role },
      subjects: [{ kind: 'ServiceAccount', name: 'kube-proxy', namespace: 'kube-system' }],
    });
  const request = { apiVersion: 'authentication.k8s.io/v1', kind: 'TokenRequest', metadata: {}, spec: {} };
  const path = '/api/v1/namespaces/kube-system/serviceaccounts/kube-proxy/token';
  const { body } = await client.raw('POST', path, { body: request });
  const { token } = (body as { status: { token: string } }).status;
  const kubeconfig = join(directory, 'kube-proxy.conf');
  const ca = Buffer.from(cluster.adminCredentials!.certificateAuthority).toString('base64');
  writeFileSync(
    kubeconfig,
    JSON.stringify({
      apiVersion: 'v1',
      kind: 'Config',
      clusters: [{ name: 'c', cluster: { server: cluster.url, 'certificate-authority-data': ca } }],
      users: [{ name: 'u', user: { token } }],
      contexts: [{ name: 'x', context: { cluster: 'c', user: 'u' } }],
      'current-context': 'x',
    }),
    { mode: 0o600 },
  );
  await client.core.nodes.create({
    metadata: { name: 'n1' },
    status: { addresses: [{ type: 'InternalIP', address }] },
  } as Node);
  const service = await client.core.services.create({
    metadata: { name: 'api', namespace: 'default' },
    spec: { type: 'NodePort', ports: [{ name: 'https', port: 443, protocol: 'TCP' }] },
  } as Service);
  await client.discovery.endpointslices.create({
    metadata: { name: 'api-1', namespace: 'default', labels: { 'kubernetes.io/service-name': 'api' } },
    addressType: 'IPv4',
    ports: [{ name: 'https', port: 10249, protocol: 'TCP' }],
    endpoints: [{ addresses: [address], nodeName: 'n1' }],
  } as unknown as EndpointSlice);

  const flags = [`--kubeconfig=${kubeconfig}`, '--hostname-override=n1', '--cluster-cidr=10.244.0.0/16'];
  const first = await start(...flags, '--healthz-bind-address=127.0.0.1:10256', '--metrics-bind-address=0.0.0.0:10249');
  const health = await fetch('http://127.0.0.1:10256/healthz');
  assert.equal(health.status, 200);
  const said = (await health.json()) as { healthy: boolean; nodeEligible: boolean; status: object };
  assert.equal(said.healthy, true);
  assert.equal(said.nodeEligible, true);
  assert.deepEqual(Object.keys(said.status), ['IPv4', 'IPv6']);
  assert.equal(await (await fetch('http://127.0.0.1:10249/proxyMode')).text(), 'nftables');
  const metrics = await (await fetch('http://127.0.0.1:10249/metrics')).text();
  for (const line of [
    /^kubeproxy_sync_proxy_rules_duration_seconds_count\{ip_family="IPv4"\} [1-9]/m,
    /^kubeproxy_sync_full_proxy_rules_duration_seconds_bucket\{ip_family="IPv6",le="\+Inf"\} 1/m,
    /^kubeproxy_sync_proxy_rules_last_timestamp_seconds\{ip_family="IPv4"\} \d{10}/m,
    /^kubeproxy_sync_proxy_rules_service_changes_total [1-9]/m,
    /^kubeproxy_proxy_healthz_total\{code="200"\} 1/m,
  ])
    assert.match(metrics, line);
  assert.ok(await reaches(service.spec!.clusterIP!, 443), 'cluster IP');
  assert.ok(await reaches(address, service.spec!.ports![0]!.nodePort!), 'node port');

  // A node that is about to be removed: balancers are told, the process lives.
  await client.core.nodes.patch('n1', undefined, 'merge', {
    spec: { taints: [{ key: 'ToBeDeletedByClusterAutoscaler', effect: 'NoSchedule' }] },
  });
  await eventually('not eligible', async () => (await fetch('http://127.0.0.1:10256/healthz')).status === 503);
  assert.equal((await fetch('http://127.0.0.1:10256/livez')).status, 200);

  assert.doesNotMatch(await tables(), /knarr-network-policy/);
  await client.core.serviceaccounts.create({ metadata: { name: 'default', namespace: 'default' } });
  await client.core.pods.create({
    metadata: { name: 'p', namespace: 'default', labels: { a: 'b' } },
    spec: { nodeName: 'n1', containers: [{ name: 'c', image: 'i' }] },
  } as Pod);
  await client.core.pods.patch(
    'p',
    'default',
    'merge',
    { status: { podIP: '10.244.0.9', podIPs: [{ ip: '10.244.0.9' }] } },
    {
      subresource: 'status',
    },
  );
  await client.networking.networkpolicies.create({
    metadata: { name: 'deny', namespace: 'default' },
    spec: { podSelector: {} },
  } as NetworkPolicy);
  await eventually('the policy’s rules', async () => (await tables()).includes('knarr-network-policy'));

  first.kill('SIGTERM');
  assert.equal(await new Promise((resolve) => first.on('close', resolve)), 0);
  assert.match(await tables(), /table ip kube-proxy/, 'rules stay when it stops');

  // The same by a file; node ports answer at the address that is named, whatever the Node says.
  const other = '198.51.100.7';
  await exec('ip', ['addr', 'add', `${other}/32`, 'dev', 'lo']);
  const file = join(directory, 'config.yaml');
  writeFileSync(
    file,
    JSON.stringify({
      apiVersion: 'kubeproxy.config.k8s.io/v1alpha1',
      kind: 'KubeProxyConfiguration',
      clientConnection: { kubeconfig },
      mode: 'nftables',
      clusterCIDR: '10.244.0.0/16',
      bindAddress: other,
      healthzBindAddress: '127.0.0.1:10256',
      metricsBindAddress: '127.0.0.1:10249',
      conntrack: { maxPerCore: 0 },
    }),
  );
  const second = await start('--config', file, '--hostname-override=n1');
  const { stdout: ips } = await exec('nft', ['list', 'set', 'ip', 'kube-proxy', 'nodeport-ips']);
  assert.ok(ips.includes(other) && !ips.includes(address), ips);
  second.kill('SIGTERM');
  await new Promise((resolve) => second.on('close', resolve));
  await exec('nft', ['add', 'table', 'inet', 'others']);
  await exec(process.execPath, ['--no-warnings', main, 'kube-proxy', '--cleanup']);
  assert.equal((await tables()).trim(), 'table inet others');
} finally {
  for (const child of children) child.kill('SIGKILL');
  await cluster.close();
  rmSync(directory, { recursive: true, force: true });
}
