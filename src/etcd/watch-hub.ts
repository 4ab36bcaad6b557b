/**
 * The watches of an embedded store. A watch from now on gets each durable batch as it happens; one from an earlier revision
 * first reads the retained records from the engine, in slices, and joins the others when it has caught up.
 */
import type { Logger } from '../base/logger.ts';
import { Slice } from '../base/yield.ts';
import { CompactedError } from './store.ts';
import type { StoreEvent, StoreWatch, StoreWatchSink } from './store.ts';

/** What the hub needs of the store to replay history. */
export interface History {
  /** The newest revision that may be shown. */
  durableRevision(): number;
  compactRevision(): number;
  /**
   * Hands the events of revisions `from..to` whose key is in `[key, end)` to `visit` in order, stopping after a whole
   * revision when it returns false. Returns the first revision not read.
   */
  replay(from: number, to: number, key: string, end: string, visit: (event: StoreEvent) => boolean): number;
  /** Counts work in flight for a virtual clock. */
  begin(): () => void;
}

/** A watch that knows how far it has come. */
export interface PlacedWatch extends StoreWatch {
  /** Everything up to this revision has been delivered or was not for this watch. */
  readonly told: number;
}

interface Watcher {
  readonly sink: StoreWatchSink;
  readonly key: string;
  /** Exclusive end; undefined for the single key. */
  readonly end: string | undefined;
  /** Events before this revision are not for this watch. */
  readonly from: number;
  /** The revision up to which the watch has been told everything. */
  told: number;
  synced: boolean;
  closed: boolean;
  batch: StoreEvent[] | undefined;
}

/** Events of one slice of a replay, and bytes of their values, at most (but always a whole revision). */
const replayEvents = 1000;
const replayBytes = 1024 * 1024;

const nobody: readonly Watcher[] = [];

export class WatchHub {
  readonly #history: History;
  readonly #log: Logger;
  readonly #all = new Set<Watcher>();
  readonly #single = new Map<string, Set<Watcher>>();
  readonly #ranges = new Set<Watcher>();
  /** The keyspace cut at every start and end of a watched range, and who watches each piece. */
  #cuts: string[] = [];
  #pieces: Watcher[][] = [];
  #stale = false;

  constructor(history: History, log: Logger) {
    this.#history = history;
    this.#log = log;
  }

  get size(): number {
    return this.#all.size;
  }

  /** `from` 0: whatever comes after now. `end` may be `keysEnd`. */
  watch(key: string, end: string | undefined, from: number, sink: StoreWatchSink): PlacedWatch {
    const durable = this.#history.durableRevision();
    const start = from === 0 ? durable + 1 : from;
    const watcher: Watcher = {
      sink,
      key,
      end,
      from: start,
      told: Math.min(start - 1, durable),
      synced: false,
      closed: false,
      batch: undefined,
    };
    this.#all.add(watcher);
    if (start > durable) this.#join(watcher);
    else void this.#catchUp(watcher, start);
    const history = this.#history;
    return {
      get told() {
        // A synced watch has been told everything that is durable, unless its share of this very batch is still to come.
        return watcher.synced && watcher.batch === undefined
          ? Math.max(watcher.told, history.durableRevision())
          : watcher.told;
      },
      close: () => this.#remove(watcher),
    };
  }

  #join(watcher: Watcher): void {
    watcher.synced = true;
    if (watcher.end === undefined) {
      const same = this.#single.get(watcher.key);
      if (same) same.add(watcher);
      else this.#single.set(watcher.key, new Set([watcher]));
    } else {
      this.#ranges.add(watcher);
      this.#stale = true;
    }
  }

  #remove(watcher: Watcher): void {
    if (watcher.closed) return;
    watcher.closed = true;
    watcher.batch = undefined;
    this.#all.delete(watcher);
    if (!watcher.synced) return;
    if (watcher.end === undefined) {
      const same = this.#single.get(watcher.key)!;
      same.delete(watcher);
      if (same.size === 0) this.#single.delete(watcher.key);
    } else {
      this.#ranges.delete(watcher);
      this.#stale = true;
    }
  }

  #end(watcher: Watcher, error: Error): void {
    if (watcher.closed) return;
    this.#remove(watcher);
    try {
      watcher.sink.closed(error);
    } catch (thrown) {
      this.#log.error('a watch failed on its end', { error: thrown });
    }
  }

  async #catchUp(watcher: Watcher, start: number): Promise<void> {
    const done = this.#history.begin();
    try {
      const slice = new Slice();
      const end = watcher.end ?? `${watcher.key}\0`;
      let next = start;
      // The caller has its handle before the first call of its sink.
      await Promise.resolve();
      while (!watcher.closed) {
        const compacted = this.#history.compactRevision();
        if (next < compacted) {
          this.#end(watcher, new CompactedError(compacted));
          return;
        }
        const durable = this.#history.durableRevision();
        if (next > durable) {
          this.#join(watcher);
          if (watcher.told < durable) {
            watcher.told = durable;
            this.#tell(watcher, () => watcher.sink.progress(durable));
          }
          return;
        }
        const events: StoreEvent[] = [];
        let bytes = 0;
        next = this.#history.replay(next, durable, watcher.key, end, (event) => {
          events.push(event);
          bytes += event.kv.value.length;
          return events.length < replayEvents && bytes < replayBytes && !((events.length & 31) === 0 && slice.spent);
        });
        if (events.length > 0) {
          watcher.told = next - 1;
          this.#tell(watcher, () => watcher.sink.events(events, next - 1));
        }
        await slice.turn();
      }
    } catch (error) {
      this.#end(watcher, error as Error);
    } finally {
      done();
    }
  }

  #tell(watcher: Watcher, call: () => void): void {
    try {
      call();
    } catch (error) {
      this.#log.error('a watch failed on its events', { error });
      this.#end(watcher, error as Error);
    }
  }

  /** Hands the events of a durable batch to whoever watches them. */
  dispatch(events: readonly StoreEvent[], revision: number): void {
    if (this.#single.size === 0 && this.#ranges.size === 0) return;
    if (this.#stale) this.#cut();
    const touched: Watcher[] = [];
    for (const event of events) {
      const key = event.kv.key;
      for (const w of this.#watching(key)) add(w, event, touched);
      const single = this.#single.get(key);
      if (single) for (const w of single) add(w, event, touched);
    }
    for (const watcher of touched) {
      const batch = watcher.batch;
      watcher.batch = undefined;
      if (watcher.closed || batch === undefined) continue;
      watcher.told = revision;
      this.#tell(watcher, () => watcher.sink.events(batch, revision));
    }
  }

  #watching(key: string): readonly Watcher[] {
    let lo = 0;
    let hi = this.#cuts.length;
    while (lo < hi) {
      const mid = (lo + hi) >>> 1;
      if (this.#cuts[mid]! <= key) lo = mid + 1;
      else hi = mid;
    }
    return lo === 0 ? nobody : this.#pieces[lo - 1]!;
  }

  #cut(): void {
    const cuts = new Set<string>();
    for (const w of this.#ranges) {
      cuts.add(w.key);
      cuts.add(w.end!);
    }
    this.#cuts = [...cuts].sort((a, b) => (a < b ? -1 : a > b ? 1 : 0));
    this.#pieces = this.#cuts.map(() => []);
    const place = new Map(this.#cuts.map((cut, i) => [cut, i]));
    for (const w of this.#ranges) {
      for (let i = place.get(w.key)!; i < place.get(w.end!)!; i++) this.#pieces[i]!.push(w);
    }
    this.#stale = false;
  }

  /** Tells every synced watch that lags behind `revision` that nothing has happened to it. */
  progress(revision: number): void {
    for (const watcher of this.#all) {
      if (!watcher.synced || watcher.told >= revision) continue;
      watcher.told = revision;
      this.#tell(watcher, () => watcher.sink.progress(revision));
    }
  }

  /** Ends all watches. */
  close(error: Error): void {
    for (const watcher of [...this.#all]) this.#end(watcher, error);
  }
}

function add(watcher: Watcher, event: StoreEvent, touched: Watcher[]): void {
  if (event.kv.modRevision < watcher.from) return;
  if (watcher.batch === undefined) {
    watcher.batch = [];
    touched.push(watcher);
  }
  watcher.batch.push(event);
}
