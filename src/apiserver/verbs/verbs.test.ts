import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { VirtualClock } from '../../base/clock.ts';
import type { Strategy } from '../strategy.ts';
import type { Harness, Json } from './harness.ts';
import { plainStrategies, startHarness, take, told } from './harness.ts';

const cms = '/api/v1/namespaces/default/configmaps';
const pods = '/api/v1/namespaces/default/pods';
const deployments = '/apis/apps/v1/namespaces/default/deployments';

function configMap(name: string, data: Record<string, string> = {}): Json {
  return { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name }, data };
}

function pod(name: string, more: Json = {}): Json {
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name, labels: { app: name } },
    spec: { containers: [{ name: 'c', image: 'i' }], ...more },
  };
}

function deployment(name: string, replicas = 1): Json {
  return {
    apiVersion: 'apps/v1',
    kind: 'Deployment',
    metadata: { name },
    spec: {
      replicas,
      selector: { matchLabels: { app: name } },
      template: { metadata: { labels: { app: name } }, spec: { containers: [{ name: 'c', image: 'i' }] } },
    },
  };
}

/** Pods end gracefully, as their own strategy will have it. */
const gracefulPods: Strategy = {
  gracePeriod: (_ctx, _pod, requested) => requested ?? 30,
};

function strategies() {
  const plain = plainStrategies();
  return {
    strategies(group: string, resource: string) {
      const own = plain.strategies(group, resource);
      return group === '' && resource === 'pods' ? { ...own, main: { ...own.main, ...gracefulPods } } : own;
    },
  };
}

describe('verbs over the memory store', () => {
  let h: Harness;
  before(async () => {
    h = await startHarness({ strategies: strategies() });
  });
  after(() => h.close());

  test('create, get, replace', async () => {
    const created = await h.request('POST', cms, configMap('a', { k: 'v' }));
    assert.equal(created.status, 201);
    const { metadata } = created.body;
    assert.deepEqual(Object.keys(metadata), [
      'name',
      'namespace',
      'uid',
      'resourceVersion',
      'creationTimestamp',
      'managedFields',
    ]);
    assert.deepEqual(metadata.managedFields[0].fieldsV1, { 'f:data': { '.': {}, 'f:k': {} } });
    assert.equal(metadata.managedFields[0].manager, 'test');
    const got = await h.request('GET', `${cms}/a`);
    assert.deepEqual(got.body, created.body);
    const replaced = await h.request('PUT', `${cms}/a`, { ...got.body, data: { k: 'w' } });
    assert.equal(replaced.status, 200);
    assert.ok(Number(replaced.body.metadata.resourceVersion) > Number(metadata.resourceVersion));
    // What changes nothing writes nothing.
    const again = await h.request('PUT', `${cms}/a`, replaced.body);
    assert.equal(again.body.metadata.resourceVersion, replaced.body.metadata.resourceVersion);
    const missing = await h.request('GET', `${cms}/nope`);
    assert.equal(missing.body.message, 'configmaps "nope" not found');
    assert.deepEqual(missing.body.details, { name: 'nope', kind: 'configmaps' });
  });

  test('creates are refused in the words of upstream', async () => {
    await h.request('POST', cms, configMap('taken'));
    const cases: [Json, number, string, string][] = [
      [configMap('taken'), 409, 'AlreadyExists', 'configmaps "taken" already exists'],
      [
        configMap('Bad_Name'),
        422,
        'Invalid',
        `ConfigMap "Bad_Name" is invalid: metadata.name: Invalid value: "Bad_Name": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')`,
      ],
      [
        { ...configMap('n'), metadata: { name: 'n', namespace: 'other' } },
        400,
        'BadRequest',
        'the namespace of the provided object does not match the namespace sent on the request',
      ],
      [
        { data: {} },
        422,
        'Invalid',
        'ConfigMap "" is invalid: metadata.name: Required value: name or generateName is required',
      ],
      [
        { ...configMap('rv'), metadata: { name: 'rv', resourceVersion: '7' } },
        400,
        'BadRequest',
        'resourceVersion should not be set on objects to be created',
      ],
      [
        '{"apiVersion":"v1","kind":"ConfigMap",',
        400,
        'BadRequest',
        `the object provided is unrecognized (must be of type ConfigMap): couldn't get version/kind; json parse error: unexpected end of JSON input ({"apiVersion":"v1","kind":"Con ...)`,
      ],
      [
        { ...configMap('s'), apiVersion: 'apps/v1' },
        400,
        'BadRequest',
        'ConfigMap in version "v1" cannot be handled as a ConfigMap: no kind "ConfigMap" is registered for version "apps/v1" in scheme "pkg/api/legacyscheme/scheme.go:30"',
      ],
      [
        configMap('t', 3 as unknown as Record<string, string>),
        400,
        'BadRequest',
        'ConfigMap in version "v1" cannot be handled as a ConfigMap: json: cannot unmarshal number into Go struct field ConfigMap.data of type map[string]string',
      ],
    ];
    for (const [body, status, reason, message] of cases) {
      const answer = await h.request('POST', cms, body);
      assert.deepEqual([answer.status, answer.body.reason, answer.body.message], [status, reason, message]);
    }
    const strict = await h.request('POST', `${cms}?fieldValidation=Strict`, { ...configMap('u'), spec: {} });
    assert.equal(
      strict.body.message,
      'ConfigMap in version "v1" cannot be handled as a ConfigMap: strict decoding error: unknown field "spec"',
    );
    const warned = await h.request('POST', cms, { ...configMap('u'), spec: {} });
    assert.deepEqual(warned.warnings, ['299 - "unknown field \\"spec\\""']);
    const yaml = 'zed: 1\nabc: 1\nmetadata:\n  name: u\n  two: 2\n  one: 1\n';
    const sorted = await h.request('POST', `${cms}?fieldValidation=Strict`, yaml, 'application/yaml');
    assert.match(
      sorted.body.message,
      /strict decoding error: unknown field "abc", unknown field "metadata.one", unknown field "metadata.two", unknown field "zed"$/,
    );
    const type = await h.request('POST', cms, 'x', 'text/plain');
    assert.equal(type.status, 415);
    assert.equal(
      type.body.message,
      'the body of the request was in an unknown format - accepted media types include: application/json, application/yaml, application/vnd.kubernetes.protobuf',
    );
    const dry = await h.request('POST', `${cms}?dryRun=x`, configMap('v'));
    assert.equal(
      dry.body.message,
      'CreateOptions.meta.k8s.io "" is invalid: dryRun: Unsupported value: ["x"]: supported values: "All"',
    );
    const big = await h.request('POST', cms, configMap('w', { k: 'x'.repeat(4 << 20) }));
    assert.equal(big.status, 413);
  });

  test('generateName finds names, YAML is read', async () => {
    const a = await h.request('POST', cms, { metadata: { generateName: 'gen-' } });
    assert.match(a.body.metadata.name, /^gen-[bcdfghjklmnpqrstvwxz2456789]{5}$/);
    const b = await h.request('POST', cms, 'metadata:\n  name: why\ndata: {k: "1"}\n', 'application/yaml');
    assert.equal(b.body.data.k, '1');
  });

  test('optimistic concurrency', async () => {
    const { body } = await h.request('POST', cms, configMap('oc', { n: '0' }));
    await h.request('PUT', `${cms}/oc`, { ...body, data: { n: '1' } });
    const stale = await h.request('PUT', `${cms}/oc`, { ...body, data: { n: '2' } });
    assert.equal(stale.status, 409);
    assert.equal(
      stale.body.message,
      'Operation cannot be fulfilled on configmaps "oc": the object has been modified; please apply your changes to the latest version and try again',
    );
    const uid = await h.request('PUT', `${cms}/oc`, { ...configMap('oc'), metadata: { name: 'oc', uid: 'other' } });
    assert.match(uid.body.message, /Precondition failed: UID in precondition: other, UID in object meta: /);
    // A hundred at a time, none lost.
    const patches = Array.from({ length: 100 }, (_, i) =>
      h.request('PATCH', `${cms}/oc`, { data: { [`k${i}`]: 'v' } }, 'application/merge-patch+json'),
    );
    assert.ok((await Promise.all(patches)).every((p) => p.status === 200));
    const { body: now } = await h.request('GET', `${cms}/oc`);
    assert.equal(Object.keys(now.data).length, 101);
    const name = await h.request('PUT', `${cms}/oc`, configMap('other'));
    assert.equal(name.body.message, 'the name of the object (other) does not match the name on the URL (oc)');
  });

  test('patches of every type', async () => {
    await h.request('POST', deployments, deployment('p', 2));
    const url = `${deployments}/p`;
    const json = await h.request(
      'PATCH',
      url,
      [{ op: 'replace', path: '/spec/replicas', value: 3 }],
      'application/json-patch+json',
    );
    assert.equal(json.body.spec.replicas, 3);
    assert.equal(json.body.metadata.generation, 2);
    const strategic = await h.request(
      'PATCH',
      url,
      { spec: { template: { spec: { containers: [{ name: 'd', image: 'j' }] } } } },
      'application/strategic-merge-patch+json',
    );
    assert.deepEqual(
      strategic.body.spec.template.spec.containers.map((c: Json) => c.name),
      ['d', 'c'],
    );
    const merge = await h.request('PATCH', url, { metadata: { labels: { x: 'y' } } }, 'application/merge-patch+json');
    assert.equal(merge.body.metadata.labels.x, 'y');
    assert.equal(merge.body.metadata.generation, 3);
    const none = await h.request('PATCH', url, {}, 'application/merge-patch+json');
    assert.equal(none.body.metadata.resourceVersion, merge.body.metadata.resourceVersion);
    const type = await h.request('PATCH', url, {}, 'application/json');
    assert.equal(
      type.body.message,
      'the body of the request was in an unknown format - accepted media types include: application/json-patch+json, application/merge-patch+json, application/strategic-merge-patch+json, application/apply-patch+yaml',
    );
    const bad = await h.request(
      'PATCH',
      `${url}?fieldValidation=Strict`,
      { spec: { foo: 1 } },
      'application/merge-patch+json',
    );
    assert.equal(bad.status, 422);
    assert.match(bad.body.message, /strict decoding error: unknown field "spec.foo"$/);
    const twice = await h.request(
      'PATCH',
      `${url}?fieldValidation=Strict`,
      '[{"op":"add","path":"/data","value":{},"foo":1},{"op":"add","path":"/data/y","path":"/data/z","value":"1"}]',
      'application/json-patch+json',
    );
    assert.match(
      twice.body.message,
      /strict decoding error: json patch unknown field "\[0\].foo", json patch duplicate field "\[1\].path", unknown field "data"$/,
    );
  });

  test('server-side apply: creates, owns, conflicts', async () => {
    const url = `${cms}/ssa`;
    const apply = (manager: string, data: Json, force = false): Promise<Json> =>
      h.request(
        'PATCH',
        `${url}?fieldManager=${manager}${force ? '&force=true' : ''}`,
        configMap('ssa', data),
        'application/apply-patch+yaml',
      );
    const first = await apply('one', { a: '1', b: '1' });
    assert.equal(first.status, 201);
    const same = await apply('one', { a: '1', b: '1' });
    assert.equal(same.body.metadata.resourceVersion, first.body.metadata.resourceVersion);
    const refused = await apply('two', { a: '2' });
    assert.equal(refused.status, 409);
    assert.equal(refused.body.message, 'Apply failed with 1 conflict: conflict with "one": .data.a');
    const forced = await apply('two', { a: '2' }, true);
    assert.equal(forced.body.data.a, '2');
    const dropped = await apply('one', { a: '2' });
    assert.deepEqual(dropped.body.data, { a: '2' });
    const unnamed = await h.request('PATCH', url, configMap('ssa'), 'application/apply-patch+yaml');
    assert.equal(
      unnamed.body.message,
      'PatchOptions.meta.k8s.io "" is invalid: fieldManager: Required value: is required for apply patch',
    );
  });

  test('status is a part of its own', async () => {
    const { body } = await h.request('POST', deployments, { ...deployment('st'), status: { replicas: 9 } });
    assert.equal(body.status.replicas, undefined);
    const status = await h.request('PUT', `${deployments}/st/status`, {
      ...body,
      spec: { ...body.spec, replicas: 7 },
      status: { replicas: 1 },
    });
    assert.equal(status.body.status.replicas, 1);
    assert.equal(status.body.spec.replicas, 1);
    assert.equal(status.body.metadata.generation, 1);
    assert.equal(status.body.metadata.managedFields[1].subresource, 'status');
    const main = await h.request('PUT', `${deployments}/st`, { ...status.body, status: {} });
    assert.equal(main.body.status.replicas, 1);
  });

  test('scale', async () => {
    await h.request('POST', deployments, deployment('sc', 2));
    const got = await h.request('GET', `${deployments}/sc/scale`);
    assert.deepEqual(got.body.spec, { replicas: 2 });
    assert.deepEqual(got.body.status, { replicas: 0, selector: 'app=sc' });
    const put = await h.request('PUT', `${deployments}/sc/scale`, { ...got.body, spec: { replicas: 5 } });
    assert.equal(put.body.spec.replicas, 5);
    const stale = await h.request('PUT', `${deployments}/sc/scale`, { ...got.body, spec: { replicas: 6 } });
    assert.equal(stale.status, 409);
    const patched = await h.request(
      'PATCH',
      `${deployments}/sc/scale`,
      { spec: { replicas: 4 } },
      'application/merge-patch+json',
    );
    assert.equal(patched.body.spec.replicas, 4);
    const negative = await h.request(
      'PATCH',
      `${deployments}/sc/scale`,
      { spec: { replicas: -1 } },
      'application/merge-patch+json',
    );
    assert.equal(
      negative.body.message,
      'Scale.autoscaling "sc" is invalid: spec.replicas: Invalid value: -1: must be greater than or equal to 0',
    );
    const object = await h.request('GET', `${deployments}/sc`);
    assert.equal(object.body.spec.replicas, 4);
  });

  test('dry run leaves no trace', async () => {
    const dry = await h.request('POST', `${cms}?dryRun=All`, configMap('dry'));
    assert.equal(dry.status, 201);
    assert.equal(dry.body.metadata.resourceVersion, undefined);
    assert.equal((await h.request('GET', `${cms}/dry`)).status, 404);
    const { body } = await h.request('POST', cms, configMap('dry', { a: '1' }));
    const put = await h.request('PUT', `${cms}/dry?dryRun=All`, { ...body, data: { a: '2' } });
    assert.equal(put.body.data.a, '2');
    await h.request('DELETE', `${cms}/dry?dryRun=All`);
    assert.deepEqual((await h.request('GET', `${cms}/dry`)).body, body);
  });

  test('delete: status, preconditions, finalizers, propagation', async () => {
    const { body } = await h.request('POST', cms, configMap('d'));
    const wrong = await h.request('DELETE', `${cms}/d`, { preconditions: { uid: 'x' } });
    assert.equal(
      wrong.body.message,
      `Operation cannot be fulfilled on ConfigMap "d": the UID in the precondition (x) does not match the UID in record (${body.metadata.uid}). The object might have been deleted and then recreated`,
    );
    const both = await h.request('DELETE', `${cms}/d`, { propagationPolicy: 'Orphan', orphanDependents: true });
    assert.equal(
      both.body.message,
      'DeleteOptions.meta.k8s.io "" is invalid: propagationPolicy: Invalid value: "Orphan": orphanDependents and deletionPropagation cannot be both set',
    );
    const gone = await h.request('DELETE', `${cms}/d`);
    assert.deepEqual(gone.body, {
      kind: 'Status',
      apiVersion: 'v1',
      metadata: {},
      status: 'Success',
      details: { name: 'd', kind: 'configmaps', uid: body.metadata.uid },
    });
    await h.request('POST', cms, { ...configMap('f'), metadata: { name: 'f', finalizers: ['example.com/x'] } });
    const marked = await h.request('DELETE', `${cms}/f`);
    assert.equal(marked.body.kind, 'ConfigMap');
    assert.equal(marked.body.metadata.deletionGracePeriodSeconds, 0);
    const late = await h.request(
      'PATCH',
      `${cms}/f`,
      { metadata: { finalizers: ['example.com/x', 'example.com/y'] } },
      'application/merge-patch+json',
    );
    assert.equal(
      late.body.message,
      'ConfigMap "f" is invalid: metadata.finalizers: Forbidden: no new finalizers can be added if the object is being deleted, found new finalizers []string{"example.com/y"}',
    );
    const watch = await h.watch(`${cms}?watch=1&fieldSelector=metadata.name=f&resourceVersion=0`);
    assert.deepEqual(told(await take(watch, 1)), ['ADDED f']);
    const freed = await h.request(
      'PATCH',
      `${cms}/f`,
      { metadata: { finalizers: null } },
      'application/merge-patch+json',
    );
    assert.equal(freed.status, 200);
    assert.deepEqual(told(await take(watch, 1)), ['DELETED f']);
    watch.close();
    assert.equal((await h.request('GET', `${cms}/f`)).status, 404);
    await h.request('POST', deployments, deployment('fg'));
    const foreground = await h.request('DELETE', `${deployments}/fg?propagationPolicy=Foreground`);
    assert.deepEqual(foreground.body.metadata.finalizers, ['foregroundDeletion']);
  });

  test('graceful deletion of pods', async () => {
    await h.request('POST', pods, pod('g'));
    const marked = await h.request('DELETE', `${pods}/g`);
    assert.equal(marked.body.metadata.deletionGracePeriodSeconds, 30);
    const shorter = await h.request('DELETE', `${pods}/g?gracePeriodSeconds=5`);
    assert.equal(shorter.body.metadata.deletionGracePeriodSeconds, 5);
    const longer = await h.request('DELETE', `${pods}/g?gracePeriodSeconds=60`);
    assert.equal(longer.body.metadata.deletionGracePeriodSeconds, 5);
    const now = await h.request('DELETE', `${pods}/g?gracePeriodSeconds=0`);
    assert.equal(now.body.kind, 'Pod');
    assert.equal((await h.request('GET', `${pods}/g`)).status, 404);
  });

  test('namespaces end when their finalizers do', async () => {
    const ns = { metadata: { name: 'ending' }, spec: { finalizers: ['kubernetes'] } };
    await h.request('POST', '/api/v1/namespaces', ns);
    const begun = await h.request('DELETE', '/api/v1/namespaces/ending');
    assert.equal(begun.body.status.phase, 'Terminating');
    const finalized = await h.request('PUT', '/api/v1/namespaces/ending/finalize', { ...begun.body, spec: {} });
    assert.equal(finalized.status, 200);
    assert.equal((await h.request('GET', '/api/v1/namespaces/ending')).status, 404);
  });

  test('a pod is bound once', async () => {
    await h.request('POST', pods, pod('b'));
    const binding = { metadata: { name: 'b' }, target: { kind: 'Node', name: 'n1' } };
    const bound = await h.request('POST', `${pods}/b/binding`, binding);
    assert.deepEqual([bound.status, bound.body.status, bound.body.code], [201, 'Success', 201]);
    const { body } = await h.request('GET', `${pods}/b`);
    assert.equal(body.spec.nodeName, 'n1');
    assert.equal(body.status.conditions[0].type, 'PodScheduled');
    const twice = await h.request('POST', `${pods}/b/binding`, { ...binding, target: { name: 'n2' } });
    assert.equal(
      twice.body.message,
      'Operation cannot be fulfilled on pods/binding "b": pod b is already assigned to node "n1"',
    );
  });

  test('evictions keep to the budget', async () => {
    const ready = { phase: 'Running', conditions: [{ type: 'Ready', status: 'True' }] };
    for (const name of ['e1', 'e2']) {
      await h.request('POST', pods, { ...pod(name), metadata: { name, labels: { app: 'e' } } });
      await h.request('PATCH', `${pods}/${name}/status`, { status: ready }, 'application/merge-patch+json');
    }
    const pdbs = '/apis/policy/v1/namespaces/default/poddisruptionbudgets';
    await h.request('POST', pdbs, {
      metadata: { name: 'pdb' },
      spec: { minAvailable: 1, selector: { matchLabels: { app: 'e' } } },
    });
    const status = {
      observedGeneration: 1,
      disruptionsAllowed: 1,
      currentHealthy: 2,
      desiredHealthy: 1,
      expectedPods: 2,
    };
    await h.request('PATCH', `${pdbs}/pdb/status`, { status }, 'application/merge-patch+json');
    const eviction = (name: string): Promise<Json> =>
      h.request('POST', `${pods}/${name}/eviction`, {
        apiVersion: 'policy/v1',
        kind: 'Eviction',
        metadata: { name },
      });
    assert.equal((await eviction('e1')).status, 201);
    const { body: pdb } = await h.request('GET', `${pdbs}/pdb`);
    assert.equal(pdb.status.disruptionsAllowed, 0);
    assert.deepEqual(Object.keys(pdb.status.disruptedPods), ['e1']);
    const refused = await eviction('e2');
    assert.equal(refused.status, 429);
    assert.equal(refused.body.message, "Cannot evict pod as it would violate the pod's disruption budget.");
    assert.deepEqual(
      refused.body.details.causes,
      [
        {
          reason: 'DisruptionBudget',
          message: 'The disruption budget pdb does not allow evicting pods currently (InsufficientPods): ',
        },
      ].map((c) => ({ ...c, message: 'The disruption budget pdb does not allow evicting pods currently' })),
    );
  });

  test('autoscaling v1 and v2 are one resource', async () => {
    const url = (v: string): string => `/apis/autoscaling/${v}/namespaces/default/horizontalpodautoscalers`;
    await h.request('POST', url('v1'), {
      metadata: { name: 'h' },
      spec: {
        scaleTargetRef: { kind: 'Deployment', name: 'd', apiVersion: 'apps/v1' },
        maxReplicas: 5,
        targetCPUUtilizationPercentage: 60,
      },
    });
    const v2 = await h.request('GET', `${url('v2')}/h`);
    assert.deepEqual(v2.body.spec.metrics, [
      { type: 'Resource', resource: { name: 'cpu', target: { type: 'Utilization', averageUtilization: 60 } } },
    ]);
    const more = await h.request(
      'PATCH',
      `${url('v2')}/h`,
      {
        spec: {
          metrics: [
            {
              type: 'Resource',
              resource: { name: 'memory', target: { type: 'AverageValue', averageValue: '1Gi' } },
            },
          ],
        },
      },
      'application/merge-patch+json',
    );
    assert.equal(more.status, 200);
    const v1 = await h.request('GET', `${url('v1')}/h`);
    assert.equal(v1.body.apiVersion, 'autoscaling/v1');
    assert.equal(
      v1.body.metadata.annotations['autoscaling.alpha.kubernetes.io/metrics'],
      '[{"type":"Resource","resource":{"name":"memory","targetAverageValue":"1Gi"}}]',
    );
    const back = await h.request('PUT', `${url('v1')}/h`, v1.body);
    assert.equal(back.status, 200);
    assert.deepEqual((await h.request('GET', `${url('v2')}/h`)).body.spec.metrics, more.body.spec.metrics);
  });

  test('events of both groups are the same events', async () => {
    await h.request('POST', '/apis/events.k8s.io/v1/namespaces/default/events', {
      metadata: { name: 'ev' },
      eventTime: '2026-01-01T00:00:00.000000Z',
      reportingController: 'c',
      reportingInstance: 'i',
      action: 'a',
      reason: 'r',
      regarding: { kind: 'Pod', name: 'p', namespace: 'default' },
      type: 'Normal',
      note: 'text',
    });
    const core = await h.request('GET', '/api/v1/namespaces/default/events?fieldSelector=involvedObject.name=p');
    assert.equal(core.body.items[0].message, 'text');
    assert.equal(core.body.items[0].reportingComponent, 'c');
    const own = await h.request(
      'GET',
      '/apis/events.k8s.io/v1/namespaces/default/events?fieldSelector=regarding.name=p',
    );
    assert.equal(own.body.items[0].note, 'text');
  });

  test('deletecollection takes what is selected', async () => {
    const url = '/api/v1/namespaces/many/configmaps';
    for (let i = 0; i < 30; i++) {
      await h.request('POST', url, { metadata: { name: `m${i}`, labels: { half: String(i % 2) } } });
    }
    const deleted = await h.request('DELETE', `${url}?labelSelector=half=1`);
    assert.equal(deleted.body.items.length, 15);
    assert.equal((await h.request('GET', url)).body.items.length, 15);
  });
});

test('events are gone after their hour', async () => {
  const clock = new VirtualClock();
  const h = await startHarness({ clock });
  const events = '/api/v1/namespaces/default/events';
  await h.request('POST', events, {
    metadata: { name: 'e' },
    involvedObject: { kind: 'Pod', namespace: 'default', name: 'p' },
  });
  await clock.advance(59 * 60_000);
  assert.equal((await h.request('GET', `${events}/e`)).status, 200);
  const watch = await h.watch(`${events}?watch=1&resourceVersion=0`);
  assert.deepEqual(told(await take(watch, 1)), ['ADDED e']);
  const gone = take(watch, 1);
  await clock.advance(3 * 60_000);
  assert.deepEqual(told(await gone), ['DELETED e']);
  assert.equal((await h.request('GET', `${events}/e`)).status, 404);
  watch.close();
  await h.close();
});
