/** Proxies by which the API server reaches issuers, webhooks and kubelets: HTTP CONNECT over TLS, TCP and a unix socket of the test's own. */
import assert from 'node:assert/strict';
import * as http from 'node:http';
import type { IncomingMessage, Server } from 'node:http';
import { connect } from 'node:net';
import { join } from 'node:path';
import type { AddressInfo, Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { text } from 'node:stream/consumers';
import { after, test } from 'node:test';
import type { TLSSocket } from 'node:tls';
import * as grpc from '@grpc/grpc-js';
import protobuf from 'protobufjs';
import { EgressSelector } from '../../src/apiserver/egress/selector.ts';
import { SystemRandom } from '../../src/base/random.ts';
import { networkDialer } from '../../src/cluster/network-dialer.ts';
import { defaultValidity, ensurePki } from '../../src/cluster/pki.ts';
import type { Cluster } from '../../src/index.ts';
import { silentLogger } from '../../src/base/logger.ts';
import { SystemClock } from '../../src/base/clock.ts';
import { openEmbeddedStore } from '../../src/etcd/embedded-store.ts';
import { serveEtcd } from '../../src/etcd/grpc-server.ts';
import { connectApi } from '../support/api.ts';
import { createWorkspace, startApiServer } from '../support/api-server.ts';
import type { Answer, Json } from '../support/api.ts';
import { startOidcIssuer } from '../support/oidc-issuer.ts';
import type { OidcIssuer } from '../support/oidc-issuer.ts';
import { eventually, Files, secureCluster, securityOf } from '../support/security.ts';
import { startTlsServer } from '../support/tls-server.ts';

const files = new Files();
after(() => files[Symbol.dispose]());

/** Makes a server a proxy. Returns whither it was asked; `routes`: where that really is. */
function proxyOn(server: Pick<Server, 'on'>, routes: ReadonlyMap<string, number>, refuse = false): string[] {
  const asked: string[] = [];
  server.on('connect', (request: IncomingMessage, client: Duplex) => {
    const target = request.url!;
    const { authorized } = client as TLSSocket;
    asked.push(authorized === undefined ? target : `${target} ${authorized ? 'known' : 'unknown'}`);
    client.on('error', () => {});
    if (refuse) {
      client.end('HTTP/1.1 403 Forbidden\r\n\r\n');
      return;
    }
    const onward = connect(routes.get(target) ?? Number(target.split(':').at(-1)), '127.0.0.1', () => {
      client.write('HTTP/1.1 200 Connection established\r\n\r\n');
      onward.pipe(client).pipe(onward);
    });
    onward.on('error', () => client.destroy());
    client.on('close', () => onward.destroy());
  });
  return asked;
}

async function plainProxy(
  at: { path: string } | { port: 0; host: string },
  routes: ReadonlyMap<string, number> = new Map(),
  refuse = false,
): Promise<{ asked: string[]; port: number } & AsyncDisposable> {
  const server = http.createServer();
  const asked = proxyOn(server, routes, refuse);
  await new Promise<void>((resolve) => server.listen(at, resolve));
  const address = server.address() as AddressInfo | string;
  return {
    asked,
    port: typeof address === 'string' ? 0 : address.port,
    [Symbol.asyncDispose]: async () => {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

const selections = (...egressSelections: Json[]): Json => ({
  apiVersion: 'apiserver.k8s.io/v1beta1',
  kind: 'EgressSelectorConfiguration',
  egressSelections,
});

function issuers(...jwt: readonly (readonly [OidcIssuer, string])[]): string {
  return files.write(`issuers-${jwt.map((j) => j[1]).join('-')}.yaml`, {
    apiVersion: 'apiserver.config.k8s.io/v1',
    kind: 'AuthenticationConfiguration',
    jwt: jwt.map(([{ url, server }, egressSelectorType]) => ({
      issuer: { url, audiences: ['knarr'], certificateAuthority: server.ca, egressSelectorType },
      claimMappings: { username: { claim: 'sub', prefix: `${egressSelectorType}:` } },
    })),
  });
}

async function whoami(cluster: Cluster, token: string): Promise<Answer> {
  const api = connectApi(cluster, { token });
  try {
    return await api.create('/apis/authentication.k8s.io/v1/selfsubjectreviews', {
      apiVersion: 'authentication.k8s.io/v1',
      kind: 'SelfSubjectReview',
    });
  } finally {
    api.close();
  }
}

test('issuers and webhooks behind proxies: TLS with a client certificate, and a unix socket', async () => {
  // Nobody listens where these are said to be: only the proxies know the way.
  await using first = await startOidcIssuer({ name: 'https://localhost:1' });
  await using second = await startOidcIssuer({ name: 'https://localhost:2' });
  await using hook = await startTlsServer({
    handle(_request, response) {
      const status = { authenticated: true, user: { username: 'hooked' } };
      response
        .writeHead(200, { 'content-type': 'application/json' })
        .end(JSON.stringify({ apiVersion: 'authentication.k8s.io/v1', kind: 'TokenReview', status }));
    },
  });
  const pki = await ensurePki({
    now: Date.now(),
    random: new SystemRandom(),
    validity: defaultValidity,
    requests: [{ name: 'client', ca: 'ca', commonName: 'apiserver', usages: ['client'], dnsNames: [], addresses: [] }],
  });
  await using secure = await startTlsServer({ clientCA: pki.get('ca.crt')!, handle: (_q, r) => void r.end() });
  const byTls = proxyOn(
    secure.server,
    new Map([
      ['localhost:1', first.server.port],
      ['localhost:3', hook.port],
    ]),
  );
  await using bySocket = await plainProxy(
    { path: files.path('proxy.sock') },
    new Map([['localhost:2', second.server.port]]),
  );
  const tlsConfig = {
    caBundle: files.write('proxy-ca.pem', secure.ca),
    clientCert: files.write('proxy-client.pem', pki.get('client.crt')!),
    clientKey: files.write('proxy-client.key', pki.get('client.key')!),
  };
  await using cluster = await secureCluster({
    'authentication-config': issuers([first, 'controlplane'], [second, 'cluster']),
    'authentication-token-webhook-config-file': files.kubeconfig('hook', { ...hook, url: 'https://localhost:3' }),
    'authentication-token-webhook-version': 'v1',
    'egress-selector-config-file': files.write(
      'egress.yaml',
      selections(
        {
          name: 'controlplane',
          connection: { proxyProtocol: 'HTTPConnect', transport: { tcp: { url: secure.url, tlsConfig } } },
        },
        {
          name: 'Cluster',
          connection: { proxyProtocol: 'HTTPConnect', transport: { uds: { udsName: files.path('proxy.sock') } } },
        },
        { name: 'etcd', connection: { proxyProtocol: 'Direct' } },
      ),
    ),
  });
  for (const [issuer, user] of [
    [first, 'controlplane:jane'],
    [second, 'cluster:jane'],
  ] as const) {
    const me = await eventually(async () => {
      const answer = await whoami(cluster, issuer.token({ aud: 'knarr', sub: 'jane' }));
      return answer.status === 201 && answer.body.status.userInfo.username === user ? answer : undefined;
    }, `the issuer ${issuer.url}`);
    assert.equal(me.body.status.userInfo.username, user);
  }
  assert.equal((await whoami(cluster, 'anything')).body.status.userInfo.username, 'hooked');
  assert.deepEqual(
    [...new Set(byTls)].toSorted(),
    [`127.0.0.1:${first.server.port} known`, 'localhost:1 known', 'localhost:3 known'].toSorted(),
  );
  assert.ok(bySocket.asked.includes('localhost:2'), bySocket.asked.join(' '));
  const api = connectApi(cluster);
  const metrics = (await api.get('/metrics')).text;
  api.close();
  for (const transport of ['tcp', 'uds'])
    assert.match(
      metrics,
      new RegExp(
        `apiserver_egress_dialer_dial_start_total\\{protocol="http_connect",transport="${transport}"\\} [1-9]`,
      ),
    );
});

test('proxies that refuse or are not there, in upstream’s words', async () => {
  await using refusing = await plainProxy({ port: 0, host: '127.0.0.1' }, new Map(), true);
  const egress = new EgressSelector(
    new Map([
      ['controlplane', { transport: 'tcp', host: '127.0.0.1', port: refusing.port }],
      ['cluster', { transport: 'uds', path: files.path('nobody.sock') }],
    ]),
  );
  await assert.rejects(egress.dial('controlplane')!('example.com', 443), {
    message: `proxy error from 127.0.0.1:${refusing.port} while dialing example.com:443, code 403: 403 Forbidden`,
  });
  await assert.rejects(egress.dial('cluster')!('example.com', 443), {
    message: `dial unix ${files.path('nobody.sock')}: connect: no such file or directory`,
  });
});

test('kubelets and pods behind a proxy', async () => {
  await using kubelet = await startTlsServer({ handle: (request, response) => void response.end(request.url) });
  await using proxy = await plainProxy(
    { port: 0, host: '127.0.0.1' },
    new Map([
      ['192.0.2.1:10250', kubelet.port],
      ['[2001:db8::1]:10250', kubelet.port],
    ]),
  );
  const egress = new EgressSelector(new Map([['cluster', { transport: 'tcp', host: '127.0.0.1', port: proxy.port }]]));
  const dialer = networkDialer({ dial: egress.dial('cluster') });
  const node = await dialer.dialNode('node', '192.0.2.1', 10_250);
  node.end('GET /healthz HTTP/1.0\r\n\r\n');
  assert.match(await text(node), /\/healthz$/);
  const raw = await dialer.dialTcp('2001:db8::1', 10_250);
  raw.destroy();
  assert.deepEqual(proxy.asked, ['192.0.2.1:10250', '[2001:db8::1]:10250']);
  const strict = networkDialer({ dial: egress.dial('cluster'), kubeletCA: kubelet.ca });
  await assert.rejects(
    strict.dialNode('node', '192.0.2.1', 10_250),
    /^Error: tls: failed to verify certificate: x509: certificate is valid for .*, not 192\.0\.2\.1$/,
  );
  // As the logs of a pod are asked for with insecureSkipTLSVerifyBackend.
  const anyhow = await strict.dialNode('node', '192.0.2.1', 10_250, true);
  anyhow.end('GET /logs HTTP/1.0\r\n\r\n');
  assert.match(await text(anyhow), /\/logs$/);
});

/** A konnectivity server whose agent is this process. Returns whither it was asked. */
async function konnectivity(
  path: string,
  routes: ReadonlyMap<string, number>,
): Promise<{ asked: string[] } & Disposable> {
  const { root } = protobuf.parse(`syntax = "proto3";
    message Packet { int32 type = 1; oneof payload { DialRequest dialRequest = 2; DialResponse dialResponse = 3; Data data = 4;
      CloseRequest closeRequest = 5; CloseResponse closeResponse = 6; CloseDial closeDial = 7; } }
    message DialRequest { string protocol = 1; string address = 2; int64 random = 3; }
    message DialResponse { string error = 1; int64 connectID = 2; int64 random = 3; }
    message CloseRequest { int64 connectID = 1; }
    message CloseResponse { string error = 1; int64 connectID = 2; }
    message CloseDial { int64 random = 1; }
    message Data { int64 connectID = 1; string error = 2; bytes data = 3; }`);
  const packet = root.lookupType('Packet');
  const asked: string[] = [];
  let connections = 0;
  const server = new grpc.Server();
  const method: grpc.MethodDefinition<Json, Json> = {
    path: '/ProxyService/Proxy',
    requestStream: true,
    responseStream: true,
    requestSerialize: (p) => Buffer.from(packet.encode(packet.fromObject(p)).finish()),
    requestDeserialize: (b) => packet.toObject(packet.decode(b), { longs: Number, bytes: Buffer }),
    responseSerialize: (p) => Buffer.from(packet.encode(packet.fromObject(p)).finish()),
    responseDeserialize: (b) => b,
  };
  server.addService(
    { Proxy: method },
    {
      Proxy(call: grpc.ServerDuplexStream<Json, Json>) {
        const connectID = ++connections;
        let onward: Socket | undefined;
        call.on('data', (p: Json) => {
          if (p.dialRequest !== undefined) {
            const { address, random, protocol } = p.dialRequest;
            asked.push(`${protocol} ${address}`);
            const own = address.startsWith('127.0.0.1:') ? Number(address.split(':')[1]) : undefined;
            const port = routes.get(address) ?? own;
            if (port === undefined) {
              call.write({
                type: 1,
                dialResponse: { random, error: `dial tcp ${address}: connect: connection refused` },
              });
              return;
            }
            onward = connect(port, '127.0.0.1', () => call.write({ type: 1, dialResponse: { random, connectID } }));
            onward.on('data', (data: Buffer) => call.write({ type: 4, data: { connectID, data } }));
            onward.on('close', () => call.write({ type: 3, closeResponse: { connectID } }));
            onward.on('error', () => {});
          } else if (p.data !== undefined) onward?.write(p.data.data as Buffer);
          else if (p.closeRequest !== undefined) onward?.destroy();
        });
        call.on('cancelled', () => onward?.destroy());
        call.on('end', () => call.end());
      },
    },
  );
  await new Promise<void>((resolve, reject) => {
    server.bindAsync(`unix:${path}`, grpc.ServerCredentials.createInsecure(), (error) =>
      error === null ? resolve() : reject(error),
    );
  });
  return { asked, [Symbol.dispose]: () => server.forceShutdown() };
}

test('etcd behind proxies: HTTP CONNECT and GRPC, with and without TLS', async () => {
  const work = await createWorkspace();
  const pki = (name: string): string => work.pki.get(name)!;
  const etcd = { logger: silentLogger, port: 0 };
  const options = { engine: 'memory', clock: new SystemClock(), random: new SystemRandom(), ...etcd } as const;
  const store = await openEmbeddedStore(options);
  const plain = await serveEtcd({ mvcc: store.mvcc, ...etcd });
  const secure = await serveEtcd({
    mvcc: store.mvcc,
    ...etcd,
    tls: { cert: pki('apiserver.crt'), key: pki('apiserver.key'), clientCa: pki('ca.crt') },
  });
  const secret = ['admin.crt', 'admin.key', 'ca.crt'].map((name) => work.path(join('pki', name)));
  // Nobody listens where etcd is said to be: only the proxies know the way.
  const routes = new Map([
    ['etcd.invalid:2379', plain.port],
    ['localhost:7', secure.port],
  ]);
  const socket = work.path('konnectivity.sock');
  using konnectivityServer = await konnectivity(socket, routes);
  await using proxy = await plainProxy({ port: 0, host: '127.0.0.1' }, routes);
  const ways = [
    { proxyProtocol: 'HTTPConnect', transport: { tcp: { url: `http://127.0.0.1:${proxy.port}` } } },
    { proxyProtocol: 'GRPC', transport: { uds: { udsName: socket } } },
  ];
  for (const [i, connection] of ways.entries()) {
    const config = work.write('egress.json', selections({ name: 'etcd', connection }));
    const [cert, key, ca] = secret;
    const flags = i === 0 ? [] : [`--etcd-certfile=${cert}`, `--etcd-keyfile=${key}`, `--etcd-cafile=${ca}`];
    const url = i === 0 ? 'http://etcd.invalid:2379' : 'https://localhost:7';
    await using server = await startApiServer(work, { url }, [`--egress-selector-config-file=${config}`, ...flags]);
    const metadata = { name: `by-${i}`, namespace: 'default' };
    const configMaps = '/api/v1/namespaces/default/configmaps';
    await eventually(
      async () => ((await server.api.create(configMaps, { metadata })).status === 201 ? true : undefined),
      'a namespace',
    );
    assert.equal((await server.api.get(`${configMaps}/by-${i}`)).status, 200);
    const metrics = (await server.api.get('/metrics')).text;
    assert.match(
      metrics,
      /apiserver_egress_dialer_dial_start_total\{protocol="(http_connect|grpc)",transport="\w+"\} [1-9]/,
    );
  }
  assert.equal(proxy.asked[0], 'etcd.invalid:2379');
  assert.equal(konnectivityServer.asked[0], 'tcp localhost:7');
  await plain.close();
  await secure.close();
  await store.close();
  work.dispose();
});

test('a konnectivity server by GRPC: an issuer, long answers both ways, what it cannot reach', async () => {
  const path = files.path('konnectivity.sock');
  const long = 'x'.repeat(3 << 20);
  await using issuer = await startOidcIssuer({ name: 'https://localhost:7' });
  await using kubelet = await startTlsServer({
    handle: (_request, response, body) => void response.end(`${body.length} ${long}`),
  });
  using proxy = await konnectivity(
    path,
    new Map([
      ['localhost:7', issuer.server.port],
      ['192.0.2.1:10250', kubelet.port],
    ]),
  );
  const egress = files.write(
    'grpc.yaml',
    selections({ name: 'cluster', connection: { proxyProtocol: 'GRPC', transport: { uds: { udsName: path } } } }),
  );
  await using cluster = await secureCluster({
    'authentication-config': issuers([issuer, 'cluster']),
    'egress-selector-config-file': egress,
  });
  const me = await eventually(async () => {
    const answer = await whoami(cluster, issuer.token({ aud: 'knarr', sub: 'jane' }));
    return answer.status === 201 ? answer : undefined;
  }, 'the issuer behind the tunnel');
  assert.equal(me.body.status.userInfo.username, 'cluster:jane');
  assert.ok(proxy.asked.includes('tcp localhost:7'), proxy.asked.join(', '));
  const api = connectApi(cluster);
  const metrics = (await api.get('/metrics')).text;
  api.close();
  assert.match(metrics, /apiserver_egress_dialer_dial_start_total\{protocol="grpc",transport="uds"\} [1-9]/);

  const selector = new EgressSelector(new Map([['cluster', { transport: 'uds', path, grpc: new SystemRandom() }]]));
  const dialer = networkDialer({ dial: selector.dial('cluster') });
  const node = await dialer.dialNode('node', '192.0.2.1', 10_250);
  node.write(`POST / HTTP/1.0\r\nContent-Length: ${long.length}\r\n\r\n`);
  node.write(long);
  const answer = await text(node);
  assert.ok(answer.endsWith(`\r\n\r\n${long.length} ${long}`), answer.slice(0, 300));
  await assert.rejects(dialer.dialTcp('192.0.2.9', 80), /dial tcp 192\.0\.2\.9:80: connect: connection refused/);
});

test('an EgressSelectorConfiguration that will not do is refused', async () => {
  const refused = async (config: Json, message: string | RegExp): Promise<void> => {
    await assert.rejects(
      securityOf({ 'egress-selector-config-file': files.write('refused.yaml', config) }),
      typeof message === 'string' ? { message } : message,
    );
  };
  const invalid = (connection: Json, message: string): Promise<void> =>
    refused(
      selections({ name: 'cluster', connection }),
      `failed to validate egress selector configuration: service.connection.${message}`,
    );
  const http = (transport?: Json): Json => ({ proxyProtocol: 'HTTPConnect', transport });
  await refused(
    selections({ name: 'cluster', connection: { proxyProtocol: 'Direct', more: 1 } }),
    'failed to read egress selector config: strict decoding error: unknown field "egressSelections[0].connection.more"',
  );
  await invalid(
    { proxyProtocol: 'http' },
    'protocol: Unsupported value: "http": supported values: "Direct", "HTTPConnect", "GRPC"',
  );
  await invalid(
    { proxyProtocol: 'Direct', transport: {} },
    'transport: Invalid value: "direct": config must be absent for direct connect',
  );
  await invalid(http(), 'transport: Required value: transport must be set for HTTPConnect');
  await invalid(http({}), 'tcp: Required value: One of TCP or UDS must be set');
  await invalid(http({ uds: {} }), 'udsName: Invalid value: "nil": must be present for UDS connections');
  await invalid(
    http({ tcp: { url: 'tcp://x' } }),
    'url: Invalid value: "tcp://x": supported connection protocols are http:// and https://',
  );
  await invalid(
    http({ tcp: { url: 'https://x' } }),
    'tlsConfig: Required value: TLSConfig must be present when using HTTPS',
  );
  await invalid(
    http({ tcp: { url: 'http://x', tlsConfig: {} } }),
    'tlsConfig: Invalid value: "nil": config must not be present when using HTTP',
  );
  await refused(
    selections({
      name: 'cluster',
      connection: http({ tcp: { url: 'https://x', tlsConfig: { clientCert: '/none' } } }),
    }),
    'failed to validate egress selector configuration: [service.connection.tlsConfig.clientCert: Invalid value: "/none": TLS client cert does not exist, service.connection.tlsConfig.clientKey: Invalid value: "nil": Using TLS requires requires clientKey]',
  );
  const direct = { proxyProtocol: 'Direct' };
  await refused(
    selections({ name: 'cluster', connection: direct }, { name: 'Cluster', connection: direct }),
    'failed to validate egress selector configuration: service.connection[1]: Duplicate value: "cluster"',
  );
  await refused(
    selections({ name: 'master', connection: direct }),
    'failed to validate egress selector configuration: service.connection: Unsupported value: "master": supported values: "cluster", "controlplane", "etcd"',
  );
  await invalid({ proxyProtocol: 'GRPC' }, 'transport: Required value: transport must be set for GRPC');
  await invalid(
    { proxyProtocol: 'GRPC', transport: { tcp: { url: 'http://x' } } },
    'uds: Required value: UDS must be set with GRPC',
  );
  await using issuer = await startOidcIssuer();
  await assert.rejects(secureCluster({ 'authentication-config': issuers([issuer, 'cluster']) }), {
    message: 'oidc: egress lookup required with egress selector type "cluster"',
  });
  await assert.rejects(
    secureCluster({
      'authentication-config': issuers([issuer, 'cluster']),
      'egress-selector-config-file': files.write(
        'other.yaml',
        selections({ name: 'controlplane', connection: direct }),
      ),
    }),
    { message: 'oidc: egress lookup for "cluster" is not configured' },
  );
});
