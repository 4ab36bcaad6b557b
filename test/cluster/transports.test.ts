/**
 * One contract for both ways into the API server: every step is taken over HTTPS and in-process, and the transcripts
 * (status, body, warnings, events) must be the same. Then what only one of them has: connections, formats, limits.
 */
import assert from 'node:assert/strict';
import type * as http from 'node:http';
import * as http2 from 'node:http2';
import * as https from 'node:https';
import * as tls from 'node:tls';
import type { Readable } from 'node:stream';
import { after, before, test } from 'node:test';
import type { ApiServer } from '../../src/apiserver/server.ts';
import { createApiServer } from '../../src/apiserver/server.ts';
import { SystemClock, VirtualClock } from '../../src/base/clock.ts';
import { silentLogger } from '../../src/base/logger.ts';
import { SystemRandom } from '../../src/base/random.ts';
import { HttpTransport } from '../../src/client/http-transport.ts';
import type { ApiRequest, Transport, WatchEvent } from '../../src/client/transport.ts';
import { controlPlaneRequests, defaultValidity, ensurePki } from '../../src/cluster/pki.ts';
import { openEmbeddedStore } from '../../src/etcd/embedded-store.ts';
import type { KeyValueStore } from '../../src/etcd/store.ts';
import type { StatusError } from '../../src/api/status.ts';
import { dialInto, fakeBackends } from './support/fake-backends.ts';
import { normalized, scenario } from './support/transport-scenario.ts';
import type { Entry } from './support/transport-scenario.ts';

// eslint-disable-next-line @typescript-eslint/no-explicit-any
type Json = any;

interface World {
  readonly server: ApiServer;
  readonly store: KeyValueStore;
  readonly url: string;
  readonly ca: string;
  readonly pki: ReadonlyMap<string, string>;
  readonly https: Transport;
  readonly local: Transport;
  /** Requests that the fake kubelet and the fake pod have seen. */
  readonly seen: string[];
}

let world: World;
const admin = { name: 'kubernetes-admin', groups: ['kubeadm:cluster-admins', 'system:authenticated'] };

before(async () => {
  const clock = new SystemClock();
  const random = new SystemRandom();
  const store = await openEmbeddedStore({ engine: 'memory', clock, logger: silentLogger });
  const pki = await ensurePki({
    now: clock.now(),
    random,
    validity: defaultValidity,
    requests: [
      ...controlPlaneRequests({ dnsNames: ['localhost'], addresses: ['127.0.0.1'], nodeNames: [], components: false }),
      {
        name: 'test-admin',
        ca: 'ca',
        commonName: admin.name,
        organizations: ['kubeadm:cluster-admins'],
        usages: ['client'],
      },
    ],
  });
  const seen: string[] = [];
  const backends = fakeBackends(seen);
  const server = await createApiServer({
    store,
    embedded: true,
    clock,
    random,
    logger: silentLogger,
    freeze: true,
    certificates: {
      certificate: pki.get('apiserver.crt')!,
      key: pki.get('apiserver.key')!,
      clientCA: pki.get('ca.crt')!,
      frontProxyCA: pki.get('front-proxy-ca.crt')!,
    },
    serviceAccountKeys: { signingKey: pki.get('sa.key')! },
    dialer: {
      dialNode: (_name, _address, _port, insecure) => {
        if (insecure === true) seen.push('any certificate');
        return Promise.resolve(dialInto(backends.node));
      },
      dialTcp: (address) =>
        address === '10.1.0.9'
          ? Promise.reject(new Error('dial tcp 10.1.0.9:80: connect: connection refused'))
          : Promise.resolve(dialInto(backends.pod)),
    },
    disableAdmissionPlugins: new Set(['ServiceAccount']),
  });
  const { port } = await server.listen({ host: '127.0.0.1', port: 0 });
  await server.ready();
  const root = server.localTransport({ name: 'root', groups: ['system:masters'] });
  const bound = await root.request({
    method: 'POST',
    path: '/apis/rbac.authorization.k8s.io/v1/clusterrolebindings',
    body: {
      apiVersion: 'rbac.authorization.k8s.io/v1',
      kind: 'ClusterRoleBinding',
      metadata: { name: 'kubeadm:cluster-admins' },
      roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'ClusterRole', name: 'cluster-admin' },
      subjects: [{ apiGroup: 'rbac.authorization.k8s.io', kind: 'Group', name: 'kubeadm:cluster-admins' }],
    },
  });
  assert.equal(bound.status, 201);
  const url = `https://127.0.0.1:${port}`;
  const https = new HttpTransport(
    { server: url, ca: pki.get('ca.crt')!, certificate: pki.get('test-admin.crt')!, key: pki.get('test-admin.key')! },
    { random, userAgent: 'contract/1' },
  );
  world = { server, store, url, ca: pki.get('ca.crt')!, pki, https, local: server.localTransport(admin), seen };
});

after(async () => {
  await world.https.close();
  await world.server.close();
  await world.store.close();
});

test('both transports give the same answers, warnings and events', async () => {
  const overHttps = await scenario(world.https);
  const inProcess = await scenario(world.local);
  for (const [i, entry] of overHttps.entries()) assert.deepEqual(inProcess[i], entry, entry.step);
  assert.equal(inProcess.length, overHttps.length);
  const of = (step: string): Entry => overHttps.find((e) => e.step === step)!;
  assert.equal(of('create').status, 201);
  assert.deepEqual(of('create again').body, {
    kind: 'Status',
    apiVersion: 'v1',
    metadata: {},
    status: 'Failure',
    message: 'configmaps "one" already exists',
    reason: 'AlreadyExists',
    details: { name: 'one', kind: 'configmaps' },
    code: 409,
  });
  assert.equal(of('unknown field').warning, '299 - "unknown field \\"extra\\""');
  assert.equal(of('strict').status, 400);
  assert.equal(of('invalid name').status, 422);
  assert.equal(of('no such resource').status, 404);
  assert.equal(of('no such group').body, '404 page not found\n');
  assert.equal(of('no such method').status, 405);
  assert.equal(of('not acceptable').status, 406);
  assert.equal(of('unknown patch').status, 415);
  assert.equal(of('bad timeout').status, 400);
  assert.equal((of('table').body as Json).rows[0].cells[1], 1);
  assert.equal((of('table list').body as Json).rows[0].object, null);
  assert.match(
    (of('impersonation').body as Json).message,
    /^secrets is forbidden: User "jane" cannot list resource "secrets" in API group "" in the namespace "contract"$/,
  );
  assert.equal(of('gone').status, 404);
  const events = (of('watch').body as Json).events as WatchEvent[];
  assert.deepEqual(
    events.map((e) => e.type),
    ['ADDED', 'BOOKMARK', 'ADDED', 'MODIFIED', 'DELETED'],
  );
});

async function makePod(t: Transport, name: string, containers: string[], status: object = {}): Promise<void> {
  const pod = {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name },
    spec: {
      nodeName: 'n1',
      containers: containers.map((c) => ({ name: c, image: 'i', ports: [{ containerPort: 80 }] })),
    },
  };
  const made = await t.request({ method: 'POST', path: '/api/v1/namespaces/default/pods', body: pod });
  assert.equal(made.status, 201, JSON.stringify(made.body));
  const patched = await t.request({
    method: 'PATCH',
    path: `/api/v1/namespaces/default/pods/${name}/status`,
    contentType: 'application/merge-patch+json',
    body: { status: { podIP: '10.1.0.5', podIPs: [{ ip: '10.1.0.5' }], ...status } },
  });
  assert.equal(patched.status, 200, JSON.stringify(patched.body));
}

test('logs, exec and proxies reach nodes and pods over both transports', async () => {
  const { local, seen } = world;
  const node = {
    apiVersion: 'v1',
    kind: 'Node',
    metadata: { name: 'n1' },
    status: {
      addresses: [{ type: 'InternalIP', address: '10.0.0.1' }],
      daemonEndpoints: { kubeletEndpoint: { Port: 10250 } },
    },
  };
  assert.equal((await local.request({ method: 'POST', path: '/api/v1/nodes', body: node })).status, 201);
  await makePod(local, 'p', ['c']);
  await makePod(local, 'two', ['a', 'b']);
  await makePod(local, 'broken', ['c']);
  await makePod(local, 'unreachable', ['c'], { podIP: '10.1.0.9', podIPs: [{ ip: '10.1.0.9' }] });
  const pods = '/api/v1/namespaces/default/pods';
  for (const t of [world.https, local]) {
    seen.length = 0;
    let text = '';
    for await (const chunk of await t.stream({
      method: 'GET',
      path: `${pods}/p/log`,
      query: { tailLines: 5, follow: true },
    }))
      text += String(chunk);
    assert.equal(text, 'line one\nline two\n');
    assert.deepEqual(seen, ['GET /containerLogs/default/p/c?follow=true&tailLines=5']);
    seen.length = 0;
    const query = { insecureSkipTLSVerifyBackend: true };
    for await (const _ of await t.stream({ method: 'GET', path: `${pods}/p/log`, query }));
    assert.deepEqual(seen, ['any certificate', 'GET /containerLogs/default/p/c']);
    const refuse = async (path: string, query: ApiRequest['query'], expected: RegExp): Promise<void> => {
      await assert.rejects(
        t.stream({ method: 'GET', path, query }),
        (e: StatusError) => expected.test(`${e.code} ${e.message}`) || assert.fail(`${e.code} ${e.message}`),
      );
    };
    await refuse(`${pods}/two/log`, {}, /^400 a container name must be specified for pod two, choose one of: \[a b\]$/);
    await refuse(`${pods}/two/log`, { container: 'z' }, /^400 container z is not valid for pod two$/);
    await refuse(
      `${pods}/p/log`,
      { tailLines: -1 },
      /^422 PodLogOptions "p" is invalid: tailLines: Invalid value: -1: must be greater than or equal to 0$/,
    );
    await refuse(
      `${pods}/broken/log`,
      {},
      /^404 the server could not find the requested resource \( pods\/log broken\)$/,
    );
    await refuse(`${pods}/none/log`, {}, /^404 pods "none" not found$/);

    seen.length = 0;
    const channel = await t.connect(
      { method: 'GET', path: `${pods}/p/exec`, query: { command: ['sh', '-c', 'cat'], stdin: true, stdout: true } },
      ['v5.channel.k8s.io'],
    );
    assert.equal(channel.protocol, 'v5.channel.k8s.io');
    await channel.send(Buffer.from('\0hello'));
    await channel.send(Buffer.from('\0bye'));
    const got: string[] = [];
    for await (const message of channel.messages) got.push(message.subarray(1).toString());
    assert.deepEqual(got, ['hello', 'bye']);
    assert.deepEqual(seen, [
      'upgrade /exec/default/p/c?input=1&output=1&command=sh&command=-c&command=cat no credentials',
    ]);
    await assert.rejects(
      t.connect({ method: 'GET', path: `${pods}/none/exec` }, ['v5.channel.k8s.io']),
      (e: StatusError) => e.code === 404 && e.message === 'pods "none" not found',
    );
    const plain = await t.request({ method: 'POST', path: `${pods}/p/exec`, query: { command: 'ls' } });
    assert.equal((plain.body as Json).message, 'Upgrade request required');

    const proxied = await t.request({
      method: 'POST',
      path: `${pods}/p/proxy/some/where`,
      query: { q: '1' },
      body: { a: 1 },
    });
    assert.equal(proxied.body, 'got {"a":1}');
    assert.equal(proxied.headers['x-served-by'], 'pod');
    const page = await t.request({ method: 'GET', path: `${pods}/http:p:80/proxy/page` });
    assert.equal(page.body, `<a href="${pods}/http:p:80/proxy/there">go</a><a href="x">rel</a>`);
    const down = await t.request({ method: 'GET', path: `${pods}/unreachable/proxy/` });
    assert.equal(down.status, 503);
    assert.equal(
      (down.body as Json).message,
      'error trying to reach service: dial tcp 10.1.0.9:80: connect: connection refused',
    );
  }
  const metrics = await local.request({ method: 'GET', path: '/metrics' });
  assert.match(
    String(metrics.body),
    /^apiserver_websocket_streaming_requests_total\{proxy_type="proxied_to_kubelet",subresource="exec"\} 2$/m,
  );
  const redirect = await local.request({ method: 'GET', path: `${pods}/p/proxy/old` });
  assert.equal(redirect.headers['location'], `${pods}/p/proxy/new?x=1`);
  const slash = await local.request({ method: 'GET', path: `${pods}/p/proxy`, query: { a: 'b' } });
  assert.equal(slash.status, 301);
  assert.equal(slash.headers['location'], `${pods}/p/proxy/?a=b`);
});

test('an upgrade that a node refuses gets its answer, and the connection nothing more', async () => {
  await makePod(world.local, 'refused', ['c']);
  for (const how of ['chunked', 'sized']) {
    world.seen.length = 0;
    const socket = tls.connect({
      host: '127.0.0.1',
      port: Number(new URL(world.url).port),
      ca: world.ca,
      cert: world.pki.get('test-admin.crt')!,
      key: world.pki.get('test-admin.key')!,
    });
    const upgrade = `POST /api/v1/namespaces/default/pods/refused/exec?command=ls&stdout=1 HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: SPDY/3.1\r\nx-how: ${how}\r\n\r\n`;
    const another = 'GET /secret HTTP/1.1\r\nhost: x\r\n\r\n';
    // One behind the other at once, and again when the answer is there.
    socket.write(upgrade + another);
    let text = '';
    for await (const chunk of socket) {
      text += String(chunk);
      if (socket.writable) socket.write(another);
    }
    assert.match(text, /^HTTP\/1\.1 403 Forbidden\r\n/);
    assert.match(text, how === 'chunked' ? /\r\n0\r\n\r\n$/ : /\r\n\r\nno way$/);
    assert.deepEqual(world.seen, ['upgrade /exec/default/refused/c?output=1&command=ls no credentials']);
  }
});

interface Raw {
  readonly status: number;
  readonly headers: http.IncomingHttpHeaders;
  readonly body: Buffer;
}

/** A plain HTTPS/1.1 request as an anonymous client or with a token sends it. */
async function raw(path: string, headers: Record<string, string> = {}, method = 'GET', body?: string): Promise<Raw> {
  const { request } = await import('node:https');
  return new Promise((resolve, reject) => {
    const outgoing = request(`${world.url}${path}`, { ca: world.ca, headers, method, agent: false }, (response) => {
      const chunks: Buffer[] = [];
      response.on('data', (c: Buffer) => chunks.push(c));
      response.on('end', () =>
        resolve({ status: response.statusCode!, headers: response.headers, body: Buffer.concat(chunks) }),
      );
      response.on('error', reject);
    });
    outgoing.on('error', reject);
    outgoing.end(body);
  });
}

test('anonymous callers, bad tokens and HTTP/1.1', async () => {
  const anonymous = await raw('/api/v1/namespaces');
  assert.equal(anonymous.status, 403);
  assert.equal(anonymous.headers['content-type'], 'application/json');
  assert.equal(anonymous.headers['cache-control'], 'no-cache, private');
  assert.match(
    JSON.parse(anonymous.body.toString()).message,
    /User "system:anonymous" cannot list resource "namespaces"/,
  );
  const bad = await raw('/api/v1/namespaces', { authorization: 'Bearer nonsense' });
  assert.equal(bad.status, 401);
  assert.deepEqual(JSON.parse(bad.body.toString()), {
    kind: 'Status',
    apiVersion: 'v1',
    metadata: {},
    status: 'Failure',
    message: 'Unauthorized',
    reason: 'Unauthorized',
    code: 401,
  });
  const live = await raw('/livez');
  assert.equal(live.body.toString(), 'ok');
  // RBAC knows HEAD as a verb of its own, which nobody is granted.
  const head = await raw('/livez', {}, 'HEAD');
  assert.equal(head.status, 403);
  assert.equal(head.body.length, 0);
  const excluded = await raw('/readyz?verbose&exclude=etcd&exclude=nope&exclude=nor');
  assert.match(
    excluded.body.toString(),
    /\[\+\]etcd excluded: ok\n[\s\S]*warn: some health checks cannot be excluded: no matches for "nope","nor"\nreadyz check passed\n$/,
  );
});

test('a long list is sent in pieces, compressed where the client takes that', async () => {
  const { local } = world;
  const token = (await local.request({
    method: 'POST',
    path: '/api/v1/namespaces/kube-system/serviceaccounts',
    body: { apiVersion: 'v1', kind: 'ServiceAccount', metadata: { name: 'reader' } },
  })) as Json;
  assert.equal(token.status, 201);
  const bound = await local.request({
    method: 'POST',
    path: '/apis/rbac.authorization.k8s.io/v1/clusterrolebindings',
    body: {
      apiVersion: 'rbac.authorization.k8s.io/v1',
      kind: 'ClusterRoleBinding',
      metadata: { name: 'reader' },
      roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'ClusterRole', name: 'cluster-admin' },
      subjects: [{ kind: 'ServiceAccount', name: 'reader', namespace: 'kube-system' }],
    },
  });
  assert.equal(bound.status, 201, JSON.stringify(bound.body));
  const issued = (await local.request({
    method: 'POST',
    path: '/api/v1/namespaces/kube-system/serviceaccounts/reader/token',
    body: { apiVersion: 'authentication.k8s.io/v1', kind: 'TokenRequest', spec: {} },
  })) as Json;
  const authorization = `Bearer ${issued.body.status.token as string}`;
  // What is bound a moment ago reaches the authorizer with the next event.
  const data = { text: 'x'.repeat(3000) };
  await Promise.all(
    Array.from({ length: 200 }, (_v, i) =>
      local.request({
        method: 'POST',
        path: '/api/v1/namespaces/default/configmaps',
        body: { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: `long-${i}` }, data },
      }),
    ),
  );
  const path = '/api/v1/namespaces/default/configmaps';
  const plain = await raw(path, { authorization });
  assert.equal(plain.status, 200, plain.body.toString('utf8', 0, 300));
  assert.equal(plain.headers['content-length'], undefined);
  const items = JSON.parse(plain.body.toString()).items as Json[];
  assert.equal(items.filter((i) => (i.metadata.name as string).startsWith('long-')).length, 200);
  assert.equal(items[0].kind, undefined);
  const zipped = await raw(path, { authorization, 'accept-encoding': 'gzip' });
  assert.equal(zipped.headers['content-encoding'], 'gzip');
  const { gunzipSync } = await import('node:zlib');
  assert.ok(gunzipSync(zipped.body).equals(plain.body));
  const yaml = await raw(`${path}/long-0`, { authorization, accept: 'application/yaml' });
  assert.match(yaml.body.toString(), /^apiVersion: v1\ndata:\n {2}text: x+\nkind: ConfigMap\n/);
  const pretty = await raw(`${path}/long-0?pretty=true`, { authorization });
  assert.match(pretty.body.toString(), /^\{\n {2}"kind": "ConfigMap",\n/);
  const metrics = await raw('/metrics', { authorization });
  assert.match(
    metrics.body.toString(),
    /^apiserver_request_total\{code="200",component="apiserver",dry_run="",group="",resource="configmaps",scope="namespace",subresource="",system_client="",verb="LIST",version="v1"\} \d+$/m,
  );
});

test('a body beyond the limit is refused with 413, one that is no JSON with 400', async () => {
  const path = '/api/v1/namespaces/default/configmaps';
  const huge = await world.https.request({
    method: 'POST',
    path,
    body: Buffer.alloc(4 * 1024 * 1024, 'x'),
    contentType: 'application/json',
  });
  assert.equal(huge.status, 413);
  assert.equal((huge.body as Json).reason, 'RequestEntityTooLarge');
  const bad = await world.https.request({
    method: 'POST',
    path,
    body: Buffer.from('{"a":'),
    contentType: 'application/json',
  });
  assert.equal(bad.status, 400);
});

test('aggregated discovery answers 304 to those who have it', async () => {
  const accept = 'application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json';
  const first = await world.https.request({ method: 'GET', path: '/apis', headers: { accept } });
  assert.equal((first.body as Json).kind, 'APIGroupDiscoveryList');
  assert.equal(first.headers['content-type'], 'application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList');
  const again = await world.https.request({
    method: 'GET',
    path: '/apis',
    headers: { accept, 'if-none-match': first.headers['etag']! },
  });
  assert.equal(again.status, 304);
});

test('a virtual clock waits for requests and for events that a watcher is working on', async () => {
  const clock = new VirtualClock();
  const random = new SystemRandom();
  const store = await openEmbeddedStore({ engine: 'memory', clock, logger: silentLogger });
  const server = await createApiServer({
    store,
    embedded: true,
    clock,
    random,
    logger: silentLogger,
    serviceAccountKeys: {},
    dialer: { dialNode: () => Promise.reject(new Error('none')), dialTcp: () => Promise.reject(new Error('none')) },
  });
  await server.ready();
  const t = server.localTransport({ name: 'root', groups: ['system:masters'] });
  const path = '/api/v1/namespaces/default/configmaps';
  const stream = await t.watch({ method: 'GET', path, query: { resourceVersion: '0' } });
  const seen: string[] = [];
  const reading = (async () => {
    for await (const batch of stream) {
      // Work that takes several turns of the event loop.
      for (let i = 0; i < 5; i++) await t.request({ method: 'GET', path: '/version' });
      seen.push(...batch.map((e) => `${e.type} ${(e.object as Json).metadata.name as string}`));
    }
  })();
  clock.setTimer(
    1000,
    () =>
      void t.request({
        method: 'POST',
        path,
        body: { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'late' } },
      }),
  );
  await clock.advance(1000);
  assert.ok(seen.includes('ADDED late'), seen.join());
  await server.close();
  await reading;
  await store.close();
  assert.equal(clock.pending, 0);
});

test('a long list arrives whole over both versions of HTTP, also when it is taken slowly', async () => {
  const root = world.server.localTransport({ name: 'root', groups: ['system:masters'] });
  const path = '/api/v1/namespaces/default/configmaps';
  const count = 60;
  for (let i = 0; i < count; i++) {
    const text = `${String.fromCharCode(97 + (i % 26))}${i};`.repeat(1 + ((i * 7919) % 20_000));
    const created = await root.request({
      method: 'POST',
      path,
      body: {
        apiVersion: 'v1',
        kind: 'ConfigMap',
        metadata: { name: `whole-${i}`, labels: { long: 'yes' } },
        data: { text },
      },
    });
    assert.equal(created.status, 201, JSON.stringify(created.body));
  }
  const target = `${path}?labelSelector=long%3Dyes`;
  const { pki } = world;
  const identity = { ca: pki.get('ca.crt')!, cert: pki.get('test-admin.crt')!, key: pki.get('test-admin.key')! };
  const slowly = (stream: Readable): Promise<Json> =>
    new Promise((resolve, reject) => {
      const chunks: Buffer[] = [];
      stream.on('data', (chunk: Buffer) => {
        chunks.push(chunk);
        stream.pause();
        setImmediate(() => stream.resume());
      });
      stream.once('end', () => resolve(JSON.parse(Buffer.concat(chunks).toString()) as Json));
      stream.once('error', reject);
    });
  const session = http2.connect(world.url, { ...identity, settings: { initialWindowSize: 20_000 } });
  const second = await slowly(session.request({ ':path': target }));
  session.close();
  const first = await new Promise<Json>((resolve, reject) => {
    https
      .get(`${world.url}${target}`, { ...identity, agent: false }, (r) => slowly(r).then(resolve, reject))
      .once('error', reject);
  });
  const local = normalized((await root.request({ method: 'GET', path, query: { labelSelector: 'long=yes' } })).body);
  assert.equal((local as Json).items.length, count);
  assert.deepEqual(normalized(second), local);
  assert.deepEqual(normalized(first), local);
});

test('close ends watches and connections at once and refuses what comes after', async () => {
  const { pki } = world;
  const clock = new SystemClock();
  const random = new SystemRandom();
  const store = await openEmbeddedStore({ engine: 'memory', clock, logger: silentLogger });
  const server = await createApiServer({
    store,
    embedded: true,
    clock,
    random,
    logger: silentLogger,
    certificates: {
      certificate: pki.get('apiserver.crt')!,
      key: pki.get('apiserver.key')!,
      clientCA: pki.get('ca.crt')!,
    },
    authorizationModes: ['AlwaysAllow'],
    serviceAccountKeys: {},
    dialer: { dialNode: () => Promise.reject(new Error('none')), dialTcp: () => Promise.reject(new Error('none')) },
    // A close that had to wait for this would fail the test by its time limit.
    shutdownGraceMs: 600_000,
  });
  const { port } = await server.listen({ host: '127.0.0.1', port: 0 });
  await server.ready();
  const local = server.localTransport({ name: 'root', groups: ['system:masters'] });
  const https = new HttpTransport(
    {
      server: `https://127.0.0.1:${port}`,
      ca: pki.get('ca.crt')!,
      certificate: pki.get('test-admin.crt')!,
      key: pki.get('test-admin.key')!,
    },
    { random },
  );
  const ended = await Promise.all(
    [local, https].map(async (t) => {
      const stream = await t.watch({
        method: 'GET',
        path: '/api/v1/pods',
        query: { watch: true, resourceVersion: '0' },
      });
      return {
        done: (async () => {
          for await (const _batch of stream) assert.fail('nothing happens here');
        })(),
      };
    }),
  );
  await server.close();
  for (const { done } of ended) await done;
  await assert.rejects(local.request({ method: 'GET', path: '/version' }), /transport is closed/);
  await assert.rejects(local.watch({ method: 'GET', path: '/api/v1/pods' }), /transport is closed/);
  await https.close();
  await store.close();
});
