/** Several API servers on one store: the `kubernetes` Service leads to all that are there, and no longer to those that have gone. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { apiServerId } from '../../src/apiserver/bootstrap/identity-lease.ts';
import { createWorkspace, startApiServer, startStore } from '../support/api-server.ts';
import type { Api, Json } from '../support/api.ts';

async function addresses(api: Api): Promise<{ endpoints: string[]; slice: string[] }> {
  const endpoints = (await api.get('/api/v1/namespaces/default/endpoints/kubernetes')).body;
  const slice = (await api.get('/apis/discovery.k8s.io/v1/namespaces/default/endpointslices/kubernetes')).body;
  return {
    endpoints: endpoints.subsets.flatMap((s: Json) => s.addresses.map((a: Json) => a.ip)),
    slice: slice.endpoints.flatMap((e: Json) => e.addresses),
  };
}

test('servers come and go', async () => {
  const work = await createWorkspace();
  await using etcd = await startStore();
  const start = (address: string) => startApiServer(work, etcd, [`--advertise-address=${address}`]);
  await using first = await start('192.0.2.1');
  assert.deepEqual((await addresses(first.api)).endpoints, ['192.0.2.1']);
  {
    await using second = await start('192.0.2.2');
    const both = ['192.0.2.1', '192.0.2.2'];
    assert.deepEqual(await addresses(second.api), { endpoints: both, slice: both });
    const { kvs } = await etcd.store.range({ key: '/registry/masterleases/192.0.2.2' });
    assert.ok(kvs[0]!.lease !== undefined, 'it goes with its server');
    const record = JSON.parse(kvs[0]!.value.toString()) as Json;
    assert.deepEqual(record.subsets, [{ addresses: [{ ip: '192.0.2.2' }] }]);
    // Another server's, such as upstream's: what it holds is of no matter.
    await etcd.store.commit({
      key: '/registry/masterleases/192.0.2.9',
      expectModRevision: 0,
      value: Buffer.from('k8s\0', 'latin1'),
    });
    await second.stop();
  }
  assert.deepEqual(await addresses(first.api), {
    endpoints: ['192.0.2.1', '192.0.2.9'],
    slice: ['192.0.2.1', '192.0.2.9'],
  });
  work.dispose();
});

test('a known number of servers', async () => {
  const work = await createWorkspace();
  await using etcd = await startStore();
  const start = (address: string) =>
    startApiServer(work, etcd, [
      `--advertise-address=${address}`,
      '--endpoint-reconciler-type=master-count',
      '--apiserver-count=2',
    ]);
  await using first = await start('192.0.2.1');
  await using second = await start('192.0.2.2');
  const named = async (): Promise<string[]> => (await addresses(second.api)).endpoints;
  assert.deepEqual(await named(), ['192.0.2.1', '192.0.2.2']);
  await using third = await start('192.0.2.3');
  assert.deepEqual(await named(), ['192.0.2.2', '192.0.2.3'], 'the one after the third goes');
  await third.stop();
  assert.deepEqual(await named(), ['192.0.2.2']);
  await first.stop();
  work.dispose();
});

test('a node port that one server gives out and another takes back is free', async () => {
  const work = await createWorkspace();
  await using etcd = await startStore();
  await using first = await startApiServer(work, etcd, ['--advertise-address=192.0.2.1']);
  await using second = await startApiServer(work, etcd, ['--advertise-address=192.0.2.2']);
  const services = '/api/v1/namespaces/default/services';
  for (let i = 0; i < 2; i++) {
    const made = await first.api.create(services, {
      metadata: { name: 'a' },
      spec: { type: 'NodePort', ports: [{ port: 443, nodePort: 32_080 }] },
    });
    assert.equal(made.status, 201, made.text);
    assert.equal((await second.api.delete(`${services}/a`)).status, 200);
  }
  work.dispose();
});

test('what every cluster has comes back', async () => {
  const work = await createWorkspace();
  await using etcd = await startStore();
  const ranges = (range: string): string[] => [`--service-cluster-ip-range=${range}`, '--advertise-address=192.0.2.1'];
  const cidr = '/apis/networking.k8s.io/v1/servicecidrs/kubernetes';
  const services = '/api/v1/namespaces/default/services';
  {
    await using server = await startApiServer(work, etcd, ranges('10.9.0.0/24'));
    await server.stop();
  }
  await using server = await startApiServer(work, etcd, ranges('10.9.0.0/24,2001:db8::/112'));
  const { api } = server;
  assert.deepEqual(
    (await api.get(cidr)).body.spec.cidrs,
    ['10.9.0.0/24', '2001:db8::/112'],
    'a second family is added',
  );
  const create = async (name: string): Promise<string> => {
    const made = await api.create(services, { metadata: { name }, spec: { ports: [{ port: 80 }] } });
    return made.body.spec?.clusterIP ?? made.body.message;
  };
  assert.match(await create('a'), /^10\.9\./);
  await api.create('/apis/networking.k8s.io/v1/servicecidrs', {
    metadata: { name: 'next' },
    spec: { cidrs: ['10.8.0.0/24'] },
  });
  // One that is going gives no addresses, although the server is told of it.
  await api.merge(cidr, { metadata: { finalizers: ['networking.k8s.io/service-cidr-finalizer'] } });
  await api.delete(cidr);
  for (const name of ['b', 'c', 'd']) assert.match(await create(name), /^10\.8\./);
  await api.merge(cidr, { metadata: { finalizers: null } });
  await api.delete(`${services}/kubernetes`);
  await api.delete('/api/v1/namespaces/kube-system/configmaps/extension-apiserver-authentication');
  for (const path of [
    cidr,
    `${services}/kubernetes`,
    '/api/v1/namespaces/kube-system/configmaps/extension-apiserver-authentication',
  ])
    for (let i = 0; (await api.get(path)).status !== 200; i++) {
      assert.ok(i < 200, path);
      await sleep(100);
    }
  work.dispose();
});

test('the name of a server is made of its host and of what it is', () => {
  assert.equal(apiServerId('node-1'), 'apiserver-lgabes5ywnaqeagh5dny4zlzs4');
});
