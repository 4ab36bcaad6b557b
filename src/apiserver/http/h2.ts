/** HTTP/2 connections, through Node's stream API (the compatibility layer costs half as much again). */
import * as http2 from 'node:http2';
import type { TLSSocket } from 'node:tls';
import type { Logger } from '../../base/logger.ts';
import type { WireResponse } from '../encode/wire.ts';
import { Exchange } from './exchange.ts';
import { FanOut } from './fan-out.ts';
import type { Peer } from './peer.ts';
import type { Serve } from './serve.ts';
import { writeLongBody } from './write-body.ts';

type ServerStream = http2.ServerHttp2Stream;

const settings: http2.Settings = {
  initialWindowSize: 256 * 1024,
  enablePush: false,
};

/** Stands as the reason in streams that closed before their last write was acknowledged. */
const closedEarly = new Error('stream closed');

interface Internals {
  readonly _writableState?: { errored: unknown };
  _destroy(error: Error | null, callback: (error?: Error | null) => void): void;
}

/**
 * A stream closes as soon as its last frame is framed, before the socket has taken it. When the write is acknowledged after
 * that, Node makes an error for callbacks that nobody has registered, with a stack trace that costs as much as a fifth of
 * a request. A stream that has its reason already is spared that.
 */
function destroyQuietly(this: Internals, error: Error | null, callback: (error?: Error | null) => void): void {
  const state = this._writableState;
  if (state !== undefined && state.errored === null) state.errored = closedEarly;
  (Object.getPrototypeOf(this) as Internals)._destroy.call(this, error, callback);
}

/** What goes wrong with one stream is that client's affair; `close` follows and ends whatever works on it. */
function ignoreStreamError(): void {}

export class Http2Connections {
  readonly #serve: Serve;
  readonly #logger: Logger;
  readonly #leaves: (() => boolean) | undefined;
  readonly #settings: http2.Settings;
  readonly #sessions = new Set<http2.ServerHttp2Session>();
  readonly #fanOut = new FanOut();

  /** `leaves`: asked for each request whether its connection should end after it (`--goaway-chance`). */
  constructor(serve: Serve, logger: Logger, leaves: (() => boolean) | undefined, maxStreams: number) {
    this.#settings = { ...settings, maxConcurrentStreams: maxStreams };
    this.#serve = serve;
    this.#leaves = leaves;
    this.#logger = logger;
  }

  accept(socket: TLSSocket, peer: Peer): void {
    const session = http2.performServerHandshake(socket, {
      settings: this.#settings,
      maxSessionMemory: 64,
    }) as http2.ServerHttp2Session;
    this.#sessions.add(session);
    session.on('close', () => this.#sessions.delete(session));
    session.on('error', (error) => this.#logger.debug('http2 session failed', { error }));
    session.on('stream', (stream, headers, flags, rawHeaders) =>
      this.#onStream(peer, stream, headers, flags, rawHeaders as unknown as string[]),
    );
  }

  #onStream(
    peer: Peer,
    stream: ServerStream,
    headers: http2.IncomingHttpHeaders,
    flags: number,
    rawHeaders: readonly string[],
  ): void {
    stream.on('error', ignoreStreamError);
    const method = headers[':method'] ?? 'GET';
    const ended = (flags & http2.constants.NGHTTP2_FLAG_END_STREAM) !== 0;
    const request = new Exchange({
      method,
      target: headers[':path'] ?? '/',
      headers: headers as Record<string, string>,
      rawHeaders,
      peer,
      body: ended ? undefined : stream,
      onGone: (gone) => {
        if (stream.destroyed || stream.aborted) gone();
        else stream.on('aborted', gone);
      },
    });
    const answer = this.#serve.handle(request);
    answer.then(
      (response) => this.#respond(stream, method, response),
      (error: unknown) => {
        this.#logger.error('request was not answered', { error });
        stream.close(http2.constants.NGHTTP2_INTERNAL_ERROR);
      },
    );
  }

  #respond(stream: ServerStream, method: string, response: WireResponse): void {
    const body = response.body;
    if (stream.destroyed || stream.closed) {
      abandon(body);
      return;
    }
    const headers = response.headers as http2.OutgoingHttpHeaders;
    headers[':status'] = response.status;
    try {
      if (body.kind === 'none' || method === 'HEAD') {
        abandon(body);
        stream.respond(headers, { endStream: true });
      } else if (body.kind === 'bytes') {
        (stream as unknown as Internals)._destroy = destroyQuietly;
        stream.respond(headers);
        stream.end(body.bytes);
      } else {
        stream.respond(headers);
        void writeLongBody(stream, body, true, this.#fanOut, this.#logger).finally(() => this.#serve.finished(body));
      }
    } catch (error) {
      // The client may have gone between the check and the call.
      abandon(body);
      this.#logger.debug('response was not taken', { error });
      stream.destroy();
      return;
    }
    // What the client still sends of a refused body is read and dropped.
    if (!stream.readableEnded) stream.resume();
    // Streams that are open go on; new ones come by another connection, perhaps to another server.
    if (this.#leaves?.() === true) stream.session?.close();
  }

  /** Lets streams finish and takes no new ones. */
  drain(): void {
    for (const session of this.#sessions) session.close();
  }

  destroy(): void {
    for (const session of this.#sessions) session.destroy();
  }

  get size(): number {
    return this.#sessions.size;
  }
}

/** Releases what a body holds when it is not going to be written. */
export function abandon(body: WireResponse['body']): void {
  if (body.kind === 'watch') body.watch.close();
  else if (body.kind === 'stream') body.stream.destroy();
}
