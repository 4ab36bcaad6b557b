/**
 * Leases of objects that expire (Events). Objects written within a minute share one lease that outlives them a little, as
 * upstream's lease manager does, so that a burst of events is not a burst of leases.
 */
import type { Clock } from '../../base/clock.ts';
import type { KeyValueStore } from '../../etcd/store.ts';

const maxObjects = 1000;

export class Leases {
  readonly #store: KeyValueStore;
  readonly #clock: Clock;
  readonly #reuseSeconds: number;
  #current: { lease: Promise<string>; ttl: number; until: number; objects: number } | undefined;

  /** `reuseSeconds`: `--lease-reuse-duration-seconds` */
  constructor(store: KeyValueStore, clock: Clock, reuseSeconds = 60) {
    this.#store = store;
    this.#clock = clock;
    this.#reuseSeconds = reuseSeconds;
  }

  /** A lease under which an object lives for at least `ttlSeconds`. */
  lease(ttlSeconds: number): Promise<string> {
    const now = this.#clock.now();
    const reuse = Math.min(this.#reuseSeconds, Math.max(1, Math.floor(ttlSeconds * 0.05)));
    const current = this.#current;
    if (current !== undefined && current.ttl === ttlSeconds && now < current.until && current.objects < maxObjects) {
      current.objects++;
      return current.lease;
    }
    const lease = this.#store.grantLease(ttlSeconds + reuse);
    this.#current = { lease, ttl: ttlSeconds, until: now + reuse * 1000, objects: 1 };
    lease.catch(() => {
      if (this.#current?.lease === lease) this.#current = undefined;
    });
    return lease;
  }
}
