/** Certificates of pods in real containers: files, their owner, a new certificate while the pod runs. The test is the signer. */
import assert from 'node:assert/strict';
import { createPrivateKey, X509Certificate } from 'node:crypto';
import { after, before, describe, test } from 'node:test';
import { FeatureGates } from '../../src/api/features/feature-gates.ts';
import { MovableClock } from '../support/movable-clock.ts';
import { PodSigner } from '../support/pod-signer.ts';
import { ownNamespaces } from './support/namespaces.ts';
import { RealNode, shell, sleeper } from './support/real-node.ts';

const skip = ownNamespaces();
const signerName = 'example.com/pods';
const minutes = 60_000;

describe('pod certificates on a real node', { skip }, () => {
  let node: RealNode;
  let signer: PodSigner;
  const clock = new MovableClock();

  before(async () => {
    const featureGates = { PodCertificateRequest: true };
    node = await RealNode.start(
      { clock, features: new FeatureGates(featureGates) },
      {},
      { featureGates, runtimeConfig: { 'certificates.k8s.io/v1beta1': true } },
    );
    signer = await PodSigner.make(signerName, node.client, () => Date.now());
  });
  after(() => node?.stop());

  const withCertificate = (keyType: string) => ({
    securityContext: { runAsUser: 1000, runAsGroup: 1000 },
    containers: [shell(sleeper, { volumeMounts: [{ name: 'v', mountPath: '/v' }] })],
    volumes: [
      {
        name: 'v',
        projected: {
          sources: [
            {
              podCertificate: {
                signerName,
                keyType,
                maxExpirationSeconds: 3600,
                credentialBundlePath: 'bundle.pem',
                keyPath: 'key.pem',
                certificateChainPath: 'chain.pem',
              },
            },
          ],
        },
      },
    ],
  });
  const wanted = () => node.until(async () => (await signer.pending())[0], 'a request');

  test('files for the pod alone, and others when it is time', async () => {
    await node.create('web', withCertificate('ECDSAP256'));
    const request = await wanted();
    assert.equal(request.spec.nodeName, 'n1');
    const chain = await signer.issue(request);
    await node.phase('web', 'Running');
    const read = (file: string): Promise<string> => node.exec('web', 'cat', `/v/${file}.pem`);
    const key = await read('key');
    assert.equal(await read('chain'), chain);
    assert.equal(await read('bundle'), key + chain);
    assert.ok(new X509Certificate(chain).checkPrivateKey(createPrivateKey(key)));
    assert.match(await node.exec('web', 'ls', '-lnL', '/v/key.pem'), /^-rw------- +1 1000 /);
    const data = await node.exec('web', 'readlink', '/v/..data');

    clock.move(36 * minutes);
    const again = await wanted();
    clock.move(-36 * minutes);
    assert.equal(await read('chain'), chain);
    const next = await signer.issue(again);
    await node.until(async () => (await read('chain')) === next, 'the new certificate');
    const bundle = await read('bundle');
    assert.notEqual(await read('key'), key);
    assert.ok(new X509Certificate(next).checkPrivateKey(createPrivateKey(bundle)));
    assert.notEqual(await node.exec('web', 'readlink', '/v/..data'), data, 'all files at once');
    await node.delete('web');
  });

  test('every kind of key; a signer that refuses is told to the pod', async () => {
    for (const kind of ['RSA3072', 'RSA4096', 'ECDSAP384', 'ECDSAP521', 'ED25519']) {
      const name = kind.toLowerCase();
      await node.create(name, withCertificate(kind));
      const chain = await signer.issue(await wanted());
      await node.phase(name, 'Running');
      const key = createPrivateKey(await node.exec(name, 'cat', '/v/key.pem'));
      assert.ok(new X509Certificate(chain).checkPrivateKey(key), kind);
      await node.delete(name);
    }
    await node.create('refused', withCertificate('ED25519'));
    await signer.deny(await wanted(), 'Policy', 'not here');
    await node.until(
      async () =>
        (await node.events('refused')).includes(
          'FailedMount: MountVolume.SetUp failed for volume "v" : PodCertificateRequest was permanently denied: reason="Policy" message="not here"',
        ),
      'the refusal to be told',
    );
    await node.delete('refused');
  });

  test('a kubelet without the gate refuses', async () => {
    await node.stopKubelet();
    await node.startKubelet({ features: new FeatureGates({}) });
    await node.create('off', withCertificate('ED25519'));
    await node.until(
      async () => (await node.events('off')).some((e) => e.endsWith('volume "v" : unimplemented')),
      'the refusal to be told',
    );
    await node.delete('off');
  });
});
