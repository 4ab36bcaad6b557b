/**
 * Where a watch cache keeps the bytes of its objects: copied together into slabs of its own. What a store hands out may be
 * a slice of something bigger that one long-lived object would keep alive; here a slab whose objects have mostly gone is
 * emptied into the current one.
 */

/** What lies in an arena. `move` is told where its bytes are now. */
export interface Tenant {
  readonly bytes: Buffer;
  slab: Slab | undefined;
  move(bytes: Buffer, slab: Slab): void;
}

export interface Slab {
  readonly buffer: Buffer;
  used: number;
  /** Bytes of tenants that are still here. */
  live: number;
  tenants: Tenant[];
}

const smallest = 4 * 1024;
const largest = 256 * 1024;

export class Arena {
  #current: Slab | undefined;
  #nextSize = smallest;
  #bytes = 0;

  /** Bytes of all slabs that are in use. */
  get size(): number {
    return this.#bytes;
  }

  #slab(atLeast: number): Slab {
    const size = Math.max(this.#nextSize, atLeast);
    this.#nextSize = Math.min(this.#nextSize * 2, largest);
    this.#bytes += size;
    return { buffer: Buffer.allocUnsafeSlow(size), used: 0, live: 0, tenants: [] };
  }

  /** Copies the bytes of a tenant in. */
  add(tenant: Tenant): void {
    const { bytes } = tenant;
    let slab = this.#current;
    if (slab === undefined || slab.used + bytes.length > slab.buffer.length) {
      const before = slab;
      slab = this.#slab(bytes.length);
      // A big one gets a slab to itself; what is current goes on.
      if (bytes.length <= largest / 4 || before === undefined) {
        this.#current = slab;
        if (before !== undefined) this.#tidy(before);
      }
    }
    const start = slab.used;
    bytes.copy(slab.buffer, start);
    slab.used += bytes.length;
    slab.live += bytes.length;
    slab.tenants.push(tenant);
    tenant.move(slab.buffer.subarray(start, slab.used), slab);
  }

  /** The tenant is replaced or gone; its bytes stay readable for whoever still holds it. */
  remove(tenant: Tenant): void {
    const { slab } = tenant;
    if (slab === undefined) return;
    tenant.slab = undefined;
    slab.live -= tenant.bytes.length;
    if (slab !== this.#current) this.#tidy(slab);
  }

  #tidy(slab: Slab): void {
    if (slab.live > 0 && slab.live * 2 > slab.buffer.length) return;
    this.#bytes -= slab.buffer.length;
    const { tenants } = slab;
    slab.tenants = [];
    for (const tenant of tenants) if (tenant.slab === slab) this.add(tenant);
  }
}
