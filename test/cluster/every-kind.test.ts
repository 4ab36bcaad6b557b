/**
 * Every kind that discovery lists, in every version that can be switched on, with all the verbs that discovery lists for it,
 * over HTTPS: create, get, list, watch, update, each type of patch, apply with conflicts, status, tables, protobuf, dry runs,
 * deletion of one and of many.
 */
import assert from 'node:assert/strict';
import * as http2 from 'node:http2';
import { after, before, describe, test } from 'node:test';
import { loadCatalog } from '../../src/api/catalog/catalog.ts';
import type { ResourceInfo } from '../../src/api/catalog/resource.ts';
import { FeatureGates } from '../../src/api/features/feature-gates.ts';
import type { KubeObject } from '../../src/api/object.ts';
import { ProtobufObjects } from '../../src/api/protobuf.ts';
import { createApiServer, type ApiServer } from '../../src/apiserver/server.ts';
import { SystemClock } from '../../src/base/clock.ts';
import { createLogger, formatText } from '../../src/base/logger.ts';
import { SystemRandom } from '../../src/base/random.ts';
import { controlPlaneRequests, defaultValidity, ensurePki } from '../../src/cluster/pki.ts';
import { openEmbeddedStore } from '../../src/etcd/embedded-store.ts';
import type { KeyValueStore } from '../../src/etcd/store.ts';
import { bodyFor, reviews, samplesOf, type Sample } from './every-kind/samples.ts';
import { certificateRequest } from './every-kind/certificate-request.ts';

// Bodies are looked at as they are.
// eslint-disable-next-line @typescript-eslint/no-explicit-any
type Json = any;

interface Answer {
  readonly status: number;
  readonly bytes: Buffer;
  readonly body: Json;
  readonly warnings: string;
  readonly contentType: string;
}

const catalog = loadCatalog();
const protobuf = new ProtobufObjects(catalog);
const protobufType = 'application/vnd.kubernetes.protobuf';
const panics: string[] = [];
let store: KeyValueStore;
let server: ApiServer;
let session: http2.ClientHttp2Session;
let samples: Readonly<Record<string, Sample>>;

function send(
  method: string,
  path: string,
  body?: unknown,
  headers: Readonly<Record<string, string>> = {},
): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const stream = session.request(
      {
        ':method': method,
        ':path': path,
        authorization: 'Bearer token',
        'user-agent': 'test/1',
        ...(body === undefined ? {} : { 'content-type': 'application/json' }),
        ...headers,
      },
      { endStream: body === undefined },
    );
    const chunks: Buffer[] = [];
    let head: http2.IncomingHttpHeaders = {};
    stream.on('response', (h) => (head = h));
    stream.on('data', (c: Buffer) => chunks.push(c));
    stream.on('error', reject);
    stream.on('close', () => {
      const bytes = Buffer.concat(chunks);
      const contentType = String(head['content-type'] ?? '');
      const body: unknown = contentType.startsWith('application/json')
        ? JSON.parse(bytes.toString('utf8'))
        : contentType.startsWith(protobufType)
          ? protobuf.decode(bytes)
          : undefined;
      resolve({
        status: Number((head as Json)[':status']),
        bytes,
        body,
        warnings: String(head['warning'] ?? ''),
        contentType,
      });
    });
    if (body !== undefined) stream.end(Buffer.isBuffer(body) ? body : JSON.stringify(body));
  });
}

/** Reads a watch until `count` events have come; JSON lines or protobuf frames. */
function watch(path: string, count: number, accept: string): { readonly events: Promise<Json[]>; close(): void } {
  const stream = session.request({ ':method': 'GET', ':path': path, authorization: 'Bearer token', accept });
  const events: Json[] = [];
  let rest = Buffer.alloc(0);
  const done = new Promise<Json[]>((resolve, reject) => {
    stream.on('error', reject);
    stream.on('close', () => resolve(events));
    stream.on('data', (chunk: Buffer) => {
      rest = Buffer.concat([rest, chunk]);
      for (;;) {
        if (accept.startsWith(protobufType)) {
          if (rest.length < 4 || rest.length < 4 + rest.readUInt32BE(0)) break;
          const end = 4 + rest.readUInt32BE(0);
          events.push(watchEvent(rest.subarray(4, end)));
          rest = rest.subarray(end);
        } else {
          const end = rest.indexOf(10);
          if (end < 0) break;
          events.push(JSON.parse(rest.toString('utf8', 0, end)));
          rest = rest.subarray(end + 1);
        }
      }
      if (events.length >= count) stream.close(http2.constants.NGHTTP2_CANCEL);
    });
  });
  return { events: done, close: () => stream.close(http2.constants.NGHTTP2_CANCEL) };
}

/** A bare meta.v1.WatchEvent: type in field 1, RawExtension in field 2 whose field 1 is a whole enveloped object. */
function watchEvent(frame: Buffer): Json {
  const field = (bytes: Buffer, wanted: number): Buffer => {
    let at = 0;
    const varint = (): number => {
      let value = 0;
      for (let shift = 0; ; shift += 7) {
        const byte = bytes[at++]!;
        value += (byte & 0x7f) * 2 ** shift;
        if (byte < 0x80) return value;
      }
    };
    while (at < bytes.length) {
      const tag = varint();
      const length = varint();
      if (tag >> 3 === wanted) return bytes.subarray(at, at + length);
      at += length;
    }
    throw new Error(`no field ${wanted}`);
  };
  return { type: field(frame, 1).toString('utf8'), object: protobuf.decode(field(field(frame, 2), 1)) };
}

before(async () => {
  const clock = new SystemClock();
  const random = new SystemRandom();
  const logger = createLogger({ level: 'error', now: () => 0, sink: (r) => panics.push(formatText(r)) });
  store = await openEmbeddedStore({ engine: 'memory', clock, logger });
  const pki = await ensurePki({
    now: clock.now(),
    random,
    validity: defaultValidity,
    requests: controlPlaneRequests({ dnsNames: [], addresses: ['127.0.0.1'], nodeNames: [], components: false }),
  });
  const refuse = (): Promise<never> => Promise.reject(new Error('connection refused'));
  server = await createApiServer({
    store,
    embedded: true,
    clock,
    random,
    logger,
    catalog,
    freeze: true,
    features: new FeatureGates({
      ClusterTrustBundle: true,
      PodCertificateRequest: true,
      GenericWorkload: true,
      StorageVersionMigrator: true,
    }),
    runtimeConfig: new Map(catalog.groupVersions.map((v) => [`${v.group}/${v.version}`, true])),
    certificates: { certificate: pki.get('apiserver.crt')!, key: pki.get('apiserver.key')! },
    serviceAccountKeys: { signingKey: pki.get('sa.key')! },
    staticTokens: new Map([['token', { name: 'admin', groups: ['system:masters'] }]]),
    dialer: { dialNode: refuse, dialTcp: refuse },
  });
  const { port } = await server.listen({ host: '127.0.0.1', port: 0 });
  await server.ready();
  session = http2.connect(`https://127.0.0.1:${port}`, { ca: pki.get('ca.crt')! });
  samples = samplesOf(pki.get('ca.crt')!, await certificateRequest());
  assert.equal((await send('POST', '/api/v1/namespaces', { metadata: { name: 'every' } })).status, 201);
  assert.equal(
    (await send('POST', '/api/v1/namespaces/every/serviceaccounts', { metadata: { name: 'default' } })).status,
    201,
  );
});

after(async () => {
  session.close();
  await server.close();
  await store.close();
});

function told(answer: Answer): string {
  return `${answer.status} ${answer.bytes.toString('utf8')}`;
}

function expectStatus(answer: Answer, status: number, what: string): void {
  assert.equal(answer.status, status, `${what}: ${told(answer)}`);
}

const rootOf = (r: ResourceInfo): string => (r.group === '' ? `/api/${r.version}` : `/apis/${r.group}/${r.version}`);
const apiVersionOf = (r: ResourceInfo): string => (r.group === '' ? r.version : `${r.group}/${r.version}`);

async function wholeLife(r: ResourceInfo): Promise<void> {
  const sample = samples[`${r.group}/${r.version}/${r.resource}`] ?? samples[`${r.group}/${r.resource}`];
  assert.ok(sample !== undefined, `no sample of ${r.group}/${r.resource}`);
  const verbs = new Set(r.verbs);
  const apiVersion = apiVersionOf(r);
  const collection = `${rootOf(r)}${r.namespaced ? '/namespaces/every' : ''}/${r.resource}`;
  const nameOf = (suffix: string): string => sample.name?.(suffix, r.version) ?? `every-${r.version}-${suffix}`;
  const objectOf = (suffix: string): KubeObject => ({
    apiVersion,
    kind: r.kind,
    metadata: { name: nameOf(suffix), labels: { every: r.version, ...sample.labels }, ...sample.metadata },
    ...bodyFor(r.resource, nameOf(suffix), sample),
  });
  const name = nameOf('a');
  const item = `${collection}/${name}`;
  const strict = 'fieldValidation=Strict&fieldManager=creator';
  const selected = `fieldSelector=${encodeURIComponent(`metadata.name=${name}`)}`;

  // Dry run, create, get -------------------------------------------------------------------------------------------------
  const dry = await send('POST', `${collection}?${strict}&dryRun=All`, objectOf('a'));
  expectStatus(dry, 201, 'dry run of a create');
  assert.equal(dry.body.metadata.resourceVersion, undefined);
  expectStatus(await send('GET', item), 404, 'get after a dry run');
  const listed = await send('GET', `${collection}?limit=1`);
  expectStatus(listed, 200, 'list');
  const seen = watch(
    `${collection}?watch=1&${selected}&resourceVersion=${listed.body.metadata.resourceVersion}`,
    1,
    'application/json',
  );
  const seenInProtobuf = watch(
    `${collection}?watch=1&${selected}&resourceVersion=${listed.body.metadata.resourceVersion}`,
    1,
    `${protobufType};stream=watch`,
  );
  const created = await send('POST', `${collection}?${strict}`, objectOf('a'));
  expectStatus(created, 201, 'create');
  assert.doesNotMatch(created.warnings, /knarr/, 'complete kinds do not warn, but for what upstream says of old ones');
  const again = await send('POST', collection, objectOf('a'));
  expectStatus(again, 409, 'second create');
  assert.equal(again.body.reason, 'AlreadyExists');
  const got = await settled(r, item);
  expectStatus(got, 200, 'get');
  if (!hasController.has(r.resource)) assert.deepEqual(got.body, created.body);

  // List, watch ----------------------------------------------------------------------------------------------------------
  const list = await send('GET', `${collection}?${selected}`);
  expectStatus(list, 200, 'list by name');
  assert.equal(list.body.kind, r.listKind);
  assert.deepEqual(list.body.items, [{ ...got.body, kind: undefined, apiVersion: undefined }].map(compact));
  const byLabel = await send('GET', `${collection}?labelSelector=every%3D${r.version}`);
  assert.ok(
    byLabel.body.items.some((o: Json) => o.metadata.name === name),
    told(byLabel),
  );
  const [added] = await seen.events;
  assert.deepEqual(added, { type: 'ADDED', object: created.body });
  const [addedInProtobuf] = await seenInProtobuf.events;
  assert.deepEqual(withoutNull(addedInProtobuf), withoutNull({ type: 'ADDED', object: created.body }));

  // Field selectors ------------------------------------------------------------------------------------------------------
  const labels = r.fieldLabels;
  for (const label of labels) {
    const value = fieldValue(r, label, got.body);
    const found = async (operator: string): Promise<boolean> => {
      const selector = encodeURIComponent(
        `metadata.name=${name},${label}${operator}${value.replace(/([\\=,])/g, '\\$1')}`,
      );
      const answer = await send('GET', `${collection}?fieldSelector=${selector}`);
      expectStatus(answer, 200, `selection by ${label}`);
      return answer.body.items.length === 1;
    };
    assert.deepEqual([await found('='), await found('==')], [true, true], `${label}=${value}`);
    // The name itself is in the key, so its negation contradicts it.
    assert.equal(await found('!='), false, `${label}!=${value}`);
  }
  const unknown = await send('GET', `${collection}?fieldSelector=${encodeURIComponent('spec.no.such=1')}`);
  expectStatus(unknown, 400, 'selection by an unknown field');
  assert.equal(unknown.body.reason, 'BadRequest');

  // Other forms ----------------------------------------------------------------------------------------------------------
  for (const path of [item, `${collection}?${selected}`]) {
    const table = await send('GET', path, undefined, { accept: 'application/json;as=Table;v=v1;g=meta.k8s.io' });
    expectStatus(table, 200, 'table');
    assert.equal(table.body.kind, 'Table');
    assert.equal(table.body.rows.length, 1);
    // Upstream gives the age of IPAddresses in a cell without a column.
    if (r.resource !== 'ipaddresses')
      assert.equal(table.body.rows[0].cells.length, table.body.columnDefinitions.length);
    const inProtobuf = await send('GET', path, undefined, { accept: `${protobufType};as=Table;v=v1;g=meta.k8s.io` });
    expectStatus(inProtobuf, 406, 'table as protobuf');
  }
  const whole = await send('GET', item, undefined, { accept: protobufType });
  expectStatus(whole, 200, 'protobuf');
  assert.equal(whole.contentType, protobufType);
  assert.deepEqual(withoutNull(whole.body), withoutNull(got.body));
  assert.ok(Buffer.from(protobuf.encode(whole.body)).equals(whole.bytes), 'protobuf is canonical');
  const many = await send('GET', `${collection}?${selected}`, undefined, { accept: protobufType });
  assert.deepEqual(
    withoutNull(many.body.items.map((i: Json) => ({ ...i, kind: undefined, apiVersion: undefined }))),
    withoutNull(list.body.items),
  );
  for (const accept of ['application/json', protobufType]) {
    const partial = await send('GET', item, undefined, {
      accept: `${accept};as=PartialObjectMetadata;v=v1;g=meta.k8s.io`,
    });
    expectStatus(partial, 200, 'metadata alone');
    assert.equal(partial.body.kind, 'PartialObjectMetadata');
    // A DaemonSet's count of templates is not of its metadata.
    const { [templateGeneration]: _, ...annotations } = got.body.metadata.annotations ?? {};
    const metadata = { ...got.body.metadata, annotations };
    if (Object.keys(annotations).length === 0) delete metadata.annotations;
    assert.deepEqual(compact(partial.body.metadata), compact(metadata));
    const partials = await send('GET', `${collection}?${selected}`, undefined, {
      accept: `${accept};as=PartialObjectMetadataList;v=v1;g=meta.k8s.io`,
    });
    expectStatus(partials, 200, 'metadata of many');
    assert.equal(partials.body.kind, 'PartialObjectMetadataList');
    assert.equal(partials.body.items[0].metadata.name, name);
  }

  // Update ---------------------------------------------------------------------------------------------------------------
  const change = (body: Json, mark: string): Json => ({
    ...body,
    ...sample.change,
    metadata: { ...body.metadata, annotations: { ...body.metadata.annotations, mark } },
  });
  const modified = watch(
    `${collection}?watch=1&${selected}&resourceVersion=${got.body.metadata.resourceVersion}`,
    1,
    'application/json',
  );
  const dryUpdate = await send('PUT', `${item}?dryRun=All`, change(got.body, 'dry'));
  expectStatus(dryUpdate, 200, 'dry run of an update');
  const updated = await send('PUT', `${item}?${strict}`, change(got.body, 'put'));
  expectStatus(updated, 200, 'update');
  assert.equal(updated.body.metadata.annotations.mark, 'put');
  assert.notEqual(updated.body.metadata.resourceVersion, created.body.metadata.resourceVersion);
  assert.deepEqual((await modified.events)[0], { type: 'MODIFIED', object: updated.body });
  const stale = await send('PUT', item, change(created.body, 'stale'));
  expectStatus(stale, 409, 'update of an old version');
  assert.equal(stale.body.reason, 'Conflict');
  const fromProtobuf = await send('PUT', `${item}?fieldManager=creator`, Buffer.from(protobuf.encode(updated.body)), {
    'content-type': protobufType,
    accept: `${protobufType},application/json`,
  });
  expectStatus(fromProtobuf, 200, 'update as protobuf');
  assert.deepEqual(
    withoutNull(fromProtobuf.body),
    withoutNull(updated.body),
    'nothing is lost on the way through protobuf',
  );

  // Patches --------------------------------------------------------------------------------------------------------------
  const patches: readonly (readonly [type: string, body: unknown, mark: string])[] = [
    ['application/json-patch+json', [{ op: 'add', path: '/metadata/annotations/mark', value: 'json' }], 'json'],
    ['application/merge-patch+json', { metadata: { annotations: { mark: 'merge' } } }, 'merge'],
    ['application/strategic-merge-patch+json', { metadata: { annotations: { mark: 'strategic' } } }, 'strategic'],
  ];
  for (const [type, body, mark] of patches) {
    const dryPatch = await send('PATCH', `${item}?dryRun=All`, body, { 'content-type': type });
    expectStatus(dryPatch, 200, `dry run of ${type}`);
    const patched = await send('PATCH', item, body, { 'content-type': type, accept: `${protobufType}` });
    expectStatus(patched, 200, type);
    assert.equal(patched.body.metadata.annotations.mark, mark);
  }

  // Apply ----------------------------------------------------------------------------------------------------------------
  const applied = (value: string): Json => ({
    apiVersion,
    kind: r.kind,
    metadata: { name, annotations: { applied: value } },
  });
  const applyType = { 'content-type': 'application/apply-patch+yaml' };
  expectStatus(await send('PATCH', `${item}?fieldManager=one`, applied('1'), applyType), 200, 'apply');
  const same = await send('PATCH', `${item}?fieldManager=one`, applied('1'), applyType);
  expectStatus(same, 200, 'apply again');
  const conflict = await send('PATCH', `${item}?fieldManager=two`, applied('2'), applyType);
  expectStatus(conflict, 409, 'apply by another');
  assert.deepEqual(
    conflict.body.details.causes.map((c: Json) => [c.reason, c.field]),
    [['FieldManagerConflict', '.metadata.annotations.applied']],
  );
  const forced = await send('PATCH', `${item}?fieldManager=two&force=true`, applied('2'), applyType);
  expectStatus(forced, 200, 'forced apply');
  assert.equal(forced.body.metadata.annotations.applied, '2');
  const owner = forced.body.metadata.managedFields.find((m: Json) => m.manager === 'two');
  assert.deepEqual([owner.operation, owner.apiVersion], ['Apply', apiVersion]);

  // Status ---------------------------------------------------------------------------------------------------------------
  if (r.subresources.some((s) => s.name === 'status')) {
    assert.ok(sample.status !== undefined, 'the sample has no status');
    expectStatus(await send('GET', `${item}/status`), 200, 'get of status');
    const status = await send('PATCH', `${item}/status`, { status: sample.status }, patchType('merge'));
    expectStatus(status, 200, 'patch of status');
    for (const [member, value] of Object.entries(sample.status))
      assert.deepEqual(keep(status.body.status?.[member], value), value, `status.${member}: ${told(status)}`);
    let put = await send('PUT', `${item}/status`, status.body);
    while (hasController.has(r.resource) && put.status === 409)
      put = await send('PUT', `${item}/status`, (await send('GET', item)).body);
    expectStatus(put, 200, 'update of status');
    const spec = await send('PATCH', item, { status: null }, patchType('merge'));
    expectStatus(spec, 200, 'patch that tries to take the status away');
    if (!hasController.has(r.resource))
      assert.deepEqual(spec.body.status, put.body.status, 'the status belongs to its endpoint');
  }

  // Other versions -------------------------------------------------------------------------------------------------------
  const latest = await send('GET', item);
  for (const other of catalog.resources) {
    if (other.group !== r.group || other.resource !== r.resource || other.version === r.version) continue;
    const there = item.replace(rootOf(r), rootOf(other));
    const converted = await send('GET', there);
    expectStatus(converted, 200, `as ${other.version}`);
    assert.equal(converted.body.apiVersion, apiVersionOf(other));
    const back = await send('PUT', `${there}?fieldManager=${r.version}`, converted.body);
    expectStatus(back, 200, `written back as ${other.version}`);
    const round = await send('GET', item);
    assert.deepEqual(
      { ...round.body, metadata: undefined },
      { ...latest.body, metadata: undefined },
      `nothing is lost by way of ${other.version}`,
    );
  }

  // Delete ---------------------------------------------------------------------------------------------------------------
  if (verbs.has('delete')) {
    const dryDelete = await send('DELETE', `${item}?dryRun=All`);
    expectStatus(dryDelete, 200, 'dry run of a delete');
    const current = await send('GET', item);
    expectStatus(current, 200, 'get after a dry run of a delete');
    const deleted = watch(
      `${collection}?watch=1&${selected}&resourceVersion=${current.body.metadata.resourceVersion}`,
      10,
      'application/json',
    );
    const wrong = await send('DELETE', item, { preconditions: { uid: 'another' } });
    expectStatus(wrong, 409, 'delete of another');
    const options = { apiVersion: 'v1', kind: 'DeleteOptions', propagationPolicy: 'Background', gracePeriodSeconds: 0 };
    const gone = await send('DELETE', item, Buffer.from(protobuf.encode(options as Json)), {
      'content-type': protobufType,
    });
    assert.ok(gone.status === 200 || gone.status === 202, `delete: ${told(gone)}`);
    await release(r, item);
    expectStatus(await send('GET', item), 404, 'get after delete');
    deleted.close();
  }
  if (verbs.has('deletecollection')) {
    for (const suffix of ['b', 'c']) expectStatus(await send('POST', collection, objectOf(suffix)), 201, 'create');
    const many = await send('DELETE', `${collection}?labelSelector=every%3D${r.version}`);
    expectStatus(many, 200, 'deletecollection');
    for (const suffix of ['b', 'c']) await release(r, `${collection}/${nameOf(suffix)}`);
    const left = await send('GET', `${collection}?labelSelector=every%3D${r.version}`);
    assert.deepEqual(left.body.items, []);
  }
}

const patchType = (type: string): Record<string, string> => ({ 'content-type': `application/${type}-patch+json` });

/** The value that a field label stands for, as upstream's strategies tell it. */
function fieldValue(r: ResourceInfo, label: string, object: Json): string {
  const at = (path: string): Json => path.split('.').reduce((value: Json, member) => value?.[member], object);
  switch (`${r.kind} ${label}`) {
    case 'Pod spec.hostNetwork':
    case 'Node spec.unschedulable':
      return String(at(label) === true);
    case 'Pod status.podIPs':
      return '';
    case 'ReplicationController status.replicas':
      return String(at(label) ?? 0);
    case 'Job status.successful':
      return String(object.status?.succeeded ?? 0);
    case 'Event source':
      return object.source?.component ?? '';
  }
  return String(at(label) ?? '');
}

/** Without what is null, which protobuf cannot tell from what is not there. */
function withoutNull<T>(value: T): T {
  return JSON.parse(JSON.stringify(value, (_key, v: unknown) => (v === null ? undefined : v))) as T;
}

/** The server itself writes the status of these. */
const hasController: ReadonlySet<string> = new Set(['apiservices', 'customresourcedefinitions', 'flowschemas']);

/** The object, once the server has had its say about it. */
async function settled(r: ResourceInfo, item: string): Promise<Answer> {
  for (;;) {
    const answer = await send('GET', item);
    if (!hasController.has(r.resource) || (answer.body.status?.conditions ?? []).length > 0) return answer;
  }
}

/** Without what is undefined, as it comes through JSON. */
function compact<T>(value: T): T {
  return JSON.parse(JSON.stringify(value)) as T;
}

/** The members of `value` that `wanted` has: servers fill in more. */
function keep(value: Json, wanted: unknown): unknown {
  if (Array.isArray(wanted) && Array.isArray(value))
    return value.slice(0, wanted.length).map((v, i) => keep(v, wanted[i]));
  if (typeof wanted !== 'object' || wanted === null || typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(Object.entries(wanted).map(([k, v]) => [k, keep(value[k], v)]));
}

/** Plays the controllers that hold on to what is deleted. */
async function release(r: ResourceInfo, item: string): Promise<void> {
  const left = await send('GET', item);
  if (left.status === 404) return;
  assert.ok(left.body.metadata.deletionTimestamp !== undefined, told(left));
  if (r.resource === 'namespaces') {
    expectStatus(await send('PUT', `${item}/finalize`, { ...left.body, spec: {} }), 200, 'finalize');
    return;
  }
  if ((left.body.metadata.finalizers ?? []).length === 0) return;
  const done = await send('PATCH', item, { metadata: { finalizers: null } }, patchType('merge'));
  assert.ok(done.status === 200 || done.status === 404, told(done));
}

const templateGeneration = 'deprecated.daemonset.template.generation';

describe('every kind', { concurrency: 4 }, () => {
  const ids = new Set<string>();
  for (const r of catalog.resources) {
    const id = `${r.group}/${r.version}/${r.resource}`;
    ids.add(id);
    const stored = r.verbs.includes('create') && r.verbs.includes('get');
    // The versions of one kind share their objects, so their tests have names of their own.
    if (stored) test(id, () => wholeLife(r));
  }

  test('what is answered and not stored', async () => {
    for (const r of catalog.resources) {
      const body = reviews[`${r.group}/${r.resource}`];
      if (body === undefined) continue;
      const path = `${rootOf(r)}${r.namespaced ? '/namespaces/every' : ''}/${r.resource}`;
      const object = { apiVersion: apiVersionOf(r), kind: r.kind, metadata: {}, ...body };
      const json = await send('POST', path, object);
      expectStatus(json, 201, r.resource);
      const bytes = Buffer.from(protobuf.encode(object as Json));
      const inProtobuf = await send('POST', path, bytes, { 'content-type': protobufType, accept: protobufType });
      expectStatus(inProtobuf, 201, `${r.resource} as protobuf`);
      assert.equal(inProtobuf.body.kind, r.kind);
      expectStatus(await send('GET', path), 405, `get of ${r.resource}`);
    }
  });

  test('subresources that are kinds of their own, as protobuf', async () => {
    const pod = { apiVersion: 'v1', kind: 'Pod', metadata: { name: 'sub' }, ...samples['/pods']!.body };
    const pods = '/api/v1/namespaces/every/pods';
    expectStatus(await send('POST', pods, pod), 201, 'pod');
    const form = { 'content-type': protobufType, accept: protobufType };
    const encoded = (object: Json): Buffer => Buffer.from(protobuf.encode(object));
    const target = {
      apiVersion: 'v1',
      kind: 'Binding',
      metadata: { name: 'sub' },
      target: { kind: 'Node', name: 'n' },
    };
    const bound = await send('POST', `${pods}/sub/binding`, encoded(target), form);
    expectStatus(bound, 201, 'binding');
    assert.equal(bound.body.kind, 'Status');
    const evicted = await send(
      'POST',
      `${pods}/sub/eviction`,
      encoded({
        apiVersion: 'policy/v1',
        kind: 'Eviction',
        metadata: { name: 'sub' },
        deleteOptions: { dryRun: ['All'] },
      }),
      form,
    );
    expectStatus(evicted, 201, 'eviction');
    const token = await send(
      'POST',
      '/api/v1/namespaces/every/serviceaccounts/default/token',
      encoded({
        apiVersion: 'authentication.k8s.io/v1',
        kind: 'TokenRequest',
        metadata: {},
        spec: { audiences: ['a'] },
      }),
      form,
    );
    expectStatus(token, 201, 'token');
    assert.equal(token.body.kind, 'TokenRequest');
    assert.ok(token.body.status.token.split('.').length === 3);
    const deployment = { metadata: { name: 'sub' }, ...samples['apps/deployments']!.body };
    const deployments = '/apis/apps/v1/namespaces/every/deployments';
    expectStatus(await send('POST', deployments, deployment), 201, 'deployment');
    const scale = await send('GET', `${deployments}/sub/scale`, undefined, { accept: protobufType });
    expectStatus(scale, 200, 'scale');
    assert.equal(scale.body.kind, 'Scale');
    const scaled = await send(
      'PUT',
      `${deployments}/sub/scale`,
      encoded({ ...scale.body, spec: { replicas: 3 } }),
      form,
    );
    expectStatus(scaled, 200, 'scaling');
    assert.equal(scaled.body.spec.replicas, 3);
    const missing = await send('GET', `${pods}/none`, undefined, { accept: protobufType });
    expectStatus(missing, 404, 'status of an error');
    assert.deepEqual(
      [missing.contentType, missing.body.kind, missing.body.reason],
      [protobufType, 'Status', 'NotFound'],
    );
  });

  test('all of them are told by discovery', async () => {
    for (const v of catalog.groupVersions) {
      const path = v.group === '' ? `/api/${v.version}` : `/apis/${v.group}/${v.version}`;
      const { body } = await send('GET', path);
      for (const resource of body.resources)
        if (!resource.name.includes('/')) ids.delete(`${v.group}/${v.version}/${resource.name}`);
    }
    assert.deepEqual([...ids], []);
    assert.deepEqual(panics, []);
  });
});
