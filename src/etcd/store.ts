/**
 * `KeyValueStore`: the small asynchronous door between the API server and its store. The embedded store and a remote etcd
 * cluster both stand behind it and pass one contract suite. Keys are byte strings: JS strings whose char codes are 0–255
 * (etcd's bytes as latin1), so that `<` is etcd's order. Revisions are etcd's, as safe integers.
 */
import type { Family } from '../base/metric-families.ts';

export interface KeyValue {
  readonly key: string;
  readonly value: Buffer;
  readonly createRevision: number;
  readonly modRevision: number;
  readonly version: number;
  /** Lease id as a decimal string; undefined when none. */
  readonly lease?: string;
}

export interface RangeRequest {
  readonly key: string;
  /** Exclusive end; undefined: the single key; `\0`: open above. */
  readonly end?: string;
  /** 0 or undefined: the newest durable revision. */
  readonly revision?: number;
  readonly limit?: number;
  readonly keysOnly?: boolean;
  readonly countOnly?: boolean;
  /** Nobody looks at the count of what is behind the limit: a store that would have to count it need not. */
  readonly uncounted?: boolean;
}

export interface RangeResult {
  /** The durable revision the answer was read at (etcd's header revision). */
  readonly revision: number;
  readonly kvs: readonly KeyValue[];
  /** Keys in the range regardless of `limit`; at least those that are answered, where the request is `uncounted`. */
  readonly count: number;
  readonly more: boolean;
}

/** One compare on the key's mod revision (0: must not exist; undefined: no compare) and one put or delete. */
export interface CommitRequest {
  readonly key: string;
  readonly expectModRevision: number | undefined;
  /** undefined deletes. */
  readonly value: Buffer | undefined;
  readonly lease?: string;
}

export type CommitResult =
  | { readonly ok: true; readonly revision: number; readonly previous: KeyValue | undefined }
  /** The compare failed; `current` is the durable key-value (undefined: no such key). */
  | { readonly ok: false; readonly revision: number; readonly current: KeyValue | undefined };

export interface StoreEvent {
  readonly type: 'put' | 'delete';
  /** For a delete: key and modRevision only, value empty. */
  readonly kv: KeyValue;
  /** The value before, when it is still known. */
  readonly previous: KeyValue | undefined;
}

export interface StoreWatchRequest {
  readonly key: string;
  readonly end?: string;
  /** First revision to deliver; 0 or undefined: whatever comes after now. */
  readonly fromRevision?: number;
}

/** Receives a watch. Calls come in revision order, synchronously from the store's delivery turn. */
export interface StoreWatchSink {
  /** Events of one or more whole revisions, up to and including `revision`. */
  events(events: readonly StoreEvent[], revision: number): void;
  /** Nothing for this range happened up to `revision`. */
  progress(revision: number): void;
  /** The watch ended. `CompactedError`: start again from a list. Not called after `close()`. */
  closed(error: Error): void;
}

export interface StoreWatch {
  close(): void;
}

export interface KeyValueStore {
  range(request: RangeRequest): Promise<RangeResult>;
  /**
   * Runs the compare against the pending state and resolves once the outcome is durable and every watch has been handed
   * its event (order of visibility: durable revision → watch events → answer).
   */
  commit(request: CommitRequest): Promise<CommitResult>;
  watch(request: StoreWatchRequest, sink: StoreWatchSink): StoreWatch;
  /** Asks for a `progress` (or events) at or beyond the current durable revision; resolves with that revision. */
  currentRevision(): Promise<number>;
  grantLease(ttlSeconds: number): Promise<string>;
  revokeLease(id: string): Promise<void>;
  keepAliveLease(id: string): Promise<number>;
  /**
   * Where values are encrypted on their way: whether the one under this key should be written anew although nothing changes,
   * because it is encrypted with what is no longer written with.
   */
  stale?(key: string): Promise<boolean>;
  /** Drops history before `revision`. */
  compact(revision: number): Promise<void>;
  /** What it measures of itself. */
  readonly families?: readonly Family[];
  /** Bytes used by the store. */
  size(): Promise<number>;
  close(): Promise<void>;
}

/** The asked-for revision is gone (etcd: "mvcc: required revision has been compacted"). */
export class CompactedError extends Error {
  readonly compactRevision: number;
  constructor(compactRevision: number) {
    super('etcdserver: mvcc: required revision has been compacted');
    this.name = 'CompactedError';
    this.compactRevision = compactRevision;
  }
}

/** The asked-for revision has not happened yet. */
export class FutureRevisionError extends Error {
  constructor() {
    super('etcdserver: mvcc: required revision is a future revision');
    this.name = 'FutureRevisionError';
  }
}

/** A key-value is larger than a request may be (etcd's `--max-request-bytes`). */
export class RequestTooLargeError extends Error {
  constructor() {
    super('etcdserver: request is too large');
    this.name = 'RequestTooLargeError';
  }
}

/** A flush failed: the store has ended and must be opened anew. */
export class StoreFailedError extends Error {
  constructor(cause: Error) {
    super(`the store has failed: ${cause.message}`, { cause });
    this.name = 'StoreFailedError';
  }
}

/** The store has been closed by its owner. */
export class StoreClosedError extends Error {
  constructor() {
    super('the store is closed');
    this.name = 'StoreClosedError';
  }
}
