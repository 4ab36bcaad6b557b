/**
 * Watches through TLS: 1,000 watchers of one resource and 100 changes a second, every event delivered; more changes than can be
 * delivered, for the rate; five thousand watches by node, as kubelets have them, beside creates; and watchers that are
 * stuck, which the server must end without growing (needs the bundle).
 */
import type { ClientHttp2Session } from 'node:http2';
import { connect } from 'node:http2';
import type { BenchOptions, BenchResult } from './run.ts';
import type { Beside } from './support/beside.ts';
import { beside, besideRows, serverTarget } from './support/beside.ts';
import { median } from './support/median.ts';
import type { BenchServer } from './support/server.ts';
import { apiServerAlone, benchServer } from './support/server.ts';
import type { Seen, WatchersOptions } from './support/watchers.ts';
import { sendRequests } from './support/requests.ts';
import { openWatchers, sharedNow } from './support/watchers.ts';

const objects = 10;
const sessions = 10;
const perSession = 100;
const perSecond = 100;
const seconds = 20;
const maps = '/api/v1/namespaces/watched/configmaps';

/** Writes over one HTTP/2 connection, many in flight. */
class Writer {
  readonly #session: ClientHttp2Session;
  readonly #token: string;
  readonly sent: number[] = [];
  readonly acknowledged: number[] = [];

  constructor(server: BenchServer) {
    this.#session = connect(server.url, { ca: server.ca });
    this.#token = server.token;
  }

  #request(method: string, path: string, type: string, body: unknown): Promise<void> {
    return new Promise((resolve, reject) => {
      const stream = this.#session.request({
        ':method': method,
        ':path': path,
        authorization: `Bearer ${this.#token}`,
        'content-type': type,
      });
      let status = 0;
      let text = '';
      stream.on('response', (headers) => (status = headers[':status'] ?? 0));
      stream.on('data', (d: Buffer) => {
        if (status >= 300) text += d.toString();
      });
      stream.once('error', reject);
      stream.once('end', () => {
        if (status < 300) resolve();
        else reject(new Error(`${method} ${path}: ${status} ${text}`));
      });
      stream.end(JSON.stringify(body));
    });
  }

  async create(): Promise<void> {
    for (let i = 0; i < objects; i++)
      await this.#request('POST', maps, 'application/json', {
        metadata: { name: `object-${i}` },
        data: { value: 'x'.repeat(256) },
      });
  }

  /** Change number `seq`, to the object that is next in turn. */
  async change(seq: number): Promise<void> {
    const data = { seq: String(seq).padStart(6, '0') };
    this.sent[seq] = sharedNow();
    await this.#request('PATCH', `${maps}/object-${seq % objects}`, 'application/merge-patch+json', { data });
    this.acknowledged[seq] = sharedNow();
  }

  close(): void {
    this.#session.close();
  }
}

/** `rate` changes a second for `count` changes, in time whatever the answers do. */
async function changes(writer: Writer, from: number, count: number, rate: number): Promise<void> {
  const start = sharedNow();
  const writing: Promise<void>[] = [];
  for (let i = 0; i < count; i++) {
    const wait = start + (i * 1000) / rate - sharedNow();
    if (wait > 0) await new Promise((r) => setTimeout(r, wait));
    // One at a time of each object: two on their way at once have no order.
    if (i >= objects) await writing[i - objects];
    const written = writer.change(from + i);
    // Told below.
    written.catch(() => {});
    writing.push(written);
  }
  await Promise.all(writing);
}

function watchersOf(server: BenchServer, more: Partial<WatchersOptions>): WatchersOptions {
  const url = new URL(server.url);
  return {
    host: url.hostname,
    port: Number(url.port),
    ca: server.ca,
    token: server.token,
    path: `${maps}?watch=1`,
    sessions,
    perSession,
    changes: perSecond * seconds,
    ...more,
  };
}

interface Fanned {
  readonly seen: Seen;
  readonly beside: Beside;
  readonly cpuMicros: number;
  readonly clientShare: number;
  readonly perSecond: number;
}

async function fanOut(server: BenchServer, rate = perSecond): Promise<Fanned> {
  const writer = new Writer(server);
  // With what exists already no watch of this run shall have to do.
  const { metadata } = await server.json<{ metadata: { resourceVersion: string } }>('GET', maps);
  const watchers = await openWatchers(
    watchersOf(server, { path: `${maps}?watch=1&resourceVersion=${metadata.resourceVersion}` }),
  );
  try {
    const probe = await beside(serverTarget(server));
    const cpu = server.cpuSeconds();
    const start = sharedNow();
    await changes(writer, 0, perSecond * seconds, rate);
    const seen = await watchers.finish({ sent: writer.sent, acknowledged: writer.acknowledged, objects }, 5000);
    const took = (sharedNow() - start) / 1000;
    const until = seen.lastSeen - start;
    const used = server.cpuSeconds() - cpu;
    return {
      seen,
      beside: await probe.stop(),
      cpuMicros: (used * 1e6) / seen.delivered,
      clientShare: (100 * seen.cpuSeconds) / took,
      perSecond: (seen.delivered / until) * 1000,
    };
  } finally {
    watchers.stop();
    writer.close();
  }
}

/** What is wrong with a run, if anything is. */
function wrong(seen: Seen): string | undefined {
  const faults = [
    [seen.missing, 'not delivered'],
    [seen.doubled, 'delivered twice'],
    [seen.disordered, 'out of order'],
    [seen.ended, 'watches ended'],
  ] as const;
  const told = faults.filter(([n]) => n > 0).map(([n, what]) => `${n} ${what}`);
  return told.length === 0 ? undefined : told.join(', ');
}

/** Rather more than what is wanted; the seats of the writers' priority level bear it. */
const flood = 200;

async function flooded(server: BenchServer, runs: number): Promise<BenchResult[]> {
  const all: Fanned[] = [];
  for (let i = 0; i < runs; i++) all.push(await fanOut(server, flood));
  const name = `${(sessions * perSession).toLocaleString('en')} watchers, ${flood} changes/s`;
  const rate: BenchResult = {
    name: `${name}: deliveries until the last has come`,
    value: median(all.map((r) => r.perSecond)),
    unit: '/s',
    goal: '150,000 or more',
  };
  const fault = all.map((r) => wrong(r.seen)).find((f) => f !== undefined);
  return [
    fault === undefined ? rate : { ...rate, failed: fault },
    { name: `${name}: server CPU a delivery`, value: median(all.map((r) => r.cpuMicros)), unit: 'µs' },
    {
      name: `${name}: the watching process's CPU`,
      value: median(all.map((r) => r.clientShare)),
      unit: '% of a core',
    },
  ];
}

const nodes = 5000;
const nodePods = '/api/v1/namespaces/watched/pods';

function nodePod(nodeName?: string): string {
  const containers = [{ name: 'main', image: 'registry.example/team/app:1.2.3' }];
  return JSON.stringify({
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { generateName: 'node-' },
    spec: { containers, ...(nodeName === undefined ? { schedulerName: 'nobody' } : { nodeName }) },
  });
}

/**
 * What five thousand watches as kubelets have them cost those who create pods, in turns with and without them. Without controllers
 * and scheduler: what those do with the pods is no cost of the watches.
 */
async function kubelets(runs: number): Promise<BenchResult[]> {
  const server = await benchServer(apiServerAlone);
  try {
    await server.json('POST', '/api/v1/namespaces', { metadata: { name: 'watched' } });
    await server.json('POST', '/api/v1/namespaces/watched/serviceaccounts', { metadata: { name: 'default' } });
    return await createsBeside(server, runs);
  } finally {
    await server.dispose();
  }
}

async function createsBeside(server: BenchServer, runs: number): Promise<BenchResult[]> {
  const out: BenchResult[] = [];
  const count = 5000;
  const create = async (body: string): Promise<{ rate: number; cpu: number }> => {
    const cpu = server.cpuSeconds();
    const result = await sendRequests(server, {
      method: 'POST',
      path: nodePods,
      body,
      type: 'application/json',
      count,
    });
    if (result.failed > 0) throw new Error(`${result.failed} pods were not created`);
    return { rate: count / result.seconds, cpu: ((server.cpuSeconds() - cpu) * 1e6) / count };
  };
  await create(nodePod('node-%k'));
  for (const [what, body] of [
    ['pods that no node has', nodePod()],
    ['pods of all nodes in turn', nodePod('node-%k')],
  ] as const) {
    const without: { rate: number; cpu: number }[] = [];
    const beside: { rate: number; cpu: number }[] = [];
    // Without, with, with, without: what grows as the run goes on (pods in the store, code made faster) weighs on both alike.
    for (let i = 0; i < runs; i++) {
      without.push(await create(body));
      const { metadata } = await server.json<{ metadata: { resourceVersion: string } }>('GET', `${nodePods}?limit=1`);
      const path = `/api/v1/pods?watch=1&resourceVersion=${metadata.resourceVersion}&fieldSelector=spec.nodeName%3Dnode-%k`;
      const watchers = await openWatchers(
        watchersOf(server, { path, sessions: 10, perSession: nodes / 10, changes: 1 }),
      );
      try {
        beside.push(await create(body), await create(body));
        if ((await watchers.ended()) > 0) throw new Error('watches were ended');
      } finally {
        watchers.stop();
      }
      without.push(await create(body));
    }
    const m = (of: readonly { rate: number; cpu: number }[], key: 'rate' | 'cpu'): number =>
      median(of.map((r) => r[key]));
    const name = `creates of ${what}, 5,000 watches by node`;
    out.push(
      { name: `${name}: rate`, value: m(beside, 'rate'), unit: '/s' },
      { name: `${name}: rate without them`, value: m(without, 'rate'), unit: '/s' },
      {
        name: `${name}: CPU of a create more`,
        value: 100 * (m(beside, 'cpu') / m(without, 'cpu') - 1),
        unit: '%',
        goal: 'under 5',
      },
    );
  }
  return out;
}

const stuckWatchers = 20;

/** So many changes fill the window of changes that the server keeps, which grows to its bound whether anybody watches or not. */
const windowChanges = 40_000;

async function stuck(server: BenchServer, kind: 'socket' | 'window', name: string): Promise<BenchResult[]> {
  const writer = new Writer(server);
  const count = 20_000;
  const { metadata } = await server.json<{ metadata: { resourceVersion: string } }>('GET', maps);
  const path = `${maps}?watch=1&resourceVersion=${metadata.resourceVersion}`;
  // Somebody who reads, beside them: ending the others must not touch it.
  const healthy = await openWatchers(watchersOf(server, { path, sessions: 1, perSession: 1, changes: count }));
  const victims = await openWatchers(
    watchersOf(server, { path, sessions: 1, perSession: stuckWatchers, changes: count, stuck: kind }),
  );
  try {
    const before = server.memory().anonymous;
    const openWatches = async (): Promise<number> => watchCount(server);
    const start = sharedNow();
    const open = await openWatches();
    let peak = before;
    let endedAfter = Number.NaN;
    let written = 0;
    const watching = setInterval(() => (peak = Math.max(peak, server.memory().anonymous)), 200);
    // Until they are ended, and as long again; not for ever.
    while (written < count) {
      await changes(writer, written, 500, 500);
      written += 500;
      if (Number.isNaN(endedAfter) && (await openWatches()) <= open - stuckWatchers)
        endedAfter = (sharedNow() - start) / 1000;
      if (!Number.isNaN(endedAfter) && sharedNow() - start > endedAfter * 2000) break;
    }
    clearInterval(watching);
    const seen = await healthy.finish({ sent: writer.sent, acknowledged: writer.acknowledged, objects }, 5000);
    const after = server.memory().anonymous;
    const fault = wrong(seen);
    const label = `${stuckWatchers} watchers ${name}`;
    const ended: BenchResult = { name: `${label}: ended by the server after`, value: endedAfter, unit: 's' };
    const alone: BenchResult = { name: `${label}: a healthy one meanwhile, lag p99`, value: seen.lagP99, unit: 'ms' };
    return [
      Number.isNaN(endedAfter) ? { ...ended, failed: `not ended within ${written} changes` } : ended,
      { name: `${label}: anonymous memory before`, value: before, unit: 'MiB' },
      { name: `${label}: most meanwhile`, value: peak, unit: 'MiB' },
      { name: `${label}: after ${written.toLocaleString('en')} changes`, value: after, unit: 'MiB' },
      fault === undefined ? alone : { ...alone, failed: fault },
    ];
  } finally {
    healthy.stop();
    victims.stop();
    writer.close();
  }
}

/** Watches of ConfigMaps that the server has open. */
async function watchCount(server: BenchServer): Promise<number> {
  const text = await server.text('/metrics');
  let sum = 0;
  for (const line of text.split('\n'))
    if (line.startsWith('apiserver_longrunning_requests{') && line.includes('"configmaps"') && line.includes('"WATCH"'))
      sum += Number(line.split(' ').at(-1));
  return sum;
}

export async function run(options: BenchOptions): Promise<readonly BenchResult[]> {
  const out: BenchResult[] = [];
  const server = await benchServer(['--nodes', '0']);
  try {
    await server.json('POST', '/api/v1/namespaces', { metadata: { name: 'watched' } });
    const first = new Writer(server);
    await first.create();
    // The server's first thousand changes are made with cold code.
    await changes(first, 0, 1000, 500);
    first.close();
    const runs: Fanned[] = [];
    for (let i = 0; i < (options.runs ?? 3); i++) runs.push(await fanOut(server));
    const m = (of: (r: Fanned) => number): number => median(runs.map(of));
    const name = `${(sessions * perSession).toLocaleString('en')} watchers, ${perSecond} changes/s`;
    const fault = runs.map((r) => wrong(r.seen)).find((f) => f !== undefined);
    const delivered: BenchResult = {
      name: `${name}: delivered`,
      value: m((r) => r.seen.delivered),
      unit: `of ${(sessions * perSession * perSecond * seconds).toLocaleString('en')}`,
      goal: 'every one',
    };
    out.push(
      fault === undefined ? delivered : { ...delivered, failed: fault },
      { name: `${name}: lag behind the write's answer, p50`, value: m((r) => r.seen.lagP50), unit: 'ms' },
      {
        name: `${name}: lag behind the write's answer, p99`,
        value: m((r) => r.seen.lagP99),
        unit: 'ms',
        goal: 'under 100',
      },
      { name: `${name}: since the write was sent, p99`, value: m((r) => r.seen.sinceSentP99), unit: 'ms' },
      { name: `${name}: server CPU a delivery`, value: m((r) => r.cpuMicros), unit: 'µs' },
      { name: `${name}: the watching process's CPU`, value: m((r) => r.clientShare), unit: '% of a core' },
      ...besideRows(
        name,
        runs.map((r) => r.beside),
      ),
    );
    out.push(...(await flooded(server, options.runs ?? 3)));
    const filler = new Writer(server);
    for (let i = 0; i < windowChanges; i += 1000) await changes(filler, i, 1000, 5000);
    filler.close();
    out.push(
      ...(await stuck(server, 'window', 'that take nothing of their stream')),
      ...(await stuck(server, 'socket', 'that stop reading')),
    );
  } finally {
    await server.dispose();
  }
  out.push(...(await kubelets(options.runs ?? 3)));
  return out;
}
