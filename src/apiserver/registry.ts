/**
 * `Registry`: one resource's storage as the verb handlers use it: reads from the watch cache, writes through strategy,
 * admission, managedFields and the store. One instance a resource (all served versions share it).
 */
import type { KubeObject } from '../api/object.ts';
import type { ResourceInfo } from '../api/catalog/resource.ts';
import type { RequestContext } from './context.ts';
import type { Committed, ResponseBody } from './request.ts';

export interface ReadListOptions {
  readonly namespace: string;
  readonly labelSelector: string;
  readonly fieldSelector: string;
  readonly limit: number;
  readonly continue: string;
  readonly resourceVersion: string;
  readonly resourceVersionMatch: string;
}

export interface ReadWatchOptions {
  readonly namespace: string;
  readonly labelSelector: string;
  readonly fieldSelector: string;
  readonly resourceVersion: string;
  readonly resourceVersionMatch: string;
  readonly allowWatchBookmarks: boolean;
  readonly sendInitialEvents: boolean | undefined;
  readonly timeoutSeconds: number | undefined;
}

export interface WriteRequestOptions {
  readonly dryRun: boolean;
  readonly fieldManager: string;
  /** Empty for the object itself. */
  readonly subresource: string;
  /** The raw CreateOptions/UpdateOptions/PatchOptions for admission. */
  readonly options: Record<string, unknown>;
}

export interface DeleteRequestOptions {
  readonly dryRun: boolean;
  readonly gracePeriodSeconds: number | undefined;
  readonly propagationPolicy: string | undefined;
  readonly orphanDependents: boolean | undefined;
  readonly preconditions: { readonly uid?: string; readonly resourceVersion?: string } | undefined;
  readonly options: Record<string, unknown>;
}

/**
 * Computes the new object from the current one. Called again after a conflict when the caller gave no resourceVersion.
 * `current` is undefined when the object does not exist (create on update, apply). Objects are in the request's version.
 */
export type Updater = (current: KubeObject | undefined) => KubeObject | Promise<KubeObject>;

export type WriteOutcome = { readonly created: boolean; readonly committed: Committed };

export interface Registry {
  readonly resource: ResourceInfo;
  get(ctx: RequestContext, namespace: string, name: string, resourceVersion: string): Promise<Committed>;
  list(ctx: RequestContext, options: ReadListOptions): Promise<ResponseBody & { kind: 'list' }>;
  watch(ctx: RequestContext, options: ReadWatchOptions): Promise<ResponseBody & { kind: 'watch' }>;
  /** `object` is decoded and defaulted, in the request's version. */
  create(ctx: RequestContext, namespace: string, object: KubeObject, options: WriteRequestOptions): Promise<Committed>;
  /** PUT, patches and server-side apply. `apply`: the updater has set managedFields itself. */
  update(
    ctx: RequestContext,
    namespace: string,
    name: string,
    updater: Updater,
    options: WriteRequestOptions & { readonly apply: boolean; readonly createIfMissing: boolean },
  ): Promise<WriteOutcome>;
  /** The object as it was last (immediate: true), or as it is now that its deletion has begun. */
  delete(
    ctx: RequestContext,
    namespace: string,
    name: string,
    options: DeleteRequestOptions,
  ): Promise<{ immediate: boolean; committed: Committed }>;
  deleteCollection(
    ctx: RequestContext,
    list: ReadListOptions,
    options: DeleteRequestOptions,
  ): Promise<readonly Committed[]>;
}

/** Registries of all resources, custom ones included; the view that admission, authorizers and controllers-in-server use. */
export interface Registries {
  /** The registry that serves a resource; undefined when there is none. Any served version finds the same registry. */
  registry(group: string, resource: string): Registry | undefined;
  /** The newest committed objects of a resource from the cache, in key order, without authorization. */
  cached(group: string, resource: string, namespace?: string): Iterable<Committed>;
  cachedGet(group: string, resource: string, namespace: string, name: string): Committed | undefined;
  /** Calls back after each committed change of the resource, in revision order, starting with what exists. */
  follow(
    group: string,
    resource: string,
    onEvent: (type: 'put' | 'delete', object: Committed) => void,
  ): Promise<() => void>;
}
