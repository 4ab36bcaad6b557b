/** The API server through TLS: creates, gets, lists, memory (needs h2load and the bundle). */
import type { BenchOptions, BenchResult } from './run.ts';
import { besideRows } from './support/beside.ts';
import { median } from './support/median.ts';
import type { LoadResult } from './support/server.ts';
import { benchServer, load } from './support/server.ts';

const configMap = JSON.stringify({
  apiVersion: 'v1',
  kind: 'ConfigMap',
  metadata: { generateName: 'bench-' },
  data: { value: 'x'.repeat(900) },
});

function pod(): string {
  return JSON.stringify({
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { generateName: 'bench-', labels: { app: 'bench', tier: 'load' } },
    spec: {
      schedulerName: 'nobody',
      containers: [
        {
          name: 'main',
          image: 'registry.example/team/app:1.2.3',
          ports: [{ containerPort: 8080 }],
          env: [{ name: 'MODE', value: 'fast' }],
          resources: { requests: { cpu: '100m', memory: '64Mi' } },
        },
      ],
    },
  });
}

export async function run(options: BenchOptions): Promise<readonly BenchResult[]> {
  const { idleSeconds } = options;
  const out: BenchResult[] = [];
  const server = await benchServer(['--nodes', '0']);
  try {
    await server.json('POST', '/api/v1/namespaces', { metadata: { name: 'pods' } });
    await server.json('POST', '/api/v1/namespaces', { metadata: { name: 'maps' } });
    const take = async (
      name: string,
      goal: string,
      request: Parameters<typeof load>[1],
      runs = options.runs ?? 3,
    ): Promise<LoadResult> => {
      const results: LoadResult[] = [];
      for (let i = 0; i < runs; i++) results.push(await load(server, request));
      const m = (f: (r: LoadResult) => number): number => median(results.map(f));
      out.push({ name, value: m((r) => r.requestsPerSecond), unit: '/s', goal });
      out.push({ name: `${name}: server CPU`, value: m((r) => r.cpuMicros), unit: 'µs each' });
      out.push(
        ...besideRows(
          name,
          results.map((r) => r.beside),
        ),
      );
      const failed = results.reduce((s, r) => s + r.failed, 0);
      if (failed > 0) out.push({ name, value: failed, unit: '', failed: `${failed} requests were not answered well` });
      return results.at(-1)!;
    };
    const maps = '/api/v1/namespaces/maps/configmaps';
    const pods = '/api/v1/namespaces/pods/pods';
    await load(server, { path: maps, requests: 4000, body: configMap });
    await take('create ConfigMap (1 KB), 100 in flight', '6,000 or more', {
      path: maps,
      requests: 12_000,
      body: configMap,
    });
    await take(
      'create ConfigMap, one client',
      '',
      { path: maps, requests: 1000, body: configMap, clients: 1, streams: 1 },
      1,
    );
    await take('create Pod, 100 in flight', '3,000 or more', { path: pods, requests: 6000, body: pod() });
    const first = (await server.json<{ items: { metadata: { name: string } }[] }>('GET', `${maps}?limit=1`)).items[0]!;
    await take('get ConfigMap', '20,000 or more', { path: `${maps}/${first.metadata.name}`, requests: 60_000 });
    const have =
      (await server.json<{ metadata: { remainingItemCount?: number } }>('GET', `${pods}?limit=1`)).metadata
        .remainingItemCount ?? 0;
    if (have < 20_000) await load(server, { path: pods, requests: 20_000 - have, body: pod() });
    for (const [name, headers, goal] of [
      ['JSON', [], '400 MB/s or more'],
      ['gzip', ['accept-encoding: gzip'], ''],
      ['Table', ['accept: application/json;as=Table;g=meta.k8s.io;v=v1'], ''],
    ] as const) {
      const results: LoadResult[] = [];
      for (let i = 0; i < (options.runs ?? 3); i++)
        results.push(await load(server, { path: pods, requests: 20, headers, clients: 2, streams: 1 }));
      const rate = median(results.map((r) => r.requestsPerSecond));
      out.push({
        name: `list of 20,000 pods, ${name}`,
        value: median(results.map((r) => r.megabytesPerSecond)),
        unit: 'MB/s',
        goal,
      });
      out.push({ name: `list of 20,000 pods, ${name}`, value: rate * 20_000, unit: 'objects/s' });
      const bytes = median(results.map((r) => (r.megabytesPerSecond * 2 ** 20) / r.requestsPerSecond / 20_000));
      out.push({ name: `list of 20,000 pods, ${name}: on the wire`, value: bytes, unit: 'B an object' });
      out.push(
        ...besideRows(
          `list of 20,000 pods, ${name}`,
          results.map((r) => r.beside),
        ),
      );
    }
    const left =
      40_000 -
      ((await server.json<{ metadata: { remainingItemCount?: number } }>('GET', `${maps}?limit=1`)).metadata
        .remainingItemCount ?? 0);
    if (left > 0) await load(server, { path: maps, requests: left, body: configMap });
    await new Promise((r) => setTimeout(r, idleSeconds * 1000));
    const memory = server.memory();
    out.push({
      name: `memory, 20,000 pods and 40,000 ConfigMaps, anonymous, after ${idleSeconds} s idle`,
      value: memory.anonymous,
      unit: 'MiB',
      goal: '700 or less',
    });
    out.push({ name: "the engine's pages mapped beside it", value: memory.engine, unit: 'MiB' });
  } finally {
    await server.dispose();
  }
  return out;
}
