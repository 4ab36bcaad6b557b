/**
 * The nftables backend: one table an address family, written by atomic transactions. At the start, and after a failure, the whole table
 * is replaced in one transaction (nobody ever sees it half made); after that only what changed is written. Rules stay when the proxy
 * stops, so that traffic goes on; `cleanUp` removes them.
 */
import { InTurn } from '../../base/in-turn.ts';
import type { Clock, Timer } from '../../base/clock.ts';
import { ioNow } from '../../base/io-time.ts';
import { cidrContains, parseCidr, parseIp } from '../../base/ip.ts';
import type { Logger } from '../../base/logger.ts';
import { Slice } from '../../base/yield.ts';
import type { Frontend, FrontendChanges, Place, ProxyBackend } from '../backend.ts';
import type { ProxyHost } from '../host/proxy-host.ts';
import type { ProxyMetrics } from '../metrics.ts';
import { NftTable } from '../nft/table.ts';
import { ConnectionTracking } from './connection-tracking.ts';
import { FamilyRules } from './family-rules.ts';
import { tableName } from './names.ts';
import type { NftablesOptions } from './options.ts';
import { dialects } from './options.ts';
import { rememberedClients } from './remembered-clients.ts';

/** Chains that nobody uses are deleted so long after the transaction that freed them: older kernels still hold them for a moment. */
const leftoversAfterMs = 1000;

export interface NftablesBackendOptions extends NftablesOptions {
  readonly host: ProxyHost;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly metrics?: ProxyMetrics;
}

export class NftablesBackend implements ProxyBackend {
  readonly minSyncPeriodMs: number;
  readonly syncPeriodMs: number | undefined;
  readonly #o: NftablesBackendOptions;
  readonly #tracking: ConnectionTracking;
  readonly #families: readonly (4 | 6)[];
  #rules: Map<4 | 6, FamilyRules> = new Map();
  #place: Place = { node: undefined, addresses: [], podCIDRs: [], serviceCIDRs: [] };
  #placeDirty = false;
  #leftovers: Timer | undefined;
  /** One after the other. */
  readonly #transactions = new InTurn();
  #cleaning: Promise<void> = Promise.resolve();
  #localhost: Promise<void> | undefined;
  #closed = false;

  constructor(options: NftablesBackendOptions) {
    this.#o = options;
    this.minSyncPeriodMs = options.minSyncPeriodMs ?? 0;
    this.syncPeriodMs = options.syncPeriodMs;
    this.#families = options.families ?? [4, 6];
    this.#tracking = new ConnectionTracking(options.host, options.logger, ioNow, (family, seconds, deleted) =>
      options.metrics?.conntrack(family, seconds, deleted),
    );
  }

  placeChanged(place: Place): void {
    this.#place = place;
    this.#placeDirty = true;
  }

  replace(all: ReadonlyMap<string, Frontend>): Promise<void> {
    return this.#transactions.run(() => this.#replace(all));
  }

  apply(changes: FrontendChanges): Promise<void> {
    return this.#transactions.run(() => this.#apply(changes));
  }

  async #replace(all: ReadonlyMap<string, Frontend>): Promise<void> {
    await this.#prepare();
    // What changes from here on counts for the next transaction.
    this.#placeDirty = false;
    const place = this.#place;
    const own = await this.#ownAddresses(place);
    const rules = new Map<4 | 6, FamilyRules>();
    for (const family of this.#families) rules.set(family, new FamilyRules(dialects[family], this.#o, place, own));
    const slice = new Slice();
    for (const [key, frontend] of all) {
      rules.get(frontend.source.family)?.set(key, frontend);
      await slice.turn();
    }
    const texts: string[] = [];
    for (const [, r] of rules) {
      texts.push(r.table.transaction());
      // Who was sent where is remembered across a restart.
      texts.push(await rememberedClients(this.#o.host, r.table, r.affinity.sets, this.#o.logger));
    }
    await this.#o.host.nft(texts.join(''));
    for (const [, r] of rules) r.table.commit();
    this.#rules = rules;
    this.#track(all.values());
  }

  async #apply(changes: FrontendChanges): Promise<void> {
    if (this.#placeDirty) {
      this.#placeDirty = false;
      const place = this.#place;
      const own = await this.#ownAddresses(place);
      for (const [, r] of this.#rules) r.placeChanged(place, own);
    }
    const slice = new Slice();
    for (const key of changes.removed) for (const [, r] of this.#rules) r.remove(key);
    for (const [key, frontend] of changes.set) {
      this.#rules.get(frontend.source.family)?.set(key, frontend);
      await slice.turn();
    }
    let text = '';
    for (const [, r] of this.#rules) text += r.table.transaction();
    if (text !== '') await this.#o.host.nft(text);
    for (const [, r] of this.#rules) r.table.commit();
    if (text === '') return;
    this.#track(changes.set.values());
    this.#leftoversLater();
  }

  /** Settings of the kernel that the rules count on. */
  #prepare(): Promise<void> {
    if (this.#o.localhostNodePorts !== true) return Promise.resolve();
    this.#localhost ??= this.#o.host.setSysctl('net/ipv4/conf/all/route_localnet', '1').catch((error: unknown) => {
      this.#o.logger.warn('node ports will not answer at 127.0.0.1', { error });
    });
    return this.#localhost;
  }

  async #ownAddresses(place: Place): Promise<readonly string[]> {
    const given = this.#o.nodePortAddresses ?? ['primary'];
    if (given.includes('primary')) return primary(place.addresses);
    const ranges = given.map((g) => parseCidr(g.trim())).filter((c) => c !== undefined);
    return (await this.#o.host.addresses()).filter((a) => {
      const ip = parseIp(a);
      return ip !== undefined && ranges.some((r) => cidrContains(r, ip));
    });
  }

  /** Ends UDP connections to endpoints that are gone; beside the rules, which do not wait for it. */
  #track(frontends: Iterable<Frontend>): void {
    const udp = new Map<4 | 6, Frontend[]>();
    for (const f of frontends) {
      if (f.protocol !== 'UDP') continue;
      const { family } = f.source;
      const list = udp.get(family);
      if (list === undefined) udp.set(family, [f]);
      else list.push(f);
    }
    for (const [family, list] of udp) this.#cleaning = this.#cleaning.then(() => this.#tracking.clean(family, list));
    if (udp.size > 0) void this.#o.clock.activity.track(this.#cleaning);
  }

  #leftoversLater(): void {
    if (this.#closed || this.#leftovers !== undefined) return;
    this.#leftovers = this.#o.clock.setTimer(leftoversAfterMs, () => {
      this.#leftovers = undefined;
      void this.#transactions.run(() => this.#deleteLeftovers());
    });
  }

  async #deleteLeftovers(): Promise<void> {
    for (const [, r] of this.#rules) {
      const text = r.table.leftovers();
      if (text === '') continue;
      try {
        await this.#o.host.nft(text);
        r.table.leftoversGone();
      } catch (error) {
        // They are empty and nothing leads there: the next full sync takes them away.
        this.#o.metrics?.cleanupFailed();
        this.#o.logger.debug('chains of former Services could not be deleted yet', { error });
      }
    }
  }

  /** Resolves when clean-up behind the changes so far is done. */
  settled(): Promise<void> {
    return this.#cleaning;
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#leftovers?.cancel();
    await this.#transactions.ended();
    await this.#cleaning;
  }
}

/** The first address of each family: what upstream calls a node's primary addresses. */
function primary(addresses: readonly string[]): string[] {
  const out: string[] = [];
  for (const family of [4, 6]) {
    const found = addresses.find((a) => parseIp(a)?.family === family);
    if (found !== undefined) out.push(found);
  }
  return out;
}

/** Removes every rule of the proxy, whoever wrote it; other tables stay as they are. */
export async function cleanUp(host: ProxyHost): Promise<void> {
  await host.nft((['ip', 'ip6'] as const).map((family) => new NftTable(family, tableName).removal()).join(''));
}
