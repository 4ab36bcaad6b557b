/**
 * `WriteGate`: lets what a kubelet tells (events) wait for what it does (status writes). Shared by the kubelets of one process,
 * so that a thousand nodes starting pods are not held up by their own story.
 */
import { ioNow, ioTimer } from '../base/io-time.ts';

/** So many writes within `quietMs` are a rush: the next pods are already on their way. */
const rush = 20;
const quietMs = 1000;
/** No event waits longer than this. */
const longestMs = 30_000;

export class WriteGate {
  readonly #patient: boolean;
  #writing = 0;
  #waiters: (() => void)[] = [];
  #recent = 0;
  #recentSince = 0;
  #rushUntil = 0;
  #heldSince = 0;
  #cancel: (() => void) | undefined;

  /** `virtual`: time stands still, so that only writes in flight are waited for. */
  constructor(options: { readonly virtual: boolean }) {
    this.#patient = !options.virtual;
  }

  begin(): void {
    this.#writing++;
    if (!this.#patient) return;
    const now = ioNow();
    if (now - this.#recentSince > quietMs) {
      this.#recentSince = now;
      this.#recent = 0;
    }
    if (++this.#recent >= rush) this.#rushUntil = now + quietMs;
  }

  end(): void {
    this.#writing--;
    if (this.#writing === 0 && !this.#rushing(ioNow())) this.#release();
  }

  #rushing(now: number): boolean {
    return this.#patient && now < this.#rushUntil && !(this.#heldSince > 0 && now - this.#heldSince > longestMs);
  }

  #release(): void {
    this.#cancel?.();
    this.#cancel = undefined;
    this.#heldSince = 0;
    const waiters = this.#waiters;
    this.#waiters = [];
    for (const w of waiters) w();
  }

  /** Looks again when the rush may be over. */
  #arm(now: number): void {
    if (this.#cancel !== undefined) return;
    this.#cancel = ioTimer(Math.max(this.#rushUntil - now, 1), () => {
      this.#cancel = undefined;
      const then = ioNow();
      if (this.#rushing(then)) this.#arm(then);
      else this.#release();
    });
  }

  /** Undefined when nothing is more urgent; else resolves when that may have changed. */
  wait(): Promise<void> | undefined {
    const now = this.#patient ? ioNow() : 0;
    const rushing = this.#rushing(now);
    if (!rushing && (this.#writing === 0 || (this.#heldSince > 0 && now - this.#heldSince > longestMs)))
      return undefined;
    if (this.#heldSince === 0) this.#heldSince = now;
    if (rushing) this.#arm(now);
    return new Promise((resolve) => this.#waiters.push(resolve));
  }
}
