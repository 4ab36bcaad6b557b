/**
 * The proxy with nftables and 10,000 Services of two endpoints each: the first load of the rules, and the time from one write to the API
 * until the rule that follows from it is in place. Rules are written in a network namespace of its own. `node bench/proxy.ts` runs it
 * alone.
 */
import { execFileSync, spawn } from 'node:child_process';
import { SystemClock } from '../src/base/clock.ts';
import { ioNow } from '../src/base/io-time.ts';
import { silentLogger } from '../src/base/logger.ts';
import { SystemRandom } from '../src/base/random.ts';
import type { EndpointSlice, Service } from '../src/api/types/index.gen.ts';
import { createCluster } from '../src/index.ts';
import { createLinuxHost } from '../src/proxy/host/linux-host.ts';
import { cleanUp, NftablesBackend } from '../src/proxy/nftables/nftables-backend.ts';
import { createProxy } from '../src/proxy/proxy.ts';
import type { BenchResult } from './run.ts';
import { median, percentile } from './support/median.ts';

const services = 10_000;
const changes = 300;
const loads = 5;

async function inFlight(count: number, width: number, work: (i: number) => Promise<unknown>): Promise<void> {
  let next = 0;
  await Promise.all(
    Array.from({ length: width }, async () => {
      while (next < count) await work(next++);
    }),
  );
}

const address = (i: number): string => `10.244.${(i >> 8) & 255}.${i & 255}`;

function sliceOf(i: number, endpoints: readonly number[]): EndpointSlice {
  return {
    metadata: {
      name: `service-${i}-1`,
      namespace: 'default',
      labels: { 'kubernetes.io/service-name': `service-${i}` },
    },
    addressType: 'IPv4',
    ports: [{ name: 'http', port: 8080, protocol: 'TCP' }],
    endpoints: endpoints.map((e) => ({ addresses: [address(e)], conditions: { ready: true }, nodeName: `n${e % 10}` })),
  } as EndpointSlice;
}

export async function run(): Promise<readonly BenchResult[]> {
  const host0 = createLinuxHost();
  const lacks = await host0.missing();
  if (lacks !== undefined) return [{ name: 'proxy', value: Number.NaN, unit: '', failed: lacks }];
  const name = `knarr-bench-${process.pid}`;
  execFileSync('ip', ['netns', 'add', name]);
  try {
    return await measure(`/run/netns/${name}`);
  } finally {
    execFileSync('ip', ['netns', 'del', name]);
  }
}

async function measure(netns: string): Promise<readonly BenchResult[]> {
  const off = ['kube-scheduler', 'kube-controller-manager', 'cloud-controller-manager', 'kube-proxy', 'dns', 'kubelet'];
  await using cluster = await createCluster({ nodes: 0, disable: off as never, serviceClusterIPRange: '10.96.0.0/12' });
  const { client } = cluster;
  const plain = { ports: [{ name: 'http', port: 80, targetPort: 8080 }] };
  await inFlight(services, 50, (i) =>
    client.core.services.create({ metadata: { name: `service-${i}`, namespace: 'default' }, spec: plain } as Service),
  );
  await inFlight(services, 50, (i) => client.discovery.endpointslices.create(sliceOf(i, [i, i + 1])));

  const clock = new SystemClock();
  const logger = silentLogger;
  const host = createLinuxHost({ netns });
  await host.nft('add table ip kube-proxy\n');
  const first: number[] = [];
  const starts: number[] = [];
  let proxy;
  for (let n = 0; n < loads; n++) {
    await proxy?.stop();
    await cleanUp(host);
    // The kernel frees what it had beside; that is no part of a first load.
    await clock.sleep(500);
    const backend = new NftablesBackend({ host, clock, logger });
    const timed = {
      minSyncPeriodMs: 0,
      placeChanged: (place: Parameters<NftablesBackend['placeChanged']>[0]) => backend.placeChanged(place),
      replace: async (all: Parameters<NftablesBackend['replace']>[0]) => {
        const t = ioNow();
        await backend.replace(all);
        first.push(ioNow() - t);
      },
      apply: (c: Parameters<NftablesBackend['apply']>[0]) => backend.apply(c),
      close: () => backend.close(),
    };
    const identity = cluster.clientFor({
      name: 'system:kube-proxy',
      uid: '',
      groups: ['system:authenticated'],
      extra: {},
    });
    proxy = createProxy({
      client: identity,
      clock,
      random: new SystemRandom(),
      logger,
      nodeName: 'n0',
      backend: timed,
    });
    const t = ioNow();
    await proxy.start();
    starts.push(ioNow() - t);
  }

  // The kernel itself tells when a rule is there; nft ends only some milliseconds later, when the old one has been freed.
  const monitor = spawn('nsenter', [`--net=${netns}`, 'nft', 'monitor'], { stdio: ['ignore', 'pipe', 'inherit'] });
  let told: () => void = () => {};
  const ready = new Promise<void>((resolve) => (told = resolve));
  monitor.stdout.setEncoding('utf8').on('data', (text: string) => {
    if (text.includes('add element ip kube-proxy') || text.includes('knarr-bench')) told();
  });
  const knock = setInterval(() => void host.nft('add table ip knarr-bench\ndelete table ip knarr-bench\n'), 200);
  await ready;
  clearInterval(knock);
  const one: number[] = [];
  const slices = client.discovery.endpointslices;
  for (let n = 0; n < changes; n++) {
    const i = (n * 7919) % services;
    await proxy!.settled();
    const done = new Promise<void>((resolve) => (told = resolve));
    const t = ioNow();
    await slices.patch(`service-${i}-1`, 'default', 'merge', {
      endpoints: sliceOf(i, [i, i + 2 + n]).endpoints,
    });
    await done;
    one.push(ioNow() - t);
  }
  monitor.kill();
  await proxy!.stop();
  return [
    { name: '10,000 Services × 2: first load of nftables', value: median(first), unit: 'ms', goal: '< 500 ms' },
    { name: '… from start of the proxy, reading Services included', value: median(starts), unit: 'ms' },
    { name: "one Service's change, API write to rule in place, median", value: median(one), unit: 'ms' },
    { name: '… 99th percentile', value: percentile(one, 99), unit: 'ms', goal: '< 25 ms' },
  ];
}

if (import.meta.main)
  for (const r of await run()) console.log(r.name, r.failed ?? `${r.value.toFixed(1)} ${r.unit}`, r.goal ?? '');
