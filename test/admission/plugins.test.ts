/** The admission plugins that are off by default, switched on, over the wire. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createCluster } from '../../src/index.ts';
import type { ResourceQuotaConfiguration } from '../../src/apiserver/admission/resource-quota.ts';
import type { ClusterOptions } from '../../src/index.ts';
import { connectApi } from '../support/api.ts';
import type { Api, Json } from '../support/api.ts';
import { startTlsServer } from '../support/tls-server.ts';

async function withApi(admission: ClusterOptions['admission'], run: (api: Api) => Promise<void>): Promise<void> {
  await using cluster = await createCluster({
    nodes: 0,
    https: { port: 0 },
    disable: ['cloud-controller-manager', 'dns', 'kube-scheduler', 'kube-proxy', 'kube-controller-manager'],
    admission: { disable: ['ServiceAccount'], ...admission },
  });
  const api = connectApi(cluster);
  try {
    await run(api);
  } finally {
    api.close();
  }
}

const pods = '/api/v1/namespaces/default/pods';
const dry = `${pods}?dryRun=All`;
const pod = (spec: Json = {}, container: Json = {}, metadata: Json = {}): Json => ({
  metadata: { name: 'p', ...metadata },
  spec: { containers: [{ name: 'c', image: 'i:1', ...container }], ...spec },
});

test('plugins that look at pods', async () => {
  const enable = ['AlwaysPullImages', 'LimitPodHardAntiAffinityTopology', 'ExtendedResourceToleration'];
  await withApi({ enable }, async (api) => {
    const made = await api.create(
      dry,
      pod({ initContainers: [{ name: 'i', image: 'j', resources: { limits: { 'example.com/gpu': '1' } } }] }),
    );
    assert.equal(made.status, 201, made.text);
    assert.deepEqual(
      [...made.body.spec.initContainers, ...made.body.spec.containers].map((c: Json) => c.imagePullPolicy),
      ['Always', 'Always'],
    );
    assert.deepEqual(made.body.spec.tolerations[0].key, 'node.kubernetes.io/not-ready');
    assert.deepEqual(made.body.spec.tolerations[2], {
      key: 'example.com/gpu',
      operator: 'Exists',
      effect: 'NoSchedule',
    });
    const term = { labelSelector: { matchLabels: { a: 'b' } }, topologyKey: 'zone' };
    const wide = await api.create(
      dry,
      pod({ affinity: { podAntiAffinity: { requiredDuringSchedulingIgnoredDuringExecution: [term] } } }),
    );
    assert.deepEqual(
      [wide.status, wide.body.message],
      [
        403,
        'pods "p" is forbidden: affinity.PodAntiAffinity.RequiredDuringScheduling has TopologyKey zone but only key kubernetes.io/hostname is allowed',
      ],
    );
  });
});

test('a pod on a node is changed only as far as the node declares to follow', async () => {
  await withApi({}, async (api) => {
    const container = (cpu: string): Json => ({ name: 'c', image: 'i', resources: { requests: { cpu } } });
    for (const [name, declaredFeatures] of [
      ['plain', []],
      ['able', ['InPlacePodLevelResourcesVerticalScaling']],
    ] as const) {
      const node = await api.create('/api/v1/nodes', { metadata: { name } });
      const allocatable = { cpu: '8', memory: '8Gi', pods: '10' };
      const status = { ...node.body.status, declaredFeatures, allocatable, capacity: allocatable };
      await api.request('PUT', `/api/v1/nodes/${name}/status`, { ...node.body, status });
      const spec = { nodeName: name, resources: { requests: { cpu: '1' } }, containers: [container('100m')] };
      const made = await api.create(pods, { metadata: { name }, spec });
      assert.equal(made.status, 201, made.text);
      const resize = async (change: Json): Promise<[number, string]> => {
        const patch = { spec: change };
        const type = { 'content-type': 'application/strategic-merge-patch+json' };
        const { status: code, body } = await api.request('PATCH', `${pods}/${name}/resize`, patch, type);
        return [code, body.message];
      };
      assert.deepEqual(
        await resize({ resources: { requests: { cpu: '2' } } }),
        name === 'able'
          ? [200, undefined]
          : [
              403,
              'pods "plain" is forbidden: pod update requires features InPlacePodLevelResourcesVerticalScaling which are not available on node "plain"',
            ],
      );
      assert.equal((await resize({ containers: [container('200m')] }))[0], 200);
    }
  });
});

test('namespaces: made on demand, node selectors, tolerations', async () => {
  const enable = ['NamespaceAutoProvision', 'NamespaceExists', 'PodNodeSelector', 'PodTolerationRestriction'];
  const configuration = {
    PodNodeSelector: { podNodeSelectorPluginConfig: { clusterDefaultNodeSelector: 'env=test', walled: 'env=test' } },
    PodTolerationRestriction: { whitelist: [{ operator: 'Exists', effect: 'NoExecute' }] },
  };
  await withApi({ enable, configuration }, async (api) => {
    const made = await api.create('/api/v1/namespaces/fresh/configmaps', { metadata: { name: 'm' } });
    assert.equal(made.status, 201, made.text);
    const fresh = await api.get('/api/v1/namespaces/fresh');
    assert.deepEqual(fresh.body.metadata.labels, { 'kubernetes.io/metadata.name': 'fresh' });
    assert.deepEqual(fresh.body.spec.finalizers, ['kubernetes']);
    assert.deepEqual((await api.create(dry, pod())).body.spec.nodeSelector, { env: 'test' });
    assert.equal(
      (await api.create(dry, pod({ nodeSelector: { env: 'prod' } }))).body.message,
      'pods "p" is forbidden: pod node label selector conflicts with its namespace node label selector',
    );
    await api.create('/api/v1/namespaces', { metadata: { name: 'walled' } });
    assert.equal(
      (await api.create('/api/v1/namespaces/walled/pods?dryRun=All', pod({ nodeSelector: { other: 'x' } }))).body
        .message,
      'pods "p" is forbidden: pod node label selector labels conflict with its namespace whitelist',
    );
    await api.merge('/api/v1/namespaces/default', {
      metadata: {
        annotations: {
          'scheduler.alpha.kubernetes.io/node-selector': 'pool=blue',
          'scheduler.alpha.kubernetes.io/defaultTolerations': '[{"key":"blue","operator":"Exists"}]',
          'scheduler.alpha.kubernetes.io/tolerationsWhitelist':
            '[{"key":"blue","operator":"Exists"},{"operator":"Exists","effect":"NoExecute"}]',
        },
      },
    });
    const blue = await api.create(dry, pod());
    assert.deepEqual(blue.body.spec.nodeSelector, { pool: 'blue' });
    assert.deepEqual(blue.body.spec.tolerations.at(-1), { key: 'blue', operator: 'Exists' });
    const refused = await api.create(dry, pod({ tolerations: [{ key: 'red', operator: 'Exists' }] }));
    assert.deepEqual(
      [refused.status, refused.body.message],
      [
        500,
        'pod tolerations (possibly merged with namespace default tolerations) conflict with its namespace whitelist',
      ],
    );
  });
});

test('external IPs, events and owners', async () => {
  const enable = ['DenyServiceExternalIPs', 'EventRateLimit', 'OwnerReferencesPermissionEnforcement'];
  const limits = [{ type: 'Namespace', qps: 1, burst: 2 }];
  await withApi({ enable, configuration: { EventRateLimit: { limits } } }, async (api) => {
    const service = await api.create('/api/v1/namespaces/default/services', {
      metadata: { name: 's' },
      spec: { ports: [{ port: 80 }], externalIPs: ['192.0.2.7'] },
    });
    assert.deepEqual(
      [service.status, service.body.message],
      [403, 'services "s" is forbidden: Use of external IPs is denied by admission control'],
    );
    const event = {
      metadata: { generateName: 'e-' },
      involvedObject: { namespace: 'default', kind: 'Pod', name: 'x' },
      reason: 'R',
    };
    const statuses = [];
    for (let i = 0; i < 3; i++) statuses.push(await api.create('/api/v1/namespaces/default/events', event));
    assert.deepEqual(
      statuses.map((s) => s.status),
      [201, 201, 429],
    );
    assert.equal(statuses[2]!.body.message, 'Too many requests: limit reached on type Namespace for key default');
    // Who may create pods and nothing else.
    await api.create('/apis/rbac.authorization.k8s.io/v1/namespaces/default/roles', {
      metadata: { name: 'maker' },
      rules: [{ apiGroups: [''], resources: ['configmaps'], verbs: ['create', 'update', 'get'] }],
    });
    await api.create('/apis/rbac.authorization.k8s.io/v1/namespaces/default/rolebindings', {
      metadata: { name: 'maker' },
      roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'Role', name: 'maker' },
      subjects: [{ kind: 'User', name: 'jane', apiGroup: 'rbac.authorization.k8s.io' }],
    });
    const owned = (name: string, blockOwnerDeletion: boolean): Json => ({
      metadata: {
        name,
        ownerReferences: [{ apiVersion: 'apps/v1', kind: 'Deployment', name: 'd', uid: 'u', blockOwnerDeletion }],
      },
    });
    const jane = { 'impersonate-user': 'jane' };
    const maps = '/api/v1/namespaces/default/configmaps';
    const blocking = await api.request('POST', maps, owned('blocking', true), jane);
    assert.equal(
      blocking.body.message,
      'configmaps "blocking" is forbidden: cannot set blockOwnerDeletion if an ownerReference refers to a resource you can\'t set finalizers on: , <nil>',
    );
    assert.equal((await api.request('POST', maps, owned('free', false), jane)).status, 201);
    const taken = await api.request('PUT', `${maps}/free`, { metadata: { name: 'free' } }, jane);
    assert.match(taken.body.message, /cannot set an ownerRef on a resource you can't delete: , <nil>$/);
  });
});

test('an image policy backend is asked, remembered, and may be absent', async () => {
  const reviews: Json[] = [];
  await using backend = await startTlsServer({
    handle(_request, response, body) {
      const review = JSON.parse(body.toString()) as Json;
      reviews.push(review);
      const bad = review.spec.containers.some((c: Json) => c.image.startsWith('bad'));
      response.writeHead(200, { 'content-type': 'application/json' });
      response.end(
        JSON.stringify({ ...review, status: bad ? { allowed: false, reason: 'bad image' } : { allowed: true } }),
      );
    },
  });
  const policy = (more: Json): Json => ({
    ImagePolicyWebhook: {
      backend: { url: `${backend.url}/images`, caBundle: backend.caBundle },
      retryBackoff: 1,
      ...more,
    },
  });
  await withApi({ enable: ['ImagePolicyWebhook'], configuration: policy({}) }, async (api) => {
    const annotated = pod({}, {}, { annotations: { 'a.image-policy.k8s.io/b': 'c', other: 'x' } });
    assert.equal((await api.create(dry, annotated)).status, 201);
    assert.equal((await api.create(dry, annotated)).status, 201);
    assert.deepEqual(
      reviews.map((r) => r.spec),
      [{ containers: [{ image: 'i:1' }], annotations: { 'a.image-policy.k8s.io/b': 'c' }, namespace: 'default' }],
    );
    const refused = await api.create(dry, pod({}, { image: 'bad:1' }));
    assert.deepEqual(
      [refused.status, refused.body.message],
      [403, 'pods "p" is forbidden: image policy webhook backend denied one or more images: bad image'],
    );
  });
  const gone = policy({ backend: { url: 'https://127.0.0.1:1/' }, defaultAllow: true });
  await withApi({ enable: ['ImagePolicyWebhook'], configuration: gone }, async (api) => {
    assert.equal((await api.create(dry, pod())).status, 201);
  });
});

test('default plugins can be left out', async () => {
  await withApi({ disable: ['ServiceAccount', 'PodSecurity', 'NamespaceLifecycle'] }, async (api) => {
    assert.equal((await api.create('/api/v1/namespaces/nowhere/configmaps', { metadata: { name: 'm' } })).status, 201);
  });
  await assert.rejects(
    withApi({ enable: ['Nonsense'] }, async () => {}),
    /unknown admission plugin: Nonsense/,
  );
});

test('what is limited by default is used where a quota covers it', async () => {
  const limitedResources: ResourceQuotaConfiguration['limitedResources'] = [
    { resource: 'pods', matchContains: ['pods'] },
    {
      resource: 'pods',
      matchScopes: [{ scopeName: 'PriorityClass', operator: 'In', values: ['system-node-critical'] }],
    },
  ];
  await withApi({ enable: [], configuration: { ResourceQuota: { limitedResources } } }, async (api) => {
    const refused = await api.create(dry, pod({}));
    assert.equal(refused.status, 403, refused.text);
    assert.match(refused.body.message, /insufficient quota to consume: count\/pods,pods$/);
    const quotas = '/api/v1/namespaces/default/resourcequotas';
    const hard = { pods: '5', 'count/pods': '5' };
    assert.equal((await api.create(quotas, { metadata: { name: 'q' }, spec: { hard } })).status, 201);
    const told = await api.merge(`${quotas}/q/status`, { status: { hard, used: { pods: '0', 'count/pods': '0' } } });
    assert.equal(told.status, 200, told.text);
    const made = await api.create(dry, pod({}));
    assert.equal(made.status, 201, made.text);
    const critical = await api.create(dry, pod({ priorityClassName: 'system-node-critical' }));
    assert.equal(
      critical.body.message,
      'insufficient quota to match these scopes: [{PriorityClass In [system-node-critical]}]',
    );
  });
});
