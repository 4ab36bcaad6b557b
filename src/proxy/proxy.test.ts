import assert from 'node:assert/strict';
import { test } from 'node:test';
import { VirtualClock } from '../base/clock.ts';
import { silentLogger } from '../base/logger.ts';
import { SeededRandom } from '../base/random.ts';
import type { EndpointSlice, Node, Service } from '../api/types/index.gen.ts';
import { FakeApi } from '../client/fake-api.ts';
import { createClient } from '../client/typed-client.ts';
import type { FrontendChanges, ProxyBackend } from './backend.ts';
import type { ProxyOptions } from './proxy.ts';
import { createProxy } from './proxy.ts';

async function world(options: Partial<ProxyOptions> = {}) {
  const clock = new VirtualClock();
  const random = new SeededRandom(1);
  const api = new FakeApi(clock, random);
  const client = createClient(api);
  for (const [i, zone] of ['z-a', 'z-b'].entries())
    await client.core.nodes.create({
      metadata: { name: `n${i}`, labels: { 'topology.kubernetes.io/zone': zone } },
      spec: { podCIDRs: [`10.244.${i}.0/24`] },
      status: { addresses: [{ type: 'InternalIP', address: `192.0.2.${i + 1}` }] },
    } as Node);
  const proxy = createProxy({ client, clock, random, logger: silentLogger, ...options });
  const started = proxy.start();
  await clock.advance(0);
  await started;
  const service = (name: string, spec: object, status: object = {}) =>
    client.core.services.create({
      metadata: { name, namespace: 'default' },
      spec: { clusterIP: '10.96.0.10', ports: [{ name: 'http', port: 80, protocol: 'TCP' }], ...spec },
      status,
    } as Service);
  const slice = (name: string, endpoints: object[], labels: object = {}) =>
    client.discovery.endpointslices.create({
      metadata: {
        name: `${name}-1`,
        namespace: 'default',
        labels: { 'kubernetes.io/service-name': name, ...labels },
      },
      addressType: 'IPv4',
      ports: [{ name: 'http', port: 8080, protocol: 'TCP' }],
      endpoints,
    } as unknown as EndpointSlice);
  return { clock, client, proxy, service, slice };
}

const at = (address: string, nodeName: string, more: object = {}) => ({ addresses: [address], nodeName, ...more });
const draining = { conditions: { ready: false, serving: true, terminating: true } };
const unready = { conditions: { ready: false, serving: false, terminating: false } };

test('a Service leads to its ready endpoints and follows their changes', async () => {
  const w = await world();
  await w.service('web', { nodePort: 0 });
  await w.clock.advance(0);
  assert.deepEqual(w.proxy.resolve('10.96.0.10', 80), []);
  assert.equal(w.proxy.pick('10.96.0.10', 80, '10.244.0.9'), 'refused');
  assert.equal(w.proxy.pick('10.96.0.11', 80), undefined);
  assert.equal(w.proxy.pick('10.96.0.10', 81), undefined);
  await w.slice('web', [at('10.244.0.2', 'n0'), at('10.244.1.2', 'n1'), at('10.244.1.3', 'n1', unready)]);
  await w.clock.advance(0);
  const both = [
    { address: '10.244.0.2', port: 8080 },
    { address: '10.244.1.2', port: 8080 },
  ];
  assert.deepEqual(w.proxy.resolve('10.96.0.10', 80), both);
  const seen = new Set<string>();
  for (let i = 0; i < 50; i++) {
    const e = w.proxy.pick('10.96.0.10', 80, '10.244.0.9');
    assert.ok(e !== undefined && e !== 'refused');
    seen.add(e.address);
  }
  assert.equal(seen.size, 2);
  await w.client.discovery.endpointslices.patch('web-1', 'default', 'merge', {
    endpoints: [at('10.244.0.2', 'n0', draining), at('10.244.1.2', 'n1', unready)],
  });
  await w.clock.advance(0);
  assert.deepEqual(w.proxy.resolve('10.96.0.10', 80), [both[0]]);
  await w.client.core.services.delete('web', 'default');
  await w.clock.advance(0);
  assert.equal(w.proxy.resolve('10.96.0.10', 80), undefined);
  await w.proxy.stop();
  assert.equal(w.clock.pending, 0);
});

test('node ports, external addresses and traffic policies', async () => {
  const w = await world();
  await w.service(
    'lb',
    {
      type: 'LoadBalancer',
      externalIPs: ['198.51.100.7'],
      externalTrafficPolicy: 'Local',
      internalTrafficPolicy: 'Local',
      loadBalancerSourceRanges: ['203.0.113.0/24'],
      ports: [{ name: 'http', port: 80, protocol: 'TCP', nodePort: 30080 }],
    },
    {
      loadBalancer: {
        ingress: [
          { ip: '127.0.1.2', ipMode: 'VIP' },
          { ip: '127.0.1.3', ipMode: 'Proxy' },
        ],
      },
    },
  );
  await w.slice('lb', [at('10.244.1.2', 'n1')]);
  await w.clock.advance(0);
  const there = { address: '10.244.1.2', port: 8080 };
  const pick = w.proxy.pick.bind(w.proxy);
  // The cluster IP keeps to the caller's node.
  assert.equal(pick('10.96.0.10', 80, '10.244.0.9'), 'refused');
  assert.deepEqual(pick('10.96.0.10', 80, '10.244.1.9'), there);
  // From inside, external addresses lead everywhere; from outside, to the node that was asked.
  assert.deepEqual(pick('192.0.2.1', 30080, '10.244.0.9'), there);
  assert.equal(pick('192.0.2.1', 30080, '203.0.113.9'), 'refused');
  assert.deepEqual(pick('192.0.2.2', 30080, '203.0.113.9'), there);
  assert.deepEqual(pick('198.51.100.7', 80, '203.0.113.9'), there);
  assert.deepEqual(pick('127.0.1.2', 80, '203.0.113.9'), there);
  assert.equal(pick('127.0.1.2', 80, '198.18.0.1'), 'refused');
  assert.equal(pick('127.0.1.3', 80, '203.0.113.9'), undefined);
  assert.equal(pick('192.0.2.9', 30080, '203.0.113.9'), undefined);
  await w.proxy.stop();
});

test('a client keeps its endpoint for as long as the affinity lasts', async () => {
  const w = await world();
  await w.service('sticky', {
    sessionAffinity: 'ClientIP',
    sessionAffinityConfig: { clientIP: { timeoutSeconds: 60 } },
  });
  await w.slice(
    'sticky',
    Array.from({ length: 20 }, (_, i) => at(`10.244.0.${i + 2}`, 'n0')),
  );
  await w.clock.advance(0);
  const first = w.proxy.pick('10.96.0.10', 80, '10.244.1.9');
  for (let i = 0; i < 20; i++) assert.deepEqual(w.proxy.pick('10.96.0.10', 80, '10.244.1.9'), first);
  let moved = false;
  for (let i = 0; i < 5 && !moved; i++) {
    await w.clock.advance(61_000);
    moved = JSON.stringify(w.proxy.pick('10.96.0.10', 80, '10.244.1.9')) !== JSON.stringify(first);
  }
  assert.ok(moved);
  await w.proxy.stop();
});

test('hints keep traffic in the zone or on the node when every endpoint has one', async () => {
  const w = await world();
  await w.service('near', {});
  const zone = (name: string) => ({ hints: { forZones: [{ name }] } });
  await w.slice('near', [at('10.244.0.2', 'n0', zone('z-a')), at('10.244.1.2', 'n1', zone('z-b'))]);
  await w.clock.advance(0);
  for (let i = 0; i < 10; i++)
    assert.deepEqual(w.proxy.pick('10.96.0.10', 80, '10.244.1.9'), { address: '10.244.1.2', port: 8080 });
  await w.client.discovery.endpointslices.patch('near-1', 'default', 'merge', {
    endpoints: [at('10.244.0.2', 'n0', { hints: { forNodes: [{ name: 'n1' }] } })],
  });
  await w.clock.advance(0);
  assert.deepEqual(w.proxy.pick('10.96.0.10', 80, '10.244.1.9'), { address: '10.244.0.2', port: 8080 });
  await w.proxy.stop();
});

test('a backend gets changes in batches, and everything again after a failure', async () => {
  const calls: string[] = [];
  let failing = false;
  const backend: ProxyBackend = {
    apply: (changes: FrontendChanges) => {
      calls.push(`apply +${[...changes.set.keys()].join(',')} -${[...changes.removed].join(',')}`);
      return failing ? Promise.reject(new Error('no')) : Promise.resolve();
    },
    replace: (all) => {
      calls.push(`replace ${[...all.keys()].join(',')}`);
      return Promise.resolve();
    },
    close: () => Promise.resolve(),
  };
  const w = await world({ backend, nodeName: 'n0' });
  assert.deepEqual(calls.splice(0), ['replace ']);
  await w.clock.advance(1000);
  await w.service('web', {});
  await w.slice('web', [at('10.244.0.2', 'n0')]);
  await w.clock.advance(1000);
  assert.deepEqual(calls.splice(0), ['apply +TCP/10.96.0.10:80 -', 'apply +TCP/10.96.0.10:80 -']);
  // Two Services and one address: the second gets it when the first has gone, even in one batch.
  await w.service('a-next', {});
  await w.client.core.services.delete('web', 'default');
  await w.clock.advance(1000);
  assert.deepEqual(calls.splice(0), ['apply +TCP/10.96.0.10:80 -']);
  assert.equal(w.proxy.frontends.get('TCP/10.96.0.10:80')?.servicePort, 'default/a-next:http');
  failing = true;
  await w.client.core.services.delete('a-next', 'default');
  await w.clock.advance(1000);
  assert.deepEqual(calls.splice(0), ['apply + -TCP/10.96.0.10:80']);
  await w.clock.advance(1000);
  assert.deepEqual(calls.splice(0), ['replace ']);
  await w.proxy.stop();
});
