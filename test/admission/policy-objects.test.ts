/** What is told of policies and of match conditions when they are made: what is wrong with them, who may make them, their status. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Json } from '../support/api.ts';
import {
  api,
  defineLimits,
  hooks,
  inDefault,
  map,
  maps,
  on,
  reviewed,
  root,
  withPolicies,
} from './support/policies.ts';

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
  await defineLimits();
  while ((await api.get('/apis/rules.test/v1/limits')).status === 404);
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
