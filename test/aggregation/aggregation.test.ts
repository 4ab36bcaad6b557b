/** Aggregation over the wire: an API server of the test's own behind an APIService, proxied, discovered, watched and gone. */
import assert from 'node:assert/strict';
import * as https from 'node:https';
import { connect } from 'node:tls';
import type { TLSSocket } from 'node:tls';
import { after, before, test } from 'node:test';
import { createCluster } from '../../src/index.ts';
import type { Cluster } from '../../src/index.ts';
import { SystemRandom } from '../../src/base/random.ts';
import { defaultValidity, ensurePki } from '../../src/cluster/pki.ts';
import { connectApi } from '../support/api.ts';
import type { Api, Json } from '../support/api.ts';
import { startTlsServer } from '../support/tls-server.ts';
import type { TlsServer } from '../support/tls-server.ts';
import { waitFor, waitForOne } from '../support/wait.ts';

let cluster: Cluster;
let api: Api;
let extension: TlsServer;
const seen: { method: string; url: string; user: string; groups: string; proxy: boolean; headers: Json }[] = [];
let healthy = true;
/** Whether it has the document of all it serves. */
let tells = false;
const discoveryType = 'application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList';

const group = 'wardle.example.com';
const root = `/apis/${group}/v1alpha1`;
const flunder = {
  apiVersion: `${group}/v1alpha1`,
  kind: 'Flunder',
  metadata: { name: 'f', namespace: 'default', resourceVersion: '7' },
};
const resources = [
  {
    name: 'flunders',
    singularName: 'flunder',
    namespaced: true,
    kind: 'Flunder',
    verbs: ['get', 'list', 'watch', 'create'],
  },
  { name: 'flunders/shell', singularName: '', namespaced: true, kind: 'Flunder', verbs: ['get', 'create'] },
];
const swagger = {
  swagger: '2.0',
  info: { title: 'wardle', version: 'v0' },
  paths: {
    [`${root}/flunders`]: {
      get: {
        responses: { 200: { description: 'OK', schema: { $ref: '#/definitions/com.example.wardle.FlunderList' } } },
      },
    },
    '/version/': { get: {} },
  },
  definitions: {
    'com.example.wardle.FlunderList': {
      type: 'object',
      properties: { items: { type: 'array', items: { $ref: '#/definitions/com.example.wardle.Flunder' } } },
    },
    'com.example.wardle.Flunder': { type: 'object', description: 'a flunder' },
  },
};

before(async () => {
  cluster = await createCluster({ nodes: 1, https: { port: 0 }, disable: ['cloud-controller-manager', 'dns'] });
  api = connectApi(cluster);
  const trust = await api.get('/api/v1/namespaces/kube-system/configmaps/extension-apiserver-authentication');
  extension = await startTlsServer({
    dnsNames: ['api.wardle.svc'],
    clientCA: trust.body.data['requestheader-client-ca-file'],
    handle(request, response, body) {
      const url = request.url!;
      const path = url.split('?')[0]!;
      seen.push({
        method: request.method!,
        url,
        user: String(request.headers['x-remote-user']),
        groups: String(request.headers['x-remote-group']),
        proxy: (request.socket as TLSSocket).authorized,
        headers: request.headers,
      });
      const send = (status: number, value: unknown, type = 'application/json'): void => {
        response.writeHead(status, { 'content-type': type });
        response.end(typeof value === 'string' ? value : JSON.stringify(value));
      };
      if (path === '/apis' && tells)
        return send(
          200,
          {
            kind: 'APIGroupDiscoveryList',
            apiVersion: 'apidiscovery.k8s.io/v2',
            items: [
              {
                metadata: { name: group },
                versions: [{ version: 'v1alpha1', resources: [{ resource: 'told', verbs: ['get'] }] }],
              },
            ],
          },
          discoveryType,
        );
      if (path === root) {
        // Checks come without Accept, as upstream's do: servers may have nothing but what they give by default.
        if (!healthy) return send(request.headers.accept === undefined ? 500 : 406, 'broken', 'text/plain');
        return send(200, { kind: 'APIResourceList', apiVersion: 'v1', groupVersion: `${group}/v1alpha1`, resources });
      }
      if (path === '/openapi/v2') return send(200, swagger);
      if (path === `${root}/namespaces/default/flunders` && request.method === 'POST')
        return send(201, { ...(JSON.parse(body.toString()) as Json), received: true });
      if (path === `${root}/namespaces/default/flunders` && url.includes('watch=')) {
        response.writeHead(200, { 'content-type': 'application/json' });
        response.write(`${JSON.stringify({ type: 'ADDED', object: flunder })}\n`);
        return;
      }
      if (path.endsWith('/flunders'))
        return send(200, {
          apiVersion: flunder.apiVersion,
          kind: 'FlunderList',
          metadata: { resourceVersion: '7' },
          items: [flunder],
        });
      if (path.endsWith('/flunders/f')) return send(200, flunder);
      if (path.endsWith('/flunders/away')) {
        response.writeHead(302, { location: 'https://elsewhere.example.com/' });
        response.end();
        return;
      }
      return send(404, {
        kind: 'Status',
        apiVersion: 'v1',
        metadata: {},
        status: 'Failure',
        reason: 'NotFound',
        message: 'no such thing here',
        code: 404,
      });
    },
  });
  extension.server.on('upgrade', (request, socket) => {
    socket.write(
      `HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nhello ${String(request.headers['x-remote-user'])}\n`,
    );
    socket.on('data', (d: Buffer) => socket.write(d));
    socket.on('error', () => {});
  });
  cluster.network.addBackend({
    namespace: 'wardle',
    labels: { app: 'api' },
    to: { host: '127.0.0.1', port: extension.port },
  });
});

after(async () => {
  api?.close();
  await cluster?.close();
  await extension?.[Symbol.asyncDispose]();
});

const services = '/apis/apiregistration.k8s.io/v1/apiservices';
const name = `v1alpha1.${group}`;

const condition = async (wanted: string): Promise<Json> => {
  const service = await waitForOne(cluster.client.apiregistration.apiservices, name, undefined, (s) =>
    (s.status?.conditions ?? []).some((c) => c.type === 'Available' && c.reason === wanted),
  );
  return service.status!.conditions![0];
};

test('what this server serves is registered, as upstream registers it', async () => {
  const { body } = await api.get(services);
  const byName = new Map<string, Json>(body.items.map((s: Json) => [s.metadata.name, s]));
  assert.equal(byName.has('v1.apiregistration.k8s.io'), false);
  for (const [n, [groupPriority, version]] of Object.entries({
    'v1.': [18000, 1],
    'v1.apps': [17800, 15],
    'v2.autoscaling': [17500, 30],
    'v1.flowcontrol.apiserver.k8s.io': [16100, 21],
  })) {
    const service = byName.get(n);
    assert.deepEqual(
      [service.spec.groupPriorityMinimum, service.spec.versionPriority, service.metadata.labels],
      [groupPriority, version, { 'kube-aggregator.kubernetes.io/automanaged': 'onstart' }],
    );
    const { lastTransitionTime: _, ...c } = service.status.conditions[0];
    assert.deepEqual(c, {
      type: 'Available',
      status: 'True',
      reason: 'Local',
      message: 'Local APIServices are always available',
    });
  }
  const versions = (v: string, served: boolean): Json => ({
    name: v,
    served,
    storage: v === 'v1',
    schema: { openAPIV3Schema: { type: 'object' } },
  });
  const crd = {
    metadata: { name: 'gadgets.stable.example.com' },
    spec: {
      group: 'stable.example.com',
      scope: 'Namespaced',
      names: { plural: 'gadgets', kind: 'Gadget' },
      versions: [versions('v1', true), versions('v2', true)],
    },
  };
  const crds = '/apis/apiextensions.k8s.io/v1/customresourcedefinitions';
  assert.equal((await api.create(crds, crd)).status, 201);
  const made = await waitForOne(
    cluster.client.apiregistration.apiservices,
    'v2.stable.example.com',
    undefined,
    () => true,
  );
  assert.deepEqual(
    [made.spec!.groupPriorityMinimum, made.spec!.versionPriority, made.metadata.labels],
    [1000, 100, { 'kube-aggregator.kubernetes.io/automanaged': 'true' }],
  );
  await api.merge(`${crds}/gadgets.stable.example.com`, {
    spec: { versions: [versions('v1', true), versions('v2', false)] },
  });
  await waitFor(
    cluster.client.apiregistration.apiservices,
    {},
    (all) => !all.some((s) => s.metadata.name === 'v2.stable.example.com'),
  );
  // Who takes one of them away gets it back.
  await api.delete(`${services}/v1.stable.example.com`);
  await waitForOne(cluster.client.apiregistration.apiservices, 'v1.stable.example.com', undefined, () => true);
  await api.delete(`${crds}/gadgets.stable.example.com`);
  await waitFor(
    cluster.client.apiregistration.apiservices,
    {},
    (all) => !all.some((s) => s.metadata.name === 'v1.stable.example.com'),
  );
});

test('an APIService made by hand leads away from a definition, and without it the definition is back', async () => {
  const of = 'handed.example.com';
  const schema = { openAPIV3Schema: { type: 'object', 'x-kubernetes-preserve-unknown-fields': true } };
  const crd = {
    apiVersion: 'apiextensions.k8s.io/v1',
    kind: 'CustomResourceDefinition',
    metadata: { name: `things.${of}` },
    spec: {
      group: of,
      scope: 'Cluster',
      names: { plural: 'things', kind: 'Thing' },
      versions: [{ name: 'v1', served: true, storage: true, schema }],
    },
  };
  const crds = '/apis/apiextensions.k8s.io/v1/customresourcedefinitions';
  const things = `/apis/${of}/v1/things`;
  const thing = { apiVersion: `${of}/v1`, kind: 'Thing', metadata: { name: 'x' } };
  const at = `${services}/v1.${of}`;
  const byHand = {
    apiVersion: 'apiregistration.k8s.io/v1',
    kind: 'APIService',
    metadata: { name: `v1.${of}`, labels: { mine: 'yes' } },
    spec: {
      group: of,
      version: 'v1',
      groupPriorityMinimum: 100,
      versionPriority: 100,
      insecureSkipTLSVerify: true,
      service: { namespace: 'nowhere', name: 'nobody' },
    },
  };
  const managed = async (): Promise<void> => {
    const label = 'kube-aggregator.kubernetes.io/automanaged';
    const is = (s: { metadata: { labels?: Record<string, string> } }): boolean => s.metadata.labels?.[label] === 'true';
    await waitForOne(cluster.client.apiregistration.apiservices, `v1.${of}`, undefined, is);
  };
  // The APIService is there first.
  assert.equal((await api.create(services, byHand)).status, 201);
  assert.equal((await api.create(crds, crd)).status, 201);
  await waitForOne(cluster.client.apiextensions.customresourcedefinitions, `things.${of}`, undefined, (d) =>
    (d.status?.conditions ?? []).some((c) => c.type === 'Established' && c.status === 'True'),
  );
  assert.equal((await api.get(things)).status, 503);
  assert.deepEqual((await api.get(at)).body.metadata.labels, { mine: 'yes' });
  assert.equal((await api.delete(at)).status, 200);
  await managed();
  assert.equal((await api.create(things, thing)).status, 201);
  // It takes the place of the one that was made for the definition.
  const { metadata } = (await api.get(at)).body;
  const { resourceVersion } = metadata;
  const put = { ...byHand, metadata: { ...byHand.metadata, resourceVersion } };
  assert.equal((await api.request('PUT', at, put)).status, 200);
  assert.equal((await api.get(things)).status, 503);
  // The definition going takes nothing of it along.
  assert.equal((await api.delete(`${crds}/things.${of}`)).status, 200);
  await waitFor(
    cluster.client.apiextensions.customresourcedefinitions,
    {},
    (all) => !all.some((d) => d.metadata.name === `things.${of}`),
  );
  assert.deepEqual((await api.get(at)).body.metadata.labels, { mine: 'yes' });
  assert.equal((await api.delete(at)).status, 200);
});

test('an aggregated server becomes available step by step, and its reasons are told', async () => {
  const made = await api.create(services, {
    metadata: { name },
    spec: {
      group,
      version: 'v1alpha1',
      service: { namespace: 'wardle', name: 'api' },
      caBundle: extension.caBundle,
      groupPriorityMinimum: 2000,
      versionPriority: 200,
    },
  });
  assert.equal(made.status, 201, made.text);
  assert.deepEqual(made.warnings, []);
  assert.equal((await condition('ServiceNotFound')).message, 'service/api in "wardle" is not present');
  const refused = await api.get(`${root}/flunders`);
  assert.deepEqual([refused.status, refused.text], [503, 'service unavailable\n']);
  await api.create('/api/v1/namespaces', { metadata: { name: 'wardle' } });
  await api.create('/api/v1/namespaces/wardle/services', {
    metadata: { name: 'api' },
    spec: { selector: { app: 'api' }, ports: [{ port: 80, targetPort: 8443 }] },
  });
  assert.equal((await condition('ServicePortError')).message, 'service/api in "wardle" is not listening on port 443');
  await api.merge('/api/v1/namespaces/wardle/services/api', { spec: { ports: [{ port: 443, targetPort: 8443 }] } });
  assert.match(
    (await condition('MissingEndpoints')).message,
    /^endpointslices for service\/api in "wardle" have no addresses with port name ""$/,
  );
  await api.create('/api/v1/namespaces/wardle/pods', {
    metadata: { name: 'api', labels: { app: 'api' } },
    spec: { containers: [{ name: 'c', image: 'pause', ports: [{ containerPort: 8443 }] }] },
  });
  assert.deepEqual(
    [(await condition('Passed')).status, (await condition('Passed')).message],
    ['True', 'all checks passed'],
  );
  const check = seen.find((s) => s.url === root)!;
  assert.deepEqual([check.user, check.groups, check.proxy], ['system:kube-aggregator', 'system:masters', true]);
});

test("requests go through under the caller's name", async () => {
  seen.length = 0;
  const list = await api.request('GET', `${root}/namespaces/default/flunders?labelSelector=a%3Db`, undefined, {
    'impersonate-user': 'jane@example.com',
    'impersonate-group': 'system:masters',
    'impersonate-extra-example.com%2fscope': 'all',
    authorization: 'Bearer nothing',
    'x-remote-user': 'mallory',
  });
  assert.equal(list.status, 200, list.text);
  assert.equal(list.body.kind, 'FlunderList');
  const first = seen.find((s) => s.user === 'jane@example.com');
  assert.deepEqual(
    [
      first!.url,
      first!.user,
      first!.proxy,
      first!.headers['x-remote-extra-example.com%2fscope'],
      first!.headers['authorization'],
    ],
    [`${root}/namespaces/default/flunders?labelSelector=a%3Db`, 'jane@example.com', true, 'all', undefined],
  );
  const created = await api.create(`${root}/namespaces/default/flunders`, { metadata: { name: 'x' } });
  assert.deepEqual([created.status, created.body], [201, { metadata: { name: 'x' }, received: true }]);
  const missing = await api.get(`${root}/namespaces/default/others`);
  assert.deepEqual([missing.status, missing.body.message], [404, 'no such thing here']);
  const redirected = await api.get(`${root}/namespaces/default/flunders/away`);
  assert.deepEqual(
    [redirected.status, redirected.text],
    [502, 'the backend attempted to redirect this request, which is not permitted\n'],
  );
  // Who may not is not passed on at all.
  const forbidden = await api.request('GET', `${root}/flunders`, undefined, { 'impersonate-user': 'nobody' });
  assert.equal(forbidden.status, 403);
});

test('watches and upgrades are passed through', async () => {
  const credentials = cluster.adminCredentials!;
  const tls = { ca: credentials.certificateAuthority, cert: credentials.clientCertificate, key: credentials.clientKey };
  const { hostname: host, port } = new URL(credentials.server);
  const event = await new Promise<Json>((resolve, reject) => {
    const request = https.request(
      { ...tls, host, port, path: `${root}/namespaces/default/flunders?watch=1` },
      (response) =>
        response.once('data', (d: Buffer) => {
          resolve(JSON.parse(d.toString()));
          request.destroy();
        }),
    );
    request.on('error', reject);
    request.end();
  });
  assert.deepEqual([event.type, event.object.metadata.name], ['ADDED', 'f']);
  const echoed = await new Promise<string>((resolve, reject) => {
    const socket = connect({ ...tls, host, port: Number(port) }, () => {
      socket.write(
        `GET ${root}/namespaces/default/flunders/f/shell HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n`,
      );
    });
    let text = '';
    socket.on('error', reject);
    socket.on('data', (d: Buffer) => {
      text += d.toString();
      if (text.endsWith('hello kubernetes-admin\n')) socket.write('ping\n');
      if (!text.endsWith('ping\n')) return;
      resolve(text);
      socket.destroy();
    });
  });
  assert.match(echoed, /^HTTP\/1\.1 101 Switching Protocols\r\n[\s\S]*hello kubernetes-admin\nping\n$/);
  // The same from inside of the process.
  const transport = cluster.apiServer.localTransport({ name: 'system:apiserver', groups: ['system:masters'] });
  const watch = await transport.watch<Json>({ method: 'GET', path: `${root}/namespaces/default/flunders` });
  for await (const batch of watch) {
    assert.deepEqual([batch[0]!.type, batch[0]!.object.metadata.name], ['ADDED', 'f']);
    break;
  }
  watch.close();
  const { body } = await transport.request({ method: 'GET', path: `${root}/namespaces/default/flunders/f` });
  assert.deepEqual(body, flunder);
});

test('discovery and OpenAPI hold what the aggregated server has', async () => {
  const as = 'application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList';
  let found: Json;
  for (let i = 0; i < 100; i++) {
    const { body } = await api.request('GET', '/apis', undefined, { accept: as });
    found = body.items.find((g: Json) => g.metadata.name === group);
    if (found?.versions[0].freshness === 'Current') break;
    await new Promise((r) => setImmediate(r));
  }
  assert.deepEqual(found, {
    metadata: { name: group },
    versions: [
      {
        version: 'v1alpha1',
        resources: [
          {
            resource: 'flunders',
            responseKind: { group, version: 'v1alpha1', kind: 'Flunder' },
            scope: 'Namespaced',
            singularResource: 'flunder',
            verbs: ['get', 'list', 'watch', 'create'],
            subresources: [
              {
                subresource: 'shell',
                responseKind: { group, version: 'v1alpha1', kind: 'Flunder' },
                verbs: ['get', 'create'],
              },
            ],
          },
        ],
        freshness: 'Current',
      },
    ],
  });
  const legacy = await api.get('/apis');
  assert.deepEqual(
    legacy.body.groups.slice(-2).map((g: { name: string }) => g.name),
    [group, 'metrics.k8s.io'],
  );
  assert.deepEqual((await api.get(`/apis/${group}`)).body.preferredVersion, {
    groupVersion: `${group}/v1alpha1`,
    version: 'v1alpha1',
  });
  assert.deepEqual((await api.get(root)).body.resources[0].name, 'flunders');
  const v2 = await api.request('GET', '/openapi/v2', undefined, { accept: 'application/json' });
  assert.ok(v2.body.paths[`${root}/flunders`] !== undefined);
  assert.equal(v2.body.definitions['com.example.wardle.Flunder'].description, 'a flunder');
  const index = await api.get('/openapi/v3');
  const entry = index.body.paths[`apis/${group}/v1alpha1`].serverRelativeURL;
  const v3 = await api.get(entry);
  assert.equal(
    v3.body.paths[`${root}/flunders`].get.responses['200'].content['application/json'].schema.$ref,
    '#/components/schemas/com.example.wardle.FlunderList',
  );
});

test('a server that breaks is unavailable, and comes back', async () => {
  healthy = false;
  tells = true;
  // A look at it is provoked by a change of its Service.
  await api.merge('/api/v1/namespaces/wardle/services/api', { metadata: { labels: { look: 'again' } } });
  const failed = await condition('FailedDiscoveryCheck');
  assert.match(
    failed.message,
    /^failing or missing response from https:\/\/[\d.]+:443\/apis\/wardle\.example\.com\/v1alpha1: bad status from https:.*: 500$/,
  );
  assert.equal((await api.get(`${root}/flunders`)).status, 503);
  assert.match(
    (await api.get('/metrics')).text,
    /aggregator_unavailable_apiservice\{name="v1alpha1\.wardle\.example\.com"\} 1/,
  );
  // What it tells of itself counts all the same, with a kind where it gives none.
  const told = async (): Promise<Json | undefined> => {
    const { body } = await api.request('GET', '/apis', undefined, { accept: discoveryType });
    return body.items.find((i: Json) => i.metadata.name === group)?.versions[0];
  };
  for (let i = 0; (await told())?.resources?.[0]?.resource !== 'told'; i++) {
    assert.ok(i < 500, 'it is told of');
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  assert.deepEqual(await told(), {
    version: 'v1alpha1',
    resources: [{ resource: 'told', verbs: ['get'], responseKind: { group: '', version: '', kind: '' } }],
    freshness: 'Current',
  });
  tells = false;
  healthy = true;
  await condition('Passed');
  assert.equal((await api.get(`${root}/flunders`)).status, 200);
  await api.delete(`${services}/${name}`);
  const gone = await api.get(`${root}/flunders`);
  assert.equal(gone.status, 404);
  assert.equal(
    (await api.get('/apis')).body.groups.some((g: Json) => g.name === group),
    false,
  );
});

test('this server takes the word of an authenticating proxy, and of nobody else', async () => {
  const { certificateAuthority: ca, server } = cluster.adminCredentials!;
  // The cluster's own front-proxy certificate is not handed out; one of another authority is refused.
  const foreign = await ensurePki({
    now: Date.now(),
    random: new SystemRandom(),
    validity: defaultValidity,
    requests: [{ name: 'p', ca: 'front-proxy-ca', commonName: 'front-proxy-client', usages: ['client'] }],
  });
  const { hostname: host, port } = new URL(server);
  const ask = (tls: Json): Promise<{ status: number; body: Json }> =>
    new Promise((resolve, reject) => {
      const request = https.request(
        {
          ca,
          ...tls,
          host,
          port,
          method: 'POST',
          path: '/apis/authentication.k8s.io/v1/selfsubjectreviews',
          headers: { 'x-remote-user': 'jane', 'x-remote-group': 'friends', 'content-type': 'application/json' },
        },
        (response) => {
          const chunks: Buffer[] = [];
          response.on('data', (c: Buffer) => chunks.push(c));
          response.on('end', () =>
            resolve({ status: response.statusCode!, body: JSON.parse(Buffer.concat(chunks).toString()) }),
          );
        },
      );
      request.on('error', reject);
      request.end('{"apiVersion":"authentication.k8s.io/v1","kind":"SelfSubjectReview"}');
    });
  assert.equal((await ask({ cert: foreign.get('p.crt'), key: foreign.get('p.key') })).status, 401);
  const anonymous = await ask({});
  assert.notEqual(anonymous.body.status?.userInfo?.username, 'jane');
});
