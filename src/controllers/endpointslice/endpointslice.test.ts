/** Services, EndpointSlices, Endpoints; service accounts, their tokens and the root CA. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { formatTime } from '../../api/time.ts';
import type { Endpoints, EndpointSlice, Pod, Secret, Service } from '../../api/types/index.gen.ts';
import { resources } from '../../client/resources.ts';
import type { World } from '../testing.ts';
import { createWorld } from '../testing.ts';

const service = (spec: Service['spec'] = {}): Service => ({
  metadata: { name: 'web', namespace: 'default', labels: { tier: 'front' } },
  spec: {
    clusterIP: '10.96.0.10',
    ipFamilies: ['IPv4'],
    selector: { app: 'web' },
    ports: [{ name: 'http', port: 80, targetPort: 'http', protocol: 'TCP' }],
    ...spec,
  },
});

async function addPod(w: World, i: number, ready = true): Promise<void> {
  const pod: Pod = {
    metadata: { name: `p${i}`, namespace: 'default', labels: { app: 'web' } },
    spec: {
      nodeName: i % 2 === 0 ? 'n0' : 'n1',
      containers: [{ name: 'c', image: 'i', ports: [{ name: 'http', containerPort: 8080 }] }],
    },
    status: {
      phase: 'Running',
      podIP: `10.0.${Math.floor(i / 250)}.${(i % 250) + 1}`,
      conditions: [{ type: 'Ready', status: ready ? 'True' : 'False', lastTransitionTime: formatTime(w.clock.now()) }],
    },
  };
  await w.client.core.pods.create(pod);
}

async function nodes(w: World): Promise<void> {
  for (const n of ['n0', 'n1']) {
    await w.client.core.nodes.create({
      metadata: { name: n, labels: { 'topology.kubernetes.io/zone': `zone-${n}` } },
    });
  }
}

const slices = (w: World): EndpointSlice[] => w.api.all<EndpointSlice>(resources.discovery.endpointslices);
const endpoints = (w: World): Endpoints => w.api.all<Endpoints>(resources.core.endpoints)[0]!;

test('slices follow pods: ready, not ready, terminating, gone', async () => {
  await using w = await createWorld(['endpointslice', 'endpoints']);
  await nodes(w);
  await w.client.core.services.create(service());
  await w.settle();
  let [slice] = slices(w);
  assert.equal(slices(w).length, 1, 'a placeholder');
  assert.deepEqual(slice!.endpoints, []);
  await addPod(w, 1);
  await addPod(w, 2, false);
  await w.settle();
  [slice] = slices(w);
  assert.equal(slices(w).length, 1, 'the placeholder is rewritten');
  assert.match(slice!.metadata.name!, /^web-/);
  assert.deepEqual(slice!.metadata.labels, {
    tier: 'front',
    'kubernetes.io/service-name': 'web',
    'endpointslice.kubernetes.io/managed-by': 'endpointslice-controller.k8s.io',
  });
  assert.deepEqual(slice!.ports, [{ name: 'http', protocol: 'TCP', port: 8080 }]);
  const one = slice!.endpoints!.find((e) => e.targetRef?.name === 'p1')!;
  assert.deepEqual(one.conditions, { ready: true, serving: true, terminating: false });
  assert.equal(one.zone, 'zone-n1');
  assert.equal(one.nodeName, 'n1');
  const two = slice!.endpoints!.find((e) => e.targetRef?.name === 'p2')!;
  assert.deepEqual(two.conditions, { ready: false, serving: false, terminating: false });
  assert.deepEqual(endpoints(w).subsets, [
    {
      addresses: [{ ip: '10.0.0.2', nodeName: 'n1', targetRef: one.targetRef }],
      notReadyAddresses: [{ ip: '10.0.0.3', nodeName: 'n0', targetRef: two.targetRef }],
      ports: [{ name: 'http', port: 8080, protocol: 'TCP' }],
    },
  ]);

  await w.client.core.pods.patch('p1', 'default', 'merge', { metadata: { finalizers: ['test/hold'] } });
  await w.client.core.pods.delete('p1', 'default');
  await w.clock.advance(2000);
  const leaving = slices(w)[0]!.endpoints!.find((e) => e.targetRef?.name === 'p1')!;
  assert.deepEqual(leaving.conditions, { ready: false, serving: true, terminating: true });
  assert.equal(endpoints(w).subsets?.[0]?.addresses, undefined);
  await w.client.core.pods.patch('p1', 'default', 'merge', { metadata: { finalizers: null } });
  await w.clock.advance(2000);
  assert.deepEqual(
    slices(w)[0]!.endpoints!.map((e) => e.targetRef?.name),
    ['p2'],
  );
  await w.client.core.services.delete('web', 'default');
  await w.settle();
  assert.equal(endpoints(w), undefined);
});

test('a hundred endpoints a slice; few slices change; foreign changes are put right', async () => {
  await using w = await createWorld(['endpointslice', 'endpoints']);
  await nodes(w);
  for (let i = 0; i < 250; i++) await addPod(w, i);
  // All are known before the first slices are made: later ones would fill them in the order of their coming.
  await w.settle();
  await w.client.core.services.create(service({ trafficDistribution: 'PreferSameZone' }));
  await w.settle();
  assert.deepEqual(
    slices(w)
      .map((s) => s.endpoints!.length)
      .toSorted((a, b) => a - b),
    [50, 100, 100],
  );
  assert.deepEqual(slices(w)[0]!.endpoints![0]!.hints, { forZones: [{ name: slices(w)[0]!.endpoints![0]!.zone }] });
  const writes = w.api.requests.length;
  await w.client.core.pods.delete('p7', 'default');
  await w.clock.advance(2000);
  const updates = w.api.requests.slice(writes).filter((r) => r.method === 'PUT' && r.path.includes('endpointslices'));
  assert.equal(updates.length, 1);
  const name = slices(w)[0]!.metadata.name!;
  await w.client.discovery.endpointslices.patch(name, 'default', 'merge', { endpoints: [] });
  await w.clock.advance(2000);
  assert.equal(
    slices(w).reduce((n, s) => n + s.endpoints!.length, 0),
    249,
  );
  assert.equal(endpoints(w).subsets![0]!.addresses!.length, 249);
});

test('headless services without ports, and pods on unknown nodes', async () => {
  await using w = await createWorld(['endpointslice', 'endpoints']);
  await w.client.core.services.create(service({ clusterIP: 'None', ports: [] }));
  await addPod(w, 1);
  await w.settle();
  assert.deepEqual(slices(w)[0]!.endpoints, [], 'the node is not known yet');
  assert.equal(slices(w)[0]!.metadata.labels!['service.kubernetes.io/headless'], '');
  await nodes(w);
  await w.clock.advance(3000);
  assert.equal(slices(w)[0]!.endpoints!.length, 1);
  assert.deepEqual(endpoints(w).subsets?.[0]?.ports, undefined);
});

test('namespaces get their service account and the root CA; token secrets are filled and follow their account', async () => {
  await using w = await createWorld(['serviceaccount', 'serviceaccount-token', 'root-ca-cert-publisher'], {
    rootCA: 'PEM',
    signServiceAccountToken: (c) => Promise.resolve(`token of ${c.serviceAccountName} in ${c.secretName}`),
  });
  await w.client.core.namespaces.create({ metadata: { name: 'a' }, status: { phase: 'Active' } });
  await w.settle();
  const account = await w.client.core.serviceaccounts.get('default', 'a');
  assert.equal((await w.client.core.configmaps.get('kube-root-ca.crt', 'a')).data?.['ca.crt'], 'PEM');
  await w.client.core.configmaps.delete('kube-root-ca.crt', 'a');
  await w.settle();
  await w.client.core.configmaps.get('kube-root-ca.crt', 'a');

  const secret: Secret = {
    metadata: { name: 's', namespace: 'a', annotations: { 'kubernetes.io/service-account.name': 'default' } },
    type: 'kubernetes.io/service-account-token',
  };
  await w.client.core.secrets.create(secret);
  await w.settle();
  const filled = await w.client.core.secrets.get('s', 'a');
  assert.equal(Buffer.from(filled.data!['token']!, 'base64').toString(), 'token of default in s');
  assert.equal(Buffer.from(filled.data!['namespace']!, 'base64').toString(), 'a');
  assert.equal(filled.metadata.annotations!['kubernetes.io/service-account.uid'], account.metadata.uid);
  await w.client.core.serviceaccounts.delete('default', 'a');
  await w.settle();
  assert.equal(w.api.all(resources.core.secrets).length, 0);
  await w.client.core.serviceaccounts.get('default', 'a');
});
