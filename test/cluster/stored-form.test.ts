/** What lies in the store: JSON or protobuf by `--storage-media-type`, and what others have stored in either, in old versions, or encrypted. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { loadCatalog } from '../../src/api/catalog/catalog.ts';
import { ProtobufObjects } from '../../src/api/protobuf.ts';
import { createWorkspace, startApiServer, startStore } from '../support/api-server.ts';
import type { TestStore, Workspace } from '../support/api-server.ts';
import type { Api, Json } from '../support/api.ts';

let work: Workspace;
let etcd: TestStore;
const protobuf = new ProtobufObjects(loadCatalog());
const asProtobuf = '--storage-media-type=application/vnd.kubernetes.protobuf';

before(async () => {
  work = await createWorkspace();
  etcd = await startStore();
});

after(async () => {
  await etcd[Symbol.asyncDispose]();
  work.dispose();
});

async function raw(key: string): Promise<Buffer> {
  const { kvs } = await etcd.store.range({ key: `/registry/${key}` });
  assert.equal(kvs.length, 1, `${key} is in the store`);
  return kvs[0]!.value;
}

async function seed(key: string, value: Buffer): Promise<void> {
  const result = await etcd.store.commit({ key: `/registry/${key}`, expectModRevision: 0, value });
  assert.ok(result.ok);
}

const core = '/api/v1/namespaces/default';
const definitions = '/apis/apiextensions.k8s.io/v1/customresourcedefinitions';
const service = { metadata: { name: 's' }, spec: { type: 'NodePort', ports: [{ port: 80, nodePort: 30_123 }] } };

const cog = { apiVersion: 'b.example.com/v1' };
const definition = {
  metadata: { name: 'cogs.b.example.com' },
  spec: {
    group: 'b.example.com',
    scope: 'Namespaced',
    names: { plural: 'cogs', kind: 'Cog' },
    versions: [{ name: 'v1', served: true, storage: true, schema: { openAPIV3Schema: { type: 'object' } } }],
  },
};

async function established(api: Api, name: string): Promise<Json> {
  for (let i = 0; i < 500; i++) {
    const { body } = await api.get(`${definitions}/${name}`);
    const conditions: Json[] = body.status?.conditions ?? [];
    if (conditions.some((c) => c.type === 'Established' && c.status === 'True')) return body;
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  throw new Error(`${name} is not established`);
}

test('built-in objects go in as protobuf, custom ones and their definitions as JSON; both are read, and rewritten by a PUT', async () => {
  let json: Json;
  {
    await using server = await startApiServer(work, etcd, [asProtobuf]);
    const { api } = server;
    const made = await api.create(`${core}/configmaps`, {
      metadata: { name: 'a', labels: { x: 'y' } },
      data: { k: 'v' },
    });
    assert.equal(made.status, 201);
    assert.equal((await api.create(`${core}/services`, service)).status, 201);
    const value = await raw('configmaps/default/a');
    assert.equal(value.subarray(0, 4).toString('latin1'), 'k8s\0');
    const { resourceVersion, ...metadata } = made.body.metadata;
    assert.deepEqual(protobuf.decode(value), { ...made.body, metadata });
    assert.match((await raw('ranges/servicenodeports')).toString('latin1'), /^k8s\0[^]*RangeAllocation/);
    // What is served comes of what was sent, byte for byte as it was answered.
    assert.equal((await api.get(`${core}/configmaps/a`)).text, made.text);
    const merged = await api.merge(`${core}/configmaps/a`, { data: { l: 'w' } });
    const changed: Json = protobuf.decode(await raw('configmaps/default/a'));
    assert.equal(changed.data.l, 'w');
    assert.notEqual(merged.body.metadata.resourceVersion, resourceVersion);
    assert.equal((await api.create(definitions, definition)).status, 201);
    await established(api, 'cogs.b.example.com');
    const cogs = '/apis/b.example.com/v1/namespaces/default/cogs';
    assert.equal((await api.create(cogs, { ...cog, kind: 'Cog', metadata: { name: 'c' } })).status, 201);
    for (const key of [
      'apiextensions.k8s.io/customresourcedefinitions/cogs.b.example.com',
      'b.example.com/cogs/default/c',
      'apiregistration.k8s.io/apiservices/v1.',
    ])
      assert.match((await raw(key)).toString(), /^\{"/, key);
    json = (await api.get(`${core}/configmaps/a`)).body;
    await server.stop();
  }
  await using server = await startApiServer(work, etcd);
  const { api } = server;
  assert.deepEqual((await api.get(`${core}/configmaps/a`)).body, json);
  const listed = (await api.get(`${core}/configmaps?labelSelector=x%3Dy`)).body.items;
  assert.deepEqual(listed[0].data, json.data);
  // The ports taken are known.
  const second = await api.create(`${core}/services`, { ...service, metadata: { name: 't' } });
  assert.equal(second.status, 422);
  assert.match(second.body.message, /provided port is already allocated/);
  // As a storage migration does it: what changes nothing is written all the same, in the form of today, and once.
  const again = await api.request('PUT', `${core}/configmaps/a`, json);
  assert.equal(again.status, 200);
  assert.notEqual(again.body.metadata.resourceVersion, json.metadata.resourceVersion);
  assert.match((await raw('configmaps/default/a')).toString(), /^\{"kind":"ConfigMap"/);
  const third = await api.request('PUT', `${core}/configmaps/a`, again.body);
  assert.equal(third.body.metadata.resourceVersion, again.body.metadata.resourceVersion);
});

test('what another server stores while this one runs comes through watches, in any form', async () => {
  await using server = await startApiServer(work, etcd);
  const { api } = server;
  const { resourceVersion } = (await api.get(`${core}/configmaps`)).body.metadata;
  const metadata = { name: 'theirs', namespace: 'default', uid: '7c0e3c2e-7f6c-4a0e-8a2e-4ed7a3d5f001' };
  const object = { apiVersion: 'v1', kind: 'ConfigMap', metadata, data: { from: 'elsewhere' } };
  await seed('configmaps/default/theirs', protobuf.encode(object));
  const watched = await api.get(
    `${core}/configmaps?watch=true&timeoutSeconds=1&resourceVersion=${resourceVersion}&fieldSelector=metadata.name%3Dtheirs`,
  );
  const event = JSON.parse(watched.text.split('\n')[0]!) as Json;
  assert.equal(event.type, 'ADDED');
  assert.deepEqual(event.object.data, object.data);
  assert.equal((await api.get(`${core}/configmaps/theirs`)).body.metadata.uid, metadata.uid);
  assert.equal((await api.delete(`${core}/configmaps/theirs`)).status, 200);
});

test('protobuf within encryption', async () => {
  const key = Buffer.alloc(32, 7).toString('base64');
  const providers = [{ aescbc: { keys: [{ name: 'k', secret: key }] } }, { identity: {} }];
  const kind = { apiVersion: 'apiserver.config.k8s.io/v1', kind: 'EncryptionConfiguration' };
  const file = work.write('enc.json', { ...kind, resources: [{ resources: ['secrets'], providers }] });
  const encrypted = `--encryption-provider-config=${file}`;
  let text: string;
  {
    await using server = await startApiServer(work, etcd, [asProtobuf, encrypted]);
    await server.api.create(`${core}/secrets`, { metadata: { name: 'e' }, stringData: { p: 'hush' } });
    text = (await server.api.get(`${core}/secrets/e`)).text;
    assert.match((await raw('secrets/default/e')).toString('latin1'), /^k8s:enc:aescbc:v1:k:/);
    await server.stop();
  }
  await using server = await startApiServer(work, etcd, [encrypted]);
  assert.equal((await server.api.get(`${core}/secrets/e`)).text, text);
});

test('definitions as upstream stores them, in v1beta1', async () => {
  const schema = {
    openAPIV3Schema: {
      type: 'object',
      properties: { spec: { type: 'object', properties: { x: { type: 'string', default: 'hi' } } } },
    },
  };
  const column = { name: 'x', type: 'string', priority: 1 };
  const theirs = {
    kind: 'CustomResourceDefinition',
    apiVersion: 'apiextensions.k8s.io/v1beta1',
    metadata: { name: 'gears.b.example.com', uid: '7c0e3c2e-7f6c-4a0e-8a2e-4ed7a3d5f002', generation: 1 },
    spec: {
      group: 'b.example.com',
      version: 'v1',
      names: { plural: 'gears', singular: 'gear', kind: 'Gear', listKind: 'GearList' },
      scope: 'Namespaced',
      validation: schema,
      subresources: { status: {} },
      versions: [{ name: 'v1', served: true, storage: true }],
      additionalPrinterColumns: [{ ...column, JSONPath: '.spec.x' }],
      conversion: { strategy: 'None' },
      preserveUnknownFields: false,
    },
    status: { conditions: [], acceptedNames: { plural: '', kind: '' }, storedVersions: ['v1'] },
  };
  await seed('apiextensions.k8s.io/customresourcedefinitions/gears.b.example.com', Buffer.from(JSON.stringify(theirs)));
  await using server = await startApiServer(work, etcd);
  const { api } = server;
  const { spec } = await established(api, 'gears.b.example.com');
  assert.deepEqual(spec, {
    group: 'b.example.com',
    names: theirs.spec.names,
    scope: 'Namespaced',
    versions: [
      {
        name: 'v1',
        served: true,
        storage: true,
        schema,
        subresources: { status: {} },
        additionalPrinterColumns: [{ ...column, jsonPath: '.spec.x' }],
      },
    ],
    conversion: { strategy: 'None' },
  });
  const made = await api.create('/apis/b.example.com/v1/namespaces/default/gears', {
    ...cog,
    kind: 'Gear',
    metadata: { name: 'g' },
    spec: {},
  });
  assert.deepEqual(made.body.spec, { x: 'hi' });
});

test('objects of the time before members that all have today are read with them, and can be replaced by themselves', async () => {
  const at = { namespace: 'default', uid: '7c0e3c2e-7f6c-4a0e-8a2e-4ed7a3d5f003', creationTimestamp: null };
  const old = async (key: string, kind: string, name: string, rest: object): Promise<void> =>
    seed(
      key,
      Buffer.from(`${JSON.stringify({ kind, apiVersion: 'v1', metadata: { name, ...at }, ...rest })}\n`, 'utf8'),
    );
  const ports = [{ port: 80 }];
  await old('services/specs/default/old', 'Service', 'old', { spec: { ports, clusterIP: '10.0.0.77' } });
  await old('services/specs/default/headless', 'Service', 'headless', { spec: { ports, clusterIP: 'None' } });
  await old('services/specs/default/away', 'Service', 'away', {
    spec: { type: 'ExternalName', externalName: 'a.example.com', internalTrafficPolicy: 'Cluster' },
  });
  const dataSource = { kind: 'PersistentVolumeClaim', name: 'other' };
  await old('persistentvolumeclaims/default/old', 'PersistentVolumeClaim', 'old', {
    spec: { accessModes: ['ReadWriteOnce'], resources: { requests: { storage: '1' } }, dataSource },
  });
  await using server = await startApiServer(work, etcd);
  const { api } = server;
  const specs = new Map<string, Json>();
  for (const path of ['services/old', 'services/headless', 'services/away', 'persistentvolumeclaims/old']) {
    const { body } = await api.get(`${core}/${path}`);
    specs.set(path, body.spec);
    const put = await api.request('PUT', `${core}/${path}`, body);
    assert.equal(put.status, 200, put.text);
    assert.deepEqual(put.body.spec, body.spec);
  }
  const { clusterIPs, ipFamilies, ipFamilyPolicy, internalTrafficPolicy } = specs.get('services/old')!;
  assert.deepEqual(
    [clusterIPs, ipFamilies, ipFamilyPolicy, internalTrafficPolicy],
    [['10.0.0.77'], ['IPv4'], 'SingleStack', 'Cluster'],
  );
  const headless = specs.get('services/headless')!;
  assert.deepEqual([headless.ipFamilies, headless.ipFamilyPolicy], [['IPv4', 'IPv6'], 'RequireDualStack']);
  assert.equal(specs.get('services/away')!.internalTrafficPolicy, undefined);
  const claim = specs.get('persistentvolumeclaims/old')!;
  assert.deepEqual([claim.volumeMode, claim.dataSourceRef], ['Filesystem', { apiGroup: null, ...dataSource }]);
  const away = await api.create(`${core}/services`, {
    metadata: { name: 'away2' },
    spec: { type: 'ExternalName', externalName: 'a.example.com', internalTrafficPolicy: 'Cluster' },
  });
  assert.deepEqual(away.body.spec.internalTrafficPolicy, undefined, 'taken, and dropped');
});

test('protobuf of versions that are served no more', async () => {
  const budget = async (name: string, selector: Json): Promise<void> => {
    const schema = loadCatalog().schemaForKind({ group: 'policy', version: 'v1', kind: 'PodDisruptionBudget' })!;
    const field = (n: number, bytes: Buffer): Buffer => {
      const length = [(bytes.length & 127) | 128, bytes.length >> 7];
      return Buffer.concat([Buffer.from([(n << 3) | 2, ...length]), bytes]);
    };
    const type = [field(1, Buffer.from('policy/v1beta1')), field(2, Buffer.from('PodDisruptionBudget'))];
    const metadata = { name, namespace: 'default', uid: 'u' };
    const raw = protobuf.encodeMessage(schema, { metadata, spec: { minAvailable: 1, selector } });
    const value = Buffer.concat([Buffer.from('k8s\0'), field(1, Buffer.concat(type)), field(2, raw)]);
    await seed(`poddisruptionbudgets/default/${name}`, value);
  };
  const marker = 'pdb.kubernetes.io/deprecated-v1beta1-empty-selector-match';
  await budget('none', {});
  await budget('all', { matchExpressions: [{ key: marker, operator: 'DoesNotExist' }] });
  await budget('some', { matchLabels: { a: 'b' } });
  await using server = await startApiServer(work, etcd);
  const { items } = (await server.api.get('/apis/policy/v1/namespaces/default/poddisruptionbudgets')).body;
  assert.deepEqual(
    items.map((item: Json) => [item.metadata.name, item.spec.minAvailable, item.spec.selector]),
    [
      ['all', 1, {}],
      ['none', 1, { matchExpressions: [{ key: marker, operator: 'Exists' }] }],
      ['some', 1, { matchLabels: { a: 'b' } }],
    ],
  );
});

test('other media types are refused', async () => {
  await assert.rejects(
    startApiServer(work, etcd, ['--storage-media-type=text/plain']),
    /--storage-media-type "text\/plain" invalid, allowed values: application\/json, application\/vnd.kubernetes.protobuf/,
  );
});
