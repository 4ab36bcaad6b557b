/** What the flags of etcd and generic storage come to: the stores of an API server, and how things are kept in them. */
import type { StorageOptions } from '../../apiserver/storage/options.ts';
import { PrefixedStore, storagePrefix } from '../../apiserver/storage/prefixed-store.ts';
import { startPeriodicCompaction } from '../../etcd/periodic-compaction.ts';
import type { KeyValueStore } from '../../etcd/store.ts';
import type { ComponentEnvironment } from './environment.ts';
import { StartError } from './environment.ts';

export interface StorageFlags {
  readonly etcdPrefix: string;
  /** `group/resource#server;server` */
  readonly etcdServersOverrides: readonly string[];
  readonly storageBackend: string;
  readonly storageInitializationTimeoutMs: number;
  readonly healthcheckTimeoutMs: number;
  readonly readycheckTimeoutMs: number;
  readonly countMetricPollPeriodMs: number;
  readonly dbMetricPollIntervalMs: number;
  readonly compactionIntervalMs: number;
  readonly leaseReuseDurationSeconds: number;
  /** Undefined: as many as are good. */
  readonly deleteCollectionWorkers: number | undefined;
  readonly enableGarbageCollector: boolean;
  readonly watchCacheSizes: readonly string[];
}

interface Override {
  readonly resource: string;
  readonly servers: readonly string[];
}

function overridesOf(texts: readonly string[]): Override[] {
  return texts.map((text) => {
    const [resource = '', servers, ...more] = text.split('#');
    const list = servers?.split(';') ?? [];
    if (servers === undefined || more.length > 0 || resource.split('/').length !== 2 || list.includes(''))
      throw new StartError(
        '--etcd-servers-overrides invalid, must be of format: group/resource#servers, where servers are URLs, semicolon separated',
      );
    return { resource, servers: list };
  });
}

function checkCacheSizes(texts: readonly string[]): void {
  for (const text of texts) {
    const [, size, ...more] = text.split('#');
    if (size === undefined || more.length > 0) throw new StartError(`invalid value of watch cache size: ${text}`);
    if (!/^[-+]?\d+$/.test(size)) throw new StartError(`invalid size of watch cache size: ${text}`);
    if (Number(size) < 0) throw new StartError(`watch cache size cannot be negative: ${text}`);
  }
}

/** What of the flags does not fit is refused before anything is opened. @throws {StartError} */
export function checkStorage(flags: StorageFlags): void {
  if (flags.storageBackend !== '' && flags.storageBackend !== 'etcd3')
    throw new StartError(
      "--storage-backend invalid, allowed values: etcd3. If not specified, it will default to 'etcd3'",
    );
  if (flags.storageInitializationTimeoutMs < 0)
    throw new StartError('--storage-initialization-timeout can not be negative value');
  overridesOf(flags.etcdServersOverrides);
  checkCacheSizes(flags.watchCacheSizes);
}

/** The servers that are asked, and their stores. */
export class ApiServerStores {
  /** That of all resources that have no other. */
  readonly main: KeyValueStore;
  readonly #flags: StorageFlags;
  readonly #overrides = new Map<string, KeyValueStore>();
  /** As they were opened, by their servers in order. */
  readonly #opened: readonly (readonly [servers: readonly string[], store: KeyValueStore])[];
  readonly #further: readonly KeyValueStore[];
  readonly #stops: (() => void)[] = [];

  private constructor(
    flags: StorageFlags,
    opened: ApiServerStores['opened'],
    wrap: (store: KeyValueStore) => KeyValueStore,
  ) {
    this.#flags = flags;
    this.#opened = opened;
    const prefix = storagePrefix(flags.etcdPrefix);
    const seen = opened.map(([, store]) => {
      const wrapped = wrap(store);
      return prefix === '/registry' ? wrapped : new PrefixedStore(wrapped, prefix);
    });
    this.main = seen[0]!;
    this.#further = seen.slice(1);
    for (const { resource, servers } of overridesOf(flags.etcdServersOverrides)) {
      const at = opened.findIndex(([s], i) => i > 0 && sameServers(s, servers));
      this.#overrides.set(resource, seen[at]!);
    }
  }

  /** `wrap`: encryption, which knows the keys as they are in the store. */
  static async open(
    flags: StorageFlags,
    servers: readonly string[],
    dial: (servers: readonly string[]) => Promise<KeyValueStore>,
    wrap: (store: KeyValueStore) => KeyValueStore,
  ): Promise<ApiServerStores> {
    const wanted: (readonly string[])[] = [servers];
    for (const o of overridesOf(flags.etcdServersOverrides))
      if (!wanted.slice(1).some((s) => sameServers(s, o.servers))) wanted.push(o.servers);
    const opened: [readonly string[], KeyValueStore][] = [];
    try {
      for (const s of wanted) opened.push([s, await dial(s)]);
      return new ApiServerStores(flags, opened, wrap);
    } catch (error) {
      await Promise.all(opened.map(([, store]) => store.close()));
      throw error;
    }
  }

  get opened(): readonly (readonly [servers: readonly string[], store: KeyValueStore])[] {
    return this.#opened;
  }

  get options(): StorageOptions {
    const flags = this.#flags;
    return {
      ...(this.#overrides.size === 0
        ? {}
        : { storeOf: (group: string, resource: string) => this.#overrides.get(`${group}/${resource}`) }),
      ...(flags.deleteCollectionWorkers === undefined
        ? {}
        : { deleteCollectionWorkers: flags.deleteCollectionWorkers }),
      garbageCollector: flags.enableGarbageCollector,
      leaseReuseSeconds: flags.leaseReuseDurationSeconds,
      healthTimeoutMs: flags.healthcheckTimeoutMs,
      readyTimeoutMs: flags.readycheckTimeoutMs,
      countMetrics: flags.countMetricPollPeriodMs > 0,
      sizeMetrics: flags.dbMetricPollIntervalMs > 0,
      endpoint: this.#opened[0]?.[0][0],
    };
  }

  /** Each store beside the main one is asked for its health as that is. */
  installChecks(health: {
    add(name: string, check: () => Promise<void>, paths: ['readyz'] | undefined, group: string): void;
  }): void {
    this.#further.forEach((store, i) => {
      const ask = async (): Promise<void> => void (await store.currentRevision());
      health.add(`etcd-override-${i}`, ask, undefined, 'etcd');
      health.add(`etcd-override-readiness-${i}`, ask, ['readyz'], 'etcd-readiness');
    });
  }

  /** Waits for the first answer of each. False when the server is to stop first. @throws {StartError} */
  async answering(env: ComponentEnvironment): Promise<boolean> {
    for (const [servers, store] of this.#opened)
      if (!(await waitForStore(store, servers, this.#flags.storageInitializationTimeoutMs, env))) return false;
    return true;
  }

  startCompaction({ clock, logger }: Pick<ComponentEnvironment, 'clock' | 'logger'>): void {
    const intervalMs = this.#flags.compactionIntervalMs;
    if (intervalMs <= 0) return;
    for (const [, store] of this.#opened)
      this.#stops.push(startPeriodicCompaction({ store, clock, logger, intervalMs }));
  }

  stopCompaction(): void {
    for (const stop of this.#stops.splice(0)) stop();
  }

  async close(): Promise<void> {
    this.stopCompaction();
    await Promise.all(this.#opened.map(([, store]) => store.close()));
  }
}

/** The order is of no matter. */
function sameServers(a: readonly string[], b: readonly string[]): boolean {
  return a.length === b.length && a.toSorted().join(' ') === b.toSorted().join(' ');
}

async function waitForStore(
  store: KeyValueStore,
  servers: readonly string[],
  patienceMs: number,
  env: ComponentEnvironment,
): Promise<boolean> {
  const { clock, logger, signal } = env;
  const began = clock.monotonic();
  for (let attempt = 0; !signal.aborted; attempt++) {
    try {
      await store.currentRevision();
      return true;
    } catch (error) {
      if (signal.aborted) return false;
      if (clock.monotonic() - began > patienceMs)
        throw new StartError(`cannot reach etcd at ${servers.join(', ')}: ${(error as Error).message}`, {
          cause: error,
        });
      if (attempt % 10 === 0) logger.warn('cannot reach etcd; trying again', { servers: servers.join(','), error });
      await clock.sleep(1000, signal).catch((e: unknown) => {
        if (!signal.aborted) throw e;
      });
    }
  }
  return false;
}
