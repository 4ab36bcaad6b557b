/** StorageVersionMigration, with its gate and API switched on: objects are written anew, and old versions are left behind. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createCluster } from '../../src/index.ts';
import { connectApi } from '../support/api.ts';
import type { Json } from '../support/api.ts';

const definitions = '/apis/apiextensions.k8s.io/v1/customresourcedefinitions';
const migrations = '/apis/storagemigration.k8s.io/v1beta1/storageversionmigrations';

test('a migration writes every object in the storage version and takes the old one out of the list', async () => {
  const cluster = await createCluster({
    nodes: 0,
    https: { port: 0 },
    disable: ['cloud-controller-manager', 'dns'],
    featureGates: { StorageVersionMigrator: true },
    runtimeConfig: { 'storagemigration.k8s.io/v1beta1': 'true' },
  });
  const api = connectApi(cluster);
  try {
    const version = (name: string, storage: boolean): Json => ({
      name,
      served: true,
      storage,
      schema: { openAPIV3Schema: { type: 'object', 'x-kubernetes-preserve-unknown-fields': true } },
    });
    const name = 'movers.stable.example.com';
    const made = await api.create(definitions, {
      apiVersion: 'apiextensions.k8s.io/v1',
      kind: 'CustomResourceDefinition',
      metadata: { name },
      spec: {
        group: 'stable.example.com',
        scope: 'Namespaced',
        names: { plural: 'movers', singular: 'mover', kind: 'Mover', listKind: 'MoverList' },
        versions: [version('v1', true), version('v2', false)],
      },
    });
    assert.equal(made.status, 201, made.text);
    const until = async (what: string, holds: () => Promise<boolean>): Promise<void> => {
      for (let i = 0; i < 200; i++) {
        if (await holds()) return;
        await new Promise((resolve) => setTimeout(resolve, 25));
      }
      assert.fail(`${what}: it did not come about`);
    };
    const movers = '/apis/stable.example.com/v1/namespaces/default/movers';
    await until('the resource', async () => (await api.get(movers)).status === 200);
    const versions = new Map<string, string>();
    for (let i = 0; i < 20; i++) {
      const { body } = await api.create(movers, {
        apiVersion: 'stable.example.com/v1',
        kind: 'Mover',
        metadata: { name: `m${i}` },
        n: i,
      });
      versions.set(body.metadata.name, body.metadata.resourceVersion);
    }
    const turned = await api.request(
      'PATCH',
      `${definitions}/${name}`,
      [
        { op: 'replace', path: '/spec/versions/0/storage', value: false },
        { op: 'replace', path: '/spec/versions/1/storage', value: true },
      ],
      { 'content-type': 'application/json-patch+json' },
    );
    assert.deepEqual(turned.body.status.storedVersions, ['v1', 'v2']);
    const migration = (n: string, resource: Json): Json => ({
      apiVersion: 'storagemigration.k8s.io/v1beta1',
      kind: 'StorageVersionMigration',
      metadata: { name: n },
      spec: { resource },
    });
    const asked = await api.create(migrations, migration('move', { group: 'stable.example.com', resource: 'movers' }));
    assert.equal(asked.status, 201, asked.text);
    const conditions = async (path: string): Promise<Record<string, string>> =>
      Object.fromEntries(
        ((await api.get(path)).body.status?.conditions ?? []).map((c: Json) => [c.type, `${c.status} ${c.reason}`]),
      );
    await until(
      'the end of the migration',
      async () => (await conditions(`${migrations}/move`))['Running']?.startsWith('False') === true,
    );
    assert.deepEqual(await conditions(`${migrations}/move`), {
      Running: 'False MigrationCompleted',
      Succeeded: 'True StorageVersionMigrationSucceeded',
    });
    const { body: crd } = await api.get(`${definitions}/${name}`);
    assert.deepEqual(crd.status.storedVersions, ['v2']);
    assert.equal((await conditions(`${definitions}/${name}`))['StorageMigrating'], 'False MigrationSucceeded');
    const { body: list } = await api.get(movers);
    for (const o of list.items) {
      assert.notEqual(o.metadata.resourceVersion, versions.get(o.metadata.name), o.metadata.name);
      assert.equal(o.metadata.generation, 1);
    }

    // A second one finds everything where it belongs, and writes nothing.
    await api.create(migrations, migration('again', { group: 'stable.example.com', resource: 'movers' }));
    await until(
      'the end of the second',
      async () => (await conditions(`${migrations}/again`))['Running']?.startsWith('False') === true,
    );
    const { body: after } = await api.get(movers);
    assert.deepEqual(
      after.items.map((o: Json) => o.metadata.resourceVersion),
      list.items.map((o: Json) => o.metadata.resourceVersion),
    );
  } finally {
    api.close();
    await cluster.close();
  }
});
