/**
 * `Informer`: a local copy of one resource that follows the server by list and watch, and tells handlers what changed. It keeps
 * references to the objects it is given (shared with the API server in-process), never copies.
 */
import type { Clock } from '../base/clock.ts';
import { deferred } from '../base/deferred.ts';
import type { Logger } from '../base/logger.ts';
import type { Random } from '../base/random.ts';
import { Slice } from '../base/yield.ts';
import type { KubeObject } from '../api/object.ts';
import type { Status } from '../api/status.ts';
import { StatusError } from '../api/status.ts';
import type { ResourceClient } from './client.ts';
import { hasCause, isExpired, isNotFound } from './errors.ts';
import type { IndexFunction, Lister } from './lister.ts';
import { keyOf, Store } from './lister.ts';
import type { WatchEvent } from './transport.ts';

export interface InformerHandler<T> {
  /** `initial`: the object was there when the informer (or the handler) started. */
  onAdd?(object: T, initial: boolean): void;
  onUpdate?(old: T, object: T): void;
  /**
   * `object`: the last state known; after a break in the watch it may be older than what was deleted. `previous`: what the
   * handlers had been told of last.
   */
  onDelete?(object: T, previous: T): void;
}

export interface InformerOptions<T extends KubeObject> {
  readonly client: ResourceClient<T>;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  readonly namespace?: string;
  readonly labelSelector?: string;
  readonly fieldSelector?: string;
  /** Maps each object before it is kept and delivered, to drop what nobody here needs. Must not mutate its argument. */
  readonly transform?: (object: T) => T;
  /** False: always list first, never ask for initial events over the watch. */
  readonly streaming?: boolean;
}

/** Leaves out `metadata.managedFields`, which no controller reads; the rest stays shared. */
export function dropManagedFields<T extends KubeObject>(object: T): T {
  if (object.metadata.managedFields === undefined) return object;
  const metadata = { ...object.metadata };
  delete metadata.managedFields;
  return { ...object, metadata };
}

const initialEventsEnd = 'k8s.io/initial-events-end';
/** client-go's reflector: 800 ms, doubled up to 30 s, jitter 1, reset after two quiet minutes. */
const backoffBase = 800;
/** So many tries may find nothing at the resource's path before it is told. */
const patience = 3;
const backoffMax = 30_000;
const backoffReset = 120_000;

export class Informer<T extends KubeObject = KubeObject> {
  readonly #o: InformerOptions<T>;
  readonly #store = new Store<T>();
  #handlers: readonly InformerHandler<T>[] = [];
  readonly #synced = deferred();
  #hasSynced = false;
  #version = '';
  #abort: AbortController | undefined;
  #loop: Promise<void> = Promise.resolve();
  #streaming: boolean;
  #failures = 0;
  #lastFailure = -Infinity;

  constructor(options: InformerOptions<T>) {
    this.#o = options;
    this.#streaming = options.streaming ?? true;
    // Nobody has to wait for it; a stop before the first sync is no unhandled rejection.
    this.#synced.promise.catch(() => {});
  }

  /** The cache. */
  get lister(): Lister<T> {
    return this.#store;
  }

  /** Resolves when the cache has been filled and the handlers have seen it; rejects when stopped before. */
  get synced(): Promise<void> {
    return this.#synced.promise;
  }

  get hasSynced(): boolean {
    return this.#hasSynced;
  }

  /** The resource version the cache stands at. */
  get resourceVersion(): string {
    return this.#version;
  }

  get running(): boolean {
    return this.#abort !== undefined;
  }

  addIndex(name: string, values: IndexFunction<T>): void {
    this.#store.addIndex(name, values);
  }

  /** Adds a handler; it is told at once of what is there already. Returns what removes it. */
  addHandler(handler: InformerHandler<T>): () => void {
    for (const object of this.#store.list()) this.#call(() => handler.onAdd?.(object, true));
    this.#handlers = [...this.#handlers, handler];
    return () => {
      this.#handlers = this.#handlers.filter((h) => h !== handler);
    };
  }

  /** Begins to follow the server; a second call does nothing. */
  start(): void {
    if (this.#abort !== undefined) return;
    this.#abort = new AbortController();
    this.#loop = this.#run(this.#abort.signal);
  }

  /** Ends the watch; resolves when nothing is delivered any more. */
  async stop(): Promise<void> {
    this.#abort ??= new AbortController();
    this.#abort.abort(new Error('informer stopped'));
    await this.#loop;
    if (!this.#hasSynced) this.#synced.reject(new Error('informer stopped before it was in sync'));
  }

  async #run(signal: AbortSignal): Promise<void> {
    let relist = true;
    let fresh = false;
    while (!signal.aborted) {
      const began = this.#o.clock.monotonic();
      let events = 0;
      try {
        if (relist && !this.#streaming) {
          await this.#list(fresh, signal);
          relist = false;
          fresh = false;
        }
        events = await this.#follow(relist, signal, () => {
          relist = false;
          fresh = false;
        });
        // A watch that ends at once without a word would otherwise be asked for without end.
        if (!signal.aborted && events === 0 && this.#o.clock.monotonic() - began < 1000) await this.#pause(signal);
      } catch (error) {
        if (signal.aborted) return;
        if (relist && this.#streaming && isStreamingRefused(error)) {
          this.#streaming = false;
          continue;
        }
        if (isExpired(error) || hasCause(error, 'ResourceVersionTooLarge')) {
          // What we know is too old, or from a server that was ahead: read the newest.
          this.#report('watch fell behind, listing again', error, 'debug');
          relist = true;
          fresh = true;
          this.#version = '';
        } else {
          this.#report('cannot follow', error, 'warn');
        }
        await this.#pause(signal);
      }
    }
  }

  /** Logs the first failure of a row; the following ones are of no interest. A resource that is not served may just have been deleted. */
  #report(message: string, error: unknown, level: 'warn' | 'debug'): void {
    const { resource, group } = this.#o.client.ref;
    this.#o.logger[this.#failures === (isNotFound(error) ? patience : 0) ? level : 'debug'](`informer: ${message}`, {
      resource,
      group,
      error,
    });
  }

  async #pause(signal: AbortSignal): Promise<void> {
    const now = this.#o.clock.monotonic();
    if (now - this.#lastFailure > backoffReset) this.#failures = 0;
    this.#lastFailure = now;
    const base = Math.min(backoffBase * 2 ** this.#failures, backoffMax);
    this.#failures++;
    try {
      await this.#o.clock.sleep(base * (1 + this.#o.random.float()), signal);
    } catch (error) {
      if (!signal.aborted) throw error;
    }
  }

  #selection(): { namespace?: string; labelSelector?: string; fieldSelector?: string } {
    const { namespace, labelSelector, fieldSelector } = this.#o;
    return { namespace, labelSelector, fieldSelector };
  }

  async #list(fresh: boolean, signal: AbortSignal): Promise<void> {
    const objects = new Map<string, T>();
    // The first list may come from any server's cache; a later one must not go back in time.
    const first = fresh ? undefined : this.#version === '' ? '0' : this.#version;
    let next: string | undefined;
    let version = '';
    const slice = new Slice();
    do {
      const page = await this.#o.client.list({
        ...this.#selection(),
        signal,
        ...(next === undefined
          ? first === undefined
            ? { limit: 10_000 }
            : { resourceVersion: first }
          : { continue: next, limit: 10_000 }),
      });
      version = page.metadata.resourceVersion ?? version;
      for (const object of page.items) {
        objects.set(keyOf(object), this.#o.transform?.(object) ?? object);
        if (slice.spent) await slice.turn();
      }
      next = page.metadata.continue === '' ? undefined : page.metadata.continue;
    } while (next !== undefined);
    await this.#replace(objects, version);
  }

  /** One watch, to its end. Returns how many events it gave. `initial`: it begins with everything there is. */
  async #follow(initial: boolean, signal: AbortSignal, listed: () => void): Promise<number> {
    const { client, transform } = this.#o;
    let gathering = initial ? new Map<string, T>() : undefined;
    const stream = await client.watch({
      ...this.#selection(),
      allowWatchBookmarks: true,
      ...(initial
        ? { sendInitialEvents: true, resourceVersionMatch: 'NotOlderThan', resourceVersion: this.#version }
        : { resourceVersion: this.#version }),
      signal,
    });
    let count = 0;
    const slice = new Slice();
    try {
      for await (const batch of stream) {
        if (signal.aborted) break;
        const done = this.#o.clock.activity.begin();
        try {
          // One write may wake the informers of a thousand kubelets.
          if (slice.spent) await slice.turn();
          for (const event of batch) {
            count++;
            if (event.type === 'ERROR') throw StatusError.fromStatus(event.object as unknown as Partial<Status>);
            const version = event.object.metadata.resourceVersion ?? '';
            if (event.type === 'BOOKMARK') {
              if (gathering !== undefined && event.object.metadata.annotations?.[initialEventsEnd] === 'true') {
                const objects = gathering;
                gathering = undefined;
                await this.#replace(objects, version);
                listed();
              } else if (gathering === undefined) this.#version = version;
            } else if (gathering !== undefined) {
              const key = keyOf(event.object);
              if (event.type === 'DELETED') gathering.delete(key);
              else gathering.set(key, transform?.(event.object) ?? event.object);
            } else {
              this.#apply(event);
              this.#version = version;
            }
            if ((count & 3) === 0 && slice.spent) await slice.turn();
          }
        } finally {
          done();
        }
        if (gathering === undefined) this.#failures = 0;
      }
    } finally {
      stream.close();
    }
    return count;
  }

  #apply(event: WatchEvent<T>): void {
    const key = keyOf(event.object);
    if (event.type === 'DELETED') {
      const previous = this.#store.delete(key);
      if (previous === undefined) return;
      const last = this.#o.transform?.(event.object) ?? event.object;
      for (const h of this.#handlers) this.#call(() => h.onDelete?.(last, previous));
      return;
    }
    this.#put(key, this.#o.transform?.(event.object) ?? event.object, false);
  }

  #put(key: string, object: T, initial: boolean): void {
    const old = this.#store.set(key, object);
    if (old === undefined) {
      for (const h of this.#handlers) this.#call(() => h.onAdd?.(object, initial));
    } else if (old.metadata.uid !== object.metadata.uid) {
      // Deleted and made again behind a break of the watch: two objects, not one that changed.
      for (const h of this.#handlers) {
        this.#call(() => h.onDelete?.(old, old));
        this.#call(() => h.onAdd?.(object, initial));
      }
    } else {
      for (const h of this.#handlers) this.#call(() => h.onUpdate?.(old, object));
    }
  }

  /** Takes over a complete state: what changed, came or went since is delivered as such. */
  async #replace(objects: Map<string, T>, version: string): Promise<void> {
    const done = this.#o.clock.activity.begin();
    try {
      const slice = new Slice();
      let n = 0;
      for (const [key, object] of objects) {
        const old = this.#store.getByKey(key);
        if (
          old?.metadata.resourceVersion !== object.metadata.resourceVersion ||
          old?.metadata.uid !== object.metadata.uid
        ) {
          this.#put(key, object, !this.#hasSynced);
        }
        if ((++n & 31) === 0 && slice.spent) await slice.turn();
      }
      for (const key of [...this.#store.keys()]) {
        if (objects.has(key)) continue;
        const old = this.#store.delete(key)!;
        for (const h of this.#handlers) this.#call(() => h.onDelete?.(old, old));
        if ((++n & 31) === 0 && slice.spent) await slice.turn();
      }
      this.#version = version;
      this.#failures = 0;
      if (!this.#hasSynced) {
        this.#hasSynced = true;
        this.#synced.resolve();
      }
    } finally {
      done();
    }
  }

  #call(fn: () => void): void {
    try {
      fn();
    } catch (error) {
      const { resource, group } = this.#o.client.ref;
      this.#o.logger.error('informer: a handler failed', { resource, group, error });
    }
  }
}

/** The server does not know (or allow) initial events over a watch. */
function isStreamingRefused(error: unknown): boolean {
  return error instanceof StatusError && (error.code === 400 || error.code === 422 || error.code === 405);
}
