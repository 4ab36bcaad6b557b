/** Certificates of pods: asked for by the kubelet, issued by a signer of the test's own, renewed in time, refused for good. */
import assert from 'node:assert/strict';
import { createPrivateKey, X509Certificate } from 'node:crypto';
import { test } from 'node:test';
import { VirtualClock } from '../../src/base/clock.ts';
import type { Cluster } from '../../src/cluster/cluster.ts';
import { createCluster } from '../../src/index.ts';
import { PodSigner } from '../support/pod-signer.ts';

const signerName = 'example.com/pods';

/** A pod that prints the files of its volume again and again. */
async function pod(cluster: Cluster, name: string, source: object): Promise<void> {
  await cluster.client.core.pods.create({
    metadata: { name, namespace: 'default' },
    spec: {
      containers: ['bundle', 'key', 'chain'].map((name) => ({
        name,
        image: 'x',
        command: ['cat', `/v/${name}.pem`],
        volumeMounts: [{ name: 'v', mountPath: '/v' }],
      })),
      volumes: [
        {
          name: 'v',
          projected: { sources: [{ podCertificate: { signerName, keyType: 'ECDSAP256', ...source } }] },
        },
      ],
    },
  } as never);
}

const start = (clock: VirtualClock, on = true): Promise<Cluster> =>
  createCluster({
    clock,
    nodes: 1,
    runtimeConfig: { 'certificates.k8s.io/v1beta1': true },
    featureGates: { PodCertificateRequest: on },
  });

async function read(cluster: Cluster, name: string, file: string): Promise<string> {
  const path = `/api/v1/namespaces/default/pods/${name}/log`;
  const answer = await cluster.client.transport.request({ method: 'GET', path, query: { container: file } });
  return String(answer.body);
}

test('issued, and asked for anew with another key when it is time', async () => {
  const clock = new VirtualClock();
  await using cluster = await start(clock);
  const { client } = cluster;
  const signer = await PodSigner.make(signerName, client, () => clock.now());
  await pod(cluster, 'web', {
    credentialBundlePath: 'bundle.pem',
    keyPath: 'key.pem',
    certificateChainPath: 'chain.pem',
    maxExpirationSeconds: 7200,
    userAnnotations: { 'example.com/role': 'front' },
  });
  await clock.advance(2000);
  assert.equal((await client.core.pods.get('web', 'default')).status?.phase, 'Pending');
  const told = (await client.core.events.list({ namespace: 'default' })).items.map((e) => `${e.reason}: ${e.message}`);
  assert.ok(
    told.includes('FailedMount: MountVolume.SetUp failed for volume "v" : credential bundle is not issued yet'),
    told.join('\n'),
  );
  const [request, ...others] = await signer.pending();
  assert.equal(others.length, 0);
  assert.deepEqual(request!.spec.unverifiedUserAnnotations, { 'example.com/role': 'front' });
  assert.equal(request!.metadata.ownerReferences?.[0]?.kind, 'Pod');
  const chain = await signer.issue(request!);
  await clock.advance(30_000);
  const [key, bundle] = [await read(cluster, 'web', 'key'), await read(cluster, 'web', 'bundle')];
  assert.equal(await read(cluster, 'web', 'chain'), chain);
  assert.equal(bundle, key + chain);
  assert.ok(new X509Certificate(chain).checkPrivateKey(createPrivateKey(key)));
  // Half of two hours, and up to five minutes more.
  await clock.advance(55 * 60_000);
  assert.deepEqual(await signer.pending(), []);
  await clock.advance(11 * 60_000);
  const [again] = await signer.pending();
  assert.equal(await read(cluster, 'web', 'chain'), chain, 'the old one is good until then');
  const next = await signer.issue(again!);
  // Finished containers wait five minutes at most.
  await clock.advance(6 * 60_000);
  assert.equal(await read(cluster, 'web', 'chain'), next);
  assert.notEqual(await read(cluster, 'web', 'key'), key);
});

test('who is refused stays refused; who is late is told', async () => {
  const clock = new VirtualClock();
  await using cluster = await start(clock);
  const { client } = cluster;
  const signer = await PodSigner.make(signerName, client, () => clock.now());
  const events = async (name: string): Promise<string[]> =>
    (await client.core.events.list({ namespace: 'default' })).items
      .filter((e) => e.involvedObject.name === name)
      .map((e) => `${e.reason}: ${e.message}`);
  await pod(cluster, 'no', { credentialBundlePath: 'b', keyType: 'ED25519' });
  await clock.advance(2000);
  const [request] = await signer.pending();
  await signer.deny(request!, 'Never', 'not you');
  await clock.advance(200_000);
  assert.ok(
    (await events('no')).includes(
      'FailedMount: MountVolume.SetUp failed for volume "v" : PodCertificateRequest was permanently denied: reason="Never" message="not you"',
    ),
  );
  assert.deepEqual(await signer.pending(), []);
  await pod(cluster, 'late', { credentialBundlePath: 'b', maxExpirationSeconds: 3600 });
  await clock.advance(2000);
  const [asked] = await signer.pending();
  assert.ok(asked, (await events('late')).join('\n'));
  await signer.issue(asked);
  await clock.advance(65 * 60_000);
  const late = await events('late');
  assert.ok(late.includes('CertificateOverdueForRefresh: PodCertificate refresh overdue'), late.join('\n'));
  assert.ok(late.includes('CertificateExpired: PodCertificate expired'));
});
