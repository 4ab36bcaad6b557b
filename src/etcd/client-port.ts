/**
 * The port that etcd's clients use: gRPC, and beside it on the same port what monitors and start-up scripts ask over HTTP/1.1
 * (`/health`, `/livez`, `/readyz`, `/version`, `/metrics`), as etcd's own listener tells the two apart: by ALPN over TLS, by the
 * first bytes in plain.
 */
import { lookup } from 'node:dns/promises';
import { createServer as createHttpServer } from 'node:http';
import type { RequestListener, Server as HttpServer } from 'node:http';
import { createServer, isIP } from 'node:net';
import type { AddressInfo, Server, Socket } from 'node:net';
import { createServer as createTlsServer } from 'node:tls';
import { joinHostPort } from '../base/host-port.ts';
import type { EtcdServerOptions } from './grpc-server.ts';

/** How an HTTP/2 connection begins, and no request of HTTP/1. */
const preface = Buffer.from('PRI');

export interface ClientPort {
  readonly port: number;
  /** Closes the listeners and what is connected over HTTP/1; the connections of gRPC are their owner's. */
  close(): void;
}

/** Calls `then` once it can be told whether `socket` speaks HTTP/2. */
function tellApart(socket: Socket, then: (http2: boolean) => void): void {
  let begun: Buffer = Buffer.alloc(0);
  const onReadable = (): void => {
    const chunk = socket.read() as Buffer | null;
    if (chunk === null) return;
    begun = begun.length === 0 ? chunk : Buffer.concat([begun, chunk]);
    const known = Math.min(begun.length, preface.length);
    const alike = begun.subarray(0, known).equals(preface.subarray(0, known));
    // A first packet of one or two letters that fit waits for the next.
    if (alike && known < preface.length) return;
    socket.off('readable', onReadable);
    socket.unshift(begun);
    then(alike);
  };
  socket.on('readable', onReadable);
}

/** `localhost` is both families where the machine has both. */
async function addressesOf(host: string): Promise<readonly string[]> {
  if (isIP(host) !== 0) return [host];
  const found = await lookup(host, { all: true });
  return [...new Set(found.map((a) => a.address))];
}

function listen(server: Server, host: string, port: number): Promise<number> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen({ host, port }, () => {
      server.off('error', reject);
      resolve((server.address() as AddressInfo).port);
    });
  });
}

/**
 * Listens at `options.host` and `options.port`; connections of HTTP/2 go to `grpc`, requests of HTTP/1 to `answer`.
 * Rejects when the address cannot be bound.
 */
export async function openClientPort(
  options: Pick<EtcdServerOptions, 'host' | 'port' | 'tls' | 'logger'>,
  grpc: (socket: Socket) => void,
  answer: RequestListener,
): Promise<ClientPort> {
  const { tls, logger } = options;
  const host = options.host ?? '127.0.0.1';
  const http: HttpServer = createHttpServer(answer);
  const failed = (socket: Socket) => (error: Error) => {
    logger.debug('etcd: a connection broke', { peer: socket.remoteAddress ?? '', error });
  };
  const accept = (socket: Socket): void => {
    socket.on('error', failed(socket));
    tellApart(socket, (http2) => (http2 ? grpc(socket) : void http.emit('connection', socket)));
  };
  const secure =
    tls === undefined
      ? undefined
      : {
          cert: tls.cert,
          key: tls.key,
          ALPNProtocols: ['h2', 'http/1.1'],
          ...(tls.clientCa === undefined ? {} : { ca: tls.clientCa, requestCert: true, rejectUnauthorized: true }),
        };
  const servers: Server[] = [];
  let { port } = options;
  try {
    for (const address of await addressesOf(host)) {
      const server = secure === undefined ? createServer(accept) : createTlsServer(secure, accept);
      if (secure !== undefined) server.on('tlsClientError', (error: Error, socket: Socket) => failed(socket)(error));
      server.on('connection', (socket: Socket) => socket.setNoDelay(true));
      // A family that the machine has in its table of hosts alone.
      const bound = await listen(server, address, port).catch((error: NodeJS.ErrnoException) => {
        if (error.code === 'EADDRNOTAVAIL' && isIP(host) === 0 && servers.length > 0) return undefined;
        throw error;
      });
      if (bound === undefined) continue;
      servers.push(server);
      port = bound;
    }
  } catch (error) {
    for (const s of servers) s.close();
    throw new Error(`cannot listen on ${joinHostPort(host, options.port)}: ${(error as Error).message}`, {
      cause: error,
    });
  }
  return {
    port,
    close() {
      for (const s of servers) s.close();
      http.closeAllConnections();
    },
  };
}
