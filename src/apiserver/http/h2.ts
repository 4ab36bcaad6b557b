/** HTTP/2 connections: requests by the framing of `http2/`, answers by streams that each kind of body is written to. */
import type { Duplex } from 'node:stream';
import { HttpDate } from '../../base/http-date.ts';
import type { Logger } from '../../base/logger.ts';
import type { WireResponse } from '../encode/wire.ts';
import { Exchange, noBody } from './exchange.ts';
import { FanOut } from './fan-out.ts';
import { errorCode } from './http2/frames.ts';
import { DecoderScratch } from './http2/hpack-decoder.ts';
import { EncoderScratch } from './http2/hpack-encoder.ts';
import { OutputBuffers } from './http2/output-buffers.ts';
import type { RequestHead } from './http2/request-head.ts';
import { Http2Session, type SessionContext } from './http2/session.ts';
import type { Http2Stream } from './http2/stream.ts';
import type { Peer } from './peer.ts';
import type { Serve } from './serve.ts';
import { writeLongBody } from './write-body.ts';

export class Http2Connections {
  readonly #serve: Serve;
  readonly #logger: Logger;
  readonly #leaves: (() => boolean) | undefined;
  readonly #shared: Omit<SessionContext, 'onRequest'>;
  readonly #sessions = new Set<Http2Session>();
  readonly #fanOut = new FanOut();

  /** `leaves`: asked for each request whether its connection should end after it (`--goaway-chance`). */
  constructor(serve: Serve, logger: Logger, leaves: (() => boolean) | undefined, maxStreams: number) {
    this.#serve = serve;
    this.#leaves = leaves;
    this.#logger = logger;
    const date = new HttpDate();
    this.#shared = {
      logger,
      maxStreams,
      buffers: new OutputBuffers(),
      encoding: new EncoderScratch(),
      decoding: new DecoderScratch(),
      date: () => date.now(),
    };
  }

  accept(socket: Duplex, peer: Peer): void {
    const session: Http2Session = new Http2Session(
      socket,
      { ...this.#shared, onRequest: (stream, head) => this.#onRequest(session, peer, stream, head) },
      () => this.#sessions.delete(session),
    );
    this.#sessions.add(session);
  }

  #onRequest(session: Http2Session, peer: Peer, stream: Http2Stream, head: RequestHead): void {
    const { method } = head;
    const request = new Exchange(method, head.path, head.headers, head.raw, stream.body ?? noBody, peer, stream);
    this.#serve.handle(request).then(
      (response) => {
        stream.settled();
        this.#respond(stream, method, response);
        // Streams that are open go on; new ones come by another connection, perhaps to another server.
        if (this.#leaves?.() === true) session.goAway();
      },
      (error: unknown) => {
        stream.settled();
        this.#logger.error('request was not answered', { error });
        stream.reset(errorCode.internal);
      },
    );
  }

  #respond(stream: Http2Stream, method: string, { status, headers, body }: WireResponse): void {
    if (stream.destroyed) abandon(body);
    else if (body.kind === 'none' || method === 'HEAD') {
      abandon(body);
      stream.respond(status, headers, true);
    } else if (body.kind === 'bytes') {
      stream.respond(status, headers, false);
      stream.end(body.bytes);
    } else {
      stream.respond(status, headers, false);
      void writeLongBody(stream, body, this.#fanOut, this.#logger).finally(() => this.#serve.finished(body));
    }
  }

  /** Lets streams finish and takes no new ones. */
  drain(): void {
    for (const session of this.#sessions) session.goAway();
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
