/** `PassLoop`: runs one pass after another, never two at a time: when told that something has happened, or at a time set before. */
import type { Clock, Timer } from '../base/clock.ts';
import { nextTurn, turnSpent } from '../base/yield.ts';

export class PassLoop {
  readonly #clock: Clock;
  readonly #pass: () => Promise<void>;
  readonly #failed: (error: unknown) => void;
  #running = false;
  #again = false;
  #stopped = false;
  #timer: Timer | undefined;
  #timerAt = Infinity;

  /** `failed` is told what a pass has thrown, and sets the time of the next one. */
  constructor(clock: Clock, pass: () => Promise<void>, failed: (error: unknown) => void) {
    this.#clock = clock;
    this.#pass = pass;
    this.#failed = failed;
  }

  get stopped(): boolean {
    return this.#stopped;
  }

  /** Something happened that may need work. */
  notify(): void {
    if (this.#stopped) return;
    this.#again = true;
    if (this.#running) return;
    this.#running = true;
    void this.#run();
  }

  /** From within a pass: another is to follow it at once. */
  again(): void {
    this.#again = true;
  }

  /** Passes again at that time at the latest (milliseconds since the epoch). */
  wakeAt(at: number): void {
    if (at >= this.#timerAt || this.#stopped) return;
    this.#timer?.cancel();
    this.#timerAt = at;
    this.#timer = this.#clock.setTimer(at - this.#clock.now(), () => {
      this.#timer = undefined;
      this.#timerAt = Infinity;
      this.notify();
    });
  }

  /** No pass begins any more. */
  stop(): void {
    this.#stopped = true;
    this.#cancelTimer();
  }

  async #run(): Promise<void> {
    do {
      this.#again = false;
      this.#cancelTimer();
      try {
        if (turnSpent()) await this.#clock.activity.track(nextTurn());
        await this.#pass();
      } catch (error) {
        if (this.#stopped) break;
        this.#failed(error);
      }
    } while (this.#again && !this.#stopped);
    this.#running = false;
  }

  #cancelTimer(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
    this.#timerAt = Infinity;
  }
}
