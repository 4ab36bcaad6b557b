/**
 * Which API servers there are, where several share a store: each keeps a record of its address that goes when it stops renewing it
 * (upstream's `masterleases`, so that ours and upstream's see each other), and the `kubernetes` Service leads to all of them.
 */
import type { Clock, Timer } from '../../base/clock.ts';
import type { Endpoints } from '../../api/types/index.gen.ts';
import type { Logger } from '../../base/logger.ts';
import type { KeyValueStore } from '../../etcd/store.ts';
import type { Registries } from '../registry.ts';
import { prefixEnd } from '../storage/keys.ts';
import { ensureMembers } from './bootstrap.ts';
import { kubernetesServiceObjects, type AdvertisedAddress } from './objects.ts';
import { BootstrapWriter } from './writer.ts';

const prefix = '/registry/masterleases/';
const ttlSeconds = 15;
const renewMs = 10_000;

export interface ServerEndpointsOptions {
  readonly store: KeyValueStore;
  readonly registries: Registries;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly advertised: () => AdvertisedAddress;
  /** No records are kept: of those whom the Endpoints name so many stay (`--endpoint-reconciler-type=master-count`, `--apiserver-count`). */
  readonly count?: number | undefined;
}

export class ServerEndpoints {
  readonly #o: ServerEndpointsOptions;
  #lease: string | undefined;
  #ticker: Timer | undefined;
  #busy = false;
  #left = false;

  constructor(options: ServerEndpointsOptions) {
    this.#o = options;
  }

  /** Makes this server known, or goes on doing so. The addresses of all there are, in order. */
  async join(): Promise<readonly string[]> {
    const { store } = this.#o;
    const { address } = this.#o.advertised();
    if (this.#o.count !== undefined) return this.#counted(address, this.#o.count);
    const key = `${prefix}${address}`;
    let renewed = false;
    if (this.#lease !== undefined)
      renewed = await store.keepAliveLease(this.#lease).then(
        (left) => left > 0,
        () => false,
      );
    const found = renewed ? await store.range({ key }) : undefined;
    if (found === undefined || found.kvs[0]?.lease !== this.#lease) {
      this.#lease = await store.grantLease(ttlSeconds);
      const record = {
        kind: 'Endpoints',
        apiVersion: 'v1',
        metadata: {},
        subsets: [{ addresses: [{ ip: address }] }],
      };
      const value = Buffer.from(`${JSON.stringify(record)}\n`);
      await store.commit({ key, expectModRevision: undefined, value, lease: this.#lease });
    }
    return this.#all(address);
  }

  /** Those that the Endpoints name. */
  #named(): string[] {
    const metadata = { name: 'kubernetes', namespace: 'default' };
    const endpoints = new BootstrapWriter(this.#o.registries).current('', 'endpoints', metadata) as
      | Endpoints
      | undefined;
    const subsets = endpoints?.subsets ?? [];
    return subsets.length === 1 ? (subsets[0]!.addresses ?? []).map((a) => a.ip) : [];
  }

  /** With our own; where these are more than there are servers, those that follow it have gone. */
  #counted(own: string, count: number): string[] {
    const addresses = [...new Set([...this.#named(), own])].sort();
    while (addresses.length > count) addresses.splice((addresses.indexOf(own) + 1) % addresses.length, 1);
    return addresses;
  }

  /** Those of the family of our own. */
  async #all(own: string): Promise<readonly string[]> {
    const { kvs } = await this.#o.store.range({ key: prefix, end: prefixEnd(prefix), keysOnly: true });
    const ipv6 = own.includes(':');
    return kvs.map((kv) => kv.key.slice(prefix.length)).filter((address) => address.includes(':') === ipv6);
  }

  /** From now on by itself. */
  start(): void {
    this.#ticker = this.#o.clock.setTicker(renewMs, () => {
      if (this.#busy) return;
      this.#busy = true;
      void this.#o.clock.activity.track(
        this.join()
          .then((addresses) => this.#write(addresses))
          .catch((error: unknown) => {
            if (!this.#left) this.#o.logger.warn('the addresses of the API servers could not be renewed', { error });
          })
          .finally(() => {
            this.#busy = false;
          }),
      );
    });
  }

  async #write(addresses: readonly string[]): Promise<void> {
    if (addresses.length === 0) return;
    const writer = new BootstrapWriter(this.#o.registries);
    const [, endpoints, slice] = kubernetesServiceObjects({ ...this.#o.advertised(), addresses });
    await ensureMembers(writer, endpoints!, ['subsets']);
    await ensureMembers(writer, slice!, ['endpoints', 'ports']);
  }

  /** This server goes: the Service leads to the others alone. */
  async leave(): Promise<void> {
    if (this.#left) return;
    this.#left = true;
    this.#ticker?.cancel();
    const { address } = this.#o.advertised();
    try {
      if (this.#o.count !== undefined) return await this.#write(this.#named().filter((a) => a !== address));
      if (this.#lease === undefined) return;
      await this.#o.store.commit({ key: `${prefix}${address}`, expectModRevision: undefined, value: undefined });
      await this.#write(await this.#all(address));
      await this.#o.store.revokeLease(this.#lease);
    } catch (error) {
      this.#o.logger.warn('this API server could not be taken from the kubernetes Service', { error });
    }
  }
}
