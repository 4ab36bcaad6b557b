/**
 * `OneAtATime`: work that brings something in line with how things are, asked for whenever they change. One run at a time; what is
 * asked for during a run is done by one more after it, however often it was asked for.
 */
export class OneAtATime {
  readonly #work: () => Promise<void>;
  readonly #may: () => boolean;
  #running: Promise<void> | undefined;
  #again = false;

  /** `work` tells its failures itself. `may`: whether there is to be a run now; asked before each. */
  constructor(work: () => Promise<void>, may: () => boolean) {
    this.#work = work;
    this.#may = may;
  }

  ask(): void {
    if (!this.#may()) return;
    if (this.#running !== undefined) {
      this.#again = true;
      return;
    }
    this.#running = this.#work().finally(() => {
      this.#running = undefined;
      if (!this.#again) return;
      this.#again = false;
      this.ask();
    });
  }

  /** Resolves when the run that is under way has ended. */
  async ended(): Promise<void> {
    await this.#running;
  }
}
