/**
 * The database on disk: LMDB through npm `lmdb`. All that was applied since the last flush goes into one LMDB transaction,
 * written by a worker thread, and counts as durable when LMDB has synced data and meta page. LMDB's overlapping sync is off:
 * it makes a commit visible before it is stable, and tells a lost page cache only by the machine's boot id.
 */
import { closeSync, existsSync, fstatSync, openSync, readSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { open } from 'lmdb';
import type { RootDatabase, RootDatabaseOptionsWithPath } from 'lmdb';
import { makeDirectory } from '../base/directories.ts';
import { DataDirInUseError, lockDirectory } from './dir-lock.ts';
import type { Engine, EngineOp } from './engine.ts';

/** The file that holds everything, inside the data directory. */
export const lmdbFileName = 'store.mdb';

const appending = { append: true };
/** A key that no record has. */
const nowhere = Buffer.from([0]);

function ignore(): void {}

/** Options of lmdb that its types leave out. */
interface OpenOptions extends RootDatabaseOptionsWithPath {
  /** Hands scans the bytes in place instead of a copy a record. */
  decoder?: { decode(bytes: Uint8Array, length: number): Uint8Array };
  decoderCopies?: boolean;
  /** Operations after which a transaction begins at once. */
  txnStartThreshold?: number;
}

/** Where LMDB's meta pages hold their magic number, and the first of them the page size. */
const magicAt = 24;
const pageSizeAt = 48;
const magic = 0xbeefc0de;
/** The first transaction of a store does not write more than this. */
const firstBytes = 1024 * 1024;

/**
 * True when a crash has stopped the file's creation: LMDB writes both meta pages and syncs them with its first transaction,
 * so that a file which lacks one of them has never held anything. LMDB itself would read on and fault.
 */
function unfinished(file: string): boolean {
  if (!existsSync(file)) return false;
  const fd = openSync(file, 'r');
  try {
    const size = fstatSync(fd).size;
    if (size === 0) return false;
    const head = Buffer.alloc(64);
    const blank = (at: number): boolean => {
      readSync(fd, head.fill(0), 0, head.length, at);
      if (head.readUInt32LE(magicAt) === magic) return false;
      if (size > firstBytes || head.some((b, i) => i > 8 && b !== 0)) throw new Error('it is not a store, or damaged');
      return true;
    };
    return blank(0) || blank(head.readUInt32LE(pageSizeAt));
  } finally {
    closeSync(fd);
  }
}

export class LmdbEngine implements Engine {
  readonly #db: RootDatabase<Uint8Array, Uint8Array>;
  readonly #file: string;
  readonly #unlock: () => void;
  #queued: EngineOp[] = [];
  /** The flush that is being written; the next one waits for it. */
  #flushing: Promise<void> = Promise.resolve();
  #next: Promise<void> | undefined;
  #failure: Error | undefined;
  #closed = false;
  /** The greatest key in the database, so that records in ascending order can be appended to full pages. */
  #greatest: Uint8Array;

  /** Opens or creates the store in `dir`. Throws `DataDirInUseError` when another store holds it. */
  constructor(dir: string) {
    try {
      makeDirectory(dir, 0o700);
      this.#unlock = lockDirectory(dir);
    } catch (error) {
      if (error instanceof DataDirInUseError) throw error;
      throw new Error(`cannot use the data directory ${dir}: ${(error as Error).message}`, { cause: error });
    }
    this.#file = join(dir, lmdbFileName);
    const options: OpenOptions = {
      path: this.#file,
      noSubdir: true,
      keyEncoding: 'binary',
      encoding: 'binary',
      overlappingSync: false,
      eventTurnBatching: false,
      txnStartThreshold: 1,
      noMemInit: true,
      cache: false,
      maxDbs: 1,
      maxReaders: 16,
      decoder: { decode: (bytes, length) => bytes.subarray(0, length) },
      decoderCopies: true,
    };
    try {
      if (unfinished(this.#file)) rmSync(this.#file);
      this.#db = open<Uint8Array, Uint8Array>(options);
      this.#greatest = new Uint8Array(0);
      for (const key of this.#db.getKeys({ reverse: true, limit: 1 })) this.#greatest = key;
    } catch (error) {
      this.#unlock();
      throw new Error(`cannot open the store ${this.#file}: ${(error as Error).message}`, { cause: error });
    }
  }

  applyBatch(ops: readonly EngineOp[]): void {
    this.#check();
    const queued = this.#queued;
    for (let i = 0; i < ops.length; i++) queued.push(ops[i]!);
  }

  durable(): Promise<void> {
    if (this.#failure) return Promise.reject(this.#failure);
    if (this.#queued.length === 0) return this.#next ?? this.#flushing;
    this.#next ??= this.#flushing.then(() => this.#flush());
    return this.#next;
  }

  async #flush(): Promise<void> {
    const ops = this.#queued;
    this.#queued = [];
    this.#flushing = this.#next!;
    this.#next = undefined;
    const db = this.#db;
    // The declared `put` lacks the options that the function takes.
    const append = (key: Uint8Array, value: Uint8Array): Promise<boolean> =>
      (db.put as (key: Uint8Array, value: Uint8Array, options: object) => Promise<boolean>).call(
        db,
        key,
        value,
        appending,
      );
    let greatest = this.#greatest;
    try {
      const written = db.batch(() => {
        for (const { key, value } of ops) {
          if (value === undefined) {
            void db.remove(key);
          } else if (Buffer.compare(key, greatest) > 0) {
            greatest = key;
            // An appending put has a promise of its own, which fails together with the batch's.
            append(key, value).catch(ignore);
          } else {
            void db.put(key, value);
          }
        }
      });
      // Another operation makes lmdb hand over at once what it would hand over in the next turn of the event loop. This one
      // finds nothing and writes nothing.
      db.remove(nowhere).catch(ignore);
      await written;
      // What is read from now on is what has been written.
      db.resetReadTxn();
      this.#greatest = greatest;
    } catch (error) {
      let cause = error;
      const inner = (error as { commitError?: Promise<never> }).commitError;
      if (inner) {
        try {
          await inner;
        } catch (reason) {
          cause = reason;
        }
      }
      this.#failure = new Error(`the store ${this.#file} failed to write: ${(cause as Error).message}`, { cause });
      throw this.#failure;
    }
  }

  #check(): void {
    if (this.#failure) throw this.#failure;
    if (this.#closed) throw new Error(`the store ${this.#file} is closed`);
  }

  get(key: Uint8Array): Uint8Array | undefined {
    if (this.#closed) throw new Error(`the store ${this.#file} is closed`);
    // lmdb ends its shared read transaction in the next turn of the event loop by itself.
    const shared = this.#db.getBinaryFast(key);
    if (shared === undefined) return undefined;
    // lmdb sets the length of its shared buffer to that of the value; the next read overwrites it.
    const copy = Buffer.allocUnsafe(shared.length);
    copy.set(new Uint8Array(shared.buffer, shared.byteOffset, copy.length));
    return copy;
  }

  scan(from: Uint8Array, to: Uint8Array, visit: (key: Uint8Array, value: Uint8Array) => boolean | void): void {
    if (this.#closed) throw new Error(`the store ${this.#file} is closed`);
    for (const { key, value } of this.#db.getRange({ start: from, end: to })) {
      if (visit(key, value) === false) break;
    }
    this.#db.resetReadTxn();
  }

  size(): number {
    return statSync(this.#file).size;
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    const last = this.durable();
    this.#closed = true;
    try {
      await last;
    } catch {
      // A failed flush has been told to everybody who waited for it; closing still has to let go of the files.
    }
    await this.#db.close();
    this.#unlock();
  }
}
