/**
 * `Client`: typed and dynamic access to every resource over a `Transport`. The only door between components and the API
 * server. Errors of the server are `StatusError`s.
 */
import type { KubeList, KubeObject } from '../api/object.ts';
import type { Transport, WatchEvent } from './transport.ts';

/** Names a resource of the API: `{ group: 'apps', version: 'v1', resource: 'deployments', namespaced: true }`. */
export interface ResourceRef {
  readonly group: string;
  readonly version: string;
  readonly resource: string;
  readonly namespaced: boolean;
  /** Set on objects that are sent without one. */
  readonly kind?: string;
}

export interface GetOptions {
  readonly resourceVersion?: string;
  readonly signal?: AbortSignal;
}

export interface ListOptions {
  /** All namespaces when left out. */
  readonly namespace?: string;
  readonly labelSelector?: string;
  readonly fieldSelector?: string;
  readonly limit?: number;
  readonly continue?: string;
  readonly resourceVersion?: string;
  readonly resourceVersionMatch?: 'Exact' | 'NotOlderThan';
  readonly signal?: AbortSignal;
}

export interface WatchOptions {
  readonly namespace?: string;
  readonly labelSelector?: string;
  readonly fieldSelector?: string;
  readonly resourceVersion?: string;
  readonly resourceVersionMatch?: 'NotOlderThan';
  readonly allowWatchBookmarks?: boolean;
  readonly sendInitialEvents?: boolean;
  readonly timeoutSeconds?: number;
  readonly signal?: AbortSignal;
}

export interface WriteOptions {
  readonly dryRun?: boolean;
  readonly fieldManager?: string;
  readonly fieldValidation?: 'Strict' | 'Warn' | 'Ignore';
  readonly subresource?: string;
  readonly signal?: AbortSignal;
}

export interface ApplyOptions extends WriteOptions {
  readonly fieldManager: string;
  readonly force?: boolean;
}

export interface DeleteOptions {
  readonly gracePeriodSeconds?: number;
  readonly propagationPolicy?: 'Orphan' | 'Background' | 'Foreground';
  readonly preconditions?: { readonly uid?: string; readonly resourceVersion?: string };
  readonly dryRun?: boolean;
  readonly signal?: AbortSignal;
}

export type PatchType = 'json' | 'merge' | 'strategic';

/** The verbs of one resource. `namespace` is undefined for cluster-scoped resources. */
export interface ResourceClient<T extends KubeObject = KubeObject> {
  readonly ref: ResourceRef;
  get(name: string, namespace?: string, options?: GetOptions): Promise<T>;
  list(options?: ListOptions): Promise<KubeList<T>>;
  watch(options?: WatchOptions): Promise<AsyncIterable<readonly WatchEvent<T>[]> & { close(): void }>;
  create(object: T, options?: WriteOptions): Promise<T>;
  update(object: T, options?: WriteOptions): Promise<T>;
  updateStatus(object: T, options?: WriteOptions): Promise<T>;
  patch(
    name: string,
    namespace: string | undefined,
    type: PatchType,
    patch: unknown,
    options?: WriteOptions,
  ): Promise<T>;
  apply(object: T, options: ApplyOptions): Promise<T>;
  /** The deleted object or a `Status`, as the server answers. */
  delete(name: string, namespace?: string, options?: DeleteOptions): Promise<KubeObject>;
  deleteCollection(list: ListOptions, options?: DeleteOptions): Promise<KubeObject>;
  /** POST to a subresource of a named object: `token`, `eviction`, `binding`. */
  createSubresource<R = KubeObject>(
    name: string,
    namespace: string | undefined,
    subresource: string,
    body: unknown,
    options?: WriteOptions,
  ): Promise<R>;
}

export interface Client {
  readonly transport: Transport;
  /** Any resource, custom ones included. */
  resource<T extends KubeObject = KubeObject>(ref: ResourceRef): ResourceClient<T>;
}
