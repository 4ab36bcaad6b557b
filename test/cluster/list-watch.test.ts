/**
 * Lists and watches over TLS, on a store behind etcd's API: pages that stay one list, tokens that outlive compaction as
 * upstream's do, resource versions and how they are to match, streaming lists and bookmarks (JSON and protobuf), watchers
 * that do not read.
 */
import assert from 'node:assert/strict';
import type { IncomingMessage } from 'node:http';
import * as https from 'node:https';
import { after, before, test } from 'node:test';
import { loadCatalog } from '../../src/api/catalog/catalog.ts';
import { ProtobufObjects } from '../../src/api/protobuf.ts';
import type { Api, Json } from '../support/api.ts';
import { createWorkspace, startApiServer, startStore } from '../support/api-server.ts';
import type { RunningApiServer, TestStore, Workspace } from '../support/api-server.ts';

const configMaps = '/api/v1/namespaces/default/configmaps';
const protobufType = 'application/vnd.kubernetes.protobuf';
const protobuf = new ProtobufObjects(loadCatalog());
let work: Workspace;
let etcd: TestStore;
let server: RunningApiServer;
let api: Api;

before(async () => {
  work = await createWorkspace();
  etcd = await startStore();
  // What was before this server: history that it has never seen, and that is gone.
  const first = await startApiServer(work, etcd);
  for (let i = 0; i < 25; i++) {
    const made = await first.api.create(configMaps, {
      metadata: { name: `c-${String(i).padStart(2, '0')}`, labels: { odd: String(i % 2) } },
    });
    assert.equal(made.status, 201, made.text);
  }
  await first[Symbol.asyncDispose]();
  await etcd.store.compact(await etcd.store.currentRevision());
  server = await startApiServer(work, etcd);
  api = server.api;
});

after(async () => {
  await server[Symbol.asyncDispose]();
  await etcd[Symbol.asyncDispose]();
  work.dispose();
});

const list = async (query: string): Promise<Json> => {
  const { status, body, text } = await api.get(`${configMaps}?${query}`);
  assert.equal(status, 200, text);
  return body;
};
const names = (body: Json): string[] =>
  body.items.map((i: Json) => i.metadata.name).filter((n: string) => n.startsWith('c-'));

test('pages are one list, whatever happens between them', async () => {
  const first = await list('limit=10');
  assert.equal(first.items.length, 10);
  const total = (await list('')).items.length;
  assert.equal(first.metadata.remainingItemCount, total - 10);
  const version = first.metadata.resourceVersion;
  assert.equal((await api.create(configMaps, { metadata: { name: 'c-99' } })).status, 201);
  assert.equal((await api.delete(`${configMaps}/c-15`)).status, 200);
  const seen = names(first);
  for (let token = first.metadata.continue; token !== undefined;) {
    const page = await list(`limit=7&continue=${token}`);
    assert.equal(page.metadata.resourceVersion, version);
    seen.push(...names(page));
    token = page.metadata.continue;
  }
  assert.deepEqual(
    seen,
    Array.from({ length: 25 }, (_, i) => `c-${String(i).padStart(2, '0')}`),
  );
  const now = names(await list(''));
  assert.ok(now.includes('c-99') && !now.includes('c-15'));
  const selected = await list('limit=2&labelSelector=odd%3D1');
  assert.equal(selected.metadata.remainingItemCount, undefined, 'nobody counts what has to be looked at');
  assert.ok(selected.metadata.continue !== undefined);
  const both = await api.get(`${configMaps}?continue=${first.metadata.continue}&resourceVersion=5`);
  assert.deepEqual(
    [both.status, both.body.message],
    [400, 'specifying resource version is not allowed when using continue'],
  );
});

test('a token of a list that is gone is answered with one for the rest', async () => {
  const token = Buffer.from('{"v":"meta.k8s.io/v1","rv":3,"start":"c-20\\u0000"}').toString('base64url');
  const gone = await api.get(`${configMaps}?limit=3&continue=${token}`);
  assert.equal(gone.status, 410);
  assert.equal(gone.body.reason, 'Expired');
  assert.match(gone.body.message, /^The provided continue parameter is too old to display a consistent list result\./);
  const rest = await list(`limit=3&continue=${gone.body.metadata.continue}`);
  assert.deepEqual(names(rest), ['c-21', 'c-22', 'c-23']);
  const all: string[] = (await list('')).items.map((i: Json) => i.metadata.name);
  assert.equal(rest.metadata.remainingItemCount, all.length - all.indexOf('c-24'));
  const end = await list(`limit=3&continue=${rest.metadata.continue}`);
  assert.deepEqual(names(end).slice(0, 2), ['c-24', 'c-99']);
  const inProtobuf = await api.request('GET', `${configMaps}?limit=3&continue=${token}`, undefined, {
    accept: protobufType,
  });
  const status = protobuf.decode(inProtobuf.bytes) as Json;
  assert.deepEqual([status.code, status.metadata.continue], [410, gone.body.metadata.continue]);
  const nonsense = await api.get(`${configMaps}?limit=3&continue=abc`);
  assert.equal(nonsense.status, 400);
});

test('resource versions match as they are told to', async () => {
  const now = (await list('')).metadata.resourceVersion as string;
  const at = async (query: string): Promise<readonly [number, string, string]> => {
    const { status, body } = await api.get(`${configMaps}?${query}`);
    return [status, String(body.reason ?? body.kind), String(body.message ?? body.metadata.resourceVersion)];
  };
  const marker = await api.create(configMaps, { metadata: { name: 'marker' } });
  const exact = await list(`resourceVersion=${now}&resourceVersionMatch=Exact`);
  assert.equal(exact.metadata.resourceVersion, now);
  assert.ok(!exact.items.some((i: Json) => i.metadata.name === 'marker'));
  const fresh = await list(`resourceVersion=${now}&resourceVersionMatch=NotOlderThan`);
  assert.ok(Number(fresh.metadata.resourceVersion) >= Number(marker.body.metadata.resourceVersion));
  assert.deepEqual(await at('resourceVersion=3&resourceVersionMatch=Exact'), [
    410,
    'Expired',
    'The resourceVersion for the provided list is too old.',
  ]);
  assert.equal((await at('resourceVersionMatch=Exact'))[0], 422);
  assert.equal((await at('resourceVersion=0&resourceVersionMatch=Exact'))[0], 422);
  assert.equal((await at(`resourceVersion=${now}&resourceVersionMatch=Sometimes`))[0], 422);
  assert.equal((await at('resourceVersion=x'))[0], 400);
  const future = String(Number(now) + 1_000_000);
  const waited = await api.get(`${configMaps}?resourceVersion=${future}&resourceVersionMatch=NotOlderThan`);
  assert.deepEqual(
    [waited.status, waited.body.details.causes[0].reason, waited.body.details.retryAfterSeconds],
    [504, 'ResourceVersionTooLarge', 1],
  );
  // Nothing of it is known to a release without the feature: it restricts nothing.
  const shard = encodeURIComponent("shardRange(object.metadata.uid, '0x0', '0x1')");
  assert.equal((await list(`shardSelector=${shard}`)).items.length, (await list('')).items.length);
});

/** What a watch sends until it ends. */
async function watched(query: string, accept = 'application/json'): Promise<Json[]> {
  const { status, bytes, text } = await api.request(
    'GET',
    `${configMaps}?watch=1&timeoutSeconds=1&${query}`,
    undefined,
    { accept },
  );
  assert.equal(status, 200, text);
  if (!accept.startsWith(protobufType))
    return text
      .split('\n')
      .filter((l) => l !== '')
      .map((l) => JSON.parse(l) as Json);
  const events: Json[] = [];
  for (let at = 0; at < bytes.length;) {
    const length = bytes.readUInt32BE(at);
    const frame = bytes.subarray(at + 4, at + 4 + length);
    const type = frame.toString('latin1', 2, 2 + frame[1]!);
    const magic = frame.indexOf('k8s\0', 0, 'latin1');
    events.push({ type, object: protobuf.decode(frame.subarray(magic)) });
    at += 4 + length;
  }
  return events;
}

test('streaming lists end with their bookmark, in JSON and in protobuf', async () => {
  const query = 'sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true';
  const now = await list('');
  // Each lasts for its second: they are watched at once.
  const [inJson, inProtobuf, none] = await Promise.all([
    watched(query),
    watched(query, `${protobufType};stream=watch`),
    watched('sendInitialEvents=false&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true'),
  ]);
  for (const events of [inJson, inProtobuf]) {
    const added = events.filter((e) => e.type === 'ADDED').map((e) => e.object.metadata.name);
    assert.deepEqual(added.sort(), now.items.map((i: Json) => i.metadata.name).sort());
    const mark = events.at(now.items.length);
    assert.equal(mark.type, 'BOOKMARK');
    assert.equal(mark.object.kind, 'ConfigMap');
    assert.equal(mark.object.metadata.annotations['k8s.io/initial-events-end'], 'true');
    assert.ok(Number(mark.object.metadata.resourceVersion) >= Number(now.metadata.resourceVersion));
  }
  assert.deepEqual(
    none.filter((e) => e.type === 'ADDED'),
    [],
  );
  const refused = await api.get(`${configMaps}?watch=1&sendInitialEvents=true`);
  assert.deepEqual([refused.status, refused.body.reason], [422, 'Invalid']);
});

test('a watch from what is gone is told so in its stream or at once', async () => {
  const events = await watched('resourceVersion=3');
  assert.deepEqual(
    events.map((e) => [e.type, e.object.code, e.object.reason]),
    [['ERROR', 410, 'Expired']],
  );
  assert.match(events[0].object.message, /^too old resource version: 3 \(\d+\)$/);
  const inProtobuf = await watched('resourceVersion=3', `${protobufType};stream=watch`);
  assert.deepEqual(
    inProtobuf.map((e) => [e.type, e.object.code]),
    [['ERROR', 410]],
  );
});

test('a watcher that does not read is ended', async () => {
  const pki = work.pki;
  const text = 'x'.repeat(900_000);
  const { metadata } = await list('');
  const response = await new Promise<IncomingMessage>((resolve, reject) => {
    const request = https.request(
      `${server.url}${configMaps}?watch=1&resourceVersion=${metadata.resourceVersion}`,
      { ca: pki.get('ca.crt')!, cert: pki.get('admin.crt')!, key: pki.get('admin.key')!, agent: false },
      resolve,
    );
    request.on('error', reject);
    request.end();
  });
  response.pause();
  response.on('error', () => {}); // cut off after half a minute, at the latest
  // Not `once`, which takes the error of being cut off for its own.
  const closed = new Promise((resolve) => response.on('close', resolve));
  // Several times what a watch may have waiting for its reader, and the sockets besides.
  const puts = 40;
  for (let i = 0; i < puts; i++) {
    const answer = await api.request('PUT', `${configMaps}/big`, {
      metadata: { name: 'big' },
      data: { text, i: String(i) },
    });
    if (answer.status === 404) await api.create(configMaps, { metadata: { name: 'big' }, data: { text } });
    else assert.equal(answer.status, 200, answer.text.slice(0, 300));
  }
  // Others go on, whatever this one does.
  assert.equal((await api.get(`${configMaps}/big`)).status, 200);
  // Then it reads: what had been sent, and the end, long before its time.
  let events = 0;
  response.on('data', (chunk: Buffer) => (events += chunk.toString('latin1').split('\n').length - 1));
  response.resume();
  await closed;
  assert.ok(events < puts - 1, `${events} events`);
});
