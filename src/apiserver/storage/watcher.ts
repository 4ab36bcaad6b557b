/**
 * One watch of a resource: first what exists (if asked for), then the events of the window, then live events. While it
 * catches up it reads the shared window and buffers nothing; live it has a bounded buffer and is ended when it falls behind.
 */
import type { Done } from '../../base/activity.ts';
import type { Clock } from '../../base/clock.ts';
import { Slice } from '../../base/yield.ts';
import type { StatusError } from '../../api/status.ts';
import type { Committed, CommittedEvent, KubeObjectLike, WatchSource } from '../request.ts';
import type { StoredObject } from './codec.ts';
import { tooOldResourceVersion } from './continue.ts';
import type { EventLog, LogEvent } from './event-log.ts';
import type { Selection } from './selection.ts';
import type { View } from './view.ts';

/** Events that may wait for a live watcher, and the bytes of the objects in them. */
const maxBuffered = 8192;
const maxBufferedBytes = 8 << 20;
const batchSize = 500;
/** Each of these is encoded for this watcher alone, and at once. */
const initialBatch = 100;

/** What a watcher needs of its cache. */
export interface WatcherHost {
  readonly clock: Clock;
  readonly log: EventLog;
  /** The revision up to which the cache knows everything. */
  readonly revision: number;
  /** Told how many objects a watch began with. */
  readonly counted: { initial: number; terminated: number };
  /** From now on live events are pushed. */
  join(watcher: Watcher): void;
  leave(watcher: Watcher): void;
  /** The Committed of a bookmark. */
  bookmark(revision: number, initialEventsEnd: boolean): Committed;
}

export interface WatcherOptions {
  readonly selection: Selection;
  /** Sent as ADDED first. */
  readonly initial: View | undefined;
  /** Events up to this revision are not for this watcher. */
  readonly after: number;
  readonly bookmarks: boolean;
  /** A bookmark with the initial-events-end annotation follows the initial events. */
  readonly initialEventsEnd: boolean;
}

export class Watcher implements WatchSource {
  readonly selection: Selection;
  readonly bookmarks: boolean;
  error: KubeObjectLike | undefined;
  readonly #host: WatcherHost;
  #initial: Iterator<StoredObject, void> | undefined;
  #initialEventsEnd: boolean;
  /** Everything up to here was delivered or is in the buffer. */
  #cursor: number;
  #live = false;
  #closed = false;
  #buffer: CommittedEvent[] = [];
  #bufferedBytes = 0;
  /** Who waits for something to take. */
  #wake: (() => void) | undefined;
  #failure: { readonly error: unknown } | undefined;
  #undelivered: Done | undefined;
  #onClose: (() => void)[] = [];
  #onBegun: (() => void)[] = [];

  constructor(host: WatcherHost, options: WatcherOptions) {
    this.#host = host;
    this.selection = options.selection;
    this.bookmarks = options.bookmarks;
    this.#initialEventsEnd = options.initialEventsEnd;
    this.#cursor = options.after;
    const { from, end } = options.selection;
    this.#initial = options.initial?.range(from, end);
  }

  /** Runs when the watch has ended for whatever reason. */
  onClose(fn: () => void): void {
    if (this.#closed) fn();
    else this.#onClose.push(fn);
  }

  onBegun(fn: () => void): void {
    if (this.#live || this.#closed) fn();
    else this.#onBegun.push(fn);
  }

  #begun(): void {
    const waiting = this.#onBegun;
    this.#onBegun = [];
    for (const fn of waiting) fn();
  }

  next(): Promise<readonly CommittedEvent[] | undefined> {
    return new Promise((resolve, reject) => {
      const ready = (): void => {
        try {
          const batch = this.take(ready);
          if (batch !== undefined) resolve(batch ?? undefined);
        } catch (error) {
          reject(error as Error);
        }
      };
      ready();
    });
  }

  take(ready: () => void): readonly CommittedEvent[] | null | undefined {
    if (this.#failure !== undefined) throw this.#failure.error;
    for (;;) {
      if (this.#buffer.length > 0) return this.#takeBuffer();
      if (this.#closed) return null;
      if (this.#initial !== undefined) {
        this.#readInitial().then(ready, (error: unknown) => {
          this.#failure = { error };
          ready();
        });
        return undefined;
      }
      if (!this.#live) {
        this.#catchUp();
        continue;
      }
      this.#wake = ready;
      return undefined;
    }
  }

  #takeBuffer(): readonly CommittedEvent[] {
    const batch = this.#buffer;
    this.#buffer = [];
    this.#bufferedBytes = 0;
    this.#undelivered?.();
    this.#undelivered = undefined;
    return batch;
  }

  async #readInitial(): Promise<void> {
    const slice = new Slice();
    const events: CommittedEvent[] = [];
    const initial = this.#initial!;
    while (events.length < initialBatch && !this.#closed) {
      const next = initial.next();
      if (next.done === true) {
        this.#initial = undefined;
        if (this.#initialEventsEnd) {
          this.#initialEventsEnd = false;
          events.push(this.#bookmark(this.#cursor, true));
        }
        break;
      }
      if (this.selection.matches(next.value)) events.push({ type: 'ADDED', committed: next.value, initial: true });
      if (slice.spent) await slice.turn();
    }
    this.#host.counted.initial += events.length;
    if (!this.#closed) this.#buffer = events;
  }

  #catchUp(): void {
    const { log } = this.#host;
    if (this.#cursor < log.start) {
      this.fail(tooOldResourceVersion(this.#cursor, log.start));
      return;
    }
    const events = log.since(this.#cursor, batchSize)!;
    if (events.length === 0) {
      this.#live = true;
      this.#host.join(this);
      this.#begun();
      return;
    }
    this.#cursor = events[events.length - 1]!.revision;
    for (const event of events) {
      const out = this.#translate(event);
      if (out !== undefined) this.#buffer.push(out);
    }
  }

  /** What an event is to a watcher of a part: things enter and leave its selection. */
  #translate(event: LogEvent): CommittedEvent | undefined {
    if (this.selection.everything) {
      if (event.current === undefined) return event.deleted();
      return event.previous === undefined ? event.added() : event.modified();
    }
    const now = event.current !== undefined && this.selection.includes(event.current);
    const before = event.previous !== undefined && this.selection.includes(event.previous);
    if (now) return before ? event.modified() : event.added();
    return before ? event.deleted() : undefined;
  }

  /** A live event; returns true when the watcher has to be woken after the whole batch. */
  push(event: LogEvent): boolean {
    if (this.#closed || event.revision <= this.#cursor) return false;
    const out = this.#translate(event);
    if (out === undefined) return false;
    this.#buffer.push(out);
    this.#bufferedBytes += (out.committed as StoredObject).bytes.length;
    if (this.#buffer.length > maxBuffered || (this.#bufferedBytes > maxBufferedBytes && this.#buffer.length > 1)) {
      this.#drop();
      return true;
    }
    return this.#buffer.length === 1;
  }

  /** Tells the reader that waits what has come, and counts as undelivered what nobody takes yet. */
  flush(): void {
    if (this.#buffer.length === 0 && !this.#closed) return;
    const wake = this.#wake;
    if (wake !== undefined) {
      this.#wake = undefined;
      wake();
    }
    if (this.#buffer.length > 0) this.#undelivered ??= this.#host.clock.activity.begin();
  }

  /** A bookmark, if this watcher wants one and stands at `revision`. */
  offerBookmark(revision: number): void {
    if (!this.bookmarks || !this.#live || this.#closed || this.#buffer.length > 0) return;
    if (revision < this.#cursor) return;
    this.#buffer.push(this.#bookmark(revision, false));
    this.flush();
  }

  #bookmark(revision: number, initialEventsEnd: boolean): CommittedEvent {
    return {
      type: 'BOOKMARK',
      committed: this.#host.bookmark(revision, initialEventsEnd),
      bookmark: { resourceVersion: String(revision), initialEventsEnd },
    };
  }

  /** Fallen behind: what waits is dropped, the client starts again from what it has. */
  #drop(): void {
    if (!this.#closed) this.#host.counted.terminated++;
    this.#buffer = [];
    this.#bufferedBytes = 0;
    this.#end();
  }

  /** Ends with a Status as last event, after what is buffered. */
  fail(error: StatusError): void {
    if (this.#closed) return;
    this.error = error.toStatus() as unknown as KubeObjectLike;
    this.#end();
  }

  /** Time is over: a last bookmark saves the client a long way when it comes back. */
  expire(): void {
    this.offerBookmark(this.#host.revision);
    this.#end();
  }

  close(): void {
    this.#buffer = [];
    this.#end();
  }

  #end(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#initial = undefined;
    if (this.#live) this.#host.leave(this);
    this.#undelivered?.();
    this.#undelivered = undefined;
    const wake = this.#wake;
    this.#wake = undefined;
    wake?.();
    this.#begun();
    for (const fn of this.#onClose) fn();
    this.#onClose = [];
  }
}
