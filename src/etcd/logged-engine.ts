/**
 * The engine on disk: a write-ahead log before LMDB. A flush is durable when its record is in the log; LMDB follows in few large
 * transactions, each of which notes how far in the log it has come. What LMDB has not got yet is kept in memory and read from
 * there. Flushes too large for the log go to LMDB at once, together with all that came before them.
 */
import { join } from 'node:path';
import { ioTimer } from '../base/io-time.ts';
import type { Logger } from '../base/logger.ts';
import type { Random } from '../base/random.ts';
import type { Engine, EngineOp } from './engine.ts';
import { LmdbEngine } from './lmdb-engine.ts';
import { metaKey, metaOp, readMeta } from './record.ts';
import { type LogPlace, WriteAheadLog, loggedBytes, readLog } from './write-ahead-log.ts';

/** The file that the log is in, inside the data directory. */
export const logFileName = 'store.wal';

const logBytes = 4 * 1024 * 1024;
/** What is larger is not written twice. */
const largestLogged = 512 * 1024;
/** LMDB follows when it is so far behind: in bytes, changes, time. */
const behindBytes = 256 * 1024;
const behindChanges = 512;

const markName = 'log';

export interface LoggedEngineOptions {
  readonly random: Random;
  readonly logger: Logger;
  /** How long LMDB may be behind, and how long a store writes to LMDB alone after its first flush. Default one second. */
  readonly delayMs?: number;
}

function nameOf(key: Uint8Array): string {
  return Buffer.from(key.buffer, key.byteOffset, key.byteLength).toString('latin1');
}

/** Changes by their keys. Most are never asked for here, so that they are entered when somebody asks for any. */
class Recent {
  readonly #ops: readonly EngineOp[];
  readonly #byName = new Map<string, EngineOp>();
  #entered = 0;

  /** `ops` may grow at its end. */
  constructor(ops: readonly EngineOp[]) {
    this.#ops = ops;
  }

  get size(): number {
    return this.#ops.length;
  }

  byName(): ReadonlyMap<string, EngineOp> {
    const ops = this.#ops;
    for (; this.#entered < ops.length; this.#entered++) {
      const op = ops[this.#entered]!;
      this.#byName.set(nameOf(op.key), op);
    }
    return this.#byName;
  }
}

/** Puts what a crash has left in the log into the database. */
async function replay(base: LmdbEngine, file: string): Promise<void> {
  const noted = base.get(metaKey(markName));
  if (noted === undefined) return;
  const { id, sequence, at } = readMeta(markName, noted);
  const ops = readLog(file, { id: String(id), sequence: Number(sequence), at: Number(at) });
  base.applyBatch(ops);
  base.applyBatch([{ key: metaKey(markName), value: undefined }]);
  await base.durable();
}

/** Opens or creates the store in `dir`. Rejects with `DataDirInUseError` when another store holds it. */
export async function openLoggedEngine(dir: string, options: LoggedEngineOptions): Promise<Engine> {
  const base = new LmdbEngine(dir);
  const file = join(dir, logFileName);
  try {
    await replay(base, file);
  } catch (error) {
    await base.close();
    throw error;
  }
  return new LoggedEngine(base, file, options);
}

class LoggedEngine implements Engine {
  readonly #base: LmdbEngine;
  readonly #file: string;
  readonly #random: Random;
  readonly #logger: Logger;
  readonly #delayMs: number;
  /** The log, once it can be written to; it counts from when LMDB has noted that it is in use. */
  #log: WriteAheadLog | undefined;
  #noted = false;
  /** Behind everything that is remembered here. */
  #place: LogPlace | undefined;
  #cancelMake: (() => void) | undefined;
  #making: Promise<void> | undefined;
  #queued: EngineOp[] = [];
  /** Whoever wants what is queued is alone. */
  #alone = false;
  /** The flush that is being written; the next one waits for it. */
  #flushing: Promise<void> = Promise.resolve();
  #next: Promise<void> | undefined;
  /** In the log and not in LMDB, in order; and what of it LMDB has been given and has not written yet. */
  #behind: EngineOp[] = [];
  #behindBytes = 0;
  #recent = new Recent(this.#behind);
  #given = new Recent([]);
  #following: Promise<void> | undefined;
  #cancelTimer: (() => void) | undefined;
  #failure: Error | undefined;
  #closed = false;

  constructor(base: LmdbEngine, file: string, options: LoggedEngineOptions) {
    this.#base = base;
    this.#file = file;
    this.#random = options.random;
    this.#logger = options.logger;
    this.#delayMs = options.delayMs ?? 1000;
  }

  applyBatch(ops: readonly EngineOp[]): void {
    this.#check();
    const queued = this.#queued;
    for (let i = 0; i < ops.length; i++) queued.push(ops[i]!);
  }

  durable(alone = false): Promise<void> {
    if (this.#failure) return Promise.reject(this.#failure);
    if (this.#queued.length === 0) return this.#next ?? this.#flushing;
    this.#alone = alone && this.#next === undefined;
    this.#next ??= this.#flushing.then(() => this.#flush());
    return this.#next;
  }

  async #flush(): Promise<void> {
    const ops = this.#queued;
    this.#queued = [];
    this.#flushing = this.#next!;
    this.#next = undefined;
    if (this.#failure) throw this.#failure;
    try {
      const bytes = loggedBytes(ops);
      const logged = this.#noted && bytes <= largestLogged ? this.#log!.append(ops, bytes, this.#alone) : undefined;
      if (logged === undefined) {
        while (this.#following !== undefined) await this.#following;
        await this.#follow(ops);
        this.#cancelMake ??= ioTimer(this.#delayMs, () => void (this.#making = this.#make()));
      } else {
        await logged;
        this.#remember(ops, bytes);
      }
    } catch (error) {
      throw this.#fail(error as Error);
    }
  }

  /** Nobody waits for it, and a start has better things to do. */
  async #make(): Promise<void> {
    try {
      this.#log = await WriteAheadLog.open(this.#file, logBytes, this.#random.bytes(8));
      this.#place = this.#log.place;
    } catch (error) {
      this.#logger.warn('there is no write-ahead log: each write waits for the database', { file: this.#file, error });
    }
  }

  #remember(ops: readonly EngineOp[], bytes: number): void {
    const behind = this.#behind;
    for (let i = 0; i < ops.length; i++) behind.push(ops[i]!);
    this.#behindBytes += bytes;
    this.#place = this.#log!.place;
    this.#fallBehind();
  }

  #fallBehind(): void {
    if (this.#behind.length === 0) return;
    if (this.#behindBytes >= behindBytes || this.#behind.length >= behindChanges) this.#catchUp();
    else this.#cancelTimer ??= ioTimer(this.#delayMs, () => this.#catchUp());
  }

  /** What it does not get to now it does when it is done with what it has. */
  #catchUp(): void {
    this.#cancelTimer?.();
    this.#cancelTimer = undefined;
    if (this.#following !== undefined || this.#closed || this.#failure) return;
    this.#follow([]).then(
      () => this.#fallBehind(),
      (error: unknown) => void this.#fail(error as Error),
    );
  }

  /** Gives LMDB everything that it has not got, and `more`; resolves when that is durable there. One at a time. */
  #follow(more: readonly EngineOp[], last = false): Promise<void> {
    this.#following = this.#give(more, last).finally(() => (this.#following = undefined));
    return this.#following;
  }

  async #give(more: readonly EngineOp[], last: boolean): Promise<void> {
    const place = this.#place;
    const given = this.#behind;
    this.#given = this.#recent;
    this.#behind = [];
    this.#recent = new Recent(this.#behind);
    this.#behindBytes = 0;
    this.#base.applyBatch(given);
    this.#base.applyBatch(more);
    if (place !== undefined) this.#base.applyBatch([mark(last ? undefined : place)]);
    await this.#base.durable();
    this.#given = new Recent([]);
    if (place === undefined) return;
    this.#log!.release(place);
    this.#noted = !last;
  }

  /** For good: what the disk holds is unknown. */
  #fail(error: Error): Error {
    this.#failure ??= error;
    return this.#failure;
  }

  #check(): void {
    if (this.#failure) throw this.#failure;
    if (this.#closed) throw new Error(`the store ${this.#file} is closed`);
  }

  get(key: Uint8Array): Uint8Array | undefined {
    if (this.#recent.size > 0 || this.#given.size > 0) {
      const name = nameOf(key);
      const op = this.#recent.byName().get(name) ?? this.#given.byName().get(name);
      if (op !== undefined) return op.value;
    }
    return this.#base.get(key);
  }

  scan(from: Uint8Array, to: Uint8Array, visit: (key: Uint8Array, value: Uint8Array) => boolean | void): void {
    const newer = this.#newer(nameOf(from), nameOf(to));
    if (newer.length === 0) {
      this.#base.scan(from, to, visit);
      return;
    }
    let i = 0;
    let stopped = false;
    /** Visits what is newer up to `key`; true when `key` itself is among it. */
    const visitUpTo = (key: Uint8Array | undefined): boolean => {
      for (; i < newer.length && !stopped; i++) {
        const op = newer[i]!;
        const order = key === undefined ? -1 : Buffer.compare(op.key, key);
        if (order > 0) return false;
        if (op.value !== undefined) stopped = visit(op.key, op.value) === false;
        if (order < 0) continue;
        i++;
        return true;
      }
      return false;
    };
    this.#base.scan(from, to, (key, value) => {
      const known = visitUpTo(key);
      if (!stopped && !known) stopped = visit(key, value) === false;
      return !stopped;
    });
    visitUpTo(undefined);
  }

  /** What LMDB may not have of a range, in order of the keys. */
  #newer(from: string, to: string): EngineOp[] {
    const found = new Map<string, EngineOp>();
    for (const ops of [this.#given, this.#recent])
      for (const [name, op] of ops.byName()) if (name >= from && name < to) found.set(name, op);
    return [...found].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, op]) => op);
  }

  size(): number {
    return this.#base.size();
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    const last = this.durable();
    this.#closed = true;
    this.#cancelTimer?.();
    this.#cancelMake?.();
    try {
      await last;
      await this.#making;
      while (this.#following !== undefined) await this.#following;
      // LMDB has all of it then, and the log counts no more.
      if (this.#noted) await this.#follow([], true);
    } catch {
      // A failed flush has been told to everybody who waited for it; closing still has to let go of the files.
    }
    await this.#log?.close();
    await this.#base.close();
  }
}

/** What LMDB notes of the log; without a place, that it has none. */
function mark(place: LogPlace | undefined): EngineOp {
  return place === undefined ? { key: metaKey(markName), value: undefined } : metaOp(markName, { ...place });
}
