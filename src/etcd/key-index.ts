/**
 * The keyspace in memory: for every key its retained versions, newest first, without their values, and the order of the
 * keys. It also remembers in which order versions become droppable, so that compaction touches nothing else.
 */
import { OrderedKeys } from './ordered-keys.ts';

/** Greater than every key: the end of a range that is open above. */
export const keysEnd = '\u0100';

/** Bookkeeping a superseded version costs beside its record, for the bound on history. */
const versionOverhead = 160;

/** One version of one key. A tombstone has version and createRevision 0. */
export class Version {
  readonly key: string;
  readonly modRevision: number;
  /** Which change of its revision this is. */
  readonly sub: number;
  readonly createRevision: number;
  readonly version: number;
  readonly lease: string | undefined;
  /** Bytes of its record. */
  readonly size: number;
  older: Version | undefined;
  /** The value while it is pending or among the recent ones; otherwise only the engine has it. */
  cached: Buffer | undefined;

  constructor(
    key: string,
    modRevision: number,
    sub: number,
    createRevision: number,
    version: number,
    lease: string | undefined,
    size: number,
    older: Version | undefined,
    cached: Buffer | undefined,
  ) {
    this.key = key;
    this.modRevision = modRevision;
    this.sub = sub;
    this.createRevision = createRevision;
    this.version = version;
    this.lease = lease;
    this.size = size;
    this.older = older;
    this.cached = cached;
  }

  get deleted(): boolean {
    return this.version === 0;
  }
}

/** A version that compaction may drop: once the superseding one (for a tombstone, its successor revision) is compacted. */
interface Garbage {
  readonly version: Version;
  readonly by: Version | undefined;
}

export class KeyIndex {
  readonly #heads = new Map<string, Version>();
  readonly #keys = new OrderedKeys();
  #garbage: Garbage[] = [];
  #garbageAt = 0;
  #garbageBytes = 0;

  /** Keys, counting those whose newest version is a retained tombstone. */
  get size(): number {
    return this.#heads.size;
  }

  /** Bytes of records that compaction could drop. */
  get garbageBytes(): number {
    return this.#garbageBytes;
  }

  /** The newest version of `key`, pending or not; may be a tombstone. */
  head(key: string): Version | undefined {
    return this.#heads.get(key);
  }

  /** The version of `key` at `revision`, undefined when there was none. */
  at(key: string, revision: number): Version | undefined {
    let v = this.#heads.get(key);
    while (v !== undefined && v.modRevision > revision) v = v.older;
    return v === undefined || v.version === 0 ? undefined : v;
  }

  /** The version that came before `revision`, when it is retained and no tombstone. */
  before(key: string, revision: number): Version | undefined {
    return this.at(key, revision - 1);
  }

  /** Makes `v` the newest of its key; `v.older` must be the head until now. */
  push(v: Version): void {
    const older = v.older;
    if (older === undefined) this.#keys.insert(v.key);
    else this.#discardable({ version: older, by: v });
    this.#heads.set(v.key, v);
    if (v.version === 0) this.#discardable({ version: v, by: undefined });
  }

  #discardable(g: Garbage): void {
    this.#garbage.push(g);
    this.#garbageBytes += g.version.size + versionOverhead;
  }

  /**
   * Loads a version in order of revision while a store is opened; `order` must follow. Returns the versions that a
   * compaction at `compactRevision` has already dropped in principle.
   */
  restore(v: Version): void {
    if (v.older !== undefined) this.#discardable({ version: v.older, by: v });
    this.#heads.set(v.key, v);
    if (v.version === 0) this.#discardable({ version: v, by: undefined });
  }

  /** Sorts what was restored. */
  order(): void {
    this.#keys.load([...this.#heads.keys()]);
  }

  /** Calls `visit` with the newest version of each key in `from <= key < to`; see `OrderedKeys.walk`. */
  walk(from: string, to: string, visit: (head: Version) => boolean | void): string | undefined {
    return this.#keys.walk(from, to, (key) => visit(this.#heads.get(key)!));
  }

  /** The first revision to compact to that would bring garbage down to `bytes`; undefined when it is below already. */
  revisionFor(bytes: number): number | undefined {
    let left = this.#garbageBytes;
    let revision: number | undefined;
    for (let i = this.#garbageAt; i < this.#garbage.length && left > bytes; i++) {
      const g = this.#garbage[i]!;
      left -= g.version.size + versionOverhead;
      revision = dueAt(g);
    }
    return revision;
  }

  /** True when a compaction to `revision` would drop something. */
  droppable(revision: number): boolean {
    const g = this.#garbage[this.#garbageAt];
    return g !== undefined && dueAt(g) <= revision;
  }

  /** Drops up to `limit` versions that a compaction to `revision` makes unreachable; tells each dropped one. */
  drop(revision: number, limit: number, dropped: (version: Version) => void): number {
    let n = 0;
    while (n < limit) {
      const g = this.#garbage[this.#garbageAt];
      if (g === undefined || dueAt(g) > revision) break;
      this.#garbage[this.#garbageAt++] = undefined as unknown as Garbage;
      this.#garbageBytes -= g.version.size + versionOverhead;
      n++;
      const v = g.version;
      if (g.by !== undefined) {
        g.by.older = undefined;
        // A tombstone is queued twice: as itself, and when the key came back; the first of the two removed the record.
        if (v.version !== 0) dropped(v);
      } else {
        dropped(v);
        if (this.#heads.get(v.key) === v) {
          this.#heads.delete(v.key);
          this.#keys.delete(v.key);
        }
      }
      v.cached = undefined;
    }
    if (this.#garbageAt > 1024 && this.#garbageAt * 2 > this.#garbage.length) {
      this.#garbage = this.#garbage.slice(this.#garbageAt);
      this.#garbageAt = 0;
    }
    return n;
  }
}

function dueAt(g: Garbage): number {
  return g.by === undefined ? g.version.modRevision + 1 : g.by.modRevision;
}
