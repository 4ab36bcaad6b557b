/** Admission webhooks over the wire: a TLS server of the test's own judges and changes what is written to a real API server. */
import assert from 'node:assert/strict';
import { after, before, beforeEach, test } from 'node:test';
import { createCluster } from '../../src/index.ts';
import type { Cluster } from '../../src/index.ts';
import { connectApi } from '../support/api.ts';
import type { Api, Json } from '../support/api.ts';
import { startTlsServer } from '../support/tls-server.ts';
import type { TlsServer } from '../support/tls-server.ts';
import { waitFor, waitForOne } from '../support/wait.ts';

type Respond = (request: Json, review: Json) => Json | undefined;

let cluster: Cluster;
let api: Api;
let hooks: TlsServer;
/** Answers by path; every review that came in, by path. */
const answers = new Map<string, Respond>();
/** Milliseconds before what is asked by this path is answered. */
const delays = new Map<string, number>();
const seen: { path: string; review: Json }[] = [];

const patch = (...operations: Json[]): Json => ({
  patchType: 'JSONPatch',
  patch: Buffer.from(JSON.stringify(operations)).toString('base64'),
});

before(async () => {
  cluster = await createCluster({ nodes: 1, https: { port: 0 }, disable: ['cloud-controller-manager', 'dns'] });
  api = connectApi(cluster);
  hooks = await startTlsServer({
    dnsNames: ['hook.hooks.svc'],
    async handle(request, response, body) {
      const path = request.url!.split('?')[0]!;
      const review = JSON.parse(body.toString()) as Json;
      seen.push({ path: request.url!, review });
      const delay = delays.get(path);
      if (delay !== undefined) await new Promise((resolve) => setTimeout(resolve, delay));
      const answer = answers.get(path)?.(review.request, review);
      if (answer === undefined) return;
      if (answer.raw !== undefined) {
        response.writeHead(answer.status ?? 200, {
          'content-type': answer.type ?? 'application/json',
          ...(answer.location === undefined ? {} : { location: answer.location }),
        });
        response.end(answer.raw);
        return;
      }
      response.writeHead(200, { 'content-type': 'application/json' });
      response.end(
        JSON.stringify({
          apiVersion: review.apiVersion,
          kind: 'AdmissionReview',
          response: { uid: review.request.uid, allowed: true, ...answer },
        }),
      );
    },
  });
});

after(async () => {
  api?.close();
  await cluster?.close();
  await hooks?.[Symbol.asyncDispose]();
});

beforeEach(() => {
  answers.clear();
  delays.clear();
  seen.length = 0;
});

const rules = (resources: string[], operations = ['CREATE'], more: Json = {}): Json[] => [
  { operations, apiGroups: ['*'], apiVersions: ['*'], resources, ...more },
];

function webhook(name: string, path: string, more: Json = {}): Json {
  return {
    name,
    clientConfig: { url: `${hooks.url}${path}`, caBundle: hooks.caBundle },
    rules: rules(['configmaps']),
    sideEffects: 'None',
    admissionReviewVersions: ['v1'],
    namespaceSelector: {
      matchExpressions: [{ key: 'kubernetes.io/metadata.name', operator: 'In', values: ['default'] }],
    },
    ...more,
  };
}

async function configured(
  kind: 'MutatingWebhookConfiguration' | 'ValidatingWebhookConfiguration',
  webhooks: Json[],
  run: () => Promise<void>,
  name = 'test',
): Promise<void> {
  const path = `/apis/admissionregistration.k8s.io/v1/${kind.toLowerCase()}s`;
  const made = await api.create(path, {
    apiVersion: 'admissionregistration.k8s.io/v1',
    kind,
    metadata: { name },
    webhooks,
  });
  assert.equal(made.status, 201, made.text);
  assert.deepEqual(made.warnings, []);
  try {
    await run();
  } finally {
    await api.delete(`${path}/${name}`);
  }
}

const mutating = (webhooks: Json[], run: () => Promise<void>): Promise<void> =>
  configured('MutatingWebhookConfiguration', webhooks, run);
const validating = (webhooks: Json[], run: () => Promise<void>): Promise<void> =>
  configured('ValidatingWebhookConfiguration', webhooks, run);

const maps = '/api/v1/namespaces/default/configmaps';
const configMap = (name: string, data: Json = { a: 'b' }): Json => ({ metadata: { name }, data });

test('a validating webhook sees the whole request and refuses with its own words', async () => {
  answers.set('/deny', (request) => ({
    allowed: false,
    status: { message: `no ${request.object.metadata.name}`, code: 403, reason: 'Forbidden' },
    warnings: ['think again'],
  }));
  await validating([webhook('deny.example.com', '/deny')], async () => {
    const refused = await api.create(`${maps}?fieldManager=me`, configMap('seen'));
    assert.deepEqual(
      [refused.status, refused.body.message, refused.body.reason, refused.warnings],
      [403, 'admission webhook "deny.example.com" denied the request: no seen', 'Forbidden', ['think again']],
    );
    const { path, review } = seen[0]!;
    assert.equal(path, '/deny?timeout=10s');
    const { uid, object, userInfo, ...request } = review.request;
    assert.match(uid, /^[0-9a-f-]{36}$/);
    assert.equal(object.data.a, 'b');
    assert.equal(object.metadata.managedFields[0].manager, 'me');
    assert.equal(userInfo.username, 'kubernetes-admin');
    assert.deepEqual(request, {
      kind: { group: '', version: 'v1', kind: 'ConfigMap' },
      resource: { group: '', version: 'v1', resource: 'configmaps' },
      requestKind: { group: '', version: 'v1', kind: 'ConfigMap' },
      requestResource: { group: '', version: 'v1', resource: 'configmaps' },
      name: 'seen',
      namespace: 'default',
      operation: 'CREATE',
      oldObject: null,
      dryRun: false,
      options: { kind: 'CreateOptions', apiVersion: 'meta.k8s.io/v1', fieldManager: 'me' },
    });
    // Another namespace is none of its business.
    assert.equal((await api.create('/api/v1/namespaces/kube-public/configmaps', configMap('seen'))).status, 201);
  });
  assert.equal((await api.create(maps, configMap('seen'))).status, 201);
  assert.equal(seen.length, 1);
});

test('refusals without a status, a reason or a code', async () => {
  for (const [status, code, message] of [
    [undefined, 400, 'admission webhook "deny.example.com" denied the request without explanation'],
    [{ reason: 'Gone', code: 200 }, 400, 'admission webhook "deny.example.com" denied the request: Gone'],
    [{ message: 'tea', code: 418 }, 418, 'admission webhook "deny.example.com" denied the request: tea'],
  ] as const) {
    answers.set('/deny', () => ({ allowed: false, status }));
    await validating([webhook('deny.example.com', '/deny')], async () => {
      const refused = await api.create(maps, configMap('refused'));
      assert.deepEqual([refused.status, refused.body.message], [code, message]);
    });
  }
});

test('paths are cleaned as upstream’s client does, and a 307 of the same server is followed with the body', async () => {
  answers.set('/check', () => ({ raw: '', status: 307, location: '/check/' }));
  answers.set('/check/', (request) => ({ allowed: request.object.data.a !== 'bad', status: { message: 'it is bad' } }));
  await validating([webhook('v.example.com', '//x/..//check/')], async () => {
    assert.equal((await api.create(maps, configMap('cleaned'))).status, 201);
    const refused = await api.create(maps, configMap('refused', { a: 'bad' }));
    assert.equal(refused.status, 400);
    assert.equal(refused.body.message, 'admission webhook "v.example.com" denied the request: it is bad');
    assert.deepEqual(
      seen.map((s) => s.path),
      ['/check?timeout=10s', '/check/', '/check?timeout=10s', '/check/'],
    );
  });
});

test('mutating webhooks run in order, are defaulted after, and are called again when they ask for it', async () => {
  answers.set('/first', (request) => {
    const order = request.object.metadata.annotations?.order ?? '';
    return patch({ op: 'add', path: '/metadata/annotations', value: { order: `${order}1` } });
  });
  answers.set('/second', (request) => {
    const order = request.object.metadata.annotations.order;
    return order.includes('2')
      ? {}
      : patch(
          { op: 'replace', path: '/metadata/annotations/order', value: `${order}2` },
          { op: 'add', path: '/spec/containers/-', value: { name: 'side', image: 'side' } },
        );
  });
  const pods = { rules: rules(['pods']) };
  await mutating(
    [
      webhook('first.example.com', '/first', { ...pods, reinvocationPolicy: 'IfNeeded' }),
      webhook('second.example.com', '/second', pods),
    ],
    async () => {
      const pod = {
        metadata: { name: 'p' },
        spec: { nodeName: 'none', containers: [{ name: 'c', image: 'busybox' }] },
      };
      const made = await api.create('/api/v1/namespaces/default/pods', pod);
      assert.equal(made.status, 201, made.text);
      assert.equal(made.body.metadata.annotations.order, '121');
      assert.deepEqual(
        made.body.spec.containers.map((c: Json) => [c.name, c.imagePullPolicy, c.terminationMessagePath]),
        [
          ['c', 'Always', '/dev/termination-log'],
          ['side', 'Always', '/dev/termination-log'],
        ],
      );
      // ServiceAccount ran again over the container that was added.
      assert.equal(made.body.spec.containers[1].volumeMounts.length, 1);
      assert.deepEqual(
        seen.map((s) => s.path.split('?')[0]),
        ['/first', '/second', '/first'],
      );
    },
  );
});

test('patches that do not fit, and answers that are none', async () => {
  const broken: [Json, RegExp][] = [
    [
      patch({ op: 'remove', path: '/data/nothing' }),
      /^Internal error occurred: error in remove for path: '\/data\/nothing'/,
    ],
    [
      { patchType: 'JSONPatch' },
      /failed calling webhook "m\.example\.com": received invalid webhook response: webhook returned response\.patchType but not response\.patch$/,
    ],
    [{ uid: 'other' }, /received invalid webhook response: expected response\.uid="[^"]+", got "other"$/],
    [
      { raw: '{"response":{"allowed":true}}' },
      /received invalid webhook response: expected response\.uid="[^"]+", got ""$/,
    ],
    [
      { raw: '{"apiVersion":"admission.k8s.io/v1beta1","kind":"AdmissionReview","response":{"allowed":true}}' },
      /failed to call webhook: converting \(v1beta1\.AdmissionReview\) to \(v1\.AdmissionReview\): unknown conversion$/,
    ],
    [
      { raw: 'no', type: 'text/plain', status: 404 },
      /failed to call webhook: the server could not find the requested resource$/,
    ],
    [
      { raw: 'oops', type: 'text/plain', status: 500 },
      /failed to call webhook: an error on the server \("oops"\) has prevented the request from succeeding$/,
    ],
    [
      { raw: '<html>' },
      /failed to call webhook: couldn't get version\/kind; json parse error: invalid character '<' looking for beginning of value$/,
    ],
  ];
  for (const [answer, expected] of broken) {
    answers.set('/m', () => answer);
    await mutating([webhook('m.example.com', '/m')], async () => {
      const made = await api.create(maps, configMap('broken'));
      assert.equal(made.status, 500, made.text);
      assert.match(made.body.message, expected);
    });
  }
});

test('a webhook has as long as is left of the request, and is told how long that is', async () => {
  for (const path of ['/m1', '/m2', '/m3', '/v4', '/v5']) answers.set(path, () => ({}));
  const told = (): string[] => seen.map(({ path }) => path).toSorted();
  const hook = (path: string, timeoutSeconds: number): Json =>
    webhook(`${path.slice(1)}.example.com`, path, { timeoutSeconds });
  delays.set('/m1', 1001);
  await mutating([hook('/m1', 20), hook('/m2', 5), hook('/m3', 20)], () =>
    validating([hook('/v4', 4), hook('/v5', 20)], async () => {
      const made = await api.create(`${maps}?dryRun=All&timeout=10s`, configMap('shrinking'));
      assert.equal(made.status, 201, made.text);
      assert.deepEqual(told(), [
        '/m1?timeout=10s',
        '/m2?timeout=5s',
        '/m3?timeout=9s',
        '/v4?timeout=4s',
        '/v5?timeout=9s',
      ]);
    }),
  );
  seen.length = 0;
  delays.set('/m1', 3000);
  const patient = (path: string): Json => ({ ...hook(path, 10), failurePolicy: 'Ignore' });
  for (const first of [hook('/m1', 10), patient('/m1')])
    await mutating([first, patient('/m2')], async () => {
      const began = performance.now();
      const late = await api.create(`${maps}?dryRun=All&timeout=1s`, configMap('late'));
      assert.ok(performance.now() - began < 2500);
      assert.equal(late.status, 504);
      assert.equal(
        late.text,
        '{"metadata":{},"status":"Failure","message":"Timeout: request did not complete within the allotted timeout","reason":"Timeout","details":{},"code":504}\n',
      );
    });
  assert.deepEqual(told(), ['/m1?timeout=1s', '/m1?timeout=1s'], 'those after it are not asked');
});

test('failure policy, timeouts, unknown authorities and servers that are not there', async () => {
  answers.set('/slow', () => undefined);
  const cases: [Json, RegExp][] = [
    [
      { clientConfig: { url: 'https://127.0.0.1:1/x' } },
      /^Internal error occurred: failed calling webhook "w\.example\.com": failed to call webhook: Post "https:\/\/127\.0\.0\.1:1\/x\?timeout=10s": dial tcp 127\.0\.0\.1:1: connect: connection refused$/,
    ],
    [
      { clientConfig: { url: `${hooks.url}/slow`, caBundle: hooks.caBundle }, timeoutSeconds: 1 },
      /failed to call webhook: Post "https:\/\/127\.0\.0\.1:\d+\/slow\?timeout=1s": context deadline exceeded$/,
    ],
    [
      { clientConfig: { url: `${hooks.url}/slow` } },
      /tls: failed to verify certificate: x509: certificate signed by unknown authority$/,
    ],
    [
      { clientConfig: { service: { namespace: 'hooks', name: 'none', path: '/x' }, caBundle: hooks.caBundle } },
      /failed to call webhook: Post "https:\/\/none\.hooks\.svc:443\/x\?timeout=10s": service "none" not found$/,
    ],
  ];
  for (const [more, expected] of cases) {
    await validating([webhook('w.example.com', '/slow', more)], async () => {
      const refused = await api.create(maps, configMap('failed'));
      assert.equal(refused.status, 500, refused.text);
      assert.match(refused.body.message, expected);
    });
    await validating([webhook('w.example.com', '/slow', { ...more, failurePolicy: 'Ignore' })], async () => {
      assert.equal((await api.create(`${maps}?dryRun=All`, configMap('failed'))).status, 201);
    });
  }
  const metrics = (await api.get('/metrics')).text;
  assert.match(
    metrics,
    /apiserver_admission_webhook_rejection_count\{error_type="calling_webhook_error",name="w\.example\.com",operation="CREATE",rejection_code="503",type="validating"\} 4/,
  );
  assert.match(metrics, /apiserver_admission_webhook_fail_open_count\{name="w\.example\.com",type="validating"\} 4/);
  assert.match(
    metrics,
    /apiserver_admission_step_admission_duration_seconds_count\{operation="CREATE",rejected="false",type="admit"\} \d/,
  );
});

test('a service reference reaches a pod that a process of this machine answers for', async () => {
  cluster.network.addBackend({
    namespace: 'hooks',
    labels: { app: 'hook' },
    to: { host: '127.0.0.1', port: hooks.port },
  });
  await api.create('/api/v1/namespaces', { metadata: { name: 'hooks' } });
  await api.create('/api/v1/namespaces/hooks/pods', {
    metadata: { name: 'hook', labels: { app: 'hook' } },
    spec: { containers: [{ name: 'c', image: 'pause', ports: [{ containerPort: 8443 }] }] },
  });
  await api.create('/api/v1/namespaces/hooks/services', {
    metadata: { name: 'hook' },
    spec: { selector: { app: 'hook' }, ports: [{ port: 443, targetPort: 8443 }] },
  });
  await waitForOne(cluster.client.core.endpoints, 'hook', 'hooks', (e) => (e.subsets?.[0]?.addresses?.length ?? 0) > 0);
  answers.set('/pod', () => patch({ op: 'add', path: '/data/by', value: 'pod' }));
  const clientConfig = { service: { namespace: 'hooks', name: 'hook', path: '/pod' }, caBundle: hooks.caBundle };
  await mutating([webhook('pod.example.com', '', { clientConfig, timeoutSeconds: 5 })], async () => {
    // The proxy may learn of the endpoints a moment later.
    let made = await api.create(maps, configMap('by-pod'));
    for (let i = 0; i < 50 && made.status !== 201; i++) made = await api.create(maps, configMap('by-pod'));
    assert.equal(made.status, 201, made.text);
    assert.equal(made.body.data.by, 'pod');
  });
});

test('operations, subresources, scope and object selectors', async () => {
  answers.set('/w', () => ({}));
  const told = (): string[] =>
    seen
      .splice(0)
      .map(({ review: { request: r } }) =>
        [r.operation, r.resource.resource, r.subResource ?? '', r.name ?? '', r.kind.kind].join(' '),
      );
  const all = {
    rules: rules(['*/*'], ['*']),
    namespaceSelector: {},
    objectSelector: { matchLabels: { watched: 'yes' } },
  };
  await validating([webhook('all.example.com', '/w', all)], async () => {
    await api.create(maps, configMap('plain'));
    await api.create(maps, { metadata: { name: 'watched', labels: { watched: 'yes' } } });
    await api.merge(`${maps}/watched`, { metadata: { labels: { watched: 'no' } } });
    await api.merge(`${maps}/watched`, { data: { a: 'c' } });
    await api.merge(`${maps}/watched`, { metadata: { labels: { watched: 'yes' } } });
    await api.delete(`${maps}/watched`);
    assert.deepEqual(told(), [
      'CREATE configmaps  watched ConfigMap',
      'UPDATE configmaps  watched ConfigMap',
      'UPDATE configmaps  watched ConfigMap',
      'DELETE configmaps  watched ConfigMap',
    ]);
  });
  const sub = { rules: rules(['deployments/scale', 'pods/binding'], ['*'], { scope: 'Namespaced' }) };
  await validating([webhook('sub.example.com', '/w', sub)], async () => {
    const deployment = {
      metadata: { name: 'd' },
      spec: {
        replicas: 0,
        selector: { matchLabels: { a: 'b' } },
        template: { metadata: { labels: { a: 'b' } }, spec: { containers: [{ name: 'c', image: 'c' }] } },
      },
    };
    const path = '/apis/apps/v1/namespaces/default/deployments';
    assert.equal((await api.create(path, deployment)).status, 201);
    assert.equal((await api.merge(`${path}/d/scale`, { spec: { replicas: 1 } })).status, 200);
    // The scheduler's binding comes by here too.
    await waitFor(cluster.client.core.pods, { namespace: 'default', labelSelector: 'a=b' }, (pods) =>
      pods.some((p) => p.spec?.nodeName !== undefined),
    );
    const binding = seen.find((s) => s.review.request.subResource === 'binding')!.review.request;
    assert.deepEqual(
      [binding.operation, binding.kind, binding.object.target.kind],
      ['CREATE', { group: '', version: 'v1', kind: 'Binding' }, 'Node'],
    );
    await api.delete(`${path}/d`);
    const scale = seen.find((s) => s.review.request.subResource === 'scale')!.review.request;
    assert.deepEqual(scale.kind, { group: 'autoscaling', version: 'v1', kind: 'Scale' });
    assert.deepEqual([scale.object.spec, scale.oldObject.spec], [{ replicas: 1 }, {}]);
    seen.length = 0;
  });
  const exec = { rules: rules(['pods/exec'], ['CONNECT']) };
  answers.set('/exec', (r) => ({ allowed: false, status: { message: `no ${r.object.command.join(' ')}` } }));
  await validating([webhook('exec.example.com', '/exec', exec)], async () => {
    const refused = await api.request(
      'POST',
      '/api/v1/namespaces/default/pods/x/exec?command=rm&command=-r&container=c',
    );
    assert.deepEqual(
      [refused.status, refused.body.message],
      [400, 'admission webhook "exec.example.com" denied the request: no rm -r'],
    );
    assert.deepEqual(seen[0]!.review.request.object.kind, 'PodExecOptions');
  });
  const clusterScope = { rules: rules(['*'], ['CREATE'], { scope: 'Cluster' }), namespaceSelector: {} };
  answers.set('/ns', (r) => ({ allowed: r.name !== 'unwanted' }));
  await validating([webhook('ns.example.com', '/ns', clusterScope)], async () => {
    assert.equal((await api.create('/api/v1/namespaces', { metadata: { name: 'unwanted' } })).status, 400);
    assert.equal((await api.create(maps, configMap('not-cluster'))).status, 201);
  });
});

test('dry runs, equivalent resources, v1beta1 reviews, and configurations themselves', async () => {
  answers.set('/w', () => ({}));
  await validating([webhook('dry.example.com', '/w', { sideEffects: 'NoneOnDryRun' })], async () => {
    assert.equal((await api.create(`${maps}?dryRun=All`, configMap('dry'))).status, 201);
    assert.equal(seen[0]!.review.request.dryRun, true);
    assert.deepEqual(seen.splice(0)[0]!.review.request.options.dryRun, ['All']);
  });
  const hpa = (matchPolicy: string): Json => ({
    rules: [
      {
        operations: ['CREATE'],
        apiGroups: ['autoscaling'],
        apiVersions: ['v1'],
        resources: ['horizontalpodautoscalers'],
      },
    ],
    matchPolicy,
  });
  const path = '/apis/autoscaling/v2/namespaces/default/horizontalpodautoscalers?dryRun=All';
  const target = {
    metadata: { name: 'h' },
    spec: {
      maxReplicas: 3,
      scaleTargetRef: { kind: 'Deployment', name: 'd', apiVersion: 'apps/v1' },
      metrics: [
        { type: 'Resource', resource: { name: 'cpu', target: { type: 'Utilization', averageUtilization: 70 } } },
      ],
    },
  };
  await validating([webhook('exact.example.com', '/w', hpa('Exact'))], async () => {
    assert.equal((await api.create(path, target)).status, 201);
    assert.equal(seen.length, 0);
  });
  answers.set('/equivalent', (r) =>
    r.object.spec.targetCPUUtilizationPercentage === 70
      ? patch({ op: 'replace', path: '/spec/targetCPUUtilizationPercentage', value: 50 })
      : { allowed: false },
  );
  await mutating([webhook('equivalent.example.com', '/equivalent', hpa('Equivalent'))], async () => {
    const made = await api.create(path, target);
    assert.equal(made.status, 201, made.text);
    assert.equal(made.body.apiVersion, 'autoscaling/v2');
    assert.equal(made.body.spec.metrics[0].resource.target.averageUtilization, 50);
    const { request } = seen.splice(0)[0]!.review;
    assert.deepEqual([request.kind.version, request.resource.version, request.requestKind.version], ['v1', 'v1', 'v2']);
  });
  answers.set('/beta', () => ({
    ...patch({ op: 'add', path: '/data/beta', value: 'yes' }),
    patchType: undefined,
    uid: '',
  }));
  await mutating([webhook('beta.example.com', '/beta', { admissionReviewVersions: ['v1beta1', 'v1'] })], async () => {
    assert.equal((await api.create(maps, configMap('beta'))).body.data.beta, 'yes');
    assert.equal(seen.splice(0)[0]!.review.apiVersion, 'admission.k8s.io/v1beta1');
  });
  answers.set('/never', () => ({ allowed: false }));
  const everything = { rules: rules(['*'], ['*']), namespaceSelector: {} };
  await validating([webhook('never.example.com', '/never', everything)], async () => {
    const configurations = '/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations';
    assert.equal((await api.merge(`${configurations}/test`, { metadata: { labels: { still: 'here' } } })).status, 200);
    assert.equal((await api.create(maps, configMap('never'))).status, 400);
  });
});

test('custom resources are pruned and defaulted after a webhook; broken managedFields are put back', async () => {
  const crd = {
    metadata: { name: 'things.example.com' },
    spec: {
      group: 'example.com',
      scope: 'Namespaced',
      names: { plural: 'things', kind: 'Thing' },
      versions: [
        {
          name: 'v1',
          served: true,
          storage: true,
          schema: {
            openAPIV3Schema: {
              type: 'object',
              properties: {
                spec: { type: 'object', properties: { a: { type: 'string' }, b: { type: 'string', default: 'B' } } },
              },
            },
          },
        },
      ],
    },
  };
  assert.equal((await api.create('/apis/apiextensions.k8s.io/v1/customresourcedefinitions', crd)).status, 201);
  await waitForOne(cluster.client.apiextensions.customresourcedefinitions, 'things.example.com', undefined, (c) =>
    (c.status?.conditions ?? []).some((s) => s.type === 'Established' && s.status === 'True'),
  );
  answers.set('/thing', () =>
    patch(
      { op: 'add', path: '/spec', value: { a: 'A', unknown: 1 } },
      { op: 'replace', path: '/metadata/managedFields/0/operation', value: 'Nonsense' },
    ),
  );
  await mutating([webhook('thing.example.com', '/thing', { rules: rules(['things']) })], async () => {
    const made = await api.create('/apis/example.com/v1/namespaces/default/things', {
      apiVersion: 'example.com/v1',
      kind: 'Thing',
      metadata: { name: 't', labels: { x: 'y' } },
    });
    assert.equal(made.status, 201, made.text);
    assert.deepEqual(made.body.spec, { a: 'A', b: 'B' });
    assert.equal(made.body.metadata.managedFields[0].operation, 'Update');
    assert.match(made.warnings[0]!, /^\.metadata\.managedFields was in an invalid state after admission; /);
  });
});
