/** Byte pipes between simulated processes and the streams of exec and attach. Bounded: a writer waits for its reader. */
import { Duplex, Readable, Writable } from 'node:stream';

export interface ByteSource {
  /** The next bytes, or undefined at the end. */
  read(): Promise<Buffer | undefined>;
}

export interface ByteSink {
  /** Resolves when there is room for more. Rejects with `BrokenPipe` when nobody reads. */
  write(data: Uint8Array | string): Promise<void>;
}

export class BrokenPipe extends Error {
  constructor() {
    super('Broken pipe');
    this.name = 'BrokenPipe';
  }
}

export const emptySource: ByteSource = { read: () => Promise.resolve(undefined) };
export const nullSink: ByteSink = { write: () => Promise.resolve() };

export function toBuffer(data: Uint8Array | string): Buffer {
  if (typeof data === 'string') return Buffer.from(data);
  return Buffer.isBuffer(data) ? data : Buffer.from(data.buffer, data.byteOffset, data.byteLength);
}

export class Pipe implements ByteSource, ByteSink {
  readonly #limit: number;
  #chunks: Buffer[] = [];
  #bytes = 0;
  #ended = false;
  #broken = false;
  #reader: ((data: Buffer | undefined) => void) | undefined;
  #writers: (() => void)[] = [];

  constructor(limit = 64 * 1024) {
    this.#limit = limit;
  }

  read(): Promise<Buffer | undefined> {
    const next = this.#chunks.shift();
    if (next !== undefined) {
      this.#bytes -= next.length;
      if (this.#bytes <= this.#limit) this.#wake();
      return Promise.resolve(next);
    }
    if (this.#ended || this.#broken) return Promise.resolve(undefined);
    return new Promise((resolve) => {
      const earlier = this.#reader;
      this.#reader = (data) => {
        earlier?.(data);
        resolve(data);
      };
    });
  }

  /** Puts bytes back to the front. */
  unread(data: Buffer): void {
    if (data.length === 0) return;
    this.#chunks.unshift(data);
    this.#bytes += data.length;
  }

  async write(data: Uint8Array | string): Promise<void> {
    if (this.#broken || this.#ended) throw new BrokenPipe();
    if (data.length === 0) return;
    const chunk = typeof data === 'string' ? Buffer.from(data) : Buffer.from(data);
    const reader = this.#reader;
    if (reader !== undefined) {
      this.#reader = undefined;
      reader(chunk);
      return;
    }
    this.#chunks.push(chunk);
    this.#bytes += chunk.length;
    if (this.#bytes > this.#limit) {
      await new Promise<void>((resolve) => this.#writers.push(resolve));
      if (this.#broken) throw new BrokenPipe();
    }
  }

  /** Writes when there is room, else drops: for onlookers that must not hold up the writer. */
  offer(data: Buffer): void {
    if (this.#broken || this.#ended || this.#bytes > this.#limit) return;
    void this.write(data).catch(() => {}); // an onlooker that has gone misses nothing
  }

  #wake(): void {
    const writers = this.#writers;
    if (writers.length === 0) return;
    this.#writers = [];
    for (const w of writers) w();
  }

  /** No more will be written. */
  end(): void {
    if (this.#ended) return;
    this.#ended = true;
    const reader = this.#reader;
    this.#reader = undefined;
    reader?.(undefined);
    this.#wake();
  }

  /** Nobody will read. */
  break(): void {
    this.#broken = true;
    this.#chunks = [];
    this.#bytes = 0;
    const reader = this.#reader;
    this.#reader = undefined;
    reader?.(undefined);
    this.#wake();
  }
}

/** A pipe's reading end as a Node stream. */
export function readableOf(pipe: Pipe): Readable {
  return new Readable({
    read() {
      pipe.read().then(
        (data) => this.push(data ?? null),
        (error: unknown) => this.destroy(error as Error),
      );
    },
    destroy(error, callback) {
      pipe.break();
      callback(error);
    },
  });
}

/** A pipe's writing end as a Node stream. */
export function writableOf(pipe: Pipe): Writable {
  return new Writable({
    write(chunk: Buffer, _encoding, callback) {
      // What a process no longer reads is dropped, as a terminal does.
      pipe.write(chunk).then(
        () => callback(),
        () => callback(),
      );
    },
    final(callback) {
      pipe.end();
      callback();
    },
    destroy(error, callback) {
      pipe.end();
      callback(error);
    },
  });
}

class PairEnd extends Duplex {
  peer: PairEnd | undefined;
  #resume: (() => void) | undefined;

  constructor() {
    super({ allowHalfOpen: true });
  }

  override _read(): void {
    const resume = this.#resume;
    this.#resume = undefined;
    resume?.();
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, callback: (error?: Error | null) => void): void {
    // As on a socket the other end never hears of it before the writer's own call has returned.
    queueMicrotask(() => {
      const peer = this.peer;
      if (peer === undefined || peer.destroyed) {
        callback(Object.assign(new Error('write EPIPE'), { code: 'EPIPE' }));
        return;
      }
      if (peer.push(chunk)) callback();
      else peer.#resume = callback;
    });
  }

  override _final(callback: (error?: Error | null) => void): void {
    if (this.peer !== undefined && !this.peer.destroyed) this.peer.push(null);
    callback();
  }

  override _destroy(error: Error | null, callback: (error?: Error | null) => void): void {
    const peer = this.peer;
    this.peer = undefined;
    const resume = this.#resume;
    this.#resume = undefined;
    resume?.();
    if (peer !== undefined && !peer.destroyed) {
      peer.peer = undefined;
      if (error !== null) peer.destroy(Object.assign(new Error('read ECONNRESET'), { code: 'ECONNRESET' }));
      else if (!peer.readableEnded) peer.push(null);
    }
    callback(error);
  }
}

/** Two connected byte streams, as a TCP connection's ends. */
export function duplexPair(): [Duplex, Duplex] {
  const a = new PairEnd();
  const b = new PairEnd();
  a.peer = b;
  b.peer = a;
  return [a, b];
}
