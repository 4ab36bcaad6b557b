/**
 * `WriteGate`: lets what a kubelet tells (events) wait for what it does (status writes). Shared by the kubelets of one process,
 * so that a thousand nodes starting pods are not held up by their own story.
 */
import { ioNow, ioTimer } from '../base/io-time.ts';

/** So many writes within `quietMs` are a rush: the next pods are already on their way. */
const rush = 20;
const quietMs = 1000;
/** After so long in a rush events begin to trickle: so many each `quietMs`. */
const longestMs = 30_000;
const trickle = 50;
/** Statuses written at a time: more would only make the server's bursts longer. */
const maxWriting = 64;

export class WriteGate {
  readonly #patient: boolean;
  #writing = 0;
  /** Those that wait to write. */
  readonly #line: (() => void)[] = [];
  #waiters: (() => void)[] = [];
  #recent = 0;
  #recentSince = 0;
  #rushUntil = 0;
  #heldSince = 0;
  /** How many of those let through have not gone yet. */
  #passes = 0;
  #cancel: (() => void) | undefined;

  /** `virtual`: time stands still, so that only writes in flight are waited for. */
  constructor(options: { readonly virtual: boolean }) {
    this.#patient = !options.virtual;
  }

  /** A status is to be written; resolves when it may. Undefined: at once. Each is followed by `end`. */
  begin(): Promise<void> | undefined {
    if (this.#patient) {
      const now = ioNow();
      if (now - this.#recentSince > quietMs) {
        this.#recentSince = now;
        this.#recent = 0;
      }
      if (++this.#recent >= rush) this.#rushUntil = now + quietMs;
    }
    if (this.#writing >= maxWriting) return new Promise((resolve) => this.#line.push(resolve));
    this.#writing++;
    return undefined;
  }

  end(): void {
    const next = this.#line.shift();
    if (next !== undefined) {
      next();
      return;
    }
    this.#writing--;
    if (this.#writing > 0 || this.#waiters.length === 0) return;
    const now = ioNow();
    if (this.#rushing(now)) this.#arm(now);
    else this.#release();
  }

  #rushing(now: number): boolean {
    return this.#patient && now < this.#rushUntil;
  }

  #overdue(now: number): boolean {
    return this.#heldSince > 0 && now - this.#heldSince > longestMs;
  }

  #release(): void {
    this.#cancel?.();
    this.#cancel = undefined;
    this.#heldSince = 0;
    this.#passes = 0;
    const waiters = this.#waiters;
    this.#waiters = [];
    for (const w of waiters) w();
  }

  /** Lets a few through that have waited for long. */
  #drip(): void {
    const some = this.#waiters.splice(0, trickle);
    this.#passes = some.length;
    for (const w of some) w();
  }

  /** Looks again when the rush may be over. */
  #arm(now: number): void {
    if (this.#cancel !== undefined) return;
    const wait = this.#overdue(now) ? quietMs : this.#rushUntil - now;
    this.#cancel = ioTimer(Math.max(wait, 1), () => {
      this.#cancel = undefined;
      const then = ioNow();
      if (!this.#rushing(then)) {
        this.#release();
        return;
      }
      if (this.#overdue(then)) this.#drip();
      this.#arm(then);
    });
  }

  /** Undefined when nothing is more urgent; else resolves when that may have changed. */
  wait(): Promise<void> | undefined {
    const now = this.#patient ? ioNow() : 0;
    const rushing = this.#rushing(now);
    if (!rushing && (this.#writing === 0 || this.#overdue(now))) return undefined;
    if (this.#passes > 0) {
      this.#passes--;
      return undefined;
    }
    if (this.#heldSince === 0) this.#heldSince = now;
    if (rushing) this.#arm(now);
    return new Promise((resolve) => this.#waiters.push(resolve));
  }
}
