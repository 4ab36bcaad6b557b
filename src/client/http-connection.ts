/**
 * The HTTP/2 side of `HttpTransport`: sessions to one server, opened on demand and shared by all requests, with keepalive pings;
 * servers that speak only HTTP/1.1 get an agent instead. Everything here is I/O time.
 */
import type { IncomingMessage, OutgoingHttpHeaders } from 'node:http';
import http from 'node:http';
import type { ClientHttp2Session, ClientHttp2Stream } from 'node:http2';
import http2 from 'node:http2';
import https from 'node:https';
import type { Readable } from 'node:stream';
import tls from 'node:tls';
import { ioNow, ioTimer } from '../base/io-time.ts';

export interface TlsSettings {
  readonly ca?: string;
  readonly cert?: string;
  readonly key?: string;
  readonly rejectUnauthorized: boolean;
  readonly servername?: string;
}

export interface RawRequest {
  readonly method: string;
  /** With query. */
  readonly path: string;
  readonly headers: Readonly<Record<string, string | readonly string[]>>;
  readonly body: Uint8Array | undefined;
  readonly signal: AbortSignal | undefined;
}

export interface RawResponse {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly stream: Readable;
}

/** As Go's client: a ping after 30 s without a frame, the connection is dead 15 s later. */
const pingAfterMs = 30_000;
const pingTimeoutMs = 15_000;
const connectTimeoutMs = 30_000;

function flat(headers: Record<string, unknown>): Record<string, string> {
  const out: Record<string, string> = {};
  for (const [name, value] of Object.entries(headers)) {
    if (name.startsWith(':') || value === undefined) continue;
    out[name] = Array.isArray(value) ? value.join(', ') : String(value);
  }
  return out;
}

export class HttpConnections {
  readonly #url: URL;
  readonly #tls: TlsSettings;
  readonly #sessions = new Set<ClientHttp2Session>();
  readonly #streams = new WeakMap<ClientHttp2Session, number>();
  #connecting: Promise<ClientHttp2Session | undefined> | undefined;
  #agent: http.Agent | undefined;
  #closed = false;

  constructor(url: URL, settings: TlsSettings) {
    this.#url = url;
    this.#tls = settings;
    if (url.protocol === 'http:') this.#agent = new http.Agent({ keepAlive: true });
  }

  /** Options of a TLS connection to the server, for upgrades. */
  get tlsOptions(): TlsSettings {
    return this.#tls;
  }

  /** Sends a request and resolves with its head; rejects when none came. */
  async send(request: RawRequest): Promise<RawResponse> {
    if (this.#closed) throw new Error('the transport is closed');
    request.signal?.throwIfAborted();
    if (this.#agent === undefined) {
      const session = this.#pick() ?? (await this.#open());
      request.signal?.throwIfAborted();
      if (session !== undefined) return this.#send2(session, request);
    }
    return this.#send1(request);
  }

  close(): void {
    this.#closed = true;
    for (const session of this.#sessions) session.destroy();
    this.#sessions.clear();
    this.#agent?.destroy();
  }

  #pick(): ClientHttp2Session | undefined {
    for (const session of this.#sessions) {
      if (session.closed || session.destroyed) continue;
      const limit = session.remoteSettings?.maxConcurrentStreams ?? 100;
      if ((this.#streams.get(session) ?? 0) < limit) return session;
    }
    return undefined;
  }

  /** Opens one more session; undefined when the server speaks HTTP/1.1 alone (then there is an agent). */
  #open(): Promise<ClientHttp2Session | undefined> {
    this.#connecting ??= this.#connect().finally(() => {
      this.#connecting = undefined;
    });
    return this.#connecting;
  }

  async #connect(): Promise<ClientHttp2Session | undefined> {
    const socket = await new Promise<tls.TLSSocket>((resolve, reject) => {
      const s = tls.connect({
        host: this.#url.hostname.replace(/^\[|\]$/g, ''),
        port: Number(this.#url.port === '' ? 443 : this.#url.port),
        ALPNProtocols: ['h2', 'http/1.1'],
        ...this.#tls,
      });
      const cancel = ioTimer(connectTimeoutMs, () =>
        s.destroy(new Error(`connecting to ${this.#url.host} took too long`)),
      );
      s.once('secureConnect', () => {
        cancel();
        s.off('error', fail);
        resolve(s);
      });
      const fail = (error: Error): void => {
        cancel();
        reject(error);
      };
      s.once('error', fail);
    });
    if (socket.alpnProtocol !== 'h2') {
      socket.destroy();
      this.#agent ??= new https.Agent({ keepAlive: true, ...this.#tls });
      return undefined;
    }
    const session = http2.connect(this.#url.origin, {
      createConnection: () => socket,
      settings: { enablePush: false, initialWindowSize: 4 << 20 },
    });
    session.on('error', () => {
      // Each stream reports it to its own request.
    });
    await new Promise<void>((resolve, reject) => {
      session.once('remoteSettings', () => resolve());
      session.once('close', () => reject(new Error(`connection to ${this.#url.host} closed`)));
    });
    session.setLocalWindowSize(16 << 20);
    if (this.#closed) {
      session.destroy();
      throw new Error('the transport is closed');
    }
    this.#sessions.add(session);
    session.once('close', () => this.#sessions.delete(session));
    session.once('goaway', () => this.#sessions.delete(session));
    this.#keepAlive(session, socket);
    return session;
  }

  #keepAlive(session: ClientHttp2Session, socket: tls.TLSSocket): void {
    let seen = socket.bytesRead;
    let since = ioNow();
    const check = (): void => {
      if (session.destroyed) return;
      if (socket.bytesRead !== seen) {
        seen = socket.bytesRead;
        since = ioNow();
      }
      if (ioNow() - since >= pingAfterMs - 100 && (this.#streams.get(session) ?? 0) > 0) {
        const cancel = ioTimer(pingTimeoutMs, () => session.destroy(new Error('http2: client connection lost')));
        session.ping((error) => {
          cancel();
          if (error === null) since = ioNow();
        });
      }
      ioTimer(pingAfterMs, check);
    };
    ioTimer(pingAfterMs, check);
  }

  #send2(session: ClientHttp2Session, request: RawRequest): Promise<RawResponse> {
    return new Promise((resolve, reject) => {
      let stream: ClientHttp2Stream;
      try {
        stream = session.request(
          { ':method': request.method, ':path': request.path, ...(request.headers as OutgoingHttpHeaders) },
          {
            endStream: request.body === undefined,
            ...(request.signal === undefined ? {} : { signal: request.signal }),
          },
        );
      } catch (error) {
        reject(error as Error);
        return;
      }
      this.#streams.set(session, (this.#streams.get(session) ?? 0) + 1);
      let answered = false;
      stream.once('close', () => {
        this.#streams.set(session, (this.#streams.get(session) ?? 1) - 1);
        if (!answered) reject(new Error(`no answer from ${this.#url.host}: stream closed (code ${stream.rstCode})`));
      });
      stream.on('error', (error) => {
        if (!answered) reject(request.signal?.aborted === true ? (request.signal.reason as Error) : error);
      });
      stream.once('response', (headers) => {
        answered = true;
        resolve({ status: headers[':status'] ?? 0, headers: flat(headers), stream });
      });
      if (request.body !== undefined) stream.end(request.body);
    });
  }

  #send1(request: RawRequest): Promise<RawResponse> {
    const module = this.#url.protocol === 'http:' ? http : https;
    return new Promise((resolve, reject) => {
      const req = module.request(
        {
          host: this.#url.hostname.replace(/^\[|\]$/g, ''),
          port: this.#url.port === '' ? undefined : Number(this.#url.port),
          agent: this.#agent,
          method: request.method,
          path: request.path,
          headers: {
            host: this.#url.host,
            ...(request.headers as OutgoingHttpHeaders),
            ...(request.body === undefined ? {} : { 'content-length': request.body.length }),
          },
          ...(request.signal === undefined ? {} : { signal: request.signal }),
        },
        (res: IncomingMessage) =>
          resolve({ status: res.statusCode ?? 0, headers: flat(res.headers as Record<string, unknown>), stream: res }),
      );
      req.once('error', (error) => reject(request.signal?.aborted === true ? (request.signal.reason as Error) : error));
      req.end(request.body);
    });
  }
}
