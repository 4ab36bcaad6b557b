import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { gunzipSync } from 'node:zlib';
import { loadCatalog } from '../catalog/catalog.ts';
import { parseApiVersion } from '../object.ts';
import { canonicalize } from './canonicalize.ts';
import { cannotBeHandled, decode } from './decode.ts';
import { applyDefaults } from './defaults.ts';
import type { ObjectSchema } from './schema.ts';

const catalog = loadCatalog();
const context = { now: () => '2026-01-02T03:04:05Z' };

function schemaOf(apiVersion: string, kind: string): ObjectSchema {
  const schema = catalog.schemaForKind({ ...parseApiVersion(apiVersion)!, kind });
  assert.ok(schema, `${apiVersion} ${kind}`);
  return schema;
}

// oxlint-disable-next-line typescript/no-explicit-any -- objects of every kind, looked into freely
type Json = Record<string, any>;

function admit(object: Json): Json {
  const schema = schemaOf(object['apiVersion'], object['kind']);
  const draft = decode(schema, object).object;
  applyDefaults(schema, draft, context);
  return canonicalize(schema, draft);
}

const reversed = (v: unknown): unknown => {
  if (Array.isArray(v)) return v.map(reversed);
  if (typeof v !== 'object' || v === null) return v;
  return Object.fromEntries(
    Object.entries(v)
      .reverse()
      .map(([k, m]) => [k, reversed(m)]),
  );
};

test('every served kind comes out as upstream writes it, in upstream order, whatever the order it came in', () => {
  const bytes = gunzipSync(readFileSync(new URL('testdata/golden.json.gz', import.meta.url)));
  const golden = JSON.parse(bytes.toString()) as Record<string, Json>;
  assert.ok(Object.keys(golden).length >= 95);
  for (const [name, object] of Object.entries(golden)) {
    const schema = schemaOf(object['apiVersion'], object['kind']);
    const text = JSON.stringify(object);
    const { object: decoded, strictErrors } = decode(schema, object, { strict: true });
    assert.deepEqual(strictErrors, [], name);
    const canonical = canonicalize(schema, decoded);
    assert.equal(JSON.stringify(canonical), text, name);
    assert.equal(canonicalize(schema, canonical), canonical, `${name}: canonical already`);
    const backwards = canonicalize(schema, decode(schema, reversed(object)).object);
    assert.deepEqual(backwards, canonical, name);
    // opaque members keep the order they came in
    if (!text.includes('CustomType')) assert.equal(JSON.stringify(backwards), text, name);
    assert.equal(
      canonicalize(schema, decode(schema, reversed(object)).object, canonical),
      canonical,
      `${name}: shared`,
    );
  }
});

test('wrong types are refused in the words of the Go decoder', () => {
  const cases: [Json, string][] = [
    [
      { metadata: { labels: 'x' } },
      'json: cannot unmarshal string into Go struct field ObjectMeta.metadata.labels of type map[string]string',
    ],
    [
      { metadata: { labels: { a: 1 } } },
      'json: cannot unmarshal number into Go struct field ObjectMeta.metadata.labels of type string',
    ],
    [
      { spec: { containers: [{ name: 'a', ports: [{ containerPort: '80' }] }] } },
      'json: cannot unmarshal string into Go struct field ContainerPort.spec.containers.ports.containerPort of type int32',
    ],
    [
      { spec: { containers: [{ name: 'a', ports: [{ containerPort: 80.5 }] }] } },
      'json: cannot unmarshal number 80.5 into Go struct field ContainerPort.spec.containers.ports.containerPort of type int32',
    ],
    [
      { spec: { containers: {} } },
      'json: cannot unmarshal object into Go struct field PodSpec.spec.containers of type []v1.Container',
    ],
    [
      { spec: { containers: ['x'] } },
      'json: cannot unmarshal string into Go struct field PodSpec.spec.containers of type v1.Container',
    ],
    [
      { spec: { containers: [{ imagePullPolicy: 1 }] } },
      'json: cannot unmarshal number into Go struct field Container.spec.containers.imagePullPolicy of type v1.PullPolicy',
    ],
    [
      { spec: { volumes: [{ name: 'v', hostPath: 'x' }] } },
      'json: cannot unmarshal string into Go struct field Volume.spec.volumes.VolumeSource.hostPath of type v1.HostPathVolumeSource',
    ],
    [{ spec: 'x' }, 'json: cannot unmarshal string into Go struct field Pod.spec of type v1.PodSpec'],
    [
      { metadata: { creationTimestamp: 5 } },
      'json: cannot unmarshal number into Go struct field ObjectMeta.metadata.creationTimestamp of type string',
    ],
    [
      { metadata: { creationTimestamp: 'soon' } },
      'parsing time "soon" as "2006-01-02T15:04:05Z07:00": cannot parse "soon" as "2006"',
    ],
    [
      { spec: { containers: [{ resources: { limits: { cpu: 'lots' } } }] } },
      "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'",
    ],
    [
      { spec: { terminationGracePeriodSeconds: true } },
      'json: cannot unmarshal bool into Go struct field PodSpec.spec.terminationGracePeriodSeconds of type int64',
    ],
  ];
  const pod = schemaOf('v1', 'Pod');
  for (const [body, message] of cases) assert.throws(() => decode(pod, body), { message });
  const status = cannotBeHandled({ group: '', version: 'v1', kind: 'Pod' }, 'Pod', new Error('boom'));
  assert.equal(status.message, 'Pod in version "v1" cannot be handled as a Pod: boom');
  assert.equal(status.code, 400);
  assert.throws(() => decode(schemaOf('v1', 'Secret'), { data: { a: '!!' } }), {
    message: 'illegal base64 data at input byte 0',
  });
});

test('unknown members are dropped and named, null is unset, scalars become canonical', () => {
  const pod = schemaOf('v1', 'Pod');
  const { object, strictErrors } = decode(
    pod,
    {
      kind: 'Pod',
      foo: 1,
      metadata: { name: null, labels: { a: null }, Name: 'case matters' },
      spec: { containers: [{ name: 'a', bar: {}, env: null, resources: { limits: { cpu: 0.5, memory: '1024Ki' } } }] },
      status: { startTime: '2026-01-02T05:04:05.999+02:00' },
    },
    { strict: true },
  );
  assert.deepEqual(strictErrors, [
    'unknown field "foo"',
    'unknown field "metadata.Name"',
    'unknown field "spec.containers[0].bar"',
  ]);
  assert.deepEqual(object, {
    kind: 'Pod',
    metadata: { labels: { a: '' } },
    spec: { containers: [{ name: 'a', resources: { limits: { cpu: '500m', memory: '1Mi' } } }] },
    status: { startTime: '2026-01-02T03:04:05Z' },
  });
  const odd = JSON.parse('{"metadata":{"labels":{"__proto__":"x"}}}') as unknown;
  const labels = (decode(pod, odd).object['metadata'] as Json)['labels'] as Json;
  assert.deepEqual(Object.keys(labels), ['__proto__']);
});

test('a caller cannot reach into what was decoded', () => {
  const data = { nested: { a: 1 } };
  const input = { kind: 'ControllerRevision', metadata: { name: 'x', labels: { a: 'b' } }, data, revision: 1 };
  const { object } = decode(schemaOf('apps/v1', 'ControllerRevision'), input);
  data.nested.a = 2;
  input.metadata.labels.a = 'changed';
  assert.deepEqual(object['data'], { nested: { a: 1 } });
  assert.deepEqual(object['metadata'], { name: 'x', labels: { a: 'b' } });
});

test('a Pod gets the defaults of upstream', () => {
  const pod = admit({
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name: 'web' },
    spec: {
      serviceAccountName: 'robot',
      containers: [
        {
          name: 'a',
          image: 'nginx',
          ports: [{ containerPort: 80 }],
          resources: { limits: { cpu: '1', memory: '100u' } },
          livenessProbe: { httpGet: { port: 80 } },
        },
        { name: 'b', image: 'nginx:1.27', volumeMounts: [{ name: 'v', mountPath: '/v' }] },
      ],
      volumes: [{ name: 'v' }, { name: 's', secret: { secretName: 's' } }],
    },
  });
  assert.deepEqual(pod, {
    kind: 'Pod',
    apiVersion: 'v1',
    metadata: { name: 'web' },
    spec: {
      volumes: [
        { name: 'v', emptyDir: {} },
        { name: 's', secret: { secretName: 's', defaultMode: 420 } },
      ],
      containers: [
        {
          name: 'a',
          image: 'nginx',
          ports: [{ containerPort: 80, protocol: 'TCP' }],
          resources: { limits: { cpu: '1', memory: '1m' }, requests: { cpu: '1', memory: '1m' } },
          livenessProbe: {
            httpGet: { path: '/', port: 80, scheme: 'HTTP' },
            timeoutSeconds: 1,
            periodSeconds: 10,
            successThreshold: 1,
            failureThreshold: 3,
          },
          terminationMessagePath: '/dev/termination-log',
          terminationMessagePolicy: 'File',
          imagePullPolicy: 'Always',
        },
        {
          name: 'b',
          image: 'nginx:1.27',
          resources: {},
          volumeMounts: [{ name: 'v', mountPath: '/v' }],
          terminationMessagePath: '/dev/termination-log',
          terminationMessagePolicy: 'File',
          imagePullPolicy: 'IfNotPresent',
        },
      ],
      restartPolicy: 'Always',
      terminationGracePeriodSeconds: 30,
      dnsPolicy: 'ClusterFirst',
      serviceAccountName: 'robot',
      serviceAccount: 'robot',
      securityContext: {},
      schedulerName: 'default-scheduler',
      enableServiceLinks: true,
    },
    status: {},
  });
});

test('pod-level resources: requests from the containers, else from the limits', () => {
  const pod = admit({
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name: 'x' },
    spec: {
      resources: { limits: { cpu: '2', memory: '1Gi' } },
      containers: [
        { name: 'a', image: 'a', resources: { requests: { cpu: '100m' } } },
        { name: 'b', image: 'b', resources: { requests: { cpu: '200m' } } },
      ],
      initContainers: [{ name: 'i', image: 'i', restartPolicy: 'Always', resources: { requests: { cpu: '1' } } }],
    },
  });
  assert.deepEqual(pod['spec'].resources, {
    limits: { cpu: '2', memory: '1Gi' },
    requests: { cpu: '1300m', memory: '1Gi' },
  });
});

test('workloads get the defaults of upstream', () => {
  const template = {
    metadata: { labels: { app: 'a' } },
    spec: { containers: [{ name: 'c', image: 'i:1', resources: { limits: { cpu: '1' } } }] },
  };
  const deployment = admit({
    apiVersion: 'apps/v1',
    kind: 'Deployment',
    metadata: { name: 'd' },
    spec: { selector: { matchLabels: { app: 'a' } }, template },
  });
  assert.equal(deployment['spec'].replicas, 1);
  assert.deepEqual(deployment['spec'].strategy, {
    type: 'RollingUpdate',
    rollingUpdate: { maxUnavailable: '25%', maxSurge: '25%' },
  });
  assert.equal(deployment['spec'].revisionHistoryLimit, 10);
  assert.equal(deployment['spec'].progressDeadlineSeconds, 600);
  // requests are not derived from limits in a template, and service links are the pod's
  const container = deployment['spec'].template.spec.containers[0];
  assert.deepEqual(container.resources, { limits: { cpu: '1' } });
  assert.equal(deployment['spec'].template.spec.enableServiceLinks, undefined);
  assert.deepEqual(Object.keys(deployment), ['kind', 'apiVersion', 'metadata', 'spec', 'status']);

  const job = admit({ apiVersion: 'batch/v1', kind: 'Job', metadata: { name: 'j' }, spec: { template } });
  assert.deepEqual(job['metadata'].labels, { app: 'a' });
  const { template: _, ...spec } = job['spec'];
  assert.deepEqual(spec, {
    parallelism: 1,
    completions: 1,
    backoffLimit: 6,
    manualSelector: false,
    completionMode: 'NonIndexed',
    suspend: false,
    podReplacementPolicy: 'TerminatingOrFailed',
  });
  const cron = admit({
    apiVersion: 'batch/v1',
    kind: 'CronJob',
    metadata: { name: 'c' },
    spec: { schedule: '* * * * *', jobTemplate: { spec: { template } } },
  });
  assert.equal(cron['spec'].jobTemplate.spec.parallelism, undefined);
  assert.equal(cron['spec'].concurrencyPolicy, 'Allow');

  const set = admit({
    apiVersion: 'apps/v1',
    kind: 'StatefulSet',
    metadata: { name: 's' },
    spec: {
      selector: {},
      template,
      serviceName: 's',
      volumeClaimTemplates: [{ metadata: { name: 'data' }, spec: {} }],
    },
  });
  assert.deepEqual(set['spec'].volumeClaimTemplates, [
    {
      kind: 'PersistentVolumeClaim',
      apiVersion: 'v1',
      metadata: { name: 'data' },
      spec: { resources: {}, volumeMode: 'Filesystem' },
      status: { phase: 'Pending' },
    },
  ]);
  assert.deepEqual(set['spec'].updateStrategy, { type: 'RollingUpdate', rollingUpdate: { partition: 0 } });
});

test('a Service gets the defaults of upstream', () => {
  const service = admit({
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { name: 's' },
    spec: { type: 'LoadBalancer', ports: [{ port: 80 }], sessionAffinity: 'ClientIP' },
  });
  assert.deepEqual(service['spec'], {
    ports: [{ protocol: 'TCP', port: 80, targetPort: 80 }],
    type: 'LoadBalancer',
    sessionAffinity: 'ClientIP',
    externalTrafficPolicy: 'Cluster',
    sessionAffinityConfig: { clientIP: { timeoutSeconds: 10800 } },
    allocateLoadBalancerNodePorts: true,
    internalTrafficPolicy: 'Cluster',
  });
  assert.deepEqual(service['status'], { loadBalancer: {} });
});

test('a Secret folds its string data in; empty lists are written as null where they are written', () => {
  const secret = admit({
    apiVersion: 'v1',
    kind: 'Secret',
    metadata: { name: 's' },
    stringData: { b: 'text' },
    data: { a: 'AA==' },
  });
  assert.deepEqual(secret, {
    kind: 'Secret',
    apiVersion: 'v1',
    metadata: { name: 's' },
    data: { a: 'AA==', b: 'dGV4dA==' },
    type: 'Opaque',
  });
  const role = admit({ apiVersion: 'rbac.authorization.k8s.io/v1', kind: 'Role', metadata: { name: 'r' }, rules: [] });
  assert.equal(role['rules'], null);
});

test('what did not change is the object before, by identity', () => {
  const pod = (label: string) =>
    admit({
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: { name: 'p', labels: { a: label } },
      spec: { containers: [{ name: 'c', image: 'i' }] },
    });
  const schema = schemaOf('v1', 'Pod');
  const before = pod('1');
  const after = canonicalize(schema, pod('2'), before);
  assert.notEqual(after, before);
  assert.equal(after['spec'], before['spec']);
  assert.equal(after['status'], before['status']);
  assert.equal(canonicalize(schema, pod('1'), before), before);
});
