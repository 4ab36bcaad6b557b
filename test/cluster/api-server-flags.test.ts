/** Flags of kube-apiserver that say how it stores, serves and looks at the cluster around it, over the wire. */
import assert from 'node:assert/strict';
import { existsSync, readFileSync, statSync } from 'node:fs';
import { request } from 'node:http';
import { after, before, test } from 'node:test';
import type { KeyValueStore } from '../../src/etcd/store.ts';
import { createWorkspace, startApiServer, startStore, type TestStore, type Workspace } from '../support/api-server.ts';
import { connectApi, type Api, type Json } from '../support/api.ts';

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

const refused = (flags: readonly string[], why: RegExp | string): Promise<void> =>
  assert.rejects(
    async () => void (await startApiServer(work, etcd, flags)),
    (error: Error) => {
      if (typeof why === 'string') assert.equal(error.message, why);
      else assert.match(error.message, why);
      return true;
    },
  );

async function keys(store: KeyValueStore, key: string): Promise<string[]> {
  const { kvs } = await store.range({ key, end: `${key}\xff`, keysOnly: true });
  return kvs.map((kv) => kv.key);
}

const pod = (name: string, securityContext?: object): object => ({
  metadata: { name },
  spec: {
    containers: [{ name: 'c', image: 'i', ...(securityContext === undefined ? {} : { securityContext }) }],
  },
});
const pods = '/api/v1/namespaces/default/pods';
const alone = '--disable-admission-plugins=ServiceAccount';

async function refusedPod(api: Api, name: string): Promise<string> {
  const { status, body } = await api.create(pods, pod(name, { privileged: true }));
  assert.equal(status, 422);
  return body.message;
}

test('privileged containers are refused unless they are allowed', async () => {
  await using server = await startApiServer(work, etcd, [alone]);
  const { api } = server;
  assert.equal(
    await refusedPod(api, 'p'),
    'Pod "p" is invalid: spec.containers[0].securityContext.privileged: Forbidden: disallowed by cluster policy',
  );
  const template = { metadata: { labels: { a: 'b' } }, spec: (pod('x', { privileged: true }) as Json).spec };
  const deployment = await api.create('/apis/apps/v1/namespaces/default/deployments', {
    metadata: { name: 'd' },
    spec: { selector: { matchLabels: { a: 'b' } }, template },
  });
  assert.equal(
    deployment.body.message,
    'Deployment.apps "d" is invalid: spec.template.spec.containers[0].securityContext.privileged: Forbidden: disallowed by cluster policy',
  );
  assert.equal((await api.create(pods, pod('plain'))).status, 201);
  const debug = { name: 'e', image: 'i', securityContext: { privileged: true } };
  const patched = await api.request(
    'PATCH',
    `${pods}/plain/ephemeralcontainers`,
    { spec: { ephemeralContainers: [debug] } },
    { 'content-type': 'application/merge-patch+json' },
  );
  assert.match(patched.body.message, /spec\.ephemeralContainers\[0\]\.securityContext\.privileged: Forbidden: dis/);
  await api.delete(`${pods}/plain?gracePeriodSeconds=0`);

  await using allowing = await startApiServer(work, etcd, [alone, '--allow-privileged=true']);
  assert.equal((await allowing.api.create(pods, pod('p', { privileged: true }))).status, 201);
});

test('what envtest starts: tokens verified with a certificate, its own certificate found in --cert-dir', async () => {
  const dir = work.path('envtest');
  work.write('envtest/apiserver.crt', work.pki.get('apiserver.crt')!);
  work.write('envtest/apiserver.key', work.pki.get('apiserver.key')!);
  const signing = work.path('pki/apiserver.key');
  await using server = await startApiServer(work, etcd, [
    ...['--tls-cert-file=', '--tls-private-key-file=', '--allow-privileged=true'],
    `--cert-dir=${dir}`,
    alone,
    '--service-account-issuer=https://127.0.0.1:6443/',
    `--service-account-key-file=${dir}/apiserver.crt`,
    `--service-account-signing-key-file=${signing}`,
    '--service-cluster-ip-range=10.0.0.0/24',
  ]);
  const { api } = server;
  await api.create('/api/v1/namespaces/default/serviceaccounts', { metadata: { name: 'robot' } });
  const made = await api.create('/api/v1/namespaces/default/serviceaccounts/robot/token', { spec: {} });
  assert.equal(made.status, 201);
  const robot = connectApi(
    { adminCredentials: { server: server.url, certificateAuthority: work.pki.get('ca.crt')! } } as never,
    { token: made.body.status.token },
  );
  assert.equal((await robot.get('/api')).status, 200);
  robot.close();
  await refused(
    [`--service-account-key-file=${work.write('no.key', 'nothing')}`],
    `error reading public key file ${work.path('no.key')}: data does not contain any valid RSA or ECDSA public keys`,
  );
});

test('a certificate signed by itself is put into --cert-dir and found there again', async () => {
  const dir = work.path('made');
  const flags = ['--tls-cert-file=', '--tls-private-key-file=', `--cert-dir=${dir}`];
  await (await startApiServer(work, etcd, flags)).stop();
  const certificate = readFileSync(`${dir}/apiserver.crt`, 'utf8');
  assert.equal(statSync(`${dir}/apiserver.key`).mode & 0o777, 0o600);
  await (await startApiServer(work, etcd, flags)).stop();
  assert.equal(readFileSync(`${dir}/apiserver.crt`, 'utf8'), certificate);
  work.write('half/apiserver.crt', certificate);
  await refused(
    ['--tls-cert-file=', '--tls-private-key-file=', `--cert-dir=${work.path('half')}`],
    `error reading ${work.path('half')}/apiserver.key, certificate and key must be supplied as a pair`,
  );
});

test('keys lie under --etcd-prefix, and single resources in another etcd', async () => {
  await using events = await startStore();
  await using server = await startApiServer(work, etcd, [
    '--etcd-prefix=other/place/',
    `--etcd-servers-overrides=/events#${events.url},/configmaps#${events.url}`,
    '--lease-reuse-duration-seconds=5',
  ]);
  const { api } = server;
  const maps = '/api/v1/namespaces/default/configmaps';
  await api.create(maps, { metadata: { name: 'm' }, data: { a: 'b' } });
  await api.create('/api/v1/namespaces/default/events', {
    metadata: { name: 'e' },
    involvedObject: { kind: 'Pod', namespace: 'default', name: 'p' },
  });
  assert.equal((await api.get(`${maps}/m`)).body.data.a, 'b');
  assert.equal((await api.get('/api/v1/namespaces/default/events')).body.items.length, 1);
  assert.ok((await keys(etcd.store, '/other/place/namespaces/')).includes('/other/place/namespaces/default'));
  assert.deepEqual(await keys(etcd.store, '/other/place/configmaps/'), []);
  assert.deepEqual(await keys(events.store, '/other/place/events/'), ['/other/place/events/default/e']);
  assert.ok((await keys(events.store, '/other/place/configmaps/')).includes('/other/place/configmaps/default/m'));
  assert.ok((await keys(etcd.store, '/other/place/masterleases/')).length === 1);
  assert.match(
    (await api.get('/readyz?verbose')).text,
    /\[\+\]etcd-override-0 ok\n.*\[\+\]etcd-override-readiness-0 ok/s,
  );
  // A check may be left out with all of its group.
  const without = (await api.get('/readyz?verbose&exclude=etcd')).text;
  assert.match(without, /\[\+\]etcd excluded: ok\n.*\[\+\]etcd-override-0 excluded with etcd: ok\n/s);
  assert.match(without, /\[\+\]etcd-override-readiness-0 ok/);
  const broken =
    '--etcd-servers-overrides invalid, must be of format: group/resource#servers, where servers are URLs, semicolon separated';
  for (const text of ['events#http://a', '/events', '/events#http://a;'])
    await refused([`--etcd-servers-overrides=${text}`], broken);
});

test('the kubernetes Service, its addresses and the name of the server', async () => {
  await using own = await startStore();
  await using server = await startApiServer(work, own, [
    '--kubernetes-service-node-port=30443',
    '--endpoint-reconciler-type=none',
    '--external-hostname=api.example.com',
    '--default-not-ready-toleration-seconds=7',
    '--default-unreachable-toleration-seconds=8',
    alone,
  ]);
  const { api, port } = server;
  const service = await api.get('/api/v1/namespaces/default/services/kubernetes');
  assert.equal(service.body.spec.type, 'NodePort');
  assert.equal(service.body.spec.ports[0].nodePort, 30_443);
  assert.equal((await api.get('/api/v1/namespaces/default/endpoints/kubernetes')).status, 404);
  assert.equal((await api.get('/api')).body.serverAddressByClientCIDRs[0].serverAddress, `api.example.com:${port}`);
  const made = await api.create(pods, pod('p'));
  assert.deepEqual(
    made.body.spec.tolerations.map((t: Json) => t.tolerationSeconds),
    [7, 8],
  );
  assert.deepEqual(await keys(own.store, '/registry/masterleases/'), []);
  await using second = await startApiServer(work, own, ['--endpoint-reconciler-type=master-count']);
  const endpoints = await second.api.get('/api/v1/namespaces/default/endpoints/kubernetes');
  assert.equal(endpoints.body.subsets[0].addresses.length, 1);
  assert.deepEqual(await keys(own.store, '/registry/masterleases/'), []);
});

test('without a garbage collector deletions leave nothing to it', async () => {
  const maps = '/api/v1/namespaces/default/configmaps';
  const orphaned = async (api: Api): Promise<number> => {
    await api.create(maps, { metadata: { name: 'o' } });
    await api.request('DELETE', `${maps}/o`, { propagationPolicy: 'Orphan' });
    const { status } = await api.get(`${maps}/o`);
    await api.merge(`${maps}/o`, { metadata: { finalizers: null } });
    return status;
  };
  await using server = await startApiServer(work, etcd);
  assert.equal(await orphaned(server.api), 200);
  await using without = await startApiServer(work, etcd, [
    '--enable-garbage-collector=false',
    '--delete-collection-workers=1',
  ]);
  assert.equal(await orphaned(without.api), 404);
  for (const name of ['a', 'b', 'c']) await without.api.create(maps, { metadata: { name, labels: { gone: 'yes' } } });
  const deleted = await without.api.request('DELETE', `${maps}?labelSelector=gone`);
  assert.equal(deleted.body.items.length, 3);
});

test('metrics that are not told, labels that are told together', async () => {
  await using server = await startApiServer(work, etcd, [
    '--disabled-metrics=apiserver_request_duration_seconds,process_start_time_seconds',
    '--allow-metric-labels=apiserver_request_total,verb=GET',
    '--etcd-db-metric-poll-interval=0',
    '--etcd-count-metric-poll-period=0',
  ]);
  const { api } = server;
  await api.get('/api/v1/namespaces/default');
  await api.get('/api/v1/namespaces');
  const { text } = await api.get('/metrics');
  assert.doesNotMatch(text, /^(# TYPE )?(apiserver_request_duration_seconds|process_start_time_seconds)\b/m);
  assert.match(text, /^apiserver_request_total\{[^}]*resource="namespaces"[^}]*verb="GET"/m);
  assert.match(text, /^apiserver_request_total\{[^}]*resource="namespaces"[^}]*verb="unexpected"/m);
  assert.doesNotMatch(text, /^apiserver_request_total\{[^}]*verb="LIST"/m);
  assert.doesNotMatch(text, /^apiserver_(storage_size_bytes|resource_objects)\{/m);
  const manifest = work.write('labels.yaml', 'apiserver_request_total,verb: "GET,LIST"\n');
  await using second = await startApiServer(work, etcd, [`--allow-metric-labels-manifest=${manifest}`]);
  await second.api.get('/api/v1/namespaces');
  assert.match((await second.api.get('/metrics')).text, /^apiserver_request_total\{[^}]*verb="LIST"/m);
});

test('a shared port, the debug socket, logs, redirections and idle flags', async () => {
  const socket = work.path('debug.sock');
  await using first = await startApiServer(work, etcd, [
    '--permit-port-sharing',
    `--debug-socket-path=${socket}`,
    '--enable-logs-handler',
    '--watch-cache-sizes=pods#5',
  ]);
  await using second = await startApiServer(work, etcd, ['--permit-port-sharing', `--secure-port=${first.port}`]);
  assert.equal(second.port, first.port);
  await refused([`--secure-port=${first.port}`], /is in use/);
  const text = await new Promise<string>((resolve, reject) => {
    request({ socketPath: socket, path: '/debug/pprof/' }, (res) => {
      let body = '';
      res.on('data', (d: Buffer) => (body += d.toString()));
      res.on('end', () => resolve(body));
    })
      .once('error', reject)
      .end();
  });
  assert.match(text, /cmdline/);
  assert.ok(existsSync('/var/log'));
  const anyLogs = async (): Promise<string> => {
    for (;;) {
      // Either server may have the connection.
      const api = first.as('admin');
      const answer = await api.get('/logs/');
      if (answer.status === 200) return answer.text;
    }
  };
  assert.match(await anyLogs(), /^<!doctype html>\n<meta name="viewport"/);
  assert.ok(first.log.some((r) => r.message.startsWith('--watch-cache-sizes has no effect: ')));
});

test('wrong values are refused in upstream’s words', async () => {
  await refused(
    ['--storage-backend=etcd2'],
    "--storage-backend invalid, allowed values: etcd3. If not specified, it will default to 'etcd3'",
  );
  await refused(['--watch-cache-sizes=pods'], 'invalid value of watch cache size: pods');
  await refused(['--watch-cache-sizes=pods#x'], 'invalid size of watch cache size: pods#x');
  await refused(['--watch-cache-sizes=pods#-1'], 'watch cache size cannot be negative: pods#-1');
  await refused(
    ['--kubernetes-service-node-port=70000'],
    /^--kubernetes-service-node-port 70000 must be between 0 and 65535, inclusive\./,
  );
  await refused(
    ['--kubernetes-service-node-port=80'],
    "kubernetes service node port range 30000-32767 doesn't contain 80",
  );
  await refused(['--endpoint-reconciler-type=magic'], 'Reconciler not implemented: magic');
  await refused(['--admission-control=Nope'], 'admission-control plugin "Nope" is unknown');
  await refused(
    ['--admission-control=NamespaceLifecycle', '--enable-admission-plugins=NodeRestriction'],
    'admission-control and enable-admission-plugins/disable-admission-plugins flags are mutually exclusive',
  );
  await refused(
    ['--show-hidden-metrics-for-version=1.3'],
    `metrics.showHiddenMetricsForVersion: Invalid value: "1.3": must be omitted or have the value '1.35'; only the previous minor version is allowed`,
  );
  await refused(
    ['--allow-metric-labels=metric=a'],
    /^metrics\.allowListMapping: Invalid value: .*: must have keys with format `metricName,labelName`/,
  );
});
