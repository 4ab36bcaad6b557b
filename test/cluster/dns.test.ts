/** The cluster's name server in a real cluster: its Corefile is a ConfigMap that people edit, its answers follow Services and pods. */
import assert from 'node:assert/strict';
import { Resolver } from 'node:dns/promises';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { createServer } from 'node:tls';
import packet from 'dns-packet';
import { SystemClock } from '../../src/base/clock.ts';
import { createLogger, silentLogger } from '../../src/base/logger.ts';
import { SystemRandom } from '../../src/base/random.ts';
import { FakeApi } from '../../src/client/fake-api.ts';
import { createClient } from '../../src/client/typed-client.ts';
import { dnsAddons } from '../../src/cluster/dns-addons.ts';
import { selfSigned } from '../../src/cluster/processes/self-signed.ts';
import { Announcement } from '../../src/dns/announce.ts';
import { fileSource } from '../../src/dns/corefile-source.ts';
import { createDns } from '../../src/dns/dns.ts';
import { VirtualClock, createCluster } from '../../src/index.ts';
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
  const complaints: string[] = [];
  const logger = createLogger({ level: 'error', now: () => 0, sink: (r) => complaints.push(r.message) });
  await using cluster = await createCluster({ nodes: 1, https: { port: 0 }, logger });
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
  await until(
    'the complaint',
    () => Promise.resolve(complaints),
    (list) => list.length > 0,
  );
  assert.deepEqual(complaints, [
    'DNS: Corefile changed but reload failed: Corefile:1 - Error during parsing: Unexpected EOF: the block of line 1 is not closed',
  ]);
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

test('names of others over TLS', async (t) => {
  const dir = mkdtempSync(join(tmpdir(), 'knarr-dns-'));
  t.after(() => rmSync(dir, { recursive: true, force: true }));
  const pair = await selfSigned({ clock: new SystemClock(), random: new SystemRandom() }, ['dns.example']);
  writeFileSync(join(dir, 'ca.crt'), pair.certificate);
  let connections = 0;
  const server = createServer({ cert: pair.certificate, key: pair.key }, (socket) => {
    connections++;
    socket.on('error', () => {});
    socket.on('data', (d: Buffer) => {
      const query = packet.decode(d.subarray(2));
      const answer = packet.encode({
        type: 'response',
        id: query.id!,
        questions: query.questions!,
        answers: [{ name: query.questions![0]!.name, type: 'A', ttl: 60, data: '192.0.2.44' }],
      });
      const head = Buffer.alloc(2);
      head.writeUInt16BE(answer.length);
      socket.write(Buffer.concat([head, answer]));
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.after(() => server.close());
  const far = (server.address() as AddressInfo).port;
  const clock = new SystemClock();
  const client = createClient(new FakeApi(clock, new SystemRandom()));
  writeFileSync(
    join(dir, 'Corefile'),
    `. {
       forward . tls://127.0.0.1:${far} {
         tls ca.crt
         tls_servername dns.example
       }
     }`,
  );
  const shared = { clock, random: new SystemRandom(), logger: silentLogger };
  const dns = createDns({
    client,
    ...shared,
    bind: { address: '127.0.0.1', port: 0 },
    corefile: fileSource(join(dir, 'Corefile'), shared),
  });
  t.after(() => dns.stop());
  await dns.start();
  const resolver = new Resolver();
  resolver.setServers([`127.0.0.1:${dns.address!.port}`]);
  for (const name of ['a.example', 'b.example']) assert.deepEqual(await resolver.resolve4(name), ['192.0.2.44']);
  // The connection is kept.
  assert.equal(connections, 1);
});

test('kube-dns leads to those that are alive', async () => {
  const clock = new VirtualClock();
  await using cluster = await createCluster({
    nodes: 0,
    clock,
    disable: ['dns', 'kube-proxy', 'cloud-controller-manager'],
  });
  const client = cluster.clientFor({
    name: 'system:serviceaccount:kube-system:coredns',
    groups: ['system:serviceaccounts', 'system:serviceaccounts:kube-system'],
  });
  // Its rights, which a cluster has that has a name server.
  for (const { path, object } of dnsAddons({ dnsServiceIP: '10.96.0.10', processes: true }))
    await cluster.client.raw('POST', path, { body: object });
  const shared = { client, logger: silentLogger, port: 10_053, metricsPort: 9153 };
  // The one stands still from its first word on.
  const dead = new Announcement({
    ...shared,
    clock: new VirtualClock(),
    identity: 'node-a-10053',
    address: '192.0.2.1',
  });
  const alive = new Announcement({ ...shared, clock, identity: 'node-b-10053', address: '192.0.2.2' });
  const addresses = async (): Promise<string[]> => {
    const { items } = await cluster.client.discovery.endpointslices.list({
      namespace: 'kube-system',
      labelSelector: 'kubernetes.io/service-name=kube-dns',
    });
    return items.flatMap((s) => s.endpoints?.flatMap((e) => e.addresses) ?? []).sort();
  };
  await dead.start();
  await alive.start();
  assert.deepEqual(await addresses(), ['192.0.2.1', '192.0.2.2']);
  await clock.advance(30_000);
  assert.deepEqual(await addresses(), ['192.0.2.1', '192.0.2.2']);
  await clock.advance(30_000);
  assert.deepEqual(await addresses(), ['192.0.2.2']);
  // What somebody takes away comes back.
  await client.discovery.endpointslices.delete('kube-dns-node-b-10053', 'kube-system');
  await clock.advance(10_000);
  assert.deepEqual(await addresses(), ['192.0.2.2']);
  await alive.stop();
  assert.deepEqual(await addresses(), []);
  assert.equal(
    (
      await client.coordination.leases.list({
        namespace: 'kube-system',
        labelSelector: 'app.kubernetes.io/managed-by=knarr-dns',
      })
    ).items.length,
    0,
  );
});
