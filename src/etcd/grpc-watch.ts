/**
 * The Watch service. One stream carries many watches. What a client has not read yet is bounded: beyond it the stream's
 * watches are put down and taken up again, from the revision where they stopped, once the client has caught up.
 */
import type { ServerDuplexStream } from '@grpc/grpc-js';
import { ioTimer } from '../base/io-time.ts';
import type { CallMetrics } from './call-metrics.ts';
import type { ServerContext } from './grpc-context.ts';
import { maxRequestBytes } from './mvcc.ts';
import { CompactedError } from './store.ts';
import type { StoreEvent } from './store.ts';
import type { PlacedWatch } from './watch-hub.ts';
import { eventDelete, eventPut, fromKeyValue, toEnd, toKey, toNumber } from './wire.ts';
import type { EtcdProto, WatchCreateMessage, WatchRequestMessage, WatchResponseMessage, WireEvent } from './wire.ts';

/** Bytes written to one stream and not yet taken by its socket, beyond which its watches pause. */
const maxUnsent = 8 * 1024 * 1024;
/** etcd's `--experimental-watch-progress-notify-interval`. */
const progressIntervalMs = 10 * 60 * 1000;
/** etcd's id for "no watch": errors before there is one, and progress of the whole stream. */
const noWatch = -1;

type Stream = ServerDuplexStream<WatchRequestMessage, WatchResponseMessage>;

interface Watching {
  readonly id: number;
  readonly key: string;
  readonly end: string | undefined;
  readonly noPut: boolean;
  readonly noDelete: boolean;
  readonly previous: boolean;
  readonly fragment: boolean;
  readonly notify: boolean;
  /** The first revision not yet sent. */
  next: number;
  /** Undefined while the stream is paused. */
  watch: PlacedWatch | undefined;
  quiet: boolean;
}

class WatchStream {
  readonly #ctx: ServerContext;
  readonly #proto: EtcdProto;
  readonly #call: Stream;
  readonly #ended: () => void;
  readonly #counted: ReturnType<CallMetrics['of']>;
  readonly #watches = new Map<number, Watching>();
  #nextId = 0;
  #unsent = 0;
  #paused = false;
  #progressWanted = false;
  #closed = false;
  #cancelTimer: (() => void) | undefined;

  constructor(ctx: ServerContext, proto: EtcdProto, call: Stream, ended: () => void) {
    this.#ctx = ctx;
    this.#proto = proto;
    this.#call = call;
    this.#ended = ended;
    const counted = ctx.metrics.calls.of(call.getPath(), 'bidi_stream');
    counted.started.inc();
    this.#counted = counted;
    call.on('data', (request: WatchRequestMessage) => {
      counted.received.inc();
      if (request.create_request) this.#create(request.create_request);
      else if (request.cancel_request) this.#cancel(toNumber(request.cancel_request.watch_id));
      else if (request.progress_request) {
        this.#progressWanted = true;
        this.#answerProgress();
      }
    });
    call.on('end', () => {
      if (!this.#closed) counted.handled('OK').inc();
      this.close();
      call.end();
    });
    call.on('cancelled', () => {
      if (!this.#closed) counted.handled('Canceled').inc();
      this.close();
    });
    call.on('error', (error: Error) => {
      ctx.log.debug('a watch stream ended', { error });
      this.close();
    });
  }

  #send(response: WatchResponseMessage, bytes = 64): void {
    if (this.#closed) return;
    this.#counted.sent.inc();
    this.#unsent += bytes;
    this.#call.write(response, () => {
      this.#unsent -= bytes;
      if (this.#paused && this.#unsent < maxUnsent / 2) this.#resume();
    });
    if (this.#unsent > maxUnsent && !this.#paused) this.#pause();
  }

  #create(request: WatchCreateMessage): void {
    const { mvcc } = this.#ctx;
    const refuse = (reason: string): void =>
      this.#send({
        header: this.#ctx.header(),
        watch_id: noWatch,
        created: true,
        canceled: true,
        cancel_reason: reason,
      });
    const wanted = toNumber(request.watch_id);
    if (wanted !== 0 && this.#watches.has(wanted)) {
      refuse('mvcc: duplicate watch ID provided on the WatchStream');
      return;
    }
    // An empty key means the first possible one.
    const key = toKey(request.key) || '\0';
    const end = toEnd(request.range_end);
    if (end !== undefined && end <= key) {
      refuse('mvcc: watcher range is empty');
      return;
    }
    while (this.#watches.has(this.#nextId)) this.#nextId++;
    const filters = request.filters ?? [];
    const now = mvcc.revision;
    const start = toNumber(request.start_revision);
    const watching: Watching = {
      id: wanted !== 0 ? wanted : this.#nextId++,
      key,
      end,
      noPut: filters.includes(0),
      noDelete: filters.includes(1),
      previous: request.prev_kv === true,
      fragment: request.fragment === true,
      notify: request.progress_notify === true,
      next: start > 0 ? start : now + 1,
      watch: undefined,
      quiet: true,
    };
    this.#watches.set(watching.id, watching);
    this.#send({ header: this.#ctx.header(now), watch_id: watching.id, created: true });
    if (!this.#paused) this.#start(watching);
    if (watching.notify) this.#cancelTimer ??= this.#armProgress();
  }

  #start(watching: Watching): void {
    watching.watch = this.#ctx.mvcc.watch(
      { key: watching.key, end: watching.end, fromRevision: watching.next },
      {
        events: (events, revision) => {
          watching.next = Math.max(watching.next, revision + 1);
          this.#sendEvents(watching, events);
          this.#answerProgress();
        },
        progress: (revision) => {
          watching.next = Math.max(watching.next, revision + 1);
          this.#answerProgress();
        },
        closed: (error) => {
          this.#watches.delete(watching.id);
          const response: WatchResponseMessage = { header: this.#ctx.header(), watch_id: watching.id, canceled: true };
          if (error instanceof CompactedError) response.compact_revision = error.compactRevision;
          else response.cancel_reason = error.message;
          this.#send(response);
          this.#answerProgress();
        },
      },
    );
  }

  #sendEvents(watching: Watching, events: readonly StoreEvent[]): void {
    let part: WireEvent[] = [];
    let bytes = 0;
    const header = this.#ctx.header();
    const flush = (fragment: boolean): void => {
      const response: WatchResponseMessage = { header, watch_id: watching.id, events: part };
      if (fragment) response.fragment = true;
      watching.quiet = false;
      this.#send(response, bytes);
      part = [];
      bytes = 0;
    };
    for (const event of events) {
      if (event.type === 'put' ? watching.noPut : watching.noDelete) continue;
      const wire: WireEvent = { kv: fromKeyValue(event.kv) };
      wire.type = event.type === 'put' ? eventPut : eventDelete;
      const before = watching.previous ? event.previous : undefined;
      if (before) wire.prev_kv = fromKeyValue(before);
      const size = this.#proto.eventBytes(wire);
      if (watching.fragment && part.length > 0 && bytes + size > maxRequestBytes) flush(true);
      part.push(wire);
      bytes += size;
    }
    if (part.length > 0) flush(false);
  }

  /** Answers a request for progress once every watch of the stream has been told all there is. */
  #answerProgress(): void {
    if (!this.#progressWanted || this.#paused) return;
    const revision = this.#ctx.mvcc.progress();
    // The call above may have come back here and answered.
    if (!this.#progressWanted) return;
    for (const w of this.#watches.values()) if (w.next <= revision) return;
    this.#progressWanted = false;
    this.#send({ header: this.#ctx.header(revision), watch_id: noWatch });
  }

  #armProgress(): () => void {
    return ioTimer(progressIntervalMs, () => {
      const revision = this.#ctx.mvcc.progress();
      for (const w of this.#watches.values()) {
        if (w.notify && w.quiet && w.next > revision)
          this.#send({ header: this.#ctx.header(revision), watch_id: w.id });
        w.quiet = true;
      }
      this.#cancelTimer = this.#armProgress();
    });
  }

  #cancel(id: number): void {
    const watching = this.#watches.get(id);
    if (watching === undefined) return;
    this.#watches.delete(id);
    watching.watch?.close();
    this.#send({ header: this.#ctx.header(), watch_id: id, canceled: true });
    this.#answerProgress();
  }

  #pause(): void {
    this.#paused = true;
    for (const w of this.#watches.values()) {
      if (w.watch === undefined) continue;
      w.next = Math.max(w.next, w.watch.told + 1);
      w.watch.close();
      w.watch = undefined;
    }
  }

  #resume(): void {
    this.#paused = false;
    if (this.#closed) return;
    for (const w of this.#watches.values()) if (w.watch === undefined) this.#start(w);
    this.#answerProgress();
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#cancelTimer?.();
    for (const w of this.#watches.values()) w.watch?.close();
    this.#watches.clear();
    this.#ended();
  }
}

/** The handler of etcdserverpb.Watch, and what ends all its streams. */
export function watchHandlers(ctx: ServerContext, proto: EtcdProto): { watch: (call: Stream) => void; close(): void } {
  const streams = new Set<WatchStream>();
  return {
    watch: (call) => {
      const stream: WatchStream = new WatchStream(ctx, proto, call, () => streams.delete(stream));
      streams.add(stream);
    },
    close: () => {
      for (const stream of [...streams]) stream.close();
    },
  };
}
