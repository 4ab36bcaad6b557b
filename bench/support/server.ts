/** A `knarr up` of its own for a benchmark, with what h2load and a probing client need. */
import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { Agent, request } from 'node:https';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { RunningKnarr } from '../../test/support/knarr.ts';
import { startKnarr } from '../../test/support/knarr.ts';
import type { Beside } from './beside.ts';
import { beside, serverTarget } from './beside.ts';
import type { LoopMeter } from './loop-delay.ts';
import { loopProbe } from './loop-delay.ts';
import type { Memory } from './memory.ts';
import { cpuSecondsOf, memoryOf } from './memory.ts';

export interface BenchServer {
  readonly knarr: RunningKnarr;
  /** PEM of who signed the server's certificate. */
  readonly ca: string;
  readonly loop: LoopMeter;
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

export async function benchServer(args: readonly string[] = []): Promise<BenchServer> {
  const dir = mkdtempSync(join(tmpdir(), 'knarr-bench-'));
  const probe = loopProbe(join(dir, 'probe'));
  const knarr = await startKnarr({ dir, args, env: probe.env });
  const text = readFileSync(knarr.kubeconfig, 'utf8');
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
      const r = request(`${knarr.url}${path}`, { method, agent, headers }, (res) => {
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
  const server: BenchServer = {
    knarr,
    ca: pem.ca,
    loop: probe.meter,
    token: '',
    memory: () => memoryOf(knarr.process.pid!),
    cpuSeconds: () => cpuSecondsOf(knarr.process.pid!),
    json: async <T>(method: string, path: string, body?: unknown) => JSON.parse(await send(method, path, body)) as T,
    text: (path) => send('GET', path),
    async dispose() {
      agent.destroy();
      await knarr.dispose();
      rmSync(dir, { recursive: true, force: true });
    },
  };
  await server.json('POST', '/api/v1/namespaces/default/serviceaccounts', { metadata: { name: 'bench' } });
  await server.json('POST', '/apis/rbac.authorization.k8s.io/v1/clusterrolebindings', {
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
  args.push(`${server.knarr.url}${options.path}`);
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
