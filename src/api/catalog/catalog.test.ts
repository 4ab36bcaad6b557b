import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { ObjectSchema, Schema } from '../schema/schema.ts';
import { loadCatalog } from './catalog.ts';

const catalog = loadCatalog();

test('all groups and versions are there, in the order of discovery', () => {
  assert.equal(catalog.groups.length, 23);
  assert.equal(catalog.groupVersions.length, 36);
  assert.equal(catalog.groupVersions.filter((v) => v.enabledByDefault).length, 22);
  assert.deepEqual(
    catalog.groups.slice(0, 5).map((g) => g.group),
    ['', 'apiregistration.k8s.io', 'apps', 'events.k8s.io', 'authentication.k8s.io'],
  );
  assert.equal(catalog.preferredVersion('autoscaling'), 'v2');
  assert.equal(catalog.isEnabled('storage.k8s.io', 'v1beta1'), false);
});

test('resources know where and as what they are stored', () => {
  const facts = (group: string, version: string, plural: string) => {
    const r = catalog.resource(group, version, plural)!;
    return [r.keyPrefix, r.storageVersion, r.storageGroup];
  };
  assert.deepEqual(facts('', 'v1', 'nodes'), ['minions', 'v1', undefined]);
  assert.deepEqual(facts('', 'v1', 'services'), ['services/specs', 'v1', undefined]);
  assert.deepEqual(facts('', 'v1', 'endpoints'), ['services/endpoints', 'v1', undefined]);
  assert.deepEqual(facts('', 'v1', 'replicationcontrollers'), ['controllers', 'v1', undefined]);
  assert.deepEqual(facts('networking.k8s.io', 'v1', 'ingresses'), ['ingress', 'v1', undefined]);
  assert.deepEqual(facts('apps', 'v1', 'deployments'), ['deployments', 'v1', undefined]);
  assert.deepEqual(facts('autoscaling', 'v1', 'horizontalpodautoscalers'), [
    'horizontalpodautoscalers',
    'v2',
    undefined,
  ]);
  assert.deepEqual(facts('events.k8s.io', 'v1', 'events'), ['events', 'v1', '']);
  assert.deepEqual(facts('apiregistration.k8s.io', 'v1', 'apiservices'), [
    'apiregistration.k8s.io/apiservices',
    'v1',
    undefined,
  ]);
  assert.equal(catalog.byKind('', 'v1', 'Pod')?.resource, 'pods');
  assert.ok(catalog.byKind('', 'v1', 'Pod')!.subresources.some((s) => s.name === 'eviction' && s.group === 'policy'));
});

test('kinds without a resource have schemas too', () => {
  const kinds: [string, string, string][] = [
    ['autoscaling', 'v1', 'Scale'],
    ['policy', 'v1', 'Eviction'],
    ['', 'v1', 'PodExecOptions'],
    ['apps', 'v1', 'DeleteOptions'],
    ['meta.k8s.io', 'v1', 'Table'],
    ['admission.k8s.io', 'v1', 'AdmissionReview'],
    ['apps', 'v1', 'DeploymentList'],
    ['', 'v1', 'Status'],
  ];
  for (const [group, version, kind] of kinds) assert.ok(catalog.schemaForKind({ group, version, kind }), kind);
  assert.equal(catalog.schemaForKind({ group: 'apps', version: 'v2', kind: 'Deployment' }), undefined);
});

test('every type of every kind resolves', () => {
  const seen = new Set<Schema>();
  const visit = (schema: Schema): void => {
    if (seen.has(schema)) return;
    seen.add(schema);
    if (schema.kind === 'object') for (const field of schema.fields.values()) visit(field.schema);
    else if (schema.kind === 'list') visit(schema.items);
    else if (schema.kind === 'map') visit(schema.values);
    else if (schema.kind === 'either') visit(schema.object);
  };
  for (const definition of catalog.definitions()) visit(catalog.schema(definition));
  assert.ok(seen.size > 1000);
});

test('facts of members: merge keys, numbers of inlined messages, zero values, map types', () => {
  const field = (definition: string, name: string) =>
    catalog.schema(`io.k8s.api.core.v1.${definition}`).fields.get(name)!;
  const ports = field('Container', 'ports');
  assert.equal(ports.patchMergeKey, 'containerPort');
  assert.deepEqual(ports.schema.kind === 'list' && ports.schema.mapKeys, ['containerPort', 'protocol']);
  assert.deepEqual(field('Volume', 'hostPath').within, [2]);
  assert.equal(field('PodSpec', 'hostNetwork').omitEmpty, true);
  assert.equal(field('PodSpec', 'terminationGracePeriodSeconds').presence, 'pointer');
  assert.deepEqual(field('Pod', 'status').zero, {});
  assert.equal((field('PersistentVolumeSpec', 'claimRef').schema as ObjectSchema).atomic, false);
  assert.equal((field('Event', 'involvedObject').schema as ObjectSchema).atomic, true);
});
