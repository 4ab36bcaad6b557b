/**
 * The API server through TLS: creates, gets, server-side apply, lists, memory (needs h2load and the bundle). It runs with its store
 * alone. Where upstream's kube-apiserver and etcd are named (`support/upstream.ts`), each figure is taken of both, in turns.
 */
import type { BenchOptions, BenchResult } from './run.ts';
import type { Beside } from './support/beside.ts';
import { besideRows } from './support/beside.ts';
import { median } from './support/median.ts';
import { sendRequests } from './support/requests.ts';
import type { BenchServer, LoadResult } from './support/server.ts';
import { apiServerAlone, benchServer, load } from './support/server.ts';
import { upstreamServer } from './support/upstream.ts';

const configMap = JSON.stringify({
  apiVersion: 'v1',
  kind: 'ConfigMap',
  metadata: { generateName: 'bench-' },
  data: { value: 'x'.repeat(900) },
});

const podSpec = {
  containers: [
    {
      name: 'main',
      image: 'registry.example/team/app:1.2.3',
      ports: [{ containerPort: 8080 }],
      env: [{ name: 'MODE', value: 'fast' }],
      resources: { requests: { cpu: '100m', memory: '64Mi' } },
    },
  ],
};

const pod = JSON.stringify({
  apiVersion: 'v1',
  kind: 'Pod',
  metadata: { generateName: 'bench-', labels: { app: 'bench', tier: 'load' } },
  spec: { schedulerName: 'nobody', ...podSpec },
});

function deployment(name: string, image: string): string {
  return JSON.stringify({
    apiVersion: 'apps/v1',
    kind: 'Deployment',
    metadata: { name, labels: { app: 'bench' } },
    spec: {
      replicas: 3,
      selector: { matchLabels: { app: 'bench' } },
      template: {
        metadata: { labels: { app: 'bench', tier: 'load' } },
        spec: { containers: [{ ...podSpec.containers[0], image }] },
      },
    },
  });
}

const maps = '/api/v1/namespaces/maps/configmaps';
const pods = '/api/v1/namespaces/pods/pods';
const deployments = '/apis/apps/v1/namespaces/maps/deployments';
const applied = '?fieldManager=bench&force=true';

/** The figures of one load. */
interface Taken {
  readonly perSecond: number;
  readonly cpuMicros: number;
  readonly failed: number;
  readonly beside?: Beside;
}

class Both {
  readonly #servers: readonly BenchServer[];
  readonly #runs: number;
  readonly rows: BenchResult[] = [];

  constructor(servers: readonly BenchServer[], runs: number) {
    this.#servers = servers;
    this.#runs = runs;
  }

  /** One after the other, as often as there are runs: by server. */
  async inTurns<T>(measure: (server: BenchServer) => Promise<T>, runs = this.#runs): Promise<T[][]> {
    const results: T[][] = this.#servers.map(() => []);
    for (let i = 0; i < runs; i++)
      for (const [n, server] of this.#servers.entries()) results[n]!.push(await measure(server));
    return results;
  }

  row<T>(name: string, unit: string, goal: string, results: readonly T[][], of: (result: T) => number): void {
    const [ours, theirs] = results.map((of_) => median(of_.map(of)));
    this.rows.push({ name, value: ours!, unit, ...(theirs === undefined ? {} : { upstream: theirs }), goal });
  }

  /** What was not answered well is told, and whose. */
  failed<T>(name: string, results: readonly T[][], of: (result: T) => number): void {
    for (const [n, whose] of ['', ' (upstream)'].entries()) {
      const sum = results[n]?.reduce((s, r) => s + of(r), 0) ?? 0;
      if (sum > 0) this.rows.push({ name: name + whose, value: sum, unit: '', failed: `${sum} requests failed` });
    }
  }

  async take(
    name: string,
    goal: string,
    measure: (server: BenchServer) => Promise<Taken>,
    runs?: number,
  ): Promise<void> {
    const results = await this.inTurns(measure, runs);
    this.row(name, '/s', goal, results, (r) => r.perSecond);
    this.row(`${name}: server CPU`, 'µs each', '', results, (r) => r.cpuMicros);
    const [ours, theirs] = results.map((all) => all.flatMap((r) => r.beside ?? []));
    if (ours!.length > 0)
      for (const [i, row] of besideRows(name, ours!).entries()) {
        const upstream = theirs === undefined ? Number.NaN : besideRows(name, theirs)[i]!.value;
        this.rows.push(Number.isNaN(upstream) ? row : { ...row, upstream });
      }
    this.failed(name, results, (r) => r.failed);
  }
}

function h2load(request: Parameters<typeof load>[1]): (server: BenchServer) => Promise<Taken> {
  return async (server) => {
    const result = await load(server, request);
    return { ...result, perSecond: result.requestsPerSecond };
  };
}

/** Server-side apply, each request with a number of its own; numbers go on from load to load. */
function apply(count: number, path: string, body: string): (server: BenchServer) => Promise<Taken> {
  const next = new Map<BenchServer, number>();
  return async (server) => {
    const from = next.get(server) ?? 0;
    next.set(server, from + count);
    const before = server.cpuSeconds();
    const result = await sendRequests(server, {
      method: 'PATCH',
      path: path + applied,
      body,
      type: 'application/apply-patch+yaml',
      from,
      count,
    });
    return {
      perSecond: count / result.seconds,
      cpuMicros: ((server.cpuSeconds() - before) * 1e6) / count,
      failed: result.failed,
    };
  };
}

async function count(server: BenchServer, path: string): Promise<number> {
  const list = await server.json<{ items: unknown[]; metadata: { remainingItemCount?: number } }>(
    'GET',
    `${path}?limit=1`,
  );
  return list.items.length + (list.metadata.remainingItemCount ?? 0);
}

async function fill(server: BenchServer, path: string, body: string, wanted: number): Promise<void> {
  const missing = wanted - (await count(server, path));
  if (missing > 0) await load(server, { path, requests: missing, body });
}

async function prepare(server: BenchServer): Promise<void> {
  for (const name of ['pods', 'maps']) {
    await server.json('POST', '/api/v1/namespaces', { metadata: { name } });
    // No controller makes it.
    await server.json('POST', `/api/v1/namespaces/${name}/serviceaccounts`, { metadata: { name: 'default' } });
  }
  await load(server, { path: maps, requests: 4000, body: configMap });
  await load(server, { path: pods, requests: 1000, body: pod });
}

const table = 'accept: application/json;as=Table;g=meta.k8s.io;v=v1';
const protobuf = 'accept: application/vnd.kubernetes.protobuf';
const gzip = 'accept-encoding: gzip';
const listed = 20_000;

async function lists(both: Both): Promise<void> {
  await both.inTurns((server) => fill(server, pods, pod, listed), 1);
  for (const [form, headers, goal] of [
    ['JSON', [], '600 MB/s or more'],
    ['protobuf', [protobuf], ''],
    ['Table', [table], ''],
    ['JSON, gzip', [gzip], ''],
    ['protobuf, gzip', [protobuf, gzip], ''],
  ] as const) {
    const name = `list of 20,000 pods, ${form}`;
    const results = await both.inTurns((server) =>
      load(server, { path: pods, requests: 10, headers, clients: 2, streams: 1 }),
    );
    both.row(name, 'MB/s', goal, results, (r) => r.megabytesPerSecond);
    both.row(`${name}: time`, 'µs an object', '', results, (r) => 1e6 / (r.requestsPerSecond * listed));
    both.row(`${name}: server CPU`, 'µs an object', '', results, (r) => r.cpuMicros / listed);
    const onWire = (r: LoadResult): number => (r.megabytesPerSecond * 2 ** 20) / r.requestsPerSecond / listed;
    both.row(`${name}: on the wire`, 'B an object', '', results, onWire);
    both.rows.push(
      ...besideRows(
        name,
        results[0]!.map((r) => r.beside),
      ),
    );
    both.failed(name, results, (r) => r.failed);
  }
}

export async function run(options: BenchOptions): Promise<readonly BenchResult[]> {
  const { idleSeconds } = options;
  const servers = [await benchServer(apiServerAlone)];
  try {
    const upstream = await upstreamServer();
    if (upstream !== undefined) servers.push(upstream);
    const both = new Both(servers, options.runs ?? 3);
    await both.inTurns(prepare, 1);
    const creates = h2load({ path: maps, requests: 6000, body: configMap });
    await both.take('create ConfigMap (1 KB), 100 in flight', '9,000 or more', creates);
    const one = h2load({ path: maps, requests: 1000, body: configMap, clients: 1, streams: 1 });
    await both.take('create ConfigMap, one client', '1,700 or more', one);
    await both.take('create Pod, 100 in flight', '4,800 or more', h2load({ path: pods, requests: 5000, body: pod }));
    const name = 'server-side apply of a Deployment, 100 in flight';
    await both.take(`${name}: creates`, '', apply(1000, `${deployments}/app-%n`, deployment('app-%n', 'app:1')));
    const path = `${deployments}/app-%m`;
    await both.take(`${name}: changes the image`, '2,000 or more', apply(3000, path, deployment('app-%m', 'app:%n')));
    const same = apply(3000, path, deployment('app-%m', 'app:same'));
    await both.inTurns(same, 1);
    await both.take(`${name}: changes nothing`, '', same);
    await both.inTurns(async (server) => {
      await server.json('POST', maps, { metadata: { name: 'one' }, data: { value: 'x'.repeat(900) } });
    }, 1);
    await both.take('get ConfigMap', '28,000 or more', h2load({ path: `${maps}/one`, requests: 40_000 }));
    await lists(both);
    await both.inTurns((server) => fill(server, maps, configMap, 42_000), 1);
    await new Promise((r) => setTimeout(r, idleSeconds * 1000));
    const memory = await both.inTurns(async (server) => server.memory(), 1);
    const what = `memory, 20,000 pods and 42,000 ConfigMaps, anonymous, after ${idleSeconds} s idle`;
    both.row(what, 'MiB', '600 or less', memory, (m) => m.anonymous);
    both.row("the engine's pages mapped beside it", 'MiB', '', memory, (m) => m.engine);
    return both.rows;
  } finally {
    for (const server of servers) await server.dispose();
  }
}
