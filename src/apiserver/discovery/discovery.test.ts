import assert from 'node:assert/strict';
import { test } from 'node:test';
import { loadCatalog } from '../../api/catalog/catalog.ts';
import type { ResourceInfo } from '../../api/catalog/resource.ts';
import { ResourceDirectory, compareVersions } from '../resource-directory.ts';
import { aggregatedList, apiResourceList } from './documents.ts';

const catalog = loadCatalog();

test('documents have the members of upstream', () => {
  const directory = new ResourceDirectory(catalog, (r) => catalog.isEnabled(r.group, r.version));
  const apps = directory.group('apps')!.versions[0]!;
  const list = apiResourceList(apps) as { resources: { name: string }[] };
  assert.deepEqual(
    list.resources.map((r) => r.name),
    [
      'controllerrevisions',
      'daemonsets',
      'daemonsets/status',
      'deployments',
      'deployments/scale',
      'deployments/status',
      'replicasets',
      'replicasets/scale',
      'replicasets/status',
      'statefulsets',
      'statefulsets/scale',
      'statefulsets/status',
    ],
  );
  assert.deepEqual(list.resources[4], {
    name: 'deployments/scale',
    singularName: '',
    namespaced: true,
    group: 'autoscaling',
    version: 'v1',
    kind: 'Scale',
    verbs: ['get', 'patch', 'update'],
  });
  const aggregated = aggregatedList([directory.group('apps')!], 'v2') as { items: { metadata: unknown }[] };
  assert.deepEqual(aggregated.items[0]!.metadata, { name: 'apps' });
});

test('custom resources come after the built-in groups, newest version preferred', () => {
  const directory = new ResourceDirectory(catalog, (r) => catalog.isEnabled(r.group, r.version));
  const widget = (version: string): ResourceInfo => ({
    ...catalog.resource('', 'v1', 'configmaps')!,
    group: 'example.com',
    version,
    resource: 'widgets',
    kind: 'Widget',
    custom: true,
  });
  const before = directory.generation;
  directory.setCustom('widgets.example.com', [widget('v1beta1'), widget('v1'), widget('v2alpha1')]);
  assert.ok(directory.generation > before);
  const group = directory.groups().at(-1)!;
  assert.equal(group.group, 'example.com');
  assert.deepEqual(
    group.versions.map((v) => v.version),
    ['v1', 'v1beta1', 'v2alpha1'],
  );
  assert.equal(directory.resource('example.com', 'v1', 'widgets')?.kind, 'Widget');
  directory.removeCustom('widgets.example.com');
  assert.equal(directory.resource('example.com', 'v1', 'widgets'), undefined);
  assert.equal(directory.group('example.com'), undefined);
});

test('versions sort as upstream sorts them', () => {
  const versions = ['v1alpha1', 'foo1', 'v10', 'v2beta1', 'v1', 'v2', 'foo10', 'v1beta2'];
  assert.deepEqual(versions.sort(compareVersions), [
    'v10',
    'v2',
    'v1',
    'v2beta1',
    'v1beta2',
    'v1alpha1',
    'foo1',
    'foo10',
  ]);
});
