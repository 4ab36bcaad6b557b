/** Micro-benchmarks of the object model: decode, default and canonicalize a Pod of about 3 KB. */
import { loadCatalog } from '../src/api/catalog/catalog.ts';
import { canonicalize } from '../src/api/schema/canonicalize.ts';
import { decode } from '../src/api/schema/decode.ts';
import { applyDefaults } from '../src/api/schema/defaults.ts';

export interface Measurement {
  readonly name: string;
  readonly value: number;
  readonly unit: string;
}

/** A pod as a Deployment's would be, with status and managed fields. */
export function samplePod(): Record<string, unknown> {
  const container = (name: string) => ({
    name,
    image: `registry.example.com/team/${name}:1.2.3`,
    ports: [{ name: 'http', containerPort: 8080, protocol: 'TCP' }],
    env: [
      { name: 'POD_NAME', valueFrom: { fieldRef: { apiVersion: 'v1', fieldPath: 'metadata.name' } } },
      { name: 'LOG_LEVEL', value: 'info' },
    ],
    resources: { limits: { cpu: '500m', memory: '128Mi' }, requests: { cpu: '250m', memory: '64Mi' } },
    volumeMounts: [
      { name: 'kube-api-access-x2k4p', readOnly: true, mountPath: '/var/run/secrets/kubernetes.io/serviceaccount' },
    ],
    readinessProbe: {
      httpGet: { path: '/healthz', port: 'http', scheme: 'HTTP' },
      timeoutSeconds: 1,
      periodSeconds: 10,
      successThreshold: 1,
      failureThreshold: 3,
    },
    terminationMessagePath: '/dev/termination-log',
    terminationMessagePolicy: 'File',
    imagePullPolicy: 'IfNotPresent',
  });
  return {
    kind: 'Pod',
    apiVersion: 'v1',
    metadata: {
      name: 'web-5d4f8c7b9-x2k4p',
      generateName: 'web-5d4f8c7b9-',
      namespace: 'default',
      uid: '7c1b1c52-6c0e-4b0c-9a53-3f1f8f0c9d11',
      creationTimestamp: '2026-01-02T03:04:05Z',
      labels: { app: 'web', 'pod-template-hash': '5d4f8c7b9' },
      ownerReferences: [
        {
          apiVersion: 'apps/v1',
          kind: 'ReplicaSet',
          name: 'web-5d4f8c7b9',
          uid: '9d7e7d5e-6c0e-4b0c-9a53-3f1f8f0c9d11',
          controller: true,
          blockOwnerDeletion: true,
        },
      ],
    },
    spec: {
      volumes: [
        {
          name: 'kube-api-access-x2k4p',
          projected: {
            sources: [
              { serviceAccountToken: { expirationSeconds: 3607, path: 'token' } },
              { configMap: { name: 'kube-root-ca.crt', items: [{ key: 'ca.crt', path: 'ca.crt' }] } },
            ],
            defaultMode: 420,
          },
        },
      ],
      containers: [container('web'), container('proxy')],
      restartPolicy: 'Always',
      terminationGracePeriodSeconds: 30,
      dnsPolicy: 'ClusterFirst',
      serviceAccountName: 'default',
      serviceAccount: 'default',
      nodeName: 'node-1',
      securityContext: {},
      schedulerName: 'default-scheduler',
      tolerations: [
        { key: 'node.kubernetes.io/not-ready', operator: 'Exists', effect: 'NoExecute', tolerationSeconds: 300 },
        { key: 'node.kubernetes.io/unreachable', operator: 'Exists', effect: 'NoExecute', tolerationSeconds: 300 },
      ],
      priority: 0,
      enableServiceLinks: true,
      preemptionPolicy: 'PreemptLowerPriority',
    },
    status: {
      phase: 'Running',
      conditions: ['Initialized', 'Ready', 'ContainersReady', 'PodScheduled'].map((type) => ({
        type,
        status: 'True',
        lastProbeTime: null,
        lastTransitionTime: '2026-01-02T03:04:06Z',
      })),
      hostIP: '10.0.0.1',
      podIP: '10.1.0.7',
      podIPs: [{ ip: '10.1.0.7' }],
      startTime: '2026-01-02T03:04:05Z',
      qosClass: 'Burstable',
    },
  };
}

const now = (): number => Number(process.hrtime.bigint()) / 1000;

function median(work: () => void, rounds = 15, perRound = 2000): number {
  const times: number[] = [];
  for (let r = 0; r < rounds; r++) {
    const start = now();
    for (let i = 0; i < perRound; i++) work();
    times.push((now() - start) / perRound);
  }
  times.sort((a, b) => a - b);
  return times[rounds >> 1]!;
}

export function run(): Measurement[] {
  const start = now();
  const catalog = loadCatalog();
  const loaded = now() - start;
  const schema = catalog.schemaForKind({ group: '', version: 'v1', kind: 'Pod' })!;
  const text = JSON.stringify(samplePod());
  const context = { now: () => '2026-01-02T03:04:05Z' };
  const parsed: unknown = JSON.parse(text);
  const decoded = decode(schema, parsed).object;
  applyDefaults(schema, decoded, context);
  const committed = canonicalize(schema, decoded);
  return [
    { name: 'api/catalog load', value: loaded / 1000, unit: 'ms' },
    { name: 'api/pod size', value: text.length, unit: 'bytes' },
    { name: 'api/JSON.parse', value: median(() => JSON.parse(text)), unit: 'µs' },
    { name: 'api/decode', value: median(() => decode(schema, parsed, { strict: true, owned: true })), unit: 'µs' },
    { name: 'api/default', value: median(() => applyDefaults(schema, decoded, context)), unit: 'µs' },
    { name: 'api/canonicalize', value: median(() => canonicalize(schema, decoded)), unit: 'µs' },
    {
      name: 'api/canonicalize and share',
      value: median(() => canonicalize(schema, decoded, committed)),
      unit: 'µs',
    },
    {
      name: 'api/parse to canonical',
      value: median(() => {
        const { object } = decode(schema, JSON.parse(text), { strict: true, owned: true });
        applyDefaults(schema, object, context);
        canonicalize(schema, object);
      }),
      unit: 'µs',
    },
  ];
}

if (import.meta.main) for (const m of run()) console.log(`${m.name.padEnd(32)} ${m.value.toFixed(2)} ${m.unit}`);
