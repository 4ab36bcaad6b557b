/**
 * The ordered byte-key engine beneath `Mvcc`: `lmdb` on disk, `memory` for tests and simulation. It knows nothing of
 * revisions. Ordering is by unsigned bytes of the key.
 */

/** A change: `value` undefined deletes. Keys are at most 1,900 bytes (LMDB's limit less our prefix). */
export interface EngineOp {
  readonly key: Uint8Array;
  readonly value: Uint8Array | undefined;
}

export interface Engine {
  /** Adds ops to the pending batch, all or none of which reaches the disk. Visible to `get`/`scan` at once or when flushed;
   * callers rely on neither and keep their own pending state. Order of calls is order of application. The arrays belong to
   * the engine from here on. */
  applyBatch(ops: readonly EngineOp[]): void;
  /**
   * Resolves when every batch applied before the call is on stable storage. Rejects for ever after a failed flush. `alone`:
   * nobody else is writing at this time.
   */
  durable(alone?: boolean): Promise<void>;
  /** The value, stable until the key changes; not to be written to. */
  get(key: Uint8Array): Uint8Array | undefined;
  /** Calls `visit` in key order for `from <= key < to` until it returns false. No read transaction outlives the call.
   * The value is valid during the visit alone. */
  scan(from: Uint8Array, to: Uint8Array, visit: (key: Uint8Array, value: Uint8Array) => boolean | void): void;
  /** Bytes on disk or in memory. */
  size(): number;
  close(): Promise<void>;
  /** True when the engine keeps the very arrays it is handed, so that a cache above it would only hold them twice. */
  readonly keepsArrays?: boolean;
}
