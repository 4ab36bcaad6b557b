/** The node's managers over a simulated machine, in virtual time. */
import assert from 'node:assert/strict';
import { createServer, request } from 'node:http';
import { test } from 'node:test';
import { VirtualClock } from '../base/clock.ts';
import { silentLogger } from '../base/logger.ts';
import { SeededRandom } from '../base/random.ts';
import type { Container, Event, Pod, PodSpec } from '../api/types/index.gen.ts';
import { FakeApi } from '../client/fake-api.ts';
import { resources } from '../client/resources.ts';
import { createClient } from '../client/typed-client.ts';
import type { KubeletConfiguration } from './configuration/configuration.ts';
import { kubeletConfiguration } from './configuration/configuration.ts';
import { parseThresholds } from './eviction/thresholds.ts';
import { SimulatedHost } from './host/simulated/host.ts';
import { createKubelet } from './kubelet.ts';
import { SimulatedImages } from './runtime/simulated/images.ts';
import { SimulatedNetwork } from './runtime/simulated/network.ts';
import { duplexPair } from './runtime/simulated/pipe.ts';
import { SimulatedRuntime } from './runtime/simulated/runtime.ts';
import { parseManifest } from './static-pods/static-pod-manifest.ts';

const gib = 2 ** 30;

async function node(
  t: { after(fn: () => unknown): void },
  configuration: Partial<KubeletConfiguration> = {},
  prepare: (host: SimulatedHost) => Promise<void> | void = () => {},
) {
  const clock = new VirtualClock();
  const random = new SeededRandom(7);
  const api = new FakeApi(clock, random);
  const client = createClient(api);
  const used = { cpuCores: 0, memoryBytes: 0, processes: 0 };
  const host = new SimulatedHost({
    hostname: 'n1',
    clock,
    network: new SimulatedNetwork(),
    addresses: ['192.0.2.1'],
    machine: { memoryBytes: 10 * gib, diskBytes: 100 * 2 ** 20, cpuCores: 4 },
  });
  await prepare(host);
  const images = new SimulatedImages();
  const runtime = new SimulatedRuntime({ clock, random, host, images, addresses: ['192.0.2.1'] });
  host.usageSource = () => used;
  const make = () =>
    createKubelet({
      nodeName: 'n1',
      client,
      clock,
      random,
      logger: silentLogger,
      runtime,
      host,
      podCidrs: ['10.244.1.0/24'],
      clusterDns: ['10.96.0.10'],
      configuration,
    });
  const kubelet = make();
  await kubelet.start();
  await clock.advance(0);
  t.after(() => kubelet.stop());
  const run = async (
    name: string,
    spec: Partial<PodSpec> | Partial<Container> = {},
    annotations: Record<string, string> = {},
  ) => {
    const podSpec =
      'containers' in spec
        ? (spec as PodSpec)
        : { containers: [{ name: 'c', image: 'nginx', ...(spec as Partial<Container>) }] };
    await client.core.pods.create({
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: { name, namespace: 'default', generation: 1, annotations },
      spec: { nodeName: 'n1', restartPolicy: 'Always', terminationGracePeriodSeconds: 30, ...podSpec } as PodSpec,
      status: { phase: 'Pending' },
    });
    await clock.advance(100);
  };
  const pod = (name: string) => client.core.pods.get(name, 'default');
  const events = (name: string) =>
    api
      .all<Event & { metadata: object }>(resources.core.events)
      .filter((e) => e.involvedObject.name === name)
      .map((e) => `${e.reason}: ${e.message}`);
  const condition = async (type: string) =>
    (await client.core.nodes.get('n1')).status?.conditions?.find((c) => c.type === type)?.status;
  return { clock, api, client, host, images, runtime, kubelet, make, used, run, pod, events, condition };
}

const requests = (memory: string) => ({ resources: { requests: { memory } } });

test('allocatable is what is left of the capacity', async (t) => {
  const n = await node(t, {
    kubeReserved: { cpu: '500m', memory: '1Gi' },
    systemReserved: { 'ephemeral-storage': '1Mi' },
  });
  const { capacity, allocatable } = (await n.client.core.nodes.get('n1')).status!;
  assert.deepEqual([capacity?.['cpu'], allocatable?.['cpu']], ['4', '3500m']);
  assert.equal(allocatable?.['memory'], `${(9 * gib - 100 * 2 ** 20) / 1024}Ki`);
  assert.equal(allocatable?.['ephemeral-storage'], String(89 * 2 ** 20));
});

test('memory runs out: the pod that takes most beyond its requests goes first, one at a time', async (t) => {
  const n = await node(t, { evictionHard: { 'memory.available': '1Gi' } });
  await n.run('modest', requests('1Gi'));
  await n.run('greedy', requests('64Mi'), { 'knarr.dev/simulated.memory': '512Mi' });
  await n.run('critical', { priority: 2_000_000_000, containers: [{ name: 'c', image: 'nginx' }] });
  await n.clock.advance(10_000);
  assert.equal(await n.condition('MemoryPressure'), 'False');
  n.used.memoryBytes = 9.5 * gib;
  await n.clock.advance(12_000);
  assert.equal(await n.condition('MemoryPressure'), 'True');
  const phases = async () =>
    Promise.all(['modest', 'greedy', 'critical'].map(async (p) => (await n.pod(p)).status?.phase));
  assert.deepEqual(await phases(), ['Running', 'Failed', 'Running']);
  const evicted = (await n.pod('greedy')).status!;
  assert.equal(evicted.reason, 'Evicted');
  assert.match(
    evicted.message!,
    /^The node was low on resource: memory\. Threshold quantity: 1Gi, available: 448Mi\. Container c was using 512Mi, request is 64Mi, has larger consumption of memory\. $/,
  );
  const disruption = evicted.conditions?.find((c) => c.type === 'DisruptionTarget');
  assert.deepEqual([disruption?.status, disruption?.reason], ['True', 'TerminationByKubelet']);
  assert.ok(n.events('n1').includes('EvictionThresholdMet: Attempting to reclaim memory'));
  assert.ok(n.events('n1').some((e) => e.startsWith('NodeHasInsufficientMemory')));
  // Under pressure no BestEffort pod is taken in; others are.
  await n.run('besteffort');
  const refused = (await n.pod('besteffort')).status!;
  assert.deepEqual(
    [refused.phase, refused.reason, refused.message],
    ['Failed', 'Evicted', 'Pod was rejected: The node had condition: [MemoryPressure]. '],
  );
  await n.clock.advance(60_000);
  assert.deepEqual(await phases(), ['Failed', 'Failed', 'Running'], 'a critical pod stays');
  n.used.memoryBytes = 0;
  await n.clock.advance(120_000);
  assert.equal(await n.condition('MemoryPressure'), 'True', 'for a while it is not believed');
  await n.clock.advance(300_000);
  assert.equal(await n.condition('MemoryPressure'), 'False');
});

test('a soft threshold waits for its grace period, and pods have time to end', async (t) => {
  const n = await node(t, {
    evictionHard: {},
    evictionSoft: { 'pid.available': '90%' },
    evictionSoftGracePeriod: { 'pid.available': '1m' },
    evictionMaxPodGracePeriod: 20,
  });
  await n.run('p');
  n.used.processes = 4_000_000;
  await n.clock.advance(50_000);
  assert.equal(await n.condition('PIDPressure'), 'True');
  assert.equal((await n.pod('p')).status?.phase, 'Running');
  await n.clock.advance(60_000);
  const { phase, message } = (await n.pod('p')).status!;
  assert.equal(phase, 'Failed');
  assert.match(message!, /^The node was low on resource: pids\. Threshold quantity: \d+, available: \d+\. $/);
});

test('an emptyDir that outgrows its limit takes its pod with it', async (t) => {
  const n = await node(t);
  await n.run('p', {
    volumes: [{ name: 'v', emptyDir: { sizeLimit: '1Mi' } }],
    containers: [{ name: 'c', image: 'nginx', volumeMounts: [{ name: 'v', mountPath: '/v' }] }],
  });
  await n.clock.advance(30_000);
  assert.equal((await n.pod('p')).status?.phase, 'Running');
  const { uid } = (await n.pod('p')).metadata;
  await n.host.writeFile(`/var/lib/kubelet/pods/${uid}/volumes/kubernetes.io~empty-dir/v/f`, Buffer.alloc(2 ** 21));
  await n.clock.advance(15_000);
  const { phase, reason, message } = (await n.pod('p')).status!;
  assert.deepEqual(
    [phase, reason, message],
    ['Failed', 'Evicted', 'Usage of EmptyDir volume "v" exceeds the limit "1Mi". '],
  );
});

test('thresholds are read as upstream reads them', () => {
  const bad = (c: Partial<KubeletConfiguration>, text: string) =>
    assert.throws(() => parseThresholds(kubeletConfiguration({ evictionHard: {}, ...c })), { message: text });
  bad({ evictionHard: { 'moon.phase': '1' } }, 'unsupported eviction signal moon.phase');
  bad({ evictionHard: { 'memory.available': '-1Mi' } }, 'eviction threshold memory.available must be positive: -1Mi');
  bad(
    { evictionHard: { 'memory.available': '120%' } },
    'eviction percentage threshold memory.available must be <= 100%: 120%',
  );
  bad(
    { evictionSoft: { 'memory.available': '1Mi' } },
    'grace period must be specified for the soft eviction threshold memory.available',
  );
  assert.deepEqual(parseThresholds(kubeletConfiguration({ evictionHard: { 'nodefs.available': '0%' } })), []);
  assert.throws(() => kubeletConfiguration({ imageGCLowThresholdPercent: 90 }), /must be less than/);
});

test('images that nobody uses go when the disk fills up, the longest unused first', async (t) => {
  const n = await node(t, { evictionHard: {} });
  for (const image of ['old:1', 'older:1', 'used:1'])
    await n.run(image.split(':')[0]!, { image, imagePullPolicy: 'IfNotPresent' });
  const names = async () => (await n.runtime.listImages()).flatMap((i) => i.repoTags);
  const remove = async (name: string) => {
    await n.client.core.pods.delete(name, 'default', { gracePeriodSeconds: 0 });
    await n.clock.advance(1000);
  };
  await remove('older');
  await n.clock.advance(310_000);
  await remove('old');
  await n.clock.advance(310_000);
  assert.equal((await names()).length, 3, 'there is room enough');
  await n.host.writeFile('/big', Buffer.alloc(90 * 2 ** 20));
  await n.clock.advance(310_000);
  const left = await names();
  assert.ok(left.some((x) => x.includes('used:1')) && !left.some((x) => x.includes('older:1')), left.join());
});

test('logs that have grown too large are rotated', async (t) => {
  const n = await node(t, { containerLogMaxSize: '1Ki' });
  await n.run('p', {
    image: 'busybox',
    command: ['sh', '-c', 'for i in $(seq 100); do echo line $i of many; done; sleep 1000'],
  });
  const { uid } = (await n.pod('p')).metadata;
  const path = `/var/log/pods/default_p_${uid}/c/0.log`;
  assert.ok((await n.host.logSize(path)) > 1024);
  await n.clock.advance(15_000);
  assert.ok((await n.host.logSize(path)) < 1024);
});

const manifest = (image: string) => `apiVersion: v1
kind: Pod
metadata:
  name: web
  labels: {app: web}
spec:
  containers:
  - name: c
    image: ${image}
`;

test('a static pod runs from its file, is mirrored, changes with it, and ends with it', async (t) => {
  const n = await node(t, { staticPodPath: '/manifests' }, (host) =>
    host.writeFile('/manifests/web.yaml', manifest('nginx:1')),
  );
  await n.clock.advance(1000);
  const mirror = await n.pod('web-n1');
  assert.equal(mirror.status?.phase, 'Running');
  const { annotations, ownerReferences, labels } = mirror.metadata;
  assert.equal(annotations?.['kubernetes.io/config.source'], 'file');
  assert.equal(annotations?.['kubernetes.io/config.mirror'], annotations?.['kubernetes.io/config.hash']);
  assert.deepEqual([ownerReferences?.[0]?.kind, labels?.['app']], ['Node', 'web']);
  assert.ok(mirror.spec?.tolerations?.some((x) => x.effect === 'NoExecute' && x.operator === 'Exists'));
  const container = mirror.status?.containerStatuses?.[0]?.containerID;
  // Deleting the mirror does not end the pod.
  await n.client.core.pods.delete('web-n1', 'default');
  await n.clock.advance(2000);
  const again = await n.pod('web-n1');
  assert.notEqual(again.metadata.uid, mirror.metadata.uid);
  assert.equal(again.status?.containerStatuses?.[0]?.containerID, container);
  // A restarted kubelet finds it running.
  await n.kubelet.stop();
  const second = n.make();
  t.after(() => second.stop());
  await second.start();
  await n.clock.advance(1000);
  assert.equal((await n.pod('web-n1')).status?.containerStatuses?.[0]?.containerID, container);
  await n.host.writeFile('/manifests/web.yaml', manifest('nginx:2'));
  await n.host.writeFile('/manifests/bad.yaml', 'kind: Poodle');
  await n.clock.advance(90_000);
  const changed = await n.pod('web-n1');
  assert.equal(changed.spec?.containers[0]?.image, 'nginx:2');
  assert.equal(changed.status?.phase, 'Running');
  assert.notEqual(changed.status?.containerStatuses?.[0]?.containerID, container);
  await n.host.remove('/manifests/web.yaml');
  await n.clock.advance(90_000);
  await assert.rejects(n.pod('web-n1'), /not found/);
  assert.deepEqual(await n.runtime.listPodSandbox(), []);
});

test('static pods are fetched by HTTP: one or a list, with the headers; what was fetched stays while the server fails', async (t) => {
  let answer: { readonly status: number; readonly body: string } = { status: 200, body: manifest('nginx:1') };
  let token: string | undefined;
  const server = createServer((request, response) => {
    token = request.headers['x-token'] as string;
    if (request.url === '/old') response.writeHead(302, { location: '/pods' }).end();
    else response.writeHead(answer.status).end(answer.body);
  });
  const n = await node(
    t,
    { staticPodURL: 'http://192.0.2.9:8080/old', staticPodURLHeader: { 'X-Token': ['t1'] } },
    (host) =>
      host.network.register('192.0.2.9', {
        connect: () => {
          const [near, far] = duplexPair();
          server.emit('connection', far);
          return near;
        },
      }),
  );
  // The answer comes in real time, what follows from it in virtual time.
  const settled = async (names: readonly string[]): Promise<void> => {
    for (let i = 0; i < 100; i++) {
      await n.clock.advance(20_000);
      const pods = n.api.all<Pod & { metadata: object }>(resources.core.pods);
      const found = pods.filter((p) => p.status?.phase === 'Running').map((p) => p.metadata.name);
      if (found.length === pods.length && found.toSorted().join() === names.join()) return;
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    assert.fail(`no pods ${names.join()}`);
  };
  await settled(['web-n1']);
  assert.equal(token, 't1');
  const { metadata, spec } = await n.pod('web-n1');
  assert.equal(metadata.annotations?.['kubernetes.io/config.source'], 'http');
  assert.equal(spec?.tolerations?.some((x) => x.effect === 'NoExecute' && x.key === undefined) ?? false, false);
  const item = (name: string) => ({ metadata: { name }, spec: { containers: [{ name: 'c', image: 'nginx' }] } });
  answer = {
    status: 200,
    body: JSON.stringify({ apiVersion: 'v1', kind: 'PodList', items: [item('one'), item('two')] }),
  };
  await settled(['one-n1', 'two-n1']);
  answer = { status: 500, body: 'out of order' };
  await n.clock.advance(60_000);
  await settled(['one-n1', 'two-n1']);
  answer = { status: 200, body: '' };
  await settled([]);
});

test('a static pod that refers to objects of the API does not run', async () => {
  const of = (more: object) =>
    parseManifest(
      Buffer.from(
        JSON.stringify({
          apiVersion: 'v1',
          kind: 'Pod',
          metadata: { name: 'p' },
          spec: { containers: [{ name: 'c', image: 'nginx' }], ...more },
        }),
      ),
      { kind: 'file', at: '/manifests/p.yaml' },
      'n1',
      0,
    );
  assert.equal((await of({}))[0]?.metadata.name, 'p-n1');
  await assert.rejects(of({ serviceAccountName: 'a' }), /^Error: static pods may not reference serviceaccounts$/);
  await assert.rejects(
    of({ volumes: [{ name: 'v', secret: { secretName: 's' } }] }),
    /^Error: static pods may not reference secrets$/,
  );
  await assert.rejects(
    of({ volumes: [{ name: 'v', projected: { sources: [{ serviceAccountToken: { path: 't' } }] } }] }),
    /^Error: static pods may not reference serviceaccounts \(via projected volumes\)$/,
  );
});

test('a shutdown that is announced ends pods by priority before it is let through', async (t) => {
  let announce: (active: boolean) => void = () => {};
  const log: string[] = [];
  const n = await node(t, { shutdownGracePeriod: '60s', shutdownGracePeriodCriticalPods: '20s' }, (host) => {
    Object.assign(host, {
      inhibitShutdown: async (_ms: number, onShutdown: (active: boolean) => void) => {
        announce = onShutdown;
        log.push('held');
        return { maxDelayMs: 60_000, release: async () => void log.push('released') };
      },
    });
  });
  const stubborn = { image: 'busybox', command: ['sh', '-c', 'trap "" TERM; sleep infinity'] };
  await n.run('plain', { terminationGracePeriodSeconds: 300, containers: [{ name: 'c', ...stubborn }] });
  await n.run('critical', { priority: 2_000_000_000, containers: [{ name: 'c', image: 'nginx' }] });
  announce(true);
  await n.clock.advance(35_000);
  assert.equal(await n.condition('Ready'), 'False');
  assert.equal((await n.pod('critical')).status?.phase, 'Running');
  await n.run('late');
  assert.equal((await n.pod('late')).status?.reason, 'NodeShutdown');
  await n.clock.advance(10_000);
  const { phase, reason, message } = (await n.pod('plain')).status!;
  assert.deepEqual(
    [phase, reason, message],
    ['Failed', 'Terminated', 'Pod was terminated in response to imminent node shutdown.'],
  );
  await n.clock.advance(25_000);
  assert.equal((await n.pod('critical')).status?.phase, 'Failed');
  assert.deepEqual(log, ['held', 'released']);
  announce(false);
  await n.clock.advance(1000);
  assert.equal(await n.condition('Ready'), 'True');
  assert.deepEqual(log, ['held', 'released', 'held']);
});

test('resources change in place; what does not fit waits until it does', async (t) => {
  const n = await node(t);
  const cpu = (limit: string, more: object = {}) => ({
    resources: { requests: { cpu: limit, memory: '1Gi' }, limits: { cpu: limit, memory: '1Gi' } },
    ...more,
  });
  await n.run('p', cpu('1'));
  await n.run('other', cpu('2'));
  const resize = async (limit: string, generation: number) => {
    await n.client.core.pods.patch('p', 'default', 'strategic', {
      metadata: { generation },
      spec: { containers: [{ name: 'c', resources: { requests: { cpu: limit }, limits: { cpu: limit } } }] },
    });
    await n.clock.advance(1000);
  };
  const status = async () => (await n.pod('p')).status!;
  const before = (await status()).containerStatuses![0]!;
  await resize('1500m', 2);
  const done = await status();
  assert.equal(done.containerStatuses![0]!.containerID, before.containerID, 'not restarted');
  assert.equal(done.containerStatuses![0]!.restartCount, 0);
  assert.equal(done.containerStatuses![0]!.resources?.limits?.['cpu'], '1500m');
  assert.equal(done.containerStatuses![0]!.allocatedResources?.['cpu'], '1500m');
  assert.ok(!done.conditions?.some((c) => c.type.startsWith('PodResize')));
  const told = n.events('p').filter((e) => e.startsWith('Resize'));
  assert.match(
    told[0]!,
    /^ResizeStarted: Pod resize started: \{"containers":\[\{"name":"c","resources":\{.*\}\],"generation":2\}$/,
  );
  assert.match(told[1]!, /^ResizeCompleted: /);
  const running = await n.runtime.listContainers();
  const runtimeStatus = await n.runtime.containerStatus(running.find((c) => before.containerID!.endsWith(c.id))!.id);
  assert.equal(runtimeStatus.resources?.cpuQuota, 150_000);
  await resize('3', 3);
  const pending = (await status()).conditions?.find((c) => c.type === 'PodResizePending');
  assert.deepEqual([pending?.status, pending?.reason, pending?.observedGeneration], ['True', 'Deferred', 3]);
  assert.match(
    pending!.message!,
    /^Node didn't have enough resource: cpu, requested: 3000, used: 2000, capacity: 4000$/,
  );
  assert.equal((await status()).containerStatuses![0]!.allocatedResources?.['cpu'], '1500m');
  await n.client.core.pods.delete('other', 'default', { gracePeriodSeconds: 0 });
  await n.clock.advance(40_000);
  assert.equal((await status()).containerStatuses![0]!.resources?.limits?.['cpu'], '3');
  assert.ok(!(await status()).conditions?.some((c) => c.type.startsWith('PodResize')));
  // A container that says so is restarted for it.
  await n.run('q', cpu('500m', { resizePolicy: [{ resourceName: 'cpu', restartPolicy: 'RestartContainer' }] }));
  await n.client.core.pods.patch('q', 'default', 'strategic', {
    metadata: { generation: 2 },
    spec: { containers: [{ name: 'c', resources: { requests: { cpu: '600m' }, limits: { cpu: '600m' } } }] },
  });
  await n.clock.advance(5000);
  const q = (await n.pod('q')).status!;
  assert.deepEqual(
    [q.containerStatuses![0]!.restartCount, q.containerStatuses![0]!.resources?.limits?.['cpu']],
    [1, '600m'],
  );
  assert.ok(!q.conditions?.some((c) => c.type.startsWith('PodResize')));
});

test('a pod’s own limits change in place, and with them those of containers that have none', async (t) => {
  const n = await node(t);
  const own = (cpu: string) => ({ requests: { cpu, memory: '1Gi' }, limits: { cpu, memory: '1Gi' } });
  await n.run('p', { containers: [{ name: 'c', image: 'nginx' }], resources: own('1') } as Partial<PodSpec>);
  const before = (await n.pod('p')).status!.containerStatuses![0]!;
  await n.client.core.pods.patch('p', 'default', 'merge', {
    metadata: { generation: 2 },
    spec: { resources: own('1500m') },
  });
  await n.clock.advance(1000);
  const { status } = await n.pod('p');
  assert.equal(status!.containerStatuses![0]!.containerID, before.containerID, 'not restarted');
  assert.equal(status!.resources?.limits?.['cpu'], '1500m');
  assert.equal(status!.allocatedResources?.['cpu'], '1500m');
  assert.ok(!status!.conditions?.some((c) => c.type.startsWith('PodResize')));
  const [running] = await n.runtime.listContainers();
  assert.equal((await n.runtime.containerStatus(running!.id)).resources?.cpuQuota, 150_000);
});

test('what the kubelet counts stands on its metrics page', async (t) => {
  const n = await node(t);
  await n.run('runs');
  await n.run('fails', {
    restartPolicy: 'Never',
    containers: [{ name: 'c', image: 'nginx', command: ['sh', '-c', 'exit 3'] }],
  });
  await n.run('missing', { image: 'elsewhere:1', imagePullPolicy: 'Never' });
  await n.run('huge', requests('100Gi'));
  await n.clock.advance(5000);
  const page = await new Promise<string>((resolve, reject) => {
    const [near, far] = duplexPair();
    n.kubelet.serve(far);
    request({ path: '/metrics', headers: { host: 'n1' }, createConnection: () => near as never }, (answer) => {
      let text = '';
      answer.on('data', (d: Buffer) => (text += d.toString()));
      answer.on('end', () => resolve(text));
    })
      .on('error', reject)
      .end();
  });
  const value = (series: string): number | undefined => {
    const line = page.split('\n').find((l) => l.startsWith(`${series} `));
    return line === undefined ? undefined : Number(line.slice(series.length + 1));
  };
  assert.deepEqual(
    [
      'kubelet_started_pods_total',
      'kubelet_started_pods_errors_total',
      'kubelet_run_podsandbox_duration_seconds_count{runtime_handler=""}',
      'kubelet_runtime_operations_total{operation_type="run_podsandbox"}',
      'kubelet_started_containers_errors_total{code="ErrImageNeverPull",container_type="container"}',
      'kubelet_terminated_containers_total{container_type="container",exit_code="3",reason="Error"}',
      'kubelet_admission_rejections_total{reason="OutOfmemory"}',
      'kubelet_desired_pods{static=""}',
      'kubelet_desired_pods{static="true"}',
      'kubelet_active_pods{static=""}',
      'kubelet_working_pods{config="desired",lifecycle="terminated",static=""}',
      'kubelet_pod_start_total_duration_seconds_count',
      'kubelet_pod_start_sli_duration_seconds_count',
      'kubelet_image_manager_ensure_image_requests_total{present_locally="false",pull_policy="never",pull_required="false"}',
      'kubelet_topology_manager_admission_requests_total',
    ].map(value),
    [3, 0, 3, 3, 1, 1, 1, 4, 0, 2, 2, 2, 2, 1, 4],
    page,
  );
  assert.match(page, /^# TYPE kubelet_pod_worker_duration_seconds histogram$/m);
});
