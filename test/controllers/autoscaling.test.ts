/** HorizontalPodAutoscalers in virtual time; a custom resource plays the metrics API. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { formatTime } from '../../src/api/time.ts';
import type { HorizontalPodAutoscalerSpec } from '../../src/api/types/index.gen.ts';
import { eventsOf, kubelet, listPods, ns } from './pods.ts';
import type { PodWorld } from './pods.ts';
import { quiet, world } from './world.ts';

async function deploy(w: PodWorld, replicas: number): Promise<void> {
  await w.admin.apps.deployments.create({
    metadata: { name: 'web', namespace: ns },
    spec: {
      replicas,
      selector: { matchLabels: { app: 'web' } },
      template: {
        metadata: { labels: { app: 'web' } },
        spec: { containers: [{ name: 'c', image: 'i', resources: { requests: { cpu: '100m' } } }] },
      },
    },
  });
  await w.clock.advance(0);
  await kubelet(w);
}

async function autoscale(w: PodWorld, spec: Partial<HorizontalPodAutoscalerSpec>): Promise<void> {
  await w.admin.autoscaling.horizontalpodautoscalers.create({
    metadata: { name: 'web', namespace: ns },
    spec: {
      scaleTargetRef: { apiVersion: 'apps/v1', kind: 'Deployment', name: 'web' },
      minReplicas: 1,
      maxReplicas: 5,
      metrics: [
        { type: 'Resource', resource: { name: 'cpu', target: { type: 'Utilization', averageUtilization: 50 } } },
      ],
      ...spec,
    },
  });
  await w.clock.advance(0);
}

const replicas = async (w: PodWorld): Promise<number | undefined> =>
  (await w.admin.apps.deployments.get('web', ns)).spec?.replicas;
const conditions = async (w: PodWorld): Promise<string[]> =>
  ((await w.admin.autoscaling.horizontalpodautoscalers.get('web', ns)).status?.conditions ?? []).map(
    (c) => `${c.type}=${c.status} ${c.reason}: ${c.message}`,
  );

const podMetrics = {
  group: 'metrics.k8s.io',
  version: 'v1beta1',
  resource: 'pods',
  kind: 'PodMetrics',
  namespaced: true,
};

/** The kind that metrics-server serves, kept as objects. */
async function serveMetrics(w: PodWorld): Promise<void> {
  await w.admin.apiextensions.customresourcedefinitions.create({
    metadata: {
      name: 'pods.metrics.k8s.io',
      annotations: { 'api-approved.kubernetes.io': 'unapproved, stands for an aggregated API' },
    },
    spec: {
      group: podMetrics.group,
      scope: 'Namespaced',
      names: { plural: 'pods', kind: 'PodMetrics' },
      versions: [
        {
          name: podMetrics.version,
          served: true,
          storage: true,
          schema: { openAPIV3Schema: { type: 'object', 'x-kubernetes-preserve-unknown-fields': true } },
        },
      ],
    },
  });
  await w.clock.advance(10_000);
}

/** Every pod uses this much cpu now. */
async function measure(w: PodWorld, cpu: string): Promise<void> {
  const client = w.admin.resource(podMetrics);
  await client.deleteCollection({ namespace: ns });
  for (const pod of await listPods(w)) {
    await client.create({
      metadata: { name: pod.metadata.name!, namespace: ns, labels: pod.metadata.labels ?? {} },
      timestamp: formatTime(w.clock.now()),
      window: '15s',
      containers: [{ name: 'c', usage: { cpu } }],
    });
  }
}

test('without a metrics API the autoscaler says so and keeps to its bounds', async () => {
  await using w = await world();
  await deploy(w, 2);
  await autoscale(w, {});
  const why =
    'failed to get cpu utilization: unable to get metrics for resource cpu: unable to fetch metrics from resource metrics API: the server could not find the requested resource (get pods.metrics.k8s.io)';
  assert.deepEqual(await conditions(w), [
    "AbleToScale=True SucceededGetScale: the HPA controller was able to get the target's current scale",
    `ScalingActive=False FailedGetResourceMetric: the HPA was unable to compute the replica count: ${why}`,
  ]);
  assert.deepEqual((await eventsOf(w, 'HorizontalPodAutoscaler', 'web')).slice(0, 2), [
    `Warning FailedGetResourceMetric ${why}`,
    `Warning FailedComputeMetricsReplicas invalid metrics (1 invalid out of 1), first error is: failed to get cpu resource metric value: ${why}`,
  ]);
  await w.admin.autoscaling.horizontalpodautoscalers.patch('web', ns, 'merge', {
    spec: { minReplicas: 4, maxReplicas: 9 },
  });
  await w.clock.advance(15_000);
  assert.equal(await replicas(w), 4);
  await w.admin.apps.deployments.patch('web', ns, 'merge', { spec: { replicas: 12 } });
  await w.clock.advance(15_000);
  assert.equal(await replicas(w), 9);
  await w.admin.apps.deployments.patch('web', ns, 'merge', { spec: { replicas: 0 } });
  await w.clock.advance(15_000);
  assert.match((await conditions(w)).join(), /ScalingActive=False ScalingDisabled/);
  assert.equal(await replicas(w), 0);
  quiet(w);
});

test('it scales up at once, down after five minutes, by what the pods use', async () => {
  await using w = await world();
  await deploy(w, 2);
  await serveMetrics(w);
  await w.clock.advance(60_000);
  await measure(w, '110m');
  await autoscale(w, {});
  assert.equal(await replicas(w), 4, 'no more than twice as many or four in one step');
  assert.match((await conditions(w)).join('\n'), /^ScalingLimited=True ScaleUpLimit/m);
  await kubelet(w);
  await w.clock.advance(30_000);
  await measure(w, '80m');
  await w.clock.advance(15_000);
  assert.equal(await replicas(w), 5);
  assert.match((await conditions(w)).join('\n'), /^ScalingLimited=True TooManyReplicas/m);
  const events = await eventsOf(w, 'HorizontalPodAutoscaler', 'web');
  assert.ok(
    events.includes(
      'Normal SuccessfulRescale New size: 4; reason: cpu resource utilization (percentage of request) above target',
    ),
  );
  await kubelet(w);
  await w.clock.advance(30_000);
  await measure(w, '10m');
  await w.clock.advance(60_000);
  assert.equal(await replicas(w), 5);
  assert.match((await conditions(w)).join('\n'), /^AbleToScale=True ScaleDownStabilized/m);
  await w.clock.advance(300_000);
  assert.equal(await replicas(w), 1);
  const hpa = await w.admin.autoscaling.horizontalpodautoscalers.get('web', ns);
  assert.equal(hpa.status?.desiredReplicas, 1);
  assert.deepEqual(hpa.status?.currentMetrics, [
    { type: 'Resource', resource: { name: 'cpu', current: { averageUtilization: 10, averageValue: '10m' } } },
  ]);
  quiet(w);
});

test('policies bound how fast it goes', async () => {
  await using w = await world();
  await deploy(w, 4);
  await serveMetrics(w);
  await w.clock.advance(60_000);
  await measure(w, '10m');
  await autoscale(w, {
    behavior: {
      scaleDown: { stabilizationWindowSeconds: 0, policies: [{ type: 'Pods', value: 1, periodSeconds: 60 }] },
      scaleUp: { selectPolicy: 'Disabled' },
    },
  });
  assert.equal(await replicas(w), 3);
  assert.match((await conditions(w)).join('\n'), /^ScalingLimited=True ScaleDownLimit/m);
  await w.clock.advance(45_000);
  assert.equal(await replicas(w), 3);
  await w.clock.advance(30_000);
  assert.equal(await replicas(w), 2);
  await measure(w, '900m');
  await w.clock.advance(60_000);
  assert.equal(await replicas(w), 2);
  quiet(w);
});
