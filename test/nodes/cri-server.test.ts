/** The kubelet's HTTP API over real containers: each of the protocols that clients speak, handed through or translated; logs. */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { request } from 'node:http';
import type { Server } from 'node:net';
import { createServer as createTcpServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import type { Duplex } from 'node:stream';
import { text } from 'node:stream/consumers';
import { after, before, describe, test } from 'node:test';
import { createWebSocketStream, WebSocket } from 'ws';
import { SystemClock } from '../../src/base/clock.ts';
import { silentLogger } from '../../src/base/logger.ts';
import { SpdyConnection } from '../../src/base/spdy.ts';
import type { Pod } from '../../src/api/types/index.gen.ts';
import { createLinuxHost } from '../../src/kubelet/host/linux/host.ts';
import type { ContainerRuntime, StreamServer } from '../../src/kubelet/runtime/container-runtime.ts';
import type { KubeletServer } from '../../src/kubelet/server/server.ts';
import { createKubeletServer } from '../../src/kubelet/server/server.ts';
import { busyboxImage } from './images/busybox.ts';
import { Containerd } from './support/containerd.ts';
import { ownNamespaces } from './support/namespaces.ts';
import { runContainer, runPod } from './support/pods.ts';

const skip = ownNamespaces();

describe('the kubelet’s server on real containers', { skip, timeout: 120_000 }, () => {
  let c: Containerd;
  let server: KubeletServer;
  let tcp: Server;
  let port: number;
  let handedOff = 0;

  before(async () => {
    c = await Containerd.start();
    await c.load(busyboxImage(), 'local.test/busybox:1');
    const pod = await runPod(c, 'p');
    const id = await runContainer(c, pod, {
      name: 'c',
      command: ['sh', '-c', 'trap "exit 0" TERM; echo started; httpd -p 8080 -h /etc; while :; do sleep 0.1; done'],
    });
    const api = {
      metadata: { name: 'p', namespace: 'default', uid: pod.uid },
      spec: { containers: [{ name: 'c' }] },
    } as unknown as Pod;
    const streamServer: StreamServer = {
      ...c.runtime.streamServer!,
      upgrade: (target, method, headers) => {
        handedOff++;
        return c.runtime.streamServer!.upgrade(target, method, headers);
      },
    };
    const runtime = new Proxy<ContainerRuntime>(c.runtime, {
      get: (target, name) => {
        if (name === 'streamServer') return streamServer;
        const value = Reflect.get(target, name, target) as unknown;
        return typeof value === 'function' ? (value as (...a: unknown[]) => unknown).bind(target) : value;
      },
    });
    server = createKubeletServer({
      nodeName: 'n1',
      runtime,
      host: await createLinuxHost({ clock: new SystemClock(), hostname: 'n1', rootDir: join(c.dir, 'kubelet') }),
      clock: new SystemClock(),
      logger: silentLogger,
      pods: {
        get: (namespace, name) =>
          namespace === 'default' && name === 'p'
            ? { pod: api, sandboxId: pod.sandboxId, containerId: (n) => (n === 'c' ? id : undefined) }
            : undefined,
        list: () => [api],
      },
    });
    tcp = createTcpServer((socket) => server.serve(socket));
    await new Promise<void>((resolve) => tcp.listen(0, '127.0.0.1', resolve));
    port = (tcp.address() as AddressInfo).port;
  });
  after(async () => {
    tcp?.close();
    await server?.close();
    await c?.stop();
  });

  const command = (script: string): string =>
    ['sh', '-c', script].map((a) => `command=${encodeURIComponent(a)}`).join('&');

  /** A SPDY connection to a path of the server. */
  function spdy(path: string, protocol: string): Promise<SpdyConnection> {
    return new Promise((resolve, reject) => {
      const headers = { connection: 'Upgrade', upgrade: 'SPDY/3.1', 'x-stream-protocol-version': protocol };
      const r = request({ host: '127.0.0.1', port, path, method: 'POST', headers });
      r.once('upgrade', (answer, socket, head: Buffer) => {
        if (head.length > 0) socket.unshift(head);
        assert.equal(answer.headers['x-stream-protocol-version'], protocol);
        resolve(new SpdyConnection(socket, { role: 'client', withoutWindows: true }));
      });
      r.once('response', (answer) => reject(new Error(`${answer.statusCode}`)));
      r.once('error', reject);
      r.end();
    });
  }

  /** What comes on each channel of a WebSocket until it closes. */
  function channels(path: string, protocol: string, say: (ws: WebSocket) => void): Promise<Map<number, string>> {
    return new Promise((resolve, reject) => {
      const ws = new WebSocket(`ws://127.0.0.1:${port}${path}`, protocol);
      const out = new Map<number, string>();
      ws.on('message', (data: Buffer) =>
        out.set(data[0]!, (out.get(data[0]!) ?? '') + data.subarray(1).toString('latin1')),
      );
      ws.once('open', () => say(ws));
      ws.once('error', reject);
      ws.once('close', () => resolve(out));
    });
  }

  /** SPDY inside a WebSocket, as current clients forward ports. The library does not take the protocol's name for one. */
  function tunnelled(path: string): Promise<Duplex> {
    return new Promise((resolve, reject) => {
      const headers = {
        connection: 'Upgrade',
        upgrade: 'websocket',
        'sec-websocket-version': '13',
        'sec-websocket-key': randomBytes(16).toString('base64'),
        'sec-websocket-protocol': 'SPDY/3.1+portforward.k8s.io',
      };
      const r = request({ host: '127.0.0.1', port, path, headers });
      r.once('upgrade', (_, socket, head) => {
        const ws = new WebSocket(null as unknown as string, undefined, {});
        const inner = ws as unknown as { _isServer: boolean; setSocket(s: Duplex, h: Buffer, o: object): void };
        inner._isServer = false;
        inner.setSocket(socket, head, { allowSynchronousEvents: true, maxPayload: 0, skipUTF8Validation: false });
        resolve(createWebSocketStream(ws));
      });
      r.once('response', (answer) => reject(new Error(`${answer.statusCode}`)));
      r.once('error', reject);
      r.end();
    });
  }

  test('exec over SPDY goes through to the runtime', async () => {
    const was = handedOff;
    const client = await spdy(
      `/exec/default/p/c?input=1&output=1&error=1&${command('cat; echo err >&2; exit 4')}`,
      'v4.channel.k8s.io',
    );
    const [error, stdin, stdout, stderr] = await Promise.all(
      ['error', 'stdin', 'stdout', 'stderr'].map((streamtype) => client.createStream({ streamtype })),
    );
    stdin!.end('x'.repeat(300_000));
    const [out, err, status] = await Promise.all([text(stdout!), text(stderr!), text(error!)]);
    assert.deepEqual([out.length, err], [300_000, 'err\n']);
    assert.equal(JSON.parse(status).details.causes[0].message, '4');
    assert.equal(handedOff, was + 1);
    client.destroy();
  });

  test('exec over WebSocket: version 4 goes through, version 5 is translated and can end its input', async () => {
    const was = handedOff;
    const path = (script: string) => `/exec/default/p/c?input=1&output=1&error=1&${command(script)}`;
    const v4 = await channels(path('read a; echo "[$a]"; exit 3'), 'v4.channel.k8s.io', (ws) =>
      ws.send(Buffer.from('\0line\n')),
    );
    assert.equal(v4.get(1), '[line]\n');
    assert.equal(JSON.parse(v4.get(3)!).details.causes[0].message, '3');
    assert.equal(handedOff, was + 1);
    const v5 = await channels(path('cat; echo done; exit 5'), 'v5.channel.k8s.io', (ws) => {
      ws.send(Buffer.from('\0to the end\n'));
      ws.send(Buffer.from([255, 0]));
    });
    assert.equal(v5.get(1), 'to the end\ndone\n');
    assert.equal(JSON.parse(v5.get(3)!).details.causes[0].message, '5');
    assert.equal(handedOff, was + 1, 'the runtime speaks no version 5');
    const bad = await channels('/exec/default/p/c?output=1&command=%2Fno%2Fsuch', 'v5.channel.k8s.io', () => {});
    assert.match(
      JSON.parse(bad.get(3)!).message,
      /^Internal error occurred: .*error executing command in container: .*no such file or directory/,
    );
    assert.equal(JSON.parse(bad.get(3)!).message.match(/error executing command/g).length, 1);
  });

  test('port-forward over SPDY, tunnelled SPDY and WebSocket channels', async () => {
    const get = 'GET /group HTTP/1.0\r\n\r\n';
    const forward = async (client: SpdyConnection, id: string, to: number): Promise<[string, string]> => {
      const headers = { port: String(to), requestid: id };
      const error = await client.createStream({ ...headers, streamtype: 'error' });
      error.end();
      const data = await client.createStream({ ...headers, streamtype: 'data' });
      data.write(get);
      return Promise.all([text(data).catch(() => ''), text(error).catch(() => '')]);
    };
    const plain = await spdy('/portForward/default/p', 'portforward.k8s.io');
    const [answer, none] = await forward(plain, '0', 8080);
    assert.match(answer, /200 OK[^]*extra:x:2000:user/);
    assert.equal(none, '');
    const [, refused] = await forward(plain, '1', 8081);
    assert.match(refused, /error forwarding port 8081 to pod .*connection refused/);
    plain.destroy();

    const tunnel = new SpdyConnection(await tunnelled('/portForward/default/p'), {
      role: 'client',
      withoutWindows: true,
    });
    assert.match((await forward(tunnel, '0', 8080))[0], /200 OK/);
    tunnel.destroy();

    const out = await channels('/portForward/default/p?port=8080', 'v4.channel.k8s.io', (s) =>
      s.send(Buffer.from(`\0${get}`)),
    );
    assert.match(out.get(0)!, /200 OK[^]*extra:x:2000:user/);
  });

  test('logs, and what is refused', async () => {
    const ask = (path: string): Promise<{ status: number; body: string }> =>
      new Promise((resolve, reject) => {
        request({ host: '127.0.0.1', port, path }, (r) => {
          text(r).then((body) => resolve({ status: r.statusCode!, body }), reject);
        })
          .once('error', reject)
          .end();
      });
    assert.deepEqual(await ask('/containerLogs/default/p/c'), { status: 200, body: 'started\n' });
    assert.match((await ask('/containerLogs/default/p/c?timestamps=true')).body, /^\d{4}-.*Z started\n$/);
    await assert.rejects(spdy(`/exec/default/q/c?output=1&${command('true')}`, 'v4.channel.k8s.io'), /404/);
    await assert.rejects(spdy(`/exec/default/p/c?output=1&${command('true')}`, 'v9.channel.k8s.io'), /403/);
  });
});
