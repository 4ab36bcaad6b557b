/** A webhook that stands in the way of everything and that nobody answers: the cluster starts all the same, and can be mended. */
import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { createCluster } from '../../src/index.ts';
import type { Cluster } from '../../src/index.ts';
import { connectApi } from '../support/api.ts';

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
