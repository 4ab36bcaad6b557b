import assert from 'node:assert/strict';
import { test } from 'node:test';
import { loadCatalog } from '../catalog/catalog.ts';
import { customDefinitions } from './openapi-custom.ts';
import { openAPIDefinition, referencedDefinitions } from './openapi.ts';

const catalog = loadCatalog();

test('a definition tells list types, merge keys, formats and published defaults', () => {
  const describe = (_definition: string, field?: string) => (field === 'template' ? 'the pod' : undefined);
  const v2 = openAPIDefinition(catalog, 'io.k8s.api.core.v1.ContainerPort', { version: 'v2' });
  assert.deepEqual(v2, {
    properties: {
      containerPort: { format: 'int32', type: 'integer' },
      hostIP: { type: 'string' },
      hostPort: { format: 'int32', type: 'integer' },
      name: { type: 'string' },
      protocol: { type: 'string' },
    },
    required: ['containerPort'],
    type: 'object',
  });
  const v3 = openAPIDefinition(catalog, 'io.k8s.api.core.v1.ContainerPort', { version: 'v3' });
  const properties = v3['properties'] as Record<string, Record<string, unknown>>;
  assert.deepEqual(properties['protocol'], { default: 'TCP', type: 'string' });
  assert.deepEqual(properties['containerPort'], { default: 0, format: 'int32', type: 'integer' });
  const deployment = openAPIDefinition(catalog, 'io.k8s.api.apps.v1.DeploymentSpec', { version: 'v3', describe });
  assert.deepEqual((deployment['properties'] as Record<string, unknown>)['template'], {
    allOf: [{ $ref: '#/components/schemas/io.k8s.api.core.v1.PodTemplateSpec' }],
    default: {},
    description: 'the pod',
  });
  const spec = openAPIDefinition(catalog, 'io.k8s.api.core.v1.PodSpec', { version: 'v2' });
  assert.deepEqual((spec['properties'] as Record<string, unknown>)['containers'], {
    items: { $ref: '#/definitions/io.k8s.api.core.v1.Container' },
    type: 'array',
    'x-kubernetes-list-map-keys': ['name'],
    'x-kubernetes-list-type': 'map',
    'x-kubernetes-patch-merge-key': 'name',
    'x-kubernetes-patch-strategy': 'merge',
  });
});

test('every reference of every definition resolves', () => {
  for (const version of ['v2', 'v3'] as const) {
    const definition = (name: string) => openAPIDefinition(catalog, name, { version });
    const all = catalog.definitions().map(definition);
    assert.ok(referencedDefinitions(all, definition).length > 500);
  }
});

test('a custom kind has a definition and a list', () => {
  const definitions = customDefinitions(
    {
      group: 'stable.example.com',
      version: 'v1',
      kind: 'CronTab',
      listKind: 'CronTabList',
      plural: 'crontabs',
      schema: {
        type: 'object',
        properties: {
          spec: { type: 'object', required: ['n'], properties: { n: { type: 'integer', nullable: true } } },
        },
      },
    },
    { version: 'v2' },
  );
  assert.deepEqual(Object.keys(definitions), ['com.example.stable.v1.CronTab', 'com.example.stable.v1.CronTabList']);
  const own = definitions['com.example.stable.v1.CronTab']!;
  assert.deepEqual(own['properties'], {
    apiVersion: { type: 'string' },
    kind: { type: 'string' },
    metadata: { $ref: '#/definitions/io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta' },
    spec: { type: 'object', properties: { n: {} } },
  });
});
