import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { FeatureGates } from '../../api/features/feature-gates.ts';
import { loadCatalog } from '../../api/catalog/catalog.ts';
import { SystemClock } from '../../base/clock.ts';
import { silentLogger } from '../../base/logger.ts';
import { SystemRandom } from '../../base/random.ts';
import { createAdmissionChain } from '../admission/chain.ts';
import { builtInPlugins } from '../admission/plugins.ts';
import { PodSecurityMetrics } from '../admission/pod-security/metrics.ts';
import { alwaysAllow } from '../authorization/union.ts';
import { bootstrap } from '../bootstrap/bootstrap.ts';
import { StartWrites } from '../bootstrap/start-writes.ts';
import { ResourceDirectory } from '../resource-directory.ts';
import { startHarness, type Harness, type Json } from '../verbs/harness.ts';
import { lateRegistries, lateStrategies } from './test-support.ts';

let h: Harness;
let took = 0;

const late = lateRegistries(() => h);

before(async () => {
  const clock = new SystemClock();
  const random = new SystemRandom();
  const ranges = ['10.96.0.0/24'];
  h = await startHarness({
    clock,
    admission: createAdmissionChain(
      builtInPlugins(
        {
          registries: late,
          directory: new ResourceDirectory(loadCatalog(), () => true),
          authorizer: alwaysAllow,
          clock,
          random,
          logger: silentLogger,
          clients: { post: () => Promise.reject(new Error('no webhooks in here')), close() {} },
          podSecurityMetrics: new PodSecurityMetrics(),
          features: new FeatureGates(),
          configuration: {},
        },
        { enable: new Set(['NodeRestriction']), disable: new Set() },
      ),
    ),
    strategies: lateStrategies(() => h, ranges),
  });
  const warm: [string, string][] = [
    ['', 'namespaces'],
    ['', 'serviceaccounts'],
    ['', 'resourcequotas'],
    ['', 'limitranges'],
    ['scheduling.k8s.io', 'priorityclasses'],
    ['networking.k8s.io', 'ipaddresses'],
    ['networking.k8s.io', 'servicecidrs'],
  ];
  await h.registries.warm(warm);
  const start = clock.monotonic();
  await bootstrap({
    registries: h.registries,
    logger: silentLogger,
    authentication: { clientCa: 'pem' },
    serviceCidrs: ranges,
    advertised: { address: '192.0.2.1', port: 6443, serviceIp: '10.96.0.1' },
    writes: new StartWrites({ clock, logger: silentLogger }),
    now: 0,
  });
  took = clock.monotonic() - start;
});

after(() => h.close());

async function post(url: string, body: Json): Promise<Json> {
  return h.request('POST', url, body, 'application/json');
}

const core = (kind: string, name: string, rest: Json = {}): Json => ({
  apiVersion: 'v1',
  kind,
  metadata: { name, ...rest.metadata },
  ...Object.fromEntries(Object.entries(rest).filter(([k]) => k !== 'metadata')),
});

test('bootstrap makes what every cluster has, and finds nothing to do the second time', async () => {
  const namespaces = await h.request('GET', '/api/v1/namespaces');
  assert.deepEqual(
    namespaces.body.items.map((n: Json) => n.metadata.name),
    ['default', 'kube-node-lease', 'kube-public', 'kube-system'],
  );
  assert.deepEqual(namespaces.body.items[0].spec, { finalizers: ['kubernetes'] });
  assert.equal(namespaces.body.items[0].status.phase, 'Active');
  const service = await h.request('GET', '/api/v1/namespaces/default/services/kubernetes');
  assert.equal(service.body.spec.clusterIP, '10.96.0.1');
  const ip = await h.request('GET', '/apis/networking.k8s.io/v1/ipaddresses/10.96.0.1');
  assert.equal(ip.body.spec.parentRef.name, 'kubernetes');
  const role = await h.request('GET', '/apis/rbac.authorization.k8s.io/v1/clusterroles/system:node');
  assert.ok(role.body.rules.length > 10);
  const before = (await h.request('GET', '/api/v1/configmaps')).body.metadata.resourceVersion;
  await bootstrap({
    registries: h.registries,
    logger: silentLogger,
    authentication: { clientCa: 'pem' },
    serviceCidrs: ['10.96.0.0/24'],
    advertised: { address: '192.0.2.1', port: 6443, serviceIp: '10.96.0.1' },
    writes: new StartWrites({ clock: new SystemClock(), logger: silentLogger }),
    now: 0,
  });
  assert.equal((await h.request('GET', '/api/v1/configmaps')).body.metadata.resourceVersion, before);
  assert.ok(took < 2000, `bootstrap took ${took} ms`);
});

test('a pod gets account, token volume, priority, tolerations, phase and QoS', async () => {
  await post('/api/v1/namespaces/default/serviceaccounts', core('ServiceAccount', 'default'));
  const { status, body } = await post(
    '/api/v1/namespaces/default/pods',
    core('Pod', 'p', { spec: { containers: [{ name: 'c', image: 'nginx' }] } }),
  );
  assert.equal(status, 201, body.message);
  assert.equal(body.spec.serviceAccountName, 'default');
  const volume = body.spec.volumes[0];
  assert.match(volume.name, /^kube-api-access-[a-z0-9]{5}$/);
  assert.deepEqual(volume.projected, {
    defaultMode: 420,
    sources: [
      { serviceAccountToken: { expirationSeconds: 3607, path: 'token' } },
      { configMap: { items: [{ key: 'ca.crt', path: 'ca.crt' }], name: 'kube-root-ca.crt' } },
      {
        downwardAPI: {
          items: [{ fieldRef: { apiVersion: 'v1', fieldPath: 'metadata.namespace' }, path: 'namespace' }],
        },
      },
    ],
  });
  assert.deepEqual(body.spec.containers[0].volumeMounts, [
    { mountPath: '/var/run/secrets/kubernetes.io/serviceaccount', name: volume.name, readOnly: true },
  ]);
  assert.equal(body.spec.priority, 0);
  assert.equal(body.spec.preemptionPolicy, 'PreemptLowerPriority');
  assert.deepEqual(
    body.spec.tolerations.map((t: Json) => t.key),
    ['node.kubernetes.io/not-ready', 'node.kubernetes.io/unreachable'],
  );
  assert.deepEqual(body.status, { phase: 'Pending', qosClass: 'BestEffort' });
  assert.equal(body.metadata.generation, 1);
});

test('refusals carry the words of upstream', async () => {
  const pod = (name: string, rest: Json = {}): Json =>
    core('Pod', name, { spec: { containers: [{ name: 'c', image: 'nginx' }], ...rest } });
  const gone = await post('/api/v1/namespaces/nowhere/pods', { ...pod('a') });
  assert.equal(gone.status, 404);
  assert.equal(gone.body.message, 'namespaces "nowhere" not found');
  const account = await post('/api/v1/namespaces/default/pods', pod('a', { serviceAccountName: 'ghost' }));
  assert.equal(
    account.body.message,
    'pods "a" is forbidden: error looking up service account default/ghost: serviceaccount "ghost" not found',
  );
  const priority = await post('/api/v1/namespaces/default/pods', pod('a', { priorityClassName: 'none' }));
  assert.equal(priority.body.message, 'pods "a" is forbidden: no PriorityClass with name none was found');
  const immortal = await h.request('DELETE', '/api/v1/namespaces/default');
  assert.equal(immortal.body.message, 'namespaces "default" is forbidden: this namespace may not be deleted');
  await post('/api/v1/namespaces', core('Namespace', 'leaving'));
  await h.request('DELETE', '/api/v1/namespaces/leaving');
  const leaving = await post('/api/v1/namespaces/leaving/configmaps', core('ConfigMap', 'c'));
  assert.equal(
    leaving.body.message,
    'configmaps "c" is forbidden: unable to create new content in namespace leaving because it is being terminated',
  );
  assert.equal(leaving.body.details.causes[0].reason, 'NamespaceTerminating');
});

test('services: addresses and node ports are given, kept, refused and returned', async () => {
  const url = '/api/v1/namespaces/default/services';
  const service = (name: string, spec: Json): Json =>
    core('Service', name, { spec: { ports: [{ port: 80 }], selector: { a: 'b' }, ...spec } });
  const a = await post(url, service('a', { type: 'NodePort' }));
  assert.equal(a.status, 201, a.body.message);
  assert.match(a.body.spec.clusterIP, /^10\.96\.0\.\d+$/);
  assert.deepEqual(a.body.spec.clusterIPs, [a.body.spec.clusterIP]);
  assert.deepEqual(a.body.spec.ipFamilies, ['IPv4']);
  assert.equal(a.body.spec.ipFamilyPolicy, 'SingleStack');
  const port = a.body.spec.ports[0].nodePort;
  assert.ok(port >= 30000 && port <= 32767);

  const taken = await post(url, service('b', { clusterIP: a.body.spec.clusterIP }));
  assert.equal(
    taken.body.message,
    `Service "b" is invalid: spec.clusterIPs: Invalid value: ["${a.body.spec.clusterIP}"]: failed to allocate IP ${a.body.spec.clusterIP}: provided IP is already allocated`,
  );
  const outside = await post(url, service('b', { clusterIP: '10.96.0.0' }));
  assert.match(
    outside.body.message,
    /the provided IP \(10\.96\.0\.0\) is not in the valid range\. The range of valid IPs is 10\.96\.0\.0\/24$/,
  );
  const double = await post(url, service('b', { type: 'NodePort', ports: [{ port: 80, nodePort: port }] }));
  assert.equal(
    double.body.message,
    `Service "b" is invalid: spec.ports[0].nodePort: Invalid value: ${port}: provided port is already allocated`,
  );

  // A client that knows nothing of what was allocated changes it by accident no more than upstream lets it.
  const update = await h.request(
    'PUT',
    `${url}/a`,
    service('a', { type: 'NodePort', ports: [{ port: 81 }] }),
    'application/json',
  );
  assert.equal(update.status, 200, update.body.message);
  assert.equal(update.body.spec.clusterIP, a.body.spec.clusterIP);
  assert.equal(update.body.spec.ports[0].nodePort, port);
  const plain = await h.request(
    'PUT',
    `${url}/a`,
    { ...update.body, spec: { ...update.body.spec, type: 'ClusterIP' } },
    'application/json',
  );
  assert.equal(plain.status, 200, plain.body.message);
  assert.equal(plain.body.spec.ports[0].nodePort, undefined);

  const again = await post(url, service('c', { type: 'NodePort', ports: [{ port: 80, nodePort: port }] }));
  assert.equal(again.status, 201, again.body.message);
  await h.request('DELETE', `${url}/a`);
  assert.equal((await h.request('GET', `/apis/networking.k8s.io/v1/ipaddresses/${a.body.spec.clusterIP}`)).status, 404);
  const many = await Promise.all(
    Array.from({ length: 30 }, (_, i) => post(url, service(`many-${i}`, { type: 'NodePort' }))),
  );
  assert.equal(new Set(many.map((m) => m.body.spec.clusterIP)).size, 30);
  assert.equal(new Set(many.map((m) => m.body.spec.ports[0].nodePort)).size, 30);

  const none = await post(url, service('headless', { clusterIP: 'None' }));
  assert.equal(none.status, 201, none.body.message);
  assert.equal(none.body.spec.clusterIP, 'None');
  const invalid = await post(url, service('bad', { ports: [] }));
  assert.equal(invalid.body.message, 'Service "bad" is invalid: spec.ports: Required value');
});

test('quota refuses what does not fit and counts what does, for many at once', async () => {
  await post('/api/v1/namespaces', core('Namespace', 'q'));
  await post('/api/v1/namespaces/q/serviceaccounts', core('ServiceAccount', 'default'));
  await post('/api/v1/namespaces/q/resourcequotas', core('ResourceQuota', 'q', { spec: { hard: { pods: '2' } } }));
  const pod = (i: number): Json => core('Pod', `p${i}`, { spec: { containers: [{ name: 'c', image: 'i' }] } });
  const unknown = await post('/api/v1/namespaces/q/pods', pod(0));
  assert.equal(unknown.status, 201);
  const quota = await h.request('GET', '/api/v1/namespaces/q/resourcequotas/q');
  const set = await h.request(
    'PUT',
    '/api/v1/namespaces/q/resourcequotas/q/status',
    { ...quota.body, status: { hard: { pods: '2' }, used: { pods: '0' } } },
    'application/json',
  );
  assert.equal(set.status, 200, set.body.message);
  const answers = await Promise.all([1, 2, 3, 4].map((i) => post('/api/v1/namespaces/q/pods', pod(i))));
  assert.equal(answers.filter((a) => a.status === 201).length, 2);
  const refused = answers.find((a) => a.status !== 201)!;
  assert.equal(refused.status, 403);
  assert.match(
    refused.body.message,
    /^pods "p\d" is forbidden: exceeded quota: q, requested: pods=1, used: pods=2, limited: pods=2$/,
  );
  const used = await h.request('GET', '/api/v1/namespaces/q/resourcequotas/q');
  assert.deepEqual(used.body.status.used, { pods: '2' });
});

test('limit ranges give defaults and bounds', async () => {
  await post('/api/v1/namespaces', core('Namespace', 'l'));
  await post('/api/v1/namespaces/l/serviceaccounts', core('ServiceAccount', 'default'));
  const range = await post(
    '/api/v1/namespaces/l/limitranges',
    core('LimitRange', 'l', {
      spec: {
        limits: [{ type: 'Container', default: { cpu: '500m' }, defaultRequest: { cpu: '100m' }, max: { cpu: '1' } }],
      },
    }),
  );
  assert.equal(range.status, 201, range.body.message);
  const url = '/api/v1/namespaces/l/pods';
  const pod = await post(url, core('Pod', 'a', { spec: { containers: [{ name: 'c', image: 'i' }] } }));
  assert.deepEqual(pod.body.spec.containers[0].resources, { limits: { cpu: '500m' }, requests: { cpu: '100m' } });
  assert.equal(
    pod.body.metadata.annotations['kubernetes.io/limit-ranger'],
    'LimitRanger plugin set: cpu request for container c; cpu limit for container c',
  );
  const much = await post(
    url,
    core('Pod', 'b', { spec: { containers: [{ name: 'c', image: 'i', resources: { limits: { cpu: '2' } } }] } }),
  );
  assert.equal(much.body.message, 'pods "b" is forbidden: maximum cpu usage per Container is 1, but limit is 2');
});

test('status and spec have their own endpoints; generations count changes of spec', async () => {
  const url = '/apis/apps/v1/namespaces/default/deployments';
  const deployment: Json = {
    apiVersion: 'apps/v1',
    kind: 'Deployment',
    metadata: { name: 'd' },
    spec: {
      selector: { matchLabels: { a: 'b' } },
      template: { metadata: { labels: { a: 'b' } }, spec: { containers: [{ name: 'c', image: 'i' }] } },
    },
    status: { replicas: 7 },
  };
  const made = await post(url, deployment);
  assert.equal(made.status, 201, made.body.message);
  assert.equal(made.body.status.replicas, undefined);
  assert.equal(made.body.metadata.generation, 1);
  assert.deepEqual(made.warnings, []);
  const patch = (path: string, body: Json): Promise<Json> =>
    h.request('PATCH', path, body, 'application/merge-patch+json');
  assert.equal((await patch(`${url}/d`, { metadata: { labels: { x: 'y' } } })).body.metadata.generation, 1);
  assert.equal((await patch(`${url}/d`, { spec: { replicas: 3 } })).body.metadata.generation, 2);
  const status = await patch(`${url}/d/status`, { spec: { replicas: 9 }, status: { replicas: 3 } });
  assert.equal(status.body.spec.replicas, 3);
  assert.equal(status.body.status.replicas, 3);
  assert.equal(status.body.metadata.generation, 2);
  const secret = await post('/api/v1/namespaces/default/secrets', {
    ...core('Secret', 's'),
    type: 'kubernetes.io/tls',
    data: {},
  });
  assert.equal(
    secret.body.message,
    'Secret "s" is invalid: [data[tls.crt]: Required value, data[tls.key]: Required value]',
  );
});

interface Refusal {
  readonly url: string;
  readonly object: Json;
  readonly message: string;
}

const meta = (apiVersion: string, kind: string, name: string, rest: Json): Json => ({
  apiVersion,
  kind,
  metadata: { name },
  ...rest,
});

const refusals: readonly Refusal[] = [
  {
    url: '/apis/discovery.k8s.io/v1/namespaces/default/endpointslices',
    object: meta('discovery.k8s.io/v1', 'EndpointSlice', 's', {
      addressType: 'IPv4',
      endpoints: [{ addresses: ['127.0.0.1'] }, { addresses: [] }],
      ports: [{ name: 'a', protocol: 'ICMP' }],
    }),
    message:
      'EndpointSlice.discovery.k8s.io "s" is invalid: [ports[0].protocol: Unsupported value: "ICMP": supported values: "SCTP", "TCP", "UDP", endpoints[0].addresses[0]: Invalid value: "127.0.0.1": may not be in the loopback range (127.0.0.0/8, ::1/128), endpoints[1].addresses: Required value: must contain at least 1 address]',
  },
  {
    url: '/api/v1/namespaces/default/endpoints',
    object: meta('v1', 'Endpoints', 'e', { subsets: [{ ports: [{ port: 0 }] }] }),
    message:
      'Endpoints "e" is invalid: [subsets[0]: Required value: must specify `addresses` or `notReadyAddresses`, subsets[0].ports[0].port: Invalid value: 0: must be between 1 and 65535, inclusive]',
  },
  {
    url: '/api/v1/namespaces/default/events',
    object: meta('v1', 'Event', 'e', { involvedObject: { kind: 'Pod', name: 'p', namespace: 'other' } }),
    message: 'Event "e" is invalid: involvedObject.namespace: Invalid value: "other": does not match event.namespace',
  },
  {
    url: '/apis/events.k8s.io/v1/namespaces/default/events',
    object: meta('events.k8s.io/v1', 'Event', 'e', {
      regarding: { kind: 'Pod', name: 'p', namespace: 'default' },
      type: 'Normal',
      eventTime: null,
    }),
    message: 'Event "e" is invalid: eventTime: Required value',
  },
  {
    url: '/apis/networking.k8s.io/v1/namespaces/default/ingresses',
    object: meta('networking.k8s.io/v1', 'Ingress', 'i', {
      spec: {
        rules: [
          {
            host: '10.0.0.1',
            http: { paths: [{ path: 'x', pathType: 'Prefix', backend: { service: { name: 's', port: {} } } }] },
          },
        ],
      },
    }),
    message:
      'Ingress.networking.k8s.io "i" is invalid: [spec.rules[0].host: Invalid value: "10.0.0.1": must be a DNS name, not an IP address, spec.rules[0].http.paths[0].path: Invalid value: "x": must be an absolute path, spec.rules[0].http.paths[0].backend: Required value: port name or number is required]',
  },
  {
    url: '/apis/networking.k8s.io/v1/ingressclasses',
    object: meta('networking.k8s.io/v1', 'IngressClass', 'i', { spec: { controller: 'nginx' } }),
    message:
      'IngressClass.networking.k8s.io "i" is invalid: spec.controller: Invalid value: "nginx": must be a domain-prefixed path (such as "acme.io/foo")',
  },
  {
    url: '/apis/networking.k8s.io/v1/namespaces/default/networkpolicies',
    object: meta('networking.k8s.io/v1', 'NetworkPolicy', 'n', {
      spec: {
        podSelector: {},
        ingress: [{ from: [{}, { ipBlock: { cidr: '10.0.0.0/8', except: ['11.0.0.0/24'] } }] }],
      },
    }),
    message:
      'NetworkPolicy.networking.k8s.io "n" is invalid: [spec.ingress[0].from[0]: Required value: must specify a peer, spec.ingress[0].from[1].ipBlock.except[0]: Invalid value: "11.0.0.0/24": must be a strict subset of `cidr`]',
  },
  {
    url: '/apis/networking.k8s.io/v1/servicecidrs',
    object: meta('networking.k8s.io/v1', 'ServiceCIDR', 's', { spec: { cidrs: ['10.0.0.0/16', '10.1.0.0/16'] } }),
    message:
      'ServiceCIDR.networking.k8s.io "s" is invalid: spec.cidrs: Invalid value: ["10.0.0.0/16","10.1.0.0/16"]: may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/64',
  },
  {
    url: '/apis/autoscaling/v2/namespaces/default/horizontalpodautoscalers',
    object: meta('autoscaling/v2', 'HorizontalPodAutoscaler', 'h', {
      spec: {
        scaleTargetRef: { apiVersion: 'v1', kind: 'Deployment', name: 'd' },
        minReplicas: 3,
        maxReplicas: 2,
        metrics: [{ type: 'Resource' }],
      },
    }),
    message:
      'HorizontalPodAutoscaler.autoscaling "h" is invalid: [spec.maxReplicas: Invalid value: 2: must be greater than or equal to `minReplicas`, spec.scaleTargetRef.apiVersion: Invalid value: "v1": apiVersion must specify API group, spec.metrics[0].resource: Required value: must populate information for the given metric source]',
  },
  {
    url: '/apis/storage.k8s.io/v1/storageclasses',
    object: meta('storage.k8s.io/v1', 'StorageClass', 's', { provisioner: 'a b', reclaimPolicy: 'Recycle' }),
    message:
      "StorageClass.storage.k8s.io \"s\" is invalid: [provisioner: Invalid value: \"a b\": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]'), reclaimPolicy: Unsupported value: \"Recycle\": supported values: \"Delete\", \"Retain\"]",
  },
  {
    url: '/apis/storage.k8s.io/v1/volumeattachments',
    object: meta('storage.k8s.io/v1', 'VolumeAttachment', 'v', {
      spec: { attacher: 'csi.example.com', nodeName: 'n', source: {} },
    }),
    message:
      'VolumeAttachment.storage.k8s.io "v" is invalid: spec.source: Required value: must specify exactly one of inlineVolumeSpec and persistentVolumeName',
  },
  {
    url: '/apis/node.k8s.io/v1/runtimeclasses',
    object: meta('node.k8s.io/v1', 'RuntimeClass', 'r', { handler: '' }),
    message: 'RuntimeClass.node.k8s.io "r" is invalid: handler: Required value',
  },
  {
    url: '/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations',
    object: meta('admissionregistration.k8s.io/v1', 'ValidatingWebhookConfiguration', 'w', {
      webhooks: [
        {
          name: 'short.io',
          sideEffects: 'Some',
          admissionReviewVersions: ['v1'],
          clientConfig: { url: 'http://user@host' },
        },
      ],
    }),
    message:
      'ValidatingWebhookConfiguration.admissionregistration.k8s.io "w" is invalid: [webhooks[0].name: Invalid value: "short.io": should be a domain with at least three segments separated by dots, webhooks[0].sideEffects: Unsupported value: "Some": supported values: "None", "NoneOnDryRun", webhooks[0].clientConfig.url: Invalid value: "http": \'https\' is the only allowed URL scheme; desired format: https://host[/path], webhooks[0].clientConfig.url: Invalid value: "user": user information is not permitted in the URL]',
  },
  {
    url: '/apis/apiregistration.k8s.io/v1/apiservices',
    object: meta('apiregistration.k8s.io/v1', 'APIService', 'v1.a.io', {
      spec: { group: 'b.io', version: 'v1', groupPriorityMinimum: 1, versionPriority: 0 },
    }),
    message:
      'APIService.apiregistration.k8s.io "v1.a.io" is invalid: [metadata.name: Invalid value: "v1.a.io": must be `spec.version+"."+spec.group`: "v1.b.io", spec.versionPriority: Invalid value: 0: must be positive and less than 1000]',
  },
];

for (const { url, object, message } of refusals) {
  test(`${object.kind} is refused for each of its faults`, async () => {
    const { status, body } = await post(url, object);
    assert.equal(body.message, message);
    assert.equal(status, 422);
  });
}

test('what is right of these kinds is stored', async () => {
  const good: readonly (readonly [url: string, object: Json])[] = [
    [
      '/apis/networking.k8s.io/v1/namespaces/default/ingresses',
      meta('networking.k8s.io/v1', 'Ingress', 'i', {
        spec: {
          rules: [
            {
              host: '*.example.com',
              http: {
                paths: [{ path: '/', pathType: 'Prefix', backend: { service: { name: 's', port: { number: 80 } } } }],
              },
            },
          ],
        },
      }),
    ],
    [
      '/apis/autoscaling/v1/namespaces/default/horizontalpodautoscalers',
      meta('autoscaling/v1', 'HorizontalPodAutoscaler', 'h', {
        spec: { scaleTargetRef: { apiVersion: 'apps/v1', kind: 'Deployment', name: 'd' }, maxReplicas: 2 },
      }),
    ],
    [
      '/apis/storage.k8s.io/v1/csidrivers',
      meta('storage.k8s.io/v1', 'CSIDriver', 'csi.example.com', { spec: { volumeLifecycleModes: ['Ephemeral'] } }),
    ],
    [
      '/apis/apiregistration.k8s.io/v1/apiservices',
      meta('apiregistration.k8s.io/v1', 'APIService', 'v1.b.io', {
        spec: { group: 'b.io', version: 'v1', groupPriorityMinimum: 1, versionPriority: 1 },
      }),
    ],
    [
      '/apis/events.k8s.io/v1/namespaces/default/events',
      meta('events.k8s.io/v1', 'Event', 'good', {
        regarding: { kind: 'Pod', name: 'p', namespace: 'default' },
        eventTime: '2024-01-01T00:00:00.000001Z',
        reportingController: 'example.com/it',
        reportingInstance: 'it-0',
        action: 'Looking',
        reason: 'Seen',
        type: 'Normal',
      }),
    ],
  ];
  for (const [url, object] of good) {
    const { status, body, headers } = await post(url, object);
    assert.equal(status, 201, `${object.kind}: ${body.message}`);
    assert.equal(headers?.['warning'], undefined);
  }
  const service = await h.request('GET', '/apis/apiregistration.k8s.io/v1/apiservices/v1.b.io');
  assert.equal(service.body.status.conditions[0].reason, 'Local');
});
