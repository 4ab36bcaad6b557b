/** `CidrSet`: a set of equal ranges cut out of a larger one. */
import type { Cidr } from '../../base/ip.ts';
import { cidrSize, cidrsOverlap } from '../../base/ip.ts';

/** Ranges of a `prefix` cut out of a cluster's range, given out one after the other and taken back. */
export class CidrSet {
  readonly #cluster: Cidr;
  readonly #prefix: number;
  readonly #used = new Set<number>();
  /** How many ranges there are. */
  readonly #size: number;
  /** How many addresses one has. */
  readonly #each: bigint;
  #next = 0;

  constructor(cluster: Cidr, prefix: number) {
    this.#cluster = cluster;
    this.#prefix = prefix;
    this.#each = cidrSize({ ...cluster, prefix });
    this.#size = 2 ** Math.min(prefix - cluster.prefix, 30);
  }

  #at(index: number): Cidr {
    const { family, base } = this.#cluster;
    return { family, base: base + BigInt(index) * this.#each, prefix: this.#prefix };
  }

  /** A free range; undefined when all are taken. */
  allocate(): Cidr | undefined {
    if (this.#used.size >= this.#size) return undefined;
    while (this.#used.has(this.#next)) this.#next = (this.#next + 1) % this.#size;
    const index = this.#next;
    this.#used.add(index);
    this.#next = (index + 1) % this.#size;
    return this.#at(index);
  }

  *#indices(c: Cidr): Iterable<number> {
    if (!cidrsOverlap(c, this.#cluster)) return;
    const whole = c.prefix <= this.#cluster.prefix;
    const index = (address: bigint): bigint => (address - this.#cluster.base) / this.#each;
    const first = whole ? 0n : index(c.base);
    const last = whole ? BigInt(this.#size - 1) : index(c.base + cidrSize(c) - 1n);
    for (let i = first; i <= last; i++) yield Number(i);
  }

  /** Marks everything that the range touches as taken. False when it lies outside. */
  occupy(c: Cidr): boolean {
    if (!cidrsOverlap(c, this.#cluster)) return false;
    for (const i of this.#indices(c)) this.#used.add(i);
    return true;
  }

  release(c: Cidr): void {
    for (const i of this.#indices(c)) this.#used.delete(i);
  }
}
