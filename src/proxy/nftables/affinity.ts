/**
 * Services whose clients keep their endpoint: the one case that takes chains of its own. An endpoint has a set of the clients that
 * were sent to it, which the kernel forgets after the Service's time; a Service's chain looks for the client in those sets before it
 * chooses at random. The same construction as upstream's, so an endpoint that goes takes its clients' memory with it.
 */
import type { ProxyProtocol } from '../backend.ts';
import type { NftTable } from '../nft/table.ts';
import { hashed } from './names.ts';
import type { Dialect, NftablesOptions } from './options.ts';
import { masqueradeChain, masqueraded } from './skeleton.ts';

/** Clients that an endpoint remembers. */
const maxClients = 65_536;

export interface AffineList {
  /** `cluster` and `local` policy have different endpoints, but share what is remembered of them. */
  readonly policy: 'cluster' | 'local';
  /** `namespace/name:port name`. */
  readonly servicePort: string;
  readonly protocol: ProxyProtocol;
  readonly seconds: number;
  /** `address . port` */
  readonly endpoints: readonly string[];
}

interface Service {
  users: number;
  list: AffineList;
}

interface Endpoint {
  users: number;
  seconds: number;
}

function baseName(list: AffineList): string {
  const [name = '', port = ''] = list.servicePort.split(':');
  return `${name}/${list.protocol.toLowerCase()}/${port}`;
}

function endpointName(list: AffineList, endpoint: string): string {
  return hashed(`${baseName(list)}__${endpoint.replace(' . ', '/')}`);
}

export const affinityPrefix = 'affinity-';

export class AffinityChains {
  readonly #t: NftTable;
  readonly #d: Dialect;
  readonly #o: NftablesOptions;
  readonly #services = new Map<string, Service>();
  readonly #endpoints = new Map<string, Endpoint>();

  constructor(table: NftTable, dialect: Dialect, options: NftablesOptions) {
    this.#t = table;
    this.#d = dialect;
    this.#o = options;
  }

  /** Names of the sets that remember clients. */
  get sets(): string[] {
    return [...this.#endpoints.keys()].map((name) => affinityPrefix + name);
  }

  /** One more frontend leads to this list; returns its chain. */
  acquire(list: AffineList): string {
    const chain = `${list.policy === 'cluster' ? 'service' : 'local'}-${hashed(baseName(list))}`;
    const known = this.#services.get(chain);
    if (known === undefined) {
      this.#services.set(chain, { users: 1, list });
      this.#write(chain, list, undefined);
    } else {
      known.users++;
      if (!same(known.list, list)) {
        this.#write(chain, list, known.list);
        known.list = list;
      }
    }
    return chain;
  }

  /** The chain that leads there and has the source masqueraded. */
  masqueraded(chain: string): string {
    return masqueradeChain(this.#t, this.#o, chain);
  }

  release(chain: string): void {
    const known = this.#services.get(chain);
    if (known === undefined || --known.users > 0) return;
    this.#services.delete(chain);
    this.#t.removeChain(masqueraded(chain));
    this.#t.removeChain(chain);
    for (const e of known.list.endpoints) this.#releaseEndpoint(endpointName(known.list, e));
  }

  #write(chain: string, list: AffineList, before: AffineList | undefined): void {
    const x = this.#d.table;
    const rules: string[] = [];
    const choice: string[] = [];
    for (const [i, endpoint] of list.endpoints.entries()) {
      const name = endpointName(list, endpoint);
      this.#acquireEndpoint(name, list, endpoint);
      rules.push(`${x} saddr @${affinityPrefix}${name} goto endpoint-${name}`);
      choice.push(`${i} : goto endpoint-${name}`);
    }
    if (choice.length > 0) rules.push(`numgen random mod ${choice.length} vmap { ${choice.join(', ')} }`);
    this.#t.chain(chain, rules);
    for (const e of before?.endpoints ?? []) this.#releaseEndpoint(endpointName(before!, e));
  }

  #acquireEndpoint(name: string, list: AffineList, endpoint: string): void {
    const known = this.#endpoints.get(name);
    if (known === undefined) {
      this.#endpoints.set(name, { users: 1, seconds: list.seconds });
      this.#t.container(
        'set',
        affinityPrefix + name,
        `type ${this.#d.address} ; size ${maxClients} ; flags dynamic,timeout ;`,
      );
    } else known.users++;
    const [address = '', port = ''] = endpoint.split(' . ');
    const to = this.#d.family === 6 ? `[${address}]:${port}` : `${address}:${port}`;
    // The time stands in the rule: a set's own could not be changed.
    this.#t.chain(`endpoint-${name}`, [
      `update @${affinityPrefix}${name} { ${this.#d.table} saddr timeout ${list.seconds}s }`,
      `meta l4proto ${list.protocol.toLowerCase()} dnat to ${to}`,
    ]);
  }

  #releaseEndpoint(name: string): void {
    const known = this.#endpoints.get(name);
    if (known === undefined || --known.users > 0) return;
    this.#endpoints.delete(name);
    this.#t.removeChain(`endpoint-${name}`);
    this.#t.removeContainer(affinityPrefix + name);
  }
}

function same(a: AffineList, b: AffineList): boolean {
  return (
    a.seconds === b.seconds &&
    a.endpoints.length === b.endpoints.length &&
    a.endpoints.every((e, i) => e === b.endpoints[i])
  );
}
