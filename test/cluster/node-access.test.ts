/** What a node reaches through the pods on it: Secrets of their volumes, and tokens for the audiences that they ask for. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { createWorkspace, startApiServer, startStore } from '../support/api-server.ts';
import type { RunningApiServer, TestStore, Workspace } from '../support/api-server.ts';
import { connectApi } from '../support/api.ts';
import type { Api, Json } from '../support/api.ts';

let work: Workspace;
let etcd: TestStore;

before(async () => {
  work = await createWorkspace();
  etcd = await startStore();
});

after(async () => {
  await etcd[Symbol.asyncDispose]();
  work.dispose();
});

async function withNodes(
  flags: readonly string[],
  run: (api: Api, one: Api, two: Api) => Promise<void>,
): Promise<void> {
  const tokens = work.write(
    'tokens',
    'n1,system:node:node1,u1,"system:nodes"\nn2,system:node:node2,u2,"system:nodes"\n',
  );
  await using server: RunningApiServer = await startApiServer(work, etcd, [
    `--token-auth-file=${tokens}`,
    '--enable-admission-plugins=NodeRestriction',
    '--disable-admission-plugins=ServiceAccount',
    ...flags,
  ]);
  const [one, two] = ['n1', 'n2'].map((token) =>
    connectApi(
      {
        adminCredentials: {
          server: server.url,
          certificateAuthority: work.pki.get('ca.crt')!,
          clientCertificate: '',
          clientKey: '',
        },
      },
      { token },
    ),
  );
  try {
    await run(server.api, one!, two!);
  } finally {
    one!.close();
    two!.close();
  }
}

const core = '/api/v1/namespaces/default';

async function created(api: Api, path: string, object: Json): Promise<Json> {
  const answer = await api.create(path, object);
  assert.equal(answer.status, 201, answer.text);
  return answer.body as Json;
}

const pod = (name: string, volumes: readonly Json[], serviceAccountName = ''): Json => ({
  metadata: { name },
  spec: { nodeName: 'node1', serviceAccountName, containers: [{ name: 'c', image: 'i' }], volumes },
});

async function persistent(api: Api, name: string, source: Json): Promise<void> {
  const accessModes = ['ReadOnlyMany'];
  await created(api, '/api/v1/persistentvolumes', {
    metadata: { name },
    spec: { accessModes, capacity: { storage: '1' }, claimRef: { namespace: 'default', name }, ...source },
  });
  await created(api, `${core}/persistentvolumeclaims`, {
    metadata: { name },
    spec: { accessModes, resources: { requests: { storage: '1' } }, volumeName: name },
  });
}

const claim = (claimName: string): Json => ({ name: 'v', persistentVolumeClaim: { claimName } });

test('a node reads the Secrets of the volumes of its pods, whatever kind the volumes are', async () => {
  await withNodes([], async (api, one, two) => {
    const ref = (name: string): Json => ({ secretRef: { name } });
    const named = (name: string): Json => ({ name, namespace: 'default' });
    const volumes: readonly (readonly [string, Json])[] = [
      // Go's clients write the namespace that is not there as null.
      ['azure', { azureFile: { shareName: 's', secretName: 'azure', secretNamespace: null } }],
      ['ceph', { cephfs: { monitors: ['m'], ...ref('ceph') } }],
      ['rbd', { rbd: { monitors: ['m'], image: 'i', ...ref('rbd') } }],
      ['flex', { flexVolume: { driver: 'a/b', ...ref('flex') } }],
      ['iscsi', { iscsi: { targetPortal: '1.2.3.4', iqn: 'iqn.2020-01.a:b', lun: 0, ...ref('iscsi') } }],
      ['publish', { csi: { driver: 'd', volumeHandle: 'h', nodePublishSecretRef: named('publish') } }],
      ['stage', { csi: { driver: 'd', volumeHandle: 'h', nodeStageSecretRef: named('stage') } }],
      ['expand', { csi: { driver: 'd', volumeHandle: 'h', nodeExpandSecretRef: named('expand') } }],
    ];
    for (const [name, source] of volumes) {
      await persistent(api, name, source);
      await created(api, `${core}/secrets`, { metadata: { name } });
      assert.equal((await one.get(`${core}/secrets/${name}`)).status, 403, name);
      await created(api, `${core}/pods`, pod(name, [claim(name)]));
      const read = await one.get(`${core}/secrets/${name}`);
      assert.equal(read.status, 200, `${name}: ${read.text}`);
      assert.equal((await two.get(`${core}/secrets/${name}`)).status, 403, name);
    }
    await persistent(api, 'controller', {
      csi: { driver: 'd', volumeHandle: 'h', controllerPublishSecretRef: named('controller') },
    });
    await created(api, `${core}/pods`, pod('controller', [claim('controller')]));
    assert.equal((await one.get(`${core}/secrets/controller`)).status, 403);
  });
});

test("a claim that a pod lets go of is no longer its node's", async () => {
  await withNodes([], async (api, one) => {
    const claims = '/apis/resource.k8s.io/v1/namespaces/default/resourceclaims';
    await created(api, claims, { metadata: { name: 'made' }, spec: {} });
    const { spec, metadata } = pod('claiming', []);
    await created(api, `${core}/pods`, {
      metadata,
      spec: { ...spec, resourceClaims: [{ name: 'c', resourceClaimTemplateName: 't' }] },
    });
    const statuses = async (resourceClaimStatuses: Json[] | null): Promise<void> => {
      const told = await api.merge(`${core}/pods/claiming/status`, { status: { resourceClaimStatuses } });
      assert.equal(told.status, 200, told.text);
    };
    assert.equal((await one.get(`${claims}/made`)).status, 403);
    await statuses([{ name: 'c', resourceClaimName: 'made' }]);
    assert.equal((await one.get(`${claims}/made`)).status, 200);
    await statuses(null);
    assert.equal((await one.get(`${claims}/made`)).status, 403);
  });
});

test('a node gets tokens for the audiences of its pods, and for those that it is allowed', async () => {
  const asks = (node: Api, name: string, uid: string, audience?: string) =>
    node.create(`${core}/serviceaccounts/default/token`, {
      spec: {
        ...(audience === undefined ? {} : { audiences: [audience] }),
        boundObjectRef: { apiVersion: 'v1', kind: 'Pod', name, uid },
      },
    });
  await withNodes([], async (api, one) => {
    await api.create(`${core}/serviceaccounts`, { metadata: { name: 'default' } });
    const driver = (name: string, audience: string): Promise<Json> =>
      created(api, '/apis/storage.k8s.io/v1/csidrivers', {
        metadata: { name },
        spec: { podInfoOnMount: true, tokenRequests: [{ audience }] },
      });
    await driver('csi.example.com', 'of-driver');
    await driver('file.csi.azure.com', 'of-azure');
    await persistent(api, 'of-csi', { csi: { driver: 'csi.example.com', volumeHandle: 'h' } });
    await persistent(api, 'of-azure', { azureFile: { shareName: 's', secretName: 's' } });
    await persistent(api, 'of-nobody', { csi: { driver: 'nobody.example.com', volumeHandle: 'h' } });
    let made = 0;
    /** Status and message for a pod with these volumes. */
    const asked = async (audience: string, ...volumes: Json[]): Promise<string> => {
      const name = `t${++made}`;
      const { metadata } = await created(api, `${core}/pods`, pod(name, volumes, 'default'));
      const answer = await asks(one, name, metadata.uid as string, audience);
      return answer.status === 201
        ? 'token'
        : `${answer.status} ${(answer.body.message as string).replace('serviceaccounts "default" is forbidden: ', '')}`;
    };
    const projected = (audience: string): Json => ({
      name: 'v',
      projected: { sources: [{ serviceAccountToken: { audience, path: 'p' } }] },
    });
    const inline = (name: string): Json => ({ name: 'v', csi: { driver: name } });
    assert.equal(await asked('mine', projected('mine')), 'token');
    assert.equal(await asked('of-driver', inline('csi.example.com')), 'token');
    assert.equal(await asked('of-driver', claim('of-csi')), 'token');
    assert.equal(await asked('of-azure', claim('of-azure')), 'token');
    assert.equal(await asked('of-azure', { name: 'v', azureFile: { shareName: 's', secretName: 's' } }), 'token');
    const validating = '403 error validating audience "a": ';
    const nobody = 'csidriver.storage.k8s.io "nobody.example.com" not found';
    assert.equal(await asked('a', inline('nobody.example.com')), validating + nobody);
    assert.equal(await asked('a', claim('of-nobody')), validating + nobody);
    assert.equal(await asked('a', claim('gone')), `${validating}persistentvolumeclaim "gone" not found`);
    assert.equal(
      await asked('a', claim('gone'), { ...inline('nobody.example.com'), name: 'w' }),
      `${validating}[persistentvolumeclaim "gone" not found, ${nobody}]`,
    );
    const refused =
      '403 audience "granted" not found in pod spec volume, system:node:node1 is not authorized to request tokens for this audience';
    assert.equal(await asked('granted', inline('csi.example.com')), refused);
    const rbac = '/apis/rbac.authorization.k8s.io/v1/namespaces/default';
    await created(api, `${rbac}/roles`, {
      metadata: { name: 'audience' },
      rules: [
        {
          apiGroups: [''],
          resources: ['granted'],
          verbs: ['request-serviceaccounts-token-audience'],
          resourceNames: ['default'],
        },
      ],
    });
    await created(api, `${rbac}/rolebindings`, {
      metadata: { name: 'audience' },
      subjects: [{ kind: 'User', apiGroup: 'rbac.authorization.k8s.io', name: 'system:node:node1' }],
      roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'Role', name: 'audience' },
    });
    assert.equal(await asked('granted', inline('csi.example.com')), 'token');
  });
  await withNodes(['--feature-gates=ServiceAccountNodeAudienceRestriction=false'], async (api, one) => {
    const { metadata } = await created(api, `${core}/pods`, pod('free', [], 'default'));
    const answer = await asks(one, 'free', metadata.uid as string, 'any');
    assert.equal(answer.status, 201, answer.text);
  });
});
