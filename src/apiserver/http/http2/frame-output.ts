/**
 * `FrameOutput`: frames on their way to a socket. All that is written in one turn of the loop goes out at once, and what is
 * written while the socket is busy goes when it is done.
 */
import { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import {
  defaultFrameSize,
  flag,
  frameHeaderLength,
  frameType,
  readUint32,
  writeFrameHeader,
  writeUint32,
} from './frames.ts';
import { maxUnsent, socketLimit } from './limits.ts';
import type { OutputBuffers } from './output-buffers.ts';

function flushTurn(output: FrameOutput): void {
  output.flush();
}

export class FrameOutput {
  /** How much of the buffer that `room` gave is written. */
  filled = 0;
  readonly #socket: Duplex;
  readonly #buffers: OutputBuffers;
  readonly #onTaken: () => void;
  /** What is written is with the kernel then; streams in memory may still hold it. */
  readonly #recycles: boolean;
  #out: Buffer | undefined = undefined;
  #scheduled = false;
  /** A buffer got full in this turn: the next one is larger. */
  #grown = false;
  /** Bytes that the socket has been given and has not taken. */
  #unsent = 0;
  #ended = false;

  /** `onTaken`: called when the socket has taken something. */
  constructor(socket: Duplex, buffers: OutputBuffers, onTaken: () => void) {
    this.#socket = socket;
    this.#buffers = buffers;
    this.#onTaken = onTaken;
    this.#recycles = socket instanceof Socket;
  }

  /** The socket has enough for now. */
  get blocked(): boolean {
    return this.#unsent >= socketLimit;
  }

  /** A buffer with `n` bytes free from `filled` on; whoever writes moves that. */
  room(n: number): Buffer {
    const out = this.#out;
    if (out !== undefined) {
      if (out.length - this.filled >= n) return out;
      this.#grown = true;
      this.#write(out);
    }
    if (!this.#scheduled) {
      this.#scheduled = true;
      // Behind all that is ready to be done now.
      process.nextTick(flushTurn, this);
    }
    this.filled = 0;
    return (this.#out = this.#buffers.take(this.#grown || n >= defaultFrameSize));
  }

  /** Room for a frame of at most `n` bytes; less where a buffer can be filled to its end. */
  dataRoom(n: number): Buffer {
    const out = this.#out;
    if (out !== undefined && out.length - this.filled >= Math.min(n, 2048) + frameHeaderLength) return out;
    return this.room(n + frameHeaderLength);
  }

  flush(): void {
    this.#scheduled = false;
    this.#grown = false;
    // While the socket is busy more may come.
    if (this.#out !== undefined && this.#unsent === 0) this.#write(this.#out);
  }

  #write(out: Buffer): void {
    const n = this.filled;
    this.#out = undefined;
    this.filled = 0;
    if (n === 0 || this.#ended || this.#socket.destroyed) {
      this.#buffers.give(out);
      return;
    }
    this.#unsent += n;
    this.#socket.write(n === out.length ? out : out.subarray(0, n), (error) => {
      this.#unsent -= n;
      if (error !== undefined && error !== null) return;
      if (this.#recycles) this.#buffers.give(out);
      if (this.#unsent === 0 && this.#out !== undefined && !this.#scheduled) this.#write(this.#out);
      this.#onTaken();
    });
    // Answers wait for the socket; this is a client that makes frames be written and reads none.
    if (this.#unsent > maxUnsent) this.#socket.destroy();
  }

  /** Writes what there is and says that nothing more comes. */
  end(): void {
    if (this.#ended) return;
    if (this.#out !== undefined) this.#write(this.#out);
    this.#ended = true;
    this.#socket.end();
  }

  settings(values: readonly (readonly [name: number, value: number])[]): void {
    const size = 6 * values.length;
    const room = this.room(frameHeaderLength + size);
    writeFrameHeader(room, this.filled, size, frameType.settings, 0, 0);
    let at = this.filled + frameHeaderLength;
    for (const [name, value] of values) {
      room[at] = name >>> 8;
      room[at + 1] = name;
      writeUint32(room, at + 2, value);
      at += 6;
    }
    this.filled = at;
  }

  settingsAck(): void {
    const room = this.room(frameHeaderLength);
    writeFrameHeader(room, this.filled, 0, frameType.settings, flag.ack, 0);
    this.filled += frameHeaderLength;
  }

  /** `payload`: its eight bytes stand at `at`. */
  ping(payload: Buffer, from: number, ack: boolean): void {
    const high = readUint32(payload, from);
    const low = readUint32(payload, from + 4);
    const room = this.room(frameHeaderLength + 8);
    writeFrameHeader(room, this.filled, 8, frameType.ping, ack ? flag.ack : 0, 0);
    writeUint32(room, this.filled + frameHeaderLength, high);
    writeUint32(room, this.filled + frameHeaderLength + 4, low);
    this.filled += frameHeaderLength + 8;
  }

  windowUpdate(id: number, by: number): void {
    this.#number(frameType.windowUpdate, id, by);
  }

  reset(id: number, code: number): void {
    this.#number(frameType.rstStream, id, code);
  }

  goAway(last: number, code: number, why: string): void {
    const size = 8 + why.length;
    const room = this.room(frameHeaderLength + size);
    writeFrameHeader(room, this.filled, size, frameType.goaway, 0, 0);
    const at = this.filled + frameHeaderLength;
    writeUint32(room, at, last);
    writeUint32(room, at + 4, code);
    room.write(why, at + 8, 'latin1');
    this.filled = at + size;
  }

  #number(type: number, id: number, value: number): void {
    const room = this.room(frameHeaderLength + 4);
    writeFrameHeader(room, this.filled, 4, type, 0, id);
    writeUint32(room, this.filled + frameHeaderLength, value);
    this.filled += frameHeaderLength + 4;
  }

  /** A header block, in as many frames as it needs. */
  headers(id: number, block: Buffer, length: number, endStream: boolean): void {
    const most = defaultFrameSize - frameHeaderLength;
    let at = 0;
    let type: number = frameType.headers;
    do {
      const size = Math.min(length - at, most);
      const room = this.room(frameHeaderLength + size);
      const flags =
        (at + size === length ? flag.endHeaders : 0) | (endStream && type === frameType.headers ? flag.endStream : 0);
      writeFrameHeader(room, this.filled, size, type, flags, id);
      block.copy(room, this.filled + frameHeaderLength, at, at + size);
      this.filled += frameHeaderLength + size;
      at += size;
      type = frameType.continuation;
    } while (at < length);
  }
}
