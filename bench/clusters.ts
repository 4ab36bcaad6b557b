/** Many clusters in one process, each with all controllers: how long a later one takes, what it costs when idle. */
import type { Cluster } from '../src/index.ts';
import { createCluster, VirtualClock } from '../src/index.ts';
import type { BenchResult } from './run.ts';
import { beside, besideRows, clusterTarget } from './support/beside.ts';
import { median } from './support/median.ts';

const count = 50;
const idleMs = 20_000;
const besideMs = 5000;

export async function run(): Promise<readonly BenchResult[]> {
  const clusters: Cluster[] = [];
  const times: number[] = [];
  const collect = (globalThis as { gc?: () => void }).gc;
  let before = 0;
  let first = 0;
  for (let i = 0; i < count; i++) {
    const t = performance.now();
    clusters.push(await createCluster());
    const took = performance.now() - t;
    if (i === 0) {
      first = took;
      collect?.();
      before = process.memoryUsage().rss;
    } else times.push(took);
  }
  await new Promise((r) => setTimeout(r, 3000));
  collect?.();
  const memory = (process.memoryUsage().rss - before) / (count - 1) / 2 ** 20;
  const cpu = process.cpuUsage();
  await new Promise((r) => setTimeout(r, idleMs));
  const used = process.cpuUsage(cpu);
  const share = (100 * (used.user + used.system)) / 1000 / idleMs / count;
  const probe = await beside(clusterTarget(clusters[0]!));
  await new Promise((r) => setTimeout(r, besideMs));
  const probed = await probe.stop();
  await Promise.all(clusters.map((c) => c.close()));
  const virtual: number[] = [];
  for (let i = 0; i < 5; i++) {
    const t = performance.now();
    await using cluster = await createCluster({ clock: new VirtualClock() });
    void cluster;
    virtual.push(performance.now() - t);
  }
  return [
    { name: 'first cluster of a process', value: first, unit: 'ms' },
    { name: 'each later one, with a node Ready', value: median(times), unit: 'ms', goal: '100 or less' },
    { name: 'memory of each later one, idle', value: memory, unit: 'MiB', goal: '10 or less' },
    { name: 'CPU of each, idle', value: share, unit: '% of a core', goal: '0.2 or less' },
    ...besideRows('one of them', [probed]),
    { name: 'with a virtual clock', value: median(virtual), unit: 'ms' },
  ];
}
