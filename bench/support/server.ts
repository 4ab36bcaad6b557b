/** A server of its own for a benchmark, `knarr up` or another, with what h2load and a probing client need. */
import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { Agent, request } from 'node:https';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { optionalComponents } from '../../src/cluster/components.ts';
import { startKnarr } from '../../test/support/knarr.ts';
import type { Beside } from './beside.ts';
import { beside, serverTarget } from './beside.ts';
import type { ProcessMeter } from './loop-delay.ts';
import { loopProbe } from './loop-delay.ts';
import type { Memory } from './memory.ts';
import { cpuSecondsOf, memoryOf } from './memory.ts';

export interface BenchServer {
  readonly url: string;
  /** The administrator's. */
  readonly kubeconfig: string;
  /** Its processes: upstream's are two, with the store. */
  readonly pids: readonly number[];
  /** PEM of who signed the server's certificate. */
  readonly ca: string;
  /** Of servers that run in Node. */
  readonly loop: ProcessMeter | undefined;
  /** A service account's token that may do everything: h2load shows no client certificates. */
  readonly token: string;
  memory(): Memory;
  /** User and system CPU seconds used so far. */
  cpuSeconds(): number;
  json<T>(method: string, path: string, body?: unknown): Promise<T>;
  /** The body of a GET as it is. */
  text(path: string): Promise<string>;
  dispose(): Promise<void>;
}

function field(text: string, name: string): string {
  return new RegExp(`${name}: (\\S+)`).exec(text)![1]!;
}

export interface ServedAt {
  readonly url: string;
  readonly kubeconfig: string;
  readonly pids: readonly number[];
  readonly loop: ProcessMeter | undefined;
  stop(): Promise<void>;
}

/** How long a server may take to answer. */
const startMs = 60_000;

/** A client of the administrator's, and a service account that may do everything. */
export async function clientOf(at: ServedAt): Promise<BenchServer> {
  const text = readFileSync(at.kubeconfig, 'utf8');
  const decode = (name: string): string => Buffer.from(field(text, name), 'base64').toString();
  const pem = {
    cert: decode('client-certificate-data'),
    key: decode('client-key-data'),
    ca: decode('certificate-authority-data'),
  };
  const agent = new Agent({ ...pem, keepAlive: true, maxSockets: 4 });
  const send = (method: string, path: string, body?: unknown): Promise<string> => {
    const payload = body === undefined ? undefined : JSON.stringify(body);
    const type = method === 'PATCH' ? 'application/merge-patch+json' : 'application/json';
    const headers = payload === undefined ? {} : { 'content-type': type, 'content-length': Buffer.byteLength(payload) };
    return new Promise((resolve, reject) => {
      const r = request(`${at.url}${path}`, { method, agent, headers }, (res) => {
        const chunks: Buffer[] = [];
        res.on('data', (d: Buffer) => chunks.push(d));
        res.on('end', () => {
          const answer = Buffer.concat(chunks).toString();
          if ((res.statusCode ?? 500) < 400) resolve(answer);
          else reject(new Error(`${method} ${path}: ${res.statusCode} ${answer.slice(0, 500)}`));
        });
        res.once('error', reject);
      });
      r.once('error', reject);
      r.end(payload);
    });
  };
  const sum = (of: (pid: number) => number): number => at.pids.reduce((s, pid) => s + of(pid), 0);
  const server: BenchServer = {
    url: at.url,
    kubeconfig: at.kubeconfig,
    pids: at.pids,
    ca: pem.ca,
    loop: at.loop,
    token: '',
    memory: () => ({ anonymous: sum((p) => memoryOf(p).anonymous), engine: sum((p) => memoryOf(p).engine) }),
    cpuSeconds: () => sum(cpuSecondsOf),
    json: async <T>(method: string, path: string, body?: unknown) => JSON.parse(await send(method, path, body)) as T,
    text: (path) => send('GET', path),
    async dispose() {
      agent.destroy();
      await at.stop();
    },
  };
  // A server that is still starting, and one that has no namespaces yet.
  const until = Date.now() + startMs;
  for (let there = false; !there;)
    there = await server.text('/api/v1/namespaces/default').then(
      () => true,
      (error: Error) => {
        if (Date.now() > until) throw error;
        return new Promise<boolean>((r) => setTimeout(() => r(false), 100));
      },
    );
  // On data that stood before, all of it is there already.
  const made = async (path: string, object: object): Promise<void> => {
    try {
      await server.json('POST', path, object);
    } catch (e) {
      if (!(e as Error).message.includes(': 409 ')) throw e;
    }
  };
  await made('/api/v1/namespaces/default/serviceaccounts', { metadata: { name: 'bench' } });
  await made('/apis/rbac.authorization.k8s.io/v1/clusterrolebindings', {
    metadata: { name: 'bench' },
    roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'ClusterRole', name: 'cluster-admin' },
    subjects: [{ kind: 'ServiceAccount', name: 'bench', namespace: 'default' }],
  });
  const answer = await server.json<{ status: { token: string } }>(
    'POST',
    '/api/v1/namespaces/default/serviceaccounts/bench/token',
    {
      apiVersion: 'authentication.k8s.io/v1',
      kind: 'TokenRequest',
      spec: { expirationSeconds: 86_400 },
    },
  );
  return { ...server, token: answer.status.token };
}

/** All that `knarr up` can leave out: what is left is the API server and its store. */
export const apiServerAlone: readonly string[] = ['--nodes', '0', '--disable', optionalComponents.join(',')];

/** `dir`: kept, and used again; a new one that goes with the server when left out. */
export async function benchServer(args: readonly string[] = [], dir?: string): Promise<BenchServer> {
  const home = dir ?? mkdtempSync(join(tmpdir(), 'knarr-bench-'));
  const probes = mkdtempSync(join(tmpdir(), 'knarr-probe-'));
  const probe = loopProbe(join(probes, 'probe'));
  const knarr = await startKnarr({ dir: home, args, env: probe.env });
  return clientOf({
    url: knarr.url,
    kubeconfig: knarr.kubeconfig,
    pids: [knarr.process.pid!],
    loop: probe.meter,
    async stop() {
      await (dir === undefined ? knarr.dispose() : knarr.stop());
      rmSync(probes, { recursive: true, force: true });
    },
  });
}

export interface LoadResult {
  readonly requestsPerSecond: number;
  readonly megabytesPerSecond: number;
  readonly failed: number;
  /** Server CPU, microseconds a request. */
  readonly cpuMicros: number;
  readonly beside: Beside;
}

const units: Record<string, number> = { KB: 1 / 1024, MB: 1, GB: 1024 };

/** `h2load -c 10 -m 10` (or as said) with a Lease being updated beside it. */
export async function load(
  server: BenchServer,
  options: {
    path: string;
    requests: number;
    body?: string;
    headers?: readonly string[];
    clients?: number;
    streams?: number;
  },
): Promise<LoadResult> {
  const dir = mkdtempSync(join(tmpdir(), 'knarr-load-'));
  const args = [
    '-n',
    String(options.requests),
    '-c',
    String(options.clients ?? 10),
    '-m',
    String(options.streams ?? 10),
    '-H',
    `authorization: Bearer ${server.token}`,
  ];
  for (const h of options.headers ?? []) args.push('-H', h);
  if (options.body !== undefined) {
    writeFileSync(join(dir, 'body'), options.body);
    args.push('-d', join(dir, 'body'), '-H', 'content-type: application/json');
  }
  args.push(`${server.url}${options.path}`);
  const before = server.cpuSeconds();
  const probe = await beside(serverTarget(server));
  const text = await new Promise<string>((resolve, reject) => {
    const child = spawn('h2load', args, { stdio: ['ignore', 'pipe', 'pipe'] });
    let out = '';
    child.stdout.on('data', (d: Buffer) => (out += d.toString()));
    child.once('error', (e) =>
      reject(new Error(`h2load (Debian's nghttp2-client) is wanted: ${e.message}`, { cause: e })),
    );
    child.once('close', () => resolve(out));
  });
  const measured = await probe.stop();
  const cpu = server.cpuSeconds() - before;
  rmSync(dir, { recursive: true, force: true });
  const rate = /finished in ([\d.]+)(m?s|m), ([\d.]+) req\/s, ([\d.]+)(KB|MB|GB)\/s/.exec(text);
  const done = /requests: (\d+) total, \d+ started, \d+ done, (\d+) succeeded/.exec(text);
  if (rate === null || done === null) throw new Error(`h2load said something else:\n${text}`);
  const statuses = /status codes: (\d+) 2xx/.exec(text);
  return {
    requestsPerSecond: Number(rate[3]),
    megabytesPerSecond: Number(rate[4]) * units[rate[5]!]!,
    failed: Number(done[1]) - Number(statuses?.[1] ?? done[2]),
    cpuMicros: (cpu * 1e6) / options.requests,
    beside: measured,
  };
}
