import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import { test } from 'node:test';
import type { Container, PodSpec } from '../api/types/index.gen.ts';
import { duplexPair } from './runtime/simulated/pipe.ts';
import { cluster } from './testing.ts';

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

test('an init container of an unknown image ends by itself, unless it is told otherwise', async (t) => {
  const c = await cluster(t);
  const spec: PodSpec = {
    containers: [{ name: 'main', image: 'example.com/server', args: ['--listen=:80'] }],
    initContainers: [{ name: 'prepare', image: 'example.com/tool', command: ['/bin/prepare'], args: ['--once'] }],
  };
  const states = async (name: string) => {
    const { phase, initContainerStatuses } = (await c.pod(name)).status!;
    const { terminated, running } = initContainerStatuses![0]!.state!;
    return [phase, terminated?.exitCode ?? (running === undefined ? 'waiting' : 'running')];
  };
  await c.run('p', spec);
  await c.clock.advance(1000);
  assert.deepEqual(await states('p'), ['Running', 0]);
  const annotations = { 'knarr.dev/simulated.exit-after.prepare': '5s', 'knarr.dev/simulated.exit-code.prepare': '1' };
  await c.run('failing', { ...spec, restartPolicy: 'Never' }, { annotations });
  await c.clock.advance(1000);
  assert.deepEqual(await states('failing'), ['Pending', 'running']);
  await c.clock.advance(5000);
  assert.deepEqual(await states('failing'), ['Failed', 1]);
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
