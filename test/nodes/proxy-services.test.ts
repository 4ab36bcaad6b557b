/** Services by real packets: two nodes, pods on both, a client outside; the real proxy writes nftables on each node. */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { createLinuxHost } from '../../src/proxy/host/linux-host.ts';
import { cleanUp } from '../../src/proxy/nftables/nftables-backend.ts';
import type { LabPod, Place } from './support/lab.ts';
import { Lab, missing } from './support/lab.ts';
import { World } from './support/proxies.ts';

const skip = missing('conntrack');
const vip = '10.96.0.10';
const vip6 = 'fd00:10:96::10';

/** Who answers over so many questions. */
async function answers(from: Place, address: string, port: number, n = 30): Promise<Set<string>> {
  const seen = new Set<string>();
  for (let i = 0; i < n; i++) seen.add((await from.ask(address, port)).split(' ')[0]!);
  return seen;
}

describe('Services by nftables', { skip, timeout: 200_000 }, () => {
  let lab: Lab;
  let world: World;
  let a: LabPod;
  let b: LabPod;
  let c: LabPod;
  let node1: Place;
  let node2: Place;

  before(async () => {
    lab = await Lab.create();
    [node1, node2] = [lab.nodes[0]!.place, lab.nodes[1]!.place];
    a = await lab.pod(lab.nodes[0]!, 'a');
    b = await lab.pod(lab.nodes[0]!, 'b');
    c = await lab.pod(lab.nodes[1]!, 'c');
    for (const p of [a, b, c]) {
      await p.place.serve(8080);
      await p.place.serve(5353, 'udp');
    }
    await lab.client.ip(
      'route add 10.96.0.0/16 via 192.0.2.1',
      '-6 route add fd00:10:96::/112 via 2001:db8:0:2::1',
      'route add 198.51.100.1 via 192.0.2.1',
      'route add 198.51.100.2 via 192.0.2.2',
      'addr add 192.0.2.101/24 dev eth0',
    );
    // Somebody else's table, which nobody may touch.
    await node1.run('nft', 'add table inet others { chain c { type filter hook input priority 10 ; counter ; } ; }');
    world = await World.create(lab);
  });
  after(async () => {
    await world?.close();
    await lab?.close();
  });

  test('cluster IP: every endpoint gets its share, from pods, the node itself and outside', async () => {
    await world.service('web', { clusterIP: vip, clusterIPs: [vip, vip6] });
    await world.settled();
    assert.equal(await a.place.ask(vip, 80), 'refused', 'no endpoints: rejected');
    assert.equal(await a.place.ask(vip6, 80), 'refused');
    assert.equal(await node1.ask(vip, 80), 'refused');
    await world.endpoints('web', [a, b, c]);
    await world.settled();
    const everybody = new Set(['a', 'b', 'c']);
    assert.deepEqual(await answers(a.place, vip, 80), everybody);
    assert.deepEqual(await answers(a.place, vip6, 80), everybody);
    assert.deepEqual(await answers(node1, vip, 80), everybody);
    assert.deepEqual(await answers(node1, vip6, 80), everybody);
    assert.deepEqual(await answers(lab.client, vip, 80), everybody);
    assert.equal(await a.place.ask(vip, 81), 'refused', 'a port that it does not have');
    // Between pods nothing is masqueraded.
    await world.endpoints('web', [c]);
    await world.settled();
    assert.equal(await a.place.ask(vip, 80), `c ${a.address}`);
    assert.equal(await a.place.ask(vip6, 80), `c ${a.address6}`);
    // From outside it is: the answer has to come back by the same node.
    assert.equal(await lab.client.ask(vip, 80), `c ${lab.nodes[0]!.address}`);
    assert.equal(await lab.client.ask(vip6, 80), `c ${lab.nodes[0]!.address6}`);
  });

  test('hairpin: a pod reaches itself through its Service', async () => {
    await world.endpoints('web', [a]);
    await world.settled();
    assert.equal(await a.place.ask(vip, 80), 'a 10.244.1.1');
    assert.equal(await a.place.ask(vip6, 80), 'a fd00:10:244:1::1');
  });

  test('endpoints that come, go, drain and are not ready', async () => {
    await world.endpoints('web', [
      a,
      { pod: b, ready: false },
      { pod: c, ready: false, serving: true, terminating: true },
    ]);
    await world.settled();
    assert.deepEqual(await answers(b.place, vip, 80, 10), new Set(['a']));
    // None is ready: those that still serve while they end take the traffic.
    await world.endpoints('web', [
      { pod: a, ready: false },
      { pod: c, ready: false, serving: true, terminating: true },
    ]);
    await world.settled();
    assert.deepEqual(await answers(b.place, vip, 80, 10), new Set(['c']));
    await world.endpoints('web', [{ pod: a, ready: false }]);
    await world.settled();
    assert.equal(await b.place.ask(vip, 80), 'refused');
  });

  test('hints keep traffic in the zone or on the node', async () => {
    await world.endpoints('web', [
      { pod: a, zones: ['zone1'] },
      { pod: b, zones: ['zone1'] },
      { pod: c, zones: ['zone2'] },
    ]);
    await world.settled();
    assert.deepEqual(await answers(a.place, vip, 80), new Set(['a', 'b']));
    assert.deepEqual(await answers(c.place, vip, 80, 10), new Set(['c']));
    await world.endpoints('web', [
      { pod: a, nodes: ['node2'] },
      { pod: c, nodes: ['node1'] },
    ]);
    await world.settled();
    assert.deepEqual(await answers(a.place, vip, 80, 10), new Set(['c']));
    assert.deepEqual(await answers(c.place, vip, 80, 10), new Set(['a']));
  });

  test('internalTrafficPolicy Local: only endpoints of the caller’s node, else dropped', async () => {
    const address = '10.96.0.11';
    await world.service('near', { clusterIP: address, internalTrafficPolicy: 'Local' });
    await world.endpoints('near', [a, b]);
    await world.settled();
    assert.deepEqual(await answers(a.place, address, 80), new Set(['a', 'b']));
    assert.equal(await c.place.ask(address, 80, { timeoutMs: 500 }), 'timeout');
    await world.endpoints('near', []);
    await world.settled();
    assert.equal(await c.place.ask(address, 80), 'refused');
  });

  test('session affinity: a client keeps its endpoint until it has been away too long, or the endpoint goes', async () => {
    const address = '10.96.0.12';
    await world.service('sticky', {
      clusterIP: address,
      clusterIPs: [address, 'fd00:10:96::12'],
      type: 'NodePort',
      ports: [{ name: 'p', port: 80, protocol: 'TCP', nodePort: 30012 }],
      sessionAffinity: 'ClientIP',
      sessionAffinityConfig: { clientIP: { timeoutSeconds: 2 } },
    });
    await world.endpoints('sticky', [a, b, c]);
    await world.settled();
    for (const at of [address, 'fd00:10:96::12']) {
      const first = await answers(c.place, at, 80, 10);
      assert.equal(first.size, 1);
    }
    // By whichever address of the Service it comes.
    const kept = await answers(lab.client, address, 80, 5);
    assert.deepEqual(await answers(lab.client, lab.nodes[0]!.address, 30012, 5), kept);
    // Away for longer than the time: sooner or later another one.
    const seen = new Set<string>();
    for (let i = 0; i < 12 && seen.size < 2; i++) {
      for (const who of await answers(c.place, address, 80, 1)) seen.add(who);
      await world.clock.sleep(2300);
    }
    assert.ok(seen.size >= 2, 'the memory of a client never ended');
    // Its endpoint goes: another takes over at once, and who stays with theirs is not disturbed.
    const [who] = [...(await answers(c.place, address, 80, 3))];
    const rest = [a, b, c].filter((p) => p.name !== who);
    await world.endpoints('sticky', rest);
    await world.settled();
    const [next] = [...(await answers(c.place, address, 80, 1))];
    assert.ok(rest.some((p) => p.name === next));
    // A new proxy takes over the memory of the old one.
    await world.restart(lab.nodes[1]!);
    assert.deepEqual(await answers(c.place, address, 80, 10), new Set([next!]));
    await world.client.core.services.delete('sticky', 'default');
    await world.settled();
    await world.clock.sleep(1200);
    await world.settled();
    assert.doesNotMatch(await node1.run('nft', 'list', 'table', 'ip', 'kube-proxy'), /sticky/);
  });

  test('node port, policy Cluster: every node answers for every endpoint', async () => {
    await world.service('np', {
      clusterIP: '10.96.0.13',
      clusterIPs: ['10.96.0.13', 'fd00:10:96::13'],
      type: 'NodePort',
      ports: [{ name: 'p', port: 80, protocol: 'TCP', nodePort: 30080 }],
    });
    await world.settled();
    assert.equal(await lab.client.ask(lab.nodes[0]!.address, 30080), 'refused');
    await world.endpoints('np', [a, c]);
    await world.settled();
    for (const node of lab.nodes) {
      assert.deepEqual(await answers(lab.client, node.address, 30080), new Set(['a', 'c']));
      assert.deepEqual(await answers(lab.client, node.address6, 30080), new Set(['a', 'c']));
      assert.deepEqual(await answers(a.place, node.address, 30080), new Set(['a', 'c']));
      assert.deepEqual(await answers(node.place, node.address, 30080), new Set(['a', 'c']));
    }
    await world.endpoints('np', [c]);
    await world.settled();
    assert.equal(await lab.client.ask(lab.nodes[0]!.address, 30080), `c ${lab.nodes[0]!.address}`);
  });

  test('policy Local keeps the client’s address, and tells balancers which node to choose', async () => {
    await world.service(
      'local',
      {
        clusterIP: '10.96.0.14',
        type: 'LoadBalancer',
        externalTrafficPolicy: 'Local',
        healthCheckNodePort: 31014,
        ports: [{ name: 'p', port: 80, protocol: 'TCP', nodePort: 30014 }],
      },
      { loadBalancer: { ingress: [{ ip: '198.51.100.1' }, { ip: '198.51.100.2' }] } },
    );
    await world.endpoints('local', [a]);
    await world.settled();
    const [n1, n2] = lab.nodes;
    assert.equal(await lab.client.ask(n1!.address, 30014), `a ${lab.clientAddress}`);
    assert.equal(await lab.client.ask(n2!.address, 30014, { timeoutMs: 500 }), 'timeout', 'none on that node');
    assert.equal(await lab.client.ask('198.51.100.1', 80), `a ${lab.clientAddress}`);
    assert.equal(await lab.client.ask('198.51.100.2', 80, { timeoutMs: 500 }), 'timeout');
    // From inside of the cluster it leads everywhere.
    assert.equal(await c.place.ask('198.51.100.1', 80), `a ${c.address}`);
    assert.equal(await c.place.ask(n2!.address, 30014), `a ${c.address}`);
    assert.equal(await node2.ask('198.51.100.1', 80), `a ${n2!.address}`);
    assert.equal(await node2.ask(n2!.address, 30014), `a ${n2!.address}`);
    const health = async (
      address: string,
    ): Promise<[number, { localEndpoints: number; serviceProxyHealthy: boolean }]> => {
      const text = await lab.client.run(
        process.execPath,
        '-e',
        `fetch('http://${address}:31014/').then(async r => console.log(JSON.stringify([r.status, await r.json()])))`,
      );
      return JSON.parse(text) as [number, { localEndpoints: number; serviceProxyHealthy: boolean }];
    };
    assert.deepEqual(await health(n1!.address), [
      200,
      { service: { namespace: 'default', name: 'local' }, localEndpoints: 1, serviceProxyHealthy: true },
    ]);
    assert.equal((await health(n2!.address))[0], 503);
    await world.endpoints('local', [c]);
    await world.settled();
    assert.equal((await health(n1!.address))[0], 503);
    assert.equal((await health(n2!.address))[0], 200);
    assert.equal(await lab.client.ask('198.51.100.2', 80), `c ${lab.clientAddress}`);
    // Draining, but the last one here: it still takes what comes to this node.
    await world.endpoints('local', [a, { pod: c, ready: false, serving: true, terminating: true }]);
    await world.settled();
    assert.equal(await lab.client.ask(n2!.address, 30014), `c ${lab.clientAddress}`);
    assert.equal((await health(n2!.address))[0], 503);
    await world.client.core.services.delete('local', 'default');
    await world.settled();
    assert.equal(await lab.client.ask(n2!.address, 31014), 'refused', 'the health check port is closed');
  });

  test('balancer addresses: source ranges; external IPs', async () => {
    await world.service(
      'lb',
      {
        clusterIP: '10.96.0.15',
        type: 'LoadBalancer',
        externalIPs: ['198.51.100.2'],
        loadBalancerSourceRanges: ['192.0.2.100/32', '192.0.2.96/30', '10.244.0.0/16'],
        ports: [{ name: 'p', port: 8081, protocol: 'TCP', nodePort: 30015 }],
      },
      { loadBalancer: { ingress: [{ ip: '198.51.100.1' }] } },
    );
    await world.endpoints('lb', [a]);
    await world.settled();
    assert.match(await lab.client.ask('198.51.100.1', 8081, { localAddress: lab.clientAddress }), /^a /);
    assert.equal(
      await lab.client.ask('198.51.100.1', 8081, { localAddress: '192.0.2.101', timeoutMs: 500 }),
      'timeout',
    );
    assert.match(await c.place.ask('198.51.100.1', 8081), /^a /);
    // Ranges are for the balancer's address alone.
    assert.match(await lab.client.ask('198.51.100.2', 8081, { localAddress: '192.0.2.101' }), /^a /);
    await world.client.core.services.patch('lb', 'default', 'merge', { spec: { loadBalancerSourceRanges: null } });
    await world.settled();
    assert.match(await lab.client.ask('198.51.100.1', 8081, { localAddress: '192.0.2.101' }), /^a /);
  });

  test('UDP: clients are led away from an endpoint that is gone, though they never paused', async () => {
    const ports = [{ name: 'p', port: 53, protocol: 'UDP', nodePort: 30053 }];
    await world.service('dns', {
      clusterIP: '10.96.0.16',
      clusterIPs: ['10.96.0.16', 'fd00:10:96::16'],
      type: 'NodePort',
      ports,
    });
    await world.endpoints('dns', [b], 5353, 'UDP');
    await world.settled();
    const from = { protocol: 'udp' as const, localPort: 40_053 };
    const asks = async (): Promise<string[]> => [
      await a.place.ask('10.96.0.16', 53, from),
      await a.place.ask('fd00:10:96::16', 53, from),
      await lab.client.ask(lab.nodes[0]!.address, 30053, from),
    ];
    assert.deepEqual(await asks(), [`b ${a.address}`, `b ${a.address6}`, 'b 10.244.1.1']);
    await world.endpoints('dns', [c], 5353, 'UDP');
    await world.settled();
    assert.deepEqual(await asks(), [`c ${a.address}`, `c ${a.address6}`, `c ${lab.nodes[0]!.address}`]);
    await world.endpoints('dns', [], 5353, 'UDP');
    await world.settled();
    assert.equal(await a.place.ask('10.96.0.16', 53, { protocol: 'udp' }), 'refused');
  });

  test('one change touches only what it must; a table that somebody took away comes back', async () => {
    await world.endpoints('web', [a, b, c]);
    await world.settled();
    const list = (): Promise<string> => node1.run('nft', '-a', 'list', 'chain', 'ip', 'kube-proxy', 'services');
    const handles = await list();
    const counters = await node1.run('nft', 'list', 'table', 'inet', 'others');
    await world.endpoints('web', [a, c]);
    await world.settled();
    assert.deepEqual(await answers(b.place, vip, 80), new Set(['a', 'c']));
    assert.equal(await list(), handles, 'rules were written again');
    await node1.run('nft', 'delete', 'table', 'ip', 'kube-proxy');
    world.quiet = true;
    await world.endpoints('web', [a, b]);
    await world.settled();
    world.quiet = false;
    assert.deepEqual(await answers(a.place, vip, 80), new Set(['a', 'b']));
    assert.match(counters, /chain c/);
    assert.match(await node1.run('nft', 'list', 'table', 'inet', 'others'), /chain c/);
  });

  test('many changes in a row end in what was said last', async () => {
    for (let i = 0; i < 40; i++) {
      await world.endpoints('web', [[a], [b, c], [a, b, c], [c]][i % 4]!);
      if (i % 7 === 0) await world.settled();
    }
    await world.settled();
    assert.deepEqual(await answers(a.place, vip, 80, 10), new Set(['c']));
    assert.deepEqual(await answers(a.place, vip6, 80, 10), new Set(['c']));
  });

  test('clean-up leaves nothing behind but what is not the proxy’s', async () => {
    await Promise.all(world.proxies.splice(0).map((p) => p.stop()));
    assert.equal(await a.place.ask(vip, 80), `c ${a.address}`, 'a stopped proxy leaves its rules');
    const host = createLinuxHost({ netns: node1.path });
    await cleanUp(host);
    await cleanUp(host);
    await host.close();
    assert.equal((await node1.run('nft', 'list', 'tables')).trim(), 'table inet others');
  });
});
