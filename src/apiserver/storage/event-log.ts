/**
 * The window of a watch cache: the events of the last minutes in revision order and, every so often, the root of the tree
 * as it was, so that any revision of the window can be listed again. Bounded by age and by the bytes it alone keeps alive.
 */
import type { CommittedEvent } from '../request.ts';
import type { StoredObject } from './codec.ts';
import type { Snapshot, Tree } from './tree.ts';

/** One change of one key. What watchers are sent is made on first demand and shared by all of them. */
export class LogEvent {
  readonly revision: number;
  /** Cluster time at which it was seen, milliseconds. */
  readonly time: number;
  /** The new state; undefined for a deletion. */
  readonly current: StoredObject | undefined;
  /** The state before; undefined when the key is new. */
  readonly previous: StoredObject | undefined;
  #added: CommittedEvent | undefined;
  #modified: CommittedEvent | undefined;
  #deleted: CommittedEvent | undefined;

  constructor(revision: number, time: number, current: StoredObject | undefined, previous: StoredObject | undefined) {
    this.revision = revision;
    this.time = time;
    this.current = current;
    this.previous = previous;
  }

  get key(): string {
    return (this.current ?? this.previous)!.key;
  }

  /** Bytes that nobody else keeps alive. */
  get bytes(): number {
    return eventOverhead + (this.previous?.bytes.length ?? 0);
  }

  added(): CommittedEvent {
    return (this.#added ??= { type: 'ADDED', committed: this.current! });
  }

  modified(): CommittedEvent {
    return (this.#modified ??= { type: 'MODIFIED', committed: this.current! });
  }

  /** The last state, at the revision of this event: deleted, or gone from a watcher's selection. */
  deleted(): CommittedEvent {
    return (this.#deleted ??= { type: 'DELETED', committed: this.previous!.withRevision(this.revision) });
  }
}

/** Rough cost of an event and its share of a checkpoint. */
const eventOverhead = 800;
const checkpointEvery = 128;

interface Checkpoint {
  readonly revision: number;
  readonly snapshot: Snapshot<StoredObject>;
}

export class EventLog {
  readonly #maxBytes: number;
  readonly #maxAgeMs: number;
  #events: LogEvent[] = [];
  #head = 0;
  #bytes = 0;
  #start: number;
  #checkpoints: Checkpoint[];
  #sinceCheckpoint = 0;

  /** `revision` and `snapshot`: the state from which the log starts. */
  constructor(options: { maxBytes: number; maxAgeMs: number; revision: number; snapshot: Snapshot<StoredObject> }) {
    this.#maxBytes = options.maxBytes;
    this.#maxAgeMs = options.maxAgeMs;
    this.#start = options.revision;
    this.#checkpoints = [{ revision: options.revision, snapshot: options.snapshot }];
  }

  /** All events after this revision are here. */
  get start(): number {
    return this.#start;
  }

  get length(): number {
    return this.#events.length - this.#head;
  }

  /** Revision of the newest event (of the start when there is none). */
  get last(): number {
    return this.length === 0 ? this.#start : this.#events[this.#events.length - 1]!.revision;
  }

  append(event: LogEvent, tree: Tree<StoredObject>): void {
    this.#events.push(event);
    this.#bytes += event.bytes;
    if (++this.#sinceCheckpoint >= checkpointEvery) {
      this.#sinceCheckpoint = 0;
      this.#checkpoints.push({ revision: event.revision, snapshot: tree.snapshot() });
    }
    if (this.#bytes > this.#maxBytes) this.trim(event.time);
  }

  /** Drops what is too old or too much; some more at a time than necessary, so that it is not done for each event. */
  trim(now: number): void {
    const oldest = now - this.#maxAgeMs;
    const maxBytes = this.#bytes > this.#maxBytes ? this.#maxBytes * 0.9 : this.#maxBytes;
    let to = this.#head;
    let start = this.#start;
    for (; to < this.#events.length; to++) {
      const event = this.#events[to]!;
      // Events of one revision stay or go together.
      if (event.revision > start && event.time > oldest && this.#bytes <= maxBytes) break;
      this.#bytes -= event.bytes;
      start = event.revision;
    }
    if (to === this.#head) return;
    this.#rebase(start, this.#events.slice(this.#head, to));
    this.#start = start;
    if (to > 1024 || to === this.#events.length) {
      this.#events = this.#events.slice(to);
      this.#head = 0;
    } else this.#head = to;
  }

  /** Makes the first checkpoint the state at `start`, from which the window now begins. */
  #rebase(start: number, dropped: readonly LogEvent[]): void {
    let first = 0;
    while (first + 1 < this.#checkpoints.length && this.#checkpoints[first + 1]!.revision <= start) first++;
    this.#checkpoints.splice(0, first);
    const base = this.#checkpoints[0]!;
    if (base.revision === start) return;
    const tree = base.snapshot.edit();
    for (const event of dropped) if (event.revision > base.revision) apply(tree, event);
    this.#checkpoints[0] = { revision: start, snapshot: tree.snapshot() };
  }

  /** Index, for `at`, of the first event after `revision`. */
  #after(revision: number): number {
    let lo = this.#head;
    let hi = this.#events.length;
    while (lo < hi) {
      const mid = (lo + hi) >>> 1;
      if (this.#events[mid]!.revision <= revision) lo = mid + 1;
      else hi = mid;
    }
    return lo;
  }

  /** Up to `max` events after `revision`, never cutting a revision in two. Undefined when some are gone. */
  since(revision: number, max: number): readonly LogEvent[] | undefined {
    if (revision < this.#start) return undefined;
    const from = this.#after(revision);
    let to = Math.min(from + max, this.#events.length);
    while (to < this.#events.length && to > from && this.#events[to]!.revision === this.#events[to - 1]!.revision) to++;
    return this.#events.slice(from, to);
  }

  /** The state at a revision of the window; undefined when it is gone. */
  snapshotAt(revision: number): Snapshot<StoredObject> | undefined {
    if (revision < this.#start) return undefined;
    let base = this.#checkpoints[0]!;
    for (const c of this.#checkpoints) {
      if (c.revision > revision) break;
      base = c;
    }
    let tree: Tree<StoredObject> | undefined;
    for (let i = this.#after(base.revision); i < this.#events.length; i++) {
      const event = this.#events[i]!;
      if (event.revision > revision) break;
      tree ??= base.snapshot.edit();
      apply(tree, event);
    }
    return tree === undefined ? base.snapshot : tree.snapshot();
  }
}

function apply(tree: Tree<StoredObject>, event: LogEvent): void {
  if (event.current === undefined) tree.delete(event.key);
  else tree.set(event.current);
}
