/** What custom resources do when their definition changes, and definitions whose parts are wrong in a way that is let pass at first. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { createCluster } from '../../src/index.ts';
import type { Cluster } from '../../src/index.ts';
import { connectApi } from '../support/api.ts';
import type { Api, Json } from '../support/api.ts';

let cluster: Cluster;
let api: Api;

before(async () => {
  cluster = await createCluster({ nodes: 0, https: { port: 0 }, disable: ['cloud-controller-manager', 'dns'] });
  api = connectApi(cluster);
});

after(async () => {
  api?.close();
  await cluster?.close();
});

const definitions = '/apis/apiextensions.k8s.io/v1/customresourcedefinitions';
const group = 'changes.example.com';
const text = { type: 'string' };

interface Version {
  readonly name: string;
  readonly storage?: boolean;
  readonly properties: Json;
}

function definition(kind: string, versions: readonly Version[], spec: Json = {}): Json {
  const plural = `${kind.toLowerCase()}s`;
  return {
    apiVersion: 'apiextensions.k8s.io/v1',
    kind: 'CustomResourceDefinition',
    metadata: { name: `${plural}.${group}` },
    spec: {
      group,
      scope: 'Namespaced',
      names: { plural, singular: kind.toLowerCase(), kind, listKind: `${kind}List` },
      versions: versions.map(({ name, storage, properties }) => ({
        name,
        served: true,
        storage: storage ?? true,
        subresources: { status: {} },
        schema: { openAPIV3Schema: { type: 'object', properties } },
      })),
      ...spec,
    },
  };
}

async function until(what: string, holds: () => Promise<boolean>): Promise<void> {
  for (let i = 0; i < 1000; i++) {
    if (await holds()) return;
    await new Promise((resolve) => setImmediate(resolve));
  }
  assert.fail(`${what}: it did not come about`);
}

async function established(name: string): Promise<Json | undefined> {
  const { conditions } = (await api.get(`${definitions}/${name}`)).body.status ?? {};
  return conditions?.find((c: Json) => c.type === 'Established');
}

async function install(crd: Json): Promise<Json> {
  const made = await api.create(definitions, crd);
  assert.equal(made.status, 201, made.text);
  await until('established', async () => (await established(crd.metadata.name))?.status === 'True');
  return made.body;
}

/** Puts the definition with changed versions in place of what is there. */
async function change(name: string, versions: (before: Json[]) => Json[]): Promise<void> {
  const { body } = await api.get(`${definitions}/${name}`);
  const put = await api.request('PUT', `${definitions}/${name}`, {
    ...body,
    spec: { ...body.spec, versions: versions(body.spec.versions) },
  });
  assert.equal(put.status, 200, put.text);
}

const at = (plural: string, name = '', version = 'v1'): string =>
  `/apis/${group}/${version}/namespaces/default/${plural}${name === '' ? '' : `/${name}`}`;

test('a definition whose webhook has authorities that are none is not established', async () => {
  const clientConfig = { service: { namespace: 'default', name: 'x' }, caBundle: Buffer.from('x').toString('base64') };
  const conversion = { strategy: 'Webhook', webhook: { clientConfig, conversionReviewVersions: ['v1'] } };
  const crd = definition('Bundle', [{ name: 'v1', properties: {} }], { conversion });
  assert.equal((await api.create(definitions, crd)).status, 201);
  let condition: Json | undefined;
  await until('told', async () => (condition = await established('bundles.changes.example.com')) !== undefined);
  assert.equal(
    `${condition!.status} ${condition!.reason}: ${condition!.message}`,
    'False InvalidCABundle: The conversion webhook CABundle is invalid',
  );
});

test('lists that were good by an older definition may stay as they are', async () => {
  const properties = (keys: readonly string[], limit: Json = {}): Json => ({
    few: {
      type: 'array',
      'x-kubernetes-list-type': 'map',
      'x-kubernetes-list-map-keys': ['a'],
      items: { type: 'object', required: ['a'], properties: { a: text, b: text } },
      ...limit,
    },
    pairs: {
      type: 'array',
      'x-kubernetes-list-type': 'map',
      'x-kubernetes-list-map-keys': keys,
      items: { type: 'object', required: ['a', 'b'], properties: { a: text, b: text } },
    },
    note: text,
  });
  await install(definition('Ratchet', [{ name: 'v1', properties: properties(['a', 'b']) }]));
  const pairs = [
    { a: '1', b: '1' },
    { a: '1', b: '2' },
  ];
  const few = [{ a: '1', b: 'x' }, { a: '2' }];
  const object = { apiVersion: `${group}/v1`, kind: 'Ratchet', metadata: { name: 'r' }, pairs, few };
  const made = await api.create(at('ratchets'), object);
  assert.equal(made.status, 201, made.text);
  await change('ratchets.changes.example.com', ([v]) => [
    { ...v, schema: { openAPIV3Schema: { type: 'object', properties: properties(['a'], { maxItems: 1 }) } } },
  ]);
  await until('the stricter schema', async () => {
    const other = await api.create(`${at('ratchets')}?dryRun=All`, { ...object, metadata: { name: 'other' } });
    return other.status === 422;
  });
  const put = await api.request('PUT', at('ratchets', 'r'), { ...made.body, note: 'n' });
  assert.equal(put.status, 200, put.text);
  const turned = await api.request('PUT', at('ratchets', 'r'), { ...put.body, few: [few[1], few[0]] });
  assert.equal(turned.status, 200, 'items known by their keys may change places');
  const changed = await api.request('PUT', at('ratchets', 'r'), { ...turned.body, few: [few[1], { a: '1' }] });
  assert.match(changed.text, /few: Too many: 2: must have at most 1 item"/);
});

test('reads go on while the definition changes', async () => {
  const one: Version = { name: 'v1', properties: { note: text } };
  await install(definition('Steady', [one]));
  const made = await api.create(at('steadys'), { apiVersion: `${group}/v1`, kind: 'Steady', metadata: { name: 's' } });
  assert.equal(made.status, 201, made.text);
  let changing = true;
  const failures: string[] = [];
  const readers = [at('steadys', 's'), at('steadys')].map(async (path) => {
    while (changing) {
      const answer = await api.get(path);
      if (answer.status !== 200) failures.push(answer.text);
    }
  });
  for (let i = 0; i < 10; i++)
    await change('steadys.changes.example.com', ([v, second]) =>
      second === undefined ? [v!, { ...v, name: 'v2', storage: false }] : [v!],
    );
  changing = false;
  await Promise.all(readers);
  assert.deepEqual(failures, []);
});

test('custom resources of a namespace are not to be had of all, but to list them', async () => {
  const crd = definition('Scoped', [{ name: 'v1', properties: { spec: { type: 'object' } } }]);
  await install(crd);
  const all = `/apis/${group}/v1/scopeds`;
  const object = { apiVersion: `${group}/v1`, kind: 'Scoped', metadata: { name: 's' } };
  for (const [method, body] of [
    ['POST', object],
    ['DELETE', undefined],
  ] as const) {
    const answer = await api.request(method, all, body);
    assert.equal(`${answer.status} ${answer.body.message}`, '404 the server could not find the requested resource');
  }
  assert.equal((await api.get(all)).status, 200);
});

test('a status is checked by itself', async () => {
  const number = { type: 'integer', maximum: 10 };
  const part = { type: 'object', properties: { n: number } };
  await install(definition('Told', [{ name: 'v1', properties: { spec: part, status: part } }]));
  const object = { apiVersion: `${group}/v1`, kind: 'Told', metadata: { name: 't' }, spec: { n: 1 } };
  assert.equal((await api.create(at('tolds'), object)).status, 201);
  const wrong = await api.merge(`${at('tolds', 't')}/status`, { status: { n: 15 } });
  assert.equal(
    wrong.body.message,
    'Told.changes.example.com "t" is invalid: status.n: Invalid value: 15: n in body should be less than or equal to 10',
  );
});

test('replicas are no more than an int32 holds', async () => {
  const part = { type: 'object', 'x-kubernetes-preserve-unknown-fields': true };
  const crd = definition('Sized', [{ name: 'v1', properties: { spec: part, status: part } }]);
  crd.spec.versions[0].subresources.scale = {
    specReplicasPath: '.spec.replicas',
    statusReplicasPath: '.status.replicas',
  };
  await install(crd);
  const object = { apiVersion: `${group}/v1`, kind: 'Sized', metadata: { name: 's' }, spec: { replicas: 1 } };
  const made = await api.create(at('sizeds'), object);
  assert.equal(made.status, 201, made.text);
  const body = JSON.stringify(made.body).replace('"replicas":1', '"replicas":9223372036854775807');
  const put = await api.request('PUT', at('sizeds', 's'), body, { 'content-type': 'application/json' });
  assert.equal(put.status, 422, put.text);
});

test('OpenAPI tells by which fields custom resources are selected', async () => {
  const crd = definition('Shirt', [
    { name: 'v1', properties: { spec: { type: 'object', properties: { color: text } } } },
  ]);
  crd.spec.versions[0].selectableFields = [{ jsonPath: '.spec.color' }];
  await install(crd);
  let schema: Json | undefined;
  await until('told', async () => {
    schema = (await api.get(`/openapi/v3/apis/${group}/v1`)).body.components?.schemas?.['com.example.changes.v1.Shirt'];
    return schema !== undefined;
  });
  assert.deepEqual(schema!['x-kubernetes-selectable-fields'], [{ fieldPath: 'spec.color' }]);
  const form = { accept: 'application/com.github.proto-openapi.spec.v2@v1.0+protobuf' };
  const told = 'x-kubernetes-selectable-fields\x12\x1a\x12\x18- fieldPath: spec.color\n';
  await until('told in v2', async () =>
    (await api.request('GET', '/openapi/v2', undefined, form)).bytes.includes(told, 0, 'latin1'),
  );
});
