/**
 * `EgressSelector`: connections that the API server opens by way of a proxy, where one is configured for whither they go. The
 * proxy is asked with HTTP CONNECT, over TCP, TLS or a unix socket, or by gRPC (konnectivity) over a unix socket.
 */
import * as http from 'node:http';
import { connect as connectSocket } from 'node:net';
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { ioNow, ioTimer } from '../../base/io-time.ts';
import type { Random } from '../../base/random.ts';
import { joinHostPort } from '../../base/host-port.ts';
import { goNetworkError } from '../connect/go-errors.ts';
import { connectSecurely } from '../connect/secure-agent.ts';
import type { Family } from '../metrics/exposition.ts';
import { HistogramVector, Vector } from '../metrics/exposition.ts';

export type EgressName = 'controlplane' | 'cluster' | 'etcd';

/** Opens a plain stream to a host, as `net.Dialer` does. */
export type Dial = (host: string, port: number) => Promise<Duplex>;

export type EgressProxy =
  | { readonly transport: 'uds'; readonly path: string; readonly grpc?: Random }
  | {
      readonly transport: 'tcp';
      readonly host: string;
      readonly port: number;
      /** PEM texts. */
      readonly tls?: {
        readonly serverName: string;
        readonly ca?: string;
        readonly clientCertificate: { readonly certificate: string; readonly key: string };
      };
    };

const timeoutMs = 30_000;

const reasons: Readonly<Record<string, string>> = {
  ENOENT: 'connect: no such file or directory',
  EACCES: 'connect: permission denied',
  ECONNREFUSED: 'connect: connection refused',
};

function opened(socket: Socket, what: (error: Error) => string): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const cancel = ioTimer(timeoutMs, () => socket.destroy(Object.assign(new Error('late'), { code: 'ETIMEDOUT' })));
    const fail = (error: Error): void => {
      cancel();
      reject(new Error(what(error), { cause: error }));
    };
    socket.once('error', fail);
    socket.once('connect', () => {
      cancel();
      socket.off('error', fail);
      resolve(socket);
    });
  });
}

async function connectProxy(proxy: EgressProxy): Promise<Duplex> {
  if (proxy.transport === 'uds')
    return opened(
      connectSocket(proxy.path),
      (e) => `dial unix ${proxy.path}: ${reasons[(e as NodeJS.ErrnoException).code ?? ''] ?? e.message}`,
    );
  const { host, port, tls } = proxy;
  const dial = (): Promise<Socket> =>
    opened(connectSocket({ host, port, noDelay: true }), (e) => goNetworkError(e, host, port));
  if (tls === undefined) return dial();
  const { serverName, ca, clientCertificate } = tls;
  try {
    return await connectSecurely({ serverName, ca, clientCertificate, dial });
  } catch (error) {
    throw new Error(goNetworkError(error, host, port), { cause: error });
  }
}

/** Has the proxy open a way to `address` over a connection to it. */
function tunnel(stream: Duplex, proxy: string, address: string): Promise<Duplex> {
  return new Promise((resolve, reject) => {
    const request = http.request({
      method: 'CONNECT',
      path: address,
      headers: { host: '127.0.0.1' },
      createConnection: () => stream,
    });
    const fail = (message: string, cause?: Error): void => {
      cancel();
      stream.destroy();
      reject(new Error(message, { cause }));
    };
    const cancel = ioTimer(timeoutMs, () =>
      fail(`reading HTTP response from CONNECT to ${address} via proxy ${proxy} failed: i/o timeout`),
    );
    request.on('error', (error) => {
      const why = goNetworkError(error, proxy, 0);
      fail(`reading HTTP response from CONNECT to ${address} via proxy ${proxy} failed: ${why}`, error);
    });
    request.once('connect', (response: http.IncomingMessage, _socket: Duplex, head: Buffer) => {
      const { statusCode: status = 0, statusMessage = '' } = response;
      if (status !== 200)
        fail(`proxy error from ${proxy} while dialing ${address}, code ${status}: ${status} ${statusMessage}`);
      else if (head.length > 0) fail(`unexpected ${head.length} bytes of buffered data from CONNECT proxy "${proxy}"`);
      else {
        cancel();
        resolve(stream);
      }
    });
    request.end();
  });
}

export class EgressSelector {
  readonly #ways = new Map<EgressName, Dial | undefined>();
  readonly #starts = new Vector(
    'counter',
    'apiserver_egress_dialer_dial_start_total',
    'Dial starts, labeled by the protocol (http-connect or grpc) and transport (tcp or uds).',
  );
  readonly #durations = new HistogramVector(
    'apiserver_egress_dialer_dial_duration_seconds',
    'Dial latency histogram in seconds, labeled by the protocol (http-connect or grpc), transport (tcp or uds)',
    [0.005, 0.025, 0.1, 0.5, 2.5, 12.5],
  );
  readonly #failures = new Vector(
    'counter',
    'apiserver_egress_dialer_dial_failure_count',
    'Dial failure count, labeled by the protocol (http-connect or grpc), transport (tcp or uds), and stage (connect or proxy). The stage indicates at which stage the dial failed',
  );
  readonly families: readonly Family[] = [this.#starts, this.#durations, this.#failures];

  /** `undefined` for a direct way. */
  constructor(proxies: ReadonlyMap<EgressName, EgressProxy | undefined>) {
    for (const [name, proxy] of proxies) this.#ways.set(name, proxy === undefined ? undefined : this.#way(proxy));
  }

  /** Something is said of these connections. */
  has(name: EgressName): boolean {
    return this.#ways.has(name);
  }

  /** How these connections are opened; undefined: directly. */
  dial(name: EgressName): Dial | undefined {
    return this.#ways.get(name);
  }

  #way(proxy: EgressProxy): Dial {
    const { transport } = proxy;
    const tunnels =
      proxy.transport === 'uds' && proxy.grpc !== undefined ? { socket: proxy.path, random: proxy.grpc } : undefined;
    const labels = { protocol: tunnels === undefined ? 'http_connect' : 'grpc', transport };
    const series = `${labels.protocol} ${transport}`;
    const what = proxy.transport === 'uds' ? proxy.path : joinHostPort(proxy.host, proxy.port);
    const failed = (stage: string): void =>
      this.#failures.series(`${series} ${stage}`, () => ({ ...labels, stage })).inc();
    return async (host, port) => {
      const start = ioNow();
      this.#starts.series(series, () => labels).inc();
      if (tunnels !== undefined) {
        const { createTunnels, TunnelError } = await import('./grpc-tunnel.ts');
        try {
          const opened = await createTunnels(tunnels.random).open(tunnels.socket, joinHostPort(host, port));
          this.#durations.series(series, () => labels).observe((ioNow() - start) / 1000);
          return opened;
        } catch (error) {
          failed(error instanceof TunnelError ? error.stage : 'connect');
          throw error;
        }
      }
      let stream;
      try {
        stream = await connectProxy(proxy);
      } catch (error) {
        failed('connect');
        throw error;
      }
      try {
        stream = await tunnel(stream, what, joinHostPort(host, port));
      } catch (error) {
        failed('proxy');
        throw error;
      }
      this.#durations.series(series, () => labels).observe((ioNow() - start) / 1000);
      return stream;
    };
  }
}
