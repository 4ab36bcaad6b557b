/**
 * Leases: what is attached to them and when they end. Time is the injected clock's. A restart gives every lease its full
 * TTL again, as a new leader does in etcd. What an end does to the keyspace is the caller's business.
 */
import type { Clock, Timer } from '../base/clock.ts';

/** etcd's shortest TTL under its default election timeout, and its longest. */
export const minLeaseTtl = 2;
export const maxLeaseTtl = 9_000_000_000;

export class LeaseNotFoundError extends Error {
  constructor() {
    super('etcdserver: requested lease not found');
    this.name = 'LeaseNotFoundError';
  }
}

export class LeaseExistsError extends Error {
  constructor() {
    super('etcdserver: lease already exists');
    this.name = 'LeaseExistsError';
  }
}

export class LeaseTtlTooLargeError extends Error {
  constructor() {
    super('etcdserver: too large lease TTL');
    this.name = 'LeaseTtlTooLargeError';
  }
}

export interface Lease {
  readonly id: string;
  /** Seconds. */
  readonly ttl: number;
  /** On the clock's monotonic scale, milliseconds. */
  expiresAt: number;
  readonly keys: Set<string>;
}

interface Due {
  readonly at: number;
  readonly lease: Lease;
}

export class Lessor {
  readonly #clock: Clock;
  readonly #expired: (lease: Lease) => void;
  readonly #leases = new Map<string, Lease>();
  /** A binary heap by `at`. A kept-alive lease moves on when its old entry comes up. */
  readonly #due: Due[] = [];
  #timer: Timer | undefined;
  #timerAt = Infinity;
  #running = false;

  constructor(clock: Clock, expired: (lease: Lease) => void) {
    this.#clock = clock;
    this.#expired = expired;
  }

  get(id: string): Lease | undefined {
    return this.#leases.get(id);
  }

  all(): IterableIterator<Lease> {
    return this.#leases.values();
  }

  grant(id: string, ttl: number): Lease {
    if (this.#leases.has(id)) throw new LeaseExistsError();
    const lease: Lease = { id, ttl, expiresAt: this.#clock.monotonic() + ttl * 1000, keys: new Set() };
    this.#leases.set(id, lease);
    this.#push({ at: lease.expiresAt, lease });
    this.#arm();
    return lease;
  }

  remove(id: string): void {
    this.#leases.delete(id);
    if (this.#leases.size === 0) this.#due.length = 0;
    this.#arm();
  }

  /** Renews a lease; returns its TTL in seconds. */
  keepAlive(id: string): number {
    const lease = this.#leases.get(id);
    if (lease === undefined) throw new LeaseNotFoundError();
    lease.expiresAt = this.#clock.monotonic() + lease.ttl * 1000;
    return lease.ttl;
  }

  /** Whole seconds left. */
  remaining(lease: Lease): number {
    return Math.max(0, Math.floor((lease.expiresAt - this.#clock.monotonic()) / 1000));
  }

  attach(id: string, key: string): void {
    this.#leases.get(id)?.keys.add(key);
  }

  detach(id: string, key: string): void {
    this.#leases.get(id)?.keys.delete(key);
  }

  start(): void {
    this.#running = true;
    this.#arm();
  }

  stop(): void {
    this.#running = false;
    this.#timer?.cancel();
    this.#timer = undefined;
    this.#timerAt = Infinity;
  }

  #arm(): void {
    if (!this.#running) return;
    while (this.#due.length > 0 && this.#leases.get(this.#due[0]!.lease.id) !== this.#due[0]!.lease) this.#pop();
    const at = this.#due[0]?.at ?? Infinity;
    if (at === this.#timerAt) return;
    this.#timer?.cancel();
    this.#timer = undefined;
    this.#timerAt = at;
    if (at === Infinity) return;
    this.#timer = this.#clock.setTimer(at - this.#clock.monotonic(), () => {
      this.#timer = undefined;
      this.#timerAt = Infinity;
      this.#fire();
    });
  }

  #fire(): void {
    const now = this.#clock.monotonic();
    while (this.#due.length > 0 && this.#due[0]!.at <= now) {
      const { lease } = this.#pop();
      if (this.#leases.get(lease.id) !== lease) continue;
      if (lease.expiresAt > now) this.#push({ at: lease.expiresAt, lease });
      else this.#expired(lease);
    }
    this.#arm();
  }

  #push(due: Due): void {
    const heap = this.#due;
    let i = heap.push(due) - 1;
    while (i > 0) {
      const parent = (i - 1) >>> 1;
      if (heap[parent]!.at <= due.at) break;
      heap[i] = heap[parent]!;
      i = parent;
    }
    heap[i] = due;
  }

  #pop(): Due {
    const heap = this.#due;
    const top = heap[0]!;
    const last = heap.pop()!;
    if (heap.length > 0) {
      let i = 0;
      for (;;) {
        let child = 2 * i + 1;
        if (child >= heap.length) break;
        if (child + 1 < heap.length && heap[child + 1]!.at < heap[child]!.at) child++;
        if (heap[child]!.at >= last.at) break;
        heap[i] = heap[child]!;
        i = child;
      }
      heap[i] = last;
    }
    return top;
  }
}
