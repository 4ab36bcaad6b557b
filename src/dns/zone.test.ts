import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { TypeName } from './message.ts';
import { show, showAll, smallCluster } from './testing.ts';

test('names as the specification and CoreDNS have them', async (t) => {
  const w = await smallCluster(t);
  const zone = 'cluster.local';
  const cases: [string, TypeName, string][] = [
    [`web.default.svc.${zone}`, 'A', 'NOERROR A 10.96.0.11'],
    [`WEB.Default.svc.${zone}.`, 'AAAA', 'NOERROR AAAA fd00::b'],
    [`one.default.svc.${zone}`, 'AAAA', 'NOERROR !soa'],
    [`web.default.svc.${zone}`, 'TXT', 'NOERROR !soa'],
    [`web.default.svc.${zone}`, 'ANY', 'NOERROR !soa'],
    [`web.default.svc.${zone}`, 'HTTPS', 'NOERROR !soa'],
    [`nope.default.svc.${zone}`, 'A', 'NXDOMAIN !soa'],
    [`nope.default.svc.${zone}`, 'ANY', 'NXDOMAIN !soa'],
    [`web.nope.svc.${zone}`, 'A', 'NXDOMAIN !soa'],
    [`default.svc.${zone}`, 'A', 'NOERROR !soa'],
    [`svc.${zone}`, 'A', 'NOERROR !soa'],
    [`pod.${zone}`, 'A', 'NOERROR !soa'],
    [`dns.${zone}`, 'A', 'NXDOMAIN !soa'],
    [`foo.${zone}`, 'NS', 'NXDOMAIN !soa'],
    // No wildcards, whatever older versions had.
    [`*.default.svc.${zone}`, 'A', 'NXDOMAIN !soa'],
    [`web.*.svc.${zone}`, 'A', 'NXDOMAIN !soa'],
    [`any.web.default.svc.${zone}`, 'A', 'NXDOMAIN !soa'],
    [`_http._tcp.web.default.svc.${zone}`, 'SRV', `NOERROR SRV 0 50 80 web.default.svc.${zone}`],
    [`_http._tcp.one.default.svc.${zone}`, 'SRV', `NOERROR SRV 0 100 80 one.default.svc.${zone}`],
    [`_HTTP._TCP.one.default.svc.${zone}`, 'SRV', `NOERROR SRV 0 100 80 one.default.svc.${zone}`],
    [`_dns._udp.web.default.svc.${zone}`, 'SRV', `NOERROR SRV 0 50 53 web.default.svc.${zone}`],
    [`_http._tcp.web.default.svc.${zone}`, 'A', 'NOERROR A 10.96.0.11'],
    [`_http._udp.web.default.svc.${zone}`, 'SRV', 'NXDOMAIN !soa'],
    [`_tcp.web.default.svc.${zone}`, 'SRV', 'NXDOMAIN !soa'],
    [`a._http._tcp.web.default.svc.${zone}`, 'SRV', 'NXDOMAIN !soa'],
    [`portless.default.svc.${zone}`, 'A', 'NOERROR A 10.96.0.13'],
    [`portless.default.svc.${zone}`, 'SRV', 'NOERROR !soa'],
    [`db.default.svc.${zone}`, 'A', 'NOERROR A 10.244.0.2; A 10.244.0.3'],
    [`db.default.svc.${zone}`, 'AAAA', 'NOERROR AAAA fd00::2'],
    [`db-0.db.default.svc.${zone}`, 'A', 'NOERROR A 10.244.0.2'],
    [`DB-0.db.default.svc.${zone}`, 'AAAA', 'NOERROR AAAA fd00::2'],
    [`10-244-0-3.db.default.svc.${zone}`, 'A', 'NOERROR A 10.244.0.3'],
    [`10-244-0-2.db.default.svc.${zone}`, 'A', 'NXDOMAIN !soa'],
    [`10-244-0-9.web.default.svc.${zone}`, 'A', 'NOERROR A 10.244.0.9'],
    [`db-9.db.default.svc.${zone}`, 'A', 'NXDOMAIN !soa'],
    [
      `_http._tcp.db.default.svc.${zone}`,
      'SRV',
      `NOERROR SRV 0 33 8080 10-244-0-3.db.default.svc.${zone}; SRV 0 33 8080 db-0.db.default.svc.${zone}`,
    ],
    [`empty.default.svc.${zone}`, 'A', 'NXDOMAIN !soa'],
    [`out.default.svc.${zone}`, 'A', 'NOERROR CNAME example.com'],
    [`out.default.svc.${zone}`, 'CNAME', 'NOERROR CNAME example.com'],
    [`out.default.svc.${zone}`, 'SRV', 'NOERROR !soa'],
    [`a.out.default.svc.${zone}`, 'A', 'NXDOMAIN !soa'],
    [`alias.default.svc.${zone}`, 'A', `NOERROR A 10.96.0.11; CNAME Web.default.svc.${zone}`],
    [`ring.default.svc.${zone}`, 'A', 'NOERROR !soa'],
    [`number.default.svc.${zone}`, 'A', 'NXDOMAIN !soa'],
    [`10-244-7-7.default.pod.${zone}`, 'A', 'NOERROR A 10.244.7.7'],
    [`fd00--7.default.pod.${zone}`, 'AAAA', 'NOERROR AAAA fd00::7'],
    [`10-244-7-7.default.pod.${zone}`, 'AAAA', 'NOERROR !soa'],
    [`10-244-7-7.nope.pod.${zone}`, 'A', 'NXDOMAIN !soa'],
    [`not-an-ip.default.pod.${zone}`, 'A', 'NXDOMAIN !soa'],
    [`default.pod.${zone}`, 'A', 'NOERROR !soa'],
    [`dns-version.${zone}`, 'TXT', 'NOERROR TXT 1.1.0'],
    [zone, 'A', 'NOERROR !soa'],
    [zone, 'NS', `NOERROR NS kube-dns.kube-system.svc.${zone}`],
    [`ns.dns.${zone}`, 'A', 'NOERROR A 10.96.0.10'],
    [zone, 'AXFR', 'REFUSED'],
    ['11.0.96.10.in-addr.arpa', 'PTR', `NOERROR PTR web.default.svc.${zone}`],
    ['11.0.96.10.in-addr.arpa', 'A', 'NOERROR !soa'],
    ['2.0.244.10.in-addr.arpa', 'PTR', `NOERROR PTR db-0.db.default.svc.${zone}`],
    ['9.0.244.10.in-addr.arpa', 'PTR', `NOERROR PTR 10-244-0-9.web.default.svc.${zone}`],
    [`b.${'0.'.repeat(27)}0.0.d.f.ip6.arpa`, 'PTR', `NOERROR PTR web.default.svc.${zone}`],
    // Other addresses and names are others' matter, who are not asked here.
    ['9.9.9.10.in-addr.arpa', 'PTR', 'REFUSED'],
    ['example.com', 'A', 'REFUSED'],
  ];
  for (const [name, type, want] of cases) assert.equal(show(await w.dns.query(name, type)), want, `${type} ${name}`);

  const srv = await w.dns.query(`_http._tcp.db.default.svc.${zone}`, 'SRV');
  assert.deepEqual(showAll(srv.additional).sort(), [
    `10-244-0-3.db.default.svc.${zone} 30 A 10.244.0.3`,
    `db-0.db.default.svc.${zone} 30 A 10.244.0.2`,
    `db-0.db.default.svc.${zone} 30 AAAA fd00::2`,
  ]);
  const soa = showAll((await w.dns.query(zone, 'SOA')).answers)[0];
  assert.equal(soa, `${zone} 30 SOA ns.dns.${zone} hostmaster.${zone} 1767225600 7200 1800 86400 30`);

  assert.deepEqual(await w.dns.lookup('web', 'default'), ['10.96.0.11', 'fd00::b']);
  assert.deepEqual(await w.dns.lookup('web.default', 'kube-system'), ['10.96.0.11', 'fd00::b']);
  assert.deepEqual(await w.dns.lookup('web', 'kube-system'), []);
  assert.deepEqual(await w.dns.lookup('192.0.2.1', 'default'), ['192.0.2.1']);

  // Changes are seen; data that ends is gone.
  await w.clock.advance(5000);
  await w.client.core.services.delete('web', 'default');
  await w.client.discovery.endpointslices.patch('db-1', 'default', 'merge', { endpoints: [] });
  await w.clock.advance(0);
  assert.equal(show(await w.dns.query(`web.default.svc.${zone}`, 'A')), 'NXDOMAIN !soa');
  assert.equal(show(await w.dns.query(`db.default.svc.${zone}`, 'A')), 'NOERROR !soa');
  assert.match(showAll((await w.dns.query(zone, 'SOA')).answers)[0]!, / 1767225605 /);
  await w.dns.stop();
  assert.equal(w.clock.pending, 0);
});

test('what a kubernetes stanza says', async (t) => {
  const w = await smallCluster(
    t,
    {},
    `. {
       kubernetes cluster.local 10.244.0.0/16 {
         pods verified
         endpoint_pod_names
         namespaces default
         ttl 7
       }
       ready
     }`,
  );
  await w.pod('p', '10.244.0.9');
  await w.clock.advance(0);
  const ask = async (name: string, type: TypeName) => show(await w.dns.query(name, type));
  assert.equal(await ask('10-244-0-9.default.pod.cluster.local', 'A'), 'NOERROR A 10.244.0.9');
  assert.equal(await ask('10-244-0-8.default.pod.cluster.local', 'A'), 'NXDOMAIN !soa');
  assert.equal(await ask('db-pod.db.default.svc.cluster.local', 'A'), 'NOERROR A 10.244.0.3');
  assert.equal(await ask('kube-dns.kube-system.svc.cluster.local', 'A'), 'NXDOMAIN !soa');
  assert.equal(await ask('3.0.244.10.in-addr.arpa', 'PTR'), 'NOERROR PTR db-pod.db.default.svc.cluster.local');
  assert.equal(await ask('9.9.244.10.in-addr.arpa', 'PTR'), 'NXDOMAIN !soa');
  assert.equal((await w.dns.query('web.default.svc.cluster.local', 'A')).answers[0]!.ttl, 7);
  await w.client.core.pods.delete('p', 'default');
  await w.clock.advance(0);
  assert.equal(await ask('10-244-0-9.default.pod.cluster.local', 'A'), 'NXDOMAIN !soa');
  await w.dns.stop();
});
