import assert from 'node:assert/strict';
import { createSocket } from 'node:dgram';
import { Resolver } from 'node:dns/promises';
import { connect } from 'node:net';
import { test } from 'node:test';
import packet from 'dns-packet';
import { VirtualClock } from '../base/clock.ts';
import { silentLogger } from '../base/logger.ts';
import { SeededRandom } from '../base/random.ts';
import type { EndpointSlice, Namespace, Pod, Service } from '../api/types/index.gen.ts';
import { FakeApi } from '../client/fake-api.ts';
import { createClient } from '../client/typed-client.ts';
import type { DnsAnswer, RecordType } from './answer.ts';
import type { DnsOptions } from './dns.ts';
import { createDns } from './dns.ts';

async function world(options: Partial<DnsOptions> = {}) {
  const clock = new VirtualClock();
  const random = new SeededRandom(1);
  const client = createClient(new FakeApi(clock, random));
  for (const name of ['default', 'kube-system'])
    await client.core.namespaces.create({ metadata: { name } } as Namespace);
  const service = (name: string, spec: object, namespace = 'default') =>
    client.core.services.create({ metadata: { name, namespace }, spec } as Service);
  const slice = (name: string, endpoints: object[], ports: object[], addressType = 'IPv4', suffix = '1') =>
    client.discovery.endpointslices.create({
      metadata: {
        name: `${name}-${suffix}`,
        namespace: 'default',
        labels: { 'kubernetes.io/service-name': name },
      },
      addressType,
      ports,
      endpoints,
    } as unknown as EndpointSlice);
  const http = [{ name: 'http', port: 80, protocol: 'TCP' }];
  await service('kube-dns', { clusterIP: '10.96.0.10', clusterIPs: ['10.96.0.10'], ports: [] }, 'kube-system');
  await service('web', {
    clusterIP: '10.96.0.11',
    clusterIPs: ['10.96.0.11', 'fd00::b'],
    ports: [...http, { name: 'dns', port: 53, protocol: 'UDP' }],
  });
  await slice('web', [{ addresses: ['10.244.0.9'] }], http);
  await service('db', { clusterIP: 'None', clusterIPs: ['None'], ports: http });
  await slice(
    'db',
    [
      { addresses: ['10.244.0.2'], hostname: 'db-0' },
      { addresses: ['10.244.0.3'] },
      { addresses: ['10.244.0.4'], conditions: { ready: false } },
    ],
    [{ name: 'http', port: 8080, protocol: 'TCP' }],
  );
  await service('empty', { clusterIP: 'None', clusterIPs: ['None'] });
  await service('out', { type: 'ExternalName', externalName: 'example.com' });
  await service('alias', { type: 'ExternalName', externalName: 'web.default.svc.cluster.local.' });
  const dns = createDns({ client, clock, random, logger: silentLogger, ...options });
  const started = dns.start();
  await clock.advance(0);
  await started;
  return { clock, client, dns, service, slice };
}

function show(a: DnsAnswer): string {
  const one = (r: DnsAnswer['answers'][number]): string => {
    const d = r.data;
    if (typeof d === 'string') return `${r.type} ${d}`;
    return 'target' in d ? `SRV ${d.priority} ${d.weight} ${d.port} ${d.target}` : 'SOA';
  };
  return `${a.rcode} ${a.answers.map(one).sort().join('; ')}${a.authority.length > 0 ? ' !soa' : ''}`.trim();
}

test('names of the specification', async () => {
  const w = await world();
  const zone = 'cluster.local';
  const cases: [string, RecordType, string][] = [
    [`web.default.svc.${zone}`, 'A', 'NOERROR A 10.96.0.11'],
    [`WEB.Default.svc.${zone}.`, 'AAAA', 'NOERROR AAAA fd00::b'],
    [`web.default.svc.${zone}`, 'TXT', 'NOERROR  !soa'],
    [`nope.default.svc.${zone}`, 'A', 'NXDOMAIN  !soa'],
    [`web.nope.svc.${zone}`, 'A', 'NXDOMAIN  !soa'],
    [`default.svc.${zone}`, 'A', 'NOERROR  !soa'],
    [`svc.${zone}`, 'A', 'NOERROR  !soa'],
    [`_http._tcp.web.default.svc.${zone}`, 'SRV', `NOERROR SRV 0 100 80 web.default.svc.${zone}`],
    [`_dns._udp.web.default.svc.${zone}`, 'SRV', `NOERROR SRV 0 100 53 web.default.svc.${zone}`],
    [`_http._udp.web.default.svc.${zone}`, 'SRV', 'NXDOMAIN  !soa'],
    [`_tcp.web.default.svc.${zone}`, 'SRV', 'NOERROR  !soa'],
    [`db.default.svc.${zone}`, 'A', 'NOERROR A 10.244.0.2; A 10.244.0.3'],
    [`db-0.db.default.svc.${zone}`, 'A', 'NOERROR A 10.244.0.2'],
    [`10-244-0-3.db.default.svc.${zone}`, 'A', 'NOERROR A 10.244.0.3'],
    [`db-9.db.default.svc.${zone}`, 'A', 'NXDOMAIN  !soa'],
    [
      `_http._tcp.db.default.svc.${zone}`,
      'SRV',
      `NOERROR SRV 0 50 8080 10-244-0-3.db.default.svc.${zone}; SRV 0 50 8080 db-0.db.default.svc.${zone}`,
    ],
    [`empty.default.svc.${zone}`, 'A', 'NXDOMAIN  !soa'],
    [`out.default.svc.${zone}`, 'A', 'NOERROR CNAME example.com'],
    [`alias.default.svc.${zone}`, 'A', `NOERROR A 10.96.0.11; CNAME web.default.svc.${zone}`],
    [`10-244-7-7.default.pod.${zone}`, 'A', 'NOERROR A 10.244.7.7'],
    [`10-244-7-7.nope.pod.${zone}`, 'A', 'NXDOMAIN  !soa'],
    [`not-an-ip.default.pod.${zone}`, 'A', 'NXDOMAIN  !soa'],
    [`dns-version.${zone}`, 'TXT', 'NOERROR TXT 1.1.0'],
    [zone, 'SOA', 'NOERROR SOA'],
    [zone, 'NS', `NOERROR NS ns.dns.${zone}`],
    [`ns.dns.${zone}`, 'A', 'NOERROR A 10.96.0.10'],
    ['11.0.96.10.in-addr.arpa', 'PTR', `NOERROR PTR web.default.svc.${zone}`],
    ['2.0.244.10.in-addr.arpa', 'PTR', `NOERROR PTR db-0.db.default.svc.${zone}`],
    ['9.0.244.10.in-addr.arpa', 'PTR', `NOERROR PTR 10-244-0-9.web.default.svc.${zone}`],
    ['9.9.9.10.in-addr.arpa', 'PTR', 'REFUSED'],
    ['example.com', 'A', 'REFUSED'],
  ];
  for (const [name, type, want] of cases) assert.equal(show(w.dns.query(name, type)), want, `${type} ${name}`);
  const reverse6 = `b.${'0.'.repeat(27)}0.0.d.f.ip6.arpa`;
  assert.equal(show(w.dns.query(reverse6, 'PTR')), `NOERROR PTR web.default.svc.${zone}`);
  assert.deepEqual(
    w.dns.query(`_http._tcp.web.default.svc.${zone}`, 'SRV').additional.map((r) => r.data),
    ['10.96.0.11', 'fd00::b'],
  );

  assert.deepEqual(await w.dns.lookup('web', 'default'), ['10.96.0.11', 'fd00::b']);
  assert.deepEqual(await w.dns.lookup('web.default', 'kube-system'), ['10.96.0.11', 'fd00::b']);
  assert.deepEqual(await w.dns.lookup('web', 'kube-system'), []);
  assert.deepEqual(await w.dns.lookup('192.0.2.1', 'default'), ['192.0.2.1']);

  // Changes are seen; data that ends is gone.
  await w.client.core.services.delete('web', 'default');
  await w.client.discovery.endpointslices.patch('db-1', 'default', 'merge', { endpoints: [] });
  await w.clock.advance(0);
  assert.equal(show(w.dns.query(`web.default.svc.${zone}`, 'A')), 'NXDOMAIN  !soa');
  assert.equal(show(w.dns.query(`db.default.svc.${zone}`, 'A')), 'NXDOMAIN  !soa');
  await w.dns.stop();
  assert.equal(w.clock.pending, 0);
});

test('verified pods are those that there are', async () => {
  const w = await world({ pods: 'verified' });
  await w.client.core.pods.create({ metadata: { name: 'p', namespace: 'default' } } as Pod);
  const pod = await w.client.core.pods.get('p', 'default');
  await w.client.core.pods.updateStatus({ ...pod, status: { podIPs: [{ ip: '10.244.0.9' }] } });
  await w.clock.advance(0);
  assert.equal(show(w.dns.query('10-244-0-9.default.pod.cluster.local', 'A')), 'NOERROR A 10.244.0.9');
  assert.equal(show(w.dns.query('10-244-0-8.default.pod.cluster.local', 'A')), 'NXDOMAIN  !soa');
  assert.equal(show(w.dns.query('10-244-0-9.kube-system.pod.cluster.local', 'A')), 'NXDOMAIN  !soa');
  await w.dns.stop();
});

function udp(port: number, message: Buffer): Promise<Buffer> {
  const socket = createSocket('udp4');
  return new Promise<Buffer>((resolve) => {
    socket.on('message', resolve);
    socket.send(message, port, '127.0.0.1');
  }).finally(() => socket.close());
}

test('over UDP and TCP, with EDNS and truncation', async () => {
  const w = await world({ bind: { address: '127.0.0.1', port: 0 } });
  const { port } = w.dns.address!;
  const resolver = new Resolver();
  resolver.setServers([`127.0.0.1:${port}`]);
  assert.deepEqual(await resolver.resolve4('web.default.svc.cluster.local'), ['10.96.0.11']);
  assert.deepEqual(await resolver.resolve6('web.default.svc.cluster.local'), ['fd00::b']);
  assert.deepEqual(await resolver.resolveSrv('_http._tcp.web.default.svc.cluster.local'), [
    { name: 'web.default.svc.cluster.local', port: 80, priority: 0, type: 'SRV', weight: 100 },
  ]);
  assert.deepEqual(await resolver.reverse('10.96.0.11'), ['web.default.svc.cluster.local']);
  await assert.rejects(resolver.resolve4('nope.default.svc.cluster.local'), { code: 'ENOTFOUND' });
  await assert.rejects(resolver.resolveMx('web.default.svc.cluster.local'), { code: 'ENODATA' });
  await assert.rejects(resolver.resolve4('example.com'), { code: 'EREFUSED' });

  const many = Array.from({ length: 60 }, (_, i) => ({ addresses: [`10.244.3.${i + 1}`] }));
  await w.service('many', { clusterIP: 'None', clusterIPs: ['None'] });
  await w.slice('many', many, [{ name: 'http', port: 80, protocol: 'TCP' }]);
  await w.clock.advance(0);
  const ask = (additionals: object[]) =>
    packet.encode({
      type: 'query',
      id: 7,
      flags: packet.RECURSION_DESIRED,
      questions: [{ name: 'Many.default.svc.cluster.local', type: 'A' }],
      additionals: additionals as never,
    });
  const plain = packet.decode(await udp(port, ask([])));
  assert.deepEqual([plain.id, plain.flag_tc, plain.answers?.length], [7, true, 0]);
  const edns = packet.decode(await udp(port, ask([{ type: 'OPT', name: '.', udpPayloadSize: 4096 }])));
  assert.deepEqual([edns.flag_tc, edns.additionals?.[0]?.udpPayloadSize], [true, 1232]);
  const bad = packet.decode(await udp(port, ask([{ type: 'OPT', name: '.', udpPayloadSize: 4096, ednsVersion: 1 }])));
  assert.equal(bad.additionals?.[0]?.extendedRcode, 1);
  // Clients that are told so come again over TCP.
  assert.equal((await resolver.resolve4('many.default.svc.cluster.local')).length, 60);

  const garbage = packet.decode(await udp(port, Buffer.concat([Buffer.from([0, 9, 1, 0, 0, 5]), Buffer.alloc(6)])));
  assert.deepEqual([garbage.id, garbage.rcode], [9, 'FORMERR']);
  const socket = connect(port, '127.0.0.1');
  const one = ask([]);
  const head = Buffer.alloc(2);
  head.writeUInt16BE(one.length);
  socket.write(Buffer.concat([head, one, head.subarray(0, 1)]));
  const answer = await new Promise<Buffer>((resolve) => {
    let all = Buffer.alloc(0);
    socket.on('data', (d: Buffer) => {
      all = Buffer.concat([all, d]);
      if (all.length >= 2 && all.length >= 2 + all.readUInt16BE(0)) resolve(all.subarray(2));
    });
  });
  socket.destroy();
  const decoded = packet.decode(answer);
  assert.equal(decoded.answers?.length, 60);
  // The name as it was asked, case and all.
  assert.equal(decoded.answers?.[0]?.name, 'Many.default.svc.cluster.local');
  await w.dns.stop();
});

test('other names are passed on', async () => {
  const far = await world({ clusterDomain: 'example.com', bind: { address: '127.0.0.1', port: 0 } });
  const near = await world({
    bind: { address: '127.0.0.1', port: 0 },
    upstreams: [`127.0.0.1:${far.dns.address!.port}`],
  });
  await near.service('far', { type: 'ExternalName', externalName: 'web.default.svc.example.com' });
  await near.clock.advance(0);
  const resolver = new Resolver();
  resolver.setServers([`127.0.0.1:${near.dns.address!.port}`]);
  assert.deepEqual(await resolver.resolve4('web.default.svc.example.com'), ['10.96.0.11']);
  assert.deepEqual(await resolver.resolve4('far.default.svc.cluster.local'), ['10.96.0.11']);
  await far.dns.stop();
  await near.dns.stop();
});
