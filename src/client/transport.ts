/**
 * `Transport`: how a request reaches an API server, over HTTPS or in the same process. Bodies are parsed JSON objects at
 * this boundary; an answer's objects may be shared and are never mutated by the caller.
 */
import type { Readable } from 'node:stream';

export type HttpMethod = 'GET' | 'HEAD' | 'POST' | 'PUT' | 'PATCH' | 'DELETE' | 'OPTIONS';

export interface ApiRequest {
  readonly method: HttpMethod;
  /** Absolute path without host and query: `/api/v1/namespaces/default/pods`. Segments are already escaped. */
  readonly path: string;
  readonly query?: Readonly<Record<string, string | number | boolean | readonly string[] | undefined>>;
  readonly headers?: Readonly<Record<string, string>>;
  /** An API object or patch as parsed JSON, or raw bytes with a content type. */
  readonly body?: unknown;
  /** Default application/json. */
  readonly contentType?: string;
  readonly signal?: AbortSignal;
}

export interface ApiResponse {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  /** Parsed JSON when the answer is JSON, text otherwise. */
  readonly body: unknown;
}

export interface WatchEvent<T = unknown> {
  readonly type: 'ADDED' | 'MODIFIED' | 'DELETED' | 'BOOKMARK' | 'ERROR';
  readonly object: T;
}

/** Events in batches, as they arrive; ends when the server ends the watch. A `Status` arrives as an ERROR event. */
export interface WatchStream<T = unknown> extends AsyncIterable<readonly WatchEvent<T>[]> {
  close(): void;
}

/** An upgraded connection (exec, attach, port-forward): WebSocket messages. */
export interface MessageChannel {
  readonly protocol: string;
  send(data: Uint8Array): Promise<void>;
  readonly messages: AsyncIterable<Buffer>;
  close(): void;
}

export interface Transport {
  /** True when answers with Retry-After are waited out and asked for again inside; otherwise the client does so. */
  readonly retriesAfter?: boolean;
  /** Resolves for every HTTP status; rejects only when no answer came. Warnings come as the `warning` header. */
  request(request: ApiRequest): Promise<ApiResponse>;
  /** Rejects with a `StatusError` when the server refuses. */
  watch<T = unknown>(request: ApiRequest): Promise<WatchStream<T>>;
  /** The raw body of an answer (logs). Rejects with a `StatusError` for an error status. */
  stream(request: ApiRequest): Promise<Readable>;
  /** A WebSocket upgrade with the sub-protocols offered in order. */
  connect(request: ApiRequest, protocols: readonly string[]): Promise<MessageChannel>;
  close(): Promise<void>;
}
