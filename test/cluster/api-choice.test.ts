/** `--runtime-config`, `--feature-gates` and `--emulated-version`, on an API server started with them. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import type { Answer, Json } from '../support/api.ts';
import { createWorkspace, startApiServer, startStore } from '../support/api-server.ts';
import type { RunningApiServer, TestStore, Workspace } from '../support/api-server.ts';

let work: Workspace;
let store: TestStore;

before(async () => {
  work = await createWorkspace();
  store = await startStore();
});

after(async () => {
  await store[Symbol.asyncDispose]();
  work.dispose();
});

async function refused(...flags: string[]): Promise<string> {
  try {
    const server = await startApiServer(work, store, flags);
    await server[Symbol.asyncDispose]();
    return '';
  } catch (error) {
    return (error as Error).message;
  }
}

async function groups(server: RunningApiServer): Promise<Map<string, string[]>> {
  const { body } = await server.api.get('/apis');
  return new Map(body.groups.map((g: Json) => [g.name, g.versions.map((v: Json) => v.version)]));
}

test('by default the versions of the release are served, and no others', async () => {
  await using server = await startApiServer(work, store);
  const served = await groups(server);
  assert.equal(served.get('internal.apiserver.k8s.io'), undefined);
  assert.equal(served.get('storagemigration.k8s.io'), undefined);
  assert.deepEqual(served.get('resource.k8s.io'), ['v1']);
  for (const path of [
    '/apis/resource.k8s.io/v1beta1',
    '/apis/resource.k8s.io/v1beta1/deviceclasses',
    '/apis/certificates.k8s.io/v1beta1/clustertrustbundles',
    '/openapi/v3/apis/resource.k8s.io/v1beta1',
  ])
    assert.equal((await server.api.get(path)).status, 404, path);
  const { body } = await server.api.get('/version');
  assert.match(body.gitVersion, /^v1\.36\.\d+\+knarr\.\d+$/);
  assert.deepEqual([body.major, body.minor, body.emulationMinor, body.minCompatibilityMinor], ['1', '36', '36', '35']);
});

test('APIs are switched on by stability, by version and by resource', async () => {
  await using server = await startApiServer(work, store, [
    '--runtime-config=api/beta=true,resource.k8s.io/v1beta1=false,resource.k8s.io/v1alpha3/devicetaintrules=true',
    '--runtime-config=networking.k8s.io/v1/ingresses=false',
    '--feature-gates=ClusterTrustBundle=true',
    '--emulated-version=1.36',
  ]);
  const { api } = server;
  const served = await groups(server);
  assert.deepEqual(served.get('resource.k8s.io'), ['v1', 'v1beta2', 'v1alpha3']);
  assert.deepEqual(served.get('networking.k8s.io'), ['v1', 'v1beta1']);
  const names = async (path: string): Promise<string[]> =>
    (await api.get(path)).body.resources.map((r: Json) => r.name);
  assert.deepEqual(await names('/apis/resource.k8s.io/v1alpha3'), ['devicetaintrules', 'devicetaintrules/status']);
  assert.ok(!(await names('/apis/networking.k8s.io/v1')).includes('ingresses'));
  assert.equal((await api.get('/apis/networking.k8s.io/v1/ingresses')).status, 404);
  assert.deepEqual(await names('/apis/certificates.k8s.io/v1beta1'), ['clustertrustbundles'], 'the other gate is off');
  const document = await api.get('/openapi/v3/apis/resource.k8s.io/v1beta2');
  assert.ok('/apis/resource.k8s.io/v1beta2/deviceclasses' in document.body.paths);
  // Objects of one version are those of another.
  const slice = {
    apiVersion: 'resource.k8s.io/v1beta2',
    kind: 'ResourceSlice',
    metadata: { name: 's' },
    spec: {
      driver: 'gpu.example.com',
      nodeName: 'n',
      pool: { name: 'p', generation: 1, resourceSliceCount: 1 },
      devices: [{ name: 'd', attributes: { model: { string: 'm' } } }],
    },
  };
  assert.equal((await api.create('/apis/resource.k8s.io/v1beta2/resourceslices', slice)).status, 201);
  const { body } = await api.get('/apis/resource.k8s.io/v1/resourceslices/s');
  assert.deepEqual([body.apiVersion, body.spec.devices], ['resource.k8s.io/v1', slice.spec.devices]);
});

test('what a feature gate switches', async () => {
  const withTaint = {
    metadata: { name: 'taint' },
    spec: {
      driver: 'gpu.example.com',
      allNodes: true,
      pool: { name: 'p', generation: 1, resourceSliceCount: 1 },
      devices: [{ name: 'd', taints: [{ key: 'a', effect: 'NoSchedule' }] }],
    },
  };
  await using server = await startApiServer(work, store, ['--feature-gates=DRADeviceTaints=false']);
  const made = await server.api.create('/apis/resource.k8s.io/v1/resourceslices?dryRun=All', withTaint);
  assert.equal(made.status, 201, made.text);
  assert.equal(made.body.spec.devices[0].taints, undefined, 'dropped, as it is not in use');
});

test('an earlier release is emulated: its gates, and without the APIs that came later', async () => {
  const names = async (server: RunningApiServer, path: string): Promise<string[]> =>
    ((await server.api.get(path)).body.resources ?? []).map((r: Json) => r.name);
  const path = '/apis/admissionregistration.k8s.io/v1';
  const config = '--runtime-config=admissionregistration.k8s.io/v1beta1=true';
  {
    await using server = await startApiServer(work, store, ['--emulated-version=1.35', config]);
    const { body } = await server.api.get('/version');
    assert.deepEqual(
      [body.minor, body.emulationMajor, body.emulationMinor, body.minCompatibilityMajor, body.minCompatibilityMinor],
      ['36', '1', '35', '1', '34'],
    );
    assert.ok(!(await names(server, path)).includes('mutatingadmissionpolicies'));
    assert.ok((await names(server, path)).includes('validatingadmissionpolicies'));
    const { text } = await server.api.get('/metrics');
    // On for everybody in 1.36, off by default before.
    assert.match(text, /^kubernetes_feature_enabled\{name="MutatingAdmissionPolicy",stage="BETA"\} 0$/m);
    assert.doesNotMatch(text, /name="DRAWorkloadResourceClaims"/);
  }
  await using server = await startApiServer(work, store, [
    '--emulated-version=1.35',
    '--emulation-forward-compatible',
    '--feature-gates=MutatingAdmissionPolicy=true',
    config,
  ]);
  assert.ok((await names(server, path)).includes('mutatingadmissionpolicies'), 'a later version of one that is served');
});

const affinity = (key: string, zone: string): Json => ({
  required: { nodeSelectorTerms: [{ matchExpressions: [{ key, operator: 'In', values: [zone] }] }] },
});

test('what a gate switches that was off in the release that is emulated', async () => {
  await using server = await startApiServer(work, store, [
    '--emulated-version=1.33',
    '--disable-admission-plugins=ServiceAccount',
  ]);
  const { api } = server;
  const named = await api.create('/api/v1/namespaces/default/services', {
    metadata: { name: '9-lives' },
    spec: { ports: [{ port: 80 }] },
  });
  assert.match(named.text, /metadata\.name: Invalid value: .*a DNS-1035 label must consist of/);
  const labels = { 'topology.kubernetes.io/zone': 'z' };
  await api.create('/api/v1/nodes', { metadata: { name: 'zoned', labels } });
  const pod = await api.create('/api/v1/namespaces/default/pods?dryRun=All', {
    metadata: { name: 'p' },
    spec: {
      nodeName: 'zoned',
      resourceClaims: [{ name: 'r', resourceClaimName: 'r' }],
      containers: [{ name: 'c', image: 'i', resources: { claims: [{ name: 'r' }] } }],
    },
  });
  assert.equal(pod.status, 201, pod.text);
  assert.equal(pod.body.spec.resourceClaims, undefined);
  assert.deepEqual(pod.body.spec.containers[0].resources, {});
  assert.equal(pod.body.metadata.labels, undefined);
  const pods = '/api/v1/namespaces/default/pods';
  const made = await api.create(pods, { metadata: { name: 'n' }, spec: { containers: [{ name: 'c', image: 'i' }] } });
  const status = { ...made.body.status, nominatedNodeName: 'zoned' };
  assert.equal((await api.request('PUT', `${pods}/n/status`, { ...made.body, status })).status, 200);
  const target = { kind: 'Node', name: 'zoned' };
  assert.equal((await api.create(`${pods}/n/binding`, { metadata: { name: 'n' }, target })).status, 201);
  assert.equal((await api.get(`${pods}/n`)).body.status.nominatedNodeName, 'zoned', 'ClearingNominatedNodeName is off');
  const spec = {
    capacity: { storage: '1' },
    accessModes: ['ReadWriteOnce'],
    hostPath: { path: '/x' },
    nodeAffinity: affinity('failure-domain.beta.kubernetes.io/zone', 'a'),
  };
  let volume = (await api.create('/api/v1/persistentvolumes', { metadata: { name: 'v' }, spec })).body;
  const move = async (nodeAffinity: Json): Promise<Answer> => {
    const moved = { ...volume, spec: { ...volume.spec, nodeAffinity } };
    return api.request('PUT', '/api/v1/persistentvolumes/v', moved);
  };
  const renamed = await move(affinity('topology.kubernetes.io/zone', 'a'));
  assert.equal(renamed.status, 200, 'a label under its new name is the same');
  volume = renamed.body;
  const elsewhere = affinity('topology.kubernetes.io/zone', 'b');
  assert.match((await move(elsewhere)).text, /field is immutable, except for updating from beta label to GA/);
  await server.stop();
  await using now = await startApiServer(work, store, ['--feature-gates=MutablePVNodeAffinity=true']);
  const put = { ...volume, spec: { ...volume.spec, nodeAffinity: elsewhere } };
  assert.equal((await now.api.request('PUT', '/api/v1/persistentvolumes/v', put)).status, 200);
  await now.api.request('DELETE', '/api/v1/nodes/zoned');
});

test('what is not known is refused, in the words of upstream', async () => {
  assert.equal(await refused('--feature-gates=NoSuchThing=true'), 'unrecognized feature gate: NoSuchThing');
  assert.match(await refused('--feature-gates=DRAAdminAccess=false'), /feature is locked to true$/);
  assert.match(await refused('--feature-gates=GangScheduling=true'), /depends on features that are disabled/);
  assert.equal(await refused('--runtime-config=nope.example.com/v1=true'), 'unknown api groups nope.example.com/v1');
  assert.equal(await refused('--runtime-config=apps/v7=true'), 'group version apps/v7 that has not been registered');
  assert.equal(await refused('--runtime-config=api/all=false'), 'invalid runtime-config with only api/all=false');
  assert.equal(await refused('--runtime-config=api/beta=maybe'), 'invalid value api/beta=maybe');
  assert.match(await refused('--runtime-config=apps/v1/Deployments=false'), /resource is always lowercase plural/);
  assert.equal(
    await refused('--emulated-version=1.32'),
    '[emulation version 1.32 is not between [1.33, 1.36.0], minCompatibilityVersion version 1.33 is not between [1.33, 1.32]]',
  );
  assert.equal(await refused('--emulated-version=1.37'), 'emulation version 1.37 is not between [1.33, 1.36.0]');
  assert.equal(
    await refused('--emulated-version=1.34', '--min-compatibility-version=1.35'),
    'minCompatibilityVersion version 1.35 is not between [1.33, 1.34]',
  );
  assert.equal(await refused('--emulated-version=1.35.2'), 'patch version not allowed, got: kube=1.35.2');
  assert.equal(await refused('--emulated-version=wardle=1.2'), 'component not registered: wardle');
  assert.match(
    await refused('--emulation-forward-compatible'),
    /^ServerRunOptions.EmulationForwardCompatible cannot be set/,
  );
  assert.equal(
    await refused('--emulated-version=1.33', '--feature-gates=DRAWorkloadResourceClaims=true'),
    'cannot set feature gate DRAWorkloadResourceClaims to true, feature is PreAlpha at emulated version 1.33, min compatibility version 1.33',
  );
  assert.match(
    await refused(
      '--emulated-version=1.35',
      '--runtime-config=resource.k8s.io/v1alpha3/resourcepoolstatusrequests=true',
    ),
    /because it is introduced at 1.36 after the current version 1.35. Consider setting/,
  );
});

test('gates of the server itself', async () => {
  const off = ['WatchList', 'APIResponseCompression', 'APIServerIdentity', 'UnknownVersionInteroperabilityProxy']
    .map((g) => `${g}=false`)
    .join();
  await using own = await startStore();
  await using server = await startApiServer(work, own, [`--feature-gates=${off}`]);
  const { api } = server;
  const maps = '/api/v1/namespaces/default/configmaps';
  const streamed = await api.get(`${maps}?watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan`);
  assert.equal(streamed.status, 422);
  assert.match(streamed.body.message, /is forbidden for watch unless the WatchList feature gate is enabled/);
  assert.equal((await api.create(maps, { metadata: { name: 'long' }, data: { a: 'x'.repeat(200_000) } })).status, 201);
  const long = await api.request('GET', `${maps}/long`, undefined, { 'accept-encoding': 'gzip' });
  assert.equal(long.headers['content-encoding'], undefined);
  const leases = await api.get('/apis/coordination.k8s.io/v1/namespaces/kube-system/leases');
  const identities = leases.body.items.filter((l: Json) => l.metadata.name.startsWith('apiserver-'));
  assert.deepEqual(identities, []);
});
