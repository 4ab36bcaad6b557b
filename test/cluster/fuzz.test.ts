/**
 * Valid requests broken by chance, thrown at a whole cluster over HTTPS and in-process: objects with members changed, taken away
 * or put in the wrong place, as JSON, YAML and protobuf, patches of every type, applied configurations, bytes flipped, odd URLs,
 * queries and headers. The API server never answers 500 and never panics, the process never falls over, and the cluster still
 * works afterwards. `KNARR_SEED=n` draws others, `KNARR_FUZZ_SCALE` more.
 */
import assert from 'node:assert/strict';
import { Agent, request } from 'node:https';
import { test } from 'node:test';
import fc from 'fast-check';
import { scale, seed } from '../../src/base/fuzzing.ts';
import { createLogger } from '../../src/base/logger.ts';
import { createCluster } from '../../src/index.ts';
import type { Cluster } from '../../src/index.ts';
import { attempt, make } from './fuzz/attempts.ts';
import type { Attempt, Made } from './fuzz/attempts.ts';
import { isUpstreamsOwn500 } from './fuzz/own-500.ts';
import { targets } from './fuzz/targets.ts';
import { waitForOne } from '../support/wait.ts';

const runs = 4000 * scale;
const timeLimitMs = 15_000 * scale;

let cluster: Cluster;
let agent: Agent;

/** What stands for a 500 as upstream gives it. */
const upstreamsOwn = 0;

/** Over HTTPS; a stream is left as soon as it has begun. */
function overHttps(a: Attempt, made: Made): Promise<number> {
  const headers: Record<string, string> = { 'content-type': made.contentType, ...Object.fromEntries(a.headers) };
  const body = a.method === 'GET' || a.method === 'HEAD' ? undefined : made.bytes;
  return new Promise((resolve, reject) => {
    const req = request(`${cluster.url!}/`, { path: made.path, method: a.method, headers, agent }, (res) => {
      const stop = setTimeout(() => res.destroy(), 50);
      let text = '';
      res.on('close', () => {
        clearTimeout(stop);
        // An answer to HEAD has no text to tell it by.
        const known = isUpstreamsOwn500(text) || a.method === 'HEAD';
        resolve(res.statusCode === 500 && known ? upstreamsOwn : res.statusCode!);
      });
      res.on('error', () => {});
      res.on('data', (chunk: Buffer) => (text += chunk.toString('utf8')));
    });
    req.on('upgrade', (res, socket) => {
      socket.destroy();
      resolve(res.statusCode!);
    });
    req.on('error', (e) => reject(new Error(`${a.method} ${made.path}: ${e.message}`, { cause: e })));
    req.end(body);
  });
}

const streams = /\/(watch|log|exec|attach|portforward|proxy)(\/|\?|$)/;

async function inProcess(a: Attempt, made: Made): Promise<number> {
  const { status } = await cluster.client.transport.request({
    method: a.method,
    path: made.path,
    headers: Object.fromEntries(a.headers.filter(([k]) => k !== 'authorization')),
    ...(a.method === 'GET' || a.method === 'HEAD'
      ? {}
      : { body: a.form === 'protobuf' || a.flips.length > 0 ? made.bytes : made.object }),
    contentType: made.contentType,
  });
  return status;
}

test(`requests broken by chance are answered, never with 500 (KNARR_SEED=${seed})`, async (t) => {
  const faults: string[] = [];
  const logger = createLogger({
    level: 'error',
    now: () => 0,
    sink: (r) =>
      faults.push(`${r.message} ${(r.fields['error'] as Error | undefined)?.stack ?? JSON.stringify(r.fields)}`),
  });
  await using own = await createCluster({
    nodes: 1,
    https: { port: 0 },
    freeze: true,
    logger,
    runtimeConfig: { 'api/all': true },
    featureGates: {
      CBORServingAndStorage: true,
      ClusterTrustBundle: true,
      PodCertificateRequest: true,
      GenericWorkload: true,
      StorageVersionMigrator: true,
    },
  });
  cluster = own;
  const { certificateAuthority: ca, clientCertificate: cert, clientKey: key } = cluster.adminCredentials!;
  agent = new Agent({ ca, cert, key, keepAlive: true, maxSockets: 8 });
  t.after(() => agent.destroy());
  await cluster.client.core.namespaces.create({ metadata: { name: 'fuzz' } });
  await waitForOne(cluster.client.core.serviceaccounts, 'default', 'fuzz', () => true);
  // All of it is valid before it is broken. (The controllers may have been there first; the custom kind is not served yet.)
  const invalid: unknown[] = [];
  for (const { path, object } of targets) {
    const { status, body } = await cluster.client.transport.request({
      method: 'POST',
      path: `${path}?fieldValidation=Strict`,
      body: object,
    });
    if (status >= 300 && status !== 409 && !path.includes('fuzz.example.com')) invalid.push(body);
  }
  assert.deepEqual(invalid, []);
  const allowed = (status: number): boolean => status < 500 || status === 501 || status === 503 || status === 504;
  let sent = 0;
  let last = '';
  const outcome = await fc.check(
    fc.asyncProperty(attempt, async (a) => {
      const made = make(a);
      sent++;
      last = `${a.method} ${made.path} ${made.contentType} ${JSON.stringify(a.headers)}\n${made.bytes.toString('latin1')}`;
      const status = await overHttps(a, made);
      assert.ok(allowed(status), `${status} over HTTPS`);
      if (streams.test(made.path)) return;
      const local = await inProcess(a, made);
      assert.ok(allowed(local) || (status === upstreamsOwn && local === 500), `${local} in-process`);
    }),
    { seed, numRuns: runs, interruptAfterTimeLimit: timeLimitMs, markInterruptAsFailure: false, endOnFailure: true },
  );
  t.diagnostic(`seed ${seed}: ${sent} of ${runs} attempts`);
  if (outcome.failed)
    assert.fail(`${String(outcome.errorInstance)}\n${last}\n${faults.at(-1)}\nKNARR_SEED=${seed}, attempt ${sent}`);
  assert.deepEqual(
    faults.filter((f) => f.includes('panic')),
    [],
  );
  // It still answers, and it still runs pods.
  await cluster.client.core.namespaces.create({ metadata: { name: 'after' } });
  await waitForOne(cluster.client.core.serviceaccounts, 'default', 'after', () => true);
  await cluster.client.core.pods.create({
    metadata: { name: 'p', namespace: 'after' },
    spec: { containers: [{ name: 'c', image: 'busybox', command: ['sleep', '1000'] }] },
  });
  await waitForOne(cluster.client.core.pods, 'p', 'after', (p) => p.status?.phase === 'Running');
});
