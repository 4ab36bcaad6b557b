/**
 * Upstream's kubelet, kube-proxy and CoreDNS in the place of ours, one by one. Somebody brings the binaries: KNARR_KUBELET,
 * KNARR_KUBE_PROXY and KNARR_COREDNS name them.
 */
import assert from 'node:assert/strict';
import type { ChildProcess } from 'node:child_process';
import { execFile, spawn } from 'node:child_process';
import { closeSync, existsSync, mkdirSync, openSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { promisify } from 'node:util';
import { SystemClock } from '../../src/base/clock.ts';
import { SystemRandom } from '../../src/base/random.ts';
import type { Deployment } from '../../src/api/types/index.gen.ts';
import { componentKubeconfig } from '../../src/cluster/component-kubeconfig.ts';
import { createToken } from '../../src/cluster/joining/tokens.ts';
import { renderKubeconfig } from '../../src/cluster/kubeconfig.ts';
import { ociImage } from '../../src/kubelet/runtime/cri/oci-archive.ts';
import { bundle } from '../support/knarr.ts';
import { findPeer } from '../support/peers.ts';
import { architecture } from './images/busybox.ts';
import type { Containerd } from './support/containerd.ts';
import { ownNamespaces } from './support/namespaces.ts';
import { addresses, ask, firstWords, inside, sh, Sites } from './support/sites.ts';
import { until } from './support/until.ts';

const impossible = ownNamespaces();

/** Why a test cannot run here; the binary's path otherwise. */
function brought(variable: string): { readonly skip: string | false; readonly path: string } {
  const path = process.env[variable] ?? '';
  return { path, skip: impossible !== false ? impossible : path === '' ? `${variable} names no binary` : false };
}

const kubelet = brought('KNARR_KUBELET');
const kubeProxy = brought('KNARR_KUBE_PROXY');
const coredns = brought('KNARR_COREDNS');
const clock = new SystemClock();
const random = new SystemRandom();

/** A process of somebody else's, with its log. */
class Foreign {
  readonly #child: ChildProcess;
  readonly #log: string;

  constructor(sites: Sites, name: string, args: readonly string[]) {
    this.#log = join(sites.dir, `${name}.log`);
    const log = openSync(this.#log, 'a');
    this.#child = spawn(args[0]!, args.slice(1), { stdio: ['ignore', log, log] });
    closeSync(log);
  }

  get log(): string {
    return readFileSync(this.#log, 'utf8');
  }

  async stop(): Promise<void> {
    if (this.#child.exitCode !== null) return;
    const exit = new Promise((resolve) => this.#child.once('exit', resolve));
    this.#child.kill('SIGTERM');
    await exit;
  }
}

/** What a cluster must do with whatever components it has. */
async function smoke(sites: Sites): Promise<void> {
  await sites.webServers({ type: 'NodePort' });
  const service = await sites.client.core.services.get('web', 'default');
  const vip = service.spec!.clusterIP!;
  await until('the Service to be in the rules', async () => {
    try {
      return sh(`curl -s -m 2 http://${vip}/cgi-bin/who`) !== '';
    } catch {
      // Refused or unanswered until then.
      return false;
    }
  });
  assert.deepEqual(firstWords(await sites.run('by-name', 'one', ask('http://web/cgi-bin/who', 3))), ['one']);
  assert.deepEqual(firstWords(await sites.run('by-vip', 'one', ask(`http://${vip}/cgi-bin/who`, 3))), ['one']);
  assert.match(sh(`curl -s -m 5 http://${vip}/cgi-bin/who`), /^one /);
  const port = service.spec!.ports![0]!.nodePort!;
  assert.match(inside('client', `curl -s -m 5 http://${addresses.one[4]}:${port}/cgi-bin/who`), /^one /);

  const { client } = sites;
  const pod = (await client.core.pods.list({ namespace: 'default', labelSelector: 'app=web' })).items[0]!;
  const kubectl = findPeer('kubectl');
  if (kubectl !== undefined) {
    const config = join(sites.dir, 'kubeconfig');
    writeFileSync(config, sites.cluster.kubeconfig!);
    // The API server is in this process.
    const run = async (...args: string[]): Promise<string> =>
      (await promisify(execFile)(kubectl, ['--kubeconfig', config, ...args], { timeout: 30_000 })).stdout;
    assert.equal(await run('exec', pod.metadata.name!, '--', 'sh', '-c', 'echo $NODE'), 'one\n');
    assert.match(await run('get', 'nodes'), /one\s+Ready/);
  }
  // A rolling update, and the end of a pod.
  await client.apps.daemonsets.delete('web', 'default');
  await until('the pod to go', async () => {
    const left = await client.core.pods.list({ namespace: 'default', labelSelector: 'app=web' });
    return left.items.length === 0;
  });
  await until('its endpoint to go', async () => {
    try {
      sh(`curl -s -m 2 http://${vip}/`);
      return false;
    } catch (error) {
      // Refused, not forgotten.
      return (error as { status?: number }).status === 7;
    }
  });
}

async function proxyCommand(sites: Sites, node: string): Promise<string[]> {
  const { dataDir, server } = sites;
  const config = join(sites.dir, 'kube-proxy.conf');
  writeFileSync(config, await componentKubeconfig({ dataDir, component: 'kube-proxy', server, clock, random }));
  return [
    ...[kubeProxy.path, '--kubeconfig', config, '--hostname-override', node, '--proxy-mode', 'nftables'],
    ...['--cluster-cidr', '10.244.0.0/16', '--conntrack-max-per-core', '0'],
  ];
}

/** The kubelet with a configuration and a bootstrap kubeconfig, as docs/real-nodes.md tells. */
async function kubeletCommand(sites: Sites, containerd: Containerd, node: 'one' | 'two'): Promise<string[]> {
  const rootDir = join(containerd.dir, 'kubelet');
  mkdirSync(rootDir, { recursive: true });
  const token = await createToken(sites.client, clock, random, { ttlMs: 600_000 });
  const bootstrap = join(sites.dir, 'bootstrap-kubelet.conf');
  const { certificateAuthority } = sites.cluster.adminCredentials!;
  writeFileSync(bootstrap, renderKubeconfig({ name: 'knarr', server: sites.server, certificateAuthority, token }));
  const configuration = join(sites.dir, 'kubelet.yaml');
  writeFileSync(
    configuration,
    JSON.stringify({
      apiVersion: 'kubelet.config.k8s.io/v1beta1',
      kind: 'KubeletConfiguration',
      authentication: { x509: { clientCAFile: join(sites.dataDir, 'pki/ca.crt') } },
      containerRuntimeEndpoint: `unix://${containerd.socket}`,
      clusterDNS: ['10.96.0.10'],
      clusterDomain: 'cluster.local',
      rotateCertificates: true,
      // Of this machine: cgroups of the first version, and no right to make oneself hard to kill.
      cgroupDriver: 'cgroupfs',
      cgroupsPerQOS: false,
      enforceNodeAllocatable: [],
      failCgroupV1: false,
      failSwapOn: false,
      evictionHard: { 'memory.available': '0%', 'nodefs.available': '0%', 'imagefs.available': '0%' },
      imageGCHighThresholdPercent: 100,
      podLogsDir: containerd.podLogsDir,
    }),
  );
  return [
    ...[kubelet.path, '--config', configuration, '--kubeconfig', join(sites.dir, 'kubelet.conf')],
    ...['--bootstrap-kubeconfig', bootstrap, '--cert-dir', join(sites.dir, 'kubelet-pki'), '--root-dir', rootDir],
    ...['--hostname-override', node, '--node-ip', addresses[node][4]],
  ];
}

test('upstream’s kube-proxy', { skip: kubeProxy.skip }, async () => {
  const sites = await Sites.start({ second: false, cluster: { disable: ['kube-proxy'] } });
  let theirs: Foreign | undefined;
  try {
    theirs = new Foreign(sites, 'kube-proxy', await proxyCommand(sites, 'one'));
    await smoke(sites).catch((error: unknown) => {
      throw new Error(`${String(error)}\n${theirs!.log.slice(-4000)}`, { cause: error });
    });
  } finally {
    await theirs?.stop();
    await sites.stop();
  }
});

test('upstream’s kubelet', { skip: kubelet.skip }, async () => {
  const sites = await Sites.start({ second: false, cluster: { disable: ['kubelet'] } });
  let theirs: Foreign | undefined;
  try {
    theirs = new Foreign(sites, 'kubelet', await kubeletCommand(sites, sites.first, 'one'));
    await until('the node', () => sites.ready('one'))
      .then(() => smoke(sites))
      .catch((error: unknown) => {
        throw new Error(`${String(error)}\n${theirs!.log.slice(-6000)}`, { cause: error });
      });
    const node = await sites.client.core.nodes.get('one');
    assert.ok(!node.status!.nodeInfo!.kubeletVersion.includes('knarr'));
  } finally {
    await theirs?.stop();
    await sites.stop();
  }
});

test(
  'upstream’s kubelet and kube-proxy join as a second machine',
  { skip: kubelet.skip || kubeProxy.skip },
  async () => {
    const sites = await Sites.start({ joins: false });
    const started: Foreign[] = [];
    const c = sites.second!;
    try {
      const on = c.inside();
      started.push(new Foreign(sites, 'kubelet', [...on, ...(await kubeletCommand(sites, c, 'two'))]));
      const config = join(sites.dir, 'kubelet.conf');
      await until(
        'its identity',
        async () => existsSync(config) && readFileSync(config, 'utf8').includes('kubelet-client'),
      );
      started.push(
        new Foreign(sites, 'pod-network', [
          ...[...on, process.execPath, bundle, 'pod-network', '--kubeconfig', config, '--hostname-override', 'two'],
          ...['--cni-conf-dir', c.cniConfDir, '--cni-data-dir', join(c.dir, 'addresses')],
        ]),
        new Foreign(sites, 'kube-proxy', [...on, ...(await proxyCommand(sites, 'two'))]),
      );
      await until('the node', () => sites.ready('two'))
        .then(() => sites.webServers())
        .catch((error: unknown) => {
          throw new Error(`${String(error)}\n${started.map((p) => p.log.slice(-3000)).join('\n')}`, { cause: error });
        });
      for (const node of ['one', 'two'])
        assert.deepEqual(firstWords(await sites.run(`from-${node}`, node, ask('http://web/cgi-bin/who'))), [
          'one',
          'two',
        ]);
      const vip = (await sites.client.core.services.get('web', 'default')).spec!.clusterIP!;
      const text = inside('two', `for i in $(seq 12); do curl -s -m 5 http://${vip}/cgi-bin/who; done`);
      assert.deepEqual(firstWords(text), ['one', 'two']);
    } finally {
      for (const p of started.reverse()) await p.stop();
      await sites.stop();
    }
  },
);

test('CoreDNS as a Deployment', { skip: coredns.skip }, async () => {
  const sites = await Sites.start({ second: false, cluster: { disable: ['dns'] } });
  try {
    const file = { path: 'coredns', mode: 0o755, data: readFileSync(coredns.path) };
    await sites.first.load(ociImage([file], { Entrypoint: ['/coredns'] }, architecture), 'local.test/coredns:1');
    const { client } = sites;
    for (const [path, object] of corednsManifests()) await client.raw('POST', path, { body: object });
    await until('CoreDNS', async () => {
      const d: Deployment = await client.apps.deployments.get('coredns', 'kube-system');
      return d.status?.readyReplicas === 1;
    }).catch(async (error: unknown) => {
      const pods = await client.core.pods.list({ namespace: 'kube-system' });
      throw new Error(`${String(error)} ${JSON.stringify(pods.items.map((p) => p.status))}`, { cause: error });
    });
    await smoke(sites);
    const text = await sites.run(
      'lookup',
      'one',
      'nslookup -type=srv _https._tcp.kubernetes.default.svc.cluster.local; nslookup 10.96.0.1; cat /etc/resolv.conf',
      { automountServiceAccountToken: false },
    );
    assert.match(text, /service = \d+ \d+ 443 kubernetes\.default\.svc\.cluster\.local/);
    assert.match(text, /name = kubernetes\.default\.svc\.cluster\.local/);
  } finally {
    await sites.stop();
  }
});

/** kubeadm's objects for CoreDNS, shortened. */
function corednsManifests(): [path: string, object: { apiVersion: string; kind: string; metadata: object }][] {
  const namespace = 'kube-system';
  const rbac = 'rbac.authorization.k8s.io';
  const labels = { 'k8s-app': 'kube-dns' };
  return [
    [
      `/api/v1/namespaces/${namespace}/serviceaccounts`,
      { apiVersion: 'v1', kind: 'ServiceAccount', metadata: { name: 'coredns', namespace } },
    ],
    [
      `/apis/${rbac}/v1/clusterroles`,
      {
        apiVersion: `${rbac}/v1`,
        kind: 'ClusterRole',
        metadata: { name: 'system:coredns' },
        rules: [
          { apiGroups: [''], resources: ['endpoints', 'services', 'pods', 'namespaces'], verbs: ['list', 'watch'] },
          { apiGroups: ['discovery.k8s.io'], resources: ['endpointslices'], verbs: ['list', 'watch'] },
        ],
      } as never,
    ],
    [
      `/apis/${rbac}/v1/clusterrolebindings`,
      {
        apiVersion: `${rbac}/v1`,
        kind: 'ClusterRoleBinding',
        metadata: { name: 'system:coredns' },
        roleRef: { apiGroup: rbac, kind: 'ClusterRole', name: 'system:coredns' },
        subjects: [{ kind: 'ServiceAccount', name: 'coredns', namespace }],
      } as never,
    ],
    [
      `/api/v1/namespaces/${namespace}/configmaps`,
      {
        apiVersion: 'v1',
        kind: 'ConfigMap',
        metadata: { name: 'coredns', namespace },
        data: {
          Corefile: `.:53 {
    errors
    health
    ready
    kubernetes cluster.local in-addr.arpa ip6.arpa {
       pods insecure
       ttl 30
    }
    cache 30
    reload
}
`,
        },
      } as never,
    ],
    [
      `/api/v1/namespaces/${namespace}/services`,
      {
        apiVersion: 'v1',
        kind: 'Service',
        metadata: { name: 'kube-dns', namespace, labels },
        spec: {
          selector: labels,
          clusterIP: '10.96.0.10',
          ports: [
            { name: 'dns', port: 53, protocol: 'UDP' },
            { name: 'dns-tcp', port: 53, protocol: 'TCP' },
          ],
        },
      } as never,
    ],
    [
      `/apis/apps/v1/namespaces/${namespace}/deployments`,
      {
        apiVersion: 'apps/v1',
        kind: 'Deployment',
        metadata: { name: 'coredns', namespace, labels },
        spec: {
          replicas: 1,
          selector: { matchLabels: labels },
          template: {
            metadata: { labels },
            spec: {
              serviceAccountName: 'coredns',
              dnsPolicy: 'Default',
              containers: [
                {
                  name: 'coredns',
                  image: 'local.test/coredns:1',
                  imagePullPolicy: 'Never',
                  args: ['-conf', '/etc/coredns/Corefile'],
                  volumeMounts: [{ name: 'config', mountPath: '/etc/coredns', readOnly: true }],
                  readinessProbe: { httpGet: { path: '/ready', port: 8181 }, periodSeconds: 1 },
                  livenessProbe: { httpGet: { path: '/health', port: 8080 }, initialDelaySeconds: 10 },
                },
              ],
              volumes: [{ name: 'config', configMap: { name: 'coredns' } }],
            },
          },
        },
      } as never,
    ],
  ];
}
