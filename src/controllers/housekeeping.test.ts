/** The smaller controllers: pods without a node, aggregated roles, node ranges, certificates, protected volumes, mirrored slices. */
import 'reflect-metadata';
import assert from 'node:assert/strict';
import { webcrypto } from 'node:crypto';
import { test } from 'node:test';
import { formatTime } from '../api/time.ts';
import type { EndpointSlice, Node, PersistentVolumeClaim, Pod } from '../api/types/index.gen.ts';
import { generateSigningKey } from '../base/keys.ts';
import { isNotFound } from '../client/errors.ts';
import { resources } from '../client/resources.ts';
import { createWorld } from './testing.ts';
import { formatCidr, parseCidr } from '../base/ip.ts';
import { CidrSet } from './util/cidr-set.ts';

const pod = (name: string, spec: Partial<Pod['spec']> = {}, status: Pod['status'] = { phase: 'Running' }): Pod => ({
  metadata: { name, namespace: 'default' },
  spec: { containers: [{ name: 'c', image: 'i' }], ...spec },
  status,
});

test('pod garbage collection', async () => {
  await using w = await createWorld(['podgc'], { terminatedPodGCThreshold: 2 });
  await w.client.core.nodes.create({ metadata: { name: 'n' } });
  await w.client.core.pods.create(pod('lost', { nodeName: 'gone' }));
  await w.client.core.pods.create(pod('fine', { nodeName: 'n' }));
  const waiting = pod('waiting');
  waiting.metadata.finalizers = ['test/hold'];
  await w.client.core.pods.create(waiting);
  await w.client.core.pods.delete('waiting', 'default');
  for (let i = 0; i < 4; i++) {
    await w.client.core.pods.create(pod(`done${i}`, { nodeName: 'n' }, { phase: 'Succeeded' }));
    await w.clock.advance(1000);
  }
  await w.clock.advance(20_000);
  assert.deepEqual(
    w.pods().map((p) => p.metadata.name),
    ['lost', 'fine', 'waiting', 'done2', 'done3'],
  );
  assert.equal((await w.client.core.pods.get('waiting', 'default')).status?.phase, 'Failed');
  const requests = w.api.requests.length;
  await w.clock.advance(60_000);
  await assert.rejects(w.client.core.pods.get('lost', 'default'), isNotFound);
  const patch = w.api.requests.slice(requests).find((r) => r.path.endsWith('/lost/status'));
  assert.equal((patch?.body as { status?: { phase?: string } } | undefined)?.status?.phase, 'Failed');
});

test('aggregated cluster roles follow their parts', async () => {
  await using w = await createWorld(['clusterrole-aggregation']);
  const rule = (resource: string) => ({ apiGroups: [''], resources: [resource], verbs: ['get'] });
  await w.client.rbac.clusterroles.create({
    metadata: { name: 'view' },
    aggregationRule: { clusterRoleSelectors: [{ matchLabels: { 'to-view': 'true' } }] },
    rules: [],
  });
  for (const r of ['pods', 'nodes']) {
    await w.client.rbac.clusterroles.create({ metadata: { name: r, labels: { 'to-view': 'true' } }, rules: [rule(r)] });
  }
  await w.settle();
  assert.deepEqual((await w.client.rbac.clusterroles.get('view')).rules, [rule('nodes'), rule('pods')]);
  await w.client.rbac.clusterroles.delete('nodes');
  await w.settle();
  assert.deepEqual((await w.client.rbac.clusterroles.get('view')).rules, [rule('pods')]);
});

test('ranges of pod addresses', async () => {
  const set = new CidrSet(parseCidr('10.244.0.0/22')!, 24);
  assert.ok(set.occupy(parseCidr('10.244.1.0/24')!));
  assert.deepEqual(
    [set.allocate(), set.allocate(), set.allocate()].map((c) => formatCidr(c!)),
    ['10.244.0.0/24', '10.244.2.0/24', '10.244.3.0/24'],
  );
  assert.equal(set.allocate(), undefined);
  set.release(parseCidr('10.244.2.0/24')!);
  assert.equal(formatCidr(set.allocate()!), '10.244.2.0/24');
  assert.equal(formatCidr(new CidrSet(parseCidr('fd00:1:2::/48')!, 64).allocate()!), 'fd00:1:2::/64');

  await using w = await createWorld(['nodeipam'], { allocateNodeCIDRs: true, clusterCIDR: '10.0.0.0/23,fd00::/48' });
  for (const name of ['a', 'b', 'c']) {
    await w.client.core.nodes.create({ metadata: { name }, spec: {} });
    await w.settle();
  }
  assert.deepEqual((await w.client.core.nodes.get('b')).spec?.podCIDRs, ['10.0.1.0/24', 'fd00:0:0:1::/64']);
  assert.equal((await w.client.core.nodes.get('c')).spec?.podCIDR, undefined);
  await w.client.core.nodes.delete('a');
  await w.clock.advance(60_000);
  assert.equal((await w.client.core.nodes.get('c')).spec?.podCIDR, '10.0.0.0/24');
});

test('nodes are told how long they may cache', async () => {
  await using w = await createWorld(['ttl']);
  // The first two are told while they are few, whatever else the machine does meanwhile.
  for (let i = 0; i < 2; i++) await w.client.core.nodes.create({ metadata: { name: `n${i}` } });
  await w.settle();
  for (let i = 2; i < 101; i++) await w.client.core.nodes.create({ metadata: { name: `n${i}` } });
  await w.settle();
  await w.client.core.nodes.patch('n0', undefined, 'merge', { metadata: { annotations: { x: 'y' } } });
  await w.settle();
  const ttl = (n: Node) => n.metadata.annotations?.['node.alpha.kubernetes.io/ttl'];
  assert.equal(ttl(await w.client.core.nodes.get('n0')), '15');
  assert.equal(ttl(await w.client.core.nodes.get('n1')), '0');
});

async function request(subject: string): Promise<string> {
  const x509 = await import('@peculiar/x509');
  x509.cryptoProvider.set(webcrypto);
  const csr = await x509.Pkcs10CertificateRequestGenerator.create({
    name: subject,
    keys: await generateSigningKey(),
    signingAlgorithm: { name: 'ECDSA', hash: 'SHA-256' },
  });
  return Buffer.from(csr.toString('pem')).toString('base64');
}

test('certificate requests of kubelets are approved and signed, unfit ones fail, old ones go', async () => {
  await using w = await createWorld(['csrapproving', 'csrsigning', 'csrcleaner'], {
    certificateSigner: { sign: (r) => Promise.resolve(`signed ${r.usages.join()}`) },
  });
  w.api.answer = (r) =>
    r.path.endsWith('subjectaccessreviews') ? { ...(r.body as object), status: { allowed: true } } : undefined;
  const csrs = w.client.certificates.certificatesigningrequests;
  const usages = ['digital signature', 'client auth'];
  await csrs.create({
    metadata: { name: 'node' },
    spec: {
      request: await request('O=system:nodes, CN=system:node:n1'),
      signerName: 'kubernetes.io/kube-apiserver-client-kubelet',
      usages,
      username: 'system:node:n1',
    },
  });
  await csrs.create({
    metadata: { name: 'unfit' },
    spec: { request: await request('CN=someone'), signerName: 'kubernetes.io/kubelet-serving', usages },
    status: {
      conditions: [{ type: 'Approved', status: 'True', lastUpdateTime: formatTime(w.clock.now()) }],
    },
  });
  await csrs.create({
    metadata: { name: 'pending' },
    spec: { request: await request('CN=someone'), signerName: 'example.com/other', usages },
  });
  await w.settle();
  const node = await csrs.get('node');
  assert.equal(
    node.status?.conditions?.[0]?.message,
    'Auto approving self kubelet client certificate after SubjectAccessReview.',
  );
  assert.equal(Buffer.from(node.status!.certificate!, 'base64').toString(), 'signed digital signature,client auth');
  const unfit = (await csrs.get('unfit')).status?.conditions?.find((c) => c.type === 'Failed');
  assert.equal(unfit?.message, 'subject organization is not system:nodes');
  await w.clock.advance(3 * 3_600_000);
  assert.deepEqual(
    w.api.all(resources.certificates.certificatesigningrequests).map((c) => c.metadata.name),
    ['pending'],
  );
  await w.clock.advance(24 * 3_600_000);
  assert.equal(w.api.all(resources.certificates.certificatesigningrequests).length, 0);
});

test('claims and volumes in use stay; ephemeral volumes get their claim', async () => {
  await using w = await createWorld(['pvc-protection', 'pv-protection', 'ephemeral-volume']);
  const claim: PersistentVolumeClaim = { metadata: { name: 'data', namespace: 'default' }, spec: {} };
  await w.client.core.persistentvolumeclaims.create(claim);
  await w.client.core.pods.create(
    pod('p', {
      nodeName: 'n',
      volumes: [
        { name: 'data', persistentVolumeClaim: { claimName: 'data' } },
        { name: 'scratch', ephemeral: { volumeClaimTemplate: { spec: { accessModes: ['ReadWriteOnce'] } } } },
      ],
    }),
  );
  await w.client.core.persistentvolumes.create({ metadata: { name: 'pv' }, spec: {}, status: { phase: 'Bound' } });
  await w.settle();
  const made = await w.client.core.persistentvolumeclaims.get('p-scratch', 'default');
  assert.equal(made.metadata.ownerReferences?.[0]?.name, 'p');
  assert.deepEqual(made.metadata.finalizers, ['kubernetes.io/pvc-protection']);
  await w.client.core.persistentvolumeclaims.delete('data', 'default');
  await w.client.core.persistentvolumes.delete('pv');
  await w.settle();
  await w.client.core.persistentvolumeclaims.get('data', 'default');
  const pv = await w.client.core.persistentvolumes.get('pv');
  await w.client.core.persistentvolumes.updateStatus({ ...pv, status: { phase: 'Released' } });
  await w.client.core.pods.delete('p', 'default');
  await w.settle();
  await assert.rejects(w.client.core.persistentvolumeclaims.get('data', 'default'), isNotFound);
  await assert.rejects(w.client.core.persistentvolumes.get('pv'), isNotFound);
});

test('Endpoints of Services without selector are mirrored', async () => {
  await using w = await createWorld(['endpointslicemirroring']);
  await w.client.core.services.create({
    metadata: { name: 'db', namespace: 'default' },
    spec: { ports: [{ port: 5432 }] },
  });
  await w.client.core.endpoints.create({
    metadata: { name: 'db', namespace: 'default', labels: { a: 'b' } },
    subsets: [{ addresses: [{ ip: '192.0.2.1' }, { ip: 'fd00::1' }, { ip: 'nonsense' }], ports: [{ port: 5432 }] }],
  });
  await w.settle();
  const slices = () => w.api.all<EndpointSlice>(resources.discovery.endpointslices);
  assert.deepEqual(
    slices()
      .map((s) => [s.addressType, s.endpoints?.[0]?.addresses])
      .toSorted(),
    [
      ['IPv4', ['192.0.2.1']],
      ['IPv6', ['fd00::1']],
    ],
  );
  assert.equal(slices()[0]!.metadata.labels?.['a'], 'b');
  await w.client.core.endpoints.patch('db', 'default', 'merge', {
    subsets: [{ addresses: [{ ip: '192.0.2.2' }], ports: [{ port: 5432 }] }],
  });
  await w.clock.advance(3000);
  assert.deepEqual(
    slices().map((s) => s.endpoints?.[0]?.addresses),
    [['192.0.2.2']],
  );
  await w.client.core.services.patch('db', 'default', 'merge', { spec: { selector: { x: 'y' } } });
  await w.clock.advance(3000);
  assert.equal(slices().length, 0);
});
