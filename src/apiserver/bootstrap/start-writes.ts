/**
 * Writes of the start that the API itself does not let through: a webhook that nobody answers any more, a policy. A server that
 * ended for that could never be mended by way of its API: it serves, and tries them again until they are done.
 */
import type { Clock, Timer } from '../../base/clock.ts';
import type { Logger } from '../../base/logger.ts';
import { StatusError } from '../../api/status.ts';

const firstMs = 1000;
const maxMs = 30_000;

export class StartWrites {
  readonly #clock: Clock;
  readonly #logger: Logger;
  readonly #timers = new Set<Timer>();
  #closed = false;

  constructor(options: { readonly clock: Clock; readonly logger: Logger }) {
    this.#clock = options.clock;
    this.#logger = options.logger;
  }

  /**
   * Resolves when it is written, or will be tried again.
   * @throws what is not an answer of the API: the store cannot be reached
   */
  async attempt(write: () => Promise<void>): Promise<void> {
    await this.#attempt(write, firstMs);
  }

  async #attempt(write: () => Promise<void>, waitMs: number): Promise<void> {
    try {
      await write();
    } catch (error) {
      if (!(error instanceof StatusError)) throw error;
      if (this.#closed) return;
      this.#logger.warn('an object of the start cannot be written, trying again', { error });
      this.#again(write, waitMs);
    }
  }

  #again(write: () => Promise<void>, waitMs: number): void {
    const timer = this.#clock.setTimer(waitMs, () => {
      this.#timers.delete(timer);
      const next = Math.min(waitMs * 2, maxMs);
      void this.#clock.activity.track(this.#attempt(write, next)).catch((error: unknown) => {
        if (this.#closed) return;
        this.#logger.warn('an object of the start cannot be written, trying again', { error });
        this.#again(write, next);
      });
    });
    this.#timers.add(timer);
  }

  close(): void {
    this.#closed = true;
    for (const timer of this.#timers) timer.cancel();
    this.#timers.clear();
  }
}
