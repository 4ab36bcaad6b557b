/**
 * The layers between transport and store, alone: verbs, registry, watch cache and splicing over the memory store. CPU time a
 * request, so that it can be set against what the whole server takes.
 */
import { startHarness, take } from '../src/apiserver/verbs/harness.ts';
import type { Harness } from '../src/apiserver/verbs/harness.ts';
import { writeCommitted, writeCommittedInto } from '../src/apiserver/storage/codec.ts';
import type { BenchResult as Result } from './run.ts';
import type { ProbeLease, Target } from './support/beside.ts';
import { beside, besideRows } from './support/beside.ts';
import { ownLoop } from './support/loop-delay.ts';

const cms = '/api/v1/namespaces/default/configmaps';
const inFlight = 100;

/** CPU microseconds a call, median of `rounds`. */
async function cpu(rounds: number, calls: number, call: (n: number) => Promise<unknown>): Promise<number> {
  const figures: number[] = [];
  for (let round = 0; round < rounds; round++) {
    const start = process.cpuUsage();
    for (let i = 0; i < calls; i += inFlight) {
      await Promise.all(Array.from({ length: inFlight }, (_, k) => call(round * calls + i + k)));
      // Requests that come over sockets leave the loop its turns; these would not.
      await new Promise((resolve) => setImmediate(resolve));
    }
    const { user, system } = process.cpuUsage(start);
    figures.push((user + system) / calls);
  }
  return figures.sort((a, b) => a - b)[Math.floor(rounds / 2)]!;
}

function pod(n: number, node = ''): string {
  return JSON.stringify({
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: {
      name: `web-${String(n).padStart(6, '0')}`,
      labels: { app: 'web', 'pod-template-hash': '5d4f8c7b9' },
      annotations: { 'example.com/note': 'x'.repeat(600) },
    },
    spec: {
      ...(node === '' ? {} : { nodeName: node }),
      containers: [
        {
          name: 'web',
          image: 'registry.example.com/web:1.2.3',
          env: Array.from({ length: 10 }, (_, i) => ({ name: `VAR_${i}`, value: 'some value of it' })),
          resources: { requests: { cpu: '100m', memory: '128Mi' }, limits: { memory: '256Mi' } },
          ports: [{ containerPort: 8080 }],
        },
      ],
    },
  });
}

const leases = '/apis/coordination.k8s.io/v1/namespaces/default/leases';

function target(h: Harness): Target {
  const lease = async (method: string, url: string, body: unknown): Promise<ProbeLease> => {
    const answer = await h.request(method, url, body);
    if (answer.status >= 300) throw new Error(`${method} ${url}: ${JSON.stringify(answer.body)}`);
    return answer.body as unknown as ProbeLease;
  };
  return {
    loop: ownLoop(),
    own: true,
    create: (body) => lease('POST', leases, { apiVersion: 'coordination.k8s.io/v1', kind: 'Lease', ...body }),
    update: (body) => lease('PUT', `${leases}/${body.metadata.name}`, body),
    remove: (name) => ok(h, 'DELETE', `${leases}/${name}`),
  };
}

async function ok(h: Harness, method: string, url: string, body?: unknown, type?: string): Promise<void> {
  const { status, body: answer } = await h.request(method, url, body, type);
  if (status >= 300) throw new Error(`${method} ${url}: ${JSON.stringify(answer)}`);
}

async function requests(results: Result[]): Promise<void> {
  const h = await startHarness({ freeze: false });
  const probe = await beside(target(h));
  const data = 'x'.repeat(900);
  const configMap = (n: number): string =>
    `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"c${n}"},"data":{"k":"${data}"}}`;
  results.push({
    name: 'create a 1 KB ConfigMap',
    value: await cpu(7, 4000, (n) => ok(h, 'POST', cms, configMap(n))),
    unit: 'µs CPU',
    goal: '60',
  });
  results.push({
    name: 'create a pod',
    value: await cpu(5, 2000, (n) => ok(h, 'POST', '/api/v1/namespaces/default/pods', pod(n))),
    unit: 'µs CPU',
  });
  results.push({
    name: 'get a ConfigMap',
    value: await cpu(5, 10_000, (n) => h.request('GET', `${cms}/c${n % 20_000}`)),
    unit: 'µs CPU',
  });
  results.push({
    name: 'merge-patch a ConfigMap',
    value: await cpu(5, 4000, (n) =>
      ok(h, 'PATCH', `${cms}/c${n}`, `{"metadata":{"labels":{"n":"${n}"}}}`, 'application/merge-patch+json'),
    ),
    unit: 'µs CPU',
  });
  results.push(...besideRows('100 requests in flight', [await probe.stop()]));
  await h.close();
}

async function lists(results: Result[]): Promise<void> {
  const h = await startHarness({ freeze: false });
  await cpu(1, 20_000, (n) => ok(h, 'POST', '/api/v1/namespaces/default/pods', pod(n)));
  const registry = h.registries.registry('', 'pods')!;
  await registry.cache.start();
  const target = Buffer.allocUnsafe(1 << 20);
  const rates: number[] = [];
  for (let i = 0; i < 9; i++) {
    const start = process.cpuUsage();
    let at = 0;
    let bytes = 0;
    for (const object of registry.cache.all('', undefined)) {
      if (at > target.length - 16_384) at = 0;
      const end = writeCommittedInto(object, target, at, { typeHeader: false, apiVersion: 'v1' });
      bytes += end - at;
      at = end;
    }
    const { user, system } = process.cpuUsage(start);
    rates.push(bytes / (user + system));
  }
  results.push({
    name: 'list of 20,000 pods, spliced',
    value: rates.sort((a, b) => a - b)[4]!,
    unit: 'MB/s',
    goal: '400',
  });
  const start = process.cpuUsage();
  const { body } = await h.request('GET', '/api/v1/pods?labelSelector=app=web&limit=10');
  if (body.items.length !== 10) throw new Error('wrong list');
  await h.request('GET', '/api/v1/pods?labelSelector=app=none');
  const { user, system } = process.cpuUsage(start);
  results.push({ name: 'list by label over 20,000 pods', value: (user + system) / 1000, unit: 'ms CPU' });
  await h.close();
}

async function watches(results: Result[]): Promise<void> {
  const h = await startHarness({ freeze: false });
  const changes = 200;
  await ok(h, 'POST', cms, { metadata: { name: 'hot' } });
  const all = await Promise.all(
    Array.from({ length: 1000 }, () => h.watch(`${cms}?watch=1&fieldSelector=metadata.namespace=default`)),
  );
  let reading = all.map((w) => take(w, changes + 1));
  await new Promise((resolve) => setImmediate(resolve));
  let start = process.cpuUsage();
  for (let i = 0; i < changes; i++) {
    await ok(h, 'PATCH', `${cms}/hot`, { data: { i: String(i) } }, 'application/merge-patch+json');
  }
  const events = await Promise.all(reading);
  // The bytes of an event are made once for everybody.
  const encoded = new Set(events.flatMap((e) => e.slice(-1).map((x) => x.committed)));
  for (const committed of encoded) writeCommitted(committed, { typeHeader: true });
  let used = process.cpuUsage(start);
  results.push({
    name: '1,000 watchers of everything',
    value: (used.user + used.system) / changes / 1000,
    unit: 'µs CPU a delivery',
  });
  for (const w of all) w.close();

  const nodes = 5000;
  const byNode = await Promise.all(
    Array.from({ length: nodes }, (_, n) => h.watch(`/api/v1/pods?watch=1&fieldSelector=spec.nodeName=n${n}`)),
  );
  reading = byNode.map((w) => take(w, 1));
  await new Promise((resolve) => setImmediate(resolve));
  start = process.cpuUsage();
  for (let n = 0; n < nodes; n += inFlight) {
    await Promise.all(
      Array.from({ length: inFlight }, (_, k) =>
        ok(h, 'POST', '/api/v1/namespaces/default/pods', pod(n + k, `n${n + k}`)),
      ),
    );
  }
  await Promise.all(reading);
  used = process.cpuUsage(start);
  results.push({
    name: 'create a pod with 5,000 watchers by node',
    value: (used.user + used.system) / nodes,
    unit: 'µs CPU',
  });
  for (const w of byNode) w.close();
  await h.close();
}

export async function run(): Promise<Result[]> {
  const results: Result[] = [];
  await requests(results);
  await lists(results);
  await watches(results);
  return results;
}
