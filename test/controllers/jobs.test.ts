/** Jobs and CronJobs in virtual time against the real API server; daily ones and the TTL of ended jobs are in `test/cluster/time`. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Job, JobSpec, Pod } from '../../src/api/types/index.gen.ts';
import { eventsOf, kubelet, listPods, ns, setPhase } from './pods.ts';
import type { PodWorld } from './pods.ts';
import { quiet, world } from './world.ts';

const tracking = 'batch.kubernetes.io/job-tracking';

const jobOf = (spec: Partial<JobSpec>, name = 'job'): Job => ({
  metadata: { name, namespace: ns },
  spec: { template: { spec: { restartPolicy: 'Never', containers: [{ name: 'c', image: 'i' }] } }, ...spec },
});

async function create(w: PodWorld, spec: Partial<JobSpec>): Promise<void> {
  await w.admin.batch.jobs.create(jobOf(spec));
  await w.clock.advance(0);
}

const get = (w: PodWorld, name = 'job'): Promise<Job> => w.admin.batch.jobs.get(name, ns);
const conditions = (job: Job): string[] =>
  (job.status?.conditions ?? []).map((c) => `${c.type}=${c.status} ${c.reason} ${c.message}`);
const active = async (w: PodWorld): Promise<Pod[]> =>
  (await listPods(w)).filter(
    (p) => p.metadata.deletionTimestamp === undefined && !/Succ|Fail/.test(p.status?.phase ?? ''),
  );
const indexOf = (p: Pod): string => p.metadata.annotations!['batch.kubernetes.io/job-completion-index']!;

test('a job runs its completions within its parallelism and counts every pod once', async () => {
  await using w = await world();
  await create(w, { completions: 5, parallelism: 2 });
  let pods = await listPods(w);
  assert.equal(pods.length, 2);
  assert.ok(pods.every((p) => p.metadata.finalizers?.includes(tracking) && p.metadata.name!.startsWith('job-')));
  assert.equal((await get(w)).status?.active, 2);
  assert.equal((await get(w)).status?.ready, 0);
  await kubelet(w);
  assert.equal((await get(w)).status?.ready, 2);
  for (let i = 0; i < 5; i++) {
    const [pod] = await active(w);
    await setPhase(w, pod!, 'Succeeded');
    await w.clock.advance(0);
    assert.ok((await active(w)).length <= Math.min(2, 4 - i));
  }
  const job = await get(w);
  assert.deepEqual(job.status!.uncountedTerminatedPods, {});
  assert.equal(job.status!.succeeded, 5);
  assert.equal(job.status!.active ?? 0, 0);
  assert.deepEqual(conditions(job), [
    'SuccessCriteriaMet=True CompletionsReached Reached expected number of succeeded pods',
    'Complete=True CompletionsReached Reached expected number of succeeded pods',
  ]);
  assert.ok(job.status!.completionTime !== undefined);
  pods = await listPods(w);
  assert.equal(pods.length, 5);
  assert.ok(pods.every((p) => p.metadata.finalizers === undefined));
  const events = await eventsOf(w, 'Job', 'job');
  assert.equal(events.filter((e) => e.startsWith('Normal SuccessfulCreate Created pod: job-')).length, 5);
  assert.equal(events.at(-1), 'Normal Completed Job completed');
  quiet(w);
});

test('failures are tried again after 10 s, 20 s, 40 s, until backoffLimit', async () => {
  await using w = await world();
  await create(w, { backoffLimit: 3 });
  const waits: number[] = [];
  for (let i = 0; i < 3; i++) {
    await setPhase(w, (await active(w))[0]!, 'Failed');
    let waited = 0;
    await w.clock.advance(0);
    while ((await active(w)).length === 0 && waited < 300) {
      await w.clock.advance(1000);
      waited++;
    }
    waits.push(waited);
  }
  assert.deepEqual(waits, [10, 20, 40]);
  assert.equal((await get(w)).status?.failed, 3);
  await setPhase(w, (await active(w))[0]!, 'Failed');
  await w.clock.advance(0);
  const job = await get(w);
  assert.equal(job.status?.failed, 4);
  assert.deepEqual(conditions(job), [
    'FailureTarget=True BackoffLimitExceeded Job has reached the specified backoff limit',
    'Failed=True BackoffLimitExceeded Job has reached the specified backoff limit',
  ]);
  assert.equal(
    (await eventsOf(w, 'Job', 'job')).at(-1),
    'Warning BackoffLimitExceeded Job has reached the specified backoff limit',
  );
  quiet(w);
});

test('an indexed job fills its indexes; failures count by index', async () => {
  await using w = await world();
  await create(w, {
    completionMode: 'Indexed',
    completions: 4,
    parallelism: 4,
    backoffLimitPerIndex: 1,
    maxFailedIndexes: 2,
  });
  let pods = await listPods(w);
  assert.deepEqual(pods.map(indexOf), ['0', '1', '2', '3']);
  assert.match(pods[2]!.metadata.name!, /^job-2-\w{5}$/);
  assert.equal(pods[2]!.spec?.hostname, 'job-2');
  assert.equal(pods[2]!.metadata.labels?.['batch.kubernetes.io/job-completion-index'], '2');
  assert.equal(pods[2]!.spec?.containers[0]?.env?.[0]?.name, 'JOB_COMPLETION_INDEX');
  for (const i of [0, 2, 3]) await setPhase(w, pods[i]!, 'Succeeded');
  await setPhase(w, pods[1]!, 'Failed');
  await w.clock.advance(0);
  assert.equal((await get(w)).status?.completedIndexes, '0,2,3');
  assert.equal((await active(w)).length, 0, 'the index waits for its back-off');
  await w.clock.advance(10_000);
  pods = await active(w);
  assert.deepEqual(pods.map(indexOf), ['1']);
  assert.equal(pods[0]!.metadata.annotations!['batch.kubernetes.io/job-index-failure-count'], '1');
  await setPhase(w, pods[0]!, 'Failed');
  await w.clock.advance(0);
  const job = await get(w);
  assert.equal(job.status?.failedIndexes, '1');
  assert.equal(job.status?.failed, 2);
  assert.equal(conditions(job).at(-1), 'Failed=True FailedIndexes Job has failed indexes');
  quiet(w);
});

test('the success policy ends an indexed job early', async () => {
  await using w = await world();
  await create(w, {
    completionMode: 'Indexed',
    completions: 5,
    parallelism: 5,
    successPolicy: { rules: [{ succeededIndexes: '1-3', succeededCount: 1 }] },
  });
  const pods = await listPods(w);
  await setPhase(w, pods[0]!, 'Succeeded');
  await w.clock.advance(0);
  assert.equal((await active(w)).length, 4);
  await setPhase(w, pods[2]!, 'Succeeded');
  await w.clock.advance(0);
  await kubelet(w);
  const job = await get(w);
  assert.equal(job.status?.completedIndexes, '0,2');
  assert.deepEqual(conditions(job), [
    'SuccessCriteriaMet=True SuccessPolicy Matched rules at index 0',
    'Complete=True SuccessPolicy Matched rules at index 0',
  ]);
  assert.equal((await active(w)).length, 0);
  quiet(w);
});

test('the failure policy ignores disruptions and fails the job on an exit code', async () => {
  await using w = await world();
  await create(w, {
    backoffLimit: 0,
    parallelism: 2,
    completions: 2,
    podFailurePolicy: {
      rules: [
        { action: 'Ignore', onPodConditions: [{ type: 'DisruptionTarget', status: 'True' }] },
        { action: 'FailJob', onExitCodes: { containerName: 'c', operator: 'In', values: [42] } },
      ],
    },
  });
  await setPhase(w, (await active(w))[0]!, 'Failed', { condition: 'DisruptionTarget', exitCode: 137 });
  await w.clock.advance(600_000);
  assert.equal((await active(w)).length, 2, 'it is replaced');
  assert.equal((await get(w)).status?.failed ?? 0, 0);
  const doomed = (await active(w))[0]!;
  await setPhase(w, doomed, 'Failed', { exitCode: 42 });
  await w.clock.advance(0);
  await kubelet(w);
  const job = await get(w);
  assert.deepEqual(
    job.status?.conditions?.map((c) => c.type),
    ['FailureTarget', 'Failed'],
  );
  assert.equal(
    conditions(job)[1],
    `Failed=True PodFailurePolicy Container c for pod default/${doomed.metadata.name} failed with exit code 42 matching FailJob rule at index 1`,
  );
  quiet(w);
});

test('suspend, resume and the active deadline', async () => {
  await using w = await world();
  await create(w, { suspend: true, activeDeadlineSeconds: 60, parallelism: 3, completions: 3 });
  assert.equal((await listPods(w)).length, 0);
  let job = await get(w);
  assert.deepEqual(conditions(job), ['Suspended=True JobSuspended Job suspended']);
  assert.equal(job.status?.startTime, undefined);
  await w.clock.advance(100_000);
  await w.admin.batch.jobs.patch('job', ns, 'merge', { spec: { suspend: false } });
  await w.clock.advance(0);
  job = await get(w);
  assert.deepEqual(conditions(job), ['Suspended=False JobResumed Job resumed']);
  assert.equal((await active(w)).length, 3);
  await w.admin.batch.jobs.patch('job', ns, 'merge', { spec: { suspend: true } });
  await w.clock.advance(0);
  assert.equal((await listPods(w)).length, 0);
  assert.equal((await get(w)).status?.failed ?? 0, 0, 'what suspension deletes is no failure');
  const change = (container: object) =>
    w.admin.batch.jobs.patch('job', ns, 'strategic', {
      spec: { template: { spec: { nodeSelector: { a: 'b' }, containers: [{ name: 'c', ...container }] } } },
    });
  await change({ resources: { requests: { cpu: '2' } } });
  await assert.rejects(change({ image: 'other' }), /spec\.template\.spec: Invalid value: .*: field is immutable/);
  await w.admin.batch.jobs.patch('job', ns, 'merge', { spec: { suspend: false } });
  await w.clock.advance(59_000);
  assert.equal((await active(w)).length, 3);
  assert.equal((await active(w))[0]!.spec!.containers[0]!.resources?.requests?.['cpu'], '2');
  await assert.rejects(change({ resources: { requests: { cpu: '3' } } }), /spec\.template: Invalid value/);
  await w.clock.advance(2000);
  await kubelet(w);
  job = await get(w);
  assert.equal(conditions(job).at(-1), 'Failed=True DeadlineExceeded Job was active longer than specified deadline');
  const events = await eventsOf(w, 'Job', 'job');
  assert.ok(events.includes('Normal Suspended Job suspended') && events.includes('Normal Resumed Job resumed'));
  quiet(w);
});

test('podReplacementPolicy Failed waits for the end of a pod in deletion; deleting the job frees its pods', async () => {
  await using w = await world();
  await w.admin.core.nodes.create({ metadata: { name: 'n1' } });
  await create(w, { podReplacementPolicy: 'Failed' });
  const [pod] = await active(w);
  await w.admin.core.pods.createSubresource(pod!.metadata.name!, ns, 'binding', {
    apiVersion: 'v1',
    kind: 'Binding',
    metadata: { name: pod!.metadata.name },
    target: { kind: 'Node', name: 'n1' },
  });
  await kubelet(w);
  await w.admin.core.pods.delete(pod!.metadata.name!, ns);
  await w.clock.advance(5000);
  assert.equal((await active(w)).length, 0);
  assert.equal((await get(w)).status?.terminating, 1);
  await setPhase(w, pod!, 'Failed');
  await kubelet(w);
  await w.clock.advance(10_000);
  assert.equal((await active(w)).length, 1);
  await w.admin.batch.jobs.delete('job', ns, { propagationPolicy: 'Background' });
  await w.clock.advance(1000);
  await kubelet(w);
  await w.clock.advance(1000);
  assert.deepEqual(
    (await listPods(w)).map((p) => p.metadata.finalizers),
    [],
  );
  quiet(w);
});

test('concurrency policies, suspension and missed starts', async () => {
  await using w = await world();
  const minute = 60_000;
  const make = (name: string, spec: Record<string, unknown>) =>
    w.admin.batch.cronjobs.create({
      metadata: { name, namespace: ns },
      spec: { schedule: '* * * * *', jobTemplate: { spec: jobOf({}).spec! }, ...spec },
    });
  await make('allow', {});
  await make('forbid', { concurrencyPolicy: 'Forbid' });
  await make('replace', { concurrencyPolicy: 'Replace' });
  await make('late', { suspend: true, startingDeadlineSeconds: 10 });
  await make('many', { suspend: true });
  await w.clock.advance(3 * minute + 500);
  const jobs = async (name: string): Promise<string[]> =>
    (await w.admin.batch.jobs.list({ namespace: ns })).items
      .map((j) => j.metadata.name!)
      .filter((n) => n.startsWith(`${name}-`));
  assert.equal((await jobs('allow')).length, 3);
  assert.equal((await jobs('forbid')).length, 1);
  assert.equal((await jobs('replace')).length, 1);
  assert.equal((await jobs('late')).length, 0);
  assert.ok(
    (await eventsOf(w, 'CronJob', 'forbid')).includes(
      'Normal JobAlreadyActive Not starting job because prior execution is running and concurrency policy is Forbid',
    ),
  );
  for (const name of ['allow', 'forbid', 'replace'])
    await w.admin.batch.cronjobs.delete(name, ns, { propagationPolicy: 'Background' });
  await w.clock.advance(120 * minute + 30_000);
  await w.admin.batch.cronjobs.patch('late', ns, 'merge', { spec: { suspend: false } });
  await w.admin.batch.cronjobs.patch('many', ns, 'merge', { spec: { suspend: false } });
  await w.clock.advance(0);
  assert.equal((await jobs('late')).length, 0, 'the last start is further back than the deadline');
  assert.equal((await jobs('many')).length, 1, 'of all missed starts the last one is made up for');
  assert.match((await eventsOf(w, 'CronJob', 'many'))[0]!, /^Warning TooManyMissedTimes too many missed start times/);
  await w.clock.advance(minute);
  assert.equal((await jobs('late')).length, 1);
  assert.equal((await jobs('many')).length, 2);
  quiet(w);
});
