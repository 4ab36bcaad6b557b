/**
 * Lists of 300,000 pods through TLS: pages of 1,000 from anywhere in them, whole lists in each form, a streaming list, and clients
 * that read slowly, with the most that the server's memory grew over its idle meanwhile (needs the bundle). The pods are put into
 * the store directly; the server then starts on it.
 */
import { fork } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { SystemClock } from '../src/base/clock.ts';
import { silentLogger } from '../src/base/logger.ts';
import { dataDirLayout } from '../src/cluster/paths.ts';
import { openEmbeddedStore } from '../src/etcd/embedded-store.ts';
import type { BenchOptions, BenchResult } from './run.ts';
import { beside, besideRows, serverTarget } from './support/beside.ts';
import { anonymousOf } from './support/memory.ts';
import type { Requests } from './support/requests.ts';
import { sendRequests } from './support/requests.ts';
import type { BenchServer } from './support/server.ts';
import { apiServerAlone, benchServer } from './support/server.ts';

const objects = 300_000;
const pageSize = 1000;
const pods = '/api/v1/namespaces/large/pods';
/** The pod that all others are made of; its name and uid are as long as theirs. */
const first = 'pod-000000';

const pod = {
  metadata: { name: first, labels: { app: 'bench', tier: 'load' } },
  spec: {
    schedulerName: 'nobody',
    containers: [
      {
        name: 'main',
        image: 'registry.example/team/app:1.2.3',
        ports: [{ containerPort: 8080 }],
        env: [{ name: 'MODE', value: 'fast' }],
        resources: { requests: { cpu: '100m', memory: '64Mi' } },
      },
    ],
  },
};

/** Puts the others beside the first, in the store of a server that has stopped. */
async function fill(dir: string): Promise<void> {
  const store = await openEmbeddedStore({
    engine: 'lmdb',
    dir: dataDirLayout(join(dir, 'data')).store,
    clock: new SystemClock(),
    logger: silentLogger,
  });
  const key = `/registry/pods/large/${first}`;
  const { kvs } = await store.range({ key });
  const text = kvs[0]!.value.toString();
  const uid = /"uid":"([^"]+)"/.exec(text)![1]!;
  const atOnce = 2000;
  for (let from = 1; from < objects; from += atOnce)
    await Promise.all(
      Array.from({ length: Math.min(atOnce, objects - from) }, (_, i) => {
        const number = String(from + i).padStart(6, '0');
        const own = text.replaceAll(uid, uid.slice(0, -6) + number).replaceAll(first, `pod-${number}`);
        return store.commit({
          key: key.replace(first, `pod-${number}`),
          expectModRevision: 0,
          value: Buffer.from(own),
        });
      }),
    );
  await store.close();
}

/** In a process of its own, whose memory goes with it. */
function filled(dir: string): Promise<void> {
  return new Promise((resolve, reject) => {
    const child = fork(import.meta.filename, [dir], { stdio: 'inherit' });
    child.once('error', reject);
    child.once('exit', (code) => {
      if (code === 0) resolve();
      else reject(new Error(`the store was not filled (${code})`));
    });
  });
}

const forms = [
  ['JSON', {}],
  ['protobuf', { accept: 'application/vnd.kubernetes.protobuf' }],
  ['Table', { accept: 'application/json;as=Table;g=meta.k8s.io;v=v1' }],
  ['JSON, gzip', { gzip: true }],
] as const;

const mib = 2 ** 20;
/** It is what it holds that is compared, not what it has not collected yet: a longer rest says the same. */
const longestIdle = 20;

interface Watched {
  readonly grown: number;
  readonly cpuSeconds: number;
}

/** Runs something, and looks at the server's memory ten times a second meanwhile. */
async function watched<T>(server: BenchServer, idle: number, run: () => Promise<T>): Promise<[T, Watched]> {
  const pid = server.pids[0]!;
  let most = 0;
  const looking = setInterval(() => (most = Math.max(most, anonymousOf(pid))), 100);
  const cpu = server.cpuSeconds();
  try {
    const result = await run();
    return [result, { grown: most - idle, cpuSeconds: server.cpuSeconds() - cpu }];
  } finally {
    clearInterval(looking);
  }
}

/** Between two figures the server gives back what the one before has left, as it does when it is idle. */
async function settled(server: BenchServer): Promise<void> {
  await server.loop!.collect();
  await new Promise((r) => setTimeout(r, 500));
}

/** Where pages begin: the token of each page, followed once from the first to the last. */
async function tokens(server: BenchServer): Promise<string[]> {
  const found: string[] = [];
  for (let token = ''; ;) {
    const text = await server.text(`${pods}?limit=${pageSize}${token === '' ? '' : `&continue=${token}`}`);
    const next = /"continue":"([^"]*)"/.exec(text.slice(0, 2000))?.[1];
    if (next === undefined) return found;
    token = encodeURIComponent(next);
    found.push(token);
  }
}

export async function run(options: BenchOptions): Promise<readonly BenchResult[]> {
  const out: BenchResult[] = [];
  const dir = mkdtempSync(join(tmpdir(), 'knarr-large-'));
  let server: BenchServer | undefined;
  try {
    server = await benchServer(apiServerAlone, dir);
    await server.json('POST', '/api/v1/namespaces', { metadata: { name: 'large' } });
    await server.json('POST', '/api/v1/namespaces/large/serviceaccounts', { metadata: { name: 'default' } });
    await server.json('POST', pods, pod);
    await server.dispose();
    server = undefined;
    await filled(dir);
    const began = performance.now();
    server = await benchServer(apiServerAlone, dir);
    await server.text(`${pods}?limit=1`);
    out.push({ name: '300,000 pods: from start to the first page', value: performance.now() - began, unit: 'ms' });
    const idleSeconds = Math.min(options.idleSeconds, longestIdle);
    await new Promise((r) => setTimeout(r, idleSeconds * 1000));
    await settled(server);
    const pid = server.pids[0]!;
    const idle = anonymousOf(pid);
    out.push({
      name: `300,000 pods: anonymous memory after ${idleSeconds} s idle`,
      value: idle,
      unit: 'MiB',
    });
    const of = server;
    const grown = (name: string, value: Watched): void => {
      out.push({ name: `${name}: memory over idle, most`, value: value.grown, unit: 'MiB', goal: '100 or less' });
    };
    const take = async (name: string, request: Requests): Promise<void> => {
      await settled(of);
      const probe = await beside(serverTarget(of));
      const [result, over] = await watched(of, idle, () => sendRequests(of, request));
      const rows = besideRows(name, [await probe.stop()]);
      const { failed } = result;
      const each = `s each, ${request.count}`;
      out.push(
        failed > 0
          ? { name, value: failed, unit: '', failed: `${failed} failed` }
          : { name, value: result.p50 / 1000, unit: each },
        { name: `${name}: rate`, value: result.bytes / result.seconds / mib, unit: 'MB/s' },
        { name: `${name}: server CPU`, value: (over.cpuSeconds * 1e6) / objects / request.count, unit: 'µs an object' },
        ...rows,
      );
      grown(name, over);
    };
    // Tokens live for some minutes.
    const found = await tokens(of);
    if (found.length !== objects / pageSize - 1) throw new Error(`${found.length + 1} pages`);
    // From anywhere, in an order that no cache has.
    const count = 200;
    const paths = Array.from(
      { length: count },
      (_, i) => `${pods}?limit=${pageSize}&continue=${found[(i * 107) % found.length]!}`,
    );
    for (const [form, how] of forms) {
      await settled(of);
      const name = `page of 1,000 of 300,000, ${form}`;
      const request = { ...how, method: 'GET', path: '', paths, count, connections: 1, streams: 1 };
      const [result, over] = await watched(of, idle, () => sendRequests(of, request));
      if (result.failed > 0) throw new Error(`${result.failed} pages were not answered (${form})`);
      out.push(
        { name: `${name}: p50`, value: result.p50, unit: 'ms' },
        { name: `${name}: p99`, value: result.p99, unit: 'ms', goal: 'under 1,000' },
      );
      grown(name, over);
    }
    const whole = { method: 'GET', count: 1, connections: 1, streams: 1 } as const;
    for (const [form, how] of forms) await take(`all 300,000, ${form}`, { ...whole, ...how, path: pods });
    await take('all 300,000, JSON, resourceVersion=0', { ...whole, path: `${pods}?resourceVersion=0` });
    const streaming = `${pods}?watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true`;
    for (const [form, how] of forms.slice(0, 2))
      await take(`streaming list of 300,000, ${form}`, {
        ...whole,
        ...how,
        path: streaming,
        until: 'k8s.io/initial-events-end',
      });
    // The list is made no faster than they take it.
    const slow = { ...whole, count: 8, connections: 8, bytesPerSecond: 4 * mib, enoughBytes: 24 * mib };
    for (const [form, how] of forms.slice(0, 2)) {
      const name = `eight clients that read all 300,000 at 4 MB/s, ${form}`;
      await settled(of);
      const [result, over] = await watched(of, idle, () => sendRequests(of, { ...slow, ...how, path: pods }));
      if (result.failed > 0) out.push({ name, value: result.failed, unit: '', failed: `${result.failed} failed` });
      grown(name, over);
    }
    const name = 'eight clients that read a streaming list at 4 MB/s';
    await settled(of);
    grown(name, (await watched(of, idle, () => sendRequests(of, { ...slow, path: streaming })))[1]);
    return out;
  } finally {
    await server?.dispose();
    rmSync(dir, { recursive: true, force: true });
  }
}

if (import.meta.main) await fill(process.argv[2]!);
