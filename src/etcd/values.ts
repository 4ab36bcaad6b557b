/** Reading values: from the few recently written ones that are kept, or from the engine, checked against their checksum. */
import type { Engine } from './engine.ts';
import type { Version } from './key-index.ts';
import { CorruptRecordError, readValue, recordKey } from './record.ts';
import type { KeyValue, StoreEvent } from './store.ts';

const noValue: Buffer = Buffer.alloc(0);

export class Values {
  readonly #engine: Engine;
  readonly #cacheBytes: number;
  /** Recently written values, oldest first. */
  #recent: Version[] = [];
  #recentAt = 0;
  #recentBytes = 0;

  constructor(engine: Engine, cacheBytes: number) {
    this.#engine = engine;
    this.#cacheBytes = cacheBytes;
  }

  /** Keeps the values of just flushed versions for a while, as far as the bound allows. */
  remember(versions: readonly Version[]): void {
    if (this.#cacheBytes === 0) {
      for (const v of versions) v.cached = undefined;
      return;
    }
    const recent = this.#recent;
    for (const v of versions) {
      if (v.cached === undefined) continue;
      recent.push(v);
      this.#recentBytes += v.size;
    }
    while (this.#recentBytes > this.#cacheBytes) {
      const v = recent[this.#recentAt]!;
      recent[this.#recentAt++] = undefined as unknown as Version;
      this.#recentBytes -= v.size;
      v.cached = undefined;
    }
    if (this.#recentAt > 1024 && this.#recentAt * 2 > recent.length) {
      this.#recent = recent.slice(this.#recentAt);
      this.#recentAt = 0;
    }
  }

  of(v: Version): Buffer {
    if (v.cached !== undefined) return v.cached;
    const record = this.#engine.get(recordKey(v.modRevision, v.sub));
    if (record === undefined) throw new CorruptRecordError(`revision ${v.modRevision}/${v.sub} is missing`);
    return readValue(record, v.modRevision, v.sub);
  }

  keyValue(v: Version, keysOnly = false): KeyValue {
    return {
      key: v.key,
      value: keysOnly ? noValue : this.of(v),
      createRevision: v.createRevision,
      modRevision: v.modRevision,
      version: v.version,
      lease: v.lease,
    };
  }

  /** A key-value whose value is read when it is first asked for; few who get one want it. */
  lazyKeyValue(v: Version): KeyValue {
    let value: Buffer | undefined = v.cached;
    const read = (): Buffer => this.of(v);
    return {
      key: v.key,
      get value() {
        return (value ??= read());
      },
      createRevision: v.createRevision,
      modRevision: v.modRevision,
      version: v.version,
      lease: v.lease,
    };
  }

  /** The event of writing `v`; `value` undefined for a delete. What was before is read when it is first asked for. */
  event(v: Version, value: Buffer | undefined): StoreEvent {
    return new WrittenEvent(this, v, value);
  }

  /** What was before a write, as long as it is retained. */
  before(older: Version): KeyValue | undefined {
    const known = older.cached !== undefined || this.#engine.get(recordKey(older.modRevision, older.sub)) !== undefined;
    return known ? this.keyValue(older) : undefined;
  }
}

/** An object of a class, since one with a getter of its own takes ten times as long to make. */
class WrittenEvent implements StoreEvent {
  readonly type: 'put' | 'delete';
  readonly kv: KeyValue;
  readonly #values: Values;
  #older: Version | undefined;
  #previous: KeyValue | undefined = undefined;

  constructor(values: Values, v: Version, value: Buffer | undefined) {
    this.type = value === undefined ? 'delete' : 'put';
    this.kv = {
      key: v.key,
      value: value ?? noValue,
      createRevision: v.createRevision,
      modRevision: v.modRevision,
      version: v.version,
      lease: v.lease,
    };
    this.#values = values;
    this.#older = v.older !== undefined && v.older.version !== 0 ? v.older : undefined;
  }

  get previous(): KeyValue | undefined {
    if (this.#older !== undefined) {
      this.#previous = this.#values.before(this.#older);
      this.#older = undefined;
    }
    return this.#previous;
  }
}
