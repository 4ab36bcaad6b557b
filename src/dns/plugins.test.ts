import assert from 'node:assert/strict';
import { Resolver } from 'node:dns/promises';
import type { Socket } from 'node:dgram';
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import type { Server } from 'node:net';
import { createServer } from 'node:net';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { test } from 'node:test';
import packet from 'dns-packet';
import type { Packet } from 'dns-packet';
import { ioNow } from '../base/io-time.ts';
import { edns, overTcp, overUdp, framed, question, show, showAll, smallCluster } from './testing.ts';

const bind = { bind: { address: '127.0.0.1', port: 0 } };

interface Far {
  readonly port: number;
  /** Names it was asked for, with the transport. */
  readonly asked: string[];
  /** What it answers; undefined: silence. */
  answer: (name: string, type: string, transport: 'udp' | 'tcp') => Partial<Packet> | undefined;
}

/** A socket and a server at one port: another program may have either of it. */
async function samePort(): Promise<{ udp: Socket; tcp: Server; port: number }> {
  for (let tries = 1; ; tries++) {
    const udp = createSocket('udp4');
    await new Promise<void>((resolve) => udp.bind(0, '127.0.0.1', resolve));
    const { port } = udp.address();
    const tcp = createServer();
    try {
      tcp.listen(port, '127.0.0.1');
      await once(tcp, 'listening');
      return { udp, tcp, port };
    } catch (error) {
      udp.close();
      if (tries === 20) throw error;
    }
  }
}

/** A name server outside of the cluster, which answers as it is told to. */
async function farServer(t: TestContext, answer: Far['answer']): Promise<Far> {
  const { udp, tcp, port } = await samePort();
  t.after(() => {
    udp.close();
    tcp.close();
  });
  const far: Far = { port, asked: [], answer };
  const reply = (message: Buffer, transport: 'udp' | 'tcp'): Buffer | undefined => {
    const p = packet.decode(message);
    const q = p.questions![0]!;
    far.asked.push(`${transport} ${q.type} ${q.name}`);
    const given = far.answer(q.name.toLowerCase(), q.type, transport);
    if (given === undefined) return undefined;
    return packet.encode({ type: 'response', id: p.id!, questions: p.questions!, flags: 0x0180, ...given });
  };
  udp.on('message', (message, from) => {
    const bytes = reply(message, 'udp');
    if (bytes !== undefined) udp.send(bytes, from.port, from.address);
  });
  tcp.on('connection', (socket) => {
    let rest = Buffer.alloc(0);
    socket.on('error', () => {});
    socket.on('data', (d: Buffer) => {
      rest = Buffer.concat([rest, d]);
      while (rest.length >= 2 && rest.length >= 2 + rest.readUInt16BE(0)) {
        const bytes = reply(rest.subarray(2, 2 + rest.readUInt16BE(0)), 'tcp');
        rest = rest.subarray(2 + rest.readUInt16BE(0));
        if (bytes !== undefined) socket.write(framed(bytes));
      }
    });
  });
  return far;
}

const soa = {
  name: 'example',
  type: 'SOA',
  ttl: 60,
  data: { mname: 'ns.example', rname: 'root.example', serial: 1, refresh: 1, retry: 1, expire: 1, minimum: 60 },
};

function zoneOfExample(name: string, type: string): Partial<Packet> {
  if (name === 'www.example' && type === 'A') return { answers: [{ name, type: 'A', ttl: 300, data: '192.0.2.80' }] };
  if (name === 'alias.example') {
    const answers = [
      { name, type: 'CNAME', ttl: 300, data: 'www.example' },
      { name: 'www.example', type: 'A', ttl: 100, data: '192.0.2.80' },
    ];
    return { answers };
  }
  return { flags: 0x0183, authorities: [soa] };
}

test('names of others are passed on, kept, and given again until they end', async (t) => {
  const far = await farServer(t, zoneOfExample);
  const w = await smallCluster(
    t,
    bind,
    `. {
       kubernetes cluster.local
       prometheus
       forward . 127.0.0.1:${far.port}
       cache 30
       loadbalance
     }`,
  );
  await w.service('www', { type: 'ExternalName', externalName: 'www.example' });
  await w.clock.advance(0);
  const { port } = w.dns.address!;
  const ask = async (name: string, type = 'A') => packet.decode((await overUdp(port, question(name, type)))!);
  const first = await ask('WWW.example');
  assert.deepEqual(
    first.answers?.map((a) => [a.name, a.ttl, a.data]),
    [['WWW.example', 30, '192.0.2.80']],
  );
  assert.equal(first.id, 7);
  // Kept, and given with what is left of its time; from bytes at last.
  await w.clock.advance(10_000);
  for (let i = 0; i < 4; i++) assert.equal((await ask('www.Example')).answers?.[0]?.ttl, 20);
  await w.clock.advance(5000);
  assert.equal((await ask('www.example')).answers?.[0]?.ttl, 15);
  assert.deepEqual(far.asked, ['udp A WWW.example']);
  await w.clock.advance(15_000);
  assert.equal((await ask('www.example')).answers?.[0]?.ttl, 30);
  assert.equal(far.asked.length, 2);
  // So is that there is nothing.
  for (let i = 0; i < 4; i++) assert.equal((await ask('none.example')).rcode, 'NXDOMAIN');
  assert.equal(far.asked.length, 3);
  // An ExternalName leads outside.
  assert.deepEqual(
    (await ask('www.default.svc.cluster.local')).answers?.map((a) => [a.type, a.data]),
    [
      ['CNAME', 'www.example'],
      ['A', '192.0.2.80'],
    ],
  );
  // Over TCP by TCP.
  const [bytes] = await overTcp(port, [framed(question('alias.example', 'A'))], 1);
  assert.deepEqual(
    packet.decode(bytes!).answers?.map((a) => a.data),
    ['www.example', '192.0.2.80'],
  );
  assert.equal(far.asked.at(-1), 'tcp A alias.example');
});

test('who does not answer is passed over, what is cut comes whole, too many are refused', async (t) => {
  const good = await farServer(t, (name, type, transport) =>
    name === 'big.example' && transport === 'udp'
      ? { flags: 0x0380, answers: [] }
      : zoneOfExample(name === 'big.example' ? 'www.example' : name, type),
  );
  // Nobody listens there.
  const nobody = createSocket('udp4');
  await new Promise<void>((resolve) => nobody.bind(0, '127.0.0.1', resolve));
  const dead = nobody.address().port;
  await new Promise<void>((resolve) => nobody.close(() => resolve()));
  const w = await smallCluster(
    t,
    bind,
    `. {
       forward example 127.0.0.1:${dead} 127.0.0.1:${good.port} {
         policy sequential
         prefer_udp
         max_concurrent 3
         except secret.example
       }
       errors
     }`,
  );
  const { port } = w.dns.address!;
  const ask = async (name: string) => packet.decode((await overUdp(port, question(name, 'A')))!);
  assert.equal((await ask('www.example')).answers?.[0]?.data, '192.0.2.80');
  assert.equal((await ask('big.example')).rcode, 'NOERROR');
  assert.deepEqual(good.asked, ['udp A www.example', 'udp A big.example', 'tcp A big.example']);
  // Excepted, and not within: nobody is left who could answer.
  assert.equal((await ask('a.secret.example')).rcode, 'SERVFAIL');
  assert.equal((await ask('www.org')).rcode, 'SERVFAIL');
  good.answer = () => undefined;
  const waiting = [1, 2, 3].map(() => overUdp(port, question('slow.example', 'A'), { waitMs: 300 }));
  await new Promise((resolve) => setImmediate(resolve));
  await new Promise((resolve) => setImmediate(resolve));
  const refused = await ask('www.example');
  assert.equal(refused.rcode, 'REFUSED');
  assert.match(
    w.logged.find((r) => r.message.includes('maximum'))!.message,
    /plugin\/errors: 5 www\.example\. A: concurrent queries exceeded maximum 3/,
  );
  await Promise.all(waiting);
});

test('what an end cuts off is no error', async (t) => {
  const far = await farServer(t, zoneOfExample);
  const w = await smallCluster(t, bind, `. {\n forward . 127.0.0.1:${far.port}\n errors\n }`);
  const heard = new Promise<void>((resolve) => {
    far.answer = () => void resolve();
  });
  const asked = overUdp(w.dns.address!.port, question('www.example', 'A'), { waitMs: 300 });
  await heard;
  await w.dns.stop();
  await new Promise((resolve) => setImmediate(resolve));
  assert.deepEqual(
    w.logged.map((r) => r.message).filter((m) => m.startsWith('plugin/errors')),
    [],
  );
  await asked;
});

test('a loop is found out', async (t) => {
  const probe = createSocket('udp4');
  await new Promise<void>((resolve) => probe.bind(0, '127.0.0.1', resolve));
  const { port } = probe.address();
  await new Promise<void>((resolve) => probe.close(() => resolve()));
  const w = await smallCluster(
    t,
    { bind: { address: '127.0.0.1', port } },
    `. {\n kubernetes cluster.local\n loop\n forward . 127.0.0.1:${port}\n}`,
  );
  await overUdp(port, question('www.example', 'A'), { waitMs: 300 });
  for (let i = 0; i < 100 && !w.logged.some((r) => r.level === 'error'); i++)
    await new Promise((resolve) => setImmediate(resolve));
  assert.match(w.logged.find((r) => r.level === 'error')!.message, /plugin\/loop: Loop .* detected for zone "\."/);
  assert.equal(packet.decode((await overUdp(port, question('www.example', 'A')))!).rcode, 'SERVFAIL');
  assert.equal(packet.decode((await overUdp(port, question('web.default.svc.cluster.local', 'A')))!).rcode, 'NOERROR');
});

test('stale answers while upstream is silent, and prefetching', async (t) => {
  const far = await farServer(t, zoneOfExample);
  const w = await smallCluster(
    t,
    bind,
    `. {
       cache 60 {
         serve_stale 1h
         prefetch 2 1m 50%
         servfail 0s
       }
       forward . 127.0.0.1:${far.port} {
         read_timeout 50ms
         max_connect_attempts 1
       }
     }`,
  );
  const { port } = w.dns.address!;
  const ttl = async () => packet.decode((await overUdp(port, question('www.example', 'A')))!).answers?.[0]?.ttl;
  assert.equal(await ttl(), 60);
  await w.clock.advance(31_000);
  assert.deepEqual([await ttl(), await ttl()], [29, 29]);
  // The second look was one too many: it has been asked for again.
  await w.clock.advance(0);
  assert.equal(far.asked.length, 2);
  assert.equal(await ttl(), 60);
  far.answer = () => undefined;
  await w.clock.advance(120_000);
  assert.equal(await ttl(), 0);
  await w.clock.advance(0);
  far.answer = zoneOfExample;
  assert.equal(await ttl(), 0);
  await w.clock.advance(0);
  assert.equal(await ttl(), 60);
});

test('rewriting there and back', async (t) => {
  const w = await smallCluster(
    t,
    bind,
    `. {
       rewrite name exact shop.example web.default.svc.cluster.local
       rewrite stop {
         name regex (.*)\\.corp\\.example {1}.svc.cluster.local
         answer name (.*)\\.svc\\.cluster\\.local {1}.corp.example
       }
       rewrite name suffix .short.example .default.svc.cluster.local answer auto
       rewrite continue ttl exact one.default.svc.cluster.local 5-10
       rewrite name substring middle. web. answer auto
       rewrite type MX A
       rewrite rcode suffix gone.default.svc.cluster.local NXDOMAIN REFUSED
       kubernetes cluster.local {
         ttl 30
       }
     }`,
  );
  const ask = async (name: string, type: 'A' | 'SRV' | 'MX' | 'AAAA' = 'A') =>
    showAll((await w.dns.query(name, type)).answers);
  assert.deepEqual(await ask('shop.example'), ['shop.example 30 A 10.96.0.11']);
  assert.deepEqual(await ask('web.default.corp.example'), ['web.default.corp.example 30 A 10.96.0.11']);
  assert.deepEqual(await ask('web.short.example'), ['web.short.example 30 A 10.96.0.11']);
  assert.deepEqual(await ask('_http._tcp.one.short.example', 'SRV'), [
    '_http._tcp.one.short.example 30 SRV 0 100 80 one.short.example',
  ]);
  assert.deepEqual(await ask('one.default.svc.cluster.local'), ['one.default.svc.cluster.local 10 A 10.96.0.12']);
  assert.deepEqual(await ask('middle.default.svc.cluster.local'), ['middle.default.svc.cluster.local 30 A 10.96.0.11']);
  assert.deepEqual(await ask('portless.default.svc.cluster.local', 'MX'), [
    'portless.default.svc.cluster.local 30 A 10.96.0.13',
  ]);
  assert.equal(show(await w.dns.query('gone.default.svc.cluster.local', 'A')), 'REFUSED !soa');
  // Over the wire the question stays what it was, also when it comes again.
  for (let i = 0; i < 4; i++) {
    const p = packet.decode((await overUdp(w.dns.address!.port, question('Shop.example', 'A')))!);
    assert.deepEqual(
      [p.questions?.[0]?.name, p.answers?.[0]?.name],
      ['Shop.example', 'shop.example'].map(() => 'Shop.example'),
    );
  }
});

test('hosts, templates, local names and short answers', async (t) => {
  const dir = mkdtempSync(join(tmpdir(), 'knarr-dns-'));
  t.after(() => rmSync(dir, { recursive: true, force: true }));
  const file = join(dir, 'hosts');
  writeFileSync(file, '192.0.2.1 a.example\n2001:db8::1 a.example # both\n192.0.2.2 *.wild.example\n');
  const w = await smallCluster(
    t,
    bind,
    `. {
       local
       any
       template IN A ip.example {
         match ^ip-(?P<a>[0-9]+)-(?P<b>[0-9]+)-([0-9]+)-([0-9]+)[.]ip[.]example[.]$
         answer "{{ .Name }} 60 IN A {{ .Group.a }}.{{ .Group.b }}.{{ index .Match 3 }}.{{ index .Match 4 }}"
         fallthrough
       }
       template ANY ANY invalid {
         rcode NXDOMAIN
         authority "invalid. 60 {{ .Class }} SOA ns.invalid. hostmaster.invalid. (1 60 60 60 60)"
       }
       hosts ${file} example in-addr.arpa {
         192.0.2.3 inline.example
         ttl 60
         reload 1s
         fallthrough in-addr.arpa
       }
       kubernetes cluster.local in-addr.arpa
     }`,
  );
  const ask = async (name: string, type: Parameters<typeof w.dns.query>[1] = 'A') =>
    show(await w.dns.query(name, type));
  assert.equal(await ask('a.example'), 'NOERROR A 192.0.2.1');
  assert.equal(await ask('a.example', 'AAAA'), 'NOERROR AAAA 2001:db8::1');
  assert.equal(await ask('x.wild.example'), 'NOERROR A 192.0.2.2');
  assert.equal(await ask('inline.example'), 'NOERROR A 192.0.2.3');
  assert.equal(await ask('inline.example', 'AAAA'), 'NOERROR');
  assert.equal(await ask('1.2.0.192.in-addr.arpa', 'PTR'), 'NOERROR PTR a.example');
  assert.equal(await ask('12.0.96.10.in-addr.arpa', 'PTR'), 'NOERROR PTR one.default.svc.cluster.local');
  assert.equal(await ask('none.example'), 'SERVFAIL');
  assert.equal(await ask('ip-10-1-2-3.ip.example'), 'NOERROR A 10.1.2.3');
  assert.equal(await ask('www.invalid'), 'NXDOMAIN !soa');
  assert.equal(await ask('localhost'), 'NOERROR A 127.0.0.1');
  assert.equal(await ask('a.example', 'ANY'), 'NOERROR HINFO ANY obsoleted See RFC 8482');
  // The file is looked at again; what came from bytes is made anew.
  const { port } = w.dns.address!;
  const resolver = new Resolver();
  resolver.setServers([`127.0.0.1:${port}`]);
  for (let i = 0; i < 4; i++) assert.deepEqual(await resolver.resolve4('a.example'), ['192.0.2.1']);
  writeFileSync(file, '192.0.2.100 a.example\n');
  await w.clock.advance(1000);
  let found = await resolver.resolve4('a.example');
  for (const until = ioNow() + 20_000; found[0] !== '192.0.2.100' && ioNow() < until;) {
    await new Promise((resolve) => setImmediate(resolve));
    found = await resolver.resolve4('a.example');
  }
  assert.deepEqual(found, ['192.0.2.100']);
});

test('autopath: one round trip for the whole search path', async (t) => {
  const far = await farServer(t, zoneOfExample);
  const w = await smallCluster(
    t,
    bind,
    `. {
       autopath @kubernetes
       kubernetes cluster.local {
         pods verified
       }
       forward . 127.0.0.1:${far.port}
     }`,
  );
  // The client of this test is a pod.
  await w.pod('client', '127.0.0.1');
  await w.clock.advance(0);
  const { port } = w.dns.address!;
  const ask = async (name: string) =>
    packet
      .decode((await overUdp(port, question(name, 'A', edns(1232))))!)
      .answers?.map((a) => `${a.name} ${a.type} ${String(a.data)}`);
  assert.deepEqual(await ask('web.default.svc.cluster.local'), ['web.default.svc.cluster.local A 10.96.0.11']);
  assert.deepEqual(await ask('kube-dns.kube-system.default.svc.cluster.local'), [
    'kube-dns.kube-system.default.svc.cluster.local CNAME kube-dns.kube-system.svc.cluster.local',
    'kube-dns.kube-system.svc.cluster.local A 10.96.0.10',
  ]);
  assert.deepEqual(await ask('www.example.default.svc.cluster.local'), [
    'www.example.default.svc.cluster.local CNAME www.example',
    'www.example A 192.0.2.80',
  ]);
});

test('stub domains, logs, health, readiness and metrics', async (t) => {
  const far = await farServer(t, zoneOfExample);
  const w = await smallCluster(
    t,
    { ...bind, http: { health: { host: '127.0.0.1', port: 0 }, ready: { host: '127.0.0.1', port: 0 } } },
    `. {
       log . "{proto} {name} {type} {rcode} {>rflags} {>id} {>do} {>bufsize}" {
         class denial
       }
       errors
       health
       ready
       prometheus 127.0.0.1:0
       kubernetes cluster.local
     }
     example 10.0.0.0/8 {
       prometheus 127.0.0.1:0
       forward . 127.0.0.1:${far.port}
     }`,
  );
  const { port } = w.dns.address!;
  const ask = async (name: string, type = 'A') =>
    packet.decode((await overUdp(port, question(name, type, edns(1232))))!);
  assert.equal((await ask('www.example')).answers?.[0]?.data, '192.0.2.80');
  assert.equal((await ask('1.2.3.10.in-addr.arpa', 'PTR')).rcode, 'NXDOMAIN');
  assert.deepEqual(far.asked, ['udp A www.example', 'udp PTR 1.2.3.10.in-addr.arpa']);
  for (let i = 0; i < 4; i++) {
    await ask('web.default.svc.cluster.local');
    await ask('nope.default.svc.cluster.local');
  }
  const lines = w.logged.map((r) => r.message).filter((m) => m.startsWith('udp'));
  assert.deepEqual(
    lines,
    Array.from({ length: 4 }, () => 'udp nope.default.svc.cluster.local. A NXDOMAIN qr,aa,rd 7 false 1232'),
  );
  assert.equal((await ask('nobody')).rcode, 'SERVFAIL');
  assert.match(w.logged.at(-1)!.message, /^plugin\/errors: 2 nobody\. A: plugin\/kubernetes: no next plugin found$/);

  const get = async (role: 'health' | 'ready' | 'metrics', path: string) => {
    const at = w.dns.httpAddress(role)!;
    const answer = await fetch(`http://${at.address}:${at.port}${path}`);
    return { status: answer.status, text: await answer.text() };
  };
  assert.deepEqual(await get('health', '/health'), { status: 200, text: 'OK' });
  assert.deepEqual(await get('ready', '/ready'), { status: 200, text: 'OK' });
  const { text } = await get('metrics', '/metrics');
  for (const line of [
    'coredns_dns_requests_total{server="dns://:53",zone=".",view="",proto="udp",family="1",type="A"} 9',
    'coredns_dns_responses_total{server="dns://:53",zone=".",view="",rcode="NXDOMAIN",plugin="kubernetes"} 4',
    'coredns_dns_responses_total{server="dns://:53",zone="example.",view="",rcode="NOERROR",plugin="forward"} 1',
    'coredns_dns_request_duration_seconds_count{server="dns://:53",zone=".",view=""} 9',
    `coredns_forward_requests_total{to="127.0.0.1:${far.port}"} 2`,
    'coredns_plugin_enabled{server="dns://:53",zone=".",view="",name="kubernetes"} 1',
  ])
    assert.ok(
      text.includes(`${line}\n`),
      `${line} is missing in\n${text
        .split('\n')
        .filter((l) => l.startsWith(line.split('{')[0]!))
        .join('\n')}`,
    );
});
