/**
 * Scheduling on many nodes, and a large Deployment on many simulated nodes; durable store, everything in one process. A Lease is
 * updated beside it, and the delay of the event loop is watched.
 */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import type { Cluster, Node, Pod } from '../src/index.ts';
import { createCluster } from '../src/index.ts';
import type { BenchResult } from './run.ts';
import { percentile } from './support/median.ts';

/** Anonymous resident memory of this process, MiB. */
function anonymous(): number {
  return Number(/RssAnon:\s+(\d+)/.exec(readFileSync('/proc/self/status', 'utf8'))![1]) / 1024;
}

async function inFlight(count: number, width: number, work: (i: number) => Promise<unknown>): Promise<void> {
  let next = 0;
  await Promise.all(
    Array.from({ length: width }, async () => {
      while (next < count) await work(next++);
    }),
  );
}

function beside(cluster: Cluster): { stop(): Promise<{ lease: number; loop: number }> } {
  let running = true;
  const latencies: number[] = [];
  const delay = monitorEventLoopDelay({ resolution: 5 });
  delay.enable();
  const leases = cluster.client.coordination.leases;
  const loop = (async () => {
    let lease = await leases.create({
      metadata: { name: `probe-${latencies.length}-${process.hrtime.bigint()}`, namespace: 'default' },
      spec: { holderIdentity: 'bench' },
    });
    while (running) {
      const t = performance.now();
      lease = await leases.update({
        ...lease,
        spec: { ...lease.spec, renewTime: new Date().toISOString().replace('Z', '000Z') },
      });
      latencies.push(performance.now() - t);
      await new Promise((r) => setTimeout(r, 20));
    }
  })();
  return {
    async stop() {
      running = false;
      await loop;
      delay.disable();
      return { lease: percentile(latencies, 99), loop: delay.percentile(99) / 1e6 };
    },
  };
}

async function schedule(dataDir: string): Promise<BenchResult[]> {
  await using cluster = await createCluster({ nodes: 0, dataDir });
  const { client } = cluster;
  await inFlight(5000, 50, async (i) => {
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
  const total = 10_000;
  let bound = 0;
  const all = Promise.withResolvers<void>();
  const watch = await client.core.pods.watch({ namespace: 'default' });
  const seen = new Set<string>();
  const watching = (async () => {
    for await (const events of watch)
      for (const e of events) {
        const pod = e.object as Pod;
        if (pod.spec?.nodeName === undefined || seen.has(pod.metadata.name!)) continue;
        seen.add(pod.metadata.name!);
        if (++bound === total) all.resolve();
      }
  })();
  const probe = beside(cluster);
  const started = performance.now();
  await inFlight(total, 100, () =>
    client.core.pods.create({
      metadata: { generateName: 'p-', namespace: 'default', labels: { app: 'bench' } },
      spec: { containers: [{ name: 'c', image: 'app:1', resources: { requests: { cpu: '100m', memory: '64Mi' } } }] },
    }),
  );
  await all.promise;
  const seconds = (performance.now() - started) / 1000;
  const { lease, loop } = await probe.stop();
  watch.close();
  await watching;
  return [
    {
      name: '5,000 nodes: 10,000 pods created and bound',
      value: total / seconds,
      unit: 'pods/s',
      goal: '1,500 or more',
    },
    { name: '5,000 nodes: event-loop delay, p99', value: loop, unit: 'ms' },
    { name: '5,000 nodes: Lease update beside it, p99', value: lease, unit: 'ms', goal: 'under 50' },
  ];
}

async function deploy(dataDir: string): Promise<BenchResult[]> {
  const replicas = 10_000;
  const t0 = performance.now();
  await using cluster = await createCluster({ nodes: 1000, dataDir });
  const nodes = (performance.now() - t0) / 1000;
  const { client } = cluster;
  const probe = beside(cluster);
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
  const { lease, loop } = await probe.stop();
  return [
    { name: '1,000 simulated nodes Ready', value: nodes, unit: 's' },
    { name: 'Deployment of 10,000 on them, create to all Ready', value: seconds, unit: 's', goal: '15 or less' },
    { name: 'Deployment of 10,000: event-loop delay, p99', value: loop, unit: 'ms' },
    { name: 'Deployment of 10,000: Lease update beside it, p99', value: lease, unit: 'ms', goal: 'under 50' },
    {
      name: 'Deployment of 10,000: anonymous memory of the whole process',
      value: anonymous(),
      unit: 'MiB',
      goal: 'under 1,024',
    },
  ];
}

export async function run(): Promise<readonly BenchResult[]> {
  const dirs = [0, 1].map(() => mkdtempSync(join(tmpdir(), 'knarr-scale-')));
  try {
    const deployed = await deploy(dirs[0]!);
    for (const r of deployed) console.log(`  ${r.name}: ${r.value.toFixed(1)} ${r.unit}`);
    return [...deployed, ...(await schedule(dirs[1]!))];
  } finally {
    for (const d of dirs) rmSync(d, { recursive: true, force: true });
  }
}
