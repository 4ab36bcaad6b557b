/** `HttpTransport` against real sockets: HTTP/2 over TLS, HTTP/1.1, retries, watches in pieces, WebSockets, kubeconfigs. */
import 'reflect-metadata';
import assert from 'node:assert/strict';
import { webcrypto } from 'node:crypto';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import http from 'node:http';
import http2 from 'node:http2';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { WebSocketServer } from 'ws';
import { SystemClock } from '../base/clock.ts';
import { ioTimer } from '../base/io-time.ts';
import { generateSigningKey, privateKeyPem } from '../base/keys.ts';
import { SystemRandom } from '../base/random.ts';
import { HttpTransport } from './http-transport.ts';
import { inClusterConnection, loadKubeconfig } from './kubeconfig.ts';
import { createClient } from './typed-client.ts';

const random = new SystemRandom();

async function listen(server: Server | http2.Http2SecureServer): Promise<number> {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return (server.address() as AddressInfo).port;
}

async function certificate(): Promise<{ key: string; cert: string }> {
  const x509 = await import('@peculiar/x509');
  x509.cryptoProvider.set(webcrypto);
  const keys = await generateSigningKey();
  const cert = await x509.X509CertificateGenerator.createSelfSigned({
    serialNumber: '01',
    name: 'CN=test',
    notBefore: new Date('2020-01-01'),
    notAfter: new Date('2090-01-01'),
    keys,
    signingAlgorithm: { name: 'ECDSA', hash: 'SHA-256' },
    extensions: [
      new x509.BasicConstraintsExtension(true),
      new x509.SubjectAlternativeNameExtension([{ type: 'ip', value: '127.0.0.1' }]),
    ],
  });
  return { key: await privateKeyPem(keys.privateKey), cert: cert.toString('pem') };
}

test('HTTP/2 over TLS from a kubeconfig with files and a token, one connection for many requests', async () => {
  const { key, cert } = await certificate();
  const seen: string[] = [];
  const server = http2.createSecureServer({ key, cert, allowHTTP1: true }, (req, res) => {
    seen.push(`${req.httpVersion} ${req.method} ${req.url} ${req.headers['authorization']}`);
    if (req.url.includes('watch=true')) {
      res.writeHead(200, { 'content-type': 'application/json' });
      const events = `{"type":"ADDED","object":{"metadata":{"name":"a"}}}\n{"type":"ADDED","object":{"metadata":{"name":"é"}}}\n`;
      const bytes = Buffer.from(events);
      res.write(bytes.subarray(0, 70));
      ioTimer(5, () => {
        res.write(bytes.subarray(70, 96));
        ioTimer(5, () => res.end(bytes.subarray(96)));
      });
      return;
    }
    res.writeHead(req.url.endsWith('/missing') ? 404 : 200, { 'content-type': 'application/json' });
    res.end(
      req.url.endsWith('/missing')
        ? JSON.stringify({
            kind: 'Status',
            status: 'Failure',
            code: 404,
            reason: 'NotFound',
            message: 'pods "missing" not found',
          })
        : JSON.stringify({ metadata: { name: 'a' }, items: [] }),
    );
  });
  const sessions: unknown[] = [];
  server.on('session', (s) => sessions.push(s));
  const port = await listen(server);
  const folder = await mkdtemp(join(tmpdir(), 'knarr-client-'));
  try {
    await writeFile(join(folder, 'ca.crt'), cert);
    await writeFile(join(folder, 'token'), 'secret\n');
    await writeFile(
      join(folder, 'config'),
      `apiVersion: v1
kind: Config
current-context: c
clusters: [{name: k, cluster: {server: "https://127.0.0.1:${port}/prefix", certificate-authority: ca.crt}}]
users: [{name: u, user: {tokenFile: token}}]
contexts: [{name: c, context: {cluster: k, user: u, namespace: ns}}]
`,
    );
    const config = await loadKubeconfig(join(folder, 'config'), { clock: new SystemClock() });
    assert.equal(config.namespace, 'ns');
    const transport = new HttpTransport(config, { random });
    const client = createClient(transport);
    await Promise.all([client.core.pods.list(), client.core.pods.list({ namespace: 'x', limit: 5 })]);
    await assert.rejects(client.core.pods.get('missing', 'x'), { name: 'StatusError', reason: 'NotFound', code: 404 });
    const names: string[] = [];
    for await (const batch of await client.core.pods.watch({ resourceVersion: '1' })) {
      for (const e of batch) names.push(e.object.metadata.name!);
    }
    assert.deepEqual(names, ['a', 'é']);
    assert.equal(sessions.length, 1);
    // Two at once, in whichever order.
    assert.deepEqual(seen.slice(0, 2).sort(), [
      '2.0 GET /prefix/api/v1/namespaces/x/pods?limit=5 Bearer secret',
      '2.0 GET /prefix/api/v1/pods Bearer secret',
    ]);
    await transport.close();
    const stranger = new HttpTransport({ ...config, ca: undefined }, { random });
    await assert.rejects(createClient(stranger).core.pods.list(), /self.signed certificate/);
    await stranger.close();

    await writeFile(join(folder, 'namespace'), 'kube-system');
    const inside = await inClusterConnection(
      { KUBERNETES_SERVICE_HOST: '127.0.0.1', KUBERNETES_SERVICE_PORT: String(port) },
      folder,
    );
    const pod = new HttpTransport(inside, { random });
    await createClient(pod).core.pods.list();
    assert.match(seen.at(-1)!, / \/api\/v1\/pods Bearer secret$/);
    await pod.close();
    await assert.rejects(inClusterConnection({}), /not running in a cluster/);
  } finally {
    server.close();
    await rm(folder, { recursive: true });
  }
});

test('HTTP/1.1: Retry-After is honoured, reads survive a lost connection, writes are not repeated', async () => {
  let requests = 0;
  let behaviour: (req: IncomingMessage, res: ServerResponse) => void = () => {};
  const server = http.createServer((req, res) => {
    requests++;
    behaviour(req, res);
  });
  const port = await listen(server);
  const transport = new HttpTransport({ server: `http://127.0.0.1:${port}` }, { random });
  const client = createClient(transport);
  const ok = (res: ServerResponse) => {
    res.setHeader('content-type', 'application/json');
    res.end('{"metadata":{},"items":[]}');
  };
  behaviour = (_req, res) => {
    if (requests < 3) res.writeHead(429, { 'retry-after': '0' }).end('busy');
    else ok(res);
  };
  await client.core.pods.list();
  assert.equal(requests, 3);

  requests = 0;
  behaviour = (req, res) => (requests === 1 ? req.socket.destroy() : ok(res));
  await client.core.pods.list();
  assert.equal(requests, 2);

  requests = 0;
  behaviour = (req) => req.socket.destroy();
  await assert.rejects(client.core.pods.create({ metadata: { name: 'a', namespace: 'b' } }), /POST http:/);
  assert.equal(requests, 1);

  behaviour = (_req, res) => res.writeHead(503).end('nope');
  await assert.rejects(client.core.pods.list(), { reason: 'ServiceUnavailable', message: 'nope' });
  await transport.close();
  server.close();
  server.closeAllConnections();
});

test('a WebSocket upgrade carries messages and a refused one its Status', async () => {
  const server = http.createServer();
  const sockets = new WebSocketServer({ noServer: true, handleProtocols: () => 'v5.channel.k8s.io' });
  server.on('upgrade', (req, socket, head) => {
    if (req.url?.includes('/missing/') === true) {
      const body = JSON.stringify({ kind: 'Status', code: 404, reason: 'NotFound', message: 'no such pod' });
      socket.end(
        `HTTP/1.1 404 Not Found\r\ncontent-type: application/json\r\ncontent-length: ${body.length}\r\n\r\n${body}`,
      );
      return;
    }
    sockets.handleUpgrade(req, socket, head, (ws) => {
      ws.on('message', (data) => {
        ws.send(data);
        ws.close(1000);
      });
    });
  });
  const port = await listen(server);
  const transport = new HttpTransport({ server: `http://127.0.0.1:${port}` }, { random });
  const path = (pod: string) => `/api/v1/namespaces/d/pods/${pod}/exec`;
  const channel = await transport.connect({ method: 'GET', path: path('p'), query: { command: ['a', 'b'] } }, [
    'v5.channel.k8s.io',
  ]);
  assert.equal(channel.protocol, 'v5.channel.k8s.io');
  await channel.send(Buffer.from('hello'));
  const got: string[] = [];
  for await (const m of channel.messages) got.push(m.toString());
  assert.deepEqual(got, ['hello']);
  await assert.rejects(transport.connect({ method: 'GET', path: path('missing') }, ['v5.channel.k8s.io']), {
    reason: 'NotFound',
  });
  await transport.close();
  server.close();
});
