/**
 * `LocalTransport`: a client's requests handed to an API server of the same process. No sockets and no JSON: bodies go in
 * as parsed objects (the decoder copies them), answers and events come out as shared immutable objects. Everything passes
 * the whole filter chain under one identity. Upgrades run WebSocket over an in-memory stream.
 */
import { Readable, duplexPair } from 'node:stream';
import { WebSocket } from 'ws';
import { StatusError, type Status } from '../api/status.ts';
import type { Logger } from '../base/logger.ts';
import type {
  ApiRequest,
  ApiResponse,
  MessageChannel,
  Transport,
  WatchEvent,
  WatchStream,
} from '../client/transport.ts';
import { plainJson } from './encode/negotiate.ts';
import type { Scope } from './filters/scope.ts';
import type { GenericServer } from './generic-server.ts';
import { Http1Connections } from './http/h1.ts';
import { localPeer } from './http/peer.ts';
import type { IncomingRequest, OutgoingResponse, RequestBody, UserInfo, WatchSource } from './request.ts';

const noQuery = new URLSearchParams();
const noBody: RequestBody = { kind: 'none' };
const never = new AbortController().signal;

function queryOf(query: ApiRequest['query']): URLSearchParams | undefined {
  if (query === undefined) return undefined;
  let params: URLSearchParams | undefined;
  for (const name in query) {
    const value = query[name];
    if (value === undefined) continue;
    params ??= new URLSearchParams();
    if (typeof value === 'object') for (const one of value) params.append(name, one);
    else params.append(name, String(value));
  }
  return params;
}

function toBytes(body: Uint8Array): Buffer {
  return Buffer.from(body.buffer, body.byteOffset, body.byteLength);
}

function bodyOf(body: unknown): RequestBody {
  if (body === undefined) return noBody;
  if (body instanceof Uint8Array) {
    const bytes = toBytes(body);
    return {
      kind: 'bytes',
      read: (limit) =>
        bytes.length > limit
          ? Promise.reject(new StatusError(413, 'RequestEntityTooLarge', `Request entity too large: limit is ${limit}`))
          : Promise.resolve(bytes),
    };
  }
  return { kind: 'object', value: body };
}

function splitPath(path: string): { path: string; inline: string } {
  const mark = path.indexOf('?');
  return mark < 0 ? { path, inline: '' } : { path: path.slice(0, mark), inline: path.slice(mark + 1) };
}

export class LocalTransport implements Transport {
  readonly #server: GenericServer;
  readonly #identity: UserInfo;
  readonly #userAgent: string | undefined;
  readonly #logger: Logger;
  #upgrades: Http1Connections | undefined;
  #closed = false;
  readonly #open = new Set<{ close(): void }>();

  /** `userAgent` names the client in managedFields and the audit log. */
  constructor(server: GenericServer, identity: UserInfo, logger: Logger, userAgent: string | undefined) {
    this.#server = server;
    this.#identity = identity;
    this.#userAgent = userAgent;
    this.#logger = logger;
  }

  #incoming(request: ApiRequest): IncomingRequest {
    const { path, inline } = splitPath(request.path);
    let query = queryOf(request.query);
    if (inline !== '') {
      const both = new URLSearchParams(inline);
      if (query !== undefined) for (const [k, v] of query) both.append(k, v);
      query = both;
    }
    const headers: Record<string, string> = {};
    if (request.headers !== undefined)
      for (const name in request.headers) headers[name.toLowerCase()] = request.headers[name]!;
    if (this.#userAgent !== undefined) headers['user-agent'] ??= this.#userAgent;
    const body = bodyOf(request.body);
    if (body.kind !== 'none' && headers['content-type'] === undefined)
      headers['content-type'] = request.contentType ?? 'application/json';
    return {
      method: request.method,
      path,
      query: query ?? noQuery,
      ...(query === undefined ? { rawQuery: '' } : {}),
      headers,
      body,
      remoteAddress: '127.0.0.1',
      identity: this.#identity,
      signal: request.signal ?? never,
      wantsObjects: true,
    };
  }

  #refuseClosed(): void {
    if (this.#closed) throw new Error('transport is closed');
  }

  #headers(scope: Scope, response: OutgoingResponse): Record<string, string> {
    const headers: Record<string, string> = { 'audit-id': scope.auditId, ...response.headers };
    if (scope.flow !== undefined) {
      headers['x-kubernetes-pf-flowschema-uid'] = scope.flow.uid;
      headers['x-kubernetes-pf-prioritylevel-uid'] = scope.flow.level.uid;
    }
    if (scope.warnings !== undefined && scope.warnings.values.length > 0)
      headers['warning'] = scope.warnings.values.join(', ');
    return headers;
  }

  async #run(request: ApiRequest): Promise<{ scope: Scope; response: OutgoingResponse }> {
    this.#refuseClosed();
    if (request.signal?.aborted) throw request.signal.reason;
    const scope = this.#server.scope(this.#incoming(request));
    const work = this.#server.run(scope);
    const signal = request.signal;
    if (signal === undefined) return { scope, response: await work };
    let onAbort: (() => void) | undefined;
    try {
      const response = await Promise.race([
        work,
        new Promise<never>((_, reject) => {
          onAbort = () => reject(signal.reason as Error);
          signal.addEventListener('abort', onAbort, { once: true });
        }),
      ]);
      return { scope, response };
    } catch (error) {
      // The answer that nobody waits for any more still has to be let go of.
      void work.then(release);
      throw error;
    } finally {
      if (onAbort !== undefined) signal.removeEventListener('abort', onAbort);
    }
  }

  async #failure(scope: Scope, response: OutgoingResponse): Promise<StatusError> {
    if (response.body.kind === 'stream')
      return new StatusError(response.status, reasons[response.status] ?? '', ((await collect(response)) ?? '').trim());
    const body = await this.#server.encoder.objects(scope, response);
    if (typeof body === 'object' && body !== null) return StatusError.fromStatus(body as Partial<Status>);
    const message = typeof body === 'string' ? body.trim() : '';
    return new StatusError(response.status, reasons[response.status] ?? '', message);
  }

  async request(request: ApiRequest): Promise<ApiResponse> {
    // The answer is work in flight until its objects are made.
    const done = this.#server.clock.activity.begin();
    try {
      const { scope, response } = await this.#run(request);
      const kind = response.body.kind;
      if (kind === 'watch' || kind === 'stream') {
        const text = kind === 'watch' ? undefined : await collect(response);
        release(response);
        if (text === undefined) throw new Error('a watch was asked for as one answer; use watch()');
        return { status: response.status, headers: this.#headers(scope, response), body: text };
      }
      const body = await this.#server.encoder.objects(scope, response);
      this.#server.observed(scope, response.status);
      return { status: response.status, headers: this.#headers(scope, response), body };
    } finally {
      done();
    }
  }

  async watch<T = unknown>(request: ApiRequest): Promise<WatchStream<T>> {
    const query = { ...request.query, watch: 'true' };
    const { scope, response } = await this.#run({ ...request, query });
    if (response.body.kind === 'stream' && response.status === 200)
      return watchLines<T>(response.body.stream, request.signal, this.#open);
    if (response.body.kind !== 'watch') throw await this.#failure(scope, response);
    return this.#stream<T>(scope, response.body.source, request.signal);
  }

  #stream<T>(scope: Scope, source: WatchSource, signal: AbortSignal | undefined): WatchStream<T> {
    const server = this.#server;
    const make = server.encoder.watchEncoder().objects(scope, scope.output ?? plainJson);
    server.observer?.watchStarted(scope);
    let finished = false;
    /** Ends the activity of the batch that the consumer is working on. */
    let working: (() => void) | undefined;
    const finish = (): void => {
      working?.();
      working = undefined;
      if (finished) return;
      finished = true;
      source.close();
      forget();
      this.#open.delete(stream);
      signal?.removeEventListener('abort', finish);
      server.observer?.watchEnded(scope);
      server.observed(scope, 200);
    };
    const stream: WatchStream<T> = {
      close: finish,
      [Symbol.asyncIterator]: () => ({
        next: async (): Promise<IteratorResult<readonly WatchEvent<T>[]>> => {
          working?.();
          working = undefined;
          if (finished) return { done: true, value: undefined };
          const batch = await source.next();
          if (batch === undefined) {
            const error = source.error;
            const wasOpen = !finished;
            finish();
            if (error === undefined || !wasOpen) return { done: true, value: undefined };
            return { done: false, value: [{ type: 'ERROR', object: error as T }] };
          }
          if (finished) return { done: true, value: undefined };
          working = server.clock.activity.begin();
          return { done: false, value: batch.map((e) => ({ type: e.type, object: make(e) as T })) };
        },
        return: (): Promise<IteratorResult<readonly WatchEvent<T>[]>> => {
          finish();
          return Promise.resolve({ done: true, value: undefined });
        },
      }),
    };
    const forget = server.last(stream);
    this.#open.add(stream);
    if (signal !== undefined) {
      if (signal.aborted) finish();
      else signal.addEventListener('abort', finish, { once: true });
    }
    if (server.closing || this.#closed) finish();
    return stream;
  }

  async stream(request: ApiRequest): Promise<Readable> {
    const { scope, response } = await this.#run(request);
    if (response.status >= 400) throw await this.#failure(scope, response);
    const body = response.body;
    if (body.kind === 'stream') {
      const stream = body.stream;
      const handle = { close: () => stream.destroy() };
      const forget = this.#server.last(handle);
      this.#open.add(handle);
      stream.on('close', () => {
        forget();
        this.#open.delete(handle);
        this.#server.observed(scope, response.status);
      });
      return stream;
    }
    if (body.kind === 'bytes') return Readable.from([toBytes(body.bytes)]);
    const object = await this.#server.encoder.objects(scope, response);
    return Readable.from([Buffer.from(object === undefined ? '' : JSON.stringify(object))]);
  }

  /** A WebSocket over an in-memory stream that the server takes for an HTTP/1.1 connection of this identity. */
  async connect(request: ApiRequest, protocols: readonly string[]): Promise<MessageChannel> {
    this.#refuseClosed();
    this.#upgrades ??= new Http1Connections(this.#server, this.#logger);
    const [near, far] = duplexPair();
    this.#upgrades.accept(far, localPeer(this.#identity));
    const { path, inline } = splitPath(request.path);
    const query = [inline, queryOf(request.query)?.toString() ?? ''].filter((q) => q !== '').join('&');
    const socket = new WebSocket(`ws://localhost${path}${query === '' ? '' : `?${query}`}`, [...protocols], {
      createConnection: () => near as never,
      headers: { ...request.headers },
      perMessageDeflate: false,
    });
    return openChannel(socket, request.signal, this.#open);
  }

  close(): Promise<void> {
    this.#closed = true;
    for (const open of this.#open) open.close();
    this.#upgrades?.destroy();
    return Promise.resolve();
  }
}

/** Reasons of answers that carry no Status. */
const reasons: Readonly<Record<number, string>> = {
  404: 'NotFound',
  429: 'TooManyRequests',
  500: 'InternalError',
  503: 'ServiceUnavailable',
};

/** A watch that another server answers: its lines as events. */
function watchLines<T>(
  source: Readable,
  signal: AbortSignal | undefined,
  open: Set<{ close(): void }>,
): WatchStream<T> {
  const close = (): void => {
    open.delete(handle);
    signal?.removeEventListener('abort', close);
    source.destroy();
  };
  const handle = { close };
  open.add(handle);
  if (signal?.aborted === true) close();
  else signal?.addEventListener('abort', close, { once: true });
  async function* events(): AsyncGenerator<readonly WatchEvent<T>[]> {
    let rest = '';
    try {
      for await (const chunk of source) {
        const lines = (rest + (chunk as Buffer).toString('utf8')).split('\n');
        rest = lines.pop()!;
        const batch = lines.filter((l) => l !== '').map((l) => JSON.parse(l) as WatchEvent<T>);
        if (batch.length > 0) yield batch;
      }
    } catch (error) {
      // Closed by us, or cut by the other server: either way the watch is over and is begun again where it is wanted.
      if (error instanceof SyntaxError) throw error;
    } finally {
      close();
    }
  }
  return { close, [Symbol.asyncIterator]: events };
}

function release(response: OutgoingResponse): void {
  if (response.body.kind === 'watch') response.body.source.close();
  else if (response.body.kind === 'stream') response.body.stream.destroy();
}

async function collect(response: OutgoingResponse): Promise<string | undefined> {
  if (response.body.kind !== 'stream') return undefined;
  const chunks: Buffer[] = [];
  for await (const chunk of response.body.stream) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks).toString('utf8');
}

/** Waits for the handshake and wraps the socket as a `MessageChannel`. Rejects with the server's Status. */
export function openChannel(
  socket: WebSocket,
  signal: AbortSignal | undefined,
  open: Set<{ close(): void }>,
): Promise<MessageChannel> {
  return new Promise((resolve, reject) => {
    const onAbort = (): void => socket.terminate();
    signal?.addEventListener('abort', onAbort, { once: true });
    const messages: Buffer[] = [];
    let wake: (() => void) | undefined;
    let closed = false;
    let failure: Error | undefined;
    const handle = { close: () => socket.terminate() };
    open.add(handle);
    const high = 256;
    socket.on('message', (data: Buffer) => {
      messages.push(data);
      // The receiver sets the pace: a full buffer stops the socket.
      if (messages.length >= high) socket.pause();
      wake?.();
    });
    socket.on('close', () => {
      closed = true;
      open.delete(handle);
      signal?.removeEventListener('abort', onAbort);
      wake?.();
    });
    socket.on('error', (error) => {
      failure = error;
      reject(error);
    });
    socket.on('unexpected-response', (_request, response) => {
      const chunks: Buffer[] = [];
      response.on('data', (c: Buffer) => chunks.push(c));
      response.on('end', () => {
        const text = Buffer.concat(chunks).toString('utf8');
        let status: Partial<Status> = { code: response.statusCode ?? 500, message: text.trim() };
        try {
          status = JSON.parse(text) as Partial<Status>;
        } catch {
          // A plain text answer stands as the message.
        }
        reject(StatusError.fromStatus(status));
        socket.terminate();
      });
    });
    socket.on('open', () => {
      async function* receive(): AsyncGenerator<Buffer> {
        for (;;) {
          const next = messages.shift();
          if (next !== undefined) {
            if (messages.length === high >> 1) socket.resume();
            yield next;
            continue;
          }
          if (failure !== undefined) throw failure;
          if (closed) return;
          if (socket.isPaused) socket.resume();
          await new Promise<void>((r) => (wake = r));
          wake = undefined;
        }
      }
      resolve({
        protocol: socket.protocol,
        send: (data) =>
          new Promise((done, fail) => socket.send(data, { binary: true }, (error) => (error ? fail(error) : done()))),
        messages: receive(),
        close: () => socket.close(),
      });
    });
  });
}
