/** Addresses of load balancers: a pool of CIDRs, the lowest free address first. What is taken is asked for each time. */
import type { Cidr } from '../../../base/ip.ts';
import { cidrContains, cidrSize, formatIp, parseCidr, parseIp } from '../../../base/ip.ts';

/** Kept free at the start of each range: the network's own, and `127.0.1.1`, which many machines give to their host name. */
const reserved = 2n;
/** Ranges of IPv6 are searched so far only. */
const maxSearch = 1n << 20n;

export class LocalAddressPool {
  readonly #ranges: readonly Cidr[];
  readonly #text: string;

  /** Throws for what is no CIDR. */
  constructor(cidrs: readonly string[]) {
    this.#ranges = cidrs.map((text) => {
      const cidr = parseCidr(text);
      if (cidr === undefined) throw new Error(`invalid CIDR address: ${text}`);
      return cidr;
    });
    this.#text = cidrs.join(',');
  }

  /** The families there are addresses of. */
  get families(): ReadonlySet<4 | 6> {
    return new Set(this.#ranges.map((r) => r.family));
  }

  contains(address: string): boolean {
    const ip = parseIp(address);
    return ip !== undefined && this.#ranges.some((r) => cidrContains(r, ip));
  }

  /** The first address of the family that `taken` does not name. Throws when there is none. */
  allocate(family: 4 | 6, taken: ReadonlySet<string>): string {
    for (const range of this.#ranges) {
      if (range.family !== family) continue;
      const size = cidrSize(range);
      // A range of a few addresses is used as it is; of others the broadcast address stays free too.
      const small = size <= 4n;
      const end = small ? size : family === 4 ? size - 1n : size < maxSearch ? size : maxSearch;
      for (let n = small ? 0n : reserved; n < end; n++) {
        const address = formatIp({ family, value: range.base + n });
        if (!taken.has(address)) return address;
      }
    }
    throw new Error(`no IPv${family} address is left in the load balancer pool ${this.#text}`);
  }
}
