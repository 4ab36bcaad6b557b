import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { dumpYaml } from '../yaml.ts';
import { StartError } from './environment.ts';
import type { ProxyFlags } from './kube-proxy.ts';
import { defaultProxyConfiguration, flagsOfFile, parseProxyConfiguration } from './kube-proxy-config.ts';

const head = 'apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\n';
const why = (text: string): Promise<string> =>
  parseProxyConfiguration(text).then(
    () => 'taken',
    (error: Error) => error.message,
  );

test('what is wrong is refused in upstream’s words', async () => {
  assert.equal(await why(`${head}mode: nftables\n`), 'taken');
  assert.equal(await why(`${head}bindAdress: 1.2.3.4\n`), 'strict decoding error: unknown field "bindAdress"');
  assert.match(
    await why(`${head}nodePortAddresses: 5\n`),
    /cannot unmarshal number into Go struct field .*nodePortAddresses/,
  );
  assert.match(
    await why('apiVersion: kubeproxy.config.k8s.io/v1\nkind: KubeProxyConfiguration\n'),
    /^no kind "KubeProxyConfiguration" is registered for version "kubeproxy.config.k8s.io\/v1"/,
  );
  assert.equal(
    await why(`${head}nodePortAddresses: [primary, 10.0.0.0/8]\n`),
    "KubeProxyConfiguration.NodePortAddresses[0]: Invalid value: \"primary\": can't use both 'primary' and CIDRs",
  );
  assert.equal(
    await why(`${head}bindAddress: here\nhealthzBindAddress: "1.2.3.4:0"\n`),
    '[KubeProxyConfiguration.BindAddress: Invalid value: "here": not a valid textual representation of an IP address, ' +
      'KubeProxyConfiguration.HealthzBindAddress: Invalid value: "0": must be a valid port]',
  );
  assert.match(
    await why(`${head}detectLocalMode: Guess\n`),
    /DetectLocalMode: Unsupported value: "Guess": supported values/,
  );
  assert.match(
    await why(`${head}nftables: {masqueradeBit: 32}\n`),
    /MasqueradeBit: Invalid value: 32: must be within the range/,
  );
  assert.match(await why(`${head}clusterCIDR: 10.0.0.0/8,11.0.0.0/8\n`), /single CIDR or dual-stack pair/);
  assert.match(await why(`${head}featureGates: {Nonsense: true}\n`), /unrecognized feature gate: Nonsense/);
});

test('a file takes the place of the flags, but for the node’s name; installers’ files say nothing that is told', async () => {
  const dir = mkdtempSync(join(tmpdir(), 'knarr-proxy-config-'));
  const flags = { hostnameOverride: 'n1', clusterCidr: '10.0.0.0/8', networkPolicy: true } as ProxyFlags;
  try {
    const file = join(dir, 'config.yaml');
    writeFileSync(
      file,
      await dumpYaml({ ...defaultProxyConfiguration(), iptables: { masqueradeBit: null, syncPeriod: '0s' } }),
    );
    const defaults = await flagsOfFile(file, flags);
    assert.deepEqual(defaults.gaps, []);
    assert.equal(defaults.flags.hostnameOverride, 'n1');
    assert.equal(defaults.flags.clusterCidr, '');
    assert.equal(defaults.flags.networkPolicy, true);
    assert.equal(defaults.flags.healthzBindAddress, '0.0.0.0:10256');
    writeFileSync(
      file,
      `${head}clientConnection: {kubeconfig: /k}\nbindAddress: "fd00::1"\nmetricsBindAddress: "::"\nnodePortAddresses: [primary]\nconntrack: {maxPerCore: 0, udpTimeout: 1m}\nnftables: {minSyncPeriod: 2s, masqueradeAll: true}\n`,
    );
    const { flags: f, gaps } = await flagsOfFile(file, flags);
    assert.deepEqual(gaps, []);
    assert.deepEqual(
      [f.kubeconfig, f.bindAddress, f.metricsBindAddress, f.healthzBindAddress, f.minSyncPeriodMs, f.masqueradeAll],
      ['/k', 'fd00::1', '[::]:10249', '[::]:10256', 2000, true],
    );
    assert.deepEqual([f.conntrack.maxPerCore, f.conntrack.udpTimeout], [0, 60_000]);
    await assert.rejects(flagsOfFile(join(dir, 'none'), flags), StartError);
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
});
