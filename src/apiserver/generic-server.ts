/**
 * `GenericServer`: the filter chain, the director and the encoder joined up, and the life of the whole: what runs, what is
 * being watched, and a graceful end. Transports hand it requests; what the API consists of is handed in.
 */
import type { Done } from '../base/activity.ts';
import type { Clock } from '../base/clock.ts';
import { ioNow, ioTimer } from '../base/io-time.ts';
import type { Logger } from '../base/logger.ts';
import type { Random } from '../base/random.ts';
import type { Authenticator, Authorizer } from './context.ts';
import type { Encoder } from './encode/encoder.ts';
import type { WireBody, WireResponse } from './encode/wire.ts';
import type { AuditOptions } from './filters/audit.ts';
import { auditFilters } from './filters/audit.ts';
import { withAuthentication } from './filters/authentication.ts';
import type { AuthorizationObserver } from './filters/authorization.ts';
import { withAuthorization } from './filters/authorization.ts';
import { Deadlines, withDeadline } from './filters/deadline.ts';
import { withImpersonation } from './filters/impersonation.ts';
import type { ImpersonationOptions } from './filters/impersonation.ts';
import type { InFlight } from './filters/max-in-flight.ts';
import { withMaxInFlight } from './filters/max-in-flight.ts';
import { panicText, recovered, textResponse, withPanicRecovery } from './filters/panic.ts';
import { withPriorityAndFairness } from './filters/priority-and-fairness.ts';
import { withRequestInfo } from './filters/request-info.ts';
import type { Filter, Handler } from './filters/scope.ts';
import { Scope } from './filters/scope.ts';
import type { FlowControl } from './flowcontrol/flow-control.ts';
import type { BrowserHeaders } from './http/browsers.ts';
import type { Serve } from './http/serve.ts';
import type { AccessMetrics } from './metrics/access-metrics.ts';
import type { IncomingRequest, OutgoingResponse } from './request.ts';
import { endGradually, isServedToTheEnd, shuttingDown } from './termination.ts';

/** Told how requests went; the metrics are one. */
export interface RequestObserver {
  started(scope: Scope): void;
  /** `bytes` of the answer where they are known. */
  finished(scope: Scope, status: number, bytes: number): void;
  dropped(scope: Scope): void;
  /** Ended in self-defence: it took too long, or who should answer it cannot. */
  terminated(scope: Scope, code: number, component: 'apiserver' | 'aggregator'): void;
  watchStarted(scope: Scope): void;
  watchEnded(scope: Scope): void;
  /** A request that lasts, other than a watch, begins or ends. */
  lasting(scope: Scope, by: 1 | -1): void;
}

export interface GenericServerOptions {
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  readonly authenticator: Authenticator;
  readonly authorizer: Authorizer;
  readonly encoder: Encoder;
  readonly handler: Handler;
  readonly observer?: RequestObserver;
  readonly onAuthorization?: AuthorizationObserver;
  readonly impersonation?: ImpersonationOptions;
  /** `--shutdown-send-retry-after`: who comes too late is told to come again instead of that this is the end. */
  readonly shutdownSendRetryAfter?: boolean;
  /** Before anything is done for a request whose sender is known: whether the server is there already. */
  readonly untilReady?: Filter;
  /** Around everything that is done for a request once it is known who asks. */
  readonly tracing?: Filter;
  readonly browsers?: BrowserHeaders;
  readonly access?: AccessMetrics;
  readonly audit?: AuditOptions;
  /** Upstream's defaults: 60 s, 400, 200. */
  readonly requestTimeoutMs?: number;
  readonly maxRequestsInFlight?: number;
  readonly maxMutatingRequestsInFlight?: number;
  /** API Priority and Fairness; without it the two limits are kept, and who comes on top is refused. */
  readonly flowControl?: FlowControl;
}

/** Something that lasts and must end when the server does: a watch, an upgraded connection. */
export interface Lasting {
  close(): void;
}

export class GenericServer implements Serve {
  readonly encoder: Encoder;
  readonly clock: Clock;
  readonly inFlight: InFlight = { reading: 0, writing: 0 };
  readonly #random: Random;
  readonly #retryAfter: boolean;
  readonly #browsers: BrowserHeaders | undefined;
  readonly #logger: Logger;
  readonly #chain: Handler;
  readonly #deadlines: Deadlines;
  readonly #observer: RequestObserver | undefined;
  readonly #lasting = new Set<Lasting>();
  /** Watches over the wire: they may end one after the other. */
  readonly #watches = new Set<Lasting>();
  readonly #ended = new WeakMap<WireBody, () => void>();
  #running = 0;
  #closing = false;
  #idle: (() => void) | undefined;

  constructor(options: GenericServerOptions) {
    this.encoder = options.encoder;
    this.clock = options.clock;
    this.#random = options.random;
    this.#retryAfter = options.shutdownSendRetryAfter ?? false;
    this.#browsers = options.browsers;
    this.#logger = options.logger;
    this.#observer = options.observer;
    this.#deadlines = new Deadlines(options.requestTimeoutMs ?? 60_000);
    const observe = options.onAuthorization;
    const audit =
      options.audit === undefined
        ? undefined
        : auditFilters(options.audit, options.clock, (scope, response) => this.encoder.objects(scope, response));
    const onDropped = (scope: Scope): void => this.#observer?.dropped(scope);
    const { access } = options;
    const timed = (name: string, filter: Filter): Filter =>
      access === undefined ? filter : access.timed(name, filter);
    const filters = [
      withRequestInfo(),
      withDeadline(this.#deadlines, (scope) => this.#observer?.terminated(scope, 504, 'apiserver')),
      withAuthentication(options.authenticator, options.logger, audit?.refused, options.access),
      ...(options.untilReady === undefined ? [] : [options.untilReady]),
      ...(options.tracing === undefined ? [] : [options.tracing]),
      ...(audit === undefined ? [] : [timed('audit', audit.filter)]),
      timed(
        options.impersonation?.constrained === true ? 'constrainedimpersonation' : 'impersonation',
        withImpersonation(options.authorizer, observe, options.impersonation),
      ),
      options.flowControl === undefined
        ? withMaxInFlight(
            options.maxRequestsInFlight ?? 400,
            options.maxMutatingRequestsInFlight ?? 200,
            this.inFlight,
            onDropped,
          )
        : timed(
            'priorityandfairness',
            withPriorityAndFairness({
              control: options.flowControl,
              inFlight: this.inFlight,
              requestTimeoutMs: this.#deadlines.limit,
              onDropped,
            }),
          ),
      withAuthorization(options.authorizer, observe, options.access),
      // What a handler refuses is known as a response to every filter around it.
      withPanicRecovery(options.logger),
    ];
    this.#chain = filters.reduceRight<Handler>((next, filter) => filter(next), options.handler);
  }

  scope(request: IncomingRequest): Scope {
    const given = request.headers['audit-id'];
    return new Scope(request, given === undefined || given === '' ? this.#random.uuid() : given.slice(0, 64), ioNow());
  }

  /** Runs the chain. Never rejects. Counts as activity of the cluster until it settles. */
  async run(scope: Scope): Promise<OutgoingResponse> {
    const done = this.#begin(scope);
    if (done === undefined) return shuttingDown(this.#retryAfter);
    let response: OutgoingResponse;
    try {
      response = await this.#chain(scope);
    } catch (error) {
      response = recovered(scope, error, this.#logger);
    }
    this.#end(done);
    return response;
  }

  #begin(scope: Scope): Done | undefined {
    if (this.#closing && !(this.#retryAfter && isServedToTheEnd(scope.request))) return undefined;
    this.#running++;
    this.#observer?.started(scope);
    return this.clock.activity.begin();
  }

  #end(done: Done): void {
    this.#running--;
    if (this.#running === 0) this.#idle?.();
    done();
  }

  handle(request: IncomingRequest): Promise<WireResponse> {
    return this.#browsers === undefined ? this.#handle(request) : this.#handleBrowser(request, this.#browsers);
  }

  async #handleBrowser(request: IncomingRequest, browsers: BrowserHeaders): Promise<WireResponse> {
    const { headers, preflight } = browsers.of(request);
    if (preflight) return { status: 204, headers: { ...headers }, body: { kind: 'none' } };
    const wire = await this.#handle(request);
    for (const name in headers) wire.headers[name] ??= headers[name]!;
    return wire;
  }

  async #handle(request: IncomingRequest): Promise<WireResponse> {
    const scope = this.scope(request);
    let response: OutgoingResponse;
    // As `run`, without a promise around it: this is the way of every request.
    const done = this.#begin(scope);
    if (done === undefined) response = shuttingDown(this.#retryAfter);
    else {
      try {
        response = await this.#chain(scope);
      } catch (error) {
        response = recovered(scope, error, this.#logger);
      }
      this.#end(done);
    }
    let wire: WireResponse;
    try {
      const made = this.encoder.wire(scope, response);
      wire = made instanceof Promise ? await made : made;
    } catch (error) {
      if (response.body.kind === 'watch') response.body.source.close();
      this.#logger.error("apiserver panic'd while encoding", { path: scope.info.path, error });
      response = textResponse(500, panicText);
      wire = await this.encoder.wire(scope, response);
    }
    const body = wire.body;
    switch (body.kind) {
      case 'watch':
        this.#observer?.watchStarted(scope);
        this.#lasts(body, body.watch, this.#watches, () => {
          this.#observer?.watchEnded(scope);
          this.observed(scope, wire.status);
        });
        break;
      case 'stream': {
        const stream = body.stream;
        if (scope.longRunning) this.#observer?.lasting(scope, 1);
        this.#lasts(body, { close: () => stream.destroy() }, this.#lasting, () => {
          if (scope.longRunning) this.#observer?.lasting(scope, -1);
          this.observed(scope, wire.status);
        });
        break;
      }
      case 'bytes':
        this.#observer?.finished(scope, wire.status, body.bytes.length);
        break;
      default:
        this.#observer?.finished(scope, wire.status, 0);
    }
    return wire;
  }

  #lasts(body: WireBody, lasting: Lasting, among: Set<Lasting>, ended: () => void): void {
    among.add(lasting);
    this.#ended.set(body, () => {
      among.delete(lasting);
      ended();
    });
    if (this.#closing) lasting.close();
  }

  /** Remembers something that must end with the server; returns what forgets it. */
  last(lasting: Lasting): () => void {
    this.#lasting.add(lasting);
    return () => void this.#lasting.delete(lasting);
  }

  finished(body: WireBody): void {
    const ended = this.#ended.get(body);
    if (ended === undefined) return;
    this.#ended.delete(body);
    ended();
  }

  /** In-process requests that end after `run` are reported here. */
  observed(scope: Scope, status: number): void {
    this.#completeAudit(scope);
    this.#observer?.finished(scope, status, 0);
  }

  /** A connection that a request had taken over has ended. */
  sessionEnded(scope: Scope): void {
    this.#completeAudit(scope);
  }

  #completeAudit(scope: Scope): void {
    const done = scope.audit?.complete();
    if (done instanceof Promise) void this.clock.activity.track(done);
  }

  get observer(): RequestObserver | undefined {
    return this.#observer;
  }

  get closing(): boolean {
    return this.#closing;
  }

  /**
   * Takes no new requests, ends streams, and waits up to `grace` real milliseconds for what still runs. Watches end one after the
   * other within `watchGrace`, at once where that is nothing.
   */
  async close(grace: number, watchGrace = 0): Promise<void> {
    if (this.#closing) return;
    this.#closing = true;
    for (const lasting of this.#lasting) lasting.close();
    if (watchGrace <= 0) for (const watch of this.#watches) watch.close();
    await Promise.all([this.#drained(grace), watchGrace > 0 ? endGradually(this.#watches, watchGrace) : undefined]);
    for (const watch of this.#watches) watch.close();
    this.#deadlines.close();
  }

  async #drained(grace: number): Promise<void> {
    if (this.#running === 0) return;
    await new Promise<void>((resolve) => {
      const cancel = ioTimer(grace, resolve);
      this.#idle = () => {
        cancel();
        resolve();
      };
    });
  }
}
