/** CRDs with `x-kubernetes-validations` in a real API server: what is refused, what warns, what the status says. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { createCluster } from '../../src/index.ts';
import type { Cluster } from '../../src/index.ts';
import { connectApi } from '../support/api.ts';
import type { Api, Json } from '../support/api.ts';
import { waitForOne } from '../support/wait.ts';

let cluster: Cluster;
let api: Api;

before(async () => {
  cluster = await createCluster({
    nodes: 0,
    https: { port: 0 },
    disable: ['cloud-controller-manager', 'dns', 'kube-scheduler', 'kube-proxy'],
  });
  api = connectApi(cluster);
});

after(async () => {
  api?.close();
  await cluster?.close();
});

const crds = '/apis/apiextensions.k8s.io/v1/customresourcedefinitions';

const definition = (plural: string, kind: string, spec: Json): Json => ({
  metadata: { name: `${plural}.example.com` },
  spec: {
    group: 'example.com',
    scope: 'Namespaced',
    names: { plural, kind },
    versions: [
      {
        name: 'v1',
        served: true,
        storage: true,
        schema: { openAPIV3Schema: { type: 'object', properties: { spec } } },
      },
    ],
  },
});

async function serve(plural: string, kind: string, spec: Json): Promise<void> {
  const made = await api.create(crds, definition(plural, kind, spec));
  assert.equal(made.status, 201, made.text);
  await waitForOne(cluster.client.apiextensions.customresourcedefinitions, `${plural}.example.com`, undefined, (c) =>
    (c.status?.conditions ?? []).some((s) => s.type === 'Established' && s.status === 'True'),
  );
}

const object = (kind: string, name: string, spec: Json): Json => ({
  apiVersion: 'example.com/v1',
  kind,
  metadata: { name },
  spec,
});

test('a CRD whose rules do not compile or cost too much is refused', async () => {
  const bad = await api.create(
    crds,
    definition('bads', 'Bad', {
      type: 'object',
      properties: {
        list: {
          type: 'array',
          items: { type: 'string' },
          'x-kubernetes-validations': [{ rule: 'self.all(x, self.exists_one(y, x == y))' }],
        },
      },
      'x-kubernetes-validations': [{ rule: 'self.lst.size() > 0', messageExpression: '1' }],
    }),
  );
  assert.equal(bad.status, 422, bad.text);
  assert.equal(bad.body.reason, 'Invalid');
  const at = 'spec.validation.openAPIV3Schema.properties[spec]';
  const causes = (bad.body.details.causes as { field: string; message: string }[]).map((c) => [c.field, c.message]);
  const message = (field: string): string => String(causes.find(([f]) => f === field)?.[1]);
  assert.match(
    message(`${at}.x-kubernetes-validations[0].rule`),
    /compilation failed: ERROR: <input>:1:5: undefined field 'lst'\n \| self\.lst\.size\(\) > 0\n \| \.\.\.\.\^$/,
  );
  assert.match(
    message(`${at}.properties[list].x-kubernetes-validations[0].rule`),
    /^Forbidden: estimated rule cost exceeds budget by factor of more than 100x/,
  );
});

test('objects keep the rules of their CRD; what does not change only warns', async () => {
  const spec = (more: Json[] = []): Json => ({
    type: 'object',
    properties: {
      replicas: { type: 'integer' },
      min: { type: 'integer', default: 0 },
      class: {
        type: 'string',
        'x-kubernetes-validations': [{ rule: 'self == oldSelf', message: 'class is immutable' }, ...more],
      },
    },
    'x-kubernetes-validations': [
      {
        rule: 'self.replicas >= self.min',
        messageExpression: '"replicas must be at least %d".format([self.min])',
        fieldPath: '.replicas',
        reason: 'FieldValueInvalid',
      },
    ],
  });
  await serve('gadgets', 'Gadget', spec());
  const gadgets = '/apis/example.com/v1/namespaces/default/gadgets';
  const refused = await api.create(gadgets, object('Gadget', 'a', { replicas: 1, min: 2, class: 'x' }));
  assert.equal(refused.status, 422);
  assert.equal(
    refused.body.message,
    'Gadget.example.com "a" is invalid: spec.replicas: Invalid value: replicas must be at least 2',
  );
  assert.equal((await api.create(gadgets, object('Gadget', 'a', { replicas: 2, class: 'x' }))).status, 201);
  const moved = await api.merge(`${gadgets}/a`, { spec: { class: 'y' } });
  assert.equal(moved.status, 422);
  assert.equal(
    moved.body.message,
    'Gadget.example.com "a" is invalid: spec.class: Invalid value: "y": class is immutable',
  );
  // Structural errors come first.
  const broken = await api.create(gadgets, object('Gadget', 'b', { replicas: 'many' }));
  assert.deepEqual(
    broken.body.details.causes.map((c: Json) => c.message),
    [
      'Invalid value: "string": spec.replicas in body must be of type integer: "string"',
      'Invalid value: null: some validation rules were not checked because the object was invalid; correct the existing errors to complete validation',
    ],
  );
  // A new rule does not get in the way of changes elsewhere.
  const strict = definition(
    'gadgets',
    'Gadget',
    spec([{ rule: "self in ['small', 'large']", message: 'small or large' }]),
  );
  const changed = await api.merge(`${crds}/gadgets.example.com`, { spec: { versions: strict.spec.versions } });
  assert.equal(changed.status, 200, changed.text);
  const updated = await api.merge(`${gadgets}/a`, { spec: { replicas: 5 } });
  assert.equal(updated.status, 200, updated.text);
  assert.deepEqual(updated.warnings, ['spec.class: Invalid value: "x": small or large']);
  assert.equal((await api.create(gadgets, object('Gadget', 'c', { replicas: 5, class: 'x' }))).status, 422);
});
