/**
 * `GenericRegistry`: one resource with all its served versions. Reads come from the watch cache, writes go through strategy,
 * admission, managedFields and the store.
 */
import { Slice } from '../../base/yield.ts';
import type { ResourceInfo } from '../../api/catalog/resource.ts';
import { apiVersionOf } from '../../api/object.ts';
import type { KubeObject } from '../../api/object.ts';
import { formatTime } from '../../api/time.ts';
import { conflict, notFound, optimisticLockMessage, StatusError } from '../../api/status.ts';
import type { RequestContext } from '../context.ts';
import type {
  DeleteRequestOptions,
  ReadListOptions,
  ReadWatchOptions,
  Registry,
  Updater,
  WriteOutcome,
  WriteRequestOptions,
} from '../registry.ts';
import type { Committed, ResponseBody } from '../request.ts';
import { objectIn } from '../storage/codec.ts';
import type { StoredObject } from '../storage/codec.ts';
import { parseResourceVersion } from '../storage/continue.ts';
import { Selection } from '../storage/selection.ts';
import type { WatchCache } from '../storage/watch-cache.ts';
import { deleteObject, removeObject, warnOfOrphans } from './delete.ts';
import type { Deleted } from './delete.ts';
import { readFieldSelector, readLabelSelector } from './selectable-fields.ts';
import type { TypeSupport } from './type-support.ts';
import { createObject } from './create.ts';
import { updateObject, type UpdateOptions } from './update.ts';
import { groupResource, type WriteSupport } from './write.ts';

/** Objects of a collection that are deleted at the same time, where nothing else is said. */
const defaultDeleteWorkers = 64;
/** Lost races in a row before a change gives up. */
const maxAttempts = 256;

/** Ends watches in time; shared by all registries. */
export interface WatchDeadlines {
  /** Calls `end` after `seconds`; returns what takes that back. */
  after(seconds: number, end: () => void): () => void;
  /** How long a watch lasts that does not say, in seconds. */
  defaultSeconds(): number;
}

export interface GenericRegistryOptions {
  readonly support: Omit<WriteSupport, 'types' | 'hub' | 'resource' | 'timestamp'>;
  /** In the storage version. */
  readonly resource: ResourceInfo;
  /** By apiVersion, the storage version among them. */
  readonly versions: ReadonlyMap<string, TypeSupport>;
  readonly deadlines: WatchDeadlines;
}

export class GenericRegistry implements Registry {
  readonly resource: ResourceInfo;
  readonly cache: WatchCache;
  /** Who serves the version now that this one has been replaced. */
  successor: GenericRegistry | undefined;
  /** For verbs that go further than the interface (scale, binding, eviction). */
  readonly support: WriteSupport;
  readonly #versions: ReadonlyMap<string, TypeSupport>;
  readonly #deadlines: WatchDeadlines;

  constructor(options: GenericRegistryOptions) {
    this.resource = options.resource;
    this.cache = options.support.objects.cache;
    this.#versions = options.versions;
    this.#deadlines = options.deadlines;
    const hub = options.versions.get(apiVersionOf(options.resource))!;
    let second = -1;
    let text = '';
    const apiVersions = new WeakMap<ResourceInfo, TypeSupport>();
    this.support = {
      ...options.support,
      resource: options.resource,
      hub,
      timestamp: (ms) => {
        const now = Math.floor(ms / 1000);
        if (now !== second) {
          second = now;
          text = formatTime(ms);
        }
        return text;
      },
      types: (ctx) => {
        const info = ctx.resource;
        if (info === undefined) return hub;
        let types = apiVersions.get(info);
        if (types === undefined) {
          types = this.#versions.get(apiVersionOf(info)) ?? hub;
          apiVersions.set(info, types);
        }
        return types;
      },
    };
  }

  /** Type support of a served version. */
  types(apiVersion: string): TypeSupport | undefined {
    return this.#versions.get(apiVersion);
  }

  /** Where an object lies in the store. */
  key(namespace: string, name: string): string {
    return this.support.objects.layout.key(namespace, name);
  }

  /** What `get` resolves with, where that is known without waiting. */
  getNow(namespace: string, name: string): StoredObject | undefined {
    return this.cache.current ? this.cache.get(this.key(namespace, name)) : undefined;
  }

  /** A request that was on its way when the resource's definition changed goes on with who serves it now. */
  async #orSuccessor<T>(read: (registry: GenericRegistry) => Promise<T>): Promise<T> {
    try {
      return await read(this);
    } catch (error) {
      if (this.successor === undefined || !this.cache.closed) throw error;
      return this.successor.#orSuccessor(read);
    }
  }

  get(ctx: RequestContext, namespace: string, name: string, resourceVersion: string): Promise<StoredObject> {
    return this.#orSuccessor((registry) => registry.#get(ctx, namespace, name, resourceVersion));
  }

  async #get(ctx: RequestContext, namespace: string, name: string, resourceVersion: string): Promise<StoredObject> {
    const key = this.key(namespace, name);
    const { cache } = this;
    let object: StoredObject | undefined;
    if (resourceVersion === '') {
      if (!cache.ready && !this.support.objects.converts) {
        // One object may be there to read where others are not.
        await cache.start().catch((error: unknown) => {
          if (!(error instanceof StatusError) || error.code !== 500) throw error;
        });
      }
      object = cache.current ? cache.get(key) : (await this.support.objects.readFresh(key)).object;
    } else {
      const revision = parseResourceVersion(resourceVersion, '');
      if (!cache.ready) await cache.start();
      await cache.waitFor(revision);
      object = cache.get(key);
    }
    if (object === undefined) throw notFound(groupResource(ctx.resource ?? this.resource), name);
    return object;
  }

  #selection(ctx: RequestContext, options: ReadListOptions | ReadWatchOptions): Selection {
    return new Selection(this.support.objects.layout, {
      namespace: options.namespace,
      labels: readLabelSelector(options.labelSelector),
      fields: readFieldSelector(ctx.resource ?? this.resource, options.fieldSelector),
    });
  }

  async list(ctx: RequestContext, options: ReadListOptions): Promise<ResponseBody & { kind: 'list' }> {
    const result = await this.#orSuccessor((r) => r.cache.list(r.#selection(ctx, options), options));
    return { kind: 'list', ...result };
  }

  async watch(ctx: RequestContext, options: ReadWatchOptions): Promise<ResponseBody & { kind: 'watch' }> {
    const source = await this.#orSuccessor((r) => r.cache.watch(r.#selection(ctx, options), options));
    const { timeoutSeconds } = options;
    const seconds =
      timeoutSeconds === undefined || timeoutSeconds <= 0 ? this.#deadlines.defaultSeconds() : timeoutSeconds;
    source.onClose(this.#deadlines.after(seconds, () => source.expire()));
    return { kind: 'watch', source };
  }

  create(
    ctx: RequestContext,
    namespace: string,
    object: KubeObject,
    options: WriteRequestOptions,
  ): Promise<StoredObject> {
    return createObject(this.support, ctx, namespace, object, options);
  }

  update(
    ctx: RequestContext,
    namespace: string,
    name: string,
    updater: Updater,
    options: UpdateOptions,
  ): Promise<WriteOutcome> {
    return updateObject(this.support, ctx, namespace, name, updater, options, async (current, last) => {
      const removed = await removeObject(this.support, ctx, current);
      return removed === undefined ? undefined : last;
    });
  }

  /**
   * Changes an object of the storage version behind everybody's back: no strategy, admission or managedFields (bindings).
   * `change` returns a new object, or the same one when there is nothing to do; it is called again when it lost a race.
   */
  async modify(
    namespace: string,
    name: string,
    change: (object: KubeObject) => KubeObject,
    dryRun = false,
  ): Promise<StoredObject> {
    const { objects, hub } = this.support;
    const key = this.key(namespace, name);
    let { object: current, fresh } = await objects.read(key);
    for (let attempt = 0; attempt < maxAttempts; attempt++) {
      if (current === undefined) {
        if (!fresh) ({ object: current, fresh } = await objects.readFresh(key));
        if (current === undefined) throw notFound(groupResource(this.resource), name);
      }
      const old = objectIn(current, hub.apiVersion);
      let changed: KubeObject;
      try {
        changed = change(old);
      } catch (error) {
        if (fresh) throw error;
        ({ object: current, fresh } = await objects.readFresh(key));
        continue;
      }
      const object = changed === old ? old : hub.canonicalize(changed, old);
      if (object === old) return current;
      if (dryRun) return objects.unstored(key, current.revision, object);
      const bytes = objects.layout.encode(object);
      if (bytes.equals(current.bytes)) return current;
      const written = await objects.put(key, current.revision, object, bytes);
      if (written.ok) return written.object;
      current = written.current;
      fresh = true;
    }
    throw conflict(groupResource(this.resource), name, optimisticLockMessage);
  }

  delete(ctx: RequestContext, namespace: string, name: string, options: DeleteRequestOptions): Promise<Deleted> {
    return deleteObject(this.support, ctx, namespace, name, options);
  }

  async deleteCollection(
    ctx: RequestContext,
    list: ReadListOptions,
    options: DeleteRequestOptions,
  ): Promise<readonly Committed[]> {
    const { items } = await this.#orSuccessor((r) => r.cache.list(r.#selection(ctx, list), list));
    warnOfOrphans(this.support, ctx, options);
    const deleted: Committed[] = [];
    const running = new Set<Promise<void>>();
    const failures: unknown[] = [];
    const slice = new Slice();
    const deleteWorkers = Math.max(1, this.support.deleteWorkers ?? defaultDeleteWorkers);
    for (const item of items) {
      if (failures.length > 0 || ctx.signal.aborted) break;
      deleted.push(item);
      const work: Promise<void> = this.delete(ctx, item.namespace, item.name, options).then(
        () => void running.delete(work),
        (error: unknown) => {
          running.delete(work);
          if (!(error instanceof StatusError && error.reason === 'NotFound')) failures.push(error);
        },
      );
      running.add(work);
      if (running.size >= deleteWorkers) await Promise.race(running);
      await slice.turn();
    }
    await Promise.all(running);
    if (failures.length > 0) throw failures[0];
    return deleted;
  }
}
