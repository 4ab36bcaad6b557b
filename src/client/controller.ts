/**
 * `Controller`: works off a `WorkQueue` with a few concurrent workers. A worker exists only while there is something to do, so
 * an idle controller costs nothing.
 */
import type { Clock } from '../base/clock.ts';
import type { Logger } from '../base/logger.ts';
import { Slice } from '../base/yield.ts';
import { isConflict, isNotFound } from './errors.ts';
import { WorkQueue } from './work-queue.ts';
import type { WorkQueueMetrics } from './work-queue-metrics.ts';

/** So many tries, a third of a second, may find something gone that the cache still has. */
const patience = 6;

export interface ControllerOptions {
  readonly name: string;
  readonly clock: Clock;
  readonly logger: Logger;
  /** How many keys at a time. Default 5, upstream's usual `--concurrent-*-syncs`. */
  readonly workers?: number | undefined;
  /** Brings the world of one key nearer to what is wanted. What it throws is retried with back-off. */
  readonly reconcile: (key: string, signal: AbortSignal) => Promise<void>;
  /** After so many failures in a row the key is dropped until something adds it again. Default: never. */
  readonly maxRetries?: number;
  readonly baseDelayMs?: number;
  readonly maxDelayMs?: number;
  /** Where its queue is measured. */
  readonly queueMetrics?: WorkQueueMetrics | undefined;
}

export class Controller {
  readonly name: string;
  readonly queue: WorkQueue;
  readonly #options: ControllerOptions;
  readonly #abort = new AbortController();
  readonly #slice = new Slice();
  readonly #running = new Set<Promise<void>>();
  #started = false;

  constructor(options: ControllerOptions) {
    this.name = options.name;
    this.#options = options;
    this.queue = new WorkQueue({
      clock: options.clock,
      ...(options.baseDelayMs === undefined ? {} : { baseDelayMs: options.baseDelayMs }),
      ...(options.maxDelayMs === undefined ? {} : { maxDelayMs: options.maxDelayMs }),
      observer: options.queueMetrics?.queue(options.name),
    });
    this.queue.onReady = () => this.#spawn();
  }

  /** Aborted when the controller stops. */
  get signal(): AbortSignal {
    return this.#abort.signal;
  }

  /** Begins to work, after `ready` (its informers' `synced`) where given. */
  start(...ready: readonly Promise<unknown>[]): void {
    if (ready.length === 0) {
      this.#begin();
      return;
    }
    Promise.all(ready).then(
      () => this.#begin(),
      (error: unknown) => {
        if (!this.#abort.signal.aborted) {
          this.#options.logger.error('controller could not start', { controller: this.name, error });
        }
      },
    );
  }

  /** Ends taking keys and waits for those in processing. */
  async stop(): Promise<void> {
    this.#abort.abort();
    this.queue.close();
    await Promise.allSettled([...this.#running]);
  }

  #begin(): void {
    if (this.#started || this.#abort.signal.aborted) return;
    this.#started = true;
    const waiting = this.queue.depth;
    for (let i = 0; i < waiting; i++) this.#spawn();
  }

  #spawn(): void {
    if (!this.#started || this.#running.size >= (this.#options.workers ?? 5) || this.queue.closed) return;
    const worker = this.#work().finally(() => {
      this.#running.delete(worker);
      // A key may have become ready between the worker's last look and its end.
      if (this.queue.depth > 0) this.#spawn();
    });
    this.#running.add(worker);
  }

  async #work(): Promise<void> {
    for (;;) {
      // Whoever added the key is inside an informer's delivery: work begins after it.
      await this.#slice.turn();
      const key = this.queue.take();
      if (key === undefined) return;
      try {
        await this.#options.reconcile(key, this.#abort.signal);
        this.queue.forget(key);
      } catch (error) {
        this.#failed(key, error);
      } finally {
        this.queue.done(key);
      }
    }
  }

  #failed(key: string, error: unknown): void {
    if (this.#abort.signal.aborted) return;
    const { logger, maxRetries } = this.#options;
    const retries = this.queue.retries(key);
    if (maxRetries !== undefined && retries >= maxRetries) {
      logger.warn('giving up for now', { controller: this.name, key, retries, error });
      this.queue.forget(key);
      return;
    }
    // A conflict only says that the cache was behind, and so does something gone for a while; everything else is logged once in a
    // row of failures.
    if (retries === (isNotFound(error) ? patience : 0) && !isConflict(error))
      logger.warn('reconcile failed, will retry', { controller: this.name, key, error });
    else logger.debug('reconcile failed again', { controller: this.name, key, retries, error });
    this.queue.addRateLimited(key);
  }
}
