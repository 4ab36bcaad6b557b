/**
 * Names over UDP: `knarr dns` beside a cluster of 1,000 Services, most questions for names that it knows, some for names that nobody
 * has asked for before, with and without Services that change meanwhile; and the name server inside `knarr up`, which shares its
 * thread with everything else (needs the bundle). The load generator is a process of its own on the same cores.
 */
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import type { BenchOptions, BenchResult } from './run.ts';
import type { DnsLoad, DnsLoadOptions } from './support/dns-load.ts';
import { dnsLoad } from './support/dns-load.ts';
import { median } from './support/median.ts';
import { cpuSecondsOf, memoryOf } from './support/memory.ts';
import type { BenchServer } from './support/server.ts';
import { benchServer } from './support/server.ts';
import { bundle } from '../test/support/knarr.ts';

const services = 1000;
const seconds = 5;
const sockets = 8;
const inFlight = 16;
/** Of a hundred questions so many are for names never asked for before. */
const fresh = 10;
const changesPerSecond = 50;

interface NameServer {
  readonly address: string;
  readonly port: number;
  readonly pid: number;
}

/** Services with an address each, every tenth headless with endpoints. */
async function fill(server: BenchServer): Promise<void> {
  const create = async (i: number): Promise<void> => {
    const headless = i % 10 === 0;
    await server.json('POST', '/api/v1/namespaces/default/services', {
      metadata: { name: `s${i}` },
      spec: { ...(headless ? { clusterIP: 'None' } : {}), ports: [{ name: 'http', port: 80 }] },
    });
    if (!headless) return;
    await server.json('POST', '/apis/discovery.k8s.io/v1/namespaces/default/endpointslices', {
      metadata: { name: `s${i}-a`, labels: { 'kubernetes.io/service-name': `s${i}` } },
      addressType: 'IPv4',
      ports: [{ name: 'http', port: 80, protocol: 'TCP' }],
      endpoints: [1, 2, 3].map((n) => ({ addresses: [`10.200.${i % 250}.${n}`], conditions: { ready: true } })),
    });
  };
  for (let i = 0; i < services; i += 20) await Promise.all(Array.from({ length: 20 }, (_, k) => create(i + k)));
}

/** What is asked for: addresses, and a named port of every fifth. */
function names(): DnsLoadOptions['known'] {
  return Array.from({ length: services }, (_, i) =>
    i % 5 === 4
      ? { name: `_http._tcp.s${i}.default.svc.cluster.local`, type: 33 }
      : { name: `s${i}.default.svc.cluster.local`, type: 1 },
  );
}

/** Ports and endpoints change, in time whatever the answers do; every name keeps having an answer. */
function changing(server: BenchServer): { readonly stop: () => Promise<number> } {
  let made = 0;
  let failed: unknown;
  const running = new Set<Promise<void>>();
  const change = async (n: number): Promise<void> => {
    const i = (n * 7) % services;
    if (i % 10 === 0)
      await server.json('PATCH', `/apis/discovery.k8s.io/v1/namespaces/default/endpointslices/s${i}-a`, {
        endpoints: [1, 2, 3].map((k) => ({ addresses: [`10.201.${n % 250}.${k}`], conditions: { ready: true } })),
      });
    else
      await server.json('PATCH', `/api/v1/namespaces/default/services/s${i}`, {
        spec: { ports: [{ name: 'http', port: 81 + (n % 1000), protocol: 'TCP' }] },
      });
    made++;
  };
  let n = 0;
  const timer = setInterval(() => {
    const one = change(n++).catch((error: unknown) => {
      failed ??= error;
    });
    running.add(one);
    void one.finally(() => running.delete(one));
  }, 1000 / changesPerSecond);
  return {
    async stop() {
      clearInterval(timer);
      await Promise.all(running);
      if (failed !== undefined) throw failed;
      return made;
    },
  };
}

/** `knarr dns` as a process of its own against the cluster. */
function startDns(kubeconfig: string): Promise<{ readonly server: NameServer; readonly stop: () => Promise<void> }> {
  const child: ChildProcess = spawn(
    process.execPath,
    [
      ...[bundle, 'dns', '--kubeconfig', kubeconfig, '--bind-address', '127.0.0.1', '--port', '0'],
      ...['--announce=false', '--health-bind-address=:0', '--ready-bind-address=:0', '--metrics-bind-address=:0'],
    ],
    { stdio: ['ignore', 'pipe', 'pipe'] },
  );
  const ended = new Promise<void>((resolve) => child.once('close', () => resolve()));
  let text = '';
  return new Promise((resolve, reject) => {
    const said = (d: Buffer): void => {
      text += d.toString();
      const m = /answering for \S+ on ([\d.]+):(\d+)/.exec(text);
      if (m === null) return;
      resolve({
        server: { address: m[1]!, port: Number(m[2]), pid: child.pid! },
        stop: async () => {
          child.kill('SIGTERM');
          await ended;
        },
      });
    };
    child.stdout!.on('data', said);
    child.stderr!.on('data', said);
    void ended.then(() => reject(new Error(`knarr dns ended:\n${text}`)));
  });
}

interface Run {
  readonly load: DnsLoad;
  readonly cpuMicros: number;
  readonly changes: number;
}

async function once(server: NameServer, share: number, seed: number, cluster?: BenchServer): Promise<Run> {
  const churn = cluster === undefined ? undefined : changing(cluster);
  const cpu = cpuSecondsOf(server.pid);
  const load = await dnsLoad({ ...server, seconds, sockets, window: inFlight, known: names(), fresh: share, seed });
  const cpuMicros = ((cpuSecondsOf(server.pid) - cpu) * 1e6) / load.answers;
  return { load, cpuMicros, changes: (await churn?.stop()) ?? 0 };
}

function rows(name: string, runs: readonly Run[], goal: string | undefined): BenchResult[] {
  const rate = median(runs.map((r) => r.load.answers / r.load.seconds));
  const lost = runs.reduce((n, r) => n + r.load.lost, 0);
  const wrong = runs.reduce((n, r) => n + r.load.wrong, 0);
  const changes = runs.reduce((n, r) => n + r.changes, 0);
  const example = runs.flatMap((r) => r.load.examples)[0];
  const bad = lost + wrong;
  const among = changes > 0 ? ` among ${changes} changes` : '';
  return [
    { name: `${name}: answers`, value: rate, unit: '/s', ...(goal === undefined ? {} : { goal }) },
    { name: `${name}: p99`, value: median(runs.map((r) => r.load.p99)), unit: 'ms' },
    { name: `${name}: CPU of the server`, value: median(runs.map((r) => r.cpuMicros)), unit: 'µs/answer' },
    {
      name: `${name}: answers lost or wrong${among}`,
      value: bad,
      unit: `of ${runs.reduce((n, r) => n + r.load.answers, 0).toLocaleString('en')}`,
      goal: 'none',
      ...(bad === 0
        ? {}
        : { failed: `${lost} lost, ${wrong} wrong${example === undefined ? '' : ` such as ${example}`}` }),
    },
  ];
}

export async function run(options: BenchOptions): Promise<readonly BenchResult[]> {
  const runs = options.runs ?? 3;
  const cluster = await benchServer();
  try {
    await fill(cluster);
    let seed = 0;
    const measure = async (server: NameServer, share: number, churn: boolean): Promise<Run[]> => {
      const out: Run[] = [];
      for (let i = 0; i < runs; i++)
        out.push(await once(server, share, (seed += 1_000_000), churn ? cluster : undefined));
      return out;
    };
    const alone = await startDns(cluster.kubeconfig);
    const results: BenchResult[] = [];
    try {
      // Warm, as a name server is that has run for a while.
      await once(alone.server, fresh, (seed += 1_000_000));
      results.push(...rows('knarr dns, known names', await measure(alone.server, 0, false), undefined));
      results.push(
        ...rows(`knarr dns, ${fresh} % new names`, await measure(alone.server, fresh, false), '60,000 or more'),
      );
      const churned = await measure(alone.server, fresh, true);
      results.push(
        ...rows(`knarr dns, ${fresh} % new names, ${changesPerSecond} changes/s`, churned, '60,000 or more'),
        { name: 'knarr dns: memory', value: memoryOf(alone.server.pid).anonymous, unit: 'MB' },
      );
    } finally {
      await alone.stop();
    }
    const slice = await cluster.json<{ ports: { name: string; port: number }[] }>(
      'GET',
      '/apis/discovery.k8s.io/v1/namespaces/kube-system/endpointslices/kube-dns-knarr',
    );
    const inside = {
      address: '127.0.0.1',
      port: slice.ports.find((p) => p.name === 'dns')!.port,
      pid: cluster.pids[0]!,
    };
    await once(inside, fresh, (seed += 1_000_000));
    results.push(
      ...rows(
        `inside knarr up, ${fresh} % new names, ${changesPerSecond} changes/s`,
        await measure(inside, fresh, true),
        undefined,
      ),
    );
    return results;
  } finally {
    await cluster.dispose();
  }
}
