/** Auditing over the wire: what a policy tells of which requests, where it goes, and what happens when that is full or away. */
import assert from 'node:assert/strict';
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { after, before, test } from 'node:test';
import { createWorkspace, startApiServer, startStore } from '../support/api-server.ts';
import type { RunningApiServer, TestStore, Workspace } from '../support/api-server.ts';
import type { Json } from '../support/api.ts';
import { startTlsServer } from '../support/tls-server.ts';

let work: Workspace;
let etcd: TestStore;

before(async () => {
  work = await createWorkspace();
  etcd = await startStore();
});

after(async () => {
  await etcd[Symbol.asyncDispose]();
  work.dispose();
});

const policy = (rules: readonly object[], more: object = {}): object => ({
  apiVersion: 'audit.k8s.io/v1',
  kind: 'Policy',
  ...more,
  rules,
});

const eventsIn = (file: string): Json[] =>
  readFileSync(file, 'utf8')
    .split('\n')
    .filter((l) => l !== '')
    .map((l) => JSON.parse(l) as Json);

/** The stages of one request, by its id. */
async function until<T>(look: () => T | undefined): Promise<T> {
  for (let i = 0; i < 500; i++) {
    const found = look();
    if (found !== undefined) return found;
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  throw new Error('waited in vain');
}

test('levels, stages, bodies, annotations and the Audit-ID header', async () => {
  const log = work.path('levels/audit.log');
  const file = work.write(
    'levels.yaml',
    policy(
      [
        { level: 'None', users: ['system:apiserver'] },
        { level: 'None', nonResourceURLs: ['/healthz*', '/version'] },
        { level: 'Metadata', resources: [{ group: '', resources: ['secrets'] }] },
        {
          level: 'RequestResponse',
          namespaces: ['default'],
          resources: [{ group: '', resources: ['configmaps', 'pods/*'] }],
        },
        { level: 'Request', verbs: ['delete', 'deletecollection'], omitStages: [], omitManagedFields: false },
        { level: 'Metadata' },
      ],
      { omitStages: ['RequestReceived'], omitManagedFields: true },
    ),
  );
  await using server = await startApiServer(work, etcd, [`--audit-policy-file=${file}`, `--audit-log-path=${log}`]);
  const { api } = server;
  assert.equal(statSync(log).mode & 0o777, 0o600);
  const of = async (id: string | undefined, stage = 'ResponseComplete'): Promise<Json> =>
    until(() => eventsIn(log).find((e) => e.auditID === id && e.stage === stage));

  const created = await api.request(
    'POST',
    '/api/v1/namespaces/default/configmaps?fieldManager=me',
    { metadata: { name: 'c' }, data: { a: '1' } },
    { 'audit-id': 'my-own-id', 'user-agent': `agent ${'x'.repeat(2000)}`, 'x-forwarded-for': '192.0.2.7, junk' },
  );
  assert.equal(created.headers['audit-id'], 'my-own-id');
  const event = await of('my-own-id');
  assert.deepEqual(Object.keys(event), [
    ...['kind', 'apiVersion', 'level', 'auditID', 'stage', 'requestURI', 'verb', 'user', 'sourceIPs', 'userAgent'],
    ...['objectRef', 'responseStatus', 'requestObject', 'responseObject'],
    ...['requestReceivedTimestamp', 'stageTimestamp', 'annotations'],
  ]);
  assert.equal(event.level, 'RequestResponse');
  assert.equal(event.requestURI, '/api/v1/namespaces/default/configmaps?fieldManager=me');
  assert.deepEqual(event.sourceIPs, ['192.0.2.7', '127.0.0.1']);
  assert.match(event.userAgent, /^agent x{1018}\.\.\.TRUNCATED$/);
  assert.equal(event.user.username, 'admin');
  assert.deepEqual(event.objectRef, {
    resource: 'configmaps',
    namespace: 'default',
    name: 'c',
    apiVersion: 'v1',
  });
  assert.deepEqual(event.responseStatus, { metadata: {}, code: 201 });
  assert.deepEqual(event.requestObject.data, { a: '1' });
  assert.equal(event.responseObject.metadata.uid, created.body.metadata.uid);
  assert.equal('managedFields' in event.responseObject.metadata, false);
  assert.equal(event.annotations['authorization.k8s.io/decision'], 'allow');
  assert.match(event.requestReceivedTimestamp, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$/);
  assert.deepEqual(
    eventsIn(log)
      .filter((e) => e.auditID === 'my-own-id')
      .map((e) => e.stage),
    ['ResponseComplete'],
  );

  const list = await api.get('/api/v1/namespaces/default/configmaps');
  const listed = await of(list.headers['audit-id'] as string);
  assert.equal(listed.responseObject.kind, 'ConfigMapList');
  assert.equal('managedFields' in listed.responseObject.items[0].metadata, false);

  const patched = await api.merge('/api/v1/namespaces/default/configmaps/c', { data: { b: '2' } });
  assert.deepEqual((await of(patched.headers['audit-id'] as string)).requestObject, { data: { b: '2' } });

  // What a secret holds is nobody's affair.
  const secret = await api.create('/api/v1/namespaces/default/secrets', {
    metadata: { name: 's' },
    stringData: { password: 'hush' },
  });
  const hidden = await of(secret.headers['audit-id'] as string);
  assert.equal(hidden.level, 'Metadata');
  assert.equal(hidden.objectRef.name, 's');
  assert.equal('requestObject' in hidden, false);

  const gone = await api.delete('/api/v1/namespaces/default/secrets/s');
  assert.equal(gone.status, 200);
  const removed = await api.request('DELETE', '/apis/apps/v1/namespaces/kube-system/deployments', {
    kind: 'DeleteOptions',
    apiVersion: 'v1',
    propagationPolicy: 'Background',
  });
  assert.deepEqual((await of(removed.headers['audit-id'] as string)).requestObject, {
    propagationPolicy: 'Background',
    kind: 'DeleteOptions',
    apiVersion: 'v1',
  });

  const missing = await api.get('/api/v1/namespaces/default/configmaps/none');
  const notFound = await of(missing.headers['audit-id'] as string);
  assert.deepEqual(notFound.responseStatus, {
    metadata: {},
    status: 'Failure',
    message: 'configmaps "none" not found',
    reason: 'NotFound',
    details: { name: 'none', kind: 'configmaps' },
    code: 404,
  });
  assert.equal(notFound.responseObject.kind, 'Status');

  const denied = await server.as('alice').get('/api/v1/nodes');
  const forbidden = await of(denied.headers['audit-id'] as string);
  assert.equal(forbidden.annotations['authorization.k8s.io/decision'], 'forbid');
  assert.equal(forbidden.responseStatus.reason, 'Forbidden');

  const as = await api.request('GET', '/api/v1/namespaces', undefined, {
    'impersonate-user': 'bob',
    'impersonate-group': 'ops',
  });
  const acted = await of(as.headers['audit-id'] as string);
  assert.deepEqual(acted.impersonatedUser, { username: 'bob', groups: ['ops', 'system:authenticated'] });
  assert.equal(acted.user.username, 'admin');

  const bad = await server
    .as('nobody')
    .request('GET', '/api/v1/pods', undefined, { authorization: 'Bearer nonsense', 'audit-id': 'bad' });
  assert.equal(bad.status, 401);
  const unknown = await of('bad', 'ResponseStarted');
  assert.deepEqual(unknown.user, {});
  assert.equal(unknown.responseStatus.code, 401);
  const version = await api.get('/version');
  assert.equal(
    eventsIn(log).some((e) => e.auditID === version.headers['audit-id']),
    false,
  );

  // A watch begins to be answered long before it is complete.
  const watching = await api.get('/api/v1/namespaces/default/configmaps?watch=1&timeoutSeconds=1');
  const stages = await until(() => {
    const all = eventsIn(log).filter((e) => e.auditID === watching.headers['audit-id']);
    return all.length === 2 ? all : undefined;
  });
  assert.deepEqual(
    stages.map((e) => [e.verb, e.stage, e.responseStatus.code]),
    [
      ['watch', 'ResponseStarted', 200],
      ['watch', 'ResponseComplete', 200],
    ],
  );
  const metrics = (await api.get('/metrics')).text;
  assert.match(metrics, /^apiserver_audit_event_total [1-9]/m);
  assert.match(metrics, /^apiserver_audit_level_total\{level="RequestResponse"\} [1-9]/m);
});

test('rotation by size, compression and the number kept; the old format', async () => {
  const log = work.path('rotate/audit.log');
  const file = work.write(
    'rotate.yaml',
    policy([{ level: 'None', users: ['system:apiserver'] }, { level: 'Request' }]),
  );
  await using server = await startApiServer(work, etcd, [
    `--audit-policy-file=${file}`,
    `--audit-log-path=${log}`,
    '--audit-log-maxsize=1',
    '--audit-log-maxbackup=2',
    '--audit-log-compress',
  ]);
  const data = { text: 'x'.repeat(300_000) };
  for (let i = 0; i < 12; i++)
    await server.api.create('/api/v1/namespaces/default/configmaps?dryRun=All', { metadata: { name: `c${i}` }, data });
  const names = await until(() => {
    const all = readdirSync(work.path('rotate')).sort();
    return all.length === 3 && all.filter((n) => n.endsWith('.log.gz')).length === 2 ? all : undefined;
  });
  assert.match(names[0]!, /^audit-\d{4}-\d\d-\d\dT\d\d-\d\d-\d\d\.\d{3}\.log\.gz$/);
  assert.equal(names[2], 'audit.log');
  assert.ok(statSync(log).size <= 1024 * 1024);
  await server.stop();

  const legacy = work.path('legacy/audit.log');
  await using old = await startApiServer(work, etcd, [
    `--audit-policy-file=${file}`,
    `--audit-log-path=${legacy}`,
    '--audit-log-format=legacy',
  ]);
  await old.api.request('GET', '/api/v1/namespaces/default', undefined, { 'audit-id': 'one', 'user-agent': 'a "b"' });
  const lines = await until(() => {
    const all = readFileSync(legacy, 'utf8')
      .split('\n')
      .filter((l) => l.includes('id="one"'));
    return all.length === 2 ? all : undefined;
  });
  assert.match(
    lines[1]!,
    /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z AUDIT: id="one" stage="ResponseComplete" ip="127.0.0.1" method="get" user="admin" groups="\\"system:masters\\",\\"system:authenticated\\"" as="<self>" asgroups="<lookup>" user-agent="a \\"b\\"" namespace="default" uri="\/api\/v1\/namespaces\/default" response="200"$/,
  );
});

test('the webhook: batches, tries again, cuts what is too large; strict blocking refuses', async () => {
  const lists: Json[] = [];
  let fails = 2;
  await using receiver = await startTlsServer({
    handle(_request, response, body) {
      if (fails-- > 0) {
        response.writeHead(500).end();
        return;
      }
      lists.push(JSON.parse(body.toString()));
      response.writeHead(200, { 'content-type': 'application/json' }).end('{}');
    },
  });
  const config = work.write('webhook.kubeconfig', {
    apiVersion: 'v1',
    kind: 'Config',
    clusters: [
      { name: 'c', cluster: { server: `${receiver.url}/audit`, 'certificate-authority-data': receiver.caBundle } },
    ],
    users: [{ name: 'u', user: {} }],
    contexts: [{ name: 'x', context: { cluster: 'c', user: 'u' } }],
    'current-context': 'x',
  });
  const file = work.write('webhook.yaml', policy([{ level: 'Request', users: ['admin'] }]));
  let server: RunningApiServer = await startApiServer(work, etcd, [
    `--audit-policy-file=${file}`,
    `--audit-webhook-config-file=${config}`,
    '--audit-webhook-batch-max-size=5',
    '--audit-webhook-batch-max-wait=200ms',
    '--audit-webhook-initial-backoff=20ms',
    '--audit-webhook-truncate-enabled',
    '--audit-webhook-truncate-max-event-size=4000',
    '--audit-webhook-truncate-max-batch-size=8000',
  ]);
  for (let i = 0; i < 4; i++) await server.api.get(`/api/v1/namespaces/n${i}`);
  await server.api.create('/api/v1/namespaces/default/configmaps?dryRun=All', {
    metadata: { name: 'large' },
    data: { text: 'y'.repeat(10_000) },
  });
  const large = await until(() => lists.flatMap((l) => l.items).find((e: Json) => e.objectRef?.name === 'large'));
  assert.equal('requestObject' in large, false);
  assert.equal(large.annotations['audit.k8s.io/truncated'], 'true');
  await server[Symbol.asyncDispose]();
  const all = lists.flatMap((l) => l.items) as Json[];
  assert.equal(lists[0].kind, 'EventList');
  assert.equal(lists[0].apiVersion, 'audit.k8s.io/v1');
  assert.ok(lists.every((l) => l.items.length <= 5));
  // Nothing was lost, though the first answers were failures.
  assert.equal(all.filter((e) => /^\/api\/v1\/namespaces\/n\d$/.test(e.requestURI)).length, 8);

  fails = Infinity;
  server = await startApiServer(work, etcd, [
    `--audit-policy-file=${work.write('strict.yaml', policy([{ level: 'Metadata', users: ['alice'] }]))}`,
    `--audit-webhook-config-file=${config}`,
    '--audit-webhook-mode=blocking-strict',
    '--audit-webhook-initial-backoff=1ms',
  ]);
  const refused = await server.as('alice').get('/version');
  assert.equal(refused.status, 500);
  assert.match(refused.text, /^Internal Server Error: "\/version": failed to store audit event/);
  const metrics = (await server.api.get('/metrics')).text;
  assert.match(metrics, /^apiserver_audit_requests_rejected_total 1$/m);
  assert.match(metrics, /^apiserver_audit_error_total\{plugin="webhook"\} [1-9]/m);
  await server[Symbol.asyncDispose]();
});

test('a policy that does not hold is told at the start, with upstream words', async () => {
  const starts = (policyFile: string, ...more: string[]): Promise<unknown> =>
    startApiServer(work, etcd, [`--audit-policy-file=${policyFile}`, '--audit-log-path=-', ...more]);
  const bad = work.write(
    'bad.yaml',
    policy([
      { level: 'Everything' },
      { nonResourceURLs: ['x', '/a*b'], namespaces: ['n'] },
      { level: 'None', omitStages: ['Never'], resources: [{ group: 'apps/v1', resourceNames: ['a'] }] },
    ]),
  );
  await assert.rejects(starts(bad), (error: Error) => {
    for (const part of [
      'loading audit policy file: [',
      'rules[0].level: Unsupported value: "Everything": supported values: "None", "Metadata", "Request", "RequestResponse"',
      'rules[1].level: Required value',
      `rules[1].nonResourceURLs[0]: Invalid value: "x": non-resource URL rules must begin with a '/' character`,
      `rules[1].nonResourceURLs[1]: Invalid value: "/a*b": non-resource URL wildcards '*' must be the final character of the rule`,
      'rules cannot apply to both regular resources and non-resource URLs',
      'using resourceNames requires at least one resource',
      'rules[2].omitStages[0]: Invalid value: "Never": allowed stages are RequestReceived,ResponseStarted,ResponseComplete,Panic',
      `: from file ${bad}`,
    ])
      assert.ok(error.message.includes(part), `${part}\n in\n${error.message}`);
    return true;
  });
  await assert.rejects(starts(work.write('none.yaml', policy([]))), /loaded illegal policy with 0 rules/);
  await assert.rejects(
    starts(work.write('kind.yaml', { apiVersion: 'audit.k8s.io/v1beta1', kind: 'Policy', rules: [] })),
    /failed decoding: no kind "Policy" is registered for version "audit.k8s.io\/v1beta1"/,
  );
  const good = work.write('good.yaml', policy([{ level: 'None' }]));
  await assert.rejects(
    starts(good, '--audit-log-mode=sometimes'),
    /invalid audit log mode sometimes, allowed modes are "batch,blocking,blocking-strict"/,
  );
  await assert.rejects(starts(good, '--audit-log-format=xml'), /invalid audit log format xml/);
  await assert.rejects(starts(good, '--audit-log-maxage=-1'), /--audit-log-maxage -1 can't be a negative number/);
});

test('what a mutating webhook patched is told where requests are told', async () => {
  await using hook = await startTlsServer({
    handle(_request, response, body) {
      const { uid } = (JSON.parse(body.toString()) as Json).request;
      const patch = Buffer.from('[{"value":{"z":"1"},"op":"add","path":"/data"}]').toString('base64');
      const answer = { uid, allowed: true, patchType: 'JSONPatch', patch };
      response.writeHead(200, { 'content-type': 'application/json' });
      response.end(JSON.stringify({ apiVersion: 'admission.k8s.io/v1', kind: 'AdmissionReview', response: answer }));
    },
  });
  const log = work.path('patches/audit.log');
  const rules = [{ level: 'Metadata', namespaces: ['kube-public'] }, { level: 'Request' }];
  const file = work.write('patches.yaml', policy(rules, { omitStages: ['RequestReceived'] }));
  await using server = await startApiServer(work, etcd, [`--audit-policy-file=${file}`, `--audit-log-path=${log}`]);
  const configurations = '/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations';
  const made = await server.api.create(configurations, {
    metadata: { name: 'patches' },
    webhooks: [
      {
        name: 'patch.example.com',
        admissionReviewVersions: ['v1'],
        sideEffects: 'None',
        clientConfig: { url: `${hook.url}/patch`, caBundle: hook.caBundle },
        rules: [{ apiGroups: [''], apiVersions: ['v1'], resources: ['configmaps'], operations: ['CREATE'] }],
      },
    ],
  });
  assert.equal(made.status, 201, made.text);
  const told = async (namespace: string): Promise<Json> => {
    const created = await server.api.create(`/api/v1/namespaces/${namespace}/configmaps`, { metadata: { name: 'p' } });
    assert.deepEqual(created.body.data, { z: '1' });
    return (await until(() => eventsIn(log).find((e) => e.auditID === created.headers['audit-id']))).annotations;
  };
  assert.equal(
    (await told('default'))['patch.webhook.admission.k8s.io/round_0_index_0'],
    '{"configuration":"patches","webhook":"patch.example.com","patch":[{"op":"add","path":"/data","value":{"z":"1"}}],"patchType":"JSONPatch"}',
  );
  const metadata = await told('kube-public');
  assert.equal('patch.webhook.admission.k8s.io/round_0_index_0' in metadata, false);
  assert.ok('mutation.webhook.admission.k8s.io/round_0_index_0' in metadata);
  assert.equal((await server.api.delete(`${configurations}/patches`)).status, 200);
});

test('a token request for another UID is let through without its gate, which the caller and the log are told', async () => {
  const log = work.path('tokens/audit.log');
  const file = work.write('tokens.yaml', policy([{ level: 'Metadata' }]));
  await using server = await startApiServer(work, etcd, [
    `--audit-policy-file=${file}`,
    `--audit-log-path=${log}`,
    '--feature-gates=TokenRequestServiceAccountUIDValidation=false',
  ]);
  const { api } = server;
  const accounts = '/api/v1/namespaces/default/serviceaccounts';
  const { uid } = (await api.create(accounts, { metadata: { name: 'robot' } })).body.metadata;
  const mine = await api.create(`${accounts}/robot/token`, { metadata: { uid }, spec: {} });
  assert.deepEqual([mine.status, mine.warnings], [201, []]);
  const other = await api.create(`${accounts}/robot/token`, { metadata: { uid: 'other' }, spec: {} });
  assert.equal(other.status, 201, other.text);
  const why = `the UID in the token request (other) does not match the UID of the service account (${uid})`;
  assert.deepEqual(other.warnings, [
    `${why} but TokenRequestServiceAccountUIDValidation is not enabled. In the future, this will return a conflict error`,
  ]);
  assert.equal(other.body.metadata.uid, 'other');
  const claims = JSON.parse(Buffer.from(other.body.status.token.split('.')[1], 'base64url').toString()) as Json;
  assert.equal(claims['kubernetes.io'].serviceaccount.uid, uid, 'the token is of the account that there is');
  const id = other.headers['audit-id'];
  const event = await until(() => eventsIn(log).find((e) => e.auditID === id && e.stage === 'ResponseComplete'));
  assert.equal(event.annotations['authentication.k8s.io/token-request-uid-mismatch'], why);
});
