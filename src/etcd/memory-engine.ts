/**
 * The engine in memory, for tests, simulation and clusters that need not outlive their process. What a crash would take is
 * scriptable: flushes can be held, made to fail, and everything unflushed dropped, as a power cut would.
 */
import { deferred } from '../base/deferred.ts';
import type { Deferred } from '../base/deferred.ts';
import type { Engine, EngineOp } from './engine.ts';
import { OrderedKeys } from './ordered-keys.ts';

function keyOf(bytes: Uint8Array): string {
  return (Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length)).toString(
    'latin1',
  );
}

interface Flush {
  readonly ops: EngineOp[];
  readonly done: Deferred<void>;
}

export class MemoryEngine implements Engine {
  readonly keepsArrays = true;
  /** What would survive a crash. */
  readonly #values = new Map<string, Uint8Array>();
  readonly #keys = new OrderedKeys();
  #bytes = 0;
  #unflushed: EngineOp[] = [];
  #waiting: Flush[] = [];
  #held = false;
  #failNext: Error | undefined;
  #failure: Error | undefined;
  #flushes = 0;

  /** Flushes that have completed. */
  get flushes(): number {
    return this.#flushes;
  }

  /** Flushes that wait for `releaseFlush` or `releaseFlushes`. */
  get heldFlushes(): number {
    return this.#waiting.length;
  }

  applyBatch(ops: readonly EngineOp[]): void {
    if (this.#failure) throw this.#failure;
    for (const op of ops) this.#unflushed.push(op);
  }

  durable(): Promise<void> {
    if (this.#failure) return Promise.reject(this.#failure);
    const flush: Flush = { ops: this.#unflushed, done: deferred() };
    this.#unflushed = [];
    if (this.#held || this.#waiting.length > 0) this.#waiting.push(flush);
    else this.#complete(flush);
    return flush.done.promise;
  }

  #complete(flush: Flush): void {
    if (this.#failNext && !this.#failure) this.#failure = this.#failNext;
    if (this.#failure) {
      flush.done.reject(this.#failure);
      return;
    }
    for (const { key, value } of flush.ops) this.#set(keyOf(key), value);
    this.#flushes++;
    flush.done.resolve();
  }

  #set(key: string, value: Uint8Array | undefined): void {
    const before = this.#values.get(key);
    if (before !== undefined) this.#bytes -= before.length + key.length;
    if (value === undefined) {
      if (before === undefined) return;
      this.#values.delete(key);
      this.#keys.delete(key);
      return;
    }
    if (before === undefined) this.#keys.insert(key);
    this.#values.set(key, value);
    this.#bytes += value.length + key.length;
  }

  get(key: Uint8Array): Uint8Array | undefined {
    return this.#values.get(keyOf(key));
  }

  scan(from: Uint8Array, to: Uint8Array, visit: (key: Uint8Array, value: Uint8Array) => boolean | void): void {
    this.#keys.walk(keyOf(from), keyOf(to), (key) => visit(Buffer.from(key, 'latin1'), this.#values.get(key)!));
  }

  size(): number {
    return this.#bytes;
  }

  async close(): Promise<void> {
    this.#failure ??= new Error('the memory engine is closed');
  }

  /** From now on flushes wait until they are released. */
  holdFlushes(): void {
    this.#held = true;
  }

  /** Lets the oldest held flush complete. */
  releaseFlush(): void {
    const flush = this.#waiting.shift();
    if (flush) this.#complete(flush);
  }

  /** Lets all held flushes complete and holds no more. */
  releaseFlushes(): void {
    this.#held = false;
    while (this.#waiting.length > 0) this.releaseFlush();
  }

  /** The next flush that would complete fails instead, and with it every later call. */
  failNextFlush(error: Error): void {
    this.#failNext = error;
  }

  /** Cuts the power: this engine is dead, and what had been flushed comes back as a new one. */
  crash(): MemoryEngine {
    const after = new MemoryEngine();
    for (const [key, value] of this.#values) after.#set(key, value);
    this.#failure ??= new Error('the memory engine has crashed');
    const failure = this.#failure;
    for (const flush of this.#waiting.splice(0)) flush.done.reject(failure);
    return after;
  }

  /** An independent engine with the same durable content: the records themselves are shared, they never change. */
  fork(): MemoryEngine {
    const copy = new MemoryEngine();
    for (const [key, value] of this.#values) copy.#set(key, value);
    return copy;
  }
}
