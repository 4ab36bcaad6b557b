/**
 * Cluster time: what takes minutes, hours or days in a cluster (a daily CronJob, the end of what has a time to live, leases that run
 * out, a node given up, a container that keeps crashing) happens at its very moment, in milliseconds, when the clock is advanced.
 * Each test says as a diagnostic how much virtual time it let pass in how much real time.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { TestContext } from 'node:test';
import { runLeaderElection } from '../../src/client/leader-election.ts';
import { SeededRandom, StatusError, VirtualClock, createCluster, createLogger, silentLogger } from '../../src/index.ts';
import type { Cluster, Event, Job, Node, Pod, PodSpec } from '../../src/index.ts';

const ns = 'default';
const second = 1000;
const minute = 60 * second;
const hour = 60 * minute;

interface TimeLab extends AsyncDisposable {
  readonly cluster: Cluster;
  readonly clock: VirtualClock;
  readonly client: Cluster['client'];
  /** Lets `ms` of cluster time pass. */
  pass(ms: number): Promise<void>;
  /** Lets time pass until that instant. */
  until(instant: number): Promise<void>;
}

/** A whole cluster whose components are refused nothing and have nothing to complain of. */
async function start(t: TestContext, nodes: number): Promise<TimeLab> {
  const clock = new VirtualClock();
  const complaints: string[] = [];
  const logger = createLogger({
    level: 'warn',
    now: () => clock.now(),
    sink: (r) => void complaints.push(`${r.message} ${JSON.stringify(r.fields)}`),
  });
  const cluster = await createCluster({
    nodes,
    clock,
    random: new SeededRandom(2),
    logger,
    onAuthorization: ({ user, verb, resource, name }, decision) => {
      if (decision !== 'allow') complaints.push(`${user.name} may not ${verb} ${resource} ${name}`);
    },
  });
  const begun = clock.now();
  let real = 0;
  const pass = async (ms: number): Promise<void> => {
    const at = performance.now();
    await clock.advance(ms);
    real += performance.now() - at;
  };
  return {
    cluster,
    clock,
    client: cluster.client,
    pass,
    until: (instant) => pass(instant - clock.now()),
    [Symbol.asyncDispose]: async () => {
      t.diagnostic(`${((clock.now() - begun) / second).toFixed(0)} s of cluster time in ${real.toFixed(0)} ms`);
      await cluster.close();
      assert.deepEqual(complaints, []);
    },
  };
}

const shell = (script: string): PodSpec => ({
  restartPolicy: 'Never',
  terminationGracePeriodSeconds: 0,
  containers: [{ name: 'c', image: 'busybox', command: ['sh', '-c', script] }],
});

async function eventsOf({ client }: TimeLab, kind: string, name: string): Promise<Event[]> {
  const { items } = await client.core.events.list({ namespace: ns });
  return items.filter((e) => e.involvedObject.kind === kind && e.involvedObject.name === name);
}

/** What a `get` finds, or undefined. */
async function found<T>(get: Promise<T>): Promise<T | undefined> {
  try {
    return await get;
  } catch (error) {
    if (error instanceof StatusError && error.code === 404) return undefined;
    throw error;
  }
}

test('a CronJob fires daily in its time zone and keeps a short history', async (t) => {
  await using lab = await start(t, 1);
  const { client } = lab;
  const make = (name: string, timeZone: string, script: string) =>
    client.batch.cronjobs.create({
      metadata: { name, namespace: ns },
      spec: {
        schedule: '30 2 * * *',
        timeZone,
        successfulJobsHistoryLimit: 2,
        failedJobsHistoryLimit: 1,
        jobTemplate: {
          metadata: { labels: { of: name } },
          spec: { backoffLimit: 0, template: { spec: shell(script) } },
        },
      },
    });
  await make('good', 'Europe/Berlin', 'sleep 20');
  await make('bad', 'Etc/UTC', 'exit 1');
  const jobs = async (of: string): Promise<Job[]> =>
    (await client.batch.jobs.list({ namespace: ns, labelSelector: `of=${of}` })).items;
  const names = async (of: string): Promise<string[]> => (await jobs(of)).map((j) => j.metadata.name!);
  const jobAt = (of: string, instant: number): string => `${of}-${instant / minute}`;

  // 02:30 in Berlin in winter is 01:30 UTC.
  const due = (i: number): number => Date.UTC(2026, 0, 1 + i, 1, 30);
  for (let i = 0; i < 2; i++) {
    await lab.until(due(i) - second);
    assert.ok(!(await names('good')).includes(jobAt('good', due(i))), `day ${i}: not yet`);
    await lab.until(due(i) + second);
    const job = (await jobs('good')).find((j) => j.metadata.name === jobAt('good', due(i)))!;
    assert.equal(Date.parse(job.metadata.creationTimestamp!), due(i), 'in the second that it is due');
    assert.equal(
      job.metadata.annotations?.['batch.kubernetes.io/cronjob-scheduled-timestamp'],
      `2026-01-0${1 + i}T02:30:00+01:00`,
    );
    assert.equal(job.status?.active, 1);
    let cronJob = await client.batch.cronjobs.get('good', ns);
    assert.deepEqual(
      cronJob.status?.active?.map((a) => a.name),
      [job.metadata.name],
    );
    await lab.pass(30 * second);
    const ended = await client.batch.jobs.get(job.metadata.name!, ns);
    assert.equal(ended.status?.succeeded, 1);
    assert.ok(Date.parse(ended.status!.completionTime!) - due(i) >= 20 * second);
    cronJob = await client.batch.cronjobs.get('good', ns);
    assert.equal(cronJob.status?.active, undefined);
    assert.equal(Date.parse(cronJob.status!.lastScheduleTime!), due(i));
    assert.equal(cronJob.status!.lastSuccessfulTime, ended.status!.completionTime);
    // Yesterday's are gone: events live for an hour.
    assert.deepEqual(
      (await eventsOf(lab, 'CronJob', 'good')).map((e) => `${e.type} ${e.reason} ${e.message}`),
      [
        `Normal SuccessfulCreate Created job ${job.metadata.name}`,
        `Normal SawCompletedJob Saw completed job: ${job.metadata.name}, condition: Complete`,
      ],
    );
  }
  // Days on end, without anybody looking.
  await lab.until(due(3) + hour);
  assert.deepEqual(await names('good'), [jobAt('good', due(2)), jobAt('good', due(3))]);
  const gone = (await eventsOf(lab, 'CronJob', 'good')).filter((e) => e.reason === 'SuccessfulDelete');
  assert.deepEqual(
    gone.map((e) => e.message),
    [`Deleted job ${jobAt('good', due(1))}`],
  );
  assert.deepEqual(await names('bad'), [jobAt('bad', due(2) + hour)], 'of failures one is kept');
  await lab.pass(30 * second);
  assert.deepEqual(await names('bad'), [jobAt('bad', due(3) + hour)]);
  assert.equal((await client.core.pods.list({ namespace: ns })).items.length, 3, 'pods go with their jobs');
});

test('a Job goes when its time to live is over', async (t) => {
  await using lab = await start(t, 1);
  const { client } = lab;
  await client.batch.jobs.create({
    metadata: { name: 'short', namespace: ns },
    spec: { ttlSecondsAfterFinished: 3600, template: { spec: shell('sleep 5') } },
  });
  await lab.pass(20 * second);
  const ended = await client.batch.jobs.get('short', ns);
  assert.ok(ended.status?.conditions?.some((c) => c.type === 'Complete' && c.status === 'True'));
  const end = Date.parse(ended.status!.completionTime!) + hour;
  await lab.until(end - second);
  assert.equal((await client.batch.jobs.get('short', ns)).metadata.deletionTimestamp, undefined);
  assert.equal((await client.core.pods.list({ namespace: ns })).items.length, 1);
  await lab.until(end + second);
  assert.equal(await found(client.batch.jobs.get('short', ns)), undefined);
  assert.deepEqual((await client.core.pods.list({ namespace: ns })).items, []);
});

test('leases run out: of a leader that is gone, of the store, of an Event', async (t) => {
  await using lab = await start(t, 0);
  const { client, clock, cluster } = lab;

  const stops: AbortController[] = [];
  const leaders: string[] = [];
  const ends: Promise<void>[] = [];
  const candidate = (identity: string): void => {
    const stop = new AbortController();
    stops.push(stop);
    ends.push(
      runLeaderElection({
        client,
        clock,
        random: new SeededRandom(stops.length),
        logger: silentLogger,
        name: 'chair',
        identity,
        // It ends as in a crash: the lease stays with it.
        releaseOnCancel: false,
        signal: stop.signal,
        onStartedLeading: () => void leaders.push(identity),
      }),
    );
  };
  const chair = () => client.coordination.leases.get('chair', 'kube-system');
  candidate('first');
  await lab.pass(second);
  candidate('second');
  await lab.pass(10 * minute);
  assert.deepEqual(leaders, ['first'], 'who renews keeps it');
  stops[0]!.abort(new Error('crashed'));
  await lab.pass(12 * second);
  assert.deepEqual(leaders, ['first']);
  assert.equal((await chair()).spec?.holderIdentity, 'first');
  await lab.pass(8 * second);
  assert.deepEqual(leaders, ['first', 'second'], 'after 15 s the lease is anybody’s');
  const { spec } = await chair();
  assert.equal(spec?.holderIdentity, 'second');
  assert.equal(spec?.leaseTransitions, 1);
  stops[1]!.abort(new Error('the test is over'));
  await Promise.allSettled(ends);

  const { store } = cluster;
  const put = async (key: string): Promise<string> => {
    const lease = await store.grantLease(60);
    await store.commit({ key, expectModRevision: 0, value: Buffer.from('x'), lease });
    return lease;
  };
  const there = async (key: string): Promise<boolean> => (await store.range({ key })).count === 1;
  await put('/test/dies');
  const kept = await put('/test/kept');
  await lab.pass(59 * second);
  assert.ok(await there('/test/dies'));
  await store.keepAliveLease(kept);
  await lab.pass(2 * second);
  assert.ok(!(await there('/test/dies')));
  assert.ok(await there('/test/kept'));
  await lab.pass(minute);
  assert.ok(!(await there('/test/kept')));

  await client.core.events.create({
    metadata: { name: 'heard', namespace: ns },
    involvedObject: { kind: 'Pod', namespace: ns, name: 'p' },
    reason: 'Heard',
    message: 'once',
    type: 'Normal',
  });
  await lab.pass(hour);
  assert.ok(await found(client.core.events.get('heard', ns)));
  // Events of one minute share a lease that outlives them all.
  await lab.pass(minute + second);
  assert.equal(await found(client.core.events.get('heard', ns)), undefined);
});

test('a silent node is given up after its grace period, its pods after five minutes more', async (t) => {
  await using lab = await start(t, 2);
  const { client, cluster } = lab;
  await client.apps.deployments.create({
    metadata: { name: 'web', namespace: ns },
    spec: {
      replicas: 2,
      selector: { matchLabels: { app: 'web' } },
      template: {
        metadata: { labels: { app: 'web' } },
        spec: { ...shell('sleep 1000000'), restartPolicy: 'Always', terminationGracePeriodSeconds: 30 },
      },
    },
  });
  await lab.pass(10 * second);
  const pods = async (on: string): Promise<Pod[]> =>
    (await client.core.pods.list({ namespace: ns })).items.filter((p) => p.spec?.nodeName === on);
  const node = (name: string): Promise<Node> => client.core.nodes.get(name);
  const condition = (o: Node | Pod, type: string): string | undefined =>
    (o.status?.conditions as readonly { type: string; status: string }[] | undefined)?.find((c) => c.type === type)
      ?.status;
  const taints = (n: Node): string[] => (n.spec?.taints ?? []).map((x) => `${x.key}:${x.effect}`).toSorted();
  assert.deepEqual([(await pods('node-1')).length, (await pods('node-2')).length], [1, 1]);
  const readySince = (await node('node-1')).status?.conditions?.find((c) => c.type === 'Ready')?.lastTransitionTime;

  // Its last heartbeat is 10.4 s ago at most, the grace period 50 s, and somebody looks every 5 s.
  await cluster.nodes[1]!.stop();
  await lab.pass(39 * second);
  assert.equal(condition(await node('node-2'), 'Ready'), 'True');
  await lab.pass(17 * second);
  let silent = await node('node-2');
  const ready = silent.status?.conditions?.find((c) => c.type === 'Ready');
  assert.deepEqual(
    [ready?.status, ready?.reason, ready?.message],
    ['Unknown', 'NodeStatusUnknown', 'Kubelet stopped posting node status.'],
  );
  const [lost] = await pods('node-2');
  assert.equal(condition(lost!, 'Ready'), 'False');
  assert.ok((await eventsOf(lab, 'Pod', lost!.metadata.name!)).some((e) => e.reason === 'NodeNotReady'));
  await lab.pass(10 * second);
  silent = await node('node-2');
  assert.deepEqual(taints(silent), [
    'node.kubernetes.io/unreachable:NoExecute',
    'node.kubernetes.io/unreachable:NoSchedule',
  ]);

  const since = Date.parse(silent.spec!.taints!.find((x) => x.effect === 'NoExecute')!.timeAdded!);
  await lab.until(since + 299 * second);
  assert.deepEqual(
    (await pods('node-2')).map((p) => p.metadata.deletionTimestamp),
    [undefined],
    'it is tolerated for 300 s',
  );
  await lab.until(since + 302 * second);
  const [evicted] = await pods('node-2');
  assert.equal(evicted!.metadata.name, lost!.metadata.name);
  assert.notEqual(evicted!.metadata.deletionTimestamp, undefined);
  const target = evicted!.status?.conditions?.find((c) => c.type === 'DisruptionTarget');
  assert.equal(target?.reason, 'DeletionByTaintManager');
  await lab.pass(5 * second);
  assert.deepEqual(
    (await pods('node-1')).map((p) => condition(p, 'Ready')),
    ['True', 'True'],
    'another runs in its place',
  );

  await cluster.nodes[1]!.start();
  await lab.pass(30 * second);
  silent = await node('node-2');
  assert.equal(condition(silent, 'Ready'), 'True');
  assert.deepEqual(taints(silent), []);
  assert.deepEqual(await pods('node-2'), [], 'the kubelet has ended what was evicted');
  const healthy = await node('node-1');
  assert.deepEqual(taints(healthy), []);
  assert.equal(healthy.status?.conditions?.find((c) => c.type === 'Ready')?.lastTransitionTime, readySince);
});

test('heartbeats are as fresh as ever whenever somebody looks, and end when the kubelet does', async (t) => {
  await using lab = await start(t, 1);
  const { client, clock, cluster } = lab;
  const ready = async () =>
    (await client.core.nodes.get('node-1')).status!.conditions!.find((c) => c.type === 'Ready')!;
  // In long stretches of time most of them are left out; the last ones before the end are not.
  for (const stretch of [6 * hour, 47 * second, 3 * hour + 123, 11 * second]) {
    await lab.pass(stretch);
    const { spec } = await client.coordination.leases.get('node-1', 'kube-node-lease');
    assert.equal(spec?.leaseDurationSeconds, 40);
    assert.ok(clock.now() - Date.parse(spec.renewTime!) <= 10.4 * second);
    const { status, lastHeartbeatTime } = await ready();
    assert.equal(status, 'True');
    assert.ok(clock.now() - Date.parse(lastHeartbeatTime!) <= 5 * minute + 11 * second);
  }
  // It stops in the middle of such a stretch.
  const stopped = clock.now() + hour;
  clock.setTimer(hour, () => void cluster.nodes[0]!.stop());
  clock.setTimer(hour + 39 * second, () => {
    void clock.activity.track(ready().then(({ status }) => assert.equal(status, 'True')));
  });
  await lab.pass(2 * hour);
  const { status, lastTransitionTime } = await ready();
  assert.equal(status, 'Unknown');
  const noticed = Date.parse(lastTransitionTime!) - stopped;
  assert.ok(noticed >= 39 * second && noticed <= 60 * second, `noticed after ${noticed} ms`);
});

test('a container that keeps crashing is started ever more seldom', async (t) => {
  await using lab = await start(t, 1);
  const { client } = lab;
  const made = await client.core.pods.create({
    metadata: { name: 'crash', namespace: ns },
    spec: { ...shell('exit 3'), restartPolicy: 'Always' },
  });
  const status = async () => (await client.core.pods.get('crash', ns)).status!.containerStatuses![0]!;
  await lab.pass(2 * second);
  const who = `crash_default(${made.metadata.uid})`;
  const delays: readonly (readonly [number, string])[] = [
    [10, '10s'],
    [20, '20s'],
    [40, '40s'],
    [80, '1m20s'],
    [160, '2m40s'],
    [300, '5m0s'],
    [300, '5m0s'],
  ];
  // The first restart does not wait.
  for (let [i, restarts] = [0, 1]; i < delays.length; i++, restarts++) {
    const [seconds, text] = delays[i]!;
    const s = await status();
    assert.equal(s.restartCount, restarts);
    assert.deepEqual(s.state, {
      waiting: {
        reason: 'CrashLoopBackOff',
        message: `back-off ${text} restarting failed container=c pod=${who}`,
      },
    });
    assert.equal(s.lastState?.terminated?.exitCode, 3);
    const end = Date.parse(s.lastState!.terminated!.finishedAt!) + seconds * second;
    await lab.until(end - second);
    assert.equal((await status()).restartCount, restarts, `${text}: not yet`);
    await lab.until(end + 2 * second);
  }
  const pod = await client.core.pods.get('crash', ns);
  assert.equal(pod.status?.phase, 'Running');
  const backOff = (await eventsOf(lab, 'Pod', 'crash')).find((e) => e.reason === 'BackOff');
  assert.deepEqual(
    [backOff?.type, backOff?.message, (backOff?.count ?? 0) > 1],
    ['Warning', `Back-off restarting failed container c in pod ${who}`, true],
  );
});
