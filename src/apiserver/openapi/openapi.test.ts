import assert from 'node:assert/strict';
import { test } from 'node:test';
import { loadCatalog } from '../../api/catalog/catalog.ts';
import { ResourceDirectory } from '../resource-directory.ts';
import { OpenAPIDocuments } from './documents.ts';
import { encodeDocumentV2 } from './proto-v2.ts';

const catalog = loadCatalog();
const directory = new ResourceDirectory(catalog, (r) => catalog.isEnabled(r.group, r.version));
const documents = new OpenAPIDocuments({
  catalog,
  describe: () => undefined,
  gitVersion: 'v1.36.4+knarr.1',
  customSchema: () => ({ type: 'object', properties: { spec: { type: 'object' } } }),
});

type Doc = {
  paths: Record<string, Record<string, Record<string, unknown>>>;
  components: { schemas: Record<string, unknown> };
  definitions: Record<string, unknown>;
};

test('a v3 document has the operations of its resources and every definition they refer to', () => {
  const doc = documents.versionDocument(directory.group('apps')!.versions[0]!) as unknown as Doc;
  const item = doc.paths['/apis/apps/v1/namespaces/{namespace}/deployments/{name}']!;
  assert.equal(item['patch']!['operationId'], 'patchAppsV1NamespacedDeployment');
  assert.equal(item['patch']!['x-kubernetes-action'], 'patch');
  assert.deepEqual(item['patch']!['x-kubernetes-group-version-kind'], {
    group: 'apps',
    version: 'v1',
    kind: 'Deployment',
  });
  const shared = (item['parameters'] as unknown as { name: string }[]).map((p) => p.name);
  assert.deepEqual(shared, ['name', 'namespace', 'pretty']);
  const refs = [...JSON.stringify(doc).matchAll(/"#\/components\/schemas\/([^"]+)"/g)].map((m) => m[1]!);
  for (const ref of refs) assert.ok(ref in doc.components.schemas, ref);
});

test('operation ids are unique and connections have their own', () => {
  const doc = documents.wholeDocument(directory.groups()) as unknown as Doc;
  const ids = Object.values(doc.paths).flatMap((item) =>
    Object.values(item).flatMap((o) => ('operationId' in o ? [o['operationId'] as string] : [])),
  );
  assert.equal(new Set(ids).size, ids.length);
  assert.ok(ids.includes('connectCoreV1GetNamespacedPodProxyWithPath'));
  assert.ok(ids.includes('listRbacAuthorizationV1RoleBindingForAllNamespaces'));
});

test('custom resources appear with their schema', () => {
  const served = new ResourceDirectory(catalog, (r) => catalog.isEnabled(r.group, r.version));
  served.setCustom('crontabs.stable.example.com', [
    {
      ...catalog.resource('', 'v1', 'configmaps')!,
      group: 'stable.example.com',
      resource: 'crontabs',
      singular: 'crontab',
      kind: 'CronTab',
      listKind: 'CronTabList',
      custom: true,
    },
  ]);
  const doc = documents.versionDocument(served.group('stable.example.com')!.versions[0]!) as unknown as Doc;
  const item = doc.paths['/apis/stable.example.com/v1/namespaces/{namespace}/crontabs']!;
  assert.equal(item['post']!['operationId'], 'createStableExampleComV1NamespacedCronTab');
  assert.ok('com.example.stable.v1.CronTab' in doc.components.schemas);
});

test('a custom kind whose definition would be called as a built-in one does not take its place', () => {
  const served = new ResourceDirectory(catalog, (r) => catalog.isEnabled(r.group, r.version));
  const group = 'apps.api.k8s.io';
  served.setCustom(`deployments.${group}`, [
    { ...catalog.resource('apps', 'v1', 'deployments')!, group, custom: true },
  ]);
  const doc = documents.wholeDocument(served.groups()) as unknown as Doc;
  const name = 'io.k8s.api.apps.v1.Deployment';
  const plain = documents.wholeDocument(directory.groups()) as unknown as Doc;
  assert.deepEqual(doc.definitions[name], plain.definitions[name]);
  assert.ok(`${name}_v2` in doc.definitions);
  const refs = (path: string): string => JSON.stringify(doc.paths[path]);
  assert.ok(refs(`/apis/${group}/v1/namespaces/{namespace}/deployments/{name}`).includes(`${name}_v2"`));
  assert.ok(!refs('/apis/apps/v1/namespaces/{namespace}/deployments/{name}').includes('_v2'));
});

test('the protobuf form of v2 starts with the version and holds every path', () => {
  const doc = documents.wholeDocument(directory.groups());
  const bytes = encodeDocumentV2(doc);
  assert.equal(bytes.subarray(0, 5).toString('latin1'), '\x0a\x032.0');
  for (const path of Object.keys((doc as unknown as Doc).paths)) assert.ok(bytes.includes(path), path);
});
