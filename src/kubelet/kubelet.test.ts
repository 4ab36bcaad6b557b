import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Node, PodSpec } from '../api/types/index.gen.ts';
import { cluster } from './testing.ts';

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
