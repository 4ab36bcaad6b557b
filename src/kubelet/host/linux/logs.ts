/** Container logs on disk in CRI's format (`time stream tags content`): reading from the end, following, rotating. */
import { createReadStream, createWriteStream, watch } from 'node:fs';
import * as fs from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { createGzip } from 'node:zlib';
import { ioTimer } from '../../../base/io-time.ts';
import { Slice } from '../../../base/yield.ts';
import type { LogEntry, ReadLogOptions } from '../node-host.ts';
import { goError, isMissing } from './fs-error.ts';

const chunkBytes = 64 * 1024;
/** A line without an end that is longer than this is not CRI's format. */
const maxLine = 1024 * 1024;
/** A follower looks again after so long even when nothing was announced. */
const pollMs = 1000;

const lineFeed = 0x0a;
const blank = 0x20;

/** The parts of one line without its line feed; undefined when it is not CRI's format. */
export function parseLine(line: Buffer): LogEntry | undefined {
  const a = line.indexOf(blank);
  const b = a < 0 ? -1 : line.indexOf(blank, a + 1);
  if (b < 0) return undefined;
  const stream = line.toString('latin1', a + 1, b);
  if (stream !== 'stdout' && stream !== 'stderr') return undefined;
  let c = line.indexOf(blank, b + 1);
  if (c < 0) c = line.length;
  // Tags are separated by colons; the first says whether the line is whole.
  const partial = line[b + 1] === 0x50;
  const content = line.subarray(Math.min(c + 1, line.length));
  return {
    // CRI-O's writer has the zone in numbers, containerd a letter for UTC.
    time: line.toString('latin1', 0, a).replace(/[+-]00:00$/, 'Z'),
    stream,
    partial,
    data: partial ? Buffer.from(content) : Buffer.concat([content, newLine]),
  };
}

const newLine = Buffer.from('\n');

/** Where the last `lines` whole lines begin. */
async function tailStart(file: fs.FileHandle, size: number, lines: number): Promise<number> {
  if (lines === 0) return size;
  let end = size;
  let rest = Buffer.alloc(0);
  let whole = 0;
  const slice = new Slice();
  // `rest` begins at `end`; the position of a line is known when the line feed before it is.
  while (end > 0) {
    const length = Math.min(chunkBytes, end);
    const chunk = Buffer.alloc(length);
    await file.read(chunk, 0, length, end - length);
    end -= length;
    const block: Buffer = Buffer.concat([chunk, rest]);
    // Where the line that is looked at ends; the line feed before it ends another.
    let until = block.length;
    while (until >= 2) {
      const at = block.lastIndexOf(lineFeed, until - 2);
      if (at < 0) break;
      if (isWhole(block.subarray(at + 1, until)) && ++whole > lines) return end + until;
      until = at + 1;
    }
    rest = Buffer.from(block.subarray(0, until));
    if (rest.length > maxLine) return end;
    await slice.turn();
  }
  if (rest.length > 0 && isWhole(rest) && ++whole > lines) return rest.length;
  return 0;
}

function isWhole(line: Buffer): boolean {
  const a = line.indexOf(blank);
  const b = a < 0 ? -1 : line.indexOf(blank, a + 1);
  return b < 0 || line[b + 1] !== 0x50;
}

/** Wakes a follower when names or contents in the log's directory change. */
class Watcher {
  readonly #watcher: ReturnType<typeof watch> | undefined;
  #wake: (() => void) | undefined;
  #pending = false;

  constructor(path: string) {
    const name = basename(path);
    try {
      this.#watcher = watch(dirname(path), { persistent: false }, (_, file) => {
        if (file !== null && file !== name) return;
        this.#pending = true;
        this.#wake?.();
      });
      this.#watcher.on('error', () => this.#watcher?.close());
    } catch {
      // Without announcements the poll is what is left.
      this.#watcher = undefined;
    }
  }

  /** Resolves when something happened since the last call, or after a while. */
  wait(signal: AbortSignal | undefined): Promise<void> {
    if (this.#pending || signal?.aborted === true) {
      this.#pending = false;
      return Promise.resolve();
    }
    return new Promise((resolve) => {
      const done = (): void => {
        this.#wake = undefined;
        this.#pending = false;
        cancel();
        signal?.removeEventListener('abort', done);
        resolve();
      };
      const cancel = ioTimer(pollMs, done);
      this.#wake = done;
      signal?.addEventListener('abort', done, { once: true });
    });
  }

  close(): void {
    this.#watcher?.close();
  }
}

async function open(path: string): Promise<fs.FileHandle | undefined> {
  try {
    return await fs.open(path, 'r');
  } catch (error) {
    if (isMissing(error)) return undefined;
    throw goError('open', path, error);
  }
}

export async function* readLog(path: string, options: ReadLogOptions): AsyncGenerator<readonly LogEntry[]> {
  const { signal } = options;
  const watcher = options.follow === true ? new Watcher(path) : undefined;
  let file = await open(path);
  try {
    while (file === undefined) {
      if (watcher === undefined || signal?.aborted === true) return;
      if ((await options.ended?.()) === true) {
        file = await open(path);
        if (file === undefined) return;
        break;
      }
      await watcher.wait(signal);
      file = await open(path);
    }
    let inode = (await file.stat()).ino;
    let position =
      options.tailLines === undefined ? 0 : await tailStart(file, (await file.stat()).size, options.tailLines);
    let rest: Buffer = Buffer.alloc(0);
    const slice = new Slice();
    const chunk = Buffer.alloc(chunkBytes);
    let over = false;
    for (;;) {
      if (signal?.aborted === true) return;
      const { bytesRead } = await file.read(chunk, 0, chunk.length, position);
      if (bytesRead > 0) {
        position += bytesRead;
        const block: Buffer =
          rest.length === 0
            ? Buffer.from(chunk.subarray(0, bytesRead))
            : Buffer.concat([rest, chunk.subarray(0, bytesRead)]);
        const batch: LogEntry[] = [];
        let start = 0;
        for (let at = block.indexOf(lineFeed); at >= 0; at = block.indexOf(lineFeed, start)) {
          const entry = parseLine(block.subarray(start, at));
          if (entry !== undefined && (options.since === undefined || Date.parse(entry.time) >= options.since))
            batch.push(entry);
          start = at + 1;
        }
        rest = block.subarray(start);
        if (rest.length > maxLine) rest = Buffer.alloc(0);
        if (batch.length > 0) yield batch;
        await slice.turn();
        continue;
      }
      if (watcher === undefined || over) return;
      const next = await rotated(path, inode);
      if (next !== undefined) {
        // What was written between our last read and the rotation is read before the new file.
        if ((await file.stat()).size > position) {
          await next.close();
          continue;
        }
        await file.close();
        file = next;
        inode = (await file.stat()).ino;
        position = 0;
        rest = Buffer.alloc(0);
        continue;
      }
      if ((await file.stat()).size < position) {
        position = 0;
        rest = Buffer.alloc(0);
        continue;
      }
      // What was written while the question was open must not be lost: ask first, then look once more.
      over = (await options.ended?.()) === true;
      if (!over) await watcher.wait(signal);
    }
  } finally {
    watcher?.close();
    await file?.close();
  }
}

/** The log's new file when another one has taken its name. */
async function rotated(path: string, inode: number): Promise<fs.FileHandle | undefined> {
  const now = await fs.stat(path).catch(() => undefined);
  if (now === undefined || now.ino === inode) return undefined;
  return open(path);
}

const stampPattern = /^\.\d{8}-\d{6}(\.gz|\.tmp)?$/;

/** `20260102-150405` */
function stamp(now: number): string {
  return new Date(now).toISOString().slice(0, 19).replace(/[-:]/g, '').replace('T', '-');
}

export async function rotateLog(path: string, maxFiles: number, now: number): Promise<string> {
  const directory = dirname(path);
  const name = basename(path);
  const old: string[] = [];
  for (const n of await fs.readdir(directory)) {
    const suffix = n.startsWith(name) ? n.slice(name.length) : '';
    if (!stampPattern.test(suffix)) continue;
    // Left by a compression that did not end.
    if (suffix.endsWith('.tmp')) await fs.rm(join(directory, n), { force: true });
    else old.push(n);
  }
  old.sort();
  // With the one that is moved aside now and the new one `maxFiles` remain.
  const keep = Math.max(maxFiles - 2, 0);
  for (const n of old.splice(0, Math.max(old.length - keep, 0))) await fs.rm(join(directory, n), { force: true });
  for (const n of old) if (!n.endsWith('.gz')) await compress(join(directory, n));
  const moved = `${path}.${stamp(now)}`;
  try {
    await fs.rename(path, moved);
  } catch (error) {
    throw goError('rename', path, error);
  }
  return moved;
}

async function compress(path: string): Promise<void> {
  const aside = `${path}.tmp`;
  await pipeline(createReadStream(path), createGzip(), createWriteStream(aside, { mode: 0o640 }));
  await fs.rename(aside, `${path}.gz`);
  await fs.rm(path, { force: true });
}

export async function logSize(path: string): Promise<number> {
  const s = await fs.stat(path).catch((error: unknown) => {
    if (isMissing(error)) return undefined;
    throw goError('stat', path, error);
  });
  return s?.size ?? 0;
}
