import assert from 'node:assert/strict';
import { Resolver } from 'node:dns/promises';
import { connect } from 'node:net';
import { test } from 'node:test';
import packet from 'dns-packet';
import { SeededRandom } from '../base/random.ts';
import type { SmallCluster } from './testing.ts';
import { edns, framed, overTcp, overUdp, question, smallCluster } from './testing.ts';

const local = { bind: { address: '127.0.0.1', port: 0 } };
/** Nobody outside to be asked. */
const alone = `. {
  kubernetes cluster.local in-addr.arpa ip6.arpa {
    fallthrough in-addr.arpa
    pods insecure
    ttl 30
  }
  prometheus
  loadbalance
}
`;

async function many(w: SmallCluster, count: number): Promise<void> {
  const endpoints = Array.from({ length: count }, (_, i) => ({ addresses: [`10.244.3.${i + 1}`] }));
  await w.service('many', { clusterIP: 'None', clusterIPs: ['None'] });
  await w.slice('many', endpoints, [{ name: 'http', port: 80, protocol: 'TCP' }]);
  await w.clock.advance(0);
}

const header = (flags: string, counts: string, rest = ''): Buffer => Buffer.from(`0009${flags}${counts}${rest}`, 'hex');
const asked = '03777777000001 0001'.replaceAll(' ', '');

test('packets of every kind are answered as CoreDNS answers them', async (t) => {
  const w = await smallCluster(t, local, alone);
  const { port } = w.dns.address!;
  const cases: [string, Buffer, string | undefined][] = [
    ['shorter than a header', Buffer.from('000901000001', 'hex'), undefined],
    ['an answer', header('8180', '0001000000000000', asked), undefined],
    ['nothing asked', header('0100', '0000000000000000'), '0009810100000000000000 00'],
    ['two questions', header('0100', '0002000000000000', asked + asked), '00098101000000000000 0000'],
    ['many additional records', header('0100', '0001000000000003', asked), '000981010000000000000000'],
    ['a question cut off', header('0100', '0001000000000000', '0377'), '000981010000000000000000'],
    ['a pointer to itself', header('0100', '0001000000000000', 'c00c00010001'), '000981010000000000000000'],
    ['a pointer forwards', header('0100', '0001000000000000', 'c01200010001000100'), '000981010000000000000000'],
    ['a label of an unknown kind', header('0100', '0001000000000000', '4161'), '000981010000000000000000'],
    ['an additional record cut off', header('0100', '0001000000000001', `${asked}000029`), '000981010000000000000000'],
    ['status', header('1100', '0001000000000000', asked), '000991040000000000000000'],
    ['update', header('2800', '0001000000000000', asked), '0009a8040000000000000000'],
    [
      'another class',
      header('0100', '0001000000000000', '0377777700 0001 0003'.replaceAll(' ', '')),
      `000981050001000000000000${'0377777700 0001 0003'.replaceAll(' ', '')}`,
    ],
    [
      'a name of nobody',
      header('0100', '0001000000000000', '0377777700 0001 0001'.replaceAll(' ', '')),
      `000981020001000000000000${'0377777700 0001 0001'.replaceAll(' ', '')}`,
    ],
  ];
  for (const [what, message, want] of cases) {
    const got = await overUdp(port, message, want === undefined ? { waitMs: 300 } : {});
    assert.equal(got?.toString('hex'), want?.replaceAll(' ', ''), what);
  }
  await w.dns.stop();
});

test('over UDP and TCP, with EDNS and truncation: made, and from bytes', async (t) => {
  const w = await smallCluster(t, local, alone);
  const { port } = w.dns.address!;
  const resolver = new Resolver();
  resolver.setServers([`127.0.0.1:${port}`]);
  await many(w, 60);
  for (let round = 0; round < 3; round++) {
    assert.deepEqual(await resolver.resolve4('web.default.svc.cluster.local'), ['10.96.0.11']);
    assert.deepEqual(await resolver.resolve6('web.default.svc.cluster.local'), ['fd00::b']);
    assert.deepEqual(await resolver.resolveSrv('_http._tcp.one.default.svc.cluster.local'), [
      { name: 'one.default.svc.cluster.local', port: 80, priority: 0, type: 'SRV', weight: 100 },
    ]);
    assert.deepEqual(await resolver.reverse('10.96.0.11'), ['web.default.svc.cluster.local']);
    await assert.rejects(resolver.resolve4('nope.default.svc.cluster.local'), { code: 'ENOTFOUND' });
    await assert.rejects(resolver.resolveMx('web.default.svc.cluster.local'), { code: 'ENODATA' });

    const ask = (more: object = {}) => question('Many.default.svc.Cluster.local', 'A', more);
    // As many as there is room for, and a mark.
    const bare = (await overUdp(port, ask()))!;
    const cut = packet.decode(bare);
    assert.deepEqual(
      [cut.id, cut.flag_tc, (bare[2]! & 4) !== 0, cut.answers?.length, bare.length <= 512],
      [7, true, true, 29, true],
    );
    assert.equal(new Set(cut.answers?.map((a) => a.data)).size, 29);
    assert.equal(cut.questions?.[0]?.name, 'Many.default.svc.Cluster.local');
    const roomy = packet.decode((await overUdp(port, ask(edns(1232))))!);
    assert.deepEqual([roomy.flag_tc, roomy.answers?.length, roomy.additionals?.[0]?.udpPayloadSize], [false, 60, 1232]);
    // A size that no client may name counts as 512; what it asked for is told as it was.
    const tiny = packet.decode((await overUdp(port, ask(edns(100))))!);
    assert.deepEqual([tiny.flag_tc, tiny.answers?.length], [true, 28]);
    const cookie = { code: 10, data: Buffer.from('0102030405060708', 'hex') };
    const dnssec = packet.decode(
      (await overUdp(port, ask(edns(1232, { flags: packet.DNSSEC_OK, options: [cookie] }))))!,
    );
    assert.equal(dnssec.additionals?.[0]?.flags, packet.DNSSEC_OK);
    assert.deepEqual(dnssec.additionals?.[0]?.options, []);
    const bad = packet.decode((await overUdp(port, ask(edns(4096, { ednsVersion: 1 }))))!);
    assert.deepEqual([bad.additionals?.[0]?.extendedRcode, bad.answers?.length], [1, 0]);

    // Clients that are told so come again over TCP.
    assert.equal((await resolver.resolve4('many.default.svc.cluster.local')).length, 60);
    // Several at once over one connection, in pieces that end anywhere.
    const three = Buffer.concat([framed(ask()), framed(question('one.default.svc.cluster.local', 'A')), framed(ask())]);
    const answers = await overTcp(port, [three.subarray(0, 1), three.subarray(1, 70), three.subarray(70)], 3);
    assert.deepEqual(
      answers.map((a) => packet.decode(a).answers?.length),
      [60, 1, 60],
    );
    // The name as it was asked, case and all.
    assert.equal(packet.decode(answers[0]!).answers?.[0]?.name, 'Many.default.svc.Cluster.local');
  }
  // In another order each time.
  const orders = new Set<string>();
  for (let i = 0; i < 8; i++)
    orders.add((await overUdp(port, question('many.default.svc.cluster.local', 'A', edns(1232))))!.toString('hex'));
  assert.ok(orders.size > 1);

  // A negative answer's serial number is the zone's own, also from bytes.
  const serial = async () => {
    const p = packet.decode((await overUdp(port, question('nope.default.svc.cluster.local', 'A')))!);
    return (p.authorities![0]!.data as { serial: number }).serial;
  };
  const before = await serial();
  await w.clock.advance(60_000);
  await w.service('later', { clusterIP: '10.96.0.99', clusterIPs: ['10.96.0.99'], ports: [] });
  await w.clock.advance(0);
  assert.equal(await serial(), before + 60);

  // What changes is never given from bytes.
  assert.deepEqual(await resolver.resolve4('one.default.svc.cluster.local'), ['10.96.0.12']);
  await w.client.core.services.delete('one', 'default');
  await w.clock.advance(0);
  await assert.rejects(resolver.resolve4('one.default.svc.cluster.local'), { code: 'ENOTFOUND' });
  await w.service('one', { clusterIP: '10.96.0.77', clusterIPs: ['10.96.0.77'], ports: [] });
  await w.clock.advance(0);
  assert.deepEqual(await resolver.resolve4('one.default.svc.cluster.local'), ['10.96.0.77']);
  await w.dns.stop();
});

test('IPv6 sockets; connections that send no end of a message are closed', async (t) => {
  const w = await smallCluster(t, { bind: { address: '::1', port: 0 } }, alone);
  const { port } = w.dns.address!;
  const got = await overUdp(port, question('web.default.svc.cluster.local', 'AAAA'), { address: '::1' });
  assert.equal(packet.decode(got!).answers?.[0]?.data, 'fd00::b');
  const socket = connect(port, '::1');
  socket.write(Buffer.from([0]));
  await new Promise((resolve) => socket.once('connect', resolve));
  // Broken off, from here.
  socket.on('error', () => {});
  const closed = new Promise((resolve) => socket.once('close', resolve));
  await w.dns.stop();
  await closed;
});

test('random packets neither crash nor hang it', async (t) => {
  const w = await smallCluster(t, local, alone);
  const { port } = w.dns.address!;
  const random = new SeededRandom(5);
  const seeds = [
    question('web.default.svc.cluster.local', 'A', edns(1232)),
    question('_http._tcp.db.default.svc.cluster.local', 'SRV'),
    question('2.0.244.10.in-addr.arpa', 'PTR'),
    framed(question('many.default.svc.cluster.local', 'A')),
  ];
  const noise = (): Buffer => {
    const kind = random.int(4);
    if (kind === 0) return random.bytes(random.int(600));
    const bytes = Buffer.from(seeds[random.int(seeds.length)]!);
    for (let i = random.int(6); i >= 0; i--) bytes[random.int(bytes.length)] = random.int(256);
    return kind === 1
      ? bytes.subarray(0, random.int(bytes.length + 1))
      : kind === 2
        ? Buffer.concat([bytes, random.bytes(random.int(40))])
        : bytes;
  };
  const { createSocket } = await import('node:dgram');
  const socket = createSocket('udp4');
  t.after(() => socket.close());
  socket.on('message', (m) => assert.ok(m.length >= 12));
  for (let i = 0; i < 4000; i++) {
    socket.send(noise(), port, '127.0.0.1');
    if (i % 50 === 0) await new Promise((resolve) => setImmediate(resolve));
  }
  for (let i = 0; i < 20; i++) {
    const stream = connect(port, '127.0.0.1');
    stream.on('error', () => {});
    stream.end(Buffer.concat(Array.from({ length: 20 }, noise)));
  }
  // Behind so much noise the kernel may drop a question: who asks by UDP asks again.
  let answer: Buffer | undefined;
  for (let tries = 0; answer === undefined && tries < 20; tries++)
    answer = await overUdp(port, question('web.default.svc.cluster.local', 'A'), { waitMs: 1000 });
  assert.ok(answer !== undefined, 'it answers no more');
  assert.equal(packet.decode(answer).answers?.[0]?.data, '10.96.0.11');
  assert.deepEqual(
    w.logged.filter((r) => r.level === 'error' || r.level === 'warn').map((r) => r.message),
    [],
  );
  await w.dns.stop();
});
