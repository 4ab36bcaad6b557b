/** `knarr up` with ranges of both families, and kubeconfigs for components that somebody brings to it. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { SystemClock } from '../../src/base/clock.ts';
import { SystemRandom } from '../../src/base/random.ts';
import { HttpTransport } from '../../src/client/http-transport.ts';
import { loadKubeconfig } from '../../src/client/kubeconfig.ts';
import type { TypedClient } from '../../src/client/typed-client.ts';
import { createClient } from '../../src/client/typed-client.ts';
import { bundle, startKnarr } from '../support/knarr.ts';

async function clientOf(kubeconfig: string): Promise<TypedClient> {
  const config = await loadKubeconfig(kubeconfig, { clock: new SystemClock() });
  return createClient(new HttpTransport(config, { random: new SystemRandom(), userAgent: 'test' }));
}

const knarr = (...args: string[]): { status: number | null; stdout: string; stderr: string } =>
  spawnSync(process.execPath, [bundle, ...args], { encoding: 'utf8' });

test('a dual-stack cluster, and a component’s own kubeconfig', async () => {
  const ranges = ['--service-cluster-ip-range', 'fd00:10:96::/112,10.96.0.0/16'];
  const pods = ['--cluster-cidr', 'fd00:10:244::/48,10.244.0.0/16', '--node-cidr-mask-size-ipv4', '26'];
  const running = await startKnarr({ args: [...ranges, ...pods] });
  const admin = await clientOf(running.kubeconfig);
  try {
    const node = await admin.core.nodes.get('node-1');
    assert.deepEqual(node.spec?.podCIDRs, ['fd00:10:244::/64', '10.244.0.0/26']);
    assert.equal(node.status?.addresses?.filter((a) => a.type === 'InternalIP').length, 2);
    const service = await admin.core.services.create({
      metadata: { name: 'both', namespace: 'default' },
      spec: { ipFamilyPolicy: 'PreferDualStack', ports: [{ port: 80 }] },
    });
    assert.deepEqual(service.spec?.ipFamilies, ['IPv6', 'IPv4']);
    assert.match(service.spec!.clusterIPs!.join(), /^fd00:10:96::[0-9a-f]+,10\.96\.\d+\.\d+$/);

    const made = knarr('kubeconfig', '--component', 'kube-proxy', '--data-dir', running.dataDir);
    assert.equal(made.stderr, '');
    const file = join(running.dir, 'kube-proxy.conf');
    writeFileSync(file, made.stdout);
    const proxy = await clientOf(file);
    const review = await proxy.raw('POST', '/apis/authentication.k8s.io/v1/selfsubjectreviews', {
      body: { apiVersion: 'authentication.k8s.io/v1', kind: 'SelfSubjectReview', metadata: {} },
    });
    assert.match(JSON.stringify(review.body), /"username":"system:kube-proxy"/);
    assert.ok((await proxy.core.services.list()).items.length >= 2);
    await assert.rejects(proxy.core.secrets.list(), /forbidden/);
    await proxy.transport.close();
    const bootstrap = knarr('token', 'create', '--bootstrap-kubeconfig', '--data-dir', running.dataDir);
    assert.match(bootstrap.stdout, /token: "?[a-z0-9]{6}\.[a-z0-9]{16}/);
  } finally {
    await admin.transport.close();
    await running.dispose();
  }
});

test('ranges that will not do are told before anything is made', () => {
  const why = (...args: string[]): string => {
    const r = knarr('up', '--runtime', 'simulated', '--data-dir', '/nonexistent/knarr', ...args);
    assert.equal(r.status, 2, r.stderr);
    return r.stderr.split('\n')[0]!;
  };
  assert.match(why('--service-cluster-ip-range', '10.96.0.0'), /invalid CIDR address: 10\.96\.0\.0/);
  assert.match(why('--service-cluster-ip-range', '10.96.0.0/16,10.97.0.0/16'), /must be of different IP family/);
  assert.match(why('--cluster-cidr', '10.96.0.0/16'), /overlap/);
  assert.match(why('--service-cluster-ip-range', 'fd00::/112'), /needs an IPv6 range in --cluster-cidr/);
  assert.match(why('--cluster-cidr', '10.244.0.0/25'), /cuts no ranges of nodes/);
  assert.match(why('--load-balancer-pool', 'here'), /no range such as/);
});
