/**
 * What stands between a request and the places audit events go to: several backends as one, errors that a request must not
 * feel, batches in the background, and the cutting of events that are too large.
 */
import type { Clock } from '../../base/clock.ts';
import { ioTimer } from '../../base/io-time.ts';
import type { Logger } from '../../base/logger.ts';
import { macrotask } from '../../base/yield.ts';
import { auditJson, type AuditEvent } from './event.ts';
import type { AuditMetrics } from './metrics.ts';

export interface AuditBackend {
  /** False: an event was lost. Synchronous where nothing has to be waited for. */
  process(events: readonly AuditEvent[]): boolean | Promise<boolean>;
  /** The end is near: nothing is waited for any more but what is on its way. */
  stopping?(): void;
  /** Sends what is still waiting. */
  close(): Promise<void>;
}

export type AuditMode = 'batch' | 'blocking' | 'blocking-strict';
export const auditModes: readonly AuditMode[] = ['batch', 'blocking', 'blocking-strict'];

export interface BatchConfig {
  readonly bufferSize: number;
  readonly maxBatchSize: number;
  readonly maxBatchWaitMs: number;
  readonly throttle: { readonly qps: number; readonly burst: number } | undefined;
}

export interface TruncateConfig {
  readonly maxEventSize: number;
  readonly maxBatchSize: number;
}

export interface BackendParts {
  readonly clock: Clock;
  readonly logger: Logger;
  readonly metrics: AuditMetrics;
}

/** Counts and tells what went wrong; the events themselves may hold secrets and stay out of the log. */
export function pluginError(parts: BackendParts, plugin: string, error: unknown, events: readonly AuditEvent[]): void {
  parts.metrics.failed(plugin, events.length);
  parts.logger.error(`Error in audit plugin '${plugin}' affecting ${events.length} audit events`, {
    error,
    auditIDs: events
      .slice(0, 5)
      .map((e) => e.auditID)
      .join(','),
  });
}

/** All of them; false when one failed. */
export function unionBackend(backends: readonly AuditBackend[]): AuditBackend {
  if (backends.length === 1) return backends[0]!;
  return {
    process(events) {
      const answers = backends.map((b) => b.process(events));
      if (!answers.some((a) => a instanceof Promise)) return answers.every((a) => a === true);
      return Promise.all(answers).then((all) => all.every((a) => a));
    },
    async close() {
      await Promise.all(backends.map((b) => b.close()));
    },
  };
}

/** Mode `blocking`: the request waits, but a failure is not its own. */
function ignoringErrors(delegate: AuditBackend): AuditBackend {
  return {
    process(events) {
      const answer = delegate.process(events);
      return answer instanceof Promise ? answer.then(() => true) : true;
    },
    close: () => delegate.close(),
  };
}

/** A token bucket in real time. */
class Throttle {
  readonly #qps: number;
  readonly #burst: number;
  readonly #clock: Clock;
  #tokens: number;
  #at: number;

  constructor(clock: Clock, { qps, burst }: { readonly qps: number; readonly burst: number }) {
    this.#clock = clock;
    this.#qps = qps;
    this.#burst = burst;
    this.#tokens = burst;
    this.#at = clock.monotonic();
  }

  /** Milliseconds to wait for the token that is hereby taken. */
  take(): number {
    const now = this.#clock.monotonic();
    this.#tokens = Math.min(this.#burst, this.#tokens + ((now - this.#at) / 1000) * this.#qps) - 1;
    this.#at = now;
    return this.#tokens >= 0 ? 0 : (-this.#tokens / this.#qps) * 1000;
  }
}

/** Batches that may be on their way at once; more wait in the buffer. */
const maxSending = 16;

/** Mode `batch`: events wait in a bounded buffer and go out many at a time, in the background. */
class BufferedBackend implements AuditBackend {
  readonly #delegate: AuditBackend;
  readonly #config: BatchConfig;
  readonly #parts: BackendParts;
  readonly #throttle: Throttle | undefined;
  readonly #sending = new Set<Promise<void>>();
  #buffer: AuditEvent[] = [];
  #cancel: (() => void) | undefined;
  #pumping = false;
  #closed = false;

  constructor(delegate: AuditBackend, config: BatchConfig, parts: BackendParts) {
    this.#delegate = delegate;
    this.#config = config;
    this.#parts = parts;
    this.#throttle = config.throttle === undefined ? undefined : new Throttle(parts.clock, config.throttle);
  }

  process(events: readonly AuditEvent[]): boolean {
    if (this.#closed) {
      pluginError(this.#parts, 'buffered', new Error('audit backend shut down'), events);
      return true;
    }
    const room = this.#config.bufferSize - this.#buffer.length;
    if (events.length > room)
      pluginError(this.#parts, 'buffered', new Error('audit buffer queue blocked'), events.slice(room));
    this.#buffer.push(...(events.length > room ? events.slice(0, room) : events));
    if (this.#buffer.length >= this.#config.maxBatchSize) void this.#pump(false);
    else this.#cancel ??= ioTimer(this.#config.maxBatchWaitMs, () => void this.#pump(true));
    return true;
  }

  /** Sends whole batches, and with `all` the rest as well. */
  async #pump(all: boolean): Promise<void> {
    this.#cancel?.();
    this.#cancel = undefined;
    if (this.#pumping) return;
    this.#pumping = true;
    const { maxBatchSize } = this.#config;
    while (this.#buffer.length >= maxBatchSize || ((all || this.#closed) && this.#buffer.length > 0)) {
      const wait = this.#throttle?.take() ?? 0;
      if (wait > 0 && !this.#closed) await new Promise<void>((resolve) => void ioTimer(wait, resolve));
      if (this.#sending.size >= maxSending) await Promise.race(this.#sending);
      this.#send(this.#buffer.splice(0, maxBatchSize));
    }
    this.#pumping = false;
    if (this.#buffer.length > 0) this.#cancel ??= ioTimer(this.#config.maxBatchWaitMs, () => void this.#pump(true));
  }

  #send(events: readonly AuditEvent[]): void {
    const answer = this.#delegate.process(events);
    if (!(answer instanceof Promise)) return;
    const sent: Promise<void> = answer.then(
      () => void this.#sending.delete(sent),
      (error: unknown) => {
        this.#sending.delete(sent);
        pluginError(this.#parts, 'buffered', error, events);
      },
    );
    this.#sending.add(sent);
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#delegate.stopping?.();
    await this.#pump(true);
    // Another turn may have been at it.
    while (this.#pumping) await Promise.race([...this.#sending, macrotask()]);
    await Promise.all(this.#sending);
    await this.#delegate.close();
  }
}

/** Takes the objects out of events that are too large, drops those that still are, and splits batches. */
class TruncatingBackend implements AuditBackend {
  readonly #delegate: AuditBackend;
  readonly #config: TruncateConfig;
  readonly #parts: BackendParts;

  constructor(delegate: AuditBackend, config: TruncateConfig, parts: BackendParts) {
    this.#delegate = delegate;
    this.#config = config;
    this.#parts = parts;
  }

  process(events: readonly AuditEvent[]): boolean | Promise<boolean> {
    const { maxEventSize, maxBatchSize } = this.#config;
    const batches: AuditEvent[][] = [];
    let batch: AuditEvent[] = [];
    let batchSize = 0;
    const lost: AuditEvent[] = [];
    for (const whole of events) {
      let event = whole;
      let size = Buffer.byteLength(auditJson(event));
      if (size > maxEventSize && (event.level === 'Request' || event.level === 'RequestResponse')) {
        const { requestObject: _request, responseObject: _response, ...rest } = event;
        event = { ...rest, annotations: { ...event.annotations, 'audit.k8s.io/truncated': 'true' } };
        size = Buffer.byteLength(auditJson(event));
      }
      if (size > maxEventSize) {
        lost.push(event);
        continue;
      }
      if (batch.length > 0 && batchSize + size > maxBatchSize) {
        batches.push(batch);
        batch = [];
        batchSize = 0;
      }
      batchSize += size;
      batch.push(event);
    }
    if (batch.length > 0) batches.push(batch);
    if (lost.length > 0)
      pluginError(this.#parts, 'truncate', new Error('event is too large even after truncating'), lost);
    return unite(batches.map((b) => this.#delegate.process(b)));
  }

  close(): Promise<void> {
    return this.#delegate.close();
  }
}

function unite(answers: readonly (boolean | Promise<boolean>)[]): boolean | Promise<boolean> {
  if (answers.length === 1) return answers[0]!;
  if (!answers.some((a) => a instanceof Promise)) return answers.every((a) => a === true);
  return Promise.all(answers).then((all) => all.every((a) => a));
}

/** A backend in its mode, with the cutting around it where that is wanted. */
export function wrapBackend(
  backend: AuditBackend,
  options: { readonly mode: AuditMode; readonly batch: BatchConfig; readonly truncate: TruncateConfig | undefined },
  parts: BackendParts,
): AuditBackend {
  const moded =
    options.mode === 'batch'
      ? new BufferedBackend(backend, options.batch, parts)
      : options.mode === 'blocking'
        ? ignoringErrors(backend)
        : backend;
  return options.truncate === undefined ? moded : new TruncatingBackend(moded, options.truncate, parts);
}
