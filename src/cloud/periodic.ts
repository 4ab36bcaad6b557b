/** A piece of work that is done again and again on the cluster's clock, never twice at a time. */
import type { Clock } from '../base/clock.ts';
import type { Logger } from '../base/logger.ts';

export interface PeriodicOptions {
  readonly name: string;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly periodMs: number;
  /** Undefined: there was nothing to do. */
  readonly run: (signal: AbortSignal) => Promise<void> | undefined;
}

export class Periodic {
  readonly #o: PeriodicOptions;
  readonly #abort = new AbortController();
  #timer: { cancel(): void } | undefined;
  #running: Promise<void> | undefined;

  constructor(options: PeriodicOptions) {
    this.#o = options;
  }

  /** Runs at once, after `ready`, and then every period. */
  start(ready: Promise<unknown>): void {
    ready.then(
      () => {
        if (this.#abort.signal.aborted) return;
        this.#timer = this.#o.clock.setTicker(this.#o.periodMs, () => this.#tick());
        this.#tick();
      },
      (error: unknown) => {
        if (!this.#abort.signal.aborted)
          this.#o.logger.error('controller could not start', { controller: this.#o.name, error });
      },
    );
  }

  #tick(): void | 'idle' {
    if (this.#running !== undefined) return;
    const work = this.#o.run(this.#abort.signal);
    if (work === undefined) return 'idle';
    this.#running = this.#o.clock.activity
      .track(work)
      .catch((error: unknown) => {
        if (!this.#abort.signal.aborted)
          this.#o.logger.warn('periodic work failed', { controller: this.#o.name, error });
      })
      .finally(() => {
        this.#running = undefined;
      });
  }

  async stop(): Promise<void> {
    this.#abort.abort();
    this.#timer?.cancel();
    await this.#running;
  }
}
