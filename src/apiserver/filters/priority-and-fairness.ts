/**
 * API Priority and Fairness on the way of a request: it is told its flow and level, runs, waits its turn, or is answered 429.
 * Long-running requests pass, but a watch is held until what there was at its beginning has been handed out.
 */
import { ioNow, ioTimer } from '../../base/io-time.ts';
import type { Flow, FlowControl } from '../flowcontrol/flow-control.ts';
import type { Ticket } from '../flowcontrol/queue-set.ts';
import type { OutgoingResponse } from '../request.ts';
import { requestedTimeout } from './deadline.ts';
import type { InFlight } from './max-in-flight.ts';
import { textResponse } from './panic.ts';
import type { Filter, Handler, Scope } from './scope.ts';

/** The longest wait, in milliseconds. */
const maxWait = 60_000;

export interface PriorityAndFairnessOptions {
  readonly control: FlowControl;
  readonly inFlight: InFlight;
  /** Milliseconds that a request may take: a quarter of it may be spent waiting. */
  readonly requestTimeoutMs: number;
  readonly onDropped: (scope: Scope) => void;
}

export function withPriorityAndFairness(options: PriorityAndFairnessOptions): Filter {
  const { control, inFlight, requestTimeoutMs, onDropped } = options;
  const { metrics } = control;
  const executingReads = metrics.readVsWrite('executing', 'readOnly');
  const executingWrites = metrics.readVsWrite('executing', 'mutating');
  const waitingReads = metrics.readVsWrite('waiting', 'readOnly');
  const waitingWrites = metrics.readVsWrite('waiting', 'mutating');

  const refuse = (scope: Scope, flow: Flow): OutgoingResponse => {
    onDropped(scope);
    const seconds = control.dropped.add(flow.level.name, ioNow());
    return textResponse(429, 'Too many requests, please try again later.', { 'retry-after': String(seconds) });
  };

  /** Resolves true when it is the request's turn; false when it has waited long enough, or the client has gone. */
  const wait = (scope: Scope, ticket: Ticket, flow: Flow, reads: boolean): Promise<boolean> => {
    const waiting = reads ? waitingReads : waitingWrites;
    const asked = scope.longRunning ? undefined : requestedTimeout(scope);
    const timeout = asked !== undefined && asked > 0 && asked < requestTimeoutMs ? asked : requestTimeoutMs;
    const left = Math.min(timeout / 4, maxWait) - (ioNow() - scope.receivedAt);
    const { signal } = scope.request;
    const kind = reads ? 'readOnly' : 'mutating';
    waiting.add(1, ticket.arrivedAt);
    metrics.inQueue[kind]++;
    return new Promise((resolve) => {
      const decide = (executes: boolean): void => {
        cancel();
        signal.removeEventListener('abort', leave);
        const now = ioNow();
        waiting.add(-1, now);
        metrics.inQueue[kind]--;
        flow.metrics.waited(executes).observe((now - ticket.arrivedAt) / 1000);
        scope.waitedMs += now - ticket.arrivedAt;
        resolve(executes);
      };
      const leave = (): void => {
        if (!flow.level.queues.cancel(ticket)) return;
        flow.metrics.rejected('time-out').inc();
        decide(false);
      };
      const cancel = ioTimer(Math.max(0, left), leave);
      ticket.decide = decide;
      signal.addEventListener('abort', leave, { once: true });
      if (signal.aborted) leave();
    });
  };

  return (next) => {
    const done = (scope: Scope, ticket: Ticket, flow: Flow, reads: boolean): void => {
      const now = ioNow();
      if (reads) inFlight.reading--;
      else inFlight.writing--;
      (reads ? executingReads : executingWrites).add(-1, now);
      const type = scope.info.verb === 'watch' ? 'watch' : 'regular';
      flow.metrics.ran(type).observe((now - ticket.startedAt) / 1000);
      flow.level.queues.finish(ticket, now);
    };
    const answered = (
      scope: Scope,
      ticket: Ticket,
      flow: Flow,
      reads: boolean,
      response: OutgoingResponse,
    ): OutgoingResponse => {
      const { body } = response;
      // A watch has its seats until its initial events are out.
      if (body.kind === 'watch') body.source.onBegun(() => done(scope, ticket, flow, reads));
      else done(scope, ticket, flow, reads);
      return response;
    };
    // Without an async function of its own: this is the way of every request.
    const run = (scope: Scope, ticket: Ticket, flow: Flow, reads: boolean): ReturnType<Handler> => {
      if (reads) inFlight.reading++;
      else inFlight.writing++;
      (reads ? executingReads : executingWrites).add(1, ticket.startedAt);
      const failed = (error: unknown): never => {
        done(scope, ticket, flow, reads);
        throw error;
      };
      let answer: ReturnType<Handler>;
      try {
        answer = next(scope);
      } catch (error) {
        return failed(error);
      }
      return answer instanceof Promise
        ? answer.then((response) => answered(scope, ticket, flow, reads, response), failed)
        : answered(scope, ticket, flow, reads, answer);
    };
    const runLater = async (scope: Scope, ticket: Ticket, flow: Flow, reads: boolean): Promise<OutgoingResponse> =>
      (await wait(scope, ticket, flow, reads)) ? run(scope, ticket, flow, reads) : refuse(scope, flow);
    return (scope) => {
      const { info } = scope;
      const { verb } = info;
      if (scope.longRunning && verb !== 'watch') return next(scope);
      const flow = control.classify(scope.user, info);
      scope.flow = flow;
      const ticket = control.begin(scope, flow, ioNow());
      if (ticket === undefined) return refuse(scope, flow);
      const reads = verb === 'get' || verb === 'list' || verb === 'watch';
      if (ticket.state === 'waiting') return runLater(scope, ticket, flow, reads);
      if (!flow.level.exempt) flow.metrics.waited(true).observe(0);
      return run(scope, ticket, flow, reads);
    };
  };
}
