/**
 * `Exchange`: an `IncomingRequest` over HTTP, either version. What few requests ask for (query, signal, peer address) is
 * made on first use, since most of the time of a short request goes into allocation.
 */
import type { IncomingRequest, RequestBody } from '../request.ts';
import type { Peer } from './peer.ts';

export const noBody: RequestBody = { kind: 'none' };
/** Nobody writes to the query of a request. */
const noQuery = new URLSearchParams();

/** The way that a request came by. */
export interface Carrier {
  /** Calls back when the client has gone before the answer was complete. One caller each request. */
  onGone(gone: () => void): void;
}

export class Exchange implements IncomingRequest {
  readonly method: string;
  readonly path: string;
  readonly rawQuery: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: RequestBody;
  readonly wantsObjects = false;
  readonly #peer: Peer;
  readonly #carrier: Carrier;
  #raw: readonly string[] | undefined;
  #query: URLSearchParams | undefined;
  #signal: AbortSignal | undefined;
  upgrade: IncomingRequest['upgrade'] = undefined;

  /** `target`: path with query. `raw`: names and values as they came, where that is more than `headers` says. */
  constructor(
    method: string,
    target: string,
    headers: Readonly<Record<string, string>>,
    raw: readonly string[] | undefined,
    body: RequestBody,
    peer: Peer,
    carrier: Carrier,
  ) {
    this.method = method;
    const mark = target.indexOf('?');
    if (mark < 0) {
      this.path = target;
      this.rawQuery = '';
    } else {
      this.path = target.slice(0, mark);
      this.rawQuery = target.slice(mark + 1);
    }
    this.headers = headers;
    this.#raw = raw;
    this.body = body;
    this.#peer = peer;
    this.#carrier = carrier;
  }

  get rawHeaders(): readonly string[] {
    this.#raw ??= Object.entries(this.headers).flat();
    return this.#raw;
  }

  get query(): URLSearchParams {
    this.#query ??= this.rawQuery === '' ? noQuery : new URLSearchParams(this.rawQuery);
    return this.#query;
  }

  get remoteAddress(): string {
    return this.#peer.address;
  }

  get peerCertificate(): Buffer | undefined {
    return this.#peer.certificate;
  }

  get peerAuthority(): Peer['authority'] {
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
      this.#carrier.onGone(() => controller.abort(new Error('the client went away')));
    }
    return this.#signal;
  }
}
