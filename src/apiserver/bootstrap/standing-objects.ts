/**
 * Objects of the start that come back while a server runs, as with upstream's controllers: the default ServiceCIDR, the
 * `kubernetes` Service, and what aggregated servers authenticate callers with. Looked after every ten seconds.
 */
import type { Clock, Timer } from '../../base/clock.ts';
import type { Logger } from '../../base/logger.ts';

const everyMs = 10_000;

export class StandingObjects {
  readonly #clock: Clock;
  readonly #logger: Logger;
  readonly #ensure: () => Promise<void>;
  #ticker: Timer | undefined;
  #busy = false;

  constructor(options: { readonly clock: Clock; readonly logger: Logger; readonly ensure: () => Promise<void> }) {
    this.#clock = options.clock;
    this.#logger = options.logger;
    this.#ensure = options.ensure;
  }

  start(): void {
    this.#ticker = this.#clock.setTicker(everyMs, () => {
      if (this.#busy) return;
      this.#busy = true;
      void this.#clock.activity.track(
        this.#ensure()
          .catch((error: unknown) => {
            if (this.#ticker !== undefined)
              this.#logger.warn('an object that every cluster has could not be put back', { error });
          })
          .finally(() => {
            this.#busy = false;
          }),
      );
    });
  }

  close(): void {
    this.#ticker?.cancel();
    this.#ticker = undefined;
  }
}
