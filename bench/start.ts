/**
 * `knarr up`: from the start of its process to the Node's Ready seen by a watch, on an empty data directory and on one that
 * stands, and what the whole control plane with one node keeps in memory when nothing happens (needs the bundle).
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { SystemClock } from '../src/base/clock.ts';
import { SystemRandom } from '../src/base/random.ts';
import { HttpTransport } from '../src/client/http-transport.ts';
import { loadKubeconfig } from '../src/client/kubeconfig.ts';
import { createClient } from '../src/client/typed-client.ts';
import { startKnarr } from '../test/support/knarr.ts';
import type { BenchOptions, BenchResult } from './run.ts';
import { beside, besideRows, serverTarget } from './support/beside.ts';
import { median } from './support/median.ts';
import { cpuSecondsOf, memoryOf } from './support/memory.ts';
import { benchServer } from './support/server.ts';

/** Seconds of heartbeats beside an idle cluster. */
const besideSeconds = 10;

interface Start {
  /** Milliseconds to the Ready that a watch through TLS has seen. */
  readonly ready: number;
  /** Milliseconds of CPU until then, all threads. */
  readonly cpu: number;
}

async function start(dir: string, cache: string): Promise<Start> {
  const started = performance.now();
  const knarr = await startKnarr({ dir, env: { XDG_CACHE_HOME: cache } });
  const transport = new HttpTransport(await loadKubeconfig(knarr.kubeconfig, { clock: new SystemClock() }), {
    random: new SystemRandom(),
  });
  const watch = await createClient(transport).core.nodes.watch({
    sendInitialEvents: true,
    resourceVersionMatch: 'NotOlderThan',
    allowWatchBookmarks: true,
  });
  let ready = Number.NaN;
  out: for await (const events of watch)
    for (const e of events)
      if (e.object.status?.conditions?.some((c) => c.type === 'Ready' && c.status === 'True')) {
        ready = performance.now() - started;
        break out;
      }
  const cpu = cpuSecondsOf(knarr.process.pid!) * 1000;
  watch.close();
  await transport.close();
  await knarr.stop();
  return { ready, cpu };
}

async function idle(dir: string, cache: string, seconds: number): Promise<BenchResult[]> {
  const knarr = await startKnarr({ dir, env: { XDG_CACHE_HOME: cache } });
  try {
    const pid = knarr.process.pid!;
    await new Promise((r) => setTimeout(r, seconds * 1000));
    const memory = memoryOf(pid);
    const cpu = cpuSecondsOf(pid);
    await new Promise((r) => setTimeout(r, besideSeconds * 1000));
    return [
      {
        name: `whole control plane and one node, anonymous memory after ${seconds} s idle`,
        value: memory.anonymous,
        unit: 'MiB',
        goal: '130 or less',
      },
      { name: "the engine's pages mapped beside it", value: memory.engine, unit: 'MiB' },
      { name: 'CPU of it, idle', value: (100 * (cpuSecondsOf(pid) - cpu)) / besideSeconds, unit: '% of a core' },
    ];
  } finally {
    await knarr.stop();
  }
}

async function besideIdle(): Promise<BenchResult[]> {
  const server = await benchServer();
  try {
    const probe = await beside(serverTarget(server));
    await new Promise((r) => setTimeout(r, besideSeconds * 1000));
    return besideRows('idle', [await probe.stop()]);
  } finally {
    await server.dispose();
  }
}

export async function run(options: BenchOptions): Promise<readonly BenchResult[]> {
  const runs = options.runs ?? 7;
  const made: string[] = [];
  const fresh = (name: string): string => {
    const dir = mkdtempSync(join(tmpdir(), `knarr-${name}-`));
    made.push(dir);
    return dir;
  };
  try {
    // The watcher's own code is warm before anything is timed.
    await start(fresh('start'), fresh('cache'));
    const cache = fresh('cache');
    const stands = fresh('start');
    const first = await start(stands, cache);
    const empty: Start[] = [];
    const existing: Start[] = [];
    for (let i = 0; i < runs; i++) {
      empty.push(await start(fresh('start'), cache));
      existing.push(await start(stands, cache));
    }
    const rows = (name: string, goal: string, of: readonly Start[]): BenchResult[] => [
      { name, value: median(of.map((s) => s.ready)), unit: 'ms', goal },
      { name: `${name}: the fastest`, value: Math.min(...of.map((s) => s.ready)), unit: 'ms' },
      { name: `${name}: CPU, all threads`, value: median(of.map((s) => s.cpu)), unit: 'ms' },
    ];
    return [
      { name: 'first run ever (no compile cache), to Node Ready', value: first.ready, unit: 'ms' },
      ...rows('empty data directory, to Node Ready', '600 or less', empty),
      ...rows('existing data directory, to Node Ready', '400 or less', existing),
      ...(await idle(fresh('idle'), cache, options.idleSeconds)),
      ...(await besideIdle()),
    ];
  } finally {
    for (const dir of made) rmSync(dir, { recursive: true, force: true });
  }
}
