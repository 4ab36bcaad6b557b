/**
 * `Http2Stream`: one request of an HTTP/2 connection and the answer to it. The answer's bytes wait here for the client's window
 * and for the socket; `write` tells when that is so, and `drain` when it is over, as Node's streams do.
 */
import { Writable } from 'node:stream';
import { errorCode } from './frames.ts';
import type { StreamBody } from './stream-body.ts';

type Headers = Readonly<Record<string, string | number | readonly string[]>>;

/** What a stream needs of its connection. */
export interface StreamOwner {
  sendHeaders(stream: Http2Stream, status: number, headers: Headers, end: boolean): void;
  /** Sends what it can of what waits, of which `added` bytes are new. */
  send(stream: Http2Stream, added: number): void;
  /** Tells the client that it ends here. */
  reset(stream: Http2Stream, code: number): void;
  /** Its handler has answered. */
  settled(stream: Http2Stream): void;
}

type Listener = () => void;

export class Http2Stream {
  readonly id: number;
  readonly owner: StreamOwner;
  /** The request's body; undefined when it has none. */
  body: StreamBody | undefined = undefined;
  // Kept by the connection.
  sendWindow: number;
  receiveWindow: number;
  /** Body bytes declared and not yet come; -1 when nothing was declared. */
  bodyLeft = -1;
  headerSize = 0;
  /** The client has said all. */
  remoteEnded = false;
  /** All has been said to the client. */
  localEnded = false;
  /** Nothing more can be said to the client. */
  destroyed = false;
  /** What has been read of the body and not been told to the client. */
  creditable = 0;
  // What waits to be sent: `waiting` from `at` on, then `more`; `waitingBytes` altogether.
  waiting: Uint8Array | undefined = undefined;
  at = 0;
  more: Uint8Array[] | undefined = undefined;
  waitingBytes = 0;
  /** Nothing comes behind what waits. */
  ending = false;
  /** Since when it has been waiting without progress (`ioNow`). */
  stalledAt = 0;
  #gone: Listener | undefined = undefined;
  #close: Listener | undefined = undefined;
  #drain: Listener | undefined = undefined;

  constructor(id: number, owner: StreamOwner, sendWindow: number, receiveWindow: number) {
    this.id = id;
    this.owner = owner;
    this.sendWindow = sendWindow;
    this.receiveWindow = receiveWindow;
  }

  /** The handler has answered, or failed. */
  settled(): void {
    this.owner.settled(this);
  }

  respond(status: number, headers: Headers, end: boolean): void {
    if (!this.destroyed) this.owner.sendHeaders(this, status, headers, end);
  }

  /** False: the client has enough for now, wait for `drain`. What is written after the end is dropped. */
  write(bytes: Uint8Array): boolean {
    if (this.destroyed || this.ending) return true;
    if (bytes.length > 0) this.#send(bytes);
    return this.waiting === undefined;
  }

  /** With `bytes` as its last ones. */
  end(bytes?: Uint8Array): void {
    if (this.destroyed || this.ending) return;
    this.ending = true;
    if (bytes !== undefined && bytes.length > 0) this.#send(bytes);
    else this.owner.send(this, 0);
  }

  #send(bytes: Uint8Array): void {
    if (this.waiting === undefined) {
      this.waiting = bytes;
      this.at = 0;
    } else (this.more ??= []).push(bytes);
    this.owner.send(this, bytes.length);
  }

  reset(code: number): void {
    if (!this.destroyed) this.owner.reset(this, code);
  }

  /** The answer is cut short: the client is told that it is not whole. */
  destroy(): void {
    this.reset(errorCode.internal);
  }

  /** `drain`: the client takes more. `close`: all is over. One listener each. */
  on(event: 'close' | 'drain', listener: Listener): void {
    if (event === 'close') {
      if (this.destroyed) listener();
      else this.#close = listener;
    } else this.#drain = listener;
  }

  /** Calls back when the client leaves before it has the whole answer. */
  onGone(gone: Listener): void {
    if (this.destroyed) gone();
    else this.#gone = gone;
  }

  /** For the connection: what waited has been sent. */
  drained(): void {
    this.#drain?.();
  }

  /** For the connection: it is over; `whole`: as it should. */
  over(whole: boolean): void {
    this.destroyed = true;
    this.waiting = undefined;
    this.more = undefined;
    const gone = this.#gone;
    const close = this.#close;
    this.#gone = undefined;
    this.#close = undefined;
    this.#drain = undefined;
    this.body?.close();
    if (!whole) gone?.();
    close?.();
  }

  /** For whoever wants Node's interface. */
  toWritable(): Writable {
    return new StreamWritable(this);
  }
}

class StreamWritable extends Writable {
  readonly #stream: Http2Stream;
  #waiting: ((error?: Error | null) => void) | undefined = undefined;

  constructor(stream: Http2Stream) {
    super();
    this.#stream = stream;
    stream.on('drain', () => {
      const done = this.#waiting;
      this.#waiting = undefined;
      done?.();
    });
    stream.on('close', () => this.destroy());
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: (error?: Error | null) => void): void {
    if (this.#stream.write(chunk)) done();
    else this.#waiting = done;
  }

  override _final(done: (error?: Error | null) => void): void {
    this.#stream.end();
    done();
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    this.#waiting = undefined;
    if (!this.#stream.ending) this.#stream.destroy();
    done(error);
  }
}
