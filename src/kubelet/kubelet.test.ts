import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import { test } from 'node:test';
import { VirtualClock } from '../base/clock.ts';
import { silentLogger } from '../base/logger.ts';
import { SeededRandom } from '../base/random.ts';
import type { Container, Event, Node, Pod, PodSpec } from '../api/types/index.gen.ts';
import { FakeApi } from '../client/fake-api.ts';
import { resources } from '../client/resources.ts';
import { createClient } from '../client/typed-client.ts';
import { SimulatedHost } from './host/simulated/host.ts';
import { createKubelet } from './kubelet.ts';
import { SimulatedImages } from './runtime/simulated/images.ts';
import { SimulatedNetwork } from './runtime/simulated/network.ts';
import { duplexPair } from './runtime/simulated/pipe.ts';
import { SimulatedRuntime } from './runtime/simulated/runtime.ts';

async function cluster(t: { after(fn: () => unknown): void }, options: { cpu?: string } = {}) {
  const clock = new VirtualClock();
  const random = new SeededRandom(7);
  const api = new FakeApi(clock, random);
  const client = createClient(api);
  const network = new SimulatedNetwork();
  const host = new SimulatedHost({ hostname: 'n1', clock, network, addresses: ['192.0.2.1'] });
  const images = new SimulatedImages();
  const runtime = new SimulatedRuntime({ clock, random, host, images, addresses: ['192.0.2.1'] });
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
      capacity: options.cpu === undefined ? {} : { cpu: options.cpu },
    });
  const kubelet = make();
  await kubelet.start();
  await clock.advance(0);
  t.after(() => kubelet.stop());
  const run = async (
    name: string,
    spec: Partial<PodSpec> | Partial<Container>,
    extra: Partial<Pod['metadata']> = {},
  ) => {
    const podSpec: PodSpec =
      'containers' in spec
        ? (spec as PodSpec)
        : { containers: [{ name: 'c', image: 'nginx', ...(spec as Partial<Container>) }] };
    await client.core.pods.create({
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: { name, namespace: 'default', generation: 1, finalizers: ['test/grace'], ...extra },
      spec: {
        nodeName: 'n1',
        restartPolicy: 'Always',
        terminationGracePeriodSeconds: 30,
        enableServiceLinks: true,
        ...podSpec,
      },
      status: { phase: 'Pending' },
    });
    await clock.advance(0);
  };
  const pod = (name: string) => client.core.pods.get(name, 'default');
  const events = (name: string) =>
    api
      .all<Event & { metadata: object }>(resources.core.events)
      .filter((e) => e.involvedObject.name === name)
      .map((e) => `${e.reason}: ${e.message}${(e.count ?? 1) > 1 ? ` x${e.count}` : ''}`);
  const state = async (name: string) => (await pod(name)).status?.containerStatuses?.[0];
  /** Asks for deletion; lets go of the finalizer that stands for the grace period once the kubelet has deleted the pod. */
  const remove = async (name: string, grace: number) => {
    const deletes = () =>
      api.requests.filter(
        (r) => r.method === 'DELETE' && r.path.endsWith(`/${name}`) && JSON.stringify(r.body).includes('uid'),
      ).length;
    await client.core.pods.delete(name, 'default');
    await client.core.pods.patch(name, 'default', 'merge', { metadata: { deletionGracePeriodSeconds: grace } });
    await clock.advance(0);
    if (deletes() > 0) await client.core.pods.patch(name, 'default', 'merge', { metadata: { finalizers: null } });
    await clock.advance(0);
  };
  return { remove, clock, api, client, host, images, runtime, network, kubelet, make, run, pod, events, state };
}

test('the node registers and keeps its lease', async (t) => {
  const c = await cluster(t);
  const node = (await c.client.core.nodes.get('n1')) as Node;
  assert.equal(node.status?.conditions?.find((x) => x.type === 'Ready')?.status, 'True');
  assert.equal(node.metadata.labels?.['kubernetes.io/hostname'], 'n1');
  assert.equal(node.status?.nodeInfo?.containerRuntimeVersion, 'simulated://1.0.0');
  const lease = () => c.client.coordination.leases.get('n1', 'kube-node-lease');
  const before = (await lease()).spec?.renewTime;
  await c.clock.advance(11_000);
  assert.notEqual((await lease()).spec?.renewTime, before);
  const writes = () => c.api.requests.filter((r) => r.method === 'PATCH' && r.path.includes('nodes')).length;
  const w = writes();
  await c.clock.advance(60_000);
  assert.equal(writes(), w, 'nothing changed: no status write');
  await c.clock.advance(300_000);
  assert.ok(writes() > w);
  c.runtime.fail('containerd is on fire');
  await c.clock.advance(11_000);
  const broken = (await c.client.core.nodes.get('n1')).status?.conditions?.find((x) => x.type === 'Ready');
  assert.deepEqual([broken?.status, broken?.reason], ['False', 'KubeletNotReady']);
});

test('a pod runs with one status write, is deleted gracefully, and leaves nothing', async (t) => {
  const c = await cluster(t);
  const timers = c.clock.pending;
  await c.run('p', {});
  const p = await c.pod('p');
  assert.equal(p.status?.phase, 'Running');
  assert.match(p.status?.podIP ?? '', /^10\.244\.1\.\d+$/);
  assert.equal(p.status?.qosClass, 'BestEffort');
  assert.deepEqual(
    p.status?.conditions?.map((x) => [x.type, x.status, x.observedGeneration]),
    [
      ['PodReadyToStartContainers', 'True', 1],
      ['Initialized', 'True', 1],
      ['Ready', 'True', 1],
      ['ContainersReady', 'True', 1],
      ['PodScheduled', 'True', 1],
    ],
  );
  const s = p.status?.containerStatuses?.[0];
  assert.deepEqual(
    [s?.ready, s?.started, s?.restartCount, s?.image],
    [true, true, 0, 'docker.io/library/nginx:latest'],
  );
  assert.match(s?.containerID ?? '', /^simulated:\/\/[0-9a-f]{64}$/);
  assert.equal(c.api.requests.filter((r) => r.method === 'PATCH' && r.path.endsWith('/pods/p/status')).length, 1);
  assert.equal(c.clock.pending, timers, 'an idle pod has no timer');
  assert.deepEqual(
    c.events('p').map((e) => e.split(':')[0]),
    ['Pulling', 'Pulled', 'Created', 'Started'],
  );
  await c.remove('p', 30);
  await assert.rejects(c.pod('p'), /not found/);
  assert.deepEqual(await c.runtime.listPodSandbox(), []);
  assert.equal(c.clock.pending, timers);
});

test('what others write over the status is put right', async (t) => {
  const c = await cluster(t);
  await c.run('p', {});
  await c.client.core.pods.patch(
    'p',
    'default',
    'strategic',
    { status: { phase: 'Pending', conditions: [{ type: 'Ready', status: 'False' }] } },
    { subresource: 'status' },
  );
  await c.clock.advance(0);
  const { status } = await c.pod('p');
  assert.deepEqual([status?.phase, status?.conditions?.find((x) => x.type === 'Ready')?.status], ['Running', 'True']);
});

test('a failing container is restarted with growing back-off', async (t) => {
  const c = await cluster(t);
  await c.run('p', { image: 'busybox', command: ['sh', '-c', 'echo oops > /dev/termination-log; exit 3'] });
  await c.clock.advance(100);
  const s = await c.state('p');
  assert.equal(s?.state?.waiting?.reason, 'CrashLoopBackOff');
  assert.match(s?.state?.waiting?.message ?? '', /^back-off 10s restarting failed container=c pod=p_default\(/);
  assert.deepEqual(
    [s?.restartCount, s?.lastState?.terminated?.exitCode, s?.lastState?.terminated?.message],
    [1, 3, 'oops\n'],
  );
  await c.clock.advance(10_000);
  assert.equal((await c.state('p'))?.restartCount, 2);
  assert.match((await c.state('p'))?.state?.waiting?.message ?? '', /back-off 20s/);
  await c.clock.advance(1_200_000);
  assert.match((await c.state('p'))?.state?.waiting?.message ?? '', /back-off 5m0s/);
  assert.equal((await c.pod('p')).status?.phase, 'Running');
});

test('a pod that is to end once ends', async (t) => {
  const c = await cluster(t);
  const spec = (command: string): PodSpec => ({
    restartPolicy: 'Never',
    containers: [{ name: 'c', image: 'busybox', command: ['sh', '-c', command] }],
  });
  await c.run('good', spec('sleep 5; echo done'));
  await c.run('bad', spec('exit 2'));
  assert.equal((await c.pod('good')).status?.phase, 'Running');
  await c.clock.advance(5000);
  const good = (await c.pod('good')).status!;
  assert.deepEqual(
    [good.phase, good.conditions?.find((x) => x.type === 'Ready')?.reason],
    ['Succeeded', 'PodCompleted'],
  );
  const bad = (await c.pod('bad')).status!;
  assert.deepEqual([bad.phase, bad.containerStatuses?.[0]?.state?.terminated?.reason], ['Failed', 'Error']);
  await c.run('late', { ...spec('sleep 100'), activeDeadlineSeconds: 10, terminationGracePeriodSeconds: 1 });
  await c.clock.advance(13_000);
  const late = (await c.pod('late')).status!;
  assert.deepEqual([late.phase, late.reason], ['Failed', 'DeadlineExceeded']);
});

test('init containers run in order, sidecars beside them, and all end in order', async (t) => {
  const c = await cluster(t);
  await c.run('p', {
    containers: [{ name: 'main', image: 'nginx' }],
    initContainers: [
      { name: 'one', image: 'busybox', command: ['sleep', '5'] },
      {
        name: 'side',
        image: 'nginx',
        restartPolicy: 'Always',
        startupProbe: { httpGet: { port: 80 }, periodSeconds: 1 },
      },
      { name: 'two', image: 'busybox', command: ['sh', '-c', 'sleep 5'] },
    ],
  });
  const names = async () =>
    (await c.pod('p')).status?.initContainerStatuses?.map((s) => Object.keys(s.state ?? {})[0]).join();
  await c.clock.advance(100);
  assert.equal(await names(), 'running,waiting,waiting');
  assert.equal((await c.pod('p')).status?.phase, 'Pending');
  await c.clock.advance(5000);
  assert.equal(await names(), 'terminated,running,running');
  await c.clock.advance(6000);
  assert.equal(await names(), 'terminated,running,terminated');
  const p = await c.pod('p');
  assert.equal(p.status?.phase, 'Running');
  assert.ok(p.status?.conditions?.every((x) => x.status === 'True'));
});

test('probes decide over readiness and restarts', async (t) => {
  const c = await cluster(t);
  await c.run(
    'p',
    { readinessProbe: { httpGet: { port: 8080, path: '/ready' }, periodSeconds: 5 } },
    { annotations: { 'knarr.dev/simulated.ready-after': '8s' } },
  );
  const ready = async (name: string) => (await c.pod(name)).status?.conditions?.find((x) => x.type === 'Ready')?.status;
  assert.equal(await ready('p'), 'False');
  await c.clock.advance(6000);
  assert.equal(await ready('p'), 'False');
  assert.ok(
    c
      .events('p')
      .some((e) => e.startsWith('Unhealthy: Readiness probe failed: HTTP probe failed with statuscode: 503')),
  );
  await c.clock.advance(5000);
  assert.equal(await ready('p'), 'True');
  await c.run('l', {
    livenessProbe: { exec: { command: ['cat', '/tmp/healthy'] }, periodSeconds: 10, failureThreshold: 2 },
  });
  await c.clock.advance(12_000);
  assert.equal((await c.state('l'))?.restartCount, 1);
  assert.ok(
    c.events('l').includes('Killing: Container c failed liveness probe, will be restarted'),
    c.events('l').join('\n'),
  );
  await c.run('g', { readinessProbe: { grpc: { port: 9000 } } });
  await c.clock.advance(0);
  assert.equal(await ready('g'), 'True');
});

test('environment, configuration volumes and their live update', async (t) => {
  const c = await cluster(t);
  await c.client.core.configmaps.create({
    apiVersion: 'v1',
    kind: 'ConfigMap',
    metadata: { name: 'cm', namespace: 'default' },
    data: { k: 'one', FOO: 'bar' },
  });
  await c.client.core.secrets.create({
    apiVersion: 'v1',
    kind: 'Secret',
    metadata: { name: 's', namespace: 'default' },
    data: { p: 'c2VjcmV0' },
  });
  await c.client.core.services.create({
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { name: 'my-svc', namespace: 'default' },
    spec: { clusterIP: '10.96.0.5', ports: [{ port: 80, name: 'http' }] },
  });
  await c.clock.advance(0);
  await c.run('p', {
    containers: [
      {
        name: 'c',
        image: 'busybox',
        command: ['sh', '-c', 'echo $MSG $(POD); env | grep MY_SVC_SERVICE; sleep infinity'],
        envFrom: [{ configMapRef: { name: 'cm' } }],
        env: [
          { name: 'POD', valueFrom: { fieldRef: { fieldPath: 'metadata.name' } } },
          { name: 'PASS', valueFrom: { secretKeyRef: { name: 's', key: 'p' } } },
          { name: 'MSG', value: '$(POD)/$(PASS)/$(FOO)/$$(X)' },
        ],
        volumeMounts: [{ name: 'v', mountPath: '/etc/v' }],
      },
    ],
    volumes: [{ name: 'v', configMap: { name: 'cm' } }],
  });
  const id = (await c.state('p'))!.containerID!.replace('simulated://', '');
  const log = [];
  for await (const b of c.host.readLog((await c.runtime.containerStatus(id)).logPath, {}))
    log.push(...b.map((e) => e.data.toString()));
  assert.deepEqual(log, [
    'p/secret/bar/$(X) p\n',
    'MY_SVC_SERVICE_HOST=10.96.0.5\n',
    'MY_SVC_SERVICE_PORT=80\n',
    'MY_SVC_SERVICE_PORT_HTTP=80\n',
  ]);
  const cat = async () => (await c.runtime.execSync(id, ['cat', '/etc/v/k'], 0)).stdout.toString();
  assert.equal(await cat(), 'one');
  await c.client.core.configmaps.patch('cm', 'default', 'merge', { data: { k: 'two' } });
  await c.clock.advance(0);
  assert.equal(await cat(), 'two');
});

test('what cannot start waits with upstream reasons', async (t) => {
  const c = await cluster(t, { cpu: '1' });
  await c.run('pull', {}, { annotations: { 'knarr.dev/simulated.pull-error': 'not found' } });
  await c.clock.advance(100);
  assert.equal((await c.state('pull'))?.state?.waiting?.reason, 'ErrImagePull');
  await c.clock.advance(5000);
  assert.deepEqual((await c.state('pull'))?.state?.waiting?.reason, 'ImagePullBackOff');
  await c.clock.advance(5000);
  assert.equal((await c.state('pull'))?.state?.waiting?.reason, 'ErrImagePull', 'tried again after ten seconds');
  await c.run('env', { env: [{ name: 'X', valueFrom: { configMapKeyRef: { name: 'none', key: 'k' } } }] });
  assert.deepEqual((await c.state('env'))?.state?.waiting, {
    reason: 'CreateContainerConfigError',
    message: 'configmap "none" not found',
  });
  await c.run('mount', {
    containers: [{ name: 'c', image: 'nginx' }],
    volumes: [{ name: 'v', secret: { secretName: 'none' } }],
  });
  assert.equal((await c.state('mount'))?.state?.waiting?.reason, 'ContainerCreating');
  assert.ok(
    c
      .events('mount')
      .some((e) => e.startsWith('FailedMount: MountVolume.SetUp failed for volume "v" : secret "none" not found')),
    c.events('mount').join(),
  );
  await c.run('bad', { image: 'busybox', command: ['nosuch'] });
  await c.clock.advance(100);
  assert.match(JSON.stringify(await c.state('bad')), /executable file not found/);
  await c.run('big', { resources: { requests: { cpu: '2' } } });
  const big = (await c.pod('big')).status;
  assert.deepEqual(
    [big?.phase, big?.reason, big?.message],
    [
      'Failed',
      'OutOfcpu',
      "Pod was rejected: Node didn't have enough resource: cpu, requested: 2000, used: 0, capacity: 1000",
    ],
  );
});

test('a restarted kubelet adopts what runs', async (t) => {
  const c = await cluster(t);
  await c.run('p', { livenessProbe: { tcpSocket: { port: 80 } } });
  const id = (await c.state('p'))?.containerID;
  await c.kubelet.stop();
  const again = c.make();
  await again.start();
  t.after(() => again.stop());
  await c.clock.advance(30_000);
  const s = await c.state('p');
  assert.deepEqual([s?.containerID, s?.restartCount, s?.ready], [id, 0, true]);
  await c.runtime.crash(id!.replace('simulated://', ''));
  await c.clock.advance(1000);
  assert.equal((await c.state('p'))?.restartCount, 1);
});

test('hooks run, and a grace period can be cut short', async (t) => {
  const c = await cluster(t);
  await c.run('p', {
    image: 'nginx',
    lifecycle: {
      postStart: { exec: { command: ['sh', '-c', 'echo hi > /tmp/started'] } },
      preStop: { sleep: { seconds: 20 } },
    },
  });
  const id = (await c.state('p'))!.containerID!.replace('simulated://', '');
  assert.equal((await c.runtime.execSync(id, ['cat', '/tmp/started'], 0)).stdout.toString(), 'hi\n');
  await c.remove('p', 60);
  await c.clock.advance(10_000);
  assert.equal((await c.runtime.containerStatus(id)).state, 'CONTAINER_RUNNING');
  await c.remove('p', 1);
  await assert.rejects(c.pod('p'), /not found/);
});

test('a pod pinned to the node by name is admitted, one that wants another label is not', async (t) => {
  const c = await cluster(t);
  const pinned = (terms: object): Partial<PodSpec> => ({
    containers: [{ name: 'c', image: 'nginx' }],
    affinity: { nodeAffinity: { requiredDuringSchedulingIgnoredDuringExecution: { nodeSelectorTerms: [terms] } } },
  });
  await c.run('here', pinned({ matchFields: [{ key: 'metadata.name', operator: 'In', values: ['n1'] }] }));
  assert.equal((await c.pod('here')).status?.phase, 'Running');
  await c.run('there', pinned({ matchExpressions: [{ key: 'zone', operator: 'Exists' }] }));
  assert.equal((await c.pod('there')).status?.reason, 'NodeAffinity');
});

test('a claim bound to a path of the node keeps its data from pod to pod', async (t) => {
  const c = await cluster(t);
  const claim = (phase: string) => ({
    apiVersion: 'v1',
    kind: 'PersistentVolumeClaim',
    metadata: { name: 'pvc', namespace: 'default' },
    spec: { volumeName: 'pv' },
    status: { phase },
  });
  const { uid } = (await c.client.core.persistentvolumeclaims.create(claim('Pending'))).metadata;
  await c.client.core.persistentvolumes.create({
    apiVersion: 'v1',
    kind: 'PersistentVolume',
    metadata: { name: 'pv' },
    spec: { hostPath: { path: '/data' }, claimRef: { kind: 'PersistentVolumeClaim', name: 'pvc', uid } },
  });
  const pod = (command: string): PodSpec => ({
    restartPolicy: 'Never',
    containers: [
      { name: 'c', image: 'busybox', command: ['sh', '-c', command], volumeMounts: [{ name: 'v', mountPath: '/d' }] },
    ],
    volumes: [{ name: 'v', persistentVolumeClaim: { claimName: 'pvc' } }],
  });
  await c.run('writer', pod('echo kept > /d/f'));
  assert.match(
    c.events('writer').join(),
    /FailedMount: Unable to attach or mount volumes: .*: error processing PVC default\/pvc: PVC is not bound/,
  );
  await c.client.core.persistentvolumeclaims.updateStatus({
    ...(await c.client.core.persistentvolumeclaims.get('pvc', 'default')),
    status: { phase: 'Bound' },
  });
  await c.clock.advance(3000);
  assert.equal((await c.pod('writer')).status?.phase, 'Succeeded');
  await c.run('reader', pod('grep -q kept /d/f'));
  assert.equal((await c.pod('reader')).status?.phase, 'Succeeded');
});

test('an exit that a rule asks it of restarts all containers, from the first init container on', async (t) => {
  const c = await cluster(t);
  await c.run('all', {
    restartPolicy: 'Never',
    initContainers: [{ name: 'first', image: 'busybox', command: ['sh', '-c', 'exit 0'] }],
    containers: [
      {
        name: 'source',
        image: 'busybox',
        command: ['sh', '-c', 'sleep 5; exit 42'],
        restartPolicy: 'Never',
        restartPolicyRules: [{ action: 'RestartAllContainers', exitCodes: { operator: 'In', values: [42] } }],
      },
      { name: 'target', image: 'busybox', command: ['sleep', '3600'] },
    ],
  });
  const counts = async (): Promise<unknown> => {
    const { initContainerStatuses, containerStatuses } = (await c.pod('all')).status!;
    return [...initContainerStatuses!, ...containerStatuses!].map((s) => [s.name, s.restartCount]);
  };
  assert.deepEqual(await counts(), [
    ['first', 0],
    ['source', 0],
    ['target', 0],
  ]);
  await c.clock.advance(5500);
  assert.deepEqual(await counts(), [
    ['first', 1],
    ['source', 1],
    ['target', 1],
  ]);
  const { status } = await c.pod('all');
  assert.equal(status?.phase, 'Running');
  assert.equal(status?.containerStatuses?.[1]?.lastState?.terminated?.reason, 'RestartingAllContainers');
  const condition = status?.conditions?.find((x) => x.type === 'AllContainersRestarting');
  assert.equal(condition?.status, 'False');
  assert.ok(status?.conditions?.find((x) => x.type === 'Initialized')?.status === 'True');
});

test('a pod that ends before its containers began says so of each', async (t) => {
  const c = await cluster(t);
  await c.run('early', { image: 'absent', imagePullPolicy: 'Never' });
  assert.equal((await c.state('early'))?.state?.waiting?.reason, 'ErrImageNeverPull');
  await c.client.core.pods.patch('early', 'default', 'merge', { spec: { activeDeadlineSeconds: 1 } });
  await c.clock.advance(2000);
  const { status } = await c.pod('early');
  assert.deepEqual([status?.phase, status?.reason], ['Failed', 'DeadlineExceeded']);
  const ended = status?.containerStatuses?.[0]?.state?.terminated;
  assert.deepEqual([ended?.exitCode, ended?.reason], [137, 'ContainerStatusUnknown']);
});

test('a critical pod takes the room of others; what no room helps is refused', async (t) => {
  const c = await cluster(t, { cpu: '1' });
  const cpu = (amount: string): Partial<PodSpec> => ({
    containers: [{ name: 'c', image: 'nginx', resources: { requests: { cpu: amount } } }],
  });
  await c.run('best-effort', {});
  await c.run('burstable', { ...cpu('600m'), terminationGracePeriodSeconds: 0 });
  await c.run('refused', cpu('500m'));
  assert.equal((await c.pod('refused')).status?.reason, 'OutOfcpu');
  await c.run('critical', { ...cpu('700m'), priority: 2_000_000_000, priorityClassName: 'system-cluster-critical' });
  await c.clock.advance(1000);
  assert.equal((await c.pod('critical')).status?.phase, 'Running');
  const { status } = await c.pod('burstable');
  assert.deepEqual(
    [status?.phase, status?.reason, status?.message],
    ['Failed', 'Preempting', 'Preempted in order to admit critical pod'],
  );
  const disruption = status?.conditions?.find((x) => x.type === 'DisruptionTarget');
  assert.deepEqual(
    [disruption?.reason, disruption?.message],
    ['TerminationByKubelet', 'Pod was preempted by Kubelet to accommodate a critical pod.'],
  );
  assert.ok(c.events('burstable').includes('Preempting: Preempted in order to admit critical pod'));
  assert.equal((await c.pod('best-effort')).status?.phase, 'Running');
  await c.run('too-much', { ...cpu('2'), priority: 2_000_000_000 });
  const refused = (await c.pod('too-much')).status;
  assert.equal(refused?.reason, 'UnexpectedAdmissionError');
  assert.match(
    refused?.message ?? '',
    /^Pod was rejected: Unexpected error while attempting to recover from admission failure: preemption: error finding a set of pods to preempt: no set of running pods found to reclaim resources: \[\(res: cpu, q: 1700\), \]$/,
  );
});

test('a mirror pod of nothing is deleted', async (t) => {
  const c = await cluster(t);
  await c.run('ghost', {}, { annotations: { 'kubernetes.io/config.mirror': 'abc' }, finalizers: [] });
  await assert.rejects(c.pod('ghost'), /not found/);
});

test('resources that others give the node stay on it', async (t) => {
  const c = await cluster(t);
  await c.client.core.nodes.patch(
    'n1',
    undefined,
    'merge',
    { status: { capacity: { 'example.com/foo': '3' } } },
    { subresource: 'status' },
  );
  await c.clock.advance(11_000);
  const { status } = (await c.client.core.nodes.get('n1')) as Node;
  assert.equal(status?.capacity?.['example.com/foo'], '3');
  assert.equal(status?.allocatable?.['example.com/foo'], '3');
  const writes = () => c.api.requests.filter((r) => r.method === 'PATCH' && r.path.includes('nodes')).length;
  const before = writes();
  await c.clock.advance(60_000);
  assert.equal(writes(), before, 'nothing changed: no status write');
});

test('another image does away with the back-off', async (t) => {
  const c = await cluster(t);
  await c.run('back-off', { command: ['sh', '-c', 'exit 1'] });
  await c.clock.advance(100);
  assert.equal((await c.state('back-off'))?.state?.waiting?.reason, 'CrashLoopBackOff');
  const count = (await c.state('back-off'))!.restartCount;
  const pod = await c.pod('back-off');
  await c.client.core.pods.patch('back-off', 'default', 'merge', {
    metadata: { generation: 2 },
    spec: { containers: [{ ...pod.spec!.containers[0]!, image: 'busybox' }] },
  });
  await c.clock.advance(100);
  assert.equal((await c.state('back-off'))!.restartCount, count + 1);
});

test('a lifecycle hook is content with any answer, and with one in the clear where TLS was asked for', async (t) => {
  const c = await cluster(t);
  const agents: unknown[] = [];
  const server = createServer((request, response) => {
    agents.push(request.headers['user-agent']);
    response.writeHead(404).end();
  });
  c.host.network.register('192.0.2.9', {
    connect: () => {
      const [near, far] = duplexPair();
      far.once('data', (first: Buffer) => {
        // A handshake of TLS begins with 22.
        if (first[0] === 22) return void far.end('HTTP/1.0 400 Bad Request\r\n\r\n');
        far.unshift(first);
        server.emit('connection', far);
      });
      return near;
    },
  });
  const hook = { host: '192.0.2.9', port: 8443, path: '/x' };
  await c.run('p', { lifecycle: { postStart: { httpGet: { ...hook, scheme: 'HTTPS' } } } });
  await c.run('q', { lifecycle: { postStart: { httpGet: hook } } });
  for (const name of ['p', 'q']) {
    // The answers come in real time.
    for (let i = 0; i < 100 && (await c.state(name))?.state?.running === undefined; i++) {
      await new Promise((resolve) => setTimeout(resolve, 5));
      await c.clock.advance(10);
    }
    assert.equal((await c.state(name))?.restartCount, 0);
    assert.ok(!c.events(name).some((e) => e.startsWith('FailedPostStartHook')), c.events(name).join('\n'));
  }
  const told =
    'LifecycleHTTPFallback: request to HTTPS lifecycle hook 192.0.2.9:8443 got HTTP response, retry with HTTP succeeded';
  assert.ok(c.events('p').includes(told), c.events('p').join('\n'));
  assert.ok(!c.events('q').includes(told));
  assert.deepEqual(agents, ['kube-lifecycle/1.36', 'kube-lifecycle/1.36']);
});

test('a pod that ends: all preStop hooks at once, sidecars after what they serve, the last one first', async (t) => {
  const c = await cluster(t);
  const hook = (name: string) => ({
    preStop: { exec: { command: ['sh', '-c', `echo ${name} >> /proc/1/fd/1; sleep 2`] } },
  });
  const member = (name: string, more: Partial<Container> = {}): Container => ({
    name,
    image: 'busybox',
    command: ['sh', '-c', 'sleep 3600'],
    lifecycle: hook(name),
    ...more,
  });
  await c.run('ordered', {
    initContainers: [member('first', { restartPolicy: 'Always' }), member('second', { restartPolicy: 'Always' })],
    containers: [member('main', { lifecycle: { preStop: { sleep: { seconds: 5 } } } })],
  });
  assert.equal((await c.pod('ordered')).status?.phase, 'Running');
  const began = c.clock.now();
  const ends = new Map<string, number>();
  const stop = c.runtime.events((e) => {
    if (e.containerEventType === 'CONTAINER_STOPPED_EVENT')
      ends.set(e.containerId, Math.round((e.createdAt - began) / 1000));
  });
  const ids = new Map(
    [
      ...(await c.pod('ordered')).status!.containerStatuses!,
      ...(await c.pod('ordered')).status!.initContainerStatuses!,
    ].map((s) => [s.containerID!.replace('simulated://', ''), s.name]),
  );
  await c.client.core.pods.delete('ordered', 'default');
  await c.client.core.pods.patch('ordered', 'default', 'merge', { metadata: { deletionGracePeriodSeconds: 30 } });
  await c.clock.advance(40_000);
  stop();
  const order = [...ends].filter(([id]) => ids.has(id)).map(([id, at]) => [ids.get(id), at]);
  assert.deepEqual(
    order.map(([name]) => name),
    ['main', 'second', 'first'],
  );
  assert.ok((order[2]![1] as number) < 9, JSON.stringify(order));
});
