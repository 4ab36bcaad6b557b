/** What is due some milliseconds after each of many requests, by one timer: nearly all of it is due equally late. */
import { ioNow, ioTimer } from '../../base/io-time.ts';

interface Due {
  readonly at: number;
  readonly fn: () => void;
}

export class Releases {
  /** The earliest first. */
  #due: Due[] = [];
  #cancel: (() => void) | undefined;

  /** Calls `fn` after so many real milliseconds. */
  after(ms: number, fn: () => void): void {
    const at = ioNow() + ms;
    const due = this.#due;
    let i = due.length;
    while (i > 0 && due[i - 1]!.at > at) i--;
    if (i === due.length) due.push({ at, fn });
    else due.splice(i, 0, { at, fn });
    if (i === 0) this.#arm(ms);
  }

  #arm(ms: number): void {
    this.#cancel?.();
    this.#cancel = ioTimer(ms, () => {
      this.#cancel = undefined;
      const now = ioNow() + 0.5;
      let n = 0;
      while (n < this.#due.length && this.#due[n]!.at <= now) n++;
      const ready = this.#due.splice(0, n);
      for (const { fn } of ready) fn();
      if (this.#due.length > 0 && this.#cancel === undefined) this.#arm(Math.max(1, this.#due[0]!.at - ioNow()));
    });
  }

  close(): void {
    this.#cancel?.();
    this.#cancel = undefined;
    this.#due = [];
  }
}
