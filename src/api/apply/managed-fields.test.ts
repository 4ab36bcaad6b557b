/** Field management: what upstream writes into managedFields, conflicts, pruning, migration from client-side apply. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { loadCatalog } from '../catalog/catalog.ts';
import type { KubeObject, ManagedFieldsEntry } from '../object.ts';
import { canonicalize } from '../schema/canonicalize.ts';
import type { ObjectSchema } from '../schema/schema.ts';
import { StatusError } from '../status.ts';
import { FieldManager, ignoreManagedFieldsTimestamps, lastAppliedAnnotation } from './managed-fields.ts';

const catalog = loadCatalog();
const deploymentSchema = catalog.schema('io.k8s.api.apps.v1.Deployment');
const configMapSchema = catalog.schema('io.k8s.api.core.v1.ConfigMap');
const podSchema = catalog.schema('io.k8s.api.core.v1.Pod');
const t0 = '2026-01-01T00:00:00Z';
const t1 = '2026-01-01T00:01:00Z';
const t2 = '2026-01-01T00:02:00Z';

function freeze<T>(value: T): T {
  if (typeof value === 'object' && value !== null && !Object.isFrozen(value)) {
    Object.freeze(value);
    for (const v of Object.values(value)) freeze(v);
  }
  return value;
}

function object(schema: ObjectSchema, value: object, previous?: KubeObject): KubeObject {
  return freeze(canonicalize(schema, structuredClone(value), previous)) as KubeObject;
}

const deployments = new FieldManager({
  schema: deploymentSchema,
  apiVersion: 'apps/v1',
  kind: 'Deployment',
  resetFields: { 'apps/v1': [['status']] },
});
const configMaps = new FieldManager({ schema: configMapSchema, apiVersion: 'v1', kind: 'ConfigMap' });

const entry = (o: KubeObject, manager: string): ManagedFieldsEntry | undefined =>
  o.metadata.managedFields?.find((e) => e.manager === manager);

const deployment = (replicas: number, image = 'nginx'): object => ({
  apiVersion: 'apps/v1',
  kind: 'Deployment',
  metadata: { name: 'web', namespace: 'default', labels: { app: 'web' } },
  spec: {
    replicas,
    selector: { matchLabels: { app: 'web' } },
    strategy: { type: 'RollingUpdate', rollingUpdate: { maxSurge: '25%', maxUnavailable: '25%' } },
    template: {
      metadata: { labels: { app: 'web' } },
      spec: {
        containers: [
          {
            name: 'nginx',
            image,
            ports: [
              { containerPort: 443, protocol: 'TCP' },
              { containerPort: 80, protocol: 'TCP' },
            ],
          },
        ],
      },
    },
  },
});

/** The value at a path of members. */
function at(value: unknown, ...path: readonly (string | number)[]): unknown {
  let v = value;
  for (const key of path) v = (v as Record<string | number, unknown> | undefined)?.[key];
  return v;
}

const uid = { uid: 'u' };
function stored(o: KubeObject): KubeObject {
  return freeze({ ...o, metadata: { ...o.metadata, ...uid } });
}

test('a create owns what it says, as upstream writes it', () => {
  const created = deployments.updateObject(undefined, object(deploymentSchema, deployment(3)), 'kubectl-create', t0);
  assert.equal(
    JSON.stringify(created.metadata.managedFields),
    JSON.stringify([
      {
        manager: 'kubectl-create',
        operation: 'Update',
        apiVersion: 'apps/v1',
        time: t0,
        fieldsType: 'FieldsV1',
        fieldsV1: {
          'f:metadata': { 'f:labels': { '.': {}, 'f:app': {} } },
          'f:spec': {
            'f:replicas': {},
            'f:selector': {},
            'f:strategy': { 'f:rollingUpdate': { '.': {}, 'f:maxSurge': {}, 'f:maxUnavailable': {} }, 'f:type': {} },
            'f:template': {
              'f:metadata': { 'f:labels': { '.': {}, 'f:app': {} } },
              'f:spec': {
                'f:containers': {
                  'k:{"name":"nginx"}': {
                    '.': {},
                    'f:image': {},
                    'f:name': {},
                    'f:ports': {
                      '.': {},
                      'k:{"containerPort":80,"protocol":"TCP"}': { '.': {}, 'f:containerPort': {}, 'f:protocol': {} },
                      'k:{"containerPort":443,"protocol":"TCP"}': { '.': {}, 'f:containerPort': {}, 'f:protocol': {} },
                    },
                    'f:resources': {},
                  },
                },
              },
            },
          },
        },
      },
    ]),
  );
});

test('updates take fields over, and leave alone what does not change', () => {
  const live = stored(deployments.updateObject(undefined, object(deploymentSchema, deployment(3)), 'a', t0));
  const again = deployments.updateObject(live, live, 'b', t1);
  assert.equal(again, live);

  const scaled = deployments.updateObject(
    live,
    object(deploymentSchema, { ...deployment(5), metadata: live.metadata }, live),
    'b',
    t1,
  );
  assert.deepEqual(entry(scaled, 'b')?.fieldsV1, { 'f:spec': { 'f:replicas': {} } });
  assert.equal(at(entry(scaled, 'a'), 'fieldsV1', 'f:spec', 'f:replicas'), undefined);
  assert.equal(entry(scaled, 'a')?.time, t0);

  const relabelled = deployments.updateObject(
    live,
    object(deploymentSchema, { ...live, metadata: { ...live.metadata, labels: { app: 'x' } } }, live),
    'a',
    t1,
  );
  assert.equal(entry(relabelled, 'a')?.fieldsV1, entry(live, 'a')?.fieldsV1);
  assert.equal(entry(relabelled, 'a')?.time, t1);

  const { labels: _, ...bare } = live.metadata;
  const unlabelled = deployments.updateObject(
    live,
    object(deploymentSchema, { ...live, metadata: bare }, live),
    'b',
    t1,
  );
  assert.equal(entry(unlabelled, 'b'), undefined);
  assert.equal(at(entry(unlabelled, 'a'), 'fieldsV1', 'f:metadata'), undefined);
  assert.equal(entry(unlabelled, 'a')?.time, t0);

  const status = deployments.updateObject(
    live,
    object(deploymentSchema, { ...live, status: { replicas: 1 } }, live),
    'b',
    t1,
  );
  assert.equal(entry(status, 'b'), undefined, 'reset fields are never owned');
});

test('what a request sends as managedFields', () => {
  const live = stored(
    configMaps.updateObject(
      undefined,
      object(configMapSchema, { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'c' }, data: { a: '1' } }),
      'a',
      t0,
    ),
  );
  const withFields = (managedFields: unknown, data = { a: '1' }): KubeObject =>
    freeze({ ...live, data, metadata: { ...live.metadata, managedFields } }) as KubeObject;
  assert.equal(configMaps.updateObject(live, withFields([]), 'b', t1).metadata.managedFields, undefined);
  assert.equal(configMaps.updateObject(live, withFields([{}]), 'b', t1).metadata.managedFields, undefined);
  const untracked = configMaps.updateObject(live, withFields([]), 'b', t1);
  assert.equal(configMaps.updateObject(untracked, untracked, 'c', t2).metadata.managedFields, undefined);
  const kept = configMaps.updateObject(live, withFields(undefined), 'b', t1);
  assert.equal(kept.metadata.managedFields, live.metadata.managedFields);
  const bad = [{ manager: 'x', operation: 'Frob', apiVersion: 'v1', fieldsType: 'FieldsV1', fieldsV1: {} }];
  assert.equal(
    configMaps.updateObject(live, withFields(bad), 'b', t1).metadata.managedFields,
    live.metadata.managedFields,
  );
  const own = [
    {
      manager: 'x',
      operation: 'Update',
      apiVersion: 'v1',
      time: t0,
      fieldsType: 'FieldsV1',
      fieldsV1: { 'f:data': { 'f:z': {}, '.': {}, 'f:a': {} }, 'q:future': {} },
    },
  ];
  const taken = configMaps.updateObject(live, withFields(own), 'b', t1);
  assert.equal(JSON.stringify(taken.metadata.managedFields?.[0]?.fieldsV1), '{"f:data":{".":{},"f:a":{},"f:z":{}}}');
  const ofStatus = new FieldManager({ schema: configMapSchema, apiVersion: 'v1', subresource: 'status' });
  assert.equal(
    ofStatus.updateObject(live, withFields([]), 'b', t1).metadata.managedFields,
    live.metadata.managedFields,
  );
});

const config = (data: Record<string, string>, more: object = {}): KubeObject =>
  freeze({ apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'c', ...more }, data }) as unknown as KubeObject;

const bare = freeze({ apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'c' } }) as unknown as KubeObject;

test('apply creates, changes, gives up and prunes', () => {
  const created = stored(configMaps.applyObject(undefined, config({ a: '1', b: '2' }), 'one', false, t0));
  assert.deepEqual(created['data'], { a: '1', b: '2' });
  assert.deepEqual(created.metadata.managedFields, [
    {
      manager: 'one',
      operation: 'Apply',
      apiVersion: 'v1',
      time: t0,
      fieldsType: 'FieldsV1',
      fieldsV1: { 'f:data': { 'f:a': {}, 'f:b': {} } },
    },
  ]);
  assert.equal(configMaps.applyObject(created, config({ a: '1', b: '2' }), 'one', false, t1), created);

  const both = stored(configMaps.applyObject(created, config({ a: '1', c: '3' }), 'two', false, t1));
  assert.deepEqual(both['data'], { a: '1', b: '2', c: '3' });

  // b goes with its only owner, a stays with the other one.
  const less = configMaps.applyObject(both, bare, 'one', false, t2);
  assert.deepEqual(less['data'], { a: '1', c: '3' });
  assert.equal(entry(less, 'one'), undefined);
  assert.deepEqual(entry(less, 'two')?.fieldsV1, { 'f:data': { 'f:a': {}, 'f:c': {} } });
});

test('what an updater owns is not pruned', () => {
  const created = stored(configMaps.applyObject(undefined, config({ a: '1' }), 'one', false, t0));
  const edited = stored(
    configMaps.updateObject(
      created,
      object(configMapSchema, { ...created, data: { a: '1', b: 'x' } }, created),
      'editor',
      t1,
    ),
  );
  const after = configMaps.applyObject(edited, bare, 'one', false, t2);
  assert.deepEqual(after['data'], { b: 'x' });
});

function conflictsOf(run: () => unknown): StatusError {
  try {
    run();
  } catch (e) {
    assert.ok(e instanceof StatusError);
    return e;
  }
  assert.fail('no conflict');
}

test('conflicts', () => {
  const live = stored(
    deployments.updateObject(undefined, object(deploymentSchema, deployment(3)), 'kubectl-create', t0),
  );
  const one = conflictsOf(() =>
    deployments.applyObject(
      live,
      { apiVersion: 'apps/v1', kind: 'Deployment', metadata: { name: 'web' }, spec: { replicas: 5 } },
      'x',
      false,
      t1,
    ),
  );
  assert.equal(
    one.message,
    'Apply failed with 1 conflict: conflict with "kubectl-create" using apps/v1: .spec.replicas',
  );
  assert.equal(one.code, 409);
  assert.equal(one.reason, 'Conflict');
  assert.deepEqual(one.details, {
    causes: [
      {
        reason: 'FieldManagerConflict',
        message: 'conflict with "kubectl-create" using apps/v1',
        field: '.spec.replicas',
      },
    ],
  });
  const more = {
    apiVersion: 'apps/v1',
    kind: 'Deployment',
    metadata: { name: 'web' },
    spec: { replicas: 5, template: { spec: { containers: [{ name: 'nginx', image: 'other' }] } } },
  };
  assert.equal(
    conflictsOf(() => deployments.applyObject(live, more, 'x', false, t1)).message,
    'Apply failed with 2 conflicts: conflicts with "kubectl-create" using apps/v1:\n- .spec.replicas\n- .spec.template.spec.containers[name="nginx"].image',
  );
  const forced = deployments.applyObject(live, more, 'x', true, t1);
  assert.deepEqual(entry(forced, 'x')?.fieldsV1, {
    'f:spec': {
      'f:replicas': {},
      'f:template': {
        'f:spec': { 'f:containers': { 'k:{"name":"nginx"}': { '.': {}, 'f:image': {}, 'f:name': {} } } },
      },
    },
  });
  assert.deepEqual(
    forced.metadata.managedFields?.map((e) => e.manager),
    ['x', 'kubectl-create'],
  );
  // The same value is shared, not fought over.
  const shared = deployments.applyObject(
    live,
    { apiVersion: 'apps/v1', kind: 'Deployment', metadata: { name: 'web' }, spec: { replicas: 3 } },
    'x',
    false,
    t1,
  );
  assert.deepEqual(entry(shared, 'x')?.fieldsV1, { 'f:spec': { 'f:replicas': {} } });
  const applied = stored(deployments.applyObject(undefined, more, 'gitops', false, t0));
  assert.equal(
    conflictsOf(() => deployments.applyObject(applied, { ...more, spec: { replicas: 9 } }, 'x', false, t1)).message,
    'Apply failed with 1 conflict: conflict with "gitops": .spec.replicas',
  );
});

test('associative lists keep their order and merge by key', () => {
  const pods = new FieldManager({ schema: podSchema, apiVersion: 'v1' });
  const pod = (containers: object[]): KubeObject =>
    ({ apiVersion: 'v1', kind: 'Pod', metadata: { name: 'p' }, spec: { containers } }) as unknown as KubeObject;
  const live = stored(
    pods.applyObject(
      undefined,
      pod([
        { name: 'a', image: '1' },
        { name: 'b', image: '2' },
      ]),
      'one',
      false,
      t0,
    ),
  );
  const two = stored(
    pods.applyObject(
      live,
      pod([
        { name: 'c', image: '3' },
        { name: 'b', tty: true },
      ]),
      'two',
      false,
      t1,
    ),
  );
  assert.deepEqual(
    (at(two, 'spec', 'containers') as { name: string }[]).map((c) => c.name),
    ['a', 'c', 'b'],
  );
  const less = pods.applyObject(two, pod([{ name: 'c', image: '3' }]), 'two', false, t2);
  assert.deepEqual(at(less, 'spec', 'containers'), [
    { name: 'a', image: '1' },
    { name: 'c', image: '3' },
    { name: 'b', image: '2' },
  ]);
  assert.throws(() => pods.applyObject(live, pod([{ name: 'a' }, { name: 'a' }]), 'x', false, t1), {
    message:
      'failed to create typed patch object (/p; /v1, Kind=Pod): .spec.containers: duplicate entries for key [name="a"]',
  });
});

test('bad configurations', () => {
  const table: [object, string][] = [
    [{ apiVersion: 'v1', kind: 'Pod', metadata: {} }, 'invalid object type: /v1, Kind=Pod'],
    [{ apiVersion: 'v2', kind: 'ConfigMap', metadata: {} }, 'invalid object type: /v2, Kind=ConfigMap'],
    [{ apiVersion: 'v1', kind: 'ConfigMap', metadata: { managedFields: [] } }, 'metadata.managedFields must be nil'],
    [
      { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'c', namespace: 'n' }, dta: {} },
      'failed to create typed patch object (n/c; /v1, Kind=ConfigMap): .dta: field not declared in schema',
    ],
    [
      { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'c' }, data: { a: 1 }, immutable: 'x' },
      'failed to create typed patch object (/c; /v1, Kind=ConfigMap): errors:\n  .data.a: expected string, got &value.valueUnstructured{Value:1}\n  .immutable: expected boolean, got &{x}',
    ],
  ];
  for (const [value, message] of table) {
    assert.throws(
      () => configMaps.applyObject(undefined, value as KubeObject, 'x', false, t0),
      (e: StatusError) => {
        assert.equal(e.message, message);
        assert.equal(e.code, message.startsWith('failed') ? 500 : 400);
        return true;
      },
    );
  }
});

test('objects that nobody tracked belong to before-first-apply', () => {
  const live = stored(
    object(configMapSchema, { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'c' }, data: { a: '1' } }),
  );
  const applied = configMaps.applyObject(live, config({ b: '2' }), 'one', false, t1);
  assert.deepEqual(entry(applied, 'before-first-apply'), {
    manager: 'before-first-apply',
    operation: 'Update',
    apiVersion: 'v1',
    time: t1,
    fieldsType: 'FieldsV1',
    fieldsV1: { 'f:data': { '.': {}, 'f:a': {} } },
  });
});

test('kubectl moves from client-side to server-side apply without conflict', () => {
  const last = JSON.stringify({
    apiVersion: 'v1',
    kind: 'ConfigMap',
    metadata: { name: 'c', annotations: {} },
    data: { a: '1', b: '1' },
  });
  const base = {
    apiVersion: 'v1',
    kind: 'ConfigMap',
    metadata: { name: 'c', annotations: { [lastAppliedAnnotation]: last } },
    data: { a: '1', b: '9' },
  };
  const live = stored(
    configMaps.updateObject(undefined, object(configMapSchema, base), 'kubectl-client-side-apply', t0),
  );
  const moved = configMaps.applyObject(live, config({ a: '2' }), 'kubectl', false, t1);
  assert.deepEqual(moved['data'], { a: '2', b: '9' });
  assert.equal(
    moved.metadata.annotations?.[lastAppliedAnnotation],
    '{"apiVersion":"v1","data":{"a":"2"},"kind":"ConfigMap","metadata":{"name":"c"}}\n',
  );
  // b is no longer as kubectl set it, and so is not kubectl's to take.
  assert.equal(
    conflictsOf(() => configMaps.applyObject(live, config({ a: '2', b: '3' }), 'kubectl', false, t1)).message,
    'Apply failed with 1 conflict: conflict with "kubectl-client-side-apply" using v1: .data.b',
  );
});

test('updaters beyond ten become ancient-changes', () => {
  let live = stored(
    configMaps.updateObject(
      undefined,
      object(configMapSchema, { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'c' }, data: { k0: '' } }),
      'm00',
      t0,
    ),
  );
  for (let i = 1; i < 13; i++) {
    const data = { ...(live['data'] as object), [`k${i}`]: '' };
    const time = `2026-01-01T00:00:${String(i).padStart(2, '0')}Z`;
    live = configMaps.updateObject(
      live,
      object(configMapSchema, { ...live, data }, live),
      `m${String(i).padStart(2, '0')}`,
      time,
    );
  }
  assert.equal(live.metadata.managedFields?.length, 10);
  const ancient = live.metadata.managedFields?.[0];
  assert.equal(ancient?.manager, 'ancient-changes');
  assert.equal(JSON.stringify(ancient?.fieldsV1), '{"f:data":{".":{},"f:k0":{},"f:k1":{},"f:k2":{},"f:k3":{}}}');
});

test('entries of other versions are followed through the conversion', () => {
  const schemaFor = (): ObjectSchema => configMapSchema;
  const swap = (o: KubeObject, apiVersion: string): KubeObject | undefined => {
    if (apiVersion === 'gone/v1') return undefined;
    const data = (o['data'] ?? {}) as Record<string, string>;
    return {
      ...o,
      apiVersion,
      data: Object.fromEntries(
        Object.entries(data).map(([k, v]) => [k === 'new' ? 'old' : k === 'old' ? 'new' : k, v]),
      ),
    };
  };
  const manager = new FieldManager({ schema: configMapSchema, apiVersion: 'v2', convert: swap, schemaFor });
  const fields = (name: string, apiVersion: string, field: string): ManagedFieldsEntry => ({
    manager: name,
    operation: 'Update',
    apiVersion,
    time: t0,
    fieldsType: 'FieldsV1',
    fieldsV1: { 'f:data': { [`f:${field}`]: {} } },
  });
  const live = freeze({
    apiVersion: 'v2',
    kind: 'ConfigMap',
    metadata: { name: 'c', uid: 'u', managedFields: [fields('a', 'v1', 'old'), fields('b', 'gone/v1', 'x')] },
    data: { new: '1', x: '1' },
  }) as unknown as KubeObject;
  const next = manager.updateObject(live, { ...live, data: { new: '2', x: '1' } }, 'c', t1);
  assert.deepEqual(
    next.metadata.managedFields?.map((e) => [e.manager, e.fieldsV1]),
    [['c', { 'f:data': { 'f:new': {} } }]],
  );
});

test('a change of times alone is none', () => {
  const live = stored(
    configMaps.updateObject(
      undefined,
      object(configMapSchema, { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'c' }, data: { a: '1' } }),
      'a',
      t0,
    ),
  );
  const touched = {
    ...live,
    metadata: { ...live.metadata, managedFields: live.metadata.managedFields?.map((e) => ({ ...e, time: t1 })) },
  };
  assert.equal(ignoreManagedFieldsTimestamps(live, touched).metadata.managedFields, live.metadata.managedFields);
  const changed = { ...touched, data: { a: '2' } };
  assert.equal(ignoreManagedFieldsTimestamps(live, changed), changed);
});
