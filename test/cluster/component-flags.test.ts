/** Flags of scheduler and controller manager, each as a component of its own beside `knarr kube-apiserver`: their port, profiles, controllers. */
import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { connect } from 'node:tls';
import { Command } from 'commander';
import { SystemClock } from '../../src/base/clock.ts';
import { createLogger } from '../../src/base/logger.ts';
import { SystemRandom } from '../../src/base/random.ts';
import { componentCommands } from '../../src/cli/components.ts';
import type { ComponentCommand } from '../../src/cli/components/component.ts';
import { addCommand, normalizeArgs, type FlagValues } from '../../src/cli/flags.ts';
import { defaultValidity, ensurePki } from '../../src/cluster/pki.ts';
import {
  createWorkspace,
  startApiServer,
  startStore,
  type RunningApiServer,
  type TestStore,
  type Workspace,
} from '../support/api-server.ts';
import { connectApi, type Api, type Caller, type Json } from '../support/api.ts';
import { metricsIn, wrongFamilies, type ExpectedFamilies, type Metric } from '../support/metrics.ts';
import { freePort } from '../support/processes.ts';

let work: Workspace;
let etcd: TestStore;
let server: RunningApiServer;
let kubeconfig: string;

before(async () => {
  work = await createWorkspace();
  etcd = await startStore();
  const fronts = await ensurePki({
    now: Date.now(),
    random: new SystemRandom(),
    validity: defaultValidity,
    requests: [{ name: 'gateway', ca: 'front-proxy-ca', commonName: 'gateway', usages: ['client'] }],
  });
  for (const [name, text] of fronts) {
    if (!/gateway|front-proxy-ca/.test(name)) continue;
    work.pki.set(name, text);
    work.write(join('pki', name), text);
  }
  server = await startApiServer(work, etcd, ['--disable-admission-plugins=ServiceAccount']);
  kubeconfig = work.write('admin.conf', {
    apiVersion: 'v1',
    kind: 'Config',
    'current-context': 'c',
    clusters: [{ name: 'c', cluster: { server: server.url, 'certificate-authority': work.path('pki/ca.crt') } }],
    users: [
      {
        name: 'u',
        user: { 'client-certificate': work.path('pki/admin.crt'), 'client-key': work.path('pki/admin.key') },
      },
    ],
    contexts: [{ name: 'c', context: { cluster: 'c', user: 'u' } }],
  });
});

after(async () => {
  await server.stop();
  await etcd[Symbol.asyncDispose]();
  work.dispose();
});

interface RunningComponent extends AsyncDisposable {
  /** Its secure port; '' where it serves none. */
  readonly url: string;
  readonly log: readonly string[];
  /** Resolves when it ends by itself. */
  readonly ended: Promise<void>;
}

async function start(name: string, flags: readonly string[]): Promise<RunningComponent> {
  const command = componentCommands.find((c) => c.name === name) as ComponentCommand;
  let values: FlagValues | undefined;
  const program = new Command().exitOverride();
  addCommand(program, {
    ...command,
    run: (v) => {
      values = v;
      return Promise.resolve();
    },
  });
  await program.parseAsync(normalizeArgs([name, ...flags]), { from: 'user' });
  const clock = new SystemClock();
  const stop = new AbortController();
  const log: string[] = [];
  const said = Promise.withResolvers<string>();
  const ended = command.start(values!, {
    clock,
    random: new SystemRandom(),
    logger: createLogger({ level: 'info', now: () => clock.now(), sink: (r) => log.push(r.message) }),
    signal: stop.signal,
    say: (line) => said.resolve(line),
  });
  ended.then(() => said.resolve(''), said.reject);
  const url = /health on (\S+)/.exec(await said.promise)?.[1] ?? '';
  return {
    url,
    log,
    ended,
    async [Symbol.asyncDispose]() {
      stop.abort(new Error('stopped by the test'));
      await ended;
    },
  };
}

const alone = ['--leader-elect=false', '--bind-address=127.0.0.1'];

/** Asks until the answer will do. */
async function eventually<T>(ask: () => Promise<T>, fine: (answer: T) => boolean): Promise<T> {
  const clock = new SystemClock();
  for (let i = 0; ; i++) {
    const answer = await ask();
    if (fine(answer)) return answer;
    assert.ok(i < 300, JSON.stringify(answer));
    await clock.sleep(50);
  }
}

test('the port: proxies speak for others, certificates in a folder, versions of TLS, chosen metrics', async () => {
  const dir = work.path('scheduler');
  const port = await freePort();
  await using scheduler = await start('kube-scheduler', [
    `--kubeconfig=${kubeconfig}`,
    ...['authentication', 'authorization'].map((what) => `--${what}-kubeconfig=${kubeconfig}`),
    ...alone,
    `--secure-port=${port}`,
    `--client-ca-file=${work.path('pki/ca.crt')}`,
    `--requestheader-client-ca-file=${work.path('pki/front-proxy-ca.crt')}`,
    '--requestheader-allowed-names=gateway',
    `--cert-dir=${dir}`,
    '--tls-min-version=VersionTLS13',
    '--disabled-metrics=process_resident_memory_bytes',
    '--kube-api-qps=50',
  ]);
  const ca = readFileSync(`${dir}/kube-scheduler.crt`, 'utf8');
  assert.ok(existsSync(`${dir}/kube-scheduler.key`));
  const as = (caller: Caller): Api =>
    connectApi({ adminCredentials: { server: scheduler.url, certificateAuthority: ca } } as never, caller);
  const of = (name: string): Caller => ({
    certificate: work.pki.get(`${name}.crt`)!,
    key: work.pki.get(`${name}.key`)!,
  });
  const ask = async (caller: Caller, headers = {}): Promise<{ status: number; text: string }> => {
    const api = as(caller);
    const { status, text } = await api.request('GET', '/metrics', undefined, headers);
    api.close();
    return { status, text };
  };
  const admin = await ask(of('admin'));
  assert.equal(admin.status, 200);
  assert.match(admin.text, /^scheduler_pending_pods/m);
  assert.doesNotMatch(admin.text, /process_resident_memory_bytes/);
  assert.match((await ask(of('alice'))).text, /User \\"alice\\" cannot get path/);
  const jane = { 'X-Remote-User': 'jane', 'X-Remote-Group': 'system:masters' };
  assert.equal((await ask(of('gateway'), jane)).status, 200);
  assert.match((await ask(of('gateway'), { 'X-Remote-User': 'jane' })).text, /User \\"jane\\" cannot get path/);
  // Who is no proxy is nobody else.
  assert.match((await ask(of('alice'), jane)).text, /User \\"alice\\" cannot get path/);
  assert.ok(scheduler.log.some((line) => line.startsWith('--kube-api-qps has no effect: ')));
  await new Promise<void>((resolve, reject) => {
    connect({ host: '127.0.0.1', port, rejectUnauthorized: false, maxVersion: 'TLSv1.2' }, () =>
      reject(new Error('TLS 1.2 was taken')),
    ).once('error', () => resolve());
  });
});

/** What every process measures, and what rules and dashboards ask of these two. */
const ofBoth: ExpectedFamilies = {
  kubernetes_build_info: [
    'gauge',
    'build_date,compiler,git_commit,git_tree_state,git_version,go_version,major,minor,platform',
  ],
  leader_election_master_status: ['gauge', 'name'],
  process_cpu_seconds_total: ['counter', ''],
  process_open_fds: ['gauge', ''],
  process_resident_memory_bytes: ['gauge', ''],
  process_start_time_seconds: ['gauge', ''],
  rest_client_request_duration_seconds: ['histogram', 'host,verb'],
  rest_client_request_size_bytes: ['histogram', 'host,verb'],
  rest_client_requests_total: ['counter', 'code,host,method'],
  rest_client_response_size_bytes: ['histogram', 'host,verb'],
};

const ofManager: ExpectedFamilies = {
  ...ofBoth,
  cronjob_controller_job_creation_skew_duration_seconds: ['histogram', ''],
  job_controller_job_pods_finished_total: ['counter', 'completion_mode,result'],
  job_controller_job_sync_duration_seconds: ['histogram', 'action,completion_mode,result'],
  job_controller_job_syncs_total: ['counter', 'action,completion_mode,result'],
  job_controller_jobs_finished_total: ['counter', ''],
  node_collector_evictions_total: ['counter', ''],
  workqueue_adds_total: ['counter', 'name'],
  workqueue_depth: ['gauge', 'name'],
  workqueue_longest_running_processor_seconds: ['gauge', 'name'],
  workqueue_queue_duration_seconds: ['histogram', 'name'],
  workqueue_retries_total: ['counter', 'name'],
  workqueue_unfinished_work_seconds: ['gauge', 'name'],
  workqueue_work_duration_seconds: ['histogram', 'name'],
};

const ofScheduler: ExpectedFamilies = {
  ...ofBoth,
  scheduler_cache_size: ['gauge', 'type'],
  scheduler_framework_extension_point_duration_seconds: ['histogram', 'extension_point,profile,status'],
  scheduler_pending_pods: ['gauge', 'queue'],
  scheduler_pod_scheduling_attempts: ['histogram', ''],
  scheduler_pod_scheduling_sli_duration_seconds: ['histogram', 'attempts'],
  scheduler_preemption_attempts_total: ['counter', ''],
  scheduler_preemption_victims: ['histogram', ''],
  scheduler_queue_incoming_pods_total: ['counter', 'event,queue'],
  scheduler_schedule_attempts_total: ['counter', 'profile,result'],
  scheduler_scheduling_algorithm_duration_seconds: ['histogram', ''],
  scheduler_scheduling_attempt_duration_seconds: ['histogram', 'profile,result'],
  scheduler_unschedulable_pods: ['gauge', 'plugin,profile'],
};

test('what scheduler and controller manager measure', async () => {
  const { api } = server;
  const reviews = ['authentication', 'authorization'].map((what) => `--${what}-kubeconfig=${kubeconfig}`);
  const flags = [`--kubeconfig=${kubeconfig}`, ...reviews, ...alone, `--client-ca-file=${work.path('pki/ca.crt')}`];
  const ports = [await freePort(), await freePort()];
  await using scheduler = await start('kube-scheduler', [...flags, `--secure-port=${ports[0]}`]);
  await using manager = await start('kube-controller-manager', [
    ...flags,
    `--secure-port=${ports[1]}`,
    '--controllers=deployment-controller,replicaset-controller,job-controller,cronjob-controller',
  ]);
  const text = async ({ url }: RunningComponent, path = '/metrics'): Promise<string> => {
    const asked = connectApi({ adminCredentials: { server: url, certificateAuthority: '' } } as never, {
      certificate: work.pki.get('admin.crt')!,
      key: work.pki.get('admin.key')!,
      insecure: true,
    });
    const answer = await asked.get(path);
    asked.close();
    assert.equal(answer.status, 200, answer.text);
    return answer.text;
  };
  const value = (all: ReadonlyMap<string, Metric>, name: string, labels: Record<string, string>): number =>
    all
      .get(name)!
      .samples.filter((s) => Object.entries(labels).every(([k, v]) => s.labels[k] === v))
      .reduce((sum, s) => sum + s.value, 0);

  await api.create('/api/v1/nodes', {
    metadata: { name: 'measured' },
    status: { allocatable: { cpu: '1', memory: '1Gi', pods: '10' }, capacity: { cpu: '1', memory: '1Gi', pods: '10' } },
  });
  // Nobody tells that it is ready.
  await api.merge('/api/v1/nodes/measured', { spec: { taints: [] } });
  const resources = { requests: { cpu: '600m' }, limits: { cpu: '1' } };
  await api.create('/apis/apps/v1/namespaces/default/deployments', {
    metadata: { name: 'measured' },
    spec: {
      replicas: 2,
      selector: { matchLabels: { app: 'measured' } },
      template: {
        metadata: { labels: { app: 'measured' } },
        spec: { containers: [{ name: 'c', image: 'i', resources }] },
      },
    },
  });
  const profile = 'default-scheduler';
  const placed = await eventually(
    async () => metricsIn(await text(scheduler)),
    (all) => value(all, 'scheduler_unschedulable_pods', { plugin: 'NodeResourcesFit' }) === 1,
  );
  assert.deepEqual(wrongFamilies(placed, ofScheduler), []);
  const attempts = (result: string): number => value(placed, 'scheduler_schedule_attempts_total', { profile, result });
  assert.equal(attempts('scheduled'), 1);
  assert.ok(attempts('unschedulable') >= 1);
  assert.equal(value(placed, 'scheduler_pending_pods', { queue: 'unschedulable' }), 1);
  assert.equal(value(placed, 'scheduler_cache_size', { type: 'pods' }), 1);
  assert.equal(value(placed, 'scheduler_queue_incoming_pods_total', { event: 'UnschedulablePodAdd' }), 2);
  const bound = placed.get('scheduler_framework_extension_point_duration_seconds')!.samples;
  assert.ok(bound.some((s) => s.labels['extension_point'] === 'Bind' && s.labels['status'] === 'Success'));
  const asked = await text(scheduler, '/metrics/resources');
  assert.match(asked, /^# TYPE kube_pod_resource_request gauge$/m);
  assert.match(
    asked,
    /^kube_pod_resource_limit\{namespace="default",node="measured",pod="measured-\S+",priority="0",resource="cpu",scheduler="default-scheduler",unit="cores"\} 1$/m,
  );
  assert.equal(asked.match(/^kube_pod_resource_request\{.*\} 0\.6$/gm)?.length, 2);

  await api.create('/apis/batch/v1/namespaces/default/jobs', {
    metadata: { name: 'measured' },
    spec: { template: { spec: { restartPolicy: 'Never', containers: [{ name: 'c', image: 'i' }] } } },
  });
  const managed = await eventually(
    async () => metricsIn(await text(manager)),
    (all) => value(all, 'job_controller_job_syncs_total', { action: 'pods_created', result: 'success' }) === 1,
  );
  assert.deepEqual(wrongFamilies(managed, ofManager), []);
  assert.ok(value(managed, 'workqueue_adds_total', { name: 'replicaset' }) >= 1);
  const worked = managed.get('workqueue_work_duration_seconds')!.samples;
  assert.ok(worked.some((s) => s.labels['name'] === 'deployment' && s.labels['le'] === '+Inf' && s.value >= 1));
  assert.ok(value(managed, 'rest_client_requests_total', { code: '201', method: 'POST' }) >= 3);

  await manager[Symbol.asyncDispose]();
  await scheduler[Symbol.asyncDispose]();
  const apps = '/apis/apps/v1/namespaces/default';
  const core = '/api/v1/namespaces/default';
  const left = [
    '/apis/batch/v1/namespaces/default/jobs',
    `${apps}/deployments`,
    `${apps}/replicasets`,
    `${core}/pods`,
    `${core}/events`,
    '/api/v1/nodes',
  ];
  for (const path of left) assert.equal((await api.delete(`${path}?gracePeriodSeconds=0`)).status, 200);
});

test('profiles: a scheduler of another name, without some of the plugins', async () => {
  const { api } = server;
  const config = work.write('scheduler.yaml', {
    apiVersion: 'kubescheduler.config.k8s.io/v1',
    kind: 'KubeSchedulerConfiguration',
    clientConnection: { kubeconfig },
    leaderElection: { leaderElect: false },
    podInitialBackoffSeconds: 2,
    profiles: [
      { schedulerName: 'careful' },
      { schedulerName: 'bold', plugins: { filter: { disabled: [{ name: 'TaintToleration' }] } } },
    ],
  });
  const written = work.path('written.yaml');
  await (
    await start('kube-scheduler', [`--config=${config}`, `--write-config-to=${written}`])
  ).ended;
  assert.match(readFileSync(written, 'utf8'), /podInitialBackoffSeconds: 2\n.*schedulerName: bold\n/s);
  await api.create('/api/v1/nodes', {
    metadata: { name: 'n' },
    spec: { taints: [{ key: 'k', value: 'v', effect: 'NoSchedule' }] },
  });
  await api.request(
    'PATCH',
    '/api/v1/nodes/n/status',
    {
      status: { allocatable: { cpu: '4', memory: '4Gi', pods: '10' }, conditions: [{ type: 'Ready', status: 'True' }] },
    },
    { 'content-type': 'application/strategic-merge-patch+json' },
  );
  await api.merge('/api/v1/nodes/n', { spec: { taints: [{ key: 'k', value: 'v', effect: 'NoSchedule' }] } });
  const pods = '/api/v1/namespaces/default/pods';
  for (const schedulerName of ['careful', 'bold', 'nobody'])
    await api.create(pods, {
      metadata: { name: schedulerName },
      spec: { schedulerName, containers: [{ name: 'c', image: 'i' }] },
    });
  await using _ = await start('kube-scheduler', [`--config=${config}`, '--secure-port=0']);
  const read = async (name: string): Promise<Json> => (await api.get(`${pods}/${name}`)).body;
  await eventually(
    () => read('bold'),
    (pod) => pod.spec.nodeName === 'n',
  );
  const careful = await eventually(
    () => read('careful'),
    (pod) => pod.status.conditions !== undefined,
  );
  assert.match(careful.status.conditions[0].message, /had untolerated taint/);
  assert.equal((await read('nobody')).status.conditions, undefined);
  const events = await eventually(
    async () => (await api.get('/api/v1/namespaces/default/events')).body.items as Json[],
    (items) => items.some((e) => e.reason === 'Scheduled') && items.some((e) => e.reason === 'FailedScheduling'),
  );
  assert.deepEqual([...new Set(events.map((e) => e.reportingComponent || e.source.component))].toSorted(), [
    'bold',
    'careful',
  ]);
  const wrong = (profile: object): string =>
    work.write('wrong.yaml', {
      apiVersion: 'kubescheduler.config.k8s.io/v1',
      kind: 'KubeSchedulerConfiguration',
      profiles: [profile],
    });
  const refused = (file: string, why: RegExp): Promise<void> =>
    assert.rejects(async () => void (await start('kube-scheduler', [`--config=${file}`])), why);
  await refused(wrong({ plugins: { score: { enabled: [{ name: 'Nope' }] } } }), /ScorePlugin "Nope" does not exist/);
  await refused(wrong({ foo: 1 }), /strict decoding error: unknown field "profiles\[0\]\.foo"/);
});

test('controllers: ranges of nodes leave out that of Services, and no garbage is collected where that is not wanted', async () => {
  const { api } = server;
  await using manager = await start('kube-controller-manager', [
    `--kubeconfig=${kubeconfig}`,
    ...alone,
    '--secure-port=0',
    '--controllers=nodeipam,garbagecollector,deployment',
    '--allocate-node-cidrs',
    '--cluster-cidr=10.0.0.0/22',
    '--service-cluster-ip-range=10.0.0.0/23',
    '--enable-garbage-collector=false',
    '--concurrent-deployment-syncs=1',
    '--cloud-provider=external',
  ]);
  await api.create('/api/v1/nodes', { metadata: { name: 'm' } });
  const node = await eventually(
    async () => (await api.get('/api/v1/nodes/m')).body as Json,
    (n) => n.spec?.podCIDR !== undefined,
  );
  assert.match(node.spec.podCIDR, /^10\.0\.[23]\.0\/24$/);
  assert.ok(manager.log.some((line) => line.startsWith('--cloud-provider has no effect: ')));
  const maps = '/api/v1/namespaces/default/configmaps';
  const owner = await api.create(maps, { metadata: { name: 'owner' } });
  await api.create(maps, {
    metadata: {
      name: 'owned',
      ownerReferences: [{ apiVersion: 'v1', kind: 'ConfigMap', name: 'owner', uid: owner.body.metadata.uid }],
    },
  });
  await api.delete(`${maps}/owner`);
  await api.create('/apis/apps/v1/namespaces/default/deployments', {
    metadata: { name: 'd' },
    spec: {
      selector: { matchLabels: { a: 'b' } },
      template: { metadata: { labels: { a: 'b' } }, spec: { containers: [{ name: 'c', image: 'i' }] } },
    },
  });
  await eventually(
    async () => (await api.get('/apis/apps/v1/namespaces/default/replicasets')).body.items as Json[],
    (sets) => sets.length === 1,
  );
  assert.equal((await api.get(`${maps}/owned`)).status, 200);
  await assert.rejects(
    async () =>
      void (await start('kube-controller-manager', [
        '--cluster-cidr=10.0.0.0/22,fd00::/48',
        '--node-cidr-mask-size=24',
      ])),
    /usage of --node-cidr-mask-size is not allowed with dual-stack clusters/,
  );
});
