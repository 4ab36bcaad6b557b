/**
 * SPDY/3.1, as much of it as Kubernetes' streaming protocols speak (exec, attach and port-forward): one connection carries many
 * byte streams. Either end of a connection, over any byte stream. Not an HTTP server: streams carry headers and bytes, no requests.
 *
 * Windows: credit is always given back, but a peer's window is kept only once the peer has shown (by SETTINGS or WINDOW_UPDATE) that
 * it has one: Kubernetes' own SPDY library never sends either.
 */
import { Duplex } from 'node:stream';
import { deferred } from './deferred.ts';
import { ioNow, ioTimer } from './io-time.ts';
import type { SpdyHeaders } from './spdy-headers.ts';
import { HeaderDecoder, HeaderEncoder } from './spdy-headers.ts';

export type { SpdyHeaders } from './spdy-headers.ts';

const version = 3;
const SYN_STREAM = 1;
const SYN_REPLY = 2;
const RST_STREAM = 3;
const SETTINGS = 4;
const PING = 6;
const GOAWAY = 7;
const HEADERS = 8;
const WINDOW_UPDATE = 9;
const FLAG_FIN = 1;
const FLAG_UNIDIRECTIONAL = 2;

const INITIAL_WINDOW_SIZE = 7;
const defaultWindow = 64 * 1024;
/** What we let a peer send on a stream before it must wait, and on the whole connection. */
const ownWindow = 256 * 1024;
const ownSessionWindow = 16 * 1024 * 1024;
const maxControlFrame = 256 * 1024;
const maxDataFrame = 32 * 1024;
const maxStreams = 1000;
/** Unread bytes on all streams at which reading from the transport pauses. */
const maxBuffered = 8 * 1024 * 1024;

export const SpdyStatus = {
  PROTOCOL_ERROR: 1,
  INVALID_STREAM: 2,
  REFUSED_STREAM: 3,
  CANCEL: 5,
  INTERNAL_ERROR: 6,
  FLOW_CONTROL_ERROR: 7,
} as const;

/** The peer has reset a stream. */
export class SpdyReset extends Error {
  readonly status: number;

  constructor(status: number) {
    super(`stream reset by peer (status ${status})`);
    this.name = 'SpdyReset';
    this.status = status;
  }
}

export interface SpdyOptions {
  readonly role: 'client' | 'server';
  /** A stream that the peer has opened. It must be answered: `reply`, or `refuse`. */
  readonly onStream?: (stream: SpdyStream) => void;
  /** Ends the connection after so many milliseconds in which nothing was sent or received. */
  readonly idleTimeoutMs?: number;
  /**
   * The peer has no windows (Kubernetes' own library): nothing is said of ours. A peer that ends the connection as soon as it has said
   * its last word would not read that, and what is not read makes its kernel throw that last word away.
   */
  readonly withoutWindows?: boolean;
}

/** How much may still be sent. */
class SendWindow {
  #left = defaultWindow;
  enforced = false;

  get left(): number {
    return this.enforced ? this.#left : Infinity;
  }

  take(n: number): void {
    this.#left -= n;
  }

  add(n: number): void {
    this.#left += n;
  }

  /** Changes the size it began with. */
  rebase(by: number): void {
    this.#left += by;
  }
}

export class SpdyStream extends Duplex {
  readonly id: number;
  readonly headers: SpdyHeaders;
  readonly window: SendWindow = new SendWindow();
  readonly #connection: SpdyConnection;
  #localEnded: boolean;
  #remoteEnded: boolean;
  #reset = false;
  #unread = 0;
  #credit = 0;
  #replied: boolean;

  constructor(
    connection: SpdyConnection,
    id: number,
    headers: SpdyHeaders,
    state: { localEnded: boolean; remoteEnded: boolean; replied: boolean },
  ) {
    super({ allowHalfOpen: true, readableHighWaterMark: 64 * 1024, writableHighWaterMark: 64 * 1024 });
    this.#connection = connection;
    this.id = id;
    this.headers = headers;
    this.#localEnded = state.localEnded;
    this.#remoteEnded = state.remoteEnded;
    this.#replied = state.replied;
    if (state.remoteEnded) this.push(null);
    if (state.localEnded) super.end();
  }

  /** Accepts a stream that the peer has opened. */
  reply(headers: SpdyHeaders = {}): void {
    if (this.#replied || this.destroyed) return;
    this.#replied = true;
    this.#connection.sendHeaders(SYN_REPLY, 0, this.id, headers);
  }

  /** Turns it down. */
  refuse(): void {
    this.reset(SpdyStatus.REFUSED_STREAM);
  }

  /** Ends both directions at once. */
  reset(status: number = SpdyStatus.CANCEL): void {
    if (this.#reset || this.destroyed) return;
    if (!(this.#localEnded && this.#remoteEnded)) this.#connection.sendReset(this.id, status);
    this.#reset = true;
    this.destroy();
  }

  /** Bytes received and not yet read. */
  get unread(): number {
    return this.#unread;
  }

  /** The connection delivers what came for this stream. */
  receive(data: Buffer): void {
    if (this.#remoteEnded || this.destroyed) return;
    this.#unread += data.length;
    if (this.push(data)) this.#consumed();
  }

  receiveEnd(): void {
    if (this.#remoteEnded) return;
    this.#remoteEnded = true;
    if (!this.destroyed) this.push(null);
  }

  /** `orderly`: what came before it can still be read, and then the stream ends. */
  receiveReset(status: number, orderly: boolean): void {
    this.#reset = true;
    if (!orderly) this.destroy(new SpdyReset(status));
    else this.endAfterRead();
  }

  /** Nothing more comes: a reader gets what came before the end, and then the end. */
  endAfterRead(): void {
    this.receiveEnd();
    const read = this.readableFlowing !== null || this.listenerCount('readable') > 0 || this.readableLength > 0;
    if (read && !this.readableEnded) this.once('end', () => this.destroy());
    else this.destroy();
  }

  #consumed(): void {
    const now = this.readableLength;
    const read = this.#unread - now;
    if (read <= 0) return;
    this.#unread = now;
    this.#connection.consumed(read);
    if (this.#remoteEnded) return;
    this.#credit += read;
    if (this.#credit < ownWindow / 4) return;
    this.#connection.sendWindowUpdate(this.id, this.#credit);
    this.#credit = 0;
  }

  override _read(): void {
    this.#consumed();
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, callback: (error?: Error | null) => void): void {
    this.#connection.sendData(this, chunk).then(
      () => callback(),
      (error: unknown) => callback(error as Error),
    );
  }

  override _final(callback: (error?: Error | null) => void): void {
    if (!this.#localEnded && !this.#reset) this.#connection.sendEnd(this.id);
    this.#localEnded = true;
    callback();
  }

  override _destroy(error: Error | null, callback: (error?: Error | null) => void): void {
    if (!this.#reset && !(this.#localEnded && this.#remoteEnded)) {
      this.#reset = true;
      this.#connection.sendReset(this.id, SpdyStatus.CANCEL);
    }
    this.#connection.consumed(this.#unread);
    this.#unread = 0;
    this.#connection.forget(this);
    callback(error);
  }
}

export class SpdyConnection {
  readonly #transport: Duplex;
  readonly #options: SpdyOptions;
  readonly #streams = new Map<number, SpdyStream>();
  readonly #opening = new Map<number, { resolve(stream: SpdyStream): void; reject(error: unknown): void }>();
  readonly #pings = new Map<number, () => void>();
  readonly #encoder = new HeaderEncoder();
  readonly #decoder = new HeaderDecoder();
  readonly #closed = deferred();
  readonly #session = new SendWindow();
  #peerWindow = defaultWindow;
  #peerHasWindows = false;
  #nextId: number;
  #nextPing: number;
  #lastPeerId = 0;
  #gone = false;
  #over = false;
  #buffered = 0;
  #roomWaiters: (() => void)[] = [];
  #sendWaiters: (() => void)[] = [];
  #sessionCredit = 0;
  #lastUse = ioNow();
  #cancelIdle: (() => void) | undefined;

  constructor(transport: Duplex, options: SpdyOptions) {
    this.#transport = transport;
    this.#options = options;
    this.#nextId = options.role === 'client' ? 1 : 2;
    this.#nextPing = this.#nextId;
    transport.on('drain', () => this.#wakeSenders());
    transport.on('error', () => this.#end());
    transport.on('close', () => this.#end());
    if (options.withoutWindows !== true) {
      const settings = Buffer.alloc(12);
      settings.writeUInt32BE(1, 0);
      settings.writeUInt32BE(INITIAL_WINDOW_SIZE, 4);
      settings.writeUInt32BE(ownWindow, 8);
      this.#control(SETTINGS, 0, settings);
      this.sendWindowUpdate(0, ownSessionWindow - defaultWindow);
    }
    if (options.idleTimeoutMs !== undefined) this.#armIdle(options.idleTimeoutMs);
    void this.#read();
  }

  /** Resolves when the connection is over, however it ended. */
  get closed(): Promise<void> {
    return this.#closed.promise;
  }

  get streams(): number {
    return this.#streams.size;
  }

  /** Opens a stream; resolves when the peer has accepted it. */
  createStream(headers: SpdyHeaders): Promise<SpdyStream> {
    if (this.#gone || this.#over) return Promise.reject(new Error('SPDY connection is closed'));
    const id = this.#nextId;
    this.#nextId += 2;
    const lower: Record<string, string> = {};
    for (const [name, value] of Object.entries(headers)) lower[name.toLowerCase()] = value;
    const stream = new SpdyStream(this, id, lower, { localEnded: false, remoteEnded: false, replied: true });
    this.#adopt(stream);
    return new Promise((resolve, reject) => {
      this.#opening.set(id, { resolve, reject });
      this.sendHeaders(SYN_STREAM, 0, id, lower);
    });
  }

  /** Resolves when the peer has answered. */
  ping(): Promise<void> {
    const id = this.#nextPing;
    this.#nextPing += 2;
    return new Promise((resolve) => {
      this.#pings.set(id, resolve);
      this.#sendPing(id);
    });
  }

  /** Says good-bye and ends the connection once what was written has gone out. Streams that are still open are cut. */
  close(): void {
    if (this.#gone || this.#over) return;
    this.#gone = true;
    const body = Buffer.alloc(8);
    body.writeUInt32BE(this.#lastPeerId, 0);
    this.#control(GOAWAY, 0, body);
    this.#transport.end();
    this.#end();
  }

  destroy(error?: Error): void {
    this.#transport.destroy(error);
    this.#end();
  }

  #adopt(stream: SpdyStream): void {
    stream.window.rebase(this.#peerWindow - defaultWindow);
    stream.window.enforced = this.#peerHasWindows;
    // Whoever uses the stream may listen as well; that a reset finds nobody must not end the process.
    stream.on('error', () => {});
    this.#streams.set(stream.id, stream);
  }

  #armIdle(ms: number): void {
    const check = (): void => {
      const left = this.#lastUse + ms - ioNow();
      if (left <= 0) this.destroy();
      else this.#cancelIdle = ioTimer(left, check);
    };
    this.#cancelIdle = ioTimer(ms, check);
  }

  #end(): void {
    if (this.#over) return;
    this.#over = true;
    this.#gone = true;
    this.#cancelIdle?.();
    this.#decoder.close();
    const lost = new Error('SPDY connection is closed');
    for (const { reject } of this.#opening.values()) reject(lost);
    this.#opening.clear();
    for (const stream of [...this.#streams.values()]) stream.endAfterRead();
    this.#streams.clear();
    for (const wake of this.#roomWaiters.splice(0)) wake();
    this.#wakeSenders();
    for (const answered of this.#pings.values()) answered();
    this.#pings.clear();
    this.#closed.resolve();
  }

  // What streams call.

  forget(stream: SpdyStream): void {
    this.#streams.delete(stream.id);
    this.#opening.get(stream.id)?.reject(stream.errored ?? new Error('stream refused'));
    this.#opening.delete(stream.id);
    this.#wakeSenders();
  }

  /** A stream's reader has taken bytes. */
  consumed(n: number): void {
    this.#buffered -= n;
    if (this.#buffered < maxBuffered / 2) for (const wake of this.#roomWaiters.splice(0)) wake();
  }

  sendHeaders(type: number, flags: number, id: number, headers: SpdyHeaders): void {
    if (this.#over) return;
    const block = this.#encoder.encode(headers);
    const head = Buffer.alloc(type === SYN_STREAM ? 10 : 4);
    head.writeUInt32BE(id, 0);
    this.#control(type, flags, head, block);
  }

  sendReset(id: number, status: number): void {
    const body = Buffer.alloc(8);
    body.writeUInt32BE(id, 0);
    body.writeUInt32BE(status, 4);
    this.#control(RST_STREAM, 0, body);
  }

  sendWindowUpdate(id: number, delta: number): void {
    if (this.#options.withoutWindows === true) return;
    const body = Buffer.alloc(8);
    body.writeUInt32BE(id, 0);
    body.writeUInt32BE(delta, 4);
    this.#control(WINDOW_UPDATE, 0, body);
  }

  sendEnd(id: number): void {
    this.#data(id, FLAG_FIN, undefined);
  }

  /** Sends bytes in frames as windows and the transport allow. */
  async sendData(stream: SpdyStream, chunk: Buffer): Promise<void> {
    let at = 0;
    while (at < chunk.length) {
      if (this.#over || stream.destroyed) throw new Error('write on a closed stream');
      const n = Math.min(maxDataFrame, chunk.length - at, stream.window.left, this.#session.left);
      if (n <= 0 || this.#transport.writableNeedDrain) {
        await new Promise<void>((resolve) => this.#sendWaiters.push(resolve));
        continue;
      }
      stream.window.take(n);
      this.#session.take(n);
      this.#data(stream.id, 0, chunk.subarray(at, at + n));
      at += n;
    }
  }

  #wakeSenders(): void {
    for (const wake of this.#sendWaiters.splice(0)) wake();
  }

  #sendPing(id: number): void {
    const body = Buffer.alloc(4);
    body.writeUInt32BE(id, 0);
    this.#control(PING, 0, body);
  }

  #control(type: number, flags: number, ...body: Buffer[]): void {
    if (this.#over || this.#transport.destroyed || this.#transport.writableEnded) return;
    let length = 0;
    for (const b of body) length += b.length;
    const head = Buffer.alloc(8);
    head.writeUInt16BE(0x8000 | version, 0);
    head.writeUInt16BE(type, 2);
    head.writeUInt32BE(length, 4);
    head.writeUInt8(flags, 4);
    this.#lastUse = ioNow();
    this.#transport.write(Buffer.concat([head, ...body]));
  }

  #data(id: number, flags: number, data: Buffer | undefined): void {
    if (this.#over || this.#transport.destroyed || this.#transport.writableEnded) return;
    const head = Buffer.alloc(8);
    head.writeUInt32BE(id, 0);
    head.writeUInt32BE(data?.length ?? 0, 4);
    head.writeUInt8(flags, 4);
    this.#lastUse = ioNow();
    this.#transport.write(data === undefined ? head : Buffer.concat([head, data]));
  }

  // Reading.

  async #read(): Promise<void> {
    let rest: Buffer = Buffer.alloc(0);
    /** A DATA frame whose bytes are still coming. */
    let data: { stream: SpdyStream | undefined; left: number; fin: boolean } | undefined;
    try {
      for await (const chunk of this.#transport as AsyncIterable<Buffer>) {
        this.#lastUse = ioNow();
        rest = rest.length === 0 ? chunk : Buffer.concat([rest, chunk]);
        for (;;) {
          if (data !== undefined) {
            const piece = rest.subarray(0, data.left);
            rest = rest.subarray(piece.length);
            data.left -= piece.length;
            this.#deliver(data.stream, piece);
            if (data.left > 0) break;
            if (data.fin) data.stream?.receiveEnd();
            data = undefined;
          }
          if (rest.length < 8) break;
          const flags = rest[4]!;
          const length = rest.readUIntBE(5, 3);
          if ((rest[0]! & 0x80) === 0) {
            const id = rest.readUInt32BE(0);
            if (id === 0) throw new Error('SPDY data frame for stream 0');
            data = { stream: this.#streams.get(id), left: length, fin: (flags & FLAG_FIN) !== 0 };
            rest = rest.subarray(8);
            continue;
          }
          if (length > maxControlFrame) throw new Error('SPDY control frame is too long');
          if ((rest.readUInt16BE(0) & 0x7fff) !== version) throw new Error('SPDY version is not 3');
          if (rest.length < 8 + length) break;
          const type = rest.readUInt16BE(2);
          const body = rest.subarray(8, 8 + length);
          rest = rest.subarray(8 + length);
          await this.#frame(type, flags, body);
        }
        if (this.#buffered > maxBuffered) await new Promise<void>((resolve) => this.#roomWaiters.push(resolve));
        if (this.#over) break;
      }
      this.#end();
    } catch (error) {
      if (!this.#over && !this.#transport.destroyed) {
        const goAway = Buffer.alloc(8);
        goAway.writeUInt32BE(this.#lastPeerId, 0);
        goAway.writeUInt32BE(1, 4);
        this.#control(GOAWAY, 0, goAway);
        this.#transport.end();
      }
      for (const stream of [...this.#streams.values()]) stream.destroy(error as Error);
      this.#end();
    }
  }

  #deliver(stream: SpdyStream | undefined, piece: Buffer): void {
    if (piece.length === 0) return;
    if (stream !== undefined && !stream.destroyed) {
      this.#buffered += piece.length;
      stream.receive(piece);
    }
    this.#sessionCredit += piece.length;
    if (this.#sessionCredit < ownSessionWindow / 4) return;
    this.sendWindowUpdate(0, this.#sessionCredit);
    this.#sessionCredit = 0;
  }

  async #frame(type: number, flags: number, body: Buffer): Promise<void> {
    const need = (n: number): void => {
      if (body.length < n) throw new Error('SPDY control frame is cut off');
    };
    switch (type) {
      case SYN_STREAM: {
        need(10);
        const headers = await this.#decoder.decode(body.subarray(10));
        this.#opened(body.readUInt32BE(0) & 0x7fffffff, flags, headers);
        return;
      }
      case SYN_REPLY:
      case HEADERS: {
        need(4);
        // Decoded in any case: the compression's state goes on.
        await this.#decoder.decode(body.subarray(4));
        const id = body.readUInt32BE(0) & 0x7fffffff;
        const stream = this.#streams.get(id);
        if (stream !== undefined) this.#opening.get(id)?.resolve(stream);
        this.#opening.delete(id);
        if ((flags & FLAG_FIN) !== 0) stream?.receiveEnd();
        return;
      }
      case RST_STREAM: {
        need(8);
        const id = body.readUInt32BE(0) & 0x7fffffff;
        // Kubernetes' servers end a session by resetting all its streams, the last bytes of which may still be unread.
        const orderly = this.#options.role === 'client' && !this.#opening.has(id);
        this.#streams.get(id)?.receiveReset(body.readUInt32BE(4), orderly);
        return;
      }
      case SETTINGS: {
        need(4);
        const count = body.readUInt32BE(0);
        if (count > (body.length - 4) / 8) throw new Error('SPDY SETTINGS frame is cut off');
        for (let i = 0; i < count; i++)
          if (body.readUIntBE(4 + i * 8 + 1, 3) === INITIAL_WINDOW_SIZE) this.#newWindow(body.readUInt32BE(8 + i * 8));
        return;
      }
      case PING: {
        need(4);
        const id = body.readUInt32BE(0);
        if (id % 2 !== this.#nextPing % 2) this.#sendPing(id);
        else {
          this.#pings.get(id)?.();
          this.#pings.delete(id);
        }
        return;
      }
      case GOAWAY:
        this.#gone = true;
        return;
      case WINDOW_UPDATE: {
        need(8);
        this.#windowsSeen();
        const id = body.readUInt32BE(0) & 0x7fffffff;
        const window = id === 0 ? this.#session : this.#streams.get(id)?.window;
        window?.add(body.readUInt32BE(4) & 0x7fffffff);
        this.#wakeSenders();
        return;
      }
      default:
        // Unknown control frames are ignored, as the protocol asks.
        return;
    }
  }

  #opened(id: number, flags: number, headers: SpdyHeaders): void {
    const wrongSide = id % 2 === this.#nextId % 2;
    if (id === 0 || wrongSide || id <= this.#lastPeerId) {
      this.sendReset(id, SpdyStatus.PROTOCOL_ERROR);
      return;
    }
    this.#lastPeerId = id;
    if (this.#gone || this.#options.onStream === undefined || this.#streams.size >= maxStreams) {
      this.sendReset(id, SpdyStatus.REFUSED_STREAM);
      return;
    }
    const stream = new SpdyStream(this, id, headers, {
      localEnded: (flags & FLAG_UNIDIRECTIONAL) !== 0,
      remoteEnded: (flags & FLAG_FIN) !== 0,
      replied: false,
    });
    this.#adopt(stream);
    this.#options.onStream(stream);
  }

  #windowsSeen(): void {
    if (this.#peerHasWindows) return;
    this.#peerHasWindows = true;
    this.#session.enforced = true;
    for (const stream of this.#streams.values()) stream.window.enforced = true;
  }

  #newWindow(size: number): void {
    this.#windowsSeen();
    const by = (size & 0x7fffffff) - this.#peerWindow;
    this.#peerWindow += by;
    for (const stream of this.#streams.values()) stream.window.rebase(by);
    this.#wakeSenders();
  }
}
