/** What a client may do, and how much of it: nothing it sends may cost more than a bounded share of memory and time. */

/** SETTINGS_MAX_HEADER_LIST_SIZE: a megabyte, and what ten fields count beside their letters. Who comes with more gets 431. */
export const maxHeaderList = 1_048_576 + 320;
/** Encoded headers of one request; CONTINUATION frames beyond it end the connection. */
export const maxHeaderBlock = maxHeaderList + 65_536;
/** Decoded headers of all requests of a connection. */
export const maxHeadersTogether = 16_777_216;
/** What a stream may send before it is read, and all streams of a connection together. */
export const streamWindow = 262_144;
export const connectionWindow = 16_777_216;
/** Bytes of answers that wait for the client's windows; with more, no further request is taken. */
export const maxWaiting = 67_108_864;
/** Bytes with the socket from which on answers wait for it; what control frames may add to that. */
export const socketLimit = 262_144;
export const maxUnsent = 4_194_304;
/** A client that takes nothing of an answer for this long is cut off (real milliseconds). */
export const stallLimit = 30_000;
export const stallCheck = 10_000;
/** How long the client's preface may take, and its last words. */
export const prefaceTimeout = 10_000;
export const lingerTimeout = 1_000;

/** An allowance of `burst` at once and `perSecond` on average. */
export class Allowance {
  readonly #burst: number;
  readonly #perMs: number;
  readonly #now: () => number;
  #left: number;
  #at = 0;

  constructor(burst: number, perSecond: number, now: () => number) {
    this.#burst = burst;
    this.#perMs = perSecond / 1000;
    this.#now = now;
    this.#left = burst;
  }

  /** False when it is used up. */
  take(): boolean {
    if (this.#left < 1) {
      const now = this.#now();
      if (this.#at > 0) this.#left = Math.min(this.#burst, this.#left + (now - this.#at) * this.#perMs);
      this.#at = now;
      if (this.#left < 1) return false;
    }
    this.#left--;
    return true;
  }
}
