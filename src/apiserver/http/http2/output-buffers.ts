/** Buffers that frames are written to, used again when the socket has taken them; shared by the connections of a listener. */

/** An ordinary one, and what a long answer gets: whole TLS records. */
const smallSize = 16_384;
export const largeSize = 65_536;
const keptSmall = 64;
const keptLarge = 16;

export class OutputBuffers {
  readonly #small: Buffer[] = [];
  readonly #large: Buffer[] = [];

  take(large: boolean): Buffer {
    if (large) return this.#large.pop() ?? Buffer.allocUnsafeSlow(largeSize);
    return this.#small.pop() ?? Buffer.allocUnsafeSlow(smallSize);
  }

  /** Nobody may hold its bytes any more. */
  give(buffer: Buffer): void {
    if (buffer.length === largeSize) {
      if (this.#large.length < keptLarge) this.#large.push(buffer);
    } else if (this.#small.length < keptSmall) this.#small.push(buffer);
  }
}
