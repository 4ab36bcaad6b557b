/** How an API server ends, over TLS: who may still ask, what finishes, and watches one after the other. */
import assert from 'node:assert/strict';
import * as http2 from 'node:http2';
import { after, before, test } from 'node:test';
import { createWorkspace, startApiServer, startStore } from '../support/api-server.ts';
import type { RunningApiServer, TestStore, Workspace } from '../support/api-server.ts';
import type { Answer } from '../support/api.ts';
import { startTlsServer, type TlsServer } from '../support/tls-server.ts';

let work: Workspace;
let etcd: TestStore;
let webhook: TlsServer;
let asked = Promise.withResolvers<void>();
let gate = Promise.withResolvers<void>();

before(async () => {
  work = await createWorkspace();
  etcd = await startStore();
  webhook = await startTlsServer({
    handle: async (_request, response, body) => {
      const { uid } = (JSON.parse(body.toString()) as { request: { uid: string } }).request;
      asked.resolve();
      await gate.promise;
      response.setHeader('content-type', 'application/json');
      const review = { apiVersion: 'admission.k8s.io/v1', kind: 'AdmissionReview', response: { uid, allowed: true } };
      response.end(JSON.stringify(review));
    },
  });
});

after(async () => {
  await webhook[Symbol.asyncDispose]();
  await etcd[Symbol.asyncDispose]();
  work.dispose();
});

async function until<T>(look: () => Promise<T | undefined>): Promise<T> {
  for (let i = 0; i < 500; i++) {
    const found = await look();
    if (found !== undefined) return found;
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  throw new Error('waited in vain');
}

const maps = '/api/v1/namespaces/default/configmaps';

/** A create that goes on until the gate opens; resolves once it is under way. */
async function hold(server: RunningApiServer, name: string): Promise<{ made: Promise<Answer> }> {
  asked = Promise.withResolvers();
  gate = Promise.withResolvers();
  await server.api.create('/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations', {
    metadata: { name: 'slow' },
    webhooks: [
      {
        name: 'slow.example.com',
        timeoutSeconds: 30,
        clientConfig: { url: webhook.url, caBundle: webhook.caBundle },
        rules: [{ apiGroups: [''], apiVersions: ['v1'], operations: ['CREATE'], resources: ['configmaps'] }],
        matchConditions: [{ name: 'held', expression: 'object.metadata.name.startsWith("held")' }],
        sideEffects: 'None',
        admissionReviewVersions: ['v1'],
      },
    ],
  });
  // Until the server has heard of the webhook.
  for (let i = 0; ; i++) {
    const made = server.api.create(maps, { metadata: { name: `${name}-${i}` } });
    if ((await Promise.race([made.then(() => false), asked.promise.then(() => true)])) === true) return { made };
  }
}

const events = (server: RunningApiServer): string[] =>
  server.log.filter((r) => r.message.includes('[graceful-termination]')).map((r) => String(r.fields['name']));

test('with --shutdown-send-retry-after the port stays open until all is done', async () => {
  const server = await startApiServer(work, etcd, ['--shutdown-send-retry-after']);
  const held = await hold(server, 'held-1');
  const ended = server.stop();
  const refused = await until(async () => {
    const answer = await server.as('alice').get(maps);
    return answer.status === 429 && answer.text.includes('shutting down') ? answer : undefined;
  });
  assert.equal(refused.headers['retry-after'], '5');
  assert.equal(refused.headers.connection, 'close');
  assert.equal(refused.text, 'The apiserver is shutting down, please try again later.\n');
  assert.equal((await server.as('admin').get('/livez')).status, 200);
  assert.equal((await server.as('admin').get('/readyz')).status, 500);
  assert.equal((await server.as('admin').get('/metrics')).status, 200);
  gate.resolve();
  assert.equal((await held.made).status, 201);
  await ended;
  assert.deepEqual(events(server), [
    'ShutdownInitiated',
    'AfterShutdownDelayDuration',
    'NotAcceptingNewRequest',
    'InFlightRequestsDrained',
    'HTTPServerStoppedListening',
  ]);
});

test('without it the port is closed at once, and what runs finishes', async () => {
  const server = await startApiServer(work, etcd);
  const held = await hold(server, 'held-2');
  const ended = server.stop();
  await until(async () => {
    try {
      await server.as('alice').get(maps);
      return undefined;
    } catch (error) {
      return (error as NodeJS.ErrnoException).code === 'ECONNREFUSED' ? error : undefined;
    }
  });
  gate.resolve();
  assert.equal((await held.made).status, 201);
  await ended;
});

test('watches end one after the other within their grace', async () => {
  const server = await startApiServer(work, etcd, ['--shutdown-watch-termination-grace-period=10s']);
  const session = http2.connect(server.url, {
    ca: work.pki.get('ca.crt')!,
    cert: work.pki.get('admin.crt')!,
    key: work.pki.get('admin.key')!,
  });
  const ends: number[] = [];
  const count = 150;
  const watches = Array.from({ length: count }, () => {
    const stream = session.request({ ':path': `${maps}?watch=true` });
    const opened = new Promise<void>((resolve) => stream.on('response', () => resolve()));
    const closed = new Promise<void>((resolve) => stream.on('close', () => resolve()));
    void closed.then(() => ends.push(performance.now()));
    stream.resume();
    return { opened, closed };
  });
  await Promise.all(watches.map((w) => w.opened));
  const ended = server.stop();
  await Promise.all(watches.map((w) => w.closed));
  const spread = ends.at(-1)! - ends[0]!;
  assert.ok(spread > 400, `150 watches, 200 of them a second: ${spread} ms`);
  assert.ok(spread < 8000, `within the grace: ${spread} ms`);
  await ended;
  session.close();
});
