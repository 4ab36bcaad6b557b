/** Default bindings that an administrator has changed, when the API server starts again. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createWorkspace, startApiServer, startStore } from '../support/api-server.ts';
import type { Json } from '../support/api.ts';

test('the binding that was split from that of discovery has what is granted there', async () => {
  const work = await createWorkspace();
  try {
    await using etcd = await startStore();
    const path = '/apis/rbac.authorization.k8s.io/v1/clusterrolebindings';
    const autoupdate = 'rbac.authorization.kubernetes.io/autoupdate';
    const group = (name: string): Json => ({ kind: 'Group', apiGroup: 'rbac.authorization.k8s.io', name });
    const change = async (annotations: Json, subjects: Json[]): Promise<void> => {
      await using server = await startApiServer(work, etcd);
      const changed = await server.api.merge(`${path}/system:discovery`, { metadata: { annotations }, subjects });
      assert.equal(changed.status, 200, changed.text);
      assert.equal((await server.api.delete(`${path}/system:public-info-viewer`)).status, 200);
    };
    const viewer = async (): Promise<Json> => {
      await using server = await startApiServer(work, etcd);
      return (await server.api.get(`${path}/system:public-info-viewer`)).body as Json;
    };
    await change({ [autoupdate]: 'false', mine: 'yes' }, [group('system:authenticated')]);
    const kept = await viewer();
    assert.deepEqual(kept.metadata.annotations, { [autoupdate]: 'false', mine: 'yes' });
    assert.deepEqual(kept.subjects, [group('system:authenticated')]);
    // Where it is brought up to date by itself, what belongs to it is added.
    await change({ [autoupdate]: 'true', mine: null }, [group('others')]);
    const mended = await viewer();
    assert.deepEqual(
      (mended.subjects as Json[]).map((s) => s.name as string),
      ['others', 'system:authenticated', 'system:unauthenticated'],
    );
  } finally {
    work.dispose();
  }
});
