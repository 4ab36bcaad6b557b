/** What the tests of admission policies share: a cluster for the file that imports this, a webhook, and policies put in force for a while. */
import assert from 'node:assert/strict';
import { after, before } from 'node:test';
import { createCluster } from '../../../src/index.ts';
import type { Cluster } from '../../../src/index.ts';
import { connectApi } from '../../support/api.ts';
import type { Api, Json } from '../../support/api.ts';
import { startTlsServer } from '../../support/tls-server.ts';
import type { TlsServer } from '../../support/tls-server.ts';

export let cluster: Cluster;
export let api: Api;
export let hooks: TlsServer;
export const reviewed: Json[] = [];

before(async () => {
  cluster = await createCluster({ nodes: 1, https: { port: 0 }, disable: ['cloud-controller-manager', 'dns'] });
  api = connectApi(cluster);
  hooks = await startTlsServer({
    dnsNames: ['localhost'],
    handle(_request, response, body) {
      const review = JSON.parse(body.toString()) as Json;
      reviewed.push(review.request);
      response.writeHead(200, { 'content-type': 'application/json' });
      response.end(
        JSON.stringify({ ...review, request: undefined, response: { uid: review.request.uid, allowed: true } }),
      );
    },
  });
});

after(async () => {
  api?.close();
  await cluster?.close();
  await hooks?.[Symbol.asyncDispose]();
});

export const root = '/apis/admissionregistration.k8s.io/v1';
export const maps = '/api/v1/namespaces/default/configmaps';
export const deployments = '/apis/apps/v1/namespaces/default/deployments';

export const inDefault = {
  matchExpressions: [{ key: 'kubernetes.io/metadata.name', operator: 'In', values: ['default'] }],
};

export const on = (resources: string[], operations = ['CREATE', 'UPDATE'], more: Json = {}): Json => ({
  namespaceSelector: inDefault,
  resourceRules: [{ apiGroups: ['*'], apiVersions: ['*'], operations, resources }],
  ...more,
});

export interface Made {
  readonly kind: 'Validating' | 'Mutating';
  readonly spec: Json;
  readonly binding?: Json;
  readonly name?: string;
}

/** With these policies in force, each bound once. */
export async function withPolicies(policies: readonly Made[], run: () => Promise<void>): Promise<void> {
  const made: string[] = [];
  const create = async (kind: string, plural: string, name: string, spec: Json): Promise<void> => {
    const body = { apiVersion: 'admissionregistration.k8s.io/v1', kind, metadata: { name }, spec };
    const answer = await api.create(`${root}/${plural}`, body);
    assert.equal(answer.status, 201, answer.text);
    assert.deepEqual(answer.warnings, []);
    made.push(`${root}/${plural}/${name}`);
  };
  try {
    for (const { kind, spec, binding = {}, name = 'p' } of policies) {
      const plural = kind === 'Validating' ? 'validatingadmissionpolicies' : 'mutatingadmissionpolicies';
      await create(`${kind}AdmissionPolicy`, plural, name, spec);
      const actions = kind === 'Validating' ? { validationActions: ['Deny'] } : {};
      await create(`${kind}AdmissionPolicyBinding`, `${plural.slice(0, -3)}ybindings`, `${name}-binding`, {
        policyName: name,
        ...actions,
        ...binding,
      });
    }
    await run();
  } finally {
    for (const path of made.reverse()) await api.delete(path);
  }
}

export const validating = (spec: Json, binding: Json, run: () => Promise<void>): Promise<void> =>
  withPolicies([{ kind: 'Validating', spec, binding }], run);
export const mutating = (spec: Json, binding: Json, run: () => Promise<void>): Promise<void> =>
  withPolicies([{ kind: 'Mutating', spec: { reinvocationPolicy: 'Never', ...spec }, binding }], run);

let count = 0;
export const map = (data: Json = {}, metadata: Json = {}): Json => ({
  apiVersion: 'v1',
  kind: 'ConfigMap',
  metadata: { name: `m${++count}`, ...metadata },
  data,
});

export const deployment = (name: string, spec: Json = {}, metadata: Json = {}): Json => ({
  apiVersion: 'apps/v1',
  kind: 'Deployment',
  metadata: { name, ...metadata },
  spec: {
    replicas: 0,
    selector: { matchLabels: { app: name } },
    template: { metadata: { labels: { app: name } }, spec: { containers: [{ name: 'c', image: 'i' }] } },
    ...spec,
  },
});

/** A custom kind that policies have as parameters: `rules.test/v1`, `Limit`. */
export async function defineLimits(): Promise<void> {
  const crd = await api.create('/apis/apiextensions.k8s.io/v1/customresourcedefinitions', {
    metadata: { name: 'limits.rules.test' },
    spec: {
      group: 'rules.test',
      scope: 'Cluster',
      names: { plural: 'limits', singular: 'limit', kind: 'Limit', listKind: 'LimitList' },
      versions: [
        {
          name: 'v1',
          served: true,
          storage: true,
          schema: { openAPIV3Schema: { type: 'object', properties: { max: { type: 'integer' } } } },
        },
      ],
    },
  });
  assert.equal(crd.status, 201, crd.text);
}
