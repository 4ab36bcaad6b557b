import assert from 'node:assert/strict';
import * as http from 'node:http';
import type { Duplex } from 'node:stream';
import { text } from 'node:stream/consumers';
import { test } from 'node:test';
import { WebSocket } from 'ws';
import { VirtualClock } from '../../base/clock.ts';
import { silentLogger } from '../../base/logger.ts';
import { SeededRandom } from '../../base/random.ts';
import { SpdyConnection } from '../../base/spdy.ts';
import type { Pod } from '../../api/types/index.gen.ts';
import { SimulatedHost } from '../host/simulated/host.ts';
import { SimulatedImages } from '../runtime/simulated/images.ts';
import { SimulatedNetwork } from '../runtime/simulated/network.ts';
import { duplexPair } from '../runtime/simulated/pipe.ts';
import { SimulatedRuntime } from '../runtime/simulated/runtime.ts';
import { nodeAccess } from './auth.ts';
import type { KubeletServer } from './server.ts';
import { createKubeletServer } from './server.ts';

interface Node {
  readonly clock: VirtualClock;
  readonly server: KubeletServer;
  readonly runtime: SimulatedRuntime;
  readonly host: SimulatedHost;
  readonly containerId: string;
}

async function node(command?: string[], options: { tty?: boolean; stdin?: boolean } = {}): Promise<Node> {
  const clock = new VirtualClock();
  const host = new SimulatedHost({
    hostname: 'n1',
    clock,
    network: new SimulatedNetwork(),
    addresses: ['192.0.2.1'],
  });
  const runtime = new SimulatedRuntime({
    clock,
    random: new SeededRandom(1),
    host,
    images: new SimulatedImages(),
    addresses: ['192.0.2.1'],
    podCidrs: ['10.244.1.0/24'],
  });
  const sandbox = {
    metadata: { name: 'p', uid: 'u', namespace: 'default', attempt: 0 },
    hostname: 'p',
    logDirectory: '/var/log/pods/p',
    labels: {},
    annotations: { 'knarr.dev/simulated.ports': '80' },
  };
  const sandboxId = await runtime.runPodSandbox(sandbox);
  const image = command === undefined ? 'nginx' : 'busybox';
  await runtime.pullImage({ image });
  const containerId = await runtime.createContainer(sandboxId, {
    metadata: { name: 'c', attempt: 0 },
    image: { image },
    ...(command === undefined ? {} : { command }),
    ...options,
    envs: [],
    mounts: [],
    labels: {},
    annotations: {},
    logPath: 'c/0.log',
  });
  await runtime.startContainer(containerId);
  const pod: Pod = {
    metadata: { name: 'p', namespace: 'default', uid: 'u' },
    spec: { containers: [{ name: 'c', image, tty: options.tty ?? false }, { name: 'late' }] },
    status: { containerStatuses: [{ name: 'late', state: { waiting: { reason: 'ImagePullBackOff' } } }] },
  } as unknown as Pod;
  const server = createKubeletServer({
    nodeName: 'n1',
    runtime,
    host,
    clock,
    logger: silentLogger,
    pods: {
      get: (ns, name) =>
        ns === 'default' && name === 'p'
          ? {
              pod,
              sandboxId,
              containerId: (c, previous) => (c === 'c' && previous !== true ? containerId : undefined),
            }
          : undefined,
      list: () => [pod],
    },
  });
  return { clock, server, runtime, host, containerId };
}

function connect(server: KubeletServer): Duplex {
  const [near, far] = duplexPair();
  server.serve(far);
  return near;
}

async function get(
  n: Node,
  path: string,
  headers: Record<string, string> = {},
): Promise<{ status: number; body: string }> {
  const response = await open(n, path, headers);
  return { status: response.statusCode ?? 0, body: await text(response) };
}

function open(
  n: Node,
  path: string,
  headers: Record<string, string> = {},
  method = 'GET',
): Promise<http.IncomingMessage> {
  return new Promise((resolve, reject) => {
    const request = http.request({
      path,
      method,
      headers: { host: 'n1', ...headers },
      createConnection: () => connect(n.server) as never,
    });
    request.on('response', resolve);
    request.on('error', reject);
    request.end();
  });
}

interface Channels {
  readonly ws: WebSocket;
  readonly protocol: string;
  readonly out: Map<number, string>;
  send(channel: number, data: string | Buffer): void;
  readonly closed: Promise<number>;
  until(channel: number, pattern: RegExp): Promise<void>;
}

async function channels(n: Node, path: string, protocols: string[]): Promise<Channels> {
  const ws = new WebSocket(`ws://n1${path}`, protocols, {
    createConnection: () => connect(n.server) as never,
    perMessageDeflate: false,
  });
  const out = new Map<number, string>();
  const waiting: (() => void)[] = [];
  ws.on('message', (data: Buffer) => {
    out.set(data[0]!, (out.get(data[0]!) ?? '') + data.toString('utf8', 1));
    for (const w of waiting.splice(0)) w();
  });
  const closed = new Promise<number>((resolve) => ws.on('close', resolve));
  await new Promise<void>((resolve, reject) => {
    ws.once('open', resolve);
    ws.once('error', reject);
  });
  return {
    ws,
    protocol: ws.protocol,
    out,
    closed,
    send: (channel, data) => ws.send(Buffer.concat([Buffer.from([channel]), Buffer.from(data)])),
    until: async (channel, pattern) => {
      while (!pattern.test(out.get(channel) ?? '')) await new Promise<void>((resolve) => waiting.push(resolve));
    },
  };
}

const sh = (script: string): string => `command=sh&command=-c&command=${encodeURIComponent(script)}`;

test('logs: tail, timestamps, limits, refusals', async () => {
  const n = await node(['sh', '-c', 'echo one; echo two >&2; sleep 5; echo three; sleep 1000']);
  await n.clock.advance(6000);
  const log = (query: string) => get(n, `/containerLogs/default/p/c${query}`);
  assert.deepEqual(await log(''), { status: 200, body: 'one\ntwo\nthree\n' });
  assert.equal((await log('?tailLines=1')).body, 'three\n');
  assert.equal((await log('?timestamps=true&tailLines=1')).body, '2026-01-01T00:00:05.000000000Z three\n');
  assert.equal((await log('?limitBytes=5')).body, 'one\nt');
  assert.equal((await log('?stream=Stderr')).body, 'two\n');
  assert.equal((await log('?sinceSeconds=2')).body, 'three\n');
  assert.equal((await log('?sinceTime=2026-01-01T00:00:01Z')).body, 'three\n');
  assert.deepEqual(await log('?tailLines=-1'), { status: 422, body: '{"message": "Invalid request."}' });
  assert.deepEqual(await log('?tailLines=x'), { status: 400, body: '{"message": "Unable to decode query."}' });
  assert.deepEqual(await log('?previous=true'), {
    status: 400,
    body: 'container "c" in pod "p" is not available',
  });
  assert.deepEqual(await get(n, '/containerLogs/default/p/late'), {
    status: 400,
    body: 'container "late" in pod "p" is waiting to start: trying and failing to pull image',
  });
  assert.deepEqual(await get(n, '/containerLogs/default/p/nope'), {
    status: 404,
    body: 'container "nope" not found in pod "p"',
  });
  assert.deepEqual(await get(n, '/containerLogs/default/q/c'), { status: 404, body: 'pod "q" does not exist' });
  await n.server.close();
});

test('a followed log goes on until the container ends', async () => {
  const n = await node(['sh', '-c', 'echo one; sleep 5; echo two; sleep 5; exit 1']);
  await n.clock.advance(1000);
  const response = await open(n, '/containerLogs/default/p/c?follow=true');
  let seen = '';
  response.on('data', (d: Buffer) => (seen += d.toString()));
  const ended = new Promise((resolve) => response.on('end', resolve));
  await n.clock.advance(5000);
  while (!seen.includes('two')) await new Promise((resolve) => setImmediate(resolve));
  await n.clock.advance(5000);
  await ended;
  assert.equal(seen, 'one\ntwo\n');
  await n.server.close();
});

test('exec over WebSocket: streams, exit codes, half-close, resize', async () => {
  const n = await node();
  const c = await channels(n, `/exec/default/p/c?output=1&error=1&${sh('echo out; echo err >&2; exit 3')}`, [
    'v5.channel.k8s.io',
    'v4.channel.k8s.io',
  ]);
  assert.equal(c.protocol, 'v5.channel.k8s.io');
  assert.equal(await c.closed, 1000);
  assert.deepEqual([c.out.get(1), c.out.get(2)], ['out\n', 'err\n']);
  assert.deepEqual(JSON.parse(c.out.get(3)!), {
    metadata: {},
    status: 'Failure',
    message: 'command terminated with non-zero exit code: command terminated with exit code 3',
    reason: 'NonZeroExitCode',
    details: { causes: [{ reason: 'ExitCode', message: '3' }] },
  });

  const cat = await channels(n, '/exec/default/p/u/c?input=1&output=1&command=cat', ['v5.channel.k8s.io']);
  cat.send(0, 'hello ');
  cat.send(0, 'world');
  cat.send(255, Buffer.from([0]));
  await cat.closed;
  assert.equal(cat.out.get(1), 'hello world');
  assert.equal(cat.out.get(3), '{"metadata":{},"status":"Success"}');

  const v4 = await channels(n, `/exec/default/p/c?output=1&${sh('exit 2')}`, ['v4.channel.k8s.io']);
  await v4.closed;
  assert.equal(
    JSON.parse(v4.out.get(3)!).message,
    'command terminated with non-zero exit code: error executing command [sh -c exit 2], exit code 2',
  );

  const tty = await channels(n, '/exec/default/p/c?input=1&output=1&tty=1&command=sh', ['v5.channel.k8s.io']);
  tty.send(4, '{"Width":99,"Height":33}');
  tty.send(0, 'stty size; exit\r');
  await tty.closed;
  assert.match(tty.out.get(1)!, /33 99|# /);

  const missing = await channels(n, '/exec/default/p/c?output=1&command=nosuch', ['v5.channel.k8s.io']);
  await missing.closed;
  assert.match(
    JSON.parse(missing.out.get(3)!).message,
    /^Internal error occurred: Internal error occurred: error executing command in container: .*exec: "nosuch": executable file not found in \$PATH/,
  );
  await n.server.close();
});

test('a client that leaves ends its exec', async () => {
  const n = await node();
  const c = await channels(n, `/exec/default/p/c?output=1&${sh('echo on; sleep 1000; touch /tmp/late')}`, [
    'v5.channel.k8s.io',
  ]);
  await c.until(1, /on/);
  c.ws.terminate();
  await c.closed;
  for (let i = 0; i < 20; i++) await new Promise((resolve) => setImmediate(resolve));
  await n.clock.advance(2_000_000);
  const r = await n.runtime.execSync(n.containerId, ['ls', '/tmp'], 0);
  assert.equal(r.stdout.toString(), '');
  await n.server.close();
});

test('upgrades are refused in upstream’s words', async () => {
  const n = await node();
  const upgrade = { connection: 'Upgrade', upgrade: 'SPDY/3.1' };
  assert.deepEqual(await get(n, '/exec/default/p/gone?output=1&command=ls', upgrade), {
    status: 500,
    body: 'container not found ("gone")',
  });
  assert.deepEqual(await get(n, '/exec/default/q/c?output=1&command=ls', upgrade), {
    status: 404,
    body: 'pod does not exist',
  });
  assert.deepEqual(await get(n, '/exec/default/p/c?command=ls', upgrade), {
    status: 400,
    body: 'you must specify at least 1 of stdin, stdout, stderr',
  });
  assert.equal((await get(n, '/exec/default/p/c?output=1&command=ls')).status, 400);
  assert.equal(
    (await get(n, '/exec/default/p/c?output=1&command=ls', { ...upgrade, 'x-stream-protocol-version': 'v9' })).status,
    403,
  );
  await n.server.close();
});

test('attach, and exec over SPDY', async () => {
  const n = await node(['cat'], { stdin: true });
  const a = await channels(n, '/attach/default/p/c?input=1&output=1', ['v5.channel.k8s.io']);
  a.send(0, 'ping\n');
  await a.until(1, /ping/);
  a.ws.terminate();
  await a.closed;

  const socket = await new Promise<Duplex>((resolve, reject) => {
    const request = http.request({
      path: `/exec/default/p/c?input=1&output=1&${sh('cat; exit 4')}`,
      method: 'POST',
      headers: {
        host: 'n1',
        connection: 'Upgrade',
        upgrade: 'SPDY/3.1',
        'x-stream-protocol-version': ['v4.channel.k8s.io', 'channel.k8s.io'],
      },
      createConnection: () => connect(n.server) as never,
    });
    request.on('upgrade', (response, s, head: Buffer) => {
      assert.equal(response.headers['x-stream-protocol-version'], 'v4.channel.k8s.io');
      if (head.length > 0) s.unshift(head);
      resolve(s);
    });
    request.on('error', reject);
    request.end();
  });
  const client = new SpdyConnection(socket, { role: 'client' });
  const error = await client.createStream({ streamType: 'error' });
  const stdin = await client.createStream({ streamType: 'stdin' });
  const stdout = await client.createStream({ streamType: 'stdout' });
  stdin.end('x'.repeat(500_000));
  assert.equal((await text(stdout)).length, 500_000);
  assert.equal(JSON.parse(await text(error)).details.causes[0].message, '4');
  await client.closed;
  await n.server.close();
});

test('port-forward over WebSocket channels and SPDY', async () => {
  const n = await node();
  const c = await channels(n, '/portForward/default/p?port=80', ['v4.channel.k8s.io']);
  c.send(0, 'GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n');
  await c.until(0, /200 OK/);
  assert.equal(c.out.get(1), 'P\0');
  await c.closed;

  const socket = await new Promise<Duplex>((resolve) => {
    const request = http.request({
      path: '/portForward/default/p',
      method: 'POST',
      headers: {
        host: 'n1',
        connection: 'Upgrade',
        upgrade: 'SPDY/3.1',
        'x-stream-protocol-version': 'portforward.k8s.io',
      },
      createConnection: () => connect(n.server) as never,
    });
    request.on('upgrade', (_response, s, head: Buffer) => {
      if (head.length > 0) s.unshift(head);
      resolve(s);
    });
    request.end();
  });
  const client = new SpdyConnection(socket, { role: 'client' });
  const forward = async (id: string, port: number): Promise<[string, string]> => {
    const error = await client.createStream({ streamType: 'error', port: String(port), requestID: id });
    error.end();
    const data = await client.createStream({ streamType: 'data', port: String(port), requestID: id });
    data.on('error', () => {});
    data.write('GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n');
    return [await text(data).catch(() => ''), await text(error).catch(() => '')];
  };
  const [[ok, none], [, refused]] = await Promise.all([forward('0', 80), forward('1', 81)]);
  assert.match(ok, /^HTTP\/1.1 200 OK/);
  assert.equal(none, '');
  assert.match(refused, /^error forwarding port 81 to pod p, uid u: .*ECONNREFUSED/);
  client.close();
  await n.server.close();
});

test('pods, health, statistics, metrics, run', async () => {
  const n = await node();
  await n.clock.advance(10_000);
  assert.equal(JSON.parse((await get(n, '/pods')).body).items[0].metadata.name, 'p');
  assert.equal((await get(n, '/healthz')).body, 'ok');
  assert.match((await get(n, '/healthz?verbose')).body, /\[\+\]syncloop ok/);
  const stats = JSON.parse((await get(n, '/stats/summary')).body);
  assert.equal(stats.node.nodeName, 'n1');
  assert.equal(stats.pods[0].containers[0].name, 'c');
  assert.match(
    (await get(n, '/metrics/resource')).body,
    /container_memory_working_set_bytes\{container="c",namespace="default",pod="p"\} \d+ \d+/,
  );
  assert.match((await get(n, '/metrics')).body, /kubelet_running_pods 1/);
  const run = await open(n, '/run/default/p/c?cmd=echo%20hi', {}, 'POST');
  assert.equal(await text(run), 'hi\n');
  assert.equal((await get(n, '/nope')).status, 404);
  await n.server.close();
});

test('requests need what upstream’s fine-grained authorization asks for', () => {
  const of = (method: string, path: string) => {
    const { verb, subresources } = nodeAccess('n1', method, path);
    return `${verb} ${subresources.join(',')}`;
  };
  assert.equal(of('GET', '/pods'), 'get pods,proxy');
  assert.equal(of('GET', '/metrics/resource'), 'get metrics');
  assert.equal(of('POST', '/exec/a/b/c'), 'create proxy');
  assert.equal(of('GET', '/stats/summary'), 'get stats');
});

test('the node’s own logs are listed and served, and nothing else', async () => {
  const n = await node();
  await n.host.mkdir('/var/log/apt');
  await n.host.writeFile('/var/log/syslog <1>', 'line\n');
  await n.host.writeFile('/var/log/apt/history.log', 'installed\n');
  await n.host.writeFile('/var/log/blob', '\0');
  await n.host.writeFile('/etc/secret', 'secret');
  const list = await get(n, '/logs/');
  assert.equal(list.status, 200);
  assert.match(list.body, /^<!doctype html>\n[^]*<a href="apt\/">apt\/<\/a>\n/);
  assert.match(list.body, /<a href="syslog%20%3C1%3E">syslog &lt;1&gt;<\/a>\n/);
  assert.deepEqual(await get(n, '/logs/apt/history.log'), { status: 200, body: 'installed\n' });
  const moved = await open(n, '/logs/apt');
  assert.deepEqual([moved.statusCode, moved.headers.location], [301, 'apt/']);
  assert.equal((await open(n, '/logs/apt/history.log/')).headers.location, '../history.log');
  assert.equal((await open(n, '/logs/blob')).headers['content-type'], 'application/octet-stream');
  for (const path of ['/logs/none', '/logs/..%2f..%2fetc/secret', '/logs/%2e%2e/%2e%2e/etc/secret'])
    assert.equal((await get(n, path)).status, 404, path);
});
