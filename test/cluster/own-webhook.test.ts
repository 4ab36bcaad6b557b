/** Webhooks that are served through the API server's own Service are asked by it under its own identity, in the process. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createCluster } from '../../src/index.ts';
import { connectApi } from '../support/api.ts';

const configurations = '/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations';
const own = (clientConfig: object): object => ({
  apiVersion: 'admissionregistration.k8s.io/v1',
  kind: 'ValidatingWebhookConfiguration',
  metadata: { name: 'own' },
  webhooks: [
    {
      name: 'own.example.com',
      clientConfig,
      sideEffects: 'None',
      admissionReviewVersions: ['v1'],
      rules: [{ apiGroups: [''], apiVersions: ['v1'], operations: ['CREATE'], resources: ['configmaps'] }],
    },
  ],
});

test('the Service kubernetes leads a webhook to the API server itself, which knows who asks', async () => {
  await using cluster = await createCluster({
    nodes: 0,
    https: { port: 0 },
    disable: ['kube-scheduler', 'kube-controller-manager', 'cloud-controller-manager', 'dns', 'local-path-provisioner'],
  });
  const api = connectApi(cluster);
  // Nobody without a name may review himself: this is not what is complained of.
  const path = '/apis/authentication.k8s.io/v1/selfsubjectreviews';
  const told =
    'Internal error occurred: failed calling webhook "own.example.com": failed to call webhook: AdmissionReview in version "v1" cannot be handled as a SelfSubjectReview: converting (v1.AdmissionReview) to (authentication.SelfSubjectReview): unknown conversion';
  for (const clientConfig of [
    { service: { namespace: 'default', name: 'kubernetes', path } },
    { url: `https://kubernetes.default.svc${path}` },
  ]) {
    await api.create(configurations, own(clientConfig));
    const configMap = { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'x' } };
    const answer = await api.request('POST', '/api/v1/namespaces/default/configmaps', configMap);
    assert.equal(answer.status, 500);
    assert.equal((answer.body as { message: string }).message, told);
    await api.delete(`${configurations}/own`);
  }
});
