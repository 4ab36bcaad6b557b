/** Who may do what: ABAC, webhooks that the test brings, AuthorizationConfiguration and its reloads, RBAC's rules, reviews, over TLS. */
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { createCluster } from '../../src/index.ts';
import type { Cluster } from '../../src/index.ts';
import { connectApi } from '../support/api.ts';
import type { Answer, Api, Json } from '../support/api.ts';
import { collectingLogger, eventually, Files, secureCluster, securityOf } from '../support/security.ts';
import { startTlsServer } from '../support/tls-server.ts';
import type { TlsServer } from '../support/tls-server.ts';

const files = new Files();
after(() => files[Symbol.dispose]());

const pods = '/api/v1/namespaces/default/pods';
const tokens = files.write(
  'tokens.csv',
  'jane-token,jane,1,"dev"\nbob-token,bob,2\nroot-token,root,3,"system:masters"\n',
);

interface AuthorizationHook extends AsyncDisposable {
  readonly server: TlsServer;
  /** Every review that came in. */
  readonly asked: Json[];
  /** Answers a review's spec with its status; undefined: not at all. */
  answer: (spec: Json) => Json | undefined;
}

async function startHook(): Promise<AuthorizationHook> {
  const asked: Json[] = [];
  const hook = {
    asked,
    answer: (_spec: Json): Json | undefined => ({ allowed: false }),
  };
  const server = await startTlsServer({
    handle(_request, response, body) {
      const review = JSON.parse(body.toString()) as Json;
      asked.push(review);
      const status = hook.answer(review.spec);
      if (status === undefined) response.writeHead(400, { 'content-type': 'text/plain' }).end('broken');
      else
        response
          .writeHead(200, { 'content-type': 'application/json' })
          .end(JSON.stringify({ apiVersion: review.apiVersion, kind: 'SubjectAccessReview', status }));
    },
  });
  return Object.assign(hook, { server, [Symbol.asyncDispose]: () => server[Symbol.asyncDispose]() });
}

function callers(cluster: Cluster): { jane: Api; bob: Api; root: Api; admin: Api } & Disposable {
  const [jane, bob, root] = ['jane', 'bob', 'root'].map((n) => connectApi(cluster, { token: `${n}-token` }));
  const admin = connectApi(cluster);
  return {
    ...{ jane: jane!, bob: bob!, root: root!, admin },
    [Symbol.dispose]() {
      for (const api of [jane!, bob!, root!, admin]) api.close();
    },
  };
}

test('ABAC: policies of a file, old and new', async () => {
  await using cluster = await secureCluster({
    'token-auth-file': tokens,
    'authorization-mode': ['Node', 'ABAC', 'RBAC'],
    'authorization-policy-file': files.write(
      'policies.jsonl',
      [
        '# people',
        '{"apiVersion":"abac.authorization.kubernetes.io/v1beta1","kind":"Policy","spec":{"user":"jane","namespace":"default","resource":"pods","apiGroup":"","readonly":true}}',
        '{"apiVersion":"abac.authorization.kubernetes.io/v1beta1","kind":"Policy","spec":{"group":"dev","nonResourcePath":"/metrics*","readonly":true}}',
        '',
        '{"user":"bob","resource":"configmaps","namespace":"shared"}',
      ].join('\n'),
    ),
  });
  using by = callers(cluster);
  assert.equal((await by.jane.get(pods)).status, 200);
  assert.equal((await by.jane.create(pods, { metadata: { name: 'x' } })).status, 403);
  assert.equal((await by.jane.get('/api/v1/namespaces/kube-system/pods')).status, 403);
  assert.equal((await by.jane.get('/metrics')).status, 200);
  assert.equal((await by.bob.get('/metrics')).status, 403);
  assert.notEqual(
    (await by.bob.create('/api/v1/namespaces/shared/configmaps', { metadata: { name: 'x' } })).status,
    403,
  );
  const refused = await by.bob.get(pods);
  assert.equal(
    refused.body.message,
    'pods is forbidden: User "bob" cannot list resource "pods" in API group "" in the namespace "default": No policy matched.',
  );
  const rules = await by.jane.create('/apis/authorization.k8s.io/v1/selfsubjectrulesreviews', {
    spec: { namespace: 'default' },
  });
  assert.ok(
    rules.body.status.resourceRules.some((r: Json) => r.resources[0] === 'pods' && r.verbs.join() === 'get,list,watch'),
  );
  await assert.rejects(
    securityOf({
      'authorization-mode': ['ABAC'],
      'authorization-policy-file': files.write('broken.jsonl', '\n{"user": 7}\n'),
    }),
    {
      message: `error reading policy file ${files.path('broken.jsonl')}, line 2: {"user": 7}: json: cannot unmarshal number into Go struct field PolicySpec.spec.user of type string`,
    },
  );
});

test('a webhook by flags: what it is asked, what it says, how long that holds', async () => {
  await using hook = await startHook();
  await using cluster = await secureCluster({
    'token-auth-file': tokens,
    'authorization-mode': ['Node', 'RBAC', 'Webhook'],
    'authorization-webhook-config-file': files.kubeconfig('hook', hook.server),
    'authorization-webhook-cache-authorized-ttl': 300_000,
    'authorization-webhook-cache-unauthorized-ttl': 0,
  });
  using by = callers(cluster);
  hook.answer = (spec) =>
    spec.resourceAttributes?.resource === 'pods'
      ? { allowed: true, reason: 'pods are for all' }
      : { allowed: false, reason: 'only pods' };
  assert.equal(
    (await by.jane.get(`${pods}?labelSelector=a%3Db,c,!d,e+in+(f,g)&fieldSelector=spec.nodeName!%3Dn`)).status,
    200,
  );
  assert.deepEqual(hook.asked[0], {
    kind: 'SubjectAccessReview',
    apiVersion: 'authorization.k8s.io/v1beta1',
    metadata: {},
    spec: {
      resourceAttributes: {
        namespace: 'default',
        verb: 'list',
        version: 'v1',
        resource: 'pods',
        fieldSelector: { requirements: [{ key: 'spec.nodeName', operator: 'NotIn', values: ['n'] }] },
        labelSelector: {
          requirements: [
            { key: 'a', operator: 'In', values: ['b'] },
            { key: 'c', operator: 'Exists' },
            { key: 'd', operator: 'DoesNotExist' },
            { key: 'e', operator: 'In', values: ['f', 'g'] },
          ],
        },
      },
      user: 'jane',
      group: ['dev', 'system:authenticated'],
      uid: '1',
    },
    status: { allowed: false },
  });
  await by.jane.get(pods);
  await by.jane.get(pods);
  assert.equal(hook.asked.length, 2, 'consent is kept');
  const services = await by.jane.get('/api/v1/namespaces/default/services');
  assert.equal(
    services.body.message,
    'services is forbidden: User "jane" cannot list resource "services" in API group "" in the namespace "default": only pods',
  );
  await by.jane.get('/api/v1/namespaces/default/services');
  assert.equal(hook.asked.length, 4, 'refusal is not');
  assert.equal((await by.jane.get('/metrics')).status, 403);
  assert.deepEqual(hook.asked.at(-1)!.spec.nonResourceAttributes, { path: '/metrics', verb: 'get' });
  // One that does not answer has no opinion, but the request is told what went wrong.
  hook.answer = () => undefined;
  const broken = await by.bob.get('/api/v1/namespaces/default/services');
  assert.equal(broken.status, 500);
  assert.equal(
    broken.text,
    'Internal Server Error: "/api/v1/namespaces/default/services": the server rejected our request for an unknown reason\n',
  );
  hook.answer = () => ({ allowed: true, denied: true, reason: 'both' });
  assert.match((await by.bob.get('/api/v1/namespaces/default/services')).text, /returned both allow and deny response/);
  const review = await by.admin.create('/apis/authorization.k8s.io/v1/subjectaccessreviews', {
    spec: { user: 'bob', resourceAttributes: { verb: 'get', resource: 'services', namespace: 'default' } },
  });
  assert.deepEqual(review.body.status, {
    allowed: false,
    denied: true,
    reason: 'both',
    evaluationError: 'webhook subject access review returned both allow and deny response',
  });
  const rules = await by.bob.create('/apis/authorization.k8s.io/v1/selfsubjectrulesreviews', {
    spec: { namespace: 'default' },
  });
  assert.equal(rules.body.status.incomplete, true);
  assert.equal(rules.body.status.evaluationError, 'webhook authorizer does not support user rule resolution');
});

function webhook(name: string, kubeConfigFile: string, more: Json = {}): Json {
  return {
    type: 'Webhook',
    name,
    webhook: {
      timeout: '3s',
      subjectAccessReviewVersion: 'v1',
      failurePolicy: 'Deny',
      connectionInfo: { type: 'KubeConfigFile', kubeConfigFile },
      ...more,
    },
  };
}

function configuration(authorizers: readonly Json[]): Json {
  return { apiVersion: 'apiserver.config.k8s.io/v1', kind: 'AuthorizationConfiguration', authorizers };
}

const node = { type: 'Node', name: 'node' };
const rbac = { type: 'RBAC', name: 'rbac' };

test('AuthorizationConfiguration: several webhooks, match conditions, failure policies, metrics, reloads', async () => {
  await using first = await startHook();
  await using second = await startHook();
  const [firstConfig, secondConfig] = [
    files.kubeconfig('first', first.server, '/one'),
    files.kubeconfig('second', second.server, '/two'),
  ];
  const conditions = (...expressions: string[]): Json => ({
    matchConditionSubjectAccessReviewVersion: 'v1',
    matchConditions: expressions.map((expression) => ({ expression })),
  });
  const guard = webhook(
    'guard.example.com',
    firstConfig,
    conditions(
      "has(request.resourceAttributes) && request.resourceAttributes.namespace == 'kube-system'",
      "!('system:serviceaccounts:kube-system' in request.groups)",
      "!request.user.startsWith('system:') && request.user != 'kubernetes-admin'",
    ),
  );
  const more = webhook('more', secondConfig, {
    failurePolicy: 'NoOpinion',
    cacheAuthorizedRequests: false,
    ...conditions(
      "has(request.resourceAttributes.labelSelector) && request.resourceAttributes.labelSelector.requirements.exists(r, r.key == 'team' && r.operator == 'In' && r.values == ['blue'])",
    ),
  });
  const path = files.write('authorization.yaml', configuration([guard, node, rbac, more]));
  const lines: string[] = [];
  await using cluster = await secureCluster(
    { 'token-auth-file': tokens, 'authorization-config': path },
    { logger: collectingLogger(lines) },
  );
  using by = callers(cluster);
  // The guard denies, whatever comes after it would say; masters are not asked about.
  first.answer = () => ({ allowed: false, denied: true, reason: 'hands off' });
  const denied = await by.jane.get('/api/v1/namespaces/kube-system/pods');
  assert.equal(denied.status, 403);
  assert.match(denied.body.message, /: hands off$/);
  assert.equal((await by.root.get('/api/v1/namespaces/kube-system/pods')).status, 200);
  assert.equal((await by.jane.get(pods)).status, 403);
  assert.equal(first.asked.length, 1);
  assert.equal(first.asked[0]!.apiVersion, 'authorization.k8s.io/v1');
  // Selectors are seen by conditions.
  second.answer = () => ({ allowed: true });
  assert.equal((await by.jane.get(`${pods}?labelSelector=team%3Dblue`)).status, 200);
  assert.equal((await by.jane.get(`${pods}?labelSelector=team%3Dred`)).status, 403);
  assert.equal(second.asked.length, 1);
  // Conditions that fail count by the failure policy: no opinion, and an error.
  const failed = await by.jane.get('/metrics');
  assert.equal(failed.status, 500);
  assert.match(
    failed.text,
    /cel evaluation error: expression 'has\(request.resourceAttributes.labelSelector\).*no such key: resourceAttributes/,
  );
  // What does not answer: one denies, the other has no opinion.
  first.answer = () => undefined;
  const guardDown = await by.bob.get('/api/v1/namespaces/kube-system/pods');
  assert.equal(guardDown.status, 500);
  const metrics = (await by.admin.get('/metrics')).text;
  for (const line of [
    'apiserver_authorization_decisions_total{decision="denied",name="guard.example.com",type="Webhook"} 2',
    'apiserver_authorization_decisions_total{decision="allowed",name="more",type="Webhook"} 1',
    'apiserver_authorization_webhook_evaluations_total{name="guard.example.com",result="success"} 1',
    'apiserver_authorization_webhook_evaluations_total{name="guard.example.com",result="error"} 1',
    'apiserver_authorization_match_condition_evaluation_errors_total{name="more",type="Webhook"} 1',
  ])
    assert.ok(metrics.includes(line), line);
  assert.match(metrics, /^apiserver_authorization_decisions_total\{decision="allowed",name="rbac",type="RBAC"\} \d+$/m);
  assert.match(
    metrics,
    /^apiserver_authorization_match_condition_exclusions_total\{name="guard.example.com",type="Webhook"\} \d+$/m,
  );

  const reloads = async (status: string, count: number): Promise<true | undefined> => {
    const text = (await by.admin.get('/metrics')).text;
    return new RegExp(
      `automatic_reloads_total\\{apiserver_id_hash="sha256:[0-9a-f]+",status="${status}"\\} ${count}$`,
      'm',
    ).test(text)
      ? true
      : undefined;
  };
  files.write('authorization.yaml', configuration([guard, rbac]));
  await eventually(() => reloads('failure', 1), 'a file without Node to be refused');
  assert.ok(
    lines.some((l) => l.includes('missing required types: [Node]')),
    lines.join('\n'),
  );
  files.write('authorization.yaml', configuration([node, rbac, webhook('all', secondConfig)]));
  await eventually(() => reloads('success', 1), 'the new file to be taken');
  assert.equal((await by.bob.get('/api/v1/namespaces/kube-system/pods')).status, 200);
});

test('an AuthorizationConfiguration that will not do is refused with upstream’s words', async () => {
  const kubeconfig = files.write('some', '{}');
  const wrong: readonly (readonly [readonly Json[], string])[] = [
    [[], 'authorizers: Required value: at least one authorization mode must be defined'],
    [[{ name: 'x' }], 'authorizers[0].type: Required value'],
    [
      [{ type: 'Foo', name: 'foo' }],
      'authorizers[0].type: Unsupported value: "Foo": supported values: "ABAC", "AlwaysAllow", "AlwaysDeny", "Node", "RBAC", "Webhook"',
    ],
    [[rbac, rbac], 'authorizers[1].type: Duplicate value: "RBAC"'],
    [[{ type: 'RBAC', name: 'other' }], 'expected name rbac for authorizer RBAC instead of other'],
    [
      [{ type: 'RBAC', name: 'A_' }],
      "authorizers[0].name: Invalid value: \"A_\": authorizer name is invalid: a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')",
    ],
    [
      [{ ...rbac, webhook: {} }],
      'authorizers[0].webhook: Invalid value: "non-null": may only be specified when type=Webhook',
    ],
    [[{ type: 'Webhook', name: 'w' }], 'authorizers[0].webhook: Required value: required when type=Webhook'],
    [[webhook('w', kubeconfig), webhook('w', kubeconfig)], 'authorizers[1].name: Duplicate value: "w"'],
    [
      [webhook('w', kubeconfig, { timeout: '31s' })],
      'authorizers[0].timeout: Invalid value: "31s": must be > 0s and <= 30s',
    ],
    [
      [webhook('w', kubeconfig, { timeout: '0s', authorizedTTL: '-1s' })],
      '[authorizers[0].timeout: Required value, authorizers[0].authorizedTTL: Invalid value: "-1s": must be > 0s]',
    ],
    [
      [webhook('w', kubeconfig, { subjectAccessReviewVersion: 'v2' })],
      'authorizers[0].subjectAccessReviewVersion: Unsupported value: "v2": supported values: "v1", "v1beta1"',
    ],
    [
      [webhook('w', kubeconfig, { failurePolicy: 'Ignore' })],
      'authorizers[0].failurePolicy: Unsupported value: "Ignore": supported values: "NoOpinion", "Deny"',
    ],
    [
      [webhook('w', 'relative')],
      'authorizers[0].connectionInfo.kubeConfigFile: Invalid value: "relative": must be an absolute path',
    ],
    [
      [webhook('w', '/none/there')],
      'authorizers[0].connectionInfo.kubeConfigFile: Invalid value: "/none/there": error loading file: stat /none/there: no such file or directory',
    ],
    [
      [webhook('w', kubeconfig, { matchConditions: [{ expression: 'true' }] })],
      'authorizers[0].matchConditionSubjectAccessReviewVersion: Required value: required if match conditions are specified',
    ],
    [
      [
        webhook('w', kubeconfig, {
          matchConditionSubjectAccessReviewVersion: 'v1',
          matchConditions: [
            { expression: 'request.user' },
            { expression: ' ' },
            { expression: 'true' },
            { expression: 'true' },
            { expression: 'request.foo' },
          ],
        }),
      ],
      '[authorizers[0].matchConditions[0].expression: Invalid value: "request.user": must evaluate to bool but got string, authorizers[0].matchConditions[1].expression: Required value, authorizers[0].matchConditions[3].expression: Duplicate value: "true", authorizers[0].matchConditions[4].expression: Invalid value: "request.foo": compilation failed: ERROR: <input>:1:8: undefined field \'foo\'\n | request.foo\n | .......^]',
    ],
  ];
  for (const [authorizers, message] of wrong)
    await assert.rejects(
      securityOf({ 'authorization-config': files.write('wrong.yaml', configuration(authorizers)) }),
      { name: 'StartError', message },
    );
  await assert.rejects(
    securityOf({ 'authorization-config': files.write('wrong.yaml', configuration([{ ...rbac, foo: 1 }])) }),
    /^StartError: failed to load AuthorizationConfiguration from file: strict decoding error: unknown field "authorizers\[0\].foo"$/,
  );
  for (const [flags, message] of [
    [
      { 'authorization-config': kubeconfig, 'authorization-mode': ['RBAC'] },
      '--authorization-config can not be specified when --authorization-mode or --authorization-webhook-* flags are defined',
    ],
    [{ 'authorization-mode': ['ABAC'] }, "authorization-mode ABAC's authorization policy file not passed"],
    [{ 'authorization-mode': ['Webhook'] }, "authorization-mode Webhook's authorization config file not passed"],
    [
      { 'authorization-policy-file': kubeconfig, 'authorization-mode': ['RBAC'] },
      'cannot specify --authorization-policy-file without mode ABAC',
    ],
    [
      { 'authorization-mode': ['RBAC', 'RBAC'] },
      'authorization-mode ["RBAC" "RBAC"] has mode specified more than once',
    ],
  ] as const)
    await assert.rejects(securityOf(flags), (error: Error) => {
      assert.equal(error.message.replace(/^error reading policy file .*$/, ''), message);
      return true;
    });
});

test('RBAC: nobody grants what they do not hold; default roles are mended at a start, unless annotated', async () => {
  const dataDir = files.path('data');
  const open = (): Promise<Cluster> =>
    createCluster({
      nodes: 0,
      dataDir,
      https: { port: 0 },
      disable: ['kube-scheduler', 'cloud-controller-manager', 'kubelet', 'kube-proxy', 'dns', 'local-path-provisioner'],
    });
  const group = '/apis/rbac.authorization.k8s.io/v1';
  {
    await using cluster = await open();
    const admin = connectApi(cluster);
    await admin.create('/api/v1/namespaces/default/serviceaccounts', { metadata: { name: 'editor' } });
    await admin.create(`${group}/namespaces/default/roles`, {
      metadata: { name: 'role-writer' },
      rules: [
        {
          verbs: ['create', 'update', 'patch', 'get'],
          apiGroups: ['rbac.authorization.k8s.io'],
          resources: ['roles', 'rolebindings'],
        },
        { verbs: ['get'], apiGroups: [''], resources: ['pods'] },
        {
          verbs: ['bind'],
          apiGroups: ['rbac.authorization.k8s.io'],
          resources: ['clusterroles'],
          resourceNames: ['view'],
        },
      ],
    });
    await admin.create(`${group}/namespaces/default/rolebindings`, {
      metadata: { name: 'role-writer' },
      roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'Role', name: 'role-writer' },
      subjects: [{ kind: 'ServiceAccount', name: 'editor', namespace: 'default' }],
    });
    const token = (await admin.create('/api/v1/namespaces/default/serviceaccounts/editor/token', { spec: {} })).body
      .status.token;
    const editor = connectApi(cluster, { token });
    const me = 'system:serviceaccount:default:editor';
    const role = (name: string, rules: Json): Promise<Answer> =>
      editor.create(`${group}/namespaces/default/roles`, { metadata: { name }, rules });
    assert.equal((await role('small', [{ verbs: ['get'], apiGroups: [''], resources: ['pods'] }])).status, 201);
    const large = await role('large', [
      { verbs: ['get', 'list', 'delete'], apiGroups: [''], resources: ['pods', 'secrets'] },
    ]);
    assert.equal(large.status, 403);
    assert.equal(
      large.body.message,
      `roles.rbac.authorization.k8s.io "large" is forbidden: user "${me}" (groups=["system:serviceaccounts" "system:serviceaccounts:default" "system:authenticated"]) is attempting to grant RBAC permissions not currently held:\n` +
        '{APIGroups:[""], Resources:["pods"], Verbs:["list" "delete"]}\n' +
        '{APIGroups:[""], Resources:["secrets"], Verbs:["get" "list" "delete"]}',
    );
    const binding = (name: string, clusterRole: string): Promise<Answer> =>
      editor.create(`${group}/namespaces/default/rolebindings`, {
        metadata: { name },
        roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'ClusterRole', name: clusterRole },
        subjects: [{ kind: 'User', apiGroup: 'rbac.authorization.k8s.io', name: 'x' }],
      });
    assert.equal((await binding('viewers', 'view')).status, 201);
    const admins = await binding('admins', 'cluster-admin');
    assert.equal(admins.status, 403);
    assert.match(
      admins.body.message,
      /is attempting to grant RBAC permissions not currently held:\n\{APIGroups:\["\*"\], Resources:\["\*"\], Verbs:\["\*"\]\}\n/,
    );
    // Somebody takes rights from default roles, and adds some; one of them is to stay as it is.
    const current = (await admin.get(`${group}/clusterroles/system:node-proxier`)).body;
    const added = { verbs: ['get'], apiGroups: ['example.com'], resources: ['things'] };
    const put = await admin.request('PUT', `${group}/clusterroles/system:node-proxier`, { ...current, rules: [added] });
    assert.equal(put.status, 200, put.text);
    const kept = (await admin.get(`${group}/clusterroles/system:basic-user`)).body;
    kept.metadata.annotations['rbac.authorization.kubernetes.io/autoupdate'] = 'false';
    assert.equal(
      (await admin.request('PUT', `${group}/clusterroles/system:basic-user`, { ...kept, rules: [] })).status,
      200,
    );
    await admin.delete(`${group}/clusterrolebindings/system:discovery`);
    await admin.merge(`${group}/clusterrolebindings/system:basic-user`, { subjects: [] });
    editor.close();
    admin.close();
  }
  {
    await using cluster = await open();
    const admin = connectApi(cluster);
    const mended = (await admin.get(`${group}/clusterroles/system:node-proxier`)).body;
    assert.equal(mended.rules[0].resources[0], 'things');
    assert.ok(mended.rules.length > 3);
    assert.deepEqual((await admin.get(`${group}/clusterroles/system:basic-user`)).body.rules, null);
    assert.equal((await admin.get(`${group}/clusterrolebindings/system:discovery`)).status, 200);
    const bound = (await admin.get(`${group}/clusterrolebindings/system:basic-user`)).body;
    assert.deepEqual(bound.subjects, [
      { kind: 'Group', apiGroup: 'rbac.authorization.k8s.io', name: 'system:authenticated' },
    ]);
    admin.close();
  }
});

test('access reviews: selectors, what is wrong with them, in a namespace, of myself', async () => {
  await using cluster = await secureCluster({ 'token-auth-file': tokens });
  using by = callers(cluster);
  const group = '/apis/authorization.k8s.io/v1';
  const review = (spec: Json): Promise<Answer> => by.admin.create(`${group}/subjectaccessreviews`, { spec });
  const resource = { verb: 'list', resource: 'pods', namespace: 'default' };
  for (const [spec, message] of [
    [
      { user: 'x' },
      '.authorization.k8s.io "" is invalid: spec.resourceAttributes: Invalid value: null: exactly one of nonResourceAttributes or resourceAttributes must be specified',
    ],
    [
      { resourceAttributes: resource },
      '.authorization.k8s.io "" is invalid: spec.user: Invalid value: "": at least one of user or group must be specified',
    ],
    [
      { user: 'x', resourceAttributes: { ...resource, labelSelector: {} } },
      '.authorization.k8s.io "" is invalid: spec.resourceAttributes.labelSelector.requirements: Required value: when spec.resourceAttributes.labelSelector is specified, requirements or rawSelector is required',
    ],
    [
      {
        user: 'x',
        resourceAttributes: {
          ...resource,
          fieldSelector: { rawSelector: 'a=b', requirements: [{ key: 'a', operator: 'In', values: ['b'] }] },
        },
      },
      '.authorization.k8s.io "" is invalid: spec.resourceAttributes.fieldSelector.rawSelector: Invalid value: "a=b": may not specified at the same time as requirements',
    ],
    [
      {
        user: 'x',
        resourceAttributes: { ...resource, labelSelector: { requirements: [{ key: '', operator: 'In' }] } },
      },
      ".authorization.k8s.io \"\" is invalid: [spec.resourceAttributes.labelSelector.requirements[0].values: Required value: must be specified when `operator` is 'In' or 'NotIn', spec.resourceAttributes.labelSelector.requirements[0].key: Invalid value: \"\": name part must be non-empty, spec.resourceAttributes.labelSelector.requirements[0].key: Invalid value: \"\": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')]",
    ],
  ] as const) {
    const answer = await review(spec);
    assert.equal(answer.status, 422, answer.text);
    assert.equal(answer.body.message, message);
  }
  // A kubelet lists the devices of its node alone.
  const slices = { verb: 'list', group: 'resource.k8s.io', resource: 'resourceslices' };
  const kubelet = { user: 'system:node:n1', groups: ['system:nodes'] };
  const field = (value: string): Json => ({
    requirements: [{ key: 'spec.nodeName', operator: 'In', values: [value] }],
  });
  const own = await review({ ...kubelet, resourceAttributes: { ...slices, fieldSelector: field('n1') } });
  assert.equal(own.body.status.allowed, true);
  const others = await review({ ...kubelet, resourceAttributes: { ...slices, fieldSelector: field('n2') } });
  assert.equal(others.body.status.allowed, false, others.text);
  assert.equal(
    others.body.status.reason,
    'can only list/watch/deletecollection resourceslices with nodeName field selector',
  );
  const partly = await review({
    ...kubelet,
    resourceAttributes: {
      ...slices,
      fieldSelector: { requirements: [...field('n1').requirements, { key: 'x', operator: 'In', values: ['a', 'b'] }] },
      labelSelector: { rawSelector: 'a in (' },
    },
  });
  assert.deepEqual(partly.body.status, {
    allowed: true,
    evaluationError:
      'spec.resourceAttributes.fieldSelector partially ignored due to parse error; spec.resourceAttributes.labelSelector ignored due to parse error',
  });
  const local = await by.admin.create(`${group}/namespaces/default/localsubjectaccessreviews`, {
    metadata: { namespace: 'default' },
    spec: { user: 'jane', resourceAttributes: { verb: 'get', resource: 'pods', namespace: 'other' } },
  });
  assert.equal(local.status, 422);
  assert.match(
    local.body.message,
    /spec.resourceAttributes.namespace: Invalid value: "other": must match metadata.namespace/,
  );
  const mine = await by.jane.create(`${group}/selfsubjectaccessreviews`, {
    spec: { nonResourceAttributes: { path: '/version', verb: 'get' } },
  });
  assert.equal(mine.body.status.allowed, true);
  const rules = await by.root.create(`${group}/selfsubjectrulesreviews`, { spec: { namespace: 'default' } });
  assert.deepEqual(rules.body.status.resourceRules[0], { verbs: ['*'], apiGroups: ['*'], resources: ['*'] });
  assert.equal(
    (await by.jane.create(`${group}/selfsubjectrulesreviews`, { spec: {} })).body.message,
    'no namespace on request',
  );
});
