/**
 * CustomResourceDefinitions of several versions over the wire: conversion by name alone and by a webhook (an HTTPS server of the
 * test's own), in gets, lists, watches, patches and applies, what of it fails, and how a storage version is left behind.
 */
import assert from 'node:assert/strict';
import type { IncomingMessage } from 'node:http';
import * as https from 'node:https';
import { after, before, beforeEach, test } from 'node:test';
import { createCluster } from '../../src/index.ts';
import type { Cluster } from '../../src/index.ts';
import { connectApi } from '../support/api.ts';
import type { Api, Json } from '../support/api.ts';
import { startTlsServer } from '../support/tls-server.ts';
import type { TlsServer } from '../support/tls-server.ts';

let cluster: Cluster;
let api: Api;
let hook: TlsServer;
/** Every review that came in. */
const reviews: Json[] = [];
/** In place of the proper answer. */
let answer: ((request: Json, review: Json) => Json) | undefined;

/** v1 has `hostPort`, v2 has `host` and `port`. */
function converted(object: Json, to: string): Json {
  const out = { ...object, apiVersion: to };
  if (object.apiVersion === to) throw new Error('asked for nothing');
  if (to.endsWith('/v2')) {
    if (object.hostPort !== undefined) [out.host, out.port] = object.hostPort.split(':');
    delete out.hostPort;
  } else {
    if (object.host !== undefined) out.hostPort = `${object.host}:${object.port}`;
    delete out.host;
    delete out.port;
  }
  return out;
}

before(async () => {
  cluster = await createCluster({ nodes: 0, https: { port: 0 }, disable: ['cloud-controller-manager', 'dns'] });
  api = connectApi(cluster);
  hook = await startTlsServer({
    handle(_request, response, body) {
      const review = JSON.parse(body.toString()) as Json;
      reviews.push(review);
      const { uid, desiredAPIVersion, objects } = review.request;
      const result = answer?.(review.request, review) ?? {
        uid,
        result: { status: 'Success' },
        convertedObjects: objects.map((o: Json) => converted(o, desiredAPIVersion)),
      };
      response.writeHead(200, { 'content-type': 'application/json' });
      response.end(JSON.stringify({ apiVersion: review.apiVersion, kind: 'ConversionReview', response: result }));
    },
  });
});

after(async () => {
  api?.close();
  await cluster?.close();
  await hook?.[Symbol.asyncDispose]();
});

beforeEach(() => {
  reviews.length = 0;
  answer = undefined;
});

const text = { type: 'string' };
const version = (name: string, properties: Json, more: Json = {}): Json => ({
  name,
  served: true,
  storage: false,
  schema: { openAPIV3Schema: { type: 'object', properties } },
  ...more,
});

const definitions = '/apis/apiextensions.k8s.io/v1/customresourcedefinitions';

function definition(plural: string, versions: readonly Json[], more: Json = {}): Json {
  const kind = plural[0]!.toUpperCase() + plural.slice(1, -1);
  return {
    apiVersion: 'apiextensions.k8s.io/v1',
    kind: 'CustomResourceDefinition',
    metadata: { name: `${plural}.stable.example.com` },
    spec: {
      group: 'stable.example.com',
      scope: 'Namespaced',
      names: { plural, singular: plural.slice(0, -1), kind, listKind: `${kind}List` },
      versions,
      ...more,
    },
  };
}

const webhook = (): Json => ({
  conversion: {
    strategy: 'Webhook',
    webhook: {
      conversionReviewVersions: ['v1', 'v1beta1'],
      clientConfig: { url: `${hook.url}/crdconvert`, caBundle: hook.caBundle },
    },
  },
});

async function install(crd: Json): Promise<void> {
  const made = await api.create(definitions, crd);
  assert.equal(made.status, 201, made.text);
  await until(`${crd.metadata.name} is established`, async () => {
    const { body } = await api.get(`${definitions}/${crd.metadata.name}`);
    return body.status?.conditions?.some((c: Json) => c.type === 'Established' && c.status === 'True') === true;
  });
}

async function until(what: string, holds: () => Promise<boolean>): Promise<void> {
  for (let i = 0; i < 1000; i++) {
    if (await holds()) return;
    await new Promise((resolve) => setImmediate(resolve));
  }
  assert.fail(`${what}: it did not come about`);
}

const path = (v: string, plural: string, name = ''): string =>
  `/apis/stable.example.com/${v}/namespaces/default/${plural}${name === '' ? '' : `/${name}`}`;
const object = (v: string, kind: string, name: string, members: Json = {}): Json => ({
  apiVersion: `stable.example.com/${v}`,
  kind,
  metadata: { name },
  ...members,
});

const hosts = (): Json =>
  definition(
    'hosts',
    [
      version('v1', { hostPort: text }, { storage: true }),
      version('v2', { host: text, port: text, spec: { type: 'object', properties: { a: text, b: text } } }),
    ],
    webhook(),
  );

test('objects are converted by the webhook in gets, lists, watches and writes', async () => {
  await install(hosts());
  const first = await api.create(path('v1', 'hosts'), object('v1', 'Host', 'one', { hostPort: 'localhost:8080' }));
  assert.equal(first.status, 201, first.text);
  assert.equal(reviews.length, 0);
  const read = await api.get(path('v2', 'hosts', 'one'));
  assert.equal(read.status, 200, read.text);
  assert.deepEqual(
    [read.body.apiVersion, read.body.host, read.body.port],
    ['stable.example.com/v2', 'localhost', '8080'],
  );
  assert.equal(read.body.hostPort, undefined);
  assert.equal(read.body.metadata.uid, first.body.metadata.uid);
  assert.equal(read.body.metadata.resourceVersion, first.body.metadata.resourceVersion);
  const [review] = reviews;
  assert.equal(review.apiVersion, 'apiextensions.k8s.io/v1');
  assert.equal(review.kind, 'ConversionReview');
  assert.equal(review.request.desiredAPIVersion, 'stable.example.com/v2');
  assert.equal(review.request.objects.length, 1);

  // A write in the other version goes into the store in the storage version.
  const second = await api.create(path('v2', 'hosts'), object('v2', 'Host', 'two', { host: 'h', port: '1' }));
  assert.equal(second.status, 201, second.text);
  assert.deepEqual([second.body.host, second.body.port], ['h', '1']);
  assert.equal((await api.get(path('v1', 'hosts', 'two'))).body.hostPort, 'h:1');
  for (let i = 0; i < 8; i++)
    await api.create(path('v1', 'hosts'), object('v1', 'Host', `more-${i}`, { hostPort: `more:${i}` }));
  reviews.length = 0;
  const list = await api.get(path('v2', 'hosts'));
  assert.equal(list.status, 200, list.text);
  assert.equal(list.body.apiVersion, 'stable.example.com/v2');
  assert.deepEqual(list.body.items.map((i: Json) => `${i.apiVersion} ${i.host}:${i.port}`).slice(0, 2), [
    'stable.example.com/v2 more:0',
    'stable.example.com/v2 more:1',
  ]);
  assert.equal(list.body.items.length, 10);
  assert.ok(reviews.length <= 2, `${reviews.length} calls for one list`);
  const table = await api.request('GET', path('v2', 'hosts'), undefined, {
    accept: 'application/json;as=Table;v=v1;g=meta.k8s.io',
  });
  assert.equal(table.body.rows.length, 10);

  // Watches of both versions see every change in theirs.
  const seen = { v1: [] as string[], v2: [] as string[] };
  const stop = new AbortController();
  const follow = async (v: 'v1' | 'v2'): Promise<void> => {
    const events = await watch(
      `${path(v, 'hosts')}?watch=1&resourceVersion=${list.body.metadata.resourceVersion}`,
      stop.signal,
    );
    for await (const e of events) seen[v].push(`${e.type} ${e.object.hostPort ?? `${e.object.host} ${e.object.port}`}`);
  };
  const watching = [follow('v1'), follow('v2')];
  await api.merge(path('v1', 'hosts', 'one'), { hostPort: 'localhost:9090' });
  const patched = await api.merge(path('v2', 'hosts', 'one'), { port: '9091' });
  assert.deepEqual([patched.body.host, patched.body.port], ['localhost', '9091']);
  await api.delete(path('v2', 'hosts', 'one'));
  await until('three events each', () => Promise.resolve(seen.v1.length >= 3 && seen.v2.length >= 3));
  assert.deepEqual(seen.v1, ['MODIFIED localhost:9090', 'MODIFIED localhost:9091', 'DELETED localhost:9091']);
  assert.deepEqual(seen.v2, ['MODIFIED localhost 9090', 'MODIFIED localhost 9091', 'DELETED localhost 9091']);
  stop.abort();
  await Promise.all(watching);
});

/** The events of a watch until `signal` aborts. */
async function watch(target: string, signal: AbortSignal): Promise<AsyncIterable<Json>> {
  const credentials = cluster.adminCredentials!;
  const response = await new Promise<IncomingMessage>((resolve, reject) => {
    const request = https.request(`${credentials.server}${target}`, {
      ca: credentials.certificateAuthority,
      cert: credentials.clientCertificate,
      key: credentials.clientKey,
    });
    request.on('response', resolve);
    request.on('error', reject);
    signal.addEventListener('abort', () => request.destroy());
    request.end();
  });
  return (async function* () {
    let rest = '';
    try {
      for await (const chunk of response) {
        rest += String(chunk);
        const lines = rest.split('\n');
        rest = lines.pop()!;
        for (const line of lines) yield JSON.parse(line) as Json;
      }
    } catch (error) {
      if (!signal.aborted) throw error;
    }
  })();
}

test('applies keep what each manager owns in the version that he spoke', async () => {
  const name = path('v1', 'hosts', 'applied');
  const apply = (p: string, body: Json, manager: string, force = false) =>
    api.request('PATCH', `${p}?fieldManager=${manager}${force ? '&force=true' : ''}`, body, {
      'content-type': 'application/apply-patch+yaml',
    });
  const made = await apply(name, object('v1', 'Host', 'applied', { hostPort: 'a:1' }), 'one');
  assert.equal(made.status, 201, made.text);
  const v2 = path('v2', 'hosts', 'applied');
  const conflict = await apply(v2, object('v2', 'Host', 'applied', { port: '2' }), 'two');
  assert.equal(conflict.status, 409, conflict.text);
  assert.match(conflict.body.message, /conflict with "one": .hostPort/);
  const forced = await apply(v2, object('v2', 'Host', 'applied', { port: '2' }), 'two', true);
  assert.equal(forced.status, 200, forced.text);
  assert.deepEqual([forced.body.host, forced.body.port], ['a', '2']);
  assert.deepEqual(
    forced.body.metadata.managedFields.map((m: Json) => `${m.manager} ${m.apiVersion} ${JSON.stringify(m.fieldsV1)}`),
    ['two stable.example.com/v2 {"f:port":{}}'],
  );
  assert.equal((await api.get(name)).body.hostPort, 'a:2');
});

test('what the webhook does wrong is told as upstream tells it, and nothing is written', async () => {
  await api.create(path('v1', 'hosts'), object('v1', 'Host', 'wrong', { hostPort: 'w:1' }));
  const get = async (change: NonNullable<typeof answer>): Promise<string> => {
    answer = change;
    const { status, body } = await api.get(path('v2', 'hosts', 'wrong'));
    assert.equal(status, 500);
    return body.message;
  };
  const ok = (request: Json, edit: (o: Json) => Json): Json => ({
    uid: request.uid,
    result: { status: 'Success' },
    convertedObjects: request.objects.map((o: Json) => edit(converted(o, request.desiredAPIVersion))),
  });
  const kind = 'stable.example.com/v1, Kind=Host';
  const failed = `conversion webhook for ${kind} failed: `;
  assert.equal(
    await get(({ uid }) => ({ uid, result: { status: 'Failed', message: 'no such conversion' } })),
    `${failed}no such conversion`,
  );
  assert.equal(await get(({ uid }) => ({ uid, result: {} })), `${failed}response.result.status was '', not 'Success'`);
  assert.match(
    await get(() => ({ uid: 'x', result: { status: 'Success' } })),
    /failed: expected response.uid="[0-9a-f-]+", got "x"$/,
  );
  assert.equal(
    await get(({ uid }) => ({ uid, result: { status: 'Success' }, convertedObjects: [] })),
    `conversion webhook for ${kind} returned 0 objects, expected 1`,
  );
  assert.equal(
    await get((r) => ok(r, (o) => ({ ...o, apiVersion: 'stable.example.com/v3' }))),
    `conversion webhook for ${kind} returned invalid object at index 0: invalid groupVersion (expected stable.example.com/v2, received stable.example.com/v3)`,
  );
  assert.equal(
    await get((r) => ok(r, (o) => ({ ...o, kind: 'Guest' }))),
    `conversion webhook for ${kind} returned invalid object at index 0: invalid kind (expected Host, received Guest)`,
  );
  assert.equal(
    await get((r) => ok(r, (o) => ({ ...o, metadata: { ...o.metadata, name: 'other' } }))),
    `conversion webhook for ${kind} returned invalid object: must have the same name: wrong != other`,
  );
  assert.equal(
    await get((r) => ok(r, (o) => ({ ...o, metadata: { ...o.metadata, labels: { a: 1 } } }))),
    `conversion webhook for ${kind} returned invalid metadata: metadata.labels[a] must be a string, but is int64 in converted object`,
  );
  // Of the metadata only labels and annotations are taken over.
  answer = (r) =>
    ok(r, (o) => ({
      ...o,
      metadata: { ...o.metadata, generation: 77, finalizers: ['x/y'], annotations: { by: 'hook' } },
    }));
  const { body } = await api.get(path('v2', 'hosts', 'wrong'));
  assert.deepEqual(
    [body.metadata.generation, body.metadata.finalizers, body.metadata.annotations],
    [1, undefined, { by: 'hook' }],
  );
  answer = ({ uid }) => ({ uid, result: { status: 'Failed', message: 'not now' } });
  const write = await api.create(path('v2', 'hosts'), object('v2', 'Host', 'never', { host: 'h', port: '1' }));
  assert.equal(write.status, 500, write.text);
  assert.match(write.body.message, /not now/);
  answer = undefined;
  assert.equal((await api.get(path('v1', 'hosts', 'never'))).status, 404);
});

test('a list of objects of mixed stored versions comes in one version; the old one can be left behind', async () => {
  const crd = definition(
    'mixes',
    [version('v1', { hostPort: text }, { storage: true }), version('v2', { host: text, port: text })],
    webhook(),
  );
  await install(crd);
  await api.create(path('v1', 'mixes'), object('v1', 'Mixe', 'a', { hostPort: 'a:1' }));
  const at = `${definitions}/mixes.stable.example.com`;
  const turned = await api.request(
    'PATCH',
    at,
    [
      { op: 'replace', path: '/spec/versions/0/storage', value: false },
      { op: 'replace', path: '/spec/versions/1/storage', value: true },
    ],
    { 'content-type': 'application/json-patch+json' },
  );
  assert.equal(turned.status, 200, turned.text);
  assert.deepEqual(turned.body.status.storedVersions, ['v1', 'v2']);
  await api.create(path('v1', 'mixes'), object('v1', 'Mixe', 'b', { hostPort: 'b:2' }));
  for (const v of ['v1', 'v2']) {
    const { body } = await api.get(path(v, 'mixes'));
    assert.deepEqual(
      body.items.map((i: Json) => `${i.apiVersion} ${i.hostPort ?? `${i.host} ${i.port}`}`),
      v === 'v1'
        ? ['stable.example.com/v1 a:1', 'stable.example.com/v1 b:2']
        : ['stable.example.com/v2 a 1', 'stable.example.com/v2 b 2'],
    );
  }
  // A write that changes nothing stores the object in the new version, and then the old one is no longer needed.
  const remove = (): Promise<{ status: number; body: Json }> =>
    api.request('PATCH', at, [{ op: 'remove', path: '/spec/versions/0' }], {
      'content-type': 'application/json-patch+json',
    });
  const early = await remove();
  assert.equal(early.status, 422);
  assert.match(
    early.body.message,
    /status.storedVersions\[0\]: Invalid value: "v1": missing from spec.versions; v1 was previously a storage version/,
  );
  for (const name of ['a', 'b']) {
    const { body } = await api.get(path('v2', 'mixes', name));
    const same = await api.request('PUT', path('v2', 'mixes', name), body);
    assert.equal(same.status, 200, same.text);
    assert.equal(same.body.metadata.resourceVersion !== body.metadata.resourceVersion, name === 'a', name);
  }
  const status = await api.merge(`${at}/status`, { status: { storedVersions: ['v2'] } });
  assert.equal(status.status, 200, status.text);
  assert.equal((await remove()).status, 200);
  reviews.length = 0;
  assert.deepEqual(
    (await api.get(path('v2', 'mixes'))).body.items.map((i: Json) => i.host),
    ['a', 'b'],
  );
  assert.equal(reviews.length, 0);
});

test('without a webhook versions differ in their name, and each is judged by its own schema', async () => {
  await install(
    definition('plains', [
      version(
        'v1',
        { a: { ...text, maxLength: 3 }, b: text, onlyOne: text, late: { ...text, default: 'v1' } },
        { storage: true },
      ),
      version(
        'v2',
        { a: text, b: { ...text, default: 'b' }, late: text, onlyTwo: text },
        {
          selectableFields: [{ jsonPath: '.b' }],
          additionalPrinterColumns: [{ name: 'B', type: 'string', jsonPath: '.b' }],
        },
      ),
    ]),
  );
  const made = await api.create(path('v1', 'plains'), object('v1', 'Plain', 'x', { a: 'abc', onlyOne: '1' }));
  assert.equal(made.status, 201, made.text);
  const read = await api.get(path('v2', 'plains', 'x'));
  // What was stored has the defaults of the version that it lies in, none of the one that is asked for, and what both know.
  assert.deepEqual([read.body.a, read.body.b, read.body.late, read.body.onlyOne], ['abc', undefined, 'v1', undefined]);
  assert.equal((await api.get(path('v1', 'plains', 'x'))).body.onlyOne, '1');
  const long = await api.create(path('v2', 'plains'), object('v2', 'Plain', 'y', { a: 'abcdef', b: 'other' }));
  assert.equal(long.status, 201, long.text);
  // The answer is what came to lie there, read again.
  const lossy = await api.create(path('v2', 'plains'), object('v2', 'Plain', 'w', { onlyTwo: '2' }));
  assert.deepEqual([lossy.status, lossy.body.b, lossy.body.late, lossy.body.onlyTwo], [201, 'b', 'v1', undefined]);
  const again = await api.get(path('v2', 'plains', 'w'));
  assert.deepEqual(again.body, lossy.body);
  const refused = await api.create(path('v1', 'plains'), object('v1', 'Plain', 'z', { a: 'abcdef' }));
  assert.equal(refused.status, 422);
  assert.match(refused.body.message, /a: Too long: may not be more than 3 bytes/);
  const selected = await api.get(`${path('v2', 'plains')}?fieldSelector=b%3Dother`);
  assert.deepEqual(
    selected.body.items.map((i: Json) => i.metadata.name),
    ['y'],
  );
  const unknown = await api.get(`${path('v1', 'plains')}?fieldSelector=b%3Dother`);
  assert.equal(unknown.status, 400);
  assert.equal(unknown.body.message, 'field label not supported: b');
});

test('a default of the storage version shows in the others as soon as it is there, and goes with it', async () => {
  const of = (more: Json = {}, status: Json = {}): Json => ({
    spec: { type: 'object', default: {}, properties: { a: { ...text, default: 'A' }, c: text, ...more } },
    status: { type: 'object', properties: { a: { ...text, default: 'A' }, c: text, ...status } },
  });
  const c = { ...text, default: 'C' };
  const versions = (one: Json, two: Json): Json[] => [
    version('v1', one, { subresources: { status: {} } }),
    version('v2', two, { served: false, storage: true, subresources: { status: {} } }),
  ];
  await install(definition('lates', versions(of(), of())));
  const made = await api.create(path('v1', 'lates'), object('v1', 'Late', 'x', { status: { c: 'x' } }));
  assert.deepEqual([made.status, made.body.spec, made.body.status], [201, { a: 'A' }, undefined]);
  const at = path('v1', 'lates', 'x');
  const put = await api.request('PUT', `${at}/status`, { ...made.body, status: {} });
  assert.deepEqual([put.status, put.body.status], [200, { a: 'A' }]);
  const turn = async (one: Json, two: Json): Promise<void> => {
    const spec = { versions: versions(one, two) };
    const turned = await api.merge(`${definitions}/lates.stable.example.com`, { spec });
    assert.equal(turned.status, 200, turned.text);
  };
  await turn(of(), of({ c }, { c }));
  await until('the default', async () => (await api.get(at)).body.spec.c === 'C');
  const cached = (await api.get(`${path('v1', 'lates')}?resourceVersion=0`)).body.items[0];
  assert.deepEqual(
    [cached.spec, cached.status],
    [
      { a: 'A', c: 'C' },
      { a: 'A', c: 'C' },
    ],
  );
  await turn(of({ c }, { c }), of());
  await until('the default to go', async () => (await api.get(at)).body.spec.c === undefined);
  // A request has the defaults of its own version, and a write of the status takes the status alone.
  const written = await api.request('PUT', `${at}/status`, (await api.get(at)).body);
  assert.deepEqual([written.body.spec, written.body.status], [{ a: 'A' }, { a: 'A', c: 'C' }]);
  await turn(of(), of());
  await until('what is stored', async () => (await api.get(at)).body.spec.c === undefined);
  assert.deepEqual((await api.get(at)).body.status, { a: 'A', c: 'C' });
});

test('what lies in a version that the definition has given up cannot be read any more', async () => {
  const both = (storage: string): Json[] =>
    ['v1', 'v2'].map((name) => version(name, { a: text }, { storage: name === storage }));
  await install(definition('losts', both('v1')));
  const crd = `${definitions}/losts.stable.example.com`;
  const made = await api.create(path('v1', 'losts'), object('v1', 'Lost', 'x', { a: '1' }));
  assert.equal(made.status, 201, made.text);
  const turn = async (at: string, change: Json): Promise<void> => {
    const turned = await api.merge(at, change);
    assert.equal(turned.status, 200, turned.text);
  };
  await turn(crd, { spec: { versions: both('v2') } });
  assert.equal((await api.get(path('v2', 'losts', 'x'))).body.a, '1');
  assert.deepEqual((await api.get(crd)).body.status.storedVersions, ['v1', 'v2']);
  assert.equal((await api.create(path('v2', 'losts'), object('v2', 'Lost', 'y', { a: '2' }))).status, 201);
  await turn(`${crd}/status`, { status: { storedVersions: ['v2'] } });
  await turn(crd, { spec: { versions: both('v2').slice(1) } });
  const why = 'request to convert CR from an invalid group/version: stable.example.com/v1';
  await until('its end', async () => (await api.get(path('v2', 'losts', 'x'))).status === 500);
  assert.deepEqual((await api.get(path('v2', 'losts', 'x'))).body, {
    kind: 'Status',
    apiVersion: 'v1',
    metadata: {},
    status: 'Failure',
    message: why,
    code: 500,
  });
  for (const answered of [
    await api.get(path('v2', 'losts')),
    await api.merge(path('v2', 'losts', 'x'), { a: '2' }),
    await api.delete(path('v2', 'losts', 'x')),
  ])
    assert.deepEqual([answered.status, answered.body.message], [500, why]);
  // Others are there, each by itself; the definition cannot go.
  assert.equal((await api.get(path('v2', 'losts', 'y'))).body.a, '2');
  assert.equal((await api.merge(path('v2', 'losts', 'y'), { a: '3' })).body.a, '3');
  assert.equal((await api.delete(crd)).status, 200);
  const terminating = async (): Promise<Json> =>
    (await api.get(crd)).body.status?.conditions.find((c: Json) => c.type === 'Terminating');
  await until('a failure', async () => (await terminating())?.reason === 'InstanceDeletionFailed');
  assert.equal((await terminating()).message, `could not list instances: ${why}`);
  // The version coming back, all of it is there again, and goes.
  await turn(crd, { spec: { versions: both('v2') } });
  await until('its end', async () => (await api.get(crd)).status === 404);
});

test('what managers own in a version that is no more cannot be told any more', async () => {
  await install(
    definition('gones', [
      { ...version('v1', { a: text }), storage: false },
      version('v2', { a: text, b: text }, { storage: true }),
    ]),
  );
  for (const name of ['x', 'y']) {
    const made = await api.apply(path('v1', 'gones', name), object('v1', 'Gone', name, { a: '1' }));
    assert.equal(made.status, 201, made.text);
  }
  const dropped = await api.request(
    'PATCH',
    `${definitions}/gones.stable.example.com`,
    [{ op: 'remove', path: '/spec/versions/0' }],
    { 'content-type': 'application/json-patch+json' },
  );
  assert.equal(dropped.status, 200, dropped.text);
  const apply = (): Promise<{ status: number; body: Json }> =>
    api.apply(path('v2', 'gones', 'x'), object('v2', 'Gone', 'x', { a: '1', b: '2' }));
  for (let i = 0; (await apply()).status === 200 && i < 100; i++) await new Promise((r) => setImmediate(r));
  assert.deepEqual((await apply()).body, {
    kind: 'Status',
    apiVersion: 'v1',
    metadata: {},
    status: 'Failure',
    message: 'request to convert CR to an invalid group/version: stable.example.com/v1',
    code: 500,
  });
  // Other writes go through, and nobody owns anything from then on.
  const merged = await api.merge(path('v2', 'gones', 'y'), { b: '2' });
  assert.deepEqual([merged.status, merged.body.b, merged.body.metadata.managedFields], [200, '2', undefined]);
  assert.equal((await api.apply(path('v2', 'gones', 'y'), object('v2', 'Gone', 'y', { b: '2' }))).status, 200);
});
