/**
 * Names that something is to be done about: each once however often it is added meanwhile, all that wait at the same time, so that
 * one server that is slow to answer keeps no other waiting. Whoever adds from a delivery of the watch cache goes on first.
 */
import type { Clock } from '../../base/clock.ts';

export class PendingNames {
  readonly #clock: Clock;
  readonly #work: (name: string) => Promise<void>;
  readonly #names = new Set<string>();
  #running = false;
  #closed = false;

  /** @param work handles its own errors */
  constructor(clock: Clock, work: (name: string) => Promise<void>) {
    this.#clock = clock;
    this.#work = work;
  }

  add(name: string): void {
    if (this.#closed) return;
    this.#names.add(name);
    if (this.#running) return;
    this.#running = true;
    const done = this.#clock.activity.begin();
    void this.#drain().finally(() => {
      this.#running = false;
      done();
    });
  }

  delete(name: string): void {
    this.#names.delete(name);
  }

  /** What has begun is finished; nothing new begins. */
  close(): void {
    this.#closed = true;
  }

  async #drain(): Promise<void> {
    await Promise.resolve();
    while (this.#names.size > 0 && !this.#closed) {
      const names = [...this.#names];
      this.#names.clear();
      await Promise.all(names.map((name) => this.#work(name)));
    }
  }
}
