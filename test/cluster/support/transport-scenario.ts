/** The steps that both transports must answer alike, with their transcript. */
import assert from 'node:assert/strict';
import { StatusError } from '../../../src/api/status.ts';
import type { ApiRequest, ApiResponse, Transport, WatchEvent } from '../../../src/client/transport.ts';
import type { Json } from '../../support/api.ts';

/** Values that differ from run to run, replaced. */
export function normalized(value: unknown): unknown {
  const text = JSON.stringify(value, (key, v: unknown) => {
    // In-process items are the shared objects themselves, which carry their type; on the wire those of built-in lists don't.
    if (key === 'items' && Array.isArray(v))
      return v.map((item: Json) => ({ ...item, kind: undefined, apiVersion: undefined }));
    if (key === 'cells') return (v as Json[]).map((cell) => (/^\d+s$/.test(String(cell)) ? '<age>' : cell));
    if (key === 'managedFields') return (v as Json[]).map(({ time: _time, ...rest }) => rest);
    if (key === 'uid' || key === 'resourceVersion' || key === 'continue') return v === '' ? '' : `<${key}>`;
    if (/(T|t)imestamp$/.test(key)) return `<${key}>`;
    return v;
  });
  return text === undefined ? undefined : JSON.parse(text);
}

export interface Entry {
  readonly step: string;
  readonly status: number;
  readonly body: unknown;
  readonly warning: string | undefined;
}

/** The steps of the contract. `namespace` is fresh. */
export async function scenario(t: Transport): Promise<Entry[]> {
  const log: Entry[] = [];
  const take = async (step: string, request: ApiRequest): Promise<ApiResponse> => {
    const answer = await t.request({ ...request, headers: { 'user-agent': 'contract/1', ...request.headers } });
    log.push({ step, status: answer.status, body: normalized(answer.body), warning: answer.headers['warning'] });
    return answer;
  };
  const ns = '/api/v1/namespaces/contract';
  await take('namespace', {
    method: 'POST',
    path: '/api/v1/namespaces',
    body: { apiVersion: 'v1', kind: 'Namespace', metadata: { name: 'contract' } },
  });
  const cm = (name: string, more: object = {}): Json => ({
    apiVersion: 'v1',
    kind: 'ConfigMap',
    metadata: { name },
    data: { a: '1' },
    ...more,
  });
  await take('create', { method: 'POST', path: `${ns}/configmaps`, body: cm('one') });
  await take('create again', { method: 'POST', path: `${ns}/configmaps`, body: cm('one') });
  await take('get', { method: 'GET', path: `${ns}/configmaps/one` });
  await take('get nothing', { method: 'GET', path: `${ns}/configmaps/none` });
  await take('unknown field', { method: 'POST', path: `${ns}/configmaps`, body: cm('two', { extra: 1 }) });
  await take('strict', {
    method: 'POST',
    path: `${ns}/configmaps`,
    query: { fieldValidation: 'Strict' },
    body: cm('three', { extra: 1 }),
  });
  await take('invalid name', { method: 'POST', path: `${ns}/configmaps`, body: cm('Not_Valid') });
  await take('list', { method: 'GET', path: `${ns}/configmaps` });
  await take('list page', { method: 'GET', path: `${ns}/configmaps`, query: { limit: 1 } });
  await take('selector', { method: 'GET', path: `${ns}/configmaps`, query: { fieldSelector: 'metadata.name=two' } });
  await take('bad selector', { method: 'GET', path: `${ns}/configmaps`, query: { labelSelector: 'a in' } });
  await take('table', {
    method: 'GET',
    path: `${ns}/configmaps/one`,
    headers: { accept: 'application/json;as=Table;g=meta.k8s.io;v=v1' },
  });
  await take('table list', {
    method: 'GET',
    path: `${ns}/configmaps`,
    query: { includeObject: 'None' },
    headers: { accept: 'application/json;as=Table;g=meta.k8s.io;v=v1' },
  });
  await take('table, bad includeObject', {
    method: 'GET',
    path: `${ns}/configmaps`,
    query: { includeObject: 'Most' },
    headers: { accept: 'application/json;as=Table;g=meta.k8s.io;v=v1' },
  });
  await take('metadata', {
    method: 'GET',
    path: `${ns}/configmaps`,
    headers: { accept: 'application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1' },
  });
  await take('merge patch', {
    method: 'PATCH',
    path: `${ns}/configmaps/one`,
    contentType: 'application/merge-patch+json',
    body: { data: { b: '2' } },
  });
  await take('json patch', {
    method: 'PATCH',
    path: `${ns}/configmaps/one`,
    contentType: 'application/json-patch+json',
    body: [{ op: 'remove', path: '/data/nope' }],
  });
  await take('unknown patch', {
    method: 'PATCH',
    path: `${ns}/configmaps/one`,
    contentType: 'application/odd+json',
    body: {},
  });
  await take('apply', {
    method: 'PATCH',
    path: `${ns}/configmaps/one`,
    query: { fieldManager: 'me' },
    contentType: 'application/apply-patch+yaml',
    body: cm('one', { data: { a: '9' } }),
  });
  await take('stale update', {
    method: 'PUT',
    path: `${ns}/configmaps/one`,
    body: cm('one', { metadata: { name: 'one', resourceVersion: '1' } }),
  });
  await take('dry run', { method: 'DELETE', path: `${ns}/configmaps/one`, query: { dryRun: 'All' } });
  await take('delete', { method: 'DELETE', path: `${ns}/configmaps/one` });
  await take('no such resource', { method: 'GET', path: '/api/v1/things' });
  await take('no such group', { method: 'GET', path: '/apis/example.com/v1/things' });
  await take('no such method', { method: 'POST', path: `${ns}/configmaps/one`, body: cm('one') });
  await take('not acceptable', { method: 'GET', path: `${ns}/configmaps`, headers: { accept: 'text/html' } });
  await take('bad timeout', { method: 'GET', path: `${ns}/configmaps`, query: { timeout: 'soon' } });
  await take('impersonation', { method: 'GET', path: `${ns}/secrets`, headers: { 'impersonate-user': 'jane' } });
  await take('impersonation without a user', {
    method: 'GET',
    path: `${ns}/secrets`,
    headers: { 'impersonate-group': 'g' },
  });
  await take('version', { method: 'GET', path: '/version' });
  await take('discovery', { method: 'GET', path: '/apis/batch/v1' });
  await take('health', { method: 'GET', path: '/readyz', query: { verbose: '' } });
  await take('other version', {
    method: 'GET',
    path: `/apis/autoscaling/v1/namespaces/contract/horizontalpodautoscalers`,
  });
  await take('delete collection', { method: 'DELETE', path: `${ns}/configmaps` });
  await take('review', {
    method: 'POST',
    path: '/apis/authorization.k8s.io/v1/selfsubjectaccessreviews',
    body: {
      apiVersion: 'authorization.k8s.io/v1',
      kind: 'SelfSubjectAccessReview',
      spec: { resourceAttributes: { verb: 'list', resource: 'pods' } },
    },
  });
  log.push({ step: 'watch', status: 0, body: await watched(t, ns), warning: undefined });
  // The namespace goes at once: its contents are deleted here, its finalizer by hand.
  await take('empty it', { method: 'DELETE', path: `${ns}/configmaps` });
  await take('begin to delete', { method: 'DELETE', path: ns });
  const gone = (await t.request({ method: 'GET', path: ns })).body as Json;
  await take('finalize', { method: 'PUT', path: `${ns}/finalize`, body: { ...gone, spec: { finalizers: [] } } });
  await take('gone', { method: 'GET', path: ns });
  return log;
}

/** What a watch sees of a create, an update and a delete, with what exists first. */
async function watched(t: Transport, ns: string): Promise<unknown> {
  const cm = (name: string): Json => ({ apiVersion: 'v1', kind: 'ConfigMap', metadata: { name } });
  await t.request({ method: 'POST', path: `${ns}/configmaps`, body: cm('before') });
  const stream = await t.watch({
    method: 'GET',
    path: `${ns}/configmaps`,
    query: { watch: true, sendInitialEvents: true, resourceVersionMatch: 'NotOlderThan', allowWatchBookmarks: true },
  });
  const events: WatchEvent[] = [];
  const until = async (n: number, iterator: AsyncIterator<readonly WatchEvent[]>): Promise<void> => {
    while (events.length < n) {
      const next = await iterator.next();
      assert.ok(next.done !== true, 'the watch ended early');
      events.push(...next.value);
    }
  };
  const iterator = stream[Symbol.asyncIterator]();
  await until(2, iterator);
  await t.request({ method: 'POST', path: `${ns}/configmaps`, body: cm('during') });
  await t.request({
    method: 'PATCH',
    path: `${ns}/configmaps/during`,
    contentType: 'application/merge-patch+json',
    body: { data: { x: 'y' } },
  });
  await t.request({ method: 'DELETE', path: `${ns}/configmaps/during` });
  await until(5, iterator);
  stream.close();
  // A resource version that cannot be served any more ends the watch with an ERROR event or a refusal, on both ways alike.
  let refused: unknown;
  try {
    const old = await t.watch({
      method: 'GET',
      path: `${ns}/configmaps`,
      query: { watch: true, resourceVersion: 'abc' },
    });
    old.close();
  } catch (error) {
    assert.ok(error instanceof StatusError);
    refused = error.toStatus();
  }
  return normalized({ events, refused });
}
