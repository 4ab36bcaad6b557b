/** Clusters of both address families, and of IPv6 alone, with simulated nodes: from the Service to the pod, by address and by name. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Cluster } from '../../src/index.ts';
import { createCluster } from '../../src/index.ts';
import { waitFor } from '../support/wait.ts';

const both = {
  serviceClusterIPRange: '10.96.0.0/16,fd00:10:96::/112',
  clusterCIDR: '10.244.0.0/16,fd00:10:244::/48',
};

async function web(cluster: Cluster): Promise<void> {
  await cluster.client.apps.deployments.create({
    metadata: { name: 'web', namespace: 'default' },
    spec: {
      replicas: 2,
      selector: { matchLabels: { app: 'web' } },
      template: {
        metadata: { labels: { app: 'web' } },
        spec: { containers: [{ name: 'c', image: 'nginx', ports: [{ containerPort: 80 }] }] },
      },
    },
  });
  await waitFor(
    cluster.client.apps.deployments,
    { namespace: 'default', name: 'web' },
    ([d]) => d?.status?.readyReplicas === 2,
  );
}

/** Waits until a Service's slices are of these families, each with two addresses. */
function slices(cluster: Cluster, service: string, ...families: readonly string[]): Promise<unknown> {
  const where = { namespace: 'default', labelSelector: `kubernetes.io/service-name=${service}` };
  const wanted = families.map((f) => `${f} 2`).join();
  return waitFor(cluster.client.discovery.endpointslices, where, (list) => {
    const have = list.map((s) => `${s.addressType} ${(s.endpoints ?? []).flatMap((e) => e.addresses).length}`);
    return have.sort().join() === wanted;
  });
}

/** Dials a Service until the proxy has heard of it (unreachable before) and of its endpoints (refused before). */
async function reach(cluster: Cluster, address: string): Promise<void> {
  for (;;)
    try {
      (await cluster.network.dial(address, 80)).destroy();
      return;
    } catch (error) {
      if (!['EHOSTUNREACH', 'ECONNREFUSED'].includes((error as { code?: string }).code ?? '')) throw error;
      await new Promise((resolve) => setImmediate(resolve));
    }
}

test('both families: policies of Services, their slices, names and load balancers', async () => {
  await using cluster = await createCluster({ nodes: 2, ...both });
  const { services, pods } = cluster.client.core;
  await web(cluster);
  const [pod] = (await pods.list({ namespace: 'default' })).items;
  assert.deepEqual(
    [pod!.status?.podIPs, pod!.status?.hostIPs].map((l) => l?.map((p) => (p.ip!.includes(':') ? 6 : 4))),
    [
      [4, 6],
      [4, 6],
    ],
  );
  const service = (name: string, ipFamilyPolicy: string): ReturnType<typeof services.create> =>
    services.create({
      metadata: { name, namespace: 'default' },
      spec: { type: 'LoadBalancer', ipFamilyPolicy, selector: { app: 'web' }, ports: [{ port: 80 }] },
    } as never);
  const single = await service('single', 'SingleStack');
  assert.deepEqual(single.spec?.ipFamilies, ['IPv4']);
  const required = await service('required', 'RequireDualStack');
  assert.deepEqual(required.spec?.ipFamilies, ['IPv4', 'IPv6']);
  await slices(cluster, 'required', 'IPv4', 'IPv6');
  await slices(cluster, 'single', 'IPv4');
  const ingress = await waitFor(services, { namespace: 'default', name: 'required' }, ([s]) => {
    const list = s?.status?.loadBalancer?.ingress;
    return list?.length === 2 && list;
  });
  assert.deepEqual(
    ingress.map((i) => i.ip!.includes(':')),
    [false, true],
  );
  await reach(cluster, required.spec!.clusterIPs![1]!);

  // A Service gets its second family, and gives it back.
  const patch = (spec: object): Promise<{ spec?: { clusterIPs?: readonly string[] } }> =>
    services.patch('single', 'default', 'merge', { spec }) as never;
  assert.equal((await patch({ ipFamilyPolicy: 'PreferDualStack' })).spec?.clusterIPs?.length, 2);
  await slices(cluster, 'single', 'IPv4', 'IPv6');
  assert.equal((await patch({ ipFamilyPolicy: 'SingleStack' })).spec?.clusterIPs?.length, 1);
  await slices(cluster, 'single', 'IPv4');
});

test('IPv6 alone: no Service has an address of the other family', async () => {
  await using cluster = await createCluster({
    nodes: 1,
    serviceClusterIPRange: 'fd00:10:96::/112',
    clusterCIDR: 'fd00:10:244::/48',
  });
  const { services } = cluster.client.core;
  assert.equal((await services.get('kubernetes', 'default')).spec?.clusterIP, 'fd00:10:96::1');
  await web(cluster);
  const prefer = await services.create({
    metadata: { name: 'prefer', namespace: 'default' },
    spec: { ipFamilyPolicy: 'PreferDualStack', selector: { app: 'web' }, ports: [{ port: 80 }] },
  });
  assert.deepEqual(prefer.spec?.ipFamilies, ['IPv6']);
  await slices(cluster, 'prefer', 'IPv6');
  await assert.rejects(
    services.create({
      metadata: { name: 'required', namespace: 'default' },
      spec: { ipFamilyPolicy: 'RequireDualStack', ports: [{ port: 80 }] },
    }),
    /this cluster is not configured for dual-stack services/,
  );
  await assert.rejects(
    services.create({
      metadata: { name: 'four', namespace: 'default' },
      spec: { ipFamilies: ['IPv4'], ports: [{ port: 80 }] },
    }),
    /spec\.ipFamilies\[0\]: Invalid value: "IPv4": not configured on this cluster/,
  );
});
