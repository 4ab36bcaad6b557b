/**
 * The store: durable commits with one and with many in flight, reads, watch deliveries, opening, memory. Runs in a process
 * of its own, so that its memory and CPU are nobody else's. `node bench/etcd.ts` runs it alone.
 */
import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { SystemClock } from '../src/base/clock.ts';
import { ioNow } from '../src/base/io-time.ts';
import { silentLogger } from '../src/base/logger.ts';
import { openEmbeddedStore } from '../src/etcd/embedded-store.ts';
import type { EmbeddedStore } from '../src/etcd/embedded-store.ts';
import { serveEtcd } from '../src/etcd/grpc-server.ts';
import { openRemoteStore } from '../src/etcd/remote-store.ts';
import type { KeyValueStore } from '../src/etcd/store.ts';
import type { BenchResult } from './run.ts';
import { median } from './support/median.ts';

const logger = silentLogger;
const clock = new SystemClock();
const prefix = '/registry/configmaps/default/';
const end = '/registry/configmaps/default0';

function keyOf(i: number): string {
  return `${prefix}a-config-map-of-some-name-${String(i).padStart(7, '0')}`;
}

interface Timed {
  readonly perSecond: number;
  readonly cpuMicros: number;
}

/** Runs `work` `count` times, `inFlight` at once. */
async function rate(count: number, inFlight: number, work: (i: number) => Promise<unknown>): Promise<Timed> {
  let next = 0;
  const cpu = process.cpuUsage();
  const start = ioNow();
  const worker = async (): Promise<void> => {
    while (next < count) await work(next++);
  };
  await Promise.all(Array.from({ length: inFlight }, worker));
  const seconds = (ioNow() - start) / 1000;
  const used = process.cpuUsage(cpu);
  return { perSecond: count / seconds, cpuMicros: (used.user + used.system) / count };
}

async function times(n: number, measure: () => Promise<Timed>): Promise<Timed> {
  const runs: Timed[] = [];
  for (let i = 0; i < n; i++) runs.push(await measure());
  return { perSecond: median(runs.map((r) => r.perSecond)), cpuMicros: median(runs.map((r) => r.cpuMicros)) };
}

function put(store: KeyValueStore, i: number, value: Buffer): Promise<unknown> {
  return store.commit({ key: keyOf(i), value, expectModRevision: undefined });
}

function anonymousMiB(): number {
  globalThis.gc?.();
  if (process.platform !== 'linux') return process.memoryUsage().rss / 2 ** 20;
  return Number(/RssAnon:\s+(\d+)/.exec(readFileSync('/proc/self/status', 'utf8'))![1]) / 1024;
}

async function withStore<T>(
  engine: 'lmdb' | 'memory',
  body: (store: EmbeddedStore, dir: string) => Promise<T>,
): Promise<T> {
  const dir = mkdtempSync(join(tmpdir(), 'knarr-bench-'));
  try {
    const store = await openEmbeddedStore({ engine, dir, clock, logger });
    try {
      return await body(store, dir);
    } finally {
      await store.close();
    }
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
}

async function measure(): Promise<BenchResult[]> {
  const results: BenchResult[] = [];
  const add = (name: string, value: number, unit: string, goal?: string): void =>
    void results.push(goal === undefined ? { name, value, unit } : { name, value, unit, goal });
  const small = Buffer.alloc(200, 'v');
  const kib = Buffer.alloc(1024, 'v');

  // 40,000 keys of 1 KiB first, while the process is still clean.
  await withStore('lmdb', async (store, dir) => {
    const before = { anonymous: anonymousMiB(), heap: process.memoryUsage().heapUsed };
    const filled = await rate(40_000, 100, (i) => put(store, i, kib));
    add('lmdb: durable creates of 1 KiB, 100 in flight', filled.perSecond, '/s');
    add('lmdb: CPU of a durable create of 1 KiB', filled.cpuMicros, 'µs');
    add('40,000 keys of 1 KiB: anonymous memory', anonymousMiB() - before.anonymous, 'MiB');
    add('40,000 keys of 1 KiB: heap a key', (process.memoryUsage().heapUsed - before.heap) / 40_000, 'B', '≤ 250');
    add('40,000 keys of 1 KiB: file', store.mvcc.size() / 2 ** 20, 'MiB');

    const one = await times(3, () => rate(20_000, 16, (i) => store.range({ key: keyOf((i * 7919) % 40_000) })));
    add('lmdb: get of one key', one.perSecond, '/s');
    add('lmdb: CPU of a get of one key', one.cpuMicros, 'µs');
    const page = await times(3, () => rate(50, 1, () => store.range({ key: prefix, end, limit: 500 })));
    add('lmdb: first 500 of 40,000 keys', page.perSecond, '/s');
    const delay = monitorEventLoopDelay({ resolution: 1 });
    delay.enable();
    const all = await times(3, () => rate(3, 1, () => store.range({ key: prefix, end })));
    delay.disable();
    add('lmdb: all 40,000 keys of 1 KiB', 1000 / all.perSecond, 'ms');
    add('lmdb: event-loop delay p99 while listing', delay.percentile(99) / 1e6, 'ms', '≤ 10');

    await store.close();
    const opened: number[] = [];
    for (let i = 0; i < 3; i++) {
      const start = ioNow();
      const again = await openEmbeddedStore({ engine: 'lmdb', dir, clock, logger });
      opened.push(ioNow() - start);
      await again.close();
    }
    add('lmdb: opening 40,000 keys of 1 KiB', median(opened), 'ms');
  });

  await withStore('lmdb', async (store) => {
    const alone = await times(3, () => rate(1000, 1, (i) => put(store, i, small)));
    add('lmdb: durable commits of 200 B, 1 in flight', alone.perSecond, '/s');
    add('lmdb: CPU of a commit, 1 in flight', alone.cpuMicros, 'µs');
    let base = 1000;
    const many = await times(3, () => {
      const from = base;
      base += 60_000;
      return rate(60_000, 100, (i) => put(store, from + i, small));
    });
    add('lmdb: durable commits of 200 B, 100 in flight', many.perSecond, '/s', '≥ 60,000');
    add('lmdb: CPU of a commit, 100 in flight', many.cpuMicros, 'µs', '≤ 10');
    // Updates leave history, which the bound on its bytes makes the store give back as it goes.
    const delay = monitorEventLoopDelay({ resolution: 1 });
    delay.enable();
    const updates = await times(3, () => rate(100_000, 100, (i) => put(store, i % 5000, small)));
    delay.disable();
    add('lmdb: updates of 5,000 keys with compaction, 100 in flight', updates.perSecond, '/s');
    add('lmdb: CPU of an update', updates.cpuMicros, 'µs');
    add('lmdb: event-loop delay p99 while updating', delay.percentile(99) / 1e6, 'ms', '≤ 10');
  });

  await withStore('memory', async (store) => {
    const many = await times(3, () => rate(60_000, 100, (i) => put(store, i, small)));
    add('memory: commits of 200 B, 100 in flight', many.perSecond, '/s');
    add('memory: CPU of a commit', many.cpuMicros, 'µs');
    const watchers = 100;
    let delivered = 0;
    for (let i = 0; i < watchers; i++) {
      store.watch(
        { key: prefix, end },
        { events: (events) => void (delivered += events.length), progress: () => {}, closed: () => {} },
      );
    }
    const watched = await times(3, () => rate(20_000, 100, (i) => put(store, i, small)));
    add('memory: watch deliveries to 100 watchers', watched.perSecond * watchers, '/s');
    if (delivered !== 3 * 20_000 * watchers) throw new Error(`${delivered} events delivered`);
  });

  await withStore('lmdb', async (embedded) => {
    const server = await serveEtcd({ mvcc: embedded.mvcc, logger, port: 0 });
    const store = await openRemoteStore({ endpoints: [server.url], logger });
    const many = await times(3, () => rate(5000, 100, (i) => put(store, i, small)));
    add('lmdb behind gRPC, server and client in one process: commits', many.perSecond, '/s');
    await store.close();
    await server.close();
  });
  return results;
}

/** Measures in a child process. */
export function run(): Promise<BenchResult[]> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, ['--expose-gc', import.meta.filename, '--measure'], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    let out = '';
    child.stdout.setEncoding('utf8').on('data', (text: string) => (out += text));
    child.on('error', reject);
    child.on('exit', (code) => {
      if (code === 0) resolve(JSON.parse(out) as BenchResult[]);
      else reject(new Error(`the benchmark ended with code ${code}`));
    });
  });
}

if (import.meta.main) {
  if (process.argv.includes('--measure')) console.log(JSON.stringify(await measure()));
  else
    console.table(
      Object.fromEntries((await run()).map((r) => [r.name, { value: r.value, unit: r.unit, goal: r.goal }])),
    );
}
