/** TLS over the wire: certificates by name, versions and suites, and certificates and authorities that change while it serves. */
import assert from 'node:assert/strict';
import { connect as connectHttp2 } from 'node:http2';
import { join } from 'node:path';
import * as tls from 'node:tls';
import { after, before, test } from 'node:test';
import { SystemRandom } from '../../src/base/random.ts';
import { defaultValidity, ensurePki } from '../../src/cluster/pki.ts';
import type { PkiFiles } from '../../src/cluster/pki.ts';
import { createWorkspace, startApiServer, startStore } from '../support/api-server.ts';
import type { TestStore, Workspace } from '../support/api-server.ts';

let work: Workspace;
let etcd: TestStore;
let other: PkiFiles;

before(async () => {
  work = await createWorkspace();
  etcd = await startStore();
  other = await ensurePki({
    now: Date.now(),
    random: new SystemRandom(),
    validity: defaultValidity,
    requests: [
      { name: 'one', ca: 'ca', commonName: 'one.example.com', usages: ['server'], dnsNames: ['one.example.com'] },
      { name: 'wild', ca: 'ca', commonName: 'wild', usages: ['server'], dnsNames: ['ignored.example.com'] },
      {
        name: 'next',
        ca: 'ca',
        commonName: 'next',
        usages: ['server'],
        dnsNames: ['localhost'],
        addresses: ['127.0.0.1'],
      },
      { name: 'stranger', ca: 'ca', commonName: 'stranger', organizations: ['system:masters'], usages: ['client'] },
    ],
  });
  for (const [name, text] of other) work.write(join('other', name), text);
});

after(async () => {
  await etcd[Symbol.asyncDispose]();
  work.dispose();
});

/** The common name shown to who asks for `servername`. */
function shown(port: number, options: tls.ConnectionOptions = {}): Promise<{ name: string; protocol: string | null }> {
  return new Promise((resolve, reject) => {
    const socket = tls.connect({ host: '127.0.0.1', port, rejectUnauthorized: false, ...options }, () => {
      const name = String(socket.getPeerCertificate().subject.CN);
      resolve({ name, protocol: socket.getProtocol() });
      socket.destroy();
    });
    socket.on('error', reject);
  });
}

async function until(look: () => boolean | Promise<boolean>): Promise<void> {
  for (let i = 0; i < 300; i++) {
    if (await look()) return;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  throw new Error('waited in vain');
}

test('the certificate is that of the name asked for', async () => {
  const pair = (name: string): string => `${work.path(`other/${name}.crt`)},${work.path(`other/${name}.key`)}`;
  await using server = await startApiServer(work, etcd, [
    `--tls-sni-cert-key=${pair('one')}`,
    `--tls-sni-cert-key=${pair('wild')}:*.wild.example.com,exact.example.com`,
  ]);
  const name = async (servername: string): Promise<string> => (await shown(server.port, { servername })).name;
  assert.equal(await name('one.example.com'), 'one.example.com');
  assert.equal(await name('ONE.example.com'), 'one.example.com');
  assert.equal(await name('a.wild.example.com'), 'wild');
  assert.equal(await name('a.b.wild.example.com'), 'kube-apiserver');
  assert.equal(await name('exact.example.com'), 'wild');
  assert.equal(await name('ignored.example.com'), 'kube-apiserver');
  assert.equal((await shown(server.port)).name, 'kube-apiserver');
  // Who asks for a name shows a certificate all the same.
  const session = connectHttp2(`https://127.0.0.1:${server.port}`, {
    servername: 'one.example.com',
    ca: other.get('ca.crt')!,
    cert: work.pki.get('admin.crt')!,
    key: work.pki.get('admin.key')!,
  });
  const stream = session.request({ ':path': '/api/v1/namespaces' });
  const headers = await new Promise<Record<string, unknown>>((resolve) => stream.on('response', resolve));
  assert.equal(headers[':status'], 200);
  session.destroy();
});

test('versions, suites, HTTP/1.1 alone; what is unknown is refused at the start', async () => {
  await using modern = await startApiServer(work, etcd, ['--tls-min-version=VersionTLS13']);
  assert.equal((await shown(modern.port)).protocol, 'TLSv1.3');
  await assert.rejects(shown(modern.port, { maxVersion: 'TLSv1.2' }));
  await modern.stop();

  const suite = 'ECDHE-ECDSA-AES256-GCM-SHA384';
  await using chosen = await startApiServer(work, etcd, [
    '--tls-cipher-suites=TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384',
    '--disable-http2-serving',
  ]);
  assert.equal((await shown(chosen.port, { maxVersion: 'TLSv1.2', ciphers: suite })).protocol, 'TLSv1.2');
  await assert.rejects(shown(chosen.port, { maxVersion: 'TLSv1.2', ciphers: 'ECDHE-ECDSA-AES128-GCM-SHA256' }));
  assert.equal((await shown(chosen.port)).protocol, 'TLSv1.3');
  const socket = tls.connect({
    host: '127.0.0.1',
    port: chosen.port,
    ALPNProtocols: ['h2', 'http/1.1'],
    rejectUnauthorized: false,
  });
  await new Promise((resolve) => socket.once('secureConnect', resolve));
  assert.equal(socket.alpnProtocol, 'http/1.1');
  socket.destroy();

  for (const [flag, why] of [
    ['--tls-min-version=VersionTLS14', /unknown tls version "VersionTLS14"/],
    ['--tls-cipher-suites=TLS_ROT13', /Cipher suite TLS_ROT13 not supported or doesn't exist/],
    ['--tls-sni-cert-key=one.crt', /expected comma separated certificate and key file paths/],
    ['--goaway-chance=0.5', /--goaway-chance can not be less than 0 or greater than 0.02/],
  ] as const)
    await assert.rejects(startApiServer(work, etcd, [flag]), why);
});

test('a new serving certificate and other client authorities, without a restart', async () => {
  const copy = (to: string, text: string): string => work.write(join('live', to), text);
  const ca = work.pki.get('ca.crt')!;
  const clientCa = copy('ca.crt', ca);
  const flags = [
    `--tls-cert-file=${copy('s.crt', work.pki.get('apiserver.crt')!)}`,
    `--tls-private-key-file=${copy('s.key', work.pki.get('apiserver.key')!)}`,
    `--client-ca-file=${clientCa}`,
  ];
  await using server = await startApiServer(work, etcd, flags);
  const { api } = server;
  assert.equal((await api.get('/api/v1/namespaces')).status, 200);
  work.pki.set('stranger.crt', other.get('stranger.crt')!);
  work.pki.set('stranger.key', other.get('stranger.key')!);
  const stranger = server.as('stranger');
  assert.equal((await stranger.get('/api/v1/namespaces')).status, 401);

  // Both authorities.
  copy('ca.crt', `${ca}${other.get('ca.crt')!}`);
  await until(async () => (await server.as('stranger').get('/api/v1/namespaces')).status === 200);
  assert.equal((await api.get('/api/v1/namespaces')).status, 200);
  await until(async () => {
    const path = '/api/v1/namespaces/kube-system/configmaps/extension-apiserver-authentication';
    return (await api.get(path)).body.data['client-ca-file'] === `${ca}${other.get('ca.crt')!}`;
  });

  // The first one alone is believed no more, also on connections that stand.
  copy('ca.crt', other.get('ca.crt')!);
  await until(async () => (await api.get('/api/v1/namespaces')).status === 401);
  assert.equal((await server.as('stranger').get('/api/v1/namespaces')).status, 200);

  // A certificate whose key is not there yet is passed over.
  copy('s.crt', other.get('next.crt')!);
  await until(() => server.log.some((r) => r.message.startsWith('changed certificates cannot be used')));
  assert.equal((await shown(server.port)).name, 'kube-apiserver');
  copy('s.key', other.get('next.key')!);
  await until(async () => (await shown(server.port)).name === 'next');
});

test('goaway: a connection ends after a request, and its streams go on', async () => {
  await using server = await startApiServer(work, etcd, ['--goaway-chance=0.02']);
  const session = connectHttp2(server.url, {
    ca: work.pki.get('ca.crt')!,
    cert: work.pki.get('admin.crt')!,
    key: work.pki.get('admin.key')!,
  });
  let left = false;
  session.on('goaway', () => (left = true));
  const watch = session.request({ ':path': '/api/v1/namespaces?watch=1&timeoutSeconds=30' });
  await new Promise((resolve) => watch.once('response', resolve));
  let events = '';
  watch.on('data', (d: Buffer) => (events += d.toString()));
  let answered = 0;
  for (let i = 0; i < 2000 && !left && !session.closed; i++) {
    const stream = session.request({ ':path': '/version' });
    await new Promise<void>((resolve) => {
      stream.on('response', () => answered++);
      stream.on('close', resolve);
      stream.on('error', () => resolve());
      stream.resume();
    });
  }
  assert.equal(left, true);
  assert.ok(answered > 0);
  const made = await server.api.create('/api/v1/namespaces', { metadata: { name: 'after-goaway' } });
  assert.equal(made.status, 201);
  await until(() => events.includes('after-goaway'));
  session.destroy();
});
