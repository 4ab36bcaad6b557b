/**
 * `PacedTransport`: requests to an API server in this process, begun only while the event loop's present turn has time left.
 * Without it the continuations of one flush begin hundreds of requests in one turn. Leases go first, as upstream's priority
 * levels for them do: their delay is taken for the death of a node or leader. Events, which only tell what was done, go last.
 */
import type { Readable } from 'node:stream';
import type { Activity } from '../base/activity.ts';
import type { Urgency } from '../base/yield.ts';
import { crowded, nextTurn, turnSpent } from '../base/yield.ts';
import type { ApiRequest, ApiResponse, MessageChannel, Transport, WatchStream } from './transport.ts';

function urgencyOf(request: ApiRequest): Urgency {
  if (request.path.startsWith('/apis/coordination.k8s.io/')) return 'first';
  return request.method === 'POST' && request.path.endsWith('/events') ? 'last' : 'normal';
}

export class PacedTransport implements Transport {
  readonly #inner: Transport;
  readonly #activity: Activity;

  constructor(inner: Transport, activity: Activity) {
    this.#inner = inner;
    this.#activity = activity;
  }

  get retriesAfter(): boolean {
    return this.#inner.retriesAfter === true;
  }

  request(request: ApiRequest): Promise<ApiResponse> {
    const urgency = urgencyOf(request);
    return turnSpent() || (urgency === 'last' && crowded())
      ? this.#later(request, urgency)
      : this.#inner.request(request);
  }

  async #later(request: ApiRequest, urgency: Urgency): Promise<ApiResponse> {
    const done = this.#activity.begin();
    try {
      await nextTurn(urgency);
      return await this.#inner.request(request);
    } finally {
      done();
    }
  }

  watch<T = unknown>(request: ApiRequest): Promise<WatchStream<T>> {
    return this.#inner.watch<T>(request);
  }

  stream(request: ApiRequest): Promise<Readable> {
    return this.#inner.stream(request);
  }

  connect(request: ApiRequest, protocols: readonly string[]): Promise<MessageChannel> {
    return this.#inner.connect(request, protocols);
  }

  close(): Promise<void> {
    return this.#inner.close();
  }
}
