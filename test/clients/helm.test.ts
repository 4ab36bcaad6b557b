/** Helm, the real binary: a chart of Deployments, hooks, a CRD and its object is installed, upgraded, rolled back, tested, removed. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { createCluster } from '../../src/index.ts';
import { requirePeer } from '../support/peers.ts';
import { run } from './cases.ts';

const chart = join(import.meta.dirname, 'chart');
const limitMs = 120_000;

test('a chart from installation to removal', async (t) => {
  const helm = requirePeer(t, 'helm');
  if (helm === undefined) return;
  const dir = mkdtempSync(join(tmpdir(), 'knarr-helm-'));
  await using cluster = await createCluster({ nodes: 1, https: { port: 0 } });
  const { client } = cluster;
  const kubeconfig = join(dir, 'kubeconfig');
  writeFileSync(kubeconfig, cluster.kubeconfig!);
  const call = async (...args: string[]): Promise<string> => {
    const env = { ...process.env, KUBECONFIG: kubeconfig, HOME: dir, HELM_CACHE_HOME: dir, HELM_CONFIG_HOME: dir };
    return (await run(helm, [...args, '-n', 'shop'], { env, timeout: limitMs })).stdout;
  };
  const deployment = () => client.apps.deployments.get('one', 'shop');
  try {
    await t.test('install with hooks, a CRD and --wait', async () => {
      const said = await call('install', 'one', chart, '--create-namespace', '--wait', '--timeout', '90s');
      assert.match(said, /STATUS: deployed\nREVISION: 1/);
      assert.equal((await deployment()).status?.readyReplicas, 2);
      const job = await client.batch.jobs.get('one-before', 'shop');
      assert.equal(job.status?.succeeded, 1);
      const map = await client.core.configmaps.get('one', 'shop');
      assert.match(map.data!['server']!, /^v1\.36\.\d+\+knarr/);
      // Helm keeps releases in Secrets of a type of its own.
      const release = await client.core.secrets.get('sh.helm.release.v1.one.v1', 'shop');
      assert.equal(release.type, 'helm.sh/release.v1');
    });
    await t.test('a second install and a chart that the server refuses', async () => {
      await assert.rejects(call('install', 'one', chart), /cannot re-?use a name that is still in use/);
      await assert.rejects(
        call('install', 'two', chart, '--skip-crds', '--set', 'replicas=-1'),
        /spec\.replicas: Invalid value: -1: must be greater than or equal to 0/,
      );
      await call('uninstall', 'two');
    });
    await t.test('upgrade changes, adds and waits', async () => {
      await call('upgrade', 'one', chart, '--wait', '--set', 'replicas=3,image=nginx:2,greeting=bonjour,extra=true');
      const d = await deployment();
      assert.equal(d.status?.updatedReplicas, 3);
      assert.equal(d.spec?.template.spec?.containers[0]!.image, 'nginx:2');
      assert.equal((await client.core.configmaps.get('one', 'shop')).data!['greeting'], 'bonjour');
      assert.ok(await client.policy.poddisruptionbudgets.get('one', 'shop'));
    });
    await t.test('rollback puts the first revision back and removes what it had not', async () => {
      await call('rollback', 'one', '1', '--wait');
      const d = await deployment();
      assert.equal(d.spec?.replicas, 2);
      assert.equal(d.spec?.template.spec?.containers[0]!.image, 'nginx:1');
      await assert.rejects(client.policy.poddisruptionbudgets.get('one', 'shop'), /not found/);
      const history = JSON.parse(await call('history', 'one', '-o', 'json')) as { status: string }[];
      assert.deepEqual(
        history.map((h) => h.status),
        ['superseded', 'superseded', 'deployed'],
      );
    });
    await t.test('its test runs', async () => {
      assert.match(await call('test', 'one'), /Phase:\s+Succeeded/);
    });
    await t.test('status, values, manifest and list', async () => {
      assert.match(await call('status', 'one'), /STATUS: deployed/);
      assert.match(await call('get', 'manifest', 'one'), /kind: Widget/);
      assert.equal((JSON.parse(await call('list', '-o', 'json')) as unknown[]).length, 1);
    });
    await t.test('uninstall leaves nothing but the CRD', async () => {
      await call('uninstall', 'one', '--wait');
      assert.deepEqual((await client.apps.deployments.list({ namespace: 'shop' })).items, []);
      assert.deepEqual(
        (await client.core.secrets.list({ namespace: 'shop' })).items.filter((s) => s.type === 'helm.sh/release.v1'),
        [],
      );
      assert.ok(await client.apiextensions.customresourcedefinitions.get('widgets.shop.example.com'));
    });
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
});
