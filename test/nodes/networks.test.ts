/** Machines on different networks, of one family or of both: VXLAN between them, dual stack and IPv6 alone end to end. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { ownNamespaces } from './support/namespaces.ts';
import { addresses, ask, firstWords, inside, sh, Sites } from './support/sites.ts';
import { until } from './support/until.ts';

const skip = ownNamespaces();
const dual = {
  serviceClusterIPRange: '10.96.0.0/16,fd00:10:96::/112',
  clusterCIDR: '10.244.0.0/16,fd00:10:244::/48',
};

/** A policy holds on the machine that joined, for pods of the other one: their labels and addresses are what it is shown of them. */
async function policyOnJoined(sites: Sites): Promise<void> {
  const pods = (await sites.client.core.pods.list({ namespace: 'default', labelSelector: 'app=web' })).items;
  const { podIP } = pods.find((p) => p.spec?.nodeName === 'two')!.status!;
  const script = `timeout 3 wget -q -O - http://${podIP}:8080/cgi-bin/who || echo refused`;
  await sites.client.networking.networkpolicies.create({
    metadata: { name: 'friends', namespace: 'default' },
    spec: {
      podSelector: { matchLabels: { app: 'web' } },
      ingress: [{ from: [{ podSelector: { matchLabels: { friend: 'yes' } } }] }],
    },
  });
  let n = 0;
  await until('strangers to be refused', async () =>
    /^refused$/m.test(await sites.run(`stranger-${n++}`, 'one', script)),
  );
  assert.match(await sites.run('friend', 'one', script, {}, { friend: 'yes' }), /^two /);
  assert.match(await sites.run('near', 'two', script), /^refused$/m);
  await sites.client.networking.networkpolicies.delete('friends', 'default');
  await until('everybody to be let in', async () =>
    (await sites.run(`stranger-${n++}`, 'one', script)).startsWith('two '),
  );
}

test('VXLAN leads to the pods of a machine behind a router', { skip }, async () => {
  const sites = await Sites.start();
  try {
    await sites.webServers();
    const seen = async (node: string): Promise<string> => {
      const text = await sites.run(`client-${node}`, node, ask('http://web/cgi-bin/who', 16));
      assert.deepEqual(firstWords(text), ['one', 'two'], `seen from ${node}`);
      return text;
    };
    // Pods keep their addresses on the way, which policies rely on.
    const [fromOne, fromTwo] = [await seen('one'), await seen('two')];
    const range = async (node: string): Promise<string> =>
      (await sites.client.core.nodes.get(node)).spec!.podCIDRs![0]!.replace(/\.0\/24$/, '.');
    const [rangeOne, rangeTwo] = [await range('one'), await range('two')];
    assert.ok(fromOne.includes(`two [::ffff:${rangeOne}`), fromOne);
    assert.ok(fromTwo.includes(`one [::ffff:${rangeTwo}`), fromTwo);
    // The machine itself, too, and both ways by Services.
    const vip = (await sites.client.core.services.get('web', 'default')).spec!.clusterIP!;
    const onMachine = sh(`for i in $(seq 12); do curl -s -m 5 http://${vip}/cgi-bin/who; done`);
    assert.deepEqual(firstWords(onMachine), ['one', 'two']);
    const onOther = inside('two', `for i in $(seq 12); do curl -s -m 5 http://${vip}/cgi-bin/who; done`);
    assert.deepEqual(firstWords(onOther), ['one', 'two']);

    assert.match(sh('ip route show proto 118'), /10\.244\.\d+\.0\/24 via \S+ dev knarr-vx4 src \S+ onlink/);
    assert.match(inside('two', 'ip -d link show knarr-vx4'), /mtu 1450 .*vxlan id 118 local 192\.168\.72\.2 /s);
    // What pods send fits into it.
    const config = readFileSync(join(sites.second!.cniConfDir, '10-knarr.conflist'), 'utf8');
    assert.match(config, /"mtu": 1450/);
    await until('the first machine to know', async () =>
      readFileSync(join(sites.first.cniConfDir, '10-knarr.conflist'), 'utf8').includes('"mtu": 1450'),
    );
    assert.match(await sites.run('mtu', 'one', 'ip link show eth0'), /mtu 1450/);
    // Large answers pass, also to a pod whose own limit is larger.
    const big = await sites.run(
      'big',
      'two',
      `dd if=/dev/zero bs=1000 count=300 2>/dev/null | timeout 10 nc -w 5 ${vip} 80 > /dev/null; ping -c 2 -s 1400 ${rangeOne}1 > /dev/null && echo fine`,
    );
    assert.equal(big, 'fine\n');

    await policyOnJoined(sites);

    // A node that leaves takes along what it made, here and there.
    await sites.leave();
    await until('the overlay to go', async () => !sh('ip -o link show').includes('knarr-vx'));
    assert.equal(sh('ip route show proto 118'), '');
    assert.equal(inside('two', 'ip -o link show | grep knarr-vx; ip route show proto 118; nft list tables'), '');
    assert.equal((await sites.client.core.nodes.list()).items.length, 1);
  } finally {
    await sites.stop();
  }
});

test('dual stack: pods and Services of both families, over routers, with names and node ports', { skip }, async () => {
  const sites = await Sites.start({ families: [4, 6], cluster: dual });
  try {
    await sites.webServers({ ipFamilyPolicy: 'RequireDualStack', type: 'NodePort' });
    const { client } = sites;
    const node = await client.core.nodes.get('two');
    assert.deepEqual(
      node.status?.addresses?.filter((a) => a.type === 'InternalIP').map((a) => a.address),
      [addresses.two[4], addresses.two[6]],
    );
    assert.equal(node.spec?.podCIDRs?.length, 2);
    const service = await client.core.services.get('web', 'default');
    const [v4, v6] = service.spec!.clusterIPs!;
    assert.match(v4!, /^10\.96\./);
    assert.match(v6!, /^fd00:10:96::/);
    const { items: slices } = await client.discovery.endpointslices.list({
      namespace: 'default',
      labelSelector: 'kubernetes.io/service-name=web',
    });
    assert.deepEqual(slices.map((s) => `${s.addressType} ${s.endpoints?.length}`).sort(), ['IPv4 2', 'IPv6 2']);
    for (const from of ['one', 'two']) {
      const text = await sites.run(
        `client-${from}`,
        from,
        [
          'hostname -i',
          ask(`http://${v4}/cgi-bin/who`),
          'echo --',
          ask(`http://[${v6}]/cgi-bin/who`),
          'echo --',
          'nslookup -type=a web.default.svc.cluster.local; nslookup -type=aaaa web.default.svc.cluster.local',
          `nslookup ${v6}`,
        ].join('; '),
      );
      const [first, second, names] = text.split('--\n') as [string, string, string];
      assert.deepEqual(firstWords(first.split('\n').slice(1).join('\n')), ['one', 'two'], `IPv4 from ${from}`);
      assert.deepEqual(firstWords(second), ['one', 'two'], `IPv6 from ${from}`);
      assert.ok(names.includes(v4!) && names.includes(v6!), names);
      assert.match(names, /name = web\.default\.svc\.cluster\.local/);
      // Both addresses are the pod's own, the primary family's first.
      const pod = await client.core.pods.get(`client-${from}`, 'default');
      assert.deepEqual(
        pod.status?.podIPs?.map((p) => (p.ip!.includes(':') ? 6 : 4)),
        [4, 6],
      );
    }
    const port = service.spec!.ports![0]!.nodePort!;
    for (const host of [addresses.one[4], `[${addresses.one[6]}]`, addresses.two[4], `[${addresses.two[6]}]`]) {
      const text = inside('client', `for i in $(seq 12); do curl -g -s -m 5 http://${host}:${port}/cgi-bin/who; done`);
      assert.deepEqual(firstWords(text), ['one', 'two'], `by ${host}`);
    }
    // Both families' overlays, with the larger header counted.
    assert.match(sh('ip -6 route show proto 118'), /dev knarr-vx6/);
    assert.match(await sites.run('mtu', 'two', 'ip link show eth0'), /mtu 1430/);
  } finally {
    await sites.stop();
  }
});

test('IPv6 alone', { skip }, async () => {
  const sites = await Sites.start({
    families: [6],
    cluster: { serviceClusterIPRange: 'fd00:10:96::/112', clusterCIDR: 'fd00:10:244::/48' },
  });
  try {
    await sites.webServers({ type: 'NodePort' });
    const service = await sites.client.core.services.get('web', 'default');
    assert.deepEqual(service.spec?.ipFamilies, ['IPv6']);
    for (const from of ['one', 'two']) {
      const text = await sites.run(
        `client-${from}`,
        from,
        `${ask('http://web/cgi-bin/who')}; T=$(cat /var/run/secrets/kubernetes.io/serviceaccount/token); echo api $KUBERNETES_SERVICE_HOST`,
      );
      assert.deepEqual(firstWords(text), ['api', 'one', 'two']);
      assert.match(text, /api fd00:10:96::1/);
    }
    const port = service.spec!.ports![0]!.nodePort!;
    const text = inside(
      'client',
      `for i in $(seq 12); do curl -g -s -m 5 http://[${addresses.one[6]}]:${port}/cgi-bin/who; done`,
    );
    assert.deepEqual(firstWords(text), ['one', 'two']);
  } finally {
    await sites.stop();
  }
});
