/** metrics.k8s.io of a cluster of simulated nodes: what it tells, to whom, who may take its place, and an autoscaler that goes by it. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Cluster, Deployment, Event } from '../../src/index.ts';
import { createCluster, SeededRandom, StatusError, VirtualClock } from '../../src/index.ts';

const api = '/apis/metrics.k8s.io/v1beta1';
const second = 1000;

interface Metrics {
  readonly kind?: string;
  readonly metadata: { readonly name: string; readonly namespace?: string; readonly labels?: Record<string, string> };
  readonly timestamp: string;
  readonly window: string;
  readonly usage?: Record<string, string>;
  readonly containers?: readonly { readonly name: string; readonly usage: Record<string, string> }[];
}
interface List {
  readonly kind: string;
  readonly apiVersion: string;
  readonly items: readonly Metrics[];
}

interface Lab {
  readonly clock: VirtualClock;
  readonly cluster: Cluster;
  get<T>(path: string, query?: Record<string, string>, accept?: string): Promise<T>;
}

async function start(options: Parameters<typeof createCluster>[0] = {}): Promise<Lab & AsyncDisposable> {
  const clock = new VirtualClock();
  const cluster = await createCluster({ nodes: 2, clock, random: new SeededRandom(5), ...options });
  return {
    clock,
    cluster,
    get: async <T>(path: string, query: Record<string, string> = {}, accept?: string) =>
      (
        await cluster.client.raw('GET', path, {
          query,
          ...(accept === undefined ? {} : { headers: { accept } }),
        })
      ).body as T,
    [Symbol.asyncDispose]: () => cluster.close(),
  };
}

/** `cpu` is what each of its containers uses, of 100m that it asks for. */
function deployment(name: string, cpu: string, replicas = 1): Deployment {
  return {
    metadata: { name, namespace: 'default' },
    spec: {
      replicas,
      selector: { matchLabels: { app: name } },
      template: {
        metadata: {
          labels: { app: name },
          annotations: { 'knarr.dev/simulated.cpu': cpu, 'knarr.dev/simulated.memory': '64Mi' },
        },
        spec: {
          containers: [
            { name: 'web', image: 'web', resources: { requests: { cpu: '100m' } } },
            { name: 'side', image: 'side', resources: { requests: { cpu: '100m' } } },
          ],
        },
      },
    },
  };
}

async function refused(work: Promise<unknown>): Promise<string> {
  try {
    await work;
  } catch (error) {
    assert.ok(error instanceof StatusError, String(error));
    return `${error.code} ${error.message}`;
  }
  assert.fail('not refused');
}

test('nodes and pods tell what they use, by name, selector and as a table, to whoever may view', async () => {
  await using lab = await start();
  const { cluster, clock, get } = lab;
  await cluster.client.apps.deployments.create(deployment('web', '150m', 3));
  await cluster.client.apps.deployments.create(deployment('idle', '1m'));
  await clock.advance(30 * second);

  const nodes = await get<List>(`${api}/nodes`);
  assert.equal(`${nodes.apiVersion} ${nodes.kind}`, 'metrics.k8s.io/v1beta1 NodeMetricsList');
  assert.deepEqual(
    nodes.items.map((n) => n.metadata.name),
    ['node-1', 'node-2'],
  );
  assert.equal(nodes.items[0]!.window, '15s');
  assert.equal(nodes.items[0]!.kind, undefined);
  assert.match(nodes.items[0]!.usage!['cpu']!, /^\d+[num]?$/);
  assert.match(nodes.items[0]!.usage!['memory']!, /^\d+[KM]i$/);
  const one = await get<Metrics>(`${api}/nodes/node-1`);
  assert.equal(one.kind, 'NodeMetrics');
  assert.equal(one.metadata.labels?.['kubernetes.io/hostname'], 'node-1');

  const pods = await get<List>(`${api}/namespaces/default/pods`, { labelSelector: 'app=web' });
  assert.equal(pods.items.length, 3);
  const usage = { cpu: '150m', memory: '64Mi' };
  assert.deepEqual(pods.items[0]!.containers, [
    { name: 'web', usage },
    { name: 'side', usage },
  ]);
  assert.equal((await get<List>(`${api}/pods`)).items.length, 4);
  const { name } = pods.items[1]!.metadata;
  assert.deepEqual(
    (await get<List>(`${api}/pods`, { fieldSelector: `metadata.name=${name}` })).items.map((p) => p.metadata.name),
    [name],
  );
  const table = await get<{ columnDefinitions: { name: string }[]; rows: { cells: unknown[] }[] }>(
    `${api}/namespaces/default/pods/${name}`,
    {},
    'application/json;as=Table;g=meta.k8s.io;v=v1',
  );
  assert.deepEqual(
    table.columnDefinitions.map((c) => c.name),
    ['Name', 'cpu', 'memory', 'Window'],
  );
  assert.deepEqual(table.rows[0]!.cells, [name, '300m', '128Mi', '15s']);
  const rows = await get<{ rows: { cells: unknown[] }[] }>(
    `${api}/nodes`,
    {},
    'application/json;as=Table;g=meta.k8s.io;v=v1',
  );
  assert.deepEqual(
    rows.rows.map((r) => r.cells[0]),
    ['node-1', 'node-2'],
  );

  assert.equal(
    await refused(get(`${api}/namespaces/default/pods/none`)),
    '404 podmetrics.metrics.k8s.io "default/none" not found',
  );
  assert.equal(await refused(get(`${api}/nodes/none`)), '404 nodemetrics.metrics.k8s.io "none" not found');
  assert.match(await refused(get(`${api}/nodes`, { watch: 'true' })), /^405 /);
  assert.match(await refused(cluster.client.raw('DELETE', `${api}/nodes/node-1`)), /^405 /);
  assert.match(await refused(get(`${api}/pods`, { labelSelector: 'a b' })), /^400 /);

  const discovered = await get<{ resources: unknown[] }>(api);
  assert.deepEqual(discovered.resources, [
    { name: 'nodes', singularName: '', namespaced: false, kind: 'NodeMetrics', verbs: ['get', 'list'] },
    { name: 'pods', singularName: '', namespaced: true, kind: 'PodMetrics', verbs: ['get', 'list'] },
  ]);
  const openapi = await get<{ paths: Record<string, object> }>('/openapi/v3/apis/metrics.k8s.io/v1beta1');
  assert.ok(`${api}/namespaces/{namespace}/pods/{name}` in openapi.paths);

  const viewer = cluster.clientFor({ name: 'ada', groups: [] });
  assert.match(await refused(viewer.raw('GET', `${api}/nodes`)), /^403 nodes.metrics.k8s.io is forbidden/);
  await cluster.client.rbac.clusterrolebindings.create({
    metadata: { name: 'ada' },
    roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'ClusterRole', name: 'view' },
    subjects: [{ apiGroup: 'rbac.authorization.k8s.io', kind: 'User', name: 'ada' }],
  });
  await clock.advance(second);
  assert.equal(((await viewer.raw('GET', `${api}/nodes`)).body as List).items.length, 2);

  await cluster.nodes[1]!.stop();
  assert.deepEqual(
    (await get<List>(`${api}/nodes`)).items.map((n) => n.metadata.name),
    ['node-1'],
    'whom nobody can ask says nothing',
  );
});

test('an autoscaler on CPU scales a Deployment; without metrics it says why it does not', async () => {
  for (const disable of [[], ['metrics-server']] as const) {
    await using lab = await start({ disable });
    const { cluster, clock } = lab;
    await cluster.client.apps.deployments.create(deployment('web', '150m'));
    await cluster.client.autoscaling.horizontalpodautoscalers.create({
      metadata: { name: 'web', namespace: 'default' },
      spec: {
        scaleTargetRef: { apiVersion: 'apps/v1', kind: 'Deployment', name: 'web' },
        minReplicas: 1,
        maxReplicas: 5,
        metrics: [
          { type: 'Resource', resource: { name: 'cpu', target: { type: 'Utilization', averageUtilization: 50 } } },
        ],
      },
    });
    await clock.advance(120 * second);
    const found = await cluster.client.autoscaling.horizontalpodautoscalers.get('web', 'default');
    const active = found.status?.conditions?.find((c) => c.type === 'ScalingActive');
    const { replicas } = (await cluster.client.apps.deployments.get('web', 'default')).spec!;
    if (disable.length === 0) {
      assert.equal(active?.status, 'True');
      assert.equal(found.status?.currentMetrics?.[0]?.resource?.current.averageUtilization, 150);
      assert.equal(replicas, 5);
      continue;
    }
    const why =
      'failed to get cpu utilization: unable to get metrics for resource cpu: unable to fetch metrics from resource metrics API: the server could not find the requested resource (get pods.metrics.k8s.io)';
    assert.deepEqual([active?.status, active?.reason], ['False', 'FailedGetResourceMetric']);
    assert.equal(active?.message, `the HPA was unable to compute the replica count: ${why}`);
    assert.equal(replicas, 1);
    const events = (await cluster.client.core.events.list({ namespace: 'default' })).items as readonly Event[];
    assert.ok(events.some((e) => e.reason === 'FailedGetResourceMetric' && e.message === why));
    assert.match(await refused(lab.get(`${api}/nodes`)), /^404 /);
    const services = await lab.get<List>('/apis/apiregistration.k8s.io/v1/apiservices');
    assert.ok(!services.items.some((s) => s.metadata.name === 'v1beta1.metrics.k8s.io'));
  }
});

test('another server takes its place by the APIService, and gives it back', async () => {
  await using lab = await start({ nodes: 1 });
  const { cluster, clock, get } = lab;
  const path = '/apis/apiregistration.k8s.io/v1/apiservices/v1beta1.metrics.k8s.io';
  await clock.advance(second);
  const available = async (): Promise<string> => {
    const s = await get<{ status?: { conditions?: { type: string; status: string; reason: string }[] } }>(path);
    const c = s.status?.conditions?.find((x) => x.type === 'Available');
    return `${c?.status} ${c?.reason}`;
  };
  assert.equal(await available(), 'True Local');
  const patch = async (spec: object): Promise<void> => {
    await cluster.client.raw('PATCH', path, {
      body: { spec },
      headers: { 'content-type': 'application/merge-patch+json' },
    });
    await clock.advance(second);
  };
  await patch({ service: { namespace: 'kube-system', name: 'metrics-server' }, insecureSkipTLSVerify: true });
  assert.equal(await available(), 'False ServiceNotFound');
  assert.match(await refused(get(`${api}/nodes`)), /^503 /);
  await patch({ service: null, insecureSkipTLSVerify: null });
  assert.equal(await available(), 'True Local');
  assert.equal((await get<List>(`${api}/nodes`)).items.length, 1);
});
