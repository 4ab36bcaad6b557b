/** The cluster's name server in a real cluster: its Corefile is a ConfigMap that people edit, its answers follow Services and pods. */
import assert from 'node:assert/strict';
import { Resolver } from 'node:dns/promises';
import { test } from 'node:test';
import { createCluster } from '../../src/index.ts';
import { waitForOne } from '../support/wait.ts';

async function until<T>(what: string, ask: () => Promise<T>, good: (value: T) => boolean): Promise<T> {
  let last: unknown;
  for (let i = 0; i < 200; i++) {
    try {
      const value = await ask();
      if (good(value)) return value;
      last = value;
    } catch (error) {
      last = error;
    }
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  throw new Error(`${what} did not come to be`, { cause: last });
}

test('names of Services and pods over UDP, and an edited Corefile', async () => {
  await using cluster = await createCluster({ nodes: 1, https: { port: 0 } });
  const { client } = cluster;
  const slice = await waitForOne(client.discovery.endpointslices, 'kube-dns-knarr', 'kube-system', () => true);
  const port = slice.ports!.find((p) => p.name === 'dns')!.port!;
  const resolver = new Resolver();
  resolver.setServers([`127.0.0.1:${port}`]);
  assert.deepEqual(await resolver.resolve4('kube-dns.kube-system.svc.cluster.local'), ['10.96.0.10']);
  assert.deepEqual(await resolver.resolve4('kubernetes.default.svc.cluster.local'), ['10.96.0.1']);

  // A headless Service of a StatefulSet: each pod by its name.
  await client.core.services.create({
    metadata: { name: 'db', namespace: 'default' },
    spec: { clusterIP: 'None', selector: { app: 'db' }, ports: [{ name: 'sql', port: 5432 }] },
  });
  await client.apps.statefulsets.create({
    metadata: { name: 'db', namespace: 'default' },
    spec: {
      serviceName: 'db',
      replicas: 2,
      selector: { matchLabels: { app: 'db' } },
      template: { metadata: { labels: { app: 'db' } }, spec: { containers: [{ name: 'c', image: 'db' }] } },
    },
  });
  const both = await until(
    'both endpoints',
    () => resolver.resolve4('db.default.svc.cluster.local'),
    (list) => list.length === 2,
  );
  const pod = await client.core.pods.get('db-1', 'default');
  const own = await resolver.resolve4('db-1.db.default.svc.cluster.local');
  assert.deepEqual(own, [pod.status!.podIP]);
  assert.ok(both.includes(own[0]!));
  assert.deepEqual(await resolver.reverse(own[0]!), ['db-1.db.default.svc.cluster.local']);
  const srv = await resolver.resolveSrv('_sql._tcp.db.default.svc.cluster.local');
  assert.deepEqual(srv.map((s) => s.name).sort(), [
    'db-0.db.default.svc.cluster.local',
    'db-1.db.default.svc.cluster.local',
  ]);
  await client.apps.statefulsets.patch('db', 'default', 'merge', { spec: { replicas: 0 } });
  await until(
    'nothing',
    () => resolver.resolve4('db.default.svc.cluster.local').catch((e: NodeJS.ErrnoException) => e.code),
    (code) => code === 'ENOTFOUND',
  );

  // The Corefile is a ConfigMap.
  const map = await client.core.configmaps.get('coredns', 'kube-system');
  const corefile = map.data!['Corefile']!;
  assert.match(corefile, /^\.:53 \{\n {4}errors\n/);
  const edited = corefile.replace(
    'ready\n',
    'ready\n    hosts {\n      192.0.2.9 printer.example\n      fallthrough\n    }\n',
  );
  await client.core.configmaps.patch('coredns', 'kube-system', 'merge', { data: { Corefile: edited } });
  await until(
    'the printer',
    () => resolver.resolve4('printer.example'),
    (list) => list[0] === '192.0.2.9',
  );
  // A wrong one leaves the old one in use.
  await client.core.configmaps.patch('coredns', 'kube-system', 'merge', { data: { Corefile: 'nonsense {' } });
  await new Promise((resolve) => setTimeout(resolve, 100));
  assert.deepEqual(await resolver.resolve4('printer.example'), ['192.0.2.9']);
  assert.deepEqual(await resolver.resolve4('kubernetes.default.svc.cluster.local'), ['10.96.0.1']);
});

test('another name server takes its place', async () => {
  await using cluster = await createCluster({ nodes: 1, disable: ['dns'] });
  const { client } = cluster;
  await assert.rejects(client.core.services.get('kube-dns', 'kube-system'), { code: 404 });
  await assert.rejects(client.discovery.endpointslices.get('kube-dns-knarr', 'kube-system'), { code: 404 });
  // As CoreDNS' manifests have it: the Service with the address that pods are told.
  await client.core.services.create({
    metadata: { name: 'kube-dns', namespace: 'kube-system' },
    spec: { clusterIP: '10.96.0.10', selector: { 'k8s-app': 'kube-dns' }, ports: [{ port: 53, protocol: 'UDP' }] },
  });
});
