/**
 * `Exchange`: an `IncomingRequest` over HTTP, either version. What few requests ask for (query, signal, peer address) is
 * made on first use, since most of the time of a short request goes into allocation.
 */
import type { Readable } from 'node:stream';
import { StatusError, badRequest } from '../../api/status.ts';
import type { IncomingRequest, RequestBody } from '../request.ts';
import type { Peer } from './peer.ts';

const noBody: RequestBody = { kind: 'none' };

/** 413 as upstream words it. */
export function tooLarge(limit: number): StatusError {
  return new StatusError(413, 'RequestEntityTooLarge', `Request entity too large: limit is ${limit}`);
}

/** Reads a whole body, failing with 413 past `limit` and when the client goes away in the middle. */
export function readBody(stream: Readable, declared: number | undefined, limit: number): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    if (declared !== undefined && declared > limit) {
      stream.resume();
      reject(tooLarge(limit));
      return;
    }
    let first: Buffer | undefined;
    let more: Buffer[] | undefined;
    let size = 0;
    let done = false;
    const finish = (): void => {
      if (done) return;
      done = true;
      if (more !== undefined) resolve(Buffer.concat(more, size));
      else resolve(first ?? empty);
    };
    // Errors are made only when they are told: their stack traces cost more than reading a short body.
    const fail = (make: () => Error): void => {
      if (done) return;
      done = true;
      reject(make());
    };
    stream.on('data', (chunk: Buffer) => {
      if (done) return;
      size += chunk.length;
      if (size > limit) {
        more = undefined;
        first = undefined;
        fail(() => tooLarge(limit));
        return;
      }
      if (first === undefined) first = chunk;
      else if (more === undefined) more = [first, chunk];
      else more.push(chunk);
    });
    stream.on('end', finish);
    stream.on('error', (error) => fail(() => badRequest(`unable to read the request body: ${error.message}`, error)));
    stream.on('close', () => fail(() => badRequest('unable to read the request body: the client went away')));
  });
}

const empty = Buffer.alloc(0);

export interface ExchangeInit {
  readonly method: string;
  /** Path with query. */
  readonly target: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly rawHeaders: readonly string[];
  readonly peer: Peer;
  /** The request's body stream; undefined when it has none. */
  readonly body: Readable | undefined;
  /** Calls back when the client has gone before the answer was complete. */
  readonly onGone: (gone: () => void) => void;
}

export class Exchange implements IncomingRequest {
  readonly method: string;
  readonly path: string;
  readonly rawQuery: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly rawHeaders: readonly string[];
  readonly body: RequestBody;
  readonly wantsObjects = false;
  readonly #peer: Peer;
  readonly #onGone: (gone: () => void) => void;
  #query: URLSearchParams | undefined;
  #signal: AbortSignal | undefined;
  upgrade: IncomingRequest['upgrade'] = undefined;

  constructor(init: ExchangeInit) {
    this.method = init.method;
    const target = init.target;
    const mark = target.indexOf('?');
    if (mark < 0) {
      this.path = target;
      this.rawQuery = '';
    } else {
      this.path = target.slice(0, mark);
      this.rawQuery = target.slice(mark + 1);
    }
    this.headers = init.headers;
    this.rawHeaders = init.rawHeaders;
    this.#peer = init.peer;
    this.#onGone = init.onGone;
    const body = init.body;
    if (body === undefined) this.body = noBody;
    else {
      const length = init.headers['content-length'];
      const declared = length === undefined ? undefined : Number(length);
      this.body = { kind: 'bytes', read: (limit) => readBody(body, declared, limit), stream: () => body };
    }
  }

  get query(): URLSearchParams {
    this.#query ??= new URLSearchParams(this.rawQuery);
    return this.#query;
  }

  get remoteAddress(): string {
    return this.#peer.address;
  }

  get peerCertificate(): Buffer | undefined {
    return this.#peer.certificate;
  }

  get peerAuthority(): 'client' | 'front-proxy' | undefined {
    return this.#peer.authority;
  }

  get peerCertificateError(): string | undefined {
    return this.#peer.error;
  }

  get identity(): IncomingRequest['identity'] {
    return this.#peer.identity;
  }

  get signal(): AbortSignal {
    if (this.#signal === undefined) {
      const controller = new AbortController();
      this.#signal = controller.signal;
      this.#onGone(() => controller.abort(new Error('the client went away')));
    }
    return this.#signal;
  }
}
