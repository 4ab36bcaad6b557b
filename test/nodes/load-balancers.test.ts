/** Services of type LoadBalancer on real nodes: reachable from the machine's network, at a pool's address or the nodes' own. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Service } from '../../src/api/types/index.gen.ts';
import { ownerOf } from '../../src/cluster/real/load-balancer-addresses.ts';
import { ownNamespaces } from './support/namespaces.ts';
import { addresses, firstWords, inside, sh, Sites } from './support/sites.ts';
import { until } from './support/until.ts';

const skip = ownNamespaces();
const get = (host: string, more = ''): string =>
  inside('client', `for i in $(seq 12); do curl -g -s -m 5 ${more} http://${host}/cgi-bin/who || exit 1; done`);

const reaches = (host: string): boolean => {
  try {
    return inside('client', `curl -g -s -m 5 http://${host}/cgi-bin/who`) !== '';
  } catch {
    return false;
  }
};

const ingress = (sites: Sites, name: string): Promise<string[]> =>
  until(`an address for ${name}`, async () => {
    const { status } = (await sites.client.core.services.get(name, 'default')) as Service;
    const ips = (status?.loadBalancer?.ingress ?? []).map((i) => i.ip!);
    return ips.length > 0 && ips;
  });

/** Another machine has the addresses, ceases to be ready, and its neighbours go on sending to it: until they are told. */
async function moves(sites: Sites, v4: string, v6: string): Promise<void> {
  const { nodes } = sites.client.core;
  const other = Array.from({ length: 1000 }, (_, i) => `other-${i}`).find((n) =>
    [v4, v6].every((a) => ownerOf(a, ['one', n]) === n),
  )!;
  const ready = (status: string) => ({ status: { conditions: [{ type: 'Ready', status }] } });
  await nodes.create({ metadata: { name: other } });
  await nodes.patch(other, undefined, 'strategic', ready('True'), { subresource: 'status' });
  const proxies = (): string => `${sh('ip -4 neigh show proxy')}${sh('ip -6 neigh show proxy')}`;
  await until('the other machine to have the addresses', async () => ![v4, v6].some((a) => proxies().includes(a)));
  const elsewhere = '02:00:00:00:00:99';
  for (const a of [v4, v6]) inside('client', `ip neigh replace ${a} lladdr ${elsewhere} nud reachable dev eth0`);
  assert.ok(!reaches(v4));
  for (const a of [v4, v6]) inside('client', `ip neigh replace ${a} lladdr ${elsewhere} nud reachable dev eth0`);
  const mac = /link\/ether (\S+)/.exec(sh('ip link show eth0'))![1]!;
  const at = Date.now();
  await nodes.patch(other, undefined, 'strategic', ready('False'), { subresource: 'status' });
  for (const a of [v4, v6])
    await until(`the client to know where ${a} is`, async () => inside('client', `ip neigh show ${a}`).includes(mac));
  // By themselves they would look after half a minute.
  assert.ok(Date.now() - at < 5000, `told after ${Date.now() - at} ms`);
  for (const host of [v4, `[${v6}]`]) assert.deepEqual(firstWords(get(host)), ['one']);
  await nodes.delete(other);
}

test(
  'addresses of a pool answer on the network, of both families, and no longer when the Service is gone',
  { skip },
  async () => {
    const sites = await Sites.start({
      families: [4, 6],
      second: false,
      cluster: {
        serviceClusterIPRange: '10.96.0.0/16,fd00:10:96::/112',
        clusterCIDR: '10.244.0.0/16,fd00:10:244::/48',
        loadBalancerPool: ['192.168.71.240/28', 'fd71::f000/124'],
      },
    });
    try {
      await sites.webServers({ type: 'LoadBalancer', ipFamilyPolicy: 'RequireDualStack' });
      const [v4, v6] = await ingress(sites, 'web');
      assert.match(v4!, /^192\.168\.71\.24\d$/);
      assert.match(v6!, /^fd71::f00/);
      await until('the address to be known', async () => sh('ip neigh show proxy').includes(v6!));
      // The address and the rules behind it are the work of two; both are there a moment later.
      for (const host of [v4!, `[${v6}]`]) {
        await until(`${host} to answer`, async () => reaches(host));
        assert.deepEqual(firstWords(get(host)), ['one']);
      }
      // From a pod and from the machine itself, too; other ports have nobody.
      assert.match(sh(`curl -s -m 5 http://${v4}/cgi-bin/who`), /^one /);
      assert.match(await sites.run('inside', 'one', `timeout 5 wget -q -O - http://${v4}/cgi-bin/who`), /^one /);
      assert.throws(() => inside('client', `curl -s -m 2 http://${v4}:10250/`));
      // externalTrafficPolicy Local: the client's address is seen.
      await sites.client.core.services.patch('web', 'default', 'merge', { spec: { externalTrafficPolicy: 'Local' } });
      await until('the client’s address', async () => get(v4!).includes(addresses.client[4]));

      await sites.client.core.services.patch('web', 'default', 'merge', { spec: { externalTrafficPolicy: 'Cluster' } });
      await moves(sites, v4!, v6!);

      await sites.client.core.services.delete('web', 'default');
      await until('the address to go', async () => !sh('ip neigh show proxy').includes(v4!));
      await until('its routes to go', async () => sh('ip route show proto 119; ip -6 route show proto 119') === '');
    } finally {
      await sites.stop();
    }
  },
);

test('without a pool a Service has its ports at the nodes’ addresses', { skip }, async () => {
  const sites = await Sites.start();
  try {
    await sites.webServers({ type: 'LoadBalancer' });
    assert.deepEqual(await ingress(sites, 'web'), [addresses.one[4], addresses.two[4]]);
    // A pod that is ready is in each node's rules a moment later.
    for (const host of [addresses.one[4], addresses.two[4]])
      await until(`both web servers by ${host}`, async () => firstWords(get(host)).join() === 'one,two');
    // They come and go with the nodes.
    await sites.stopJoined();
    await sites.client.core.nodes.delete('two');
    await until('one address', async () => (await ingress(sites, 'web')).join() === addresses.one[4]);
    assert.ok(firstWords(get(addresses.one[4])).includes('one'));
    // A port is one Service's alone.
    await sites.client.core.services.create({
      metadata: { name: 'late', namespace: 'default' },
      spec: { type: 'LoadBalancer', selector: { app: 'web' }, ports: [{ port: 80, targetPort: 8080 }] },
    });
    const event = await until('word of it', async () =>
      (await sites.client.core.events.list({ namespace: 'default' })).items.find(
        (e) => e.involvedObject.name === 'late' && e.reason === 'SyncLoadBalancerFailed',
      ),
    );
    assert.match(event.message!, /port 80\/TCP of the nodes is taken by the Service default\/web/);
    await sites.client.core.services.delete('web', 'default');
    assert.deepEqual(await ingress(sites, 'late'), [addresses.one[4]]);
  } finally {
    await sites.stop();
  }
});
