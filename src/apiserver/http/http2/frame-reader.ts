/** `FrameReader`: finds frames in what is read from a socket, and puts those together that came in pieces. */
import { defaultFrameSize, frameHeaderLength, maxStreamId, preface, readUint32 } from './frames.ts';

export interface FrameHandler {
  /** False: nothing more is read. */
  readonly reads: boolean;
  /** A frame whose payload lies in `bytes` from `start` on; the bytes are not written to again. */
  onFrame(bytes: Buffer, start: number, size: number, type: number, flags: number, stream: number): void;
  onTooLarge(): void;
  onWrongPreface(): void;
}

const empty = Buffer.alloc(0);

export class FrameReader {
  readonly #handler: FrameHandler;
  #greeted = false;
  #held: Buffer = empty;
  #heldLength = 0;
  /** How much makes the next step: the preface, a frame's header, or the whole of it. */
  #wanted = preface.length;

  constructor(handler: FrameHandler) {
    this.#handler = handler;
  }

  read(bytes: Buffer): void {
    let at = 0;
    const { length } = bytes;
    const handler = this.#handler;
    while (at < length && handler.reads) {
      if (this.#heldLength > 0 || length - at < this.#wanted) at = this.#hold(bytes, at);
      else if (this.#greeted) {
        const size = (bytes[at]! << 16) | (bytes[at + 1]! << 8) | bytes[at + 2]!;
        if (size > defaultFrameSize) handler.onTooLarge();
        else if (length - at < frameHeaderLength + size) at = this.#hold(bytes, at);
        else {
          this.#frame(bytes, at, size);
          at += frameHeaderLength + size;
        }
      } else {
        this.#greet(bytes, at);
        at += preface.length;
      }
    }
  }

  /** Puts aside what is not whole yet; where to go on reading. */
  #hold(bytes: Buffer, from: number): number {
    if (this.#held.length < this.#wanted) {
      const held = Buffer.allocUnsafe(this.#wanted);
      this.#held.copy(held, 0, 0, this.#heldLength);
      this.#held = held;
    }
    const take = Math.min(this.#wanted - this.#heldLength, bytes.length - from);
    bytes.copy(this.#held, this.#heldLength, from, from + take);
    this.#heldLength += take;
    if (this.#heldLength === this.#wanted) this.#complete(this.#held);
    return from + take;
  }

  #complete(held: Buffer): void {
    const size = (held[0]! << 16) | (held[1]! << 8) | held[2]!;
    if (this.#greeted && size > defaultFrameSize) {
      this.#handler.onTooLarge();
      return;
    }
    if (this.#greeted && this.#wanted === frameHeaderLength && size > 0) {
      this.#wanted += size;
      return;
    }
    this.#held = empty;
    this.#heldLength = 0;
    this.#wanted = frameHeaderLength;
    if (this.#greeted) this.#frame(held, 0, size);
    else this.#greet(held, 0);
  }

  #greet(bytes: Buffer, at: number): void {
    this.#greeted = true;
    this.#wanted = frameHeaderLength;
    if (bytes.compare(preface, 0, preface.length, at, at + preface.length) !== 0) this.#handler.onWrongPreface();
  }

  #frame(bytes: Buffer, at: number, size: number): void {
    const stream = readUint32(bytes, at + 5) & maxStreamId;
    this.#handler.onFrame(bytes, at + frameHeaderLength, size, bytes[at + 3]!, bytes[at + 4]!, stream);
  }
}
