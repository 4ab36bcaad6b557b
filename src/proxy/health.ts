/**
 * The health of the proxy as `/healthz` and `/livez` tell it (upstream's pkg/proxy/healthcheck): unhealthy when a change has waited too
 * long to be written; `/healthz` besides when the node is about to be removed, so that balancers leave it in time.
 */
import type { Clock } from '../base/clock.ts';

/** Twice upstream's default sync period. */
const timeoutMs = 60_000;

interface FamilyHealth {
  readonly lastUpdated: string;
  readonly healthy: boolean;
}

export interface HealthAnswer {
  readonly status: number;
  readonly body: {
    readonly lastUpdated: string;
    readonly currentTime: string;
    readonly nodeEligible?: boolean;
    readonly healthy: boolean;
    readonly status: Readonly<Record<string, FamilyHealth>>;
  };
}

export class ProxyHealth {
  readonly #clock: Clock;
  readonly #families: readonly (4 | 6)[];
  #updated: number;
  #waitingSince: number | undefined;
  #eligible: () => boolean = () => true;

  constructor(clock: Clock, families: readonly (4 | 6)[] = [4, 6]) {
    this.#clock = clock;
    this.#families = families;
    this.#updated = clock.now();
  }

  /** Who knows whether the node takes traffic. */
  setEligible(read: () => boolean): void {
    this.#eligible = read;
  }

  queued(): void {
    this.#waitingSince ??= this.#clock.now();
  }

  updated(): void {
    this.#waitingSince = undefined;
    this.#updated = this.#clock.now();
  }

  get healthy(): boolean {
    return this.#waitingSince === undefined || this.#clock.now() - this.#waitingSince < timeoutMs;
  }

  healthz(): HealthAnswer {
    const nodeEligible = this.#eligible();
    return this.#answer(this.healthy && nodeEligible, { nodeEligible });
  }

  livez(): HealthAnswer {
    return this.#answer(this.healthy, {});
  }

  #answer(ok: boolean, more: { nodeEligible?: boolean }): HealthAnswer {
    const now = new Date(this.#clock.now()).toISOString();
    const updated = new Date(this.#updated).toISOString();
    const { healthy } = this;
    const status: Record<string, FamilyHealth> = {};
    for (const f of this.#families) status[f === 4 ? 'IPv4' : 'IPv6'] = { lastUpdated: updated, healthy };
    return {
      status: ok ? 200 : 503,
      // A healthy proxy's time is always a recent one, whether there was something to write or not.
      body: { lastUpdated: ok ? now : updated, currentTime: now, ...more, healthy, status },
    };
  }
}
