/** Services by real packets: two nodes, pods on both, a client outside; the real proxy writes nftables on each node. */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import type { LabPod } from './support/lab.ts';
import { Lab, missing } from './support/lab.ts';
import { World } from './support/proxies.ts';

const skip = missing('conntrack');
const vip = '10.96.0.10';
const vip6 = 'fd00:10:96::10';

describe('Services by nftables', { skip, timeout: 120_000 }, () => {
  let lab: Lab;
  let world: World;
  let a: LabPod;
  let b: LabPod;
  let c: LabPod;

  before(async () => {
    lab = await Lab.create();
    a = await lab.pod(lab.nodes[0]!, 'a');
    b = await lab.pod(lab.nodes[0]!, 'b');
    c = await lab.pod(lab.nodes[1]!, 'c');
    for (const p of [a, b, c]) {
      await p.place.serve(8080);
      await p.place.serve(5353, 'udp');
    }
    await lab.client.ip('route add 10.96.0.0/16 via 192.0.2.1', '-6 route add fd00:10:96::/112 via 2001:db8:0:2::1');
    world = await World.create(lab);
  });
  after(async () => {
    await world?.close();
    await lab?.close();
  });

  /** Who answers over so many questions. */
  async function answers(
    from: { ask: LabPod['place']['ask'] },
    address: string,
    port: number,
    n = 30,
  ): Promise<Set<string>> {
    const seen = new Set<string>();
    for (let i = 0; i < n; i++) seen.add((await from.ask(address, port)).split(' ')[0]!);
    return seen;
  }

  test('cluster IP: every endpoint gets its share, from pods, the node itself and outside', async () => {
    await world.service('web', { clusterIP: vip, clusterIPs: [vip, vip6] });
    await world.settled();
    assert.equal(await a.place.ask(vip, 80), 'refused', 'no endpoints: rejected');
    assert.equal(await a.place.ask(vip6, 80), 'refused');
    await world.endpoints('web', [a, b, c]);
    await world.settled();
    const everybody = new Set(['a', 'b', 'c']);
    assert.deepEqual(await answers(a.place, vip, 80), everybody);
    assert.deepEqual(await answers(a.place, vip6, 80), everybody);
    assert.deepEqual(await answers(lab.nodes[0]!.place, vip, 80), everybody);
    assert.deepEqual(await answers(lab.nodes[0]!.place, vip6, 80), everybody);
    assert.deepEqual(await answers(lab.client, vip, 80), everybody);
    assert.equal(await a.place.ask(vip, 81), 'refused', 'a port that it does not have');
    // Between pods nothing is masqueraded.
    await world.endpoints('web', [c]);
    await world.settled();
    assert.equal(await a.place.ask(vip, 80), `c ${a.address}`);
    assert.equal(await a.place.ask(vip6, 80), `c ${a.address6}`);
    // From outside it is: the answer has to come back by the same node.
    assert.equal(await lab.client.ask(vip, 80), `c ${lab.nodes[0]!.address}`);
  });

  test('hairpin: a pod reaches itself through its Service', async () => {
    await world.endpoints('web', [a]);
    await world.settled();
    assert.match(await a.place.ask(vip, 80), /^a 10\.244\.1\.1$/);
    assert.match(await a.place.ask(vip6, 80), /^a fd00:10:244:1::1$/);
  });
});
