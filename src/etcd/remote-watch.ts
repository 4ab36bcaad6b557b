/**
 * One watch on a real etcd cluster. A broken stream is taken up again after the last revision that was delivered, with
 * bounded back-off, for as long as the watch is open; only what cannot be made up for (a compacted revision) ends it.
 */
import type * as grpc from '@grpc/grpc-js';
import { deferred } from '../base/deferred.ts';
import type { Deferred } from '../base/deferred.ts';
import { ioTimer } from '../base/io-time.ts';
import type { Logger } from '../base/logger.ts';
import { CallMetrics } from './call-metrics.ts';
import { CompactedError } from './store.ts';
import type { StoreEvent, StoreWatch, StoreWatchRequest, StoreWatchSink } from './store.ts';
import { eventDelete, fromEnd, fromKey, toKeyValue, toNumber } from './wire.ts';
import type { EtcdProto, WatchRequestMessage, WatchResponseMessage, WireEvent } from './wire.ts';

/** What a `RemoteWatch` needs of its store. */
export interface RemoteChannel {
  readonly proto: EtcdProto;
  readonly log: Logger;
  readonly calls: CallMetrics;
  /** The connection in use. */
  client(): grpc.Client;
  /** The connection in use is no good: try the next endpoint. */
  rotate(bad: grpc.Client): void;
  /** Milliseconds to wait before the given attempt, with jitter. */
  backoff(attempt: number): number;
  translate(error: unknown): Error;
}

/** How long an answer to a question for progress is waited for before it is asked again: doubled up to the bound. */
const askAgainMs = 100;
const maxAskAgainMs = 1000;

type Stream = grpc.ClientDuplexStream<WatchRequestMessage, WatchResponseMessage>;

export class RemoteWatch implements StoreWatch {
  readonly #channel: RemoteChannel;
  readonly #request: StoreWatchRequest;
  readonly #sink: StoreWatchSink;
  readonly #ended: () => void;
  #stream: Stream | undefined;
  #created = false;
  /** The first revision not delivered; 0 until the server has said what "now" is. */
  #next: number;
  /** Events of a revision whose message has not been completed by its last fragment. */
  #fragments: StoreEvent[] = [];
  #waiting: { revision: number; seen: Deferred<void> }[] = [];
  #progressWanted = 0;
  #attempt = 0;
  #cancelTimer: (() => void) | undefined;
  #cancelAsking: (() => void) | undefined;
  #closed = false;

  constructor(channel: RemoteChannel, request: StoreWatchRequest, sink: StoreWatchSink, ended: () => void) {
    this.#channel = channel;
    this.#request = request;
    this.#sink = sink;
    this.#ended = ended;
    this.#next = request.fromRevision ?? 0;
  }

  start(): void {
    if (this.#closed) return;
    const { proto } = this.#channel;
    const client = this.#channel.client();
    const method = proto.watch.Watch;
    const counted = this.#channel.calls.of(method.path, 'bidi_stream');
    counted.started.inc();
    counted.sent.inc();
    const stream: Stream = client.makeBidiStreamRequest(
      method.path,
      method.requestSerialize,
      method.responseDeserialize,
    );
    this.#stream = stream;
    this.#created = false;
    this.#fragments = [];
    stream.on('data', (response: WatchResponseMessage) => {
      counted.received.inc();
      if (this.#stream === stream) this.#receive(response);
    });
    stream.on('status', (status: { code: number }) =>
      counted.handled(CallMetrics.code(status.code === 0 ? undefined : status)).inc(),
    );
    stream.on('error', (error: Error) => {
      if (this.#stream === stream) this.#broken(client, error);
    });
    stream.on('end', () => {
      if (this.#stream === stream) this.#broken(client, new Error('the watch stream ended'));
    });
    stream.write({
      create_request: {
        key: fromKey(this.#request.key),
        range_end: fromEnd(this.#request.end),
        start_revision: this.#next,
        prev_kv: true,
        progress_notify: true,
        fragment: true,
      },
    });
  }

  #broken(client: grpc.Client, error: Error): void {
    this.#stream = undefined;
    this.#created = false;
    this.#cancelAsking?.();
    this.#cancelAsking = undefined;
    // Nobody waits for a watch that is down.
    this.#release(Infinity);
    if (this.#closed) return;
    this.#channel.log.debug('an etcd watch broke and will be resumed', { attempt: this.#attempt, error });
    this.#channel.rotate(client);
    this.#cancelTimer = ioTimer(this.#channel.backoff(this.#attempt++), () => {
      this.#cancelTimer = undefined;
      this.start();
    });
  }

  #receive(response: WatchResponseMessage): void {
    const revision = toNumber(response.header?.revision);
    if (response.canceled) {
      const compacted = toNumber(response.compact_revision);
      const error =
        compacted > 0
          ? new CompactedError(compacted)
          : new Error(`etcd ended the watch: ${response.cancel_reason || 'no reason given'}`);
      this.#finish();
      this.#tell(() => this.#sink.closed(error));
      return;
    }
    if (response.created) {
      this.#created = true;
      this.#attempt = 0;
      // A watch from now on starts after the revision at which it was made, also when it must be resumed.
      if (this.#next === 0) this.#next = revision + 1;
      if (this.#progressWanted >= this.#next) this.#ask();
      return;
    }
    const events = response.events ?? [];
    for (const event of events) this.#fragments.push(toEvent(event));
    if (response.fragment) return;
    if (this.#fragments.length > 0) {
      const whole = this.#fragments;
      this.#fragments = [];
      const last = whole.at(-1)!.kv.modRevision;
      if (last < this.#next) return;
      // What a resumed stream repeats has been delivered.
      const fresh =
        whole[0]!.kv.modRevision >= this.#next ? whole : whole.filter((e) => e.kv.modRevision >= this.#next);
      this.#next = last + 1;
      this.#tell(() => this.#sink.events(fresh, last));
    } else if (revision >= this.#next) {
      this.#next = revision + 1;
      this.#tell(() => this.#sink.progress(revision));
    }
    this.#release(this.#next - 1);
  }

  #tell(call: () => void): void {
    try {
      call();
    } catch (error) {
      this.#channel.log.error('a watch failed on its events', { error });
      if (this.#closed) return;
      this.#finish();
      this.#sink.closed(error as Error);
    }
  }

  /** A promise of having delivered `revision`, when this watch covers `key`, is up and has not done so yet. */
  seen(key: string, revision: number): Promise<void> | undefined {
    if (!this.#created || this.#stream === undefined || this.#next > revision) return undefined;
    const { key: from, end } = this.#request;
    if (end === undefined ? key !== from : key < from || key >= end) return undefined;
    const seen = deferred();
    this.#waiting.push({ revision, seen });
    return seen.promise;
  }

  #release(revision: number): void {
    if (this.#waiting.length === 0) return;
    this.#waiting = this.#waiting.filter((w) => {
      if (w.revision > revision) return true;
      w.seen.resolve();
      return false;
    });
  }

  /** Asks the server to say how far this watch is, unless it is at `revision` already. */
  askProgress(revision: number): void {
    if (this.#closed || this.#next > revision) return;
    this.#progressWanted = revision;
    if (this.#created) this.#ask();
  }

  /** etcd does not answer while the watch is behind, not even later: until it is where it should be, it is asked again. */
  #ask(waitMs = askAgainMs): void {
    this.#stream?.write({ progress_request: {} });
    this.#cancelAsking?.();
    this.#cancelAsking = ioTimer(waitMs, () => {
      this.#cancelAsking = undefined;
      if (this.#closed || !this.#created || this.#next > this.#progressWanted) return;
      this.#ask(Math.min(waitMs * 2, maxAskAgainMs));
    });
  }

  #finish(): void {
    this.#closed = true;
    this.#cancelTimer?.();
    this.#cancelAsking?.();
    const stream = this.#stream;
    this.#stream = undefined;
    this.#release(Infinity);
    this.#ended();
    stream?.cancel();
  }

  close(): void {
    if (!this.#closed) this.#finish();
  }
}

function toEvent(event: WireEvent): StoreEvent {
  const kv = toKeyValue(event.kv ?? {});
  const previous = event.prev_kv ? toKeyValue(event.prev_kv) : undefined;
  return { type: event.type === eventDelete ? 'delete' : 'put', kv, previous };
}
