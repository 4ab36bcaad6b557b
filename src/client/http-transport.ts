/**
 * `HttpTransport`: requests over HTTPS to any Kubernetes API server: HTTP/2 where it is spoken, retries of what is safe to
 * retry, watches as JSON lines, WebSocket upgrades over HTTP/1.1.
 */
import { readFile } from 'node:fs/promises';
import type { Readable } from 'node:stream';
import type { WebSocket as WsSocket } from 'ws';
import { ioNow, ioTimer } from '../base/io-time.ts';
import type { Random } from '../base/random.ts';
import { chunksOf } from '../base/stream-chunks.ts';
import { StatusError } from '../api/status.ts';
import type { RawResponse, TlsSettings } from './http-connection.ts';
import { HttpConnections } from './http-connection.ts';
import { identityHeaders } from './identity-headers.ts';
import type { ConnectionConfig, Credentials } from './kubeconfig.ts';
import type { ApiRequest, ApiResponse, MessageChannel, Transport, WatchEvent, WatchStream } from './transport.ts';
import { errorFromResponse } from './typed-client.ts';

/** Told of each request that was sent, tries again among them. */
export interface RequestMeter {
  /** The head of an answer is there, or there will be none. */
  done(request: {
    readonly host: string;
    readonly method: string;
    /** Undefined: there was no answer. */
    readonly code: number | undefined;
    readonly seconds: number;
    readonly sent: number;
  }): void;
  /** An answer has been read, so many bytes of it. */
  received(host: string, method: string, bytes: number): void;
  /** The same request is going to be sent again. */
  retried(host: string, method: string, code: number | undefined): void;
}

export interface HttpTransportOptions {
  readonly random: Random;
  readonly meter?: RequestMeter | undefined;
  /** `kube-scheduler/v1.36.2 …`: `User-Agent` and thereby the default field manager. */
  readonly userAgent?: string;
}

/** client-go asks again at most ten times. */
const maxRetries = 10;
const maxRetryWaitMs = 30_000;
const maxBodyBytes = 1 << 30;
const maxEventBytes = 64 << 20;
const tokenFileTtlMs = 60_000;

/** Query values as they are written into a URL; undefined ones are left out. */
function encodeQuery(query: ApiRequest['query']): string {
  if (query === undefined) return '';
  const params = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) {
    if (value === undefined) continue;
    if (Array.isArray(value)) for (const v of value as readonly string[]) params.append(name, v);
    else params.append(name, String(value));
  }
  const text = params.toString();
  return text === '' ? '' : `?${text}`;
}

function ioSleep(ms: number, signal: AbortSignal | undefined): Promise<void> {
  return new Promise((resolve, reject) => {
    const cancel = ioTimer(ms, () => {
      signal?.removeEventListener('abort', abort);
      resolve();
    });
    const abort = (): void => {
      cancel();
      reject(signal!.reason as Error);
    };
    signal?.addEventListener('abort', abort, { once: true });
  });
}

async function collect(stream: Readable): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of chunksOf(stream)) {
    size += chunk.length;
    if (size > maxBodyBytes) throw new Error(`answer of more than ${maxBodyBytes} bytes`);
    chunks.push(chunk);
  }
  return chunks.length === 1 ? chunks[0]! : Buffer.concat(chunks, size);
}

function parseBody(bytes: Buffer, contentType: string): unknown {
  if (bytes.length === 0) return undefined;
  const text = bytes.toString('utf8');
  return contentType.includes('json') ? (JSON.parse(text) as unknown) : text;
}

export class HttpTransport implements Transport {
  readonly retriesAfter = true;
  readonly #config: ConnectionConfig;
  readonly #options: HttpTransportOptions;
  readonly #prefix: string;
  readonly #url: URL;
  #connections: HttpConnections;
  #certificate: string | undefined;
  #token: { text: string; readAt: number } | undefined;

  constructor(config: ConnectionConfig, options: HttpTransportOptions) {
    this.#config = config;
    this.#options = options;
    this.#url = new URL(config.server.includes('://') ? config.server : `https://${config.server}`);
    this.#prefix = this.#url.pathname.replace(/\/$/, '');
    this.#certificate = config.certificate;
    this.#connections = new HttpConnections(this.#url, this.#tls({ certificate: config.certificate, key: config.key }));
  }

  #tls(c: Credentials): TlsSettings {
    const { ca, insecureSkipTlsVerify, tlsServerName } = this.#config;
    return {
      ...(ca === undefined ? {} : { ca }),
      ...(c.certificate === undefined ? {} : { cert: c.certificate }),
      ...(c.key === undefined ? {} : { key: c.key }),
      rejectUnauthorized: insecureSkipTlsVerify !== true,
      ...(tlsServerName === undefined ? {} : { servername: tlsServerName }),
    };
  }

  /** Who we are, in headers. */
  async #authentication(force: boolean): Promise<Record<string, string | readonly string[]>> {
    const c = this.#config;
    let token = c.token;
    if (c.tokenFile !== undefined) {
      if (force || this.#token === undefined || ioNow() - this.#token.readAt > tokenFileTtlMs) {
        this.#token = { text: (await readFile(c.tokenFile, 'utf8')).trim(), readAt: ioNow() };
      }
      token = this.#token.text;
    }
    if (c.credentials !== undefined) {
      const given = await c.credentials(force);
      token = given.token ?? token;
      if (given.certificate !== undefined && given.certificate !== this.#certificate) {
        this.#certificate = given.certificate;
        this.#connections.close();
        this.#connections = new HttpConnections(this.#url, this.#tls(given));
      }
    }
    return identityHeaders(c, token);
  }

  async #send(request: ApiRequest, accept: string): Promise<RawResponse> {
    let body: Uint8Array | undefined;
    let contentType = request.contentType;
    if (request.body instanceof Uint8Array) body = request.body;
    else if (request.body !== undefined) {
      body = Buffer.from(JSON.stringify(request.body), 'utf8');
      contentType ??= 'application/json';
    }
    const path = `${this.#prefix}${request.path}${encodeQuery(request.query)}`;
    let refreshed = false;
    for (let attempt = 0; ; attempt++) {
      const authentication = await this.#authentication(refreshed);
      const { host } = this.#url;
      const { method } = request;
      const { meter } = this.#options;
      const began = ioNow();
      const done = (code: number | undefined): void =>
        meter?.done({ host, method, code, seconds: (ioNow() - began) / 1000, sent: body?.length ?? 0 });
      let response: RawResponse;
      try {
        response = await this.#connections.send({
          method: request.method,
          path,
          headers: {
            accept,
            'user-agent': this.#options.userAgent ?? 'knarr',
            ...(body === undefined || contentType === undefined ? {} : { 'content-type': contentType }),
            ...authentication,
            ...request.headers,
          },
          body,
          signal: request.signal,
        });
        done(response.status);
      } catch (error) {
        done(undefined);
        // Nobody knows whether a write arrived, so only reads are sent again.
        const safe = request.method === 'GET' || request.method === 'HEAD' || request.method === 'OPTIONS';
        if (!safe || attempt >= 3 || request.signal?.aborted === true || !isConnectionLost(error)) {
          throw connectionError(request, this.#url, error);
        }
        meter?.retried(host, method, undefined);
        await ioSleep(50 * 2 ** attempt * (1 + this.#options.random.float()), request.signal);
        continue;
      }
      if (response.status === 401 && !refreshed && (this.#config.credentials ?? this.#config.tokenFile) !== undefined) {
        refreshed = true;
        response.stream.resume();
        continue;
      }
      const after = response.headers['retry-after'];
      const retryable = response.status === 429 || (response.status >= 500 && response.status <= 599);
      if (retryable && after !== undefined && attempt < maxRetries) {
        const seconds = Number(after);
        if (Number.isFinite(seconds) && seconds >= 0) {
          response.stream.resume();
          meter?.retried(host, method, response.status);
          await ioSleep(Math.min(seconds * 1000, maxRetryWaitMs) + 100 * this.#options.random.float(), request.signal);
          continue;
        }
      }
      return response;
    }
  }

  async request(request: ApiRequest): Promise<ApiResponse> {
    const accept = request.headers?.['accept'] ?? 'application/json';
    const raw = await this.#send(request, accept);
    try {
      const bytes = await collect(raw.stream);
      this.#options.meter?.received(this.#url.host, request.method, bytes.length);
      return { status: raw.status, headers: raw.headers, body: parseBody(bytes, raw.headers['content-type'] ?? '') };
    } catch (error) {
      throw connectionError(request, this.#url, error);
    }
  }

  async #refuse(raw: RawResponse): Promise<never> {
    const bytes = await collect(raw.stream);
    throw errorFromResponse({
      status: raw.status,
      headers: raw.headers,
      body: parseBody(bytes, raw.headers['content-type'] ?? ''),
    });
  }

  async watch<T = unknown>(request: ApiRequest): Promise<WatchStream<T>> {
    const raw = await this.#send(request, request.headers?.['accept'] ?? 'application/json');
    if (raw.status >= 300) return this.#refuse(raw);
    return new JsonLines<T>(raw.stream);
  }

  async stream(request: ApiRequest): Promise<Readable> {
    const raw = await this.#send(request, request.headers?.['accept'] ?? '*/*');
    if (raw.status >= 300) return this.#refuse(raw);
    return raw.stream;
  }

  async connect(request: ApiRequest, protocols: readonly string[]): Promise<MessageChannel> {
    const { WebSocket } = await import('ws');
    const scheme = this.#url.protocol === 'http:' ? 'ws' : 'wss';
    const url = `${scheme}://${this.#url.host}${this.#prefix}${request.path}${encodeQuery(request.query)}`;
    const headers = await this.#authentication(false);
    const socket = new WebSocket(url, [...protocols], {
      headers: {
        'user-agent': this.#options.userAgent ?? 'knarr',
        ...(headers as Record<string, string>),
        ...request.headers,
      },
      ...this.#connections.tlsOptions,
      handshakeTimeout: 30_000,
      perMessageDeflate: false,
    });
    await new Promise<void>((resolve, reject) => {
      socket.once('open', resolve);
      socket.once('error', (error) => reject(connectionError(request, this.#url, error)));
      socket.once('unexpected-response', (_req, res) => {
        collect(res).then(
          (bytes) => {
            const contentType = String(res.headers['content-type'] ?? '');
            reject(
              errorFromResponse({ status: res.statusCode ?? 500, headers: {}, body: parseBody(bytes, contentType) }),
            );
          },
          (error: unknown) => reject(connectionError(request, this.#url, error)),
        );
      });
    });
    request.signal?.addEventListener('abort', () => socket.terminate(), { once: true });
    return new WebSocketChannel(socket);
  }

  close(): Promise<void> {
    this.#connections.close();
    return Promise.resolve();
  }
}

/** True where the request surely met no answer: refused, reset, timed out. */
function isConnectionLost(error: unknown): boolean {
  const code = (error as { code?: unknown }).code;
  return (
    typeof code !== 'string' ||
    /^(ECONNREFUSED|ECONNRESET|EPIPE|ETIMEDOUT|EHOSTUNREACH|ENETUNREACH|ERR_HTTP2_.*)$/.test(code)
  );
}

function connectionError(request: ApiRequest, url: URL, cause: unknown): Error {
  if (cause instanceof StatusError || request.signal?.aborted === true) return cause as Error;
  const why = cause instanceof Error ? cause.message : String(cause);
  return new Error(`${request.method} ${url.origin}${request.path}: ${why}`, { cause });
}

/** A watch's body: one event a line, handed out in the batches in which they came. */
class JsonLines<T> implements WatchStream<T> {
  readonly #stream: Readable;
  #closed = false;

  constructor(stream: Readable) {
    this.#stream = stream;
    // A stream that is closed early reports it as an error nobody waits for any more.
    stream.on('error', () => {});
  }

  close(): void {
    this.#closed = true;
    this.#stream.destroy();
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<readonly WatchEvent<T>[]> {
    let rest: Buffer[] = [];
    let size = 0;
    try {
      for await (const chunk of chunksOf(this.#stream)) {
        let start = 0;
        const events: WatchEvent<T>[] = [];
        for (let end = chunk.indexOf(10); end !== -1; end = chunk.indexOf(10, start)) {
          rest.push(chunk.subarray(start, end));
          const line = rest.length === 1 ? rest[0]! : Buffer.concat(rest);
          rest = [];
          size = 0;
          start = end + 1;
          if (line.length > 0) events.push(JSON.parse(line.toString('utf8')) as WatchEvent<T>);
        }
        if (start < chunk.length) {
          rest.push(chunk.subarray(start));
          size += chunk.length - start;
          if (size > maxEventBytes) throw new Error(`watch event of more than ${maxEventBytes} bytes`);
        }
        if (events.length > 0) yield events;
      }
    } catch (error) {
      if (!this.#closed) throw error;
    }
  }
}

/** Messages of a WebSocket; reading slowly holds the peer back. */
class WebSocketChannel implements MessageChannel {
  readonly protocol: string;
  readonly #socket: WsSocket;
  readonly #queue: Buffer[] = [];
  #wake: (() => void) | undefined;
  #ended = false;
  #error: Error | undefined;

  constructor(socket: WsSocket) {
    this.#socket = socket;
    this.protocol = socket.protocol;
    socket.on('message', (data: Buffer | ArrayBuffer | Buffer[]) => {
      this.#queue.push(
        Array.isArray(data) ? Buffer.concat(data) : data instanceof ArrayBuffer ? Buffer.from(data) : data,
      );
      if (this.#queue.length > 64) socket.pause();
      this.#wake?.();
    });
    socket.on('error', (error) => {
      this.#error = error;
    });
    socket.on('close', (code, reason) => {
      this.#ended = true;
      if (code !== 1000 && code !== 1005 && this.#error === undefined && reason.length > 0) {
        this.#error = new Error(`connection closed: ${reason.toString('utf8')}`);
      }
      this.#wake?.();
    });
  }

  send(data: Uint8Array): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#socket.send(data, { binary: true }, (error) => (error ? reject(error) : resolve()));
    });
  }

  get messages(): AsyncIterable<Buffer> {
    return this.#read();
  }

  async *#read(): AsyncGenerator<Buffer> {
    for (;;) {
      const next = this.#queue.shift();
      if (next !== undefined) {
        if (this.#queue.length === 16) this.#socket.resume();
        yield next;
        continue;
      }
      if (this.#ended) {
        if (this.#error !== undefined) throw this.#error;
        return;
      }
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
      this.#wake = undefined;
    }
  }

  close(): void {
    this.#socket.close(1000);
  }
}
