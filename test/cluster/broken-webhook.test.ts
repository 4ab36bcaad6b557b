/** A webhook that stands in the way of everything and that nobody answers: the cluster starts all the same, and can be mended. */
import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { createCluster } from '../../src/index.ts';
import type { Cluster, Logger } from '../../src/index.ts';
import { connectApi } from '../support/api.ts';
import { startTlsServer } from '../support/tls-server.ts';

test('a cluster with a broken webhook starts, refuses what the webhook is for, and works when it is gone', async (t) => {
  const dataDir = await mkdtemp(join(tmpdir(), 'knarr-broken-webhook-'));
  t.after(() => rm(dataDir, { recursive: true }));
  const open = (): Promise<Cluster> =>
    createCluster({
      nodes: 0,
      dataDir,
      https: { port: 0 },
      disable: [
        'kube-scheduler',
        'kube-controller-manager',
        'cloud-controller-manager',
        'dns',
        'local-path-provisioner',
      ],
    });
  const configurations = '/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations';
  const configMaps = '/api/v1/namespaces/default/configmaps';
  const named = (name: string): object => ({ apiVersion: 'v1', kind: 'ConfigMap', metadata: { name } });
  {
    await using cluster = await open();
    const api = connectApi(cluster);
    const made = await api.create(configurations, {
      apiVersion: 'admissionregistration.k8s.io/v1',
      kind: 'ValidatingWebhookConfiguration',
      metadata: { name: 'broken' },
      webhooks: [
        {
          name: 'broken.example.com',
          admissionReviewVersions: ['v1'],
          sideEffects: 'None',
          failurePolicy: 'Fail',
          clientConfig: { service: { namespace: 'default', name: 'nobody' } },
          rules: [{ apiGroups: ['*'], apiVersions: ['*'], resources: ['*/*'], operations: ['*'] }],
        },
      ],
    });
    assert.equal(made.status, 201, made.text);
    assert.equal((await api.create(configMaps, named('a'))).status, 500);
    api.close();
  }
  await using cluster = await open();
  const api = connectApi(cluster);
  assert.equal((await api.create(configMaps, named('b'))).status, 500);
  assert.equal((await api.delete(`${configurations}/broken`)).status, 200);
  assert.equal((await api.create(configMaps, named('c'))).status, 201);
  api.close();
});

test('a webhook behind a Service is called from the first write of a start on', async (t) => {
  const dataDir = await mkdtemp(join(tmpdir(), 'knarr-service-webhook-'));
  t.after(() => rm(dataDir, { recursive: true }));
  const failures: string[] = [];
  const silent = (): void => undefined;
  const logger: Logger = {
    debug: silent,
    info: silent,
    warn: (message) => {
      if (message.startsWith('Failed calling webhook')) failures.push(message);
    },
    error: silent,
    with: () => logger,
  };
  const open = (): Promise<Cluster> => createCluster({ nodes: 0, dataDir, https: { port: 0 }, logger });
  let calls = 0;
  await using server = await startTlsServer({
    dnsNames: ['hook.default.svc'],
    handle(_request, response, body) {
      calls++;
      const { uid } = (JSON.parse(body.toString()) as { request: { uid: string } }).request;
      response.setHeader('content-type', 'application/json');
      response.end(
        JSON.stringify({
          apiVersion: 'admission.k8s.io/v1',
          kind: 'AdmissionReview',
          response: { uid, allowed: true },
        }),
      );
    },
  });
  {
    await using cluster = await open();
    const api = connectApi(cluster);
    const own = await api.get('/apis/discovery.k8s.io/v1/namespaces/default/endpointslices/kubernetes');
    const hook = await api.create('/api/v1/namespaces/default/services', {
      apiVersion: 'v1',
      kind: 'Service',
      metadata: { name: 'hook' },
      spec: { ports: [{ port: 443 }] },
    });
    assert.equal(hook.status, 201, hook.text);
    const slice = await api.create('/apis/discovery.k8s.io/v1/namespaces/default/endpointslices', {
      apiVersion: 'discovery.k8s.io/v1',
      kind: 'EndpointSlice',
      metadata: { name: 'hook', labels: { 'kubernetes.io/service-name': 'hook' } },
      addressType: own.body.addressType,
      ports: [{ name: '', port: server.port, protocol: 'TCP' }],
      endpoints: [{ addresses: own.body.endpoints[0].addresses }],
    });
    assert.equal(slice.status, 201, slice.text);
    const made = await api.create('/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations', {
      apiVersion: 'admissionregistration.k8s.io/v1',
      kind: 'ValidatingWebhookConfiguration',
      metadata: { name: 'hook' },
      webhooks: [
        {
          name: 'hook.example.com',
          admissionReviewVersions: ['v1'],
          sideEffects: 'None',
          failurePolicy: 'Ignore',
          clientConfig: { service: { namespace: 'default', name: 'hook' }, caBundle: server.caBundle },
          rules: [{ apiGroups: ['*'], apiVersions: ['*'], resources: ['*/*'], operations: ['*'] }],
        },
      ],
    });
    assert.equal(made.status, 201, made.text);
    api.close();
  }
  failures.length = 0;
  calls = 0;
  await using _cluster = await open();
  assert.ok(calls > 0, 'nothing was written at the start');
  assert.deepEqual(failures, []);
});
