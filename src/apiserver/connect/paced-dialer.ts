/** `--max-connection-bytes-per-sec`: connections to nodes and pods that carry no more than so much a second, each way. */
import { Duplex } from 'node:stream';
import { ioTimer } from '../../base/io-time.ts';
import type { Dialer } from '../dialer.ts';

class PacedStream extends Duplex {
  readonly #inner: Duplex;
  readonly #bytesPerMs: number;
  #wanted = false;
  #due = true;
  #ended = false;

  constructor(inner: Duplex, bytesPerSecond: number) {
    super({ allowHalfOpen: true });
    this.#inner = inner;
    this.#bytesPerMs = bytesPerSecond / 1000;
    inner.pause();
    inner.on('data', (chunk: Buffer) => {
      inner.pause();
      this.#due = false;
      this.#wanted = this.push(chunk);
      ioTimer(chunk.length / this.#bytesPerMs, () => {
        this.#due = true;
        this.#go();
      });
    });
    inner.on('end', () => {
      this.#ended = true;
      this.push(null);
    });
    inner.on('error', (error) => this.destroy(error));
    inner.on('close', () => {
      if (!this.#ended) this.destroy();
    });
  }

  #go(): void {
    if (this.#wanted && this.#due) this.#inner.resume();
  }

  override _read(): void {
    this.#wanted = true;
    this.#go();
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: (error?: Error | null) => void): void {
    this.#inner.write(chunk, (error) => {
      if (error !== undefined && error !== null) done(error);
      else ioTimer(chunk.length / this.#bytesPerMs, () => done());
    });
  }

  override _final(done: () => void): void {
    this.#inner.end(done);
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    this.#inner.destroy();
    done(error);
  }
}

/** The dialer itself where there is no limit (0). */
export function pacedDialer(dialer: Dialer, bytesPerSecond: number): Dialer {
  if (bytesPerSecond <= 0) return dialer;
  return {
    dialNode: async (...to) => new PacedStream(await dialer.dialNode(...to), bytesPerSecond),
    dialTcp: async (...to) => new PacedStream(await dialer.dialTcp(...to), bytesPerSecond),
  };
}
