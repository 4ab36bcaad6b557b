/** What kube-proxy's flags change, by real packets: who counts as local, where node ports answer, what is masqueraded; and SCTP. */
import assert from 'node:assert/strict';
import { after, afterEach, before, describe, test } from 'node:test';
import { createLinuxHost } from '../../src/proxy/host/linux-host.ts';
import { removeAllRules } from '../../src/proxy/node-proxy.ts';
import type { NftablesOptions } from '../../src/proxy/nftables/options.ts';
import { setConnectionLimits } from '../../src/proxy/connection-limits.ts';
import { crc32c, receiveSctp, sctpInit, sendSctp } from './support/sctp.ts';
import type { LabNode, LabPod } from './support/lab.ts';
import { Lab, missing } from './support/lab.ts';
import { World } from './support/proxies.ts';

const skip = missing('conntrack', 'perl');
const vip = '10.96.0.10';

describe('modes of nftables', { skip, timeout: 120_000 }, () => {
  let lab: Lab;
  let world: World;
  let n1: LabNode;
  let near: LabPod;
  let far: LabPod;

  before(async () => {
    lab = await Lab.create();
    n1 = lab.nodes[0]!;
    near = await lab.pod(n1, 'near');
    far = await lab.pod(lab.nodes[1]!, 'far');
    for (const p of [near, far]) await p.place.serve(8080);
    await n1.place.ip('addr add 192.0.2.51/24 dev eth0');
    await lab.client.ip('route add 10.96.0.0/16 via 192.0.2.1', 'route add 10.244.0.0/16 via 192.0.2.1');
  });
  after(() => lab?.close());
  afterEach(async () => {
    await world.close();
    for (const n of lab.nodes) await removeAllRules(n.place.path);
  });

  /** A world with one Service, which the pod `far` answers for. */
  async function start(options: NftablesOptions, spec: object = {}): Promise<void> {
    world = await World.create(lab, options);
    await world.service('web', {
      clusterIP: vip,
      type: 'NodePort',
      ports: [{ name: 'p', port: 80, protocol: 'TCP', nodePort: 30080 }],
      ...spec,
    });
    await world.endpoints('web', [far]);
    await world.settled();
  }

  test('nobody can tell who is local: nothing to cluster IPs is masqueraded', async () => {
    await start({ detectLocal: { mode: 'none' } });
    assert.equal(await near.place.ask(vip, 80), `far ${near.address}`);
    // What comes from outside keeps its address, and the answer finds another way back, which the client does not know.
    assert.equal(await lab.client.ask(vip, 80, { timeoutMs: 400 }), 'timeout');
  });

  test('everything to cluster IPs is masqueraded', async () => {
    await start({ masqueradeAll: true });
    assert.equal(await near.place.ask(vip, 80), `far ${n1.address}`);
    assert.equal(await lab.client.ask(vip, 80), `far ${n1.address}`);
  });

  test('local is what comes from the bridge, or from the node’s own range', async () => {
    await start({ detectLocal: { mode: 'BridgeInterface', name: 'br0' } });
    assert.equal(await near.place.ask(vip, 80), `far ${near.address}`);
    assert.equal(await lab.client.ask(vip, 80), `far ${n1.address}`);
    await world.close();
    await start({ detectLocal: { mode: 'InterfaceNamePrefix', prefix: 'br' } });
    assert.equal(await near.place.ask(vip, 80), `far ${near.address}`);
    await world.close();
    await start({ detectLocal: { mode: 'NodeCIDR' } });
    assert.equal(await near.place.ask(vip, 80), `far ${near.address}`);
    assert.equal(await lab.client.ask(vip, 80), `far ${n1.address}`);
  });

  test('node ports: at the primary address, in ranges, everywhere, at 127.0.0.1', async () => {
    await start({});
    assert.match(await lab.client.ask(n1.address, 30080), /^far /);
    assert.equal(await lab.client.ask('192.0.2.51', 30080, { timeoutMs: 400 }), 'refused', 'not the primary address');
    await world.close();
    await start({ nodePortAddresses: ['192.0.2.48/28'] });
    assert.equal(await lab.client.ask(n1.address, 30080), 'refused');
    assert.match(await lab.client.ask('192.0.2.51', 30080), /^far /);
    await world.close();
    await start({ nodePortAddresses: ['0.0.0.0/0'] });
    assert.match(await lab.client.ask(n1.address, 30080), /^far /);
    assert.match(await lab.client.ask('192.0.2.51', 30080), /^far /);
    assert.match(await near.place.ask('10.244.1.1', 30080), /^far /);
    assert.equal(await n1.place.ask('127.0.0.1', 30080), 'refused');
    await world.close();
    await start({ localhostNodePorts: true });
    assert.equal(await n1.place.ask('127.0.0.1', 30080), `far ${n1.address}`);
    assert.match(await lab.client.ask(n1.address, 30080), /^far /);
  });

  test('addresses of no Service are dropped, ports that a Service does not have rejected', async () => {
    await start({});
    await world.client.networking.servicecidrs.create({
      metadata: { name: 'kubernetes' },
      spec: { cidrs: ['10.96.0.0/16', 'fd00:10:96::/112'] },
    } as never);
    await world.settled();
    assert.equal(await near.place.ask('10.96.9.9', 80, { timeoutMs: 400 }), 'timeout');
    assert.equal(await near.place.ask(vip, 81), 'refused');
    assert.match(await near.place.ask(vip, 80), /^far /);
  });

  test('Services of another proxy, headless and without an address are none of ours', async () => {
    await start({});
    await world.client.core.services.patch('web', 'default', 'merge', {
      metadata: { labels: { 'service.kubernetes.io/service-proxy-name': 'other' } },
    });
    await world.service('headless', { clusterIP: 'None' });
    await world.service('name', { type: 'ExternalName', externalName: 'example.com', clusterIP: '' });
    await world.settled();
    assert.equal(world.proxies[0]!.proxy.frontends.size, 0);
    assert.doesNotMatch(await n1.place.run('nft', 'list', 'map', 'ip', 'kube-proxy', 'service-ips'), /elements/);
  });

  test('SCTP: an INIT to the Service arrives at an endpoint', async () => {
    const ports = [{ name: 'p', port: 7, protocol: 'SCTP' }];
    await start({}, { type: 'ClusterIP', ports });
    await world.endpoints('web', [far], 9, 'SCTP');
    await world.settled();
    const seen = await receiveSctp(far.place, () => sendSctp(near.place, vip, sctpInit(40_000, 7)));
    assert.equal(seen.from, near.address);
    assert.equal(seen.packet.readUInt16BE(0), 40_000);
    assert.equal(seen.packet.readUInt16BE(2), 9, 'the port of the endpoint');
    const sum = seen.packet.readUInt32LE(8);
    seen.packet.writeUInt32LE(0, 8);
    assert.equal(crc32c(seen.packet), sum, 'with a checksum to match');
  });

  test('limits of connection tracking are written where they differ', async () => {
    world = await World.create(lab);
    const host = createLinuxHost({ netns: n1.place.path });
    await setConnectionLimits(
      host,
      {
        maxPerCore: 0,
        min: 0,
        tcpEstablishedTimeout: 7_200_000,
        tcpCloseWaitTimeout: 0,
        tcpBeLiberal: true,
        udpTimeout: 31_000,
        udpStreamTimeout: 0,
      },
      world.logger,
    );
    assert.equal(await host.sysctl('net/netfilter/nf_conntrack_tcp_timeout_established'), '7200');
    assert.equal(await host.sysctl('net/netfilter/nf_conntrack_tcp_be_liberal'), '1');
    assert.equal(await host.sysctl('net/netfilter/nf_conntrack_udp_timeout'), '31');
    assert.equal(await host.missing(), undefined);
    assert.ok((await host.addresses()).includes('192.0.2.51'));
    await host.close();
  });
});
