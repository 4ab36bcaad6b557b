/** Real time that can be put forward and back: what is due then happens at once. */
import type { Timer } from '../../src/base/clock.ts';
import { SystemClock } from '../../src/base/clock.ts';

export class MovableClock extends SystemClock {
  #ahead = 0;
  readonly #pending = new Set<{ readonly at: number; readonly fire: () => void }>();

  override now(): number {
    return super.now() + this.#ahead;
  }

  override setTimer(ms: number, fn: () => void): Timer {
    const fire = (): void => {
      this.#pending.delete(entry);
      timer.cancel();
      fn();
    };
    const timer = super.setTimer(ms, fire);
    const entry = { at: this.now() + ms, fire };
    this.#pending.add(entry);
    return {
      cancel: () => {
        this.#pending.delete(entry);
        timer.cancel();
      },
    };
  }

  move(ms: number): void {
    this.#ahead += ms;
    for (const entry of [...this.#pending]) if (entry.at <= this.now()) entry.fire();
  }
}
