import assert from 'node:assert/strict';
import { test } from 'node:test';
import { VirtualClock } from '../base/clock.ts';
import { silentLogger } from '../base/logger.ts';
import { SeededRandom } from '../base/random.ts';
import type { Event, Node, Service } from '../api/types/index.gen.ts';
import { FakeApi } from '../client/fake-api.ts';
import { resources } from '../client/resources.ts';
import { createClient } from '../client/typed-client.ts';
import { createCloudControllerManager, selectCloudControllers } from './manager.ts';
import type { CloudControllerManagerOptions } from './manager.ts';
import { nodeAddressesForIp } from './node-addresses.ts';
import { RetryError } from './provider.ts';
import { createLocalProvider } from './providers/local/local.ts';
import type { LocalProviderOptions } from './providers/local/local.ts';

async function world(local: LocalProviderOptions = {}, more: Partial<CloudControllerManagerOptions> = {}) {
  const clock = new VirtualClock();
  const random = new SeededRandom(1);
  const api = new FakeApi(clock, random);
  const client = createClient(api);
  const provider = createLocalProvider(local);
  const manager = createCloudControllerManager({
    client,
    clientFor: () => client,
    clock,
    random,
    logger: silentLogger,
    provider,
    ...more,
  });
  await manager.start();
  await clock.advance(0);
  const reasons = () => api.all<Event>(resources.core.events).map((e) => e.reason);
  const service = (name: string) => client.core.services.get(name, 'default');
  return { clock, api, client, provider, manager, reasons, service };
}

const uninitialized = { key: 'node.cloudprovider.kubernetes.io/uninitialized', value: 'true', effect: 'NoSchedule' };

const node = (name: string, ready = 'True', rest: Partial<Node> = {}): Node =>
  ({
    metadata: { name },
    spec: { taints: [uninitialized, { key: 'other', effect: 'NoSchedule' }] },
    status: {
      addresses: [{ type: 'InternalIP', address: '192.0.2.1' }],
      conditions: [{ type: 'Ready', status: ready }],
    },
    ...rest,
  }) as Node;

const balanced = (name: string, rest: object = {}): Service =>
  ({
    metadata: { name, namespace: 'default' },
    spec: { type: 'LoadBalancer', ports: [{ port: 80, protocol: 'TCP' }], ...rest },
  }) as Service;

test('a node is initialised and loses its taint', async () => {
  const w = await world({ zones: ['z-a', 'z-b'], region: 'r', instanceType: 't' });
  await w.client.core.nodes.create(node('n1'));
  await w.clock.advance(0);
  const n = await w.client.core.nodes.get('n1');
  assert.deepEqual(n.spec, { providerID: 'local://n1', taints: [{ key: 'other', effect: 'NoSchedule' }] });
  assert.deepEqual(n.metadata.labels, {
    'failure-domain.beta.kubernetes.io/zone': 'z-b',
    'topology.kubernetes.io/zone': 'z-b',
    'failure-domain.beta.kubernetes.io/region': 'r',
    'topology.kubernetes.io/region': 'r',
    'beta.kubernetes.io/instance-type': 't',
    'node.kubernetes.io/instance-type': 't',
  });
  assert.deepEqual(w.reasons(), ['Synced']);
  // The cloud's addresses come with the next look.
  w.provider.addInstance({ name: 'n1', addresses: [{ type: 'ExternalIP', address: '198.51.100.1' }] });
  await w.clock.advance(300_000);
  assert.deepEqual((await w.client.core.nodes.get('n1')).status?.addresses, [
    { type: 'ExternalIP', address: '198.51.100.1' },
  ]);
  await w.manager.stop();
  assert.equal(w.clock.pending, 0);
});

test('addresses are narrowed to the kubelet’s own', () => {
  const all = [
    { type: 'InternalIP', address: '10.0.0.1' },
    { type: 'InternalIP', address: '10.0.0.2' },
    { type: 'ExternalIP', address: '198.51.100.1' },
  ];
  assert.deepEqual(nodeAddressesForIp('10.0.0.2', all), [all[1], all[2]]);
  assert.throws(
    () => nodeAddressesForIp('10.0.0.3', all),
    /failed to get node address from cloud provider that matches ip: 10\.0\.0\.3/,
  );
});

test('nodes follow their instances', async () => {
  const w = await world();
  await w.client.core.nodes.create(node('up'));
  await w.client.core.nodes.create(node('off', 'Unknown'));
  await w.client.core.nodes.create(node('gone', 'False'));
  await w.clock.advance(0);
  w.provider.setInstanceState('off', 'stopped');
  w.provider.removeInstance('gone');
  // A node that is ready stays, whatever the cloud says.
  w.provider.removeInstance('up');
  await w.clock.advance(5000);
  const shutdown = { key: 'node.cloudprovider.kubernetes.io/shutdown', effect: 'NoSchedule' };
  assert.deepEqual(
    w.api.all<Node>(resources.core.nodes).map((n) => n.metadata.name),
    ['up', 'off'],
  );
  const off = await w.client.core.nodes.get('off');
  assert.deepEqual(off.spec?.taints, [{ key: 'other', effect: 'NoSchedule' }, shutdown]);
  assert.ok(w.reasons().includes('DeletingNode'));
  await w.client.core.nodes.updateStatus({ ...off, status: { conditions: [{ type: 'Ready', status: 'True' }] } });
  await w.clock.advance(5000);
  assert.deepEqual((await w.client.core.nodes.get('off')).spec?.taints, [{ key: 'other', effect: 'NoSchedule' }]);
  await w.manager.stop();
});

test('Services get an address, keep it, and give it back', async () => {
  const w = await world();
  await w.client.core.nodes.create(node('n1'));
  await w.client.core.services.create(balanced('a'));
  await w.client.core.services.create(balanced('b', { loadBalancerIP: '127.0.1.77' }));
  await w.client.core.services.create(balanced('classy', { loadBalancerClass: 'example.com/lb' }));
  await w.clock.advance(0);
  const a = await w.service('a');
  assert.deepEqual(a.metadata.finalizers, ['service.kubernetes.io/load-balancer-cleanup']);
  assert.deepEqual(a.status?.loadBalancer, { ingress: [{ ip: '127.0.1.2', ipMode: 'VIP' }] });
  assert.deepEqual((await w.service('b')).status?.loadBalancer?.ingress, [{ ip: '127.0.1.77', ipMode: 'VIP' }]);
  assert.equal((await w.service('classy')).status, undefined);
  assert.deepEqual(
    w.provider.loadBalancers().map((b) => b.nodes),
    [['n1'], ['n1']],
  );
  for (const reason of ['EnsuringLoadBalancer', 'EnsuredLoadBalancer']) assert.ok(w.reasons().includes(reason), reason);

  await w.client.core.nodes.create(node('n2'));
  await w.clock.advance(0);
  assert.deepEqual(
    w.provider.loadBalancers().map((b) => b.nodes.length),
    [2, 2],
  );
  assert.ok(w.reasons().includes('UpdatedLoadBalancer'));

  // Another manager after a restart finds the addresses in the objects.
  await w.manager.stop();
  const provider = createLocalProvider();
  const next = createCloudControllerManager({
    client: w.client,
    clientFor: () => w.client,
    clock: w.clock,
    random: new SeededRandom(2),
    logger: silentLogger,
    provider,
  });
  await w.client.core.services.create(balanced('0-first'));
  await next.start();
  await w.clock.advance(0);
  assert.deepEqual((await w.service('a')).status?.loadBalancer?.ingress, [{ ip: '127.0.1.2', ipMode: 'VIP' }]);
  assert.deepEqual((await w.service('0-first')).status?.loadBalancer?.ingress, [{ ip: '127.0.1.3', ipMode: 'VIP' }]);

  await w.client.core.services.delete('a', 'default');
  const b = await w.service('b');
  await w.client.core.services.update({ ...b, spec: { ...b.spec, type: 'ClusterIP' } });
  await w.clock.advance(0);
  await assert.rejects(w.service('a'), /not found/);
  const after = await w.service('b');
  assert.deepEqual(after.metadata.finalizers ?? [], []);
  assert.equal(after.status?.loadBalancer?.ingress, undefined);
  assert.deepEqual(
    provider.loadBalancers().map((x) => x.service),
    ['0-first'],
  );
  for (const reason of ['DeletingLoadBalancer', 'DeletedLoadBalancer']) assert.ok(w.reasons().includes(reason), reason);
  await next.stop();
  assert.equal(w.clock.pending, 0);
});

test('failures are told and tried again', async () => {
  const w = await world({ loadBalancerPool: ['127.0.1.8/32'] });
  await w.client.core.services.create(balanced('a'));
  await w.clock.advance(0);
  await w.client.core.services.create(balanced('b'));
  await w.clock.advance(0);
  const failed = w.api.all<Event>(resources.core.events).find((e) => e.reason === 'SyncLoadBalancerFailed');
  assert.equal(
    failed?.message,
    'Error syncing load balancer: failed to ensure load balancer: no IPv4 address is left in the load balancer pool 127.0.1.8/32',
  );
  assert.ok(w.reasons().includes('UnAvailableLoadBalancer'));
  await w.client.core.services.delete('a', 'default');
  await w.clock.advance(5000);
  assert.deepEqual((await w.service('b')).status?.loadBalancer?.ingress, [{ ip: '127.0.1.8', ipMode: 'VIP' }]);
  // A provider that is not done yet names the time after which it wants to be asked again.
  let asked = 0;
  const ensure = w.provider.loadBalancer.ensureLoadBalancer;
  w.provider.loadBalancer.ensureLoadBalancer = (...args) =>
    asked++ === 0 ? Promise.reject(new RetryError('provisioning', 1000)) : ensure(...args);
  const b = await w.service('b');
  await w.client.core.services.update({ ...b, metadata: { ...b.metadata, annotations: { x: 'y' } } });
  await w.clock.advance(999);
  assert.equal(asked, 1);
  await w.clock.advance(1);
  assert.equal(asked, 2);
  await w.manager.stop();
});

test('routes and the condition that goes with them', async () => {
  const w = await world({}, { options: { allocateNodeCIDRs: true, clusterCIDR: '10.244.0.0/16' } });
  await w.client.core.nodes.create(
    node('n1', 'True', { spec: { podCIDR: '10.244.1.0/24', podCIDRs: ['10.244.1.0/24'] } }),
  );
  await w.clock.advance(0);
  const signal = new AbortController().signal;
  const [route] = await w.provider.routes.listRoutes('kubernetes', signal);
  assert.deepEqual([route?.targetNode, route?.destinationCIDR], ['n1', '10.244.1.0/24']);
  const condition = (await w.client.core.nodes.get('n1')).status?.conditions?.find(
    (c) => c.type === 'NetworkUnavailable',
  );
  assert.deepEqual([condition?.status, condition?.reason], ['False', 'RouteCreated']);
  await w.client.core.nodes.delete('n1');
  await w.clock.advance(10_000);
  assert.deepEqual(await w.provider.routes.listRoutes('kubernetes', signal), []);
  await w.manager.stop();
});

test('which controllers work is a matter of choice', async () => {
  const w = await world({}, { controllers: ['*', '-service'] });
  assert.deepEqual(w.manager.running, ['cloud-node-controller', 'cloud-node-lifecycle-controller']);
  await w.manager.stop();
  assert.deepEqual(w.manager.running, []);
  assert.throws(() => selectCloudControllers(['nope']), /"nope" is not in the list of known controllers/);
});
