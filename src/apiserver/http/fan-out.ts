/**
 * `FanOut` writes the watches of a server to their clients. An event that a thousand watch costs the loop milliseconds, so those
 * who have something to take stand in a queue that is worked off in short slices; and after a round that took long, the next
 * one waits a while, in which events gather: each client is then sent several in one write, which costs little more than one.
 */
import { ioNow, ioTimer } from '../../base/io-time.ts';
import { macrotask } from '../../base/yield.ts';
import type { WireWatch } from '../encode/wire.ts';

/** A watcher that takes nothing for this long is cut off (real milliseconds). */
const stallLimit = 30_000;
/** A turn of the loop is left to others after so long. */
const sliceMs = 3;
/** A round of so many watchers, and of so many milliseconds, is followed by a rest. */
const crowd = 100;
const freeMs = 1;
/** So many times as long as the round was, but not longer than `maxRestMs`: the server has other work, too. */
const restShare = 4;
const maxRestMs = 40;

/** Where a watch is written to: a stream of Node's, or one of HTTP/2. */
export interface WatchSink {
  readonly destroyed: boolean;
  /** False: it has enough until `drain`. */
  write(bytes: Buffer): boolean;
  end(): unknown;
  destroy(): unknown;
  on(event: 'close' | 'drain', listener: () => void): unknown;
}

/** One watch on its way to one client. */
class WatchWriter {
  readonly #sink: WatchSink;
  readonly #watch: WireWatch;
  readonly #fanOut: FanOut;
  readonly #done = Promise.withResolvers<void>();
  readonly #ready: () => void;
  /** Memory for what is made for this client alone; undefined where the sink may hold what it was given. */
  readonly #room: ((bytes: number) => Buffer) | undefined;
  #scratch: Buffer | undefined = undefined;
  #finished = false;
  #listens = false;
  /** Waits for the client: ends that wait. */
  #cancelStall: (() => void) | undefined = undefined;

  constructor(sink: WatchSink, watch: WireWatch, fanOut: FanOut, copies: boolean) {
    this.#sink = sink;
    this.#watch = watch;
    this.#fanOut = fanOut;
    this.#ready = () => this.#fanOut.add(this);
    this.#room = copies ? (n) => this.#roomFor(n) : undefined;
    // The source may be waiting for events when the client leaves: closing it ends that wait.
    sink.on('close', () => this.#finish());
  }

  /** Resolves when the watch has ended or the client has gone. */
  get done(): Promise<void> {
    return this.#done.promise;
  }

  /** Only asked for when all that was written before has been copied. */
  #roomFor(bytes: number): Buffer {
    const scratch = this.#scratch;
    if (scratch === undefined || scratch.length < bytes) return (this.#scratch = Buffer.allocUnsafeSlow(bytes));
    return scratch;
  }

  /** Writes what there is to take, until the client has enough for now. */
  pump(): void {
    try {
      while (!this.#finished) {
        if (this.#sink.destroyed) return this.#finish();
        const bytes = this.#watch.take(this.#ready, this.#room);
        if (bytes === undefined) return;
        // What it began with is over.
        if (this.#scratch !== undefined && bytes?.buffer !== this.#scratch.buffer) this.#scratch = undefined;
        if (bytes === null) {
          this.#sink.end();
          return this.#finish();
        }
        if (!this.#sink.write(bytes)) return this.#waitForClient();
      }
    } catch (error) {
      this.#done.reject(error);
      this.#finish();
    }
  }

  #waitForClient(): void {
    if (this.#sink.destroyed) return this.#finish();
    this.#cancelStall = ioTimer(stallLimit, () => {
      this.#sink.destroy();
      this.#finish();
    });
    if (this.#listens) return;
    this.#listens = true;
    this.#sink.on('drain', () => {
      if (this.#cancelStall === undefined) return;
      this.#cancelStall();
      this.#cancelStall = undefined;
      this.#ready();
    });
  }

  #finish(): void {
    if (this.#finished) return;
    this.#finished = true;
    this.#cancelStall?.();
    this.#watch.close();
    this.#done.resolve();
  }
}

export class FanOut {
  #queue: WatchWriter[] = [];
  #running = false;

  /**
   * Resolves when the watch has been written to its end, or the client has gone or has taken nothing for too long. `copies`: what
   * the sink has taken it holds no more.
   */
  write(sink: WatchSink, watch: WireWatch, copies = false): Promise<void> {
    const writer = new WatchWriter(sink, watch, this, copies);
    writer.pump();
    return writer.done;
  }

  /** Whoever has something to take; each only once until it has taken it. */
  add(writer: WatchWriter): void {
    this.#queue.push(writer);
    if (this.#running) return;
    this.#running = true;
    // Behind whatever is still telling others of the same event.
    queueMicrotask(() => void this.#round());
  }

  async #round(): Promise<void> {
    while (this.#queue.length > 0) {
      const round = this.#queue;
      this.#queue = [];
      let spent = 0;
      let since = ioNow();
      for (let i = 0; i < round.length; i++) {
        round[i]!.pump();
        if ((i & 15) !== 15) continue;
        const now = ioNow();
        if (now - since < sliceMs) continue;
        spent += now - since;
        await macrotask();
        since = ioNow();
      }
      spent += ioNow() - since;
      if (round.length >= crowd && spent > freeMs) await rest(Math.min(maxRestMs, spent * restShare));
    }
    this.#running = false;
  }
}

function rest(ms: number): Promise<void> {
  return new Promise((resolve) => void ioTimer(ms, resolve));
}
