import assert from 'node:assert/strict';
import { test } from 'node:test';
import { silentLogger } from '../../base/logger.ts';
import type { RequestInfo } from '../context.ts';
import { Negotiator, parseAccept } from '../encode/negotiate.ts';
import { parseBundle } from '../http/peer.ts';
import type { IncomingRequest, OutgoingResponse } from '../request.ts';
import { StatusError } from '../../api/status.ts';
import { Deadlines, withDeadline } from './deadline.ts';
import { withImpersonation } from './impersonation.ts';
import { withMaxInFlight } from './max-in-flight.ts';
import { withPanicRecovery } from './panic.ts';
import { parseRequestInfo, withRequestInfo } from './request-info.ts';
import { Scope } from './scope.ts';
import { WarningRecorder } from './warnings.ts';
import { WriteDeadlines } from './write-deadline.ts';

function incoming(method: string, target: string, headers: Record<string, string> = {}): IncomingRequest {
  const [path, query = ''] = target.split('?') as [string, string?];
  return {
    method,
    path,
    query: new URLSearchParams(query),
    headers,
    body: { kind: 'none' },
    remoteAddress: '',
    signal: new AbortController().signal,
    wantsObjects: false,
  };
}

const scopeOf = (method: string, target: string, headers?: Record<string, string>): Scope =>
  new Scope(incoming(method, target, headers), 'id', 0);
const ok: OutgoingResponse = { status: 200, body: { kind: 'none' } };

test('request info takes paths apart as upstream does', () => {
  const info = (method: string, target: string): string => {
    const i: RequestInfo = parseRequestInfo(incoming(method, target));
    if (!i.isResourceRequest) return `${i.verb} ${i.path}`;
    return [i.verb, i.group, i.version, i.namespace, i.resource, i.name, i.subresource].join('|');
  };
  assert.equal(info('GET', '/healthz'), 'get /healthz');
  assert.equal(info('GET', '/api/v1'), 'get /api/v1');
  assert.equal(info('GET', '/apis/apps/v1'), 'get /apis/apps/v1');
  assert.equal(info('GET', '/api/v1/nodes'), 'list||v1||nodes||');
  assert.equal(info('GET', '/api/v1/nodes/n'), 'get||v1||nodes|n|');
  assert.equal(info('GET', '/api/v1/nodes?watch=true'), 'watch||v1||nodes||');
  assert.equal(info('GET', '/api/v1/nodes?watch=0'), 'list||v1||nodes||');
  assert.equal(info('GET', '/api/v1/watch/nodes'), 'watch||v1||nodes||');
  assert.equal(info('GET', '/api/v1/watch/namespaces/a/pods/p'), 'watch||v1|a|pods|p|');
  assert.equal(info('GET', '/api/v1/namespaces'), 'list||v1||namespaces||');
  assert.equal(info('GET', '/api/v1/namespaces/a'), 'get||v1|a|namespaces|a|');
  assert.equal(info('PUT', '/api/v1/namespaces/a/finalize'), 'update||v1|a|namespaces|a|finalize');
  assert.equal(info('GET', '/api/v1/namespaces/a/pods'), 'list||v1|a|pods||');
  assert.equal(info('DELETE', '/apis/apps/v1/namespaces/a/deployments'), 'deletecollection|apps|v1|a|deployments||');
  assert.equal(info('PATCH', '/apis/apps/v1/namespaces/a/deployments/d/scale'), 'patch|apps|v1|a|deployments|d|scale');
  assert.equal(info('GET', '/api/v1/nodes?fieldSelector=metadata.name=n'), 'list||v1||nodes|n|');
  assert.equal(info('POST', '/api/v1/namespaces/a/pods/p/proxy/x/y'), 'create||v1|a|pods|p|proxy');
  assert.throws(() => info('GET', '/api/v1/watch'), { message: /^unable to determine kind and namespace from url/ });
  assert.throws(() => info('GET', '/api/v1/nodes/%zz'), { code: 400 });
});

test('Accept is weighed by quality, then by how much it says', () => {
  const types = (header: string): string[] => parseAccept(header).map((c) => `${c.type}/${c.subtype}`);
  assert.deepEqual(types('*/*;q=0.8, application/json;q=0.9, application/yaml'), [
    'application/yaml',
    'application/json',
    '*/*',
  ]);
  const negotiator = new Negotiator();
  const find = (accept: string, offer = { transforms: true, tables: true, watch: false, protobuf: true }): string => {
    const n = negotiator.find(incoming('GET', '/', { accept }), offer);
    return n === undefined ? 'none' : `${n.format} ${n.as} ${n.asVersion}`.trim();
  };
  assert.equal(find('application/vnd.kubernetes.protobuf,application/json'), 'protobuf  v1');
  assert.equal(find('application/json;as=Table;v=v1;g=meta.k8s.io,application/json'), 'json Table v1');
  assert.equal(find('application/json;as=Nothing;v=v1;g=meta.k8s.io,application/yaml'), 'yaml  v1');
  assert.equal(find('text/html'), 'none');
  assert.equal(find('text/html,application/xhtml+xml,*/*;q=0.8'), 'json  v1');
  assert.equal(find('application/yaml', { transforms: true, tables: true, watch: true, protobuf: true }), 'none');
  assert.equal(
    find('application/vnd.kubernetes.protobuf;stream=watch', {
      transforms: true,
      tables: true,
      watch: true,
      protobuf: true,
    }),
    'protobuf  v1',
  );
});

test('warnings are quoted, told once, and cut when there are too many', () => {
  const recorder = new WarningRecorder();
  recorder.add('say "x"');
  recorder.add('say "x"');
  recorder.add('line\nbreak');
  assert.deepEqual(recorder.values, ['299 - "say \\"x\\""']);
  for (let i = 0; i < 30; i++) recorder.add(`${i} ${'w'.repeat(300)}`);
  const total = recorder.values.reduce((n, v) => n + v.length, 0);
  assert.ok(total < 4096 + 30 * 10 + 300, String(total));
  assert.ok(recorder.values.slice(1).every((v) => v.length <= 256 + '299 - ""'.length));
});

test('without priorities, what comes on top of the limit is refused at once, but for masters', async () => {
  const inFlight = { reading: 0, writing: 0 };
  let dropped = 0;
  let release: () => void = () => {};
  const gate = new Promise<void>((resolve) => (release = resolve));
  const run = withMaxInFlight(
    1,
    0,
    inFlight,
    () => dropped++,
  )(async () => {
    await gate;
    return ok;
  });
  const scope = (method: string, target: string, groups: string[] = []): Scope => {
    const s = scopeOf(method, target);
    s.info = parseRequestInfo(s.request);
    s.user = { name: 'x', groups };
    return s;
  };
  const first = run(scope('GET', '/api/v1/pods'));
  const refused = (await run(scope('GET', '/livez'))) as OutgoingResponse;
  assert.equal(refused.status, 429);
  assert.equal(refused.headers!['retry-after'], '1');
  assert.equal(dropped, 1);
  const others = [
    run(scope('GET', '/api/v1/pods', ['system:masters'])),
    run(scope('POST', '/api/v1/pods')),
    run(scope('POST', '/api/v1/pods')),
  ];
  release();
  for (const r of [first, ...others]) assert.equal((await r).status, 200);
  assert.deepEqual(inFlight, { reading: 0, writing: 0 });
});

test('a request past its deadline is answered 504 and told to stop', async () => {
  const deadlines = new Deadlines(10);
  const scope = scopeOf('GET', '/api/v1/pods');
  let aborted: unknown;
  const run = withDeadline(deadlines)((s) => {
    s.signal.addEventListener('abort', () => (aborted = s.signal.reason));
    return new Promise(() => {});
  });
  const answer = (await run(scope)) as OutgoingResponse;
  assert.equal(answer.status, 504);
  assert.ok(answer.body.kind === 'bytes');
  assert.match(answer.body.contentType, /^text\/plain/);
  const told = JSON.parse(Buffer.from(answer.body.bytes).toString()) as Record<string, unknown>;
  assert.equal(told['message'], 'Timeout: request did not complete within the allotted timeout');
  assert.ok(aborted instanceof Error);
  deadlines.close();
});

test('writes are bounded sooner than other requests, and it is told differently', async () => {
  const writes = new WriteDeadlines(5);
  const never = (): Promise<OutgoingResponse> => new Promise(() => {});
  const scope = scopeOf('POST', '/api/v1/namespaces/x/configmaps');
  scope.info = parseRequestInfo(scope.request);
  await assert.rejects(Promise.resolve(writes.run(scope, never)), (error) => {
    assert.ok(error instanceof StatusError);
    assert.equal(error.code, 504);
    assert.equal(
      error.message,
      'Timeout: request did not complete within requested timeout - context deadline exceeded',
    );
    return true;
  });
  assert.ok(scope.expired);
  const read = scopeOf('GET', '/api/v1/namespaces/x/configmaps/y');
  read.info = parseRequestInfo(read.request);
  assert.equal(await writes.run(read, () => ok), ok);
  assert.equal(read.deadline, undefined);
  writes.close();
});

test('what a handler throws by mistake is answered 500 and never escapes', async () => {
  const run = withPanicRecovery(silentLogger)(() => {
    throw new TypeError('oops');
  });
  const answer = await run(scopeOf('GET', '/x'));
  assert.equal(answer.status, 500);
  assert.match(
    Buffer.from((answer.body as { bytes: Uint8Array }).bytes).toString(),
    /^This request caused apiserver to panic/,
  );
});

test('impersonation asks about every user, group and extra, each header value on its own', async () => {
  const asked: string[] = [];
  const filter = withImpersonation(
    {
      authorize: (a) => {
        asked.push([a.verb, a.group, a.resource, a.subresource, a.namespace, a.name].join('|'));
        return { decision: 'allow', reason: '' };
      },
    },
    undefined,
  );
  const headers = {
    'impersonate-user': 'system:serviceaccount:ns:sa',
    'impersonate-group': 'a, b, c',
    'impersonate-extra-scopes%2fx': 'v',
  };
  const scope = new Scope(
    {
      ...incoming('GET', '/api/v1/pods', headers),
      rawHeaders: [
        'Impersonate-User',
        'system:serviceaccount:ns:sa',
        'Impersonate-Group',
        'a, b',
        'Impersonate-Group',
        'c',
        'Impersonate-Extra-Scopes%2fx',
        'v',
      ],
    },
    'id',
    0,
  );
  scope.user = { name: 'boss', groups: [] };
  await withRequestInfo()(filter(() => ok))(scope);
  assert.deepEqual(asked, [
    'impersonate||serviceaccounts||ns|sa',
    'impersonate||groups|||a, b',
    'impersonate||groups|||c',
    'impersonate|authentication.k8s.io|userextras|scopes/x||v',
  ]);
  assert.deepEqual(scope.user, {
    name: 'system:serviceaccount:ns:sa',
    groups: ['a, b', 'c', 'system:authenticated'],
    extra: { 'scopes/x': ['v'] },
  });
  assert.equal(scope.originalUser?.name, 'boss');
  assert.deepEqual(parseBundle(undefined), []);
});
