/** ValidatingAdmissionPolicies, MutatingAdmissionPolicies and match conditions over the wire. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { createCluster } from '../../src/index.ts';
import type { Cluster } from '../../src/index.ts';
import { connectApi } from '../support/api.ts';
import type { Api, Json } from '../support/api.ts';
import { startTlsServer } from '../support/tls-server.ts';
import type { TlsServer } from '../support/tls-server.ts';

let cluster: Cluster;
let api: Api;
let hooks: TlsServer;
const reviewed: Json[] = [];

before(async () => {
  cluster = await createCluster({ nodes: 1, https: { port: 0 }, disable: ['cloud-controller-manager', 'dns'] });
  api = connectApi(cluster);
  hooks = await startTlsServer({
    dnsNames: ['localhost'],
    handle(_request, response, body) {
      const review = JSON.parse(body.toString()) as Json;
      reviewed.push(review.request);
      response.writeHead(200, { 'content-type': 'application/json' });
      response.end(
        JSON.stringify({ ...review, request: undefined, response: { uid: review.request.uid, allowed: true } }),
      );
    },
  });
});

after(async () => {
  api?.close();
  await cluster?.close();
  await hooks?.[Symbol.asyncDispose]();
});

const root = '/apis/admissionregistration.k8s.io/v1';
const maps = '/api/v1/namespaces/default/configmaps';
const deployments = '/apis/apps/v1/namespaces/default/deployments';

const inDefault = {
  matchExpressions: [{ key: 'kubernetes.io/metadata.name', operator: 'In', values: ['default'] }],
};

const on = (resources: string[], operations = ['CREATE', 'UPDATE'], more: Json = {}): Json => ({
  namespaceSelector: inDefault,
  resourceRules: [{ apiGroups: ['*'], apiVersions: ['*'], operations, resources }],
  ...more,
});

interface Made {
  readonly kind: 'Validating' | 'Mutating';
  readonly spec: Json;
  readonly binding?: Json;
  readonly name?: string;
}

/** With these policies in force, each bound once. */
async function withPolicies(policies: readonly Made[], run: () => Promise<void>): Promise<void> {
  const made: string[] = [];
  const create = async (kind: string, plural: string, name: string, spec: Json): Promise<void> => {
    const body = { apiVersion: 'admissionregistration.k8s.io/v1', kind, metadata: { name }, spec };
    const answer = await api.create(`${root}/${plural}`, body);
    assert.equal(answer.status, 201, answer.text);
    assert.deepEqual(answer.warnings, []);
    made.push(`${root}/${plural}/${name}`);
  };
  try {
    for (const { kind, spec, binding = {}, name = 'p' } of policies) {
      const plural = kind === 'Validating' ? 'validatingadmissionpolicies' : 'mutatingadmissionpolicies';
      await create(`${kind}AdmissionPolicy`, plural, name, spec);
      const actions = kind === 'Validating' ? { validationActions: ['Deny'] } : {};
      await create(`${kind}AdmissionPolicyBinding`, `${plural.slice(0, -3)}ybindings`, `${name}-binding`, {
        policyName: name,
        ...actions,
        ...binding,
      });
    }
    await run();
  } finally {
    for (const path of made.reverse()) await api.delete(path);
  }
}

const validating = (spec: Json, binding: Json, run: () => Promise<void>): Promise<void> =>
  withPolicies([{ kind: 'Validating', spec, binding }], run);
const mutating = (spec: Json, binding: Json, run: () => Promise<void>): Promise<void> =>
  withPolicies([{ kind: 'Mutating', spec: { reinvocationPolicy: 'Never', ...spec }, binding }], run);

let count = 0;
const map = (data: Json = {}, metadata: Json = {}): Json => ({
  apiVersion: 'v1',
  kind: 'ConfigMap',
  metadata: { name: `m${++count}`, ...metadata },
  data,
});

const deployment = (name: string, spec: Json = {}, metadata: Json = {}): Json => ({
  apiVersion: 'apps/v1',
  kind: 'Deployment',
  metadata: { name, ...metadata },
  spec: {
    replicas: 0,
    selector: { matchLabels: { app: name } },
    template: { metadata: { labels: { app: name } }, spec: { containers: [{ name: 'c', image: 'i' }] } },
    ...spec,
  },
});

test('a policy refuses with its message, reason and cause, and lets through what it allows', async () => {
  const spec = {
    matchConstraints: on(['deployments']),
    variables: [
      { name: 'limit', expression: '3' },
      { name: 'wanted', expression: 'object.spec.replicas' },
    ],
    validations: [
      { expression: 'variables.wanted <= variables.limit', messageExpression: "'at most ' + string(variables.limit)" },
      { expression: "!has(object.metadata.labels) || !('bad' in object.metadata.labels)", message: ' no bad label ' },
    ],
  };
  await validating(spec, {}, async () => {
    const refused = await api.create(deployments, deployment('many', { replicas: 5 }));
    const message = "ValidatingAdmissionPolicy 'p' with binding 'p-binding' denied request: at most 3";
    assert.deepEqual(refused.body, {
      kind: 'Status',
      apiVersion: 'v1',
      metadata: {},
      status: 'Failure',
      message: `deployments.apps "many" is forbidden: ${message}`,
      reason: 'Invalid',
      details: { name: 'many', group: 'apps', kind: 'deployments', causes: [{ message }] },
      code: 422,
    });
    const bad = await api.create(deployments, deployment('bad', {}, { labels: { bad: 'x' } }));
    assert.match(bad.body.message, /denied request: no bad label$/);
    assert.equal((await api.create(deployments, deployment('fine'))).status, 201);
    const scaled = await api.merge(`${deployments}/fine`, { spec: { replicas: 4 } });
    assert.equal(scaled.status, 422, scaled.text);
    // The scale subresource is another resource.
    assert.equal((await api.merge(`${deployments}/fine/scale`, { spec: { replicas: 4 } })).status, 200);
    assert.equal((await api.merge(`${deployments}/fine`, { spec: { replicas: 0 } })).status, 200);
    await api.delete(`${deployments}/fine`);
  });
  assert.equal((await api.create(deployments, deployment('many', { replicas: 5 }))).status, 201);
  await api.delete(`${deployments}/many`);
});

test('writes that change nothing are judged as well', async () => {
  const { body } = await api.create(maps, map());
  const path = `${maps}/${body.metadata.name}`;
  const spec = { matchConstraints: on(['configmaps']), validations: [{ expression: 'false' }] };
  await validating(spec, {}, async () => {
    assert.equal((await api.request('PUT', path, body)).status, 422);
    assert.equal((await api.merge(path, {})).status, 422);
  });
  const again = await api.request('PUT', path, body);
  assert.deepEqual([again.status, again.body.metadata.resourceVersion], [200, body.metadata.resourceVersion]);
});

test('failure policies, reasons, and messages without a text of their own', async () => {
  const failing = {
    matchConstraints: on(['configmaps']),
    validations: [{ expression: "object.data.x == 'y'", reason: 'Forbidden' }],
  };
  await validating(failing, {}, async () => {
    const missing = await api.create(maps, map({ a: 'b' }));
    assert.equal(missing.status, 422);
    assert.match(
      missing.body.message,
      /denied request: expression 'object\.data\.x == 'y'' resulted in error: no such key: x$/,
    );
    const wrong = await api.create(maps, map({ x: 'z' }));
    assert.equal(wrong.status, 403);
    assert.equal(wrong.body.reason, 'Forbidden');
    assert.match(wrong.body.message, /denied request: failed expression: object\.data\.x == 'y'$/);
    assert.equal((await api.create(maps, map({ x: 'y' }))).status, 201);
  });
  await validating({ ...failing, failurePolicy: 'Ignore' }, {}, async () => {
    assert.equal((await api.create(maps, map({ a: 'b' }))).status, 201);
    assert.equal((await api.create(maps, map({ x: 'z' }))).status, 403);
  });
  const costly = {
    matchConstraints: on(['configmaps']),
    validations: [
      {
        expression:
          '[1,2,3,4,5,6,7,8,9].all(a, object.data.x.size() > 0 && object.data.x.split("").all(b, object.data.x.contains(b)))',
      },
    ],
  };
  await validating(costly, {}, async () => {
    const dear = await api.create(maps, map({ x: 'a'.repeat(20_000) }));
    assert.match(dear.body.message, /resulted in error: operation cancelled: actual cost limit exceeded$/);
  });
});

test('warnings and audit instead of refusal; annotations', async () => {
  const spec = {
    matchConstraints: on(['configmaps']),
    validations: [{ expression: 'false', message: 'never' }],
    auditAnnotations: [{ key: 'size', valueExpression: "string(size(object.data)) + ' entries'" }],
  };
  await validating(spec, { validationActions: ['Warn', 'Audit'] }, async () => {
    const made = await api.create(maps, map({ a: 'b' }));
    assert.equal(made.status, 201);
    assert.deepEqual(made.warnings, [
      "Validation failed for ValidatingAdmissionPolicy 'p' with binding 'p-binding': never",
    ]);
  });
});

test('everything that expressions see', async () => {
  const check = (...expressions: string[]): Json => ({
    matchConstraints: on(['configmaps', 'pods/exec'], ['*']),
    validations: expressions.map((expression) => ({ expression })),
  });
  const spec = check(
    "request.operation == 'DELETE' ? object == null && oldObject.data.a == 'b' : object.data.a == 'b'",
    "request.kind == request.requestKind && request.resource.resource == 'configmaps' && request.kind.kind == 'ConfigMap'",
    "request.namespace == 'default' && request.name.startsWith('m')",
    "request.userInfo.username == 'kubernetes-admin' && 'system:authenticated' in request.userInfo.groups",
    '!request.dryRun && !has(request.subResource)',
    "namespaceObject.metadata.name == 'default' && namespaceObject.status.phase == 'Active'",
    "namespaceObject.metadata.creationTimestamp < timestamp('9999-01-01T00:00:00Z')",
    "authorizer.group('').resource('configmaps').namespace('default').check('get').allowed()",
    "!authorizer.serviceAccount('default', 'default').group('').resource('secrets').check('list').allowed()",
    "authorizer.requestResource.check('create').allowed()",
    "request.operation != 'CREATE' || request.options.fieldManager == 'me'",
  );
  await validating(spec, {}, async () => {
    const made = map({ a: 'b' });
    const created = await api.create(`${maps}?fieldManager=me`, made);
    assert.equal(created.status, 201, created.text);
    const refused = await api.create(`${maps}?fieldManager=you`, map({ a: 'b' }));
    assert.match(refused.body.message, /failed expression: request\.operation != 'CREATE'/);
    const deleted = await api.delete(`${maps}/${made.metadata.name}`);
    assert.equal(deleted.status, 200, deleted.text);
  });
});

test('constraints: other versions, exclusions, names, bindings of their own, match conditions', async () => {
  const byOldVersion = {
    matchConstraints: {
      resourceRules: [
        {
          apiGroups: ['autoscaling'],
          apiVersions: ['v1'],
          operations: ['CREATE'],
          resources: ['horizontalpodautoscalers'],
        },
      ],
    },
    validations: [{ expression: 'object.spec.targetCPUUtilizationPercentage < 50 && request.kind.version == "v1"' }],
  };
  const hpas = '/apis/autoscaling/v2/namespaces/default/horizontalpodautoscalers';
  const hpa = (averageUtilization: number): Json => ({
    metadata: { name: `h${averageUtilization}` },
    spec: {
      maxReplicas: 3,
      scaleTargetRef: { apiVersion: 'apps/v1', kind: 'Deployment', name: 'x' },
      metrics: [{ type: 'Resource', resource: { name: 'cpu', target: { type: 'Utilization', averageUtilization } } }],
    },
  });
  await validating(byOldVersion, {}, async () => {
    assert.equal((await api.create(hpas, hpa(80))).status, 422);
    const fine = await api.create(hpas, hpa(40));
    assert.equal(fine.status, 201, fine.text);
    await api.delete(`${hpas}/h40`);
  });
  const named = (more: Json): Json => ({
    matchConstraints: on(['configmaps'], ['CREATE'], more),
    validations: [{ expression: 'false', message: 'never' }],
    matchConditions: [
      { name: 'not-free', expression: "!(has(object.metadata.labels) && 'free' in object.metadata.labels)" },
    ],
  });
  const excluded = {
    excludeResourceRules: [
      { apiGroups: [''], apiVersions: ['v1'], operations: ['*'], resources: ['configmaps'], resourceNames: ['spared'] },
    ],
  };
  await validating(named(excluded), {}, async () => {
    assert.equal((await api.create(maps, map({}, { name: 'spared' }))).status, 201);
    assert.equal((await api.create(maps, map({}, { name: 'other' }))).status, 422);
    assert.equal((await api.create(maps, map({}, { name: 'free', labels: { free: 'y' } }))).status, 201);
  });
  await validating(named({}), { matchResources: { objectSelector: { matchLabels: { strict: 'yes' } } } }, async () => {
    assert.equal((await api.create(maps, map())).status, 201);
    assert.equal((await api.create(maps, map({}, { labels: { strict: 'yes' } }))).status, 422);
  });
  const undecided = {
    ...named({}),
    matchConditions: [{ name: 'broken', expression: "object.metadata.labels.nope == 'x'" }],
  };
  await validating(undecided, {}, async () => {
    const refused = await api.create(maps, map());
    assert.match(refused.body.message, /resulted in error: no such key: labels$/);
  });
  await validating({ ...undecided, failurePolicy: 'Ignore' }, {}, async () => {
    assert.equal((await api.create(maps, map())).status, 201);
  });
});

test('parameters: by name, by selector, missing ones, unknown kinds, custom resources', async () => {
  const spec = {
    paramKind: { apiVersion: 'v1', kind: 'ConfigMap' },
    matchConstraints: on(['deployments']),
    validations: [
      {
        expression: 'params == null || object.spec.replicas <= int(params.data.max)',
        messageExpression: "'at most ' + params.data.max + ' by ' + params.metadata.name",
      },
    ],
  };
  const refused = async (replicas: number): Promise<string | undefined> => {
    const answer = await api.create(`${deployments}?dryRun=All`, deployment('d', { replicas }));
    if (answer.status === 201) return undefined;
    return (answer.body.message as string).replace(/^.*denied request: /, '');
  };
  for (const [name, max] of [
    ['one', '5'],
    ['two', '3'],
  ] as const)
    assert.equal((await api.create(maps, map({ max }, { name, labels: { params: 'yes' } }))).status, 201);
  const ref = (paramRef: Json): Json => ({ paramRef: { parameterNotFoundAction: 'Deny', ...paramRef } });
  await validating(spec, ref({ name: 'one' }), async () => {
    assert.equal(await refused(5), undefined);
    assert.equal(await refused(6), 'at most 5 by one');
    await api.merge(`${maps}/one`, { data: { max: '4' } });
    assert.equal(await refused(5), 'at most 4 by one');
  });
  await validating(spec, ref({ selector: { matchLabels: { params: 'yes' } }, namespace: 'default' }), async () => {
    assert.equal(await refused(3), undefined);
    assert.equal(await refused(4), 'at most 3 by two');
  });
  await validating(spec, ref({ name: 'none' }), async () => {
    assert.equal(
      await refused(1),
      'failed to configure binding: no params found for policy binding with `Deny` parameterNotFoundAction',
    );
  });
  await validating(spec, ref({ name: 'none', parameterNotFoundAction: 'Allow' }), async () => {
    assert.equal(await refused(100), undefined);
  });
  await validating(spec, {}, async () => assert.equal(await refused(100), undefined));
  const limits = { ...spec, paramKind: { apiVersion: 'rules.test/v1', kind: 'Limit' } };
  limits.validations = [
    { expression: 'object.spec.replicas <= params.max', messageExpression: "'over ' + string(params.max)" },
  ];
  await validating(limits, ref({ name: 'l' }), async () => {
    assert.equal(
      await refused(1),
      "failed to configure policy: failed to find resource referenced by paramKind: 'rules.test/v1, Kind=Limit'",
    );
    const crd = await api.create('/apis/apiextensions.k8s.io/v1/customresourcedefinitions', {
      metadata: { name: 'limits.rules.test' },
      spec: {
        group: 'rules.test',
        scope: 'Cluster',
        names: { plural: 'limits', singular: 'limit', kind: 'Limit', listKind: 'LimitList' },
        versions: [
          {
            name: 'v1',
            served: true,
            storage: true,
            schema: { openAPIV3Schema: { type: 'object', properties: { max: { type: 'integer' } } } },
          },
        ],
      },
    });
    assert.equal(crd.status, 201, crd.text);
    for (let made = 0; made !== 201;) {
      const answer = await api.create('/apis/rules.test/v1/limits', {
        apiVersion: 'rules.test/v1',
        kind: 'Limit',
        metadata: { name: 'l' },
        max: 2,
      });
      made = answer.status;
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    assert.equal(await refused(2), undefined);
    assert.equal(await refused(3), 'over 2');
  });
});

test('mutations: configurations that are merged, patches that are applied', async () => {
  const configuration = {
    matchConstraints: on(['deployments'], ['CREATE']),
    variables: [{ name: 'team', expression: "object.metadata.name + '-team'" }],
    mutations: [
      {
        patchType: 'ApplyConfiguration',
        applyConfiguration: {
          expression: `Object{
            metadata: Object.metadata{labels: {'team': variables.team}},
            spec: Object.spec{template: Object.spec.template{spec: Object.spec.template.spec{
              initContainers: [Object.spec.template.spec.initContainers{name: 'mesh', image: 'mesh:1'}]
            }}}
          }`,
        },
      },
      {
        patchType: 'JSONPatch',
        jsonPatch: {
          expression: `[
            JSONPatch{op: 'test', path: '/metadata/labels/team', value: variables.team},
            JSONPatch{op: 'add', path: '/metadata/labels/' + jsonpatch.escapeKey('x/y'), value: 'z'},
            JSONPatch{op: 'add', path: '/spec/template/spec/containers/-', value: {'name': 'second', 'image': 'b'}},
          ]`,
        },
      },
    ],
  };
  await mutating(configuration, {}, async () => {
    const made = await api.create(deployments, deployment('d'));
    assert.equal(made.status, 201, made.text);
    assert.deepEqual(made.body.metadata.labels, { team: 'd-team', 'x/y': 'z' });
    const { initContainers, containers } = made.body.spec.template.spec;
    assert.deepEqual([initContainers[0].name, initContainers[0].imagePullPolicy], ['mesh', 'IfNotPresent']);
    assert.deepEqual(
      containers.map((c: Json) => [c.name, c.image, c.terminationMessagePath]),
      [
        ['c', 'i', '/dev/termination-log'],
        ['second', 'b', '/dev/termination-log'],
      ],
    );
    await api.delete(`${deployments}/d`);
  });
});

test('what mutations may not do', async () => {
  const withMutation = async (patchType: string, expression: string): Promise<string> => {
    const member = patchType === 'JSONPatch' ? 'jsonPatch' : 'applyConfiguration';
    const spec = { matchConstraints: on(['deployments']), mutations: [{ patchType, [member]: { expression } }] };
    let message = '';
    await mutating(spec, {}, async () => {
      const answer = await api.create(`${deployments}?dryRun=All`, deployment('d'));
      message = `${answer.status} ${answer.body.reason} ${answer.body.message}`;
    });
    return message;
  };
  const denied = "403 Invalid policy 'p' with binding 'p-binding' denied request: ";
  assert.equal(
    await withMutation(
      'ApplyConfiguration',
      "Object{spec: Object.spec{selector: Object.spec.selector{matchLabels: {'a': 'b'}}}}",
    ),
    `${denied}error applying patch: invalid ApplyConfiguration: may not mutate atomic arrays, maps or structs: .spec.selector`,
  );
  assert.equal(
    await withMutation('ApplyConfiguration', 'Object{spec: Object.spec{replicaz: 3}}'),
    `${denied}error applying patch: failed to convert patch object to typed object: .spec.replicaz: field not declared in schema`,
  );
  assert.equal(
    await withMutation('ApplyConfiguration', 'Object{spec: Object.wrong{replicas: 3}}'),
    `${denied}type mismatch: unexpected type name "Object.wrong", expected "Object.spec", which matches field name path from root Object type`,
  );
  assert.equal(
    await withMutation('JSONPatch', "[JSONPatch{op: 'replace', path: '/spec/nope/x', value: 1}]"),
    `${denied}JSON Patch: replace operation does not apply: doc is missing path: /spec/nope/x: missing value`,
  );
  assert.equal(
    await withMutation('JSONPatch', "[JSONPatch{op: 'add', path: '/spec/nope', value: 1}]"),
    '500 InternalError Internal error occurred: strict decoding error: unknown field "spec.nope"',
  );
  assert.equal(
    await withMutation(
      'JSONPatch',
      "[JSONPatch{op: 'test', path: '/spec/replicas', value: 77}, JSONPatch{op: 'add', path: '/spec/nope', value: 1}]",
    ),
    '201 undefined undefined',
  );
  assert.match(
    await withMutation('JSONPatch', "[JSONPatch{op: 'add', path: '/spec/replicas', value: object.spec.nope}]"),
    /denied request: expression '.*' resulted in error: no such key: nope$/,
  );
});

test('policies that want it are run again after later changes', async () => {
  const append = (letter: string, reinvocationPolicy: string, more: Json = {}): Made => ({
    kind: 'Mutating',
    name: letter,
    spec: {
      matchConstraints: on(['configmaps'], ['CREATE']),
      reinvocationPolicy,
      mutations: [
        {
          patchType: 'ApplyConfiguration',
          applyConfiguration: { expression: `Object{data: {'log': object.data.log + '${letter}'}}` },
        },
      ],
      ...more,
    },
  });
  await withPolicies([append('a', 'IfNeeded'), append('b', 'Never')], async () => {
    const made = await api.create(maps, map({ log: '' }));
    assert.equal(made.status, 201, made.text);
    assert.equal(made.body.data.log, 'aba');
  });
  const once = [{ name: 'once', expression: "!object.data.log.contains('c')" }];
  await withPolicies([append('c', 'IfNeeded', { matchConditions: once })], async () => {
    assert.equal((await api.create(maps, map({ log: '' }))).body.data.log, 'c');
  });
});

test('what is mutated is validated, of custom resources too', async () => {
  const policies: Made[] = [
    {
      kind: 'Mutating',
      spec: {
        reinvocationPolicy: 'Never',
        matchConstraints: {
          resourceRules: [
            { apiGroups: ['rules.test'], apiVersions: ['*'], operations: ['CREATE'], resources: ['limits'] },
          ],
        },
        mutations: [{ patchType: 'ApplyConfiguration', applyConfiguration: { expression: 'Object{max: 7}' } }],
      },
    },
    {
      kind: 'Validating',
      spec: {
        matchConstraints: {
          resourceRules: [
            { apiGroups: ['rules.test'], apiVersions: ['*'], operations: ['CREATE'], resources: ['limits'] },
          ],
        },
        validations: [{ expression: 'object.max == 7 && request.kind.group == "rules.test"' }],
      },
    },
  ];
  await withPolicies(policies, async () => {
    const made = await api.create('/apis/rules.test/v1/limits', {
      apiVersion: 'rules.test/v1',
      kind: 'Limit',
      metadata: { name: 'seven' },
      max: 1,
    });
    assert.equal(made.status, 201, made.text);
    assert.equal(made.body.max, 7);
  });
});

test('match conditions of webhooks', async () => {
  const path = `${root}/validatingwebhookconfigurations`;
  const configuration = (expression: string, failurePolicy = 'Fail'): Json => ({
    metadata: { name: 'conditions' },
    webhooks: [
      {
        name: 'conditions.test.io',
        clientConfig: { url: `${hooks.url}/`, caBundle: hooks.caBundle },
        rules: on(['configmaps'], ['CREATE']).resourceRules,
        namespaceSelector: inDefault,
        sideEffects: 'None',
        admissionReviewVersions: ['v1'],
        failurePolicy,
        matchConditions: [
          { name: 'people', expression: "!request.userInfo.username.startsWith('system:')" },
          { name: 'asked', expression },
        ],
      },
    ],
  });
  const withCondition = async (expression: string, failurePolicy: string, run: () => Promise<void>): Promise<void> => {
    const made = await api.create(path, configuration(expression, failurePolicy));
    assert.equal(made.status, 201, made.text);
    reviewed.length = 0;
    await run();
    await api.delete(`${path}/conditions`);
  };
  await withCondition("object.data.call == 'yes'", 'Fail', async () => {
    assert.equal((await api.create(maps, map({ call: 'yes' }))).status, 201);
    assert.equal(reviewed.length, 1);
    assert.equal((await api.create(maps, map({ call: 'no' }))).status, 201);
    assert.equal(reviewed.length, 1);
    const undecided = await api.create(maps, map({ a: 'b' }, { name: 'undecided' }));
    assert.equal(undecided.status, 403);
    assert.equal(
      undecided.body.message,
      `configmaps "undecided" is forbidden: expression 'object.data.call == 'yes'' resulted in error: no such key: call`,
    );
  });
  await withCondition(
    "authorizer.group('').resource('configmaps').namespace('default').check('delete').allowed()",
    'Fail',
    async () => {
      assert.equal((await api.create(maps, map({ a: 'b' }))).status, 201);
      assert.equal(reviewed.length, 1);
    },
  );
  await withCondition("object.data.call == 'yes'", 'Ignore', async () => {
    assert.equal((await api.create(maps, map({ a: 'b' }))).status, 201);
    assert.equal(reviewed.length, 0);
  });
  const metrics = (await api.get('/metrics')).text;
  const exclusions = /^apiserver_admission_match_condition_exclusions_total\{.*name="conditions\.test\.io".*\} (\d+)$/m;
  assert.equal(exclusions.exec(metrics)?.[1], '2');
  const wrong = await api.create(path, configuration('object.data.call =='));
  assert.equal(wrong.status, 422);
  assert.match(
    wrong.body.message,
    /webhooks\[0\]\.matchConditions\[1\]\.expression: Invalid value: "object\.data\.call ==": compilation failed: ERROR: <input>:1:20: Syntax error/,
  );
});

test('policies that are not right are refused', async () => {
  const causes = async (plural: string, kind: string, spec: Json): Promise<Json[]> => {
    const answer = await api.create(`${root}/${plural}`, {
      apiVersion: 'admissionregistration.k8s.io/v1',
      kind,
      metadata: { name: 'wrong' },
      spec,
    });
    assert.equal(answer.status, 422, answer.text);
    return answer.body.details.causes.map((c: Json) => `${c.field}: ${c.message}`);
  };
  const rule = { apiGroups: [''], apiVersions: ['v1'], operations: ['CREATE'], resources: ['configmaps'] };
  assert.deepEqual(
    await causes('validatingadmissionpolicies', 'ValidatingAdmissionPolicy', {
      paramKind: { apiVersion: 'a/b/c', kind: '' },
      matchConstraints: { resourceRules: [{ ...rule, resourceNames: ['a', 'a'] }] },
      variables: [{ name: 'in', expression: '1' }],
      validations: [
        { expression: '1 + 1', message: 'a\nb', reason: 'Because' },
        { expression: 'params.x', messageExpression: ' ' },
        { expression: 'authorizer != null', messageExpression: 'authorizer' },
      ],
      auditAnnotations: [{ key: 'k', valueExpression: '3' }],
    }),
    [
      'spec.paramKind.apiVersion: Invalid value: "a/b/c": unexpected GroupVersion string: a/b/c',
      'spec.paramKind.kind: Required value',
      'spec.matchConstraints.resourceRules[0].resourceNames[1]: Duplicate value: "a"',
      'spec.variables[0].name: Invalid value: "in": must be a valid CEL identifier',
      'spec.validations[0].expression: Invalid value: "1 + 1": must evaluate to bool but got int',
      'spec.validations[0].message: Invalid value: "a\\nb": must not contain line breaks',
      'spec.validations[0].reason: Unsupported value: "Because": supported values: "Forbidden", "Invalid", "RequestEntityTooLarge"',
      'spec.validations[1].expression: Invalid value: "params.x": must evaluate to bool but got dyn',
      'spec.validations[1].messageExpression: Invalid value: " ": must be non-empty if specified',
      "spec.validations[2].messageExpression: Invalid value: \"authorizer\": compilation failed: ERROR: <input>:1:1: undeclared reference to 'authorizer' (in container '')\n | authorizer\n | ^",
      'spec.auditAnnotations[0].valueExpression: Invalid value: "3": must evaluate to one of [string null_type] but got int',
    ],
  );
  assert.deepEqual(await causes('validatingadmissionpolicies', 'ValidatingAdmissionPolicy', { matchConstraints: {} }), [
    'spec.matchConstraints.resourceRules: Required value',
    'spec.validations: Required value: validations or auditAnnotations must contain at least one item',
    'spec.auditAnnotations: Required value: validations or auditAnnotations must contain at least one item',
  ]);
  assert.deepEqual(
    await causes('mutatingadmissionpolicies', 'MutatingAdmissionPolicy', {
      matchConstraints: { resourceRules: [{ ...rule, operations: ['DELETE'] }] },
      reinvocationPolicy: 'Sometimes',
      mutations: [
        {
          patchType: 'JSONPatch',
          jsonPatch: { expression: 'Object{}' },
          applyConfiguration: { expression: 'Object{}' },
        },
        { patchType: 'ApplyConfiguration' },
        { patchType: 'Merge' },
      ],
    }),
    [
      'spec.matchConstraints.resourceRules.operations: Unsupported value: "DELETE": supported values: "*", "CONNECT", "CREATE", "UPDATE"',
      'spec.mutations[0].jsonPatch.expression: Invalid value: "Object{}": must evaluate to list(JSONPatch) but got Object',
      'spec.mutations[0].applyConfiguration: Invalid value: "{applyConfiguration}": must not be specified when patchType is JSONPatch',
      'spec.mutations[1].applyConfiguration: Required value: must be specified when patchType is ApplyConfiguration',
      'spec.mutations[2].patchType: Unsupported value: "Merge": supported values: "ApplyConfiguration", "JSONPatch"',
      'spec.reinvocationPolicy: Unsupported value: "Sometimes": supported values: "IfNeeded", "Never"',
    ],
  );
  assert.deepEqual(
    await causes('validatingadmissionpolicybindings', 'ValidatingAdmissionPolicyBinding', {
      policyName: 'A',
      paramRef: { name: 'a/b', selector: {} },
      validationActions: ['Deny', 'Warn', 'Deny', 'Shout'],
    }),
    [
      "spec.policyName: Invalid value: \"A\": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')",
      'spec.paramRef.name: Invalid value: "a/b": may not contain \'/\'',
      'spec.paramRef.name: Forbidden: name and selector are mutually exclusive',
      'spec.paramRef.selector: Forbidden: name and selector are mutually exclusive',
      'spec.paramRef.parameterNotFoundAction: Required value',
      'spec.validationActions[2]: Duplicate value: "Deny"',
      'spec.validationActions[3]: Unsupported value: "Shout": supported values: "Audit", "Deny", "Warn"',
      'spec.validationActions: Invalid value: ["Deny","Warn","Deny","Shout"]: must not contain both Deny and Warn (repeating the same validation failure information in the API response and headers serves no purpose)',
    ],
  );
});

test('who may not read parameters may not make policies of them', async () => {
  const rbac = '/apis/rbac.authorization.k8s.io/v1';
  const role = await api.create(`${rbac}/clusterroles`, {
    metadata: { name: 'policies' },
    rules: [{ apiGroups: ['admissionregistration.k8s.io'], resources: ['*'], verbs: ['*'] }],
  });
  assert.equal(role.status, 201, role.text);
  await api.create(`${rbac}/clusterrolebindings`, {
    metadata: { name: 'policies' },
    roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'ClusterRole', name: 'policies' },
    subjects: [{ apiGroup: 'rbac.authorization.k8s.io', kind: 'User', name: 'alice' }],
  });
  const asAlice = async (plural: string, spec: Json): Promise<string> => {
    const body = { metadata: { name: 'hers' }, spec };
    const answer = await api.request('POST', `${root}/${plural}?dryRun=All`, body, { 'impersonate-user': 'alice' });
    return answer.status === 201
      ? ''
      : (answer.body.details.causes as Json[]).map((c) => `${c.field}: ${c.message}`).join();
  };
  const policy = {
    paramKind: { apiVersion: 'v1', kind: 'Secret' },
    matchConstraints: on(['configmaps']),
    validations: [{ expression: 'params.data.a == object.data.a' }],
  };
  const user = '&{alice  [system:authenticated] map[]}';
  assert.equal(
    await asAlice('validatingadmissionpolicies', policy),
    `spec.paramKind: Forbidden: user ${user} must have "get" permission on all objects of the referenced paramKind (kind=Secret, apiVersion=v1)`,
  );
  assert.equal(
    await asAlice('validatingadmissionpolicies', {
      ...policy,
      paramKind: undefined,
      validations: [{ expression: 'true' }],
    }),
    '',
  );
  const binding = {
    policyName: 'p',
    paramRef: { name: 'x', namespace: 'default', parameterNotFoundAction: 'Deny' },
    validationActions: ['Deny'],
  };
  await withPolicies(
    [
      {
        kind: 'Validating',
        spec: policy,
        binding: { matchResources: { objectSelector: { matchLabels: { none: 'yes' } } } },
      },
    ],
    async () => {
      assert.equal(
        await asAlice('validatingadmissionpolicybindings', binding),
        `spec.paramRef: Forbidden: user ${user} does not have "get" permission on the object referenced by paramRef`,
      );
      assert.equal(
        await asAlice('validatingadmissionpolicybindings', { ...binding, policyName: 'unknown' }),
        `spec.paramRef: Forbidden: unable to get policy unknown to determine minimum required permissions and user ${user} does not have "get" permission for all groups, versions and resources`,
      );
    },
  );
});

test('the status of a policy tells what its expressions get wrong about types', async () => {
  const spec = {
    paramKind: { apiVersion: 'rules.test/v1', kind: 'Limit' },
    matchConstraints: {
      resourceRules: [
        {
          apiGroups: ['apps'],
          apiVersions: ['v1'],
          operations: ['CREATE'],
          resources: ['deployments', 'replicasets', 'deployments/scale'],
        },
        { apiGroups: ['rules.test'], apiVersions: ['v1'], operations: ['CREATE'], resources: ['limits'] },
        { apiGroups: ['*'], apiVersions: ['v1'], operations: ['CREATE'], resources: ['pods'] },
      ],
    },
    variables: [
      { name: 'meta', expression: 'object.metadata' },
      { name: 'n', expression: 'params.max' },
    ],
    validations: [
      { expression: "object.metadata.labels['a'] == 'b' && variables.n > 1", messageExpression: "'x' + variables.n" },
      { expression: 'object.spec.replicas > 1' },
    ],
  };
  const path = `${root}/validatingadmissionpolicies`;
  const made = await api.create(path, { metadata: { name: 'typed' }, spec });
  assert.equal(made.status, 201, made.text);
  let status: Json;
  for (let i = 0; i < 200 && status?.observedGeneration === undefined; i++) {
    await new Promise((resolve) => setTimeout(resolve, 20));
    status = (await api.get(`${path}/typed`)).body.status;
  }
  const problem = (kind: string, message: string, at: string): string =>
    `${kind}: ERROR: <input>:1:${message}\n | ${at}\n`;
  const misfit = "5: found no matching overload for '_+_' applied to '(string, int)'";
  const shown = "'x' + variables.n\n | ....^";
  assert.deepEqual(status, {
    observedGeneration: 1,
    typeChecking: {
      expressionWarnings: [
        {
          fieldRef: 'spec.validations[0].messageExpression',
          warning: ['apps/v1, Kind=Deployment', 'apps/v1, Kind=ReplicaSet', 'rules.test/v1, Kind=Limit']
            .map((kind) => problem(kind, misfit, shown))
            .join('\n'),
        },
        {
          fieldRef: 'spec.validations[1].expression',
          warning: problem(
            'rules.test/v1, Kind=Limit',
            "7: undefined field 'spec'",
            'object.spec.replicas > 1\n | ......^',
          ),
        },
      ],
    },
  });
  await api.delete(`${path}/typed`);
});
