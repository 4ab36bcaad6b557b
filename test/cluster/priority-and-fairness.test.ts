/**
 * API Priority and Fairness over TLS: who is overloaded waits in its own level and is then refused with upstream's answer,
 * while leases, leader election, health checks and everybody else go on; the configuration objects and their upkeep.
 */
import assert from 'node:assert/strict';
import type { IncomingMessage } from 'node:http';
import * as https from 'node:https';
import { before, test } from 'node:test';
import { SystemClock, VirtualClock } from '../../src/base/clock.ts';
import type { Clock } from '../../src/base/clock.ts';
import { silentLogger } from '../../src/base/logger.ts';
import { SystemRandom } from '../../src/base/random.ts';
import type { AdmissionPlugin } from '../../src/apiserver/context.ts';
import { createApiServer } from '../../src/apiserver/server.ts';
import type { ApiServer } from '../../src/apiserver/server.ts';
import type { ApiServerOptions } from '../../src/apiserver/options.ts';
import { defaultValidity, ensurePki } from '../../src/cluster/pki.ts';
import { openEmbeddedStore } from '../../src/etcd/embedded-store.ts';
import { connectApi } from '../support/api.ts';
import type { HttpMethod } from '../../src/client/transport.ts';
import type { Answer, Api, Json } from '../support/api.ts';

const random = new SystemRandom();
const flowcontrol = '/apis/flowcontrol.apiserver.k8s.io/v1';
let pki: ReadonlyMap<string, string>;

before(async () => {
  const client = (name: string, commonName: string, ...organizations: string[]) =>
    ({ name, ca: 'ca', commonName, organizations, usages: ['client'] }) as const;
  pki = await ensurePki({
    now: Date.now(),
    random,
    validity: defaultValidity,
    requests: [
      {
        name: 'apiserver',
        ca: 'ca',
        commonName: 'kube-apiserver',
        usages: ['server'],
        dnsNames: ['localhost'],
        addresses: ['127.0.0.1'],
      },
      client('admin', 'admin', 'system:masters'),
      client('alice', 'alice', 'dev'),
      client('bob', 'bob', 'dev'),
      client('scheduler', 'system:kube-scheduler'),
      client('node', 'system:node:n1', 'system:nodes'),
    ],
  });
});

/** Writes of ConfigMaps named `slow…` stay where they are until the gate opens. */
class Gate implements AdmissionPlugin {
  readonly name = 'Gate';
  held = 0;
  #open = Promise.withResolvers<void>();

  handles(_operation: unknown, group: string, resource: string): boolean {
    return group === '' && resource === 'configmaps';
  }

  async validate(a: Parameters<NonNullable<AdmissionPlugin['validate']>>[0]): Promise<void> {
    if (!a.name.startsWith('slow')) return;
    this.held++;
    await this.#open.promise;
    this.held--;
  }

  open(): void {
    this.#open.resolve();
    this.#open = Promise.withResolvers<void>();
  }
}

interface Started extends AsyncDisposable {
  readonly port: number;
  readonly server: ApiServer;
  as(name: string): Api;
  readonly gate: Gate;
}

async function start(options: Partial<ApiServerOptions> = {}, clock: Clock = new SystemClock()): Promise<Started> {
  const store = await openEmbeddedStore({ engine: 'memory', clock, random, logger: silentLogger });
  const gate = new Gate();
  const server = await createApiServer({
    store,
    embedded: true,
    clock,
    random,
    logger: silentLogger,
    serviceAccountKeys: { signingKey: pki.get('sa.key')! },
    certificates: {
      certificate: pki.get('apiserver.crt')!,
      key: pki.get('apiserver.key')!,
      clientCA: pki.get('ca.crt')!,
    },
    dialer: {
      dial: () => Promise.reject(new Error('nobody is dialled here')),
    } as unknown as ApiServerOptions['dialer'],
    authorizationModes: ['AlwaysAllow'],
    extraAdmissionPlugins: [gate],
    shutdownGraceMs: 100,
    ...options,
  });
  await server.ready();
  const listening = await server.listen({ host: '127.0.0.1', port: 0 });
  const apis: Api[] = [];
  return {
    port: listening.port,
    server,
    gate,
    as(name) {
      const api = connectApi({
        adminCredentials: {
          server: `https://127.0.0.1:${listening.port}`,
          certificateAuthority: pki.get('ca.crt')!,
          clientCertificate: pki.get(`${name}.crt`)!,
          clientKey: pki.get(`${name}.key`)!,
        },
      });
      apis.push(api);
      return api;
    },
    async [Symbol.asyncDispose]() {
      for (const api of apis) api.close();
      gate.open();
      await server.close();
      await store.close();
    },
  };
}

async function until(what: string, holds: () => boolean | Promise<boolean>): Promise<void> {
  for (let i = 0; i < 2000; i++) {
    if (await holds()) return;
    await new Promise((resolve) => setImmediate(resolve));
  }
  assert.fail(`${what} did not come about`);
}

const configMap = (name: string) => ({ apiVersion: 'v1', kind: 'ConfigMap', metadata: { name } });
const lease = (name: string) => ({
  apiVersion: 'coordination.k8s.io/v1',
  kind: 'Lease',
  metadata: { name },
  spec: { holderIdentity: name },
});

function level(name: string, limited: Record<string, unknown>): Record<string, unknown> {
  return {
    apiVersion: 'flowcontrol.apiserver.k8s.io/v1',
    kind: 'PriorityLevelConfiguration',
    metadata: { name },
    spec: { type: 'Limited', limited },
  };
}

function schema(name: string, levelName: string, users: readonly string[], matchingPrecedence = 500) {
  return {
    apiVersion: 'flowcontrol.apiserver.k8s.io/v1',
    kind: 'FlowSchema',
    metadata: { name },
    spec: {
      matchingPrecedence,
      priorityLevelConfiguration: { name: levelName },
      distinguisherMethod: { type: 'ByUser' },
      rules: [
        {
          subjects: users.map((user) => ({ kind: 'User', user: { name: user } })),
          resourceRules: [{ verbs: ['*'], apiGroups: ['*'], resources: ['*'], clusterScope: true, namespaces: ['*'] }],
          nonResourceRules: [{ verbs: ['*'], nonResourceURLs: ['*'] }],
        },
      ],
    },
  };
}

async function metric(api: Api, name: string, ...labels: readonly string[]): Promise<number> {
  const { text } = await api.get('/metrics');
  const line = text.split('\n').find((l) => l.startsWith(`${name}{`) && labels.every((label) => l.includes(label)));
  return line === undefined ? 0 : Number(line.slice(line.lastIndexOf(' ') + 1));
}

test('every request is told its flow and level; the configuration says that nothing dangles', async () => {
  await using started = await start();
  const admin = started.as('admin');
  const uids = async (resource: string): Promise<Map<string, string>> =>
    new Map(
      (await admin.get(`${flowcontrol}/${resource}`)).body.items.map(
        (i: { metadata: { name: string; uid: string } }) => [i.metadata.uid, i.metadata.name],
      ),
    );
  const schemas = await uids('flowschemas');
  const levels = await uids('prioritylevelconfigurations');
  const told = async (answer: Promise<Answer>): Promise<string> => {
    const { headers } = await answer;
    const flow = schemas.get(String(headers['x-kubernetes-pf-flowschema-uid']));
    return `${flow} ${levels.get(String(headers['x-kubernetes-pf-prioritylevel-uid']))}`;
  };
  assert.equal(await told(admin.get('/api/v1/nodes')), 'exempt exempt');
  assert.equal(await told(started.as('alice').get('/api/v1/nodes')), 'global-default global-default');
  assert.equal(await told(started.as('alice').get('/livez')), 'probes exempt');
  const leases = '/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases';
  assert.equal(await told(started.as('node').create(leases, lease('n1'))), 'system-node-high node-high');
  assert.equal(await told(started.as('node').get('/api/v1/services')), 'system-nodes system');
  const election = '/apis/coordination.k8s.io/v1/namespaces/kube-system/leases';
  assert.equal(
    await told(started.as('scheduler').create(election, lease('kube-scheduler'))),
    'system-leader-election leader-election',
  );
  assert.equal(await told(started.as('scheduler').get('/api/v1/pods')), 'kube-scheduler workload-high');
  // Seats by the shares of the release: 600 of them.
  assert.equal(await metric(admin, 'apiserver_flowcontrol_nominal_limit_seats', '"workload-low"'), 245);
  assert.equal(await metric(admin, 'apiserver_flowcontrol_lower_limit_seats', '"workload-low"'), 24);
  assert.equal(await metric(admin, 'apiserver_flowcontrol_nominal_limit_seats', '"catch-all"'), 13);

  const dangling = async (name: string): Promise<string> => {
    const { body } = await admin.get(`${flowcontrol}/flowschemas/${name}`);
    const [c] = body.status?.conditions ?? [];
    return c === undefined ? '' : `${c.type}=${c.status} ${c.reason}: ${c.message}`;
  };
  assert.equal(
    await dangling('probes'),
    'Dangling=False Found: This FlowSchema references the PriorityLevelConfiguration object named "exempt" and it exists',
  );
  assert.equal((await admin.create(`${flowcontrol}/flowschemas`, schema('alices', 'mine', ['alice']))).status, 201);
  await until('the dangling condition', async () => (await dangling('alices')) !== '');
  assert.equal(
    await dangling('alices'),
    'Dangling=True NotFound: This FlowSchema references the PriorityLevelConfiguration object named "mine" but there is no such object',
  );
  assert.equal(await told(started.as('alice').get('/api/v1/nodes')), 'global-default global-default');
  const mine = level('mine', { nominalConcurrencyShares: 5, limitResponse: { type: 'Reject' } });
  assert.equal((await admin.create(`${flowcontrol}/prioritylevelconfigurations`, mine)).status, 201);
  await until('the level', async () => (await dangling('alices')).startsWith('Dangling=False'));
});

test('who floods the server waits for himself, then is refused; nobody else notices', async () => {
  // Twenty seats, of which the small level can have one, and nothing to borrow.
  await using started = await start({ maxRequestsInFlight: 13, maxMutatingRequestsInFlight: 7 });
  const admin = started.as('admin');
  const small = level('small', {
    nominalConcurrencyShares: 10,
    borrowingLimitPercent: 0,
    limitResponse: { type: 'Queue', queuing: { queues: 2, handSize: 1, queueLengthLimit: 3 } },
  });
  assert.equal((await admin.create(`${flowcontrol}/prioritylevelconfigurations`, small)).status, 201);
  assert.equal(
    (await admin.create(`${flowcontrol}/flowschemas`, schema('floods', 'small', ['alice', 'bob']))).status,
    201,
  );
  const alice = started.as('alice');
  const maps = '/api/v1/namespaces/default/configmaps';
  const answers: Promise<Answer>[] = [];
  const flood = (n: number): void => {
    for (let i = 0; i < n; i++) {
      const answer = alice.create(maps, configMap(`slow-${answers.length}`));
      answer.catch(() => {}); // awaited below
      answers.push(answer);
    }
  };
  flood(1);
  await until('the first', () => started.gate.held === 1);
  flood(3);
  const waiting = (): Promise<number> =>
    metric(admin, 'apiserver_flowcontrol_current_inqueue_requests', '"floods"', '"small"');
  await until('a full queue', async () => (await waiting()) === 3);
  assert.equal(started.gate.held, 1);
  const refused = await alice.create(maps, configMap('slow-refused'));
  assert.equal(refused.status, 429);
  assert.equal(refused.headers['retry-after'], '1');
  assert.equal(refused.text, 'Too many requests, please try again later.\n');
  assert.notEqual(refused.headers['x-kubernetes-pf-flowschema-uid'], undefined);
  assert.equal(
    await metric(admin, 'apiserver_flowcontrol_rejected_requests_total', '"floods"', 'reason="queue-full"'),
    1,
  );

  // Everybody else: health checks, node heartbeats, leader election, other users.
  assert.equal((await alice.get('/livez')).status, 200);
  const leases = '/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases';
  assert.equal((await started.as('node').create(leases, lease('n1'))).status, 201);
  const election = '/apis/coordination.k8s.io/v1/namespaces/kube-system/leases';
  assert.equal((await started.as('scheduler').create(election, lease('kube-scheduler'))).status, 201);
  assert.equal((await admin.create(maps, configMap('fine'))).status, 201);

  // A quarter of the time that a request has may be spent waiting. Bob has a queue to himself or shares alice's full one.
  const impatient = await started.as('bob').request('POST', `${maps}?timeout=200ms`, configMap('slow-bob'));
  assert.equal(impatient.status, 429);
  const debug = '/debug/api_priority_and_fairness';
  const levels = await admin.get(`${debug}/dump_priority_levels`);
  assert.match(levels.text, /^PriorityLevelName, ActiveQueues, IsIdle, +IsQuiescing, /);
  assert.match(levels.text, /^small, +1, +false, +false, +3, +1, /m);
  const requests = await admin.get(`${debug}/dump_requests?includeRequestDetails=1`);
  assert.equal(requests.text.split('\n').filter((l) => l.startsWith('small,')).length, 4);
  assert.match(
    requests.text,
    /^small, +floods, +\d, +0, +alice, +\S+Z, +1, +0, +0s, +0001-01-01T00:00:00Z, +alice, +create, /m,
  );
  assert.equal(
    (await admin.get(`${debug}/dump_queues`)).text.split('\n').filter((l) => l.startsWith('small')).length,
    2,
  );

  for (let done = 0; done < 4; done++) {
    await until('the next', () => started.gate.held === 1);
    started.gate.open();
    assert.equal((await answers[done]!).status, 201);
  }
  assert.equal(await waiting(), 0);
  assert.equal(await metric(admin, 'apiserver_flowcontrol_dispatched_requests_total', '"floods"'), 4);
  assert.equal(await metric(admin, 'apiserver_flowcontrol_request_wait_duration_seconds_count', '"floods"', 'true'), 4);
});

test('two users of one level are served in turn', async () => {
  await using started = await start({ maxRequestsInFlight: 13, maxMutatingRequestsInFlight: 7 });
  const admin = started.as('admin');
  const fair = level('fair', {
    nominalConcurrencyShares: 10,
    borrowingLimitPercent: 0,
    limitResponse: { type: 'Queue', queuing: { queues: 512, handSize: 1, queueLengthLimit: 50 } },
  });
  await admin.create(`${flowcontrol}/prioritylevelconfigurations`, fair);
  await admin.create(`${flowcontrol}/flowschemas`, schema('users', 'fair', ['alice', 'bob']));
  const maps = '/api/v1/namespaces/default/configmaps';
  const alice = started.as('alice');
  const order: string[] = [];
  const send = (api: Api, who: string, n: number): Promise<unknown>[] =>
    Array.from({ length: n }, (_v, i) =>
      api.create(maps, configMap(`slow-${who}-${i}`)).then((a) => {
        assert.equal(a.status, 201);
        order.push(who);
      }),
    );
  const all = send(alice, 'alice', 12);
  const waiting = (): Promise<number> => metric(admin, 'apiserver_flowcontrol_current_inqueue_requests', '"users"');
  await until('a queue of one user', async () => (await waiting()) === 11);
  all.push(...send(started.as('bob'), 'bob', 2));
  await until('a queue of the other', async () => (await waiting()) === 13);
  for (let done = 1; done <= 14; done++) {
    await until('the next', () => started.gate.held === 1);
    started.gate.open();
    await until('its answer', () => order.length === done);
  }
  await Promise.all(all);
  // Bob came last, and is not last.
  assert.ok(order.lastIndexOf('bob') < 9, order.join(' '));
});

test('without priorities the limits hold for readers and writers, and no headers are told', async () => {
  await using started = await start({ priorityAndFairness: false, maxMutatingRequestsInFlight: 1 });
  const alice = started.as('alice');
  const maps = '/api/v1/namespaces/default/configmaps';
  const first = alice.create(maps, configMap('slow'));
  await until('the first', () => started.gate.held === 1);
  const refused = await alice.create(maps, configMap('second'));
  assert.equal(refused.status, 429);
  assert.equal(refused.headers['retry-after'], '1');
  const read = await alice.get(maps);
  assert.equal(read.status, 200);
  assert.equal(read.headers['x-kubernetes-pf-flowschema-uid'], undefined);
  assert.equal((await started.as('admin').create(maps, configMap('masters'))).status, 201);
  started.gate.open();
  assert.equal((await first).status, 201);
});

test('mandatory objects come back, suggested ones as long as nobody claims them, leftovers go', async () => {
  const clock = new VirtualClock();
  await using started = await start({}, clock);
  const transport = started.server.localTransport({ name: 'admin', groups: ['system:masters'] });
  const call = async (method: HttpMethod, path: string, body?: unknown, contentType?: string) =>
    (
      await transport.request({
        method,
        path: `${flowcontrol}/${path}`,
        body,
        ...(contentType === undefined ? {} : { contentType }),
      })
    ).body as Json;
  const patch = (path: string, body: unknown) => call('PATCH', path, body, 'application/merge-patch+json');
  await call('DELETE', 'flowschemas/exempt');
  await call('DELETE', 'flowschemas/probes');
  await patch('flowschemas/service-accounts', {
    metadata: { annotations: { 'apf.kubernetes.io/autoupdate-spec': 'false' } },
    spec: { matchingPrecedence: 7777 },
  });
  await patch('prioritylevelconfigurations/workload-low', { spec: { limited: { nominalConcurrencyShares: 1 } } });
  const old = schema('of-an-old-release', 'exempt', ['nobody']);
  await call('POST', 'flowschemas', {
    ...old,
    metadata: { ...old.metadata, annotations: { 'apf.kubernetes.io/autoupdate-spec': 'true' } },
  });
  await call('POST', 'flowschemas', schema('of-mine', 'exempt', ['nobody']));
  await clock.advance(61_000);
  assert.equal((await call('GET', 'flowschemas/exempt')).spec.matchingPrecedence, 1);
  assert.equal((await call('GET', 'flowschemas/probes')).spec.matchingPrecedence, 2);
  assert.equal((await call('GET', 'flowschemas/service-accounts')).spec.matchingPrecedence, 7777);
  const low = await call('GET', 'prioritylevelconfigurations/workload-low');
  assert.equal(low.spec.limited.nominalConcurrencyShares, 100);
  assert.equal((await call('GET', 'flowschemas/of-an-old-release')).code, 404);
  assert.equal((await call('GET', 'flowschemas/of-mine')).metadata.name, 'of-mine');
});

test('a watch has its seats until its initial events are out', async () => {
  await using started = await start();
  const admin = started.as('admin');
  const alice = started.as('alice');
  const path = '/api/v1/namespaces/default/configmaps';
  // More than sockets and buffers hold.
  const data = { text: 'x'.repeat(400_000) };
  for (let i = 0; i < 40; i++) await admin.create(path, { ...configMap(`big-${i}`), data });
  await admin.create(
    `${flowcontrol}/prioritylevelconfigurations`,
    level('one', { nominalConcurrencyShares: 1, borrowingLimitPercent: 0, limitResponse: { type: 'Reject' } }),
  );
  await admin.create(`${flowcontrol}/flowschemas`, schema('one', 'one', ['alice']));
  const executing = () => metric(admin, 'apiserver_flowcontrol_current_executing_seats', 'priority_level="one"');
  const server = new URL(`https://127.0.0.1:${started.port}`);
  const watch = await new Promise<IncomingMessage>((resolve, reject) => {
    https
      .get(
        {
          host: server.hostname,
          port: server.port,
          path: `${path}?watch=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true`,
          ca: pki.get('ca.crt')!,
          cert: pki.get('alice.crt')!,
          key: pki.get('alice.key')!,
          agent: false,
        },
        resolve,
      )
      .on('error', reject);
  });
  assert.equal(watch.statusCode, 200);
  assert.ok((await executing()) >= 1);
  const seats = await metric(admin, 'apiserver_flowcontrol_current_limit_seats', 'priority_level="one"');
  assert.ok((await executing()) >= seats, 'the whole level is taken');
  assert.equal((await alice.get('/version')).status, 429);
  let seen = '';
  watch.on('data', (chunk: Buffer) => (seen = (seen + chunk.toString('latin1')).slice(-2000)));
  await until('the end of the initial events', () => seen.includes('k8s.io/initial-events-end'));
  await until('the seats being given back', async () => (await executing()) === 0);
  assert.equal((await alice.get('/version')).status, 200);
  watch.destroy();
});
