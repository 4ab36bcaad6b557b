/** NetworkPolicies packet by packet: pods of two namespaces on two nodes, a client outside, Services in between. */
import assert from 'node:assert/strict';
import { after, afterEach, before, describe, test } from 'node:test';
import type { LabPod, Place } from './support/lab.ts';
import { Lab, missing } from './support/lab.ts';
import { World } from './support/proxies.ts';

const skip = missing('conntrack');
const timeoutMs = 300;

describe('NetworkPolicies by nftables', { skip, timeout: 200_000 }, () => {
  let lab: Lab;
  let world: World;
  /** Pods `web` and `friend` on the first node, `far` on the second; all of namespace `shop` but the last one, of `other`. */
  let web: LabPod;
  let friend: LabPod;
  let far: LabPod;
  let stranger: LabPod;
  let node1: Place;

  before(async () => {
    lab = await Lab.create();
    const [n1, n2] = lab.nodes;
    node1 = n1!.place;
    web = await lab.pod(n1!, 'web');
    friend = await lab.pod(n1!, 'friend');
    far = await lab.pod(n2!, 'far');
    stranger = await lab.pod(n2!, 'stranger');
    for (const p of [web, friend, far, stranger]) {
      for (const port of [80, 81, 8080]) await p.place.serve(port);
      await p.place.serve(53, 'udp');
    }
    await lab.client.serve(80);
    await node1.serve(9000);
    await lab.client.ip(
      'route add 10.244.1.0/24 via 192.0.2.1',
      'route add 10.244.2.0/24 via 192.0.2.2',
      '-6 route add fd00:10:244:1::/64 via 2001:db8:0:2::1',
      'addr add 192.0.2.101/24 dev eth0',
    );
    world = await World.create(lab);
    await world.namespace('shop', { team: 'shop' });
    await world.namespace('other', { team: 'other' });
    const http = [{ name: 'http', containerPort: 80, protocol: 'TCP' }];
    await world.pod(web, 'shop', { app: 'web' }, http);
    await world.pod(friend, 'shop', { app: 'friend' }, [{ name: 'http', containerPort: 8080, protocol: 'TCP' }]);
    await world.pod(far, 'shop', { app: 'far' }, http);
    await world.pod(stranger, 'other', { app: 'friend' }, http);
  });
  after(async () => {
    await world?.close();
    await lab?.close();
  });
  afterEach(async () => {
    await world.dropPolicies();
    for (const node of lab.nodes)
      assert.doesNotMatch(
        await node.place.run('nft', 'list', 'tables'),
        /knarr-network-policy/,
        'rules without a policy',
      );
  });

  const can = async (from: { place: Place } | Place, to: LabPod, port = 80): Promise<boolean> =>
    (await ('place' in from ? from.place : from).ask(to.address, port, { timeoutMs })) !== 'timeout';
  const can6 = async (from: { place: Place }, to: LabPod, port = 80): Promise<boolean> =>
    (await from.place.ask(to.address6, port, { timeoutMs })) !== 'timeout';
  const hears = async (from: LabPod, to: LabPod): Promise<boolean> =>
    (await from.place.ask(to.address, 53, { timeoutMs, protocol: 'udp' })) !== 'timeout';
  /** Who of everybody reaches `to`. */
  async function reach(to: LabPod, port = 80): Promise<string[]> {
    const asked = [friend, far, stranger].filter((p) => p !== to);
    const [outside, ...four] = await Promise.all([can(lab.client, to, port), ...asked.map((p) => can(p, to, port))]);
    const six = await Promise.all(asked.map((p) => can6(p, to, port)));
    assert.deepEqual(six, four, 'IPv4 and IPv6 differ');
    return [...asked.filter((_, i) => four[i]).map((p) => p.name), ...(outside === true ? ['client'] : [])];
  }

  test('without policies everybody talks to everybody', async () => {
    assert.deepEqual(await reach(web), ['friend', 'far', 'stranger', 'client']);
  });

  test('default deny of ingress: nobody but the node; the pod itself still reaches out', async () => {
    await world.policy('shop', 'deny', { podSelector: {}, policyTypes: ['Ingress'] });
    assert.deepEqual(await reach(web), []);
    assert.deepEqual(await reach(far), []);
    assert.deepEqual(await reach(stranger), ['friend', 'far', 'client'], 'another namespace');
    assert.equal(await hears(friend, web), false);
    assert.ok(await can(node1, web), 'the node reaches its pods');
    assert.equal(await node1.ask(web.address6, 80), `web fd00:10:244:1::1`);
    assert.ok(await can(web, stranger));
    assert.equal(await web.place.ask(lab.clientAddress, 80), `client ${web.address}`);
  });

  test('default deny of egress: no way out, not even to the node; in is open', async () => {
    await world.policy('shop', 'deny', { podSelector: { matchLabels: { app: 'web' } }, policyTypes: ['Egress'] });
    for (const to of [friend, far, stranger]) assert.equal(await can(web, to), false, to.name);
    assert.equal(await can6(web, far), false);
    assert.equal(await web.place.ask(lab.clientAddress, 80, { timeoutMs }), 'timeout');
    assert.equal(await web.place.ask(lab.nodes[0]!.address, 9000, { timeoutMs }), 'timeout');
    assert.deepEqual(await reach(web), ['friend', 'far', 'stranger', 'client']);
    assert.ok(await can(friend, stranger), 'another pod');
  });

  test('default deny both ways', async () => {
    await world.policy('shop', 'deny', { podSelector: {}, policyTypes: ['Ingress', 'Egress'] });
    assert.deepEqual(await reach(web), []);
    for (const to of [friend, far, stranger]) assert.equal(await can(web, to), false, to.name);
    assert.ok(await can(node1, web));
  });

  test('peers: pods of the same namespace, of others by their labels, both together', async () => {
    const only = (from: object[]): object => ({ podSelector: { matchLabels: { app: 'web' } }, ingress: [{ from }] });
    const friends = { podSelector: { matchLabels: { app: 'friend' } } };
    await world.policy('shop', 'p', only([friends]));
    assert.deepEqual(await reach(web), ['friend'], 'a pod of another namespace with the same labels is not meant');
    await world.dropPolicies();
    await world.policy('shop', 'p', only([{ namespaceSelector: { matchLabels: { team: 'other' } } }]));
    assert.deepEqual(await reach(web), ['stranger']);
    await world.dropPolicies();
    await world.policy('shop', 'p', only([{ namespaceSelector: {}, ...friends }]));
    assert.deepEqual(await reach(web), ['friend', 'stranger']);
    await world.dropPolicies();
    await world.policy(
      'shop',
      'p',
      only([{ namespaceSelector: { matchLabels: { 'kubernetes.io/metadata.name': 'shop' } } }]),
    );
    assert.deepEqual(await reach(web), ['friend', 'far']);
    await world.dropPolicies();
    await world.policy('shop', 'p', only([friends, { namespaceSelector: { matchLabels: { team: 'other' } } }]));
    assert.deepEqual(await reach(web), ['friend', 'stranger']);
    await world.dropPolicies();
    const notIn = { matchExpressions: [{ key: 'app', operator: 'NotIn', values: ['friend'] }] };
    await world.policy('shop', 'p', only([{ podSelector: notIn }]));
    assert.deepEqual(await reach(web), ['far']);
  });

  test('policies add up; an empty rule allows everything', async () => {
    const podSelector = { matchLabels: { app: 'web' } };
    await world.policy('shop', 'deny', { podSelector: {} });
    await world.policy('shop', 'a', {
      podSelector,
      ingress: [{ from: [{ podSelector: { matchLabels: { app: 'far' } } }] }],
    });
    assert.deepEqual(await reach(web), ['far']);
    await world.policy('shop', 'b', { podSelector, ingress: [{ from: [{ ipBlock: { cidr: '192.0.2.100/32' } }] }] });
    assert.equal(await far.place.ask(web.address, 80), `web ${far.address}`);
    assert.ok(await can(lab.client, web));
    assert.equal(await can(friend, web), false);
    await world.policy('shop', 'all', { podSelector, ingress: [{}] });
    assert.deepEqual(await reach(web), ['friend', 'far', 'stranger', 'client']);
    assert.deepEqual(await reach(far), []);
  });

  test('ipBlock with except', async () => {
    await world.policy('shop', 'p', {
      podSelector: { matchLabels: { app: 'web' } },
      ingress: [
        { from: [{ ipBlock: { cidr: '192.0.2.0/24', except: ['192.0.2.101/32', '192.0.2.200/30'] } }] },
        { from: [{ ipBlock: { cidr: 'fd00:10:244::/48', except: ['fd00:10:244:2::/64'] } }] },
      ],
    });
    const from = (localAddress: string): Promise<string> =>
      lab.client.ask(web.address, 80, { localAddress, timeoutMs });
    assert.equal(await from('192.0.2.100'), 'web 192.0.2.100');
    assert.equal(await from('192.0.2.101'), 'timeout');
    assert.equal(await can(friend, web), false);
    assert.equal(await can6(friend, web), true);
    assert.equal(await can6(far, web), false);
    await world.dropPolicies();
    await world.policy('shop', 'out', {
      podSelector: { matchLabels: { app: 'web' } },
      policyTypes: ['Egress'],
      egress: [{ to: [{ ipBlock: { cidr: '0.0.0.0/0', except: ['10.244.2.0/24'] } }] }],
    });
    assert.ok(await can(web, friend));
    assert.equal(await can(web, far), false);
    assert.equal(await can6(web, friend), false, 'a block of IPv4 says nothing of IPv6');
  });

  test('ports: numbers, ranges, protocols', async () => {
    const policy = (ports: object[]): object => ({
      podSelector: { matchLabels: { app: 'web' } },
      ingress: [{ ports }],
    });
    await world.policy('shop', 'p', policy([{ port: 80 }]));
    assert.ok(await can(friend, web, 80));
    assert.equal(await can(friend, web, 81), false);
    assert.equal(await hears(friend, web), false);
    await world.dropPolicies();
    await world.policy(
      'shop',
      'p',
      policy([{ port: 81, endPort: 8080 }, { port: 100, endPort: 200 }, { protocol: 'UDP' }]),
    );
    assert.equal(await can(far, web, 80), false);
    assert.ok(await can(far, web, 81));
    assert.ok(await can(far, web, 8080));
    assert.ok(await hears(far, web));
    await world.dropPolicies();
    await world.policy(
      'shop',
      'p',
      policy([
        { protocol: 'UDP', port: 53 },
        { protocol: 'SCTP', port: 7 },
      ]),
    );
    assert.ok(await hears(far, web));
    assert.equal(await can(far, web, 80), false);
  });

  test('named ports are the destination’s, in and out', async () => {
    await world.policy('shop', 'in', { podSelector: {}, ingress: [{ ports: [{ port: 'http' }] }] });
    assert.ok(await can(far, web, 80));
    assert.equal(await can(far, web, 8080), false);
    assert.ok(await can(far, friend, 8080), 'the same name, another number');
    assert.equal(await can(far, friend, 80), false);
    await world.dropPolicies();
    await world.policy('shop', 'out', {
      podSelector: { matchLabels: { app: 'web' } },
      policyTypes: ['Egress'],
      egress: [{ to: [{ podSelector: {} }], ports: [{ port: 'http' }] }],
    });
    assert.ok(await can(web, friend, 8080));
    assert.equal(await can(web, friend, 80), false);
    assert.ok(await can6(web, far, 80));
    assert.equal(await can(web, stranger, 80), false, 'not one of the peers');
  });

  test('Services: policies see pods, not cluster IPs; a pod always reaches itself', async () => {
    await world.service('shop', { clusterIP: '10.96.0.20' });
    await world.endpoints('shop', [web], 80);
    await world.policy('shop', 'deny', {
      podSelector: { matchLabels: { app: 'web' } },
      policyTypes: ['Ingress', 'Egress'],
    });
    assert.equal(await friend.place.ask('10.96.0.20', 80, { timeoutMs }), 'timeout');
    assert.equal(await web.place.ask('10.96.0.20', 80, { timeoutMs }), 'web 10.244.1.1');
    assert.equal(await node1.ask('10.96.0.20', 80), 'web 10.244.1.1');
    await world.policy('shop', 'let', {
      podSelector: { matchLabels: { app: 'web' } },
      ingress: [{ from: [{ podSelector: { matchLabels: { app: 'far' } } }] }],
    });
    assert.equal(await far.place.ask('10.96.0.20', 80), `web ${far.address}`);
    assert.equal(await friend.place.ask('10.96.0.20', 80, { timeoutMs }), 'timeout');
    // Out by a Service: allowed by the pod behind it.
    await world.endpoints('shop', [far], 80);
    await world.policy('shop', 'out', {
      podSelector: { matchLabels: { app: 'web' } },
      policyTypes: ['Egress'],
      egress: [{ to: [{ podSelector: { matchLabels: { app: 'far' } } }], ports: [{ port: 80 }] }],
    });
    assert.equal(await web.place.ask('10.96.0.20', 80), `far ${web.address}`);
    assert.equal(await can(web, far, 81), false);
  });

  test('link-local addresses are no way around', async () => {
    const [, address] = /inet6 (fe80::\S+)\/64/.exec(await web.place.run('ip', '-6', 'addr', 'show', 'dev', 'eth0'))!;
    const ask = (): Promise<string> => friend.place.ask(`${address}%eth0`, 80, { timeoutMs });
    assert.match(await ask(), /^web fe80::/);
    await world.policy('shop', 'deny', { podSelector: { matchLabels: { app: 'web' } } });
    assert.equal(await ask(), 'timeout');
    assert.equal(await can6(friend, web), false);
  });

  test('connections that exist go on; new ones are refused', async () => {
    assert.equal(await friend.place.open(web.address, 80, 'kept'), `web ${friend.address}`);
    await world.policy('shop', 'deny', { podSelector: {} });
    assert.equal(await friend.place.say('kept'), 'web again');
    assert.equal(await can(friend, web), false);
  });

  test('rules follow labels of pods and namespaces, pods that come and go, and changes of a policy', async () => {
    const pods = world.client.core.pods;
    await world.policy('shop', 'p', {
      podSelector: { matchLabels: { app: 'web' } },
      ingress: [
        {
          from: [
            { podSelector: { matchLabels: { role: 'guest' } } },
            { namespaceSelector: { matchLabels: { open: 'yes' } } },
          ],
        },
      ],
    });
    assert.deepEqual(await reach(web), []);
    await pods.patch('far', 'shop', 'merge', { metadata: { labels: { role: 'guest' } } });
    await world.client.core.namespaces.patch('other', undefined, 'merge', { metadata: { labels: { open: 'yes' } } });
    await world.settled();
    assert.deepEqual(await reach(web), ['far', 'stranger']);
    await pods.patch('far', 'shop', 'merge', { metadata: { labels: { role: null } } });
    await world.client.core.namespaces.patch('other', undefined, 'merge', { metadata: { labels: { open: null } } });
    await world.settled();
    assert.deepEqual(await reach(web), []);
    // The pod is no longer meant; then it is again; then the policy is another.
    await pods.patch('web', 'shop', 'merge', { metadata: { labels: { app: 'shed' } } });
    await world.settled();
    assert.deepEqual(await reach(web), ['friend', 'far', 'stranger', 'client']);
    await pods.patch('web', 'shop', 'merge', { metadata: { labels: { app: 'web' } } });
    await world.client.networking.networkpolicies.patch('p', 'shop', 'merge', {
      spec: { ingress: [{ from: [{ podSelector: {} }] }] },
    });
    await world.settled();
    assert.deepEqual(await reach(web), ['friend', 'far']);
    // Who takes over the address of a pod that is gone does not take over what it was allowed.
    const gone = await pods.get('far', 'shop');
    await pods.delete('far', 'shop');
    await world.settled();
    assert.deepEqual(await reach(web), ['friend']);
    const { resourceVersion: _, uid: __, ...metadata } = gone.metadata;
    await pods.create({ ...gone, metadata });
    await world.settled();
    assert.deepEqual(await reach(web), ['friend', 'far']);
  });

  test('an announced address is protected before the pod’s status tells of it', async () => {
    await world.policy('shop', 'deny', { podSelector: {} });
    const late = await lab.pod(lab.nodes[0]!, 'late');
    await late.place.serve(80);
    await world.client.core.pods.create({
      metadata: { name: 'late', namespace: 'shop', labels: { app: 'late' } },
      spec: { nodeName: 'node1', containers: [{ name: 'c', image: 'none' }] },
      status: { phase: 'Pending' },
    } as never);
    await world.settled();
    assert.ok(await can(friend, late));
    await world.proxies[0]!.policies!.announce('shop', 'late', [late.address, late.address6]);
    assert.equal(await can(friend, late), false);
    assert.equal(await can6(friend, late), false);
    assert.ok(await can(node1, late));
    await world.client.core.pods.delete('late', 'shop');
    await world.settled();
    assert.ok(await can(friend, late));
  });

  test('a table that somebody took away comes back, and a new process takes it over without a gap', async () => {
    await world.policy('shop', 'deny', { podSelector: { matchLabels: { app: 'web' } } });
    await node1.run('nft', 'delete', 'table', 'inet', 'knarr-network-policy');
    world.quiet = true;
    await world.policy('shop', 'let', {
      podSelector: { matchLabels: { app: 'web' } },
      ingress: [{ ports: [{ port: 81 }] }],
    });
    world.quiet = false;
    assert.equal(await can(friend, web, 80), false);
    assert.ok(await can(friend, web, 81));
    await world.restart(lab.nodes[0]!);
    assert.equal(await can(friend, web, 80), false);
    assert.ok(await can(friend, web, 81));
  });
});
