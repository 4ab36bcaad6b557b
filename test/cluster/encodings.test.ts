/**
 * What goes in and comes out in which form, over TLS: negotiation by `Accept` with qualities and parameters, JSON plain and
 * pretty, YAML, gzip, protobuf, CBOR behind its feature gate; what is refused, and in which words.
 */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { gunzipSync } from 'node:zlib';
import { loadCatalog } from '../../src/api/catalog/catalog.ts';
import { CborObjects } from '../../src/api/codec/cbor-objects.ts';
import { decodeCbor } from '../../src/api/codec/cbor.ts';
import { ProtobufObjects } from '../../src/api/protobuf.ts';
import type { Answer, Api, Json } from '../support/api.ts';
import { createWorkspace, startApiServer, startStore } from '../support/api-server.ts';
import type { RunningApiServer, TestStore, Workspace } from '../support/api-server.ts';

const protobufType = 'application/vnd.kubernetes.protobuf';
const cborType = 'application/cbor';
const catalog = loadCatalog();
const protobuf = new ProtobufObjects(catalog);
const cbor = new CborObjects(catalog);

let work: Workspace;
let stores: TestStore[];
let plain: RunningApiServer;
let withCbor: RunningApiServer;

before(async () => {
  work = await createWorkspace();
  stores = [await startStore(), await startStore()];
  plain = await startApiServer(work, stores[0]!);
  withCbor = await startApiServer(work, stores[1]!, ['--feature-gates=CBORServingAndStorage=true']);
  for (const { api } of [plain, withCbor]) {
    const made = await api.create('/apis/apiextensions.k8s.io/v1/customresourcedefinitions', {
      metadata: { name: 'things.encodings.example.com' },
      spec: {
        group: 'encodings.example.com',
        scope: 'Cluster',
        names: { plural: 'things', kind: 'Thing' },
        versions: [
          {
            name: 'v1',
            served: true,
            storage: true,
            schema: { openAPIV3Schema: { type: 'object', 'x-kubernetes-preserve-unknown-fields': true } },
          },
        ],
      },
    });
    assert.equal(made.status, 201, made.text);
  }
});

after(async () => {
  await plain[Symbol.asyncDispose]();
  await withCbor[Symbol.asyncDispose]();
  for (const store of stores) await store[Symbol.asyncDispose]();
  work.dispose();
});

const accept = (value: string): Record<string, string> => ({ accept: value });
const things = '/apis/encodings.example.com/v1/things';
const configMaps = '/api/v1/namespaces/default/configmaps';

/** Custom resources are served a moment after their definition. */
async function served(api: Api): Promise<void> {
  while ((await api.get(things)).status === 404);
}

test('the best of what a client accepts is given', async () => {
  const { api } = plain;
  const type = async (header: string, path = '/api/v1/namespaces/default'): Promise<string | number> => {
    const { status, headers } = await api.request('GET', path, undefined, accept(header));
    return status === 200 ? String(headers['content-type']) : status;
  };
  assert.equal(await type('*/*'), 'application/json');
  assert.equal(await type('application/yaml'), 'application/yaml');
  assert.equal(await type('application/json;q=0.5, application/yaml'), 'application/yaml');
  assert.equal(await type('application/yaml;q=0.2,application/vnd.kubernetes.protobuf;q=0.9,*/*;q=0.1'), protobufType);
  assert.equal(await type('text/html, application/xhtml+xml, application/xml;q=0.9, */*;q=0.8'), 'application/json');
  assert.equal(await type('text/plain'), 406);
  assert.equal(await type(cborType), 406, 'the gate is off');
  assert.equal(await type(`${cborType},application/json`), 'application/json');
  assert.equal(await type('application/json;as=Nonsense;g=meta.k8s.io;v=v1'), 406);
  assert.equal(await type('application/json;as=Table;g=meta.k8s.io;v=v2'), 406);
  assert.equal(
    await type('application/json;as=Table;g=meta.k8s.io;v=v2,application/json;as=Table;g=meta.k8s.io;v=v1'),
    'application/json',
  );
  assert.equal(await type(`${protobufType};as=Table;g=meta.k8s.io;v=v1,application/json`), 'application/json');
  assert.equal(await type('application/yaml', `${configMaps}?watch=1&timeoutSeconds=1`), 406);
  const refused = await api.request('GET', '/api/v1/nodes', undefined, accept('text/plain'));
  assert.deepEqual(
    [refused.body.reason, refused.body.message],
    [
      'NotAcceptable',
      '406: Not Acceptable\n\nAvailable representations: application/json, application/yaml, application/vnd.kubernetes.protobuf, application/json;stream=watch, application/vnd.kubernetes.protobuf;stream=watch',
    ],
  );
});

test('pretty is asked for by query, by parameter, or by being a browser', async () => {
  const { api } = plain;
  const isPretty = async (path: string, headers: Record<string, string> = {}): Promise<boolean> => {
    const { text } = await api.request('GET', path, undefined, headers);
    return text.startsWith('{\n  "kind"');
  };
  const path = '/api/v1/namespaces/default';
  assert.equal(await isPretty(path), false);
  assert.equal(await isPretty(`${path}?pretty=true`), true);
  assert.equal(await isPretty(`${path}?pretty=0`, { 'user-agent': 'curl/8' }), false);
  assert.equal(await isPretty(path, { 'user-agent': 'curl/8' }), true);
  assert.equal(await isPretty(path, accept('application/json;pretty=1')), true);
});

test('YAML goes in and comes out', async () => {
  const { api } = plain;
  const yaml = 'apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: from-yaml\ndata:\n  "yes": "on"\n  k: "1"\n';
  const made = await api.request('POST', configMaps, yaml, {
    'content-type': 'application/yaml',
    accept: 'application/yaml',
  });
  assert.equal(made.status, 201, made.text);
  assert.equal(made.headers['content-type'], 'application/yaml');
  assert.match(made.text, /^apiVersion: v1\ndata:\n {2}k: "1"\n {2}"yes": "on"\nkind: ConfigMap\n/);
  const missing = await api.request('GET', `${configMaps}/none`, undefined, accept('application/yaml'));
  assert.equal(missing.status, 404);
  assert.match(missing.text, /^apiVersion: v1\ncode: 404\n/);
  const list = await api.request('GET', configMaps, undefined, accept('application/yaml'));
  assert.match(list.text, /^apiVersion: v1\nitems:\n- apiVersion|^apiVersion: v1\nitems:\n- data:/);
});

test('long answers are compressed for those who take it', async () => {
  const { api } = plain;
  const made = await api.create(configMaps, { metadata: { name: 'long' }, data: { a: 'x'.repeat(200_000) } });
  assert.equal(made.status, 201);
  for (const type of ['application/json', protobufType, 'application/yaml']) {
    const path = `${configMaps}/long`;
    const whole = await api.request('GET', path, undefined, accept(type));
    assert.equal(whole.headers['content-encoding'], undefined);
    const short = await api.request('GET', path, undefined, { ...accept(type), 'accept-encoding': 'gzip' });
    assert.equal(short.headers['content-encoding'], 'gzip');
    assert.ok(short.bytes.length < 20_000);
    assert.ok(gunzipSync(short.bytes).equals(whole.bytes));
    const list = await api.request('GET', configMaps, undefined, { ...accept(type), 'accept-encoding': 'gzip' });
    assert.ok(gunzipSync(list.bytes).includes('x'.repeat(200_000)));
  }
  const little = await api.request('GET', '/api/v1/namespaces/default', undefined, { 'accept-encoding': 'gzip' });
  assert.equal(little.headers['content-encoding'], undefined);
});

test('bodies of unknown types are refused', async () => {
  const { api } = plain;
  const post = (type: string, path = configMaps): Promise<Answer> =>
    api.request('POST', path, '{}', { 'content-type': type });
  const accepted = 'the body of the request was in an unknown format - accepted media types include:';
  for (const type of ['text/plain', 'application/json/x', cborType]) {
    const { status, body } = await post(type);
    assert.deepEqual(
      [status, body.message],
      [415, `${accepted} application/json, application/yaml, application/vnd.kubernetes.protobuf`],
      type,
    );
  }
  await served(api);
  const custom = await post(protobufType, things);
  assert.deepEqual([custom.status, custom.body.message], [415, `${accepted} application/json, application/yaml`]);
  const patch = await api.request('PATCH', `${configMaps}/long`, '{}', { 'content-type': 'application/json' });
  assert.deepEqual([patch.status, patch.body.message], [415, '415: Unsupported Media Type']);
  const garbage = await post(protobufType);
  assert.equal(garbage.status, 400);
});

test('custom resources have no protobuf form, but their tables and metadata lists do', async () => {
  const { api } = plain;
  await served(api);
  const whole = await api.request('GET', things, undefined, accept(protobufType));
  assert.equal(whole.status, 406);
  const partials = `${protobufType};as=PartialObjectMetadataList;v=v1;g=meta.k8s.io`;
  assert.equal(
    (await api.create(things, { apiVersion: 'encodings.example.com/v1', kind: 'Thing', metadata: { name: 'p' } }))
      .status,
    201,
  );
  const metadata = await api.request('GET', things, undefined, accept(partials));
  const list = protobuf.decode(metadata.bytes) as Json;
  assert.deepEqual([list.kind, list.items[0].metadata.name], ['PartialObjectMetadataList', 'p']);
  const watch = await api.request('GET', `${things}?watch=1&timeoutSeconds=1`, undefined, {
    accept: `${protobufType};as=PartialObjectMetadata;v=v1;g=meta.k8s.io`,
  });
  assert.equal(watch.headers['content-type'], `${protobufType};stream=watch`);
  assert.ok(watch.bytes.includes('PartialObjectMetadata'));
  const either = await api.request('GET', things, undefined, accept(`${protobufType},application/json`));
  assert.equal(either.headers['content-type'], 'application/json');
});

function sequence(bytes: Buffer): Json[] {
  // Each item of these tests begins with the tag, which their strings do not hold.
  const mark = Buffer.from([0xd9, 0xd9, 0xf7, 0xa2]);
  const starts: number[] = [];
  for (let at = bytes.indexOf(mark); at >= 0; at = bytes.indexOf(mark, at + 1)) starts.push(at);
  return starts.flatMap((at, i) => {
    try {
      return [decodeCbor(bytes.subarray(at, starts[i + 1] ?? bytes.length)) as Json];
    } catch {
      return [];
    }
  });
}

test('CBOR, where its gate is on, for built-in and custom kinds', async () => {
  const { api } = withCbor;
  await served(api);
  const form = { 'content-type': cborType, accept: cborType };
  const secrets = '/api/v1/namespaces/default/secrets';
  const secret = { apiVersion: 'v1', kind: 'Secret', metadata: { name: 's' }, data: { a: 'aGVsbG8=' } };
  const made = await api.request('POST', `${secrets}?fieldValidation=Strict`, cbor.encode(secret), form);
  assert.equal(made.status, 201, made.text);
  assert.equal(made.headers['content-type'], cborType);
  assert.ok(made.bytes.subarray(0, 3).equals(Buffer.from([0xd9, 0xd9, 0xf7])));
  const json = await api.get(`${secrets}/s`);
  assert.deepEqual(decodeCbor(made.bytes), json.body);
  assert.ok(cbor.encode(json.body).equals(made.bytes), 'canonical');
  assert.ok(made.bytes.includes(Buffer.from('d645' + Buffer.from('hello').toString('hex'), 'hex')), 'data is binary');
  const unknown = await api.request(
    'POST',
    `${secrets}?fieldValidation=Strict`,
    cbor.encode({ ...secret, metadata: { name: 't' }, nonsense: 1 }),
    form,
  );
  assert.equal(unknown.status, 400);
  const status = decodeCbor(unknown.bytes) as Json;
  assert.match(status.message, /strict decoding error: unknown field "nonsense"/);

  const thing = {
    apiVersion: 'encodings.example.com/v1',
    kind: 'Thing',
    metadata: { name: 'a' },
    x: [1, 1.5, null, 'ü'],
  };
  const custom = await api.request('POST', things, cbor.encode(thing), form);
  assert.equal(custom.status, 201, custom.text);
  assert.deepEqual((decodeCbor(custom.bytes) as Json).x, thing.x);
  const list = decodeCbor((await api.request('GET', things, undefined, accept(cborType))).bytes) as Json;
  assert.deepEqual([list.kind, list.items.length], ['ThingList', 1]);
  const table = await api.request('GET', things, undefined, accept(`${cborType};as=Table;v=v1;g=meta.k8s.io`));
  assert.equal(table.status, 406, 'tables are JSON or YAML');
  const lies = async (name: string): Promise<Buffer> =>
    (await stores[1]!.store.range({ key: `/registry/encodings.example.com/things/${name}` })).kvs[0]!.value;
  assert.deepEqual((decodeCbor(await lies('a')) as Json).x, thing.x, 'custom resources are stored as CBOR');
  const before = { ...thing, metadata: { name: 'before', uid: 'u', creationTimestamp: '2026-01-01T00:00:00Z' } };
  await stores[1]!.store.commit({
    key: '/registry/encodings.example.com/things/before',
    expectModRevision: 0,
    value: Buffer.from(`${JSON.stringify(before)}\n`),
  });
  while ((await api.get(`${things}/before`)).status === 404);
  const replaced = await api.request('PUT', `${things}/before`, (await api.get(`${things}/before`)).body);
  assert.equal(replaced.status, 200, replaced.text);
  const rewritten = decodeCbor(await lies('before')) as Json;
  assert.deepEqual(
    [rewritten.metadata.uid, rewritten.x],
    ['u', thing.x],
    'what lay there as JSON is read and rewritten',
  );
  const again = await api.request('PUT', `${things}/before`, replaced.body);
  assert.equal(again.body.metadata.resourceVersion, replaced.body.metadata.resourceVersion, 'and then lies right');
  assert.equal((await api.request('DELETE', `${things}/before`)).status, 200);
  const merge = await api.request(
    'PUT',
    `${things}/a`,
    cbor.encode({ ...(decodeCbor(custom.bytes) as Json), y: -7 }),
    form,
  );
  assert.equal((decodeCbor(merge.bytes) as Json).y, -7);

  const watch = await api.request('GET', `${secrets}?watch=1&timeoutSeconds=1`, undefined, accept(cborType));
  assert.equal(watch.headers['content-type'], 'application/cbor-seq');
  const events = sequence(watch.bytes);
  assert.deepEqual(events[0], { type: 'ADDED', object: json.body });
  const applied = await api.request(
    'PATCH',
    `${secrets}/applied?fieldManager=me`,
    cbor.encode({ apiVersion: 'v1', kind: 'Secret', metadata: { name: 'applied' }, stringData: { a: 'b' } }),
    { 'content-type': 'application/apply-patch+cbor' },
  );
  assert.equal(applied.status, 201, applied.text);
  const bad = await api.request('POST', secrets, Buffer.from('d9d9f7ff', 'hex'), form);
  assert.equal(bad.status, 400);
  const gone = await api.request(
    'DELETE',
    `${secrets}/s`,
    cbor.encode({ apiVersion: 'v1', kind: 'DeleteOptions', dryRun: ['All'] }),
    form,
  );
  assert.equal(gone.status, 200, gone.text);
  assert.equal((await api.get(`${secrets}/s`)).status, 200, 'it was a dry run');
  const refused = await api.request('POST', secrets, '{}', { 'content-type': 'text/plain' });
  assert.match(refused.body.message, /application\/vnd.kubernetes.protobuf, application\/cbor$/);
});

test('discovery as protobuf: as documents and as one list, in envelopes like upstream’s', async () => {
  const { api } = plain;
  const ask = (path: string, value: string, more: Record<string, string> = {}): Promise<Answer> =>
    api.request('GET', path, undefined, { ...accept(value), ...more });
  for (const path of ['/api', '/api/v1', '/apis', '/apis/apps', '/apis/apps/v1']) {
    const answer = await ask(path, protobufType);
    assert.equal(answer.headers['content-type'], protobufType);
    assert.equal(answer.headers['vary'], undefined);
    // The envelope begins with its TypeMeta, that with the version, which those of the core group have none of.
    const version = path.startsWith('/apis') ? [10, 2, ...Buffer.from('v1')] : [10, 0];
    assert.deepEqual([...answer.bytes.subarray(6, 6 + version.length)], version, path);
    const { body: json } = await api.get(path);
    assert.deepEqual(answer.bytes, protobuf.encode(json, 'v1'));
  }
  const as = 'g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList';
  for (const path of ['/api', '/apis']) {
    const answer = await ask(path, `${protobufType};${as}`);
    assert.equal(answer.headers['content-type'], `${protobufType};${as}`);
    assert.equal(answer.headers['vary'], 'Accept');
    const { body: json } = await ask(path, `application/json;${as}`);
    assert.deepEqual(answer.bytes, protobuf.encode(json));
    const again = await ask(path, `${protobufType};${as}`, { 'if-none-match': answer.headers['etag']! });
    assert.equal(again.status, 304);
  }
});

test('what is refused by protobuf is told by a Status in protobuf', async () => {
  const { api } = plain;
  const form = { 'content-type': protobufType, accept: protobufType };
  const wrong = protobuf.encode({ apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'Not_A_Name' } } as Json);
  const answer = await api.request('POST', configMaps, Buffer.from(wrong), form);
  assert.equal(answer.status, 422);
  const status = protobuf.decode(answer.bytes) as Json;
  assert.deepEqual(
    [status.kind, status.reason, status.details.causes[0].field],
    ['Status', 'Invalid', 'metadata.name'],
  );
});

test('tables and metadata are given for every verb, and for watches', async () => {
  const { api } = plain;
  const table = 'application/json;as=Table;v=v1;g=meta.k8s.io';
  for (const form of ['application/json', protobufType]) {
    const partial = `${form};as=PartialObjectMetadata;v=v1;g=meta.k8s.io`;
    const read = ({ bytes, body }: Answer): Json => (form === protobufType ? protobuf.decode(bytes) : body);
    const path = `${configMaps}/formed`;
    const object = { metadata: { name: 'formed' }, data: { a: 'b' } };
    const json = { 'content-type': 'application/json' };
    const merge = { 'content-type': 'application/merge-patch+json' };
    for (const [method, target, body, headers, status] of [
      ['POST', configMaps, object, json, 201],
      ['PUT', path, object, json, 200],
      ['PATCH', path, { data: { c: 'd' } }, merge, 200],
      ['GET', path, undefined, {}, 200],
    ] as const) {
      const answer = await api.request(method, target, body, { ...headers, accept: partial });
      assert.equal(answer.status, status, answer.text);
      const metadata = read(answer);
      assert.deepEqual(
        [metadata.kind, metadata.apiVersion, metadata.metadata.name, metadata.data],
        ['PartialObjectMetadata', 'meta.k8s.io/v1', 'formed', undefined],
        method,
      );
      if (method === 'POST') continue;
      const rows = await api.request(method, target, body, { ...headers, accept: table });
      assert.deepEqual([rows.body.kind, rows.body.rows[0].cells[0]], ['Table', 'formed'], method);
    }
    if (form === 'application/json') {
      const events = await api.request(
        'GET',
        `${configMaps}?watch=1&timeoutSeconds=1&fieldSelector=metadata.name%3Dformed`,
        undefined,
        { accept: table },
      );
      const first = JSON.parse(events.text.split('\n')[0]!) as Json;
      assert.deepEqual([first.type, first.object.kind, first.object.rows.length], ['ADDED', 'Table', 1]);
    }
    const gone = await api.request('DELETE', path, undefined, { accept: partial });
    assert.deepEqual([gone.status, read(gone).kind], [200, 'Status']);
    const many = await api.request('DELETE', `${configMaps}?labelSelector=none%3D1`, undefined, {
      accept: `${form};as=PartialObjectMetadataList;v=v1;g=meta.k8s.io`,
    });
    assert.deepEqual([many.status, read(many).kind], [200, 'PartialObjectMetadataList']);
  }
  const object = await api.request('GET', `${configMaps}/long`, undefined, {
    accept: `${table}`,
  });
  assert.equal(object.body.rows[0].object.kind, 'PartialObjectMetadata');
  const whole = await api.request('GET', `${configMaps}/long?includeObject=Object`, undefined, { accept: table });
  assert.equal(whole.body.rows[0].object.kind, 'ConfigMap');
  const none = await api.request('GET', `${configMaps}/long?includeObject=None`, undefined, { accept: table });
  assert.equal(none.body.rows[0].object, null);
});

test('pages about the server as CBOR', async () => {
  for (const [path, kind] of [
    ['/statusz', 'Statusz'],
    ['/flagz', 'Flagz'],
  ] as const) {
    const headers = { accept: `application/cbor;as=${kind};v=v1beta1;g=config.k8s.io` };
    assert.equal((await plain.api.request('GET', path, undefined, headers)).status, 406);
    const answer = await withCbor.api.request('GET', path, undefined, headers);
    assert.equal(answer.headers['content-type'], 'application/cbor');
    assert.equal((decodeCbor(answer.bytes) as Json).kind, kind);
  }
});
