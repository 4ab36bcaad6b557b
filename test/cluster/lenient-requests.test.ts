/** Requests that upstream's server takes although they are not quite as they should be, and how far it goes. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { createCluster } from '../../src/index.ts';
import type { Cluster } from '../../src/index.ts';
import { connectApi } from '../support/api.ts';
import type { Api } from '../support/api.ts';

let cluster: Cluster;
let api: Api;

before(async () => {
  cluster = await createCluster({ nodes: 0, https: { port: 0 }, disable: ['cloud-controller-manager', 'dns'] });
  api = connectApi(cluster);
});

after(async () => {
  api?.close();
  await cluster?.close();
});

const configMaps = '/api/v1/namespaces/default/configmaps';

test('the core group may be named by nothing', async () => {
  const made = await api.create(configMaps, { apiVersion: '/v1', kind: 'ConfigMap', metadata: { name: 'core' } });
  assert.equal(made.status, 201, made.text);
  assert.equal(made.body.apiVersion, 'v1');
  const got = await api.get(`${configMaps}/core`);
  assert.equal(got.body.apiVersion, 'v1');
});

test('what managedFields make too large goes without them, unless it is applied', async () => {
  const data = Object.fromEntries(
    Array.from({ length: 10_000 }, (_, i) => [`${'a-very-long-key-'.repeat(5)}${i}`, 'A']),
  );
  const name = { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'large' } };
  const made = await api.create(configMaps, { ...name, data });
  assert.equal(made.status, 201, made.text.slice(0, 200));
  assert.ok(!('managedFields' in made.body.metadata));
  const small = await api.create(configMaps, { ...name, metadata: { name: 'grows' } });
  assert.equal(small.status, 201);
  const patched = await api.merge(`${configMaps}/grows`, { data });
  assert.equal(patched.status, 200, patched.text.slice(0, 200));
  assert.ok(!('managedFields' in patched.body.metadata));
  const applied = await api.apply(`${configMaps}/large?fieldManager=applier`, name);
  assert.equal(`${applied.status} ${applied.body.message}`, '413 etcdserver: request is too large');
  const finalizers = Array.from({ length: 60_000 }, () => 'sample0123456789/sample0123456789');
  const larger = await api.create(configMaps, { ...name, metadata: { name: 'larger', finalizers } });
  assert.match(
    `${larger.status} ${larger.body.message}`,
    /^413 rpc error: code = ResourceExhausted desc = trying to send message larger than max \(2\d{6} vs\. 2097152\)$/,
  );
});

test('of a list that goes on, the token is looked at before the resource version', async () => {
  const said = async (query: string): Promise<string> => {
    const { status, body } = await api.get(`${configMaps}?${query}`);
    return `${status} ${body.message}`;
  };
  const first = await api.get(`${configMaps}?limit=1`);
  const token = encodeURIComponent(first.body.metadata.continue);
  assert.equal(
    await said(`continue=${token}&resourceVersion=x`),
    '400 specifying resource version is not allowed when using continue',
  );
  assert.match(await said('continue=x&resourceVersion=x'), /^400 .*continue key is not valid/);
});

test('metadata alone is told as protobuf in the older version as well', async () => {
  for (const version of ['v1', 'v1beta1']) {
    const form = `application/vnd.kubernetes.protobuf;g=meta.k8s.io;v=${version};as=`;
    const object = await api.request('GET', `${configMaps}/core`, undefined, {
      accept: `${form}PartialObjectMetadata`,
    });
    assert.equal(object.status, 200, object.text);
    assert.match(object.text, new RegExp(`^k8s\\0[\\s\\S]*meta.k8s.io/${version}[^a-z0-9]`));
    const list = await api.request('GET', configMaps, undefined, { accept: `${form}PartialObjectMetadataList` });
    assert.equal(list.status, 200, list.text);
  }
});

test('a node that says null in place of the pod of a token is told that it needs one', async () => {
  const pod = {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name: 'bound' },
    spec: { nodeName: 'n1', serviceAccountName: 'default', containers: [{ name: 'c', image: 'i' }] },
  };
  for (let made = 0; made !== 201; made = (await api.create('/api/v1/namespaces/default/pods', pod)).status);
  const token = {
    apiVersion: 'authentication.k8s.io/v1',
    kind: 'TokenRequest',
    metadata: {},
    spec: { audiences: null, expirationSeconds: null, boundObjectRef: null },
  };
  const answer = await api.request('POST', '/api/v1/namespaces/default/serviceaccounts/default/token', token, {
    'impersonate-user': 'system:node:n1',
    'impersonate-group': 'system:nodes',
  });
  assert.equal(answer.status, 403, answer.text);
  assert.match(answer.body.message, /node requested token not bound to a pod$/);
});

test('a load balancer that wants no node ports any more gets rid of them by leaving them out', async () => {
  const services = '/api/v1/namespaces/default/services';
  const spec = { type: 'LoadBalancer', ports: [{ port: 80 }], selector: { a: 'b' } };
  const made = await api.create(services, { apiVersion: 'v1', kind: 'Service', metadata: { name: 'lb' }, spec });
  assert.equal(made.status, 201, made.text);
  assert.ok(made.body.spec.ports[0].nodePort > 0);
  const kept = await api.request('PUT', `${services}/lb`, {
    ...made.body,
    spec: { ...made.body.spec, ports: [{ port: 80 }] },
  });
  assert.equal(kept.body.spec.ports[0].nodePort, made.body.spec.ports[0].nodePort);
  const without = await api.request('PUT', `${services}/lb`, {
    ...kept.body,
    spec: { ...kept.body.spec, allocateLoadBalancerNodePorts: false, ports: [{ port: 80 }] },
  });
  assert.equal(without.status, 200, without.text);
  assert.equal(without.body.spec.ports[0].nodePort, undefined);
});

test('an applied Scale', async () => {
  const sets = '/apis/apps/v1/namespaces/default/replicasets';
  const labels = { app: 'scaled' };
  const template = { metadata: { labels }, spec: { containers: [{ name: 'c', image: 'i' }] } };
  await api.create(sets, {
    metadata: { name: 'scaled' },
    spec: { replicas: 0, selector: { matchLabels: labels }, template },
  });
  const scale = { apiVersion: 'autoscaling/v1', kind: 'Scale', metadata: { name: 'scaled' }, spec: { replicas: 1 } };
  const applied = await api.apply(`${sets}/scaled/scale?fieldManager=scaler&force=true`, scale);
  assert.equal(applied.status, 200, applied.text);
  assert.equal((await api.get(`${sets}/scaled`)).body.spec.replicas, 1);
});
