import assert from 'node:assert/strict';
import { test } from 'node:test';
import { VirtualClock } from '../../base/clock.ts';
import { silentLogger } from '../../base/logger.ts';
import { SeededRandom } from '../../base/random.ts';
import type { EndpointSlice, Node, Service } from '../../api/types/index.gen.ts';
import { FakeApi } from '../../client/fake-api.ts';
import { createClient } from '../../client/typed-client.ts';
import type { ProxyHost } from '../host/proxy-host.ts';
import { ProxyMetrics } from '../metrics.ts';
import { createProxy } from '../proxy.ts';
import { NftablesBackend } from './nftables-backend.ts';
import type { NftablesOptions } from './options.ts';
import { assignSlots } from './slots.ts';

/** Keeps what would have been run. */
class FakeHost implements ProxyHost {
  readonly texts: string[] = [];
  readonly tracked: string[] = [];
  entries: string[] = [];
  failing = false;
  missing = (): Promise<undefined> => Promise.resolve(undefined);
  nft(text: string): Promise<void> {
    if (this.failing) return Promise.reject(new Error('no'));
    this.texts.push(text);
    return Promise.resolve();
  }
  nftList = (): Promise<string> => Promise.resolve('');
  conntrack(args: readonly string[], onLine?: (line: string) => void): Promise<void> {
    if (args[0] === '-L') for (const line of this.entries) onLine?.(line);
    else this.tracked.push(args.join(' '));
    return Promise.resolve();
  }
  sysctl = (): Promise<undefined> => Promise.resolve(undefined);
  setSysctl = (): Promise<void> => Promise.resolve();
  loadModule = (): Promise<void> => Promise.resolve();
  addresses = (): Promise<string[]> => Promise.resolve([]);
  processors = (): number => 1;
  serve = (): Promise<{ close(): Promise<void> }> => Promise.resolve({ close: () => Promise.resolve() });
  close = (): Promise<void> => Promise.resolve();
}

async function world(options: NftablesOptions = {}) {
  const clock = new VirtualClock();
  const random = new SeededRandom(1);
  const client = createClient(new FakeApi(clock, random));
  const host = new FakeHost();
  const metrics = new ProxyMetrics();
  await client.core.nodes.create({
    metadata: { name: 'n0' },
    status: { addresses: [{ type: 'InternalIP', address: '192.0.2.1' }] },
  } as Node);
  const proxy = createProxy({
    ...{ client, clock, random, logger: silentLogger, metrics, nodeName: 'n0' },
    backend: new NftablesBackend({ ...options, host, clock, logger: silentLogger, metrics }),
  });
  const started = proxy.start();
  await clock.advance(0);
  await started;
  const service = (name: string, clusterIP: string, spec: object = {}) =>
    client.core.services.create({
      metadata: { name, namespace: 'ns' },
      spec: { clusterIP, ports: [{ name: 'p', port: 80, protocol: 'TCP' }], ...spec },
    } as Service);
  const slice = async (name: string, addresses: readonly string[], protocol = 'TCP') => {
    const object = {
      metadata: { name: `${name}-1`, namespace: 'ns', labels: { 'kubernetes.io/service-name': name } },
      addressType: 'IPv4',
      ports: [{ name: 'p', port: 8080, protocol }],
      endpoints: addresses.map((a) => ({ addresses: [a], nodeName: 'n1' })),
    } as unknown as EndpointSlice;
    try {
      await client.discovery.endpointslices.create(object);
    } catch {
      await client.discovery.endpointslices.patch(object.metadata.name!, 'ns', 'merge', {
        endpoints: object.endpoints,
      });
    }
  };
  /** What was run since the last question. */
  const ran = async (ms = 0): Promise<string[]> => {
    await clock.advance(ms);
    return host.texts.splice(0);
  };
  return { clock, client, host, proxy, metrics, service, slice, ran };
}

test('who stays keeps its number', () => {
  assert.deepEqual(assignSlots([], ['a', 'b']), ['a', 'b']);
  assert.deepEqual(assignSlots(['b', 'a'], ['a', 'b', 'c']), ['b', 'a', 'c']);
  assert.deepEqual(assignSlots(['a', 'b', 'c', 'd'], ['a', 'c', 'd']), ['a', 'd', 'c']);
  assert.deepEqual(assignSlots(['a'], []), []);
});

test('a change of one Service is a handful of elements, however many there are', async () => {
  const w = await world();
  const [first] = await w.ran();
  assert.match(first!, /^add table ip kube-proxy\ndelete table ip kube-proxy\n/);
  assert.match(first!, /add element ip kube-proxy nodeport-ips \{ 192\.0\.2\.1 \}/);
  for (let i = 1; i <= 50; i++) {
    await w.service(`s${i}`, `10.96.0.${i}`);
    await w.slice(`s${i}`, [`10.0.${i}.1`, `10.0.${i}.2`]);
  }
  await w.ran();
  await w.slice('s7', ['10.0.7.1', '10.0.7.2', '10.0.7.3']);
  assert.deepEqual(await w.ran(), [
    `add chain ip kube-proxy service-endpoints-tcp-3
delete element ip kube-proxy service-ips { 10.96.0.7 . tcp . 80 }
add element ip kube-proxy service-endpoints-tcp { 10.96.0.7 . 80 . 2 : 10.0.7.3 . 8080 }
add element ip kube-proxy service-ips { 10.96.0.7 . tcp . 80 : goto service-endpoints-tcp-3 }
add rule ip kube-proxy service-endpoints-tcp-3 dnat ip to ip daddr . tcp dport . numgen random mod 3 map @service-endpoints-tcp
`,
  ]);
  await w.slice('s7', ['10.0.7.2', '10.0.7.3']);
  assert.deepEqual(await w.ran(), [
    `delete element ip kube-proxy service-endpoints-tcp { 10.96.0.7 . 80 . 0, 10.96.0.7 . 80 . 2 }
delete element ip kube-proxy service-ips { 10.96.0.7 . tcp . 80 }
add element ip kube-proxy service-endpoints-tcp { 10.96.0.7 . 80 . 0 : 10.0.7.3 . 8080 }
add element ip kube-proxy service-ips { 10.96.0.7 . tcp . 80 : goto service-endpoints-tcp-2 }
`,
  ]);
  await w.client.core.services.delete('s7', 'ns');
  const [gone] = await w.ran();
  assert.match(gone!, /delete element ip kube-proxy cluster-ips \{ 10\.96\.0\.7 \}/);
  assert.doesNotMatch(gone!, /add/);
  await w.proxy.stop();
});

test('a transaction that fails is followed by one of everything', async () => {
  const w = await world();
  await w.ran();
  w.host.failing = true;
  await w.service('s', '10.96.0.1');
  assert.deepEqual(await w.ran(), []);
  w.host.failing = false;
  const [again, ...more] = await w.ran(1000);
  assert.match(again!, /^add table ip kube-proxy\ndelete table ip kube-proxy\n/);
  assert.match(again!, /no-endpoint-services \{ 10\.96\.0\.1 \. tcp \. 80 : goto reject-chain \}/);
  assert.deepEqual(more, []);
  const text = w.metrics.families.flatMap((f) => [...f.lines()]).join('\n');
  assert.deepEqual(await w.ran(3_000_000), []);
  assert.match((await w.ran(600_000)).join(), /^add table ip kube-proxy\ndelete table/, 'and again every hour');
  assert.match(text, /kubeproxy_sync_proxy_rules_nftables_sync_failures_total\{ip_family="IPv4"\} 1/);
  await w.proxy.stop();
});

test('chains of affinity go when their Service does, and are deleted only when nothing can lead there', async () => {
  const w = await world();
  await w.service('s', '10.96.0.1', {
    sessionAffinity: 'ClientIP',
    sessionAffinityConfig: { clientIP: { timeoutSeconds: 60 } },
  });
  await w.slice('s', ['10.0.0.1', '10.0.0.2']);
  const made = (await w.ran()).join('');
  assert.match(made, /add set ip kube-proxy affinity-\S+ns\/s\/tcp\/p__10\.0\.0\.1\/8080 /);
  assert.match(made, /update @affinity-\S+ \{ ip saddr timeout 60s \}/);
  await w.client.core.services.delete('s', 'ns');
  const [removed] = await w.ran();
  assert.equal(removed!.match(/flush chain/g)!.length, 3);
  assert.equal(removed!.match(/delete set/g)!.length, 2);
  assert.doesNotMatch(removed!, /delete chain/);
  const [leftovers] = await w.ran(1000);
  assert.equal(leftovers!.match(/delete chain/g)!.length, 3);
  await w.proxy.stop();
  assert.equal(w.clock.pending, 0);
});

test('UDP connections to endpoints that are gone are ended, others not', async () => {
  const w = await world();
  const entry = (vip: string, client: number, from: string) =>
    `udp      17 29 src=10.0.0.9 dst=${vip} sport=${client} dport=80 src=${from} dst=10.0.0.9 sport=8080 dport=${client} mark=0 use=1`;
  w.host.entries = [
    entry('10.96.0.1', 4000, '10.0.0.1'),
    entry('10.96.0.1', 4001, '10.0.0.1'),
    entry('10.96.0.1', 4002, '10.0.0.2'),
    entry('10.96.0.2', 4003, '10.0.0.1'),
    'udp      17 29 garbage',
  ];
  await w.service('s', '10.96.0.1', { ports: [{ name: 'p', port: 80, protocol: 'UDP' }] });
  await w.slice('s', ['10.0.0.1', '10.0.0.2'], 'UDP');
  await w.ran();
  assert.deepEqual(w.host.tracked, []);
  await w.slice('s', ['10.0.0.2'], 'UDP');
  await w.ran();
  assert.deepEqual(w.host.tracked.splice(0), [
    '-D -f ipv4 -p udp --orig-dst 10.96.0.1 --orig-port-dst 80 --reply-src 10.0.0.1 --reply-port-src 8080',
  ]);
  await w.slice('s', [], 'UDP');
  await w.ran();
  assert.deepEqual(w.host.tracked, [], 'a Service without endpoints is left alone');
  await w.proxy.stop();
});

test('an address that the node gets while the rules are first written is in the next ones', async () => {
  const host = new FakeHost();
  const backend = new NftablesBackend({ host, clock: new VirtualClock(), logger: silentLogger });
  const place = { node: 'n0', podCIDRs: [], serviceCIDRs: [] };
  backend.placeChanged({ ...place, addresses: [] });
  const written = Promise.withResolvers<void>();
  const nft = host.nft.bind(host);
  host.nft = async (text) => {
    await nft(text);
    await written.promise;
  };
  const replaced = backend.replace(new Map());
  await new Promise((resolve) => setImmediate(resolve));
  assert.equal(host.texts.length, 1);
  backend.placeChanged({ ...place, addresses: ['192.0.2.7'] });
  written.resolve();
  await replaced;
  assert.ok(!host.texts[0]!.includes('192.0.2.7'));
  await backend.apply({ set: new Map(), removed: new Set() });
  assert.match(host.texts[1]!, /192\.0\.2\.7/);
  await backend.close();
});
