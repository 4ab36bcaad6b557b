/** What a controller may make of a Job's status, over the wire. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { createWorkspace, startApiServer, startStore } from '../support/api-server.ts';
import type { TestStore, Workspace } from '../support/api-server.ts';
import type { Api, Json } from '../support/api.ts';

let work: Workspace;
let store: TestStore;

before(async () => {
  work = await createWorkspace();
  store = await startStore();
});

after(async () => {
  await store[Symbol.asyncDispose]();
  work.dispose();
});

const jobs = '/apis/batch/v1/namespaces/default/jobs';
const now = '2026-01-02T00:00:00Z';
const condition = (type: string, status = 'True'): Json => ({ type, status, lastTransitionTime: now });

async function create(api: Api, name: string, spec: Json): Promise<void> {
  const template = { spec: { restartPolicy: 'Never', containers: [{ name: 'c', image: 'i' }] } };
  const made = await api.create(jobs, { metadata: { name }, spec: { ...spec, template } });
  assert.equal(made.status, 201, made.text);
}

/** The messages of a status that is put, empty when it is taken. */
async function put(api: Api, name: string, status: Json): Promise<string[]> {
  const { body } = await api.get(`${jobs}/${name}`);
  const answer = await api.request('PUT', `${jobs}/${name}/status`, { ...body, status });
  if (answer.status === 200) return [];
  return answer.body.details.causes.map((c: Json) => `${c.field}: ${c.message}`);
}

test('a status is held against what it was and what the Job asks for', async () => {
  await using server = await startApiServer(work, store);
  const { api } = server;
  await create(api, 'elastic', { completions: 3, parallelism: 3, completionMode: 'Indexed' });
  assert.deepEqual(await put(api, 'elastic', { startTime: now, succeeded: 3, completedIndexes: '0-2' }), []);
  // Scaled down.
  assert.deepEqual(await put(api, 'elastic', { startTime: now, succeeded: 1, completedIndexes: '0' }), []);
  assert.deepEqual(
    await put(api, 'elastic', {
      startTime: '2026-01-03T00:00:00Z',
      succeeded: 1,
      completedIndexes: '0,5',
      failedIndexes: '1',
      uncountedTerminatedPods: { succeeded: ['a', 'a'] },
    }),
    [
      'status.uncountedTerminatedPods.succeeded[1]: Duplicate value: "a"',
      'status.completedIndexes: Invalid value: "0,5": error parsing completedIndexes: too large index: "5"',
      'status.failedIndexes: Invalid value: "1": cannot set non-null failedIndexes when backoffLimitPerIndex is null',
      'status.startTime: Invalid value: "2026-01-03T00:00:00Z": field is immutable for unsuspended job once set',
    ],
  );
  await create(api, 'plain', { completions: 3, parallelism: 1 });
  assert.deepEqual(await put(api, 'plain', { startTime: now, succeeded: 2 }), []);
  assert.deepEqual(await put(api, 'plain', { startTime: now, succeeded: 1 }), [
    'status.succeeded: Invalid value: 1: cannot decrease the succeeded counter',
  ]);
  // With nothing to do it never starts.
  const done = { completionTime: now, conditions: [condition('SuccessCriteriaMet'), condition('Complete')] };
  await create(api, 'nothing', { suspend: true, completions: 0 });
  assert.deepEqual(await put(api, 'nothing', done), []);
  await create(api, 'something', { completions: 1 });
  assert.deepEqual(await put(api, 'something', done), [
    'status.startTime: Required value: startTime is required for finished job',
  ]);
});

test('resources of a suspended Job are changed where the gate lets them', async () => {
  for (const on of [true, false]) {
    await using server = await startApiServer(work, store, [
      `--feature-gates=MutablePodResourcesForSuspendedJobs=${on}`,
    ]);
    const { api } = server;
    const name = on ? 'open' : 'closed';
    await create(api, name, { suspend: true });
    const { body } = await api.get(`${jobs}/${name}`);
    body.spec.template.spec.containers[0].resources = { requests: { cpu: '1' } };
    const changed = await api.request('PUT', `${jobs}/${name}`, body);
    assert.equal(changed.status, on ? 200 : 422, changed.text);
  }
});
