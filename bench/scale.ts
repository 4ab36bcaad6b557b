/**
 * Scheduling on many nodes, and a large Deployment on many simulated nodes; durable store, everything in one process, a new one
 * for each run. `node bench/scale.ts deploy` or `schedule` takes one run alone.
 */
import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Node, Pod } from '../src/index.ts';
import { createCluster } from '../src/index.ts';
import type { BenchOptions, BenchResult } from './run.ts';
import type { Beside } from './support/beside.ts';
import { beside, besideRows, clusterTarget } from './support/beside.ts';
import { median } from './support/median.ts';
import { anonymousOf } from './support/memory.ts';

const replicas = 10_000;
const pods = 10_000;
const nodes = 5000;

interface Figures {
  /** Seconds of what is timed. */
  readonly seconds: number;
  /** Seconds of what came before it. */
  readonly before: number;
  /** MiB, anonymous: the most while it went on, sampled. */
  readonly memory: number;
  readonly beside: Beside;
}

async function inFlight(count: number, width: number, work: (i: number) => Promise<unknown>): Promise<void> {
  let next = 0;
  await Promise.all(
    Array.from({ length: width }, async () => {
      while (next < count) await work(next++);
    }),
  );
}

function mostMemory(): () => number {
  let most = 0;
  const sample = (): void => void (most = Math.max(most, anonymousOf('self')));
  const timer = setInterval(sample, 500);
  return () => {
    clearInterval(timer);
    sample();
    return most;
  };
}

/** From the first create to all bound, creating and scheduling at the same time. */
async function schedule(dataDir: string): Promise<Figures> {
  const t0 = performance.now();
  await using cluster = await createCluster({ nodes: 0, dataDir });
  const { client } = cluster;
  await inFlight(nodes, 50, async (i) => {
    const node: Node = {
      metadata: {
        name: `n${i}`,
        labels: { 'kubernetes.io/hostname': `n${i}`, 'topology.kubernetes.io/zone': `z${i % 3}` },
      },
    };
    await client.core.nodes.create(node);
    const resources = { cpu: '32', memory: '64Gi', pods: '110' };
    const status = { capacity: resources, allocatable: resources, conditions: [{ type: 'Ready', status: 'True' }] };
    await client.core.nodes.patch(`n${i}`, undefined, 'merge', { status }, { subresource: 'status' });
    await client.core.nodes.patch(`n${i}`, undefined, 'merge', { spec: { taints: null } });
  });
  const before = (performance.now() - t0) / 1000;
  const all = Promise.withResolvers<void>();
  const watch = await client.core.pods.watch({ namespace: 'default' });
  const seen = new Set<string>();
  const watching = (async () => {
    for await (const events of watch)
      for (const e of events) {
        const pod = e.object as Pod;
        if (pod.spec?.nodeName === undefined) continue;
        seen.add(pod.metadata.name!);
        if (seen.size === pods) all.resolve();
      }
  })();
  const memory = mostMemory();
  const probe = await beside(clusterTarget(cluster));
  const started = performance.now();
  await inFlight(pods, 100, () =>
    client.core.pods.create({
      metadata: { generateName: 'p-', namespace: 'default', labels: { app: 'bench' } },
      spec: { containers: [{ name: 'c', image: 'app:1', resources: { requests: { cpu: '100m', memory: '64Mi' } } }] },
    }),
  );
  await all.promise;
  const seconds = (performance.now() - started) / 1000;
  const figures = { seconds, before, memory: memory(), beside: await probe.stop() };
  watch.close();
  await watching;
  return figures;
}

/** From the create to all Ready in the Deployment's status, as a watch sees it. */
async function deploy(dataDir: string): Promise<Figures> {
  const t0 = performance.now();
  await using cluster = await createCluster({ nodes: 1000, dataDir });
  const before = (performance.now() - t0) / 1000;
  const { client } = cluster;
  const memory = mostMemory();
  const probe = await beside(clusterTarget(cluster));
  const started = performance.now();
  await client.apps.deployments.create({
    metadata: { name: 'big', namespace: 'default' },
    spec: {
      replicas,
      selector: { matchLabels: { app: 'big' } },
      template: {
        metadata: { labels: { app: 'big' } },
        spec: { containers: [{ name: 'c', image: 'app:1', resources: { requests: { cpu: '10m', memory: '16Mi' } } }] },
      },
    },
  });
  const watch = await client.apps.deployments.watch({
    namespace: 'default',
    sendInitialEvents: true,
    resourceVersionMatch: 'NotOlderThan',
    allowWatchBookmarks: true,
  });
  out: for await (const events of watch)
    for (const e of events) if (e.object.status?.readyReplicas === replicas) break out;
  const seconds = (performance.now() - started) / 1000;
  watch.close();
  return { seconds, before, memory: memory(), beside: await probe.stop() };
}

const parts = { deploy, schedule };

/** One run in a process of its own, so that the memory of one is not the next one's. */
function apart(part: keyof typeof parts): Promise<Figures> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [import.meta.filename, part], { stdio: ['ignore', 'pipe', 'inherit'] });
    let out = '';
    child.stdout.on('data', (d: Buffer) => (out += d.toString()));
    child.once('error', reject);
    child.once('close', (code) => {
      if (code === 0) resolve(JSON.parse(out) as Figures);
      else reject(new Error(`the run of ${part} ended with ${code}`));
    });
  });
}

export async function run(options: BenchOptions): Promise<readonly BenchResult[]> {
  const times = async (part: keyof typeof parts): Promise<Figures[]> => {
    const figures: Figures[] = [];
    for (let i = 0; i < (options.runs ?? 3); i++) figures.push(await apart(part));
    return figures;
  };
  const m = (of: readonly Figures[], f: (x: Figures) => number): number => median(of.map(f));
  const besides = (of: readonly Figures[]): Beside[] => of.map((f) => f.beside);
  const deployed = await times('deploy');
  const scheduled = await times('schedule');
  const big = 'Deployment of 10,000';
  const wide = '5,000 nodes, 10,000 pods';
  return [
    { name: '1,000 simulated nodes Ready', value: m(deployed, (f) => f.before), unit: 's' },
    {
      name: `${big} on them, create to all Ready`,
      value: m(deployed, (f) => f.seconds),
      unit: 's',
      goal: '15 or less',
    },
    {
      name: `${big}: anonymous memory of the whole process, the most`,
      value: m(deployed, (f) => f.memory),
      unit: 'MiB',
      goal: 'under 1,024',
    },
    ...besideRows(big, besides(deployed)),
    {
      name: `${wide}, first create to all bound`,
      value: m(scheduled, (f) => pods / f.seconds),
      unit: 'pods/s',
      goal: '1,500 or more',
    },
    { name: `${wide}: anonymous memory, the most`, value: m(scheduled, (f) => f.memory), unit: 'MiB' },
    ...besideRows(wide, besides(scheduled)),
  ];
}

if (import.meta.main) {
  const part = process.argv[2] as keyof typeof parts;
  if (!(part in parts)) throw new Error('say deploy or schedule');
  const dir = mkdtempSync(join(tmpdir(), 'knarr-scale-'));
  try {
    const figures = await parts[part](dir);
    console.log(JSON.stringify(figures));
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
}
