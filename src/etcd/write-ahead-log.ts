/**
 * The log that lies before the database: one file of a fixed size, written round and round, each flush one record. A record is
 * on disk with a single write to space that the file has already, where a transaction of the database takes two that wait for
 * one another. The database notes which record it has come to; what the log holds behind that is applied when the store opens.
 *
 *     magic:u32 crc:u32 length:u32 count:u32 id:8 bytes sequence:u64, then for each change
 *     keyLength:u16 deleted:u16 valueLength:u32 key value
 *
 * `crc` covers what follows it. `id` is drawn anew each time the log is taken into use, so that nothing older is ever taken for
 * what comes next.
 */
import { close, constants, existsSync, fdatasync, fstat, fsync, open, readFileSync, write, writeSync } from 'node:fs';
import { dirname } from 'node:path';
import { promisify } from 'node:util';
import { crc32 } from 'node:zlib';
import { ioNow, loopIdle } from '../base/io-time.ts';
import type { EngineOp } from './engine.ts';
import { CorruptRecordError } from './record.ts';

/** How far a database has come in the log. */
export interface LogPlace {
  /** Sixteen hexadecimal digits. */
  readonly id: string;
  /** The last record that the database holds, 0 when none. */
  readonly sequence: number;
  /** Where that record ended: the next one is there, or at the beginning. */
  readonly at: number;
}

const magic = 0x4c52_414b;
const headerBytes = 32;
const changeBytes = 8;
const firstBuffer = 64 * 1024;
/** A write in less time is swift, and so many in a row tell that the disk is. */
const swiftMs = 1;
const swiftRow = 32;

const openFile = promisify(open);
const closeFile = promisify(close);
const statFile = promisify(fstat);
const syncFile = promisify(fsync);

/** A write returns when it is stable. Elsewhere a sync has to follow. */
const dataSync = process.platform === 'linux' ? constants.O_DSYNC : 0;

/** The room that changes take in a record, beside its header. */
export function loggedBytes(ops: readonly EngineOp[]): number {
  let bytes = 0;
  for (let i = 0; i < ops.length; i++) {
    const { key, value } = ops[i]!;
    bytes += changeBytes + key.length + (value === undefined ? 0 : value.length);
  }
  return bytes;
}

/** The record at `at`, as long as it is whole: where it ends, and which it is. */
function recordAt(log: Buffer, at: number, id: Buffer): { end: number; sequence: number } | undefined {
  if (at < 0 || at + headerBytes > log.length || log.readUInt32LE(at) !== magic) return undefined;
  const end = at + log.readUInt32LE(at + 8);
  if (end < at + headerBytes || end > log.length || log.compare(id, 0, 8, at + 16, at + 24) !== 0) return undefined;
  if (crc32(log.subarray(at + 8, end)) !== log.readUInt32LE(at + 4)) return undefined;
  return { end, sequence: log.readUInt32LE(at + 24) + log.readUInt32LE(at + 28) * 2 ** 32 };
}

function changesOf(log: Buffer, start: number): EngineOp[] {
  const ops: EngineOp[] = [];
  let at = start + headerBytes;
  for (let left = log.readUInt32LE(start + 12); left > 0; left--) {
    const keyLength = log.readUInt16LE(at);
    const deleted = log.readUInt16LE(at + 2) === 1;
    const valueLength = log.readUInt32LE(at + 4);
    at += changeBytes;
    const key = log.subarray(at, at + keyLength);
    at += keyLength;
    ops.push({ key, value: deleted ? undefined : log.subarray(at, at + valueLength) });
    at += valueLength;
  }
  return ops;
}

/**
 * What the log holds behind `place`, in order.
 * @throws {Error} when the log is not there
 * @throws {CorruptRecordError} when a record is damaged that others follow: the last one alone may be half written
 */
export function readLog(file: string, place: LogPlace): EngineOp[] {
  if (!existsSync(file)) throw new Error(`${file} is missing: the last acknowledged writes are in it`);
  const log = readFileSync(file);
  const id = Buffer.from(place.id, 'hex');
  const ops: EngineOp[] = [];
  let { at, sequence } = place;
  for (;;) {
    const wanted = sequence + 1;
    const start = [at, 0].find((p) => recordAt(log, p, id)?.sequence === wanted);
    if (start === undefined) break;
    for (const op of changesOf(log, start)) ops.push(op);
    at = recordAt(log, start, id)!.end;
    sequence = wanted;
  }
  for (let i = log.indexOf(id); i >= 0; i = log.indexOf(id, i + 1)) {
    const later = recordAt(log, i - 16, id);
    if (later !== undefined && later.sequence > sequence)
      throw new CorruptRecordError(`${file} has lost record ${sequence + 1}`);
  }
  return ops;
}

export class WriteAheadLog {
  readonly file: string;
  readonly #fd: number;
  readonly #size: number;
  readonly #id: Buffer;
  #buffer: Buffer = Buffer.allocUnsafeSlow(firstBuffer);
  #sequence = 0;
  /** Where the next record goes when it fits. */
  #head = 0;
  /** The last record that the database has, and where the first one begins that it has not. */
  #released = 0;
  #tail = 0;
  /** Swift writes since the last slow one. */
  #swift = 0;
  /** How long the event loop had been idle when a write was made in place. */
  #idle = -1;

  private constructor(file: string, fd: number, size: number, id: Buffer) {
    this.file = file;
    this.#fd = fd;
    this.#size = size;
    this.#id = id;
  }

  /** Takes a log into use; what it held before is gone with the first record. A file that has not `size` bytes gets them. */
  static async open(file: string, size: number, id: Buffer): Promise<WriteAheadLog> {
    const fd = await openFile(file, constants.O_RDWR | constants.O_CREAT | dataSync, 0o600);
    try {
      const log = new WriteAheadLog(file, fd, size, id);
      if ((await statFile(fd)).size !== size) await log.#make();
      return log;
    } catch (error) {
      await closeFile(fd);
      throw error;
    }
  }

  /** Space that is only reserved would be made each time it is first written to. */
  async #make(): Promise<void> {
    await this.#write(Buffer.alloc(this.#size), this.#size, 0);
    if (process.platform === 'win32') return;
    const dir = await openFile(dirname(this.file), 'r');
    try {
      await syncFile(dir);
    } finally {
      await closeFile(dir);
    }
  }

  /** Behind all that was appended. */
  get place(): LogPlace {
    return { id: this.#id.toString('hex'), sequence: this.#sequence, at: this.#head };
  }

  /** Where `n` bytes fit, negative where they do not. */
  #room(n: number): number {
    const head = this.#head;
    const tail = this.#tail;
    if (this.#released === this.#sequence) return head + n <= this.#size ? head : n <= this.#size ? 0 : -1;
    if (head <= tail) return head + n < tail ? head : -1;
    if (head + n <= this.#size) return head;
    return n < tail ? 0 : -1;
  }

  /**
   * Appends changes that take `bytes` (`loggedBytes`) as one record and resolves when it is on stable storage; undefined when
   * there is no room. One at a time. `alone`: nobody else is writing.
   */
  append(ops: readonly EngineOp[], bytes: number, alone = false): Promise<void> | undefined {
    const n = headerBytes + bytes;
    const start = this.#room(n);
    if (start < 0) return undefined;
    if (n > this.#buffer.length) this.#buffer = Buffer.allocUnsafeSlow(Math.max(n, 2 * this.#buffer.length));
    const b = this.#buffer;
    const sequence = this.#sequence + 1;
    b.writeUInt32LE(magic, 0);
    b.writeUInt32LE(n, 8);
    b.writeUInt32LE(ops.length, 12);
    b.set(this.#id, 16);
    b.writeUInt32LE(sequence >>> 0, 24);
    b.writeUInt32LE(Math.floor(sequence / 2 ** 32), 28);
    let at = headerBytes;
    for (let i = 0; i < ops.length; i++) {
      const { key, value } = ops[i]!;
      b.writeUInt16LE(key.length, at);
      b.writeUInt16LE(value === undefined ? 1 : 0, at + 2);
      b.writeUInt32LE(value === undefined ? 0 : value.length, at + 4);
      b.set(key, at + changeBytes);
      at += changeBytes + key.length;
      if (value === undefined) continue;
      b.set(value, at);
      at += value.length;
    }
    b.writeUInt32LE(crc32(b.subarray(8, n)), 4);
    if (this.#released === this.#sequence) this.#tail = start;
    const written = alone && this.#nobodyWaits() ? this.#writeHere(b, n, start) : this.#write(b, n, start);
    return written.then(
      () => {
        this.#sequence = sequence;
        this.#head = start + n;
      },
      (cause: Error) => {
        throw new Error(`the log ${this.file} failed to write: ${cause.message}`, { cause });
      },
    );
  }

  /**
   * True when a write may be waited for in place: the disk is swift, so that to give the write to another thread and to be
   * woken by it takes as long as the write itself, and there was nothing else to do since the last one that was waited for.
   */
  #nobodyWaits(): boolean {
    if (dataSync === 0 || this.#swift < swiftRow) return false;
    const idle = loopIdle();
    if (idle === this.#idle) return false;
    this.#idle = idle;
    return true;
  }

  #took(ms: number): void {
    this.#swift = ms < swiftMs ? this.#swift + 1 : 0;
  }

  async #writeHere(bytes: Buffer, n: number, start: number): Promise<void> {
    const began = ioNow();
    for (let from = 0; from < n;) from += writeSync(this.#fd, bytes, from, n - from, start + from);
    this.#took(ioNow() - began);
  }

  #write(bytes: Buffer, n: number, start: number): Promise<void> {
    const began = ioNow();
    return new Promise((resolve, reject) => {
      let from = 0;
      const next = (): void => {
        write(this.#fd, bytes, from, n - from, start + from, (error, done) => {
          from += done;
          if (error !== null) reject(error);
          else if (from < n) next();
          else if (dataSync !== 0) {
            this.#took(ioNow() - began);
            resolve();
          } else fdatasync(this.#fd, (failed) => (failed === null ? resolve() : reject(failed)));
        });
      };
      next();
    });
  }

  /** The database holds everything up to `place`: the room it took can be used again. */
  release(place: LogPlace): void {
    this.#released = place.sequence;
    this.#tail = place.at;
  }

  close(): Promise<void> {
    return closeFile(this.#fd);
  }
}
