/**
 * Random expressions of CEL through the compiler and the evaluator, and over the wire as rules of custom resources, policies and
 * conditions of webhooks: nothing breaks, nothing costs more than it may, and what does not compile is the client's fault.
 * `KNARR_SEED=n` draws others, `KNARR_FUZZ_SCALE` more.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createEnv } from '../../src/api/cel/env.ts';
import { CelError } from '../../src/api/cel/errors.ts';
import { estimateCost } from '../../src/api/cel/estimate.ts';
import { compile } from '../../src/api/cel/program.ts';
import * as types from '../../src/api/cel/types.ts';
import { Duration, Timestamp, Uint } from '../../src/api/cel/values.ts';
import { scale, seed } from '../../src/base/fuzzing.ts';
import { SeededRandom } from '../../src/base/random.ts';
import { createWorkspace, startApiServer, startStore } from '../support/api-server.ts';
import type { Api, Json } from '../support/api.ts';
import { anyExpression, expression } from './fuzz/expressions.ts';

const limit = 1_000_000;

const env = createEnv({
  variables: {
    i: types.intType,
    u: types.uintType,
    f: types.doubleType,
    b: types.boolType,
    s: types.stringType,
    y: types.bytesType,
    l: types.listType(types.intType),
    ls: types.listType(types.stringType),
    m: types.mapType(types.stringType, types.intType),
    d: types.durationType,
    t: types.timestampType,
    o: types.dynType,
  },
});

const activation = {
  ...{ i: 7, u: new Uint(3n), f: 2.5, b: true, s: 'héllo World', y: Buffer.from('abc'), l: [3, 1, 2, 2] },
  ...{
    ls: ['a', 'bb', 'a'],
    m: { x: 1 },
    d: new Duration(5_400_000_000_000n),
    t: new Timestamp(1_767_323_045, 6_000_000),
  },
  o: { name: 'web-1', n: 5, list: [1, 'two', 3.5, null], nested: { a: 'b' }, nul: null, q: '1.5Gi' },
};

test('random expressions compile or are refused, and end within their limit', () => {
  const random = new SeededRandom(seed);
  const choose = (n: number): number => random.int(n);
  const seen = { refused: 0, failed: 0, gave: 0 };
  for (let n = 0; n < 4000 * scale; n++) {
    const source = anyExpression(choose);
    const compiled = compile(source, env);
    if (compiled.errors !== undefined) {
      assert.notEqual(compiled.errors.message, '', source);
      seen.refused++;
      continue;
    }
    const estimated = estimateCost(compiled.tree, undefined);
    // Of `replace` upstream reckons at least one replacement for the one end, and none for the other, where what is to be replaced
    // is longer than the text: its ends may cross.
    if (!source.includes('.replace(')) assert.ok(estimated.min <= estimated.max, source);
    try {
      const { cost } = compiled.program.evaluate(activation, { budget: limit });
      assert.ok(cost <= limit, `${source}: ${cost}`);
      seen.gave++;
    } catch (error) {
      assert.ok(error instanceof CelError, `${source}: ${String((error as Error).stack)}`);
      seen.failed++;
    }
  }
  // The generator is of use as long as it makes all three.
  assert.ok(Math.min(seen.refused, seen.failed, seen.gave) > 400 * scale, JSON.stringify(seen));
});

const definition = (name: string, rule: string): Json => ({
  apiVersion: 'apiextensions.k8s.io/v1',
  kind: 'CustomResourceDefinition',
  metadata: { name: `${name}.fuzz.example.com` },
  spec: {
    group: 'fuzz.example.com',
    scope: 'Namespaced',
    names: { plural: name, kind: `Kind${name}` },
    versions: [
      {
        name: 'v1',
        served: true,
        storage: true,
        schema: {
          openAPIV3Schema: {
            type: 'object',
            properties: { s: { type: 'string', maxLength: 10 }, i: { type: 'integer' } },
            'x-kubernetes-validations': [{ rule, message: 'no' }],
          },
        },
      },
    ],
  },
});

const rules = [{ apiGroups: [''], apiVersions: ['v1'], operations: ['CREATE'], resources: ['configmaps'] }];

test('as rules, policies and conditions: taken, or refused as invalid', async () => {
  const work = await createWorkspace();
  await using etcd = await startStore();
  await using server = await startApiServer(work, etcd);
  const { api } = server;
  const random = new SeededRandom(seed + 1);
  const choose = (n: number): number => random.int(n);
  const admission = '/apis/admissionregistration.k8s.io/v1';
  const count = { taken: 0, refused: 0 };
  const create = async (client: Api, path: string, object: Json, source: string): Promise<boolean> => {
    const answer = await client.create(path, object);
    assert.ok(answer.status === 201 || answer.status === 422, `${answer.status} for ${source}: ${answer.text}`);
    if (answer.status === 201) count.taken++;
    else count.refused++;
    return answer.status === 201;
  };
  for (let n = 0; n < 40 * scale; n++) {
    // Half of them are made of what is there.
    const source =
      n % 2 === 0
        ? anyExpression(choose)
        : expression(choose, 'bool', 3).replace(/\b(?:o\.\w+|ls|[iufbsylmdto])\b(?!["'(])/g, '"x"');
    await create(
      api,
      '/apis/apiextensions.k8s.io/v1/customresourcedefinitions?dryRun=All',
      definition(`k${n}`, source),
      source,
    );
    const policy = {
      apiVersion: 'admissionregistration.k8s.io/v1',
      kind: 'ValidatingAdmissionPolicy',
      metadata: { name: `p${n}` },
      spec: { matchConstraints: { resourceRules: rules }, validations: [{ expression: source }] },
    };
    if (await create(api, `${admission}/validatingadmissionpolicies`, policy, source)) {
      const binding = {
        apiVersion: 'admissionregistration.k8s.io/v1',
        kind: 'ValidatingAdmissionPolicyBinding',
        metadata: { name: `p${n}` },
        spec: { policyName: `p${n}`, validationActions: ['Warn'] },
      };
      await api.create(`${admission}/validatingadmissionpolicybindings`, binding);
    }
    const hook = {
      apiVersion: 'admissionregistration.k8s.io/v1',
      kind: 'ValidatingWebhookConfiguration',
      metadata: { name: `w${n}` },
      webhooks: [
        {
          name: 'w.example.com',
          clientConfig: { url: 'https://127.0.0.1:1/' },
          rules,
          failurePolicy: 'Ignore',
          timeoutSeconds: 1,
          sideEffects: 'None',
          admissionReviewVersions: ['v1'],
          matchConditions: [{ name: 'm', expression: source }],
        },
      ],
    };
    await create(api, `${admission}/validatingwebhookconfigurations`, hook, source);
  }
  assert.ok(count.taken > 5 && count.refused > 5, JSON.stringify(count));
  // What was taken runs for each of these.
  for (let n = 0; n < 5; n++) {
    const made = await api.create('/api/v1/namespaces/default/configmaps', { metadata: { name: `c${n}` } });
    assert.ok(made.status === 201 || made.status === 422 || made.status === 403, made.text);
  }
  work.dispose();
});
