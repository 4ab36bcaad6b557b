/**
 * `Sender`: the bodies of answers on their way out, as far as the client's windows and the socket allow. Streams that have to
 * wait take turns, and one that takes nothing for long is ended.
 */
import { ioNow, ioTimer } from '../../../base/io-time.ts';
import type { FrameOutput } from './frame-output.ts';
import {
  defaultFrameSize,
  defaultWindow,
  flag,
  frameHeaderLength,
  frameType,
  maxWindow,
  writeFrameHeader,
} from './frames.ts';
import { stallCheck, stallLimit } from './limits.ts';
import type { Http2Stream } from './stream.ts';

export class Sender {
  /** What the client gives new streams. */
  initialWindow = defaultWindow;
  readonly #output: FrameOutput;
  /** Told of streams whose last byte is out, and of those that take too long. */
  readonly #onEnd: (stream: Http2Stream) => void;
  readonly #onStall: (stream: Http2Stream) => void;
  #window = defaultWindow;
  /** Streams that have something to send and cannot, in turn. */
  readonly #waiting = new Set<Http2Stream>();
  #cancelCheck: (() => void) | undefined = undefined;
  /** Bytes that wait, of all streams. */
  waitingBytes = 0;

  constructor(output: FrameOutput, onEnd: (stream: Http2Stream) => void, onStall: (stream: Http2Stream) => void) {
    this.#output = output;
    this.#onEnd = onEnd;
    this.#onStall = onStall;
  }

  /** False when the connection's window would be larger than any may be. */
  widen(by: number): boolean {
    this.#window += by;
    if (this.#window > maxWindow) return false;
    this.pumpAll();
    return true;
  }

  /** Sends what can be sent of a stream's bytes, and its end. */
  pump(stream: Http2Stream): void {
    const output = this.#output;
    let moved = false;
    while (stream.waiting !== undefined) {
      const bytes = stream.waiting;
      const most = Math.min(bytes.length - stream.at, stream.sendWindow, this.#window, defaultFrameSize);
      if (most <= 0 || output.blocked) {
        this.#wait(stream, moved);
        return;
      }
      const room = output.dataRoom(most);
      const n = Math.min(most, room.length - output.filled - frameHeaderLength);
      const at = output.filled + frameHeaderLength;
      room.set(n === bytes.length ? bytes : bytes.subarray(stream.at, stream.at + n), at);
      stream.at += n;
      stream.sendWindow -= n;
      this.#window -= n;
      stream.waitingBytes -= n;
      this.waitingBytes -= n;
      moved = true;
      if (stream.at === bytes.length) {
        stream.at = 0;
        stream.waiting = stream.more?.shift();
      }
      const last = stream.ending && stream.waiting === undefined;
      writeFrameHeader(room, output.filled, n, frameType.data, last ? flag.endStream : 0, stream.id);
      output.filled = at + n;
      if (!last) continue;
      this.#waiting.delete(stream);
      this.#onEnd(stream);
      return;
    }
    const waited = this.#waiting.delete(stream);
    if (stream.ending) {
      const room = output.room(frameHeaderLength);
      writeFrameHeader(room, output.filled, 0, frameType.data, flag.endStream, stream.id);
      output.filled += frameHeaderLength;
      this.#onEnd(stream);
    } else if (waited) stream.drained();
  }

  #wait(stream: Http2Stream, moved: boolean): void {
    if (this.#waiting.has(stream)) {
      if (!moved) return;
      // The others have their turn first.
      this.#waiting.delete(stream);
    }
    this.#waiting.add(stream);
    stream.stalledAt = ioNow();
    if (this.#cancelCheck === undefined) this.#checkLater();
  }

  /** Something has changed for all of them. */
  pumpAll(): void {
    if (this.#waiting.size === 0) return;
    for (const stream of [...this.#waiting]) {
      if (this.#window <= 0 || this.#output.blocked) return;
      if (stream.sendWindow > 0) this.pump(stream);
    }
  }

  /** It is over, whatever waited. */
  forget(stream: Http2Stream): void {
    if (stream.waitingBytes === 0) return;
    this.#waiting.delete(stream);
    this.waitingBytes -= stream.waitingBytes;
    stream.waitingBytes = 0;
  }

  close(): void {
    this.#cancelCheck?.();
    this.#cancelCheck = undefined;
  }

  #checkLater(): void {
    this.#cancelCheck = ioTimer(stallCheck, () => {
      this.#cancelCheck = undefined;
      const since = ioNow() - stallLimit;
      for (const stream of [...this.#waiting]) if (stream.stalledAt < since) this.#onStall(stream);
      if (this.#waiting.size > 0) this.#checkLater();
    });
  }
}
