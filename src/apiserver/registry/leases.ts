/**
 * Leases of objects that expire (Events). Objects written within a minute share one lease that outlives them a little, as
 * upstream's lease manager does, so that a burst of events is not a burst of leases.
 */
import type { Clock } from '../../base/clock.ts';
import type { KeyValueStore } from '../../etcd/store.ts';
import type { Distribution } from '../metrics/exposition.ts';

const maxObjects = 1000;

export class Leases {
  readonly #store: KeyValueStore;
  readonly #clock: Clock;
  readonly #reuseSeconds: number;
  readonly #counts: Distribution | undefined;
  #current: { lease: Promise<string>; ttl: number; until: number; objects: number } | undefined;

  /** `reuseSeconds`: `--lease-reuse-duration-seconds`; `counts`: told how many objects a lease has had when the next one begins. */
  constructor(store: KeyValueStore, clock: Clock, reuseSeconds = 60, counts?: Distribution) {
    this.#store = store;
    this.#clock = clock;
    this.#reuseSeconds = reuseSeconds;
    this.#counts = counts;
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
    // As upstream counts: the one that the last lease was not taken for with it.
    this.#counts?.observe((current?.objects ?? 0) + 1);
    const lease = this.#store.grantLease(ttlSeconds + reuse);
    this.#current = { lease, ttl: ttlSeconds, until: now + reuse * 1000, objects: 1 };
    lease.catch(() => {
      if (this.#current?.lease === lease) this.#current = undefined;
    });
    return lease;
  }
}
