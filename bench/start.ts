/** From the start of the process to the Node's Ready seen by a watch: on an empty data directory, and on one that stands. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { startKnarr } from '../test/support/knarr.ts';
import type { BenchResult } from './run.ts';
import { median } from './support/median.ts';

async function once(dir: string, cache: string): Promise<{ ready: number; said: number; anonymous: number }> {
  const { HttpTransport } = await import('../src/client/http-transport.ts');
  const { createClient } = await import('../src/client/typed-client.ts');
  const { SystemClock } = await import('../src/base/clock.ts');
  const { SystemRandom } = await import('../src/base/random.ts');
  const { loadKubeconfig } = await import('../src/client/kubeconfig.ts');
  const started = performance.now();
  const knarr = await startKnarr({ dir, env: { XDG_CACHE_HOME: cache } });
  const said = performance.now() - started;
  const transport = new HttpTransport(await loadKubeconfig(knarr.kubeconfig, { clock: new SystemClock() }), {
    random: new SystemRandom(),
  });
  const client = createClient(transport);
  let ready = Number.NaN;
  const watch = await client.core.nodes.watch({
    sendInitialEvents: true,
    resourceVersionMatch: 'NotOlderThan',
    allowWatchBookmarks: true,
  });
  out: for await (const events of watch)
    for (const e of events)
      if (e.object.status?.conditions?.some((c) => c.type === 'Ready' && c.status === 'True')) {
        ready = performance.now() - started;
        break out;
      }
  watch.close();
  await transport.close();
  await knarr.stop();
  return { ready, said, anonymous: 0 };
}

export async function run(): Promise<readonly BenchResult[]> {
  const cache = mkdtempSync(join(tmpdir(), 'knarr-cache-'));
  const dirs: string[] = [];
  const fresh = (): string => {
    const dir = mkdtempSync(join(tmpdir(), 'knarr-start-'));
    dirs.push(dir);
    return dir;
  };
  try {
    const first = await once(fresh(), cache);
    const empty: number[] = [];
    for (let i = 0; i < 5; i++) empty.push((await once(fresh(), cache)).ready);
    const again: number[] = [];
    for (let i = 0; i < 5; i++) again.push((await once(dirs[0]!, cache)).ready);
    return [
      { name: 'first run ever (no compile cache), to Node Ready', value: first.ready, unit: 'ms' },
      { name: 'empty data directory, to Node Ready', value: median(empty), unit: 'ms', goal: '600 or less' },
      { name: 'existing data directory, to Node Ready', value: median(again), unit: 'ms', goal: '400 or less' },
    ];
  } finally {
    for (const d of [cache, ...dirs]) rmSync(d, { recursive: true, force: true });
  }
}
