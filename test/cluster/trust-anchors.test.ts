/** What a projected clusterTrustBundle source holds, read from the API as a kubelet reads it. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createCluster } from '../../src/index.ts';
import { trustAnchors } from '../../src/kubelet/volumes/trust-anchors.ts';

test('trust anchors by name and by signer, each once', async () => {
  await using one = await createCluster({ nodes: 0, waitForNodes: false, https: { port: 0 } });
  await using cluster = await createCluster({
    nodes: 0,
    waitForNodes: false,
    https: { port: 0 },
    runtimeConfig: { 'certificates.k8s.io/v1beta1': true },
    featureGates: { ClusterTrustBundle: true, ClusterTrustBundleProjection: true },
  });
  const { client } = cluster;
  const pems = [one, cluster].map((c) => `${c.adminCredentials!.certificateAuthority.trim()}\n`);
  const bundles = client.resource({
    group: 'certificates.k8s.io',
    version: 'v1beta1',
    resource: 'clustertrustbundles',
    kind: 'ClusterTrustBundle',
    namespaced: false,
  });
  const signerName = 'example.com/signer';
  const add = (name: string, trustBundle: string, labels: Record<string, string>): Promise<unknown> =>
    bundles.create({ metadata: { name: `example.com:signer:${name}`, labels }, spec: { signerName, trustBundle } });
  await add('a', `about it\n${pems[0]}`, { use: 'yes' });
  await add('b', pems.join(''), { use: 'yes' });
  await add('c', pems[1]!, { use: 'no' });
  const path = 'ca.pem';
  assert.equal(await trustAnchors(client, { path, name: 'example.com:signer:a' }), pems[0]);
  const all = await trustAnchors(client, { path, signerName, labelSelector: {} });
  assert.equal(all, pems.toSorted().join(''));
  const no = { path, signerName, labelSelector: { matchLabels: { use: 'no' } } };
  assert.equal(await trustAnchors(client, no), pems[1]);
  await assert.rejects(
    trustAnchors(client, { path, name: 'none' }),
    /^Error: while getting ClusterTrustBundle: clustertrustbundles.certificates.k8s.io "none" not found$/,
  );
  await assert.rejects(trustAnchors(client, { path, signerName }), /matched zero ClusterTrustBundles/);
  assert.equal(await trustAnchors(client, { path, name: 'none', optional: true }), '');
  assert.equal(await trustAnchors(client, { path, signerName, optional: true }), '');
});
