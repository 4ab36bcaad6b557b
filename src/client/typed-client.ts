/** `createClient`: the verbs of every resource as requests over a `Transport`, with typed accessors (`client.core.pods`). */
import { ioTimer } from '../base/io-time.ts';
import type { KubeList, KubeObject } from '../api/object.ts';
import { apiVersionOf } from '../api/object.ts';
import type { Status } from '../api/status.ts';
import { StatusError } from '../api/status.ts';
import type {
  ApplyOptions,
  Client,
  DeleteOptions,
  GetOptions,
  ListOptions,
  PatchType,
  ResourceClient,
  ResourceRef,
  WatchOptions,
  WriteOptions,
} from './client.ts';
import type { ResourceKinds, TypedRef } from './resources.ts';
import { resources } from './resources.ts';
import type { ApiRequest, ApiResponse, HttpMethod, Transport, WatchStream } from './transport.ts';

type Query = NonNullable<ApiRequest['query']>;

/** `Client` with an accessor per group and resource. */
export type TypedClient = Client & {
  readonly [G in keyof ResourceKinds]: {
    readonly [R in keyof ResourceKinds[G]]: ResourceKinds[G][R] extends KubeObject
      ? ResourceClient<ResourceKinds[G][R]>
      : never;
  };
} & {
  resource<T extends KubeObject = KubeObject>(ref: TypedRef<T> | ResourceRef): ResourceClient<T>;
  /** Any path: discovery, `/version`, `/healthz`, and what has no resource. Throws `StatusError` for an error status. */
  raw(method: HttpMethod, path: string, options?: Omit<ApiRequest, 'method' | 'path'>): Promise<ApiResponse>;
};

const maxRetries = 10;

const patchTypes: Record<PatchType, string> = {
  json: 'application/json-patch+json',
  merge: 'application/merge-patch+json',
  strategic: 'application/strategic-merge-patch+json',
};

/** An error status as the error it is; answers that are no `Status` get upstream's generic reasons. */
export function errorFromResponse(response: ApiResponse): StatusError {
  const body = response.body;
  if (typeof body === 'object' && body !== null && (body as Partial<Status>).kind === 'Status') {
    const status = body as Partial<Status>;
    return new StatusError(
      status.code ?? response.status,
      status.reason ?? '',
      status.message ?? `the server answered ${response.status}`,
      status.details,
    );
  }
  // What stands in it is not for people: a server that ran out of time sends its Status as text.
  const text =
    response.status === 504
      ? 'the server was unable to return a response in the time allotted, but may still be processing the request'
      : typeof body === 'string'
        ? body.trim()
        : '';
  const reasons: Record<number, string> = {
    400: 'BadRequest',
    401: 'Unauthorized',
    403: 'Forbidden',
    404: 'NotFound',
    405: 'MethodNotAllowed',
    406: 'NotAcceptable',
    409: 'Conflict',
    410: 'Gone',
    413: 'RequestEntityTooLarge',
    415: 'UnsupportedMediaType',
    422: 'Invalid',
    429: 'TooManyRequests',
    500: 'InternalError',
    503: 'ServiceUnavailable',
    504: 'Timeout',
  };
  return new StatusError(
    response.status,
    reasons[response.status] ?? 'Unknown',
    text === '' ? `the server responded with the status code ${response.status}` : text.slice(0, 2048),
  );
}

/** The path of a resource, an object or one of its subresources. */
export function resourcePath(
  ref: ResourceRef,
  namespace: string | undefined,
  name?: string,
  subresource?: string,
): string {
  let path = ref.group === '' ? `/api/${ref.version}` : `/apis/${ref.group}/${ref.version}`;
  if (ref.namespaced && namespace !== undefined && namespace !== '')
    path += `/namespaces/${encodeURIComponent(namespace)}`;
  path += `/${ref.resource}`;
  if (name !== undefined) path += `/${encodeURIComponent(name)}`;
  if (subresource !== undefined && subresource !== '') path += `/${subresource}`;
  return path;
}

function requireName(ref: ResourceRef, name: string | undefined): string {
  if (name === undefined || name === '') {
    throw new StatusError(400, 'BadRequest', `${ref.resource}: resource name may not be empty`);
  }
  return name;
}

/** A server that is too busy says after how many seconds to come back; client-go asks again at most ten times. */
async function requestPatiently(transport: Transport, request: ApiRequest): Promise<ApiResponse> {
  for (let attempt = 0; ; attempt++) {
    const response = await transport.request(request);
    if (response.status !== 429 || transport.retriesAfter === true || attempt >= maxRetries) return response;
    const seconds = Number(response.headers['retry-after']);
    if (!Number.isFinite(seconds) || seconds < 0) return response;
    await new Promise<void>((resolve, reject) => {
      const cancel = ioTimer(seconds * 1000, () => {
        request.signal?.removeEventListener('abort', abort);
        resolve();
      });
      const abort = (): void => {
        cancel();
        reject(request.signal!.reason as Error);
      };
      request.signal?.addEventListener('abort', abort, { once: true });
    });
  }
}

class ResourceClientImpl<T extends KubeObject> implements ResourceClient<T> {
  readonly ref: ResourceRef;
  readonly #transport: Transport;

  constructor(transport: Transport, ref: ResourceRef) {
    this.#transport = transport;
    this.ref = ref;
  }

  async #send<R>(method: HttpMethod, path: string, query: Query | undefined, rest?: Partial<ApiRequest>): Promise<R> {
    const request: ApiRequest = { method, path, ...(query === undefined ? {} : { query }), ...rest };
    const response = await requestPatiently(this.#transport, request);
    if (response.status >= 400) throw errorFromResponse(response);
    return response.body as R;
  }

  /** Sent objects carry their type; a caller need not write it. */
  #typed(object: T): unknown {
    if (object.apiVersion !== undefined && object.kind !== undefined) return object;
    if (this.ref.kind === undefined) return object;
    return { apiVersion: apiVersionOf(this.ref), kind: this.ref.kind, ...object };
  }

  #listQuery(o: ListOptions): Query {
    return {
      labelSelector: o.labelSelector,
      fieldSelector: o.fieldSelector,
      limit: o.limit,
      continue: o.continue,
      resourceVersion: o.resourceVersion,
      resourceVersionMatch: o.resourceVersionMatch,
    };
  }

  #writeQuery(o: WriteOptions | undefined): Query | undefined {
    if (o === undefined) return undefined;
    return {
      dryRun: o.dryRun === true ? 'All' : undefined,
      fieldManager: o.fieldManager,
      fieldValidation: o.fieldValidation,
    };
  }

  async get(name: string, namespace?: string, options?: GetOptions): Promise<T> {
    const query = options?.resourceVersion === undefined ? undefined : { resourceVersion: options.resourceVersion };
    return this.#send('GET', resourcePath(this.ref, namespace, requireName(this.ref, name)), query, {
      signal: options?.signal,
    });
  }

  list(options: ListOptions = {}): Promise<KubeList<T>> {
    return this.#send('GET', resourcePath(this.ref, options.namespace), this.#listQuery(options), {
      signal: options.signal,
    });
  }

  watch(options: WatchOptions = {}): Promise<WatchStream<T>> {
    return this.#transport.watch<T>({
      method: 'GET',
      path: resourcePath(this.ref, options.namespace),
      query: {
        watch: true,
        labelSelector: options.labelSelector,
        fieldSelector: options.fieldSelector,
        resourceVersion: options.resourceVersion,
        resourceVersionMatch: options.resourceVersionMatch,
        allowWatchBookmarks: options.allowWatchBookmarks,
        sendInitialEvents: options.sendInitialEvents,
        timeoutSeconds: options.timeoutSeconds,
      },
      signal: options.signal,
    });
  }

  async create(object: T, options?: WriteOptions): Promise<T> {
    const name = options?.subresource === undefined ? undefined : requireName(this.ref, object.metadata.name);
    const path = resourcePath(this.ref, object.metadata.namespace, name, options?.subresource);
    return this.#send('POST', path, this.#writeQuery(options), { body: this.#typed(object), signal: options?.signal });
  }

  async update(object: T, options?: WriteOptions): Promise<T> {
    const { name, namespace } = object.metadata;
    const path = resourcePath(this.ref, namespace, requireName(this.ref, name), options?.subresource);
    return this.#send('PUT', path, this.#writeQuery(options), { body: this.#typed(object), signal: options?.signal });
  }

  updateStatus(object: T, options?: WriteOptions): Promise<T> {
    return this.update(object, { ...options, subresource: 'status' });
  }

  async patch(
    name: string,
    namespace: string | undefined,
    type: PatchType,
    patch: unknown,
    options?: WriteOptions,
  ): Promise<T> {
    const path = resourcePath(this.ref, namespace, requireName(this.ref, name), options?.subresource);
    return this.#send('PATCH', path, this.#writeQuery(options), {
      body: patch,
      contentType: patchTypes[type],
      signal: options?.signal,
    });
  }

  async apply(object: T, options: ApplyOptions): Promise<T> {
    const { name, namespace } = object.metadata;
    const path = resourcePath(this.ref, namespace, requireName(this.ref, name), options.subresource);
    return this.#send(
      'PATCH',
      path,
      { ...this.#writeQuery(options), force: options.force },
      {
        body: this.#typed(object),
        contentType: 'application/apply-patch+yaml',
        signal: options.signal,
      },
    );
  }

  #deleteBody(options: DeleteOptions): Record<string, unknown> {
    return {
      kind: 'DeleteOptions',
      apiVersion: 'v1',
      ...(options.gracePeriodSeconds === undefined ? {} : { gracePeriodSeconds: options.gracePeriodSeconds }),
      ...(options.preconditions === undefined ? {} : { preconditions: options.preconditions }),
      ...(options.propagationPolicy === undefined ? {} : { propagationPolicy: options.propagationPolicy }),
      ...(options.dryRun === true ? { dryRun: ['All'] } : {}),
    };
  }

  async delete(name: string, namespace?: string, options: DeleteOptions = {}): Promise<KubeObject> {
    return this.#send('DELETE', resourcePath(this.ref, namespace, requireName(this.ref, name)), undefined, {
      body: this.#deleteBody(options),
      signal: options.signal,
    });
  }

  deleteCollection(list: ListOptions, options: DeleteOptions = {}): Promise<KubeObject> {
    return this.#send('DELETE', resourcePath(this.ref, list.namespace), this.#listQuery(list), {
      body: this.#deleteBody(options),
      signal: options.signal ?? list.signal,
    });
  }

  async createSubresource<R = KubeObject>(
    name: string,
    namespace: string | undefined,
    subresource: string,
    body: unknown,
    options?: WriteOptions,
  ): Promise<R> {
    const path = resourcePath(this.ref, namespace, requireName(this.ref, name), subresource);
    return this.#send('POST', path, this.#writeQuery(options), { body, signal: options?.signal });
  }
}

class ClientImpl implements Client {
  readonly transport: Transport;

  constructor(transport: Transport) {
    this.transport = transport;
  }

  resource<T extends KubeObject = KubeObject>(ref: ResourceRef): ResourceClient<T> {
    return new ResourceClientImpl<T>(this.transport, ref);
  }

  async raw(method: HttpMethod, path: string, options?: Omit<ApiRequest, 'method' | 'path'>): Promise<ApiResponse> {
    const response = await requestPatiently(this.transport, { method, path, ...options });
    if (response.status >= 400) throw errorFromResponse(response);
    return response;
  }
}

/** Group accessors live on the prototype and make their clients on first use. */
for (const [accessor, refs] of Object.entries(resources)) {
  Object.defineProperty(ClientImpl.prototype, accessor, {
    configurable: true,
    get(this: ClientImpl): unknown {
      const group: Record<string, unknown> = {};
      for (const [name, ref] of Object.entries(refs as Record<string, ResourceRef>)) {
        Object.defineProperty(group, name, {
          enumerable: true,
          configurable: true,
          get: () => {
            const client = this.resource(ref);
            Object.defineProperty(group, name, { value: client, enumerable: true });
            return client;
          },
        });
      }
      Object.defineProperty(this, accessor, { value: group });
      return group;
    },
  });
}

/** A client that speaks through `transport`, with that transport's identity. */
export function createClient(transport: Transport): TypedClient {
  return new ClientImpl(transport) as unknown as TypedClient;
}
