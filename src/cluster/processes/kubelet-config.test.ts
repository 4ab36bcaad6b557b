import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { configurationGaps } from '../../kubelet/configuration/configuration-gaps.ts';
import { readKubeletConfig } from './kubelet-config.ts';
import { checkNodeLabels } from './node-labels.ts';

const head = 'apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\n';

function folder(t: { after(fn: () => void): void }): string {
  const dir = mkdtempSync(join(tmpdir(), 'knarr-kubelet-'));
  t.after(() => rmSync(dir, { recursive: true, force: true }));
  return dir;
}

test('flags go before drop-ins, those in the order of their names before the file, all before the defaults', async (t) => {
  const dir = folder(t);
  const file = join(dir, 'config.yaml');
  writeFileSync(
    file,
    `${head}maxPods: 30\nclusterDomain: file.test\nstaticPodPath: manifests\nfeatureGates:\n  NodeSwap: true\nevictionHard:\n  memory.available: 200Mi\nauthentication:\n  anonymous:\n    enabled: true\n`,
  );
  const drop = join(dir, 'conf.d');
  mkdirSync(join(drop, 'b'), { recursive: true });
  writeFileSync(join(drop, '10-a.conf'), `${head}maxPods: 40\nclusterDNS: [192.0.2.1]\nclusterDomain: first.test\n`);
  writeFileSync(
    join(drop, 'b', '20.conf'),
    `${head}clusterDomain: second.test\nmemorySwap:\n  swapBehavior: LimitedSwap\n`,
  );
  writeFileSync(join(drop, '30.yaml'), 'this is passed over');
  const { configuration: c } = await readKubeletConfig({
    file,
    directory: drop,
    flags: { maxPods: 50, featureGates: { MemoryQoS: true }, authentication: { webhook: { enabled: false } } },
  });
  assert.deepEqual(
    [c.maxPods, c.clusterDomain, c.clusterDNS, c.staticPodPath],
    [50, 'second.test', ['192.0.2.1'], join(dir, 'manifests')],
  );
  assert.deepEqual(c.featureGates, { NodeSwap: true, MemoryQoS: true });
  assert.deepEqual([c.authentication.anonymous.enabled, c.authentication.webhook.enabled], [true, false]);
  assert.deepEqual(c.evictionHard, { 'memory.available': '200Mi' });
  assert.equal(c.memorySwap.swapBehavior, 'LimitedSwap');
  assert.equal(c.imageGCHighThresholdPercent, 85);
});

test('what cannot be used is told in upstream’s words', async (t) => {
  const dir = folder(t);
  const file = join(dir, 'config.yaml');
  const why = async (text: string): Promise<string> => {
    writeFileSync(file, text);
    return readKubeletConfig({ file }).then(
      () => 'none',
      (error: Error) => error.message,
    );
  };
  assert.equal(
    await why(''),
    `failed to load kubelet config file, path: ${file}, error: kubelet config file "${file}" was empty`,
  );
  assert.match(await why('kind: Pod\napiVersion: v1\n'), /no kind "Pod" is registered for version "v1"/);
  assert.match(
    await why(`${head}maxPodz: 3\nauthentication: {x509: {ca: x}}\n`),
    /strict decoding error: unknown field "maxPodz", unknown field "authentication\.x509\.ca"$/,
  );
  assert.match(
    await why(`${head}maxPods: many\n`),
    /json: cannot unmarshal string into Go struct field KubeletConfiguration\.maxPods of type int32$/,
  );
  assert.match(
    await why(`${head}imageGCLowThresholdPercent: 90\nshutdownGracePeriodCriticalPods: 10s\n`),
    /error: \[invalid configuration: imageGCLowThresholdPercent \(--image-gc-low-threshold\) 90 must be less than imageGCHighThresholdPercent \(--image-gc-high-threshold\) 85, invalid configuration: shutdownGracePeriodCriticalPods \{10s\} must be <= shutdownGracePeriod \{0s\}\]$/,
  );
  assert.match(
    await why(`${head}enforceNodeAllocatable: [pods, system-reserved]\n`),
    /systemReservedCgroup \(--system-reserved-cgroup\) must be specified when "system-reserved" or "system-reserved-compressible" included/,
  );
  assert.match(await why(`${head}featureGates: {Nonsense: true}\n`), /unrecognized feature gate: Nonsense/);
  assert.match(
    await why(`${head}memorySwap: {swapBehavior: Some}\n`),
    /memorySwap\.swapBehavior "Some" must be one of: "", "LimitedSwap" or "NoSwap"/,
  );
});

test('a field that has no effect here is told by its name, one that has is not', async (t) => {
  const file = join(folder(t), 'config.yaml');
  writeFileSync(
    file,
    `${head}containerLogMaxWorkers: 3\nprotectKernelDefaults: true\nreadOnlyPort: 10255\nhairpinMode: none\nmaxPods: 10\nseccompDefault: true\nsyncFrequency: 1m\nkubeAPIQPS: 5\n`,
  );
  const { configuration } = await readKubeletConfig({ file });
  assert.deepEqual(
    configurationGaps(configuration).map((line) => line.split(' ')[0]),
    ['hairpinMode', 'kubeAPIQPS', 'containerLogMaxWorkers'],
  );
});

test('labels of the node: few of Kubernetes’ own names, and those that are labels', () => {
  checkNodeLabels({
    tier: 'gold',
    'node.kubernetes.io/x': '',
    'a.kubelet.kubernetes.io/y': 'z',
    'kubernetes.io/os': 'linux',
  });
  assert.throws(
    () => checkNodeLabels({ 'node-role.kubernetes.io/worker': '', 'k8s.io/a': 'b' }),
    /^StartError: failed to validate kubelet flags: unknown 'kubernetes\.io' or 'k8s\.io' labels specified with --node-labels: \[k8s\.io\/a node-role\.kubernetes\.io\/worker\]\n--node-labels in the 'kubernetes\.io' namespace must begin with an allowed prefix \(kubelet\.kubernetes\.io, node\.kubernetes\.io\)/,
  );
  assert.throws(() => checkNodeLabels({ tier: 'no value' }), /invalid node labels: 'no value' - a valid label must be/);
});
