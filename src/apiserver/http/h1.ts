/** HTTP/1.1 connections, with Upgrade: over TLS, and over in-memory streams for callers of the same process. */
import * as http from 'node:http';
import type { Duplex } from 'node:stream';
import { TLSSocket } from 'node:tls';
import type { Logger } from '../../base/logger.ts';
import type { WireResponse } from '../encode/wire.ts';
import type { RequestBody } from '../request.ts';
import { type Carrier, Exchange, noBody } from './exchange.ts';
import { FanOut } from './fan-out.ts';
import { abandon } from './h2.ts';
import { hasToken } from './headers.ts';
import type { Peer } from './peer.ts';
import { readBody } from './read-body.ts';
import type { Serve } from './serve.ts';
import { openMessageSink, readerProtocol, speaksWebSocket } from './websocket-answer.ts';
import { writeLongBody } from './write-body.ts';

/** Upgrades that a handler may take over; others (h2c) are served as ordinary requests. */
function upgradable(request: http.IncomingMessage): boolean {
  const to = request.headers.upgrade;
  if (to === undefined || !hasToken(request.headers.connection, 'upgrade')) return false;
  const protocol = to.toLowerCase();
  return protocol === 'websocket' || protocol.startsWith('spdy/') || (request.url ?? '').includes('/proxy');
}

function bodyOf(request: http.IncomingMessage): RequestBody {
  const length = request.headers['content-length'];
  if (request.headers['transfer-encoding'] === undefined && (length === undefined || length === '0')) return noBody;
  const declared = length === undefined ? undefined : Number(length);
  return { kind: 'bytes', read: (limit) => readBody(request, declared, limit), stream: () => request };
}

export class Http1Connections {
  readonly #serve: Serve;
  readonly #logger: Logger;
  readonly #server: http.Server;
  readonly #peers = new WeakMap<Duplex, Peer>();
  readonly #sockets = new Set<Duplex>();
  readonly #idle = new Set<Duplex>();
  readonly #fanOut = new FanOut();
  #draining = false;

  constructor(serve: Serve, logger: Logger) {
    this.#serve = serve;
    this.#logger = logger;
    this.#server = http.createServer({
      keepAlive: true,
      keepAliveTimeout: 90_000,
      maxHeaderSize: 1024 * 1024,
      shouldUpgradeCallback: upgradable,
    } as http.ServerOptions);
    this.#server.on('request', (request, response) => this.#onRequest(request, response));
    this.#server.on('upgrade', (request, socket, head) => this.#onUpgrade(request, socket, head));
    this.#server.on('clientError', (error: NodeJS.ErrnoException, socket) => this.#onClientError(error, socket));
  }

  accept(socket: Duplex, peer: Peer): void {
    this.#peers.set(socket, peer);
    this.#sockets.add(socket);
    this.#idle.add(socket);
    socket.on('close', () => {
      this.#sockets.delete(socket);
      this.#idle.delete(socket);
    });
    socket.on('error', (error) => this.#logger.debug('connection failed', { error }));
    this.#server.emit('connection', socket);
  }

  #exchange(request: http.IncomingMessage, onGone: Carrier['onGone']): Exchange {
    return new Exchange(
      request.method ?? 'GET',
      request.url ?? '/',
      request.headers as Record<string, string>,
      request.rawHeaders,
      bodyOf(request),
      this.#peers.get(request.socket)!,
      { onGone },
    );
  }

  #onRequest(request: http.IncomingMessage, response: http.ServerResponse): void {
    const socket = request.socket;
    this.#idle.delete(socket);
    const exchange = this.#exchange(request, (gone) => {
      if (response.destroyed) gone();
      else
        response.on('close', () => {
          if (!response.writableFinished) gone();
        });
    });
    response.on('error', (error) => this.#logger.debug('response failed', { error }));
    response.on('close', () => {
      if (this.#draining) socket.end();
      else if (this.#sockets.has(socket)) this.#idle.add(socket);
    });
    this.#serve.handle(exchange).then(
      (wire) => this.#respond(request, response, wire),
      (error: unknown) => {
        this.#logger.error('request was not answered', { error });
        response.destroy();
      },
    );
  }

  #respond(request: http.IncomingMessage, response: http.ServerResponse, wire: WireResponse): void {
    const body = wire.body;
    if (response.destroyed) {
      abandon(body);
      return;
    }
    if (this.#draining) response.setHeader('connection', 'close');
    response.writeHead(wire.status, wire.headers as http.OutgoingHttpHeaders);
    if (body.kind === 'none' || request.method === 'HEAD') {
      abandon(body);
      response.end();
    } else if (body.kind === 'bytes') response.end(body.bytes);
    else {
      response.flushHeaders();
      const sink = { writable: response, encrypts: request.socket instanceof TLSSocket };
      void writeLongBody(sink, body, this.#fanOut, this.#logger).finally(() => this.#serve.finished(body));
    }
  }

  #onUpgrade(request: http.IncomingMessage, socket: Duplex, head: Buffer): void {
    this.#idle.delete(socket);
    const exchange = this.#exchange(request, (gone) => {
      if (socket.destroyed) gone();
      else socket.on('close', gone);
    });
    let taken = false;
    exchange.upgrade = () => {
      taken = true;
      return { socket, head };
    };
    this.#serve.handle(exchange).then(
      (wire) => {
        if (taken) this.#serve.finished(wire.body);
        else if (speaksWebSocket(request, wire)) void this.#tell(request, socket, head, wire);
        else this.#refuse(socket, wire);
      },
      (error: unknown) => {
        this.#logger.error('upgrade was not answered', { error });
        socket.destroy();
      },
    );
  }

  /** A watch or a log in messages. */
  async #tell(request: http.IncomingMessage, socket: Duplex, head: Buffer, wire: WireResponse): Promise<void> {
    const protocol = readerProtocol(request, wire);
    if (protocol === undefined) {
      abandon(wire.body);
      this.#refuse(socket, { status: 403, headers: {}, body: { kind: 'none' } });
      return;
    }
    try {
      const sink = await openMessageSink(request, socket, head, wire, protocol);
      await writeLongBody({ writable: sink, encrypts: false }, wire.body, this.#fanOut, this.#logger);
    } catch (error) {
      this.#logger.debug('client went away before its WebSocket was open', { error });
      abandon(wire.body);
      socket.destroy();
    } finally {
      this.#serve.finished(wire.body);
    }
  }

  /** An ordinary answer to a request that wanted to upgrade: Node has let go of the socket, so it is written by hand. */
  #refuse(socket: Duplex, wire: WireResponse): void {
    const body = wire.body;
    let head = `HTTP/1.1 ${wire.status} ${http.STATUS_CODES[wire.status] ?? ''}\r\nconnection: close\r\n`;
    for (const [name, value] of Object.entries(wire.headers)) {
      for (const one of Array.isArray(value) ? (value as string[]) : [value]) head += `${name}: ${String(one)}\r\n`;
    }
    if (socket.destroyed) {
      abandon(body);
      return;
    }
    socket.write(Buffer.from(`${head}\r\n`, 'latin1'));
    if (body.kind === 'bytes') socket.end(body.bytes);
    else if (body.kind === 'none' || body.kind === 'hijacked') socket.end();
    else
      void writeLongBody({ writable: socket, encrypts: false }, body, this.#fanOut, this.#logger).finally(() =>
        this.#serve.finished(body),
      );
  }

  #onClientError(error: NodeJS.ErrnoException, socket: Duplex): void {
    this.#logger.debug('malformed request', { error });
    if (socket.destroyed || !socket.writable) return;
    const status = error.code === 'HPE_HEADER_OVERFLOW' ? '431 Request Header Fields Too Large' : '400 Bad Request';
    socket.end(`HTTP/1.1 ${status}\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\n${status}`);
  }

  /** Ends idle connections now and the others after their answer. */
  drain(): void {
    this.#draining = true;
    for (const socket of this.#idle) socket.end();
  }

  destroy(): void {
    for (const socket of this.#sockets) socket.destroy();
  }

  get size(): number {
    return this.#sockets.size;
  }
}
