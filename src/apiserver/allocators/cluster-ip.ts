/**
 * Cluster IPs (KEP-1880): an address belongs to whoever creates its IPAddress object, so several API servers on one store
 * never give one out twice. Ranges are the ServiceCIDR objects. Automatic addresses come from the upper part of a range
 * first, so that the lower part stays for those who ask for a certain one (KEP-3070).
 */
import { ioNow } from '../../base/io-time.ts';
import type { AllocatorMetrics, RangeUse } from '../metrics/allocator-metrics.ts';
import type { Random } from '../../base/random.ts';
import type { KubeObject } from '../../api/object.ts';
import { StatusError } from '../../api/status.ts';
import { deleteIfPresent, loopbackContext, loopbackCreateOptions } from '../loopback.ts';
import type { Registries, Registry } from '../registry.ts';
import {
  formatAddress,
  parseAddress,
  parseRange,
  rangeContains,
  rangeSize,
  type Address,
  type Family,
  type Range,
} from './address.ts';

const group = 'networking.k8s.io';
/** Of the ServiceCIDR that every cluster has. */
const defaultName = 'kubernetes';

/** Why an address could not be had; the text goes into the field error. */
export class AllocationError extends Error {
  readonly full: boolean;
  constructor(message: string, full = false) {
    super(message);
    this.name = 'AllocationError';
    this.full = full;
  }
}

interface ServiceName {
  readonly namespace: string;
  readonly name: string;
}

interface Bounds {
  readonly first: bigint;
  /** Where the part for automatic addresses begins. */
  readonly dynamic: bigint;
  readonly last: bigint;
}

/** Without network and broadcast addresses; the lower part is a sixteenth, between 16 and 256 addresses. */
function boundsOf(range: Range): Bounds {
  const size = rangeSize(range);
  const first = range.base + 1n;
  const last = range.base + size - 1n - (range.family === 'IPv4' ? 1n : 0n);
  let offset = size / 16n;
  if (size < 16n) offset = 0n;
  else if (offset < 16n) offset = 16n;
  else if (offset > 256n) offset = 256n;
  const dynamic = first + offset;
  return { first, dynamic: dynamic > last ? first : dynamic, last };
}

/** One that nobody has judged is ready. */
function isReady(cidr: KubeObject): boolean {
  const { conditions = [] } = (cidr['status'] ?? {}) as { conditions?: { type: string; status: string }[] };
  const ready = conditions.find((c) => c.type === 'Ready');
  return ready === undefined || ready.status === 'True';
}

/** A random number below n, also where n is beyond what a double holds. */
function randomBelow(random: Random, n: bigint): bigint {
  if (n <= 1n) return 0n;
  if (n <= 0x1_0000_0000n) return BigInt(random.int(Number(n)));
  return BigInt(`0x${random.bytes(16).toString('hex')}`) % n;
}

export class ClusterIpAllocator {
  metrics: AllocatorMetrics | undefined = undefined;
  readonly #registries: Registries;
  readonly #random: Random;
  readonly #configured: readonly Range[];

  /** `ranges`: `--service-cluster-ip-range`, the first one's family is the default. */
  constructor(options: {
    readonly registries: Registries;
    readonly random: Random;
    readonly ranges: readonly string[];
  }) {
    this.#registries = options.registries;
    this.#random = options.random;
    this.#configured = options.ranges.map((text) => {
      const range = parseRange(text);
      if (range === undefined) throw new Error(`invalid service cluster IP range ${JSON.stringify(text)}`);
      return range;
    });
    if (this.#configured.length === 0) throw new Error('at least one service cluster IP range is needed');
  }

  get defaultFamily(): Family {
    return this.#configured[0]!.family;
  }

  /** Families that the server was configured with. */
  get families(): readonly Family[] {
    return [...new Set(this.#configured.map((r) => r.family))];
  }

  /**
   * Ranges to give addresses out of: those of ServiceCIDR objects that are ready and not being deleted, and until there is the
   * default one those that are configured.
   */
  #ranges(): Range[] {
    if (this.#registries.registry(group, 'servicecidrs') === undefined) return [...this.#configured];
    const ranges = new Map<string, Range>();
    if (this.#registries.cachedGet(group, 'servicecidrs', '', defaultName) === undefined)
      for (const range of this.#configured) ranges.set(range.text, range);
    for (const committed of this.#registries.cached(group, 'servicecidrs')) {
      const object = committed.object();
      if (object.metadata['deletionTimestamp'] !== undefined || !isReady(object)) continue;
      for (const text of (object['spec'] as { cidrs?: string[] } | undefined)?.cidrs ?? []) {
        const range = parseRange(text);
        if (range !== undefined) ranges.set(range.text, range);
      }
    }
    return [...ranges.values()];
  }

  /** How many addresses of each range are taken. */
  *use(): Iterable<RangeUse> {
    const taken = new Map<string, number>();
    const ranges = this.#ranges();
    if (this.#registries.registry(group, 'ipaddresses') === undefined) return;
    for (const committed of this.#registries.cached(group, 'ipaddresses')) {
      const address = parseAddress(committed.name);
      const range = address === undefined ? undefined : ranges.find((r) => rangeContains(r, address));
      if (range !== undefined) taken.set(range.text, (taken.get(range.text) ?? 0) + 1);
    }
    for (const range of ranges) {
      const { first, last } = boundsOf(range);
      const allocated = taken.get(range.text) ?? 0;
      yield { cidr: range.text, allocated, available: Math.max(0, Number(last - first) + 1 - allocated) };
    }
  }

  /** Takes a certain address. `text` is canonical already or is made so; returns it. */
  async allocate(text: string, service: ServiceName, dryRun: boolean): Promise<string> {
    const address = parseAddress(text);
    if (address === undefined) throw new AllocationError(`failed to parse service IP ${JSON.stringify(text)}`);
    const range = this.#ranges().find((r) => rangeContains(r, address));
    if (range === undefined) throw new AllocationError('the provided network does not match the current range');
    const { first, last } = boundsOf(range);
    const ip = formatAddress(address);
    if (address.value < first || address.value > last)
      throw new AllocationError(
        `the provided IP (${ip}) is not in the valid range. The range of valid IPs is ${range.text}`,
      );
    if (dryRun) return ip;
    const began = ioNow();
    const ok = await this.#take(address, service);
    this.metrics?.address(range.text, 'static', ok, (ioNow() - began) / 1000);
    if (!ok) throw new AllocationError('provided IP is already allocated');
    return ip;
  }

  /** Takes any free address of the family. */
  async allocateNext(family: Family, service: ServiceName, dryRun: boolean): Promise<string> {
    for (const range of this.#ranges()) {
      if (range.family !== family) continue;
      const { first, dynamic, last } = boundsOf(range);
      if (dryRun) return formatAddress({ family, value: range.base });
      const began = ioNow();
      const found =
        (await this.#takeIn(family, dynamic, last, service)) ??
        (dynamic > first ? await this.#takeIn(family, first, dynamic - 1n, service) : undefined);
      this.metrics?.address(range.text, 'dynamic', found !== undefined, (ioNow() - began) / 1000);
      if (found !== undefined) return found;
    }
    throw new AllocationError('range is full', true);
  }

  async #takeIn(family: Family, from: bigint, to: bigint, service: ServiceName): Promise<string | undefined> {
    const count = to - from + 1n;
    if (count <= 0n) return undefined;
    const start = randomBelow(this.#random, count);
    for (let i = 0n; i < count; i++) {
      const address = { family, value: from + ((start + i) % count) };
      const ip = formatAddress(address);
      if (this.#registries.cachedGet(group, 'ipaddresses', '', ip) !== undefined) continue;
      if (await this.#take(address, service)) return ip;
    }
    return undefined;
  }

  #registry(): Registry {
    const registry = this.#registries.registry(group, 'ipaddresses');
    if (registry === undefined) throw new Error(`no registry serves ipaddresses.${group}`);
    return registry;
  }

  /** Creates the IPAddress; false when somebody has it. */
  async #take(address: Address, service: ServiceName): Promise<boolean> {
    const registry = this.#registry();
    const name = formatAddress(address);
    const object: KubeObject = {
      apiVersion: `${group}/v1`,
      kind: 'IPAddress',
      metadata: {
        name,
        labels: {
          'ipaddress.kubernetes.io/ip-family': address.family,
          'ipaddress.kubernetes.io/managed-by': 'ipallocator.k8s.io',
        },
      },
      spec: {
        parentRef: { group: '', resource: 'services', namespace: service.namespace, name: service.name },
      },
    };
    const ctx = loopbackContext({ verb: 'create', resource: registry.resource, name });
    try {
      await registry.create(ctx, '', object, loopbackCreateOptions);
      return true;
    } catch (error) {
      if (error instanceof StatusError && error.reason === 'AlreadyExists') return false;
      throw error;
    }
  }

  /** Gives an address back; one that nobody has is fine. */
  async release(text: string): Promise<void> {
    const address = parseAddress(text);
    if (address === undefined) return;
    await deleteIfPresent(this.#registry(), '', formatAddress(address));
  }
}
