/** ValidatingAdmissionPolicies and MutatingAdmissionPolicies over the wire: what they do to requests. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Json } from '../support/api.ts';
import {
  api,
  defineLimits,
  deployment,
  deployments,
  map,
  maps,
  mutating,
  on,
  validating,
  withPolicies,
} from './support/policies.ts';
import type { Made } from './support/policies.ts';

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
    await defineLimits();
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
