/**
 * OpenTelemetry tracing of requests: a span a request, with one for each request to the store and to other servers below it;
 * sampled by the caller's `traceparent` or by chance, and sent in batches. Who is not trusted begins a trace of its own, with a link
 * to the caller's. Where a caller that is trusted says that a trace is not sampled, that is passed on and nothing is kept.
 */
import { AsyncLocalStorage } from 'node:async_hooks';
import type { Clock } from '../../base/clock.ts';
import { ioNow, ioTimer } from '../../base/io-time.ts';
import type { Logger } from '../../base/logger.ts';
import type { Random } from '../../base/random.ts';
import type { Filter, Scope } from '../filters/scope.ts';
import type { OutgoingSpan, OutgoingTrace } from './outgoing.ts';

export interface SpanData {
  readonly traceId: Buffer;
  readonly spanId: Buffer;
  readonly parentSpanId: Buffer | undefined;
  readonly name: string;
  /** OTLP's numbers: internal 1, server 2, client 3. */
  readonly kind: 1 | 2 | 3;
  /** Milliseconds since the epoch, with fractions. */
  readonly start: number;
  readonly end: number;
  readonly attributes: Readonly<Record<string, string | number>>;
  readonly link: { readonly traceId: Buffer; readonly spanId: Buffer } | undefined;
  readonly error: boolean;
}

export interface SpanExporter {
  export(spans: readonly SpanData[]): Promise<void>;
  close(): void;
}

export interface TracerOptions {
  readonly exporter: SpanExporter;
  readonly samplingRatePerMillion: number;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
}

const maxWaiting = 2048;
const batchSize = 512;
const batchMs = 5000;

const trusted = new Set(['system:masters', 'system:monitoring']);

interface Parent {
  readonly traceId: Buffer;
  readonly spanId: Buffer;
  readonly sampled: boolean;
}

/** The caller's span, from `traceparent` (W3C Trace Context). */
function parentOf(header: string | undefined): Parent | undefined {
  const m = /^[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})/.exec(header ?? '');
  if (m === null || /^0+$/.test(m[1]!) || /^0+$/.test(m[2]!)) return undefined;
  return {
    traceId: Buffer.from(m[1]!, 'hex'),
    spanId: Buffer.from(m[2]!, 'hex'),
    sampled: (Number.parseInt(m[3]!, 16) & 1) === 1,
  };
}

function nameOf({ info, request }: Scope): string {
  if (!info.isResourceRequest) return request.method;
  let path = `/${info.apiPrefix}`;
  if (info.group !== '') path += `/${info.group}`;
  path += `/${info.version}`;
  if (info.namespace !== '') path += '/namespaces/{:namespace}';
  path += `/${info.resource}`;
  if (info.name !== '') path += '/{:name}';
  if (info.subresource !== '') path += `/${info.subresource}`;
  return `${request.method} ${path}`;
}

interface Running {
  readonly traceId: Buffer;
  readonly spanId: Buffer;
  readonly sampled: boolean;
}

function traceparentOf({ traceId, spanId, sampled }: Running): string {
  return `00-${traceId.toString('hex')}-${spanId.toString('hex')}-${sampled ? '01' : '00'}`;
}

export class Tracer implements OutgoingTrace {
  readonly #options: TracerOptions;
  readonly #current = new AsyncLocalStorage<Running>();
  #waiting: SpanData[] = [];
  #dropped = 0;
  #cancel: (() => void) | undefined;
  #sending: Promise<void> | undefined;

  constructor(options: TracerOptions) {
    this.#options = options;
  }

  /** By the trace's id, so that all servers choose the same ones. */
  #chosen(traceId: Buffer): boolean {
    return (traceId.readBigUInt64BE(8) >> 1n) * 1_000_000n < BigInt(this.#options.samplingRatePerMillion) << 63n;
  }

  /** Milliseconds since the epoch of a moment of `ioNow`. */
  #wall(io: number): number {
    return this.#options.clock.now() - (ioNow() - io);
  }

  filter(): Filter {
    const { random } = this.#options;
    return (next) => (scope) => {
      const caller = parentOf(scope.request.headers['traceparent']);
      const known = scope.user.groups.some((g) => trusted.has(g));
      const parent = known ? caller : undefined;
      const traceId = parent?.traceId ?? random.bytes(16);
      const sampled = parent?.sampled ?? this.#chosen(traceId);
      if (!sampled && parent === undefined) return next(scope);
      const running = { traceId, spanId: random.bytes(8), sampled };
      if (!sampled) return this.#current.run(running, () => next(scope));
      return this.#current.run(running, async () => {
        let status = 500;
        try {
          const response = await next(scope);
          status = response.status;
          return response;
        } catch (error) {
          const { code } = error as { code?: unknown };
          if (typeof code === 'number') status = code;
          throw error;
        } finally {
          const { request } = scope;
          const query = request.rawQuery ?? request.query.toString();
          this.#add({
            traceId,
            spanId: running.spanId,
            parentSpanId: parent?.spanId,
            name: nameOf(scope),
            kind: 2,
            start: this.#wall(scope.receivedAt),
            end: this.#wall(ioNow()),
            attributes: {
              'http.request.method': request.method,
              'http.response.status_code': status,
              'http.target': query === '' ? request.path : `${request.path}?${query}`,
              'url.path': request.path,
              'url.scheme': 'https',
              'client.address': request.remoteAddress,
              'user_agent.original': request.headers['user-agent'] ?? '',
              'audit-id': scope.auditId.slice(0, 64),
            },
            link: parent === undefined ? caller : undefined,
            error: status >= 500,
          });
        }
      });
    };
  }

  /** A request to the store that the running request has made; `began` by `ioNow`. */
  stored(operation: string, key: string, began: number, failed: boolean): void {
    const running = this.#current.getStore();
    if (running?.sampled !== true) return;
    const reads = operation === 'get' || operation.startsWith('list');
    this.#add({
      traceId: running.traceId,
      spanId: this.#options.random.bytes(8),
      parentSpanId: running.spanId,
      name: reads ? 'etcdserverpb.KV/Range' : 'etcdserverpb.KV/Txn',
      kind: 3,
      start: this.#wall(began),
      end: this.#wall(ioNow()),
      attributes: { operation, key },
      link: undefined,
      error: failed,
    });
  }

  /** The running request as the parent of what others do for it; undefined where there is none that is traced. */
  traceparent(): string | undefined {
    const running = this.#current.getStore();
    return running === undefined ? undefined : traceparentOf(running);
  }

  begin(method: string, url: string): OutgoingSpan | undefined {
    const running = this.#current.getStore();
    if (running === undefined) return undefined;
    const own = { ...running, spanId: this.#options.random.bytes(8) };
    const began = ioNow();
    let ended = false;
    return {
      traceparent: traceparentOf(own),
      end: (status) => {
        if (ended || !own.sampled) return;
        ended = true;
        this.#add({
          traceId: own.traceId,
          spanId: own.spanId,
          parentSpanId: running.spanId,
          name: `HTTP ${method}`,
          kind: 3,
          start: this.#wall(began),
          end: this.#wall(ioNow()),
          attributes: {
            'http.request.method': method,
            'url.full': url,
            ...(status === undefined ? {} : { 'http.response.status_code': status }),
          },
          link: undefined,
          error: status === undefined || status >= 400,
        });
      },
    };
  }

  #add(span: SpanData): void {
    if (this.#waiting.length >= maxWaiting) {
      this.#dropped++;
      return;
    }
    this.#waiting.push(span);
    if (this.#waiting.length >= batchSize) this.#flush();
    else this.#cancel ??= ioTimer(batchMs, () => this.#flush());
  }

  #flush(): void {
    this.#cancel?.();
    this.#cancel = undefined;
    if (this.#sending !== undefined || this.#waiting.length === 0) return;
    const { exporter, logger } = this.#options;
    const spans = this.#waiting.splice(0, batchSize);
    this.#sending = exporter
      .export(spans)
      .catch((error: unknown) =>
        logger.warn('traces export failed', { spans: spans.length, dropped: this.#dropped, error }),
      )
      .finally(() => {
        this.#sending = undefined;
        if (this.#waiting.length >= batchSize) this.#flush();
        else if (this.#waiting.length > 0) this.#cancel ??= ioTimer(batchMs, () => this.#flush());
      });
  }

  /** Sends what is still there. */
  async close(): Promise<void> {
    while (this.#waiting.length > 0 || this.#sending !== undefined) {
      this.#flush();
      await this.#sending;
    }
    this.#cancel?.();
    this.#options.exporter.close();
  }
}
