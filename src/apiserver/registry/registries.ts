/**
 * `RegistriesImpl`: the registries of all resources. Built-in ones are made when they are first asked for, and their watch
 * caches start on first use; custom ones come and go with their CRDs.
 */
import type { Clock, Timer } from '../../base/clock.ts';
import type { Logger } from '../../base/logger.ts';
import type { Random } from '../../base/random.ts';
import type { Catalog } from '../../api/catalog/catalog.ts';
import type { ResourceInfo } from '../../api/catalog/resource.ts';
import { semanticEqual } from '../../api/helpers/deep-equal.ts';
import { convert } from '../../api/conversion/convert.ts';
import { apiVersionOf } from '../../api/object.ts';
import { ProtobufObjects } from '../../api/protobuf.ts';
import type { KubeObject } from '../../api/object.ts';
import type { KeyValueStore } from '../../etcd/store.ts';
import type { StorageOptions } from '../storage/options.ts';
import type { Admission, Authorizer } from '../context.ts';
import { convertedTo, storedIn, VersionedStore } from '../extensions/versioned-store.ts';
import type { ObjectConversion } from '../extensions/webhook-conversion.ts';
import type { Registries } from '../registry.ts';
import type { Committed } from '../request.ts';
import { ParsedCache, StorageLayout } from '../storage/codec.ts';
import type { StoredObject } from '../storage/codec.ts';
import { prefixEnd } from '../storage/keys.ts';
import { storedForm, type StorageMediaType } from '../storage/media-type.ts';
import { WatchCache } from '../storage/watch-cache.ts';
import type { ResourceStrategies, StrategyCatalog } from '../strategy.ts';
import { BuiltinTypeSupport } from './builtin-types.ts';
import type { FieldManagingFactory } from './builtin-types.ts';
import { Deadlines } from './deadlines.ts';
import { deletionRules } from './deletion.ts';
import { fieldManagingFactory } from './field-managing.ts';
import { GenericRegistry } from './generic.ts';
import { Leases } from './leases.ts';
import { ObjectStore } from './object-store.ts';
import { HistogramVector, type Family } from '../metrics/exposition.ts';
import { fieldsOf, fieldsWanted } from './selectable-fields.ts';
import { completeStrategies } from './subresource-strategies.ts';
import type { TypeSupport } from './type-support.ts';

export interface RegistriesOptions {
  readonly store: KeyValueStore;
  /** The store is this process's own (see `WatchCacheOptions.embedded`). */
  readonly embedded: boolean;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  readonly catalog: Catalog;
  readonly strategies: StrategyCatalog;
  /** Key prefix in the store, `/registry` when left out. */
  readonly root?: string;
  /** How long Events live; upstream's --event-ttl, one hour. */
  readonly eventTtlSeconds?: number;
  /** Parsed objects are frozen deeply. */
  readonly freeze?: boolean;
  /** `--min-request-timeout`: how long a watch lasts at least that says nothing itself. */
  readonly minWatchSeconds?: number | undefined;
  /** Stored bytes whose parsed form is kept alive. */
  readonly parsedBytes?: number;
  /** Bytes of superseded objects that one resource's window may keep alive, and how long. */
  readonly windowBytes?: number;
  readonly windowMs?: number;
  /** `--storage-media-type`, default JSON. */
  readonly storageMediaType?: StorageMediaType | undefined;
  /** Custom resources are stored as CBOR. */
  readonly storesCbor?: boolean;
  readonly storage?: StorageOptions | undefined;
  /** The gate DetectCacheInconsistency: caches of a store that others write, too, are held against it now and then. */
  readonly detectCacheInconsistency?: boolean;
}

/** One version of a custom resource. */
export interface CustomVersion {
  readonly resource: ResourceInfo;
  readonly types: TypeSupport;
  readonly strategies: ResourceStrategies;
  readonly served: boolean;
  /** Equal as long as what lies in the store is to be read the same way; a watch goes on then. */
  readonly reading: readonly unknown[];
}

/** A custom resource with all its versions, those that are not served among them. */
export interface CustomResource {
  readonly versions: readonly CustomVersion[];
  /** The name of one of them. */
  readonly storageVersion: string;
  /** undefined: the versions differ in their name alone. */
  readonly conversion: ObjectConversion | undefined;
}

interface MadeVersion {
  readonly registry: GenericRegistry;
  readonly reading: readonly unknown[];
  readonly versioned: VersionedStore;
}

interface StoredResource {
  /** In the version that its registry works with. */
  readonly resource: ResourceInfo;
  readonly versions: ReadonlyMap<string, TypeSupport>;
  readonly strategies: ResourceStrategies;
  readonly store: KeyValueStore;
  readonly embedded: boolean;
  readonly converts?: boolean;
  readonly complete?: (object: KubeObject) => KubeObject;
  readonly finished?: ((value: Buffer) => boolean) | undefined;
  readonly shown?: ((object: KubeObject) => KubeObject) | undefined;
}

/** How what is written in one version of a custom resource will be read there. */
function shownIn(own: CustomVersion, stored: CustomVersion, several: boolean): (object: KubeObject) => KubeObject {
  const alike = !several || own === stored || semanticEqual(own.reading, stored.reading);
  if (alike) return (object) => (own.types.lacksDefaults?.(object) === true ? storedIn(own.types, object) : object);
  return (object) => {
    const through = storedIn(stored.types, convertedTo(stored.types, object));
    const shown = convertedTo(own.types, through);
    return semanticEqual(shown, object) ? object : shown;
  };
}

const tickMs = 60_000;
/** Upkeep may wait so long while nobody can look. */
const maxUnseenMs = 60 * tickMs;
/** The one field by which lists and watches are indexed, as upstream's pod strategy has it. */
const indexedFields: ReadonlyMap<string, string> = new Map([['/pods', 'spec.nodeName']]);

export class RegistriesImpl implements Registries {
  /** For the type support of custom resources. */
  readonly fieldManaging: FieldManagingFactory;
  readonly #options: RegistriesOptions;
  readonly #parsed: ParsedCache;
  /** By store. */
  readonly #leases = new WeakMap<KeyValueStore, Leases>();
  readonly #leaseObjects = new HistogramVector(
    'etcd_lease_object_counts',
    'Objects that one lease of the store was taken for.',
    [10, 50, 100, 500, 1000, 2500, 5000],
  );
  readonly families: readonly Family[] = [this.#leaseObjects];
  /** Those of the built-in resources: one, unless some are kept elsewhere. */
  readonly #stores: Set<KeyValueStore>;
  readonly #deadlines: Deadlines;
  /** By `group/resource`, whatever group leads there; undefined: known not to be stored. */
  readonly #registries = new Map<string, GenericRegistry | undefined>();
  /** The same by group and resource. */
  readonly #quick = new Map<string, Map<string, GenericRegistry>>();
  /** Served versions of custom resources, by `group/version/resource`. */
  readonly #custom = new Map<string, ResourceInfo>();
  /** The registries of each version of a custom resource, by `group/resource` and version, and how they read the store. */
  readonly #versions = new Map<string, Map<string, MadeVersion>>();
  readonly #conversions = new Map<string, ObjectConversion>();
  readonly #caches = new Set<WatchCache>();
  readonly #ticker: Timer;
  #admission: Admission | undefined;
  #authorizer: Authorizer | undefined;
  #ticking = false;
  #protobuf: ProtobufObjects | undefined;
  #ticked: number;

  constructor(options: RegistriesOptions) {
    this.#options = options;
    this.fieldManaging = fieldManagingFactory(options.catalog);
    this.#parsed = new ParsedCache(options.parsedBytes ?? 16 << 20);
    this.#deadlines = new Deadlines(options.clock, options.random, options.minWatchSeconds);
    this.#stores = new Set([options.store]);
    this.#ticked = options.clock.now();
    this.#ticker = options.clock.setTicker(tickMs, () => (this.#unseen() ? 'idle' : void this.#tick()));
  }

  /** Admission reads registries, so it comes after them; writes before that are not admitted by anybody. */
  setAdmission(admission: Admission): void {
    this.#admission = admission;
  }

  /** Asked whether a PUT or apply that creates may do so. */
  setAuthorizer(authorizer: Authorizer): void {
    this.#authorizer = authorizer;
  }

  /** A custom resource has a registry a version; that of the storage version where none is named. */
  registry(group: string, resource: string, version?: string): GenericRegistry | undefined {
    const found = this.#registry(group, resource);
    if (version === undefined || found === undefined || !found.resource.custom || found.resource.version === version)
      return found;
    return this.#versions.get(`${group}/${resource}`)?.get(version)?.registry ?? found;
  }

  #registry(group: string, resource: string): GenericRegistry | undefined {
    // Asked several times a request: two looks in small maps cost less than one joined key.
    let ofGroup = this.#quick.get(group);
    if (ofGroup === undefined) this.#quick.set(group, (ofGroup = new Map()));
    const found = ofGroup.get(resource);
    if (found !== undefined) return found;
    const key = `${group}/${resource}`;
    const known = this.#registries.get(key);
    if (known === undefined && this.#registries.has(key)) return undefined;
    const made = known ?? this.#builtin(group, resource);
    this.#registries.set(key, made);
    if (made !== undefined) ofGroup.set(resource, made);
    return made;
  }

  #builtin(group: string, resource: string): GenericRegistry | undefined {
    const { catalog } = this.#options;
    const own = catalog.resources.filter((r) => r.group === group && r.resource === resource);
    const first = own[0];
    // Reviews and the like are computed, and so are component statuses.
    if (first === undefined || !first.verbs.includes('get') || resource === 'componentstatuses') return undefined;
    // Another group's storage (events.k8s.io Events are core Events).
    if (first.storageGroup !== undefined && first.storageGroup !== group) {
      return this.registry(first.storageGroup, resource);
    }
    const hub = own.find((r) => r.version === first.storageVersion) ?? first;
    const strategies = completeStrategies(hub, this.#options.strategies.strategies(group, resource));
    const all = catalog.resources.filter(
      (r) => r.resource === resource && (r.group === group || r.storageGroup === group),
    );
    const versions = new Map<string, TypeSupport>();
    for (const info of all) {
      versions.set(
        apiVersionOf(info),
        new BuiltinTypeSupport({
          catalog,
          clock: this.#options.clock,
          resource: info,
          fieldManaging: this.fieldManaging,
          resetFields: (subresource) =>
            (subresource === '' ? strategies.main : strategies.subresources[subresource])?.resetFields ?? [],
        }),
      );
    }
    const ttl = group === '' && resource === 'events' ? (this.#options.eventTtlSeconds ?? 3600) : undefined;
    const { embedded, storage } = this.#options;
    const store = storage?.storeOf?.(group, resource) ?? this.#options.store;
    this.#stores.add(store);
    return this.#make({ resource: hub, versions, strategies, store, embedded }, ttl);
  }

  #leasesOf(store: KeyValueStore): Leases {
    let found = this.#leases.get(store);
    if (found === undefined) {
      found = new Leases(
        store,
        this.#options.clock,
        this.#options.storage?.leaseReuseSeconds,
        this.#leaseObjects.series('', () => ({})),
      );
      this.#leases.set(store, found);
    }
    return found;
  }

  #protobufObjects(): ProtobufObjects {
    return (this.#protobuf ??= new ProtobufObjects(this.#options.catalog));
  }

  #fromProtobuf(bytes: Buffer, hub: ResourceInfo, versions: ReadonlyMap<string, TypeSupport>): KubeObject {
    const hubVersion = apiVersionOf(hub);
    const value = this.#protobufObjects().decode(bytes, undefined, hub);
    const types = versions.get(value.apiVersion!);
    if (types === undefined) {
      // Of a version that is served no more.
      const current = convert(value, hubVersion);
      return versions.get(hubVersion)!.decode(current, { strict: false, owned: true }).object;
    }
    return convert(types.decode(value, { strict: false, owned: true }).object, hubVersion);
  }

  /** Built-in objects as they are expected today: with their kind's defaults, and with what its strategy adds. */
  #readBuiltin(
    stored: StoredResource,
  ): Pick<ConstructorParameters<typeof StorageLayout>[0], 'fromProtobuf' | 'dated' | 'updated'> {
    const { resource, versions, strategies } = stored;
    const { onRead } = strategies.main;
    const complete = (object: KubeObject): KubeObject => onRead?.complete?.(object) ?? object;
    return {
      fromProtobuf: (bytes) => complete(this.#fromProtobuf(bytes, resource, versions)),
      ...(onRead === undefined
        ? {}
        : {
            dated: (json) => onRead.dated(json),
            updated: (object) =>
              complete(versions.get(apiVersionOf(resource))!.decode(object, { strict: false, owned: true }).object),
          }),
    };
  }

  #make(stored: StoredResource, ttlSeconds: number | undefined, kept?: WatchCache): GenericRegistry {
    const options = this.#options;
    const { resource, versions, strategies, store, embedded } = stored;
    const main = strategies.main;
    const layout =
      kept?.layout ??
      new StorageLayout({
        root: options.root ?? '/registry',
        keyPrefix: resource.keyPrefix,
        namespaced: resource.namespaced,
        apiVersion: apiVersionOf(resource),
        kind: resource.kind,
        custom: resource.custom,
        selectableFields:
          main.selectableFields === undefined ? fieldsOf(resource) : (object) => main.selectableFields!(object),
        fieldsWanted: main.selectableFields === undefined ? fieldsWanted(resource) : undefined,
        parsed: this.#parsed,
        freeze: options.freeze ?? false,
        complete: stored.complete,
        finished: stored.finished,
        shown: stored.shown,
        ...(resource.custom ? {} : this.#readBuiltin(stored)),
        stored: resource.custom
          ? undefined
          : storedForm(options.storageMediaType ?? 'application/json', resource.group, () => this.#protobufObjects()),
      });
    let cache = kept;
    if (cache === undefined) {
      cache = new WatchCache({
        layout,
        store,
        clock: options.clock,
        logger: options.logger,
        indexField: indexedFields.get(`${resource.group}/${resource.resource}`),
        embedded,
        windowBytes: options.windowBytes ?? 24 << 20,
        windowMs: options.windowMs ?? 5 * 60_000,
        // As upstream: every five minutes, and up to half as long again.
        checkEveryMs:
          options.detectCacheInconsistency === true && !embedded
            ? 5 * 60_000 * (1 + options.random.float() / 2)
            : undefined,
      });
      this.#caches.add(cache);
    }
    const admission = (): Admission | undefined => this.#admission;
    const authorizer = (): Authorizer | undefined => this.#authorizer;
    return new GenericRegistry({
      resource,
      versions,
      deadlines: this.#deadlines,
      support: {
        objects: new ObjectStore(store, layout, cache, stored.converts),
        strategies,
        rules: deletionRules(resource.group, resource.resource),
        clock: options.clock,
        random: options.random,
        get admission() {
          return admission();
        },
        get authorizer() {
          return authorizer();
        },
        leases: this.#leasesOf(store),
        collected: options.storage?.garbageCollector ?? true,
        deleteWorkers: options.storage?.deleteCollectionWorkers,
        ttlSeconds,
      },
    });
  }

  /**
   * Serves a custom resource from now on, or with other versions, schemas or strategies than before. The watches of a version
   * go on unless the store is read differently now.
   */
  addCustom(custom: CustomResource): void {
    const { versions, storageVersion, conversion } = custom;
    const { store, embedded, clock, storesCbor: cbor = false } = this.#options;
    const stored = versions.find((v) => v.resource.version === storageVersion)!;
    const { group, resource: plural } = stored.resource;
    const key = `${group}/${plural}`;
    const storedApiVersion = apiVersionOf(stored.resource);
    const types = new Map(versions.map((v) => [apiVersionOf(v.resource), v.types]));
    const before = this.#versions.get(key);
    const made = new Map<string, MadeVersion>();
    for (const v of versions) {
      const apiVersion = apiVersionOf(v.resource);
      const lags = conversion !== undefined && apiVersion !== storedApiVersion;
      // Where the webhook is, it is of no matter to who only waits for it. Each object is read by the version it lies in.
      const readings = versions.map((other) => [other.resource.version, other.reading]);
      const reading = [readings, storedApiVersion, conversion !== undefined];
      const old = before?.get(v.resource.version);
      const same = !lags && semanticEqual(old?.reading, reading) ? old : undefined;
      const { activity } = clock;
      const versioned =
        same?.versioned ??
        new VersionedStore({ store, apiVersion, storedApiVersion, versions: types, cbor, activity }, conversion);
      versioned.conversion = conversion;
      const registry = this.#make(
        {
          resource: v.resource,
          versions: types,
          strategies: v.strategies,
          store: versioned,
          embedded: embedded && !lags,
          converts: lags,
          complete: (object) => storedIn(v.types, object),
          finished: (value) => versioned.finished(value),
          shown: lags ? undefined : shownIn(v, stored, versions.length > 1),
        },
        undefined,
        same?.registry.cache,
      );
      made.set(v.resource.version, { registry, reading, versioned });
    }
    const kept = new Set([...made.values()].map((m) => m.registry.cache));
    for (const [version, { registry }] of before ?? []) {
      registry.successor = made.get(version)?.registry;
      if (!kept.has(registry.cache)) this.#drop(registry);
    }
    this.#versions.set(key, made);
    if (conversion === undefined) this.#conversions.delete(key);
    else this.#conversions.set(key, conversion);
    this.#registries.set(key, made.get(storageVersion)!.registry);
    this.#quick.delete(group);
    this.#forget(group, plural);
    for (const { resource: r, served } of versions)
      if (served) this.#custom.set(`${r.group}/${r.version}/${r.resource}`, r);
  }

  /** The custom resource is no longer served; its watches end. */
  removeCustom(group: string, resource: string): void {
    const key = `${group}/${resource}`;
    const versions = this.#versions.get(key);
    if (versions === undefined) return;
    this.#versions.delete(key);
    this.#conversions.delete(key);
    this.#registries.delete(key);
    this.#quick.delete(group);
    this.#forget(group, resource);
    for (const { registry } of versions.values()) this.#drop(registry);
  }

  /** How the versions of a custom resource differ; undefined: in their name alone. */
  conversion(group: string, resource: string): ObjectConversion | undefined {
    return this.#conversions.get(`${group}/${resource}`);
  }

  /** A served version of a custom resource. */
  custom(group: string, version: string, resource: string): ResourceInfo | undefined {
    return this.#custom.get(`${group}/${version}/${resource}`);
  }

  /** All served versions of all custom resources. */
  customs(): Iterable<ResourceInfo> {
    return this.#custom.values();
  }

  #forget(group: string, resource: string): void {
    for (const [key, r] of this.#custom) if (r.group === group && r.resource === resource) this.#custom.delete(key);
  }

  #drop(registry: GenericRegistry): void {
    this.#caches.delete(registry.cache);
    registry.cache.close();
  }

  /** Starts the caches of resources that are read synchronously (`cached`, `cachedGet`) and waits until they are there. */
  async warm(resources: Iterable<readonly [group: string, resource: string]>): Promise<void> {
    const starting: Promise<void>[] = [];
    for (const [group, resource] of resources) {
      const registry = this.registry(group, resource);
      if (registry !== undefined) starting.push(registry.cache.start());
    }
    await Promise.all(starting);
  }

  cached(group: string, resource: string, namespace?: string): Iterable<StoredObject> {
    const cache = this.#started(group, resource);
    // Most clusters have none of what admission looks for at each write.
    if (cache === undefined || cache.size === 0) return [];
    const prefix = cache.layout.namespacePrefix(namespace ?? '');
    return cache.all(prefix, prefixEnd(prefix));
  }

  cachedGet(group: string, resource: string, namespace: string, name: string): StoredObject | undefined {
    const cache = this.#started(group, resource);
    return cache?.get(cache.layout.key(namespace, name));
  }

  #started(group: string, resource: string): WatchCache | undefined {
    const cache = this.registry(group, resource)?.cache;
    if (cache !== undefined && !cache.ready) {
      cache.start().catch((error: unknown) => {
        this.#options.logger.warn('a watch cache did not start', { prefix: cache.layout.prefix, error });
      });
    }
    return cache;
  }

  /** How many objects of a resource there are and how big they are, where its cache is in use. */
  stats(group: string, resource: string): { readonly count: number; readonly averageBytes: number } | undefined {
    const cache = this.#quick.get(group)?.get(resource)?.cache;
    if (cache === undefined || !cache.ready) return undefined;
    return { count: cache.size, averageBytes: cache.size === 0 ? 0 : cache.bytes / cache.size };
  }

  /** How many objects each cache that is in use holds, for the metrics. */
  *counts(): Iterable<{ readonly resource: ResourceInfo; readonly objects: number; readonly cache: WatchCache }> {
    for (const registry of this.#registries.values())
      if (registry?.cache.ready === true)
        yield { resource: registry.resource, objects: registry.cache.size, cache: registry.cache };
  }

  async follow(
    group: string,
    resource: string,
    onEvent: (type: 'put' | 'delete', object: Committed) => void,
  ): Promise<() => void> {
    const registry = this.registry(group, resource);
    if (registry === undefined) throw new Error(`no such resource: ${group}/${resource}`);
    return registry.cache.follow(onEvent);
  }

  /** Upkeep will be due again before anybody can look. */
  #unseen(): boolean {
    const { clock } = this.#options;
    const now = clock.now();
    return now + tickMs <= clock.horizon() && now - this.#ticked < maxUnseenMs;
  }

  /** Bookmarks go out and windows shrink; the store is asked so that quiet resources move on, too. */
  async #tick(): Promise<void> {
    if (this.#ticking) return;
    const { clock } = this.#options;
    this.#ticked = clock.now();
    this.#ticking = true;
    const done = clock.activity.begin();
    try {
      await Promise.all([...this.#stores].map((store) => store.currentRevision()));
      for (const cache of [...this.#caches]) if (cache.ready) await cache.tick();
    } catch (error) {
      this.#options.logger.warn('upkeep of the watch caches failed', { error });
    } finally {
      this.#ticking = false;
      done();
    }
  }

  /** Ends all watches and timers. The store is the caller's. */
  close(): void {
    this.#ticker.cancel();
    this.#deadlines.close();
    for (const cache of this.#caches) cache.close();
    this.#caches.clear();
    this.#registries.clear();
    this.#versions.clear();
    this.#quick.clear();
  }
}
